import CMicrohttpd
import Glibc
import Logging
import Primitives
import Reactor

/// What to do with a request whose head has come.
enum Screening {
    case answer(Response)
    /// Read a body of at most `bodyLimit` bytes, then `respond`. `patience` is how long that may take, if not as usual.
    case accept(bodyLimit: Int, patience: Duration?)
    /// Ask where the file may be written, write it there as it comes, then `respond`.
    case upload(patience: Duration?)
}

/// Where a file may be written, or why not.
enum Placement: Sendable {
    case path(String)
    case refused(Response)
}

/// What a listener serves. `screen` runs on libmicrohttpd's thread and must be quick; `respond` may take its time.
protocol HTTPApplication: Sendable {
    func screen(_ head: RequestHead) -> Screening
    func place(_ head: RequestHead, bytes: Int) async -> Placement
    func respond(to request: Request) async -> Response
    /// Where `respond` is best begun; nil for anywhere. On libmicrohttpd's thread.
    func executor(for request: Request) -> (any TaskExecutor)?
    /// Headers that every answer carries.
    var commonHeaders: [(name: String, value: String)] { get }
    func refusal(status: Int, problem: String, remedy: String, kind: String) -> Response
}

/// What one listening socket has seen, and has open now.
struct ListenerFigures: Sendable {
    struct Counters: Sendable {
        var requests = 0
        /// Answered 503 because too much was going on.
        var refusedAtLimit = 0
        /// Connections closed because the client took too long.
        var closedSlow = 0
        /// Event streams dropped because the client did not read them.
        var droppedStreams = 0
    }
    let address: WebAddress
    let connections: Int
    let streams: Int
    let counters: Counters
}

/// One listening socket served by libmicrohttpd on one thread of its own.
///
/// The only file, with `ByteStream` and `Exchange`, that calls the library.
final class HTTPListener: @unchecked Sendable {
    private struct Shared {
        var connections: [ObjectIdentifier: Connection] = [:]
        var exchanges: [ObjectIdentifier: Exchange] = [:]
        var bodyBytes = 0
        var working = 0
        var transfers = 0
        var streams: [Peer: Int] = [:]
        var streamCount = 0
        var isStopping = false
        var counters = ListenerFigures.Counters()
        var startLog: [String] = []
    }

    let address: WebAddress
    private let application: any HTTPApplication
    private let limits: WebLimits
    private let isEncrypted: Bool
    private let now: @Sendable () -> Instant
    private let shared = Locked(Shared())
    private var daemon: OpaquePointer?

    init(
        _ socket: consuming ListeningSocket, application: any HTTPApplication, limits: WebLimits,
        identity: (certificate: String, key: String)?, now: @escaping @Sendable () -> Instant
    ) throws(WebError) {
        address = socket.address
        self.application = application
        self.limits = limits
        self.now = now
        isEncrypted = identity != nil
        let isLocal = if case .unix = address { true } else { false }
        let descriptor = socket.release()
        var setup = mhd_setup()
        setup.listener = descriptor
        setup.connections = UInt32(limits.connections)
        setup.per_address = isLocal ? 0 : UInt32(limits.connectionsPerAddress)
        setup.idle_seconds = UInt32(max(limits.answerTime.seconds, 1))
        setup.connection_memory = limits.connectionMemory
        // The daemon may lock all its memory: the usual 8 MiB of stack would then be real.
        setup.stack = 256 << 10
        setup.handle = handleRequest
        setup.completed = requestCompleted
        setup.connection = connectionChanged
        setup.log = logLine
        // The library keeps this until `stop`, which keeps us alive until it is done.
        setup.context = Unmanaged.passUnretained(self).toOpaque()
        daemon = withOptionalCString(identity?.certificate) { certificate in
            withOptionalCString(identity?.key) { key in
                setup.certificate = certificate
                setup.key = key
                return mhd_start(&setup)
            }
        }
        let log = shared.withLock { state in
            defer { state.startLog = [] }
            return state.startLog
        }
        guard daemon != nil else {
            Glibc.close(descriptor)
            let reason = log.joined(separator: "; ")
            throw isEncrypted ? .certificate(reason: reason) : .cannotListen(address, reason: reason)
        }
    }

    var figures: ListenerFigures {
        shared.withLock { state in
            ListenerFigures(
                address: address, connections: state.connections.count, streams: state.streamCount,
                counters: state.counters)
        }
    }

    /// Ends every stream, answers what is under way with 503, and closes. Blocks until the thread has ended.
    func stop() {
        guard let daemon else { return }
        let exchanges = shared.withLock { state in
            state.isStopping = true
            return Array(state.exchanges.values)
        }
        // What is set aside must be resumed before the library can stop.
        for exchange in exchanges { release(exchange) }
        // A moment for the last answers to go out: the library closes without sending what it holds.
        let end = SystemClock.now + .seconds(1)
        while shared.withLock({ !$0.exchanges.isEmpty }), SystemClock.now < end { usleep(5000) }
        MHD_stop_daemon(daemon)
        self.daemon = nil
    }

    private func release(_ exchange: Exchange) {
        exchange.finish(
            application.refusal(
                status: 503, problem: "this node is stopping",
                remedy: "ask another node, or this one after its restart",
                kind: "unavailable"))
        if case .streaming(let stream) = exchange.connection.phase.withLock({ $0 }) { stream.end() }
    }

    /// Closes whoever takes too long. Call it about once a second, from any one thread.
    func sweep() {
        let now = now()
        let connections = shared.withLock { Array($0.connections.values) }
        let isCrowded = connections.count * 4 > limits.connections * 3
        let headTime = isCrowded ? min(limits.headTime, limits.crowdedHeadTime) : limits.headTime
        for connection in connections {
            switch connection.phase.withLock({ $0 }) {
            case .waiting(let since) where now - since > headTime: cut(connection) { $0.closedSlow += 1 }
            case .receiving(let end) where now > end, .sending(let end) where now > end:
                cut(connection) { $0.closedSlow += 1 }
            case .streaming(let stream) where stream.isOverfull:
                cut(connection) { $0.droppedStreams += 1 }
            case .working(let exchange, let since) where now - since > exchange.patience ?? limits.workTime:
                let patience = exchange.patience ?? limits.workTime
                exchange.finish(
                    application.refusal(
                        status: 504, problem: "the node did not answer within \(Int(patience.seconds)) s",
                        remedy: "try again; if it stays so: bramble doctor, and the node's log", kind: "unavailable"))
            default: break
            }
        }
    }

    private func cut(_ connection: Connection, count: (inout ListenerFigures.Counters) -> Void) {
        shared.withLock { state in
            // While it is in our table the library has not closed the descriptor: it tells us first.
            guard state.connections[ObjectIdentifier(connection)] != nil else { return }
            shutdown(connection.socket, Int32(SHUT_RDWR))
            count(&state.counters)
        }
    }

    // MARK: On libmicrohttpd's thread

    fileprivate func opened(_ handle: OpaquePointer) -> Connection {
        let connection = Connection(socket: mhd_socket(handle), peer: Peer(mhd_peer(handle)), now: now())
        if connection.peer != .local { mhd_limit_silence(connection.socket, 30_000) }
        shared.withLock { $0.connections[ObjectIdentifier(connection)] = connection }
        return connection
    }

    fileprivate func closed(_ connection: Connection) {
        shared.withLock { $0.connections[ObjectIdentifier(connection)] = nil }
    }

    fileprivate func begin(_ handle: OpaquePointer, _ connection: Connection, url: String, method: String) -> Exchange {
        var head = RequestHead(method: method, path: url, peer: connection.peer, isEncrypted: isEncrypted)
        head.headers = values(of: handle, .HEADER_KIND).map { ($0.name.lowercased(), $0.value) }
        head.query = values(of: handle, .GET_ARGUMENT_KIND)
        let exchange = Exchange(handle: handle, connection: connection, head: head)
        let isStopping = shared.withLock { state in
            state.counters.requests += 1
            state.exchanges[ObjectIdentifier(exchange)] = exchange
            return state.isStopping
        }
        connection.phase.withLock { $0 = .receiving(until: now() + limits.bodyTime) }
        if isStopping {
            exchange.refusal = application.refusal(
                status: 503, problem: "this node is stopping", remedy: "ask another node", kind: "unavailable")
            return exchange
        }
        switch application.screen(head) {
        case .answer(let response): exchange.refusal = response
        case .accept(let limit, let patience):
            exchange.bodyLimit = min(limit, limits.bodyBytes)
            exchange.patience = patience
        case .upload(let patience):
            exchange.patience = patience
            beginUpload(exchange)
            return exchange
        }
        let declared = Int(head.header("content-length") ?? "0") ?? 0
        if exchange.refusal == nil, declared > exchange.bodyLimit {
            exchange.refusal = tooLarge(exchange)
        }
        return exchange
    }

    private func beginUpload(_ exchange: Exchange) {
        guard let declared = exchange.head.header("content-length").flatMap({ Int($0) }) else {
            exchange.refusal = application.refusal(
                status: 411, problem: "the file's size is not said", remedy: "send Content-Length, not chunks",
                kind: "invalid")
            return
        }
        guard declared > 0 else {
            exchange.refusal = application.refusal(
                status: 400, problem: "the file is empty", remedy: "send the file as the request's body",
                kind: "invalid")
            return
        }
        guard declared <= limits.uploadBytes else {
            exchange.refusal = application.refusal(
                status: 413, problem: "the file is larger than the \(limits.uploadBytes) bytes this takes",
                remedy: "send a smaller one", kind: "invalid")
            return
        }
        guard takeTransfer(exchange) else {
            exchange.refusal = busy("too many files are on their way at once")
            return
        }
        exchange.upload = Upload(declared: declared)
        exchange.bodyLimit = declared
    }

    private func takeTransfer(_ exchange: Exchange) -> Bool {
        exchange.isTransfer = shared.withLock { state in
            guard state.transfers < limits.transfers else {
                state.counters.refusedAtLimit += 1
                return false
            }
            state.transfers += 1
            return true
        }
        return exchange.isTransfer
    }

    /// Time enough for the slowest client we put up with.
    private func allowance(_ usual: Duration, bytes: Int) -> Duration {
        usual + .seconds(bytes / max(limits.slowestTransfer, 1))
    }

    /// Sets the connection aside until the node has said where the file may be written. Nothing of it is read before.
    fileprivate func place(_ exchange: Exchange, _ upload: Upload) {
        exchange.isPlacing = true
        exchange.connection.phase.withLock { $0 = .working(exchange, since: now()) }
        let head = exchange.head
        exchange.work { [application] in
            switch await application.place(head, bytes: upload.declared) {
            case .refused(let response): return response
            case .path(let path):
                guard let reason = upload.open(path) else { return Response(status: 100) }
                return application.refusal(
                    status: 503, problem: "the file cannot be written on this node: \(reason)",
                    remedy: "see the node's disk", kind: "unavailable")
            }
        }
        exchange.isWorking = false  // it does not count as work that the node does
        if shared.withLock({ $0.isStopping }) { release(exchange) }
    }

    fileprivate func placed(_ exchange: Exchange) {
        exchange.isPlacing = false
        guard let answer = exchange.takeAnswer(), answer.status != 100 else {
            exchange.goOnReading()
            let time = allowance(limits.bodyTime, bytes: exchange.bodyLimit)
            exchange.connection.phase.withLock { $0 = .receiving(until: now() + time) }
            return
        }
        exchange.refusal = answer
    }

    /// True when the body will not be read at all: the answer goes out now, and the connection ends with it.
    fileprivate func shouldAnswerEarly(_ exchange: Exchange) -> Bool {
        guard exchange.refusal != nil else { return false }
        let declared = Int(exchange.head.header("content-length") ?? "0") ?? 0
        return declared > limits.drainedBytes || (declared > 0 && exchange.head.header("expect") != nil)
    }

    fileprivate func receive(_ bytes: UnsafeRawBufferPointer, for exchange: Exchange) -> MHD_Result {
        exchange.received += bytes.count
        guard exchange.received <= max(limits.drainedBytes, exchange.upload?.declared ?? 0) else { return .NO }
        guard exchange.refusal == nil else { return .YES }
        if let upload = exchange.upload {
            guard let reason = upload.write(bytes) else { return .YES }
            upload.drop()
            exchange.refusal = application.refusal(
                status: 507, problem: "the file cannot be written on this node: \(reason)",
                remedy: "make room on its disk", kind: "unavailable")
            return .YES
        }
        if exchange.received > exchange.bodyLimit {
            exchange.refusal = tooLarge(exchange)
        } else if shared.withLock({ state in
            guard state.bodyBytes + bytes.count <= limits.bodyBytesInAll else { return false }
            state.bodyBytes += bytes.count
            return true
        }) {
            exchange.body.append(contentsOf: bytes)
        } else {
            exchange.refusal = busy("too many large requests at once")
        }
        if exchange.refusal != nil { dropBody(of: exchange) }
        return .YES
    }

    fileprivate func complete(_ exchange: Exchange) -> MHD_Result {
        if let response = exchange.refusal ?? exchange.takeAnswer() {
            if exchange.isWorking { stopWorking(exchange) }
            return queue(response, for: exchange)
        }
        let room = shared.withLock { state in
            guard !state.isStopping, state.working < limits.working else {
                state.counters.refusedAtLimit += 1
                return false
            }
            state.working += 1
            return true
        }
        guard room else { return queue(busy("too many requests at once"), for: exchange) }
        let request = Request(head: exchange.head, body: exchange.body, upload: exchange.upload?.handOver())
        exchange.connection.phase.withLock { $0 = .working(exchange, since: now()) }
        exchange.work(on: application.executor(for: request)) { [application] in
            let response = await application.respond(to: request)
            if let path = request.upload { unlink(path) }  // whoever wanted it has moved it
            return response
        }
        // `stop` may have passed between the look at the flag and the work: it must not wait for us.
        if shared.withLock({ $0.isStopping }) { release(exchange) }
        return .YES
    }

    fileprivate func ended(_ exchange: Exchange) {
        exchange.stream?.abandon()
        exchange.producer?.cancel()
        exchange.upload?.drop()
        dropBody(of: exchange)
        if exchange.isWorking { stopWorking(exchange) }
        shared.withLock { state in
            state.exchanges[ObjectIdentifier(exchange)] = nil
            if exchange.isTransfer { state.transfers -= 1 }
            if exchange.stream != nil {
                state.streamCount -= 1
                let left = (state.streams[exchange.head.peer] ?? 1) - 1
                state.streams[exchange.head.peer] = left > 0 ? left : nil
            }
        }
        exchange.connection.phase.withLock { $0 = .waiting(since: now()) }
    }

    fileprivate func log(_ line: String) {
        let isStarting = daemon == nil
        if isStarting { shared.withLock { $0.startLog.append(line) } }
        Log.debug("web: \(line)")
    }

    private func stopWorking(_ exchange: Exchange) {
        exchange.isWorking = false
        shared.withLock { $0.working -= 1 }
    }

    private func dropBody(of exchange: Exchange) {
        let count = exchange.body.count
        exchange.body = []
        if count > 0 { shared.withLock { $0.bodyBytes -= count } }
    }

    private func tooLarge(_ exchange: Exchange) -> Response {
        guard exchange.bodyLimit > 0 else {
            return application.refusal(
                status: 400, problem: "\(exchange.head.method) \(exchange.head.path.prefix(200)) takes no body",
                remedy: "send it without one", kind: "invalid")
        }
        return application.refusal(
            status: 413, problem: "the request's body is larger than the \(exchange.bodyLimit) bytes this takes",
            remedy: "send less at once", kind: "invalid")
    }

    private func busy(_ problem: String) -> Response {
        var response = application.refusal(
            status: 503, problem: problem, remedy: "try again in a second", kind: "unavailable")
        response.headers.append(("Retry-After", "1"))
        return response
    }

    private func queue(_ response: Response, for exchange: Exchange) -> MHD_Result {
        let made: OpaquePointer?
        switch response.body {
        case .file(let file):
            guard exchange.isTransfer || takeTransfer(exchange) else {
                return queue(busy("too many files are on their way at once"), for: exchange)
            }
            let time = allowance(limits.answerTime, bytes: Int(file.bytes))
            exchange.connection.phase.withLock { $0 = .sending(until: now() + time) }
            let copy = dup(file.descriptor)
            made = copy < 0 ? nil : MHD_create_response_from_fd64(UInt64(file.bytes), copy)
        case .bytes(let bytes):
            exchange.connection.phase.withLock { $0 = .sending(until: now() + limits.answerTime) }
            made = bytes.withUnsafeBytes {
                MHD_create_response_from_buffer(
                    $0.count, UnsafeMutableRawPointer(mutating: $0.baseAddress), .RESPMEM_MUST_COPY)
            }
        case .constant(let text):
            exchange.connection.phase.withLock { $0 = .sending(until: now() + limits.answerTime) }
            made = MHD_create_response_from_buffer(
                text.utf8CodeUnitCount, UnsafeMutableRawPointer(mutating: text.utf8Start), .RESPMEM_PERSISTENT)
        case .stream(let stream, let produce):
            let room = shared.withLock { state in
                let own = state.streams[exchange.head.peer] ?? 0
                let isLocal = exchange.head.peer == .local
                guard !state.isStopping, state.streamCount < limits.streams,
                    isLocal || own < limits.streamsPerAddress
                else {
                    state.counters.refusedAtLimit += 1
                    return false
                }
                state.streams[exchange.head.peer] = own + 1
                state.streamCount += 1
                return true
            }
            guard room else { return queue(busy("too many event streams at once"), for: exchange) }
            exchange.stream = stream
            exchange.connection.phase.withLock { $0 = .streaming(stream) }
            exchange.producer = Task {
                await produce(stream)
                stream.end()
            }
            if shared.withLock({ $0.isStopping }) { stream.end() }  // `stop` may have missed it
            made = MHD_create_response_from_callback(
                UInt64.max, 4096, readStream, Unmanaged.passUnretained(exchange).toOpaque(), nil)
        }
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        for header in application.commonHeaders + response.headers {
            MHD_add_response_header(made, header.name, header.value)
        }
        if !response.headers.contains(where: { $0.name == "Cache-Control" }) {
            MHD_add_response_header(made, "Cache-Control", "no-store")
        }
        return MHD_queue_response(exchange.handle, UInt32(response.status), made)
    }

    private func values(of handle: OpaquePointer, _ kind: MHD_ValueKind) -> [(name: String, value: String)] {
        final class List { var values: [(name: String, value: String)] = [] }
        let list = List()
        MHD_get_connection_values(
            handle, kind,
            { context, _, name, value in
                let list = Unmanaged<List>.fromOpaque(context!).takeUnretainedValue()
                list.values.append((name.map { String(cString: $0) } ?? "", value.map { String(cString: $0) } ?? ""))
                return .YES
            }, Unmanaged.passUnretained(list).toOpaque())
        return list.values
    }
}

private func withOptionalCString<Result>(_ text: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
    guard let text else { return body(nil) }
    return text.withCString { body($0) }
}

// MARK: What libmicrohttpd calls
// Ordinary functions: a closure written in an isolated context would trap on the library's thread.

private func listener(_ context: UnsafeMutableRawPointer?) -> HTTPListener {
    Unmanaged<HTTPListener>.fromOpaque(context!).takeUnretainedValue()
}

private func connectionChanged(
    _ context: UnsafeMutableRawPointer?, _ handle: OpaquePointer?,
    _ slot: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ change: MHD_ConnectionNotificationCode
) {
    guard let handle, let slot else { return }
    if change == .CONNECTION_NOTIFY_STARTED {
        slot.pointee = Unmanaged.passRetained(listener(context).opened(handle)).toOpaque()
    } else if let kept = slot.pointee {
        slot.pointee = nil
        listener(context).closed(Unmanaged<Connection>.fromOpaque(kept).takeRetainedValue())
    }
}

private func handleRequest(
    _ context: UnsafeMutableRawPointer?, _ handle: OpaquePointer?, _ url: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ data: UnsafePointer<CChar>?,
    _ size: UnsafeMutablePointer<Int>?, _ slot: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let handle, let url, let method, let size, let slot else { return .NO }
    let listener = listener(context)
    guard let kept = slot.pointee else {
        guard let context = mhd_socket_context(handle) else { return .NO }
        let connection = Unmanaged<Connection>.fromOpaque(context).takeUnretainedValue()
        let exchange = listener.begin(
            handle, connection, url: String(cString: url), method: String(cString: method))
        slot.pointee = Unmanaged.passRetained(exchange).toOpaque()
        if let upload = exchange.upload {
            listener.place(exchange, upload)
            return .YES
        }
        return listener.shouldAnswerEarly(exchange) ? listener.complete(exchange) : .YES
    }
    let exchange = Unmanaged<Exchange>.fromOpaque(kept).takeUnretainedValue()
    if exchange.isPlacing {
        listener.placed(exchange)
        if listener.shouldAnswerEarly(exchange) { return listener.complete(exchange) }
        // The library asks once more about the head alone; the body comes with the next call, and is read even if it is
        // refused: whoever sends does not look at answers.
        if size.pointee == 0 { return .YES }
    }
    guard size.pointee == 0 else {
        let bytes = UnsafeRawBufferPointer(start: data, count: size.pointee)
        size.pointee = 0
        return listener.receive(bytes, for: exchange)
    }
    return listener.complete(exchange)
}

private func requestCompleted(
    _ context: UnsafeMutableRawPointer?, _ handle: OpaquePointer?,
    _ slot: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ reason: MHD_RequestTerminationCode
) {
    guard let kept = slot?.pointee else { return }
    slot?.pointee = nil
    listener(context).ended(Unmanaged<Exchange>.fromOpaque(kept).takeRetainedValue())
}

private func readStream(
    _ context: UnsafeMutableRawPointer?, _ position: UInt64, _ buffer: UnsafeMutablePointer<CChar>?, _ room: Int
) -> Int {
    let exchange = Unmanaged<Exchange>.fromOpaque(context!).takeUnretainedValue()
    guard let stream = exchange.stream else { return mhdStreamFailed }
    return stream.read(into: UnsafeMutableRawBufferPointer(start: buffer, count: room), connection: exchange.handle)
}

private func logLine(_ context: UnsafeMutableRawPointer?, _ format: UnsafePointer<CChar>?, _ values: CVaListPointer?) {
    guard let format, let values else { return }
    var text = [CChar](repeating: 0, count: 512)
    vsnprintf(&text, text.count, format, values)
    var line = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    while line.last?.isNewline == true { line.removeLast() }
    listener(context).log(line)
}
