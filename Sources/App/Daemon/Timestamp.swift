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
        let date = Date(timeIntervalSince1970: Double(wallNanoseconds / 1_000_000) / 1000)
        return date.formatted(.iso8601.year().month().day().time(includingFractionalSeconds: true))
            + "Z"
    }
}
