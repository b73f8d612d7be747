import Glibc
import Primitives
import Processes
import Reactor
import Runners
import Services

/// Plays the daemon for the guard's tests: it is the process that is stopped and killed. And it is the guard itself, as
/// the real program is.
enum Stage {
    static func main() -> Never {
        signal(SIGPIPE, SIG_IGN)
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "keep" { exit(KeptCommand.run(Array(arguments.dropFirst()), environment: [:])) }
        if arguments.first == "guard" { exit(GuardProcess.run(Array(arguments.dropFirst()))) }
        Task.detached { exit(await play(arguments)) }
        while true { pause() }
    }

    /// play SCOPE MOUNT|- LEASE-MS WATCHDOG|- COMMAND...
    ///
    /// Starts a service under a lease that it renews every 20 ms, says what it did, and then does what it is told by
    /// lines on its standard input: `silent` (no more renewals), `hand-over` (end in order, the service goes on), `stop`.
    private static func play(_ arguments: [String]) async -> Int32 {
        let loop = EventLoop(name: "stage")
        let mount = arguments[2] == "-" ? nil : arguments[2]
        let tree = ProcessTree(scope: arguments[1], mount: mount, avoidsControlGroups: mount == nil)
        let spawner = Spawner(on: loop)
        let watchdog = arguments[4] == "-" ? nil : Guard.Watchdog(path: arguments[4], timeout: .seconds(1))
        let guardian: Guard
        do throws(Guard.Failure) {
            guardian = try await Guard.start(with: spawner, in: tree, watchdog: watchdog)
        } catch {
            say("failed \(error.problem)")
            return 1
        }
        let runners = ServiceRunners(
            .init(node: "alpha"), spawner: spawner, tree: tree, guardian: guardian,
            report: { _, event in say("event \(event)") })
        let name = ServiceName("job")!
        let plan = RunPlan(run: .exec(Array(arguments.dropFirst(5))), parameters: [])
        let lease = Duration.milliseconds(Int64(arguments[3]) ?? 1000)
        _ = runners.arm(name, until: SystemClock.now + lease)
        let isSilent = Locked(false)
        let renewals = EventLoop(name: "renewals")
        renew(runners, name, lease, on: renewals, isSilent)
        let result = await runners.start(name, plan, epoch: Epoch(3), within: .seconds(30))
        guard result == .done else {
            say("failed \(result)")
            return 1
        }
        say("guard \(await guardian.process ?? 0)")
        say("ready \(getpid())")
        while let line = await words() {
            switch line {
            case "silent": isSilent.withLock { $0 = true }
            case "guard": say("guard \(await guardian.process ?? 0)")
            case "start": say("start \(await runners.start(name, plan, epoch: Epoch(4), within: .seconds(30)))")
            case "hand-over":
                isSilent.withLock { $0 = true }
                await guardian.endOrderly()
                return 0
            case "stop":
                _ = await runners.stop(name, plan, within: .seconds(5))
                runners.disarm(name)
                await guardian.endOrderly()
                tree.remove()
                return 0
            default: say("what is \(line)?")
            }
        }
        return 0
    }

    private static func renew(
        _ runners: ServiceRunners, _ name: ServiceName, _ lease: Duration, on loop: EventLoop, _ isSilent: Locked<Bool>
    ) {
        loop.schedule(after: .milliseconds(20)) {
            if isSilent.withLock({ $0 }) { return }
            runners.renew(name, until: SystemClock.now + lease)
            renew(runners, name, lease, on: loop, isSilent)
        }
    }

    private static func words() async -> String? {
        await withCheckedContinuation { continuation in
            let reader = EventLoop(name: "reader")
            reader.perform {
                let line = readLine()
                reader.stop()
                continuation.resume(returning: line)
            }
        }
    }

    private static func say(_ text: String) {
        let line = "\(text)\n"
        _ = line.withCString { write(STDOUT_FILENO, $0, strlen($0)) }
    }
}
