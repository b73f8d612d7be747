import CLinux
import Glibc
import Primitives
import TestSupport
import Testing

@testable import Machine

@Suite("the hosts file gets one block of names, and no other line is ever touched")
struct HostsFileTests {
    let temporary = TemporaryDirectory()
    var path: String { temporary.file("hosts") }
    let entries = [
        HostsFile.Entry(address: IPAddress("10.0.0.1")!, name: NodeName("serv1")!),
        HostsFile.Entry(address: IPAddress("fd00::2")!, name: NodeName("serv2")!),
    ]
    let block = """
        # BEGIN bramble: the bramble daemon keeps these lines; write your own above or below
        10.0.0.1\tserv1\t# bramble
        fd00::2\tserv2\t# bramble
        # END bramble

        """

    @Test("the block is added, changed and removed; the rest stays byte by byte")
    func block_() throws {
        let users = "127.0.0.1 localhost\n# a remark\n\n::1 localhost"
        try temporary.write(users, to: "hosts")
        let file = HostsFile(path: path)
        #expect(try file.update(entries))
        #expect(temporary.text("hosts") == users + "\n" + block)
        #expect(try !file.update(entries), "nothing to change is nothing written")
        try Shell.run("echo '10.9.9.9 below' >> \(path)")
        #expect(try file.update([entries[0]]))
        let shorter = block.replacing("fd00::2\tserv2\t# bramble\n", with: "")
        #expect(temporary.text("hosts") == users + "\n" + shorter + "10.9.9.9 below\n")
        try file.removeBlock()
        #expect(temporary.text("hosts") == users + "\n10.9.9.9 below\n")
        #expect(try !file.removeBlock())
    }

    @Test("a missing file is made, an empty one is filled")
    func missing() throws {
        #expect(try HostsFile(path: path).update(entries))
        #expect(temporary.text("hosts") == block && mode(of: path) == 0o644)
    }

    @Test("mode and owner stay", .enabled(if: isRoot))
    func ownership() throws {
        try temporary.write("x\n", to: "hosts", mode: 0o640)
        chown(path, 1234, 5678)
        try HostsFile(path: path).update(entries)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_uid == 1234 && status.st_gid == 5678 && mode(of: path) == 0o640)
    }

    @Test("a symbolic link stays one; what it points to is written")
    func link() throws {
        try temporary.write("x\n", to: "real/hosts")
        symlink("real/hosts", path)
        try HostsFile(path: path).update(entries)
        #expect(temporary.text("real/hosts") == "x\n" + block)
        var status = stat()
        #expect(lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    }

    @Test("a file that is a mount of its own, as in a container, is written in place", .enabled(if: isRoot))
    func mounted() throws {
        try temporary.write("127.0.0.1 localhost\n", to: "hosts")
        try temporary.write("127.0.0.1 other\n", to: "source")
        let (path, source, entries) = (path, temporary.file("source"), entries)
        let namespace = try OwnNamespace()
        try namespace.run {
            guard mount(source, path, nil, UInt(MS_BIND), nil) == 0 else { throw SystemError() }
            try HostsFile(path: path).update(entries)
            try HostsFile(path: path).update([entries[0]])
        }
        let shorter = block.replacing("fd00::2\tserv2\t# bramble\n", with: "")
        #expect(temporary.text("source") == "127.0.0.1 other\n" + shorter)
        #expect(temporary.text("hosts") == "127.0.0.1 localhost\n")
        #expect(names(in: temporary.path) == ["hosts", "source"])
    }

    @Test("what cannot be written is told with a remedy", .enabled(if: isRoot))
    func readOnly() throws {
        let path = path
        let namespace = try OwnNamespace()
        let error = try namespace.run {
            let directory = AtomicFile.split(path).directory
            guard mount("tmpfs", directory, "tmpfs", 0, nil) == 0 else { throw SystemError() }
            try AtomicFile.write(Array("x\n".utf8), to: path, mode: 0o644)
            guard mount(nil, directory, nil, UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 else { throw SystemError() }
            var found: HostsFileError?
            do throws(HostsFileError) { try HostsFile(path: path).update([]) } catch { found = error }
            let entry = HostsFile.Entry(address: .v4(1), name: NodeName("a")!)
            do throws(HostsFileError) { try HostsFile(path: path).update([entry]) } catch { found = error }
            return found
        }
        #expect(error == .unwritable(path, SystemError(code: EROFS)))
        #expect(error?.remedy.contains("read-only") == true)
        mkdir(path, 0o755)
        #expect(throws: HostsFileError.unreadable(path, SystemError(code: EISDIR))) {
            try HostsFile(path: path).update(entries)
        }
    }

    @Test("damaged markers lose no user's line, and ours do not pile up")
    func damagedMarkers() {
        func result(_ text: String, _ entries: [HostsFile.Entry]) -> String {
            String(decoding: HostsFile.replacingBlock(in: Array(text.utf8), with: entries), as: UTF8.self)
        }
        let one = [entries[0]]
        let wanted = block.replacing("fd00::2\tserv2\t# bramble\n", with: "")
        let ours = "10.0.0.9\told\t# bramble\n"
        // No end.
        #expect(result("a\n# BEGIN bramble\n\(ours)user\n", one) == "a\n" + wanted + "user\n")
        // No begin.
        #expect(result("a\n\(ours)# END bramble\nuser\n", one) == "a\n" + wanted + "user\n")
        // Two begins, two ends.
        #expect(
            result("a\n# BEGIN bramble\n# BEGIN bramble x\n\(ours)b\n# END bramble\n\(ours)# END bramble\nc\n", one)
                == "a\n" + wanted + "b\nc\n")
        // Two blocks.
        #expect(result("\(block)user\n\(block)", one) == wanted + "user\n")
        // A user's line inside.
        #expect(result("# BEGIN bramble\n\(ours)10.1.1.1 mine\n# END bramble\n", []) == "10.1.1.1 mine\n")
        // Windows line ends, blanks.
        #expect(
            result("a\r\n  # BEGIN bramble\r\n10.0.0.9\told\t# bramble\r\n# END bramble \r\nb\r\n", []) == "a\r\nb\r\n")
    }

    @Test(
        "whatever the file holds, its other lines stay in order, and writing twice is writing once", arguments: 1...40)
    func anything(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        let pieces = [
            "# BEGIN bramble", "# BEGIN bramble: x", "# END bramble", " # END bramble\r", "10.0.0.9\told\t# bramble",
            "127.0.0.1 localhost", "", "\t", "\u{0}\u{1}", "# bramble", "ü ∞", "10.0.0.1 serv1 # bramble?",
        ]
        for _ in 0..<50 {
            var lines: [[UInt8]] = []
            for _ in 0..<chance.below(14) {
                var line = Array(chance.pick(from: pieces)!.utf8)
                if chance.chance(0.2), !line.isEmpty { line[chance.below(line.count)] = UInt8(chance.below(256)) }
                lines.append(line.filter { $0 != 10 })
            }
            let text = Array(lines.joined(separator: [10])) + (chance.chance(0.5) ? [10] : [])
            let ours = Array("\t# bramble".utf8)
            func isUsers(_ line: some Collection<UInt8>) -> Bool {
                let bare = line.filter { $0 != 13 && $0 != 32 }
                return !line.isEmpty && !line.suffix(ours.count).elementsEqual(ours)
                    && !bare.starts(with: Array("#BEGINbramble".utf8)) && !bare.elementsEqual(Array("#ENDbramble".utf8))
            }
            func users(_ bytes: [UInt8]) -> [[UInt8]] {
                bytes.split(separator: 10, omittingEmptySubsequences: true).map { Array($0) }.filter {
                    isUsers($0) && !($0.last == 13 && $0.dropLast().suffix(ours.count).elementsEqual(ours))
                }
            }
            let written = HostsFile.replacingBlock(in: text, with: entries)
            #expect(users(written) == users(text))
            #expect(HostsFile.replacingBlock(in: written, with: entries) == written)
            let removed = HostsFile.replacingBlock(in: written, with: [])
            #expect(users(removed) == users(text))
            #expect(!String(decoding: removed, as: UTF8.self).contains("serv2"))
        }
    }
}
