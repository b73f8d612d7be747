import Primitives

/// Slows down whoever guesses passwords: by address, and by the user whose password is guessed.
///
/// From the fifth wrong password on, each one doubles the wait before the next is looked at at all. An attempt counts as
/// wrong from its start, so that guesses sent side by side do not slip through. A user's own limit is short, because
/// anybody can cause it: it must slow guesses from many addresses, not lock the operator out.
struct LoginThrottle: Sendable {
    enum Key: Hashable, Sendable {
        /// Who guesses passwords.
        case client(IPAddress)
        /// Whose password is guessed.
        case user(String)
        /// Who guesses tokens.
        case tokens(IPAddress)

        /// An IPv6 /64 counts as one client: it belongs to one.
        fileprivate var network: Key {
            switch self {
            case .client(.v6(let high, _)): .client(.v6(high: high, low: 0))
            case .tokens(.v6(let high, _)): .tokens(.v6(high: high, low: 0))
            default: self
            }
        }
        /// Failures before the wait begins. A script with an old token fails often and means no harm.
        fileprivate var free: Int { if case .tokens = self { 20 } else { 5 } }
        fileprivate var longestWait: Duration { if case .client = self { .seconds(900) } else { .seconds(30) } }
    }
    private struct Entry: Sendable {
        var wrong = 0
        var blockedUntil = Instant.zero
        var last: Instant
    }
    /// The first wait; doubles with each further failure.
    static let firstWait: Duration = .seconds(2)
    /// Quiet for this long, and all is forgotten.
    static let memory: Duration = .seconds(3600)
    static let capacity = 4096

    private var table: [Key: Entry] = [:]

    var count: Int { table.count }

    /// Nil: go on, and call `succeeded` when the password was right. Else how long to wait.
    mutating func attempt(from peer: IPAddress, user: String, now: Instant) -> Duration? {
        let keys = [Key.client(peer), .user(user)]
        if let wait = keys.compactMap({ wait($0, now: now) }).max() { return wait }
        for key in keys { count(key, now: now) }
        return nil
    }

    mutating func succeeded(from peer: IPAddress, user: String) {
        table[Key.client(peer).network] = nil
        table[.user(user)] = nil
    }

    /// The attempt was never looked at.
    mutating func undo(from peer: IPAddress, user: String) {
        for key in [Key.client(peer).network, .user(user)] where table[key] != nil { table[key]!.wrong -= 1 }
    }

    func wait(_ key: Key, now: Instant) -> Duration? {
        guard let entry = table[key.network], entry.blockedUntil > now else { return nil }
        return entry.blockedUntil - now
    }

    mutating func count(_ key: Key, now: Instant) {
        let key = key.network
        var entry = table[key] ?? Entry(last: now)
        if now - entry.last > Self.memory { entry = Entry(last: now) }
        entry.wrong += 1
        entry.last = now
        if entry.wrong >= key.free {
            entry.blockedUntil = now + min(Self.firstWait * (1 << min(entry.wrong - key.free, 20)), key.longestWait)
        }
        if table[key] == nil, table.count >= Self.capacity { makeRoom(now: now) }
        table[key] = entry
    }

    private mutating func makeRoom(now: Instant) {
        table = table.filter { now - $0.value.last <= Self.memory }
        while table.count >= Self.capacity, let oldest = table.min(by: { $0.value.last < $1.value.last }) {
            table[oldest.key] = nil
        }
    }
}
