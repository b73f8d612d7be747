import Primitives
import Processes

/// How rsync is called on both sides. The two have to fit: what changes the bytes between them is written once, here.
enum RsyncCommand {
    /// Half a file that a broken run left is kept in here, beside where it belongs, for the next run to go on with.
    static let partial = ".bramble-partial"
    /// Without a byte from the other side, rsync gives up. Unit: seconds.
    static let timeout = 60
    /// Exit codes that mean that all is there. 24: a file went away while the run was under way, so it is not to be there.
    static let good: Set<Int32> = [0, 24]

    private static let common = [
        "--timeout=\(timeout)", "--delete-delay", "--stats", "--partial-dir", partial, "--numeric-ids",
        // Two nodes may have written the same number of bytes within one second: nanoseconds tell.
        "--modify-window=-1",
    ]
    /// No devices and sockets: copies of them are of no use, and a device's number may be another disk's over there.
    private static let letters = "lHogtpr"

    static func push(
        rsync: String, path: String, options: TransferRequest.Options, exclude: [String], bytesPerSecond: Int?,
        channel: [String], to node: String, mirror: ServiceName
    ) -> Command {
        var arguments = ["-\(letters)"]
        if options.contains(.acls) { arguments.append("-A") }
        if options.contains(.attributes) { arguments.append("-X") }
        arguments += common + ["--no-human-readable", "--no-motd", "--info=progress2", "--exclude=/lost+found"]
        arguments += exclude.map { "--exclude=\($0)" }
        if let bytesPerSecond { arguments.append("--bwlimit=\(max(1, bytesPerSecond / 1024))k") }
        arguments += ["-e", channel.map(quoted).joined(separator: " ")]
        arguments += ["--", path, "\(node):\(mirror)"]
        return Command(rsync, arguments, environment: environment)
    }

    /// The receiving side. All words are ours; of the request only checked letters.
    static func serve(
        rsync: String, path: String, request: TransferRequest, parkedIn directory: String?
    ) -> Command {
        var short = "-\(letters)"
        if request.options.contains(.acls) { short += "A" }
        if request.options.contains(.attributes) { short += "X" }
        short += "e\(request.capabilities)"
        var arguments = ["--server", short] + common
        // The sender does not know of it: only who overwrites has something to lose.
        if let directory { arguments += ["-b", "--backup-dir", directory] }
        return Command(rsync, arguments + [".", path], environment: environment)
    }

    private static let environment = ["LC_ALL": "C", "PATH": Command.searchPath, "HOME": "/"]

    /// rsync cuts what follows `-e` at blanks, and knows quotes.
    private static func quoted(_ word: String) -> String { word.contains(" ") ? "'\(word)'" : word }

    /// What `--stats` says: files that were sent, and their bytes.
    static func figures(_ lines: [String]) -> (files: Int, bytes: UInt64) {
        func number(after label: String) -> UInt64 {
            guard let line = lines.last(where: { $0.hasPrefix(label) }) else { return 0 }
            let digits = line.dropFirst(label.count).drop { $0 == " " }.prefix {
                $0.isASCII && $0.isNumber || $0 == ","
            }
            return UInt64(digits.filter { $0 != "," }) ?? 0
        }
        return (
            Int(clamping: number(after: "Number of regular files transferred:")),
            number(after: "Total transferred file size:")
        )
    }

    /// What `--info=progress2` says between: `  1,234,567  45%   10.00MB/s    0:00:01`.
    static func percent(_ line: String) -> Int? {
        guard let word = line.split(separator: " ").dropFirst().first, word.last == "%",
            let percent = Int(word.dropLast()), (0...100).contains(percent)
        else { return nil }
        return percent
    }

    /// The line that says most of what went wrong, without rsync's address of it in its own source.
    static func reason(_ end: ActionEnd) -> String {
        if case .notStarted(let failure) = end.cause, failure.isMissing { return missing }
        guard end.code != nil else { return "\(end.cause)" }
        let telling = end.errors.filter { !$0.hasPrefix("rsync error:") && !$0.hasPrefix("rsync warning:") }
        let line = telling.first ?? end.errors.last ?? "rsync ended with \(end.cause)"
        return String(line.prefix(300))
    }
    /// It could not write: the disk is full, or broken.
    static let cannotWrite: Int32 = 11
    /// All went well but for some files.
    static let someFailed: Int32 = 23
    static let missing = "rsync is not installed here: apt install rsync"
}
