import Glibc

/// Whether a process has a device open.
package enum WatchdogPath {
    /// Blocking, a few microseconds.
    package static func isOpen(_ path: String, in process: Int32) -> Bool {
        let folder = "/proc/\(process)/fd"
        guard let directory = opendir(folder) else { return false }
        defer { closedir(directory) }
        var wanted = stat()
        guard stat(path, &wanted) == 0 else { return false }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            var found = stat()
            guard name.first?.isNumber == true, stat("\(folder)/\(name)", &found) == 0 else { continue }
            if found.st_ino == wanted.st_ino, found.st_dev == wanted.st_dev { return true }
        }
        return false
    }
}
