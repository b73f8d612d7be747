import COpenSSL
package import Primitives

/// What all TLS connections of a node share: its certificate and the rules. TLS 1.3 only, both sides show a certificate,
/// and what counts of it is its Ed25519 key: there is no authority that anybody would have to run.
package final class TLSContext: Sendable {
    package enum Side: Sendable { case client, server }

    /// Made once and only read afterwards; OpenSSL counts its references atomically.
    private nonisolated(unsafe) let context: OpaquePointer
    private let side: Side

    package init(identity: Identity, side: Side) {
        guard let context = SSL_CTX_new(side == .client ? TLS_client_method() : TLS_server_method()),
            copenssl_ssl_context_prepare(context) == 1
        else { preconditionFailure("OpenSSL has no TLS 1.3") }
        let certificate = identity.makeStreamCertificate()
        defer { X509_free(certificate) }
        // ChaCha20 first: many small boards have no AES instructions, and where there are some either outruns the network.
        let suites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
        let isReady =
            SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, identity.key) == 1
            && SSL_CTX_set_ciphersuites(context, suites) == 1
        precondition(isReady, "OpenSSL refuses the node's certificate")
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        SSL_CTX_set_cert_verify_callback(context, verifyPeer, nil)
        self.context = context
        self.side = side
    }
    deinit { SSL_CTX_free(context) }

    /// - Parameter admits: asked once, with the identity at the other end, before that learns anything of us that a
    ///   client keeps to itself.
    package func makeChannel(admits: @escaping (NodeID) -> Bool) -> TLSChannel {
        TLSChannel(context: context, side: side, admits: admits)
    }
}

/// One TLS connection without a socket: bytes of the network in and out, plain bytes out and in. Not `Sendable`: it
/// belongs to whoever owns the connection.
package final class TLSChannel {
    package enum State: Equatable, Sendable {
        case handshaking
        /// In TLS 1.3 a client gets here before the server has judged its certificate: only what the server then says
        /// shows that it was taken.
        case established(NodeID)
        case closed
        case failed(String)
    }
    private let ssl: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    fileprivate let admits: (NodeID) -> Bool
    /// Who showed a certificate, also when it was refused.
    package fileprivate(set) var presented: NodeID?
    /// It was refused by `admits`, not by the other side.
    package fileprivate(set) var hasRefused = false
    package private(set) var state = State.handshaking

    fileprivate init(context: OpaquePointer, side: TLSContext.Side, admits: @escaping (NodeID) -> Bool) {
        guard let ssl = SSL_new(context), let incoming = BIO_new(BIO_s_mem()), let outgoing = BIO_new(BIO_s_mem())
        else { preconditionFailure("out of memory") }
        SSL_set_bio(ssl, incoming, outgoing)  // it owns both from here on
        if side == .client { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
        self.ssl = ssl
        self.incoming = incoming
        self.outgoing = outgoing
        self.admits = admits
        copenssl_set_owner(ssl, Unmanaged.passUnretained(self).toOpaque())
    }
    deinit { SSL_free(ssl) }

    /// Takes bytes of the network and goes on with the handshake. Call `read` afterwards until it gives nothing.
    package func receive(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        let taken = BIO_write(incoming, bytes.baseAddress, Int32(bytes.count))
        precondition(taken == bytes.count, "out of memory")
        advance()
    }

    /// Begins, or goes on with, the handshake.
    package func advance() {
        guard state == .handshaking else { return }
        ERR_clear_error()
        let code = SSL_do_handshake(ssl)
        if code == 1 {
            if let presented { state = .established(presented) } else { state = .failed("no certificate") }
        } else {
            note(code)
        }
    }

    /// At most `limit` plain bytes; empty when there are none now, or none any more: see `state`.
    package func read(limit: Int = 65_536) -> [UInt8] {
        guard case .established = state else { return [] }
        var plain: [UInt8] = []
        // A record at a time: making room for all of `limit` for every small message cost more than the message.
        withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 16) { buffer in
            while plain.count < limit {
                ERR_clear_error()
                let count = SSL_read(ssl, buffer.baseAddress, Int32(min(buffer.count, limit - plain.count)))
                guard count > 0 else { return note(count) }
                plain.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
            }
        }
        return plain
    }

    /// Seals plain bytes; what comes out waits in `takeOutgoing`. The caller bounds how much it hands over at once.
    package func write(_ bytes: UnsafeRawBufferPointer) {
        guard case .established = state else { return }
        var rest = bytes
        while !rest.isEmpty {
            ERR_clear_error()
            let count = SSL_write(ssl, rest.baseAddress, Int32(min(rest.count, 1 << 20)))
            guard count > 0 else { return note(count) }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(Int(count)))
        }
    }

    /// Tells the other side that nothing more comes: a cut connection looks different.
    package func close() {
        guard case .established = state else { return }
        ERR_clear_error()
        _ = SSL_shutdown(ssl)
        state = .closed
    }

    /// Bytes for the network.
    package func takeOutgoing() -> [UInt8] {
        let count = copenssl_bio_pending(outgoing)
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = max(0, Int(BIO_read(outgoing, buffer.baseAddress, Int32(count))))
        }
    }

    private func note(_ code: Int32) {
        switch SSL_get_error(ssl, code) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        case SSL_ERROR_ZERO_RETURN: state = .closed
        default:
            let number = ERR_get_error()
            let reason = ERR_reason_error_string(number).map { String(cString: $0) } ?? "the connection was cut"
            state = .failed(reason)
            ERR_clear_error()
        }
    }
}

/// Replaces the building of certificate chains: only the key counts, and that the other side has its private half is
/// proved by the handshake itself.
private func verifyPeer(_ store: OpaquePointer?, _: UnsafeMutableRawPointer?) -> Int32 {
    guard let store, let ssl = copenssl_verifying_connection(store), let owner = copenssl_owner(ssl),
        let certificate = X509_STORE_CTX_get0_cert(store), let key = X509_get0_pubkey(certificate),
        EVP_PKEY_get_id(key) == EVP_PKEY_ED25519
    else { return 0 }
    let channel = Unmanaged<TLSChannel>.fromOpaque(owner).takeUnretainedValue()
    guard let publicKey = PublicKey(raw: rawPublicKey(of: key)) else { return 0 }
    channel.presented = publicKey.id
    channel.hasRefused = !channel.admits(publicKey.id)
    return channel.hasRefused ? 0 : 1
}
