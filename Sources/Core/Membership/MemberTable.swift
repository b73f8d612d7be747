import Primitives

/// Everybody this node ever heard of, and what it holds of each: the newest telling by (generation, incarnation, rank).
///
/// What is stored only ever grows in that order, on any evidence, also where the evidence changes nothing else: an older
/// telling that arrives late must find the newer one there, or it would bring back the dead.
struct MemberTable: Sendable {
    struct Entry: Sendable {
        let id: NodeID
        fileprivate(set) var version: MemberVersion
        /// `alive`, `failed` or `left`. Suspicion is not a record; it lives in `Suspicion`.
        fileprivate(set) var rank: MemberRank
        fileprivate(set) var profile: MemberProfile
        /// The version that told the profile; older than `version` where we missed a telling.
        fileprivate(set) var profileVersion: MemberVersion
        /// When this rank began, on our clock. Unit: nanoseconds.
        fileprivate(set) var since: Int64
        fileprivate(set) var verdict: Verdict?
        /// From the file of an earlier life; nobody has confirmed it yet.
        var isSaved: Bool
        /// Where it was last heard, when we have no edge to it.
        var path: Endpoint?
        /// When we last told it what is claimed of it. Unit: nanoseconds.
        var challengedAt: Int64
        fileprivate var isVacant = false

        var record: MemberRecord { MemberRecord(id: id, version: version, rank: rank, profile: profile) }
        var isPresent: Bool { rank == .alive && !isVacant }
    }

    /// What an update changed.
    enum Change: Equatable, Sendable {
        /// Older than what we hold.
        case stale
        case nothing
        /// A newer telling of the same: only the version grew.
        case renewed
        case profile
        case joined
        /// Known from an earlier life of ours, and now heard of for the first time in this one.
        case confirmed
        case returned(after: MemberRank)
        case restarted
        case failed
        case left
        /// Somebody we never met, who is gone already.
        case metAbsent
    }

    /// A member keeps its slot as long as it is listed; slots are in order of first sight, which is the same in each replay.
    private(set) var entries: [Entry] = []
    private var slots: [NodeID: Int] = [:]
    private var vacant: [Int] = []
    /// Slots of failed and departed members, those who went first at the front.
    private(set) var absent: [Int] = []
    private(set) var presentCount = 0
    private(set) var removed: [NodeID] = []
    private(set) var buckets = [UInt64](repeating: 0, count: ViewDigest.bucketCount)
    private(set) var viewHash: UInt64 = 0
    private let isMonotone: Bool

    /// `isMonotone: false` plants the bug `incarnationNotMonotone`.
    init(isMonotone: Bool = true) {
        self.isMonotone = isMonotone
    }

    func slot(of id: NodeID) -> Int? { slots[id] }
    subscript(slot: Int) -> Entry {
        _read { yield entries[slot] }
    }
    func isPresent(_ slot: Int) -> Bool { entries[slot].rank == .alive && !entries[slot].isVacant }
    mutating func modify(_ slot: Int, _ change: (inout Entry) -> Void) { change(&entries[slot]) }

    /// Sorted by ID. Made on demand.
    var sorted: [Entry] { entries.filter { !$0.isVacant }.sorted { $0.id < $1.id } }

    // MARK: Changes

    mutating func merge(_ update: Update, now: Int64) -> Change {
        guard !isRemoved(update.id) else { return .stale }
        let since = now - Int64(update.age) * 1_000_000_000
        guard let slot = slots[update.id] else {
            guard let profile = update.profile else { return .stale }
            add(
                Entry(
                    id: update.id, version: update.version, rank: update.rank, profile: profile,
                    profileVersion: update.version, since: since, verdict: update.verdict, isSaved: false, path: nil,
                    challengedAt: Span.never))
            return update.rank == .alive ? .joined : .metAbsent
        }
        let held = entries[slot]
        let isNewer =
            update.version != held.version ? update.version > held.version : update.rank > held.rank
        guard isNewer else {
            guard update.version == held.version, update.rank == held.rank else { return .stale }
            return confirm(slot, update, since: since)
        }
        if !isMonotone, held.rank == .failed, update.rank == .failed { return .nothing }

        unhash(slot)
        entries[slot].version = update.version
        if let profile = update.profile {
            entries[slot].profile = profile
            entries[slot].profileVersion = update.version
        }
        let hadProfile = held.profile
        entries[slot].isSaved = false
        if update.rank != held.rank {
            entries[slot].since = since
            entries[slot].verdict = update.verdict
        }
        setRank(slot, update.rank)
        hash(slot)
        switch (held.rank, update.rank) {
        case (.alive, .alive):
            if held.isSaved { return .joined }
            if update.version.generation != held.version.generation { return .restarted }
            return entries[slot].profile == hadProfile ? .renewed : .profile
        case (_, .alive): return .returned(after: held.rank)
        case (.alive, .failed): return .failed
        case (.alive, .left): return .left
        default: return .renewed
        }
    }

    /// The same telling again: nothing to learn but that it is true, since when, and perhaps a profile we missed.
    private mutating func confirm(_ slot: Int, _ update: Update, since: Int64) -> Change {
        // Absences are dated by whoever saw them first, so that none is kept longer for having been told late.
        if update.rank != .alive { entries[slot].since = min(entries[slot].since, since) }
        if entries[slot].verdict == nil { entries[slot].verdict = update.verdict }
        let wasSaved = entries[slot].isSaved
        entries[slot].isSaved = false
        if let profile = update.profile, entries[slot].profileVersion < update.version {
            unhash(slot)
            let isNews = entries[slot].profile != profile
            entries[slot].profile = profile
            entries[slot].profileVersion = update.version
            hash(slot)
            if isNews, update.rank == .alive, !wasSaved { return .profile }
        }
        return wasSaved && update.rank == .alive ? .confirmed : .nothing
    }

    /// A record from a file: believed until somebody knows better.
    mutating func load(_ record: MemberRecord, now: Int64) {
        guard slots[record.id] == nil, record.rank != .removed, !isRemoved(record.id) else { return }
        add(
            Entry(
                id: record.id, version: record.version, rank: record.rank == .suspect ? .alive : record.rank,
                profile: record.profile, profileVersion: record.version, since: now, verdict: nil, isSaved: true,
                path: nil, challengedAt: Span.never))
    }

    /// Whoever is dead among those from the file was found out by now.
    mutating func trustSaved() {
        for slot in entries.indices { entries[slot].isSaved = false }
    }

    /// What we say of ourselves.
    mutating func setOwn(_ id: NodeID, version: MemberVersion, profile: MemberProfile, rank: MemberRank, now: Int64) {
        guard let slot = slots[id] else {
            add(
                Entry(
                    id: id, version: version, rank: rank, profile: profile, profileVersion: version, since: now,
                    verdict: nil, isSaved: false, path: nil, challengedAt: Span.never))
            return
        }
        unhash(slot)
        entries[slot].version = version
        entries[slot].profile = profile
        entries[slot].profileVersion = version
        setRank(slot, rank)
        hash(slot)
    }

    mutating func remove(_ id: NodeID) -> Entry? {
        let (place, isThere) = removed.place(of: id) { $0 }
        if !isThere { removed.insert(id, at: place) }
        guard let slot = slots[id] else { return nil }
        let entry = entries[slot]
        drop(slot)
        return entry
    }

    func isRemoved(_ id: NodeID) -> Bool { !removed.isEmpty && removed.place(of: id) { $0 }.isThere }

    /// Forgets members that have been gone for too long, and the longest gone of too many.
    mutating func forget(goneBefore deadline: Int64, keeping limit: Int) {
        while let slot = absent.first(where: { entries[$0].since < deadline }) { drop(slot) }
        while absent.count > limit, let slot = absent.min(by: { entries[$0].since < entries[$1].since }) { drop(slot) }
    }

    mutating func drop(_ slot: Int) {
        unhash(slot)
        if entries[slot].rank == .alive { presentCount -= 1 } else { absent.removeAll { $0 == slot } }
        slots[entries[slot].id] = nil
        entries[slot].isVacant = true
        vacant.append(slot)
    }

    // MARK: Telling

    func update(_ slot: Int, withProfile: Bool, now: Int64) -> Update {
        let entry = entries[slot]
        let isCurrent = entry.profileVersion == entry.version || entry.rank != .alive
        return Update(
            id: entry.id, version: entry.version, rank: entry.rank,
            age: UInt32(clamping: max(0, now - entry.since) / 1_000_000_000),
            profile: withProfile && isCurrent ? entry.profile : nil, verdict: entry.verdict)
    }

    static func bucket(of id: NodeID) -> Int { Int(id.low % UInt64(ViewDigest.bucketCount)) }

    // MARK: Inside

    private mutating func add(_ entry: Entry) {
        let slot: Int
        if let free = vacant.popLast() {
            slot = free
            entries[slot] = entry
        } else {
            slot = entries.count
            entries.append(entry)
        }
        slots[entry.id] = slot
        if entry.rank == .alive { presentCount += 1 } else { absent.append(slot) }
        hash(slot)
    }

    private mutating func setRank(_ slot: Int, _ rank: MemberRank) {
        switch (entries[slot].rank == .alive, rank == .alive) {
        case (true, false):
            presentCount -= 1
            absent.append(slot)
        case (false, true):
            presentCount += 1
            absent.removeAll { $0 == slot }
        default: break
        }
        entries[slot].rank = rank
    }

    private mutating func hash(_ slot: Int) { unhash(slot) }
    /// Exclusive or: adding and taking away are the same.
    private mutating func unhash(_ slot: Int) {
        let entry = entries[slot]
        let hash = Self.hash(entry)
        buckets[Self.bucket(of: entry.id)] ^= hash
        viewHash ^= hash
    }

    private static func hash(_ entry: Entry) -> UInt64 {
        let isProfileCurrent = entry.rank != .alive || entry.profileVersion == entry.version
        var hash = mix(entry.id.high &+ 0x9E37_79B9_7F4A_7C15)
        hash = mix(hash ^ entry.id.low)
        hash = mix(hash ^ UInt64(entry.version.generation) << 32 ^ UInt64(entry.version.incarnation))
        return mix(hash ^ UInt64(entry.rank.rawValue) << 1 ^ (isProfileCurrent ? 1 : 0))
    }
    private static func mix(_ word: UInt64) -> UInt64 {
        var bits = word
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
}
