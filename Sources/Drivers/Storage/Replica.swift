package import Primitives
package import Replication

/// One database with its replication: carries out on the `Store` what the `Replicator` decides, and hands out what is left.
///
/// Synchronous, of one thread, without a clock: the daemon and the simulator drive it in the same way. After each call,
/// `takeOutputs` has what is to be done.
package final class Replica {
    package enum Output: Sendable {
        case send([UInt8], to: NodeID)
        /// A write that somebody waits for.
        case answer(number: UInt64, WriteConfirmation)
        /// A write that was made and is not there: the commit that it shared with others failed.
        case lost(number: UInt64, StoreError)
        case notify(ReplicationNotice)
        /// The store could not do something; it is tried again later.
        case trouble(StoreError)
        /// Another file is in the place of the database's: whoever has it open opens it anew.
        case reopened
        /// Rows changed: watchers look at the feed.
        case changed
        /// A copy of the database is to be made, on a thread that may take its time; then `copied`. One at a time.
        case copy(SnapshotJob)
    }

    package let store: Store
    package private(set) var replicator: Replicator
    private var outputs: [Output] = []
    private var lastTicket: UInt64
    private var offered: Offered?
    /// Who waits for the copy that is being made; nil when none is.
    private var copying: [NodeID]?
    /// It is of a database that was replaced since.
    private var isCopyStale = false
    /// Origins of removed nodes: how far they go, and since when that could be forgotten.
    private var forgettable: [Origin: (head: UInt64, since: Instant)] = [:]
    private var nextForgetting = Instant.zero
    /// Something was committed or applied that no sync has covered.
    package var needsSync: Bool { syncBy != nil }
    /// When that has to be on the disk; nil when nothing is left.
    private var syncBy: Instant?
    /// Somebody waits for what is being received.
    private var isAwaited = true
    /// Times up to here the disk knows to be used, and will once the sync that is under way has ended.
    private var (safeTime, nextSafeTime): (HybridTime, HybridTime)
    /// The latest that a write of ours has.
    private var usedTime = HybridTime.zero
    /// What is written above the reserved times goes to nobody before the disk has it: after a loss of power this node would
    /// write at earlier times than others have of it. It happens where a peer's clock is far ahead of ours.
    package var isHeldBack: Bool { usedTime > safeTime }
    private var lastDigest: (vector: VersionVector, digest: UInt64)?
    /// Made, and not committed yet.
    private var group: [(record: LogRecord, number: UInt64, durability: Durability)] = []
    /// How many writes the next commit has.
    package var collected: Int { group.count }

    private struct Offered {
        var offer: SnapshotOffer
        var madeAt: Instant
        var lastReadAt: Instant
    }
    /// A snapshot is given to several who come in this time; and nobody makes it go away while it is being read.
    private static let snapshotLife = Duration.seconds(60)
    private static let snapshotRest = Duration.seconds(10)

    private struct Giving {
        var sent: UInt64
        var lastReadAt: Instant
    }
    /// Who takes the copy that is offered, at most all peers.
    private var givings: [NodeID: Giving] = [:]

    /// - Parameter lastTicket: numbers of writes go on from here, so that one of an earlier replica is not taken for one of this.
    package init(
        id: NodeID, store: Store, config: ReplicatorConfig = ReplicatorConfig(), lastTicket: UInt64 = 0,
        chance: SeededGenerator, now: Instant, wall: Int64
    ) {
        self.store = store
        self.lastTicket = lastTicket
        replicator = Replicator(
            id: id, origin: store.origin, epoch: store.epoch, vector: store.vector, newest: store.latestTime,
            isFresh: store.vector.isEmpty, forgotten: store.forgotten, config: config, chance: chance, now: now,
            wall: wall)
        nextForgetting = now
        (safeTime, nextSafeTime) = (store.reservedTime, store.reservedTime)
        syncBy = store.vector.isEmpty ? nil : now
    }

    package func takeOutputs() -> [Output] {
        defer { outputs = [] }
        return outputs
    }
    /// Of what is known: rides on heartbeats.
    package var digest: UInt64 { replicator.digest }
    /// A new node that has not got everything yet: what it would read is not the truth.
    package var isJoining: Bool { replicator.isJoining }

    // MARK: People

    /// What came of a write: its answer, and the number under which it is answered later; nil when nothing changed.
    /// It is committed with the next `flush`, or before anything else that touches the store.
    package func execute(
        _ statements: [SQLStatement], rowLimit: Int? = nil, durability: Durability, now: Instant, wall: Int64
    ) throws(StoreError) -> (answer: SQLAnswer, ticket: UInt64?) {
        let answer: SQLAnswer
        do throws(StoreError) {
            answer = try store.executeInGroup(
                statements, rowLimit: rowLimit, wall: replicator.wallForWriting(wall, now: now))
        } catch {
            loseGroupIfFailed()
            throw error
        }
        guard let record = answer.record else { return (answer, nil) }
        lastTicket += 1
        group.append((record, lastTicket, durability))
        return (answer, lastTicket)
    }

    /// Commits what was collected. Only then others, and those who wait, hear of it.
    private func endGroup(_ now: Instant, _ wall: Int64) {
        attempt { () throws(StoreError) in try store.commitGroup() }
        loseGroupIfFailed()
        let ended = group
        group = []
        for write in ended { written(write.record, write.number, write.durability, now: now, wall: wall) }
    }
    private func loseGroupIfFailed() {
        guard let failure = store.takeGroupFailure() else { return }
        outputs += group.map { .lost(number: $0.number, failure) }
        group = []
    }

    /// What the cluster must remember, in one transaction; nil when nothing changed.
    package func remember(
        _ edits: [FactEdit], members: [MemberRow] = [], durability: Durability, now: Instant, wall: Int64
    ) throws(StoreError) -> UInt64? {
        endGroup(now, wall)
        let record = try store.remember(edits, members: members, wall: replicator.wallForWriting(wall, now: now))
        guard let record else { return nil }
        lastTicket += 1
        written(record, lastTicket, durability, now: now, wall: wall)
        return lastTicket
    }

    /// Makes what is missing of a schema (`Store.migrate`), in one transaction; the ticket is nil when nothing was.
    package func migrate(
        _ schema: [String], isTrial: Bool, durability: Durability, now: Instant, wall: Int64
    ) throws(StoreError) -> (steps: [SchemaStep], ticket: UInt64?) {
        endGroup(now, wall)
        let (steps, record) = try store.migrate(
            schema, isTrial: isTrial, wall: replicator.wallForWriting(wall, now: now))
        guard let record else { return (steps, nil) }
        lastTicket += 1
        written(record, lastTicket, durability, now: now, wall: wall)
        return (steps, lastTicket)
    }

    private func written(
        _ record: LogRecord, _ number: UInt64, _ durability: Durability, now: Instant, wall: Int64
    ) {
        syncSoon(now)
        if record.origin != replicator.own {
            carryOut(replicator.originTaken(record.origin, now: now, wall: wall), now, wall)
        }
        replicator.committed(record)
        usedTime = max(usedTime, record.time)
        outputs.append(.changed)
        let ticket = WriteTicket(number: number, sequence: record.sequence, durability: durability)
        carryOut(replicator.wait(for: ticket, now: now, wall: wall), now, wall)
    }

    /// What an operator said is to be taken as it is, on any node and at any time (`ReplicationFact.released`).
    private func releaseOrdered(_ now: Instant, _ wall: Int64) {
        for origin in replicator.held.keys.sorted() {
            attempt { () throws(StoreError) in
                guard try store.fact(ReplicationFact.released(origin)) != nil else { return }
                carryOut(replicator.release(origin, now: now, wall: wall), now, wall)
            }
        }
    }

    /// What removed nodes wrote under is forgotten in two steps: somebody says so once every member has had all of it, and
    /// whoever has all that he had by then speaks of it no more.
    private func forgetOrigins(_ now: Instant, _ wall: Int64) throws(StoreError) {
        let orders = try store.toForget()
        var vector = store.wholeVector
        if store.options.planted == .forgetsWhatItLacks {
            for order in orders { vector.advance(order.key, to: order.value.head) }
        }
        try store.forget(
            orders.filter { vector[$0.key] == $0.value.head && vector.covers($0.value.basis) }.mapValues(\.head))
        let lacksSome = orders.contains { vector[$0.key] < $0.value.head }
        carryOut(replicator.forgot(store.forgotten, lacksSome: lacksSome, now: now, wall: wall), now, wall)

        let members = Set(replicator.members)
        let gone = try store.writers().filter { !members.contains($0.value) && store.vector[$0.key] > 0 }
        let able = gone.isEmpty ? [:] : replicator.forgettable(gone.keys.sorted())
        forgettable = able.reduce(into: [:]) { result, origin in
            let known = forgettable[origin.key]
            let isSame = known?.head == origin.value
            result[origin.key] = (origin.value, isSame ? known!.since : now)
        }
        let edits = forgettable.keys.sorted().compactMap { origin -> FactEdit? in
            guard let (head, since) = forgettable[origin], now - since >= replicator.config.forgetAfter,
                let node = gone[origin], orders[origin]?.head != head
            else { return nil }
            let order = Forgetting(node: node, head: head, basis: store.wholeVector)
            return FactEdit(ReplicationFact.writer(origin), Array(order.text.utf8))
        }
        if !edits.isEmpty { _ = try remember(edits, durability: .local, now: now, wall: wall) }
    }

    /// Replaces everything, here and then on all other nodes.
    package func restore(from path: String, now: Instant, wall: Int64) throws(StoreError) {
        endGroup(now, wall)
        try store.restore(from: path, wall: replicator.wallForWriting(wall, now: now))
        restored(now, wall)
    }
    /// The same with a copy in memory, of a store in memory.
    package func restore(bytes: [UInt8], now: Instant, wall: Int64) throws(StoreError) {
        endGroup(now, wall)
        try store.restore(bytes: bytes, wall: replicator.wallForWriting(wall, now: now))
        restored(now, wall)
    }
    private func restored(_ now: Instant, _ wall: Int64) {
        forgetOffer()
        syncSoon(now)
        outputs.append(.reopened)
        carryOut(
            replicator.restored(
                origin: store.origin, epoch: store.epoch, vector: store.vector, newest: store.latestTime,
                forgotten: store.forgotten, now: now, wall: wall), now, wall)
        outputs.append(.changed)
    }

    // MARK: Others

    package func received(_ bytes: [UInt8], from peer: NodeID, now: Instant, wall: Int64) {
        guard let message = try? ReplicationCodec.decode(bytes) else { return replicator.receivedNonsense() }
        // What others have synced says nothing about what is not committed here yet; it may go on being collected.
        if case .synced = message {} else { endGroup(now, wall) }
        // They ask again; it takes one sync.
        if isHeldBack, message.asksForRecords { return }
        if case .records(_, _, _, let isAwaited) = message { self.isAwaited = isAwaited }
        carryOut(replicator.received(message, from: peer, now: now, wall: wall), now, wall)
        isAwaited = true
    }

    package func peersChanged(members: [NodeID], reachable: [NodeID], now: Instant, wall: Int64) {
        endGroup(now, wall)
        carryOut(replicator.peersChanged(members: members, reachable: reachable, now: now, wall: wall), now, wall)
    }

    package func differs(_ peer: NodeID, now: Instant, wall: Int64) {
        endGroup(now, wall)
        carryOut(replicator.differs(peer, now: now, wall: wall), now, wall)
    }

    /// About every 100 ms.
    package func tick(now: Instant, wall: Int64) {
        endGroup(now, wall)
        carryOut(replicator.tick(logBytes: store.logBytes, now: now, wall: wall), now, wall)
        if !replicator.held.isEmpty { releaseOrdered(now, wall) }
        if now >= nextForgetting {
            nextForgetting = now + min(replicator.config.forgetAfter / 4, .seconds(10))
            attempt { () throws(StoreError) in try forgetOrigins(now, wall) }
        }
        if let offered, now - offered.madeAt > Self.snapshotLife, now - offered.lastReadAt > Self.snapshotRest {
            forgetOffer()
        }
        attempt { () throws(StoreError) in try store.checkpointIfNeeded() }
    }

    /// When `flush` has to be called again; nil when nothing is kept back.
    package var flushDue: Instant? { isHeldBack ? nil : replicator.pushDue }

    /// At the end of each turn: what was written in it is committed, and goes to the others together.
    /// - Parameter isCollecting: true to commit with a later turn, when a sync is under way that has to end before anyway.
    package func flush(isCollecting: Bool = false, now: Instant, wall: Int64) {
        if !isCollecting { endGroup(now, wall) }
        if !isHeldBack { carryOut(replicator.flush(now: now, wall: wall), now, wall) }
    }

    // MARK: Syncs

    /// What a sync that begins now will make safe.
    package func beginSync() -> VersionVector {
        syncBy = nil
        nextSafeTime = store.reservedTime
        return replicator.vector
    }
    package func syncEnded(_ reached: VersionVector, now: Instant, wall: Int64) {
        safeTime = max(safeTime, nextSafeTime)
        // The database may have been replaced since.
        let known = VersionVector(reached.heads.filter { $0.value <= replicator.vector[$0.key] })
        carryOut(replicator.syncedHere(known, now: now, wall: wall), now, wall)
    }
    /// Whether one has to begin: at once for what somebody waits for, within `lazySync` and a tick for the rest.
    package func isSyncDue(_ now: Instant) -> Bool { syncBy.map { $0 <= now } ?? false }
    private func syncSoon(_ deadline: Instant) { syncBy = syncBy.map { min($0, deadline) } ?? deadline }

    // MARK: Effects

    private func attempt(_ body: () throws(StoreError) -> Void) {
        do throws(StoreError) { try body() } catch { outputs.append(.trouble(error)) }
    }

    private func send(_ message: ReplicationMessage, to peer: NodeID) {
        outputs.append(.send(ReplicationCodec.encode(message), to: peer))
    }

    private func carryOut(_ effects: [Replicator.Effect], _ now: Instant, _ wall: Int64) {
        for effect in effects {
            switch effect {
            case .send(let message, let peer): send(message, to: peer)
            case .answerPull(let number, let wants, let budget, let peer):
                answerPull(number, wants, budget: budget, to: peer)
            case .apply(let records, let peer): apply(records, from: peer, now, wall)
            case .renewOrigin:
                attempt { () throws(StoreError) in
                    try store.takeNewOrigin()
                    syncSoon(now)
                }
                carryOut(replicator.originTaken(store.origin, now: now, wall: wall), now, wall)
            case .answer(let ticket, let confirmation):
                outputs.append(.answer(number: ticket.number, confirmation))
            case .trim(let floor): attempt { () throws(StoreError) in try store.trimLog(to: floor) }
            case .collect(let stable):
                attempt { () throws(StoreError) in
                    _ = try store.collect(stable: stable, limit: 10_000)
                }
            case .offerSnapshot(let resuming, let has, let peer): offer(resuming, to: peer, which: has, now)
            case .readChunk(let snapshot, let offset, let count, let peer):
                readChunk(snapshot, offset: offset, count: count, to: peer, now)
            case .beginSnapshot(let offer): begin(offer, now, wall)
            case .storeChunk(let offset, let bytes):
                do throws(StoreError) { try store.installBytes(bytes, at: Int(offset)) } catch {
                    failInstall(error, now, wall)
                }
            case .install(let offer, let keepsOwn): install(offer, keepsOwn: keepsOwn, now, wall)
            case .abandonSnapshot: break
            case .notify(let notice): outputs.append(.notify(notice))
            }
        }
    }

    private func apply(_ records: [LogRecord], from peer: NodeID, _ now: Instant, _ wall: Int64) {
        let before = store.vector
        do throws(StoreError) {
            let result = try store.apply(records)
            // What follows an unreadable record of its origin is refused because of the gap.
            let unreadable = result.refused.filter { $0.reason == .malformed || $0.reason == .tooMuchHeld }
            replicator.refused(result.refused.count, unreadable: unreadable.map { ($0.origin, $0.sequence) }, now: now)
        } catch { outputs.append(.trouble(error)) }
        if store.origin != replicator.own {
            carryOut(replicator.originTaken(store.origin, now: now, wall: wall), now, wall)
        }
        let after = store.vector
        let applied = records.filter { $0.sequence <= after[$0.origin] && $0.sequence > before[$0.origin] }
        if !applied.isEmpty {
            syncSoon(isAwaited ? now : now + replicator.config.lazySync)
            outputs.append(.changed)
        }
        carryOut(replicator.applied(applied, of: records, from: peer, now: now, wall: wall), now, wall)
    }

    private func answerPull(_ number: UInt32, _ wants: [Want], budget: Int, to peer: NodeID) {
        var records: [LogRecord] = []
        var left = budget
        var isBelowFloor = false
        attempt { () throws(StoreError) in
            for want in wants where left > 0 && records.count < 4_096 {
                switch try store.records(of: want.origin, after: want.sequence, maxBytes: left) {
                case .records(let more):
                    for record in more {
                        // The first always goes; after it whatever fits one frame.
                        guard records.isEmpty || left > 0 else { break }
                        let cost = record.body.count + 28
                        if !records.isEmpty, cost > left {
                            left = 0
                        } else {
                            records.append(record)
                            left -= cost
                        }
                    }
                case .collected: isBelowFloor = true
                }
            }
        }
        send(
            .records(records, epoch: store.epoch, answer: PullAnswer(number: number, isBelowFloor: isBelowFloor)),
            to: peer)
    }

    // MARK: Snapshots

    /// How many bytes of a whole copy this peer has been sent, and of how many; nil when it takes none from here.
    package func given(to peer: NodeID, now: Instant) -> (sent: UInt64, size: UInt64)? {
        guard let offered, let giving = givings[peer], now - giving.lastReadAt <= Self.snapshotRest else { return nil }
        return (giving.sent, offered.offer.size)
    }

    private func tell(_ offer: SnapshotOffer, to peer: NodeID, _ now: Instant) {
        givings[peer] = Giving(sent: 0, lastReadAt: now)
        send(.offer(offer), to: peer)
    }

    private func offer(_ resuming: UInt64, to peer: NodeID, which has: VersionVector, _ now: Instant) {
        if var current = offered {
            // Who has taken all of it and asks again lacks what was written since, and is not in the log any more.
            let isOutdated = !current.offer.vector.isEmpty && has.covers(current.offer.vector)
            if !isOutdated, current.offer.number == resuming || now - current.madeAt < Self.snapshotLife / 4 {
                current.lastReadAt = now
                offered = current
                return tell(current.offer, to: peer, now)
            }
            let isRead = givings.contains { $0.key != peer && now - $0.value.lastReadAt <= Self.snapshotRest }
            guard isOutdated ? !isRead : now - current.lastReadAt > Self.snapshotRest else {
                return send(.noSnapshot, to: peer)
            }
        }
        guard copying == nil else {
            // The copy that is being made is not of this database, or is: then it is for this peer, too.
            if isCopyStale { return send(.noSnapshot, to: peer) }
            if copying?.contains(peer) == false { copying?.append(peer) }
            return
        }
        do throws(StoreError) {
            // It is written into the same file.
            forgetOffer()
            let job = try store.snapshotJob()
            copying = [peer]
            outputs.append(.copy(job))
        } catch {
            outputs.append(.trouble(error))
            send(.noSnapshot, to: peer)
        }
    }

    /// What came of `copy`.
    package func copied(_ result: Result<SnapshotCopy, StoreError>, now: Instant, wall: Int64) {
        guard let waiting = copying else { return }
        copying = nil
        let isStale = isCopyStale
        isCopyStale = false
        switch result {
        case .success(let copy):
            store.use(copy)
            guard !isStale else { return forgetOffer() }
            let header = copy.header
            let offer = SnapshotOffer(
                number: header.checksum == 0 ? 1 : header.checksum, epoch: header.epoch, vector: header.vector,
                size: UInt64(header.size), checksum: header.checksum)
            offered = Offered(offer: offer, madeAt: now, lastReadAt: now)
            for peer in waiting { tell(offer, to: peer, now) }
        case .failure(let error):
            if !isStale { outputs.append(.trouble(error)) }
            for peer in waiting { send(.noSnapshot, to: peer) }
        }
    }

    private func forgetOffer() {
        if copying != nil { isCopyStale = true }
        store.discardSnapshot()
        offered = nil
        givings = [:]
    }

    private func readChunk(_ snapshot: UInt64, offset: UInt64, count: Int, to peer: NodeID, _ now: Instant) {
        guard let current = offered, current.offer.number == snapshot, offset < current.offer.size else {
            return send(.gone(snapshot: snapshot), to: peer)
        }
        offered?.lastReadAt = now
        do throws(StoreError) {
            let bytes = try store.snapshotBytes(from: Int(offset), count: count)
            send(.chunk(snapshot: snapshot, offset: offset, bytes: bytes), to: peer)
            givings[peer] = Giving(sent: offset + UInt64(bytes.count), lastReadAt: now)
        } catch {
            outputs.append(.trouble(error))
            send(.gone(snapshot: snapshot), to: peer)
        }
    }

    private func header(_ offer: SnapshotOffer) -> SnapshotHeader {
        SnapshotHeader(vector: offer.vector, epoch: offer.epoch, size: Int(offer.size), checksum: offer.checksum)
    }

    private func begin(_ offer: SnapshotOffer, _ now: Instant, _ wall: Int64) {
        do throws(StoreError) {
            let offset = try store.beginInstall(header(offer))
            carryOut(replicator.snapshotBegan(at: UInt64(offset), now: now, wall: wall), now, wall)
        } catch { failInstall(error, now, wall) }
    }

    private func failInstall(_ error: StoreError, _ now: Instant, _ wall: Int64) {
        outputs.append(.trouble(error))
        carryOut(replicator.installFailed(now: now, wall: wall), now, wall)
    }

    private func install(_ offer: SnapshotOffer, keepsOwn: Bool, _ now: Instant, _ wall: Int64) {
        do throws(StoreError) {
            // What was written or came in while the snapshot was on its way is not in it.
            try store.finishInstall(keepingUnsent: keepsOwn, wall: wall)
        } catch { return failInstall(error, now, wall) }
        forgetOffer()
        syncSoon(now)
        outputs.append(.reopened)
        carryOut(
            replicator.installed(
                origin: store.origin, epoch: store.epoch, vector: store.vector, newest: store.latestTime,
                forgotten: store.forgotten, now: now, wall: wall), now, wall)
        outputs.append(.changed)
    }
}
