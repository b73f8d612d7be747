import Primitives
import Testing

@testable import Replication

@Suite struct ReplicatorTests {
    @Test("what is written on one node is on all at once, and each acknowledges it")
    func push() {
        let three = TinyReplicas(3)
        let ticket = three.write("a", at: 0, .majority)
        #expect(three.areEqual)
        #expect(three.nodes[0].answers[ticket] == WriteConfirmation(reached: .majority, note: nil))
    }

    @Test("a write is not acknowledged before it is synced, here and there")
    func syncFirst() {
        let two = TinyReplicas(2)
        two.nodes.forEach { $0.syncsByItself = false }
        let local = two.write("a", at: 0, .local)
        let one = two.write("b", at: 0, .one)
        #expect(two.nodes[1].state == ["a", "b"])
        #expect(two.nodes[0].answers.isEmpty)
        two.sync(0)
        #expect(two.nodes[0].answers[local]?.reached == .local)
        #expect(two.nodes[0].answers[one] == nil)
        two.sync(1)
        two.settle()
        #expect(two.nodes[0].answers[one] == WriteConfirmation(reached: .one, note: nil))
    }

    @Test("a node alone answers at once, and says that it is alone; also when the other goes while a write waits")
    func alone() {
        let two = TinyReplicas(2)
        two.nodes[1].syncsByItself = false
        let first = two.write("a", at: 0, .one)
        #expect(two.nodes[0].answers[first] == nil)
        two.cut(0, 1)
        #expect(two.nodes[0].answers[first] == WriteConfirmation(reached: .local, note: .alone))
        let second = two.write("b", at: 0, .one)
        #expect(two.nodes[0].answers[second] == WriteConfirmation(reached: .local, note: .alone))
    }

    @Test("a minority says that there is no majority, and what it reached instead")
    func minority() {
        let five = TinyReplicas(5)
        for side in [0, 1] { for other in 2..<5 { five.cut(side, other) } }
        let ticket = five.write("a", at: 0, .majority)
        #expect(five.nodes[0].answers[ticket] == WriteConfirmation(reached: .one, note: .noMajority))
    }

    @Test("a write nobody confirms in five seconds is answered as what it is")
    func unconfirmed() {
        let two = TinyReplicas(2)
        two.nodes[1].syncsByItself = false
        let ticket = two.write("a", at: 0, .one)
        two.pass(.seconds(4))
        #expect(two.nodes[0].answers[ticket] == nil)
        two.pass(.seconds(2))
        #expect(two.nodes[0].answers[ticket] == WriteConfirmation(reached: .local, note: .notConfirmed))
    }

    @Test("a lost push is pulled when the next one shows the gap, and nothing is applied out of order")
    func gap() {
        let two = TinyReplicas(2)
        two.dropsRecords = 1
        two.write("a", at: 0)
        two.write("b", at: 0)
        two.write("c", at: 0)
        #expect(two.nodes[1].state.isEmpty)
        two.pass(.milliseconds(300))
        #expect(two.areEqual)
    }

    @Test("a lost last push is found by the hash in heartbeats")
    func lostTail() {
        let two = TinyReplicas(2)
        two.dropsRecords = 1
        two.write("a", at: 0)
        two.pass(.seconds(1))
        two.compare()
        #expect(two.areEqual)
    }

    @Test("two sides of a partition that both wrote are equal after they meet")
    func partition() {
        let four = TinyReplicas(4)
        for a in [0, 1] { for b in [2, 3] { four.cut(a, b) } }
        for number in 0..<500 { four.write("left \(number)", at: number % 2) }
        for number in 0..<500 { four.write("right \(number)", at: 2 + number % 2) }
        #expect(!four.areEqual)
        four.heal()
        four.pass(.seconds(2))
        #expect(four.areEqual)
        #expect(four.nodes[0].state.count == 1000)
    }

    @Test("in a large cluster records are passed on, each once a link, and duplicates do nothing")
    func flooding() {
        let ring = TinyReplicas(20)
        ring.meet(watching: { a, b in [1, 2, 18, 19].contains((b - a + 20) % 20) })
        ring.sentRecords = 0
        let ticket = ring.write("a", at: 3, .majority)
        #expect(ring.areEqual)
        #expect(ring.sentRecords <= 20 * 4)
        // Acknowledgements of those it does not talk to come by others.
        ring.pass(.seconds(4))
        #expect(ring.nodes[3].answers[ticket]?.reached == .majority)
    }

    @Test("records that everybody has are dropped from the log, and not while somebody is away")
    func retention() {
        let three = TinyReplicas(3)
        for number in 0..<10 { three.write("early \(number)", at: number % 3) }
        three.pass(.seconds(3))
        #expect(three.nodes.map(\.logCount) == [0, 0, 0])
        three.cut(0, 2)
        three.cut(1, 2)
        for number in 0..<10 { three.write("late \(number)", at: number % 2) }
        three.pass(.seconds(60))
        #expect(three.nodes[0].logCount == 10)
        #expect(!three.nodes[0].collected.covers(three.nodes[0].vector))
        three.heal()
        three.pass(.seconds(3))
        #expect(three.areEqual)
        #expect(three.nodes[0].logCount == 0)
        #expect(three.nodes[0].collected == three.nodes[0].vector)
    }

    @Test("tombstones are not collected while a member has not acknowledged, nor while members disagree who is one")
    func stability() {
        let three = TinyReplicas(3)
        three.nodes[2].syncsByItself = false
        three.write("a", at: 0)
        three.pass(.seconds(5))
        #expect(three.nodes[0].replicator.stable.isEmpty)
        three.sync(2)
        three.pass(.seconds(5))
        #expect(three.nodes[0].replicator.stable == three.nodes[0].vector)
        // Node 1 hears of a fourth member; nodes 0 and 2 do not.
        three.add()
        let one = three.nodes[1]
        _ = one.replicator.peersChanged(
            members: three.nodes.map(\.id), reachable: [three.nodes[0].id, three.nodes[2].id], now: three.now,
            wall: one.wall)
        three.write("b", at: 0)
        three.pass(.seconds(3))
        #expect(three.nodes[0].replicator.stable.isEmpty)
    }

    @Test("a standing counts only once we have all that its node had")
    func covered() {
        let two = TinyReplicas(2)
        two.write("a", at: 0)
        two.pass(.seconds(2))
        let other = Origin(rawValue: 999)
        var ahead = two.nodes[1].vector
        ahead.advance(two.nodes[0].origin, to: 1)
        ahead.advance(other, to: 7)
        two.dropsRecords = .max
        two.inject(
            .standings(
                [two.standing(of: 1) { $0.synced = ahead }], epoch: .first, wall: 0), from: 1, to: 0)
        two.write("b", at: 0)
        #expect(two.nodes[0].replicator.stable[two.nodes[0].origin] == 1)
    }

    @Test("what a node sent and lost with its power is not taken from where it waited for what came before it")
    func earlyOfPastLife() {
        let two = TinyReplicas(2)
        two.dropsRecords = 1
        two.write("kept", at: 0)
        two.write("lost", at: 0)
        #expect(two.nodes[1].state.isEmpty)
        two.restart(0, losing: 1)
        two.pass(.seconds(2))
        #expect(two.nodes[1].state == ["kept"] && two.areEqual)
        // Nor what of it was on its way all the time.
        let past = two.nodes[0].origin.rawValue - 1
        let late = LogRecord(
            origin: Origin(rawValue: past), sequence: 2, time: HybridTime(milliseconds: two.nodes[0].wall),
            body: Array("late".utf8))
        two.inject(.records([late], epoch: .first, answer: nil), from: 0, to: 1)
        #expect(two.nodes[1].state == ["kept"])
    }

    @Test("what was lost with the power of its writer comes back from whoever has it in its database")
    func keptElsewhere() {
        let three = TinyReplicas(3)
        three.write("a", at: 0)
        three.restart(0, losing: 1)
        three.pass(.seconds(2))
        #expect(three.areEqual && three.nodes[0].state == ["a"])
    }

    @Test("nothing is forgotten until every member has heard that one of them began another life")
    func livesAgree() {
        let three = TinyReplicas(3)
        three.write("a", at: 0)
        three.pass(.seconds(3))
        #expect(three.nodes.allSatisfy { $0.replicator.stable == $0.vector })
        three.cut(0, 2)
        three.cut(1, 2)
        three.restart(0)
        three.cut(0, 2)
        three.pass(.seconds(5))
        #expect(three.nodes[0].replicator.stable.isEmpty && three.nodes[1].replicator.stable.isEmpty)
        three.heal()
        three.pass(.seconds(3))
        #expect(three.nodes.allSatisfy { $0.replicator.stable == $0.vector })
    }

    @Test("a node that lost its clock with its database is told how far it was, and is believed again")
    func lostClock() {
        let two = TinyReplicas(2)
        two.write("a", at: 0)
        two.restart(0)
        two.pass(.seconds(3))
        two.nodes[0].wall = 0
        two.restart(0)
        two.pass(.seconds(12))
        #expect(two.nodes[1].replicator.stable == two.nodes[1].vector)
        #expect(two.nodes[1].replicator.standings[two.nodes[0].id]?.life.origin == two.nodes[0].origin)
    }

    @Test("a new node whose first questions were lost is complete all the same, also when nobody writes any more")
    func joinsWithoutStates() {
        let three = TinyReplicas(2)
        three.write("before", at: 0)
        three.add()
        three.dropsStates = .max
        three.meet()
        // The gap shows in the push, and is pulled: it has all, and does not know it.
        three.write("after", at: 0)
        three.pass(.milliseconds(300))
        #expect(three.nodes[2].replicator.isJoining)
        three.dropsStates = 0
        three.pass(.seconds(3))
        #expect(three.areEqual)
        #expect(!three.nodes[2].replicator.isJoining)
        #expect(three.nodes[2].notices == [.complete])
    }

    @Test("a new node whose log was trimmed elsewhere gets a snapshot and then the tail, while others write")
    func snapshot() {
        let three = TinyReplicas(3)
        for number in 0..<200 { three.write("early \(number)", at: number % 3) }
        three.pass(.seconds(3))
        #expect(three.nodes[0].logCount == 0)
        three.add()
        three.meet()
        #expect(three.nodes[3].replicator.isJoining || three.areEqual)
        for number in 0..<20 {
            three.write("meanwhile \(number)", at: number % 3)
            three.pass(.milliseconds(100))
        }
        three.pass(.seconds(2))
        #expect(three.areEqual)
        #expect(!three.nodes[3].replicator.isJoining)
        #expect(three.nodes[3].replicator.counters.snapshotsFetched == 1)
    }

    @Test("two that were alone from their first start, each with a database of its own, become equal once they meet")
    func apart() {
        let two = TinyReplicas(0)
        for node in 0..<2 {
            two.add()
            two.meet(members: [node])
        }
        two.pass(.seconds(5))
        for node in 0..<2 {
            #expect(!two.nodes[node].replicator.isJoining)
            two.write("by \(node)", at: node)
        }
        // Long enough for who is alone to keep house.
        two.pass(.seconds(5))
        #expect(two.nodes.allSatisfy { $0.logCount == 1 && $0.collected.isEmpty })
        two.meet()
        two.pass(.seconds(5))
        #expect(two.areEqual)
        #expect(two.nodes[0].state.count == 2)
        #expect(two.nodes.allSatisfy { $0.replicator.counters.snapshotsFetched == 0 })
        // Now that both have it, it can go.
        #expect(two.nodes.allSatisfy { $0.logCount == 0 })
    }

    @Test("two groups that each were a cluster, and have dropped what the other never had, become equal once they meet")
    func groupsApart() {
        let four = TinyReplicas(0)
        for _ in 0..<4 { four.add() }
        let groups = [[0, 1], [2, 3]]
        for group in groups { four.meet(members: group) }
        four.pass(.seconds(5))
        for node in 0..<4 { four.write("by \(node)", at: node) }
        four.pass(.seconds(5))
        #expect(four.nodes.allSatisfy { $0.logCount == 0 && $0.state.count == 2 })
        four.meet()
        four.pass(.seconds(10))
        #expect(four.areEqual)
        #expect(four.nodes.allSatisfy { $0.state.count == 4 })
        #expect(four.nodes.contains { $0.absorbed > 0 })
    }

    @Test("who stays alone keeps no more of its log than is allowed")
    func aloneForLong() {
        var config = ReplicatorConfig()
        config.logBytes = 1_600
        let one = TinyReplicas(1, config: config)
        one.pass(.seconds(5))
        for number in 0..<300 {
            one.write("number \(number)", at: 0)
            one.pass(.milliseconds(100))
        }
        one.pass(.seconds(5))
        #expect((1..<300).contains(one.nodes[0].logCount))
    }

    @Test("a snapshot goes on where it stopped when the stream breaks, and with another peer when that one is gone")
    func resume() {
        let three = TinyReplicas(3)
        for number in 0..<2000 { three.write("a long text, number \(number)", at: 0) }
        three.pass(.seconds(3))
        three.add()
        three.cut(0, 3)
        three.cut(1, 3)
        three.cut(2, 3)
        // The first chunks, then silence.
        three.heal()
        three.pass(.seconds(20))
        #expect(three.areEqual)
    }

    /// A new node that was offered a copy of so many bytes, with the first chunk asked for.
    private func fetching(_ size: UInt64, at now: Instant) -> (Replicator, giver: NodeID) {
        let giver = NodeID(high: 0, low: 2)
        var new = Replicator(
            id: NodeID(high: 0, low: 1), origin: Origin(rawValue: 1), epoch: .first, vector: VersionVector(),
            newest: .zero,
            isFresh: true, chance: SeededGenerator(seed: 1), now: now, wall: 1_000)
        _ = new.peersChanged(members: [giver], reachable: [giver], now: now, wall: 1_000)
        let (other, known) = (Origin(rawValue: 7), VersionVector([Origin(rawValue: 7): 9]))
        _ = new.received(
            .state(ReplicaState(epoch: .first, origin: other, vector: known, wall: 1_000), wantsReply: false),
            from: giver,
            now: now, wall: 1_000)
        let answer = PullAnswer(number: 1, isBelowFloor: true)
        #expect(
            new.received(.records([], epoch: .first, answer: answer), from: giver, now: now, wall: 1_000)
                == [.send(.wantSnapshot(vector: VersionVector(), epoch: .first, resuming: 0), to: giver)])
        let offer = SnapshotOffer(number: 5, epoch: .first, vector: known, size: size, checksum: 1)
        _ = new.received(.offer(offer), from: giver, now: now, wall: 1_000)
        #expect(asked(new.snapshotBegan(at: 0, now: now, wall: 1_000)) == [0])
        return (new, giver)
    }
    /// The offsets of the chunks that are asked for.
    private func asked(_ effects: [Replicator.Effect]) -> [UInt64] {
        effects.compactMap { if case .send(.wantChunk(_, let offset, _), _) = $0 { offset } else { nil } }
    }

    @Test(
        "after each chunk of a copy the link rests for as long as it took, half a second at most; a quick one does not rest"
    )
    func rateBound() {
        let chunk = [UInt8](repeating: 1, count: 1_000)
        let start = Instant(sinceBoot: .seconds(100))
        var (new, giver) = fetching(10_000, at: start)
        // 300 ms for the first: as long nothing is asked for.
        var now = start + .milliseconds(300)
        #expect(
            asked(new.received(.chunk(snapshot: 5, offset: 0, bytes: chunk), from: giver, now: now, wall: 1_000)) == [])
        #expect(asked(new.tick(logBytes: 0, now: now + .milliseconds(290), wall: 1_000)) == [])
        now = now + .milliseconds(300)
        #expect(asked(new.tick(logBytes: 0, now: now, wall: 1_000)) == [1_000])
        // Two seconds for the next: half a second of rest.
        now = now + .seconds(2)
        #expect(
            asked(new.received(.chunk(snapshot: 5, offset: 1_000, bytes: chunk), from: giver, now: now, wall: 1_000))
                == [])
        now = now + .milliseconds(500)
        #expect(asked(new.tick(logBytes: 0, now: now, wall: 1_000)) == [2_000])
        now = now + .milliseconds(5)
        #expect(
            asked(new.received(.chunk(snapshot: 5, offset: 2_000, bytes: chunk), from: giver, now: now, wall: 1_000))
                == [3_000])
        // One that nobody asked for changes nothing.
        #expect(
            new.received(.chunk(snapshot: 5, offset: 9_000, bytes: chunk), from: giver, now: now, wall: 1_000).isEmpty)
        #expect(
            new.received(.chunk(snapshot: 6, offset: 3_000, bytes: chunk), from: giver, now: now, wall: 1_000).isEmpty)
    }

    @Test("a copy goes on at the byte where the stream broke when its giver is back, and is installed once it is whole")
    func resumes() {
        let chunk = [UInt8](repeating: 1, count: 1_000)
        var now = Instant(sinceBoot: .seconds(100))
        var (new, giver) = fetching(3_000, at: now)
        #expect(
            asked(new.received(.chunk(snapshot: 5, offset: 0, bytes: chunk), from: giver, now: now, wall: 1_000)) == [
                1_000
            ])
        _ = new.peersChanged(members: [giver], reachable: [], now: now, wall: 1_000)
        now = now + .seconds(4)
        #expect(asked(new.tick(logBytes: 0, now: now, wall: 1_000)) == [])
        _ = new.peersChanged(members: [giver], reachable: [giver], now: now, wall: 1_000)
        now = now + .seconds(1)
        #expect(asked(new.tick(logBytes: 0, now: now, wall: 1_000)) == [1_000])
        #expect(
            asked(new.received(.chunk(snapshot: 5, offset: 1_000, bytes: chunk), from: giver, now: now, wall: 1_000))
                .count <= 1)
        now = now + .seconds(2)
        _ = new.tick(logBytes: 0, now: now, wall: 1_000)
        let end = new.received(.chunk(snapshot: 5, offset: 2_000, bytes: chunk), from: giver, now: now, wall: 1_000)
        let last = end + new.tick(logBytes: 0, now: now + .seconds(1), wall: 1_000)
        #expect(last.contains { if case .install(let offer, _) = $0 { offer.number == 5 } else { false } })
    }

    @Test("a snapshot whose giver is gone is got from another one after five seconds, not after fifteen")
    func giverGone() {
        let three = TinyReplicas(3)
        for number in 0..<200 { three.write("early \(number)", at: 0) }
        three.pass(.seconds(3))
        three.add()
        three.dropsChunks = .max
        three.meet()
        three.pass(.milliseconds(500))
        guard case .fetching(let progress) = three.nodes[3].replicator.fetch else {
            Issue.record("it does not fetch: \(three.nodes[3].replicator.fetch)")
            return
        }
        three.dropsChunks = 0
        three.cut(Int(progress.peer.low) - 1, 3)
        three.pass(.seconds(4))
        #expect(three.nodes[3].replicator.isJoining)
        three.pass(.seconds(3))
        #expect(three.areEqual && !three.nodes[3].replicator.isJoining)
    }

    @Test("our own records that others know and we do not make us write under another origin")
    func burntOrigin() {
        let two = TinyReplicas(2)
        two.write("a", at: 0)
        let old = two.nodes[0].origin
        two.inject(
            .records(
                [
                    LogRecord(
                        origin: old, sequence: 2, time: HybridTime(milliseconds: two.nodes[0].wall + 50), body: [65])
                ],
                epoch: .first, answer: nil), from: 1, to: 0)
        #expect(two.nodes[0].origin != old)
        #expect(two.nodes[0].state == ["a", "A"])
        two.write("b", at: 0)
        #expect(two.nodes[0].vector[old] == 2)
    }

    @Test("a node with a clock ten years ahead stamps with the cluster's time while it hears it")
    func wrongClock() {
        let three = TinyReplicas(3)
        three.pass(.seconds(12))
        three.nodes[1].wall += 10 * 365 * 86_400_000
        three.pass(.seconds(12))
        three.write("a", at: 1)
        #expect(three.areEqual)
        #expect(three.nodes[0].replicator.newest.milliseconds < three.nodes[0].wall + 60_000)
    }

    @Test("what came from the future is held, does not hold up others, and is taken when an operator says so")
    func future() {
        let three = TinyReplicas(3)
        three.pass(.seconds(12))
        three.cut(0, 1)
        three.cut(1, 2)
        three.nodes[1].wall += 10 * 365 * 86_400_000
        three.write("from 2036", at: 1)
        three.nodes[1].wall -= 10 * 365 * 86_400_000
        three.heal()
        three.write("now", at: 2)
        three.pass(.seconds(5))
        #expect(three.nodes[0].state == ["now"])
        #expect(three.nodes[0].replicator.held.count == 1)
        #expect(three.nodes[0].replicator.counters.futureRecords >= 1)
        for index in [0, 2] {
            let node = three.nodes[index]
            for origin in node.replicator.held.keys {
                _ = node.replicator.release(origin, now: three.now, wall: node.wall)
            }
        }
        three.pass(.seconds(5))
        three.compare()
        three.pass(.seconds(5))
        #expect(three.areEqual)
    }

    @Test("a restored database replaces all others, and what they had cannot mix back in")
    func epoch() {
        let three = TinyReplicas(3)
        for number in 0..<5 { three.write("old \(number)", at: number % 3) }
        let node = three.nodes[0]
        node.epoch = DatabaseEpoch(since: HybridTime(milliseconds: node.wall), number: 7)
        node.state = ["restored"]
        node.origin = Origin(rawValue: 555)
        node.vector = VersionVector([node.origin: 1])
        node.floor = node.vector
        node.log = [:]
        let effects = node.replicator.restored(
            origin: node.origin, epoch: node.epoch, vector: node.vector, newest: .zero, now: three.now, wall: node.wall)
        for case .send(let message, let peer) in effects { three.inject(message, from: 0, to: Int(peer.low) - 1) }
        three.pass(.seconds(3))
        #expect(three.nodes.allSatisfy { $0.state == ["restored"] && $0.epoch == node.epoch })
        three.write("new", at: 2)
        #expect(three.areEqual)
    }

    @Test("a full disk stops nothing but itself, and catches up afterwards")
    func diskFull() {
        let three = TinyReplicas(3)
        three.nodes[2].isDiskFull = true
        for number in 0..<10 { three.write("a \(number)", at: 0, .one) }
        #expect(three.nodes[0].answers.values.allSatisfy { $0.reached == .one })
        three.pass(.seconds(5))
        #expect(three.nodes[2].state.isEmpty)
        three.nodes[2].isDiskFull = false
        three.pass(.seconds(5))
        #expect(three.areEqual)
    }

    @Test(
        "a record that cannot be read is asked for ever more seldom, holds up no other origin, and is taken after an update"
    )
    func unreadable() throws {
        let three = TinyReplicas(3)
        three.nodes[2].cannotRead = "new"
        three.write("new", at: 0)
        three.write("after it", at: 0)
        for number in 0..<20 {
            three.write("b \(number)", at: 1)
            three.pass(.seconds(60))
        }
        let node = three.nodes[2]
        #expect(node.state == Set((0..<20).map { "b \($0)" }))
        // At first after 2 s, then 4, 8 … and every ten minutes: not six hundred times in these twenty minutes.
        #expect(node.readings >= 3 && node.readings < 16, "asked \(node.readings) times")
        let origin = three.nodes[0].origin
        #expect(node.notices.filter { $0 == .unreadable(origin, 1) }.count == 1)
        #expect(node.replicator.unreadable.keys.sorted() == [origin])
        node.cannotRead = nil
        three.pass(.seconds(700))
        #expect(three.areEqual)
        #expect(node.replicator.unreadable.isEmpty)
    }

    @Test("gaps in an answer, times that go back, and strangers are refused and counted")
    func nonsense() {
        let two = TinyReplicas(2)
        two.write("a", at: 1)
        let origin = two.nodes[1].origin
        let back = LogRecord(origin: origin, sequence: 2, time: HybridTime(milliseconds: 5), body: [66])
        two.inject(.records([back], epoch: .first, answer: nil), from: 1, to: 0)
        #expect(two.nodes[0].replicator.counters.refusedRecords == 1)
        #expect(two.nodes[0].state == ["a"])
        let far = LogRecord(
            origin: origin, sequence: 9, time: HybridTime(milliseconds: two.nodes[1].wall + 1), body: [67])
        two.inject(
            .records([far], epoch: .first, answer: PullAnswer(number: 77, isBelowFloor: false)), from: 1, to: 0)
        #expect(two.nodes[0].replicator.counters.refusedRecords == 2)
        let stranger = NodeID(high: 9, low: 9)
        #expect(two.nodes[0].replicator.received(.noSnapshot, from: stranger, now: two.now, wall: 0) == [])
        #expect(two.nodes[0].replicator.counters.refusedMessages == 1)
    }

    @Test("a long log is cut where a majority has it, and never where it has not")
    func longLog() {
        var config = ReplicatorConfig()
        config.logBytes = 10_000
        let three = TinyReplicas(3, config: config)
        three.cut(0, 2)
        three.cut(1, 2)
        let text = String(repeating: "x", count: 200)
        for number in 0..<100 {
            three.write("\(text) \(number)", at: 0)
            three.write("\(text) alone \(number)", at: 2)
            three.pass(.milliseconds(500))
        }
        #expect(three.nodes[0].logBytes < 14_000)
        #expect(three.nodes[2].logCount == 100)
        three.heal()
        three.pass(.seconds(10))
        #expect(three.areEqual)
        #expect(three.nodes[2].state.count == 200)
    }

    // MARK: What a new node cannot take

    @Test(
        "a new node that meets a record it cannot read is a member all the same, says what it lacks, and gets it after an update"
    )
    func joinsWithUnreadable() throws {
        // One is away, so that the others keep their logs: the new one joins by log, not by a whole copy.
        let four = TinyReplicas(3)
        four.cut(0, 2)
        four.cut(1, 2)
        for number in 0..<5 { four.write("early \(number)", at: 0) }
        four.write("new format", at: 0)
        four.write("after it", at: 0)
        for number in 0..<5 { four.write("other \(number)", at: 1) }
        four.add()
        let node = four.nodes[3]
        node.cannotRead = "new format"
        four.cuts.insert([2, 3])
        four.meet()
        four.pass(.seconds(3))
        let origin = four.nodes[0].origin
        #expect(node.replicator.counters.snapshotsFetched == 0)
        #expect(!node.replicator.isJoining)
        #expect(node.state == Set((0..<5).flatMap { ["early \($0)", "other \($0)"] }))
        #expect(node.replicator.quarantined == [origin])
        #expect(node.notices == [.unreadable(origin, 6), .completeExcept([origin])])
        #expect(node.replicator.counters.refusedRecords >= 1)
        // It is one that others can rely on.
        #expect(four.write("mine", at: 3, .one) == 1)
        #expect(node.answers[1] == WriteConfirmation(reached: .one, note: nil))
        // Nothing is forgotten meanwhile that it lacks.
        #expect(four.nodes[0].replicator.stable[origin] <= 5)
        node.cannotRead = nil
        four.heal()
        four.pass(.seconds(10))
        #expect(four.areEqual)
        #expect(node.replicator.quarantined.isEmpty)
    }

    @Test("the same by a whole copy: what is written meanwhile and cannot be read does not keep it new")
    func copiesWithUnreadable() {
        let three = TinyReplicas(3)
        for number in 0..<50 { three.write("early \(number)", at: number % 3) }
        three.pass(.seconds(3))
        three.add()
        let node = three.nodes[3]
        node.cannotRead = "new format"
        three.meet()
        three.write("new format", at: 0)
        for _ in 0..<30 {
            three.write("more", at: 0)
            three.pass(.milliseconds(100))
        }
        #expect(!node.replicator.isJoining)
    }

    @Test("a new node that meets a record from the future is a member all the same, and takes what came before it")
    func joinsWithHeld() {
        let four = TinyReplicas(3)
        four.pass(.seconds(12))
        four.cut(0, 1)
        four.cut(1, 2)
        four.write("right", at: 1)
        four.nodes[1].wall += 10 * 365 * 86_400_000
        four.write("from 2036", at: 1)
        four.nodes[1].wall -= 10 * 365 * 86_400_000
        for number in 0..<3 { four.write("other \(number)", at: 0) }
        four.add()
        // It meets the one that wrote it alone.
        four.cuts = [[0, 3], [2, 3], [0, 1], [1, 2]]
        four.meet()
        four.pass(.seconds(5))
        let node = four.nodes[3]
        #expect(!node.replicator.isJoining)
        #expect(node.state == ["right"])
        #expect(node.notices.contains(.completeExcept([four.nodes[1].origin])))
        four.heal()
        four.pass(.seconds(5))
        #expect(node.state == ["right", "other 0", "other 1", "other 2"])
    }

    @Test("a new node whose clock begins in 1970 holds nothing back: it has nothing to compare it with")
    func joinsFrom1970() {
        let two = TinyReplicas(1)
        for number in 0..<5 { two.write("a \(number)", at: 0) }
        two.add()
        two.nodes[1].wall = 5_000
        two.meet()
        two.pass(.seconds(3))
        #expect(two.areEqual)
        #expect(two.nodes[1].notices == [.complete])
    }

    @Test("a record from the future that comes before others that were lost does not hold those up")
    func heldAfterGap() {
        let two = TinyReplicas(2)
        two.pass(.seconds(12))
        two.dropsRecords = 2
        two.write("lost 1", at: 0)
        two.write("lost 2", at: 0)
        two.cut(0, 1)
        two.nodes[0].wall += 10 * 365 * 86_400_000
        two.write("from 2036", at: 0)
        two.nodes[0].wall -= 10 * 365 * 86_400_000
        let late = two.nodes[0].log[two.nodes[0].origin]!.last!
        two.heal()
        two.inject(.records([late], epoch: .first, answer: nil), from: 0, to: 1)
        two.pass(.seconds(5))
        two.compare()
        two.pass(.seconds(5))
        #expect(two.nodes[1].state == ["lost 1", "lost 2"])
        #expect(two.nodes[1].replicator.held[two.nodes[0].origin]?.sequence == 3)
    }

    // MARK: Who is waited for

    @Test("a push says whether somebody waits: for `one` and `majority`, not for `local`, nor once all are answered")
    func awaited() {
        let two = TinyReplicas(2)
        two.nodes.forEach { $0.syncsByItself = false }
        two.write("a", at: 0, .local)
        #expect(two.pushes == [false])
        two.write("b", at: 0, .one)
        two.write("c", at: 0, .local)
        // Both wait behind the same sync of the other.
        #expect(two.pushes == [false, true, true])
        two.sync(0)
        two.sync(1)
        two.settle()
        #expect(two.nodes[0].answers.count == 3)
        two.write("d", at: 0, .local)
        #expect(two.pushes == [false, true, true, false])
        two.write("e", at: 0, .majority)
        #expect(two.pushes.last == true)
    }

    @Test("of what nobody waits for the first goes at once, the next ones together; what is awaited takes them along")
    func pushesShare() {
        let two = TinyReplicas(2, pushInterval: .milliseconds(1))
        two.nodes.forEach { $0.syncsByItself = false }
        two.write("a", at: 0, .local)
        #expect(two.pushes == [false] && two.areEqual)
        for text in ["b", "c", "d"] { two.write(text, at: 0, .local) }
        #expect(two.pushes == [false])
        #expect(two.nodes[0].replicator.pushDue == two.now + .milliseconds(1))
        two.now = two.now + .milliseconds(1)
        two.flush(0)
        #expect(two.pushes == [false, false] && two.areEqual)
        #expect(two.nodes[0].replicator.pushDue == nil)
        two.write("e", at: 0, .local)
        two.write("f", at: 0, .one)
        #expect(two.pushes == [false, false, true] && two.areEqual)
    }

    @Test("in a large cluster, where records are passed on, all count as awaited")
    func awaitedByOthers() {
        let ring = TinyReplicas(20)
        ring.meet(watching: { a, b in [1, 2, 18, 19].contains((b - a + 20) % 20) })
        ring.write("a", at: 3, .local)
        #expect(ring.areEqual)
        #expect(!ring.pushes.isEmpty && ring.pushes.allSatisfy { $0 })
    }
}
