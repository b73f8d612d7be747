package import Primitives

/// Which telling of a node's story is newer. The generation is a boot counter the node persists before its first packet;
/// the incarnation is raised by the node itself, and by nobody else, to refute what others say of it.
package struct MemberVersion: Hashable, Comparable, Sendable {
    package var generation: UInt32
    package var incarnation: UInt32

    package init(generation: UInt32, incarnation: UInt32) {
        self.generation = generation
        self.incarnation = incarnation
    }
    package static func < (left: MemberVersion, right: MemberVersion) -> Bool {
        left.generation != right.generation
            ? left.generation < right.generation : left.incarnation < right.incarnation
    }
}

/// What is claimed of a node at one version. At equal versions the higher rank wins; `removed` wins at any version.
package enum MemberRank: UInt8, Comparable, CaseIterable, Sendable {
    case alive = 0, suspect = 1, failed = 2, left = 3, removed = 4
    package static func < (a: MemberRank, b: MemberRank) -> Bool { a.rawValue < b.rawValue }
}

/// What a node says of itself: only it changes these, together with its incarnation.
package struct MemberProfile: Equatable, Sendable {
    package var name: NodeName
    /// Where it takes datagrams and streams, the preferred one first. At most 8.
    package var addresses: [Endpoint]
    /// Bramble's version there, at most 32 bytes.
    package var software: String
    /// The generation in which its identity was made. Of two nodes with one name the later born gets a suffix.
    package var birth: UInt32
    package var role: Role

    /// What a member is there for.
    package enum Role: UInt8, CaseIterable, Sendable {
        /// It runs services and has the database.
        case node
        /// It votes, and has neither.
        case witness
    }

    package static let maximumAddresses = 8
    package static let maximumSoftware = 32

    package init(name: NodeName, addresses: [Endpoint], software: String, birth: UInt32, role: Role = .node) {
        self.name = name
        self.addresses = addresses
        self.software = software
        self.birth = birth
        self.role = role
    }
}

/// One line of the member list, as it is kept, gossiped and persisted.
package struct MemberRecord: Equatable, Sendable, Identifiable {
    package let id: NodeID
    package var version: MemberVersion
    package var rank: MemberRank
    package var profile: MemberProfile

    package init(id: NodeID, version: MemberVersion, rank: MemberRank, profile: MemberProfile) {
        self.id = id
        self.version = version
        self.rank = rank
        self.profile = profile
    }
}
