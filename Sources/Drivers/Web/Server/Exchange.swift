import CMicrohttpd
import Primitives
import Reactor

/// One client's connection, from accept to close.
final class Connection: Sendable {
    enum Phase: Sendable {
        /// Until a request's head is complete.
        case waiting(since: Instant)
        case receiving(until: Instant)
        case working(Exchange, since: Instant)
        case sending(until: Instant)
        case streaming(ByteStream)
    }
    let socket: Int32
    let peer: Peer
    let phase: Locked<Phase>

    init(socket: Int32, peer: Peer, now: Instant) {
        self.socket = socket
        self.peer = peer
        phase = Locked(.waiting(since: now))
    }
}

/// One request, from its head to the last byte of its answer.
///
/// Everything but the outcome belongs to libmicrohttpd's thread, on which all its calls come.
final class Exchange: @unchecked Sendable {
    private enum Outcome {
        case reading
        /// The connection is set aside until the answer is there.
        case working(Task<Void, Never>?)
        case answered(Response)
        case over
    }
    let handle: OpaquePointer
    let connection: Connection
    let head: RequestHead
    /// Says no before the body has come; the body is read and thrown away.
    var refusal: Response?
    var body: [UInt8] = []
    var received = 0
    var bodyLimit = 0
    /// Of an event stream that is being sent.
    var stream: ByteStream?
    var producer: Task<Void, Never>?
    var isWorking = false
    /// How long the node may work on it; nil for the usual time.
    var patience: Duration?
    /// Set for a request whose body is a file.
    var upload: Upload?
    /// The node is being asked where the file may be written.
    var isPlacing = false
    /// It is one of the few files that are on their way at once.
    var isTransfer = false
    private let outcome = Locked(Outcome.reading)

    init(handle: OpaquePointer, connection: Connection, head: RequestHead) {
        self.handle = handle
        self.connection = connection
        self.head = head
    }

    /// Sets the connection aside and starts the work. libmicrohttpd asks again once `finish` was called.
    func work(on executor: (any TaskExecutor)? = nil, _ operation: @escaping @Sendable () async -> Response) {
        isWorking = true
        outcome.withLock { $0 = .working(nil) }
        MHD_suspend_connection(handle)
        let task = Task(executorPreference: executor) { self.finish(await operation()) }
        outcome.withLock { if case .working = $0 { $0 = .working(task) } }
    }

    /// The first answer counts. From any thread.
    func finish(_ response: Response) {
        let task: Task<Void, Never>? = outcome.withLock { outcome in
            guard case .working(let task) = outcome else { return nil }
            outcome = .answered(response)
            // Under the lock: once answered, libmicrohttpd may free the connection at any moment.
            MHD_resume_connection(handle)
            return task
        }
        task?.cancel()  // a work that was answered for by somebody else; harmless to one that has just ended
    }

    /// After an answer that was only about the head: the body comes next.
    func goOnReading() { outcome.withLock { $0 = .reading } }

    func takeAnswer() -> Response? {
        outcome.withLock { outcome in
            guard case .answered(let response) = outcome else { return nil }
            outcome = .over
            return response
        }
    }
}
