import Glibc
import Logging
package import Primitives
package import Processes
import Reactor

/// What every runner of one service has in common: its names, its group of processes, its actions, their end.
package final class ServiceProcesses: Sendable {
    /// Between SIGTERM and SIGKILL, unless there is less time.
    static let grace: Duration = .seconds(3)
    /// How long after SIGKILL a process may still be there: one that is stuck in the kernel (a dead NFS server) is.
    static let afterKill: Duration = .seconds(3)

    package let service: ServiceName
    /// This node's name in the cluster: $BRAMBLE_NODE.
    package let node: String
    /// Where the guard is told what to end, and when. Nil where no lease limits the service.
    let slot: GuardSlot?
    let tree: ProcessTree
    let spawner: Spawner
    let report: @Sendable (RunnerEvent) -> Void

    private struct State {
        var group: ProcessGroup?
        var occasion: Occasion?
        /// Counts stops: what was begun before one must not start anything after it.
        var stops = 0
        /// Stops that were counted when they were ordered, and have not begun.
        var announced = 0
        var running: [UInt64: Spawner.Run] = [:]
        var lastRun: UInt64 = 0
        var main: Spawner.Run?
        var lastEnd: String?
    }
    private let state = Locked(State())

    package init(
        _ service: ServiceName, node: String, slot: GuardSlot? = nil, tree: ProcessTree, spawner: Spawner,
        report: @escaping @Sendable (RunnerEvent) -> Void = { _ in }
    ) {
        self.service = service
        self.node = node
        self.slot = slot
        self.tree = tree
        self.spawner = spawner
        self.report = report
    }

    var group: ProcessGroup? { state.withLock { $0.group } }
    /// To be taken before the first step of an action; see `act`.
    var stops: Int { state.withLock { $0.stops } }

    /// The group for a start. The guard knows it before anything can run in it.
    func openGroup(for occasion: Occasion) throws(GroupFailure) -> ProcessGroup {
        state.withLock { $0.occasion = occasion }
        if let open = group { return open }
        let made = try tree.makeGroup(for: service.description)
        slot?.attach(made.name)
        state.withLock { $0.group = made }
        return made
    }

    /// Why nothing may be started now, or nil.
    var obstacle: String? {
        guard let slot, slot.hasRunOut(at: SystemClock.now) else { return nil }
        return "its lease ran out before it could start"
    }

    /// The environment of its programs: what the operator set, then ours, which nothing replaces.
    func environment(_ own: [String: String] = [:]) -> [String: String] {
        let occasion = state.withLock { $0.occasion }
        var result = ["PATH": Command.searchPath, "HOME": geteuid() == 0 ? "/root" : "/", "LANG": "C.UTF-8"]
        for (name, value) in occasion?.environment ?? [:] { result[name] = value }
        for (name, value) in own { result[name] = value }
        result["BRAMBLE_SERVICE"] = service.description
        result["BRAMBLE_NODE"] = node
        if let occasion { result["BRAMBLE_EPOCH"] = occasion.epoch.description }
        return result
    }

    /// Runs one program of an action to its end. Begun before a stop, it does not outlive it.
    func act(
        _ command: Command, part: ProcessGroup.Part? = nil, since stops: Int, deadline: Duration,
        grace: Duration = ServiceProcesses.grace, captures: Int = 0, tells: Bool = true
    ) async -> ActionEnd {
        // Before a start, and for a probe, there is no group yet: one for this action alone.
        let open = group
        var temporary: ProcessGroup?
        if open == nil { temporary = try? tree.makeGroup(for: service.description) }
        let number = state.withLock {
            $0.lastRun += 1
            return $0.lastRun
        }
        guard self.stops == stops else { return ActionEnd(cause: .aborted) }
        let group = open ?? temporary
        let (spawner, report) = (spawner, report)
        let line: @Sendable (String) -> Void = { if tells { report(.printed($0)) } }
        let end = await spawner.run(
            command, in: group, part ?? group?.newAction() ?? .action(number), deadline: deadline, grace: grace,
            captures: captures,
            began: { run in
                let isLate = self.state.withLock {
                    $0.running[number] = run
                    return $0.stops != stops
                }
                if isLate { spawner.abort(run) }
            },
            line: line)
        state.withLock { _ = $0.running.removeValue(forKey: number) }
        if let temporary { await remove(temporary) }
        return end
    }

    /// Starts the program that stays, in the foreground. On its end by itself, what it left behind ends, too.
    func launch(_ command: Command, in group: ProcessGroup, since stops: Int) async -> ActionEnd.Cause? {
        let (spawner, report) = (spawner, report)
        return await withCheckedContinuation { continuation in
            spawner.loop.perform { [self] in
                guard self.stops == stops else { return continuation.resume(returning: .aborted) }
                let failure = Locked<ActionEnd.Cause?>(nil)
                let run = spawner.launch(
                    command, in: group, .service, deadline: nil, line: { report(.printed($0)) },
                    finished: { end in
                        if case .notStarted = end.cause { return failure.withLock { $0 = end.cause } }
                        self.mainEnded(end, in: group, since: stops)
                    })
                state.withLock { $0.main = run }
                continuation.resume(returning: failure.withLock { $0 })
            }
        }
    }

    /// Whether the program that stays is there.
    var hasMain: Bool { state.withLock { $0.main != nil } }

    /// How the program that should have stayed ended last.
    var lastEnd: String? { state.withLock { $0.lastEnd } }

    private func mainEnded(_ end: ActionEnd, in group: ProcessGroup, since stops: Int) {
        let how = end.cause.description + (end.lastWords.map { ": \($0)" } ?? "")
        // After a stop it was wanted, and nobody needs to be told.
        let isNews = state.withLock {
            $0.main = nil
            $0.lastEnd = how
            return $0.stops == stops
        }
        guard isNews else { return }
        group.name.kill()
        report(.ended(how: how))
    }

    /// A stop was ordered: what is under way ends at once, also when the stop itself has to wait for its turn.
    func announceStop() {
        _ = endRuns { state in
            state.stops += 1
            state.announced += 1
        }
    }

    /// The first step of a stop: what is under way ends, and nothing that was ordered before begins. Returns the count.
    func beginStop() -> Int {
        endRuns { state in
            if state.announced > 0 { state.announced -= 1 } else { state.stops += 1 }
        }
    }

    private func endRuns(_ count: (inout State) -> Void) -> Int {
        let (running, stops) = state.withLock { state in
            count(&state)
            return (Array(state.running.values), state.stops)
        }
        for run in running { spawner.abort(run) }
        return stops
    }

    struct Cleared: Equatable, Sendable {
        /// Processes that were there when the stop itself was over.
        var leftovers = 0
        var wasKilled = false
        /// What even SIGKILL did not end.
        var survivors: [String] = []
    }

    /// The last step of a stop: SIGTERM to what is left, SIGKILL after the grace, and the group goes.
    func clear(grace: Duration = ServiceProcesses.grace) async -> Cleared {
        guard let group else {
            slot?.detach()
            return Cleared()
        }
        var result = Cleared()
        if !group.name.isEmpty || hasMain {
            result.leftovers = group.name.members().count
            if grace > .zero { group.name.signalAll(SIGTERM) }
            if !(await empties(group, within: grace)) {
                result.wasKilled = true
                let deadline = SystemClock.now + Self.afterKill
                repeat {
                    group.name.kill()
                } while !(await empties(group, within: .milliseconds(200)))
                    && SystemClock.now < deadline
            }
        }
        guard group.name.isEmpty, !hasMain else {
            result.survivors = group.name.members().prefix(5).map(ProcessTable.describe)
            if result.survivors.isEmpty { result.survivors = ["processes that are not seen"] }
            return result
        }
        await remove(group)
        slot?.detach()
        state.withLock { if $0.group === group { $0.group = nil } }
        return result
    }

    /// A result for people: what the stop itself said, and what had to be done on top.
    func stopped(_ own: RunResult, _ cleared: Cleared, begun: Instant) -> RunResult {
        var result = own
        result.took = SystemClock.now - begun
        if !cleared.survivors.isEmpty {
            result.outcome = .failed(.passing)
            let list = cleared.survivors.joined(separator: ", ")
            result.reason =
                "not even SIGKILL ends \(list); what they wait for (a disk, a network file system) does not answer"
        } else if cleared.wasKilled, result.reason.isEmpty {
            let what = cleared.leftovers == 1 ? "a process" : "\(cleared.leftovers) processes"
            result.reason = "\(what) had to be killed"
        }
        return result
    }

    private func remove(_ group: ProcessGroup) async {
        if group.remove() { return }
        group.name.kill()
        _ = await empties(group, within: .seconds(2))
        group.remove()
    }

    /// Looks at least twice, with a pause between: also where looking alone takes longer than the limit.
    private func empties(_ group: ProcessGroup, within limit: Duration) async -> Bool {
        let deadline = SystemClock.now + limit
        var pause = Duration.milliseconds(1)
        var isLast = false
        // The end of the program that stays has also to be noticed here: else a start right after would find it running.
        while !group.name.isEmpty || hasMain {
            if isLast { return false }
            isLast = SystemClock.now >= deadline
            // Not `Task.sleep`, and whatever happens to the task, the stop goes on.
            await withCheckedContinuation { continuation in
                spawner.loop.schedule(after: pause) { continuation.resume() }
            }
            pause = min(pause * 2, .milliseconds(20))
        }
        return true
    }
}
