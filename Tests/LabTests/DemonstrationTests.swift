import Foundation
import Lab
import Testing

/// `make demo` as somebody sees it who sits at a terminal.
@Suite("the demonstration", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct DemonstrationTests {
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
