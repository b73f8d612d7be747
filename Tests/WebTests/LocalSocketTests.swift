import BrambleAPI
import Glibc
import Primitives
import Reactor
import Testing
import WebTestSupport

@testable import Web

@Suite("the local socket")
struct LocalSocketTests {
    private func server(at path: String, loop: EventLoop) -> WebServer {
        WebServer(service: FakeCluster(), configuration: .init(listen: [.unix(path: path)]), loop: loop)
    }

    @Test("opens for its owner alone, trusts whoever opened it, and is gone after the stop")
    func trusted() async throws {
        let path = temporaryPath("socket")
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let server = server(at: path, loop: loop)
        try server.start()
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let nodes = try await request("GET", "/v1/nodes", at: .unix(path: path))
        #expect(nodes.status == 200)
        let password = try await request(
            "POST", "/v1/password", at: .unix(path: path), body: #"{"password":"battery staple"}"#)
        #expect(password.status == 200)
        await server.stop()
        #expect(stat(path, &status) != 0)
    }

    @Test("a socket that a crash left behind is replaced")
    func stale() async throws {
        let path = temporaryPath("socket")
        let left = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        withUnsafePointer(to: name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(left, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        close(left)
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let server = server(at: path, loop: loop)
        try server.start()
        #expect(try await request("GET", "/health", at: .unix(path: path)).status == 200)
        await server.stop()
    }

    @Test("a socket that somebody answers at is left to them")
    func inUse() async throws {
        let path = temporaryPath("socket")
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let first = server(at: path, loop: loop)
        try first.start()
        #expect(throws: WebError.socketTaken(path: path)) { try self.server(at: path, loop: loop).start() }
        #expect(try await request("GET", "/health", at: .unix(path: path)).status == 200)
        await first.stop()
    }

    @Test("a file that is no socket is not touched")
    func notASocket() throws {
        let path = temporaryPath("file")
        let file = fopen(path, "w")
        fputs("precious", file)
        fclose(file)
        defer { unlink(path) }
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        #expect(throws: WebError.notASocket(path: path)) { try server(at: path, loop: loop).start() }
        #expect(try readFile(path) == Array("precious".utf8))
    }

    @Test("a path that Linux has no room for is refused")
    func longPath() {
        let path = "/tmp/" + String(repeating: "x", count: 120)
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        #expect(throws: WebError.pathTooLong(path: path, limit: 107)) { try server(at: path, loop: loop).start() }
    }
}
