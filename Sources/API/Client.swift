import FoundationEssentials
import Glibc

/// Asks a node over its Unix socket or its HTTP API: what the command line uses, and what a workload may use.
///
/// ```
/// let node = BrambleClient(socket: "/run/bramble/bramble.sock")
/// for try await event in node.follow(since: nil) { print(event.type, event.subject) }
/// ```
///
/// Each call is one HTTP request on a thread of its own. Nothing is retried: the caller knows better what a second try means.
public struct BrambleClient: Sendable {
    /// Where a node listens for its own machine, unless configured otherwise.
    public static let defaultSocket = "/run/bramble/bramble.sock"

    /// Whose certificate is believed when the address begins with https.
    public enum Trust: Equatable, Sendable {
        /// Whoever the machine's own list of authorities vouches for.
        case system
        /// Whoever a certificate in this PEM file vouches for; the node's own self-signed one will do.
        case file(String)
        /// Anybody: for a network where nobody can pretend to be the node.
        case anybody
    }

    /// How long a call may take in all, answer included. Default 10 s: a node answers from memory within milliseconds,
    /// even a busy one is done in a second or two.
    public var timeout: Duration = .seconds(10)
    /// The same for calls that make the node talk to another machine first. Default 60 s: an invitation waits for that
    /// machine's handshake and its answer.
    public var changeTimeout: Duration = .seconds(60)
    /// The same for orders that end when a service has stopped and started, or a mirror has run. Default 610 s: a little more
    /// than a node gives them.
    public var orderTimeout: Duration = .seconds(610)
    /// How long a stream may be silent. Default 60 s: the node sends a comment every 15 s at least.
    public var idleLimit: Duration = .seconds(60)

    /// Largest answer that is read: 16 MiB, some 30,000 nodes or 50,000 events.
    static let answerLimit = 16 << 20
    /// Events that wait for a slow reader of a stream before the stream ends with an error.
    static let streamBacklog = 4096

    private let peer: HTTPPeer

    /// The node on this machine; who may ask it is decided by the socket's file mode.
    public init(socket path: String = defaultSocket) {
        peer = HTTPPeer(base: "http://localhost", socket: path)
    }

    /// A node anywhere: `http://serv1:8080` or `https://serv1:8080`, with a token made by `bramble token create`.
    public init(api address: String, token: String?, trust: Trust = .system) throws(ClientError) {
        guard let base = Self.checked(address) else {
            throw ClientError(
                .wrongUse, problem: "“\(address)” is not the address of a node's HTTP API",
                remedy: "write it like http://serv1:8080 or https://192.168.1.11:8080")
        }
        if let token, token.isEmpty || !token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) {
            throw ClientError(
                .wrongUse, problem: "the token has characters that no token has",
                remedy: "copy it again, without spaces; a new one: bramble token create NAME")
        }
        if case .file(let path) = trust, access(path, R_OK) != 0 {
            throw ClientError(
                .wrongUse, problem: "the certificate file \(path) cannot be read: \(String(cString: strerror(errno)))",
                remedy: "name a readable file in PEM format")
        }
        peer = HTTPPeer(base: base, token: token, trust: trust)
    }

    /// The address without the slash at its end; nil unless it is scheme, host and port alone.
    private static func checked(_ address: String) -> String? {
        guard address.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), let url = URL(string: address),
            let scheme = url.scheme?.lowercased(), ["http", "https"].contains(scheme),
            let host = url.host, !host.isEmpty,
            // A password in an address would end up in the shell's history and in `ps`.
            url.user == nil, url.password == nil, url.query == nil, url.fragment == nil, ["", "/"].contains(url.path)
        else { return nil }
        return address.hasSuffix("/") ? String(address.dropLast()) : address
    }

    /// Where it asks, as an operator names it.
    public var address: String { peer.description }
}

// MARK: What can be asked

extension BrambleClient {
    public func nodes() async throws(ClientError) -> [NodeInfo] { try await get("/v1/nodes") }
    public func status() async throws(ClientError) -> ClusterStatus { try await get("/v1/status") }
    public func edges() async throws(ClientError) -> [WatchEdge] { try await get("/v1/edges") }
    /// Events with a greater ID, oldest first; all that are kept without one.
    public func events(since id: UInt64? = nil) async throws(ClientError) -> [Event] {
        try await get("/v1/events" + (id.map { "?since=\($0)" } ?? ""))
    }
    public func why(_ name: String) async throws(ClientError) -> Explanation {
        try await get("/v1/why/" + escaped(name))
    }
    public func waiting() async throws(ClientError) -> [WaitingMachine] { try await get("/v1/waiting") }
    public func doctor() async throws(ClientError) -> [DoctorCheck] {
        try await get("/v1/doctor", timeout: changeTimeout)
    }
    public func version() async throws(ClientError) -> VersionInfo { try await get("/v1/version") }
    /// Prometheus text exposition format 0.0.4.
    public func metrics() async throws(ClientError) -> String {
        String(decoding: try await ask(HTTPRequest(path: "/metrics", accept: "text/plain")), as: UTF8.self)
    }

    /// Gives a waiting machine the cluster key, or approves it. `name` is its name, ID or code.
    public func add(_ name: String) async throws(ClientError) -> NodeChange {
        try await send("POST", "/v1/nodes", ["name": name])
    }
    public func remove(_ name: String) async throws(ClientError) -> NodeChange {
        try await send("DELETE", "/v1/nodes/" + escaped(name), nil)
    }
    public func label(_ name: String, _ change: LabelRequest) async throws(ClientError) -> NodeChange {
        try await post("/v1/nodes/" + escaped(name) + "/labels", change)
    }
    /// Looks for a node at a host name or address; adds it where the operator's rules allow it.
    public func probe(_ host: String) async throws(ClientError) -> NodeChange {
        try await send("POST", "/v1/probe", ["host": host])
    }

    // What should be.

    public func apply(_ request: ApplyRequest) async throws(ClientError) -> ApplyAnswer {
        try await post("/v1/apply", request)
    }
    public func export() async throws(ClientError) -> DesiredDocument { try await get("/v1/export") }

    public func balancers() async throws(ClientError) -> [BalancerInfo] { try await get("/v1/balancers") }

    public func volumes() async throws(ClientError) -> [VolumeInfo] { try await get("/v1/volumes") }
    /// Answers when it is mounted on every node.
    public func createVolume(_ request: VolumeRequest) async throws(ClientError) -> VolumeInfo {
        try await post("/v1/volumes", request)
    }
    public func deleteVolume(_ name: String) async throws(ClientError) -> NodeChange {
        try await send("DELETE", "/v1/volumes/" + escaped(name), nil)
    }
    public func changeBricks(
        of volume: String, _ request: VolumeBricksRequest
    ) async throws(ClientError) -> NodeChange {
        try await post("/v1/volumes/" + escaped(volume) + "/bricks", request)
    }
    public func healVolume(_ name: String) async throws(ClientError) -> NodeChange {
        try await send("POST", "/v1/volumes/" + escaped(name) + "/heal", nil)
    }

    public func clocks(within limit: Double? = nil, wait: Int = 0) async throws(ClientError) -> [ClockInfo] {
        let query = limit.map { "?within=\($0)&wait=\(wait)" } ?? ""
        return try await get("/v1/clock" + query, timeout: max(timeout, .seconds(wait + 10)))
    }
    public func keepClocks(_ isOn: Bool) async throws(ClientError) -> NodeChange {
        try await post("/v1/clock", ClockRequest(on: isOn))
    }

    // Locks.

    public func locks() async throws(ClientError) -> [LockInfo] { try await get("/v1/locks") }
    /// Wants a lock of this machine's node for as long as the stream is read.
    public func hold(lock name: String, wait: Int?) -> AsyncThrowingStream<LockNews, any Error> {
        let path = "/v1/locks/" + escaped(name) + "/hold" + (wait.map { "?wait=\($0)" } ?? "")
        return stream(path, remedy: "see who holds it: bramble lock") { (message) throws(ClientError) in
            try decode(Array(message.data.utf8))
        }
    }
    public func release(lock name: String, epoch: UInt64) async throws(ClientError) -> LockInfo {
        try await post("/v1/locks/" + escaped(name) + "/release", LockRelease(epoch: epoch))
    }

    // The database.

    /// Carries out the statements in one transaction: all or none.
    public func execute(_ request: SQLRequest) async throws(ClientError) -> SQLAnswer {
        var writer = JSONWriter()
        writer.request(request)
        let message = HTTPRequest(method: "POST", path: "/v1/sql", body: writer.bytes)
        // By our own reader: Foundation's takes 1.0 for a whole number.
        let body = try await ask(message, timeout: changeTimeout)
        guard let value = try? JSONReader.read(body), let answer = SQLAnswer(value) else {
            throw notUnderstood
        }
        return answer
    }
    /// One statement.
    public func execute(
        _ statement: String, _ params: [SQLValue] = [], durability: WriteDurability = .one, isReadOnly: Bool = false
    ) async throws(ClientError) -> SQLAnswer {
        try await execute(SQLRequest([SQLStatement(statement, params)], durability: durability, isReadOnly: isReadOnly))
    }
    /// Rows as they change. After a break go on with the last token seen; without one the stream begins now.
    public func watch(_ table: String, since token: String? = nil) -> AsyncThrowingStream<WatchMessage, any Error> {
        let path = "/v1/watch/" + escaped(table) + (token.map { "?since=\(escaped($0))" } ?? "")
        let remedy = "when it runs again, go on with the last token seen: bramble watch \(table) --since TOKEN"
        return stream(path, remedy: remedy) { (message) throws(ClientError) in
            let data = Array(message.data.utf8)
            if message.event == "resync" { return .resync(try decode(data)) }
            guard message.event.isEmpty else { return nil }
            guard let value = try? JSONReader.read(data), let change = RowChange(value) else { throw notUnderstood }
            return .change(change)
        }
    }
    public func database() async throws(ClientError) -> DatabaseStatus { try await get("/v1/database") }
    public func tables() async throws(ClientError) -> [TableInfo] { try await get("/v1/tables") }
    public func conflicts(limit: Int = 100) async throws(ClientError) -> [Conflict] {
        try await get("/v1/conflicts?limit=\(limit)")
    }
    public func releaseWrites(of node: String) async throws(ClientError) -> DatabaseChange {
        try await post("/v1/database/release", ReleaseRequest(of: node))
    }
    /// A consistent copy of the whole database. `receive` gets its bytes as they come, on a thread of the transfer's; false
    /// ends it.
    public func backup(_ receive: @escaping @Sendable (UnsafeRawBufferPointer) -> Bool) async throws(ClientError) {
        final class Progress: @unchecked Sendable { var refusal: [UInt8] = [] }
        let progress = Progress()
        let request = HTTPRequest(path: "/v1/backup", accept: "application/vnd.sqlite3")
        let transfer = try HTTPTransfer(request, to: peer, timeout: nil) { bytes, status, _ in
            guard status == 200 else {
                progress.refusal.append(contentsOf: bytes.prefix(64 << 10 - progress.refusal.count))
                return true
            }
            return receive(bytes)
        }
        try await finish(transfer) { progress.refusal }
    }
    /// Replaces the database of every node by this backup.
    public func restore(from path: String) async throws(ClientError) -> DatabaseChange {
        final class Progress: @unchecked Sendable { var answer: [UInt8] = [] }
        let progress = Progress()
        let request = HTTPRequest(method: "POST", path: "/v1/restore", file: path)
        let transfer = try HTTPTransfer(request, to: peer, timeout: nil) { bytes, _, _ in
            progress.answer.append(contentsOf: bytes.prefix(64 << 10 - progress.answer.count))
            return true
        }
        try await finish(transfer) { progress.answer }
        return try decode(progress.answer)
    }
    /// Runs a transfer of any length, as long as it moves. A large file is checked for a while before the answer comes.
    private func finish(_ transfer: HTTPTransfer, _ body: @escaping @Sendable () -> [UInt8]) async throws(ClientError) {
        let idleLimit = Duration.seconds(600)
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                transfer.start(idleLimit: idleLimit) { continuation.resume(returning: $0) }
            }
        } onCancel: {
            transfer.cancel()
        }
        if let error = failure(outcome, body: body()) { throw error }
    }

    // Services and mirrors.

    public func services() async throws(ClientError) -> [ServiceInfo] { try await get("/v1/services") }
    /// `node`: where to, for a move.
    public func order(
        _ action: ServiceAction, service name: String, to node: String? = nil
    ) async throws(ClientError) -> ServiceChange {
        let body = action == .move ? ["to": node].compactMapValues(\.self) : nil
        return try await send("POST", "/v1/services/\(escaped(name))/\(action.rawValue)", body, orderTimeout)
    }
    public func order(_ duty: NodeDuty, node name: String) async throws(ClientError) -> NodeChange {
        try await send("POST", "/v1/nodes/\(escaped(name))/\(duty.rawValue)", nil, orderTimeout)
    }
    public func mirrors() async throws(ClientError) -> [MirrorInfo] { try await get("/v1/mirrors") }
    /// Runs a mirror now; answers when it is done.
    public func runMirror(_ name: String) async throws(ClientError) -> MirrorInfo {
        try await send("POST", "/v1/mirrors/\(escaped(name))/run", nil, orderTimeout)
    }
    public func parkedFiles(of mirror: String? = nil) async throws(ClientError) -> [ParkedFile] {
        try await get("/v1/parked" + (mirror.map { "?mirror=\(escaped($0))" } ?? ""))
    }
    public func restoreParkedFile(_ id: String) async throws(ClientError) -> NodeChange {
        try await send("POST", "/v1/parked/\(escaped(id))/restore", nil)
    }

    public func tokens() async throws(ClientError) -> [TokenInfo] { try await get("/v1/tokens") }
    public func createToken(_ name: String) async throws(ClientError) -> NewToken {
        try await send("POST", "/v1/tokens", ["name": name])
    }
    public func revokeToken(_ name: String) async throws(ClientError) -> NodeChange {
        try await send("DELETE", "/v1/tokens/\(escaped(name))", nil)
    }
    /// A node asks who is not on its own machine for the password of today. Without a user it is the node's operator,
    /// whom `bramble init` made.
    public func setPassword(
        user: String?, password: String, current: String? = nil
    ) async throws(ClientError) -> NodeChange {
        let fields = ["user": user, "password": password, "current": current].compactMapValues(\.self)
        let request = HTTPRequest(method: "POST", path: "/v1/password", body: Self.encode(fields))
        // A password's hash is made slow on purpose.
        return try decode(try await ask(request, timeout: changeTimeout))
    }

    /// Those events with a greater ID that are kept already (all of them without one), then the others as they happen.
    ///
    /// The stream ends with an error when the node stops, is silent for `idleLimit`, or the reader falls more than
    /// 4,096 events behind; go on with the last ID seen.
    public func follow(since id: UInt64? = nil) -> AsyncThrowingStream<Event, any Error> {
        // Looking back is a question of its own: a node cuts off streams whose readers are far behind.
        let start = FollowStart(client: self, id: id)
        return AsyncThrowingStream { try await start.next() }
    }

    /// Everything that the dashboard shows, as it changes: about four times a second at most.
    public func live() -> AsyncThrowingStream<LiveUpdate, any Error> {
        stream("/v1/live") { (message) throws(ClientError) in
            let data = Array(message.data.utf8)
            switch message.event {
            case "status": return .status(try decode(data))
            case "nodes": return .nodes(try decode(data))
            case "edges": return .edges(try decode(data))
            case "database": return .database(try decode(data))
            case "waiting": return .waiting(try decode(data))
            case "services": return .services(try decode(data))
            case "mirrors": return .mirrors(try decode(data))
            case "locks": return .locks(try decode(data))
            case "event": return .event(try decode(data))
            case "phi":
                let figures: LiveFigures = try decode(data)
                return .suspicion(nodes: figures.nodes, edges: figures.edges)
            default: return nil
            }
        }
    }

    fileprivate func events(after id: UInt64) -> AsyncThrowingStream<Event, any Error> {
        stream("/v1/events?since=\(id)") { (message) throws(ClientError) in try decode(Array(message.data.utf8)) }
    }
}

/// One message of `BrambleClient.live()`. Each replaces what was said of its subject before.
public enum LiveUpdate: Equatable, Sendable {
    case status(ClusterStatus)
    case nodes([NodeInfo])
    /// The moving part of nodes (by name) and edges (by “from>to”): φ; nil where nobody can tell.
    case suspicion(nodes: [String: Double?], edges: [String: Double?])
    case edges([WatchEdge])
    case waiting([WaitingMachine])
    case services([ServiceInfo])
    case mirrors([MirrorInfo])
    case locks([LockInfo])
    case database(DatabaseStatus)
    case event(Event)
}

private struct LiveFigures: Decodable {
    var nodes: [String: Double?]
    var edges: [String: Double?]
}

/// First the kept events, then the stream of new ones, without a gap and without repeats.
private final actor FollowStart {
    private let client: BrambleClient
    private var last: UInt64?
    private var kept: [Event]?
    private var position = 0
    private var coming: AsyncThrowingStream<Event, any Error>.Iterator?

    init(client: BrambleClient, id: UInt64?) {
        self.client = client
        last = id
    }

    func next() async throws -> Event? {
        if kept == nil { kept = try await client.events(since: last) }
        if let event = kept?[...].dropFirst(position).first {
            position += 1
            last = event.id
            return event
        }
        kept = []
        position = 0
        var iterator = coming ?? client.events(after: last ?? 0).makeAsyncIterator()
        while let event = try await iterator.next(isolation: self) {
            coming = iterator
            guard event.id > last ?? 0 else { continue }
            last = event.id
            return event
        }
        return nil
    }
}

/// What one stream has read so far. Touched by the transfer's thread alone.
private final class StreamProgress: @unchecked Sendable {
    var parser = EventStreamParser()
    /// The node's answer was a stream, and it has begun.
    var hasBegun = false
    var error: ClientError?
    var refusal: [UInt8] = []
}

// MARK: How it is asked

extension BrambleClient {
    private func get<Answer: Decodable>(_ path: String, timeout: Duration? = nil) async throws(ClientError) -> Answer {
        try decode(try await ask(HTTPRequest(path: path), timeout: timeout))
    }

    private func send<Answer: Decodable>(
        _ method: String, _ path: String, _ body: [String: String]?, _ timeout: Duration? = nil
    ) async throws(ClientError) -> Answer {
        let request = HTTPRequest(method: method, path: path, body: body.map(Self.encode))
        return try decode(try await ask(request, timeout: timeout ?? changeTimeout))
    }

    /// Bodies are texts, whole numbers and truth values, which always encode.
    private func post<Answer: Decodable>(
        _ path: String, _ body: some Encodable
    ) async throws(ClientError) -> Answer {
        let request = HTTPRequest(method: "POST", path: path, body: Array(try! JSONEncoder().encode(body)))
        return try decode(try await ask(request, timeout: changeTimeout))
    }

    private static func encode(_ body: [String: String]) -> [UInt8] {
        // A dictionary of strings always encodes.
        Array(try! JSONEncoder().encode(body))
    }

    private func decode<Answer: Decodable>(_ body: [UInt8]) throws(ClientError) -> Answer {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(body))
        } catch {
            throw notUnderstood
        }
    }

    private var notUnderstood: ClientError {
        ClientError(
            .notUnderstood, problem: "the answer of \(peer.description) is not what this version understands",
            remedy: "check that this address is a node of Bramble, and compare: bramble version")
    }

    /// One request, one bounded answer.
    private func ask(_ request: HTTPRequest, timeout: Duration? = nil) async throws(ClientError) -> [UInt8] {
        // Touched by the transfer's thread alone, which hands over the body at the end.
        final class Answer: @unchecked Sendable { var body: [UInt8] = [] }
        let answer = Answer()
        let transfer = try HTTPTransfer(request, to: peer, timeout: timeout ?? self.timeout) { bytes, _, _ in
            guard answer.body.count + bytes.count <= Self.answerLimit else { return false }
            answer.body.append(contentsOf: bytes)
            return true
        }
        let (outcome, body) = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                transfer.start { continuation.resume(returning: ($0, answer.body)) }
            }
        } onCancel: {
            transfer.cancel()
        }
        if let error = failure(outcome, body: body) { throw error }
        return body
    }

    /// A stream of server-sent events; `read` turns one into a value, or skips it.
    private func stream<Value: Sendable>(
        _ path: String, remedy: String = Self.goOn,
        read: @escaping @Sendable (ServerSentEvent) throws(ClientError) -> Value?
    ) -> AsyncThrowingStream<Value, any Error> {
        AsyncThrowingStream(bufferingPolicy: .bufferingOldest(Self.streamBacklog)) { continuation in
            let progress = StreamProgress()
            let receive: HTTPTransfer.Receiver = { bytes, status, type in
                guard status == 200 else {
                    progress.refusal.append(contentsOf: bytes.prefix(64 << 10 - progress.refusal.count))
                    return true
                }
                do throws(ClientError) {
                    guard type.hasPrefix("text/event-stream") else { throw notBramble(status: status, type: type) }
                    progress.hasBegun = true
                    for message in try parse(bytes, with: &progress.parser) {
                        guard let value = try read(message) else { continue }
                        if case .dropped = continuation.yield(value) { throw tooSlow(remedy) }
                    }
                    return true
                } catch {
                    progress.error = error
                    return false
                }
            }
            do throws(ClientError) {
                let request = HTTPRequest(path: path, accept: "text/event-stream")
                let transfer = try HTTPTransfer(request, to: peer, timeout: nil, receive: receive)
                continuation.onTermination = { if case .cancelled = $0 { transfer.cancel() } }
                transfer.start(idleLimit: idleLimit) { outcome in
                    continuation.finish(throwing: progress.error ?? endOfStream(outcome, progress, remedy))
                }
            } catch {
                continuation.finish(throwing: error)
            }
        }
    }

    private func parse(
        _ bytes: UnsafeRawBufferPointer, with parser: inout EventStreamParser
    ) throws(ClientError) -> [ServerSentEvent] {
        do {
            return try parser.feed(bytes)
        } catch {
            throw ClientError(
                .notUnderstood, problem: "\(peer.description) sent an event larger than 8 MiB",
                remedy: "check that this address is a node of Bramble, and compare: bramble version")
        }
    }

    /// A stream that has begun has no other end than that the node went away.
    private func endOfStream(
        _ outcome: HTTPTransfer.Outcome, _ progress: StreamProgress, _ remedy: String
    ) -> ClientError {
        switch outcome {
        case .timedOut where progress.hasBegun:
            let problem =
                "\(peer.description) has been silent for \(idleLimit): the daemon hangs, or the network is cut"
            return ClientError(.noAnswer, problem: problem, remedy: remedy)
        case .answered, .failed:
            if !progress.hasBegun, let error = failure(outcome, body: progress.refusal) { return error }
            let problem = "\(peer.description) ended the stream of events: the daemon stopped"
            return ClientError(.noAnswer, problem: problem, remedy: remedy)
        default: return failure(outcome, body: progress.refusal) ?? tooSlow(remedy)
        }
    }
    private func tooSlow(_ remedy: String) -> ClientError {
        ClientError(
            .notUnderstood, problem: "this reader is \(Self.streamBacklog) events behind and would miss some",
            remedy: remedy)
    }
    private static let goOn = "when it runs again, go on with the last ID seen: bramble events --follow --since ID"

    private func failure(_ outcome: HTTPTransfer.Outcome, body: [UInt8]) -> ClientError? {
        switch outcome {
        case .answered(let status, _) where (200..<300).contains(status): return nil
        case .answered(let status, let type):
            struct Refusal: Decodable { var error: APIError }
            guard let refusal = try? JSONDecoder().decode(Refusal.self, from: Data(body)) else {
                return notBramble(status: status, type: type)
            }
            return ClientError(.refused(status: status), refusal.error)
        case .stoppedByReceiver:
            return ClientError(
                .notUnderstood, problem: "\(peer.description) sent an answer larger than 16 MiB",
                remedy: "check that this address is a node of Bramble, and compare: bramble version")
        case .cancelled: return ClientError(.cancelled, problem: "the request was cancelled", remedy: "ask again")
        case .timedOut(let error), .failed(let error): return error
        }
    }

    private func notBramble(status: Int, type: String) -> ClientError {
        ClientError(
            .notUnderstood,
            problem: "what answers at \(peer.description) is not a node of Bramble (HTTP \(status), “\(type)”)",
            remedy: "check the address and the port (8080 unless configured)")
    }

    /// One segment of a path: all but the unreserved characters of RFC 3986 are percent-encoded.
    private func escaped(_ segment: String) -> String {
        let digits = Array("0123456789ABCDEF")
        return segment.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "~"):
                return String(UnicodeScalar(byte))
            case UInt8(ascii: ".") where segment != "." && segment != "..": return "."
            default: return "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
            }
        }.joined()
    }
}
