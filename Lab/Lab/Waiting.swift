import Glibc
import Primitives
import Reactor

/// Seconds of CLOCK_MONOTONIC, the clock of `monotonicMs` in events.
package func monotonicSeconds() -> Double { Double(SystemClock.monotonicNanoseconds) / 1e9 }

package func pause(_ duration: Duration) {
    usleep(UInt32(clamping: duration.nanoseconds / 1000))
}

/// Asks again and again until the answer is there or the time is over; the answer, or nil.
package func eventually<Answer>(
    within limit: Duration, every interval: Duration = .milliseconds(20), _ ask: () throws -> Answer?
) rethrows -> Answer? {
    let deadline = monotonicSeconds() + limit.seconds
    while true {
        if let answer = try ask() { return answer }
        if monotonicSeconds() >= deadline { return nil }
        pause(interval)
    }
}

/// The same for a condition.
package func eventually(
    within limit: Duration, every interval: Duration = .milliseconds(20), _ isTrue: () throws -> Bool
) rethrows -> Bool {
    try eventually(within: limit, every: interval) { try isTrue() ? true : nil } ?? false
}

/// True when the condition holds all the time.
package func always(
    for duration: Duration, every interval: Duration = .milliseconds(50), _ isTrue: () throws -> Bool
) rethrows -> Bool {
    try !eventually(within: duration, every: interval) { try !isTrue() }
}
