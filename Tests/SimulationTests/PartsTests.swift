import Membership
import Primitives
import Testing

@testable import Simulator

@Suite("the parts of the simulator")
struct PartsTests {
    @Test("events come by time, and at one time in the order they were scheduled")
    func order() {
        var queue = EventQueue<Int>()
        var chance = SeededGenerator(seed: 1)
        var expected: [(time: Int64, number: Int)] = []
        for number in 0..<2000 {
            let time = Int64(chance.below(200))
            queue.schedule(number, at: TrueTime(nanoseconds: time))
            expected.append((time, number))
        }
        expected.sort { ($0.time, $0.number) < ($1.time, $1.number) }
        var popped: [Int] = []
        while let next = queue.popFirst() { popped.append(next.payload) }
        #expect(popped == expected.map(\.number))
        #expect(queue.count == 0)
    }

    @Test("a slot of the queue is used again, so that a long run stays as small as what is under way")
    func slots() {
        var queue = EventQueue<Int>()
        for round in 0..<1000 {
            queue.schedule(round, at: TrueTime(nanoseconds: Int64(round)))
            #expect(queue.popFirst()?.payload == round)
        }
        #expect(queue.nextTime == nil)
    }

    @Test("a clock runs at its rate, stands still, and jumps")
    func clock() {
        let second = TrueTime.zero + .seconds(1)
        var clock = MachineClock(reading: Instant(sinceBoot: .seconds(100)), rate: 1.5, at: .zero)
        #expect(clock.instant(at: second) == Instant(sinceBoot: .milliseconds(101_500)))
        #expect(clock.time(after: .milliseconds(1500), from: .zero) == second)
        clock.setRate(0, at: second)
        #expect(clock.instant(at: second + .seconds(9)) == Instant(sinceBoot: .milliseconds(101_500)))
        clock.jump(ahead: .seconds(3600), at: second + .seconds(9))
        #expect(clock.instant(at: second + .seconds(9)) == Instant(sinceBoot: .milliseconds(3_701_500)))
    }

    @Test("the network loses, doubles and delays as the weather says")
    func weather() throws {
        var network = Network(machines: 3, chance: SeededGenerator(seed: 7))
        network.weather.loss = 0.2
        network.weather.duplication = 0.1
        var lost = 0
        var doubled = 0
        var delays: [Double] = []
        for _ in 0..<20_000 {
            let fate = network.fate(from: 0, to: 1)
            if let first = fate.first { delays.append(first.milliseconds) } else { lost += 1 }
            if fate.second != nil { doubled += 1 }
        }
        #expect((3700...4300).contains(lost))
        #expect((1450...1750).contains(doubled))
        let mean = delays.reduce(0, +) / Double(delays.count)
        #expect((0.24...0.26).contains(mean))
        #expect(try #require(delays.min()) >= 0.15)
    }

    @Test("a cut works one way, a partition both ways, and healing ends both")
    func cuts() {
        var network = Network(machines: 3, chance: SeededGenerator(seed: 7))
        network.cut(from: 0, to: 1)
        #expect(network.fate(from: 0, to: 1).first == nil)
        #expect(network.fate(from: 1, to: 0).first != nil)
        network.partition([0, 0, 1])
        #expect(network.fate(from: 1, to: 2).first == nil)
        #expect(network.fate(from: 2, to: 1).first == nil)
        #expect(network.fate(from: 1, to: 0).first != nil)
        network.heal()
        #expect(!network.isCut(from: 0, to: 1) && !network.isCut(from: 1, to: 2))
    }

    @Test("the truth remembers what overlapped a window, and what filled it")
    func history() {
        let at = { (seconds: Double) in TrueTime.zero + .seconds(seconds) }
        var history = History()
        history.begin(.cut(from: 0, to: 1), at: at(1))
        history.end(.cut(from: 0, to: 1), at: at(2))
        history.begin(.paused(2), at: at(5))
        history.begin(.divided([0, 0, 0, 1]), at: at(6))

        let quiet = history.window(from: at(3), to: at(4))
        #expect(quiet.wasGood(0, 1) && quiet.ranThroughout(2))
        let early = history.window(from: at(0.5), to: at(1.5))
        #expect(
            !early.wasGood(0, 1) && !early.wasGood(1, 0) && early.wasEverGood(from: 0, to: 1) && early.wasGood(0, 2))
        let inside = history.window(from: at(1.2), to: at(1.8))
        #expect(!inside.wasEverGood(from: 0, to: 1) && inside.wasEverGood(from: 1, to: 0))
        let late = history.window(from: at(5.5), to: at(7))
        #expect(!late.ranThroughout(2) && late.wasGood(2, 0))
        #expect(!late.wasGood(3, 0) && late.wasEverGood(from: 3, to: 0))
        #expect(!history.window(from: at(6.5), to: at(7)).wasEverGood(from: 3, to: 0))
    }

    @Test("faults are drawn before the run, from a stream of their own: more nodes' packets cannot change them")
    func plans() {
        for scenario in Scenario.all {
            let one = SimulatedCluster(scenario: scenario, nodes: 5, seed: 11)
            let two = SimulatedCluster(scenario: scenario, nodes: 5, seed: 11)
            let other = SimulatedCluster(scenario: scenario, nodes: 5, seed: 12)
            let faults = { (cluster: SimulatedCluster) in cluster.plan.steps.map { "\($0.at) \($0.fault)" } }
            #expect(faults(one) == faults(two))
            #expect(scenario.name == "steady" || faults(one) != faults(other))
            #expect(one.plan.steps.allSatisfy { $0.at >= one.faultsFrom && $0.at < one.healsAt })
        }
    }

    @Test("what a figure is called a percentile of was really measured")
    func percentiles() {
        var figures = Figures()
        #expect(figures.detection(percentile: 50) == nil)
        figures.detections = (1...100).map(Double.init).reversed()
        #expect(figures.detection(percentile: 50) == 50)
        #expect(figures.detection(percentile: 99) == 99)
        figures.detections = [7]
        #expect(figures.detection(percentile: 99) == 7)
    }

    @Test("a stalled stream is made anew when its peer is heard again, and keeps what waits; one that works stays")
    func streams() {
        let now = TrueTime.zero + .seconds(10)
        var stream = SimulatedMachine.Stream()
        (stream.peerBoot, stream.frames) = (1, [SimulatedMachine.StreamFrame(bytes: [1])])
        let first = stream.connection
        stream.makeAnew(at: now)
        #expect(!first.isCut && stream.peerBoot == 1)
        (stream.stallsUntil, stream.lastArrival) = (now + .seconds(5), now + .seconds(5))
        stream.makeAnew(at: now)
        #expect(first.isCut && !stream.connection.isCut && stream.peerBoot == nil)
        #expect(stream.lastArrival == now && stream.frames.count == 1)
    }
}
