import Primitives
import Testing

@testable import Membership

// One node, its peers played by hand: what makes it convict, and what keeps it from it.
@Suite("who counts, when a node is accused")
struct VerdictTests {
    private typealias Core = OneCore

    /// `z` and these peers, all heard for a while.
    private func settled(_ peers: [String], config: MembershipConfig = MembershipConfig()) -> OneCore {
        var z = OneCore(config: config)
        for name in peers { z.meet(name) }
        z.advance(by: .seconds(1), beating: peers)
        z.forgetLog()
        return z
    }

    @Test("three of four accuse: no verdict while the fourth, which is us, hears it")
    func freshContact() {
        var z = settled(["a", "b", "c", "d"])
        for _ in 0..<8 {
            for observer in ["a", "b", "c"] { z.report("d", by: observer) }
            z.advance(by: .milliseconds(100), beating: ["a", "b", "c", "d"])
        }
        #expect(z.failed.isEmpty && z.rank("d") == .suspect)
        #expect(z.messages(to: "d").contains { if case .report = $0 { true } else { false } }, "but it is told")
    }

    @Test("three of four accuse, and here it is silent too: failed, though we have not probed to the end")
    func majorityOfOthers() {
        var z = settled(["a", "b", "c", "d"])
        z.advance(by: .milliseconds(300), beating: ["a", "b", "c"])
        #expect(z.suspected.isEmpty)
        for observer in ["a", "b", "c"] { z.report("d", by: observer) }
        z.advance(by: .milliseconds(50), beating: ["a", "b", "c"])
        #expect(z.failed == [Core.id("d")])
    }

    @Test("two of four accuse: not enough, however long they say so")
    func minority() {
        var z = settled(["a", "b", "c", "d"])
        for _ in 0..<20 {
            z.report("d", by: "a")
            z.advance(by: .milliseconds(100), beating: ["a", "b", "c"])
        }
        #expect(z.suspected == [Core.id("d")] && z.failed.isEmpty)
    }

    @Test("of two that die together neither counts as an observer of the other")
    func diedTogether() {
        var z = settled(["a", "b", "d", "e"])
        // b never says anything: of a, b and z two are enough, of a, b, e and z they would not be.
        z.advance(by: .milliseconds(430), beating: ["a", "b"])
        z.report("d", by: "a")
        z.report("e", by: "a")
        z.advance(by: .milliseconds(150), beating: ["a", "b"])
        #expect(Set(z.failed) == [Core.id("d"), Core.id("e")])
    }

    @Test("an observer that says that it does not watch the accused is not waited for")
    func abstention() {
        var z = settled(["a", "b", "d"])
        z.advance(by: .milliseconds(600), beating: ["a", "b"])
        z.report("d", by: "a")
        z.advance(by: .milliseconds(50), beating: ["a", "b"])
        #expect(z.failed == [Core.id("d")], "two of three")
        var y = settled(["b", "d"])
        y.advance(by: .milliseconds(600), beating: ["b"])
        #expect(y.failed.isEmpty, "one of two is not enough")
        let nothing = Evidence(
            subject: Core.id("d"), version: Core.version(1, 0), opinion: .none, figures: .none)
        y.receive(.evidence(nothing), from: "b")
        y.advance(by: .milliseconds(50), beating: ["b"])
        #expect(y.failed == [Core.id("d")])
    }

    @Test("one observer with fresh contact outweighs one without")
    func defended() {
        var z = settled(["b", "d"])
        let fresh = Evidence(
            subject: Core.id("d"), version: Core.version(1, 0), opinion: .fresh, figures: .none)
        for _ in 0..<20 {
            z.receive(.evidence(fresh), from: "b")
            z.advance(by: .milliseconds(100), beating: ["b"])
        }
        #expect(z.failed.isEmpty && z.suspected == [Core.id("d")])
    }

    @Test("the answer “silent here too” counts as an accusation")
    func silentEvidence() {
        var z = settled(["b", "d"])
        z.advance(by: .milliseconds(600), beating: ["b"])
        let silent = Evidence(
            subject: Core.id("d"), version: Core.version(1, 0), opinion: .silent,
            figures: Figures(centiPhi: 900, silence: 420, unansweredProbes: 3, isOneWay: false))
        z.receive(.evidence(silent), from: "b")
        z.advance(by: .milliseconds(50), beating: ["b"])
        #expect(z.failed == [Core.id("d")])
    }

    @Test("verdicts wait for others that are about to fall, 50 ms at most")
    func batch() {
        var z = settled(["a", "b", "c", "d", "e"])
        z.advance(by: .milliseconds(600), beating: ["a", "b", "c"])
        z.report("e", by: "a")
        for observer in ["a", "b"] { z.report("d", by: observer) }
        z.advance(by: .milliseconds(25), beating: ["a", "b", "c"])
        #expect(z.failed.isEmpty, "two of four accuse e: one more, and both are told together")
        z.advance(by: .milliseconds(50), beating: ["a", "b", "c"])
        #expect(z.failed == [Core.id("d")])
    }

    @Test("another's lone word convicts nobody here: whoever stands alone must check itself")
    func loneWordOfAnother() {
        var z = settled(["a"])
        z.updates(Core.update("b", .alive, 0), from: "a")
        for _ in 0..<8 {
            z.report("b", by: "a")
            z.advance(by: .milliseconds(100), beating: ["a"])
        }
        #expect(z.rank("b") == .suspect && z.failed.isEmpty)
    }

    @Test("while packets wait in the socket nobody is accused")
    func undrained() {
        var z = settled(["a", "b"])
        for _ in 0..<30 {
            z.stall(for: .milliseconds(25))
            z.tick(drained: false)
        }
        #expect(z.suspected.isEmpty)
        for _ in 0..<3 {
            z.stall(for: .milliseconds(25))
            z.tick(drained: true)
        }
        #expect(z.suspected == [Core.id("a"), Core.id("b")])
    }

    @Test("a pause of our own makes us patient: the silence that is reported grows, and shrinks again")
    func health() {
        func silenceUntilSuspected(afterStall stall: Duration, quiet: Duration) -> Duration {
            var z = settled(["a", "b", "c"])
            if stall > .zero {
                z.stall(for: stall)
                for name in ["a", "b", "c"] { z.beat(name) }
                z.tick()
            }
            z.advance(by: quiet, beating: ["a", "b", "c"])
            let start = z.now
            while z.suspected.isEmpty, z.now - start < .seconds(5) {
                z.advance(by: .milliseconds(25), beating: ["b", "c"])
            }
            return z.now - start
        }
        let usual = silenceUntilSuspected(afterStall: .zero, quiet: .seconds(1))
        let after = silenceUntilSuspected(afterStall: .seconds(2), quiet: .seconds(1))
        let later = silenceUntilSuspected(afterStall: .seconds(2), quiet: .seconds(9))
        #expect(usual < .milliseconds(600))
        #expect(after > usual * 2 && after < .milliseconds(1800), "\(after)")
        #expect(later <= usual + .milliseconds(50), "\(later)")
    }

    @Test("two that fell silent together are cut off from us; one that was silent before is not counted")
    func isolation() {
        var z = settled(["a", "b", "c", "d"])
        // a and b have been out of reach for long, and c and d defend them.
        func defend(_ names: [String]) {
            for name in names {
                let fresh = Evidence(
                    subject: Core.id(name), version: Core.version(1, 0), opinion: .fresh, figures: .none)
                for witness in ["c", "d"] { z.receive(.evidence(fresh), from: witness) }
            }
        }
        for _ in 0..<30 {
            defend(["a"])
            z.advance(by: .milliseconds(100), beating: ["b", "c", "d"])
        }
        #expect(!z.notices.contains { if case .isolated = $0 { true } else { false } })
        for _ in 0..<30 {
            defend(["a", "b"])
            z.advance(by: .milliseconds(100), beating: ["c", "d"])
        }
        #expect(!z.notices.contains { if case .isolated = $0 { true } else { false } }, "one after the other")
        z.advance(by: .seconds(2))
        #expect(z.notices.contains(.isolated(silentEdges: 2, of: 2)), "\(z.notices)")
    }

    @Test(
        "who hears nobody any more, one falling silent after the other, waits two seconds and keeps its verdicts to itself"
    )
    func deaf() {
        var z = settled(["a", "b", "c"])
        z.advance(by: .milliseconds(300), beating: ["b", "c"])
        z.advance(by: .milliseconds(300), beating: ["c"])
        z.forgetLog()
        z.advance(by: .milliseconds(1700))
        #expect(z.failed.isEmpty)
        z.advance(by: .seconds(3))
        #expect(Set(z.failed) == [Core.id("a"), Core.id("b"), Core.id("c")])
        let told = ["a", "b", "c"].flatMap { z.updates(to: $0) }
        #expect(!told.contains { $0.rank == .failed })
    }

    @Test("who is isolated sends no reports")
    func isolatedIsQuiet() {
        var z = settled(["a", "b", "c"])
        z.advance(by: .seconds(2))
        #expect(z.notices.contains(.isolated(silentEdges: 3, of: 3)))
        z.forgetLog()
        z.advance(by: .milliseconds(1400))
        #expect(!z.sent.contains { if case .report = $0.message { true } else { false } })
    }

    @Test("a peer that opens its edge anew, with lower sequence numbers, is heard")
    func reopened() {
        var z = settled(["a", "b"])
        func beat(_ sequence: UInt32) {
            z.receive(
                .heartbeat(
                    Heartbeat(
                        version: Core.version(1, 0), sequence: sequence, interval: 100, echo: 0, echoAge: 0,
                        flags: [.observe, .hears], health: 0, viewHash: z.core.table.viewHash, factsHash: 0, load: [],
                        updates: [])), from: "a")
        }
        for sequence: UInt32 in 5_000_000..<5_000_010 {
            beat(sequence)
            z.advance(by: .milliseconds(100), beating: ["b"])
        }
        for sequence: UInt32 in 100..<120 {
            beat(sequence)
            z.advance(by: .milliseconds(100), beating: ["b"])
        }
        #expect(z.suspected.isEmpty)
    }

    @Test(
        "half of a cluster on rings agrees that the other half is gone, without hearing its opinion",
        arguments: [17, 40])
    func halves(count: Int) {
        var network = TinyNetwork(nodes: count)
        network.run(for: .seconds(2))
        network.partition(0..<count / 2, count / 2..<count)
        network.run(for: .seconds(4))
        for observer in 0..<count {
            for subject in 0..<count {
                let isSame = (observer < count / 2) == (subject < count / 2)
                #expect(network.sees(observer, subject, isSame ? .alive : .failed), "\(observer) of \(subject)")
            }
        }
    }
}
