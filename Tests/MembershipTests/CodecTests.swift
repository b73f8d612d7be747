import Membership
import Node
import Primitives
import Testing
import Wire

@Suite("messages survive the wire, and junk does not get in")
struct CodecTests {
    static let verdict = Verdict(
        accusers: [
            Accusation(observer: TinyNetwork.id(1), phi: 8.25, silence: .milliseconds(412), unansweredProbes: 3),
            Accusation(
                observer: TinyNetwork.id(2), phi: 655.35, silence: .milliseconds(65_535), unansweredProbes: 255,
                isOneWay: true),
        ], observers: 4, needed: 3, defenders: 1, isConfirmed: false)
    static let updates = [
        Update(
            id: TinyNetwork.id(3), version: OneCore.version(.max, 7), rank: .alive, age: 0,
            profile: MemberProfile(
                name: NodeName("serv1")!,
                addresses: [Endpoint("10.0.0.1", defaultPort: 7771)!, Endpoint("[fd00::1]:9", defaultPort: 7771)!],
                software: "0.1.0", birth: 12, role: .witness), verdict: nil),
        Update(
            id: TinyNetwork.id(4), version: OneCore.version(2, 0), rank: .failed, age: 86_400, profile: nil,
            verdict: verdict),
        Update(id: TinyNetwork.id(5), version: OneCore.version(2, 0), rank: .left, age: 1, profile: nil, verdict: nil),
        Update(
            id: TinyNetwork.id(6), version: OneCore.version(2, 0), rank: .failed, age: 1,
            profile: TinyNetwork.record(6, nets: 8).profile,
            verdict: Verdict(
                accusers: (0..<16).map {
                    Accusation(observer: TinyNetwork.id($0), phi: 8, silence: .milliseconds(400), unansweredProbes: 3)
                }, observers: 16, needed: 10, defenders: 0, isConfirmed: true)),
    ]
    static let figures = Figures(centiPhi: 812, silence: 409, unansweredProbes: 3, isOneWay: true)
    static let messages: [Message] =
        [
            .heartbeat(
                Heartbeat(
                    version: OneCore.version(9, 2), sequence: 77, interval: 100, echo: 3, echoAge: 900,
                    flags: [.observe, .hears], health: 8, viewHash: .max, factsHash: 5, load: Array(1...16),
                    updates: updates)),
            .heartbeat(
                Heartbeat(
                    version: OneCore.version(0, 0), sequence: 1, interval: 10, echo: 0, echoAge: 0, flags: [],
                    health: 0,
                    viewHash: 0, factsHash: 0, load: [], updates: [])),
            .ping(nonce: 1, sender: OneCore.version(1, 2)), .pong(nonce: .max, sender: OneCore.version(3, 4)),
            .ask(subject: TinyNetwork.id(1), version: OneCore.version(1, 2)),
            .report(
                Report(
                    observer: TinyNetwork.id(1), subject: TinyNetwork.id(2), version: OneCore.version(1, 2),
                    figures: figures)), .withdraw(subject: TinyNetwork.id(1), version: OneCore.version(1, 2)),
            .updates(updates), .updates([]), .digest(ViewDigest(buckets: (0..<32).map { $0 << 40 })),
            .delta(ViewDelta(updates: updates, wanted: 0xF0F0_F0F0)),
        ]
        + Evidence.Opinion.allCases.map {
            .evidence(
                Evidence(subject: TinyNetwork.id(9), version: OneCore.version(1, 2), opinion: $0, figures: figures))
        }

    @Test("every message comes back as it was", arguments: messages)
    func roundTrip(message: Message) throws {
        let bytes = MembershipCodec.encode(message)
        #expect(MembershipCodec.types.contains(bytes[0]))
        #expect(try MembershipCodec.decode(bytes) == message)
    }

    @Test("what a newer version appends is skipped, as long as it is well formed", arguments: messages)
    func extensions(message: Message) throws {
        let bytes = MembershipCodec.encode(message)
        #expect(try MembershipCodec.decode(bytes + [200, 0, 3, 1, 2, 3, 201, 0, 0]) == message)
        for tail: [UInt8] in [[200], [200, 0], [200, 0, 3, 1, 2], [200, 255, 255]] {
            #expect(throws: ByteReader.Failure.truncated) { try MembershipCodec.decode(bytes + tail) }
        }
    }

    @Test("every cut short message is refused", arguments: messages)
    func truncated(message: Message) {
        let bytes = MembershipCodec.encode(message)
        for length in 0..<bytes.count {
            #expect(throws: ByteReader.Failure.self) { try MembershipCodec.decode(Array(bytes[..<length])) }
        }
    }

    @Test("values that make no sense are refused")
    func nonsense() {
        func refuse(_ bytes: [UInt8], _ failure: ByteReader.Failure) {
            #expect(throws: failure) { try MembershipCodec.decode(bytes) }
        }
        refuse([0x1F], .malformed)
        refuse([0x00], .malformed)
        var heartbeat = MembershipCodec.encode(Self.messages[1])
        let interval = 1 + 8 + 4
        heartbeat.replaceSubrange(interval..<interval + 2, with: [0, 9])
        refuse(heartbeat, .malformed)
        heartbeat.replaceSubrange(interval..<interval + 2, with: [0xFF, 0xFF])
        refuse(heartbeat, .malformed)
        // Suspicions and removals do not travel as updates, and no update has another rank.
        for rank: UInt8 in [1, 4, 5, 255] {
            var updates = MembershipCodec.encode(.updates([Self.updates[2]]))
            updates[1 + 2 + 16 + 8] = rank
            refuse(updates, .malformed)
        }
        // A count that promises more than there is.
        refuse(MembershipCodec.encode(.updates([])).dropLast(2) + [0xFF, 0xFF], .tooLong)
        refuse(MembershipCodec.encode(.updates([])).dropLast(2) + [0, 9], .truncated)
    }

    @Test("a datagram's size is limited, a stream's too")
    func limits() {
        let many = Array(repeating: Self.updates[3], count: 3)
        #expect(throws: ByteReader.Failure.tooLong) {
            try MembershipCodec.decode(MembershipCodec.encode(.updates(many)))
        }
        #expect(throws: Never.self) {
            try MembershipCodec.decode(MembershipCodec.encode(.delta(ViewDelta(updates: many, wanted: 0))))
        }
        #expect(throws: ByteReader.Failure.tooLong) {
            try MembershipCodec.decode([0x19] + [UInt8](repeating: 0, count: MembershipCodec.maximumDelta))
        }
    }

    @Test("the core's own reckoning of an update's size is exact", arguments: updates)
    func wireSize(update: Update) {
        let empty = MembershipCodec.encode(.updates([])).count
        #expect(MembershipCodec.encode(.updates([update])).count - empty == update.wireSize)
    }

    @Test("a heartbeat without news takes 42 bytes, and never more than a datagram with them")
    func sizes() {
        #expect(MembershipCodec.encode(Self.messages[1]).count == 42)
        var network = TinyNetwork(nodes: 16, areAcquainted: false)
        nonisolated(unsafe) var largest = 0
        network.weigh = { message in
            let size = MembershipCodec.encode(message).count
            if case .delta = message {} else { largest = max(largest, size) }
            return size
        }
        for node in 1..<16 { network.introduce(0, node) }
        network.run(for: .seconds(1))
        for node in 8..<16 { network.kill(node) }
        network.run(for: .seconds(2))
        #expect(largest <= MembershipCodec.maximumDatagram && largest > 300, "\(largest)")
    }

    @Test("seeded junk never crashes, and the good message behind it is read")
    func junk() throws {
        var chance = SeededGenerator(seed: 20)
        let good = Self.messages.map(MembershipCodec.encode)
        var refused = 0
        for _ in 0..<20_000 {
            var bytes = chance.pick(from: good)!
            for _ in 0...chance.below(4) {
                switch chance.below(4) {
                case 0: bytes[chance.below(bytes.count)] = UInt8(truncatingIfNeeded: chance.next())
                case 1: bytes.removeLast(chance.below(bytes.count))
                case 2: bytes.insert(UInt8(truncatingIfNeeded: chance.next()), at: chance.below(bytes.count))
                default: bytes = (0..<1 + chance.below(80)).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
                }
                if bytes.isEmpty { bytes = [0] }
            }
            if let message = try? MembershipCodec.decode(bytes) {
                // Whatever is let in can be said again.
                #expect(try MembershipCodec.decode(MembershipCodec.encode(message)) == message)
            } else {
                refused += 1
            }
        }
        #expect(refused > 10_000)
        #expect(try MembershipCodec.decode(good[0]) == Self.messages[0])
    }

    @Test("whatever well-formed messages say, a core takes them without harm")
    func hostileCore() throws {
        var chance = SeededGenerator(seed: 21)
        var z = OneCore()
        for name in ["a", "b", "c"] { z.meet(name) }
        let good = Self.messages.map(MembershipCodec.encode)
        for round in 0..<4_000 {
            var bytes = chance.pick(from: good)!
            for _ in 0..<1 + chance.below(3) {
                bytes[chance.below(bytes.count)] = UInt8(truncatingIfNeeded: chance.next())
            }
            if let message = try? MembershipCodec.decode(bytes) {
                z.receive(message, from: ["a", "b", "c"][round % 3])
            }
            if round % 8 == 0 { z.advance(by: .milliseconds(25), beating: ["a", "b", "c"]) }
            if round % 500 == 0 { z.forgetLog() }
        }
        z.advance(by: .seconds(7), beating: ["a", "b", "c"])
        #expect(z.core.members.count < 2000 && z.core.rank(of: z.core.id) == .alive)
    }
}
