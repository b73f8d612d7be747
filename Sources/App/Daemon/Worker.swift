import Reactor

extension EventLoop {
    /// Runs blocking work on this loop's thread and waits for it without blocking the caller's. For loops that are made
    /// for it only: the daemon's `worker`.
    func run<Result: Sendable>(_ work: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            perform { continuation.resume(returning: work()) }
        }
    }
}
