import COpenSSL

/// One X25519 key pair for one handshake (RFC 7748). Thrown away afterwards, so that a key stolen later opens nothing
/// that was recorded.
package struct EphemeralKey: ~Copyable {
    package static let size = 32
    private let key: OpaquePointer
    package let publicKey: [UInt8]

    package init() {
        guard let key = generateX25519() else { preconditionFailure("OpenSSL has no X25519") }
        publicKey = rawPublicKey(of: key)
        self.key = key
    }
    deinit { EVP_PKEY_free(key) }

    /// What both sides can compute and nobody else; nil for a public key that is none (low order, wrong length).
    package borrowing func agree(with peer: some Collection<UInt8>) -> Secret? {
        let bytes = Array(peer)
        guard bytes.count == Self.size,
            let other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nil, bytes, bytes.count)
        else { return nil }
        defer { EVP_PKEY_free(other) }
        guard let context = EVP_PKEY_CTX_new(key, nil) else { return nil }
        defer { EVP_PKEY_CTX_free(context) }
        var shared = [UInt8](repeating: 0, count: Self.size)
        defer { shared.wipe() }
        var count = shared.count
        guard EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, other) == 1,
            EVP_PKEY_derive(context, &shared, &count) == 1, count == Self.size
        else {
            ERR_clear_error()
            return nil
        }
        return Secret(shared)
    }
}

private func generateX25519() -> OpaquePointer? {
    guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, nil) else { return nil }
    defer { EVP_PKEY_CTX_free(context) }
    var key: OpaquePointer?
    guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_keygen(context, &key) == 1 else { return nil }
    return key
}

/// The 32 bytes of an Ed25519 or X25519 public key.
func rawPublicKey(of key: OpaquePointer) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 32)
    var count = bytes.count
    precondition(EVP_PKEY_get_raw_public_key(key, &bytes, &count) == 1 && count == 32, "not an Ed25519 or X25519 key")
    return bytes
}
