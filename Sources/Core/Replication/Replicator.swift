package import Primitives

/// Decides what one database sends, asks for, applies, acknowledges and forgets, so that all copies become equal and nothing
/// acknowledged is lost. It knows bodies of records only as bytes.
///
/// Same events, same effects. Whoever drives it carries out the effects in their order, at once, and reports back what came
/// of `apply`, `install` and syncs; `Replica` does so over SQLite.
package struct Replicator: Sendable {
    package enum Effect: Equatable, Sendable {
        case send(ReplicationMessage, to: NodeID)
        /// Read the log and send what follows each of these, in this order, about `budget` bytes, at least one record.
        case answerPull(number: UInt32, wants: [Want], budget: Int, to: NodeID)
        /// In this order, each whole; then `applied` with those that were.
        case apply([LogRecord], from: NodeID)
        /// Draw another origin and tell `originTaken`: this one was used by a life of this database that we know nothing of.
        case renewOrigin
        /// A waiting write is answered.
        case answer(WriteTicket, WriteConfirmation)
        /// Records up to here are of no more use, or are too many: whoever needs one after all gets a snapshot.
        case trim(to: VersionVector)
        /// Tombstones of deletes in these records are of no more use.
        case collect(stable: VersionVector)
        /// `has`: what the peer knows of this database already; empty when its own is another.
        case offerSnapshot(resuming: UInt64, has: VersionVector, to: NodeID)
        case readChunk(snapshot: UInt64, offset: UInt64, count: Int, to: NodeID)
        /// Prepare for the bytes of a snapshot, then `snapshotBegan`; those of another one are dropped.
        case beginSnapshot(SnapshotOffer)
        case storeChunk(offset: UInt64, bytes: [UInt8])
        /// All bytes are there: check them, and put them in the place of our database; then `installed`.
        /// What our own log has beyond the snapshot's vector is applied to it again where `keepsOwn`.
        case install(SnapshotOffer, keepsOwn: Bool)
        case abandonSnapshot
        case notify(ReplicationNotice)
    }

    package let id: NodeID
    package internal(set) var own: Origin
    package internal(set) var epoch: DatabaseEpoch
    /// Applied here; of it, what is on our disk.
    package internal(set) var vector: VersionVector
    package internal(set) var synced: VersionVector
    /// The highest time that was ever given out or applied here.
    var newest: HybridTime
    /// The time of the newest record of each origin, of those that came since the start.
    var times: [Origin: HybridTime] = [:]
    package let config: ReplicatorConfig
    var chance: SeededGenerator

    /// Of the cluster, this node included; removed ones are not, those that are away are.
    package internal(set) var members: [NodeID]
    var roster: UInt64 = 0
    /// Members we send to: all that are heard, or in a large cluster those that membership watches.
    package internal(set) var peers: [NodeID: Peer] = [:]
    var isFlooding = false
    var owners: [Origin: NodeID] = [:]
    /// What each member had synced, as last heard.
    package internal(set) var standings: [NodeID: Standing] = [:]
    /// The newest of those that our vector covers.
    var coveredStandings: [NodeID: Standing] = [:]
    var life: WriterLife
    /// A hash of all members' lives, as far as we know of them, and what we had when we last heard of another one: once that is
    /// synced, our standing says that we know.
    var lives: UInt64 = 0
    var heldAtLives = VersionVector()
    var settledLives: UInt64 = 0
    /// Of our own origin, as said directly.
    var confirmed: [NodeID: UInt64] = [:]
    var newsOfStandings: Set<NodeID> = []
    /// Origins of which every member has had all there is, and that nobody speaks of any more; how far they went.
    package internal(set) var forgotten: [Origin: UInt64] = [:]
    /// Something was forgotten elsewhere that never came here whole: only a copy has it.
    var lacksForgotten = false

    var outgoing: [(record: LogRecord, except: NodeID?)] = []
    var outgoingBytes = 0
    /// Of what nobody waits for.
    private var nextPush = Instant.zero
    var early = EarlyRecords()
    var pull: Pull?
    var lastPull: UInt32 = 0
    package internal(set) var fetch = Fetch.none
    var lastOffer: UInt64 = 0
    package internal(set) var held: [Origin: HeldOrigin] = [:]
    var released: [Origin: HybridTime] = [:]
    package internal(set) var unreadable: [Origin: Unreadable] = [:]
    var waits: [Durability: WaitLine] = [:]
    package internal(set) var counters = ReplicationCounters()
    package internal(set) var isJoining: Bool
    private var isOriginBurnt = false

    var now: Instant
    var wall: Int64
    var startedAt: Instant
    var nextStandings: Instant
    var nextHousekeeping: Instant
    private var nextJoinQuestion = Instant.zero
    var lastCollected = VersionVector()
    var lastTrimmed = VersionVector()
    var marks: [Mark] = []
    var effects: [Effect] = []

    package struct Peer: Equatable, Sendable {
        package var epoch: DatabaseEpoch?
        package var origin: Origin?
        package var vector = VersionVector()
        /// It has dropped records that are not here: what it has comes with a copy only.
        var isBeyondPulling = false
        /// Not asked before: it did not answer, or has nothing for us.
        var avoidedUntil = Instant.zero
        var nextStateAt = Instant.zero
        /// Its wall clock at our instant zero.
        var wallAtZero: Int64?
    }
    /// What was known at some moment, to cut the log there when it is too long or too old.
    struct Mark {
        var at: Instant
        var logBytes: Int
        var vector: VersionVector
    }
    struct Pull {
        var number: UInt32
        var peer: NodeID
        var deadline: Instant
    }

    /// - Parameter newest: the highest time that was ever given out or applied here.
    /// - Parameter isFresh: this database is empty and was made just now.
    package init(
        id: NodeID, origin: Origin, epoch: DatabaseEpoch, vector: VersionVector, newest: HybridTime, isFresh: Bool,
        forgotten: [Origin: UInt64] = [:], config: ReplicatorConfig = ReplicatorConfig(),
        chance: SeededGenerator, now: Instant, wall: Int64
    ) {
        self.id = id
        own = origin
        self.epoch = epoch
        self.vector = vector
        synced = vector
        self.forgotten = forgotten
        self.newest = newest
        self.config = config
        self.chance = chance
        members = [id]
        isJoining = isFresh
        self.now = now
        self.wall = wall
        startedAt = now
        life = WriterLife(origin: origin, since: newest)
        nextStandings = now
        nextHousekeeping = now
        for durability in Durability.allCases { waits[durability] = WaitLine() }
        owners[own] = id
        renewRoster()
        livesChanged(of: id)
        noteOwnStanding()
    }

    /// Equal on two replicas that know the same: rides on heartbeats.
    package var digest: UInt64 {
        var mixed = SeededGenerator(seed: vector.digest ^ epoch.since.rawValue &* 31 ^ epoch.number)
        return mixed.next()
    }

    mutating func takeEffects() -> [Effect] {
        defer { effects = [] }
        return effects
    }
    mutating func clock(_ now: Instant, _ wall: Int64) {
        self.now = max(self.now, now)
        self.wall = wall
    }

    // MARK: Members and peers

    /// - Parameter members: all of the cluster that are not removed, away or not.
    /// - Parameter reachable: those that are heard now of the ones that membership watches: all of them in a small cluster.
    package mutating func peersChanged(
        members: [NodeID], reachable: [NodeID], now: Instant, wall: Int64
    ) -> [Effect] {
        clock(now, wall)
        let all = Set(members + [id]).sorted()
        if all != self.members {
            self.members = all
            renewRoster()
            standings = standings.filter { all.contains($0.key) }
            coveredStandings = coveredStandings.filter { all.contains($0.key) }
            confirmed = confirmed.filter { all.contains($0.key) }
            livesChanged(of: id)
            noteOwnStanding()
        }
        isFlooding = all.count > config.fullMesh
        let targets = reachable.filter { $0 != id && all.contains($0) }
        let gone = peers.keys.filter { !targets.contains($0) }.sorted()
        for peer in gone { lost(peer) }
        for peer in Set(targets).sorted() where peers[peer] == nil {
            peers[peer] = Peer()
            tellState(to: peer, wantsReply: true)
            if let standing = standings[id] {
                send(.standings([standing], epoch: epoch, wall: wall), to: peer)
            }
        }
        settleWaits()
        return takeEffects()
    }

    private mutating func lost(_ peer: NodeID) {
        peers[peer] = nil
        if pull?.peer == peer { pull = nil }
        fetchLost(peer)
    }

    private mutating func renewRoster() {
        roster = members.reduce(0) { sum, member in
            var mixed = SeededGenerator(seed: member.high ^ member.low &* 0x9E37_79B9_7F4A_7C15)
            return sum ^ mixed.next()
        }
    }

    /// The hash in a peer's heartbeats has differed for a while.
    package mutating func differs(_ peer: NodeID, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        guard let known = peers[peer], known.nextStateAt <= now else { return takeEffects() }
        tellState(to: peer, wantsReply: true)
        return takeEffects()
    }

    /// Which node wrote under it, as far as it was told since the start.
    package func owner(of origin: Origin) -> NodeID? { owners[origin] }

    func hasPeer(_ peer: NodeID) -> Bool { peers[peer] != nil }
    var peersInOrder: [NodeID] { peers.keys.sorted() }

    mutating func send(_ message: ReplicationMessage, to peer: NodeID) { effects.append(.send(message, to: peer)) }

    mutating func tellState(to peer: NodeID, wantsReply: Bool) {
        peers[peer]?.nextStateAt = now + config.stateInterval
        let state = ReplicaState(epoch: epoch, origin: own, vector: vector, wall: wall)
        send(.state(state, wantsReply: wantsReply), to: peer)
    }

    // MARK: Messages

    package mutating func received(
        _ message: ReplicationMessage, from peer: NodeID, now: Instant, wall: Int64
    ) -> [Effect] {
        clock(now, wall)
        // A stream may be a moment ahead of membership: whoever is a member may talk.
        guard members.contains(peer), peer != id else {
            counters.refusedMessages += 1
            return []
        }
        switch message {
        case .state(let state, let wantsReply): hear(state, from: peer, wantsReply: wantsReply)
        case .records(let records, let epoch, let answer, _):
            if isOurs(epoch, peer) { take(records, from: peer, answer: answer) }
        case .pull(let number, let wants, let budget):
            effects.append(
                .answerPull(
                    number: number, wants: wants, budget: min(Int(budget), config.pullBudget), to: peer))
        case .synced(let epoch, let heads):
            if isOurs(epoch, peer) { hearSynced(heads, from: peer) }
        case .standings(let all, let epoch, let wall):
            if isOurs(epoch, peer) { hear(all, wall: wall, from: peer) }
        case .wantSnapshot(let vector, let epoch, let resuming):
            wanted(vector, epoch: epoch, resuming: resuming, by: peer)
        case .offer(let offer): offered(offer, by: peer)
        case .noSnapshot: notOffered(by: peer)
        case .wantChunk(let snapshot, let offset, let count):
            effects.append(
                .readChunk(
                    snapshot: snapshot, offset: offset, count: min(Int(count), ReplicationCodec.maximumChunk), to: peer)
            )
        case .chunk(let snapshot, let offset, let bytes): gotChunk(snapshot, offset: offset, bytes, from: peer)
        case .gone(let snapshot): chunkGone(snapshot, from: peer)
        }
        return takeEffects()
    }

    /// Bytes of a peer that are no message.
    package mutating func receivedNonsense() { counters.refusedMessages += 1 }
    /// Records that the store did not take; `unreadable` are those whose bodies it cannot read. Such a one is the same wherever
    /// it is asked for: it is asked for again ever more seldom, while other origins go on.
    package mutating func refused(
        _ count: Int, unreadable found: [(origin: Origin, sequence: UInt64)] = [], now: Instant
    ) {
        counters.refusedRecords += UInt64(count)
        for (origin, sequence) in found {
            let isKnown = unreadable[origin]?.sequence == sequence
            guard isKnown || unreadable.count < ReplicationCodec.maximumOrigins else { continue }
            let pause = isKnown ? unreadable[origin]!.pause * 2 : config.pullTimeout
            let bounded = min(pause, config.unreadablePause)
            unreadable[origin] = Unreadable(sequence: sequence, pause: bounded, until: now + bounded)
            if !isKnown { effects.append(.notify(.unreadable(origin, sequence))) }
        }
    }
    /// Where one origin's records cannot be read on.
    package struct Unreadable: Equatable, Sendable {
        package var sequence: UInt64
        var pause: Duration
        var until: Instant
    }

    /// Records and acknowledgements of another history mean nothing here. Whoever has the lower epoch starts over.
    private mutating func isOurs(_ other: DatabaseEpoch, _ peer: NodeID) -> Bool {
        if other == epoch { return true }
        if let known = peers[peer], known.nextStateAt <= now { tellState(to: peer, wantsReply: true) }
        return false
    }

    private mutating func hear(_ told: ReplicaState, from peer: NodeID, wantsReply: Bool) {
        var state = told
        if state.epoch == epoch { state.vector.forget(forgotten) }
        noteWall(state.wall, of: peer)
        guard hasPeer(peer) else {
            if wantsReply { tellState(to: peer, wantsReply: false) }
            return
        }
        peers[peer]?.epoch = state.epoch
        peers[peer]?.origin = state.origin
        peers[peer]?.vector = state.vector
        peers[peer]?.avoidedUntil = .zero
        if owners.count < ReplicationCodec.maximumOrigins || owners[state.origin] != nil {
            owners[state.origin] = peer
        }
        if state.epoch != epoch {
            if wantsReply { tellState(to: peer, wantsReply: false) }
            if state.epoch > epoch { askForSnapshot(of: peer) }
            return
        }
        if state.vector[own] > vector[own] { renewOrigin() }
        if wantsReply { tellState(to: peer, wantsReply: false) }
        if isJoining, hasWhatCanBeTaken(of: state.vector) { joined() }
        pullIfNeeded()
    }

    /// Until we know of a peer that it has no more than we do. Its answer may have been lost, or may have been right only
    /// before its next write; and once we have all, no hash differs that would make anybody say it again.
    private mutating func askWhileJoining() {
        guard isJoining, now >= nextJoinQuestion else { return }
        nextJoinQuestion = now + config.joinQuestionInterval
        for peer in peersInOrder { tellState(to: peer, wantsReply: true) }
    }

    mutating func joined() {
        guard isJoining, !lacksForgotten else { return }
        isJoining = false
        let lacking = quarantined
        effects.append(.notify(lacking.isEmpty ? .complete : .completeExcept(lacking)))
    }

    /// Others know records under our name that we do not: an earlier life wrote them, and lost them here.
    mutating func renewOrigin() {
        guard !isOriginBurnt else { return }
        isOriginBurnt = true
        effects.append(.renewOrigin)
    }

    /// The store writes under this one now.
    package mutating func originTaken(_ origin: Origin, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        take(origin)
        return takeEffects()
    }
    mutating func take(_ origin: Origin) {
        isOriginBurnt = false
        guard origin != own else { return }
        let old = own
        own = origin
        owners[own] = id
        life = WriterLife(origin: origin, since: life.since.successor)
        livesChanged(of: id)
        noteOwnStanding()
        confirmed = [:]
        effects.append(.notify(.originRenewed(old: old, new: own)))
        settleForNewOrigin()
        for peer in peersInOrder { tellState(to: peer, wantsReply: false) }
    }

    // MARK: What was written here

    /// A local write is in the store.
    package mutating func committed(_ record: LogRecord) {
        vector.advance(record.origin, to: record.sequence)
        times[record.origin] = record.time
        newest = max(newest, record.time)
        enqueue(record, except: nil)
    }

    func isForOthers(_ record: LogRecord, _ peer: NodeID) -> Bool {
        guard let known = peers[peer] else { return false }
        return known.vector[record.origin] < record.sequence && (known.epoch ?? epoch) == epoch
    }

    mutating func enqueue(_ record: LogRecord, except: NodeID?) {
        guard !peers.isEmpty else { return }
        // Too much at once: they will find out that something is missing, and ask.
        guard outgoingBytes + record.body.count <= config.outgoingBytes else {
            counters.pushesDropped += 1
            return
        }
        outgoing.append((record, except))
        outgoingBytes += record.body.count + 64
    }

    /// When what is kept back has to go: call `flush` again by then. Nil when nothing is.
    package var pushDue: Instant? { outgoing.isEmpty ? nil : nextPush }

    /// Sends what was committed since the last time, together. Call it at the end of each turn.
    package mutating func flush(now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        guard !outgoing.isEmpty else { return takeEffects() }
        let isAwaited = isFlooding || isWaitingForOthers
        // Each message costs every peer a commit. What nobody waits for may share one with what comes right after it.
        guard isAwaited || now >= nextPush else { return takeEffects() }
        nextPush = now + config.pushInterval
        let batch = outgoing
        outgoing = []
        outgoingBytes = 0
        for peer in peersInOrder {
            var portion: [LogRecord] = []
            var size = 0
            for (record, except) in batch where except != peer && isForOthers(record, peer) {
                if size + record.body.count > config.pushBudget, !portion.isEmpty {
                    send(.records(portion, epoch: epoch, answer: nil, isAwaited: isAwaited), to: peer)
                    portion = []
                    size = 0
                }
                portion.append(record)
                size += record.body.count + 32
            }
            guard !portion.isEmpty else { continue }
            send(.records(portion, epoch: epoch, answer: nil, isAwaited: isAwaited), to: peer)
        }
        return takeEffects()
    }

    // MARK: Time

    /// About every 100 ms.
    ///
    /// - Parameter logBytes: what the log takes on disk.
    package mutating func tick(logBytes: Int, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        if isJoining, now - startedAt >= config.joinPatience, peers.isEmpty { joined() }
        askWhileJoining()
        releaseHeld()
        pullTick()
        fetchTick()
        settleWaits()
        if now >= nextStandings { spreadStandings() }
        if now >= nextHousekeeping { keepHouse(logBytes) }
        return takeEffects()
    }
}

package struct ReplicatorConfig: Equatable, Sendable {
    /// Up to so many members everybody sends to everybody; above, records are passed on. As membership's mesh.
    package var fullMesh = 16
    /// Of one answer to a pull, and of one message of a push. Unit: bytes.
    package var pullBudget = 256 << 10
    package var pushBudget = 256 << 10
    /// Committed and not sent yet. Unit: bytes.
    package var outgoingBytes = 8 << 20
    /// At most one push in this time of what nobody waits for.
    package var pushInterval: Duration = .microseconds(800)
    /// A peer that answers no pull for so long is left alone for as long.
    package var pullTimeout: Duration = .seconds(2)
    /// At most one state a peer in this time, unless it asks.
    package var stateInterval: Duration = .milliseconds(200)
    /// How often it is told how far everybody is, when there is news; without news, `idleStandings`.
    package var standingsInterval: Duration = .milliseconds(500)
    package var idleStandings: Duration = .seconds(10)
    package var housekeepingInterval: Duration = .seconds(1)
    /// A record more than this ahead of the cluster's median clock is not applied.
    package var farFuture: Duration = .seconds(60)
    /// A write that nobody confirms for so long is answered as what it is by then.
    package var confirmTimeout: Duration = .seconds(5)
    /// Records of others that nobody waits for are synced after so long: one sync and one acknowledgement for all of them.
    package var lazySync: Duration = .milliseconds(50)
    /// What a removed node wrote is forgotten after every member has had all of it for so long.
    package var forgetAfter: Duration = .seconds(60)
    /// A new database that finds nobody in this time is complete.
    package var joinPatience: Duration = .seconds(3)
    /// A record that nobody here can read is asked for again after at most so long: an update may have come.
    package var unreadablePause: Duration = .seconds(600)
    package var joinQuestionInterval: Duration = .seconds(1)
    /// A peer that says nothing for so long in the middle of a snapshot is given up for another.
    package var snapshotTimeout: Duration = .seconds(5)
    /// Of the log, beyond what every member has: more or older is dropped where a majority has it. Unit: bytes.
    package var logBytes = 64 << 20
    package var logAge: Duration = .seconds(24 * 3600)
    package var plantedBug: PlantedBug?
    package init() {}

    /// Bugs that can be switched on, so that the simulator can show that it finds them. Never in a daemon.
    package enum PlantedBug: Equatable, Sendable {
        case appliesOutOfOrder
        case acknowledgesBeforeSync
        case collectsByTime
        case waitsForUnreadable
        case forgetsTooSoon
    }
}

/// What people are told.
package enum ReplicationNotice: Equatable, Sendable {
    /// This node has all that the others had: it is not joining any more.
    case complete
    /// The same, but for what these origins wrote: a record of each is not taken here.
    case completeExcept([Origin])
    case originRenewed(old: Origin, new: Origin)
    /// Records of this origin are from the future, and are not applied until their time comes or an operator says so.
    case held(origin: Origin, by: NodeID?, time: HybridTime)
    case released(origin: Origin)
    /// This record of an origin cannot be read here; nothing after it is taken, others go on.
    case unreadable(Origin, UInt64)
    case fetching(from: NodeID, bytes: UInt64)
    case fetched(from: NodeID)
    case fetchFailed(from: NodeID)
    /// What a removed node wrote is everywhere; nobody speaks of its origins any more.
    case forgotten([Origin])
    /// A peer with a higher epoch replaces what is here.
    case replaced(epoch: DatabaseEpoch, by: NodeID)
}

package struct ReplicationCounters: Equatable, Sendable {
    package var recordsReceived: UInt64 = 0
    package var duplicates: UInt64 = 0
    /// Came before one that was missing.
    package var early: UInt64 = 0
    /// Dropped because too many came early; they are asked for.
    package var earlyDropped: UInt64 = 0
    package var refusedRecords: UInt64 = 0
    package var refusedMessages: UInt64 = 0
    package var futureRecords: UInt64 = 0
    package var pulls: UInt64 = 0
    package var pullsUnanswered: UInt64 = 0
    package var pushesDropped: UInt64 = 0
    package var snapshotsFetched: UInt64 = 0
    package var snapshotsOffered: UInt64 = 0
    package init() {}
}
