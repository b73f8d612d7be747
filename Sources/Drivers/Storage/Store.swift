import CSQLite
import Glibc
import Logging
import Primitives
package import Replication

/// The replicated database of one node: executes SQL, captures what it changed as a record, applies records of others.
///
/// One thread uses it. Nothing waits: a commit is in the write-ahead log file, and `LogSync` makes it durable.
package final class Store {
    let place: StorePlace
    var options: StoreOptions
    var chance: SeededGenerator
    var database: Connection
    let capture = Capture()
    let identifiers = IdentifierSource()
    var knowledge = Knowledge()
    /// Statements of our own, by text.
    var prepared: [String: Statement] = [:]
    var plans: [String: [PlanStep]] = [:]
    var readPlans: [String: [PlanStep]] = [:]
    /// Definitions that were tried, and whether they can be used.
    var definitions: [String: Bool] = [:]
    var feed: ChangeFeed
    var install: Install?
    var snapshotCopy: SnapshotCopy?
    /// Calls of people that are committed together: what there was before the first of them.
    private var group: Before?
    private var groupFailure: StoreError?

    /// Under which this store writes.
    package internal(set) var origin = Origin(rawValue: 0)
    package internal(set) var epoch = DatabaseEpoch.first
    /// The content was lost (a damaged file) and must come from a peer.
    package internal(set) var needsRebuild = false
    /// What happened at the start, for the log and the events: sentences.
    package internal(set) var notes: [String] = []

    /// What is known, own records included.
    package var vector: VersionVector { knowledge.vector }
    /// The same, and what is in the rows of origins that are forgotten.
    package var wholeVector: VersionVector {
        var all = VersionVector(knowledge.forgotten)
        all.formMaximum(knowledge.vector)
        return all
    }
    /// Origins that nobody speaks of any more, and how far they went.
    package var forgotten: [Origin: UInt64] { knowledge.forgotten }
    /// The highest time given out or seen.
    package var latestTime: HybridTime { knowledge.clock.latest }
    /// Times up to here may be used after the next sync: a start after it begins above them.
    package var reservedTime: HybridTime { knowledge.reserved }
    /// How many bytes of bodies the log holds.
    package var logBytes: Int { knowledge.logBytes }

    /// Opens or makes the database. A damaged file, and one of another cluster, is moved aside and said so in `notes`.
    package init(_ place: StorePlace, _ options: StoreOptions) throws(StoreError) {
        self.place = place
        self.options = options
        chance = SeededGenerator(seed: options.seed)
        feed = ChangeFeed(limit: options.limits.feed, first: chance.next() >> 16)
        switch place {
        case .memory(let image):
            database = try Self.openMemory(image)
        case .file(let path):
            database = try Self.openFile(path)
        }
        do throws(StoreError) {
            try begin()
        } catch {
            guard error.kind == .damaged || error.kind == .unusable, case .file(let path) = place else { throw error }
            try startOver(path, suffix: error.kind == .damaged ? "damaged" : "other", because: error.problem)
        }
        if let tag = try readMeta("cluster"), !options.clusters.isEmpty, !options.clusters.contains(tag) {
            guard case .file(let path) = place else {
                throw StoreError(.unusable, "the database is of another cluster", remedy: "begin with an empty one")
            }
            try startOver(path, suffix: "other-cluster", because: "it belongs to another cluster")
            needsRebuild = false
        }
        if let tag = options.clusters.first, try readMeta("cluster") == nil { try writeMeta("cluster", tag) }
        try startLife()
    }

    /// For `StoreReader`: nothing is checked and nothing written, `query` is all that is asked of it.
    init(reading path: String, _ options: StoreOptions) throws(StoreError) {
        place = .file(path)
        self.options = options
        chance = SeededGenerator(seed: 0)
        feed = ChangeFeed(limit: 1, first: 0)
        database = try Connection(opening: path, flags: SQLITE_OPEN_READONLY)
        capture.attach(to: database.handle)
        database.addFunctions(identifiers)
        csqlite_defend(database.handle)
        try database.run("PRAGMA cache_size = -1000")
        try database.run("PRAGMA mmap_size = 0")
        sqlite3_busy_timeout(database.handle, 1_000)
    }

    /// Marks a clean end: the next start goes on under the same origin. Without it a new one is drawn.
    package func close() throws(StoreError) {
        try commitGroup()
        try saveOrigins()
        try writeMeta("clean", [1])
        guard case .file = place else { return }
        try database.run("PRAGMA synchronous = FULL")
        try checkpoint(SQLITE_CHECKPOINT_TRUNCATE)
    }

    /// Of the cluster whose key this node has now, when the file does not say yet.
    package func noteCluster(_ tag: [UInt8]) throws(StoreError) {
        if try readMeta("cluster") == nil { try writeMeta("cluster", tag) }
    }

    // MARK: Opening

    private static func openMemory(_ image: [UInt8]?) throws(StoreError) -> Connection {
        let connection = try Connection(opening: ":memory:", flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        if let image { try connection.load(image) }
        return connection
    }
    private static func openFile(_ path: String) throws(StoreError) -> Connection {
        // The mode counts also for the -wal and -shm files: SQLite gives them the file's.
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw StoreError(
                .disk, "\(path) cannot be opened: \(String(cString: strerror(errno)))",
                remedy: "check the owner and the space of its directory")
        }
        fchmod(file, 0o600)
        Glibc.close(file)
        return try Connection(opening: path, flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
    }

    /// Everything from the connection on: settings, tables of our own, what is known.
    func begin() throws(StoreError) {
        prepared = [:]
        plans = [:]
        readPlans = [:]
        knowledge = Knowledge()
        capture.attach(to: database.handle)
        database.addFunctions(identifiers)
        csqlite_defend(database.handle)
        try database.run("PRAGMA cache_size = -2000")
        try database.run("PRAGMA mmap_size = 0")
        try database.run("PRAGMA temp_store = MEMORY")
        try database.run("PRAGMA foreign_keys = OFF")
        try database.run("PRAGMA recursive_triggers = ON")
        if case .file = place {
            try database.run("PRAGMA journal_mode = WAL")
            try database.run("PRAGMA synchronous = FULL")
            try database.run("PRAGMA wal_autocheckpoint = 0")
            capture.followLog(of: database.handle)
            try database.run("PRAGMA journal_size_limit = 16777216")
        }
        let application = try single("PRAGMA application_id")
        if application == 0 {
            guard try single("SELECT count(*) FROM sqlite_schema") == 0 else {
                throw StoreError(.unusable, "the file is not a database of Bramble", remedy: "move it away")
            }
            try OwnTables.create(in: self)
        } else {
            guard application == OwnTables.applicationID else {
                throw StoreError(.unusable, "the file is not a database of Bramble", remedy: "move it away")
            }
            guard OwnTables.readable.contains(try single("PRAGMA user_version")) else {
                throw StoreError(
                    .statement, "the database was written by another version of Bramble",
                    remedy: "install that version, or a newer one")
            }
            try check()
        }
        let added = try OwnTables.update(self)
        try loadKnowledge()
        // A newer node's rows may have come before this node knew their tables.
        if !added.isEmpty {
            try transaction { () throws(StoreError) in for table in added { try release(table) } }
        }
    }

    private func check() throws(StoreError) {
        let statement = try own(options.metDamage ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)")
        defer { statement.reset() }
        let code = statement.step()
        guard code == SQLITE_ROW else { throw database.error(code) }
        guard statement.text(0) == "ok" else {
            throw StoreError(sqlite: SQLITE_CORRUPT, message: statement.text(0), position: nil)
        }
    }

    /// Moves a file that cannot be used aside and begins an empty one.
    private func startOver(_ path: String, suffix: String, because reason: String) throws(StoreError) {
        prepared = [:]
        // Nothing of the old connection may stay: SQLite would write into the moved file.
        database = try Connection(opening: ":memory:", flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        let aside = try FileNames.setAside(path, suffix: suffix, wall: options.wall)
        notes.append("The database was set aside as \(aside): \(reason)")
        database = try Self.openFile(path)
        needsRebuild = true
        try begin()
    }

    /// Decides under which origin this life writes, and notes on the disk that it has begun, before anything can be sent.
    func startLife() throws(StoreError) {
        let isClean = try readMeta("clean") == [1]
        if isClean, let saved = try readMeta("origin"), saved.count == 8 {
            origin = Origin(rawValue: saved.reduce(0) { $0 << 8 | UInt64($1) })
        } else {
            origin = drawOrigin()
        }
        try writeMeta("origin", origin.bytes)
        try writeMeta("clean", [0])
        identifiers.use(origin)
        if options.planted != .losesHighWaterMark { knowledge.clock.saw(knowledge.reserved) }
        try reserve(HybridTime(milliseconds: max(options.wall, knowledge.clock.latest.milliseconds)))
        if case .file = place {
            try checkpoint(SQLITE_CHECKPOINT_PASSIVE)
            try database.run("PRAGMA synchronous = NORMAL")
        }
    }
    func drawOrigin() -> Origin {
        while true {
            let drawn = Origin(rawValue: chance.next())
            if drawn.rawValue != 0, knowledge.origins[drawn] == nil, knowledge.forgotten[drawn] == nil { return drawn }
        }
    }
    /// A peer knows more of our own origin than we do (a restored image): go on under a new one. Also done by `apply` when
    /// it is given records of our own.
    package func takeNewOrigin() throws(StoreError) {
        try commitGroup()
        let drawn = drawOrigin()
        try writeMeta("origin", drawn.bytes)
        // What was told under the old name has to be told again.
        origin = drawn
        identifiers.use(drawn)
        knowledge.untold = Set(knowledge.origins.keys)
        notes.append("This node goes on under a new origin: others knew more of the old one than it did itself.")
    }

    /// Times up to ten seconds above this one may be used after it.
    func reserve(_ time: HybridTime) throws(StoreError) {
        let reserved = HybridTime(milliseconds: time.milliseconds + 10_000)
        try writeMeta("reserved", reserved.bytes)
        knowledge.reserved = reserved
    }

    private func loadKnowledge() throws(StoreError) {
        if let bytes = try readMeta("reserved"), bytes.count == 8 {
            knowledge.reserved = HybridTime(rawValue: bytes.reduce(0) { $0 << 8 | UInt64($1) })
        }
        if let bytes = try readMeta("epoch"), bytes.count == 16 {
            let words = [bytes[..<8], bytes[8...]].map { $0.reduce(0) { $0 << 8 | UInt64($1) } }
            epoch = DatabaseEpoch(since: HybridTime(rawValue: words[0]), number: words[1])
        }
        try rows("SELECT origin, head, time, floor, floor_time FROM bramble_origins") { row in
            var known = Knowledge.Known()
            known.head = row.word(1)
            known.time = HybridTime(rawValue: row.word(2))
            known.floor = row.word(3)
            known.floorTime = HybridTime(rawValue: row.word(4))
            knowledge.origins[Origin(rawValue: row.word(0))] = known
        }
        try rows("SELECT origin, max(sequence), count(*), sum(length(body)) FROM bramble_log GROUP BY origin") { row in
            let origin = Origin(rawValue: row.word(0))
            knowledge.origins[origin, default: Knowledge.Known()].head = row.word(1)
            knowledge.logRecords += Int(row.integer(2))
            knowledge.logBytes += Int(row.integer(3))
        }
        try rows(
            "SELECT name, value FROM bramble_meta WHERE name >= 'forgotten/' AND name < 'forgotten0'"
        ) { row in
            let value = row.blob(1)
            guard let origin = Origin(row.text(0).dropFirst("forgotten/".count)), value.count == 8 else { return }
            knowledge.forgotten[origin] = value.reduce(0) { $0 << 8 | UInt64($1) }
        }
        for origin in knowledge.origins.keys.sorted() {
            if let known = knowledge.origins[origin], let time = try time(of: origin, known.head) {
                knowledge.origins[origin]?.time = time
            }
        }
        try rows("SELECT origin, of, seen, at FROM bramble_contexts") { row in
            let origin = Origin(rawValue: row.word(0))
            knowledge.origins[origin]?.context.isComplete = false
            knowledge.origins[origin]?.context.saw(
                Origin(rawValue: row.word(1)), upTo: HybridTime(rawValue: row.word(2)),
                at: HybridTime(rawValue: row.word(3)))
        }
        for known in knowledge.origins.values { knowledge.clock.saw(known.time) }
        knowledge.untold = Set(knowledge.origins.keys)
        knowledge.conflicts = Int(try single("SELECT count(*) FROM bramble_conflicts"))
        knowledge.heldBytes = Int(try single("SELECT coalesce(sum(length(change)), 0) FROM bramble_held"))
        try loadTables()
    }

    // MARK: Statements of our own

    /// Kept by text; reset before it is handed out.
    func own(_ text: String) throws(StoreError) -> Statement {
        if let known = prepared[text] {
            known.reset()
            return known
        }
        let statement = try asOwn { () throws(StoreError) in try database.prepare(text) }
        prepared[text] = statement
        return statement
    }
    /// What we do in the middle of people's transaction is neither refused nor captured.
    func asOwn<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
        let (author, isCapturing) = (capture.author, capture.isCapturing)
        capture.author = .own
        capture.isCapturing = false
        defer {
            capture.author = author
            capture.isCapturing = isCapturing
        }
        return try body()
    }
    func finish(_ statement: Statement) throws(StoreError) {
        // After a change of the schema SQLite prepares it anew while it steps, and asks who we are.
        let author = capture.author
        capture.author = .own
        defer {
            capture.author = author
            statement.reset()
        }
        let code = statement.step()
        guard code == SQLITE_DONE || code == SQLITE_ROW else { throw database.error(code) }
    }
    func finish(_ statement: Statement, bind: (Statement) -> Void) throws(StoreError) {
        bind(statement)
        try finish(statement)
    }
    func rows(
        _ text: String, bind: (Statement) -> Void = { _ in }, _ body: (Statement) throws(StoreError) -> Void
    ) throws(StoreError) {
        let statement = try own(text)
        let author = capture.author
        capture.author = .own
        defer {
            capture.author = author
            statement.reset()
        }
        bind(statement)
        while true {
            let code = statement.step()
            if code == SQLITE_DONE { return }
            guard code == SQLITE_ROW else { throw database.error(code) }
            try body(statement)
        }
    }
    func single(_ text: String) throws(StoreError) -> Int64 {
        var result: Int64 = 0
        try rows(text) { result = $0.integer(0) }
        return result
    }
    func readMeta(_ name: String) throws(StoreError) -> [UInt8]? {
        var result: [UInt8]?
        try rows("SELECT value FROM bramble_meta WHERE name = ?", bind: { $0.bind(1, text: name) }) {
            result = $0.blob(0)
        }
        return result
    }
    func writeMeta(_ name: String, _ value: [UInt8]) throws(StoreError) {
        let statement = try own("INSERT OR REPLACE INTO bramble_meta (name, value) VALUES (?, ?)")
        statement.bind(1, text: name)
        statement.bind(2, blob: value)
        try finish(statement)
    }
    func time(of origin: Origin, _ sequence: UInt64) throws(StoreError) -> HybridTime? {
        var result: HybridTime?
        try rows(
            "SELECT time FROM bramble_log WHERE origin = ? AND sequence = ?",
            bind: {
                $0.bind(1, word: origin.rawValue)
                $0.bind(2, word: sequence)
            }
        ) { result = HybridTime(rawValue: $0.word(0)) }
        return result
    }

    /// What there was before, in memory.
    struct Before {
        fileprivate let knowledge: Knowledge
        fileprivate let origin: Origin
        fileprivate let epoch: DatabaseEpoch
        fileprivate let latestNotice: UInt64
    }
    private var before: Before {
        Before(knowledge: knowledge, origin: origin, epoch: epoch, latestNotice: feed.latest)
    }
    private func goBack(to before: Before) {
        feed.takeBack(to: before.latestNotice)
        let hadOtherTables =
            knowledge.tables.count != before.knowledge.tables.count
            || knowledge.tables.contains { before.knowledge.tables[$0.key] !== $0.value }
        (knowledge, origin, epoch) = (before.knowledge, before.origin, before.epoch)
        if hadOtherTables { useTables() }
    }

    /// All of it or nothing, in the file and in memory.
    func transaction<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
        try commitGroup()
        let before = before
        try finish(try own("BEGIN IMMEDIATE"))
        do throws(StoreError) {
            let value = try body()
            try asOwn { () throws(StoreError) in try finish(try own("COMMIT")) }
            return value
        } catch {
            undo(to: before)
            throw error
        }
    }
    private func undo(to before: Before) {
        capture.end()
        if database.isInTransaction { try? finish(try own("ROLLBACK")) }
        goBack(to: before)
    }

    // MARK: Groups

    /// The same as a part of the group: what was done in it before stays, whatever becomes of this. The first opens the group.
    func partOfGroup<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
        guard group != nil else { return try firstOfGroup(body) }
        guard database.isInTransaction else {
            // A savepoint would begin one of its own, without what was done before.
            let error = StoreError(
                .disk, "the transaction was undone under way", remedy: "look at `dmesg` and at the space on the disk")
            loseGroup(because: error)
            throw error
        }
        let before = before
        do throws(StoreError) {
            try finish(try own("SAVEPOINT part"))
            let value = try body()
            try asOwn { () throws(StoreError) in try finish(try own("RELEASE part")) }
            return value
        } catch {
            capture.end()
            do throws(StoreError) {
                // After some errors, such as a full disk, SQLite has undone all of the transaction.
                guard database.isInTransaction else { throw error }
                try finish(try own("ROLLBACK TO part"))
                try finish(try own("RELEASE part"))
                goBack(to: before)
            } catch { loseGroup(because: error) }
            throw error
        }
    }
    /// Nothing was done before that would have to stay: it needs no savepoint, and most groups have no second part.
    private func firstOfGroup<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
        let before = before
        try finish(try own("BEGIN IMMEDIATE"))
        do throws(StoreError) {
            let value = try body()
            group = before
            return value
        } catch {
            undo(to: before)
            throw error
        }
    }
    /// Ends the group: all of it is there when this returns, none of it when it throws.
    package func commitGroup() throws(StoreError) {
        guard group != nil else { return }
        do throws(StoreError) {
            try finish(try own("COMMIT"))
            group = nil
        } catch {
            loseGroup(because: error)
            throw error
        }
    }
    private func loseGroup(because error: StoreError) {
        guard let before = group else { return }
        group = nil
        groupFailure = error
        if database.isInTransaction { try? finish(try own("ROLLBACK")) }
        goBack(to: before)
    }
    /// Why the calls of a group that ended since the last time are not there; nil when they are.
    package func takeGroupFailure() -> StoreError? {
        defer { groupFailure = nil }
        return groupFailure
    }

    /// After the schema changed: what was prepared for it is prepared anew.
    func useTables() {
        plans = [:]
        readPlans = [:]
        capture.tables = [:]
        for table in knowledge.tables.values {
            table.forgetStatements()
            capture.tables[table.name] = table
        }
    }

    /// Heads and contexts, which otherwise follow from the log.
    func saveOrigins() throws(StoreError) {
        for origin in knowledge.origins.keys.sorted() {
            guard let known = knowledge.origins[origin] else { continue }
            let statement = try own(
                "INSERT OR REPLACE INTO bramble_origins (origin, head, time, floor, floor_time) VALUES (?, ?, ?, ?, ?)")
            statement.bind(1, word: origin.rawValue)
            statement.bind(2, word: known.head)
            statement.bind(3, word: known.time.rawValue)
            statement.bind(4, word: known.floor)
            statement.bind(5, word: known.floorTime.rawValue)
            try finish(statement)
        }
    }
}

extension Origin {
    var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: rawValue >> (56 - 8 * UInt64($0))) } }
}
extension HybridTime {
    var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: rawValue >> (56 - 8 * UInt64($0))) } }
}

/// The tables that only Bramble writes.
enum OwnTables {
    static let applicationID: Int64 = 0x4272_4D62
    /// 2 has secrets and members beside facts.
    static let version: Int64 = 2
    static let readable: ClosedRange<Int64> = 1...version

    static let facts = "bramble_facts"
    static let secrets = "bramble_secrets"
    static let members = "bramble_members"
    /// Those of them that are replicated, with the version that brought them. The same text on every node, whoever made it.
    static let replicated: [(name: String, since: Int64, text: String)] = [
        (facts, 1, "CREATE TABLE \"bramble_facts\" (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"),
        (secrets, 2, "CREATE TABLE \"bramble_secrets\" (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"),
        (
            members, 2,
            "CREATE TABLE \"bramble_members\" (id TEXT PRIMARY KEY, name TEXT, since TEXT, removed TEXT, "
                + "removed_by TEXT) WITHOUT ROWID"
        ),
    ]
    static func isReplicated(_ name: String) -> Bool { replicated.contains { $0.name == name } }
    /// Columns that people must not read: hashes of passwords and tokens, and everything that once was in a row.
    static let hidden = [
        secrets: "value", "bramble_log": "body", "bramble_rows": "meta", "bramble_held": "change",
        "sqlite_dbpage": "data",
    ]

    static let text = """
        CREATE TABLE bramble_meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
        CREATE TABLE bramble_elements (kind INTEGER, lower TEXT, lower_detail TEXT, time INTEGER, origin INTEGER,
            name TEXT, detail TEXT, sql TEXT, PRIMARY KEY (kind, lower, lower_detail, time, origin)) WITHOUT ROWID;
        CREATE TABLE bramble_tables (id INTEGER PRIMARY KEY, lower TEXT UNIQUE);
        CREATE TABLE bramble_rows (tab INTEGER, key BLOB, meta BLOB, PRIMARY KEY (tab, key)) WITHOUT ROWID;
        CREATE INDEX bramble_rows_deleted ON bramble_rows (tab)
            WHERE substr(meta, 1, 1) NOT IN (x'01', x'05', x'09', x'0d');
        CREATE TABLE bramble_log (origin INTEGER, sequence INTEGER, time INTEGER, body BLOB,
            PRIMARY KEY (origin, sequence)) WITHOUT ROWID;
        CREATE TABLE bramble_origins (origin INTEGER PRIMARY KEY, head INTEGER, time INTEGER, floor INTEGER,
            floor_time INTEGER) WITHOUT ROWID;
        CREATE TABLE bramble_contexts (origin INTEGER, of INTEGER, seen INTEGER, at INTEGER,
            PRIMARY KEY (origin, of)) WITHOUT ROWID;
        CREATE TABLE bramble_held (id INTEGER PRIMARY KEY, lower TEXT, time INTEGER, origin INTEGER, change BLOB);
        CREATE INDEX bramble_held_by_table ON bramble_held (lower);
        CREATE TABLE bramble_conflicts (id INTEGER PRIMARY KEY, at INTEGER, tab TEXT, key TEXT, col TEXT, kept, kept_by TEXT,
            kept_at INTEGER, lost, lost_by TEXT, lost_at INTEGER);
        """

    static func create(in store: Store) throws(StoreError) {
        try store.database.run("BEGIN IMMEDIATE")
        try store.database.run(text)
        try createReplicated(after: 0, in: store)
        try store.database.run("PRAGMA application_id = \(applicationID)")
        try store.database.run("PRAGMA user_version = \(version)")
        try store.database.run("COMMIT")
    }
    /// Makes the tables that a file of an earlier version lacks, and gives their names. Nothing that it has is changed.
    static func update(_ store: Store) throws(StoreError) -> [String] {
        let found = try store.single("PRAGMA user_version")
        guard found < version else { return [] }
        try store.database.run("BEGIN IMMEDIATE")
        try createReplicated(after: found, in: store)
        try store.database.run("PRAGMA user_version = \(version)")
        try store.database.run("COMMIT")
        return replicated.filter { $0.since > found }.map(\.name)
    }
    private static func createReplicated(after found: Int64, in store: Store) throws(StoreError) {
        for table in replicated where table.since > found {
            try store.database.run(table.text)
            try store.database.run("INSERT INTO bramble_tables (lower) VALUES ('\(table.name)')")
            try store.saveElement(
                SchemaElement(kind: .table, name: table.name, detail: "", stamp: .zero, sql: table.text))
        }
    }
}
