// What people and their scripts see of clocks.

/// One node's clock, as measured from the asked node.
public struct ClockInfo: Codable, Equatable, Sendable {
    public var node: String
    /// How far it is ahead of the node that serves the time, or of the asked node where none does. Milliseconds; null where
    /// it did not answer.
    public var offsetMs: Double?
    /// How wrong that may be: half of the time the question was under way.
    public var errorMs: Double?
    /// Whom its clock follows; null for nobody.
    public var source: String?
    public var synchronized: Bool
    /// It serves the time to the others.
    public var serves: Bool
    /// The cluster was told to keep its clocks together.
    public var kept: Bool
    public init(
        node: String, offsetMs: Double?, errorMs: Double?, source: String?, synchronized: Bool, serves: Bool = false,
        kept: Bool = false
    ) {
        self.node = node
        self.offsetMs = offsetMs
        self.errorMs = errorMs
        self.source = source
        self.synchronized = synchronized
        self.serves = serves
        self.kept = kept
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(node, forKey: .node)
        try container.encode(offsetMs, forKey: .offsetMs)
        try container.encode(errorMs, forKey: .errorMs)
        try container.encode(source, forKey: .source)
        try container.encode(synchronized, forKey: .synchronized)
        try container.encode(serves, forKey: .serves)
        try container.encode(kept, forKey: .kept)
    }
}

/// Whether the cluster keeps the clocks of its nodes.
public struct ClockRequest: Codable, Equatable, Sendable {
    public var on: Bool
    public init(on: Bool) { self.on = on }
}

extension [ClockInfo] {
    /// The most that two of these clocks may differ, errors included, milliseconds; nil where one did not answer.
    public var spreadMs: Double? {
        guard !isEmpty, allSatisfy({ $0.offsetMs != nil && $0.errorMs != nil }) else { return nil }
        let highest = map { $0.offsetMs! + $0.errorMs! }.max()!
        let lowest = map { $0.offsetMs! - $0.errorMs! }.min()!
        return count == 1 ? 0 : highest - lowest
    }
}
