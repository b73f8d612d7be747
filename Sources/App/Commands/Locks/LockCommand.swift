import BrambleAPI
import Glibc
import Primitives

/// `bramble lock`: a command that runs only while this node holds a lock of the cluster.
enum LockCommand {
    private static let name = Argument(
        "NAME", .text("NAME", allowed: "a lock's name: letters, digits, hyphens, dots and underscores"),
        required: false,
        "Which lock. None lists those that are held")
    private static let wait = Option(
        "wait", .integer("SECONDS", in: 0...86_400), "Give up after so long; without it, wait until it is free")
    private static let words = Words("COMMAND", required: false, "What to run, with its arguments, behind --")

    static let command = Command(
        asking: "lock", "Run a command only while this node holds a lock",
        details: """
            One node of the cluster at a time holds a lock. The command has the lock's epoch, which grows with each holder, in \
            $BRAMBLE_EPOCH: give it to what the command writes to, and let that refuse smaller ones. Where the lock cannot be \
            kept the command gets SIGTERM, then SIGKILL, with all that it started, before another node can have the lock. The \
            exit code is the command's own; 1 when the lock was not free in time or was lost.
            """,
        section: .change, accepts: [name, wait, words, Shared.json],
        examples: ["bramble lock", "bramble lock nightly --wait 0 -- /usr/local/bin/backup.sh"]
    ) { input, console, api in
        guard let lock = input[name] else { return try await list(input, console, api) }
        guard !input[words].isEmpty else {
            throw UsageError(
                problem: "“lock” needs a command to run while the lock “\(lock)” is held",
                remedy: "write it behind --: bramble lock \(lock) -- COMMAND; who holds which lock: bramble lock")
        }
        guard input[Connection.api] == nil else {
            throw UsageError(
                problem: "a lock is held by the node on which its command runs", remedy: "leave --api out")
        }
        let code = try await KeptLock(name: lock, words: input[words], console: console, api: api)
            .run(wait: input[wait])
        if code != 0 { throw ExitRequest(code: code) }
    }

    private static func list(_ input: Input, _ console: Console, _ api: BrambleClient) async throws {
        let locks = try await api.locks()
        if input[Shared.json] { return try console.printJSON(locks) }
        guard !locks.isEmpty else { return console.say("No lock is held, as far as this node knows.") }
        var table = Table(columns: [
            .init(title: "LOCK"), .init(title: "HELD BY"), .init(title: "EPOCH", alignRight: true),
            .init(title: "WAITING HERE", alignRight: true, dropOrder: 1),
        ])
        table.rows = locks.map {
            [.init($0.name, .strong), .init($0.node ?? "nobody"), .init("\($0.epoch)"), .init("\($0.waiting)")]
        }
        console.terminal.write(table.rendered(for: console.terminal))
    }
}

/// One run: waits for the lock, starts the process that keeps the command within it, and passes renewals on.
private struct KeptLock {
    let name: String
    let words: [String]
    let console: Console
    let api: BrambleClient

    func run(wait: Int?) async throws -> Int32 {
        var child: ChildProgram.Running?
        var epoch: UInt64 = 0
        var pipe: Int32 = -1
        let mark = "lock-\(getpid())"
        defer { if pipe >= 0 { close(pipe) } }
        let news = api.hold(lock: name, wait: wait)
        do {
            for try await one in news {
                switch one.state {
                case .waiting: continue
                case .gaveUp: throw notFree(one)
                case .held:
                    if child == nil {
                        epoch = one.epoch
                        (child, pipe) = try start(mark, one)
                        let (running, held) = (child!, epoch)
                        // Its end ends the stream, which would else go on for as long as the lock is held.
                        let api = api
                        let lock = name
                        Task.detached {
                            await running.waitForEnd()
                            // Only now nothing is left of it; what was lost meanwhile needs no giving back.
                            _ = try? await api.release(lock: lock, epoch: held)
                        }
                    } else {
                        var until = one.untilNs
                        _ = write(pipe, &until, 8)
                    }
                // Nothing more comes; the keeper notices that nobody renews.
                case .lost: continue
                }
            }
        } catch {
            // The daemon went away, or never answered. A command that runs is ended when the term is over.
            guard child != nil else { throw error }
        }
        guard let child else {
            throw CommandFailure(
                problem: "the node stopped before the lock “\(name)” was free", remedy: "try again when it runs")
        }
        if pipe >= 0, await child.status == nil {
            close(pipe)
            pipe = -1
        }
        await child.waitForEnd()
        if await child.wasKilled { ChildProgram.end(mark) }
        return await child.code
    }

    private func start(_ mark: String, _ news: LockNews) throws -> (ChildProgram.Running, Int32) {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else {
            throw CommandFailure(
                problem: "cannot make a pipe: \(String(cString: strerror(errno)))", remedy: "close some programs")
        }
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        // A keeper that hangs must not hold this process up.
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        defer { close(ends[0]) }
        setenv("BRAMBLE_EPOCH", "\(news.epoch)", 1)
        setenv("BRAMBLE_LOCK", name, 1)
        do {
            let running = try ChildProgram.startSelf(
                ["lock-run", mark, name, "\(news.untilNs)", "--"] + words, descriptor: ends[0], as: 3)
            return (running, ends[1])
        } catch {
            close(ends[1])
            throw error
        }
    }

    private func notFree(_ news: LockNews) -> CommandFailure {
        let who = news.holder.map { "\($0) holds it" } ?? (news.reason.isEmpty ? "it was not free" : news.reason)
        return CommandFailure(
            problem: "the lock “\(name)” was not got in time: \(who)", remedy: "wait longer with --wait, or try later")
    }
}
