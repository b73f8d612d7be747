import Primitives

/// Whether a disk may be waited for on the database's own thread: a client alone would pay for two changes of thread, more than
/// a quick sync itself takes. With more of them the next group is prepared meanwhile, and a disk that was slow lately must not
/// hold up what peers send.
struct SyncPace: Equatable {
    /// So many syncs in a row within so long make a disk quick.
    static let quick = Duration.milliseconds(2)
    static let needed = 200
    private var quickInARow = 0

    mutating func ended(after took: Duration) {
        quickInARow = took <= Self.quick ? min(quickInARow + 1, Self.needed) : 0
    }
    /// - Parameter waiting: writes whose callers wait.
    func isDirect(waiting: Int) -> Bool { waiting <= 1 && quickInARow >= Self.needed }
}
