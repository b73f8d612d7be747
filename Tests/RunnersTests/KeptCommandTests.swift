import CLinux
import Glibc
import Primitives
import Processes
import Reactor
import TestSupport
import Testing

@testable import Runners

@Suite("a command under a lock runs within its term, and only there")
struct KeptCommandTests {
    /// Plays `bramble lock`: renewals come through a pipe, some before the keeper has looked, one a moment later.
    private func keep(
        _ command: String, until: Duration, renewals: [Duration] = [], later: Duration? = nil, isOpen: Bool = true
    ) async throws -> Int32? {
        // A keeper that has ended does not hear what comes then.
        signal(SIGPIPE, SIG_IGN)
        let bench = try Bench(.marks)
        let now = SystemClock.now
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw KernelRefusal() }
        let (reader, writer) = (ends[0], ends[1])
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        @Sendable func tell(_ length: Duration) {
            var moment = (now + length).nanoseconds
            _ = write(writer, &moment, 8)
        }
        renewals.forEach(tell)
        if !isOpen { close(writer) }
        let words = [
            "keep", "lock-\(bench.scope)", "job", "\((now + until).nanoseconds)", "--", "/bin/sh", "-c", command,
        ]
        let end = await withCheckedContinuation { continuation in
            bench.loop.perform {
                _ = bench.spawner.launch(
                    Command(stage, words), in: nil, .action(0), deadline: .ample, extraDescriptors: [reader]
                ) { continuation.resume(returning: $0) }
                close(reader)
                if let later { bench.loop.schedule(after: .milliseconds(300)) { tell(later) } }
            }
        }
        if isOpen { close(writer) }
        return end.code
    }

    @Test("one that is started after the first term, which was renewed meanwhile, runs")
    func startedLate() async throws {
        let code = try await keep("exit 7", until: .milliseconds(-500), renewals: [.milliseconds(-100), .seconds(60)])
        #expect(code == 7)
    }

    @Test("one whose term is over waits for a renewal before it begins")
    func waits() async throws {
        #expect(try await keep("exit 7", until: .milliseconds(-1), later: .seconds(60)) == 7)
    }

    @Test("one that nobody can renew any more is never begun", arguments: [-500, 60_000])
    func over(milliseconds: Int) async throws {
        let files = TemporaryDirectory()
        let code = try await keep("touch \(files.path)/began", until: .milliseconds(milliseconds), isOpen: false)
        #expect(code == 1)
        #expect(names(in: files.path).isEmpty)
    }

    @Test("one that is not renewed is ended before its term is")
    func ended() async throws {
        let began = SystemClock.now
        #expect(try await keep("trap '' TERM; while :; do sleep 0.1; done", until: .seconds(3)) == 1)
        #expect(SystemClock.now - began > .seconds(1))
    }
}
