import BrambleAPI
import BrowserSupport
import Foundation
import Primitives
import Testing
import Web
import WebTestSupport

@Suite("the dashboard in a real browser", .serialized)
struct DashboardTests {
    @Test("a wrong password is refused with what to do, the right one opens the dashboard, and logging out closes it")
    func login() async throws {
        try await withDashboard(FakeCluster(), logIn: false, complaints: ["/login - Failed to load resource"]) {
            browser, address in
            try await browser.open("\(address)/")
            try await browser.wait(until: "location.pathname === '/login'")
            try await browser.type("guess", into: "#password")
            try await browser.press("\u{E007}")
            try await browser.wait(until: "!document.querySelector('#problem').hidden")
            #expect(try await browser.text("#problem").contains("Wrong user or password: try again"))
            try await browser.logIn(at: address)
            try await browser.click("#log-out")
            try await browser.wait(until: "location.pathname === '/login'")
            try await browser.open("\(address)/")
            try await browser.wait(until: "location.pathname === '/login'")
        }
    }

    @Test("after five wrong passwords the page says how long to wait")
    func slowedDown() async throws {
        try await withDashboard(FakeCluster(), logIn: false, complaints: ["/login - Failed to load resource"]) {
            browser, address in
            try await browser.open("\(address)/login")
            for _ in 0..<6 {
                try await browser.type("guess", into: "#password")
                try await browser.click("button[type=submit]")
                try await browser.wait(
                    until: "!document.querySelector('#problem').hidden && !document.querySelector('button').disabled")
            }
            // A busy machine may have used a second of the two up.
            try await browser.wait(until: "/wait [12] s/.test(document.querySelector('#problem').textContent)")
        }
    }

    @Test("every node is shown with its name, address, port, state, load and version")
    func nodes() async throws {
        try await withDashboard(FakeCluster(names: ["apple", "cherry", "pear"])) { browser, _ in
            try await browser.wait(until: "document.querySelectorAll('.nodes tbody tr').length === 3")
            let row = try await browser.row("cherry")
            for part in ["10.77.0.2:7771", "0.1.0", "alive", "0.3 / 8", "8 %", "30 %", "0.31", "0.22", "0.18", "44 °C"]
            {
                #expect(row.contains(part), "\(part) in \(row)")
            }
            #expect(try await browser.row("apple").contains("this node"))
            #expect(try await browser.text("h1") == "All 3 nodes are alive")
            #expect(try await browser.text("#cluster-name") == "orchard")
            #expect(try await browser.script("return document.querySelectorAll('.picture .dot').length") as? Int == 3)
            #expect(try await browser.script("return document.querySelectorAll('.picture .pair').length") as? Int == 3)
        }
    }

    @Test("the bars of φ move as suspicion grows")
    func bars() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        try await withDashboard(cluster) { browser, _ in
            let width =
                "row.querySelector('.cell-phi .bar-fill').getBoundingClientRect().width / row.querySelector('.cell-phi .bar').getBoundingClientRect().width"
            for (phi, share, level) in [(2.0, 0.25, "ok"), (6.0, 0.75, "warn"), (9.5, 1.0, "bad")] {
                cluster.setPhi("cherry", phi)
                try await browser.wait(
                    3,
                    until: Browser.rowIs(
                        "cherry",
                        "Math.abs(\(width) - \(share)) < 0.02 && row.querySelector('.suspicion').dataset.level === '\(level)'"
                    ))
                #expect(try await browser.row("cherry").contains("\(phi) / 8"))
            }
        }
    }

    @Test(
        "a node that dies is shown dead at once: in its row, the verdict, the picture, the log, and to screen readers")
    func dying() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear", "plum"])
        try await withDashboard(cluster) { browser, _ in
            let start = Date.now
            cluster.kill("pear")
            try await browser.wait(
                3, until: Browser.rowIs("pear", "row.dataset.state === 'down' && row.innerText.includes('down')"))
            #expect(Date.now.timeIntervalSince(start) < 5)
            #expect(try await browser.text("h1") == "pear is down")
            #expect(try await browser.text(".events .event:first-child").contains("pear is down: 3 of 3 observers"))
            #expect(try await browser.text("#announcer") == "pear is down")
            try await browser.wait(
                until:
                    "document.querySelector('.dot[data-name=pear]').dataset.state === 'down' && document.querySelectorAll('.pair[data-ends~=pear] .line[data-state=down]').length === 6"
            )
            cluster.revive("pear")
            try await browser.wait(3, until: Browser.rowIs("pear", "row.dataset.state === 'alive'"))
            try await browser.wait(until: "document.querySelector('h1').textContent === 'All 4 nodes are alive'")
        }
    }

    @Test("a link that works one way only is told in words and marked in the picture")
    func oneWay() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        try await withDashboard(cluster) { browser, _ in
            cluster.cut("cherry", to: "pear")
            try await browser.wait(
                3, until: "document.querySelector('.broken').textContent === 'pear does not hear cherry'")
            let states =
                try await browser.script(
                    "return [...document.querySelectorAll('.pair[data-ends=\"cherry pear\"] .line')].map(line => line.dataset.state)"
                ) as? [String]
            #expect(states == ["up", "down"])
            #expect(
                try await browser.script("return document.querySelectorAll('.line-break[data-state=down]').length")
                    as? Int == 1)
        }
    }

    @Test("a node's page tells why, in a sentence with figures")
    func why() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        cluster.kill("pear")
        try await withDashboard(cluster) { browser, _ in
            try await browser.script(
                "[...document.querySelectorAll('.node-name')].find(link => link.textContent === 'pear').click()")
            try await browser.wait(
                until: "document.querySelector('.answer')?.textContent.startsWith('pear is down: 4 of 4')")
            let page = try await browser.text("main")
            for part in ["silence", "431 ms", "unanswered probes", "10.77.0.3", "fd77::3", "hears nothing", "joined"] {
                #expect(page.contains(part), "\(part)")
            }
            #expect(try await browser.script("return document.title") as? String == "pear – Bramble")
            cluster.revive("pear")
            try await browser.wait(
                3, until: "document.querySelector('.answer').textContent.startsWith('pear is alive')")
        }
    }

    @Test("a waiting machine is added after its code was compared, and not before")
    func add() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry"])
        try await withDashboard(cluster) { browser, _ in
            #expect(try await browser.script("return document.querySelector('.waiting').hidden") as? Bool == true)
            cluster.wait("medlar", code: "QFRT-KXZM-PLWA")
            try await browser.wait(3, until: "!document.querySelector('.waiting').hidden")
            #expect(try await browser.text(".waiting").contains("QFRT-KXZM-PLWA"))

            try await browser.click(".waiting button")
            let told = try await browser.text("dialog")
            for part in [
                "Add medlar?", "QFRT-KXZM-PLWA", "gets the cluster key", "joins as medlar",
                "sees everything the cluster knows",
            ] {
                #expect(told.contains(part), "\(part)")
            }
            #expect(
                try await browser.script("return document.querySelector('dialog .primary').disabled") as? Bool == true)
            try await browser.press("\u{E00C}")
            try await browser.wait(until: "!document.querySelector('dialog')")
            #expect(cluster.change { $0.changes } == [])

            try await browser.click(".waiting button")
            try await browser.click("dialog input[type=checkbox]")
            try await browser.click("dialog .primary")
            try await browser.wait(until: Browser.rowIs("medlar", "row.innerText.includes('alive')"))
            try await browser.wait(until: "document.querySelector('.waiting').hidden")
            #expect(try await browser.text("#toasts").contains("has the cluster key and is joining"))
            #expect(cluster.change { $0.changes } == ["add medlar"])
        }
    }

    @Test("a node is removed after its name was typed, and the question says what will be lost")
    func remove() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("node/pear", until: "document.querySelector('.end button')")
            try await browser.click(".end button")
            let told = try await browser.text("dialog")
            for part in [
                "pear is refused at once on every node", "the cluster key is changed on the rest",
                "wipes its copy of the cluster's data", "two nodes are left", "cannot be undone",
            ] { #expect(told.contains(part), "\(part)") }
            #expect(try await browser.script("return document.activeElement.id") as? String == "typed")
            try await browser.type("apple", into: "#typed")
            #expect(
                try await browser.script("return document.querySelector('dialog .danger').disabled") as? Bool == true)
            try await browser.press("\u{E007}")
            #expect(cluster.change { $0.changes } == [])
            try await browser.type("pear", into: "#typed")
            try await browser.click("dialog .danger")
            try await browser.wait(
                until: "location.hash === '#/nodes' && document.querySelectorAll('.nodes tbody tr').length === 2")
            #expect(cluster.change { $0.changes } == ["remove pear"])
            #expect(try await browser.text("#toasts").contains("pear is removed"))
        }
    }

    @Test("removing the node that answers says that this page will end")
    func removeSelf() async throws {
        try await withDashboard(FakeCluster(names: ["apple", "cherry"])) { browser, _ in
            try await browser.go("node/apple", until: "document.querySelector('.end button')")
            try await browser.click(".end button")
            let told = try await browser.text("dialog")
            #expect(told.contains("This is the node that answers you") && told.contains("one node is left, alone"))
        }
    }

    @Test("a refusal is shown where it was asked for, with its remedy")
    func refusal() async throws {
        try await withDashboard(
            FakeCluster(names: ["apple"]), complaints: ["/v1/probe - Failed to load resource"]
        ) { browser, _ in
            try await browser.wait(until: "!document.querySelector('.help').hidden")
            #expect(try await browser.text(".help").contains("scp /var/lib/bramble/cluster.key"))
            try await browser.click(".verdict-side button")
            try await browser.type("nowhere", into: "#host")
            try await browser.click("dialog .primary")
            try await browser.wait(until: "document.querySelector('dialog .problem:not([hidden])')")
            let told = try await browser.text("dialog .problem")
            #expect(told.contains("No bramble answers at nowhere") && told.contains("check UDP 7771"))
            try await browser.type("10.0.0.9", into: "#host")
            try await browser.click("dialog .primary")
            try await browser.wait(until: "!document.querySelector('dialog')")
            #expect(try await browser.text("#toasts").contains("10.0.0.9 was found"))
        }
    }

    @Test("events are found by name, word and kind, and new ones come in live")
    func events() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        cluster.kill("pear")
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("events", until: "document.querySelectorAll('.event').length === 5")
            try await browser.script("document.querySelector('input[value=problems]').click()")
            try await browser.wait(until: "document.querySelectorAll('.event').length === 2")
            try await browser.type("cherry", into: ".filter")
            try await browser.wait(until: "document.querySelectorAll('.event').length === 1")
            #expect(try await browser.text("main").contains("1 of 5 events"))
            cluster.kill("cherry")
            try await browser.wait(until: "document.querySelectorAll('.event').length === 3")
            try await browser.click(".event summary")
            #expect(try await browser.text(".event .figures").contains("silence"))
        }
    }

    @Test("tokens are shown once and revoked after a question; the password is changed with the current one")
    func access() async throws {
        let cluster = FakeCluster()
        try await withDashboard(cluster, complaints: ["/v1/password - Failed to load resource"]) { browser, _ in
            try await browser.go("access", until: "document.querySelector('.routes li')")
            try await browser.type("backup", into: "#token-name")
            try await browser.press("\u{E007}")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("secret-of-backup"))
            try await browser.click("dialog .primary")
            try await browser.wait(until: "document.querySelectorAll('.tokens tbody tr').length === 1")
            #expect(try await browser.script("return document.body.innerText.includes('secret-of')") as? Bool == false)
            try await browser.click(".tokens button")
            try await browser.click("dialog .danger")
            try await browser.wait(until: "document.querySelectorAll('.tokens tbody tr').length === 0")

            try await browser.type("wrong", into: "#current")
            try await browser.type("battery staple", into: "#wanted")
            try await browser.type("battery staple", into: "#again")
            try await browser.press("\u{E007}")
            try await browser.wait(until: "document.querySelector('.stack .problem:not([hidden])')")
            try await browser.type("correct horse", into: "#current")
            try await browser.press("\u{E007}")
            try await browser.wait(
                until: "document.querySelector('#toasts').textContent.includes('password is changed')")
            #expect(cluster.change { $0.passwords["admin"] } == "battery staple")
        }
    }

    @Test("names and sentences from the network are text, never markup")
    func hostileNames() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry"])
        let evil = "<img src=x onerror=document.title='taken'>"
        cluster.wait(evil, code: "<b>AAAA</b>")
        cluster.happen("down", evil, by: [evil], detail: [evil: .string(evil)], text: "\(evil) is down")
        try await withDashboard(cluster) { browser, _ in
            try await browser.wait(
                until: "document.querySelectorAll('.event').length === 3 && !document.querySelector('.waiting').hidden")
            #expect(try await browser.text(".waiting").contains(evil))
            try await browser.click(".waiting button")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(
                try await browser.script("return document.querySelectorAll('main img, dialog img, main b b').length")
                    as? Int == 0)
            #expect(try await browser.script("return document.title") as? String == "Nodes – Bramble")
        }
    }

    @Test("when the node stops answering the page says so, and finds back by itself")
    func connectionLost() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry", "pear"])
        let browser = try await Browser()
        var endpoint = Endpoint(.v4(0x7F00_0001), port: 0)
        do {
            try await withServer(cluster) { _, first in
                endpoint = first
                try await browser.logIn(at: "http://\(first)")
                try await browser.wait(until: "document.querySelector('#live').dataset.state === 'live'")
            }
            try await browser.wait(until: "!document.querySelector('#banner').hidden")
            #expect(try await browser.text("#banner").contains("No connection to apple. What you see is from"))
            #expect(try await browser.text("#live") == "connection lost")
            // Sessions end with the daemon: back means the login page.
            try await withServer(cluster, port: endpoint.port) { _, _ in
                try await browser.wait(20, until: "location.pathname === '/login'")
                try await browser.logIn(at: "http://\(endpoint)")
            }
        } catch {
            await browser.quit()
            throw error
        }
        await browser.quit()
    }

    @Test("a node that was removed says so, and shows no nodes of a cluster that it left")
    func removed() async throws {
        let cluster = FakeCluster(names: ["apple", "cherry"])
        try await withDashboard(cluster) { browser, _ in
            cluster.change { state in
                state.phase = .removed
                state.nodes = []
                state.edges = []
                state.notes = ["this node was removed from “orchard” by cherry"]
            }
            try await browser.wait(
                until: "document.querySelector('h1').textContent === 'This node was removed from its cluster'")
            try await browser.wait(until: "document.querySelectorAll('.nodes tbody tr, .dot').length === 0")
            #expect(try await browser.text(".notes").contains("by cherry"))
        }
    }

    @Test("a session that ends leads to the login page")
    func sessionEnds() async throws {
        let clock = TestClock()
        var limits = WebLimits()
        limits.streamHeartbeat = .milliseconds(300)
        try await withDashboard(
            FakeCluster(), limits: limits, complaints: ["/v1/session - Failed to load resource"], now: { clock.now }
        ) { browser, _ in
            clock.advance(.seconds(8 * 24 * 3600))
            try await browser.wait(until: "location.pathname === '/login'")
        }
    }

    private static let pages = ["nodes", "events", "health", "access", "node/cherry"]

    @Test("on a phone nothing is wider than the screen, in any page or question", arguments: [3, 50])
    func narrow(count: Int) async throws {
        let names =
            ["cherry", "a-node-with-a-name-as-long-as-a-name-can-be-which-is-63-letters"]
            + (3...count).map { "node\($0)" }
        let cluster = FakeCluster(names: names)
        cluster.wait("another-machine-with-a-very-long-name-that-waits", code: "QFRT-KXZM-PLWA")
        cluster.change { state in
            state.nodes[1].address = "2001:db8:1234:5678:9abc:def0:1234:5678"
            state.notes = ["a-note-with-one-very-long-word-\(String(repeating: "x", count: 80))"]
        }
        cluster.kill(names[1])
        try await withDashboard(cluster) { browser, _ in
            try await browser.resize(width: 360, height: 740, isPhone: true)
            let fits = "document.documentElement.scrollWidth <= 360 && innerWidth === 360"
            for page in Self.pages {
                try await browser.go(page)
                try await browser.wait(until: fits)
            }
            try await browser.go("nodes", until: "document.querySelector('.waiting button')")
            try await browser.click(".waiting button")
            try await browser.wait(
                until: "\(fits) && document.querySelector('dialog').getBoundingClientRect().right <= 360")
            try await browser.press("\u{E00C}")
            try await browser.go("node/\(names[1])", until: "document.querySelector('.end button')")
            try await browser.click(".end button")
            try await browser.wait(
                until: "\(fits) && document.querySelector('dialog').getBoundingClientRect().right <= 360")
        }
    }

    @Test("fifty nodes fit the page, and each can be found", arguments: [1024, 1440])
    func fifty(width: Int) async throws {
        try await withDashboard(FakeCluster(nodes: 50)) { browser, _ in
            try await browser.resize(width: width, height: 900)
            try await browser.wait(
                until:
                    "document.querySelectorAll('.nodes tbody tr').length === 50 && document.querySelectorAll('.dot').length === 50"
            )
            try await browser.wait(until: "document.documentElement.scrollWidth <= \(width)")
            let order = try await browser.script(
                "return [...document.querySelectorAll('.node-name')].slice(0, 12).map(name => name.textContent).at(-1)")
            #expect(order as? String == "node12")
            try await browser.type("node49", into: ".filter")
            try await browser.wait(until: "document.querySelectorAll('.nodes tbody tr').length === 1")
        }
    }

    @Test(
        "text can be read against its background in dark and light: contrast of at least 4.5 to 1",
        arguments: [false, true])
    func contrast(dark: Bool) async throws {
        let cluster = FakeCluster(names: ["cherry", "apple", "pear", "plum"])
        cluster.wait("medlar", code: "QFRT-KXZM-PLWA")
        cluster.kill("pear")
        cluster.change { state in
            state.nodes[3].state = .suspect
            state.nodes[3].phi = 6
            state.notes = ["something to know"]
        }
        try await withDashboard(cluster) { browser, address in
            try await browser.prefer(dark: dark)
            let paper = try await browser.script("return getComputedStyle(document.body).backgroundColor") as? String
            #expect(paper == (dark ? "rgb(19, 17, 23)" : "rgb(245, 244, 241)"))
            for page in Self.pages + ["node/pear"] {
                try await browser.go(page)
                try await Task.sleep(for: .milliseconds(400))  // colours fade over
                let faint = try await browser.script(Self.faintText) as? [String]
                #expect(faint == [], "\(page)")
            }
            try await browser.click(".end button")
            #expect(try await browser.script(Self.faintText) as? [String] == [])
            try await browser.script(
                "document.querySelector('dialog h2').style.color = getComputedStyle(document.querySelector('dialog')).backgroundColor"
            )
            #expect(try await browser.script(Self.faintText) as? [String] != [], "the measure itself works")
            try await browser.open("\(address)/login")
            #expect(try await browser.script(Self.faintText) as? [String] == [])
        }
    }

    /// Texts whose colour is too near to what is behind them. Buttons that are off are let be, as in WCAG 1.4.3.
    private static let faintText = """
        const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
        const over = (top, below) => top[3] === 0 ? below : [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
        const behind = (element) => { const all = []; for (let e = element; e; e = e.parentElement) all.push(rgba(getComputedStyle(e).backgroundColor)); return all.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]); };
        const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const found = new Set();
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || element.closest("script, noscript, title, svg, .hidden-text, :disabled") || !element.checkVisibility()) continue;
            const back = behind(element);
            const [a, b] = [light(over(rgba(getComputedStyle(element).color), back)), light(back)];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) found.add(`${element.className || element.tagName}: ${walker.currentNode.data.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
        }
        return [...found];
        """

    @Test("everything can be reached and named without a mouse or a screen")
    func keyboardAndNames() async throws {
        let cluster = FakeCluster(names: ["cherry", "apple", "pear"])
        cluster.wait("medlar", code: "QFRT-KXZM-PLWA")
        try await withDashboard(cluster) { browser, _ in
            try await browser.script("document.activeElement.blur(); scrollTo(0, 0)")
            try await browser.press("\u{E004}")
            #expect(try await browser.script("return document.activeElement.className") as? String == "skip")
            try await browser.press("\u{E007}")
            #expect(try await browser.script("return document.activeElement.id") as? String == "main")

            // Escape gives the focus back to what opened the question.
            try await browser.script("document.querySelector('.waiting button').focus()")
            try await browser.press("\u{E007}")
            try await browser.wait(until: "document.querySelector('dialog[open]')")
            #expect(
                try await browser.script("return document.querySelector('dialog').contains(document.activeElement)")
                    as? Bool == true)
            try await browser.press("\u{E00C}")
            try await browser.wait(until: "!document.querySelector('dialog')")
            #expect(
                try await browser.script("return document.activeElement.closest('.waiting') !== null") as? Bool == true)

            for page in Self.pages {
                try await browser.go(page)
                let nameless =
                    try await browser.script(
                        """
                        return [...document.querySelectorAll("a, button, input, [role=meter], table, nav, section")].filter((element) => {
                            if (!element.checkVisibility() || element.getAttribute("aria-hidden")) return false;
                            const labelled = element.getAttribute("aria-labelledby")?.split(" ").every((id) => document.getElementById(id)?.textContent.trim());
                            return !(element.getAttribute("aria-label") || labelled || element.labels?.length || element.caption?.textContent || (element.matches("a, button") && element.textContent.trim())
                                || (element.matches("table") && element.closest("section[aria-labelledby]")));
                        }).map((element) => element.outerHTML.slice(0, 120));
                        """) as? [String]
                #expect(nameless == [], "\(page)")
                #expect(try await browser.script("return document.querySelectorAll('h1').length") as? Int == 1)
            }
        }
    }
}
