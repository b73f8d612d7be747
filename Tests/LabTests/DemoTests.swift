import Glibc
import Lab
import Testing

/// What `make demo` shows, without anybody in front of it.
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
}
