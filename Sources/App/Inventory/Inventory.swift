package import BrambleAPI

/// The nodes of a cluster as Ansible sees them: hosts, their variables, and the groups they are in.
///
/// Pure: what the cluster says comes in, an inventory comes out. Format: “Developing dynamic inventory”, Ansible's
/// documentation, of scripts that answer `--list` and `--host`.
package struct Inventory: Sendable {
    /// By name. Nodes that left on purpose are not there.
    package let nodes: [NodeInfo]
    /// Names of the services that run on a node now, by node name.
    private let running: [String: [String]]

    /// A host that falls silent would hold Ansible up for good. ssh takes the first of options that contradict each other, so
    /// that a user's own win.
    static let sshOptions = "-o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3"

    package init(nodes: [NodeInfo], services: [ServiceInfo]) {
        self.nodes = nodes.filter { $0.state != .left }
        var running: [String: [String]] = [:]
        for service in services where service.state == .running || service.state == .starting {
            if let node = service.node { running[node, default: []].append(service.name) }
        }
        self.running = running.mapValues { $0.sorted() }
    }

    /// Group names and the nodes in each, both in order. A node that is down is in `state_down` alone: whoever asks for a
    /// role gets hosts that answer.
    ///
    /// - `state_alive`, `state_suspect`, `state_down`
    /// - `duty_serving` (runs a service), `duty_standby` (could), `duty_held`, `duty_drained`
    /// - `witness`, which is in no other group: it only votes
    /// - `service_NAME`: where it runs
    /// - `label_KEY_VALUE`; and for the label `role`, `role_VALUE`
    package var groups: [(name: String, nodes: [String])] {
        var groups: [String: [String]] = [:]
        for node in nodes {
            func add(_ group: String) { groups[Self.groupName(group), default: []].append(node.name) }
            add("state_\(node.state.rawValue)")
            guard node.state != .down else { continue }
            let services = running[node.name] ?? []
            guard node.role == .node else {
                add("witness")
                continue
            }
            add("duty_\(node.duty?.rawValue ?? (services.isEmpty ? "standby" : "serving"))")
            for service in services { add("service_\(service)") }
            for (key, value) in node.labels {
                add(key == "role" ? "role_\(value)" : "label_\(key)_\(value)")
            }
        }
        return groups.sorted { $0.key < $1.key }.map { ($0.key, Array(Set($0.value)).sorted()) }
    }

    /// The answer to `--list`.
    package var list: JSONValue {
        let groups = groups
        var top: [String: JSONValue] = [
            "_meta": .object([
                "hostvars": .object(Dictionary(nodes.map { ($0.name, variables(of: $0)) }) { first, _ in first })
            ]),
            "all": .object(["children": .array((groups.map(\.name) + ["ungrouped"]).map { .string($0) })]),
        ]
        for group in groups { top[group.name] = .object(["hosts": .array(group.nodes.map { .string($0) })]) }
        return .object(top)
    }

    /// The answer to `--host NAME`; nil for a node that is not there.
    package func host(_ name: String) -> JSONValue? {
        nodes.first { $0.name == name }.map(variables)
    }

    private func variables(of node: NodeInfo) -> JSONValue {
        var variables: [String: JSONValue] = [
            "ansible_host": .string(node.address), "ansible_ssh_extra_args": .string(Self.sshOptions),
            "bramble_id": .string(node.id), "bramble_state": .string(node.state.rawValue),
            "bramble_duty": node.duty.map { .string($0.rawValue) } ?? .null,
            "bramble_port": .integer(Int64(node.port)), "bramble_version": .string(node.version),
            "bramble_addresses": .array(node.addresses.map { .string($0) }),
            "bramble_services": .array((running[node.name] ?? []).map { .string($0) }),
            "bramble_labels": .object(node.labels.mapValues { .string($0) }),
            "bramble_self": .bool(node.isSelf),
        ]
        if let load = node.load {
            variables["bramble_cpu"] = .number(load.cpu)
            variables["bramble_memory"] = .number(load.memory)
            variables["bramble_load1"] = .number(load.load1)
            variables["bramble_temperature"] = load.temperature.map { .number($0) } ?? .null
        }
        return .object(variables)
    }

    /// Who can be given work, the least busy first: alive, and neither on hold nor drained.
    package var leastBusy: [NodeInfo] {
        nodes.filter { $0.state == .alive && $0.duty == nil && $0.role == .node }
            .sorted { Self.business($0) < Self.business($1) }
    }

    /// Processor first, in steps of 5 % so that noise decides nothing, then the load average, then memory. Who says
    /// nothing of its load comes last.
    private static func business(_ node: NodeInfo) -> (Int, Double, Double, String) {
        guard let load = node.load else { return (.max, 0, 0, node.name) }
        return (Int(load.cpu * 20), load.load1, load.memory, node.name)
    }

    /// Ansible takes letters, digits and underscores, no digit in front.
    package static func groupName(_ text: String) -> String {
        let name = String(text.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
        return name.first?.isNumber ?? true ? "_" + name : name
    }
}
