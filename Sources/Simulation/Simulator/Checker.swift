import Membership
import Primitives

/// Something that must hold in every run, watched while it goes on.
protocol Checker {
    /// What must hold, as a sentence.
    var claim: String { get }
    mutating func befalls(_ fault: Fault, in cluster: SimulatedCluster)
    mutating func started(_ machine: SimulatedMachine, in cluster: SimulatedCluster) -> [Finding]
    mutating func stopped(_ machine: SimulatedMachine, in cluster: SimulatedCluster)
    mutating func noticed(_ notice: Notice, at observer: SimulatedMachine, in cluster: SimulatedCluster) -> [Finding]
    /// After a node has digested a message of another.
    mutating func heard(_ message: Message, from sender: NodeID, at observer: SimulatedMachine, in: SimulatedCluster)
        -> [Finding]
    /// Whether `heard` is to be called: messages are read a second time for it.
    var listens: Bool { get }
    mutating func sampled(in cluster: SimulatedCluster) -> [Finding]
    mutating func finished(in cluster: SimulatedCluster) -> [Finding]
}

extension Checker {
    mutating func befalls(_: Fault, in _: SimulatedCluster) {}
    mutating func started(_: SimulatedMachine, in _: SimulatedCluster) -> [Finding] { [] }
    mutating func stopped(_: SimulatedMachine, in _: SimulatedCluster) {}
    mutating func noticed(_: Notice, at _: SimulatedMachine, in _: SimulatedCluster) -> [Finding] { [] }
    mutating func heard(
        _: Message, from _: NodeID, at _: SimulatedMachine, in _: SimulatedCluster
    ) -> [Finding] { [] }
    var listens: Bool { false }
    mutating func sampled(in _: SimulatedCluster) -> [Finding] { [] }
    mutating func finished(in _: SimulatedCluster) -> [Finding] { [] }
}

/// What a checker found, and which machines the account of it is about.
package struct Finding: Equatable, Sendable {
    package var text: String
    package var machines: Set<Int>
}

package struct Violation: Sendable {
    package var at: TrueTime
    package var claim: String
    package var finding: Finding
}

// MARK: Safety

/// The oracle of false verdicts, from the truth alone.
///
/// A verdict “s is down” is justified when s did not run through the whole window before it, or when those who really could
/// not talk to s are at least 60 % of all who could have an opinion, and more than those who could. An observer's own
/// pause is never a reason, nor is loss of up to a quarter. Who could talk to s only counts if the decider could hear him,
/// too. The window is one of the decider's own clock: a machine that stands still with its clock has seen what it saw before.
/// Only the first verdict on each version of s is judged:
/// later ones pass it on.
struct NobodyReachableIsDeclaredDown: Checker {
    private struct Story: Hashable {
        var subject: NodeID
        var version: MemberVersion
    }
    let claim = "nobody is declared down who could be reached by those who watch it"
    /// Longer than it takes from the last real trouble to a verdict over it.
    let window: Duration
    private var judged: Set<Story> = []

    init(window: Duration) { self.window = window }

    mutating func noticed(
        _ notice: Notice, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        if case .suspect = notice { cluster.noteSuspicion() }
        guard case .failed(let id, let verdict) = notice, let subject = cluster.machine(id) else { return [] }
        // What a node thinks that was removed, or is going, is nobody's business.
        guard observer.isMember, let version = observer.record(of: id)?.version,
            judged.insert(Story(subject: id, version: version)).inserted,
            subject.state == .running, subject.claimedGeneration == version.generation
        else { return [] }
        let start = observer.time(ago: window, from: cluster.now)
        let window = cluster.history.window(from: start, to: cluster.now)
        guard window.ranThroughout(subject.number), subject.bootedAt <= start else { return [] }
        let judgement = judge(subject, by: observer, verdict, window: window, in: cluster)
        guard let judgement else { return [] }
        cluster.noteWrongVerdict()
        return [
            Finding(
                text: "n\(observer.number) declares n\(subject.number) down, which ran all the time; \(judgement)",
                machines: [observer.number, subject.number])
        ]
    }

    private func judge(
        _ subject: SimulatedMachine, by observer: SimulatedMachine, _ verdict: Verdict, window: History.Window,
        in cluster: SimulatedCluster
    ) -> String? {
        if window.wasUnpluggedThroughout(observer.number) {
            return "n\(observer.number) knew that it was unplugged itself"
        }
        let observers = Self.observers(of: subject, verdict, in: cluster)
        let audible = heard(by: observer.number, in: cluster) { window.wasEverGood(from: $0, to: $1) }
        var witnesses: [Int] = []
        var complainants: [Int] = []
        for machine in observers where machine.number != subject.number && machine.isUp {
            let number = machine.number
            let isDecider = number == observer.number
            if window.wasGood(number, subject.number) {
                // Observers tell each other directly: one that the decider cannot hear cannot defend.
                let isHeard = window.ranThroughout(number) && window.wasGood(number, observer.number)
                if isDecider || isHeard { witnesses.append(number) }
            } else if audible.contains(number) {
                complainants.append(number)
            }
        }
        let all = witnesses.count + complainants.count
        if complainants.count * 5 >= all * 3, complainants.count > witnesses.count { return nil }
        let list = { (numbers: [Int]) in numbers.isEmpty ? "nobody" : numbers.map { "n\($0)" }.joined(separator: " ") }
        return
            "\(list(witnesses)) could talk to it for the last \(self.window.forPeople), \(list(complainants)) could not"
    }

    /// All of them in a full mesh; above 16 nodes its neighbours on the rings, and whoever accuses.
    private static func observers(
        of subject: SimulatedMachine, _ verdict: Verdict, in cluster: SimulatedCluster
    ) -> [SimulatedMachine] {
        guard cluster.nodes > 16 else { return cluster.machines.filter { $0.clusterSecret == subject.clusterSecret } }
        var ids = Set(verdict.accusers.map(\.observer))
        for edge in subject.core?.snapshot.edges ?? [] {
            ids.insert(edge.watcher == subject.id ? edge.subject : edge.watcher)
        }
        return cluster.machines.filter { ids.contains($0.id) }
    }

    /// Whose word may have come to this node, by way of others too.
    private func heard(
        by start: Int, in cluster: SimulatedCluster, over wasGood: (_ source: Int, _ target: Int) -> Bool
    ) -> Set<Int> {
        var found: Set<Int> = [start]
        var frontier = [start]
        while let next = frontier.popLast() {
            for machine in cluster.machines where machine.isUp && !found.contains(machine.number) {
                if wasGood(machine.number, next) {
                    found.insert(machine.number)
                    frontier.append(machine.number)
                }
            }
        }
        return found
    }
}

/// A member list only ever learns: the version of a node grows, and at one version its rank does, until it is removed.
struct VersionsGrow: Checker {
    private struct Known {
        var boot: Int
        var version: MemberVersion
        var rank: MemberRank
    }
    let claim = "what a node knows of another never goes back to an older version"
    private var known: [[NodeID: Known]]
    private let looksAtSamples: Bool

    init(machines: Int, looksAtSamples: Bool) {
        known = Array(repeating: [:], count: machines)
        self.looksAtSamples = looksAtSamples
    }

    mutating func noticed(
        _ notice: Notice, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        guard let id = notice.subject, let record = observer.record(of: id) else { return [] }
        return check(record, at: observer, in: cluster)
    }

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        guard looksAtSamples else { return [] }
        var findings: [Finding] = []
        for machine in cluster.machines {
            for record in machine.core?.records ?? [] { findings += check(record, at: machine, in: cluster) }
        }
        return findings
    }

    private mutating func check(
        _ record: MemberRecord, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        // A suspicion is an opinion of the moment, not knowledge.
        let rank = record.rank == .suspect ? .alive : record.rank
        let news = Known(boot: observer.boot, version: record.version, rank: rank)
        let old = known[observer.number].updateValue(news, forKey: record.id)
        guard let old, old.boot == observer.boot else { return [] }
        let isOlder = news.version < old.version || (news.version == old.version && news.rank < old.rank)
        guard old.rank == .removed ? news.rank != .removed : isOlder && news.rank != .removed else { return [] }
        let subject = cluster.number(of: record.id)
        return [
            Finding(
                text: "n\(observer.number) had n\(subject ?? -1) as \(old.rank) \(old.version.text), "
                    + "now as \(news.rank) \(news.version.text)",
                machines: Set([observer.number, subject].compactMap { $0 }))
        ]
    }
}

/// The stored version is the highest of all that was ever told by a member, also where the news changed nothing else:
/// otherwise a late message can raise the dead.
struct EvidenceIsKept: Checker {
    let claim = "a node never knows an older version than it was told"
    let listens = true

    mutating func heard(
        _ message: Message, from sender: NodeID, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        message.evidence(from: sender).compactMap { id, version in
            guard let record = observer.record(of: id), record.rank != .removed, record.version < version else {
                return nil
            }
            let subject = cluster.number(of: id)
            return Finding(
                text: "n\(observer.number) was told of n\(subject ?? -1) at \(version.text) by "
                    + "n\(cluster.number(of: sender) ?? -1)'s \(message.kind), and keeps it as \(record.rank) \(record.version.text)",
                machines: Set([observer.number, subject].compactMap { $0 }))
        }
    }
}

extension Message {
    fileprivate var kind: String {
        switch self {
        case .heartbeat: "heartbeat"
        case .ping: "ping"
        case .pong: "pong"
        case .ask: "ask"
        case .evidence: "evidence"
        case .report: "report"
        case .withdraw: "withdrawal"
        case .updates: "updates"
        case .digest: "digest"
        case .delta: "delta"
        }
    }

    /// Whom it tells of, at which version.
    fileprivate func evidence(from sender: NodeID) -> [(NodeID, MemberVersion)] {
        switch self {
        case .heartbeat(let beat):
            [(sender, beat.version)] + beat.updates.map { ($0.id, $0.version) }
        case .ping(_, let version), .pong(_, let version): [(sender, version)]
        case .updates(let updates): updates.map { ($0.id, $0.version) }
        case .delta(let delta): delta.updates.map { ($0.id, $0.version) }
        case .report(let report): [(report.subject, report.version)]
        case .evidence(let evidence): [(evidence.subject, evidence.version)]
        case .ask(let subject, let version), .withdraw(let subject, let version): [(subject, version)]
        case .digest: []
        }
    }
}

/// Every life of a machine has a higher generation than the one before, whatever the power cut took from its disk.
struct GenerationsGrow: Checker {
    let claim = "a node that restarts has a higher generation than ever before"
    private var highest: [Int: UInt32] = [:]

    mutating func started(_ machine: SimulatedMachine, in _: SimulatedCluster) -> [Finding] {
        defer { highest[machine.number] = max(highest[machine.number] ?? 0, machine.generation) }
        guard let before = highest[machine.number], machine.generation <= before else { return [] }
        return [
            Finding(
                text: "n\(machine.number) starts as generation \(machine.generation), after \(before)",
                machines: [machine.number])
        ]
    }
}

/// Once a node knows that another was removed, that one is out; and in the end all know.
struct RemovedStaysRemoved: Checker {
    let claim = "a node that was removed never comes back"
    private var told: [Int: Set<NodeID>] = [:]

    mutating func noticed(
        _ notice: Notice, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        guard let id = notice.subject else { return [] }
        if case .removed = notice {
            told[observer.number, default: []].insert(id)
            return []
        }
        guard told[observer.number]?.contains(id) ?? false else { return [] }
        switch notice {
        case .joined, .alive, .restarted:
            let subject = cluster.number(of: id) ?? -1
            return [
                Finding(
                    text: "n\(observer.number) takes n\(subject) in again, which was removed",
                    machines: [observer.number, subject])
            ]
        default: return []
        }
    }

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        // One that knows nobody at a valid address any more cannot be told.
        cluster.machines.filter { removed in
            removed.isRemoved && removed.isUp
                && cluster.membersNow.contains { member in
                    removed.record(of: member.id)?.profile.addresses.contains(member.endpoint) ?? false
                }
        }.map { Finding(text: "n\($0.number) was removed and still runs as a member", machines: [$0.number]) }
    }
}

/// Clusters with another key stay apart, however near they are.
struct StrangersStayOut: Checker {
    let claim = "nodes with different cluster keys never list each other"

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        cluster.machines.flatMap { observer in
            (observer.core?.records ?? []).compactMap { record -> Finding? in
                guard let other = cluster.machine(record.id), other.clusterSecret != observer.clusterSecret else {
                    return nil
                }
                return Finding(
                    text: "n\(observer.number) lists n\(other.number) of another cluster",
                    machines: [observer.number, other.number])
            }
        }
    }
}

// MARK: Liveness

/// A cluster that starts is one cluster soon.
struct Forms: Checker {
    let claim = "nodes that start find each other"
    private var hasFormed = false

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        guard !hasFormed, cluster.now + .milliseconds(1100) >= cluster.faultsFrom else { return [] }
        guard let difference = cluster.disagreement() else {
            hasFormed = true
            return []
        }
        guard cluster.now >= cluster.faultsFrom else { return [] }
        hasFormed = true
        return [Finding(text: "not formed after \(cluster.now) s: \(difference)", machines: [])]
    }
}

/// Whoever crashes is declared down by every node that runs on, in time. Also measures how long it took each of them.
struct EveryCrashIsFound: Checker {
    private struct Crash {
        var subject: NodeID
        var number: Int
        var generation: UInt32
        var at: TrueTime
        var bound: Duration
        /// Boot counters of those who have not said so yet.
        var waiting: [Int: Int]
    }
    let claim: String
    /// Nil: measured only, because other faults are going on.
    let bound: Duration?
    private var crashes: [Crash] = []

    init(within bound: Duration?) {
        self.bound = bound
        claim = bound.map { "a crash is known to all within \($0.forPeople)" } ?? "crashes are found"
    }

    mutating func stopped(_ machine: SimulatedMachine, in cluster: SimulatedCluster) {
        guard machine.state == .off, cluster.now >= cluster.faultsFrom else { return }
        var waiting: [Int: Int] = [:]
        for observer in cluster.membersNow where observer.clusterSecret == machine.clusterSecret {
            if let record = observer.record(of: machine.id), record.rank < .failed,
                record.version.generation == machine.claimedGeneration
            {
                waiting[observer.number] = observer.boot
            }
        }
        crashes.append(
            Crash(
                subject: machine.id, number: machine.number, generation: machine.generation, at: cluster.now,
                bound: bound ?? .seconds(3600), waiting: waiting))
        // Two that die together do not have to find each other.
        for index in crashes.indices { crashes[index].waiting[machine.number] = nil }
    }

    mutating func started(_ machine: SimulatedMachine, in _: SimulatedCluster) -> [Finding] {
        crashes.removeAll { $0.number == machine.number }
        return []
    }

    mutating func noticed(
        _ notice: Notice, at observer: SimulatedMachine, in cluster: SimulatedCluster
    ) -> [Finding] {
        guard case .failed(let id, _) = notice else { return [] }
        for index in crashes.indices where crashes[index].subject == id {
            guard crashes[index].waiting.removeValue(forKey: observer.number) == observer.boot else { continue }
            cluster.noteDetection(cluster.now - crashes[index].at)
        }
        return []
    }

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        var findings: [Finding] = []
        for index in crashes.indices where cluster.now - crashes[index].at > crashes[index].bound {
            let crash = crashes[index]
            let late = crash.waiting.keys.sorted().filter { number in
                let observer = cluster.machines[number]
                guard observer.state == .running, observer.boot == crash.waiting[number] else { return false }
                return observer.record(of: crash.subject).map { $0.rank < .failed } ?? false
            }
            crashes[index].waiting = [:]
            guard let first = late.first else { continue }
            findings.append(
                Finding(
                    text: "n\(crash.number) died at \(crash.at) s, and \(late.count) nodes, n\(first) first, "
                        + "do not know it \(crash.bound.forPeople) later",
                    machines: [crash.number, first]))
        }
        crashes.removeAll { $0.waiting.isEmpty }
        return findings
    }
}

/// A daemon that was killed and starts again is a member again on all nodes, at once.
struct RestartedIsBack: Checker {
    private struct Return {
        var number: Int
        var boot: Int
        var deadline: TrueTime
    }
    let claim: String
    let bound: Duration
    private var returns: [Return] = []

    init(within bound: Duration) {
        self.bound = bound
        claim = "a node that restarts is a member on all others within \(bound.forPeople)"
    }

    mutating func started(_ machine: SimulatedMachine, in cluster: SimulatedCluster) -> [Finding] {
        guard cluster.now >= cluster.faultsFrom else { return [] }
        returns.append(Return(number: machine.number, boot: machine.boot, deadline: cluster.now + bound))
        return []
    }

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        let due = returns.filter { $0.deadline <= cluster.now }
        returns.removeAll { $0.deadline <= cluster.now }
        return due.flatMap { back -> [Finding] in
            let machine = cluster.machines[back.number]
            guard machine.boot == back.boot, machine.state == .running else { return [] }
            return cluster.membersNow.compactMap { observer -> Finding? in
                guard observer.number != back.number else { return nil }
                let record = observer.record(of: machine.id)
                if let record, record.rank == .alive, record.version.generation == machine.claimedGeneration {
                    return nil
                }
                return Finding(
                    text: "n\(machine.number) restarted as generation \(machine.generation), and "
                        + "\(bound.forPeople) later n\(observer.number) has it as "
                        + (record.map { "\($0.rank) \($0.version.text)" } ?? "unknown"),
                    machines: [machine.number, observer.number])
            }
        }
    }
}

/// When all faults are over, all views are the truth, soon and from then on.
struct Heals: Checker {
    let claim: String
    private var isDecided = false

    init(within bound: Duration) {
        claim = "all nodes agree with the truth within \(bound.forPeople) after everything has healed"
    }

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        guard !isDecided, cluster.now - cluster.healsAt >= cluster.healBound else { return [] }
        isDecided = true
        guard cluster.figures.healMilliseconds == nil, let difference = cluster.disagreement() else { return [] }
        return [Finding(text: "\(cluster.healBound.forPeople) after healing \(difference)", machines: [])]
    }

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        cluster.disagreement().map { [Finding(text: "at the end \($0)", machines: [])] } ?? []
    }
}

/// What operators decided reaches everybody, and then there is nothing left to exchange.
struct FactsSettle: Checker {
    let claim = "all nodes hold the same operator facts in the end, and stop exchanging them"

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        let members = cluster.membersNow.filter { $0.clusterSecret == cluster.machines[0].clusterSecret }
        guard let first = members.first, let facts = first.core?.facts.digest else { return [] }
        var findings = members.filter { $0.core?.facts.digest != facts }.map {
            Finding(
                text: "n\($0.number) and n\(first.number) hold different facts", machines: [$0.number, first.number])
        }
        if let busy = members.first(where: { cluster.now - $0.lastFrameAt < .seconds(1) }) {
            findings.append(
                Finding(
                    text: "n\(busy.number) still sends over streams, although all has been quiet",
                    machines: [busy.number]))
        }
        return findings
    }
}

extension MemberVersion {
    var text: String { "\(generation).\(incarnation)" }
}
