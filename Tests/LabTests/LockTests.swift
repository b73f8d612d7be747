import BrambleAPI
import Glibc
import Lab
import Testing

/// A file that all hosts can write: who runs under the lock adds a line every few milliseconds, as `NODE EPOCH`.
private struct Diary {
    let directory: String
    var path: String { directory + "/lines" }

    init() throws {
        var template = Array("/dev/shm/bramble-lock-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw LabError("no directory in /dev/shm") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    func remove() {
        unlink(path)
        rmdir(directory)
    }

    func writer(_ name: String, for rounds: Int = 100_000) -> [String] {
        [
            "sh", "-c",
            "i=0; while [ $i -lt \(rounds) ]; do echo \"\(name) $BRAMBLE_EPOCH\" >> \(path); sleep 0.005; i=$((i+1)); done",
        ]
    }
    var lines: [(node: String, epoch: Int)] {
        (file(path) ?? "").split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            return words.count == 2 ? Int(words[1]).map { (String(words[0]), $0) } : nil
        }
    }
    /// Nobody wrote after somebody with a higher epoch had, and nobody shared an epoch.
    var overlaps: [String] {
        var highest = 0
        var owner: [Int: String] = [:]
        var result: [String] = []
        for (number, line) in lines.enumerated() {
            if line.epoch < highest { result.append("line \(number): \(line.node) \(line.epoch) after \(highest)") }
            if let other = owner[line.epoch], other != line.node {
                result.append("\(other) and \(line.node): \(line.epoch)")
            }
            owner[line.epoch] = line.node
            highest = max(highest, line.epoch)
        }
        return result
    }
    func isWritten(by name: String, within limit: Duration = .seconds(15)) -> Bool {
        eventually(within: limit) { lines.last?.node == name ? true : nil } ?? false
    }
}

@Suite("locks", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct LockTests {
    private func lock(_ node: BrambleNode, _ options: [String] = [], _ command: [String]) throws -> LabProcess {
        try node.host.spawn([BrambleNode.builtHere, "lock", "job"] + options + ["--"] + command)
    }

    @Test("a command runs with its epoch, its exit code is passed on, and the lock is free again at once")
    func whole() throws {
        let cluster = try Cluster("n1", "n2")
        defer { withExtendedLifetime(cluster) {} }
        var epochs: [Int] = []
        for node in [cluster["n1"], cluster["n2"], cluster["n1"]] {
            let result = try node.cli(
                ["lock", "job", "--wait", "10", "--", "sh", "-c", "echo $BRAMBLE_EPOCH; exit 7"], within: .seconds(20))
            #expect(result.status == 7, "\(result)")
            epochs.append(Int(result.output.split(separator: "\n").first ?? "") ?? 0)
        }
        #expect(epochs[0] > 0 && epochs == epochs.sorted() && Set(epochs).count == 3, "\(epochs)")
    }

    @Test(
        "who waits is told who holds it, gets it when it is given back, and gives up when told to", arguments: [2, 3])
    func waits(count: Int) throws {
        let cluster = count == 2 ? try Cluster("n1", "n2") : try Cluster("n1", "n2", "n3")
        let diary = try Diary()
        defer { diary.remove() }
        let first = try lock(cluster["n1"], [], diary.writer("n1"))
        #expect(diary.isWritten(by: "n1"), "\(first.output)\n\(cluster.logs)")
        for _ in 0..<2 {
            let refused = try cluster["n2"].cli("lock", "job", "--wait", "1", "--", "true", within: .seconds(10))
            #expect(refused.status == 1 && refused.errors.contains("n1 holds it"), "\(refused)")
        }
        // A daemon that is started again knows nothing of it.
        cluster["n2"].stop()
        try cluster["n2"].restart()
        #expect(cluster.agree(alive: count == 2 ? ["n1", "n2"] : ["n1", "n2", "n3"]), "\(cluster.logs)")
        let again = try cluster["n2"].cli("lock", "job", "--wait", "3", "--", "true", within: .seconds(10))
        #expect(again.status == 1 && again.errors.contains("n1 holds it"), "\(again)\n\(cluster.logs)")
        let shown = try cluster["n2"].cli("lock")
        #expect(shown.output.contains("job") && shown.output.contains("n1"), "\(shown)")
        let second = try lock(cluster["n2"], [], diary.writer("n2", for: 100))
        #expect(second.wait(.milliseconds(500)) == nil, "it does not run beside the first")
        first.signal(SIGTERM)
        #expect(diary.isWritten(by: "n2"), "\(cluster.logs)")
        _ = second.wait(.seconds(20))
        #expect(diary.overlaps.isEmpty, "\(diary.overlaps)")
    }

    @Test(
        "whatever happens to the holder, its command has ended before another one begins",
        arguments: ["command killed", "daemon killed", "daemon stopped", "cut off", "power off"])
    func faults(fault: String) throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let diary = try Diary()
        defer { diary.remove() }
        let holder = try lock(cluster["n1"], [], diary.writer("n1"))
        #expect(diary.isWritten(by: "n1"), "\(cluster.logs)")
        let other = try lock(cluster["n2"], [], diary.writer("n2"))
        switch fault {
        case "command killed": holder.kill()
        case "daemon killed": cluster["n1"].kill()
        case "daemon stopped": cluster["n1"].process?.freeze()
        case "cut off": try cluster.lab.cut(cluster["n1"].host)
        default: try cluster.lab.powerOff(cluster["n1"].host)
        }
        #expect(diary.isWritten(by: "n2"), "\(fault)\n\(cluster.logs)")
        pause(.seconds(1))
        if fault == "daemon stopped" { cluster["n1"].process?.thaw() }
        if fault == "cut off" { try cluster.lab.heal() }
        pause(.seconds(1))
        #expect(diary.overlaps.isEmpty, "\(fault): \(diary.overlaps)")
        #expect(diary.lines.last?.node == "n2")
        _ = other.kill()
    }

    @Test("wrong words are refused before anything runs")
    func wrong() throws {
        let cluster = try Cluster("n1")
        for (words, code) in [
            (["lock", "a/b", "--", "true"], Int32(1)), (["lock", "job"], 2),
            (["lock", "job", "--wait", "x", "--", "true"], 2),
            (["lock", "job", "--", "/nowhere/program"], 126), (["lock", "job", "--", "no-such-program"], 127),
        ] {
            let result = try cluster["n1"].cli(words, within: .seconds(20))
            #expect(result.status == code, "\(words): \(result)")
            #expect(result.errors.contains("remedy: "), "\(words): \(result)")
        }
    }
}
