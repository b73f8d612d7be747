/// A moment that orders writes of different nodes: 48 bits of milliseconds since 1970, 16 bits that count within one.
///
/// Kulkarni et al., “Logical Physical Clocks”, 2014: close to the wall clock, and always above everything its writer had seen.
package struct HybridTime: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Held at the ends of 48 bits (the year 10889).
    package init(milliseconds: Int64, counter: UInt16 = 0) {
        let held = UInt64(min(max(milliseconds, 0), Self.largestMilliseconds))
        rawValue = held << 16 | UInt64(counter)
    }

    package static let zero = HybridTime(rawValue: 0)
    private static let largestMilliseconds: Int64 = (1 << 48) - 1

    package var milliseconds: Int64 { Int64(rawValue >> 16) }
    package var counter: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
    /// The next one; a counter that is full runs over into the milliseconds.
    package var successor: HybridTime { HybridTime(rawValue: rawValue &+ 1) }

    package static func < (left: HybridTime, right: HybridTime) -> Bool { left.rawValue < right.rawValue }
    package var description: String { "\(milliseconds).\(counter)" }
}

/// Gives each local write a time above all that were seen, whatever the wall clock does.
///
/// Whoever holds it persists `reserved` before a time above it is used: a machine without a clock chip may wake up in
/// 1970, and must not write times it used before.
package struct HybridClock: Equatable, Sendable {
    /// The highest time given out or seen.
    package private(set) var latest: HybridTime

    package init(latest: HybridTime) { self.latest = latest }

    /// - Parameter wall: milliseconds since 1970, as this machine believes.
    package mutating func next(wall: Int64) -> HybridTime {
        latest = max(latest.successor, HybridTime(milliseconds: wall))
        return latest
    }
    /// A time of another node, accepted as sane by whoever calls.
    package mutating func saw(_ time: HybridTime) { latest = max(latest, time) }
}
