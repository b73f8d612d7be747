import Foundation
import Node
import Primitives
import Reactor
import Replication
import Storage
import Testing

@testable import Daemon

/// A database of the daemon's, with what it told.
final class OneDatabase: Sendable {
    struct Told: Sendable {
        var facts: [String: [UInt8]] = [:]
        var wholes = 0
        var trust: [[UInt8]] = []
        var tookOver = 0
    }
    static let id = NodeID(high: 7, low: 7)
    let told = Locked(Told())
    let database: Database
    let folder: String

    init(_ folder: String? = nil) {
        self.folder = folder ?? NSTemporaryDirectory() + "bramble-memory-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        let told = told
        database = Database(
            id: Self.id, name: "one", directory: self.folder, clusters: [],
            outlets: Database.Outlets(
                send: { _, _, _ in }, hash: { _ in }, tell: { _ in },
                facts: { facts, isWhole in
                    told.withLock { told in
                        if isWhole {
                            told.facts = [:]
                            told.wholes += 1
                        }
                        for fact in facts { told.facts[fact.key] = fact.value.isEmpty ? nil : fact.value }
                    }
                },
                trust: { bytes in told.withLock { $0.trust.append(bytes) } },
                tookOver: { told.withLock { $0.tookOver += 1 } }))
    }
    func end() async {
        await database.close()
        database.stopThread()
    }
    func remove() { try? FileManager.default.removeItem(atPath: folder) }

    /// A node alone takes three seconds to be sure that nobody has more than it.
    func eventually(_ condition: (Told) -> Bool) async -> Bool {
        for _ in 0..<3000 {
            if condition(told.withLock { $0 }) { return true }
            try? await Task.sleep(for: .milliseconds(20))
        }
        return false
    }
}

@Suite("the memory of the cluster is in the database, and the pulse is told of it")
struct ClusterMemoryTests {
    private func entry(_ text: String, by origin: NodeID = OneDatabase.id) -> SharedFacts.Entry {
        SharedFacts.Entry(value: Array(text.utf8), stamp: 5, origin: origin)
    }

    @Test("facts of an earlier version are taken over once, and not over what was decided since")
    func legacy() async throws {
        let first = OneDatabase()
        defer { first.remove() }
        let old = [StoredFact("user/admin", [1]), StoredFact("desired/services/a", [2])]
        await first.database.begin(legacy: old, trust: SharedFacts())
        await first.database.open()
        #expect(await first.eventually { $0.tookOver == 1 && $0.facts["user/admin"] == [1] })
        #expect(try await first.database.remember([FactEdit("user/admin", [9])]).contains("no other node"))
        #expect(first.told.withLock { $0.facts["user/admin"] } == [9], "told before it is answered")
        await first.end()

        // As after a crash before the file was written anew: it is offered again.
        let again = OneDatabase(first.folder)
        await again.database.begin(legacy: old, trust: SharedFacts())
        await again.database.open()
        #expect(await again.eventually { $0.tookOver == 1 })
        #expect(again.told.withLock { $0.facts["user/admin"] } == [9])
        #expect(again.told.withLock { $0.facts["desired/services/a"] } == [2])
        await again.end()
    }

    @Test("the first password counts at once, is on the disk when that is said, and never replaces a later one")
    func founding() async throws {
        let first = OneDatabase()
        defer { first.remove() }
        await first.database.begin(legacy: [], trust: SharedFacts())
        await first.database.open()
        #expect(await first.database.found(StoredFact("user/admin", [1])))
        #expect(first.told.withLock { $0.facts["user/admin"] } == [1])
        _ = try await first.database.remember([FactEdit("user/admin", [2])])
        #expect(await first.database.found(StoredFact("user/admin", [1])))
        #expect(first.told.withLock { $0.facts["user/admin"] } == [2])
        await first.end()
        let again = OneDatabase(first.folder)
        await again.database.open()
        #expect(again.told.withLock { $0.facts["user/admin"] } == [2], "there as soon as it is open")
        #expect(again.told.withLock { $0.wholes } == 1)
        await again.end()
    }

    @Test(
        "a removal that was decided here becomes rows, also when the database lost them; one that only a row has is told"
    )
    func trust() async throws {
        let gone = NodeID(high: 9, low: 9)
        var facts = SharedFacts()
        _ = facts.merge([(FactKey.removed(gone), entry("today")), (FactKey.clusterKey(version: 2), entry("secret"))])
        let first = OneDatabase()
        defer { first.remove() }
        await first.database.begin(legacy: [], trust: facts)
        await first.database.open()
        _ = try await first.database.remember([FactEdit("user/a", [1])])
        #expect(await first.eventually { $0.wholes > 0 })
        let rows = try await first.database.rows("SELECT key FROM bramble_facts WHERE key NOT LIKE 'origin/%'")
        #expect(rows == [[.text(FactKey.removed(gone))]], "the row of the removal, and no cluster key")
        let member = try await first.database.memberRows().first { $0.id == gone.description }
        #expect(member?.removed == "today" && member?.removedBy == "one")
        #expect(await !first.database.countedMembers.contains(gone))
        await first.end()

        let again = OneDatabase(first.folder)
        await again.database.begin(legacy: [], trust: SharedFacts())
        await again.database.open()
        #expect(await again.eventually { !$0.trust.isEmpty }, "the core's file was lost: the row tells it")
        await again.end()
    }

    @Test("who has a row counts for tombstones however long it is away, until it is removed")
    func counted() async throws {
        let (away, removed) = (NodeID(high: 3, low: 3), NodeID(high: 4, low: 4))
        let one = OneDatabase()
        defer { one.remove() }
        await one.database.open()
        #expect(await one.eventually { $0.wholes > 0 })
        try await one.database.addRows([
            MemberRow(id: away.description, name: "away"),
            MemberRow(id: removed.description, name: "gone", removed: "today"),
        ])
        one.database.peersChanged(members: [OneDatabase.id], reachable: [])
        #expect(await one.database.countedMembers == [away, OneDatabase.id].sorted())
        #expect(await one.database.acknowledging == [away, OneDatabase.id].sorted())
        #expect(await one.eventually { $0.facts[FactKey.member(away)] == Array("away".utf8) })
        await one.end()
    }

    @Test("what the pulse hands over while the database cannot be opened is written when it can")
    func closed() async throws {
        let one = OneDatabase()
        defer { one.remove() }
        // A folder in the place of the file.
        try FileManager.default.createDirectory(atPath: one.database.path, withIntermediateDirectories: true)
        await one.database.open()
        #expect(await !one.database.isOpen)
        one.database.store([StoredFact("desired/orders/x", [1]), StoredFact("desired/orders/y", [])])
        try FileManager.default.removeItem(atPath: one.database.path)
        #expect(await one.eventually { $0.facts["desired/orders/x"] == [1] })
        await one.end()
    }
}

extension Database {
    fileprivate var isOpen: Bool { replica != nil }
    fileprivate var acknowledging: [NodeID]? { replica?.replicator.members }
    fileprivate func rows(_ statement: String) throws -> [[Replication.SQLValue]]? {
        try replica?.store.query([SQLStatement(statement)]).rows
    }
    fileprivate func memberRows() throws -> [MemberRow] { try replica?.store.members() ?? [] }
    fileprivate func addRows(_ rows: [MemberRow]) throws {
        _ = try replica?.remember([], members: rows, durability: .local, now: now, wall: wall)
        scheduleTurn()
    }
}
