import CLinux
import Glibc
import Logging
import Primitives
package import Reactor

/// How one run of a program ended, and what it printed.
package struct ActionEnd: Equatable, Sendable {
    package enum Cause: Equatable, Sendable, CustomStringConvertible {
        case ended(ProcessEnd)
        /// Its deadline came; it was ended.
        case timedOut(after: Duration)
        /// A stop came in between; it was ended.
        case aborted
        case notStarted(SpawnFailure)

        package var description: String {
            switch self {
            case .ended(let end): end.description
            case .timedOut(let limit): "it was not done within \(limit.inSeconds) and was ended"
            case .aborted: "a stop came in between"
            case .notStarted(let failure): failure.problem
            }
        }
    }
    package var cause: Cause
    /// The last lines of standard error and output, at most `Spawner.keptLines` each.
    package var errors: [String] = []
    package var output: [String] = []
    /// All of standard output, where it was asked for; cut off at its limit.
    package var content: [UInt8] = []
    package var took: Duration = .zero

    package init(
        cause: Cause, errors: [String] = [], output: [String] = [], content: [UInt8] = [], took: Duration = .zero
    ) {
        self.cause = cause
        self.errors = errors
        self.output = output
        self.content = content
        self.took = took
    }

    package var code: Int32? { if case .ended(.exited(let code)) = cause { code } else { nil } }
    /// What it said last, for a sentence to people.
    package var lastWords: String? { errors.last ?? output.last }
}

/// Starts programs and sees them to their end, on an event loop. Nothing of it waits: the loop should still not be the
/// pulse's, since starting a program takes about a millisecond.
package final class Spawner: Sendable {
    /// Lines kept of each stream for messages.
    package static let keptLines = 20
    /// Lines a second and stream that are passed on; more are counted and left out.
    package static let linesPerSecond = 100

    package let loop: EventLoop
    private let running = Locked(0)
    /// How many runs have not ended. Whoever stops the loop before leaves children that nobody reaps.
    package var underWay: Int { running.withLock { $0 } }

    package init(on loop: EventLoop) { self.loop = loop }

    /// One run under way. Ends by itself, by its deadline, or by `abort`.
    package final class Run: @unchecked Sendable {
        // On the loop only.
        fileprivate var child: Child?
        fileprivate var watch: EventLoop.Registration?
        fileprivate var timer: EventLoop.Registration?
        fileprivate var cause: ActionEnd.Cause?
        fileprivate var readers: [StreamReader] = []
        fileprivate let group: ProcessGroup?
        fileprivate let part: ProcessGroup.Part
        fileprivate let begun = SystemClock.now
        fileprivate let finished: @Sendable (ActionEnd) -> Void
        fileprivate let keepsReading: Bool
        package var process: Int32? { child?.process }

        fileprivate init(
            in group: ProcessGroup?, _ part: ProcessGroup.Part, keepsReading: Bool,
            finished: @escaping @Sendable (ActionEnd) -> Void
        ) {
            self.group = group
            self.part = part
            self.keepsReading = keepsReading
            self.finished = finished
        }
    }

    /// What a pipe takes without anybody reading it: the least that Linux gives one.
    package static let longestInput = 4096

    /// Runs to the end. `input`, at most `longestInput` bytes, is its standard input. `captures` bytes of standard output are handed back whole. Lines go to `line` as they come.
    package func run(
        _ command: Command, in group: ProcessGroup? = nil, _ part: ProcessGroup.Part = .action(0),
        deadline: Duration, grace: Duration = .seconds(3), captures: Int = 0, input: [UInt8] = [],
        began: (@Sendable (Run) -> Void)? = nil, line: (@Sendable (String) -> Void)? = nil
    ) async -> ActionEnd {
        await withCheckedContinuation { continuation in
            loop.perform { [self] in
                let run = launch(
                    command, in: group, part, deadline: deadline, grace: grace, captures: captures, input: input,
                    line: line
                ) { continuation.resume(returning: $0) }
                if let run { began?(run) }
            }
        }
    }

    /// Starts one. On the loop. `finished` is called once, on the loop: before this returns nil when it cannot start.
    /// Without a deadline it may run for ever. `talksTo`: a socket that is its standard input and output; the caller's
    /// own descriptor of it stays the caller's. `extraDescriptors`: what it has as 3, 4.
    package func launch(
        _ command: Command, in group: ProcessGroup?, _ part: ProcessGroup.Part, deadline: Duration?,
        grace: Duration = .seconds(3), captures: Int = 0, talksTo: Int32? = nil, input: [UInt8] = [],
        extraDescriptors: [Int32] = [],
        line: (@Sendable (String) -> Void)? = nil, finished: @escaping @Sendable (ActionEnd) -> Void
    ) -> Run? {
        // A start leaves daemons behind that hold its pipes: closed, they would die of SIGPIPE at their next word.
        let run = Run(in: group, part, keepsReading: part == .service, finished: finished)
        do throws(SpawnFailure) {
            try start(
                run, command, captures: captures, talksTo: talksTo, input: input, extraDescriptors: extraDescriptors,
                line: line)
        } catch {
            if part != .service { group?.leave(part) }
            finished(ActionEnd(cause: .notStarted(error)))
            return nil
        }
        running.withLock { $0 += 1 }
        // Not weakly: a child has to be reaped, whoever has let go of the spawner.
        run.watch = loop.watch(run.child!.handle, for: .readable) { _ in self.ended(run) }
        if let deadline {
            run.timer = loop.schedule(after: deadline) { [weak self] in
                self?.end(run, because: .timedOut(after: deadline), grace: grace)
            }
        }
        return run
    }

    /// Ends a run before its time; its `finished` comes soon. From any thread; twice is harmless.
    package func abort(_ run: Run, grace: Duration = .zero) {
        loop.perform { self.end(run, because: .aborted, grace: grace) }
    }

    private func start(
        _ run: Run, _ command: Command, captures: Int, talksTo: Int32?, input: [UInt8], extraDescriptors: [Int32],
        line: (@Sendable (String) -> Void)?
    ) throws(SpawnFailure) {
        var opened: [Int32] = []
        defer { for one in opened { close(one) } }
        func failure(_ code: Int32 = errno) -> SpawnFailure {
            SpawnFailure(path: command.path, code: code, stage: CLINUX_STAGE_SETUP)
        }
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard nothing >= 0 else { throw failure() }
        opened.append(nothing)
        var ends: [[Int32]] = []
        for _ in 0..<2 {
            var pair: [Int32] = [-1, -1]
            guard pipe(&pair) == 0 else {
                let code = errno
                for one in ends { close(one[0]) }
                throw failure(code)
            }
            for one in pair { _ = fcntl(one, F_SETFD, FD_CLOEXEC) }
            _ = fcntl(pair[0], F_SETFL, O_NONBLOCK)
            opened.append(pair[1])
            ends.append(pair)
        }
        var standardInput = nothing
        if !input.isEmpty {
            var pair: [Int32] = [-1, -1]
            guard input.count <= Self.longestInput, pipe(&pair) == 0 else {
                let code = input.count <= Self.longestInput ? errno : E2BIG
                for one in ends { close(one[0]) }
                throw failure(code)
            }
            for one in pair { _ = fcntl(one, F_SETFD, FD_CLOEXEC) }
            // It has room for all of it.
            _ = write(pair[1], input, input.count)
            close(pair[1])
            opened.append(pair[0])
            standardInput = pair[0]
        }
        var environment = command
        var descriptor: Int32 = -1
        if let group = run.group {
            let entry = group.enter(run.part)
            descriptor = entry.descriptor
            if let mark = entry.variable { environment.environment[GroupName.variable] = mark }
            if descriptor >= 0, descriptor != .max { opened.append(descriptor) }
        }
        do throws(SpawnFailure) {
            run.child = try Child.spawn(
                environment,
                descriptors: [talksTo ?? standardInput, talksTo ?? ends[0][1], ends[1][1]] + extraDescriptors,
                controlGroup: descriptor)
        } catch {
            for one in ends { close(one[0]) }
            throw error
        }
        run.readers = [
            StreamReader(ends[0][0], on: loop, captures: captures, line: line),
            StreamReader(ends[1][0], on: loop, captures: 0, line: line),
        ]
        for reader in run.readers { reader.begin() }
    }

    private func end(_ run: Run, because cause: ActionEnd.Cause, grace: Duration) {
        guard let child = run.child, run.cause == nil else { return }
        run.cause = cause
        if grace > .zero {
            kill(-child.process, SIGTERM)
            run.timer.map(loop.cancel)
            run.timer = loop.schedule(after: grace) { Self.killAll(run) }
        } else {
            Self.killAll(run)
        }
    }

    /// Not reaped yet, so the number is still the child's. Its session first, then what left it.
    private static func killAll(_ run: Run) {
        guard let child = run.child else { return }
        kill(-child.process, SIGKILL)
        run.group?.name(of: run.part).kill()
        _ = clinux_signal_process(child.handle, SIGKILL)
    }

    private func ended(_ run: Run) {
        guard let child = run.child, let end = child.reap() else { return }
        // Helpers of a run that was ended must not outlive it, also where it went at SIGTERM by itself.
        if run.cause != nil {
            kill(-child.process, SIGKILL)
            run.group?.name(of: run.part).kill()
        }
        run.watch.map(loop.cancel)
        run.timer.map(loop.cancel)
        close(child.handle)
        run.child = nil
        running.withLock { $0 -= 1 }
        for reader in run.readers {
            reader.drain()
            if !run.keepsReading { reader.finish() }
        }
        run.group?.leave(run.part)
        run.finished(
            ActionEnd(
                cause: run.cause ?? .ended(end), errors: run.readers[1].lines, output: run.readers[0].lines,
                content: run.readers[0].content, took: SystemClock.now - run.begun))
        run.readers = []
    }
}

/// Reads what a child prints until it ends, line by line. On the loop. Keeps itself alive until the pipe is closed.
private final class StreamReader: @unchecked Sendable {
    private let descriptor: Int32
    private let loop: EventLoop
    private let limit: Int
    private let callback: (@Sendable (String) -> Void)?
    private var splitter = OutputLines()
    private var watch: EventLoop.Registration?
    private var isOpen = true
    private(set) var lines: [String] = []
    private(set) var content: [UInt8] = []
    private var second = Instant.zero
    private var inThisSecond = 0
    private var leftOut = 0
    private var buffer = [UInt8](repeating: 0, count: 16 * 1024)

    init(_ descriptor: Int32, on loop: EventLoop, captures: Int, line: (@Sendable (String) -> Void)?) {
        self.descriptor = descriptor
        self.loop = loop
        limit = captures
        callback = line
    }

    func begin() {
        watch = loop.watch(descriptor, for: .readable) { _ in self.drain() }
    }

    /// What is there now, at most 256 KiB, so that a program that prints without end stops nobody else.
    func drain() {
        for _ in 0..<16 where isOpen {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { return }
            guard count > 0 else { return finish() }
            if content.count < limit { content += buffer[..<min(count, limit - content.count)] }
            for line in splitter.take(buffer[..<count]) { pass(line) }
        }
    }

    func finish() {
        guard isOpen else { return }
        isOpen = false
        if let line = splitter.finish() { pass(line) }
        if leftOut > 0 { callback?("(\(leftOut) more lines were left out)") }
        if let watch { loop.cancel(watch) }
        watch = nil
        close(descriptor)
    }

    private func pass(_ line: String) {
        lines.append(line)
        if lines.count > Spawner.keptLines { lines.removeFirst() }
        guard let callback else { return }
        let now = SystemClock.now
        if now - second >= .seconds(1) {
            if leftOut > 0 { callback("(\(leftOut) more lines were left out)") }
            (second, inThisSecond, leftOut) = (now, 0, 0)
        }
        inThisSecond += 1
        if inThisSecond > Spawner.linesPerSecond { leftOut += 1 } else { callback(line) }
    }
}

extension Duration {
    /// For sentences: "20 s", "0.25 s".
    package var inSeconds: String {
        let hundredths = Int((seconds * 100).rounded())
        let rest = hundredths % 100
        if rest == 0 { return "\(hundredths / 100) s" }
        return rest % 10 == 0
            ? "\(hundredths / 100).\(rest / 10) s" : "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest) s"
    }
}
