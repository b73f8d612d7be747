import FoundationEssentials

/// Writes JSON byte by byte. For answers of the database, which may be megabytes: Foundation's encoder, made for any type,
/// does some 16 MB/s, this one some hundred.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []
    /// Integers that JavaScript would round are written as `{"integer":"DIGITS"}`.
    private let keepsIntegersExact: Bool

    /// - Parameter forJavaScript: integers beyond 2⁵³ − 1 are written as objects.
    package init(forJavaScript: Bool = false, capacity: Int = 256) {
        keepsIntegersExact = forJavaScript
        bytes.reserveCapacity(capacity)
    }

    /// Written as it is: punctuation, and names that need no escapes.
    package mutating func raw(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
    /// JSON that was written elsewhere.
    package mutating func text(_ json: [UInt8]) { bytes.append(contentsOf: json) }
    package mutating func integer(_ value: some BinaryInteger) { digits(Int64(clamping: value)) }
    package mutating func bool(_ value: Bool) { if value { raw("true") } else { raw("false") } }

    private mutating func digits(_ value: Int64) {
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        let start = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    package mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            var plain = 0
            for index in utf8.indices {
                let byte = utf8[index]
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
                bytes.append(contentsOf: utf8[plain..<index])
                plain = index + 1
                escape(byte)
            }
            bytes.append(contentsOf: utf8[plain...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func escape(_ byte: UInt8) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        default:
            raw("u00")
            bytes.append(UInt8(ascii: "0") + byte >> 4)
            let low = byte & 15
            bytes.append(low < 10 ? UInt8(ascii: "0") + low : UInt8(ascii: "a") + low - 10)
        }
    }

    package mutating func value(_ value: SQLValue) {
        switch value {
        case .null: raw("null")
        case .integer(let number) where keepsIntegersExact && number.magnitude > 1 << 53 - 1:
            raw(#"{"integer":""#)
            digits(number)
            raw(#""}"#)
        case .integer(let number): digits(number)
        // Swift writes the shortest digits that read back the same, and “.0” for whole ones: a real stays a real.
        case .real(let number) where number.isFinite: bytes.append(contentsOf: number.description.utf8)
        case .real(let number): if number < 0 { raw(#"{"real":"-Infinity"}"#) } else { raw(#"{"real":"Infinity"}"#) }
        case .text(let text): string(text)
        case .blob(let blob):
            raw(#"{"blob":""#)
            bytes.append(contentsOf: Data(blob).base64EncodedData())
            raw(#""}"#)
        }
    }

    package mutating func list<Items: Sequence>(_ items: Items, _ write: (inout JSONWriter, Items.Element) -> Void) {
        bytes.append(UInt8(ascii: "["))
        var isFirst = true
        for item in items {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            write(&self, item)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    /// In the order of the names.
    package mutating func object(_ members: [String: SQLValue]) {
        bytes.append(UInt8(ascii: "{"))
        var isFirst = true
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            string(name)
            bytes.append(UInt8(ascii: ":"))
            self.value(value)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    package mutating func rows(_ rows: [[SQLValue]]) {
        list(rows) { writer, row in writer.list(row) { $0.value($1) } }
    }

    // MARK: Questions and answers

    package mutating func statement(_ statement: SQLStatement) {
        raw(#"{"statement":"#)
        string(statement.statement)
        raw(#","params":"#)
        list(statement.params ?? []) { $0.value($1) }
    }

    /// Always as a transaction.
    package mutating func request(_ request: SQLRequest) {
        raw(#"{"transaction":"#)
        list(request.statements) { writer, statement in
            writer.statement(statement)
            writer.raw("}")
        }
        raw(#","durability":"#)
        string(request.durability.rawValue)
        raw(#","readOnly":"#)
        bool(request.isReadOnly)
        raw(#","limit":"#)
        integer(request.rowLimit)
        raw("}")
    }

    package mutating func result(_ result: SQLResult) {
        raw("{")
        fields(result)
        raw("}")
    }
    private mutating func fields(_ result: SQLResult) {
        raw(#""columns":"#)
        list(result.columns) { $0.string($1) }
        raw(#","rows":"#)
        rows(result.rows)
        raw(#","changed":"#)
        integer(result.changed)
        raw(#","truncated":"#)
        bool(result.truncated)
    }

    /// - Parameter asList: a transaction was asked for, so `results` is a list, however many statements it had.
    package mutating func answer(_ answer: SQLAnswer, asList: Bool) {
        raw("{")
        if asList {
            raw(#""results":"#)
            list(answer.results) { $0.result($1) }
            raw(#","changed":"#)
            integer(answer.results.reduce(0) { $0 + $1.changed })
        } else {
            fields(answer.results.first ?? SQLResult())
        }
        raw(#","durability":"#)
        if let durability = answer.durability { string(durability.rawValue) } else { raw("null") }
        raw(#","note":"#)
        string(answer.note)
        raw(#","token":"#)
        string(answer.token)
        raw("}")
    }

    package mutating func conflict(_ conflict: Conflict) {
        raw(#"{"id":"#)
        string(conflict.id)
        raw(#","at":"#)
        string(conflict.at)
        raw(#","table":"#)
        string(conflict.table)
        raw(#","key":"#)
        object(conflict.key)
        raw(#","column":"#)
        if let column = conflict.column { string(column) } else { raw("null") }
        raw(#","kept":"#)
        side(conflict.kept)
        raw(#","lost":"#)
        side(conflict.lost)
        raw("}")
    }

    private mutating func side(_ side: Conflict.Side) {
        raw(#"{"value":"#)
        value(side.value)
        raw(#","action":"#)
        string(side.action)
        raw(#","node":"#)
        string(side.node)
        raw(#","at":"#)
        string(side.at)
        raw("}")
    }

    package mutating func change(_ change: RowChange) {
        raw(#"{"token":"#)
        string(change.token)
        raw(#","table":"#)
        string(change.table)
        raw(#","key":"#)
        object(change.key)
        raw(#","op":"#)
        string(change.op.rawValue)
        raw(#","row":"#)
        if let row = change.row { object(row) } else { raw("null") }
        raw("}")
    }
}
