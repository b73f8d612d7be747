package import Primitives

/// What databases say to each other, over streams. docs/protocol/database.md has the table.
package enum ReplicationMessage: Equatable, Sendable {
    /// "This is what I have." Sent when a peer comes up, when hashes differ, and as an answer.
    case state(ReplicaState, wantsReply: Bool)
    /// Records right after their commit, or those of an answer to a pull. Unless somebody waits for them to be on
    /// another disk (`isAwaited`), the receiver may sync them a little later, with others that come.
    case records([LogRecord], epoch: DatabaseEpoch, answer: PullAnswer?, isAwaited: Bool = true)
    /// "Send me what follows these, in this order, about so many bytes."
    case pull(number: UInt32, wants: [Want], budget: UInt32)
    /// "These are on my disk": to the node that wrote them, at once after the sync.
    case synced(epoch: DatabaseEpoch, [Want])
    /// How far all members are, as far as the sender knows. Passed on by everybody to whom something in it is news.
    case standings([Standing], epoch: DatabaseEpoch, wall: Int64)
    /// "Your log does not reach back far enough for me." With the number of one that was begun, to go on with it.
    case wantSnapshot(vector: VersionVector, epoch: DatabaseEpoch, resuming: UInt64)
    case offer(SnapshotOffer)
    /// Not now: busy with others, or the asker has something that is not here yet.
    case noSnapshot
    case wantChunk(snapshot: UInt64, offset: UInt64, count: UInt32)
    case chunk(snapshot: UInt64, offset: UInt64, bytes: [UInt8])
    /// The snapshot is not there any more.
    case gone(snapshot: UInt64)

    /// The answer has what is in the log or in the database.
    package var asksForRecords: Bool {
        switch self {
        case .pull, .wantSnapshot, .wantChunk: true
        default: false
        }
    }
}

package struct ReplicaState: Equatable, Sendable {
    package var epoch: DatabaseEpoch
    /// Under which it writes now.
    package var origin: Origin
    package var vector: VersionVector
    /// Its wall clock when this was sent. Unit: milliseconds since 1970.
    package var wall: Int64

    package init(epoch: DatabaseEpoch, origin: Origin, vector: VersionVector, wall: Int64) {
        self.epoch = epoch
        self.origin = origin
        self.vector = vector
        self.wall = wall
    }
}

/// An origin and a sequence number in it: all after it are wanted, or all up to it are had.
package struct Want: Equatable, Sendable {
    package var origin: Origin
    package var sequence: UInt64
    package init(_ origin: Origin, _ sequence: UInt64) {
        self.origin = origin
        self.sequence = sequence
    }
}

package struct PullAnswer: Equatable, Sendable {
    package var number: UInt32
    /// Something asked for was dropped from the log already: only a snapshot helps.
    package var isBelowFloor: Bool
    package init(number: UInt32, isBelowFloor: Bool) {
        self.number = number
        self.isBelowFloor = isBelowFloor
    }
}

/// What one member had on its disk at one moment: everything it knew then, never a part of it, because tombstones are
/// collected on the strength of it.
package struct Standing: Equatable, Sendable {
    package var node: NodeID
    package var life: WriterLife
    /// Grows with each that it tells in this life.
    package var number: UInt64
    /// A hash of the members it counted then.
    package var roster: UInt64
    /// A hash of the members' lives that it knew of before it synced.
    package var lives: UInt64
    package var synced: VersionVector
    package init(
        node: NodeID, life: WriterLife, number: UInt64, roster: UInt64, lives: UInt64, synced: VersionVector
    ) {
        self.node = node
        self.life = life
        self.number = number
        self.roster = roster
        self.lives = lives
        self.synced = synced
    }
    /// Whether it was told after the other one of the same node.
    func follows(_ other: Standing) -> Bool { (life.since, number) > (other.life.since, other.number) }
}

/// From one start of a node, or one change of its origin, to the next.
package struct WriterLife: Equatable, Sendable {
    /// Under which it writes.
    package var origin: Origin
    /// Later than that of each earlier life.
    package var since: HybridTime
    package init(origin: Origin, since: HybridTime) {
        self.origin = origin
        self.since = since
    }
}

package struct SnapshotOffer: Equatable, Sendable {
    /// By which it is asked for; never 0. The same for the same bytes.
    package var number: UInt64
    package var epoch: DatabaseEpoch
    /// What is in it.
    package var vector: VersionVector
    /// Unit: bytes.
    package var size: UInt64
    /// Over all bytes, as the storage computes it.
    package var checksum: UInt64
    package init(number: UInt64, epoch: DatabaseEpoch, vector: VersionVector, size: UInt64, checksum: UInt64) {
        self.number = number
        self.epoch = epoch
        self.vector = vector
        self.size = size
        self.checksum = checksum
    }
}
