import CMicrohttpd
import Reactor

/// Bytes on their way to one client that reads for as long as it likes: bounded, and parked while there is nothing to send.
package final class ByteStream: Sendable {
    private struct State {
        var chunks: [[UInt8]] = []
        var sentOfFirst = 0
        var queued = 0
        var isEnded = false
        var isOverfull = false
        /// Set while libmicrohttpd has set the connection aside, waiting for us.
        nonisolated(unsafe) var parked: OpaquePointer?
        /// A producer that waits until the client has read.
        var waiting: CheckedContinuation<Void, Never>?
    }
    private let state = Locked(State())
    private let limit: Int

    /// - Parameter limit: bytes that may wait for a slow client before it is dropped.
    package init(limit: Int) { self.limit = limit }

    /// True once the client was too slow or has gone: nothing more will be sent.
    package var isOver: Bool { state.withLock { $0.isEnded || $0.isOverfull } }
    /// True when the client does not read what it asked for.
    package var isOverfull: Bool { state.withLock { $0.isOverfull } }

    /// Queues bytes. False when the stream is over, or is over now because the client fell too far behind.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool { send(bytes, mayExceed: false) }

    private func send(_ bytes: [UInt8], mayExceed: Bool) -> Bool {
        guard !bytes.isEmpty else { return !isOver }
        return state.withLock { state in
            guard !state.isEnded, !state.isOverfull else { return false }
            guard state.queued + bytes.count <= limit || mayExceed && state.queued <= limit / 2 else {
                state.isOverfull = true
                state.chunks = []
                Self.unpark(&state)
                return false
            }
            state.chunks.append(bytes)
            state.queued += bytes.count
            Self.unpark(&state)
            return true
        }
    }

    /// Waits until the client has read most of what is queued, then queues this too. For what is there already and can be
    /// sent at the client's own pace, in pieces of any size; one producer at a time.
    @discardableResult
    package func sendInTurn(_ bytes: [UInt8]) async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let goesOn = state.withLock { state in
                    if state.isEnded || state.isOverfull || Task.isCancelled || state.queued <= limit / 2 {
                        return true
                    }
                    state.waiting = continuation
                    return false
                }
                if goesOn { continuation.resume() }
            }
        } onCancel: {
            state.withLock { Self.wake(&$0) }
        }
        return send(bytes, mayExceed: true)
    }

    /// The client gets what is queued, then the end.
    package func end() {
        state.withLock { state in
            state.isEnded = true
            Self.wake(&state)
            Self.unpark(&state)
        }
    }

    /// On libmicrohttpd's thread: fills its buffer, or parks the connection until there is something to send.
    func read(into buffer: UnsafeMutableRawBufferPointer, connection: OpaquePointer) -> Int {
        nonisolated(unsafe) let connection = connection
        nonisolated(unsafe) let buffer = buffer
        return state.withLock { state in
            guard !state.isOverfull else { return mhdStreamFailed }
            guard !state.chunks.isEmpty else {
                guard !state.isEnded else { return mhdStreamEnded }
                // Under the lock, so that a `send` cannot fall between looking and parking.
                state.parked = connection
                MHD_suspend_connection(connection)
                return 0
            }
            var written = 0
            while written < buffer.count, let chunk = state.chunks.first {
                let part = chunk[state.sentOfFirst...].prefix(buffer.count - written)
                part.withUnsafeBytes {
                    UnsafeMutableRawBufferPointer(rebasing: buffer[written...]).copyMemory(from: $0)
                }
                written += part.count
                state.sentOfFirst += part.count
                if state.sentOfFirst == chunk.count {
                    state.chunks.removeFirst()
                    state.sentOfFirst = 0
                }
            }
            state.queued -= written
            if state.queued <= limit / 2 { Self.wake(&state) }
            return written
        }
    }

    /// The connection is gone. It cannot be parked now: libmicrohttpd does not end what it has set aside.
    func abandon() {
        state.withLock { state in
            state.isEnded = true
            state.chunks = []
            state.queued = 0
            Self.wake(&state)
        }
    }

    private static func wake(_ state: inout State) {
        state.waiting?.resume()
        state.waiting = nil
    }

    private static func unpark(_ state: inout State) {
        guard let connection = state.parked else { return }
        state.parked = nil
        MHD_resume_connection(connection)
    }
}

/// MHD_CONTENT_READER_END_OF_STREAM and …_WITH_ERROR: macros with casts, which Swift does not import.
let mhdStreamEnded = -1
let mhdStreamFailed = -2
