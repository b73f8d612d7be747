import FoundationEssentials
import Logging

/// A node's key pair on disk, and the hardware it is bound to.
package struct StoredIdentity: Equatable, Sendable, CustomStringConvertible {
    /// The private key, in whatever form the cryptography writes it.
    package var privateKey: [UInt8]
    /// The generation in which the identity was made: of two nodes with one name, the later born yields.
    package var birth: UInt32
    package var hardware: HardwareFingerprint

    package init(privateKey: [UInt8], birth: UInt32, hardware: HardwareFingerprint) {
        self.privateKey = privateKey
        self.birth = birth
        self.hardware = hardware
    }
    /// Not the key.
    package var description: String { "an identity born in \(birth)" }
}

extension DataDirectory {
    package enum IdentityState: Equatable, Sendable {
        case kept(StoredIdentity)
        /// A first start, or the file was damaged and is set aside.
        case none
        /// The directory was copied here from another machine: a new identity is to be made. The reason is for the log.
        case fromOtherMachine(reason: String)
    }

    /// The identity, if it was made on this hardware. Small changes of the hardware are written down.
    package func identity(on current: HardwareFingerprint) throws(DataDirectoryError) -> IdentityState {
        let content: [UInt8]?
        do throws(DataDirectoryError) {
            content = try read(.identityKey)
        } catch {
            guard case .damaged = error else { throw error }
            Log.warning("\(error.problem); \(error.remedy)")
            return .none
        }
        guard let content else { return .none }
        guard let stored = try? JSONDecoder().decode(Content.self, from: Data(content)),
            let key = Data(base64Encoded: stored.privateKey)
        else {
            let error = try setAside(.identityKey)
            Log.warning("\(error.problem); \(error.remedy)")
            return .none
        }
        var identity = StoredIdentity(privateKey: Array(key), birth: stored.birth, hardware: stored.hardware)
        if let reason = identity.hardware.reasonForOtherMachine(than: current) {
            return .fromOtherMachine(reason: reason)
        }
        let updated = identity.hardware.updated(by: current)
        if updated != identity.hardware {
            identity.hardware = updated
            // Not worth failing a start for: the old facts still match.
            do throws(DataDirectoryError) { try store(identity) } catch { Log.warning(error.problem) }
        }
        return .kept(identity)
    }

    package func store(_ identity: StoredIdentity) throws(DataDirectoryError) {
        let file = Content(
            privateKey: Data(identity.privateKey).base64EncodedString(), birth: identity.birth,
            hardware: identity.hardware)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let content = try? encoder.encode(file) else { preconditionFailure("plain values always encode") }
        try write(Array(content), to: .identityKey)
    }

    private struct Content: Codable {
        var privateKey: String
        var birth: UInt32
        var hardware: HardwareFingerprint
    }
}
