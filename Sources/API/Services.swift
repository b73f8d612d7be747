// What people and their scripts see of services and mirrors.

/// One service as the asked node knows it.
public struct ServiceInfo: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable { case running, starting, stopped, failed, blocked }
    public enum Guarantee: String, Codable, CaseIterable, Sendable {
        case majority, witness, fence
        case singleFault = "single-fault"
        case bestEffort = "best-effort"
    }
    public var name: String
    public var state: State
    /// Who runs it, or is about to; null when nobody does.
    public var node: String?
    /// Grows with each new holder.
    public var epoch: UInt64
    /// With their prefix, like 192.168.1.50/24.
    public var addresses: [String]
    public var guarantee: Guarantee
    /// When the state began, ISO 8601.
    public var since: String
    /// What it runs, as the file for `apply` writes it; null for addresses alone.
    public var run: String?
    /// The operator wants it to run.
    public var isWanted: Bool
    /// One sentence: why it is not running, or what is wrong; empty when all is well.
    public var reason: String
    /// How long it was away when it last went to another node, milliseconds; null before the first time. After `move` and
    /// `drill` it is measured by asking. Else it is worked out: from the last sign of life of the node that had it, or its
    /// word that it stopped, until the other ran it, which is when its check first succeeded if it has one.
    public var lastGapMs: Double?
    /// When that was, ISO 8601.
    public var lastGapAt: String?
    public var lastGapCause: GapCause?
    /// Names of its mirrors.
    public var mirrors: [String]

    public enum GapCause: String, Codable, CaseIterable, Sendable { case move, failure }

    enum CodingKeys: String, CodingKey {
        case name, state, node, epoch, addresses, guarantee, since, run, reason, lastGapMs, lastGapAt, lastGapCause
        case mirrors
        case isWanted = "wanted"
    }
    public init(
        name: String, state: State, node: String?, epoch: UInt64, addresses: [String], guarantee: Guarantee,
        since: String, run: String?, isWanted: Bool = true, reason: String = "", lastGapMs: Double? = nil,
        mirrors: [String] = [], lastGapAt: String? = nil, lastGapCause: GapCause? = nil
    ) {
        self.name = name
        self.state = state
        self.node = node
        self.epoch = epoch
        self.addresses = addresses
        self.guarantee = guarantee
        self.since = since
        self.run = run
        self.isWanted = isWanted
        self.reason = reason
        self.lastGapMs = lastGapMs
        self.lastGapAt = lastGapAt
        self.lastGapCause = lastGapCause
        self.mirrors = mirrors
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(state, forKey: .state)
        try container.encode(node, forKey: .node)
        try container.encode(epoch, forKey: .epoch)
        try container.encode(addresses, forKey: .addresses)
        try container.encode(guarantee, forKey: .guarantee)
        try container.encode(since, forKey: .since)
        try container.encode(run, forKey: .run)
        try container.encode(isWanted, forKey: .isWanted)
        try container.encode(reason, forKey: .reason)
        try container.encode(lastGapMs, forKey: .lastGapMs)
        try container.encode(lastGapAt, forKey: .lastGapAt)
        try container.encode(lastGapCause, forKey: .lastGapCause)
        try container.encode(mirrors, forKey: .mirrors)
    }
}

/// What an operator does with a service.
public enum ServiceAction: String, Codable, CaseIterable, Sendable {
    case start, stop
    /// To another node, without a failure.
    case move
    /// As if its node had failed, and back to a measured answer.
    case drill
    /// On the asked one of two nodes, which cannot find out by itself that the other one is off: an operator vouches for it.
    case takeOver = "take-over"
}

/// What became of it.
public struct ServiceChange: Codable, Equatable, Sendable {
    public var name: String
    /// One sentence.
    public var done: String
    /// Who runs it now; null when nobody does.
    public var node: String?
    /// How long a client saw nothing, milliseconds; null where nothing was measured.
    public var gapMs: Double?
    public init(name: String, done: String, node: String?, gapMs: Double? = nil) {
        self.name = name
        self.done = done
        self.node = node
        self.gapMs = gapMs
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(done, forKey: .done)
        try container.encode(node, forKey: .node)
        try container.encode(gapMs, forKey: .gapMs)
    }
}

/// What an operator does with a node's duty.
public enum NodeDuty: String, Codable, CaseIterable, Sendable {
    /// It runs nothing, also after a restart, until it is resumed: what it runs stops, and starts elsewhere where somebody
    /// can take it.
    case hold
    case resume
    /// It takes nothing new, and hands over what others can take; the rest stays until somebody can.
    case drain
}

/// One mirror as the asked node knows it.
public struct MirrorInfo: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        case equal, running, behind
        /// Nothing is pushed while a failure is sensed, or while the node on the other side is away.
        case paused
        case failed
    }
    public var name: String
    /// Whose files count; null while nobody holds its service.
    public var from: String?
    public var to: [String]
    /// When it last ended well, ISO 8601; null before the first time.
    public var lastRun: String?
    /// How old what the others have may be, seconds.
    public var behindSeconds: Double
    public var files: Int
    public var bytes: Int64
    public var state: State
    /// Files that were set aside because they differed on a node that came back.
    public var conflicts: Int
    /// One sentence when something is to be known; else empty.
    public var reason: String

    public init(
        name: String, from: String?, to: [String], lastRun: String?, behindSeconds: Double, files: Int, bytes: Int64,
        state: State, conflicts: Int = 0, reason: String = ""
    ) {
        self.name = name
        self.from = from
        self.to = to
        self.lastRun = lastRun
        self.behindSeconds = behindSeconds
        self.files = files
        self.bytes = bytes
        self.state = state
        self.conflicts = conflicts
        self.reason = reason
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(from, forKey: .from)
        try container.encode(to, forKey: .to)
        try container.encode(lastRun, forKey: .lastRun)
        try container.encode(behindSeconds, forKey: .behindSeconds)
        try container.encode(files, forKey: .files)
        try container.encode(bytes, forKey: .bytes)
        try container.encode(state, forKey: .state)
        try container.encode(conflicts, forKey: .conflicts)
        try container.encode(reason, forKey: .reason)
    }
}

/// A file that a returning node had and that differed: it was set aside before it was replaced.
public struct ParkedFile: Codable, Equatable, Sendable {
    public var id: String
    public var mirror: String
    /// Where it was.
    public var path: String
    /// Who had it, and has it still.
    public var node: String
    /// When it was set aside, and when it was last changed, ISO 8601.
    public var at: String
    public var changed: String
    public var bytes: Int64
    public init(
        id: String, mirror: String, path: String, node: String, at: String, changed: String, bytes: Int64
    ) {
        self.id = id
        self.mirror = mirror
        self.path = path
        self.node = node
        self.at = at
        self.changed = changed
        self.bytes = bytes
    }
}
