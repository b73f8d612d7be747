package import Primitives

/// What one observer says of a silent node, with the figures it says it on.
package struct Accusation: Equatable, Sendable {
    package var observer: NodeID
    /// −log10 of the chance of such a silence while the node lives, when the observer reported it.
    package var phi: Double
    /// How long the observer had heard nothing, on its attended clock.
    package var silence: Duration
    /// Probes sent on all paths that nobody answered.
    package var unansweredProbes: Int
    /// The observer hears it, but it says that it does not hear the observer: half a link is no link.
    package var isOneWay: Bool

    package init(observer: NodeID, phi: Double, silence: Duration, unansweredProbes: Int, isOneWay: Bool = false) {
        self.observer = observer
        self.phi = phi
        self.silence = silence
        self.unansweredProbes = unansweredProbes
        self.isOneWay = isOneWay
    }
}

/// Why a node was declared down: kept with the event, so that `bramble why` can tell it.
package struct Verdict: Equatable, Sendable {
    package var accusers: [Accusation]
    /// Observers that could have an opinion, how many had to agree, how many had fresh contact.
    package var observers: Int
    package var needed: Int
    package var defenders: Int
    /// False when a single observer decided and no reach target was there to check itself against.
    package var isConfirmed: Bool

    /// More are counted, not kept.
    package static let maximumAccusers = 16

    package init(accusers: [Accusation], observers: Int, needed: Int, defenders: Int, isConfirmed: Bool) {
        self.accusers = accusers
        self.observers = observers
        self.needed = needed
        self.defenders = defenders
        self.isConfirmed = isConfirmed
    }
}

/// What changed in the membership, for people, services and the event log.
package enum Notice: Equatable, Sendable {
    case joined(NodeID)
    case suspect(NodeID, Accusation)
    /// After a suspicion or a verdict: it answers again, or refuted it with a higher incarnation.
    case alive(NodeID, after: MemberRank)
    case failed(NodeID, Verdict)
    case left(NodeID)
    case removed(NodeID)
    /// A known node came back under a new generation before anybody noticed that it was gone.
    case restarted(NodeID)
    case profileChanged(NodeID)
    /// Most of our edges fell silent at once, or we lost the network: we accuse nobody.
    case isolated(silentEdges: Int, of: Int)
    case rejoined
    /// Our own pulse did not run for this long.
    case stalled(Duration)
    case pathLost(NodeID, Endpoint)
    case pathBack(NodeID, Endpoint)
}

/// A member as this node sees it now.
package struct MemberView: Equatable, Sendable, Identifiable {
    package var record: MemberRecord
    /// The record's rank, or `suspect` while an observer accuses it.
    package var rank: MemberRank
    package var since: Instant
    /// Null where this node has no edge to it.
    package var phi: Double?
    package var load: [UInt8]
    package var verdict: Verdict?
    package var id: NodeID { record.id }

    package init(
        record: MemberRecord, rank: MemberRank, since: Instant, phi: Double?, load: [UInt8], verdict: Verdict?
    ) {
        self.record = record
        self.rank = rank
        self.since = since
        self.phi = phi
        self.load = load
        self.verdict = verdict
    }
}

/// One edge of the watch graph, seen from `watcher`.
package struct EdgeView: Equatable, Sendable {
    package enum State: UInt8, Sendable { case opening, up, probing, down }
    package var watcher: NodeID
    package var subject: NodeID
    package var state: State
    package var phi: Double?
    package var roundTrip: Duration?

    package init(watcher: NodeID, subject: NodeID, state: State, phi: Double?, roundTrip: Duration?) {
        self.watcher = watcher
        self.subject = subject
        self.state = state
        self.phi = phi
        self.roundTrip = roundTrip
    }
}
