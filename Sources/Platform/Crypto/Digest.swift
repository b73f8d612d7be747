import COpenSSL

/// SHA-256 of FIPS 180-4.
package enum SHA256 {
    package static let size = 32

    package static func hash(_ bytes: some Collection<UInt8>) -> [UInt8] {
        if let digest = bytes.withContiguousStorageIfAvailable(hash(buffer:)) { return digest }
        return Array(bytes).withUnsafeBufferPointer(hash(buffer:))
    }

    private static func hash(buffer: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: size) { out, filled in
            let code = EVP_Digest(buffer.baseAddress, buffer.count, out.baseAddress, nil, EVP_sha256(), nil)
            precondition(code == 1, "OpenSSL has no SHA-256")
            filled = size
        }
    }
}

/// HMAC-SHA256 of RFC 2104.
package enum MAC {
    package static func sha256(_ message: [UInt8], key: Secret) -> [UInt8] {
        key.withBytes { key in
            [UInt8](unsafeUninitializedCapacity: SHA256.size) { out, filled in
                let result = HMAC(
                    EVP_sha256(), key.baseAddress, Int32(key.count), message, message.count, out.baseAddress, nil)
                precondition(result != nil, "OpenSSL has no HMAC-SHA256")
                filled = SHA256.size
            }
        }
    }
}

/// HKDF-SHA256 of RFC 5869: any number of independent keys from one secret.
package enum KeyDerivation {
    /// - Parameter info: what the key is for. A different text gives an unrelated key.
    package static func derive(_ count: Int, from secret: Secret, salt: Secret, info: [UInt8]) -> Secret {
        var out = [UInt8](repeating: 0, count: count)
        defer { out.wipe() }
        let code = secret.withBytes { secret in
            salt.withBytes { salt in
                copenssl_hkdf_sha256(
                    secret.baseAddress, secret.count, salt.baseAddress, salt.count, info, info.count, &out, count)
            }
        }
        precondition(code == 1, "OpenSSL has no HKDF-SHA256")
        return Secret(out)
    }
}
