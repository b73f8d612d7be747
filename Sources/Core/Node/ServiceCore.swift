package import Leases
package import Primitives
package import Services

/// A node's leases and services, joined: what a lease says becomes an event of its service, what a service wants becomes
/// a wish. Driven by the pulse; nothing in here waits for the machine.
package struct ServiceCore: Sendable {
    package enum Effect: Equatable, Sendable {
        case send(LeaseMessage, to: NodeID)
        /// Everything that services do to the computer, probes for leases among them.
        case machine(MachineEffect)
        case persist(LeaseMemory, ticket: UInt32)
        /// Orders of operators that changed by themselves: write them down, and tell the others.
        case persistOrders(StandingOrders)
        case probeReach(ticket: UInt32)
        case fence(NodeID)
        case service(ServiceNotice)
        case lease(LeaseNotice)
        /// News of a lease that is not a service's: of a lock, or a role.
        case other(LeaseEffect)
        /// After `shutDown`: nothing runs here, and every lease was given back.
        case finishedStopping
    }

    package private(set) var leases: LeaseKeeper
    package private(set) var services: ServiceSupervisor

    package init(leases: LeaseKeeper, services: ServiceSupervisor) {
        self.leases = leases
        self.services = services
    }

    package mutating func handle(_ event: LeaseEvent, now: Instant) -> [Effect] {
        carryOut(leases.handle(event, now: now), now)
    }

    package mutating func handle(_ event: ServiceEvent, now: Instant) -> [Effect] {
        if case .finished(let order, let result) = event, let ticket = Self.ticket(of: order) {
            // Whoever could not ask does not know that nobody is there.
            return handle(.probed(ticket: ticket, isAnswered: result != .done), now: now)
        }
        return carryOut(services.handle(event, now: now), now)
    }

    /// Each round of the pulse.
    package mutating func tick(now: Instant) -> [Effect] {
        let effects = carryOut(leases.handle(.tick, now: now), now)
        return effects + carryOut(services.tick(now: now), now)
    }

    package mutating func use(pair: LeaseConfig) { leases.use(pair: pair) }

    // MARK: Joining

    private mutating func carryOut(_ news: [LeaseEffect], _ now: Instant) -> [Effect] {
        var effects: [Effect] = []
        for item in news {
            switch item {
            case .send(let message, let peer): effects.append(.send(message, to: peer))
            case .persist(let memory, let ticket): effects.append(.persist(memory, ticket: ticket))
            case .probeReach(let ticket): effects.append(.probeReach(ticket: ticket))
            case .fence(let node): effects.append(.fence(node))
            case .notify(let notice): effects.append(.lease(notice))
            case .probeAddresses(let lease, let ticket):
                guard lease.kind == .service, let service = services.desired.service(lease.name),
                    !service.addresses.isEmpty
                else {
                    effects += handle(.probed(ticket: ticket, isAnswered: false), now: now)
                    continue
                }
                let probe = MachineEffect(
                    order: Self.order(of: ticket), service: lease.name, action: .probe(AddressPlan(service)))
                effects.append(.machine(probe))
            case .acquired(let lease, _, _, _), .renewed(let lease, _, _), .lost(let lease, _, _, _),
                .refused(let lease, _), .held(let lease, _, _):
                guard lease.kind == .service, let event = Self.event(item) else {
                    effects.append(.other(item))
                    continue
                }
                effects += carryOut(services.handle(event, now: now), now)
            }
        }
        return effects
    }

    private mutating func carryOut(_ news: [ServiceEffect], _ now: Instant) -> [Effect] {
        var effects: [Effect] = []
        for item in news {
            switch item {
            case .machine(let order): effects.append(.machine(order))
            case .notice(let notice): effects.append(.service(notice))
            case .persist(let orders): effects.append(.persistOrders(orders))
            case .lease(let name, let wish):
                effects += handle(.wish(.service(name), Self.wish(wish)), now: now)
            case .finishedStopping: effects += handle(.leave, now: now) + [.finishedStopping]
            }
        }
        return effects
    }

    private static func event(_ news: LeaseEffect) -> ServiceEvent? {
        switch news {
        case .acquired(let lease, let epoch, let until, let guarantee):
            .leaseAcquired(lease.name, epoch, until: until, guarantee)
        case .renewed(let lease, let epoch, let until): .leaseRenewed(lease.name, epoch, until: until)
        case .lost(let lease, let epoch, let until, let reason):
            .leaseLost(lease.name, epoch, until: until, reason: reason)
        case .refused(let lease, let reason): .leaseRefused(lease.name, reason: reason)
        case .held(let lease, let holder, let epoch): .leaseHeld(lease.name, by: holder, epoch)
        default: nil
        }
    }

    private static func wish(_ wish: Services.LeaseWish) -> Leases.LeaseWish {
        switch wish {
        case .want(let rank): .want(rank: rank)
        case .leaveToOthers: .leaveToOthers
        case .handOver(let heir): .handOver(to: heir)
        case .release: .release
        case .abandon: .abandon
        }
    }

    /// Probes for leases have numbers of their own, above all that the supervisor gives.
    private static let probes: UInt64 = 1 << 63
    private static func order(of ticket: UInt32) -> OrderNumber { OrderNumber(probes | UInt64(ticket)) }
    private static func ticket(of order: OrderNumber) -> UInt32? {
        order.number & probes == 0 ? nil : UInt32(truncatingIfNeeded: order.number)
    }
}
