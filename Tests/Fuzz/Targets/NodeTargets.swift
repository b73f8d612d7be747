import Leases
import Membership
import Node
import Primitives
import Wire

private let other = NodeID(high: 0x0123_4567_89AB_CDEF, low: 1)
private let third = NodeID(high: 0x0123_4567_89AB_CDEF, low: 2)
private let own = NodeID(high: 0x0123_4567_89AB_CDEF, low: 3)
private let path = Endpoint("10.0.0.1", defaultPort: 7771)!
private let version = MemberVersion(generation: 1, incarnation: 2)
private func profile(_ name: String) -> MemberProfile {
    MemberProfile(name: NodeName(name)!, addresses: [path], software: "0.1", birth: 1)
}

private let messages: [Message] = [
    .heartbeat(
        Heartbeat(
            version: version, sequence: 7, interval: 100, echo: 6, echoAge: 12, flags: [.observe, .hears], health: 0,
            viewHash: 5, factsHash: 6, load: [1, 2, 3, 4, 5, 6, 7, 8, 9],
            updates: [Update(id: third, version: version, rank: .alive, age: 9, profile: profile("c"), verdict: nil)])),
    .ping(nonce: 1, sender: version), .pong(nonce: 1, sender: version), .ask(subject: third, version: version),
    .report(
        Report(
            observer: other, subject: third, version: version,
            figures: Figures(centiPhi: 900, silence: 600, unansweredProbes: 3, isOneWay: false))),
    .withdraw(subject: third, version: version),
    .updates([
        Update(
            id: third, version: version, rank: .failed, age: 9, profile: profile("c"),
            verdict: Verdict(
                accusers: [Accusation(observer: other, phi: 9, silence: .seconds(1), unansweredProbes: 3)],
                observers: 3, needed: 2, defenders: 0, isConfirmed: true))
    ]),
    .digest(ViewDigest(buckets: [UInt64](repeating: 3, count: ViewDigest.bucketCount))),
    .delta(ViewDelta(updates: [], wanted: 5)),
]
private func someFacts() -> SharedFacts {
    var facts = SharedFacts()
    _ = try? facts.set("user/admin", to: [1, 2, 3], by: other)
    _ = try? facts.set("removed/x", to: nil, by: third)
    return facts
}

extension FuzzTarget {
    /// Messages of the membership, from a peer that is authenticated but may run another version, or a bug.
    static let membership = FuzzTarget("membership") {
        messages.map(MembershipCodec.encode)
    } check: { bytes in
        guard let message = try? MembershipCodec.decode(bytes) else { return nil }
        // Extensions of a newer version are skipped, so that the bytes may differ, but not what they say.
        guard let again = try? MembershipCodec.decode(MembershipCodec.encode(message)) else {
            return "a message that was read cannot be read again: \(message)"
        }
        return again == message ? nil : "read and written again, a message differs: \(message)"
    }

    /// How busy another node is, as it says on its heartbeats.
    static let loadFacts = FuzzTarget("loadFacts") {
        [LoadFacts(cpu: 0.5, memory: 0.25, load1: 1.5, load5: 1, load15: 0.01, temperature: -12).encoded]
    } check: { bytes in
        guard let load = LoadFacts(encoded: bytes) else { return nil }
        guard (0...1).contains(load.cpu), (0...1).contains(load.memory) else { return "a share of more than all" }
        return load.encoded == bytes ? nil : "read and written again, a load differs"
    }

    /// What operators decided, as it comes from another node.
    static let facts = FuzzTarget("facts") {
        [someFacts().encoded(), SharedFacts().encoded()]
    } check: { bytes in
        var reader = ByteReader(bytes)
        guard let entries = try? SharedFacts.decode(&reader) else { return nil }
        var facts = SharedFacts()
        _ = facts.merge(entries)
        var again = facts
        guard again.merge(entries).isEmpty else { return "merging twice changes something" }
        var backwards = SharedFacts()
        _ = backwards.merge(entries.reversed())
        var copy = ByteReader(facts.encoded())
        guard let decoded = try? SharedFacts.decode(&copy) else { return "facts that were taken cannot be sent on" }
        var copied = SharedFacts()
        _ = copied.merge(decoded)
        return copied == facts ? nil : "sent on, facts differ"
    }

    /// A whole node that hears several datagrams of a member; each begins with its length in one byte.
    static let nodeCore = FuzzTarget("nodeCore", quickRuns: 600) {
        let reports: [UInt8] = [66, 0, 1, 0, 3] + Array("web".utf8) + [0, 0, 0, 0, 0, 0, 0, 0, 7, 1]
        let ack = LeaseCodec.encode(
            LeaseMessage(voters: VoterVersion(lineage: 1, number: 1), .ack(generation: 1, sequence: 1)))
        let encoded = (messages.map(MembershipCodec.encode) + [reports, ack]).filter { $0.count < 256 }
        return encoded.map { [UInt8($0.count)] + $0 } + [encoded.flatMap { [UInt8($0.count)] + $0 }]
    } check: { bytes in
        var now = Instant(sinceBoot: .seconds(100))
        let known = [(other, "b"), (third, "c")].map { id, name in
            MemberRecord(id: id, version: version, rank: .alive, profile: profile(name))
        }
        var config = NodeConfig()
        config.house = HouseSettings(
            pair: LeaseConfig(.fast, isPair: true), votes: LeaseConfig(.fast, isPair: false), memory: LeaseMemory(),
            reach: [])
        var core = NodeCore(
            id: own, version: version, profile: profile("a"), members: known, facts: SharedFacts(),
            config: config, chance: SeededGenerator(seed: 1), now: now)
        for record in known {
            _ = core.handle(.sessionOpened(PeerIntroduction(record: record, keyVersion: 1), path: path), now: now)
        }
        var rest = bytes[...]
        while let length = rest.popFirst() {
            let datagram = Array(rest.prefix(Int(length)))
            rest = rest.dropFirst(Int(length))
            now = now + .milliseconds(10)
            let effects = core.handle(.received(bytes: datagram, from: other, path: path, stamp: now), now: now)
            guard effects.count < 500 else { return "one datagram has \(effects.count) effects" }
            for case .send(let bytes, _, _) in effects where bytes.count > Packet.maximumPayload {
                return "an answer of \(bytes.count) bytes fits no datagram"
            }
        }
        for _ in 0..<5 {
            now = now + core.tickInterval
            _ = core.tick(now: now, drained: true)
        }
        return core.snapshot.members.contains { $0.id == own } || core.isRemoved ? nil : "the node lost itself"
    }
}
