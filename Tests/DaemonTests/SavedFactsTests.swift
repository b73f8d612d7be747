import Node
import Primitives
import Testing

@testable import Daemon

@Suite("facts of the cluster are kept in the database, trust facts in a file too")
struct SavedFactsTests {
    private let node = NodeID(high: 1, low: 2)

    @Test(
        "a file of an earlier version is split: trust facts stay, the rest waits for the database and stays in the file"
    )
    func legacy() throws {
        var old = SharedFacts()
        _ = try old.set(FactKey.user("admin"), to: [1, 2], by: node)
        _ = try old.set(FactKey.approved(node), to: [3], by: node)
        _ = try old.set(FactKey.token("gone"), to: nil, by: node)
        var read = try #require(SavedState.facts(from: SavedState.encode(old)))
        let legacy = read.takeOthers()
        #expect(legacy == [StoredFact("user/admin", [1, 2], by: node)])
        #expect(read.keys(prefix: "") == [FactKey.approved(node)])
        #expect(read.entries == old.entries.filter { $0.key == FactKey.approved(node) })

        var again = try #require(SavedState.facts(from: SavedState.encode(read, legacy: legacy)))
        #expect(again.takeOthers() == legacy, "a crash before the database had them loses nothing")
        let without = try #require(SavedState.facts(from: SavedState.encode(read)))
        #expect(without.entries == read.entries)
    }

    @Test("a trust fact survives its way through a row")
    func row() throws {
        let entry = SharedFacts.Entry(value: [0, 255], stamp: .max, origin: node)
        #expect(SavedState.entry(from: SavedState.encode(entry)) == entry)
        #expect(SavedState.entry(from: [1, 2, 3]) == nil)
    }

    @Test("a token works as soon as its row is told, and is refused as soon as it is not there")
    func tokens() throws {
        let table = Accounts.TokenTable()
        let (secret, stored) = Accounts.makeToken(at: "now")
        let (other, storedOther) = Accounts.makeToken(at: "now")
        table.learn([StoredFact(FactKey.token("a"), stored)], isWhole: false)
        #expect(table.name(of: secret) == "a")
        table.learn([StoredFact(FactKey.token("a"), storedOther)], isWhole: false)
        #expect(table.name(of: secret) == nil, "made anew on another node")
        #expect(table.name(of: other) == "a")
        table.learn([StoredFact(FactKey.token("b"), stored)], isWhole: true)
        #expect(table.name(of: other) == nil)
        table.learn([StoredFact(FactKey.token("b"), [])], isWhole: false)
        #expect(table.name(of: secret) == nil)
    }
}
