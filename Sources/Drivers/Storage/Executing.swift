import CSQLite
import Primitives
import Replication
import Wire

/// One statement of a call, ready to run.
struct PlanStep {
    enum Action {
        case run(Statement)
        case schema(SQLStatementKind)
    }
    let action: Action
    /// Where it begins in the text, in bytes.
    let offset: Int
}

extension Store {
    private static let keptPlans = 64
    /// A text with a thousand rows in it will not come again, and what SQLite makes of it takes hundreds of kilobytes.
    private static let longestKeptText = 4_096

    /// One call of people: all statements in one transaction. On an error nothing has changed.
    /// - Parameters:
    ///   - rowLimit: of each text; what is beyond it, or beyond what all answers may hold, is left out and said so. Without it
    ///     too many rows are an error.
    ///   - wall: milliseconds since 1970, as this machine believes.
    package func execute(
        _ statements: [SQLStatement], rowLimit: Int? = nil, wall: Int64
    ) throws(StoreError) -> SQLAnswer {
        try transaction { () throws(StoreError) in try perform(statements, rowLimit, wall: wall) }
    }

    /// The same, and `commitGroup` ends it: calls that come while the disk is busy share one commit. On an error nothing of this
    /// call has changed; `takeGroupFailure` tells whether those before it are lost, too.
    package func executeInGroup(
        _ statements: [SQLStatement], rowLimit: Int? = nil, wall: Int64
    ) throws(StoreError) -> SQLAnswer {
        try partOfGroup { () throws(StoreError) in try perform(statements, rowLimit, wall: wall) }
    }

    private func perform(
        _ statements: [SQLStatement], _ rowLimit: Int?, wall: Int64
    ) throws(StoreError) -> SQLAnswer {
        var clock = knowledge.clock
        let stamp = Stamp(clock.next(wall: wall), origin)
        identifiers.wall = max(wall, stamp.time.milliseconds)
        capture.begin(.writer, time: options.limits.statementTime)
        var answer = SQLAnswer()
        var elements: [RecordBody.Element] = []
        var left = Room(rows: options.limits.rows, bytes: options.limits.bytes, each: rowLimit)
        for statement in statements {
            var result = StatementResult()
            try run(statement, stamp: stamp, answer: &result, elements: &elements, room: &left)
            answer.results.append(result)
        }
        capture.isCapturing = false
        capture.author = .own
        capture.deadline = nil
        if !elements.isEmpty || !capture.entries.isEmpty {
            answer.record = try commitOwn(capture.entries, elements, stamp: stamp)
        }
        capture.end()
        return answer
    }

    /// The same, for a call that may only read.
    package func query(_ statements: [SQLStatement], rowLimit: Int? = nil) throws(StoreError) -> SQLAnswer {
        try commitGroup()
        try finish(try own("BEGIN"))
        defer {
            capture.end()
            if database.isInTransaction { try? finish(try own("ROLLBACK")) }
        }
        capture.begin(.reader, time: options.limits.statementTime)
        var answer = SQLAnswer()
        var elements: [RecordBody.Element] = []
        var left = Room(rows: options.limits.rows, bytes: options.limits.bytes, each: rowLimit)
        for statement in statements {
            var result = StatementResult()
            try run(statement, stamp: .zero, answer: &result, elements: &elements, room: &left)
            answer.results.append(result)
        }
        return answer
    }

    /// What the answers of one call may still hold.
    private struct Room {
        var rows: Int
        var bytes: Int
        /// Rows of each text.
        var each: Int?
    }

    /// Whether none of these can write, by their first words: they may run on another thread, over a connection that only
    /// reads. What draws an identifier may not: the store's own connection gives them out.
    package static func onlyReads(_ statements: [SQLStatement]) -> Bool {
        statements.allSatisfy { call in
            guard mayRead(call.text) else { return false }
            let text = Array(call.text.utf8)
            guard text.count <= LogRecord.maximumBody, !text.contains(0) else { return false }
            return SQLText.statements(text).allSatisfy { tokens in
                guard let first = tokens.first, first.kind == .word, readers.contains(first.text) else {
                    return false
                }
                return !tokens.contains { $0.text.uppercased() == "BRAMBLE_ID" }
            }
        }
    }
    private static let readers: Set = ["SELECT", "VALUES"]
    /// False for most writes, without taking them apart: they begin with another word.
    private static func mayRead(_ text: String) -> Bool {
        let first = text.utf8.prefix { $0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A }
        return first.isEmpty || readers.contains(String(Substring(first)).uppercased())
    }

    private func run(
        _ call: SQLStatement, stamp: Stamp, answer: inout StatementResult, elements: inout [RecordBody.Element],
        room: inout Room
    ) throws(StoreError) {
        let isReader = capture.author == .reader
        if let plan = isReader ? readPlans[call.text] : plans[call.text] {
            var parameters = call.parameters[...]
            for step in plan {
                guard case .run(let statement) = step.action else { continue }
                try run(statement, &parameters, offset: step.offset, answer: &answer, room: &room)
            }
            guard parameters.isEmpty else { throw tooManyParameters }
            return
        }
        guard call.text.utf8.count <= LogRecord.maximumBody else {
            throw StoreError(.statement, "the statement is longer than 1 MiB", remedy: "give values as parameters")
        }
        let text = Array(call.text.utf8)
        guard !text.contains(0) else {
            throw StoreError(.statement, "the statement has a zero byte", remedy: "give such values as parameters")
        }
        var plan: [PlanStep] = []
        var parameters = call.parameters[...]
        for tokens in SQLText.statements(text) {
            guard let first = tokens.first, let last = tokens.last else { continue }
            let offset = first.range.lowerBound
            // Prepared one after the other: each may need what the one before it made.
            switch try SQLText.kind(of: tokens, in: text) {
            case .other:
                let statement = try prepareForPeople(
                    SQLText.slice(text, offset..<last.range.upperBound), offset: offset)
                try run(statement, &parameters, offset: offset, answer: &answer, room: &room)
                plan.append(PlanStep(action: .run(statement), offset: offset))
            case let kind:
                guard !isReader else {
                    throw StoreError(
                        .statement, "this call may only read, and the statement changes the schema",
                        remedy: "send it as a write: bramble sql, or POST /v1/sql", position: offset)
                }
                if let element = try define(kind, stamp: stamp, offset: offset) { elements.append(element) }
                plan.append(PlanStep(action: .schema(kind), offset: offset))
            }
        }
        guard parameters.isEmpty else { throw tooManyParameters }
        guard text.count <= Self.longestKeptText,
            plan.allSatisfy({ if case .run = $0.action { true } else { false } })
        else { return }
        if isReader {
            if readPlans.count >= Self.keptPlans { readPlans = [:] }
            readPlans[call.text] = plan
        } else {
            if plans.count >= Self.keptPlans { plans = [:] }
            plans[call.text] = plan
        }
    }

    private var tooManyParameters: StoreError {
        StoreError(
            .statement, "there are more parameters than the statement takes",
            remedy: "write a ? where each value belongs")
    }

    private func prepareForPeople(_ sql: String, offset: Int) throws(StoreError) -> Statement {
        var raw: OpaquePointer?
        let code = sqlite3_prepare_v3(database.handle, sql, -1, 0, &raw, nil)
        guard code == SQLITE_OK, let raw else {
            if let problem = capture.problem {
                throw StoreError(problem.kind, problem.problem, remedy: problem.remedy, position: offset)
            }
            throw explained(database.error(code, offset: offset))
        }
        return Statement(raw)
    }

    private func run(
        _ statement: Statement, _ parameters: inout ArraySlice<SQLValue>, offset: Int,
        answer: inout StatementResult, room: inout Room
    ) throws(StoreError) {
        statement.reset()
        defer { statement.reset() }
        let wanted = Int(sqlite3_bind_parameter_count(statement.handle))
        guard parameters.count >= wanted else {
            throw StoreError(
                .statement, "the statement takes \(wanted) parameters, \(parameters.count) were given",
                remedy: "give a value for each ?", position: offset)
        }
        for place in 0..<wanted {
            if let value = parameters.popFirst() { statement.bind(place + 1, value) }
        }
        let columns = Int(sqlite3_column_count(statement.handle))
        if columns > 0 {
            answer.columns = statement.columnNames
            answer.rows = []
            answer.isTruncated = false
        }
        let isReadOnly = sqlite3_stmt_readonly(statement.handle) != 0
        while true {
            let code = statement.step()
            if code == SQLITE_DONE { break }
            guard code == SQLITE_ROW else { throw failure(code, offset) }
            guard columns > 0 else { continue }
            let row = (0..<columns).map { statement.value($0) }
            let size = row.reduce(0) { $0 + $1.size }
            let hasRoom = room.rows > 0 && size <= room.bytes
            if let most = room.each, answer.rows.count >= most || answer.isTruncated || !hasRoom {
                answer.isTruncated = true
                // One that writes and returns rows has to come to its end.
                if isReadOnly { break }
                continue
            }
            guard hasRoom else {
                throw StoreError(
                    .statement,
                    "the answer has more than \(options.limits.rows) rows or \(options.limits.bytes >> 20) MiB",
                    remedy: "ask for less: LIMIT, fewer columns, or page by the key", position: offset)
            }
            room.rows -= 1
            room.bytes -= size
            answer.rows.append(row)
        }
        if let problem = capture.problem { throw problem }
        if !isReadOnly { answer.changed += Int(sqlite3_changes64(database.handle)) }
    }

    private func failure(_ code: Int32, _ offset: Int) -> StoreError {
        if let problem = capture.problem { return problem }
        return explained(database.error(code, offset: offset))
    }
    /// In STRICT tables SQLite says which value does not fit, but not what to do.
    private func explained(_ error: StoreError) -> StoreError {
        guard error.problem.hasPrefix("cannot store ") else { return error }
        return StoreError(
            .constraint, error.problem, remedy: "give a value of the column's type; the table is STRICT",
            position: error.position)
    }

    // MARK: What it wrote

    /// Rows and definitions of a local transaction become stamps, a record in the log, and news for watchers.
    /// Nil when rows were touched but nothing is different.
    func commitOwn(
        _ entries: [Capture.Entry], _ elements: [RecordBody.Element], stamp: Stamp
    ) throws(StoreError) -> LogRecord? {
        var body = RecordBody()
        body.elements = elements
        var sections: [Int64: Int] = [:]
        func take(_ entries: [Capture.Entry]) throws(StoreError) {
            for entry in entries {
                guard let row = try stampOwn(entry, stamp) else { continue }
                if let place = sections[entry.table.id] {
                    body.sections[place].rows.append(row)
                } else {
                    sections[entry.table.id] = body.sections.count
                    body.sections.append(
                        RecordBody.Section(
                            table: entry.table.name, columns: entry.table.section, keyCount: entry.table.key.count,
                            rows: [row]))
                }
            }
        }
        try take(entries)
        guard !body.elements.isEmpty || !body.sections.isEmpty else { return nil }
        if knowledge.toldOrigin != origin, let node = options.node { try take(try tellOrigin(of: node)) }
        var context = knowledge.origins[origin]?.context ?? WriterContext()
        for other in knowledge.untold.sorted() where other != origin {
            guard let seen = knowledge.origins[other]?.time else { continue }
            body.context.append((other, seen))
            context.saw(other, upTo: seen, at: stamp.time)
        }
        let bytes = body.encoded(version: options.bodyVersion)
        guard bytes.count <= LogRecord.maximumBody else { throw .oversized }
        let sequence = (knowledge.origins[origin]?.head ?? 0) + 1
        let record = LogRecord(origin: origin, sequence: sequence, time: stamp.time, body: bytes)
        try writeLog(record)
        knowledge.clock.saw(stamp.time)
        knowledge.untold = []
        knowledge.origins[origin, default: Knowledge.Known()].context = context
        if !body.context.isEmpty { try saveContext(of: origin) }
        // In good time: what was reserved has to be on the disk before it is used.
        if HybridTime(milliseconds: stamp.time.milliseconds + 5_000) > knowledge.reserved { try reserve(stamp.time) }
        return record
    }

    /// Says in this origin's first record whose it is; whoever has anything of it knows then.
    private func tellOrigin(of node: NodeID) throws(StoreError) -> [Capture.Entry] {
        knowledge.toldOrigin = origin
        let key = ReplicationFact.writer(origin)
        guard try fact(key) == nil else { return [] }
        capture.begin(.writer, time: nil)
        capture.author = .own
        let statement = try own("INSERT INTO \(OwnTables.facts) (key, value) VALUES (?1, ?2)")
        statement.bind(1, text: key)
        statement.bind(2, text: node.description)
        try finish(statement)
        capture.isCapturing = false
        return capture.entries
    }

    private func stampOwn(_ entry: Capture.Entry, _ stamp: Stamp) throws(StoreError) -> RecordBody.Row? {
        let table = entry.table
        if entry.old == nil, entry.new == nil { return nil }
        var values: [RowChange.Cell] = []
        var kind = RowChange.Kind.delete
        var changed: [Int] = []
        if let new = entry.new {
            kind = entry.old == nil ? .insert : .update
            changed = table.others.filter { column in
                guard let old = entry.old else { return true }
                // SQLite shows null where a row is older than its column: then nobody knows whether it changed.
                return old[column] != new[column]
                    || (old[column] == .null && table.columns[column].standard != .null)
            }
            if kind == .update, changed.isEmpty { return nil }
        }
        var state = try metadata(table, entry.identity) ?? RowState()
        var sums: [RowChange.Sum] = []
        for column in changed {
            guard let value = entry.new?[column] else { continue }
            if case .text(let text) = value, text.unicodeScalars.contains("\u{FFFD}") {
                try refuseBrokenText(table, entry.key, column)
            }
            guard table.columns[column].kind == .counter else {
                values.append(RowChange.Cell(table.places[column], value))
                continue
            }
            guard case .integer(let number) = value else {
                throw StoreError(
                    .constraint, "counter \(table.name).\(table.columns[column].name) must be a whole number",
                    remedy: "add with: SET \(table.columns[column].name) = \(table.columns[column].name) + 1")
            }
            let sum = state.ownSum(showing: number, column: column, origin: stamp.origin)
            sums.append(RowChange.Sum(column, sum))
            values.append(RowChange.Cell(table.places[column], .integer(sum)))
        }
        let cells = changed.filter { table.columns[$0].kind != .counter }.map { RowChange.Cell($0, .null) }
        // Of an insert the columns have the stamp of the row: no cells needed.
        state.merge(RowChange(kind, stamp, cells: kind == .update ? cells : [], sums: sums))
        try saveMetadata(table, entry.identity, state)
        feed.append(table, key: entry.key, row: entry.new)
        return RecordBody.Row(kind: kind, key: entry.key, values: values.sorted { $0.column < $1.column })
    }

    /// A replacement character is either what somebody wrote, or what reading made of bytes that are no text.
    private func refuseBrokenText(_ table: TableModel, _ key: [SQLValue], _ column: Int) throws(StoreError) {
        let name = table.columns[column].name
        let condition = table.key.map { "\(SQLText.quoted(table.columns[$0].name)) = ?" }.joined(separator: " AND ")
        let statement = try asOwn { () throws(StoreError) in
            try database.prepare(
                "SELECT CAST(\(SQLText.quoted(name)) AS BLOB) FROM main.\(table.quotedName) WHERE \(condition)")
        }
        for (place, value) in key.enumerated() { statement.bind(place + 1, value) }
        guard statement.step() == SQLITE_ROW else { return }
        guard String(validating: statement.blob(0), as: UTF8.self) == nil else { return }
        throw StoreError(
            .constraint, "a text in \(table.name).\(name) is not UTF-8", remedy: "store such bytes as a BLOB: x'...'")
    }

    func writeLog(_ record: LogRecord) throws(StoreError) {
        let statement = try own("INSERT INTO bramble_log (origin, sequence, time, body) VALUES (?, ?, ?, ?)")
        statement.bind(1, word: record.origin.rawValue)
        statement.bind(2, word: record.sequence)
        statement.bind(3, word: record.time.rawValue)
        statement.bind(4, blob: record.body)
        try finish(statement)
        knowledge.logBytes += record.body.count
        knowledge.logRecords += 1
        knowledge.origins[record.origin, default: Knowledge.Known()].head = record.sequence
        knowledge.origins[record.origin]?.time = record.time
    }

    func saveContext(of writer: Origin) throws(StoreError) {
        guard let context = knowledge.origins[writer]?.context else { return }
        for other in context.others {
            guard let step = context.last(of: other) else { continue }
            let statement = try own(
                "INSERT OR REPLACE INTO bramble_contexts (origin, of, seen, at) VALUES (?, ?, ?, ?)")
            statement.bind(1, word: writer.rawValue)
            statement.bind(2, word: other.rawValue)
            statement.bind(3, word: step.seen.rawValue)
            statement.bind(4, word: step.at.rawValue)
            try finish(statement)
        }
    }

    // MARK: Stamps beside rows

    /// Without the values of a row that is there.
    func metadata(_ table: TableModel, _ identity: [UInt8]) throws(StoreError) -> RowState? {
        let statement = try own("SELECT meta FROM bramble_rows WHERE tab = ? AND key = ?")
        defer { statement.reset() }
        statement.bind(1, table.id)
        statement.bind(2, blob: identity)
        let code = statement.step()
        if code == SQLITE_DONE { return nil }
        guard code == SQLITE_ROW else { throw database.error(code) }
        return try decodeMetadata(statement.blob(0))
    }
    func decodeMetadata(_ bytes: [UInt8]) throws(StoreError) -> RowState {
        do throws(ByteReader.Failure) {
            return try RowMetadata.decode(bytes)
        } catch {
            throw StoreError(sqlite: SQLITE_CORRUPT, message: "stamps of a row cannot be read", position: nil)
        }
    }
    func saveMetadata(_ table: TableModel, _ identity: [UInt8], _ state: RowState) throws(StoreError) {
        if state.isEmpty {
            let statement = try own("DELETE FROM bramble_rows WHERE tab = ? AND key = ?")
            statement.bind(1, table.id)
            statement.bind(2, blob: identity)
            return try finish(statement)
        }
        let statement = try own("INSERT OR REPLACE INTO bramble_rows (tab, key, meta) VALUES (?, ?, ?)")
        statement.bind(1, table.id)
        statement.bind(2, blob: identity)
        statement.bind(3, blob: RowMetadata.encode(state))
        try finish(statement)
    }
}
