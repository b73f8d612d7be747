import BrambleAPI
import Lab

/// Real daemons, freshly built, on hosts of a lab, with one cluster key.
@LabThread
final class Cluster {
    let lab: Lab
    private(set) var nodes: [BrambleNode]

    /// `keyed`: all have the key of a new cluster. `started`: all run and agree.
    convenience init(_ names: String..., keyed: Bool = true, started: Bool = true, options: [String] = []) throws {
        try self.init(names: names, others: [], keyed: keyed, started: started, options: options)
    }
    /// `others`: hosts without a daemon.
    init(
        names: [String], others: [String], keyed: Bool = true, started: Bool = true, options: [String] = []
    ) throws {
        lab = try Lab(names + others)
        nodes = lab.hosts.prefix(names.count).map { BrambleNode(BrambleNode.builtHere, on: $0) }
        guard keyed else { return }
        try nodes[0].makeCluster("hedge")
        for node in nodes.dropFirst() { try node.takeKey(of: nodes[0]) }
        guard started else { return }
        for node in nodes { try node.start(options) }
        guard nodes.agree(alive: names, within: .seconds(20)) else {
            throw LabError("no cluster of \(names.joined(separator: ", ")) within 20 s\n\(logs)")
        }
    }

    subscript(_ name: String) -> BrambleNode {
        guard let node = nodes.first(where: { $0.name == name }) else { preconditionFailure("no node “\(name)”") }
        return node
    }
    func others(than node: BrambleNode) -> [BrambleNode] { nodes.filter { $0 !== node } }

    /// One more machine, not started.
    func add(_ name: String, connected: Bool = true) throws -> BrambleNode {
        let host = try lab.add([name], connected: connected)[0]
        nodes.append(BrambleNode(BrambleNode.builtHere, on: host))
        return nodes.last!
    }

    /// The machine as the first node lists it among those that wait.
    func waiting(_ name: String) throws -> WaitingMachine {
        let found = eventually(within: .seconds(15)) {
            ((try? nodes[0].waiting()) ?? []).first { $0.name == name }
        }
        guard let found else { throw LabError("\(name) is not listed among those that wait\n\(logs)") }
        return found
    }
    /// Adds a machine that waits, from the first node. `calling`: by its code in place of its name.
    func admit(_ name: String, calling word: String? = nil) throws {
        _ = try waiting(name)
        let added = try nodes[0].cli("node", "add", word ?? name, "--yes")
        guard added.succeeded else { throw LabError("\(name) cannot be added: \(added.errors)\n\(logs)") }
    }

    func agree(alive names: [String], within limit: Duration = .seconds(15)) -> Bool {
        nodes.filter { names.contains($0.name) }.agree(alive: names, within: limit)
    }

    /// Every “down” that any running node told since a moment, as “observer: subject”.
    func accusations(since moment: Double) -> [String] {
        nodes.filter { $0.process?.isRunning == true }.flatMap { node in
            ((try? node.events()) ?? []).filter { $0.type == "down" && $0.monotonicMs >= moment * 1000 }
                .map { "\(node.name): \($0.subject)" }
        }
    }

    /// The end of each node's log, for failures.
    var logs: String {
        nodes.map { node in
            let lines = node.log.split(separator: "\n").suffix(20).joined(separator: "\n    ")
            return "  log of \(node.name):\n    \(lines)"
        }.joined(separator: "\n")
    }
}
