import Crypto
import Leases
import Logging
import Machine
import Membership
import Node
import Primitives
import Reactor
import Transport
import Wire

/// `bramble witness`: the pulse and what it needs to be a member, and nothing of what makes a node: no services, no
/// database, no web server. What it keeps is the key, who belongs to the cluster, and what it voted for.
final class WitnessMember: Sendable {
    private let home: Home
    private let configuration: Configuration
    private let clusterName: String
    private let loop: EventLoop
    private let worker: EventLoop
    private let pulseLoop = EventLoop(name: "pulse")
    let pulse: Pulse
    private let keeper: Keeper
    private let disk: LeaseDisk
    private let network: Addresses
    private let streams: StreamTransport
    private let finder: Finder?
    private let contacts: [Endpoint]
    private let members: Locked<Set<NodeID>>
    private let state: Locked<State>

    private struct State {
        var ring: ClusterKeyRing
        var knocking: Task<Void, Never>?
    }

    /// `onRemoval`: an operator removed it, and everything it knew of the cluster is wiped.
    init(
        home: Home, key: ClusterKey, meeting contacts: [Endpoint] = [], configuration: Configuration, loop: EventLoop,
        worker: EventLoop, onRemoval: @escaping @Sendable (_ by: String?) -> Void
    ) throws {
        self.home = home
        self.configuration = configuration
        self.loop = loop
        self.worker = worker
        self.contacts = contacts
        clusterName = key.name
        let (trust, _) = home.savedFacts()
        let keeper = Keeper(home: home, worker: worker, legacy: [])
        self.keeper = keeper
        let ring = Home.keyRing(key, facts: trust)
        state = Locked(State(ring: ring))
        let saved = home.savedMembers()
        let members = Locked(Set(saved.filter { $0.rank != .removed }.map(\.id)))
        self.members = members

        // The pulse is made after the closures that reach it.
        let reached = Locked<WitnessMember?>(nil)
        let port = configuration.port
        network = try Addresses(on: loop, configured: configuration.addresses) { network in
            reached.withLock { $0 }?.networkChanged(network)
        }
        let addresses = network.current.addresses.map { Endpoint($0.address, port: port) }
        let profile = MemberProfile(
            name: configuration.name, addresses: addresses, software: Version.current, birth: home.birth, role: .witness
        )
        var config = NodeConfig()
        config.needsApproval = configuration.needsApproval
        config.keyVersion = ring.current.version
        config.membership = MembershipConfig(profile: configuration.profile)
        // How long a term keeps others out is asked with each vote, so this need not be the nodes' profile.
        config.witness = WitnessSettings(
            votes: LeaseConfig(configuration.profile == .calm ? .calm : .fast, isPair: false),
            memory: home.savedLeases())
        let core = NodeCore(
            id: home.identity.id, version: MemberVersion(generation: home.generation, incarnation: 0), profile: profile,
            members: saved, facts: trust, config: config,
            chance: SeededGenerator(seed: SystemRandomNumberGenerator().seed()), now: SystemClock.now)
        let socket = try DatagramSocket(port: port, addresses: configuration.addresses)
        let sessions = Sessions(
            identity: home.identity, ring: ring,
            profile: PeerHello(
                id: home.identity.id, generation: home.generation, incarnation: 0, name: profile.name,
                addresses: addresses, software: profile.software, birth: profile.birth, isWitness: true),
            now: SystemClock.now)
        streams = try StreamTransport(
            identity: home.identity, loop: loop, port: port, addresses: configuration.addresses,
            software: Version.current, isAllowed: { id in members.withLock { $0.contains(id) } },
            received: { peer, frame in
                guard frame.kind == Frame.Kind.core.rawValue else { return }
                reached.withLock { $0 }?.pulse.post(.receivedReliably(bytes: frame.payload, from: peer))
            })
        finder =
            configuration.discovers
            ? Finder(
                on: loop, id: home.identity.id, ring: ring, port: port, network: network.current,
                sighted: { endpoint in reached.withLock { $0 }?.pulse.post(.sighted(endpoint)) },
                foreign: { _, _ in }) : nil
        let disk = LeaseDisk(home: home, post: { event in reached.withLock { $0 }?.pulse.post(event) })
        self.disk = disk
        pulse = Pulse(
            on: pulseLoop, core: core, sessions: sessions, socket: socket,
            outlets: Pulse.Outlets(
                sendReliably: { bytes, peer, addresses in
                    reached.withLock { $0 }?.streams.send(Frame(.core, payload: bytes), to: peer, endpoints: addresses)
                },
                persistMembers: { records in
                    let ids = Set(records.filter { $0.rank != .removed }.map(\.id))
                    members.withLock { $0 = ids }
                    keeper.keep(records)
                },
                persistFacts: { keeper.keep($0) },
                // It has no database: whoever has one keeps these.
                storeFacts: { _ in },
                clusterKeysChanged: { facts in reached.withLock { $0 }?.clusterKeysChanged(facts) },
                notify: { notice, storyteller in
                    if let draft = storyteller.tell(notice) { Log.info(draft.sentence) }
                },
                probeReach: {},
                forget: { peer in
                    members.withLock { _ = $0.remove(peer) }
                    reached.withLock { $0 }?.streams.disconnect(peer)
                },
                wasRemoved: { remover, storyteller in
                    guard let member = reached.withLock({ $0.take() }) else { return }
                    member.wipe(by: remover.map(storyteller.name), then: onRemoval)
                },
                heldAtTheDoor: { reached.withLock { $0 }?.heldAtTheDoor() },
                databasePeers: { _, _ in }, databaseDiffers: { _ in },
                service: { effect in
                    if case .persist(let memory, let ticket) = effect { disk.persist(memory, ticket) }
                },
                fence: { _, _, _ in }, reachHosts: { _ in }, foreignCluster: { _, _ in }))
        reached.withLock { $0 = self }
    }

    // MARK: Life

    func start() async {
        let granted = await pulseLoop.run { ProcessLimits.favorThisThread() }
        Log.debug("the pulse runs as \(granted)")
        await pulse.start()
        contacts.forEach { pulse.post(.sighted($0)) }
        await finder?.start { [pulse] in await pulse.peerCount }
        let knocking = Task { [pulse, configuration, loop, worker] in
            await pulse.knock(at: configuration.join, on: loop, lookingUpBy: worker)
        }
        state.withLock { $0.knocking = knocking }
        Log.info(
            "\(configuration.name) is a witness of cluster “\(clusterName)” on UDP port \(configuration.port), code "
                + home.identity.id.code)
    }

    func stop() async {
        state.withLock { $0.knocking.take() }?.cancel()
        await finder?.stop()
        await pulse.stop()
        await disk.close()
        await streams.stop()
        await worker.run { [keeper] in keeper.close() }
        pulseLoop.stop()
    }

    // MARK: What others say

    private func networkChanged(_ network: NetworkState) {
        Task { await finder?.use(network) }
        pulse.changed(network, port: configuration.port)
    }

    private func heldAtTheDoor() {
        Log.warning(
            "a member of “\(clusterName)” wants an operator's yes before it admits this witness. On a member: "
                + "bramble node add \(configuration.name), code \(home.identity.id.code)")
    }

    private func clusterKeysChanged(_ facts: SharedFacts) {
        let ring = state.withLock { state in
            state.ring = Home.keyRing(state.ring.current, facts: facts)
            return state.ring
        }
        let network = network.current
        Task {
            await pulse.use(ring)
            await finder?.use(ring, network: network)
        }
        worker.perform { [home] in home.replaceKey(with: ring.current) }
    }

    private func wipe(by remover: String?, then done: @escaping @Sendable (String?) -> Void) {
        worker.perform { [self] in
            keeper.close()
            home.wipe()
            done(remover)
        }
    }
}
