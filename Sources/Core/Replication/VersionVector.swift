import Primitives

/// What a replica knows: of each origin, all entries up to this sequence number, and none above. One integer each, because
/// entries are applied in order and without gaps.
package struct VersionVector: Equatable, Sendable {
    /// Origins nothing is known of are absent.
    package private(set) var heads: [Origin: UInt64] = [:]

    package init() {}
    package init(_ heads: [Origin: UInt64]) { self.heads = heads.filter { $0.value > 0 } }

    package subscript(origin: Origin) -> UInt64 { heads[origin] ?? 0 }
    /// In order: dictionary order must reach no effect.
    package var origins: [Origin] { heads.keys.sorted() }
    package var isEmpty: Bool { heads.isEmpty }

    /// Never goes back.
    package mutating func advance(_ origin: Origin, to sequence: UInt64) {
        if sequence > self[origin] { heads[origin] = sequence }
    }
    package mutating func formMaximum(_ other: VersionVector) {
        for (origin, head) in other.heads { advance(origin, to: head) }
    }
    /// What both know.
    package func minimum(_ other: VersionVector) -> VersionVector {
        VersionVector(heads.reduce(into: [:]) { $0[$1.key] = min($1.value, other[$1.key]) })
    }
    package func covers(_ other: VersionVector) -> Bool { other.heads.allSatisfy { self[$0.key] >= $0.value } }

    /// Without what is forgotten everywhere: an origin that is known beyond that stays.
    package mutating func forget(_ forgotten: [Origin: UInt64]) {
        guard !forgotten.isEmpty else { return }
        heads = heads.filter { $0.value > forgotten[$0.key] ?? 0 }
    }
    /// The same for a copy.
    package func without(_ forgotten: [Origin: UInt64]) -> VersionVector {
        var copy = self
        copy.forget(forgotten)
        return copy
    }

    /// Equal on two replicas when they know the same. Not against forgers: peers are authenticated.
    package var digest: UInt64 {
        heads.reduce(0) { sum, head in
            var mixed = SeededGenerator(seed: head.key.rawValue &+ head.value &* 0x9E37_79B9_7F4A_7C15)
            return sum ^ mixed.next()
        }
    }
}
