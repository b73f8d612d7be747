import BrambleAPI
import FoundationEssentials
import Glibc
import Primitives

/// Who asked, once that is known.
enum Caller: Equatable, Sendable {
    /// Through the Unix socket.
    case local
    case session(id: String, user: String)
    case token(name: String, secret: String)
}

/// Whom a route answers.
enum AccessRule: Sendable {
    case anyone
    /// A session or a token; without one, 401.
    case operators
    /// A page for people: without a session the browser is sent to the login page.
    case page
}

/// One call of a route.
struct Call: Sendable {
    let head: RequestHead
    let caller: Caller?
    /// What the braces of the path stand for here.
    let parameters: [String: String]
    let web: WebApplication

    func parameter(_ name: String) -> String { parameters[name] ?? "" }
    func query(_ name: String) -> String? { head.query.first { $0.name == name }?.value }
}

/// One thing the server answers: the router, `/openapi.json` and the tests all read this.
struct Route: Sendable {
    struct Parameter: Sendable {
        let name: String
        let about: String
        let schema: Schema
    }
    enum Answer: Sendable {
        case json(Schema, about: String)
        /// Another media type.
        case other(String, about: String)
        case nothing(about: String)
    }

    let method: String
    /// Segments in braces stand for anything.
    let path: String
    let summary: String
    let access: AccessRule
    let query: [Parameter]
    let body: Schema?
    /// The media type of a file that is sent instead of JSON; it is written to the node's disk as it comes.
    let upload: String?
    /// How long the node may work on it; nil for the usual time.
    var patience: Duration?
    let status: Int
    let answers: [Answer]
    /// Throws `APIError`s, ready to be shown.
    let run: @Sendable (Call, Payload) async throws -> Response

    /// What came with the request.
    enum Payload: Sendable {
        case nothing
        /// JSON that fits the schema.
        case json([UInt8], JSONValue)
        /// The path of a file; whoever takes it moves or deletes it.
        case file(String)
    }

    init(
        _ method: String, _ path: String, _ summary: String, access: AccessRule = .operators, query: [Parameter] = [],
        status: Int = 200, answers: [Answer], run: @escaping @Sendable (Call) async throws -> Response
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.access = access
        self.query = query
        self.body = nil
        self.upload = nil
        self.status = status
        self.answers = answers
        self.run = { call, _ in try await run(call) }
    }

    /// Answers JSON.
    init<Value: Codable & Sendable>(
        _ method: String, _ path: String, _ summary: String, access: AccessRule = .operators, query: [Parameter] = [],
        gives: Value.Type, about: String, run: @escaping @Sendable (Call) async throws -> Value
    ) {
        self.init(
            method, path, summary, access: access, query: query, answers: [.json(.of(Value.self), about: about)]
        ) { call in .json(try await run(call)) }
    }

    /// Takes JSON, and gives it or something else.
    init<Body: Codable & Sendable>(
        _ method: String, _ path: String, _ summary: String, access: AccessRule = .operators, takes: Body.Type,
        status: Int = 200, answers: [Answer], run: @escaping @Sendable (Call, Body) async throws -> Response
    ) {
        let schema = Schema.of(Body.self)
        self.method = method
        self.path = path
        self.summary = summary
        self.access = access
        self.query = []
        self.body = schema
        self.upload = nil
        self.status = status
        self.answers = answers
        self.run = { call, payload in
            guard case .json(let bytes, _) = payload else { throw Unfit() }
            // The value has been held to the schema: what does not decode now is our mistake, not the client's.
            return try await run(call, try JSONDecoder().decode(Body.self, from: Data(bytes)))
        }
    }

    /// Takes JSON of this shape as it is.
    init<Body: Codable & Sendable>(
        _ method: String, _ path: String, _ summary: String, describedBy: Body.Type, answers: [Answer],
        run: @escaping @Sendable (Call, JSONValue) async throws -> Response
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.access = .operators
        self.query = []
        self.body = Schema.of(Body.self)
        self.upload = nil
        self.status = 200
        self.answers = answers
        self.run = { call, payload in
            guard case .json(_, let value) = payload else { throw Unfit() }
            return try await run(call, value)
        }
    }

    /// Takes a file.
    init<Value: Codable & Sendable>(
        _ method: String, _ path: String, _ summary: String, uploads type: String, gives: Value.Type, about: String,
        run: @escaping @Sendable (Call, String) async throws -> Value
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.access = .operators
        self.query = []
        self.body = nil
        self.upload = type
        self.status = 200
        self.answers = [.json(.of(Value.self), about: about)]
        self.run = { call, payload in
            guard case .file(let path) = payload else { throw Unfit() }
            return .json(try await run(call, path))
        }
    }

    /// A payload that does not belong to the route: our own mistake.
    private struct Unfit: Error {}

    init<Body: Codable & Sendable, Value: Codable & Sendable>(
        _ method: String, _ path: String, _ summary: String, access: AccessRule = .operators, takes: Body.Type,
        gives: Value.Type, status: Int = 200, about: String,
        run: @escaping @Sendable (Call, Body) async throws -> Value
    ) {
        self.init(
            method, path, summary, access: access, takes: takes, status: status,
            answers: [.json(.of(Value.self), about: about)]
        ) { call, body in .json(try await run(call, body), status: status) }
    }

    /// The same, for work that takes longer than most.
    func waiting(_ patience: Duration) -> Route {
        var route = self
        route.patience = patience
        return route
    }

    /// What the braces stand for in `path`; nil when it is not ours.
    func match(_ segments: [Substring]) -> [String: String]? {
        let own = Self.segments(of: path)
        guard own.count == segments.count else { return nil }
        var parameters: [String: String] = [:]
        for (pattern, segment) in zip(own, segments) {
            if pattern.first == "{" {
                guard !segment.isEmpty else { return nil }
                parameters[String(pattern.dropFirst().dropLast())] = String(segment)
            } else if pattern != segment {
                return nil
            }
        }
        return parameters
    }

    /// An empty segment counts: `/v1/nodes/` is not `/v1/nodes`.
    static func segments(of path: String) -> [Substring] {
        path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
    }
}

extension Response {
    static func json(_ value: some Encodable, status: Int = 200) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Response(
                status: status, headers: [("Content-Type", "application/json")],
                body: .bytes([UInt8](try encoder.encode(value))))
        } catch {
            // Only a number that is not finite cannot be written.
            return Response(
                status: 500, headers: [("Content-Type", "application/json")],
                body: .bytes(
                    Array(
                        #"{"error":{"problem":"the answer cannot be written as JSON","remedy":"report this","kind":"refused"}}"#
                            .utf8)))
        }
    }

    static func written(_ writer: JSONWriter) -> Response {
        Response(status: 200, headers: [("Content-Type", "application/json")], body: .bytes(writer.bytes))
    }

    /// Sends a file and deletes it: it is open, so its bytes stay until the last one is sent.
    static func download(_ file: BackupFile, named name: String, type: String) throws(APIError) -> Response {
        let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
        let reason = String(cString: strerror(errno))
        unlink(file.path)
        guard descriptor >= 0 else {
            throw APIError(
                problem: "the backup cannot be read: \(reason)", remedy: "see the node's log and its disk",
                kind: .unavailable)
        }
        return Response(
            status: 200,
            headers: [
                ("Content-Type", type), ("Content-Disposition", "attachment; filename=\"\(name)\""),
            ], body: .file(OpenFile(descriptor: descriptor, bytes: file.bytes)))
    }

    static func error(_ status: Int, _ problem: String, remedy: String, kind: APIError.Kind) -> Response {
        .json(ErrorBody(error: APIError(problem: problem, remedy: remedy, kind: kind)), status: status)
    }
}

/// `{"error":{"problem","remedy"}}`
struct ErrorBody: Codable, Sendable { var error: APIError }

extension APIError.Kind {
    var status: Int {
        switch self {
        case .refused: 409
        case .notFound: 404
        case .invalid: 400
        case .forbidden: 403
        case .tooMany: 429
        case .unavailable: 503
        }
    }
}

extension JSONWriter {
    /// Small things whose fields nobody wants to write twice.
    mutating func encoded(_ value: some Encodable) { text(Message.json(value)) }
}
