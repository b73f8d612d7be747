import BrambleAPI
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

@testable import Web

@Suite("slow and many clients are bounded", .serialized)
struct CrowdTests {
    private static func limits() -> WebLimits {
        var limits = WebLimits()
        limits.headTime = .milliseconds(1500)
        limits.crowdedHeadTime = .milliseconds(500)
        limits.bodyTime = .milliseconds(1500)
        limits.answerTime = .milliseconds(2000)
        return limits
    }

    @Test("a client that sends its head a letter at a time is closed, however steadily it sends")
    func slowHead() async throws {
        try await withServer(limits: Self.limits()) { _, address in
            let lasted = try await blocking {
                let connection = try RawConnection(to: address)
                let start = SystemClock.now
                for letter in "GET /health HTTP/1.1\r\nHost: a-very-slow-client-that-never-ends-and-goes-on-and-on" {
                    do { try connection.send(String(letter)) } catch { break }
                    usleep(200_000)
                }
                return SystemClock.now - start
            }
            #expect(lasted > .milliseconds(1400) && lasted < .seconds(12))
        }
    }

    @Test("a client that sends its body a letter at a time is closed")
    func slowBody() async throws {
        let cluster = clusterWithToken()
        try await withServer(cluster, limits: Self.limits()) { _, address in
            let lasted = try await blocking {
                let connection = try RawConnection(to: address)
                try connection.send(
                    "POST /v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 1000\r\n\r\n"
                )
                let start = SystemClock.now
                for _ in 0..<70 {
                    do { try connection.send(" ") } catch { break }
                    usleep(200_000)
                }
                return SystemClock.now - start
            }
            #expect(lasted > .milliseconds(1400) && lasted < .seconds(12))
        }
        #expect(cluster.change { $0.changes } == [])
    }

    @Test("a client that does not read its answers is closed")
    func slowReader() async throws {
        try await withServer(clusterWithToken(nodes: 200), limits: Self.limits()) { server, address in
            try await blocking {
                let connection = try RawConnection(to: address, timeout: .seconds(1))
                let question = "GET /v1/edges HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"
                for _ in 0..<200 { do { try connection.send(question) } catch { break } }
                while server.openConnections == 0 { usleep(1000) }
                let end = SystemClock.now + .seconds(45)
                while server.openConnections > 0 {
                    guard SystemClock.now < end else { throw TooLate() }
                    usleep(10_000)
                }
            }
        }
    }

    @Test("one address gets its share of connections, and others still get through")
    func oneAddress() async throws {
        try await withServer(limits: Self.limits()) { server, address in
            let held = try await blocking { (0..<1000).compactMap { _ in try? RawConnection(to: address) } }
            #expect(held.count == 1000)
            try await waitUntil { server.openConnections <= WebLimits().connectionsPerAddress }
            let reply = try await blocking {
                let connection = try RawConnection(to: address, from: .v4(0x7F00_0002))
                try connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                return try connection.readReply()
            }
            #expect(reply.status == 200)
            withExtendedLifetime(held) {}
        }
    }

    @Test("a thousand idle connections from many addresses: the server stays bounded, and everybody is served soon")
    func manyAddresses() async throws {
        let path = temporaryPath("socket")
        try await withServer(limits: Self.limits(), extra: [.unix(path: path)]) { server, address in
            let held = try await blocking {
                (0..<1000).compactMap { number in
                    try? RawConnection(to: address, from: .v4(0x7F01_0000 + UInt32(number / 20)))
                }
            }
            #expect(held.count > 500)
            #expect(server.openConnections <= WebLimits().connections)
            let local = try await request("GET", "/v1/nodes", at: .unix(path: path))
            #expect(local.status == 200, "the operator at the machine is not behind them")
            let start = SystemClock.now
            let reply = try await blocking {
                let connection = try RawConnection(to: address, timeout: .seconds(60))
                try connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                return try connection.readReply()
            }
            #expect(reply.status == 200)
            #expect(SystemClock.now - start < .seconds(30))
            try await waitUntil(.seconds(60)) { server.openConnections <= 1 }
            withExtendedLifetime(held) {}
        }
    }

    @Test("bodies of many clients together are bounded")
    func bodiesInAll() async throws {
        var limits = WebLimits()
        limits.bodyBytesInAll = 1_500_000
        try await withServer(clusterWithToken(), limits: limits) { _, address in
            let reply = try await blocking {
                let head =
                    "POST /v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 1000000\r\n\r\n"
                let first = try RawConnection(to: address)
                try first.send(head + String(repeating: " ", count: 999_999))
                usleep(300_000)  // it holds its part of the memory, and never ends
                let second = try RawConnection(to: address)
                try second.send(head + String(repeating: " ", count: 1_000_000))
                return try second.readReply()
            }
            #expect(reply.status == 503)
            #expect(reply.header("Retry-After") == "1")
        }
    }
}
