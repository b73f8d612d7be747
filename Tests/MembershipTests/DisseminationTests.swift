import Primitives
import Testing

@testable import Membership

@Suite("news reaches everybody, and views that differ are put right")
struct DisseminationTests {
    @Test("a view that missed news asks in which parts it differs, and gets just those records")
    func digest() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.forgetLog()
        var buckets = z.core.table.buckets
        buckets[MemberTable.bucket(of: OneCore.id("b"))] ^= 1
        z.receive(.digest(ViewDigest(buckets: buckets)), from: "a")
        guard z.sentReliably.count == 1, case .delta(let delta) = z.sentReliably[0].message else {
            Issue.record("\(z.sentReliably)")
            return
        }
        #expect(delta.updates.allSatisfy { MemberTable.bucket(of: $0.id) == MemberTable.bucket(of: OneCore.id("b")) })
        #expect(delta.updates.contains { $0.id == OneCore.id("b") && $0.profile != nil })
        #expect(delta.wanted == 1 << UInt32(MemberTable.bucket(of: OneCore.id("b"))))
        z.forgetLog()
        z.receive(.digest(ViewDigest(buckets: z.core.table.buckets)), from: "a")
        #expect(z.sentReliably.isEmpty, "equal views have nothing to say")
    }

    @Test("a delta is taken in, and answered with what was asked for")
    func delta() {
        var z = OneCore()
        z.meet("a")
        z.forgetLog()
        z.receive(.delta(ViewDelta(updates: [OneCore.update("c", .alive, 4)], wanted: .max)), from: "a")
        #expect(z.version("c") == OneCore.version(1, 4))
        guard z.sentReliably.count == 1, case .delta(let answer) = z.sentReliably[0].message else {
            Issue.record("\(z.sentReliably)")
            return
        }
        #expect(answer.wanted == 0 && Set(answer.updates.map(\.id)) == [z.core.id, OneCore.id("a"), OneCore.id("c")])
    }

    @Test("a thousand records are sent in parts that fit a frame")
    func parts() {
        var z = OneCore()
        z.meet("a")
        let records = (0..<2500).map { TinyNetwork.record($0) }
        z.handle(.learned(records))
        z.forgetLog()
        z.receive(.digest(ViewDigest(buckets: Array(repeating: 1, count: 32))), from: "a")
        let sizes = z.sentReliably.map { if case .delta(let delta) = $0.message { delta.updates.count } else { 0 } }
        #expect(sizes == [1024, 1024, 2502 - 2048])
    }

    @Test("news rides on the next three heartbeats to each peer, in case its datagram was lost")
    func riding() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.advance(by: .seconds(1), beating: ["a", "b"])
        z.forgetLog()
        z.updates(OneCore.update("c", .failed, 4, profile: OneCore.profile("c")), from: "a")
        z.advance(by: .milliseconds(1000), beating: ["a", "b"])
        let rides = z.messages(to: "b").filter { message in
            guard case .heartbeat(let beat) = message else { return false }
            return beat.updates.contains { $0.id == OneCore.id("c") }
        }
        #expect(rides.count == 3)
    }

    /// When `z` asks `a` to compare, in seconds, within eleven of them; `a` says in its heartbeats that its view is another,
    /// for so long.
    private func comparisons(answering: Bool, beatingFor: Duration = .seconds(11)) -> [Double] {
        var z = OneCore()
        z.meet("a")
        z.advance(by: .seconds(2), beating: ["a"])
        z.forgetLog()
        var moments: [Double] = []
        let start = z.now
        for _ in 0..<430 {
            z.stall(for: .milliseconds(25))
            if Int((z.now - start).milliseconds) % 100 == 0, z.now - start < beatingFor { z.beat("a", viewHash: 99) }
            z.tick()
            if z.messages(to: "a").contains(where: { if case .digest = $0 { true } else { false } }) {
                moments.append((z.now - start).seconds.rounded())
                if answering { z.receive(.delta(ViewDelta(updates: [], wanted: 0)), from: "a") }
            }
            z.forgetLog()
        }
        return moments
    }

    // Of two the one with the smaller ID asks; z is the larger one, and only steps in after three seconds.
    @Test("views that differ for a second are compared, and ever more rarely if that does not help")
    func comparing() { #expect(comparisons(answering: true) == [3, 4, 6, 10]) }

    @Test("a comparison that got no answer is made again every second: it was lost, and says nothing")
    func lostComparisons() { #expect(comparisons(answering: false) == [3, 4, 5, 6, 7, 8, 9, 10]) }

    @Test("what a peer that fell silent once said of its view is not compared")
    func outdatedDifference() { #expect(comparisons(answering: false, beatingFor: .milliseconds(4050)) == [3, 4]) }

    @Test("news that was lost to everybody is found by comparing")
    func lostNews() {
        var network = TinyNetwork(nodes: 3)
        network.run(for: .seconds(1))
        network.cut([0], [1, 2])
        var gone = TinyNetwork.record(30)
        gone.rank = .failed
        network.tell(0, .learned([gone]))
        network.run(for: .milliseconds(330))
        network.heal()
        #expect(network.nodes[1].core.record(of: gone.id) == nil)
        network.run(for: .seconds(3))
        #expect((0..<3).allSatisfy { network.nodes[$0].core.record(of: gone.id)?.rank == .failed })
        #expect(Set(network.nodes.map { $0.core.table.viewHash }).count == 1)
    }

    @Test("a node that was cut off for a while and missed a join learns it by itself")
    func missedJoin() {
        var network = TinyNetwork(nodes: 6, areAcquainted: false)
        for node in 1..<5 { network.introduce(0, node) }
        network.run(for: .seconds(1))
        // Node 5 joins, but nothing from or to node 4 gets through, for less than a suspicion takes.
        network.cut([4], 0..<6)
        network.cut(0..<6, [4])
        network.introduce(5, 0)
        network.run(for: .milliseconds(320))
        network.heal()
        let time = network.run(atMost: .seconds(4)) { $0.agrees }
        #expect(time != nil)
    }

    @Test("views agree within seconds at 20 % loss, after many joins", arguments: [0, 1, 2])
    func lossyJoins(seed: Int) {
        var network = TinyNetwork(nodes: 12, seed: UInt64(seed), areAcquainted: false)
        network.loss = 0.2
        for round in 0..<6 {
            for node in 1..<12 { network.introduce(round, node) }
            network.run(for: .milliseconds(100))
        }
        let time = network.run(atMost: .seconds(8)) { $0.agrees }
        #expect(time != nil)
        let hashes = Set(network.nodes.map { $0.core.table.viewHash })
        #expect(hashes.count == 1)
    }

    @Test("operator facts that differ for half a second are asked for, once a second, and not when they agree")
    func facts() {
        var z = OneCore()
        z.meet("a")
        z.handle(.factsHash(77))
        var asked = 0
        for beat in 0..<40 {
            z.stall(for: .milliseconds(100))
            for effect in z.core.handle(
                .received(
                    .heartbeat(
                        Heartbeat(
                            version: OneCore.version(1, 0), sequence: UInt32(beat + 1), interval: 100, echo: 0,
                            echoAge: 0, flags: [.observe, .hears], health: 0, viewHash: 0,
                            factsHash: beat < 20 ? 78 : 77, load: [], updates: [])), from: OneCore.id("a"),
                    path: OneCore.endpoint("a"), stamp: z.now), now: z.now)
            where effect == .factsDiffer(OneCore.id("a")) { asked += 1 }
        }
        #expect(asked == 2)
    }

    @Test("load facts ride on heartbeats, sixteen bytes at most")
    func load() {
        var network = TinyNetwork(nodes: 3)
        network.tell(1, .load(Array(0..<40)))
        network.run(for: .milliseconds(400))
        let view = network.nodes[0].core.members.first { $0.id == TinyNetwork.id(1) }
        #expect(view?.load == Array(0..<16))
        let own = network.nodes[1].core.members.first { $0.id == TinyNetwork.id(1) }
        #expect(own?.load == Array(0..<16))
    }

    @Test("round trips are measured, and edges open within a few of them")
    func roundTrips() {
        var network = TinyNetwork(nodes: 3, areAcquainted: false)
        network.introduce(0, 1)
        network.run(for: .milliseconds(10))
        #expect(network.nodes[0].core.reachablePeers.count == 1 && network.nodes[1].core.reachablePeers.count == 1)
        network.run(for: .seconds(2))
        let trip = network.nodes[0].core.edges[0].roundTrip
        #expect(trip != nil && trip! > .microseconds(300) && trip! < .milliseconds(3), "\(String(describing: trip))")
    }

    @Test("a datagram of updates never exceeds what fits")
    func datagramSizes() {
        let verdict = Verdict(
            accusers: (0..<16).map {
                Accusation(observer: TinyNetwork.id($0), phi: 8, silence: .milliseconds(410), unansweredProbes: 3)
            }, observers: 16, needed: 10, defenders: 0, isConfirmed: true)
        let updates = (0..<100).map { number in
            Update(
                id: TinyNetwork.id(number), version: OneCore.version(1, 1), rank: .failed, age: 0,
                profile: TinyNetwork.record(number, nets: 8).profile, verdict: number % 3 == 0 ? verdict : nil)
        }
        let parts = Outbox.datagrams(updates)
        #expect(parts.flatMap(\.self) == updates)
        #expect(parts.allSatisfy { $0.reduce(0) { $0 + $1.wireSize } <= Outbox.datagramRoom })
        #expect(parts.count < 40)
    }
}

@Suite("large clusters")
struct LargeClusterTests {
    @Test("a tenth of 200 nodes die at once: all are found within three seconds, nobody else is accused")
    func massDeath() {
        var network = TinyNetwork(nodes: 200)
        network.run(for: .seconds(4))
        #expect(network.agrees)
        network.clearLog()
        for node in stride(from: 3, to: 200, by: 10) { network.kill(node) }
        let time = network.run(atMost: .seconds(3)) { $0.agrees }
        #expect(time != nil)
        let dead = Set(stride(from: 3, to: 200, by: 10).map { TinyNetwork.id($0) })
        for line in network.log {
            switch line.notice {
            case .suspect(let id, _), .failed(let id, _): #expect(dead.contains(id), "\(line)")
            default: break
            }
        }
    }

    @Test("heartbeats are rarer in larger clusters: 100 ms to 16 nodes, 200 ms to 64, then 400 ms")
    func intervals() {
        for (count, expected) in [(16, 100), (17, 200), (64, 200), (65, 400)] {
            var network = TinyNetwork(nodes: count)
            network.run(for: .milliseconds(600))
            #expect(network.nodes[0].core.interval == Int64(expected) * 1_000_000)
            #expect(network.nodes[0].core.links.count { $0.isWatched } <= (count <= 16 ? 15 : 10))
        }
    }

    @Test("each second one random member that is not watched is probed; three silences make an edge, an answer none")
    func randomProbe() {
        var z = OneCore(knowing: (0..<40).map { TinyNetwork.record($0) })
        z.advance(by: .milliseconds(100))
        var asked: [NodeID: Int] = [:]
        func collect() {
            for one in z.sent {
                guard case .ping(let nonce, _) = one.message, nonce != 0,
                    !z.core.links.contains(where: { $0.peer == one.to && !$0.isBackstop })
                else { continue }
                asked[one.to, default: 0] += 1
                if asked.count == 1, asked[one.to] == 2 {
                    // The first one answers at its second probe.
                    z.handle(
                        .received(
                            .pong(nonce: nonce, sender: OneCore.version(1, 0)), from: one.to, path: one.via,
                            stamp: z.now))
                }
            }
            z.forgetLog()
        }
        z.forgetLog()
        for _ in 0..<80 where asked.count < 2 || !z.core.links.contains(where: \.isBackstop) {
            z.advance(by: .milliseconds(100))
            collect()
        }
        let opened = z.core.links.filter(\.isBackstop).map(\.peer)
        #expect(opened.count == 1 && asked[opened[0]] == 3)
        #expect(asked.values.sorted() == [1, 2, 3], "the next one is asked already")
    }

    @Test("a node that none of its observers can see is found by the random probe, and no living one is")
    func backstop() {
        var network = TinyNetwork(nodes: 40)
        network.run(for: .seconds(12))
        let observers = network.nodes[0].core.links.filter(\.isWatched).map { network.number(of: $0.peer) }
        network.clearLog()
        // The node and all who watch it die at once: nobody is left who ever had an edge to it.
        network.kill(0)
        for observer in observers { network.kill(observer) }
        let time = network.run(atMost: .seconds(40)) { $0.agrees }
        #expect(time != nil, "\(network.running.filter { network.rank(of: 0, at: $0) != .failed })")
        let dead = Set(([0] + observers).map { TinyNetwork.id($0) })
        for line in network.failures() {
            if case .failed(let id, _) = line.notice { #expect(dead.contains(id)) }
        }
    }
}
