import FoundationEssentials
import Glibc
import Lab

/// A command of this machine, outside every lab, and what it wrote to stdout; nil when it fails.
func shell(_ command: String) -> String? {
    guard let stream = popen(command, "r") else { return nil }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&chunk, 1, chunk.count, stream)
        if count == 0 { break }
        bytes += chunk[..<count]
    }
    return pclose(stream) == 0 ? String(decoding: bytes, as: UTF8.self) : nil
}

/// How long a developer waits: a build of a fresh copy, and after an edit of one line.
struct BuildRows {
    let progress: (String) -> Void

    func build() throws -> [Figure] {
        guard let copy = shell("mktemp -d")?.split(separator: "\n").first.map(String.init) else {
            throw LabError("no directory for a copy of the source")
        }
        defer { _ = shell("rm -rf '\(copy)'") }
        guard shell("git archive HEAD | tar -x -C '\(copy)'") != nil else {
            throw LabError("git archive failed: the build times need a checkout with a commit")
        }
        progress("a clean debug build")
        let clean = try timeBuild(in: copy)
        // A line in a function: of the module that everything stands on, of the membership core, of a leaf.
        var slowest = 0.0
        for file in [
            "Sources/Core/Primitives/NodeName.swift", "Sources/Core/Membership/Membership.swift",
            "Sources/App/Daemon/Configuration.swift",
        ] {
            let line = "        assert(MemoryLayout<Int>.size > 0)"
            try edit(
                "sed -i '0,/^        let .*[^{(]$/s//&\\n\(line)/' '\(copy)/\(file)' && grep -q '\(line)' '\(copy)/\(file)'"
            )
            progress("a build after an edit of \(file)")
            slowest = max(slowest, try timeBuild(in: copy))
        }
        // What everybody may use is another matter: all that could see it is compiled again.
        try edit("printf '\\npackage let benchmark = 1\\n' >> '\(copy)/Sources/Core/Primitives/NodeName.swift'")
        progress("a build after a new declaration at the bottom")
        let declaration = try timeBuild(in: copy)
        return [
            Figure(
                "clean debug build", peer: nil, bramble: clean, target: "≤ 120 s", limit: 120, unit: wholeSeconds),
            Figure(
                "build after a one-line edit in a function, slowest of three files", peer: nil, bramble: slowest,
                target: "≤ 10 s", limit: 10, unit: wholeSeconds),
            Figure(
                "build after a new declaration in the module at the bottom", peer: nil, bramble: declaration,
                target: "",
                limit: .infinity, unit: wholeSeconds),
        ]
    }

    private func edit(_ command: String) throws {
        guard shell(command) != nil else { throw LabError("an edit did not work: \(command)") }
    }
    private func timeBuild(in directory: String) throws -> Double {
        let start = monotonicSeconds()
        guard shell("swift build --package-path '\(directory)' 2>&1") != nil else {
            throw LabError("swift build failed in a fresh copy of the source")
        }
        return monotonicSeconds() - start
    }
    private func wholeSeconds(_ value: Double?) -> String { value.map { "\(decimal($0, 1)) s" } ?? "" }
}

/// What the simulator measures, with a fixed seed.
struct SimulatorRows {
    let program: String
    let progress: (String) -> Void
    private let seed = 1

    private struct Outcome: Decodable {
        struct Detection: Decodable {
            var count: Int
            var maxMs: Double?
        }
        var ok: Bool
        var detection: Detection
        var falseVerdicts: Int
        var bytesPerSecondPerNode: Double?
    }

    func simulator() throws -> [Figure] {
        let hundred = try run("steady", nodes: 100)?.bytesPerSecondPerNode
        let thousand = try run("steady", nodes: 1000)?.bytesPerSecondPerNode
        let crash = try run("mass-crash", nodes: 1000)
        let traffic: Figure
        if let small = hundred, let large = thousand, small > 0 {
            traffic = Figure(
                trafficClaim, bramble: "\(decimal(large, 0)) against \(decimal(small, 0)) B/s", target: "within 20 %",
                isMet: (large / small - 1).magnitude <= 0.2)
        } else {
            traffic = Figure(trafficClaim, bramble: tooSlow, target: "within 20 %", isMet: false)
        }
        let found = crash?.detection.maxMs.map { $0 / 1000 }
        // Each of the 900 that are left finds each of the 100.
        let all = crash.map { $0.ok && $0.detection.count == 900 * 100 && $0.falseVerdicts == 0 } ?? false
        return [
            traffic,
            Figure(
                "simulated: 1,000 nodes, 100 die at once: all found; others accused",
                bramble: crash.map {
                    "\($0.detection.count / 900) of 100 by each in \(seconds(found)); \($0.falseVerdicts)"
                }
                    ?? tooSlow,
                target: "all, ≤ 3 s; 0", isMet: all && found ?? .infinity <= 3),
        ]
    }

    private let trafficClaim = "bytes per second and node, 1,000 simulated nodes against 100"
    /// So that the whole run ends within its half hour.
    private let limit = 420
    private var tooSlow: String { "not simulated within \(limit / 60) minutes" }

    /// Nil when it takes too long.
    private func run(_ scenario: String, nodes: Int) throws -> Outcome? {
        progress("simulating \(scenario) with \(nodes) nodes")
        let length = scenario == "steady" ? " --seconds 3" : ""
        let simulation = "'\(program)' run --scenario \(scenario) --nodes \(nodes) --seed \(seed)\(length) --json"
        // It ends with 1 when a claim was violated, and the figures are there all the same; timeout ends with 124.
        guard let text = shell("timeout \(limit) \(simulation) || { code=$?; [ $code = 1 ] || [ $code = 124 ]; }")
        else {
            throw LabError("\(simulation) failed")
        }
        guard !text.isEmpty else { return nil }
        return try JSONDecoder().decode(Outcome.self, from: Data(text.utf8))
    }
}
