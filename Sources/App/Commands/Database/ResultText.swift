import BrambleAPI

/// Rows for people: aligned columns, long values cut, numbers to the right.
struct ResultText {
    /// Columns of one value where nothing else limits it: a page of text would make every row as wide.
    static let widestValue = 60

    let terminal: Terminal

    func text(_ result: SQLResult) -> String {
        var text = ""
        if !result.columns.isEmpty {
            text += result.rows.isEmpty ? "No rows.\n" : table(result)
            if result.truncated {
                let count = Text.count(result.rows.count, "row is", "rows are")
                text += "There are more: \(count) shown. Ask for less at once, with LIMIT or WHERE.\n"
            }
        }
        if result.changed > 0 { text += Text.count(result.changed, "row", "rows") + " changed.\n" }
        return text
    }

    private func table(_ result: SQLResult) -> String {
        var table = Table(
            columns: result.columns.indices.map { index in
                let isNumeric = result.rows.allSatisfy { row in
                    switch row[index] {
                    case .integer, .real, .null: true
                    case .text, .blob: false
                    }
                }
                return .init(title: Text.oneLine(result.columns[index]), alignRight: isNumeric)
            })
        table.rows = result.rows.map { row in row.map { cell($0) } }
        return table.rendered(for: terminal)
    }

    private func cell(_ value: SQLValue) -> Table.Cell {
        switch value {
        case .null: .init("NULL", .faint)
        case .integer(let number): .init(String(number))
        case .real(let number): .init(number.description)
        case .text(let text): .init(Text.cut(shown(text), to: Self.widestValue))
        case .blob(let bytes): .init("\(Text.count(bytes.count, "byte", "bytes")): \(start(of: bytes))", .faint)
        }
    }
    /// A prefix that surely fills the column: no need to look at a megabyte.
    private func shown(_ text: String) -> String { Text.oneLine(String(text.prefix(4 * Self.widestValue))) }
    private func start(of bytes: [UInt8]) -> String {
        bytes.prefix(8).map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined() + (bytes.count > 8 ? "…" : "")
    }
}

extension Text {
    /// "1.3 MB": two digits that matter, thousands as disks count them.
    static func bytes(_ count: Int64) -> String {
        guard count >= 1000 else { return self.count(Int(count), "byte", "bytes") }
        var value = Double(count)
        var unit = -1
        while value >= 999.5, unit < 3 {
            value /= 1000
            unit += 1
        }
        return number(value, decimals: value < 9.95 ? 1 : 0) + " " + ["kB", "MB", "GB", "TB"][unit]
    }
}
