import CLinux
import Glibc
import Primitives
import Processes
import Reactor

/// `bramble lock-run`: the process between `bramble lock` and its command. It ends the command, with all that descends from
/// it, before the lock's term does, whoever else hangs or dies.
///
/// `bramble lock` tells it of each renewal through a pipe. Where that is silent the term runs out; where it is closed
/// there is nobody left who could renew. It has one thread and takes no lock.
package enum KeptCommand {
    /// Renewals: the end of the term each, CLOCK_BOOTTIME in nanoseconds, 8 bytes as this machine stores them.
    package static let renewals: Int32 = 3
    /// Before the end of a term: when the command is asked to end, and when it is ended. The second is what ending takes
    /// on a busy machine; the lease's own rules leave others out for 10 ms more.
    package static let asksBefore = Duration.milliseconds(100)
    package static let endsBefore = Duration.milliseconds(20)

    /// - Parameter arguments: MARK LOCK UNTIL -- COMMAND …; or --kill MARK.
    /// - Parameter environment: what the command gets, with a mark of ours added.
    package static func run(_ arguments: [String], environment: [String: String]) -> Int32 {
        if arguments.count == 2, arguments[0] == "--kill" {
            GroupName.mark(arguments[1]).kill()
            return 0
        }
        guard arguments.count > 4, arguments[3] == "--", let until = Int64(arguments[2]),
            fcntl(renewals, F_SETFD, FD_CLOEXEC) == 0
        else {
            say("bramble: lock-run is started by bramble lock; there is nothing for people here")
            return 2
        }
        _ = clinux_round_robin(5)
        signal(SIGPIPE, SIG_IGN)
        // What a terminal or a manager wants of the command: it is in a session of its own, so it is passed on.
        for number in passedOn { signal(number) { pendingSignal = $0 } }
        _ = fcntl(renewals, F_SETFL, O_NONBLOCK)
        var keeper = Keeper(
            mark: arguments[0], lock: arguments[1], until: Instant(nanoseconds: until), words: Array(arguments[4...]),
            environment: environment)
        return keeper.run()
    }

    private static let passedOn = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH]

    fileprivate static func say(_ text: String) {
        _ = (text + "\n").withCString { write(STDERR_FILENO, $0, strlen($0)) }
    }

    private struct Keeper {
        let mark: String
        let lock: String
        var until: Instant
        let words: [String]
        let environment: [String: String]
        var isAsked = false
        var isLost = false
        var hasNobody = false

        mutating func run() -> Int32 {
            var variables = environment
            variables[GroupName.variable] = mark
            var place = [CChar](repeating: 0, count: 4096)
            let directory = getcwd(&place, place.count) == nil ? "/" : text(place)
            guard let path = find(words[0], variables["PATH"]) else {
                say("bramble: there is no program “\(words[0])”\nremedy: give its path, or see that it is installed")
                return 127
            }
            let command = Command(
                path, Array(words.dropFirst()), environment: variables, directory: directory)
            guard mayBegin() else {
                return pendingSignal == 0 ? lost("so the command was not started") : 128 + pendingSignal
            }
            let child: Child
            do throws(SpawnFailure) {
                child = try Child.spawn(command, descriptors: [0, 1, 2])
            } catch {
                say("bramble: \(error.problem)\nremedy: \(error.remedy)")
                return 126
            }
            let end = watch(child)
            // What it left running must not outlive the lock.
            GroupName.mark(mark).kill()
            if isLost { return lost("so the command was ended") }
            switch end {
            case .exited(let code): return code
            case .signalled(let number): return 128 + number
            }
        }

        private func lost(_ consequence: String) -> Int32 {
            say(
                "bramble: the lock “\(lock)” could not be kept, \(consequence)\nremedy: see why: bramble events; run it again "
                    + "when the cluster is well")
            return 1
        }

        /// On a busy machine the term may have ended before this process ran, and been renewed meanwhile. Nothing is begun
        /// outside of a term; what is not renewed is lost as soon as nobody is there any more who could.
        private mutating func mayBegin() -> Bool {
            while true {
                hear()
                if hasNobody || pendingSignal != 0 { return false }
                if SystemClock.now < until - KeptCommand.asksBefore { return true }
                var wait = pollfd(fd: KeptCommand.renewals, events: Int16(POLLIN), revents: 0)
                _ = poll(&wait, 1, 100)
            }
        }

        private mutating func watch(_ child: Child) -> ProcessEnd {
            while true {
                if let end = child.reap() { return end }
                // Before the time is judged: this process may have been kept waiting, while its lock was renewed.
                if !hasNobody { hear() }
                if pendingSignal != 0 {
                    let number = pendingSignal
                    pendingSignal = 0
                    _ = kill(-child.process, number)
                }
                let now = SystemClock.now
                if now >= until - KeptCommand.endsBefore {
                    isLost = true
                    GroupName.mark(mark).kill()
                    _ = kill(-child.process, SIGKILL)
                    _ = clinux_signal_process(child.handle, SIGKILL)
                } else if hasNobody || now >= until - KeptCommand.asksBefore, !isAsked {
                    isAsked = true
                    isLost = true
                    _ = kill(-child.process, SIGTERM)
                }
                wait(child, now)
            }
        }

        private mutating func wait(_ child: Child, _ now: Instant) {
            let next = isAsked ? until - KeptCommand.endsBefore : until - KeptCommand.asksBefore
            let limit = min(max((next - now).milliseconds + 1, 1), 100)
            var waits = [
                pollfd(fd: child.handle, events: Int16(POLLIN), revents: 0),
                pollfd(fd: hasNobody ? -1 : KeptCommand.renewals, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&waits, 2, Int32(limit))
        }

        /// Takes the renewals that are there.
        private mutating func hear() {
            var word: Int64 = 0
            while true {
                let count = read(KeptCommand.renewals, &word, 8)
                if count == 8 {
                    // After it was asked to end there is no way back: it may have begun to.
                    if !isAsked { until = max(until, Instant(nanoseconds: word)) }
                } else if count < 0, errno == EINTR {
                    continue
                } else {
                    if count == 0 { hasNobody = true }
                    return
                }
            }
        }

        /// As a shell looks for it.
        private func find(_ name: String, _ path: String?) -> String? {
            if name.contains("/") { return name }
            for folder in (path ?? Command.searchPath).split(separator: ":") {
                let candidate = "\(folder)/\(name)"
                if access(candidate, X_OK) == 0 { return candidate }
            }
            return nil
        }
        private func text(_ bytes: [CChar]) -> String {
            String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}

/// Set by a signal handler, read by the only thread there is.
nonisolated(unsafe) private var pendingSignal: Int32 = 0
