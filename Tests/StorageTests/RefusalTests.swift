import Primitives
import Replication
import Testing

@testable import Storage

@Suite("what cannot be done is refused, with the reason, and nothing has changed")
struct RefusalTests {
    private func store() throws -> Store {
        let store = try openStore()
        try store.run(
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER CHECK (a < 100), b TEXT NOT NULL DEFAULT '', n COUNTER)")
        try store.run("CREATE TABLE s (k INTEGER PRIMARY KEY, a INTEGER, b TEXT) STRICT")
        try store.run("CREATE VIEW v AS SELECT * FROM t")
        try store.run("INSERT INTO t (k, a) VALUES (1, 1), (2, 2)")
        return store
    }

    @Test(
        "a statement that cannot hold on several nodes, or reaches outside",
        arguments: [
            ("SELEC 1", "syntax"), ("SELECT absent FROM t", "no such column"),
            ("SELECT 1 FROM nowhere", "no such table"),
            ("INSERT INTO t (k, a) VALUES (1, 5)", "UNIQUE constraint"),
            ("INSERT INTO t (k, a) VALUES (9, 100)", "CHECK"),
            ("INSERT INTO t (k, b) VALUES (9, NULL)", "NOT NULL"),
            ("INSERT INTO s VALUES (1, 'x', 'y')", "cannot store TEXT"),
            ("INSERT INTO t (k) VALUES (7); INSERT INTO t (k) VALUES (1)", "UNIQUE constraint"),
            ("INSERT INTO t (k) VALUES (7); SELEC", "syntax"), ("UPDATE t SET n = 'many' WHERE k = 1", "whole number"),
            ("INSERT INTO t (k, b) VALUES (9, CAST(x'ff' AS TEXT))", "not UTF-8"),
            ("CREATE TABLE u (a, b)", "no primary key"), ("CREATE TABLE u (a PRIMARY KEY, b UNIQUE)", "UNIQUE"),
            ("CREATE TABLE u (a PRIMARY KEY, b, UNIQUE (b))", "UNIQUE"), ("CREATE UNIQUE INDEX i ON t (a)", "UNIQUE"),
            ("CREATE TABLE u (a PRIMARY KEY, b REFERENCES t (k))", "foreign keys"),
            ("CREATE TABLE u (a PRIMARY KEY, b, FOREIGN KEY (b) REFERENCES t (k))", "foreign keys"),
            ("CREATE TABLE u (a INTEGER PRIMARY KEY AUTOINCREMENT)", "AUTOINCREMENT"),
            ("CREATE TABLE u (a PRIMARY KEY, b GENERATED ALWAYS AS (a + 1))", "generated"),
            ("CREATE TABLE u (a PRIMARY KEY, b AS (a + 1))", "generated"),
            ("CREATE TABLE u AS SELECT * FROM t", "AS SELECT"),
            ("CREATE TABLE u (a TEXT COLLATE NOCASE PRIMARY KEY)", "COLLATE"),
            ("CREATE TABLE u (a COUNTER PRIMARY KEY)", "counter"),
            ("CREATE TABLE u (a PRIMARY KEY, n COUNTER DEFAULT 5)", "begins at 0"),
            ("CREATE TEMP TABLE u (a PRIMARY KEY)", "temporary"),
            ("CREATE TABLE temp.u (a PRIMARY KEY)", "one database"),
            ("CREATE TABLE bramble_u (a PRIMARY KEY)", "Bramble's own"),
            ("CREATE TABLE sqlite_u (a PRIMARY KEY)", "reserved"),
            ("CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", "triggers"),
            ("CREATE VIRTUAL TABLE f USING fts5 (x)", "virtual"), ("DROP TABLE t", "DROP"), ("DROP VIEW v", "DROP"),
            ("ALTER TABLE t RENAME TO u", "renaming"), ("ALTER TABLE t DROP COLUMN a", "renaming"),
            ("ALTER TABLE t ADD COLUMN z UNIQUE", "UNIQUE"), ("ALTER TABLE t ADD COLUMN z NOT NULL", "NOT NULL"),
            ("CREATE TABLE u (a PRIMARY KEY, b CHECK (u.b > 0))", "stand alone"),
            ("ALTER TABLE t ADD COLUMN z CHECK (z > a)", "stand alone"),
            ("ALTER TABLE bramble_facts ADD COLUMN z", "Bramble's own"), ("ATTACH '/dev/null' AS x", "ATTACH"),
            ("DETACH main", "DETACH"),
            ("PRAGMA journal_mode = DELETE", "PRAGMA"), ("PRAGMA writable_schema = 1", "PRAGMA"), ("VACUUM", "VACUUM"),
            ("VACUUM INTO '/dev/null'", "VACUUM"),
            ("SELECT load_extension('x')", "load_extension"), ("ANALYZE", "ANALYZE"), ("BEGIN", "transactions"),
            ("COMMIT", "transactions"), ("INSERT INTO t (k) VALUES (7); ROLLBACK", "transactions"),
            ("SAVEPOINT x", "transactions"),
            ("INSERT INTO bramble_facts VALUES ('user/root', x'00')", "Bramble's own"),
            ("DELETE FROM bramble_log", "Bramble's own"),
            ("SELECT value FROM bramble_secrets", "cannot be read"),
            ("SELECT * FROM bramble_secrets", "cannot be read"),
            ("SELECT 1 ORDER BY (SELECT VALUE FROM main.[bramble_secrets])", "cannot be read"),
            ("SELECT count(*) FROM Bramble_Secrets WHERE value > ''", "cannot be read"),
            ("INSERT INTO t SELECT 7, value FROM bramble_secrets", "cannot be read"),
            ("CREATE VIEW peek AS SELECT * FROM bramble_secrets; SELECT * FROM peek", "cannot be read"),
            ("SELECT (SELECT max(body) FROM bramble_log)", "cannot be read"),
            ("SELECT meta FROM bramble_rows", "cannot be read"),
            ("WITH x AS (SELECT change FROM bramble_held) SELECT * FROM x", "cannot be read"),
            ("UPDATE t SET a = 1 RETURNING (SELECT value FROM bramble_secrets)", "cannot be read"),
            ("UPDATE bramble_meta SET value = x'00'", "Bramble's own"),
            ("DELETE FROM sqlite_schema", "may not be modified"),
            ("UPDATE t SET a = 5; ALTER TABLE t ADD COLUMN z", "before it added"), ("SELECT ?", "takes 1 parameters"),
            ("/* DROP */ CREATE /* x */ TABLE u -- y\n (a)", "no primary key"),
        ])
    func refused(text: String, reason: String) throws {
        let error = try #require(try store().refusal(of: text))
        #expect(error.problem.contains(reason), "\(error.problem)")
        #expect(!error.remedy.isEmpty)
        #expect(error.kind == .statement || error.kind == .constraint)
    }

    @Test("hashes of passwords cannot be read by a call that reads, nor by one over the connection that only reads")
    func secrets() throws {
        let one = try store()
        _ = try one.remember([FactEdit("user/admin", Array("$scrypt$hash".utf8))], wall: noon)
        for text in ["SELECT value FROM bramble_secrets", "SELECT body FROM bramble_log", "SELECT * FROM bramble_rows"]
        {
            let error = #expect(throws: StoreError.self) { try one.query([SQLStatement(text)]) }
            #expect(error?.problem.contains("cannot be read") == true)
        }
        let folder = Folder()
        let path = folder.database
        let file = try Store(.file(path), StoreOptions(seed: 3, wall: noon))
        _ = try file.remember([FactEdit("token/t", Array("hash".utf8))], wall: noon)
        let reader = try StoreReader(path: path, limits: StoreLimits())
        #expect(throws: StoreError.self) { try reader.query([SQLStatement("SELECT * FROM bramble_secrets")]) }
        #expect(try reader.query([SQLStatement("SELECT count(*) FROM bramble_facts")]).rows == [[.integer(0)]])
    }

    @Test("two nodes that set one password unseen: neither hash is shown as a conflict")
    func secretConflicts() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        _ = try one.remember([FactEdit("user/admin", [1]), FactEdit("desired/x", [1])], wall: noon)
        _ = try two.remember([FactEdit("user/admin", [2]), FactEdit("desired/x", [2])], wall: noon + 1)
        try one.take(from: two)
        #expect(
            try one.ask("SELECT tab, key FROM bramble_conflicts") == [
                [.text("bramble_facts"), .text(#"{"key":"desired/x"}"#)]
            ])
    }

    @Test("a statement that is broken tells where")
    func position() throws {
        let error = try #require(try store().refusal(of: "SELECT 1; SELECT absent FROM t"))
        #expect(error.position == 17)
    }

    @Test(
        "writes in a call that may only read",
        arguments: ["DELETE FROM t", "CREATE TABLE u (a PRIMARY KEY)", "INSERT INTO t (k) VALUES (5)"])
    func readOnly(text: String) throws {
        let store = try store()
        let error = #expect(throws: StoreError.self) { try store.ask(text) }
        #expect(error?.problem.contains("may only read") == true)
        #expect(try store.ask("SELECT count(*) FROM t") == [[.integer(2)]])
    }

    @Test("more parameters than the statement takes, each time")
    func parameters() throws {
        let store = try store()
        for _ in 0..<2 {
            #expect(
                try store.refusal(of: "SELECT ?", .integer(1), .integer(2))?.problem.contains("more parameters") == true
            )
        }
    }

    @Test("a transaction of more than 1 MiB")
    func oversized() throws {
        let store = try store()
        let text = SQLValue.text(String(repeating: "x", count: 600_000))
        try store.run("INSERT INTO t (k, b) VALUES (10, ?)", text)
        let error = try store.refusal(of: "INSERT INTO t (k, b) VALUES (11, ?1), (12, ?1)", text)
        #expect(error == .oversized)
    }

    @Test("an answer of too many rows or bytes, and a statement that never ends")
    func limits() throws {
        var options = StoreOptions(seed: 1, wall: noon)
        options.limits.rows = 100
        options.limits.bytes = 10_000
        options.limits.statementTime = .milliseconds(50)
        let store = try Store(.memory(image: nil), options)
        let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"
        #expect(try store.refusal(of: "\(endless) x FROM c")?.problem.contains("100 rows") == true)
        #expect(try store.refusal(of: "\(endless) zeroblob(5000) FROM c")?.problem.contains("100 rows") == true)
        #expect(try store.refusal(of: "\(endless) count(*) FROM c")?.problem.contains("too long") == true)
        try store.run("CREATE TABLE t (k PRIMARY KEY)")
        #expect(try store.refusal(of: "INSERT INTO t \(endless) x FROM c")?.problem.contains("too long") == true)
        // And goes on.
        try store.run("INSERT INTO t VALUES (1)")
        #expect(try store.ask("SELECT k FROM t") == [[.integer(1)]])
    }

    @Test("what looks refused inside of texts, names and comments is not")
    func harmless() throws {
        let store = try store()
        try store.run(
            "CREATE TABLE \"odd \"\"name\" (\"UNIQUE\" TEXT PRIMARY KEY, [DROP] TEXT DEFAULT 'REFERENCES; x') -- AUTOINCREMENT"
        )
        try store.run("INSERT INTO \"odd \"\"name\" (\"UNIQUE\") VALUES ('BEGIN; DROP TABLE t /*')")
        #expect(try store.ask("SELECT [DROP] FROM \"odd \"\"name\"") == [[.text("REFERENCES; x")]])
        let other = try openStore(seed: 2)
        try other.take(from: store)
        #expect(try other.digest() == store.digest())
    }

    @Test("records of nonsense, with gaps, or from the past are refused whole, and the others applied")
    func records() throws {
        let store = try store()
        let other = try openStore(seed: 2)
        guard case .records(var records) = try store.records(of: store.origin, after: 0, maxBytes: .max) else { return }
        let good = records
        records[1] = LogRecord(
            origin: store.origin, sequence: 2, time: good[1].time, body: Array(good[1].body.dropLast()))
        let stranger = LogRecord(origin: Origin(rawValue: 5), sequence: 1, time: good[3].time, body: good[3].body)
        let before = LogRecord(origin: Origin(rawValue: 5), sequence: 2, time: good[0].time, body: good[3].body)
        let result = try other.apply(records + [stranger, before, good[0]])
        #expect(result.applied == 2)
        #expect(result.known == 1)
        #expect(result.refused.map(\.sequence) == [2, 3, 4, 2])
        #expect(result.refused.map(\.reason) == [.malformed, .gap(expected: 2), .gap(expected: 2), .malformed])
        #expect(other.vector[store.origin] == 1)
    }

    @Test("a definition that a peer made up stands in nobody's way, and runs nothing")
    func madeUpDefinitions() throws {
        let definitions: [RecordBody.Element] = [
            .init(
                kind: .table, name: "t", detail: "",
                sql: "CREATE TABLE t (k INTEGER PRIMARY KEY, a) WITHOUT ROWID; DELETE FROM bramble_facts"),
            .init(kind: .table, name: "t", detail: "", sql: "CREATE TABLE u (k INTEGER PRIMARY KEY) WITHOUT ROWID"),
            .init(kind: .table, name: "t", detail: "", sql: "CREATE TABLE t (k PRIMARY KEY, b UNIQUE) WITHOUT ROWID"),
            .init(
                kind: .table, name: "bramble_log", detail: "",
                sql: "CREATE TABLE bramble_log (k PRIMARY KEY) WITHOUT ROWID"),
            .init(kind: .column, name: "t", detail: "z", sql: "z); DELETE FROM bramble_facts; --"),
            .init(kind: .column, name: "bramble_facts", detail: "z", sql: "z"),
            .init(
                kind: .index, name: "i", detail: "t", sql: "CREATE TRIGGER i AFTER INSERT ON t BEGIN DELETE FROM t; END"
            ),
            .init(kind: .view, name: "v", detail: "", sql: "DROP TABLE bramble_log"),
        ]
        for element in definitions {
            var body = RecordBody()
            body.elements = [element]
            // Earlier than everything: it would win if it could be used.
            let record = LogRecord(
                origin: Origin(rawValue: 9), sequence: 1, time: HybridTime(milliseconds: 1), body: body.encoded())
            let (one, two) = (try store(), try openStore(seed: 2))
            _ = try one.remember([FactEdit("x", [1])], wall: noon)
            #expect(try one.apply([record]).applied == 1)
            #expect(try two.apply([record]).applied == 1)
            try two.take(from: one)
            try one.run("INSERT INTO t (k, a) VALUES (50, 5)")
            try two.take(from: one)
            #expect(try one.digest() == two.digest(), "\(element)")
            #expect(try two.fact("x") == [1])
            #expect(try two.ask("SELECT count(*) FROM t") == [[.integer(3)]], "\(element)")
        }
    }
}
