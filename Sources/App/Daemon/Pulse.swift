import CLinux
import Crypto
import Logging
import Machine
import Membership
import Node
import Primitives
import Reactor
import Services
import Transport
import Wire

/// The pulse: the thread on which packets are opened, the core decides, and packets are sealed. Nothing here waits.
///
/// Each turn drains the sockets until EAGAIN and only then ticks the core: a silence is never counted while a packet that
/// would end it lies unread. What may take time goes out through `Outlets` and comes back as an event.
actor Pulse {
    /// Where effects go that are not the pulse's own. Each returns at once; all are called on the pulse thread.
    struct Outlets: Sendable {
        var sendReliably: @Sendable (_ bytes: [UInt8], _ peer: NodeID, _ addresses: [Endpoint]) -> Void
        var persistMembers: @Sendable ([MemberRecord]) -> Void
        var persistFacts: @Sendable (SharedFacts) -> Void
        var storeFacts: @Sendable ([StoredFact]) -> Void
        var clusterKeysChanged: @Sendable (SharedFacts) -> Void
        var notify: @Sendable (ClusterNotice, Storyteller) -> Void
        var probeReach: @Sendable () -> Void
        var forget: @Sendable (NodeID) -> Void
        var wasRemoved: @Sendable (NodeID?, Storyteller) -> Void
        /// A member holds us at the door: an operator has to say yes.
        var heldAtTheDoor: @Sendable () -> Void
        var databasePeers: @Sendable (_ members: [NodeID], _ reachable: [(NodeID, [Endpoint])]) -> Void
        var databaseDiffers: @Sendable (NodeID) -> Void
        /// What leases and services ask of the machine; renewals among it, so on the way of each heartbeat.
        var service: @Sendable (ServiceCore.Effect) -> Void
        /// Another node is to be switched off.
        var fence: @Sendable (NodeID, Fence?, Storyteller) -> Void
        var reachHosts: @Sendable ([IPAddress]) -> Void
        var foreignCluster: @Sendable (_ tag: UInt64, _ at: Endpoint) -> Void
    }

    struct Counters: Sendable {
        var turns: UInt64 = 0
        var eventsDropped: UInt64 = 0
        /// How late the latest ticks were, milliseconds: the worst since the last time anybody asked.
        var worstLatenessMs: Double = 0
    }

    /// Events that other threads may have waiting here; beyond it they are dropped and counted.
    private static let inboxLimit = 4096
    /// Datagrams taken in one turn before a tick is due again: a flood must not stop the heartbeats.
    private static let turnLimit = 2000

    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private var core: NodeCore
    private var sessions: Sessions
    private var socket: DatagramSocket
    private let outlets: Outlets
    private var counters = Counters()
    private var outputs: [Sessions.Output] = []
    /// Sealed and on their way out: sent when the socket is not being read.
    private var outbound: [(bytes: [UInt8], to: Endpoint)] = []
    private var nextTickAt: Instant
    private var timer: EventLoop.Registration?
    private var isStopped = false
    private var watches: [EventLoop.Registration] = []
    /// Events on their way here from other threads.
    private nonisolated let inFlight = Locked(0)
    private nonisolated let dropped = Locked<UInt64>(0)
    /// What the database says of facts, on its way here: never dropped, and a hundred changes are one.
    private nonisolated let news = Locked(News())

    private struct News {
        var facts: [String: StoredFact] = [:]
        var isWhole = false
        var isScheduled = false
    }

    init(
        on loop: EventLoop, core: NodeCore, sessions: consuming sending Sessions,
        socket: consuming sending DatagramSocket,
        outlets: Outlets
    ) {
        self.loop = loop
        self.core = core
        self.sessions = sessions
        self.socket = socket
        self.outlets = outlets
        nextTickAt = SystemClock.now
    }

    // MARK: From other threads

    func start() {
        watches = socket.descriptors.map { descriptor in
            loop.watch(descriptor, for: .readable) { [weak self] _ in self?.assumeIsolated { $0.turn() } }
        }
        turn()
    }

    /// Tells the others that we go, then takes nothing more in.
    func stop() {
        guard !isStopped else { return }
        carryOut(core.handle(.leave, now: SystemClock.now))
        halt()
    }

    /// An event of a driver. When too many wait already it is dropped and counted: drivers repeat what matters.
    nonisolated func post(_ event: NodeEvent) {
        let isRoom = inFlight.withLock { count in
            guard count < Self.inboxLimit else { return false }
            count += 1
            return true
        }
        guard isRoom else {
            dropped.withLock { $0 += 1 }
            return
        }
        loop.perform { [weak self] in
            self?.assumeIsolated { pulse in
                pulse.inFlight.withLock { $0 -= 1 }
                pulse.handle(event)
            }
        }
    }

    /// What the database says of facts: some, or all there are.
    nonisolated func learn(_ facts: [StoredFact], isWhole: Bool) {
        let isFirst = news.withLock { news in
            if isWhole { news = News(isWhole: true, isScheduled: news.isScheduled) }
            for fact in facts { news.facts[fact.key] = fact }
            defer { news.isScheduled = true }
            return !news.isScheduled
        }
        guard isFirst else { return }
        loop.perform { [weak self] in
            self?.assumeIsolated { pulse in
                let news = pulse.news.withLock { news in
                    defer { news = News() }
                    return news
                }
                let facts = news.facts.values.sorted { $0.key < $1.key }
                pulse.handle(.factsStored(facts, isWhole: news.isWhole))
            }
        }
    }

    /// An order of an operator: what it answers goes back to who asked, its effects are carried out first.
    func order<Answer: Sendable, Failure: Error>(
        _ body: @Sendable (inout NodeCore, Instant) throws(Failure) -> (Answer, [NodeEffect])
    ) throws(Failure) -> Answer {
        let (answer, effects) = try body(&core, SystemClock.now)
        carryOut(effects)
        return answer
    }

    var snapshot: NodeSnapshot { core.snapshot }
    var facts: SharedFacts { core.facts }
    var house: HouseSnapshot? { core.houseSnapshot(now: SystemClock.now) }
    /// Nobody else answers now.
    var isAlone: Bool { core.isAlone }
    var peerCount: Int { core.peerCount }

    struct Figures: Sendable {
        var counters: Counters
        var sessions: SessionCounters
        var openPeers: Int
        var malformedMessages: Int
        var sendErrors: UInt64
    }
    /// For `/metrics`; reading it starts a new measurement of the worst lateness.
    func figures() -> Figures {
        counters.eventsDropped = dropped.withLock { $0 }
        defer { counters.worstLatenessMs = 0 }
        return Figures(
            counters: counters, sessions: sessions.counters, openPeers: sessions.openPeers,
            malformedMessages: core.malformedMessages, sendErrors: socket.sendErrors.values.reduce(0, +))
    }

    /// New cluster keys, from the facts: handshakes prove the newest from now on.
    func use(_ ring: ClusterKeyRing) { sessions.ring = ring }

    // MARK: A turn

    /// Drain, then tick if it is time, then sleep until the next one. A wake-up for a packet and one for the tick are alike.
    private func turn() {
        guard !isStopped else { return }
        counters.turns += 1
        let isDrained = drain()
        let now = SystemClock.now
        // Whoever is up for a packet and has a tick to do soon does it now, rather than sleep and wake again for it.
        guard now >= nextTickAt - core.tickInterval * 2 / 5 else { return }
        counters.worstLatenessMs = max(counters.worstLatenessMs, (now - nextTickAt).milliseconds)
        carryOut(core.tick(now: now, drained: isDrained))
        // The generation, too, grows when the others remember a later life than our disk does.
        let version = core.version
        if sessions.profile.incarnation != version.incarnation || sessions.profile.generation != version.generation {
            sessions.profile.incarnation = version.incarnation
            sessions.profile.generation = version.generation
        }
        sessions.tick(now: now, into: &outputs)
        settle(stamp: now)
        transmit()
        guard !isStopped else { return }
        // Early or on time: a whole interval from now. Late: so that the rhythm is kept, but never two at once.
        nextTickAt = max(min(nextTickAt, now) + core.tickInterval, now + core.tickInterval / 2)
        if let timer { loop.cancel(timer) }
        timer = loop.schedule(at: nextTickAt) { [weak self] in self?.assumeIsolated { $0.turn() } }
    }

    /// True when the socket is empty.
    private func drain() -> Bool {
        let isDrained = socket.drain(limit: Self.turnLimit) { datagram, source, stamp in
            sessions.receive(datagram, from: source, now: stamp, into: &outputs) { peer, keyVersion in
                Sessions.Admission(core.admission(of: peer, keyVersion: keyVersion))
            }
            settle(stamp: stamp)
        }
        transmit()
        return isDrained
    }

    private func handle(_ event: NodeEvent) {
        guard !isStopped else { return }
        if case .addressesChanged(let addresses) = event { sessions.profile.addresses = addresses }
        carryOut(core.handle(event, now: SystemClock.now))
    }

    /// Hands what the sessions found to the core, and what the core says to the sessions, until nothing is left to do.
    private func settle(stamp: Instant) {
        // Handling one output may add others at the end.
        var next = 0
        while next < outputs.count {
            let output = outputs[next]
            next += 1
            switch output {
            case .transmit(let bytes, let endpoint): outbound.append((bytes, endpoint))
            case .opened(let hello, let keyVersion, let path):
                enact(
                    core.handle(.sessionOpened(PeerIntroduction(hello, keyVersion: keyVersion), path: path), now: stamp)
                )
            case .received(let bytes, let peer, let path):
                // An empty one only proves that the session works.
                guard !bytes.isEmpty else { continue }
                enact(core.handle(.received(bytes: bytes, from: peer, path: path, stamp: stamp), now: SystemClock.now))
            case .refused(let peer, let refusal, let path):
                switch refusal {
                case .removed: enact(core.handle(.refused(by: peer), now: stamp))
                case .oldKey:
                    Log.warning(
                        "\(path) refuses our cluster key: it was changed while this node was away. "
                            + "Copy cluster.key from a member into the data directory and start again")
                }
            case .waitingForApproval: outlets.heldAtTheDoor()
            case .asksForApproval(let hello, let keyVersion, let path):
                enact(core.handle(.applied(PeerIntroduction(hello, keyVersion: keyVersion), path: path), now: stamp))
            case .foreign(let tag, let endpoint): outlets.foreignCluster(tag.value, endpoint)
            case .noAnswer: break
            }
        }
        outputs.removeAll(keepingCapacity: true)
    }

    private func transmit() {
        for (bytes, endpoint) in outbound { socket.send(bytes, to: endpoint) }
        outbound.removeAll(keepingCapacity: true)
    }

    // MARK: Effects

    private func carryOut(_ effects: [NodeEffect]) {
        enact(effects)
        settle(stamp: SystemClock.now)
        transmit()
    }

    /// Effects that make datagrams add them to `outputs`; whoever calls this settles and transmits.
    private func enact(_ effects: [NodeEffect]) {
        for effect in effects {
            switch effect {
            case .send(let bytes, let peer, let path):
                sessions.send(bytes, to: peer, via: path, now: SystemClock.now, into: &outputs)
            case .sendReliably(let bytes, let peer): outlets.sendReliably(bytes, peer, core.addresses(of: peer))
            case .knock(let endpoint): sessions.knock(endpoint, now: SystemClock.now, into: &outputs)
            case .forget(let peer):
                sessions.forget(peer)
                outlets.forget(peer)
            case .probeReach: outlets.probeReach()
            case .databasePeers(let members, let reachable):
                outlets.databasePeers(members, reachable.map { ($0, core.addresses(of: $0)) })
            case .databaseDiffers(let peer): outlets.databaseDiffers(peer)
            case .service(let effect): outlets.service(effect)
            case .fence(let node, let fence): outlets.fence(node, fence, storyteller)
            case .reachHosts(let hosts): outlets.reachHosts(hosts)
            case .persistMembers(let records): outlets.persistMembers(records)
            case .persistFacts(let facts): outlets.persistFacts(facts)
            case .storeFacts(let facts): outlets.storeFacts(facts)
            case .clusterKeysChanged: outlets.clusterKeysChanged(core.facts)
            case .notify(let notice): outlets.notify(notice, storyteller)
            case .wasRemoved(let remover):
                outlets.wasRemoved(remover, storyteller)
                halt()
            }
        }
    }

    private var storyteller: Storyteller { Storyteller(names: core.names, selfID: core.id) }

    private func halt() {
        isStopped = true
        watches.forEach(loop.cancel)
        watches = []
    }
}

extension Sessions.Admission {
    init(_ admission: NodeCore.Admission) {
        self =
            switch admission {
            case .accept: .accept
            case .waitForApproval: .waitForApproval
            case .refuseRemoved: .refuseRemoved
            case .refuseOldKey: .refuseOldKey
            }
    }
}

extension PeerIntroduction {
    init(_ hello: PeerHello, keyVersion: UInt32) {
        self.init(
            record: MemberRecord(
                id: hello.id, version: MemberVersion(generation: hello.generation, incarnation: hello.incarnation),
                rank: .alive,
                profile: MemberProfile(
                    name: hello.name, addresses: hello.addresses, software: hello.software, birth: hello.birth,
                    role: hello.isWitness ? .witness : .node)),
            keyVersion: keyVersion)
    }
}
