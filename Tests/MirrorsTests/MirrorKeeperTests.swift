import Mirrors
import Primitives
import Testing

private let samba = ServiceName("samba")!
private func node(_ number: UInt64) -> NodeID { NodeID(high: number, low: number) }
private func peer(_ number: UInt64, _ state: MirrorPeer.State = .alive) -> MirrorPeer {
    MirrorPeer(id: node(number), name: NodeName("serv\(number)")!, state: state)
}
private let start = Instant(sinceBoot: .seconds(1000))

/// One node's keeper on a clock of its own, with what it decided.
private struct Bench {
    var keeper: MirrorKeeper
    var now = start

    init(
        _ number: UInt64 = 1, peers: [MirrorPeer] = [peer(1), peer(2), peer(3)], paths: [String] = ["/srv/samba/"],
        schedule: MirrorSpec.Schedule = .every(.seconds(600)), to: [NodeName] = [], records: [MirrorRecord] = []
    ) {
        keeper = MirrorKeeper(id: node(number), records: records)
        _ = keeper.handle(
            .desired([MirrorSpec(name: samba, paths: paths, schedule: schedule, to: to)]), now: now)
        _ = keeper.handle(.nodes(peers, isIsolated: false), now: now)
    }
    mutating func does(_ event: MirrorEvent) -> [MirrorEffect] { keeper.handle(event, now: now) }
    mutating func after(_ duration: Duration) -> [MirrorEffect] {
        now = now + duration
        return keeper.handle(.tick, now: now)
    }
    mutating func asked(
        epoch: UInt64, from sender: UInt64 = 2, path: String = "/srv/samba/", run: UInt64 = 1
    ) -> PushDecision {
        keeper.decide(
            PushRequest(mirror: samba, path: path, epoch: Epoch(epoch), run: run), from: node(sender), now: now)
    }
    mutating func got(
        epoch: UInt64, from sender: UInt64 = 2, path: String = "/srv/samba/", run: UInt64 = 1, complete: Bool = true
    ) -> [MirrorEffect] {
        does(
            .received(
                PushRequest(mirror: samba, path: path, epoch: Epoch(epoch), run: run), from: node(sender),
                isComplete: complete, at: "2026-01-01T00:00:00Z"))
    }
    var freshness: MirrorFreshness { keeper.report(samba, now: now).freshness }
}

private func pushes(_ effects: [MirrorEffect]) -> [(PushNumber, NodeID)] {
    effects.compactMap { if case .push(let number, _, let to, _) = $0 { (number, to) } else { nil } }
}

@Suite("files go one way: from the node that serves to the others")
struct MirrorKeeperTests {
    @Test("who gets the service pushes to every other node at once, with its epoch")
    func feed() {
        var bench = Bench()
        let effects = bench.does(.feed(samba, Epoch(4)))
        #expect(pushes(effects).map(\.1) == [node(2), node(3)])
        #expect(effects.contains(.push(PushNumber(1), samba, to: node(2), epoch: Epoch(4))))
    }

    @Test("only the nodes named get a copy")
    func targets() {
        var bench = Bench(to: [NodeName("serv3")!])
        #expect(pushes(bench.does(.feed(samba, Epoch(1)))).map(\.1) == [node(3)])
    }

    @Test("the next push comes an interval after the beginning of the last, not before")
    func schedule() {
        var bench = Bench(peers: [peer(1), peer(2)])
        _ = bench.does(.feed(samba, Epoch(1)))
        bench.now = bench.now + .seconds(50)
        _ = bench.does(.pushed(PushNumber(1), .done(files: 3, bytes: 10)))
        #expect(pushes(bench.after(.seconds(549))).isEmpty)
        #expect(pushes(bench.after(.seconds(1))).count == 1)
    }

    @Test("a change is pushed after a moment's rest, and one during a push once more after it")
    func onChange() {
        var bench = Bench(peers: [peer(1), peer(2)], schedule: .onChange)
        let effects = bench.does(.feed(samba, Epoch(1)))
        #expect(effects.contains(.watch(samba, ["/srv/samba/"])))
        _ = bench.does(.changed(samba))
        _ = bench.does(.pushed(PushNumber(1), .done(files: 3, bytes: 10)))
        #expect(pushes(bench.after(.milliseconds(49))).isEmpty)
        #expect(pushes(bench.after(.milliseconds(1))).count == 1)
        bench.now = bench.now + .seconds(1)
        _ = bench.does(.pushed(PushNumber(2), .done(files: 0, bytes: 0)))
        #expect(pushes(bench.after(.seconds(10))).isEmpty, "nothing changed since")
        _ = bench.does(.changed(samba))
        #expect(pushes(bench.after(.milliseconds(200))).count == 1)
    }

    @Test("nothing is pushed to anybody while somebody is suspected, or while this node is cut off")
    func sensed() {
        var bench = Bench()
        _ = bench.does(.nodes([peer(1), peer(2), peer(3, .suspect)], isIsolated: false))
        #expect(pushes(bench.does(.feed(samba, Epoch(1)))).isEmpty)
        #expect(pushes(bench.does(.nodes([peer(1), peer(2), peer(3, .down)], isIsolated: true))).isEmpty)
        let effects = bench.does(.nodes([peer(1), peer(2), peer(3, .down)], isIsolated: false))
        #expect(pushes(effects).map(\.1) == [node(2)])
    }

    @Test("a node that comes back gets everything at once")
    func returns() {
        var bench = Bench(peers: [peer(1), peer(2, .down)])
        #expect(pushes(bench.does(.feed(samba, Epoch(2)))).isEmpty)
        #expect(pushes(bench.does(.nodes([peer(1), peer(2)], isIsolated: false))).map(\.1) == [node(2)])
    }

    @Test("an epoch older than any heard of is refused, also after a restart")
    func oldEpoch() {
        var bench = Bench()
        #expect(bench.asked(epoch: 5) == .accept(parks: true, isFirstEver: true))
        let effects = bench.got(epoch: 5)
        guard case .persist(let record)? = effects.first else { return #expect(Bool(false), "\(effects)") }
        guard case .refuse(let reason) = bench.asked(epoch: 4, from: 3) else { return #expect(Bool(false)) }
        #expect(reason.contains("older than 5"))
        var again = Bench(records: [record])
        guard case .refuse = again.asked(epoch: 4) else { return #expect(Bool(false)) }
    }

    @Test("who serves takes nothing from anybody")
    func serving() {
        var bench = Bench()
        _ = bench.does(.feed(samba, Epoch(3)))
        guard case .refuse(let reason) = bench.asked(epoch: 4) else { return #expect(Bool(false)) }
        #expect(reason.contains("serves these files itself"))
    }

    @Test("what differs is parked until one whole copy of the new epoch is here, and no longer")
    func parks() {
        var bench = Bench(paths: ["/a/", "/b/"])
        _ = bench.does(.feed(samba, Epoch(3)))
        _ = bench.does(.stop(samba, flush: false))
        #expect(bench.asked(epoch: 4, path: "/a/") == .accept(parks: true, isFirstEver: false))
        _ = bench.got(epoch: 4, path: "/a/")
        #expect(bench.asked(epoch: 4, path: "/b/") == .accept(parks: true, isFirstEver: false))
        #expect(bench.freshness == .receiving)
        _ = bench.got(epoch: 4, path: "/b/")
        #expect(bench.freshness == .synced(behind: .zero))
        #expect(bench.asked(epoch: 4, path: "/a/", run: 2) == .accept(parks: false, isFirstEver: false))
    }

    @Test("the paths of two runs do not make one whole copy")
    func twoRuns() {
        var bench = Bench(paths: ["/a/", "/b/"])
        _ = bench.asked(epoch: 4, path: "/a/", run: 1)
        _ = bench.got(epoch: 4, path: "/a/", run: 1)
        _ = bench.asked(epoch: 4, path: "/b/", run: 2)
        _ = bench.got(epoch: 4, path: "/b/", run: 2)
        #expect(bench.freshness == .receiving)
    }

    @Test("a broken run leaves the copy as not whole; it may serve what it had, and says of when")
    func broken() {
        var bench = Bench()
        _ = bench.asked(epoch: 4)
        _ = bench.got(epoch: 4, complete: false)
        #expect(bench.freshness == .never)
        _ = bench.asked(epoch: 4, run: 2)
        _ = bench.got(epoch: 4, run: 2)
        _ = bench.asked(epoch: 5, from: 3, run: 1)
        _ = bench.got(epoch: 5, from: 3, run: 1, complete: false)
        #expect(bench.freshness == .outdated(has: Epoch(4), newest: Epoch(5)))
    }

    @Test("a node that never had the files knows from others that they exist")
    func never() {
        var bench = Bench()
        #expect(bench.freshness == .pristine)
        let effects = bench.does(.heard(samba, Epoch(7)))
        #expect(effects == [.freshness(samba, .never)])
    }

    @Test("a hand-over waits for a push that began after the service stopped")
    func flush() {
        var bench = Bench(peers: [peer(1), peer(2)])
        _ = bench.does(.feed(samba, Epoch(1)))
        bench.now = bench.now + .seconds(1)
        #expect(bench.does(.stop(samba, flush: true)).isEmpty, "the push that runs began too early")
        let next = bench.does(.pushed(PushNumber(1), .done(files: 1, bytes: 1)))
        #expect(pushes(next).map(\.0) == [PushNumber(2)])
        let last = bench.does(.pushed(PushNumber(2), .done(files: 1, bytes: 1)))
        #expect(last.contains(.flushed(samba, behind: [])))
    }

    @Test("a hand-over does not wait for the dead, nor for who fails twice; it names who lacks something")
    func flushBehind() {
        var bench = Bench(peers: [peer(1), peer(2), peer(3, .down)])
        _ = bench.does(.feed(samba, Epoch(1)))
        _ = bench.does(.pushed(PushNumber(1), .done(files: 1, bytes: 1)))
        bench.now = bench.now + .seconds(1)
        _ = bench.does(.stop(samba, flush: true))
        _ = bench.does(.pushed(PushNumber(2), .failed("disk full")))
        _ = bench.after(.seconds(2))
        let effects = bench.does(.pushed(PushNumber(3), .failed("disk full")))
        #expect(effects.contains(.flushed(samba, behind: [node(2), node(3)])))
    }

    @Test("failures are retried ever more slowly, and told at the first and each tenth")
    func failures() {
        var bench = Bench(peers: [peer(1), peer(2)])
        var effects = bench.does(.feed(samba, Epoch(1)))
        var told: [Int] = []
        var waits: [Duration] = []
        for _ in 1...11 {
            guard let number = pushes(effects).first?.0 else { return #expect(Bool(false)) }
            let failed = bench.does(.pushed(number, .failed("no answer")))
            for case .trouble(_, _, _, let count) in failed { told.append(count) }
            var waited = Duration.zero
            repeat {
                effects = bench.after(.seconds(1))
                waited += .seconds(1)
            } while pushes(effects).isEmpty && waited < .seconds(500)
            waits.append(waited)
        }
        #expect(told == [1, 10])
        #expect(waits.prefix(4) == [.seconds(2), .seconds(4), .seconds(8), .seconds(16)])
        #expect(waits.last == .seconds(120))
    }

    @Test("no more than two pushes run at once")
    func bound() {
        var bench = Bench(peers: (1...5).map { peer($0) })
        #expect(pushes(bench.does(.feed(samba, Epoch(1)))).count == 2)
        #expect(pushes(bench.does(.pushed(PushNumber(1), .done(files: 0, bytes: 0)))).map(\.1) == [node(4)])
    }

    @Test("whatever happens in whatever order, a node that serves never takes files, and never takes an older epoch")
    func chance() {
        let seed = UInt64.random(in: .min ... .max)
        var chance = SeededGenerator(seed: seed)
        var bench = Bench()
        var feeding: UInt64?
        var highest: UInt64 = 0
        for step in 0..<5_000 {
            let epoch = 1 + UInt64(chance.below(12))
            switch chance.below(8) {
            case 0 where epoch >= highest:
                _ = bench.does(.feed(samba, Epoch(epoch)))
                feeding = max(feeding ?? 0, epoch)
                highest = max(highest, epoch)
            case 1:
                let effects = bench.does(.stop(samba, flush: false))
                #expect(effects.contains(.flushed(samba, behind: [])), "seed \(seed), step \(step)")
                feeding = nil
            case 2, 3, 4:
                let decision = bench.asked(
                    epoch: epoch, from: 2 + UInt64(chance.below(2)), run: UInt64(chance.below(3)))
                if case .accept = decision {
                    #expect(feeding == nil && epoch >= highest, "seed \(seed), step \(step)")
                    highest = max(highest, epoch)
                }
            case 5: _ = bench.got(epoch: epoch, run: UInt64(chance.below(3)), complete: chance.chance(0.7))
            case 6: _ = bench.does(.pushed(PushNumber(UInt64(chance.below(step + 1))), .done(files: 0, bytes: 0)))
            default: _ = bench.after(.seconds(Double(chance.below(60))))
            }
        }
    }
}
