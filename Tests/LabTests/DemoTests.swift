import Foundation
import Glibc
import Lab
import Testing

/// What `make demo` shows.
@Suite("the demonstration", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct DemoTests {
    @Test(
        "it runs to its end without a terminal: the nodes find each other, the gap is told, the old node is back and waits",
        .timeLimit(.minutes(2)))
    func wholeStory() throws {
        let before = (hosts: file("/etc/hosts"), networks: entries(of: "/run/netns").sorted())
        let program = BrambleNode.builtHere
        // Nothing at all on its standard input: no file, no terminal.
        let demo = try LabProcess.onThisMachine(["sh", "-c", "exec '\(program)-demo' '\(program)' <&-"])
        defer { demo.kill() }
        func line(with text: String) -> Substring? { demo.output.split(separator: "\n").first { $0.contains(text) } }

        // The dashboard is there while it runs, and takes the password that was shown.
        let shown = eventually(within: .seconds(40)) { line(with: "  Login  ") }
        let password = try #require(shown?.split(separator: " ").last, "\(demo.output)")
        let url = try #require(line(with: "  Dashboard  ")?.split(separator: " ").last)
        let port = try #require(url.split(separator: ":").last.flatMap { UInt16($0.filter(\.isNumber)) }, "\(url)")
        let stream = try Connection(host: "127.0.0.1", port: port, limit: .seconds(5))
        let login = try HTTPResponse.ask(
            "POST", "/login", body: Array(#"{"user":"admin","password":"\#(password)"}"#.utf8), over: stream)
        #expect(login.status == 200, "\(login.text)")

        #expect(demo.wait(.seconds(60)) == .exited(0), "\(demo.output)")
        let output = demo.output
        for text in [
            "they found each other by themselves and agree: 3 nodes alive", "a web service behind 10.77.0.50: serv",
            "a page is written there, and its mirror has it on the others", "loses its power now",
            "runs the web service, at the same address", ": written on serv",
            "has power again, catches up and waits; web stays on serv", "no two nodes answered at once",
        ] { #expect(output.contains(text), "\(text)\n\(output)") }
        // The tables are the commands' own.
        for name in ["serv1", "serv2", "serv3"] {
            let isListed = output.split(separator: "\n").contains { $0.contains(name) && $0.contains("alive") }
            #expect(isListed, "\(name)\n\(output)")
        }
        let gap = line(with: "a client that asked every 10 ms had no answer for")?.split(separator: " ").dropLast().last
        #expect(gap.flatMap { Int($0) }.map { $0 > 0 && $0 < 20_000 } == true, "\(output)")
        #expect(output.split(separator: "\n").filter { $0.contains("✗") }.count == 1, "only the power cut: \(output)")
        #expect(!output.contains("\u{1B}"), "colours are for terminals")
        #expect(file("/etc/hosts") == before.hosts && entries(of: "/run/netns").sorted() == before.networks)
    }

    /// As somebody sees it who sits at a terminal.
    @Test("three nodes form a cluster, one dies, it is told who knew when and why, and the dashboard stays until a key")
    func story() throws {
        let show = try Show()
        defer { show.end() }
        #expect(show.says("3 nodes alive", within: 40), "\(show.text)")
        #expect(show.says("loses its power now", within: 60), "\(show.text)")
        #expect(show.says("q quit", within: 60), "\(show.text)")
        let knew = show.text.matches(of: /serv. knows that (serv.) is down +\d+ ms/)
        #expect(knew.count == 2, "\(show.text)")
        let victim = try #require(knew.first?.1)
        #expect(show.text.contains("$ bramble why \(victim)"), "\(show.text)")
        #expect(show.text.contains(/is down since [^ ]+ . of . observers heard nothing/), "\(show.text)")
        #expect(show.text.contains("no two nodes answered at once"), "\(show.text)")

        let place = try #require(show.text.firstMatch(of: /http:\/\/127\.0\.0\.1:(\d+)\//)?.1)
        let port = try #require(UInt16(place))
        let page = try HTTPResponse.ask(
            "GET", "/login", over: try Connection(host: "127.0.0.1", port: port, limit: .seconds(10)))
        #expect(page.status == 200 && page.text.contains("Bramble"))
        #expect(show.process.isRunning)
        show.press("q")
        #expect(eventually(within: .seconds(20)) { !show.process.isRunning }, "\(show.text)")
        #expect(!show.process.isRunning && show.process.terminationStatus == 0)
    }
}

/// The built program on a terminal of its own (script(1) makes one).
private final class Show {
    let process = Process()
    private let keys = Pipe()
    private let output: URL
    private let handle: FileHandle

    init() throws {
        output = FileManager.default.temporaryDirectory.appendingPathComponent("demonstration-\(UUID().uuidString)")
        try Data().write(to: output)
        handle = try FileHandle(forWritingTo: output)
        process.executableURL = URL(filePath: "/usr/bin/script")
        let program = BrambleNode.builtHere
        process.arguments = ["-qefc", "\(program)-demo \(program) --listen 127.0.0.1:0", "/dev/null"]
        process.environment = ProcessInfo.processInfo.environment.merging(["NO_COLOR": "1"]) { $1 }
        process.standardInput = keys
        process.standardOutput = handle
        try process.run()
    }

    var text: String { (try? String(contentsOf: output, encoding: .utf8)) ?? "" }
    func says(_ words: String, within seconds: Int) -> Bool {
        eventually(within: .seconds(seconds), every: .milliseconds(100)) { text.contains(words) }
    }
    func press(_ key: String) { keys.fileHandleForWriting.write(Data(key.utf8)) }

    func end() {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? handle.close()
        try? FileManager.default.removeItem(at: output)
    }
}
