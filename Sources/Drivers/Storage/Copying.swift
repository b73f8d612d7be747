import CSQLite
import Glibc
import Replication

/// A copy that was made, and where it is.
package struct SnapshotCopy: Sendable {
    package let header: SnapshotHeader
    enum Content: Sendable { case file(String), bytes([UInt8]) }
    let content: Content
}

extension SnapshotHeader {
    package static func checksum(of bytes: [UInt8]) -> UInt64 { Checksum.of(bytes) }
}

/// Makes a consistent copy of a database without its log. Any thread may run it while the store goes on: it reads over a
/// connection of its own, which only reads.
package struct SnapshotJob: Sendable {
    enum Source: Sendable { case file(String), image([UInt8]) }
    let source: Source
    /// Nil for a copy in memory.
    let target: String?

    package func run() throws(StoreError) -> SnapshotCopy {
        if let target { FileNames.remove(target) }
        var vector = VersionVector()
        var epoch = DatabaseEpoch.first
        var bytes: [UInt8] = []
        do {
            let copy = try Connection(
                opening: target ?? ":memory:",
                flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI)
            if let target { chmod(target, 0o600) }
            try fill(copy)
            let heads = try copy.prepare("SELECT origin, head FROM bramble_origins")
            while heads.step() == SQLITE_ROW { vector.advance(Origin(rawValue: heads.word(0)), to: heads.word(1)) }
            let saved = try copy.prepare("SELECT value FROM bramble_meta WHERE name = 'epoch'")
            if saved.step() == SQLITE_ROW { epoch = DatabaseEpoch(bytes: saved.blob(0)) ?? .first }
            if target == nil { bytes = try copy.serialized() }
        }
        guard let target else {
            let header = SnapshotHeader(
                vector: vector, epoch: epoch, size: bytes.count, checksum: Checksum.of(bytes))
            return SnapshotCopy(header: header, content: .bytes(bytes))
        }
        let (size, checksum) = try Self.measure(target)
        let header = SnapshotHeader(vector: vector, epoch: epoch, size: size, checksum: checksum)
        return SnapshotCopy(header: header, content: .file(target))
    }

    /// For threads that hand it on.
    package func result() -> Result<SnapshotCopy, StoreError> {
        do throws(StoreError) { return .success(try run()) } catch { return .failure(error) }
    }

    private func fill(_ copy: borrowing Connection) throws(StoreError) {
        csqlite_set(copy.handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        copy.addFunctions(IdentifierSource.silent)
        try copy.run("PRAGMA journal_mode = OFF")
        try copy.run("PRAGMA synchronous = OFF")
        try copy.run("PRAGMA cache_size = -1000")
        switch source {
        case .file(let path):
            let statement = try copy.prepare("ATTACH ? AS source")
            statement.bind(1, text: "file:\(Self.escaped(path))?mode=ro")
            let code = statement.step()
            guard code == SQLITE_DONE else { throw copy.error(code) }
        case .image(let image):
            try copy.run("ATTACH ':memory:' AS source")
            try copy.load(image, as: "source")
        }
        // One transaction: all reads see one state.
        try copy.run("BEGIN")
        var tables: [(name: String, sql: String)] = []
        var others: [String] = []
        let schema = try copy.prepare(
            "SELECT type, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
        while schema.step() == SQLITE_ROW {
            if schema.text(0) == "table" {
                tables.append((schema.text(1), schema.text(2)))
            } else {
                others.append(schema.text(2))
            }
        }
        for (name, sql) in tables {
            try copy.run(sql)
            let quoted = SQLText.quoted(name)
            switch name {
            case "bramble_log", "bramble_conflicts": break
            case "bramble_meta":
                try copy.run(
                    "INSERT INTO main.bramble_meta SELECT * FROM source.bramble_meta WHERE name IN ('epoch', 'cluster') "
                        + "OR (name >= 'forgotten/' AND name < 'forgotten0')"
                )
            case "bramble_origins":
                try copy.run(
                    """
                    INSERT INTO main.bramble_origins SELECT origin, max(head), max(time), max(head), max(time) FROM (
                        SELECT origin, head, time FROM source.bramble_origins
                        UNION ALL SELECT origin, max(sequence), max(time) FROM source.bramble_log GROUP BY origin)
                        GROUP BY origin
                    """)
            default: try copy.run("INSERT INTO main.\(quoted) SELECT * FROM source.\(quoted)")
            }
        }
        for sql in others { try copy.run(sql) }
        try copy.run("PRAGMA main.application_id = \(OwnTables.applicationID)")
        try copy.run("PRAGMA main.user_version = \(OwnTables.version)")
        schema.reset()
        try copy.run("COMMIT")
    }

    /// For a file name inside of a URI.
    private static func escaped(_ path: String) -> String {
        path.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "?"), UInt8(ascii: "#"), UInt8(ascii: "%"):
                "%" + String(byte, radix: 16, uppercase: true)
            default: String(decoding: [byte], as: UTF8.self)
            }
        }.joined()
    }

    /// Size and checksum of a file, which is synced.
    static func measure(_ path: String) throws(StoreError) -> (size: Int, checksum: UInt64) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw FileNames.failure("\(path) cannot be read") }
        defer { close(file) }
        guard fsync(file) == 0 else { throw FileNames.failure("\(path) cannot be synced") }
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        var size = 0
        var sum = Checksum.start
        while true {
            let count = read(file, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileNames.failure("\(path) cannot be read") }
            if count == 0 { return (size, sum) }
            size += count
            buffer.withUnsafeBufferPointer { sum = Checksum.of(UnsafeBufferPointer(rebasing: $0[..<count]), from: sum) }
        }
    }
}

/// A snapshot on its way in.
struct Install {
    let header: SnapshotHeader
    var received = 0
    var bytes: [UInt8] = []
    let path: String?
}

extension Store {
    // MARK: Giving

    /// For a thread that may take its time; hand the result to `use`.
    package func snapshotJob() throws(StoreError) -> SnapshotJob {
        try commitGroup()
        return switch place {
        case .file(let path): SnapshotJob(source: .file(path), target: path + ".snapshot")
        case .memory: SnapshotJob(source: .image(try image()), target: nil)
        }
    }
    /// What `snapshotBytes` gives from now on.
    package func use(_ copy: SnapshotCopy) { snapshotCopy = copy }

    /// A consistent copy of the state, without the log: job and use in one, on this thread.
    package func snapshot() throws(StoreError) -> SnapshotHeader {
        let copy = try snapshotJob().run()
        use(copy)
        return copy.header
    }
    /// A piece of the latest snapshot; empty at its end.
    package func snapshotBytes(from offset: Int, count: Int) throws(StoreError) -> [UInt8] {
        guard let snapshotCopy, offset >= 0, offset < snapshotCopy.header.size, count > 0 else { return [] }
        let count = min(count, snapshotCopy.header.size - offset)
        switch snapshotCopy.content {
        case .bytes(let bytes): return Array(bytes[offset..<offset + count])
        case .file(let path):
            let file = open(path, O_RDONLY | O_CLOEXEC)
            guard file >= 0 else { throw FileNames.failure("\(path) cannot be read") }
            defer { Glibc.close(file) }
            var buffer = [UInt8](repeating: 0, count: count)
            let got = pread(file, &buffer, count, off_t(offset))
            guard got == count else { throw FileNames.failure("\(path) cannot be read") }
            return buffer
        }
    }
    package func discardSnapshot() {
        if case .file(let path)? = snapshotCopy?.content { FileNames.remove(path) }
        snapshotCopy = nil
    }

    // MARK: Taking

    /// Begins to receive one, or goes on with the one of the same header: the offset to ask for next.
    package func beginInstall(_ header: SnapshotHeader) throws(StoreError) -> Int {
        guard header.size > 0 else { throw Self.unusable("it is empty") }
        if let install, install.header == header { return install.received }
        discardInstall()
        guard case .file(let path) = place else {
            install = Install(header: header, path: nil)
            return 0
        }
        let incoming = path + ".incoming"
        FileNames.remove(incoming)
        let file = open(incoming, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw FileNames.failure("\(incoming) cannot be written") }
        Glibc.close(file)
        install = Install(header: header, path: incoming)
        return 0
    }
    /// The next bytes. Those not at the expected offset, or beyond the size, are ignored.
    package func installBytes(_ bytes: [UInt8], at offset: Int) throws(StoreError) {
        guard var current = install, offset == current.received, bytes.count <= current.header.size - offset else {
            return
        }
        install = nil
        defer { install = current }
        if let path = current.path {
            let file = open(path, O_WRONLY | O_CLOEXEC)
            guard file >= 0 else { throw FileNames.failure("\(path) cannot be written") }
            defer { Glibc.close(file) }
            var done = 0
            while done < bytes.count {
                let count = bytes[done...].withUnsafeBytes {
                    pwrite(file, $0.baseAddress, $0.count, off_t(offset + done))
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw FileNames.failure("\(path) cannot be written") }
                done += count
            }
        } else {
            current.bytes += bytes
        }
        current.received += bytes.count
    }
    /// How much of the one being received is here, in bytes; nil when none is.
    package var installProgress: (received: Int, size: Int)? { install.map { ($0.received, $0.header.size) } }
    package func discardInstall() {
        if let path = install?.path { FileNames.remove(path) }
        install = nil
    }

    /// Checks and switches to it, whole or not at all; the old file is kept as a backup when it had any content. Whoever has
    /// the file open (`LogSync`, `StoreReader`) opens it anew.
    /// - Parameter keepingUnsent: records of our log that the snapshot does not have are applied to it, and the origin
    ///   stays if all are: for a node that fell behind. Where the log does not have them any more, the snapshot is taken in
    ///   row by row instead. False for one that joins: its own content is gone.
    package func finishInstall(keepingUnsent: Bool, wall: Int64) throws(StoreError) {
        guard let current = install, current.received == current.header.size else {
            throw Self.unusable("it is not complete")
        }
        try commitGroup()
        install = nil
        defer { if let path = current.path { FileNames.remove(path) } }
        let sum: UInt64
        if let path = current.path {
            sum = try SnapshotJob.measure(path).checksum
        } else {
            sum = Checksum.of(current.bytes)
        }
        guard sum == current.header.checksum else { throw Self.unusable("its checksum is wrong") }
        let candidate = try Self.candidate(path: current.path, bytes: current.bytes)
        guard candidate.vector == current.header.vector, candidate.epoch == current.header.epoch else {
            throw Self.unusable("it is not what its header says")
        }
        var unsent: [LogRecord] = []
        if keepingUnsent, candidate.epoch == epoch {
            // Dropped here, and never known there: what is here has to stay, and takes the copy in.
            guard let records = try missing(in: candidate.vector) else {
                return try absorb(path: current.path, bytes: current.bytes)
            }
            unsent = records
        }
        let old = (origin: origin, head: vector[origin])
        try switchOver(path: current.path, bytes: current.bytes, wall: wall)
        guard keepingUnsent else { return }
        for record in unsent {
            // One by one: a gap in one origin must not lose the rest.
            _ = try apply([record])
        }
        if old.head > 0, vector[old.origin] == old.head {
            origin = old.origin
            identifiers.use(origin)
            try writeMeta("origin", origin.bytes)
        }
    }

    /// Records that the other does not have; nil when the log does not have all of them any more.
    private func missing(in other: VersionVector) throws(StoreError) -> [LogRecord]? {
        var result: [LogRecord] = []
        for origin in vector.origins where vector[origin] > other[origin] {
            switch try records(of: origin, after: other[origin], maxBytes: .max) {
            case .records(let records): result += records
            case .collected: return nil
            }
        }
        return result.sorted { ($0.time, $0.origin) < ($1.time, $1.origin) }
    }

    private func switchOver(path: String?, bytes: [UInt8], wall: Int64) throws(StoreError) {
        let latest = knowledge.clock.latest
        options.wall = wall
        discardSnapshot()
        if case .file(let own) = place, let path {
            let hadContent = knowledge.tables.count > OwnTables.replicated.count || !vector.isEmpty
            try close()
            prepared = [:]
            plans = [:]
            readPlans = [:]
            for table in knowledge.tables.values { table.forgetStatements() }
            database = try Connection(opening: ":memory:", flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
            if hadContent {
                notes.append(
                    "The old database was kept as \(try FileNames.setAside(own, suffix: "before", wall: wall))")
            } else {
                FileNames.remove(own)
            }
            try FileNames.move(path, own)
            database = try Connection(opening: own, flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        } else {
            prepared = [:]
            plans = [:]
            readPlans = [:]
            for table in knowledge.tables.values { table.forgetStatements() }
            let replacement = try Connection(
                opening: ":memory:", flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
            try replacement.load(bytes)
            database = replacement
        }
        try begin()
        knowledge.clock.saw(latest)
        try startLife()
        needsRebuild = false
        feed.reset()
    }

    // MARK: Files of people

    /// For a thread that may take its time. The file must not exist.
    package func backupJob(to path: String) throws(StoreError) -> SnapshotJob {
        guard access(path, F_OK) != 0 else {
            throw StoreError(.unusable, "\(path) exists already", remedy: "choose another name, or move it away")
        }
        return SnapshotJob(source: try snapshotJob().source, target: path)
    }
    /// A file that people can open with `sqlite3`, and `restore` takes. It must not exist.
    package func backup(to path: String) throws(StoreError) {
        let job = try backupJob(to: path)
        do throws(StoreError) {
            _ = try job.run()
        } catch {
            FileNames.remove(path)
            throw error
        }
        FileNames.syncDirectory(of: path)
    }
    /// Replaces everything by a backup: a new epoch, which the other nodes will take over. The old file is kept as a backup.
    package func restore(from path: String, wall: Int64) throws(StoreError) {
        try commitGroup()
        let candidate = try Self.candidate(path: path, bytes: [])
        var clock = knowledge.clock
        let since = max(clock.next(wall: wall), candidate.latest.successor)
        let number = chance.next()
        switch place {
        case .file(let own):
            let incoming = own + ".incoming"
            FileNames.remove(incoming)
            try Self.copyFile(path, to: incoming)
            defer { FileNames.remove(incoming) }
            try switchOver(path: incoming, bytes: [], wall: wall)
        case .memory: try switchOver(path: nil, bytes: try Self.readFile(path), wall: wall)
        }
        try beginEpoch(since, number)
    }
    /// The same with a copy in memory, of a store in memory.
    package func restore(bytes: [UInt8], wall: Int64) throws(StoreError) {
        guard case .memory = place else { throw Self.unusable("it is not in a file") }
        try commitGroup()
        let candidate = try Self.candidate(path: nil, bytes: bytes)
        var clock = knowledge.clock
        let since = max(clock.next(wall: wall), candidate.latest.successor)
        let number = chance.next()
        try switchOver(path: nil, bytes: bytes, wall: wall)
        try beginEpoch(since, number)
    }
    private func beginEpoch(_ since: HybridTime, _ number: UInt64) throws(StoreError) {
        knowledge.clock.saw(since)
        epoch = DatabaseEpoch(since: since, number: number)
        try writeMeta("epoch", epoch.bytes)
    }

    struct Candidate {
        var vector = VersionVector()
        var epoch = DatabaseEpoch.first
        var latest = HybridTime.zero
    }

    /// What a file or image is, if it is a database of ours and whole: nothing in it may do anything when it is opened or used.
    static func candidate(path: String?, bytes: [UInt8]) throws(StoreError) -> Candidate {
        do throws(StoreError) {
            let connection: Connection
            if let path {
                guard access(path, R_OK) == 0 else { throw FileNames.failure("\(path) cannot be read") }
                connection = try Connection(opening: path, flags: SQLITE_OPEN_READONLY)
            } else {
                connection = try Connection(opening: ":memory:", flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
                // In its header: a database in memory has no write-ahead log.
                guard bytes.count >= 512, bytes[18] == 1, bytes[19] == 1 else { throw unusable("it is no database") }
                try connection.load(bytes)
            }
            return try examine(connection)
        } catch {
            guard error.kind == .damaged || error.kind == .statement else { throw error }
            throw unusable(error.problem)
        }
    }

    private static func examine(_ connection: borrowing Connection) throws(StoreError) -> Candidate {
        csqlite_defend(connection.handle)
        csqlite_set(connection.handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.addFunctions(IdentifierSource.silent)
        try connection.run("PRAGMA cell_size_check = ON")
        let version = try connection.single("PRAGMA user_version")
        guard try connection.single("PRAGMA application_id") == OwnTables.applicationID,
            OwnTables.readable.contains(version)
        else { throw unusable("it is not a database of this version of Bramble") }
        let check = try connection.prepare("PRAGMA integrity_check(1)")
        guard check.step() == SQLITE_ROW, check.text(0) == "ok" else { throw unusable("it is damaged") }
        let ours = Set(
            SQLText.statements(Array(OwnTables.text.utf8)).map { tokens in
                SQLText.slice(
                    Array(OwnTables.text.utf8), tokens[0].range.lowerBound..<tokens[tokens.count - 1].range.upperBound)
            } + OwnTables.replicated.filter { $0.since <= version }.map(\.text))
        var found = 0
        let schema = try connection.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        while schema.step() == SQLITE_ROW {
            let sql = schema.text(2)
            if ours.contains(sql) {
                found += 1
                continue
            }
            let text = Array(sql.utf8)
            guard !schema.text(1).lowercased().hasPrefix("bramble_"),
                let kind = try? SQLText.kind(of: SQLText.tokens(text), in: text), kind != .other
            else { throw unusable("\(schema.text(0)) \(schema.text(1)) is nothing that Bramble makes") }
        }
        guard found == ours.count else { throw unusable("tables of Bramble are missing in it") }
        var candidate = Candidate()
        let heads = try connection.prepare("SELECT origin, head, time FROM bramble_origins")
        while heads.step() == SQLITE_ROW {
            candidate.vector.advance(Origin(rawValue: heads.word(0)), to: heads.word(1))
            candidate.latest = max(candidate.latest, HybridTime(rawValue: heads.word(2)))
        }
        let epoch = try connection.prepare("SELECT value FROM bramble_meta WHERE name = 'epoch'")
        if epoch.step() == SQLITE_ROW { candidate.epoch = DatabaseEpoch(bytes: epoch.blob(0)) ?? .first }
        return candidate
    }

    static func unusable(_ why: String) -> StoreError {
        StoreError(
            .unusable, "the copy of a database cannot be used: \(why)",
            remedy: "take another one; the database is as it was")
    }
    private static func readFile(_ path: String) throws(StoreError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw FileNames.failure("\(path) cannot be read") }
        defer { Glibc.close(file) }
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = read(file, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileNames.failure("\(path) cannot be read") }
            if count == 0 { return content }
            content += buffer[..<count]
        }
    }
    private static func copyFile(_ from: String, to: String) throws(StoreError) {
        let source = open(from, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw FileNames.failure("\(from) cannot be read") }
        defer { Glibc.close(source) }
        let target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard target >= 0 else { throw FileNames.failure("\(to) cannot be written") }
        defer { Glibc.close(target) }
        while true {
            let count = sendfile(target, source, nil, 1 << 20)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileNames.failure("\(to) cannot be written") }
            if count == 0 { break }
        }
        guard fsync(target) == 0 else { throw FileNames.failure("\(to) cannot be synced") }
    }

    // MARK: The file

    /// Moves the write-ahead log into the file when it holds more than 8 MiB: call it when there is a moment. Syncs the disk
    /// twice, so not more often than it helps. The log's file is not the measure: it keeps its size when it begins anew.
    package func checkpointIfNeeded() throws(StoreError) {
        guard case .file = place, capture.loggedPages > 2_048 else { return }
        let isLong = capture.loggedPages > 8_192
        capture.loggedPages = 0  // the next commit tells what is left
        try checkpoint(isLong ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE)
    }
    func checkpoint(_ mode: Int32) throws(StoreError) {
        let code = sqlite3_wal_checkpoint_v2(database.handle, "main", mode, nil, nil)
        // Busy: a reader holds an old state; the next time will do.
        guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY || code & 0xFF == SQLITE_LOCKED else {
            throw database.error(code)
        }
    }
    /// The whole database as bytes, of a store in memory: what a crash leaves of it is an older one.
    package func image() throws(StoreError) -> [UInt8] {
        try commitGroup()
        return try database.serialized()
    }
}

extension DatabaseEpoch {
    var bytes: [UInt8] { since.bytes + Origin(rawValue: number).bytes }
    init?(bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        let words = [bytes[..<8], bytes[8...]].map { $0.reduce(0) { $0 << 8 | UInt64($1) } }
        self.init(since: HybridTime(rawValue: words[0]), number: words[1])
    }
}

extension IdentifierSource {
    /// For connections where nobody asks for one; the functions only have to be known.
    nonisolated(unsafe) static let silent = IdentifierSource()
}

extension Connection {
    func load(_ image: [UInt8], as schema: String = "main") throws(StoreError) {
        guard let memory = sqlite3_malloc64(UInt64(max(1, image.count))) else {
            throw StoreError(sqlite: SQLITE_NOMEM, message: "out of memory", position: nil)
        }
        image.withUnsafeBytes { bytes in
            if let start = bytes.baseAddress { memory.copyMemory(from: start, byteCount: bytes.count) }
        }
        let flags = UInt32(SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE)
        let code = sqlite3_deserialize(
            handle, schema, memory.assumingMemoryBound(to: UInt8.self), Int64(image.count), Int64(image.count), flags)
        guard code == SQLITE_OK else { throw error(code) }
    }
    func serialized() throws(StoreError) -> [UInt8] {
        var size: Int64 = 0
        guard let memory = sqlite3_serialize(handle, "main", &size, 0) else {
            throw StoreError(sqlite: SQLITE_NOMEM, message: "out of memory", position: nil)
        }
        defer { sqlite3_free(memory) }
        return Array(UnsafeBufferPointer(start: memory, count: Int(size)))
    }
    func single(_ text: String) throws(StoreError) -> Int64 {
        let statement = try prepare(text)
        let code = statement.step()
        guard code == SQLITE_ROW else { throw error(code) }
        return statement.integer(0)
    }
}
