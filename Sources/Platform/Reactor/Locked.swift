import Glibc

/// A value behind a lock, for the few places that two threads share.
///
/// A pthread mutex, because the thread sanitizer reports false races on `Synchronization.Mutex` (Swift 6.3, Linux), and
/// uncontended it takes 15 ns against 50 ns (reference: docs/decisions/0003-threads.md).
package final class Locked<Value: ~Copyable>: @unchecked Sendable {
    private var value: Value
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    package init(_ value: consuming sending Value) {
        self.value = value
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
    }
    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Short work only: whoever waits for the lock waits for all of it.
    package func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
