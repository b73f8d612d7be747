package import Primitives

/// Who should vote, and the decision about the next voters that this node may be leading.
struct VoterChanges: Sendable {
    var members: [NodeID] = []
    var witness: NodeID?
    var since = Instant.zero
    /// What each node goes by, as its messages said.
    var seen: [NodeID: VoterVersion] = [:]
    /// When a majority of the former and of the present voters had given way, as far as this node saw.
    var settledAt: Instant?
    var lastTold: Instant?
    var attempt: Attempt?
    var nextAttempt = Instant.zero
    var counter: UInt64 = 0

    struct Attempt: Sendable {
        var ballot: Ballot
        var wanted: VoterConfig
        /// Who decides, and how many of them it takes.
        var electors: [NodeID]
        var needed: Int
        var promises: Set<NodeID> = []
        var best: LeaseMemory.AcceptedVoters?
        var proposed: VoterConfig?
        var accepted: Set<NodeID> = []
        var startedAt: Instant
    }

    mutating func desire(_ members: [NodeID], witness: NodeID?, now: Instant) {
        let sorted = Array(Set(members)).sorted()
        guard sorted != self.members || witness != self.witness else { return }
        self.members = sorted
        self.witness = witness.flatMap { sorted.contains($0) ? nil : $0 }
        since = now
    }
}

extension VoterConfig {
    /// Whom to found with: an odd number of members, at most five; two with the witness, where there is one.
    package static func founding(members: [NodeID], witness: NodeID?) -> (nodes: [NodeID], witness: NodeID?) {
        chosen(from: members, witness: witness)
    }

    private static func chosen(from members: [NodeID], witness: NodeID?) -> (nodes: [NodeID], witness: NodeID?) {
        var count = min(members.count, maximumVoters)
        if count % 2 == 0, count > 0, let witness { return (Array(members.prefix(count)) + [witness], witness) }
        if count > 2, count % 2 == 0 { count -= 1 }
        return (Array(members.prefix(count)), nil)
    }

    /// The next step towards voters chosen from these members: one voter more or one less; nil when nothing is to be
    /// done. Present voters stay before others come.
    package func step(members: [NodeID], witness: NodeID?) -> VoterConfig? {
        let staying = members.filter { nodes.contains($0) }
        let coming = members.filter { !nodes.contains($0) }
        let wanted = Self.chosen(from: staying + coming, witness: witness)
        let leaving = nodes.filter { !wanted.nodes.contains($0) }
        let joining = wanted.nodes.filter { !nodes.contains($0) }.sorted()
        // Three that lose one pass by four rather than by two: with two, nobody breaks a tie.
        let removesFirst = joining.isEmpty || nodes.count % 2 == 0 || nodes.count > 3
        var next = nodes
        if removesFirst, let one = leaving.first {
            next.removeAll { $0 == one }
        } else if let one = joining.first {
            next.append(one)
        } else if wanted.witness == self.witness {
            return nil
        }
        guard !next.isEmpty else { return nil }
        let stillWitness = [wanted.witness, self.witness].compactMap { $0 }.first { next.contains($0) }
        return VoterConfig(lineage: lineage, number: number + 1, nodes: next, witness: stillWitness)
    }
}

extension LeaseKeeper {
    private static let tellAgain = Duration.milliseconds(500)
    private static let attemptTime = Duration.seconds(1)

    // MARK: Adoption

    mutating func heard(_ node: NodeID, goesBy version: VoterVersion, now: Instant) {
        guard changes.seen.count < 1024 || changes.seen[node] != nil else { return }
        changes.seen[node] = version
    }

    mutating func tellVoters(to node: NodeID, ifNewerThan version: VoterVersion) {
        guard voters.number > 0, version != voters.version else { return }
        effects.append(.send(LeaseMessage(voters: voters.version, .change(.decided(voters))), to: node))
    }

    private mutating func adopt(_ config: VoterConfig, now: Instant) {
        let isOtherFounding = voters.number > 0 && config.lineage != voters.lineage
        if isOtherFounding {
            // Terms of a cluster that gives way end here and now: nobody over there knows of them.
            for name in names {
                lose(name, now: now, at: now, "two parts of the cluster met, and this one goes by the other's voters")
            }
        }
        voter.adopt(config, now: now)
        changes.attempt = nil
        changes.settledAt = nil
        changes.nextAttempt = now
        changes.lastTold = nil
        store()
        enterMode(now: now)
        effects.append(.notify(.votersChanged(config)))
    }

    // MARK: Leading a change

    mutating func tickVoters(now: Instant) {
        tellLaggards(now: now)
        settle(now: now)
        if let attempt = changes.attempt {
            guard now >= attempt.startedAt + Self.attemptTime else { return }
            changes.attempt = nil
            changes.nextAttempt = now + Self.attemptTime / 2 + random(upTo: Self.attemptTime)
        }
        guard now >= changes.nextAttempt, !changes.members.isEmpty, now >= changes.since + config.settle else { return }
        if voters.number == 0 { found(now: now) } else { change(now: now) }
    }

    private mutating func tellLaggards(now: Instant) {
        guard voters.number > 0, changes.lastTold.map({ now >= $0 + Self.tellAgain }) ?? true else { return }
        changes.lastTold = now
        let all = Set(changes.members + voters.nodes + voter.memory.formerVoters.nodes)
        for node in all.sorted() where node != me && !removed.contains(node) {
            guard changes.seen[node] != voters.version else { continue }
            effects.append(.send(LeaseMessage(voters: voters.version, .change(.decided(voters))), to: node))
        }
    }

    /// A change is over when a majority of the former voters and one of the present ones have given way, and terms that
    /// the former ones granted have ended. Only then may the next begin: two steps apart, majorities need not meet.
    private mutating func settle(now: Instant) {
        guard changes.settledAt == nil, voters.number > 0 else { return }
        let goBy = Set(changes.seen.filter { $0.value == voters.version }.keys).union([me])
        // Of two, one that an operator removed gives way by that, also where it was never heard in this life.
        func isDone(_ config: VoterConfig) -> Bool {
            config.nodes.filter { goBy.contains($0) || removed.contains($0) && config.isPair }.count >= config.quorum
        }
        let former = voter.memory.formerVoters
        let isFormerDone = former.number == 0 || former.lineage != voters.lineage || isDone(former)
        if isFormerDone, isDone(voters) { changes.settledAt = now }
    }

    private mutating func found(now: Instant) {
        let (nodes, witness) = VoterConfig.founding(members: changes.members, witness: changes.witness)
        guard nodes.contains(me), changes.members.first == me || now >= bootedAt + config.bootWait else { return }
        var lineage = me.low ^ (UInt64(generation) << 32)
        if lineage == 0 { lineage = 1 }
        let wanted = VoterConfig(lineage: lineage, number: 1, nodes: nodes, witness: witness)
        // At first all have to agree. Who waited long enough goes on with a majority, and of two alone.
        let isLate = now >= bootedAt + config.bootWait
        let needed = !isLate ? nodes.count : wanted.isPair ? 1 : wanted.quorum
        begin(wanted, electors: wanted.nodes, needed: needed, now: now)
    }

    private mutating func change(now: Instant) {
        guard voters.contains(me), let settledAt = changes.settledAt,
            let wanted = voters.step(members: changes.members, witness: changes.witness)
        else { return }
        let longest = max(timing.takeover, .milliseconds(Int(voter.memory.exclusion)))
        guard now >= settledAt + longest + config.enforcement else { return }
        // The first of those that live leads; the others leave it two seconds each.
        let leaders = voters.nodes.filter { $0 == me || alive.contains($0) }
        let place = leaders.firstIndex(of: me) ?? 0
        guard now >= max(settledAt, changes.since) + config.settle + .seconds(2) * place else { return }
        // Of two, one that an operator removed cannot be asked any more.
        let gone = voters.isPair ? voters.nodes.filter(removed.contains).count : 0
        begin(wanted, electors: voters.nodes, needed: voters.quorum - gone, now: now)
    }

    private mutating func begin(_ wanted: VoterConfig, electors: [NodeID], needed: Int, now: Instant) {
        changes.counter = max(changes.counter, voter.memory.promised?.counter ?? 0) + 1
        let ballot = Ballot(counter: changes.counter, generation: generation, node: me)
        changes.attempt = VoterChanges.Attempt(
            ballot: ballot, wanted: wanted, electors: electors, needed: needed, startedAt: now)
        let question = VoterMessage.prepare(number: wanted.number, ballot: ballot)
        for node in electors { deliver(question, to: node, now: now) }
    }

    // MARK: Messages

    mutating func deliver(_ message: VoterMessage, to node: NodeID, now: Instant) {
        if node == me { return receiveChange(message, from: me, now: now) }
        effects.append(.send(LeaseMessage(voters: voters.version, .change(message)), to: node))
    }

    mutating func receiveChange(_ message: VoterMessage, from sender: NodeID, now: Instant) {
        switch message {
        case .decided(let config):
            let isNewer = voter.isSuperseded(by: config)
            if isNewer, isPlausible(config) { adopt(config, now: now) }
            if config.version == voters.version {
                deliver(.adopted, to: sender, now: now)
            } else if !isNewer {
                // Exactly one of two versions gives way, so that this is not answered in turn.
                tellVoters(to: sender, ifNewerThan: config.version)
            }
        case .adopted: break  // the head of the message said it
        case .prepare, .accept:
            let founding = VoterConfig.founding(members: changes.members, witness: changes.witness).nodes.sorted()
            let (answer, disk) = voter.handle(message, from: sender, founding: founding)
            guard let answer else { return tellVoters(to: sender, ifNewerThan: changes.seen[sender] ?? .none) }
            if disk == .done {
                deliver(answer, to: sender, now: now)
            } else {
                whenStored(.change(answer, to: sender), disk)
            }
        case .promise(let number, let ballot, let accepted):
            guard var attempt = changes.attempt, attempt.ballot == ballot, attempt.wanted.number == number,
                attempt.electors.contains(sender), attempt.proposed == nil
            else { return }
            attempt.promises.insert(sender)
            if let accepted, attempt.best.map({ $0.ballot < accepted.ballot }) ?? true { attempt.best = accepted }
            if attempt.promises.count >= attempt.needed {
                // What a majority may have decided already is what gets decided.
                attempt.proposed = attempt.best?.config ?? attempt.wanted
            }
            changes.attempt = attempt
            guard let proposed = attempt.proposed else { return }
            for node in attempt.electors { deliver(.accept(ballot: ballot, config: proposed), to: node, now: now) }
        case .accepted(let number, let ballot):
            guard var attempt = changes.attempt, attempt.ballot == ballot, attempt.wanted.number == number,
                attempt.electors.contains(sender), let proposed = attempt.proposed
            else { return }
            attempt.accepted.insert(sender)
            changes.attempt = attempt
            guard attempt.accepted.count >= attempt.needed else { return }
            adopt(proposed, now: now)
            tellLaggards(now: now)
        case .refuse(_, let promised):
            changes.counter = max(changes.counter, promised.counter)
            guard changes.attempt != nil else { return }
            changes.attempt = nil
            changes.nextAttempt = now + Self.attemptTime / 2 + random(upTo: Self.attemptTime)
        }
    }

    /// Who is told to go by voters has to know them, or have none: a node of another cluster's database is not asked.
    private func isPlausible(_ config: VoterConfig) -> Bool {
        !config.nodes.contains(where: removed.contains) || config.lineage == voters.lineage
    }
}
