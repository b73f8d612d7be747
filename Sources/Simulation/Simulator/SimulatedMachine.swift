import Membership
import Node
import Primitives

/// One computer: a disk, a clock, a network card with its socket buffer, and at times a daemon with its core.
final class SimulatedMachine {
    enum State: Equatable { case spare, running, paused, off, left, removed }

    /// What is on the disk. Writes reach it a moment after they were made; a power cut takes the rest.
    struct Disk {
        var generation: UInt32
        var members: [MemberRecord] = []
        var facts = SharedFacts()
    }
    struct PendingWrites {
        var members: [MemberRecord]?
        var facts: SharedFacts?
    }
    struct ClusterKey {
        var version: UInt32
        var secret: [UInt8]
    }
    enum Arrival {
        case packet(SimulatedPacket, stamp: Instant)
        case event(NodeEvent)
        case database([UInt8], from: NodeID)
    }
    struct StreamFrame {
        var bytes: [UInt8]
        var isDatabase = false
    }
    /// One TCP connection: what is under way on it is lost when it is made anew.
    final class Connection {
        fileprivate(set) var isCut = false
    }
    struct Stream {
        var frames: [StreamFrame] = []
        var bytes = 0
        /// The process at the other end the connection was made to.
        var peerBoot: Int?
        var connection = Connection()
        var isBusy = false
        var failingSince: TrueTime?
        /// Frames never overtake each other.
        var lastArrival = TrueTime.zero
        /// Until then something on its way waits for TCP to send it once more.
        var stallsUntil = TrueTime.zero

        /// As the daemon does when membership hears the peer again: what waits here goes out on a new connection, what was under
        /// way is lost with the old one.
        mutating func makeAnew(at now: TrueTime) {
            guard failingSince != nil || now < stallsUntil else { return }
            connection.isCut = true
            connection = Connection()
            peerBoot = nil
            failingSince = nil
            (lastArrival, stallsUntil) = (now, now)
        }
    }
    struct Traffic {
        var packetsSent = 0
        var bytesSent = 0
        var packetsReceived = 0
        var bytesReceived = 0
    }

    let number: Int
    let id: NodeID
    let name: NodeName
    /// Which cluster it belongs to: the key that was made first.
    let clusterSecret: [UInt8]
    /// The cluster key in the machine's own file.
    var card: ClusterKey
    var endpoint: Endpoint
    var birth: UInt32?
    var state = State.spare
    var clock: MachineClock
    var disk: Disk
    var pending = PendingWrites()
    /// An operator removed it, whether it knows or not.
    var isRemoved = false
    /// It knows that it was removed, and of those that run nobody else does: who removed it is off, or was removed, too.
    var isRemovalForgotten = false
    /// Its key is out of date, and nobody knows it.
    var isLockedOut = false
    var isSyncing = false
    /// It said goodbye and does not listen any more.
    var isLeaving = false
    /// Paused together with its network card.
    var isOffline = false
    /// When it stood still together with its clock, which nothing in it can notice.
    private(set) var freezes: [(from: TrueTime, to: TrueTime)] = []
    private var frozenSince: TrueTime?
    /// Counts processes, so that events meant for an earlier one are dropped.
    var boot = 0
    /// Counts pulse loops: a pause ends one, its end begins another.
    var pulse = 0
    var bootedAt = TrueTime.zero
    var core: NodeCore?
    var transport: SimulatedTransport?
    var streams: [NodeID: Stream] = [:]
    /// Whom its membership heard at the last look.
    private var heard: [NodeID] = []
    var inbox: [Arrival] = []
    var inboxBytes = 0
    /// Where multicast DNS says that somebody is, in the order seen. Kept by the daemon, and told to its core again and again.
    private(set) var sightings: [Endpoint] = []
    /// Nobody heard its present address: what multicast DNS knows of it is out of date until it is asked again.
    var isUnannounced = false
    var traffic = Traffic()
    /// When it last gave a frame to a stream.
    var lastFrameAt = TrueTime.zero
    /// In scenarios that are about it.
    var database: SimulatedDatabase?
    /// How wrong its wall clock is. Unit: milliseconds.
    var wallError: Int64 = 0
    /// Two streams, so that one more pulse does not change what the disk does.
    var chance: SeededGenerator
    var diskChance: SeededGenerator

    /// SO_RCVBUF as docs/protocol/transport.md asks for; each packet also takes its bookkeeping in the kernel.
    static let socketBuffer = 1 << 20
    static let packetOverhead = 768

    init(
        number: Int, id: NodeID, name: NodeName, endpoint: Endpoint, clusterSecret: [UInt8], firstGeneration: UInt32,
        clock: MachineClock, chance: SeededGenerator
    ) {
        self.number = number
        self.id = id
        self.name = name
        self.endpoint = endpoint
        self.clusterSecret = clusterSecret
        card = ClusterKey(version: 1, secret: clusterSecret)
        self.clock = clock
        self.chance = chance.fork("process")
        diskChance = chance.fork("disk")
        disk = Disk(generation: firstGeneration)
    }

    /// One that the others have to know as alive.
    var isMember: Bool { state == .running && !isRemoved && !isLeaving && !isLockedOut }
    var isUp: Bool { state == .running || state == .paused }
    /// The boot counter the running daemon started with.
    private(set) var generation: UInt32 = 0
    /// The one it goes by: higher when the others remembered a higher one than its disk.
    var claimedGeneration: UInt32 { record(of: id)?.version.generation ?? generation }

    // MARK: The daemon's life

    /// Starts the daemon: the generation is on the disk before the first packet leaves.
    func start(config: NodeConfig, forgetsGeneration: Bool, at now: TrueTime) {
        generation = disk.generation + 1
        if !forgetsGeneration { disk.generation = generation }
        let birth = birth ?? generation
        self.birth = birth
        isLeaving = false
        state = .running
        boot += 1
        pulse += 1
        bootedAt = now
        var config = config
        config.keyVersion = card.version
        let profile = MemberProfile(name: name, addresses: [endpoint], software: "simulated", birth: birth)
        let version = MemberVersion(generation: generation, incarnation: 0)
        core = NodeCore(
            id: id, version: version, profile: profile, members: disk.members, facts: disk.facts, config: config,
            chance: SeededGenerator(seed: chance.next()), now: clock.instant(at: now))
        transport = SimulatedTransport(
            identity: SimulatedTransport.Identity(
                id: id, endpoint: endpoint,
                introduction: MemberRecord(id: id, version: version, rank: .alive, profile: profile),
                keys: keys(in: disk.facts)),
            chance: SeededGenerator(seed: chance.next()), now: clock.instant(at: now))
    }

    func freeze(at now: TrueTime) { frozenSince = now }
    func thaw(at now: TrueTime) {
        if let since = frozenSince { freezes.append((since, now)) }
        frozenSince = nil
    }
    /// When its own clock showed so much less than now.
    func time(ago duration: Duration, from now: TrueTime) -> TrueTime {
        var (time, left) = (now, duration)
        for freeze in freezes.reversed() {
            guard time - freeze.to < left else { break }
            left -= time - freeze.to
            time = freeze.from
        }
        return time - left
    }

    /// The process is gone; `losingUnsynced` when the machine is, too.
    func stop(as end: State, losingUnsynced: Bool) {
        if !losingUnsynced { sync() }
        pending = PendingWrites()
        isSyncing = false
        generation = claimedGeneration
        state = end
        boot += 1
        pulse += 1
        core = nil
        transport = nil
        streams = [:]
        heard = []
        inbox = []
        inboxBytes = 0
        sightings = []
        database?.stop(losingUnsynced: losingUnsynced, wiping: end == .removed)
    }

    /// To be called with each pulse.
    func remakeStalledStreams(at now: TrueTime) {
        guard let peers = core?.reachablePeers, peers != heard else { return }
        for peer in peers where !heard.contains(peer) { streams[peer]?.makeAnew(at: now) }
        heard = peers
    }

    func saw(_ endpoint: Endpoint) {
        guard !sightings.contains(endpoint) else { return }
        if sightings.count >= 64 { sightings.removeFirst() }
        sightings.append(endpoint)
    }

    func sync() {
        if let members = pending.members { disk.members = members }
        if let facts = pending.facts { disk.facts = facts }
        pending = PendingWrites()
        isSyncing = false
    }

    func renumber(to endpoint: Endpoint) {
        self.endpoint = endpoint
        transport?.identity.endpoint = endpoint
        transport?.identity.introduction.profile.addresses = [endpoint]
    }

    /// Handshakes tell what the core says of itself by now.
    func refreshIntroduction() {
        if let own = record(of: id) { transport?.identity.introduction = own }
    }

    func keys(in facts: SharedFacts) -> [UInt32: [UInt8]] {
        var keys: [UInt32: [UInt8]] = [card.version: card.secret]
        for key in facts.keys(prefix: FactKey.clusterKeys) {
            if let version = UInt32(key.dropFirst(FactKey.clusterKeys.count)) { keys[version] = facts[key] }
        }
        return keys
    }

    var newestKey: ClusterKey {
        guard let identity = transport?.identity, let secret = identity.keys[identity.newestKey] else { return card }
        return ClusterKey(version: identity.newestKey, secret: secret)
    }

    func record(of id: NodeID) -> MemberRecord? { core?.record(of: id) }

    // MARK: Truth

    /// What is really so, when a record says otherwise.
    func contradicts(_ record: MemberRecord, rank: MemberRank) -> String? {
        if isLockedOut { return "was never let in" }
        if isRemoved { return rank == .removed ? nil : "was removed" }
        switch state {
        case .running, .paused:
            if rank != .alive { return "runs" }
            return record.version.generation == claimedGeneration ? nil : "runs as generation \(claimedGeneration)"
        case .off: return rank == .failed || rank == .left ? nil : "is off"
        // A goodbye may have been lost with the network it was said into.
        case .left: return rank == .left || rank == .failed ? nil : "has left"
        // Nobody can tell the others why it is silent.
        case .removed where isRemovalForgotten: return rank >= .failed ? nil : "was removed, and is silent"
        case .spare, .removed: return rank == .removed ? nil : "is no member"
        }
    }
}
