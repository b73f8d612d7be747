import Testing

@testable import Membership

@Suite("others are judged by the time this node attended, not by the time that passed")
struct AttendedClockTests {
    private static let tick: Int64 = 25_000_000
    private static let heartbeat: Int64 = 100_000_000

    private func run(_ clock: inout AttendedClock, from now: Int64, ticks: Int) -> Int64 {
        var now = now
        for _ in 0..<ticks {
            now += Self.tick
            _ = clock.advance(to: now, tick: Self.tick, heartbeat: Self.heartbeat, drained: true)
        }
        return now
    }

    @Test("a pause, however long, counts as two ticks at most", arguments: [26, 60, 199, 201, 2_000, 5_000, 7_200_000])
    func pause(milliseconds: Int64) {
        var clock = AttendedClock(now: 0)
        var now = run(&clock, from: 0, ticks: 100)
        let before = clock.reading
        now += milliseconds * 1_000_000
        let step = clock.advance(to: now, tick: Self.tick, heartbeat: Self.heartbeat, drained: true)
        #expect(clock.reading - before <= 2 * Self.tick)
        #expect((step.stall != nil) == (milliseconds > 200))
        #expect(clock.isRecovering == (milliseconds > 200))
    }

    @Test("in step it goes like any clock")
    func normal() {
        var clock = AttendedClock(now: 1000)
        _ = run(&clock, from: 1000, ticks: 400)
        #expect(clock.reading == 400 * Self.tick)
    }

    @Test("after a stall nobody is convicted for half a second of attention")
    func recovery() {
        var clock = AttendedClock(now: 0)
        _ = clock.advance(to: 2_000_000_000, tick: Self.tick, heartbeat: Self.heartbeat, drained: true)
        let now = run(&clock, from: 2_000_000_000, ticks: 19)
        #expect(clock.isRecovering)
        _ = run(&clock, from: now, ticks: 2)
        #expect(!clock.isRecovering)
    }

    @Test("a socket that is never empty for a second is overload, not anybody's silence")
    func flood() {
        var clock = AttendedClock(now: 0)
        var overloads = 0
        for tick in 1...100 {
            let step = clock.advance(
                to: Int64(tick) * Self.tick, tick: Self.tick, heartbeat: Self.heartbeat, drained: false)
            if step.isOverloaded { overloads += 1 }
        }
        #expect(overloads == 2 && clock.isRecovering)
    }

    @Test("a clock that jumps back does not move it")
    func backwards() {
        var clock = AttendedClock(now: 1_000_000_000)
        _ = clock.advance(to: 500_000_000, tick: Self.tick, heartbeat: Self.heartbeat, drained: true)
        #expect(clock.reading == 0)
    }

    @Test("the planted bug counts the whole pause")
    func planted() {
        var clock = AttendedClock(now: 0, isBroken: true)
        _ = clock.advance(to: 2_000_000_000, tick: Self.tick, heartbeat: Self.heartbeat, drained: true)
        #expect(clock.reading == 2_000_000_000 && !clock.isRecovering)
    }
}
