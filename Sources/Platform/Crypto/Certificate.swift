import COpenSSL
package import Primitives

/// A certificate and its private key, both PEM, as a web server takes them.
package struct CertificatePair: Sendable {
    package let certificate: [UInt8]
    package let privateKey: Secret

    /// For `tls: self`: what browsers accept after asking the user once. ECDSA on P-256, because browsers do not take
    /// Ed25519; 825 days, because some refuse more.
    ///
    /// - Parameter names: host names and addresses the certificate is for; what is neither is left out.
    /// - Parameter now: the wall clock, seconds since 1970. A day is allowed for clocks that differ.
    package static func selfSigned(names: [String], addresses: [IPAddress], now: Int64, days: Int64 = 825)
        -> CertificatePair
    {
        guard let key = copenssl_generate_p256() else { preconditionFailure("OpenSSL has no P-256") }
        defer { EVP_PKEY_free(key) }
        let hosts = names.filter { (1...253).contains($0.utf8.count) && $0.utf8.allSatisfy(isHostCharacter) }
        let subjects = hosts.prefix(64).map { "DNS:\($0)" } + addresses.prefix(64).map { "IP:\($0)" }
        let certificate = makeCertificate(
            key: key, commonName: String((hosts.first ?? "bramble").prefix(64)), validFrom: now - 86_400,
            validUntil: now + days * 86_400,
            extensions: [
                (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
                (NID_ext_key_usage, "serverAuth"),
            ] + (subjects.isEmpty ? [] : [(NID_subject_alt_name, subjects.joined(separator: ","))]),
            digest: EVP_sha256())
        defer { X509_free(certificate) }
        var pem = writePrivateKey(key)
        defer { pem.wipe() }
        return CertificatePair(
            certificate: readingOut { PEM_write_bio_X509($0, certificate) }, privateKey: Secret(pem))
    }

    private static func isHostCharacter(_ byte: UInt8) -> Bool {
        (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte) || byte == 45 || byte == 46
    }
}

extension Identity {
    /// The certificate of the node's streams: self-signed by its identity, the same text for every node, no name in it.
    /// Peers look at the key only, so it holds from 1970 to 9999: a Raspberry Pi has no clock chip.
    func makeStreamCertificate() -> OpaquePointer {
        makeCertificate(
            key: key, commonName: "bramble", validFrom: 0, validUntil: 253_402_300_799, extensions: [], digest: nil)
    }
}

/// A self-signed X.509 version 3 certificate; the caller frees it.
private func makeCertificate(
    key: OpaquePointer, commonName: String, validFrom: Int64, validUntil: Int64, extensions: [(Int32, String)],
    digest: OpaquePointer?
) -> OpaquePointer {
    guard let certificate = X509_new(), let name = X509_NAME_new(), let time = ASN1_TIME_new() else {
        preconditionFailure("out of memory")
    }
    defer {
        X509_NAME_free(name)
        ASN1_TIME_free(time)
    }
    var isMade = X509_set_version(certificate, 2) == 1
    // 63 random bits, never negative.
    isMade = ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), RandomBytes.integer() >> 1) == 1 && isMade
    isMade = ASN1_TIME_set(time, Int(validFrom)) != nil && X509_set1_notBefore(certificate, time) == 1 && isMade
    isMade = ASN1_TIME_set(time, Int(validUntil)) != nil && X509_set1_notAfter(certificate, time) == 1 && isMade
    isMade = X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, commonName, -1, -1, 0) == 1 && isMade
    isMade = X509_set_subject_name(certificate, name) == 1 && isMade
    isMade = X509_set_issuer_name(certificate, name) == 1 && isMade
    isMade = X509_set_pubkey(certificate, key) == 1 && isMade
    var context = X509V3_CTX()
    X509V3_set_ctx(&context, certificate, certificate, nil, nil, 0)
    for (number, value) in extensions {
        guard let one = X509V3_EXT_conf_nid(nil, &context, number, value) else {
            preconditionFailure("OpenSSL refuses the certificate extension \(value)")
        }
        isMade = X509_add_ext(certificate, one, -1) == 1 && isMade
        X509_EXTENSION_free(one)
    }
    isMade = X509_sign(certificate, key, digest) > 0 && isMade
    precondition(isMade, "OpenSSL cannot make a certificate")
    return certificate
}
