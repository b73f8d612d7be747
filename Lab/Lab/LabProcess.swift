import CLab
import Glibc
import Primitives
import Reactor

/// A process in a host. It is a child of this one, so its number is the real one and signals go straight to it.
package final class LabProcess {
    package enum End: Equatable, Sendable { case exited(Int32), killed(Int32) }

    package let pid: Int32
    private let pidfd: Int32
    private let log: Int32
    private var end: End?

    init(pid: pid_t, log: Int32) {
        self.pid = pid
        self.log = log
        pidfd = clab_pidfd_open(pid)
    }
    /// A program on this machine itself, outside of every lab, which ends it when nobody holds it any more.
    package static func onThisMachine(_ arguments: [String]) throws(LabError) -> LabProcess {
        let log = try check(clab_memory_file("output"), "make a memory file")
        let none = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(none) }
        do throws(LabError) {
            let pid = try Spawn.start(
                arguments, environment: Host.environment, input: none, output: log, errors: log)
            return LabProcess(pid: pid, log: log)
        } catch {
            close(log)
            throw error
        }
    }
    deinit {
        if end == nil {
            signal(SIGKILL)
            _ = wait(.seconds(2))
        }
        close(pidfd)
        close(log)
    }

    /// Does nothing to a process that has ended: its number may be somebody else's by now.
    package func signal(_ number: Int32) {
        if end == nil { Glibc.kill(pid, number) }
    }
    package func freeze() { signal(SIGSTOP) }
    package func thaw() { signal(SIGCONT) }

    package var isRunning: Bool { wait(.zero) == nil }

    /// How it ended, or nil when it still runs after `limit`.
    @discardableResult
    package func wait(_ limit: Duration) -> End? {
        if let end { return end }
        var poll = pollfd(fd: pidfd, events: Int16(POLLIN), revents: 0)
        _ = Glibc.poll(&poll, 1, Int32(clamping: limit.nanoseconds / 1_000_000))
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
        end = status & 0x7F == 0 ? .exited(status >> 8 & 0xFF) : .killed(status & 0x7F)
        return end
    }

    /// SIGTERM, and SIGKILL when that does not help in time.
    @discardableResult
    package func stop(within limit: Duration = .seconds(5)) -> End? {
        signal(SIGTERM)
        signal(SIGCONT)
        if let end = wait(limit) { return end }
        return kill()
    }
    @discardableResult
    package func kill() -> End? {
        signal(SIGKILL)
        return wait(.seconds(5))
    }

    /// All it wrote to stdout and stderr so far.
    package var output: String { output(from: 0) }

    /// What it wrote after so many bytes.
    package func output(from offset: Int) -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = pread(log, &chunk, chunk.count, off_t(offset + bytes.count))
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk[..<count]
        }
    }

    /// What it uses of the machine: resident memory now, processor time since its start.
    package struct Usage: Sendable {
        package var residentBytes: Int
        package var cpuSeconds: Double
    }
    /// Source: proc(5), /proc/PID/statm and /proc/PID/stat; nil when it has ended.
    package var usage: Usage? {
        guard let statm = readWholeFile("/proc/\(pid)/statm"), let stat = readWholeFile("/proc/\(pid)/stat"),
            let pages = statm.split(separator: " ").dropFirst().first.flatMap({ Int($0) }),
            // The second field is the program's name in brackets and may hold spaces.
            let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 12,
            let user = Double(fields[11]), let kernel = Double(fields[12])
        else { return nil }
        return Usage(
            residentBytes: pages * Int(sysconf(Int32(_SC_PAGESIZE))),
            cpuSeconds: (user + kernel) / Double(sysconf(Int32(_SC_CLK_TCK))))
    }
}

/// What a finished command left.
package struct CommandResult: Sendable {
    package var status: Int32
    package var output: String
    package var errors: String
    package var succeeded: Bool { status == 0 }
}

enum Spawn {
    /// Starts a program in the namespaces of the calling thread, and nothing of this process's descriptors in it.
    static func start(
        _ arguments: [String], environment: [String: String], input: Int32, output: Int32, errors: Int32
    ) throws(LabError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // Numbers below 3 would be overwritten before they are copied; descriptors here are always above.
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A child inherits blocked and ignored signals; it must start with neither. Its own group keeps Ctrl-C ours.
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETPGROUP))
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, argv[0]!, &actions, &attributes, &argv, &envp)
        guard code == 0 else { throw .system("start \(arguments[0])", code: code) }
        return pid
    }

    /// Runs a program to its end in the namespaces of `thread`; kills it when it takes longer than `limit`.
    static func run(
        _ arguments: [String], on thread: NamespaceThread, environment: [String: String], input: String,
        within limit: Duration
    ) throws(LabError) -> CommandResult {
        let files = (0..<3).map { _ in clab_memory_file("command") }
        defer { for file in files { close(file) } }
        var bytes = Array(input.utf8)
        guard files.allSatisfy({ $0 >= 0 }), pwrite(files[0], &bytes, bytes.count, 0) == bytes.count else {
            throw .system("make memory files")
        }
        let pid = try thread.run { () throws(LabError) -> pid_t in
            try start(arguments, environment: environment, input: files[0], output: files[1], errors: files[2])
        }
        let process = LabProcess(pid: pid, log: fcntl(files[1], F_DUPFD_CLOEXEC, 3))
        guard let end = process.wait(limit) else {
            process.kill()
            throw LabError("\(arguments.joined(separator: " ")) did not end within \(limit)")
        }
        let status =
            switch end {
            case .exited(let status): status;
            case .killed(let signal): 128 + signal
            }
        return CommandResult(status: status, output: process.output, errors: contents(of: files[2]))
    }

    private static func contents(of file: Int32) -> String {
        let size = Int(lseek(file, 0, SEEK_END))
        guard size > 0 else { return "" }
        var bytes = [UInt8](repeating: 0, count: size)
        let count = pread(file, &bytes, size, 0)
        return String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
    }
}
