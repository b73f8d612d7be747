import Foundation
import Primitives
import Testing

@testable import Daemon

@Suite("the configuration file says how a node runs")
struct SettingsFileTests {
    private func read(_ text: String) throws -> Settings {
        let path = NSTemporaryDirectory() + "bramble-\(UUID().uuidString).yaml"
        defer { unlink(path) }
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return try SettingsFile.read(at: path)
    }

    @Test("every flag of bramble start is a key by the same name")
    func allKeys() throws {
        let settings = try read(
            """
            data-dir: /srv/bramble
            name: Serv1
            address: [10.0.0.1, "fd00::1"]
            port: 7000
            http: 127.0.0.1:8081
            join: [serv2, "10.0.0.3:7001"]
            no-discovery: true
            socket: /run/x.sock
            profile: calm
            hosts-file: none
            admit: approve
            reach: 10.0.0.254
            tls: self
            watchdog: /dev/watchdog
            """)
        #expect(settings.dataDirectory == "/srv/bramble")
        #expect(settings.name?.description == "serv1")
        #expect(settings.addresses == [IPAddress("10.0.0.1")!, IPAddress("fd00::1")!])
        #expect(settings.port == 7000)
        #expect(settings.http == [Endpoint("127.0.0.1:8081", defaultPort: 0)!])
        #expect(settings.join == ["serv2", "10.0.0.3:7001"])
        #expect(settings.discovery == .off)
        #expect(settings.socket == "/run/x.sock")
        #expect(settings.profile == .calm)
        #expect(settings.hostsFile == "none")
        #expect(settings.admission == .approve)
        #expect(settings.reach == [IPAddress("10.0.0.254")!])
        #expect(settings.tls == .own)
        #expect(settings.watchdog == "/dev/watchdog")
    }

    @Test("an empty file, or none at the default place, changes nothing")
    func empty() throws {
        #expect(try read("") == Settings())
        #expect(try read("# only a comment\n") == Settings())
    }

    @Test(
        "what is wrong is named, with the place and what is allowed",
        arguments: [
            ("nmae: x", ["nmae", "name"]), ("port: 0", ["port", "65535"]), ("port: 70000", ["port"]),
            ("address: 10.0.0.256", ["10.0.0.256"]), ("profile: quick", ["fast", "calm"]),
            ("watchdog: dev/watchdog", ["watchdog", "/dev/watchdog", "none"]),
            ("name: under_score", ["name"]),
            ("tls: yes-please", ["tls", "self"]), ("admit: [", ["line"]), ("reach: gateway", ["gateway"]),
        ])
    func wrong(text: String, words: [String]) {
        do {
            let settings = try read(text)
            Issue.record("\(text) was taken as \(settings)")
        } catch let error as SettingsFile.Failure {
            let said = error.problem + " " + error.remedy
            for word in words { #expect(said.contains(word), "“\(said)” does not say “\(word)”") }
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test("a file that was asked for must be there")
    func missing() {
        #expect(throws: SettingsFile.Failure.self) { try SettingsFile.read(at: "/nowhere/bramble.yaml") }
    }

    @Test("a flag wins over the file, the file over the default")
    func precedence() {
        var flags = Settings()
        flags.port = 1
        var file = Settings()
        file.port = 2
        file.name = NodeName("x")
        let merged = flags.over(file)
        #expect(merged.port == 1)
        #expect(merged.name?.description == "x")
        let configuration = Configuration(merged, hostName: "pi.local", code: "abcd-efgh-jkmn")
        #expect(configuration.dataDirectory == "/var/lib/bramble")
    }

    @Test("a machine whose host name is no name of its own gets one from its code", arguments: ["localhost", "_", ""])
    func fallbackName(hostName: String) {
        let configuration = Configuration(Settings(), hostName: hostName, code: "abcd-efgh-jkmn")
        #expect(configuration.name.description == "node-abcd")
        #expect(Configuration(Settings(), hostName: "pi4.lan", code: "x").name.description == "pi4")
    }
}
