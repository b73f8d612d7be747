import Crypto
import Glibc
import Primitives
import Reactor
import Testing
import Wire

@testable import Transport

/// Until something can be read, or something went wrong for a minute.
private func waitForDatagram(_ socket: borrowing DatagramSocket) {
    var watched = socket.descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    while poll(&watched, nfds_t(watched.count), 60_000) < 0, errno == EINTR {}
}

@Suite("the UDP socket hands over what arrives, with when it arrived", .serialized)
struct DatagramSocketTests {
    @Test("datagrams arrive over IPv4 and IPv6 with their source and a kernel stamp from before we looked")
    func loopback() throws {
        var a = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!])
        var b = try DatagramSocket(port: 0)
        // The kernel begins to stamp a moment after the first socket asks for it, by work that it puts off; until then it
        // gives the time of reading. A stamp of ours would never be from before.
        var isStamped = false
        var rounds = 0
        while !isStamped, rounds < 200 {
            rounds += 1
            a.send([1, 2, 3], to: Endpoint(IPAddress("127.0.0.1")!, port: b.port))
            waitForDatagram(b)
            let arrived = SystemClock.now
            usleep(30_000)
            var seen: [([UInt8], Endpoint, Instant)] = []
            let isDrained = b.drain { seen.append(($0.withUnsafeBytes { Array($0) }, $1, $2)) }
            #expect(isDrained && seen.count == 1)
            #expect(seen.first?.0 == [1, 2, 3])
            #expect(seen.first?.1 == Endpoint(IPAddress("127.0.0.1")!, port: a.port))
            isStamped = try #require(seen.first).2 < arrived + .milliseconds(20)
        }
        #expect(isStamped, "each of \(rounds) stamps is ours of 30 ms later, not the kernel's")

        if b.descriptors.count == 2 {
            b.send([4], to: Endpoint(IPAddress("::1")!, port: b.port))
            waitForDatagram(b)
            var more: [Endpoint] = []
            _ = b.drain { _, source, _ in more.append(source) }
            #expect(more == [Endpoint(IPAddress("::1")!, port: b.port)])
        }
    }

    @Test("a port in use is a problem with a remedy")
    func portInUse() throws {
        let first = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!])
        do {
            _ = try DatagramSocket(port: first.port, addresses: [IPAddress("127.0.0.1")!])
            Issue.record("the same port was bound twice")
        } catch {
            #expect(error.problem == "UDP port \(first.port) is in use on 127.0.0.1")
            #expect(error.remedy.contains("ss -ulpn sport = :\(first.port)") && error.remedy.contains("--port"))
        }
        _ = consume first
    }

    @Test("an address that the machine does not have yet can be listened on: the network may come later")
    func laterAddress() throws {
        for address in ["198.51.100.77", "fd12:3456::77"].compactMap({ IPAddress($0) }) {
            do {
                var socket = try DatagramSocket(port: 0, addresses: [address])
                let isDrained = socket.drain { _, _, _ in }
                #expect(isDrained)
            } catch {
                // A machine without IPv6 says so.
                #expect(address.bytes.count == 16 && !error.problem.contains("no such address"))
            }
        }
    }

    @Test("what cannot be sent is counted and hurts nobody")
    func sendErrors() throws {
        var socket = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!])
        socket.send([1], to: Endpoint(IPAddress("fd00::1")!, port: 7771))
        socket.send([UInt8](repeating: 0, count: 70_000), to: Endpoint(IPAddress("127.0.0.1")!, port: 7771))
        #expect(socket.sendErrors == [EAFNOSUPPORT: 1, EMSGSIZE: 1])
        // A closed port on loopback answers with an error, which the next receive must survive.
        let closed = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!]).port
        for _ in 0..<3 { socket.send([1], to: Endpoint(IPAddress("127.0.0.1")!, port: closed)) }
        let isDrained = socket.drain { _, _, _ in }
        #expect(isDrained)
    }

    @Test("a flood is handed over in bounded portions, the rest comes next time")
    func bounded() throws {
        var socket = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!])
        for _ in 0..<30 { socket.send([7], to: Endpoint(IPAddress("127.0.0.1")!, port: socket.port)) }
        var total = 0
        for _ in 0..<30 where total < 30 {
            waitForDatagram(socket)
            var count = 0
            let isDrained = socket.drain(limit: 20) { _, _, _ in count += 1 }
            #expect(isDrained ? count < 20 : count == 20)
            total += count
        }
        #expect(total == 30)
        let isEmpty = socket.drain(limit: 20) { _, _, _ in Issue.record("one more than was sent") }
        #expect(isEmpty)
    }

    @Test("a datagram larger than any of ours is cut, dropped as oversized, and the next one is read")
    func oversized() throws {
        var socket = try DatagramSocket(port: 0, addresses: [IPAddress("127.0.0.1")!])
        let own = Endpoint(IPAddress("127.0.0.1")!, port: socket.port)
        socket.send([UInt8](repeating: 7, count: 60_000), to: own)
        socket.send([8], to: own)
        var sizes: [Int] = []
        for _ in 0..<2 where sizes.count < 2 {
            waitForDatagram(socket)
            _ = socket.drain { bytes, _, _ in sizes.append(bytes.byteCount) }
        }
        #expect(sizes.count == 2 && sizes[0] > Packet.maximumSize && sizes[1] == 1)
    }

    @Test("the stamp is taken as an age: one from a wall clock that jumped is not believed")
    func stamps() {
        let own = SystemClock.now
        let wall = SystemClock.wallNanoseconds
        #expect(DatagramSocket.instant(ofStamp: wall - 5_000_000, wall: wall, own: own) == own - .milliseconds(5))
        for stamp in [0, wall - 3_600_000_000_000, wall + 3_600_000_000_000, .min, .max] {
            let taken = DatagramSocket.instant(ofStamp: stamp, wall: wall, own: own)
            #expect(taken >= own && taken <= SystemClock.now, "\(stamp)")
        }
        // Read before the datagram came.
        let after = DatagramSocket.instant(ofStamp: wall + 1_000, wall: wall, own: own)
        #expect(after >= own && after <= SystemClock.now)
    }

    @Test("of several addresses, the one nearest to the receiver is the sender's")
    func sourceAddress() throws {
        let (low, high) = (IPAddress("127.0.0.1")!, IPAddress("127.9.0.1")!)
        var sender = try DatagramSocket(port: 0, addresses: [low, high])
        var receiver = try DatagramSocket(port: 0, addresses: [IPAddress("127.9.0.2")!])
        sender.send([1], to: Endpoint(IPAddress("127.9.0.2")!, port: receiver.port))
        waitForDatagram(receiver)
        var sources: [Endpoint] = []
        _ = receiver.drain { _, source, _ in sources.append(source) }
        #expect(sources == [Endpoint(high, port: sender.port)])
    }

    @Test("two nodes over real sockets: handshake, junk between, and the payload arrives")
    func endToEnd() throws {
        let key = ClusterKey.generate(name: NodeName("home")!)
        let loopback = IPAddress("127.0.0.1")!
        var a = try DatagramSocket(port: 0, addresses: [loopback])
        var b = try DatagramSocket(port: 0, addresses: [loopback])
        let (atA, atB) = (Endpoint(loopback, port: a.port), Endpoint(loopback, port: b.port))
        var one = Peer("a", at: atA.description, key: key, now: SystemClock.now)
        var two = Peer("b", at: atB.description, key: key, now: SystemClock.now)
        var received: [[UInt8]] = []
        func run(_ socket: inout DatagramSocket, _ peer: inout Peer) {
            var outputs: [Sessions.Output] = []
            _ = socket.drain { bytes, source, stamp in
                peer.sessions.receive(bytes, from: source, now: stamp, into: &outputs) { _, _ in .accept }
            }
            peer.sessions.tick(now: SystemClock.now, into: &outputs)
            for output in outputs {
                if case .transmit(let bytes, let to) = output { socket.send(bytes, to: to) }
                if case .received(let bytes, _, _) = output { received.append(bytes) }
            }
        }
        var outputs: [Sessions.Output] = []
        for round in 0..<400 where received.isEmpty {
            outputs.removeAll()
            one.sessions.send([42], to: two.id, via: atB, now: SystemClock.now, into: &outputs)
            for case .transmit(let bytes, let to) in outputs { a.send(bytes, to: to) }
            a.send([UInt8](repeating: UInt8(round & 255), count: round * 5), to: atB)
            usleep(2_000)
            run(&b, &two)
            run(&a, &one)
        }
        #expect(received.first == [42])
        #expect(two.sessions.counters[.junk] > 0)
    }
}
