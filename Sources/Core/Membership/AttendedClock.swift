/// How long this node has been paying attention. Others are judged by this clock, never by real time.
///
/// It advances by at most two ticks per loop of the pulse thread, so any pause of our own, however long, counts as at
/// most two ticks of another's silence. Nothing is convicted after a pause until things were quiet for a while, and
/// nothing while packets are still waiting in the socket.
///
/// Unit: nanoseconds. The invariant, which the tests hold: for any single pause, the silence it adds is ≤ 2 ticks.
package struct AttendedClock: Equatable, Sendable {
    /// Time attended since the start.
    package private(set) var reading: Int64 = 0
    private var lastTick: Int64
    private var recoveringUntil = Span.never
    private var undrainedSince: Int64?
    private let isBroken: Bool

    /// A socket that cannot be emptied for this long means overload: 1 s.
    private static let overload: Int64 = 1_000_000_000
    private static let quiet: Int64 = 500_000_000

    /// `isBroken` plants the bug `noAttendedClock`.
    package init(now: Int64, isBroken: Bool = false) {
        lastTick = now
        self.isBroken = isBroken
    }

    package struct Step: Equatable, Sendable {
        /// How long the pulse did not run, when that was long enough to matter.
        package var stall: Int64?
        /// The socket has not been empty for a second.
        package var isOverloaded = false
    }

    /// One loop of the pulse: `tick` is its interval, `heartbeat` ours.
    package mutating func advance(to now: Int64, tick: Int64, heartbeat: Int64, drained: Bool) -> Step {
        let elapsed = max(0, now - lastTick)
        lastTick = now
        guard !isBroken else {
            reading += elapsed
            return Step()
        }
        reading += min(elapsed, 2 * tick)
        var step = Step()
        if elapsed > max(2 * heartbeat, 150_000_000) {
            step.stall = elapsed
            recover(heartbeat: heartbeat)
        }
        if drained {
            undrainedSince = nil
        } else {
            let since = undrainedSince ?? now
            undrainedSince = since
            if now - since >= Self.overload {
                undrainedSince = now
                step.isOverloaded = true
                recover(heartbeat: heartbeat)
            }
        }
        return step
    }

    /// No convictions for three heartbeats, and half a second at least.
    package mutating func recover(heartbeat: Int64) {
        recoveringUntil = reading + max(3 * heartbeat, Self.quiet)
    }

    package var isRecovering: Bool { !isBroken && reading < recoveringUntil }
}
