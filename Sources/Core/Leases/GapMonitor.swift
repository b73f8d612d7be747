package import Primitives

/// How long this machine's own pulse and its paths stand still at times, and what T that asks for: three times the gap
/// that 99.9 % stay below. Widens at once, narrows after two hours without need.
package struct GapMonitor: Equatable, Sendable {
    /// Gaps by size: four steps to each doubling, from 1 ms.
    private var current = [Int](repeating: 0, count: Self.steps)
    private var former = [Int](repeating: 0, count: Self.steps)
    private var windowBegan: Instant?
    private var widened: Duration?
    private var neededAt: Instant?
    /// What is asked for, even where it is more than may be given.
    package private(set) var unbounded: Duration?
    private static let steps = 64
    private static let window = Duration.seconds(3600)
    private static let quiet = Duration.seconds(7200)
    /// Below this the 99.9th percentile says nothing.
    private static let leastSamples = 1000

    package init() {}

    /// T as asked for by what was measured; nil while the profile's own is enough, or nothing is known.
    package var wanted: Duration? { widened.map { min($0, LeaseConfig.widestTakeover) } }
    package var reason: String {
        guard let widened else { return "no long gaps for two hours" }
        return "three times the gap of \(Int((widened / 3).milliseconds.rounded())) ms that 99.9 % stay below here"
    }

    /// True when `wanted` changed.
    package mutating func add(_ gap: Duration, now: Instant) -> Bool {
        guard gap > .zero else { return false }
        current[Self.step(gap)] += 1
        return judge(now: now)
    }

    /// True when `wanted` changed.
    package mutating func advance(now: Instant) -> Bool {
        guard let began = windowBegan else {
            windowBegan = now
            return false
        }
        if now >= began + Self.window {
            former = current
            current = [Int](repeating: 0, count: Self.steps)
            windowBegan = now
        }
        guard widened != nil, let neededAt, now >= neededAt + Self.quiet else { return false }
        widened = nil
        unbounded = nil
        self.neededAt = nil
        return true
    }

    private mutating func judge(now: Instant) -> Bool {
        let counts = zip(current, former).map { $0 + $1 }
        let total = counts.reduce(0, +)
        guard total >= Self.leastSamples else { return false }
        var above = 0
        var step = Self.steps - 1
        while step > 0 {
            above += counts[step]
            if above * 1000 > total { break }
            step -= 1
        }
        // The upper end of the step: too long rather than too short.
        let wanted = Self.upperEnd(step) * 3
        guard let widened else {
            self.widened = wanted
            unbounded = wanted
            neededAt = now
            return true
        }
        if wanted >= widened { neededAt = now }
        guard wanted > widened else { return false }
        self.widened = wanted
        unbounded = wanted
        return true
    }

    private static func step(_ gap: Duration) -> Int {
        var step = 0
        while step < steps - 1, gap > upperEnd(step) { step += 1 }
        return step
    }
    /// 1, 1.19, 1.41, 1.68, 2 ms and so on.
    private static func upperEnd(_ step: Int) -> Duration {
        let quarter = [1.0, 1.189_207, 1.414_214, 1.681_793][step % 4]
        return .nanoseconds(Int64(quarter * Double(1 << (step / 4)) * 1e6))
    }
}
