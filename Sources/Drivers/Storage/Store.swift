import Primitives
package import Replication

/// The replicated database of one node: executes SQL, captures what it changed as a record, applies records of others.
///
/// One thread uses it. Nothing waits: a commit is in the write-ahead log file, and `LogSync` makes it durable.
package final class Store {
    /// Opens or makes the database. A damaged file, and one of another cluster, is moved aside and said so in `notes`.
    package init(_ place: StorePlace, _ options: StoreOptions) throws(StoreError) { fatalError() }
    /// Marks a clean end: the next start goes on under the same origin. Without it a new one is drawn.
    package func close() throws(StoreError) { fatalError() }

    /// Under which this store writes.
    package var origin: Origin { fatalError() }
    /// What is known, own records included.
    package var vector: VersionVector { fatalError() }
    package var epoch: DatabaseEpoch { fatalError() }
    /// The highest time given out or seen.
    package var latestTime: HybridTime { fatalError() }
    /// The content was lost (a damaged file) and must come from a peer.
    package var needsRebuild: Bool { fatalError() }
    /// What happened at the start, for the log and the events: sentences.
    package var notes: [String] { fatalError() }

    /// One call of people: all statements in one transaction. On an error nothing has changed.
    /// - Parameter wall: milliseconds since 1970, as this machine believes.
    package func execute(_ statements: [SQLStatement], wall: Int64) throws(StoreError) -> SQLAnswer { fatalError() }
    /// The same, for a call that may only read.
    package func query(_ statements: [SQLStatement]) throws(StoreError) -> SQLAnswer { fatalError() }

    /// Facts of the cluster (users, tokens, settings, removed nodes): replicated like any row, not writable by people's SQL.
    package func fact(_ key: String) throws(StoreError) -> [UInt8]? { fatalError() }
    package func facts(prefix: String) throws(StoreError) -> [(key: String, value: [UInt8])] { fatalError() }
    /// Nil removes. Nil is returned when nothing changed.
    package func setFacts(_ values: [(key: String, value: [UInt8]?)], wall: Int64) throws(StoreError) -> LogRecord? {
        fatalError()
    }

    /// Records of others, in one transaction. Those that cannot be applied are refused whole; the rest is applied. After an
    /// error (a full disk) none of them is.
    package func apply(_ records: [LogRecord]) throws(StoreError) -> ApplyResult { fatalError() }
    /// A peer knows more of our own origin than we do (a restored image): go on under a new one. Also done by `apply` when
    /// it is given records of our own.
    package func takeNewOrigin() throws(StoreError) { fatalError() }

    /// Records of one origin with sequence numbers above `after`, at least one when there is one, then up to `maxBytes` of bodies.
    package func records(of origin: Origin, after: UInt64, maxBytes: Int) throws(StoreError) -> LogExtract {
        fatalError()
    }
    /// Forgets records up to the given sequence numbers. The vector stays.
    package func trimLog(to floors: VersionVector) throws(StoreError) { fatalError() }
    /// How many bytes of bodies the log holds.
    package var logBytes: Int { fatalError() }

    /// Forgets deletes that everybody has seen: those in records up to `stable`. At most `limit` of them; the number is returned.
    package func collect(stable: VersionVector, limit: Int) throws(StoreError) -> Int { fatalError() }

    /// A consistent copy of the state, without the log, as a file for `SnapshotReader`; in memory as bytes.
    package func snapshot() throws(StoreError) -> SnapshotHeader { fatalError() }
    /// A piece of the latest snapshot.
    package func snapshotBytes(from offset: Int, count: Int) throws(StoreError) -> [UInt8] { fatalError() }
    package func discardSnapshot() { fatalError() }

    /// Begins to receive one, or goes on with the one of the same header: the offset to ask for next.
    package func beginInstall(_ header: SnapshotHeader) throws(StoreError) -> Int { fatalError() }
    /// The next bytes. Those not at the expected offset are ignored.
    package func installBytes(_ bytes: [UInt8], at offset: Int) throws(StoreError) { fatalError() }
    /// Checks and switches to it, whole or not at all. Our own content is replaced, the old file kept as a backup when it had
    /// any; the origin is a new one.
    package func finishInstall(wall: Int64) throws(StoreError) { fatalError() }

    /// A file that people can open with `sqlite3`, and `restore` takes.
    package func backup(to path: String) throws(StoreError) { fatalError() }
    /// Replaces everything by a backup: a new epoch, which the other nodes will take over. The old file is kept as a backup.
    package func restore(from path: String, wall: Int64) throws(StoreError) { fatalError() }

    /// Changes after `number`, for watchers.
    package func notices(after number: UInt64, limit: Int) -> FeedExtract { fatalError() }
    /// The number of the latest change: where a watcher begins.
    package var latestNotice: UInt64 { fatalError() }

    package func tables() throws(StoreError) -> [TableReport] { fatalError() }
    package func report() throws(StoreError) -> StoreReport { fatalError() }
    /// Equal on two stores that have the same rows: content, stamps and schema.
    package func digest() throws(StoreError) -> UInt64 { fatalError() }

    /// Moves the write-ahead log into the file when it has grown: call it when there is a moment.
    package func checkpointIfNeeded() throws(StoreError) { fatalError() }
    /// The whole database as bytes, of a store in memory: what a crash leaves of it is an older one.
    package func image() throws(StoreError) -> [UInt8] { fatalError() }
}
