import COpenSSL

/// ChaCha20-Poly1305 (RFC 8439) under one key, in one direction.
///
/// ChaCha20 because many small boards lack AES instructions. The context is kept and only the nonce is set anew: a new
/// context for each packet costs 40 % more. Not `Sendable`: it belongs to whoever owns the session.
package final class SealingKey {
    package static let keySize = 32
    /// How much longer the sealed form is than the plain one.
    package static let overhead = 16

    private let context: OpaquePointer
    private let isSealing: Bool

    private init(_ key: UnsafeBufferPointer<UInt8>, sealing: Bool) {
        precondition(key.count == Self.keySize, "a ChaCha20 key has 32 bytes")
        guard let context = EVP_CIPHER_CTX_new(),
            EVP_CipherInit_ex(context, EVP_chacha20_poly1305(), nil, key.baseAddress, nil, sealing ? 1 : 0) == 1
        else { preconditionFailure("OpenSSL has no ChaCha20-Poly1305") }
        self.context = context
        isSealing = sealing
    }
    deinit { EVP_CIPHER_CTX_free(context) }

    package static func sealing(with key: Secret) -> SealingKey { key.withBytes { SealingKey($0, sealing: true) } }
    package static func opening(with key: Secret) -> SealingKey { key.withBytes { SealingKey($0, sealing: false) } }

    /// `header` in the clear, then the sealed payload. The seal covers both.
    ///
    /// - Parameter counter: never the same twice under one key: two packets with one nonce give both away.
    /// - Parameter also: covered by the seal, but not sent; the receiver knows it from elsewhere.
    package func seal(_ payload: some Collection<UInt8>, counter: UInt64, header: [UInt8], also: [UInt8] = [])
        -> [UInt8]
    {
        precondition(isSealing)
        let size = header.count + payload.count + Self.overhead
        return [UInt8](unsafeUninitializedCapacity: size) { out, filled in
            _ = out.initialize(from: header)
            let body = out.baseAddress! + header.count
            _ = UnsafeMutableBufferPointer(start: body, count: payload.count).initialize(from: payload)
            setNonce(counter)
            var length: Int32 = 0
            cover(header)
            cover(also)
            let sealed =
                EVP_CipherUpdate(context, body, &length, body, Int32(payload.count)) == 1
                && EVP_CipherFinal_ex(context, body + payload.count, &length) == 1
                && copenssl_aead_get_tag(context, Int32(Self.overhead), body + payload.count) == 1
            precondition(sealed, "OpenSSL cannot seal")
            filled = size
        }
    }

    /// The payload of `sealed`; nil when it, the header or `also` is not exactly what was sealed.
    package func open(
        _ sealed: UnsafeRawBufferPointer, counter: UInt64, header: UnsafeRawBufferPointer, also: [UInt8] = []
    ) -> [UInt8]? {
        precondition(!isSealing)
        let count = sealed.count - Self.overhead
        guard count >= 0 else { return nil }
        var isGenuine = false
        let input = sealed.assumingMemoryBound(to: UInt8.self)
        let payload = [UInt8](unsafeUninitializedCapacity: max(count, 1)) { out, filled in
            setNonce(counter)
            var length: Int32 = 0
            let tag = UnsafeMutableRawPointer(mutating: sealed.baseAddress! + count)  // only read by OpenSSL
            cover(header.assumingMemoryBound(to: UInt8.self))
            cover(also)
            isGenuine =
                EVP_CipherUpdate(context, out.baseAddress, &length, input.baseAddress, Int32(count)) == 1
                && copenssl_aead_set_tag(context, Int32(Self.overhead), tag) == 1
                && EVP_CipherFinal_ex(context, out.baseAddress! + count, &length) == 1
            filled = isGenuine ? count : 0
        }
        return isGenuine ? payload : nil
    }

    package func open(_ sealed: [UInt8], counter: UInt64, header: [UInt8], also: [UInt8] = []) -> [UInt8]? {
        sealed.withUnsafeBytes { sealed in
            header.withUnsafeBytes { open(sealed, counter: counter, header: $0, also: also) }
        }
    }

    /// 4 zero bytes, then the counter: keys live for one session, so that no two sessions share a nonce.
    private func setNonce(_ counter: UInt64) {
        var nonce: (UInt32, UInt32, UInt32) = (
            0, UInt32(truncatingIfNeeded: counter >> 32).bigEndian, UInt32(truncatingIfNeeded: counter).bigEndian
        )
        withUnsafeBytes(of: &nonce) { bytes in
            let start = bytes.assumingMemoryBound(to: UInt8.self).baseAddress
            precondition(EVP_CipherInit_ex(context, nil, nil, nil, start, -1) == 1, "OpenSSL refuses a nonce")
        }
    }
    private func cover(_ associated: some Collection<UInt8>) {
        guard !associated.isEmpty else { return }
        var length: Int32 = 0
        let code = associated.withContiguousStorageIfAvailable {
            EVP_CipherUpdate(context, nil, &length, $0.baseAddress, Int32($0.count))
        }
        precondition(code == 1, "OpenSSL refuses associated data")
    }
}
