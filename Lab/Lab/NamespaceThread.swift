import CLab
import Glibc
import Reactor

/// A thread that lives in namespaces of its own, and does there what other threads ask of it.
///
/// Network, mount, host name and working directory belong to a thread in Linux, not to the process. So a host of the lab
/// is a thread: what it spawns starts inside, a socket it makes stays inside, a path it opens is the host's. No helper
/// process has to be kept, and when this process dies, by whatever, the kernel takes everything down.
final class NamespaceThread: @unchecked Sendable {
    private struct Mailbox {
        var job: (() -> Void)?
        var isStopping = false
    }
    private let mailbox = Locked(Mailbox())
    /// One caller at a time.
    private let turn = Locked(())
    private let posted = Semaphore()
    private let finished = Semaphore()
    /// For `/proc/self/task/ID/ns`.
    private(set) nonisolated(unsafe) var threadID: Int32 = 0

    init(name: String) {
        Thread(name: name) { self.loop() }.detach()
        run { self.threadID = clab_thread_id() }
    }

    /// Runs `body` in there and waits for it.
    func run<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        var outcome: Swift.Result<Result, Failure>?
        turn.withLock { _ in
            // The closure ends before this call does, and nobody else sees `outcome` meanwhile.
            withoutActuallyEscaping({ outcome = Swift.Result(catching: body) }) { job in
                nonisolated(unsafe) let job = job
                mailbox.withLock { $0.job = job }
                posted.signal()
                finished.wait()
            }
        }
        return try outcome!.get()
    }

    /// Ends the thread; its namespaces go when their last process has.
    func stop() {
        mailbox.withLock { $0.isStopping = true }
        posted.signal()
    }

    private func loop() {
        while true {
            posted.wait()
            if mailbox.withLock({ $0.isStopping }) { return }
            perform()
            finished.signal()
        }
    }
}

extension NamespaceThread {
    /// A function of its own, so that no reference to the job is left when the caller goes on.
    @inline(never)
    private func perform() {
        nonisolated(unsafe) var job: (() -> Void)?
        mailbox.withLock {
            job = $0.job
            $0.job = nil
        }
        job?()
    }
}

/// A counting semaphore of the C library.
private final class Semaphore: @unchecked Sendable {
    private let raw = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(raw, 0, 0) }
    deinit {
        sem_destroy(raw)
        raw.deallocate()
    }
    func signal() { sem_post(raw) }
    func wait() { while sem_wait(raw) != 0 {} }
}
