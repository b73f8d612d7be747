package import BrambleAPI
import FoundationEssentials
import Glibc

/// A real Bramble daemon on a host of the lab, with the paths a package gives it.
package final class BrambleNode {
    package static let dataDirectory = "/var/lib/bramble"
    package static let socket = "/run/bramble/bramble.sock"
    package static let keyFile = "\(dataDirectory)/cluster.key"

    package let host: Host
    package let program: String
    package private(set) var process: LabProcess?
    /// What `start` was last given, for a restart with the same.
    private var options: [String] = []
    private var environment: [String: String] = [:]
    private var command = "start"
    package var name: String { host.name }

    /// `program`: the path of the executable.
    package init(_ program: String, on host: Host) {
        self.program = program
        self.host = host
    }
    /// What SwiftPM has just built lies next to the running program.
    package static let builtHere = "\(buildDirectory)/bramble"
    /// To be preloaded: makes a daemon's wall clock wrong by `LAB_CLOCK_SHIFT` seconds.
    package static let clockShifter = "\(buildDirectory)/liblabclock.so"
    private static let buildDirectory: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer[..<max(length, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
    }()

    // MARK: Life

    /// What `bramble init` says once.
    package struct Login: Decodable, Sendable {
        package var user: String
        package var password: String
    }

    /// `bramble init`: a new cluster key here, and the dashboard's first login.
    @discardableResult
    package func makeCluster(_ cluster: String) throws -> Login {
        let printed = try host.require(
            program, "init", "--data-dir", Self.dataDirectory, "--cluster", cluster, "--json")
        return try JSONDecoder().decode(Login.self, from: Data(printed.utf8))
    }

    /// Puts the other's cluster key here, as an operator would with scp.
    package func takeKey(of other: BrambleNode) throws(LabError) {
        guard let key = other.host.read(Self.keyFile) else { throw LabError("\(other.name) has no cluster key") }
        try host.require("mkdir", "-p", "-m", "700", Self.dataDirectory)
        try host.write(key, to: Self.keyFile)
        try host.require("chmod", "600", Self.keyFile)
    }

    /// `command`: `start` for a node, `witness` for a witness, which can be asked nothing.
    package func start(
        _ options: [String] = [], environment: [String: String] = [:], command: String = "start"
    ) throws(LabError) {
        (self.options, self.environment, self.command) = (options, environment, command)
        // As the unit has it: what others are to read must not depend on it.
        process = try host.spawn(
            ["sh", "-c", "umask 077; exec \"$@\"", "sh", program, command, "--data-dir", Self.dataDirectory] + options,
            environment: environment)
    }
    /// With a wall clock that is wrong by so many seconds.
    package func start(_ options: [String] = [], clockShift seconds: Int) throws(LabError) {
        // The loader only warns where it does not find it, and the clock would be right.
        guard access(Self.clockShifter, R_OK) == 0 else {
            throw LabError("\(Self.clockShifter) is missing: swift build --product labclock")
        }
        try start(options, environment: ["LD_PRELOAD": Self.clockShifter, "LAB_CLOCK_SHIFT": "\(seconds)"])
    }
    /// How far the daemon's wall clock is from this machine's, by the latest thing that it noted; nil when there is none.
    /// Unit: seconds, wrong by as much as that was ago.
    package var clockShift: Double? {
        guard let latest = (try? events())?.last?.at,
            let noted = (try? Date(latest, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
                ?? (try? Date(latest, strategy: .iso8601))
        else { return nil }
        return noted.timeIntervalSinceNow
    }
    package func restart() throws(LabError) { try start(options, environment: environment, command: command) }
    /// SIGKILL, nothing else: the machine and its network stay.
    package func kill() { process?.kill() }
    /// SIGTERM, as systemd stops it.
    @discardableResult
    package func stop() -> LabProcess.End? { process?.stop() }
    package var log: String { process?.output ?? "" }

    // MARK: Asking it

    /// The command line, as a person on that host would use it.
    package func cli(_ arguments: String..., within limit: Duration = .seconds(10)) throws(LabError) -> CommandResult {
        try cli(arguments, within: limit)
    }
    package func cli(_ arguments: [String], within limit: Duration = .seconds(10)) throws(LabError) -> CommandResult {
        try host.run([program] + arguments, within: limit)
    }

    /// Over the daemon's socket: cheaper than a process for each question, so that waiting costs little.
    package func ask(
        _ method: String = "GET", _ path: String, body: String = "", within limit: Duration = .seconds(5)
    ) throws(LabError) -> HTTPResponse {
        let stream = try host.connect(unix: Self.socket, limit: limit)
        return try HTTPResponse.ask(method, path, body: Array(body.utf8), over: stream)
    }
    package func get<Value: Decodable>(_ path: String, as type: Value.Type) throws -> Value {
        let response = try ask("GET", path)
        guard response.status == 200 else { throw LabError("\(name): \(path): \(response.status) \(response.text)") }
        return try JSONDecoder().decode(type, from: Data(response.body))
    }
    package func nodes() throws -> [NodeInfo] { try get("/v1/nodes", as: [NodeInfo].self) }
    package func status() throws -> ClusterStatus { try get("/v1/status", as: ClusterStatus.self) }
    package func edges() throws -> [WatchEdge] { try get("/v1/edges", as: [WatchEdge].self) }
    package func events() throws -> [Event] { try get("/v1/events", as: [Event].self) }
    package func waiting() throws -> [WaitingMachine] { try get("/v1/waiting", as: [WaitingMachine].self) }
    package func why(_ name: String) throws -> Explanation { try get("/v1/why/\(name)", as: Explanation.self) }
    package func metrics() throws -> String { try ask("GET", "/metrics").text }

    package func services() throws -> [ServiceInfo] { try get("/v1/services", as: [ServiceInfo].self) }
    package func service(_ name: String) -> ServiceInfo? { (try? services())?.first { $0.name == name } }

    /// Makes a document so, as `bramble apply` does.
    package func apply(_ document: String) throws {
        let body = try JSONEncoder().encode(ApplyRequest(document: document))
        let answer = try ask("POST", "/v1/apply", body: String(decoding: body, as: UTF8.self), within: .seconds(20))
        guard answer.status == 200 else { throw LabError("\(name): apply: \(answer.status) \(answer.text)") }
    }

    /// The sum over all labels of one metric; nil when it is not there.
    package func metric(_ name: String, where label: String = "") throws -> Double? {
        let values = try metrics().split(separator: "\n").filter { line in
            line.hasPrefix(name) && (line.dropFirst(name.count).first.map { $0 == " " || $0 == "{" } ?? false)
                && (label.isEmpty || line.contains(label))
        }.compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
        return values.isEmpty ? nil : values.reduce(0, +)
    }

    /// Name to state as this node sees it; empty while it does not answer.
    package func view() -> [String: NodeState] {
        let nodes = (try? nodes()) ?? []
        return Dictionary(nodes.map { ($0.name, $0.state) }) { first, _ in first }
    }
    package func sees(_ name: String, as state: NodeState) -> Bool { view()[name] == state }

    /// The first event of a type about a subject after a moment of CLOCK_MONOTONIC, in seconds.
    package func event(_ type: String, _ subject: String, after moment: Double = 0) -> Event? {
        (try? events())?.first { $0.type == type && $0.subject == subject && $0.monotonicMs / 1000 >= moment }
    }
}

extension [BrambleNode] {
    /// Waits until each of them sees exactly these names alive.
    package func agree(alive: [String], within limit: Duration) -> Bool {
        eventually(within: limit, every: .milliseconds(50)) {
            allSatisfy { node in Set(node.view().filter { $0.value == .alive }.keys) == Set(alive) }
        }
    }

    /// What GlusterFS itself needed to make volumes, by the logs: its commands, which one node gives one after the other,
    /// and the slowest of the mounts, which run beside each other. Seconds.
    package var glusterSeconds: Double {
        var commands = 0.0
        var mounts: [Double] = []
        for line in flatMap({ $0.log.split(separator: "\n") }) {
            let words = line.split(separator: " ")
            guard words.last == "ms", let number = words.dropLast().last.flatMap({ Double($0) }) else { continue }
            if line.contains("gluster volume") || line.contains("gluster peer") { commands += number }
            if line.contains("was mounted at") { mounts.append(number) }
        }
        return (commands + (mounts.max() ?? 0)) / 1000
    }
}
