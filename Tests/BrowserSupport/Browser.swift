import Foundation
import Primitives
import TestSupport
import Web
import WebTestSupport

/// A real Chromium without a window, driven over the WebDriver protocol.
package final class Browser: Sendable {
    package struct Problem: Error, CustomStringConvertible { package let description: String }

    private let driver: Driver
    private let session: String
    private var base: String { "\(driver.address)/session/\(session)" }

    /// Starts a browser that can reach nothing but this machine.
    package init() async throws {
        driver = try await Driver.start()
        let answer = try await Self.send(
            "POST", "\(driver.address)/session",
            [
                "capabilities": [
                    "alwaysMatch": [
                        "goog:chromeOptions": [
                            "args": [
                                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                                "--disable-sync", "--window-size=1440,1000", "--hide-scrollbars",
                                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                            ]
                        ],
                        "goog:loggingPrefs": ["browser": "ALL", "performance": "ALL"],
                    ]
                ]
            ])
        guard let id = (answer as? [String: Any])?["sessionId"] as? String else {
            driver.stop()
            throw Problem(description: "no session: \(answer ?? "nothing")")
        }
        session = id
    }

    package func quit() async {
        _ = try? await Self.send("DELETE", base, nil)
        driver.stop()
    }

    // MARK: What a person does

    package func open(_ address: String) async throws { _ = try await command("url", ["url": address]) }
    package func click(_ selector: String) async throws {
        _ = try await command("element/\(try await find(selector))/click", [:])
    }
    package func type(_ text: String, into selector: String) async throws {
        let element = try await find(selector)
        _ = try await command("element/\(element)/clear", [:])
        _ = try await command("element/\(element)/value", ["text": text])
    }
    /// Keys to whatever has the focus: \u{E004} is Tab, \u{E007} Enter, \u{E00C} Escape.
    package func press(_ keys: String) async throws {
        let actions = keys.flatMap { key in
            [["type": "keyDown", "value": String(key)], ["type": "keyUp", "value": String(key)]]
        }
        _ = try await command("actions", ["actions": [["type": "key", "id": "keyboard", "actions": actions]]])
    }

    // MARK: What a person sees

    package func text(_ selector: String) async throws -> String {
        try await script("return (document.querySelector(\(quoted(selector)))?.innerText ?? '').trim()") as? String
            ?? ""
    }
    /// The value of a JavaScript function's body.
    @discardableResult
    package func script(_ body: String) async throws -> Any? {
        try await command("execute/sync", ["script": body, "args": [] as [Any]])
    }
    /// Looks every 30 ms until the expression is true.
    package func wait(_ seconds: Double = 10, until expression: String) async throws {
        let end = Date.now.addingTimeInterval(seconds)
        while Date.now < end {
            if try await script("return Boolean(\(expression))") as? Bool == true { return }
            try await Task.sleep(for: .milliseconds(30))
        }
        let page = try await script("return document.body.innerText") as? String ?? ""
        throw Problem(description: "never came true: \(expression)\nthe page: \(page.prefix(3000))")
    }
    package func screenshot(_ path: String) async throws {
        guard let text = try await get("screenshot") as? String, let image = Data(base64Encoded: text) else { return }
        try image.write(to: URL(filePath: path))
    }

    /// As on a screen of this size, in CSS pixels.
    package func resize(width: Int, height: Int, isPhone: Bool = false) async throws {
        try await devTools(
            "Emulation.setDeviceMetricsOverride",
            ["width": width, "height": height, "deviceScaleFactor": isPhone ? 2 : 1, "mobile": isPhone])
    }
    package func prefer(dark: Bool) async throws {
        try await devTools(
            "Emulation.setEmulatedMedia",
            ["features": [["name": "prefers-color-scheme", "value": dark ? "dark" : "light"]]])
    }
    @discardableResult
    package func devTools(_ name: String, _ parameters: [String: Any]) async throws -> Any? {
        try await command("goog/cdp/execute", ["cmd": name, "params": parameters])
    }

    /// Errors on the console since the last look.
    package func consoleErrors() async throws -> [String] {
        let entries = try await command("se/log", ["type": "browser"]) as? [[String: Any]] ?? []
        return entries.filter { $0["level"] as? String == "SEVERE" || $0["level"] as? String == "WARNING" }
            .map { $0["message"] as? String ?? "?" }
    }
    /// Addresses asked for since the last look.
    package func requests() async throws -> [String] {
        let entries = try await command("se/log", ["type": "performance"]) as? [[String: Any]] ?? []
        return entries.compactMap { entry in
            guard let text = entry["message"] as? String,
                let log = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
                let message = log["message"] as? [String: Any],
                message["method"] as? String == "Network.requestWillBeSent",
                let parameters = message["params"] as? [String: Any],
                let request = parameters["request"] as? [String: Any]
            else { return nil }
            return request["url"] as? String
        }
    }

    // MARK: The protocol

    private func find(_ selector: String) async throws -> String {
        let found = try await command("element", ["using": "css selector", "value": selector]) as? [String: Any]
        guard let id = found?.values.first as? String else { throw Problem(description: "there is no \(selector)") }
        return id
    }
    private func quoted(_ text: String) -> String {
        String(decoding: (try? JSONSerialization.data(withJSONObject: [text])) ?? Data(), as: UTF8.self) + "[0]"
    }
    private func get(_ path: String) async throws -> Any? { try await Self.send("GET", "\(base)/\(path)", nil) }
    private func command(_ path: String, _ body: [String: Any]) async throws -> Any? {
        try await Self.send("POST", "\(base)/\(path)", body)
    }

    private static func send(_ method: String, _ address: String, _ body: [String: Any]?) async throws -> Any? {
        guard let url = URL(string: address), let port = url.port.flatMap({ UInt16(exactly: $0) }) else {
            throw Problem(description: "bad address \(address)")
        }
        let text = try body.map { String(decoding: try JSONSerialization.data(withJSONObject: $0), as: UTF8.self) }
        let reply = try await blocking {
            let connection = try RawConnection(
                to: .tcp(Endpoint(.v4(0x7F00_0001), port: port)), timeout: .seconds(60))
            var head = "\(method) \(url.path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n"
            if let text { head += "Content-Type: application/json\r\nContent-Length: \(text.utf8.count)\r\n" }
            try connection.send(head + "\r\n" + (text ?? ""))
            return try connection.readReply()
        }
        let answer = try JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any]
        if let error = answer?["value"] as? [String: Any], let name = error["error"] as? String {
            throw Problem(description: "\(name): \(error["message"] ?? "")")
        }
        return answer?["value"]
    }
}

// MARK: The dashboard

extension Browser {
    package func logIn(at address: String, password: String = "correct horse") async throws {
        try await open("\(address)/login")
        try await type("admin", into: "#user")
        try await type(password, into: "#password")
        try await click("button[type=submit]")
        try await wait(until: "location.pathname === '/' && document.querySelector('.nodes tbody tr')")
    }

    /// A page of the dashboard, once it shows something.
    package func go(_ page: String, until expression: String = "document.querySelector('main .panel')") async throws {
        try await script("location.hash = '#/\(page)'")
        try await wait(until: expression)
    }

    /// The row of a node on the first page, as text.
    package func row(_ name: String) async throws -> String {
        try await script(
            "return [...document.querySelectorAll('.nodes tbody tr')].find(row => row.querySelector('.node-name').textContent === '\(name)')?.innerText ?? ''"
        ) as? String ?? ""
    }
    package static func rowIs(_ name: String, _ test: String) -> String {
        "[...document.querySelectorAll('.nodes tbody tr')].some(row => row.querySelector('.node-name').textContent === '\(name)' && \(test))"
    }

    /// Which of these requests go elsewhere than to this address.
    package static func foreign(_ requests: [String], at address: String) -> [String] {
        requests.filter { !$0.hasPrefix("\(address)/") && !$0.hasPrefix("data:") && !$0.hasPrefix("chrome") }
    }
}

/// chromedriver on a free port of its own.
private final class Driver: @unchecked Sendable {
    let address: String
    private let process: Process
    private let output: Pipe

    static func start() async throws -> Driver {
        try await withCheckedThrowingContinuation { continuation in
            // Waits for a line of the process: not on a thread of the pool.
            Thread.detachNewThread { continuation.resume(with: Result { try Driver() }) }
        }
    }

    private init() throws {
        process = Process()
        output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["chromedriver", "--port=0"]
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        var text = ""
        let mark = "started successfully on port "
        while true {
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else {
                throw Browser.Problem(description: "chromedriver did not start (package chromium-driver): \(text)")
            }
            text += String(decoding: more, as: UTF8.self)
            if let found = text.range(of: mark), let port = Int(text[found.upperBound...].prefix { $0.isNumber }) {
                address = "http://127.0.0.1:\(port)"
                break
            }
        }
        // What it says later is of no interest, but the pipe must not fill.
        output.fileHandleForReading.readabilityHandler = { _ = $0.availableData }
    }

    func stop() {
        // Its browser has been told to end; it does not heed a polite signal.
        kill(process.processIdentifier, SIGKILL)
        output.fileHandleForReading.readabilityHandler = nil
    }
}
