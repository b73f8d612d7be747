import Foundation
import Primitives
import Replication
import Testing

@testable import Storage

/// Fresh seeds each run, and those that found something. The seed is in each failure.
private let seeds: [UInt64] = {
    let count = Int(ProcessInfo.processInfo.environment["BRAMBLE_STORE_SEEDS"] ?? "") ?? 40
    var chance = SystemRandomNumberGenerator()
    return saved + (0..<count).map { _ in chance.next() >> 32 }
}()
private let saved: [UInt64] = [1, 2, 3, 4, 5, 6, 7, 8, 961_552_749, 782_607_170, 734_056_725, 3_700_145_693]

/// Two to five stores, random statements on each, records handed around in any order and several times.
private struct Crowd {
    var chance: SeededGenerator
    var stores: [Store] = []
    var wall = noon
    var bug: PlantedStorageBug?
    /// Of stores that left.
    private var gone: Set<Origin> = []
    private var orders: [Origin: Forgetting] = [:]
    private(set) var forgotten = 0

    init(seed: UInt64, bug: PlantedStorageBug? = nil) throws {
        chance = SeededGenerator(seed: seed)
        self.bug = bug
        for _ in 0..<2 + chance.below(4) { stores.append(try openStore(seed: chance.next(), bug: bug)) }
    }

    mutating func write(_ schema: Bool) throws {
        let store = stores[chance.below(stores.count)]
        wall += Int64(chance.below(3))
        // Clocks differ.
        let own = wall + Int64(chance.below(40)) - 20
        let key = chance.below(6)
        let statements = [
            "INSERT INTO t (k, a, b) VALUES (\(key), \(chance.below(9)), 'x\(chance.below(9))') ON CONFLICT DO UPDATE SET a = excluded.a",
            "INSERT OR REPLACE INTO t (k, a, n) VALUES (\(key), \(chance.below(9)), \(chance.below(5)))",
            "INSERT OR IGNORE INTO t (k) VALUES (\(key))",
            "UPDATE t SET a = a + 1 WHERE k = \(key)",
            "UPDATE t SET b = 'y\(chance.below(9))', a = NULL WHERE k = \(key)",
            "UPDATE t SET n = n + \(chance.below(5)) WHERE k = \(key)",
            "UPDATE t SET k = \(chance.below(6) + 6) WHERE k = \(key)",
            "DELETE FROM t WHERE k = \(key)",
            "DELETE FROM t WHERE k = \(key); INSERT INTO t (k, b) VALUES (\(key), 'again')",
            "UPDATE t SET c = \(chance.below(9)) WHERE k = \(key)",
            "INSERT OR REPLACE INTO t (k, c, d) VALUES (\(key), \(chance.below(9)), \(chance.below(9)))",
        ]
        let definitions = [
            "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT NOT NULL DEFAULT 'none', n COUNTER)",
            "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT NOT NULL, n COUNTER, e REAL DEFAULT 1.5)",
            "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, a TEXT, n COUNTER, b)",
            "CREATE TABLE IF NOT EXISTS t (k TEXT, a, b, n COUNTER, x INTEGER, PRIMARY KEY (k, x))",
            "ALTER TABLE t ADD COLUMN c INTEGER", "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'd'",
            "ALTER TABLE t ADD COLUMN d COUNTER", "CREATE INDEX IF NOT EXISTS by_a ON t (a)",
            "CREATE INDEX IF NOT EXISTS by_c ON t (c, a)", "CREATE VIEW IF NOT EXISTS v AS SELECT a FROM t",
        ]
        let text =
            schema && chance.chance(0.25)
            ? definitions[chance.below(definitions.count)] : statements[chance.below(statements.count)]
        // Many fail (no such table, no such column): that is part of it, and changes nothing.
        _ = try? store.execute([SQLStatement(text)], wall: own)
    }

    mutating func sync() throws {
        let from = stores[chance.below(stores.count)]
        let to = stores[chance.below(stores.count)]
        guard from !== to, let origin = chance.pick(from: from.vector.origins) else { return }
        let known = to.vector[origin]
        let again = UInt64(chance.below(3))
        let after = known - min(known, again)
        guard case .records(var records) = try from.records(of: origin, after: after, maxBytes: .max) else { return }
        if chance.chance(0.5) { records = Array(records.prefix(1 + chance.below(3))) }
        if chance.chance(0.3) { records += records }
        let result = try to.apply(records)
        if bug == nil { #expect(result.refused.isEmpty) }
    }

    /// What everybody has, of which nobody has more that is not here: the rule of tombstones, with all standings known.
    private func mayForget(_ store: Store) -> Bool {
        stores.allSatisfy { store.wholeVector.covers($0.wholeVector) }
    }
    private var everywhere: VersionVector {
        stores.dropFirst().reduce(stores[0].vector) { $0.minimum($1.wholeVector) }
    }

    /// Some store forgets the deletes that it may.
    mutating func collect() throws {
        let store = stores[chance.below(stores.count)]
        guard mayForget(store) else { return }
        forgotten += try store.collect(stable: everywhere, limit: 1_000)
    }

    /// One store leaves for good; of two each is needed.
    mutating func remove() {
        guard stores.count > 2 else { return }
        gone.insert(stores.remove(at: chance.below(stores.count)).origin)
    }

    /// Somebody orders that those who left are forgotten, where that may be; each store follows when it can.
    mutating func forget() throws {
        let store = stores[chance.below(stores.count)]
        if mayForget(store) {
            for origin in gone where orders[origin] == nil && store.vector[origin] > 0 {
                let head = store.vector[origin]
                guard stores.allSatisfy({ $0.wholeVector[origin] == head }) else { continue }
                orders[origin] = Forgetting(node: NodeID(high: 0, low: 0), head: head, basis: store.wholeVector)
            }
        }
        let able = orders.filter {
            store.wholeVector[$0.key] == $0.value.head && store.wholeVector.covers($0.value.basis)
        }
        try store.forget(able.mapValues(\.head))
    }

    /// Gives away a record before the one that comes before it.
    mutating func skip() throws {
        let from = stores[chance.below(stores.count)]
        let to = stores[chance.below(stores.count)]
        guard from !== to else { return }
        let after = to.vector[from.origin] + 1
        guard case .records(let records) = try from.records(of: from.origin, after: after, maxBytes: .max) else {
            return
        }
        _ = try to.apply(records)
    }

    mutating func settle() throws {
        for _ in 0..<2 {
            for one in stores {
                for other in stores where one !== other { try one.take(from: other) }
            }
        }
    }
}

private func content(_ store: Store, tombstones: Bool = true) throws -> [String] {
    var lines: [String] = []
    for row in try store.ask(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'bramble%' ORDER BY type, name")
    {
        lines.append("\(row)")
    }
    for table in try store.tables() {
        lines.append(tombstones ? "\(table)" : "\(table.name) \(table.columns) \(table.rows)")
        for row in try store.ask("SELECT * FROM \(table.name)") { lines.append("\(row)") }
    }
    return lines
}

@Suite("stores that know the same records are equal")
struct ConvergenceTests {
    @Test("any order, any duplication, one definition", arguments: seeds)
    func rows(seed: UInt64) throws {
        var crowd = try Crowd(seed: seed)
        let definition =
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT NOT NULL DEFAULT 'none', n COUNTER, c, d COUNTER)"
        try crowd.stores[0].run(definition)
        for store in crowd.stores.dropFirst() { try store.take(from: crowd.stores[0]) }
        for _ in 0..<120 { if crowd.chance.chance(0.6) { try crowd.write(false) } else { try crowd.sync() } }
        try crowd.settle()
        try compare(crowd, seed)
    }

    @Test("any order, any duplication, definitions on all sides", arguments: seeds)
    func schema(seed: UInt64) throws {
        var crowd = try Crowd(seed: seed)
        for _ in 0..<140 { if crowd.chance.chance(0.65) { try crowd.write(true) } else { try crowd.sync() } }
        try crowd.settle()
        try compare(crowd, seed)
    }

    @Test("the same while deletes are forgotten, and whole origins of stores that left", arguments: seeds)
    func forgetting(seed: UInt64) throws {
        var crowd = try Crowd(seed: seed)
        for step in 0..<160 {
            switch crowd.chance.below(20) {
            case 0..<8: try crowd.write(true)
            case 8..<16: try crowd.sync()
            case 16: try crowd.collect()
            case 17: try crowd.forget()
            case 18 where step > 40 && crowd.chance.chance(0.2): crowd.remove()
            default:
                // Now and then all of it, so that something may be forgotten in the middle.
                if crowd.chance.chance(0.4) { try crowd.settle() }
            }
        }
        try crowd.settle()
        for _ in 0..<30 {
            try crowd.forget()
            try crowd.collect()
        }
        let first = crowd.stores[0]
        let expected = try content(first, tombstones: false)
        for store in crowd.stores.dropFirst() {
            #expect(store.wholeVector == first.wholeVector, "seed \(seed)")
            let found = try content(store, tombstones: false)
            #expect(
                found == expected,
                "seed \(seed): \(Set(found).subtracting(expected)) against \(Set(expected).subtracting(found))")
        }
    }

    @Test("and something is forgotten in them")
    func forgets() throws {
        var (deletes, origins) = (0, 0)
        for seed in 1...8 {
            var crowd = try Crowd(seed: UInt64(seed))
            try crowd.stores[0].run(
                "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT, n COUNTER, c, d COUNTER)")
            try crowd.settle()
            for _ in 0..<60 { if crowd.chance.chance(0.6) { try crowd.write(false) } else { try crowd.sync() } }
            crowd.remove()
            try crowd.settle()
            for _ in 0..<30 {
                try crowd.forget()
                try crowd.collect()
            }
            deletes += crowd.forgotten
            origins += crowd.stores.reduce(0) { $0 + $1.forgotten.count }
        }
        #expect(deletes > 5 && origins > 3, "\(deletes), \(origins)")
    }

    @Test(
        "a counter's part that is later than a delete is not forgotten with the row: who brings it back makes up for it"
    )
    func surfacingCounters() throws {
        let (one, two, three) = (try openStore(seed: 1), try openStore(seed: 2), try openStore(seed: 3))
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY, n COUNTER)")
        try one.run("INSERT INTO t VALUES (1, 0)")
        for store in [two, three] { try store.take(from: one) }
        // A delete, and a later addition by somebody who does not know of it.
        try one.run("DELETE FROM t", wall: noon + 10)
        try two.run("UPDATE t SET n = n - 4", wall: noon + 20)
        for store in [one, two, three] {
            for other in [one, two, three] where other !== store { try store.take(from: other) }
        }
        _ = try one.collect(stable: one.vector, limit: 100)
        // The one who brings it back has forgotten, or has not: it is the same everywhere.
        for (writer, time) in [(one, noon + 30), (three, noon + 40)] {
            try writer.run("INSERT OR REPLACE INTO t VALUES (1, 0)", wall: time)
            for store in [one, two, three] {
                for other in [one, two, three] where other !== store { try store.take(from: other) }
            }
            for store in [one, two, three] { #expect(try store.ask("SELECT n FROM t") == [[.integer(0)]]) }
        }
    }

    @Test("an index that waits for a column or a table is made also when that is defined here")
    func waitingIndex() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try two.take(from: one)
        try one.run("ALTER TABLE t ADD COLUMN c INTEGER")
        try one.run("CREATE INDEX by_c ON t (c)")
        // As when definitions of two nodes come in another order: the index without its column.
        let element = SchemaElement(
            kind: .index, name: "by_c", detail: "t", stamp: Stamp(HybridTime(milliseconds: noon + 1), one.origin),
            sql: #"CREATE INDEX "by_c" ON "t" (c)"#)
        try two.transaction { () throws(StoreError) in try two.apply(element) }
        #expect(try two.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'by_c'") == [[.integer(0)]])
        try two.run("ALTER TABLE t ADD COLUMN c INTEGER")
        #expect(try two.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'by_c'") == [[.integer(1)]])
    }

    @Test("most statements of these tests do something")
    func busy() throws {
        var crowd = try Crowd(seed: 5)
        for _ in 0..<140 { if crowd.chance.chance(0.65) { try crowd.write(true) } else { try crowd.sync() } }
        try crowd.settle()
        let records = crowd.stores[0].vector.heads.values.reduce(0, +)
        #expect(records >= 20)
        #expect(try !crowd.stores[0].tables().isEmpty)
    }

    @Test("and the comparison notices an UPDATE that resurrects, and records applied out of order")
    func noticed() throws {
        for bug in [PlantedStorageBug.updateResurrects, .appliesOutOfOrder] {
            var isFound = false
            for seed in 1...60 where !isFound {
                var crowd = try Crowd(seed: UInt64(seed), bug: bug)
                try crowd.stores[0].run(
                    "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT, n COUNTER, c, d COUNTER)")
                for store in crowd.stores.dropFirst() { try store.take(from: crowd.stores[0]) }
                for _ in 0..<120 {
                    if crowd.chance.chance(0.6) { try crowd.write(false) } else { try crowd.sync() }
                    if bug == .appliesOutOfOrder, crowd.chance.chance(0.3) { try crowd.skip() }
                }
                try crowd.settle()
                let digests = try Set(crowd.stores.map { try $0.digest() })
                isFound = digests.count > 1
            }
            #expect(isFound, "\(bug)")
        }
    }

    private func compare(_ crowd: Crowd, _ seed: UInt64) throws {
        let first = crowd.stores[0]
        let expected = try content(first)
        for store in crowd.stores.dropFirst() {
            #expect(store.vector == first.vector, "seed \(seed)")
            let found = try content(store)
            #expect(
                found == expected,
                "seed \(seed): \(Set(found).subtracting(expected)) against \(Set(expected).subtracting(found))")
            #expect(try store.digest() == first.digest(), "seed \(seed)")
        }
        // What was written down is what is in memory.
        let again = try openStore(seed: 99, image: first.image())
        #expect(again.vector == first.vector, "seed \(seed)")
        #expect(try again.digest() == first.digest(), "seed \(seed)")
        // A snapshot is the same state.
        let copy = try openStore(seed: 98)
        let header = try first.snapshot()
        _ = try copy.beginInstall(header)
        try copy.installBytes(first.snapshotBytes(from: 0, count: header.size), at: 0)
        try copy.finishInstall(keepingUnsent: false, wall: noon)
        #expect(copy.vector == first.vector, "seed \(seed)")
        #expect(try copy.digest() == first.digest(), "seed \(seed)")
    }
}
