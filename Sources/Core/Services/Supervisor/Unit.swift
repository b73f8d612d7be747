import Primitives

/// One service on this node: where it is between idle and running, and what it waits for.
struct Unit: Sendable {
    enum Phase: Equatable, Sendable {
        /// Bramble has just started: whatever a former run left behind is being stopped.
        case cleaning
        case idle
        case starting(StartStep)
        case running
        case stopping([StopStep])
        /// A stop failed. Its address is off; the stop is tried again then.
        case quarantined(retryAt: Instant)
    }
    /// In this order.
    enum StartStep: Int, Equatable, Sendable {
        case probe, addresses, mirrors, dependencies, run, check
    }
    /// In this order when there is time; all at once when the lease is lost.
    enum StopStep: Equatable, Sendable { case run, mirrors, addresses, gate }

    struct Lease: Equatable, Sendable {
        var epoch: Epoch
        var until: Instant
        var guarantee: Guarantee
    }
    /// Why this node leaves the service alone for now.
    struct Bar: Equatable, Sendable {
        /// nil: until an operator clears it.
        var until: Instant?
        var reason: String
    }
    /// An order given and not answered yet.
    struct Pending: Equatable, Sendable {
        var what: String
        var deadline: Instant
    }

    /// What runs, or would be started.
    var spec: Service
    /// A newer wording, taken over at the next start.
    var newer: Service?
    /// Taken out of the desired state.
    var isRemoved = false

    var phase = Phase.idle
    var pending: [OrderNumber: Pending] = [:]
    /// What went wrong in the stop under way.
    var stopFailures: [String] = []
    /// The stop under way, or the next start, follows a failure.
    var lastFailure: String?

    var lease: Lease?
    var holder: NodeID?
    var holderEpoch = Epoch.none
    var refusal: String?
    var saidWish = LeaseWish.leaveToOthers
    /// The first start waits for a preferred node that is not ready yet until then.
    var waitsUntil: Instant?
    /// Once is enough.
    var hasWaited = false

    var isGateOpen = false
    /// The probe of a start before anybody was known to run it, and after somebody else was seen with the address.
    var wantsProbe = false
    /// Here or elsewhere, since Bramble runs: its addresses are its own. Until then a stranger may have them.
    var wasSeenRunning = false
    var pathDetail: String?
    var bar: Bar?
    /// It was started since Bramble runs.
    var hasRun = false
    var restarts: [Instant] = []
    var retryAt: Instant?
    var stopTries = 0
    var isRetryingStop = false

    var check: OrderNumber?
    var failedChecks = 0
    var nextCheck: Instant?
    /// When a start that has not come to its end has failed.
    var startDeadline: Instant?

    var since: Instant
    var reasons: [ServiceReport.Reason] = []

    init(_ spec: Service, at now: Instant) {
        self.spec = spec
        since = now
    }

    /// What is asked of it while it runs: the operator's check, or the runner's own way.
    var runningCheck: Check? { spec.check ?? (spec.run == nil ? nil : .monitor) }
    var isActive: Bool { phase != .idle }
    var isPathUp: Bool { pathDetail == nil }

    mutating func note(_ text: String, at now: Instant) {
        reasons.insert(ServiceReport.Reason(at: now, text), at: 0)
        if reasons.count > 8 { reasons.removeLast() }
    }
}
