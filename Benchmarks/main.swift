import Glibc
import Lab

let usage = """
    usage: bramble-bench [--bramble PATH] [--simulator PATH] [--write FILE] [--quick]
                         [--only bramble|etcd|mnesia] [ROW]...

    Measures Bramble beside serf, etcd and Mnesia in the same lab and prints tables. Rows: detection frozen loss start
    restart partition idle build simulator, which together are “membership”, “database” and “volumes”; all without one. --write
    puts what was measured whole into the page. --quick takes fewer samples: to see that it works, not to quote.
    """

struct Options {
    var bramble = "bin/bramble"
    var simulator = "bin/bramble-sim"
    var file: String?
    var isQuick = false
    /// One database alone: to tune it.
    var only: String?
    var rows: [String] = []
}

func options(_ arguments: some Sequence<String>) -> Options? {
    var options = Options()
    var rest = arguments.makeIterator()
    while let argument = rest.next() {
        switch argument {
        case "--bramble", "--simulator", "--write", "--only":
            guard let value = rest.next() else { return nil }
            if argument == "--bramble" { options.bramble = value }
            if argument == "--simulator" { options.simulator = value }
            if argument == "--write" { options.file = value }
            if argument == "--only" { options.only = value }
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
    let machine =
        "\(firstLine("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo; uname -m")), \(firstLine("nproc")) cores, "
        + "\(firstLine("awk '/MemTotal/ {printf \"%.0f GiB\", $2 / 1048576}' /proc/meminfo")), "
        + "Linux \(firstLine("uname -r")), \(firstLine(". /etc/os-release; echo $PRETTY_NAME"))"
    let progress: (String) -> Void = { complain("  [\(decimal(monotonicSeconds() - start, 0)) s] \($0)") }
    let lab = Rows(
        program: absolute(options.bramble), effort: options.isQuick ? .quick : .full, progress: progress)
    let simulation = SimulatorRows(program: absolute(options.simulator), progress: progress)
    let all: [(String, () throws -> [Figure])] = [
        ("detection", lab.detection), ("frozen", lab.frozen), ("loss", lab.loss), ("start", lab.start),
        ("partition", lab.partition), ("restart", lab.restart), ("idle", lab.idle),
        ("build", BuildRows(progress: progress).build), ("simulator", simulation.simulator),
    ]
    let names = all.map(\.0) + ["membership", "database", "volumes"]
    if let unknown = options.rows.first(where: { !names.contains($0) }) {
        complain("bramble-bench: “\(unknown)” is no row; rows are \(names.joined(separator: " "))")
        return 2
    }
    var figures: [Figure] = []
    var failures: [String] = []
    let wantsMembership = options.rows.isEmpty || options.rows.contains("membership")
    for (name, row) in all where wantsMembership || options.rows.contains(name) {
        complain(name)
        do { figures += try row() } catch {
            failures.append("\(name): \(error)")
            complain("  FAILED: \(error)")
        }
    }
    let minutes = (monotonicSeconds() - start) / 60
    var sections: [Section] = []
    func section(_ name: String, _ title: String, _ table: String, _ notes: [String], versions: String, minutes: Double)
        -> Section
    {
        Section(
            name: name, title: title, command: "make bench BENCH=\(name)", machine: machine + ", " + versions,
            load: load,
            date: firstLine("date -u +%Y-%m-%d"), revision: firstLine("git rev-parse --short HEAD"), minutes: minutes,
            table: table, notes: notes)
    }
    if !figures.isEmpty {
        print(Section.membership(figures))
        if wantsMembership, failures.isEmpty {
            sections.append(
                section(
                    "membership", "Membership, beside serf", Section.membership(figures), notes,
                    versions: firstLine("serf version | head -n 1 | sed 's/^/serf /'"), minutes: minutes))
        }
    }
    var isMet = figures.allSatisfy(\.isMet)
    if options.rows.isEmpty || options.rows.contains("database") {
        complain("database")
        do {
            let rows = try DatabaseRows(
                program: absolute(options.bramble), effort: options.isQuick ? .quick : .full, progress: progress
            ).measure(only: options.only)
            isMet = isMet && rows.allSatisfy(\.isMet)
            print(Section.database(rows))
            sections.append(
                section(
                    "database", "The database, beside etcd and Mnesia", Section.database(rows), databaseNotes,
                    versions: "etcd \(version("etcd-server")), Mnesia \(version("erlang-mnesia"))",
                    minutes: (monotonicSeconds() - start) / 60 - minutes))
        } catch {
            failures.append("database: \(error)")
            complain("  FAILED: \(error)")
        }
    }
    if options.rows.isEmpty || options.rows.contains("volumes") {
        complain("volumes")
        let begin = monotonicSeconds()
        do {
            let rows = try VolumeRows(
                program: absolute(options.bramble), rounds: options.isQuick ? 1 : 5, progress: progress
            ).volumes()
            if !rows.isEmpty {
                isMet = isMet && rows.allSatisfy(\.isMet)
                print(Section.volumes(rows))
                sections.append(
                    section(
                        "volumes", "Volumes, beside the same by hand", Section.volumes(rows), volumeNotes,
                        versions: "GlusterFS \(version("glusterfs-server"))",
                        minutes: (monotonicSeconds() - begin) / 60))
            }
        } catch {
            failures.append("volumes: \(error)")
            complain("  FAILED: \(error)")
        }
    }
    for failure in failures { complain("not measured: \(failure)") }
    if let file = options.file {
        if options.isQuick || options.only != nil || sections.isEmpty {
            complain("\(file) is left as it was: it holds whole and full runs only")
        } else {
            var page = shell("cat '\(file)'") ?? ""
            for section in sections { page = section.replacing(in: page) }
            guard let stream = fopen(file, "we") else {
                complain("cannot write \(file): \(String(cString: strerror(errno)))")
                return 1
            }
            fputs(page, stream)
            fclose(stream)
        }
    }
    return failures.isEmpty && isMet ? 0 : 1
}

func version(_ package: String) -> String { firstLine("dpkg-query -W -f '${Version}' \(package)") }

let notes = [
    "The ratio is serf's figure over Bramble's: above 1, Bramble needs less.",
    "“down” is the moment the last of the other four says so. Bramble's moments are those of its events (CLOCK_MONOTONIC); "
        + "serf's are when the line appears in its log, which is read every 5 ms.",
    "A frozen node may be called down itself, since it does not answer; only verdicts about others count as wrong.",
    "“start until all know” runs from the start of a process on a machine nobody has seen before, given the addresses of "
        + "three others. By multicast DNS alone it waits for announcements; serf's own search crashes in Debian's build.",
    "“a member again” for Bramble: the restarted process exchanges heartbeats with every other; for serf: it lists all "
        + "as alive.",
    "Simulator figures come from `bin/bramble-sim run --scenario steady|mass-crash --nodes N --seed 1` (steady: three seconds).",
]

let volumeNotes = [
    "glusterd runs on each of three hosts, which have never heard of each other. By hand: the commands one after the other, without a "
        + "pause for thought, and the hosts' names written before the clock starts.",
    "Bramble's part is what is left when the time of GlusterFS's commands and of the slowest mount is taken away: asking every node, the "
        + "lease, the database, and looking what glusterd says.",
]

let databaseNotes = [
    "All files are on the machine's real disk. Each contender runs alone, one after the other, with three nodes; the clients are on "
        + "the node they ask, and one thread serves all of them.",
    "Bramble: HTTP with a token and JSON, connections kept alive, every answer after its sync to disk. etcd: its JSON "
        + "gateway, kept alive, asked where its leader is. Mnesia: transactions on disc copies from a program inside its node, without "
        + "a protocol between, and not synced one by one.",
    "“seen” runs from the moment the write is sent to one node until a stream of changes of another node shows it.",
    "etcd reads are “serializable”, of the node's own copy.",
    "Partition: Bramble's ten overwritten rows were written on both sides. Mnesia is told net_ticktime 8, so that it notices soon, "
        + "and is cut off for as long as its writes take only: it does not heal after any length.",
    "“one of two is killed”: Bramble's writes ask for `one`, and say that they reached `local` afterwards.",
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
