package import Leases

/// What came out of a lease run, for people and for scripts.
package struct LeaseOutcome: Sendable {
    package let scenario: String
    package let nodes: Int
    package let seed: UInt64
    package let figures: LeaseFigures
    package let violations: [String]
    package let timeline: [String]
    package var isClean: Bool { violations.isEmpty }

    /// One run from beginning to end.
    package static func of(
        _ scenario: LeaseScenario, nodes: Int? = nil, seed: UInt64, seconds: Double? = nil, bug: LeaseBug? = nil
    ) -> LeaseOutcome {
        let count = min(max(nodes ?? scenario.nodes, scenario.range.lowerBound), scenario.range.upperBound)
        let run = LeaseSimulation(scenario: scenario, nodes: count, seed: seed, seconds: seconds, bug: bug)
        run.run()
        return LeaseOutcome(
            scenario: scenario.name, nodes: count, seed: seed, figures: run.figures,
            violations: run.violations.map { "\($0.at) s: violated: \($0.claim)\n    \($0.text)" },
            timeline: run.timeline)
    }

    /// Says what went wrong and what led to it.
    package var complaint: String {
        violations.prefix(3).joined(separator: "\n") + "\n"
            + timeline.suffix(40).map { "    \($0)" }.joined(separator: "\n")
    }

    package func text(replay: String) -> String {
        var lines: [String] = []
        func line(_ name: String, _ value: String) {
            lines.append(name + String(repeating: " ", count: max(1, 24 - name.count)) + value)
        }
        func spread(_ values: [Double]) -> String {
            guard let middle = LeaseFigures.middle(values), let most = values.max() else { return "none" }
            return "median \(decimal(middle, places: 0)) ms, most \(decimal(most, places: 0)) ms, \(values.count) times"
        }
        line("simulated", "\(decimal(figures.simulatedSeconds, places: 1)) s, \(nodes) nodes")
        line("acquired, renewed", "\(figures.acquisitions), \(figures.renewals)")
        line("nobody acted", spread(figures.takeovers))
        line("planned moves", spread(figures.moves))
        line("disk writes", "\(figures.writes)")
        line("traffic", "\(figures.packets) packets, \(figures.bytes) bytes")
        lines.append("")
        if isClean {
            lines += LeaseSimulation.claims.map { "held: \($0)" }
        } else {
            lines += [complaint, "replay: \(replay)"]
        }
        return lines.joined(separator: "\n")
    }

    package func json(replay: String) -> String {
        func number(_ value: Double?) -> String { value.map { decimal($0, places: 1) } ?? "null" }
        let found = violations.map { quoted($0) }.joined(separator: ",")
        return "{\"scenario\":\(quoted(scenario)),\"nodes\":\(nodes),\"seed\":\(seed),\"replay\":\(quoted(replay)),"
            + "\"ok\":\(isClean),\"simulatedSeconds\":\(number(figures.simulatedSeconds)),"
            + "\"acquisitions\":\(figures.acquisitions),\"renewals\":\(figures.renewals),"
            + "\"takeoverMedianMs\":\(number(LeaseFigures.middle(figures.takeovers))),"
            + "\"moveMedianMs\":\(number(LeaseFigures.middle(figures.moves))),\"writes\":\(figures.writes),"
            + "\"packets\":\(figures.packets),\"bytes\":\(figures.bytes),\"violations\":[\(found)]}"
    }
}
