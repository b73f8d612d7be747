import Membership
import Node
import Primitives
import Testing

@Suite("every node goes by one name")
struct NameTableTests {
    private func record(_ number: UInt64, _ name: String, birth: UInt32, rank: MemberRank = .alive) -> MemberRecord {
        MemberRecord(
            id: NodeID(high: number, low: 0), version: MemberVersion(generation: birth, incarnation: 0), rank: rank,
            profile: MemberProfile(name: NodeName(name)!, addresses: [], software: "1", birth: birth))
    }

    @Test(
        "of two nodes with one name the older keeps it and the younger gets a suffix, in whatever order they are seen")
    func suffix() {
        let older = record(9, "pi", birth: 10)
        let younger = record(1, "pi", birth: 20)
        for records in [[older, younger], [younger, older]] {
            let table = NameTable(records)
            #expect(table.name(of: older.id)?.description == "pi")
            #expect(table.name(of: younger.id)?.description == "pi-2")
            #expect(table.conflicts.map(\.renamed) == [younger.id])
        }
    }

    @Test("a suffix never takes a name that another node has of its own")
    func takenSuffix() {
        let table = NameTable([record(1, "pi", birth: 1), record(2, "pi", birth: 2), record(3, "pi-2", birth: 3)])
        #expect(Set(table.names.values.map(\.description)) == ["pi", "pi-2", "pi-3"])
        #expect(table.name(of: NodeID(high: 3, low: 0))?.description == "pi-2")
    }

    @Test("a removed node frees its name")
    func removed() {
        let table = NameTable([record(1, "pi", birth: 1, rank: .removed), record(2, "pi", birth: 2)])
        #expect(table.name(of: NodeID(high: 2, low: 0))?.description == "pi")
        #expect(table.conflicts.isEmpty)
    }

    @Test(
        "taking nodes in one by one gives the table that all of them give, or says that it cannot", arguments: 0..<100)
    func incremental(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        var records: [MemberRecord] = []
        var table = NameTable([])
        for number in 1...12 {
            let name = "pi\(chance.below(20))" + (chance.chance(0.2) ? "-2" : "")
            records.append(record(UInt64(number), name, birth: UInt32(chance.below(100))))
            if !table.take(records.last!) { table = NameTable(records, former: table) }
            let whole = NameTable(records)
            #expect(table.names == whole.names)
            #expect(Set(table.conflicts.map(\.renamed)) == Set(whole.conflicts.map(\.renamed)))
        }
    }

    @Test("what a node went by is known after its removal, suffix and all")
    func former() {
        let before = NameTable([record(1, "pi", birth: 1), record(2, "pi", birth: 2)])
        let after = NameTable([record(1, "pi", birth: 1), record(2, "pi", birth: 2, rank: .removed)], former: before)
        #expect(after.name(of: NodeID(high: 2, low: 0)) == nil)
        #expect(after.formerNames[NodeID(high: 2, low: 0)]?.description == "pi-2")
    }

    @Test("a name of 63 letters still takes a suffix")
    func longName() {
        let name = String(repeating: "a", count: 63)
        let table = NameTable([record(1, name, birth: 1), record(2, name, birth: 2)])
        #expect(table.name(of: NodeID(high: 2, low: 0))?.description == String(repeating: "a", count: 61) + "-2")
    }

    @Test("a node is found by name, ID or code")
    func lookup() {
        let table = NameTable([record(7, "pi", birth: 1)])
        let id = NodeID(high: 7, low: 0)
        #expect(table.id(of: "PI") == id)
        #expect(table.id(of: id.description) == id)
        #expect(table.id(of: id.code) == id)
        #expect(table.id(of: "nobody") == nil)
    }
}
