import Glibc
package import Primitives

/// Keeps the cluster's names in a block of `/etc/hosts`, between two marker lines, and never touches any other line.
///
/// Written by renaming a new file over the old one. Where the file is a mount of its own, as in containers, that is
/// impossible (EBUSY); then it is written in place. Blocking, but short; one writer.
package struct HostsFile: Sendable {
    package struct Entry: Hashable, Sendable {
        package var address: IPAddress
        package var name: NodeName
        package init(address: IPAddress, name: NodeName) {
            self.address = address
            self.name = name
        }
    }
    static let begin = "# BEGIN bramble: the bramble daemon keeps these lines; write your own above or below"
    static let end = "# END bramble"
    /// A hosts file larger than this is not touched; ad-block lists have been seen at 5 MiB.
    static let limit = 16 * 1024 * 1024

    package let path: String
    package init(path: String = "/etc/hosts") { self.path = path }

    /// Puts the entries into the block, in the given order; no entries, no block. True when the file changed.
    @discardableResult
    package func update(_ entries: [Entry]) throws(HostsFileError) -> Bool {
        // A link (as some systems have it) is followed: the link itself must stay.
        let target = resolved
        let old: [UInt8]
        do throws(SystemError) {
            old = try AtomicFile.read(target, limit: Self.limit) ?? []
        } catch {
            throw .unreadable(path, error)
        }
        let new = Self.replacingBlock(in: old, with: entries)
        guard new != old else { return false }
        do throws(SystemError) { try write(new, to: target) } catch { throw .unwritable(path, error) }
        return true
    }

    @discardableResult
    package func removeBlock() throws(HostsFileError) -> Bool { try update([]) }

    /// The text with the block replaced, or added at the end.
    ///
    /// A line goes away only when it stands by one of our markers *and* ends as the lines we write do. So with damaged
    /// markers (one missing, one twice, a user's line between them) the users' lines stay, and ours are still cleaned up.
    static func replacingBlock(in text: [UInt8], with entries: [Entry]) -> [UInt8] {
        var kept: [ArraySlice<UInt8>] = []
        var pending: [ArraySlice<UInt8>]?  // lines since a begin, until we know how the block ends
        var place: Int?
        for line in lines(of: text) {
            let content = trimmed(line)
            if content.starts(with: Array("# BEGIN bramble".utf8)) {
                place = place ?? kept.count
                // A begin without an end before: what followed it is only ours where it looks like it.
                kept += (pending ?? []).filter { !isOurs($0) }
                pending = []
            } else if content.elementsEqual(Array(end.utf8)) {
                // An end whose begin is gone: ours are the lines right above it.
                if pending == nil { while let last = kept.last, isOurs(last) { kept.removeLast() } }
                place = min(place ?? kept.count, kept.count)
                kept += (pending ?? []).filter { !isOurs($0) }
                pending = nil
            } else if pending != nil {
                pending?.append(line)
            } else {
                kept.append(line)
            }
        }
        // No end at all: everything after the begin that is not ours stays.
        kept += (pending ?? []).filter { !isOurs($0) }

        guard !entries.isEmpty else { return Array(kept.joined()) }
        var block: [UInt8] = []
        for line in [begin] + entries.map({ "\($0.address)\t\($0.name)\(mark)" }) + [end] { block += line.utf8 + [10] }
        let position = min(place ?? kept.count, kept.count)
        var result = Array(kept[..<position].joined())
        if let last = result.last, last != 10 { result.append(10) }
        return result + block + kept[position...].joined()
    }

    /// Ends each line we write, so that it is known again wherever it stands.
    private static let mark = "\t# bramble"

    private static func isOurs(_ line: ArraySlice<UInt8>) -> Bool { trimmed(line).ends(with: Array(mark.utf8)) }

    /// With their line ends, so that joining them gives the text back.
    private static func lines(of text: [UInt8]) -> [ArraySlice<UInt8>] {
        var result: [ArraySlice<UInt8>] = []
        var start = 0
        while start < text.count {
            let next = text[start...].firstIndex(of: 10).map { $0 + 1 } ?? text.count
            result.append(text[start..<next])
            start = next
        }
        return result
    }
    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isBlank: (UInt8) -> Bool = { $0 == 32 || $0 == 13 || $0 == 10 }
        guard let last = line.lastIndex(where: { !isBlank($0) }) else { return line[line.endIndex...] }
        return line[...last].drop(while: isBlank)
    }

    // MARK: Writing

    private var resolved: String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private func write(_ content: [UInt8], to target: String) throws(SystemError) {
        var status = stat()
        let exists = stat(target, &status) == 0
        let mode = exists ? status.st_mode & 0o7777 : 0o644
        let owner = exists ? (status.st_uid, status.st_gid) : nil
        do throws(SystemError) {
            try AtomicFile.write(content, to: target, mode: mode, owner: owner)
        } catch {
            // EBUSY: a mount. EACCES, EPERM, EROFS: we may write the file but not its directory.
            guard exists, [EBUSY, EACCES, EPERM, EROFS, EXDEV].contains(error.code) else { throw error }
            try writeInPlace(content, to: target)
        }
    }

    /// A reader may see a moment's mixture here. Users' lines mostly stand before the block, so they stay as they are.
    private func writeInPlace(_ content: [UInt8], to target: String) throws(SystemError) {
        let file = open(target, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { throw SystemError() }
        defer { close(file) }
        try AtomicFile.writeAll(content, to: file)
        guard ftruncate(file, off_t(content.count)) == 0, fsync(file) == 0 else { throw SystemError() }
    }
}

package enum HostsFileError: OperatorError, Equatable {
    case unreadable(String, SystemError)
    case unwritable(String, SystemError)

    package var problem: String {
        switch self {
        case .unreadable(let path, let error): "cannot read \(path), so node names are not kept there: \(error)"
        case .unwritable(let path, let error): "cannot write the nodes' names to \(path): \(error)"
        }
    }
    package var remedy: String {
        switch self {
        case .unreadable(_, let error), .unwritable(_, let error):
            error.remedy ?? "run the daemon as root, or switch this off with --hosts-file none"
        }
    }
}

extension Collection<UInt8> {
    fileprivate func ends(with tail: [UInt8]) -> Bool { suffix(tail.count).elementsEqual(tail) }
}
