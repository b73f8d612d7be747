import BrambleAPI
import FoundationEssentials
import Glibc
import Primitives
import Reactor
import TestSupport
import WebTestSupport

@testable import Web

let loopback = IPAddress.v4(0x7F00_0001)
let bearer = ("Authorization", "Bearer secret")

func clusterWithToken(nodes: Int = 3) -> FakeCluster {
    let cluster = FakeCluster(nodes: nodes)
    cluster.change { $0.tokens["test"] = "secret" }
    return cluster
}

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
            listen: [.tcp(Endpoint(loopback, port: 0))] + extra, identity: identity, limits: limits),
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

/// A clock that a test moves on.
final class TestClock: Sendable {
    private let time = Locked(Instant(sinceBoot: .seconds(1000)))
    var now: Instant { time.withLock { $0 } }
    func advance(_ duration: Duration) { time.withLock { $0 = $0 + duration } }
}

struct TooLate: Error {}

/// Looks every few milliseconds; throws when it has not come true in time.
func waitUntil(_ limit: Duration = .seconds(45), _ condition: @escaping @Sendable () -> Bool) async throws {
    try await blocking {
        let end = SystemClock.now + limit
        while !condition() {
            guard SystemClock.now < end else { throw TooLate() }
            usleep(5000)
        }
    }
}

/// Logs in and gives the cookie as a browser sends it back.
func logIn(at address: WebAddress, user: String = "admin", password: String = "correct horse") async throws -> String {
    let reply = try await request(
        "POST", "/login", at: address, body: #"{"user":"\#(user)","password":"\#(password)"}"#)
    guard reply.status == 200, let cookie = reply.header("Set-Cookie") else { throw LoginFailed(reply: reply) }
    return String(cookie.prefix { $0 != ";" })
}
struct LoginFailed: Error { let reply: Reply }

func readFile(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(filePath: path)))
}

/// All files below a folder, as paths from it, in order.
func list(_ folder: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: folder).filter { path in
        var isFolder = false
        return FileManager.default.fileExists(atPath: "\(folder)/\(path)", isDirectory: &isFolder) && !isFolder
    }.sorted()
}

func temporaryPath(_ name: String) -> String {
    FileManager.default.temporaryDirectory.path(percentEncoded: false)
        + "/bramble-test-\(UUID().uuidString.prefix(8))-\(name)"
}
