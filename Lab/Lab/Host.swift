import CLab
import Glibc
import Primitives

/// One computer of the lab.
package final class Host {
    package let name: String
    /// 1 for the first host; address, hardware address and machine-id come from it.
    package let number: Int
    let thread: NamespaceThread
    private var processes: [LabProcess] = []

    package var address: String { "\(Lab.prefix).\(number)" }
    package var hardwareAddress: String { "02:00:00:00:00:\(hex(number, 2))" }
    package var machineID: String { hex(number, 32) }

    static let environment = [
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
        // A crashed daemon must end at once instead of waiting for a debugger.
        "SWIFT_BACKTRACE": "enable=no",
    ]
    /// What a host may write without the machine outside noticing.
    private static let overlaid = ["etc", "var", "usr", "tmp", "root", "srv"]

    init(name: String, number: Int, world: NamespaceThread) throws(LabError) {
        self.name = name
        self.number = number
        let thread = NamespaceThread(name: name)
        self.thread = thread
        let namespaces = [("mnt", CLAB_NEW_MOUNTS), ("ipc", CLAB_NEW_IPC), ("pid_for_children", CLAB_NEW_PIDS)]
        try thread.run { () throws(LabError) in
            try check(clab_unshare(CLAB_OWN_DIRECTORIES), "leave the process's directories")
            let entered = namespaces.map {
                ($1, open("/proc/self/task/\(world.threadID)/ns/\($0)", O_RDONLY | O_CLOEXEC))
            }
            defer { for (_, file) in entered { close(file) } }
            for (kind, file) in entered { try check(clab_setns(file, kind), "enter the world") }
            try check(clab_unshare(CLAB_NEW_MOUNTS | CLAB_NEW_NETWORK | CLAB_NEW_UTS), "make namespaces")
            try Mount.makePrivate("/")
            try check(clab_set_host_name(name, name.utf8.count), "name the host \(name)")
        }
        // The world's `ip` finds the host's network under its name.
        let network = "/proc/self/task/\(thread.threadID)/ns/net"
        try world.run { () throws(LabError) in
            let file = "/run/netns/\(name)"
            close(try check(open(file, O_CREAT | O_EXCL | O_CLOEXEC, 0o444), "make \(file): is the name taken?"))
            try Mount.bind(network, on: file)
        }
        try thread.run { () throws(LabError) in try makeFiles() }
        // Only a process inside the world's process numbers can mount its /proc.
        try require("mount", "-t", "proc", "proc", "/proc")
    }

    private func makeFiles() throws(LabError) {
        let base = "/run/lab/\(name)"
        try check(mkdir(base, 0o755), "make \(base)")
        for directory in Host.overlaid {
            let (upper, work) = ("\(base)/\(directory)", "\(base)/.\(directory)")
            var mode = stat()
            stat("/\(directory)", &mode)
            mkdir(upper, 0o755)
            mkdir(work, 0o755)
            chmod(upper, mode.st_mode & 0o7777)
            try Mount.overlay(on: "/\(directory)", upper: upper, work: work)
        }
        try Mount.sysfs()
        try Mount.tmpfs(on: "/run")
        chdir("/")
        try writeWholeFile("\(machineID)\n", to: "/etc/machine-id")
        try writeWholeFile("\(name)\n", to: "/etc/hostname")
        try writeWholeFile("127.0.0.1 localhost\n::1 localhost\n", to: "/etc/hosts")
        chmod("/etc/hosts", 0o644)
    }

    /// Gives the host its address and brings its links up.
    package func configureNetwork() throws(LabError) {
        try require(
            ["ip", "-batch", "-"],
            input: """
                link set lo up
                address replace \(address)/24 dev eth0
                link set eth0 up

                """)
    }

    /// A file system of the host's own, in memory, over a directory that the machine outside has.
    package func addDisk(at path: String) throws(LabError) {
        try thread.run { () throws(LabError) in try Mount.tmpfs(on: path) }
    }

    /// Gives the host a root directory of its own, in memory, with what the machine outside has in it but for these: what is
    /// made there is gone with the host. For programs that are started from here on.
    package func ownRoot(without missing: Set<String>) throws(LabError) {
        try thread.run { () throws(LabError) in
            let root = "/run/root"
            try check(mkdir(root, 0o755), "make \(root)")
            try Mount.tmpfs(on: root)
            try Mount.keepOutOfCopies(root)
            for name in entries(of: "/") where !missing.contains(name) {
                let (old, new) = ("/\(name)", "\(root)/\(name)")
                var status = stat()
                guard lstat(old, &status) == 0 else { continue }
                switch status.st_mode & S_IFMT {
                case S_IFDIR:
                    try check(mkdir(new, 0o755), "make \(new)")
                    try Mount.bindAll(old, on: new)
                case S_IFLNK:
                    var target = [CChar](repeating: 0, count: Int(PATH_MAX))
                    try check(Int32(readlink(old, &target, target.count - 1)), "read the link \(old)")
                    try check(symlink(target, new), "make \(new)")
                default: break
                }
            }
            try check(chroot(root), "enter \(root)")
            chdir("/")
        }
    }

    /// As when the machine is switched off and on: whatever runs on the host ends at once, also what it left behind, and
    /// neither is mounted what was of that kind, nor is there anything in these folders of `/run`.
    package func loseEverything(mountedAs kind: String, run folders: [String]) throws(LabError) {
        killAll()
        let script = """
            own=$(readlink /proc/self/ns/net)
            for process in /proc/[0-9]*; do
                number=${process#/proc/}
                [ $number = $$ ] || [ "$(readlink $process/ns/net)" != "$own" ] || kill -KILL $number
            done
            while read -r _ place found _; do [ $found != \(kind) ] || umount -l $place; done </proc/mounts
            rm -rf \(folders.map { "/run/\($0)" }.joined(separator: " "))
            """
        try require("sh", "-c", script)
    }

    /// Starts the daemon of GlusterFS as its service would, and waits until it answers. Its state, its logs and `/tmp`,
    /// where it leaves files of fixed names, are the host's own.
    @discardableResult
    package func startGlusterd(within limit: Duration = .seconds(30)) throws(LabError) -> LabProcess {
        let process = try spawn(["glusterd", "--no-daemon"])
        let isUp = eventually(within: limit) {
            ((try? run(["gluster", "--mode=script", "pool", "list"]))?.succeeded ?? false) ? true : nil
        }
        guard isUp == true else { throw LabError("glusterd of \(name) does not answer: \(process.output)") }
        return process
    }

    // MARK: Programs

    /// Runs a command to its end.
    @discardableResult
    package func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:],
        within limit: Duration = .seconds(10)
    ) throws(LabError) -> CommandResult {
        try Spawn.run(
            arguments, on: thread, environment: Host.environment.merging(environment) { $1 }, input: input,
            within: limit)
    }
    @discardableResult
    package func run(_ arguments: String...) throws(LabError) -> CommandResult { try run(arguments) }

    /// The same, for commands that must succeed; their output.
    @discardableResult
    package func require(_ arguments: [String], input: String = "") throws(LabError) -> String {
        let result = try run(arguments, input: input)
        guard result.succeeded else {
            throw LabError(
                "on \(name): \(arguments.joined(separator: " ")) ended with \(result.status): \(result.errors)")
        }
        return result.output
    }
    @discardableResult
    package func require(_ arguments: String...) throws(LabError) -> String { try require(arguments) }

    /// Starts a program that stays. Its output is kept in memory.
    package func spawn(_ arguments: [String], environment: [String: String] = [:]) throws(LabError) -> LabProcess {
        let log = try check(clab_memory_file("output"), "make a memory file")
        let none = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(none) }
        do throws(LabError) {
            let pid = try thread.run { () throws(LabError) -> pid_t in
                try Spawn.start(
                    arguments, environment: Host.environment.merging(environment) { $1 }, input: none, output: log,
                    errors: log)
            }
            let process = LabProcess(pid: pid, log: log)
            processes.removeAll { !$0.isRunning }
            processes.append(process)
            return process
        } catch {
            close(log)
            throw error
        }
    }

    /// Stops every started program for a while: a machine that hangs.
    package func freeze() { for process in processes { process.freeze() } }
    package func thaw() { for process in processes { process.thaw() } }
    func killAll() {
        for process in processes { process.signal(SIGKILL) }
        for process in processes { process.wait(.seconds(5)) }
        processes = []
    }
    func leave() { thread.stop() }

    // MARK: Inside

    /// Runs `body` on the host's own thread: paths and new sockets are the host's.
    package func inside<Result>(_ body: () throws(LabError) -> Result) throws(LabError) -> Result {
        try thread.run(body)
    }
    package func read(_ path: String) -> String? { thread.run { readWholeFile(path) } }
    package func exists(_ path: String) -> Bool { thread.run { access(path, F_OK) == 0 } }
    /// Replaces the file.
    package func write(_ text: String, to path: String) throws(LabError) {
        try thread.run { () throws(LabError) in try writeWholeFile(text, to: path) }
    }

    /// A datagram socket of the host, bound to a port (0: any).
    package func datagramSocket(port: UInt16 = 0) throws(LabError) -> DatagramSocket {
        try inside { () throws(LabError) in try DatagramSocket(port: port) }
    }

    /// A stream from this host to an address it can reach.
    package func connect(to address: String, port: UInt16, limit: Duration) throws(LabError) -> Connection {
        try inside { () throws(LabError) in try Connection(host: address, port: port, limit: limit) }
    }
    /// A stream to a socket of this host's file system.
    package func connect(unix path: String, limit: Duration) throws(LabError) -> Connection {
        try inside { () throws(LabError) in try Connection(unix: path, limit: limit) }
    }

    private func hex(_ number: Int, _ width: Int) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: width - digits.count) + digits
    }
}
