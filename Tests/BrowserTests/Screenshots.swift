import BrowserSupport
import Foundation
import Testing
import WebTestSupport

/// Not a check: pictures for people who work on the design, where BRAMBLE_SCREENSHOTS names a folder.
@Test(
    "pictures of the dashboard in wide and narrow, dark and light",
    .enabled(if: ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS"] != nil))
func screenshots() async throws {
    let folder = ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS"] ?? ""
    func take(_ name: String, _ browser: Browser) async throws {
        for (size, width, height) in [("wide", 1440, 1100), ("narrow", 360, 780)] {
            for dark in [false, true] {
                try await browser.resize(width: width, height: height, isPhone: size == "narrow")
                try await browser.prefer(dark: dark)
                try await Task.sleep(for: .milliseconds(400))
                try await browser.screenshot("\(folder)/\(name)-\(size)-\(dark ? "dark" : "light").png")
            }
        }
    }
    let cluster = FakeCluster(names: ["apple", "cherry", "pear", "plum", "quince"])
    cluster.stock()
    if let only = ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS_OF"], only == "data" {
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("data", until: "document.querySelector('.copies tbody tr')")
            try await browser.wait(until: "document.querySelector('.conflicts li')")
            try await take("data", browser)
            try await browser.go("data/articles", until: "document.querySelectorAll('.values tbody tr').length > 10")
            try await take("data-rows", browser)
            try await browser.go("data/visits", until: "document.querySelectorAll('.values tbody tr').length === 2")
            try await browser.script("document.querySelector('#may-write').click()")
            try await take("data-write", browser)
            try await browser.script("document.querySelector('.sql button[type=submit]').click()")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("data-ask", browser)
        }
        return
    }
    if ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS_OF"] == "services" {
        cluster.serve()
        try await withDashboard(cluster) { browser, _ in
            for page in ["services", "services/files", "mirrors", "volumes", "document", "nodes", "node/apple"] {
                try await browser.go(page, until: "document.querySelector('main .panel')")
                try await browser.wait(until: "document.querySelector('main').innerText.length > 80")
                try await take("services-" + page.replacing("/", with: "-"), browser)
            }
            try await browser.go("document", until: "document.querySelector('#document')?.value")
            try await browser.type("services: [{name: web}]", into: "#document")
            try await browser.click(".sql button[type=submit]")
            try await browser.wait(until: "document.querySelector('.plan .differences')")
            try await take("services-plan", browser)
            try await browser.go("services", until: "document.querySelector('.service')")
            try await browser.click("[aria-label='Move files']")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("services-move", browser)
            try await browser.press("\u{E00C}")
            try await browser.go("nodes", until: "document.querySelector('.cell-services a')")
            try await browser.click("[aria-label='Duty of apple']")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("services-duty", browser)
            try await browser.press("\u{E00C}")
            for (type, by) in [
                ("acquired", ["apple"]), ("started", ["apple"]), ("failed", ["apple"]), ("released", ["apple"]),
                ("acquired", ["pear"]), ("moved", ["pear"]), ("stopped", ["pear"]), ("parked", ["pear"]),
            ] {
                cluster.happen(type, "files", by: by, detail: ["epoch": .integer(8), "gapMs": .number(412)])
            }
            try await browser.go("events", until: "document.querySelectorAll('.event').length > 8")
            try await take("services-events", browser)
        }
        let none = FakeCluster(names: ["apple", "cherry"])
        try await withDashboard(none) { browser, _ in
            for page in ["services", "mirrors", "volumes"] {
                try await browser.go(page, until: "document.querySelector('.help:not([hidden])')")
                try await take("services-none-" + page, browser)
            }
        }
        return
    }
    if ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS_OF"] == "engines" {
        cluster.serve()
        cluster.balance()
        try await withDashboard(cluster) { browser, _ in
            try await browser.go("balancers", until: "document.querySelectorAll('.balancer').length > 1")
            try await take("balancers", browser)
            try await browser.click(".page-head button")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("balancers-add", browser)
            try await browser.press("\u{E00C}")
            try await browser.click("[aria-label='Remove web']")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("balancers-remove", browser)
            try await browser.press("\u{E00C}")
            try await browser.go("clock", until: "document.querySelector('.clocks tbody tr')")
            try await take("clock", browser)
            try await browser.click(".page-head button")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("clock-off", browser)
            try await browser.press("\u{E00C}")
            try await browser.go("nodes", until: "document.querySelector('.labels .chip')")
            try await take("labels-nodes", browser)
            try await browser.go("node/apple", until: "document.querySelector('.labels .chip')")
            try await take("labels-node", browser)
            try await browser.script("document.querySelector('[aria-labelledby=labels-title] button').click()")
            try await browser.wait(until: "document.querySelector('dialog')")
            try await take("labels-change", browser)
        }
        let none = FakeCluster(names: ["apple", "cherry"])
        none.change { $0.services.balancers = [] }
        try await withDashboard(none) { browser, _ in
            try await browser.go("balancers", until: "document.querySelector('.help:not([hidden])')")
            try await take("balancers-none", browser)
        }
        return
    }
    if ProcessInfo.processInfo.environment["BRAMBLE_SCREENSHOTS_OF"] == "sizes" {
        for count in [1, 3, 12] {
            let other = FakeCluster(nodes: count)
            other.stock()
            other.serve()
            try await withDashboard(other) { browser, _ in
                for step in 0..<10 { other.breathe(step: step) }
                try await Task.sleep(for: .milliseconds(900))
                try await take("nodes-\(count)", browser)
                try await browser.go("data", until: "document.querySelector('.copies tbody tr')")
                try await take("data-\(count)", browser)
            }
        }
        return
    }
    try await withDashboard(cluster, logIn: false) { browser, address in
        try await browser.open("\(address)/login")
        try await take("login", browser)
        try await browser.logIn(at: address)
        let breathing = Task {
            for step in 0... {
                cluster.breathe(step: step)
                try await Task.sleep(for: .milliseconds(150))
            }
        }
        defer { breathing.cancel() }
        try await Task.sleep(for: .seconds(4))
        try await take("nodes", browser)
        cluster.wait("medlar", code: "QFRT-KXZM-PLWA")
        cluster.kill("pear")
        cluster.cut("plum", to: "cherry")
        try await Task.sleep(for: .milliseconds(700))
        try await take("down", browser)
        try await browser.script("location.hash = '#/node/pear'")
        try await Task.sleep(for: .milliseconds(700))
        try await take("node-down", browser)
        try await browser.script("location.hash = '#/node/plum'")
        try await Task.sleep(for: .milliseconds(700))
        try await take("node", browser)
        for page in ["events", "health", "access"] {
            try await browser.script("location.hash = '#/\(page)'")
            try await Task.sleep(for: .milliseconds(500))
            try await take(page, browser)
        }
        try await browser.script("location.hash = '#/nodes'")
        try await browser.wait(until: "document.querySelector('.waiting button')")
        try await browser.click(".waiting button")
        try await take("add", browser)
        try await browser.press("\u{E00C}")
        try await browser.script("location.hash = '#/node/pear'")
        try await browser.wait(until: "document.querySelector('.end button')")
        try await browser.click(".end button")
        try await take("remove", browser)
    }
    for count in [1, 2, 12, 24, 50] {
        let other = FakeCluster(nodes: count)
        try await withDashboard(other) { browser, _ in
            for step in 0..<10 { other.breathe(step: step) }
            if count > 2 { other.kill("node\(count / 2)") }
            try await Task.sleep(for: .milliseconds(900))
            try await take("many-\(count)", browser)
        }
    }
}
