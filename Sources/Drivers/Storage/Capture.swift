import CSQLite
import Primitives
import Reactor
import Replication
import Wire

/// What SQLite calls back while a statement is prepared and runs: who may do what, what rows change, whether it takes too long.
///
/// One for each connection, used by its thread.
final class Capture {
    /// Whose statement is being prepared or run.
    enum Author { case own, reader, writer }
    /// One row and what a transaction did to it, from its first change to its last.
    struct Entry {
        let table: TableModel
        let identity: [UInt8]
        let key: [SQLValue]
        /// Before the transaction; nil when it was not there.
        let old: [SQLValue]?
        /// Now; nil when it is gone.
        var new: [SQLValue]?
    }
    private struct Identity: Hashable {
        let table: Int64
        let key: [UInt8]
    }

    var author = Author.own
    var isCapturing = false
    /// By the name in the schema.
    var tables: [String: TableModel] = [:]
    private(set) var entries: [Entry] = []
    private var places: [Identity: Int] = [:]
    private var size = 0
    /// Set inside a callback, which cannot throw: the reason why SQLite stops.
    var problem: StoreError?
    /// When people's statements are to end; nil while our own run.
    var deadline: Instant?

    /// 64 MiB of rows cannot become a record of 1 MiB, whatever of them changed, or nearly never.
    private static let maximumSize = 64 << 20

    func begin(_ author: Author, time: Duration?) {
        self.author = author
        entries.removeAll(keepingCapacity: true)
        places.removeAll(keepingCapacity: true)
        size = 0
        problem = nil
        deadline = time.map { SystemClock.now + $0 }
        isCapturing = author == .writer
    }
    func end() {
        author = .own
        isCapturing = false
        deadline = nil
        if entries.count > 1_000 {
            entries = []
            places = [:]
        }
    }

    func attach(to database: OpaquePointer) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        sqlite3_set_authorizer(database, authorize, context)
        sqlite3_preupdate_hook(database, beforeChange, context)
        // Some 50 µs of work between two looks at the clock.
        sqlite3_progress_handler(database, 2_000, goOn, context)
    }

    fileprivate func rowChanges(_ database: OpaquePointer, _ operation: Int32, _ name: UnsafePointer<CChar>) {
        guard isCapturing, problem == nil, let table = tables[String(cString: name)] else { return }
        let count = table.columns.count
        guard Int(sqlite3_preupdate_count(database)) == count else { return }
        func row(_ read: (OpaquePointer?, Int32, UnsafeMutablePointer<OpaquePointer?>?) -> Int32) -> [SQLValue] {
            (0..<count).map { column in
                var value: OpaquePointer?
                guard read(database, Int32(column), &value) == SQLITE_OK else { return .null }
                return SQLValue(value)
            }
        }
        let old = operation == SQLITE_INSERT ? nil : row(sqlite3_preupdate_old)
        let new = operation == SQLITE_DELETE ? nil : row(sqlite3_preupdate_new)
        if let old, let new, keyIdentity(table, old) == keyIdentity(table, new) {
            note(table, old: old, new: new)
        } else {
            // A row whose key changes is another row.
            if let old { note(table, old: old, new: nil) }
            if let new { note(table, old: nil, new: new) }
        }
    }

    private func note(_ table: TableModel, old: [SQLValue]?, new: [SQLValue]?) {
        guard let row = new ?? old else { return }
        let identity = keyIdentity(table, row)
        size += row.reduce(64) { $0 + $1.size }
        if size > Self.maximumSize {
            problem = .oversized
            return
        }
        let place = Identity(table: table.id, key: identity)
        if let known = places[place] {
            entries[known].new = new
        } else {
            places[place] = entries.count
            entries.append(
                Entry(table: table, identity: identity, key: table.key.map { row[$0] }, old: old, new: new))
        }
    }
}

/// One form for keys that SQLite holds equal: 1 and 1.0.
func keyIdentity(_ key: [SQLValue]) -> [UInt8] {
    var writer = ByteWriter(reserving: 16)
    for value in key {
        if case .real(let number) = value, let whole = Int64(exactly: number) {
            writer.value(.integer(whole))
        } else {
            writer.value(value)
        }
    }
    return writer.bytes
}
private func keyIdentity(_ table: TableModel, _ row: [SQLValue]) -> [UInt8] {
    table.key.count == 1 ? keyIdentity([row[table.key[0]]]) : keyIdentity(table.key.map { row[$0] })
}

extension StoreError {
    static let oversized = StoreError(
        .statement, "the transaction changes more than 1 MiB, the most that is replicated at once",
        remedy: "do it in parts, for example a thousand rows each")
}

// MARK: Callbacks

private func capture(_ context: UnsafeMutableRawPointer?) -> Capture? {
    context.map { Unmanaged<Capture>.fromOpaque($0).takeUnretainedValue() }
}

private func beforeChange(
    _ context: UnsafeMutableRawPointer?, _ database: OpaquePointer?, _ operation: Int32,
    _ schema: UnsafePointer<CChar>?, _ table: UnsafePointer<CChar>?, _: sqlite3_int64, _: sqlite3_int64
) {
    guard let capture = capture(context), capture.isCapturing, let database, let table else { return }
    capture.rowChanges(database, operation, table)
}

private func goOn(_ context: UnsafeMutableRawPointer?) -> Int32 {
    guard let capture = capture(context) else { return 0 }
    if capture.problem != nil { return 1 }
    guard let deadline = capture.deadline, SystemClock.now > deadline else { return 0 }
    capture.problem = StoreError(
        .statement, "the call took too long and was stopped", remedy: "add an index or a LIMIT, or do it in parts")
    return 1
}

/// Reading these says something about the schema and costs nothing.
private let harmlessPragmas: Set<String> = [
    "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "compile_options",
    "function_list", "collation_list", "foreign_key_list",
]

/// Columns that hold facts, or records and changes with facts in them: our own code reads them, people's SQL does not.
private let secrets = [
    "bramble_facts": "value", "bramble_log": "body", "bramble_held": "change", "sqlite_dbpage": "data",
]

private func authorize(
    _ context: UnsafeMutableRawPointer?, _ action: Int32, _ first: UnsafePointer<CChar>?,
    _ second: UnsafePointer<CChar>?, _ schema: UnsafePointer<CChar>?, _ inner: UnsafePointer<CChar>?
) -> Int32 {
    guard let capture = capture(context), capture.author != .own else { return SQLITE_OK }
    let name = first.map { String(cString: $0) } ?? ""
    func deny(_ problem: String, _ remedy: String) -> Int32 {
        if capture.problem == nil { capture.problem = StoreError(.statement, problem, remedy: remedy) }
        return SQLITE_DENY
    }
    switch action {
    case SQLITE_READ:
        let column = second.map { String(cString: $0).lowercased() } ?? ""
        guard secrets[name.lowercased()] == column else { return SQLITE_OK }
        return deny(
            "\(name).\(column) is not shown: facts may be secrets, such as passwords' hashes",
            "name the other columns; what was applied is printed by: bramble export")
    case SQLITE_SELECT, SQLITE_RECURSIVE: return SQLITE_OK
    case SQLITE_FUNCTION:
        let function = second.map { String(cString: $0).lowercased() } ?? ""
        guard ["load_extension", "fts3_tokenizer"].contains(function) else { return SQLITE_OK }
        return deny("\(function)() is not allowed: it loads code into the daemon", "do it outside of the database")
    case SQLITE_PRAGMA:
        guard harmlessPragmas.contains(name.lowercased()) else {
            return deny(
                "PRAGMA \(name) is not allowed: the file is Bramble's to set up",
                "PRAGMA table_info(NAME) and index_list(NAME) may be read")
        }
        return SQLITE_OK
    case SQLITE_ATTACH, SQLITE_DETACH:
        return deny(
            "ATTACH and DETACH are not allowed: other files are not replicated",
            "copy what you need into a table, with several INSERTs in one call")
    case SQLITE_TRANSACTION, SQLITE_SAVEPOINT:
        return deny(
            "transactions are not opened or closed by statements",
            "send all statements of one transaction in one call: they succeed or fail together")
    default: break
    }
    guard capture.author == .writer else {
        return deny(
            "this call may only read, and the statement writes", "send it as a write: bramble sql, or POST /v1/sql")
    }
    switch action {
    case SQLITE_INSERT, SQLITE_UPDATE, SQLITE_DELETE:
        guard !name.lowercased().hasPrefix("bramble_") else {
            return deny(
                "\(name) is Bramble's own table: it is read, never written, by SQL",
                "use the command for what you want to change: bramble help")
        }
        return SQLITE_OK
    case SQLITE_CREATE_TABLE, SQLITE_CREATE_INDEX, SQLITE_CREATE_VIEW, SQLITE_ALTER_TABLE, SQLITE_REINDEX:
        return SQLITE_OK
    case SQLITE_ANALYZE:
        return deny("ANALYZE is not allowed: its figures would differ from node to node", "leave it out")
    default:
        return deny(
            "this kind of statement is not replicated", "use tables, indexes, views, and statements on their rows")
    }
}
