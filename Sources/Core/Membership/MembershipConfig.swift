/// The constants of the membership core. Sources: docs/protocol/membership.md, where each one is explained.
package struct MembershipConfig: Equatable, Sendable {
    /// Time between two heartbeats to one peer: `small` up to 16 nodes, `medium` up to 64, else `large`.
    ///
    /// Each heartbeat tells its own interval, so nodes with different settings understand each other.
    package var smallInterval: Duration = .milliseconds(100)
    package var mediumInterval: Duration = .milliseconds(200)
    package var largeInterval: Duration = .milliseconds(400)
    package var smallLimit = 16
    package var mediumLimit = 64

    /// Up to this many nodes everybody watches everybody; above, neighbours on `rings` random rings watch each other.
    package var meshLimit = 16
    package var rings = 5

    /// How suspicious a silence must be before a peer is probed, and before it is reported:
    /// φ = −log10 P(silence this long | peer alive).
    ///
    /// Unit: φ, no dimension. 100 ms heartbeats reach 5 after 382 ms and 8 after 405 ms of silence.
    /// Source: Hayashibara et al., “The φ accrual failure detector”, SRDS 2004; normal approximation as in Akka.
    package var probeThreshold = 5.0
    package var reportThreshold = 8.0

    /// A host list exists whose answers tell whether *we* are cut off. With it, a lone observer convicts nobody unless
    /// one of those hosts answered within 300 ms; without it, its verdict is marked unconfirmed.
    package var hasReachTargets = false

    /// How long a failed or departed member stays listed, and how many of them at most.
    package var forgetAfter: Duration = .seconds(30 * 86400)
    package var maximumAbsent = 1024

    /// Only for tests and the simulator, which must find each of them: a checker that finds no planted bug proves nothing.
    package enum PlantedBug: String, CaseIterable, Sendable {
        /// Silence is real time, so that our own pause accuses others.
        case noAttendedClock
        /// News of a node that is already known as failed does not raise its stored version.
        case incarnationNotMonotone
        /// One report is enough to declare a node failed.
        case singleObserverVerdict
        /// A failed member is dropped from the list, and nobody knocks on it again.
        case failedNodesForgotten
    }
    package var plantedBug: PlantedBug?

    package init() {}
}
