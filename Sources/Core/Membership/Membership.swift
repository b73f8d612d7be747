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
        case databaseHash(UInt64)
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
        case databaseDiffers(NodeID)
        case notify(Notice)
        /// The records changed in a way worth keeping across a restart.
        case persist
    }

    package let id: NodeID
    /// Ours: raised by every refutation. The generation can grow too, when the others remember a newer one than our disk.
    package internal(set) var version: MemberVersion
    var profile: MemberProfile
    let config: MembershipConfig
    let thresholds: AccrualDetector.Thresholds
    var chance: SeededGenerator

    /// The moment of the event or tick being handled. Unit: nanoseconds, like all times in this core.
    var now: Int64
    var clock: AttendedClock
    var attended: Int64 { clock.reading }
    var table: MemberTable
    /// Sorted by peer.
    var links: [Edge] = []
    /// Sorted by subject.
    var suspicions: [Suspicion] = []
    var outbox = Outbox()
    var effects: [Effect] = []

    /// Only where there are too many nodes for a full mesh.
    var rings: Topology?
    var isTopologyStale = true
    var nextTopology = Span.never
    /// Failed nodes that leave the rings a moment later (real time).
    var leavingRings: [(id: NodeID, at: Int64)] = []
    var interval: Int64

    /// Whether this tick may accuse or convict anybody.
    var mayJudge = false
    /// 0 is well, 8 is worst: how much longer others may be silent because we were slow ourselves.
    var health: Int64 = 0
    var nextHealth: Int64 = 0
    var hasNetwork = true
    var isIsolated = false
    /// Since when most of our edges have been silent at once, and since when we call ourselves isolated (attended).
    var silentSince: Int64?
    var isolatedSince: Int64 = 0
    var lastReach = Span.never
    var nextReach = Span.never

    var load: [UInt8] = []
    var factsHash: UInt64 = 0
    var databaseHash: UInt64 = 0
    var isLeaving = false
    var viewChangedAt: Int64
    var needsPersist = false
    var nextPersist = Span.never
    var nextSecond = Span.never
    var trustsSaved = false
    /// How many absent members were knocked on, to go on with the next.
    var knocked = 0
    /// Claims of old failures that contradict what we see, until the claimed one had time to refute them (real time).
    var claims: [(update: Update, at: Int64)] = []
    /// The random member probed this second, where not everybody is watched.
    var backstop: (id: NodeID, nonce: UInt32, tries: Int)?

    package init(
        id: NodeID, version: MemberVersion, profile: MemberProfile, known: [MemberRecord], config: MembershipConfig,
        chance: SeededGenerator, now: Instant
    ) {
        self.id = id
        self.version = version
        self.profile = profile
        self.config = config
        self.chance = chance
        self.now = now.nanoseconds
        thresholds = AccrualDetector.Thresholds(probe: config.probeThreshold, report: config.reportThreshold)
        clock = AttendedClock(now: now.nanoseconds, isBroken: config.plantedBug == .noAttendedClock)
        table = MemberTable(isMonotone: config.plantedBug != .incarnationNotMonotone)
        interval = config.smallInterval.nanoseconds
        viewChangedAt = now.nanoseconds
        self.profile.addresses = Array(profile.addresses.prefix(MemberProfile.maximumAddresses))
        table.setOwn(id, version: version, profile: self.profile, rank: .alive, now: self.now)
        for record in known where record.id != id { table.load(record, now: self.now) }
    }

    // MARK: Events and ticks

    package mutating func handle(_ event: Event, now: Instant) -> [Effect] {
        self.now = now.nanoseconds
        switch event {
        case .received(let message, let sender, let path, let stamp):
            receive(message, from: sender, path: path, stamp: stamp.nanoseconds)
        case .introduced(let record, let path): meet(record, path: path)
        case .learned(let records):
            for record in records { learn(record) }
        case .removed(let node): expel(node)
        case .addressesChanged(let endpoints): readdress(endpoints)
        case .network(let isUp): networkChanged(isUp: isUp)
        case .reachAnswered: lastReach = self.now
        case .load(let bytes): load = Array(bytes.prefix(Heartbeat.maximumLoad))
        case .factsHash(let hash): factsHash = hash
        case .databaseHash(let hash): databaseHash = hash
        case .leave: leave()
        }
        flushIfDue()
        return takeEffects()
    }

    /// Every `tickInterval`, after the socket was drained until EAGAIN (`drained`), never before.
    package mutating func tick(now: Instant, drained: Bool) -> [Effect] {
        self.now = now.nanoseconds
        guard !isLeaving else { return takeEffects() }
        let step = clock.advance(to: self.now, tick: tickNanoseconds, heartbeat: interval, drained: drained)
        mayJudge = hasNetwork && (config.plantedBug == .noAttendedClock || (drained && !clock.isRecovering))
        feelOwnPulse(step)
        refreshTopology()
        beatAndWatch()
        noticeIsolation()
        deliberate()
        if self.now >= nextSecond { everySecond() }
        applyRipeClaims()
        flushIfDue()
        if needsPersist, self.now >= nextPersist {
            needsPersist = false
            nextPersist = self.now + Span.second
            effects.append(.persist)
        }
        return takeEffects()
    }

    package var tickInterval: Duration { .nanoseconds(tickNanoseconds) }
    /// A quarter of a heartbeat, and 50 ms at most: news waits for ticks in large clusters.
    var tickNanoseconds: Int64 { min(interval / 4, 50 * Span.millisecond) }

    private mutating func takeEffects() -> [Effect] {
        guard !effects.isEmpty else { return [] }
        defer { effects = [] }
        return effects
    }

    private mutating func feelOwnPulse(_ step: AttendedClock.Step) {
        if let stall = step.stall {
            health = min(8, health + (stall + interval - 1) / interval)
            nextHealth = attended + Span.second
            effects.append(.notify(.stalled(.nanoseconds(stall))))
        } else if step.isOverloaded {
            health = min(8, health + 1)
            nextHealth = attended + Span.second
        } else if health > 0, attended >= nextHealth {
            health -= 1
            nextHealth = attended + Span.second
        }
    }
}

/// Spans of time in nanoseconds. Sources: docs/protocol/membership.md.
enum Span {
    /// Longer ago than anything, and still far enough from the end of the numbers to be subtracted.
    static let never: Int64 = -(1 << 60)
    static let millisecond: Int64 = 1_000_000
    static let second: Int64 = 1_000_000_000
    /// How long a peer's heartbeats keep its guest edge.
    static let guest = 5 * second
    /// How long a failed peer still gets heartbeats, so that a short outage ends at once.
    static let lingering = 10 * second
    /// How long a failed node stays on the rings, so that many deaths at once are judged on the graph they happened in.
    static let ringRepair = second
    /// How often a large cluster's edges may change.
    static let topology = 100 * millisecond
    /// How long an edge may take to open before its observer asks around.
    static let opening = 2 * second
    /// An accusation that is not repeated is void after this; it is repeated every second.
    static let accusation = 5 * second / 2
    /// A refuted observer that still hears nothing asks around after this, doubled each time up to the limit.
    static let review = 2 * second
    static let longestReview = 60 * second
    /// Most edges silent for this long: isolated; and isolated for the second: what cannot be reached is shown as down.
    static let isolation = second
    static let loneVerdict = 2 * second
    /// A reach target's answer counts for this long.
    static let reach = 300 * millisecond
    /// A failure claimed to be older than the first, of a node that we hold alive, waits the second for a refutation.
    static let oldClaim = 3 * second
    static let claimWaits = 2 * second
    static let challenge = 200 * millisecond
    static let differsView = second
    static let differsFacts = 500 * millisecond
    static let sync = second
    static let longestSync = 60 * second
}
