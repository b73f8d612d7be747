import BrambleAPI
import Glibc
import Logging
import Node
import Primitives
import Reactor
import Replication
import Storage

/// The replicated database of this node: a thread of its own around a `Replica`, one that syncs, and whoever asks.
///
/// Neither the pulse nor the streams ever wait for it. What comes in waits here within bounds; beyond them it is dropped, and
/// the replicas find out by themselves that they differ.
actor Database {
    /// Where it says what is left to do. Each returns at once.
    struct Outlets: Sendable {
        var send: @Sendable (_ bytes: [UInt8], _ peer: NodeID, _ addresses: [Endpoint]) -> Void
        /// Of what is known here; rides on heartbeats.
        var hash: @Sendable (UInt64) -> Void
        var tell: @Sendable (EventDraft) -> Void
        /// Facts of the cluster, for the pulse and whoever else must know them at once: some, or all there are.
        var facts: @Sendable (_ facts: [StoredFact], _ isWhole: Bool) -> Void
        /// Trust facts that came as rows, encoded.
        var trust: @Sendable ([UInt8]) -> Void
        /// What an earlier version kept in a file is in the database, on the disk.
        var tookOver: @Sendable () -> Void
    }

    static let fileName = "database.db"
    /// What peers sent and we did not get to yet. Unit: bytes.
    private static let inboxLimit = 32 << 20
    private static let tickInterval = Duration.milliseconds(100)
    private static let hashInterval = Duration.milliseconds(20)
    /// Writes that are committed together, at most.
    private static let largestGroup = 128
    /// Writes that wait for their confirmation.
    private static let maximumWaiting = 10_000

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    let id: NodeID
    let name: String
    let directory: String
    nonisolated var path: String { directory + "/" + Self.fileName }
    let outlets: Outlets
    var memory = ClusterMemory()
    private let syncLoop = EventLoop(name: "database-sync")
    private var clusters: [[UInt8]]

    var replica: Replica?
    /// Why there is none.
    var closedBecause: StoreError?
    /// Of the latest call that the disk refused; nil after one that it took.
    var diskTrouble: StoreError?
    private var logSync: LogSync?
    /// Reads on a thread of its own, so that a long question holds up nobody who writes.
    let readLoop = EventLoop(name: "database-read")
    nonisolated let reader = Reading()
    nonisolated let readable = Locked(Readable())
    /// Makes copies for new nodes and backups: that may take a minute, and nobody waits behind it. Its thread begins with the first.
    var copyLoop: EventLoop {
        if let copies { return copies }
        let made = EventLoop(name: "database-copy")
        copies = made
        return made
    }
    private var copies: EventLoop?
    private var isSyncing = false
    private var isFlushTimed = false
    private var pace = SyncPace()
    /// Counts openings, so that a sync of an earlier one is not taken for one of this.
    private var life = 0
    /// Counts replicas, so that a copy that an earlier one ordered is not handed to this one.
    private var opened = 0
    private var isTurnScheduled = false
    private var isStopped = false
    private var timer: EventLoop.Registration?
    private var toldHash: UInt64 = 0
    private var hashToldAt = SystemClock.now - .seconds(1)
    private var waiting: [UInt64: CheckedContinuation<WriteConfirmation, Never>] = [:]
    /// Writes made here, and what came of them where that was known before their caller had begun to wait: between making a
    /// write and waiting for it a task may be put off.
    private var expected: Set<UInt64> = []
    private var answered: [UInt64: WriteConfirmation] = [:]
    /// Why a write that was answered without being there is not there; taken by its caller.
    var lost: [UInt64: StoreError] = [:]
    private var lastTicket: UInt64 = 0
    private var joining: [CheckedContinuation<Void, Never>] = []
    private var addresses: [NodeID: [Endpoint]] = [:]
    var members: [NodeID] = []
    var watchers: [UInt64: Watcher] = [:]
    var lastWatcher: UInt64 = 0
    /// When each peer last had all that we have.
    var lastEqual: [NodeID: Instant] = [:]
    private(set) var counters = Counters()
    private nonisolated let inbox = Locked(Inbox())

    struct Counters: Sendable {
        var writes: UInt64 = 0
        var reads: UInt64 = 0
        var syncs: UInt64 = 0
        var messagesIn: UInt64 = 0
        var messagesDropped: UInt64 = 0
        /// The worst since the last time anybody asked. Unit: milliseconds.
        var worstSyncMs = 0.0
    }
    /// What whoever only reads has to know of this thread.
    struct Readable {
        /// The latest change that a reader sees, or one before it; nil when there is nothing to read yet.
        var token: UInt64?
        var reads: UInt64 = 0
        /// Counts openings of the file: a reader's error may be of one that is gone.
        var opening = 0
    }
    private struct Inbox {
        var bytes = 0
        var dropped: UInt64 = 0
    }

    init(id: NodeID, name: String, directory: String, clusters: [[UInt8]], outlets: Outlets) {
        self.id = id
        self.name = name
        self.directory = directory
        self.clusters = clusters
        self.outlets = outlets
        loop = EventLoop(name: "database")
    }

    // MARK: Life

    /// Opens the file, or makes one. What is damaged, or of another cluster, is moved aside and fetched from the others.
    func open() {
        guard replica == nil, !isStopped else { return }
        for name in leftovers() { unlink(directory + "/" + name) }
        var random = SystemRandomNumberGenerator()
        var options = StoreOptions(seed: random.next(), wall: wall)
        options.clusters = clusters
        options.node = id
        options.metDamage = closedBecause?.kind == .damaged
        do throws(StoreError) {
            let store = try Store(.file(path), options)
            logSync = try LogSync(path: path)
            life += 1
            opened += 1
            isSyncing = false
            forgetTold()
            reader.isStale.withLock { $0 = true }
            readable.withLock { $0.opening += 1 }
            for note in store.notes {
                tell("database", note)
                Log.warning(note)
            }
            replica = Replica(
                id: id, store: store, lastTicket: lastTicket, chance: SeededGenerator(seed: random.next()), now: now,
                wall: wall)
            closedBecause = nil
        } catch {
            closedBecause = error
            Log.error("the database cannot be opened: \(error.problem). \(error.remedy)")
            // A full disk may have room again, a mount may come.
            loop.schedule(after: .seconds(5)) { [weak self] in self?.assumeIsolated { $0.open() } }
        }
        tellReplica()
        keepMemory()
        if timer == nil { tick() }
        scheduleTurn()
    }

    private func leftovers() -> [String] {
        guard let folder = opendir(directory) else { return [] }
        defer { closedir(folder) }
        var found: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix(Self.transferPrefix) { found.append(name) }
        }
        return found
    }

    /// New cluster keys: a file of any of them is ours.
    func use(clusters: [[UInt8]]) { self.clusters = clusters }

    /// Answers whoever waits, makes everything durable and closes the file.
    func close() {
        guard !isStopped else { return }
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
        if let replica {
            replica.flush(now: now, wall: wall)
            carryOut(replica.takeOutputs())
            let reached = replica.beginSync()
            do throws(StoreError) {
                try logSync?.sync()
                replica.syncEnded(reached, now: now, wall: wall)
                carryOut(replica.takeOutputs())
                try replica.store.close()
            } catch { Log.error("the database was not closed cleanly: \(error.problem). \(error.remedy)") }
        }
        readable.withLock { $0.token = nil }
        replica = nil
        logSync = nil
        giveUpWaiting()
        for watcher in watchers.values { watcher.stream.finish() }
        watchers = [:]
        syncLoop.stop()
        readLoop.perform { [reader] in reader.close() }
        readLoop.stop()
        copies?.stop()
    }

    /// This node was removed: its copy goes.
    func wipe() {
        close()
        for end in ["", "-wal", "-shm", "-journal", ".snapshot", ".incoming"] { unlink(path + end) }
    }
    nonisolated func stopThread() { loop.stop() }

    /// A snapshot or a backup is in the place of the file now.
    private func fileReplaced() {
        readable.withLock { $0.token = nil }
        life += 1
        forgetTold()
        isSyncing = false
        reader.isStale.withLock { $0 = true }
        readable.withLock { $0.opening += 1 }
        do throws(StoreError) { logSync = try LogSync(path: path) } catch { reopen(because: error) }
    }

    private func giveUpWaiting() {
        for number in expected.sorted() { answer(number, WriteConfirmation(reached: nil, note: .notConfirmed)) }
        joining.forEach { $0.resume() }
        joining = []
    }

    /// What is on the disk is not known any more, or is damaged: the file is opened anew.
    private func reopen(because error: StoreError) {
        guard !isStopped else { return }
        Log.error("the database is opened anew: \(error.problem)")
        readable.withLock { $0.token = nil }
        replica = nil
        logSync = nil
        closedBecause = error
        giveUpWaiting()
        loop.schedule(after: .seconds(1)) { [weak self] in self?.assumeIsolated { $0.open() } }
    }

    var now: Instant { SystemClock.now }
    /// Milliseconds since 1970, as this machine believes.
    var wall: Int64 { SystemClock.wallNanoseconds / 1_000_000 }

    // MARK: From other threads

    /// A message of a peer. Too many of them are dropped.
    nonisolated func received(_ bytes: [UInt8], from peer: NodeID) {
        let isRoom = inbox.withLock { inbox in
            guard inbox.bytes + bytes.count <= Self.inboxLimit else {
                inbox.dropped += 1
                return false
            }
            inbox.bytes += bytes.count
            return true
        }
        guard isRoom else { return }
        loop.perform { [weak self] in
            self?.assumeIsolated { database in
                database.inbox.withLock { $0.bytes -= bytes.count }
                database.hear(bytes, from: peer)
            }
        }
    }

    /// Whom the pulse counts as members, who of them is heard now, and where.
    nonisolated func peersChanged(members: [NodeID], reachable: [(NodeID, [Endpoint])]) {
        loop.perform { [weak self] in
            self?.assumeIsolated { database in
                database.members = members
                database.addresses = Dictionary(reachable, uniquingKeysWith: { first, _ in first })
                database.tellReplica()
                database.scheduleTurn()
            }
        }
    }

    /// A peer's hash has been another than ours for a while.
    nonisolated func differs(_ peer: NodeID) {
        loop.perform { [weak self] in
            self?.assumeIsolated { database in
                database.replica?.differs(peer, now: database.now, wall: database.wall)
                database.scheduleTurn()
            }
        }
    }

    private func hear(_ bytes: [UInt8], from peer: NodeID) {
        counters.messagesIn += 1
        replica?.received(bytes, from: peer, now: now, wall: wall)
        scheduleTurn()
    }

    func tellReplica() {
        replica?.peersChanged(members: countedMembers, reachable: addresses.keys.sorted(), now: now, wall: wall)
    }
    var reachable: Set<NodeID> { Set(addresses.keys) }

    // MARK: Turns

    private func tick() {
        timer = nil
        guard !isStopped else { return }
        replica?.tick(now: now, wall: wall)
        noteEqual()
        scheduleTurn()
        timer = loop.schedule(after: Self.tickInterval) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }

    private func noteEqual() {
        guard let replicator = replica?.replicator else { return }
        for (peer, known) in replicator.peers where known.epoch == replicator.epoch {
            if known.vector.covers(replicator.vector) { lastEqual[peer] = now }
        }
    }

    /// Once for all that happens now: what was committed goes out together, and one sync covers it.
    func scheduleTurn() {
        guard !isTurnScheduled, !isStopped else { return }
        isTurnScheduled = true
        loop.perform { [weak self] in self?.assumeIsolated { $0.endTurn() } }
    }

    private func endTurn() {
        isTurnScheduled = false
        guard !isStopped, let replica else { return }
        keepMemory()
        // While the disk is busy writes are collected: one commit, one message to each peer and one sync for all of them.
        let isCollecting = isSyncing && replica.collected < Self.largestGroup
        replica.flush(isCollecting: isCollecting, now: now, wall: wall)
        tellReaders()
        carryOut(replica.takeOutputs())
        flushInTime()
        beginSyncIfNeeded()
        if !replica.isJoining, !joining.isEmpty {
            joining.forEach { $0.resume() }
            joining = []
        }
        tellHash()
    }

    private func flushInTime() {
        guard !isFlushTimed, let due = replica?.flushDue else { return }
        isFlushTimed = true
        loop.schedule(at: due) { [weak self] in
            self?.assumeIsolated { database in
                database.isFlushTimed = false
                if database.replica?.flushDue != nil { database.scheduleTurn() }
            }
        }
    }

    /// Before anybody is answered. What is collected is not committed, and no reader sees it.
    private func tellReaders() {
        guard let replica, replica.collected == 0 else { return }
        let token = replica.isJoining ? nil : replica.store.latestNotice
        readable.withLock { $0.token = token }
    }

    /// Not after every write: heartbeats, which carry it, are far fewer. The tick tells what was left out here.
    private func tellHash() {
        guard let replica, now - hashToldAt >= Self.hashInterval else { return }
        let hash = replica.digest
        guard hash != toldHash else { return }
        toldHash = hash
        hashToldAt = now
        outlets.hash(hash)
    }

    private func carryOut(_ outputs: [Replica.Output]) {
        var hasChanged = false
        for output in outputs {
            switch output {
            case .send(let bytes, let peer): outlets.send(bytes, peer, addresses[peer] ?? [])
            case .answer(let number, let confirmation): answer(number, confirmation)
            case .lost(let number, let error):
                lost[number] = error
                answer(number, WriteConfirmation(reached: nil, note: .notConfirmed))
            case .notify(let notice): tell(notice)
            case .trouble(let error): troubled(error)
            case .changed: hasChanged = true
            case .reopened: fileReplaced()
            case .copy(let job): copy(job)
            }
        }
        if hasChanged { tellWatchers() }
    }

    private func copy(_ job: SnapshotJob) {
        let life = opened
        copyLoop.perform { [weak self] in
            let result = job.result()
            guard let self else { return }
            loop.perform {
                self.assumeIsolated { database in
                    // Of a replica that is not there any more nobody waits for it.
                    guard database.opened == life, let replica = database.replica else { return }
                    replica.copied(result, now: database.now, wall: database.wall)
                    database.scheduleTurn()
                }
            }
        }
    }

    func troubled(_ error: StoreError) {
        switch error.kind {
        case .damaged: reopen(because: error)
        case .disk:
            if diskTrouble == nil {
                tell("database", "the database cannot be written: \(error.problem). \(error.remedy)")
                Log.error("the database cannot be written: \(error.problem). \(error.remedy)")
            }
            diskTrouble = error
        default: Log.warning("database: \(error.problem). \(error.remedy)")
        }
    }

    private func beginSyncIfNeeded() {
        guard !isSyncing, let replica, replica.isSyncDue(now), let logSync else { return }
        isSyncing = true
        let reached = replica.beginSync()
        let (life, began) = (life, now)
        if pace.isDirect(waiting: expected.count) {
            return syncEnded(logSync.result(), reached, life: life, began: began)
        }
        syncLoop.perform { [weak self] in
            let result = logSync.result()
            guard let self else { return }
            loop.perform { self.assumeIsolated { $0.syncEnded(result, reached, life: life, began: began) } }
        }
    }

    private func syncEnded(_ result: Result<Void, StoreError>, _ reached: VersionVector, life: Int, began: Instant) {
        guard life == self.life, let replica else { return }
        isSyncing = false
        counters.syncs += 1
        let took = now - began
        counters.worstSyncMs = max(counters.worstSyncMs, took.milliseconds)
        pace.ended(after: took)
        switch result {
        case .success:
            diskTrouble = nil
            replica.syncEnded(reached, now: now, wall: wall)
            endTurn()
        case .failure(let error): reopen(because: error)
        }
    }

    // MARK: For those who ask

    /// Somebody will wait for this write. In the same turn in which it was made.
    func expect(_ ticket: UInt64) {
        lastTicket = max(lastTicket, ticket)
        expected.insert(ticket)
        scheduleTurn()
    }
    /// Waits until it is as safe as asked, or what it reached instead is known.
    func confirmation(of ticket: UInt64) async -> WriteConfirmation {
        await withCheckedContinuation { continuation in
            if let confirmation = answered.removeValue(forKey: ticket) {
                continuation.resume(returning: confirmation)
            } else {
                waiting[ticket] = continuation
            }
        }
    }
    private func answer(_ ticket: UInt64, _ confirmation: WriteConfirmation) {
        guard expected.remove(ticket) != nil else { return }
        if let continuation = waiting.removeValue(forKey: ticket) {
            continuation.resume(returning: confirmation)
        } else {
            answered[ticket] = confirmation
        }
    }
    var isFull: Bool { expected.count >= Self.maximumWaiting }

    /// A new node's database is not there before it met somebody who has one.
    func joined(within patience: Duration) async -> Bool {
        guard let replica, replica.isJoining, joining.count < Self.maximumWaiting else {
            return replica?.isJoining == false
        }
        let deadline = now + patience
        while let replica = self.replica, replica.isJoining, now < deadline {
            guard (try? await loop.sleep(for: .milliseconds(50))) != nil else { return false }
        }
        return self.replica?.isJoining == false
    }

    func count(writes: Int = 0, reads: Int = 0) {
        counters.writes += UInt64(writes)
        counters.reads += UInt64(reads)
    }
    /// For `/metrics`; reading it starts a new measurement of the worst sync.
    func takeCounters() -> Counters {
        counters.messagesDropped = inbox.withLock { $0.dropped }
        counters.reads += readable.withLock { readable in
            defer { readable.reads = 0 }
            return readable.reads
        }
        defer { counters.worstSyncMs = 0 }
        return counters
    }

    // MARK: Events

    func tell(_ type: String, _ sentence: String, detail: [String: JSONValue] = [:]) {
        outlets.tell(EventDraft(type: type, subject: name, detail: detail, sentence: sentence))
    }

    private func tell(_ notice: ReplicationNotice) {
        switch notice {
        case .complete: tell("database-complete", "\(name) has the whole database")
        case .completeExcept(let origins):
            tell(
                "database-complete",
                "\(name) has the database, except writes that it cannot take: bramble database on \(name) says which",
                detail: ["origins": .array(origins.map { .string($0.description) })])
        case .originRenewed(let old, let new):
            tell(
                "database-origin",
                "\(name) writes under a new name: others knew more of what it wrote than it did itself",
                detail: ["old": .string("\(old)"), "new": .string("\(new)")])
        case .held(let origin, _, let time):
            tell(
                "database-held",
                "writes from the year \(1970 + time.milliseconds / 31_556_952_000) are not taken before their time: "
                    + "the clock of the node that made them is wrong. Set it, and write again what matters of them",
                detail: ["origin": .string("\(origin)"), "time": .integer(time.milliseconds)])
        case .released(let origin):
            tell(
                "database-released", "writes that were held back are taken now",
                detail: ["origin": .string("\(origin)")])
        case .unreadable(let origin, let sequence):
            tell(
                "database-unreadable",
                "a write of another node cannot be read on \(name), and nothing after it is taken: install the newest "
                    + "version of Bramble here",
                detail: ["origin": .string("\(origin)"), "number": .integer(Int64(clamping: sequence))])
        case .fetching(let peer, let bytes):
            tell(
                "database-fetching", "\(name) fetches the whole database, \(bytes) bytes",
                detail: ["from": .string(peer.description), "bytes": .integer(Int64(bytes))])
        case .forgotten(let origins):
            Log.info("what removed nodes wrote is on every node; \(origins.count) of their origins are forgotten")
        case .fetched: tell("database-fetched", "\(name) has fetched the database")
        case .fetchFailed: tell("database-fetch-failed", "the database could not be fetched; another node is asked")
        case .replaced(let epoch, _):
            tell(
                "database-replaced", "the database was replaced by a restored one",
                detail: ["epoch": .string(epoch.text)])
        }
    }
}

extension DatabaseEpoch {
    /// `1` for a database that was never restored.
    var text: String { self == .first ? "1" : "\(since.milliseconds)-\(String(number, radix: 16))" }
}
