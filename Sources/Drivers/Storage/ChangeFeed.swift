import Replication

/// The latest changes of rows, for watchers: bounded, in memory, numbered from a random place so that a number of an
/// earlier life is not taken for one of this.
struct ChangeFeed {
    private struct Change {
        let table: TableModel
        let key: [SQLValue]
        let row: [SQLValue]?
        let size: Int
    }
    private let limit: Int
    private var changes: [Change] = []
    /// Of the ring: where the oldest is.
    private var start = 0
    private var size = 0
    /// The number of the latest change.
    private(set) var latest: UInt64

    /// Of the rows kept; beyond it the oldest are forgotten.
    private static let maximumSize = 4 << 20

    init(limit: Int, first: UInt64) {
        self.limit = max(1, limit)
        latest = first
    }

    mutating func append(_ table: TableModel, key: [SQLValue], row: [SQLValue]?) {
        let bytes = (row ?? key).reduce(64) { $0 + $1.size }
        changes.append(Change(table: table, key: key, row: row, size: bytes))
        size += bytes
        latest += 1
        while changes.count - start > limit || (size > Self.maximumSize && changes.count - start > 1) {
            size -= changes[start].size
            start += 1
        }
        if start > limit {
            changes.removeFirst(start)
            start = 0
        }
    }
    /// Takes back what a transaction added that failed: watchers are told of nothing that is not there.
    mutating func takeBack(to number: UInt64) {
        while latest > number, changes.count > start {
            size -= changes.removeLast().size
            latest -= 1
        }
        latest = number
    }
    /// So much has changed that watchers have to read anew.
    mutating func reset() {
        changes = []
        start = 0
        size = 0
        latest += 1
    }

    func notices(after number: UInt64, limit: Int) -> FeedExtract {
        let kept = UInt64(changes.count - start)
        guard number <= latest, number >= latest - kept else { return .resync(next: latest) }
        let first = changes.count - Int(latest - number)
        let end = min(first + max(1, limit), changes.count)
        var result: [RowNotice] = []
        for index in first..<end {
            let change = changes[index]
            let table = change.table
            let key = table.key.enumerated().map { (name: table.columns[$1].name, value: change.key[$0]) }
            let row = change.row.map { row in
                table.columns.indices.map { (name: table.columns[$0].name, value: row[$0]) }
            }
            result.append(
                RowNotice(
                    number: latest - UInt64(changes.count - index) + 1, table: table.name, key: key, row: row))
        }
        return .notices(result)
    }
}
