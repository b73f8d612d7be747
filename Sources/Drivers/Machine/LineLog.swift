import Glibc
import Logging
import Reactor

/// Lines of text that are only ever added, in two files of bounded size: `events`, and `events.1` with those before.
///
/// A line survives the death of the process at once, and a power cut once the kernel has written it (within half a
/// minute): syncing each one would wear out a memory card. A line that a power cut left half is dropped at the next start.
package final class LineLog: Sendable {
    private struct State {
        var file: Int32 = -1
        var size = 0
        var failures = 0
    }
    private let path: String
    private let limit: Int
    private let state: Locked<State>

    /// - Parameter limit: bytes a file may have; with the older one twice this is kept. Default 1 MiB.
    package init(in directory: DataDirectory, name: String = "events", limit: Int = 1024 * 1024) {
        path = "\(directory.path)/\(name)"
        self.limit = limit
        state = Locked(State())
    }
    deinit { state.withLock { if $0.file >= 0 { close($0.file) } } }

    /// Every whole line that is kept, oldest first. Call it before the first `append`.
    package func lines() -> [String] {
        [path + ".1", path].flatMap { name in
            guard let bytes = try? AtomicFile.read(name, limit: 2 * limit), let end = bytes.lastIndex(of: 10) else {
                return [String]()
            }
            return bytes[..<end].split(separator: 10).compactMap { String(validating: $0, as: UTF8.self) }
        }
    }

    /// Adds one line; false when it could not be written. The first failure in a row is logged, the rest are counted.
    @discardableResult
    package func append(_ line: String) -> Bool {
        let bytes = Array((line.contains("\n") ? String(line.map { $0.isNewline ? " " : $0 }) : line).utf8) + [10]
        guard bytes.count <= limit else { return false }
        return state.withLock { state in
            do throws(SystemError) {
                if state.file < 0 || state.size + bytes.count > limit { try open(&state, for: bytes.count) }
                try AtomicFile.writeAll(bytes, to: state.file)
                state.size += bytes.count
            } catch {
                if state.failures == 0 {
                    Log.warning("cannot write \(path): \(error); \(error.remedy ?? "events are kept in memory only")")
                }
                state.failures += 1
                // A half line must not become the head of the next one.
                if state.file >= 0, ftruncate(state.file, off_t(state.size)) != 0 {
                    close(state.file)
                    state.file = -1
                }
                return false
            }
            if state.failures > 0 { Log.info("\(path) can be written again; \(state.failures) events are not in it") }
            state.failures = 0
            return true
        }
    }

    private func open(_ state: inout State, for more: Int) throws(SystemError) {
        if state.file < 0 {
            let file = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard file >= 0 else { throw SystemError() }
            state.file = file
            state.size = try Self.dropTornLine(file)
        }
        guard state.size + more > limit else { return }
        close(state.file)
        state.file = -1
        guard rename(path, path + ".1") == 0 else { throw SystemError() }
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw SystemError() }
        state.file = file
        state.size = 0
    }

    private static func dropTornLine(_ file: Int32) throws(SystemError) -> Int {
        var end = Int(lseek(file, 0, SEEK_END))
        var byte: UInt8 = 0
        while end > 0, pread(file, &byte, 1, off_t(end - 1)) == 1, byte != 10 { end -= 1 }
        guard ftruncate(file, off_t(end)) == 0 else { throw SystemError() }
        return end
    }
}
