/// One value of a row, as SQLite has it.
package enum SQLValue: Hashable, Sendable {
    case null
    case integer(Int64)
    case real(Double)
    /// Valid UTF-8.
    case text(String)
    case blob([UInt8])
}
