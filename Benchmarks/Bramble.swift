import BrambleAPI
import Lab

/// Bramble with its defaults. What it notices is taken from its own events, which carry CLOCK_MONOTONIC.
final class Bramble: Contender {
    let name = "Bramble"
    /// Its events carry their own moments, so asking seldom costs no precision.
    let pollInterval = Duration.milliseconds(40)
    private let lab: Lab
    private let program: String
    private var nodes: [Int: BrambleNode] = [:]
    private var founder: BrambleNode?

    init(on lab: Lab, program: String) {
        self.lab = lab
        self.program = program
    }

    func prepare(_ node: Int) throws {
        let daemon = BrambleNode(program, on: lab.hosts[node])
        if let founder { try daemon.takeKey(of: founder) } else { try daemon.makeCluster("bench") }
        founder = founder ?? daemon
        nodes[node] = daemon
    }
    func launch(_ node: Int, joining: Joining) throws {
        guard let daemon = nodes[node] else { throw LabError("node \(node) was not prepared") }
        switch joining {
        case .addresses:
            let running = nodes.filter { $0.key != node && $0.value.process?.isRunning == true }.keys.sorted()
            try daemon.start(running.prefix(3).flatMap { ["--join", lab.hosts[$0].address] } + ["--no-discovery"])
        case .discovery: try daemon.start()
        }
    }
    func process(_ node: Int) -> LabProcess? { nodes[node]?.process }
    func leave(_ node: Int) throws { nodes[node]?.stop() }

    func noticed(_ news: News, about subject: Int, by observer: Int, after moment: Double) -> Double? {
        let name = lab.hosts[subject].name
        let types = news == .down ? ["down"] : ["joined", "alive", "restarted"]
        let events = (try? nodes[observer]?.events()) ?? []
        return events.first {
            $0.subject == name && types.contains($0.type) && $0.monotonicMs >= moment * 1000
        }.map { $0.monotonicMs / 1000 }
    }
    func believes(_ observer: Int, alive: Set<Int>) -> Bool {
        let seen = nodes[observer]?.view().filter { $0.value == .alive }.keys
        return seen.map { Set($0) } == Set(alive.map { lab.hosts[$0].name })
    }
    func untilMember(_ node: Int, of all: Set<Int>, after moment: Double, within limit: Duration) -> Double? {
        let others = Set(all.subtracting([node]).map { lab.hosts[$0].name })
        let name = lab.hosts[node].name
        let isMember = eventually(within: limit, every: .milliseconds(10)) {
            let edges = (try? nodes[node]?.edges()) ?? []
            return Set(edges.filter { $0.from == name && $0.state == .up }.map(\.to)) == others
        }
        // It hears them; and they have taken in that this is a new run of it.
        guard isMember,
            untilAllNotice(.alive, about: node, observers: all.subtracting([node]), after: moment, within: limit) != nil
        else { return nil }
        return monotonicSeconds() - moment
    }
    func downVerdicts(about subjects: Set<Int>, by observers: Set<Int>, after moment: Double) -> Int {
        let names = Set(subjects.map { lab.hosts[$0].name })
        return observers.reduce(0) { sum, observer in
            let events = (try? nodes[observer]?.events()) ?? []
            return sum
                + events.count { $0.type == "down" && names.contains($0.subject) && $0.monotonicMs >= moment * 1000 }
        }
    }
}
