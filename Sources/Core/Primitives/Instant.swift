/// A moment on this node's own clock: time since boot, suspended time included (CLOCK_BOOTTIME, which is
/// what ContinuousClock reads on Linux). Unit: nanoseconds. Instants of two nodes cannot be compared.
package struct Instant: InstantProtocol, Hashable, Sendable {
    package let nanoseconds: Int64

    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    package init(sinceBoot duration: Duration) { self.nanoseconds = duration.nanoseconds }

    package static let zero = Instant(nanoseconds: 0)

    package func advanced(by duration: Duration) -> Instant { self + duration }
    package func duration(to other: Instant) -> Duration { other - self }

    package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (left: Instant, right: Duration) -> Instant {
        Instant(nanoseconds: left.nanoseconds &+ right.nanoseconds)
    }
    package static func - (left: Instant, right: Duration) -> Instant {
        Instant(nanoseconds: left.nanoseconds &- right.nanoseconds)
    }
    package static func - (left: Instant, right: Instant) -> Duration {
        .nanoseconds(left.nanoseconds &- right.nanoseconds)
    }
}

extension Duration {
    /// Whole nanoseconds, cut off towards zero, held at the ends of Int64 (292 years).
    package var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, over) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return over ? (seconds < 0 ? .min : .max) : sum
    }
    /// Milliseconds with their fraction.
    package var milliseconds: Double { Double(nanoseconds) / 1e6 }
    /// Seconds with their fraction.
    package var seconds: Double { Double(nanoseconds) / 1e9 }
}

/// Where drivers get time. Cores never hold one; they are handed an `Instant`.
package protocol Timebase: Sendable {
    var now: Instant { get }
    func sleep(until deadline: Instant) async throws
}
