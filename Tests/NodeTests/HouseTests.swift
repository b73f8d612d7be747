import Leases
import Node
import Primitives
import Services
import Testing

@Suite("services follow the shared facts, and one node at a time runs each")
struct HouseTests {
    private let web = ServiceName("web")!

    private func settings(reach: [IPAddress] = []) -> HouseSettings {
        HouseSettings(
            pair: LeaseConfig(.fast, isPair: true), votes: LeaseConfig(.fast, isPair: false), memory: LeaseMemory(),
            reach: reach)
    }
    private func desired(reach: [IPAddress] = []) -> [(key: String, value: [UInt8]?)] {
        var service = Service(name: web)
        service.run = .exec(["/bin/web"])
        var state = DesiredState()
        state.services = [service]
        state.reach = reach
        return state.rows.map { ($0.factKey, Array($0.factValue.utf8)) }
    }
    /// So many nodes that have met and agreed on the voters.
    private func town(_ count: UInt64, reach: [IPAddress] = []) -> NodeBus {
        var bus = NodeBus()
        for number in 1...count { bus.start(number, house: settings(reach: reach)) }
        for number in 2...count { bus.sight(1, at: number) }
        bus.run(for: .seconds(30))
        return bus
    }
    private func runners(_ bus: NodeBus) -> [NodeID] { (bus.running[web] ?? [:]).keys.sorted() }

    @Test("nodes without services agree on who votes, and order nothing of their machines", arguments: [2, 3, 5])
    func quiet(count: UInt64) {
        let bus = town(count)
        let voters = Set(bus.cores.values.compactMap { $0.houseSnapshot(now: bus.now)?.voters })
        #expect(voters.count == 1 && voters.first?.nodes.count == Int(count))
        for effects in bus.services.values {
            #expect(effects.allSatisfy { if case .persist = $0 { true } else { false } }, "\(effects)")
        }
    }

    @Test("a service written on one node starts on one, and every node says where", arguments: [2, 3])
    func starts(count: UInt64) throws {
        var bus = town(count)
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(5))
        #expect(runners(bus).count == 1)
        for core in bus.cores.values {
            let report = try #require(core.houseSnapshot(now: bus.now)?.reports.first)
            #expect(report.state == .running && report.node == runners(bus).first)
        }
    }

    @Test(
        "of a service that fails wherever it is tried, every node says why at any moment, in one line",
        arguments: [2, 3])
    func reasons(count: UInt64) throws {
        var bus = town(count)
        bus.startFailure = "no disk\n" + String(repeating: "x", count: 1000)
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(30))
        var holders: Set<NodeID?> = []
        for _ in 0..<100 {
            bus.run(for: .milliseconds(700))
            for (id, core) in bus.cores {
                let report = try #require(core.houseSnapshot(now: bus.now)?.reports.first)
                let text = report.because.first?.text ?? ""
                #expect(report.state != .running && text.contains("no disk"), "\(id): \(text)")
                // What came from another node is short, and has no lines.
                if report.node != id { #expect(text.utf8.count < 1000 && !text.contains("\n"), "\(text)") }
                holders.insert(report.node)
            }
        }
        #expect(holders.count == 1, "\(holders)")
    }

    @Test("when its node is gone, another one runs it with a higher epoch", arguments: [2, 3])
    func failover(count: UInt64) throws {
        var bus = town(count, reach: [IPAddress("10.0.0.254")!])
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(5))
        let first = try #require(runners(bus).first)
        let epoch = try #require(bus.running[web]?[first])
        bus.stop(first.high)
        bus.run(for: .seconds(10))
        let second = try #require(runners(bus).first)
        #expect(runners(bus).count == 1 && second != first)
        #expect(bus.running[web]![second]! > epoch)
    }

    @Test("an order of any node holds for all: a node on hold hands over, and takes nothing until it is resumed")
    func hold() throws {
        var bus = town(3)
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(5))
        let first = try #require(runners(bus).first)
        let asked: UInt64 = first.high == 1 ? 2 : 1
        try bus.order(asked) { core, now throws(NodeCore.Refusal) in
            try core.order(now: now) { $0.set(first, to: .hold, revision: $1) }
        }
        bus.run(for: .seconds(5))
        #expect(runners(bus).count == 1 && runners(bus) != [first])
        for core in bus.cores.values {
            #expect(core.houseSnapshot(now: bus.now)?.standing.standby(of: first) == .hold)
        }
    }

    @Test("two nodes and a witness: it votes and is given nothing else, and either node may die")
    func witness() throws {
        var bus = town(2)
        bus.start(3, witness: WitnessSettings(votes: LeaseConfig(.fast, isPair: false), memory: LeaseMemory()))
        for number: UInt64 in 1...2 {
            bus.sight(number, at: 3)
            bus.handle(.databaseHash(7), at: NodeBus.id(number))
        }
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(30))
        let tie = NodeBus.id(3)
        for number: UInt64 in 1...2 {
            let shown = try #require(bus.cores[NodeBus.id(number)]?.houseSnapshot(now: bus.now))
            #expect(shown.voters.witness == tie && shown.voters.nodes.count == 3 && shown.guarantee == .witness)
            #expect(shown.ranking[web]?.contains(tie) == false)
            #expect(bus.databasePeers[NodeBus.id(number)]?.members == [NodeBus.id(1), NodeBus.id(2)])
        }
        // All that it asks of its machine is to write down what it voted for.
        #expect(bus.services[tie]?.isEmpty == false)
        #expect(bus.services[tie]?.allSatisfy { if case .persist = $0 { true } else { false } } == true)
        let first = try #require(runners(bus).first)
        let epoch = try #require(bus.running[web]?[first])
        bus.stop(first.high)
        bus.run(for: .seconds(5))
        let second = try #require(runners(bus).first)
        #expect(runners(bus).count == 1 && second != first && second != tie)
        #expect(bus.running[web]![second]! > epoch)
    }

    @Test("a node that comes back without its facts is told by the others what operators ordered")
    func forgot() throws {
        var bus = town(2)
        try bus.order(1) { core, now throws(NodeCore.Refusal) in
            try core.order(now: now) { $0.set(NodeBus.id(2), to: .hold, revision: $1) }
        }
        bus.run(for: .seconds(1))
        bus.stop(2)
        bus.run(for: .seconds(3))
        bus.start(2, house: settings())
        #expect(bus.cores[NodeBus.id(2)]?.houseSnapshot(now: bus.now)?.standing.standby(of: NodeBus.id(2)) == .no)
        bus.sight(2, at: 1)
        bus.run(for: .seconds(1))
        #expect(bus.cores[NodeBus.id(2)]?.houseSnapshot(now: bus.now)?.standing.standby(of: NodeBus.id(2)) == .hold)
    }

    @Test("a rehearsed failure makes another node run it, whoever was asked", arguments: [2, 3])
    func drill(count: UInt64) throws {
        var bus = town(count, reach: [IPAddress("10.0.0.254")!])
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(5))
        let first = try #require(runners(bus).first)
        let asked: UInt64 = first.high == 1 ? 2 : 1
        try bus.order(asked) { core, now throws(NodeCore.Refusal) in core.drill(self.web, now: now) }
        bus.run(for: .seconds(10))
        #expect(runners(bus).count == 1 && runners(bus) != [first])
    }

    @Test("the guarantee of two nodes is told by their reach list, also when it comes later")
    func guarantee() throws {
        var bus = town(2)
        #expect(bus.cores.values.allSatisfy { $0.houseSnapshot(now: bus.now)?.guarantee == .bestEffort })
        let rows = desired(reach: [IPAddress("10.0.0.254")!])
        try bus.order(2) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(2))
        #expect(bus.cores.values.allSatisfy { $0.houseSnapshot(now: bus.now)?.guarantee == .singleFault })
    }

    @Test("a service taken out of the facts stops everywhere")
    func removed() throws {
        var bus = town(3)
        let rows = desired()
        try bus.order(1) { core, now throws(NodeCore.Refusal) in try core.setFacts(rows, now: now) }
        bus.run(for: .seconds(5))
        #expect(runners(bus).count == 1)
        try bus.order(3) { core, now throws(NodeCore.Refusal) in
            try core.setFacts(rows.map { ($0.key, nil) }, now: now)
        }
        bus.run(for: .seconds(5))
        #expect(runners(bus).isEmpty)
        #expect(bus.cores.values.allSatisfy { $0.houseSnapshot(now: bus.now)?.reports.isEmpty == true })
    }
}
