package import Membership
package import Primitives

/// One node's decisions, all of them: datagrams, handshakes, timers and commands in, effects out.
///
/// It joins the cores, which do not know each other. A newcomer starts here; the pulse thread of `Daemon` and the
/// simulator drive it in the same way: drain the socket, `handle` each packet, then `tick`.
package struct NodeCore: Sendable {
    package mutating func handle(_ event: NodeEvent, now: Instant) -> [NodeEffect] { [] }
    package mutating func tick(now: Instant, drained: Bool) -> [NodeEffect] { [] }
    package var tickInterval: Duration { .milliseconds(25) }
    package var snapshot: NodeSnapshot { NodeSnapshot(members: [], edges: []) }
}

package struct NodeConfig: Equatable, Sendable {
    package var membership = MembershipConfig()
    /// False: the key alone admits. True: an operator says yes to each new node.
    package var needsApproval = false
    package init() {}
}

/// What people are shown; made on demand, never on the hot path.
package struct NodeSnapshot: Equatable, Sendable {
    package var members: [MemberView]
    package var edges: [EdgeView]
    package init(members: [MemberView], edges: [EdgeView]) {
        self.members = members
        self.edges = edges
    }
}

/// What happened, for the event log.
package enum ClusterNotice: Equatable, Sendable {
    case membership(Notice)
    case factChanged(String)
    case waitingForApproval(NodeID, NodeName, Endpoint)
    case nameConflict(NodeName, keeps: NodeID, renamed: NodeID)
}

extension NodeCore {
    package init(
        id: NodeID, version: MemberVersion, profile: MemberProfile, members: [MemberRecord], facts: SharedFacts,
        config: NodeConfig, chance: SeededGenerator, now: Instant
    ) { fatalError("filled next") }

    package enum Admission: Equatable, Sendable { case accept, waitForApproval, refuseRemoved, refuseOldKey }
    /// Asked by the transport in the middle of a handshake, before the peer learns anything.
    package func admission(of id: NodeID, keyVersion: UInt32) -> Admission { .accept }
}
