import Crypto
import Primitives
import Testing
import Transport
import Wire

private let home = NodeName("home")!

@Suite("who has no cluster key, or only a record of the traffic, gets nowhere")
struct AttackTests {
    let network = Network()
    let key = ClusterKey.generate(name: home)

    @Test("a foreign cluster is ignored, counted, and reported once")
    func foreign() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let stranger = network.add("x", at: "10.0.0.9", key: .generate(name: home))
        for _ in 0..<5 {
            network.knock(stranger, a)
            network.run(for: .seconds(2))
        }
        #expect(a.foreign == [stranger.sessions.ring.current.tag])
        #expect(a.sessions.counters[.foreign] == 20)
        #expect(!network.captured.contains { $0.from == a.endpoint }, "a foreign node gets no answer at all")
        #expect(stranger.unanswered.count == 5)
    }

    @Test("the number of foreign clusters that are reported is bounded")
    func manyForeign() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let source = Endpoint("10.0.0.9", defaultPort: 7771)!
        for tag in 0..<500 {
            let header = Packet.header(.knock, tag: UInt64(tag), sender: 1, salt: [UInt8](repeating: 0, count: 16))
            let body = [UInt8](repeating: 0, count: Packet.challengeSize - header.count)
            network.inject(header + body, from: source, to: a.endpoint)
        }
        network.run(for: .seconds(1))
        #expect(a.sessions.counters[.foreign] == 500 && a.foreign.count == SessionLimits().maximumForeign)
    }

    @Test("whoever knows only the tag cannot make a node do anything but drop its packet")
    func tagOnly() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let source = Endpoint("10.0.0.9", defaultPort: 7771)!
        for kind in [Packet.Kind.knock, .hello] {
            let header = Packet.header(kind, tag: key.tag.value, sender: 1, salt: RandomBytes.make(16))
            let size = kind == .knock ? Packet.challengeSize : 500
            network.inject(header + RandomBytes.make(size - header.count), from: source, to: a.endpoint)
        }
        network.run(for: .seconds(1))
        #expect(a.sessions.counters[.badSeal] == 2)
        #expect(network.captured.isEmpty)
    }

    @Test("nothing that is sent shows a name, an address list or a public key to who listens")
    func confidentiality() {
        let a = network.add("very-secret-name", at: "10.0.0.1", key: key)
        let b = network.add("other-secret-name", at: "10.0.0.2", key: key)
        b.admits = { _, _ in .accept }
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        network.send(Array("a secret payload".utf8), a, b)
        #expect(network.captured.count >= 6)
        let hidden: [[UInt8]] = [
            Array("secret".utf8), a.identity.publicKey.raw, b.identity.publicKey.raw, a.id.bytes, b.id.bytes,
            a.endpoint.address.bytes,
        ]
        for flight in network.captured {
            for needle in hidden { #expect(!contains(flight.bytes, needle)) }
        }
    }

    @Test("a whole recorded conversation, sent again to either side, opens nothing and ends nothing")
    func replayEverything() {
        let (a, b) = pair()
        for number in 0..<20 { network.send([UInt8(number)], a, b) }
        network.run(for: .milliseconds(50))
        let record = network.captured
        let (before, openedA, openedB) = (b.received.count, a.opened.count, b.opened.count)
        for round in 0..<3 {
            for flight in record {
                // From where it came, and from somewhere else.
                let elsewhere = Endpoint("10.0.0.66:7771", defaultPort: 7771)!
                network.inject(flight.bytes, from: round == 1 ? elsewhere : flight.from, to: flight.to)
            }
            network.run(for: .seconds(round == 0 ? 1 : 20))
        }
        #expect(b.received.count == before && a.opened.count == openedA && b.opened.count == openedB)
        network.send([100], a, b)
        network.send([101], b, a)
        network.run(for: .milliseconds(50))
        #expect(b.received.last == [100] && a.received.last == [101], "the session they had still works")
        #expect(b.sessions.counters[.replayed] >= 60)
    }

    @Test("a recorded handshake does not make a restarted node believe that its sender is there")
    func replayAtRestarted() {
        let (a, b) = pair()
        let record = network.captured.filter { $0.to == b.endpoint }
        network.peers[b.endpoint] = nil
        network.peers[a.endpoint] = nil
        let again = network.add("b", at: "10.0.0.2", identity: b.identity, key: key, generation: 2)
        for flight in record {
            network.inject(flight.bytes, from: flight.from, to: flight.to)
            network.run(for: .milliseconds(10))
        }
        network.run(for: .seconds(30))
        #expect(again.opened.isEmpty && again.sessions.openPeers == 0)
        #expect(again.sessions.counters[.replayed] >= 1, "the hello carries a cookie of the process that is gone")
        _ = a
    }

    @Test("a hello recorded and sent again at once, before its sender confirms, does not open a session for another")
    func replayBeforeProof() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.passes = { $0.kind != .reply }
        network.knock(a, b)
        network.run(for: .seconds(3))
        let hello = network.captured.first { $0.kind == .hello }!
        for _ in 0..<50 { network.inject(hello.bytes, from: hello.from, to: hello.to) }
        network.run(for: .seconds(1))
        #expect(b.opened.isEmpty)
        #expect(b.sessions.load.sessions == 1, "all repetitions are one handshake")
        network.run(for: .seconds(30))
        #expect(b.sessions.load == (0, 0, 0), "and it is forgotten")
    }

    @Test("an answer to a hello goes to where the hello was made for, and nowhere else")
    func reflection() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        let victim = Endpoint("10.0.0.77:53", defaultPort: 53)!
        let hello = network.captured.first { $0.kind == .hello }!
        for _ in 0..<10 { network.inject(hello.bytes, from: victim, to: b.endpoint) }
        network.run(for: .seconds(1))
        #expect(!network.captured.contains { $0.to == victim })
    }

    @Test(
        "no answer to a stranger is longer than what it sent",
        arguments: [30, 40, Packet.challengeSize - 1, Packet.challengeSize, 1_400])
    func noAmplification(size: Int) {
        let (a, b) = pair()
        let knock = network.captured.first { $0.kind == .knock }!
        let sent = network.captured.count
        let victim = Endpoint("10.0.1.1:7771", defaultPort: 7771)!
        let other = Endpoint("10.0.1.2:7771", defaultPort: 7771)!
        // A datagram for a session that nobody has, and a knock that was heard on the network, with forged sources.
        let header = Packet.dataHeader(receiver: 1, counter: 5)
        network.inject(header + RandomBytes.make(size - header.count), from: victim, to: a.endpoint)
        network.inject(knock.bytes, from: other, to: b.endpoint)
        network.run(for: .milliseconds(20), every: .seconds(9))
        let answers = network.captured.dropFirst(sent)
        #expect(answers.filter { $0.to == victim }.count == (size < Packet.challengeSize ? 0 : 1))
        #expect(answers.filter { $0.to == victim }.allSatisfy { $0.bytes.count <= size })
        #expect(answers.filter { $0.to == other }.map(\.bytes.count) == [knock.bytes.count])
    }

    @Test("a datagram for a session we do not have makes us knock once a second at its sender, not more")
    func strangerKnocks() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let source = Endpoint("10.0.0.9:7771", defaultPort: 7771)!
        let datagram = Packet.dataHeader(receiver: 7, counter: 0) + RandomBytes.make(100)
        for _ in 0..<1_000 {
            network.inject(datagram, from: source, to: a.endpoint)
            network.run(for: .milliseconds(10))
        }
        // 10 s, and each knock is tried four times.
        #expect(network.captured.count <= 12 * 4)
        #expect(network.captured.count >= 4)
        // Many senders at once: a bound for all of them together.
        for number in 0..<2_000 {
            let other = Endpoint(.v4(0x0A01_0000 + UInt32(number)), port: 7771)
            network.inject(datagram, from: other, to: a.endpoint)
        }
        network.run(for: .milliseconds(2))
        #expect(a.sessions.load.attempts <= 42)
    }

    @Test("somebody who borrows a peer's address for junk makes us begin no handshakes while the peer is heard")
    func borrowedAddress() {
        let (a, b) = pair()
        let sent = network.captured.filter { $0.kind == .knock }.count
        for _ in 0..<100 {
            network.send([1], b, a)
            network.send([2], a, b)
            network.inject(
                Packet.dataHeader(receiver: 7, counter: 0) + RandomBytes.make(100), from: b.endpoint, to: a.endpoint)
            network.run(for: .milliseconds(100))
        }
        #expect(network.captured.filter { $0.kind == .knock }.count == sent)
        #expect(a.received.count == 100)
    }

    @Test("a node that floods us with handshakes, with the right key, gets a bounded share and no more")
    func handshakeFlood() {
        let b = network.add("b", at: "10.0.0.2", key: key)
        // One machine that comes again and again as somebody else.
        for number in 0..<600 {
            let flooder = network.add("f\(number)", at: "10.0.0.9:\(10_000 + number)", key: key)
            network.knock(flooder, b)
            network.run(for: .milliseconds(5))
        }
        // 3 s, 32 at once and 8 a second.
        #expect((40...70).contains(b.opened.count), "\(b.opened.count)")
        #expect(b.sessions.counters[.rateLimited] > 300)
        // Somebody else is not locked out.
        let other = network.add("c", at: "10.0.0.3", key: key)
        network.knock(other, b)
        network.run(for: .milliseconds(200))
        #expect(other.opened.count == 1)
    }

    @Test("a flood of knocks is answered up to a bound, and keeps no memory")
    func knockFlood() {
        var limits = SessionLimits()
        limits.challengesPerSecond = 100
        let b = network.add("b", at: "10.0.0.2", key: key, limits: limits)
        let a = network.add("a", at: "10.0.0.1", key: key)
        network.knock(a, b)
        let knock = network.captured[0]
        for number in 0..<1_000 {
            network.inject(knock.bytes, from: Endpoint(.v4(0x0A01_0000 + UInt32(number)), port: 9), to: b.endpoint)
        }
        network.run(for: .milliseconds(3), every: .seconds(1))
        #expect(network.captured.filter { $0.kind == .challenge }.count <= 101)
        #expect(b.sessions.counters[.rateLimited] >= 899)
        #expect(b.sessions.load.sessions == 0 || b.sessions.load.sessions == 1)
    }

    @Test("another's identity cannot be claimed: the signature has to be of the key that the ID is a hash of")
    func impersonation() throws {
        // An insider who has the cluster key and speaks the protocol by hand.
        let victim = Identity.generate()
        let b = network.add("b", at: "10.0.0.2", key: key)
        let insider = Insider(network: network, key: key, at: Endpoint("10.0.0.66:7771", defaultPort: 7771)!)
        let honest = insider.hello(to: b, claiming: insider.identity.id, key: insider.identity.publicKey.raw)
        #expect(honest == .reply, "the test speaks the protocol rightly")
        #expect(insider.hello(to: b, claiming: victim.id, key: insider.identity.publicKey.raw) == nil)
        #expect(insider.hello(to: b, claiming: victim.id, key: victim.publicKey.raw) == nil)
        #expect(insider.hello(to: b, claiming: b.id, key: b.identity.publicKey.raw) == nil)
        #expect(b.opened.isEmpty)
    }

    @Test("a hello with a cookie for another address, or an old one, is dropped")
    func borrowedCookie() {
        let b = network.add("b", at: "10.0.0.2", key: key)
        let insider = Insider(network: network, key: key, at: Endpoint("10.0.0.66:7771", defaultPort: 7771)!)
        let id = insider.identity.id
        let raw = insider.identity.publicKey.raw
        let elsewhere = Endpoint("10.0.0.67:7771", defaultPort: 7771)!
        #expect(insider.hello(to: b, claiming: id, key: raw, sentFrom: elsewhere) == nil)
        #expect(insider.hello(to: b, claiming: id, key: raw, after: .seconds(9)) == nil)
        #expect(insider.hello(to: b, claiming: id, key: raw, after: .seconds(3)) == .reply)
        #expect(b.sessions.counters[.replayed] == 2)
    }

    @Test("a datagram changed anywhere on its way is dropped, and the genuine one is still taken", arguments: 0..<3)
    func tampering(seed: UInt64) {
        let (a, b) = pair()
        var chance = SeededGenerator(seed: seed)
        network.passes = { _ in false }
        network.send(Array("payload".utf8), a, b)
        let genuine = network.captured.last!
        for place in genuine.bytes.indices {
            var broken = genuine.bytes
            broken[place] ^= UInt8(1 + chance.below(255))
            network.inject(broken, from: a.endpoint, to: b.endpoint)
        }
        for count in 0..<genuine.bytes.count {
            network.inject(Array(genuine.bytes.prefix(count)), from: a.endpoint, to: b.endpoint)
        }
        network.run(for: .milliseconds(5), every: .seconds(1))
        #expect(b.received.isEmpty)
        #expect(b.sessions.counters.droppedInAll == UInt64(2 * genuine.bytes.count))
        network.inject(genuine.bytes, from: a.endpoint, to: b.endpoint)
        network.run(for: .milliseconds(5))
        #expect(b.received == [Array("payload".utf8)])
    }

    @Test("handshake packets changed on their way open nothing, and the handshake goes on", arguments: 0..<4)
    func tamperedHandshake(seed: UInt64) {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        var chance = SeededGenerator(seed: seed)
        network.passes = { flight in
            guard flight.kind != .data else { return true }
            for _ in 0..<20 {
                var broken = flight.bytes
                broken[chance.below(broken.count)] ^= UInt8(1 + chance.below(255))
                // Before the genuine one.
                network.inject(broken, from: flight.from, to: flight.to, after: .microseconds(10))
            }
            return true
        }
        network.knock(a, b)
        network.run(for: .milliseconds(100))
        #expect(a.opened.count == 1 && b.opened.count == 1)
        #expect(a.sessions.counters.droppedInAll + b.sessions.counters.droppedInAll >= 60)
    }

    @Test("junk of every size, then a good datagram: the good one is read", arguments: 0..<4)
    func junkThenGood(seed: UInt64) {
        let (a, b) = pair()
        var chance = SeededGenerator(seed: seed)
        for _ in 0..<3_000 {
            var junk = (0..<chance.below(1_600)).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
            // Half of it begins like ours, so that it gets further.
            if chance.chance(0.5), junk.count > 2 {
                junk[0] = Packet.magic
                junk[1] = Packet.Kind.allCases[chance.below(Packet.Kind.allCases.count)].secondByte
            }
            network.inject(junk, from: Endpoint(.v4(UInt32(chance.below(1 << 30))), port: 9), to: b.endpoint)
        }
        network.run(for: .seconds(1))
        #expect(b.received.isEmpty && b.opened.count == 1)
        network.send([1], a, b)
        network.run(for: .milliseconds(10))
        #expect(b.received == [[1]])
        for reason in [DropReason.junk, .truncated, .oversized, .foreign, .unknownSession] {
            #expect(b.sessions.counters[reason] > 0, "\(reason)")
        }
    }

    private func pair() -> (Peer, Peer) {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        return (a, b)
    }
    private func contains(_ haystack: [UInt8], _ needle: [UInt8]) -> Bool {
        haystack.indices.contains { haystack[$0...].starts(with: needle) }
    }
}

/// Somebody with the cluster key who makes each packet by hand, from docs/protocol/transport.md alone.
private struct Insider {
    let network: Network
    let key: ClusterKey
    let at: Endpoint
    let identity = Identity.generate()

    /// - Returns: the kind of what came back, nil for nothing.
    func hello(
        to peer: Peer, claiming id: NodeID, key publicKey: [UInt8], sentFrom: Endpoint? = nil,
        after delay: Duration = .milliseconds(1)
    ) -> Packet.Kind? {
        let salt = RandomBytes.make(16)
        let knock = Packet.header(.knock, tag: key.tag.value, sender: 77, salt: salt)
        network.inject(seal([UInt8](repeating: 0, count: Packet.knockPadding), knock), from: at, to: peer.endpoint)
        var before = network.captured.count
        network.run(for: .milliseconds(5))
        guard let flight = network.captured.dropFirst(before).first(where: { $0.to == at && $0.kind == .challenge })
        else { return nil }
        let cookie = open(flight.bytes, also: salt)!

        let profile = PeerHello(
            id: id, generation: 1, incarnation: 0, name: home, addresses: [at], software: "hand-made", birth: 1)
        let header = Packet.header(.hello, tag: key.tag.value, sender: 77, salt: RandomBytes.make(16))
        var body = HandshakeBody(
            proof: salt + cookie, ephemeral: EphemeralKey().publicKey, identity: publicKey, hello: profile)
        var signed = ByteWriter()
        signed.text("bramble hello 1")
        signed.blob(header)
        signed.blob(body.signedPart)
        body.signature = identity.sign(signed.bytes)
        network.run(for: delay)
        network.inject(seal(body.encoded, header), from: sentFrom ?? at, to: peer.endpoint)
        before = network.captured.count
        network.run(for: .milliseconds(5))
        return network.captured.dropFirst(before).first { $0.to == sentFrom ?? at }?.kind
    }

    private func packetKey(_ header: [UInt8]) -> Secret {
        Secret(MAC.sha256(header, key: key.derived(for: "handshakes")))
    }
    private func seal(_ body: [UInt8], _ header: [UInt8]) -> [UInt8] {
        SealingKey.sealing(with: packetKey(header)).seal(body, counter: 0, header: header)
    }
    private func open(_ bytes: [UInt8], also: [UInt8]) -> [UInt8]? {
        let header = Array(bytes.prefix(2 + 4 + 16))
        return SealingKey.opening(with: packetKey(header))
            .open(Array(bytes.dropFirst(header.count)), counter: 0, header: header, also: also)
    }
}

@Suite("a counter is taken once")
struct ReplayWindowTests {
    @Test("against a model that remembers everything", arguments: 0..<6)
    func model(seed: UInt64) {
        // Through a session, because the window itself is nobody else's business.
        let network = Network(seed: seed)
        let key = ClusterKey.generate(name: home)
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        network.passes = { _ in false }
        let first = network.captured.count
        for number in 0..<4_000 { network.send([UInt8(number >> 8), UInt8(number & 255)], a, b) }
        let flights = Array(network.captured.dropFirst(first))
        var chance = SeededGenerator(seed: seed)
        var highest = -1
        var taken: Set<Int> = []
        var expected = 0
        for step in 0..<6_000 {
            // Mostly forward, with leaps, and repetitions from everywhere.
            let number: Int
            switch chance.below(10) {
            case 0..<5: number = min(flights.count - 1, max(highest, 0) + chance.below(3))
            case 5..<9: number = max(0, highest - chance.below(1_400))
            default: number = min(flights.count - 1, highest + chance.below(step % 7 == 0 ? 300 : 80))
            }
            // The session's counters began a little earlier (its proof): the window is relative, so that is no matter.
            if !taken.contains(number), number > highest - 1_024 {
                taken.insert(number)
                highest = max(highest, number)
                expected += 1
            }
            network.deliver(flights[number])
            #expect(b.received.count == expected, "counter \(number) after \(highest)")
            guard b.received.count == expected else { return }
        }
        #expect(expected > 1_000)
    }
}
