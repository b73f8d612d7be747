package import Primitives
package import Services

/// One way to run a service: a systemd unit, a resource agent, scripts, a command.
///
/// Every action is idempotent and ends: what is not finished within its time is ended with all its children. Nothing
/// here decides: when to start, to restart, to move or to give up is the services core's business.
package protocol Runner: Sendable {
    /// Starts the service. Success means that it can be used, also where it ran already.
    func start(_ occasion: Occasion, within limit: Duration) async -> RunResult

    /// Stops it; a start or check that is under way ends at once. Success means that nothing of it is left: no process,
    /// and with an agent no resource. It goes on to SIGKILL by itself; what fails even so is quarantine's business.
    func stop(within limit: Duration) async -> RunResult

    /// Says whether it runs.
    func monitor(_ reason: MonitorReason, within limit: Duration) async -> RunResult

    /// Says whether it could run here: the program is there, the parameters make sense. Changes nothing.
    func validate(within limit: Duration) async -> RunResult
}

extension Runner {
    /// At the daemon's start nothing is adopted: whatever runs was started under a lease that nobody can vouch for.
    /// Success means that the service does not run. Only what a probe calls cleanly stopped is left alone.
    package func stopIfFound(within limit: Duration) async -> RunResult {
        let found = await monitor(.probe, within: limit)
        return found.outcome == .notRunning ? found : await stop(within: limit)
    }
}

/// With what a service is started: both are in its environment, so that storage or a peer can refuse an older holder.
package struct Occasion: Equatable, Sendable {
    /// The fencing number of the lease under which it starts: $BRAMBLE_EPOCH.
    package var epoch: Epoch
    /// More variables. Names that Bramble or the agent interface use are not replaced.
    package var environment: [String: String]
    /// The count of stops when the start was ordered; nil: as it is when the start begins.
    var ticket: Int?

    package init(epoch: Epoch, environment: [String: String] = [:]) {
        self.epoch = epoch
        self.environment = environment
    }
}

package enum MonitorReason: Equatable, Sendable {
    /// Is it there at all? Asked before anything was started here.
    case probe
    /// `depth` is an agent's check level: 0 quick, 10 usual, 20 thorough. Others ignore it.
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
        case failed(OrderResult.Failure.Reach)
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

    /// As the services core wants it. To a check, "cleanly stopped" is a failure; a degraded service still serves.
    package var orderResult: OrderResult {
        switch outcome {
        case .succeeded, .degraded: .done
        case .notRunning: .failed(.init(reason.isEmpty ? "it does not run" : reason))
        case .failed(let reach): .failed(.init(reason, reach: reach))
        }
    }
}

/// What a service does between orders.
package enum RunnerEvent: Equatable, Sendable {
    /// A line it printed, at most 4 KiB; more lines than people can read are left out and counted.
    case printed(String)
    /// A command that should stay in the foreground ended by itself. What it left behind was ended, too.
    case ended(how: String)
}
