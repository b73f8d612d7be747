import Glibc
import Reactor

/// A file on its way from a client to the node's disk. Deleted when it does not arrive whole.
final class Upload: Sendable {
    private struct State {
        var path: String?
        var descriptor: Int32 = -1
    }
    /// What the client said it will send.
    let declared: Int
    private let state = Locked(State())

    init(declared: Int) { self.declared = declared }
    deinit { drop() }

    /// Makes the file, for its owner alone. Nil when it is there; else why not.
    func open(_ path: String) -> String? {
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return String(cString: strerror(errno)) }
        state.withLock { state in
            state.path = path
            state.descriptor = descriptor
        }
        return nil
    }

    /// Nil when all is written; else why not.
    func write(_ bytes: UnsafeRawBufferPointer) -> String? {
        let descriptor = state.withLock { $0.descriptor }
        guard descriptor >= 0 else { return "it is not open" }
        var written = 0
        while written < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
            guard count > 0 else {
                if count < 0, errno == EINTR { continue }
                return String(cString: strerror(errno))
            }
            written += count
        }
        return nil
    }

    /// The whole file is there: whoever gets the path answers for it.
    func handOver() -> String? {
        state.withLock { state in
            guard state.descriptor >= 0 else { return nil }
            close(state.descriptor)
            state.descriptor = -1
            defer { state.path = nil }
            return state.path
        }
    }

    func drop() {
        state.withLock { state in
            if state.descriptor >= 0 { close(state.descriptor) }
            if let path = state.path { unlink(path) }
            state = State()
        }
    }
}
