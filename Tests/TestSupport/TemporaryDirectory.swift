package import Glibc

/// A directory that goes away with the test.
package final class TemporaryDirectory: Sendable {
    package let path: String
    package init() {
        var template = Array("/tmp/bramble-test-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template)!)
    }
    deinit { TemporaryDirectory.remove(path) }

    private static func remove(_ path: String) {
        for name in names(in: path) where unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        rmdir(path)
    }

    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a new file under that name, its directories included.
    package func write(_ text: String, to name: String, mode: mode_t = 0o644) throws {
        let target = file(name)
        var directory = path
        for part in name.split(separator: "/").dropLast() {
            directory += "/\(part)"
            mkdir(directory, 0o755)
        }
        unlink(target)
        let handle = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard handle >= 0 else { throw KernelRefusal() }
        defer { close(handle) }
        let bytes = Array(text.utf8)
        guard Glibc.write(handle, bytes, bytes.count) == bytes.count, fchmod(handle, mode) == 0 else {
            throw KernelRefusal()
        }
    }
    /// Writes a program, and waits until it can be run: a process that another thread starts right now has our descriptor
    /// for a moment, and until it runs its own program the kernel says "text file busy".
    package func writeProgram(_ text: String, to name: String) throws {
        try write(text, to: name, mode: 0o755)
        let handle = open(file(name), O_RDONLY | O_CLOEXEC)
        guard handle >= 0 else { throw KernelRefusal() }
        defer { close(handle) }
        // The kernel leases a file to readers only while nobody has it open for writing.
        for _ in 0..<2000 where fcntl(handle, Self.setLease, F_RDLCK) != 0 {
            guard errno == EAGAIN else { return }
            usleep(5000)
        }
        _ = fcntl(handle, Self.setLease, F_UNLCK)
    }
    /// F_SETLEASE, which Swift's Glibc lacks.
    private static let setLease: Int32 = 1024

    package func text(_ name: String) -> String? {
        guard let file = fopen(file(name), "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var byte = fgetc(file)
        while byte != EOF {
            bytes.append(UInt8(byte))
            byte = fgetc(file)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Sorted, without "." and "..".
package func names(in path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var result: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { result.append(name) }
    }
    return result.sorted()
}

package func mode(of path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
}
