import Primitives
import Reactor
import Storage

/// The read-only connection, of the reading thread alone; opened when it is first needed, and anew when the file is another.
final class Reading: @unchecked Sendable {
    let isStale = Locked(false)
    /// Of the reading thread.
    private var connection: StoreReader?

    func close() { connection = nil }

    /// On the reading thread.
    func query(_ statements: [SQLStatement], rowLimit: Int, path: String) throws(StoreError) -> SQLAnswer {
        if isStale.withLock({ stale in
            defer { stale = false }
            return stale
        }) {
            connection = nil
        }
        do throws(StoreError) {
            if let connection { return try connection.query(statements, rowLimit: rowLimit) }
            let opened = try StoreReader(path: path, limits: StoreLimits())
            connection = opened
            return try opened.query(statements, rowLimit: rowLimit)
        } catch {
            if error.kind == .damaged || error.kind == .disk { connection = nil }
            throw error
        }
    }
}
