package import Primitives

/// Everything the services' core asks for, in the order decided.
package enum ServiceEffect: Equatable, Sendable {
    case machine(MachineEffect)
    case lease(ServiceName, LeaseWish)
    case notice(ServiceNotice)
    /// Write down away from the pulse, and spread: an order that lasts changed by itself (a pin that a failover undid).
    case persist(StandingOrders)
    /// After `shutDown`: nothing of any service runs here any more.
    case finishedStopping
}

/// What this node wants from a service's lease, said when it changes. A holder says nothing but `handOver` or `release`,
/// after everything has stopped; from there on it bids only when it says `want` again.
package enum LeaseWish: Equatable, Sendable {
    /// Get it once it is free; rank 0 bids at once, each further one a little later, so that the better node wins.
    case want(rank: Int)
    case leaveToOthers
    /// Everything has stopped here: end the term, and let this node be the first to bid with the next epoch.
    case handOver(to: NodeID)
    /// Everything has stopped here: end the term; anybody may bid.
    case release
    /// Let the term run out and say nothing, as a node that dies.
    case abandon
}

/// What happened, for the event log and for `bramble why`.
package struct ServiceNotice: Equatable, Sendable {
    package enum Kind: String, Sendable {
        case acquired, released, started, stopped, failed, blocked, moved, held, resumed, conflict, restored, path
    }
    package var kind: Kind
    package var service: ServiceName?
    /// One sentence: what happened and why.
    package var text: String
    package var epoch: Epoch?
    package var figures: [String: Double]

    package init(
        _ kind: Kind, _ service: ServiceName?, _ text: String, epoch: Epoch? = nil, figures: [String: Double] = [:]
    ) {
        self.kind = kind
        self.service = service
        self.text = text
        self.epoch = epoch
        self.figures = figures
    }
}

/// One service as this node sees it, for people.
package struct ServiceReport: Equatable, Sendable {
    package enum State: String, Sendable, CaseIterable { case running, starting, stopped, failed, blocked }
    package var service: ServiceName
    package var state: State
    /// Who holds it, as far as this node knows.
    package var node: NodeID?
    package var epoch: Epoch
    /// Since when it is in this state, on this node's clock.
    package var since: Instant
    package var addresses: [FloatingAddress]
    /// Newest first: why it is where it is, and what it waits for.
    package var because: [Reason]
    /// Restarts in the last ten minutes, here.
    package var restarts: Int

    package struct Reason: Equatable, Sendable {
        package var at: Instant
        package var text: String
        package init(at: Instant, _ text: String) {
            self.at = at
            self.text = text
        }
    }
}
