import CLinux
import Crypto
import Glibc
import Primitives
import Reactor
import Testing
import Transport

private let loopback = IPAddress("127.0.0.1")!

/// A node that takes tunnels; what its program does with one is up to the test.
private final class TunnelNode: Sendable {
    let identity = Identity.generate()
    let loop = EventLoop(name: "streams")
    let tunnelLoop = EventLoop(name: "tunnels")
    let tunnels: Tunnels
    let transport: StreamTransport
    let refused = Locked<Set<NodeID>>([])
    var id: NodeID { identity.id }
    var endpoint: Endpoint { Endpoint(loopback, port: transport.port) }

    init(
        limits: Tunnels.Limits = Tunnels.Limits(),
        requested: @escaping @Sendable (NodeID, [UInt8]) async -> Tunnels.Answer = { _, _ in .refuse("nobody asked") }
    ) throws {
        let refused = self.refused
        let isAllowed: @Sendable (NodeID) -> Bool = { id in !refused.withLock { $0.contains(id) } }
        tunnels = Tunnels(
            identity: identity, loop: tunnelLoop, software: "test", limits: limits, isAllowed: isAllowed,
            requested: requested)
        transport = try StreamTransport(
            identity: identity, loop: loop, port: 0, addresses: [loopback], software: "test", tunnels: tunnels,
            isAllowed: isAllowed, received: { _, _ in })
    }
    func run(to other: TunnelNode, _ request: String, _ descriptor: Int32) async throws(TunnelError) -> Tunnels.Traffic
    {
        try await tunnels.run(
            to: other.id, endpoints: [other.endpoint], request: Array(request.utf8), ends: Tunnels.Ends(descriptor))
    }
    func stop() async {
        await tunnels.stop()
        await transport.stop()
        loop.stop()
        tunnelLoop.stop()
    }
}

/// Two ends of a pair: the first for the tunnel, the second for a program.
private func socketPair() -> (tunnel: Int32, program: Int32) {
    var ends: [Int32] = [-1, -1]
    precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    return (ends[0], ends[1])
}

/// Programs block, so each has a thread.
private func onThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    let thread = EventLoop(name: "program")
    defer { thread.stop() }
    return await withCheckedContinuation { continuation in
        thread.perform { continuation.resume(returning: body()) }
    }
}

private func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
        let count = bytes.withUnsafeBytes {
            send(descriptor, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { return }
        done += count
    }
}
private func readToEnd(_ descriptor: Int32) -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return all }
        all += buffer[..<count]
    }
}

/// Answers everything it read with the same bytes, each one more, when its input has ended.
private func answering() -> Tunnels.Answer {
    let (tunnel, program) = socketPair()
    Task {
        _ = await onThread {
            let input = readToEnd(program)
            writeAll(program, input.map { $0 &+ 1 })
            close(program)
        }
    }
    return .accept(Tunnels.Ends(tunnel))
}

@Suite("tunnels carry the bytes of programs between members, and of nobody else", .serialized)
struct TunnelTests {
    @Test("megabytes arrive whole in both directions, and the end of one direction does not end the other")
    func bothWays() async throws {
        let asked = Locked<[String]>([])
        let (a, b) = (
            try TunnelNode(),
            try TunnelNode { _, request in
                asked.withLock { $0.append(String(decoding: request, as: UTF8.self)) }
                return answering()
            }
        )
        let (tunnel, program) = socketPair()
        let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        async let answer = onThread {
            writeAll(program, bytes)
            shutdown(program, Int32(SHUT_WR))
            let answer = readToEnd(program)
            close(program)
            return answer
        }
        let traffic = try await a.run(to: b, "mirror files", tunnel)
        #expect(await answer == bytes.map { $0 &+ 1 })
        #expect(traffic.sent == 5_000_000 && traffic.received == 5_000_000)
        #expect(asked.withLock { $0 } == ["mirror files"])
        await a.stop()
        await b.stop()
    }

    @Test("a refusal comes back in the other side's words, and the program sees its end")
    func refusal() async throws {
        let (a, b) = (try TunnelNode(), try TunnelNode { _, _ in .refuse("epoch 3 is older than 4") })
        let (tunnel, program) = socketPair()
        await #expect(throws: TunnelError.refused(b.id, "epoch 3 is older than 4")) {
            try await a.run(to: b, "x", tunnel)
        }
        #expect(await onThread { readToEnd(program) }.isEmpty)
        close(program)
        await a.stop()
        await b.stop()
    }

    @Test("who is no member gets no tunnel, and nobody looks at its request")
    func stranger() async throws {
        let asked = Locked(0)
        let (a, b) = (
            try TunnelNode(),
            try TunnelNode { _, _ in
                asked.withLock { $0 += 1 }
                return answering()
            }
        )
        b.refused.withLock { _ = $0.insert(a.id) }
        let (tunnel, program) = socketPair()
        await #expect(throws: TunnelError.self) { try await a.run(to: b, "x", tunnel) }
        #expect(asked.withLock { $0 } == 0)
        #expect(await onThread { readToEnd(program) }.isEmpty)
        close(program)
        await a.stop()
        await b.stop()
    }

    @Test("a dead address is passed over for one that answers; with none the program sees its end")
    func addresses() async throws {
        let (a, b) = (try TunnelNode(), try TunnelNode { _, _ in answering() })
        let dead = Endpoint(loopback, port: 1)
        let (tunnel, program) = socketPair()
        shutdown(program, Int32(SHUT_WR))
        let traffic = try await a.tunnels.run(
            to: b.id, endpoints: [dead, b.endpoint], request: [], ends: Tunnels.Ends(tunnel))
        #expect(traffic == Tunnels.Traffic())
        close(program)
        let (second, other) = socketPair()
        await #expect(throws: TunnelError.noAnswer(b.id, [dead])) {
            try await a.tunnels.run(to: b.id, endpoints: [dead], request: [], ends: Tunnels.Ends(second))
        }
        #expect(await onThread { readToEnd(other) }.isEmpty)
        close(other)
        await a.stop()
        await b.stop()
    }

    @Test("a removed member's tunnel ends at once on both sides")
    func removal() async throws {
        let (far, near) = socketPair()
        let (a, b) = (try TunnelNode(), try TunnelNode { _, _ in .accept(Tunnels.Ends(far)) })
        let (tunnel, program) = socketPair()
        let run = Task { () async -> TunnelError? in
            do throws(TunnelError) {
                _ = try await a.run(to: b, "x", tunnel)
                return nil
            } catch { return error }
        }
        writeAll(program, [1])
        let first = await onThread {
            var byte: UInt8 = 0
            return recv(near, &byte, 1, 0) == 1 ? byte : 0
        }
        #expect(first == 1, "it stands")
        a.tunnels.disconnect(b.id)
        #expect(await run.value == .notAllowed(b.id))
        #expect(await onThread { readToEnd(near) + readToEnd(program) }.isEmpty)
        close(near)
        close(program)
        await a.stop()
        await b.stop()
    }

    @Test("more tunnels than allowed with one peer are refused with the reason, and the others go on")
    func crowd() async throws {
        var limits = Tunnels.Limits()
        limits.maximumPerPeer = 1
        let (far, near) = socketPair()
        let (a, b) = (try TunnelNode(), try TunnelNode(limits: limits) { _, _ in .accept(Tunnels.Ends(far)) })
        let (tunnel, program) = socketPair()
        let run = Task { try? await a.run(to: b, "x", tunnel) }
        writeAll(program, [1])
        _ = await onThread {
            var byte: UInt8 = 0
            return recv(near, &byte, 1, 0)
        }
        let (second, other) = socketPair()
        await #expect(throws: TunnelError.refused(b.id, "too many transfers run there at once")) {
            try await a.run(to: b, "y", second)
        }
        close(other)
        close(near)
        close(program)
        let traffic = await run.value
        #expect(traffic == Tunnels.Traffic(sent: 1, received: 0))
        await a.stop()
        await b.stop()
    }
}
