import Primitives

/// Who watches whom, where there are too many nodes for everybody to watch everybody: neighbours on random rings.
///
/// Ring r orders all nodes by SipHash of their ID under the key r; a node and its neighbours on each ring watch each
/// other. Five rings make an expander of at most ten peers per node (Suresh et al., “Stable and consistent membership
/// at scale with Rapid”, ATC 2018): every node can compute it from the member list alone.
struct Topology: Sendable {
    private struct Spot: Comparable, Sendable {
        let position: UInt64
        let id: NodeID
        static func < (left: Spot, right: Spot) -> Bool {
            left.position != right.position ? left.position < right.position : left.id < right.id
        }
    }
    /// Each sorted by position.
    private var rings: [[Spot]]

    init(rings count: Int, members: [NodeID] = []) {
        rings = (0..<count).map { ring in members.map { Self.spot(of: $0, on: ring) }.sorted() }
    }

    mutating func insert(_ id: NodeID) {
        for ring in rings.indices {
            let spot = Self.spot(of: id, on: ring)
            let (place, isThere) = rings[ring].place(of: spot) { $0 }
            if !isThere { rings[ring].insert(spot, at: place) }
        }
    }

    mutating func remove(_ id: NodeID) {
        for ring in rings.indices {
            let (place, isThere) = rings[ring].place(of: Self.spot(of: id, on: ring)) { $0 }
            if isThere { rings[ring].remove(at: place) }
        }
    }

    /// Successor and predecessor on each ring, sorted by ID. The node itself need not be on the rings.
    func neighbours(of id: NodeID) -> [NodeID] {
        var result: [NodeID] = []
        result.reserveCapacity(2 * rings.count)
        for ring in rings.indices {
            let spots = rings[ring]
            let (place, isThere) = spots.place(of: Self.spot(of: id, on: ring)) { $0 }
            guard spots.count > (isThere ? 1 : 0) else { continue }
            let before = spots[place == 0 ? spots.count - 1 : place - 1].id
            let next = isThere ? place + 1 : place
            let after = spots[next < spots.count ? next : next - spots.count].id
            for neighbour in [before, after] {
                let (place, isThere) = result.place(of: neighbour) { $0 }
                if !isThere { result.insert(neighbour, at: place) }
            }
        }
        return result
    }

    private static func spot(of id: NodeID, on ring: Int) -> Spot {
        Spot(position: SipHash.hash(id, key0: UInt64(ring), key1: 0), id: id)
    }
}

extension Array {
    /// Where the element with this key is in an array sorted by it, or where it would have to be.
    func place<Key: Comparable>(of key: Key, by keyOf: (Element) -> Key) -> (index: Int, isThere: Bool) {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if keyOf(self[middle]) < key { low = middle + 1 } else { high = middle }
        }
        return (low, low < count && keyOf(self[low]) == key)
    }
}
