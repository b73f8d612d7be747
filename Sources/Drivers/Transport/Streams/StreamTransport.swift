import CLinux
package import Crypto
import Glibc
import Logging
package import Primitives
package import Reactor
package import Wire

/// The streams between nodes: TLS 1.3 over TCP, both sides known by their keys, messages in frames.
///
/// For what is too large for a datagram or must arrive in order. One connection to a peer, made when there is something to
/// send; what waits for it is bounded, and so is everything a stranger can make us hold.
package actor StreamTransport {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    package nonisolated let port: UInt16

    private let identity: Identity
    private let clientContext: TLSContext
    private let serverContext: TLSContext
    private let hello: StreamHello
    private let limits: StreamLimits
    private let isAllowed: @Sendable (NodeID) -> Bool
    private let received: @Sendable (NodeID, Frame) -> Void
    private let tunnels: Tunnels?
    private let listener: StreamListener
    private var door = DoorKeeper()
    private var connections: [UInt64: StreamConnection] = [:]
    private var peers: [NodeID: Peer] = [:]
    private var heard: Set<NodeID> = []
    /// Who was heard and is not: since when. Members only, until they are heard again or removed.
    private var silences: [NodeID: Instant] = [:]
    private var invitations: [UInt64: OpenInvitation] = [:]
    private var lastNumber: UInt64 = 0
    private var timer: EventLoop.Registration?
    private var isStopped = false
    private var total = StreamCounters()

    /// What we send to one peer.
    private struct Peer {
        var queue: [[UInt8]] = []
        var queueStart = 0
        var queuedBytes = 0
        var endpoints: [Endpoint] = []
        /// The connection we send on: ours, or one of the peer's that was there first. Kept until it ends, so that
        /// frames stay in order.
        var connection: UInt64?
        var dials = 0
        var nextDial = Instant.zero

        var waiting: Int { queue.count - queueStart }
    }
    private struct OpenInvitation {
        let invitation: Invitation
        let expected: NodeID
        let endpoint: Endpoint
        let answer: CheckedContinuation<Result<Void, InvitationError>, Never>
        var isSent = false
    }

    /// Listens at once.
    ///
    /// - Parameter port: 0 lets the kernel choose one, for tests.
    /// - Parameter isAllowed: whether an identity may talk to us. Called on the loop, at each new connection and frame to
    ///   be sent; must be quick. Call `disconnect` when an answer changes to no.
    /// - Parameter tunnels: takes over connections of members that want one; without it they are refused.
    /// - Parameter received: a frame of a member, on the loop.
    package init(
        identity: Identity, loop: EventLoop, port: UInt16, addresses: [IPAddress] = [], software: String,
        limits: StreamLimits = StreamLimits(), tunnels: Tunnels? = nil, isAllowed: @escaping @Sendable (NodeID) -> Bool,
        received: @escaping @Sendable (NodeID, Frame) -> Void
    ) throws(ListenError) {
        let listener = try StreamListener(port: port, addresses: addresses)
        self.listener = listener
        self.port = listener.port
        self.loop = loop
        self.identity = identity
        self.limits = limits
        self.isAllowed = isAllowed
        self.received = received
        self.tunnels = tunnels
        clientContext = TLSContext(identity: identity, side: .client)
        serverContext = TLSContext(identity: identity, side: .server)
        hello = StreamHello(role: .member, software: software)
        loop.perform { self.assumeIsolated { $0.listen() } }
    }

    private func listen() {
        guard !isStopped else { return }
        listener.start(on: loop) { [weak self] descriptor in self?.assumeIsolated { $0.accept(on: descriptor) } }
    }

    // MARK: For the daemon

    /// Sends a frame to a peer, in the order of the calls as long as a connection lasts; connects first where that is needed. From any
    /// thread, never waits. What cannot be delivered is dropped and counted: whoever needs to know asks the peer.
    ///
    /// - Parameter endpoints: where the peer may be, the best first. Empty means where it was when a frame was last sent that still waits.
    package nonisolated func send(_ frame: Frame, to peer: NodeID, endpoints: [Endpoint]) {
        let encoded = frame.encoded
        loop.perform { self.assumeIsolated { $0.enqueue(encoded, to: peer, endpoints: endpoints) } }
    }

    /// Ends every connection with a peer and drops what waits for it: it was removed.
    package nonisolated func disconnect(_ peer: NodeID) {
        loop.perform { self.assumeIsolated { $0.end(peer) } }
    }

    /// Whom membership hears now; call it with each change. Connections of before a silence are not waited for: TCP tries to reach
    /// somebody twice as seldom after each attempt, and after a minute of silence goes on half a minute late. What it lost meanwhile
    /// holds up what comes after it, in one direction alone perhaps, and neither side can tell.
    package nonisolated func hears(_ peers: some Sequence<NodeID>) {
        let all = Set(peers)
        loop.perform { self.assumeIsolated { $0.heardChanged(all) } }
    }
    private func heardChanged(_ all: Set<NodeID>) {
        let now = SystemClock.now
        for peer in heard.subtracting(all) { silences[peer] = now }
        let come = all.subtracting(heard)
        heard = all
        for peer in come.sorted() { reachAnew(peer, since: silences.removeValue(forKey: peer) ?? .zero, now: now) }
    }
    /// - Parameter silence: when it began.
    private func reachAnew(_ id: NodeID, since silence: Instant, now: Instant) {
        let hopeless = connections.values.filter { connection in
            let isOurs = connection.peer == id || connection.number == peers[id]?.connection
            let isSlow = connection.stage != .open && now - connection.since > limits.firstBackoff
            return isOurs && !isInvitation(connection) && (isSlow || connection.since < silence)
        }
        for number in hopeless.map(\.number).sorted() { end(number, because: .ended) }
        guard peers[id] != nil else { return }
        (peers[id]!.dials, peers[id]!.nextDial) = (0, now)
        pump(id)
    }

    package var counters: StreamCounters {
        var all = total
        all.connections = connections.count
        for one in connections.values {
            all.bytesIn += one.bytesIn
            all.bytesOut += one.bytesOut
        }
        return all
    }

    /// Closes everything. The port is free afterwards.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        listener.stop(on: loop)
        peers = [:]
        for number in connections.keys.sorted() { end(number, because: .ended) }
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    // MARK: Sending

    private func enqueue(_ encoded: [UInt8], to id: NodeID, endpoints: [Endpoint]) {
        guard !isStopped, encoded.count <= Frame.headerSize + Frame.maximumPayload, isAllowed(id), id != identity.id,
            peers[id] != nil || peers.count < limits.maximumPeers
        else {
            total.framesDropped += 1
            return
        }
        var peer = peers[id] ?? Peer()
        if !endpoints.isEmpty { peer.endpoints = endpoints }
        if peer.waiting >= limits.queuedFrames || peer.queuedBytes + encoded.count > limits.queuedBytes {
            total.framesDropped += 1
        } else {
            peer.queue.append(encoded)
            peer.queuedBytes += encoded.count
        }
        peers[id] = peer
        pump(id)
    }

    /// Sends what waits, or takes the next step towards a connection.
    private func pump(_ id: NodeID) {
        guard var peer = peers[id] else { return }
        let now = SystemClock.now
        if peer.connection == nil {
            peer.connection = connections.values.filter { $0.peer == id && $0.stage == .open && !isInvitation($0) }
                .map(\.number).max()
        }
        guard let number = peer.connection, let connection = connections[number] else {
            peer.connection = nil
            peers[id] = peer
            if peer.waiting > 0 { dial(id, now: now) } else { forgetIfIdle(id) }
            return
        }
        if connection.stage == .open {
            // A little at a time: what is sealed already is lost with the connection, what waits here is not.
            while peer.waiting > 0, connection.unsentBytes < 262_144 {
                let encoded = peer.queue[peer.queueStart]
                peer.queue[peer.queueStart] = []
                peer.queueStart += 1
                peer.queuedBytes -= encoded.count
                connection.send(encoded: encoded)
                connection.markFrame(now: now)
                total.framesOut += 1
            }
            if peer.queueStart == peer.queue.count {
                peer.queue.removeAll(keepingCapacity: false)
                peer.queueStart = 0
            } else if peer.queueStart > 256 {
                peer.queue.removeFirst(peer.queueStart)
                peer.queueStart = 0
            }
        }
        peers[id] = peer
        flush(connection, now: now)
    }

    private func flush(_ connection: StreamConnection, now: Instant) {
        do throws(StreamConnection.Failure) {
            try connection.flush(now: now)
            watch(connection)
        } catch {
            end(connection.number, because: error)
        }
    }

    private func dial(_ id: NodeID, now: Instant) {
        guard let peer = peers[id], !peer.endpoints.isEmpty else { return dropQueue(id) }
        guard now >= peer.nextDial else { return startTimer() }
        guard connections.count < limits.maximumConnections else { return startTimer() }
        let endpoint = peer.endpoints[peer.dials % peer.endpoints.count]
        let allowed = isAllowed
        let connection = connect(endpoint, hello: hello) { $0 == id && allowed($0) }
        guard let connection else {
            dialFailed(id, now: now)
            return
        }
        peers[id]?.connection = connection.number
    }

    private func connect(
        _ endpoint: Endpoint, hello: StreamHello, admits: @escaping (NodeID) -> Bool
    ) -> StreamConnection? {
        var kernel = endpoint.kernel
        let descriptor = clinux_begin_connection(&kernel)
        guard descriptor >= 0 else { return nil }
        return adopt(
            StreamConnection(
                number: nextNumber(), descriptor: descriptor, direction: .outgoing, remote: endpoint,
                channel: clientContext.makeChannel(admits: admits), hello: hello, now: SystemClock.now))
    }

    private func dialFailed(_ id: NodeID, now: Instant) {
        guard var peer = peers[id] else { return }
        peer.dials += 1
        let rounds = peer.dials / max(1, peer.endpoints.count)
        if peer.dials % max(1, peer.endpoints.count) != 0 {
            peer.nextDial = now  // another address of it may do
        } else {
            let factor = 1 << min(rounds - 1, 16)
            peer.nextDial = now + min(limits.firstBackoff * factor, limits.longestBackoff)
        }
        peers[id] = peer
        if rounds >= limits.attempts { dropQueue(id) }
        startTimer()
    }

    private func dropQueue(_ id: NodeID) {
        guard var peer = peers[id] else { return }
        total.framesDropped += UInt64(peer.waiting)
        // Where it was last tried is kept: the next frame must not begin a storm of attempts.
        peer.queue = []
        peer.queueStart = 0
        peer.queuedBytes = 0
        peer.dials = 0
        peers[id] = peer
        forgetIfIdle(id)
    }
    private func forgetIfIdle(_ id: NodeID) {
        guard let peer = peers[id], peer.waiting == 0, peer.connection == nil, peer.nextDial <= SystemClock.now else {
            return
        }
        peers[id] = nil
    }

    // MARK: Connections

    private func accept(on listening: Int32) {
        for _ in 0..<16 {
            switch listener.accept(listening) {
            case .none: return
            case .outOfDescriptors: return listener.pause(on: loop)
            case .connection(let descriptor, let source):
                guard connections.count < limits.maximumConnections, door.admit(source.address, limits: limits) else {
                    total.refused += 1
                    close(descriptor)
                    continue
                }
                _ = adopt(
                    StreamConnection(
                        number: nextNumber(), descriptor: descriptor, direction: .incoming, remote: source,
                        channel: serverContext.makeChannel(admits: isAllowed), hello: hello, now: SystemClock.now))
            }
        }
    }

    private func adopt(_ connection: StreamConnection) -> StreamConnection {
        let number = connection.number
        connections[number] = connection
        let readiness: EventLoop.Readiness = connection.wantsToWrite ? [.readable, .writable] : .readable
        connection.isWatchedForWriting = connection.wantsToWrite
        connection.registration = loop.watch(connection.descriptor, for: readiness) { [weak self] readiness in
            self?.assumeIsolated { $0.ready(number, readiness) }
        }
        startTimer()
        return connection
    }

    private func ready(_ number: UInt64, _ readiness: EventLoop.Readiness) {
        guard let connection = connections[number] else { return }
        let now = SystemClock.now
        let before = connection.stage
        var frames: [Frame] = []
        var failure: StreamConnection.Failure?
        do throws(StreamConnection.Failure) {
            try connection.ready(readiness, now: now, into: &frames)
        } catch { failure = error }
        if connection.stage == .open, before != .open {
            if connection.hello?.role == .tunnel, connection.direction == .incoming, failure == nil, let tunnels {
                handOver(connection, frames, to: tunnels)
                return
            }
            opened(connection)
        }
        if let peer = connection.peer, connection.stage == .open {
            for frame in frames { take(frame, from: peer, on: connection) }
        }
        if let failure {
            end(number, because: failure)
        } else if connections[number] != nil {
            watch(connection)
            if let peer = connection.peer, peers[peer]?.connection == number { pump(peer) }
        }
    }

    private func handOver(_ connection: StreamConnection, _ frames: [Frame], to tunnels: Tunnels) {
        door.leave(connection.remote.address)
        connections[connection.number] = nil
        if let registration = connection.registration { loop.cancel(registration) }
        connection.registration = nil
        tunnels.adopt(connection, frames: frames)
    }

    private func watch(_ connection: StreamConnection) {
        guard connection.isWatchedForWriting != connection.wantsToWrite, let registration = connection.registration
        else { return }
        connection.isWatchedForWriting = connection.wantsToWrite
        loop.rearm(registration, for: connection.wantsToWrite ? [.readable, .writable] : .readable)
    }

    private func isInvitation(_ connection: StreamConnection) -> Bool { invitations[connection.number] != nil }

    private func opened(_ connection: StreamConnection) {
        if connection.direction == .incoming { door.leave(connection.remote.address) }
        guard let peer = connection.peer, let role = connection.hello?.role else { return }
        if var open = invitations[connection.number] {
            guard role == .waiting else { return settle(connection.number, .failure(.isMember(peer))) }
            open.isSent = true
            invitations[connection.number] = open
            connection.send(Frame(.invitation, payload: open.invitation.encoded))
            return flush(connection, now: SystemClock.now)
        }
        guard role == .member else { return end(connection.number, because: .refused("it is no member")) }
        peers[peer]?.dials = 0
        if connection.direction == .incoming {
            let others = connections.values.filter {
                $0.peer == peer && $0.direction == .incoming && $0.stage == .open
            }.map(\.number).sorted()
            for number in others.dropLast(limits.connectionsPerPeer) { end(number, because: .ended) }
            // Who connects anew has given up what there was, often before we can hear of it: what went there would be lost.
            peers[peer]?.connection = connection.number
        }
        pump(peer)
    }

    private func take(_ frame: Frame, from peer: NodeID, on connection: StreamConnection) {
        if invitations[connection.number] != nil {
            guard frame.kind == Frame.Kind.invitationAnswer.rawValue else { return }
            let answer = frame.payload.first.flatMap(InvitationAnswer.init)
            switch answer {
            case .accepted: settle(connection.number, .success(()))
            case .tooLate: settle(connection.number, .failure(.tooLate))
            case .unreadable: settle(connection.number, .failure(.unreadable))
            case .failed, nil: settle(connection.number, .failure(.failed))
            }
            return
        }
        total.framesIn += 1
        // Kinds of a newer version are skipped; those of the invitation have no business here.
        guard let kind = Frame.Kind(rawValue: frame.kind),
            [.core, .replication, .mirror, .clock, .volume].contains(kind)
        else { return }
        received(peer, frame)
    }

    private func end(_ id: NodeID) {
        // First what waits: a connection that ends would otherwise be made again for it.
        let peer = peers.removeValue(forKey: id)
        silences[id] = nil
        total.framesDropped += UInt64(peer?.waiting ?? 0)
        for number in connections.keys.sorted() where connections[number]?.peer == id || number == peer?.connection {
            end(number, because: .ended)
        }
    }

    private func end(_ number: UInt64, because reason: StreamConnection.Failure) {
        guard let connection = connections.removeValue(forKey: number) else { return }
        if connection.direction == .incoming, connection.hello == nil { door.leave(connection.remote.address) }
        if let registration = connection.registration { loop.cancel(registration) }
        let wasOpen = connection.stage == .open
        connection.close()
        total.bytesIn += connection.bytesIn
        total.bytesOut += connection.bytesOut
        switch reason {
        case .notAllowed: total.notAllowed += 1
        case .protocolBroken, .tooSlow: total.broken += 1
        default: break
        }
        Log.debug("stream \(connection.direction) \(connection.remote): \(reason)")
        if let open = invitations[number] {
            let error =
                open.isSent
                ? InvitationError.cut(open.endpoint, "it has the key but did not say what became of it")
                : InvitationError(reason, of: open.expected, at: open.endpoint)
            return settle(number, .failure(error))
        }
        guard let (id, _) = peers.first(where: { $0.value.connection == number }) else { return }
        peers[id]?.connection = nil
        // The peer is there: its address is good, only the connection ended.
        if wasOpen { pump(id) } else { dialFailed(id, now: SystemClock.now) }
    }

    private func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    // MARK: Time

    /// Runs only while there is something to watch.
    private func startTimer() {
        guard timer == nil, !isStopped else { return }
        timer = loop.schedule(after: .milliseconds(200)) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }

    private func tick() {
        timer = nil
        let now = SystemClock.now
        for number in connections.keys.sorted() {
            guard let connection = connections[number] else { continue }
            do throws(StreamConnection.Failure) { try connection.check(limits, now: now) } catch {
                end(number, because: error)
            }
        }
        for id in peers.keys.sorted() where peers[id]?.connection == nil { pump(id) }
        if !connections.isEmpty || !peers.isEmpty { startTimer() }
    }

    // MARK: Invitations

    /// Hands the cluster key to a machine that waits for one. Its identity is checked before anything is said.
    ///
    /// - Parameter expected: the ID whose code the operator compared.
    package func invite(
        _ endpoint: Endpoint, expecting expected: NodeID, with invitation: Invitation
    ) async throws(InvitationError) {
        guard invitations.count < 16, connections.count < limits.maximumConnections, !isStopped else { throw .busy }
        let hello = StreamHello(role: .inviter, software: hello.software)
        let result: Result<Void, InvitationError> = await withCheckedContinuation { continuation in
            guard let connection = connect(endpoint, hello: hello, admits: { $0 == expected }) else {
                continuation.resume(returning: .failure(.noAnswer(endpoint)))
                return
            }
            invitations[connection.number] = OpenInvitation(
                invitation: invitation, expected: expected, endpoint: endpoint, answer: continuation)
        }
        try result.get()
    }

    private func settle(_ number: UInt64, _ result: Result<Void, InvitationError>) {
        guard let open = invitations.removeValue(forKey: number) else { return }
        end(number, because: .ended)
        open.answer.resume(returning: result)
    }
}

/// Why a machine could not be invited.
package enum InvitationError: OperatorError, Equatable {
    case noAnswer(Endpoint)
    case otherIdentity(expected: NodeID, found: NodeID)
    case notWaiting(Endpoint)
    case isMember(NodeID)
    case tooLate, unreadable, failed, busy
    case cut(Endpoint, String)

    init(_ reason: StreamConnection.Failure, of expected: NodeID, at endpoint: Endpoint) {
        self =
            switch reason {
            case .unreachable, .tooSlow, .idle: .noAnswer(endpoint)
            case .notAllowed(let found): .otherIdentity(expected: expected, found: found)
            case .refused: .notWaiting(endpoint)
            case .cut(let text), .protocolBroken(let text): .cut(endpoint, text)
            case .ended: .cut(endpoint, "this node is stopping")
            }
    }

    package var problem: String {
        switch self {
        case .noAnswer(let endpoint): "no machine answers at \(endpoint)"
        case .otherIdentity(let expected, let found):
            "the machine there has the code \(found.code), not \(expected.code): nothing was said to it"
        case .notWaiting(let endpoint): "the machine at \(endpoint) does not wait for an invitation"
        case .isMember(let id): "the machine \(id.code) is a member of a cluster already"
        case .tooLate: "the machine accepted another invitation before"
        case .unreadable: "the machine does not understand this cluster's key"
        case .failed: "the machine could not store the cluster key"
        case .busy: "too many invitations are under way"
        case .cut(let endpoint, let reason): "the connection to \(endpoint) broke: \(reason)"
        }
    }
    package var remedy: String {
        switch self {
        case .noAnswer:
            "check that bramble runs there and that TCP 7771 is open between the two machines, then try again"
        case .otherIdentity: "compare the code with the one that “bramble status” shows on the machine itself"
        case .notWaiting, .isMember:
            "a machine waits when it has no cluster key: on it, run “bramble status”; to move it here, "
                + "take it out of its old cluster first: bramble node remove NAME there"
        case .tooLate: "see on that machine which cluster it joined: bramble status"
        case .unreadable: "install the same version of Bramble there"
        case .failed: "see the log on that machine: its data directory may be full or read-only"
        case .busy, .cut: "try again in a minute"
        }
    }
}
