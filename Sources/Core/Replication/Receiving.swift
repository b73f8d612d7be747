package import Primitives

/// Records of others: pulled or pushed, in order, without gaps.
extension Replicator {
    // MARK: Asking

    /// One pull at a time: of a peer drawn from all that know more, its origins in an order drawn each time, so that none starves.
    mutating func pullIfNeeded() {
        guard pull == nil, case .none = fetch else { return }
        var candidates: [NodeID] = []
        for peer in peersInOrder where peers[peer].map({ $0.epoch == epoch && $0.avoidedUntil <= now }) ?? false {
            if peers[peer]!.vector.heads.contains(where: { isWanted($0.key, upTo: $0.value) }) {
                candidates.append(peer)
            }
        }
        guard let peer = chance.pick(from: candidates), let known = peers[peer] else { return }
        var origins = known.vector.origins.filter { isWanted($0, upTo: known.vector[$0]) }
        chance.shuffle(&origins)
        lastPull &+= 1
        pull = Pull(number: lastPull, peer: peer, deadline: now + config.pullTimeout)
        counters.pulls += 1
        let wants = origins.prefix(1_024).map { Want($0, max(vector[$0], forgotten[$0] ?? 0)) }
        send(.pull(number: lastPull, wants: wants, budget: UInt32(config.pullBudget)), to: peer)
    }

    private func isWanted(_ origin: Origin, upTo head: UInt64) -> Bool {
        guard head > max(vector[origin], forgotten[origin] ?? 0), (unreadable[origin]?.until ?? .zero) <= now else {
            return false
        }
        // Of a held one what comes before the first record from the future is taken.
        return held[origin].map { vector[origin] + 1 < $0.sequence } ?? true
    }

    /// The very next record of it is known, and is not taken: it cannot be read here, or is from the future.
    func isQuarantined(_ origin: Origin) -> Bool {
        let next = max(vector[origin], forgotten[origin] ?? 0) + 1
        return unreadable[origin]?.sequence == next || held[origin]?.sequence == next
    }
    /// Those of which something is known and not taken, in order.
    package var quarantined: [Origin] {
        Set(unreadable.keys).union(held.keys).filter { isQuarantined($0) }.sorted()
    }
    /// Whether we have all of it that we can take. What waits for an update of this node, or for an operator, is shown; it must
    /// not keep a new node from becoming a member, or it would stay a new node for ever.
    func hasWhatCanBeTaken(of other: VersionVector) -> Bool {
        if config.plantedBug == .waitsForUnreadable { return vector.covers(other) }
        return other.heads.allSatisfy { origin, head in vector[origin] >= head || isQuarantined(origin) }
    }

    mutating func pullTick() {
        if let pull, now >= pull.deadline {
            counters.pullsUnanswered += 1
            peers[pull.peer]?.avoidedUntil = now + config.pullTimeout
            self.pull = nil
        }
        pullIfNeeded()
    }

    // MARK: Receiving

    mutating func take(_ records: [LogRecord], from peer: NodeID, answer: PullAnswer?) {
        var accepted: [LogRecord] = []
        var heads = vector
        var isBroken = false
        let isAnswer = answer != nil && pull?.number == answer?.number && pull?.peer == peer
        for record in records {
            counters.recordsReceived += 1
            if !isAnswer, isOfPastLife(record, from: peer) { continue }
            let known = max(heads[record.origin], forgotten[record.origin] ?? 0)
            peers[peer]?.vector.advance(record.origin, to: record.sequence)
            guard record.sequence > known else {
                counters.duplicates += 1
                continue
            }
            if record.origin == own { renewOrigin() }
            if isFromTheFuture(record, peer) { continue }
            if record.sequence == known + 1 || config.plantedBug == .appliesOutOfOrder {
                guard isSane(record, after: accepted) else {
                    isBroken = true
                    counters.refusedRecords += 1
                    continue
                }
                accepted.append(record)
                heads.advance(record.origin, to: record.sequence)
                while let next = early.take(record.origin, heads[record.origin] + 1) {
                    guard isSane(next, after: accepted) else { break }
                    accepted.append(next)
                    heads.advance(next.origin, to: next.sequence)
                }
            } else if answer != nil {
                // An answer begins where we asked and has no gaps, or it is not one.
                isBroken = true
                counters.refusedRecords += 1
            } else {
                counters.early += 1
                if !early.keep(record) { counters.earlyDropped += 1 }
            }
        }
        if !accepted.isEmpty { effects.append(.apply(accepted, from: peer)) }
        if let answer, isAnswer {
            pull = nil
            if isBroken || accepted.isEmpty && !answer.isBelowFloor {
                // It has nothing of what it said it has, or not in order: others first.
                peers[peer]?.avoidedUntil = now + config.pullTimeout
            }
            if answer.isBelowFloor {
                peers[peer]?.isBeyondPulling = true
                askForSnapshot(of: peer)
            }
            // With something accepted the next pull follows once that is applied.
            if accepted.isEmpty { pullIfNeeded() }
        } else if isBroken {
            peers[peer]?.avoidedUntil = now + config.pullTimeout
        }
    }

    /// Times grow within an origin.
    private func isSane(_ record: LogRecord, after accepted: [LogRecord]) -> Bool {
        let last = accepted.last { $0.origin == record.origin }?.time ?? times[record.origin]
        return last.map { record.time > $0 } ?? true
    }

    /// These are in the store now, in this order. What could not be applied is missing, and is asked for again later.
    package mutating func applied(
        _ records: [LogRecord], of all: [LogRecord], from peer: NodeID, now: Instant, wall: Int64
    )
        -> [Effect]
    {
        clock(now, wall)
        for record in records {
            vector.advance(record.origin, to: record.sequence)
            times[record.origin] = max(times[record.origin] ?? .zero, record.time)
            newest = max(newest, record.time)
            if let stuck = unreadable[record.origin], stuck.sequence <= record.sequence {
                unreadable[record.origin] = nil
            }
            if isFlooding { enqueue(record, except: peer) }
        }
        let isRefused = all.contains { $0.sequence > vector[$0.origin] && unreadable[$0.origin] == nil }
        if records.count < all.count, isRefused {
            // A full disk, as a rule: not again at once.
            for peer in peersInOrder { peers[peer]?.avoidedUntil = now + config.pullTimeout }
        }
        noteCovered()
        if isJoining, !peers.isEmpty,
            peers.values.allSatisfy({ $0.epoch != nil && hasWhatCanBeTaken(of: $0.vector) })
        {
            joined()
        }
        pullIfNeeded()
        return takeEffects()
    }

    // MARK: From the future

    /// What most clocks of the cluster say. Unit: milliseconds since 1970.
    ///
    /// Of an even count the lower middle. Of two, which is right cannot be told: the later one, unless it is 30 days ahead of
    /// everything that was ever written; a small machine without a clock chip wakes in the past more often than in the future.
    package var clusterWall: Int64 {
        let sinceZero = now.nanoseconds / 1_000_000
        let others = peers.values.compactMap { $0.wallAtZero.map { $0 + sinceZero } }
        // A new node has seen nothing that its own clock could be compared with, and may be in 1970: the others' count.
        let clocks = (isJoining && !others.isEmpty ? others : others + [wall]).sorted()
        let newest = newest.milliseconds
        let middle: Int64
        if clocks.count == 2 {
            middle = clocks[1] - max(newest, clocks[0]) > 30 * 86_400_000 ? clocks[0] : clocks[1]
        } else {
            middle = clocks[(clocks.count - 1) / 2]
        }
        return max(middle, newest)
    }

    /// What our own writes are stamped with: our clock, or the cluster's, where ours is far ahead of it.
    package func wallForWriting(_ wall: Int64, now: Instant) -> Int64 {
        var copy = self
        copy.clock(now, wall)
        let cluster = copy.clusterWall
        return wall - cluster > Int64(config.farFuture.milliseconds) ? cluster : wall
    }

    mutating func noteWall(_ theirs: Int64, of peer: NodeID) {
        guard theirs > 0, theirs < 1 << 48 else { return }
        peers[peer]?.wallAtZero = theirs - now.nanoseconds / 1_000_000
    }

    private func isAhead(_ time: HybridTime, _ origin: Origin) -> Bool {
        time.milliseconds - clusterWall > Int64(config.farFuture.milliseconds) && time > released[origin] ?? .zero
    }

    private mutating func isFromTheFuture(_ record: LogRecord, _ peer: NodeID) -> Bool {
        // What came after a held one waits with it: order within an origin.
        if let first = held[record.origin] {
            if record.sequence >= first.sequence { return true }
            return false
        }
        // The cheap comparison first: the cluster's clock is never behind the newest record.
        guard record.time.milliseconds - newest.milliseconds > Int64(config.farFuture.milliseconds),
            isAhead(record.time, record.origin)
        else { return false }
        counters.futureRecords += 1
        guard held.count < ReplicationCodec.maximumOrigins else { return true }
        held[record.origin] = HeldOrigin(sequence: record.sequence, time: record.time, since: now)
        effects.append(.notify(.held(origin: record.origin, by: owners[record.origin], time: record.time)))
        return true
    }

    mutating func releaseHeld() {
        guard !held.isEmpty else { return }
        for origin in held.keys.sorted() where !isAhead(held[origin]!.time, origin) {
            held[origin] = nil
            effects.append(.notify(.released(origin: origin)))
        }
    }

    /// An operator says that what this origin wrote is to be taken as it is.
    package mutating func release(_ origin: Origin, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        released[origin] = HybridTime(rawValue: .max)
        releaseHeld()
        pullIfNeeded()
        return takeEffects()
    }
}

package struct HeldOrigin: Equatable, Sendable {
    /// The first record that is not applied.
    package var sequence: UInt64
    package var time: HybridTime
    package var since: Instant
}

/// Records that came before one that is missing, in bounds.
struct EarlyRecords: Sendable {
    private var kept: [Origin: [UInt64: LogRecord]] = [:]
    private var bytes = 0
    static let maximumBytes = 1 << 20

    mutating func keep(_ record: LogRecord) -> Bool {
        guard bytes + record.body.count + 64 <= Self.maximumBytes else {
            // Whatever is here waits for something that did not come: the newest pull brings it all.
            kept = [:]
            bytes = 0
            return false
        }
        if kept[record.origin, default: [:]].updateValue(record, forKey: record.sequence) == nil {
            bytes += record.body.count + 64
        }
        return true
    }
    mutating func take(_ origin: Origin, _ sequence: UInt64) -> LogRecord? {
        guard let record = kept[origin]?.removeValue(forKey: sequence) else { return nil }
        bytes -= record.body.count + 64
        if kept[origin]?.isEmpty ?? false { kept[origin] = nil }
        return record
    }
}
