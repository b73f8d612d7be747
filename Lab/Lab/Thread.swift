import CLinux
import Glibc

/// A thread that runs one piece of work. Either `join` or `detach` it.
struct Thread: Sendable {
    private let handle: pthread_t

    init(name: String, _ work: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let code = pthread_create(&thread, nil, runWork, Unmanaged.passRetained(Work(name, work)).toOpaque())
        precondition(code == 0, "the kernel refuses another thread: \(code)")
        handle = thread
    }
    func join() { pthread_join(handle, nil) }
    func detach() { pthread_detach(handle) }
}

private final class Work: Sendable {
    let name: String
    let body: @Sendable () -> Void
    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

/// An ordinary function: a closure written in an isolated context would trap on a thread of C's.
private func runWork(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    let work = Unmanaged<Work>.fromOpaque(context!).takeRetainedValue()
    work.name.withCString { clinux_name_this_thread($0) }
    work.body()
    return nil
}
