package import Primitives

/// Decides what this node does for every service: which leases it wants, what it starts and stops and in which order.
///
/// Nothing of a service is touched without its lease, and all of it stops before the lease ends. The verdict that a node is
/// dead only makes this node want a lease. Values in, effects out; the same events give the same effects.
package struct ServiceSupervisor: Sendable {
    package let node: NodeID
    package let config: SupervisorConfig

    package internal(set) var desired = DesiredState()
    package internal(set) var standing = StandingOrders()
    var nodes: [NodeView] = []
    var peers: [NodeID: [ServiceName: PeerReport]] = [:]
    /// For people alone: no decision reads them.
    var peerReasons: [NodeID: [ServiceName: String]] = [:]
    var mirrors: [ServiceName: MirrorFreshness] = [:]
    var units: [ServiceName: Unit] = [:]
    /// Who holds services that this node does not know yet: leases are heard of before the database is here. Each holder
    /// is told once. As many as there may be leases at most.
    private var unknownHolders: [ServiceName: (node: NodeID?, epoch: Epoch)] = [:]
    private static let mostUnknown = 1024
    var isReady = false
    var isShuttingDown = false
    var saidFinished = false
    var lastOrder: UInt64 = 0
    var effects: [ServiceEffect] = []

    package init(node: NodeID, config: SupervisorConfig = SupervisorConfig()) {
        self.node = node
        self.config = config
    }

    package mutating func handle(_ event: ServiceEvent, now: Instant) -> [ServiceEffect] {
        switch event {
        case .leaseRenewed(let name, let epoch, let until):
            // The only event of the hot path: it decides nothing new.
            renewed(name, epoch, until)
            return take()
        case .desired(let state): take(state, now)
        case .standing(let orders): take(orders, now)
        case .ready: isReady = true
        case .nodes(let views): nodes = views.sorted { $0.id < $1.id }
        case .reported(let peer, let reports):
            peers[peer] = Dictionary(reports.map { ($0.service, $0) }) { first, _ in first }
            for report in reports where report.state == .running { units[report.service]?.wasSeenRunning = true }
            if reports.isEmpty { peerReasons[peer] = nil }
        case .explained(let peer, let reasons):
            peerReasons[peer] = reasons
            return take()
        case .leaseAcquired(let name, let epoch, let until, let guarantee):
            acquired(name, Unit.Lease(epoch: epoch, until: until, guarantee: guarantee), now)
        case .leaseLost(let name, let epoch, let until, let reason): lost(name, epoch, until, reason, now)
        case .leaseRefused(let name, let reason): units[name]?.refusal = reason
        case .leaseHeld(let name, let holder, let epoch):
            guard let known = units[name]?.holderEpoch else {
                if unknownHolders.count < Self.mostUnknown || unknownHolders[name] != nil {
                    unknownHolders[name] = (holder, epoch)
                }
                break
            }
            guard epoch >= known else { break }
            units[name]?.holder = holder
            units[name]?.holderEpoch = epoch
        case .finished(let order, let result): finished(order, result, now)
        case .ended(let name, let how):
            guard let phase = units[name]?.phase, phase == .running || phase == .starting(.check) else { break }
            broken(name, "its processes ended (\(how))", .passing, now)
        case .addressRestored(let name, let address, let culprit):
            let who = culprit.map { " by \($0)" } ?? ""
            say(.restored, name, "\(address) was taken off\(who) and is back", now)
        case .addressContested(let name, let address, let culprit):
            units[name]?.wantsProbe = true
            say(.conflict, name, "\(culprit) also answers for \(address)", now)
        case .servicePath(let name, let isUp, let detail): path(name, isUp, detail, now)
        case .heartbeatPath(let path, let isUp):
            let text = isUp ? "is back" : "is lost; services stay where they are, other paths still work"
            effects.append(.notice(ServiceNotice(.path, nil, "the heartbeat path \(path) \(text)")))
        case .mirror(let name, let freshness): mirrors[name] = freshness
        case .order(let order): take(order, now)
        case .shutDown: isShuttingDown = true
        }
        settle(now)
        return take()
    }

    /// Deadlines. Late or repeated calls are harmless.
    package mutating func tick(now: Instant) -> [ServiceEffect] {
        guard let wake = nextWake, wake <= now else { return [] }
        for name in names { expire(name, now) }
        settle(now)
        return take()
    }

    /// When `tick` has something to do next.
    package var nextWake: Instant? {
        var earliest: Instant?
        func consider(_ instant: Instant?) {
            guard let instant else { return }
            earliest = earliest.map { min($0, instant) } ?? instant
        }
        for unit in units.values {
            for order in unit.pending.values { consider(order.deadline) }
            if let lease = unit.lease { consider(lease.until - config.stopMargin) }
            if case .quarantined(let at) = unit.phase, unit.pending.isEmpty { consider(at) }
            if unit.check == nil { consider(unit.nextCheck) }
            if unit.phase == .idle { consider(unit.retryAt) }
            consider(unit.bar?.until)
            consider(unit.startDeadline)
            consider(unit.waitsUntil)
        }
        return earliest
    }

    var names: [ServiceName] { units.keys.sorted() }

    private mutating func take() -> [ServiceEffect] {
        defer { effects = [] }
        return effects
    }

    // MARK: What should be

    private mutating func take(_ state: DesiredState, _ now: Instant) {
        desired = state
        for service in state.services {
            guard let unit = units[service.name] else {
                var unit = Unit(service, at: now)
                if let held = unknownHolders.removeValue(forKey: service.name) {
                    (unit.holder, unit.holderEpoch) = (held.node, held.epoch)
                }
                units[service.name] = unit
                clean(service.name, now)
                continue
            }
            units[service.name]?.isRemoved = false
            if unit.spec == service {
                units[service.name]?.newer = nil
            } else {
                // A new wording is a new try.
                units[service.name]?.bar = nil
                units[service.name]?.retryAt = nil
                takeOver(service, now)
            }
        }
        let wanted = Set(state.services.map(\.name))
        for name in names where !wanted.contains(name) { units[name]?.isRemoved = true }
    }

    /// What can change while it runs does so; the rest waits for the restart that `settle` begins.
    private mutating func takeOver(_ service: Service, _ now: Instant) {
        guard let unit = units[service.name] else { return }
        var interim = unit.spec
        interim.check = service.check
        interim.every = service.every
        interim.after = service.after
        interim.prefer = service.prefer
        interim.failback = service.failback
        interim.limits = service.limits
        if unit.phase == .running, interim.addresses != service.addresses, interim.mac == service.mac,
            interim.interface == service.interface, let lease = unit.lease
        {
            let gone = unit.spec.addresses.filter { !service.addresses.contains($0) }
            interim.addresses = service.addresses
            units[service.name]?.spec = interim
            order(service.name, .openGate(interim.addresses, epoch: lease.epoch, until: lease.until), now)
            order(service.name, .holdAddresses(AddressPlan(interim), epoch: lease.epoch), now)
            if !gone.isEmpty {
                let plan = AddressPlan(addresses: gone, mac: interim.mac, interface: interim.interface)
                order(service.name, .releaseAddresses(plan), now)
            }
        }
        units[service.name]?.spec = interim
        units[service.name]?.newer = interim == service ? nil : service
        if unit.phase == .running, unit.check == nil { units[service.name]?.nextCheck = now + interim.every }
    }

    private mutating func take(_ orders: StandingOrders, _ now: Instant) {
        let before = standing.standby(of: node)
        standing.merge(orders)
        let after = standing.standby(of: node)
        guard before != after else { return }
        let text =
            switch after {
            case .no: "this node takes services again"
            case .hold: "this node is on hold: it runs no services until an operator lifts that"
            case .drain: "this node is drained: it hands its services over and takes none"
            }
        effects.append(.notice(ServiceNotice(after == .no ? .resumed : .held, nil, text)))
    }

    private mutating func take(_ order: ServiceOrder, _ now: Instant) {
        switch order {
        case .clear(let name):
            units[name]?.bar = nil
            units[name]?.retryAt = nil
            units[name]?.restarts = []
            units[name]?.lastFailure = nil
            if case .quarantined = units[name]?.phase { units[name]?.phase = .quarantined(retryAt: now) }
        case .playDead(let name):
            guard let unit = units[name], unit.lease != nil, unit.phase == .running else { return }
            units[name]?.lease = nil
            units[name]?.holder = nil
            units[name]?.saidWish = .leaveToOthers
            units[name]?.bar = Unit.Bar(until: now + config.deadFor, reason: "an operator rehearses a failure")
            effects.append(.lease(name, .abandon))
            stopAtOnce(name, until: now, "an operator rehearses a failure", now)
        case .restart(let name):
            guard let phase = units[name]?.phase else { return }
            if phase == .running {
                say(.stopped, name, "restarts, as ordered", now)
                beginStop(name, now)
            }
        }
    }

    private mutating func path(_ name: ServiceName, _ isUp: Bool, _ detail: String, _ now: Instant) {
        guard let unit = units[name], unit.isPathUp != isUp else { return }
        units[name]?.pathDetail = isUp ? nil : detail
        say(
            .path, name, isUp ? "clients reach it here again (\(detail))" : "clients cannot reach it here: \(detail)",
            now)
    }

    // MARK: The lease

    private mutating func renewed(_ name: ServiceName, _ epoch: Epoch, _ until: Instant) {
        guard let lease = units[name]?.lease, lease.epoch == epoch, until > lease.until else { return }
        units[name]?.lease?.until = until
        if units[name]?.isGateOpen == true { order(name, .renewGate(epoch: epoch, until: until)) }
    }

    private mutating func acquired(_ name: ServiceName, _ lease: Unit.Lease, _ now: Instant) {
        guard let unit = units[name] else {
            effects.append(.lease(name, .release))
            return
        }
        // A grant that took its whole term to get here, or an older one, starts nothing.
        guard lease.until - config.stopMargin > now, lease.epoch >= unit.holderEpoch else { return }
        if let held = unit.lease {
            guard lease.epoch > held.epoch else { return }
            if unit.isActive { stopAtOnce(name, until: now, "the epoch changed to \(lease.epoch)", now) }
        }
        units[name]?.lease = lease
        units[name]?.holder = node
        units[name]?.holderEpoch = lease.epoch
        units[name]?.refusal = nil
        if lease.epoch == Epoch.none.next || !unit.wasSeenRunning { units[name]?.wantsProbe = true }
        effects.append(
            .notice(
                ServiceNotice(
                    .acquired, name, "this node may run \(name) (\(lease.guarantee.rawValue))", epoch: lease.epoch)))
        units[name]?.note("this node holds its lease with epoch \(lease.epoch), \(lease.guarantee.rawValue)", at: now)
        // It came here although an operator had put it elsewhere: that node failed it, and it does not go back by itself.
        if let pin = standing.pin(of: name), pin != node {
            standing.pin(name, to: nil, revision: standing.newestRevision + 1)
            effects.append(.persist(standing))
        }
    }

    private mutating func lost(_ name: ServiceName, _ epoch: Epoch, _ until: Instant, _ reason: String, _ now: Instant)
    {
        guard let unit = units[name], unit.lease?.epoch == epoch else { return }
        units[name]?.lease = nil
        if unit.holder == node { units[name]?.holder = nil }
        effects.append(.notice(ServiceNotice(.released, name, "its lease is lost: \(reason)", epoch: epoch)))
        units[name]?.note("its lease was lost: \(reason)", at: now)
        if unit.isActive { stopAtOnce(name, until: until, "its lease is lost: \(reason)", now) }
    }

    // MARK: Telling

    mutating func say(_ kind: ServiceNotice.Kind, _ name: ServiceName, _ text: String, _ now: Instant) {
        effects.append(.notice(ServiceNotice(kind, name, text, epoch: units[name]?.lease?.epoch)))
        units[name]?.note(text, at: now)
    }

    /// Gives an order that is answered, and remembers until when.
    @discardableResult
    mutating func order(
        _ name: ServiceName, _ action: MachineEffect.Action, within: Duration? = nil, _ now: Instant
    ) -> OrderNumber {
        let number = order(name, action)
        let deadline = now + (within.map { $0 + config.grace } ?? config.quickOrder)
        units[name]?.pending[number] = Unit.Pending(what: action.name, deadline: deadline)
        switch action {
        case .openGate: units[name]?.isGateOpen = true
        case .closeGate: units[name]?.isGateOpen = false
        default: break
        }
        return number
    }
    /// Gives an order that nobody answers.
    @discardableResult
    private mutating func order(_ name: ServiceName, _ action: MachineEffect.Action) -> OrderNumber {
        lastOrder += 1
        let number = OrderNumber(lastOrder)
        effects.append(.machine(MachineEffect(order: number, service: name, action: action)))
        return number
    }

    func called(_ id: NodeID) -> String { nodes.first { $0.id == id }?.name.description ?? id.code }
}

extension MachineEffect.Action {
    /// In an operator's words.
    package var name: String {
        switch self {
        case .openGate, .renewGate: "opening the gate"
        case .closeGate: "closing the gate"
        case .probe: "asking for the address"
        case .holdAddresses: "taking the address"
        case .releaseAddresses: "taking the address off"
        case .start: "the start"
        case .stop: "the stop"
        case .check: "the check"
        case .feedMirrors: "feeding the mirrors"
        case .stopMirrors: "the last push of the mirrors"
        }
    }
}
