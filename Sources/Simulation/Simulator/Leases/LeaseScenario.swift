import Leases
import Primitives

/// A kind of trouble for leases, by name.
package struct LeaseScenario: Sendable {
    package let name: String
    package let summary: String
    /// Nodes that hold leases, when not told otherwise, and the least and most that make sense.
    package var nodes: Int
    package var range: ClosedRange<Int>
    package var hasWitness = false
    package var length = Duration.seconds(30)
    /// Machines that join later.
    var spares = 0
    /// All nodes run and nothing is lost: every planned move has to be as quick as promised.
    var checksMoves = false
    /// T and Q are as short as the inequalities allow, so that the inequalities themselves are tried.
    var isTight = false
    var profile: @Sendable (inout SeededGenerator) -> LeaseConfig.Profile = { $0.chance(0.7) ? .fast : .calm }
    let draw: @Sendable (inout FaultDraft, inout [LeaseOrder]) -> Void
}

/// What operators do in a run.
struct LeaseOrder: Sendable {
    enum Order: Sendable {
        /// Whoever holds this lease stops its service and hands it over.
        case move(lease: Int)
        /// These are the members from now on, and whether the witness is named.
        case members([Int], witness: Bool)
        /// Misfortune finds whoever holds this lease at that moment.
        case strike(Strike, lease: Int)
    }
    enum Strike: Sendable {
        case pause(Duration)
        case isolate(Duration)
        /// Cut off, and all others restart at once: what they forgot has to be dead before they speak.
        case amnesia(Duration)
        /// As many others as are no majority are cut off together: none of them may become a second holder.
        case corner(Duration)
    }
    var at: TrueTime
    var order: Order
}

extension LeaseScenario {
    package static func named(_ name: String) -> LeaseScenario? { all.first { $0.name == name } }
    package static let all: [LeaseScenario] = [
        majority, witness, twoNodes, voters, strikes, corners, moves,
    ]

    package static let majority = LeaseScenario(
        name: "leases-majority",
        summary: "three to seven nodes: crashes, pauses, partitions, loss, late packets, drift",
        nodes: 3, range: 3...9
    ) { draft, orders in
        everything(&draft, &orders, nodes: draft.nodes)
    }

    static let witness = LeaseScenario(
        name: "leases-witness", summary: "two nodes and a witness, and all of that", nodes: 2, range: 2...2,
        hasWitness: true
    ) { draft, orders in
        everything(&draft, &orders, nodes: draft.nodes + 1)
    }

    static let twoNodes = LeaseScenario(
        name: "leases-two-nodes", summary: "two nodes and a reach list: one thing goes wrong at a time", nodes: 2,
        range: 2...2
    ) { draft, orders in
        var weather = Weather()
        weather.loss = draft.chance.unit() * 0.1
        weather.delay = 100 + draft.chance.below(3000)
        weather.jitter = 50 + draft.chance.below(2000)
        weather.duplication = draft.chance.unit() * 0.1
        draft.add(.weather(weather), at: draft.start)
        for node in 0..<2 { draft.add(.clockRate(node, draft.rate()), at: draft.start) }
        var moment = draft.start + draft.duration(.seconds(1), .seconds(4))
        while moment < draft.end {
            let length = draft.anyDuration(.milliseconds(30), .seconds(8))
            let node = draft.node()
            switch draft.chance.below(8) {
            case 0: draft.add(.powerCut(node), until: .boot(node), at: moment, for: length)
            case 1: draft.add(.kill(node), until: .boot(node), at: moment, for: length)
            case 2: draft.add(.partition([0, 1]), until: .merge, at: moment, for: length)
            case 3: draft.add(.partition([1, 0]), until: .merge, at: moment, for: length)
            case 4: draft.add(.unplug(node), until: .plug(node), at: moment, for: length)
            case 5:
                draft.add(
                    draft.chance.chance(0.5)
                        ? .loss(ingress: 1, egress: 0, at: node) : .loss(ingress: 0, egress: 1, at: node),
                    until: .loss(ingress: 0, egress: 0, at: node), at: moment, for: length)
            default:
                let pause: Pause = draft.chance.chance(0.6) ? .stopped : .suspended
                draft.add(.pause(node, for: length, pause), at: moment)
            }
            // Both have to have met again before the next: two faults at once are not promised.
            moment = moment + length + draft.duration(.seconds(4), .seconds(8))
            if draft.chance.chance(0.3) { orders.append(LeaseOrder(at: moment - .seconds(1), order: .move(lease: 0))) }
        }
    }

    static let voters = LeaseScenario(
        name: "leases-voters", summary: "members come and go, and who votes changes meanwhile", nodes: 3, range: 3...7,
        length: .seconds(60), spares: 3
    ) { draft, orders in
        everything(&draft, &orders, nodes: draft.nodes, gentle: true)
        var members = Array(0..<draft.nodes)
        for moment in draft.moments(every: .seconds(4), to: .seconds(12)) {
            let outside = (0..<(draft.nodes + draft.spares)).filter { !members.contains($0) }
            if members.count > 3, draft.chance.chance(0.5) {
                members.remove(at: draft.chance.below(members.count))
            } else if let one = draft.chance.pick(from: outside) {
                members.append(one)
                draft.add(.boot(one), at: moment)
            }
            members.sort()
            orders.append(LeaseOrder(at: moment, order: .members(members, witness: false)))
        }
    }

    static let strikes = LeaseScenario(
        name: "leases-strikes",
        summary: "the holder is paused, cut off, or all its voters restart; numbers at their limits",
        nodes: 3, range: 3...5, isTight: true, profile: { _ in .fast }
    ) { draft, orders in
        for node in 0..<draft.nodes { draft.add(.clockRate(node, draft.rate()), at: draft.start) }
        for moment in draft.moments(every: .seconds(1), to: .seconds(3)) {
            var weather = Weather()
            weather.delay = 100 + draft.chance.below(60_000)
            weather.jitter = 50 + draft.chance.below(20_000)
            weather.duplication = draft.chance.unit() * 0.2
            weather.spikes = draft.chance.unit() * 0.3
            weather.spike = draft.chance.below(500_000)
            draft.add(.weather(weather), at: moment)
        }
        for moment in draft.moments(every: .seconds(2), to: .seconds(4)) {
            let length = draft.anyDuration(.milliseconds(300), .seconds(2))
            let strike: LeaseOrder.Strike =
                switch draft.chance.below(3) {
                case 0: .pause(length)
                case 1: .isolate(length)
                default: .amnesia(length)
                }
            orders.append(LeaseOrder(at: moment, order: .strike(strike, lease: draft.chance.below(3))))
        }
    }

    static let corners = LeaseScenario(
        name: "leases-corners",
        summary: "a minority without the holder is cut off for longer than a term, on a network that doubles packets",
        nodes: 5, range: 5...9, profile: { _ in .fast }
    ) { draft, orders in
        for node in 0..<draft.nodes { draft.add(.clockRate(node, draft.rate()), at: draft.start) }
        var weather = Weather()
        weather.delay = 100 + draft.chance.below(5000)
        weather.jitter = 50 + draft.chance.below(5000)
        weather.duplication = 0.3 + draft.chance.unit() * 0.6
        draft.add(.weather(weather), at: draft.start)
        for moment in draft.moments(every: .seconds(3), to: .seconds(5)) {
            let length = draft.duration(.seconds(1), .seconds(3))
            orders.append(LeaseOrder(at: moment, order: .strike(.corner(length), lease: draft.chance.below(3))))
        }
    }

    static let moves = LeaseScenario(
        name: "leases-moves", summary: "planned moves while nothing goes wrong", nodes: 3, range: 2...7,
        length: .seconds(15), checksMoves: true, profile: { _ in .fast }
    ) { draft, orders in
        for moment in draft.moments(every: .seconds(1), to: .seconds(2)) {
            orders.append(LeaseOrder(at: moment, order: .move(lease: draft.chance.below(3))))
        }
    }

    private static func everything(
        _ draft: inout FaultDraft, _ orders: inout [LeaseOrder], nodes: Int, gentle: Bool = false
    ) {
        for node in 0..<nodes { draft.add(.clockRate(node, draft.rate()), at: draft.start) }
        for moment in draft.moments(every: .seconds(1), to: .seconds(6)) {
            var weather = Weather()
            weather.loss = draft.chance.unit() * (gentle ? 0.05 : 0.3)
            weather.delay = 100 + draft.chance.below(4000)
            weather.jitter = 50 + draft.chance.below(8000)
            weather.duplication = draft.chance.unit() * 0.3
            weather.spikes = draft.chance.unit() * 0.2
            weather.spike = draft.chance.below(gentle ? 200_000 : 1_500_000)
            draft.add(.weather(weather), at: moment)
        }
        for moment in draft.moments(every: .milliseconds(200), to: gentle ? .seconds(6) : .seconds(3)) {
            let node = draft.chance.below(nodes)
            let length = draft.anyDuration(.milliseconds(20), .seconds(6))
            switch draft.chance.below(9) {
            case 0, 1: draft.add(.powerCut(node), until: .boot(node), at: moment, for: length)
            case 2: draft.add(.kill(node), until: .boot(node), at: moment, for: .milliseconds(50) + length / 10)
            case 3:
                let groups = (0..<nodes).map { _ in draft.chance.below(2) }
                draft.add(
                    .partition(groups + Array(repeating: 0, count: draft.spares)), until: .merge, at: moment,
                    for: length)
            case 4:
                let other = (node + 1 + draft.chance.below(nodes - 1)) % nodes
                draft.add(.cut(from: node, to: other), until: .mend(from: node, to: other), at: moment, for: length)
            case 5: orders.append(LeaseOrder(at: moment, order: .move(lease: draft.chance.below(3))))
            default:
                draft.add(.pause(node, for: length, draft.chance.chance(0.6) ? .stopped : .suspended), at: moment)
            }
        }
    }
}

extension FaultDraft {
    /// Within the clock error that leases allow for, and most of it used.
    fileprivate mutating func rate() -> Double { 1 + (chance.unit() * 2 - 1) * 0.0098 }
}
