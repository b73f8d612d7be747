/// One transaction of one origin, on its way: what replication needs to know of it, and a body that only the storage reads.
///
/// The body has at most `maximumBody` bytes and is applied whole or not at all. `docs/protocol/database.md` has its format.
package struct LogRecord: Equatable, Sendable {
    package let origin: Origin
    /// 1 for the first of an origin, then one more each: no gaps.
    package let sequence: UInt64
    /// Grows within an origin.
    package let time: HybridTime
    package let body: [UInt8]

    /// 1 MiB less what a frame needs around it.
    package static let maximumBody = (1 << 20) - 4_096

    package init(origin: Origin, sequence: UInt64, time: HybridTime, body: [UInt8]) {
        self.origin = origin
        self.sequence = sequence
        self.time = time
        self.body = body
    }
}

/// Which history a database belongs to. A restored backup begins a new one, and the higher one replaces the lower on every
/// node: old copies cannot mix back in.
package struct DatabaseEpoch: Hashable, Comparable, Sendable {
    /// When it was restored; zero for a database that never was.
    package let since: HybridTime
    /// Of two restores at one time the higher wins.
    package let number: UInt64
    package init(since: HybridTime, number: UInt64) {
        self.since = since
        self.number = number
    }
    package static let first = DatabaseEpoch(since: .zero, number: 0)
    package static func < (left: DatabaseEpoch, right: DatabaseEpoch) -> Bool {
        (left.since, left.number) < (right.since, right.number)
    }
}

/// How safe a write is before it is acknowledged.
package enum Durability: UInt8, Comparable, CaseIterable, Sendable {
    /// Synced to this node's disk.
    case local
    /// Also synced by one other member.
    case one
    /// Synced by more than half of the members, this one included.
    case majority
    package static func < (left: Durability, right: Durability) -> Bool { left.rawValue < right.rawValue }
}
