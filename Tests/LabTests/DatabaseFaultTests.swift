import BrambleAPI
import FoundationEssentials
import Lab
import Testing

@Suite("the database under faults", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct DatabaseFaultTests {
    private static let file = "\(BrambleNode.dataDirectory)/database.db"

    /// The first byte of a record is the version that wrote it: makes the latest record but one that of a newer version, and
    /// back what it was.
    private static let forge = """
        import sqlite3, sys
        file = sqlite3.connect(sys.argv[1])
        if sys.argv[2] == "back":
            version = bytes.fromhex(file.execute("SELECT min(hex(substr(body, 1, 1))) FROM bramble_log").fetchone()[0])
            place = "(SELECT origin, sequence FROM bramble_log WHERE hex(substr(body, 1, 1)) = 'C8')"
        else:
            version = bytes([0xC8])
            place = "(SELECT origin, sequence FROM bramble_log ORDER BY time DESC LIMIT 1 OFFSET 1)"
        file.execute(
            f"UPDATE bramble_log SET body = CAST(? || substr(body, 2) AS BLOB) WHERE (origin, sequence) IN {place}", (version,))
        assert file.execute("SELECT changes()").fetchone() == (1,)
        file.commit()
        """
    private func forge(_ node: BrambleNode, _ direction: String) throws {
        try node.host.require("python3", "-c", Self.forge, Self.file, direction)
    }

    @Test(
        "a newer node's write that others cannot read is told by them and never taken in part, holds up nobody else's, and is taken once it can be read"
    )
    func unreadable() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let (newer, others) = (cluster["n1"], [cluster["n2"], cluster["n3"]])
        try newer.write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        try cluster.lab.cut(newer.host)
        #expect(eventually(within: .seconds(15)) { newer.sees("n2", as: .down) && newer.sees("n3", as: .down) })
        try newer.write("INSERT INTO t VALUES (1, 'in a new format'), (2, 'with it')")
        try newer.write("INSERT INTO t VALUES (3, 'after it')")
        newer.stop()
        try forge(newer, "on")
        try cluster.lab.heal()
        try newer.restart()
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(30)), "\(cluster.logs)")
        for node in others {
            let isTold = eventually(within: .seconds(20)) {
                (try? node.status())?.notes.contains {
                    $0.contains("2 writes of n1 are not taken") && $0.contains("newest version of Bramble")
                } ?? false
            }
            #expect(isTold, "\((try? node.status().notes) ?? [])\n\(cluster.logs)")
            #expect(node.event("database-unreadable", node.name) != nil, "\(cluster.logs)")
            #expect(try node.metric("bramble_database_unreadable_origins") == 1)
            #expect(try node.cli("doctor").output.contains("are not taken"))
            let refused = try node.cli("database", "release", "n1", "--yes")
            #expect(refused.status == 1 && refused.errors.contains("newest version"), "\(refused)")
        }
        // Writes of others go everywhere, that node included, and are acknowledged as ever.
        let answer = try others[0].sql("INSERT INTO t VALUES (10, 'by an old one')", durability: "majority")
        #expect(answer.text.contains(#""durability":"majority""#), "\(answer.text)")
        #expect(eventually(within: .seconds(10)) { newer.rows("SELECT count(*) FROM t") == "[[4]]" }, "\(cluster.logs)")
        for node in others {
            #expect(eventually(within: .seconds(10)) { node.rows("SELECT k FROM t") == "[[10]]" }, "\(cluster.logs)")
        }
        // After a restart it is as before: nothing of it was kept as taken.
        others[1].kill()
        try others[1].restart()
        #expect(
            eventually(within: .seconds(20)) { (try? others[1].metric("bramble_database_unreadable_origins")) == 1 },
            "\(cluster.logs)")
        #expect(others[1].rows("SELECT k FROM t") == "[[10]]")
        // Now it can be read. One of them is started anew, as after an update; the other one asks again by itself.
        newer.stop()
        try forge(newer, "back")
        try newer.restart()
        others[0].stop()
        try others[0].restart()
        #expect(
            cluster.eventuallyAll(within: .seconds(60)) {
                $0.rows("SELECT k FROM t ORDER BY k") == "[[1],[2],[3],[10]]"
            }, "\(cluster.nodes.map { $0.rows("SELECT k FROM t ORDER BY k") })\n\(cluster.logs)")
        #expect(
            eventually(within: .seconds(10)) { cluster.nodes.allSatisfy { (try? $0.status().notes) == [] } },
            "\(cluster.nodes.map { (try? $0.status().notes) ?? [] })")
    }

    /// Breaks the chains of pages that hold long values, which nobody but a reader of them follows.
    private static let breakChains = """
        import sys
        with open(sys.argv[1], "r+b") as file:
            bytes = file.read()
            starts = [start for start in range(0, len(bytes), 4096) if bytes[start + 4:start + 4096] == b"p" * 4092]
            for start in starts:
                file.seek(start)
                file.write(b"\\xff" * 4)
            assert len(starts) > 100, len(starts)
        """

    @Test("a file that is damaged while its node runs is noticed by whoever reads it, set aside, and fetched anew")
    func damagedWhileRunning() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        for key in 0..<40 { try cluster["n1"].write("INSERT INTO t VALUES (\(key), printf('%.50000c', 'p'))") }
        let whole = "[[40,40]]"
        let question = "SELECT count(*), sum(v = printf('%.50000c', 'p')) FROM t"
        #expect(cluster.eventuallyAll { $0.rows(question) == whole }, "\(cluster.logs)")
        let victim = cluster["n2"]
        // The log, which the writer reads, is gone; the rows are in the file itself, and in nobody's cache.
        let isTrimmed = eventually(within: .seconds(20), every: .milliseconds(100)) {
            ((try? victim.metric("bramble_database_log_bytes")) ?? .infinity) < 20_000
        }
        #expect(isTrimmed, "\(cluster.logs)")
        victim.stop()
        try victim.restart()
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
        #expect(eventually(within: .seconds(10)) { victim.rows("SELECT 1") == "[[1]]" }, "\(cluster.logs)")
        try victim.host.require("python3", "-c", Self.breakChains, Self.file)
        // Nobody writes: a reader is the first to meet it.
        #expect(
            eventually(within: .seconds(40), every: .milliseconds(200)) { victim.rows(question) == whole },
            "\(victim.rows(question))\n\(cluster.logs)")
        let kept = try victim.host.require("ls", BrambleNode.dataDirectory)
        #expect(kept.contains("database.db.damaged"), "\(kept)")
        let isTold = try victim.events().contains { $0.type == "database" && $0.text.contains("set aside") }
        #expect(isTold, "\(cluster.logs)")
        try victim.write("INSERT INTO t VALUES (1000, 'after')")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[41]]" }, "\(cluster.logs)")
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
    }

    /// Inserts one number after the other, and prints each that was acknowledged as being on two disks.
    private static let writer = """
        import json, socket, sys, time
        number = int(sys.argv[1])
        while True:
            number += 1
            body = json.dumps({"statement": "INSERT INTO journal VALUES (%d)" % number, "durability": "one"}).encode()
            head = b"POST /v1/sql HTTP/1.1\\r\\nHost: bramble\\r\\nConnection: close\\r\\nContent-Type: application/json\\r\\n"
            answer = b""
            try:
                with socket.socket(socket.AF_UNIX) as stream:
                    stream.settimeout(10)
                    stream.connect("\(BrambleNode.socket)")
                    stream.sendall(head + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
                    while part := stream.recv(65536): answer += part
            except OSError: time.sleep(0.02)
            if answer.startswith(b"HTTP/1.1 200") and b'"durability":"one"' in answer: print(number, flush=True)
        """

    @Test("daemons that are killed in the middle of writes, over and over, lose none that was acknowledged")
    func killedWhileWriting() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster["n1"].write("CREATE TABLE journal (id INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM journal") == "[[0]]" }, "\(cluster.logs)")
        var writers: [LabProcess] = []
        for (index, node) in cluster.nodes.enumerated() {
            writers.append(try node.host.spawn(["python3", "-c", Self.writer, "\(index * 1_000_000)"]))
        }
        for round in 0..<9 {
            pause(.milliseconds(Int64.random(in: 200...500)))
            let victim = cluster.nodes[round % 3]
            let before = writers[round % 3].output.utf8.count
            victim.kill()
            try victim.restart()
            // It takes writes again before the next one is killed, so that each time some are under way.
            #expect(
                eventually(within: .seconds(20)) { writers[round % 3].output.utf8.count > before },
                "round \(round)\n\(cluster.logs)")
        }
        for writer in writers { writer.kill() }
        let acknowledged = writers.map { Set($0.output.split(separator: "\n").compactMap { Int($0) }) }
        #expect(acknowledged.allSatisfy { $0.count > 20 }, "\(acknowledged.map(\.count))")
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
        let sum = "SELECT count(*), sum(id) FROM journal"
        #expect(
            cluster.eventuallyAll(within: .seconds(30)) { $0.rows(sum) == cluster["n1"].rows(sum) }, "\(cluster.logs)")
        for node in cluster.nodes {
            let list = node.rows("SELECT group_concat(id) FROM journal")
            let kept = Set(list.split { !$0.isNumber }.compactMap { Int($0) })
            let lost = acknowledged.map { $0.subtracting(kept).sorted() }
            #expect(lost == [[], [], []], "\(node.name)\n\(cluster.logs)")
        }
    }

    @Test("how far a new node's copy is can be seen while it comes: on the new node, and on the one that gives it")
    func progress() throws {
        let cluster = try Cluster("n1", "n2")
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
        for batch in 0..<40 {
            try cluster["n1"].write(
                "INSERT INTO t WITH RECURSIVE n(k) AS (SELECT \(batch * 240) UNION ALL SELECT k + 1 FROM n LIMIT 240) "
                    + "SELECT k, randomblob(4000) FROM n")
        }
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[9600]]" }, "\(cluster.logs)")
        // Until both have acknowledged it, and the log is gone: the new one needs the whole copy.
        pause(.seconds(4))
        let third = try cluster.add("n3")
        try third.takeKey(of: cluster["n1"])
        try third.start()
        var (here, sent): ([ReplicaStatus.Snapshot], [ReplicaStatus.Snapshot]) = ([], [])
        var states: Set<DatabaseStatus.State> = []
        func look(_ node: BrambleNode) -> ReplicaStatus? {
            let status = try? node.get("/v1/database", as: DatabaseStatus.self)
            if let status, node === third { states.insert(status.state) }
            return status?.replicas.first { $0.node == "n3" }
        }
        let isWhole = eventually(within: .seconds(40), every: .milliseconds(1)) {
            let own = look(third)
            if let part = own?.snapshot { here.append(part) }
            for node in [cluster["n1"], cluster["n2"]] {
                if let told = look(node), let part = told.snapshot {
                    #expect(told.state == .snapshot)
                    sent.append(part)
                }
            }
            return !here.isEmpty && own?.snapshot == nil && third.rows("SELECT count(*) FROM t") == "[[9600]]"
        }
        #expect(isWhole, "\(cluster.logs)")
        #expect(states.contains(.fetching))
        for (parts, direction) in [(here, ReplicaStatus.Snapshot.Direction.receiving), (sent, .sending)] {
            #expect(parts.allSatisfy { $0.direction == direction && $0.totalBytes > 38_000_000 }, "\(parts)")
            #expect(parts.contains { $0.bytes > 0 && $0.bytes < $0.totalBytes }, "\(parts)")
            #expect(zip(parts, parts.dropFirst()).allSatisfy { $0.bytes <= $1.bytes }, "\(parts)")
        }
        let isOver = eventually(within: .seconds(15)) {
            cluster.nodes.allSatisfy { look($0)?.state == .equal && look($0)?.snapshot == nil }
        }
        #expect(isOver, "\(cluster.nodes.map { look($0) })")
    }

    @Test("a watch goes on after a break with what it missed, and says so when the node's memory of it is gone")
    func watch() throws {
        let cluster = try Cluster("n1", "n2")
        let node = cluster["n1"]
        try node.write("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        struct Line: Decodable {
            var token: String
            var op: String
            var key: [String: Int]?
            var row: [String: SQLValue]?
            var reason: String?
        }
        func lines(_ watch: LabProcess) -> [Line] {
            watch.output.split(separator: "\n").compactMap {
                try? JSONDecoder().decode(Line.self, from: Data($0.utf8))
            }
        }
        func watch(since token: String? = nil) throws -> LabProcess {
            try node.host.spawn([node.program, "watch", "t"] + (token.map { ["--since", $0] } ?? []))
        }
        let first = try watch()
        let isOn = eventually(within: .seconds(10), every: .milliseconds(200)) {
            _ = try? cluster["n2"].sql("INSERT INTO t VALUES (1, 'a') ON CONFLICT DO UPDATE SET v = v || 'a'")
            return !lines(first).isEmpty
        }
        #expect(isOn, "\(first.output)")
        first.kill()
        let seen = try #require(lines(first).last)
        #expect(seen.op == "put" && seen.key == ["k": 1])
        // What happens on any node meanwhile.
        try cluster["n2"].write("INSERT INTO t VALUES (2, 'by the other')")
        try node.write("INSERT INTO t VALUES (3, 'here')")
        try node.write("DELETE FROM t WHERE k = 3")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[2]]" }, "\(cluster.logs)")
        let second = try watch(since: seen.token)
        #expect(eventually(within: .seconds(10)) { lines(second).contains { $0.op == "delete" } }, "\(second.output)")
        let missed = lines(second).filter { $0.key != ["k": 1] }
        #expect(Set(missed.compactMap { $0.key?["k"] }) == [2, 3], "\(second.output)")
        #expect(missed.last?.op == "delete" && missed.last?.row == nil && missed.allSatisfy { $0.op != "resync" })
        second.kill()
        let token = try #require(missed.last?.token)
        // Another life of the node does not know what that token was.
        node.stop()
        try node.restart()
        #expect(eventually(within: .seconds(15)) { node.rows("SELECT count(*) FROM t") == "[[2]]" }, "\(cluster.logs)")
        let third = try watch(since: token)
        #expect(eventually(within: .seconds(10)) { !lines(third).isEmpty }, "\(third.output)")
        #expect(lines(third).first?.op == "resync" && lines(third).first?.reason?.isEmpty == false, "\(third.output)")
        try cluster["n2"].write("INSERT INTO t VALUES (4, 'afterwards')")
        #expect(eventually(within: .seconds(10)) { lines(third).last?.key == ["k": 4] }, "\(third.output)")
        third.kill()
    }
}
