package import Leases
package import Membership
package import Primitives
package import Services

/// Everything that can happen to a node, from outside its core.
package enum NodeEvent: Sendable {
    /// A handshake was completed: this is who is at the other end, under which cluster key it proved itself.
    case sessionOpened(PeerIntroduction, path: Endpoint)
    /// A node at the other end refused us, and signed that we were removed.
    case refused(by: NodeID)
    /// An opened datagram. `stamp` is the kernel's receive time on our clock.
    case received(bytes: [UInt8], from: NodeID, path: Endpoint, stamp: Instant)
    /// A frame of a stream.
    case receivedReliably(bytes: [UInt8], from: NodeID)
    /// Discovery or the operator names an address where a node of this cluster may be.
    case sighted(Endpoint)
    /// A node with our key is held at the door until an operator approves it.
    case applied(PeerIntroduction, path: Endpoint)
    case addressesChanged([Endpoint])
    case network(isUp: Bool)
    case reachAnswered
    case load(LoadFacts)
    /// Of what the database knows: it rides on heartbeats from now on, and is compared.
    case databaseHash(UInt64)
    /// What the database says of facts: some of them, or all there are.
    case factsStored([StoredFact], isWhole: Bool)
    /// Trust facts that came as rows of the database, encoded: what arrives first counts.
    case trustStored([UInt8])
    /// What came of an order, or happened to a service by itself.
    case service(ServiceEvent)
    /// From a lease's disk, probes and reach list, or an operator.
    case lease(LeaseEvent)
    /// We are stopping on purpose.
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
    /// Facts for the database, an empty value deletes. When it has them it says `factsStored`.
    case storeFacts([StoredFact])
    /// The cluster keys changed: the newest is the one to prove from now on.
    case clusterKeysChanged
    case notify(ClusterNotice)
    /// The members but for the removed, and those that are heard now, to be told to the database. Only after it gave a hash.
    case databasePeers(members: [NodeID], reachable: [NodeID])
    /// A peer's database has been another than ours for half a second; again after a second if it still is.
    case databaseDiffers(NodeID)
    /// What leases and services ask of this machine. Of its cases only those that the node cannot carry out itself.
    case service(ServiceCore.Effect)
    /// Switch the node off and say when that is confirmed; nil where nothing says how.
    case fence(NodeID, Fence?)
    /// The reach list is another one from now on.
    case reachHosts([IPAddress])
    /// We were removed from the cluster: stop everything, wipe, say so. Nothing else comes after it.
    case wasRemoved(by: NodeID?)
}

/// What happened, for the event log.
package enum ClusterNotice: Equatable, Sendable {
    case membership(Notice)
    /// `isNews` is false where all that the database has is read, at the start.
    case factChanged(key: String, by: NodeID?, isNews: Bool)
    case waitingForApproval(Applicant)
    case nameConflict(NameTable.Conflict)
    case service(ServiceNotice)
    case lease(LeaseNotice)
}

/// A node with our key that waits for an operator's yes.
package struct Applicant: Equatable, Sendable {
    package var record: MemberRecord
    package var path: Endpoint
    package var since: Instant

    package init(record: MemberRecord, path: Endpoint, since: Instant) {
        self.record = record
        self.path = path
        self.since = since
    }
}
