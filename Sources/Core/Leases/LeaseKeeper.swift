package import Primitives

/// Holds everything about leases on one node: what it wants, what it holds, its vote, and who votes. One value; driven
/// by the pulse, which carries its effects out. docs/protocol/leases.md tells the rules.
///
/// Same events, same effects. It owns a fork of the seeded chance for its waits.
package struct LeaseKeeper: Sendable {
    /// One lease that this node wants, holds or hears of.
    struct Entry: Sendable {
        /// Smaller bids sooner; nil for a node that does not want it.
        var rank: Int?
        var bidder: LeaseBidder
        var nextTry: Instant
        var failures = 0
        /// A term of somebody else runs until then, as far as this node was told.
        var blockedUntil: Instant
        /// When the last term of this node is over outside as well: nobody is offered the lease before.
        var quietFrom: Instant
        var holder: NodeID?
        var holderEpoch = Epoch.none
        var hasToldHolder = false
        var reason = ""
        /// Two nodes: the epoch that is being written down, after which the lease is taken.
        var taking: Epoch?
        var isOffered = false
        /// Two nodes: an epoch written down while the other's silence grew.
        var reserved: Epoch?
        var isReserveStored = false
        /// Two nodes: the probe for other holders of its addresses.
        var probe: Probe?
        /// An operator's word, good until used or until the other is heard.
        var isOrdered = false

        struct Probe: Sendable {
            var ticket: UInt32
            var askedAt: Instant
            /// What was found last, and when that was asked.
            var isAnswered: Bool?
            var answeredFor: Instant?
        }
    }
    enum Waiting: Sendable {
        case vote(LeaseVote, to: NodeID)
        case change(VoterMessage, to: NodeID)
        case take(LeaseName, Epoch)
        case reserve(LeaseName, Epoch)
        case stored(LeaseMemory)
    }

    package let me: NodeID
    let generation: UInt32
    var config: LeaseConfig
    var pairConfig: LeaseConfig
    let votesConfig: LeaseConfig
    var voter: LeaseVoter
    var chance: SeededGenerator
    var entries: [LeaseName: Entry] = [:]
    /// Sorted: whatever walks over leases walks in this order.
    var names: [LeaseName] = []
    var pair: Pair?
    var changes = VoterChanges()
    var gaps: GapMonitor
    var alive: Set<NodeID> = []
    var removed: Set<NodeID> = []
    var isNetworkUp = true
    var bootedAt: Instant
    var effects: [LeaseEffect] = []
    private var outbox: [(to: NodeID, vote: LeaseVote)] = []
    private var waiting: [(ticket: UInt32, what: Waiting)] = []
    private var newlyWaiting: [Waiting] = []
    private var isMemoryDirty = false
    private var ticket: UInt32 = 0
    private var isLeaving = false
    // For a planted bug only.
    private var attended: Instant
    private var lastCall: Instant
    var shift = Duration.zero
    private var toldTakeover: Duration

    /// `pair` holds where two nodes vote without a witness, `votes` everywhere else.
    package init(
        me: NodeID, generation: UInt32, pair: LeaseConfig, votes: LeaseConfig, memory: LeaseMemory,
        chance: SeededGenerator, now: Instant
    ) {
        self.me = me
        self.generation = generation
        pairConfig = pair
        votesConfig = votes
        config = memory.voters.isPair ? pair : votes
        voter = LeaseVoter(me: me, config: config, memory: memory, now: now)
        self.chance = chance
        gaps = GapMonitor()
        toldTakeover = config.takeover
        bootedAt = now
        attended = now
        lastCall = now
        enterMode(now: now)
    }

    // MARK: What others may look at

    package var voters: VoterConfig { voter.memory.voters }
    package var memory: LeaseMemory { voter.memory }
    /// Somebody wants, holds or has wanted a lease here. Before that two nodes speak seldom.
    package var isInUse: Bool { !names.isEmpty }

    /// Other numbers for two nodes, such as another length of the reach list. Terms that run go on to their end by the
    /// old ones.
    package mutating func use(pair: LeaseConfig) {
        pairConfig = pair
        guard voters.isPair else { return }
        let bug = config.plantedBug
        config = pair
        config.plantedBug = bug ?? pair.plantedBug
        voter.config = config
        for name in names { entries[name]?.bidder.config = config }
    }
    package func term(of lease: LeaseName) -> LeaseBidder.Term? { entries[lease]?.bidder.held }
    package func holder(of lease: LeaseName) -> (node: NodeID?, epoch: Epoch) {
        (entries[lease]?.holder, entries[lease]?.holderEpoch ?? .none)
    }
    /// How strictly the leases of this cluster hold now.
    package var guarantee: Guarantee {
        if voters.isPair { return config.pair.guarantee }
        return voters.nodes.count < 2 ? .bestEffort : voters.guarantee
    }
    /// L and T as they are now, widened by measured gaps.
    package var timing: (term: Duration, takeover: Duration) {
        let takeover = max(config.takeover, gaps.wanted ?? .zero)
        return (takeover > config.takeover ? config.longestTerm(for: takeover) : config.term, takeover)
    }

    // MARK: Events

    package mutating func handle(_ event: LeaseEvent, now real: Instant) -> [LeaseEffect] {
        let now = clock(real)
        effects = []
        // First of all, whatever comes: an answer that comes after the end of a term does not bring it back.
        for name in names { expire(name, now: now) }
        switch event {
        case .tick: tick(now: now)
        case .received(let message, let sender): receive(message, from: sender, now: now)
        case .wish(let lease, let wish): take(wish, of: lease, now: now)
        case .members(let members, let witness): changes.desire(members, witness: witness, now: now)
        case .removed(let node): removed.insert(node)
        case .peer(let node, let isAlive):
            if isAlive { alive.insert(node) } else { alive.remove(node) }
        case .network(let isUp):
            guard isUp != isNetworkUp else { break }
            isNetworkUp = isUp
            if isUp { networkBack(now: now) } else { networkLost(now: now) }
        case .reach(let ticket, let answered): reachAnswered(ticket: ticket, answered: answered, now: now)
        case .probed(let ticket, let isAnswered): probed(ticket: ticket, isAnswered: isAnswered)
        case .persisted(let ticket): persisted(ticket, now: now)
        case .fenced(let node, let isConfirmed): fenced(node, isConfirmed: isConfirmed, now: now)
        case .takeOver(let lease):
            guard entry(lease, now: now) else { break }
            entries[lease]?.isOrdered = true
            // The operator's word stands for the agent's, too.
            if config.pair == .fence { pair?.isFenced = true }
        case .gap(let gap, _): measured(gap, now: now)
        case .leave:
            isLeaving = true
            for name in names { giveUp(name, to: nil, now: now) }
            if voters.isPair { sendBeat(now: now) }
        }
        flush(now: now)
        return effects
    }

    private mutating func clock(_ real: Instant) -> Instant {
        attended = attended + min(max(real - lastCall, .zero), .milliseconds(50))
        lastCall = real
        guard config.plantedBug == .attendedClock else { return real }
        shift = real - attended
        return attended
    }

    private mutating func tick(now: Instant) {
        if gaps.advance(now: now) { tellTiming() }
        tickVoters(now: now)
        switch mode {
        case .votes: for name in names { bid(for: name, now: now) }
        case .pair: tickPair(now: now)
        case .none: for name in names { refuse(name, "the voters of this cluster are not agreed yet") }
        case .outside: for name in names { refuse(name, "this node does not vote yet") }
        }
    }

    enum Mode: Equatable { case none, votes, pair, outside }
    var mode: Mode {
        if voters.number == 0 { return .none }
        if !voters.isPair { return .votes }
        return voters.contains(me) ? .pair : .outside
    }

    /// Takes up the numbers and the peer of the voters as they are now.
    mutating func enterMode(now: Instant) {
        let bug = config.plantedBug
        config = voters.isPair ? pairConfig : votesConfig
        config.plantedBug = bug ?? config.plantedBug
        voter.config = config
        for name in names {
            entries[name]?.bidder.config = config
            entries[name]?.bidder.abandon()
            entries[name]?.taking = nil
        }
        guard voters.isPair, let peer = voters.nodes.first(where: { $0 != me }), voters.contains(me) else {
            pair = nil
            return
        }
        if pair?.peer != peer { pair = Pair(peer: peer, now: now) }
    }

    // MARK: Wishes

    private mutating func take(_ wish: LeaseWish, of lease: LeaseName, now: Instant) {
        guard entry(lease, now: now) else { return }
        switch wish {
        case .want(let rank):
            guard !isLeaving else { return }
            let first = now + wait(rank: rank)
            if entries[lease]?.rank == nil {
                entries[lease]?.nextTry = first
                // Whoever begins to wait is told once more whom it waits for.
                if let entry = entries[lease], let holder = entry.holder, holder != me {
                    effects.append(.held(lease, by: holder, entry.holderEpoch))
                }
            }
            entries[lease]?.rank = min(max(rank, 0), 50)
        case .leaveToOthers, .release:
            entries[lease]?.rank = nil
            giveUp(lease, to: nil, now: now)
        case .abandon:
            entries[lease]?.rank = nil
            entries[lease]?.bidder.abandon()
            guard let term = entries[lease]?.bidder.held else { return }
            _ = entries[lease]?.bidder.end()
            entries[lease]?.quietFrom = max(term.until, now) + config.enforcement
            let reason =
                lease.kind == .service
                ? "this node plays dead, as ordered" : "whoever held it is gone and did not give it back"
            effects.append(.notify(.lost(lease, term.epoch, because: reason)))
            setHolder(lease, nil, term.epoch)
        case .handOver(let node):
            entries[lease]?.rank = nil
            giveUp(lease, to: node == me ? nil : node, now: now)
        }
    }

    /// Makes room for a lease; false when there are too many.
    mutating func entry(_ lease: LeaseName, now: Instant) -> Bool {
        if entries[lease] != nil { return true }
        guard names.count < LeaseMemory.maximumLeases else {
            effects.append(.refused(lease, reason: "there are \(LeaseMemory.maximumLeases) leases already"))
            return false
        }
        entries[lease] = Entry(
            bidder: LeaseBidder(me: me, generation: generation, config: config), nextTry: now, blockedUntil: now,
            quietFrom: now)
        names.append(lease)
        names.sort()
        return true
    }

    /// Before the first bid: better nodes first, and never two at the same moment.
    private mutating func wait(rank: Int) -> Duration {
        config.rankDelay * rank + random(upTo: config.heartbeat / 2)
    }
    mutating func random(upTo limit: Duration) -> Duration {
        .nanoseconds(Int64(chance.unit() * Double(limit.nanoseconds)))
    }

    /// Ends this node's term, everything having stopped.
    private mutating func giveUp(_ lease: LeaseName, to node: NodeID?, now: Instant) {
        guard var entry = entries[lease] else { return }
        entry.bidder.abandon()
        entry.taking = nil
        let term = entry.bidder.held
        let ballots = entry.bidder.end()
        entry.quietFrom = now
        entries[lease] = entry
        guard let term else { return }
        effects.append(.notify(.released(lease, term.epoch, to: node)))
        if mode == .votes {
            for ballot in ballots { for voter in voters.nodes { send(LeaseVote(lease, ballot, .release), to: voter) } }
            if let node, let last = ballots.last { send(LeaseVote(lease, last, .yours), to: node) }
        } else if mode == .pair {
            released(lease, epoch: term.epoch, to: node, now: now)
        }
        setHolder(lease, nil, term.epoch)
    }

    /// Ends this node's term because it may not go on.
    mutating func lose(_ lease: LeaseName, now: Instant, at end: Instant? = nil, _ reason: String) {
        guard let term = entries[lease]?.bidder.held else { return }
        let until = end ?? term.until
        _ = entries[lease]?.bidder.end()
        entries[lease]?.quietFrom = max(until, now) + config.enforcement
        let next = now + config.heartbeat + random(upTo: config.heartbeat * 2)
        entries[lease]?.nextTry = next
        effects.append(.lost(lease, term.epoch, until: until + shift, reason: reason))
        effects.append(.notify(.lost(lease, term.epoch, because: reason)))
        setHolder(lease, nil, term.epoch)
    }

    /// The end of a term is judged by its own instant: a late tick finds it over.
    private mutating func expire(_ lease: LeaseName, now: Instant) {
        guard let term = entries[lease]?.bidder.held, now >= term.until - config.stop else { return }
        lose(
            lease, now: now,
            mode == .pair
                ? "neither the other node nor the reach list answered in time" : "no majority answered in time")
    }

    // MARK: Leases by votes

    private mutating func bid(for lease: LeaseName, now: Instant) {
        guard var entry = entries[lease] else { return }
        let runs = voter.running(lease, now: now)
        let heldByOther = runs.flatMap { $0.grant.isOwned(like: entry.bidder.currentBallot) ? nil : $0 }
        if entry.bidder.held == nil {
            if let heldByOther {
                setHolder(lease, heldByOther.grant.owner, heldByOther.grant.epoch)
            } else if now >= entry.blockedUntil {
                setHolder(lease, nil, entry.holderEpoch)
            }
            entry = entries[lease] ?? entry
        }
        if entry.bidder.held != nil {
            guard !entry.bidder.isBidding || now >= entry.bidder.startedAt + config.heartbeat * 5 / 2 else {
                return repeatBid(lease, now: now)
            }
            if entry.bidder.isBidding || now >= entry.bidder.startedAt + config.heartbeat {
                start(lease, now: now)
            }
            return
        }
        guard let rank = entry.rank else { return entries[lease]?.bidder.abandon() ?? () }
        if entry.bidder.isBidding {
            // A voter's disk may be slow: a fresh attempt has the time its own deadline leaves.
            guard now >= entry.bidder.startedAt + timing.term * 3 / 4 else { return repeatBid(lease, now: now) }
            failed(lease, now: now)
            refuse(lease, "no majority of \(voters.nodes.count) voters answered")
            return
        }
        if let heldByOther {
            refuse(lease, "held by another node")
            let next = heldByOther.until + wait(rank: rank)
            if entry.nextTry < heldByOther.until { entries[lease]?.nextTry = next }
        } else if now < entry.blockedUntil {
            refuse(lease, "held by another node")
            let next = entry.blockedUntil + wait(rank: rank)
            if entry.nextTry < entry.blockedUntil { entries[lease]?.nextTry = next }
        } else if now < voter.silentUntil, voters.contains(me) {
            // All voters may have just started: then the better node bids first once they speak.
            let next = voter.silentUntil + wait(rank: rank)
            if entry.nextTry < voter.silentUntil { entries[lease]?.nextTry = next }
        } else if now >= entry.nextTry {
            start(lease, now: now)
        }
    }

    private mutating func start(_ lease: LeaseName, now: Instant) {
        guard var entry = entries[lease] else { return }
        // Not to be refused only for bidding too low.
        if let promised = voter.promised(lease) { entry.bidder.see(promised) }
        let step = entry.bidder.start(now: now, term: timing.term, isCarried: entry.bidder.held != nil)
        entries[lease] = entry
        for node in voters.nodes { send(LeaseVote(lease, entry.bidder.currentBallot, step), to: node) }
    }

    private mutating func repeatBid(_ lease: LeaseName, now: Instant) {
        guard var entry = entries[lease], entry.bidder.isBidding, now >= entry.bidder.sentAt + config.heartbeat / 2,
            let (step, targets) = entry.bidder.repetition(now: now, voters: voters.nodes)
        else { return }
        entries[lease] = entry
        for node in targets { send(LeaseVote(lease, entry.bidder.currentBallot, step), to: node) }
    }

    /// P5, with a wait that grows and differs, so that bidders do not go on outbidding each other.
    private mutating func failed(_ lease: LeaseName, now: Instant) {
        guard var entry = entries[lease] else { return }
        entry.bidder.abandon()
        entry.failures = min(entry.failures + 1, 4)
        entry.nextTry = now + config.heartbeat / 2 + wait(rank: entry.rank ?? 0) / 2
        entry.nextTry = entry.nextTry + random(upTo: config.heartbeat * entry.failures)
        entries[lease] = entry
    }

    private mutating func receiveVote(_ vote: LeaseVote, from sender: NodeID, now: Instant) {
        switch vote.step {
        case .prepare, .accept, .release:
            guard mode == .votes, voters.contains(me) else { return }
            let answer = voter.handle(vote, from: sender, now: now)
            if case .release = vote.step { freed(vote.lease, now: now) }
            guard let reply = answer.vote else { return }
            if answer.disk == .done {
                send(reply, to: sender)
            } else {
                whenStored(.vote(reply, to: sender), answer.disk)
            }
        case .promise, .accepted, .refuse:
            guard mode == .votes, var entry = entries[vote.lease] else { return }
            let wasHeld = entry.bidder.held != nil
            let outcome = entry.bidder.handle(vote, from: sender, voters: voters, now: now)
            entries[vote.lease] = entry
            switch outcome {
            case .nothing: break
            case .send(let step):
                for node in voters.nodes { send(LeaseVote(vote.lease, entry.bidder.currentBallot, step), to: node) }
            case .acquired(let term):
                entries[vote.lease]?.failures = 0
                acquired(vote.lease, term, "a majority of \(voters.nodes.count) voters agreed")
            case .renewed(let term):
                effects.append(.renewed(vote.lease, term.epoch, until: term.until + shift))
            case .blocked(let running):
                entries[vote.lease]?.blockedUntil =
                    now + min(.milliseconds(Int(running.remaining)), LeaseConfig.widestTakeover)
                guard !wasHeld else { break }
                if entry.bidder.isHopeless(voters) {
                    entries[vote.lease]?.bidder.abandon()
                    refuse(vote.lease, "held by another node")
                }
                setHolder(vote.lease, running.grant.owner, running.grant.epoch)
            case .outbid:
                // A holder bids higher at once: its voters still know its term. Others wait.
                if wasHeld { start(vote.lease, now: now) } else { failed(vote.lease, now: now) }
            }
        case .yours:
            guard entries[vote.lease]?.rank != nil, entries[vote.lease]?.bidder.held == nil else { return }
            entries[vote.lease]?.nextTry = now
            entries[vote.lease]?.blockedUntil = now
            entries[vote.lease]?.bidder.abandon()
            entries[vote.lease]?.bidder.see(vote.ballot)
            start(vote.lease, now: now)
        }
    }

    /// Somebody let go before his time: bid in the order of ranks from now on.
    private mutating func freed(_ lease: LeaseName, now: Instant) {
        guard let rank = entries[lease]?.rank, entries[lease]?.bidder.held == nil,
            voter.running(lease, now: now) == nil
        else { return }
        let next = now + wait(rank: rank)
        if let planned = entries[lease]?.nextTry, planned > next { entries[lease]?.nextTry = next }
        entries[lease]?.blockedUntil = now
    }

    mutating func acquired(_ lease: LeaseName, _ term: LeaseBidder.Term, _ because: String) {
        effects.append(.acquired(lease, term.epoch, until: term.until + shift, guarantee))
        effects.append(.notify(.acquired(lease, term.epoch, guarantee, because: because)))
        entries[lease]?.reason = ""
        entries[lease]?.isOrdered = false
        setHolder(lease, me, term.epoch)
    }

    // MARK: Telling

    mutating func setHolder(_ lease: LeaseName, _ node: NodeID?, _ epoch: Epoch) {
        guard var entry = entries[lease] else { return }
        guard entry.holder != node || entry.holderEpoch != epoch || !entry.hasToldHolder else { return }
        (entry.holder, entry.holderEpoch, entry.hasToldHolder) = (node, max(epoch, entry.holderEpoch), true)
        entries[lease] = entry
        effects.append(.held(lease, by: node, entry.holderEpoch))
    }

    mutating func refuse(_ lease: LeaseName, _ reason: String) {
        guard let entry = entries[lease], entry.rank != nil, entry.reason != reason else { return }
        entries[lease]?.reason = reason
        effects.append(.refused(lease, reason: reason))
    }

    private mutating func measured(_ gap: Duration, now: Instant) {
        if gaps.add(gap, now: now) { tellTiming() }
    }
    private mutating func tellTiming() {
        let (_, takeover) = timing
        guard takeover != toldTakeover else { return }
        toldTakeover = takeover
        effects.append(.notify(.timing(takeover: takeover, because: gaps.reason)))
        if let wanted = gaps.unbounded, wanted > LeaseConfig.widestTakeover {
            let error = LeaseNumbersError.gapsTooLong(takeover: takeover, gap: wanted / 3)
            effects.append(.notify(.refusedNumbers("\(error.problem); \(error.remedy)")))
        }
    }

    // MARK: Messages and disk

    private mutating func receive(_ message: LeaseMessage, from sender: NodeID, now: Instant) {
        guard sender != me, !removed.contains(sender) else { return }
        heard(sender, goesBy: message.voters, now: now)
        switch message.body {
        case .votes(let votes):
            // Only who goes by the same voters counts the same majority.
            guard message.voters == voters.version else { return tellVoters(to: sender, ifNewerThan: message.voters) }
            for vote in votes { receiveVote(vote, from: sender, now: now) }
        case .beat(let beat):
            guard message.voters == voters.version, pair?.peer == sender else {
                return tellVoters(to: sender, ifNewerThan: message.voters)
            }
            receiveBeat(beat, now: now)
        case .ack(let generation, let sequence):
            guard generation == self.generation, pair?.peer == sender else { return }
            acknowledged(sequence, now: now)
        case .change(let change): receiveChange(change, from: sender, now: now)
        }
    }

    mutating func send(_ vote: LeaseVote, to node: NodeID) { outbox.append((node, vote)) }
    /// Does it when what it rests on is on the disk; what is being written is not written twice.
    mutating func whenStored(_ what: Waiting, _ disk: LeaseVoter.Disk = .write) {
        if disk == .write { isMemoryDirty = true }
        if isMemoryDirty { newlyWaiting.append(what) } else { waiting.append((ticket, what)) }
    }
    mutating func store() { isMemoryDirty = true }

    private mutating func persisted(_ ticket: UInt32, now: Instant) {
        let done = waiting.filter { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        waiting.removeAll { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        for (_, what) in done {
            switch what {
            case .stored(let memory): voter.hasStored(memory)
            case .vote(let vote, let node): send(vote, to: node)
            case .change(let change, let node): deliver(change, to: node, now: now)
            case .take(let lease, let epoch): taken(lease, epoch, now: now)
            case .reserve(let lease, let epoch):
                if entries[lease]?.reserved == epoch { entries[lease]?.isReserveStored = true }
            }
        }
    }

    /// Votes for this node itself are counted at once; others go out, as few messages as they fit in.
    private mutating func flush(now: Instant) {
        var rounds = 0
        var others: [(to: NodeID, vote: LeaseVote)] = []
        while !outbox.isEmpty, rounds < 8 {
            rounds += 1
            let batch = outbox
            outbox = []
            for (node, vote) in batch {
                if node == me { receiveVote(vote, from: me, now: now) } else { others.append((node, vote)) }
            }
        }
        var order: [NodeID] = []
        var byNode: [NodeID: [LeaseVote]] = [:]
        for (node, vote) in others {
            if byNode[node] == nil { order.append(node) }
            byNode[node, default: []].append(vote)
        }
        for node in order {
            for message in LeaseCodec.split(byNode[node] ?? [], voters: voters.version) {
                effects.append(.send(message, to: node))
            }
        }
        guard isMemoryDirty else { return }
        isMemoryDirty = false
        ticket &+= 1
        waiting.append((ticket, .stored(voter.memory)))
        waiting += newlyWaiting.map { (ticket, $0) }
        newlyWaiting = []
        // A disk that never answers must not fill the memory.
        if waiting.count > 1024 { waiting.removeFirst(waiting.count - 1024) }
        effects.append(.persist(voter.memory, ticket: ticket))
    }
}
