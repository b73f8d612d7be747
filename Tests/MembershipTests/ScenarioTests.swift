import Membership
import Primitives
import Testing

#if canImport(Glibc)
    import Glibc
#endif

// Scripts in Tests/Scenarios: commands, then `----`, then every line that happens, in order for each node.
//
//   nodes a b c          nodes that know each other, and are given a second to meet
//   strangers a b c      nodes that do not; `meet a b` is a handshake
//   cut a->b  cut a<->b,c  heal  loss 20%  kill a  restart a  freeze a 2s  leave a  remove a (said to all others)
//   network a down|up  reach a on|off  address a 10.0.0.9  advance 500ms  seed 7
//
// A line is what people are told: `a: suspects b`. Figures in parentheses are compared when they are given.
// `others: c is down` stands for the same line from every running node but c; `agreed` for a view without differences.
@Suite("scripted scenarios")
struct ScenarioTests {
    static let directory = #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined() + "/Scenarios"

    static let scripts: [String] = {
        guard let folder = opendir(directory) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".txt") { names.append(name) }
        }
        return names.sorted()
    }()

    private func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        return String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
    }

    @Test("there are scripts")
    func found() { #expect(Self.scripts.count >= 10) }

    @Test("what happens is what the script says", arguments: scripts)
    func script(name: String) throws {
        let text = try #require(read(Self.directory + "/" + name))
        var scenario = Scenario()
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if let problem = scenario.take(String(line)) { Issue.record("\(name):\(number + 1): \(problem)") }
        }
        if let problem = scenario.finish() { Issue.record("\(name), at its end: \(problem)") }
    }
}

struct Scenario {
    private var network: TinyNetwork?
    private var seed: UInt64 = 1
    private var versions: [MemberVersion] = []
    private var happened: [(node: String, text: String)] = []
    private var expected: [String] = []
    private var isExpecting = false

    /// One line of the script; what is wrong with it, or with what happened before it.
    mutating func take(_ line: String) -> String? {
        let text = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
            .split(separator: " ").joined(separator: " ")
        if text.isEmpty { return nil }
        if text == "----" {
            isExpecting = true
            return nil
        }
        if isExpecting {
            if text == "agreed" {
                return network?.agrees == true ? nil : "the nodes do not agree"
            }
            if text.contains(": ") {
                expected.append(text)
                return nil
            }
            let problem = compare()
            isExpecting = false
            if let problem { return problem }
        }
        for command in text.split(separator: ";") {
            if let problem = perform(command.split(separator: " ").map(String.init)) { return problem }
        }
        return nil
    }

    mutating func finish() -> String? { compare() }

    private mutating func compare() -> String? {
        defer {
            happened = []
            expected = []
        }
        var wanted: [(node: String, text: String)] = []
        for line in expected {
            let parts = line.split(separator: ":", maxSplits: 1)
            let (who, text) = (String(parts[0]), parts[1].dropFirst().description)
            if who == "others" || who == "all" {
                let subject = text.split(separator: " ").first { TinyNetwork.number($0) != nil }.map(String.init)
                for node in network?.running.map(TinyNetwork.name) ?? [] where who == "all" || node != subject {
                    wanted.append((node, text))
                }
            } else {
                wanted.append((who, text))
            }
        }
        for node in Set(wanted.map(\.node)).union(happened.map(\.node)).sorted() {
            let should = wanted.filter { $0.node == node }.map(\.text)
            let did = happened.filter { $0.node == node }.map(\.text)
            let isSame =
                should.count == did.count && zip(should.sorted(), did.sorted()).allSatisfy { Self.matches($0, $1) }
            if !isSame { return "\(node) should say \(should), but said \(did)" }
        }
        return nil
    }

    private static func matches(_ expected: String, _ happened: String) -> Bool {
        expected.contains("(") ? expected == happened : expected == happened.split(separator: " (")[0]
    }

    // MARK: Commands

    private mutating func perform(_ words: [String]) -> String? {
        let numbers = words.dropFirst().compactMap { TinyNetwork.number($0) }
        switch (words[0], words.count) {
        case ("seed", 2): seed = UInt64(words[1])!
        case ("nodes", 2...), ("strangers", 2...):
            network = TinyNetwork(nodes: numbers.count, seed: seed, areAcquainted: words[0] == "nodes")
            versions = network!.nodes.map(\.core.version)
            if words[0] == "nodes" {
                network!.run(for: .seconds(1))
                network!.clearLog()
            }
        case ("meet", 3): network!.introduce(numbers[0], numbers[1])
        case ("cut", 2):
            let isBoth = words[1].contains("<->")
            let sides = words[1].split(separator: isBoth ? "<->" : "->").map { side in
                side.split(separator: ",").compactMap { TinyNetwork.number($0) }
            }
            guard sides.count == 2 else { return "cut what from what?" }
            network!.cut(sides[0], sides[1])
            if isBoth { network!.cut(sides[1], sides[0]) }
        case ("heal", 1):
            network!.heal()
            network!.loss = 0
        case ("loss", 2): network!.loss = Double(words[1].dropLast())! / 100
        case ("kill", 2): network!.kill(numbers[0])
        case ("restart", 2): network!.restart(numbers[0])
        case ("freeze", 3): network!.freeze(numbers[0], for: Self.duration(words[2]))
        case ("leave", 2):
            network!.tell(numbers[0], .leave)
            network!.run(for: .milliseconds(5))
            network!.kill(numbers[0])
        case ("remove", 2):
            for node in network!.running where node != numbers[0] {
                network!.tell(node, .removed(TinyNetwork.id(numbers[0])))
            }
        case ("network", 3): network!.tell(numbers[0], .network(isUp: words[2] == "up"))
        case ("reach", 3):
            if words[2] == "on" { network!.reachable.insert(numbers[0]) } else { network!.reachable.remove(numbers[0]) }
        case ("address", 3):
            network!.tell(numbers[0], .addressesChanged([Endpoint(words[2], defaultPort: 7771)!]))
        case ("advance", 2): network!.run(for: Self.duration(words[1]))
        default: return "no such command: \(words.joined(separator: " "))"
        }
        collect()
        return nil
    }

    private static func duration(_ text: String) -> Duration {
        text.hasSuffix("ms") ? .milliseconds(Int(text.dropLast(2))!) : .seconds(Int(text.dropLast())!)
    }

    private mutating func collect() {
        guard network != nil else { return }
        for node in network!.nodes.indices {
            let version = network!.nodes[node].core.version
            if version.generation == versions[node].generation, version.incarnation > versions[node].incarnation,
                network!.nodes[node].isRunning
            {
                happened.append((TinyNetwork.name(node), "refutes (incarnation \(version.incarnation))"))
            }
            versions[node] = version
        }
        for line in network!.log { happened.append((TinyNetwork.name(line.observer), sentence(line.notice))) }
        network!.clearLog()
    }

    private func sentence(_ notice: Notice) -> String {
        func name(_ id: NodeID) -> String { TinyNetwork.name(network!.number(of: id)) }
        switch notice {
        case .joined(let id): return "\(name(id)) joined"
        case .suspect(let id, let accusation):
            return "suspects \(name(id)) (\(accusation.isOneWay ? "one way" : "silent"))"
        case .alive(let id, _): return "\(name(id)) is alive"
        case .failed(let id, let verdict):
            let certainty = verdict.isConfirmed ? "" : ", unconfirmed"
            return "\(name(id)) is down (\(verdict.needed) of \(verdict.observers)\(certainty))"
        case .left(let id): return "\(name(id)) left"
        case .removed(let id): return "\(name(id)) was removed"
        case .restarted(let id): return "\(name(id)) restarted"
        case .profileChanged(let id): return "\(name(id)) changed its profile"
        case .isolated(let silent, let all): return "is cut off (\(silent) of \(all))"
        case .rejoined: return "is back"
        case .stalled: return "stalled"
        case .pathLost(let id, let path): return "lost \(name(id)) at \(path)"
        case .pathBack(let id, let path): return "found \(name(id)) at \(path)"
        }
    }
}
