// What people and their scripts see of the replicated database.

/// One value in a row, as SQLite knows it.
///
/// In JSON: null, a number, a string; what JSON has no word for is an object with one field: `{"blob":"BASE64"}`,
/// `{"real":"Infinity"}` and, where a reader asked for it, `{"integer":"9007199254740993"}`. All of them are taken as
/// parameters, and so are true and false, which SQLite keeps as 1 and 0.
public enum SQLValue: Equatable, Hashable, Sendable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)
    case blob([UInt8])
}

/// How safe a write is before it is acknowledged.
public enum WriteDurability: String, Codable, CaseIterable, Sendable {
    /// Synced to the disk of the node that was asked.
    case local
    /// Also synced by one other member.
    case one
    /// Synced by more than half of the members, that node included.
    case majority
}

/// One SQL statement and the values of its question marks, in their order.
public struct SQLStatement: Codable, Equatable, Sendable {
    public var statement: String
    public var params: [SQLValue]?

    public init(_ statement: String, _ params: [SQLValue] = []) {
        self.statement = statement
        self.params = params
    }
}

/// Statements to be carried out in one transaction: all of them or none.
public struct SQLRequest: Equatable, Sendable {
    /// Longest statement, bytes. An SQL text of this size is a mistake; values belong into parameters.
    public static let longestStatement = 256 << 10
    /// Statements of one transaction, and parameters of one statement (SQLite's own limit is 32,766).
    public static let mostStatements = 1000
    public static let mostParameters = 1000
    /// Rows of all answers of one request that a node gives at most.
    public static let mostRows = 10_000

    public var statements: [SQLStatement]
    public var durability: WriteDurability
    /// A statement that would write is refused.
    public var isReadOnly: Bool
    /// Rows each statement gives at most; its result says when there were more.
    public var rowLimit: Int

    public init(
        _ statements: [SQLStatement], durability: WriteDurability = .one, isReadOnly: Bool = false,
        rowLimit: Int = SQLRequest.mostRows
    ) {
        self.statements = statements
        self.durability = durability
        self.isReadOnly = isReadOnly
        self.rowLimit = rowLimit
    }
}

/// What one statement gave.
public struct SQLResult: Codable, Equatable, Sendable {
    /// Empty for statements that give no rows.
    public var columns: [String]
    public var rows: [[SQLValue]]
    /// Rows that the statement inserted, updated or deleted.
    public var changed: Int
    /// There were more rows, or more bytes of them, than the request or the node allows.
    public var truncated: Bool

    public init(columns: [String] = [], rows: [[SQLValue]] = [], changed: Int = 0, truncated: Bool = false) {
        self.columns = columns
        self.rows = rows
        self.changed = changed
        self.truncated = truncated
    }
}

/// What a transaction gave.
public struct SQLAnswer: Equatable, Sendable {
    /// One for each statement.
    public var results: [SQLResult]
    /// What was really reached, which may be less than was asked; nil when nothing was written.
    public var durability: WriteDurability?
    /// One sentence when the writer should know something, such as that no other node could confirm; else empty.
    public var note: String
    /// Where this node's copy stands with this answer: a watch since this token misses nothing that came after it.
    public var token: String

    public init(results: [SQLResult], durability: WriteDurability?, note: String = "", token: String) {
        self.results = results
        self.durability = durability
        self.note = note
        self.token = token
    }
}

/// One row that came, changed or went.
public struct RowChange: Codable, Equatable, Sendable {
    public enum Operation: String, Codable, CaseIterable, Sendable { case put, delete }
    /// Go on from here after a break.
    public var token: String
    public var table: String
    /// The columns of the primary key.
    public var key: [String: SQLValue]
    public var op: Operation
    /// All columns as they are now; null for a row that is gone.
    public var row: [String: SQLValue]?

    public init(token: String, table: String, key: [String: SQLValue], op: Operation, row: [String: SQLValue]?) {
        self.token = token
        self.table = table
        self.key = key
        self.op = op
        self.row = row
    }
}

/// What a watch tells.
public enum WatchMessage: Equatable, Sendable {
    case change(RowChange)
    /// What happened since the token that was given, or while the reader was slow, cannot be told row by row: the reader
    /// reads the table anew. What comes next begins at this token.
    case resync(WatchResync)
}

public struct WatchResync: Codable, Equatable, Sendable {
    public var token: String
    public var table: String
    /// One sentence.
    public var reason: String
    public init(token: String, table: String, reason: String) {
        self.token = token
        self.table = table
        self.reason = reason
    }
}

/// One table and its columns.
public struct TableInfo: Codable, Equatable, Sendable {
    public struct Column: Codable, Equatable, Sendable {
        public var name: String
        /// As it was declared; may be empty.
        public var type: String
        /// Place in the primary key from 1 on; 0 for a column that is not in it.
        public var key: Int
        public var isRequired: Bool
        /// As SQL; null without one.
        public var defaultValue: String?
        /// Adds up over the nodes.
        public var isCounter: Bool

        enum CodingKeys: String, CodingKey {
            case name, type, key
            case isRequired = "required"
            case defaultValue = "default"
            case isCounter = "counter"
        }
        public init(
            name: String, type: String, key: Int = 0, isRequired: Bool = false, defaultValue: String? = nil,
            isCounter: Bool = false
        ) {
            self.name = name
            self.type = type
            self.key = key
            self.isRequired = isRequired
            self.defaultValue = defaultValue
            self.isCounter = isCounter
        }
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(name, forKey: .name)
            try container.encode(type, forKey: .type)
            try container.encode(key, forKey: .key)
            try container.encode(isRequired, forKey: .isRequired)
            try container.encode(defaultValue, forKey: .defaultValue)
            try container.encode(isCounter, forKey: .isCounter)
        }
    }
    public var name: String
    public var columns: [Column]
    /// Null where counting would take long.
    public var rows: Int?
    /// One of Bramble's own: people read it and do not write it.
    public var isSystem: Bool

    enum CodingKeys: String, CodingKey {
        case name, columns, rows
        case isSystem = "system"
    }
    public init(name: String, columns: [Column], rows: Int?, isSystem: Bool = false) {
        self.name = name
        self.columns = columns
        self.rows = rows
        self.isSystem = isSystem
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(columns, forKey: .columns)
        try container.encode(rows, forKey: .rows)
        try container.encode(isSystem, forKey: .isSystem)
    }
}

/// Some rows of a table, in the order of its key.
public struct TablePage: Codable, Equatable, Sendable {
    public var table: TableInfo
    /// In the order of the table's columns.
    public var rows: [[SQLValue]]
    /// Give it as `after` to get the rows behind these; null when there are none.
    public var next: String?

    public init(table: TableInfo, rows: [[SQLValue]], next: String?) {
        self.table = table
        self.rows = rows
        self.next = next
    }
}

/// A value that was overwritten by somebody who had not seen it.
public struct Conflict: Codable, Equatable, Sendable {
    public struct Side: Codable, Equatable, Sendable {
        /// Null also for a row that was deleted; `action` tells.
        public var value: SQLValue
        /// "set" or "deleted".
        public var action: String
        public var node: String
        public var at: String
        public init(value: SQLValue, action: String, node: String, at: String) {
            self.value = value
            self.action = action
            self.node = node
            self.at = at
        }
    }
    public var id: String
    /// When this node noticed, ISO 8601.
    public var at: String
    public var table: String
    public var key: [String: SQLValue]
    /// Null when it is about the whole row.
    public var column: String?
    public var kept: Side
    public var lost: Side

    public init(
        id: String, at: String, table: String, key: [String: SQLValue], column: String?, kept: Side, lost: Side
    ) {
        self.id = id
        self.at = at
        self.table = table
        self.key = key
        self.column = column
        self.kept = kept
        self.lost = lost
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(at, forKey: .at)
        try container.encode(table, forKey: .table)
        try container.encode(key, forKey: .key)
        try container.encode(column, forKey: .column)
        try container.encode(kept, forKey: .kept)
        try container.encode(lost, forKey: .lost)
    }
}

/// The database as one node sees it.
public struct DatabaseStatus: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        case open
        /// It is being fetched from another node; reads and writes are refused until it is here.
        case fetching
        /// Its disk is full or fails: it is read, not written.
        case readOnly = "read-only"
        /// It cannot be opened; `notes` says why.
        case closed
    }
    public var state: State
    /// Bytes on this node's disk, the log included.
    public var bytes: Int64
    /// Which history it belongs to: a restored backup begins a new one.
    public var epoch: String
    public var tables: Int
    /// How many are listed in `bramble_conflicts`.
    public var conflicts: Int
    /// This node first, then the others by name.
    public var replicas: [ReplicaStatus]
    /// What a person should know or do now; empty when all is well.
    public var notes: [String]
    /// Under which names the nodes write now, and every one of which something is not taken here.
    public var origins: [OriginStatus]

    public init(
        state: State, bytes: Int64, epoch: String, tables: Int, conflicts: Int, replicas: [ReplicaStatus],
        notes: [String] = [], origins: [OriginStatus] = []
    ) {
        self.state = state
        self.bytes = bytes
        self.epoch = epoch
        self.tables = tables
        self.conflicts = conflicts
        self.replicas = replicas
        self.notes = notes
        self.origins = origins
    }
}

/// One life of one node's database file, as the asked node knows it: its writes are taken in their order.
public struct OriginStatus: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        case taken
        /// Its next write is from the future: it waits for its time, or for an operator who releases it.
        case held
        /// Its next write cannot be read by this node's version of Bramble.
        case unreadable
    }
    /// 16 hexadecimal digits.
    public var origin: String
    /// Whose it is; the origin itself when it is of an earlier version and never said so.
    public var node: String
    public var state: State
    /// Transactions of it that are here.
    public var taken: Int
    /// Transactions of it that others have and this node does not take, as far as it was told.
    public var waiting: Int
    /// When the one that is held says it was written, ISO 8601; else null.
    public var at: String?

    public init(origin: String, node: String, state: State, taken: Int, waiting: Int = 0, at: String? = nil) {
        self.origin = origin
        self.node = node
        self.state = state
        self.taken = taken
        self.waiting = waiting
        self.at = at
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(origin, forKey: .origin)
        try container.encode(node, forKey: .node)
        try container.encode(state, forKey: .state)
        try container.encode(taken, forKey: .taken)
        try container.encode(waiting, forKey: .waiting)
        try container.encode(at, forKey: .at)
    }
}

/// Whose writes from the future are to be taken as they are.
public struct ReleaseRequest: Codable, Equatable, Sendable {
    /// The name of a node, or an origin.
    public var of: String
    public init(of: String) { self.of = of }
}

/// How far one node's copy is, as the asked node knows.
public struct ReplicaStatus: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        /// It has all we have, and we have all it has.
        case equal
        case behind
        /// It is given, or gives us, the whole database.
        case snapshot
        case unreachable
        /// What it sends is not taken, or it does not take what we send; `note` says why.
        case quarantined
    }
    public struct Snapshot: Codable, Equatable, Sendable {
        public enum Direction: String, Codable, CaseIterable, Sendable { case sending, receiving }
        public var direction: Direction
        public var bytes: Int64
        public var totalBytes: Int64
        public init(direction: Direction, bytes: Int64, totalBytes: Int64) {
            self.direction = direction
            self.bytes = bytes
            self.totalBytes = totalBytes
        }
    }
    public var node: String
    /// `self` in JSON.
    public var isSelf: Bool
    public var state: State
    /// Transactions we have and it has not acknowledged.
    public var missing: Int
    /// Transactions it told of and we lack.
    public var ahead: Int
    /// How long ago its oldest missing transaction was written, seconds; 0 when none is missing.
    public var behindSeconds: Double
    /// When it last had all we had, ISO 8601; null when never since we started.
    public var lastSync: String?
    public var snapshot: Snapshot?
    /// Why it is not equal, when there is more to say; else empty.
    public var note: String

    enum CodingKeys: String, CodingKey {
        case node, state, missing, ahead, behindSeconds, lastSync, snapshot, note
        case isSelf = "self"
    }
    public init(
        node: String, isSelf: Bool, state: State, missing: Int = 0, ahead: Int = 0, behindSeconds: Double = 0,
        lastSync: String?, snapshot: Snapshot? = nil, note: String = ""
    ) {
        self.node = node
        self.isSelf = isSelf
        self.state = state
        self.missing = missing
        self.ahead = ahead
        self.behindSeconds = behindSeconds
        self.lastSync = lastSync
        self.snapshot = snapshot
        self.note = note
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(node, forKey: .node)
        try container.encode(isSelf, forKey: .isSelf)
        try container.encode(state, forKey: .state)
        try container.encode(missing, forKey: .missing)
        try container.encode(ahead, forKey: .ahead)
        try container.encode(behindSeconds, forKey: .behindSeconds)
        try container.encode(lastSync, forKey: .lastSync)
        try container.encode(snapshot, forKey: .snapshot)
        try container.encode(note, forKey: .note)
    }
}

/// A backup that lies ready on the node's disk: whoever asked for it sends it on and deletes it.
public struct BackupFile: Equatable, Sendable {
    public var path: String
    public var bytes: Int64
    public init(path: String, bytes: Int64) {
        self.path = path
        self.bytes = bytes
    }
}

/// What was done to the database as a whole.
public struct DatabaseChange: Codable, Equatable, Sendable {
    public var epoch: String
    /// One sentence.
    public var done: String
    public init(epoch: String, done: String) {
        self.epoch = epoch
        self.done = done
    }
}
