import BrambleAPI
import Crypto
import Leases
import Logging
import Machine
import Membership
import Node
import Primitives
import Reactor
import Services
import Transport
import Wire

import struct Storage.FactEdit

/// A node that has the cluster key: the pulse and the drivers around it, wired together.
///
/// It decides nothing. Each closure below hands what one part says to the part that is to hear it.
final class Member: Sendable {
    let home: Home
    let configuration: Configuration
    let clusterName: String
    let journal: EventJournal
    let pulse: Pulse
    let database: Database
    /// Who may use the HTTP API, looked up at every request.
    let tokens = Accounts.TokenTable()
    let startedAt = SystemClock.now

    private let loop: EventLoop
    let worker: EventLoop
    private let pulseLoop: EventLoop
    private let contacts: [Endpoint]
    private let keeper: Keeper
    /// As the files had it at the start.
    private let remembered: (trust: SharedFacts, legacy: [StoredFact])
    private let hosts: HostsFile?
    private let network: Addresses
    private let streams: StreamTransport
    let mirrors: Mirroring
    private let finder: Finder?
    let services: ServiceDriver
    let leases: NamedLeases
    let balancing: Balancing
    let clocks: Clocks
    let volumes: VolumeKeeping
    let fencing: Fencing
    /// What was measured at ordered moves, and when.
    let lastGaps = Locked<[ServiceName: (milliseconds: Double, at: Instant)]>([:])
    var meterLoop: EventLoop { loop }
    /// Who may open a stream: the members that the pulse knows.
    private let members: Locked<Set<NodeID>>
    private let state = Locked(State())

    private struct State {
        var ring: ClusterKeyRing?
        var heldAtTheDoorAt: Instant?
        var foreign: [UInt64: Endpoint] = [:]
        var isHostsUpdateDue = false
        var tasks: [Task<Void, Never>] = []
    }

    static let maximumForeign = 32
    /// Below systemd's own patience of 90 s.
    private static let handOverTime = Duration.seconds(75)

    init(
        home: Home, key: ClusterKey, meeting contacts: [Endpoint] = [], configuration: Configuration,
        journal: EventJournal, loop: EventLoop, worker: EventLoop,
        onRemoval: @escaping @Sendable (_ by: String?) -> Void
    ) throws {
        self.home = home
        self.configuration = configuration
        self.journal = journal
        self.loop = loop
        self.worker = worker
        self.contacts = contacts
        clusterName = key.name
        hosts = configuration.hostsFile.map { HostsFile(path: $0) }

        // Until the database is open, what an earlier version kept counts as it was.
        let (trust, legacy) = home.savedFacts()
        let keeper = Keeper(home: home, worker: worker, legacy: legacy)
        self.keeper = keeper
        var facts = trust
        var known = legacy
        if let hash = home.firstPassword() { known.append(StoredFact(FactKey.user(Accounts.firstUser), hash)) }
        _ = facts.project(known, isWhole: true)
        let tokens = tokens
        tokens.learn(known, isWhole: true)
        remembered = (trust, legacy)
        let ring = Home.keyRing(key, facts: facts)
        let saved = home.savedMembers()
        let members = Locked(Set(saved.filter { $0.rank != .removed }.map(\.id)))
        self.members = members

        let databaseStreams = Locked<StreamTransport?>(nil)
        // The pulse is made after the closures that reach it.
        let reached = Locked<Member?>(nil)
        let port = configuration.port
        network = try Addresses(on: loop, configured: configuration.addresses) { network in
            reached.withLock { $0 }?.networkChanged(network)
        }
        let addresses = network.current.addresses.map { Endpoint($0.address, port: port) }
        let profile = MemberProfile(
            name: configuration.name, addresses: addresses, software: Version.current, birth: home.birth)
        let version = MemberVersion(generation: home.generation, incarnation: 0)

        var config = NodeConfig()
        config.needsApproval = configuration.needsApproval
        config.keyVersion = ring.current.version
        config.membership = MembershipConfig(profile: configuration.profile)
        let profileOfLeases: LeaseConfig.Profile = configuration.profile == .calm ? .calm : .fast
        let house = HouseSettings(
            pair: LeaseConfig(profileOfLeases, isPair: true), votes: LeaseConfig(profileOfLeases, isPair: false),
            memory: home.savedLeases(), reach: configuration.reach)
        config.house = house
        let kept = DesiredDocuments.read(
            facts.keys(prefix: FactKey.desired).compactMap { key in facts[key].map { (key, $0) } })
        let reachHosts = kept.state.reach.isEmpty ? configuration.reach : kept.state.reach
        config.membership.hasReachTargets = !reachHosts.isEmpty
        let core = NodeCore(
            id: home.identity.id, version: version, profile: profile, members: saved, facts: facts,
            config: config, chance: SeededGenerator(seed: SystemRandomNumberGenerator().seed()), now: SystemClock.now)
        let socket = try DatagramSocket(port: port, addresses: configuration.addresses)
        let sessions = Sessions(
            identity: home.identity, ring: ring,
            profile: PeerHello(
                id: home.identity.id, generation: version.generation, incarnation: 0, name: profile.name,
                addresses: addresses, software: profile.software, birth: profile.birth), now: SystemClock.now)
        let database = Database(
            id: home.identity.id, name: configuration.name.description, directory: home.directory.path,
            clusters: Self.tags(of: ring),
            outlets: Database.Outlets(
                send: { bytes, peer, addresses in
                    databaseStreams.withLock { $0 }?.send(
                        Frame(.replication, payload: bytes), to: peer, endpoints: addresses)
                },
                hash: { hash in reached.withLock { $0 }?.pulse.post(.databaseHash(hash)) },
                tell: { draft in Task { await journal.record(draft) } },
                facts: { facts, isWhole in
                    tokens.learn(facts, isWhole: isWhole)
                    guard let member = reached.withLock({ $0 }) else { return }
                    member.pulse.learn(facts, isWhole: isWhole)
                    member.mirrors.refresh()
                    member.balancing.refresh()
                    member.volumes.refresh()
                    member.clockChanged(facts, isWhole: isWhole)
                },
                trust: { encoded in reached.withLock { $0 }?.pulse.post(.trustStored(encoded)) },
                tookOver: { reached.withLock { $0 }?.tookOver() }))
        self.database = database
        let isAllowed: @Sendable (NodeID) -> Bool = { id in members.withLock { $0.contains(id) } }
        let mirrors = Mirroring(home: home, journal: journal, isAllowed: isAllowed)
        self.mirrors = mirrors
        balancing = Balancing(directory: home.directory.path, journal: journal)
        streams = try StreamTransport(
            identity: home.identity, loop: loop, port: port, addresses: configuration.addresses,
            software: Version.current, tunnels: mirrors.tunnels, isAllowed: isAllowed,
            received: { peer, frame in
                if frame.kind == Frame.Kind.replication.rawValue { return database.received(frame.payload, from: peer) }
                if frame.kind == Frame.Kind.mirror.rawValue { return mirrors.received(frame.payload, from: peer) }
                if frame.kind == Frame.Kind.clock.rawValue {
                    reached.withLock { $0 }?.clocks.received(frame.payload, from: peer)
                    return
                }
                if frame.kind == Frame.Kind.volume.rawValue {
                    reached.withLock { $0 }?.volumes.received(frame.payload, from: peer)
                    return
                }
                guard frame.kind == Frame.Kind.core.rawValue else { return }
                reached.withLock { $0 }?.pulse.post(.receivedReliably(bytes: frame.payload, from: peer))
            })
        finder =
            configuration.discovers
            ? Finder(
                on: loop, id: home.identity.id, ring: ring, port: port, network: network.current,
                sighted: { endpoint in reached.withLock { $0 }?.pulse.post(.sighted(endpoint)) },
                foreign: { tag, endpoint in reached.withLock { $0 }?.foreignCluster(tag, at: endpoint) }) : nil
        let services = ServiceDriver(
            home: home, node: configuration.name.description, watchdog: configuration.watchdog, reach: reachHosts,
            mirrors: mirrors,
            post: { event in reached.withLock { $0 }?.pulse.post(event) })
        self.services = services
        let leases = NamedLeases(
            me: home.identity.id, loop: worker, post: { event in reached.withLock { $0 }?.pulse.post(event) })
        self.leases = leases
        let clocks = Clocks(
            id: home.identity.id, loop: worker, leases: leases, journal: journal,
            send: { frame, peer, endpoints in
                databaseStreams.withLock { $0 }?.send(frame, to: peer, endpoints: endpoints)
            })
        self.clocks = clocks
        let volumes = VolumeKeeping(
            id: home.identity.id, directory: home.directory.path, leases: leases, journal: journal, worker: worker,
            send: { frame, peer, endpoints in
                databaseStreams.withLock { $0 }?.send(frame, to: peer, endpoints: endpoints)
            },
            forget: { fact in (try? await database.remember([FactEdit(fact, nil)])) != nil })
        self.volumes = volumes
        let fencing = Fencing(journal: journal, post: { event in reached.withLock { $0 }?.pulse.post(event) })
        self.fencing = fencing
        pulseLoop = EventLoop(name: "pulse")
        pulse = Pulse(
            on: pulseLoop, core: core, sessions: sessions, socket: socket,
            outlets: Pulse.Outlets(
                sendReliably: { bytes, peer, addresses in
                    reached.withLock { $0 }?.sendReliably(bytes, to: peer, at: addresses)
                },
                persistMembers: { records in
                    let ids = Set(records.filter { $0.rank != .removed }.map(\.id))
                    members.withLock { $0 = ids }
                    keeper.keep(records)
                },
                persistFacts: { facts in
                    keeper.keep(facts)
                    database.copy(facts)
                },
                storeFacts: { database.store($0) },
                clusterKeysChanged: { facts in reached.withLock { $0 }?.clusterKeysChanged(facts) },
                notify: { notice, storyteller in reached.withLock { $0 }?.noticed(notice, storyteller) },
                probeReach: { services.probeReach() },
                forget: { peer in reached.withLock { $0 }?.forget(peer) },
                wasRemoved: { remover, storyteller in
                    services.abandon()
                    guard let member = reached.withLock({ $0.take() }) else { return }
                    member.wipe(by: remover.map(storyteller.name), then: onRemoval)
                },
                heldAtTheDoor: { reached.withLock { $0 }?.heldAtTheDoor() },
                databasePeers: {
                    // First: what they send to those who have come back is to get there at once.
                    reached.withLock { $0 }?.streams.hears($1.map(\.0))
                    database.peersChanged(members: $0, reachable: $1)
                    mirrors.peersChanged($1)
                    clocks.peersChanged($1)
                    volumes.peersChanged($1)
                },
                databaseDiffers: { database.differs($0) },
                service: { effect in
                    if case .other(let news) = effect { leases.take(news) } else { services.carryOut(effect) }
                },
                fence: { node, fence, storyteller in
                    fencing.switchOff(node, fence, named: storyteller.name(node))
                },
                reachHosts: { services.use(reach: $0) },
                foreignCluster: { tag, endpoint in reached.withLock { $0 }?.foreignCluster(tag, at: endpoint) }))
        databaseStreams.withLock { $0 = streams }
        state.withLock { $0.ring = ring }
        reached.withLock { $0 = self }
    }

    // MARK: Life

    func start() async {
        let granted = await pulseLoop.run { ProcessLimits.favorThisThread() }
        Log.debug("the pulse runs as \(granted)")
        await database.begin(legacy: remembered.legacy, trust: remembered.trust)
        await database.open()
        if let hash = home.firstPassword(), await database.found(StoredFact(FactKey.user(Accounts.firstUser), hash)) {
            home.dropFirstPassword()
        }
        await pulse.start()
        mirrors.start(streams: streams, pulse: pulse)
        balancing.start(pulse) { [database] edit in
            do { _ = try await database.remember([edit]) } catch { Log.debug("the UDP ports are not told: \(error)") }
        }
        volumes.start(pulse)
        contacts.forEach { pulse.post(.sighted($0)) }
        await finder?.start { [pulse] in await pulse.peerCount }
        state.withLock { state in
            state.tasks = [
                Task { await self.reportLoad() },
                Task { [pulse, configuration, loop, worker] in
                    await pulse.knock(at: configuration.join, on: loop, lookingUpBy: worker)
                },
                Task { await self.settleInMemory() },
            ]
        }
        updateHosts()
        Log.info(
            "\(configuration.name) runs in cluster “\(clusterName)”, gossip on UDP port \(configuration.port), code "
                + home.identity.id.code)
    }

    /// When the start is over: what only it needed is given back, what is in use stays.
    private func settleInMemory() async {
        guard await pause(.seconds(5)) else { return }
        let isLocked = await worker.run {
            ResidentMemory.giveBackCodeOfTheStart()
            return ProcessLimits.lockMemory()
        }
        Log.debug("memory is \(isLocked ? "locked" : "not locked")")
    }

    /// Says goodbye to the others, and leaves the machine as it was found.
    func stop() async {
        let tasks = state.withLock { state in
            defer { state.tasks = [] }
            return state.tasks
        }
        tasks.forEach { $0.cancel() }
        // First, while the others still hear us and can take over what is handed to them.
        await volumes.stop()
        let isOrderly = await services.end(within: Self.handOverTime)
        if !isOrderly { Log.warning("not every service could be stopped in time; the guard ends what is left") }
        await finder?.stop()
        await pulse.stop()
        await services.close(isOrderly: isOrderly)
        await balancing.stop()
        await clocks.stop()
        await fencing.stop()
        await mirrors.stop()
        await database.close()
        await streams.stop()
        let hosts = hosts
        await worker.run { [keeper] in
            keeper.close()
            _ = try? hosts?.removeBlock()
        }
        pulseLoop.stop()
        database.stopThread()
    }

    private static func tags(of ring: ClusterKeyRing) -> [[UInt8]] {
        ([ring.current] + ring.older).map { key in
            (0..<8).map { UInt8(truncatingIfNeeded: key.tag.value >> (56 - 8 * UInt64($0))) }
        }
    }

    var ring: ClusterKeyRing {
        state.withLock { state in
            guard let ring = state.ring else { preconditionFailure("set before the pulse starts") }
            return ring
        }
    }

    /// Blocking look-ups are made on the worker's thread.
    func lookUp(_ host: String) async -> [Endpoint] {
        await worker.run { NameLookup.endpoints(of: host, defaultPort: Configuration.defaultPort) }
    }

    /// False when the task was cancelled meanwhile.
    func pause(_ duration: Duration) async -> Bool { (try? await loop.sleep(for: duration)) != nil }

    /// Gives a waiting machine the cluster key, at any of its addresses; its identity is checked before anything is said.
    func invite(_ machine: WaitingMachine, _ id: NodeID) async throws(APIError) {
        let invitation = Invitation(
            key: ring.current.text, members: network.current.addresses.map { Endpoint($0.address, port: streams.port) })
        var failure = InvitationError.busy
        for endpoint in await finder?.endpoints(of: id) ?? [] {
            do throws(InvitationError) {
                return try await streams.invite(endpoint, expecting: id, with: invitation)
            } catch {
                failure = error
            }
        }
        throw APIError(problem: failure.problem, remedy: failure.remedy)
    }

    func onWorker<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value { await worker.run(body) }

    /// What `bramble doctor` finds on the machine itself.
    func examineMachine() async -> [DoctorCheck] {
        await worker.run { [home, configuration] in DoctorCheck.all(home, configuration) }
    }

    /// Machines without a key, found by discovery.
    func machinesWithoutKey() async -> [WaitingMachine] { await finder?.waitingMachines() ?? [] }
    func discoveryTrouble() async -> (any OperatorError)? { await finder?.trouble }
    func streamCounters() async -> StreamCounters { await streams.counters }

    // MARK: What the pulse says

    /// What the database says of facts, as far as it is about the clocks.
    private func clockChanged(_ facts: [StoredFact], isWhole: Bool) {
        let fact = facts.last { $0.key == FactKey.clock }
        guard fact != nil || isWhole else { return }
        clocks.use(isOn: fact?.value.elementsEqual("on".utf8) ?? false)
    }

    private func noticed(_ notice: ClusterNotice, _ storyteller: Storyteller) {
        if let draft = storyteller.tell(notice) { Task { await journal.record(draft) } }
        if case .membership = notice { updateHosts() }
        mirrors.refresh()
        balancing.refresh()
        volumes.refresh()
        if case .nameConflict = notice { updateHosts() }
    }

    private func sendReliably(_ bytes: [UInt8], to peer: NodeID, at addresses: [Endpoint]) {
        streams.send(Frame(.core, payload: bytes), to: peer, endpoints: addresses)
    }
    private func forget(_ peer: NodeID) {
        members.withLock { _ = $0.remove(peer) }
        streams.disconnect(peer)
        mirrors.tunnels.disconnect(peer)
    }

    private func clusterKeysChanged(_ facts: SharedFacts) {
        let ring = state.withLock { state in
            guard let old = state.ring else { preconditionFailure("set before the pulse starts") }
            let ring = Home.keyRing(old.current, facts: facts)
            state.ring = ring
            return ring
        }
        let network = network.current
        Task {
            await pulse.use(ring)
            await database.use(clusters: Self.tags(of: ring))
            await finder?.use(ring, network: network)
        }
        worker.perform { [home] in home.replaceKey(with: ring.current) }
    }

    private func tookOver() {
        keeper.forgetLegacy()
        Task { await keeper.keep(pulse.facts) }
    }

    private func heldAtTheDoor() {
        let isNews = state.withLock { state in
            defer { state.heldAtTheDoorAt = SystemClock.now }
            return state.heldAtTheDoorAt == nil
        }
        guard isNews else { return }
        Log.info(
            "a member of “\(clusterName)” wants an operator's yes before it admits this node. On a member: "
                + "bramble node add \(configuration.name), code \(home.identity.id.code)")
    }
    /// True while a member has held us at the door lately.
    var isHeldAtTheDoor: Bool {
        state.withLock { $0.heldAtTheDoorAt.map { SystemClock.now - $0 < .seconds(60) } ?? false }
    }

    private func foreignCluster(_ tag: UInt64, at endpoint: Endpoint) {
        let isNews = state.withLock { state in
            guard state.foreign[tag] == nil, state.foreign.count < Self.maximumForeign else { return false }
            state.foreign[tag] = endpoint
            return true
        }
        guard isNews else { return }
        let draft = EventDraft(
            type: "foreign", subject: "\(endpoint)", detail: ["tag": .string(String(tag, radix: 16))],
            sentence: "a node of another cluster is at \(endpoint); it is ignored")
        Task { await journal.record(draft) }
    }
    var foreignClusters: [Endpoint] { state.withLock { $0.foreign.values.sorted() } }

    // MARK: What the drivers say

    private func networkChanged(_ network: NetworkState) {
        Task { await finder?.use(network) }
        pulse.changed(network, port: configuration.port)
    }

    private func reportLoad() async {
        let sampler = LoadSampler()
        while !Task.isCancelled {
            let sample = sampler.sample()
            pulse.post(
                .load(
                    LoadFacts(
                        cpu: sample.cpu ?? 0, memory: sample.memory ?? 0, load1: sample.load1 ?? 0,
                        load5: sample.load5 ?? 0, load15: sample.load15 ?? 0, temperature: sample.temperature)))
            guard (try? await loop.sleep(for: .seconds(2))) != nil else { return }
        }
    }

    /// The addresses given with --join are asked often until somebody is found, and now and then for ever: two halves of
    /// one cluster that cannot hear each other's multicast meet through them.
    // MARK: /etc/hosts

    /// Once for all changes of a moment.
    private func updateHosts() {
        guard let hosts else { return }
        let isFirst = state.withLock { state in
            defer { state.isHostsUpdateDue = true }
            return !state.isHostsUpdateDue
        }
        guard isFirst else { return }
        loop.schedule(after: .milliseconds(200)) { [self] in
            state.withLock { $0.isHostsUpdateDue = false }
            Task {
                let entries = await Self.hostsEntries(pulse.snapshot)
                await worker.run {
                    do throws(HostsFileError) {
                        _ = try hosts.update(entries)
                    } catch {
                        Log.warning("\(error.problem). \(error.remedy)")
                    }
                }
            }
        }
    }

    private static func hostsEntries(_ snapshot: NodeSnapshot) -> [HostsFile.Entry] {
        snapshot.members.compactMap { member in
            guard member.rank != .removed, let name = snapshot.names.name(of: member.id),
                let address = member.record.profile.addresses.first?.address, !address.isLoopback
            else { return nil }
            return HostsFile.Entry(address: address, name: name)
        }
    }

    // MARK: Removal

    private func wipe(by remover: String?, then done: @escaping @Sendable (String?) -> Void) {
        Task {
            await volumes.leave()
            await clocks.leave()
            await database.wipe()
            await worker.run { [self] in
                keeper.close()
                home.wipe()
                _ = try? hosts?.removeBlock()
            }
            done(remover)
        }
    }
}

extension MembershipConfig {
    /// `calm` trades speed for patience: for Wi-Fi, and for cards that stall the machine.
    init(profile: Settings.Profile) {
        self.init()
        guard profile == .calm else { return }
        smallInterval = .milliseconds(300)
        mediumInterval = .milliseconds(500)
        largeInterval = .seconds(1)
    }
}

extension SystemRandomNumberGenerator {
    consuming func seed() -> UInt64 {
        var generator = self
        return generator.next()
    }
}
