import Primitives
import Testing

@testable import Membership

@Suite("links that break, while the nodes at their ends live")
struct LinkTests {
    @Test(
        "one broken link between two nodes evicts nobody, and is not talked about again and again",
        arguments: [3, 5, 10])
    func blackHole(count: Int) {
        var network = TinyNetwork(nodes: count)
        network.run(for: .seconds(1))
        network.clearLog()
        network.partition([0], [1])
        network.run(for: .seconds(3))
        #expect(
            network.suspicions().contains { $0.observer == 0 } && network.suspicions().contains { $0.observer == 1 })
        #expect(network.agrees)
        network.clearLog()
        network.run(for: .seconds(60))
        #expect(network.failures().isEmpty && network.suspicions().isEmpty, "\(network.log)")
        #expect(network.agrees)
        let edge = network.nodes[0].core.edges.first {
            $0.subject == TinyNetwork.id(1) && $0.watcher == TinyNetwork.id(0)
        }
        #expect(edge?.state == .down)
    }

    @Test("a node that died behind a broken link is still found by the others")
    func deathBehindBlackHole() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.partition([0], [1])
        network.run(for: .seconds(30))
        network.kill(1)
        let time = network.run(atMost: .seconds(2)) { $0.agrees }
        #expect(time != nil && time! < .milliseconds(700), "\(String(describing: time))")
    }

    @Test("a link that carries one way only is down at both ends")
    func oneWay() {
        var network = TinyNetwork(nodes: 3)
        network.run(for: .seconds(1))
        network.cut([1], [0])
        network.run(for: .seconds(2))
        let state = { (observer: Int, subject: Int) in
            network.nodes[observer].core.edges.first {
                $0.watcher == TinyNetwork.id(observer) && $0.subject == TinyNetwork.id(subject)
            }?.state
        }
        #expect(state(0, 1) == .down && state(1, 0) == .down && state(0, 2) == .up)
        #expect(network.failures().isEmpty && network.agrees)
        let accusation = network.suspicions(by: 1).compactMap { line -> Accusation? in
            if case .suspect(_, let accusation) = line.notice, accusation.observer == TinyNetwork.id(1) {
                accusation
            } else {
                nil
            }
        }.first
        #expect(accusation?.isOneWay == true, "the end that hears says that it is not heard")
        network.heal()
        network.run(for: .milliseconds(500))
        #expect(state(0, 1) == .up && state(1, 0) == .up)
    }

    @Test("a node that hears nobody is found, though everybody hears it")
    func deaf() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.cut(1..<5, [0])
        network.run(for: .seconds(3))
        #expect((1..<5).allSatisfy { network.sees($0, 0, .failed) })
        #expect((1..<5).allSatisfy { observer in (1..<5).allSatisfy { network.sees(observer, $0, .alive) } })
        network.heal()
        let time = network.run(atMost: .seconds(3)) { $0.agrees }
        #expect(time != nil)
    }

    @Test("a node that nobody hears is found, though it hears everybody, and accuses nobody for it")
    func mute() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.clearLog()
        network.cut([0], 1..<5)
        network.run(for: .seconds(3))
        #expect((1..<5).allSatisfy { network.sees($0, 0, .failed) })
        #expect(network.failures().allSatisfy { $0.observer != 0 }, "\(network.failures())")
        network.heal()
        #expect(network.run(atMost: .seconds(3)) { $0.agrees } != nil)
    }

    @Test("20 % of all datagrams lost for a minute: nobody is declared failed", arguments: [3, 5])
    func loss(count: Int) {
        for seed in 0..<3 {
            var network = TinyNetwork(nodes: count, seed: UInt64(seed))
            network.run(for: .seconds(1))
            network.loss = 0.2
            network.run(for: .seconds(60))
            #expect(network.failures().isEmpty, "seed \(seed): \(network.failures())")
        }
    }

    @Test("a death is found at 20 % loss too, and nobody else with it")
    func deathAtLoss() {
        for seed in 0..<5 {
            var network = TinyNetwork(nodes: 5, seed: UInt64(seed))
            network.run(for: .seconds(1))
            network.loss = 0.2
            network.run(for: .seconds(2))
            network.kill(3)
            let killed = network.elapsed
            network.run(for: .seconds(3))
            #expect(network.failures(of: 3).count == 4 && network.failures().count == 4, "seed \(seed): \(network.log)")
            #expect(network.failures().allSatisfy { $0.at - killed < .milliseconds(800) })
        }
    }

    @Test("two networks: losing one is a notice, not a failure; its return is a notice too")
    func paths() {
        var network = TinyNetwork(nodes: 3, nets: 2)
        network.run(for: .seconds(3))
        network.clearLog()
        network.deadNets = [0]
        network.run(for: .seconds(5))
        #expect(network.suspicions().isEmpty && network.failures().isEmpty && network.agrees)
        #expect(network.log.count == 6, "\(network.log)")
        #expect(
            network.log.contains {
                $0.observer == 0 && $0.notice == .pathLost(TinyNetwork.id(1), TinyNetwork.endpoint(1, net: 0))
            })
        network.clearLog()
        network.deadNets = []
        network.run(for: .seconds(5))
        #expect(network.log.count == 6, "\(network.log)")
        #expect(
            network.log.contains {
                $0.observer == 0 && $0.notice == .pathBack(TinyNetwork.id(1), TinyNetwork.endpoint(1, net: 0))
            })
        network.clearLog()
        network.kill(1)
        network.run(for: .seconds(1))
        #expect(network.failures(of: 1).count == 2 && network.failures().count == 2)
    }

    @Test("an address change while running is followed, and is no failure")
    func readdressed() {
        var network = TinyNetwork(nodes: 4)
        network.run(for: .seconds(1))
        network.clearLog()
        let moved = Endpoint(.v4(0x0A00_0063), port: 7771)
        network.tell(2, .addressesChanged([moved]))
        network.run(for: .seconds(5))
        #expect(network.failures().isEmpty && network.suspicions().isEmpty && network.agrees, "\(network.log)")
        #expect(network.nodes[0].core.record(of: TinyNetwork.id(2))?.profile.addresses == [moved])
        #expect(network.nodes[0].core.preferredPath(to: TinyNetwork.id(2)) == moved)
        #expect(network.nodes[0].core.isReached(at: moved))
    }

    @Test("a node whose cable is pulled knows that it is cut off, and accuses nobody")
    func carrierLost() {
        var network = TinyNetwork(nodes: 4)
        network.run(for: .seconds(1))
        network.clearLog()
        network.tell(0, .network(isUp: false))
        network.partition([0], [1, 2, 3])
        network.run(for: .seconds(10))
        #expect(network.log.filter { $0.observer == 0 }.map(\.notice) == [.isolated(silentEdges: 3, of: 3)])
        #expect((1...3).allSatisfy { network.sees($0, 0, .failed) })
        network.heal()
        network.tell(0, .network(isUp: true))
        #expect(network.run(atMost: .seconds(3)) { $0.agrees } != nil)
        #expect(network.failures().allSatisfy { $0.observer != 0 })
        #expect(network.log.contains { $0.observer == 0 && $0.notice == .rejoined })
    }

    @Test("a node that loses everybody at once calls itself cut off before it calls anybody down")
    func isolated() {
        var network = TinyNetwork(nodes: 5)
        network.run(for: .seconds(1))
        network.clearLog()
        network.partition([0], 1..<5)
        network.run(for: .seconds(3))
        let own = network.log.filter { $0.observer == 0 }.map(\.notice)
        #expect(own.contains(.isolated(silentEdges: 4, of: 4)))
        #expect(network.failures().allSatisfy { $0.observer != 0 })
        // Later it shows them as down, because it cannot reach them, and says that nobody confirmed it.
        network.run(for: .seconds(6))
        let verdicts = network.failures().filter { $0.observer == 0 }
        #expect(verdicts.count == 4)
        for line in verdicts {
            if case .failed(_, let verdict) = line.notice {
                #expect(!verdict.isConfirmed && verdict.accusers.count == 1)
            }
        }
        network.heal()
        #expect(network.run(atMost: .seconds(3)) { $0.agrees } != nil)
    }
}

@Suite("two nodes, where nobody has a second opinion")
struct TwoNodesTests {
    @Test("without a reach list a verdict is marked as unconfirmed")
    func unconfirmed() {
        var network = TinyNetwork(nodes: 2)
        network.run(for: .seconds(1))
        network.kill(1)
        network.run(for: .seconds(1))
        guard case .failed(_, let verdict)? = network.failures().first?.notice else {
            Issue.record("\(network.log)")
            return
        }
        #expect(!verdict.isConfirmed && verdict.observers == 1 && verdict.needed == 1)
        #expect(verdict.accusers.map(\.observer) == [TinyNetwork.id(0)] && verdict.accusers[0].phi >= 8)
        #expect(verdict.accusers[0].unansweredProbes == 5)
    }

    @Test("with a reach list that answers it is confirmed, and as quick")
    func confirmed() {
        var config = MembershipConfig()
        config.hasReachTargets = true
        var network = TinyNetwork(nodes: 2, config: config)
        network.reachable = [0, 1]
        network.run(for: .seconds(1))
        let killed = network.elapsed
        network.kill(1)
        network.run(for: .seconds(1))
        guard let line = network.failures().first, case .failed(_, let verdict) = line.notice else {
            Issue.record("\(network.log)")
            return
        }
        #expect(verdict.isConfirmed && line.at - killed < .milliseconds(700))
    }

    @Test("a node whose reach list does not answer blames itself, not its peer")
    func cutOff() {
        var config = MembershipConfig()
        config.hasReachTargets = true
        var network = TinyNetwork(nodes: 2, config: config)
        network.reachable = [0]
        network.run(for: .seconds(1))
        network.partition([0], [1])
        network.run(for: .seconds(20))
        #expect(network.sees(0, 1, .failed) && network.sees(1, 0, .suspect))
        network.heal()
        #expect(network.run(atMost: .seconds(3)) { $0.agrees } != nil)
    }
}
