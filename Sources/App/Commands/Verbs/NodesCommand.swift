import BrambleAPI
import FoundationEssentials

enum NodesCommand {
    private static let state = Option<NodeState>(
        "state", .choice("STATE"), "Only nodes in this state: alive, suspect, down or left")
    private static let watch = Flag("watch", short: "w", "Show the list until Ctrl-C, as it changes")
    private static let names = Flag("names", "Only the names, one a line")

    static let command = Command(
        asking: "nodes", "List the nodes of the cluster, and how sure this one is of each",
        details: """
            The suspicion φ says how unlikely it is that a node lives and is silent for so long: φ = 3 is one chance in a \
            thousand. At the threshold this node reports it; when enough others say the same, it is down.
            """,
        section: .look, accepts: [state, watch, names, Shared.json],
        examples: ["bramble nodes", "bramble nodes --watch", "bramble nodes --state down --json"]
    ) { input, console, api in
        let given = [watch, names, Shared.json].filter { input[$0] }.map { "--\($0.spec.name)" }
        guard given.count <= 1 else {
            throw UsageError(
                problem: "\(given.joined(separator: " and ")) do not go together", remedy: "give one of them")
        }
        if input[watch] { return try await follow(input, console, api) }
        let all = try await api.nodes()
        let shown = all.filter { node in input[state].map { $0 == node.state } ?? true }
        if input[Shared.json] {
            try console.printJSON(shown)
        } else if input[names] {
            console.terminal.write(shown.map { Text.oneLine($0.name) + "\n" }.joined())
        } else {
            console.terminal.write(NodeTable.text(shown, of: all, terminal: console.terminal))
        }
    }

    /// Redraws in place, at most as often as the node tells news, which is four times a second.
    private static func follow(_ input: Input, _ console: Console, _ api: BrambleClient) async throws {
        guard console.terminal.size() != nil else {
            throw UsageError(
                problem: "--watch redraws a screen, and the output is none",
                remedy: "for scripts: bramble events --follow --json, or bramble nodes --json")
        }
        var nodes: [NodeInfo]?
        while true {
            var trouble: ClientError
            do {
                for try await update in api.live() {
                    switch update {
                    case .nodes(let fresh): nodes = fresh
                    case .suspicion(let phi, _):
                        nodes = nodes?.map { node in
                            var node = node
                            node.phi = phi[node.name] ?? node.phi
                            return node
                        }
                    default: continue
                    }
                    if let nodes { draw(nodes, nil, input, console, api) }
                }
                // Only a cancelled task ends a stream without an error.
                return
            } catch let error as ClientError {
                trouble = error
            }
            // Whoever watches wants to see the daemon come back, but not a typing error in the address.
            guard let last = nodes, trouble.kind == .noAnswer else { throw trouble }
            draw(last, trouble, input, console, api)
            try await Task.sleep(for: .seconds(1))
        }
    }

    private static func draw(
        _ nodes: [NodeInfo], _ trouble: ClientError?, _ input: Input, _ console: Console, _ api: BrambleClient
    ) {
        let terminal = console.terminal
        guard let size = terminal.size() else { return }
        let shown = nodes.filter { node in input[state].map { $0 == node.state } ?? true }
        var lines = NodeTable.text(shown, of: nodes, terminal: terminal).split(separator: "\n").map { String($0) }
        let clock = terminal.wallClock(terminal.now()).time.prefix(8)
        lines.append(
            trouble.map {
                terminal.paint(
                    Text.cut("\(clock)  not current: \(Text.oneLine($0.error.problem))", to: size.columns), .red)
            }
                ?? terminal.paint(Text.cut("\(clock)  \(api.address); Ctrl-C ends", to: size.columns), .faint))
        if lines.count > size.rows, size.rows > 2 {
            let left = lines.count - size.rows + 1
            lines.replaceSubrange(size.rows - 3..<lines.count - 2, with: ["… \(left) more; the window is too low"])
        }
        // Home, then each line over the old one with the rest of it erased, then whatever was below: no flicker.
        let erase = "\u{1B}[K"
        terminal.write("\u{1B}[H" + lines.joined(separator: erase + "\n") + erase + "\u{1B}[J")
    }
}

/// The table of `bramble nodes`.
enum NodeTable {
    static func text(_ nodes: [NodeInfo], of all: [NodeInfo], terminal: Terminal) -> String {
        let now = terminal.now()
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "STATE"), .init(title: "ADDRESS"),
            .init(title: "PORT", alignRight: true, dropOrder: 2),
            .init(title: terminal.hasUnicode ? "φ / THRESHOLD" : "PHI / THRESHOLD"),
            .init(title: "SINCE", alignRight: true, dropOrder: 3), .init(title: "CPU", alignRight: true, dropOrder: 4),
            .init(title: "MEMORY", alignRight: true, dropOrder: 5),
            .init(title: "TEMP", alignRight: true, dropOrder: 6),
            .init(title: "VERSION", dropOrder: 7),
        ])
        table.rows = nodes.map { node in
            [
                .init(
                    node.name + (node.isSelf ? " *" : "") + (node.role == .witness ? " (witness)" : ""),
                    node.isSelf ? .strong : nil),
                .init(node.state.rawValue, colour(of: node.state)), .init(node.address), .init(String(node.port)),
                suspicion(node, terminal), .init(Text.ago(node.since, now: now)),
                .init(percent(node.load?.cpu, terminal)), .init(percent(node.load?.memory, terminal)),
                .init(
                    node.load?.temperature.map { Text.number($0, decimals: 0) + (terminal.hasUnicode ? " °C" : " C") }
                        ?? terminal.dash),
                .init(node.version),
            ]
        }
        return table.rendered(for: terminal) + terminal.wrapped(summary(nodes, of: all)) + "\n"
    }

    private static func summary(_ nodes: [NodeInfo], of all: [NodeInfo]) -> String {
        if nodes.isEmpty {
            return all.isEmpty
                ? "This node knows no nodes yet."
                : "None of the \(Text.count(all.count, "node", "nodes")) is in that state."
        }
        let counts = NodeState.allCases.map { state in (state: state, count: nodes.count { $0.state == state }) }
        let text = counts.filter { $0.count > 0 }.map { "\($0.count) \($0.state.rawValue)" }.joined(separator: ", ")
        let total = nodes.count < all.count ? "\(nodes.count) of " : ""
        let own = nodes.contains(where: \.isSelf) ? "; * is the one that answers" : ""
        return "\(total)\(Text.count(all.count, "node", "nodes")): \(text)\(own)"
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
        guard let phi = node.phi, !node.isSelf else { return .init(terminal.dash, .faint) }
        let shown = phi < 99.95 ? Text.number(phi, decimals: 1) : Text.number(min(phi, 999), decimals: 0)
        let figures = "\(shown) / \(Text.number(node.threshold, decimals: 1))"
        let bar = Suspicion.bar(phi, of: node.threshold, unicode: terminal.hasUnicode)
        let colour: Colour = phi >= node.threshold ? .red : phi >= node.threshold * 5 / 8 ? .yellow : .green
        // The figures are what matters where there is no room for both.
        guard (terminal.width ?? .max) >= 50 else { return .init(figures, colour) }
        return .init(Text.padded(figures, to: 10) + " " + bar, colour)
    }

    private static func percent(_ share: Double?, _ terminal: Terminal) -> String {
        share.map { Text.number($0 * 100, decimals: 0) + " %" } ?? terminal.dash
    }
}
