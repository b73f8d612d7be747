import FoundationEssentials
import Primitives
import Reactor

/// Times as people and scripts read them. The wall clock is only ever shown, never decided by.
enum Timestamp {
    /// ISO 8601 in UTC with milliseconds: 2026-11-21T03:16:29.123Z
    static func now() -> String { text(wallNanoseconds: SystemClock.wallNanoseconds) }

    /// The wall-clock time of a moment on our own clock, by today's difference between the two.
    static func of(_ instant: Instant) -> String {
        let ago = (SystemClock.now - instant).nanoseconds
        return text(wallNanoseconds: SystemClock.wallNanoseconds - ago)
    }

    static func text(wallNanoseconds: Int64) -> String {
        // The milliseconds are put in by hand: as a fraction of a `Date` they are now and then one less.
        let seconds = wallNanoseconds / 1_000_000_000
        let milliseconds = String(wallNanoseconds / 1_000_000 % 1000 + 1000).dropFirst()
        let whole = Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601)
        return "\(whole.dropLast()).\(milliseconds)Z"
    }
}
