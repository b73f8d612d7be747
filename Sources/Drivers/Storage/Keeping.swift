import CSQLite
package import Primitives
package import Replication

// The log, and what is forgotten of it and of deleted rows.
extension Store {
    /// Records of one origin with sequence numbers above `after`, at least one when there is one, then up to `maxBytes` of bodies.
    package func records(of origin: Origin, after: UInt64, maxBytes: Int) throws(StoreError) -> LogExtract {
        let known = knowledge.origins[origin] ?? Knowledge.Known()
        if after >= known.head { return .records([]) }
        if after < known.floor { return .collected(floor: known.floor) }
        let statement = try own(
            "SELECT sequence, time, body FROM bramble_log WHERE origin = ? AND sequence > ? ORDER BY sequence")
        defer { statement.reset() }
        statement.bind(1, word: origin.rawValue)
        statement.bind(2, word: after)
        var records: [LogRecord] = []
        var size = 0
        while true {
            let code = statement.step()
            if code == SQLITE_DONE { break }
            guard code == SQLITE_ROW else { throw database.error(code) }
            let body = statement.blob(2)
            if !records.isEmpty, size + body.count > maxBytes { break }
            size += body.count
            records.append(
                LogRecord(
                    origin: origin, sequence: statement.word(0), time: HybridTime(rawValue: statement.word(1)),
                    body: body))
        }
        return .records(records)
    }

    /// Forgets records up to the given sequence numbers. The vector stays.
    package func trimLog(to floors: VersionVector) throws(StoreError) {
        try transaction { () throws(StoreError) in
            for origin in floors.origins {
                guard var known = knowledge.origins[origin] else { continue }
                let floor = min(floors[origin], known.head)
                guard floor > known.floor else { continue }
                let floorTime = floor == known.head ? known.time : try time(of: origin, floor) ?? known.floorTime
                try dropLog(of: origin, upTo: floor)
                known.floor = floor
                known.floorTime = floorTime
                knowledge.origins[origin] = known
            }
            try saveOrigins()
        }
    }

    /// Forgets deletes that everybody has seen: those in records up to `stable`, which every member has acknowledged, after we
    /// had all that it wrote before it did. At most `limit` rows are looked at beyond those forgotten; the number forgotten is returned.
    package func collect(stable: VersionVector, limit: Int) throws(StoreError) -> Int {
        var times: [Origin: HybridTime] = [:]
        for origin in stable.origins {
            guard let known = knowledge.origins[origin] else { continue }
            let sequence = min(stable[origin], known.head)
            if sequence == known.head {
                times[origin] = known.time
            } else if sequence <= known.floor {
                times[origin] = known.floorTime
            } else {
                times[origin] = try time(of: origin, sequence)
            }
        }
        // What is forgotten every member has had, and we have had all that any of them wrote before.
        let isStable = { [planted = options.planted, forgotten = knowledge.forgotten] (stamp: Stamp) in
            planted == .collectsByTime || stamp.time <= times[stamp.origin] ?? .zero || forgotten[stamp.origin] != nil
        }
        // An older insert may wait for the same row in `bramble_held`: it would bring it back, so such a table is left alone.
        // The first byte tells what there is: 1 is a row that was inserted and never deleted, 5 with changed columns.
        var found: [(table: Int64, key: [UInt8], state: RowState)] = []
        try rows(
            "SELECT tab, key, meta FROM bramble_rows WHERE substr(meta, 1, 1) NOT IN (x'01', x'05', x'09', x'0d') "
                + "AND tab NOT IN (SELECT t.id FROM bramble_tables t JOIN bramble_held h ON h.lower = t.lower)"
        ) { row throws(StoreError) in
            guard found.count < limit else { return }
            var state = try decodeMetadata(row.blob(2))
            if state.isAlive {
                guard state.delete != .zero, isStable(state.delete), isStable(state.insert) else { return }
                state.delete = .zero
            } else {
                // What was added to a counter and is later than the delete counts again when the row comes back, and whoever
                // brings it back makes up for it, if he knows of it still: so it is forgotten nowhere.
                guard isStable(state.latest), isStable(state.delete), state.cells.allSatisfy({ isStable($0.stamp) }),
                    state.shares.isEmpty
                else { return }
                state = RowState()
            }
            found.append((row.integer(0), row.blob(1), state))
        }
        guard !found.isEmpty else { return 0 }
        let tables = Dictionary(knowledge.tables.values.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        try transaction { () throws(StoreError) in
            for row in found {
                if let table = tables[row.table] { try saveMetadata(table, row.key, row.state) }
            }
        }
        return found.count
    }

    // MARK: Origins

    /// Those that are to be forgotten, as the facts say, and are not yet.
    package func toForget() throws(StoreError) -> [Origin: Forgetting] {
        var result: [Origin: Forgetting] = [:]
        try rows(
            "SELECT key, value FROM bramble_facts WHERE key >= 'origin/' AND key < 'origin0' AND length(value) > 32"
        ) { row in
            guard let origin = Origin(row.text(0).dropFirst(ReplicationFact.writers.count)),
                let forgetting = Forgetting(row.text(1)), knowledge.forgotten[origin] != forgetting.head
            else { return }
            result[origin] = forgetting
        }
        return result
    }
    /// Whose origins these are, of those that said so.
    package func writers() throws(StoreError) -> [Origin: NodeID] {
        var result: [Origin: NodeID] = [:]
        try rows(
            "SELECT key, substr(value, 1, 32) FROM bramble_facts WHERE key >= 'origin/' AND key < 'origin0'"
        ) { row in
            if let origin = Origin(row.text(0).dropFirst(ReplicationFact.writers.count)), let node = NodeID(row.text(1))
            {
                result[origin] = node
            }
        }
        return result
    }

    /// Speaks no more of these origins: their rows stay, their log and what was kept to tell conflicts go.
    package func forget(_ origins: [Origin: UInt64]) throws(StoreError) {
        try transaction { () throws(StoreError) in
            for (origin, head) in origins.sorted(by: { $0.key < $1.key }) {
                let isWhole = knowledge.origins[origin]?.head == head || options.planted == .forgetsWhatItLacks
                guard origin != self.origin, isWhole else { continue }
                try dropLog(of: origin)
                try forgetWriter(origin, at: head)
            }
        }
    }

    /// One origin's records, all of them or up to one.
    func dropLog(of writer: Origin, upTo floor: UInt64 = UInt64(Int64.max)) throws(StoreError) {
        func bind(_ statement: Statement) {
            statement.bind(1, word: writer.rawValue)
            statement.bind(2, word: floor)
        }
        try rows(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM bramble_log WHERE origin = ? AND sequence <= ?",
            bind: bind
        ) {
            knowledge.logRecords -= Int($0.integer(0))
            knowledge.logBytes -= Int($0.integer(1))
        }
        try finish(try own("DELETE FROM bramble_log WHERE origin = ? AND sequence <= ?"), bind: bind)
    }
    /// Somebody had more of it than was forgotten: it is one like any again.
    func unforget(_ writer: Origin) throws(StoreError) {
        knowledge.forgotten[writer] = nil
        try finish(try own("DELETE FROM bramble_meta WHERE name = ?")) { $0.bind(1, text: "forgotten/\(writer)") }
    }
    func forgetWriter(_ writer: Origin, at head: UInt64) throws(StoreError) {
        for text in [
            "DELETE FROM bramble_origins WHERE origin = ?", "DELETE FROM bramble_contexts WHERE origin = ?1 OR of = ?1",
        ] {
            try finish(try own(text)) { $0.bind(1, word: writer.rawValue) }
        }
        try writeMeta("forgotten/\(writer)", Origin(rawValue: head).bytes)
        knowledge.origins[writer] = nil
        knowledge.forgotten[writer] = head
        knowledge.untold.remove(writer)
        knowledge.unsaved.remove(writer)
        for other in knowledge.origins.keys { knowledge.origins[other]?.context.forget(writer) }
    }

    // MARK: For people and watchers

    /// Changes after `number`, for watchers.
    package func notices(after number: UInt64, limit: Int) -> FeedExtract { feed.notices(after: number, limit: limit) }
    /// The number of the latest change: where a watcher begins.
    package var latestNotice: UInt64 { feed.latest }

    package func tables() throws(StoreError) -> [TableReport] {
        var reports: [TableReport] = []
        for table in knowledge.tables.values.sorted(by: { $0.name < $1.name })
        where !OwnTables.isReplicated(table.name) {
            let columns = table.columns.map { column in
                TableReport.Column(
                    name: column.name, type: column.type, keyPlace: column.keyPlace,
                    isCounter: column.kind == .counter)
            }
            let count = Int(try single("SELECT count(*) FROM main.\(table.quotedName)"))
            let remembered = Int(try single("SELECT count(*) FROM bramble_rows WHERE tab = \(table.id)"))
            reports.append(
                TableReport(
                    name: table.name, columns: columns, rows: count, tombstones: max(0, remembered - count)))
        }
        return reports
    }

    package func report() throws(StoreError) -> StoreReport {
        StoreReport(
            origin: origin, epoch: epoch, vector: vector,
            tables: knowledge.tables.count - OwnTables.replicated.count,
            bytes: Int(try single("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")),
            logRecords: knowledge.logRecords, logBytes: knowledge.logBytes, conflicts: knowledge.conflicts,
            held: Int(try single("SELECT count(*) FROM bramble_held")))
    }

    /// Equal on two stores that have the same rows: content, stamps and schema.
    package func digest() throws(StoreError) -> UInt64 {
        var sum: UInt64 = 0
        for (lower, table) in knowledge.tables.sorted(by: { $0.key < $1.key }) {
            var words = [lower, table.target.create] + table.target.added
            words += table.columns.map { "\($0.name) \($0.type)" }
            sum = words.reduce(sum &* 31) { Checksum.of(Array($1.utf8), from: $0) }
            var identities: [[UInt8]] = []
            try rows("SELECT key FROM bramble_rows WHERE tab = ? ORDER BY key", bind: { $0.bind(1, table.id) }) {
                identities.append($0.blob(0))
            }
            for identity in identities {
                guard let sparse = try metadata(table, identity) else { continue }
                let key = try decodeKey(identity)
                let (state, row) = try filled(sparse, table, key)
                var writer = Self.bytes(of: state)
                for value in row ?? [] { writer.value(value) }
                sum = Checksum.of(writer.bytes, from: Checksum.of(identity, from: sum))
            }
        }
        return sum
    }
}

/// FNV-1a, 64 bits. Against damage and mistakes, not against forgers.
enum Checksum {
    static let start: UInt64 = 0xCBF2_9CE4_8422_2325
    static func of(_ bytes: [UInt8], from sum: UInt64 = start) -> UInt64 {
        bytes.withUnsafeBufferPointer { of($0, from: sum) }
    }
    static func of(_ bytes: UnsafeBufferPointer<UInt8>, from sum: UInt64) -> UInt64 {
        var sum = sum
        for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return sum
    }
}
