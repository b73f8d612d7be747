import Glibc
import Logging
import Primitives
import Reactor

/// Notices that something below a mirror's paths was written. It says no more than that: rsync finds out what.
/// On its loop only.
final class TreeWatch: @unchecked Sendable {
    private let loop: EventLoop
    /// Directories watched, of all mirrors together. The kernel has a limit of its own (fs.inotify.max_user_watches).
    private let limit: Int
    private let changed: @Sendable (ServiceName) -> Void
    private var descriptor: Int32 = -1
    private var registration: EventLoop.Registration?
    private struct Place {
        var mirror: ServiceName
        var directory: String
        /// Only this name in it; nil: all, and what is below.
        var file: String?
    }
    private var places: [Int32: [Place]] = [:]
    /// Mirrors of which not all could be watched.
    private(set) var incomplete: Set<ServiceName> = []

    private static let mask = UInt32(
        IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_ONLYDIR
            | IN_EXCL_UNLINK)

    init(on loop: EventLoop, limit: Int, changed: @escaping @Sendable (ServiceName) -> Void) {
        self.loop = loop
        self.limit = limit
        self.changed = changed
    }

    func watch(_ mirror: ServiceName, _ paths: [String]) {
        for (number, old) in places where old.contains(where: { $0.mirror == mirror }) {
            let rest = old.filter { $0.mirror != mirror }
            places[number] = rest.isEmpty ? nil : rest
            if rest.isEmpty { inotify_rm_watch(descriptor, number) }
        }
        incomplete.remove(mirror)
        guard !paths.isEmpty, open() else { return closeIfUnused() }
        for path in paths {
            if path.hasSuffix("/") {
                addTree(mirror, String(path.dropLast()))
            } else if let slash = path.lastIndex(of: "/") {
                let name = String(path[path.index(after: slash)...])
                add(Place(mirror: mirror, directory: String(path[..<slash]), file: name))
            }
        }
    }

    func stop() {
        places = [:]
        closeIfUnused()
    }

    private func open() -> Bool {
        if descriptor >= 0 { return true }
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0 else {
            Log.warning("changes of mirrored files cannot be watched: \(String(cString: strerror(errno)))")
            return false
        }
        registration = loop.watch(descriptor, for: .readable) { [weak self] _ in self?.read() }
        return true
    }
    private func closeIfUnused() {
        guard places.isEmpty, descriptor >= 0 else { return }
        registration.map(loop.cancel)
        registration = nil
        close(descriptor)
        descriptor = -1
    }

    @discardableResult
    private func add(_ place: Place) -> Bool {
        guard places.count < limit else {
            incomplete.insert(place.mirror)
            return false
        }
        let number = inotify_add_watch(descriptor, place.directory.isEmpty ? "/" : place.directory, Self.mask)
        guard number >= 0 else {
            if errno == ENOSPC || errno == EACCES { incomplete.insert(place.mirror) }
            return false
        }
        if !(places[number]?.contains { $0.mirror == place.mirror && $0.file == place.file } ?? false) {
            places[number, default: []].append(place)
        }
        return true
    }

    /// Watched before it is read, so that nothing that comes in between is missed.
    private func addTree(_ mirror: ServiceName, _ path: String) {
        var open = [path]
        while let next = open.popLast() {
            guard add(Place(mirror: mirror, directory: next, file: nil)) else { continue }
            guard let folder = opendir(next.isEmpty ? "/" : next) else { continue }
            defer { closedir(folder) }
            while let entry = readdir(folder) {
                guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { open.append("\(next)/\(name)") }
            }
        }
    }

    private func read() {
        var found: Set<ServiceName> = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        // A bounded portion; epoll comes back for more.
        for _ in 0..<4 {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            buffer.withUnsafeBytes { take(UnsafeRawBufferPointer(rebasing: $0[..<count]), &found) }
        }
        for mirror in found.sorted() { changed(mirror) }
    }

    private func take(_ bytes: UnsafeRawBufferPointer, _ found: inout Set<ServiceName>) {
        var offset = 0
        while offset + 16 <= bytes.count {
            let number = bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self)
            let mask = Int(bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
            let length = Int(bytes.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self))
            let end = min(bytes.count, offset + 16 + length)
            let name = String(decoding: bytes[offset + 16..<end].prefix { $0 != 0 }, as: UTF8.self)
            offset = end
            if mask & Int(IN_Q_OVERFLOW) != 0 {
                // Who knows what was missed: all of them are looked at, new directories too.
                for mirror in Set(places.values.flatMap { $0 }.map(\.mirror)) { found.insert(mirror) }
                continue
            }
            guard let here = places[number] else { continue }
            if mask & Int(IN_IGNORED) != 0 {
                places[number] = nil
                for place in here { found.insert(place.mirror) }
                continue
            }
            for place in here where place.file == nil || place.file == name {
                found.insert(place.mirror)
                let isNewDirectory = mask & Int(IN_ISDIR) != 0 && mask & Int(IN_CREATE | IN_MOVED_TO) != 0
                if isNewDirectory, place.file == nil { addTree(place.mirror, "\(place.directory)/\(name)") }
            }
        }
    }
}
