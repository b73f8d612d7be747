import Glibc
import Primitives
import Processes
import Reactor
package import Services

/// `exec:[/usr/bin/x, -f]`: a command that stays in the foreground. Its end by itself is told; the core decides on a restart.
package struct CommandRunner: Runner {
    /// A command that ends within this time has failed to start. Default 50 ms: a wrong option or a port in use shows at
    /// once; waiting longer would only delay every failover.
    package var settling: Duration = .milliseconds(50)
    private let words: [String]
    private let variables: [Service.Parameter]
    private let processes: ServiceProcesses

    package init(_ words: [String], variables: [Service.Parameter] = [], _ processes: ServiceProcesses) {
        self.words = words
        self.variables = variables
        self.processes = processes
    }

    package func start(_ occasion: Occasion, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = occasion.ticket ?? processes.stops
        // First: one whose lease ran out is being ended by the guard, and may seem to run for another moment.
        if let obstacle = processes.obstacle { return RunResult(.failed(.passing), obstacle) }
        if processes.hasMain { return RunResult(.succeeded) }
        if let fault = fault { return fault }
        let group: ProcessGroup
        do throws(GroupFailure) { group = try processes.openGroup(for: occasion) } catch {
            return RunResult(.failed(.here), error.problem)
        }
        let own = Dictionary(variables.map { ($0.name, $0.value) }) { first, _ in first }
        let command = Command(words[0], Array(words.dropFirst()), environment: processes.environment(own))
        switch await processes.launch(command, in: group, since: stops) {
        case .notStarted(let failure):
            return RunResult(.failed(failure.reach), failure.problem, took: SystemClock.now - begun)
        case .some(let cause): return RunResult(.failed(.passing), cause.description, took: SystemClock.now - begun)
        case nil: break
        }
        let deadline = begun + min(settling, limit)
        while processes.hasMain, processes.stops == stops, SystemClock.now < deadline {
            try? await processes.spawner.loop.sleep(for: .milliseconds(5))
        }
        guard processes.stops == stops else { return RunResult(.failed(.passing), "a stop came in between") }
        guard processes.hasMain else {
            let how = processes.lastEnd ?? "it ended"
            return RunResult(.failed(.passing), "it ended at once: \(how)", took: SystemClock.now - begun)
        }
        return RunResult(.succeeded, took: SystemClock.now - begun)
    }

    package func stop(within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        _ = processes.beginStop()
        let cleared = await processes.clear(grace: limit)
        return processes.stopped(RunResult(.succeeded), cleared, begun: begun)
    }

    package func monitor(_ reason: MonitorReason, within limit: Duration) async -> RunResult {
        if processes.hasMain { return RunResult(.succeeded) }
        // Its children alone are not the service.
        guard let group = processes.group, !group.name.isEmpty else { return RunResult(.notRunning) }
        return RunResult(.failed(.passing), "the command ended, but processes of it are left")
    }

    package func validate(within limit: Duration) async -> RunResult { fault ?? RunResult(.succeeded) }

    private var fault: RunResult? {
        guard let path = words.first, !path.isEmpty else {
            return RunResult(.failed(.everywhere), "`run: exec:[]` names no program")
        }
        guard path.hasPrefix("/") else {
            return RunResult(.failed(.everywhere), "\(path) is no absolute path: write exec:[/usr/bin/\(path), …]")
        }
        return ExecutableFile.fault(path)
    }
}

enum ExecutableFile {
    /// Why a file cannot be run on this machine; nil when it can.
    static func fault(_ path: String) -> RunResult? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            return RunResult(.failed(.here), "\(path) is not there: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return RunResult(.failed(.here), "\(path) is no file") }
        guard access(path, X_OK) == 0 else {
            return RunResult(.failed(.here), "\(path) is not executable: chmod +x \(path)")
        }
        return nil
    }
}
