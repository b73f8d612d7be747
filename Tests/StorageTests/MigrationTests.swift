import Replication
import Testing

@testable import Storage

@Suite("a schema that people want to have")
struct MigrationTests {
    private let first = [
        "CREATE TABLE IF NOT EXISTS stock (place TEXT, article INTEGER, n COUNTER, PRIMARY KEY (place, article))",
        "CREATE INDEX by_article ON stock (article)", "CREATE VIEW places AS SELECT DISTINCT place FROM stock",
    ]

    @Test("is made where it is missing, in one record that others take, and asked for again makes nothing")
    func idempotent() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        let (steps, record) = try one.migrate(first, isTrial: false, wall: noon)
        #expect(steps.map(\.name) == ["stock", "by_article", "places"])
        #expect(steps.map(\.statement) == [0, 1, 2])
        #expect(steps.map(\.sql) == first)
        #expect(record?.sequence == 1)
        try two.take(from: one)
        #expect(try one.digest() == two.digest())
        for store in [one, two] {
            let (steps, record) = try store.migrate(first, isTrial: false, wall: noon)
            #expect(steps.isEmpty && record == nil)
            #expect(store.vector == one.vector)
        }
    }

    @Test("is only told of in a trial, statements that need each other too, and nothing stays of it")
    func trial() throws {
        let store = try openStore()
        let before = try (store.digest(), store.vector, store.latestNotice)
        let wanted = first + ["ALTER TABLE stock ADD COLUMN note TEXT DEFAULT 'x'"]
        let (steps, record) = try store.migrate(wanted, isTrial: true, wall: noon)
        #expect(steps.map(\.sql) == wanted && record == nil)
        #expect(try (store.digest(), store.vector, store.latestNotice) == before)
        #expect(try store.tables().isEmpty)
        let (made, _) = try store.migrate(wanted, isTrial: false, wall: noon)
        #expect(made == steps)
        // The columns of the first statement are there, and so is the added one.
        #expect(try store.migrate(wanted, isTrial: false, wall: noon).steps.isEmpty)
    }

    @Test("grows: columns that a later text has are added to the table that is there, with what rows have by then")
    func additive() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        _ = try one.migrate(["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)"], isTrial: false, wall: noon)
        try one.run("INSERT INTO t VALUES (1, 'here')")
        let later = ["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, n COUNTER)"]
        let (steps, _) = try one.migrate(later, isTrial: false, wall: noon)
        #expect(
            steps.map(\.sql) == [
                #"ALTER TABLE "t" ADD COLUMN b INTEGER NOT NULL DEFAULT 7"#,
                #"ALTER TABLE "t" ADD COLUMN n COUNTER NOT NULL DEFAULT 0"#,
            ])
        try two.take(from: one)
        for store in [one, two] {
            #expect(try store.ask("SELECT * FROM t") == [[.integer(1), .text("here"), .integer(7), .integer(0)]])
            #expect(try store.migrate(later, isTrial: false, wall: noon).steps.isEmpty)
            // An earlier text says nothing against what came later.
            #expect(
                try store.migrate(["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)"], isTrial: false, wall: noon).steps
                    .isEmpty)
        }
        #expect(try one.digest() == two.digest())
    }

    @Test(
        "what cannot be had is refused with the reason and the alternative, and nothing of the whole is made",
        arguments: [
            (
                "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER)",
                "column a of table t is TEXT and cannot become INTEGER"
            ),
            ("CREATE TABLE t (k INTEGER, a TEXT, PRIMARY KEY (k, a))", "the primary key of table t is (k)"),
            ("CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT DEFAULT 'other')", "cannot become TEXT with a default"),
            ("CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL)", "NOT NULL"),
            ("ALTER TABLE t ADD COLUMN a INTEGER", "column a of table t is TEXT"),
            ("ALTER TABLE nowhere ADD COLUMN a INTEGER", "no such table"),
            ("CREATE INDEX i ON t (a, k)", "index i is there in another form"),
            ("CREATE INDEX v ON t (a)", "v is the name of a view already"),
            ("CREATE TABLE i (k INTEGER PRIMARY KEY)", "i is the name of a index already"),
            ("CREATE TABLE u (k INTEGER PRIMARY KEY, e TEXT UNIQUE)", "UNIQUE"),
            ("CREATE TABLE u (k INTEGER)", "no primary key"),
            ("CREATE TABLE bramble_x (k INTEGER PRIMARY KEY)", "Bramble's own"),
            ("DROP TABLE t", "not"), ("INSERT INTO t VALUES (1, 'x')", "is no definition"),
            ("CREATE TABLE u (k INTEGER PRIMARY KEY); DELETE FROM t", "several statements"),
            ("nonsense", "is no definition"),
        ])
    func refused(statement: String, reason: String) throws {
        let store = try openStore()
        _ = try store.migrate(
            [
                "CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)", "CREATE INDEX i ON t (a)",
                "CREATE VIEW v AS SELECT a FROM t",
            ], isTrial: false, wall: noon)
        try store.run("INSERT INTO t VALUES (1, 'there')")
        let before = try (store.digest(), store.vector)
        for isTrial in [true, false] {
            let error = #expect(throws: StoreError.self) {
                try store.migrate(
                    ["CREATE TABLE before (k INTEGER PRIMARY KEY)", statement], isTrial: isTrial, wall: noon)
            }
            #expect(error?.problem.contains(reason) == true, "\(error?.problem ?? "")")
            #expect(error?.remedy.isEmpty == false)
            #expect(try (store.digest(), store.vector) == before)
        }
        try store.run("INSERT INTO t VALUES (2, 'after')")
    }

    @Test("that two sides made while they did not hear each other is one")
    func bothSides() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        _ = try one.migrate(["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)"], isTrial: false, wall: noon)
        _ = try two.migrate(
            ["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT, b INTEGER)"], isTrial: false, wall: noon + 1)
        try one.run("INSERT INTO t VALUES (1, 'one')")
        try two.run("INSERT INTO t VALUES (2, 'two', 2)")
        try one.take(from: two)
        try two.take(from: one)
        #expect(try one.digest() == two.digest())
        #expect(try one.ask("SELECT k, a, b FROM t ORDER BY k").count == 2)
        let wanted = ["CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT, b INTEGER)"]
        for store in [one, two] { #expect(try store.migrate(wanted, isTrial: false, wall: noon).steps.isEmpty) }
    }
}
