import CLinux
import Glibc
import Primitives
import Reactor

/// Names all processes of a service, however often they fork: what the guard is told, and all that it needs to end them.
package enum GroupName: Hashable, Sendable, CustomStringConvertible {
    /// A directory of control group version 2. A process cannot leave it by forking.
    case controlGroup(path: String)
    /// Where there are none: processes with `BRAMBLE_RUN=` this in their environment, those of their sessions, and what
    /// descends from them. A daemon that both leaves its session and wipes its environment is not found.
    case mark(String)

    package static let variable = "BRAMBLE_RUN"

    package var description: String {
        switch self {
        case .controlGroup(let path): "the processes in \(path)"
        case .mark(let mark): "the processes marked \(Self.variable)=\(mark)"
        }
    }

    /// Ends all of them now. Works on stopped and frozen processes, too.
    package func kill() {
        switch self {
        case .controlGroup(let path):
            if ControlGroups.write("1", to: "\(path)/cgroup.kill") { return }
            // Kernels before 5.14: again and again, since they may fork meanwhile.
            signalAll(SIGKILL)
        case .mark: signalAll(SIGKILL)
        }
    }

    /// One signal to each. New ones may be forked meanwhile: only SIGKILL is repeated until none is left.
    package func signalAll(_ number: Int32) {
        for _ in 0..<20 {
            let found = members()
            for one in found { _ = Glibc.kill(one, number) }
            if found.isEmpty || number != SIGKILL { return }
        }
    }

    package func members() -> [Int32] {
        switch self {
        case .controlGroup(let path): ControlGroups.processes(below: path)
        case .mark(let mark): ProcessTable.marked(mark)
        }
    }

    /// Zombies do not count: they run nothing.
    package var isEmpty: Bool {
        switch self {
        case .controlGroup(let path):
            guard let events = ControlGroups.read("\(path)/cgroup.events") else { return true }
            return !events.contains("populated 1")
        case .mark: return members().isEmpty
        }
    }
}

/// All processes of one run of one service. Its actions get groups of their own within, so that a monitor that hangs is
/// ended without the service.
package final class ProcessGroup: Sendable {
    package let name: GroupName
    private let counter = Locked<UInt64>(0)

    package init(_ name: GroupName) { self.name = name }

    /// Where the service itself runs, and where one action does.
    package enum Part: Equatable { case service, action(UInt64) }

    package func newAction() -> Part {
        .action(
            counter.withLock {
                $0 += 1
                return $0
            })
    }

    package func name(of part: Part) -> GroupName {
        switch (name, part) {
        case (.controlGroup(let path), .service): .controlGroup(path: "\(path)/run")
        case (.controlGroup(let path), .action(let number)): .controlGroup(path: "\(path)/action-\(number)")
        case (.mark(let mark), .service): .mark("\(mark)/run")
        case (.mark(let mark), .action(let number)): .mark("\(mark)/action-\(number)")
        }
    }

    /// What a child of this part has in its environment, and the open cgroup.procs that it writes itself into (-1: none).
    package func enter(_ part: Part) -> (variable: String?, descriptor: Int32) {
        switch name(of: part) {
        case .mark(let mark): return (mark, -1)
        case .controlGroup(let path):
            mkdir(path, 0o755)
            let descriptor = open("\(path)/cgroup.procs", O_WRONLY | O_CLOEXEC)
            // Without its group a child must not run: a bad descriptor makes the spawn fail.
            return (nil, descriptor >= 0 ? descriptor : Int32.max)
        }
    }

    /// After an action: its group goes, and what it left running with it.
    package func leave(_ part: Part) {
        let name = name(of: part)
        guard part != .service, case .controlGroup(let path) = name else {
            if part != .service, !name.isEmpty { name.kill() }
            return
        }
        if rmdir(path) == 0 { return }
        name.kill()
        // The killed ones need a moment; `remove` takes what is still there then.
        rmdir(path)
    }

    /// Takes the empty directories away. False when something is in them.
    @discardableResult
    package func remove() -> Bool {
        guard case .controlGroup(let path) = name else { return name.isEmpty }
        return ControlGroups.remove(path)
    }
}

/// Where the groups of this daemon's services are.
package final class ProcessTree: Sendable {
    package enum Kind: Equatable, Sendable {
        case controlGroups(path: String)
        /// Control groups cannot be used, for this reason.
        case marks(reason: String)
    }
    package let kind: Kind
    private let scope: String
    private let instance: String
    private let counter = Locked<UInt64>(0)

    /// - Parameter scope: tells apart the daemons of one machine, for example the node's identity; letters, digits, `-`.
    /// - Parameter mount: where control group version 2 is; found in /proc when nil.
    package init(scope: String, mount: String? = nil, avoidsControlGroups: Bool = false) {
        self.scope = scope
        instance = "\(getpid())-\(SystemClock.now.nanoseconds / 1_000_000)"
        kind = avoidsControlGroups ? .marks(reason: "as asked") : ControlGroups.home(scope: scope, mount: mount)
    }

    /// A new group for a run of a service. Names are never used twice, so that an older guard cannot hit a newer run.
    package func makeGroup(for service: String) throws(GroupFailure) -> ProcessGroup {
        let number = counter.withLock {
            $0 += 1
            return $0
        }
        let safe = String(service.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) ? $0 : "_" })
        switch kind {
        case .marks: return ProcessGroup(.mark("\(scope)/\(instance)/\(safe)/\(number)"))
        case .controlGroups(let path):
            let directory = "\(path)/\(safe.prefix(64)).\(instance).\(number)"
            guard mkdir(directory, 0o755) == 0 || errno == EEXIST, mkdir("\(directory)/run", 0o755) == 0 else {
                throw GroupFailure(path: directory, code: errno)
            }
            return ProcessGroup(.controlGroup(path: directory))
        }
    }

    /// Ends what an earlier daemon of this scope left running. Before anything is started. Returns how many processes
    /// there were.
    package func sweep() -> Int {
        switch kind {
        case .marks:
            let left = GroupName.mark(scope)
            let count = left.members().count
            left.kill()
            return count
        case .controlGroups(let path):
            var count = 0
            for name in ControlGroups.directories(in: path) {
                let group = GroupName.controlGroup(path: "\(path)/\(name)")
                count += group.members().count
                group.kill()
                let deadline = SystemClock.now + .seconds(2)
                while !ControlGroups.remove("\(path)/\(name)"), SystemClock.now < deadline { usleep(2000) }
            }
            return count
        }
    }

    /// Takes its own directory away, when nothing is in it.
    package func remove() {
        if case .controlGroups(let path) = kind { ControlGroups.remove(path) }
    }
}

package struct GroupFailure: OperatorError, Equatable {
    package let path: String
    package let code: Int32
    package var problem: String { "no control group could be made at \(path): \(String(cString: strerror(code)))" }
    package var remedy: String { "the service needs Delegate=yes, and ProtectControlGroups=no: systemctl cat bramble" }
}

/// Files of control group version 2.
package enum ControlGroups {
    /// A directory of our own below the group that this process is in.
    package static func home(scope: String, mount: String?) -> ProcessTree.Kind {
        guard let root = mount ?? findMount() else {
            return .marks(reason: "control groups (version 2) are not mounted")
        }
        let lines = (read("/proc/self/cgroup") ?? "").split(separator: "\n")
        guard let own = lines.first(where: { $0.hasPrefix("0::/") })?.dropFirst(3) else {
            return .marks(reason: "this process is in no control group of version 2")
        }
        // With a namespace of control groups, or a mount of a part, the path may lead nowhere.
        let base = root + (own == "/" ? "" : String(own))
        let path = "\(base)/bramble-\(scope)"
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            return .marks(reason: "\(path) cannot be made: \(String(cString: strerror(errno)))")
        }
        guard access("\(path)/cgroup.procs", W_OK) == 0 else {
            return .marks(reason: "\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        return .controlGroups(path: path)
    }

    private static func findMount() -> String? {
        // 29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw
        for line in (read("/proc/self/mountinfo") ?? "").split(separator: "\n") {
            let halves = line.split(separator: " ").split(separator: "-", maxSplits: 1)
            guard halves.count == 2, halves[1].first == "cgroup2", halves[0].count > 4 else { continue }
            return String(halves[0][halves[0].startIndex + 4])
        }
        return nil
    }

    /// The directory of a path that systemd names.
    package static func unitPath(_ path: String) -> String { (findMount() ?? "/sys/fs/cgroup") + path }

    package static func read(_ path: String, limit: Int = 1 << 20) -> String? {
        SmallFile.read(path, limit: limit).map { String(decoding: $0, as: UTF8.self) }
    }

    package static func write(_ text: String, to path: String) -> Bool {
        let file = open(path, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        return Glibc.write(file, text, text.utf8.count) == text.utf8.count
    }

    package static func directories(in path: String) -> [String] {
        SmallFile.names(in: path) { $0.pointee.d_type == UInt8(DT_DIR) }
    }

    package static func processes(below path: String) -> [Int32] {
        let own = (read("\(path)/cgroup.procs") ?? "").split(separator: "\n").compactMap { pid_t($0) }
        return own.filter { $0 > 1 } + directories(in: path).flatMap { processes(below: "\(path)/\($0)") }
    }

    @discardableResult
    package static func remove(_ path: String) -> Bool {
        for name in directories(in: path) where !remove("\(path)/\(name)") { return false }
        return rmdir(path) == 0 || errno == ENOENT
    }
}

/// Small files of /proc, /sys and the operator's.
package enum SmallFile {
    /// Nil when it cannot be read; cut off at the limit.
    package static func read(_ path: String, limit: Int) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 8192)
        while content.count < limit {
            let count = Glibc.read(file, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { break }
            content += buffer[..<count]
        }
        return content
    }

    /// Sorted, without those that begin with a dot.
    package static func names(in path: String) -> [String] { names(in: path) { _ in true } }

    static func names(in path: String, where isWanted: (UnsafeMutablePointer<dirent>) -> Bool) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var result: [String] = []
        while let entry = readdir(directory) {
            guard isWanted(entry) else { continue }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { result.append(name) }
        }
        return result.sorted()
    }
}

/// What /proc tells about processes: the fallback where there are no control groups.
package enum ProcessTable {
    private struct Entry {
        var process: pid_t
        var parent: pid_t
        var session: pid_t
    }

    /// Processes that carry the mark, or one below it, those of the same sessions, and all that descend from them.
    package static func marked(_ mark: String) -> [Int32] {
        let wanted = Array("\(GroupName.variable)=\(mark)".utf8)
        let own = getpid()
        let ownSession = getsid(0)
        let entries = SmallFile.names(in: "/proc").compactMap { pid_t($0) }.filter { $0 > 1 && $0 != own }
            .compactMap { entry(of: $0) }
        var members: Set<pid_t> = []
        for one in entries {
            let variables = SmallFile.read("/proc/\(one.process)/environ", limit: 256 * 1024) ?? []
            let isMarked = variables.split(separator: 0).contains { variable in
                variable.starts(with: wanted)
                    && (variable.count == wanted.count || variable.dropFirst(wanted.count).first == UInt8(ascii: "/"))
            }
            if isMarked { members.insert(one.process) }
        }
        var isComplete = members.isEmpty
        while !isComplete {
            let sessions = Set(entries.filter { members.contains($0.process) }.map(\.session)).subtracting([
                ownSession, 0,
            ])
            let before = members.count
            for one in entries where sessions.contains(one.session) || members.contains(one.parent) {
                members.insert(one.process)
            }
            isComplete = members.count == before
        }
        return members.sorted()
    }

    /// Nil for a zombie and for what is gone. Fields of /proc/PID/stat after the name, which may hold anything.
    private static func entry(of process: pid_t) -> Entry? {
        guard let bytes = SmallFile.read("/proc/\(process)/stat", limit: 4096),
            let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).split(separator: " ")
        guard fields.count > 3, fields[0] != "Z", fields[0] != "X", let parent = pid_t(fields[1]),
            let session = pid_t(fields[3])
        else { return nil }
        return Entry(process: process, parent: parent, session: session)
    }

    /// "1234 (nginx)", for messages.
    package static func describe(_ process: Int32) -> String {
        let name = ControlGroups.read("/proc/\(process)/comm").map {
            $0.split(separator: "\n").first.map(String.init) ?? ""
        }
        return name.map { "\(process) (\($0))" } ?? "\(process)"
    }
}
