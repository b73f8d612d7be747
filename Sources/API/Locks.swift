// What people and their scripts see of locks.

/// Who holds a lock, as far as the asked node knows.
public struct LockInfo: Codable, Equatable, Sendable {
    public var name: String
    /// Null when nobody holds it.
    public var node: String?
    /// Grows with each holder.
    public var epoch: UInt64
    /// Commands on the asked node that wait for it.
    public var waiting: Int
    /// Since when the asked node knows it so, ISO 8601; null when nobody holds it.
    public var since: String?
    public init(name: String, node: String?, epoch: UInt64, waiting: Int, since: String? = nil) {
        self.name = name
        self.node = node
        self.epoch = epoch
        self.waiting = waiting
        self.since = since
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(node, forKey: .node)
        try container.encode(epoch, forKey: .epoch)
        try container.encode(waiting, forKey: .waiting)
        try container.encode(since, forKey: .since)
    }
}

/// What whoever wants a lock is told, as it changes.
public struct LockNews: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        case waiting
        /// Told again with each renewal.
        case held
        /// It may be acted on until `untilNs` only; nothing more comes.
        case lost
        /// It was not free in time; nothing more comes.
        case gaveUp = "gave-up"
    }
    public var state: State
    public var epoch: UInt64
    /// May be acted on until then: CLOCK_BOOTTIME of this machine, nanoseconds. 0 while waiting.
    public var untilNs: Int64
    /// Who holds it now, where that is known.
    public var holder: String?
    /// One sentence: why it is waited for, or was lost.
    public var reason: String
    public init(state: State, epoch: UInt64 = 0, untilNs: Int64 = 0, holder: String? = nil, reason: String = "") {
        self.state = state
        self.epoch = epoch
        self.untilNs = untilNs
        self.holder = holder
        self.reason = reason
    }
}

/// Gives a lock back: whatever it protected has ended.
public struct LockRelease: Codable, Equatable, Sendable {
    public var epoch: Int64
    public init(epoch: UInt64) { self.epoch = Int64(clamping: epoch) }
}
