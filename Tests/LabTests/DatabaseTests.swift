import BrambleAPI
import FoundationEssentials
import Lab
import Testing

@Suite("one database on every node", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct DatabaseTests {
    private static let file = "\(BrambleNode.dataDirectory)/database.db"

    @Test("a table made and written on one node is there on all others, and so is what they change")
    func everywhere() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE visits (page TEXT PRIMARY KEY, n INTEGER)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM visits") == "[[0]]" }, "\(cluster.logs)")
        for node in cluster.nodes { try node.write("INSERT INTO visits VALUES ('\(node.name)', 1)") }
        #expect(
            cluster.eventuallyAll { $0.rows("SELECT page FROM visits ORDER BY page") == #"[["n1"],["n2"],["n3"]]"# },
            "\(cluster.logs)")
        try cluster["n3"].write("UPDATE visits SET n = 7 WHERE page = 'n1'")
        try cluster["n2"].write("DELETE FROM visits WHERE page = 'n3'")
        #expect(
            cluster.eventuallyAll { $0.rows("SELECT page, n FROM visits ORDER BY page") == #"[["n1",7],["n2",1]]"# },
            "\(cluster.logs)")
        let status = try cluster["n1"].ask("GET", "/v1/database")
        #expect(status.status == 200 && status.text.contains("n3"), "\(status.text)")
    }

    @Test("a write on one node alone is answered at once, and says that it is on one disk only")
    func alone() throws {
        let cluster = try Cluster("n1", started: false)
        try cluster["n1"].start()
        #expect(eventually(within: .seconds(10)) { (try? cluster["n1"].status().state) == .alone })
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        let answer = try cluster["n1"].sql("INSERT INTO t VALUES (1)", durability: "one")
        #expect(answer.status == 200 && answer.text.contains("no other node"), "\(answer.text)")
    }

    @Test("writes acknowledged as “one” survive a daemon that is killed over and over")
    func killed() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE journal (id INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM journal") == "[[0]]" }, "\(cluster.logs)")
        var acknowledged: [Int] = []
        var next = 0
        for round in 0..<6 {
            let victim = cluster.nodes[round % 3]
            for _ in 0..<40 {
                next += 1
                let answer = try? victim.sql("INSERT INTO journal VALUES (\(next))", durability: "one")
                if answer?.status == 200 { acknowledged.append(next) }
            }
            victim.kill()
            for node in cluster.others(than: victim) {
                next += 1
                let answer = try? node.sql("INSERT INTO journal VALUES (\(next))", durability: "one")
                if answer?.status == 200 { acknowledged.append(next) }
            }
            try victim.restart()
            #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(30)), "\(cluster.logs)")
        }
        #expect(acknowledged.count > 200)
        let expected = "[[\(acknowledged.count)]]"
        let list = acknowledged.map(String.init).joined(separator: ",")
        #expect(
            cluster.eventuallyAll(within: .seconds(30)) {
                $0.rows("SELECT count(*) FROM journal WHERE id IN (\(list))") == expected
            }, "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM journal") }), \(expected)\n\(cluster.logs)")
    }

    @Test("both sides of a partition write, and are equal after it; what was overwritten is listed")
    func partition() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)")
        try cluster["n1"].write("INSERT INTO t VALUES ('shared', 'before')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT v FROM t") == #"[["before"]]"# }, "\(cluster.logs)")
        let left = [cluster["n1"], cluster["n2"]]
        try cluster.lab.partition(left.map(\.host), from: [cluster["n3"].host])
        #expect(eventually(within: .seconds(15)) { cluster["n3"].sees("n1", as: .down) }, "\(cluster.logs)")
        for number in 0..<100 {
            try cluster["n1"].write("INSERT INTO t VALUES ('left \(number)', 'x')")
            try cluster["n3"].write("INSERT INTO t VALUES ('right \(number)', 'x')")
        }
        try cluster["n1"].write("UPDATE t SET v = 'of the left' WHERE k = 'shared'")
        try cluster["n3"].write("UPDATE t SET v = 'of the right' WHERE k = 'shared'")
        try cluster.lab.heal()
        #expect(
            cluster.eventuallyAll(within: .seconds(30)) {
                $0.rows("SELECT count(*), max(v) FROM t WHERE k <> 'shared'") == #"[[200,"x"]]"#
                    && $0.rows("SELECT v FROM t WHERE k = 'shared'") == #"[["of the right"]]"#
            }, "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM t") })\n\(cluster.logs)")
        #expect(
            cluster.eventuallyAll {
                $0.rows("SELECT kept, lost FROM bramble_conflicts") == #"[["of the right","of the left"]]"#
            },
            "\(cluster.nodes.map { $0.rows("SELECT kept, lost FROM bramble_conflicts") })")
    }

    @Test("a healed partition is made up for at once, however long TCP would still wait before it tries again")
    func healsAtOnce() throws {
        let cluster = try Cluster("n1", "n2")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        try cluster.lab.cut(cluster["n2"].host)
        // On its way when the link goes: sent again after 0.2 s, 0.4 s … 6.4 s, which is 12.6 s after the first time.
        for key in 0..<10 { try cluster["n1"].write("INSERT INTO t VALUES (\(key))") }
        pause(.seconds(7))
        try cluster["n2"].write("INSERT INTO t VALUES (10)")
        try cluster.lab.heal()
        #expect(
            cluster.eventuallyAll(within: .seconds(3)) { $0.rows("SELECT count(*) FROM t") == "[[11]]" },
            "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM t") })\n\(cluster.logs)")
    }

    @Test("two pairs that were clusters of their own with the same key have all of both once they meet")
    func pairsApart() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", started: false)
        let (left, right) = ([cluster["n1"], cluster["n2"]], [cluster["n3"], cluster["n4"]])
        try cluster.lab.partition(left.map(\.host), from: right.map(\.host))
        for node in cluster.nodes { try node.start() }
        for (pair, table) in [(left, "a"), (right, "b")] {
            #expect(cluster.agree(alive: pair.map(\.name)), "\(cluster.logs)")
            try pair[0].write("CREATE TABLE \(table) (k INTEGER PRIMARY KEY)")
            for key in 0..<10 { try pair[0].write("INSERT INTO \(table) VALUES (\(key))") }
            let isEverywhere = eventually(within: .seconds(20)) {
                pair[1].rows("SELECT count(*) FROM \(table)") == "[[10]]"
            }
            #expect(isEverywhere, "\(cluster.logs)")
        }
        // Both have it, and neither log keeps it.
        for node in [left[0], right[0]] {
            let isDropped = eventually(within: .seconds(30)) {
                node.rows("SELECT count(*) FROM bramble_log") == "[[0]]"
            }
            #expect(isDropped, "\(cluster.logs)")
        }
        try cluster.lab.heal()
        let areWhole = cluster.eventuallyAll(within: .seconds(60)) {
            $0.rows("SELECT count(*) FROM a") == "[[10]]" && $0.rows("SELECT count(*) FROM b") == "[[10]]"
        }
        #expect(areWhole, "\(cluster.logs)")
    }

    @Test("rows deleted while a node was away stay deleted when it is back")
    func awayThroughDeletes() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        for key in 0..<50 { try cluster["n1"].write("INSERT INTO t VALUES (\(key))") }
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[50]]" }, "\(cluster.logs)")
        cluster["n3"].stop()
        try cluster["n1"].write("DELETE FROM t WHERE k < 25")
        pause(.seconds(3))
        try cluster["n2"].write("DELETE FROM t WHERE k >= 40")
        try cluster["n3"].restart()
        #expect(
            cluster.eventuallyAll(within: .seconds(30)) { $0.rows("SELECT count(*), min(k) FROM t") == "[[15,25]]" },
            "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM t") })\n\(cluster.logs)")
        try cluster["n3"].write("INSERT INTO t VALUES (1)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[16]]" }, "\(cluster.logs)")
    }

    @Test("an empty node joins while others write, and has everything")
    func join() throws {
        let cluster = try Cluster("n1", "n2")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        for batch in 0..<20 {
            let values = (0..<500).map { "(\(batch * 500 + $0), 'some text of row \($0)')" }.joined(separator: ",")
            try cluster["n1"].write("INSERT INTO t VALUES \(values)")
        }
        // Until both have acknowledged it, and the log is gone: the new one needs a snapshot.
        pause(.seconds(4))
        let third = try cluster.add("n3")
        try third.takeKey(of: cluster["n1"])
        try third.start()
        for key in 20_000..<20_100 { try cluster["n2"].write("INSERT INTO t VALUES (\(key), 'meanwhile')") }
        #expect(
            cluster.eventuallyAll(within: .seconds(40)) { $0.rows("SELECT count(*) FROM t") == "[[10100]]" },
            "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM t") })\n\(cluster.logs)")
        try third.write("INSERT INTO t VALUES (30000, 'by the new one')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[10101]]" }, "\(cluster.logs)")
    }

    @Test("a machine that had a database of its own gets the cluster's when it is added, and keeps its own as a file")
    func addedWithDatabase() throws {
        let cluster = try Cluster("n1", "n2")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try cluster["n1"].write("INSERT INTO t VALUES (1)")
        let guest = try cluster.add("n3")
        try guest.makeCluster("elsewhere")
        try guest.start(["--no-discovery"])
        #expect(eventually(within: .seconds(10)) { (try? guest.status().state) == .alone }, "\(guest.log)")
        try guest.write("CREATE TABLE mine (k TEXT PRIMARY KEY)")
        try guest.write("INSERT INTO mine VALUES ('precious')")
        guest.stop()
        // Its operator gives it up: the key goes, the machine waits.
        try guest.host.require("rm", BrambleNode.keyFile)
        try guest.start()
        try cluster.admit("n3")
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
        #expect(
            eventually(within: .seconds(20)) { guest.rows("SELECT k FROM t") == "[[1]]" },
            "\(guest.rows("SELECT k FROM t"))\n\(cluster.logs)")
        #expect(guest.rows("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'") == "[[0]]")
        let files = try guest.host.require("ls", BrambleNode.dataDirectory)
        let kept = files.split(separator: "\n").first {
            $0.hasPrefix("database.db.") && !$0.hasSuffix("-wal") && !$0.hasSuffix("-shm")
        }
        let file = try #require(kept, "\(files)")
        let content = try guest.host.require("grep", "-c", "precious", "\(BrambleNode.dataDirectory)/\(file)")
        #expect(content != "0\n")
        #expect(cluster["n1"].rows("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'") == "[[0]]")
    }

    @Test(
        "a node that once joined by address comes back without one, with its own copy, also when nobody else is there")
    func startsWithoutTarget() throws {
        let cluster = try Cluster("n1", "n2", started: false)
        try cluster["n1"].start(["--no-discovery"])
        try cluster["n2"].start(["--no-discovery", "--join", cluster["n1"].host.address])
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        try cluster["n1"].write("INSERT INTO t VALUES (1)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT k FROM t") == "[[1]]" }, "\(cluster.logs)")
        for node in cluster.nodes { node.stop() }
        try cluster["n2"].start(["--no-discovery"])
        #expect(
            eventually(within: .seconds(10)) { cluster["n2"].rows("SELECT k FROM t") == "[[1]]" }, "\(cluster.logs)")
        try cluster["n2"].write("INSERT INTO t VALUES (2)", durability: "local")
        try cluster["n1"].start(["--no-discovery"])
        #expect(cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(cluster.logs)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[2]]" }, "\(cluster.logs)")
    }

    @Test("a damaged file is set aside and fetched anew from the others")
    func damaged() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        for key in 0..<200 { try cluster["n1"].write("INSERT INTO t VALUES (\(key), 'value')") }
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[200]]" }, "\(cluster.logs)")
        let victim = cluster["n2"]
        victim.stop()
        try victim.host.require(
            "dd", "if=/dev/urandom", "of=\(Self.file)", "bs=4096", "seek=1", "count=6", "conv=notrunc")
        try victim.restart()
        #expect(
            cluster.eventuallyAll(within: .seconds(40)) { $0.rows("SELECT count(*) FROM t") == "[[200]]" },
            "\(cluster.logs)")
        let kept = try victim.host.require("sh", "-c", "ls \(BrambleNode.dataDirectory) | grep damaged")
        #expect(kept.contains("database.db.damaged"))
        try victim.write("INSERT INTO t VALUES (1000, 'after')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[201]]" }, "\(cluster.logs)")
    }

    @Test("a node whose disk is full says so, the others go on, and it catches up when there is room")
    func diskFull() throws {
        let cluster = try Cluster("n1", "n2", started: false)
        let small = cluster["n2"]
        let key = try #require(small.host.read(BrambleNode.keyFile))
        try small.host.require("mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", BrambleNode.dataDirectory)
        try small.host.write(key, to: BrambleNode.keyFile)
        try small.host.require("chmod", "600", BrambleNode.keyFile)
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        try small.host.require("sh", "-c", "dd if=/dev/zero of=\(BrambleNode.dataDirectory)/filler bs=64k || true")
        for key in 0..<10 {
            try cluster["n1"].write("INSERT INTO t VALUES (\(key), randomblob(100000))", durability: "local")
        }
        #expect(cluster["n1"].rows("SELECT count(*) FROM t") == "[[10]]")
        let refused = try small.sql("INSERT INTO t VALUES (100, randomblob(100000))")
        #expect(refused.status != 200 && refused.text.contains("remedy"), "\(refused.text)")
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
        try small.host.require("rm", "\(BrambleNode.dataDirectory)/filler")
        #expect(
            cluster.eventuallyAll(within: .seconds(40)) { $0.rows("SELECT count(*) FROM t") == "[[10]]" },
            "\(cluster.nodes.map { $0.rows("SELECT count(*) FROM t") })\n\(cluster.logs)")
    }

    @Test("a node whose clock is ten years ahead does not win for ever")
    func wrongClock() throws {
        let cluster = try Cluster("n1", "n2", "n3", started: false)
        for node in cluster.nodes {
            if node.name == "n3" { try node.start(clockShift: 10 * 365 * 86_400) } else { try node.start() }
        }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
        let shift = try #require(cluster["n3"].clockShift)
        #expect(abs(shift - 10 * 365 * 86_400) < 300, "the clock moved by \(shift) s")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        try cluster["n3"].write("INSERT INTO t VALUES (1, 'by the wrong clock')")
        #expect(
            cluster.eventuallyAll { $0.rows("SELECT v FROM t") == #"[["by the wrong clock"]]"# }, "\(cluster.logs)")
        try cluster["n1"].write("UPDATE t SET v = 'later' WHERE k = 1")
        #expect(cluster.eventuallyAll { $0.rows("SELECT v FROM t") == #"[["later"]]"# }, "\(cluster.logs)")
    }

    @Test(
        "what a wrong clock wrote alone is held back by the others, shown, and taken everywhere when an operator releases it"
    )
    func released() throws {
        let cluster = try Cluster("n1", "n2", "n3", started: false)
        for node in cluster.nodes {
            if node.name == "n3" { try node.start(clockShift: 10 * 365 * 86_400) } else { try node.start() }
        }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        let (away, others) = (cluster["n3"], [cluster["n1"], cluster["n2"]])
        try cluster.lab.cut(away.host)
        #expect(eventually(within: .seconds(15)) { away.sees("n1", as: .down) }, "\(cluster.logs)")
        // Nobody tells it the time.
        try away.write("INSERT INTO t VALUES (1)")
        try cluster["n1"].write("INSERT INTO t VALUES (2)")
        try cluster.lab.heal()
        let node = cluster["n2"]
        let isShown = eventually(within: .seconds(30)) {
            (try? node.status())?.notes.contains { $0.contains("of n3 are held back") } ?? false
        }
        #expect(isShown, "\(cluster.logs)")
        #expect(node.event("database-held", "n2") != nil, "\(cluster.logs)")
        #expect(others.allSatisfy { $0.rows("SELECT k FROM t") == "[[2]]" })
        let doctor = try node.cli("doctor")
        #expect(doctor.output.contains("of n3 are held back"), "\(doctor)")
        let shown = try node.cli("database")
        #expect(shown.output.contains("n3") && shown.output.contains("held"), "\(shown)")
        let metric = try node.metric("bramble_database_held_origins") ?? 0
        #expect(metric == 1)
        let refused = try node.cli("database", "release", "n1", "--yes")
        #expect(refused.status == 1 && refused.errors.contains("nothing of “n1” is held back"), "\(refused)")
        // Without a terminal and without --yes nothing is done.
        #expect(try node.cli("database", "release", "n3").status == 2)
        let done = try node.cli("database", "release", "n3", "--yes")
        #expect(done.succeeded && done.output.contains("taken as they are"), "\(done)")
        #expect(
            cluster.eventuallyAll(within: .seconds(20)) { $0.rows("SELECT k FROM t ORDER BY k") == "[[1],[2]]" },
            "\(cluster.nodes.map { $0.rows("SELECT k FROM t") })\n\(cluster.logs)")
        #expect(eventually(within: .seconds(10)) { (try? node.status())?.notes.isEmpty ?? false })
        // It is the cluster's word now, not this process's.
        let kept = eventually(within: .seconds(10)) {
            cluster["n1"].rows("SELECT count(*) FROM bramble_facts WHERE key LIKE 'released/%'") == "[[1]]"
        }
        #expect(kept, "\(cluster.logs)")
    }

    @Test(
        "the schema of a file is made by apply on every node, told by plan, kept by export, and refused where it cannot be"
    )
    func schema() throws {
        let cluster = try Cluster("n1", "n2")
        let first = "schema:\n  - CREATE TABLE stock (place TEXT PRIMARY KEY, n COUNTER)\n"
        try cluster["n1"].host.write(first, to: "/tmp/first.yaml")
        let plan = try cluster["n1"].cli("plan", "-f", "/tmp/first.yaml")
        #expect(plan.output.contains("CREATE TABLE stock"), "\(plan)")
        #expect(cluster["n1"].rows("SELECT count(*) FROM sqlite_schema WHERE name = 'stock'") == "[[0]]")
        #expect(try cluster["n1"].cli("apply", "-f", "/tmp/first.yaml").succeeded)
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM stock") == "[[0]]" }, "\(cluster.logs)")
        let isExported = eventually(within: .seconds(10), every: .milliseconds(200)) {
            (try? cluster["n2"].cli("export"))?.output.contains("CREATE TABLE stock") == true
        }
        #expect(isExported, "\(cluster.logs)")
        let grown = "schema:\n  - CREATE TABLE stock (place TEXT PRIMARY KEY, n COUNTER, note TEXT)\n"
        try cluster["n2"].host.write(grown, to: "/tmp/grown.yaml")
        let more = try cluster["n2"].cli("plan", "-f", "/tmp/grown.yaml")
        #expect(more.output.contains("ADD COLUMN note TEXT"), "\(more)")
        #expect(try cluster["n2"].cli("apply", "-f", "/tmp/grown.yaml").succeeded)
        #expect(cluster.eventuallyAll { $0.rows("SELECT note FROM stock") == "[]" }, "\(cluster.logs)")
        let nothing = try cluster["n2"].cli("plan", "-f", "/tmp/grown.yaml")
        #expect(!nothing.output.contains("ADD COLUMN"), "\(nothing)")
        let wrong = "schema:\n  - CREATE TABLE stock (place INTEGER PRIMARY KEY, n COUNTER)\n"
        try cluster["n1"].host.write(wrong, to: "/tmp/wrong.yaml")
        let refused = try cluster["n1"].cli("apply", "-f", "/tmp/wrong.yaml")
        #expect(refused.status == 1 && refused.errors.contains("cannot become INTEGER"), "\(refused)")
        #expect(!(try cluster["n1"].cli("export").output.contains("place INTEGER")))
    }

    @Test("a node that was away when it was removed wipes its copy as soon as it hears of it")
    func removedWhileAway() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        let away = cluster["n3"]
        away.stop()
        #expect(
            eventually(within: .seconds(15)) { cluster.others(than: away).allSatisfy { !$0.sees("n3", as: .alive) } })
        #expect(away.host.exists(Self.file))
        #expect(try cluster["n1"].cli("node", "remove", "n3", "--yes").succeeded)
        try cluster["n2"].write("INSERT INTO t VALUES (1)")
        try away.restart()
        #expect(eventually(within: .seconds(30)) { !away.host.exists(Self.file) }, "\(cluster.logs)")
        for node in cluster.others(than: away) {
            #expect(eventually(within: .seconds(10)) { node.rows("SELECT count(*) FROM t") == "[[1]]" })
            #expect(!node.sees("n3", as: .alive))
        }
    }

    @Test("a restored backup replaces the database on all nodes, and a node that was away cannot mix the old one in")
    func restored() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        try cluster["n1"].write("INSERT INTO t VALUES (1, 'kept')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[1]]" }, "\(cluster.logs)")
        let backup = try cluster["n2"].cli("backup", "/tmp/backup.db", within: .seconds(30))
        #expect(backup.succeeded, "\(backup.errors)")
        // What comes after it is lost, also on a node that has it to itself.
        try cluster["n1"].write("INSERT INTO t VALUES (2, 'after')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[2]]" }, "\(cluster.logs)")
        let away = cluster["n3"]
        try cluster.lab.cut(away.host)
        #expect(eventually(within: .seconds(15)) { away.sees("n1", as: .down) }, "\(cluster.logs)")
        try away.write("INSERT INTO t VALUES (3, 'of the node that is away')")
        let restore = try cluster["n2"].cli("restore", "/tmp/backup.db", "--yes", within: .seconds(30))
        #expect(restore.succeeded, "\(restore.errors)")
        let others = cluster.others(than: away)
        #expect(
            eventually(within: .seconds(30)) { others.allSatisfy { $0.rows("SELECT k FROM t") == "[[1]]" } },
            "\(cluster.logs)")
        try cluster["n1"].write("INSERT INTO t VALUES (4, 'in the new one')")
        try cluster.lab.heal()
        #expect(
            cluster.eventuallyAll(within: .seconds(60)) { $0.rows("SELECT k FROM t ORDER BY k") == "[[1],[4]]" },
            "\(cluster.nodes.map { $0.rows("SELECT k FROM t ORDER BY k") })\n\(cluster.logs)")
        let kept = try away.host.require("ls", BrambleNode.dataDirectory)
        #expect(
            kept.split(separator: "\n").filter { $0.hasPrefix("database.db") && $0 != "database.db" }.count > 0,
            "\(kept)")
        try away.write("INSERT INTO t VALUES (5, 'by the one that was away')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[3]]" }, "\(cluster.logs)")
    }

    @Test("wrong statements are refused with a remedy, change nothing, and end nothing")
    func wrongStatements() throws {
        let cluster = try Cluster("n1", "n2")
        let node = cluster["n1"]
        try node.write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        try node.write("INSERT INTO t VALUES (1, 'here')")
        for statement in [
            "SELEC 1", "SELECT * FROM nowhere", "PRAGMA journal_mode = DELETE", "ATTACH '/etc/passwd' AS x",
            "SELECT load_extension('x')", "INSERT INTO bramble_log VALUES (1, 1, 1, 1)", "BEGIN", "DROP TABLE t",
            "CREATE TABLE u (k INTEGER, v TEXT UNIQUE, PRIMARY KEY (k))", "INSERT INTO t VALUES (1, 'twice')",
            "INSERT INTO t SELECT 2, printf('%.2000000c', 'x')", "VACUUM",
        ] {
            let answer = try node.sql(statement)
            #expect((400..<500).contains(answer.status), "\(statement): \(answer.status) \(answer.text)")
            #expect(answer.text.contains("\"remedy\""), "\(statement): \(answer.text)")
        }
        let reading = try node.ask(
            "POST", "/v1/sql", body: #"{"statement":"DELETE FROM t","readOnly":true}"#)
        #expect((400..<500).contains(reading.status), "\(reading.text)")
        let typed = try node.ask("POST", "/v1/sql", body: #"{"statement":"SELECT ?","params":[[1]]}"#)
        #expect(typed.status == 400, "\(typed.text)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT k, v FROM t") == #"[[1,"here"]]"# }, "\(cluster.logs)")
        let alone = try node.sql("INSERT INTO t VALUES (2, 'of two')", durability: "majority")
        #expect(alone.status == 200 && alone.text.contains(#""durability":"majority""#), "\(alone.text)")
        cluster["n2"].kill()
        let left = try node.sql("INSERT INTO t VALUES (3, 'of one')", durability: "majority")
        #expect(left.status == 200 && left.text.contains(#""durability":"local""#), "\(left.text)")
        #expect(!left.text.contains(#""note":"""#), "\(left.text)")
    }

    @Test("a removed node's copy is gone, also the file")
    func removed() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        #expect(try cluster["n1"].cli("node", "remove", "n3", "--yes").succeeded)
        #expect(
            eventually(within: .seconds(20)) { !cluster["n3"].host.exists(Self.file) },
            "\(cluster.logs)")
        try cluster["n1"].write("INSERT INTO t VALUES (1)")
        #expect(eventually(within: .seconds(10)) { cluster["n2"].rows("SELECT count(*) FROM t") == "[[1]]" })
    }
}

extension BrambleNode {
    func sql(_ statement: String, durability: String? = nil) throws(LabError) -> HTTPResponse {
        var body = #"{"statement":"\#(statement)""#
        if let durability { body += #","durability":"\#(durability)""# }
        return try ask("POST", "/v1/sql", body: body + "}", within: .seconds(20))
    }
    /// Must work.
    func write(_ statement: String, durability: String? = nil) throws(LabError) {
        let answer: HTTPResponse
        do throws(LabError) { answer = try sql(statement, durability: durability) } catch {
            throw LabError("\(name): \(statement.prefix(80)): \(error)\n\(log.suffix(2000))")
        }
        guard answer.status == 200 else { throw LabError("\(name): \(statement.prefix(80)): \(answer.text)") }
    }
    /// The rows as JSON, without spaces; what was answered instead, when it was refused.
    func rows(_ statement: String) -> String {
        guard let answer = try? sql(statement) else { return "no answer" }
        let parts = answer.text.split(separator: "\"rows\":", maxSplits: 1)
        guard answer.status == 200, parts.count == 2 else { return answer.text }
        var depth = 0
        var text = ""
        for letter in parts[1] {
            if letter == "[" { depth += 1 }
            if letter == "]" { depth -= 1 }
            text.append(letter)
            if depth == 0 { break }
        }
        return text
    }
}

extension Cluster {
    func eventuallyAll(within limit: Duration = .seconds(15), _ holds: (BrambleNode) -> Bool) -> Bool {
        eventually(within: limit) { nodes.allSatisfy(holds) }
    }
}
