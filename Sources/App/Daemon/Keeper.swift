import Logging
import Machine
import Membership
import Node
import Reactor

/// Writes down what the pulse decided, on a thread that may wait for the disk. Only the newest of each kind is written:
/// a hundred changes while the disk is busy are one write.
final class Keeper: Sendable {
    private struct Slots {
        var members: [MemberRecord]?
        var facts: SharedFacts?
        /// What an earlier version kept in the file of facts stays in it until it is in the database.
        var legacy: [StoredFact] = []
        var isScheduled = false
        var isClosed = false
    }
    private let home: Home
    private let worker: EventLoop
    private let slots = Locked(Slots())

    init(home: Home, worker: EventLoop, legacy: [StoredFact]) {
        self.home = home
        self.worker = worker
        slots.withLock { $0.legacy = legacy }
    }

    func keep(_ members: [MemberRecord]) { schedule { $0.members = members } }
    func keep(_ facts: SharedFacts) { schedule { $0.facts = facts } }
    func forgetLegacy() { slots.withLock { $0.legacy = [] } }

    /// Writes nothing from now on: the directory is about to be wiped, or the daemon ends. What waits is written first.
    func close() {
        write()
        slots.withLock { $0.isClosed = true }
    }

    private func schedule(_ change: (inout Slots) -> Void) {
        let isFirst = slots.withLock { slots in
            guard !slots.isClosed else { return false }
            change(&slots)
            defer { slots.isScheduled = true }
            return !slots.isScheduled
        }
        if isFirst { worker.perform { self.write() } }
    }

    private func write() {
        let (members, facts, legacy) = slots.withLock { slots in
            defer { slots = Slots(legacy: slots.legacy, isClosed: slots.isClosed) }
            return (slots.members, slots.facts, slots.legacy)
        }
        if let members { write(SavedState.encode(members), to: .members) }
        if let facts { write(SavedState.encode(facts, legacy: legacy), to: .facts) }
    }

    private func write(_ bytes: [UInt8], to file: DataDirectory.File) {
        do throws(DataDirectoryError) {
            try home.directory.write(bytes, to: file)
        } catch {
            // The cluster keeps what this disk cannot; the operator must know all the same.
            Log.error("\(error.problem). \(error.remedy)")
        }
    }
}
