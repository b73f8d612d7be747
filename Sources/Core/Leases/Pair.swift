import Primitives

/// What one of two nodes without a witness knows about the other.
///
/// Its own authority is renewed by the other's acknowledgement or, with a reach list, by any of its hosts, and counts from
/// when the question was sent. What belongs to the other is taken only by its offer, or after silence and what else
/// `LeaseConfig.PairJudge` asks for.
struct Pair: Sendable {
    let peer: NodeID
    // What was sent.
    var sequence: UInt32 = 0
    var lastBeat: Instant?
    var sent: [(sequence: UInt32, at: Instant, term: Duration)] = []
    /// When the newest acknowledged beat was sent, and the term it told.
    var ackedAt: Instant?
    var ackedSequence: UInt32 = 0
    var ackedTerm: Duration?
    // What came.
    var generation: UInt32 = 0
    var received: UInt32 = 0
    var heardAt: Instant?
    /// The other counts as silent from then on: T after the last beat, for the longest term it told of.
    var silentFrom: Instant
    var beat: PairBeat?
    /// Since when every beat of the other says that it reaches no host of the list and holds nothing: it hears nobody,
    /// and can neither give anything away nor take it.
    var helplessSince: Instant?
    /// Since when the other reaches hosts of the list and this node none.
    var worseSince: Instant?
    // The reach list.
    var rounds: [Round] = []
    var reachTicket: UInt32 = 0
    /// When the newest answered round was asked.
    var reachedAt: Instant?
    /// Since when rounds are answered without two missing in a row: what was found out before, this node's own
    /// isolation may have made.
    var reachSince: Instant?
    var missedRounds = 0
    var lastTick: Instant?
    /// Leases given to the other, and from which beat on it was told.
    var offers: [LeaseName: (epoch: Epoch, sequence: UInt32)] = [:]
    var probeTicket: UInt32 = 0
    /// When the fence agent was last asked; nil while it need not answer.
    var fenceAskedAt: Instant?
    /// After a failure: not again before.
    var nextFence: Instant
    var isFenced = false
    var hasMet = false

    struct Round: Sendable {
        var ticket: UInt32
        var askedAt: Instant
        var answered = 0
        var isJudged = false
    }
    static let rememberedBeats = 64
    static let rememberedRounds = 16

    init(peer: NodeID, now: Instant) {
        self.peer = peer
        silentFrom = now
        nextFence = now
    }

    /// In place of a reach count: who says it takes over only after it has had the other switched off, and lets the other
    /// go on by itself for as long as that has not happened. More than any list is long, so that whoever still goes by a list
    /// takes nothing over from it.
    static let fences: UInt8 = 255
    var isFencing: Bool { beat?.reach == Self.fences }
    /// A fence agent that failed is asked again after so long.
    static let fenceAgain = Duration.seconds(5)
    /// Of two that hold something, the one with less waits so much longer before it has the other switched off: else both
    /// go dark when only the cable between them is cut.
    static let fenceDelay = Duration.seconds(2)

    /// The most hosts that answered in one round that was asked since then; nil when none was asked or has an answer yet.
    func reach(since moment: Instant) -> Int? { rounds.filter { $0.askedAt >= moment }.map(\.answered).max() }
}

extension LeaseKeeper {
    private var isHoldingAny: Bool { names.contains { entries[$0]?.bidder.held != nil } }
    private var hasReachList: Bool { if case .reach(let hosts) = config.pair { hosts > 0 } else { false } }

    // MARK: Authority

    /// Until when this node may act, by what was acknowledged or answered.
    private func authority(now: Instant) -> Instant? {
        guard let pair, isNetworkUp else { return nil }
        let announced = timing.term
        switch config.pair {
        case .bestEffort, .manual: return now + announced
        case .fence:
            // By itself only against a peer that is off, or that will not take over before this node is.
            if pair.isFenced || pair.isFencing { return now + announced }
            return pair.ackedAt.map { $0 + (pair.ackedTerm ?? config.term) }
        case .reach(let hosts):
            guard hosts > 0 else { return now + announced }
            // Only a term that the other knows of may be used: it waits for as long as it was told.
            let known = min(announced, pair.ackedTerm ?? config.term)
            let acked = pair.ackedAt.map { $0 + (pair.ackedTerm ?? config.term) }
            let reached = pair.reachedAt.map { $0 + known }
            return [acked, reached].compactMap { $0 }.max()
        }
    }

    private mutating func renewAll(now: Instant) {
        guard let until = authority(now: now) else { return }
        for name in names {
            guard let term = entries[name]?.bidder.held, until > term.until else { continue }
            entries[name]?.bidder.extend(until: until)
            effects.append(.renewed(name, term.epoch, until: until + shift))
        }
    }

    mutating func acknowledged(_ sequence: UInt32, now: Instant) {
        guard var pair, sequence > pair.ackedSequence,
            let beat = pair.sent.first(where: { $0.sequence == sequence })
        else { return }
        pair.ackedSequence = sequence
        pair.ackedAt = config.plantedBug == .countedFromReply ? now : beat.at
        pair.ackedTerm = beat.term
        self.pair = pair
        renewAll(now: now)
    }

    mutating func reachAnswered(ticket: UInt32, answered: Int, now: Instant) {
        guard var pair, let index = pair.rounds.firstIndex(where: { $0.ticket == ticket }) else { return }
        pair.rounds[index].answered = max(pair.rounds[index].answered, answered)
        if answered > 0 {
            pair.missedRounds = 0
            pair.reachSince = pair.reachSince ?? pair.rounds[index].askedAt
            let asked = config.plantedBug == .countedFromReply ? now : pair.rounds[index].askedAt
            pair.reachedAt = max(pair.reachedAt ?? asked, asked)
        }
        self.pair = pair
        if isNetworkUp { renewAll(now: now) }
    }

    /// The other's silence, and what was found out about it, count from now on: this node itself was away.
    private mutating func wasAway(now: Instant) {
        guard var pair else { return }
        pair.reachSince = nil
        pair.silentFrom = max(pair.silentFrom, now + timing.takeover)
        self.pair = pair
        for name in names { entries[name]?.probe = nil }
    }
    mutating func networkBack(now: Instant) { wasAway(now: now) }

    mutating func networkLost(now: Instant) {
        guard pair != nil else { return }
        wasAway(now: now)
        for name in names { lose(name, now: now, at: now, "the network is down") }
    }

    // MARK: Beats

    mutating func tickPair(now: Instant) {
        if let last = pair?.lastTick, now >= last + timing.takeover / 2 { wasAway(now: now) }
        pair?.lastTick = now
        judgeRounds(now: now)
        guard var pair else { return }
        let isSuspicious =
            pair.heardAt.map { now >= $0 + config.heartbeat * 2 } ?? true
            || pair.helplessSince != nil
            || isHoldingAny && (pair.ackedAt.map { now >= $0 + config.heartbeat * 2 } ?? true)
        let interval = isSuspicious ? config.heartbeat : config.heartbeat * 10
        let isAsked = pair.rounds.last.map { now >= $0.askedAt + interval } ?? true
        if hasReachList, isNetworkUp, isAsked, isInUse {
            pair.reachTicket &+= 1
            pair.rounds.append(Pair.Round(ticket: pair.reachTicket, askedAt: now))
            if pair.rounds.count > Pair.rememberedRounds { pair.rounds.removeFirst() }
            effects.append(.probeReach(ticket: pair.reachTicket))
        }
        self.pair = pair
        renewAll(now: now)
        yieldIfCutOff(now: now)
        // Three make 150 ms of 450: the other one never counts this as silence.
        let pace = isInUse ? config.heartbeat : config.heartbeat * 3
        if pair.lastBeat.map({ now >= $0 + pace }) ?? true { sendBeat(now: now) }
        if now >= pair.silentFrom { noteAlone(now: now) }
        for name in names { consider(name, now: now) }
    }

    private mutating func judgeRounds(now: Instant) {
        guard var pair else { return }
        for index in pair.rounds.indices where !pair.rounds[index].isJudged {
            guard pair.rounds[index].answered == 0 else {
                pair.rounds[index].isJudged = true
                continue
            }
            guard now >= pair.rounds[index].askedAt + config.heartbeat * 2 else { continue }
            pair.rounds[index].isJudged = true
            pair.missedRounds += 1
            if pair.missedRounds >= 2 { pair.reachSince = nil }
        }
        self.pair = pair
    }

    private func reachForOthers(now: Instant) -> UInt8? {
        if config.pair == .fence { return Pair.fences }
        guard hasReachList, let pair else { return nil }
        return pair.reach(since: now - config.heartbeat * 15).map { min(UInt8(clamping: $0), Pair.fences - 1) }
    }

    mutating func sendBeat(now: Instant) {
        guard var pair else { return }
        pair.sequence &+= 1
        let term = timing.term
        pair.sent.append((pair.sequence, now, term))
        if pair.sent.count > Pair.rememberedBeats { pair.sent.removeFirst() }
        pair.lastBeat = now
        let reach = reachForOthers(now: now)
        var held: [PairBeat.Held] = []
        var bids: [PairBeat.Bid] = []
        var offers: [PairBeat.Offer] = []
        var room = LeaseCodec.pairRoom
        for name in names {
            guard let entry = entries[name] else { continue }
            let known = voter.memory.epochs[name]?.epoch ?? .none
            room -= LeaseCodec.pairSize(name)
            guard room >= 0, held.count + bids.count + offers.count < LeaseCodec.maximumPairLeases else {
                refuse(name, "two nodes without a witness cannot hold more leases than fit into one message")
                continue
            }
            if let term = entry.bidder.held {
                held.append(.init(lease: name, epoch: term.epoch, age: LeaseVoter.milliseconds(now - term.since)))
            } else if let epoch = entry.taking {
                held.append(.init(lease: name, epoch: epoch, age: 0))
            } else if let offer = pair.offers[name] {
                offers.append(.init(lease: name, epoch: offer.epoch))
            } else if let rank = entry.rank, isNetworkUp, reach != 0, now >= entry.quietFrom {
                bids.append(.init(lease: name, rank: UInt8(rank), known: known))
            }
        }
        let beat = PairBeat(
            generation: generation, sequence: pair.sequence, echo: pair.received, echoGeneration: pair.generation,
            term: LeaseVoter.milliseconds(term), reach: reach, held: held, bids: bids, offers: offers)
        self.pair = pair
        effects.append(.send(LeaseMessage(voters: voters.version, .beat(beat)), to: pair.peer))
    }

    mutating func receiveBeat(_ beat: PairBeat, now: Instant) {
        guard var pair, beat.generation >= pair.generation else { return }
        if beat.generation > pair.generation {
            // Its former life may still be let through by its gate for as long as its last beat allows.
            if pair.heardAt != nil { voter.setFresh(from: pair.silentFrom) }
            (pair.generation, pair.received, pair.beat) = (beat.generation, 0, nil)
            pair.helplessSince = nil
            pair.offers = [:]
        }
        guard beat.sequence > pair.received else { return }
        pair.received = beat.sequence
        pair.heardAt = now
        let exclusion = max(timing.takeover, config.shortestTakeover(for: .milliseconds(Int(beat.term))))
        pair.silentFrom = max(pair.silentFrom, now + exclusion)
        pair.beat = beat
        pair.helplessSince = beat.reach == 0 && beat.held.isEmpty ? pair.helplessSince ?? now : nil
        (pair.hasMet, pair.fenceAskedAt, pair.isFenced) = (true, nil, false)
        for name in names { entries[name]?.isOrdered = false }
        self.pair = pair
        effects.append(
            .send(
                LeaseMessage(
                    voters: voters.version, .ack(generation: beat.generation, sequence: beat.sequence)), to: pair.peer))
        if beat.echoGeneration == generation { acknowledged(beat.echo, now: now) }
        if voter.memory.isAlone {
            voter.memory.isAlone = false
            store()
        }
        // What was found out about an address counts for this silence only.
        if pair.helplessSince == nil { for name in names { entries[name]?.probe = nil } }
        for held in beat.held { peerHolds(held, now: now) }
        let heldThere = Set(beat.held.map(\.lease))
        for name in names {
            guard let entry = entries[name], entry.holder == pair.peer, !heldThere.contains(name) else { continue }
            setHolder(name, nil, entry.holderEpoch)
        }
        for offer in beat.offers { receiveOffer(offer, now: now) }
        settleOffers(beat, now: now)
        for bid in beat.bids { receiveBid(bid, now: now) }
    }

    private mutating func peerHolds(_ held: PairBeat.Held, now: Instant) {
        guard let peer = pair?.peer, entry(held.lease, now: now) else { return }
        let known = voter.memory.epochs[held.lease]?.epoch ?? .none
        if held.epoch > known {
            voter.mark(held.lease, held.epoch, for: peer, generation: pair?.generation ?? 0)
            store()
        }
        if let term = entries[held.lease]?.bidder.held {
            // Two held it. The newer term stays.
            let age = now - term.since
            let overlap = min(age, .milliseconds(Int(held.age)))
            effects.append(
                .notify(
                    .doubleOwnership(
                        held.lease, other: peer, own: term.epoch, theirs: held.epoch, overlap: max(overlap, .zero))))
            let givesWay = term.epoch != held.epoch ? term.epoch < held.epoch : me > peer
            guard givesWay else { return }
            lose(held.lease, now: now, at: now, "the other node holds it with epoch \(held.epoch)")
        }
        if entries[held.lease]?.taking != nil, held.epoch >= (entries[held.lease]?.taking ?? .none) {
            entries[held.lease]?.taking = nil
        }
        entries[held.lease]?.reserved = nil
        setHolder(held.lease, peer, held.epoch)
    }

    // MARK: Offers

    /// This node lets the other have it from now on, and does not take it back until the other declined or fell silent.
    private mutating func offer(_ lease: LeaseName, known: Epoch, now: Instant) {
        guard var pair else { return }
        let epoch = max(known, voter.memory.epochs[lease]?.epoch ?? .none).next
        pair.offers[lease] = (epoch, pair.sequence &+ 1)
        self.pair = pair
    }

    mutating func released(_ lease: LeaseName, epoch: Epoch, to node: NodeID?, now: Instant) {
        guard let pair, node == nil || node == pair.peer else { return }
        let isWanted = pair.beat?.bids.contains { $0.lease == lease } ?? false
        guard node != nil || isWanted else { return }
        offer(lease, known: epoch, now: now)
        sendBeat(now: now)
    }

    private mutating func settleOffers(_ beat: PairBeat, now: Instant) {
        guard var pair, beat.echoGeneration == generation else { return }
        for (lease, offer) in pair.offers where beat.echo >= offer.sequence {
            // It has read the offer: either it took it, or it does not want it.
            _ = lease
            if beat.held.contains(where: { $0.lease == lease && $0.epoch >= offer.epoch }) {
                pair.offers[lease] = nil
            } else if !beat.held.contains(where: { $0.lease == lease }) {
                pair.offers[lease] = nil
            }
        }
        self.pair = pair
    }

    private mutating func receiveOffer(_ offer: PairBeat.Offer, now: Instant) {
        guard let entry = entries[offer.lease], entry.rank != nil, entry.bidder.held == nil, entry.taking == nil,
            offer.epoch > voter.memory.epochs[offer.lease]?.epoch ?? .none || entry.reserved == offer.epoch,
            now >= entry.quietFrom, now >= voter.freshFrom, isNetworkUp
        else { return }
        entries[offer.lease]?.isOffered = true
        beginTaking(offer.lease, offer.epoch)
    }

    private mutating func receiveBid(_ bid: PairBeat.Bid, now: Instant) {
        guard let pair, entry(bid.lease, now: now), let entry = entries[bid.lease] else { return }
        guard entry.bidder.held == nil, entry.taking == nil, pair.offers[bid.lease] == nil, now >= entry.quietFrom,
            now >= voter.freshFrom
        else { return }
        if let rank = entry.rank, isNetworkUp, reachForOthers(now: now) != 0 {
            // Both want it: the smaller rank, then the smaller ID.
            guard bid.rank < rank || bid.rank == rank && pair.peer < me else { return }
        }
        offer(bid.lease, known: bid.known, now: now)
        sendBeat(now: now)
    }

    // MARK: Taking

    /// The epoch is on disk before the term begins.
    private mutating func beginTaking(_ lease: LeaseName, _ epoch: Epoch) {
        entries[lease]?.taking = epoch
        voter.mark(lease, epoch, for: me, generation: generation)
        whenStored(.take(lease, epoch))
    }

    mutating func taken(_ lease: LeaseName, _ epoch: Epoch, now: Instant) {
        guard let entry = entries[lease], entry.taking == epoch, mode == .pair, let pair else { return }
        entries[lease]?.taking = nil
        guard entry.rank != nil, entry.bidder.held == nil, let until = authority(now: now),
            until > now + config.heartbeat / 2
        else {
            refuse(lease, "neither the other node nor the reach list answers")
            return
        }
        // By its offer, while it still acknowledges beats that say so; or because it is as silent as when this began.
        let isOffered = entry.isOffered && (pair.ackedAt.map { now < $0 + (pair.ackedTerm ?? .zero) } ?? false)
        guard isOffered || mayTakeOver(lease, now: now) else { return }
        hold(lease, epoch, until: until, now: now, isOffered ? "the other node gave it" : takeoverReason(now: now))
    }

    private mutating func hold(_ lease: LeaseName, _ epoch: Epoch, until: Instant, now: Instant, _ because: String) {
        pair?.offers[lease] = nil
        entries[lease]?.reserved = nil
        entries[lease]?.bidder.adopt(epoch: epoch, until: until, since: now)
        guard let term = entries[lease]?.bidder.held else { return }
        acquired(lease, term, because)
        sendBeat(now: now)
    }

    private func takeoverReason(now: Instant) -> String {
        if isPeerHelpless(now: now) { return "the other node says that it hears nobody, and holds nothing" }
        let silence = pair?.heardAt.map { Int((now - $0).milliseconds) }
        return "the other node was silent for \(silence.map { "\($0) ms" } ?? "as long as this node runs")"
    }

    // MARK: Silence

    /// Nobody else can have newer data from now on.
    private mutating func noteAlone(now: Instant) {
        // The other may take over once it has had this node switched off.
        guard isHoldingAny, !voter.memory.isAlone, config.pair != .fence || pair?.isFenced == true else { return }
        voter.memory.isAlone = true
        store()
    }

    /// A holder that no host of the list answers, while they answer the other: clients are in the same place as the hosts.
    private mutating func yieldIfCutOff(now: Instant) {
        guard var pair, hasReachList, let theirs = pair.beat?.reach else { return }
        let mine = pair.reach(since: now - config.heartbeat * 15) ?? 0
        let hears = pair.heardAt.map { now < $0 + config.heartbeat * 4 } ?? false
        guard isHoldingAny, hears, theirs > 0, !pair.isFencing, mine == 0, pair.rounds.count >= 3 else {
            self.pair?.worseSince = nil
            return
        }
        let since = pair.worseSince ?? now
        pair.worseSince = since
        self.pair = pair
        guard now >= since + timing.takeover else { return }
        for name in names {
            lose(name, now: now, at: now, "no host of the reach list answers here, \(theirs) answer the other node")
        }
    }

    /// Everything that has to be so before the other's leases are taken without its offer.
    private func mayTakeOver(_ lease: LeaseName, now: Instant) -> Bool {
        guard let pair, let entry = entries[lease], entry.rank != nil, isNetworkUp else { return false }
        guard now >= pair.silentFrom || isPeerHelpless(now: now), now >= voter.freshFrom, now >= entry.quietFrom
        else { return false }
        if !pair.hasMet, !mayStartAlone(lease, now: now) { return false }
        if entry.isOrdered { return true }
        switch config.pair {
        case .manual: return false
        case .fence: return pair.isFenced
        case .reach, .bestEffort: guard !pair.isFencing else { return false }
        }
        if hasReachList {
            let since = isPeerHelpless(now: now) ? bootedAt : pair.heardAt ?? bootedAt
            let mine = pair.reach(since: max(since, now - config.heartbeat * 6)) ?? 0
            guard mine > 0, mine >= Int(pair.beat?.reach ?? 0) else { return false }
            // As long as a silence has to be, and the probe within it.
            guard let whole = pair.reachSince, now >= whole + timing.takeover else { return false }
            guard let probe = entry.probe, probe.answeredFor.map({ $0 >= whole }) ?? false else { return false }
        }
        return entry.probe?.isAnswered == false
    }

    /// The other is heard, and for as long as a silence has to be it says that it hears nobody and holds nothing. It may take
    /// a lease again only after hosts of the list have answered it for T, which its beats would tell.
    private func isPeerHelpless(now: Instant) -> Bool {
        guard hasReachList, let pair, let since = pair.helplessSince else { return false }
        return now >= since + timing.takeover
    }

    private func mayStartAlone(_ lease: LeaseName, now: Instant) -> Bool {
        guard now >= bootedAt + config.bootWait else { return false }
        return voter.memory.isAlone || entries[lease]?.isOrdered == true || hasNeverServed
    }
    /// Nobody ever held anything, as far as this node knows: there is no older state to be afraid of.
    private var hasNeverServed: Bool { voter.memory.epochs.values.allSatisfy { $0.epoch == .none } }

    /// What is done about one lease that this node wants and does not have, while the other is silent.
    private mutating func consider(_ lease: LeaseName, now: Instant) {
        guard var pair, let entry = entries[lease], entry.rank != nil, entry.bidder.held == nil, entry.taking == nil
        else { return }
        guard let heardAt = pair.heardAt ?? (pair.hasMet ? nil : bootedAt) else { return }
        let silence = now - heardAt
        guard silence >= config.heartbeat * 2 || pair.helplessSince != nil else {
            if entry.holder == pair.peer { refuse(lease, "held by the other node") }
            return
        }
        // While suspicion grows: ask for the addresses, and write the next epoch down, so that neither costs time later.
        let isDone = entry.probe.map { $0.answeredFor == $0.askedAt } ?? true
        let needsProbe = entry.probe.map { isDone && now >= $0.askedAt + config.heartbeat * 4 } ?? true
        let isLost = entry.probe.map { !isDone && now >= $0.askedAt + .seconds(1) } ?? false
        if needsProbe || isLost {
            pair.probeTicket &+= 1
            let last = entry.probe?.isAnswered
            // What was found last counts until the next answer is there.
            entries[lease]?.probe = Entry.Probe(
                ticket: pair.probeTicket, askedAt: now, isAnswered: needsProbe ? last : nil,
                answeredFor: needsProbe ? entry.probe?.answeredFor : nil)
            effects.append(.probeAddresses(lease, ticket: pair.probeTicket))
            self.pair = pair
        }
        if entry.reserved == nil, pair.hasMet, silence >= timing.takeover / 2 {
            let epoch = (voter.memory.epochs[lease]?.epoch ?? .none).next
            entries[lease]?.reserved = epoch
            entries[lease]?.isReserveStored = false
            voter.mark(lease, epoch, for: me, generation: generation)
            whenStored(.reserve(lease, epoch))
        }
        guard now >= pair.silentFrom || isPeerHelpless(now: now) else { return }
        if !pair.hasMet, !mayStartAlone(lease, now: now) {
            refuse(
                lease,
                now < bootedAt + config.bootWait
                    ? "waits for the other node after the start"
                    : "the other node may have newer data: start it, or vouch for it: bramble service take-over")
            return
        }
        if config.pair == .fence, !pair.isFenced {
            refuse(lease, "waits until the other node is confirmed to be off")
            askToFence(now: now)
            return
        }
        guard mayTakeOver(lease, now: now) else { return refuse(lease, obstacle(lease, now: now)) }
        guard let until = authority(now: now), until > now + config.heartbeat / 2 else {
            return refuse(lease, "no host of the reach list answers")
        }
        if let reserved = entry.reserved, entry.isReserveStored,
            reserved >= voter.memory.epochs[lease]?.epoch ?? .none
        {
            hold(lease, reserved, until: until, now: now, takeoverReason(now: now))
            noteAlone(now: now)
        } else {
            entries[lease]?.isOffered = false
            beginTaking(lease, entry.reserved ?? (voter.memory.epochs[lease]?.epoch ?? .none).next)
        }
    }

    private mutating func askToFence(now: Instant) {
        guard let pair, pair.fenceAskedAt == nil, now >= pair.nextFence, isNetworkUp else { return }
        let mine = names.count { entries[$0]?.bidder.held != nil }
        let theirs = pair.beat?.held.count ?? 0
        let isSecond = mine > 0 && (theirs > mine || theirs == mine && me > pair.peer)
        guard now >= pair.silentFrom + (isSecond ? Pair.fenceDelay : .zero) else { return }
        self.pair?.fenceAskedAt = now
        effects.append(.fence(pair.peer))
    }

    private func obstacle(_ lease: LeaseName, now: Instant) -> String {
        guard let pair, let entry = entries[lease] else { return "" }
        if !isNetworkUp { return "the network is down" }
        if config.pair == .manual { return "waits for an operator: the other node is silent" }
        if pair.isFencing, config.pair != .fence { return "the other node goes on until it is switched off" }
        if hasReachList {
            let mine = pair.reach(since: max(pair.heardAt ?? bootedAt, now - config.heartbeat * 6)) ?? 0
            let theirs = Int(pair.beat?.reach ?? 0)
            if mine == 0 { return "no host of the reach list answers" }
            if pair.reachSince.map({ now < $0 + timing.takeover }) ?? true {
                return "the reach list answers for too short a time yet"
            }
            if mine < theirs { return "\(mine) hosts of the reach list answer, \(theirs) answered the other node" }
        }
        if entry.probe?.isAnswered == true { return "somebody still answers for its addresses" }
        return entry.probe?.isAnswered == nil ? "asks whether anybody answers for its addresses" : "waits"
    }

    mutating func probed(ticket: UInt32, isAnswered: Bool) {
        for name in names where entries[name]?.probe?.ticket == ticket {
            guard var probe = entries[name]?.probe else { continue }
            probe.isAnswered = isAnswered
            probe.answeredFor = probe.askedAt
            entries[name]?.probe = probe
        }
    }

    mutating func fenced(_ node: NodeID, isConfirmed: Bool, now: Instant) {
        // An answer to what was asked before the other was heard again says nothing any more.
        guard pair?.peer == node, pair?.fenceAskedAt != nil else { return }
        pair?.isFenced = isConfirmed
        if !isConfirmed {
            pair?.fenceAskedAt = nil
            pair?.nextFence = now + Pair.fenceAgain
        }
    }
}
