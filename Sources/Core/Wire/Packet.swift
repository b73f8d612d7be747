/// What a datagram between nodes looks like from outside, before any key is tried: docs/protocol/transport.md has the table.
///
/// Every field here is visible to anybody on the network. The cluster tag is the only one that says whose it is.
package enum Packet: Equatable, Sendable {
    /// “Is a node of my cluster there?” Says nothing else, and is as long as its answer, so that it amplifies nothing.
    case knock(tag: UInt64, sender: UInt32, salt: Salt, sealed: ArraySlice<UInt8>)
    /// “Yes; show that you are where you say you are, now.” Made without keeping any state.
    case challenge(receiver: UInt32, salt: Salt, sealed: ArraySlice<UInt8>)
    /// Identity and ephemeral key of whoever knocked.
    case hello(tag: UInt64, sender: UInt32, salt: Salt, sealed: ArraySlice<UInt8>)
    /// Identity and ephemeral key of whoever was knocked at.
    case reply(receiver: UInt32, salt: Salt, sealed: ArraySlice<UInt8>)
    /// Why there is no reply, or no session after the reply: signed.
    case verdict(receiver: UInt32, salt: Salt, sealed: ArraySlice<UInt8>)
    /// Everything after the handshake.
    case data(receiver: UInt32, counter: UInt64, sealed: ArraySlice<UInt8>)

    package enum Failure: Error, Equatable, Sendable { case junk, truncated, oversized }

    /// 16 random bytes that make the key of one handshake packet.
    package typealias Salt = ArraySlice<UInt8>
    package static let saltSize = 16

    /// The first byte of every datagram; the second is the format's version (high half) and the kind (low half).
    package static let magic: UInt8 = 0xB7
    package static let version: UInt8 = 1

    package enum Kind: UInt8, CaseIterable, Sendable {
        case knock = 1, challenge, hello, reply, verdict, data
        package var secondByte: UInt8 { Packet.version << 4 | rawValue }
    }

    /// What fits every network we run on: Ethernet's 1,500 bytes less IPv6, UDP and room for a tunnel.
    package static let maximumSize = 1_400
    /// Poly1305's tag at the end of everything sealed.
    package static let sealSize = 16
    package static let dataHeaderSize = 2 + 4 + 8
    /// The largest payload of one datagram.
    package static let maximumPayload = maximumSize - dataHeaderSize - sealSize
    package static let cookieSize = 16
    /// A challenge: header, salt, cookie, seal. A knock is padded to the same.
    package static let challengeSize = 2 + 4 + saltSize + cookieSize + sealSize
    package static let knockPadding = challengeSize - (2 + 8 + 4 + saltSize + sealSize)

    package var kind: Kind {
        switch self {
        case .knock: .knock
        case .challenge: .challenge
        case .hello: .hello
        case .reply: .reply
        case .verdict: .verdict
        case .data: .data
        }
    }

    package init(parsing bytes: [UInt8]) throws(Failure) {
        guard bytes.count <= Self.maximumSize else { throw .oversized }
        guard bytes.first == Self.magic else { throw .junk }
        guard bytes.count >= 2 else { throw .truncated }
        guard bytes[1] >> 4 == Self.version, let kind = Kind(rawValue: bytes[1] & 15) else { throw .junk }
        var reader = ByteReader(bytes.dropFirst(2))
        do {
            switch kind {
            case .knock, .hello:
                let tag = try reader.integer(UInt64.self)
                let sender = try reader.integer(UInt32.self)
                let salt = try reader.take(Self.saltSize)
                let sealed = try Self.sealed(&reader)
                self =
                    kind == .knock
                    ? .knock(tag: tag, sender: sender, salt: salt, sealed: sealed)
                    : .hello(tag: tag, sender: sender, salt: salt, sealed: sealed)
            case .challenge, .reply, .verdict:
                let receiver = try reader.integer(UInt32.self)
                let salt = try reader.take(Self.saltSize)
                let sealed = try Self.sealed(&reader)
                switch kind {
                case .challenge: self = .challenge(receiver: receiver, salt: salt, sealed: sealed)
                case .reply: self = .reply(receiver: receiver, salt: salt, sealed: sealed)
                default: self = .verdict(receiver: receiver, salt: salt, sealed: sealed)
                }
            case .data:
                let receiver = try reader.integer(UInt32.self)
                let counter = try reader.integer(UInt64.self)
                self = .data(receiver: receiver, counter: counter, sealed: try Self.sealed(&reader))
            }
        } catch { throw .truncated }
        if kind == .knock, bytes.count != Self.challengeSize { throw .truncated }
    }

    private static func sealed(_ reader: inout ByteReader) throws(ByteReader.Failure) -> ArraySlice<UInt8> {
        guard reader.remaining >= sealSize else { throw .truncated }
        return try reader.take(reader.remaining)
    }

    // MARK: Headers, in the clear in front of what is sealed

    package static func header(_ kind: Kind, tag: UInt64, sender: UInt32, salt: some Collection<UInt8>) -> [UInt8] {
        var writer = ByteWriter(reserving: 32)
        writer.raw([magic, kind.secondByte])
        writer.integer(tag)
        writer.integer(sender)
        writer.raw(salt)
        return writer.bytes
    }
    package static func header(_ kind: Kind, receiver: UInt32, salt: some Collection<UInt8>) -> [UInt8] {
        var writer = ByteWriter(reserving: 24)
        writer.raw([magic, kind.secondByte])
        writer.integer(receiver)
        writer.raw(salt)
        return writer.bytes
    }
    package static func dataHeader(receiver: UInt32, counter: UInt64) -> [UInt8] {
        var writer = ByteWriter(reserving: dataHeaderSize)
        writer.raw([magic, Kind.data.secondByte])
        writer.integer(receiver)
        writer.integer(counter)
        return writer.bytes
    }
}

/// What a hello and a reply carry under their seal. `signature` covers `signedPart` and what both sides know besides.
package struct HandshakeBody: Equatable, Sendable {
    /// In a hello: the salt of the knock and the cookie of the challenge. In a reply: the sender's session index.
    package var proof: [UInt8]
    /// X25519.
    package var ephemeral: [UInt8]
    /// Ed25519.
    package var identity: [UInt8]
    package var hello: PeerHello
    package private(set) var signedPart: [UInt8]
    package var signature: [UInt8]

    package static let helloProofSize = Packet.saltSize + Packet.cookieSize
    package static let replyProofSize = 4

    package init(proof: [UInt8], ephemeral: [UInt8], identity: [UInt8], hello: PeerHello) {
        self.proof = proof
        self.ephemeral = ephemeral
        self.identity = identity
        self.hello = hello
        signature = []
        var writer = ByteWriter(reserving: 512)
        writer.raw(proof)
        writer.raw(ephemeral)
        writer.raw(identity)
        writer.blob(hello.encoded)
        signedPart = writer.bytes
    }

    package var encoded: [UInt8] { signedPart + signature }

    package init(encoded bytes: [UInt8], proofSize: Int) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        proof = Array(try reader.take(proofSize))
        ephemeral = Array(try reader.take(32))
        identity = Array(try reader.take(32))
        hello = try PeerHello(encoded: try reader.blob(limit: PeerHello.maximumSize))
        signedPart = Array(bytes.prefix(bytes.count - reader.remaining))
        signature = Array(try reader.take(64))
        try reader.finish()
    }
}

/// Why a handshake ends without a session, under the signature of whoever decided it.
package struct HandshakeVerdict: Equatable, Sendable {
    package enum Reason: UInt8, CaseIterable, Sendable {
        /// This identity was removed from the cluster.
        case removed = 1
        /// The cluster key is an older one, and the identity is not that of a member.
        case oldKey = 2
        /// An operator has to say yes first.
        case needsApproval = 3
    }
    package var reason: Reason
    package var identity: [UInt8]
    package var signature: [UInt8]

    package init(reason: Reason, identity: [UInt8], signature: [UInt8]) {
        self.reason = reason
        self.identity = identity
        self.signature = signature
    }

    package var encoded: [UInt8] { [reason.rawValue] + identity + signature }

    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        guard let reason = Reason(rawValue: try reader.integer()) else { throw .malformed }
        self.reason = reason
        identity = Array(try reader.take(32))
        signature = Array(try reader.take(64))
        try reader.finish()
    }
}
