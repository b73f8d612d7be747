import Primitives
import Testing

@testable import Membership

// Scenarios that other implementations test (hashicorp/memberlist, its Rust port, foca), by behaviour.
@Suite("what is believed of a member, and what is not")
struct MemberStateTests {
    private typealias Core = OneCore

    // MARK: alive

    @Test("a node that nobody knew joins once, and the news goes on to the others")
    func newNode() {
        var z = OneCore()
        z.meet("a")
        z.forgetLog()
        z.updates(Core.update("b", .alive, 3), from: "a")
        #expect(z.notices == [.joined(Core.id("b"))])
        #expect(z.rank("b") == .alive && z.version("b") == Core.version(1, 3))
        z.updates(Core.update("b", .alive, 3), from: "a")
        z.updates(Core.update("b", .alive, 2), from: "a")
        #expect(z.notices.count == 1 && z.version("b") == Core.version(1, 3))
        #expect(z.updates(to: "a").isEmpty, "whoever told it need not hear it back")
    }

    @Test("news is passed on once to everybody else")
    func passedOn() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.forgetLog()
        for _ in 0..<5 { z.updates(Core.update("c", .alive, 0), from: "a") }
        #expect(z.updates(to: "b").filter { $0.id == Core.id("c") }.count == 1)
    }

    @Test("a changed profile is told once and replaces the addresses")
    func changedProfile() {
        var z = OneCore()
        z.meet("a")
        z.forgetLog()
        let moved = Core.profile("a", addresses: [Core.endpoint("a", host: 9)])
        z.updates(Core.update("a", .alive, 1, profile: moved), from: "a")
        #expect(z.notices == [.profileChanged(Core.id("a"))])
        #expect(z.core.record(of: Core.id("a"))?.profile == moved)
        z.updates(Core.update("a", .alive, 0), from: "a")
        #expect(z.core.record(of: Core.id("a"))?.profile == moved, "an older telling does not undo it")
    }

    @Test("a stranger's messages are not listened to, nor those in our own name")
    func strangers() {
        var z = OneCore()
        z.updates(Core.update("b", .alive, 0), from: "x")
        z.receive(.ping(nonce: 1, sender: Core.version(1, 0)), from: "x")
        z.beat("z")
        #expect(z.notices.isEmpty && z.sent.isEmpty && z.rank("b") == nil)
    }

    // MARK: failed

    @Test("alive 1, failed 1, failed 10, then a late alive 2 does not bring it back")
    func noResurrection() {
        var z = OneCore()
        z.meet("a")
        for update in [
            Core.update("b", .alive, 1), Core.update("b", .failed, 1), Core.update("b", .failed, 10),
            Core.update("b", .alive, 2),
        ] { z.updates(update, from: "a") }
        #expect(z.rank("b") == .failed && z.version("b") == Core.version(1, 10))
        z.updates(Core.update("b", .alive, 11), from: "a")
        #expect(z.rank("b") == .alive)
    }

    @Test("with the planted bug it does come back: the test above can fail")
    func plantedResurrection() {
        var config = MembershipConfig()
        config.plantedBug = .incarnationNotMonotone
        var z = OneCore(config: config)
        z.meet("a")
        for update in [
            Core.update("b", .alive, 1), Core.update("b", .failed, 1), Core.update("b", .failed, 10),
            Core.update("b", .alive, 2),
        ] { z.updates(update, from: "a") }
        #expect(z.rank("b") == .alive)
    }

    @Test("a failure told twice, or told of an older incarnation, changes nothing")
    func doubleAndOld() {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("b", .alive, 5), from: "a")
        z.updates(Core.update("b", .failed, 4), from: "a")
        #expect(z.rank("b") == .alive && z.failed.isEmpty)
        z.updates(Core.update("b", .failed, 5), from: "a")
        z.updates(Core.update("b", .failed, 5), from: "a")
        #expect(z.rank("b") == .failed && z.failed == [Core.id("b")])
    }

    @Test("the same alive again does not revive a failed member; its next incarnation does")
    func aliveReplay() {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("b", .alive, 2), Core.update("b", .failed, 2), Core.update("b", .alive, 2), from: "a")
        #expect(z.rank("b") == .failed)
        z.updates(Core.update("b", .alive, 3), from: "a")
        #expect(z.rank("b") == .alive && z.notices.contains(.alive(Core.id("b"), after: .failed)))
    }

    @Test("a new life is accepted whatever was held of the old one", arguments: [MemberRank.alive, .failed, .left])
    func newGeneration(rank: MemberRank) {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("b", .alive, 9), from: "a")
        if rank != .alive { z.updates(Core.update("b", rank, 12), from: "a") }
        z.forgetLog()
        z.updates(Core.update("b", .alive, 0, generation: 2), from: "a")
        #expect(z.rank("b") == .alive && z.version("b") == Core.version(2, 0))
        #expect(z.notices == [rank == .alive ? .restarted(Core.id("b")) : .alive(Core.id("b"), after: rank)])
        z.updates(Core.update("b", .failed, 400), from: "a")
        #expect(z.rank("b") == .alive, "nothing of an earlier life touches it")
    }

    @Test("a failure of a node we never met is kept, without a notice")
    func unknownFailure() {
        var z = OneCore()
        z.meet("a")
        z.forgetLog()
        z.updates(Core.update("b", .failed, 1, profile: Core.profile("b")), from: "a")
        #expect(z.rank("b") == .failed && z.notices.isEmpty)
        z.updates(Core.update("c", .failed, 1), from: "a")
        #expect(z.rank("c") == nil, "without a profile there is nothing to list")
    }

    @Test("a failure of a peer that we hear both ways is not believed; the peer is told, so that it can answer")
    func contradicted() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.advance(by: .milliseconds(300), beating: ["a", "b"])
        z.forgetLog()
        z.updates(Core.update("b", .failed, 0), from: "a")
        #expect(z.rank("b") == .alive && z.failed.isEmpty)
        #expect(z.updates(to: "b").contains { $0.id == Core.id("b") && $0.rank == .failed })
    }

    @Test("an old failure of a node that we hold alive waits two seconds for a refutation")
    func oldClaim() {
        var z = OneCore()
        z.meet("a")
        for name in ["b", "c"] { z.updates(Core.update(name, .alive, 0), from: "a") }
        z.updates(Core.update("b", .failed, 0, age: 60), Core.update("c", .failed, 0, age: 60), from: "a")
        #expect(z.rank("b") == .alive)
        z.advance(by: .seconds(1), beating: ["a"])
        z.updates(Core.update("b", .alive, 1), from: "a")
        z.advance(by: .seconds(2), beating: ["a"])
        #expect(z.rank("b") != .failed && z.rank("c") == .failed && z.failed == [Core.id("c")])
    }

    @Test(
        "a failure that a single observer found, unconfirmed, waits two seconds for a refutation; a confirmed one does not"
    )
    func unconfirmedClaim() {
        var z = OneCore()
        z.meet("a")
        let claim = { (name: String, isConfirmed: Bool) in
            var update = Core.update(name, .failed, 0)
            update.verdict = Verdict(accusers: [], observers: 1, needed: 1, defenders: 0, isConfirmed: isConfirmed)
            return update
        }
        for name in ["b", "c", "d"] { z.updates(Core.update(name, .alive, 0), from: "a") }
        z.updates(claim("b", false), claim("c", false), claim("d", true), from: "a")
        #expect(z.failed == [Core.id("d")] && z.rank("b") == .alive && z.rank("c") == .alive)
        z.advance(by: .seconds(1), beating: ["a"])
        z.updates(Core.update("b", .alive, 1), from: "a")
        z.advance(by: .seconds(2), beating: ["a"])
        #expect(z.rank("b") != .failed && z.failed == [Core.id("d"), Core.id("c")])
    }

    @Test("a message from a member that we hold failed is answered with what we hold, five times a second at most")
    func turnUndead() {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("b", .alive, 0), Core.update("b", .failed, 0), from: "a")
        z.forgetLog()
        for _ in 0..<10 { z.receive(.ping(nonce: 7, sender: Core.version(1, 0)), from: "b") }
        #expect(z.updates(to: "b").filter { $0.id == Core.id("b") && $0.rank == .failed }.count == 1)
        #expect(z.messages(to: "b").contains(.pong(nonce: 7, sender: OneCore.selfVersion)))
        #expect(z.rank("b") == .failed)
        z.receive(.ping(nonce: 8, sender: Core.version(1, 1)), from: "b")
        #expect(z.rank("b") == .alive, "its own word above the claim is enough")
    }

    @Test("a member that tells itself older than we hold it is told what we hold")
    func outdatedAboutItself() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.updates(Core.update("b", .alive, 5), from: "a")
        z.forgetLog()
        z.updates(Core.update("b", .alive, 2), from: "b")
        #expect(z.updates(to: "b").contains { $0.id == Core.id("b") && $0.version == Core.version(1, 5) })
        #expect(z.version("b") == Core.version(1, 5))
    }

    @Test("an absence is dated by whoever saw it first")
    func ages() {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("b", .alive, 0), Core.update("b", .failed, 0, age: 2), from: "a")
        z.updates(Core.update("b", .failed, 0, age: 50), Core.update("b", .failed, 0, age: 1), from: "a")
        let since = z.core.members.first { $0.id == Core.id("b") }?.since
        #expect(since == z.now - .seconds(50))
    }

    @Test("a heartbeat that says it does not hear us is answered at once, not at the next interval")
    func quickAnswer() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.advance(by: .milliseconds(305), beating: ["b"])
        // To the middle between two of ours, whose moment differs from node to node.
        z.forgetLog()
        for _ in 0..<4 where z.messages(to: "a").isEmpty { z.advance(by: .milliseconds(25), beating: ["b"]) }
        z.advance(by: .milliseconds(25), beating: ["b"])
        z.forgetLog()
        z.beat("a", hears: false)
        guard case .heartbeat(let beat)? = z.messages(to: "a").first else {
            Issue.record("\(z.sent)")
            return
        }
        #expect(beat.flags.contains(.hears))
        z.beat("a", hears: false)
        #expect(z.messages(to: "a").count == 1, "and not again within 20 ms")
    }

    // MARK: ourselves

    @Test("a report about us is refuted above it, and everybody is told at once")
    func refute() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.forgetLog()
        z.report("z", by: "a", generation: 5, incarnation: 0)
        #expect(z.core.version == Core.version(5, 1))
        for name in ["a", "b"] {
            #expect(z.updates(to: name).contains { $0.id == z.core.id && $0.version == Core.version(5, 1) })
        }
        #expect(z.rank("z") == .alive)
    }

    @Test("an outdated report about us raises nothing; its sender is told our newest word")
    func staleSuspicion() {
        var z = OneCore()
        z.meet("a")
        z.report("z", by: "a", generation: 5, incarnation: 0)
        z.forgetLog()
        z.report("z", by: "a", generation: 5, incarnation: 0)
        z.report("z", by: "a", generation: 4, incarnation: 7)
        #expect(z.core.version == Core.version(5, 1))
        #expect(z.updates(to: "a").allSatisfy { $0.version == Core.version(5, 1) })
        #expect(z.updates(to: "a").count == 2)
    }

    @Test("a claim that we failed or left is refuted", arguments: [MemberRank.failed, .left])
    func refuteClaim(rank: MemberRank) {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("z", rank, 3, generation: 5), from: "a")
        #expect(z.core.version == Core.version(5, 4) && z.failed.isEmpty && z.rank("z") == .alive)
    }

    @Test("others who remember a later life of ours are answered above it: a lost generation heals")
    func lostGeneration() {
        var z = OneCore()
        z.meet("a")
        z.updates(Core.update("z", .alive, 2, generation: 9), from: "a")
        #expect(z.core.version == Core.version(9, 3))
        z.updates(Core.update("z", .failed, .max, generation: 9), from: "a")
        #expect(z.core.version == Core.version(10, 0))
        z.advance(by: .seconds(2), beating: ["a"])
        #expect(z.persisted > 0)
    }

    @Test("our own words coming back are no news")
    func echo() {
        var z = OneCore()
        z.meet("a")
        z.forgetLog()
        z.updates(Core.update("z", .alive, 0, generation: 5), from: "a")
        #expect(z.core.version == OneCore.selfVersion && z.sent.isEmpty)
    }

    // MARK: suspect

    @Test("a report of a node that nobody knows, or of an earlier life, is ignored")
    func reportOfUnknown() {
        var z = OneCore()
        z.meet("a")
        z.meet("b", generation: 3)
        z.forgetLog()
        z.report("q", by: "a")
        z.report("b", by: "a", generation: 2, incarnation: 9)
        #expect(z.suspected.isEmpty && z.rank("b") == .alive)
    }

    @Test("the same report twice shows one suspicion, and a newer incarnation ends it")
    func doubleSuspect() {
        var z = OneCore()
        for name in ["a", "b", "c"] { z.meet(name) }
        z.forgetLog()
        z.report("b", by: "a")
        z.report("b", by: "a")
        #expect(z.suspected == [Core.id("b")] && z.rank("b") == .suspect)
        z.updates(Core.update("b", .alive, 1), from: "c")
        #expect(z.notices.last == .alive(Core.id("b"), after: .suspect) && z.rank("b") == .alive)
        z.report("b", by: "a")
        #expect(z.rank("b") == .alive && z.suspected.count == 1)
        #expect(z.updates(to: "a").contains { $0.version == Core.version(1, 1) }, "who has not heard it is told")
    }

    @Test("an accusation in somebody else's name does not count")
    func forged() {
        var z = OneCore()
        for name in ["a", "b", "c"] { z.meet(name) }
        let report = Report(
            observer: Core.id("c"), subject: Core.id("b"), version: Core.version(1, 0), figures: .none)
        z.receive(.report(report), from: "a")
        #expect(z.rank("b") == .alive)
    }

    @Test("an accusation that is withdrawn, or not repeated for five seconds, is void")
    func voidAccusation() {
        var z = OneCore()
        for name in ["a", "b", "c", "d"] { z.meet(name) }
        z.advance(by: .milliseconds(200), beating: ["a", "b", "c", "d"])
        z.report("b", by: "a")
        z.receive(.withdraw(subject: Core.id("b"), version: Core.version(1, 0)), from: "a")
        #expect(z.rank("b") == .alive)
        z.report("b", by: "a")
        z.advance(by: .milliseconds(5100), beating: ["a", "b", "c", "d"])
        #expect(z.rank("b") == .alive && z.failed.isEmpty)
    }

    // MARK: left, removed

    @Test("a member that leaves says so once, is watched no longer, and may come back")
    func left() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.advance(by: .milliseconds(300), beating: ["a", "b"])
        z.forgetLog()
        z.updates(Core.update("b", .left, 1), from: "b")
        z.updates(Core.update("b", .left, 1), from: "a")
        #expect(z.notices == [.left(Core.id("b"))] && z.rank("b") == .left)
        z.advance(by: .seconds(3), beating: ["a"])
        #expect(z.suspected.isEmpty && z.failed.isEmpty)
        z.updates(Core.update("b", .failed, 1), from: "a")
        #expect(z.rank("b") == .left, "who left did not fail")
        z.meet("b", generation: 2)
        #expect(z.rank("b") == .alive)
    }

    @Test("removed is final: no telling, no handshake and no generation brings it back")
    func removed() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.forgetLog()
        z.handle(.removed(Core.id("b")))
        #expect(z.notices == [.removed(Core.id("b"))] && z.rank("b") == nil)
        z.meet("b", generation: 99)
        z.updates(Core.update("b", .alive, 0, generation: 100), from: "a")
        z.beat("b", generation: 100)
        z.handle(.learned([OneCore.record("b", generation: 101)]))
        #expect(z.rank("b") == nil && z.notices.count == 1)
        #expect(z.core.record(of: Core.id("b")) == nil)
        z.advance(by: .seconds(2), beating: ["a"])
        #expect(z.messages(to: "b").isEmpty)
    }

    @Test("a node can be removed before anybody met it")
    func removedUnknown() {
        var z = OneCore()
        z.handle(.removed(Core.id("b")))
        z.meet("b")
        #expect(z.notices.isEmpty && z.rank("b") == nil)
        z.handle(.removed(z.core.id))
        #expect(z.rank("z") == .alive, "about ourselves others decide")
    }

    // MARK: lists

    @Test("failed members stay listed, up to a limit, the longest gone first out")
    func bounded() {
        var config = MembershipConfig()
        config.maximumAbsent = 3
        config.forgetAfter = .seconds(100)
        var z = OneCore(config: config)
        z.meet("a")
        for (age, name) in ["b", "c", "d", "e", "f"].enumerated() {
            z.updates(
                Core.update(name, .failed, 0, age: UInt32(50 - age), profile: Core.profile(name)), from: "a")
        }
        z.advance(by: .milliseconds(1100), beating: ["a"])
        #expect(["b", "c", "d", "e", "f"].filter { z.rank($0) != nil } == ["d", "e", "f"])
        z.updates(Core.update("g", .failed, 0, age: 99, profile: Core.profile("g")), from: "a")
        z.advance(by: .seconds(60), beating: ["a"])
        #expect(["d", "e", "f", "g"].allSatisfy { z.rank($0) == nil }, "and not for longer than agreed")
        #expect(z.rank("a") == .alive && z.core.records.count == 2)
    }

    @Test("the file of an earlier life is a hint: nobody in it is alive before it was heard")
    func savedRecords() {
        var z = OneCore(knowing: [Core.record("a"), Core.record("b", rank: .failed), Core.record("c", rank: .left)])
        #expect(z.rank("a") == .suspect && z.rank("b") == .failed && z.rank("c") == .left)
        #expect(["a", "b", "c"].allSatisfy { !z.messages(to: $0).isEmpty }, "everybody in it is called at once")
        z.meet("a")
        z.advance(by: .milliseconds(200), beating: ["a"])
        #expect(z.rank("a") == .alive && z.notices == [.joined(Core.id("a"))])
    }

    @Test("somebody in the file who is never heard is down after some seconds, unconfirmed")
    func savedButGone() {
        var z = OneCore(knowing: [Core.record("a")])
        z.advance(by: .seconds(2))
        #expect(z.rank("a") == .suspect && z.failed.isEmpty)
        z.advance(by: .seconds(1))
        guard case .failed(_, let verdict) = z.notices.last else {
            Issue.record("\(z.notices)")
            return
        }
        #expect(!verdict.isConfirmed && z.rank("a") == .failed)
    }

    @Test("views that hold the same hash the same, in whatever order they learned it")
    func viewHash() {
        var left = MemberTable()
        var right = MemberTable()
        let updates = (0..<40).map { number in
            Update(
                id: TinyNetwork.id(number), version: Core.version(1, UInt32(number)),
                rank: number % 3 == 0 ? .failed : .alive, age: 0, profile: Core.profile("n"), verdict: nil)
        }
        for update in updates { _ = left.merge(update, now: 0) }
        for update in updates.reversed() {
            _ = right.merge(Core.update("x", .alive, 1), now: 5)
            _ = right.merge(update, now: 9)
        }
        #expect(left.viewHash != right.viewHash)
        _ = right.remove(Core.id("x"))
        #expect(left.viewHash == right.viewHash && left.buckets == right.buckets)
        #expect(left.presentCount == 26 && left.absent.count == 14)
    }
}
