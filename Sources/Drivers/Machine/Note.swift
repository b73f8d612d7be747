import Glibc

/// A small file that one process leaves in a data directory for the daemon that has it locked, or will: taken once.
extension DataDirectory {
    package static func leaveNote(_ content: [UInt8], named name: String, in path: String) throws(DataDirectoryError) {
        let owner = try prepare(path)
        let file = "\(path)/\(name)"
        do throws(SystemError) {
            try AtomicFile.write(content, to: file, mode: 0o600, owner: owner)
        } catch {
            throw .unwritable(file, error)
        }
    }

    /// The content, once: the file is gone afterwards. Nil when there is none, or it cannot be read.
    package func takeNote(named name: String) -> [UInt8]? {
        let file = "\(path)/\(name)"
        defer { unlink(file) }
        return (try? AtomicFile.read(file, limit: 4096)) ?? nil
    }
}
