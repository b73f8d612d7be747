import Glibc
import Logging
package import Primitives
package import Reactor

/// What every runner of one service has in common: its names, its group of processes, its actions, their end.
package final class ServiceProcesses: Sendable {
    /// Who this service is, and what its runner works with.
    package struct Context: Sendable {
        package var service: String
        /// This node's name in the cluster: $BRAMBLE_NODE.
        package var node: String
        package var deadlines: Deadlines
        /// Where the guard is told what to end, and when. Nil where no lease limits the service.
        package var slot: GuardSlot?
        package var tree: ProcessTree
        package var spawner: Spawner
        package var report: @Sendable (RunnerEvent) -> Void

        package init(
            service: String, node: String, deadlines: Deadlines = Deadlines(), slot: GuardSlot? = nil,
            tree: ProcessTree, spawner: Spawner, report: @escaping @Sendable (RunnerEvent) -> Void = { _ in }
        ) {
            self.service = service
            self.node = node
            self.deadlines = deadlines
            self.slot = slot
            self.tree = tree
            self.spawner = spawner
            self.report = report
        }
    }

    private struct State {
        var group: ProcessGroup?
        var occasion: Occasion?
        /// Counts stops: what was begun before one must not start anything after it.
        var stops = 0
        var running: [UInt64: Spawner.Run] = [:]
        var lastRun: UInt64 = 0
    }
    let context: Context
    private let state = Locked(State())

    init(_ context: Context) { self.context = context }

    var loop: EventLoop { context.spawner.loop }
    var group: ProcessGroup? { state.withLock { $0.group } }
    /// To be taken before the first step of an action; see `act`.
    var stops: Int { state.withLock { $0.stops } }

    /// The group for a start. The guard knows it before anything can run in it.
    func openGroup(for occasion: Occasion) throws(GroupFailure) -> ProcessGroup {
        if let open = group {
            state.withLock { $0.occasion = occasion }
            return open
        }
        let made = try context.tree.makeGroup(for: context.service)
        context.slot?.attach(made.name)
        state.withLock {
            $0.group = made
            $0.occasion = occasion
        }
        return made
    }

    /// Why nothing may be started now, or nil.
    var obstacle: String? {
        guard let slot = context.slot, slot.hasRunOut(at: SystemClock.now) else { return nil }
        return "the lease ran out before it could start"
    }

    /// The environment of its programs: what the operator set, then ours, which nothing replaces.
    func environment(_ own: [String: String] = [:]) -> [String: String] {
        let occasion = state.withLock { $0.occasion }
        var result = ["PATH": Command.searchPath, "HOME": "/root", "LANG": "C.UTF-8"]
        for (name, value) in occasion?.environment ?? [:] { result[name] = value }
        for (name, value) in own { result[name] = value }
        result["BRAMBLE_SERVICE"] = context.service
        result["BRAMBLE_NODE"] = context.node
        if let occasion { result["BRAMBLE_EPOCH"] = String(occasion.epoch) }
        return result
    }

    /// Runs one program of an action. Begun before a stop, it does not outlive it.
    func act(
        _ command: Command, part: ProcessGroup.Part? = nil, since stops: Int, deadline: Duration, captures: Int = 0,
        tells: Bool = true
    ) async -> ActionEnd {
        let group = group
        let context = context
        let number = state.withLock {
            $0.lastRun += 1
            return $0.lastRun
        }
        let report = context.report
        guard self.stops == stops else { return ActionEnd(cause: .aborted) }
        let end = await context.spawner.run(
            command, in: group, part ?? group?.newAction() ?? .action(number), deadline: deadline,
            grace: context.deadlines.grace, captures: captures,
            began: { run in
                let isLate = self.state.withLock {
                    $0.running[number] = run
                    return $0.stops != stops
                }
                if isLate { context.spawner.abort(run) }
            },
            line: tells ? { report(.printed($0)) } : nil)
        state.withLock { _ = $0.running.removeValue(forKey: number) }
        return end
    }

    /// The first step of a stop: what is under way ends at once, and nothing new begins. Returns the new count.
    func beginStop() -> Int {
        let (running, stops) = state.withLock {
            $0.stops += 1
            return (Array($0.running.values), $0.stops)
        }
        for run in running { context.spawner.abort(run) }
        return stops
    }

    /// The last step of a stop: SIGTERM to what is left, SIGKILL after the grace, and the group goes. Returns what it took,
    /// for people, or the processes that even SIGKILL did not end.
    func clear(grace: Duration? = nil) async -> Cleared {
        guard let group else {
            context.slot?.detach()
            return Cleared()
        }
        var result = Cleared()
        // Actions that were aborted a moment ago are on their way out.
        if !group.name.isEmpty { result.leftovers = group.name.members().count }
        if !group.name.isEmpty {
            group.name.signalAll(SIGTERM)
            if !(await empties(group, within: grace ?? context.deadlines.grace)) {
                result.wasKilled = true
                // What is stuck in the kernel (a dead NFS server) may take a moment after its SIGKILL; for ever is a failure.
                let deadline = SystemClock.now + .seconds(5)
                repeat { group.name.kill() } while !(await empties(group, within: .milliseconds(200)))
                    && SystemClock.now < deadline
            }
        }
        guard group.name.isEmpty else {
            result.survivors = group.name.members().prefix(5).map(ProcessTable.describe)
            if result.survivors.isEmpty { result.survivors = ["unknown processes"] }
            return result
        }
        group.remove()
        context.slot?.detach()
        state.withLock { if $0.group === group { $0.group = nil } }
        return result
    }

    struct Cleared: Equatable, Sendable {
        var leftovers = 0
        var wasKilled = false
        var survivors: [String] = []
    }

    private func empties(_ group: ProcessGroup, within limit: Duration) async -> Bool {
        let deadline = SystemClock.now + limit
        var pause = Duration.milliseconds(2)
        while !group.name.isEmpty {
            guard SystemClock.now < deadline else { return false }
            guard (try? await loop.sleep(for: pause)) != nil else { return group.name.isEmpty }
            pause = min(pause * 2, .milliseconds(50))
        }
        return true
    }
}
