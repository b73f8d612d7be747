import CLinux
import Glibc
import Logging
package import Primitives
package import Processes
import Reactor

/// The daemon's side of the guard: a process of its own that ends services at their deadlines even while the daemon
/// hangs, is stopped, or is dead.
package final class Guard: @unchecked Sendable {
    /// A device that resets the machine unless it is fed.
    package struct Watchdog: Equatable, Sendable {
        /// For example /dev/watchdog.
        package var path: String
        /// After how long without food it resets the machine. Default 15 s, the most that a Raspberry Pi's takes.
        package var timeout: Duration
        package init(path: String, timeout: Duration = .seconds(15)) {
            self.path = path
            self.timeout = timeout
        }
    }

    package struct Failure: OperatorError, Equatable {
        package let problem: String
        package let remedy: String
    }

    private let spawner: Spawner
    private let command: Command
    private let group: ProcessGroup?
    private let table: GuardTable
    /// Written: the guard looks at the table anew. Closed, by whatever death: the daemon is gone.
    private let lifeline: Int32
    private let lifelineOfGuard: Int32
    private let used = Locked<Set<Int>>([])
    // On the loop only.
    private var run: Spawner.Run?
    private var isOver = false

    /// Starts the guard. `executable` understands the argument `guard`: this program itself, `/proc/self/exe`.
    package static func start(
        with spawner: Spawner, in tree: ProcessTree, executable: String = "/proc/self/exe", watchdog: Watchdog? = nil
    ) async throws(Failure) -> Guard {
        guard let table = GuardTable() else {
            throw Failure(
                problem: "no memory can be shared with the guard: \(String(cString: strerror(errno)))",
                remedy: "the machine is out of memory or files: look at `free` and LimitNOFILE")
        }
        var pair: [Int32] = [-1, -1]
        guard pipe(&pair) == 0 else {
            throw Failure(
                problem: "no pipe for the guard: \(String(cString: strerror(errno)))", remedy: "raise LimitNOFILE")
        }
        for one in pair {
            _ = fcntl(one, F_SETFD, FD_CLOEXEC)
            _ = fcntl(one, F_SETFL, O_NONBLOCK)
        }
        let made = Guard(spawner, table, lifeline: pair[1], ofGuard: pair[0], tree, executable, watchdog)
        await withCheckedContinuation { continuation in
            spawner.loop.perform {
                made.launch()
                continuation.resume()
            }
        }
        // Its first round shows that it works; without that nothing may start under a lease.
        let deadline = SystemClock.now + .seconds(20)
        while table.lastRound == 0 {
            guard SystemClock.now < deadline, (try? await spawner.loop.sleep(for: .milliseconds(2))) != nil else {
                made.close()
                throw Failure(
                    problem: "the guard process does not start",
                    remedy: "see its last words in the log; by hand: \(made.command.line)")
            }
        }
        return made
    }

    private init(
        _ spawner: Spawner, _ table: GuardTable, lifeline: Int32, ofGuard: Int32, _ tree: ProcessTree,
        _ executable: String, _ watchdog: Watchdog?
    ) {
        self.spawner = spawner
        self.table = table
        self.lifeline = lifeline
        lifelineOfGuard = ofGuard
        var arguments = ["guard"]
        if let watchdog {
            arguments += [
                "--watchdog", watchdog.path, "--watchdog-seconds", "\(max(1, Int(watchdog.timeout.seconds)))",
            ]
        }
        command = Command(executable, arguments)
        group = try? tree.makeGroup(for: "guard")
    }
    deinit {
        Glibc.close(lifeline)
        Glibc.close(lifelineOfGuard)
    }

    /// A place for one service; nil when all are taken.
    package func slot() -> GuardSlot? {
        let number: Int? = used.withLock { used in
            let free = (0..<GuardTable.slots).first { !used.contains($0) }
            if let free { used.insert(free) }
            return free
        }
        return number.map { GuardSlot(number: $0, table: table, owner: self) }
    }
    fileprivate func release(_ number: Int) { used.withLock { _ = $0.remove(number) } }

    /// The daemon ends in good order, after its services were stopped or handed over: the guard ends, too, and ends nothing.
    package func endOrderly() async {
        await withCheckedContinuation { continuation in
            spawner.loop.perform {
                // First: its end is then no surprise.
                self.isOver = true
                self.table.isOrderly = true
                continuation.resume()
            }
        }
        kick()
        let deadline = SystemClock.now + .seconds(5)
        while await isRunning, SystemClock.now < deadline { try? await spawner.loop.sleep(for: .milliseconds(2)) }
        close()
        for _ in 0..<100 {
            if group?.remove() ?? true { return }
            try? await spawner.loop.sleep(for: .milliseconds(5))
        }
    }

    /// The guard's process number while it runs; for tests and `bramble doctor`.
    package var process: Int32? {
        get async {
            await withCheckedContinuation { continuation in
                spawner.loop.perform { continuation.resume(returning: self.run?.process) }
            }
        }
    }
    private var isRunning: Bool { get async { await process != nil } }

    /// From any thread, never waits: a full pipe has woken the guard already.
    func kick() {
        var byte: UInt8 = 1
        _ = write(lifeline, &byte, 1)
    }

    private func close() {
        spawner.loop.perform { [self] in
            isOver = true
            if let run { spawner.abort(run) }
        }
    }

    /// A guard that died (out of memory, an operator's mistake) is started again: the table is still there.
    private func launch() {
        guard !isOver else { return }
        let now = SystemClock.now
        run = spawner.launch(
            command, in: group, .service, deadline: nil,
            extraDescriptors: [table.descriptor, lifelineOfGuard],
            line: { Log.info("guard: \($0)") },
            finished: { [weak self] end in
                guard let self else { return }
                run = nil
                guard !isOver else { return }
                Log.error("the guard process ended (\(end.cause)); it is started again")
                // At most once a second after it died early; the daemon itself still ends services at their deadlines.
                let pause: Duration = SystemClock.now - now < .seconds(1) ? .seconds(1) : .zero
                spawner.loop.schedule(after: pause) { [weak self] in self?.launch() }
            })
    }
}

/// One service's place in the guard's table. Its owner keeps it while the service is this node's business.
package final class GuardSlot: Sendable {
    private let number: Int
    private let table: GuardTable
    private let owner: Guard

    fileprivate init(number: Int, table: GuardTable, owner: Guard) {
        self.number = number
        self.table = table
        self.owner = owner
    }
    deinit {
        table.setDeadline(number, 0)
        table.setName(number, nil)
        owner.release(number)
    }

    /// Until when the service may run; nil: without limit. One store and, when it comes earlier than before, one byte into
    /// a pipe: the pulse may call it.
    package func allow(until deadline: Instant?) {
        let before = table.deadline(number)
        // Never 0, which is no limit.
        let next = deadline.map { UInt64(max($0.nanoseconds, 1)) } ?? 0
        table.setDeadline(number, next)
        if next != 0, before == 0 || next < before { owner.kick() }
    }

    /// Whether the service's time is up: then nothing of it may be started.
    package func hasRunOut(at now: Instant) -> Bool {
        let deadline = table.deadline(number)
        return deadline != 0 && UInt64(max(now.nanoseconds, 0)) >= deadline
    }

    /// How often the guard has ended processes of it since the slot was given.
    package var kills: UInt64 { table.kills(number) }

    func attach(_ name: GroupName) {
        table.setName(number, name)
        owner.kick()
    }
    func detach() { table.setName(number, nil) }
}
