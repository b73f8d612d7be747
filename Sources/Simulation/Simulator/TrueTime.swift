import Primitives

/// Real time since the run began, which no node can see: nodes are handed `Instant`s of their own clocks.
package struct TrueTime: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let nanoseconds: Int64

    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    package static let zero = TrueTime(nanoseconds: 0)

    package var milliseconds: Double { Double(nanoseconds) / 1e6 }
    package var seconds: Double { Double(nanoseconds) / 1e9 }
    /// Seconds with milliseconds: `12.345`.
    package var description: String { decimal(seconds, places: 3) }

    package static func < (left: TrueTime, right: TrueTime) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (left: TrueTime, right: Duration) -> TrueTime {
        TrueTime(nanoseconds: left.nanoseconds + right.nanoseconds)
    }
    package static func - (left: TrueTime, right: Duration) -> TrueTime {
        TrueTime(nanoseconds: left.nanoseconds - right.nanoseconds)
    }
    package static func - (left: TrueTime, right: TrueTime) -> Duration {
        .nanoseconds(left.nanoseconds - right.nanoseconds)
    }
}

/// A number with a fixed count of decimals, without Foundation.
package func decimal(_ value: Double, places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let whole = Int64((value.magnitude * scale).rounded())
    var digits = String(whole)
    digits = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    let sign = value < 0 && whole > 0 ? "-" : ""
    return places == 0 ? sign + digits : sign + digits.dropLast(places) + "." + digits.suffix(places)
}

extension Duration {
    /// `250 ms` below ten seconds, else `12.5 s`.
    package var forPeople: String {
        let amount = milliseconds
        return amount.magnitude < 10_000 ? "\(decimal(amount, places: 0)) ms" : "\(decimal(amount / 1000, places: 1)) s"
    }
}

/// One machine's CLOCK_BOOTTIME: it runs at a rate of its own, may jump ahead (a virtual machine that catches up after
/// a migration) and may stand still (one that does not).
struct MachineClock {
    private var anchor: TrueTime
    private var reading: Int64
    /// Seconds of this clock in a real second. Crystals stay within ±0.0001.
    private var rate: Double

    init(reading: Instant, rate: Double, at now: TrueTime) {
        anchor = now
        self.reading = reading.nanoseconds
        self.rate = rate
    }

    func instant(at now: TrueTime) -> Instant {
        Instant(nanoseconds: reading + Int64(Double(now.nanoseconds - anchor.nanoseconds) * rate))
    }

    /// When this clock will have advanced by `duration`.
    func time(after duration: Duration, from now: TrueTime) -> TrueTime {
        TrueTime(nanoseconds: now.nanoseconds + Int64(Double(duration.nanoseconds) / max(rate, 0.01)))
    }

    mutating func setRate(_ newRate: Double, at now: TrueTime) {
        reading = instant(at: now).nanoseconds
        anchor = now
        rate = newRate
    }

    mutating func jump(ahead duration: Duration, at now: TrueTime) {
        reading = instant(at: now).nanoseconds + duration.nanoseconds
        anchor = now
    }
}
