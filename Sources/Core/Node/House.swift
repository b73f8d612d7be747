package import Leases
import Membership
package import Primitives
package import Services

/// What a node needs in order to take part in leases and to run services.
package struct HouseSettings: Equatable, Sendable {
    /// For two nodes without a witness; who judges between them is found in the reach list.
    package var pair: LeaseConfig
    package var votes: LeaseConfig
    /// From the disk.
    package var memory: LeaseMemory
    /// Of this node's own settings. The cluster's own list, from `apply`, is used where there is one.
    package var reach: [IPAddress]

    package init(pair: LeaseConfig, votes: LeaseConfig, memory: LeaseMemory, reach: [IPAddress]) {
        self.pair = pair
        self.votes = votes
        self.memory = memory
        self.reach = reach
    }
}

/// Leases and services of one node, and what they were last told about the rest of it.
struct House: Sendable {
    var core: ServiceCore
    let settings: HouseSettings
    let bornAt: Instant
    /// Something about the members changed, or the time has come to look.
    var isLookDue = true
    var nextLook: Instant
    var members: [NodeID] = []
    /// The one that is to break ties, of those there are.
    var witness: NodeID?
    var views: [NodeView] = []
    /// Since when another node was heard, in this life.
    var metAt: Instant?
    var isReady = false
    var reach: [IPAddress]
    var isFenced = false
    var reports: [PeerReport] = []
    var reasons: [ServiceName: String] = [:]
    var mayReportsDiffer = true
    var nextReport: Instant
    var lastTick: Instant?
    var toldDesired = false
    /// When anything came from each node last.
    var heard: [NodeID: Instant] = [:]
    var servers: [ServiceName: Server] = [:]
    var gaps: [ServiceName: ServiceGap] = [:]

    /// Who was last known to run a service, and since when it does not any more, if it said so.
    struct Server: Sendable {
        var node: NodeID
        var epoch: Epoch
        var endedAt: Instant?
    }

    /// A change of load moves nothing; names and ranks are looked at when membership says that they changed.
    static let lookEvery = Duration.seconds(1)
    static let reportEvery = Duration.seconds(1)
    /// After the first meeting, until facts that differ were exchanged: they are compared after 500 ms.
    static let settling = Duration.milliseconds(1500)

    init(
        id: NodeID, generation: UInt32, _ settings: HouseSettings, chance: SeededGenerator, facts: SharedFacts,
        now: Instant
    ) {
        self.settings = settings
        bornAt = now
        nextLook = now
        nextReport = now
        reach = settings.reach
        let leases = LeaseKeeper(
            me: id, generation: generation, pair: Self.judged(settings.pair, by: settings.reach),
            votes: settings.votes, memory: settings.memory, chance: chance, now: now)
        core = ServiceCore(leases: leases, services: ServiceSupervisor(node: id))
        for node in facts.removed.sorted() { _ = core.handle(.removed(node), now: now) }
    }

    /// Where every node can be switched off by a fence agent, that is done first. Else two nodes ask the reach list; without
    /// one there is nobody but the other node itself.
    static func judged(_ config: LeaseConfig, by reach: [IPAddress], isFenced: Bool = false) -> LeaseConfig {
        var config = config
        config.pair = isFenced ? .fence : reach.isEmpty ? .bestEffort : .reach(hosts: reach.count)
        return config
    }
}

/// How long a service was away when it went from one node to another.
package struct ServiceGap: Equatable, Sendable {
    /// From the last sign of life of the one, or its word that it stopped, until the other ran it.
    package var length: Duration
    package var at: Instant
    /// False for a failure.
    package var wasOrderly: Bool
}

/// What people are shown of services.
package struct HouseSnapshot: Equatable, Sendable {
    package var reports: [ServiceReport]
    package var desired: DesiredState
    package var standing: StandingOrders
    package var guarantee: Guarantee
    package var voters: VoterConfig
    /// L and T as they are now.
    package var term: Duration
    package var takeover: Duration
    /// When the snapshot was made.
    package var at: Instant
    /// Who would be asked to run each service, best first.
    package var ranking: [ServiceName: [NodeID]]
    package var reach: [IPAddress]
    package var isReady: Bool
    /// The one that is to break ties, whether it votes yet or not.
    package var witness: NodeID?
    /// Of the last time that each service changed its node, as far as this one saw it.
    package var gaps: [ServiceName: ServiceGap]
}

/// The node's side of services: what it tells them, and what becomes of what they want.
extension NodeCore {
    // MARK: In and out

    /// Lets the house handle something, and carries out what it says.
    mutating func inHouse(_ now: Instant, _ body: (inout House) -> [ServiceCore.Effect]) -> [NodeEffect] {
        // Changed where it is: a copy would be most of what a quiet round of the pulse costs.
        guard house != nil else { return [] }
        let effects = body(&house!)
        guard !effects.isEmpty else { return [] }
        if effects.contains(where: \.isNews) { house!.mayReportsDiffer = true }
        return carryOut(effects, now)
    }

    private mutating func carryOut(_ effects: [ServiceCore.Effect], _ now: Instant) -> [NodeEffect] {
        var result: [NodeEffect] = []
        result.reserveCapacity(effects.count)
        for effect in effects {
            switch effect {
            case .send(let message, let peer): result += sendOnEveryPath(message, to: peer)
            case .persistOrders(let orders): result += write(orders, now)
            case .service(var notice):
                if notice.kind == .started, let name = notice.service, let epoch = notice.epoch,
                    let gap = runs(name, on: id, epoch, now)
                {
                    notice.figures["gapMs"] = gap.length.milliseconds.rounded()
                }
                result.append(.notify(.service(notice)))
            case .lease(let notice): result.append(.notify(.lease(notice)))
            case .fence(let node):
                let name = names.name(of: node)
                result.append(.fence(node, name.flatMap { house?.core.services.desired.fence(of: $0) }))
            case .machine, .persist, .probeReach, .other, .finishedStopping: result.append(.service(effect))
            }
        }
        return result
    }

    // MARK: The pulse

    mutating func tickHouse(now: Instant) -> [NodeEffect] {
        var effects: [NodeEffect] = []
        guard let last = house?.lastTick, let isInUse = house?.core.leases.isInUse else {
            house?.lastTick = now
            return desiredChanged(nil, now: now)
        }
        house?.lastTick = now
        let late = now - last - tickInterval
        if isInUse, late > .zero { effects += inHouse(now) { $0.core.handle(.gap(late, .own), now: now) } }
        if house?.isLookDue == true || now >= house?.nextLook ?? now { effects += look(now) }
        effects += inHouse(now) { $0.core.tick(now: now) }
        effects += becomeReady(now)
        return effects + report(now)
    }

    /// What membership knows, to leases and services, where it has changed.
    private mutating func look(_ now: Instant) -> [NodeEffect] {
        house?.isLookDue = false
        house?.nextLook = now + House.lookEvery
        guard let known = house else { return [] }
        var effects: [NodeEffect] = []
        let all = membership.members.filter { $0.rank != .removed && !facts.removed.contains($0.id) }
        let shown = all.filter { $0.record.profile.role == .node }
        // Who left is still a member: a restart of the machine must not change who votes, or how strictly.
        let members = shown.map(\.id)
        let witness = chooseWitness(all.filter { $0.record.profile.role == .witness }, known)
        if members != known.members || witness != known.witness {
            house?.members = members
            house?.witness = witness
            effects += inHouse(now) { $0.core.handle(.members(members, witness: witness), now: now) }
        }
        let views = shown.compactMap { member -> NodeView? in
            guard let name = names.name(of: member.id) else { return nil }
            let state: NodeView.State =
                switch member.rank {
                case .alive: .alive
                case .suspect: .suspect
                case .failed, .left, .removed: .down
                }
            let cpu = LoadFacts(encoded: member.load)?.cpu ?? 0
            return NodeView(
                id: member.id, name: name, state: state, load: UInt8(clamping: Int((cpu * 10).rounded())))
        }
        guard views != known.views else { return effects }
        house?.views = views
        effects += judgePair(now)
        for view in views where view.id != id {
            let before = known.views.first { $0.id == view.id }?.state
            guard before != view.state else { continue }
            effects += inHouse(now) { $0.core.handle(.peer(view.id, isAlive: view.state == .alive), now: now) }
            let orders = known.core.services.standing
            if view.state == .alive, !orders.rows.isEmpty {
                effects.append(.sendReliably(NodeMessage.orders(orders).encoded, to: view.id))
            }
            if view.state == .down { effects += inHouse(now) { $0.core.handle(.reported(by: view.id, []), now: now) } }
        }
        return effects + inHouse(now) { $0.core.handle(.nodes(views), now: now) }
    }

    /// The one that votes stays it; else one that answers, in the order of their IDs, which all nodes share.
    private func chooseWitness(_ witnesses: [MemberView], _ known: House) -> NodeID? {
        let present = known.core.leases.voters.witness ?? known.witness
        if let present, witnesses.contains(where: { $0.id == present }) { return present }
        return (witnesses.first { $0.rank == .alive } ?? witnesses.first)?.id
    }

    /// Services may be taken once the voters are agreed and what operators ordered meanwhile is known, as far as anybody
    /// who could tell it is there.
    private mutating func becomeReady(_ now: Instant) -> [NodeEffect] {
        guard house?.isReady == false, let known = house else { return [] }
        if known.metAt == nil, !servingPeers.isEmpty { house?.metAt = now }
        guard known.core.leases.voters.number > 0 else { return [] }
        let hasLearnt = known.metAt.map { now >= $0 + House.settling } ?? false
        guard hasLearnt || known.members.count < 2 || now >= known.bornAt + known.settings.pair.bootWait else {
            return []
        }
        house?.isReady = true
        return inHouse(now) { $0.core.handle(.ready, now: now) }
    }

    /// At once when something changed, and every second for those who missed it.
    private mutating func report(_ now: Instant) -> [NodeEffect] {
        guard house?.mayReportsDiffer == true || now >= house?.nextReport ?? now, let known = house else { return [] }
        house?.mayReportsDiffer = false
        guard !known.core.services.desired.services.isEmpty || !known.reports.isEmpty else {
            house?.nextReport = now + House.reportEvery
            return []
        }
        let reports = known.core.services.peerReports
        reported(by: id, reports, now: now)
        let reasons = known.core.services.reasons
        guard reports != known.reports || reasons != known.reasons || now >= known.nextReport else { return [] }
        house?.reports = reports
        house?.reasons = reasons
        house?.nextReport = now + House.reportEvery
        let effects = tell(.services(reports))
        // That there is none any more is said once: where it is lost, the reports of then make the old one pointless.
        return reasons.isEmpty && known.reasons.isEmpty ? effects : effects + tell(.serviceReasons(reasons))
    }

    private func tell(_ message: NodeMessage) -> [NodeEffect] {
        let (bytes, peers) = (message.encoded, servingPeers)
        guard bytes.count <= MembershipCodec.maximumDatagram else {
            return peers.map { .sendReliably(bytes, to: $0) }
        }
        return peers.map { .send(bytes, to: $0, via: membership.preferredPath(to: $0)) }
    }

    // MARK: Gaps

    /// What a node says about its services, as far as it tells how long they were away.
    mutating func reported(by node: NodeID, _ reports: [PeerReport], now: Instant) {
        guard house != nil else { return }
        for report in reports {
            if report.state == .running {
                _ = runs(report.service, on: node, report.epoch, now)
            } else if let known = house?.servers[report.service], known.node == node, known.endedAt == nil {
                house?.servers[report.service]?.endedAt = now
            }
        }
    }

    /// A service runs there; the gap where it was another node's before.
    private mutating func runs(_ name: ServiceName, on node: NodeID, _ epoch: Epoch, _ now: Instant) -> ServiceGap? {
        let before = house?.servers[name]
        // A node that was away may still speak of what it had.
        if let before, epoch < before.epoch { return nil }
        house?.servers[name] = House.Server(node: node, epoch: epoch)
        guard let before, before.node != node, let end = before.endedAt ?? house?.heard[before.node] else { return nil }
        let gap = ServiceGap(length: max(now - end, .zero), at: now, wasOrderly: before.endedAt != nil)
        house?.gaps[name] = gap
        return gap
    }

    // MARK: What should be

    /// Reads the desired state anew where one of these keys is of it; nil for all.
    mutating func desiredChanged(_ keys: [String]?, now: Instant) -> [NodeEffect] {
        guard let known = house, keys?.contains(where: { $0.hasPrefix(FactKey.desired) }) ?? true else { return [] }
        let rows = desiredRows
        // What cannot be read is told to whoever asks for it, with `bramble export`.
        let state = DesiredState(rows: rows) { _, _ in }
        let orders = StandingOrders(rows: rows)
        var effects: [NodeEffect] = []
        let reach = state.reach.isEmpty ? known.settings.reach : state.reach
        let isOtherList = reach != known.reach
        if isOtherList {
            house?.reach = reach
            effects.append(.reachHosts(reach))
        }
        if orders != known.core.services.standing {
            effects += inHouse(now) { $0.core.handle(.standing(orders), now: now) }
        }
        if state != known.core.services.desired {
            effects += inHouse(now) { $0.core.handle(.desired(state), now: now) }
        }
        return effects + judgePair(now, anew: isOtherList)
    }

    /// Who decides between two nodes, where that has changed.
    private mutating func judgePair(_ now: Instant, anew: Bool = false) -> [NodeEffect] {
        guard let known = house else { return [] }
        let desired = known.core.services.desired
        let isFenced = known.views.count == 2 && known.views.allSatisfy { desired.fence(of: $0.name) != nil }
        guard anew || isFenced != known.isFenced else { return [] }
        house?.isFenced = isFenced
        let pair = House.judged(known.settings.pair, by: known.reach, isFenced: isFenced)
        return inHouse(now) {
            $0.core.use(pair: pair)
            return []
        }
    }

    private var desiredRows: [DesiredRow] {
        facts.keys(prefix: FactKey.desired).compactMap { key in
            facts[key].flatMap { DesiredRow(factKey: key, value: String(decoding: $0, as: UTF8.self)) }
        }
    }

    private mutating func write(_ orders: StandingOrders, _ now: Instant) -> [NodeEffect] {
        let edits: [(key: String, value: [UInt8]?)] = orders.rows.compactMap { row in
            let value = Array(row.factValue.utf8)
            return facts[row.factKey] == value ? nil : (row.factKey, value)
        }
        guard !edits.isEmpty else { return [] }
        return (try? setFacts(edits, now: now)) ?? []
    }

    // MARK: Operators

    /// An order that lasts, on every node.
    package mutating func order(
        now: Instant, _ change: (inout StandingOrders, _ revision: UInt64) -> Void
    ) throws(Refusal) -> [NodeEffect] {
        var orders = house?.core.services.standing ?? StandingOrders()
        change(&orders, orders.newestRevision + 1)
        var edits: [(key: String, value: [UInt8]?)] = []
        for row in orders.rows where facts[row.factKey] != Array(row.factValue.utf8) {
            edits.append((row.factKey, Array(row.factValue.utf8)))
        }
        return edits.isEmpty ? [] : try setFacts(edits, now: now)
    }

    /// Lets the node that runs a service play dead for it. Nothing where nobody runs it.
    package mutating func drill(_ service: ServiceName, now: Instant) -> [NodeEffect] {
        guard let holder = house?.core.services.reports(now: now).first(where: { $0.service == service })?.node else {
            return []
        }
        guard holder == id else { return [.sendReliably(NodeMessage.drill(service).encoded, to: holder)] }
        return inHouse(now) { $0.core.handle(.order(.playDead(service)), now: now) }
    }

    package func houseSnapshot(now: Instant) -> HouseSnapshot? {
        guard let house else { return nil }
        let timing = house.core.leases.timing
        return HouseSnapshot(
            reports: house.core.services.reports(now: now), desired: house.core.services.desired,
            standing: house.core.services.standing, guarantee: house.core.leases.guarantee,
            voters: house.core.leases.voters, term: timing.term, takeover: timing.takeover, at: now,
            ranking: house.core.services.placement, reach: house.reach, isReady: house.isReady,
            witness: house.witness, gaps: house.gaps)
    }
}

extension ServiceCore.Effect {
    /// It may change how services stand: whatever is not the daily round of leases.
    fileprivate var isNews: Bool {
        switch self {
        case .send, .persist, .probeReach: false
        case .machine(let order): if case .renewGate = order.action { false } else { true }
        case .persistOrders, .fence, .service, .lease, .other, .finishedStopping: true
        }
    }
}
