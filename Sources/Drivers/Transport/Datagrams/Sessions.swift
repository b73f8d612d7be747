package import Crypto
package import Primitives
package import Wire

/// Everything between a node's decisions and its UDP socket: who is at the other end, and that nobody else reads or
/// repeats what is said. docs/protocol/transport.md has the layouts and the reasoning.
///
/// No socket and no clock: datagrams and the time come in, datagrams and openings go out, so a test can lose, repeat and
/// reorder them. One owner, the pulse thread; it cannot be copied, because a copy would use a counter twice.
package struct Sessions: ~Copyable, @unchecked Sendable {
    // Sendable although sessions hold OpenSSL contexts: nothing of them leaves this value, which moves as a whole.

    /// Whether an identity may be a peer. Asked when it has proved itself, before it learns anything of us.
    package enum Admission: Equatable, Sendable { case accept, waitForApproval, refuseRemoved, refuseOldKey }

    package enum Refusal: Equatable, Sendable {
        /// We were removed from the cluster.
        case removed
        /// Our cluster key was replaced while we were away, and the other does not know us as a member.
        case oldKey
    }

    package enum Output: Equatable, Sendable {
        case transmit([UInt8], to: Endpoint)
        /// A handshake was completed, the first with this peer or a later one. Before anything it says.
        case opened(PeerHello, keyVersion: UInt32, path: Endpoint)
        /// `path` is where it came from: for one datagram anybody on the way can make that an address of its own.
        case received([UInt8], from: NodeID, path: Endpoint)
        /// Somebody with the cluster key refused us, under its signature. Whether `by` is a member whose word counts is
        /// for the core to say.
        case refused(by: NodeID, Refusal, path: Endpoint)
        /// Somebody with the cluster key wants an operator's word before it admits us. Knock again now and then.
        case waitingForApproval(by: NodeID, path: Endpoint)
        /// A machine with the cluster key waits for an operator's word here.
        case asksForApproval(PeerHello, keyVersion: UInt32, path: Endpoint)
        /// A node of a cluster whose key we do not have; once for each tag.
        case foreign(ClusterTag, Endpoint)
        /// A handshake we began was given up: nobody there, or nobody with our key.
        case noAnswer(Endpoint)
    }

    /// The cluster keys. Sessions go on when it changes; new handshakes use the new current key.
    package var ring: ClusterKeyRing {
        didSet { handshakeKeys = Self.handshakeKeys(of: ring) }
    }
    /// What we say of ourselves in handshakes from now on. Its `id` is always that of our identity.
    package var profile: PeerHello { didSet { profile.id = identity.id } }
    package private(set) var counters = SessionCounters()

    private let identity: Identity
    private let limits: SessionLimits
    private var handshakeKeys: [ClusterTag: Secret]
    /// Makes cookies; new with each process.
    private let cookieKey = Secret.random(32)

    private var attempts: [UInt32: Attempt] = [:]
    private var olderTurn = 0
    private var attemptAt: [Endpoint: UInt32] = [:]
    private var answered: [[UInt8]: Answered] = [:]
    private var sessions: [UInt32: Session] = [:]
    /// Sessions in use by peer, the one to send on first.
    private var peers: [NodeID: [Session]] = [:]
    private var foreignTags: Set<ClusterTag> = []

    private var challengeLimit: TokenBucket
    private var handshakeLimit: TokenBucket
    private var handshakeSources: SourceLimiter
    private var strangerLimit: TokenBucket
    private var strangerSources: SourceLimiter
    private var nextSweep: Instant

    /// A handshake that we began.
    private final class Attempt {
        let index: UInt32
        let endpoint: Endpoint
        /// Sent to an address of a known member, not to one that anybody may have named.
        let isToMember: Bool
        var key: ClusterKey
        var salt: [UInt8]
        let ephemeral = EphemeralKey()
        /// What is sent until it is answered: the knock, then the hello.
        var packet: [UInt8]
        /// Nil until the challenge was answered.
        var helloHash: [UInt8]?
        var tries = 0
        var nextTry: Instant

        init(
            index: UInt32, endpoint: Endpoint, isToMember: Bool, key: ClusterKey, salt: [UInt8], packet: [UInt8],
            nextTry: Instant
        ) {
            self.index = index
            self.endpoint = endpoint
            self.isToMember = isToMember
            self.key = key
            self.salt = salt
            self.packet = packet
            self.nextTry = nextTry
        }
    }
    /// A hello that we answered, with the answer.
    private struct Answered {
        let answer: [UInt8]
        let source: Endpoint
        /// The session that waits for its first datagram, and the key and hash to know its refusal by.
        let session: UInt32?
        let key: ClusterKey
        let until: Instant
    }

    package init(
        identity: Identity, ring: ClusterKeyRing, profile: PeerHello, limits: SessionLimits = SessionLimits(),
        now: Instant
    ) {
        self.identity = identity
        self.ring = ring
        self.limits = limits
        var own = profile
        own.id = identity.id
        self.profile = own
        handshakeKeys = Self.handshakeKeys(of: ring)
        challengeLimit = TokenBucket(burst: limits.challengesPerSecond, rate: limits.challengesPerSecond, now: now)
        handshakeLimit = TokenBucket(burst: limits.handshakeBurst, rate: limits.handshakesPerSecond, now: now)
        handshakeSources = SourceLimiter(
            burst: limits.handshakeBurstPerSource, rate: limits.handshakesPerSourceAndSecond, now: now)
        strangerLimit = TokenBucket(
            burst: 2 * limits.knocksAtStrangersPerSecond, rate: limits.knocksAtStrangersPerSecond, now: now)
        strangerSources = SourceLimiter(burst: 2, rate: limits.knocksAtOneStrangerPerSecond, now: now)
        nextSweep = now + .seconds(5)
    }

    private static func handshakeKeys(of ring: ClusterKeyRing) -> [ClusterTag: Secret] {
        var keys: [ClusterTag: Secret] = [:]
        for key in [ring.current] + ring.older { keys[key.tag] = key.derived(for: "handshakes") }
        return keys
    }

    // MARK: What the daemon asks

    /// Peers that something can be sent to.
    package var openPeers: Int { peers.count }
    package func isOpen(with peer: NodeID) -> Bool { peers[peer] != nil }
    /// Handshakes of ours under way, hellos remembered, sessions in all: for tests of the bounds.
    package var load: (attempts: Int, answered: Int, sessions: Int) { (attempts.count, answered.count, sessions.count) }

    /// Seals and sends. Without a session the payload is dropped, and a handshake is begun with `via`.
    package mutating func send(
        _ payload: [UInt8], to peer: NodeID, via: Endpoint, now: Instant, into outputs: inout [Output]
    ) {
        guard !payload.isEmpty, payload.count <= Packet.maximumPayload else {
            assertionFailure("a payload has 1 to \(Packet.maximumPayload) bytes, not \(payload.count)")
            counters.drop(.oversized)
            return
        }
        guard let session = peers[peer]?.first, !isSpent(session, now: now) else {
            counters.withoutSession += 1
            knock(via, isToMember: true, now: now, into: &outputs)
            return
        }
        transmit(session.seal(payload), to: via, into: &outputs)
        if needsNewKeys(session, now: now), now >= session.nextRekey {
            session.nextRekey = now + .seconds(10)
            knock(via, now: now, into: &outputs)
        } else if isSilent(peer, now: now), now >= session.nextRevival {
            // It may have restarted, and be unable to tell us: behind a cluster key that we do not have yet, or because
            // what we send is too short to be knocked at for. Two who only use dead sessions would never meet again.
            session.nextRevival = now + limits.silentBeforeKnock
            knock(via, isToMember: true, now: now, into: &outputs)
        }
    }

    private func isSilent(_ peer: NodeID, now: Instant) -> Bool {
        peers[peer]?.allSatisfy { now - $0.lastReceived >= limits.silentBeforeKnock } ?? true
    }

    /// Begins a handshake with whoever is there, unless one is under way.
    package mutating func knock(_ endpoint: Endpoint, now: Instant, into outputs: inout [Output]) {
        knock(endpoint, isToMember: false, now: now, into: &outputs)
    }

    private mutating func knock(
        _ endpoint: Endpoint, isToMember: Bool, now: Instant, into outputs: inout [Output]
    ) {
        guard attemptAt[endpoint] == nil, endpoint.port > 0, !endpoint.address.isUnspecified,
            !endpoint.address.isMulticastOrBroadcast
        else { return }
        guard attempts.count < limits.maximumAttempts else {
            counters.drop(.rateLimited)
            return
        }
        let index = freshIndex()
        let (salt, packet) = makeKnock(index: index, key: ring.current)
        let attempt = Attempt(
            index: index, endpoint: endpoint, isToMember: isToMember, key: ring.current, salt: salt, packet: packet,
            nextTry: now + (limits.retryAfter.first ?? .zero))
        attempts[index] = attempt
        attemptAt[endpoint] = index
        transmit(attempt.packet, to: endpoint, into: &outputs)
    }

    private func makeKnock(index: UInt32, key: ClusterKey) -> (salt: [UInt8], packet: [UInt8]) {
        let salt = RandomBytes.make(Packet.saltSize)
        let header = Packet.header(.knock, tag: key.tag.value, sender: index, salt: salt)
        let padding = [UInt8](repeating: 0, count: Packet.knockPadding)
        return (salt, seal(padding, header: header, key: key))
    }

    /// A member that does not answer may not have our newest key: it was away when the key changed, or a removal on its
    /// side of a partition made another. The second half of the tries uses older keys, in turn.
    private mutating func useOlderKey(_ attempt: Attempt) {
        guard attempt.isToMember, attempt.helloHash == nil, !ring.older.isEmpty,
            attempt.tries >= limits.retryAfter.count / 2
        else { return }
        olderTurn += 1
        attempt.key = ring.older[olderTurn % ring.older.count]
        (attempt.salt, attempt.packet) = makeKnock(index: attempt.index, key: attempt.key)
    }

    /// Drops every key shared with a peer: it was removed.
    package mutating func forget(_ peer: NodeID) {
        peers[peer] = nil
        for (index, session) in sessions where session.peer.id == peer { sessions[index] = nil }
    }

    /// Repeats what was not answered, gives up what never was, ends what is old. A few times a second is enough.
    package mutating func tick(now: Instant, into outputs: inout [Output]) {
        for index in attempts.keys.sorted() {
            guard let attempt = attempts[index], now >= attempt.nextTry else { continue }
            attempt.tries += 1
            guard attempt.tries < limits.retryAfter.count else {
                end(attempt)
                outputs.append(.noAnswer(attempt.endpoint))
                continue
            }
            attempt.nextTry = now + limits.retryAfter[attempt.tries]
            useOlderKey(attempt)
            transmit(attempt.packet, to: attempt.endpoint, into: &outputs)
        }
        if now >= nextSweep {
            nextSweep = now + .seconds(5)
            sweep(now: now)
        }
        guard !unproven.isEmpty else { return }
        for index in unproven.sorted() {
            guard let session = sessions[index], let proof = session.nextProof else {
                unproven.remove(index)
                continue
            }
            guard now >= proof.at else { continue }
            let tries = proof.tries + 1
            session.nextProof = tries < limits.retryAfter.count ? (now + limits.retryAfter[tries], tries) : nil
            transmit(session.seal([]), to: session.lastPath, into: &outputs)
        }
    }
    /// Sessions that we began and whose other side has not yet shown that it knows of it.
    private var unproven: Set<UInt32> = []

    // MARK: Datagrams

    /// Takes one datagram of the network.
    ///
    /// - Parameter admission: asked for an identity that has proved itself and the version of the cluster key it used.
    package mutating func receive(
        _ datagram: RawSpan, from source: Endpoint, now: Instant, into outputs: inout [Output],
        admission: (NodeID, UInt32) -> Admission
    ) {
        counters.datagramsIn += 1
        counters.bytesIn += UInt64(datagram.byteCount)
        guard datagram.byteCount <= Packet.maximumSize else { return counters.drop(.oversized) }
        let isData =
            datagram.byteCount >= Packet.dataHeaderSize + Packet.sealSize
            && datagram.unsafeLoad(fromByteOffset: 0, as: UInt8.self) == Packet.magic
            && datagram.unsafeLoad(fromByteOffset: 1, as: UInt8.self) == Packet.Kind.data.secondByte
        if isData {
            datagram.withUnsafeBytes { receiveData($0, from: source, now: now, into: &outputs) }
        } else {
            let bytes = datagram.withUnsafeBytes { Array($0) }
            do throws(Packet.Failure) {
                let packet = try Packet(parsing: bytes)
                receiveHandshake(packet, bytes, from: source, now: now, into: &outputs, admission: admission)
            } catch {
                switch error {
                case .junk: counters.drop(.junk)
                case .truncated: counters.drop(.truncated)
                case .oversized: counters.drop(.oversized)
                }
            }
        }
    }

    private mutating func receiveData(
        _ datagram: UnsafeRawBufferPointer, from source: Endpoint, now: Instant, into outputs: inout [Output]
    ) {
        let index = UInt32(bigEndian: datagram.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
        let counter = UInt64(bigEndian: datagram.loadUnaligned(fromByteOffset: 6, as: UInt64.self))
        guard let session = sessions[index] else {
            counters.drop(.unknownSession)
            // Its sender has a session with who we were before we restarted. A knock is never longer than what
            // made us knock, so nobody can use us to flood another.
            guard datagram.count >= Packet.challengeSize, strangerSources.take(from: source.address, now: now),
                strangerLimit.take(now: now)
            else { return }
            // Whoever is heard from there on a session of ours needs no new one: somebody borrows its address.
            let isHeard = sessions.values.contains { session in
                session.isProven && session.lastPath == source && now - session.lastReceived < .seconds(2)
            }
            if !isHeard { knock(source, now: now, into: &outputs) }
            return
        }
        let payload: [UInt8]
        switch session.open(datagram, counter: counter) {
        case .payload(let bytes): payload = bytes
        case .replayed: return counters.drop(.replayed)
        case .badSeal: return counters.drop(.badSeal)
        }
        session.lastReceived = now
        session.lastPath = source
        if !session.isProven {
            session.isProven = true
            session.nextProof = nil
            unproven.remove(index)
            if !session.isInitiator {
                session.openedAt = now
                use(session, now: now)
                outputs.append(.opened(session.peer, keyVersion: session.keyVersion, path: source))
            }
        }
        if !payload.isEmpty {
            outputs.append(.received(payload, from: session.peer.id, path: source))
        } else if !session.isInitiator {
            // The other side asks whether we know of the session. Only the side that began it asks: no endless echo.
            transmit(session.seal([]), to: source, into: &outputs)
        }
    }

    private mutating func receiveHandshake(
        _ packet: Packet, _ bytes: [UInt8], from source: Endpoint, now: Instant, into outputs: inout [Output],
        admission: (NodeID, UInt32) -> Admission
    ) {
        switch packet {
        case .knock(let tag, let sender, let salt, let sealed):
            guard let key = key(tag: tag, from: source, into: &outputs) else { return }
            answerKnock(
                key: key, sender: sender, salt: Array(salt), bytes, sealed: sealed, from: source, now: now,
                into: &outputs)
        case .challenge(let receiver, _, let sealed):
            receiveChallenge(receiver: receiver, bytes, sealed: sealed, now: now, into: &outputs)
        case .hello(let tag, let sender, _, let sealed):
            guard let key = key(tag: tag, from: source, into: &outputs) else { return }
            answerHello(
                key: key, sender: sender, bytes, sealed: sealed, from: source, now: now, into: &outputs,
                admission: admission)
        case .reply(let receiver, _, let sealed):
            receiveReply(
                receiver: receiver, bytes, sealed: sealed, from: source, now: now, into: &outputs,
                admission: admission)
        case .verdict(let receiver, _, let sealed):
            receiveVerdict(receiver: receiver, bytes, sealed: sealed, from: source, now: now, into: &outputs)
        case .data: break  // went another way
        }
    }

    private mutating func key(tag: UInt64, from source: Endpoint, into outputs: inout [Output]) -> ClusterKey? {
        let tag = ClusterTag(value: tag)
        if let key = ring.key(with: tag) { return key }
        counters.drop(.foreign)
        if foreignTags.count < limits.maximumForeign, foreignTags.insert(tag).inserted {
            outputs.append(.foreign(tag, source))
        }
        return nil
    }

    // MARK: Knock and challenge

    private mutating func answerKnock(
        key: ClusterKey, sender: UInt32, salt: [UInt8], _ bytes: [UInt8], sealed: ArraySlice<UInt8>,
        from source: Endpoint, now: Instant, into outputs: inout [Output]
    ) {
        // Our own knock: an address that discovery or an operator gave us is ours.
        if let own = attempts[sender], own.salt == salt { return end(own) }
        guard challengeLimit.take(now: now) else { return counters.drop(.rateLimited) }
        guard open(sealed, of: bytes, key: key) != nil else { return counters.drop(.badSeal) }
        let header = Packet.header(.challenge, receiver: sender, salt: RandomBytes.make(Packet.saltSize))
        let cookie = makeCookie(slot: slot(now), source: source, knock: salt, tag: key.tag)
        transmit(seal(cookie, header: header, key: key, also: salt), to: source, into: &outputs)
    }

    /// One byte of the time slot, then a MAC under a key of this process over slot, source and knock: whoever returns it
    /// sent the knock, from there, a moment ago. Nothing has to be remembered for that.
    private func makeCookie(slot: UInt64, source: Endpoint, knock: some Collection<UInt8>, tag: ClusterTag) -> [UInt8] {
        var writer = ByteWriter(reserving: 64)
        writer.integer(slot)
        writer.endpoint(source)
        writer.raw(knock)
        writer.integer(tag.value)
        return [UInt8(truncatingIfNeeded: slot)]
            + MAC.sha256(writer.bytes, key: cookieKey).prefix(Packet.cookieSize - 1)
    }
    private func slot(_ now: Instant) -> UInt64 {
        UInt64(max(0, now.nanoseconds)) / UInt64(max(1, limits.cookieSlot.nanoseconds))
    }
    private func isCurrent(_ cookie: [UInt8], source: Endpoint, knock: [UInt8], tag: ClusterTag, now: Instant) -> Bool {
        let current = slot(now)
        for candidate in [current, current &- 1] where UInt8(truncatingIfNeeded: candidate) == cookie.first {
            return ConstantTime.areEqual(
                cookie, makeCookie(slot: candidate, source: source, knock: knock, tag: tag))
        }
        return false
    }

    private mutating func receiveChallenge(
        receiver: UInt32, _ bytes: [UInt8], sealed: ArraySlice<UInt8>, now: Instant, into outputs: inout [Output]
    ) {
        guard let attempt = attempts[receiver], attempt.helloHash == nil else { return counters.drop(.unknownSession) }
        guard let cookie = open(sealed, of: bytes, key: attempt.key, also: attempt.salt),
            cookie.count == Packet.cookieSize
        else { return counters.drop(.badSeal) }
        var body = HandshakeBody(
            proof: attempt.salt + cookie, ephemeral: attempt.ephemeral.publicKey, identity: identity.publicKey.raw,
            hello: profile)
        let header = Packet.header(
            .hello, tag: attempt.key.tag.value, sender: receiver, salt: RandomBytes.make(Packet.saltSize))
        body.signature = identity.sign(Self.signed("hello", header, body.signedPart))
        attempt.packet = seal(body.encoded, header: header, key: attempt.key)
        attempt.helloHash = SHA256.hash(attempt.packet)
        attempt.tries = 0
        attempt.nextTry = now + (limits.retryAfter.first ?? .zero)
        transmit(attempt.packet, to: attempt.endpoint, into: &outputs)
    }

    /// What a signature is made over: its purpose, so that none can be used for another; then everything it binds.
    private static func signed(_ purpose: String, _ parts: [UInt8]...) -> [UInt8] {
        var writer = ByteWriter(reserving: 512)
        writer.text("bramble \(purpose) 1")
        for part in parts { writer.blob(part) }
        return writer.bytes
    }

    // MARK: Hello and reply

    private mutating func answerHello(
        key: ClusterKey, sender: UInt32, _ bytes: [UInt8], sealed: ArraySlice<UInt8>, from source: Endpoint,
        now: Instant, into outputs: inout [Output], admission: (NodeID, UInt32) -> Admission
    ) {
        let hash = SHA256.hash(bytes)
        // Repeated because our answer was lost, or by somebody else: the same answer to the same place, nothing anew.
        if let known = answered[hash] {
            guard known.source == source else { return counters.drop(.replayed) }
            guard challengeLimit.take(now: now) else { return counters.drop(.rateLimited) }
            return transmit(known.answer, to: source, into: &outputs)
        }
        guard let plain = open(sealed, of: bytes, key: key) else { return counters.drop(.badSeal) }
        guard let body = try? HandshakeBody(encoded: plain, proofSize: HandshakeBody.helloProofSize) else {
            return counters.drop(.junk)
        }
        let knock = Array(body.proof.prefix(Packet.saltSize))
        let cookie = Array(body.proof.dropFirst(Packet.saltSize))
        guard isCurrent(cookie, source: source, knock: knock, tag: key.tag, now: now) else {
            return counters.drop(.replayed)
        }
        guard let publicKey = PublicKey(raw: body.identity), publicKey.id == body.hello.id, publicKey.id != identity.id
        else { return counters.drop(.junk) }
        guard answered.count < limits.maximumAnswered, handshakeSources.take(from: source.address, now: now),
            handshakeLimit.take(now: now)
        else { return counters.drop(.rateLimited) }
        let header = Array(bytes.dropLast(sealed.count))
        guard publicKey.isValid(signature: body.signature, of: Self.signed("hello", header, body.signedPart)) else {
            return counters.drop(.badSeal)
        }
        // From here on the other side is who it says it is, with the key, at that address, now.
        let answer: [UInt8]
        var session: UInt32?
        switch admission(publicKey.id, key.version) {
        case .accept:
            guard let made = makeReply(to: body, hash: hash, key: key, sender: sender, from: source, now: now) else {
                return counters.drop(.junk)
            }
            answer = made.reply
            session = made.session.localIndex
        case .waitForApproval:
            answer = makeVerdict(.needsApproval, receiver: sender, about: hash, key: key)
            outputs.append(.asksForApproval(body.hello, keyVersion: key.version, path: source))
        case .refuseRemoved:
            answer = makeVerdict(.removed, receiver: sender, about: hash, key: key)
            counters.drop(.refused)
        case .refuseOldKey:
            answer = makeVerdict(.oldKey, receiver: sender, about: hash, key: key)
            counters.drop(.refused)
        }
        // As long as the cookie could be accepted again.
        let until = now + limits.cookieSlot + limits.cookieSlot
        answered[hash] = Answered(answer: answer, source: source, session: session, key: key, until: until)
        transmit(answer, to: source, into: &outputs)
    }

    private mutating func makeReply(
        to hello: HandshakeBody, hash: [UInt8], key: ClusterKey, sender: UInt32, from source: Endpoint, now: Instant
    ) -> (reply: [UInt8], session: Session)? {
        let ephemeral = EphemeralKey()
        guard let agreed = ephemeral.agree(with: hello.ephemeral) else { return nil }
        let index = freshIndex()
        var writer = ByteWriter(reserving: 4)
        writer.integer(index)
        var body = HandshakeBody(
            proof: writer.bytes, ephemeral: ephemeral.publicKey, identity: identity.publicKey.raw, hello: profile)
        let header = Packet.header(.reply, receiver: sender, salt: RandomBytes.make(Packet.saltSize))
        body.signature = identity.sign(Self.signed("reply", hash, header, body.signedPart))
        let reply = seal(body.encoded, header: header, key: key, also: hash)
        let keys = SessionKeys(
            cluster: key, agreed: agreed, initiator: hello.hello.id, responder: identity.id,
            transcript: SHA256.hash(hash + SHA256.hash(reply)))
        let session = Session(
            peer: hello.hello, keyVersion: key.version, local: index, remote: sender, isInitiator: false, keys: keys,
            path: source, now: now)
        sessions[index] = session
        return (reply, session)
    }

    private mutating func receiveReply(
        receiver: UInt32, _ bytes: [UInt8], sealed: ArraySlice<UInt8>, from source: Endpoint, now: Instant,
        into outputs: inout [Output], admission: (NodeID, UInt32) -> Admission
    ) {
        guard let attempt = attempts[receiver], let helloHash = attempt.helloHash else {
            return counters.drop(.unknownSession)
        }
        guard let plain = open(sealed, of: bytes, key: attempt.key, also: helloHash) else {
            return counters.drop(.badSeal)
        }
        guard let body = try? HandshakeBody(encoded: plain, proofSize: HandshakeBody.replyProofSize),
            let publicKey = PublicKey(raw: body.identity), publicKey.id == body.hello.id, publicKey.id != identity.id
        else { return counters.drop(.junk) }
        guard handshakeLimit.take(now: now) else { return counters.drop(.rateLimited) }
        let header = Array(bytes.dropLast(sealed.count))
        guard
            publicKey.isValid(
                signature: body.signature, of: Self.signed("reply", helloHash, header, body.signedPart)),
            let agreed = attempt.ephemeral.agree(with: body.ephemeral)
        else { return counters.drop(.badSeal) }
        end(attempt)
        let replyHash = SHA256.hash(bytes)
        let remote = body.proof.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let refusal: HandshakeVerdict.Reason
        switch admission(publicKey.id, attempt.key.version) {
        case .accept:
            let keys = SessionKeys(
                cluster: attempt.key, agreed: agreed, initiator: identity.id, responder: publicKey.id,
                transcript: SHA256.hash(helloHash + replyHash))
            let session = Session(
                peer: body.hello, keyVersion: attempt.key.version, local: receiver, remote: remote, isInitiator: true,
                keys: keys, path: source, now: now)
            sessions[receiver] = session
            session.nextProof = (now + (limits.retryAfter.first ?? .zero), 0)
            unproven.insert(receiver)
            use(session, now: now)
            transmit(session.seal([]), to: source, into: &outputs)
            outputs.append(.opened(body.hello, keyVersion: attempt.key.version, path: source))
            return
        case .waitForApproval:
            refusal = .needsApproval
            outputs.append(.asksForApproval(body.hello, keyVersion: attempt.key.version, path: source))
        case .refuseRemoved:
            refusal = .removed
            counters.drop(.refused)
        case .refuseOldKey:
            refusal = .oldKey
            counters.drop(.refused)
        }
        // It may not know yet that it was removed.
        let verdict = makeVerdict(refusal, receiver: remote, about: replyHash, key: attempt.key)
        transmit(verdict, to: source, into: &outputs)
    }

    // MARK: Verdicts

    /// - Parameter about: the hash of the hello or reply that it answers, so that it can answer no other.
    private func makeVerdict(
        _ reason: HandshakeVerdict.Reason, receiver: UInt32, about hash: [UInt8], key: ClusterKey
    ) -> [UInt8] {
        let header = Packet.header(.verdict, receiver: receiver, salt: RandomBytes.make(Packet.saltSize))
        let signature = identity.sign(Self.signed("verdict", hash, header, [reason.rawValue]))
        let verdict = HandshakeVerdict(reason: reason, identity: identity.publicKey.raw, signature: signature)
        return seal(verdict.encoded, header: header, key: key, also: hash)
    }

    private mutating func receiveVerdict(
        receiver: UInt32, _ bytes: [UInt8], sealed: ArraySlice<UInt8>, from source: Endpoint, now: Instant,
        into outputs: inout [Output]
    ) {
        let key: ClusterKey
        let about: [UInt8]
        let expected: NodeID?
        if let attempt = attempts[receiver], let hash = attempt.helloHash {
            (key, about, expected) = (attempt.key, hash, nil)
        } else if let session = sessions[receiver], !session.isProven,
            let entry = answered.first(where: { $0.value.session == receiver })?.value
        {
            (key, about, expected) = (entry.key, SHA256.hash(entry.answer), session.peer.id)
        } else {
            return counters.drop(.unknownSession)
        }
        guard let plain = open(sealed, of: bytes, key: key, also: about) else { return counters.drop(.badSeal) }
        guard let verdict = try? HandshakeVerdict(encoded: plain), let publicKey = PublicKey(raw: verdict.identity),
            expected == nil || publicKey.id == expected
        else { return counters.drop(.junk) }
        guard handshakeLimit.take(now: now) else { return counters.drop(.rateLimited) }
        let header = Array(bytes.dropLast(sealed.count))
        let signed = Self.signed("verdict", about, header, [verdict.reason.rawValue])
        guard publicKey.isValid(signature: verdict.signature, of: signed) else { return counters.drop(.badSeal) }
        if let attempt = attempts[receiver] { end(attempt) }
        sessions[receiver] = nil
        switch verdict.reason {
        case .removed: outputs.append(.refused(by: publicKey.id, .removed, path: source))
        case .oldKey: outputs.append(.refused(by: publicKey.id, .oldKey, path: source))
        case .needsApproval: outputs.append(.waitingForApproval(by: publicKey.id, path: source))
        }
    }

    // MARK: Sessions in use

    private mutating func use(_ session: Session, now: Instant) {
        counters.opened += 1
        var all = peers[session.peer.id] ?? []
        // A process that is gone sends nothing any more; this one has proved that it lives.
        let gone = all.filter { $0.peer.generation < session.peer.generation }
        for old in gone { sessions[old.localIndex] = nil }
        all.removeAll { $0.peer.generation < session.peer.generation }
        // Both sides began at once: both sessions work, and both sides send on the one that the lower ID began.
        if let best = all.first, best.isInitiator != session.isInitiator,
            best.peer.generation == session.peer.generation, now - best.openedAt < .seconds(5),
            (identity.id < session.peer.id) == best.isInitiator
        {
            all.insert(session, at: 1)
        } else {
            all.insert(session, at: 0)
        }
        while all.count > limits.sessionsPerPeer { sessions[all.removeLast().localIndex] = nil }
        if peers[session.peer.id] == nil, peers.count >= limits.maximumPeers { dropQuietestPeer() }
        peers[session.peer.id] = all
    }

    private mutating func dropQuietestPeer() {
        let quietest = peers.min { left, right in
            let (a, b) = (left.value[0].lastReceived, right.value[0].lastReceived)
            return a != b ? a < b : left.key < right.key
        }
        if let quietest { forget(quietest.key) }
    }

    private func needsNewKeys(_ session: Session, now: Instant) -> Bool {
        // The side that began the session is first, so that usually only one side does it.
        let grace: Duration = session.isInitiator ? .zero : limits.rekeyAfter / 100
        return session.sent >= limits.rekeyAfterDatagrams || now - session.madeAt >= limits.rekeyAfter + grace
    }
    private func isSpent(_ session: Session, now: Instant) -> Bool {
        session.sent / 2 >= limits.rekeyAfterDatagrams || now - session.madeAt >= limits.rekeyAfter * 2
    }

    private mutating func sweep(now: Instant) {
        // What is removed here has no order that anybody could see.
        for (hash, entry) in answered where now >= entry.until {
            answered[hash] = nil
            if let index = entry.session, sessions[index]?.isProven == false { sessions[index] = nil }
        }
        for (peer, all) in peers {
            let kept = all.enumerated().filter { place, session in
                let quiet = now - session.lastReceived
                let limit = place == 0 ? limits.idleLinger : limits.replacedLinger
                return quiet < limit && now - session.madeAt < limits.rekeyAfter * 3
            }.map(\.element)
            guard kept.count < all.count else { continue }
            for session in all where !kept.contains(where: { $0 === session }) { sessions[session.localIndex] = nil }
            peers[peer] = kept.isEmpty ? nil : kept
        }
        handshakeSources.prune(now: now)
        strangerSources.prune(now: now)
    }

    // MARK: Small parts

    private mutating func transmit(_ datagram: [UInt8], to endpoint: Endpoint, into outputs: inout [Output]) {
        counters.datagramsOut += 1
        counters.bytesOut += UInt64(datagram.count)
        outputs.append(.transmit(datagram, to: endpoint))
    }

    private mutating func end(_ attempt: Attempt) {
        attempts[attempt.index] = nil
        if attemptAt[attempt.endpoint] == attempt.index { attemptAt[attempt.endpoint] = nil }
    }

    private func freshIndex() -> UInt32 {
        while true {
            let index = RandomBytes.integer(UInt32.self)
            if sessions[index] == nil, attempts[index] == nil { return index }
        }
    }

    /// Every handshake packet has a key of its own, made from the cluster key and its header, which holds 16 random
    /// bytes: no nonce can be used twice, and anybody without the key fails here, before any costly operation.
    private func packetKey(_ key: ClusterKey, header: some Collection<UInt8>) -> Secret {
        let secret = handshakeKeys[key.tag] ?? key.derived(for: "handshakes")
        var bytes = MAC.sha256(Array(header), key: secret)
        defer { bytes.wipe() }
        return Secret(bytes)
    }
    private func seal(_ body: [UInt8], header: [UInt8], key: ClusterKey, also: [UInt8] = []) -> [UInt8] {
        SealingKey.sealing(with: packetKey(key, header: header)).seal(body, counter: 0, header: header, also: also)
    }
    private func open(_ sealed: ArraySlice<UInt8>, of bytes: [UInt8], key: ClusterKey, also: [UInt8] = []) -> [UInt8]? {
        let header = Array(bytes.dropLast(sealed.count))
        return SealingKey.opening(with: packetKey(key, header: header))
            .open(Array(sealed), counter: 0, header: header, also: also)
    }
}
