import Primitives

extension Scenario {
    package static func named(_ name: String) -> Scenario? { all.first { $0.name == name } }

    package static let all: [Scenario] = membership + databases

    static let membership: [Scenario] = [
        steady, crash, massCrash, partition, pauses, awakening, loss, oneWay, flapping, blackHole, restart, churn,
        clocks,
        blackout,
        unplugged, everything,
    ]

    static let steady = Scenario(name: "steady", summary: "nothing goes wrong: traffic at rest", length: .seconds(20)) {
        _ in
    }

    static let crash = Scenario(
        name: "crash", summary: "one machine after the other loses power and comes back",
        findsCrashes: { $0 <= 16 ? .milliseconds(1000) : $0 <= 64 ? .seconds(2) : .seconds(3) },
        returnsWithin: .seconds(2)
    ) { draft in
        let end = draft.end - .seconds(2)
        // One after the other: a node that loses all others at once thinks itself cut off first, and rightly.
        for moment in draft.moments(every: .seconds(5), to: .seconds(8)) where moment < end - .seconds(1) {
            let victim = draft.node()
            draft.add(
                .powerCut(victim), until: .boot(victim), at: moment, for: draft.duration(.seconds(3), .seconds(5)))
        }
        // The last one stays off.
        let last = draft.node()
        draft.add(.powerCut(last), at: end)
        draft.plan.retired = [last]
    }

    static let massCrash = Scenario(
        name: "mass-crash", summary: "a tenth of all machines loses power at once", nodes: 1000, length: .seconds(10),
        findsCrashes: { _ in .seconds(3) }
    ) { draft in
        let victims = draft.someNodes(max(1, draft.nodes / 10))
        let moment = draft.start + draft.duration(.seconds(1), .seconds(2))
        for victim in victims { draft.add(.powerCut(victim), at: moment) }
        draft.plan.retired = Set(victims)
    }

    static let partition = Scenario(
        name: "partition", summary: "the network falls into parts, for a second to a minute", length: .seconds(60)
    ) { draft in
        var moment = draft.start + draft.duration(.zero, .seconds(1))
        while moment < draft.end {
            let length = draft.anyDuration(.milliseconds(300), .seconds(60))
            draft.add(.partition(draft.groups()), until: .merge, at: moment, for: length)
            moment = moment + length + draft.duration(.milliseconds(200), .seconds(8))
        }
    }

    static let pauses = Scenario(
        name: "pauses", summary: "nodes stand still, 50 ms to 10 s, one or several at once"
    ) { draft in
        for moment in draft.moments(every: .milliseconds(100), to: .seconds(2)) {
            let atOnce = draft.chance.chance(0.2) ? 1 + draft.chance.below(draft.nodes) : 1
            let length = draft.anyDuration(.milliseconds(50), .seconds(10))
            for node in draft.someNodes(atOnce) {
                draft.add(.pause(node, for: length, draft.pause()), at: moment)
                if draft.chance.chance(0.2) {
                    let step = draft.duration(.seconds(-3), .seconds(3))
                    draft.add(.wallClockStep(node, step), at: moment + length / 2)
                }
            }
        }
    }

    /// What a pause must not count for, at its most tempting: most observers wake at one moment and hear each other well again,
    /// but somebody who ran all the time badly, though well enough.
    static let awakening = Scenario(
        name: "awakening",
        summary: "most nodes stand still and wake together, while another loses a quarter of what it says and hears",
        length: .seconds(60)
    ) { draft in
        for moment in draft.moments(every: .milliseconds(2500), to: .seconds(4)) {
            let sleepers = draft.someNodes(draft.nodes / 2 + draft.chance.below(max(1, (draft.nodes - 1) / 2)) + 1)
                .prefix(draft.nodes - 1)
            let length = draft.duration(.milliseconds(800), .milliseconds(2200))
            let pause: Pause = draft.chance.chance(0.5) ? .stopped : .suspended
            for node in sleepers {
                draft.add(.pause(node, for: length + draft.duration(.zero, .milliseconds(20)), pause), at: moment)
            }
            // Of two with such losses too little comes through between them: one in three messages.
            let awake = (0..<draft.nodes).filter { !sleepers.contains($0) }
            let (bad, good) = (Weather.tolerableLoss, 0.0)
            if let lossy = draft.chance.pick(from: awake) {
                draft.add(
                    .loss(ingress: bad, egress: bad, at: lossy), until: .loss(ingress: good, egress: good, at: lossy),
                    at: moment, for: length + .seconds(1))
            }
        }
    }

    static let loss = Scenario(
        name: "loss", summary: "every link loses a fifth of its packets, delays, doubles and reorders others",
        length: .seconds(60)
    ) { draft in
        for moment in draft.moments(every: .seconds(5), to: .seconds(10)) {
            var weather = Weather()
            weather.loss = draft.chance.unit() * 0.2
            weather.delay = 100 + draft.chance.below(5000)
            weather.jitter = 50 + draft.chance.below(4000)
            weather.duplication = draft.chance.unit() * 0.1
            weather.spikes = draft.chance.unit() * 0.1
            weather.spike = draft.chance.below(60_000)
            draft.add(.weather(weather), at: moment)
        }
    }

    static let oneWay = Scenario(
        name: "one-way", summary: "links and whole nodes that only hear, or are only heard"
    ) { draft in
        for moment in draft.moments(every: .milliseconds(500), to: .seconds(4)) {
            let length = draft.anyDuration(.milliseconds(200), .seconds(10))
            let (a, b) = draft.pair()
            switch draft.chance.below(4) {
            case 0:
                draft.add(
                    .loss(ingress: 1, egress: 0, at: a), until: .loss(ingress: 0, egress: 0, at: a), at: moment,
                    for: length)
            case 1:
                draft.add(
                    .loss(ingress: 0, egress: 1, at: a), until: .loss(ingress: 0, egress: 0, at: a), at: moment,
                    for: length)
            default:
                draft.add(.cut(from: a, to: b), until: .mend(from: a, to: b), at: moment, for: length)
            }
        }
    }

    static let flapping = Scenario(
        name: "flapping", summary: "a node's ingress goes off and on, another loses 80 % of its packets",
        nodes: 8, length: .seconds(60)
    ) { draft in
        let (flapper, lossy) = draft.pair()
        draft.add(.loss(ingress: 0.8, egress: 0.8, at: lossy), at: draft.start + .seconds(1))
        var moment = draft.start
        while moment < draft.end {
            let off = draft.anyDuration(.milliseconds(100), .seconds(20))
            draft.add(
                .loss(ingress: 1, egress: 0, at: flapper), until: .loss(ingress: 0, egress: 0, at: flapper),
                at: moment, for: off)
            moment = moment + off + draft.anyDuration(.milliseconds(100), .seconds(20))
        }
    }

    static let blackHole = Scenario(
        name: "black-hole", summary: "pairs of nodes that cannot talk to each other, while all others can"
    ) { draft in
        for moment in draft.moments(every: .seconds(2), to: .seconds(8)) {
            let (a, b) = draft.pair()
            let length = draft.anyDuration(.seconds(1), .seconds(20))
            draft.add(.cut(from: a, to: b), until: .mend(from: a, to: b), at: moment, for: length)
            draft.add(.cut(from: b, to: a), until: .mend(from: b, to: a), at: moment, for: length)
        }
    }

    static let restart = Scenario(
        name: "restart", summary: "kill -9 and a start within 200 ms, over and over; at times power cuts",
        returnsWithin: .seconds(1)
    ) { draft in
        for moment in draft.moments(every: .milliseconds(1300), to: .seconds(3)) {
            let victim = draft.node()
            let isPower = draft.chance.chance(0.2)
            draft.add(
                isPower ? .powerCut(victim) : .kill(victim), until: .boot(victim), at: moment,
                for: draft.duration(.milliseconds(20), .milliseconds(200)))
        }
    }

    static let churn = Scenario(
        name: "churn", summary: "machines are added, removed, renumbered, leave and come back, near a foreign cluster",
        length: .seconds(40), spares: 4, strangers: 2
    ) { draft in
        var spares = Array(draft.nodes..<draft.nodes + draft.spares)
        var removed: Set<Int> = []
        for moment in draft.moments(every: .milliseconds(500), to: .seconds(4)) {
            let (a, b) = draft.pair()
            guard !removed.contains(a), !removed.contains(b) else { continue }
            switch draft.chance.below(4) {
            case 0 where !spares.isEmpty: draft.add(.boot(spares.removeFirst()), at: moment)
            case 1 where removed.count * 3 < draft.nodes:
                removed.insert(a)
                draft.add(.remove(a, by: b), at: moment)
            case 2: draft.add(.renumber(a), at: moment)
            default:
                draft.add(.leave(a), until: .boot(a), at: moment, for: draft.duration(.seconds(1), .seconds(5)))
            }
        }
    }

    static let clocks = Scenario(
        name: "clocks", summary: "clocks that run 2 % fast or slow, jump, and are set while a node stands still"
    ) { draft in
        for moment in draft.moments(every: .milliseconds(500), to: .seconds(3)) {
            let node = draft.node()
            switch draft.chance.below(3) {
            case 0: draft.add(.clockRate(node, 0.98 + draft.chance.unit() * 0.04), at: moment)
            case 1: draft.add(.clockJump(node, draft.anyDuration(.milliseconds(50), .seconds(3600))), at: moment)
            default:
                let length = draft.duration(.milliseconds(50), .seconds(1))
                draft.add(.pause(node, for: length, .stopped), at: moment)
                draft.add(
                    .wallClockStep(node, draft.duration(.seconds(-86_400), .seconds(86_400))), at: moment + length / 2)
            }
        }
    }

    static let blackout = Scenario(
        name: "blackout", summary: "all machines lose power, and come back one by one", length: .seconds(20)
    ) { draft in
        let moment = draft.start + draft.duration(.seconds(1), .seconds(3))
        for node in 0..<draft.nodes {
            draft.add(.powerCut(node), at: moment)
            draft.add(.boot(node), at: moment + draft.duration(.seconds(2), .seconds(12)))
        }
    }

    static let unplugged = Scenario(
        name: "unplugged", summary: "nodes lose their carrier, and know it; they accuse nobody"
    ) { draft in
        for moment in draft.moments(every: .seconds(1), to: .seconds(5)) {
            let node = draft.node()
            draft.add(
                .unplug(node), until: .plug(node), at: moment, for: draft.anyDuration(.milliseconds(100), .seconds(10)))
        }
    }

    static let everything = Scenario(
        name: "everything", summary: "all of the above, drawn at random", length: .seconds(60), spares: 2, strangers: 1
    ) { draft in
        let kinds = [crash, partition, pauses, loss, oneWay, flapping, blackHole, restart, churn, clocks, unplugged]
        var some = kinds.filter { _ in draft.chance.chance(0.35) }
        if some.isEmpty { some = [pauses] }
        for kind in some {
            var part = draft
            part.chance = draft.chance.fork(kind.name)
            part.plan = FaultPlan()
            kind.draw(&part)
            for step in part.plan.steps { draft.plan.add(step.fault, at: step.at) }
            draft.plan.retired.formUnion(part.plan.retired)
        }
    }
}
