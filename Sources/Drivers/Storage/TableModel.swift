import Replication

/// One definition that somebody gave, with its stamp. Of several for one name the earliest counts: later writers had not
/// seen it, or would not have given theirs.
struct SchemaElement: Equatable, Sendable {
    let kind: RecordBody.Element.Kind
    /// As written; compared without regard to case.
    let name: String
    let detail: String
    let stamp: Stamp
    let sql: String
}

/// What a table's definitions come to: a function of the set of them.
struct TableTarget: Equatable, Sendable {
    var create: String
    /// Definitions of added columns, in the order of their stamps.
    var added: [String] = []
    /// By lower-case name: since when a column is there.
    var since: [String: Stamp] = [:]

    /// - Parameter isUsable: whether a whole statement, or the definition of a column, can be used at all: the same answer
    ///   on every node, so that nonsense from one cannot stand in the way of others.
    init?(
        _ elements: [SchemaElement], isUsable: (RecordBody.Element.Kind, String) throws(StoreError) -> Bool
    ) throws(StoreError) {
        var creates: [SchemaElement] = []
        for element in elements.sorted(by: { $0.stamp < $1.stamp }) where element.kind == .table {
            // Under its own name, whatever a peer says.
            guard
                SQLText.tokens(Array(element.sql.utf8)).dropFirst(2).first.map({ $0.text.lowercased() })
                    == element.name.lowercased(), try isUsable(.table, element.sql)
            else { continue }
            creates.append(element)
        }
        guard let first = creates.first else { return nil }
        create = first.sql
        for column in SQLText.columns(ofCreate: first.sql) { since[column.name.lowercased()] = first.stamp }
        var additions = elements.filter { $0.kind == .column }
            .map { (stamp: $0.stamp, place: 0, name: $0.detail, definition: $0.sql) }
        for other in creates.dropFirst() where other.sql != first.sql {
            // Columns that only the later definition has are added; rows under another key stay held.
            for (place, column) in SQLText.columns(ofCreate: other.sql).enumerated()
            where !column.definition.uppercased().contains("PRIMARY KEY") {
                additions.append((other.stamp, place, column.name, column.definition))
            }
        }
        additions.sort { ($0.stamp, $0.place, $0.name) < ($1.stamp, $1.place, $1.name) }
        for addition in additions where since[addition.name.lowercased()] == nil {
            guard try isUsable(.column, addition.definition) else { continue }
            since[addition.name.lowercased()] = addition.stamp
            added.append(addition.definition)
        }
    }
    private init(create: String) { self.create = create }
    static let trial = TableTarget(create: "")

    /// The same, with more columns at the end.
    func extends(_ other: TableTarget) -> Bool { create == other.create && added.starts(with: other.added) }
    func isSame(as other: TableTarget) -> Bool { create == other.create && added == other.added }
}

/// A replicated table as it is in the file now.
final class TableModel {
    struct Column: Equatable {
        let name: String
        let type: String
        let kind: ColumnKind
        let isNotNull: Bool
        /// Of a constant default; null without one.
        let standard: SQLValue
        let keyPlace: Int
        /// What a row has here that nobody gave a value.
        var unwritten: SQLValue { standard == .null && isNotNull ? kind.zero : standard }
    }
    let id: Int64
    let name: String
    let columns: [Column]
    let target: TableTarget
    /// Columns of the key, in its order; then the others.
    let key: [Int]
    let others: [Int]
    let counters: [Int]
    /// What stands in records: the key first.
    let section: [RecordBody.Column]
    /// From a column's number to its place in records.
    let places: [Int]

    var insert: Statement?
    var replace: Statement?
    var delete: Statement?
    var select: Statement?

    init(id: Int64, name: String, columns: [Column], target: TableTarget) {
        self.id = id
        self.name = name
        self.columns = columns
        self.target = target
        let key = columns.indices.filter { columns[$0].keyPlace > 0 }
            .sorted { columns[$0].keyPlace < columns[$1].keyPlace }
        let others = columns.indices.filter { columns[$0].keyPlace == 0 }
        self.key = key
        self.others = others
        counters = others.filter { columns[$0].kind == .counter }
        section = (key + others).map { RecordBody.Column(name: columns[$0].name, kind: columns[$0].kind) }
        var places = [Int](repeating: 0, count: columns.count)
        for (place, column) in (key + others).enumerated() { places[column] = place }
        self.places = places
    }

    func column(named lower: String) -> Int? { columns.firstIndex { $0.name.lowercased() == lower } }

    var quotedName: String { SQLText.quoted(name) }
    private var whereKey: String {
        key.map { "\(SQLText.quoted(columns[$0].name)) = ?" }.joined(separator: " AND ")
    }
    private var columnList: String { columns.map { SQLText.quoted($0.name) }.joined(separator: ", ") }
    private var marks: String { columns.map { _ in "?" }.joined(separator: ", ") }
    var insertText: String { "INSERT INTO main.\(quotedName) (\(columnList)) VALUES (\(marks))" }
    var replaceText: String { "INSERT OR REPLACE INTO main.\(quotedName) (\(columnList)) VALUES (\(marks))" }
    var deleteText: String { "DELETE FROM main.\(quotedName) WHERE \(whereKey)" }
    var selectText: String { "SELECT \(columnList) FROM main.\(quotedName) WHERE \(whereKey)" }

    func forgetStatements() {
        insert = nil
        replace = nil
        delete = nil
        select = nil
    }
}
