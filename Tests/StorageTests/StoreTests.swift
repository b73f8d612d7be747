import CSQLite
import Foundation
import Glibc
import Primitives
import Replication
import Testing

@testable import Storage

@Suite("a store")
struct StoreTests {
    /// Two of them, with the same tables.
    private func pair(_ definition: String) throws -> (Store, Store) {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        try one.run(definition)
        try two.take(from: one)
        return (one, two)
    }

    @Test("gives what was written, in all types, and a record of it")
    func values() throws {
        let (one, two) = try pair("CREATE TABLE t (k TEXT PRIMARY KEY, i INTEGER, r REAL, b BLOB, t TEXT, n)")
        let answer = try one.run(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?) RETURNING k", .text(""), .integer(.min), .real(-0.5),
            .blob([0, 255]),
            .text("ä\u{0}\n"), .null)
        #expect(answer.columns == ["k"])
        #expect(answer.rows == [[.text("")]])
        #expect(answer.changed == 1)
        try two.take(from: one)
        let rows: [[SQLValue]] = [[.text(""), .integer(.min), .real(-0.5), .blob([0, 255]), .text("ä\u{0}\n"), .null]]
        #expect(try one.ask("SELECT * FROM t") == rows)
        #expect(try two.ask("SELECT * FROM t") == rows)
        #expect(try one.digest() == two.digest())
    }

    @Test("writes no record when nothing is different")
    func nothing() throws {
        let (one, _) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try one.run("INSERT INTO t VALUES (1, 1)")
        for text in [
            "UPDATE t SET a = 1", "DELETE FROM t WHERE k = 7", "SELECT 1", "", " -- nothing",
            "INSERT INTO t VALUES (2, 2); DELETE FROM t WHERE k = 2", "UPDATE t SET a = 5; UPDATE t SET a = 1",
            "CREATE TABLE IF NOT EXISTS t (x PRIMARY KEY)", "INSERT OR IGNORE INTO t VALUES (1, 9)",
        ] {
            #expect(try one.run(text).record == nil, "\(text)")
        }
    }

    @Test("numbers keys so that two nodes never give the same")
    func identifiers() throws {
        let (one, two) = try pair("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
        for _ in 0..<200 {
            try one.run("INSERT INTO t (a) VALUES (1)")
            try two.run("INSERT INTO t (a) VALUES (2)")
        }
        try two.take(from: one)
        #expect(try two.ask("SELECT count(*), min(id) > 0 FROM t") == [[.integer(400), .integer(1)]])
    }

    @Test("adds counters up, also those of two nodes that inserted the row at once")
    func counters() throws {
        let (one, two) = try pair("CREATE TABLE hits (page TEXT PRIMARY KEY, n COUNTER)")
        let hit = "INSERT INTO hits VALUES ('/', 1) ON CONFLICT DO UPDATE SET n = n + 1"
        for _ in 0..<3 { try one.run(hit) }
        for _ in 0..<4 { try two.run(hit) }
        try two.take(from: one)
        try one.take(from: two)
        for store in [one, two] { #expect(try store.ask("SELECT n FROM hits") == [[.integer(7)]]) }
        try one.run("UPDATE hits SET n = 0")
        try two.run(hit)
        try two.take(from: one)
        try one.take(from: two)
        for store in [one, two] { #expect(try store.ask("SELECT n FROM hits") == [[.integer(1)]]) }
        #expect(try one.digest() == two.digest())
    }

    @Test("adds columns that must not be null, with a CHECK, and counters, to tables with rows")
    func addedColumns() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try one.run("INSERT INTO t VALUES (1)")
        try one.run("ALTER TABLE t ADD COLUMN a TEXT NOT NULL DEFAULT 'd'")
        try one.run("ALTER TABLE main.t ADD b INTEGER CHECK (b > 0); ALTER TABLE t ADD COLUMN n COUNTER")
        try one.run("UPDATE t SET n = n + 2, b = 1")
        try two.take(from: one)
        try two.run("UPDATE t SET n = n + 3")
        try one.take(from: two)
        for store in [one, two] {
            #expect(try store.ask("SELECT * FROM t") == [[.integer(1), .text("d"), .integer(1), .integer(5)]])
        }
        #expect(try one.refusal(of: "UPDATE t SET b = 0")?.kind == .constraint)
        #expect(try one.digest() == two.digest())
    }

    @Test("a row that was inserted once has 17 bytes of stamps beside it, and adding a column writes none")
    func sparse() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)")
        for key in 0..<100 { try one.run("INSERT INTO t VALUES (?, 'x', 1)", .integer(Int64(key))) }
        try two.take(from: one)
        let stamps =
            "SELECT key, hex(meta) FROM bramble_rows WHERE tab = (SELECT id FROM bramble_tables WHERE lower = 't')"
        func own(_ store: Store) throws -> [[SQLValue]] {
            var result: [[SQLValue]] = []
            try store.rows(stamps + " ORDER BY key") { result.append([.blob($0.blob(0)), .text($0.text(1))]) }
            return result
        }
        for store in [one, two] {
            let before = try own(store)
            #expect(before.count == 100)
            #expect(before.allSatisfy { if case .text(let hex) = $0[1] { hex.utf8.count == 34 } else { false } })
            if store === one {
                try store.run("ALTER TABLE t ADD COLUMN c INTEGER DEFAULT 5")
            } else {
                try store.take(from: one)
            }
            #expect(try own(store) == before)
            #expect(try store.ask("SELECT sum(c) FROM t") == [[.integer(500)]])
        }
        // What differs from the plain case is all that is added.
        try one.run("UPDATE t SET a = 'y' WHERE k = 7")
        #expect(
            try own(one).filter { if case .text(let hex) = $0[1] { hex.utf8.count > 34 } else { false } }.count == 1)
    }

    @Test("lists what was overwritten unseen, with both values, and nothing that was seen")
    func conflicts() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)")
        try one.run("INSERT INTO t VALUES (1, 'first', 'x')")
        try two.take(from: one)
        try two.run("UPDATE t SET a = 'second'")
        try one.take(from: two)
        #expect(try one.report().conflicts == 0)
        try one.run("UPDATE t SET a = 'here', b = 'both'", wall: noon + 10)
        try two.run("UPDATE t SET a = 'there', b = 'both'", wall: noon + 20)
        try two.take(from: one)
        try one.take(from: two)
        for store in [one, two] {
            let rows = try store.ask("SELECT tab, key, col, kept, lost, kept_by, lost_by FROM bramble_conflicts")
            #expect(
                rows == [
                    [
                        .text("t"), .text(#"{"k":1}"#), .text("a"), .text("there"), .text("here"),
                        .text(two.origin.description), .text(one.origin.description),
                    ]
                ])
            #expect(try store.ask("SELECT a FROM t") == [[.text("there")]])
        }
        // Seen by now: no conflict.
        try one.run("UPDATE t SET a = 'later'", wall: noon + 30)
        try two.take(from: one)
        #expect(try two.report().conflicts == 1)
        // A delete of what somebody changed meanwhile.
        try one.run("DELETE FROM t", wall: noon + 50)
        try two.run("UPDATE t SET b = 'kept?'", wall: noon + 40)
        try two.take(from: one)
        try one.take(from: two)
        for store in [one, two] {
            #expect(try store.report().conflicts == 2)
            let last = try store.ask("SELECT kept, lost FROM bramble_conflicts ORDER BY id DESC LIMIT 1")
            #expect(last == [[.text("(deleted)"), .text("(row)")]])
        }
    }

    @Test("keeps changes for tables and columns it does not know yet")
    func held() throws {
        let one = try openStore(seed: 1)
        let two = try openStore(seed: 2)
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let three = try openStore(seed: 3)
        try three.take(from: one)
        try three.run("ALTER TABLE t ADD COLUMN b DEFAULT 'd'")
        try one.take(from: three)
        try one.run("INSERT INTO t VALUES (1, 2, 3)")
        guard case .records(let records) = try one.records(of: one.origin, after: 0, maxBytes: .max) else { return }
        let four = try openStore(seed: 4)
        try four.run("CREATE TABLE other (k PRIMARY KEY)")
        _ = try four.apply(records)
        #expect(try four.ask("SELECT * FROM t") == [[.integer(1), .integer(2)]])
        #expect(try four.report().held == 1)
        try four.take(from: three)
        #expect(try four.ask("SELECT * FROM t") == [[.integer(1), .integer(2), .integer(3)]])
        #expect(try four.report().held == 0)
        _ = two
    }

    @Test("forgets deletes that all have seen, and nothing comes back")
    func collection() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try one.run("INSERT INTO t VALUES (1, 1), (2, 2)")
        try two.take(from: one)
        try two.run("UPDATE t SET a = 5 WHERE k = 1")
        try one.run("DELETE FROM t WHERE k = 1")
        // The other has not seen the delete.
        #expect(try one.collect(stable: VersionVector([one.origin: 2]), limit: 100) == 0)
        try two.take(from: one)
        try one.take(from: two)
        let all = one.vector
        #expect(try one.tables()[0].tombstones == 1)
        #expect(try one.collect(stable: all, limit: 100) == 1)
        #expect(try two.collect(stable: all, limit: 100) == 1)
        #expect(try one.tables()[0].tombstones == 0)
        #expect(try one.digest() == two.digest())
        #expect(try one.ask("SELECT k FROM t") == [[.integer(2)]])
    }

    @Test("collecting by time brings a deleted row back: the planted bug is one")
    func collectionByTime() throws {
        let one = try openStore(seed: 1, bug: .collectsByTime)
        let two = try openStore(seed: 2)
        try two.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try two.run("INSERT INTO t VALUES (1, 1)")
        let three = try openStore(seed: 3)
        try three.take(from: two)
        try three.run("DELETE FROM t WHERE k = 1", wall: noon + 5)
        guard case .records(let creation) = try two.records(of: two.origin, after: 0, maxBytes: 1) else { return }
        _ = try one.apply(creation)
        guard case .records(let deletion) = try three.records(of: three.origin, after: 0, maxBytes: .max) else {
            return
        }
        _ = try one.apply(deletion)
        _ = try one.collect(stable: VersionVector(), limit: 100)
        try one.take(from: two)
        #expect(try one.ask("SELECT count(*) FROM t") == [[.integer(1)]])
    }

    @Test("a log that was trimmed says so, and the vector stays over a restart")
    func trimming() throws {
        let one = try openStore()
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        for _ in 0..<10 { try one.run("INSERT INTO t DEFAULT VALUES") }
        let bytes = one.logBytes
        try one.trimLog(to: VersionVector([one.origin: 6]))
        #expect(one.logBytes < bytes)
        #expect(try one.records(of: one.origin, after: 3, maxBytes: 1) == .collected(floor: 6))
        guard case .records(let rest) = try one.records(of: one.origin, after: 6, maxBytes: .max) else { return }
        #expect(rest.map(\.sequence) == [7, 8, 9, 10, 11])
        guard case .records(let first) = try one.records(of: one.origin, after: 6, maxBytes: 1) else { return }
        #expect(first.map(\.sequence) == [7])
        try one.trimLog(to: one.vector)
        let again = try openStore(seed: 3, image: one.image())
        #expect(again.vector == one.vector)
        #expect(again.logBytes == 0)
    }

    @Test("tells watchers each change in order, and asks them to read anew when they are too late")
    func watching() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let start = two.latestNotice
        try one.run("INSERT INTO t VALUES (1, 'x')")
        try two.take(from: one)
        try two.run("UPDATE t SET a = 'y'")
        _ = try two.refusal(of: "INSERT INTO t VALUES (2, 'z'); SELEC")
        try two.run("DELETE FROM t")
        guard case .notices(let notices) = two.notices(after: start, limit: 100) else {
            Issue.record("no notices")
            return
        }
        #expect(notices.map(\.number) == [start + 1, start + 2, start + 3])
        #expect(notices.map { $0.row?.last?.value } == [.text("x"), .text("y"), nil])
        #expect(notices.allSatisfy { $0.table == "t" && $0.key[0].name == "k" && $0.key[0].value == .integer(1) })
        guard case .notices(let rest) = two.notices(after: start + 1, limit: 1) else { return }
        #expect(rest.map(\.number) == [start + 2])
        for number in 0..<5_000 { try two.run("INSERT INTO t VALUES (?, 1)", .integer(Int64(number))) }
        #expect(two.notices(after: start, limit: 10) == .resync(next: two.latestNotice))
        #expect(two.notices(after: two.latestNotice + 5, limit: 10) == .resync(next: two.latestNotice))
        guard case .notices(let none) = two.notices(after: two.latestNotice, limit: 10) else { return }
        #expect(none.isEmpty)
    }

    @Test("facts are rows that people's SQL can read only")
    func facts() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        #expect(
            try one.remember([FactEdit("user/a", [1]), FactEdit("user/b", [2]), FactEdit("x", [])], wall: noon) != nil)
        #expect(try one.remember([FactEdit("user/a", [1])], wall: noon) == nil)
        try two.take(from: one)
        #expect(try two.facts(prefix: "user/").map(\.key) == ["user/a", "user/b"])
        #expect(try two.remember([FactEdit("user/a", nil)], wall: noon + 1) != nil)
        try one.take(from: two)
        #expect(try one.fact("user/a") == nil)
        #expect(try one.fact("x") == [])
        #expect(try one.ask("SELECT count(*) FROM bramble_facts") == [[.integer(1)]])
        #expect(try one.digest() == two.digest())
    }

    @Test("a fact that is text can be read as text, and a value of 200 kB is taken")
    func largeFact() throws {
        let one = try openStore(seed: 1)
        let long = String(repeating: "é", count: 100_000)
        _ = try one.remember([FactEdit("desired/services/web", Array(long.utf8))], wall: noon)
        #expect(try one.ask("SELECT value FROM bramble_facts") == [[.text(long)]])
        #expect(try one.fact("desired/services/web") == Array(long.utf8))
    }

    @Test("of old facts only those are taken over that nobody has set or removed in the database")
    func unknownFacts() throws {
        let one = try openStore(seed: 1)
        _ = try one.remember([FactEdit("user/a", [1]), FactEdit("user/b", [2])], wall: noon)
        _ = try one.remember([FactEdit("user/b", nil)], wall: noon)
        let old = [FactEdit("user/a", [9]), FactEdit("user/b", [9]), FactEdit("user/c", [9])]
        #expect(try one.unknown(old) == [old[2]])
    }

    @Test(
        "each text of a call has its own result, cut at the limit of rows and said so; one that writes is still done whole"
    )
    func results() throws {
        let one = try openStore(seed: 1)
        let texts = [
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
            "SELECT k FROM t ORDER BY k", "UPDATE t SET v = 9 RETURNING k", "SELECT 7; SELECT v FROM t WHERE k = 3",
        ]
        let answer = try one.execute(texts.map { SQLStatement($0) }, rowLimit: 2, wall: noon)
        #expect(answer.results.map(\.changed) == [0, 3, 0, 3, 0])
        #expect(answer.results.map(\.rows.count) == [0, 0, 2, 2, 1])
        #expect(answer.results.map(\.isTruncated) == [false, false, true, true, false])
        #expect(answer.results[2].rows == [[.integer(1)], [.integer(2)]])
        #expect(answer.rows == [[.integer(9)]])
        #expect(try one.query([SQLStatement("SELECT k FROM t")], rowLimit: 3).results[0].isTruncated == false)
    }

    @Test(
        "only calls whose every statement can only read are known to",
        arguments: [
            ("SELECT 1", true), ("/* x */ select 1; VALUES (2);", true), ("SELECT bramble_id()", false), ("", true),
            ("SELECT 1; DELETE FROM t", false), ("WITH x AS (SELECT 1) DELETE FROM t", false), ("PRAGMA x", false),
            ("SELECT \"Bramble_Id\"()", false),
        ])
    func onlyReads(text: String, expected: Bool) {
        #expect(Store.onlyReads([SQLStatement("SELECT 2"), SQLStatement(text)]) == expected)
    }

    @Test("members are rows with columns: what is not given is left as it is, and two nodes' words merge")
    func members() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        _ = try one.remember([], members: [MemberRow(id: "a", name: "anna", since: "2026")], wall: noon)
        try two.take(from: one)
        let mark = two.latestNotice
        _ = try two.remember([], members: [MemberRow(id: "a", removed: "2027", removedBy: "bert")], wall: noon + 1)
        #expect(two.remembered(after: mark).news == .changed([], members: true))
        #expect(try two.remember([], members: [MemberRow(id: "a", name: "anna")], wall: noon + 2) == nil)
        try one.take(from: two)
        let expected = MemberRow(id: "a", name: "anna", since: "2026", removed: "2027", removedBy: "bert")
        #expect(try one.members() == [expected])
        #expect(try one.ask("SELECT name FROM bramble_members WHERE removed IS NOT NULL") == [[.text("anna")]])
    }

    @Test("a delete is remembered while an older insert waits for its table; released, that brings nothing back")
    func heldInsert() throws {
        let one = try openStore(seed: 1)
        _ = try one.execute(
            [SQLStatement("CREATE TABLE t (k INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")], wall: noon)
        let section = RecordBody.Section(
            table: "t", columns: [RecordBody.Column(name: "k", kind: .integer)], keyCount: 1,
            rows: [RecordBody.Row(kind: .insert, key: [.integer(1)], values: [])])
        _ = try one.execute([SQLStatement("DELETE FROM t")], wall: noon + 10)
        try one.hold(section, stamp: Stamp(HybridTime(milliseconds: noon + 5), Origin(rawValue: 7)))
        let everything = one.vector
        #expect(try one.collect(stable: everything, limit: 100) == 0)
        try one.release("t")
        #expect(try one.ask("SELECT count(*) FROM t") == [[.integer(0)]])
    }

    @Test(
        "what waits for unknown tables is bounded: beyond it a record is refused whole, and taken when the table is there"
    )
    func heldBound() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        one.options.limits.held = 100
        let schema = try #require(
            try two.execute([SQLStatement("CREATE TABLE t (k TEXT PRIMARY KEY)")], wall: noon).record)
        let text = String(repeating: "x", count: 200)
        let records = try (1...3).map { number in
            try #require(
                try two.execute([SQLStatement("INSERT INTO t VALUES ('\(number)\(text)')")], wall: noon).record)
        }
        // As if another node had made the table, whose record is still to come.
        let moved = records.enumerated().map { index, record in
            LogRecord(origin: record.origin, sequence: UInt64(index + 1), time: record.time, body: record.body)
        }
        let result = try one.apply(moved)
        #expect(result.applied == 1)
        #expect(result.refused.first?.reason == .tooMuchHeld)
        _ = try one.apply([LogRecord(origin: Origin(rawValue: 9), sequence: 1, time: schema.time, body: schema.body)])
        #expect(try one.apply(moved).applied == 2)
        #expect(try one.ask("SELECT count(*) FROM t") == [[.integer(3)]])
        #expect(one.knowledge.heldBytes == 0)
    }

    @Test("a file of the version before gets the new tables, and keeps its rows")
    func earlierVersion() throws {
        let folder = Folder()
        let path = folder.database
        var options = StoreOptions(seed: 1, wall: noon)
        options.limits.statementTime = nil
        let new = try Store(.file(path), options)
        _ = try new.execute(
            [SQLStatement("CREATE TABLE t (k INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")], wall: noon)
        _ = try new.remember([FactEdit("x", [1])], wall: noon)
        for table in ["bramble_secrets", "bramble_members"] {
            try new.database.run("DROP TABLE \(table)")
            try new.database.run("DELETE FROM bramble_tables WHERE lower = '\(table)'")
            try new.database.run("DELETE FROM bramble_elements WHERE lower = '\(table)'")
        }
        try new.database.run("PRAGMA user_version = 1")
        new.knowledge.tables["bramble_secrets"] = nil
        // A node of today set a password before this one was updated.
        let other = try openStore(seed: 2)
        let record = try #require(try other.remember([FactEdit("user/b", [5])], wall: noon + 5))
        #expect(try new.apply([record]).applied == 1)
        try new.close()
        let again = try Store(.file(path), options)
        #expect(again.notes.isEmpty)
        #expect(try again.fact("x") == [1])
        #expect(try again.fact("user/b") == [5])
        #expect(try again.remember([FactEdit("user/a", [1])], wall: noon) != nil)
        #expect(try again.ask("SELECT k FROM t") == [[.integer(1)]])
    }

    // MARK: Crashes

    @Test("after a crash it goes on under another origin, above all times it used, and gets its lost records back")
    func crash() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let old = one.origin
        let synced = try one.image()
        try one.run("INSERT INTO t VALUES (1, 'lost here')")
        try two.take(from: one)
        // The clock is in 1970, as on a board without a battery.
        let again = try openStore(seed: 7, image: synced, wall: 0)
        #expect(again.origin != old)
        #expect(again.vector[old] == 1)
        let record = try #require(try again.run("INSERT INTO t VALUES (2, 'new')", wall: 0).record)
        #expect(record.time > one.latestTime)
        try again.take(from: two)
        try two.take(from: again)
        #expect(try again.ask("SELECT k FROM t") == [[.integer(1)], [.integer(2)]])
        #expect(try again.digest() == two.digest())
    }

    @Test("a lost high-water mark makes times go back: the planted bug is one")
    func highWaterMark() throws {
        let one = try openStore()
        let latest = try #require(try one.run("CREATE TABLE t (k PRIMARY KEY)").record).time
        try one.trimLog(to: one.vector)
        let good = try openStore(seed: 2, image: one.image(), wall: 0)
        #expect(good.latestTime > latest)
    }

    @Test("after a clean end it goes on under the same origin")
    func cleanEnd() throws {
        let one = try openStore()
        try one.run("CREATE TABLE t (k PRIMARY KEY)")
        try one.close()
        let again = try openStore(seed: 9, image: one.image())
        #expect(again.origin == one.origin)
        #expect(again.vector == one.vector)
    }

    @Test("records of its own origin that it does not know make it take another one")
    func restoredImage() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try one.close()
        let image = try one.image()
        try one.run("INSERT INTO t VALUES (1)")
        try two.take(from: one)
        let copy = try openStore(seed: 5, image: image)
        #expect(copy.origin == one.origin)
        try copy.take(from: two)
        #expect(copy.origin != one.origin)
        try copy.run("INSERT INTO t VALUES (2)")
        try two.take(from: copy)
        #expect(try copy.digest() == two.digest())
    }

    @Test("a full disk: an error that says so, nothing changed, and it goes on when there is space")
    func fullDisk() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try one.database.run("PRAGMA max_page_count = 60")
        var kind: StoreError.Kind?
        for number in 0..<200 where kind == nil {
            do {
                try one.run("INSERT INTO t VALUES (?, zeroblob(3000))", .integer(Int64(number)))
            } catch {
                kind = (error as? StoreError)?.kind
            }
        }
        #expect(kind == .disk)
        let before = try (one.digest(), one.vector)
        #expect(try one.refusal(of: "INSERT INTO t VALUES (1000, zeroblob(9000))")?.kind == .disk)
        for number in 300..<310 { try two.run("INSERT INTO t VALUES (?, zeroblob(9000))", .integer(Int64(number))) }
        #expect(throws: StoreError.self) { try one.take(from: two) }
        #expect(try one.digest() == before.0)
        #expect(one.vector == before.1)
        try one.database.run("PRAGMA max_page_count = 100000")
        try one.take(from: two)
        try two.take(from: one)
        #expect(try one.digest() == two.digest())
    }

    // MARK: Groups

    @Test("calls in a group are committed together; one that fails takes none of the others with it")
    func group() throws {
        let store = try openStore()
        try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let first = store.vector
        for key in 1...3 { _ = try store.executeInGroup([.init("INSERT INTO t VALUES (\(key), 'a')")], wall: noon) }
        #expect(throws: StoreError.self) {
            try store.executeInGroup(
                [.init("INSERT INTO t VALUES (4, 'a')"), .init("INSERT INTO t VALUES (1, 'twice')")], wall: noon)
        }
        #expect(store.takeGroupFailure() == nil)
        _ = try store.executeInGroup([.init("INSERT INTO t VALUES (5, 'a')")], wall: noon)
        // What is read, given to others or copied ends the group first.
        #expect(try store.ask("SELECT k FROM t") == [1, 2, 3, 5].map { [.integer($0)] })
        let isOpen = store.database.isInTransaction
        #expect(!isOpen)
        let other = try openStore(seed: 2)
        try other.take(from: store)
        #expect(try other.digest() == store.digest())
        #expect(store.vector[store.origin] == first[store.origin] + 4)
        #expect(store.takeGroupFailure() == nil)
    }

    @Test("a group that the disk has no room for is lost whole, says so, and leaves all as it was before it")
    func lostGroup() throws {
        let store = try openStore()
        try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let before = (try store.digest(), store.vector, store.latestNotice)
        try store.database.run("PRAGMA max_page_count = 60")
        var error: StoreError?
        for key in 0..<200 where error == nil {
            do throws(StoreError) {
                _ = try store.executeInGroup(
                    [.init("INSERT INTO t VALUES (\(key), zeroblob(3000))")], wall: noon)
            } catch let refused { error = refused }
        }
        #expect(error?.kind == .disk)
        if store.database.isInTransaction {
            // SQLite undid the last call alone: the group is still whole, and there.
            #expect(store.takeGroupFailure() == nil)
            try store.commitGroup()
            #expect(store.vector != before.1)
        } else {
            #expect(store.takeGroupFailure()?.kind == .disk)
            #expect(store.vector == before.1)
            #expect(store.latestNotice == before.2)
            #expect(try store.digest() == before.0)
        }
        try store.database.run("PRAGMA max_page_count = 100000")
        try store.run("INSERT INTO t VALUES (1000, 'after')")
        let other = try openStore(seed: 2)
        try other.take(from: store)
        #expect(try other.digest() == store.digest())
    }

    @Test("a replica tells nobody of a write before its commit, and those of a lost commit that they are lost")
    func replicaGroups() throws {
        let store = try openStore()
        try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let now = Instant(sinceBoot: .seconds(100))
        let replica = Replica(
            id: NodeID(high: 1, low: 1), store: store, chance: SeededGenerator(seed: 1), now: now, wall: noon)
        _ = replica.takeOutputs()
        func write(_ key: Int) throws -> UInt64? {
            try replica.execute(
                [.init("INSERT INTO t VALUES (\(key), 'a')")], durability: .local, now: now, wall: noon
            ).ticket
        }
        let made = [try write(1), try write(2)]
        replica.flush(isCollecting: true, now: now, wall: noon)
        #expect(replica.takeOutputs().isEmpty)
        #expect(replica.collected == 2)
        let reached = replica.beginSync()
        #expect(reached[store.origin] < store.vector[store.origin], "a sync that began before the commit covers it not")
        replica.syncEnded(reached, now: now, wall: noon)
        #expect(!replica.takeOutputs().contains { if case .answer = $0 { true } else { false } })
        replica.flush(now: now, wall: noon)
        replica.syncEnded(replica.beginSync(), now: now, wall: noon)
        let answered = replica.takeOutputs().compactMap { if case .answer(let number, _) = $0 { number } else { nil } }
        #expect(answered == made.compactMap { $0 })

        let lost = [try write(3), try write(4)]
        let vector = replica.replicator.vector
        // As when the disk fails in the middle of the transaction: SQLite has undone it.
        try store.database.run("ROLLBACK")
        #expect(throws: StoreError.self) { try write(5) }
        let said = replica.takeOutputs().compactMap { if case .lost(let number, _) = $0 { number } else { nil } }
        #expect(said == lost.compactMap { $0 })
        replica.flush(now: now, wall: noon)
        #expect(replica.replicator.vector == vector)
        #expect(store.vector == vector)
        #expect(try store.ask("SELECT k FROM t") == [[.integer(1)], [.integer(2)]])
        #expect(try write(6) != nil)
    }

    // MARK: Whose it is

    /// Of a node that says whose its records are.
    private func openNode(_ number: UInt64, image: [UInt8]? = nil) throws -> Store {
        var options = StoreOptions(seed: number, wall: noon)
        options.node = NodeID(high: 0, low: number)
        options.limits.statementTime = nil
        return try Store(.memory(image: image), options)
    }

    @Test("the first record of each origin says whose it is, and only that one; nothing is written for it alone")
    func writers() throws {
        let (one, two) = (try openNode(1), try openNode(2))
        let first = one.origin
        try one.run("SELECT 1")
        #expect(one.vector.isEmpty)
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(one.vector[first] == 1)
        try two.take(from: one)
        #expect(try two.writerName(first) == NodeID(high: 0, low: 1).description)
        let before = two.latestNotice
        try one.run("INSERT INTO t VALUES (1)")
        try two.take(from: one)
        #expect(two.latestNotice == before + 1)
        // A call that fails takes it back, and the next one says it.
        try one.takeNewOrigin()
        #expect(throws: StoreError.self) { try one.run("INSERT INTO t VALUES (1)") }
        try one.run("INSERT INTO t VALUES (2)")
        try two.take(from: one)
        #expect(one.origin != first)
        #expect(try two.writerName(one.origin) == NodeID(high: 0, low: 1).description)
        // So does one of an earlier version, which went on under its origin.
        let old = try openStore(seed: 3)
        try old.run("CREATE TABLE u (k INTEGER PRIMARY KEY)")
        let image = try old.image()
        let again = try openNode(3, image: image)
        try again.run("INSERT INTO u VALUES (1)")
        #expect(try again.writerName(again.origin) == NodeID(high: 0, low: 3).description)
    }

    @Test("the list of what was overwritten unseen has nodes' names, and keys that people and SQL can read")
    func readableConflicts() throws {
        let (one, two) = (try openNode(1), try openNode(2))
        _ = try one.remember(
            [], members: [MemberRow(id: NodeID(high: 0, low: 1).description, name: "serv1")], wall: noon)
        _ = try two.remember(
            [], members: [MemberRow(id: NodeID(high: 0, low: 2).description, name: "serv2")], wall: noon)
        try one.run(
            "CREATE TABLE stock (shelf INTEGER, \"the place\" TEXT, x BLOB, r REAL, n, PRIMARY KEY (shelf, \"the place\", x, r))"
        )
        try one.run("INSERT INTO stock VALUES (3, 'a \"b\"\n', x'00ff', 1.5, 1)")
        try two.take(from: one)
        try one.take(from: two)
        try one.run("UPDATE stock SET n = 2", wall: noon + 10)
        try two.run("UPDATE stock SET n = 3", wall: noon + 20)
        try two.take(from: one)
        try one.take(from: two)
        for store in [one, two] {
            #expect(
                try store.ask("SELECT key, kept, kept_by, lost, lost_by FROM bramble_conflicts") == [
                    [
                        .text(#"{"shelf":3,"the place":"a \"b\"\u000a","x":"00ff","r":1.5}"#), .integer(3),
                        .text("serv2"),
                        .integer(2), .text("serv1"),
                    ]
                ])
            #expect(
                try store.ask(
                    "SELECT json_extract(key, '$.\"the place\"'), json_extract(key, '$.r') FROM bramble_conflicts")
                    == [[.text("a \"b\"\n"), .real(1.5)]])
        }
    }

    // MARK: Syncs, copies and orders of a replica

    /// Two replicas whose messages the test carries.
    private final class Pair {
        let now = Instant(sinceBoot: .seconds(100))
        var time: Instant
        var replicas: [Replica] = []
        var jobs: [(SnapshotJob, Int)] = []
        var answers: [UInt64] = []
        var sent: [ReplicationMessage] = []
        let ids = [NodeID(high: 1, low: 1), NodeID(high: 1, low: 2)]

        init(_ stores: [Store], config: ReplicatorConfig = ReplicatorConfig()) {
            time = now
            for (index, store) in stores.enumerated() {
                replicas.append(
                    Replica(
                        id: ids[index], store: store, config: config, chance: SeededGenerator(seed: UInt64(index)),
                        now: now,
                        wall: noon))
            }
        }
        func meet() {
            for (index, replica) in replicas.enumerated() {
                replica.peersChanged(members: ids, reachable: [ids[1 - index]], now: time, wall: noon)
            }
            carry()
        }
        /// They do not hear each other, for long enough to be complete.
        func part() {
            for replica in replicas { replica.peersChanged(members: ids, reachable: [], now: time, wall: noon) }
            pass(.seconds(4))
        }
        /// Also what is kept back for a moment.
        func carry() {
            var isBusy = true
            while isBusy {
                isBusy = false
                if let due = replicas.compactMap(\.flushDue).min() { time = max(time, due) }
                for (index, replica) in replicas.enumerated() {
                    replica.flush(now: time, wall: noon)
                    for output in replica.takeOutputs() {
                        switch output {
                        case .send(let bytes, _):
                            isBusy = true
                            if let message = try? ReplicationCodec.decode(bytes) { sent.append(message) }
                            replicas[1 - index].received(bytes, from: ids[index], now: time, wall: noon)
                        case .answer(let number, _): answers.append(number)
                        case .copy(let job): jobs.append((job, index))
                        default: break
                        }
                    }
                }
                if let due = replicas.compactMap(\.flushDue).min() {
                    time = max(time, due)
                    isBusy = true
                }
            }
        }
        func syncAll() { for index in replicas.indices { sync(index) } }
        func sync(_ index: Int) {
            replicas[index].syncEnded(replicas[index].beginSync(), now: time, wall: noon)
            carry()
        }
        func pass(_ duration: Duration) {
            let end = time + duration
            while time < end {
                time = time + .milliseconds(100)
                for replica in replicas { replica.tick(now: time, wall: noon) }
                carry()
            }
        }
        func write(_ text: String, at index: Int, _ durability: Durability) throws {
            _ = try replicas[index].execute([SQLStatement(text)], durability: durability, now: time, wall: noon)
            carry()
        }
    }

    @Test("a write at a time that the disk does not know to be used yet goes to nobody before it does")
    func heldBack() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        let pair = Pair([one, two])
        pair.meet()
        try pair.write("CREATE TABLE t (k INTEGER PRIMARY KEY)", at: 0, .local)
        pair.syncAll()
        // The other one's clock is further ahead than what is reserved here.
        let far = noon + 30_000
        _ = try pair.replicas[1].execute(
            [SQLStatement("INSERT INTO t VALUES (1)")], durability: .local, now: pair.time, wall: far)
        pair.sync(1)
        #expect(one.latestTime.milliseconds == far)
        try pair.write("INSERT INTO t VALUES (2)", at: 0, .local)
        #expect(pair.replicas[0].isHeldBack)
        #expect(try two.ask("SELECT k FROM t") == [[.integer(1)]])
        // Asking for it does not help.
        pair.replicas[1].differs(pair.ids[0], now: pair.time + .seconds(1), wall: noon)
        pair.carry()
        #expect(try two.ask("SELECT k FROM t") == [[.integer(1)]])
        pair.sync(0)
        #expect(!pair.replicas[0].isHeldBack)
        #expect(try two.ask("SELECT k FROM t") == [[.integer(1)], [.integer(2)]])
    }

    @Test(
        "what somebody waits for is to be synced at once, everything else within a while, and nothing is acknowledged before"
    )
    func lazySyncs() throws {
        let pair = Pair([try openStore(seed: 1), try openStore(seed: 2)])
        pair.meet()
        try pair.write("CREATE TABLE t (k INTEGER PRIMARY KEY)", at: 0, .local)
        pair.sync(0)
        pair.sync(1)
        let lazy = pair.replicas[1].replicator.config.lazySync
        let acknowledged = { pair.sent.contains { if case .synced = $0 { true } else { false } } }
        pair.sent = []
        try pair.write("INSERT INTO t VALUES (1)", at: 0, .local)
        #expect(pair.replicas[0].isSyncDue(pair.time), "its own disk is what `local` promises")
        #expect(pair.replicas[1].needsSync && !pair.replicas[1].isSyncDue(pair.time))
        #expect(pair.replicas[1].isSyncDue(pair.time + lazy))
        #expect(pair.answers.count == 1 && !acknowledged())
        // One that is waited for takes those before it along.
        try pair.write("INSERT INTO t VALUES (2)", at: 0, .one)
        #expect(pair.replicas[1].isSyncDue(pair.time))
        #expect(!acknowledged(), "not before the sync has ended")
        pair.sync(0)
        #expect(pair.answers.count == 2)
        let reached = pair.replicas[1].beginSync()
        #expect(!pair.replicas[1].needsSync && !acknowledged())
        // What comes while it is under way is not covered by it.
        try pair.write("INSERT INTO t VALUES (3)", at: 0, .one)
        #expect(pair.replicas[1].isSyncDue(pair.time))
        pair.replicas[1].syncEnded(reached, now: pair.time, wall: noon)
        pair.carry()
        #expect(acknowledged() && pair.answers.count == 3)
        pair.sync(0)
        #expect(pair.answers.count == 3, "the third is not on the other's disk")
        pair.sync(1)
        #expect(pair.answers.count == 4)
        // Lazily again, once nobody waits.
        try pair.write("INSERT INTO t VALUES (4)", at: 0, .local)
        #expect(!pair.replicas[1].isSyncDue(pair.time))
    }

    @Test(
        "a copy is made beside everything else: writes go on, two askers share it, and one of a replaced database is dropped"
    )
    func copies() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        for key in 0..<50 { try one.run("INSERT INTO t VALUES (\(key))") }
        try one.trimLog(to: one.vector)
        let pair = Pair([one, two])
        pair.meet()
        #expect(pair.jobs.count == 1 && pair.jobs[0].1 == 0, "it is handed out, not made on the spot")
        try pair.write("INSERT INTO t VALUES (100)", at: 0, .local)
        #expect(try one.ask("SELECT count(*) FROM t") == [[.integer(51)]])
        #expect(pair.replicas[1].isJoining)
        pair.replicas[0].copied(pair.jobs[0].0.result(), now: pair.time, wall: noon)
        pair.carry()
        pair.pass(.seconds(2))
        #expect(!pair.replicas[1].isJoining)
        #expect(try two.ask("SELECT count(*) FROM t") == [[.integer(51)]])
        #expect(try one.digest() == two.digest())

        // A restore while one is being made: what it gives is of before, and nobody gets it.
        let third = try openStore(seed: 3)
        let other = Pair([one, third])
        other.meet()
        #expect(other.jobs.count == 1)
        let folder = Folder()
        try one.backup(to: folder.path + "/backup.db")
        try other.replicas[0].restore(from: folder.path + "/backup.db", now: other.time, wall: noon)
        other.replicas[0].copied(other.jobs[0].0.result(), now: other.time, wall: noon)
        other.sent = []
        other.carry()
        #expect(!other.sent.contains { if case .offer(let offer) = $0 { offer.epoch != one.epoch } else { false } })
        for _ in 0..<20 {
            other.pass(.seconds(1))
            for (job, index) in other.jobs.dropFirst() {
                other.replicas[index].copied(job.result(), now: other.time, wall: noon)
            }
            other.carry()
        }
        #expect(try third.digest() == one.digest() && third.epoch == one.epoch)
    }

    @Test("an operator's order to take what is from the future holds on every node, and after a restart")
    func releaseLasts() throws {
        let future = noon + 10 * 365 * 86_400_000
        var options = StoreOptions(seed: 1, wall: future)
        options.node = NodeID(high: 1, low: 1)
        let one = try Store(.memory(image: nil), options)
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY)", wall: future)
        let two = try openStore(seed: 2)
        _ = try two.remember([FactEdit("x", [1])], wall: noon)
        // The clock of the first is right again by now.
        let pair = Pair([one, two])
        pair.part()
        pair.meet()
        pair.pass(.seconds(2))
        #expect(pair.replicas[1].replicator.quarantined == [one.origin])
        let order = FactEdit(ReplicationFact.released(one.origin), Array("now".utf8))
        _ = try pair.replicas[1].remember([order], durability: .local, now: pair.time, wall: noon)
        pair.pass(.seconds(2))
        #expect(pair.replicas[1].replicator.quarantined.isEmpty)
        #expect(two.vector[one.origin] == 1)
        // It was lost here before a sync, and so has to be taken again: nobody needs to say it twice.
        let again = try openStore(seed: 4)
        _ = try again.remember([order], wall: noon)
        let later = Pair([one, again])
        later.part()
        later.meet()
        later.pass(.seconds(3))
        #expect(again.vector[one.origin] == one.vector[one.origin])
    }

    // MARK: Forgetting whose it was

    @Test(
        "a forgotten origin is spoken of no more, its rows and what they are worth stay, also in copies and after a restart"
    )
    func forgottenOrigin() throws {
        let (one, two) = (try openNode(1), try openNode(2))
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a, n COUNTER)")
        try one.run("INSERT INTO t VALUES (1, 'of one', 5), (2, 'gone', 0)")
        try two.take(from: one)
        try two.run("UPDATE t SET n = n + 2 WHERE k = 1")
        try one.take(from: two)
        try one.run("DELETE FROM t WHERE k = 2")
        try two.take(from: one)
        let (origin, head) = (one.origin, one.vector[one.origin])
        let (before, log) = (try two.digest(), two.logBytes)
        #expect(try two.tables()[0].tombstones == 1)
        // Not where something of it is missing.
        try two.forget([origin: head + 1])
        #expect(two.vector[origin] == head)
        try two.forget([origin: head])
        #expect(two.vector.origins == [two.origin] && two.forgotten == [origin: head])
        #expect(two.wholeVector[origin] == head && two.logBytes < log)
        #expect(try two.digest() == before)
        #expect(try two.ask("SELECT * FROM t") == [[.integer(1), .text("of one"), .integer(7)]])
        // Its records are known, if somebody still sends them.
        let late = try one.records(of: origin, after: 0, maxBytes: .max)
        guard case .records(let records) = late else {
            Issue.record("no records")
            return
        }
        #expect(try two.apply(records).known == records.count)
        // A delete of its own needs nobody's word any more; a value of its is older than a later one, and no conflict.
        #expect(try two.collect(stable: VersionVector(), limit: 100) == 1)
        #expect(try two.tables()[0].tombstones == 0)
        let third = try openNode(3)
        let header = try two.snapshot()
        _ = try third.beginInstall(header)
        try third.installBytes(two.snapshotBytes(from: 0, count: header.size), at: 0)
        try third.finishInstall(keepingUnsent: false, wall: noon)
        let again = try openNode(2, image: try two.image())
        for store in [third, again] {
            #expect(store.vector == two.vector && store.forgotten == [origin: head])
            #expect(try store.digest() == two.digest())
        }
        try third.run("UPDATE t SET a = 'of three', n = n + 1", wall: noon + 50)
        try two.take(from: third)
        #expect(try two.ask("SELECT a, n FROM t") == [[.text("of three"), .integer(8)]])
        #expect(try two.report().conflicts == 0)
    }

    @Test("somebody had more of a forgotten origin after all: it is taken, in order, and is one like any again")
    func unforgotten() throws {
        let (one, two) = (try openNode(1), try openNode(2))
        try one.run("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try two.take(from: one)
        let (origin, head) = (one.origin, one.vector[one.origin])
        try two.forget([origin: head])
        for key in 1...2 { try one.run("INSERT INTO t VALUES (\(key))") }
        guard case .records(let records) = try one.records(of: origin, after: head, maxBytes: .max) else { return }
        #expect(try two.apply([records[1]]).refused.count == 1, "a gap")
        #expect(two.vector[origin] == 0)
        #expect(try two.apply(records).applied == 2)
        #expect(two.vector[origin] == head + 2 && two.forgotten.isEmpty)
        #expect(try two.digest() == one.digest())
        let again = try openNode(2, image: try two.image())
        #expect(again.vector[origin] == head + 2 && again.forgotten.isEmpty)
    }

    @Test(
        "what a removed node wrote is forgotten by those that are left, not before both have all of it, and never a member's"
    )
    func forgetsRemoved() throws {
        let (one, two) = (try openNode(1), try openNode(2))
        let gone = try openNode(9)
        try gone.run("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try gone.run("INSERT INTO t VALUES (1)")
        try one.take(from: gone)
        try one.run("INSERT INTO t VALUES (2)")
        try two.run("SELECT 1")
        var config = ReplicatorConfig()
        config.forgetAfter = .seconds(4)
        let pair = Pair([one, two], config: config)
        // The first alone has all of it: it must not forget.
        pair.replicas[0].peersChanged(members: pair.ids, reachable: [], now: pair.time, wall: noon)
        pair.pass(.seconds(20))
        #expect(one.vector[gone.origin] == 2)
        pair.meet()
        pair.pass(.seconds(3))
        pair.syncAll()
        #expect(two.vector[gone.origin] == 2)
        for _ in 0..<20 {
            pair.pass(.seconds(1))
            pair.syncAll()
        }
        for store in [one, two] {
            #expect(store.forgotten == [gone.origin: 2])
            #expect(store.vector[gone.origin] == 0 && store.vector[one.origin] > 0)
            #expect(try store.ask("SELECT k FROM t") == [[.integer(1)], [.integer(2)]])
        }
        #expect(pair.replicas[0].digest == pair.replicas[1].digest)
        #expect(try one.digest() == two.digest())
    }

    @Test("an order to forget comes back from its text as it went, and nonsense is none")
    func forgettingText() {
        let order = Forgetting(
            node: NodeID(high: 1, low: 2), head: 77,
            basis: VersionVector([Origin(rawValue: 5): 9, Origin(rawValue: .max): 1 << 40]))
        #expect(Forgetting(order.text) == order)
        for text in [
            "", order.node.description, "\(order.node) 0 ", "\(order.node) 5 x", "\(order.node) 5 0123:4",
            order.text + " ",
        ] {
            #expect(Forgetting(text) == nil, "\(text)")
        }
        #expect(Forgetting("\(order.node) 5 ")?.basis.isEmpty == true)
    }

    // MARK: Copies

    @Test("a node that fell behind takes a snapshot in pieces, then the tail, and loses nothing it wrote")
    func snapshot() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a, n COUNTER)")
        for number in 0..<200 { try one.run("INSERT INTO t VALUES (?, 'x', 1)", .integer(Int64(number))) }
        try one.run("DELETE FROM t WHERE k < 20")
        try two.run("INSERT INTO t VALUES (1000, 'mine', 0)")
        let own = two.origin
        let header = try one.snapshot()
        try one.trimLog(to: one.vector)
        try one.run("INSERT INTO t VALUES (500, 'tail', 0)")
        #expect(try two.beginInstall(header) == 0)
        var offset = 0
        while offset < header.size {
            let bytes = try one.snapshotBytes(from: offset, count: 5_000)
            try two.installBytes(bytes, at: offset)
            try two.installBytes(bytes, at: offset)
            offset += bytes.count
            #expect(try two.beginInstall(header) == offset)
        }
        try two.finishInstall(keepingUnsent: true, wall: noon)
        #expect(two.origin == own)
        #expect(two.vector[own] == 1)
        try two.take(from: one)
        try one.take(from: two)
        #expect(try one.digest() == two.digest())
        #expect(try two.ask("SELECT count(*) FROM t") == [[.integer(182)]])
        try two.run("INSERT INTO t VALUES (1001, 'after', 0)")
        try one.take(from: two)
        #expect(try one.digest() == two.digest())
    }

    @Test("of two that have dropped what the other never had, one takes the copy of the other in, and has all of both")
    func absorb() throws {
        let (one, two) = (try openStore(seed: 1), try openStore(seed: 2))
        let twin = try openStore(seed: 3)
        // Each group's own table, and one that both made, with rows of one key on both sides.
        for (store, own) in [(one, "left"), (two, "right")] {
            try store.run("CREATE TABLE \(own) (k TEXT PRIMARY KEY, n COUNTER, v REAL) WITHOUT ROWID")
            try store.run("INSERT INTO \(own) VALUES ('a', 5, 1.5), ('b', 0, NULL), ('c', 1, 2)")
            try store.run("UPDATE \(own) SET n = n + 2 WHERE k = 'a'")
            try store.run("DELETE FROM \(own) WHERE k = 'c'")
            try store.run("CREATE TABLE IF NOT EXISTS both (k INTEGER PRIMARY KEY, v TEXT, w TEXT DEFAULT 'w')")
            try store.run("INSERT INTO both (k, v) VALUES (1, ?), (2, 'same')", .text(own))
        }
        try two.run("ALTER TABLE both ADD COLUMN x INTEGER")
        try two.run("UPDATE both SET x = 7 WHERE k = 2")
        // What every order of the records gives.
        try twin.take(from: one)
        try twin.take(from: two)
        for store in [one, two] { try store.trimLog(to: store.vector) }
        let heads = (one.vector, two.vector)

        let header = try two.snapshot()
        _ = try one.beginInstall(header)
        try one.installBytes(two.snapshotBytes(from: 0, count: header.size), at: 0)
        try one.finishInstall(keepingUnsent: true, wall: noon)
        #expect(one.vector.covers(heads.0) && one.vector.covers(heads.1))
        #expect(one.vector == twin.vector)
        #expect(try one.digest() == twin.digest())
        #expect(try one.ask("SELECT k, n, v FROM left UNION ALL SELECT k, n, v FROM right").count == 4)
        #expect(try one.ask("SELECT n FROM right WHERE k = 'a'") == [[.integer(7)]])
        #expect(try one.ask("SELECT v, w, x FROM both WHERE k = 2") == [[.text("same"), .text("w"), .integer(7)]])
        let conflicts = try one.ask("SELECT kept, lost FROM bramble_conflicts WHERE tab = 'both'")
        #expect(conflicts == [[.text("right"), .text("left")]])

        // It has all of both now, and whoever takes its copy, too; so has its file.
        let again = try openStore(seed: 9, image: one.image())
        #expect(again.vector == one.vector)
        #expect(try again.digest() == twin.digest())
        try one.run("INSERT INTO both (k, v) VALUES (3, 'after')")
        let whole = try one.snapshot()
        _ = try two.beginInstall(whole)
        try two.installBytes(one.snapshotBytes(from: 0, count: whole.size), at: 0)
        try two.finishInstall(keepingUnsent: true, wall: noon)
        #expect(try two.digest() == one.digest())
        try two.run("DELETE FROM both WHERE k = 1")
        try one.take(from: two)
        #expect(try one.digest() == two.digest())
    }

    @Test("a snapshot that is damaged, cut off or something else changes nothing")
    func badSnapshot() throws {
        let (one, two) = try pair("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        let header = try one.snapshot()
        let bytes = try one.snapshotBytes(from: 0, count: header.size)
        let before = try two.digest()
        var damaged = bytes
        for place in stride(from: 4_096, to: damaged.count, by: 97) { damaged[place] ^= 0x55 }
        func install(_ bytes: [UInt8], _ header: SnapshotHeader) throws {
            _ = try two.beginInstall(header)
            try two.installBytes(bytes, at: 0)
            try two.finishInstall(keepingUnsent: false, wall: noon)
        }
        let tricks: [([UInt8], SnapshotHeader)] = [
            (damaged, header), (Array(bytes.dropLast()), header),
            (
                damaged,
                SnapshotHeader(
                    vector: header.vector, epoch: header.epoch, size: damaged.count, checksum: Checksum.of(damaged))
            ),
            (
                [1, 2, 3],
                SnapshotHeader(vector: header.vector, epoch: header.epoch, size: 3, checksum: Checksum.of([1, 2, 3]))
            ),
            (
                bytes,
                SnapshotHeader(
                    vector: VersionVector(), epoch: header.epoch, size: header.size, checksum: header.checksum)
            ),
        ]
        for (bytes, header) in tricks {
            #expect(throws: StoreError.self) { try install(bytes, header) }
            two.discardInstall()
        }
        #expect(try two.digest() == before)
        try install(bytes, header)
        #expect(try two.digest() == before)
    }

    @Test("a backup opens with sqlite3, and restoring it begins a new epoch")
    func backup() throws {
        let folder = Folder()
        let store = try Store(.file(folder.database), StoreOptions(seed: 1, wall: noon))
        try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
        try store.run("INSERT INTO t VALUES (1, 'saved')")
        let saved = try store.digest()
        let path = folder.path + "/backup.db"
        try store.backup(to: path)
        #expect(throws: StoreError.self) { try store.backup(to: path) }
        try store.run("UPDATE t SET a = 'changed'")
        let old = (store.origin, store.epoch)
        try store.restore(from: path, wall: noon)
        #expect(try store.ask("SELECT a FROM t") == [[.text("saved")]])
        #expect(try store.digest() == saved)
        #expect(store.origin != old.0)
        #expect(store.epoch > old.1)
        #expect(folder.names.contains { $0.hasPrefix("bramble.db.before-2026") })
        #expect(throws: StoreError.self) { try store.restore(from: folder.path + "/nothing", wall: noon) }
        try "no database at all".write(toFile: folder.path + "/text", atomically: true, encoding: .utf8)
        #expect(throws: StoreError.self) { try store.restore(from: folder.path + "/text", wall: noon) }
        #expect(try store.ask("SELECT a FROM t") == [[.text("saved")]])
        let epoch = store.epoch
        try store.close()
        let again = try Store(.file(folder.database), StoreOptions(seed: 2, wall: noon))
        #expect(again.epoch == epoch)
    }

    // MARK: Files

    @Test("a file is private, keeps all over a restart, and reads from another connection")
    func file() throws {
        let folder = Folder()
        var digest: UInt64 = 0
        do {
            let store = try Store(.file(folder.database), StoreOptions(seed: 1, wall: noon))
            try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
            let sync = try LogSync(path: folder.database)
            let reader = try StoreReader(path: folder.database, limits: StoreLimits())
            for number in 0..<3_000 {
                try store.run("INSERT INTO t VALUES (?, zeroblob(2000))", .integer(Int64(number)))
            }
            try sync.sync()
            try store.checkpointIfNeeded()
            #expect(try reader.query([SQLStatement("SELECT count(*) FROM t")]).rows == [[.integer(3_000)]])
            #expect(throws: StoreError.self) { try reader.query([SQLStatement("DELETE FROM t")]) }
            digest = try store.digest()
            // Not closed: as if it was killed.
        }
        for name in folder.names {
            var status = stat()
            #expect(stat(folder.path + "/" + name, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600, "\(name)")
        }
        let again = try Store(.file(folder.database), StoreOptions(seed: 2, wall: noon))
        #expect(try again.digest() == digest)
        #expect(again.notes.isEmpty)
        #expect(!again.needsRebuild)
    }

    @Test(
        "a damaged file is set aside with its date, and an empty one says that it needs its content",
        arguments: [0, 1, 2])
    func damaged(kind: Int) throws {
        let folder = Folder()
        do {
            let store = try Store(.file(folder.database), StoreOptions(seed: 1, wall: noon))
            try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
            for number in 0..<500 {
                try store.run("INSERT INTO t VALUES (?, 'xxxxxxxxxxxxxxxx')", .integer(Int64(number)))
            }
            try store.close()
        }
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.database)))
        switch kind {
        case 0: bytes = Array("this is no database".utf8)
        case 1: for place in stride(from: 4_096, to: bytes.count, by: 997) { bytes[place] ^= 0xFF }
        default: bytes = Array(bytes.prefix(bytes.count / 2))
        }
        try Data(bytes).write(to: URL(fileURLWithPath: folder.database))
        let again = try Store(.file(folder.database), StoreOptions(seed: 2, wall: noon))
        #expect(again.needsRebuild)
        #expect(again.notes.count == 1)
        #expect(try again.tables().isEmpty)
        #expect(folder.names.contains { $0.hasPrefix("bramble.db.damaged-2026") })
    }

    @Test("damage that a statement met is found, also where an index has not what its table has")
    func metDamage() throws {
        let folder = Folder()
        do {
            let store = try Store(.file(folder.database), StoreOptions(seed: 1, wall: noon))
            try store.run("CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
            try store.run("CREATE INDEX i ON t (a)")
            try store.close()
        }
        do {
            let raw = try Connection(opening: folder.database, flags: SQLITE_OPEN_READWRITE)
            try raw.run("PRAGMA writable_schema = ON")
            try raw.run("CREATE TABLE put_aside AS SELECT * FROM sqlite_schema WHERE name = 'i'")
            try raw.run("DELETE FROM sqlite_schema WHERE name = 'i'")
        }
        do {
            let raw = try Connection(opening: folder.database, flags: SQLITE_OPEN_READWRITE)
            try raw.run("INSERT INTO t VALUES (1, 'not in the index')")
            try raw.run("PRAGMA writable_schema = ON")
            try raw.run("INSERT INTO sqlite_schema SELECT * FROM put_aside")
            try raw.run("DROP TABLE put_aside")
        }
        var options = StoreOptions(seed: 2, wall: noon)
        do {
            let store = try Store(.file(folder.database), options)
            #expect(!store.needsRebuild, "a start does not look so closely")
        }
        options.metDamage = true
        let again = try Store(.file(folder.database), options)
        #expect(again.needsRebuild && again.notes.count == 1, "\(again.notes)")
    }

    @Test("a file of another cluster is set aside; that of its own is not")
    func cluster() throws {
        let folder = Folder()
        func open(_ tags: [[UInt8]]) throws -> Store {
            var options = StoreOptions(seed: 1, wall: noon)
            options.clusters = tags
            return try Store(.file(folder.database), options)
        }
        do {
            let store = try open([[1]])
            try store.run("CREATE TABLE t (k PRIMARY KEY)")
        }
        #expect(try open([[2], [1]]).tables().count == 1)
        let other = try open([[3]])
        #expect(try other.tables().isEmpty)
        #expect(!other.needsRebuild)
        #expect(folder.names.contains { $0.contains("other-cluster") })
    }
}
