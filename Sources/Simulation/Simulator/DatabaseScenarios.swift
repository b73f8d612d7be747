import Primitives

extension Scenario {
    static let databases: [Scenario] = [
        database, databasePartition, databaseCrash, databaseJoin, databaseDeletes, databaseClock, databaseRestore,
        databaseSchema, databaseConflicts, databaseUpgrade, databaseRemoved, databaseEverything,
    ]

    private static func about(
        _ name: String, _ summary: String, length: Duration = .seconds(20), spares: Int = 0,
        plan: DatabasePlan = DatabasePlan(), draw: @escaping @Sendable (inout FaultDraft) -> Void
    ) -> Scenario {
        var scenario = Scenario(name: name, summary: summary, length: length, spares: spares, draw: draw)
        scenario.database = plan
        return scenario
    }

    static let database = about("database", "any node writes, messages are lost and delayed, nodes stand still") {
        draft in
        for moment in draft.moments(every: .seconds(2), to: .seconds(5)) {
            switch draft.chance.below(3) {
            case 0:
                var weather = Weather()
                weather.loss = draft.chance.unit() * 0.15
                weather.jitter = 50 + draft.chance.below(4000)
                weather.spikes = draft.chance.unit() * 0.1
                weather.spike = draft.chance.below(60_000)
                draft.add(.weather(weather), at: moment)
            case 1:
                draft.add(
                    .pause(draft.node(), for: draft.anyDuration(.milliseconds(50), .seconds(3)), .stopped), at: moment)
            default:
                let (a, b) = draft.pair()
                draft.add(
                    .cut(from: a, to: b), until: .mend(from: a, to: b), at: moment,
                    for: draft.anyDuration(.milliseconds(200), .seconds(5)))
            }
        }
    }

    static let databasePartition = about(
        "database-partition", "both sides of a partition write, and meet again", length: .seconds(30)
    ) { draft in
        var moment = draft.start + draft.duration(.zero, .seconds(2))
        while moment < draft.end {
            let length = draft.anyDuration(.milliseconds(500), .seconds(15))
            draft.add(.partition(draft.groups()), until: .merge, at: moment, for: length)
            moment = moment + length + draft.duration(.milliseconds(500), .seconds(4))
        }
    }

    static let databaseCrash = about(
        "database-crash", "nodes lose power and what they had not synced, one or all at once, or are killed",
        plan: DatabasePlan(pause: .milliseconds(20))
    ) { draft in
        for moment in draft.moments(every: .milliseconds(700), to: .seconds(3)) {
            // The power of the whole house: what was sent and not synced is nowhere any more.
            if draft.chance.chance(0.25) {
                for node in 0..<draft.nodes {
                    draft.add(
                        .powerCut(node), until: .boot(node), at: moment,
                        for: draft.anyDuration(.milliseconds(50), .seconds(2)))
                }
                continue
            }
            let victim = draft.node()
            draft.add(
                draft.chance.chance(0.7) ? .powerCut(victim) : .kill(victim), until: .boot(victim), at: moment,
                for: draft.anyDuration(.milliseconds(50), .seconds(3)))
        }
    }

    static let databaseJoin = about(
        "database-join",
        "empty nodes join while others write, one loses its disk, one gets an old image, one is removed",
        length: .seconds(25), spares: 2
    ) { draft in
        let third = draft.end - draft.start
        for spare in 0..<draft.spares {
            draft.add(.boot(draft.nodes + spare), at: draft.start + draft.duration(.zero, third / 2))
        }
        // One of these, so that what one disk alone had is all that may be lost.
        let victim = draft.node()
        let moment = draft.start + third / 3 + draft.duration(.zero, third / 3)
        switch draft.chance.below(3) {
        case 0: draft.add(.wipe(victim), until: .boot(victim), at: moment, for: .seconds(1))
        case 1: draft.add(.rollBack(victim), until: .boot(victim), at: moment, for: .seconds(1))
        default:
            guard draft.nodes > 2 else { break }
            draft.add(.remove(victim, by: (victim + 1) % draft.nodes), at: moment)
        }
    }

    static let databaseDeletes = about(
        "database-offline-deletes", "nodes are away while rows are deleted and made anew, some for most of the time",
        length: .seconds(30), plan: DatabasePlan(pause: .milliseconds(40))
    ) { draft in
        let sleeper = draft.node()
        draft.add(
            .kill(sleeper), until: .boot(sleeper), at: draft.start + .seconds(3),
            for: draft.duration(.seconds(8), .seconds(24)))
        for moment in draft.moments(every: .seconds(3), to: .seconds(8)) {
            let other = draft.node()
            guard other != sleeper else { continue }
            draft.add(
                .partition((0..<draft.nodes).map { $0 == other ? 1 : 0 }), until: .merge, at: moment,
                for: draft.anyDuration(.milliseconds(500), .seconds(6)))
        }
    }

    static let databaseClock = about(
        "database-clock", "wall clocks are set by seconds to years, also while a node is off", length: .seconds(30),
        plan: DatabasePlan(pause: .milliseconds(20))
    ) { draft in
        // One at a time is wrong by much: of two that agree on a wrong year nobody can tell.
        let wrong = draft.node()
        for moment in draft.moments(every: .seconds(1), to: .seconds(4)) {
            switch draft.chance.below(4) {
            case 0:
                let years = draft.chance.chance(0.5) ? 10.0 : -10.0
                draft.add(.wallClockStep(wrong, .seconds(Int64(years * 365 * 86_400))), at: moment)
            case 1: draft.add(.wallClockStep(draft.node(), draft.duration(.seconds(-20), .seconds(20))), at: moment)
            case 2:
                // Alone, its clock goes back, and what it had not synced is gone with the power: nobody tells it the time.
                let alone = (0..<draft.nodes).map { $0 == wrong ? 1 : 0 }
                draft.add(.partition(alone), until: .merge, at: moment, for: .seconds(3))
                draft.add(
                    .wallClockStep(wrong, draft.duration(.seconds(-3600), .seconds(-30))),
                    at: moment + .milliseconds(300))
                for cut in 0..<4 {
                    draft.add(
                        .powerCut(wrong), until: .boot(wrong), at: moment + .milliseconds(700 + 500 * cut),
                        for: .milliseconds(60))
                }
            default:
                draft.add(
                    .partition((0..<draft.nodes).map { $0 == wrong ? 1 : 0 }), until: .merge, at: moment,
                    for: draft.anyDuration(.milliseconds(500), .seconds(4)))
            }
        }
    }

    static let databaseRestore = about(
        "database-restore", "backups are restored while others write, are away or cut off: a new epoch each time",
        length: .seconds(30), plan: DatabasePlan(pause: .milliseconds(30), isRich: true)
    ) { draft in
        for moment in draft.moments(every: .seconds(4), to: .seconds(9)) {
            draft.add(.backUp(draft.node()), at: moment)
            let restored = moment + draft.anyDuration(.milliseconds(300), .seconds(6))
            draft.add(.restore(draft.node()), at: restored)
            // Now and then another one at nearly the same time, perhaps on the other side of a partition.
            if draft.chance.chance(0.3) {
                draft.add(.restore(draft.node()), at: restored + draft.anyDuration(.milliseconds(10), .seconds(2)))
            }
            switch draft.chance.below(3) {
            case 0:
                draft.add(
                    .partition(draft.groups()), until: .merge, at: moment + draft.duration(.zero, .seconds(2)),
                    for: draft.anyDuration(.milliseconds(500), .seconds(8)))
            case 1:
                let victim = draft.node()
                draft.add(
                    draft.chance.chance(0.5) ? .powerCut(victim) : .kill(victim), until: .boot(victim),
                    at: moment + draft.duration(.zero, .seconds(3)),
                    for: draft.anyDuration(.milliseconds(50), .seconds(6)))
            default: break
            }
        }
    }

    static let databaseSchema = about(
        "database-schema",
        "columns are added and counters count on all sides of partitions, and while nodes lose power",
        length: .seconds(30), spares: 1, plan: DatabasePlan(pause: .milliseconds(30), isRich: true)
    ) { draft in
        draft.add(.boot(draft.nodes), at: draft.start + draft.duration(.zero, .seconds(20)))
        for moment in draft.moments(every: .seconds(1), to: .seconds(5)) {
            if draft.chance.chance(0.6) {
                draft.add(
                    .partition(draft.groups()), until: .merge, at: moment,
                    for: draft.anyDuration(.milliseconds(300), .seconds(8)))
            } else {
                let victim = draft.node()
                draft.add(
                    .powerCut(victim), until: .boot(victim), at: moment,
                    for: draft.anyDuration(.milliseconds(50), .seconds(3)))
            }
        }
    }

    static let databaseConflicts = about(
        "database-conflicts", "many sides overwrite each other's values unseen, and each of them is listed",
        length: .seconds(25), plan: DatabasePlan(pause: .milliseconds(25), listsConflicts: true)
    ) { draft in
        for moment in draft.moments(every: .seconds(1), to: .seconds(5)) {
            draft.add(
                .partition(draft.groups()), until: .merge, at: moment,
                for: draft.anyDuration(.milliseconds(200), .seconds(6)))
        }
    }

    static let databaseUpgrade = about(
        "database-upgrade",
        "nodes are upgraded one after another and write what the others cannot read; an old one joins",
        length: .seconds(40), spares: 1, plan: DatabasePlan(pause: .milliseconds(12), isUpgrade: true)
    ) { draft in
        let part = (draft.end - draft.start) / 10
        // One that is away keeps the others from forgetting their logs: then the new one joins by log, else by a whole copy.
        if draft.nodes > 2, draft.chance.chance(0.5) {
            let away = draft.node()
            draft.add(.kill(away), until: .boot(away), at: draft.start, for: part * 7)
        }
        // The first, or all but the new one, which then finds nobody who has no more than it can read.
        let early = draft.chance.chance(0.6) ? Array(0..<draft.nodes) : [draft.node()]
        for node in early { draft.add(.upgrade(node), at: draft.start + draft.duration(part / 4, part * 2)) }
        draft.add(.boot(draft.nodes), at: draft.start + draft.duration(part, part * 4))
        for node in 0...draft.nodes {
            draft.add(.upgrade(node), at: draft.start + draft.duration(part * 8, part * 9))
        }
    }

    static let databaseRemoved = about(
        "database-removed",
        "nodes are removed while some are cut off, lose power or get old images: what they wrote stays, they are forgotten",
        length: .seconds(35), spares: 1,
        plan: DatabasePlan(pause: .milliseconds(30), convergesWithin: .seconds(20), forgetsRemoved: true)
    ) { draft in
        draft.add(.boot(draft.nodes), at: draft.start + draft.duration(.zero, .seconds(30)))
        guard draft.nodes > 2 else { return }
        let victim = draft.node()
        let others = (0..<draft.nodes).filter { $0 != victim }
        let removed = draft.start + draft.duration(.seconds(5), .seconds(15))
        draft.add(.remove(victim, by: draft.chance.pick(from: others) ?? others[0]), at: removed)
        // Often one is cut off then, with writes of its own that are older than what the removed one had deleted.
        let isCut = draft.chance.chance(0.6)
        if isCut, let other = draft.chance.pick(from: others) {
            draft.add(
                .partition((0..<draft.nodes).map { $0 == other ? 1 : 0 }), until: .merge,
                at: removed - draft.duration(.seconds(1), .seconds(4)), for: draft.duration(.seconds(6), .seconds(14)))
        }
        let calm = isCut ? removed + .seconds(13) : draft.start
        for moment in draft.moments(every: .seconds(2), to: .seconds(7)) where moment > calm {
            switch draft.chance.below(4) {
            case 0, 1:
                draft.add(
                    .partition(draft.groups()), until: .merge, at: moment,
                    for: draft.anyDuration(.milliseconds(300), .seconds(6)))
            case 2:
                guard let other = draft.chance.pick(from: others) else { break }
                draft.add(
                    .powerCut(other), until: .boot(other), at: moment,
                    for: draft.anyDuration(.milliseconds(50), .seconds(6)))
            default: break
            }
        }
        // One of them gets an image of before it was forgotten.
        if draft.chance.chance(0.5), let other = draft.chance.pick(from: others) {
            draft.add(
                .rollBack(other), until: .boot(other), at: draft.end - draft.duration(.seconds(1), .seconds(10)),
                for: .seconds(1))
        }
    }

    static let databaseEverything = about(
        "database-everything", "all of that, drawn at random", length: .seconds(40), spares: 2
    ) { draft in
        let kinds = [database, databasePartition, databaseCrash, databaseJoin, databaseDeletes, databaseClock]
        var some = kinds.filter { _ in draft.chance.chance(0.45) }
        if some.isEmpty { some = [databaseCrash, databasePartition] }
        for kind in some {
            var part = draft
            part.chance = draft.chance.fork(kind.name)
            part.plan = FaultPlan()
            kind.draw(&part)
            for step in part.plan.steps { draft.plan.add(step.fault, at: step.at) }
        }
    }
}
