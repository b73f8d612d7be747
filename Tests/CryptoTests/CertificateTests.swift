import Crypto
import Foundation
import Primitives
import Testing

@Suite("the certificate of “tls: self” is one that other programs take")
struct CertificateTests {
    @Test("openssl reads the names, the addresses and the purpose, and the key belongs to it")
    func readByOpenSSL() throws {
        let pair = CertificatePair.selfSigned(
            names: ["pi1", "pi1.local", "bad name, DNS:evil"],
            addresses: [IPAddress("192.168.1.5")!, IPAddress("fd00::5")!], now: 1_700_000_000)
        let folder = FileManager.default.temporaryDirectory.appending(path: "certificate-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (certificate, key) = (folder.appending(path: "c.pem").path, folder.appending(path: "k.pem").path)
        try Data(pair.certificate).write(to: URL(filePath: certificate))
        try pair.privateKey.withBytes { try Data($0).write(to: URL(filePath: key)) }

        let text = try openssl("x509", "-in", certificate, "-noout", "-text")
        #expect(text.contains("DNS:pi1, DNS:pi1.local, IP Address:192.168.1.5, IP Address:FD00:0:0:0:0:0:0:5"))
        #expect(text.contains("TLS Web Server Authentication"))
        #expect(text.contains("CA:FALSE"))
        #expect(!text.contains("evil"))
        #expect(text.contains("Not Before: Nov 13 22:13:20 2023 GMT"))
        #expect(text.contains("Not After : Feb 16 22:13:20 2026 GMT"))
        let publicKey = try openssl("pkey", "-in", key, "-pubout")
        #expect(try openssl("x509", "-in", certificate, "-noout", "-pubkey") == publicKey)
        #expect(try openssl("verify", "-no_check_time", "-CAfile", certificate, certificate).contains("OK"))
    }

    private func openssl(_ arguments: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: data, as: UTF8.self)
    }
}
