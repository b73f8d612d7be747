import BrambleAPI
import FoundationEssentials
import Glibc
import Lab

/// How much of everything.
struct DatabaseEffort {
    var load: Duration
    var seen: Int
    var reads: Duration
    var rows: Int
    var partition: Duration
    var apart: Int
    static let full = DatabaseEffort(
        load: .seconds(10), seen: 2_000, reads: .seconds(5), rows: 100_000, partition: .seconds(60), apart: 1_000)
    static let quick = DatabaseEffort(
        load: .seconds(3), seen: 300, reads: .seconds(2), rows: 100_000, partition: .seconds(8), apart: 200)
}

/// What one contender reached. Nil: not measured, or it cannot do this; then a note says why.
struct DatabaseFigures {
    /// Writes per second, by number of clients.
    var writes: [Int: Double] = [:]
    /// The same for Bramble's `one`.
    var writesOnTwo: [Int: Double] = [:]
    var seen: Samples?
    var reads: Samples?
    var join: Double?
    var joinNote = ""
    var heal: Double?
    var healNote = ""
    var memory: Double?
    var loss: Double?
    var lossNote = ""
}

/// A directory of the machine's real disk for each host: the lab's own files are in memory, where a sync costs nothing.
final class DiskPlaces {
    let base: String
    init() throws {
        let parent = absolute(".build")
        // What a run that was killed has left.
        _ = shell("find '\(parent)' -maxdepth 1 -name 'bench.??????' -mmin +60 -exec rm -rf {} +")
        guard let made = shell("mktemp -d '\(parent)/bench.XXXXXX'")?.split(separator: "\n").first else {
            throw LabError("no directory for the databases in \(parent)")
        }
        base = String(made)
    }
    deinit { _ = shell("rm -rf '\(base)'") }

    /// What the hosts of a world that has ended wrote.
    func clear() { _ = shell("rm -rf '\(base)'/n[0-9]*") }
    func path(of host: Host) -> String { "\(base)/\(host.name)" }
    func put(on host: Host, at path: String) throws {
        let place = self.path(of: host)
        mkdir(place, 0o700)
        try host.require("mkdir", "-p", path)
        try host.require("mount", "--bind", place, path)
    }
}

/// The lines of the second table.
struct DatabaseRows {
    let program: String
    let effort: DatabaseEffort
    let progress: (String) -> Void
    static let value = String(repeating: "0123456789", count: 10)

    /// - Parameter only: one of them alone, to tune it.
    func measure(only: String? = nil) throws -> [DatabaseFigure] {
        func isWanted(_ name: String) -> Bool { only == nil || only == name }
        let etcd =
            isWanted("etcd") && Etcd.isInstalled
            ? try Etcd(effort: effort, progress: progress).measure() : DatabaseFigures()
        let mnesia =
            isWanted("mnesia") && Mnesia.isInstalled
            ? try Mnesia(effort: effort, progress: progress).measure() : DatabaseFigures()
        let ours =
            isWanted("bramble")
            ? try BrambleDatabase(program: program, effort: effort, progress: progress).measure() : DatabaseFigures()
        return figures(ours, etcd, mnesia)
    }

    private func figures(_ ours: DatabaseFigures, _ etcd: DatabaseFigures, _ mnesia: DatabaseFigures)
        -> [DatabaseFigure]
    {
        var list: [DatabaseFigure] = []
        for (name, limits, of) in [
            ("local", [1: 2_500.0, 16: 8_000.0], ours.writes), ("one", [1: 1_500.0, 16: 5_000.0], ours.writesOnTwo),
        ] {
            for clients in [1, 16] {
                let limit = limits[clients] ?? 0
                list.append(
                    DatabaseFigure(
                        "writes of one row a second on one node of 3, \(clients) client\(clients > 1 ? "s" : ""), "
                            + "Bramble `\(name)`", etcd: rate(etcd.writes[clients]),
                        mnesia: rate(mnesia.writes[clients]),
                        bramble: rate(of[clients]), target: "≥ \(decimal(limit, 0))",
                        isMet: of[clients] ?? 0 >= limit))
            }
        }
        for (name, share, limit) in [("p50", 0.5, 0.001), ("p99", 0.99, 0.005)] {
            let figure = ours.seen?.percentile(share)
            list.append(
                DatabaseFigure(
                    "a write is seen on another node, \(name) of \(ours.seen?.values.count ?? 0)",
                    etcd: milliseconds(etcd.seen?.percentile(share)),
                    mnesia: milliseconds(mnesia.seen?.percentile(share)), bramble: milliseconds(figure),
                    target: "≤ \(decimal(limit * 1000, 0)) ms", isMet: figure ?? .infinity <= limit))
        }
        let read = ours.reads?.percentile(0.5)
        list.append(
            DatabaseFigure(
                "read of one row of the node's own copy over HTTP, kept alive, p50",
                etcd: microseconds(etcd.reads?.percentile(0.5)), mnesia: microseconds(mnesia.reads?.percentile(0.5)),
                bramble: microseconds(read), target: "≤ 200 µs", isMet: read ?? .infinity <= 0.000_2))
        list.append(
            DatabaseFigure(
                "a fourth node starts, joins and has \(effort.rows) rows; the others write",
                etcd: text(etcd.join, etcd.joinNote), mnesia: text(mnesia.join, mnesia.joinNote),
                bramble: text(ours.join, ours.joinNote), target: "≤ 1.5 s", isMet: ours.join ?? .infinity <= 1.5))
        list.append(
            DatabaseFigure(
                "partition of \(effort.partition.components.seconds) s, \(effort.apart) writes on each side, healed until "
                    + "all are equal", etcd: text(etcd.heal, etcd.healNote), mnesia: text(mnesia.heal, mnesia.healNote),
                bramble: text(ours.heal, ours.healNote), target: "≤ 3 s, nothing lost, overwrites listed",
                isMet: ours.heal ?? .infinity <= 3))
        list.append(
            DatabaseFigure(
                "memory with \(effort.rows) rows (RSS), largest of 3", etcd: mebibytes(etcd.memory),
                mnesia: mebibytes(mnesia.memory), bramble: mebibytes(ours.memory), target: "≤ 40 MiB",
                isMet: ours.memory ?? .infinity <= 40))
        list.append(
            DatabaseFigure(
                "one of two nodes is killed: longest that a write of the other waits",
                etcd: text(etcd.loss, etcd.lossNote),
                mnesia: text(mnesia.loss, mnesia.lossNote), bramble: text(ours.loss, ours.lossNote), target: "≤ 1 s",
                isMet: ours.loss ?? .infinity <= 1))
        return list
    }

    private func rate(_ value: Double?) -> String { value.map { decimal($0, 0) } ?? "" }
    private func text(_ value: Double?, _ note: String) -> String {
        let figure = value.map { seconds($0) } ?? ""
        return [figure, note].filter { !$0.isEmpty }.joined(separator: "; ")
    }
}

/// Bramble with its defaults, asked as a script asks it: HTTP with a token, on connections that stay.
final class BrambleDatabase {
    private let program: String
    private let effort: DatabaseEffort
    private let progress: (String) -> Void
    private var lab: Lab
    private let disks: DiskPlaces
    private var nodes: [BrambleNode] = []
    private var token = ""

    init(program: String, effort: DatabaseEffort, progress: @escaping (String) -> Void) throws {
        (self.program, self.effort, self.progress) = (program, effort, progress)
        lab = try Lab([])
        disks = try DiskPlaces()
    }

    func measure() throws -> DatabaseFigures {
        var figures = DatabaseFigures()
        try start(3)
        try ask(nodes[0], "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        try ask(nodes[0], "CREATE TABLE w (k INTEGER PRIMARY KEY, v TEXT)")
        try untilAll("SELECT count(*) FROM w", "[[0]]", within: 30)
        var next = 0
        for clients in [1, 16] {
            for durability in ["local", "one"] {
                let before = cpuSeconds
                let result = try write(clients, durability, &next)
                let used = zip(cpuSeconds, before).map { ($0 - $1) / Double(max(result.latencies.values.count, 1)) }
                progress(
                    "Bramble: \(clients) clients, \(durability): \(decimal(result.perSecond ?? 0, 0)) writes/s, "
                        + "p50 \(milliseconds(result.latencies.percentile(0.5))), "
                        + "p99 \(milliseconds(result.latencies.percentile(0.99))), \(result.wrong) wrong; "
                        + "processor time of a write on each node: \(used.map { microseconds($0) }.joined(separator: ", "))"
                )
                if durability == "local" {
                    figures.writes[clients] = result.perSecond
                } else {
                    figures.writesOnTwo[clients] = result.perSecond
                }
            }
        }
        try untilAll("SELECT count(*) FROM w", "[[\(next)]]", within: 60)
        figures.seen = try seen(from: &next)
        progress(
            "Bramble: seen after \(milliseconds(figures.seen?.percentile(0.5))), "
                + "p99 \(milliseconds(figures.seen?.percentile(0.99)))")
        figures.reads = try reads()
        progress("Bramble: a read takes \(microseconds(figures.reads?.percentile(0.5)))")
        try freshCluster(3)
        try fill()
        pause(.seconds(5))  // until the log behind the rows is acknowledged and dropped, as in daily life
        figures.memory = nodes.compactMap { $0.process?.usage.map { Double($0.residentBytes) / 1_048_576 } }.max()
        progress("Bramble: \(mebibytes(figures.memory)) with \(effort.rows) rows")
        (figures.join, figures.joinNote) = try join()
        progress("Bramble: joined in \(seconds(figures.join)); \(figures.joinNote)")
        try freshCluster(3)
        (figures.heal, figures.healNote) = try heal()
        progress("Bramble: healed in \(seconds(figures.heal)); \(figures.healNote)")
        try freshCluster(2)
        (figures.loss, figures.lossNote) = try loss()
        progress("Bramble: one of two lost: \(seconds(figures.loss)); \(figures.lossNote)")
        lab.close()
        return figures
    }

    // MARK: Life

    private func start(_ count: Int) throws {
        try lab.add((1...count).map { "n\($0)" })
        for host in lab.hosts {
            try disks.put(on: host, at: BrambleNode.dataDirectory)
            let node = BrambleNode(program, on: host)
            if let founder = nodes.first { try node.takeKey(of: founder) } else { try node.makeCluster("bench") }
            nodes.append(node)
            try start(node)
        }
        let names = nodes.map(\.name)
        guard nodes.agree(alive: names, within: .seconds(30)) else {
            throw LabError("no cluster of \(names) within 30 s\n\(nodes[0].log)")
        }
        let made = try nodes[0].cli("token", "create", "bench")
        guard made.succeeded, let line = made.output.split(separator: "\n").first else {
            throw LabError("no token: \(made.errors)")
        }
        token = String(line)
    }
    private func start(_ node: BrambleNode) throws {
        let others = nodes.filter { $0 !== node }.prefix(3).flatMap { ["--join", $0.host.address] }
        try node.start(others + ["--no-discovery"])
    }
    /// A new world; the files of the old one are removed when its processes have ended.
    private func freshCluster(_ count: Int) throws {
        for node in nodes { node.stop() }
        lab.close()
        disks.clear()
        nodes = []
        lab = try Lab([])
        try start(count)
    }

    // MARK: Asking

    private func client(_ node: BrambleNode) throws(LabError) -> KeptConnection {
        KeptConnection(try node.host.connect(to: "127.0.0.1", port: 8080, limit: .seconds(10)))
    }
    private func request(_ body: String) -> [UInt8] { httpRequest("POST", "/v1/sql", token: token, body: body) }
    private func insert(_ key: Int, _ durability: String) -> [UInt8] {
        request(
            #"{"statement":"INSERT INTO w VALUES (?, ?)","params":[\#(key),"\#(DatabaseRows.value)"],"durability":"\#(durability)"}"#
        )
    }
    @discardableResult
    private func ask(_ node: BrambleNode, _ sql: String, within limit: Duration = .seconds(30)) throws(LabError)
        -> String
    {
        let answer = try node.ask("POST", "/v1/sql", body: #"{"statement":"\#(sql)"}"#, within: limit)
        guard answer.status == 200 else { throw LabError("\(node.name): \(sql.prefix(60)): \(answer.text)") }
        return answer.text
    }
    private func has(_ node: BrambleNode, _ sql: String, _ rows: String) -> Bool {
        (try? ask(node, sql, within: .seconds(5)).contains("\"rows\":\(rows)")) ?? false
    }
    private func untilAll(_ sql: String, _ rows: String, within limit: Int) throws {
        guard
            eventually(within: .seconds(limit), every: .milliseconds(20), { nodes.allSatisfy { has($0, sql, rows) } })
        else {
            throw LabError(
                "not \(rows) on all nodes within \(limit) s: \(nodes.map { (try? ask($0, sql)) ?? "no answer" })")
        }
    }

    // MARK: Rows

    private var cpuSeconds: [Double] { nodes.map { $0.process?.usage?.cpuSeconds ?? 0 } }

    private func write(_ clients: Int, _ durability: String, _ next: inout Int) throws -> LoadResult {
        let first = next
        let connections = try (0..<clients).map { _ in try client(nodes[0]) }
        let mark: StaticString = durability == "local" ? "\"durability\":\"local\"" : "\"durability\":\"one\""
        let result = try load(connections, for: effort.load, mark: mark) { insert(first + $0, durability) }
        next += result.latencies.values.count + result.wrong
        return result
    }

    private func seen(from next: inout Int) throws -> Samples {
        let first = next
        next += effort.seen
        let stream = try client(nodes[2])
        try stream.send(httpRequest("GET", "/v1/watch/w", token: token))
        pause(.seconds(1))
        guard stream.read(), stream.takeText().contains("200 OK") else { throw LabError("no stream of changes") }
        return try visibility(
            writer: try client(nodes[0]), stream: stream, count: effort.seen,
            request: { insert(first + $0, "local") }, mark: { "\"k\":\(first + $0)" })
    }

    private func reads() throws -> Samples {
        try load([try client(nodes[2])], for: effort.reads, mark: "\"rows\":[[\"0123") {
            request(
                #"{"statement":"SELECT v FROM w WHERE k = ?","params":[\#($0 % 1000)],"readOnly":true}"#)
        }.latencies
    }

    private func fill() throws {
        try ask(nodes[0], "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        try ask(nodes[0], "CREATE TABLE w (k INTEGER PRIMARY KEY, v TEXT)")
        for start in stride(from: 0, to: effort.rows, by: 1_000) {
            let rows = (start..<start + 1_000).map { "(\($0),'\(DatabaseRows.value)')" }.joined(separator: ",")
            try ask(nodes[start / 1_000 % 3], "INSERT INTO t VALUES \(rows)")
            if start == 0 { try untilAll("SELECT count(*) FROM t", "[[1000]]", within: 30) }
        }
        try untilAll("SELECT count(*) FROM t", "[[\(effort.rows)]]", within: 120)
    }

    private func join() throws -> (Double?, String) {
        let host = try lab.add(["n4"])[0]
        try disks.put(on: host, at: BrambleNode.dataDirectory)
        let fourth = BrambleNode(program, on: host)
        try fourth.takeKey(of: nodes[0])
        let writer = try client(nodes[1])
        var slowest = 0.0
        var writes = 0
        let start = monotonicSeconds()
        try fourth.start(nodes.flatMap { ["--join", $0.host.address] } + ["--no-discovery"])
        while monotonicSeconds() - start < 60 {
            // What the others are asked meanwhile: twenty writes between two looks at the new node.
            for _ in 0..<20 {
                let asked = monotonicSeconds()
                guard try writer.ask(insert(writes, "local"), within: .seconds(10)) == 200 else {
                    return (nil, "a write was refused meanwhile")
                }
                writes += 1
                slowest = max(slowest, monotonicSeconds() - asked)
            }
            guard (try? fourth.ask("GET", "/v1/database", within: .seconds(2)))?.text.contains("\"tables\":2") == true
            else { continue }
            if has(fourth, "SELECT count(*) FROM t", "[[\(effort.rows)]]") {
                return (
                    monotonicSeconds() - start,
                    "\(writes) writes meanwhile, the slowest \(milliseconds(slowest))"
                )
            }
        }
        return (nil, "not within 60 s")
    }

    private func heal() throws -> (Double?, String) {
        try ask(nodes[0], "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)")
        for shared in 0..<10 { try ask(nodes[0], "INSERT INTO t VALUES ('both \(shared)', 'before')") }
        try untilAll("SELECT count(*) FROM t", "[[10]]", within: 30)
        let start = monotonicSeconds()
        try lab.partition([lab.hosts[0], lab.hosts[1]], from: [lab.hosts[2]])
        let sides = [(nodes[0], "left"), (nodes[2], "right")]
        for number in 0..<effort.apart - 10 {
            for (node, side) in sides {
                try ask(node, "INSERT INTO t VALUES ('\(side) \(number)', '\(DatabaseRows.value)')")
            }
        }
        for shared in 0..<10 {
            for (node, side) in sides { try ask(node, "UPDATE t SET v = '\(side)' WHERE k = 'both \(shared)'") }
        }
        let left = effort.partition.components.seconds.asDouble - (monotonicSeconds() - start)
        if left > 0 { pause(.milliseconds(Int64(left * 1000))) }
        let all = 2 * (effort.apart - 10) + 10
        let moment = monotonicSeconds()
        try lab.heal()
        let sums = "SELECT count(*), sum(v = 'right'), (SELECT count(*) FROM bramble_conflicts) FROM t"
        guard
            eventually(
                within: .seconds(60), every: .milliseconds(10),
                { nodes.allSatisfy { has($0, sums, "[[\(all),10,10]]") } })
        else { return (nil, "not equal within 60 s: \(nodes.map { (try? ask($0, sums)) ?? "" })") }
        return (monotonicSeconds() - moment, "0 lost, 10 overwrites listed")
    }

    private func loss() throws -> (Double?, String) {
        try ask(nodes[0], "CREATE TABLE w (k INTEGER PRIMARY KEY, v TEXT)")
        try untilAll("SELECT count(*) FROM w", "[[0]]", within: 30)
        let writer = try client(nodes[0])
        var longest = 0.0
        var number = 0
        let end = monotonicSeconds() + 5
        let killAt = monotonicSeconds() + 1
        var isKilled = false
        while monotonicSeconds() < end {
            if !isKilled, monotonicSeconds() >= killAt {
                nodes[1].kill()
                isKilled = true
            }
            let asked = monotonicSeconds()
            guard try writer.ask(insert(number, "one"), within: .seconds(30)) == 200 else {
                return (nil, "a write was refused")
            }
            number += 1
            longest = max(longest, monotonicSeconds() - asked)
        }
        return (longest, "goes on with `local`, and says so")
    }
}
