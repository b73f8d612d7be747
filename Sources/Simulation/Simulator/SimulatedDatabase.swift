import Primitives
import Replication
import Storage

/// The database of one machine: a real one, in memory, with a disk that is the image of its last sync.
final class SimulatedDatabase {
    /// What a crash leaves.
    private(set) var image: [UInt8]?
    /// Earlier ones, as images of the card that somebody kept.
    private var kept: [[UInt8]] = []
    private(set) var replica: Replica?
    private var syncing: (vector: VersionVector, image: [UInt8])?
    var toldDigest: UInt64 = 0
    var isFlushTimed = false
    /// Writes that wait for their answer, by ticket.
    var waiting: [UInt64: Int] = [:]
    private var chance: SeededGenerator
    private let bug: PlantedBug?
    private var isUpgraded = false

    init(chance: SeededGenerator, bug: PlantedBug?) {
        self.chance = chance
        self.bug = bug
    }

    func start(id: NodeID, now: Instant, wall: Int64) throws(StoreError) {
        var options = StoreOptions(seed: chance.next(), wall: wall)
        options.limits.statementTime = nil
        options.node = id
        if isUpgraded { options.bodyVersion += 1 }
        options.planted = bug?.inStorage
        var config = ReplicatorConfig()
        config.plantedBug = bug?.inReplication
        config.forgetAfter = .seconds(2)
        let store = try Store(.memory(image: image), options)
        // A file's new life is on the disk before its first write: see `Store.startLife`.
        image = try store.image()
        replica = Replica(
            id: id, store: store, config: config, chance: SeededGenerator(seed: chance.next()), now: now, wall: wall)
    }

    func stop(losingUnsynced: Bool, wiping: Bool) {
        guard let replica else { return }
        // Killed, not unplugged: what the process wrote is in the kernel's cache, and gets to the disk.
        if !losingUnsynced { image = (try? replica.store.image()) ?? image }
        if wiping { image = nil }
        self.replica = nil
        syncing = nil
        waiting = [:]
        toldDigest = 0
        isFlushTimed = false
    }

    var isSyncing: Bool { syncing != nil }

    func beginSync() throws(StoreError) {
        guard let replica else { return }
        syncing = (replica.beginSync(), try replica.store.image())
    }
    func endSync(now: Instant, wall: Int64) {
        guard let replica, let done = syncing else { return }
        syncing = nil
        image = done.image
        if kept.count < 32, chance.chance(0.05) { kept.append(done.image) }
        replica.syncEnded(done.vector, now: now, wall: wall)
    }

    /// False when it was one already.
    func upgrade() -> Bool {
        defer { isUpgraded = true }
        return !isUpgraded
    }

    func wipe() {
        image = nil
        kept = []
    }
    func rollBack() {
        if let older = chance.pick(from: kept) { image = older }
    }
}

extension PlantedBug {
    var inStorage: PlantedStorageBug? {
        switch self {
        case .recordsOutOfOrder: .appliesOutOfOrder
        case .updateResurrects: .updateResurrects
        case .highWaterMarkLost: .losesHighWaterMark
        case .removedForgottenTooSoon: .forgetsWhatItLacks
        default: nil
        }
    }
    var inReplication: ReplicatorConfig.PlantedBug? {
        switch self {
        case .recordsOutOfOrder: .appliesOutOfOrder
        case .acknowledgedBeforeSync: .acknowledgesBeforeSync
        case .tombstonesCollectedByTime: .collectsByTime
        case .removedForgottenTooSoon: .forgetsTooSoon
        case .newNodeWaitsForTheUnreadable: .waitsForUnreadable
        default: nil
        }
    }
}
