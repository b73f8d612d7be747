import Primitives

/// One address of a peer that heartbeats are sent to.
struct Path: Equatable, Sendable {
    enum State: Sendable { case unproven, up, lost }
    var endpoint: Endpoint
    var state = State.unproven
    /// On the attended clock.
    var lastHeard = Span.never

    static let limit = 3
}

/// What this node knows of the link to one peer that it watches, or that asked to be sent heartbeats.
///
/// `opening → up → probing → down → up`. Up means heard *both ways*: the peer's heartbeats arrive and say that ours do.
/// Times: `Int64` nanoseconds, on the attended clock where others are judged by them, else on the real one (`…At`).
struct Edge: Sendable {
    typealias State = EdgeView.State

    let peer: NodeID
    let slot: Int
    var state = State.opening
    /// Our topology wants this edge: we judge the peer by it. Otherwise the peer is a guest and only gets heartbeats.
    var isWatched: Bool
    /// Opened by the random probe, because the peer did not answer it; watched until `keepUntil`.
    var isBackstop = false
    /// A guest's edge ends here (attended).
    var keepUntil: Int64
    var openedAt: Int64
    /// It was up once in this life of the peer. Nobody is accused at once on an edge that never was.
    var wasUp = false

    // Sending. Real time.
    var sequence: UInt32
    /// When the last heartbeats were sent, by the low bits of their sequence numbers.
    var sentAt: InlineArray<4, Int64> = .init(repeating: Span.never)
    var nextBeat: Int64
    /// Where in the interval this peer's heartbeat is sent: spread out, so that a dying node was heard by some just now
    /// and by others almost an interval ago, and those start asking early.
    var phase: Int64 = 0

    // Hearing.
    var detector: AccrualDetector
    var heardSequence: UInt32 = 0
    var heardStamp = Span.never
    /// Attended: anything at all, and proof that we are heard too.
    var lastHeard: Int64
    var lastTwoWay: Int64
    var hasHeard = false
    var roundTrip: Int64?
    var paths: [Path]
    var load: [UInt8] = []
    var theirFlags: Heartbeat.Flags = []

    // Probing. Attended.
    var probesSent = 0
    var nextProbe: Int64 = 0
    var probeSentAt: Int64 = 0
    var nonce: UInt32 = 0

    // Down.
    /// The version that we last accused; a newer one is a refutation.
    var reported: MemberVersion?
    /// Who holds our word against it, and must hear when it is back. Sorted.
    var told: [NodeID] = []
    var reports = 0
    var nextReport: Int64 = 0
    /// When to ask the other observers whether a refuted or never opened peer should be reported (attended).
    var nextReview: Int64 = .max
    var reviewDelay: Int64 = 0
    var reviewEnds: Int64 = .max
    /// When a report by others about this peer was last passed on to it (attended).
    var lastWarned: Int64 = Span.never

    // Differences seen in its heartbeats. Real time.
    var viewDiffersSince: Int64?
    var theirViewHash: UInt64 = 0
    /// Theirs and ours when we last tried to put them right.
    var comparedHashes: UInt64 = 0
    var comparedAt: Int64 = Span.never
    /// The peer answered that with its records.
    var isCompared = false
    var syncDelay: Int64 = 0
    var factsDifferSince: Int64?
    var nextFacts: Int64 = Span.never
    var databaseDiffersSince: Int64?
    var nextDatabase: Int64 = Span.never

    /// A peer is heard while its silence is shorter than what would be reported.
    func hears(at attended: Int64) -> Bool { hasHeard && attended - lastHeard < detector.reportAfter }
    /// Heard both ways within the last `heartbeats` intervals.
    func isFresh(at attended: Int64, within heartbeats: Double) -> Bool {
        wasUp && Double(attended - lastTwoWay) <= heartbeats * Double(detector.interval)
    }

    /// The best path first: one that works, else the peer's own preference.
    var preferred: Endpoint? { (paths.first { $0.state == .up } ?? paths.first)?.endpoint }

    /// Notes that something came in over a path; true when a lost path is back.
    mutating func heard(on endpoint: Endpoint, attended: Int64) -> Bool {
        if let place = paths.firstIndex(where: { $0.endpoint == endpoint }) {
            paths[place].lastHeard = attended
            let wasLost = paths[place].state == .lost
            paths[place].state = .up
            return wasLost
        }
        let path = Path(endpoint: endpoint, state: .up, lastHeard: attended)
        if paths.count < Path.limit {
            paths.append(path)
        } else if let place = paths.lastIndex(where: { $0.state != .up }) {
            paths[place] = path
        }
        return false
    }

    /// The peer told other addresses: those that work stay, the told ones follow.
    mutating func readdress(_ endpoints: [Endpoint]) {
        var kept = paths.filter { path in path.state == .up || endpoints.contains(path.endpoint) }
        for endpoint in endpoints where !kept.contains(where: { $0.endpoint == endpoint }) {
            kept.append(Path(endpoint: endpoint))
        }
        // Working ones first, told ones before those the peer no longer names.
        let order = kept.indices.sorted { left, right in
            let (a, b) = (rank(kept[left], endpoints), rank(kept[right], endpoints))
            return a != b ? a < b : left < right
        }
        paths = order.prefix(Path.limit).map { kept[$0] }
    }
    private func rank(_ path: Path, _ endpoints: [Endpoint]) -> Int {
        switch (path.state == .up, endpoints.firstIndex(of: path.endpoint)) {
        case (true, let place?): place
        case (false, let place?): 100 + place
        case (true, nil): 50
        case (false, nil): 200
        }
    }
}
