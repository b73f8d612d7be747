package import Primitives

/// Everything that can happen to a node's leases, from outside the core. Every instant is CLOCK_BOOTTIME: what the
/// attended clock holds back after a pause must not lengthen anybody's authority.
package enum LeaseEvent: Equatable, Sendable {
    /// Each round of the pulse, every 25 ms or as soon as it can. A late one is harmless: the state decides.
    case tick
    /// A message of another node's leases, as `LeaseCodec` read it. The sender is known by its session.
    case received(LeaseMessage, from: NodeID)
    /// What this node wants of one lease. Counts until it is told otherwise.
    case wish(LeaseName, LeaseWish)
    /// All members that are neither removed nor have left, alive or not, and the witness that was named, if any.
    /// Voters are chosen from them, and changed one at a time.
    case members([NodeID], witness: NodeID?)
    /// An operator removed it for good: where two nodes vote, the other one may go on alone.
    case removed(NodeID)
    /// The membership's opinion: a hint about when to try, never a reason to hold.
    case peer(NodeID, isAlive: Bool)
    /// Carrier and address of this machine. Without them a holder of two lets go at once.
    case network(isUp: Bool)
    /// How many hosts of the reach list answered what `LeaseEffect.probeReach` with this ticket asked.
    case reach(ticket: UInt32, answered: Int)
    /// What `LeaseEffect.probeAddresses` found: somebody else answers for an address of this service, or nobody does.
    case probed(ticket: UInt32, isAnswered: Bool)
    /// What `LeaseEffect.persist` with this ticket asked is on the disk.
    case persisted(ticket: UInt32)
    /// The fence agent confirmed that the node is off, or could not.
    case fenced(NodeID, isConfirmed: Bool)
    /// An operator's word that nobody else acts: takes the place of what this node cannot find out itself.
    case takeOver(LeaseName)
    /// The pulse was late by so much, or a peer's heartbeat came so late: T is widened when needed.
    case gap(Duration, LeaseGap)
    /// The daemon stops in order, after every service has stopped: what is held is given back.
    case leave
}

/// What a node may want of a lease.
package enum LeaseWish: Equatable, Sendable {
    /// Get it once it is free. Rank 0 bids at once, each further rank a little later, so that the better node wins.
    case want(rank: Int)
    /// Do not bid. Whoever holds it and says this has stopped everything.
    case leaveToOthers
    /// Everything has stopped here: end the term, and let this node be the first to bid with the next epoch.
    case handOver(to: NodeID)
    /// Everything has stopped here: end the term; anybody may bid, this node too if it says `want` again.
    case release
    /// Act no more, and tell nobody, as a node that dies: the term runs out by itself. For rehearsals.
    case abandon
}

/// Whose gap was measured.
package enum LeaseGap: Equatable, Sendable {
    /// Of this node's own pulse.
    case own
    /// Between two messages of this node beyond what it promised.
    case path(NodeID)
}

/// Everything that leases ask for, in the order decided.
package enum LeaseEffect: Equatable, Sendable {
    /// One datagram, sealed by the transport. To a node with several paths: on every one of them.
    case send(LeaseMessage, to: NodeID)
    /// This node may act until then; the kernel gate closes at `until` whatever else happens. It counts from when the
    /// lease was asked for. The epoch is on disk where it has to be.
    case acquired(LeaseName, Epoch, until: Instant, Guarantee)
    case renewed(LeaseName, Epoch, until: Instant)
    /// It may not act any more from `until` on; where that has passed, from now on.
    case lost(LeaseName, Epoch, until: Instant, reason: String)
    /// Why this node does not get what it wants. Told when the sentence changes.
    case refused(LeaseName, reason: String)
    /// Somebody holds it, as far as this node knows; nil for nobody. Told when it changes.
    case held(LeaseName, by: NodeID?, Epoch)
    /// Write this down, away from the pulse, and report `persisted`. What depends on it waits. Whole each time: a later
    /// ticket takes the place of all earlier ones and stands for them; an earlier one must never overwrite a later one.
    case persist(LeaseMemory, ticket: UInt32)
    /// Ask every host of the reach list, and report how many answered. Answers that come later count for nothing.
    case probeReach(ticket: UInt32)
    /// Ask the network whether anybody answers for this service's addresses: twice, 40 ms apart, on every path. A lease
    /// without addresses is reported as unanswered.
    case probeAddresses(LeaseName, ticket: UInt32)
    /// Switch the node off and say when that is confirmed.
    case fence(NodeID)
    case notify(LeaseNotice)
}

/// For the event log and for `bramble why`.
package enum LeaseNotice: Equatable, Sendable {
    case acquired(LeaseName, Epoch, Guarantee, because: String)
    case released(LeaseName, Epoch, to: NodeID?)
    case lost(LeaseName, Epoch, because: String)
    /// Two nodes held it at once: seen when they met again. The lower epoch has let go.
    case doubleOwnership(LeaseName, other: NodeID, own: Epoch, theirs: Epoch, overlap: Duration)
    case votersChanged(VoterConfig)
    /// Takeovers wait longer, or no longer: the reason with its figures.
    case timing(takeover: Duration, because: String)
    case refusedNumbers(String)
}
