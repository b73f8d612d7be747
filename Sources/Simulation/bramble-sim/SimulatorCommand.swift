import Glibc
import Leases
import Primitives
import Simulator

/// `bramble-sim`: exit code 0 when all claims held, 1 when one was violated, 2 when the command line is wrong.
enum SimulatorCommand {
    private static let usage = """
        usage: bramble-sim run [--scenario NAME] [--nodes N] [--seed S] [--seconds T] [--bug NAME]
                               [--timeline | --json]
               bramble-sim soak [--scenario NAME] [--nodes N] [--for SECONDS] [--bug NAME] [--go-on]
               bramble-sim list [--json]

        run     one simulation; without --seed a fresh one is drawn and printed first, with the command to replay it
                --seconds is how long the faults go on, --bug plants one of the known bugs
                --timeline tells all that happened
        soak    fresh seeds, one after the other, until --for seconds (default 600) of this machine's time have passed
                or something was violated; with --go-on all seeds that violate something are listed
        list    the scenarios and the bugs
        """

    /// What is wrong with the command line.
    private struct Misuse: Error { var text: String }

    private struct Options {
        var scenario: Scenario?
        /// Leases have a simulation of their own.
        var leases: LeaseScenario?
        /// Of `soak`: all scenarios of leases in turn.
        var allLeases = false
        var leaseBug: LeaseBug?
        var nodes: Int?
        var seed: UInt64?
        var seconds: Double?
        var budget = 600.0
        var bug: PlantedBug?
        var json = false
        var timeline = false
        var goesOn = false
    }

    static func run(_ arguments: [String]) -> Int32 {
        do {
            switch arguments.first {
            case "run": return simulate(try options(arguments.dropFirst()))
            case "soak": return soak(try options(arguments.dropFirst()))
            case "list":
                list(json: try options(arguments.dropFirst()).json)
                return 0
            case "help", "--help", "-h":
                print(usage)
                return 0
            case nil: throw Misuse(text: "say what to do: run, soak or list")
            case .some(let word): throw Misuse(text: "“\(word)” is no command; allowed are run, soak and list")
            }
        } catch {
            complain("bramble-sim: \((error as? Misuse)?.text ?? String(describing: error))\n\n\(usage)")
            return 2
        }
    }

    private static func simulate(_ options: Options) -> Int32 {
        if let leases = options.leases { return simulate(leases, options) }
        let scenario = options.scenario ?? .named("everything")!
        let nodes = options.nodes ?? scenario.nodes
        let seed = options.seed ?? freshSeed()
        let replay = replay(scenario, nodes, seed, options)
        if !options.json {
            print("\(scenario.name): \(scenario.summary)\nseed \(seed), replay: \(replay)\n")
            flush()
        }
        let outcome = Outcome.of(
            scenario, nodes: nodes, seed: seed, seconds: options.seconds, bug: options.bug)
        if options.timeline { print(outcome.timeline.joined(separator: "\n") + "\n") }
        print(options.json ? outcome.json(replay: replay) : outcome.text(replay: replay))
        return outcome.isClean ? 0 : 1
    }

    private static func simulate(_ scenario: LeaseScenario, _ options: Options) -> Int32 {
        let seed = options.seed ?? freshSeed()
        let nodes = options.nodes ?? scenario.nodes
        let replay = replay(scenario.name, nodes, seed, options)
        if !options.json {
            print("\(scenario.name): \(scenario.summary)\nseed \(seed), replay: \(replay)\n")
            flush()
        }
        let outcome = LeaseOutcome.of(
            scenario, nodes: nodes, seed: seed, seconds: options.seconds, bug: options.leaseBug)
        if options.timeline { print(outcome.timeline.joined(separator: "\n") + "\n") }
        print(options.json ? outcome.json(replay: replay) : outcome.text(replay: replay))
        return outcome.isClean ? 0 : 1
    }

    /// Tells every seed that fails, and goes on: each is worth keeping.
    private static func soak(_ leases: [LeaseScenario], _ options: Options) -> Int32 {
        let began = processorSeconds()
        var sizes = SeededGenerator(seed: freshSeed())
        var (runs, failures) = (0, 0)
        while processorSeconds() - began < options.budget, failures < 20 {
            let scenario = leases[runs % leases.count]
            let range = scenario.range
            let nodes = options.nodes ?? range.lowerBound + sizes.below(range.count)
            let seed = freshSeed()
            runs += 1
            let outcome = LeaseOutcome.of(
                scenario, nodes: nodes, seed: seed, seconds: options.seconds, bug: options.leaseBug)
            guard !outcome.isClean else { continue }
            failures += 1
            print("\(outcome.violations[0])\nreplay: \(replay(scenario.name, nodes, seed, options))")
            flush()
        }
        print("\(runs) runs of leases, \(failures) failed")
        return failures == 0 ? 0 : 1
    }

    private static func soak(_ options: Options) -> Int32 {
        if let leases = options.leases { return soak(options.allLeases ? LeaseScenario.all : [leases], options) }
        let scenarios = options.scenario.map { [$0] } ?? Scenario.all.filter { $0.nodes <= 64 }
        let began = processorSeconds()
        var sizes = SeededGenerator(seed: freshSeed())
        var (runs, failures) = (0, 0)
        while processorSeconds() - began < options.budget {
            let scenario = scenarios[runs % scenarios.count]
            let nodes = options.nodes ?? [2, 3, 4, 5, 5, 7, 12, 16, 20][sizes.below(9)]
            let seed = freshSeed()
            runs += 1
            let outcome = Outcome.of(
                scenario, nodes: nodes, seed: seed, seconds: options.seconds, bug: options.bug)
            guard outcome.isClean else {
                let replay = replay(scenario, nodes, seed, options)
                if options.goesOn {
                    failures += 1
                    print("\(replay)\n    \(outcome.firstComplaint)")
                    flush()
                    continue
                }
                print("\(scenario.name), \(nodes) nodes, seed \(seed), after \(runs) runs")
                print("replay: \(replay)\n\n\(outcome.complaint)")
                return 1
            }
        }
        print("\(runs) runs, \(failures == 0 ? "nothing" : "something in \(failures) of them") violated")
        return failures == 0 ? 0 : 1
    }

    private static func list(json: Bool) {
        if json {
            let all = Scenario.all.map { ($0.name, $0.summary) } + LeaseScenario.all.map { ($0.name, $0.summary) }
            let names = all.map { name, summary in "{\"name\":\"\(name)\",\"summary\":\"\(summary)\"}" }
            print("[\(names.joined(separator: ","))]")
            return
        }
        print("scenarios")
        for scenario in Scenario.all { print("  \(padded(scenario.name, 18))\(scenario.summary)") }
        for scenario in LeaseScenario.all { print("  \(padded(scenario.name, 18))\(scenario.summary)") }
        print("\nbugs")
        for bug in PlantedBug.allCases { print("  \(padded(bug.rawValue, 24))\(bug.summary)") }
        for bug in LeaseBug.allCases { print("  \(padded(bug.rawValue, 24))\(bug.summary)") }
    }

    // MARK: The command line

    private static func options(_ arguments: ArraySlice<String>) throws(Misuse) -> Options {
        var options = Options()
        var rest = arguments
        while let flag = rest.popFirst() {
            if flag == "--json" {
                options.json = true
                continue
            }
            if flag == "--timeline" {
                options.timeline = true
                continue
            }
            if flag == "--go-on" {
                options.goesOn = true
                continue
            }
            guard ["--scenario", "--nodes", "--seed", "--seconds", "--for", "--bug"].contains(flag) else {
                throw Misuse(text: "“\(flag)” is no option")
            }
            guard let value = rest.popFirst() else { throw Misuse(text: "\(flag) needs a value") }
            switch flag {
            case "--scenario":
                if value == "leases" || LeaseScenario.named(value) != nil {
                    options.leases = LeaseScenario.named(value) ?? .majority
                    options.allLeases = value == "leases"
                    continue
                }
                guard let scenario = Scenario.named(value) else {
                    let all = Scenario.all.map(\.name) + LeaseScenario.all.map(\.name)
                    let names = all.joined(separator: ", ")
                    throw Misuse(text: "--scenario \(value): there is no such scenario; allowed are \(names)")
                }
                options.scenario = scenario
            case "--nodes":
                guard let nodes = Int(value), (2...5000).contains(nodes) else {
                    throw Misuse(text: "--nodes \(value): allowed is 2 to 5000")
                }
                options.nodes = nodes
            case "--seed":
                guard let seed = UInt64(value) else {
                    throw Misuse(text: "--seed \(value): allowed is a whole number from 0 to 2^64 - 1")
                }
                options.seed = seed
            case "--bug":
                options.leaseBug = LeaseBug(rawValue: value)
                if options.leaseBug != nil { continue }
                guard let bug = PlantedBug(rawValue: value) else {
                    let all = PlantedBug.allCases.map(\.rawValue) + LeaseBug.allCases.map(\.rawValue)
                    let names = all.joined(separator: ", ")
                    throw Misuse(text: "--bug \(value): there is no such bug; allowed are \(names)")
                }
                options.bug = bug
            default:
                guard let seconds = Double(value), seconds > 0, seconds <= 86_400 else {
                    throw Misuse(text: "\(flag) \(value): allowed is a number of seconds up to 86400")
                }
                if flag == "--for" { options.budget = seconds } else { options.seconds = seconds }
            }
        }
        return options
    }

    private static func replay(_ scenario: Scenario, _ nodes: Int, _ seed: UInt64, _ options: Options) -> String {
        replay(scenario.name, nodes, seed, options)
    }
    private static func replay(_ scenario: String, _ nodes: Int, _ seed: UInt64, _ options: Options) -> String {
        let bug = options.bug?.rawValue ?? options.leaseBug?.rawValue
        return "bin/bramble-sim run --scenario \(scenario) --nodes \(nodes) --seed \(seed)"
            + (options.seconds.map { " --seconds \($0)" } ?? "") + (bug.map { " --bug \($0)" } ?? "")
    }

    // MARK: The machine this runs on

    /// Short enough to read out.
    private static func freshSeed() -> UInt64 { UInt64.random(in: 0..<1_000_000_000) }

    private static func processorSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    private static func flush() { fflush(nil) }
    private static func complain(_ text: String) {
        let line = Array((text + "\n").utf8)
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
