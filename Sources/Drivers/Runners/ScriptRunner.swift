import Glibc
import Primitives
import Processes
import Reactor
package import Services

/// `script:/etc/init.d/x`, called with start, stop and status; or a directory with links as SysV and clusterd have them:
/// `S20name` are started in this order, `K20name` stopped in theirs.
package struct ScriptRunner: Runner {
    private let path: String
    private let variables: [Service.Parameter]
    private let processes: ServiceProcesses

    package init(path: String, variables: [Service.Parameter] = [], _ processes: ServiceProcesses) {
        self.path = path
        self.variables = variables
        self.processes = processes
    }

    package func start(_ occasion: Occasion, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = occasion.ticket ?? processes.stops
        if let obstacle = processes.obstacle { return RunResult(.failed(.passing), obstacle) }
        let scripts: [String]
        switch ScriptFiles.find(path) {
        case .failure(let fault): return fault.result
        case .success(let found): scripts = found.starts
        }
        do throws(GroupFailure) { _ = try processes.openGroup(for: occasion) } catch {
            return RunResult(.failed(.here), error.problem)
        }
        for script in scripts {
            let left = limit - (SystemClock.now - begun)
            guard left > .zero else { return timedOut(before: script, "start", limit, begun) }
            let end = await act(script, "start", .service, stops, left)
            guard end.code != 0 else { continue }
            return RunResult(.failed(reach(end, .start)), sentence(script, "start", end), took: SystemClock.now - begun)
        }
        return RunResult(.succeeded, took: SystemClock.now - begun)
    }

    package func stop(within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = processes.beginStop()
        var result = RunResult(.succeeded)
        // Gone scripts have nothing to stop: what they started was in the service's group, which is emptied below.
        if case .success(let found) = ScriptFiles.find(path) {
            for script in found.stops {
                let left = limit - (SystemClock.now - begun)
                // Each gets its chance even when one before it took all the time: a moment, then the group goes.
                let end = await act(script, "stop", nil, stops, max(left, .milliseconds(100)), grace: .zero)
                if end.code == 0 || end.code == 7 || isMissing(end) { continue }
                if result.reason.isEmpty {
                    result = RunResult(.failed(.passing), sentence(script, "stop", end))
                }
            }
        }
        let cleared = await processes.clear(
            grace: min(ServiceProcesses.grace, max(.zero, limit - (SystemClock.now - begun))))
        if result.hasFailed, cleared.survivors.isEmpty, await isStoppedByNow(stops) {
            result.outcome = .succeeded
            result.reason += "; its processes were ended, and nothing of it runs now"
        }
        return processes.stopped(result, cleared, begun: begun)
    }

    /// After a stop that failed: a clear answer from every script is needed, since what a script holds need not be a process.
    private func isStoppedByNow(_ stops: Int) async -> Bool {
        // A process that was just killed is seen by `kill -0` until its parent has noticed.
        let deadline = SystemClock.now + .seconds(4)
        while SystemClock.now < deadline {
            if await ask(stops, within: deadline - SystemClock.now).outcome == .notRunning { return true }
            try? await processes.spawner.loop.sleep(for: .milliseconds(100))
        }
        return false
    }

    package func monitor(_ reason: MonitorReason, within limit: Duration) async -> RunResult {
        await ask(processes.stops, within: limit)
    }

    private func ask(_ stops: Int, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let found: ScriptFiles.Found
        switch ScriptFiles.find(path) {
        case .failure(let fault): return RunResult(.notRunning, fault.result.reason)
        case .success(let files): found = files
        }
        var answers: [ScriptFiles.Status] = []
        for script in found.starts {
            let left = limit - (SystemClock.now - begun)
            guard left > .zero else { return timedOut(before: script, "status", limit, begun) }
            let end = await act(script, "status", nil, stops, left, tells: false)
            guard let code = end.code else {
                return RunResult(.failed(.passing), sentence(script, "status", end), took: SystemClock.now - begun)
            }
            answers.append(ScriptFiles.Status(code: code, script: ScriptFiles.name(script)))
        }
        let hasProcesses = processes.group.map { !$0.name.isEmpty } ?? false
        var result = ScriptFiles.verdict(answers, wasStarted: processes.group != nil, hasProcesses: hasProcesses)
        result.took = SystemClock.now - begun
        return result
    }

    package func validate(within limit: Duration) async -> RunResult {
        switch ScriptFiles.find(path) {
        case .failure(let fault): return fault.result
        case .success(let found):
            for script in found.starts + found.stops {
                if let fault = ExecutableFile.fault(script) { return fault }
            }
            return RunResult(.succeeded)
        }
    }

    private func act(
        _ script: String, _ action: String, _ part: ProcessGroup.Part?, _ stops: Int, _ limit: Duration,
        grace: Duration = ServiceProcesses.grace, tells: Bool = true
    ) async -> ActionEnd {
        let own = Dictionary(variables.map { ($0.name, $0.value) }) { first, _ in first }
        let command = Command(script, [action], environment: processes.environment(own))
        return await processes.act(command, part: part, since: stops, deadline: limit, grace: grace, tells: tells)
    }

    private enum Kind { case start, other }
    private func reach(_ end: ActionEnd, _ kind: Kind) -> OrderResult.Failure.Reach {
        if case .notStarted(let failure) = end.cause { return failure.reach }
        // LSB: 2 wrong arguments, 3 not known, 4 no permission, 5 not installed, 6 not configured.
        return switch end.code {
        case 4, 5, 6: .here
        default: .passing
        }
    }
    private func isMissing(_ end: ActionEnd) -> Bool {
        if case .notStarted(let failure) = end.cause { failure.reach == .here } else { false }
    }
    private func sentence(_ script: String, _ action: String, _ end: ActionEnd) -> String {
        let words = end.lastWords.map { ": \($0)" } ?? ""
        return "\(ScriptFiles.name(script)) \(action): \(end.cause)\(words)"
    }
    private func timedOut(before script: String, _ action: String, _ limit: Duration, _ begun: Instant) -> RunResult {
        RunResult(
            .failed(.passing), "\(limit.inSeconds) were over before the turn of \(ScriptFiles.name(script)) \(action)",
            took: SystemClock.now - begun)
    }
}

/// Which scripts a path means, and what their answers do.
enum ScriptFiles {
    struct Fault: Error { let result: RunResult }
    struct Found: Equatable {
        var starts: [String]
        var stops: [String]
    }
    /// The exit code of `status`, after LSB: 0 runs, 1 and 2 dead with something left, 3 stopped; anything else is no answer.
    struct Status: Equatable {
        var code: Int32
        var script: String
    }

    static func find(_ path: String) -> Result<Found, Fault> {
        func fault(_ reach: OrderResult.Failure.Reach, _ text: String) -> Result<Found, Fault> {
            .failure(Fault(result: RunResult(.failed(reach), text)))
        }
        guard path.hasPrefix("/") else { return fault(.everywhere, "\(path) is no absolute path") }
        var status = stat()
        guard stat(path, &status) == 0 else {
            return fault(.here, "\(path) is not there: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            if let fault = ExecutableFile.fault(path) { return .failure(Fault(result: fault)) }
            return .success(Found(starts: [path], stops: [path]))
        }
        let names = SmallFile.names(in: path).filter(isLink)
        let starts = names.filter { $0.hasPrefix("S") }
        let stops = names.filter { $0.hasPrefix("K") }
        guard !starts.isEmpty else { return fault(.everywhere, "\(path) has no S??name to start") }
        return .success(
            Found(
                starts: starts.map { "\(path)/\($0)" },
                // Without K links, the way back.
                stops: (stops.isEmpty ? starts.reversed() : stops).map { "\(path)/\($0)" }))
    }

    /// `S20name`, as init has it; not what editors and dpkg leave beside it.
    static func isLink(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard bytes.count > 3, bytes[0] == UInt8(ascii: "S") || bytes[0] == UInt8(ascii: "K"),
            (48...57).contains(bytes[1]), (48...57).contains(bytes[2])
        else { return false }
        return !name.hasSuffix("~")
            && ![".dpkg-old", ".dpkg-new", ".dpkg-dist", ".bak", ".orig", ".rpmsave", ".swp"]
                .contains { name.hasSuffix($0) }
    }

    static func name(_ script: String) -> String { script.split(separator: "/").last.map(String.init) ?? script }

    /// One answer from those of several scripts.
    static func verdict(_ answers: [Status], wasStarted: Bool, hasProcesses: Bool) -> RunResult {
        if let dead = answers.first(where: { $0.code == 1 || $0.code == 2 }) {
            return RunResult(.failed(.passing), "\(dead.script) status: it is dead, and left its pid or lock file")
        }
        let known = answers.filter { $0.code == 0 || $0.code == 3 }
        if let stopped = known.first(where: { $0.code == 3 }) {
            if known.allSatisfy({ $0.code == 3 }), !hasProcesses { return RunResult(.notRunning) }
            return RunResult(.failed(.passing), "\(stopped.script) status: it does not run, others do")
        }
        if !known.isEmpty { return RunResult(.succeeded) }
        // None of them knows `status`: what is known is whether they were started here.
        if hasProcesses { return RunResult(.succeeded) }
        if wasStarted { return RunResult(.succeeded, "its scripts do not tell their status") }
        return RunResult(.failed(.passing), "its scripts do not tell their status")
    }
}
