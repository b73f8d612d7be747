import BrambleAPI
import FoundationEssentials

enum LookCommands {
    // MARK: nodes

    private static let state = Option<NodeState>("state", .choice(), "Only nodes in this state")

    static let nodes = Command(
        asking: "nodes", "List the nodes of the cluster, and how sure this one is of each",
        details: """
            The suspicion φ says how unlikely it is that a node lives and is silent for so long: φ = 3 is one chance in a \
            thousand. At the threshold the node is reported; when enough others say the same, it is down.
            """,
        section: .look, accepts: [state, Shared.json],
        examples: ["bramble nodes", "bramble nodes --state down --json"]
    ) { input, console, api in
        let all = try await api.nodes()
        let shown = all.filter { node in input[state].map { $0 == node.state } ?? true }
        if input[Shared.json] { return try console.printJSON(shown) }
        console.terminal.write(NodeTable.text(shown, of: all, console: console))
    }

    // MARK: status

    static let status = Command(
        asking: "status", "Say in a few lines how this node and its cluster are", section: .look,
        accepts: [Shared.json]
    ) { input, console, api in
        let status = try await api.status()
        if input[Shared.json] { return try console.printJSON(status) }
        let terminal = console.terminal
        func line(_ title: String, _ text: String, _ colour: Colour? = nil) {
            console.print(Text.padded(title, to: 11) + terminal.paint(Text.oneLine(text), colour))
        }
        line("Cluster", status.cluster, .strong)
        line("Node", "\(status.node)  (\(status.id), code \(status.code))")
        switch status.state {
        case .alone: line("State", "alone: no other node is known", .yellow)
        case .joining: line("State", "joining: waiting for the cluster's answer", .yellow)
        case .member: line("State", "member", .green)
        case .removed: line("State", "removed from the cluster by an operator", .red)
        }
        line("Nodes", "\(status.nodes.alive) alive, \(status.nodes.down) down", status.nodes.down > 0 ? .red : nil)
        line("Guarantee", status.guarantee)
        line("Running", "\(Text.duration(seconds: status.uptimeSeconds)), version \(status.version)")
        for note in status.notes { line("Note", note, .yellow) }
    }
}

/// The table of `bramble nodes`.
enum NodeTable {
    static func text(_ nodes: [NodeInfo], of all: [NodeInfo], console: Console) -> String {
        let terminal = console.terminal
        let now = terminal.now()
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "STATE"), .init(title: "ADDRESS"),
            .init(title: "PORT", alignRight: true, dropOrder: 3), .init(title: "φ / THRESHOLD"),
            .init(title: "SINCE", alignRight: true, dropOrder: 2), .init(title: "CPU", alignRight: true, dropOrder: 4),
            .init(title: "MEMORY", alignRight: true, dropOrder: 5),
            .init(title: "TEMP", alignRight: true, dropOrder: 6),
            .init(title: "VERSION", dropOrder: 7),
        ])
        table.rows = nodes.map { node in
            [
                .init(node.name + (node.isSelf ? " *" : ""), node.isSelf ? .strong : nil),
                .init(node.state.rawValue, colour(of: node.state)), .init(node.address), .init(String(node.port)),
                suspicion(node, terminal), .init(Text.ago(node.since, now: now)),
                .init(percent(node.load?.cpu)), .init(percent(node.load?.memory)),
                .init(node.load?.temperature.map { Text.number($0, decimals: 0) + " °C" } ?? "–"), .init(node.version),
            ]
        }
        return table.rendered(for: terminal) + summary(nodes, of: all) + "\n"
    }

    private static func summary(_ nodes: [NodeInfo], of all: [NodeInfo]) -> String {
        if nodes.isEmpty {
            return all.isEmpty ? "This node knows no nodes yet." : "No node is in that state, of \(all.count)."
        }
        let counts = NodeState.allCases.map { state in (state, nodes.count { $0.state == state }) }
        let text = counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0.rawValue)" }.joined(separator: ", ")
        let filtered = nodes.count < all.count ? " of \(all.count)" : ""
        let own = nodes.contains(where: \.isSelf) ? "; * is the node that was asked" : ""
        return "\(nodes.count)\(filtered) \(all.count == 1 ? "node" : "nodes"): \(text)\(own)"
    }

    static func colour(of state: NodeState) -> Colour {
        switch state {
        case .alive: .green
        case .suspect: .yellow
        case .down: .red
        case .left: .faint
        }
    }

    private static func suspicion(_ node: NodeInfo, _ terminal: Terminal) -> Table.Cell {
        guard let phi = node.phi else { return .init(terminal.hasUnicode ? "–" : "-", .faint) }
        let figures = "\(Text.number(min(phi, 999), decimals: 1)) / \(Text.number(node.threshold, decimals: 1))"
        let bar = Suspicion.bar(phi, of: node.threshold, unicode: terminal.hasUnicode)
        let colour: Colour = phi >= node.threshold ? .red : phi >= node.threshold * 5 / 8 ? .yellow : .green
        return .init(Text.padded(figures, to: 10) + " " + bar, colour)
    }

    private static func percent(_ share: Double?) -> String {
        share.map { Text.number($0 * 100, decimals: 0) + " %" } ?? "–"
    }
}
