import BrowserSupport
import Foundation
import Primitives
import Reactor
import Testing
import Web
import WebTestSupport

/// A browser before a server with an imagined cluster, logged in unless told otherwise.
///
/// At the end of every test: nothing but this server was asked, and the console has no complaint.
func withDashboard(
    _ cluster: FakeCluster, limits: WebLimits = WebLimits(), logIn: Bool = true, complaints: [String] = [],
    now: @escaping @Sendable () -> Instant = { SystemClock.now },
    _ body: (_ browser: Browser, _ address: String) async throws -> Void
) async throws {
    try await withServer(cluster, limits: limits, now: now) { _, endpoint in
        let address = "http://\(endpoint)"
        let browser = try await Browser()
        do {
            if logIn { try await browser.logIn(at: address) }
            try await body(browser, address)
            try await browser.expectNothingForeign(at: address, complaints: complaints)
        } catch {
            await browser.quit()
            throw error
        }
        await browser.quit()
    }
}

func withServer(
    _ cluster: FakeCluster, limits: WebLimits = WebLimits(), port: UInt16 = 0,
    now: @escaping @Sendable () -> Instant = { SystemClock.now },
    _ body: (_ server: WebServer, _ endpoint: Endpoint) async throws -> Void
) async throws {
    let loop = EventLoop(name: "test")
    defer { loop.stop() }
    let server = WebServer(
        service: cluster,
        configuration: .init(listen: [.tcp(Endpoint(.v4(0x7F00_0001), port: port))], limits: limits), loop: loop,
        now: now)
    try server.start()
    guard case .tcp(let endpoint) = server.addresses[0] else { return }
    do { try await body(server, endpoint) } catch {
        await server.stop()
        throw error
    }
    await server.stop()
}

extension Browser {
    func expectNothingForeign(at address: String, complaints: [String]) async throws {
        let asked = try await requests()
        let own = asked.filter { $0.hasPrefix("\(address)/") }
        #expect(own.contains("\(address)/assets/style.css"), "requests are seen at all")
        #expect(Browser.foreign(asked, at: address) == [], "the page asked for something from elsewhere")
        let said = try await consoleErrors().filter { text in !complaints.contains { text.contains($0) } }
        #expect(said == [], "the console has complaints")
    }
}

/// A clock that a test moves on.
final class TestClock: Sendable {
    private let time = Locked(Instant(sinceBoot: .seconds(1000)))
    var now: Instant { time.withLock { $0 } }
    func advance(_ duration: Duration) { time.withLock { $0 = $0 + duration } }
}
