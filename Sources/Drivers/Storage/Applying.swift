import CSQLite
package import Replication
import Wire

extension Store {
    /// Records of others, in one transaction. Those that cannot be applied are refused whole; the rest is applied. After an
    /// error (a full disk) none of them is.
    package func apply(_ records: [LogRecord]) throws(StoreError) -> ApplyResult {
        if records.isEmpty { return ApplyResult() }
        if records.contains(where: { $0.origin == origin && $0.sequence > knowledge.vector[origin] }) {
            try takeNewOrigin()
        }
        return try transaction { () throws(StoreError) in
            var result = ApplyResult()
            for record in records { try apply(record, &result) }
            for writer in knowledge.unsaved.sorted() { try saveContext(of: writer) }
            knowledge.unsaved = []
            if knowledge.clock.latest > knowledge.reserved { try reserve(knowledge.clock.latest) }
            return result
        }
    }

    private func apply(_ record: LogRecord, _ result: inout ApplyResult) throws(StoreError) {
        var known = knowledge.origins[record.origin] ?? Knowledge.Known()
        let forgotten = knowledge.forgotten[record.origin]
        if let forgotten { (known.head, known.floor) = (forgotten, forgotten) }
        func refuse(_ reason: ApplyResult.Refusal.Reason) {
            result.refused.append(
                ApplyResult.Refusal(origin: record.origin, sequence: record.sequence, reason: reason))
        }
        guard record.sequence > known.head else {
            result.known += 1
            return
        }
        guard record.sequence == known.head + 1 || options.planted == .appliesOutOfOrder else {
            return refuse(.gap(expected: known.head + 1))
        }
        guard record.time > known.time || options.planted == .appliesOutOfOrder, record.origin.rawValue != 0,
            let body = try? RecordBody(record.body, version: options.bodyVersion)
        else { return refuse(.malformed) }
        guard !isTooMuch(body) else { return refuse(.tooMuchHeld) }

        if forgotten != nil {
            // Somebody had more of it than everybody knew of: it is one like any again, until that is everywhere, too.
            knowledge.origins[record.origin] = known
            try unforget(record.origin)
        }
        var context = known.context
        for (other, seen) in body.context { context.saw(other, upTo: seen, at: record.time) }
        try writeLog(record)
        knowledge.origins[record.origin]?.context = context
        if !body.context.isEmpty { knowledge.unsaved.insert(record.origin) }
        knowledge.untold.insert(record.origin)
        knowledge.clock.saw(record.time)

        let stamp = Stamp(record.time, record.origin)
        for element in body.elements {
            try apply(
                SchemaElement(
                    kind: element.kind, name: element.name, detail: element.detail, stamp: stamp, sql: element.sql))
        }
        for section in body.sections { try merge(section, stamp: stamp, isNews: true) }
        result.applied += 1
    }

    /// Takes rows of one table in. What this node's definition of it has no place for is held.
    /// - Parameter isNews: false where rows are only taken in again: nobody is told, and conflicts are known.
    func merge(_ section: RecordBody.Section, stamp: Stamp, isNews: Bool) throws(StoreError) {
        let lower = section.table.lowercased()
        guard let table = knowledge.tables[lower] else {
            for row in section.rows { try hold(section.with(row), stamp: stamp) }
            return
        }
        var columns: [Int?] = []
        for (place, column) in section.columns.enumerated() {
            guard let known = table.column(named: column.name.lowercased()), table.columns[known].kind == column.kind,
                (place < section.keyCount) == (table.columns[known].keyPlace > 0)
            else {
                columns.append(nil)
                continue
            }
            columns.append(known)
        }
        let keyFits = columns.prefix(section.keyCount).elementsEqual(table.key.map { $0 as Int? }, by: ==)
        guard keyFits else {
            for row in section.rows { try hold(section.with(row), stamp: stamp) }
            return
        }
        for row in section.rows {
            var cells: [RowChange.Cell] = []
            var sums: [RowChange.Sum] = []
            var unknown: [RowChange.Cell] = []
            for cell in row.values {
                guard let column = columns[cell.column] else {
                    unknown.append(cell)
                    continue
                }
                if table.columns[column].kind == .counter, case .integer(let sum) = cell.value {
                    sums.append(RowChange.Sum(column, sum))
                } else {
                    cells.append(RowChange.Cell(column, cell.value))
                }
            }
            if !unknown.isEmpty {
                // The row may be there already; its other columns come when they are known.
                try hold(section.with(RecordBody.Row(kind: .update, key: row.key, values: unknown)), stamp: stamp)
                if row.kind == .update, cells.isEmpty, sums.isEmpty { continue }
            }
            var change = RowChange(row.kind, stamp, cells: cells, sums: sums)
            if options.planted == .updateResurrects, change.kind == .update { change.kind = .insert }
            if try !merge(change, into: table, key: row.key, isNews: isNews) {
                try hold(section.with(row), stamp: stamp)
            }
        }
    }

    /// False when the table does not accept the row.
    private func merge(
        _ change: RowChange, into table: TableModel, key: [SQLValue], isNews: Bool
    ) throws(StoreError) -> Bool {
        let identity = keyIdentity(key)
        let sparse = try metadata(table, identity)
        var state: RowState
        var old: [SQLValue]?
        if let sparse { (state, old) = try filled(sparse, table, key) } else { state = RowState() }
        let before = state
        let overwrites = state.merge(change)
        if isNews, !overwrites.isEmpty { try noteConflicts(overwrites, change.stamp, table, key) }
        if state == before { return true }
        var new: [SQLValue]?
        if state.isAlive { new = table.row(of: state, key: old.map { row in table.key.map { row[$0] } } ?? key) }
        if new != old {
            guard try write(new, over: old, table, key: key) else { return false }
            if isNews { feed.append(table, key: key, row: new) }
        }
        try saveMetadata(table, identity, state)
        return true
    }

    /// The state with the values of the row, and the row when it is there.
    func filled(
        _ sparse: RowState, _ table: TableModel, _ key: [SQLValue]
    ) throws(StoreError) -> (RowState, [SQLValue]?) {
        guard sparse.isAlive else { return (sparse, nil) }
        if table.select == nil { table.select = try database.prepare(table.selectText) }
        guard let statement = table.select else { return (sparse, nil) }
        statement.reset()
        defer { statement.reset() }
        for (place, value) in key.enumerated() { statement.bind(place + 1, value) }
        let code = statement.step()
        guard code == SQLITE_ROW else {
            throw code == SQLITE_DONE
                ? StoreError(sqlite: SQLITE_CORRUPT, message: "a row of \(table.name) is missing", position: nil)
                : database.error(code)
        }
        let row = table.columns.indices.map { statement.value($0) }
        var state = sparse
        state.cells = table.others.compactMap { column in
            if table.columns[column].kind == .counter { return nil }
            let stamp = sparse.cell(column)?.stamp ?? sparse.insert
            return RowState.Cell(column: column, stamp: stamp, value: row[column])
        }
        return (state, row)
    }

    private func write(
        _ new: [SQLValue]?, over old: [SQLValue]?, _ table: TableModel, key: [SQLValue]
    ) throws(StoreError) -> Bool {
        let statement: Statement?
        if new == nil {
            if table.delete == nil { table.delete = try database.prepare(table.deleteText) }
            statement = table.delete
        } else if old == nil {
            if table.insert == nil { table.insert = try prepareUnchecked(table.insertText) }
            statement = table.insert
        } else {
            if table.replace == nil { table.replace = try prepareUnchecked(table.replaceText) }
            statement = table.replace
        }
        guard let statement else { return false }
        statement.reset()
        defer { statement.reset() }
        for (place, value) in (new ?? key).enumerated() { statement.bind(place + 1, value) }
        let code = statement.step()
        if code == SQLITE_DONE { return true }
        if code & 0xFF == SQLITE_CONSTRAINT || code & 0xFF == SQLITE_MISMATCH { return false }
        throw database.error(code)
    }
    /// CHECKs were kept by each writer; two writers' columns together may break one, and the nodes have to agree all the same.
    private func prepareUnchecked(_ text: String) throws(StoreError) -> Statement {
        try database.run("PRAGMA ignore_check_constraints = ON")
        defer { try? database.run("PRAGMA ignore_check_constraints = OFF") }
        return try database.prepare(text)
    }

    // MARK: Conflicts

    private func noteConflicts(
        _ overwrites: [RowState.Overwrite], _ incoming: Stamp, _ table: TableModel, _ key: [SQLValue]
    ) throws(StoreError) {
        // A conflict shows both values: of secrets neither may be seen, and of Bramble's own there is nothing to decide.
        if OwnTables.isReplicated(table.name), table.name != OwnTables.facts { return }
        if table.name == OwnTables.facts, case .text(let name)? = key.first, ReplicationFact.isInternal(name) { return }
        for overwrite in overwrites where !hadSeen(overwrite, incoming) {
            let statement = try own(
                "INSERT INTO bramble_conflicts (at, tab, key, col, kept, kept_by, kept_at, lost, lost_by, lost_at) "
                    + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            statement.bind(1, max(overwrite.winner, overwrite.loser).time.milliseconds)
            statement.bind(2, text: table.name)
            statement.bind(3, text: Self.shown(key, of: table))
            if let column = overwrite.column { statement.bind(4, text: table.columns[column].name) }
            statement.bind(5, overwrite.kept.shown)
            statement.bind(6, text: try writerName(overwrite.winner.origin))
            statement.bind(7, overwrite.winner.time.milliseconds)
            statement.bind(8, overwrite.lost.shown)
            statement.bind(9, text: try writerName(overwrite.loser.origin))
            statement.bind(10, overwrite.loser.time.milliseconds)
            try finish(statement)
            knowledge.conflicts += 1
        }
        guard knowledge.conflicts > options.limits.conflicts else { return }
        let statement = try own(
            "DELETE FROM bramble_conflicts WHERE id IN (SELECT id FROM bramble_conflicts ORDER BY id LIMIT ?)")
        statement.bind(1, Int64(knowledge.conflicts - options.limits.conflicts))
        try finish(statement)
        knowledge.conflicts = options.limits.conflicts
    }

    /// The node that writes under it, by its name; by its identifier when the name did not come yet, and the origin itself when
    /// it never said whose it is (it is of an earlier version).
    package func writerName(_ origin: Origin) throws(StoreError) -> String {
        var result = origin.description
        try rows(
            "SELECT coalesce(nullif(m.name, ''), substr(f.value, 1, 32)) FROM bramble_facts f LEFT JOIN bramble_members m "
                + "ON m.id = substr(f.value, 1, 32) WHERE f.key = ?",
            bind: { $0.bind(1, text: ReplicationFact.writer(origin)) }
        ) { result = $0.text(0) }
        return result
    }
    /// A key as a JSON object, so that SQL can take it apart: `json_extract(key, '$.name')`.
    private static func shown(_ key: [SQLValue], of table: TableModel) -> String {
        let parts = zip(table.key, key).map { column, value in
            "\(jsonText(table.columns[column].name)):\(value.json)"
        }
        return "{\(parts.joined(separator: ","))}"
    }

    /// Whether the winner's writer knew what it replaced: then it was meant, and is no conflict.
    private func hadSeen(_ overwrite: RowState.Overwrite, _ incoming: Stamp) -> Bool {
        guard let writer = knowledge.origins[overwrite.winner.origin]?.context,
            // What is forgotten was everywhere.
            knowledge.forgotten[overwrite.loser.origin] == nil
        else { return true }
        if overwrite.winner == incoming {
            return writer.latest(of: overwrite.loser.origin) >= overwrite.loser.time
        }
        // The winner was here first: what counts is what its writer had seen then.
        guard let seen = writer.seen(of: overwrite.loser.origin, at: overwrite.winner.time) else { return true }
        return seen >= overwrite.loser.time
    }
}

extension RecordBody.Section {
    fileprivate func with(_ row: RecordBody.Row) -> RecordBody.Section {
        RecordBody.Section(table: table, columns: columns, keyCount: keyCount, rows: [row])
    }
}

extension TableModel {
    /// What the table shows of a state that has all values.
    func row(of state: RowState, key keyValues: [SQLValue]) -> [SQLValue] {
        var row = columns.map(\.standard)
        for (place, column) in key.enumerated() { row[column] = keyValues[place] }
        for cell in state.cells { row[cell.column] = cell.value }
        for column in counters { row[column] = .integer(state.counter(column)) }
        for column in others where row[column] == .null && columns[column].isNotNull {
            row[column] = columns[column].kind.zero
        }
        return row
    }
}

private func jsonText(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"", "\\": result += "\\\(scalar)"
        case "\u{0}"..<" ":
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
extension SQLValue {
    /// In the form in which the HTTP API has values; bytes that no JSON number or text is.
    fileprivate var json: String {
        switch self {
        case .null: "null"
        case .integer(let number): String(number)
        case .real(let number): number.isFinite ? String(number) : jsonText(String(number))
        case .text(let text): jsonText(text)
        case .blob(let bytes):
            jsonText(bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())
        }
    }
}
extension RowState.Side {
    var shown: SQLValue {
        switch self {
        case .value(let value): value
        case .present: .text("(row)")
        case .deleted: .text("(deleted)")
        }
    }
}
