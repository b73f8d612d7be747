import BrambleAPI
import FoundationEssentials
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

@testable import Web

private func sql(_ body: String, at address: WebAddress) async throws -> Reply {
    try await request("POST", "/v1/sql", at: address, headers: [bearer], body: body)
}

private func stocked() -> FakeCluster {
    let cluster = clusterWithToken()
    cluster.stock()
    return cluster
}

@Suite("the database over HTTP")
struct DatabaseTests {
    @Test("every sort of value goes in and comes out as it was, to the last bit")
    func values() async throws {
        let cluster = stocked()
        let seen: [SQLValue] = [
            .null, .integer(.max), .integer(.min), .real(1), .real(0.1), .real(.leastNonzeroMagnitude),
            .real(.infinity),
            .real(-.infinity), .text("é\u{1}\"\\\n😀"), .text(""), .blob([0, 255, 128]), .blob([]),
        ]
        cluster.change { state in
            state.database.onExecute = { request throws(APIError) in
                SQLAnswer(
                    results: [SQLResult(columns: ["a"], rows: [request.statements[0].params ?? []])], durability: nil,
                    token: "t")
            }
        }
        var writer = JSONWriter(forJavaScript: true)
        writer.raw(#"{"statement":"select ?","params":"#)
        writer.list(seen) { $0.value($1) }
        writer.raw("}")
        let body = String(decoding: writer.bytes, as: UTF8.self)
        try await withServer(cluster) { _, address in
            let reply = try await sql(body, at: address)
            #expect(reply.status == 200, "\(reply.text)")
            guard case .object(let fields) = try JSONReader.read(reply.body), case .array(let rows)? = fields["rows"],
                case .array(let row)? = rows.first
            else {
                Issue.record("\(reply.text)")
                return
            }
            #expect(row.map { SQLValue($0) } == seen)
        }
        #expect(cluster.change { $0.database.requests[0].statements[0].params } == seen)
    }

    @Test("a whole number that JavaScript would round comes as text where that was asked for, else as a number")
    func bigIntegers() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            let plain = try await request("GET", "/v1/tables/visits", at: address, headers: [bearer])
            #expect(plain.text.contains("[\"/\",9007199254740993,{\"blob\":\"3q2+7w==\"}]"), "\(plain.text)")
            let safe = try await request("GET", "/v1/tables/visits?safeIntegers=true", at: address, headers: [bearer])
            #expect(safe.text.contains(#"{"integer":"9007199254740993"}"#))
        }
    }

    @Test("true and false are kept as 1 and 0, and 1.0 stays a real")
    func likeness() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            _ = try await sql(#"{"statement":"select 1","params":[true,false,1,1.0,1e2]}"#, at: address)
        }
        let params = cluster.change { $0.database.requests.last?.statements[0].params }
        #expect(params == [.integer(1), .integer(0), .integer(1), .real(1), .real(100)])
    }

    @Test("a statement has what was asked for: durability, reading only, a limit of rows")
    func options() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            var reply = try await sql(#"{"statement":"insert into a values (1)"}"#, at: address)
            #expect(reply.status == 200 && reply.text.contains(#""durability":"one""#), "\(reply.text)")
            reply = try await sql(
                #"{"statement":"insert into a values (1)","durability":"majority","limit":7}"#, at: address)
            #expect(reply.text.contains(#""durability":"majority""#))
            reply = try await sql(#"{"statement":"insert into a values (1)","readOnly":true}"#, at: address)
            #expect(reply.status == 409, "\(reply.text)")
        }
        let requests = cluster.change { $0.database.requests }
        #expect(requests.map(\.durability) == [.one, .majority, .one])
        #expect(requests.map(\.rowLimit) == [SQLRequest.mostRows, 7, SQLRequest.mostRows])
        #expect(requests.map(\.isReadOnly) == [false, false, true])
    }

    @Test("several statements are one request to the node, and give a result each")
    func transaction() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            let reply = try await sql(
                #"{"transaction":[{"statement":"insert into a values (?)","params":[1]},{"statement":"select 1"}]}"#,
                at: address)
            #expect(reply.status == 200, "\(reply.text)")
            #expect(reply.text.contains(#""results":[{"#) && reply.text.contains(#""changed":1,"durability":"one""#))
        }
        #expect(cluster.change { $0.database.requests.map(\.statements.count) } == [2])
    }

    @Test(
        "what cannot be a request is refused by name, and the database is not asked",
        arguments: [
            ("{}", "statement"), (#"{"statement":""}"#, "empty"), (#"{"statement":"  \n"}"#, "empty"),
            (#"{"statement":5}"#, "statement"), (#"{"statement":"select 1","params":{"a":1}}"#, "params"),
            (#"{"statement":"select 1","params":[[1]]}"#, "params[0]"),
            (#"{"statement":"select 1","params":[1,{"blob":"!"}]}"#, "params[1]"),
            (#"{"statement":"select 1","params":[{"blob":"AAE=","more":1}]}"#, "params[0]"),
            (#"{"statement":"select 1","params":[{"integer":"99999999999999999999"}]}"#, "params[0]"),
            (#"{"statement":"select 1","durability":"all"}"#, "durability"),
            (#"{"statement":"select 1","limit":0}"#, "limit"), (#"{"statement":"select 1","limit":1.5}"#, "limit"),
            (#"{"statement":"select 1","limit":99999999}"#, "limit"),
            (#"{"statement":"select 1","readonly":true}"#, "readonly"),
            (#"{"statement":"select 1","transaction":[{"statement":"select 1"}]}"#, "exclude"),
            (#"{"transaction":[]}"#, "transaction"), (#"{"transaction":[{"statement":""}]}"#, "transaction[0]"),
            (#"{"transaction":[{"sql":"select 1"}]}"#, "sql"),
            (#"{"transaction":[{"statement":"select 1"}],"params":[1]}"#, "params"),
            (#"{"statement":"select 1\u0000"}"#, "zero byte"), (#"["select 1"]"#, "object"),
            (#"{"statement":"select 1"} x"#, "JSON"), (#"{"statement":"select 1","params":[1e999]}"#, "too large"),
        ])
    func nonsense(body: String, word: String) async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            let reply = try await sql(body, at: address)
            #expect(reply.status == 400 && reply.text.contains(word), "\(body): \(reply.text)")
        }
        #expect(cluster.change { $0.database.requests.count } == 0)
    }

    @Test("statements, parameters and transactions have limits")
    func limits() async throws {
        let cluster = stocked()
        let long = String(repeating: "x", count: SQLRequest.longestStatement)
        let many = Array(repeating: "1", count: SQLRequest.mostParameters + 1).joined(separator: ",")
        let statements = Array(repeating: #"{"statement":"select 1"}"#, count: SQLRequest.mostStatements + 1)
            .joined(separator: ",")
        try await withServer(cluster) { _, address in
            for body in [
                #"{"statement":"\#(long)x"}"#, #"{"statement":"select 1","params":[\#(many)]}"#,
                #"{"transaction":[\#(statements)]}"#,
            ] {
                let reply = try await sql(body, at: address)
                #expect(reply.status == 400, "\(reply.text)")
            }
        }
        #expect(cluster.change { $0.database.requests.count } == 0)
    }

    @Test("what the node says no to comes back with its words and a fitting status")
    func refusals() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            let reply = try await sql(#"{"statement":"selct 1"}"#, at: address)
            #expect(reply.status == 400 && reply.text.contains("syntax error"))
            cluster.change { state in
                state.database.refusal = APIError(
                    problem: "the database is being fetched", remedy: "wait", kind: .unavailable)
            }
            for path in ["/v1/database", "/v1/tables", "/v1/tables/articles", "/v1/conflicts", "/v1/backup"] {
                let reply = try await request("GET", path, at: address, headers: [bearer])
                #expect(reply.status == 503 && reply.text.contains("being fetched"), "\(path): \(reply.text)")
            }
        }
    }

    @Test("a table is read page by page: every row once, in the order of the key")
    func pages() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            var seen: [JSONValue] = []
            var after: String?
            var pages = 0
            repeat {
                let path = "/v1/tables/articles?limit=50" + (after.map { "&after=\($0)" } ?? "")
                let reply = try await request("GET", path, at: address, headers: [bearer])
                guard case .object(let page) = try JSONReader.read(reply.body), case .array(let rows)? = page["rows"]
                else {
                    Issue.record("\(reply.text)")
                    return
                }
                seen += rows.compactMap { if case .array(let values) = $0 { values.first } else { nil } }
                after = if case .string(let next)? = page["next"] { next } else { nil }
                pages += 1
            } while after != nil && pages < 10
            #expect(seen == (1...120).map { .integer(Int64($0)) })
            #expect(pages == 3)
        }
        #expect(cluster.change { $0.database.requests.allSatisfy(\.isReadOnly) })
    }

    @Test(
        "a page that cannot be is refused",
        arguments: [
            ("/v1/tables/nothing", 404), ("/v1/tables/articles?limit=0", 400), ("/v1/tables/articles?limit=501", 400),
            ("/v1/tables/articles?limit=x", 400), ("/v1/tables/articles?after=!!", 400),
            ("/v1/tables/articles?after=WzEsMl0", 400), ("/v1/tables/articles?safeIntegers=1", 400),
            ("/v1/tables/articles?where=1", 400), ("/v1/conflicts?limit=0", 400), ("/v1/watch/nothing", 404),
            ("/v1/watch/articles?since=", 400),
        ])
    func badPages(path: String, status: Int) async throws {
        try await withServer(stocked()) { _, address in
            let reply = try await request("GET", path, at: address, headers: [bearer])
            #expect(reply.status == status, "\(reply.text)")
        }
    }

    @Test("whatever a table or a column is called, its page is asked for with names in quotes")
    func names() throws {
        let table = TableInfo(
            name: "a\"; DROP TABLE b; --",
            columns: [.init(name: "k\"2", type: "TEXT", key: 2), .init(name: "k1", type: "TEXT", key: 1)], rows: nil)
        let after = TablePages.encoded([.text("x"), .integer(.max)])
        let request = try TablePages(of: table, limit: nil, after: after).request
        #expect(
            request.statements == [
                SQLStatement(
                    #"SELECT "k""2", "k1" FROM "a""; DROP TABLE b; --" WHERE ("k1", "k""2") > (?, ?) ORDER BY "k1", "k""2" LIMIT 51"#,
                    [.text("x"), .integer(.max)])
            ])
    }
}

@Suite("watching a table over HTTP")
struct WatchTests {
    private func change(_ number: Int, text: String = "x") -> WatchMessage {
        .change(
            RowChange(
                token: "t\(number)", table: "articles", key: ["id": .integer(Int64(number))], op: .put,
                row: ["id": .integer(Int64(number)), "name": .text(text)]))
    }

    private func open(_ address: WebAddress, _ path: String = "/v1/watch/articles", more: String = "") async throws
        -> RawConnection
    {
        try await blocking {
            let connection = try RawConnection(to: address)
            try connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\(more)\r\n")
            let head = try connection.readHead()
            #expect(head.status == 200 && head.header("Content-Type") == "text/event-stream")
            return connection
        }
    }

    @Test("each change is an event with its token as ID; a resync is an event of that name, and the stream goes on")
    func changes() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            let connection = try await open(address)
            cluster.tell(change(7), table: "articles")
            cluster.tell(
                .change(
                    RowChange(token: "t8", table: "articles", key: ["id": .integer(7)], op: .delete, row: nil)),
                table: "articles")
            cluster.tell(
                .resync(WatchResync(token: "t9", table: "articles", reason: "too much")), table: "articles")
            cluster.tell(change(10), table: "articles")
            let events = try await blocking { try (0..<4).map { _ in try connection.readEvent() } }
            #expect(events.map { $0["id"] } == ["t7", "t8", "t9", "t10"])
            #expect(
                events[0]["data"]
                    == #"{"token":"t7","table":"articles","key":{"id":7},"op":"put","row":{"id":7,"name":"x"}}"#)
            #expect(events[1]["data"]?.hasSuffix(#""op":"delete","row":null}"#) == true)
            #expect(events.map { $0["event"] } == [nil, nil, "resync", nil])
        }
    }

    @Test("it goes on after the token in the address, or after the one that the client saw last, which is newer")
    func resume() async throws {
        let cluster = stocked()
        try await withServer(cluster) { _, address in
            _ = try await open(address, "/v1/watch/articles?since=t5")
            _ = try await open(address, "/v1/watch/articles?since=t5", more: "Last-Event-ID: t6\r\n")
            _ = try await open(address)
        }
        #expect(cluster.change { $0.database.watchedSince } == ["t5", "t6", nil])
    }

    @Test("a row of more than a megabyte arrives whole")
    func large() async throws {
        let cluster = stocked()
        let text = String(repeating: "é", count: 600_000)
        try await withServer(cluster) { _, address in
            let connection = try await open(address)
            cluster.tell(change(1, text: text), table: "articles")
            cluster.tell(change(2), table: "articles")
            let events = try await blocking { try (0..<2).map { _ in try connection.readEvent() } }
            #expect(events[0]["data"]?.contains(text) == true)
            #expect(events[1]["id"] == "t2")
        }
    }

    @Test("a client that leaves is no longer watched for; a revoked token ends the stream")
    func ends() async throws {
        let cluster = stocked()
        var limits = WebLimits()
        limits.streamHeartbeat = .milliseconds(20)
        try await withServer(cluster, limits: limits) { _, address in
            var connection: RawConnection? = try await open(address)
            _ = connection
            try await waitUntil { cluster.change { $0.database.watchers.count } == 1 }
            connection = nil
            try await waitUntil { cluster.change { $0.database.watchers.count } == 0 }
            let other = try await open(address)
            cluster.change { $0.tokens = [:] }
            try await blocking { while try !other.readChunk().isEmpty {} }
            try await waitUntil { cluster.change { $0.database.watchers.count } == 0 }
        }
    }
}

@Suite("backup and restore over HTTP")
struct BackupTests {
    /// Sends a file as it is, in pieces.
    private func upload(
        _ bytes: [UInt8], declared: Int? = nil, at address: WebAddress, token: String? = "secret",
        head more: String = ""
    ) async throws -> Reply {
        try await blocking {
            let connection = try RawConnection(to: address)
            var head = "POST /v1/restore HTTP/1.1\r\nHost: x\r\n\(more)"
            if let token { head += "Authorization: Bearer \(token)\r\n" }
            if let declared { head += "Content-Length: \(declared)\r\n" }
            try connection.send(head + "\r\n")
            var rest = bytes[...]
            while !rest.isEmpty {
                // A refusal may come before all is sent.
                guard (try? connection.send(Array(rest.prefix(60_000)))) != nil else { break }
                rest = rest.dropFirst(60_000)
            }
            return try connection.readReply()
        }
    }
    private func leftovers(_ cluster: FakeCluster) -> [String] {
        cluster.change { $0.database.uploads }.filter { access($0, F_OK) == 0 }
    }

    @Test("a backup comes whole, and leaves no file behind")
    func download() async throws {
        let cluster = stocked()
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        cluster.change { $0.database.backup = bytes }
        try await withServer(cluster) { _, address in
            let reply = try await request("GET", "/v1/backup", at: address, headers: [bearer])
            #expect(reply.status == 200 && reply.body == bytes)
            #expect(reply.header("Content-Disposition")?.contains("bramble-backup.db") == true)
            let head = try await request("HEAD", "/v1/backup", at: address, headers: [bearer])
            #expect(head.status == 200 && head.header("Content-Length") == "3000000")
        }
    }

    @Test("a file of many megabytes is taken whole, byte for byte, and leaves nothing behind")
    func upload() async throws {
        let cluster = stocked()
        let bytes = Array("SQLite format 3\0".utf8) + (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try await withServer(cluster) { _, address in
            let reply = try await upload(bytes, declared: bytes.count, at: address)
            #expect(reply.status == 200 && reply.text.contains(#""epoch":"2""#), "\(reply.text)")
            let small = Array("SQLite format 3\0 and no more".utf8)
            let again = try await upload(small, declared: small.count, at: address)
            #expect(again.status == 200)
            #expect(cluster.change { $0.database.restored } == [bytes, small])
        }
        #expect(leftovers(cluster) == [])
    }

    @Test("who may not restore, and what is no backup, gets an answer, and nothing is left or changed")
    func refusals() async throws {
        let cluster = stocked()
        var limits = WebLimits()
        limits.uploadBytes = 100_000
        let bytes = [UInt8](repeating: 7, count: 50_000)
        try await withServer(cluster, limits: limits) { _, address in
            var reply = try await upload(bytes, declared: bytes.count, at: address, token: nil)
            #expect(reply.status == 401)
            reply = try await upload(bytes, declared: bytes.count, at: address, token: "wrong")
            #expect(reply.status == 401, "\(reply.text)")
            #expect(cluster.change { $0.database.uploads.count } == 0)
            reply = try await upload(bytes, declared: bytes.count, at: address)
            #expect(reply.status == 400 && reply.text.contains("no backup"), "\(reply.text)")
            reply = try await upload([], declared: 0, at: address)
            #expect(reply.status == 400 && reply.text.contains("empty"))
            reply = try await upload(
                Array("1\r\nx\r\n0\r\n\r\n".utf8), at: address, head: "Transfer-Encoding: chunked\r\n")
            #expect(reply.status == 411)
            reply = try await upload([UInt8](repeating: 7, count: 100_001), declared: 100_001, at: address)
            #expect(reply.status == 413)
            cluster.change { $0.database.uploadLimit = 10 }
            reply = try await upload(bytes, declared: bytes.count, at: address)
            #expect(reply.status == 409 && reply.text.contains("fit"), "\(reply.text)")
            let status = try await request("GET", "/v1/status", at: address, headers: [bearer])
            #expect(status.status == 200)
        }
        #expect(cluster.change { $0.database.restored.count } == 0)
        #expect(leftovers(cluster) == [])
    }

    @Test("an upload that breaks off restores nothing and leaves no file; two at once are the most")
    func broken() async throws {
        let cluster = stocked()
        try await withServer(cluster) { server, address in
            let half: @Sendable () throws -> RawConnection = {
                let connection = try RawConnection(to: address)
                try connection.send(
                    "POST /v1/restore HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 90000\r\n\r\n"
                )
                try connection.send([UInt8](repeating: 1, count: 20_000))
                return connection
            }
            var connections = try await blocking { [try half(), try half()] }
            try await waitUntil { leftovers(cluster).count == 2 }
            let third = try await upload([1, 2, 3], declared: 3, at: address)
            #expect(third.status == 503)
            connections = []
            try await waitUntil { leftovers(cluster).isEmpty }
            let bytes = Array("SQLite format 3\0".utf8)
            let fourth = try await upload(bytes, declared: bytes.count, at: address)
            #expect(fourth.status == 200)
            #expect(connections.isEmpty)
        }
        #expect(cluster.change { $0.database.restored.count } == 1)
    }
}
