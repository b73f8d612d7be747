import Membership
import Node
import Primitives

/// What happened, newest kept: the account a violation is explained with.
package struct Timeline: Sendable {
    enum Entry: Sendable {
        case fault(Fault)
        case started(Int, generation: UInt32)
        case stopped(Int, SimulatedMachine.State)
        case notice(Int, ClusterNotice)
        case violation(String)
        case database(Int, String)
    }
    private static let capacity = 20_000
    private var entries: [(at: TrueTime, entry: Entry)] = []
    private var dropped = 0

    mutating func add(_ entry: Entry, at now: TrueTime) {
        if entries.count >= 2 * Self.capacity {
            entries.removeFirst(Self.capacity)
            dropped += Self.capacity
        }
        entries.append((now, entry))
    }

    /// The last `count` lines up to `end` that have to do with these machines (faults of the whole network always).
    func lines(about machines: Set<Int>, until end: TrueTime, count: Int, numbers: (NodeID) -> Int?) -> [String] {
        var lines: [String] = []
        for (at, entry) in entries.reversed() where at <= end {
            guard lines.count < count else { break }
            guard machines.isEmpty || entry.concerns(machines, numbers: numbers) else { continue }
            lines.append("\(padded(at)) s  \(entry.text(numbers: numbers))")
        }
        return lines.reversed()
    }

    private func padded(_ time: TrueTime) -> String {
        let text = time.description
        return String(repeating: " ", count: max(0, 8 - text.count)) + text
    }
}

extension Timeline.Entry {
    fileprivate func concerns(_ machines: Set<Int>, numbers: (NodeID) -> Int?) -> Bool {
        switch self {
        case .fault(let fault): fault.machines.isEmpty || !machines.isDisjoint(with: fault.machines)
        case .started(let number, _), .stopped(let number, _): machines.contains(number)
        case .notice(let observer, .membership(let notice)):
            // What others think of these machines, and what these machines think of themselves or each other.
            notice.subject.flatMap(numbers).map(machines.contains) ?? machines.contains(observer)
        case .notice(let observer, _): machines.contains(observer)
        case .violation: true
        case .database(let number, _): machines.contains(number)
        }
    }

    fileprivate func text(numbers: (NodeID) -> Int?) -> String {
        switch self {
        case .fault(let fault): return "** \(fault)"
        case .started(let number, let generation): return "n\(number) starts as generation \(generation)"
        case .stopped(let number, let end):
            switch end {
            case .left: return "n\(number) has left"
            case .removed: return "n\(number) knows that it was removed"
            default: return "n\(number) is off"
            }
        case .violation(let text): return "!! \(text)"
        case .database(let number, let text): return "n\(number): database: \(text)"
        case .notice(let observer, .membership(let notice)): return "n\(observer): \(notice.text(numbers: numbers))"
        case .notice(let observer, .factChanged(let key, _, _)): return "n\(observer): fact \(key) changed"
        case .notice(let observer, .waitingForApproval(let applicant)):
            return "n\(observer): \(nodeName(applicant.record.id, numbers)) waits for approval"
        // A simulated node of this kind has no services: those have a simulation of their own.
        case .notice(let observer, .service), .notice(let observer, .lease): return "n\(observer): services"
        case .notice(let observer, .nameConflict(let conflict)):
            return "n\(observer): \(nodeName(conflict.renamed, numbers)) goes by \(conflict.given)"
        }
    }
}

private func nodeName(_ id: NodeID, _ numbers: (NodeID) -> Int?) -> String {
    numbers(id).map { "n\($0)" } ?? id.description
}

extension Notice {
    var subject: NodeID? {
        switch self {
        case .joined(let id), .suspect(let id, _), .alive(let id, _), .failed(let id, _), .left(let id),
            .removed(let id),
            .restarted(let id), .profileChanged(let id), .pathLost(let id, _), .pathBack(let id, _):
            id
        case .isolated, .rejoined, .stalled: nil
        }
    }

    func text(numbers: (NodeID) -> Int?) -> String {
        let subject = self.subject.map { nodeName($0, numbers) } ?? ""
        switch self {
        case .joined: return "\(subject) joined"
        case .suspect(_, let accusation):
            return "suspects \(subject): \(accusation.text(numbers: numbers))"
        case .alive(_, let rank): return "\(subject) is alive, after \(rank)"
        case .failed(_, let verdict):
            let accusers = verdict.accusers.map { $0.text(numbers: numbers) }.joined(separator: "; ")
            return "\(subject) FAILED, \(verdict.accusers.count) of \(verdict.observers) observers say so "
                + "(\(verdict.needed) needed, \(verdict.defenders) hear it\(verdict.isConfirmed ? "" : ", unconfirmed")): "
                + accusers
        case .left: return "\(subject) left"
        case .removed: return "\(subject) removed"
        case .restarted: return "\(subject) restarted"
        case .profileChanged: return "\(subject) changed its profile"
        case .isolated(let silent, let all): return "isolated: \(silent) of \(all) edges silent"
        case .rejoined: return "no longer isolated"
        case .stalled(let duration): return "its pulse stood still for \(duration.forPeople)"
        case .pathLost(_, let endpoint): return "path \(endpoint) to \(subject) lost"
        case .pathBack(_, let endpoint): return "path \(endpoint) to \(subject) back"
        }
    }
}

extension Accusation {
    fileprivate func text(numbers: (NodeID) -> Int?) -> String {
        "\(nodeName(observer, numbers)) φ \(decimal(phi, places: 1)) after \(silence.forPeople), "
            + "\(unansweredProbes) probes unanswered"
    }
}

extension Fault {
    /// The machines it is about; none for what befalls the whole network.
    var machines: Set<Int> {
        switch self {
        case .powerCut(let machine), .kill(let machine), .boot(let machine), .pause(let machine, _, _),
            .loss(_, _, let machine), .unplug(let machine), .plug(let machine), .renumber(let machine),
            .clockRate(let machine, _), .clockJump(let machine, _), .wallClockStep(let machine, _), .leave(let machine),
            .wipe(let machine), .rollBack(let machine), .backUp(let machine), .restore(let machine),
            .upgrade(let machine):
            [machine]
        case .cut(let a, let b), .mend(let a, let b), .remove(let a, let b): [a, b]
        case .partition, .merge, .weather, .heal: []
        }
    }
    /// Booting is told by the machine itself.
    var isNotable: Bool { if case .boot = self { false } else { true } }
}
