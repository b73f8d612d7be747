import Glibc

/// Runs blocking work on a thread of its own: all tests of a process share the pool's few threads, and so does what they test.
package func blocking<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        let box = Job { continuation.resume(with: Swift.Result { try body() }) }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { @Sendable context in
                Unmanaged<Job>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(box).toOpaque())
        pthread_detach(thread)
    }
}

private final class Job: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
