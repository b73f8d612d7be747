import BrambleAPI
import Inventory
import Testing

func node(
    _ name: String, _ state: NodeState = .alive, cpu: Double? = 0.1, load1: Double = 0, duty: NodeInfo.Standby? = nil,
    labels: [String: String] = [:]
) -> NodeInfo {
    NodeInfo(
        name: name, id: "id-\(name)", address: "10.0.0.\(name.utf8.last! & 15)", port: 7771, addresses: [],
        state: state, phi: 0, threshold: 8, incarnation: 0, since: "", isSelf: false, version: "0",
        load: cpu.map {
            NodeLoad(cpu: $0, memory: 0.2, load1: load1, load5: 0, load15: 0, temperature: nil)
        }, duty: duty, labels: labels)
}
func service(_ name: String, _ state: ServiceInfo.State, on node: String?) -> ServiceInfo {
    ServiceInfo(
        name: name, state: state, node: node, epoch: 1, addresses: [], guarantee: .majority, since: "", run: nil)
}

@Suite("what Ansible is told of the nodes")
struct InventoryTests {
    let inventory = Inventory(
        nodes: [
            node("n1", labels: ["role": "web", "rack": "a-1"]), node("n2", duty: .held), node("n3", .down),
            node("n4", .left), node("n5", .suspect),
        ], services: [service("shop", .running, on: "n1"), service("idle", .stopped, on: "n5")])

    private func hosts(_ group: String) -> [String]? { inventory.groups.first { $0.name == group }?.nodes }

    @Test("nodes are grouped by state, duty, service, role and label")
    func groups() {
        #expect(hosts("state_alive") == ["n1", "n2"])
        #expect(hosts("duty_serving") == ["n1"])
        #expect(hosts("duty_held") == ["n2"])
        #expect(hosts("duty_standby") == ["n5"])
        #expect(hosts("service_shop") == ["n1"])
        #expect(hosts("service_idle") == nil, "it does not run there")
        #expect(hosts("role_web") == ["n1"])
        #expect(hosts("label_rack_a_1") == ["n1"])
    }

    @Test("a node that is down is in the group of those alone, one that left in none")
    func down() {
        #expect(inventory.groups.filter { $0.nodes.contains("n3") }.map(\.name) == ["state_down"])
        #expect(!inventory.groups.contains { $0.nodes.contains("n4") })
        #expect(inventory.host("n4") == nil)
    }

    @Test("the list has every node's variables, so that Ansible asks once")
    func list() {
        guard case .object(let top) = inventory.list, case .object(let meta)? = top["_meta"],
            case .object(let variables)? = meta["hostvars"], case .object(let n1)? = variables["n1"]
        else {
            Issue.record("\(inventory.list)")
            return
        }
        #expect(Set(variables.keys) == ["n1", "n2", "n3", "n5"])
        #expect(n1["ansible_host"] == .string("10.0.0.1"))
        #expect(n1["bramble_services"] == .array([.string("shop")]))
        #expect(inventory.host("n1") == .object(n1))
    }

    @Test("the least busy come first; who is held, suspected or silent about its load does not")
    func leastBusy() {
        let inventory = Inventory(
            nodes: [
                node("a", cpu: 0.9), node("b", cpu: 0.11, load1: 2), node("c", cpu: 0.13, load1: 0.5),
                node("d", cpu: nil), node("e", duty: .drained), node("f", .suspect, cpu: 0),
            ], services: [])
        #expect(inventory.leastBusy.map(\.name) == ["c", "b", "a", "d"])
    }

    @Test(
        "a group's name is one that Ansible takes",
        arguments: [("label_rack_a-1", "label_rack_a_1"), ("9lives", "_9lives"), ("é", "_"), ("", "_")])
    func names(text: String, name: String) { #expect(Inventory.groupName(text) == name) }
}

private struct Missing: Error { let path: String }

@Suite("the groups of a playbook")
struct PlaybookTests {
    private func groups(_ files: [String: String], nodes: Set<String> = []) throws -> [String] {
        try Playbook.read("dir/site.yml", isNode: { nodes.contains($0) }) { path in
            guard let text = files[path] else { throw Missing(path: path) }
            return Array(text.utf8)
        }.groups
    }
    private func groups(_ text: String) throws -> [String] { try groups(["dir/site.yml": text]) }

    @Test("each play's group, in order, once")
    func plays() throws {
        let text = """
            - hosts: web
              vars: {secret: !vault "x"}
              tasks: [{name: a, debug: {msg: "{{ x }}"}}]
            - hosts: [db, web]
            - hosts: balancer:!web:&edge,cache[0]
            """
        #expect(try groups(text) == ["web", "db", "balancer", "edge", "cache"])
    }

    @Test("what means no group of ours is passed over: all, localhost, wildcards, templates, names of nodes")
    func others() throws {
        let text = """
            - hosts: all
            - hosts: localhost
            - hosts: "web*"
            - hosts: "~(web|db).*"
            - hosts: "{{ target }}"
            - hosts: n1
            - hosts: db
            """
        #expect(try groups(["dir/site.yml": text], nodes: ["n1"]) == ["db"])
    }

    @Test("imported playbooks count, from their own folder")
    func imports() throws {
        let files = [
            "dir/site.yml": "- import_playbook: more/web.yml\n- hosts: db\n",
            "dir/more/web.yml": "- ansible.builtin.import_playbook: edge.yml\n- hosts: web\n",
            "dir/more/edge.yml": "- hosts: edge\n",
        ]
        #expect(try groups(files) == ["edge", "web", "db"])
    }

    @Test(
        "what is wrong is said with its place",
        arguments: [
            ("web: 1\n", "is not a playbook"), ("- hosts: all\n", "no play of"), ("- tasks: []\n", "line 1"),
            ("- hosts: [web\n", "line"), ("- import_playbook: site.yml\n", "deep"), ("", "is not a playbook"),
            ("- import_playbook: none.yml\n", "dir/none.yml"),
        ])
    func wrong(text: String, says: String) {
        let error = #expect(throws: (any Error).self) { try groups(text) }
        #expect("\(error!)".contains(says), "\(error!)")
    }
}

@Suite("a playbook's groups filled with nodes")
struct HostsFileTests {
    let five = ["a", "b", "c", "d", "e"].map { node($0) }
    private func filled(_ groups: [String], _ sizes: [String: Int] = [:], _ nodes: [NodeInfo]) throws -> [[String]] {
        try HostsFile(groups: groups, sizes: sizes, candidates: nodes).groups.map { $0.nodes.map(\.name) }
    }

    @Test("one group gets all, several share evenly, and no node is used twice")
    func shares() throws {
        #expect(try filled(["web"], [:], five) == [["a", "b", "c", "d", "e"]])
        #expect(try filled(["web", "db"], [:], five) == [["a", "b", "c"], ["d", "e"]])
    }

    @Test("a size takes the least busy first, and the rest goes to who has none")
    func sizes() throws {
        #expect(try filled(["web", "db"], ["db": 2], five) == [["c", "d", "e"], ["a", "b"]])
    }

    @Test("labelled nodes are their group's, before sizes and shares")
    func labels() throws {
        var nodes = five
        nodes[3].labels = ["role": "db"]
        nodes[4].labels = ["cache": "yes"]
        #expect(try filled(["web", "db", "cache"], ["web": 1], nodes) == [["a"], ["d"], ["e"]])
    }

    @Test("of so many nodes those that are labelled for a group come before the least busy")
    func chosen() throws {
        var nodes = five
        nodes[4].labels = ["role": "access_point"]
        let chosen = { (count: Int) in
            HostsFile.choose(count, of: nodes, for: ["access_point", "web"]).map(\.name)
        }
        #expect(chosen(1) == ["e"])
        #expect(chosen(3) == ["a", "b", "e"])
        #expect(chosen(5) == ["a", "b", "c", "d", "e"])
        #expect(HostsFile.choose(2, of: nodes, for: ["web"]).map(\.name) == ["a", "b"])
    }

    @Test(
        "too few nodes, and sizes of groups that are not there, are refused",
        arguments: [
            (["web", "db"], ["web": 6], "should have 6"), (["a", "b", "c", "d", "e", "f"], [:], "too few"),
            (["web"], ["wbe": 1], "no group “wbe”"),
        ] as [([String], [String: Int], String)])
    func refused(groups: [String], sizes: [String: Int], says: String) {
        let error = #expect(throws: PlaybookError.self) {
            try HostsFile(groups: groups, sizes: sizes, candidates: five)
        }
        #expect(error?.problem.contains(says) == true)
    }

    @Test("it is written as an inventory in INI")
    func text() throws {
        let file = try HostsFile(groups: ["web", "db"], sizes: ["web": 1], candidates: Array(five.prefix(2)))
        #expect(
            file.text(remarks: ["r"]).hasPrefix(
                "# r\n\n[web]\na ansible_host=10.0.0.1\n\n[db]\nb ansible_host=10.0.0.2\n\n[all:vars]\n"))
    }

    @Test("a hundred nodes are each in the groups of their state, duty, role and label")
    func hundred() {
        let nodes = (0..<100).map { node("n\($0)", labels: ["role": "r\($0 % 7)", "rack": "\($0 % 5)"]) }
        let inventory = Inventory(nodes: nodes, services: [])
        #expect(inventory.groups.flatMap(\.nodes).count == 400)
    }
}
