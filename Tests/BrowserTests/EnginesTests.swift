import BrambleAPI
import BrowserSupport
import Testing
import WebTestSupport

@Suite("the pages of balancers, clocks and labels in a real browser", .serialized)
struct EnginesTests {
    private func balancing() -> FakeCluster {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear", "plum", "quince"])
        cluster.serve()
        cluster.balance()
        return cluster
    }
    private func widths(_ browser: Browser) async throws -> [Int] {
        try await browser.script("return [document.documentElement.scrollWidth, innerWidth]") as? [Int] ?? []
    }

    @Test("each balancer says where clients come, how they are shared out, and which backend gets nothing and why")
    func list() async throws {
        let cluster = balancing()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("balancers", until: "document.querySelectorAll('.balancer').length === 3")
            let web = try await browser.text(".balancer[data-key=web]")
            for part in [
                "HTTP", "listens on port 80 of every node", "a client stays on its backend", "192.168.1.11:8080",
                "draining",
                "an operator drains the node", "the node is down", "it answered /health with 503", "not asked yet",
            ] {
                #expect(web.contains(part), "\(part) in \(web)")
            }
            let lora = try await browser.text(".balancer[data-key=lora]")
            #expect(lora.contains("UDP") && lora.contains("at the addresses of files"), "\(lora)")
            let mail = try await browser.text(".balancer[data-key=mail]")
            #expect(mail.contains("apt install nftables") && mail.contains("No backend is up"), "\(mail)")
            #expect(try await browser.text(".page-head").contains("3 balancers, 3 of 8 backends up"))
            // What changes is seen without a click.
            cluster.change { $0.services.balancers[2].backends[2].state = .up }
            try await browser.wait(until: "document.querySelector('.page-head').innerText.includes('4 of 8')")
        }
    }

    @Test("a balancer is added in a form and removed after a question; a name that is taken is refused")
    func change() async throws {
        let cluster = balancing()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("balancers", until: "document.querySelectorAll('.balancer').length === 3")
            try await browser.click(".page-head button")
            try await browser.wait(until: "document.querySelector('dialog #listen')")
            let go = "document.querySelector('dialog button[type=submit]')"
            #expect(try await browser.script("return \(go).disabled") as? Bool == true)
            try await browser.type("web", into: "#name")
            try await browser.type(":8000", into: "#listen")
            try await browser.type("70000", into: "#to")
            #expect(try await browser.script("return \(go).disabled") as? Bool == true, "70000 is no port")
            try await browser.type("8001", into: "#to")
            try await browser.script("document.querySelector('dialog [name=sticky]').click()")
            try await browser.script("document.querySelector('dialog [value=plum]').click()")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "!document.querySelector('dialog .problem').hidden")
            #expect(try await browser.text("dialog .problem").contains("is there already"))
            try await browser.type("shop", into: "#name")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "document.querySelector('.balancer[data-key=shop]')")
            let shop = try await browser.text(".balancer[data-key=shop]")
            #expect(shop.contains("a client stays on its backend") && shop.contains("cherry") && !shop.contains("plum"))
            #expect(cluster.change { state in state.services.balancers.last?.listen } == ":8000")

            try await browser.click("[aria-label='Remove shop']")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("no node answers on port 8000 any more"))
            #expect(cluster.change { $0.services.balancers.count } == 4)
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "!document.querySelector('.balancer[data-key=shop]')")
            #expect(cluster.change { $0.services.balancers.count } == 3)
        }
    }

    @Test("clocks show offset, error, source and who gives the time; they are kept or left alone after a question")
    func clocks() async throws {
        let cluster = balancing()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("clock", until: "document.querySelectorAll('.clocks tbody tr').length === 5")
            func row(_ name: String) async throws -> String { try await browser.text(".clocks tr[data-key=\(name)]") }
            let server = try await row("apple")
            #expect(server.contains("gives the time") && server.contains("192.53.103.108"), "\(server)")
            let follower = try await row("cherry")
            for part in ["right", "−0.214 ms", "±0.402 ms", "192.168.1.11"] {
                #expect(follower.contains(part), "\(part) in \(follower)")
            }
            let wrong = try await row("pear")
            #expect(wrong.contains("off") && wrong.contains("+2.5 s") && wrong.contains("nobody"), "\(wrong)")
            #expect(try await row("plum").contains("no answer"))
            #expect(try await browser.text("main").contains("apple gives the others the time"))
            #expect(try await browser.text(".page-head").contains("1 of 5 did not answer"))
            try await browser.click(".page-head button")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("chrony is started again as it was before"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(
                until: "document.querySelector('.page-head button').innerText.includes('Keep them together')")
            #expect(cluster.change { state in state.services.clocks.allSatisfy { !$0.kept } })
            try await browser.click(".page-head button")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("/etc/chrony/conf.d/bramble.conf"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(
                until: "document.querySelector('main').innerText.includes('apple gives the others the time')")
        }
    }

    @Test("labels are shown with their node and changed there; what is no label is refused by the button")
    func labels() async throws {
        let cluster = balancing()
        try await withDashboard(cluster) { browser, _ in
            try await browser.wait(until: Browser.rowIs("apple", "row.innerText.includes('role=web')"))
            try await browser.go("node/apple", until: "document.querySelectorAll('.labels .chip').length === 2")
            try await browser.script("document.querySelector('[aria-labelledby=labels-title] button').click()")
            try await browser.wait(until: "document.querySelector('dialog textarea')")
            try await browser.type("role", into: "#labels")
            #expect(
                try await browser.script("return document.querySelector('dialog button[type=submit]').disabled")
                    as? Bool
                    == true)
            try await browser.type("role=db\nzone=north", into: "#labels")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(
                until:
                    "document.querySelector('.labels').innerText.includes('zone=north') && !document.querySelector('dialog')"
            )
            #expect(cluster.change { $0.nodes[0].labels } == ["role": "db", "zone": "north"])
        }
    }

    @Test("without a balancer the page says how the first is made; no page is wider than a phone")
    func narrow() async throws {
        let none = FakeCluster(names: ["apple", "cherry"])
        none.change { $0.services.balancers = [] }
        try await withDashboard(none) { browser, _ in
            try await browser.go("balancers", until: "document.querySelector('.help:not([hidden])')")
            #expect(try await browser.text("main").contains("bramble balance add web --listen :80 --to 8080"))
        }
        try await withDashboard(balancing()) { browser, _ in
            try await browser.resize(width: 360, height: 780, isPhone: true)
            for (page, what) in [
                ("balancers", ".balancer"), ("clock", ".clocks tbody tr"), ("node/apple", ".labels .chip"),
            ] {
                try await browser.go(page, until: "document.querySelector('\(what)')")
                let found = try await widths(browser)
                #expect(found.count == 2 && found[0] <= found[1], "\(page): \(found)")
            }
        }
    }
}
