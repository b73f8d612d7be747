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
private let saved: [UInt64] = [1, 2, 3, 4, 5, 6, 7, 8]

/// Two to five stores, random statements on each, records handed around in any order and several times.
private struct Crowd {
    var chance: SeededGenerator
    var stores: [Store] = []
    var wall = noon
    var bug: PlantedStorageBug?

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

private func content(_ store: Store) throws -> [String] {
    var lines: [String] = []
    for row in try store.ask(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'bramble%' ORDER BY type, name")
    {
        lines.append("\(row)")
    }
    for table in try store.tables() {
        lines.append("\(table)")
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
            #expect(try content(store) == expected, "seed \(seed)")
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
