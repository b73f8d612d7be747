import Glibc
import Primitives

/// Makes commits durable from another thread than the one that commits: whatever was committed before `sync` is called is
/// on the disk when it returns.
///
/// Why this is right beside SQLite. A commit has written its frames to the `-wal` file before it returns, and a start after
/// a power cut takes every frame with a right checksum. So what is missing is one `fdatasync` of that file, on any descriptor.
/// A checkpoint syncs the log before it copies, and the database before it lets the log be overwritten, so what a sync
/// finds no longer in the log is durable in the database. The file keeps its inode: it is overwritten from its start or
/// cut off, and removed only when the store is closed. SQLite takes no locks on it, so that closing our descriptor drops none
/// (POSIX drops all of a process's locks of a file when any of its descriptors is closed: never open the database file itself).
package final class LogSync: Sendable {
    private let file: Int32

    /// After the store of this path was opened.
    package init(path: String) throws(StoreError) {
        file = open(path + "-wal", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw StoreError(
                .disk, "\(path)-wal cannot be opened: \(String(cString: strerror(errno)))",
                remedy: "look at its owner and mode")
        }
    }
    deinit { Glibc.close(file) }

    package func result() -> Result<Void, StoreError> {
        do throws(StoreError) { return .success(try sync()) } catch { return .failure(error) }
    }

    /// After an error nothing is known of what is on the disk: the caller stops and opens the store anew.
    package func sync() throws(StoreError) {
        while fdatasync(file) != 0 {
            guard errno == EINTR else {
                throw StoreError(
                    .disk, "the disk did not take the data: \(String(cString: strerror(errno)))",
                    remedy: "look at `dmesg`; a full or broken disk has to be mended first")
            }
        }
    }
}
