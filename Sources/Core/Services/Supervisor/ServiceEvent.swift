package import Primitives

/// Everything that can happen to this node's services, from outside the core.
package enum ServiceEvent: Equatable, Sendable {
    /// What should be, newly read. Unreadable rows are left out by whoever reads them, and told as events.
    case desired(DesiredState)
    /// What operators ordered, merged with what is known: the newest word about each subject counts.
    case standing(StandingOrders)
    /// The desired state is the cluster's, as far as that can be had: from here on this node may take services.
    case ready
    case nodes([NodeView])
    /// What another node says about its services; replaces what it said before.
    case reported(by: NodeID, [PeerReport])
    /// What keeps services from running there, in the other node's words; replaces what it said before.
    case explained(by: NodeID, [ServiceName: String])

    /// This node may act until then. `until` counts from when the lease was asked for.
    case leaseAcquired(ServiceName, Epoch, until: Instant, Guarantee)
    case leaseRenewed(ServiceName, Epoch, until: Instant)
    /// It may not act any more from `until`, or now.
    case leaseLost(ServiceName, Epoch, until: Instant, reason: String)
    /// Why this node does not get the lease it wants, for people: "no majority", "serv2 still answers".
    case leaseRefused(ServiceName, reason: String)
    /// Somebody holds it, as far as this node knows; nil for nobody.
    case leaseHeld(ServiceName, by: NodeID?, Epoch)

    case finished(OrderNumber, OrderResult)
    /// The processes ended by themselves.
    case ended(ServiceName, how: String)
    /// An address was taken off by somebody else and put back; `by` where that is known.
    case addressRestored(ServiceName, FloatingAddress, by: String?)
    /// Somebody else answers for an address that this node holds.
    case addressContested(ServiceName, FloatingAddress, by: String)
    /// Clients reach the service's addresses through this path. Lost: carrier, or the interface is gone.
    case servicePath(ServiceName, isUp: Bool, detail: String)
    /// A path between nodes, which carries no service.
    case heartbeatPath(String, isUp: Bool)
    case mirror(ServiceName, MirrorFreshness)

    case order(ServiceOrder)
    /// The daemon stops: hand everything over. `finishedStopping` says when nothing runs any more.
    case shutDown
}

/// What an operator asks of one service, now. What should last (stopped, pinned, held) is in `StandingOrders`.
package enum ServiceOrder: Equatable, Sendable {
    /// Stop and start in place.
    case restart(ServiceName)
    /// Forget failures and bars of it on this node, and try again at once.
    case clear(ServiceName)
    /// Rehearse a failure: end it at once, tell nobody, and leave it alone for a while. Nothing where it does not run.
    case playDead(ServiceName)
}

/// What this node needs to know of a member to place services.
package struct NodeView: Equatable, Sendable {
    package enum State: String, Sendable { case alive, suspect, down }
    package var id: NodeID
    package var name: NodeName
    package var state: State
    /// Load in whole tenths of what the machine can do: coarse, so that nodes agree about it.
    package var load: UInt8

    package init(id: NodeID, name: NodeName, state: State, load: UInt8 = 0) {
        self.id = id
        self.name = name
        self.state = state
        self.load = load
    }
}

/// How a mirror's copy on this node stands.
package enum MirrorFreshness: Equatable, Sendable {
    /// Nobody ever fed it: whoever serves first is its first source.
    case pristine
    /// This node has a whole copy, that old.
    case synced(behind: Duration)
    /// Being received from the holder right now.
    case receiving
    /// Others have data, this node never got all of it.
    case never
    /// Cannot be told: the engine does not run or has an error.
    case unknown(String)
}

/// What a node tells the others about one service. Small, since it rides on heartbeats.
package struct PeerReport: Equatable, Sendable {
    package var service: ServiceName
    package var state: ServiceReport.State
    package var epoch: Epoch
    /// True when it would take the service if asked.
    package var canTake: Bool
    /// True when it would not take the service yet, but within a moment: what a former run left is being stopped.
    package var isPreparing: Bool

    package init(
        service: ServiceName, state: ServiceReport.State, epoch: Epoch, canTake: Bool, isPreparing: Bool = false
    ) {
        self.service = service
        self.state = state
        self.epoch = epoch
        self.canTake = canTake
        self.isPreparing = isPreparing && !canTake
    }
}
