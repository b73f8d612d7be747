import BrambleAPI
import FoundationEssentials
import Glibc

/// `bramble database`, `conflicts`, `backup`, `restore`: the database as a whole.
enum DatabaseCommands {
    private enum Word: String, CaseIterable, Sendable { case release }
    private static let word = Argument(
        "release", Kind<Word>.choice(), required: false,
        "Take what NODE wrote with a wrong clock as it is. Without it: show the database")
    private static let writer = Argument(
        "NODE", .node, required: false, "With release: the node that wrote it, or one of its origins as they are shown")

    static let status = Command(
        asking: "database", "Show the database: its size, its tables, and how far each node's copy is",
        details: """
            Writes from the far future are held back: the clock of the node that made them was wrong. “release” takes them, on \
            every node and for good. Where others wrote the same values they count until somebody writes them again.
            """,
        section: .data, accepts: [word, writer, Shared.yes, Shared.json],
        examples: ["bramble database", "bramble database release serv3"]
    ) { input, console, api in
        if input[word] != nil {
            guard let name = input[writer] else {
                throw UsageError(
                    problem: "it is not said whose writes to release",
                    remedy: "bramble database shows what is held back")
            }
            let plan = [
                "What \(name) wrote with a wrong clock is taken on every node:",
                "  - where others wrote the same values since, these writes count all the same, until they are written again",
                "  - it cannot be taken back",
            ]
            try console.confirm(plan, question: "Take it?", command: "database release", input: input)
            let change = try await api.releaseWrites(of: name)
            if input[Shared.json] { return try console.printJSON(change) }
            return console.print(Text.oneLine(change.done))
        }
        let status = try await api.database()
        if input[Shared.json] { return try console.printJSON(status) }
        let terminal = console.terminal
        let (word, colour) = words(status.state)
        console.print(terminal.paint("The database is \(word)", colour) + ": " + summary(status))
        var table = Table(columns: [
            .init(title: "NODE"), .init(title: "COPY"), .init(title: "LACKS", alignRight: true, dropOrder: 1),
            .init(title: "BEHIND", alignRight: true), .init(title: "LAST EQUAL", alignRight: true, dropOrder: 2),
            .init(title: "NOTE", dropOrder: 3),
        ])
        let now = terminal.now()
        table.rows = status.replicas.map { replica in
            let (word, colour) = words(replica)
            let isKnown = !replica.isSelf && replica.state != .unreachable
            return [
                .init(replica.node + (replica.isSelf ? " *" : "")), .init(word, colour),
                .init(replica.isSelf ? terminal.dash : String(replica.missing)),
                .init(isKnown ? lag(replica.behindSeconds) : terminal.dash),
                .init(lastEqual(replica, now) ?? terminal.dash), .init(replica.note),
            ]
        }
        console.terminal.write(table.rendered(for: terminal))
        if status.conflicts > 0 {
            console.say(
                "\(Text.count(status.conflicts, "value was", "values were")) overwritten unseen: bramble conflicts")
        }
        for note in status.notes { console.say("Note: " + Text.oneLine(note)) }
        let stuck = status.origins.filter { $0.state != .taken }
        if !stuck.isEmpty {
            var list = Table(columns: [
                .init(title: "WRITES OF"), .init(title: "ORIGIN"), .init(title: "STATE"),
                .init(title: "TAKEN", alignRight: true), .init(title: "WAITING", alignRight: true),
                .init(title: "FROM", dropOrder: 1),
            ])
            list.rows = stuck.map { origin in
                [
                    .init(origin.node), .init(origin.origin), .init(origin.state.rawValue, .red),
                    .init(String(origin.taken)), .init(String(origin.waiting)),
                    .init(origin.at.map { EventLines.time($0, terminal) } ?? terminal.dash),
                ]
            }
            console.print("")
            terminal.write(list.rendered(for: terminal))
        }
        let tables = try await api.tables().filter { !$0.isSystem }
        guard !tables.isEmpty else {
            return console.say("No tables yet. Make one: bramble sql \"create table NAME (id integer primary key, …)\"")
        }
        var list = Table(columns: [
            .init(title: "TABLE"), .init(title: "ROWS", alignRight: true), .init(title: "COLUMNS"),
        ])
        list.rows = tables.map { table in
            let columns = table.columns.map { column in
                column.name + (column.type.isEmpty ? "" : " " + column.type.lowercased()) + (column.key > 0 ? "*" : "")
            }
            return [
                .init(table.name), .init(table.rows.map { String($0) } ?? terminal.dash),
                .init(columns.joined(separator: ", ")),
            ]
        }
        console.print("")
        console.terminal.write(list.rendered(for: terminal))
    }

    private static func summary(_ status: DatabaseStatus) -> String {
        let behind = status.replicas.filter { !$0.isSelf && $0.state != .equal }.count
        let copies = status.replicas.count
        let equal =
            behind == 0 ? "all \(Text.count(copies, "copy", "copies")) equal" : "\(behind) of \(copies) copies differ"
        let parts = [Text.bytes(status.bytes), Text.count(status.tables, "table", "tables"), equal]
        return (copies == 1 ? parts.dropLast() + ["this is the only copy"] : parts).joined(separator: ", ")
    }

    private static func words(_ state: DatabaseStatus.State) -> (String, Colour) {
        switch state {
        case .open: ("open", .green)
        case .fetching: ("being fetched from another node", .yellow)
        case .readOnly: ("read, but cannot be written", .red)
        case .closed: ("closed", .red)
        }
    }

    private static func words(_ replica: ReplicaStatus) -> (String, Colour?) {
        switch replica.state {
        case .equal: return ("equal", .green)
        case .behind where replica.missing == 0 && replica.ahead > 0:
            return ("ahead by \(replica.ahead)", .yellow)
        case .behind: return ("behind", .yellow)
        case .snapshot:
            guard let part = replica.snapshot, part.totalBytes > 0 else { return ("whole copy", .yellow) }
            let share = Int(Double(part.bytes) / Double(part.totalBytes) * 100)
            return ("whole copy, \(min(max(share, 0), 100)) % \(part.direction == .sending ? "sent" : "here")", .yellow)
        case .unreachable: return ("unreachable", .red)
        case .quarantined: return ("quarantined", .red)
        }
    }

    private static func lastEqual(_ replica: ReplicaStatus, _ now: Date) -> String? {
        if replica.isSelf { return nil }
        return replica.state == .equal ? "now" : replica.lastSync.map { Text.ago($0, now: now) + " ago" }
    }

    private static func lag(_ seconds: Double) -> String {
        seconds <= 0 ? "0" : seconds < 60 ? Text.number(seconds, decimals: 1) + " s" : Text.duration(seconds: seconds)
    }

    // MARK: conflicts

    private static let last = Option("last", short: "n", .integer("COUNT", in: 1...10_000), "Only the newest")

    static let conflicts = Command(
        asking: "conflicts", "List values that were overwritten by somebody who had not seen them",
        details: """
            Two nodes that cannot hear each other both go on. Where both changed the same value, the later one counts, \
            and what it replaced is listed here.
            """,
        section: .data, accepts: [last, Shared.json]
    ) { input, console, api in
        let conflicts = try await api.conflicts(limit: input[last] ?? 100)
        if input[Shared.json] { return try console.printJSON(conflicts) }
        guard !conflicts.isEmpty else { return console.say("No value was overwritten unseen.") }
        let terminal = console.terminal
        for conflict in conflicts {
            let key = conflict.key.sorted { $0.key < $1.key }.map { "\($0.key)=\(shown($0.value))" }
            let place = ([conflict.table] + key + (conflict.column.map { [$0] } ?? [])).joined(separator: "  ")
            let time = EventLines.time(conflict.at, terminal)
            console.print(terminal.paint(time, .faint) + "  " + terminal.paint(Text.oneLine(place), .strong))
            console.print("    counts: " + side(conflict.kept, terminal))
            console.print("    lost:   " + side(conflict.lost, terminal))
        }
    }

    private static func side(_ side: Conflict.Side, _ terminal: Terminal) -> String {
        let what = side.action == "deleted" ? "deleted" : shown(side.value)
        return Text.oneLine("\(what)  (\(side.node), \(EventLines.time(side.at, terminal)))")
    }
    private static func shown(_ value: SQLValue) -> String {
        var writer = JSONWriter()
        writer.value(value)
        return Text.cut(Text.oneLine(String(decoding: writer.bytes.prefix(240), as: UTF8.self)), to: 60)
    }

    // MARK: backup and restore

    private static let target = Argument("FILE", .file, "The file to write; it must not exist")
    private static let source = Argument("FILE", .file, "A file that bramble backup wrote")

    static let backup = Command(
        asking: "backup", "Write a consistent copy of the whole database to a file",
        details: """
            The copy is one SQLite file of one moment; the nodes go on writing meanwhile. It is not a file that a node can \
            be given as its own: bramble restore takes it.
            """,
        section: .data, accepts: [target, Shared.json], examples: ["bramble backup /mnt/usb/cluster.db"]
    ) { input, console, api in
        let path = input[required: target]
        let file = try BackupTarget(path)
        do {
            try await api.backup { file.write($0) }
        } catch {
            try file.failed(error)
        }
        let bytes = try file.finish()
        struct Done: Encodable {
            let file: String
            let bytes: Int
        }
        if input[Shared.json] { return try console.printJSON(Done(file: path, bytes: bytes)) }
        console.print("\(Text.oneLine(path)) has the database: \(Text.bytes(Int64(bytes))).")
    }

    static let restore = Command(
        asking: "restore", "Replace the database of every node by a backup",
        details: """
            Whatever was written after the backup is lost, on every node; users, tokens and settings become those of the \
            backup. Each node keeps its database of before as a file. A node that is away takes the backup over when it \
            comes back: what it still has of before cannot mix in.
            """,
        section: .data, accepts: [source, Shared.yes, Shared.json], examples: ["bramble restore /mnt/usb/cluster.db"]
    ) { input, console, api in
        let path = input[required: source]
        guard access(path, R_OK) == 0 else {
            throw UsageError(
                problem: "the file \(path) cannot be read: \(String(cString: strerror(errno)))",
                remedy: "name a file that bramble backup wrote")
        }
        if !input[Shared.yes], console.terminal.canAsk {
            let status = try await api.database()
            let others = status.replicas.count - 1
            let away = status.replicas.filter { $0.state == .unreachable }.map(\.node)
            var plan = [
                "The database of cluster “\(try await api.status().cluster)”, \(Text.bytes(status.bytes)) in "
                    + "\(Text.count(status.tables, "table", "tables")), is replaced by \(path):",
                "  - what was written after that backup is lost"
                    + (others > 0 ? ", here and on \(Text.count(others, "other node", "other nodes"))" : ""),
                "  - users, tokens and settings become those of the backup",
                "  - each node keeps its database of before as a file beside it",
            ]
            if !away.isEmpty {
                plan.append("  - \(away.joined(separator: ", ")) cannot be reached now and will take it over later")
            }
            try console.confirm(plan, question: "Restore it?", command: "restore", input: input)
        } else {
            try console.confirm([], question: "", command: "restore", input: input)
        }
        let change = try await api.restore(from: path)
        if input[Shared.json] { try console.printJSON(change) } else { console.print(Text.oneLine(change.done)) }
    }
}

/// A file that is there whole or not at all: written beside its place, synced, then moved there.
private final class BackupTarget: @unchecked Sendable {
    // Touched by the transfer's thread until it has ended, then by the command alone.
    private let path: String
    private let draft: String
    private let descriptor: Int32
    private var written = 0
    private var reason: String?

    init(_ path: String) throws {
        self.path = path
        draft = path + ".part"
        guard access(path, F_OK) != 0 else {
            throw UsageError(problem: "\(path) exists already", remedy: "name a file that does not, or remove it first")
        }
        descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw UsageError(
                problem: "\(draft) cannot be written: \(String(cString: strerror(errno)))",
                remedy: "name a file in a folder that you may write to")
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var place = 0
        while place < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress! + place, bytes.count - place)
            guard count > 0 else {
                if count < 0, errno == EINTR { continue }
                reason = String(cString: strerror(errno))
                return false
            }
            place += count
        }
        written += place
        return true
    }

    /// Nothing is left; our own problem goes before what the transfer made of it.
    func failed(_ error: any Error) throws -> Never {
        close(descriptor)
        unlink(draft)
        guard let reason else { throw error }
        throw CommandFailure(
            problem: "\(path) cannot be written: \(reason)", remedy: "make room, or name another place")
    }

    func finish() throws -> Int {
        let isSynced = fsync(descriptor) == 0
        guard isSynced, link(draft, path) == 0 else {
            reason = errno == EEXIST ? "it exists by now" : String(cString: strerror(errno))
            try failed(CommandFailure(problem: "", remedy: ""))
        }
        close(descriptor)
        unlink(draft)
        return written
    }
}
