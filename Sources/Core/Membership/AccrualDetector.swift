import Primitives

/// The last intervals between heartbeats, with mean and variance kept as they come and go.
///
/// Unit: microseconds, whole, so that sums stay exact however long a node runs.
package struct IntervalHistory: Equatable, Sendable {
    private let capacity: Int
    private var samples: [Int32] = []
    private var oldest = 0
    private var sum: Int64 = 0
    private var sumOfSquares: Int64 = 0

    package init(capacity: Int) {
        self.capacity = capacity
    }

    package var count: Int { samples.count }
    package var mean: Double { samples.isEmpty ? 0 : Double(sum) / Double(count) }
    /// Of the population, as in Akka.
    package var variance: Double {
        samples.isEmpty ? 0 : max(0, Double(sumOfSquares) / Double(count) - mean * mean)
    }
    package var deviation: Double { variance.squareRoot() }

    package mutating func add(_ sample: Int32) {
        if samples.count < capacity {
            samples.append(sample)
        } else {
            let gone = Int64(samples[oldest])
            sum -= gone
            sumOfSquares -= gone * gone
            samples[oldest] = sample
            oldest = oldest + 1 == capacity ? 0 : oldest + 1
        }
        sum += Int64(sample)
        sumOfSquares += Int64(sample) * Int64(sample)
    }
}

/// How suspicious a silence is: φ = −log10 P(silence this long | peer alive).
///
/// Hayashibara et al., “The φ accrual failure detector”, SRDS 2004, with Akka's logistic approximation of the normal
/// distribution. The mean is what the peer's heartbeats promise, plus a pause of two intervals that it may take; the
/// deviation is measured, from kernel receive stamps divided by the gap in sequence numbers, so that loss does not
/// widen it, and held between a fifth and three fifths of the interval, so that a failing peer cannot hide behind
/// its own irregularity for ever.
package struct AccrualDetector: Equatable, Sendable {
    /// What the peer promises. Unit: nanoseconds, like every time here.
    package private(set) var interval: Int64
    /// The silences at which φ reaches the two thresholds.
    package private(set) var probeAfter: Int64 = 0
    package private(set) var reportAfter: Int64 = 0
    private var history: IntervalHistory
    private let thresholds: Thresholds

    /// Silences in units of the deviation at which φ reaches each threshold, solved once.
    package struct Thresholds: Equatable, Sendable {
        package let probe: Double
        package let report: Double
        package init(probe: Double, report: Double) {
            self.probe = AccrualDetector.deviations(atPhi: probe)
            self.report = AccrualDetector.deviations(atPhi: report)
        }
    }

    private static let window = 64
    private static let pause = 2.0
    private static let smallestDeviation = 0.2
    private static let largestDeviation = 0.6
    /// φ is not told beyond this: nobody needs to know how many more zeros there are.
    package static let ceiling = 100.0

    package init(interval: Int64, thresholds: Thresholds) {
        self.interval = interval
        self.thresholds = thresholds
        history = IntervalHistory(capacity: Self.window)
        restart()
    }

    /// The peer's heartbeats come at another interval from now on: what was measured does not say how regular those are.
    package mutating func expect(interval: Int64) {
        guard interval != self.interval else { return }
        self.interval = interval
        restart()
    }

    /// `elapsed` nanoseconds passed between two heartbeats whose sequence numbers differ by `gap`.
    package mutating func heard(after elapsed: Int64, gap: Int64) {
        // An interval in which the peer was silent for long belongs to an outage, not to its rhythm.
        guard gap > 0, elapsed > 0, elapsed <= 4 * interval * gap else { return }
        history.add(Int32(clamping: elapsed / gap / 1000))
        settle()
    }

    package func phi(silence: Int64) -> Double {
        min(Self.ceiling, Self.phi(elapsed: Double(silence), mean: mean, deviation: deviation))
    }

    /// Akka seeds its history with two intervals a quarter above and below the expected one; so do we.
    private mutating func restart() {
        history = IntervalHistory(capacity: Self.window)
        let expected = Int32(clamping: interval / 1000)
        history.add(expected - expected / 4)
        history.add(expected + expected / 4)
        settle()
    }

    private mutating func settle() {
        probeAfter = Int64(mean + thresholds.probe * deviation)
        reportAfter = Int64(mean + thresholds.report * deviation)
    }

    private var mean: Double { Double(interval) * (1 + Self.pause) }
    private var deviation: Double {
        let measured = history.deviation * 1000
        return min(max(measured, Double(interval) * Self.smallestDeviation), Double(interval) * Self.largestDeviation)
    }

    /// −log10(1 − F(elapsed)), F being the normal distribution's cumulative function in its logistic approximation.
    package static func phi(elapsed: Double, mean: Double, deviation: Double) -> Double {
        let y = (elapsed - mean) / deviation
        let exponent = y * (1.5976 + 0.070566 * y * y)
        let e = Mathematics.exp(-exponent)
        // Written so that neither branch loses its digits or becomes infinite far out.
        if elapsed > mean { return exponent * 0.434_294_481_903_251_8 + Mathematics.log10(1 + e) }
        return e.isInfinite ? 0 : -Mathematics.log10(1 - 1 / (1 + e))
    }

    /// The inverse: how many deviations beyond the mean φ is reached.
    static func deviations(atPhi phi: Double) -> Double {
        var (low, high) = (-10.0, 40.0)
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if Self.phi(elapsed: middle, mean: 0, deviation: 1) < phi { low = middle } else { high = middle }
        }
        return high
    }
}
