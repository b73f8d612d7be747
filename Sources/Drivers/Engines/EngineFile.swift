import Glibc

/// Files by which an engine is told what to do, and those in which it says how it is.
enum EngineFile {
    /// The beginning of a file, as text; nil where it is not there or empty.
    static func read(_ path: String, atMost limit: Int = 16_384) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }

    /// Whoever reads it sees the whole of it or what was there before, never a part.
    ///
    /// - Parameter isLasting: it is on the disk when this returns, so that a power cut does not bring the old one back.
    static func replace(
        _ path: String, with text: String, mode: mode_t = 0o644, isLasting: Bool = false,
        remedy: String = "look at the disk"
    ) throws(EngineFailure) {
        let new = "\(path).new"
        let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        let bytes = Array(text.utf8)
        // The mode is meant whatever the daemon's umask is: chronyd reads as a user of its own.
        let isWritten =
            descriptor >= 0 && fchmod(descriptor, mode) == 0 && write(descriptor, bytes, bytes.count) == bytes.count
            && (!isLasting || fsync(descriptor) == 0)
        let code = errno
        if descriptor >= 0 { close(descriptor) }
        guard isWritten, rename(new, path) == 0 else {
            throw EngineFailure(
                problem: "cannot write \(path): \(String(cString: strerror(isWritten ? errno : code)))", remedy: remedy)
        }
    }

    /// Makes a directory, and those above it that are missing. Everybody may pass through them, whatever the daemon's umask is.
    static func makeDirectories(_ path: String, remedy: String) throws(EngineFailure) {
        var place = ""
        for part in path.split(separator: "/") {
            place += "/\(part)"
            let isMade = mkdir(place, 0o755) == 0
            guard isMade ? chmod(place, 0o755) == 0 : errno == EEXIST else {
                throw EngineFailure(
                    problem: "cannot make \(place): \(String(cString: strerror(errno)))", remedy: remedy)
            }
        }
    }
}
