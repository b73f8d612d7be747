import Glibc
import Lab

let usage = """
    usage: bramble-bench [--bramble PATH] [--simulator PATH] [--write FILE] [--quick] [ROW]...

    Measures Bramble beside serf in the same lab and prints a table. Rows: detection frozen loss start restart
    partition idle build simulator; all without one. --quick takes fewer samples: to see that it works, not to quote.
    """

struct Options {
    var bramble = "bin/bramble"
    var simulator = "bin/bramble-sim"
    var file: String?
    var isQuick = false
    var rows: [String] = []
}

func options(_ arguments: some Sequence<String>) -> Options? {
    var options = Options()
    var rest = arguments.makeIterator()
    while let argument = rest.next() {
        switch argument {
        case "--bramble", "--simulator", "--write":
            guard let value = rest.next() else { return nil }
            if argument == "--bramble" { options.bramble = value }
            if argument == "--simulator" { options.simulator = value }
            if argument == "--write" { options.file = value }
        case "--quick": options.isQuick = true
        default:
            guard !argument.hasPrefix("-") else { return nil }
            options.rows.append(argument)
        }
    }
    return options
}

func absolute(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
}

func firstLine(_ command: String) -> String {
    shell(command)?.split(separator: "\n").first.map(String.init) ?? "unknown"
}

func complain(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = write(2, bytes, bytes.count)
}

func measure(_ options: Options) -> Int32 {
    let start = monotonicSeconds()
    let load = firstLine("cut -d ' ' -f 1 /proc/loadavg")
    let progress: (String) -> Void = { complain("  [\(decimal(monotonicSeconds() - start, 0)) s] \($0)") }
    let lab = Rows(
        program: absolute(options.bramble), effort: options.isQuick ? .quick : .full, progress: progress)
    let simulation = SimulatorRows(program: absolute(options.simulator), progress: progress)
    let all: [(String, () throws -> [Figure])] = [
        ("detection", lab.detection), ("frozen", lab.frozen), ("loss", lab.loss), ("start", lab.start),
        ("partition", lab.partition), ("restart", lab.restart), ("idle", lab.idle),
        ("build", BuildRows(progress: progress).build), ("simulator", simulation.simulator),
    ]
    if let unknown = options.rows.first(where: { row in !all.contains { $0.0 == row } }) {
        complain("bramble-bench: “\(unknown)” is no row; rows are \(all.map(\.0).joined(separator: " "))")
        return 2
    }
    var figures: [Figure] = []
    var failures: [String] = []
    for (name, row) in all where options.rows.isEmpty || options.rows.contains(name) {
        complain(name)
        do { figures += try row() } catch {
            failures.append("\(name): \(error)")
            complain("  FAILED: \(error)")
        }
    }
    let report = Report(
        figures: figures, notes: notes,
        machine:
            "\(firstLine("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo; uname -m")), \(firstLine("nproc")) cores, "
            + "\(firstLine("awk '/MemTotal/ {printf \"%.0f GiB\", $2 / 1048576}' /proc/meminfo")), "
            + "Linux \(firstLine("uname -r")), \(firstLine(". /etc/os-release; echo $PRETTY_NAME")), "
            + firstLine("serf version | head -n 1 | sed 's/^/serf /'"),
        load: load, date: firstLine("date -u +%Y-%m-%d"), revision: firstLine("git rev-parse --short HEAD"),
        command: options.isQuick ? "make bench BENCH=--quick" : "make bench",
        minutes: (monotonicSeconds() - start) / 60)
    print(report.table)
    for failure in failures { complain("not measured: \(failure)") }
    if let file = options.file {
        guard options.rows.isEmpty, failures.isEmpty, !options.isQuick else {
            complain("\(file) is left as it was: it holds whole and full runs only")
            return failures.isEmpty ? 0 : 1
        }
        guard let stream = fopen(file, "we") else {
            complain("cannot write \(file): \(String(cString: strerror(errno)))")
            return 1
        }
        fputs(report.markdown, stream)
        fclose(stream)
    }
    return failures.isEmpty && figures.allSatisfy(\.isMet) ? 0 : 1
}

let notes = [
    "“down” is the moment the last of the other four says so. Bramble's moments are those of its events (CLOCK_MONOTONIC); "
        + "serf's are when the line appears in its log, which is read every 5 ms.",
    "A frozen node may be called down itself, since it does not answer; only verdicts about others count as wrong.",
    "“start until all know” runs from the start of a process on a machine nobody has seen before, given the addresses of "
        + "three others. By multicast DNS alone it waits for announcements; serf's own search crashes in Debian's build.",
    "“a member again” for Bramble: the restarted process exchanges heartbeats with every other; for serf: it lists all "
        + "as alive.",
    "Simulator figures come from `bin/bramble-sim run --scenario steady|mass-crash --nodes N --seed 1` (steady: three seconds).",
]

if CommandLine.arguments.contains("--help") || CommandLine.arguments.contains("-h") {
    print(usage)
    exit(0)
}
guard let chosen = options(CommandLine.arguments.dropFirst()) else {
    complain(usage)
    exit(2)
}
exit(measure(chosen))
