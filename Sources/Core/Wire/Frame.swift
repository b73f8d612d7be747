package import Primitives

/// One message of a stream between nodes: 12 bytes of header, then the payload. docs/protocol/transport.md has the table.
package struct Frame: Equatable, Sendable {
    package enum Kind: UInt16, CaseIterable, Sendable {
        /// The first frame of each side: nobody is connected before it.
        case hello = 1
        /// A message of the node's core, too large or too important for a datagram.
        case core = 2
        /// The cluster key for a machine that waits to be invited.
        case invitation = 3
        /// What that machine says to it.
        case invitationAnswer = 4
        /// A message of the database's replication.
        case replication = 5
        /// What a tunnel is wanted for; the first frame after its hello.
        case tunnelRequest = 6
        /// Empty: it is open; else why not, for people.
        case tunnelAnswer = 7
        /// Bytes of whatever runs in the tunnel.
        case tunnelData = 8
        /// No more bytes in this direction.
        case tunnelEnd = 9
        /// How the sender's mirrors stand.
        case mirror = 10
        /// A question about the receiver's clock, or the answer.
        case clock = 11
        /// How the sender's part in the volumes stands, or a question about a volume that is to be made.
        case volume = 12
    }
    /// Kinds that this version does not know are kept as numbers, and skipped: a newer peer may send them.
    package var kind: UInt16
    /// Of the payload's format, counted for each kind.
    package var version: UInt8
    /// 0 for single messages. Other numbers are for what runs beside them on the same connection, each a stream of bytes
    /// with frames of its own.
    package var channel: UInt32
    package var payload: [UInt8]

    package static let headerSize = 12
    /// 1 MiB of payload.
    package static let maximumPayload = 1 << 20

    package init(_ kind: Kind, version: UInt8 = 1, channel: UInt32 = 0, payload: [UInt8]) {
        self.kind = kind.rawValue
        self.version = version
        self.channel = channel
        self.payload = payload
    }

    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: Self.headerSize + payload.count)
        writer.integer(UInt32(payload.count))
        writer.integer(kind)
        writer.integer(version)
        writer.integer(UInt8(0))  // flags: none yet, so that a set one can mean something later
        writer.integer(channel)
        writer.raw(payload)
        return writer.bytes
    }

    fileprivate init(kind: UInt16, version: UInt8, channel: UInt32, payload: [UInt8]) {
        self.kind = kind
        self.version = version
        self.channel = channel
        self.payload = payload
    }
}

/// Cuts a stream of bytes into frames, in whatever portions the bytes come.
package struct FrameReader: Sendable {
    package enum Failure: Error, Equatable, Sendable {
        /// Longer than allowed here.
        case tooLong(Int)
        /// A flag that this version does not know: what it means for the rest is unknown too.
        case unknownFlags(UInt8)
    }
    /// Small until the other side has said who it is.
    package var limit: Int
    private var buffer: [UInt8] = []
    private var start = 0

    package init(limit: Int = Frame.maximumPayload) { self.limit = limit }

    /// Bytes of a frame that is not complete yet.
    package var pending: Int { buffer.count - start }

    package mutating func append(_ bytes: some Sequence<UInt8>) { buffer.append(contentsOf: bytes) }

    /// The next whole frame; nil when more bytes are needed. After a failure the connection is of no more use.
    package mutating func next() throws(Failure) -> Frame? {
        guard pending >= Frame.headerSize else { return nil }
        var reader = ByteReader(buffer[start..<start + Frame.headerSize])
        guard let length = try? reader.integer(UInt32.self), let kind = try? reader.integer(UInt16.self),
            let version = try? reader.integer(UInt8.self), let flags = try? reader.integer(UInt8.self),
            let channel = try? reader.integer(UInt32.self)
        else { return nil }
        guard flags == 0 else { throw .unknownFlags(flags) }
        guard length <= limit else { throw .tooLong(Int(length)) }
        let end = start + Frame.headerSize + Int(length)
        guard end <= buffer.count else { return nil }
        let payload = Array(buffer[start + Frame.headerSize..<end])
        start = end
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: buffer.count <= 65_536)
            start = 0
        } else if start > 65_536 {
            buffer.removeFirst(start)
            start = 0
        }
        return Frame(kind: kind, version: version, channel: channel, payload: payload)
    }
}

/// The first frame on a stream, from both sides.
package struct StreamHello: Equatable, Sendable {
    package enum Role: UInt8, CaseIterable, Sendable {
        /// A node of the cluster.
        case member = 1
        /// A machine without a cluster key.
        case waiting = 2
        /// A member that came to invite.
        case inviter = 3
        /// A member that wants a tunnel: a connection of its own, so that a gigabyte does not hold up a message.
        case tunnel = 4
    }
    package var role: Role
    /// Bramble's version there.
    package var software: String

    package init(role: Role, software: String) {
        self.role = role
        self.software = software
    }
    package static let maximumSize = 256

    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 32)
        writer.integer(role.rawValue)
        writer.text(String(decoding: software.utf8.prefix(64).filter { $0 < 128 }, as: UTF8.self))
        return writer.bytes
    }
    /// Fields that a later version appends are skipped.
    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        guard let role = Role(rawValue: try reader.integer()) else { throw .malformed }
        self.role = role
        software = try reader.text(limit: 64)
    }
}

/// What makes a waiting machine a member.
package struct Invitation: Equatable, Sendable {
    /// The text of the cluster key, as in the file cluster.key.
    package var key: String
    /// Where members are, to be knocked at.
    package var members: [Endpoint]

    package static let maximumMembers = 64

    package init(key: String, members: [Endpoint]) {
        self.key = key
        self.members = members
    }
    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 512)
        writer.text(key)
        writer.list(members.prefix(Self.maximumMembers)) { $0.endpoint($1) }
        return writer.bytes
    }
    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        key = try reader.text(limit: 1_024)
        members = try reader.list(limit: Self.maximumMembers) { reader throws(ByteReader.Failure) in
            try reader.endpoint()
        }
    }
}

/// What a waiting machine says to an invitation.
package enum InvitationAnswer: UInt8, CaseIterable, Sendable {
    case accepted = 1
    /// Another invitation was accepted before.
    case tooLate = 2
    /// What came is no cluster key of a version known there.
    case unreadable = 3
    /// It could not be stored.
    case failed = 4
}
