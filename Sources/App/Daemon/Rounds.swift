import Primitives
import Reactor

/// Rounds of one piece of work, on a task that exists only while there is something to do.
///
/// They never overlap, and what changes in the middle of one has another after it.
final class Rounds: Sendable {
    /// When the round after this one is.
    enum Next: Sendable {
        case atOnce
        /// At the latest; sooner when something has changed.
        case within(Duration, on: EventLoop)
        case whenChanged
    }
    typealias Round = @Sendable () async -> Next

    private struct State {
        /// Nil before the beginning and after the end.
        var round: Round?
        var isDue = false
        var task: Task<Void, Never>?
        var pause: CheckedContinuation<Void, Never>?
    }
    private let state = Locked(State())

    /// The first round is at once.
    func begin(_ round: @escaping Round) {
        state.withLock { $0.round = round }
        changed()
    }

    /// Something may have changed. From any thread, as often as anybody likes.
    func changed() {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.round != nil else { return nil }
            state.isDue = true
            if state.task == nil { state.task = Task { await self.run() } }
            return state.pause.take()
        }?.resume()
    }

    /// The round that is under way is the last; waits for its end.
    func stop() async {
        let (task, pause) = state.withLock { state in
            state.round = nil
            return (state.task, state.pause.take())
        }
        pause?.resume()
        await task?.value
    }

    private func run() async {
        while let round = state.withLock({ state in
            state.isDue = false
            return state.round
        }) {
            switch await round() {
            case .atOnce: break
            case .within(let limit, let loop): await pause(atMost: limit, on: loop)
            case .whenChanged:
                let isOver = state.withLock { state in
                    if !state.isDue { state.task = nil }
                    return !state.isDue
                }
                if isOver { return }
            }
        }
    }

    private func pause(atMost limit: Duration, on loop: EventLoop) async {
        let timer = loop.schedule(after: limit) { [weak self] in self?.changed() }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.isDue || state.round == nil { return true }
                state.pause = continuation
                return false
            }
            if isOver { continuation.resume() }
        }
        loop.cancel(timer)
    }
}
