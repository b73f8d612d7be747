package import Membership
package import Primitives

/// Everything that can happen to a node, from outside its core.
package enum NodeEvent: Sendable {
    /// A handshake was completed: this is who is at the other end, under which cluster key it proved itself.
    case sessionOpened(PeerIntroduction, path: Endpoint)
    /// A peer refused us, and proved that it is a member: we were removed.
    case refused(by: NodeID, removedAt: String)
    /// An opened datagram. `stamp` is the kernel's receive time on our clock.
    case received(bytes: [UInt8], from: NodeID, path: Endpoint, stamp: Instant)
    /// A frame of a stream.
    case receivedReliably(bytes: [UInt8], from: NodeID)
    /// Discovery or the operator names an address where a node of this cluster may be.
    case sighted(Endpoint)
    case addressesChanged([Endpoint])
    case network(isUp: Bool)
    case reachAnswered
    case load(LoadFacts)
    case command(NodeCommand)
}

/// What an operator asks of a node; the answer comes back as an effect with the same ticket.
package enum NodeCommand: Sendable {
    case setFact(key: String, value: [UInt8]?)
    case remove(NodeID)
    case approve(NodeID)
    case leave
}

/// What a peer proves and tells in a handshake.
package struct PeerIntroduction: Equatable, Sendable {
    package var record: MemberRecord
    /// The version of the cluster key it proved.
    package var keyVersion: UInt32

    package init(record: MemberRecord, keyVersion: UInt32) {
        self.record = record
        self.keyVersion = keyVersion
    }
}

/// Everything a node's core may ask of the machine, in the order decided.
package enum NodeEffect: Equatable, Sendable {
    /// Sealed by the transport for its receiver. Without a session it is dropped and a handshake is begun instead.
    case send([UInt8], to: NodeID, via: Endpoint)
    /// Over a stream, in order, bounded in size and queue.
    case sendReliably([UInt8], to: NodeID)
    /// Begin a handshake with whoever is there.
    case knock(Endpoint)
    /// Forget the session keys of a peer: it was removed.
    case forget(NodeID)
    case probeReach
    /// Write down, away from the pulse thread.
    case persistMembers([MemberRecord])
    case persistFacts(SharedFacts)
    case notify(ClusterNotice)
    /// We were removed from the cluster: stop everything, wipe, say so.
    case wasRemoved
}
