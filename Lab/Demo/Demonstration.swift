import BrambleAPI
import Glibc
import Lab

/// Three real nodes on this machine: they find each other, one is killed, and everybody learns who told whom and why.
final class Demonstration {
    private let terminal: Terminal
    private let lab: Lab
    private let nodes: [BrambleNode]
    private var relay: Relay?
    /// The last event shown, for each node.
    private var shown: [String: UInt64] = [:]
    private var cutOff: Set<String> = []
    /// When a node was killed or cut off, seconds of CLOCK_MONOTONIC.
    private var struck: [String: Double] = [:]

    init(program: String, terminal: Terminal) throws {
        self.terminal = terminal
        let start = monotonicSeconds()
        lab = try Lab(["serv1", "serv2", "serv3"])
        nodes = lab.hosts.map { BrambleNode(program, on: $0) }
        terminal.step(
            "serv1, serv2 and serv3: three computers on one network", took: (monotonicSeconds() - start) * 1000)
    }
    func close() { lab.close() }

    // MARK: The story

    /// False when something did not go as promised; it has been said.
    func run(listen: String, port: UInt16) throws -> Bool {
        let password = try form()
        guard let found = waitUntilAllAgree(from: monotonicSeconds()) else { return explainNoAgreement() }
        terminal.step("they found each other by themselves and agree: 3 nodes alive", took: found)
        terminal.say()
        try showTable(on: nodes[0])
        relay = try Relay(listen: listen, preferring: port, to: nodes[0].host, port: 8080)
        terminal.say("  Dashboard   \(terminal.strong("http://\(listen):\(relay!.port)/"))")
        terminal.say("  Login       \(terminal.strong(password))")
        terminal.say()
        if terminal.isInteractive {
            terminal.say("  Open it if you like. In five seconds \(nodes[1].name) is killed.")
            terminal.say()
        }
        // Meanwhile they learn each other's rhythm, as they would have in a cluster that has been up for a while.
        pause(.seconds(terminal.isInteractive ? 5 : 2))
        return try killAndTell(nodes[1])
    }

    /// One cluster key, made on the first node and copied to the others: all that a machine needs.
    private func form() throws -> String {
        let login = try nodes[0].makeCluster("demo")
        for node in nodes.dropFirst() { try node.takeKey(of: nodes[0]) }
        terminal.step("serv1 made a cluster key; serv2 and serv3 were given a copy of that one file")
        for node in nodes { try node.start() }
        terminal.step("bramble start on each of the three")
        return "\(login.user) / \(login.password)"
    }

    /// Milliseconds until every node sees all alive.
    private func waitUntilAllAgree(from start: Double) -> Double? {
        let names = nodes.map(\.name)
        guard nodes.agree(alive: names, within: .seconds(20)) else { return nil }
        return (monotonicSeconds() - start) * 1000
    }

    private func explainNoAgreement() -> Bool {
        terminal.fail("the nodes did not find each other within 20 s; their logs:")
        for node in nodes {
            terminal.say("\n  \(terminal.strong(node.name))")
            for line in node.log.split(separator: "\n").suffix(12) { terminal.say("    \(line)") }
        }
        return false
    }

    private func killAndTell(_ victim: BrambleNode) throws -> Bool {
        // Old news is not shown again.
        for node in nodes { shown[node.name] = try node.events().last?.id ?? 0 }
        terminal.say("  \(terminal.bad("✗")) \(victim.name) is killed now: kill -9, no goodbye")
        let moment = monotonicSeconds()
        victim.kill()
        let others = nodes.filter { $0 !== victim }
        var slowest = 0.0
        for node in others {
            guard
                let event = eventually(within: .seconds(10), { node.event("down", victim.name, after: moment) })
            else {
                terminal.fail("\(node.name) did not notice within 10 s")
                return false
            }
            let delay = event.monotonicMs - moment * 1000
            slowest = max(slowest, delay)
            terminal.step("\(node.name) knows that \(victim.name) is down", took: delay)
        }
        terminal.say()
        let why = try others[0].cli("why", victim.name)
        terminal.say("  \(terminal.dim("serv1 $ bramble why \(victim.name)"))")
        for line in why.output.split(separator: "\n") { terminal.say("  \(line)") }
        terminal.say()
        try showTable(on: others[0])
        for node in others { shown[node.name] = try node.events().last?.id ?? 0 }
        guard why.succeeded, others.allSatisfy({ $0.view().filter { $0.value == .alive }.count == 2 }) else {
            terminal.fail("the two that are left do not agree on who is alive")
            return false
        }
        terminal.step("everybody knew, and knew why, after \(Int(slowest.rounded())) ms")
        return true
    }

    /// The command's own table, so that people see what they will get.
    private func showTable(on node: BrambleNode) throws {
        let result = try node.cli("nodes")
        terminal.say("  \(terminal.dim("\(node.name) $ bramble nodes"))")
        for line in result.output.split(separator: "\n") { terminal.say("  \(line)") }
        if !result.succeeded { terminal.fail(result.errors) }
        terminal.say()
    }

    // MARK: Keys

    /// Until q. What the nodes notice is printed as it happens.
    func play() throws {
        var terminal = terminal
        terminal.takeKeys()
        defer { terminal.giveBack() }
        help()
        while true {
            switch terminal.key(within: 100) {
            case "k": killOne()
            case "c": try cutOne()
            case "h": try healAll()
            case "q", "\u{3}", "\u{4}": return
            case nil: break
            default: help()
            }
            news()
        }
    }

    private func help() {
        let keys = [("k", "kill a node"), ("c", "cut one off the network"), ("h", "heal everything"), ("q", "quit")]
        terminal.say()
        terminal.say("  " + keys.map { "\(terminal.strong($0.0)) \($0.1)" }.joined(separator: "    "))
        terminal.say()
    }

    private var running: [BrambleNode] { nodes.filter { $0.process?.isRunning == true } }

    private func killOne() {
        guard let victim = running.last else { return terminal.say("  nobody is left to kill; h brings them back") }
        terminal.say("  \(terminal.bad("✗")) \(victim.name) is killed")
        struck[victim.name] = monotonicSeconds()
        victim.kill()
        relay?.move(to: running.first?.host)
    }
    private func cutOne() throws {
        guard let victim = running.last(where: { !cutOff.contains($0.name) }) else {
            return terminal.say("  nobody is left to cut off; h brings them back")
        }
        terminal.say("  \(terminal.bad("✗")) \(victim.name) is cut off; it runs on and sees the others fall silent")
        try lab.cut(victim.host)
        struck[victim.name] = monotonicSeconds()
        cutOff.insert(victim.name)
    }
    private func healAll() throws {
        terminal.say("  \(terminal.good("✓")) every link is whole again and every killed node is started")
        try lab.heal()
        cutOff = []
        for node in nodes where node.process?.isRunning != true { try node.restart() }
        relay?.move(to: nodes.first?.host)
    }

    private func news() {
        for node in running {
            for event in (try? node.events()) ?? [] where event.id > shown[node.name] ?? 0 {
                shown[node.name] = event.id
                let time = event.at.split(separator: "T").last?.prefix(12) ?? ""
                var text = event.text.isEmpty ? "\(event.subject): \(event.type)" : event.text
                if event.type == "down" { text = terminal.bad(text) }
                if ["alive", "joined", "recovered"].contains(event.type) { text = terminal.good(text) }
                var delay = ""
                if event.type == "down", let moment = struck[event.subject] {
                    delay = terminal.strong("  after \(Int((event.monotonicMs - moment * 1000).rounded())) ms")
                }
                terminal.say("  \(terminal.dim(String(time)))  \(terminal.strong(node.name)) says: \(text)\(delay)")
            }
        }
    }
}
