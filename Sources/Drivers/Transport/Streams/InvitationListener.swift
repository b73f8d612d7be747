package import Crypto
import Glibc
package import Primitives
package import Reactor
package import Wire

/// A machine without a cluster key waits here, on the port of the streams, for one invitation.
///
/// It cannot tell a right inviter from a wrong one: it has nothing to tell by. The operator does, who compares its code at
/// the inviting side; until then it knows nothing worth having. The first invitation that can be stored is the one taken.
package actor InvitationListener {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    package nonisolated let port: UInt16

    private let context: TLSContext
    private let hello: StreamHello
    private let limits: StreamLimits
    private let accepted: @Sendable (ClusterKey, Invitation, NodeID, Endpoint) async -> Bool
    private let listener: StreamListener
    private var door = DoorKeeper()
    private var connections: [UInt64: StreamConnection] = [:]
    private var lastNumber: UInt64 = 0
    private var timer: EventLoop.Registration?
    private var isTaken = false
    /// The invitation that is being stored.
    private var taking: Task<Void, Never>?
    private var isStopped = false

    /// - Parameter accepted: stores the key; false when that failed, and another invitation may come. On success the
    ///   caller stops this listener and starts the node.
    package init(
        identity: Identity, loop: EventLoop, port: UInt16, addresses: [IPAddress] = [], software: String,
        limits: StreamLimits = StreamLimits(),
        accepted: @escaping @Sendable (ClusterKey, Invitation, NodeID, Endpoint) async -> Bool
    ) throws(ListenError) {
        let listener = try StreamListener(port: port, addresses: addresses)
        self.listener = listener
        self.port = listener.port
        self.loop = loop
        self.limits = limits
        self.accepted = accepted
        context = TLSContext(identity: identity, side: .server)
        hello = StreamHello(role: .waiting, software: software)
        loop.perform { self.assumeIsolated { $0.listen() } }
    }

    /// The port is free afterwards. An invitation that is being stored is answered before, so do not wait for this
    /// from within `accepted`.
    package func stop() async {
        guard !isStopped else { return }
        isStopped = true
        listener.stop(on: loop)
        await taking?.value
        for number in connections.keys.sorted() { end(number) }
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    private func listen() {
        guard !isStopped else { return }
        listener.start(on: loop) { [weak self] descriptor in self?.assumeIsolated { $0.accept(on: descriptor) } }
    }

    private func accept(on listening: Int32) {
        for _ in 0..<16 {
            switch listener.accept(listening) {
            case .none: return
            case .outOfDescriptors: return listener.pause(on: loop)
            case .connection(let descriptor, let source):
                guard connections.count < limits.maximumStrangers, door.admit(source.address, limits: limits) else {
                    close(descriptor)
                    continue
                }
                lastNumber += 1
                let number = lastNumber
                let connection = StreamConnection(
                    number: number, descriptor: descriptor, direction: .incoming, remote: source,
                    channel: context.makeChannel { _ in true }, hello: hello, now: SystemClock.now)
                connections[number] = connection
                connection.registration = loop.watch(descriptor, for: .readable) { [weak self] readiness in
                    self?.assumeIsolated { $0.ready(number, readiness) }
                }
                startTimer()
            }
        }
    }

    private func ready(_ number: UInt64, _ readiness: EventLoop.Readiness) {
        guard let connection = connections[number] else { return }
        var frames: [Frame] = []
        do throws(StreamConnection.Failure) {
            try connection.ready(readiness, now: SystemClock.now, into: &frames)
        } catch { return end(number) }
        watch(connection)
        guard connection.stage == .open, let inviter = connection.peer else { return }
        // A member that takes us for one of its own learns from our hello that we are not.
        guard connection.hello?.role == .inviter else { return end(number) }
        for frame in frames where frame.kind == Frame.Kind.invitation.rawValue {
            consider(frame, from: inviter, on: connection)
        }
    }

    private func consider(_ frame: Frame, from inviter: NodeID, on connection: StreamConnection) {
        guard !isTaken else { return answer(.tooLate, on: connection.number) }
        guard let invitation = try? Invitation(encoded: frame.payload), let key = try? ClusterKey(text: invitation.key)
        else { return answer(.unreadable, on: connection.number) }
        isTaken = true
        let (number, remote) = (connection.number, connection.remote)
        taking = Task {
            let isStored = await accepted(key, invitation, inviter, remote)
            if !isStored { isTaken = false }
            answer(isStored ? .accepted : .failed, on: number)
        }
    }

    private func answer(_ answer: InvitationAnswer, on number: UInt64) {
        guard let connection = connections[number], connection.stage == .open else { return }
        connection.send(Frame(.invitationAnswer, payload: [answer.rawValue]))
        do throws(StreamConnection.Failure) { try connection.flush(now: SystemClock.now) } catch { return end(number) }
        watch(connection)
    }

    private func watch(_ connection: StreamConnection) {
        guard connection.isWatchedForWriting != connection.wantsToWrite, let registration = connection.registration
        else { return }
        connection.isWatchedForWriting = connection.wantsToWrite
        loop.rearm(registration, for: connection.wantsToWrite ? [.readable, .writable] : .readable)
    }

    private func end(_ number: UInt64) {
        guard let connection = connections.removeValue(forKey: number) else { return }
        door.leave(connection.remote.address)
        if let registration = connection.registration { loop.cancel(registration) }
        connection.close()
    }

    private func startTimer() {
        guard timer == nil, !isStopped else { return }
        timer = loop.schedule(after: .milliseconds(100)) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }
    private func tick() {
        timer = nil
        let now = SystemClock.now
        for number in connections.keys.sorted() {
            guard let connection = connections[number] else { continue }
            do throws(StreamConnection.Failure) { try connection.check(limits, now: now) } catch { end(number) }
        }
        if !connections.isEmpty { startTimer() }
    }
}
