package import Primitives
package import Replication

/// Where a database lives.
package enum StorePlace: Sendable {
    /// A file that only this process opens. Its directory must be there.
    case file(String)
    /// Nowhere: for tests and the simulator. `image` is what an earlier one gave, nil for an empty one.
    case memory(image: [UInt8]?)
}

/// What one store may use, and what tests break in it.
package struct StoreOptions: Sendable {
    /// Where origins, epochs and identifiers are drawn from.
    package var seed: UInt64
    /// Milliseconds since 1970 when it is opened, as this machine believes.
    package var wall: Int64
    /// The cluster the file must belong to (a tag of the cluster's key); nil until one is known.
    package var clusters: [[UInt8]] = []
    package var limits = StoreLimits()
    /// Whose database it is: told with the first record of each origin. Nil in tests that need no node.
    package var node: NodeID?
    /// A statement met damage: everything is checked, indexes against their tables too, which takes seconds for a large file. Else
    /// what can be checked in a moment.
    package var metDamage = false
    /// Bodies of records are written in this version of their format, and read up to it. Only tests and the simulator change it,
    /// to have nodes of different versions in one cluster.
    package var bodyVersion = RecordBody.version
    /// For tests and the simulator only: what is broken on purpose, so that they show that they notice.
    package var planted: PlantedStorageBug?

    package init(seed: UInt64, wall: Int64) {
        self.seed = seed
        self.wall = wall
    }
}

package enum PlantedStorageBug: String, CaseIterable, Sendable {
    /// Gaps are not noticed: records are applied as they come.
    case appliesOutOfOrder
    /// An UPDATE is taken for an INSERT: it brings deleted rows back.
    case updateResurrects
    /// The highest time used is not read from the disk after a start.
    case losesHighWaterMark
    /// Tombstones are collected by age, whoever has not seen them.
    case collectsByTime
    /// What is to be forgotten is, also where it never came.
    case forgetsWhatItLacks
}

/// Bounds of what one call may cost.
package struct StoreLimits: Sendable, Equatable {
    /// Of the whole call. Default 10 s; nil for the simulator, where time does not pass.
    package var statementTime: Duration? = .seconds(10)
    /// Rows of an answer. Default 10,000.
    package var rows = 10_000
    /// Bytes of an answer, counted as values. Default 8 MiB.
    package var bytes = 8 << 20
    /// Of the change feed kept for watchers. Default 4,096 changes.
    package var feed = 4_096
    /// Of changes that wait for a table this node does not have. Beyond it, records for such tables are not taken, and are
    /// asked for again: dropping them would make the copies differ for ever. Unit: bytes. Default 64 MiB.
    package var held = 64 << 20
    /// Rows of `bramble_conflicts`. Default 1,000.
    package var conflicts = 1_000
    package init() {}
}

/// One SQL text with its parameters. Several statements in one text take their parameters from the list in turn.
package struct SQLStatement: Sendable, Equatable {
    package var text: String
    package var parameters: [SQLValue]
    package init(_ text: String, _ parameters: [SQLValue] = []) {
        self.text = text
        self.parameters = parameters
    }
}

/// What one text of a call gave.
package struct StatementResult: Sendable, Equatable {
    /// Of the last statement in it that returns rows.
    package var columns: [String] = []
    package var rows: [[SQLValue]] = []
    /// Rows inserted, updated and deleted.
    package var changed = 0
    /// There were more rows than asked for.
    package var isTruncated = false
    package init() {}
}

/// What a call gave.
package struct SQLAnswer: Sendable, Equatable {
    /// One for each text, in order.
    package var results: [StatementResult] = []
    /// Of the last text that returns rows; empty when none does.
    package var columns: [String] { results.last { !$0.columns.isEmpty }?.columns ?? [] }
    package var rows: [[SQLValue]] { results.last { !$0.columns.isEmpty }?.rows ?? [] }
    /// By all statements.
    package var changed: Int { results.reduce(0) { $0 + $1.changed } }
    /// What it wrote, nil when it changed nothing. It is committed, not yet synced: hand it to the replicator.
    package var record: LogRecord?
    package init() {}
}

/// What became of records of others.
package struct ApplyResult: Sendable, Equatable {
    /// Applied, in the order given.
    package var applied = 0
    /// Already known: harmless.
    package var known = 0
    /// Refused whole, with the reason: a gap, or a body nobody can read.
    package var refused: [Refusal] = []

    package struct Refusal: Sendable, Equatable {
        package enum Reason: Sendable, Equatable {
            /// A record before it is missing.
            case gap(expected: UInt64)
            /// Not a body of this format, or not in order of time.
            case malformed
            /// It is for a table that is not known here, and too much waits for such tables already.
            case tooMuchHeld
        }
        package let origin: Origin
        package let sequence: UInt64
        package let reason: Reason
    }
    package init() {}
}

/// What records could be given.
package enum LogExtract: Sendable, Equatable {
    /// In order, without gaps; empty when there is nothing newer.
    case records([LogRecord])
    /// Some of them are no longer kept: the asker needs a snapshot. The log begins after `floor`.
    case collected(floor: UInt64)
}

/// One change of one row, for watchers.
package struct RowNotice: Sendable, Equatable {
    /// Grows by one each.
    package let number: UInt64
    package let table: String
    /// The primary key: names and values.
    package let key: [(name: String, value: SQLValue)]
    /// The whole row after it; nil when it was deleted.
    package let row: [(name: String, value: SQLValue)]?

    package static func == (left: RowNotice, right: RowNotice) -> Bool {
        left.number == right.number && left.table == right.table && left.key.elementsEqual(right.key, by: ==)
            && (left.row == nil) == (right.row == nil) && (left.row ?? []).elementsEqual(right.row ?? [], by: ==)
    }
}

/// What a watcher gets.
package enum FeedExtract: Sendable, Equatable {
    /// In order. Ask next with the last one's number, or with the number given before when there is none.
    case notices([RowNotice])
    /// The number is too old, or of another life of the database: read the table, go on from `next`.
    case resync(next: UInt64)
}

/// A table, for people.
package struct TableReport: Sendable, Equatable {
    package struct Column: Sendable, Equatable {
        package let name: String
        package let type: String
        /// 1 for the first column of the primary key; 0 for others.
        package let keyPlace: Int
        package let isCounter: Bool
    }
    package let name: String
    package let columns: [Column]
    package let rows: Int
    /// Deleted rows that are still remembered.
    package let tombstones: Int
}

/// The database as a whole, for people.
package struct StoreReport: Sendable, Equatable {
    package let origin: Origin
    package let epoch: DatabaseEpoch
    package let vector: VersionVector
    package let tables: Int
    /// Bytes of the file, without its write-ahead log; of the image in memory.
    package let bytes: Int
    package let logRecords: Int
    package let logBytes: Int
    package let conflicts: Int
    /// Changes that wait for a table or column this node does not have yet.
    package let held: Int
}

/// A consistent copy of the state, to be sent to a node that is new or too far behind. The same bytes at each read.
package struct SnapshotHeader: Sendable, Equatable {
    package let vector: VersionVector
    package let epoch: DatabaseEpoch
    package let size: Int
    /// Of all bytes. Against damage, not against forgers.
    package let checksum: UInt64
    package init(vector: VersionVector, epoch: DatabaseEpoch, size: Int, checksum: UInt64) {
        self.vector = vector
        self.epoch = epoch
        self.size = size
        self.checksum = checksum
    }
}

/// What people and the replicator are told when something does not work.
package struct StoreError: OperatorError, Equatable {
    package enum Kind: Sendable, Equatable {
        /// The statement itself: broken, refused, or over a limit.
        case statement
        /// A row breaks a rule of its table.
        case constraint
        /// The disk is full, or the file cannot be written.
        case disk
        /// The file is damaged. Open the store anew: it sets the file aside and starts empty.
        case damaged
        /// Something that cannot be installed: a snapshot or backup that is none.
        case unusable
    }
    package let kind: Kind
    package let problem: String
    package let remedy: String
    /// Where in the SQL text, in bytes from its start.
    package let position: Int?
    package init(_ kind: Kind, _ problem: String, remedy: String, position: Int? = nil) {
        self.kind = kind
        self.problem = problem
        self.remedy = remedy
        self.position = position
    }
}
