import Membership
import Node
import Primitives
import Services

/// A few node cores and a perfect network between them: everything sent arrives, in order, after a millisecond. Sessions
/// open when one knocks and both sides admit the other, as the transport would do it.
struct NodeBus {
    private(set) var cores: [NodeID: NodeCore] = [:]
    private(set) var notices: [NodeID: [ClusterNotice]] = [:]
    private(set) var wasRemoved: [NodeID: NodeID?] = [:]
    private(set) var keyChanges: [NodeID: Int] = [:]
    private(set) var databasePeers: [NodeID: (members: [NodeID], reachable: [NodeID])] = [:]
    private(set) var services: [NodeID: [ServiceCore.Effect]] = [:]
    private(set) var databasesDiffer: [NodeID: Set<NodeID>] = [:]
    /// Who runs what now.
    private(set) var running: [ServiceName: [NodeID: Epoch]] = [:]
    /// What every start ends with, in these words, instead of success.
    var startFailure: String?
    private var sessions: Set<[NodeID]> = []
    private var keyVersions: [NodeID: UInt32] = [:]
    private var endpoints: [Endpoint: NodeID] = [:]
    private(set) var now = Instant(sinceBoot: .seconds(1000))
    private var generation: UInt32 = 1

    static func id(_ number: UInt64) -> NodeID { NodeID(high: number, low: 0) }
    static func endpoint(_ number: UInt64) -> Endpoint { Endpoint(.v4(0x0A00_0000 + UInt32(number)), port: 7771) }

    mutating func start(
        _ number: UInt64, name: String? = nil, needsApproval: Bool = false, keyVersion: UInt32 = 1,
        facts: SharedFacts = SharedFacts(), members: [MemberRecord] = [], house: HouseSettings? = nil,
        witness: WitnessSettings? = nil
    ) {
        generation += 1
        let id = Self.id(number)
        var config = NodeConfig()
        config.needsApproval = needsApproval
        config.keyVersion = keyVersion
        config.house = house
        config.witness = witness
        keyVersions[id] = keyVersion
        endpoints[Self.endpoint(number)] = id
        cores[id] = NodeCore(
            id: id, version: MemberVersion(generation: generation, incarnation: 0),
            profile: MemberProfile(
                name: NodeName(name ?? "node\(number)")!, addresses: [Self.endpoint(number)], software: "1",
                birth: generation, role: witness == nil ? .node : .witness),
            members: members, facts: facts, config: config, chance: SeededGenerator(seed: number), now: now)
    }

    mutating func stop(_ number: UInt64) {
        cores[Self.id(number)] = nil
        sessions = sessions.filter { !$0.contains(Self.id(number)) }
        for name in running.keys { running[name]?[Self.id(number)] = nil }
    }

    mutating func sight(_ number: UInt64, at other: UInt64) {
        handle(.sighted(Self.endpoint(other)), at: Self.id(number))
    }

    mutating func handle(_ event: NodeEvent, at id: NodeID) {
        guard let effects = cores[id]?.handle(event, now: now) else { return }
        carryOut(effects, at: id)
    }

    /// An operator's order to one node.
    mutating func order(
        _ number: UInt64, _ body: (inout NodeCore, Instant) throws(NodeCore.Refusal) -> [NodeEffect]
    ) throws(NodeCore.Refusal) {
        let effects = try body(&cores[Self.id(number)]!, now)
        carryOut(effects, at: Self.id(number))
    }

    mutating func run(for duration: Duration) {
        let end = now + duration
        while now < end {
            now = now + .milliseconds(25)
            for id in cores.keys.sorted() {
                if let effects = cores[id]?.tick(now: now, drained: true) { carryOut(effects, at: id) }
            }
        }
    }

    private mutating func carryOut(_ effects: [NodeEffect], at id: NodeID) {
        for effect in effects {
            switch effect {
            case .send(let bytes, let peer, let path):
                guard sessions.contains([id, peer].sorted()) else {
                    knock(path, from: id)
                    continue
                }
                guard let origin = endpoints.first(where: { $0.value == id })?.key else { continue }
                handle(.received(bytes: bytes, from: id, path: origin, stamp: now), at: peer)
            case .sendReliably(let bytes, let peer):
                guard sessions.contains([id, peer].sorted()) else { continue }
                handle(.receivedReliably(bytes: bytes, from: id), at: peer)
            case .knock(let endpoint): knock(endpoint, from: id)
            case .forget(let peer): sessions.remove([id, peer].sorted())
            case .notify(let notice): notices[id, default: []].append(notice)
            case .wasRemoved(let remover): wasRemoved[id] = remover
            case .clusterKeysChanged:
                keyChanges[id, default: 0] += 1
                keyVersions[id] = cores[id]?.currentKeyVersion
            case .databasePeers(let members, let reachable): databasePeers[id] = (members, reachable)
            case .databaseDiffers(let peer): databasesDiffer[id, default: []].insert(peer)
            case .storeFacts(let facts):
                // As the database does: at once here, and on all others a moment later.
                for node in cores.keys.sorted() { handle(.factsStored(facts, isWhole: false), at: node) }
            case .service(let effect): obey(effect, at: id)
            case .probeReach, .persistMembers, .persistFacts, .fence, .reachHosts: break
            }
        }
    }

    /// A machine that does everything at once and succeeds, unless `startFailure` says otherwise.
    private mutating func obey(_ effect: ServiceCore.Effect, at id: NodeID) {
        services[id, default: []].append(effect)
        switch effect {
        case .persist(_, let ticket): handle(.lease(.persisted(ticket: ticket)), at: id)
        case .probeReach(let ticket): handle(.lease(.reach(ticket: ticket, answered: 1)), at: id)
        case .machine(let order):
            if case .renewGate = order.action { return }
            if case .start = order.action, let startFailure {
                return handle(.service(.finished(order.order, .failed(.init(startFailure)))), at: id)
            }
            if case .start(_, let epoch, _) = order.action { running[order.service, default: [:]][id] = epoch }
            if case .stop = order.action { running[order.service]?[id] = nil }
            handle(.service(.finished(order.order, .done)), at: id)
        default: break
        }
    }

    private mutating func knock(_ endpoint: Endpoint, from id: NodeID) {
        guard let peer = endpoints[endpoint], peer != id, !sessions.contains([id, peer].sorted()),
            let mine = introduction(of: id), let theirs = introduction(of: peer),
            let answer = cores[peer]?.admission(of: id, keyVersion: mine.keyVersion)
        else { return }
        let path = endpoints.first { $0.value == id }!.key
        switch answer {
        case .refuseRemoved: handle(.refused(by: peer), at: id)
        case .refuseOldKey: break
        case .waitForApproval: handle(.applied(mine, path: path), at: peer)
        case .accept:
            guard cores[id]?.admission(of: peer, keyVersion: theirs.keyVersion) == .accept else { return }
            sessions.insert([id, peer].sorted())
            handle(.sessionOpened(mine, path: path), at: peer)
            handle(.sessionOpened(theirs, path: endpoint), at: id)
        }
    }

    private func introduction(of id: NodeID) -> PeerIntroduction? {
        guard let core = cores[id], let record = core.snapshot.members.first(where: { $0.id == id })?.record else {
            return nil
        }
        return PeerIntroduction(record: record, keyVersion: keyVersions[id] ?? 1)
    }
}
