package import Primitives

/// One node's attempts to get and renew one lease by the votes of others. The rules P1 to P6 are those of
/// docs/protocol/leases.md.
package struct LeaseBidder: Sendable {
    /// What this node holds.
    package struct Term: Equatable, Sendable {
        /// Of the attempt that last renewed it: the exact instance that voters store.
        package var ballot: Ballot
        /// Of the attempt that got it.
        package var first: Ballot
        package var epoch: Epoch
        /// Nothing may be done for the lease from then on.
        package var until: Instant
        package var since: Instant
    }
    package enum Outcome: Equatable, Sendable {
        case nothing
        /// To every voter.
        case send(LeaseVote.Step)
        case acquired(Term)
        case renewed(Term)
        /// Somebody else's term runs, as a voter says.
        case blocked(LeaseVote.Running)
        /// Somebody bids higher.
        case outbid
    }
    private enum Phase: Equatable, Sendable { case idle, preparing, accepting }

    package let me: NodeID
    package let generation: UInt32
    var config: LeaseConfig
    package internal(set) var held: Term?
    private var counter: UInt64 = 0
    private var phase = Phase.idle
    private(set) var ballot: Ballot
    /// P1: stored before anybody is asked. Whatever the attempt gets ends then.
    private var deadline = Instant.zero
    private var term = Duration.zero
    /// P1: the exact instance that this attempt renews; nil for a fresh one.
    private var base: Ballot?
    private var isCarried = false
    private var epoch = Epoch.none
    private var lastHeld = Epoch.none
    private var mark = EpochMark.none
    /// Voters, each counted once. The second list is for a planted bug.
    private var open: Set<NodeID> = []
    private var accepted: Set<NodeID> = []
    /// Voters that said that somebody else's term runs.
    private var turnedDown: Set<NodeID> = []
    private var answers = 0
    private(set) var startedAt = Instant.zero
    private(set) var sentAt = Instant.zero
    /// Newest last; what has to be released when the term ends: a voter that missed a renewal stores an earlier instance.
    private var recent: [Ballot] = []
    private static let rememberedBallots = 8

    package init(me: NodeID, generation: UInt32, config: LeaseConfig) {
        self.me = me
        self.generation = generation
        self.config = config
        ballot = Ballot(counter: 0, generation: generation, node: me)
    }

    /// For tests that show what a rule is for.
    package mutating func plant(_ bug: LeaseBug) { config.plantedBug = bug }

    package var isBidding: Bool { phase != .idle }
    package var currentBallot: Ballot { ballot }

    /// Somebody bid so high: the next attempt goes above it.
    mutating func see(_ ballot: Ballot) {
        if ballot.counter < 1 << 62 { counter = max(counter, ballot.counter) }
    }

    // MARK: P1

    /// A fresh attempt with a new ballot, or the renewal of what is held. What it gets ends at `now + term`, whenever
    /// answers come.
    package mutating func start(now: Instant, term: Duration, isCarried: Bool = false) -> LeaseVote.Step {
        counter += 1
        ballot = Ballot(counter: counter, generation: generation, node: me)
        self.term = term
        self.isCarried = isCarried
        deadline = now + term
        base = held?.ballot
        phase = .preparing
        (open, accepted, turnedDown, answers, mark) = ([], [], [], 0, .none)
        (startedAt, sentAt) = (now, now)
        recent.append(ballot)
        if recent.count > Self.rememberedBallots { recent.removeFirst() }
        return .prepare(term: LeaseVoter.milliseconds(term), isCarried: isCarried)
    }

    /// What to say again to voters that have not answered, since packets are lost.
    package mutating func repetition(now: Instant, voters: [NodeID]) -> (step: LeaseVote.Step, to: [NodeID])? {
        sentAt = now
        switch phase {
        case .idle: return nil
        case .preparing:
            return (
                .prepare(term: LeaseVoter.milliseconds(term), isCarried: isCarried),
                voters.filter { !open.contains($0) }
            )
        case .accepting:
            return (
                .accept(term: LeaseVoter.milliseconds(term), epoch: epoch), voters.filter { !accepted.contains($0) }
            )
        }
    }

    // MARK: P2 to P4

    /// One clock reading for each answer: `now`. Only voters of `voters` count, each once.
    package mutating func handle(_ vote: LeaseVote, from voter: NodeID, voters: VoterConfig, now: Instant) -> Outcome {
        // Whoever turned us down tells what to go above, whichever attempt it was about.
        if case .refuse(let promised, _) = vote.step { see(promised) }
        guard phase != .idle, vote.ballot == ballot, voters.contains(voter) else { return .nothing }
        // A late answer finds the attempt dead, however late its timer comes.
        guard now < deadline || config.plantedBug == .lateTimer && phase == .preparing else { return .nothing }
        switch (phase, vote.step) {
        case (.preparing, .promise(let mark, let running)):
            if let running, !isOpen(running.grant, now: now) {
                turnedDown.insert(voter)
                return .blocked(running)
            }
            if mark.epoch > .none {
                self.mark.count(mark.epoch, for: mark.owner, generation: mark.generation)
            }
            open.insert(voter)
            answers += 1
            guard hasQuorum(open, voters) else { return .nothing }
            phase = .accepting
            answers = 0
            if config.plantedBug == .lateTimer { deadline = now + term }
            if let held, base != nil {
                epoch = held.epoch
            } else if self.mark.owner == me, self.mark.generation == generation, self.mark.epoch > lastHeld {
                epoch = self.mark.epoch  // counted for an attempt of ours that came to nothing, and on disk by now
            } else {
                epoch = self.mark.epoch.next
            }
            sentAt = now
            return .send(.accept(term: LeaseVoter.milliseconds(term), epoch: epoch))
        case (.accepting, .accepted):
            accepted.insert(voter)
            answers += 1
            guard hasQuorum(accepted, voters) else { return .nothing }
            phase = .idle
            let until = config.plantedBug == .countedFromReply ? now + term : deadline
            if var term = held, base != nil {
                // Over is over: what was let go in the meantime is got again as a fresh term.
                guard now < term.until else { return .nothing }
                term.ballot = ballot
                term.until = max(term.until, until)
                held = term
                return .renewed(term)
            }
            lastHeld = epoch
            let term = Term(ballot: ballot, first: ballot, epoch: epoch, until: until, since: now)
            held = term
            return .acquired(term)
        case (_, .refuse(_, let running)):
            if let running, !running.grant.isOwned(like: ballot) {
                turnedDown.insert(voter)
                return .blocked(running)
            }
            return .outbid
        default: return .nothing
        }
    }

    private func hasQuorum(_ counted: Set<NodeID>, _ voters: VoterConfig) -> Bool {
        config.plantedBug == .scalarVotes ? answers >= voters.quorum : counted.count >= voters.quorum
    }

    /// P2: a term of our own is no obstacle only if it is the one being renewed: its base, or a renewal of the same
    /// tenure that came to only part of the voters, as long as the tenure lasts. Everything else under our name is the
    /// trace of an attempt that was given up, and says nothing about who holds the lease now.
    private func isOpen(_ grant: LeaseGrant, now: Instant) -> Bool {
        if config.plantedBug == .nodeOwner { return grant.owner == me }
        guard grant.isOwned(like: ballot) else { return false }
        if config.plantedBug == .staleOwnerOpen { return true }
        guard let base else { return false }
        if grant.ballot == base { return true }
        guard let held, now < held.until else { return false }
        return grant.ballot >= held.first && grant.ballot <= ballot
    }

    /// Too many voters know of another's term for the rest to be a majority.
    func isHopeless(_ voters: VoterConfig) -> Bool { turnedDown.count > voters.nodes.count - voters.quorum }

    // MARK: P5 and P6

    /// P5: the next attempt has a new ballot.
    package mutating func abandon() { phase = .idle }

    /// The tenure is over, by its own end or because it is given back. Returns what to release at every voter: exact
    /// instances. Only after everything has stopped.
    package mutating func end() -> [Ballot] {
        phase = .idle
        guard let held else { return [] }
        self.held = nil
        return recent.filter { $0 >= held.first }
    }

    /// What another way of holding (two nodes alone) has got, so that voters can be asked to carry it on.
    package mutating func adopt(epoch: Epoch, until: Instant, since: Instant) {
        counter += 1
        let ballot = Ballot(counter: counter, generation: generation, node: me)
        held = Term(ballot: ballot, first: ballot, epoch: epoch, until: until, since: since)
        lastHeld = max(lastHeld, epoch)
    }
    mutating func extend(until: Instant) {
        if let term = held { held?.until = max(term.until, until) }
    }
}
