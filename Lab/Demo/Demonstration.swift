import BrambleAPI
import Glibc
import Lab

/// Three real nodes on this machine: they find each other and run a web service with mirrored files, its node is killed, and
/// a client counts.
final class Demonstration {
    private let terminal: Terminal
    private let lab: Lab
    private let nodes: [BrambleNode]
    private var relay: Relay?
    /// The client, from the first start of the service on.
    private var watch: AddressWatch?
    /// When the last blow was dealt whose gap is not told yet, and who served then.
    private var open: (moment: Double, holder: String)?
    private static let address = "10.77.0.50"
    private static let port: UInt16 = 8000
    /// This program serves the page, too.
    private static let ownPath = realPath("/proc/self/exe")
    /// The last event shown, for each node.
    private var shown: [String: UInt64] = [:]
    private var cutOff: Set<String> = []
    /// When a node was killed or cut off, seconds of CLOCK_MONOTONIC.
    private var struck: [String: Double] = [:]

    init(program: String, terminal: Terminal) throws {
        self.terminal = terminal
        let start = monotonicSeconds()
        lab = try Lab(["serv1", "serv2", "serv3", "client"])
        nodes = lab.hosts.prefix(3).map { BrambleNode(program, on: $0) }
        terminal.step(
            "serv1, serv2 and serv3: three computers on one network, and a client",
            took: (monotonicSeconds() - start) * 1000)
    }
    func close() {
        _ = watch?.stop()
        lab.close()
    }

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
        guard let holder = try giveService() else { return false }
        watch = try AddressWatch(Self.address, port: Self.port, from: lab["client"])
        if terminal.isInteractive {
            terminal.say()
            terminal.say("  Open the dashboard if you like. In five seconds \(holder.name) loses its power.")
            terminal.say()
        }
        // Meanwhile they learn each other's rhythm, as they would have in a cluster that has been up for a while.
        pause(.seconds(terminal.isInteractive ? 5 : 2))
        return try killAndTell(holder)
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

    // MARK: The main job

    /// A web service behind an address that moves, given to the cluster.
    private func giveService() throws -> BrambleNode? {
        // With three voters nobody can run it twice, whatever fails.
        let isAgreed = eventually(within: .seconds(40)) {
            nodes.allSatisfy { (try? $0.status().guarantee) == "majority" }
        }
        guard isAgreed else {
            terminal.fail("the three did not agree on who votes within 40 s")
            return nil
        }
        for node in nodes { try node.host.require("mkdir", "-p", Page.directory) }
        let start = monotonicSeconds()
        try nodes[0].apply(
            """
            services:
              - name: web
                addresses: [\(Self.address)/24]
                run: exec:[\(Self.ownPath), serve, \(Self.address), "\(Self.port)"]
                check: http://:\(Self.port)/
                mirrors: [pages]
            mirrors:
              - name: pages
                paths: [\(Page.directory)/]
                every: on-change

            """)
        let holder = eventually(within: .seconds(20)) { () -> BrambleNode? in
            guard let web = nodes[0].service("web"), web.state == .running else { return nil }
            return nodes.first { $0.name == web.node }
        }
        guard let holder else {
            terminal.fail("the web service did not start within 20 s: \(nodes[0].service("web")?.reason ?? "")")
            return nil
        }
        terminal.step(
            "a web service behind \(Self.address): \(holder.name) runs it", took: (monotonicSeconds() - start) * 1000)
        let written = monotonicSeconds()
        try holder.host.write("written on \(holder.name)", to: Page.path)
        guard isCopied("written on \(holder.name)", to: nodes) else { return nil }
        terminal.step(
            "a page is written there, and its mirror has it on the others", took: (monotonicSeconds() - written) * 1000)
        return holder
    }

    /// False when the page did not get there; it has been said.
    private func isCopied(_ text: String, to others: [BrambleNode]) -> Bool {
        let lacking = { others.filter { $0.host.read(Page.path) != text } }
        if eventually(within: .seconds(30), { lacking().isEmpty }) { return true }
        let mirror = (try? nodes[0].cli("mirror", "list"))?.output ?? ""
        terminal.fail("the page did not get to \(lacking().map(\.name).joined(separator: ", ")) within 30 s\n\(mirror)")
        return false
    }

    /// What the client reads at the address.
    private func readPage() -> String? {
        guard let stream = try? lab["client"].connect(to: Self.address, port: Self.port, limit: .seconds(2)),
            let answer = try? HTTPResponse.ask("GET", "/", over: stream), answer.status == 200
        else { return nil }
        return String(answer.text.drop { $0 == "\n" }.prefix { $0 != "\n" })
    }

    private func killAndTell(_ victim: BrambleNode) throws -> Bool {
        // Old news is not shown again.
        for node in nodes { shown[node.name] = try node.events().last?.id ?? 0 }
        terminal.say("  \(terminal.bad("✗")) \(victim.name), which runs it, loses its power now")
        let moment = monotonicSeconds()
        try lab.powerOff(victim.host)
        let others = nodes.filter { $0 !== victim }
        relay?.move(to: others[0].host)
        for node in others {
            guard
                let event = eventually(within: .seconds(10), { node.event("down", victim.name, after: moment) })
            else {
                terminal.fail("\(node.name) did not notice within 10 s")
                return false
            }
            terminal.step("\(node.name) knows that \(victim.name) is down", took: event.monotonicMs - moment * 1000)
        }
        guard let next = eventually(within: .seconds(20), { served(since: moment, except: victim.name) }) else {
            terminal.fail("the web service did not come back within 20 s")
            return false
        }
        pause(.milliseconds(200))
        let gap = watch?.samples.gap(around: moment) { !$0.nodes.isEmpty } ?? 0
        terminal.step("\(next) runs the web service, at the same address")
        terminal.step("a client that asked every 10 ms had no answer for \(Int(gap.rounded())) ms")
        let written = "written on \(victim.name)"
        guard let page = eventually(within: .seconds(5), { readPage() }), page.hasSuffix(written) else {
            terminal.fail("the page did not come along")
            return false
        }
        terminal.step("it reads now: \(page)")
        guard let holder = others.first(where: { $0.name == next }) else { return false }
        try holder.host.write("\(written), then on \(next)", to: Page.path)
        terminal.say()
        for name in [victim.name, "web"] {
            let why = try others[0].cli("why", name)
            terminal.say("  \(terminal.dim("\(others[0].name) $ bramble why \(name)"))")
            for line in why.output.split(separator: "\n").prefix(6) { terminal.say("  \(line)") }
            terminal.say()
            if !why.succeeded { terminal.fail(why.errors) }
        }
        return try bringBack(victim, next)
    }

    /// The old node is back, and waits: what runs well is not moved again.
    private func bringBack(_ victim: BrambleNode, _ holder: String) throws -> Bool {
        try lab.plug(victim.host)
        try victim.restart()
        guard nodes.agree(alive: nodes.map(\.name), within: .seconds(20)) else { return explainNoAgreement() }
        guard isCopied("written on \(victim.name), then on \(holder)", to: nodes) else { return false }
        pause(.seconds(3))
        let isThere = eventually(within: .seconds(10)) {
            nodes.allSatisfy { $0.service("web")?.node == holder && $0.service("web")?.state == .running }
        }
        let samples = watch?.samples ?? []
        let owners = samples.map(\.nodes).reduce(into: [String]()) { list, nodes in
            for node in nodes.sorted() where list.last != node { list.append(node) }
        }
        guard isThere, samples.doubles.isEmpty, owners == [victim.name, holder] else {
            terminal.fail("the web service did not stay on \(holder): a client saw \(owners.joined(separator: ", "))")
            return false
        }
        terminal.step("\(victim.name) has power again, catches up and waits; web stays on \(holder)")
        terminal.step("in \(samples.count) samples no two nodes answered at once")
        terminal.say()
        try show("service", "list", on: nodes[0])
        for node in nodes { shown[node.name] = try node.events().last?.id ?? 0 }
        return true
    }

    /// The node whose service answered last.
    private func served(since moment: Double, except name: String) -> String? {
        watch?.samples.last { $0.at > moment && !$0.nodes.isEmpty }?.nodes.first { $0 != name }
    }

    /// The command's own table, so that people see what they will get.
    private func showTable(on node: BrambleNode) throws { try show("nodes", on: node) }
    private func show(_ words: String..., on node: BrambleNode) throws {
        let result = try node.cli(words)
        terminal.say("  \(terminal.dim("\(node.name) $ bramble \(words.joined(separator: " "))"))")
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
            tellGap()
            news()
        }
    }

    private func help() {
        let keys = [
            ("k", "kill the node that runs web"), ("c", "cut one off the network"), ("h", "heal everything"),
            ("q", "quit"),
        ]
        terminal.say()
        terminal.say("  " + keys.map { "\(terminal.strong($0.0)) \($0.1)" }.joined(separator: "    "))
        terminal.say()
    }

    private var running: [BrambleNode] { nodes.filter { $0.process?.isRunning == true } }

    /// The node that serves, else the last one that could.
    private var target: BrambleNode? {
        let able = running.filter { !cutOff.contains($0.name) }
        let holder = watch?.samples.last { !$0.nodes.isEmpty }?.nodes.first
        return able.first { $0.name == holder } ?? able.last
    }

    /// After a blow: how long the client waited.
    private func tellGap() {
        guard let blow = open, let next = served(since: blow.moment, except: blow.holder),
            let gap = watch?.samples.gap(around: blow.moment, { !$0.nodes.isEmpty })
        else { return }
        open = nil
        terminal.say("  \(terminal.good("✓")) \(next) runs web; a client had no answer for \(Int(gap.rounded())) ms")
    }

    private func killOne() {
        guard let victim = target else { return terminal.say("  nobody is left to kill; h brings them back") }
        terminal.say("  \(terminal.bad("✗")) \(victim.name) is killed")
        struck[victim.name] = monotonicSeconds()
        open = (monotonicSeconds(), victim.name)
        try? lab.powerOff(victim.host)
        relay?.move(to: running.first?.host)
    }
    private func cutOne() throws {
        guard let victim = target else {
            return terminal.say("  nobody is left to cut off; h brings them back")
        }
        terminal.say("  \(terminal.bad("✗")) \(victim.name) is cut off; it runs on and sees the others fall silent")
        open = (monotonicSeconds(), victim.name)
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
