import Reactor
import Testing

@testable import Daemon

@Suite("rounds of work")
struct RoundsTests {
    /// Each round waits until it is let go.
    private final class Work: Sendable {
        let (starts, started) = AsyncStream<Int>.makeStream()
        let (gates, gate) = AsyncStream<Rounds.Next>.makeStream()
        private let counts = Locked((begun: 0, underWay: 0, most: 0))

        func round() async -> Rounds.Next {
            let number = counts.withLock { counts in
                counts.begun += 1
                counts.underWay += 1
                counts.most = max(counts.most, counts.underWay)
                return counts.begun
            }
            started.yield(number)
            var next = Rounds.Next.whenChanged
            for await one in gates {
                next = one
                break
            }
            counts.withLock { $0.underWay -= 1 }
            return next
        }
        var begun: Int { counts.withLock { $0.begun } }
        var most: Int { counts.withLock { $0.most } }
        func next() async -> Int? { await starts.first { _ in true } }
    }

    @Test("what changes in the middle of a round has one more round after it, and not several; none overlap")
    func changes() async {
        let (work, rounds) = (Work(), Rounds())
        rounds.changed()
        rounds.begin { await work.round() }
        #expect(await work.next() == 1)
        for _ in 0..<5 { rounds.changed() }
        work.gate.yield(.whenChanged)
        #expect(await work.next() == 2)
        work.gate.yield(.atOnce)
        #expect(await work.next() == 3)
        work.gate.yield(.whenChanged)
        await rounds.stop()
        #expect(work.begun == 3 && work.most == 1)
    }

    @Test("a pause ends with its time, and sooner with a change")
    func pauses() async {
        let loop = EventLoop(name: "rounds")
        defer { loop.stop() }
        let (work, rounds) = (Work(), Rounds())
        rounds.begin { await work.round() }
        #expect(await work.next() == 1)
        work.gate.yield(.within(.milliseconds(1), on: loop))
        #expect(await work.next() == 2)
        work.gate.yield(.within(.seconds(3600), on: loop))
        rounds.changed()
        #expect(await work.next() == 3)
        // Its end takes no hour either.
        work.gate.yield(.within(.seconds(3600), on: loop))
        await rounds.stop()
        rounds.changed()
        #expect(work.begun == 3)
    }

    @Test("a stop waits for the round that is under way")
    func stop() async {
        let (work, rounds) = (Work(), Rounds())
        rounds.begin { await work.round() }
        #expect(await work.next() == 1)
        let isOver = Locked(false)
        async let stopped: Void = {
            await rounds.stop()
            #expect(isOver.withLock { $0 })
        }()
        isOver.withLock { $0 = true }
        work.gate.yield(.atOnce)
        await stopped
        #expect(work.begun == 1)
    }
}
