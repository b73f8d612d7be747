package import Primitives

/// One way to run a service: a systemd unit, a resource agent, scripts, a command.
///
/// Every action is idempotent, has a deadline of its own, and ends: what does not finish is ended with all its children.
/// Nothing here decides: when to start, to move or to give up is the services core's business.
package protocol Runner: Sendable {
    /// Starts the service. Success means that it can be used, also where it ran already.
    func start(_ occasion: Occasion) async -> RunResult

    /// Stops it, within less than the usual time when asked so. Success means that nothing of it is left: no process,
    /// and with an agent no resource. It escalates to SIGKILL by itself; what fails even so is quarantine's business.
    func stop(within limit: Duration?) async -> RunResult

    /// Says whether it runs. `depth` is an agent's check level (0 quick, 10 usual, 20 thorough); others ignore it.
    func monitor(_ reason: MonitorReason) async -> RunResult

    /// Says whether it could run here: the program is there, the parameters make sense. Changes nothing.
    func validate() async -> RunResult

    /// The processes of the service, for the guard; nil while there are none.
    var group: ProcessGroup? { get }
}

extension Runner {
    /// At the daemon's start nothing is adopted: whatever runs was started under a lease that nobody can vouch for.
    /// Success means that the service does not run. Only what a probe calls cleanly stopped is left alone.
    package func stopIfFound() async -> RunResult {
        let found = await monitor(.probe)
        if found.outcome == .notRunning { return found }
        return await stop(within: nil)
    }
}

/// With what a service is started: both are in its environment, so that storage or a peer can refuse an older holder.
package struct Occasion: Equatable, Sendable {
    /// The fencing number of the lease under which it starts: $BRAMBLE_EPOCH.
    package var epoch: UInt64
    /// More variables, for example the mirror's place. Names that Bramble or the agent interface use are not replaced.
    package var environment: [String: String]

    package init(epoch: UInt64, environment: [String: String] = [:]) {
        self.epoch = epoch
        self.environment = environment
    }
}

package enum MonitorReason: Equatable, Sendable {
    /// Is it there at all? Asked before anything was started here.
    case probe
    case regular(depth: Int)
}

/// How an action ended, and why, in words for an operator.
package struct RunResult: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// What was asked for holds now.
        case succeeded
        /// It runs, and says that something is wrong with it (an agent's exit codes 190 and 191).
        case degraded
        /// Answer to `monitor` alone: it is cleanly stopped.
        case notRunning
        case failed(Severity)
    }
    /// What may help; after Pacemaker's classes of recovery.
    package enum Severity: Int, Comparable, Sendable {
        /// Trying again, here or elsewhere.
        case soft
        /// Another node: something is missing here (program, right, package).
        case hard
        /// Nothing but a changed definition: it would fail on every node.
        case fatal
        package static func < (a: Severity, b: Severity) -> Bool { a.rawValue < b.rawValue }
    }

    package var outcome: Outcome
    /// One sentence without a full stop; empty where there is nothing to say.
    package var reason: String
    package var took: Duration

    package init(_ outcome: Outcome, _ reason: String = "", took: Duration = .zero) {
        self.outcome = outcome
        self.reason = reason
        self.took = took
    }

    package var hasFailed: Bool { if case .failed = outcome { true } else { false } }
    package var isRunning: Bool { outcome == .succeeded || outcome == .degraded }
}

/// What runs, as the operator wrote it after `run:`.
package enum Program: Hashable, Sendable {
    /// `systemd:smbd`
    case unit(String)
    /// `ocf:heartbeat:nginx`, with its parameters
    case agent(provider: String, type: String, parameters: [String: String])
    /// `script:/etc/init.d/x`, or a directory with `S??name` and `K??name`
    case script(path: String)
    /// `exec:[/usr/bin/x, -f]`, in the foreground
    case command([String])
}

/// How long each action may take, and how long what has to go may take between SIGTERM and SIGKILL.
package struct Deadlines: Equatable, Sendable {
    /// Default 20 s, as most agents of Debian's resource-agents advise.
    package var start: Duration = .seconds(20)
    package var stop: Duration = .seconds(20)
    package var monitor: Duration = .seconds(20)
    package var validate: Duration = .seconds(20)
    /// From SIGTERM to SIGKILL. Default 3 s.
    package var grace: Duration = .seconds(3)

    package init() {}
}

/// What a service does between actions.
package enum RunnerEvent: Equatable, Sendable {
    /// A line it printed, at most 4 KiB; more lines than people can read are left out and counted.
    case printed(String)
    /// A supervised command ended by itself. `restartsIn` is nil when the policy gives up: it has failed.
    case ended(reason: String, restartsIn: Duration?)
    case restarted
}
