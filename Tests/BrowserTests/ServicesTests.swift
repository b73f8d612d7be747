import BrambleAPI
import BrowserSupport
import Foundation
import Testing
import WebTestSupport

@Suite("the pages of services, mirrors and the document in a real browser", .serialized)
struct ServicesTests {
    private func serving(_ names: [String] = ["apple", "cherry", "pear"]) -> FakeCluster {
        let cluster = FakeCluster(names: names)
        cluster.serve()
        return cluster
    }
    private func row(_ name: String) -> String { "document.querySelector('.service[data-key=\(name)]')" }
    private func orders(_ cluster: FakeCluster) -> [String] { cluster.change { $0.services.orders } }

    @Test(
        "each service says who holds it, since when, with which guarantee and what that means, and why it does not run")
    func list() async throws {
        try await withDashboard(serving()) { browser, _ in
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 2")
            let files = try await browser.text(".service[data-key=files]")
            for part in [
                "running", "on apple", "epoch 7", "192.168.1.50/24", "majority", "more than half of the nodes",
                "412 ms from the last sign of the node that failed until another ran it",
            ] {
                #expect(files.contains(part), "\(part) in \(files)")
            }
            let shop = try await browser.text(".service[data-key=shop]")
            for part in [
                "cannot run", "on no node", "The address 192.168.1.51 is in use by 02:00:00:00:00:09", "fd77::51/64",
                "best effort", "both sides", "not moved yet",
            ] {
                #expect(shop.contains(part), "\(part) in \(shop)")
            }
            #expect(try await browser.text(".page-head").contains("1 of 2 running"))
        }
    }

    @Test("what changes is seen without a click: another holder, a state, a service that is new or gone")
    func live() async throws {
        let cluster = serving()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 2")
            cluster.change { state in
                state.services.services[0].node = "pear"
                state.services.services[0].epoch = 8
                state.services.services[0].state = .starting
            }
            try await browser.wait(
                until: "\(row("files")).innerText.includes('on pear') && \(row("files")).innerText.includes('starting')"
            )
            #expect(try await browser.text("#announcer") == "files is starting on pear")
            cluster.change { state in
                state.services.services.removeLast()
                state.services.services[0].state = .running
            }
            try await browser.wait(
                until:
                    "!\(row("shop")) && document.querySelector('.page-head').innerText.includes('1 service, all running')"
            )
        }
    }

    @Test(
        "locks are listed below the services: who holds each, since when, and how many wait here; without one nothing is"
    )
    func locks() async throws {
        let cluster = serving()
        cluster.change { $0.services.locks = [] }
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 2")
            try await browser.wait(until: "document.querySelector('.locks')?.closest('section').hidden")
            cluster.change { state in
                state.services.locks = [
                    LockInfo(name: "nightly", node: "pear", epoch: 31, waiting: 2, since: "2026-03-01T10:00:00.000Z"),
                    LockInfo(name: "archive", node: nil, epoch: 4, waiting: 1),
                ]
            }
            try await browser.wait(until: "document.querySelectorAll('.locks tbody tr').length === 2")
            let rows =
                "[...document.querySelectorAll('.locks tbody tr')].map((row) => row.innerText.replace(/\\s+/g, ' ')).join('|')"
            let text = try await browser.script("return " + rows) as? String ?? ""
            try #require(text.contains("|"))
            let (first, second) = (text.split(separator: "|")[0], text.split(separator: "|")[1])
            #expect(first.contains("archive nobody 4 – 1"), "\(text)")
            #expect(second.contains("nightly pear 31") && second.hasSuffix(" 2"), "\(text)")
            try await browser.wait(until: "document.querySelector('.locks a').getAttribute('href') === '#/node/pear'")
            cluster.change { $0.services.locks?.removeAll() }
            try await browser.wait(until: "document.querySelector('.locks').closest('section').hidden")
        }
    }

    @Test("a witness is shown as one: no duty, no services, and no service is moved there")
    func witness() async throws {
        let cluster = serving(["apple", "pear", "tie"])
        cluster.change { state in
            state.nodes[2].role = .witness
            state.services.services.removeLast()
        }
        try await withDashboard(cluster) { browser, _ in
            try await browser.wait(until: "document.querySelectorAll('table.nodes tbody tr').length === 3")
            #expect(try await browser.text(".verdict").contains("Both nodes and the witness are alive"))
            let shown = try await browser.script(
                "return [...document.querySelectorAll('table.nodes tbody tr')].map((row) => row.innerText.includes('witness')).join()"
            )
            #expect(shown as? String == "false,false,true")
            try await browser.wait(until: "document.querySelector('[aria-label=\"Duty of tie\"]').hidden")
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 1")
            try await browser.click("[aria-label='Move files']")
            try await browser.wait(until: "document.querySelector('dialog select')")
            let choices = try await browser.script(
                "return [...document.querySelectorAll('dialog option')].map((one) => one.value).join()")
            #expect(choices as? String == ",pear")
        }
    }

    @Test("moving, stopping, starting and rehearsing say what will happen, ask, and tell what became of it")
    func ordering() async throws {
        let cluster = serving()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 2")
            try await browser.click("[aria-label='Move files']")
            try await browser.wait(until: "document.querySelector('dialog')")
            let asked = try await browser.text("dialog")
            for part in [
                "Move files away from apple?", "stopped on apple", "mirror samba runs once more",
                // What a failure took says nothing of a move.
                "as long as it takes to stop and start", "does not move back",
            ] {
                #expect(asked.contains(part), "\(part) in \(asked)")
            }
            try await browser.click("dialog button[type=button]")
            try await browser.wait(until: "!document.querySelector('dialog')")
            #expect(orders(cluster) == [])

            try await browser.click("[aria-label='Move files']")
            try await browser.wait(until: "document.querySelector('dialog select')")
            try await browser.script("document.querySelector('dialog select').value = 'pear'")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "\(row("files")).innerText.includes('on pear')")
            #expect(orders(cluster) == ["move files to pear"])
            #expect(
                try await browser.text("#toasts").contains("files runs on pear now. Nobody answered for 48 ms"))

            try await browser.click("[aria-label='Drill files']")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("pear plays dead for files"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "\(row("files")).innerText.includes('on apple')")

            try await browser.click("[aria-label='Stop files']")
            try await browser.wait(until: "document.querySelector('dialog')")
            let stopping = try await browser.text("dialog")
            #expect(
                stopping.contains("192.168.1.50 answers no more") && stopping.contains("no other node takes it over"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "\(row("files")).innerText.includes('An operator stopped it')")
            try await browser.click("[aria-label='Start files']")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "\(row("files")).dataset.state === 'running'")
            #expect(orders(cluster).suffix(3) == ["drill files", "stop files", "start files"])
        }
    }

    @Test("one service has a page of its own, with the reasons; one that is not there is said to be gone")
    func one() async throws {
        let cluster = serving()
        cluster.happen("started", "files", by: ["apple"], detail: ["epoch": .integer(7), "tookMs": .number(83)])
        cluster.happen("failed", "shop", by: [], detail: [:])
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("services/files", until: "document.querySelector('.reasons li')")
            #expect(try await browser.text(".why").contains("its lease was granted by 2 of 3 nodes"))
            try await browser.wait(until: "document.querySelector('.events .event')")
            #expect(try await browser.text(".events").contains("files runs on apple"))
            #expect(try await browser.text(".events").contains("shop") == false)
            #expect(try await browser.text(".facts").contains("systemd:smbd"))
            cluster.change { state in _ = state.services.services.removeFirst() }
            try await browser.wait(until: "document.querySelector('.problem b')?.offsetParent !== null")
            #expect(try await browser.text("main").contains("There is no service files."))
        }
    }

    @Test("a refused order is shown with its remedy, and can be tried again")
    func refused() async throws {
        let cluster = serving()
        try await withDashboard(cluster, complaints: ["/v1/services/files/move - Failed to load resource"]) {
            browser, _ in
            try await browser.go("services", until: "document.querySelectorAll('.service').length === 2")
            try await browser.click("[aria-label='Move files']")
            try await browser.wait(until: "document.querySelector('dialog select')")
            try await browser.script(
                "document.querySelector('dialog select').append(new Option('fig', 'fig')); document.querySelector('dialog select').value = 'fig'"
            )
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "!document.querySelector('dialog .problem').hidden")
            #expect(try await browser.text("dialog .problem").contains("here is no node “fig”"))
            #expect(
                try await browser.script("return document.querySelector('dialog button[type=submit]').disabled")
                    as? Bool
                    == false)
        }
    }

    @Test("without services, mirrors or a document the pages say what to write and how to apply it")
    func empty() async throws {
        let cluster = FakeCluster()
        cluster.change { $0.services.isNothingApplied = true }
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("services", until: "!document.querySelector('.help')?.hidden")
            let text = try await browser.text("main")
            #expect(text.contains("bramble apply -f services.yaml") && text.contains("addresses: [192.168.1.50/24]"))
            try await browser.click("a[href='#/document/example']")
            try await browser.wait(until: "document.querySelector('#document')?.value.includes('run: systemd:smbd')")
            try await browser.go("mirrors", until: "document.querySelector('h1').textContent === 'Mirrors'")
            try await browser.wait(until: "!document.querySelector('.help')?.hidden")
            #expect(try await browser.text("main").contains("bramble apply -f FILE"))
            try await browser.resize(width: 360, height: 780, isPhone: true)
            for page in ["services", "mirrors", "document/example"] {
                try await browser.go(page, until: "document.querySelector('.panel:not([hidden])')")
                let widths =
                    try await browser.script(
                        "return [document.documentElement.scrollWidth, innerWidth]") as? [Int] ?? []
                #expect(widths.count == 2 && widths[0] <= widths[1], "\(page): \(widths)")
            }
        }
    }

    @Test("mirrors show from and to, how far behind, and what was set aside; a file is restored after a question")
    func mirrors() async throws {
        let cluster = serving()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("mirrors", until: "document.querySelector('.parked')")
            let mirror = try await browser.text(".mirrors tbody")
            for part in ["samba", "apple → cherry and pear", "equal", "12 s", "1204 files, 48 MB"] {
                #expect(mirror.contains(part), "\(part) in \(mirror)")
            }
            cluster.change { state in
                state.services.mirrors[0].state = .paused
                state.services.mirrors[0].reason = "pear is suspect"
            }
            try await browser.wait(
                until: "document.querySelector('.mirrors tbody').innerText.includes('pear is suspect')")
            try await browser.click(".mirrors button")
            try await browser.wait(until: "document.querySelector('#toasts').innerText.includes('samba is paused')")
            #expect(orders(cluster) == ["run samba"])
            #expect(try await browser.text(".parked").contains("/var/lib/samba/passdb.tdb"))
            try await browser.click(".parked button")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("what is there now is set aside instead"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "!document.querySelector('.parked')")
            #expect(cluster.change { $0.services.parked.count } == 0)
        }
    }

    @Test(
        "volumes show their bricks, what is to heal, the room and what could be done; one is healed, and deleted after a question"
    )
    func volumes() async throws {
        let cluster = serving()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("volumes", until: "document.querySelectorAll('.bricks tbody tr').length === 3")
            let text = try await browser.text(".volume")
            for part in [
                "shared", "degraded", "3 copies of each file, at /bramble/shared on apple and cherry",
                "12 entries to heal", "91 GB of 240 GB free", "/data/bricks/shared", "offline", "12 entries",
                "bramble volume replace-brick shared",
            ] {
                #expect(text.contains(part), "\(part) in \(text)")
            }
            try await browser.click("[aria-label='Heal shared now']")
            try await browser.wait(until: "document.querySelector('#toasts').innerText.includes('are healed now')")
            #expect(orders(cluster) == ["heal shared"])
            cluster.change { state in
                state.services.volumes[0].state = .online
                state.services.volumes[0].toHeal = 0
                state.services.volumes[0].progress = ""
                for index in 0..<3 { state.services.volumes[0].bricks[index].online = true }
            }
            try await browser.wait(until: "!document.querySelector('.bricks').innerText.includes('offline')")
            #expect(
                try await browser.script("return document.querySelector(\"[aria-label='Heal shared now']\").disabled")
                    as? Bool
                    == true)
            try await browser.click("[aria-label='Delete shared']")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("its files stay in the directories of its bricks"))
            #expect(cluster.change { $0.services.volumes.count } == 1)
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "!document.querySelector('.help').hidden")
            #expect(try await browser.text("main").contains("bramble volume create shared --replica 3"))
            #expect(cluster.change { $0.services.volumes.isEmpty })
        }
    }

    @Test("the document is shown, edited, compared and applied, and nothing changes before the question is answered")
    func document() async throws {
        let cluster = serving()
        let complaints = ["/v1/apply - Failed to load resource"]
        try await withDashboard(cluster, complaints: complaints) { browser, _ in
            try await browser.go(
                "document", until: "document.querySelector('#document')?.value.includes('systemd:nginx')")
            #expect(try await browser.text(".notes").contains("services/odd"))
            let apply = "document.querySelector('.sql button.primary')"
            #expect(try await browser.script("return \(apply).disabled") as? Bool == true)

            try await browser.type("wrong", into: "#document")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "!document.querySelector('main .problem').hidden")
            #expect(try await browser.text("main .problem").contains("line 3, column 5: unknown key `adresses`"))
            #expect(try await browser.script("return \(apply).disabled") as? Bool == true)

            try await browser.type("services: [{name: web}]", into: "#document")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "document.querySelectorAll('.plan .differences > li').length === 3")
            let plan = try await browser.text(".plan")
            for part in [
                "web", "run: systemd:nginx", "reach: [] → [192.168.1.1]",
                "Not named in the text, and stays: mirrors old",
            ] {
                #expect(plan.contains(part), "\(part) in \(plan)")
            }
            #expect(cluster.change { $0.services.applied.allSatisfy { $0.dryRun == true } })
            try await browser.click("#prune")
            #expect(try await browser.script("return \(apply).disabled") as? Bool == true)
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "document.querySelector('.plan [data-change=removed]')")
            try await browser.click(".sql button.primary")
            try await browser.wait(until: "document.querySelector('dialog .differences')")
            #expect(cluster.change { $0.services.applied.allSatisfy { $0.dryRun == true } })
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "document.querySelector('#toasts').innerText.includes('4 changes applied')")
            let last = cluster.change { $0.services.applied.last }
            #expect(last?.dryRun == false && last?.prune == true && last?.document == "services: [{name: web}]")
        }
    }

    @Test("a node is put on hold, drained and resumed, each with what will happen")
    func duty() async throws {
        let cluster = serving()
        try await withDashboard(cluster) { browser, _ in
            try await browser.wait(until: Browser.rowIs("apple", "row.innerText.includes('files')"))
            #expect(try await browser.text("h1") == "shop does not run")
            try await browser.click("[aria-label='Duty of apple']")
            try await browser.wait(until: "document.querySelector('dialog [value=drain]')")
            try await browser.click("dialog [value=drain]")
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(
                until: "document.querySelector('dialog h2')?.textContent === 'Take apple out of service?'")
            #expect(try await browser.text("dialog").contains("files moves to other nodes"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: Browser.rowIs("apple", "row.innerText.includes('drained')"))
            try await browser.wait(until: Browser.rowIs("cherry", "row.innerText.includes('files')"))
            try await browser.go("node/apple", until: "document.querySelector('.tag-warn:not([hidden])')")
            try await browser.script(
                "[...document.querySelectorAll('.actions button')].find(button => button.textContent === 'Resume…').click()"
            )
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog").contains("nothing moves back by itself"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "document.querySelector('.tag-warn').hidden")
            #expect(orders(cluster) == ["drain apple", "resume apple"])
        }
    }

    @Test("nothing is wider than a phone, with long names, many addresses and long reasons")
    func phone() async throws {
        let cluster = serving(["a-node-with-a-long-name-in-the-cellar", "b", "c"])
        cluster.change { state in
            state.services.services[0].name = String(repeating: "long", count: 15)
            state.services.services[0].addresses = (1...6).map { "fd77:1111:2222:3333:4444:5555:6666:\($0)/128" }
            state.services.services[1].reason = String(repeating: "/very/long/path", count: 20)
            state.services.parked[0].path = "/" + String(repeating: "deep/", count: 60)
            state.services.mirrors[0].reason = String(repeating: "reason", count: 30)
            state.services.volumes[0].reason = String(repeating: "reason", count: 30)
            state.services.volumes[0].bricks[0].path = "/" + String(repeating: "deep/", count: 60)
        }
        try await withDashboard(cluster) { browser, _ in
            try await browser.resize(width: 360, height: 780, isPhone: true)
            for (page, until) in [
                ("services", "document.querySelectorAll('.service').length === 2"),
                ("services/shop", "document.querySelector('.reasons li')"),
                ("mirrors", "document.querySelector('.parked')"),
                ("volumes", "document.querySelector('.bricks tbody tr')"),
                ("document", "document.querySelector('#document')?.value"),
                ("nodes", "document.querySelector('.cell-services a')"),
                ("node/b", "document.querySelector('.answer')?.textContent"),
            ] {
                try await browser.go(page, until: until)
                let widths =
                    try await browser.script(
                        "return [document.documentElement.scrollWidth, innerWidth]") as? [Int] ?? []
                #expect(widths.count == 2 && widths[0] <= widths[1], "\(page): \(widths)")
            }
        }
    }
}
