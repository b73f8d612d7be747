import Foundation
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

@testable import Web

@Suite("HTTPS")
struct TLSTests {
    /// A certificate as `tls: self` makes one: ECDSA on P-256, for the loopback.
    private func identity() async throws -> WebServer.Identity {
        let folder = temporaryPath("tls")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try await run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "\(folder)/key", "-out",
            "\(folder)/certificate")
        return WebServer.Identity(
            certificate: String(decoding: try readFile("\(folder)/certificate"), as: UTF8.self),
            key: String(decoding: try readFile("\(folder)/key"), as: UTF8.self))
    }

    private func run(_ arguments: String...) async throws -> (status: Int32, output: String) {
        try await blocking {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = arguments
            let pipe = Pipe()
            process.standardOutput = pipe
            process.standardError = FileHandle.nullDevice
            try process.run()
            let output = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: output, as: UTF8.self))
        }
    }

    @Test("with a certificate the same answers come over TLS 1.3 and nothing older, and the cookie is for HTTPS alone")
    func encrypted() async throws {
        let identity = try await identity()
        let trust = temporaryPath("trust")
        try Data(identity.certificate.utf8).write(to: URL(filePath: trust))
        defer { try? FileManager.default.removeItem(atPath: trust) }
        try await withServer(clusterWithToken(), identity: identity) { _, address in
            guard case .tcp(let endpoint) = address else { return }
            let base = "https://127.0.0.1:\(endpoint.port)"
            let nodes = try await run(
                "curl", "-sS", "--max-time", "40", "--cacert", trust, "-H", "Authorization: Bearer secret",
                "\(base)/v1/nodes")
            #expect(nodes.status == 0 && nodes.output.contains("node2"))
            let login = try await run(
                "curl", "-sSi", "--max-time", "40", "--cacert", trust, "-H", "Origin: \(base)", "--json",
                #"{"user":"admin","password":"correct horse"}"#, "\(base)/login")
            #expect(login.output.contains("; Secure"))
            #expect(login.output.contains(#""encrypted":true"#))
            let old = try await run(
                "curl", "-sS", "--max-time", "40", "--cacert", trust, "--tls-max", "1.2", "\(base)/health")
            #expect(old.status == 35, "the handshake fails")
            let stranger = try await run("curl", "-sS", "--max-time", "40", "\(base)/health")
            #expect(stranger.status == 60, "curl does not know the certificate")
        }
    }

    @Test("an event stream works over TLS, and a client that never finishes its handshake is closed")
    func streamAndStall() async throws {
        var limits = WebLimits()
        limits.headTime = .milliseconds(1200)
        limits.streamHeartbeat = .milliseconds(300)
        try await withServer(clusterWithToken(), limits: limits, identity: try await identity()) { server, address in
            guard case .tcp(let endpoint) = address else { return }
            let events = try await run(
                "curl", "-sSkN", "--max-time", "2", "-H", "Authorization: Bearer secret", "-H",
                "Accept: text/event-stream", "https://127.0.0.1:\(endpoint.port)/v1/events?since=1")
            #expect(events.output.contains("id: 2\n") && events.output.contains("id: 3\n"))
            let lasted = try await blocking {
                let connection = try RawConnection(to: address)
                try connection.send([0x16, 0x03, 0x01, 0x02])
                let start = SystemClock.now
                _ = try connection.receive()
                return SystemClock.now - start
            }
            #expect(lasted < .seconds(12))
            try await waitUntil { server.openConnections == 0 }
        }
    }

    @Test("what is no certificate, or not its key, is refused at the start with the reason")
    func unusable() async throws {
        let good = try await identity()
        let other = try await identity()
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        for bad in [
            WebServer.Identity(certificate: "nonsense", key: good.key),
            WebServer.Identity(certificate: good.certificate, key: "nonsense"),
            WebServer.Identity(certificate: good.certificate, key: other.key),
        ] {
            let server = WebServer(
                service: FakeCluster(),
                configuration: .init(listen: [.tcp(Endpoint(loopback, port: 0))], identity: bad), loop: loop)
            let error = #expect(throws: WebError.self) { try server.start() }
            guard case .certificate(let reason)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(!reason.isEmpty && !reason.contains("PRIVATE"))
        }
    }
}
