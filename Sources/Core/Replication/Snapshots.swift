package import Primitives

/// A whole copy, for a new node, for one that was away for too long, and after a restore elsewhere.
extension Replicator {
    package enum Fetch: Equatable, Sendable {
        case none
        case asked(NodeID, at: Instant)
        case fetching(Progress)
        package struct Progress: Equatable, Sendable {
            package var peer: NodeID
            package var offer: SnapshotOffer
            package var received: UInt64
            var askedAt: Instant
            var nextAskAt: Instant?
        }
    }

    // MARK: Giving

    mutating func wanted(_ told: VersionVector, epoch other: DatabaseEpoch, resuming: UInt64, by peer: NodeID) {
        let theirs = other == epoch ? told.without(forgotten) : told
        guard other <= epoch, !isJoining, !lacksForgotten else { return send(.noSnapshot, to: peer) }
        // Whatever they have and we do not they would have to apply to our copy again: we ask for it first. Where they have dropped
        // it, too, they take our copy in row by row: one of us has to begin.
        if other == epoch {
            peers[peer]?.epoch = other
            peers[peer]?.vector = theirs
            guard vector.covers(theirs) || peers[peer]?.isBeyondPulling ?? false else {
                pullIfNeeded()
                return send(.noSnapshot, to: peer)
            }
        }
        counters.snapshotsOffered += 1
        let has = other == epoch ? told : VersionVector()
        effects.append(.offerSnapshot(resuming: resuming, has: has, to: peer))
    }

    // MARK: Taking

    mutating func askForSnapshot(of peer: NodeID) {
        guard case .none = fetch, hasPeer(peer) else { return }
        fetch = .asked(peer, at: now)
        pull = nil
        send(.wantSnapshot(vector: vector, epoch: epoch, resuming: lastOffer), to: peer)
    }

    mutating func offered(_ offer: SnapshotOffer, by peer: NodeID) {
        switch fetch {
        case .asked(let asked, _) where asked == peer:
            guard offer.epoch >= epoch else { return giveUp(on: peer) }
            fetch = .fetching(Fetch.Progress(peer: peer, offer: offer, received: 0, askedAt: now))
            lastOffer = offer.number
            effects.append(.beginSnapshot(offer))
            effects.append(.notify(.fetching(from: peer, bytes: offer.size)))
        case .fetching(let progress) where progress.peer == peer && progress.offer.number == offer.number:
            askForChunk()
        default: break
        }
    }

    /// So much of it was here already.
    package mutating func snapshotBegan(at offset: UInt64, now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        guard case .fetching(var progress) = fetch else { return [] }
        progress.received = min(offset, progress.offer.size)
        fetch = .fetching(progress)
        askForChunk()
        return takeEffects()
    }

    private mutating func askForChunk() {
        guard case .fetching(var progress) = fetch else { return }
        if progress.received >= progress.offer.size {
            effects.append(.install(progress.offer, keepsOwn: progress.offer.epoch == epoch))
            return
        }
        progress.askedAt = now
        progress.nextAskAt = nil
        fetch = .fetching(progress)
        let left = progress.offer.size - progress.received
        send(
            .wantChunk(
                snapshot: progress.offer.number, offset: progress.received,
                count: UInt32(min(left, UInt64(ReplicationCodec.maximumChunk)))), to: progress.peer)
    }

    mutating func gotChunk(_ snapshot: UInt64, offset: UInt64, _ bytes: [UInt8], from peer: NodeID) {
        guard case .fetching(var progress) = fetch, progress.peer == peer, progress.offer.number == snapshot,
            offset == progress.received, !bytes.isEmpty, progress.nextAskAt == nil,
            UInt64(bytes.count) <= progress.offer.size - progress.received
        else { return }
        effects.append(.storeChunk(offset: offset, bytes: bytes))
        progress.received += UInt64(bytes.count)
        // As long a rest as the chunk took: half of what the link can carry is left to others.
        let took = min(now - progress.askedAt, .milliseconds(500))
        progress.nextAskAt = now + took
        fetch = .fetching(progress)
        if progress.received >= progress.offer.size || took < .milliseconds(20) { askForChunk() }
    }

    mutating func chunkGone(_ snapshot: UInt64, from peer: NodeID) {
        guard case .fetching(let progress) = fetch, progress.peer == peer, progress.offer.number == snapshot else {
            return
        }
        giveUp(on: peer)
    }

    mutating func notOffered(by peer: NodeID) {
        guard case .asked(let asked, _) = fetch, asked == peer else { return }
        fetch = .none
        peers[peer]?.avoidedUntil = now + .milliseconds(200)
        pullIfNeeded()
    }

    /// The snapshot is in the place of our database, and what our own log had beyond it was applied to it again.
    package mutating func installed(
        origin: Origin, epoch: DatabaseEpoch, vector: VersionVector, newest: HybridTime,
        forgotten: [Origin: UInt64] = [:], now: Instant, wall: Int64
    ) -> [Effect] {
        clock(now, wall)
        guard case .fetching(let progress) = fetch else { return [] }
        use(forgotten)
        counters.snapshotsFetched += 1
        if epoch > self.epoch { effects.append(.notify(.replaced(epoch: epoch, by: progress.peer))) }
        startOver(origin: origin, epoch: epoch, vector: vector, newest: newest)
        effects.append(.notify(.fetched(from: progress.peer)))
        return takeEffects()
    }

    /// An operator restored a backup here: all others will take it over.
    package mutating func restored(
        origin: Origin, epoch: DatabaseEpoch, vector: VersionVector, newest: HybridTime,
        forgotten: [Origin: UInt64] = [:], now: Instant, wall: Int64
    ) -> [Effect] {
        clock(now, wall)
        use(forgotten)
        isJoining = false
        startOver(origin: origin, epoch: epoch, vector: vector, newest: newest)
        return takeEffects()
    }

    /// Of another database: what it has forgotten counts, and nothing that ours had.
    private mutating func use(_ forgotten: [Origin: UInt64]) {
        self.forgotten = forgotten
        lacksForgotten = false
        for node in standings.keys { standings[node]?.synced.forget(forgotten) }
        for node in coveredStandings.keys { coveredStandings[node]?.synced.forget(forgotten) }
    }

    private mutating func startOver(
        origin: Origin, epoch: DatabaseEpoch, vector: VersionVector, newest: HybridTime
    ) {
        fetch = .none
        pull = nil
        early = EarlyRecords()
        outgoing = []
        outgoingBytes = 0
        times = [:]
        unreadable = [:]
        marks = []
        lastTrimmed = VersionVector()
        lastCollected = VersionVector()
        if epoch != self.epoch {
            self.epoch = epoch
            standings = [:]
            coveredStandings = [:]
            confirmed = [:]
            held = [:]
            released = [:]
            settleForNewOrigin()
        }
        self.vector = vector
        self.newest = max(newest, self.newest)
        // Until the next sync says so, nothing of it counts as safe.
        synced = VersionVector()
        heldAtLives = vector
        take(origin)
        noteOwnStanding()
        noteCovered()
        for peer in peersInOrder { tellState(to: peer, wantsReply: true) }
    }

    /// It was broken, or there is no room for it.
    package mutating func installFailed(now: Instant, wall: Int64) -> [Effect] {
        clock(now, wall)
        if case .fetching(let progress) = fetch { giveUp(on: progress.peer) }
        return takeEffects()
    }

    private mutating func giveUp(on peer: NodeID) {
        fetch = .none
        peers[peer]?.avoidedUntil = now + config.snapshotTimeout
        effects.append(.abandonSnapshot)
        effects.append(.notify(.fetchFailed(from: peer)))
        pullIfNeeded()
    }

    mutating func fetchLost(_ peer: NodeID) {
        // What is here already is kept for a while: it may come back with the same snapshot.
        if case .asked(let asked, _) = fetch, asked == peer { fetch = .none }
    }

    mutating func fetchTick() {
        switch fetch {
        case .none: askAgainForHigherEpoch()
        case .asked(let peer, let since):
            if now - since >= config.snapshotTimeout {
                fetch = .none
                peers[peer]?.avoidedUntil = now + config.snapshotTimeout
            }
        case .fetching(let progress):
            if let next = progress.nextAskAt {
                if next <= now { askForChunk() }
            } else if now - progress.askedAt >= config.snapshotTimeout {
                if !hasPeer(progress.peer) {
                    // Others may have it all the time. Should the same one come back, it goes on where it was.
                    giveUp(on: progress.peer)
                } else if now - progress.askedAt < config.snapshotTimeout * 3 {
                    // The stream broke, or a frame was dropped: the same chunk again, not all from the start.
                    let left = progress.offer.size - progress.received
                    send(
                        .wantChunk(
                            snapshot: progress.offer.number, offset: progress.received,
                            count: UInt32(min(left, UInt64(ReplicationCodec.maximumChunk)))), to: progress.peer)
                } else {
                    giveUp(on: progress.peer)
                }
            }
        }
    }

    /// Somebody has a restored database, and the first attempt to get it failed.
    private mutating func askAgainForHigherEpoch() {
        let newer = peersInOrder.filter {
            (peers[$0]!.epoch ?? epoch) > epoch && peers[$0]!.avoidedUntil <= now
        }
        if let peer = chance.pick(from: newer) { askForSnapshot(of: peer) }
    }
}
