import CLinux
import Glibc
import Logging
package import Primitives
import Processes
package import Services
package import Volumes

/// Directories of bricks: nothing that was there before is changed, and what a volume of ours left behind and holds no
/// file is used again.
extension GlusterEngine {
    private static let volumeMark = "trusted.glusterfs.volume-id"
    private static let rootMark = "trusted.gfid"

    /// What keeps this directory from becoming a brick of the volume; nil when nothing does. Changes nothing.
    package func obstacle(_ volume: Volume, on node: NodeName, among volumes: [GlusterVolume]) -> EngineFailure? {
        let path = volume.path
        let folder = path + "/"
        for other in volumes {
            for brick in other.bricks where brick.host == node.description {
                if folder.hasPrefix(brick.path + "/") || (brick.path + "/").hasPrefix(folder) {
                    return EngineFailure(
                        problem: "\(path) is in use by the volume \(other.name)", remedy: "give another path")
                }
            }
        }
        // What is there already, and from which point on directories have to be made.
        var existing = path
        var status = stat()
        while lstat(existing, &status) != 0 {
            guard errno == ENOENT, let slash = existing.lastIndex(of: "/") else {
                return EngineFailure(
                    problem: "cannot look at \(existing): \(String(cString: strerror(errno)))",
                    remedy: "give another path")
            }
            existing = slash == existing.startIndex ? "/" : String(existing[..<slash])
        }
        // A link on the way is the operator's; the brick itself has to be a directory.
        if existing != path, stat(existing, &status) != 0 {
            return EngineFailure(problem: "\(existing) is a link to nothing", remedy: "give another path")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            return EngineFailure(problem: "\(existing) is not a directory", remedy: "give another path")
        }
        var root = stat()
        if !volume.force, stat("/", &root) == 0, root.st_dev == status.st_dev {
            return EngineFailure(
                problem: "\(path) is on the root file system, and a full volume would stop the whole machine",
                remedy: "mount a disk there, or allow it with --force")
        }
        // A mark on the way up belongs to a brick that this one would lie in.
        var place = existing
        while true {
            let mark = clinux_has_attribute(place, Self.volumeMark)
            if mark < 0, errno == ENOTSUP || errno == EPERM {
                return EngineFailure(
                    problem: "the file system of \(place) has no extended attributes, which GlusterFS needs",
                    remedy: "use ext4, XFS or Btrfs")
            }
            if mark == 1, !(place == path && isOurLeftover(volume)) {
                return EngineFailure(
                    problem: "\(place) is, or was, a brick of another volume",
                    remedy: "give another path; or save what is in it and delete it")
            }
            guard place.count > 1, let slash = place.lastIndex(of: "/") else { break }
            place = slash == place.startIndex ? "/" : String(place[..<slash])
        }
        if existing == path, let name = isRecorded(volume) ? firstFile(path) : firstEntry(path) {
            return EngineFailure(
                problem: "\(path) is not empty (there is \(name) in it)",
                remedy: "name an empty directory, or one that does not exist yet, such as \(path)/brick")
        }
        return nil
    }

    /// Makes the directory, or makes one of ours that was used before ready again.
    package func prepareBrick(
        _ volume: Volume, on node: NodeName, among volumes: [GlusterVolume]
    ) async throws(EngineFailure) {
        if let obstacle = obstacle(volume, on: node, among: volumes) { throw obstacle }
        // Written down first: after a crash it is known whose the directory is.
        mkdir(records, 0o700)
        try EngineFile.replace(record(volume.name), with: volume.path, mode: 0o600)
        try EngineFile.makeDirectories(volume.path, remedy: "look at the disk")
        guard clinux_has_attribute(volume.path, Self.volumeMark) == 1 else { return }
        for mark in [Self.volumeMark, Self.rootMark] { _ = clinux_remove_attribute(volume.path, mark) }
        let remover = EngineProgram(
            "rm", package: "coreutils", purpose: "what GlusterFS left of a volume is removed with it")
        _ = try await remover.run(
            ["-rf", "--one-file-system", "--", "\(volume.path)/.glusterfs"]
                + hidden(volume.path).map { "\(volume.path)/\($0)" },
            on: spawner, within: .seconds(30))
        // Directories are on every brick, pointers on some: a brick that was emptied keeps both.
        let finder = EngineProgram(
            "find", package: "findutils", purpose: "what GlusterFS left of a volume is removed with it")
        _ = try await finder.run(
            [volume.path, "-xdev", "-mindepth", "1", "(", "-type", "d", "-o", "-type", "f", "-empty", "-perm", "1000"]
                + [")", "-delete"],
            on: spawner, within: .seconds(30))
    }

    // MARK: Ours

    private var records: String { "\(directory)/bricks" }
    private func record(_ volume: ServiceName) -> String { "\(records)/\(volume)" }

    /// We made this directory for a volume of that name, which is gone or was never finished, and no file is in it.
    private func isOurLeftover(_ volume: Volume) -> Bool { isRecorded(volume) && firstFile(volume.path) == nil }
    private func isRecorded(_ volume: Volume) -> Bool { EngineFile.read(record(volume.name)) == volume.path }

    /// GlusterFS's own; they begin with a dot and are no files of people.
    private static func isGlusters(_ name: String) -> Bool {
        name == ".glusterfs" || name.hasPrefix(".glusterfs-anonymous-inode-")
    }
    private func hidden(_ path: String) -> [String] { entries(path).filter { Self.isGlusters($0) } }
    private func firstEntry(_ path: String) -> String? { entries(path).first { !Self.isGlusters($0) } }

    /// The first thing below a brick that is not GlusterFS's own: empty directories are not, nor the pointers that say on
    /// which other brick a file is. Where there are too many to look at, the last one that was looked at.
    private func firstFile(_ path: String) -> String? {
        var waiting = [""]
        var seen = 0
        while let folder = waiting.popLast() {
            for name in entries(path + folder, atMost: Self.mostLookedAt) where !(folder == "" && Self.isGlusters(name))
            {
                let place = "\(path)\(folder)/\(name)"
                var status = stat()
                guard lstat(place, &status) == 0 else { continue }
                seen += 1
                if seen < Self.mostLookedAt, status.st_mode & S_IFMT == S_IFDIR {
                    waiting.append("\(folder)/\(name)")
                } else if seen >= Self.mostLookedAt || !isPointer(place, status) {
                    return "\(folder)/\(name)".trimmingPrefix("/").description
                }
            }
        }
        return nil
    }
    private func isPointer(_ place: String, _ status: stat) -> Bool {
        status.st_mode == S_IFREG | S_ISVTX && status.st_size == 0
            && clinux_has_attribute(place, "trusted.glusterfs.dht.linkto") == 1
    }
    private static let mostLookedAt = 10_000

    /// The first few; enough to know whether there is any.
    private func entries(_ path: String, atMost limit: Int = 16) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while names.count < limit, let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    // MARK: How a brick is

    /// Looked up on this machine: asking glusterd would take its lock, for minutes where a host is dead.
    package func report(_ volume: GlusterVolume, _ place: BrickPlace) -> BrickReport? {
        guard let service = ServiceName(volume.name) else { return nil }
        var report = BrickReport(
            volume: service, path: place.path, state: isRunning(volume, place) ? .online : .offline)
        report.pending = pending(place.path)
        var facts = statvfs()
        if statvfs(place.path, &facts) == 0 {
            report.total = UInt64(facts.f_blocks) * UInt64(facts.f_frsize)
            report.free = UInt64(facts.f_bavail) * UInt64(facts.f_frsize)
        }
        return report
    }

    /// By the process that glusterd wrote down; several bricks may share one.
    private func isRunning(_ volume: GlusterVolume, _ place: BrickPlace) -> Bool {
        let file = "\(place.node)\(place.path.replacing("/", with: "-")).pid"
        for root in ["/run/gluster", "/var/run/gluster"] {
            guard let text = EngineFile.read("\(root)/vols/\(volume.name)/\(file)"),
                let number = pid_t(text.prefix { $0.isNumber }), number > 1
            else { continue }
            return EngineFile.read("/proc/\(number)/cmdline")?.contains("glusterfsd") ?? false
        }
        return false
    }

    /// Entries of the index that the self-heal daemon works through; one file that all of them link to does not count.
    private func pending(_ path: String) -> UInt64 {
        guard let stream = opendir("\(path)/.glusterfs/indices/xattrop") else { return 0 }
        defer { closedir(stream) }
        var count: UInt64 = 0
        while count < 1_000_000, let entry = readdir(stream) {
            let first = UInt8(bitPattern: entry.pointee.d_name.0)
            if first != UInt8(ascii: "."), first != UInt8(ascii: "x") { count += 1 }
        }
        return count
    }
}
