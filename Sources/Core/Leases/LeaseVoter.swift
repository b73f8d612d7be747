package import Primitives

/// The voting half of a node, and all of a witness: promises and grants terms of leases, and takes part in deciding who
/// votes. The rules A1 to A4 are those of docs/protocol/leases.md.
///
/// Grants live in memory only. What makes that safe is silence: after a restart a voter answers nothing until every
/// attempt it may have forgotten is dead.
package struct LeaseVoter: Sendable {
    /// What this voter knows of one lease.
    struct Slot: Sendable {
        var promised: Ballot?
        var grant: LeaseGrant?
        /// Until then the grant keeps others out. On this node's clock.
        var until: Instant
        /// Attempts of this owner up to this one are over for good.
        var released: Ballot?
        var touched: Instant
    }
    /// Whether an answer rests on what is not on the disk yet.
    package enum Disk: Equatable, Sendable {
        case done
        /// It has to be written first.
        case write
        /// It is being written: the question came again, or twice.
        case wait
    }
    package struct Answer: Equatable, Sendable {
        package var vote: LeaseVote?
        package var disk = Disk.done
    }

    package let me: NodeID
    package internal(set) var memory: LeaseMemory
    /// What is on the disk, as far as it said.
    private var stored: LeaseMemory
    var config: LeaseConfig
    private var slots: [LeaseName: Slot] = [:]
    /// A4: nothing is answered before.
    package private(set) var silentUntil: Instant
    /// After a change of voters: only who held before may go on, until terms voted for by the former ones are over.
    private(set) var freshFrom: Instant

    package init(me: NodeID, config: LeaseConfig, memory: LeaseMemory, now: Instant) {
        self.me = me
        self.config = config
        self.memory = memory
        stored = memory
        var silence = config.quarantine(longest: .milliseconds(Int(memory.exclusion)))
        if config.plantedBug == .shortQuarantine { silence = config.term / 2 }
        silentUntil = now + silence
        freshFrom = now
    }

    // MARK: Leases

    /// The term of a lease that this voter knows to run.
    package func running(_ lease: LeaseName, now: Instant) -> (grant: LeaseGrant, until: Instant)? {
        guard let slot = slots[lease], let grant = slot.grant, now < slot.until else { return nil }
        return (grant, slot.until)
    }

    func promised(_ lease: LeaseName) -> Ballot? { slots[lease]?.promised }

    /// One clock reading for each vote: `now`.
    package mutating func handle(_ vote: LeaseVote, from sender: NodeID, now: Instant) -> Answer {
        // A4. And nobody asks in another's name.
        guard now >= silentUntil, vote.ballot.node == sender else { return Answer() }
        guard slots[vote.lease] != nil || makeRoom(now: now) else { return Answer() }
        var slot = slots[vote.lease] ?? Slot(until: now, touched: now)
        slot.touched = now
        defer { slots[vote.lease] = slot }
        let running = slot.grant.flatMap { grant in
            now < slot.until ? LeaseVote.Running(grant: grant, remaining: Self.milliseconds(slot.until - now)) : nil
        }
        switch vote.step {
        case .prepare(_, let isCarried):  // A1
            if let promised = slot.promised, vote.ballot < promised {
                return Answer(vote: LeaseVote(vote.lease, vote.ballot, .refuse(promised: promised, running: running)))
            }
            guard isCarried || now >= freshFrom else { return Answer() }
            if let running, !isSameOwner(running.grant, vote.ballot), config.plantedBug != .liveOverwrite {
                // No promise: a bidder that cannot win would only make the holder bid anew.
                return Answer(
                    vote: LeaseVote(
                        vote.lease, vote.ballot, .refuse(promised: slot.promised ?? vote.ballot, running: running)))
            }
            slot.promised = vote.ballot
            let mark = memory.epochs[vote.lease] ?? .none
            return Answer(vote: LeaseVote(vote.lease, vote.ballot, .promise(mark: mark, running: running)))
        case .accept(let term, let epoch):  // A2
            if let promised = slot.promised, vote.ballot < promised {
                return Answer(vote: LeaseVote(vote.lease, vote.ballot, .refuse(promised: promised, running: running)))
            }
            guard slot.promised == vote.ballot || now >= freshFrom else { return Answer() }
            if let released = slot.released, released.node == sender, vote.ballot <= released { return Answer() }
            if let running, !isSameOwner(running.grant, vote.ballot), config.plantedBug != .liveOverwrite {
                return Answer(
                    vote: LeaseVote(
                        vote.lease, vote.ballot, .refuse(promised: slot.promised ?? vote.ballot, running: running)))
            }
            slot.promised = vote.ballot
            slot.grant = LeaseGrant(ballot: vote.ballot, epoch: epoch)
            let exclusion = max(config.takeover, config.shortestTakeover(for: .milliseconds(Int(term))))
            slot.until = now + exclusion
            return Answer(
                vote: LeaseVote(vote.lease, vote.ballot, .accepted),
                disk: remember(vote.lease, epoch, for: vote.ballot, exclusion: exclusion))
        case .release:  // A3
            let isExact = slot.grant?.ballot == vote.ballot
            let isItsOwn = slot.grant?.owner == sender
            if isExact || isItsOwn && config.plantedBug == .ownerOnlyRelease { slot.grant = nil }
            slot.released = max(slot.released ?? vote.ballot, vote.ballot)
            return Answer()
        case .promise, .accepted, .refuse, .yours: return Answer()
        }
    }

    private func isSameOwner(_ grant: LeaseGrant, _ ballot: Ballot) -> Bool {
        config.plantedBug == .nodeOwner ? grant.owner == ballot.node : grant.isOwned(like: ballot)
    }

    private mutating func remember(
        _ lease: LeaseName, _ epoch: Epoch, for ballot: Ballot, exclusion: Duration
    ) -> Disk {
        let before = memory
        memory.epochs[lease, default: .none].count(epoch, for: ballot.node, generation: ballot.generation)
        memory.exclusion = max(memory.exclusion, Self.milliseconds(exclusion))
        // A renewal counts the epoch that is there: nothing to write.
        let isLonger = exclusion > config.takeover && memory.exclusion != before.exclusion
        if memory.epochs[lease]?.epoch != before.epochs[lease]?.epoch || isLonger { return .write }
        return epoch > stored.epochs[lease]?.epoch ?? .none ? .wait : .done
    }

    /// This much is on the disk.
    package mutating func hasStored(_ memory: LeaseMemory) { stored = memory }

    /// Rounded up: who is told that a term runs for 0 ms would ask again at once.
    static func milliseconds(_ duration: Duration) -> UInt32 {
        UInt32(clamping: (duration.nanoseconds + 999_999) / 1_000_000)
    }

    /// Forgets leases that nobody asked about for longer than any attempt lives; false when there is no room even so.
    private mutating func makeRoom(now: Instant) -> Bool {
        guard slots.count >= LeaseMemory.maximumLeases else { return true }
        let limit = now - LeaseConfig.widestTakeover * 3
        slots = slots.filter { $0.value.touched > limit }
        return slots.count < LeaseMemory.maximumLeases
    }

    // MARK: Who votes

    /// Answers one step of deciding about the next voters. `founding`: those this node would found a cluster with.
    package mutating func handle(
        _ message: VoterMessage, from sender: NodeID, founding: [NodeID]
    ) -> (answer: VoterMessage?, disk: Disk) {
        switch message {
        case .prepare(let number, let ballot):
            guard number == memory.voters.number + 1, ballot.node == sender else { return (nil, .done) }
            guard memory.voters.number == 0 || memory.voters.contains(me) else { return (nil, .done) }
            if let promised = memory.promised, ballot < promised {
                return (.refuse(number: number, promised: promised), .done)
            }
            let isNew = memory.promised != ballot
            memory.promised = ballot
            let disk: Disk = isNew ? .write : stored.promised == ballot ? .done : .wait
            return (.promise(number: number, ballot: ballot, accepted: memory.accepted), disk)
        case .accept(let ballot, let config):
            guard config.number == memory.voters.number + 1, ballot.node == sender else { return (nil, .done) }
            if memory.voters.number == 0 {
                // The first voters are whom all of them agree about.
                guard config.contains(me), config.nodes == founding else { return (nil, .done) }
            } else {
                guard memory.voters.contains(me), config.lineage == memory.voters.lineage else { return (nil, .done) }
            }
            if let promised = memory.promised, ballot < promised {
                return (.refuse(number: config.number, promised: promised), .done)
            }
            let accepted = LeaseMemory.AcceptedVoters(ballot: ballot, config: config)
            let isNew = memory.accepted != accepted
            memory.promised = ballot
            memory.accepted = accepted
            let disk: Disk = isNew ? .write : stored.accepted == accepted ? .done : .wait
            return (.accepted(number: config.number, ballot: ballot), disk)
        default: return (nil, .done)
        }
    }

    /// Goes by other voters from now on.
    package mutating func adopt(_ voters: VoterConfig, now: Instant) {
        let isFounding = voters.number == 1 && memory.voters.number == 0
        memory.formerVoters = memory.voters
        memory.voters = voters
        memory.promised = nil
        memory.accepted = nil
        // Terms that the former voters granted, and that this one has not seen, end before anybody new gets one.
        let longest = Duration.milliseconds(Int(memory.exclusion))
        if !isFounding { freshFrom = max(freshFrom, now + max(config.takeover, longest)) }
    }

    /// Whether these voters take the place of ours when somebody tells of them.
    package func isSuperseded(by voters: VoterConfig) -> Bool {
        let mine = memory.voters
        guard voters.number > 0, !voters.nodes.isEmpty else { return false }
        if mine.number == 0 { return true }
        if mine.lineage == voters.lineage { return voters.number > mine.number }
        // Two foundings meet: the larger one stays; of equals the one with the smaller number of lineage.
        if mine.nodes.count != voters.nodes.count { return voters.nodes.count > mine.nodes.count }
        return voters.lineage < mine.lineage
    }

    mutating func mark(_ lease: LeaseName, _ epoch: Epoch, for owner: NodeID?, generation: UInt32) {
        memory.epochs[lease, default: .none].count(epoch, for: owner, generation: generation)
    }
    mutating func setFresh(from moment: Instant) { freshFrom = max(freshFrom, moment) }
}
