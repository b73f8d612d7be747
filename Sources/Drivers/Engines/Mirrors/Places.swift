import CLinux
import Glibc
import Primitives

/// What stands at a path, in words for people where it is not what a mirror can copy.
enum Places {
    /// Less than this free on the receiving side, and nothing is begun. Unit: bytes.
    static let leastFree: UInt64 = 16 << 20

    private static func status(_ path: String) -> stat? {
        var status = stat()
        return stat(path, &status) == 0 ? status : nil
    }
    static func kind(_ path: String) -> mode_t? { status(path).map { $0.st_mode & S_IFMT } }
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    /// Why this cannot be a source; nil when it can.
    static func problemAsSource(_ path: String, own directory: String) -> String? {
        if let problem = problem(path, own: directory) { return problem }
        guard let kind = kind(path) else {
            let reason = errno == ENOENT ? "is not there" : "cannot be looked at: \(String(cString: strerror(errno)))"
            // An empty source would delete everything on the others: a disk that is not mounted looks like that, too.
            return "\(path) \(reason); nothing is copied or deleted elsewhere until it is back"
        }
        if path.hasSuffix("/") { return kind == S_IFDIR ? nil : "\(path) is no directory: write it without the last /" }
        if kind == S_IFDIR { return "\(path) is a directory: end it in /" }
        return kind == S_IFREG ? nil : "\(path) is no file and no directory, so it cannot be copied"
    }

    /// Makes what is missing on the way. Why this cannot be a destination; nil when it can.
    static func prepareDestination(_ path: String, own directory: String) -> String? {
        if let problem = problem(path, own: directory) { return problem }
        let isDirectory = path.hasSuffix("/")
        if let kind = kind(path) {
            if isDirectory, kind != S_IFDIR { return "\(path) is no directory here" }
            if !isDirectory, kind != S_IFREG { return "\(path) is no file here" }
        }
        let folder = isDirectory ? path : String(path[...(path.lastIndex(of: "/") ?? path.startIndex)])
        if let reason = makeDirectories(folder) { return reason }
        var free = statvfs()
        guard statvfs(folder, &free) == 0 else { return "\(folder): \(String(cString: strerror(errno)))" }
        if free.f_flag & UInt(ST_RDONLY) != 0 { return "\(folder) is on a read-only file system here" }
        let bytes = UInt64(free.f_bavail) * UInt64(free.f_frsize)
        guard bytes >= leastFree else { return "the disk of \(folder) is full here: \(bytes >> 20) MiB are left" }
        return nil
    }

    private static func problem(_ path: String, own directory: String) -> String? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard path.hasPrefix("/"), path.utf8.count > 1, path.utf8.count <= TransferRequest.longestPath,
            !parts.contains(".."), !parts.contains(".")
        else { return "“\(path)” is no path that can be mirrored" }
        let whole = real(path)
        let own = real(directory)
        guard !(own + "/").hasPrefix(whole + "/"), !(whole + "/").hasPrefix(own + "/") else {
            return
                "\(path) and Bramble's own data in \(directory) must not be one in the other: it has this node's keys"
        }
        return nil
    }

    /// Links followed, as far as it exists.
    private static func real(_ path: String) -> String {
        var rest: [Substring] = []
        var parts = path.split(separator: "/")
        while true {
            let candidate = "/" + parts.joined(separator: "/")
            if let found = realpath(candidate, nil) {
                defer { free(found) }
                let base = String(cString: found)
                let joined = (base == "/" ? "" : base) + rest.reversed().map { "/\($0)" }.joined()
                return joined.isEmpty ? "/" : joined
            }
            guard let last = parts.popLast() else { return path }
            rest.append(last)
        }
    }

    /// Nil when the directory is there afterwards.
    static func makeDirectories(_ path: String, mode: mode_t = 0o755) -> String? {
        var place = ""
        for part in path.split(separator: "/") {
            place += "/\(part)"
            if mkdir(place, mode) == 0 || errno == EEXIST { continue }
            if kind(place) == S_IFDIR { continue }
            return "\(place) cannot be made: \(String(cString: strerror(errno)))"
        }
        return kind(path) == S_IFDIR ? nil : "\(path) is no directory here"
    }

    /// The halves of files that broken runs left.
    static func removePartials(below path: String) {
        var open = [
            path.hasSuffix("/")
                ? String(path.dropLast()) : String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        ]
        let isTree = path.hasSuffix("/")
        while let next = open.popLast() {
            guard let folder = opendir(next.isEmpty ? "/" : next) else { continue }
            defer { closedir(folder) }
            while let entry = readdir(folder) {
                guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name == RsyncCommand.partial {
                    let directory = "\(next)/\(name)"
                    for file in ParkedFiles.names(directory) { unlink("\(directory)/\(file)") }
                    rmdir(directory)
                } else if isTree, name != ".", name != ".." {
                    open.append("\(next)/\(name)")
                }
            }
        }
    }

    /// All that was written to the file system of this path is on its disk when this returns. May take long.
    static func sync(_ path: String) -> Bool {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        return clinux_sync_file_system(file) == 0
    }
}
