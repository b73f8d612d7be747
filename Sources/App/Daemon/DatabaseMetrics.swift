import BrambleAPI
import Replication

extension Database {
    struct Figures: Sendable {
        var counters: Counters
        var replication: ReplicationCounters
        var vectorSize: Int
        var logBytes: Int
        var heldOrigins: Int
        var unreadableOrigins: Int
        var isOpen: Bool
        var isJoining: Bool
    }
    func figures() -> Figures {
        Figures(
            counters: takeCounters(), replication: replica?.replicator.counters ?? ReplicationCounters(),
            vectorSize: replica?.replicator.vector.origins.count ?? 0, logBytes: replica?.store.logBytes ?? 0,
            heldOrigins: replica?.replicator.held.count ?? 0,
            unreadableOrigins: replica?.replicator.unreadable.count ?? 0, isOpen: replica != nil,
            isJoining: replica?.isJoining ?? false)
    }
}

extension MetricsText {
    mutating func add(_ figures: Database.Figures, _ status: DatabaseStatus) {
        add(
            "database_open", .gauge, "Whether the database is open and complete",
            figures.isOpen && !figures.isJoining ? 1 : 0)
        add("database_bytes", .gauge, "Size of the database on this node's disk", status.bytes)
        add("database_log_bytes", .gauge, "Bytes of records kept for members that lack them", figures.logBytes)
        add("database_origins", .gauge, "Lives of databases that ever wrote", figures.vectorSize)
        add("database_conflicts", .gauge, "Overwritten values that are listed", status.conflicts)
        add("database_held_origins", .gauge, "Origins whose writes from the future are held back", figures.heldOrigins)
        add(
            "database_unreadable_origins", .gauge, "Origins of which a write cannot be read here",
            figures.unreadableOrigins)
        add("database_writes_total", .counter, "Transactions of this node that wrote", figures.counters.writes)
        add("database_reads_total", .counter, "Calls that only read", figures.counters.reads)
        add("database_syncs_total", .counter, "Syncs of the log to the disk", figures.counters.syncs)
        add(
            "database_sync_milliseconds", .gauge, "The longest sync since the last reading",
            figures.counters.worstSyncMs)
        let others = status.replicas.filter { !$0.isSelf }
        add(
            "database_missing", .gauge, "Transactions that each other node has not acknowledged",
            others.map { (labels: [("node", $0.node)], value: Double($0.missing)) })
        add(
            "database_messages_dropped_total", .counter, "Messages of peers dropped because too many waited",
            figures.counters.messagesDropped)
        let counts = figures.replication
        add(
            "database_records_total", .counter, "Records received, by what became of them",
            [
                (labels: [("result", "received")], value: Double(counts.recordsReceived)),
                (labels: [("result", "duplicate")], value: Double(counts.duplicates)),
                (labels: [("result", "early")], value: Double(counts.early)),
                (labels: [("result", "refused")], value: Double(counts.refusedRecords)),
                (labels: [("result", "future")], value: Double(counts.futureRecords)),
            ])
        add("database_messages_refused_total", .counter, "Messages that make no sense here", counts.refusedMessages)
        add("database_pulls_total", .counter, "Times that missing records were asked for", counts.pulls)
        add(
            "database_snapshots_total", .counter, "Whole copies, by direction",
            [
                (labels: [("direction", "in")], value: Double(counts.snapshotsFetched)),
                (labels: [("direction", "out")], value: Double(counts.snapshotsOffered)),
            ])
    }
}
