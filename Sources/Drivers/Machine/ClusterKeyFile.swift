import Glibc
package import Reactor

/// The file `cluster.key`: one line of text that people copy from machine to machine. What the line says is the business
/// of the cryptography; here it is read, written and waited for.
///
/// Usable without the directory's lock: `bramble init` writes it while a daemon that waits for it runs.
package struct ClusterKeyFile: Sendable {
    package let path: String
    private let directory: String

    package init(in directory: String) {
        self.directory = directory
        path = directory + "/cluster.key"
    }

    /// The line; nil when there is no such file. Blank lines and lines that start with `#` do not count.
    package func read() throws(DataDirectoryError) -> String? {
        let content: [UInt8]?
        do throws(SystemError) {
            content = try AtomicFile.read(path, limit: 4096)
        } catch {
            if error.code == EFBIG { throw .badKeyFile(path, "it is larger than 4 KiB") }
            if error.code == EISDIR { throw .badKeyFile(path, "it is not a plain file") }
            throw .unreadable(path, error)
        }
        guard let content else { return nil }
        guard let text = String(validating: content, as: UTF8.self) else { throw .badKeyFile(path, "it is not text") }
        let lines = text.split(whereSeparator: \.isNewline)
            .map { line in
                let start = line.drop(while: \.isWhitespace)
                return start.lastIndex { !$0.isWhitespace }.map { start[...$0] } ?? ""
            }
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }
        guard lines.count == 1 else {
            throw .badKeyFile(path, lines.isEmpty ? "it is empty" : "it has \(lines.count) lines, not one")
        }
        return String(lines[0])
    }

    /// Writes the first key of a directory, which is made where it is missing. Never replaces one: of two that do this at
    /// once, one gets an error.
    package func create(_ line: String) throws(DataDirectoryError) {
        let owner = try DataDirectory.prepare(directory)
        do throws(SystemError) {
            try AtomicFile.create(Array("\(line)\n".utf8), at: path, mode: 0o600, owner: owner)
        } catch {
            throw error.code == EEXIST ? .keyExists(path) : .unwritable(path, error)
        }
    }

    /// Replaces the key, when the cluster has rotated it.
    package func replace(with line: String) throws(DataDirectoryError) {
        let owner = try DataDirectory.prepare(directory)
        do throws(SystemError) {
            try AtomicFile.write(Array("\(line)\n".utf8), to: path, mode: 0o600, owner: owner)
        } catch {
            throw .unwritable(path, error)
        }
    }

    package var exists: Bool { access(path, F_OK) == 0 }
    /// When this node was removed from its cluster.
    package func remove() { unlink(path) }

    /// Looks once a second, and calls back on the loop with each new content, good or bad, once it has settled: a copy
    /// over a slow link is not read half. Polling, because it also works on network and overlay file systems, and this
    /// runs only while a machine has nothing else to do.
    package func watch(
        on loop: EventLoop, every interval: Duration = .seconds(1),
        _ handler: @escaping @Sendable (Result<String, DataDirectoryError>) -> Void
    ) -> Watch {
        let watch = Watch(file: self, loop: loop, interval: interval, handler: handler)
        loop.perform { watch.look() }
        return watch
    }

    package final class Watch: @unchecked Sendable {
        private struct Stamp: Equatable { var inode: ino_t, size: Int, seconds: Int, nanoseconds: Int }
        private let file: ClusterKeyFile
        private let loop: EventLoop
        private let interval: Duration
        private let handler: @Sendable (Result<String, DataDirectoryError>) -> Void
        // On the loop only.
        private var last: Stamp?
        private var reported: Stamp?
        /// Set at once, on any thread: what appears after `cancel` returned is not told.
        private let isCancelled = Locked(false)

        init(
            file: ClusterKeyFile, loop: EventLoop, interval: Duration,
            handler: @escaping @Sendable (Result<String, DataDirectoryError>) -> Void
        ) {
            self.file = file
            self.loop = loop
            self.interval = interval
            self.handler = handler
        }

        package func cancel() { isCancelled.withLock { $0 = true } }

        func look() {
            guard !isCancelled.withLock({ $0 }) else { return }
            defer { loop.schedule(after: interval) { [weak self] in self?.look() } }
            var status = stat()
            guard stat(file.path, &status) == 0 else {
                last = nil
                return
            }
            let stamp = Stamp(
                inode: status.st_ino, size: status.st_size, seconds: status.st_mtim.tv_sec,
                nanoseconds: status.st_mtim.tv_nsec)
            let isSettled = stamp == last
            last = stamp
            guard stamp != reported else { return }
            do throws(DataDirectoryError) {
                // A whole file that was renamed into place is read at once; anything else has to stay the same for a while.
                guard let line = try file.read() else { return }
                guard isSettled || endsWithNewline(), !isCancelled.withLock({ $0 }) else { return }
                reported = stamp
                handler(.success(line))
            } catch {
                guard isSettled, !isCancelled.withLock({ $0 }) else { return }
                reported = stamp
                handler(.failure(error))
            }
        }
        private func endsWithNewline() -> Bool { (try? AtomicFile.read(file.path, limit: 4096))?.last == 10 }
    }
}
