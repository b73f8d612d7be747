import BrambleAPI
import Crypto
import Discovery
import Machine
import Node
import Primitives
import Reactor

/// A member's eyes on the local network: hands sightings of its own cluster to the pulse, keeps the machines that wait,
/// and tells of foreign clusters.
actor Finder {
    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let discovery: ServiceDiscovery
    private let id: NodeID
    private var ring: ClusterKeyRing
    private let sighted: @Sendable (Endpoint) -> Void
    private let foreign: @Sendable (_ tag: UInt64, _ at: Endpoint) -> Void
    /// When each waiting machine was first seen. Bounded by the table of sightings.
    private var waitingSince: [NodeID: String] = [:]
    private var tasks: [Task<Void, Never>] = []

    /// With so many peers heard, only machines that wait are looked for.
    private static let enoughPeers = 3

    init(
        on loop: EventLoop, id: NodeID, ring: ClusterKeyRing, port: UInt16, network: NetworkState,
        sighted: @escaping @Sendable (Endpoint) -> Void,
        foreign: @escaping @Sendable (_ tag: UInt64, _ at: Endpoint) -> Void
    ) {
        self.loop = loop
        self.id = id
        self.ring = ring
        self.sighted = sighted
        self.foreign = foreign
        discovery = ServiceDiscovery(
            on: loop, announcing: Self.announcement(id, ring), port: port, addresses: network.published)
    }

    private static func announcement(_ id: NodeID, _ ring: ClusterKeyRing) -> Announcement {
        Announcement(
            version: UInt16(Version.protocolVersion), id: id, role: .member(tag: ring.current.tag.description))
    }

    /// `peers` tells how many are heard now.
    func start(peers: @escaping @Sendable () async -> Int) async {
        await discovery.start()
        tasks = [
            Task {
                for await change in discovery.changes { take(change) }
            },
            Task {
                // A sighting is told once, a handshake can fail: what is still there is tried again.
                while true {
                    let heard = await peers()
                    guard (try? await loop.sleep(for: heard == 0 ? .seconds(1) : .seconds(5))) != nil else { return }
                    await discovery.look(for: heard >= Self.enoughPeers ? .waitingMachines : .everyone)
                    for sighting in await discovery.sightings { knock(sighting) }
                }
            },
        ]
    }

    func stop() async {
        tasks.forEach { $0.cancel() }
        tasks = []
        await discovery.stop()
    }

    func use(_ ring: ClusterKeyRing, network: NetworkState) async {
        self.ring = ring
        await discovery.announce(Self.announcement(id, ring), addresses: network.published)
    }
    func use(_ network: NetworkState) async { await discovery.announce(addresses: network.published) }

    /// Machines without a key, as they tell of themselves.
    func waitingMachines() async -> [WaitingMachine] {
        await discovery.sightings.compactMap { sighting in
            guard case .waiting(let name) = sighting.announcement.role, let endpoint = sighting.endpoints.first
            else { return nil }
            let id = sighting.announcement.id
            return WaitingMachine(
                name: name.description, id: id.description, code: id.code, address: endpoint.address.description,
                port: Int(endpoint.port), reason: .noKey, since: waitingSince[id] ?? Timestamp.now())
        }
    }

    func endpoints(of id: NodeID) async -> [Endpoint] {
        await discovery.sightings.first { $0.announcement.id == id }?.endpoints ?? []
    }

    var trouble: DiscoveryTrouble? { get async { await discovery.trouble } }

    private func take(_ change: SightingChange) {
        switch change {
        case .seen(let sighting):
            if sighting.announcement.isWaiting {
                waitingSince[sighting.announcement.id] = waitingSince[sighting.announcement.id] ?? Timestamp.now()
            }
            knock(sighting)
        case .gone(let id): waitingSince[id] = nil
        }
    }

    private func knock(_ sighting: Sighting) {
        guard case .member(let text) = sighting.announcement.role, let tag = ClusterTag(text) else { return }
        if ring.key(with: tag) != nil {
            sighting.endpoints.forEach(sighted)
        } else if let endpoint = sighting.endpoints.first {
            foreign(tag.value, endpoint)
        }
    }
}

extension NetworkState {
    var published: [PublishedAddress] {
        addresses.filter { !$0.address.isLoopback }.map { PublishedAddress(address: $0.address, interface: $0.index) }
    }
}
