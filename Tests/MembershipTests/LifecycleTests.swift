import Primitives
import Testing

@testable import Membership

@Suite("nodes come, go, pause and come back")
struct LifecycleTests {
    @Test("a new node is known to all five within a tenth of a second of one handshake")
    func join() {
        var network = TinyNetwork(nodes: 5, areAcquainted: false)
        for node in 1..<4 { network.introduce(0, node) }
        network.run(for: .seconds(2))
        #expect((0..<4).allSatisfy { observer in (0..<4).allSatisfy { network.sees(observer, $0, .alive) } })
        #expect(network.rank(of: 4, at: 0) == nil, "nobody told them of the fifth")
        network.clearLog()
        network.introduce(4, 2)
        let time = network.run(atMost: .seconds(1)) { $0.agrees }
        #expect(time != nil && time! <= .milliseconds(100), "\(String(describing: time))")
        network.run(for: .milliseconds(300))
        #expect(network.nodes[4].core.reachablePeers.count == 4)
        #expect(network.log.filter { $0.notice == .joined(TinyNetwork.id(4)) }.count == 4)
    }

    @Test("two clusters with one key become one when two of them meet", arguments: [(3, 3), (5, 12), (12, 12)])
    func merge(left: Int, right: Int) {
        var network = TinyNetwork(nodes: left + right, areAcquainted: false)
        for node in 1..<left { network.introduce(0, node) }
        for node in left + 1..<left + right { network.introduce(left, node) }
        network.run(for: .seconds(2))
        #expect(!network.agrees)
        network.introduce(1, left + 1)
        let time = network.run(atMost: .seconds(3)) { $0.agrees }
        #expect(time != nil && network.failures().isEmpty, "\(String(describing: time))")
    }

    @Test("a node that leaves is told at once, and nobody suspects it")
    func leave() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.clearLog()
        network.tell(3, .leave)
        network.run(for: .milliseconds(5))
        network.kill(3)
        #expect(network.log.map(\.notice) == Array(repeating: .left(TinyNetwork.id(3)), count: 4))
        network.run(for: .seconds(5))
        #expect(network.suspicions().isEmpty && network.failures().isEmpty)
        network.restart(3)
        let time = network.run(atMost: .seconds(1)) { $0.agrees }
        #expect(time != nil)
    }

    @Test("a farewell that is lost to some reaches them through the others")
    func leaveAtLoss() {
        for seed in 0..<5 {
            var network = TinyNetwork(nodes: 8, seed: UInt64(seed))
            network.run(for: .seconds(1))
            network.loss = 0.2
            network.clearLog()
            network.tell(3, .leave)
            network.run(for: .milliseconds(5))
            network.kill(3)
            network.run(for: .seconds(3))
            #expect((0..<8).allSatisfy { $0 == 3 || network.sees($0, 3, .left) }, "seed \(seed)")
        }
    }

    @Test("kill −9 and restart within 200 ms, twenty times: always a member again within a second")
    func restart() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        for round in 0..<20 {
            network.kill(2)
            network.run(for: .milliseconds(10 * round))
            network.restart(2, remembering: round % 2 == 0)
            if round % 2 == 1 { network.introduce(2, round % 5 == 2 ? 0 : round % 5) }
            let time = network.run(atMost: .seconds(1)) { $0.agrees }
            #expect(time != nil, "round \(round)")
            network.run(for: .milliseconds(700))
            #expect(network.nodes[2].core.reachablePeers.count == 4)
        }
        #expect(network.failures().isEmpty)
        #expect(network.log.contains { $0.notice == .restarted(TinyNetwork.id(2)) })
    }

    @Test("a restart that lost its generation ends above the old life, and as a member")
    func lostGeneration() {
        var network = TinyNetwork(nodes: 4)
        network.run(for: .seconds(1))
        network.kill(2)
        network.run(for: .seconds(2))
        network.restart(2, generation: 1)
        let time = network.run(atMost: .seconds(2)) { $0.agrees }
        #expect(time != nil && network.nodes[2].core.version.incarnation > 0)
    }

    @Test(
        "an observer's own pause accuses nobody, with its packets kept or lost", arguments: [2, 5], [false, true])
    func frozen(seconds: Int, isLossy: Bool) {
        for count in [2, 3, 5] {
            for victim in 0..<count {
                var network = TinyNetwork(nodes: count, seed: UInt64(victim))
                network.run(for: .milliseconds(1000 + 7 * victim))
                network.clearLog()
                network.freeze(victim, for: .seconds(seconds), losing: isLossy)
                network.run(for: .seconds(seconds))
                let back = network.run(atMost: .seconds(2)) { $0.agrees }
                #expect(back != nil && back! <= .milliseconds(500))
                network.run(for: .seconds(3))
                #expect(network.suspicions(by: victim).isEmpty)
                #expect(network.failures().count == network.failures(of: victim).count)
                #expect(
                    network.log.contains {
                        guard case .stalled(let pause) = $0.notice else { return false }
                        return $0.observer == victim && pause > .seconds(seconds) - .milliseconds(60)
                    })
            }
        }
    }

    @Test("all but one observer frozen at once, and then again: nobody accuses the one that ran")
    func allFrozen() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.clearLog()
        for _ in 0..<3 {
            for node in 1..<5 { network.freeze(node, for: .seconds(2), losing: true) }
            network.run(for: .milliseconds(2300))
        }
        #expect(
            network.failures(of: 0).isEmpty && network.suspicions().allSatisfy { $0.observer == 0 }, "\(network.log)")
    }

    @Test(
        "both halves of a partition find each other within three seconds of its end, and nobody is wronged then",
        arguments: [2, 3, 4, 5, 8, 17])
    func partition(count: Int) {
        for seconds in [1, 5, 60] {
            var network = TinyNetwork(nodes: count, seed: UInt64(seconds))
            network.run(for: .seconds(1))
            network.partition(0..<count / 2, count / 2..<count)
            network.run(for: .seconds(seconds))
            if seconds == 60 {
                #expect(network.rank(of: count - 1, at: 0) == .failed && network.rank(of: 0, at: count - 1) == .failed)
            }
            network.heal()
            network.clearLog()
            let time = network.run(atMost: .seconds(3)) { $0.agrees }
            #expect(time != nil, "\(count) nodes, \(seconds) s")
            network.run(for: .seconds(5))
            // Verdicts on their way while the partition ended may still arrive after a short one.
            if seconds > 1 { #expect(network.failures().isEmpty, "\(network.failures())") }
            #expect(network.agrees)
        }
    }

    @Test("a member that was failed for long is knocked on every second")
    func knocking() {
        var z = OneCore()
        for name in ["a", "b"] { z.meet(name) }
        z.updates(OneCore.update("b", .failed, 0), from: "a")
        z.advance(by: .seconds(20), beating: ["a"])
        z.forgetLog()
        z.advance(by: .seconds(10), beating: ["a"])
        let knocks = z.messages(to: "b").filter { if case .ping = $0 { true } else { false } }
        #expect((9...11).contains(knocks.count))
    }

    @Test("every notice of a failure carries who said it, and on which figures")
    func evidence() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.kill(4)
        network.run(for: .seconds(1))
        for line in network.failures() {
            guard case .failed(_, let verdict) = line.notice else { continue }
            #expect(verdict.isConfirmed && verdict.observers == 4 && verdict.needed == 3 && verdict.defenders == 0)
            #expect(verdict.accusers.count >= 3 && verdict.accusers.count <= 4)
            for accusation in verdict.accusers {
                #expect(accusation.observer != TinyNetwork.id(4) && accusation.unansweredProbes == 3)
                #expect(accusation.silence >= .milliseconds(250) && accusation.phi > 0 && !accusation.isOneWay)
            }
            #expect(verdict.accusers.contains { $0.phi >= 8 })
            let view = network.nodes[line.observer].core.members.first { $0.id == TinyNetwork.id(4) }
            #expect(view?.verdict == verdict && view?.rank == .failed)
        }
    }

    @Test("the same events give the same effects, whatever the process")
    func deterministic() {
        func story() -> [String] {
            var network = TinyNetwork(nodes: 20, seed: 9)
            network.loss = 0.1
            network.run(for: .seconds(2))
            network.kill(3)
            network.freeze(5, for: .seconds(2))
            network.run(for: .seconds(4))
            return network.log.map(\.description) + ["\(network.datagrams)"]
        }
        #expect(story() == story())
    }
}

@Suite("planted bugs show")
struct PlantedBugTests {
    private func config(_ bug: MembershipConfig.PlantedBug) -> MembershipConfig {
        var config = MembershipConfig()
        config.plantedBug = bug
        return config
    }

    @Test("without an attended clock a pause accuses everybody")
    func noAttendedClock() {
        var network = TinyNetwork(nodes: 2, config: config(.noAttendedClock))
        network.run(for: .seconds(1))
        network.clearLog()
        network.freeze(0, for: .seconds(2))
        network.run(for: .seconds(3))
        #expect(network.failures().contains { $0.observer == 0 })
    }

    @Test("with the verdict of a single observer one broken link evicts")
    func singleObserver() {
        var network = TinyNetwork(nodes: 5, config: config(.singleObserverVerdict))
        network.run(for: .seconds(1))
        network.partition([0], [1])
        network.run(for: .seconds(2))
        #expect(!network.failures().isEmpty)
    }

    @Test("where failed nodes are forgotten a partition never heals")
    func forgotten() {
        var network = TinyNetwork(nodes: 4, config: config(.failedNodesForgotten))
        network.run(for: .seconds(1))
        network.partition([0, 1], [2, 3])
        network.run(for: .seconds(30))
        network.heal()
        #expect(network.run(atMost: .seconds(10)) { $0.agrees } == nil)
    }
}
