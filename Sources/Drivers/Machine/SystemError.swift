import Glibc

/// What the kernel refused. Part of the errors that operators read; never shown alone.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    package let code: Int32
    package init(code: Int32 = errno) { self.code = code }

    package var description: String { String(cString: strerror(code)) }

    /// What an operator can do about it, or nil where it depends on what was tried.
    package var remedy: String? {
        switch code {
        case ENOSPC, EDQUOT: "free some space: `df -h` shows what is full"
        case EROFS: "the file system is read-only: look for its errors with `dmesg`, then `mount -o remount,rw`"
        case EIO: "the disk or card reports errors: look at `dmesg`, and replace it"
        case EMFILE, ENFILE: "too many files are open: raise LimitNOFILE of the service"
        default: nil
        }
    }
}
