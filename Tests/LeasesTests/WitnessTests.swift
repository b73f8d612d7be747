import Leases
import Primitives
import Testing

/// The schedules of the 2026 revision of PaxosLease, with the rule and without it: each rule is there because without it
/// these very messages make two owners.
@Suite("a rule that is left out makes two owners")
struct WitnessTests {
    private let p = ProtocolBench.p
    private let q = ProtocolBench.q
    private let a = ProtocolBench.a
    private let b = ProtocolBench.b
    private let c = ProtocolBench.c

    @Test("an attempt's deadline starts before anybody is asked")
    func lateTimer() {
        // Voters that refuse to overwrite a running term make up for it; without both rules there are two owners.
        for bugs in [[], [LeaseBug.liveOverwrite], [.lateTimer], [.liveOverwrite, .lateTimer]] {
            var bench = ProtocolBench(bug: bugs.contains(.liveOverwrite) ? .liveOverwrite : nil)
            if bugs.contains(.lateTimer) { for bidder in [p, q] { bench.plant(.lateTimer, in: bidder) } }
            for bidder in [p, q] {
                bench.start(bidder)
                for node in [a, b] { bench.deliver(.prepare, from: bidder, to: node) }
            }
            // The promises stay under way while the voters forget them, restart, and keep their whole silence.
            for node in [a, b] { bench.restart(node) }
            bench.advance(bench.config.quarantine(longest: .zero))
            for bidder in [p, q] {
                for node in [a, b] { bench.deliver(.promise, from: node, to: bidder) }
                for node in [a, b] { bench.deliver(.accept, from: bidder, to: node) }
                for node in [a, b] { bench.deliver(.accepted, from: node, to: bidder) }
            }
            let expected = bugs.count == 2 ? [p, q] : bugs == [.lateTimer] ? [p] : []
            #expect(bench.owners == expected, "without \(bugs)")
        }
    }

    @Test("answers count by voter, not by number", arguments: [nil, LeaseBug.scalarVotes])
    func scalarVotes(bug: LeaseBug?) {
        var bench = ProtocolBench(bug: bug)
        bench.acquire(q, from: [b, c])
        #expect(bench.isActive(q))
        // Every answer of a alone comes twice.
        bench.start(p)
        bench.deliver(.prepare, from: p, to: a)
        bench.deliver(.promise, from: a, to: p, keeping: true)
        bench.deliver(.promise, from: a, to: p)
        bench.deliver(.accept, from: p, to: a)
        bench.deliver(.accepted, from: a, to: p, keeping: true)
        bench.deliver(.accepted, from: a, to: p)
        #expect(bench.owners == (bug == nil ? [q] : [p, q]))
    }

    @Test("a release ends the exact term it names", arguments: [nil, LeaseBug.ownerOnlyRelease])
    func ownerOnlyRelease(bug: LeaseBug?) {
        var bench = ProtocolBench(bug: bug)
        bench.acquire(p, from: [a, b])
        for ballot in bench.bidders[p]!.end() {
            for node in [a, b] {
                bench.mail.append(.init(vote: LeaseVote(bench.lease, ballot, .release), from: p, to: node))
            }
        }
        // One release is quick, its copy is late: p has got the lease again by then.
        for node in [a, b] { bench.deliver(.release, from: p, to: node, keeping: true) }
        bench.acquire(p, from: [a, b])
        #expect(bench.isActive(p))
        for node in [a, b] { bench.deliver(.release, from: p, to: node) }
        bench.insist(q, from: [a, b])
        #expect(bench.owners == (bug == nil ? [p] : [p, q]))
    }

    /// p gives up an attempt whose questions are still under way, all voters restart and keep silent, q gets the lease, and
    /// then the old questions arrive.
    private func staleAccepts(_ bench: inout ProtocolBench) {
        bench.start(q)
        bench.bidders[q]!.abandon()
        bench.mail.removeAll()
        bench.start(p)
        bench.bidders[p]!.abandon()
        bench.mail.removeAll()
        bench.start(p)
        for node in [a, b] { bench.deliver(.prepare, from: p, to: node) }
        for node in [a, b] { bench.deliver(.promise, from: node, to: p) }
        bench.bidders[p]!.abandon()
        for node in [a, b, c] { bench.restart(node) }
        bench.advance(bench.config.quarantine(longest: .zero))
        bench.bidders[q] = LeaseBidder(me: q, generation: 2, config: bench.config)
        bench.acquire(q, from: [a, b])
        #expect(bench.isActive(q))
        for node in [a, b] { bench.deliver(.accept, from: p, to: node) }
        bench.mail.removeAll()
    }

    @Test("a trace of one's own is no leave to hold, and nobody overwrites a running term")
    func staleOwnerOpen() {
        // Either rule alone is enough; without both there are two owners.
        for bugs in [[], [LeaseBug.liveOverwrite], [.staleOwnerOpen], [.liveOverwrite, .staleOwnerOpen]] {
            var bench = ProtocolBench(bug: bugs.contains(.liveOverwrite) ? .liveOverwrite : nil)
            staleAccepts(&bench)
            if bugs.contains(.staleOwnerOpen) { bench.plant(.staleOwnerOpen, in: p) }
            bench.insist(p, from: [a, b])
            #expect(bench.owners == (bugs.count == 2 ? [p, q] : [q]), "without \(bugs)")
        }
    }

    @Test("a holder that restarts is another holder")
    func nodeOwner() {
        // The record of a former life is no leave to hold in this one: q may have got the lease in between.
        for bugs in [[], [LeaseBug.liveOverwrite], [.nodeOwner], [.liveOverwrite, .nodeOwner]] {
            var bench = ProtocolBench(bug: bugs.contains(.liveOverwrite) ? .liveOverwrite : nil)
            staleAccepts(&bench)
            bench.boot(p)
            if bugs.contains(.nodeOwner) { bench.plant(.nodeOwner, in: p) }
            bench.insist(p, from: [a, b])
            #expect(bench.owners == (bugs.count == 2 ? [p, q] : [q]), "without \(bugs)")
        }
    }

    @Test("a restarted voter is silent until what it forgot is dead", arguments: [nil, LeaseBug.shortQuarantine])
    func quarantine(bug: LeaseBug?) {
        var bench = ProtocolBench(bug: bug)
        bench.acquire(p, from: [a, b])
        for node in [a, b] { bench.restart(node) }
        // One tick before p's term is over.
        bench.advance(bench.config.term - .milliseconds(1))
        #expect(bench.isActive(p))
        bench.acquire(q, from: [a, b])
        #expect(bench.owners == (bug == nil ? [p] : [p, q]))
    }

    @Test("a silence one millisecond shorter than an attempt lives makes two owners", arguments: [0, 1])
    func oneTickShort(short: Int) {
        var bench = ProtocolBench()
        // Numbers that `validate` refuses, on clocks that run alike: what is left is the tight bound itself.
        bench.config.takeover = bench.config.term - .milliseconds(short)
        bench.acquire(p, from: [a, b])
        for node in [a, b] {
            bench.acceptors[node] = LeaseVoter(me: node, config: bench.config, memory: LeaseMemory(), now: bench.now)
        }
        bench.advance(bench.config.takeover)
        bench.acquire(q, from: [a, b])
        #expect(bench.owners == (short == 0 ? [q] : [p, q]))
    }

    @Test("a lower ballot than the promised one is refused, and the refusal tells the higher one")
    func lowerBallot() {
        var bench = ProtocolBench()
        bench.start(p)
        for node in [a, b] { bench.deliver(.prepare, from: p, to: node) }
        for node in [a, b] { bench.deliver(.promise, from: node, to: p) }
        // q outbids it before its second question arrives.
        bench.start(q)
        for node in [a, b] { bench.deliver(.prepare, from: q, to: node) }
        for node in [a, b] { bench.deliver(.accept, from: p, to: node) }
        #expect(bench.deliver(.refuse, from: a, to: p) == .outbid)
        #expect(bench.owners.isEmpty)
        #expect(
            bench.bidders[p]!.start(now: bench.now, term: bench.config.term) == .prepare(term: 500, isCarried: false))
        #expect(bench.bidders[p]!.currentBallot > bench.bidders[q]!.currentBallot)
    }

    @Test("an answer after the deadline gets nothing, however late the tick comes")
    func lateAnswer() {
        var bench = ProtocolBench()
        bench.start(p)
        for node in [a, b] { bench.deliver(.prepare, from: p, to: node) }
        for node in [a, b] { bench.deliver(.promise, from: node, to: p) }
        for node in [a, b] { bench.deliver(.accept, from: p, to: node) }
        bench.deliver(.accepted, from: a, to: p)
        bench.advance(bench.config.term)
        bench.deliver(.accepted, from: b, to: p)
        #expect(bench.owners.isEmpty && bench.bidders[p]!.held == nil)
    }

    @Test("a term counts from the asking, however long the answers take", arguments: [nil, LeaseBug.countedFromReply])
    func countsFromAsking(bug: LeaseBug?) throws {
        var bench = ProtocolBench(bug: bug)
        bench.start(p)
        for node in [a, b] { bench.deliver(.prepare, from: p, to: node) }
        for node in [a, b] { bench.deliver(.promise, from: node, to: p) }
        for node in [a, b] { bench.deliver(.accept, from: p, to: node) }
        // The grants are under way for almost as long as the attempt lives.
        let late = bench.config.term - .milliseconds(10)
        bench.advance(late)
        for node in [a, b] { bench.deliver(.accepted, from: node, to: p) }
        #expect(bench.isActive(p))
        // By then the voters may give it to another.
        bench.advance(bench.config.takeover - late)
        bench.insist(q, from: [a, b])
        #expect(bench.owners == (bug == nil ? [q] : [p, q]))
    }

    @Test("a renewal that reached only one voter does not stand in the way of the next")
    func halfRenewal() {
        var bench = ProtocolBench()
        bench.acquire(p, from: [a, b, c])
        bench.start(p)
        for node in [a, b] { bench.deliver(.prepare, from: p, to: node) }
        for node in [a, b] { bench.deliver(.promise, from: node, to: p) }
        bench.deliver(.accept, from: p, to: a)
        bench.mail.removeAll()
        bench.bidders[p]!.abandon()
        bench.advance(.milliseconds(100))
        // c is gone: a has the renewal, b the term before it.
        bench.acquire(p, from: [a, b])
        #expect(bench.bidders[p]!.held!.until == bench.now + bench.config.term)
    }
}
