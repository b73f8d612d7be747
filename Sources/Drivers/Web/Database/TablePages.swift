import BrambleAPI
import FoundationEssentials

/// Rows of a table, page by page in the order of its key: any page costs the same, and rows that come or go meanwhile
/// shift nothing.
struct TablePages: Sendable {
    static let mostRows = 500
    static let usualRows = 50

    let table: TableInfo
    let limit: Int
    private let after: [SQLValue]?

    private var key: [TableInfo.Column] { table.columns.filter { $0.key > 0 }.sorted { $0.key < $1.key } }

    init(of table: TableInfo, limit: String?, after: String?) throws(APIError) {
        var table = table
        // Facts may be secrets, such as passwords' hashes: SQL does not show them either.
        if table.name == "bramble_facts" { table.columns.removeAll { $0.name == "value" } }
        self.table = table
        if let limit {
            guard let number = Int(limit), (1...Self.mostRows).contains(number) else {
                throw APIError(
                    problem: "“limit” must be from 1 to \(Self.mostRows), not “\(limit.prefix(40))”",
                    remedy: "give a whole number; further rows are behind “next”", kind: .invalid)
            }
            self.limit = number
        } else {
            self.limit = Self.usualRows
        }
        guard let after else {
            self.after = nil
            return
        }
        let count = table.columns.count { $0.key > 0 }
        guard let values = Self.decoded(after), values.count == count, count > 0 else {
            throw APIError(
                problem: "“after” is no place in the table “\(table.name)”",
                remedy: "take it from “next” of the page before", kind: .invalid)
        }
        self.after = values
    }

    /// One row more than shown tells whether there is a next page.
    var request: SQLRequest {
        let names = table.columns.map { Self.quoted($0.name) }.joined(separator: ", ")
        let keys = key.map { Self.quoted($0.name) }.joined(separator: ", ")
        var text = "SELECT \(names) FROM \(Self.quoted(table.name))"
        if after != nil { text += " WHERE (\(keys)) > (\(key.map { _ in "?" }.joined(separator: ", ")))" }
        if !key.isEmpty { text += " ORDER BY \(keys)" }
        text += " LIMIT \(limit + 1)"
        return SQLRequest([SQLStatement(text, after ?? [])], isReadOnly: true, rowLimit: limit + 1)
    }

    func page(_ result: SQLResult) -> TablePage {
        let rows = Array(result.rows.prefix(limit))
        let places = key.compactMap { column in table.columns.firstIndex { $0.name == column.name } }
        // An answer cut short for its size has a next page, too.
        let isMore = (result.rows.count > limit || result.truncated) && !places.isEmpty
        let next = isMore ? rows.last.map { row in Self.encoded(places.map { row[$0] }) } : nil
        return TablePage(table: table, rows: rows, next: next)
    }

    /// A name as SQL takes it, whatever is in it.
    static func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }

    /// Letters that need no escape in an address: base 64 of RFC 4648 §5.
    static func encoded(_ key: [SQLValue]) -> String {
        var writer = JSONWriter(forJavaScript: true)
        writer.list(key) { $0.value($1) }
        return Data(writer.bytes).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
            .replacing("=", with: "")
    }
    static func decoded(_ text: String) -> [SQLValue]? {
        guard text.utf8.count <= 8192 else { return nil }
        var padded = text.replacing("-", with: "+").replacing("_", with: "/")
        while padded.utf8.count % 4 != 0 { padded += "=" }
        guard let data = Data(base64Encoded: padded), let value = try? JSONReader.read([UInt8](data)),
            case .array(let items) = value
        else { return nil }
        let values = items.compactMap { SQLValue($0) }
        return values.count == items.count ? values : nil
    }
}
