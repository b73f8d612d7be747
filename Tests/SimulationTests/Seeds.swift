import Foundation
import Simulator
import Testing

extension Tag {
    @Tag static var simulation: Self
}

/// One run: what befalls whom, from which seed.
struct Run: Sendable, CustomTestStringConvertible {
    var scenario: Scenario
    var nodes: Int
    var seed: UInt64
    var bug: PlantedBug?
    /// How long the faults go on; nil for the scenario's own length.
    var seconds: Double?

    var replay: String {
        "make sim SCENARIO=\(scenario.name) NODES=\(nodes) SEED=\(seed)" + (seconds.map { " SECONDS=\($0)" } ?? "")
    }
    var testDescription: String { "\(scenario.name), \(nodes) nodes, seed \(seed)" }

    func outcome(seconds: Double? = nil) -> Outcome {
        .of(scenario, nodes: nodes, seed: seed, seconds: seconds ?? self.seconds, bug: bug)
    }
}

/// Fresh seeds every run, plus every seed that ever failed (seeds.txt).
enum Seeds {
    struct Unreadable: Error { var line: String }

    /// What the fresh part of this test run is drawn from: printed in every failure through the seeds themselves.
    static func fresh(_ count: Int) -> [UInt64] { (0..<count).map { _ in UInt64.random(in: 0..<1_000_000_000) } }

    /// For each scenario that a plain test run can afford, one run of a small cluster.
    static let selected: [Run] = {
        let small = Scenario.all.filter { $0.nodes <= 64 }
        let sizes = [2, 3, 4, 5, 7]
        return small.flatMap { scenario in
            fresh(scenario.name == "everything" ? 3 : 1).map { seed in
                let nodes = sizes[Int(seed % 5)]
                return Run(scenario: scenario, nodes: max(nodes, scenario.leastNodes), seed: seed)
            }
        }
    }()

    static func recorded() throws -> [Run] {
        guard let file = Bundle.module.path(forResource: "seeds", ofType: "txt") else {
            throw Unreadable(line: "seeds.txt is missing")
        }
        return try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").compactMap { line in
            let words = line.prefix { $0 != "#" }.split(separator: " ")
            if words.isEmpty { return nil }
            guard (3...4).contains(words.count), let scenario = Scenario.named(String(words[0])),
                let nodes = Int(words[1]),
                let seed = UInt64(words[2])
            else { throw Unreadable(line: String(line)) }
            return Run(
                scenario: scenario, nodes: nodes, seed: seed, seconds: words.count == 4 ? Double(words[3]) : nil)
        }
    }
}
