package import Primitives

/// What the operator decided, on every node: who was removed or approved, users, tokens, cluster keys.
///
/// A small map whose entries are last-writer-wins by (stamp, origin); merging is commutative, associative and idempotent,
/// so facts may arrive in any order and any number of times. It stands in for the replicated database, and moves there.
package struct SharedFacts: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        /// Empty means deleted: the entry stays, so that an old value cannot come back.
        package var value: [UInt8]
        /// Grows by one with each write that saw the one before.
        package var stamp: UInt64
        package var origin: NodeID
        package init(value: [UInt8], stamp: UInt64, origin: NodeID) {
            self.value = value
            self.stamp = stamp
            self.origin = origin
        }
    }
    package static let maximumEntries = 1024
    package static let maximumValue = 4096

    package private(set) var entries: [String: Entry] = [:]
    package init() {}
}
