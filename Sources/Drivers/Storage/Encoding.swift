import Replication
import Wire

// How values, stamps and row states are written, in records, in held changes and beside rows.

extension ByteWriter {
    mutating func value(_ value: SQLValue) {
        switch value {
        case .null: integer(UInt8(0))
        case .integer(let number):
            integer(UInt8(1))
            signed(number)
        case .real(let number):
            integer(UInt8(2))
            integer(number.bitPattern)
        case .text(let text):
            integer(UInt8(3))
            bytes(Array(text.utf8))
        case .blob(let content):
            integer(UInt8(4))
            bytes(content)
        }
    }
    /// Small numbers are short, whatever their sign.
    mutating func signed(_ number: Int64) {
        compact(UInt64(bitPattern: number << 1 ^ number >> 63))
    }
    mutating func bytes(_ content: [UInt8]) {
        compact(UInt64(content.count))
        raw(content)
    }
    mutating func name(_ text: String) { bytes(Array(text.utf8)) }
    mutating func stamp(_ stamp: Stamp) {
        integer(stamp.time.rawValue)
        integer(stamp.origin.rawValue)
    }
}

extension ByteReader {
    mutating func value() throws(Failure) -> SQLValue {
        switch try integer(UInt8.self) {
        case 0: return .null
        case 1: return .integer(try signed())
        case 2:
            let number = Double(bitPattern: try integer())
            // SQLite keeps no NaN: it would come back as null.
            guard !number.isNaN else { throw .malformed }
            return .real(number)
        case 3: return .text(try name(limit: LogRecord.maximumBody))
        case 4: return .blob(Array(try bytes()))
        default: throw .malformed
        }
    }
    mutating func signed() throws(Failure) -> Int64 {
        let word = try compact()
        return Int64(bitPattern: word >> 1) ^ -Int64(bitPattern: word & 1)
    }
    mutating func bytes() throws(Failure) -> ArraySlice<UInt8> { try take(try compactCount()) }
    /// UTF-8, unlike `text` with control characters.
    mutating func name(limit: Int) throws(Failure) -> String {
        let raw = try bytes()
        guard raw.count <= limit, let text = String(validating: raw, as: UTF8.self) else { throw .malformed }
        return text
    }
    mutating func stamp() throws(Failure) -> Stamp {
        let time = HybridTime(rawValue: try integer())
        return Stamp(time, Origin(rawValue: try integer()))
    }
}

/// The blob beside each row. Of a row that is there it has stamps only: the values are in the table.
enum RowMetadata {
    private static let insertBit: UInt8 = 1
    private static let deleteBit: UInt8 = 2
    private static let cellsBit: UInt8 = 4
    private static let sharesBit: UInt8 = 8

    static func encode(_ state: RowState) -> [UInt8] {
        var writer = ByteWriter(reserving: 24)
        let isAlive = state.isAlive
        let cells = isAlive ? state.cells.filter { $0.stamp != state.insert } : state.cells
        var flags: UInt8 = 0
        if state.insert != .zero { flags |= insertBit }
        if state.delete != .zero { flags |= deleteBit }
        if !cells.isEmpty { flags |= cellsBit }
        if !state.shares.isEmpty { flags |= sharesBit }
        writer.integer(flags)
        if state.insert != .zero { writer.stamp(state.insert) }
        if state.delete != .zero { writer.stamp(state.delete) }
        if !cells.isEmpty {
            writer.compact(UInt64(cells.count))
            for cell in cells {
                writer.compact(UInt64(cell.column))
                writer.stamp(cell.stamp)
                if !isAlive { writer.value(cell.value) }
            }
        }
        if !state.shares.isEmpty {
            writer.compact(UInt64(state.shares.count))
            for share in state.shares {
                writer.compact(UInt64(share.column))
                writer.stamp(share.stamp)
                writer.signed(share.sum)
            }
        }
        return writer.bytes
    }

    /// Without the values of a row that is there: those of the table have to be filled in where somebody needs them.
    static func decode(_ bytes: [UInt8]) throws(ByteReader.Failure) -> RowState {
        var reader = ByteReader(bytes)
        var state = RowState()
        let flags: UInt8 = try reader.integer()
        if flags & insertBit != 0 { state.insert = try reader.stamp() }
        if flags & deleteBit != 0 { state.delete = try reader.stamp() }
        let isAlive = state.isAlive
        if flags & cellsBit != 0 {
            for _ in 0..<(try reader.compactCount()) {
                let column = try reader.column()
                let stamp = try reader.stamp()
                let value = isAlive ? SQLValue.null : try reader.value()
                state.cells.append(RowState.Cell(column: column, stamp: stamp, value: value))
            }
        }
        if flags & sharesBit != 0 {
            for _ in 0..<(try reader.compactCount()) {
                let column = try reader.column()
                let stamp = try reader.stamp()
                state.shares.append(RowState.Share(column: column, stamp: stamp, sum: try reader.signed()))
            }
        }
        try reader.finish()
        return state
    }
}

extension ByteReader {
    fileprivate mutating func column() throws(Failure) -> Int {
        let number = try compact()
        guard number < 2_000 else { throw .malformed }
        return Int(number)
    }
}

/// What a value of a column may be, in one byte: values written under another kind of the same column wait, so that two
/// concurrent definitions give the same rows everywhere.
enum ColumnKind: UInt8, Sendable {
    case any = 0
    case integer = 1
    case text = 2
    case blob = 3
    case real = 4
    case numeric = 5
    case counter = 6
    case strictInteger = 17
    case strictText = 18
    case strictBlob = 19
    case strictReal = 20
    case strictAny = 16

    /// SQLite's rules of affinity (datatype3.html, §3.1).
    init(declared: String, isStrict: Bool) {
        let type = declared.uppercased()
        if isStrict {
            switch type {
            case "INT", "INTEGER": self = .strictInteger
            case "TEXT": self = .strictText
            case "BLOB": self = .strictBlob
            case "REAL": self = .strictReal
            default: self = .strictAny
            }
        } else if type == "COUNTER" {
            self = .counter
        } else if type.contains("INT") {
            self = .integer
        } else if type.contains("CHAR") || type.contains("CLOB") || type.contains("TEXT") {
            self = .text
        } else if type.contains("BLOB") || type.isEmpty {
            self = .blob
        } else if type.contains("REAL") || type.contains("FLOA") || type.contains("DOUB") {
            self = .real
        } else {
            self = .numeric
        }
    }

    /// For a column that must not be null where nobody gave a value.
    var zero: SQLValue {
        switch self {
        case .integer, .numeric, .counter, .strictInteger, .strictAny, .any: .integer(0)
        case .text, .strictText: .text("")
        case .blob, .strictBlob: .blob([])
        case .real, .strictReal: .real(0)
        }
    }
}

/// The body of a record. `docs/protocol/database.md` has the format.
struct RecordBody: Equatable, Sendable {
    static let version: UInt8 = 1

    struct Element: Equatable, Sendable {
        enum Kind: UInt8, Sendable { case table = 1, column = 2, index = 3, view = 4 }
        let kind: Kind
        /// The table, index or view.
        let name: String
        /// Of a column: the column; of an index: its table.
        let detail: String
        /// The whole statement; of a column its definition.
        let sql: String
    }
    struct Column: Equatable, Sendable {
        let name: String
        let kind: ColumnKind
    }
    struct Row: Equatable, Sendable {
        var kind: RowChange.Kind
        let key: [SQLValue]
        /// By place among the section's columns, which are counted from the first of the key. A counter's is the writer's sum.
        let values: [RowChange.Cell]
    }
    /// Rows of one table.
    struct Section: Equatable, Sendable {
        let table: String
        /// The key first.
        let columns: [Column]
        let keyCount: Int
        var rows: [Row]
    }

    var context: [(origin: Origin, time: HybridTime)] = []
    var elements: [Element] = []
    var sections: [Section] = []

    static func == (left: RecordBody, right: RecordBody) -> Bool {
        left.context.elementsEqual(right.context, by: ==) && left.elements == right.elements
            && left.sections == right.sections
    }

    func encoded(version: UInt8 = Self.version) -> [UInt8] {
        var writer = ByteWriter(reserving: 512)
        writer.integer(version)
        writer.compact(UInt64(context.count))
        for (origin, time) in context {
            writer.integer(origin.rawValue)
            writer.integer(time.rawValue)
        }
        writer.compact(UInt64(elements.count))
        for element in elements {
            writer.integer(element.kind.rawValue)
            writer.name(element.name)
            writer.name(element.detail)
            writer.name(element.sql)
        }
        writer.compact(UInt64(sections.count))
        for section in sections { section.write(to: &writer) }
        return writer.bytes
    }

    init() {}
    /// - Parameter version: the highest that is understood.
    init(_ bytes: [UInt8], version: UInt8 = Self.version) throws(ByteReader.Failure) {
        guard bytes.count <= LogRecord.maximumBody else { throw .tooLong }
        var reader = ByteReader(bytes)
        guard (Self.version...max(Self.version, version)).contains(try reader.integer(UInt8.self)) else {
            throw .malformed
        }
        for _ in 0..<(try reader.compactCount()) {
            let origin = Origin(rawValue: try reader.integer())
            context.append((origin, HybridTime(rawValue: try reader.integer())))
        }
        for _ in 0..<(try reader.compactCount()) {
            guard let kind = Element.Kind(rawValue: try reader.integer()) else { throw .malformed }
            let name = try reader.name(limit: 1_000)
            let detail = try reader.name(limit: 1_000)
            elements.append(
                Element(kind: kind, name: name, detail: detail, sql: try reader.name(limit: LogRecord.maximumBody)))
        }
        for _ in 0..<(try reader.compactCount()) { sections.append(try Section(from: &reader)) }
        try reader.finish()
    }
}

extension RecordBody.Section {
    func write(to writer: inout ByteWriter) {
        writer.name(table)
        writer.compact(UInt64(columns.count))
        for column in columns {
            writer.name(column.name)
            writer.integer(column.kind.rawValue)
        }
        writer.compact(UInt64(keyCount))
        writer.compact(UInt64(rows.count))
        for row in rows {
            writer.integer(row.kind.rawValue)
            for value in row.key { writer.value(value) }
            guard row.kind != .delete else { continue }
            writer.compact(UInt64(row.values.count))
            for cell in row.values {
                writer.compact(UInt64(cell.column))
                writer.value(cell.value)
            }
        }
    }

    init(from reader: inout ByteReader) throws(ByteReader.Failure) {
        let table = try reader.name(limit: 1_000)
        var columns: [RecordBody.Column] = []
        for _ in 0..<(try reader.compactCount()) {
            let name = try reader.name(limit: 1_000)
            guard let kind = ColumnKind(rawValue: try reader.integer()) else { throw .malformed }
            columns.append(RecordBody.Column(name: name, kind: kind))
        }
        let keyCount = Int(truncatingIfNeeded: try reader.compact())
        guard keyCount >= 1, keyCount <= columns.count, columns.count <= 2_000 else { throw .malformed }
        guard Set(columns.map { $0.name.lowercased() }).count == columns.count else { throw .malformed }
        var rows: [RecordBody.Row] = []
        for _ in 0..<(try reader.compactCount()) {
            guard let kind = RowChange.Kind(rawValue: try reader.integer()) else { throw .malformed }
            var key: [SQLValue] = []
            for _ in 0..<keyCount {
                let value = try reader.value()
                guard value != .null else { throw .malformed }
                key.append(value)
            }
            var values: [RowChange.Cell] = []
            if kind != .delete {
                var last = keyCount - 1
                for _ in 0..<(try reader.compactCount()) {
                    let column = Int(truncatingIfNeeded: try reader.compact())
                    // In order, each once.
                    guard column > last, column < columns.count else { throw .malformed }
                    last = column
                    let value = try reader.value()
                    if columns[column].kind == .counter, case .integer = value {
                    } else if columns[column].kind == .counter {
                        throw .malformed
                    }
                    values.append(RowChange.Cell(column, value))
                }
            }
            rows.append(RecordBody.Row(kind: kind, key: key, values: values))
        }
        self.init(table: table, columns: columns, keyCount: keyCount, rows: rows)
    }
}

extension Store {
    /// All of a state, for comparing.
    static func bytes(of state: RowState) -> ByteWriter {
        var writer = ByteWriter(reserving: 64)
        writer.raw(RowMetadata.encode(state))
        return writer
    }
}
