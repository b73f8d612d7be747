import Replication

/// What a store keeps in memory of what its file says, and takes back when a transaction fails.
struct Knowledge {
    struct Known {
        var head: UInt64 = 0
        /// Of the record at the head.
        var time = HybridTime.zero
        /// The log begins after this one.
        var floor: UInt64 = 0
        var floorTime = HybridTime.zero
        /// What this origin had seen of others when it wrote its head.
        var context = WriterContext()
    }
    var origins: [Origin: Known] = [:]
    var clock = HybridClock(latest: .zero)
    /// The highest time that the file allows to use.
    var reserved = HybridTime.zero
    var tables: [String: TableModel] = [:]
    var logBytes = 0
    var logRecords = 0
    var conflicts = 0
    /// Of changes that wait for a table or column.
    var heldBytes = 0
    /// Origins whose head moved since our last record told what we had seen.
    var untold: Set<Origin> = []
    /// Origins that nobody speaks of any more, and how far they went.
    var forgotten: [Origin: UInt64] = [:]
    /// The own origin of which the facts say whose it is.
    var toldOrigin: Origin?
    /// Origins whose context is not in the file yet.
    var unsaved: Set<Origin> = []

    var vector: VersionVector { VersionVector(origins.mapValues(\.head)) }
}

/// What one origin had seen of others, now and a while back.
struct WriterContext {
    /// One step: from its record of this time on it had seen the other's records up to `seen`.
    struct Step {
        let at: HybridTime
        let seen: HybridTime
    }
    /// In order; the last one holds now.
    private(set) var steps: [Origin: [Step]] = [:]
    /// Of each other origin. An overwrite older than what is kept of the steps is not listed as a conflict.
    private static let kept = 64

    mutating func saw(_ other: Origin, upTo seen: HybridTime, at: HybridTime) {
        var list = steps[other] ?? []
        if let last = list.last, last.seen >= seen { return }
        if list.count >= 2 * Self.kept { list.removeFirst(Self.kept) }
        list.append(Step(at: at, seen: seen))
        steps[other] = list
    }
    mutating func forget(_ other: Origin) { steps[other] = nil }
    func latest(of other: Origin) -> HybridTime { steps[other]?.last?.seen ?? .zero }
    /// What was seen of `other` by the record of time `at`; nil when that is too long ago.
    func seen(of other: Origin, at: HybridTime) -> HybridTime? {
        guard let list = steps[other] else { return .zero }
        if let step = list.last(where: { $0.at <= at }) { return step.seen }
        return list.count < Self.kept && list.first.map { $0.at > at } == true && isComplete ? .zero : nil
    }
    /// False after a start: only the last step is in the file.
    var isComplete = true
    var others: [Origin] { steps.keys.sorted() }
    func last(of other: Origin) -> Step? { steps[other]?.last }
}
