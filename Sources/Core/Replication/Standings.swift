package import Primitives

/// Who has what on disk: acknowledgements, waiting writes, what may be forgotten.
extension Replicator {
    // MARK: Syncs

    /// Everything up to here is on our disk.
    package mutating func syncedHere(_ reached: VersionVector, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        var news: [NodeID: [Want]] = [:]
        for (origin, head) in reached.heads where head > max(synced[origin], forgotten[origin] ?? 0) {
            if let owner = owners[origin], owner != id, hasPeer(owner) {
                news[owner, default: []].append(Want(origin, head))
            }
        }
        synced.formMaximum(reached.without(forgotten))
        for peer in news.keys.sorted() {
            send(.synced(epoch: epoch, news[peer]!.sorted { $0.origin < $1.origin }), to: peer)
        }
        noteOwnStanding()
        settleWaits()
        return takeEffects()
    }

    mutating func noteOwnStanding() {
        if settledLives != lives, synced.covers(heldAtLives) { settledLives = lives }
        let before = standings[id]
        var standing = Standing(
            node: id, life: life, number: before?.number ?? 0, roster: roster, lives: settledLives, synced: synced)
        guard standing != before else { return }
        standing.number = standing.life == before?.life ? standing.number + 1 : 1
        standings[id] = standing
        coveredStandings[id] = standing
        hasNews(of: id)
    }

    private mutating func hasNews(of node: NodeID) {
        newsOfStandings.insert(node)
        nextStandings = min(nextStandings, now + config.standingsInterval)
    }

    mutating func hearSynced(_ heads: [Want], from peer: NodeID) {
        for head in heads {
            peers[peer]?.vector.advance(head.origin, to: head.sequence)
            if head.origin == own, head.sequence <= vector[own] {
                confirmed[peer] = max(confirmed[peer] ?? 0, head.sequence)
            }
        }
        settleWaits()
    }

    mutating func hear(_ all: [Standing], wall: Int64, from peer: NodeID) {
        noteWall(wall, of: peer)
        for told in all where members.contains(told.node) {
            guard told.node != id else {
                outlive(told.life)
                continue
            }
            var standing = told
            standing.synced.forget(forgotten)
            if standing.node == peer { peers[peer]?.vector.formMaximum(standing.synced) }
            if let before = standings[standing.node] {
                // Whoever lost its clock with its database hears that it was further, and goes on from there.
                if standing.node == peer, standing.life.since < before.life.since {
                    send(.standings([before], epoch: epoch, wall: self.wall), to: peer)
                }
                guard standing.follows(before) else { continue }
            }
            let isNewLife = standings[standing.node]?.life.origin != standing.life.origin
            standings[standing.node] = standing
            if isNewLife { livesChanged(of: standing.node) }
            hasNews(of: standing.node)
            confirmed[standing.node] = max(
                confirmed[standing.node] ?? 0, min(standing.synced[own], vector[own]))
        }
        noteOwnStanding()
        noteCovered()
        settleWaits()
        pullIfNeeded()
    }

    // MARK: Lives

    /// Another life of ours is remembered that was later than this one: our clock was lost with an earlier database.
    private mutating func outlive(_ other: WriterLife) {
        guard other.since >= life.since, other != life else { return }
        life.since = other.since.successor
        noteOwnStanding()
    }

    /// A node writes under another origin. What it wrote under the one before, and lost when its power went, may be on its
    /// way still, or wait here for what comes before it: whoever had not seen it may have forgotten a delete that it would undo.
    /// So it comes from those who have it in their database, or not at all, and all members say so before more is forgotten.
    mutating func livesChanged(of node: NodeID) {
        early = EarlyRecords()
        if pull?.peer == node { pull = nil }
        lives = members.reduce(0) { sum, member in
            guard let origin = member == id ? life.origin : standings[member]?.life.origin else { return sum }
            var mixed = SeededGenerator(seed: (member.high ^ member.low) &+ origin.rawValue &* 0x9E37_79B9_7F4A_7C15)
            return sum ^ mixed.next()
        }
        heldAtLives = vector
    }

    /// A push of a life that is over.
    func isOfPastLife(_ record: LogRecord, from peer: NodeID) -> Bool {
        guard owners[record.origin] == peer, let life = standings[peer]?.life else { return false }
        return life.origin != record.origin
    }

    /// A standing counts once we have all that its node had then.
    mutating func noteCovered() {
        for (node, standing) in standings where coveredStandings[node] != standing {
            if vector.covers(standing.synced) { coveredStandings[node] = standing }
        }
    }

    mutating func spreadStandings() {
        nextStandings = now + (newsOfStandings.isEmpty ? config.idleStandings : config.standingsInterval)
        // Without news, our own again: clocks are compared by it.
        let told = newsOfStandings.isEmpty ? [id] : newsOfStandings.sorted()
        newsOfStandings = []
        let entries = told.compactMap { standings[$0] }.prefix(ReplicationCodec.maximumMembers)
        for peer in peersInOrder {
            let news = entries.filter { $0.node != peer }
            if !news.isEmpty { send(.standings(Array(news), epoch: epoch, wall: wall), to: peer) }
        }
    }

    // MARK: Waiting writes

    /// The record was committed here; it is answered when it is as safe as was asked, or cannot become so.
    package mutating func wait(for ticket: WriteTicket, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        waits[ticket.durability]?.append(ticket, deadline: now + config.confirmTimeout)
        settleWaits()
        return takeEffects()
    }

    /// The highest own record that at least so many others have synced.
    private func confirmedHead(by count: Int) -> UInt64 {
        guard count > 0 else { return .max }
        let heads = members.filter { $0 != id }.map { confirmed[$0] ?? 0 }.sorted(by: >)
        return count <= heads.count ? heads[count - 1] : 0
    }
    private var othersForMajority: Int { members.count / 2 }

    /// Somebody waits for another disk than ours. Of records that are passed on it is not known.
    var isWaitingForOthers: Bool {
        [.one, .majority].contains { waits[$0].map { !$0.isEmpty } ?? false }
    }

    mutating func settleWaits() {
        guard waits.values.contains(where: { !$0.isEmpty }) else { return }
        let local = config.plantedBug == .acknowledgesBeforeSync ? vector[own] : synced[own]
        settle(.local, upTo: local, as: .local, note: nil)
        let one = min(local, confirmedHead(by: 1))
        settle(.one, upTo: one, as: .one, note: nil)
        settle(.majority, upTo: min(local, confirmedHead(by: othersForMajority)), as: .majority, note: nil)
        // What cannot be had is not waited for.
        if peers.isEmpty, members.count > 1 || !(waits[.one]?.isEmpty ?? true) {
            settle(.one, upTo: local, as: .local, note: .alone)
        }
        if !isFlooding, peers.count < othersForMajority {
            settle(.majority, upTo: one, as: .one, note: .noMajority)
            if peers.isEmpty { settle(.majority, upTo: local, as: .local, note: .noMajority) }
        }
        for durability in [Durability.one, .majority] {
            while let (ticket, deadline) = waits[durability]?.first, deadline <= now, ticket.sequence <= local {
                _ = waits[durability]?.removeFirst()
                let reached: Durability = ticket.sequence <= one && durability == .majority ? .one : .local
                effects.append(.answer(ticket, WriteConfirmation(reached: reached, note: .notConfirmed)))
            }
        }
    }

    private mutating func settle(
        _ durability: Durability, upTo head: UInt64, as reached: Durability, note: WriteConfirmation.Note?
    ) {
        while let (ticket, _) = waits[durability]?.first, ticket.sequence <= head {
            _ = waits[durability]?.removeFirst()
            effects.append(.answer(ticket, WriteConfirmation(reached: reached, note: note)))
        }
    }

    mutating func settleForNewOrigin() {
        for durability in Durability.allCases {
            while let (ticket, _) = waits[durability]?.removeFirst() {
                effects.append(.answer(ticket, WriteConfirmation(reached: nil, note: .notConfirmed)))
            }
        }
    }

    // MARK: Forgetting

    /// What every member has synced, as far as we know and have it ourselves; nothing while they count other members than we,
    /// or have not heard yet that one of them began another life.
    package var stable: VersionVector {
        var result: VersionVector?
        for member in members {
            guard let standing = coveredStandings[member], standing.roster == roster, standing.lives == lives
            else { return VersionVector() }
            result = result?.minimum(standing.synced) ?? standing.synced
        }
        return result ?? VersionVector()
    }

    /// Of each origin, what more than half of the members have.
    private var heldByMajority: VersionVector {
        let vectors = members.map { standings[$0]?.synced ?? VersionVector() }
        let needed = members.count / 2 + 1
        return VersionVector(
            vector.heads.reduce(into: [:]) { result, head in
                result[head.key] = vectors.map { $0[head.key] }.sorted(by: >)[needed - 1]
            })
    }

    mutating func keepHouse(_ logBytes: Int) {
        nextHousekeeping = now + config.housekeepingInterval
        noteCovered()
        var stable = stable
        // Who is alone may yet meet others who were alone: each then needs the other's log, and what was deleted.
        let isAlone = members.count == 1
        var floor = isAlone ? VersionVector() : stable
        if marks.last.map({ now - $0.at >= config.logAge / 24 || logBytes - $0.logBytes >= config.logBytes / 16 })
            ?? true
        {
            marks.append(Mark(at: now, logBytes: logBytes, vector: vector))
        }
        if let oldest = marks.first, logBytes > config.logBytes || now - oldest.at >= config.logAge || marks.count > 64
        {
            // Dropped only where a majority has it: two halves that had both dropped what the other lacks could not merge.
            if !isAlone || logBytes > config.logBytes { floor.formMaximum(oldest.vector.minimum(heldByMajority)) }
            marks.removeFirst()
        }
        if isAlone {
            floor.formMaximum(lastTrimmed)
            stable = stable.minimum(floor)
        }
        if floor != lastTrimmed, !floor.isEmpty {
            lastTrimmed.formMaximum(floor)
            effects.append(.trim(to: floor))
        }
        if config.plantedBug == .collectsByTime { stable = marks.last { now - $0.at >= .seconds(2) }?.vector ?? stable }
        if stable != lastCollected, !stable.isEmpty {
            lastCollected = stable
            effects.append(.collect(stable: stable))
        }
    }

    // MARK: Forgetting origins

    /// Of these origins, whose nodes are no members any more, those that may be forgotten, and how far they went: every member
    /// has all there is of them, as far as we know and have it ourselves, and nobody ever spoke of more.
    package func forgettable(_ candidates: [Origin]) -> [Origin: UInt64] {
        guard !isJoining, !lacksForgotten, peersInOrder.allSatisfy({ $0 > id }) else { return [:] }
        let stable = config.plantedBug == .forgetsTooSoon ? vector : stable
        return candidates.reduce(into: [:]) { result, origin in
            let head = vector[origin]
            let isMore =
                standings.values.contains { $0.synced[origin] > head }
                || peers.values.contains { $0.vector[origin] > head }
            guard origin != own, head > 0, stable[origin] == head, !isMore else { return }
            result[origin] = head
        }
    }

    /// The store speaks of these no more; `lacksSome`: something was forgotten elsewhere that is not here whole.
    package mutating func forgot(
        _ all: [Origin: UInt64], lacksSome: Bool, now: Instant, wall: Int64
    ) -> [Effect] {
        clock(now, wall)
        lacksForgotten = lacksSome
        if all != forgotten {
            let news = all.keys.filter { forgotten[$0] != all[$0] }.sorted()
            if !news.isEmpty { effects.append(.notify(.forgotten(news))) }
            forgotten = all
            vector.forget(all)
            synced.forget(all)
            for peer in peers.keys { peers[peer]?.vector.forget(all) }
            for node in standings.keys { standings[node]?.synced.forget(all) }
            for node in coveredStandings.keys { coveredStandings[node]?.synced.forget(all) }
            heldAtLives.forget(all)
            lastTrimmed.forget(all)
            lastCollected.forget(all)
            for index in marks.indices { marks[index].vector.forget(all) }
            for origin in all.keys where vector[origin] == 0 {
                times[origin] = nil
                owners[origin] = nil
                held[origin] = nil
                released[origin] = nil
                unreadable[origin] = nil
            }
        }
        if lacksSome, let peer = chance.pick(from: peersInOrder.filter { peers[$0]!.avoidedUntil <= now }) {
            askForSnapshot(of: peer)
        }
        return takeEffects()
    }
}

/// One write that somebody waits for.
package struct WriteTicket: Equatable, Sendable {
    package var number: UInt64
    package var sequence: UInt64
    package var durability: Durability
    package init(number: UInt64, sequence: UInt64, durability: Durability) {
        self.number = number
        self.sequence = sequence
        self.durability = durability
    }
}

package struct WriteConfirmation: Equatable, Sendable {
    package enum Note: Equatable, Sendable {
        /// No other node is there: it is on this disk only, and goes to the others when they are back.
        case alone
        /// Too few nodes are there.
        case noMajority
        /// The others did not confirm in time; they get it as soon as they can.
        case notConfirmed
    }
    /// Nil: this database was replaced while it waited, and nothing is known of it.
    package var reached: Durability?
    package var note: Note?
    package init(reached: Durability?, note: Note?) {
        self.reached = reached
        self.note = note
    }
}

/// Waiting writes of one durability, in the order of their sequence numbers.
struct WaitLine: Sendable {
    private var items: [(WriteTicket, Instant)] = []
    private var start = 0
    var isEmpty: Bool { start == items.count }
    var first: (WriteTicket, Instant)? { isEmpty ? nil : items[start] }
    mutating func append(_ ticket: WriteTicket, deadline: Instant) { items.append((ticket, deadline)) }
    mutating func removeFirst() -> (WriteTicket, Instant)? {
        guard !isEmpty else { return nil }
        defer {
            start += 1
            if start == items.count {
                items.removeAll(keepingCapacity: true)
                start = 0
            } else if start > 1_024 {
                items.removeFirst(start)
                start = 0
            }
        }
        return items[start]
    }
}
