import Primitives
import Replication
import Storage

private let noon: Int64 = 1_790_000_000_000
private func store(_ seed: UInt64) -> Store? {
    var options = StoreOptions(seed: seed, wall: noon)
    options.limits.rows = 50
    options.limits.statementTime = .milliseconds(50)
    return try? Store(.memory(image: nil), options)
}
private let statements = [
    "CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'd', n COUNTER)",
    "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2); UPDATE t SET n = n + 1 WHERE k = 1; DELETE FROM t WHERE k = 2",
    "ALTER TABLE t ADD COLUMN b REAL DEFAULT 1.5; INSERT INTO t (k, b) VALUES (7, x'00ff')",
    "CREATE TABLE [u \"v\"] (a TEXT, b BLOB, PRIMARY KEY (b, a)) STRICT -- c\n; CREATE INDEX i ON t (a, n)",
    "CREATE VIEW w AS SELECT * FROM t; WITH x AS (SELECT 1) INSERT INTO t (k) SELECT * FROM x WHERE true ON CONFLICT DO NOTHING",
    "INSERT OR REPLACE INTO t (k, a) VALUES (1, 'again') /* c */ RETURNING *",
]
private func written() -> (store: Store, records: [LogRecord])? {
    guard let store = store(1) else { return nil }
    let records = statements.compactMap { try? store.execute([SQLStatement($0)], wall: noon).record }
    return (store, records)
}

extension FuzzTarget {
    /// The body of a record, from a peer of another version or with a bug; applied to a store that has rows.
    static let recordBody = FuzzTarget("recordBody", quickRuns: 400) {
        written()?.records.map(\.body) ?? []
    } check: { bytes in
        guard let (one, _) = written(), let two = store(2) else { return "no store" }
        guard case .records(let known)? = try? one.records(of: one.origin, after: 0, maxBytes: .max) else {
            return "no records"
        }
        let strange = LogRecord(
            origin: Origin(rawValue: 9), sequence: 1, time: HybridTime(milliseconds: noon - 5), body: bytes)
        guard let first = try? one.apply([strange]) else { return "a record stops the store" }
        guard first.applied + first.refused.count == 1 else { return "a record is neither applied nor refused" }
        // In the other order it must come to the same.
        guard let second = try? two.apply([strange] + known) else { return "a record stops the store" }
        guard second.applied == first.applied + known.count else {
            return "a record of others is refused because of it"
        }
        let digests = (try? one.digest(), try? two.digest())
        guard digests.0 != nil, digests.0 == digests.1 else { return "two stores with the same records differ" }
        return nil
    }

    /// What people may type: it never stops the store, and what it does comes out the same elsewhere.
    static let sql = FuzzTarget("sql", quickRuns: 600) {
        statements.map { Array($0.utf8) }
    } check: { bytes in
        guard let (one, _) = written(), let two = store(2) else { return "no store" }
        let text = String(decoding: bytes, as: UTF8.self)
        _ = try? one.execute([SQLStatement(text)], wall: noon + 1)
        guard case .records(let records)? = try? one.records(of: one.origin, after: 0, maxBytes: .max) else {
            return "the log cannot be read"
        }
        guard let result = try? two.apply(records), result.applied == records.count else {
            return "what was executed cannot be applied elsewhere"
        }
        let digests = (try? one.digest(), try? two.digest())
        guard digests.0 != nil, digests.0 == digests.1 else { return "two stores with the same records differ" }
        return nil
    }

    /// A snapshot, as another node sends it: whole or not at all.
    static let snapshot = FuzzTarget("snapshot", quickRuns: 150) {
        guard let (one, _) = written(), let header = try? one.snapshot(),
            let bytes = try? one.snapshotBytes(from: 0, count: header.size)
        else { return [] }
        return [bytes]
    } check: { bytes in
        guard let (one, _) = written(), let two = store(2), let good = try? one.snapshot(),
            let before = try? two.digest(), !bytes.isEmpty
        else { return bytes.isEmpty ? nil : "no store" }
        let header = SnapshotHeader(
            vector: good.vector, epoch: good.epoch, size: bytes.count, checksum: SnapshotHeader.checksum(of: bytes))
        guard (try? two.beginInstall(header)) == 0, (try? two.installBytes(bytes, at: 0)) != nil else {
            return "it cannot be received"
        }
        guard (try? two.finishInstall(keepingUnsent: false, wall: noon)) != nil else {
            return (try? two.digest()) == before ? nil : "a snapshot that was refused changed something"
        }
        // Taken: whatever is in it, statements end with an answer or an error.
        _ = try? two.execute([SQLStatement("INSERT INTO t (k) VALUES (77)")], wall: noon + 1)
        _ = try? two.digest()
        return nil
    }
}
