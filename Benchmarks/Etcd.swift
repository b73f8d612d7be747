import FoundationEssentials
import Glibc
import Lab

/// etcd as Debian packages it, with its defaults, asked through its JSON gateway on connections that stay.
final class Etcd {
    static let isInstalled = access("/usr/bin/etcd", X_OK) == 0
    private static let directory = "/var/lib/etcd"
    private let effort: DatabaseEffort
    private let progress: (String) -> Void
    private var lab: Lab
    private let disks: DiskPlaces
    private var nodes: [LabProcess] = []
    /// It is asked where its leader is, which is best for it.
    private var leader = 0

    init(effort: DatabaseEffort, progress: @escaping (String) -> Void) throws {
        (self.effort, self.progress) = (effort, progress)
        lab = try Lab([])
        disks = try DiskPlaces()
    }

    func measure() throws -> DatabaseFigures {
        var figures = DatabaseFigures()
        try start(3)
        var next = 0
        for clients in [1, 16] {
            let connections = try (0..<clients).map { _ in try client(leader) }
            let first = next
            let result = try load(connections, for: effort.load) { put(first + $0) }
            next += result.latencies.values.count + result.wrong
            figures.writes[clients] = result.perSecond
            progress("etcd: \(clients) clients: \(decimal(result.perSecond ?? 0, 0)) writes/s, \(result.wrong) wrong")
        }
        let follower = (leader + 1) % 3
        let stream = try client(follower)
        let range = #""key":"\#(base64("k"))","range_end":"\#(base64("l"))""#
        try stream.send(httpRequest("POST", "/v3/watch", body: "{\"create_request\":{\(range)}}"))
        pause(.seconds(1))
        guard stream.read(), stream.takeText().contains("200 OK") else { throw LabError("etcd gives no stream") }
        let first = next
        next += effort.seen
        figures.seen = try visibility(
            writer: try client(leader), stream: stream, count: effort.seen, request: { put(first + $0) },
            mark: { "\"key\":\"\(base64(key(first + $0)))\"" })
        progress("etcd: seen after \(milliseconds(figures.seen?.percentile(0.5)))")
        figures.reads = try load([try client(follower)], for: effort.reads) {
            httpRequest(
                "POST", "/v3/kv/range", body: #"{"key":"\#(base64(key($0 % 1000)))","serializable":true}"#)
        }.latencies
        progress("etcd: a read takes \(microseconds(figures.reads?.percentile(0.5)))")
        try freshCluster(3)
        let writer = try client(leader)
        for start in stride(from: 0, to: effort.rows, by: 100) {
            let puts = (start..<start + 100).map { "{\"request_put\":\(pair($0))}" }.joined(separator: ",")
            guard
                try writer.ask(
                    httpRequest("POST", "/v3/kv/txn", body: "{\"success\":[\(puts)]}"), within: .seconds(10)) == 200
            else { throw LabError("etcd refused a transaction") }
        }
        pause(.seconds(5))
        figures.memory = nodes.compactMap { $0.usage.map { Double($0.residentBytes) / 1_048_576 } }.max()
        progress("etcd: \(mebibytes(figures.memory)) with \(effort.rows) rows")
        figures.join = try join()
        progress("etcd: joined in \(seconds(figures.join))")
        try freshCluster(3)
        try lab.partition([lab.hosts[leader]], from: (0..<3).filter { $0 != leader }.map { lab.hosts[$0] })
        figures.healNote = try isWriting(leader) ? "both sides write" : "the smaller side refuses writes"
        progress("etcd: partition: \(figures.healNote)")
        try freshCluster(2)
        nodes[1 - leader].kill()
        figures.lossNote = try isWriting(leader) ? "goes on" : "stops"
        progress("etcd: one of two lost: \(figures.lossNote)")
        lab.close()
        return figures
    }

    /// Whether a write is answered within ten seconds.
    private func isWriting(_ node: Int) throws -> Bool {
        (try? client(node).ask(put(0), within: .seconds(10))) == 200
    }

    private func url(_ node: Int, _ port: Int) -> String { "http://\(Lab.prefix).\(node + 1):\(port)" }
    private func cluster(_ count: Int) -> String {
        (0..<count).map { "n\($0 + 1)=\(url($0, 2380))" }.joined(separator: ",")
    }
    private func launch(_ node: Int, of count: Int, state: String) throws {
        let host = lab.hosts[node]
        try disks.put(on: host, at: Self.directory)
        nodes.append(
            try host.spawn([
                "etcd", "--name", host.name, "--data-dir", Self.directory, "--listen-client-urls",
                "http://0.0.0.0:2379", "--advertise-client-urls", url(node, 2379), "--listen-peer-urls",
                url(node, 2380), "--initial-advertise-peer-urls", url(node, 2380), "--initial-cluster",
                cluster(count), "--initial-cluster-state", state, "--log-level", "error",
            ]))
    }
    private func start(_ count: Int) throws {
        try lab.add((1...count).map { "n\($0)" })
        for node in 0..<count { try launch(node, of: count, state: "new") }
        guard
            let found = eventually(
                within: .seconds(30), every: .milliseconds(100),
                { () -> Int? in
                    let answers = (0..<count).map { text($0, "/v3/maintenance/status", "{}") ?? "" }
                    // The leader is the one whose own number is the leader's.
                    return answers.firstIndex { answer in
                        guard let member = field("member_id", answer), let leader = field("leader", answer) else {
                            return false
                        }
                        return member == leader
                    }
                })
        else { throw LabError("etcd found no leader within 30 s\n\(nodes[0].output.suffix(1000))") }
        leader = found
    }
    private func freshCluster(_ count: Int) throws {
        lab.close()
        disks.clear()
        nodes = []
        lab = try Lab([])
        try start(count)
    }

    private func join() throws -> Double? {
        let host = try lab.add(["n4"])[0]
        let start = monotonicSeconds()
        guard text(leader, "/v3/cluster/member/add", "{\"peerURLs\":[\"http://\(host.address):2380\"]}") != nil else {
            throw LabError("etcd adds no member")
        }
        try launch(3, of: 4, state: "existing")
        let body =
            #"{"key":"\#(base64("k"))","range_end":"\#(base64("l"))","count_only":true,"serializable":true}"#
        let isThere = eventually(within: .seconds(60), every: .milliseconds(20)) {
            text(3, "/v3/kv/range", body)?.contains("\"count\":\"\(effort.rows)\"") == true
        }
        return isThere ? monotonicSeconds() - start : nil
    }

    private func text(_ node: Int, _ path: String, _ body: String) -> String? {
        guard let stream = try? lab.hosts[node].connect(to: "127.0.0.1", port: 2379, limit: .seconds(5)) else {
            return nil
        }
        let answer = try? HTTPResponse.ask("POST", path, body: Array(body.utf8), over: stream)
        return answer?.status == 200 ? answer?.text : nil
    }
    private func field(_ name: String, _ text: String) -> Substring? {
        guard let start = text.firstRange(of: "\"\(name)\":\"") else { return nil }
        return text[start.upperBound...].prefix { $0 != "\"" }
    }
    private func client(_ node: Int) throws(LabError) -> KeptConnection {
        KeptConnection(try lab.hosts[node].connect(to: "127.0.0.1", port: 2379, limit: .seconds(10)))
    }
    private func key(_ number: Int) -> String { "k\(number)" }
    private func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
    private lazy var value = base64(DatabaseRows.value)
    private func pair(_ number: Int) -> String { #"{"key":"\#(base64(key(number)))","value":"\#(value)"}"# }
    private func put(_ number: Int) -> [UInt8] { httpRequest("POST", "/v3/kv/put", body: pair(number)) }
}
