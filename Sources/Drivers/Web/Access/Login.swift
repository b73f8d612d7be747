import BrambleAPI
import Primitives

extension WebApplication {
    func logIn(_ call: Call, _ request: LoginRequest) async throws -> Response {
        try await prove(request.user, request.password, for: call)
        let id = sessions.withLock { $0.begin(user: request.user, now: now()) }
        let version = await service.version().version
        var response = Response.json(
            SessionInfo(user: request.user, encrypted: call.head.isEncrypted, version: version))
        response.headers.append(("Set-Cookie", cookie(id, lifetime: Sessions.ageLimit, call.head)))
        return response
    }

    func logOut(_ call: Call) -> Response {
        if let id = sessionID(call.head) { sessions.withLock { $0.end(id) } }
        return Response(status: 204, headers: [("Set-Cookie", cookie("", lifetime: .zero, call.head))])
    }

    func setPassword(_ call: Call, _ request: PasswordRequest) async throws -> NodeChange {
        var session: String?
        var user = request.user ?? RouteTable.defaultUser
        switch call.caller {
        case .local: break
        case .session(let id, let own):
            session = id
            user = request.user ?? own
            fallthrough
        default:
            guard let current = request.current else {
                throw APIError(
                    problem: "the current password is missing", remedy: "send it as “current”", kind: .invalid)
            }
            try await prove(user, current, for: call)
        }
        let chosen = user
        let isSet = await passwordGate.run { [service] () -> Result<String, APIError> in
            do throws(APIError) {
                return .success(try await service.setPassword(user: chosen, password: request.password))
            } catch {
                return .failure(error)
            }
        }
        guard let isSet else { throw Refusal(Self.tooManyLogins) }
        let note = try isSet.get()
        sessions.withLock { $0.endAll(of: user, except: session) }
        return NodeChange(
            name: user, done: "the password of “\(user)” is changed, and its other sessions are over", note: note)
    }

    /// Throws when this is not the user's password, or too many wrong ones came before.
    private func prove(_ user: String, _ password: String, for call: Call) async throws {
        // Longer ones are nobody's: do not even hash them.
        guard user.utf8.count <= 64, password.utf8.count <= 1024 else { throw Refusal(Self.wrongPassword) }
        let address: IPAddress? = if case .address(let address) = call.head.peer { address } else { nil }
        if let address, let wait = throttle.withLock({ $0.attempt(from: address, user: user, now: now()) }) {
            throw Refusal(Self.slowDown(wait))
        }
        let isRight = await passwordGate.run { [service] in
            await service.authenticate(user: user, password: password)
        }
        guard let isRight else {
            if let address { throttle.withLock { $0.undo(from: address, user: user) } }
            throw Refusal(Self.tooManyLogins)
        }
        guard isRight else { throw Refusal(Self.wrongPassword) }
        if let address { throttle.withLock { $0.succeeded(from: address, user: user) } }
    }

    private func cookie(_ value: String, lifetime: Duration, _ head: RequestHead) -> String {
        "\(cookieName)=\(value); Path=/; Max-Age=\(Int(lifetime.seconds)); HttpOnly; SameSite=Strict"
            + (head.isEncrypted ? "; Secure" : "")
    }

    private static let wrongPassword = Response.error(
        401, "wrong user or password", remedy: "try again; on the machine itself: bramble password sets a new one",
        kind: .forbidden)
    private static var tooManyLogins: Response {
        var response = Response.error(
            503, "too many people are logging in at once", remedy: "try again in a few seconds", kind: .unavailable)
        response.headers.append(("Retry-After", "3"))
        return response
    }
}
