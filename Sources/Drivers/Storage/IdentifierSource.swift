import CSQLite
import Replication

/// Numbers for `bramble_id()`: unique on all nodes, and about in the order of time, so that tables grow at their end.
///
/// 41 bits of milliseconds since 2020, 16 bits of the origin, 6 bits that count. Two of 20 nodes have the same 16 bits
/// with a chance of 0.3 %, and then a collision needs the same millisecond and count; it would be one row for two.
final class IdentifierSource {
    /// Milliseconds since 1970; the store sets it before people's statements run.
    var wall: Int64 = 0
    private var origin: Int64 = 0
    private var latest: Int64 = 0
    private static let start: Int64 = 1_577_836_800_000

    func use(_ origin: Origin) {
        var word = origin.rawValue
        word ^= word >> 32
        self.origin = Int64((word ^ word >> 16) & 0xFFFF)
    }
    func next() -> Int64 {
        // The count runs over into the milliseconds: more than 64 in one of them borrow from the next.
        let floor = max(0, min(wall - Self.start, (1 << 41) - 1)) << 6
        latest = max(latest + 1, floor)
        return (latest >> 6) << 22 | origin << 6 | latest & 63
    }
}

extension Connection {
    /// `bramble_id()` and `bramble_now()`, milliseconds since 1970 as the cluster counts them.
    func addFunctions(_ source: IdentifierSource) {
        let context = Unmanaged.passUnretained(source).toOpaque()
        let flags = SQLITE_UTF8 | SQLITE_INNOCUOUS
        sqlite3_create_function_v2(handle, "bramble_id", 0, flags, context, giveIdentifier, nil, nil, nil)
        sqlite3_create_function_v2(handle, "bramble_now", 0, flags, context, giveTime, nil, nil, nil)
    }
}

private func source(_ context: OpaquePointer?) -> IdentifierSource? {
    sqlite3_user_data(context).map { Unmanaged<IdentifierSource>.fromOpaque($0).takeUnretainedValue() }
}
private func giveIdentifier(_ context: OpaquePointer?, _: Int32, _: UnsafeMutablePointer<OpaquePointer?>?) {
    sqlite3_result_int64(context, source(context)?.next() ?? 0)
}
private func giveTime(_ context: OpaquePointer?, _: Int32, _: UnsafeMutablePointer<OpaquePointer?>?) {
    sqlite3_result_int64(context, source(context)?.wall ?? 0)
}
