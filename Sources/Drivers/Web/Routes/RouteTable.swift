import BrambleAPI
import Primitives

/// Whether balancers that are not ours should send anything here.
struct Health: Codable, Sendable {
    var ready: Bool
    var state: ClusterStatus.State
    /// Why a member is not ready: an operator took it out of service.
    var duty: NodeInfo.Standby?

    init(_ status: ClusterStatus) {
        (state, duty) = (status.state, status.duty)
        ready = (state == .alone || state == .member) && duty == nil
    }
}
struct NameRequest: Codable, Sendable { var name: String }
struct HostRequest: Codable, Sendable { var host: String }
struct LoginRequest: Codable, Sendable {
    var user: String
    var password: String
}
struct PasswordRequest: Codable, Sendable {
    /// The operator of this node unless another is named.
    var user: String?
    /// Not asked of the local operator.
    var current: String?
    var password: String
}
struct SessionInfo: Codable, Sendable {
    var user: String
    /// Is the connection to this node encrypted?
    var encrypted: Bool
    /// This node's protocol version of the API.
    var version: String
}

/// Everything the server answers.
enum RouteTable {
    /// Who `bramble init` makes the first password for.
    static let defaultUser = "admin"

    static let all: [Route] = pages + reading + changing + database + services + locks + desired + access

    private static let change = "What was done"

    private static let pages: [Route] = [
        Route(
            "GET", "/", "The dashboard", access: .page, answers: [.other("text/html", about: "A page for people")]
        ) { _ in Asset.page("index.html") },
        Route(
            "GET", "/login", "The login page", access: .anyone,
            answers: [.other("text/html", about: "A page for people")]
        ) { _ in Asset.page("login.html") },
        Route(
            "GET", "/openapi.json", "This description of the API, as OpenAPI 3.1",
            answers: [.other("application/json", about: "An OpenAPI document")]
        ) { _ in Response(status: 200, headers: [("Content-Type", "application/json")], body: .bytes(OpenAPI.document))
        },
    ]

    private static let reading: [Route] = [
        Route(
            "GET", "/health", "Is this node ready? For load balancers; needs no login", access: .anyone,
            answers: [.json(.of(Health.self), about: "Ready; 503 with the same fields when it is not")]
        ) { call in
            let health = await call.web.health.health(now: call.web.now())
            return .json(health, status: health.ready ? 200 : 503)
        },
        Route(
            "GET", "/v1/nodes", "Every node this node knows, and how sure it is of each", gives: [NodeInfo].self,
            about: "The nodes"
        ) { call in await call.web.service.nodes() },
        Route(
            "GET", "/v1/status", "The cluster in short", gives: ClusterStatus.self, about: "The cluster's status"
        ) { call in await call.web.service.status() },
        Route(
            "GET", "/v1/edges", "Who watches whom", gives: [WatchEdge].self, about: "The watched edges"
        ) { call in await call.web.service.edges() },
        Route(
            "GET", "/v1/why/{name}", "Why a node or a service is as it is", gives: Explanation.self,
            about: "One sentence and its evidence"
        ) { call in try await call.web.service.why(call.parameter("name")) },
        Route(
            "GET", "/v1/waiting", "Machines that were found and are not members", gives: [WaitingMachine].self,
            about: "The waiting machines"
        ) { call in await call.web.service.waiting() },
        Route(
            "GET", "/v1/doctor", "What is wrong or could be better on this node", gives: [DoctorCheck].self,
            about: "The findings"
        ) { call in await call.web.service.doctor() },
        Route(
            "GET", "/v1/version", "The version of this node", gives: VersionInfo.self, about: "The version"
        ) { call in await call.web.service.version() },
        Route(
            "GET", "/v1/events",
            "What happened, oldest first. With “Accept: text/event-stream” also what happens from now on; the standard "
                + "header Last-Event-ID resumes after a break",
            query: [Route.Parameter(name: "since", about: "Only events with a greater ID", schema: .whole)],
            answers: [
                .json(.of([Event].self), about: "The events"),
                .other("text/event-stream", about: "One event a message, with its ID"),
            ]
        ) { call in try await Streams.events(call) },
        Route(
            "GET", "/v1/live",
            "Everything the dashboard shows, as it changes: events status, nodes, phi, edges, waiting, services, mirrors, "
                + "database, event",
            query: [Route.Parameter(name: "since", about: "Only events with a greater ID", schema: .whole)],
            answers: [.other("text/event-stream", about: "At most about four messages of a kind a second")]
        ) { call in try Streams.live(call) },
        Route(
            "GET", "/metrics", "Figures for Prometheus",
            answers: [.other("text/plain; version=0.0.4", about: "Prometheus text exposition format 0.0.4")]
        ) { call in
            let text = await call.web.service.metrics() + call.web.metrics()
            return Response(
                status: 200, headers: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
                body: .bytes(Array(text.utf8)))
        },
    ]

    private static let changing: [Route] = [
        Route(
            "POST", "/v1/nodes", "Give a waiting machine the cluster key, or approve it", takes: NameRequest.self,
            gives: NodeChange.self, about: change
        ) { call, body in try await call.web.service.add(body.name) },
        Route(
            "DELETE", "/v1/nodes/{name}", "Remove a node: it is refused everywhere at once", gives: NodeChange.self,
            about: change
        ) { call in try await call.web.service.remove(call.parameter("name")) },
        Route(
            "POST", "/v1/nodes/{name}/labels", "Label a node, and take labels from it", takes: LabelRequest.self,
            gives: NodeChange.self, about: change
        ) { call, body in try await call.web.service.label(call.parameter("name"), body) },
        Route(
            "POST", "/v1/probe", "Look for a node at a host name or address, and add it where the rules allow it",
            takes: HostRequest.self, gives: NodeChange.self, about: change
        ) { call, body in try await call.web.service.probe(body.host) },
    ]

    private static let access: [Route] = [
        Route(
            "GET", "/v1/session", "Who is logged in", gives: SessionInfo.self, about: "The session"
        ) { call in
            let user =
                switch call.caller {
                case .session(_, let user): user
                case .token(let name, _): "token \(name)"
                case .local, nil: "local"
                }
            return SessionInfo(
                user: user, encrypted: call.head.isEncrypted, version: await call.web.service.version().version)
        },
        Route(
            "GET", "/v1/tokens", "The API tokens, without their secrets", gives: [TokenInfo].self, about: "The tokens"
        ) { call in await call.web.service.tokens() },
        Route(
            "POST", "/v1/tokens", "Make an API token", takes: NameRequest.self, gives: NewToken.self, status: 201,
            about: "The token: its secret is shown this once"
        ) { call, body in try await call.web.service.createToken(body.name) },
        Route(
            "DELETE", "/v1/tokens/{name}", "Revoke an API token: it stops working at once", gives: NodeChange.self,
            about: change
        ) { call in
            let name = call.parameter("name")
            let note = try await call.web.service.revokeToken(name)
            return NodeChange(name: name, done: "the token “\(name)” is revoked", note: note)
        },
        Route(
            "POST", "/v1/password",
            "Set a password. All other sessions of the user end. Anybody but the local operator shows the current one",
            takes: PasswordRequest.self, gives: NodeChange.self, about: change
        ) { call, body in try await call.web.setPassword(call, body) },
        Route(
            "POST", "/login", "Begin a session: answers with a cookie", access: .anyone, takes: LoginRequest.self,
            answers: [.json(.of(SessionInfo.self), about: "Logged in; after wrong passwords 429 with Retry-After")]
        ) { call, body in try await call.web.logIn(call, body) },
        Route(
            "POST", "/logout", "End this session", access: .anyone, status: 204,
            answers: [.nothing(about: "Logged out")]
        ) { call in call.web.logOut(call) },
    ]
}
