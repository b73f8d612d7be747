import Glibc
import Primitives
import Processes
import Reactor
package import Services

/// `ocf:heartbeat:nginx`: a resource agent, by the OCF resource agent API 1.1 (ClusterLabs/OCF-spec, ra/1.1).
package struct AgentRunner: Runner {
    package struct Place: Sendable {
        /// OCF_ROOT. Without it agents end with exit code 2, which reads like a wrong parameter.
        package var root: String
        /// A directory with stand-ins for tools of Pacemaker that some agents call; last in their search path.
        package var standIns: String?
        package init(root: String = "/usr/lib/ocf", standIns: String? = nil) {
            self.root = root
            self.standIns = standIns
        }
    }
    /// How long an agent may take to say, after a stop that failed, that nothing is left.
    private static let lastWord: Duration = .seconds(4)
    private let provider: String
    private let type: String
    private let parameters: [Service.Parameter]
    private let place: Place
    private let processes: ServiceProcesses
    private var path: String { "\(place.root)/resource.d/\(provider)/\(type)" }

    package init(
        provider: String, type: String, parameters: [Service.Parameter], place: Place = Place(),
        _ processes: ServiceProcesses
    ) {
        self.provider = provider
        self.type = type
        self.parameters = parameters
        self.place = place
        self.processes = processes
    }

    package func start(_ occasion: Occasion, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = occasion.ticket ?? processes.stops
        if let obstacle = processes.obstacle { return RunResult(.failed(.passing), obstacle) }
        if let fault { return fault }
        do throws(GroupFailure) { _ = try processes.openGroup(for: occasion) } catch {
            return RunResult(.failed(.here), error.problem)
        }
        let end = await act("start", stops, limit, part: .service)
        var result = AgentAnswer.result(of: "start", end)
        result.took = SystemClock.now - begun
        return result
    }

    package func stop(within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        let stops = processes.beginStop()
        // An agent that is not there has started nothing; leftovers of one that was removed meanwhile are processes.
        guard fault == nil else {
            return processes.stopped(RunResult(.succeeded), await processes.clear(), begun: begun)
        }
        let end = await act("stop", stops, limit, grace: .zero)
        var result = AgentAnswer.result(of: "stop", end)
        let left = limit - (SystemClock.now - begun)
        let cleared = await processes.clear(grace: min(ServiceProcesses.grace, max(.zero, left)))
        if result.hasFailed, cleared.survivors.isEmpty {
            // What it holds need not be a process (a mount, an address): the agent itself has to say that it is gone.
            let after = await act("monitor", stops, Self.lastWord, interval: 0)
            if AgentAnswer.result(of: "monitor", after, isProbe: true).outcome == .notRunning {
                result = RunResult(.succeeded, "\(result.reason); it was ended, and the agent says that it is stopped")
            }
        }
        return processes.stopped(result, cleared, begun: begun)
    }

    package func monitor(_ reason: MonitorReason, within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        if let fault {
            return reason == .probe ? RunResult(.notRunning, fault.reason) : fault
        }
        var depth = 0
        if case .regular(let level) = reason { depth = level }
        let end = await act(
            "monitor", processes.stops, limit, depth: depth, interval: reason == .probe ? 0 : 10_000, tells: false)
        var result = AgentAnswer.result(of: "monitor", end, isProbe: reason == .probe)
        result.took = SystemClock.now - begun
        return result
    }

    package func validate(within limit: Duration) async -> RunResult {
        let begun = SystemClock.now
        if let fault { return fault }
        switch await metadata(within: limit) {
        case .success(let told):
            let names = Set(parameters.map(\.name))
            if let wrong = parameters.first(where: { own in !told.parameters.contains { $0.name == own.name } }) {
                let known = told.parameters.map(\.name).joined(separator: ", ")
                return RunResult(
                    .failed(.everywhere), "ocf:\(provider):\(type) has no parameter “\(wrong.name)”; it has \(known)")
            }
            // One with a default is there whatever the agent calls it.
            if let missing = told.parameters.first(where: {
                $0.isRequired && $0.standard == nil && !names.contains($0.name)
            }) {
                return RunResult(
                    .failed(.everywhere),
                    "ocf:\(provider):\(type) needs the parameter “\(missing.name)” (\(missing.description))")
            }
        case .failure(let silence): return silence.result
        }
        let end = await act("validate-all", processes.stops, max(limit - (SystemClock.now - begun), .milliseconds(100)))
        var result = AgentAnswer.result(of: "validate-all", end)
        result.took = SystemClock.now - begun
        return result
    }

    /// Why nothing is known about an agent.
    package struct Silence: Error, Equatable { package let result: RunResult }

    /// What the agent tells about itself.
    package func metadata(within limit: Duration = .seconds(10)) async -> Result<AgentMetadata, Silence> {
        if let fault { return .failure(Silence(result: fault)) }
        let end = await act("meta-data", processes.stops, limit, captures: 1 << 20, tells: false)
        guard end.code == 0 else { return .failure(Silence(result: AgentAnswer.result(of: "meta-data", end))) }
        guard let told = AgentMetadata(end.content) else {
            return .failure(Silence(result: RunResult(.failed(.here), "\(path) prints no readable meta-data")))
        }
        return .success(told)
    }

    private var fault: RunResult? {
        for name in [provider, type] where name.isEmpty || name.hasPrefix(".") || name.contains("/") {
            return RunResult(.failed(.everywhere), "“ocf:\(provider):\(type)” is no agent's name")
        }
        guard var fault = ExecutableFile.fault(path) else { return nil }
        if access(path, F_OK) != 0 {
            let package = provider == "heartbeat" ? "apt-get install resource-agents" : "install its package"
            fault.reason = "there is no agent ocf:\(provider):\(type) on this machine (\(path)): \(package)"
        }
        return fault
    }

    private func act(
        _ action: String, _ stops: Int, _ limit: Duration, part: ProcessGroup.Part? = nil, depth: Int = 0,
        interval: Int = 0, grace: Duration = .seconds(2), captures: Int = 0, tells: Bool = true
    ) async -> ActionEnd {
        // Some agents keep their state there, and tmpfiles.d makes it only at boot.
        mkdir("/run/resource-agents", 0o1755)
        let command = Command(
            path, [action], environment: environment(of: action, limit, depth: depth, interval: interval))
        return await processes.act(
            command, part: part, since: stops, deadline: limit, grace: grace, captures: captures, tells: tells)
    }

    func environment(of action: String, _ limit: Duration, depth: Int, interval: Int) -> [String: String] {
        var own: [String: String] = [:]
        for one in parameters { own["OCF_RESKEY_\(one.name)"] = one.value }
        own["OCF_ROOT"] = place.root
        own["OCF_RA_VERSION_MAJOR"] = "1"
        own["OCF_RA_VERSION_MINOR"] = "1"
        own["OCF_RESOURCE_INSTANCE"] = processes.service.description
        own["OCF_RESOURCE_TYPE"] = type
        own["OCF_RESOURCE_PROVIDER"] = provider
        own["OCF_CHECK_LEVEL"] = "\(depth)"
        own["OCF_EXIT_REASON_PREFIX"] = AgentAnswer.reasonMark
        own["OCF_RESKEY_CRM_meta_name"] = action
        own["OCF_RESKEY_CRM_meta_on_node"] = processes.node
        own["OCF_RESKEY_CRM_meta_timeout"] = "\(limit.nanoseconds / 1_000_000)"
        // By 0 an agent knows a probe.
        own["OCF_RESKEY_CRM_meta_interval"] = "\(interval)"
        own["OCF_RESKEY_crm_feature_set"] = "3.16.2"
        // Without a cluster of Pacemaker's, agents log to standard error: that is what we show.
        own["HA_debug"] = "0"
        own["HA_logfacility"] = "none"
        if let standIns = place.standIns { own["PATH"] = "\(Command.searchPath):\(standIns)" }
        return processes.environment(own)
    }
}

/// What an agent's exit code means.
enum AgentAnswer {
    static let reasonMark = "ocf-exit-reason:"

    static func result(of action: String, _ end: ActionEnd, isProbe: Bool = false) -> RunResult {
        guard let code = end.code else {
            if case .notStarted(let failure) = end.cause { return RunResult(.failed(failure.reach), failure.problem) }
            return RunResult(.failed(.passing), words("\(action): \(end.cause)", end))
        }
        let isMonitor = action == "monitor"
        switch code {
        case 0: return RunResult(.succeeded)
        // 8: it runs, promoted. Bramble promotes nothing, but an operator may.
        case 8 where isMonitor: return RunResult(.succeeded)
        case 190 where isMonitor, 191 where isMonitor: return RunResult(.degraded, words("it runs degraded", end))
        case 7 where isMonitor: return RunResult(.notRunning)
        // Not installed, so not running.
        case 5 where isProbe: return RunResult(.notRunning, words("not installed", end))
        case 7 where action == "stop": return RunResult(.succeeded)
        case 5 where action == "stop":
            return RunResult(.succeeded, words("not installed, so there is nothing to stop", end))
        case 3 where action == "validate-all": return RunResult(.succeeded)
        case 1: return RunResult(.failed(.passing), words("\(action) failed", end))
        case 2: return RunResult(.failed(.here), words("\(action): a parameter makes no sense here", end))
        case 3: return RunResult(.failed(.here), words("the agent does not know “\(action)”", end))
        case 4: return RunResult(.failed(.here), words("\(action): it lacks permission", end))
        case 5: return RunResult(.failed(.here), words("\(action): what it needs is not installed", end))
        case 6: return RunResult(.failed(.everywhere), words("\(action): its parameters are wrong", end))
        case 7: return RunResult(.failed(.passing), words("\(action): it does not run", end))
        case 9: return RunResult(.failed(.passing), words("it runs promoted, and has failed", end))
        default:
            return RunResult(.failed(.passing), words("\(action): exit code \(code), which means nothing to OCF", end))
        }
    }

    /// The agent's own reason, which it marks; else its last error line.
    private static func words(_ sentence: String, _ end: ActionEnd) -> String {
        let lines = end.errors + end.output
        let marked = lines.last { $0.hasPrefix(reasonMark) }.map {
            String($0.dropFirst(reasonMark.count).drop { $0 == " " })
        }
        guard let text = marked ?? end.lastWords, !text.isEmpty else { return sentence }
        return "\(sentence): \(text)"
    }
}

/// Stand-ins for tools of Pacemaker, which agents call to say things that only Pacemaker wants to know. A real tool of
/// that name, where it is installed, is found first.
package enum AgentStandIns {
    /// Writes them, and returns the directory for `AgentRunner.Place`. Nil when it cannot be written.
    package static func install(in directory: String) -> String? {
        let folder = "\(directory)/agent-tools"
        mkdir(folder, 0o755)
        let quiet = "#!/bin/sh\n# Made by Bramble: there is no Pacemaker here to tell.\nexit 0\n"
        let node = "#!/bin/sh\n# Made by Bramble: there is no Pacemaker here to ask.\necho \"$BRAMBLE_NODE\"\n"
        let tools = [
            ("crm_master", quiet), ("crm_attribute", quiet), ("attrd_updater", quiet), ("crm_node", node),
        ]
        for (name, text) in tools {
            let path = "\(folder)/\(name)"
            let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o755)
            guard file >= 0 else { return nil }
            defer { close(file) }
            guard write(file, text, text.utf8.count) == text.utf8.count, fchmod(file, 0o755) == 0 else { return nil }
        }
        return folder
    }
}
