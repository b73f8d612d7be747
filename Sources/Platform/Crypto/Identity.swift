import COpenSSL
package import Primitives

/// A node's key pair (Ed25519, RFC 8032), made at its first start. Its NodeID is a hash of the public half.
///
/// Signing takes about 60 µs, verifying 140 µs: once per handshake, never per datagram.
package final class Identity: Sendable, CustomStringConvertible {
    package let id: NodeID
    package let publicKey: PublicKey
    /// OpenSSL's reference count is atomic, and a key that is only used to sign is not changed.
    nonisolated(unsafe) let key: OpaquePointer

    private init(owning key: OpaquePointer) {
        self.key = key
        publicKey = PublicKey(raw: rawPublicKey(of: key))!
        id = publicKey.id
    }
    deinit { EVP_PKEY_free(key) }

    package static func generate() -> Identity {
        guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nil) else {
            preconditionFailure("OpenSSL has no Ed25519")
        }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_keygen(context, &key) == 1, let key else {
            preconditionFailure("OpenSSL cannot make an Ed25519 key")
        }
        return Identity(owning: key)
    }

    package func sign(_ message: [UInt8]) -> [UInt8] {
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("out of memory") }
        defer { EVP_MD_CTX_free(context) }
        var signature = [UInt8](repeating: 0, count: PublicKey.signatureSize)
        var count = signature.count
        let isSigned =
            EVP_DigestSignInit(context, nil, nil, nil, key) == 1
            && EVP_DigestSign(context, &signature, &count, message, message.count) == 1
        precondition(isSigned && count == signature.count, "OpenSSL cannot sign")
        return signature
    }

    package var description: String { "identity \(id)" }

    // MARK: The file identity.key

    /// PKCS #8, as PEM. It is the private key: file mode 0600.
    package var pem: [UInt8] { writePrivateKey(key) }

    package convenience init(pem: [UInt8]) throws(IdentityError) {
        guard pem.count <= 4096 else { throw .notAKey }
        guard let key = readPrivateKey(pem) else { throw pem.allSatisfy({ $0 <= 32 }) ? .empty : .notAKey }
        guard EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 else {
            EVP_PKEY_free(key)
            throw .otherKind
        }
        self.init(owning: key)
    }
}

/// The public half of an identity.
package struct PublicKey: Hashable, Sendable {
    package static let size = 32
    package static let signatureSize = 64

    /// 32 bytes as in RFC 8032.
    package let raw: [UInt8]

    package init?(raw: some Collection<UInt8>) {
        guard raw.count == Self.size else { return nil }
        self.raw = Array(raw)
    }

    /// The first 16 bytes of the SHA-256 of the key as SubjectPublicKeyInfo (DER).
    package var id: NodeID { NodeID(bytes: SHA256.hash(Self.prefix + raw).prefix(16))! }

    /// What precedes the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo: a sequence of the algorithm 1.3.101.112
    /// and a bit string (RFC 8410 §4).
    private static let prefix: [UInt8] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00]

    package func isValid(signature: some Collection<UInt8>, of message: [UInt8]) -> Bool {
        guard signature.count == Self.signatureSize,
            let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, raw, raw.count)
        else { return false }
        defer { EVP_PKEY_free(key) }
        guard let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        let isValid =
            EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
            && EVP_DigestVerify(context, Array(signature), signature.count, message, message.count) == 1
        if !isValid { ERR_clear_error() }
        return isValid
    }
}

package enum IdentityError: OperatorError, Equatable {
    case empty, notAKey, otherKind

    package var problem: String {
        switch self {
        case .empty: "the file identity.key is empty"
        case .notAKey: "the file identity.key does not hold a private key"
        case .otherKind: "the key in identity.key is not of the kind Ed25519"
        }
    }
    package var remedy: String {
        "restore identity.key from a backup, or delete it: the node then joins under a new identity, and the old one "
            + "is removed with: bramble node remove NAME"
    }
}

// MARK: PEM

/// A private key as PKCS #8 PEM.
func writePrivateKey(_ key: OpaquePointer) -> [UInt8] {
    readingOut { PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
}

/// What a C function writes to a memory BIO.
func readingOut(_ write: (OpaquePointer) -> Int32) -> [UInt8] {
    guard let bio = BIO_new(BIO_s_secmem()) else { preconditionFailure("out of memory") }
    defer { BIO_free(bio) }
    precondition(write(bio) == 1, "OpenSSL cannot write a key or certificate")
    var start: UnsafeMutablePointer<CChar>?
    let count = copenssl_bio_contents(bio, &start)
    return start.map { Array(UnsafeRawBufferPointer(start: $0, count: count)) } ?? []
}

/// The first private key in PEM text. Never asks for a passphrase: a daemon has nobody to ask.
private func readPrivateKey(_ pem: [UInt8]) -> OpaquePointer? {
    guard let bio = BIO_new_mem_buf(pem, Int32(pem.count)) else { return nil }
    defer { BIO_free(bio) }
    let key = PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil)
    if key == nil { ERR_clear_error() }
    return key
}
