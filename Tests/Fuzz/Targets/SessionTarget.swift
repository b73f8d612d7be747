import Crypto
import Primitives
import Transport
import Wire

private let key = ClusterKey(name: NodeName("home")!, version: 1, secret: Secret([UInt8](0..<32)))
private let (atA, atB) = (Endpoint("10.0.0.1", defaultPort: 7771)!, Endpoint("10.0.0.2", defaultPort: 7771)!)
private let (identityA, identityB) = (Identity.generate(), Identity.generate())

extension FuzzTarget {
    /// Two nodes that shake hands while somebody throws packets at them, some of them rightly sealed. Afterwards they
    /// must still reach each other.
    ///
    /// Input: commands of a byte for what to do, a byte for the length, and so many bytes.
    static let sessions = FuzzTarget("sessions", quickRuns: 150) {
        let junk = [UInt8](repeating: 0xB7, count: 60)
        return (0..<8).map { [UInt8($0), 60] + junk } + [(0..<8).flatMap { [UInt8($0), 60] + junk }]
    } check: { bytes in
        var pair = Pair()
        var rest = bytes[...]
        var commands = 0
        while let command = rest.popFirst(), let length = rest.popFirst(), commands < 24 {
            let body = Array(rest.prefix(Int(length)))
            rest = rest.dropFirst(Int(length))
            commands += 1
            pair.perform(command, body)
        }
        return pair.finish()
    }
}

private struct Pair: ~Copyable {
    var now = Instant(sinceBoot: .seconds(1_000))
    var a: Sessions
    var b: Sessions
    /// The newest packet of each side.
    var lastOfA: [UInt8] = []
    var lastOfB: [UInt8] = []
    var receivedByB: [[UInt8]] = []

    init() {
        func profile(_ name: String, _ endpoint: Endpoint) -> PeerHello {
            PeerHello(
                id: identityA.id, generation: 1, incarnation: 0, name: NodeName(name)!, addresses: [endpoint],
                software: "", birth: 0)
        }
        let ring = ClusterKeyRing(current: key)
        a = Sessions(identity: identityA, ring: ring, profile: profile("a", atA), now: now)
        b = Sessions(identity: identityB, ring: ring, profile: profile("b", atB), now: now)
    }

    mutating func perform(_ command: UInt8, _ body: [UInt8]) {
        switch command & 7 {
        case 0: deliver(body, toB: true)
        case 1: knock()
        case 2: send([1, 2, 3])
        case 3:  // a genuine packet, changed
            var packet = lastOfA
            for (place, byte) in body.enumerated() where place < packet.count { packet[place] ^= byte }
            deliver(packet, toB: true)
        case 4:
            var packet = lastOfB
            for (place, byte) in body.enumerated() where place < packet.count { packet[place] ^= byte }
            deliver(packet, toB: false)
        case 5:  // under the cluster key, in answer to a genuine packet
            let kinds: [Packet.Kind] = [.challenge, .reply, .verdict]
            guard case .knock(_, let sender, _, _)? = try? Packet(parsing: lastOfA), let first = body.first else {
                return
            }
            deliver(seal(Packet.header(kinds[Int(first) % 3], receiver: sender, salt: salt), body), toB: false)
        case 6:
            let kind: Packet.Kind = body.count & 1 == 0 ? .knock : .hello
            deliver(seal(Packet.header(kind, tag: key.tag.value, sender: 5, salt: salt), body), toB: true)
        default:
            now = now + .milliseconds(Int64(body.first ?? 1) * 40)
            tick()
        }
    }

    /// The two must find each other again, whatever happened.
    mutating func finish() -> String? {
        now = now + .seconds(120)
        tick()
        knock()
        guard a.isOpen(with: identityB.id), b.isOpen(with: identityA.id) else { return "no session in the end" }
        send([42, 43])
        return receivedByB.last == [42, 43] ? nil : "a good datagram in the end was not read"
    }

    private var salt: [UInt8] { [UInt8](repeating: 9, count: Packet.saltSize) }
    private func seal(_ header: [UInt8], _ body: [UInt8]) -> [UInt8] {
        let packetKey = Secret(MAC.sha256(header, key: key.derived(for: "handshakes")))
        return SealingKey.sealing(with: packetKey).seal(body, counter: 0, header: header)
    }

    private mutating func knock() {
        var outputs: [Sessions.Output] = []
        a.knock(atB, now: now, into: &outputs)
        carry(outputs, ofA: true)
    }
    private mutating func send(_ payload: [UInt8]) {
        var outputs: [Sessions.Output] = []
        a.send(payload, to: identityB.id, via: atB, now: now, into: &outputs)
        carry(outputs, ofA: true)
    }
    private mutating func tick() {
        var outputs: [Sessions.Output] = []
        a.tick(now: now, into: &outputs)
        carry(outputs, ofA: true)
        outputs.removeAll()
        b.tick(now: now, into: &outputs)
        carry(outputs, ofA: false)
    }
    private mutating func deliver(_ bytes: [UInt8], toB: Bool) {
        var outputs: [Sessions.Output] = []
        if toB {
            b.receive(bytes.span.bytes, from: atA, now: now, into: &outputs) { _, _ in .accept }
        } else {
            a.receive(bytes.span.bytes, from: atB, now: now, into: &outputs) { _, _ in .accept }
        }
        carry(outputs, ofA: !toB)
    }
    private mutating func carry(_ outputs: [Sessions.Output], ofA: Bool) {
        for output in outputs {
            switch output {
            case .transmit(let bytes, let to):
                if ofA { lastOfA = bytes } else { lastOfB = bytes }
                if to == atB, ofA { deliver(bytes, toB: true) }
                if to == atA, !ofA { deliver(bytes, toB: false) }
            case .received(let bytes, _, _) where !ofA: receivedByB.append(bytes)
            default: break
            }
        }
    }
}
