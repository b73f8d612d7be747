import CLinux
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Machine

@Suite("the data directory is locked, durable, and tells what it lost")
struct DataDirectoryTests {
    let temporary = TemporaryDirectory()
    var path: String { temporary.file("data") }

    @Test("a missing directory is made for its owner alone, parents included")
    func making() throws {
        let deep = temporary.file("a/b/data")
        let directory = try DataDirectory(opening: deep)
        #expect(mode(of: deep) == 0o700)
        try directory.write([1, 2], to: .members)
        #expect(mode(of: deep + "/members.json") == 0o600)
    }

    @Test("a directory that others could read is closed to them")
    func tooOpen() throws {
        mkdir(path, 0o755)
        let directory = try DataDirectory(opening: path)
        #expect(mode(of: path) == 0o700)
        _ = directory
    }

    @Test("a second daemon is refused with the number of the first, and let in when that one is gone")
    func locked() throws {
        do {
            let first = try DataDirectory(opening: path)
            #expect(throws: DataDirectoryError.inUse(path, by: getpid())) {
                try DataDirectory(opening: path, patience: .milliseconds(30))
            }
            withExtendedLifetime(first) {}
        }
        _ = try DataDirectory(opening: path, patience: .zero)
    }

    @Test("a daemon that is just ending is waited for")
    func patience() throws {
        let held = Locked<DataDirectory?>(try DataDirectory(opening: path))
        let loop = EventLoop(name: "test")
        loop.schedule(after: .milliseconds(100)) { held.withLock { $0 = nil } }
        _ = try DataDirectory(opening: path, patience: .seconds(10))
        loop.stop()
    }

    @Test("what was written is read again, empty content too", arguments: DataDirectory.File.allCases)
    func roundTrip(file: DataDirectory.File) throws {
        let directory = try DataDirectory(opening: path)
        #expect(try directory.read(file) == nil)
        for content in [[], Array(#"{"a":1}"#.utf8), [0, 255, 10, 34]] as [[UInt8]] {
            try directory.write(content, to: file)
            #expect(try directory.read(file) == content)
        }
        directory.remove(file)
        #expect(try directory.read(file) == nil)
    }

    @Test("JSON content stays JSON on disk")
    func json() throws {
        let directory = try DataDirectory(opening: path)
        try directory.write(Array(#"[{"name":"a"}]"#.utf8), to: .members)
        // The checksum is zlib's: python3 -c 'import zlib; print(hex(zlib.crc32(b"[{\"name\":\"a\"}]")))'
        let expected = #"{"bramble":1,"crc32":"\#(String(Envelope.crc32(#"[{"name":"a"}]"#.utf8), radix: 16))","#
        #expect(temporary.text("data/members.json")?.hasPrefix(expected) == true)
        #expect(Envelope.crc32("123456789".utf8) == 0xCBF4_3926)
    }

    @Test("a file is set aside at any changed, missing or added byte, and the loss and the way on are told")
    func damage() throws {
        let directory = try DataDirectory(opening: path)
        try directory.write(Array("12345678".utf8), to: .facts)
        let good = try #require(try AtomicFile.read(path + "/facts.json", limit: 1000))
        for place in good.indices {
            var changed = good
            changed[place] ^= 0x10
            #expect(Envelope.open(changed) == nil, "byte \(place)")
            #expect(Envelope.open(Array(good[..<place])) == nil, "cut at \(place)")
        }
        #expect(Envelope.open(good + [10]) == nil)

        try AtomicFile.write(good.dropLast(3), to: path + "/facts.json", mode: 0o600)
        let error = #expect(throws: DataDirectoryError.self) { try directory.read(.facts) }
        #expect(error == .damaged(.facts, setAside: path + "/facts.json.corrupt-1"))
        #expect(error?.problem.contains("the operators' decisions stored here are lost") == true)
        #expect(error?.remedy.isEmpty == false)
        #expect(try directory.read(.facts) == nil)
        #expect(try AtomicFile.read(path + "/facts.json.corrupt-1", limit: 1000) == good.dropLast(3))
    }

    @Test("damaged copies do not pile up")
    func bounded() throws {
        let directory = try DataDirectory(opening: path)
        for _ in 0..<12 {
            try temporary.write("rubbish", to: "data/members.json")
            #expect(throws: DataDirectoryError.self) { try directory.read(.members) }
        }
        let copies = names(in: path).filter { $0.contains("corrupt") }
        #expect(copies.count == DataDirectory.keptDamaged)
    }

    @Test("a file that cannot be one of ours for its size is set aside, not read into memory")
    func oversized() throws {
        let directory = try DataDirectory(opening: path)
        try temporary.write(String(repeating: "x", count: 100_000), to: "data/generation")
        #expect(throws: DataDirectoryError.damaged(.generation, setAside: path + "/generation.corrupt-1")) {
            try directory.read(.generation)
        }
    }

    @Test("what is in the way of a directory is told", .enabled(if: isRoot))
    func obstacles() throws {
        try temporary.write("a file", to: "file")
        #expect(throws: DataDirectoryError.notADirectory(temporary.file("file"))) {
            try DataDirectory(opening: temporary.file("file"))
        }
        let below = #expect(throws: DataDirectoryError.self) { try DataDirectory(opening: temporary.file("file/data")) }
        #expect(below?.problem.contains("Not a directory") == true)
        let absent = #expect(throws: DataDirectoryError.self) { try DataDirectory(opening: "/proc/data") }
        #expect(absent?.problem.isEmpty == false && absent?.remedy.isEmpty == false)
    }

    @Test("a full disk and a read-only one are told with their remedy, and what was there stays", .enabled(if: isRoot))
    func fullDisk() throws {
        let (path, big) = (path, [UInt8](repeating: 7, count: 100_000))
        let namespace = try OwnNamespace()
        let (full, kept) = try namespace.run {
            mkdir(path, 0o700)
            guard mount("tmpfs", path, "tmpfs", 0, "size=64k") == 0 else { throw SystemError() }
            let directory = try DataDirectory(opening: path)
            try directory.write([42], to: .members)
            var full: DataDirectoryError?
            do throws(DataDirectoryError) { try directory.write(big, to: .members) } catch { full = error }
            return (full, try directory.read(.members))
        }
        #expect(full == .unwritable(path + "/members.json", SystemError(code: ENOSPC)))
        #expect(full?.remedy.contains("df -h") == true)
        #expect(kept == [42])

        let readOnly = try namespace.run {
            // Busy for the moment in which a process that another test starts still has our descriptors.
            for _ in 0..<2000 where mount(nil, path, nil, UInt(MS_REMOUNT | MS_RDONLY), nil) != 0 {
                guard errno == EBUSY else { throw SystemError() }
                usleep(5000)
            }
            var found: DataDirectoryError?
            do throws(DataDirectoryError) { _ = try DataDirectory(opening: path) } catch { found = error }
            return found
        }
        #expect(readOnly == .unwritable(path, SystemError(code: EROFS)))
        #expect(readOnly?.remedy.contains("remount") == true)
    }

    @Test("without the right to it, whose directory it is and what to do are told", .enabled(if: isRoot))
    func foreignOwner() async throws {
        mkdir(path, 0o700)
        chmod(temporary.path, 0o755)
        setenv("BRAMBLE_TEST_PATH", temporary.path, 1)
        await #expect(processExitsWith: .success) {
            let base = String(cString: getenv("BRAMBLE_TEST_PATH"))
            guard setuid(65534) == 0 else { exit(2) }
            func error(_ path: String) -> DataDirectoryError? {
                do throws(DataDirectoryError) { _ = try DataDirectory(opening: path) } catch { return error }
                return nil
            }
            let foreign = error(base + "/data")
            guard foreign == .foreignOwner(base + "/data", owner: 0, us: 65534) else { exit(3) }
            guard foreign?.problem == "the data directory \(base)/data belongs to root, and this runs as nobody",
                foreign?.remedy.contains("chown -R nobody \(base)/data") == true
            else { exit(4) }
            let new = error(base + "/other")
            guard new == .cannotCreate(base + "/other", SystemError(code: EACCES)),
                new?.remedy.contains("install -d -m 700") == true
            else { exit(5) }
        }
    }

    @Test("what a crash left half written is never read, and does not stop the next write")
    func leftovers() throws {
        let directory = try DataDirectory(opening: path)
        try directory.write([1], to: .members)
        try temporary.write("half", to: "data/.members.json.tmp", mode: 0o400)
        #expect(try directory.read(.members) == [1])
        try directory.write([2], to: .members)
        #expect(try directory.read(.members) == [2])
        #expect(names(in: path) == ["lock", "members.json"])
    }

    @Test("files written by root stay with the directory's owner", .enabled(if: isRoot))
    func ownership() throws {
        mkdir(path, 0o700)
        chown(path, 65534, 65534)
        let directory = try DataDirectory(opening: path)
        try directory.write([1], to: .members)
        try ClusterKeyFile(in: path).create("key")
        for name in ["members.json", "cluster.key", "lock"] {
            var status = stat()
            #expect(stat("\(path)/\(name)", &status) == 0)
            #expect(status.st_uid == 65534, "\(name)")
        }
    }

    // MARK: Generation

    @Test("the generation grows at every start, whatever the clock says")
    func generation() throws {
        let directory = try DataDirectory(opening: path)
        let in2026: Int64 = 1_767_225_600
        var last = try directory.nextGeneration(wallSeconds: in2026)
        #expect(last == 1_767_225_600 - 1_577_836_800)
        // Back to 1970 (no clock chip), the same second again, 2038, before the epoch, the year 60000.
        for clock in [0, in2026, in2026, 2_147_483_647, -5, 1_831_273_920_000, .max, .min, 0] as [Int64] {
            let next = try directory.nextGeneration(wallSeconds: clock)
            #expect(next > last, "clock at \(clock)")
            last = next
        }
        #expect(last < 2_147_483_647, "a clock that is far off must not use the numbers up")
        #expect(try directory.raiseGeneration(above: last + 1000) == last + 1001)
        #expect(try directory.nextGeneration(wallSeconds: 0) == last + 1002)
    }

    @Test("the generation is on disk before it is given out")
    func generationIsPersisted() throws {
        let namespace = temporary.file("data")
        let first = try { try DataDirectory(opening: namespace).nextGeneration(wallSeconds: 0) }()
        #expect(try DataDirectory(opening: namespace).read(.generation) == Array(String(first).utf8))
    }

    @Test("a damaged generation file does not stop the start", arguments: ["rubbish", ""])
    func damagedGeneration(text: String) throws {
        let directory = try DataDirectory(opening: path)
        try temporary.write(text, to: "data/generation")
        #expect(try directory.nextGeneration(wallSeconds: 1_600_000_000) == 22_163_200)
        try directory.write(Array("not a number".utf8), to: .generation)
        #expect(try directory.nextGeneration(wallSeconds: 1_600_000_001) == 22_163_201)
        #expect(names(in: path).filter { $0.hasPrefix("generation.corrupt") }.count == 2)
    }

    @Test("a generation at its end is refused with a way on")
    func generationUsedUp() throws {
        let directory = try DataDirectory(opening: path)
        try directory.write(Array(String(UInt32.max - 1).utf8), to: .generation)
        #expect(throws: DataDirectoryError.usedUp) { try directory.nextGeneration(wallSeconds: 0) }
    }

    // MARK: The cluster key

    @Test("the key is the one line that counts, and is written once")
    func clusterKey() throws {
        let file = ClusterKeyFile(in: path)
        #expect(try file.read() == nil)
        try file.create("bramble 1 home abc")
        #expect(mode(of: file.path) == 0o600 && mode(of: path) == 0o700)
        #expect(try file.read() == "bramble 1 home abc")
        #expect(throws: DataDirectoryError.keyExists(file.path)) { try file.create("other") }
        try file.replace(with: "rotated")
        #expect(try file.read() == "rotated")
        try temporary.write("# copied\r\n\r\n  the key \r\n", to: "data/cluster.key")
        #expect(try file.read() == "the key")
        #expect(names(in: path).allSatisfy { !$0.contains("tmp") })
    }

    @Test(
        "what is no key file is told",
        arguments: ["", "# only a remark", "one\ntwo", String(repeating: "x", count: 5000)])
    func badClusterKey(text: String) throws {
        try temporary.write(text, to: "data/cluster.key")
        let error = #expect(throws: DataDirectoryError.self) { try ClusterKeyFile(in: path).read() }
        #expect(error?.problem.contains("is not a cluster key") == true)
    }

    @Test("a key file that is a directory or a pipe is told and does not block")
    func oddKeyFile() throws {
        mkdir(path, 0o700)
        mkfifo(path + "/cluster.key", 0o600)
        #expect(throws: DataDirectoryError.badKeyFile(path + "/cluster.key", "it is not a plain file")) {
            try ClusterKeyFile(in: path).read()
        }
    }

    @Test("a machine that waits for a key notices it, but not half of it, and notices a better one after a bad one")
    func watching() throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let file = ClusterKeyFile(in: path)
        _ = try DataDirectory(opening: path)
        let seen = Locked<[Result<String, DataDirectoryError>]>([])
        let watch = ClusterKeyFile.Watch(file: file, loop: loop, interval: .seconds(3600)) { result in
            seen.withLock { $0.append(result) }
        }
        func look() -> [Result<String, DataDirectoryError>] {
            watch.look()
            return seen.withLock { $0 }
        }
        #expect(look().isEmpty)
        // A slow copy: each look finds more of it than the one before.
        for count in 1...11 {
            try Shell.run("printf %.\(count)s bramble-key > \(file.path)")
            #expect(look().isEmpty)
        }
        #expect(look() == [.success("bramble-key")])
        #expect(look().count == 1, "the same content is told once")
        try Shell.run("printf 'two\nlines\n' > \(file.path)")
        #expect(look().count == 1)
        #expect(look().last == .failure(.badKeyFile(file.path, "it has 2 lines, not one")))
        file.remove()
        #expect(look().count == 2)
        try file.create("the second")
        #expect(look() == [.success("bramble-key"), look()[1], .success("the second")])
    }

    @Test("the watch runs by itself until it is cancelled")
    func watchRuns() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let file = ClusterKeyFile(in: path)
        let (seen, continuation) = AsyncStream<String>.makeStream()
        let watch = file.watch(on: loop, every: .milliseconds(10)) { continuation.yield((try? $0.get()) ?? "error") }
        var results = seen.makeAsyncIterator()
        try file.create("first")
        #expect(await results.next() == "first")
        watch.cancel()
        try file.replace(with: "unseen")
        try await loop.sleep(for: .milliseconds(50))
        continuation.finish()
        #expect(await results.next() == nil)
    }

    // MARK: Lines

    @Test("lines are kept in order over restarts, within bounds, and a torn last line is dropped")
    func lineLog() throws {
        let directory = try DataDirectory(opening: path)
        do {
            let log = LineLog(in: directory, limit: 1000)
            for number in 0..<50 { #expect(log.append("event \(number)")) }
            #expect(log.append("two\nlines"))
        }
        try Shell.run("printf torn >> \(path)/events")
        let log = LineLog(in: directory, limit: 1000)
        #expect(log.lines() == (0..<50).map { "event \($0)" } + ["two lines"])
        #expect(log.append("after"))
        #expect(log.lines().suffix(2) == ["two lines", "after"])
        for number in 0..<500 { log.append("more \(number)") }
        let kept = log.lines()
        #expect(kept.last == "more 499" && kept.count > 80 && kept.count < 230)
        #expect(kept == (500 - kept.count..<500).map { "more \($0)" })
        #expect(!log.append(String(repeating: "x", count: 2000)))
    }
}
