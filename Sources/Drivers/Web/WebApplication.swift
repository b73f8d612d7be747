import BrambleAPI
import FoundationEssentials
import Logging
import Primitives
import Reactor

/// What the HTTP face does with a request: who asks, may they, which route, is the body right.
final class WebApplication: HTTPApplication {
    let service: any BrambleService
    let limits: WebLimits
    let now: @Sendable () -> Instant
    let sleep: @Sendable (Duration) async throws -> Void
    let sessions = Locked(Sessions())
    let throttle = Locked(LoginThrottle())
    /// Passwords are hashed one at a time: each takes tens of megabytes on purpose.
    let passwordGate = Gate(waiting: 8)
    let feed: LiveFeed
    let health: HealthCache
    /// What the sockets count, for `/metrics`.
    let counters = Locked<@Sendable () -> [ListenerFigures]>({ [] })
    /// By the number of segments of their paths: a request is compared with a few, not with all.
    private let routes: [Int: [(route: Route, pattern: [Substring])]]
    /// Those whose path has nothing in braces.
    private let fixed: [String: [Route]]
    private let cookie: Locked<String>

    init(
        service: any BrambleService, limits: WebLimits, now: @escaping @Sendable () -> Instant,
        sleep: @escaping @Sendable (Duration) async throws -> Void
    ) {
        self.service = service
        self.limits = limits
        self.now = now
        self.sleep = sleep
        feed = LiveFeed(service: service, limits: limits, sleep: sleep)
        health = HealthCache(service: service)
        cookie = Locked("bramble")
        routes = Dictionary(
            grouping: RouteTable.all.map { ($0, Route.segments(of: $0.path)) }, by: { $0.1.count })
        fixed = Dictionary(grouping: RouteTable.all.filter { !$0.path.contains("{") }, by: \.path)
    }

    /// Cookies do not tell ports apart: two nodes on one host must not end each other's sessions.
    func nameCookie(port: UInt16) { cookie.withLock { $0 = "bramble-\(port)" } }
    var cookieName: String { cookie.withLock { $0 } }

    // MARK: On libmicrohttpd's thread

    func screen(_ head: RequestHead) -> Screening {
        if let asset = Asset.find(head) { return .answer(asset) }
        switch find(head) {
        case .failure(let refusal): return .answer(refusal.response)
        case .success(let (route, _)):
            // Whoever shows nothing to be known by does not get to send a body, nor to bother the node.
            if head.peer != .local, !canBeKnown(head) {
                switch route.access {
                case .anyone: break
                case .operators: return .answer(Self.unauthorized)
                case .page: return .answer(Self.toLogin)
                }
            }
            if route.upload != nil { return .upload(patience: route.patience) }
            return .accept(bodyLimit: route.body == nil ? 0 : limits.bodyBytes, patience: route.patience)
        }
    }

    var commonHeaders: [(name: String, value: String)] {
        [
            ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            (
                "Content-Security-Policy",
                "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
            ),
        ]
    }

    func refusal(status: Int, problem: String, remedy: String, kind: String) -> Response {
        .error(status, problem, remedy: remedy, kind: APIError.Kind(rawValue: kind) ?? .refused)
    }

    /// Short SQL is read, carried out and answered on one thread of the database's. A guess from its first word: where it is
    /// wrong the statement is only carried on to the other thread.
    func executor(for request: Request) -> (any TaskExecutor)? {
        guard request.head.path == "/v1/sql", request.body.count <= 16 << 10 else { return nil }
        return service.executor(forReading: SQLCall.beginsWithSelect(request.body))
    }

    // MARK: In a task

    func respond(to request: Request) async -> Response {
        let response = await answer(request)
        Log.debug("web: \(request.head.method) \(request.head.path) \(response.status) for \(request.head.peer)")
        return response
    }

    /// Before a file is sent: who sends it, may they, and is there room.
    func place(_ head: RequestHead, bytes: Int) async -> Placement {
        if case .failure(let refusal) = await admit(head) { return .refused(refusal.response) }
        do throws(APIError) {
            return .path(try await service.placeForUpload(bytes: Int64(bytes)))
        } catch {
            return .refused(.error(error.kind.status, error.problem, remedy: error.remedy, kind: error.kind))
        }
    }

    /// Everything that can be said of a request before its body is looked at.
    private func admit(_ head: RequestHead) async -> Result<(Route, Call), Refusal> {
        let route: Route
        let parameters: [String: String]
        switch find(head) {
        case .failure(let refusal): return .failure(refusal)
        case .success(let found): (route, parameters) = found
        }
        let caller: Caller?
        switch await identify(head) {
        case .failure(let refusal): return .failure(refusal)
        case .success(let known): caller = known
        }
        if caller == nil {
            switch route.access {
            case .anyone: break
            case .operators: return .failure(Refusal(Self.unauthorized))
            case .page: return .failure(Refusal(Self.toLogin))
            }
        }
        if head.effectiveMethod != "GET", let refusal = refuseForeignPage(head, caller) {
            return .failure(Refusal(refusal))
        }
        if let unknown = head.query.first(where: { given in !route.query.contains { $0.name == given.name } }) {
            let known = route.query.map(\.name)
            return .failure(
                Refusal(
                    .error(
                        400, "unknown query parameter “\(unknown.name)”",
                        remedy: known.isEmpty
                            ? "\(route.path) takes none" : "it takes \(known.joined(separator: ", "))",
                        kind: .invalid)))
        }
        return .success((route, Call(head: head, caller: caller, parameters: parameters, web: self)))
    }

    private func answer(_ request: Request) async -> Response {
        let head = request.head
        let route: Route
        let call: Call
        switch await admit(head) {
        case .failure(let refusal): return refusal.response
        case .success(let admitted): (route, call) = admitted
        }
        var payload = request.upload.map { Route.Payload.file($0) } ?? .nothing
        if let schema = route.body {
            switch check(request.body, against: schema) {
            case .failure(let refusal): return refusal.response
            case .success(let value): payload = .json(request.body, value)
            }
        }
        do {
            return try await route.run(call, payload)
        } catch let error as APIError {
            return .error(error.kind.status, error.problem, remedy: error.remedy, kind: error.kind)
        } catch let refusal as Refusal {
            return refusal.response
        } catch {
            Log.error("web: \(head.method) \(route.path) failed: \(error)")
            return .error(
                500, "the node failed at this request", remedy: "see the node's log, and report it", kind: .refused)
        }
    }

    private func find(_ head: RequestHead) -> Result<(Route, [String: String]), Refusal> {
        let method = head.effectiveMethod
        if let route = fixed[head.path]?.first(where: { $0.method == method }) { return .success((route, [:])) }
        let segments = Route.segments(of: head.path)
        let onPath = (routes[segments.count] ?? []).compactMap { route, pattern in
            Route.match(segments, pattern).map { (route, $0) }
        }
        if let found = onPath.first(where: { $0.0.method == method }) { return .success(found) }
        guard !onPath.isEmpty else {
            return .failure(
                Refusal(
                    .error(
                        404, "there is nothing at \(head.path.prefix(200))",
                        remedy: "/openapi.json lists what there is",
                        kind: .notFound)))
        }
        var methods = Set(onPath.map(\.0.method))
        if methods.contains("GET") { methods.insert("HEAD") }
        let allowed = methods.sorted().joined(separator: ", ")
        var response = Response.error(
            405, "\(head.path.prefix(200)) does not take \(head.method.prefix(20))", remedy: "it takes \(allowed)",
            kind: .invalid)
        response.headers.append(("Allow", allowed))
        return .failure(Refusal(response))
    }

    private func check(_ body: [UInt8], against schema: Schema) -> Result<JSONValue, Refusal> {
        do throws(JSONProblem) {
            let value = try JSONReader.read(body)
            guard let mismatch = schema.mismatch(in: value) else { return .success(value) }
            let remedy = "/openapi.json has the fields of every request"
            return .failure(Refusal(.error(400, mismatch, remedy: remedy, kind: .invalid)))
        } catch {
            let problem = "the body is not JSON: line \(error.line), column \(error.column): \(error.text)"
            let remedy = "send one JSON object, as /openapi.json describes it"
            return .failure(Refusal(.error(400, problem, remedy: remedy, kind: .invalid)))
        }
    }

    // MARK: Who asks

    private func canBeKnown(_ head: RequestHead) -> Bool {
        if head.header("authorization") != nil { return true }
        guard let id = sessionID(head) else { return false }
        return sessions.withLock { $0.find(id, now: now(), isUse: false) } != nil
    }

    func sessionID(_ head: RequestHead) -> String? {
        let name = cookieName
        for pair in (head.header("cookie") ?? "").split(separator: ";") {
            let parts = pair.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            if parts.count == 2, parts[0] == name { return String(parts[1]) }
        }
        return nil
    }

    private func identify(_ head: RequestHead) async -> Result<Caller?, Refusal> {
        guard case .address(let address) = head.peer else { return .success(.local) }
        if let authorization = head.header("authorization") {
            let parts = authorization.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
            guard parts.count == 2, parts[0].lowercased() == "bearer", parts[1].utf8.count <= 256 else {
                return .failure(Refusal(Self.unauthorized))
            }
            // Guessing tokens is hopeless, but it must not keep the node busy either.
            if let wait = throttle.withLock({ $0.wait(.tokens(address), now: now()) }) {
                return .failure(Refusal(Self.slowDown(wait)))
            }
            let secret = String(parts[1])
            guard let name = await service.authenticate(token: secret) else {
                throttle.withLock { $0.count(.tokens(address), now: now()) }
                return .failure(Refusal(Self.unauthorized))
            }
            return .success(.token(name: name, secret: secret))
        }
        guard let id = sessionID(head) else { return .success(nil) }
        guard let session = sessions.withLock({ $0.find(id, now: now()) }) else { return .success(nil) }
        return .success(.session(id: id, user: session.user))
    }

    /// Still good? For streams that stay open.
    func isStillKnown(_ caller: Caller) async -> Bool {
        switch caller {
        case .local: true
        case .session(let id, _): sessions.withLock { $0.find(id, now: now(), isUse: false) } != nil
        case .token(_, let secret): await service.authenticate(token: secret) != nil
        }
    }

    /// A page of another site can make a browser send our cookie, but not hide where it comes from.
    private func refuseForeignPage(_ head: RequestHead, _ caller: Caller?) -> Response? {
        switch caller {
        case .local, .token: return nil
        case .session, nil: break
        }
        let isOurs: Bool
        if let site = head.header("sec-fetch-site") {
            isOurs = site == "same-origin" || site == "none"
        } else if let origin = head.header("origin") {
            let scheme = head.isEncrypted ? "https" : "http"
            isOurs = head.header("host").map { origin.lowercased() == "\(scheme)://\($0.lowercased())" } ?? false
        } else {
            // Browsers always name the origin of such a request. Without a cookie there is nothing to steal.
            isOurs = caller == nil
        }
        guard !isOurs else { return nil }
        return .error(
            403, "this request comes from a page of another site",
            remedy: "use the dashboard of this node itself; scripts use a token: bramble token create NAME",
            kind: .forbidden)
    }

    static let unauthorized: Response = {
        var response = Response.error(
            401, "this needs a login or a token",
            remedy: "log in at /login, or send “Authorization: Bearer TOKEN” (bramble token create NAME makes one)",
            kind: .forbidden)
        response.headers.append(("WWW-Authenticate", "Bearer"))
        return response
    }()
    static let toLogin = Response(status: 303, headers: [("Location", "/login")])

    static func slowDown(_ wait: Duration) -> Response {
        let seconds = max(Int(wait.seconds.rounded(.up)), 1)
        var response = Response.error(
            429, "too many wrong passwords or tokens from here", remedy: "wait \(seconds) s, then try again",
            kind: .tooMany)
        response.headers.append(("Retry-After", "\(seconds)"))
        return response
    }
}

/// An answer that is not the one asked for.
struct Refusal: Error {
    let response: Response
    init(_ response: Response) { self.response = response }
}

/// Lets one in at a time and keeps few waiting.
actor Gate {
    private let capacity: Int
    private var isBusy = false
    private var queue: [CheckedContinuation<Void, Never>] = []

    init(waiting: Int) { capacity = waiting }

    /// Nil when too many wait already.
    func run<Result: Sendable>(_ body: @Sendable () async -> Result) async -> Result? {
        if isBusy {
            guard queue.count < capacity else { return nil }
            await withCheckedContinuation { queue.append($0) }  // handed on busy
        }
        isBusy = true
        let result = await body()
        if queue.isEmpty { isBusy = false } else { queue.removeFirst().resume() }
        return result
    }
}

/// Is this node ready? Asked without a login and maybe often: the node itself is asked at most a few times a second.
actor HealthCache {
    private static let lifetime: Duration = .milliseconds(200)
    private let service: any BrambleService
    private var last: (health: Health, at: Instant)?

    init(service: any BrambleService) { self.service = service }

    func health(now: Instant) async -> Health {
        if let last, now - last.at < Self.lifetime { return last.health }
        let health = Health(await service.status())
        last = (health, now)
        return health
    }
}
