import BrambleAPI
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

@testable import Web

@Suite("the web server answers")
struct ServerTests {
    @Test("health is told to anybody, and nothing but whether the node is ready")
    func health() async throws {
        let cluster = FakeCluster()
        try await withServer(cluster) { _, address in
            let reply = try await request("GET", "/health", at: address)
            #expect(reply.status == 200)
            #expect(reply.text == #"{"ready":true,"state":"member"}"#)
        }
        cluster.change { $0.phase = .joining }
        try await withServer(cluster) { _, address in
            let reply = try await request("GET", "/health", at: address)
            #expect(reply.status == 503)
            #expect(reply.text == #"{"ready":false,"state":"joining"}"#)
        }
        cluster.change { state in
            state.phase = .member
            state.nodes[0].duty = .drained
        }
        try await withServer(cluster) { _, address in
            let reply = try await request("GET", "/health", at: address)
            #expect(reply.status == 503)
            #expect(reply.text == #"{"duty":"drained","ready":false,"state":"member"}"#)
        }
    }

    @Test("a thousand questions for health ask the node itself only a few times")
    func healthIsCached() async throws {
        let cluster = FakeCluster()
        try await withServer(cluster) { _, address in
            let took = try await blocking {
                let start = SystemClock.now
                let connection = try RawConnection(to: address)
                for _ in 0..<1000 {
                    try connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    guard try connection.readReply().status == 200 else { throw RawConnection.Problem.closed }
                }
                return (SystemClock.now - start).seconds
            }
            let asked = cluster.change { $0.statusCalls }
            #expect(Double(asked) <= took / 0.2 + 1)
        }
    }

    @Test("HEAD answers as GET does, without the body")
    func head() async throws {
        try await withServer(clusterWithToken()) { _, address in
            let reply = try await request("HEAD", "/v1/nodes", at: address, headers: [bearer])
            let full = try await request("GET", "/v1/nodes", at: address, headers: [bearer])
            #expect(reply.status == 200)
            #expect(reply.header("Content-Length") == "\(full.body.count)")
            #expect(reply.header("Content-Type") == "application/json")
        }
    }

    @Test(
        "every answer forbids scripts and frames of others; answers of the API are not kept",
        arguments: ["/login", "/v1/nodes", "/health", "/nothing", "/assets/style.css"])
    func securityHeaders(path: String) async throws {
        try await withServer(clusterWithToken()) { _, address in
            let reply = try await request("GET", path, at: address, headers: [bearer])
            #expect(reply.header("X-Content-Type-Options") == "nosniff")
            #expect(reply.header("X-Frame-Options") == "DENY")
            let policy = reply.header("Content-Security-Policy") ?? ""
            #expect(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"))
            #expect(!policy.contains("unsafe"))
            #expect(reply.header("Cache-Control") == (path.hasPrefix("/assets") ? "no-cache" : "no-store"))
        }
    }

    @Test("what the dashboard is made of is sent again only when it changed")
    func assets() async throws {
        try await withServer { _, address in
            let first = try await request("GET", "/assets/style.css", at: address)
            #expect(first.status == 200)
            #expect(first.header("Content-Type") == "text/css; charset=utf-8")
            let tag = try #require(first.header("ETag"))
            let again = try await request("GET", "/assets/style.css", at: address, headers: [("If-None-Match", tag)])
            #expect(again.status == 304)
            let missing = try await request("GET", "/assets/../etc/passwd", at: address)
            #expect(missing.status == 404)
        }
    }

    @Test("what the node thinks about is answered in time, or the client is told that it was not")
    func hangingNode() async throws {
        let cluster = FakeCluster(beforeNodes: { try? await Task.sleep(for: .seconds(60)) })
        cluster.change { $0.tokens["test"] = "secret" }
        var limits = WebLimits()
        limits.workTime = .milliseconds(500)
        try await withServer(cluster, limits: limits) { _, address in
            let reply = try await request("GET", "/v1/nodes", at: address, headers: [bearer])
            #expect(reply.status == 504)
            #expect(reply.text.contains("remedy"))
        }
    }

    @Test("while the node works on as much as it may, more is refused with a hint to come back")
    func tooManyAtOnce() async throws {
        let cluster = FakeCluster(beforeNodes: { try? await Task.sleep(for: .milliseconds(800)) })
        cluster.change { $0.tokens["test"] = "secret" }
        var limits = WebLimits()
        limits.working = 2
        try await withServer(cluster, limits: limits) { _, address in
            let replies = try await withThrowingTaskGroup(of: Reply.self) { group in
                for _ in 0..<5 {
                    group.addTask { try await request("GET", "/v1/nodes", at: address, headers: [bearer]) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(replies.count { $0.status == 200 } == 2)
            let refused = replies.filter { $0.status == 503 }
            #expect(refused.count == 3)
            #expect(refused.allSatisfy { $0.header("Retry-After") == "1" })
        }
    }

    @Test("stopping answers what is under way and ends the streams, without waiting for them")
    func stopping() async throws {
        let cluster = FakeCluster(beforeNodes: { try? await Task.sleep(for: .seconds(60)) })
        cluster.change { $0.tokens["test"] = "secret" }
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let server = WebServer(
            service: cluster, configuration: .init(listen: [.tcp(Endpoint(.v4(0x7F00_0001), port: 0))]), loop: loop)
        try server.start()
        let address = server.addresses[0]
        async let hanging = request("GET", "/v1/nodes", at: address, headers: [bearer])
        async let stream = blocking {
            let connection = try RawConnection(to: address)
            try connection.send(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/event-stream\r\n\r\n"
            )
            let reply = try connection.readReply()  // ends when the stream does
            return reply.status
        }
        try await waitUntil { cluster.listenerCount == 1 && server.openConnections == 2 }
        let start = SystemClock.now
        await server.stop()
        #expect(SystemClock.now - start < .seconds(15))
        #expect(try await hanging.status == 503)
        #expect(try await stream == 200)
    }

    @Test("a port that is taken, or an address of another machine, is refused with what to do")
    func portTaken() async throws {
        try await withServer { _, address in
            let loop = EventLoop(name: "test")
            defer { loop.stop() }
            let second = WebServer(service: FakeCluster(), configuration: .init(listen: [address]), loop: loop)
            #expect(throws: WebError.portTaken(address)) { try second.start() }
            let elsewhere = WebAddress.tcp(Endpoint(.v4(0xC000_0201), port: 0))
            let third = WebServer(service: FakeCluster(), configuration: .init(listen: [elsewhere]), loop: loop)
            #expect(throws: WebError.noSuchAddress(elsewhere)) { try third.start() }
        }
    }

    @Test("“everywhere” answers on IPv4 and, where there is one, IPv6")
    func everywhere() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let server = WebServer(service: FakeCluster(), configuration: .init(listen: [.everywhere(port: 0)]), loop: loop)
        try server.start()
        guard case .everywhere(let port) = server.addresses[0] else { throw RawConnection.Problem.closed }
        let v4 = try await request("GET", "/health", at: .tcp(Endpoint(.v4(0x7F00_0001), port: port)))
        #expect(v4.status == 200)
        if access("/proc/net/if_inet6", F_OK) == 0 {
            let v6 = try await request("GET", "/health", at: .tcp(Endpoint(.v6(high: 0, low: 1), port: port)))
            #expect(v6.status == 200)
        }
        await server.stop()
    }

    @Test("the embedded pages are those of the folder")
    func embeddedPagesAreCurrent() throws {
        let here = #filePath
        let root = here.split(separator: "/").dropLast(3).joined(separator: "/")
        let folder = "/\(root)/Sources/Drivers/Web/Pages"
        for asset in Asset.embedded {
            let content = asset.content.withUTF8Buffer { Array($0) }
            let file = try readFile("\(folder)/\(asset.path)")
            #expect(content == file, "\(asset.path) has changed: run Sources/Drivers/Web/embed-pages")
        }
        let names = try list(folder)
        #expect(names == Asset.embedded.map(\.path).sorted(), "run Sources/Drivers/Web/embed-pages")
    }
}
