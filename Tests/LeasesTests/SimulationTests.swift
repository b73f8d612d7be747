import Foundation
import Leases
import Simulator
import Testing

/// Fresh seeds every run; every seed that ever failed is in seeds.txt.
@Suite("leases under faults")
struct LeaseSimulationTests {
    private static func fresh(_ count: Int) -> [UInt64] {
        (0..<count).map { _ in UInt64.random(in: 0..<1_000_000_000) }
    }

    @Test("no two machines act at once, epochs grow, and all is held again in the end", arguments: LeaseScenario.all)
    func claims(scenario: LeaseScenario) {
        for seed in Self.fresh(2) {
            let nodes = scenario.range.lowerBound + Int(seed % UInt64(scenario.range.count))
            let outcome = LeaseOutcome.of(scenario, nodes: nodes, seed: seed, seconds: 15)
            #expect(
                outcome.isClean,
                "make sim SCENARIO=\(scenario.name) NODES=\(nodes) SEED=\(seed) SECONDS=15\n\(outcome.complaint)")
            #expect(outcome.figures.acquisitions > 0)
        }
    }

    @Test("none of the faults again that a seed once showed")
    func recorded() throws {
        let file = try #require(Bundle.module.path(forResource: "seeds", ofType: "txt"))
        for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
            let words = line.prefix { $0 != "#" }.split(separator: " ")
            if words.isEmpty { continue }
            let scenario = try #require(LeaseScenario.named(String(words[0])), "\(line)")
            guard let nodes = Int(words[1]), let seed = UInt64(words[2]) else {
                Issue.record("cannot be read: \(line)")
                continue
            }
            let outcome = LeaseOutcome.of(scenario, nodes: nodes, seed: seed)
            #expect(outcome.isClean, "\(line)\n\(outcome.complaint)")
        }
    }

    @Test("the same seed gives the same run")
    func determinism() throws {
        let scenario = try #require(LeaseScenario.named("leases-majority"))
        let seed = Self.fresh(1)[0]
        let first = LeaseOutcome.of(scenario, seed: seed, seconds: 5)
        let second = LeaseOutcome.of(scenario, seed: seed, seconds: 5)
        #expect(first.timeline == second.timeline && first.json(replay: "") == second.json(replay: ""), "seed \(seed)")
        #expect(first.timeline != LeaseOutcome.of(scenario, seed: seed + 1, seconds: 5).timeline)
    }

    struct Hunt: Sendable, CustomTestStringConvertible {
        var bug: LeaseBug
        var scenario: String
        var nodes: Int
        /// So many seeds may find nothing; one of them must.
        var patience: Int
        var testDescription: String { "\(bug.rawValue) by \(scenario)" }
    }
    /// The other planted bugs need one message at one exact moment: WitnessTests has those schedules.
    static let hunts = [
        Hunt(bug: .scalarVotes, scenario: "leases-corners", nodes: 5, patience: 20),
        Hunt(bug: .shortQuarantine, scenario: "leases-strikes", nodes: 3, patience: 80),
        Hunt(bug: .attendedClock, scenario: "leases-strikes", nodes: 3, patience: 60),
        Hunt(bug: .attendedClock, scenario: "leases-two-nodes", nodes: 2, patience: 60),
    ]
    /// Any of these would be two owners in some run.
    static let safety = ["no two machines act", "epochs grow", "what is renewed is held"]

    @Test("a planted bug breaks what must hold, in runs that are clean without it", arguments: hunts)
    func planted(hunt: Hunt) throws {
        let scenario = try #require(LeaseScenario.named(hunt.scenario))
        for seed in Self.fresh(hunt.patience) {
            let run = LeaseOutcome.of(scenario, nodes: hunt.nodes, seed: seed, seconds: 20, bug: hunt.bug)
            guard run.violations.contains(where: { found in Self.safety.contains { found.contains($0) } }) else {
                continue
            }
            let clean = LeaseOutcome.of(scenario, nodes: hunt.nodes, seed: seed, seconds: 20)
            #expect(clean.isClean, "seed \(seed)\n\(clean.complaint)")
            return
        }
        Issue.record("\(hunt.patience) seeds of \(hunt.scenario) did not find \(hunt.bug)")
    }
}
