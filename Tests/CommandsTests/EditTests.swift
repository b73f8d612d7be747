import BrambleAPI
import FoundationEssentials
import Testing

@testable import Commands

@Suite("small edits of what should be, from the command line")
struct EditTests {
    private func applied(_ words: [String]) async throws -> (requests: [ApplyRequest], result: Shell.Result) {
        let shell = Shell()
        let result = await shell.run(words)
        let requests = try shell.server.asked.filter { $0.hasPrefix("POST /v1/apply") }.map { text in
            let body = text.firstRange(of: "\r\n\r\n").map { text[$0.upperBound...] } ?? ""
            return try JSONDecoder().decode(ApplyRequest.self, from: Data(body.utf8))
        }
        return (requests, result)
    }

    @Test("service add asks first what would change, then applies one service and nothing else")
    func addService() async throws {
        let words = [
            "service", "add", "web", "--address", "192.168.1.50/24", "--address", "fd00::50/64", "--run",
            "exec:[/usr/bin/x, \"a\\b\"]", "--check", "tcp:445", "--every", "10s", "--prefer", "serv1", "--prefer",
            "serv2",
            "--mirror", "samba", "--after", "dns",
        ]
        let (requests, result) = try await applied(words)
        #expect(result.code == 0, "\(result.err)")
        let document = #"""
            services:
              - {name: "web", addresses: ["192.168.1.50/24", "fd00::50/64"], run: "exec:[/usr/bin/x, \"a\\b\"]", check: "tcp:445", every: "10s", prefer: ["serv1", "serv2"], mirrors: ["samba"], after: ["dns"]}

            """#
        #expect(requests.map(\.document) == [document, document])
        #expect(requests.map { $0.dryRun ?? false } == [true, false])
        #expect(requests.allSatisfy { $0.prune == nil && $0.remove == nil })
    }

    @Test("what is there already is not replaced by an add")
    func known() async throws {
        let (requests, result) = try await applied(["service", "add", "files", "--run", "systemd:smbd"])
        #expect(result.code == 1 && result.err.contains("is there already"))
        #expect(requests.map(\.dryRun) == [true])
    }

    @Test("remove names one object, changes no other, and asks before it acts")
    func remove() async throws {
        let (requests, result) = try await applied(["service", "remove", "files", "--yes"])
        #expect(result.code == 0)
        #expect(requests == [ApplyRequest(document: "{}\n", name: "the command line", remove: ["services/files"])])
        #expect(try await applied(["mirror", "remove", "samba"]).requests == [])
    }
}
