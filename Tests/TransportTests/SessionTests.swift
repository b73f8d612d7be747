import Crypto
import Primitives
import Testing
import Transport
import Wire

private let home = NodeName("home")!

@Suite("two nodes with the cluster key know each other, and hear each other only")
struct SessionTests {
    let network = Network()
    let key = ClusterKey.generate(name: home)

    @Test("a knock opens a session on both sides, with who the other is, and what is sent arrives")
    func opening() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key, generation: 7)
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        #expect(a.opened == [b.sessions.profile])
        #expect(b.opened == [a.sessions.profile])
        #expect(a.opened.first?.generation == 7 && a.openedUnder == [1])
        network.send([1, 2, 3], a, b)
        network.send([4, 5], b, a)
        network.run(for: .milliseconds(50))
        #expect(b.received == [[1, 2, 3]] && b.receivedFrom == [a.id] && b.paths == [a.endpoint])
        #expect(a.received == [[4, 5]] && a.receivedFrom == [b.id])
        #expect(a.sessions.counters.droppedInAll == 0 && b.sessions.counters.droppedInAll == 0)
    }

    @Test("sending without a session drops the payload and begins a handshake, so that the next one arrives")
    func sendingOpens() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.send([1], a, b)
        #expect(a.sessions.counters.withoutSession == 1)
        network.run(for: .milliseconds(50))
        network.send([2], a, b)
        network.run(for: .milliseconds(50))
        #expect(b.received == [[2]])
    }

    @Test("the largest payload arrives, in a datagram of the largest size")
    func largest() {
        let (a, b) = pair()
        let payload = [UInt8](repeating: 9, count: Packet.maximumPayload)
        network.send(payload, a, b)
        #expect(network.captured.last?.bytes.count == Packet.maximumSize)
        network.run(for: .milliseconds(50))
        #expect(b.received == [payload])
    }

    @Test("both knocking at once end with one session that both send on, and nothing is lost", arguments: 0..<8)
    func simultaneous(seed: UInt64) {
        let network = Network(seed: seed)
        network.jitter = .milliseconds(3)
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.knock(b, a)
        network.run(for: .milliseconds(100))
        for number in 0..<50 {
            network.send([UInt8(number)], a, b)
            network.send([UInt8(number)], b, a)
            network.run(for: .milliseconds(10))
        }
        #expect(a.received.count == 50 && b.received.count == 50)
        // The receiver's index in a's datagrams and in b's: the two ends of the same session.
        let last = network.captured.filter { $0.kind == .data }.suffix(2)
        let initiators = network.captured.filter { $0.kind == .knock }
        let lower = a.id < b.id ? a : b
        let knock = initiators.first { $0.from == lower.endpoint }!
        guard case .knock(_, let index, _, _)? = try? Packet(parsing: knock.bytes) else {
            Issue.record("no knock of the lower ID")
            return
        }
        // What goes to the lower ID carries the index that it chose in its own knock.
        let toLower = last.first { $0.to == lower.endpoint }!
        guard case .data(let receiver, _, _)? = try? Packet(parsing: toLower.bytes) else {
            Issue.record("no data to the lower ID")
            return
        }
        #expect(receiver == index)
    }

    @Test(
        "with a third of the datagrams lost, doubled and reordered, a handshake tried again succeeds", arguments: 0..<12
    )
    func badNetwork(seed: UInt64) {
        let network = Network(seed: seed)
        network.loss = 0.33
        network.duplication = 0.33
        network.jitter = .milliseconds(30)
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        for _ in 0..<6 where !(a.sessions.isOpen(with: b.id) && b.sessions.isOpen(with: a.id)) {
            network.knock(a, b)
            network.run(for: .seconds(2))
        }
        #expect(a.sessions.isOpen(with: b.id) && b.sessions.isOpen(with: a.id))
        network.loss = 0
        for number in 0..<100 {
            network.send([UInt8(number)], a, b)
            network.run(for: .milliseconds(5))
        }
        network.run(for: .seconds(1))
        // Everything once, although a third came twice.
        #expect(b.received.map { $0[0] }.sorted() == (0..<100).map { UInt8($0) })
        #expect(b.sessions.counters[.replayed] > 0)
    }

    @Test("a lost proof is repeated: the answering side opens although nothing else is sent")
    func lostProof() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        var swallowed = 0
        network.passes = { flight in
            guard flight.kind == .data, swallowed < 2 else { return true }
            swallowed += 1
            return false
        }
        network.knock(a, b)
        network.run(for: .milliseconds(40))
        #expect(b.opened.isEmpty)
        network.run(for: .seconds(2))
        #expect(b.opened.count == 1)
        // And it ends: no endless echo of empty datagrams.
        let sent = network.captured.count
        network.run(for: .seconds(20))
        #expect(network.captured.count == sent)
    }

    @Test("a knock that nobody answers is tried four times, then given up and told")
    func nobodyThere() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let nobody = Endpoint("10.0.0.9:7771", defaultPort: 7771)!
        network.knock(a, nobody)
        network.knock(a, nobody)
        network.run(for: .seconds(10))
        #expect(network.captured.count == 4)
        #expect(a.unanswered == [nobody])
        #expect(a.sessions.load == (0, 0, 0))
    }

    @Test("a node that finds its own address knocks once and lets it be")
    func ownAddress() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        network.knock(a, a)
        network.run(for: .seconds(5))
        #expect(network.captured.count == 1)
        #expect(a.opened.isEmpty && a.unanswered.isEmpty && a.sessions.load == (0, 0, 0))
    }

    @Test("a peer with two addresses has one session, and both paths are told apart")
    func paths() {
        let (a, b) = pair()
        let other = Endpoint("192.168.7.2:7771", defaultPort: 7771)!
        network.passes = { _ in false }
        network.send([1], b, a)
        let datagram = network.captured.last!
        network.inject(datagram.bytes, from: other, to: a.endpoint)
        network.run(for: .milliseconds(1))
        network.passes = { _ in true }
        network.send([2], b, a)
        network.run(for: .milliseconds(50))
        #expect(a.received == [[1], [2]] && a.receivedFrom == [b.id, b.id])
        #expect(a.paths == [other, b.endpoint])
        #expect(a.opened.count == 1)
    }

    // MARK: Restarts and new keys

    @Test("a peer that restarted under a newer cluster key, which we do not have, is met again under the one we share")
    func restartUnderNewKey() {
        let (a, b) = pair()
        network.peers[b.endpoint] = nil
        let again = network.add(
            "b", at: "10.0.0.2", identity: b.identity, key: key.rotated(), older: [key],
            generation: 8)
        for number in 0..<10 {
            network.send([UInt8(number)], a, again)
            network.run(for: .milliseconds(500))
        }
        #expect(a.opened.last?.generation == 8 && again.opened.last?.id == a.id && again.openedUnder.first == 1)
        #expect(again.received.last == [9])
    }

    @Test("two members whose sides of a partition each changed the key meet under the one before")
    func twoNewKeys() {
        let a = network.add("a", at: "10.0.0.1", key: key.rotated(), older: [key])
        let b = network.add("b", at: "10.0.0.2", key: key.rotated(), older: [key])
        network.send([1], a, b)
        network.run(for: .seconds(2))
        network.send([2], a, b)
        network.run(for: .milliseconds(50))
        #expect(b.received == [[2]] && b.openedUnder == [1])
    }

    @Test("at an address that somebody named, nothing is said under an older key")
    func noOldKeyForStrangers() {
        let a = network.add("a", at: "10.0.0.1", key: key.rotated(), older: [key])
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .seconds(5))
        #expect(b.opened.isEmpty && b.sessions.counters[.foreign] == 4)
    }

    @Test("a silent peer is knocked at every other second while something is sent to it, not more often, and not else")
    func silence() {
        let (a, b) = pair()
        network.passes = { $0.to != a.endpoint }
        let before = network.captured.count
        for _ in 0..<100 {
            network.send([1], a, b)
            network.run(for: .milliseconds(100))
        }
        let attempts = Set(
            network.captured.dropFirst(before).filter { $0.kind == .knock && $0.from == a.endpoint }.map { $0.bytes })
        #expect((3...5).contains(attempts.count))
        network.run(for: .seconds(10))
        let quiet = network.captured.count
        network.run(for: .seconds(30))
        #expect(network.captured.count == quiet)
    }

    @Test("a peer that restarted is heard again after the next datagram, and what it was is forgotten")
    func restart() {
        let (a, b) = pair()
        network.peers[b.endpoint] = nil
        let again = network.add("b", at: "10.0.0.2", identity: b.identity, key: key, generation: 2)
        // It does not even know a: the datagram for a session it does not have makes it knock.
        network.send([UInt8](repeating: 1, count: 40), a, again)
        network.run(for: .milliseconds(100))
        #expect(again.sessions.counters[.unknownSession] == 1)
        #expect(a.opened.map(\.generation) == [1, 2])
        network.send([2], a, again)
        network.send([3], again, a)
        network.run(for: .milliseconds(50))
        #expect(again.received == [[2]] && a.received == [[3]])
        #expect(a.sessions.load.sessions == 1, "the session with the process that is gone is dropped")
    }

    @Test("keys change after their time, and nothing sent meanwhile is lost")
    func newKeys() {
        var limits = SessionLimits()
        limits.rekeyAfter = .seconds(60)
        limits.replacedLinger = .seconds(5)
        let a = network.add("a", at: "10.0.0.1", key: key, limits: limits)
        let b = network.add("b", at: "10.0.0.2", key: key, limits: limits)
        network.jitter = .milliseconds(20)
        network.knock(a, b)
        network.run(for: .seconds(1))
        for number in 0..<3_000 {
            let payload = [UInt8(number & 255), UInt8(number >> 8)]
            network.send(payload, a, b)
            network.send(payload, b, a)
            network.run(for: .milliseconds(50))
        }
        network.run(for: .seconds(1))
        #expect(a.received.count == 3_000 && b.received.count == 3_000)
        #expect((3...4).contains(a.opened.count), "150 s at 60 s a key: \(a.opened.count)")
        #expect(a.sessions.load.sessions <= 2)
    }

    @Test("keys change after so many datagrams")
    func newKeysByCount() {
        var limits = SessionLimits()
        limits.rekeyAfterDatagrams = 100
        let a = network.add("a", at: "10.0.0.1", key: key, limits: limits)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .seconds(1))
        for number in 0..<250 {
            network.send([UInt8(number)], a, b)
            network.run(for: .milliseconds(100))
            if number % 10 == 0 { network.send([0], b, a) }
        }
        #expect(b.received.count == 250)
        #expect(a.opened.count == 3)
    }

    @Test("a session whose keys are spent sends nothing more, even where new ones cannot be agreed")
    func spent() {
        var limits = SessionLimits()
        limits.rekeyAfterDatagrams = 10
        let a = network.add("a", at: "10.0.0.1", key: key, limits: limits)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .seconds(1))
        network.passes = { $0.kind == .data }
        for number in 0..<40 {
            network.send([UInt8(number)], a, b)
            network.run(for: .milliseconds(100))
        }
        #expect((15...20).contains(b.received.count), "\(b.received.count)")
        #expect(a.sessions.counters.withoutSession >= 20)
        network.passes = { _ in true }
        network.run(for: .seconds(3))
        network.send([99], a, b)
        network.run(for: .seconds(1))
        network.send([100], a, b)
        network.run(for: .seconds(1))
        #expect(b.received.last == [100])
    }

    @Test("forgetting a peer drops its keys: what it sends is no longer read")
    func forgetting() {
        let (a, b) = pair()
        a.sessions.forget(b.id)
        #expect(!a.sessions.isOpen(with: b.id) && a.sessions.load.sessions == 0)
        a.admits = { _, _ in .refuseRemoved }
        network.send([UInt8](repeating: 1, count: 40), b, a)
        network.run(for: .seconds(3))
        #expect(a.received.isEmpty)
        #expect(b.refusals == [.removed] && b.refusedBy == [a.id], "it is told, and by whom")
    }

    // MARK: Admission

    @Test("a removed identity is refused, told so under a member's signature, and learns no name")
    func removed() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        b.admits = { id, _ in id == a.id ? .refuseRemoved : .accept }
        network.knock(a, b)
        network.run(for: .seconds(3))
        #expect(a.refusals == [.removed] && a.refusedBy == [b.id])
        #expect(a.opened.isEmpty && b.opened.isEmpty)
        #expect(b.sessions.counters[.refused] == 1)
        #expect(!network.captured.contains { $0.kind == .reply })
    }

    @Test("a node that knocks at one it knows as removed tells it")
    func knockingAtRemoved() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        a.admits = { _, _ in .refuseRemoved }
        network.knock(a, b)
        network.run(for: .seconds(3))
        #expect(b.refusals == [.removed] && b.refusedBy == [a.id])
        #expect(a.opened.isEmpty && b.opened.isEmpty)
        #expect(b.sessions.load.sessions == 0)
    }

    @Test("where an operator has to say yes, both sides are told that one waits")
    func approval() {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        b.admits = { _, _ in .waitForApproval }
        network.knock(a, b)
        network.run(for: .seconds(3))
        #expect(b.asking == [a.sessions.profile] && a.waiting == [b.id])
        #expect(a.opened.isEmpty && !network.captured.contains { $0.kind == .reply })
        b.admits = { _, _ in .accept }
        network.knock(a, b)
        network.run(for: .seconds(1))
        #expect(a.opened.count == 1 && b.opened.count == 1)
    }

    @Test("an older cluster key is good for a member that slept through its replacement, and for nobody else")
    func rotation() {
        let new = key.rotated()
        let a = network.add("a", at: "10.0.0.1", key: new, older: [key])
        let sleeper = network.add("b", at: "10.0.0.2", key: key)
        let stranger = network.add("c", at: "10.0.0.3", key: key)
        a.admits = { id, version in id == sleeper.id || version == new.version ? .accept : .refuseOldKey }
        network.knock(sleeper, a)
        network.knock(stranger, a)
        network.run(for: .seconds(3))
        #expect(a.opened.map(\.id) == [sleeper.id] && a.openedUnder == [1])
        #expect(stranger.refusals == [.oldKey] && stranger.opened.isEmpty)
        // When it has got the new key, sessions go on, and new ones are made under the new key.
        sleeper.sessions.ring.add(new)
        network.send([1], sleeper, a)
        network.knock(sleeper, a)
        network.run(for: .seconds(1))
        #expect(a.received == [[1]] && a.openedUnder == [1, 2])
    }

    private func pair() -> (Peer, Peer) {
        let a = network.add("a", at: "10.0.0.1", key: key)
        let b = network.add("b", at: "10.0.0.2", key: key)
        network.knock(a, b)
        network.run(for: .milliseconds(50))
        return (a, b)
    }
}
