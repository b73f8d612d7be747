import Primitives

/// What observers said of one node that somebody does not hear.
struct Suspicion: Sendable {
    struct Held: Equatable, Sendable {
        let observer: NodeID
        var version: MemberVersion
        var figures: Figures
        /// Attended.
        var refreshed: Int64
    }
    struct Opinion: Equatable, Sendable {
        let observer: NodeID
        /// Nil when it was asked and has not answered yet.
        var opinion: Evidence.Opinion?
        /// When it said so (attended).
        var at: Int64
        /// Questions and reports that it has not answered since, and when the first of them was sent (attended).
        var unanswered = 0
        var askedSince: Int64
    }

    let subject: NodeID
    /// Each sorted by observer.
    private(set) var accusations: [Held] = []
    private(set) var opinions: [Opinion] = []
    /// Attended.
    let openedAt: Int64
    /// When the count first sufficed; the verdict may wait a moment for others that are about to fall (attended).
    var decidedAt: Int64?
    /// People were told.
    var isShown = false

    init(subject: NodeID, openedAt: Int64) {
        self.subject = subject
        self.openedAt = openedAt
    }

    mutating func accuse(by observer: NodeID, version: MemberVersion, figures: Figures, at attended: Int64) {
        let held = Held(observer: observer, version: version, figures: figures, refreshed: attended)
        let (place, isThere) = accusations.place(of: observer) { $0.observer }
        if isThere { accusations[place] = held } else { accusations.insert(held, at: place) }
        forgetOpinion(of: observer)
    }

    mutating func withdraw(by observer: NodeID) {
        let (place, isThere) = accusations.place(of: observer) { $0.observer }
        if isThere { accusations.remove(at: place) }
    }

    mutating func note(_ opinion: Evidence.Opinion, by observer: NodeID, at attended: Int64) {
        let said = Opinion(observer: observer, opinion: opinion, at: attended, askedSince: attended)
        let (place, isThere) = opinions.place(of: observer) { $0.observer }
        if isThere { opinions[place] = said } else { opinions.insert(said, at: place) }
    }

    mutating func noteAsked(_ observer: NodeID, at attended: Int64) {
        let (place, isThere) = opinions.place(of: observer) { $0.observer }
        if !isThere {
            opinions.insert(Opinion(observer: observer, opinion: nil, at: attended, askedSince: attended), at: place)
        }
        if opinions[place].unanswered == 0 { opinions[place].askedSince = attended }
        opinions[place].unanswered += 1
    }

    mutating func forgetOpinion(of observer: NodeID) {
        let (place, isThere) = opinions.place(of: observer) { $0.observer }
        if isThere { opinions.remove(at: place) }
    }
    mutating func forgetOpinions() { opinions = [] }

    func isAccused(by observer: NodeID) -> Bool { accusations.place(of: observer) { $0.observer }.isThere }
    func opinion(of observer: NodeID) -> Opinion? {
        let (place, isThere) = opinions.place(of: observer) { $0.observer }
        return isThere ? opinions[place] : nil
    }

    /// Accusations of an older version were refuted; those not repeated for long are void.
    mutating func drop(below version: MemberVersion, refreshedBefore deadline: Int64) {
        accusations.removeAll { $0.version < version || $0.refreshed < deadline }
    }
}

/// What one observer of a silent node stands for, as far as we know.
enum Stance: Equatable, Sendable {
    case accuses
    /// Has fresh contact, both ways.
    case defends
    case undecided
    /// Does not watch it, is gone itself, or is accused by too many to be counted on.
    case excluded
}

/// The observers' count on one silent node.
///
/// Failed needs 60 % of the observers that are counted, and more accusers than there are observers with fresh contact
/// (membership.md: Rapid's almost-everywhere agreement without its consensus, which two nodes could not reach).
struct Tally: Equatable, Sendable {
    private(set) var accusers = 0
    private(set) var defenders = 0
    private(set) var counted = 0

    init(_ stances: some Sequence<Stance>) {
        for stance in stances {
            switch stance {
            case .accuses: accusers += 1
            case .defends: defenders += 1
            case .undecided: break
            case .excluded: continue
            }
            counted += 1
        }
    }

    /// ⌈0.6 · counted⌉, in whole numbers.
    var needed: Int { (counted * 3 + 4) / 5 }
    var isFailed: Bool { accusers > 0 && accusers >= needed && accusers > defenders }
    /// So many accusations against an observer, at these many observers of its own, and it is not counted on:
    /// max(1, ⌈0.25 · observers⌉), Rapid's low watermark.
    static func lowWatermark(observers: Int) -> Int { max(1, (observers + 3) / 4) }
}
