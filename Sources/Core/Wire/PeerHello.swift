package import Primitives

/// What a node says of itself in a handshake, after it proved the cluster key.
package struct PeerHello: Equatable, Sendable {
    /// A hash of the key that signs the handshake: checked there, so that nobody speaks in another's name.
    package var id: NodeID
    /// The boot counter: a node that restarts comes with a higher one.
    package var generation: UInt32
    package var incarnation: UInt32
    package var name: NodeName
    /// Where it takes datagrams and streams, the preferred one first.
    package var addresses: [Endpoint]
    /// Bramble's version there.
    package var software: String
    /// The generation in which its identity was made.
    package var birth: UInt32
    /// It votes, and neither runs services nor has the database.
    package var isWitness: Bool

    package static let maximumAddresses = 8
    package static let maximumSoftware = 64
    /// Encoded, with room for what later versions append.
    package static let maximumSize = 600

    package init(
        id: NodeID, generation: UInt32, incarnation: UInt32, name: NodeName, addresses: [Endpoint], software: String,
        birth: UInt32, isWitness: Bool = false
    ) {
        self.id = id
        self.generation = generation
        self.incarnation = incarnation
        self.name = name
        self.addresses = addresses
        self.software = software
        self.birth = birth
        self.isWitness = isWitness
    }

    /// Sends at most as many addresses, and as long a version, as the reader takes.
    package var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.nodeID(id)
        writer.integer(generation)
        writer.integer(incarnation)
        writer.nodeName(name)
        writer.list(addresses.prefix(Self.maximumAddresses)) { $0.endpoint($1) }
        writer.text(String(decoding: software.utf8.prefix(Self.maximumSoftware).filter { $0 < 128 }, as: UTF8.self))
        writer.integer(birth)
        if isWitness { writer.integer(UInt8(1)) }
        return writer.bytes
    }

    /// Fields that a later version appends are skipped, so that versions can be mixed while a cluster is upgraded.
    package init(encoded bytes: some Collection<UInt8>) throws(ByteReader.Failure) {
        var reader = ByteReader(Array(bytes))
        id = try reader.nodeID()
        generation = try reader.integer()
        incarnation = try reader.integer()
        name = try reader.nodeName()
        addresses = try reader.list(limit: Self.maximumAddresses) { reader throws(ByteReader.Failure) in
            try reader.endpoint()
        }
        software = try reader.text(limit: Self.maximumSoftware)
        birth = try reader.integer()
        isWitness = reader.remaining > 0 ? try reader.integer(UInt8.self) == 1 : false
    }
}
