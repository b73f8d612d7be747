import Foundation
import Primitives
import Reactor
import Web
import WebTestSupport

/// A browser before a server with an imagined cluster, logged in unless told otherwise.
func withDashboard(
    _ cluster: FakeCluster, limits: WebLimits = WebLimits(), logIn: Bool = true,
    _ body: (_ browser: Browser, _ address: String) async throws -> Void
) async throws {
    let loop = EventLoop(name: "test")
    defer { loop.stop() }
    let server = WebServer(
        service: cluster,
        configuration: .init(listen: [.tcp(Endpoint(.v4(0x7F00_0001), port: 0))], limits: limits), loop: loop)
    try server.start()
    guard case .tcp(let endpoint) = server.addresses[0] else { return }
    let address = "http://\(endpoint)"
    let browser = try await Browser()
    do {
        if logIn { try await browser.logIn(at: address) }
        try await body(browser, address)
    } catch {
        await browser.quit()
        await server.stop()
        throw error
    }
    await browser.quit()
    await server.stop()
}

extension Browser {
    func logIn(at address: String, password: String = "correct horse") async throws {
        try await open("\(address)/login")
        try await type("admin", into: "#user")
        try await type(password, into: "#password")
        try await click("button[type=submit]")
        try await wait(until: "location.pathname === '/' && document.querySelector('.nodes tbody tr, .help')")
    }
}
