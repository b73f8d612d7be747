import Membership
import Node
import Primitives

/// A datagram on the simulated wire. Copies of one packet share it.
final class Packet: Sendable {
    enum Body: Sendable {
        case hello(Introduction)
        /// Answers the hello whose `index` is named.
        case reply(Introduction, to: UInt32)
        /// The initiator's proof that it is there and alive: only then does the responder believe in the session.
        case finish(session: UInt32)
        case sealed([UInt8], session: UInt32)
        /// Signed by the refusing member.
        case refusal(by: NodeID)
    }
    /// What a handshake message proves and carries.
    struct Introduction: Sendable {
        var peer: PeerIntroduction
        /// Stands for the cluster key that seals the message: who has another one cannot read it.
        var secret: [UInt8]
        /// Under which its sender will receive sealed datagrams.
        var index: UInt32
    }
    let source: Endpoint
    let target: Endpoint
    let body: Body

    init(from source: Endpoint, to target: Endpoint, _ body: Body) {
        self.source = source
        self.target = target
        self.body = body
    }

    /// Bytes on the wire: IPv4 and UDP headers (28) with what docs/protocol/transport.md puts around the payload.
    var size: Int {
        switch body {
        case .hello, .reply: 28 + 400
        case .finish: 28 + 48
        case .refusal: 28 + 200
        case .sealed(let bytes, _): 28 + 32 + bytes.count
        }
    }
}

/// The contract of the real datagram transport, without its cryptography: sessions die with either process, a packet
/// for a dead session makes its receiver introduce itself, and a handshake takes one and a half round trips.
struct SimulatedTransport {
    struct Identity {
        var id: NodeID
        var endpoint: Endpoint
        var introduction: MemberRecord
        /// Cluster keys by version; the highest is proved, all are accepted (whom `NodeCore.admission` lets in).
        var keys: [UInt32: [UInt8]]
    }
    enum Output {
        case transmit(Packet)
        case event(NodeEvent)
    }
    private struct Session {
        var localIndex: UInt32
        var remoteIndex: UInt32
    }
    private struct Attempt {
        var index: UInt32
        var keyVersion: UInt32
        var sentAt: Instant
        var sent: Int
    }
    private struct HalfOpen {
        var peer: PeerIntroduction
        var remoteIndex: UInt32
        var path: Endpoint
        var reply: Packet
    }

    /// A hello is repeated this long after the one before; after the last the next `send` or `knock` begins anew.
    private static let patience = Duration.milliseconds(150)
    private static let attempts = 3
    /// One unknown session index from one address makes at most one hello in this time.
    private static let introductionPause = Duration.milliseconds(250)
    private static let capacity = 4096

    var identity: Identity
    private var sessions: [NodeID: Session] = [:]
    private var peers: [UInt32: NodeID] = [:]
    private var receiveIndexes: [NodeID: [UInt32]] = [:]
    private var attempts: [Endpoint: Attempt] = [:]
    private var halfOpen: [UInt32: HalfOpen] = [:]
    private var answered: [UInt32: UInt32] = [:]
    private var introducedAt: [Endpoint: Instant] = [:]
    private var generations: [NodeID: UInt32] = [:]
    private(set) var paths: [NodeID: Endpoint] = [:]
    private var chance: SeededGenerator
    /// Handshakes of other clusters, or under a key we do not have.
    private(set) var foreignPackets = 0

    init(identity: Identity, chance: SeededGenerator) {
        self.identity = identity
        self.chance = chance
    }

    func hasSession(with peer: NodeID) -> Bool { sessions[peer] != nil }

    // MARK: Sending

    mutating func send(_ bytes: [UInt8], to peer: NodeID, via endpoint: Endpoint, now: Instant) -> Packet? {
        guard let session = sessions[peer] else { return knock(endpoint, now: now) }
        return Packet(from: identity.endpoint, to: endpoint, .sealed(bytes, session: session.remoteIndex))
    }

    mutating func knock(_ endpoint: Endpoint, now: Instant) -> Packet? {
        guard endpoint != identity.endpoint, attempts[endpoint] == nil, attempts.count < Self.capacity else {
            return nil
        }
        let index = UInt32(truncatingIfNeeded: chance.next())
        let version = identity.keys.keys.max() ?? 1
        attempts[endpoint] = Attempt(index: index, keyVersion: version, sentAt: now, sent: 1)
        return hello(to: endpoint, index: index, version: version)
    }

    /// Repeats unanswered hellos, gives up on old ones.
    mutating func tick(now: Instant) -> [Packet] {
        guard !attempts.isEmpty else { return [] }
        var packets: [Packet] = []
        for endpoint in attempts.keys.sorted() {
            guard var attempt = attempts[endpoint], now >= attempt.sentAt + Self.patience * attempt.sent else {
                continue
            }
            guard attempt.sent < Self.attempts else {
                attempts[endpoint] = nil
                continue
            }
            attempt.sent += 1
            attempt.sentAt = now
            attempts[endpoint] = attempt
            packets.append(hello(to: endpoint, index: attempt.index, version: attempt.keyVersion))
        }
        return packets
    }

    mutating func forget(_ peer: NodeID) {
        for index in receiveIndexes[peer] ?? [] { peers[index] = nil }
        receiveIndexes[peer] = nil
        sessions[peer] = nil
        paths[peer] = nil
        halfOpen = halfOpen.filter { $0.value.peer.record.id != peer }
    }

    private func hello(to endpoint: Endpoint, index: UInt32, version: UInt32) -> Packet {
        Packet(from: identity.endpoint, to: endpoint, .hello(introduction(index: index, version: version)))
    }
    private func introduction(index: UInt32, version: UInt32) -> Packet.Introduction {
        Packet.Introduction(
            peer: PeerIntroduction(record: identity.introduction, keyVersion: version),
            secret: identity.keys[version] ?? [], index: index)
    }

    // MARK: Receiving

    mutating func receive(
        _ packet: Packet, stamp: Instant, now: Instant, admission: (NodeID, UInt32) -> NodeCore.Admission
    ) -> [Output] {
        switch packet.body {
        case .hello(let hello): answer(hello, from: packet.source, now: now, admission: admission)
        case .reply(let reply, let index): conclude(reply, to: index, from: packet.source, admission: admission)
        case .finish(let session): open(session)
        case .refusal(let member): [.event(.refused(by: member))]
        case .sealed(let bytes, let session): unseal(bytes, session: session, packet: packet, stamp: stamp, now: now)
        }
    }

    private mutating func answer(
        _ hello: Packet.Introduction, from source: Endpoint, now: Instant,
        admission: (NodeID, UInt32) -> NodeCore.Admission
    ) -> [Output] {
        let peer = hello.peer.record
        guard peer.id != identity.id else { return [] }
        guard identity.keys[hello.peer.keyVersion] == hello.secret else {
            foreignPackets += 1
            return []
        }
        // A copy of a hello that has been answered gets the same answer; one of an earlier life gets none.
        if let index = answered[hello.index] {
            return halfOpen[index].map { [.transmit($0.reply)] } ?? []
        }
        guard peer.version.generation >= generations[peer.id] ?? 0 else { return [] }
        switch admission(peer.id, hello.peer.keyVersion) {
        case .accept: break
        case .refuseOldKey: return []
        case .refuseRemoved:
            return [.transmit(Packet(from: identity.endpoint, to: source, .refusal(by: identity.id)))]
        case .waitForApproval: return [.event(.applied(hello.peer, path: source))]
        }
        if halfOpen.count >= Self.capacity { halfOpen = [:] }
        if answered.count >= Self.capacity { answered = [:] }
        let index = UInt32(truncatingIfNeeded: chance.next())
        let reply = Packet(
            from: identity.endpoint, to: source,
            .reply(introduction(index: index, version: hello.peer.keyVersion), to: hello.index))
        answered[hello.index] = index
        halfOpen[index] = HalfOpen(peer: hello.peer, remoteIndex: hello.index, path: source, reply: reply)
        return [.transmit(reply)]
    }

    private mutating func conclude(
        _ reply: Packet.Introduction, to index: UInt32, from source: Endpoint,
        admission: (NodeID, UInt32) -> NodeCore.Admission
    ) -> [Output] {
        guard let attempt = attempts[source], attempt.index == index else { return [] }
        attempts[source] = nil
        guard identity.keys[reply.peer.keyVersion] == reply.secret, reply.peer.record.id != identity.id,
            admission(reply.peer.record.id, reply.peer.keyVersion) == .accept
        else { return [] }
        install(reply.peer, localIndex: index, remoteIndex: reply.index, path: source)
        return [
            .transmit(Packet(from: identity.endpoint, to: source, .finish(session: reply.index))),
            .event(.sessionOpened(reply.peer, path: source)),
        ]
    }

    private mutating func open(_ index: UInt32) -> [Output] {
        guard let half = halfOpen.removeValue(forKey: index) else { return [] }
        install(half.peer, localIndex: index, remoteIndex: half.remoteIndex, path: half.path)
        return [.event(.sessionOpened(half.peer, path: half.path))]
    }

    private mutating func unseal(
        _ bytes: [UInt8], session index: UInt32, packet: Packet, stamp: Instant, now: Instant
    ) -> [Output] {
        // The first sealed datagram proves as much as the finish that may have been lost.
        var outputs = open(index)
        guard let peer = peers[index] else {
            guard now >= introducedAt[packet.source] ?? .zero else { return [] }
            if introducedAt.count >= Self.capacity { introducedAt = [:] }
            introducedAt[packet.source] = now + Self.introductionPause
            if let hello = knock(packet.source, now: now) { outputs.append(.transmit(hello)) }
            return outputs
        }
        paths[peer] = packet.source
        outputs.append(.event(.received(bytes: bytes, from: peer, path: packet.source, stamp: stamp)))
        return outputs
    }

    /// The newest session is used for sending; the one before it may still have packets on the way.
    private mutating func install(
        _ peer: PeerIntroduction, localIndex: UInt32, remoteIndex: UInt32, path: Endpoint
    ) {
        let id = peer.record.id
        generations[id] = max(generations[id] ?? 0, peer.record.version.generation)
        sessions[id] = Session(localIndex: localIndex, remoteIndex: remoteIndex)
        peers[localIndex] = id
        paths[id] = path
        var indexes = receiveIndexes[id] ?? []
        indexes.append(localIndex)
        if indexes.count > 2 { peers[indexes.removeFirst()] = nil }
        receiveIndexes[id] = indexes
    }
}
