package import Leases
import Primitives

/// A cluster of lease cores on one thread, from one seed: clocks of their own rates, pauses, loss, crashes that forget,
/// disks that are slow, and for each machine a kernel gate that closes by itself. What is checked is the gates, in
/// real time, whatever the daemons believe.
package final class LeaseSimulation {
    struct Arrival {
        var bytes: [UInt8]
        var from: Int
    }
    private enum Happening {
        case fault(Fault)
        case order(LeaseOrder.Order)
        case pulse(Int, pulse: Int)
        case arrival(Arrival, to: Int)
        case synced(Int, boot: Int, memory: LeaseMemory, ticket: UInt32)
        case event(Int, boot: Int, LeaseEvent)
        case gate(Int, LeaseName, alarm: Int)
        case resume(Int, pulse: Int)
        case wish(Int, boot: Int, LeaseName)
        case end
    }

    package let scenario: LeaseScenario
    package let nodes: Int
    package let seed: UInt64
    package let bug: LeaseBug?
    package private(set) var now = TrueTime.zero
    package private(set) var violations: [(at: TrueTime, claim: String, text: String)] = []
    package private(set) var figures = LeaseFigures()
    private var machines: [LeaseMachine] = []
    private var network: Network
    private var queue = EventQueue<Happening>()
    private var members: [Int] = []
    private var isWitnessNamed: Bool
    private let leases: [LeaseName]
    private var newestEpoch: [LeaseName: Epoch] = [:]
    private var freeSince: [LeaseName: TrueTime] = [:]
    private var moves: [LeaseName: (at: TrueTime, from: Int)] = [:]
    private var retired: Set<Int> = []
    private var lines: [String] = []
    private let profile: LeaseConfig.Profile
    private let end: TrueTime
    private var isQuiet = false
    private var orderChance: SeededGenerator
    private static let pulseLength = Duration.milliseconds(25)
    private static let reachHosts = 2

    package init(scenario: LeaseScenario, nodes: Int, seed: UInt64, seconds: Double? = nil, bug: LeaseBug? = nil) {
        self.scenario = scenario
        self.nodes = nodes
        self.seed = seed
        self.bug = bug
        let root = SeededGenerator(seed: seed)
        var chance = root.fork("set-up")
        profile = scenario.profile(&chance)
        let all = nodes + (scenario.hasWitness ? 1 : 0)
        let total = all + scenario.spares
        network = Network(machines: total, chance: root.fork("network"))
        orderChance = root.fork("orders")
        leases = ["files", "web", "names"].prefix(1 + chance.below(3)).map { .service(ServiceName($0)!) }
        members = Array(0..<nodes)
        isWitnessNamed = scenario.hasWitness
        let settled = profile == .fast ? Duration.seconds(5) : .seconds(12)
        let length = seconds.map { .nanoseconds(Int64($0 * 1e9)) } ?? scenario.length
        var draft = FaultDraft(
            nodes: nodes, spares: scenario.spares, from: .zero + settled, length: length, chance: root.fork("faults"))
        var orders: [LeaseOrder] = []
        scenario.draw(&draft, &orders)
        end = draft.end
        for number in 0..<total {
            let reading = Instant(nanoseconds: Int64(chance.below(1 << 40)))
            machines.append(
                LeaseMachine(
                    number: number, isWitness: scenario.hasWitness && number == nodes,
                    clock: MachineClock(reading: reading, rate: 1, at: now), chance: root.fork("machine \(number)")))
            for lease in leases {
                machines[number].ranks[lease] = (number + lease.description.utf8.count) % max(nodes, 1)
            }
        }
        for step in draft.plan.steps { queue.schedule(.fault(step.fault), at: step.at) }
        for order in orders where order.at < end { queue.schedule(.order(order.order), at: order.at) }
        for number in 0..<all {
            queue.schedule(
                .fault(.boot(number)), at: .zero + .nanoseconds(Int64(chance.unit() * 5e8)))
        }
        queue.schedule(.end, at: end)
    }

    // MARK: The run

    package func run() {
        let bound = quietBound
        while let (time, happening) = queue.popFirst(), violations.count < 5 {
            now = time
            if time > end + bound + .seconds(1) { break }
            happen(happening)
        }
        for lease in leases {
            guard violations.isEmpty, let since = freeSince[lease] ?? (newestEpoch[lease] == nil ? .zero : nil) else {
                continue
            }
            violate("every lease is held again within its bound once all is well", "\(lease) is free since \(since) s")
        }
        figures.simulatedSeconds = now.seconds
    }

    /// How long after the end of all faults every lease has to be held again: the longest exclusion, the waits of voters
    /// that change, bids, and for two that both restarted their wait for each other.
    private var quietBound: Duration {
        let base: Duration = profile == .fast ? .seconds(6) : .seconds(20)
        return scenario.spares > 0 ? base + .seconds(20) : base
    }

    private func happen(_ happening: Happening) {
        switch happening {
        case .fault(let fault):
            note("** \(fault)")
            befall(fault)
        case .order(let order): carryOut(order)
        case .pulse(let number, let pulse):
            guard machines[number].state == .running, machines[number].pulse == pulse else { return }
            give(.tick, to: number)
            schedulePulse(number)
        case .arrival(let arrival, let number):
            switch machines[number].state {
            case .running: receive(arrival, at: number)
            case .paused where !machines[number].isOffline:
                if machines[number].inbox.count < 2000 { machines[number].inbox.append(arrival) }
            default: break
            }
        case .synced(let number, let boot, let memory, let ticket):
            guard machines[number].boot == boot, machines[number].state != .off else { return }
            // Writes are made in order: a later one takes the place of those that still wait.
            if ticket > machines[number].syncedTicket {
                machines[number].syncedTicket = ticket
                machines[number].disk.memory = memory
            }
            queue.schedule(.event(number, boot: boot, .persisted(ticket: ticket)), at: now + .microseconds(50))
        case .event(let number, let boot, let event):
            guard machines[number].boot == boot else { return }
            switch machines[number].state {
            case .running: give(event, to: number)
            case .paused:
                queue.schedule(.event(number, boot: boot, event), at: machines[number].resumesAt + .microseconds(10))
            default: break
            }
        case .gate(let number, let lease, let alarm): closeIfOver(number, lease, alarm)
        case .resume(let number, let pulse):
            guard machines[number].state == .paused, machines[number].pulse == pulse else { return }
            resume(number)
        case .wish(let number, let boot, let lease):
            guard machines[number].boot == boot, machines[number].isUp else { return }
            queue.schedule(
                .event(number, boot: boot, .wish(lease, .want(rank: machines[number].ranks[lease] ?? 0))), at: now)
        case .end: heal()
        }
    }

    private func schedulePulse(_ number: Int) {
        let jitter = Duration.nanoseconds(Int64(machines[number].chance.unit() * 4e6))
        let next = machines[number].clock.time(after: Self.pulseLength + jitter, from: now)
        queue.schedule(.pulse(number, pulse: machines[number].pulse), at: next)
    }

    // MARK: What befalls machines

    private func befall(_ fault: Fault) {
        switch fault {
        case .powerCut(let number):
            guard machines[number].isUp else { return }
            stop(number)
            for lease in leases { close(number, lease) }
        case .kill(let number):
            // The kernel goes on letting the service's effects out until its deadline.
            if machines[number].isUp { stop(number) }
        case .boot(let number): boot(number)
        case .pause(let number, let length, let pause):
            guard machines[number].state == .running else { return }
            machines[number].state = .paused
            machines[number].isOffline = pause == .suspended
            machines[number].pulse += 1
            machines[number].resumesAt = now + length
            queue.schedule(.resume(number, pulse: machines[number].pulse), at: now + length)
        case .cut(let source, let target): network.cut(from: source, to: target)
        case .mend(let source, let target): network.mend(from: source, to: target)
        case .partition(let groups):
            network.partition(groups + Array(repeating: 0, count: machines.count - groups.count))
        case .merge: network.partition(Array(repeating: 0, count: machines.count))
        case .loss(let ingress, let egress, let number): network.setLoss(ingress: ingress, egress: egress, at: number)
        case .weather(let weather): network.weather = weather
        case .unplug(let number), .plug(let number):
            let isIn = fault == .plug(number)
            network.plug(number, isIn)
            queue.schedule(.event(number, boot: machines[number].boot, .network(isUp: isIn)), at: now)
        case .clockRate(let number, let rate): machines[number].clock.setRate(rate, at: now)
        default: break
        }
    }

    private func stop(_ number: Int) {
        machines[number].state = .off
        machines[number].core = nil
        machines[number].inbox = []
        machines[number].boot += 1
        machines[number].pulse += 1
    }

    private func boot(_ number: Int) {
        guard !machines[number].isUp else { return }
        // What a service left running is stopped, never adopted.
        for lease in leases { close(number, lease) }
        machines[number].syncedTicket = 0
        machines[number].disk.generation += 1
        machines[number].boot += 1
        machines[number].pulse += 1
        machines[number].state = .running
        machines[number].isOffline = false
        let generation = machines[number].disk.generation
        let start = machines[number].clock.instant(at: now)
        let memory = machines[number].disk.memory
        if machines[number].isWitness {
            machines[number].core = .witness(
                Witness(me: machines[number].id, config: config(isPair: false), memory: memory, now: start))
        } else {
            machines[number].core = .keeper(
                LeaseKeeper(
                    me: machines[number].id, generation: generation, pair: config(isPair: true),
                    votes: config(isPair: false), memory: memory,
                    chance: SeededGenerator(seed: machines[number].chance.next()), now: start))
            tellMembers(number)
            for lease in leases { give(.wish(lease, .want(rank: machines[number].ranks[lease] ?? 0)), to: number) }
        }
        note("n\(number) starts as generation \(generation)")
        schedulePulse(number)
    }

    private func config(isPair: Bool) -> LeaseConfig {
        var config = LeaseConfig(profile, isPair: isPair)
        if scenario.isTight { config.takeover = config.shortestTakeover(for: config.term) }
        config.pair = .reach(hosts: Self.reachHosts)
        config.plantedBug = bug
        config.bootWait = .seconds(4)
        return config
    }

    private func tellMembers(_ number: Int) {
        guard !machines[number].isWitness, machines[number].isUp else { return }
        let nodes = members.map { machines[$0].id }
        let witness = isWitnessNamed ? machines.first(where: \.isWitness)?.id : nil
        queue.schedule(
            .event(number, boot: machines[number].boot, .members(nodes, witness: witness)), at: now)
        for other in machines where other.number != number {
            queue.schedule(
                .event(number, boot: machines[number].boot, .peer(other.id, isAlive: other.isUp)), at: now)
        }
    }

    private func resume(_ number: Int) {
        machines[number].state = .running
        machines[number].isOffline = false
        machines[number].pulse += 1
        // As the pulse does it: the socket is drained before the tick.
        let inbox = machines[number].inbox
        machines[number].inbox = []
        for arrival in inbox { receive(arrival, at: number) }
        give(.tick, to: number)
        schedulePulse(number)
    }

    private func heal() {
        note("** everything heals")
        isQuiet = true
        network.heal()
        for number in machines.indices {
            queue.schedule(.event(number, boot: machines[number].boot, .network(isUp: true)), at: now)
            switch machines[number].state {
            case .paused: resume(number)
            case .off: boot(number)
            default: break
            }
        }
        for number in machines.indices where machines[number].isUp { tellMembers(number) }
        for lease in leases where freeSince[lease] != nil { freeSince[lease] = now }
    }

    private func carryOut(_ order: LeaseOrder.Order) {
        switch order {
        case .move(let index):
            let lease = leases[index % leases.count]
            guard let number = machines.indices.first(where: { machines[$0].gates[lease] != nil }),
                machines[number].state == .running, case .keeper(let keeper) = machines[number].core,
                keeper.term(of: lease) != nil
            else { return }
            let others = members.filter { $0 != number && machines[$0].state == .running && isMember($0) }
            guard let target = orderChance.pick(from: others) else { return }
            note("** \(lease) is moved from n\(number) to n\(target)")
            // The service has stopped before the lease is given away.
            close(number, lease)
            moves[lease] = (now, number)
            give(.wish(lease, .handOver(to: machines[target].id)), to: number)
            queue.schedule(.wish(number, boot: machines[number].boot, lease), at: now + .milliseconds(300))
        case .strike(let strike, let index):
            let lease = leases[index % leases.count]
            guard let number = machines.indices.first(where: { machines[$0].gates[lease] != nil }) else { return }
            switch strike {
            case .pause(let length): happen(.fault(.pause(number, for: length, .stopped)))
            case .corner(let length):
                let others = machines.indices.filter { $0 != number && !machines[$0].isWitness }
                let cut = Set(others.prefix((machines.count - 1) / 2))
                happen(.fault(.partition(machines.indices.map { cut.contains($0) ? 1 : 0 })))
                queue.schedule(.fault(.merge), at: now + length)
            case .isolate(let length), .amnesia(let length):
                happen(.fault(.partition(machines.indices.map { $0 == number ? 1 : 0 })))
                queue.schedule(.fault(.merge), at: now + length)
                guard case .amnesia = strike else { return }
                for other in machines.indices where other != number && machines[other].isUp {
                    happen(.fault(.powerCut(other)))
                    queue.schedule(.fault(.boot(other)), at: now + .milliseconds(5))
                }
            }
        case .members(let numbers, let isNamed):
            note("** members are \(numbers.map { "n\($0)" }.joined(separator: " "))")
            members = numbers
            isWitnessNamed = isNamed
            for number in machines.indices {
                guard machines[number].isUp, !machines[number].isWitness else { continue }
                tellMembers(number)
                if !isMember(number) {
                    for lease in leases {
                        close(number, lease)
                        give(.wish(lease, .leaveToOthers), to: number)
                    }
                } else {
                    for lease in leases {
                        give(.wish(lease, .want(rank: machines[number].ranks[lease] ?? 0)), to: number)
                    }
                }
            }
        }
    }
    private func isMember(_ number: Int) -> Bool { members.contains(number) }

    // MARK: Events in, effects out

    private func receive(_ arrival: Arrival, at number: Int) {
        guard let message = try? LeaseCodec.decode(arrival.bytes) else {
            violate("what is sent can be read", "n\(number) cannot read a message of n\(arrival.from)")
            return
        }
        give(.received(message, from: machines[arrival.from].id), to: number)
    }

    private func give(_ event: LeaseEvent, to number: Int) {
        let moment = machines[number].clock.instant(at: now)
        switch machines[number].core {
        case .keeper(var keeper):
            machines[number].core = nil  // so that the value is not copied
            let effects = keeper.handle(event, now: moment)
            machines[number].core = .keeper(keeper)
            for effect in effects { carryOut(effect, at: number, moment: moment) }
        case .witness(var witness):
            machines[number].core = nil
            var effects: [Witness.Effect] = []
            switch event {
            case .received(let message, let sender): effects = witness.receive(message, from: sender, now: moment)
            case .persisted(let ticket): effects = witness.persisted(ticket: ticket)
            default: break
            }
            machines[number].core = .witness(witness)
            for effect in effects {
                switch effect {
                case .send(let message, let target): send(message, to: target, from: number)
                case .persist(let memory, let ticket): sync(memory, ticket, at: number)
                case .votersChanged(let voters): note("n\(number) goes by \(text(voters))")
                }
            }
        case nil: break
        }
    }

    private func carryOut(_ effect: LeaseEffect, at number: Int, moment: Instant) {
        switch effect {
        case .send(let message, let target): send(message, to: target, from: number)
        case .persist(let memory, let ticket): sync(memory, ticket, at: number)
        case .acquired(let lease, let epoch, let until, _):
            note("n\(number) gets \(lease), epoch \(epoch), for \((until - moment).forPeople)")
            if epoch <= newestEpoch[lease] ?? .none {
                violate(
                    "epochs grow", "n\(number) got \(lease) with epoch \(epoch) after \(newestEpoch[lease] ?? .none)")
            }
            newestEpoch[lease] = max(newestEpoch[lease] ?? .none, epoch)
            figures.acquisitions += 1
            if let move = moves.removeValue(forKey: lease), move.from != number {
                let gap = (now - move.at).milliseconds
                figures.moves.append(gap)
                if scenario.checksMoves, gap > 60 {
                    violate("a planned move takes at most 60 ms", "\(lease) was away for \(decimal(gap, places: 1)) ms")
                }
            } else if let since = freeSince[lease] {
                figures.takeovers.append((now - since).milliseconds)
            }
            freeSince[lease] = nil
            open(number, lease, epoch, until)
        case .renewed(let lease, let epoch, let until):
            figures.renewals += 1
            if machines[number].gates[lease] == nil {
                // The gate of a term that ran out has closed: what is renewed later opens none.
                violate("what is renewed is held", "n\(number) renews \(lease), which its kernel has closed")
            }
            open(number, lease, epoch, until)
        case .lost(let lease, let epoch, let until, let reason):
            note("n\(number) loses \(lease), epoch \(epoch): \(reason)")
            if until <= moment { close(number, lease) } else { machines[number].gates[lease]?.until = until }
        case .probeReach(let ticket): probeReach(ticket, at: number)
        case .probeAddresses(let lease, let ticket): probeAddresses(lease, ticket, at: number)
        case .refused(let lease, let reason): note("n\(number) does not get \(lease): \(reason)")
        case .notify(.doubleOwnership(let lease, _, let own, let theirs, let overlap)):
            note("n\(number) sees two holders of \(lease): \(own) and \(theirs), for \(overlap.forPeople)")
        case .notify(.votersChanged(let voters)): note("n\(number) goes by \(text(voters))")
        case .held, .fence, .notify: break
        }
    }

    private func text(_ voters: VoterConfig) -> String {
        "voters \(voters.number): "
            + voters.nodes.map { node in "n\(machines.firstIndex { $0.id == node } ?? -1)" }.joined(separator: " ")
    }

    private func send(_ message: LeaseMessage, to target: NodeID, from number: Int) {
        guard let other = machines.firstIndex(where: { $0.id == target }) else { return }
        let bytes = LeaseCodec.encode(message)
        figures.packets += 1
        figures.bytes += bytes.count + 28 + 30
        if bytes.count > LeaseCodec.maximumDatagram {
            violate("messages fit into a datagram", "n\(number) sends \(bytes.count) bytes")
        }
        if machines[number].isOffline { return }
        let fate = network.fate(from: number, to: other)
        for delay in [fate.first, fate.second].compactMap({ $0 }) {
            queue.schedule(.arrival(Arrival(bytes: bytes, from: number), to: other), at: now + delay)
        }
    }

    /// A card writes in a few milliseconds, and now and then not for a second.
    private func sync(_ memory: LeaseMemory, _ ticket: UInt32, at number: Int) {
        figures.writes += 1
        let isStuck = !isQuiet && !scenario.checksMoves && machines[number].diskChance.chance(0.03)
        let range = isStuck ? 1e9 : 1.2e7
        let delay = Duration.nanoseconds(Int64(1e6 + machines[number].diskChance.unit() * range))
        queue.schedule(
            .synced(number, boot: machines[number].boot, memory: memory, ticket: ticket), at: now + delay)
    }

    private func probeReach(_ ticket: UInt32, at number: Int) {
        guard !machines[number].isOffline, network.reachesGateway(number) else { return }
        var answered = 0
        for _ in 0..<Self.reachHosts where !machines[number].chance.chance(2 * network.weather.loss) { answered += 1 }
        guard answered > 0 else { return }
        let delay = network.delay() + network.delay()
        queue.schedule(
            .event(number, boot: machines[number].boot, .reach(ticket: ticket, answered: answered)), at: now + delay)
    }

    /// Two questions, 40 ms apart: whoever's kernel lets the address out answers, if it is on this network.
    private func probeAddresses(_ lease: LeaseName, _ ticket: UInt32, at number: Int) {
        var isAnswered = false
        for other in machines where other.number != number && other.gates[lease] != nil && !other.isOffline {
            guard !network.isCut(from: number, to: other.number), !network.isCut(from: other.number, to: number) else {
                continue
            }
            for _ in 0..<2 where !machines[number].chance.chance(2 * network.weather.loss) { isAnswered = true }
        }
        queue.schedule(
            .event(number, boot: machines[number].boot, .probed(ticket: ticket, isAnswered: isAnswered)),
            at: now + .milliseconds(isAnswered ? 1 : 80))
    }

    // MARK: Gates

    private func open(_ number: Int, _ lease: LeaseName, _ epoch: Epoch, _ until: Instant) {
        machines[number].alarms += 1
        let alarm = machines[number].alarms
        let opened = machines[number].gates[lease]?.openedAt
        machines[number].gates[lease] = LeaseMachine.Gate(
            epoch: epoch, until: until, openedAt: opened ?? now, alarm: alarm)
        if opened == nil {
            for other in machines where other.number != number && other.gates[lease] != nil {
                violate(
                    "no two machines act for one lease at once",
                    "n\(number) (epoch \(epoch)) and n\(other.number) (epoch "
                        + "\(other.gates[lease]!.epoch)) act for \(lease)")
            }
        }
        scheduleClose(number, lease, alarm)
    }

    /// The kernel looks at its clock within a tick: nothing is let out later than E after the deadline.
    private func scheduleClose(_ number: Int, _ lease: LeaseName, _ alarm: Int) {
        guard let gate = machines[number].gates[lease] else { return }
        let moment = machines[number].clock.instant(at: now)
        let rest = max(gate.until + .milliseconds(9) - moment, .microseconds(1))
        queue.schedule(.gate(number, lease, alarm: alarm), at: machines[number].clock.time(after: rest, from: now))
    }

    private func closeIfOver(_ number: Int, _ lease: LeaseName, _ alarm: Int) {
        guard let gate = machines[number].gates[lease], gate.alarm == alarm else { return }
        let moment = machines[number].clock.instant(at: now)
        if moment >= gate.until + .milliseconds(9) - .microseconds(2) {
            note("n\(number)'s gate for \(lease) closes")
            close(number, lease)
        } else {
            scheduleClose(number, lease, alarm)
        }
    }

    private func close(_ number: Int, _ lease: LeaseName) {
        guard machines[number].gates.removeValue(forKey: lease) != nil else { return }
        freeSince[lease] = now
    }

    // MARK: Account

    private func violate(_ claim: String, _ text: String) {
        violations.append((now, claim, text))
        note("!! \(text)")
    }
    private func note(_ text: String) {
        if lines.count > 8_000 { lines.removeFirst(4_000) }
        let time = now.description
        lines.append(String(repeating: " ", count: max(0, 8 - time.count)) + "\(time) s  \(text)")
    }
    package var timeline: [String] { lines }
    package var isClean: Bool { violations.isEmpty }
    package static let claims = [
        "no two machines act for one lease at once", "epochs grow", "what is renewed is held",
        "every lease is held again within its bound once all is well", "what is sent can be read",
        "messages fit into a datagram",
    ]
}

/// What a run measured. Times in milliseconds.
package struct LeaseFigures: Sendable {
    package var acquisitions = 0
    package var renewals = 0
    package var packets = 0
    package var bytes = 0
    package var writes = 0
    /// From the moment nobody acted until somebody did.
    package var takeovers: [Double] = []
    package var moves: [Double] = []
    package var simulatedSeconds = 0.0

    package static func middle(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : values.sorted()[values.count / 2]
    }
}
