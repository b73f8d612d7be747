import Membership
import Node
import Primitives
import Wire

/// A datagram on the simulated wire. Copies of one packet share it.
final class SimulatedPacket: Sendable {
    enum Body: Sendable {
        /// The kinds of docs/protocol/transport.md. `index` is where its sender expects the answer.
        case knock(secret: [UInt8], index: UInt32)
        /// `boot` stands for the cookie: it proves that its sender met this process a moment ago.
        case challenge(to: UInt32, boot: UInt32)
        case hello(Introduction, boot: UInt32)
        case reply(Introduction, to: UInt32)
        case verdict(NodeCore.Admission, by: NodeID, to: UInt32)
        /// Sealed; empty as the initiator's proof, and as the answer to that.
        case data([UInt8], session: UInt32)
    }
    /// What a handshake message proves and carries.
    struct Introduction: Sendable {
        var peer: PeerIntroduction
        /// Stands for the cluster key that seals the message: who has another one cannot read it.
        var secret: [UInt8]
        /// Under which its sender will receive data.
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

    static let networkHeaders = 20 + 8
    /// Header, proof, keys, a hello with one address, signature, seal.
    private static let introductionSize = 270

    /// Bytes on the wire, IPv4 and UDP headers included.
    var size: Int {
        let inside =
            switch body {
            case .knock, .challenge: Packet.challengeSize
            case .hello, .reply: Self.introductionSize
            case .verdict: 150
            case .data(let bytes, _): Packet.dataHeaderSize + bytes.count + Packet.sealSize
            }
        return Self.networkHeaders + inside
    }
}

/// The contract of the real datagram sessions (docs/protocol/transport.md) without their cryptography: which packets
/// are exchanged and repeated when, whom a process believes, and that sessions die with either process.
struct SimulatedTransport {
    struct Identity {
        var id: NodeID
        var endpoint: Endpoint
        var introduction: MemberRecord
        /// Cluster keys by version; the highest is proved, all are understood.
        var keys: [UInt32: [UInt8]]
        var newestKey: UInt32 { keys.keys.max() ?? 1 }
        var olderKeys: [UInt32] { keys.keys.sorted().dropLast() }
    }
    enum Output {
        case transmit(SimulatedPacket)
        case event(NodeEvent)
    }
    typealias Admission = (NodeID, UInt32) -> NodeCore.Admission

    private final class Session {
        let peer: PeerIntroduction
        let localIndex: UInt32
        let remoteIndex: UInt32
        let isInitiator: Bool
        var isProven = false
        var openedAt: Instant
        var lastReceived: Instant
        var lastPath: Endpoint
        var nextProof: (at: Instant, tries: Int)?
        var nextRevival: Instant

        init(
            peer: PeerIntroduction, local: UInt32, remote: UInt32, isInitiator: Bool, path: Endpoint, now: Instant
        ) {
            self.peer = peer
            localIndex = local
            remoteIndex = remote
            self.isInitiator = isInitiator
            openedAt = now
            lastReceived = now
            lastPath = path
            nextRevival = now
        }
        var generation: UInt32 { peer.record.version.generation }
    }
    /// A handshake that we began.
    private struct Attempt {
        var index: UInt32
        var endpoint: Endpoint
        var isToMember: Bool
        var keyVersion: UInt32
        var packet: SimulatedPacket
        var isHello = false
        var tries = 0
        var nextTry: Instant
    }

    // The bounds of `SessionLimits`.
    private static let retryAfter: [Duration] = [
        .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800),
    ]
    private static let silentBeforeKnock = Duration.seconds(2)
    private static let maximumAttempts = 512
    private static let sessionsPerPeer = 4

    var identity: Identity
    /// Stands for the secret that makes this process's cookies.
    private let boot: UInt32
    private var attempts: [UInt32: Attempt] = [:]
    private var olderTurn = 0
    private var attemptAt: [Endpoint: UInt32] = [:]
    private var answered: [UInt32: SimulatedPacket] = [:]
    private var sessions: [UInt32: Session] = [:]
    private var peers: [NodeID: [Session]] = [:]
    private var unproven: Set<UInt32> = []
    private var handshakes: Bucket
    private var strangers: Bucket
    private var strangerAt: [Endpoint: Bucket] = [:]
    private var chance: SeededGenerator
    /// Handshakes of other clusters, or under a key we do not have.
    private(set) var foreignPackets = 0

    init(identity: Identity, chance: SeededGenerator, now: Instant) {
        self.identity = identity
        self.chance = chance
        boot = UInt32(truncatingIfNeeded: self.chance.next())
        handshakes = Bucket(burst: 100, rate: 50, now: now)
        strangers = Bucket(burst: 40, rate: 20, now: now)
    }

    /// Where a peer was last heard.
    func path(to peer: NodeID) -> Endpoint? { peers[peer]?.first?.lastPath }

    // MARK: Sending

    /// Without a session the payload is dropped, and a handshake is begun instead.
    mutating func send(_ bytes: [UInt8], to peer: NodeID, via endpoint: Endpoint, now: Instant) -> [SimulatedPacket] {
        precondition(bytes.count <= Packet.maximumPayload, "a datagram of \(bytes.count) bytes cannot be sent")
        guard let all = peers[peer], let session = all.first else {
            return knock(endpoint, isToMember: true, now: now).map { [$0] } ?? []
        }
        let data = packet(to: endpoint, .data(bytes, session: session.remoteIndex))
        guard now >= session.nextRevival, all.allSatisfy({ now - $0.lastReceived >= Self.silentBeforeKnock }) else {
            return [data]
        }
        session.nextRevival = now + Self.silentBeforeKnock
        return [data] + (knock(endpoint, isToMember: true, now: now).map { [$0] } ?? [])
    }

    mutating func knock(_ endpoint: Endpoint, isToMember: Bool = false, now: Instant) -> SimulatedPacket? {
        guard attemptAt[endpoint] == nil, attempts.count < Self.maximumAttempts else { return nil }
        let index = freshIndex()
        let version = identity.newestKey
        let knock = packet(to: endpoint, .knock(secret: identity.keys[version] ?? [], index: index))
        attempts[index] = Attempt(
            index: index, endpoint: endpoint, isToMember: isToMember, keyVersion: version, packet: knock,
            nextTry: now + Self.retryAfter[0])
        attemptAt[endpoint] = index
        return knock
    }

    /// Repeats what was not answered, gives up what never was.
    mutating func tick(now: Instant) -> [SimulatedPacket] {
        guard !attempts.isEmpty || !unproven.isEmpty else { return [] }
        var packets: [SimulatedPacket] = []
        for index in attempts.keys.sorted() {
            guard var attempt = attempts[index], now >= attempt.nextTry else { continue }
            attempt.tries += 1
            guard attempt.tries < Self.retryAfter.count else {
                end(attempt)
                continue
            }
            attempt.nextTry = now + Self.retryAfter[attempt.tries]
            useOlderKey(&attempt)
            attempts[index] = attempt
            packets.append(attempt.packet)
        }
        for index in unproven.sorted() {
            guard let session = sessions[index], let proof = session.nextProof else {
                unproven.remove(index)
                continue
            }
            guard now >= proof.at else { continue }
            let tries = proof.tries + 1
            session.nextProof = tries < Self.retryAfter.count ? (now + Self.retryAfter[tries], tries) : nil
            packets.append(packet(to: session.lastPath, .data([], session: session.remoteIndex)))
        }
        return packets
    }

    /// A member that does not answer may not have our newest key.
    private mutating func useOlderKey(_ attempt: inout Attempt) {
        let older = identity.olderKeys
        guard attempt.isToMember, !attempt.isHello, !older.isEmpty, attempt.tries >= Self.retryAfter.count / 2 else {
            return
        }
        olderTurn += 1
        attempt.keyVersion = older[olderTurn % older.count]
        attempt.packet = packet(
            to: attempt.endpoint, .knock(secret: identity.keys[attempt.keyVersion] ?? [], index: attempt.index))
    }

    mutating func forget(_ peer: NodeID) {
        peers[peer] = nil
        sessions = sessions.filter { $0.value.peer.record.id != peer }
    }

    private func packet(to endpoint: Endpoint, _ body: SimulatedPacket.Body) -> SimulatedPacket {
        SimulatedPacket(from: identity.endpoint, to: endpoint, body)
    }
    private func introduction(index: UInt32, version: UInt32) -> SimulatedPacket.Introduction {
        SimulatedPacket.Introduction(
            peer: PeerIntroduction(record: identity.introduction, keyVersion: version),
            secret: identity.keys[version] ?? [], index: index)
    }

    // MARK: Receiving

    mutating func receive(
        _ packet: SimulatedPacket, stamp: Instant, now: Instant, admission: Admission
    ) -> [Output] {
        switch packet.body {
        case .knock(let secret, let index): answerKnock(secret, index: index, from: packet.source)
        case .challenge(let index, let boot): answerChallenge(index: index, boot: boot, now: now)
        case .hello(let hello, let boot):
            answerHello(hello, boot: boot, from: packet.source, now: now, admission: admission)
        case .reply(let reply, let index):
            conclude(reply, index: index, from: packet.source, now: now, admission: admission)
        case .verdict(let verdict, let member, let index): receiveVerdict(verdict, by: member, index: index)
        case .data(let bytes, let session):
            receiveData(bytes, session: session, from: packet, stamp: stamp, now: now)
        }
    }

    private mutating func answerKnock(_ secret: [UInt8], index: UInt32, from source: Endpoint) -> [Output] {
        if let own = attempts[index], own.endpoint == source, source == identity.endpoint {
            end(own)  // our own address, given to us as somebody's
            return []
        }
        guard knows(secret) else { return [] }
        return [.transmit(packet(to: source, .challenge(to: index, boot: boot)))]
    }

    private mutating func answerChallenge(index: UInt32, boot: UInt32, now: Instant) -> [Output] {
        guard var attempt = attempts[index], !attempt.isHello else { return [] }
        let hello = introduction(index: index, version: attempt.keyVersion)
        attempt.packet = packet(to: attempt.endpoint, .hello(hello, boot: boot))
        attempt.isHello = true
        attempt.tries = 0
        attempt.nextTry = now + Self.retryAfter[0]
        attempts[index] = attempt
        return [.transmit(attempt.packet)]
    }

    private mutating func answerHello(
        _ hello: SimulatedPacket.Introduction, boot: UInt32, from source: Endpoint, now: Instant, admission: Admission
    ) -> [Output] {
        guard knows(hello.secret), boot == self.boot, hello.peer.record.id != identity.id else { return [] }
        if let answer = answered[hello.index] { return [.transmit(answer)] }
        guard handshakes.take(now: now) else { return [] }
        if answered.count >= 512 { answered = [:] }
        var outputs: [Output] = []
        let answer: SimulatedPacket
        let verdict = admission(hello.peer.record.id, hello.peer.keyVersion)
        if verdict == .accept {
            let index = freshIndex()
            sessions[index] = Session(
                peer: hello.peer, local: index, remote: hello.index, isInitiator: false, path: source, now: now)
            answer = packet(
                to: source, .reply(introduction(index: index, version: hello.peer.keyVersion), to: hello.index))
        } else {
            if verdict == .waitForApproval { outputs.append(.event(.applied(hello.peer, path: source))) }
            answer = packet(to: source, .verdict(verdict, by: identity.id, to: hello.index))
        }
        answered[hello.index] = answer
        return outputs + [.transmit(answer)]
    }

    private mutating func conclude(
        _ reply: SimulatedPacket.Introduction, index: UInt32, from source: Endpoint, now: Instant, admission: Admission
    ) -> [Output] {
        guard let attempt = attempts[index], attempt.isHello, knows(reply.secret), handshakes.take(now: now) else {
            return []
        }
        end(attempt)
        let verdict = admission(reply.peer.record.id, attempt.keyVersion)
        guard verdict == .accept else {
            // It may not know yet that it was removed.
            let word = packet(to: source, .verdict(verdict, by: identity.id, to: reply.index))
            let applied = verdict == .waitForApproval ? [Output.event(.applied(reply.peer, path: source))] : []
            return applied + [.transmit(word)]
        }
        let session = Session(
            peer: reply.peer, local: index, remote: reply.index, isInitiator: true, path: source, now: now)
        sessions[index] = session
        session.nextProof = (now + Self.retryAfter[0], 0)
        unproven.insert(index)
        use(session, now: now)
        return [
            .transmit(packet(to: source, .data([], session: reply.index))),
            .event(.sessionOpened(reply.peer, path: source)),
        ]
    }

    private mutating func receiveVerdict(_ verdict: NodeCore.Admission, by member: NodeID, index: UInt32) -> [Output] {
        if let attempt = attempts[index], attempt.isHello {
            end(attempt)
        } else if let session = sessions[index], !session.isProven, !session.isInitiator {
            sessions[index] = nil
        } else {
            return []
        }
        return verdict == .refuseRemoved ? [.event(.refused(by: member))] : []
    }

    private mutating func receiveData(
        _ bytes: [UInt8], session index: UInt32, from packet: SimulatedPacket, stamp: Instant, now: Instant
    ) -> [Output] {
        guard let session = sessions[index] else { return receiveStrange(packet, now: now) }
        session.lastReceived = now
        session.lastPath = packet.source
        var outputs: [Output] = []
        if !session.isProven {
            session.isProven = true
            session.nextProof = nil
            unproven.remove(index)
            if !session.isInitiator {
                session.openedAt = now
                use(session, now: now)
                outputs.append(.event(.sessionOpened(session.peer, path: packet.source)))
            }
        }
        if !bytes.isEmpty {
            let event = NodeEvent.received(
                bytes: bytes, from: session.peer.record.id, path: packet.source, stamp: stamp)
            outputs.append(.event(event))
        } else if !session.isInitiator {
            outputs.append(.transmit(self.packet(to: packet.source, .data([], session: session.remoteIndex))))
        }
        return outputs
    }

    /// Its sender has a session with who we were before we restarted.
    private mutating func receiveStrange(_ packet: SimulatedPacket, now: Instant) -> [Output] {
        // Our knock must not be longer than what makes us knock.
        guard packet.size >= SimulatedPacket.networkHeaders + Packet.challengeSize else { return [] }
        let source = packet.source
        if strangerAt.count >= 1024 { strangerAt = [:] }
        guard strangerAt[source, default: Bucket(burst: 2, rate: 1, now: now)].take(now: now),
            strangers.take(now: now)
        else { return [] }
        let isHeard = sessions.values.contains {
            $0.isProven && $0.lastPath == source && now - $0.lastReceived < .seconds(2)
        }
        guard !isHeard, let knock = knock(source, now: now) else { return [] }
        return [.transmit(knock)]
    }

    private mutating func use(_ session: Session, now: Instant) {
        let id = session.peer.record.id
        var all = peers[id] ?? []
        for old in all where old.generation < session.generation { sessions[old.localIndex] = nil }
        all.removeAll { $0.generation < session.generation }
        // Both sides began at once: both send on the session that the lower ID began.
        if let best = all.first, best.isInitiator != session.isInitiator, best.generation == session.generation,
            now - best.openedAt < .seconds(5), (identity.id < id) == best.isInitiator
        {
            all.insert(session, at: 1)
        } else {
            all.insert(session, at: 0)
        }
        while all.count > Self.sessionsPerPeer { sessions[all.removeLast().localIndex] = nil }
        peers[id] = all
    }

    // MARK: Small parts

    private mutating func knows(_ secret: [UInt8]) -> Bool {
        if identity.keys.values.contains(secret) { return true }
        foreignPackets += 1
        return false
    }
    private mutating func end(_ attempt: Attempt) {
        attempts[attempt.index] = nil
        if attemptAt[attempt.endpoint] == attempt.index { attemptAt[attempt.endpoint] = nil }
    }
    private mutating func freshIndex() -> UInt32 {
        while true {
            let index = UInt32(truncatingIfNeeded: chance.next())
            if sessions[index] == nil, attempts[index] == nil { return index }
        }
    }
}

/// Lets `rate` things a second pass, and `burst` at once.
private struct Bucket {
    let burst: Double
    let rate: Double
    private var tokens: Double
    private var filledAt: Instant

    init(burst: Double, rate: Double, now: Instant) {
        self.burst = burst
        self.rate = rate
        tokens = burst
        filledAt = now
    }
    mutating func take(now: Instant) -> Bool {
        if now > filledAt {
            tokens = min(burst, tokens + (now - filledAt).seconds * rate)
            filledAt = now
        }
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }
}
