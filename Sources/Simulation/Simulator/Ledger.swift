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
        /// A row of its own table, which is never deleted.
        case count(key: Int, by: Int)
        case addColumn(Int)
        case fill(key: Int, column: Int, value: Int)
        /// Of what the cluster remembers: it has no row in the journal.
        case fact
    }
    struct Entry {
        /// 0 for facts.
        var number: Int
        var record: LogRecord
        var machine: Int
        var deed: Deed
        /// What its writer knew.
        var seen: VersionVector
        var epoch: DatabaseEpoch
        var stamp: Stamp { Stamp(record.time, record.origin) }
    }
    struct Promise {
        var number: Int
        var machine: Int
        var reached: Durability
        var at: TrueTime
        var entry: Entry
    }
    struct Row: Equatable {
        var a: Int?
        var b: Int?
        /// Of added columns, those that are not null.
        var extra: [Int: Int] = [:]
    }

    private(set) var entries: [Origin: [UInt64: Entry]] = [:]
    private(set) var promises: [Promise] = []
    /// Of each machine, the latest time of its writes that it let out, and of the others.
    private(set) var lastTime: [Int: HybridTime] = [:]
    private var unsentTime: [Int: HybridTime] = [:]
    /// Machines whose disk did not keep what it had said it keeps.
    var unreliable: Set<Int> = []
    private var byNumber: [Int: Entry] = [:]
    /// What each restored database began with: everything else of before it is gone.
    var bases: [DatabaseEpoch: VersionVector] = [:]
    private(set) var lastNumber = 0
    private(set) var unconfirmed = 0
    private(set) var alone = 0

    mutating func nextNumber() -> Int {
        lastNumber += 1
        return lastNumber
    }

    /// What is wrong about it, if anything.
    mutating func wrote(
        _ record: LogRecord, _ deed: Deed, number: Int, by machine: Int, seen: VersionVector, epoch: DatabaseEpoch
    ) -> String? {
        let last = max(lastTime[machine] ?? .zero, unsentTime[machine] ?? .zero)
        defer { unsentTime[machine] = max(last, record.time) }
        if let other = entries[record.origin]?[record.sequence] {
            return
                "n\(machine) gave write \(number) the name \(record.origin):\(record.sequence), which n\(other.machine) "
                + "gave to write \(other.number)"
        }
        let entry = Entry(
            number: number, record: record, machine: machine, deed: deed, seen: seen, epoch: epoch)
        entries[record.origin, default: [:]][record.sequence] = entry
        if number > 0 { byNumber[number] = entry }
        if record.time <= last {
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
        guard let entry = byNumber[number] else { return }
        promises.append(Promise(number: number, machine: machine, reached: reached, at: now, entry: entry))
    }
    /// Others may have seen all that it wrote until now.
    mutating func letOut(_ machine: Int) {
        if let time = unsentTime.removeValue(forKey: machine) {
            lastTime[machine] = max(lastTime[machine] ?? .zero, time)
        }
    }
    /// What it had not let out nobody ever sees.
    mutating func lostPower(_ machine: Int) { unsentTime[machine] = nil }
    /// A database that was lost for good starts its clock again.
    mutating func forgetTime(of machine: Int) { (lastTime[machine], unsentTime[machine]) = (nil, nil) }

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

    /// Whether a restored database of this epoch has no place for it: it was written after the backup, or beside it.
    func isLost(_ entry: Entry, in epoch: DatabaseEpoch) -> Bool {
        entry.epoch != epoch && entry.record.sequence > bases[epoch]?[entry.record.origin] ?? 0
    }

    /// What everybody who knows this has to have, by key; rows that are not there are absent.
    func rows(in vector: VersionVector) -> [Int: Row] {
        struct Draft {
            var inserted = Stamp.zero
            var deleted = Stamp.zero
            /// By column: a is -1, b is -2, added ones count from 0. An insert sets all, those it does not know to null.
            var values: [Int: (stamp: Stamp, value: Int?)] = [:]
            mutating func set(_ column: Int, _ value: Int?, _ stamp: Stamp) {
                if stamp > values[column]?.stamp ?? .zero { values[column] = (stamp, value) }
            }
        }
        var drafts: [Int: Draft] = [:]
        for entry in entries(in: vector) {
            let stamp = entry.stamp
            switch entry.deed {
            case .schema, .addColumn, .count, .fact: break
            case .insert(let key, let a, let b):
                drafts[key, default: Draft()].inserted = max(drafts[key]?.inserted ?? .zero, stamp)
                drafts[key]?.set(-1, a, stamp)
                drafts[key]?.set(-2, b, stamp)
            case .update(let key, let isA, let value): drafts[key, default: Draft()].set(isA ? -1 : -2, value, stamp)
            case .fill(let key, let column, let value): drafts[key, default: Draft()].set(column, value, stamp)
            case .delete(let key): drafts[key, default: Draft()].deleted = max(drafts[key]?.deleted ?? .zero, stamp)
            }
        }
        return drafts.compactMapValues { draft in
            guard draft.inserted > draft.deleted else { return nil }
            func value(_ column: Int) -> Int? {
                // Of an added column what the row's latest insert came after is null.
                guard let (stamp, value) = draft.values[column], stamp > draft.deleted,
                    stamp >= draft.inserted || column < 0
                else { return nil }
                return value
            }
            var row = Row(a: value(-1), b: value(-2))
            for column in draft.values.keys where column >= 0 { row.extra[column] = value(column) }
            return row
        }
    }

    /// What counters add up to, by key.
    func tallies(in vector: VersionVector) -> [Int: Int] {
        entries(in: vector).reduce(into: [:]) { sums, entry in
            if case .count(let key, let by) = entry.deed { sums[key, default: 0] += by }
        }
    }

    /// Of each value of `a` and `b` the two latest writes, where neither writer had seen the other's: whoever has both must have
    /// put them on the list. A key that was ever deleted is left out: there the row as a whole is what is on the list.
    func clashes(in vector: VersionVector) -> [(kept: Int, lost: Int)] {
        var writes: [[Int]: [(entry: Entry, value: Int)]] = [:]
        var deleted: Set<Int> = []
        for entry in entries(in: vector) {
            switch entry.deed {
            case .insert(let key, let a, let b):
                writes[[key, 0], default: []].append((entry, a))
                writes[[key, 1], default: []].append((entry, b))
            case .update(let key, let isA, let value):
                writes[[key, isA ? 0 : 1], default: []].append((entry, value))
            case .delete(let key): deleted.insert(key)
            default: break
            }
        }
        return writes.keys.sorted { $0.lexicographicallyPrecedes($1) }.compactMap { place in
            let all = writes[place]!.sorted { $0.entry.stamp > $1.entry.stamp }
            guard all.count > 1, !deleted.contains(place[0]) else { return nil }
            let (winner, loser) = (all[0], all[1])
            let hasSeen = winner.entry.seen[loser.entry.record.origin] >= loser.entry.record.sequence
            guard !hasSeen, winner.entry.record.origin != loser.entry.record.origin else { return nil }
            return (winner.value, loser.value)
        }
    }

    func writer(under origin: Origin) -> Int? { entries[origin]?.values.first?.machine }
    /// Who wrote this value of `a` or `b`; values are never used twice.
    func writer(of value: Int) -> Entry? { byNumber[abs(value)] }
}
