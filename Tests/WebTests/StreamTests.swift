import BrambleAPI
import FoundationEssentials
import Glibc
import Primitives
import Reactor
import Testing
import WebTestSupport

@testable import Web

@Suite("event streams")
struct StreamTests {
    private static func open(_ path: String, at address: WebAddress, headers: String = "") throws -> RawConnection {
        let connection = try RawConnection(to: address)
        try connection.send(
            "GET \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/event-stream\r\n\(headers)\r\n"
        )
        let head = try connection.readHead()
        guard head.status == 200, head.header("Content-Type") == "text/event-stream" else {
            throw RawConnection.Problem.notHTTP("\(head)")
        }
        return connection
    }

    @Test("events are an array, from after an ID when one is given")
    func array() async throws {
        try await withServer(clusterWithToken(nodes: 4)) { _, address in
            let all = try await request("GET", "/v1/events", at: address, headers: [bearer])
            let events = try JSONDecoder().decode([Event].self, from: Data(all.body))
            #expect(events.map(\.id) == [1, 2, 3, 4])
            let late = try await request("GET", "/v1/events?since=3", at: address, headers: [bearer])
            #expect(try JSONDecoder().decode([Event].self, from: Data(late.body)).map(\.id) == [4])
        }
    }

    @Test("a stream tells what happens, as it happens")
    func live() async throws {
        let cluster = clusterWithToken()
        try await withServer(cluster) { _, address in
            let heard = try await blocking {
                let connection = try Self.open("/v1/events", at: address)
                while cluster.listenerCount == 0 { usleep(1000) }
                cluster.kill("node3")
                return [try connection.readEvent(), try connection.readEvent()]
            }
            #expect(heard.map { $0["id"] } == ["4", "5"])
            let event = try JSONDecoder().decode(Event.self, from: Data((heard[1]["data"] ?? "").utf8))
            #expect(event.type == "down" && event.subject == "node3" && event.by == ["node1", "node2"])
        }
    }

    @Test("after a break a stream goes on where it was: nothing is missed, nothing comes twice")
    func resume() async throws {
        let cluster = clusterWithToken()
        try await withServer(cluster) { _, address in
            let ids = try await blocking {
                var ids: [String?] = []
                let first = try Self.open("/v1/events?since=0", at: address)
                for _ in 0..<3 { ids.append(try first.readEvent()["id"]) }
                for number in 0..<50 {
                    cluster.happen("stalled", "node2", by: [], detail: ["n": .integer(Int64(number))])
                }
                let second = try Self.open("/v1/events?since=0", at: address, headers: "Last-Event-ID: 3\r\n")
                for number in 50..<100 {
                    cluster.happen("stalled", "node2", by: [], detail: ["n": .integer(Int64(number))])
                }
                for _ in 0..<100 { ids.append(try second.readEvent()["id"]) }
                return ids
            }
            #expect(ids == (1...103).map { "\($0)" })
        }
    }

    @Test("a reader that does not read is dropped, and the others go on")
    func slowReader() async throws {
        let cluster = clusterWithToken()
        var limits = WebLimits()
        limits.streamBytes = 64 << 10
        try await withServer(cluster, limits: limits) { server, address in
            try await blocking {
                let slow = try Self.open("/v1/events", at: address)
                let quick = try Self.open("/v1/events", at: address)
                while cluster.listenerCount < 2 { usleep(1000) }
                let padding = String(repeating: "x", count: 10_000)
                var read = 0
                // The kernel's buffers take some megabytes before ours fill.
                for _ in 0..<2000 where server.openConnections == 2 {
                    cluster.happen("stalled", "node2", by: [], detail: ["text": .string(padding)])
                    _ = try quick.readEvent()
                    read += 1
                }
                let end = SystemClock.now + .seconds(45)
                while server.openConnections > 1 {
                    guard SystemClock.now < end else { throw TooLate() }
                    cluster.happen("stalled", "node2", by: [], detail: [:])
                    _ = try quick.readEvent()
                    usleep(20_000)
                }
                withExtendedLifetime(slow) {}
            }
            try await waitUntil { cluster.listenerCount == 1 }
        }
    }

    @Test("a client that leaves is noticed at the next heartbeat, and nothing of it stays")
    func leaving() async throws {
        let cluster = clusterWithToken()
        var limits = WebLimits()
        limits.streamHeartbeat = .milliseconds(100)
        try await withServer(cluster, limits: limits) { server, address in
            try await blocking { for path in ["/v1/events", "/v1/live"] { _ = try Self.open(path, at: address) } }
            try await waitUntil { server.openConnections == 0 && cluster.listenerCount == 0 }
        }
    }

    @Test("a stream ends soon after its token is revoked, and soon after its session ends")
    func revoked() async throws {
        let cluster = clusterWithToken()
        var limits = WebLimits()
        limits.streamHeartbeat = .milliseconds(100)
        try await withServer(cluster, limits: limits) { server, address in
            let cookie = try await logIn(at: address)
            try await blocking {
                let byToken = try Self.open("/v1/live", at: address)
                let bySession = try RawConnection(to: address)
                try bySession.send("GET /v1/live HTTP/1.1\r\nHost: x\r\nCookie: \(cookie)\r\n\r\n")
                _ = try bySession.readHead()
                cluster.change { $0.tokens = [:] }
                while case let chunk = try byToken.readChunk(), !chunk.isEmpty {}
                let out = try RawConnection(to: address)
                try out.send(
                    "POST /logout HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nCookie: \(cookie)\r\nContent-Length: 0\r\n\r\n"
                )
                _ = try out.readReply()
                while case let chunk = try bySession.readChunk(), !chunk.isEmpty {}
            }
        }
    }

    @Test("event streams are bounded, by address and in all")
    func tooManyStreams() async throws {
        var limits = WebLimits()
        limits.streams = 4
        limits.streamsPerAddress = 3
        try await withServer(clusterWithToken(), limits: limits) { _, address in
            let statuses = try await blocking {
                var held: [RawConnection] = []
                var statuses: [Int] = []
                for last: UInt32 in [1, 1, 1, 1, 2, 3] {
                    let connection = try RawConnection(to: address, from: .v4(0x7F00_0000 + last))
                    try connection.send("GET /v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n")
                    statuses.append(try connection.readHead().status)
                    held.append(connection)
                }
                return statuses
            }
            #expect(statuses == [200, 200, 200, 503, 200, 503])
        }
    }

    @Test("the dashboard's stream begins with everything, then tells only what changes, a few times a second")
    func dashboard() async throws {
        let cluster = clusterWithToken()
        try await withServer(cluster) { _, address in
            let (first, later, quiet) = try await blocking {
                let connection = try Self.open("/v1/live", at: address)
                var first: [String] = []
                while !Set(["status", "nodes", "phi", "edges", "waiting", "database"]).isSubset(of: first) {
                    first.append(try connection.readEvent()["event"] ?? "")
                }
                // Nothing moves: nothing is said.
                connection.setTimeout(.milliseconds(900))
                let quiet = (try? connection.readEvent()) == nil
                connection.setTimeout(.seconds(10))
                cluster.setPhi("node2", 4.2)
                var later: [String: String] = [:]
                while later["event"] != "phi" { later = try connection.readEvent() }
                return (first, later, quiet)
            }
            #expect(first.filter { $0 == "event" }.count == 3)
            #expect(quiet)
            #expect(later["data"]?.contains(#""node2":4.2"#) == true, "\(later)")
        }
    }

    @Test("what changes a thousand times a second is told about four times a second")
    func coalesced() async throws {
        let cluster = clusterWithToken()
        try await withServer(cluster) { _, address in
            let seconds = 2
            async let moving: Void = blocking {
                for step in 0..<seconds * 1000 {
                    cluster.setPhi("node2", Double(step) / 10)
                    usleep(1000)
                }
            }
            let told = try await blocking {
                let connection = try Self.open("/v1/live", at: address)
                var told = 0
                let end = SystemClock.now + .seconds(seconds)
                while SystemClock.now < end {
                    if try connection.readEvent()["event"] == "phi" { told += 1 }
                }
                return told
            }
            try await moving
            #expect(told >= 2 && told <= seconds * 4 + 2)
        }
    }

    @Test("while nobody looks at the dashboard, the node is not asked")
    func nobodyLooks() async throws {
        let cluster = clusterWithToken()
        var limits = WebLimits()
        limits.streamHeartbeat = .milliseconds(100)
        try await withServer(cluster, limits: limits) { server, address in
            try await blocking { _ = try Self.open("/v1/live", at: address) }
            try await waitUntil { server.openConnections == 0 }
            try await Task.sleep(for: .milliseconds(400))
            let before = cluster.change { $0.statusCalls }
            try await Task.sleep(for: .milliseconds(800))
            #expect(cluster.change { $0.statusCalls } == before)
        }
    }
}
