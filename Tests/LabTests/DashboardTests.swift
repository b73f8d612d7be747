import BrambleAPI
import BrowserSupport
import Lab
import Testing

/// The dashboard as it is used: a real browser before a real node, which learns what it shows from other real nodes.
@Suite(
    "the dashboard of real nodes in a real browser", .serialized,
    .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct DashboardTests {
    @Test("a machine is added, another dies and comes back, and is removed: live, on a page that is loaded once")
    func live() async throws {
        let names = ["n1", "n2", "n3"]
        let cluster = try Cluster(names: names, others: [], keyed: false)
        let login = try cluster["n1"].makeCluster("hedge")
        for name in ["n2", "n3"] { try cluster[name].takeKey(of: cluster["n1"]) }
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: names, within: .seconds(20)), "\(cluster.logs)")
        try cluster.add("n4").start()

        let relay = try Relay(listen: "127.0.0.1", preferring: 0, to: cluster["n1"].host, port: 8080)
        let address = "http://127.0.0.1:\(relay.port)"
        let browser = try await Browser()
        do {
            try await browser.logIn(at: address, password: login.password)
            try await browser.script("window.isLoadedOnce = true")
            try await seeAll(names, of: cluster, in: browser)
            try await add("n4", of: cluster, in: browser)
            try await lose("n3", of: cluster, in: browser)
            try await remove("n3", of: cluster, in: browser)
            #expect(try await browser.script("return window.isLoadedOnce") as? Bool == true)
            #expect(Browser.foreign(try await browser.requests(), at: address) == [])
            #expect(try await browser.consoleErrors() == [])
        } catch {
            await browser.quit()
            throw error
        }
        await browser.quit()
    }

    private func seeAll(_ names: [String], of cluster: Cluster, in browser: Browser) async throws {
        for name in names {
            try await browser.wait(20, until: Browser.rowIs(name, "row.dataset.state === 'alive'"))
            #expect(try await browser.row(name).contains("\(cluster[name].host.address):7771"))
        }
        // Who watches whom: each pair, both ways.
        try await browser.wait(until: "document.querySelectorAll('.picture .line[data-state=up]').length === 6")
    }

    private func add(_ name: String, of cluster: Cluster, in browser: Browser) async throws {
        let told = eventually(within: .seconds(10)) { (try? cluster[name].status())?.code }
        let code = try #require(told, "\(cluster.logs)")
        try await browser.wait(
            20, until: "document.querySelector('.waiting:not([hidden])')?.innerText.includes('\(code)')")
        try await browser.click(".waiting button")
        try await browser.click("dialog input[type=checkbox]")
        try await browser.click("dialog .primary")
        try await browser.wait(20, until: Browser.rowIs(name, "row.dataset.state === 'alive'"))
        #expect(cluster.agree(alive: ["n1", "n2", "n3", name], within: .seconds(20)), "\(cluster.logs)")
    }

    private func lose(_ name: String, of cluster: Cluster, in browser: Browser) async throws {
        try cluster.lab.powerOff(cluster[name].host)
        try await browser.wait(until: Browser.rowIs(name, "row.dataset.state === 'down'"))
        // The bar of φ is full, and empty again when it is back.
        let level = "row.querySelector('.suspicion').dataset.level"
        try await browser.wait(until: Browser.rowIs(name, "\(level) === 'bad'"))
        try await browser.wait(until: "document.querySelector('h1').textContent === '\(name) is down'")
        try await browser.wait(until: "document.querySelector('.dot[data-name=\(name)]').dataset.state === 'down'")
        try await browser.wait(
            until:
                "[...document.querySelectorAll('.events .event')].some(event => /\(name) is down: . of . observers heard nothing/.test(event.textContent))"
        )
        try cluster.lab.plug(cluster[name].host)
        try cluster[name].restart()
        try await browser.wait(20, until: Browser.rowIs(name, "row.dataset.state === 'alive' && \(level) === 'ok'"))
    }

    private func remove(_ name: String, of cluster: Cluster, in browser: Browser) async throws {
        try await browser.go("node/\(name)", until: "document.querySelector('.end button')")
        try await browser.click(".end button")
        try await browser.type(name, into: "#typed")
        try await browser.click("dialog .danger")
        try await browser.wait(
            20, until: "location.hash === '#/nodes' && document.querySelectorAll('.nodes tbody tr').length === 3")
        #expect(try await browser.row(name) == "")
        #expect(
            eventually(within: .seconds(10)) { (try? cluster[name].status().state) == .removed }, "\(cluster.logs)")
        for other in ["n1", "n2", "n4"] {
            #expect(
                eventually(within: .seconds(10)) { cluster[other].view().keys.sorted() == ["n1", "n2", "n4"] },
                "\(cluster.logs)")
        }
    }
}
