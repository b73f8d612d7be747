import Glibc

/// A small file that one process leaves in a data directory for the daemon that has it locked, or will.
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

    /// Nil when there is none, or it cannot be read.
    package func note(named name: String) -> [UInt8]? {
        (try? AtomicFile.read("\(path)/\(name)", limit: 4096)) ?? nil
    }
    /// Its content is where it belongs.
    package func dropNote(named name: String) { unlink("\(path)/\(name)") }
}
