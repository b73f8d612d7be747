import Primitives
import Reactor

/// Ends the pause of one loop early, because something may have changed. A ring during its work is not lost: the next
/// pause then takes no time.
final class Bell: Sendable {
    private struct State {
        var isRung = false
        var isClosed = false
        var waiter: CheckedContinuation<Void, Never>?
    }
    private let state = Locked(State())

    /// From any thread, as often as anybody likes.
    func ring() {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.isRung = true
            return state.waiter.take()
        }?.resume()
    }
    /// No pause takes any time from now on.
    func close() {
        state.withLock { $0.isClosed = true }
        ring()
    }

    func wait(atMost limit: Duration, on loop: EventLoop) async {
        let timer = loop.schedule(after: limit) { [weak self] in self?.ring() }
        await withCheckedContinuation { continuation in
            let isDue = state.withLock { state in
                if state.isRung || state.isClosed { return true }
                state.waiter = continuation
                return false
            }
            if isDue { continuation.resume() }
        }
        loop.cancel(timer)
        state.withLock { $0.isRung = false }
    }
}
