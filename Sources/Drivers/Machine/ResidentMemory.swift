import CLinux
import Glibc

/// What the process keeps in memory of its own code.
///
/// The kernel maps the sixteen pages around each page of code that is touched, so after the start nearly the whole
/// executable and its libraries are resident, most of it used once or never. Measured for an idle daemon of five nodes:
/// 24.3 MB before, 17.7 MB after this; docs/benchmarks.md has the figure of today.
package enum ResidentMemory {
    /// Unmaps code and constants that only the start needed. What is touched again comes back from the page cache, without
    /// the disk. To be called once, some seconds after the start, and before memory is locked.
    ///
    /// Only mappings of files that nobody has written to: there the file is the truth, and dropping a page loses nothing.
    package static func giveBackCodeOfTheStart() {
        guard let maps = try? AtomicFile.read("/proc/self/smaps", limit: 4 << 20) else { return }
        var range: (start: UInt, end: UInt)?
        for line in String(decoding: maps, as: UTF8.self).split(separator: "\n") {
            let words = line.split(whereSeparator: \.isWhitespace)
            if let mapping = mapping(words) {
                range = mapping
            } else if words.first == "Private_Dirty:" || words.first == "Shared_Dirty:" {
                if words.dropFirst().first != "0" { range = nil }
            } else if words.first == "VmFlags:", let (start, end) = range {
                madvise(UnsafeMutableRawPointer(bitPattern: start), Int(end - start), MADV_DONTNEED)
                range = nil
            }
        }
    }

    /// The head of a mapping, `start-end r-xp offset device inode path`, when it is of a file and read-only.
    private static func mapping(_ words: [Substring]) -> (UInt, UInt)? {
        guard words.count >= 6, words[5].hasPrefix("/"), words[1] == "r-xp" || words[1] == "r--p" else { return nil }
        let ends = words[0].split(separator: "-")
        guard ends.count == 2, let start = UInt(ends[0], radix: 16), let end = UInt(ends[1], radix: 16) else {
            return nil
        }
        return (start, end)
    }
}
