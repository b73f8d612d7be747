import CLinux
import Crypto
import Glibc
import Primitives
import Reactor
import Testing
import Transport
import Wire

private let loopback = IPAddress("127.0.0.1")!

/// A node's streams on loopback, with what it received and whom it talks to.
private final class StreamNode: Sendable {
    let identity: Identity
    let loop: EventLoop
    let transport: StreamTransport
    let received = Locked<[(NodeID, Frame)]>([])
    let allowed: Locked<Set<NodeID>?>

    var id: NodeID { identity.id }
    var endpoint: Endpoint { Endpoint(loopback, port: transport.port) }

    /// - Parameter allowed: nil for everybody.
    init(identity: Identity = .generate(), port: UInt16 = 0, allowed: Set<NodeID>? = nil, limits: StreamLimits = .quick)
        throws
    {
        self.identity = identity
        let members = Locked<Set<NodeID>?>(allowed)
        self.allowed = members
        let received = self.received
        loop = EventLoop(name: "streams")
        transport = try StreamTransport(
            identity: identity, loop: loop, port: port, addresses: [loopback], software: "test", limits: limits,
            isAllowed: { id in members.withLock { $0?.contains(id) ?? true } },
            received: { from, frame in received.withLock { $0.append((from, frame)) } })
    }
    func send(_ payload: [UInt8], to other: StreamNode) {
        transport.send(Frame(.core, payload: payload), to: other.id, endpoints: [other.endpoint])
    }
    var payloads: [[UInt8]] { received.withLock { $0.map(\.1.payload) } }
    func stop() async {
        await transport.stop()
        loop.stop()
    }
}

extension StreamLimits {
    fileprivate static var quick: StreamLimits {
        var limits = StreamLimits()
        limits.connectTimeout = .milliseconds(800)
        limits.helloTimeout = .milliseconds(600)
        limits.firstBackoff = .milliseconds(50)
        limits.longestBackoff = .milliseconds(200)
        return limits
    }
}

/// Waits until something holds, at most `seconds`; for what other threads do.
private func eventually(within seconds: Double = 60, _ condition: () async -> Bool) async -> Bool {
    let deadline = SystemClock.now + .milliseconds(Int64(seconds * 1000))
    while SystemClock.now < deadline {
        if await condition() { return true }
        usleep(5_000)
    }
    return await condition()
}

@Suite("streams carry frames between members, and between nobody else", .serialized)
struct StreamTests {
    @Test("frames arrive in order, in both directions, with who sent them, over one connection")
    func frames() async throws {
        let (a, b) = (try StreamNode(), try StreamNode())
        for number in 0..<500 { a.send([UInt8(number & 255), UInt8(number >> 8)], to: b) }
        #expect(await eventually { b.payloads.count == 500 })
        #expect(b.payloads == (0..<500).map { [UInt8($0 & 255), UInt8($0 >> 8)] })
        #expect(b.received.withLock { $0.allSatisfy { $0.0 == a.id } })
        b.send([7], to: a)
        #expect(await eventually { a.payloads == [[7]] })
        #expect(await a.transport.counters.connections == 1, "the way back uses the connection that is there")
        await a.stop()
        await b.stop()
    }

    @Test("a peer that connects anew has given up its old connection: what is said to it goes by the new one")
    func connectsAnew() async throws {
        // One identity with two transports is a peer of whose first connection nobody has heard yet that it is gone.
        let (before, b) = (try StreamNode(), try StreamNode())
        let after = try StreamNode(identity: before.identity)
        before.send([1], to: b)
        #expect(await eventually { b.payloads == [[1]] })
        b.send([2], to: before)
        #expect(await eventually { before.payloads == [[2]] })
        after.send([3], to: b)
        #expect(await eventually { b.payloads == [[1], [3]] })
        b.send([4], to: before)
        #expect(await eventually { after.payloads == [[4]] || before.payloads.count > 1 })
        #expect(after.payloads == [[4]] && before.payloads == [[2]])
        for node in [before, after, b] { await node.stop() }
    }

    @Test("the largest frame arrives whole, and a larger one is dropped and counted")
    func large() async throws {
        let (a, b) = (try StreamNode(), try StreamNode())
        let payload = (0..<Frame.maximumPayload).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        a.send(payload, to: b)
        a.send(payload + [0], to: b)
        a.send([1], to: b)
        #expect(await eventually { b.payloads.count == 2 })
        #expect(b.payloads == [payload, [1]])
        #expect(await a.transport.counters.framesDropped == 1)
        await a.stop()
        await b.stop()
    }

    @Test("an identity that is no member is refused, whichever side it calls from")
    func notAllowed() async throws {
        let (a, b) = (try StreamNode(), try StreamNode(allowed: []))
        a.send([1], to: b)
        #expect(await eventually { await b.transport.counters.notAllowed >= 1 })
        #expect(await eventually { await a.transport.counters.framesDropped == 1 }, "given up after bounded attempts")
        #expect(b.payloads.isEmpty)
        b.send([2], to: a)
        #expect(await eventually { await b.transport.counters.framesDropped == 1 })
        #expect(a.payloads.isEmpty)
        await a.stop()
        await b.stop()
    }

    @Test("another identity at the peer's address gets nothing: the key is pinned")
    func wrongIdentity() async throws {
        let (a, b, impostor) = (try StreamNode(), try StreamNode(), try StreamNode())
        a.transport.send(Frame(.core, payload: [1]), to: b.id, endpoints: [impostor.endpoint])
        #expect(await eventually { await a.transport.counters.framesDropped == 1 })
        #expect(await a.transport.counters.notAllowed >= 1)
        #expect(impostor.payloads.isEmpty)
        // With the right address besides, the frame finds its way.
        a.transport.send(Frame(.core, payload: [2]), to: b.id, endpoints: [impostor.endpoint, b.endpoint])
        #expect(await eventually { b.payloads == [[2]] })
        for node in [a, b, impostor] { await node.stop() }
    }

    @Test("a peer that is away for a while gets what waited for it")
    func reconnect() async throws {
        let (a, b) = (try StreamNode(), try StreamNode())
        a.send([1], to: b)
        #expect(await eventually { b.payloads == [[1]] })
        let (identity, port, endpoint) = (b.identity, b.transport.port, b.endpoint)
        await b.stop()
        #expect(await eventually { await a.transport.counters.connections == 0 })
        a.transport.send(Frame(.core, payload: [2]), to: b.id, endpoints: [endpoint])
        usleep(150_000)
        let again = try StreamNode(identity: identity, port: port)
        #expect(await eventually { again.payloads == [[2]] })
        await a.stop()
        await again.stop()
    }

    @Test("what waits for an unreachable peer is bounded; the rest is dropped and counted")
    func boundedQueue() async throws {
        var limits = StreamLimits.quick
        limits.queuedFrames = 10
        let a = try StreamNode(limits: limits)
        let gone = Identity.generate().id
        // Reserved for documentation: nobody answers.
        for _ in 0..<25 {
            a.transport.send(
                Frame(.core, payload: [1]), to: gone, endpoints: [Endpoint(IPAddress("192.0.2.1")!, port: 7771)])
        }
        #expect(await eventually { await a.transport.counters.framesDropped >= 15 })
        #expect(await eventually(within: 15) { await a.transport.counters.framesDropped == 25 }, "and then given up")
        await a.stop()
    }

    @Test("removing a peer ends its connections at once and drops what waits")
    func removal() async throws {
        let (a, b) = (try StreamNode(), try StreamNode())
        a.send([1], to: b)
        #expect(await eventually { b.payloads == [[1]] })
        b.allowed.withLock { $0 = [] }
        b.transport.disconnect(a.id)
        #expect(await eventually { await b.transport.counters.connections == 0 })
        a.send([2], to: b)
        #expect(await eventually { await b.transport.counters.notAllowed >= 1 })
        #expect(b.payloads == [[1]])
        await a.stop()
        await b.stop()
    }

    @Test("a connection without frames is closed after its time, and made again when there is something to say")
    func idle() async throws {
        var limits = StreamLimits.quick
        limits.idleTimeout = .milliseconds(300)
        let (a, b) = (try StreamNode(limits: limits), try StreamNode(limits: limits))
        a.send([1], to: b)
        #expect(await eventually { b.payloads == [[1]] })
        #expect(await eventually { await a.transport.counters.connections == 0 })
        a.send([2], to: b)
        #expect(await eventually { b.payloads == [[1], [2]] })
        await a.stop()
        await b.stop()
    }

    // MARK: Strangers

    @Test("a stranger that connects and says nothing, or junk, is put out in time; members get through meanwhile")
    func slowLoris() async throws {
        var limits = StreamLimits.quick
        limits.maximumStrangersPerSource = 6
        limits.helloTimeout = .seconds(3)
        let (a, b) = (try StreamNode(), try StreamNode(limits: limits))
        var strangers: [Int32] = []
        for _ in 0..<5 { strangers.append(connectPlainly(to: b.endpoint)) }
        let junk = [UInt8](repeating: 0x16, count: 40)
        _ = junk.withUnsafeBytes { clinux_send_stream(strangers[0], $0.baseAddress, $0.count) }
        _ = junk.withUnsafeBytes { clinux_send_stream(strangers[1], $0.baseAddress, 3) }
        #expect(await eventually { await b.transport.counters.connections >= 4 })
        a.send([1], to: b)
        #expect(await eventually(within: 2) { b.payloads == [[1]] })
        #expect(await b.transport.counters.connections == 5, "all but the one that sent junk are still there")
        #expect(await eventually(within: 6) { await b.transport.counters.connections == 1 }, "only the member is left")
        for one in strangers { close(one) }
        await a.stop()
        await b.stop()
    }

    @Test("strangers are bounded for each source and in all, and the rest is refused at once")
    func strangersBounded() async throws {
        var limits = StreamLimits.quick
        limits.helloTimeout = .seconds(30)
        limits.maximumStrangersPerSource = 4
        let b = try StreamNode(limits: limits)
        var strangers: [Int32] = []
        for _ in 0..<20 { strangers.append(connectPlainly(to: b.endpoint)) }
        #expect(await eventually { await b.transport.counters.refused == 16 })
        #expect(await b.transport.counters.connections == 4)
        for one in strangers { close(one) }
        #expect(await eventually { await b.transport.counters.connections == 0 })
        let a = try StreamNode()
        a.send([1], to: b)
        #expect(await eventually { b.payloads == [[1]] }, "the door is free again")
        await a.stop()
        await b.stop()
    }

    @Test("a member whose first frame is no hello, or whose frame is too long, is put out")
    func brokenProtocol() async throws {
        let b = try StreamNode()
        for first in [[UInt8](repeating: 0xFF, count: 64), Frame(.core, payload: [1]).encoded] {
            let before = await b.transport.counters.broken
            var raw = RawTLSClient(to: b.endpoint)
            #expect(raw.handshake() == b.id)
            raw.send(first)
            #expect(await eventually { await b.transport.counters.broken == before + 1 })
        }
        var raw = RawTLSClient(to: b.endpoint)
        #expect(raw.handshake() == b.id)
        raw.send(Frame(.hello, payload: StreamHello(role: .member, software: "raw").encoded).encoded)
        raw.send(Frame(.core, payload: [9]).encoded)
        #expect(await eventually { b.payloads == [[9]] }, "the same client, speaking properly, is heard")
        // Kinds of a later version are skipped, and the next frame is read.
        var later = Frame(.core, payload: [1, 2, 3])
        later.kind = 4711
        raw.send(later.encoded)
        raw.send(Frame(.core, payload: [10]).encoded)
        #expect(await eventually { b.payloads == [[9], [10]] })
        raw.send([0x7F, 0xFF, 0xFF, 0xFF] + [UInt8](repeating: 0, count: 8))
        #expect(await eventually { await b.transport.counters.broken == 3 })
        await b.stop()
    }

    @Test("a member that begins a frame and never ends it is put out, however slowly it goes on")
    func endlessFrame() async throws {
        var limits = StreamLimits.quick
        limits.stallTimeout = .milliseconds(300)
        let b = try StreamNode(limits: limits)
        var raw = RawTLSClient(to: b.endpoint)
        #expect(raw.handshake() == b.id)
        raw.send(Frame(.hello, payload: StreamHello(role: .member, software: "raw").encoded).encoded)
        let frame = Frame(.core, payload: [UInt8](repeating: 1, count: 100_000)).encoded
        var sent = 0
        for byte in frame.prefix(1200) where await b.transport.counters.broken == 0 {
            raw.send([byte])
            sent += 1
            usleep(50_000)
        }
        // However slow this machine is: it ended while more was coming, a minute of it.
        #expect(await b.transport.counters.broken == 1 && sent < 1200)
        await b.stop()
    }

    @Test("a TCP port in use is a problem with a remedy")
    func portInUse() async throws {
        let a = try StreamNode()
        #expect(throws: ListenError.portInUse(kind: "TCP", a.endpoint)) { try StreamNode(port: a.transport.port) }
        await a.stop()
    }

    private func connectPlainly(to endpoint: Endpoint) -> Int32 {
        var kernel = clinux_endpoint()
        kernel.length = 4
        kernel.port = endpoint.port
        withUnsafeMutableBytes(of: &kernel.address) { $0.copyBytes(from: endpoint.address.bytes) }
        let descriptor = clinux_begin_connection(&kernel)
        wait(for: descriptor, POLLOUT)
        return descriptor
    }
}

/// Until the socket is ready, or was not for a minute.
private func wait(for descriptor: Int32, _ events: Int32) {
    var watched = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    while poll(&watched, 1, 60_000) < 0, errno == EINTR {}
}

/// A client that speaks TLS and then whatever a test wants.
private struct RawTLSClient: ~Copyable {
    private let descriptor: Int32
    private let channel: TLSChannel

    init(identity: Identity = .generate(), to endpoint: Endpoint) {
        var kernel = clinux_endpoint()
        kernel.length = 4
        kernel.port = endpoint.port
        withUnsafeMutableBytes(of: &kernel.address) { $0.copyBytes(from: endpoint.address.bytes) }
        descriptor = clinux_begin_connection(&kernel)
        channel = TLSContext(identity: identity, side: .client).makeChannel { _ in true }
        wait(for: descriptor, POLLOUT)
    }
    deinit { close(descriptor) }

    mutating func handshake() -> NodeID? {
        channel.advance()
        for _ in 0..<200 {
            flush()
            var buffer = [UInt8](repeating: 0, count: 16_384)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count > 0 { buffer.withUnsafeBytes { channel.receive(UnsafeRawBufferPointer(rebasing: $0[..<count])) } }
            flush()
            if case .established(let id) = channel.state { return id }
            wait(for: descriptor, POLLIN)
        }
        return nil
    }
    mutating func send(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { channel.write($0) }
        flush()
    }
    private func flush() {
        let bytes = channel.takeOutgoing()
        _ = bytes.withUnsafeBytes { clinux_send_stream(descriptor, $0.baseAddress, $0.count) }
    }
}

@Suite("a machine without a cluster key is invited by whoever was told its code", .serialized)
struct InvitationTests {
    private let key = ClusterKey.generate(name: NodeName("home")!)
    private var invitation: Invitation {
        Invitation(key: key.text, members: [Endpoint(loopback, port: 7771)])
    }

    private final class Waiting: Sendable {
        let identity = Identity.generate()
        let loop = EventLoop(name: "waiting")
        let listener: InvitationListener
        let taken = Locked<[(ClusterKey, Invitation, NodeID)]>([])
        let canStore: Locked<Bool>
        var endpoint: Endpoint { Endpoint(loopback, port: listener.port) }
        init(canStore: Bool = true) throws {
            let taken = self.taken
            let storing = Locked(canStore)
            self.canStore = storing
            listener = try InvitationListener(
                identity: identity, loop: loop, port: 0, addresses: [loopback], software: "test",
                accepted: { key, invitation, inviter, _ in
                    guard storing.withLock({ $0 }) else { return false }
                    taken.withLock { $0.append((key, invitation, inviter)) }
                    return true
                })
        }
        func stop() async {
            await listener.stop()
            loop.stop()
        }
    }

    @Test("the key, and where members are, arrive once; a second invitation is too late")
    func accepted() async throws {
        let (member, waiting) = (try StreamNode(), try Waiting())
        try await member.transport.invite(waiting.endpoint, expecting: waiting.identity.id, with: invitation)
        let taken = waiting.taken.withLock { $0 }
        #expect(taken.count == 1 && taken[0].0 == key && taken[0].1 == invitation && taken[0].2 == member.id)
        await #expect(throws: InvitationError.tooLate) {
            try await member.transport.invite(waiting.endpoint, expecting: waiting.identity.id, with: invitation)
        }
        #expect(waiting.taken.withLock { $0.count } == 1)
        await member.stop()
        await waiting.stop()
    }

    @Test("a machine with another identity than the operator compared is told nothing")
    func wrongMachine() async throws {
        let (member, waiting) = (try StreamNode(), try Waiting())
        let meant = Identity.generate().id
        await #expect(throws: InvitationError.otherIdentity(expected: meant, found: waiting.identity.id)) {
            try await member.transport.invite(waiting.endpoint, expecting: meant, with: invitation)
        }
        #expect(waiting.taken.withLock { $0.isEmpty })
        // And the right one still can be invited.
        try await member.transport.invite(waiting.endpoint, expecting: waiting.identity.id, with: invitation)
        await member.stop()
        await waiting.stop()
    }

    @Test("a member is not invited, and never sees the key")
    func member() async throws {
        let (a, b) = (try StreamNode(), try StreamNode())
        await #expect(throws: InvitationError.isMember(b.id)) {
            try await a.transport.invite(b.endpoint, expecting: b.id, with: invitation)
        }
        let stranger = try StreamNode(allowed: [])
        await #expect(throws: InvitationError.notWaiting(stranger.endpoint)) {
            try await a.transport.invite(stranger.endpoint, expecting: stranger.id, with: invitation)
        }
        for node in [a, b, stranger] { await node.stop() }
    }

    @Test("nobody there, and a machine that cannot store the key, are told apart")
    func failures() async throws {
        let (member, waiting) = (try StreamNode(), try Waiting(canStore: false))
        await #expect(throws: InvitationError.failed) {
            try await member.transport.invite(waiting.endpoint, expecting: waiting.identity.id, with: invitation)
        }
        await #expect(throws: InvitationError.unreadable) {
            try await member.transport.invite(
                waiting.endpoint, expecting: waiting.identity.id, with: Invitation(key: "no key", members: []))
        }
        waiting.canStore.withLock { $0 = true }
        try await member.transport.invite(waiting.endpoint, expecting: waiting.identity.id, with: invitation)
        await waiting.stop()
        // Not the port of the machine that just went: another test may have it by now.
        let nobody = Endpoint(loopback, port: 1)
        await #expect(throws: InvitationError.noAnswer(nobody)) {
            try await member.transport.invite(nobody, expecting: waiting.identity.id, with: invitation)
        }
        await member.stop()
    }
}
