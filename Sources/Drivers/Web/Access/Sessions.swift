import Primitives

/// A random secret that a client shows to be known again: 256 bits from the kernel, as 43 letters, digits, - and _.
enum Secret {
    static func make() -> String {
        var source = SystemRandomNumberGenerator()  // getrandom(2) on Linux
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        // 43 letters of 6 bits: 258 bits.
        let letters = (0..<43).map { _ in alphabet[Int(truncatingIfNeeded: source.next() & 63)] }
        return String(decoding: letters, as: UTF8.self)
    }
}

/// Who is logged in to this node's dashboard. In memory only: a restart of the daemon ends all sessions.
struct Sessions: Sendable {
    struct Session: Sendable {
        let user: String
        let began: Instant
        var lastUsed: Instant
    }
    /// How long a session lives without a request.
    static let idleLimit: Duration = .seconds(12 * 3600)
    /// How long a session lives at most.
    static let ageLimit: Duration = .seconds(7 * 24 * 3600)
    /// Sessions at once; a further one ends the one that was quiet longest.
    static let capacity = 512

    private var table: [String: Session] = [:]

    var count: Int { table.count }

    mutating func begin(user: String, now: Instant) -> String {
        if table.count >= Self.capacity {
            table = table.filter { Self.isAlive($0.value, now) }
            while table.count >= Self.capacity, let quietest = table.min(by: { $0.value.lastUsed < $1.value.lastUsed })
            {
                table[quietest.key] = nil
            }
        }
        let id = Secret.make()
        table[id] = Session(user: user, began: now, lastUsed: now)
        return id
    }

    /// The session, when it is still good; `isUse` keeps it alive for another while.
    mutating func find(_ id: String, now: Instant, isUse: Bool = true) -> Session? {
        guard var session = table[id] else { return nil }
        guard Self.isAlive(session, now) else {
            table[id] = nil
            return nil
        }
        if isUse {
            session.lastUsed = now
            table[id] = session
        }
        return session
    }

    mutating func end(_ id: String) { table[id] = nil }

    /// After a new password: whoever used the old one is out, except for the session that changed it.
    mutating func endAll(of user: String, except id: String?) {
        table = table.filter { $0.value.user != user || $0.key == id }
    }

    private static func isAlive(_ session: Session, _ now: Instant) -> Bool {
        now - session.lastUsed < idleLimit && now - session.began < ageLimit
    }
}
