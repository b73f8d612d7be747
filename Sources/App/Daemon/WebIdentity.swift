import Crypto
import Glibc
import Logging
import Machine
import Primitives
import Reactor
import Web

/// The certificate that the dashboard shows to browsers.
enum WebIdentity {
    static func load(_ configuration: Configuration, _ home: Home) throws -> WebServer.Identity? {
        switch configuration.tls {
        case .off: return nil
        case .own: return try own(configuration, home)
        case .files(let certificate, let key):
            return WebServer.Identity(certificate: try text(certificate), key: try text(key))
        }
    }

    /// The node's own: made at first use, for its name and addresses, and kept, so that browsers ask once.
    private static func own(_ configuration: Configuration, _ home: Home) throws -> WebServer.Identity {
        do throws(DataDirectoryError) {
            if let stored = try home.directory.read(.webIdentity), let pair = split(stored) { return pair }
        } catch {
            Log.warning("\(error.problem). \(error.remedy)")
        }
        let pair = CertificatePair.selfSigned(
            names: [configuration.name.description, "localhost"], addresses: configuration.addresses,
            now: SystemClock.wallNanoseconds / 1_000_000_000)
        let stored = pair.certificate + pair.privateKey.withBytes { Array($0) }
        try home.directory.write(stored, to: .webIdentity)
        guard let identity = split(stored) else { throw WebError.certificate(reason: "it could not be made") }
        return identity
    }

    /// One file: the certificate, then the key.
    private static func split(_ bytes: [UInt8]) -> WebServer.Identity? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.firstRange(of: "-----END CERTIFICATE-----\n")?.upperBound else { return nil }
        return WebServer.Identity(certificate: String(text[..<end]), key: String(text[end...]))
    }

    private static func text(_ path: String) throws -> String {
        do throws(SystemError) {
            guard let bytes = try AtomicFile.read(path, limit: 256 * 1024) else { throw SystemError(code: ENOENT) }
            return String(decoding: bytes, as: UTF8.self)
        } catch {
            throw WebError.certificate(reason: "\(path): \(error)")
        }
    }
}
