import Glibc
import Lab

/// Mnesia as Debian packages it: tables of disc copies on every node, written in transactions, by a program of its own
/// language (`mnesia_bench.erl`) inside the node, so without any protocol between.
final class Mnesia {
    static var isInstalled: Bool {
        access("/usr/bin/erl", X_OK) == 0 && shell("ls -d /usr/lib/erlang/lib/mnesia-*") != nil
    }
    private static let directory = "/var/lib/mnesia"
    private let effort: DatabaseEffort
    private let progress: (String) -> Void
    private var lab: Lab
    private let disks: DiskPlaces
    private var nodes: [LabProcess] = []
    private var lastCommand = 0

    init(effort: DatabaseEffort, progress: @escaping (String) -> Void) throws {
        (self.effort, self.progress) = (effort, progress)
        lab = try Lab([])
        disks = try DiskPlaces()
        guard shell("erlc -o '\(disks.base)' Benchmarks/mnesia_bench.erl") != nil else {
            throw LabError("erlc did not take Benchmarks/mnesia_bench.erl")
        }
    }

    func measure() throws -> DatabaseFigures {
        var figures = DatabaseFigures()
        try start(3)
        for clients in [1, 16] {
            figures.writes[clients] = try ask(0, "load \(clients) \(effort.load.components.seconds)").first
            progress("Mnesia: \(clients) clients: \(decimal(figures.writes[clients] ?? 0, 0)) writes/s")
        }
        figures.seen = Samples(values: try ask(0, "seen \(name(2)) \(effort.seen)").map { $0 / 1e9 })
        progress("Mnesia: seen after \(milliseconds(figures.seen?.percentile(0.5)))")
        try freshCluster(3)
        _ = try ask(0, "fill \(effort.rows)")
        pause(.seconds(5))
        figures.memory = nodes.compactMap { $0.usage.map { Double($0.residentBytes) / 1_048_576 } }.max()
        progress("Mnesia: \(mebibytes(figures.memory)) with \(effort.rows) rows")
        let moment = monotonicSeconds()
        try launch(3)
        if try ask(3, "join \(name(0))").first == Double(effort.rows) { figures.join = monotonicSeconds() - moment }
        progress("Mnesia: joined in \(seconds(figures.join))")
        try freshCluster(3)
        figures.healNote = try heal()
        progress("Mnesia: partition: \(figures.healNote)")
        try freshCluster(2)
        try tell(0, "longest 5")
        pause(.seconds(1))
        nodes[1].kill()
        figures.loss = try answer(0, "longest").first.map { $0 / 1e9 }
        progress("Mnesia: one of two lost: \(seconds(figures.loss))")
        lab.close()
        return figures
    }

    private func name(_ node: Int) -> String { "n\(node + 1)@\(Lab.prefix).\(node + 1)" }

    private func start(_ count: Int) throws {
        for node in 0..<count { try launch(node) }
        _ = try ask(0, "form " + (1..<count).map(name).joined(separator: " "))
    }
    private func launch(_ node: Int) throws {
        let host = try lab.add(["n\(node + 1)"])[0]
        try disks.put(on: host, at: Self.directory)
        _ = try host.spawn(["epmd"])
        pause(.milliseconds(300))
        // Half of the ticks that it has by itself are longer than the partition of the row.
        let erl = try host.spawn([
            "erl", "-noinput", "-name", name(node), "-setcookie", "bench", "-start_epmd", "false", "-kernel",
            "net_ticktime", "8", "-mnesia", "dir", "\"\(Self.directory)\"", "-pa", disks.base, "-s", "mnesia_bench",
        ])
        nodes.append(erl)
        guard eventually(within: .seconds(20), { erl.output.contains("ready\n") }) else {
            throw LabError("Mnesia did not start: \(erl.output)")
        }
    }
    private func freshCluster(_ count: Int) throws {
        lab.close()
        disks.clear()
        nodes = []
        consumed = [:]
        lab = try Lab([])
        try start(count)
    }

    private func tell(_ node: Int, _ command: String) throws {
        lastCommand += 1
        let words = command.split(separator: " ", maxSplits: 1)
        // A number in it: the same command twice is two commands.
        let text = "\(words[0]) \(lastCommand) \(words.count > 1 ? words[1] : "")"
        try lab.hosts[node].write(text, to: "/run/next")
        try lab.hosts[node].require("mv", "/run/next", "/run/command")
    }
    private func answer(_ node: Int, _ word: String, within limit: Duration = .seconds(120)) throws -> [Double] {
        let line = eventually(within: limit, every: .milliseconds(2)) { () -> String? in
            let text = nodes[node].output(from: consumed[node] ?? 0)
            guard let end = text.lastIndex(of: "\n") else { return nil }
            let line = text[..<end].split(separator: "\n").last { $0.hasPrefix(word + " ") || $0.hasPrefix("failed") }
            if line != nil { consumed[node, default: 0] += text.utf8.count }
            return line.map(String.init)
        }
        guard let line, !line.hasPrefix("failed") else {
            throw LabError("Mnesia: \(word): \(line ?? "no answer")\n\(nodes[node].output.suffix(1000))")
        }
        return line.split(separator: " ").dropFirst().compactMap { Double($0) }
    }
    private var consumed: [Int: Int] = [:]
    private func ask(_ node: Int, _ command: String) throws -> [Double] {
        try tell(node, command)
        return try answer(node, String(command.prefix { $0 != " " }))
    }

    private func heal() throws -> String {
        try lab.partition([lab.hosts[0], lab.hosts[1]], from: [lab.hosts[2]])
        let start = monotonicSeconds()
        pause(.seconds(12))  // until both sides have noticed: before that a transaction waits
        let left = try ask(0, "apart left \(effort.apart)").first
        let right = try ask(2, "apart right \(effort.apart)").first
        progress("Mnesia: both sides wrote within \(seconds(monotonicSeconds() - start))")
        try lab.heal()
        let all = Double(2 * effort.apart)
        guard
            eventually(within: .seconds(10), every: .milliseconds(500), { (try? ask(0, "size").first) ?? nil == all })
        else {
            return "never: \(decimal(left ?? 0, 0)) rows on one side, \(decimal(right ?? 0, 0)) others on the other"
        }
        return "equal"
    }
}
