import BrambleAPI
import BrowserSupport
import Foundation
import Primitives
import Testing
import Web
import WebTestSupport

@Suite("the page Data in a real browser", .serialized)
struct DataTests {
    private func stocked(_ names: [String] = ["apple", "cherry", "pear"]) -> FakeCluster {
        let cluster = FakeCluster(names: names)
        cluster.stock()
        return cluster
    }
    private let firstCell = "document.querySelector('.rows .values tbody td')?.textContent"

    @Test("tables are listed, and their rows browsed page by page, there and back")
    func browsing() async throws {
        try await withDashboard(stocked()) { browser, _ in
            try await browser.go("data", until: "document.querySelectorAll('.tables li').length === 2")
            #expect(try await browser.text(".tables").contains("120"))
            try await browser.click(".tables a")
            try await browser.wait(until: "\(firstCell) === '1'")
            #expect(try await browser.text(".pages").contains("rows 1 to 50 of 120"))
            #expect(try await browser.text(".rows").contains("id integer key, name text, price real, place text"))
            let next = ".pages button:last-child"
            try await browser.click(next)
            try await browser.wait(until: "\(firstCell) === '51'")
            try await browser.click(next)
            try await browser.wait(until: "\(firstCell) === '101'")
            #expect(try await browser.script("return document.querySelector('\(next)').disabled") as? Bool == true)
            try await browser.click(".pages button:first-child")
            try await browser.wait(until: "\(firstCell) === '51'")
        }
    }

    @Test("values are shown as they are: large integers to the last digit, NULL, bytes, and no markup comes alive")
    func values() async throws {
        try await withDashboard(stocked()) { browser, _ in
            try await browser.go(
                "data/visits", until: "document.querySelectorAll('.rows .values tbody tr').length === 2")
            let text = try await browser.text(".rows .values")
            for part in ["9007199254740993", "4 bytes", "NULL", "/<script>alert(1)</script>"] {
                #expect(text.contains(part), "\(part) in \(text)")
            }
            #expect(try await browser.script("return document.querySelectorAll('.values script').length") as? Int == 0)
        }
    }

    @Test("writes that are not taken are listed with what to do; those from the future are released after a question")
    func held() async throws {
        let cluster = stocked()
        cluster.change { state in
            state.database.status.origins = [
                OriginStatus(origin: "00c0ffee00c0ffee", node: "apple", state: .taken, taken: 12),
                OriginStatus(origin: "1badcafe1badcafe", node: "cherry", state: .unreadable, taken: 1, waiting: 2),
                OriginStatus(
                    origin: "beeb8da1658eec67", node: "pear", state: .held, taken: 3, waiting: 1,
                    at: "2036-03-01T10:00:00.000Z"),
            ]
        }
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("data", until: "document.querySelectorAll('.held li').length === 2")
            let text = try await browser.text(".held")
            for part in ["2 writes of cherry cannot be read", "1 write of pear", "held back", "2036"] {
                #expect(text.contains(part), "\(part) in \(text)")
            }
            let buttons = "[...document.querySelectorAll('.held button')].filter((button) => !button.hidden)"
            #expect(try await browser.script("return \(buttons).length") as? Int == 1)
            _ = try await browser.script("\(buttons)[0].click()")
            try await browser.wait(until: "document.querySelector('dialog[open]')")
            #expect(try await browser.text("dialog").contains("cannot be taken back"))
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(
                until: "document.body.textContent.includes('what beeb8da1658eec67 wrote is taken as it is')")
        }
    }

    @Test("SQL only reads until the switch is on; then it asks, and says what it reached")
    func writing() async throws {
        let cluster = stocked()
        try await withDashboard(cluster, complaints: ["/v1/sql - Failed to load resource"]) { browser, _ in
            try await browser.go("data", until: "document.querySelector('#statement')")
            try await browser.type("insert into articles values (1)", into: "#statement")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "!document.querySelector('.sql .problem').hidden")
            #expect(try await browser.text(".sql .problem").contains("This statement writes"))
            #expect(cluster.change { $0.database.requests.map(\.isReadOnly) } == [true])

            try await browser.click("#may-write")
            #expect(try await browser.text(".write-note") == "What it changes is changed on every node.")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "document.querySelector('dialog')")
            #expect(try await browser.text("dialog .statement") == "insert into articles values (1)")
            #expect(cluster.change { $0.database.requests.count } == 1)
            try await browser.click("dialog button[type=submit]")
            try await browser.wait(until: "document.querySelector('.sql [role=status].quiet').textContent !== ''")
            let told = try await browser.text(".sql p.quiet")
            #expect(told == "1 row changed, on the disk of another node, too")
            #expect(cluster.change { $0.database.requests.count { !$0.isReadOnly } } == 1)
        }
    }

    @Test("a wrong statement is answered with what is wrong, and the page goes on")
    func mistakes() async throws {
        try await withDashboard(stocked(), complaints: ["/v1/sql - Failed to load resource"]) { browser, _ in
            try await browser.go("data", until: "document.querySelector('#statement')")
            try await browser.type("selct 1", into: "#statement")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "!document.querySelector('.sql .problem').hidden")
            #expect(try await browser.text(".sql .problem").contains("syntax error"))
            try await browser.script("document.querySelector('#statement').value = 'select 1'")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "document.querySelector('.sql .values tbody td')?.textContent === '1'")
        }
    }

    @Test("each node's copy moves as the node tells: behind, a snapshot's progress, equal")
    func copies() async throws {
        let cluster = stocked()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("data", until: "document.querySelectorAll('.copies tbody tr').length === 3")
            let pear = "document.querySelector('.copies tr[data-key=pear]').innerText"
            try await browser.wait(until: "\(pear).includes('whole copy, 36 % sent') && \(pear).includes('812 writes')")
            cluster.change { state in
                state.database.status.replicas[2].snapshot?.bytes = 1_200_000
                state.database.status.replicas[1].state = .unreachable
            }
            try await browser.wait(until: "\(pear).includes('90 % sent')")
            try await browser.wait(
                until: "document.querySelector('.copies tr[data-key=cherry]').innerText.includes('unreachable')")
            cluster.change { state in
                state.database.status.replicas[2] = ReplicaStatus(
                    node: "pear", isSelf: false, state: .equal, lastSync: "2026-03-01T10:00:01.000Z")
            }
            try await browser.wait(until: "\(pear).includes('equal') && \(pear).includes('nothing')")
        }
    }

    @Test("what was overwritten unseen is shown with both values, and new ones appear by themselves")
    func conflicts() async throws {
        let cluster = stocked()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("data", until: "document.querySelectorAll('.conflicts li').length === 1")
            let text = try await browser.text(".conflicts")
            for part in ["articles", "id 7", "price", "9.5", "8.75", "node1", "node2"] {
                #expect(text.contains(part), "\(part) in \(text)")
            }
            cluster.change { state in
                var second = state.database.conflicts[0]
                second.id = "2"
                second.lost.action = "deleted"
                state.database.conflicts.insert(second, at: 0)
                state.database.status.conflicts = 2
            }
            try await browser.wait(until: "document.querySelectorAll('.conflicts li').length === 2")
            #expect(try await browser.text(".conflicts li:first-child .side-lost").contains("deleted"))
        }
    }

    @Test("nothing is wider than a phone, with long names and values")
    func phone() async throws {
        let cluster = stocked(["a-node-with-a-long-name-in-the-cellar", "b", "c"])
        cluster.change { state in
            state.database.tables[0].rows[0][1] = .text(String(repeating: "long", count: 200))
            state.database.tables.append(
                .init(
                    String(repeating: "name_", count: 20), columns: [.init(name: "id", type: "INTEGER", key: 1)],
                    rows: []))
        }
        try await withDashboard(cluster) { browser, _ in
            try await browser.resize(width: 360, height: 780, isPhone: true)
            try await browser.go("data/articles", until: "\(firstCell) === '1'")
            try await browser.wait(
                until: "document.querySelector('.copies tbody tr') && document.querySelector('.conflicts li')")
            let widths =
                try await browser.script(
                    "return [document.documentElement.scrollWidth, innerWidth]") as? [Int] ?? []
            #expect(widths.count == 2 && widths[0] <= widths[1], "\(widths)")
        }
    }
}
