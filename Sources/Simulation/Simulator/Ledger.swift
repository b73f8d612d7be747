import Primitives
import Replication
import Storage

/// What people wrote into the simulated databases, and what they were promised: the truth the copies are compared with.
///
/// It works out by itself, from the list of writes and the rule that the later stamp wins, what every row has to be. It
/// shares no code with the merge.
struct Ledger {
    enum Deed {
        case schema
        case insert(key: Int, a: Int, b: Int)
        case update(key: Int, isA: Bool, value: Int)
        case delete(key: Int)
        case count(key: Int, by: Int)
    }
    struct Entry {
        var number: Int
        var record: LogRecord
        var machine: Int
        var deed: Deed
        var stamp: Stamp { Stamp(record.time, record.origin) }
    }
    struct Promise {
        var number: Int
        var machine: Int
        var reached: Durability
        var at: TrueTime
    }
    struct Row: Equatable {
        var a: Int?
        var b: Int?
        var count: Int
    }

    private(set) var entries: [Origin: [UInt64: Entry]] = [:]
    private(set) var promises: [Promise] = []
    private(set) var lastTime: [Int: HybridTime] = [:]
    /// Machines whose disk did not keep what it had said it keeps.
    var unreliable: Set<Int> = []
    private(set) var lastNumber = 0
    private(set) var unconfirmed = 0
    private(set) var alone = 0

    mutating func nextNumber() -> Int {
        lastNumber += 1
        return lastNumber
    }

    /// What is wrong about it, if anything.
    mutating func wrote(_ record: LogRecord, _ deed: Deed, number: Int, by machine: Int) -> String? {
        defer { lastTime[machine] = max(lastTime[machine] ?? .zero, record.time) }
        if let other = entries[record.origin]?[record.sequence] {
            return
                "n\(machine) gave write \(number) the name \(record.origin):\(record.sequence), which n\(other.machine) "
                + "gave to write \(other.number)"
        }
        entries[record.origin, default: [:]][record.sequence] = Entry(
            number: number, record: record, machine: machine, deed: deed)
        if let last = lastTime[machine], record.time <= last {
            return "n\(machine) wrote at \(record.time), after it had written at \(last)"
        }
        return nil
    }
    mutating func promised(_ number: Int, _ confirmation: WriteConfirmation, by machine: Int, at now: TrueTime) {
        if confirmation.note == .alone { alone += 1 }
        guard let reached = confirmation.reached else {
            unconfirmed += 1
            return
        }
        promises.append(Promise(number: number, machine: machine, reached: reached, at: now))
    }
    /// A database that was lost for good starts its clock again.
    mutating func forgetTime(of machine: Int) { lastTime[machine] = nil }

    /// In no order.
    func entries(in vector: VersionVector) -> [Entry] {
        vector.origins.flatMap { origin in
            (entries[origin] ?? [:]).values.filter { $0.record.sequence <= vector[origin] }
        }
    }
    /// A sequence number that was never given to anybody.
    func invented(in vector: VersionVector) -> String? {
        for origin in vector.origins {
            let known = entries[origin] ?? [:]
            if let gap = (1...vector[origin]).first(where: { known[$0] == nil }) {
                return "\(origin):\(gap), which nobody wrote"
            }
        }
        return nil
    }

    /// What everybody who knows this has to have, by key; rows that are not there are absent.
    func rows(in vector: VersionVector) -> [Int: Row] {
        struct Draft {
            var inserted = Stamp.zero
            var deleted = Stamp.zero
            var a: (stamp: Stamp, value: Int) = (.zero, 0)
            var b: (stamp: Stamp, value: Int) = (.zero, 0)
            var counts: [Origin: [(stamp: Stamp, by: Int)]] = [:]
        }
        var drafts: [Int: Draft] = [:]
        for entry in entries(in: vector) {
            let stamp = entry.stamp
            switch entry.deed {
            case .schema: break
            case .insert(let key, let a, let b):
                var draft = drafts[key] ?? Draft()
                draft.inserted = max(draft.inserted, stamp)
                if stamp > draft.a.stamp { draft.a = (stamp, a) }
                if stamp > draft.b.stamp { draft.b = (stamp, b) }
                drafts[key] = draft
            case .update(let key, let isA, let value):
                var draft = drafts[key] ?? Draft()
                if isA, stamp > draft.a.stamp { draft.a = (stamp, value) }
                if !isA, stamp > draft.b.stamp { draft.b = (stamp, value) }
                drafts[key] = draft
            case .delete(let key):
                var draft = drafts[key] ?? Draft()
                draft.deleted = max(draft.deleted, stamp)
                drafts[key] = draft
            case .count: break
            }
        }
        return drafts.compactMapValues { draft in
            guard draft.inserted > draft.deleted else { return nil }
            return Row(
                a: draft.a.stamp > draft.deleted ? draft.a.value : nil,
                b: draft.b.stamp > draft.deleted ? draft.b.value : nil, count: 0)
        }
    }

    /// Pairs of writes of one value where neither writer had seen the other's.
    func concurrentOverwrites(in vector: VersionVector, between groups: (Int) -> Int) -> Int { 0 }
}
