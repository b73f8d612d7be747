package import BrambleAPI
import FoundationEssentials
import Glibc

/// The database of a cluster that exists in memory only. It knows no SQL but what the faces themselves ask: rows in the
/// order of a key. What tests say beyond that is answered by `onExecute`.
package struct FakeDatabase: Sendable {
    package struct Table: Sendable {
        package var info: TableInfo
        package var rows: [[SQLValue]]
        package init(_ name: String, columns: [TableInfo.Column], rows: [[SQLValue]], isSystem: Bool = false) {
            info = TableInfo(name: name, columns: columns, rows: rows.count, isSystem: isSystem)
            self.rows = rows
        }
    }
    package var tables: [Table] = []
    package var status = DatabaseStatus(
        state: .open, bytes: 65_536, epoch: "1", tables: 0, conflicts: 0, replicas: [])
    package var conflicts: [Conflict] = []
    /// Everything that was asked, in order.
    package var requests: [SQLRequest] = []
    /// Answers what the fake itself does not know.
    package var onExecute: (@Sendable (SQLRequest) throws(APIError) -> SQLAnswer)?
    /// Set to say no to everything.
    package var refusal: APIError?
    package var backup: [UInt8] = Array("SQLite format 3\0 a backup".utf8)
    /// What was handed to `restore`.
    package var restored: [[UInt8]] = []
    package var uploadLimit: Int64 = .max
    /// Paths given to uploads, to be looked at for leftovers.
    package var uploads: [String] = []
    package var watchers: [UInt64: (table: String, stream: AsyncStream<WatchMessage>.Continuation)] = [:]
    package var watchedSince: [String?] = []
    fileprivate var nextWatcher: UInt64 = 0
    package var token = 100

    package init() {}

    fileprivate mutating func answer(_ request: SQLRequest) throws(APIError) -> SQLAnswer {
        requests.append(request)
        if let refusal { throw refusal }
        if let onExecute { return try onExecute(request) }
        var results: [SQLResult] = []
        var hasWritten = false
        for statement in request.statements {
            let word = statement.statement.split(separator: " ").first?.lowercased() ?? ""
            if word == "select" {
                results.append(try select(statement, limit: request.rowLimit))
            } else if ["insert", "update", "delete", "create"].contains(word) {
                guard !request.isReadOnly else {
                    throw APIError(
                        problem: "this statement writes, and only reading was asked for",
                        remedy: "say that it may write", kind: .refused)
                }
                hasWritten = true
                results.append(SQLResult(changed: 1))
            } else {
                throw APIError(
                    problem: "near \"\(word)\": syntax error", remedy: "correct the statement", kind: .invalid)
            }
        }
        if hasWritten { token += 1 }
        return SQLAnswer(results: results, durability: hasWritten ? request.durability : nil, token: "t\(token)")
    }

    private func select(_ statement: SQLStatement, limit: Int) throws(APIError) -> SQLResult {
        guard let table = tables.first(where: { statement.statement.contains("\"\($0.info.name)\"") }) else {
            guard statement.statement.lowercased() == "select 1" else {
                throw APIError(problem: "no such table", remedy: "bramble database lists them", kind: .invalid)
            }
            return SQLResult(columns: ["1"], rows: [[.integer(1)]])
        }
        let keys = table.info.columns.indices.filter { table.info.columns[$0].key > 0 }
        var rows = table.rows
        let params = statement.params ?? []
        if params.count == keys.count, let first = params.first, let column = keys.first {
            rows.removeAll { !Self.isAbove($0[column], first) }
        }
        let names = table.info.columns.map(\.name)
        return SQLResult(columns: names, rows: Array(rows.prefix(limit)), truncated: rows.count > limit)
    }

    private static func isAbove(_ left: SQLValue, _ right: SQLValue) -> Bool {
        switch (left, right) {
        case (.integer(let left), .integer(let right)): left > right
        case (.text(let left), .text(let right)): left > right
        default: false
        }
    }
}

extension FakeCluster {
    /// A small shop and how its copies are, for pages and pictures.
    package func stock() {
        change { state in
            let names = state.nodes.map(\.name)
            var database = FakeDatabase()
            let articles: [[SQLValue]] = (1...120).map { number in
                [
                    .integer(Int64(number)), .text("Article \(number)"), .real(Double(number) * 1.25),
                    number % 7 == 0 ? .null : .text("shelf \(number % 9)"),
                ]
            }
            database.tables = [
                .init(
                    "articles",
                    columns: [
                        .init(name: "id", type: "INTEGER", key: 1, isRequired: true),
                        .init(name: "name", type: "TEXT", isRequired: true), .init(name: "price", type: "REAL"),
                        .init(name: "place", type: "TEXT"),
                    ], rows: articles),
                .init(
                    "visits",
                    columns: [
                        .init(name: "page", type: "TEXT", key: 1, isRequired: true),
                        .init(name: "count", type: "COUNTER", isCounter: true),
                        .init(name: "seal", type: "BLOB"),
                    ],
                    rows: [
                        [.text("/"), .integer(9_007_199_254_740_993), .blob([0xDE, 0xAD, 0xBE, 0xEF])],
                        [.text("/<script>alert(1)</script>"), .integer(3), .null],
                    ]),
            ]
            database.conflicts = [
                Conflict(
                    id: "1", at: "2026-03-01T10:00:00.000Z", table: "articles", key: ["id": .integer(7)],
                    column: "price",
                    kept: .init(value: .real(9.5), action: "set", node: "node1", at: "2026-03-01T09:59:58.120Z"),
                    lost: .init(value: .real(8.75), action: "set", node: "node2", at: "2026-03-01T09:59:57.040Z"))
            ]
            database.status = DatabaseStatus(
                state: .open, bytes: 1_331_200, epoch: "1", tables: 2, conflicts: 1,
                replicas: names.enumerated().map { index, name in
                    switch index {
                    case 0: ReplicaStatus(node: name, isSelf: true, state: .equal, lastSync: nil)
                    case 2:
                        ReplicaStatus(
                            node: name, isSelf: false, state: .snapshot, missing: 812, behindSeconds: 3.2,
                            lastSync: nil, snapshot: .init(direction: .sending, bytes: 480_000, totalBytes: 1_331_200))
                    default:
                        ReplicaStatus(
                            node: name, isSelf: false, state: .equal, lastSync: "2026-03-01T10:00:01.000Z")
                    }
                })
            state.database = database
        }
    }

    /// Tells everybody who watches this table.
    package func tell(_ message: WatchMessage, table: String) {
        let streams = change { $0.database.watchers.values.filter { $0.table == table }.map(\.stream) }
        for stream in streams { stream.yield(message) }
    }
    package func endWatches() {
        let streams = change { $0.database.watchers.values.map(\.stream) }
        for stream in streams { stream.finish() }
    }

    package func execute(_ request: SQLRequest) async throws(APIError) -> SQLAnswer {
        try change { state in Result { () throws(APIError) in try state.database.answer(request) } }.get()
    }
    package func watch(_ table: String, since token: String?) async throws(APIError) -> AsyncStream<WatchMessage> {
        let (stream, continuation) = AsyncStream<WatchMessage>.makeStream()
        let number: UInt64? = change { state in
            guard state.database.tables.contains(where: { $0.info.name == table }) else { return nil }
            state.database.nextWatcher += 1
            state.database.watchers[state.database.nextWatcher] = (table, continuation)
            state.database.watchedSince.append(token)
            return state.database.nextWatcher
        }
        guard let number else {
            throw APIError(
                problem: "there is no table “\(table)”", remedy: "bramble database lists the tables", kind: .notFound)
        }
        continuation.onTermination = { [weak self] _ in
            self?.change { state in state.database.watchers[number] = nil }
        }
        return stream
    }
    private func look<Value: Sendable>(_ body: @Sendable (inout State) -> Value) throws(APIError) -> Value {
        let result = change { state -> Result<Value, APIError> in
            if let refusal = state.database.refusal { return .failure(refusal) }
            return .success(body(&state))
        }
        return try result.get()
    }
    package func database() async throws(APIError) -> DatabaseStatus { try look { $0.database.status } }
    package func tables() async throws(APIError) -> [TableInfo] { try look { $0.database.tables.map(\.info) } }
    package func conflicts(limit: Int) async throws(APIError) -> [Conflict] {
        try look { Array($0.database.conflicts.prefix(limit)) }
    }
    package func releaseWrites(_ request: ReleaseRequest) async throws(APIError) -> DatabaseChange {
        let epoch = try look { $0.database.status.epoch }
        return DatabaseChange(epoch: epoch, done: "what \(request.of) wrote is taken as it is")
    }
    package func backup() async throws(APIError) -> BackupFile {
        let bytes = try look { $0.database.backup }
        let path = Self.temporaryFile()
        Self.write(bytes, to: path)
        return BackupFile(path: path, bytes: Int64(bytes.count))
    }
    package func placeForUpload(bytes: Int64) async throws(APIError) -> String {
        guard bytes <= change({ $0.database.uploadLimit }) else {
            throw APIError(
                problem: "\(bytes) bytes do not fit on this node's disk", remedy: "make room", kind: .refused)
        }
        let path = Self.temporaryFile()
        change { $0.database.uploads.append(path) }
        return path
    }
    package func restore(from path: String) async throws(APIError) -> DatabaseChange {
        let bytes = (try? Data(contentsOf: URL(filePath: path))).map { [UInt8]($0) } ?? []
        unlink(path)
        guard bytes.starts(with: Array("SQLite format 3\0".utf8)) else {
            throw APIError(
                problem: "that file is no backup of a Bramble database",
                remedy: "give a file that bramble backup wrote", kind: .invalid)
        }
        return change { state in
            state.database.restored.append(bytes)
            return DatabaseChange(epoch: "2", done: "the database is restored; every node takes it over")
        }
    }

    private static func temporaryFile() -> String {
        let number = UInt64.random(in: 0...UInt64.max)
        return FileManager.default.temporaryDirectory.path + "/bramble-fake-\(number)"
    }
    private static func write(_ bytes: [UInt8], to path: String) {
        try? Data(bytes).write(to: URL(filePath: path))
    }
}
