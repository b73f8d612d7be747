package import Primitives

/// Numbers every attempt to get or renew a lease; higher ones win. Unique: no two nodes share one, and a node that
/// restarts comes with a higher generation, which is on disk before its first packet.
package struct Ballot: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var counter: UInt64
    package var generation: UInt32
    package var node: NodeID

    package init(counter: UInt64, generation: UInt32, node: NodeID) {
        self.counter = counter
        self.generation = generation
        self.node = node
    }
    package static func < (left: Ballot, right: Ballot) -> Bool {
        if left.counter != right.counter { return left.counter < right.counter }
        if left.generation != right.generation { return left.generation < right.generation }
        return left.node < right.node
    }
    package var description: String { "\(counter).\(generation).\(node.code)" }
}

/// One term of one holder, as voters store it: about 100 bytes with the name.
package struct LeaseGrant: Hashable, Sendable {
    /// Of the attempt that got it; it says who holds it, and in which life.
    package var ballot: Ballot
    package var epoch: Epoch

    package init(ballot: Ballot, epoch: Epoch) {
        self.ballot = ballot
        self.epoch = epoch
    }
    package var owner: NodeID { ballot.node }
    package var generation: UInt32 { ballot.generation }
    /// The same holder in the same life.
    package func isOwned(like other: Ballot) -> Bool {
        ballot.node == other.node && ballot.generation == other.generation
    }
}

/// Who votes. Numbered; changed by the vote of the old ones, one voter at a time.
package struct VoterConfig: Hashable, Sendable {
    /// Which founding these come from. Two halves of one cluster that met nobody each founded their own; when they
    /// meet, one of them gives way.
    package var lineage: UInt64
    /// 1 for the first; 0 stands for “none yet”.
    package var number: UInt64
    /// Sorted.
    package var nodes: [NodeID]
    /// One of `nodes` that only votes.
    package var witness: NodeID?

    package init(lineage: UInt64, number: UInt64, nodes: [NodeID], witness: NodeID? = nil) {
        self.lineage = lineage
        self.number = number
        self.nodes = nodes.sorted()
        self.witness = witness
    }
    package static let none = VoterConfig(lineage: 0, number: 0, nodes: [])
    package var version: VoterVersion { VoterVersion(lineage: lineage, number: number) }
    /// More voters add traffic and no safety.
    package static let maximumVoters = 5

    package var quorum: Int { nodes.count / 2 + 1 }
    package func contains(_ node: NodeID) -> Bool { nodes.contains(node) }
    /// Two nodes and nobody to break the tie: a quorum of both would die with either.
    package var isPair: Bool { nodes.count == 2 && witness == nil }
    package var guarantee: Guarantee { witness != nil && nodes.count == 3 ? .witness : .majority }
}

/// What has to survive a restart. Small: it is written whole, once for each change of holder, never for a renewal.
package struct LeaseMemory: Equatable, Sendable {
    /// The highest epoch that this node voted for, held or heard of.
    package var epochs: [LeaseName: EpochMark] = [:]
    /// The longest time for which this node kept others out of a lease: a restart is followed by as long a silence.
    /// Unit: milliseconds.
    package var exclusion: UInt32 = 0
    package var voters = VoterConfig.none
    /// Those before, whose majority has to have given way before the next change.
    package var formerVoters = VoterConfig.none
    /// This node's part in deciding about the next voters.
    package var promised: Ballot?
    package var accepted: AcceptedVoters?
    /// The other of two has been down since this node last acted: nobody else can have newer data, so it may start
    /// without the other.
    package var isAlone = false

    package init() {}

    package struct AcceptedVoters: Equatable, Sendable {
        package var ballot: Ballot
        package var config: VoterConfig
        package init(ballot: Ballot, config: VoterConfig) {
            self.ballot = ballot
            self.config = config
        }
    }
    package static let maximumLeases = 256
}
