import Glibc
import Logging
import Primitives
import Reactor

/// The one place on disk that belongs to a node: its keys, its generation, and what it knew when it last ran.
///
/// Locked while the value lives, so that two daemons never share one identity. Every file is written whole and durably
/// (see `AtomicFile`) and checked when it is read (see `Envelope`); what does not check is set aside, never overwritten.
/// Blocking, so not for the pulse thread.
package final class DataDirectory: Sendable {
    package enum File: String, CaseIterable, Sendable {
        case identityKey = "identity.key"
        case generation
        case members = "members.json"
        case facts = "facts.json"
        case leases = "leases.json"
        case webIdentity = "web-identity.pem"

        fileprivate var limit: Int {
            switch self {
            case .identityKey, .generation, .webIdentity: 16 * 1024
            case .members: 8 * 1024 * 1024
            case .facts: 16 * 1024 * 1024
            case .leases: 1024 * 1024
            }
        }
    }

    package let path: String
    private let lock: Int32
    private let owner: (uid_t, gid_t)
    private let writing = Locked(())

    /// How many damaged copies of one file are kept.
    package static let keptDamaged = 5

    /// Makes the directory where it is missing (mode 0700) and locks it.
    ///
    /// - Parameter patience: how long to wait for a daemon that is just ending, as after a kill and restart.
    package init(opening path: String, patience: Duration = .milliseconds(500)) throws(DataDirectoryError) {
        self.path = path
        owner = try Self.prepare(path)
        lock = try Self.takeLock(path + "/lock", owner, patience)
    }
    deinit { close(lock) }

    // MARK: Files

    /// The content last written; nil when there is none. A damaged file is set aside and reported.
    package func read(_ file: File) throws(DataDirectoryError) -> [UInt8]? {
        let name = path(of: file)
        let sealed: [UInt8]?
        do throws(SystemError) {
            sealed = try AtomicFile.read(name, limit: file.limit)
        } catch {
            guard error.code == EFBIG else { throw .unreadable(name, error) }
            throw try setAside(file)
        }
        guard let sealed else { return nil }
        guard let content = Envelope.open(sealed) else { throw try setAside(file) }
        return content
    }

    /// Replaces the content. When this returns it survives a power cut.
    package func write(_ content: [UInt8], to file: File) throws(DataDirectoryError) {
        let name = path(of: file)
        guard content.count < file.limit - 128 else { throw .unwritable(name, SystemError(code: EFBIG)) }
        let sealed = Envelope.seal(content)
        do throws(SystemError) {
            try writing.withLock { _ throws(SystemError) in
                try AtomicFile.write(sealed, to: name, mode: 0o600, owner: owner)
            }
        } catch {
            throw .unwritable(name, error)
        }
    }

    package func remove(_ file: File) { unlink(path(of: file)) }

    /// Moves a damaged file out of the way, for whoever wants to save something from it.
    package func setAside(_ file: File) throws(DataDirectoryError) -> DataDirectoryError {
        let name = path(of: file)
        let places = (1...Self.keptDamaged).map { "\(name).corrupt-\($0)" }
        let target = places.first { access($0, F_OK) != 0 } ?? places.min { Self.age($0) < Self.age($1) } ?? places[0]
        guard rename(name, target) == 0 else { throw .unwritable(name, SystemError()) }
        return .damaged(file, setAside: target)
    }

    private func path(of file: File) -> String { "\(path)/\(file.rawValue)" }
    private static func age(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mtim.tv_sec : 0
    }

    // MARK: Generation

    /// Raises and persists the boot counter; to be called once, before the first packet.
    ///
    /// The larger of the stored one plus one, and the seconds since 2020: so it also grows where the file was lost or a
    /// backup was restored. A clock before 2020 or after 2100 is not asked, so one that is years off can neither take the
    /// number back nor use the numbers up.
    package func nextGeneration(wallSeconds: Int64) throws(DataDirectoryError) -> UInt32 {
        var stored: UInt32 = 0
        do throws(DataDirectoryError) {
            if let content = try read(.generation) {
                let text = String(decoding: content, as: UTF8.self)
                guard let number = UInt32(text) else { throw try setAside(.generation) }
                stored = number
            }
        } catch {
            // The clock, and the cluster's memory of us, lift the number above what was lost.
            guard case .damaged = error else { throw error }
            Log.warning("\(error.problem); \(error.remedy)")
        }
        return try persist(generation: max(stored == .max ? .max : stored + 1, Self.generation(at: wallSeconds)))
    }

    /// Raises the generation above one that peers have seen of us: our own record of it was lost.
    package func raiseGeneration(above seen: UInt32) throws(DataDirectoryError) -> UInt32 {
        try persist(generation: seen == .max ? .max : seen + 1)
    }

    private func persist(generation: UInt32) throws(DataDirectoryError) -> UInt32 {
        guard generation < .max else { throw .usedUp }
        try write(Array(String(generation).utf8), to: .generation)
        return generation
    }

    static func generation(at wallSeconds: Int64) -> UInt32 {
        let year2020: Int64 = 1_577_836_800
        let year2100: Int64 = 4_102_444_800
        return (year2020..<year2100).contains(wallSeconds) ? UInt32(wallSeconds - year2020) : 0
    }

    // MARK: Opening

    /// Checks or makes the directory, and says to whom files in it belong.
    static func prepare(_ path: String) throws(DataDirectoryError) -> (uid_t, gid_t) {
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            if errno == ENOENT, try makeParents(of: path), mkdir(path, 0o700) == 0 || errno == EEXIST {
                // made now
            } else {
                throw .cannotCreate(path, SystemError())
            }
        }
        var status = stat()
        guard stat(path, &status) == 0 else { throw .unreadable(path, SystemError()) }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw .notADirectory(path) }
        let me = geteuid()
        guard status.st_uid == me || me == 0 else { throw .foreignOwner(path, owner: status.st_uid, us: me) }
        if status.st_mode & 0o077 != 0 {
            guard chmod(path, 0o700) == 0 else { throw .unwritable(path, SystemError()) }
            Log.warning("\(path) was open to other users; it holds keys, so its mode is now 0700")
        }
        guard access(path, W_OK | X_OK) == 0 else { throw .unwritable(path, SystemError()) }
        return (status.st_uid, status.st_gid)
    }

    private static func makeParents(of path: String) throws(DataDirectoryError) -> Bool {
        let parent = AtomicFile.split(path).directory
        guard parent != path, parent != "." else { return false }
        if mkdir(parent, 0o755) == 0 || errno == EEXIST { return true }
        guard errno == ENOENT, try makeParents(of: parent) else { throw .cannotCreate(path, SystemError()) }
        return mkdir(parent, 0o755) == 0 || errno == EEXIST
    }

    private static func takeLock(
        _ path: String, _ owner: (uid_t, gid_t), _ patience: Duration
    ) throws(DataDirectoryError) -> Int32 {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw .unwritable(path, SystemError()) }
        let deadline = SystemClock.now + patience
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            let error = SystemError()
            if error.code == EINTR { continue }
            guard error.code == EWOULDBLOCK else {
                close(file)
                throw .unwritable(path, error)
            }
            guard SystemClock.now < deadline else {
                let holder = (try? AtomicFile.readAll(file, limit: 64)).flatMap {
                    Int32(String(decoding: $0.prefix { $0 != 10 }, as: UTF8.self))
                }
                close(file)
                throw .inUse(AtomicFile.split(path).directory, by: holder)
            }
            usleep(20_000)
        }
        // The number is for the message above only; the lock is what counts.
        if geteuid() == 0 { fchown(file, owner.0, owner.1) }
        ftruncate(file, 0)
        try? AtomicFile.writeAll(Array("\(getpid())\n".utf8), to: file)
        return file
    }
}

/// Why a data directory cannot be used, or what of it was lost.
package enum DataDirectoryError: OperatorError, Equatable {
    case cannotCreate(String, SystemError)
    case notADirectory(String)
    case foreignOwner(String, owner: UInt32, us: UInt32)
    case inUse(String, by: Int32?)
    case unreadable(String, SystemError)
    case unwritable(String, SystemError)
    case damaged(DataDirectory.File, setAside: String)
    case badKeyFile(String, String)
    case keyExists(String)
    /// The generation has reached its end, which only a damaged or altered file can bring about.
    case usedUp

    package var problem: String {
        switch self {
        case .cannotCreate(let path, let error): "cannot make the data directory \(path): \(error)"
        case .notADirectory(let path): "\(path) is not a directory"
        case .foreignOwner(let path, let owner, let us):
            "the data directory \(path) belongs to \(Self.user(owner)), and this runs as \(Self.user(us))"
        case .inUse(let path, let process):
            "another bramble\(process.map { " (process \($0))" } ?? "") uses the data directory \(path)"
        case .unreadable(let path, let error): "cannot read \(path): \(error)"
        case .unwritable(let path, let error): "cannot write \(path): \(error)"
        case .damaged(let file, let place):
            "\(file.rawValue) was damaged and is set aside as \(place): \(Self.loss(file))"
        case .badKeyFile(let path, let what): "\(path) is not a cluster key: \(what)"
        case .keyExists(let path): "\(path) exists already: this machine belongs to a cluster"
        case .usedUp: "the generation number of this node is used up"
        }
    }

    package var remedy: String {
        switch self {
        case .cannotCreate(let path, let error):
            error.remedy ?? "make it: `install -d -m 700 \(path)`, or choose another with --data-dir"
        case .notADirectory: "remove it, or choose another with --data-dir"
        case .foreignOwner(let path, _, let us):
            "run it as the owner, or give it over: `chown -R \(Self.user(us)) \(path)`"
        case .inUse: "stop that one first, or choose another directory with --data-dir"
        case .unreadable(let path, let error), .unwritable(let path, let error):
            error.remedy ?? "check its owner and mode: `ls -ld \(path)`"
        case .damaged(let file, _): Self.next(file)
        case .badKeyFile:
            "copy cluster.key again from a node of the cluster, or make a new cluster: `bramble init --cluster NAME`"
        case .keyExists(let path):
            "to make a new cluster here, first `bramble node remove NAME` on another node, or remove \(path)"
        case .usedUp: "remove the files generation and identity.key, and start again: it joins as a new node"
        }
    }

    private static func loss(_ file: DataDirectory.File) -> String {
        switch file {
        case .identityKey: "this node's identity is lost"
        case .generation: "how often this node has started is lost"
        case .members: "the list of known nodes is lost"
        case .facts: "the operators' decisions stored here are lost"
        case .leases: "what this node voted about who runs services is lost"
        case .webIdentity: "the dashboard's certificate is lost"
        }
    }
    private static func next(_ file: DataDirectory.File) -> String {
        switch file {
        case .identityKey: "it joins as a new node; remove the old one with `bramble node remove NAME`"
        case .generation: "nothing to do: the clock and the other nodes bring it back"
        case .members: "nothing to do where discovery works; else start once with --join ADDRESS"
        case .leases: "nothing to do where another node is up: it knows the rest, and this one is silent at first"
        case .webIdentity: "nothing to do: a new one is made, and browsers ask once more"
        case .facts: "nothing to do where another node is up: it brings them back; alone, set up users again"
        }
    }
    private static func user(_ id: UInt32) -> String {
        getpwuid(id).map { String(cString: $0.pointee.pw_name) } ?? "user \(id)"
    }
}
