import BrambleAPI
import Primitives
import Reactor
import Testing
import Web
import WebTestSupport

/// A server on a free port of the loopback, stopped at the end.
func withServer<Result>(
    _ cluster: FakeCluster = FakeCluster(), limits: WebLimits = WebLimits(), identity: WebServer.Identity? = nil,
    extra: [WebAddress] = [], now: @escaping @Sendable () -> Instant = { SystemClock.now },
    _ body: (_ server: WebServer, _ address: WebAddress) async throws -> Result
) async throws -> Result {
    let loop = EventLoop(name: "test")
    defer { loop.stop() }
    let server = WebServer(
        service: cluster,
        configuration: .init(
            listen: [.tcp(Endpoint(.v4(0x7F00_0001), port: 0))] + extra, identity: identity, limits: limits),
        loop: loop, now: now)
    try server.start()
    do {
        let result = try await body(server, server.addresses[0])
        await server.stop()
        return result
    } catch {
        await server.stop()
        throw error
    }
}

let bearer = ("Authorization", "Bearer secret")
func clusterWithToken(nodes: Int = 3) -> FakeCluster {
    let cluster = FakeCluster(nodes: nodes)
    cluster.change { $0.tokens["test"] = "secret" }
    return cluster
}

@Suite("the web server answers")
struct ServerTests {
    @Test("health is told to anybody")
    func health() async throws {
        try await withServer { _, address in
            let reply = try await request("GET", "/health", at: address)
            #expect(reply.status == 200)
            #expect(reply.text == #"{"ready":true,"state":"member"}"#)
        }
    }

    @Test("nodes are told to whoever has a token, and to nobody else")
    func nodes() async throws {
        try await withServer(clusterWithToken()) { _, address in
            let refused = try await request("GET", "/v1/nodes", at: address)
            #expect(refused.status == 401)
            let reply = try await request("GET", "/v1/nodes", at: address, headers: [bearer])
            #expect(reply.status == 200)
            #expect(reply.text.contains(#""name":"node2""#))
        }
    }
}
