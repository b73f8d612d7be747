import Primitives

@testable import Membership

/// One membership core with its surroundings played by hand: peers are letters, time moves when told.
struct OneCore {
    var core: Membership
    private(set) var now = Instant(nanoseconds: 50_000_000_000)
    private(set) var notices: [Notice] = []
    private(set) var sent: [(message: Message, to: NodeID, via: Endpoint)] = []
    private(set) var sentReliably: [(message: Message, to: NodeID)] = []
    private(set) var persisted = 0
    private var sequences: [NodeID: UInt32] = [:]

    static let selfVersion = MemberVersion(generation: 5, incarnation: 0)

    init(knowing known: [MemberRecord] = [], config: MembershipConfig = MembershipConfig()) {
        let own = Self.record("z", generation: 5)
        core = Membership(
            id: own.id, version: own.version, profile: own.profile, known: known, config: config,
            chance: SeededGenerator(seed: 3), now: now)
        tick()
    }

    // MARK: Naming

    static func id(_ name: String) -> NodeID { NodeID(high: UInt64(name.utf8.first!) << 56, low: 7) }
    static func endpoint(_ name: String, host: UInt32 = 0) -> Endpoint {
        Endpoint(.v4(0x0A00_0000 + host << 16 + UInt32(name.utf8.first!)), port: 7771)
    }
    static func version(_ generation: UInt32, _ incarnation: UInt32) -> MemberVersion {
        MemberVersion(generation: generation, incarnation: incarnation)
    }
    static func profile(_ name: String, addresses: [Endpoint]? = nil) -> MemberProfile {
        MemberProfile(name: NodeName(name)!, addresses: addresses ?? [endpoint(name)], software: "1.0.0", birth: 1)
    }
    static func record(
        _ name: String, generation: UInt32 = 1, incarnation: UInt32 = 0, rank: MemberRank = .alive
    ) -> MemberRecord {
        MemberRecord(
            id: id(name), version: version(generation, incarnation), rank: rank, profile: profile(name))
    }
    static func update(
        _ name: String, _ rank: MemberRank, _ incarnation: UInt32, generation: UInt32 = 1, age: UInt32 = 0,
        profile: MemberProfile? = nil
    ) -> Update {
        Update(
            id: id(name), version: version(generation, incarnation), rank: rank, age: age,
            profile: profile ?? (rank == .alive ? Self.profile(name) : nil), verdict: nil)
    }

    // MARK: Doing

    private mutating func take(_ effects: [Membership.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let message, let peer, let path): sent.append((message, peer, path))
            case .sendReliably(let message, let peer): sentReliably.append((message, peer))
            case .notify(let notice): notices.append(notice)
            case .persist: persisted += 1
            case .probeReach, .factsDiffer, .databaseDiffers: break
            }
        }
    }
    mutating func handle(_ event: Membership.Event) { take(core.handle(event, now: now)) }
    mutating func tick(drained: Bool = true) { take(core.tick(now: now, drained: drained)) }

    /// Ticks on time, with these peers beating and hearing us.
    mutating func advance(by duration: Duration, beating peers: [String] = []) {
        let end = now + duration
        var beat = now
        while now < end {
            now = now + core.tickInterval
            if now >= beat {
                beat = now + .milliseconds(100)
                for peer in peers { self.beat(peer) }
            }
            tick()
        }
    }
    /// The pulse does not run at all.
    mutating func stall(for duration: Duration) { now = now + duration }

    mutating func meet(_ name: String, generation: UInt32 = 1, incarnation: UInt32 = 0) {
        handle(
            .introduced(
                Self.record(name, generation: generation, incarnation: incarnation), path: Self.endpoint(name)))
    }
    mutating func receive(_ message: Message, from name: String, path: Endpoint? = nil) {
        handle(.received(message, from: Self.id(name), path: path ?? Self.endpoint(name), stamp: now))
    }
    mutating func beat(
        _ name: String, hears: Bool = true, generation: UInt32 = 1, incarnation: UInt32? = nil, path: Endpoint? = nil,
        factsHash: UInt64 = 0, viewHash: UInt64? = nil
    ) {
        let id = Self.id(name)
        sequences[id, default: 0] += 1
        let held = core.record(of: id)?.version.incarnation ?? 0
        receive(
            .heartbeat(
                Heartbeat(
                    version: Self.version(generation, incarnation ?? held), sequence: sequences[id]!, interval: 100,
                    echo: 0, echoAge: 0, flags: hears ? [.observe, .hears] : [.observe], health: 0,
                    viewHash: viewHash ?? core.table.viewHash, factsHash: factsHash, load: [], updates: [])),
            from: name, path: path)
    }
    mutating func updates(_ updates: Update..., from name: String) { receive(.updates(updates), from: name) }
    mutating func report(_ subject: String, by observer: String, generation: UInt32 = 1, incarnation: UInt32 = 0) {
        receive(
            .report(
                Report(
                    observer: Self.id(observer), subject: Self.id(subject),
                    version: Self.version(generation, incarnation),
                    figures: Figures(centiPhi: 810, silence: 410, unansweredProbes: 3, isOneWay: false))),
            from: observer)
    }
    mutating func forgetLog() {
        notices = []
        sent = []
        sentReliably = []
    }

    // MARK: Seeing

    func rank(_ name: String) -> MemberRank? { core.rank(of: Self.id(name)) }
    func version(_ name: String) -> MemberVersion? { core.record(of: Self.id(name))?.version }
    func messages(to name: String) -> [Message] { sent.filter { $0.to == Self.id(name) }.map(\.message) }
    func updates(to name: String) -> [Update] {
        messages(to: name).flatMap { message -> [Update] in
            if case .updates(let updates) = message { updates } else { [] }
        }
    }
    var failed: [NodeID] {
        notices.compactMap { if case .failed(let id, _) = $0 { id } else { nil } }
    }
    var suspected: [NodeID] {
        notices.compactMap { if case .suspect(let id, _) = $0 { id } else { nil } }
    }
}
