import Crypto
import Primitives
import Transport
import Wire

/// A node's sessions with all that a test wants to look at, and the decisions of its core.
final class Peer {
    let identity: Identity
    let endpoint: Endpoint
    var sessions: Sessions
    var admits: (NodeID, UInt32) -> Sessions.Admission = { _, _ in .accept }

    var opened: [PeerHello] = []
    var openedUnder: [UInt32] = []
    var received: [[UInt8]] = []
    var receivedFrom: [NodeID] = []
    var paths: [Endpoint] = []
    var refusals: [Sessions.Refusal] = []
    var refusedBy: [NodeID] = []
    var waiting: [NodeID] = []
    var asking: [PeerHello] = []
    var foreign: [ClusterTag] = []
    var unanswered: [Endpoint] = []

    var id: NodeID { identity.id }

    init(
        _ name: String, at endpoint: String, identity: Identity = .generate(), key: ClusterKey,
        older: [ClusterKey] = [],
        generation: UInt32 = 1, limits: SessionLimits = SessionLimits(), now: Instant
    ) {
        self.identity = identity
        self.endpoint = Endpoint(endpoint, defaultPort: 7771)!
        let profile = PeerHello(
            id: identity.id, generation: generation, incarnation: 0, name: NodeName(name)!,
            addresses: [self.endpoint], software: "test", birth: generation)
        sessions = Sessions(
            identity: identity, ring: ClusterKeyRing(current: key, older: older), profile: profile, limits: limits,
            now: now)
    }
}

/// A network in memory: datagrams take a while, and what a test says goes wrong does.
final class Network {
    struct Flight {
        let bytes: [UInt8]
        let from: Endpoint
        let to: Endpoint
        let arrives: Instant
        let number: Int
    }
    private(set) var now = Instant(sinceBoot: .seconds(1000))
    var peers: [Endpoint: Peer] = [:]
    private var flying: [Flight] = []
    private var launched = 0
    var chance: SeededGenerator
    var loss = 0.0
    var duplication = 0.0
    /// Up to this much longer than the usual millisecond: datagrams overtake each other.
    var jitter: Duration = .zero
    /// Everything that was ever sent, as an attacker who listens has it.
    private(set) var captured: [Flight] = []
    /// Return false to swallow a datagram.
    var passes: (Flight) -> Bool = { _ in true }

    init(seed: UInt64 = 1) { chance = SeededGenerator(seed: seed) }

    @discardableResult
    func add(
        _ name: String, at endpoint: String, identity: Identity = .generate(), key: ClusterKey,
        older: [ClusterKey] = [],
        generation: UInt32 = 1, limits: SessionLimits = SessionLimits()
    ) -> Peer {
        let peer = Peer(
            name, at: endpoint, identity: identity, key: key, older: older, generation: generation, limits: limits,
            now: now)
        peers[peer.endpoint] = peer
        return peer
    }

    func knock(_ from: Peer, _ to: Endpoint) {
        var outputs: [Sessions.Output] = []
        from.sessions.knock(to, now: now, into: &outputs)
        take(outputs, of: from)
    }
    func knock(_ from: Peer, _ to: Peer) { knock(from, to.endpoint) }

    func send(_ payload: [UInt8], _ from: Peer, _ to: Peer) {
        var outputs: [Sessions.Output] = []
        from.sessions.send(payload, to: to.id, via: to.endpoint, now: now, into: &outputs)
        take(outputs, of: from)
    }

    /// Puts a datagram on the network, whoever claims to have sent it.
    func inject(_ bytes: [UInt8], from: Endpoint, to: Endpoint, after delay: Duration = .milliseconds(1)) {
        launched += 1
        flying.append(Flight(bytes: bytes, from: from, to: to, arrives: now + delay, number: launched))
    }

    func run(for duration: Duration, every tick: Duration = .milliseconds(25)) {
        let end = now + duration
        var nextTick = Instant(nanoseconds: (now.nanoseconds / tick.nanoseconds + 1) * tick.nanoseconds)
        while now < end {
            let next = flying.map(\.arrives).min() ?? end
            now = min(next, nextTick, end)
            let due = flying.filter { $0.arrives <= now }.sorted { ($0.arrives, $0.number) < ($1.arrives, $1.number) }
            flying.removeAll { $0.arrives <= now }
            for flight in due { deliver(flight) }
            if now >= nextTick {
                nextTick = now + tick
                for endpoint in peers.keys.sorted() {
                    let peer = peers[endpoint]!
                    var outputs: [Sessions.Output] = []
                    peer.sessions.tick(now: now, into: &outputs)
                    take(outputs, of: peer)
                }
            }
        }
    }

    func deliver(_ flight: Flight) {
        guard let peer = peers[flight.to] else { return }
        var outputs: [Sessions.Output] = []
        peer.sessions.receive(
            flight.bytes.span.bytes, from: flight.from, now: now, into: &outputs, admission: peer.admits)
        take(outputs, of: peer)
    }

    private func take(_ outputs: [Sessions.Output], of peer: Peer) {
        for output in outputs {
            switch output {
            case .transmit(let bytes, let to): launch(bytes, from: peer.endpoint, to: to)
            case .opened(let hello, let version, _):
                peer.opened.append(hello)
                peer.openedUnder.append(version)
            case .received(let bytes, let from, let path):
                peer.received.append(bytes)
                peer.receivedFrom.append(from)
                peer.paths.append(path)
            case .refused(let by, let refusal, _):
                peer.refusals.append(refusal)
                peer.refusedBy.append(by)
            case .waitingForApproval(let by, _): peer.waiting.append(by)
            case .asksForApproval(let hello, _, _): peer.asking.append(hello)
            case .foreign(let tag, _): peer.foreign.append(tag)
            case .noAnswer(let endpoint): peer.unanswered.append(endpoint)
            }
        }
    }

    private func launch(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
        for _ in 0..<(chance.chance(duplication) ? 2 : 1) {
            launched += 1
            let extra = Duration.nanoseconds(Int64(chance.unit() * Double(jitter.nanoseconds)))
            let flight = Flight(
                bytes: bytes, from: from, to: to, arrives: now + .milliseconds(1) + extra, number: launched)
            captured.append(flight)
            guard !chance.chance(loss), passes(flight) else { continue }
            flying.append(flight)
        }
    }
}

extension Network.Flight {
    /// What anybody can see of it.
    var kind: Packet.Kind? { (try? Packet(parsing: bytes))?.kind }
}
