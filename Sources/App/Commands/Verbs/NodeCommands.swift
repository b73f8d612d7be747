import BrambleAPI
import Primitives

/// `bramble node …`: who belongs to the cluster.
enum NodeCommands {
    private static let applicant = Argument(
        "NAME",
        Kind(placeholder: "NAME", allowed: "a waiting machine's name, ID or code", completion: .waiting) {
            Kind<String>.node.parse($0)
        }, "The waiting machine's name, ID or code")
    private static let member = Argument("NAME", .node, "The node's name")
    private static let names = Flag("names", "Only the names, one a line")

    static let waiting = Command(
        asking: "waiting", "List machines that were found and wait to become nodes", section: .change,
        accepts: [names, Shared.json]
    ) { input, console, api in
        let machines = try await api.waiting()
        if input[Shared.json] { return try console.printJSON(machines) }
        if input[names] { return console.terminal.write(machines.map { Text.oneLine($0.name) + "\n" }.joined()) }
        guard !machines.isEmpty else {
            return console.say("No machine is waiting. One appears here when Bramble runs on it without a cluster key.")
        }
        let now = console.terminal.now()
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "CODE"), .init(title: "ADDRESS"), .init(title: "WAITS FOR"),
            .init(title: "SINCE", alignRight: true, dropOrder: 1),
        ])
        table.rows = machines.map {
            [
                .init($0.name), .init($0.code, .strong), .init($0.address),
                .init($0.reason == .noKey ? "the cluster key" : "approval"), .init(Text.ago($0.since, now: now)),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        console.say(
            "Compare the code with what the machine itself shows (bramble status there), then: bramble node add NAME")
    }

    static let add = Command(
        asking: "add", "Make a waiting machine a node of the cluster",
        details: """
            Gives the machine the cluster key, over a connection to exactly that machine; where the cluster admits by approval \
            it is the approval. Compare the code with what bramble status shows on the machine itself: a stranger can take a \
            name, but not a code. A database that the machine has is set aside there as a backup file: it gets a copy of the \
            cluster's.
            """,
        section: .change, accepts: [applicant, Shared.yes, Shared.json],
        examples: ["bramble node add serv3", "bramble node add k7qd-2m4x-9f3a --yes"]
    ) { input, console, api in
        let name = input[required: applicant]
        if !input[Shared.yes], console.terminal.canAsk {
            let machine = try theOne(name, try await api.waiting())
            let cluster = try await api.status().cluster
            let what =
                machine.reason == .noKey
                ? "It gets the key of cluster “\(cluster)” and becomes a node: it may do whatever the other nodes may."
                : "It has the cluster key. With your approval it becomes a node of “\(cluster)”, now and after each restart."
            try console.confirm(
                [
                    "\(machine.name) at \(machine.address), code \(machine.code)", what,
                    "If it has a database, that is set aside there as a backup file, and it gets a copy of this cluster's.",
                    "On that machine, bramble status must show the same code.",
                ],
                question: "Is it the same?", command: "node add", input: input)
        } else {
            try console.confirm([], question: "", command: "node add", input: input)
        }
        try console.report(try await api.add(name), input)
    }

    /// The machine that is meant, if there is no doubt.
    private static func theOne(_ name: String, _ machines: [WaitingMachine]) throws -> WaitingMachine {
        let matches = machines.filter { $0.id == name || $0.code == name || $0.name == name.lowercased() }
        guard let machine = matches.first else {
            throw CommandFailure(
                problem: "no waiting machine is called “\(name)”",
                remedy: machines.isEmpty
                    ? "see that Bramble runs there and that both are on one network; by address: bramble peer probe HOST"
                    : "see which ones wait: bramble node waiting")
        }
        guard matches.count == 1 else {
            throw CommandFailure(
                problem: "\(matches.count) waiting machines are called “\(name)”",
                remedy: "say which one by its code: \(matches.map(\.code).joined(separator: ", "))")
        }
        return machine
    }

    static let remove = Command(
        asking: "remove", "Take a node out of the cluster for good",
        details: """
            Every other node refuses it from then on, and the cluster key is changed, so that what it knows opens nothing. To \
            stop a node for a while, stop its daemon instead: systemctl stop bramble.
            """,
        section: .change, accepts: [member, Shared.yes, Shared.json],
        examples: ["bramble node remove serv3", "bramble node remove serv3 --yes"]
    ) { input, console, api in
        let name = input[required: member]
        try await confirmRemoval(of: name, command: "node remove", input, console, api)
        try console.report(try await api.remove(name), input)
    }

    private static let labels = Words(
        "LABEL", required: false, "KEY=VALUE gives the node a label, KEY- takes it away; none shows what it has")

    static let label = Command(
        asking: "label", "Label a node, and take labels from it",
        details: """
            Labels say what a machine is for. bramble inventory makes groups for Ansible of them: role=web puts the node into \
            the group role_web, and fills a playbook's group “web” with it.
            """,
        section: .change, accepts: [member, labels, Shared.json],
        examples: ["bramble node label serv3 role=web rack=a", "bramble node label serv3 rack-"]
    ) { input, console, api in
        let name = input[required: member]
        let words = input[labels]
        guard !words.isEmpty else {
            let nodes = try await api.nodes()
            guard let node = nodes.first(where: { $0.name == name.lowercased() || $0.id == name }) else {
                throw CommandFailure(
                    problem: "no node is called “\(name)”",
                    remedy: Suggestion.sentence(Suggestion.nearest(to: name, among: nodes.map(\.name)))
                        ?? "see which ones there are: bramble nodes")
            }
            if input[Shared.json] { return try console.printJSON(node.labels) }
            for (key, value) in node.labels.sorted(by: { $0.key < $1.key }) { console.print("\(key)=\(value)") }
            if node.labels.isEmpty { console.say("\(node.name) has no labels.") }
            return
        }
        var change = LabelRequest(set: [:])
        for word in words {
            if let equals = word.firstIndex(of: "=") {
                change.set[String(word[..<equals])] = String(word[word.index(after: equals)...])
            } else if word.count > 1, word.last == "-" {
                change.remove.append(String(word.dropLast()))
            } else {
                throw UsageError(
                    problem: "“\(word)” is no label", remedy: "write KEY=VALUE to set it, KEY- to take it away")
            }
        }
        try console.report(try await api.label(name, change), input)
    }

    static func confirmRemoval(
        of name: String, command: String, _ input: Input, _ console: Console, _ api: BrambleClient
    ) async throws {
        guard !input[Shared.yes], console.terminal.canAsk else {
            return try console.confirm([], question: "", command: command, input: input)
        }
        let nodes = try await api.nodes()
        let cluster = try await api.status().cluster
        // Whether there is such a node is for the daemon to say; without knowing there is nothing to describe.
        guard let node = nodes.first(where: { $0.name == name.lowercased() || $0.id == name }) else {
            let near = Suggestion.nearest(to: name, among: nodes.map(\.name))
            throw CommandFailure(
                problem: "no node is called “\(name)”",
                remedy: Suggestion.sentence(near) ?? "see which ones there are: bramble nodes")
        }
        guard !node.isSelf else {
            throw CommandFailure(
                problem: "\(node.name) is the node that answers you, and a node cannot remove itself",
                remedy: "give the same command on another node, or to one: --api http://HOST:8080")
        }
        let since = Text.ago(node.since, now: console.terminal.now())
        let others = nodes.filter { $0.id != node.id }
        let away = others.filter { $0.state != .alive && $0.state != .suspect }.map(\.name)
        var plan = [
            "\(node.name) at \(node.address), \(node.state.rawValue) for \(since), leaves cluster “\(cluster)” for good:"
        ]
        plan.append(
            node.state == .alive || node.state == .suspect
                ? "  - it is told, stops being a node, and deletes its cluster key and its copy of the cluster's data"
                : "  - it cannot be told now; when it comes back it is refused, and deletes its copy of the cluster's data then"
        )
        plan.append(
            "  - the other \(Text.count(others.count, "node refuses", "nodes refuse")) it at once, whatever key it shows"
        )
        plan.append("  - the cluster key changes: a copy made before, such as on an SD card, lets no new machine in")
        if !away.isEmpty {
            plan.append("  - \(away.joined(separator: ", ")) cannot be reached now and will get the new key later")
        }
        try console.confirm(plan, question: "Remove it?", command: command, input: input)
    }
}

extension Console {
    /// What a change did.
    func report(_ change: NodeChange, _ input: Input) throws {
        if input[Shared.json] { return try printJSON(change) }
        print(Text.oneLine(change.done))
        if let note = change.note { self.note(note) }
    }
}
