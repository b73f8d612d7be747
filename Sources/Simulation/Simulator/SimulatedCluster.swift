import Membership
import Node
import Primitives
import Storage

/// Many nodes, one thread, one seed: the cores the daemon runs, on simulated machines and cables.
///
/// First it forms, then faults befall it while safety is checked, then everything heals and it has to agree again.
package final class SimulatedCluster {
    package let scenario: Scenario
    package let seed: UInt64
    package let nodes: Int
    package let bug: PlantedBug?
    package private(set) var now = TrueTime.zero
    package internal(set) var timeline = Timeline()
    package private(set) var violations: [Violation] = []
    package private(set) var figures = Figures()
    package let plan: FaultPlan
    /// Faults begin and end.
    package let faultsFrom: TrueTime
    package let healsAt: TrueTime
    package private(set) var endsAt: TrueTime
    /// How soon after healing all has to be well again.
    private(set) var healBound: Duration

    private(set) var machines: [SimulatedMachine] = []
    private(set) var history = History()
    private var network: Network
    var queue = EventQueue<Happening>()
    private var addressBook: [Endpoint: Int] = [:]
    private var numbers: [NodeID: Int] = [:]
    private var checkers: [any Checker] = []
    private var listeners = false
    private var nextHost: UInt32 = 1
    private var nodeConfig = NodeConfig()
    private var discoveryChance: SeededGenerator
    private var trafficAtStart: [SimulatedMachine.Traffic] = []
    var hasHealed = false
    /// What was written and what was promised; nil without databases.
    var ledger: Ledger?
    var writes = SeededGenerator(seed: 0)
    var backup: SimulatedBackup?
    /// By whom an operator removed, who holds that order.
    private var removalsKnown: [Int: Set<Int>] = [:]

    enum Happening {
        case fault(Fault)
        case arrival(SimulatedPacket, machine: Int)
        case pulse(machine: Int, pulse: Int)
        case resume(machine: Int, boot: Int)
        case stream(machine: Int, boot: Int, peer: NodeID)
        case frame(SimulatedMachine.StreamFrame, SimulatedMachine.Connection, from: NodeID, machine: Int, boot: Int)
        case sync(machine: Int, boot: Int)
        case event(NodeEvent, machine: Int, boot: Int)
        case announce(machine: Int, boot: Int)
        case sighting(Endpoint, machine: Int, boot: Int)
        case lookAround(machine: Int, boot: Int)
        case departed(machine: Int, boot: Int)
        case databaseTick(machine: Int, boot: Int)
        case databaseSync(machine: Int, boot: Int)
        case databaseFlush(machine: Int, boot: Int)
        case databaseCopied(Result<SnapshotCopy, StoreError>, machine: Int, boot: Int)
        case write(Int)
        case sample
    }
    /// Above this many nodes they start from saved member lists, as after a power cut, and views are looked at less.
    private static let largest = 64
    private static let startsWithin = Duration.milliseconds(200)
    private static let maximumViolations = 20

    package init(scenario: Scenario, nodes: Int, seed: UInt64, seconds: Double? = nil, bug: PlantedBug? = nil) {
        self.scenario = scenario
        self.nodes = nodes
        self.seed = seed
        self.bug = bug
        let chance = SeededGenerator(seed: seed)
        let spares = scenario.spares
        let all = nodes + spares + scenario.strangers
        network = Network(machines: all, chance: chance.fork("network"))
        discoveryChance = chance.fork("discovery")
        faultsFrom = .zero + (nodes > Self.largest ? .seconds(8) : .seconds(3))
        var draft = FaultDraft(
            nodes: nodes, spares: spares, from: faultsFrom, length: seconds.map { .seconds($0) } ?? scenario.length,
            chance: chance.fork("faults"))
        scenario.draw(&draft)
        plan = draft.plan
        healsAt = draft.end
        healBound = scenario.healBound(nodes)
        endsAt = healsAt + healBound + .seconds(2)
        bug?.plant(in: &nodeConfig)
        checkers = scenario.checkers(nodes: nodes)
        listeners = checkers.contains { $0.listens }
        setUp(all: all, chance: chance.fork("machines"))
    }

    // MARK: Setting up

    private func setUp(all: Int, chance: SeededGenerator) {
        var identities = chance.fork("identities")
        var clocks = chance.fork("clocks")
        let ours = (0..<32).map { _ in UInt8(truncatingIfNeeded: identities.next()) }
        let theirs = (0..<32).map { _ in UInt8(truncatingIfNeeded: identities.next()) }
        for number in 0..<all {
            let endpoint = freshEndpoint()
            let isStranger = number >= all - scenario.strangers
            let uptime = Instant(nanoseconds: Int64(clocks.unit() * 30 * 86_400 * 1e9) + 60_000_000_000)
            let machine = SimulatedMachine(
                number: number, id: NodeID(high: identities.next(), low: identities.next()),
                name: NodeName("node-\(number)")!, endpoint: endpoint, clusterSecret: isStranger ? theirs : ours,
                firstGeneration: UInt32(180_000_000 + identities.below(1_000_000)),
                clock: MachineClock(reading: uptime, rate: 1 + (clocks.unit() - 0.5) * 2e-4, at: now),
                chance: chance.fork("machine \(number)"))
            machines.append(machine)
            addressBook[endpoint] = number
            numbers[machine.id] = number
        }
        var starts = chance.fork("starts")
        if nodes > Self.largest { saveEachOther() }
        for number in Array(0..<nodes) + Array(all - scenario.strangers..<all) {
            queue.schedule(
                .fault(.boot(number)), at: .zero + .milliseconds(1 + starts.below(Int(Self.startsWithin.milliseconds))))
        }
        for step in plan.steps { queue.schedule(.fault(step.fault), at: step.at) }
        queue.schedule(.fault(.heal), at: healsAt)
        setUpDatabases(chance: chance.fork("databases"))
        queue.schedule(.sample, at: .zero + sampleInterval)
    }

    /// Each knows all, as they are about to start: what is measured is a large cluster at work, not its formation.
    private func saveEachOther() {
        let records = machines[0..<nodes].map { machine in
            MemberRecord(
                id: machine.id, version: MemberVersion(generation: machine.disk.generation + 1, incarnation: 0),
                rank: .alive,
                profile: MemberProfile(
                    name: machine.name, addresses: [machine.endpoint], software: "simulated",
                    birth: machine.disk.generation))
        }.sorted { $0.id < $1.id }
        for machine in machines[0..<nodes] {
            machine.birth = machine.disk.generation
            machine.disk.members = records
        }
    }

    private func freshEndpoint() -> Endpoint {
        defer { nextHost += 1 }
        return Endpoint(.v4(0x0A00_0000 + nextHost), port: 7771)
    }

    private var sampleInterval: Duration {
        nodes <= 16 ? .milliseconds(50) : nodes <= Self.largest ? .milliseconds(200) : .seconds(1)
    }

    // MARK: Running

    /// Runs to the end, or until too much went wrong to learn more.
    package func run() {
        while let next = queue.nextTime, next <= endsAt, violations.count < Self.maximumViolations {
            guard let (time, happening) = queue.popFirst() else { break }
            now = time
            perform(happening)
        }
        now = max(now, min(endsAt, queue.nextTime ?? endsAt))
        if violations.count < Self.maximumViolations {
            for index in checkers.indices { report(checkers[index].claim, checkers[index].finished(in: self)) }
        }
        finishFigures()
    }

    private func perform(_ happening: Happening) {
        switch happening {
        case .arrival(let packet, let number): arrive(packet, at: machines[number])
        case .pulse(let number, let pulse):
            let machine = machines[number]
            if machine.pulse == pulse, machine.state == .running { beat(machine) }
        case .fault(let fault): befall(fault)
        case .resume(let number, let boot):
            let machine = machines[number]
            if machine.boot == boot, machine.state == .paused { resume(machine) }
        case .stream(let number, let boot, let peer):
            if machines[number].boot == boot { pump(machines[number], to: peer) }
        case .frame(let frame, let connection, let sender, let number, let boot):
            guard machines[number].boot == boot, !connection.isCut else { break }
            let arrival: SimulatedMachine.Arrival =
                frame.isDatabase
                ? .database(frame.bytes, from: sender) : .event(.receivedReliably(bytes: frame.bytes, from: sender))
            deliver(arrival, to: machines[number])
        case .sync(let number, let boot):
            if machines[number].boot == boot { machines[number].sync() }
        case .event(let event, let number, let boot):
            if machines[number].boot == boot { deliver(.event(event), to: machines[number]) }
        case .announce(let number, let boot):
            if machines[number].boot == boot { announce(machines[number]) }
        case .sighting(let endpoint, let number, let boot):
            if machines[number].boot == boot {
                machines[number].saw(endpoint)
                deliver(.event(.sighted(endpoint)), to: machines[number])
            }
        case .lookAround(let number, let boot):
            if machines[number].boot == boot { lookAround(machines[number]) }
        case .departed(let number, let boot):
            if machines[number].boot == boot { halt(machines[number], as: .left, losingUnsynced: false) }
        case .databaseTick(let number, let boot):
            if machines[number].boot == boot { tickDatabase(of: machines[number]) }
        case .databaseSync(let number, let boot):
            if machines[number].boot == boot { databaseSynced(machines[number]) }
        case .databaseFlush(let number, let boot):
            if machines[number].boot == boot { databaseFlushes(machines[number]) }
        case .databaseCopied(let result, let number, let boot):
            if machines[number].boot == boot { databaseCopied(result, at: machines[number]) }
        case .write(let number): write(number)
        case .sample: sample()
        }
    }

    // MARK: The pulse

    private func beat(_ machine: SimulatedMachine) {
        let instant = machine.clock.instant(at: now)
        for packet in machine.transport?.tick(now: instant) ?? [] { transmit(packet, from: machine) }
        if let effects = machine.core?.tick(now: instant, drained: true) {
            machine.remakeStalledStreams(at: now)
            carryOut(effects, at: machine)
        }
        schedulePulse(of: machine)
    }

    private func schedulePulse(of machine: SimulatedMachine) {
        guard machine.state == .running, let interval = machine.core?.tickInterval else { return }
        // A busy small machine wakes late: mostly by a fraction of a millisecond, now and then by a few tens.
        let late = machine.chance.chance(0.002) ? 30_000_000.0 : 500_000.0
        let lateness = Duration.nanoseconds(Int64(machine.chance.unit() * late))
        let next = machine.clock.time(after: interval, from: now) + lateness
        queue.schedule(.pulse(machine: machine.number, pulse: machine.pulse), at: next)
    }

    private func arrive(_ packet: SimulatedPacket, at machine: SimulatedMachine) {
        guard machine.isUp, machine.endpoint == packet.target, machine.state == .running || !machine.isOffline else {
            return
        }
        machine.traffic.packetsReceived += 1
        machine.traffic.bytesReceived += packet.size
        if machine.state == .paused {
            let size = packet.size + SimulatedMachine.packetOverhead
            guard machine.inboxBytes + size <= SimulatedMachine.socketBuffer else {
                figures.overflowedPackets += 1
                return
            }
            machine.inboxBytes += size
        }
        deliver(.packet(packet, stamp: machine.clock.instant(at: now)), to: machine)
    }

    private func deliver(_ arrival: SimulatedMachine.Arrival, to machine: SimulatedMachine) {
        switch machine.state {
        case .running: process(arrival, at: machine)
        case .paused: machine.inbox.append(arrival)
        default: break
        }
    }

    private func process(_ arrival: SimulatedMachine.Arrival, at machine: SimulatedMachine) {
        let instant = machine.clock.instant(at: now)
        switch arrival {
        case .packet(let packet, let stamp):
            // The core is asked in its place: copying one for each packet was a fifth of a large run's time.
            let outputs =
                machine.transport?.receive(packet, stamp: stamp, now: instant) {
                    machine.core?.admission(of: $0, keyVersion: $1) ?? .refuseRemoved
                } ?? []
            for output in outputs {
                switch output {
                case .transmit(let answer): transmit(answer, from: machine)
                case .event(let event): handle(event, at: machine, now: instant)
                }
            }
        case .event(let event): handle(event, at: machine, now: instant)
        case .database(let bytes, let sender): hearDatabase(bytes, from: sender, at: machine)
        }
    }

    func handle(_ event: NodeEvent, at machine: SimulatedMachine, now instant: Instant) {
        guard let effects = machine.core?.handle(event, now: instant) else { return }
        if !effects.isEmpty { carryOut(effects, at: machine) }
        if listeners { overhear(event, at: machine) }
    }

    private func overhear(_ event: NodeEvent, at machine: SimulatedMachine) {
        let bytes: [UInt8]
        let sender: NodeID
        switch event {
        case .received(let payload, let peer, _, _): (bytes, sender) = (payload, peer)
        case .receivedReliably(let payload, let peer): (bytes, sender) = (payload, peer)
        default: return
        }
        guard let first = bytes.first, MembershipCodec.types.contains(first), machine.state == .running,
            !machine.isLeaving,
            let message = try? MembershipCodec.decode(bytes)
        else { return }
        for index in checkers.indices where checkers[index].listens {
            report(checkers[index].claim, checkers[index].heard(message, from: sender, at: machine, in: self))
        }
    }

    // MARK: Effects

    private func carryOut(_ effects: [NodeEffect], at machine: SimulatedMachine) {
        for effect in effects {
            let instant = machine.clock.instant(at: now)
            switch effect {
            case .send(let bytes, let peer, let endpoint):
                for packet in machine.transport?.send(bytes, to: peer, via: endpoint, now: instant) ?? [] {
                    transmit(packet, from: machine)
                }
            case .sendReliably(let bytes, let peer): sendReliably(.init(bytes: bytes), to: peer, from: machine)
            case .databasePeers(let members, let reachable): tellDatabase(members, reachable, of: machine)
            case .databaseDiffers(let peer): databaseDiffers(from: peer, at: machine)
            case .knock(let endpoint):
                if let packet = machine.transport?.knock(endpoint, now: instant) { transmit(packet, from: machine) }
            case .forget(let peer):
                machine.transport?.forget(peer)
                machine.streams[peer] = nil
            case .probeReach:
                // The gateway of the first part of a partition.
                guard network.reachesGateway(machine.number) else { break }
                let roundTrip = network.delay() + network.delay()
                queue.schedule(
                    .event(.reachAnswered, machine: machine.number, boot: machine.boot), at: now + roundTrip)
            case .persistMembers(let records):
                machine.pending.members = records
                machine.refreshIntroduction()
                scheduleSync(of: machine)
            case .persistFacts(let facts):
                machine.pending.facts = facts
                scheduleSync(of: machine)
            case .storeFacts(let facts): remember(facts, at: machine)
            case .clusterKeysChanged:
                if let facts = machine.core?.facts { machine.transport?.identity.keys = machine.keys(in: facts) }
            case .notify(let notice): noticed(notice, at: machine)
            case .service, .fence, .reachHosts: break
            case .wasRemoved:
                halt(machine, as: .removed, losingUnsynced: false)
                return
            }
        }
    }

    private func scheduleSync(of machine: SimulatedMachine) {
        guard !machine.isSyncing else { return }
        machine.isSyncing = true
        let delay = Duration.milliseconds(5 + machine.diskChance.below(machine.diskChance.chance(0.05) ? 500 : 50))
        queue.schedule(.sync(machine: machine.number, boot: machine.boot), at: now + delay)
    }

    private func transmit(_ packet: SimulatedPacket, from machine: SimulatedMachine) {
        machine.traffic.packetsSent += 1
        machine.traffic.bytesSent += packet.size
        guard let target = addressBook[packet.target] else { return }
        let fate = network.fate(from: machine.number, to: target)
        if let delay = fate.first { queue.schedule(.arrival(packet, machine: target), at: now + delay) }
        if let delay = fate.second { queue.schedule(.arrival(packet, machine: target), at: now + delay) }
    }

    // MARK: Streams

    private static let streamPatience = Duration.seconds(3)
    private static let streamCapacity = 1 << 20
    private static let streamOverhead = 28 + 32 + 60

    func sendReliably(_ frame: SimulatedMachine.StreamFrame, to peer: NodeID, from machine: SimulatedMachine) {
        if !frame.isDatabase { machine.lastFrameAt = now }
        var stream = machine.streams[peer] ?? SimulatedMachine.Stream()
        guard stream.bytes + frame.bytes.count <= Self.streamCapacity, stream.frames.count < 256 else { return }
        stream.frames.append(frame)
        stream.bytes += frame.bytes.count
        if !stream.isBusy {
            stream.isBusy = true
            // A new connection: TCP's and TLS's round trips come first.
            let delay = stream.peerBoot == nil ? (network.delay() + network.delay()) * 2 : Duration.zero
            queue.schedule(.stream(machine: machine.number, boot: machine.boot, peer: peer), at: now + delay)
        }
        machine.streams[peer] = stream
    }

    /// Gets a stream's frames across, all that wait, in order; or tries again; or fails, and they are gone.
    private func pump(_ machine: SimulatedMachine, to peer: NodeID) {
        guard var stream = machine.streams[peer], let target = numbers[peer].map({ machines[$0] }) else { return }
        defer { machine.streams[peer] = stream }
        let isConnected = stream.peerBoot != nil
        let isThere =
            machine.transport?.path(to: peer) == target.endpoint
            && (target.state == .running || isConnected && target.state == .paused && !target.isOffline)
            && !network.isCut(from: machine.number, to: target.number)
            && !network.isCut(from: target.number, to: machine.number)
        guard isThere else {
            let since = stream.failingSince ?? now
            stream.failingSince = since
            if now - since >= Self.streamPatience {
                stream = SimulatedMachine.Stream()
            } else {
                queue.schedule(
                    .stream(machine: machine.number, boot: machine.boot, peer: peer), at: now + .milliseconds(200))
            }
            return
        }
        let isRefused = target.core?.admission(of: machine.id, keyVersion: machine.newestKey.version) != .accept
        guard !isRefused, !isConnected || stream.peerBoot == target.boot else {
            stream = SimulatedMachine.Stream()  // reset by the process that is there now
            return
        }
        let (delay, isRepeated) = network.reliableDelay(from: machine.number, to: target.number)
        let arrival = max(now + delay, stream.lastArrival)
        for frame in stream.frames {
            machine.traffic.packetsSent += 1 + frame.bytes.count / 1448
            machine.traffic.bytesSent += frame.bytes.count + Self.streamOverhead
            queue.schedule(
                .frame(frame, stream.connection, from: machine.id, machine: target.number, boot: target.boot),
                at: arrival)
        }
        stream.lastArrival = arrival
        if isRepeated { stream.stallsUntil = arrival }
        stream.frames = []
        stream.bytes = 0
        stream.isBusy = false
        stream.failingSince = nil
        stream.peerBoot = target.boot
    }

    // MARK: Discovery

    /// Multicast DNS: a node that starts is announced twice, and asks who else is there.
    private func announce(_ machine: SimulatedMachine) {
        guard machine.isUp else { return }
        var others = machines.filter { $0.isUp && $0.number != machine.number }
        if others.count > Self.largest {
            discoveryChance.shuffle(&others)
            others = Array(others.prefix(16))
        }
        for other in others {
            sight(machine.endpoint, at: other, from: machine.number)
            sight(other.endpoint, at: machine, from: other.number)
        }
    }

    private func sight(_ endpoint: Endpoint, at machine: SimulatedMachine, from source: Int) {
        guard network.fate(from: source, to: machine.number).first != nil else { return }
        let delay = Duration.milliseconds(20 + discoveryChance.below(100))
        queue.schedule(.sighting(endpoint, machine: machine.number, boot: machine.boot), at: now + delay)
    }

    /// A sighting is told once, a handshake can fail: what is still known is tried again, as the daemon does.
    private func lookAround(_ machine: SimulatedMachine) {
        if machine.state == .running {
            for endpoint in machine.sightings where endpoint != machine.endpoint {
                process(.event(.sighted(endpoint)), at: machine)
            }
        }
        let pause = Duration.seconds(machine.core?.peerCount ?? 0 == 0 ? 1 : 5)
        queue.schedule(.lookAround(machine: machine.number, boot: machine.boot), at: now + pause)
    }

    // MARK: Faults

    private func befall(_ fault: Fault) {
        if now >= faultsFrom || fault.isNotable { timeline.add(.fault(fault), at: now) }
        for index in checkers.indices { checkers[index].befalls(fault, in: self) }
        switch fault {
        case .boot(let number): start(machines[number])
        case .powerCut(let number):
            guard machines[number].isUp else { break }
            halt(machines[number], as: .off, losingUnsynced: true)
            machines[number].clock = MachineClock(
                reading: Instant(sinceBoot: .seconds(10 + machines[number].chance.below(20))), rate: 1, at: now)
        case .kill(let number):
            if machines[number].isUp { halt(machines[number], as: .off, losingUnsynced: false) }
        case .pause(let number, let duration, let kind): pause(machines[number], duration, kind)
        case .cut(let source, let target):
            network.cut(from: source, to: target)
            history.begin(.cut(from: source, to: target), at: now)
        case .mend(let source, let target):
            network.mend(from: source, to: target)
            history.end(.cut(from: source, to: target), at: now)
        case .partition(let groups):
            endPartition()
            let padded = groups + Array(repeating: 0, count: machines.count - groups.count)
            network.partition(padded)
            history.begin(.divided(padded), at: now)
        case .merge: endPartition()
        case .loss(let ingress, let egress, let number):
            network.setLoss(ingress: ingress, egress: egress, at: number)
            for wholly in [false, true] {
                let limit = wholly ? 0.99 : Weather.tolerableLoss
                note(.deaf(number, wholly: wholly), lasts: ingress > limit)
                note(.mute(number, wholly: wholly), lasts: egress > limit)
            }
        case .weather(let weather):
            network.weather = weather
            note(.storm, lasts: !weather.isTolerable)
        case .unplug(let number): setPlugged(machines[number], false)
        case .plug(let number): setPlugged(machines[number], true)
        case .renumber(let number): renumber(machines[number])
        case .clockRate(let number, let rate): machines[number].clock.setRate(rate, at: now)
        case .clockJump(let number, let step): machines[number].clock.jump(ahead: step, at: now)
        case .wallClockStep(let number, let step): stepWallClock(of: machines[number], by: step)
        case .wipe(let number): wipe(machines[number])
        case .rollBack(let number): rollBack(machines[number])
        case .backUp(let number): backUp(machines[number])
        case .restore(let number): restore(machines[number])
        case .upgrade(let number):
            guard machines[number].database?.upgrade() ?? false, machines[number].isUp else { break }
            halt(machines[number], as: .off, losingUnsynced: false)
            start(machines[number])
        case .leave(let number): leave(machines[number])
        case .remove(let number, let operatorAt): remove(machines[number], at: machines[operatorAt])
        case .heal: heal()
        }
    }

    private func note(_ trouble: History.Trouble, lasts: Bool) {
        if lasts { history.begin(trouble, at: now) } else { history.end(trouble, at: now) }
    }

    private func start(_ machine: SimulatedMachine) {
        guard [.spare, .off, .left].contains(machine.state) else { return }
        if machine.state == .spare, let member = membersNow.first(where: { $0.clusterSecret == machine.clusterSecret })
        {
            machine.card = member.newestKey  // as an operator prepares the card of a new machine
        }
        machine.start(config: nodeConfig, forgetsGeneration: bug == .generationNotPersisted, at: now)
        history.end(.off(machine.number), at: now)
        timeline.add(.started(machine.number, generation: machine.generation), at: now)
        for index in checkers.indices { report(checkers[index].claim, checkers[index].started(machine, in: self)) }
        startDatabase(of: machine)
        if history.isNow(.unplugged(machine.number)) { process(.event(.network(isUp: false)), at: machine) }
        queue.schedule(.pulse(machine: machine.number, pulse: machine.pulse), at: now)
        if history.isNow(.unplugged(machine.number)) {
            // As a daemon finds out when it looks at its interfaces.
            queue.schedule(.event(.network(isUp: false), machine: machine.number, boot: machine.boot), at: now)
        }
        guard nodes <= Self.largest || machine.number >= nodes else { return }
        for delay in [5 + discoveryChance.below(40), 1000 + discoveryChance.below(100)] {
            queue.schedule(.announce(machine: machine.number, boot: machine.boot), at: now + .milliseconds(delay))
        }
        queue.schedule(.lookAround(machine: machine.number, boot: machine.boot), at: now + .seconds(1))
    }

    func halt(_ machine: SimulatedMachine, as end: SimulatedMachine.State, losingUnsynced: Bool) {
        guard machine.isUp else { return }
        machine.stop(as: end, losingUnsynced: losingUnsynced)
        if losingUnsynced {
            forgetRemovals(at: machine)
            ledger?.lostPower(machine.number)
        }
        machine.clock.setRate(1, at: now)
        machine.thaw(at: now)
        history.end(.paused(machine.number), at: now)
        history.begin(.off(machine.number), at: now)
        timeline.add(.stopped(machine.number, end), at: now)
        for index in checkers.indices { checkers[index].stopped(machine, in: self) }
    }

    private func pause(_ machine: SimulatedMachine, _ duration: Duration, _ kind: Pause) {
        guard machine.state == .running else { return }
        machine.state = .paused
        machine.pulse += 1
        machine.isOffline = kind != .stopped
        if kind == .frozen {
            machine.clock.setRate(0, at: now)
            machine.freeze(at: now)
        }
        history.begin(.paused(machine.number), at: now)
        queue.schedule(.resume(machine: machine.number, boot: machine.boot), at: now + duration)
    }

    /// As the pulse thread wakes: everything the kernel kept is read, then it ticks.
    private func resume(_ machine: SimulatedMachine) {
        machine.state = .running
        machine.pulse += 1
        machine.clock.setRate(1, at: now)
        machine.thaw(at: now)
        history.end(.paused(machine.number), at: now)
        let arrivals = machine.inbox
        machine.inbox = []
        machine.inboxBytes = 0
        for arrival in arrivals where machine.state == .running { process(arrival, at: machine) }
        if machine.state == .running { beat(machine) }
        if machine.state == .running, machine.database != nil { tickDatabase(of: machine) }
    }

    private func endPartition() {
        network.partition(Array(repeating: 0, count: machines.count))
        history.endAll(at: now) { if case .divided = $0 { true } else { false } }
    }

    private func setPlugged(_ machine: SimulatedMachine, _ isPlugged: Bool) {
        network.plug(machine.number, isPlugged)
        note(.unplugged(machine.number), lasts: !isPlugged)
        // The kernel says so over netlink.
        let delay = Duration.milliseconds(1 + machine.chance.below(30))
        queue.schedule(
            .event(.network(isUp: isPlugged), machine: machine.number, boot: machine.boot), at: now + delay)
    }

    private func renumber(_ machine: SimulatedMachine) {
        addressBook[machine.endpoint] = nil
        machine.renumber(to: freshEndpoint())
        addressBook[machine.endpoint] = machine.number
        machine.isUnannounced = true
        guard machine.isUp else { return }
        deliver(.event(.addressesChanged([machine.endpoint])), to: machine)
        queue.schedule(.announce(machine: machine.number, boot: machine.boot), at: now + .milliseconds(50))
    }

    private func stepWallClock(of machine: SimulatedMachine, by step: Duration) {
        machine.wallError += Int64(step.milliseconds)
        machine.inbox = machine.inbox.map { arrival in
            guard case .packet(let packet, let stamp) = arrival else { return arrival }
            return .packet(packet, stamp: stamp + step)
        }
    }

    private func leave(_ machine: SimulatedMachine) {
        guard machine.state == .running else { return }
        process(.event(.leave), at: machine)
        machine.isLeaving = true
        queue.schedule(.departed(machine: machine.number, boot: machine.boot), at: now + .milliseconds(300))
    }

    private func remove(_ target: SimulatedMachine, at machine: SimulatedMachine) {
        guard machine.state == .running, target.state != .removed else { return }
        let key = (0..<32).map { _ in UInt8(truncatingIfNeeded: machine.diskChance.next()) }
        let instant = machine.clock.instant(at: now)
        guard
            let effects = try? machine.core?.remove(
                target.id, key: machine.newestKey.secret, newKey: key, note: "2025-01-01T00:00:00Z by the simulator",
                now: instant)
        else { return }
        target.isRemoved = true
        removalsKnown[target.number, default: []].insert(machine.number)
        carryOut(effects, at: machine)
    }

    private func heal() {
        hasHealed = true
        if haveKeysParted {
            healBound = Scenario.partedKeysBound
            endsAt = healsAt + healBound + .seconds(2)
        }
        network.heal()
        history.endAll(at: now) {
            switch $0 {
            case .off, .paused: false
            default: true
            }
        }
        for machine in machines {
            machine.clock.setRate(1, at: now)
            machine.wallError = 0
            if machine.state == .paused { resume(machine) }
            if machine.isUp {
                queue.schedule(
                    .event(.network(isUp: true), machine: machine.number, boot: machine.boot),
                    at: now + .milliseconds(1))
                // Multicast DNS asks again ever more rarely; what a node did while it was cut off, it would find out in
                // minutes. That is not what is tested here.
                if machine.isUnannounced || machine.core?.records.count ?? 0 <= 1 {
                    let delay = Duration.milliseconds(discoveryChance.below(1000))
                    queue.schedule(.announce(machine: machine.number, boot: machine.boot), at: now + delay)
                }
            } else if machine.state == .off, !plan.retired.contains(machine.number) {
                start(machine)
            }
        }
    }

    /// Removals during a partition, or while a node was away: not everybody has everybody's newest key.
    private var haveKeysParted: Bool {
        let ours = machines.filter { $0.isUp && !$0.isRemoved && $0.clusterSecret == machines[0].clusterSecret }
        return Set(ours.map(\.newestKey.secret)).count > 1
    }

    /// Who was never let in before the key changed: it needs the new one carried to it. Whoever has the newest key brings it
    /// to those that it knows as members, and these to those that they know. A group of newcomers that only know each
    /// other stays outside as one that knows nobody does. A node that was removed lets nobody in, also where it does not
    /// know yet: with the old key it could make as many members as it likes.
    private func settleLockedOut() {
        for cluster in Dictionary(grouping: machines, by: \.clusterSecret).values {
            let newest = cluster.lazy.filter { !$0.isRemoved }.map(\.newestKey.version).max() ?? 0
            var isIn = Set(cluster.lazy.filter { $0.newestKey.version >= newest }.map(\.number))
            var carriers = cluster.filter { isIn.contains($0.number) && !$0.isRemoved }
            while let carrier = carriers.popLast() {
                let known = cluster.filter { machine in
                    carrier.record(of: machine.id) != nil || carrier.disk.members.contains { $0.id == machine.id }
                }
                for machine in known where isIn.insert(machine.number).inserted && !machine.isRemoved {
                    carriers.append(machine)
                }
            }
            for machine in cluster { machine.isLockedOut = !isIn.contains(machine.number) }
        }
    }

    /// Which removals count in the end: those that a running member holds. The order of a node that was removed itself before
    /// any other had heard of it does not: nobody listens to a removed node, or whoever steals one could remove all others.
    private func settleRemovals() {
        let ordered = removalsKnown.keys.sorted()
        var counts: [Int: Bool] = [:]
        var isSettled = false
        while !isSettled {
            isSettled = true
            for victim in ordered where counts[victim] == nil {
                let holders = removalsKnown[victim, default: []].filter { machines[$0].isUp }
                if holders.contains(where: { removalsKnown[$0] == nil || counts[$0] == false }) {
                    counts[victim] = true
                } else if holders.allSatisfy({ counts[$0] == true }) {
                    counts[victim] = false
                } else {
                    continue
                }
                isSettled = false
            }
        }
        // Two that removed each other, and told nobody: both are out.
        for victim in ordered {
            machines[victim].isRemoved = counts[victim] ?? true
            machines[victim].isRemovalForgotten = counts[victim] == false
        }
    }

    /// A power cut takes what was not on the disk yet.
    private func forgetRemovals(at machine: SimulatedMachine) {
        for (victim, holders) in removalsKnown where holders.contains(machine.number) {
            if machine.disk.facts[FactKey.removed(machines[victim].id)] == nil {
                removalsKnown[victim]?.remove(machine.number)
            }
        }
    }

    // MARK: Watching

    private func noticed(_ notice: ClusterNotice, at machine: SimulatedMachine) {
        timeline.add(.notice(machine.number, notice), at: now)
        if case .factChanged(let key, _, _) = notice, key.hasPrefix(FactKey.removals),
            let victim = NodeID(key.dropFirst(FactKey.removals.count)).flatMap({ numbers[$0] })
        {
            removalsKnown[victim, default: []].insert(machine.number)
        }
        guard case .membership(let notice) = notice else { return }
        for index in checkers.indices {
            report(checkers[index].claim, checkers[index].noticed(notice, at: machine, in: self))
        }
    }

    private func sample() {
        if scenario.spares > 0, hasHealed {
            settleRemovals()
            settleLockedOut()
        }
        for index in checkers.indices { report(checkers[index].claim, checkers[index].sampled(in: self)) }
        let areAllStarted = now.nanoseconds > Self.startsWithin.nanoseconds
        if (figures.formedMilliseconds == nil && areAllStarted) || (hasHealed && figures.healMilliseconds == nil) {
            if disagreement() == nil {
                if !hasHealed {
                    figures.formedMilliseconds = figures.formedMilliseconds ?? now.milliseconds
                } else {
                    figures.healMilliseconds = (now - healsAt).milliseconds
                }
            }
        }
        if trafficAtStart.isEmpty, now >= faultsFrom { trafficAtStart = machines.map(\.traffic) }
        queue.schedule(.sample, at: now + sampleInterval)
    }

    func report(_ claim: String, _ findings: [Finding]) {
        for finding in findings where violations.count < Self.maximumViolations {
            timeline.add(.violation(finding.text), at: now)
            violations.append(Violation(at: now, claim: claim, finding: finding))
        }
    }

    var claims: [String] { checkers.map(\.claim) }

    // MARK: Truth, for checkers

    func number(of id: NodeID) -> Int? { numbers[id] }
    func machine(_ id: NodeID) -> SimulatedMachine? { numbers[id].map { machines[$0] } }
    var membersNow: [SimulatedMachine] { machines.filter(\.isMember) }
    func noteDetection(_ latency: Duration) { figures.detections.append(latency.milliseconds) }
    func noteWrongVerdict() { figures.falseVerdicts += 1 }
    func noteSuspicion() { figures.suspicions += 1 }

    /// How far from the truth the views are: nil when every running node sees every machine as it is.
    func disagreement() -> String? {
        let running = membersNow
        for observer in running {
            if let difference = difference(of: observer, among: machines) { return difference }
        }
        return nil
    }

    private func difference(of observer: SimulatedMachine, among all: [SimulatedMachine]) -> String? {
        guard let core = observer.core else { return nil }
        var known = 0
        let views =
            nodes <= Self.largest
            ? core.snapshot.members.map { ($0.record, $0.rank) } : core.records.map { ($0, $0.rank) }
        for (record, rank) in views {
            guard let machine = machine(record.id), machine.clusterSecret == observer.clusterSecret else {
                return "n\(observer.number) lists \(record.id), who has another cluster key"
            }
            known += machine.isMember ? 1 : 0
            if let truth = machine.contradicts(record, rank: rank) {
                return "n\(observer.number) has n\(machine.number) as \(rank) "
                    + "\(record.version.generation).\(record.version.incarnation), but it \(truth)"
            }
        }
        let expected = all.count { $0.isMember && $0.clusterSecret == observer.clusterSecret }
        return known < expected ? "n\(observer.number) knows \(known) of \(expected) running nodes" : nil
    }

    private func finishFigures() {
        figures.simulatedSeconds = now.seconds
        figures.overall(machines: machines, since: trafficAtStart, seconds: (now - faultsFrom).seconds)
        figures.foreignPackets = machines.reduce(0) { $0 + ($1.transport?.foreignPackets ?? 0) }
    }
}
