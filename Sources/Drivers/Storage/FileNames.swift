import Glibc

enum FileNames {
    /// Renames a database with its log beside itself; gives the new name. The date is UTC.
    static func setAside(_ path: String, suffix: String, wall: Int64) throws(StoreError) -> String {
        var seconds = time_t(wall / 1_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : String(number) }
        let date = "\(parts.tm_year + 1900)\(two(parts.tm_mon + 1))\(two(parts.tm_mday))"
        let time = "\(two(parts.tm_hour))\(two(parts.tm_min))\(two(parts.tm_sec))"
        var name = "\(path).\(suffix)-\(date)-\(time)"
        var number = 1
        while access(name, F_OK) == 0 {
            number += 1
            name = "\(path).\(suffix)-\(date)-\(time)-\(number)"
        }
        // The log first: a database whose log is gone is old, a log whose database is gone is nothing.
        for end in ["-wal", "-shm"] where access(path + end, F_OK) == 0 {
            if end == "-shm" { unlink(path + end) } else { try move(path + end, name + end) }
        }
        try move(path, name)
        return name
    }
    static func move(_ from: String, _ to: String) throws(StoreError) {
        guard rename(from, to) == 0 else { throw failure("\(from) cannot be renamed") }
        syncDirectory(of: to)
    }
    static func syncDirectory(of path: String) {
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let handle = open(directory.isEmpty ? "/" : directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { return }
        fsync(handle)
        close(handle)
    }
    static func remove(_ path: String) {
        for end in ["", "-wal", "-shm", "-journal"] { unlink(path + end) }
    }
    static func failure(_ what: String) -> StoreError {
        let code = errno
        return StoreError(
            .disk, "\(what): \(String(cString: strerror(code)))",
            remedy: code == ENOSPC ? "free some space: `df -h` shows what is full" : "check the owner and the disk")
    }
}
