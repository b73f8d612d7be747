import Glibc
package import Primitives
import Reactor

/// Files that would have been overwritten or deleted by the first copy from another node: they are moved here instead,
/// listed, and can be put back.
///
/// `parked/MIRROR/TIME-epochN/` has them under their whole paths. Bounded: the oldest go first, which is told.
struct ParkedFiles {
    let directory: String
    let node: NodeID
    var limits = Limits()

    struct Limits: Equatable, Sendable {
        var files = 20_000
        var bytes: UInt64 = 2 << 30
    }

    /// Where one run may put what it replaces.
    func makeBatch(_ mirror: ServiceName, epoch: Epoch, wall: Int64) -> String? {
        let base = "\(directory)/\(mirror)"
        let name = "\(Self.stamp(wall))-epoch\(epoch)"
        for number in 1...100 {
            let path = number == 1 ? "\(base)/\(name)" : "\(base)/\(name)-\(number)"
            guard !Places.exists(path) else { continue }
            return Places.makeDirectories(path, mode: 0o700) == nil ? path : nil
        }
        return nil
    }

    /// Where below a batch the files of a path go. rsync names them relative to what it is given.
    static func place(in batch: String, of path: String) -> String {
        batch
            + (path.hasSuffix("/")
                ? String(path.dropLast()) : String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
    }

    /// Newest first.
    func list() -> [ParkedEntry] {
        var found: [ParkedEntry] = []
        for folder in Self.names(directory) {
            guard let mirror = ServiceName(folder) else { continue }
            for batch in Self.names("\(directory)/\(folder)") { found += entries(mirror, batch) }
        }
        return found.sorted { ($0.at, $1.path) > ($1.at, $0.path) }
    }

    func entries(_ mirror: ServiceName, _ batch: String) -> [ParkedEntry] {
        guard let (at, epoch) = Self.parse(batch) else { return [] }
        let base = "\(directory)/\(mirror)/\(batch)"
        var found: [ParkedEntry] = []
        Self.walk(base) { path, status in
            guard found.count <= limits.files else { return }
            let original = String(path.dropFirst(base.utf8.count))
            found.append(
                ParkedEntry(
                    id: Self.identifier("\(node)/\(mirror)/\(batch)\(original)"), mirror: mirror, path: original,
                    at: at,
                    changed: Int64(status.st_mtim.tv_sec), bytes: UInt64(max(0, status.st_size)), epoch: epoch,
                    file: path))
        }
        return found
    }

    /// Removes what is too much, oldest batches first. Returns how many files went.
    func trim() -> Int {
        var entries = list()
        var removed = 0
        var bytes = entries.reduce(0) { $0 + $1.bytes }
        while let last = entries.last, entries.count > limits.files || bytes > limits.bytes {
            guard unlink(last.file) == 0 || errno == ENOENT else { return removed }
            entries.removeLast()
            bytes -= last.bytes
            removed += 1
        }
        if removed > 0 { for mirror in Self.names(directory) { sweep("\(directory)/\(mirror)") } }
        return removed
    }

    /// Directories in which nothing is left.
    func sweep(_ path: String) {
        for name in Self.names(path) where Places.kind("\(path)/\(name)") == S_IFDIR { sweep("\(path)/\(name)") }
        rmdir(path)
    }

    /// Puts a file back where it was; what is there now is parked in its place.
    /// - Returns: why not; nil when it is done.
    func restore(_ entry: ParkedEntry, wall: Int64) -> String? {
        guard let batch = makeBatch(entry.mirror, epoch: entry.epoch, wall: wall) else {
            return "\(directory) cannot be written"
        }
        let folder = String(entry.path[..<(entry.path.lastIndex(of: "/") ?? entry.path.startIndex)])
        if let problem = Places.makeDirectories(folder) { return problem }
        // First beside its place, so that there is never half a file there, nor none.
        let fresh = "\(entry.path).bramble-restored"
        if let problem = Self.copy(entry.file, to: fresh) {
            unlink(fresh)
            return problem
        }
        if Places.exists(entry.path) {
            let kept = batch + entry.path
            let keptFolder = String(kept[..<(kept.lastIndex(of: "/") ?? kept.startIndex)])
            let problem = Places.makeDirectories(keptFolder, mode: 0o700) ?? Self.copy(entry.path, to: kept)
            if let problem {
                unlink(fresh)
                return problem
            }
        }
        guard rename(fresh, entry.path) == 0 else {
            let problem = "\(entry.path): \(String(cString: strerror(errno)))"
            unlink(fresh)
            return problem
        }
        unlink(entry.file)
        sweep("\(directory)/\(entry.mirror)")
        return nil
    }

    /// With owner, rights and times; links as links. Nil when it is done and on the disk.
    private static func copy(_ source: String, to target: String) -> String? {
        func reason() -> String { "\(target): \(String(cString: strerror(errno)))" }
        var status = stat()
        guard lstat(source, &status) == 0 else { return "\(source): \(String(cString: strerror(errno)))" }
        if status.st_mode & S_IFMT == S_IFLNK {
            var text = [CChar](repeating: 0, count: 4_097)
            guard readlink(source, &text, 4_096) > 0, symlink(text, target) == 0 else { return reason() }
            lchown(target, status.st_uid, status.st_gid)
            return nil
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return "\(source) is no file" }
        let from = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard from >= 0 else { return "\(source): \(String(cString: strerror(errno)))" }
        defer { close(from) }
        let to = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard to >= 0 else { return reason() }
        defer { close(to) }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(from, &buffer, buffer.count)
            if count == 0 { break }
            guard count > 0 else { return "\(source): \(String(cString: strerror(errno)))" }
            var done = 0
            while done < count {
                let written = buffer.withUnsafeBytes { write(to, $0.baseAddress! + done, count - done) }
                guard written > 0 else { return reason() }
                done += written
            }
        }
        var times = [status.st_atim, status.st_mtim]
        guard fchown(to, status.st_uid, status.st_gid) == 0, fchmod(to, status.st_mode & 0o7777) == 0,
            futimens(to, &times) == 0, fsync(to) == 0
        else { return reason() }
        return nil
    }

    // MARK: Names

    /// `20261125T235801`, in UTC.
    static func stamp(_ wall: Int64) -> String {
        var seconds = time_t(wall)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y%m%dT%H%M%S", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `20261125T235801-epoch4-2`; nil for what is not ours.
    static func parse(_ batch: String) -> (at: Int64, epoch: Epoch)? {
        let words = batch.split(separator: "-")
        guard words.count >= 2, words[1].hasPrefix("epoch"), let epoch = UInt64(words[1].dropFirst(5)) else {
            return nil
        }
        let digits = words[0].utf8.filter { $0 >= 48 && $0 <= 57 }.map { Int32($0) - 48 }
        guard words[0].utf8.count == 15, digits.count == 14 else { return nil }
        func number(_ range: Range<Int>) -> Int32 { digits[range].reduce(0) { $0 * 10 + $1 } }
        var parts = tm()
        parts.tm_year = number(0..<4) - 1900
        parts.tm_mon = number(4..<6) - 1
        parts.tm_mday = number(6..<8)
        parts.tm_hour = number(8..<10)
        parts.tm_min = number(10..<12)
        parts.tm_sec = number(12..<14)
        return (Int64(timegm(&parts)), Epoch(epoch))
    }

    /// FNV-1a: short, and the same each time it is asked for.
    static func identifier(_ text: String) -> String {
        let hash = text.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        let digits = String(hash >> 16, radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }

    static func names(_ path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var result: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { result.append(name) }
        }
        return result.sorted()
    }

    private static func walk(_ path: String, _ found: (String, stat) -> Void) {
        for name in names(path) {
            var status = stat()
            let child = "\(path)/\(name)"
            guard lstat(child, &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR { walk(child, found) } else { found(child, status) }
        }
    }
}

/// One file that was set aside.
package struct ParkedEntry: Equatable, Sendable {
    package var id: String
    package var mirror: ServiceName
    /// Where it was.
    package var path: String
    /// Set aside then, and last changed then: seconds since 1970.
    package var at: Int64
    package var changed: Int64
    package var bytes: UInt64
    /// Of the copy that came instead.
    package var epoch: Epoch
    /// Where it is now; empty on other nodes.
    package var file: String

    package init(
        id: String, mirror: ServiceName, path: String, at: Int64, changed: Int64, bytes: UInt64, epoch: Epoch,
        file: String
    ) {
        self.id = id
        self.mirror = mirror
        self.path = path
        self.at = at
        self.changed = changed
        self.bytes = bytes
        self.epoch = epoch
        self.file = file
    }
}
