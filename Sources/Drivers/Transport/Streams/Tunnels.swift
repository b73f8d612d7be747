import CLinux
package import Crypto
import Glibc
import Logging
package import Primitives
package import Reactor
import Wire

/// Byte streams between programs of two nodes, such as two halves of rsync: each over a TLS connection of its own, and on a
/// thread of its own, so that a gigabyte neither holds up a message nor the loop that carries them.
///
/// One side asks with a few words what it wants; the other refuses, with a reason for people, or names the sockets of a
/// program. From then on bytes go both ways until both have ended, or either breaks.
package actor Tunnels {
    package struct Limits: Equatable, Sendable {
        package var connectTimeout: Duration = .seconds(3)
        /// From the connection until the other side has decided; it may have to look things up.
        package var answerTimeout: Duration = .seconds(15)
        /// Without a byte either way: the programs at the ends have their own, shorter ones.
        package var idleTimeout: Duration = .seconds(900)
        /// At once, in both directions together, and with one peer.
        package var maximum = 32
        package var maximumPerPeer = 8
        package init() {}
    }
    /// Bytes of a request.
    package static let maximumRequest = 4_096

    /// Where the program at this end is spoken to: non-blocking sockets, from now on owned and closed by the tunnel.
    package struct Ends: Equatable, Sendable {
        /// What the program says comes from here.
        package var input: Int32
        /// What it is told goes here. Often the same.
        package var output: Int32
        /// As a remote shell: when the program on the other side has ended, nobody waits for this one to say that it has
        /// nothing more to say. It may wait for us.
        package var endsWithOther = false
        package init(_ socket: Int32) { self.init(input: socket, output: socket) }
        package init(input: Int32, output: Int32, endsWithOther: Bool = false) {
            self.input = input
            self.output = output
            self.endsWithOther = endsWithOther
        }

        fileprivate func close() {
            Glibc.close(input)
            if output != input { Glibc.close(output) }
        }
    }

    /// What the asked side says.
    package enum Answer: Sendable {
        case accept(Ends)
        case refuse(String)
    }
    /// What a tunnel carried, from this side's view.
    package struct Traffic: Equatable, Sendable {
        package var sent: UInt64 = 0
        package var received: UInt64 = 0
        package init(sent: UInt64 = 0, received: UInt64 = 0) {
            self.sent = sent
            self.received = received
        }
    }

    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let context: TLSContext
    private let hello: StreamHello
    private let limits: Limits
    private let isAllowed: @Sendable (NodeID) -> Bool
    private let requested: @Sendable (NodeID, [UInt8]) async -> Answer
    private var tunnels: [UInt64: Tunnel] = [:]
    private var lastNumber: UInt64 = 0
    private var timer: EventLoop.Registration?
    private var isStopped = false

    /// - Parameter loop: a thread for this alone.
    /// - Parameter requested: a member wants a tunnel. Anything in the request may be wrong or malicious.
    package init(
        identity: Identity, loop: EventLoop, software: String, limits: Limits = Limits(),
        isAllowed: @escaping @Sendable (NodeID) -> Bool,
        requested: @escaping @Sendable (NodeID, [UInt8]) async -> Answer
    ) {
        self.loop = loop
        self.limits = limits
        self.isAllowed = isAllowed
        self.requested = requested
        context = TLSContext(identity: identity, side: .client)
        hello = StreamHello(role: .tunnel, software: software)
    }

    // MARK: For the daemon

    /// Opens a tunnel, carries bytes between it and a program until both directions have ended, and tells how many.
    ///
    /// - Parameter ends: closed in any case when this returns.
    package func run(
        to peer: NodeID, endpoints: [Endpoint], request: [UInt8], ends: Ends
    ) async throws(TunnelError) -> Traffic {
        precondition(request.count <= Self.maximumRequest, "a tunnel's request is at most \(Self.maximumRequest) bytes")
        var failure = TunnelError.noAnswer(peer, endpoints)
        for endpoint in endpoints {
            guard !isStopped else {
                failure = .stopping
                break
            }
            guard isAllowed(peer) else {
                failure = .notAllowed(peer)
                break
            }
            guard hasRoom(for: peer) else {
                failure = .busy
                break
            }
            let result: Result<Traffic, TunnelError> = await withCheckedContinuation { continuation in
                dial(endpoint, peer, request, ends) { continuation.resume(returning: $0) }
            }
            switch result {
            case .success(let traffic): return traffic
            case .failure(.noAnswer): continue  // another address of it may do; the ends are still ours
            case .failure(let error): throw error
            }
        }
        ends.close()
        throw failure
    }

    /// Ends what runs with a peer that was removed.
    package nonisolated func disconnect(_ peer: NodeID) {
        loop.perform {
            self.assumeIsolated { desk in
                for tunnel in desk.inOrder where tunnel.peer == peer { desk.end(tunnel, .failure(.notAllowed(peer))) }
            }
        }
    }

    package func stop() {
        isStopped = true
        for tunnel in inOrder { end(tunnel, .failure(.stopping)) }
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    package var count: Int { tunnels.count }

    // MARK: Opening

    /// A connection whose hello asked for a tunnel, handed over by the streams. From their loop, as the last thing they do
    /// with it.
    nonisolated func adopt(_ connection: StreamConnection, frames: [Frame]) {
        nonisolated(unsafe) let handed = connection
        loop.perform { self.assumeIsolated { $0.take(handed, frames) } }
    }

    private func take(_ connection: StreamConnection, _ frames: [Frame]) {
        guard !isStopped, let peer = connection.peer, isAllowed(peer) else { return connection.close() }
        guard hasRoom(for: peer) else {
            connection.send(Frame(.tunnelAnswer, payload: Array("too many transfers run there at once".utf8)))
            return connection.close()
        }
        let tunnel = Tunnel(number: nextNumber(), connection: connection, peer: peer, side: .asked)
        tunnels[tunnel.number] = tunnel
        watch(tunnel)
        advance(tunnel) { () throws(StreamConnection.Failure) in frames.forEach { self.take($0, on: tunnel) } }
    }

    private func dial(
        _ endpoint: Endpoint, _ peer: NodeID, _ request: [UInt8], _ ends: Ends,
        _ done: @escaping (Result<Traffic, TunnelError>) -> Void
    ) {
        var kernel = endpoint.kernel
        let socket = clinux_begin_connection(&kernel)
        guard socket >= 0 else { return done(.failure(.noAnswer(peer, [endpoint]))) }
        let allowed = isAllowed
        let number = nextNumber()
        let connection = StreamConnection(
            number: number, descriptor: socket, direction: .outgoing, remote: endpoint,
            channel: context.makeChannel { $0 == peer && allowed($0) }, hello: hello, now: SystemClock.now)
        let tunnel = Tunnel(number: number, connection: connection, peer: peer, side: .asking(request, ends))
        tunnel.done = done
        tunnels[number] = tunnel
        watch(tunnel)
    }

    private func watch(_ tunnel: Tunnel) {
        let number = tunnel.number
        tunnel.connection.registration = loop.watch(tunnel.connection.descriptor, for: tunnel.networkInterest) {
            [weak self] readiness in self?.assumeIsolated { $0.networkReady(number, readiness) }
        }
        startTimer()
    }

    private func hasRoom(for peer: NodeID) -> Bool {
        tunnels.count < limits.maximum && tunnels.values.count { $0.peer == peer } < limits.maximumPerPeer
    }
    private func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }
    private var inOrder: [Tunnel] { tunnels.keys.sorted().compactMap { tunnels[$0] } }

    // MARK: Frames

    private func take(_ frame: Frame, on tunnel: Tunnel) {
        switch (Frame.Kind(rawValue: frame.kind), tunnel.phase) {
        case (.tunnelRequest, .opening) where tunnel.isAsked && frame.payload.count <= Self.maximumRequest:
            tunnel.phase = .deciding
            let peer = tunnel.peer
            let number = tunnel.number
            let requested = requested
            Task {
                let answer = await requested(peer, frame.payload)
                self.answer(number, answer)
            }
        case (.tunnelAnswer, .opening) where !tunnel.isAsked:
            guard frame.payload.isEmpty else {
                let reason = String(decoding: frame.payload.prefix(1_024), as: UTF8.self)
                return end(tunnel, .failure(.refused(tunnel.peer, reason)))
            }
            if case .asking(_, let ends) = tunnel.side { join(tunnel, ends) }
        case (.tunnelData, .open): tunnel.received(frame.payload)
        case (.tunnelEnd, .open): tunnel.networkEnded()
        case (nil, _): break  // of a newer version
        default: end(tunnel, .failure(.broken("an unexpected frame")))
        }
    }

    private func answer(_ number: UInt64, _ answer: Answer) {
        guard let tunnel = tunnels[number], tunnel.phase == .deciding else {
            if case .accept(let ends) = answer { ends.close() }
            return
        }
        switch answer {
        case .accept(let ends):
            tunnel.connection.send(Frame(.tunnelAnswer, payload: []))
            join(tunnel, ends)
        case .refuse(let reason):
            tunnel.connection.send(Frame(.tunnelAnswer, payload: Array(reason.utf8.prefix(1_024))))
            // Who asked ends the connection when it has read it.
            tunnel.phase = .refused
        }
        advance(tunnel) { () throws(StreamConnection.Failure) in }
    }

    /// From here on bytes flow.
    private func join(_ tunnel: Tunnel, _ ends: Ends) {
        tunnel.join(ends)
        let number = tunnel.number
        tunnel.localRegistration = loop.watch(ends.input, for: .readable) { [weak self] readiness in
            self?.assumeIsolated { $0.localReady(number, readiness) }
        }
        tunnel.localInterest = .readable
        guard ends.output != ends.input else { return }
        tunnel.outputRegistration = loop.watch(ends.output, for: []) { [weak self] readiness in
            self?.assumeIsolated { $0.outputReady(number, readiness) }
        }
    }

    // MARK: What the loop reports

    private func networkReady(_ number: UInt64, _ readiness: EventLoop.Readiness) {
        guard let tunnel = tunnels[number] else { return }
        advance(tunnel) { () throws(StreamConnection.Failure) in
            let before = tunnel.connection.stage
            var frames: [Frame] = []
            var failure: StreamConnection.Failure?
            do throws(StreamConnection.Failure) {
                try tunnel.connection.ready(readiness, now: SystemClock.now, into: &frames)
            } catch { failure = error }
            if before != .open, tunnel.connection.stage == .open, case .asking(let request, _) = tunnel.side {
                tunnel.connection.send(Frame(.tunnelRequest, payload: request))
            }
            for frame in frames where tunnels[number] != nil { take(frame, on: tunnel) }
            if let failure { throw failure }
        }
    }

    private func localReady(_ number: UInt64, _ readiness: EventLoop.Readiness) {
        guard let tunnel = tunnels[number] else { return }
        advance(tunnel) { () throws(StreamConnection.Failure) in
            if readiness.contains(.readable) { tunnel.readLocal() }
        }
    }

    /// The other of two sockets. A hang-up is reported even when nothing is watched for: then it is watched no more.
    private func outputReady(_ number: UInt64, _ readiness: EventLoop.Readiness) {
        guard let tunnel = tunnels[number] else { return }
        if !readiness.contains(.writable), let one = tunnel.outputRegistration {
            loop.cancel(one)
            tunnel.outputRegistration = nil
            tunnel.goDeaf()
        }
        advance(tunnel) { () throws(StreamConnection.Failure) in }
    }

    /// Does a step, then moves what can be moved, and watches for what can not.
    private func advance(_ tunnel: Tunnel, _ step: () throws(StreamConnection.Failure) -> Void) {
        do throws(StreamConnection.Failure) {
            try step()
            guard tunnels[tunnel.number] != nil else { return }
            tunnel.writeLocal()
            if !tunnel.isDisconnected { try tunnel.connection.flush(now: SystemClock.now) }
        } catch {
            guard tunnels[tunnel.number] != nil else { return }
            guard tunnel.hasAllBeenSaid else { return end(tunnel, .failure(tunnel.error(error))) }
            // The other side had nothing more to wait for; our program still takes what came.
            tunnel.isDisconnected = true
            if let registration = tunnel.connection.registration { loop.cancel(registration) }
            tunnel.connection.registration = nil
            tunnel.writeLocal()
        }
        let isSent = tunnel.isDisconnected || tunnel.connection.unsentBytes == 0
        guard !tunnel.isFinished || !isSent else { return end(tunnel, .success(tunnel.traffic)) }
        rearm(tunnel)
    }

    private func rearm(_ tunnel: Tunnel) {
        let network = tunnel.networkInterest
        if let registration = tunnel.connection.registration, network != tunnel.watchedNetwork {
            loop.rearm(registration, for: network)
            tunnel.watchedNetwork = network
        }
        if let registration = tunnel.outputRegistration, tunnel.wantedOutput != tunnel.outputInterest {
            loop.rearm(registration, for: tunnel.wantedOutput)
            tunnel.outputInterest = tunnel.wantedOutput
        }
        let local = tunnel.wantedLocal
        if let registration = tunnel.localRegistration, local != tunnel.localInterest {
            loop.rearm(registration, for: local)
            tunnel.localInterest = local
        }
    }

    private func end(_ tunnel: Tunnel, _ result: Result<Traffic, TunnelError>) {
        guard tunnels.removeValue(forKey: tunnel.number) != nil else { return }
        if let registration = tunnel.connection.registration { loop.cancel(registration) }
        if let registration = tunnel.localRegistration { loop.cancel(registration) }
        if let registration = tunnel.outputRegistration { loop.cancel(registration) }
        tunnel.connection.close()
        // Where nobody answered, whoever asked may try another address with the same descriptor.
        if case .failure(.noAnswer) = result {} else { tunnel.closeLocal() }
        tunnel.done?(result)
        if case .failure(let error) = result { Log.debug("tunnel with \(tunnel.peer): \(error.problem)") }
    }

    private func startTimer() {
        guard timer == nil, !isStopped else { return }
        timer = loop.schedule(after: .milliseconds(250)) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }

    private func tick() {
        timer = nil
        let now = SystemClock.now
        for tunnel in inOrder {
            let age = now - tunnel.since
            switch tunnel.connection.stage {
            case .connecting, .handshaking, .greeting:
                if age >= limits.connectTimeout { end(tunnel, .failure(tunnel.error(.tooSlow))) }
            default:
                if tunnel.phase != .open {
                    if age >= limits.connectTimeout + limits.answerTimeout {
                        end(tunnel, .failure(.broken("the other side did not decide in time")))
                    }
                } else if now - tunnel.lastMoved >= limits.idleTimeout {
                    end(tunnel, .failure(.broken("nothing moved for \(Int(limits.idleTimeout.seconds)) s")))
                }
            }
        }
        if !tunnels.isEmpty { startTimer() }
    }
}

/// One tunnel: a connection, and the program at this end.
private final class Tunnel {
    enum Side {
        case asking([UInt8], Tunnels.Ends)
        case asked
    }
    enum Phase { case opening, deciding, refused, open }

    /// Read from the program when less than this waits for the network, and the other way round.
    private static let window = 512 * 1024
    private static let portion = 65_536

    let number: UInt64
    let connection: StreamConnection
    let peer: NodeID
    let side: Side
    var phase = Phase.opening
    let since = SystemClock.now
    private(set) var lastMoved = SystemClock.now
    var done: ((Result<Tunnels.Traffic, TunnelError>) -> Void)?
    private(set) var traffic = Tunnels.Traffic()
    var watchedNetwork: EventLoop.Readiness?
    var localRegistration: EventLoop.Registration?
    var localInterest: EventLoop.Readiness = []
    /// Where the program listens on another socket than the one it talks on.
    var outputRegistration: EventLoop.Registration?
    var outputInterest: EventLoop.Readiness = []

    private var local: Tunnels.Ends?
    private var forLocal: [[UInt8]] = []
    private var forLocalBytes = 0
    private var firstOffset = 0
    /// The program has said all; the other side has.
    private var hasLocalEnded = false
    private var hasNetworkEnded = false
    private var isLocalDeaf = false

    init(number: UInt64, connection: StreamConnection, peer: NodeID, side: Side) {
        self.number = number
        self.connection = connection
        self.peer = peer
        self.side = side
    }

    var isAsked: Bool { if case .asked = side { true } else { false } }
    /// Both directions have ended.
    var hasAllBeenSaid: Bool { phase == .open && hasLocalEnded && hasNetworkEnded }
    /// And what was said has arrived here.
    var isFinished: Bool { hasAllBeenSaid && forLocal.isEmpty }
    /// The connection is gone, the program at this end not yet.
    var isDisconnected = false

    var networkInterest: EventLoop.Readiness {
        var interest: EventLoop.Readiness = forLocalBytes < Self.window ? .readable : []
        if connection.wantsToWrite { interest.insert(.writable) }
        return interest
    }
    var wantedLocal: EventLoop.Readiness {
        var interest: EventLoop.Readiness = []
        if !hasLocalEnded, connection.unsentBytes < Self.window { interest.insert(.readable) }
        if !forLocal.isEmpty, isOneSocket { interest.insert(.writable) }
        return interest
    }
    var wantedOutput: EventLoop.Readiness { forLocal.isEmpty || isOneSocket ? [] : .writable }
    private var isOneSocket: Bool { local.map { $0.input == $0.output } ?? true }

    func join(_ ends: Tunnels.Ends) {
        local = ends
        phase = .open
        lastMoved = SystemClock.now
    }
    func closeLocal() {
        if case .asking(_, let ends) = side { local = ends }
        local?.close()
        local = nil
    }

    // MARK: Bytes

    func received(_ bytes: [UInt8]) {
        lastMoved = SystemClock.now
        traffic.received += UInt64(bytes.count)
        // A program that reads no more still may be saying something.
        guard !isLocalDeaf, !bytes.isEmpty else { return }
        forLocal.append(bytes)
        forLocalBytes += bytes.count
    }

    func networkEnded() {
        hasNetworkEnded = true
        if forLocal.isEmpty { endLocalInput() }
    }

    /// Programs see the end of their input, and may go on talking.
    private func endLocalInput() {
        guard let local else { return }
        shutdown(local.output, Int32(SHUT_WR))
        guard local.endsWithOther, !hasLocalEnded else { return }
        hasLocalEnded = true
        connection.send(Frame(.tunnelEnd, payload: []))
    }

    func writeLocal() {
        guard let local = local?.output else { return }
        while let first = forLocal.first {
            let written = first.withUnsafeBytes {
                clinux_send_stream(local, $0.baseAddress! + firstOffset, $0.count - firstOffset)
            }
            guard written >= 0 else {
                if errno == EINTR { continue }
                if errno != EAGAIN { goDeaf() }
                return
            }
            lastMoved = SystemClock.now
            forLocalBytes -= written
            firstOffset += written
            guard firstOffset == first.count else { continue }
            firstOffset = 0
            forLocal.removeFirst()
            if forLocal.isEmpty, hasNetworkEnded { endLocalInput() }
        }
    }

    func goDeaf() {
        isLocalDeaf = true
        forLocal = []
        forLocalBytes = 0
        firstOffset = 0
        if hasNetworkEnded { endLocalInput() }
    }

    func readLocal() {
        guard let local = local?.input else { return }
        // A bounded portion: another tunnel's program wants its turn.
        for _ in 0..<8 where !hasLocalEnded && connection.unsentBytes < Self.window {
            var bytes = [UInt8](unsafeUninitializedCapacity: Self.portion) { buffer, count in
                let got = recv(local, buffer.baseAddress, buffer.count, 0)
                count = max(0, got)
                if got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) { hasLocalEnded = true }
            }
            if hasLocalEnded {
                connection.send(Frame(.tunnelEnd, payload: []))
                lastMoved = SystemClock.now
                return
            }
            guard !bytes.isEmpty else { return }
            lastMoved = SystemClock.now
            traffic.sent += UInt64(bytes.count)
            let isLast = bytes.count < Self.portion
            connection.send(Frame(.tunnelData, payload: consume(&bytes)))
            if isLast { return }
        }
    }
    private func consume(_ bytes: inout [UInt8]) -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    func error(_ failure: StreamConnection.Failure) -> TunnelError {
        switch failure {
        case .unreachable, .tooSlow, .idle: .noAnswer(peer, [connection.remote])
        case .notAllowed(let found): .notAllowed(found)
        case .refused(let reason):
            phase == .open || phase == .deciding ? .broken(reason) : .noAnswer(peer, [connection.remote])
        case .cut(let reason), .protocolBroken(let reason): .broken(reason)
        case .ended: .stopping
        }
    }
}

/// Why no bytes went, or not all.
package enum TunnelError: OperatorError, Equatable {
    case noAnswer(NodeID, [Endpoint])
    case notAllowed(NodeID)
    /// The other side's reason, for people.
    case refused(NodeID, String)
    case broken(String)
    case busy, stopping

    package var problem: String {
        switch self {
        case .noAnswer(_, let endpoints):
            "no answer at \(endpoints.isEmpty ? "any address" : endpoints.map(\.description).joined(separator: ", "))"
        case .notAllowed(let id): "the node \(id.code) is no member"
        case .refused(_, let reason): "the other node refuses: \(reason)"
        case .broken(let reason): "the connection broke: \(reason)"
        case .busy: "too many transfers run at once"
        case .stopping: "this node is stopping"
        }
    }
    package var remedy: String {
        switch self {
        case .noAnswer: "check with “bramble nodes” that it is alive, and that TCP 7771 is open between the two"
        case .notAllowed: "bramble nodes lists the members"
        case .refused: "bramble doctor on that node may say more"
        case .broken: "it is tried again by itself; when it goes on, look at the log of both nodes"
        case .busy: "it is tried again by itself"
        case .stopping: "start it again: systemctl start bramble"
        }
    }
}
