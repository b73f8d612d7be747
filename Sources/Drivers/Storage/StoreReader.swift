import CSQLite

/// Reads a database file from another thread than the store's, over a connection that can only read: each call sees one
/// state, also while the store writes. Never checkpoints (SQLite 3.40.1 loses data when two connections write or checkpoint).
package final class StoreReader {
    private let store: Store

    /// After the store of this path was opened.
    package init(path: String, limits: StoreLimits) throws(StoreError) {
        store = try Store(readingFrom: path, limits: limits)
    }
    package func query(_ statements: [SQLStatement], rowLimit: Int? = nil) throws(StoreError) -> SQLAnswer {
        try store.query(statements, rowLimit: rowLimit)
    }
}

extension Store {
    fileprivate convenience init(readingFrom path: String, limits: StoreLimits) throws(StoreError) {
        var options = StoreOptions(seed: 0, wall: 0)
        options.limits = limits
        try self.init(reading: path, options)
    }
}
