import CLinux
import Glibc
package import Primitives

/// One thread that waits in epoll for descriptors and timers, and runs the jobs of the actors that name it as their
/// executor. Between a socket and an actor's state there is then no hop and no lock.
///
/// Its timers are its own: `Task.sleep` does not fire while the shared pool is saturated (measured: not within 10 s).
/// Everything that runs here must be short; slow work belongs on a `WorkerThread`.
package final class EventLoop: SerialExecutor, TaskExecutor, @unchecked Sendable {
    /// Names one registered descriptor or timer; cancel with it. Cancelling twice is harmless.
    package struct Registration: Hashable, Sendable { fileprivate let number: UInt64 }

    /// What a descriptor is watched for. A hang-up or an error is always reported as readable.
    package struct Readiness: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let readable = Readiness(rawValue: 1)
        package static let writable = Readiness(rawValue: 2)
    }

    private struct Watch {
        let descriptor: Int32
        let handler: @Sendable (Readiness) -> Void
    }
    private struct Timer {
        let number: UInt64
        let deadline: Instant
        let handler: @Sendable () -> Void
    }
    /// All of it behind one lock, so that a cancellation counts from the moment it returns, on whichever thread.
    private struct Shared {
        var jobs: [UnownedJob] = []
        var work: [@Sendable () -> Void] = []
        var watches: [UInt64: Watch] = [:]
        /// The soonest is last.
        var timers: [Timer] = []
        var isWoken = false
        var isStopping = false
        var lastNumber: UInt64 = 0

        mutating func nextNumber() -> UInt64 {
            lastNumber += 1
            return lastNumber
        }
    }

    private let epoll: Int32
    private let wakeup: Int32
    private let shared = Locked(Shared())
    private let name: String
    /// Written once, before `init` returns.
    private nonisolated(unsafe) var thread = pthread_t()
    private let running = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    package init(name: String) {
        self.name = name
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeup = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        precondition(epoll >= 0 && wakeup >= 0, "the kernel refuses epoll or eventfd: too many open files")
        sem_init(running, 0, 0)
        // Edge-triggered, and so never read: a wake-up is one call of the kernel less.
        var event = epoll_event(events: EPOLLIN.rawValue | EPOLLET.rawValue, data: epoll_data_t(u64: 0))
        epoll_ctl(epoll, EPOLL_CTL_ADD, wakeup, &event)
        start()
    }
    deinit {
        close(epoll)
        close(wakeup)
        sem_destroy(running)
        running.deallocate()
        // A thread that nobody joins keeps its stack. It held this until its last job was done: it has ended, or is about to,
        // or is the one that is here.
        if isOnLoop { pthread_detach(thread) } else { pthread_join(thread, nil) }
    }

    // MARK: Executor

    package func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        wake { $0.jobs.append(unowned) }
    }
    package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
    package func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }
    package func checkIsolated() { precondition(isOnLoop, "this must run on the event loop \(name)") }
    package func isIsolatingCurrentContext() -> Bool? { isOnLoop }
    package var isOnLoop: Bool { pthread_equal(pthread_self(), thread) != 0 }

    // MARK: For drivers

    /// Runs `work` on the loop, soon, in the order of the calls.
    package func perform(_ work: @escaping @Sendable () -> Void) {
        wake { $0.work.append(work) }
    }

    /// Calls `handler` on the loop whenever the descriptor is ready, until cancelled. From any thread.
    @discardableResult
    package func watch(
        _ descriptor: Int32, for readiness: Readiness, _ handler: @escaping @Sendable (Readiness) -> Void
    ) -> Registration {
        let number = shared.withLock { state in
            let number = state.nextNumber()
            state.watches[number] = Watch(descriptor: descriptor, handler: handler)
            return number
        }
        var event = epoll_event(events: Self.mask(readiness), data: epoll_data_t(u64: number))
        if epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0, errno == EEXIST {
            preconditionFailure("descriptor \(descriptor) is already watched by \(name)")
        }
        return Registration(number: number)
    }

    /// Changes what a watched descriptor is watched for. From any thread.
    package func rearm(_ registration: Registration, for readiness: Readiness) {
        shared.withLock { state in
            guard let watch = state.watches[registration.number] else { return }
            var event = epoll_event(events: Self.mask(readiness), data: epoll_data_t(u64: registration.number))
            epoll_ctl(epoll, EPOLL_CTL_MOD, watch.descriptor, &event)
        }
    }

    /// Calls `handler` on the loop once, at or soon after the deadline. From any thread.
    @discardableResult
    package func schedule(at deadline: Instant, _ handler: @escaping @Sendable () -> Void) -> Registration {
        let (number, isSoonest) = shared.withLock { state in
            let timer = Timer(number: state.nextNumber(), deadline: deadline, handler: handler)
            let place = state.timers.firstIndex { $0.deadline <= deadline } ?? state.timers.endIndex
            state.timers.insert(timer, at: place)
            return (timer.number, place == state.timers.count - 1)
        }
        // On the loop it is seen before the next wait.
        if isSoonest, !isOnLoop { wake { _ in } }
        return Registration(number: number)
    }
    @discardableResult
    package func schedule(after delay: Duration, _ handler: @escaping @Sendable () -> Void) -> Registration {
        schedule(at: SystemClock.now + delay, handler)
    }

    /// No call of the handler begins any more once this returns. From any thread; but whoever closes the descriptor or
    /// frees what the handler uses cancels on the loop, where no call can be under way at the same time.
    package func cancel(_ registration: Registration) {
        shared.withLock { state in
            // Inside the lock: a moment later the caller may close it, and the number may be another file's.
            if let watch = state.watches.removeValue(forKey: registration.number) {
                epoll_ctl(epoll, EPOLL_CTL_DEL, watch.descriptor, nil)
            } else {
                state.timers.removeAll { $0.number == registration.number }
            }
        }
    }

    /// Suspends the calling task until the deadline; throws when the task is cancelled.
    package func sleep(until deadline: Instant) async throws {
        let waiter = Locked<CheckedContinuation<Void, any Error>?>(nil)
        let registration = Locked<Registration?>(nil)
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                waiter.withLock { $0 = continuation }
                let timer = schedule(at: deadline) { waiter.withLock { $0.take() }?.resume() }
                registration.withLock { $0 = timer }
                if Task.isCancelled { waiter.withLock { $0.take() }?.resume(throwing: CancellationError()) }
            }
        } onCancel: {
            if let timer = registration.withLock({ $0 }) { cancel(timer) }
            waiter.withLock { $0.take() }?.resume(throwing: CancellationError())
        }
    }
    package func sleep(for delay: Duration) async throws { try await sleep(until: SystemClock.now + delay) }

    /// Ends the thread after the jobs that are queued now. From any thread; does not wait.
    package func stop() {
        wake { $0.isStopping = true }
    }

    // MARK: The thread

    private func start() {
        let retained = Unmanaged.passRetained(self).toOpaque()
        var created = pthread_t()
        let code = pthread_create(&created, nil, eventLoopThread, retained)
        precondition(code == 0, "the kernel refuses another thread: \(code)")
        // Until the thread has written down which one it is: everybody asks `isOnLoop`.
        while sem_wait(running) != 0 {}
    }

    fileprivate func run() {
        thread = pthread_self()
        sem_post(running)
        name.withCString { clinux_name_this_thread($0) }
        var events = [epoll_event](repeating: epoll_event(), count: 64)
        // Swapped with those that are filled, so that neither is allocated anew each time.
        var jobs: [UnownedJob] = []
        var work: [@Sendable () -> Void] = []
        while true {
            let count = Int(clinux_epoll_wait(epoll, &events, Int32(events.count), timeout()))
            for index in 0..<max(count, 0) {
                let number = events[index].data.u64
                if number != 0, let watch = shared.withLock({ $0.watches[number] }) {
                    watch.handler(Self.readiness(events[index].events))
                }
            }
            let now = SystemClock.now
            while let timer = nextTimer(dueBy: now) { timer.handler() }
            let isStopping = shared.withLock { state in
                swap(&state.jobs, &jobs)
                swap(&state.work, &work)
                state.isWoken = false
                return state.isStopping
            }
            for one in work { one() }
            work.removeAll(keepingCapacity: work.count <= 256)
            for job in jobs {
                job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
            }
            jobs.removeAll(keepingCapacity: jobs.count <= 256)
            if isStopping { return }
        }
    }

    private func nextTimer(dueBy now: Instant) -> Timer? {
        shared.withLock { state in
            guard let soonest = state.timers.last, soonest.deadline <= now else { return nil }
            return state.timers.removeLast()
        }
    }

    /// In nanoseconds; negative: no end.
    private func timeout() -> Int64 {
        let (isWoken, soonest) = shared.withLock { ($0.isWoken, $0.timers.last?.deadline) }
        if isWoken { return 0 }
        guard let next = soonest else { return -1 }
        return max((next - SystemClock.now).nanoseconds, 0)
    }

    private func wake(_ change: (inout Shared) -> Void) {
        let needsKick = shared.withLock { state in
            change(&state)
            defer { state.isWoken = true }
            return !state.isWoken
        }
        // On the loop it is seen before the next wait.
        guard needsKick, !isOnLoop else { return }
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
    }

    private static func mask(_ readiness: Readiness) -> UInt32 {
        (readiness.contains(.readable) ? EPOLLIN.rawValue : 0) | (readiness.contains(.writable) ? EPOLLOUT.rawValue : 0)
    }
    private static func readiness(_ mask: UInt32) -> Readiness {
        var result: Readiness = []
        if mask & (EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 { result.insert(.readable) }
        if mask & EPOLLOUT.rawValue != 0 { result.insert(.writable) }
        return result
    }
}

/// An ordinary function: a closure written in an isolated context would trap on a thread of C's.
private func eventLoopThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    Unmanaged<EventLoop>.fromOpaque(context!).takeRetainedValue().run()
    return nil
}
