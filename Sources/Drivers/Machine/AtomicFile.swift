import Glibc

/// Writes whole files so that a reader, or the next start after a power cut, sees the old content or the new, never half.
package enum AtomicFile {
    /// Writes beside the target, syncs, renames over it, syncs the directory.
    ///
    /// The temporary name is fixed for each target, so that crashes do not pile up files; one writer at a time.
    /// As root, the file is given to `owner`, so that a daemon without privileges can still read what root wrote.
    static func write(
        _ bytes: some Collection<UInt8>, to path: String, mode: mode_t, owner: (uid_t, gid_t)? = nil
    ) throws(SystemError) {
        let (directory, name) = split(path)
        let temporary = "\(directory)/.\(name).tmp"
        do throws(SystemError) {
            try writeNew(bytes, to: temporary, mode: mode, owner: owner)
            guard rename(temporary, path) == 0 else { throw SystemError() }
        } catch {
            unlink(temporary)
            throw error
        }
        try syncDirectory(directory)
    }

    /// Writes a file that must not exist yet; the name appears with the whole content or not at all.
    static func create(
        _ bytes: some Collection<UInt8>, at path: String, mode: mode_t, owner: (uid_t, gid_t)? = nil
    ) throws(SystemError) {
        let (directory, name) = split(path)
        let temporary = "\(directory)/.\(name).\(getpid()).tmp"
        defer { unlink(temporary) }
        try writeNew(bytes, to: temporary, mode: mode, owner: owner)
        guard link(temporary, path) == 0 else { throw SystemError() }
        try syncDirectory(directory)
    }

    /// The whole content; nil when there is no such file. More than `limit` bytes is EFBIG.
    package static func read(_ path: String, limit: Int) throws(SystemError) -> [UInt8]? {
        // Not blocking: somebody's named pipe must not hold up the start.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw SystemError()
        }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw SystemError() }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SystemError(code: EISDIR) }
        return try readAll(file, limit: limit)
    }

    /// Reads to the end, also from files of /proc and /sys, whose size is not known before.
    static func readAll(_ file: Int32, limit: Int) throws(SystemError) -> [UInt8] {
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = Glibc.read(file, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw SystemError() }
            if count == 0 { return content }
            content += buffer[..<count]
            guard content.count <= limit else { throw SystemError(code: EFBIG) }
        }
    }

    static func writeAll(_ bytes: some Collection<UInt8>, to file: Int32) throws(SystemError) {
        let content = Array(bytes)
        var done = 0
        while done < content.count {
            let count = content[done...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SystemError(code: count == 0 ? ENOSPC : errno) }
            done += count
        }
    }

    static func syncDirectory(_ directory: String) throws(SystemError) {
        let handle = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { throw SystemError() }
        defer { close(handle) }
        // Some file systems (FUSE, old NFS) cannot sync a directory; what they have is all there is.
        guard fsync(handle) == 0 || errno == EINVAL else { throw SystemError() }
    }

    private static func writeNew(
        _ bytes: some Collection<UInt8>, to path: String, mode: mode_t, owner: (uid_t, gid_t)?
    ) throws(SystemError) {
        unlink(path)
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard file >= 0 else { throw SystemError() }
        defer { close(file) }
        guard fchmod(file, mode) == 0 else { throw SystemError() }  // whatever the umask
        if let owner, fchown(file, owner.0, owner.1) != 0, geteuid() == 0 { throw SystemError() }
        try writeAll(bytes, to: file)
        guard fsync(file) == 0 else { throw SystemError() }
    }

    static func split(_ path: String) -> (directory: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        let directory = path[..<slash]
        return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
    }
}
