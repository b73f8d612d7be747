import CSQLite
import Logging
import Replication
import Wire

// Definitions: those of people here, and those of other nodes.
extension Store {
    /// Executes a definition of people. Nil when it is there already, and that was allowed for.
    func define(
        _ kind: SQLStatementKind, stamp: Stamp, offset: Int
    ) throws(StoreError) -> RecordBody.Element? {
        let element: SchemaElement
        switch kind {
        case .other: return nil
        case .createTable(let name, let ifNotExists, let sql):
            if ifNotExists, try exists(name) { return nil }
            try runForPeople(sql, offset: offset)
            element = SchemaElement(kind: .table, name: name, detail: "", stamp: stamp, sql: sql)
            try asOwn { () throws(StoreError) in
                try saveElement(element)
                let id = try tableID(name)
                try validate(try loadTable(id: id, name: name, target: .trial), offset: offset)
                guard let target = try TableTarget([element], isUsable: isUsable) else {
                    throw unusableDefinition(offset)
                }
                let table = try loadTable(id: id, name: name, target: target)
                knowledge.tables[name.lowercased()] = table
                useTables()
                try refreshTable(name.lowercased())
                try refreshIndexes(of: name.lowercased())
                try release(name.lowercased())
            }
        case .addColumn(let name, let column, let definition, let sql):
            guard let old = knowledge.tables[name.lowercased()], !OwnTables.isReplicated(name.lowercased()) else {
                throw StoreError(
                    .statement, "no such table: \(name)", remedy: "create it first", position: offset)
            }
            guard !capture.entries.contains(where: { $0.table === old }) else {
                throw StoreError(
                    .statement, "the transaction wrote to \(name) before it added the column",
                    remedy: "add the column first, or in a call of its own", position: offset)
            }
            // As ours: SQLite checks rows with a PRAGMA of its own, and the text was read token by token.
            try asOwn { () throws(StoreError) in try runForPeople(sql, offset: offset) }
            element = SchemaElement(
                kind: .column, name: old.name, detail: column, stamp: stamp, sql: definition)
            try asOwn { () throws(StoreError) in
                try saveElement(element)
                try validate(try loadTable(id: old.id, name: old.name, target: .trial), offset: offset)
                guard try isUsable(.column, definition) else { throw unusableDefinition(offset) }
                let target = try TableTarget(try elements(of: old.name.lowercased()), isUsable: isUsable)
                let table = try loadTable(id: old.id, name: old.name, target: target)
                knowledge.tables[name.lowercased()] = table
                useTables()
                // Another node's index may have waited for the column.
                try refreshIndexes(of: name.lowercased())
                try release(name.lowercased())
            }
        case .createIndex(let name, let tableName, let ifNotExists, let sql):
            if ifNotExists, try exists(name) { return nil }
            guard knowledge.tables[tableName.lowercased()] != nil else {
                throw StoreError(
                    .statement, "no such table: \(tableName)", remedy: "create it first", position: offset)
            }
            try runForPeople(sql, offset: offset)
            element = SchemaElement(kind: .index, name: name, detail: tableName, stamp: stamp, sql: sql)
            try saveElement(element)
            useTables()
        case .createView(let name, let ifNotExists, let sql):
            if ifNotExists, try exists(name) { return nil }
            try runForPeople(sql, offset: offset)
            element = SchemaElement(kind: .view, name: name, detail: "", stamp: stamp, sql: sql)
            try saveElement(element)
            useTables()
        }
        return RecordBody.Element(kind: element.kind, name: element.name, detail: element.detail, sql: element.sql)
    }

    private func unusableDefinition(_ offset: Int) -> StoreError {
        StoreError(
            .statement, "the definition does not stand alone",
            remedy: "let a CHECK use columns of this definition only, without the table's name in front",
            position: offset)
    }

    /// Whether SQLite takes a definition, by itself and under another name; nothing stays of the trial.
    private func isUsable(_ kind: RecordBody.Element.Kind, _ sql: String) throws(StoreError) -> Bool {
        if OwnTables.replicated.contains(where: { $0.text == sql }) { return true }
        if let known = definitions[sql] { return known }
        let statement = kind == .table ? sql : "ALTER TABLE bramble_trial ADD COLUMN \(sql)"
        let text = Array(statement.utf8)
        let tokens = SQLText.tokens(text)
        var trial: [String] = []
        // One statement of the right kind: SQLite runs all that it is given.
        if !text.contains(0), !tokens.contains(where: { $0.isSymbol(";") }) {
            if kind == .table, case .createTable? = try? SQLText.kind(of: tokens, in: text),
                let open = tokens.first(where: { $0.isSymbol("(") })
            {
                trial = ["CREATE TABLE bramble_trial " + SQLText.slice(text, open.range.lowerBound..<text.count)]
            } else if kind == .column, let words = Optional(tokens.dropFirst(5)), !words.isEmpty,
                (try? SQLText.kind(ofColumn: Array(words), in: text)) != nil
            {
                trial = ["CREATE TABLE bramble_trial (bramble_key PRIMARY KEY) WITHOUT ROWID", statement]
            }
        }
        var result = !trial.isEmpty
        if result {
            try database.run("SAVEPOINT trial")
            do throws(StoreError) {
                for step in trial { try database.run(step) }
                let found = try loadTable(id: 0, name: "bramble_trial", target: .trial)
                try validate(found, offset: 0)
            } catch {
                guard error.kind != .disk, error.kind != .damaged else { throw error }
                Log.warning("A definition of another node cannot be used here: \(error.problem)")
                result = false
            }
            try database.run("ROLLBACK TO trial; RELEASE trial")
        }
        if definitions.count > 1_000 { definitions = [:] }
        definitions[sql] = result
        return result
    }

    private func runForPeople(_ sql: String, offset: Int) throws(StoreError) {
        let code = sqlite3_exec(database.handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else {
            if let problem = capture.problem { throw problem }
            let error = database.error(code)
            throw StoreError(error.kind, error.problem, remedy: error.remedy, position: offset)
        }
    }

    private func exists(_ name: String) throws(StoreError) -> Bool {
        try kindInFile(name.lowercased()) != nil
    }
    private func kindInFile(_ lower: String) throws(StoreError) -> String? {
        var kind: String?
        try rows("SELECT type FROM sqlite_schema WHERE lower(name) = ?", bind: { $0.bind(1, text: lower) }) {
            kind = $0.text(0)
        }
        return kind
    }

    /// What SQLite made of a definition, against what can be replicated.
    private func validate(_ table: TableModel, offset: Int) throws(StoreError) {
        func refuse(_ problem: String, _ remedy: String) -> StoreError {
            StoreError(.statement, problem, remedy: remedy, position: offset)
        }
        guard !table.key.isEmpty else {
            throw refuse("table \(table.name) has no primary key", "declare one, for example: id INTEGER PRIMARY KEY")
        }
        for column in table.key where table.columns[column].kind == .counter {
            throw refuse("a counter cannot be part of the primary key", "use INTEGER or TEXT")
        }
        for column in table.counters {
            guard table.columns[column].standard == .integer(0), table.columns[column].isNotNull else {
                throw refuse("a counter begins at 0 on every node", "declare it as: NAME COUNTER")
            }
        }
        var collation: String?
        try rows(
            "SELECT x.coll FROM pragma_index_list(?1) AS l, pragma_index_xinfo(l.name) AS x "
                + "WHERE l.origin = 'pk' AND x.key = 1 AND upper(x.coll) <> 'BINARY'",
            bind: { $0.bind(1, text: table.name) }
        ) { collation = $0.text(0) }
        if let collation {
            throw refuse(
                "a primary key cannot use COLLATE \(collation): two spellings would be one row here and two elsewhere",
                "store the key in one spelling, for example lower(key)")
        }
    }

    // MARK: Elements

    func saveElement(_ element: SchemaElement) throws(StoreError) {
        let statement = try own(
            "INSERT OR IGNORE INTO bramble_elements (kind, lower, lower_detail, time, origin, name, detail, sql) "
                + "VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        statement.bind(1, Int64(element.kind.rawValue))
        statement.bind(2, text: element.name.lowercased())
        statement.bind(3, text: element.detail.lowercased())
        statement.bind(4, word: element.stamp.time.rawValue)
        statement.bind(5, word: element.stamp.origin.rawValue)
        statement.bind(6, text: element.name)
        statement.bind(7, text: element.detail)
        statement.bind(8, text: element.sql)
        try finish(statement)
    }
    func elements(where condition: String, _ lower: String) throws(StoreError) -> [SchemaElement] {
        var result: [SchemaElement] = []
        try rows(
            "SELECT kind, name, detail, time, origin, sql FROM bramble_elements WHERE \(condition)",
            bind: { $0.bind(1, text: lower) }
        ) { row in
            guard let kind = RecordBody.Element.Kind(rawValue: UInt8(truncatingIfNeeded: row.integer(0))) else {
                return
            }
            let stamp = Stamp(HybridTime(rawValue: row.word(3)), Origin(rawValue: row.word(4)))
            result.append(
                SchemaElement(kind: kind, name: row.text(1), detail: row.text(2), stamp: stamp, sql: row.text(5)))
        }
        return result.sorted { ($0.stamp, $0.name, $0.detail) < ($1.stamp, $1.name, $1.detail) }
    }
    func elements(of kind: RecordBody.Element.Kind) throws(StoreError) -> [SchemaElement] {
        try elements(where: "kind = ?", String(kind.rawValue))
    }
    private func elements(of lower: String) throws(StoreError) -> [SchemaElement] {
        try elements(where: "kind IN (1, 2) AND lower = ?", lower)
    }

    private func tableID(_ name: String) throws(StoreError) -> Int64 {
        let statement = try own("INSERT OR IGNORE INTO bramble_tables (lower) VALUES (?)")
        statement.bind(1, text: name.lowercased())
        try finish(statement)
        var id: Int64 = 0
        try rows("SELECT id FROM bramble_tables WHERE lower = ?", bind: { $0.bind(1, text: name.lowercased()) }) {
            id = $0.integer(0)
        }
        return id
    }

    /// All tables, at the start.
    func loadTables() throws(StoreError) {
        var known: [(id: Int64, lower: String)] = []
        try rows("SELECT id, lower FROM bramble_tables ORDER BY id") { known.append(($0.integer(0), $0.text(1))) }
        knowledge.tables = [:]
        for (id, lower) in known {
            guard let target = try TableTarget(try elements(of: lower), isUsable: isUsable),
                let name = try nameInFile(lower)
            else { continue }
            knowledge.tables[lower] = try loadTable(id: id, name: name, target: target)
        }
        useTables()
    }
    private func nameInFile(_ lower: String) throws(StoreError) -> String? {
        var name: String?
        try rows(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) = ?",
            bind: { $0.bind(1, text: lower) }
        ) { name = $0.text(0) }
        return name
    }

    func loadTable(id: Int64, name: String, target: TableTarget?) throws(StoreError) -> TableModel {
        var isStrict = false
        try rows("SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main'", bind: { $0.bind(1, text: name) }) {
            isStrict = $0.integer(0) != 0
        }
        var found: [(name: String, type: String, isNotNull: Bool, standard: String?, keyPlace: Int)] = []
        try rows(
            "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?1) ORDER BY cid",
            bind: { $0.bind(1, text: name) }
        ) { row in
            let standard = row.value(3) == .null ? nil : row.text(3)
            found.append((row.text(0), row.text(1), row.integer(2) != 0, standard, Int(row.integer(4))))
        }
        var columns: [TableModel.Column] = []
        for column in found {
            columns.append(
                TableModel.Column(
                    name: column.name, type: column.type,
                    kind: ColumnKind(declared: column.type, isStrict: isStrict), isNotNull: column.isNotNull,
                    standard: constant(column.standard), keyPlace: column.keyPlace))
        }
        guard let target else {
            throw StoreError(sqlite: SQLITE_CORRUPT, message: "table \(name) has no definition", position: nil)
        }
        return TableModel(id: id, name: name, columns: columns, target: target)
    }

    /// What a constant default is worth; null for one that is not constant.
    private func constant(_ text: String?) -> SQLValue {
        guard let text else { return .null }
        let tokens = SQLText.tokens(Array(text.utf8))
        let isConstant = tokens.allSatisfy { token in
            switch token.kind {
            case .number, .string: true
            case .symbol: ["+", "-", "(", ")"].contains(token.text)
            case .word: ["NULL", "TRUE", "FALSE"].contains(token.text) || token.text.hasPrefix("X")
            case .quoted: false
            }
        }
        guard isConstant,
            let statement = try? asOwn({ () throws(StoreError) in try database.prepare("SELECT \(text)") }),
            statement.step() == SQLITE_ROW
        else { return .null }
        return statement.value(0)
    }

    // MARK: Definitions of others

    /// Takes a definition in; what it comes to depends on all that are known, not on their order.
    func apply(_ element: SchemaElement) throws(StoreError) {
        let lower = element.name.lowercased()
        // Not a table of ours, whatever a peer says.
        guard !lower.hasPrefix("bramble_"), !lower.hasPrefix("sqlite_") else { return }
        try saveElement(element)
        switch element.kind {
        case .table, .column: try refreshTable(lower)
        case .index: try refreshIndex(lower)
        case .view: try refreshView(lower)
        }
    }

    private func refreshTable(_ lower: String) throws(StoreError) {
        let elements = try elements(of: lower)
        guard let target = try TableTarget(elements, isUsable: isUsable) else { return }
        guard let current = knowledge.tables[lower] else {
            guard let name = elements.first(where: { $0.kind == .table })?.name,
                let table = try makeTable(name, target, id: try tableID(name))
            else { return }
            knowledge.tables[lower] = table
            try finishTable(lower)
            return
        }
        if target.isSame(as: current.target) { return }
        if target.extends(current.target), try addColumns(target, to: current) {
            knowledge.tables[lower] = try loadTable(id: current.id, name: current.name, target: target)
            try finishTable(lower)
            return
        }
        try rebuild(current, as: target)
    }

    private func finishTable(_ lower: String) throws(StoreError) {
        useTables()
        try refreshIndexes(of: lower)
        try release(lower)
    }
    private func refreshIndexes(of lower: String) throws(StoreError) {
        for index in try elements(where: "kind = 3 AND lower_detail = ?", lower) {
            try refreshIndex(index.name.lowercased())
        }
    }

    /// Nil when this SQLite cannot: the rows wait until it can.
    private func makeTable(_ name: String, _ target: TableTarget, id: Int64) throws(StoreError) -> TableModel? {
        // Of one name a table counts before a view and an index.
        if let other = try kindInFile(name.lowercased()), other != "table" {
            try database.run("DROP \(other.uppercased()) \(SQLText.quoted(name))")
        }
        let text = Array(target.create.utf8)
        guard case .createTable(let named, _, _)? = try? SQLText.kind(of: SQLText.tokens(text), in: text),
            named.lowercased() == name.lowercased()
        else { return nil }
        try database.run("SAVEPOINT definition")
        do throws(StoreError) {
            try database.run(target.create)
            for definition in target.added {
                try database.run("ALTER TABLE main.\(SQLText.quoted(name)) ADD COLUMN \(definition)")
            }
            let table = try loadTable(id: id, name: named, target: target)
            try validate(table, offset: 0)
            try database.run("RELEASE definition")
            return table
        } catch {
            guard error.kind != .disk, error.kind != .damaged else { throw error }
            try database.run("ROLLBACK TO definition; RELEASE definition")
            Log.warning("The definition of table \(name), from another node, cannot be used here: \(error.problem)")
            return nil
        }
    }

    private func addColumns(_ target: TableTarget, to current: TableModel) throws(StoreError) -> Bool {
        try database.run("SAVEPOINT definition")
        do throws(StoreError) {
            for definition in target.added.dropFirst(current.target.added.count) {
                try database.run("ALTER TABLE main.\(current.quotedName) ADD COLUMN \(definition)")
            }
            try database.run("RELEASE definition")
            return true
        } catch {
            guard error.kind != .disk, error.kind != .damaged else { throw error }
            try database.run("ROLLBACK TO definition; RELEASE definition")
            return false
        }
    }

    /// Definitions that were written on two sides: the table is made anew and all its rows are taken in again, each change
    /// with its own stamp, so that the result is what a node has that knew the definition before the rows.
    private func rebuild(_ current: TableModel, as target: TableTarget) throws(StoreError) {
        Log.debug("Table \(current.name) was defined on several nodes at once: it is made anew")
        let lower = current.name.lowercased()
        let waiting = try waitingColumns(lower)
        var changes: [(row: RecordBody.Row, stamp: Stamp)] = []
        var identities: [[UInt8]] = []
        try rows("SELECT key FROM bramble_rows WHERE tab = ?", bind: { $0.bind(1, current.id) }) {
            identities.append($0.blob(0))
        }
        for identity in identities {
            let key = try decodeKey(identity)
            guard let sparse = try metadata(current, identity) else { continue }
            let (state, row) = try filled(sparse, current, key)
            changes += current.changes(
                of: state, key: row.map { row in current.key.map { row[$0] } } ?? key,
                waiting: waiting[keyIdentity(key)]?[state.insert] ?? [])
        }
        try database.run("SAVEPOINT rebuilding")
        current.forgetStatements()
        try database.run("DROP TABLE main.\(current.quotedName)")
        let statement = try own("DELETE FROM bramble_rows WHERE tab = ?")
        statement.bind(1, current.id)
        try finish(statement)
        knowledge.tables[lower] = nil
        useTables()
        guard let table = try makeTable(current.name, target, id: current.id) else {
            // Better the old definition than no table.
            try database.run("ROLLBACK TO rebuilding; RELEASE rebuilding")
            knowledge.tables[lower] = current
            useTables()
            return
        }
        try database.run("RELEASE rebuilding")
        knowledge.tables[lower] = table
        useTables()
        for change in changes {
            let section = RecordBody.Section(
                table: current.name, columns: current.section, keyCount: current.key.count, rows: [change.row])
            try merge(section, stamp: change.stamp, isNews: false)
        }
        try finishTable(lower)
        feed.reset()
    }

    /// Of each row and change the columns of which a value waits, because it was written under another kind of column.
    private func waitingColumns(_ lower: String) throws(StoreError) -> [[UInt8]: [Stamp: Set<String>]] {
        var result: [[UInt8]: [Stamp: Set<String>]] = [:]
        try rows(
            "SELECT time, origin, change FROM bramble_held WHERE lower = ?", bind: { $0.bind(1, text: lower) }
        ) { held in
            let stamp = Stamp(HybridTime(rawValue: held.word(0)), Origin(rawValue: held.word(1)))
            var reader = ByteReader(held.blob(2))
            guard let section = try? RecordBody.Section(from: &reader) else { return }
            for row in section.rows {
                let names = row.values.map { section.columns[$0.column].name.lowercased() }
                result[keyIdentity(row.key), default: [:]][stamp, default: []].formUnion(names)
            }
        }
        return result
    }

    private func refreshIndex(_ lower: String) throws(StoreError) {
        guard let element = try elements(where: "kind = 3 AND lower = ?", lower).first else { return }
        try put(element, type: "index", lower)
    }
    private func refreshView(_ lower: String) throws(StoreError) {
        guard let element = try elements(where: "kind = 4 AND lower = ?", lower).first else { return }
        try put(element, type: "view", lower)
    }
    /// An index or view by its earliest definition. One that cannot be made (yet) is left out: it holds no rows.
    private func put(_ element: SchemaElement, type: String, _ lower: String) throws(StoreError) {
        let text = Array(element.sql.utf8)
        guard SQLText.statements(text).count == 1, let kind = try? SQLText.kind(of: SQLText.tokens(text), in: text)
        else { return }
        switch kind {
        case .createIndex where type == "index", .createView where type == "view": break
        default: return
        }
        var found: (type: String, sql: String)?
        try rows("SELECT type, sql FROM sqlite_schema WHERE lower(name) = ?", bind: { $0.bind(1, text: lower) }) {
            found = ($0.text(0), $0.text(1))
        }
        if let found {
            if found.sql == element.sql || found.type == "table" || (found.type == "view" && type == "index") { return }
            try database.run("DROP \(found.type.uppercased()) \(SQLText.quoted(element.name))")
        }
        do throws(StoreError) {
            try asOwn { () throws(StoreError) in try database.run(element.sql) }
        } catch {
            guard error.kind != .disk, error.kind != .damaged else { throw error }
        }
        useTables()
    }

    // MARK: What waits for a definition

    /// Keeps a change that cannot be taken in yet.
    func hold(_ section: RecordBody.Section, stamp: Stamp) throws(StoreError) {
        var writer = ByteWriter(reserving: 128)
        section.write(to: &writer)
        let statement = try own("INSERT INTO bramble_held (lower, time, origin, change) VALUES (?, ?, ?, ?)")
        statement.bind(1, text: section.table.lowercased())
        statement.bind(2, word: stamp.time.rawValue)
        statement.bind(3, word: stamp.origin.rawValue)
        statement.bind(4, blob: writer.bytes)
        try finish(statement)
        knowledge.heldBytes += writer.bytes.count
    }
    /// Whether so much waits for tables of newer versions already that a record for one more is not taken.
    func isTooMuch(_ body: RecordBody) -> Bool {
        knowledge.heldBytes > options.limits.held
            && body.sections.contains { knowledge.tables[$0.table.lowercased()] == nil }
            && !body.elements.contains { $0.kind == .table }
    }

    /// Tries again what waits for a table. What still does not fit is held again.
    func release(_ lower: String) throws(StoreError) {
        var held: [(stamp: Stamp, bytes: [UInt8])] = []
        try rows(
            "SELECT time, origin, change FROM bramble_held WHERE lower = ? ORDER BY id",
            bind: { $0.bind(1, text: lower) }
        ) {
            held.append((Stamp(HybridTime(rawValue: $0.word(0)), Origin(rawValue: $0.word(1))), $0.blob(2)))
        }
        guard !held.isEmpty else { return }
        let statement = try own("DELETE FROM bramble_held WHERE lower = ?")
        statement.bind(1, text: lower)
        try finish(statement)
        knowledge.heldBytes -= held.reduce(0) { $0 + $1.bytes.count }
        for change in held {
            var reader = ByteReader(change.bytes)
            guard let section = try? RecordBody.Section(from: &reader) else { continue }
            try merge(section, stamp: change.stamp, isNews: true)
        }
    }

    func decodeKey(_ identity: [UInt8]) throws(StoreError) -> [SQLValue] {
        var reader = ByteReader(identity)
        var key: [SQLValue] = []
        while reader.remaining > 0 {
            guard let value = try? reader.value() else {
                throw StoreError(sqlite: SQLITE_CORRUPT, message: "a key cannot be read", position: nil)
            }
            key.append(value)
        }
        return key
    }
}

extension TableModel {
    /// The changes a full state comes from, as far as they matter.
    /// - Parameter waiting: columns for which the row's insert gave a value that this table cannot take.
    func changes(
        of state: RowState, key: [SQLValue], waiting: Set<String>
    ) -> [(row: RecordBody.Row, stamp: Stamp)] {
        var changes: [(row: RecordBody.Row, stamp: Stamp)] = []
        if state.delete != .zero {
            changes.append((RecordBody.Row(kind: .delete, key: key, values: []), state.delete))
        }
        var byStamp: [Stamp: [RowChange.Cell]] = [:]
        for cell in state.cells {
            // A column that is younger than the row, or of another kind than its writer knew, was not part of the insert: it
            // has what nobody gave.
            let column = columns[cell.column]
            let name = column.name.lowercased()
            if cell.stamp == state.insert, cell.value == column.unwritten,
                target.since[name] ?? .zero > state.insert || waiting.contains(name)
            {
                continue
            }
            byStamp[cell.stamp, default: []].append(RowChange.Cell(places[cell.column], cell.value))
        }
        for share in state.shares {
            byStamp[share.stamp, default: []].append(RowChange.Cell(places[share.column], .integer(share.sum)))
        }
        if state.isAlive, byStamp[state.insert] == nil { byStamp[state.insert] = [] }
        for stamp in byStamp.keys.sorted() {
            let cells = (byStamp[stamp] ?? []).sorted { $0.column < $1.column }
            let kind: RowChange.Kind = stamp == state.insert ? .insert : .update
            changes.append((RecordBody.Row(kind: kind, key: key, values: cells), stamp))
        }
        return changes
    }
}
