import Glibc
import Logging
import Primitives
import Processes
import Reactor
import Services

/// `systemd:smbd`, through systemctl. The unit's own control group is what the guard ends.
///
/// A drop-in in /run keeps systemd from restarting the unit behind our back, and hands it the epoch.
package struct SystemdRunner: Runner {
    private let unit: String
    private let processes: ServiceProcesses
    private static let tool = "/usr/bin/systemctl"

    package init(unit: String, _ processes: ServiceProcesses) {
        self.unit = SystemdUnit.fullName(unit)
        self.processes = processes
    }

    package func start(_ occasion: Occasion, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = occasion.ticket ?? processes.stops
        if let fault = Self.fault ?? nameFault { return fault }
        if let obstacle = processes.obstacle { return RunResult(.failed(.passing), obstacle) }
        guard let state = await show(stops, .seconds(5)) else { return silent(begun) }
        guard state.isInstalled else { return RunResult(.failed(.here), state.sentence(unit)) }
        do throws(GroupFailure) { _ = try processes.openGroup(for: occasion) } catch {
            return RunResult(.failed(.here), error.problem)
        }
        // The guard must know the unit's group before the unit can run.
        processes.slot?.attach(
            .controlGroup(path: ControlGroups.unitPath(state.controlGroup ?? "/system.slice/\(unit)")))
        do throws(DropInFailure) {
            let isNew = try SystemdUnit.prepare(unit, processes.environment(occasion.environment))
            if isNew { _ = await call(["daemon-reload"], stops, limit) }
        } catch {
            return RunResult(.failed(.here), error.problem)
        }
        let end = await call(["start", unit], stops, limit - (SystemClock.now - begun))
        guard let after = await show(stops, .seconds(5)) else { return silent(begun) }
        if let path = after.controlGroup { processes.slot?.attach(.controlGroup(path: ControlGroups.unitPath(path))) }
        if end.code == 0, after.isRunning { return RunResult(.succeeded, took: SystemClock.now - begun) }
        let words =
            end.code == 0 ? after.sentence(unit) : "\(after.sentence(unit)) (\(end.lastWords ?? end.cause.description))"
        return RunResult(.failed(.passing), words, took: SystemClock.now - begun)
    }

    package func stop(within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = processes.beginStop()
        // Without systemd no unit can run.
        guard Self.fault == nil, nameFault == nil else {
            return processes.stopped(RunResult(.succeeded), await processes.clear(), begun: begun)
        }
        let end = await call(["stop", unit], stops, limit, grace: .zero)
        var state = await show(stops, .seconds(5))
        if let running = state, running.isInstalled, !running.isStopped {
            _ = await call(["kill", "--kill-whom=all", "--signal=SIGKILL", unit], stops, .seconds(5))
            let deadline = SystemClock.now + .seconds(3)
            repeat {
                try? await processes.spawner.loop.sleep(for: .milliseconds(50))
                state = await show(stops, .seconds(5))
            } while state?.isStopped != true && SystemClock.now < deadline
        }
        SystemdUnit.forget(unit)
        let cleared = await processes.clear()
        guard let state else { return silent(begun) }
        guard state.isStopped || !state.isInstalled else {
            let words = "\(state.sentence(unit)) (\(end.lastWords ?? end.cause.description))"
            return RunResult(.failed(.passing), words, took: SystemClock.now - begun)
        }
        return processes.stopped(RunResult(.succeeded), cleared, begun: begun)
    }

    package func monitor(_ reason: MonitorReason, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        if Self.fault != nil, reason == .probe { return RunResult(.notRunning, "systemd does not run here") }
        if let fault = Self.fault ?? nameFault { return fault }
        guard let state = await show(processes.stops, limit) else { return silent(begun) }
        var result = state.verdict(unit)
        result.took = SystemClock.now - begun
        return result
    }

    package func validate(within limit: Duration) async -> RunResult {
        if let fault = Self.fault ?? nameFault { return fault }
        guard let state = await show(processes.stops, limit) else { return silent(SystemClock.now) }
        guard state.isInstalled else { return RunResult(.failed(.here), state.sentence(unit)) }
        guard state.startsAtBoot else { return RunResult(.succeeded) }
        return RunResult(
            .succeeded,
            "\(unit) is enabled and starts at boot without a lease, until Bramble stops it: systemctl disable \(unit)")
    }

    private static var fault: RunResult? {
        guard access("/run/systemd/system", F_OK) == 0 else {
            return RunResult(
                .failed(.here),
                "systemd does not run here, so it has no units: use ocf:, script: or exec: for this service")
        }
        return ExecutableFile.fault(tool)
    }
    private var nameFault: RunResult? {
        SystemdUnit.isName(unit) ? nil : RunResult(.failed(.everywhere), "“\(unit)” is no name of a systemd unit")
    }
    private func silent(_ begun: Instant) -> RunResult {
        RunResult(.failed(.passing), "systemd does not answer (systemctl show \(unit))", took: SystemClock.now - begun)
    }

    private func call(
        _ words: [String], _ stops: Int, _ limit: Duration, grace: Duration = ServiceProcesses.grace
    ) async -> ActionEnd {
        let command = Command(Self.tool, ["--no-ask-password", "--no-pager"] + words, environment: ["LANG": "C.UTF-8"])
        return await processes.act(
            command, since: stops, deadline: max(limit, .milliseconds(100)), grace: grace, captures: 64 * 1024)
    }

    /// Asked again when it does not answer: systemd does not for a moment while it executes itself anew.
    private func show(_ stops: Int, _ limit: Duration) async -> SystemdUnit.State? {
        for _ in 0..<3 {
            let end = await call(["show", "--property=\(SystemdUnit.State.properties)", unit], stops, limit)
            if end.code == 0, let state = SystemdUnit.State(String(decoding: end.content, as: UTF8.self)) {
                return state
            }
            if end.cause == .aborted { return nil }
            try? await processes.spawner.loop.sleep(for: .milliseconds(300))
        }
        return nil
    }
}

package struct DropInFailure: OperatorError, Equatable {
    let path: String
    let code: Int32
    package var problem: String { "\(path) cannot be written: \(String(cString: strerror(code)))" }
    package var remedy: String { "Bramble needs root, and its unit ReadWritePaths=/run" }
}

enum SystemdUnit {
    static let directory = "/run/systemd/system"

    static func fullName(_ unit: String) -> String { unit.contains(".") ? unit : "\(unit).service" }

    /// What systemd allows in names, without what leads elsewhere in paths.
    static func isName(_ unit: String) -> Bool {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@"
        return !unit.isEmpty && unit.utf8.count < 256 && !unit.hasPrefix("-") && !unit.hasPrefix(".")
            && unit.allSatisfy { allowed.contains($0) }
    }

    /// Writes the drop-in, and the variables into a file beside it. True when systemd has to read it.
    static func prepare(
        _ unit: String, _ variables: [String: String], in directory: String = directory
    ) throws(DropInFailure) -> Bool {
        let folder = "\(directory)/\(unit).d"
        let variablesFile = "\(directory)/\(unit).d/bramble-environment"
        mkdir(folder, 0o755)
        try write(environmentFile(variables), to: variablesFile, mode: 0o600)
        let path = "\(folder)/50-bramble.conf"
        let text = dropIn(variablesFile)
        if SmallFile.read(path, limit: 4096).map({ $0 == Array(text.utf8) }) ?? false { return false }
        try write(text, to: path, mode: 0o644)
        return true
    }

    /// The epoch is no longer ours to give. The drop-in stays until the machine restarts: whoever starts the unit by hand
    /// must not get systemd's restarts in our way at the next failover.
    static func forget(_ unit: String, in directory: String = directory) {
        unlink("\(directory)/\(unit).d/bramble-environment")
    }

    static func dropIn(_ variablesFile: String) -> String {
        """
        # Made by Bramble, which runs this unit under a lease.
        [Service]
        Restart=no
        EnvironmentFile=-\(variablesFile)

        """
    }

    /// systemd.exec(5): quoted, with backslashes before what would end the quotes.
    static func environmentFile(_ variables: [String: String]) -> String {
        let wanted = variables.filter { !["PATH", "HOME", "LANG"].contains($0.key) }.sorted { $0.key < $1.key }
        return wanted.map { name, value in
            let escaped = value.map { "\\\"`$".contains($0) ? "\\\($0)" : $0.isNewline ? " " : String($0) }.joined()
            return "\(name)=\"\(escaped)\"\n"
        }.joined()
    }

    private static func write(_ text: String, to path: String, mode: mode_t) throws(DropInFailure) {
        let temporary = "\(path).new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard file >= 0 else { throw DropInFailure(path: path, code: errno) }
        defer { close(file) }
        guard Glibc.write(file, text, text.utf8.count) == text.utf8.count, rename(temporary, path) == 0 else {
            throw DropInFailure(path: path, code: errno)
        }
    }

    /// What `systemctl show` tells.
    struct State: Equatable {
        static let properties = "LoadState,ActiveState,SubState,Result,ControlGroup,UnitFileState,ExecMainStatus"
        private var values: [String: String] = [:]

        init?(_ text: String) {
            for line in text.split(separator: "\n") {
                let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
            }
            guard values["LoadState"] != nil, values["ActiveState"] != nil else { return nil }
        }

        private var active: String { values["ActiveState"] ?? "" }
        var isInstalled: Bool { values["LoadState"] == "loaded" }
        var isRunning: Bool { ["active", "reloading", "refreshing"].contains(active) }
        var isStopped: Bool { ["inactive", "failed"].contains(active) }
        var startsAtBoot: Bool { values["UnitFileState"] == "enabled" }
        /// Below the mount of control groups; nil while it has none.
        var controlGroup: String? { values["ControlGroup"].flatMap { $0.hasPrefix("/") && $0.count > 1 ? $0 : nil } }

        func verdict(_ unit: String) -> RunResult {
            if !isInstalled { return RunResult(.notRunning, sentence(unit)) }
            switch active {
            case "active", "reloading", "refreshing": return RunResult(.succeeded)
            case "inactive": return RunResult(.notRunning)
            case "activating": return RunResult(.degraded, "\(unit) is starting")
            default: return RunResult(.failed(.passing), sentence(unit))
            }
        }

        func sentence(_ unit: String) -> String {
            switch (values["LoadState"] ?? "", active) {
            case ("not-found", _): return "there is no unit \(unit) on this machine"
            case ("masked", _): return "\(unit) is masked: systemctl unmask \(unit)"
            case ("loaded", "failed"):
                let status =
                    values["ExecMainStatus"].flatMap { $0 == "0" || $0.isEmpty ? nil : ", exit code \($0)" } ?? ""
                return "\(unit) failed (\(values["Result"] ?? "unknown")\(status)): journalctl -u \(unit)"
            case ("loaded", let state): return "\(unit) is \(state)"
            case (let load, _): return "\(unit) cannot be loaded (\(load)): systemctl status \(unit)"
            }
        }
    }
}
