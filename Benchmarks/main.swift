import Glibc
import Lab

let usage = """
    usage: bramble-bench [--bramble PATH] [--simulator PATH] [--write FILE] [--quick]
                         [--only bramble|etcd|mnesia|keepalived|pacemaker] [ROW]...

    Measures Bramble beside serf, etcd, Mnesia, keepalived, pacemaker, nginx and rsync over ssh in the same lab and prints
    tables. Rows: detection frozen loss start restart partition idle build simulator, which together are “membership”;
    http udp deaths inventory volumes, which together are “engines”; “database”, “failover” and “mirrors”; all without one. --write
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
    var failures: [String] = []
    let chapters = chapters(options, progress) { row, error in
        failures.append("\(row): \(error)")
        complain("  FAILED: \(error)")
    }
    let names = chapters.flatMap { $0.rows + [$0.name] }
    if let unknown = options.rows.first(where: { !names.contains($0) }) {
        complain("bramble-bench: “\(unknown)” is no row; rows are \(names.joined(separator: " "))")
        return 2
    }
    var sections: [Section] = []
    var isMet = true
    for chapter in chapters {
        let isWhole = options.rows.isEmpty || options.rows.contains(chapter.name)
        let rows = isWhole ? chapter.rows : chapter.rows.filter(options.rows.contains)
        guard isWhole || !rows.isEmpty else { continue }
        let (began, failuresBefore) = (monotonicSeconds(), failures.count)
        guard let result = chapter.measure(rows) else { continue }
        print(result.table)
        isMet = isMet && result.isMet
        // The page holds whole runs only.
        guard isWhole, failures.count == failuresBefore else { continue }
        sections.append(
            Section(
                name: chapter.name, title: chapter.title, command: "make bench BENCH=\(chapter.name)",
                machine: machine + ", " + chapter.versions, load: load, date: firstLine("date -u +%Y-%m-%d"),
                revision: firstLine("git rev-parse --short HEAD"), minutes: (monotonicSeconds() - began) / 60,
                table: result.table, notes: chapter.notes))
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

/// One table of the page, and how it is measured.
struct Chapter {
    struct Result {
        let table: String
        let isMet: Bool
    }
    let name: String
    let title: String
    let notes: [String]
    let versions: String
    /// The rows that can be asked for by name; none where it is measured as a whole.
    var rows: [String] = []
    /// Measures these rows; nil when none of them could be.
    let measure: (_ rows: [String]) -> Result?
}

/// - Parameter failed: told of each row that could not be measured.
func chapters(
    _ options: Options, _ progress: @escaping (String) -> Void, _ failed: @escaping (String, any Error) -> Void
) -> [Chapter] {
    let (program, isQuick) = (absolute(options.bramble), options.isQuick)
    let lab = Rows(program: program, effort: isQuick ? .quick : .full, progress: progress)
    let simulation = SimulatorRows(program: absolute(options.simulator), progress: progress)
    let engines = EngineRows(program: program, effort: isQuick ? .quick : .full, progress: progress)
    func byRow(_ rows: [(String, () throws -> [Figure])], _ table: @escaping ([Figure]) -> String) -> ([String]) ->
        Chapter.Result?
    {
        { wanted in
            var figures: [Figure] = []
            for (name, row) in rows where wanted.contains(name) {
                complain(name)
                do { figures += try row() } catch { failed(name, error) }
            }
            return figures.isEmpty
                ? nil : Chapter.Result(table: table(figures), isMet: figures.allSatisfy(\.isMet))
        }
    }
    func whole(_ name: String, _ measure: @escaping () throws -> Chapter.Result) -> ([String]) -> Chapter.Result? {
        { _ in
            complain(name)
            do { return try measure() } catch {
                failed(name, error)
                return nil
            }
        }
    }
    let membershipRows: [(String, () throws -> [Figure])] = [
        ("detection", lab.detection), ("frozen", lab.frozen), ("loss", lab.loss), ("start", lab.start),
        ("partition", lab.partition), ("restart", lab.restart), ("idle", lab.idle),
        ("build", BuildRows(progress: progress).build), ("simulator", simulation.simulator),
    ]
    let engineRows: [(String, () throws -> [Figure])] = [
        ("http", engines.http), ("udp", engines.udp), ("deaths", engines.deaths), ("inventory", engines.inventory),
        (
            "volumes",
            VolumeRows(program: program, rounds: options.isQuick ? 1 : 5, progress: progress).volumes
        ),
    ]
    return [
        Chapter(
            name: "membership", title: "Membership, beside serf", notes: notes,
            versions: firstLine("serf version | head -n 1 | sed 's/^/serf /'"), rows: membershipRows.map(\.0),
            measure: byRow(membershipRows, Section.membership)),
        Chapter(
            name: "database", title: "The database, beside etcd and Mnesia", notes: databaseNotes,
            versions: "etcd \(version("etcd-server")), Mnesia \(version("erlang-mnesia"))",
            measure: whole("database") {
                let rows = try DatabaseRows(
                    program: program, effort: isQuick ? .quick : .full, progress: progress
                ).measure(only: options.only)
                return Chapter.Result(table: Section.database(rows), isMet: rows.allSatisfy(\.isMet))
            }),
        Chapter(
            name: "failover", title: "Failover, beside keepalived and pacemaker", notes: failoverNotes,
            versions: "keepalived \(version("keepalived")), corosync \(version("corosync")), pacemaker "
                + version("pacemaker"),
            measure: whole("failover") {
                let rows = try FailoverRows(program: program, runs: isQuick ? 2 : 10, progress: progress)
                    .measure(only: options.only)
                return Chapter.Result(table: Section.failover(rows), isMet: rows.allSatisfy(\.isMet))
            }),
        Chapter(
            name: "mirrors", title: "Mirrors, beside rsync over ssh", notes: mirrorNotes,
            versions: "rsync \(version("rsync")), openssh \(version("openssh-server"))",
            measure: whole("mirrors") {
                let rows = try MirrorRows(program: program, isQuick: isQuick, progress: progress).measure()
                return Chapter.Result(table: Section.mirrors(rows), isMet: rows.allSatisfy(\.isMet))
            }),
        Chapter(
            name: "engines", title: "Balancers, volumes and the inventory, beside the same engines by hand",
            notes: engineNotes,
            versions: "nginx \(version("nginx"))", rows: engineRows.map(\.0),
            measure: byRow(engineRows, Section.engines)),
    ]
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

let failoverNotes = [
    "Two hosts have an address between them; a third asks for it every 10 ms, by ARP and by a datagram, and counts how long nobody "
        + "answered until the other one did. A program that answers runs on both all the time: only the address moves.",
    "“two at once”: samples that both hosts answered, or for which two hardware addresses answered ARP.",
    "keepalived: VRRP version 3, advert_int as said, no script. pacemaker: IPaddr2, two_node, wait_for_all 0, no fencing; default: "
        + "token 3000 ms; tuned: 300 ms. Bramble: two nodes, profile fast, a reach list of one host.",
    "A planned move is SIGTERM for keepalived, a ban of the node for pacemaker, `bramble service move` for Bramble.",
]

let mirrorNotes = [
    "Both sides are in memory, so that the network and the programs are compared, and no disk.",
    "rsync -aHAX --numeric-ids --delete over ssh with its default cipher, a key, no compression; Bramble's mirror is the same rsync through its "
        + "own TLS 1.3 streams, from `bramble mirror run` until every target has all, as the asked node learns it.",
]

let engineNotes = [
    "Volumes: glusterd runs on each of three hosts, which have never heard of each other. By hand: the commands one after the other, "
        + "without a pause for thought, and the hosts' names written before the clock starts. Bramble's own part is what is left when the "
        + "time of GlusterFS's commands and of the slowest mount is taken away.",
    "The ratio is Bramble's figure over the other's: above 1, more passes through Bramble's balancer.",
    "HTTP: wrk asks two nginx servers through one node, in turns through Bramble's nginx and through one with a file that a person "
        + "wrote for the same two servers, both with connections to the servers kept alive and the same headers. The ratio is the median of the rounds' ratios.",
    "Datagrams: 64 bytes to one node, to a server on another and back, at a steady rate for two seconds that grows by a quarter while "
        + "none is lost; a rate that loses is tried three times, in turns. Client, balancer and servers share the machine's "
        + "processors.",
    "The inventory is asked for on one of 100 members, all of them real daemons that joined; most are stopped by then, and down, since "
        + "they share this machine's processors.",
]

if let code = endOfDatagramLoad(Array(CommandLine.arguments.dropFirst())) { exit(code) }
if CommandLine.arguments.contains("--help") || CommandLine.arguments.contains("-h") {
    print(usage)
    exit(0)
}
guard let chosen = options(CommandLine.arguments.dropFirst()) else {
    complain(usage)
    exit(2)
}
exit(measure(chosen))
