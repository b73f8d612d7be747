import Primitives

/// What came out of a run, for people and for scripts.
package struct Outcome: Sendable {
    package let scenario: String
    package let nodes: Int
    package let seed: UInt64
    package let figures: Figures
    package let violations: [Violation]
    /// The claims that were watched.
    package let claims: [String]
    /// Everything that happened, as far as it is remembered.
    package let timeline: [String]
    /// For each violation, what led to it.
    package let accounts: [[String]]
    package var isClean: Bool { violations.isEmpty }

    /// Says what went wrong and how to see it again, in a few lines.
    package var complaint: String {
        zip(violations, accounts).prefix(3).map { violation, account in
            "\(violation.at) s: violated: \(violation.claim)\n    \(violation.finding.text)\n"
                + account.map { "    \($0)\n" }.joined()
        }.joined() + (violations.count > 3 ? "and \(violations.count - 3) more violations\n" : "")
    }

    /// In one line; empty when clean.
    package var firstComplaint: String {
        violations.first.map { "\($0.at) s: \($0.finding.text)" } ?? ""
    }

    package func text(replay: String) -> String {
        var lines: [String] = []
        func line(_ name: String, _ value: String?) {
            if let value { lines.append(name + String(repeating: " ", count: max(1, 24 - name.count)) + value) }
        }
        line("simulated", "\(decimal(figures.simulatedSeconds, places: 1)) s, \(nodes) nodes")
        line("formed after", figures.formedMilliseconds.map { "\(decimal($0, places: 0)) ms" })
        if let p50 = figures.detection(percentile: 50), let p99 = figures.detection(percentile: 99),
            let most = figures.detections.max()
        {
            line(
                "crash to “failed”",
                "p50 \(decimal(p50, places: 0)) ms, p99 \(decimal(p99, places: 0)) ms, max \(decimal(most, places: 0)) ms"
                    + " (\(figures.detections.count) times)")
        }
        line("wrong verdicts", "\(figures.falseVerdicts)")
        line("suspicions", "\(figures.suspicions)")
        line("agreed after healing", figures.healMilliseconds.map { "\(decimal($0, places: 0)) ms" })
        line(
            "traffic",
            "\(decimal(figures.bytesPerSecondPerNode, places: 0)) B/s a node sent, busiest "
                + "\(decimal(figures.busiestBytesPerSecond, places: 0)) B/s, \(figures.packets) packets")
        if isClean {
            lines.append("")
            lines += claims.map { "held: \($0)" }
        } else {
            lines.append("")
            lines.append(complaint)
            lines.append("replay: \(replay)")
        }
        return lines.joined(separator: "\n")
    }

    package func json(replay: String) -> String {
        func number(_ value: Double?, places: Int = 1) -> String { value.map { decimal($0, places: places) } ?? "null" }
        let violations = zip(self.violations, accounts).map { violation, account in
            "{\"atSeconds\":\(number(violation.at.seconds, places: 3)),\"claim\":\(quoted(violation.claim)),"
                + "\"text\":\(quoted(violation.finding.text)),"
                + "\"timeline\":[\(account.map(quoted).joined(separator: ","))]}"
        }.joined(separator: ",")
        let detection =
            "{\"count\":\(figures.detections.count),\"p50Ms\":\(number(figures.detection(percentile: 50))),"
            + "\"p99Ms\":\(number(figures.detection(percentile: 99))),\"maxMs\":\(number(figures.detections.max()))}"
        return "{\"scenario\":\(quoted(scenario)),\"nodes\":\(nodes),\"seed\":\(seed),\"replay\":\(quoted(replay)),"
            + "\"ok\":\(isClean),\"simulatedSeconds\":\(number(figures.simulatedSeconds)),"
            + "\"formedMs\":\(number(figures.formedMilliseconds)),\"detection\":\(detection),"
            + "\"falseVerdicts\":\(figures.falseVerdicts),\"suspicions\":\(figures.suspicions),"
            + "\"healMs\":\(number(figures.healMilliseconds)),"
            + "\"bytesPerSecondPerNode\":\(number(figures.bytesPerSecondPerNode)),"
            + "\"busiestBytesPerSecond\":\(number(figures.busiestBytesPerSecond)),\"packets\":\(figures.packets),"
            + "\"overflowedPackets\":\(figures.overflowedPackets),\"foreignPackets\":\(figures.foreignPackets),"
            + "\"violations\":[\(violations)]}"
    }
}

func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case _ where scalar.value < 32: out += " "
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}

extension SimulatedCluster {
    package var outcome: Outcome {
        Outcome(
            scenario: scenario.name, nodes: nodes, seed: seed, figures: figures, violations: violations,
            claims: claims, timeline: timeline.lines(about: [], until: now, count: .max) { number(of: $0) },
            accounts: violations.map { violation in
                timeline.lines(about: violation.finding.machines, until: violation.at, count: 40) { number(of: $0) }
            })
    }
}

extension Outcome {
    /// One run from beginning to end.
    package static func of(
        _ scenario: Scenario, nodes: Int? = nil, seed: UInt64, seconds: Double? = nil, bug: PlantedBug? = nil
    ) -> Outcome {
        let cluster = SimulatedCluster(
            scenario: scenario, nodes: nodes ?? scenario.nodes, seed: seed, seconds: seconds, bug: bug)
        cluster.run()
        return cluster.outcome
    }
}
