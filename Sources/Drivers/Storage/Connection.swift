import CSQLite
import Glibc
import Replication

/// One SQLite connection. It cannot be copied, so it cannot be closed twice.
struct Connection: ~Copyable {
    let handle: OpaquePointer

    init(opening path: String, flags: Int32) throws(StoreError) {
        _ = Self.isConfigured
        var raw: OpaquePointer?
        let code = sqlite3_open_v2(path, &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
        guard code == SQLITE_OK, let raw else {
            let error = StoreError(
                sqlite: code, message: raw.map { String(cString: sqlite3_errmsg($0)) } ?? "", position: nil)
            sqlite3_close_v2(raw)  // SQLite hands back a handle even when it fails, to carry the message
            throw error
        }
        handle = raw
    }
    deinit { sqlite3_close_v2(handle) }
    private static let isConfigured = csqlite_configure() == SQLITE_OK

    /// Statements of our own, without parameters and results.
    func run(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code) }
    }
    func prepare(_ sql: String) throws(StoreError) -> Statement {
        var raw: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &raw, nil)
        guard code == SQLITE_OK, let raw else { throw error(code) }
        return Statement(raw)
    }
    /// The last failure, as an operator reads it.
    func error(_ code: Int32, offset: Int = 0) -> StoreError {
        let place = sqlite3_error_offset(handle)
        return StoreError(
            sqlite: code == SQLITE_OK ? SQLITE_ERROR : code, message: String(cString: sqlite3_errmsg(handle)),
            position: place >= 0 ? offset + Int(place) : nil)
    }
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }
}

/// A prepared statement; the class keeps it in caches.
final class Statement {
    let handle: OpaquePointer
    init(_ handle: OpaquePointer) { self.handle = handle }
    deinit { sqlite3_finalize(handle) }

    func reset() {
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }
    func bind(_ place: Int, _ value: Int64) { sqlite3_bind_int64(handle, Int32(place), value) }
    func bind(_ place: Int, word: UInt64) { sqlite3_bind_int64(handle, Int32(place), Int64(bitPattern: word)) }
    func bind(_ place: Int, blob: [UInt8]) {
        if blob.isEmpty {
            sqlite3_bind_zeroblob(handle, Int32(place), 0)
        } else {
            _ = blob.withUnsafeBytes {
                csqlite_bind_blob(handle, Int32(place), $0.baseAddress, Int32($0.count))
            }
        }
    }
    func bind(_ place: Int, text: String) {
        var text = text
        _ = text.withUTF8 { utf8 in
            // An empty text has no address, and no address is a null.
            utf8.withMemoryRebound(to: CChar.self) {
                csqlite_bind_text(handle, Int32(place), $0.baseAddress ?? emptyText, Int32($0.count))
            }
        }
    }
    func bind(_ place: Int, _ value: SQLValue) {
        switch value {
        case .null: sqlite3_bind_null(handle, Int32(place))
        case .integer(let number): bind(place, number)
        case .real(let number): sqlite3_bind_double(handle, Int32(place), number)
        case .text(let text): bind(place, text: text)
        case .blob(let bytes): bind(place, blob: bytes)
        }
    }
    /// True for a row. The code is SQLite's.
    func step() -> Int32 { sqlite3_step(handle) }

    func integer(_ column: Int) -> Int64 { sqlite3_column_int64(handle, Int32(column)) }
    func word(_ column: Int) -> UInt64 { UInt64(bitPattern: integer(column)) }
    func blob(_ column: Int) -> [UInt8] {
        let start = sqlite3_column_blob(handle, Int32(column))
        let count = Int(sqlite3_column_bytes(handle, Int32(column)))
        guard let start, count > 0 else { return [] }
        return Array(UnsafeRawBufferPointer(start: start, count: count))
    }
    func text(_ column: Int) -> String {
        guard let start = sqlite3_column_text(handle, Int32(column)) else { return "" }
        let count = Int(sqlite3_column_bytes(handle, Int32(column)))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }
    func value(_ column: Int) -> SQLValue { SQLValue(sqlite3_column_value(handle, Int32(column))) }
    var columnNames: [String] {
        (0..<sqlite3_column_count(handle)).map { sqlite3_column_name(handle, $0).map { String(cString: $0) } ?? "" }
    }
}

/// An address that is not null, for texts without bytes.
nonisolated(unsafe) private let emptyText: UnsafePointer<CChar> = {
    let place = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
    place.initialize(to: 0)
    return UnsafePointer(place)
}()

extension SQLValue {
    init(_ value: OpaquePointer?) {
        guard let value else {
            self = .null
            return
        }
        switch sqlite3_value_type(value) {
        case SQLITE_INTEGER: self = .integer(sqlite3_value_int64(value))
        case SQLITE_FLOAT: self = .real(sqlite3_value_double(value))
        case SQLITE_TEXT:
            guard let start = sqlite3_value_text(value) else {
                self = .text("")
                return
            }
            let bytes = UnsafeBufferPointer(start: start, count: Int(sqlite3_value_bytes(value)))
            self = .text(String(decoding: bytes, as: UTF8.self))
        case SQLITE_BLOB:
            let start = sqlite3_value_blob(value)
            let count = Int(sqlite3_value_bytes(value))
            self = .blob(start.map { Array(UnsafeRawBufferPointer(start: $0, count: count)) } ?? [])
        default: self = .null
        }
    }
    /// About what it takes in an answer.
    var size: Int {
        switch self {
        case .null, .integer, .real: 8
        case .text(let text): text.utf8.count
        case .blob(let bytes): bytes.count
        }
    }
}

// SQLITE_CONSTRAINT_NOTNULL and _PRIMARYKEY: macros that Swift cannot read.
private let notNullFailure: Int32 = SQLITE_CONSTRAINT | 5 << 8
private let primaryKeyFailure: Int32 = SQLITE_CONSTRAINT | 6 << 8

extension StoreError {
    /// In the words of whoever wrote the statement.
    init(sqlite code: Int32, message: String, position: Int?) {
        switch code & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            self.init(
                .damaged, "the database file is damaged (\(message))",
                remedy: "ask again in a moment: the file is checked, set aside, and its content taken from another node"
            )
        case SQLITE_FULL:
            self.init(.disk, "the disk is full", remedy: "free some space: `df -h` shows what is full")
        case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM:
            self.init(
                .disk, "the database file cannot be written (\(message))",
                remedy: "look at `dmesg` and at the file's owner, then restart Bramble")
        case SQLITE_CONSTRAINT where code == notNullFailure:
            self.init(
                .constraint, message,
                remedy: "give the column a value, or declare a default; a number that is unique on all nodes: "
                    + "DEFAULT (bramble_id())", position: position)
        case SQLITE_CONSTRAINT where code == primaryKeyFailure:
            self.init(
                .constraint, message, remedy: "use another key, or INSERT ... ON CONFLICT DO UPDATE", position: position
            )
        case SQLITE_CONSTRAINT:
            self.init(.constraint, message, remedy: "give values that the table accepts", position: position)
        case SQLITE_TOOBIG:
            self.init(.statement, message, remedy: "keep values under 1 MiB", position: position)
        default: self.init(.statement, message, remedy: "correct the statement", position: position)
        }
    }
}
