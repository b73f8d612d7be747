import BrambleAPI
import Inventory
import Primitives

/// `bramble inventory` and `bramble launch`: the cluster's nodes, handed to Ansible.
enum InventoryCommands {
    private static let list = Flag("list", "Every node with its groups and variables, as JSON for Ansible")
    private static let host = Option("host", .node, "One node's variables, as JSON")
    private static let playbook = Option(
        "for", .playbook, "A hosts file with this playbook's groups, filled with nodes")
    private static let size = Option(
        "size", .groupSize, repeats: true, "How many nodes a group of the playbook gets")

    static let inventory = Command(
        asking: "inventory", "Hand the nodes to Ansible",
        details: """
            With --list and --host it is a dynamic inventory: ansible-playbook -i takes a script that calls it. The groups are \
            state_…, duty_… (serving, standby, held, drained), service_…, role_… for the label role, and label_…. With --for \
            it prints a hosts file whose groups are the playbook's: nodes labelled role=GROUP first, else the least busy ones; \
            groups without a size share what is left.
            """,
        section: .look, accepts: [list, host, playbook, size, Shared.json],
        examples: [
            "bramble inventory --list", "bramble inventory --for site.yml --size web=2 > hosts",
            "ansible-playbook -i hosts site.yml",
        ]
    ) { input, console, api in
        let given = [input[list] ? 1 : 0, input[host] == nil ? 0 : 1, input[playbook] == nil ? 0 : 1].reduce(0, +)
        guard given == 1 else {
            throw UsageError(
                problem: given == 0 ? "“inventory” needs to know what to print" : "only one of these can be printed",
                remedy: "give one of --list, --host NAME or --for PLAYBOOK")
        }
        guard input[playbook] != nil || input[all: size].isEmpty else {
            throw UsageError(problem: "--size is of no use without --for", remedy: "give --for PLAYBOOK too")
        }
        let inventory = try await read(api)
        if let path = input[playbook] {
            let file = try fill(path, inventory, inventory.leastBusy, nil, input)
            return console.terminal.write(file.text(remarks: remarks(path, inventory)))
        }
        guard let name = input[host] else { return try console.printJSON(inventory.list) }
        guard let variables = inventory.host(name.lowercased()) else {
            throw CommandFailure(
                problem: "no node is called “\(name)”",
                remedy: Suggestion.sentence(Suggestion.nearest(to: name, among: inventory.nodes.map(\.name)))
                    ?? "see which ones there are: bramble nodes")
        }
        try console.printJSON(variables)
    }

    private static let count = Argument("N", .integer("N", in: 1...256), "How many nodes")
    private static let launched = Argument("PLAYBOOK", .playbook, "What to run on them")
    private static let rest = Words("OPTION", required: false, "For ansible-playbook, behind --")

    static let launch = Command(
        asking: "launch", "Run a playbook on the least busy nodes",
        details: """
            Picks N nodes that are alive and neither on hold nor drained: those labelled for one of the playbook's groups, then the \
            least busy. Fills the groups with them as bramble inventory --for does, and runs ansible-playbook, whose output and \
            exit code are passed on.
            """,
        section: .change, accepts: [count, launched, size, rest],
        examples: ["bramble launch 2 web.yml", "bramble launch 3 site.yml --size db=1 -- --check --user pi"]
    ) { input, console, api in
        let wanted = input[required: count]
        let path = input[required: launched]
        let inventory = try await read(api)
        let idle = inventory.leastBusy
        guard idle.count >= wanted else {
            throw CommandFailure(
                problem: "\(wanted) nodes are wanted, and \(idle.count) can be given work",
                remedy: "ask for fewer, or see why others take none: bramble nodes")
        }
        let file = try fill(path, inventory, idle, wanted, input)
        console.note("on " + file.nodes.map(\.name).joined(separator: ", "))
        let program = ChildProgram(
            name: "ansible-playbook", package: "ansible-core",
            purpose: "bramble launch runs playbooks with it")
        let code = try program.run(
            ["-i", ChildProgram.filePlace, path] + input[rest], file: file.text(remarks: remarks(path, inventory)))
        if code != 0 { throw ExitRequest(code: code) }
    }

    private static func read(_ api: BrambleClient) async throws -> Inventory {
        Inventory(nodes: try await api.nodes(), services: try await api.services())
    }

    private static func fill(
        _ path: String, _ inventory: Inventory, _ candidates: [NodeInfo], _ wanted: Int?, _ input: Input
    ) throws -> HostsFile {
        let names = Set(inventory.nodes.map(\.name))
        let playbook = try Playbook.read(path, isNode: { names.contains($0) }, read: { try OldFiles.contents($0) })
        let sizes = Dictionary(input[all: size].map { ($0.group, $0.count) }) { _, last in last }
        let chosen = wanted.map { HostsFile.choose($0, of: candidates, for: playbook.groups) } ?? candidates
        return try HostsFile(groups: playbook.groups, sizes: sizes, candidates: chosen)
    }

    private static func remarks(_ path: String, _ inventory: Inventory) -> [String] {
        let alive = inventory.nodes.count { $0.state == .alive }
        return [
            "Made by bramble for \(Text.oneLine(path)): \(alive) of \(Text.count(inventory.nodes.count, "node", "nodes")) alive."
        ]
    }
}

/// `web=2`.
struct GroupSize: Equatable, Sendable {
    var group: String
    var count: Int
}

extension Kind<GroupSize> {
    static let groupSize = Kind(
        placeholder: "GROUP=N", allowed: "a group of the playbook and a number from 1 to 256, like web=2"
    ) { text in
        guard let equals = text.lastIndex(of: "="), equals > text.startIndex,
            let count = Int(text[text.index(after: equals)...]), (1...256).contains(count)
        else { return nil }
        return GroupSize(group: String(text[..<equals]), count: count)
    }
}

extension Kind<String> {
    fileprivate static let playbook = Kind(
        placeholder: "PLAYBOOK", allowed: "a playbook's path, at most 4095 bytes", completion: .files
    ) { Kind<String>.file.parse($0) }
}
