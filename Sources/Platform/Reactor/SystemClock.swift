import CLinux
import Glibc
package import Primitives

/// The machine's clocks. Cores never see it; drivers and the pulse thread read it and hand on `Instant`s.
package enum SystemClock {
    /// CLOCK_BOOTTIME: time since boot, suspended time included. What every `Instant` of a running daemon is read from.
    package static var now: Instant { Instant(nanoseconds: read(CLOCK_BOOTTIME)) }
    /// CLOCK_MONOTONIC in nanoseconds: what events carry, so that those of nodes on one host compare.
    package static var monotonicNanoseconds: Int64 { read(CLOCK_MONOTONIC) }
    /// How long the machine has slept since boot. Never more than that; less when this thread is held up in between.
    package static var suspendedNanoseconds: Int64 { read(CLOCK_BOOTTIME) - read(CLOCK_MONOTONIC) }
    /// The wall clock, nanoseconds since 1970. For people to read; nothing is decided by it.
    package static var wallNanoseconds: Int64 { read(CLOCK_REALTIME) }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}
