import Primitives
import Replication
import Testing

@Suite("the state of a row is a function of the set of its changes")
struct RowStateTests {
    private static let fresh: [UInt64] = {
        var chance = SystemRandomNumberGenerator()
        return (0..<100).map { _ in chance.next() >> 32 }
    }()

    /// Each stamp once, as replication promises: a writer changes a row once in a record.
    private func changes(_ chance: inout SeededGenerator) -> [RowChange] {
        var stamps: Set<Stamp> = []
        while stamps.count < 1 + chance.below(7) {
            let time = HybridTime(milliseconds: Int64(1 + chance.below(6)))
            stamps.insert(Stamp(time, Origin(rawValue: UInt64(1 + chance.below(3)))))
        }
        return stamps.sorted().map { stamp in
            let kind = RowChange.Kind.allCases[chance.below(3)]
            var cells: [RowChange.Cell] = []
            var sums: [RowChange.Sum] = []
            if kind != .delete {
                for column in 1..<4 where kind == .insert || chance.chance(0.5) {
                    cells.append(RowChange.Cell(column, .integer(Int64(chance.below(4)))))
                }
                if kind == .insert || chance.chance(0.5) { sums.append(RowChange.Sum(4, Int64(chance.below(9)))) }
            }
            return RowChange(kind, stamp, cells: cells, sums: sums)
        }
    }

    @Test("in any order, and twice", arguments: fresh)
    func order(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        let all = changes(&chance)
        var expected = RowState()
        for change in all { expected.merge(change) }
        for _ in 0..<6 {
            var shuffled = all
            chance.shuffle(&shuffled)
            var state = RowState()
            for change in shuffled {
                state.merge(change)
                if chance.chance(0.3) { state.merge(shuffled[chance.below(shuffled.count)]) }
            }
            for change in shuffled { state.merge(change) }
            #expect(state == expected, "seed \(seed)")
        }
    }

    @Test(
        "it is what the definition says: latest insert against latest delete, latest value after the insert",
        arguments: fresh)
    func definition(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        let all = changes(&chance)
        var state = RowState()
        for change in all { state.merge(change) }
        let insert = all.filter { $0.kind == .insert }.map(\.stamp).max() ?? .zero
        let delete = all.filter { $0.kind == .delete }.map(\.stamp).max() ?? .zero
        #expect(state.isAlive == (insert > delete), "seed \(seed)")
        guard state.isAlive else { return }
        for column in 1..<4 {
            let latest = all.filter { change in change.stamp >= insert && change.cells.contains { $0.column == column }
            }
            .max { $0.stamp < $1.stamp }
            let value = latest?.cells.first { $0.column == column }?.value
            #expect(state.cell(column)?.value == value, "seed \(seed)")
        }
        var sums: [Origin: Int64] = [:]
        for change in all where change.stamp > delete {
            for sum in change.sums { sums[change.stamp.origin] = sum.sum }
        }
        #expect(state.counter(4) == sums.values.reduce(0, +), "seed \(seed)")
    }

    @Test("an UPDATE of a row that was deleted does not bring it back")
    func noResurrection() {
        let writer = Origin(rawValue: 1)
        var state = RowState()
        state.merge(RowChange(.insert, Stamp(HybridTime(milliseconds: 1), writer), cells: [.init(1, .integer(1))]))
        state.merge(RowChange(.delete, Stamp(HybridTime(milliseconds: 2), writer)))
        state.merge(RowChange(.update, Stamp(HybridTime(milliseconds: 3), writer), cells: [.init(1, .integer(2))]))
        #expect(!state.isAlive)
    }

    @Test("a counter shows what its writer meant, whatever others added and deleted before")
    func ownSum() {
        let (one, two) = (Origin(rawValue: 1), Origin(rawValue: 2))
        var state = RowState()
        state.merge(RowChange(.insert, Stamp(HybridTime(milliseconds: 1), one), sums: [.init(1, 5)]))
        state.merge(RowChange(.update, Stamp(HybridTime(milliseconds: 2), two), sums: [.init(1, 3)]))
        #expect(state.counter(1) == 8)
        let sum = state.ownSum(showing: 10, column: 1, origin: two)
        state.merge(RowChange(.update, Stamp(HybridTime(milliseconds: 3), two), sums: [.init(1, sum)]))
        #expect(state.counter(1) == 10)
    }
}
