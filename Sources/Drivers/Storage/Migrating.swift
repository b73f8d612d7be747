import CSQLite
package import Replication

// The schema that people want to have, from `bramble apply`: what of it is missing is made, nothing is taken away.

/// One thing that was made, or would be.
package struct SchemaStep: Equatable, Sendable {
    /// Of the statements given, counted from 0: where it comes from.
    package let statement: Int
    /// The table, index or view.
    package let name: String
    package let sql: String
    package init(statement: Int, name: String, sql: String) {
        self.statement = statement
        self.name = name
        self.sql = sql
    }
}

extension Store {
    /// Makes what is missing of tables, columns, indexes and views, in one transaction: all of it or, on an error, nothing.
    /// What is there already is left as it is, so that it may be asked for again; what is there in another form is refused with
    /// what can be done instead.
    /// - Parameter isTrial: nothing is kept; what would be made is given.
    package func migrate(
        _ statements: [String], isTrial: Bool, wall: Int64
    ) throws(StoreError) -> (steps: [SchemaStep], record: LogRecord?) {
        var steps: [SchemaStep] = []
        let undone = StoreError(.unusable, "a trial", remedy: "")
        do throws(StoreError) {
            let record = try transaction { () throws(StoreError) -> LogRecord? in
                var clock = knowledge.clock
                let stamp = Stamp(clock.next(wall: wall), origin)
                capture.begin(.writer, time: options.limits.statementTime)
                var elements: [RecordBody.Element] = []
                for (number, statement) in statements.enumerated() {
                    for (kind, sql) in try missing(in: statement) {
                        guard let element = try define(kind, stamp: stamp, offset: 0) else { continue }
                        elements.append(element)
                        steps.append(SchemaStep(statement: number, name: element.name, sql: sql))
                    }
                }
                capture.isCapturing = false
                capture.author = .own
                capture.deadline = nil
                if isTrial { throw undone }
                let record = elements.isEmpty ? nil : try commitOwn(capture.entries, elements, stamp: stamp)
                capture.end()
                return record
            }
            return (steps, record)
        } catch {
            guard isTrial, error == undone else { throw error }
            return (steps, nil)
        }
    }

    /// Of one text, what has to be carried out, each with its SQL for people.
    private func missing(in text: String) throws(StoreError) -> [(SQLStatementKind, String)] {
        let bytes = Array(text.utf8)
        guard bytes.count <= LogRecord.maximumBody, !bytes.contains(0) else { throw .oversized }
        let all = SQLText.statements(bytes)
        // Each may need what the one before it makes.
        guard all.count <= 1 else {
            throw StoreError(
                .statement, "“\(text.prefix(60))” has several statements", remedy: "write each as an item of its own")
        }
        var result: [(SQLStatementKind, String)] = []
        for tokens in all {
            guard let first = tokens.first, let last = tokens.last else { continue }
            let sql = SQLText.slice(bytes, first.range.lowerBound..<last.range.upperBound)
            let kind = try SQLText.kind(of: tokens, in: bytes)
            switch kind {
            case .createTable(let name, _, let create):
                guard let table = knowledge.tables[name.lowercased()] else {
                    try refuseTaken(name, by: "a table")
                    result.append((kind, sql))
                    continue
                }
                result += try missingColumns(of: table, create: create)
            case .addColumn(let name, let column, let definition, _):
                if let table = knowledge.tables[name.lowercased()], let place = table.column(named: column.lowercased())
                {
                    try compare(table.columns[place], try trialColumn(definition), in: table, looksAtKey: false)
                } else {
                    result.append((kind, sql))
                }
            case .createIndex(let name, _, _, let wanted), .createView(let name, _, let wanted):
                let isIndex = if case .createIndex = kind { true } else { false }
                guard let found = try inFile(name) else {
                    result.append((kind, sql))
                    continue
                }
                guard found.type == (isIndex ? "index" : "view") else {
                    throw taken(name, by: found.type, wanted: isIndex ? "an index" : "a view")
                }
                guard found.sql == wanted else {
                    throw StoreError(
                        .statement, "\(found.type) \(name) is there in another form: \(found.sql)",
                        remedy: "leave it as it is, and give the new one another name")
                }
            case .other:
                throw StoreError(
                    .statement, "“\(sql.prefix(60))” is no definition",
                    remedy:
                        "here belong CREATE TABLE, CREATE INDEX, CREATE VIEW and ALTER TABLE … ADD COLUMN; write rows with "
                        + "bramble sql")
            }
        }
        return result
    }

    private func missingColumns(
        of table: TableModel, create: String
    ) throws(StoreError) -> [(SQLStatementKind, String)] {
        let wanted = try trialTable(create)
        let definitions = Dictionary(
            SQLText.columns(ofCreate: create).map { ($0.name.lowercased(), $0.definition) },
            uniquingKeysWith: { first, _ in first })
        let names = { (model: TableModel) in model.key.map { model.columns[$0].name.lowercased() } }
        guard names(wanted) == names(table) else {
            throw StoreError(
                .statement,
                "the primary key of table \(table.name) is (\(names(table).joined(separator: ", "))) and cannot become "
                    + "(\(names(wanted).joined(separator: ", ")))",
                remedy: "create another table and copy the rows: INSERT INTO … SELECT …")
        }
        var result: [(SQLStatementKind, String)] = []
        for column in wanted.columns {
            if let place = table.column(named: column.name.lowercased()) {
                try compare(table.columns[place], column, in: table, looksAtKey: true)
                continue
            }
            guard let definition = definitions[column.name.lowercased()] else { continue }
            let sql = "ALTER TABLE \(table.quotedName) ADD COLUMN \(definition)"
            let bytes = Array(sql.utf8)
            result.append((try SQLText.kind(of: SQLText.tokens(bytes), in: bytes), sql))
        }
        return result
    }

    private func compare(
        _ old: TableModel.Column, _ new: TableModel.Column, in table: TableModel, looksAtKey: Bool
    ) throws(StoreError) {
        func words(_ column: TableModel.Column) -> String {
            let standard = column.standard == .null ? "" : " with a default"
            return (column.type.isEmpty ? "without a type" : column.type) + (column.isNotNull ? " NOT NULL" : "")
                + standard
        }
        let isSame =
            old.type.uppercased() == new.type.uppercased() && old.standard == new.standard
            && (old.isNotNull == new.isNotNull || old.keyPlace > 0) && (!looksAtKey || old.keyPlace == new.keyPlace)
        guard isSame else {
            throw StoreError(
                .statement,
                "column \(old.name) of table \(table.name) is \(words(old)) and cannot become \(words(new))"
                    + (words(old) == words(new) ? ": its default is another" : ""),
                remedy:
                    "add a column under another name and copy the values; nodes that are away may write the old one still"
            )
        }
    }

    /// What SQLite makes of a definition; nothing stays of the trial.
    private func trialTable(_ create: String) throws(StoreError) -> TableModel {
        let bytes = Array(create.utf8)
        guard let open = SQLText.tokens(bytes).first(where: { $0.isSymbol("(") }) else {
            throw StoreError(
                .statement, "“\(create.prefix(60))” has no columns", remedy: "name them, each with its type")
        }
        return try trial(["CREATE TABLE bramble_trial " + SQLText.slice(bytes, open.range.lowerBound..<bytes.count)])
    }
    private func trialColumn(_ definition: String) throws(StoreError) -> TableModel.Column {
        let table = try trial([
            "CREATE TABLE bramble_trial (bramble_key PRIMARY KEY) WITHOUT ROWID",
            "ALTER TABLE bramble_trial ADD COLUMN \(definition)",
        ])
        return table.columns[table.columns.count - 1]
    }
    private func trial(_ steps: [String]) throws(StoreError) -> TableModel {
        try asOwn { () throws(StoreError) in
            try database.run("SAVEPOINT trial")
            defer { try? database.run("ROLLBACK TO trial; RELEASE trial") }
            for step in steps { try database.run(step) }
            return try loadTable(id: 0, name: "bramble_trial", target: .trial)
        }
    }

    private func inFile(_ name: String) throws(StoreError) -> (type: String, sql: String)? {
        var found: (type: String, sql: String)?
        try asOwn { () throws(StoreError) in
            try rows(
                "SELECT type, sql FROM sqlite_schema WHERE lower(name) = ?",
                bind: { $0.bind(1, text: name.lowercased()) }
            ) { found = ($0.text(0), $0.text(1)) }
        }
        return found
    }
    private func refuseTaken(_ name: String, by wanted: String) throws(StoreError) {
        if let found = try inFile(name) { throw taken(name, by: found.type, wanted: wanted) }
    }
    private func taken(_ name: String, by type: String, wanted: String) -> StoreError {
        StoreError(
            .statement, "\(name) is the name of a \(type) already, and cannot be that of \(wanted)",
            remedy: "choose another name")
    }
}
