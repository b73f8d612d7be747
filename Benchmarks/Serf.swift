import Glibc
import Lab

/// serf as Debian packages it, with its default profile. What it notices is taken from its log, stamped when the line
/// appears, which is looked at every few milliseconds.
final class Serf: Contender {
    let name = "serf"
    let pollInterval = Duration.milliseconds(5)
    static let isInstalled = access("/usr/bin/serf", X_OK) == 0
    private struct Agent {
        var process: LabProcess
        var consumed = 0
        var news: [(moment: Double, news: News, subject: String)] = []
        var alive: Set<String> = []
    }
    private let lab: Lab
    private var agents: [Int: Agent] = [:]

    init(on lab: Lab) { self.lab = lab }

    func prepare(_ node: Int) {}
    func launch(_ node: Int, joining: Joining) throws {
        let host = lab.hosts[node]
        var command = ["serf", "agent", "-bind=\(host.address)", "-node=\(host.name)"]
        // Always by addresses: -discover of Debian's serf 0.8.2 ends in a nil pointer on hosts like these.
        let running = agents.filter { $0.key != node && $0.value.process.isRunning }.keys.sorted()
        command += running.prefix(3).map { "-join=\(lab.hosts[$0].address)" }
        agents[node] = Agent(process: try host.spawn(command))
    }
    func process(_ node: Int) -> LabProcess? { agents[node]?.process }
    func leave(_ node: Int) throws {
        // serf takes SIGINT as a leave.
        agents[node]?.process.signal(2)
        agents[node]?.process.wait(.seconds(10))
    }

    func noticed(_ news: News, about subject: Int, by observer: Int, after moment: Double) -> Double? {
        read()
        let name = lab.hosts[subject].name
        return agents[observer]?.news.first { $0.moment >= moment && $0.news == news && $0.subject == name }?.moment
    }
    func believes(_ observer: Int, alive: Set<Int>) -> Bool {
        read()
        return agents[observer]?.alive == Set(alive.map { lab.hosts[$0].name })
    }
    func untilMember(_ node: Int, of all: Set<Int>, after moment: Double, within limit: Duration) -> Double? {
        untilAllBelieve(alive: all, observers: [node], after: moment, within: limit)
    }
    func downVerdicts(about subjects: Set<Int>, by observers: Set<Int>, after moment: Double) -> Int {
        read()
        let names = Set(subjects.map { lab.hosts[$0].name })
        return observers.reduce(0) { sum, observer in
            sum
                + (agents[observer]?.news.count {
                    $0.moment >= moment && $0.news == .down && names.contains($0.subject)
                }
                    ?? 0)
        }
    }

    /// Takes in the log lines that are new.
    private func read() {
        for node in agents.keys.sorted() {
            let text = agents[node]!.process.output(from: agents[node]!.consumed)
            guard let end = text.lastIndex(of: "\n") else { continue }
            let moment = monotonicSeconds()
            let whole = text[...end]
            agents[node]!.consumed += whole.utf8.count
            for line in whole.split(separator: "\n") {
                let words = line.split(separator: " ")
                guard let event = words.firstIndex(where: { $0.hasPrefix("EventMember") }), words.count > event + 1
                else { continue }
                let subject = String(words[event + 1])
                switch words[event] {
                case "EventMemberJoin:":
                    agents[node]!.alive.insert(subject)
                    agents[node]!.news.append((moment, .alive, subject))
                case "EventMemberFailed:":
                    agents[node]!.alive.remove(subject)
                    agents[node]!.news.append((moment, .down, subject))
                case "EventMemberLeave:", "EventMemberReap:": agents[node]!.alive.remove(subject)
                default: break
                }
            }
        }
    }
}
