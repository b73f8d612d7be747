import CLinux
import Glibc
import Primitives
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

/// Listens, and gives every connection the same answer; or none, when it is nil.
private final class Listener: Sendable {
    let endpoint: Endpoint
    private let descriptor: Int32
    private let loop: EventLoop
    private let kept = Locked<[Int32]>([])

    init(answer: String?, on loop: EventLoop) {
        self.loop = loop
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, length)
                _ = getsockname(descriptor, $0, &length)
            }
        }
        listen(descriptor, 16)
        endpoint = Endpoint(IPAddress("127.0.0.1")!, port: UInt16(bigEndian: name.sin_port))
        let kept = kept
        loop.watch(descriptor, for: .readable) { _ in
            let connection = accept(descriptor, nil, nil)
            guard connection >= 0 else { return }
            guard let answer else { return kept.withLock { $0.append(connection) } }
            var request = [UInt8](repeating: 0, count: 4096)
            if !answer.isEmpty { _ = read(connection, &request, request.count) }
            _ = answer.withCString { write(connection, $0, strlen($0)) }
            close(connection)
        }
    }
    deinit {
        close(descriptor)
        for one in kept.withLock({ $0 }) { close(one) }
    }
}

@Suite("checks against real listeners")
struct CheckTests {
    private let loop = EventLoop(name: "checks")
    private let server = EventLoop(name: "server")

    private func http(_ answer: String?, within limit: Duration = .ample) async -> String? {
        let listener = Listener(answer: answer, on: server)
        defer { withExtendedLifetime(listener) {} }
        return await CheckProbe.http(listener.endpoint, host: "x", path: "/health", within: limit, on: loop)
    }

    @Test("tcp: a listener is fine, a closed port is named")
    func tcp() async {
        let listener = Listener(answer: nil, on: server)
        #expect(await CheckProbe.tcp(listener.endpoint, within: .ample, on: loop) == nil)
        let closed = Endpoint(IPAddress("127.0.0.1")!, port: 1)
        #expect(await CheckProbe.tcp(closed, within: .ample, on: loop) == "nothing listens at 127.0.0.1:1")
    }

    @Test("http: 200 to 399 are fine, others are told with their words")
    func statuses() async {
        #expect(await http("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") == nil)
        #expect(await http("HTTP/1.0 302 Found\r\n\r\n") == nil)
        #expect(await http("HTTP/1.1 503 Service Unavailable\r\n\r\n") == "it answers 503 Service Unavailable")
        #expect(await http("HTTP/1.1 404\n\n") == "it answers 404")
    }

    @Test("http: silence, a hang-up and other protocols are told apart")
    func trouble() async throws {
        let silent = try #require(await http(nil, within: .milliseconds(300)))
        #expect(silent.contains("accepts connections") && silent.hasSuffix("within 0.3 s"))
        #expect(await http("SSH-2.0-OpenSSH_9.2\r\n") == "what answers is no web server")
        #expect(await http("HTTP/1.1 2000 OK\r\n") == "what answers is no web server")
        #expect(await http(String(repeating: "x", count: 40_000)) == "what answers is no web server")
    }

    @Test("a path that would smuggle a second request is refused")
    func smuggling() async {
        let endpoint = Endpoint(IPAddress("127.0.0.1")!, port: 1)
        for path in ["/a\r\nX: y", "/a b", "a", ""] {
            #expect(
                await CheckProbe.http(endpoint, host: "x", path: path, within: .ample, on: loop)?.contains("no path")
                    == true)
        }
    }
}
