package import Primitives

/// Decides who is alive, from heartbeats, reports of others and its own clock. The state machine, the messages and the
/// constants are those of docs/protocol/membership.md.
///
/// Same events, same effects: time comes in as an argument, chance as a seed, so any run can be replayed.
package struct Membership: Sendable {
    /// What comes in. Every datagram was authenticated before: `from` is who sealed it.
    package enum Event: Sendable {
        /// `stamp` is when the kernel received it, on our clock; `path` is where it came from.
        case received(Message, from: NodeID, path: Endpoint, stamp: Instant)
        /// A peer proved its identity and told its profile: by a handshake, before any message of it.
        case introduced(MemberRecord, path: Endpoint)
        /// Records from a snapshot or a saved file.
        case learned([MemberRecord])
        /// An operator removed this node from the cluster: final.
        case removed(NodeID)
        /// Our own addresses changed, the preferred one first.
        case addressesChanged([Endpoint])
        /// At least one interface that carries our addresses has carrier and an address; or none has.
        case network(isUp: Bool)
        /// A host of the reach list answered.
        case reachAnswered
        /// At most 16 bytes; they ride on heartbeats and are opaque here.
        case load([UInt8])
        /// What we know of the operator facts, as a hash; it rides on heartbeats too.
        case factsHash(UInt64)
        /// We are stopping on purpose: tell the others, so that nobody has to find out.
        case leave
    }

    /// What is to be done, in this order.
    package enum Effect: Equatable, Sendable {
        case send(Message, to: NodeID, via: Endpoint)
        /// Larger than a datagram or must arrive: over a stream.
        case sendReliably(Message, to: NodeID)
        case probeReach
        /// This peer's operator facts have differed from ours for half a second: exchange them. Repeated every second.
        case factsDiffer(NodeID)
        case notify(Notice)
        /// The records changed in a way worth keeping across a restart.
        case persist
    }
}

extension Membership {
    package init(
        id: NodeID, version: MemberVersion, profile: MemberProfile, known: [MemberRecord], config: MembershipConfig,
        chance: SeededGenerator, now: Instant
    ) { fatalError("filled next") }
    package mutating func handle(_ event: Event, now: Instant) -> [Effect] { [] }
    /// Every `tickInterval`, after the socket was drained until EAGAIN (`drained`), never before.
    package mutating func tick(now: Instant, drained: Bool) -> [Effect] { [] }
    package var tickInterval: Duration { .milliseconds(25) }
    /// Sorted by ID.
    package var members: [MemberView] { [] }
    package var edges: [EdgeView] { [] }
    /// All records, our own too, sorted by ID; what is persisted.
    package var records: [MemberRecord] { [] }
    package func record(of id: NodeID) -> MemberRecord? { nil }
    /// Peers with an edge that is up, sorted by ID: those a flood goes to first.
    package var reachablePeers: [NodeID] { [] }
    /// The path a peer was last heard on, else its first address.
    package func preferredPath(to id: NodeID) -> Endpoint { Endpoint(.v4(0), port: 0) }
    /// True when a member that is heard now has this address: nothing to find there.
    package func isReached(at endpoint: Endpoint) -> Bool { false }
    /// Ours: raised by every refutation. The generation can grow too, when the others remember a newer one than our disk.
    package var version: MemberVersion { MemberVersion(generation: 0, incarnation: 0) }
    /// The φ at which a silence is reported: what people see beside a node's φ.
    package var reportThreshold: Double { 8 }
}
