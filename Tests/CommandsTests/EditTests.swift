import BrambleAPI
import FoundationEssentials
import Glibc
import TestSupport
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

    @Test("import names scripts by their whole path, takes links that lead nowhere, and prints no keys")
    func importing() async throws {
        let files = TemporaryDirectory()
        try files.write("MAIN_IPADDR=10.0.0.1\n", to: "cluster.d/serv1.conf")
        try files.write("", to: "cluster.d/serv1/K80smb")
        symlink("/etc/init.d/no-such-script", files.file("cluster.d/serv1/S20smb"))
        let relative = "/../../.." + files.path + "/cluster.d/../cluster.d/"
        let shell = Shell()
        let clusterd = await shell.run(["import", "clusterd", relative])
        #expect(
            clusterd.code == 0 && clusterd.out.contains("run: script:\(files.path)/cluster.d/serv1/\n"), "\(clusterd)")
        #expect(clusterd.err.contains("leads to /etc/init.d/no-such-script, which is not on this machine"))
        symlink("/nowhere/serv2.conf", files.file("cluster.d/serv2.conf"))
        let broken = await shell.run(["import", "clusterd", files.file("cluster.d")])
        #expect(
            broken.code == 1 && broken.out.isEmpty && broken.err.contains("leads to /nowhere/serv2.conf"), "\(broken)")

        try files.write("serv1 10.0.0.50/24 apache2\n", to: "ha.d/haresources")
        try files.write("auth 1\n1 sha1 a-secret\n", to: "ha.d/authkeys", mode: 0)
        // More than is ever read.
        try files.write(String(repeating: "x", count: 300_000), to: "ha.d/resource.d/large")
        let heartbeat = await shell.run(["import", "haresources", files.file("ha.d")])
        #expect(heartbeat.code == 0 && heartbeat.out.contains("- name: apache2"), "\(heartbeat)")
        #expect(!(heartbeat.out + heartbeat.err).contains("a-secret"))
    }
}
