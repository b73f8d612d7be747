import Glibc
import Lab

/// How much of everything.
struct Effort {
    var kills: Int
    var starts: Int
    var restarts: Int
    var partition: Duration
    var lossy: Duration
    var idle: Duration
    static let full = Effort(
        kills: 25, starts: 10, restarts: 20, partition: .seconds(60), lossy: .seconds(60), idle: .seconds(60))
    static let quick = Effort(
        kills: 4, starts: 3, restarts: 4, partition: .seconds(25), lossy: .seconds(10), idle: .seconds(10))
}

/// The lines of the table. Each makes a lab of its own, so that nothing is left over from the one before.
struct Rows {
    let program: String
    let effort: Effort
    let progress: (String) -> Void
    private let five = Set(0..<5)

    private func peer<Value>(_ values: [Value]) -> Value? { values.count > 1 ? values[1] : nil }
    private func count(_ value: Int?) -> String { value.map { "\($0)" } ?? "" }

    /// A running cluster of both, on the same hosts.
    private func withClusters(
        of count: Int, joining: Joining = .addresses, _ body: (Lab, [any Contender]) throws -> [Figure]
    ) throws -> [Figure] {
        let lab = try Lab((1...count).map { "n\($0)" })
        defer { lab.close() }
        // Ours first; the peer when it is installed, and where it can do this at all.
        var contenders: [any Contender] = [Bramble(on: lab, program: program)]
        if Serf.isInstalled, joining == .addresses { contenders.append(Serf(on: lab)) }
        for contender in contenders {
            let start = monotonicSeconds()
            for node in 0..<count {
                try contender.prepare(node)
                try contender.launch(node, joining: joining)
                // serf's -join ends the agent when the other is not there yet.
                if node == 0 { pause(.milliseconds(500)) }
            }
            let all = Set(0..<count)
            guard contender.untilAllBelieve(alive: all, observers: all, after: start, within: .seconds(30)) != nil
            else {
                throw LabError("\(contender.name) did not form a cluster of \(count) within 30 s\n\(contender.log(0))")
            }
        }
        pause(.seconds(2))
        return try body(lab, contenders)
    }

    // MARK: Detection

    func detection() throws -> [Figure] {
        try withClusters(of: 5) { _, contenders in
            let samples = try contenders.map { try killAgainAndAgain($0) }
            let names = ["p50", "p99"]
            return zip(names, zip([0.5, 0.99], [0.5, 0.8])).map { name, figures in
                Figure(
                    "SIGKILL to “down” on all others, 5 nodes, \(name) of \(samples[0].values.count + samples[0].missing)",
                    peer: peer(samples)?.percentile(figures.0),
                    bramble: samples[0].missing > 0 ? nil : samples[0].percentile(figures.0),
                    target: "≤ \(decimal(figures.1, 1)) s", limit: figures.1, unit: seconds)
            }
        }
    }

    private func killAgainAndAgain(_ contender: any Contender) throws -> Samples {
        var samples = Samples()
        for round in 0..<effort.kills {
            let victim = round % 5
            let others = five.subtracting([victim])
            let moment = monotonicSeconds()
            contender.kill(victim)
            let delay = contender.untilAllNotice(
                .down, about: victim, observers: others, after: moment, within: .seconds(30))
            samples.add(delay)
            progress("\(contender.name): kill \(round + 1) of \(effort.kills): \(seconds(delay))")
            try contender.launch(victim, joining: .addresses)
            _ = contender.untilAllBelieve(alive: five, observers: five, after: moment, within: .seconds(30))
            // Not in step with anybody's heartbeat.
            pause(.milliseconds(Int64.random(in: 800...1600)))
        }
        return samples
    }

    // MARK: Wrong verdicts

    func frozen() throws -> [Figure] {
        try withClusters(of: 5) { _, contenders in
            var wrong = contenders.map { _ in 0 }
            for length in [2, 5] {
                for node in 0..<5 {
                    let moment = monotonicSeconds()
                    for contender in contenders { contender.process(node)?.freeze() }
                    pause(.seconds(length))
                    for contender in contenders { contender.process(node)?.thaw() }
                    pause(.seconds(3))
                    for (index, contender) in contenders.enumerated() {
                        // The frozen one may be called down: it did not answer. Nobody else may.
                        wrong[index] += contender.downVerdicts(
                            about: five.subtracting([node]), by: five, after: moment)
                        guard
                            contender.untilAllBelieve(
                                alive: five, observers: five, after: moment, within: .seconds(30)) != nil
                        else {
                            throw LabError("\(contender.name) did not agree again 30 s after node \(node + 1) went on")
                        }
                    }
                    progress("node \(node + 1) frozen for \(length) s: wrong verdicts so far: \(wrong)")
                }
            }
            return [
                Figure(
                    "nodes wrongly declared down, each of 5 frozen for 2 s and for 5 s", peer: count(peer(wrong)),
                    bramble: "\(wrong[0])", target: "0", isMet: wrong[0] == 0)
            ]
        }
    }

    func loss() throws -> [Figure] {
        try withClusters(of: 5) { lab, contenders in
            let moment = monotonicSeconds()
            try lab.lose(percent: 20)
            progress("20 % loss for \(effort.lossy)")
            pause(effort.lossy)
            let wrong = contenders.map { $0.downVerdicts(about: five, by: five, after: moment) }
            return [
                Figure(
                    "nodes wrongly declared down, 20 % loss on every link for \(effort.lossy.components.seconds) s",
                    peer: count(peer(wrong)), bramble: "\(wrong[0])", target: "0", isMet: wrong[0] == 0)
            ]
        }
    }

    // MARK: Joining

    func start() throws -> [Figure] {
        try startUntilKnown(.addresses, "start of a process until all know it, 5 nodes", target: 0.5)
            + startUntilKnown(.discovery, "the same, found by multicast DNS alone", target: nil)
    }

    private func startUntilKnown(_ joining: Joining, _ what: String, target: Double?) throws -> [Figure] {
        try withClusters(of: 4, joining: joining) { lab, contenders in
            var samples = contenders.map { _ in Samples() }
            for round in 0..<effort.starts {
                let fresh = lab.hosts.count
                try lab.add(["f\(round + 1)"])
                for (index, contender) in contenders.enumerated() {
                    try contender.prepare(fresh)
                    let moment = monotonicSeconds()
                    try contender.launch(fresh, joining: joining)
                    let delay = contender.untilAllNotice(
                        .alive, about: fresh, observers: Set(0..<4), after: moment, within: .seconds(30))
                    samples[index].add(delay)
                    progress("\(contender.name): start \(round + 1) of \(effort.starts): \(seconds(delay))")
                    try contender.leave(fresh)
                    pause(.milliseconds(500))
                }
            }
            let ours = samples[0].missing > 0 ? nil : samples[0].percentile(0.5)
            return [
                Figure(
                    "\(what), median of \(effort.starts)", peer: peer(samples)?.percentile(0.5), bramble: ours,
                    target: target.map { "≤ \(decimal($0, 1)) s" } ?? "", limit: target ?? .infinity, unit: seconds)
            ]
        }
    }

    func restart() throws -> [Figure] {
        try withClusters(of: 5) { _, contenders in
            var samples = contenders.map { _ in Samples() }
            for (index, contender) in contenders.enumerated() {
                for round in 0..<effort.restarts {
                    let victim = round % 5
                    contender.kill(victim)
                    pause(.milliseconds(Int64.random(in: 20...150)))
                    let moment = monotonicSeconds()
                    try contender.launch(victim, joining: .addresses)
                    let delay = contender.untilMember(victim, of: five, after: moment, within: .seconds(30))
                    samples[index].add(delay)
                    progress("\(contender.name): restart \(round + 1) of \(effort.restarts): \(seconds(delay))")
                }
                guard
                    contender.untilAllBelieve(
                        alive: five, observers: five, after: monotonicSeconds(), within: .seconds(30)) != nil
                else {
                    samples[index].missing += 1
                    continue
                }
            }
            return [
                Figure(
                    "kill −9 and restart within 200 ms, \(effort.restarts) times: a member again, slowest",
                    peer: peer(samples).flatMap { $0.missing > 0 ? nil : $0.largest },
                    bramble: samples[0].missing > 0 ? nil : samples[0].largest, target: "≤ 1 s", limit: 1,
                    unit: seconds)
            ]
        }
    }

    // MARK: Partition

    func partition() throws -> [Figure] {
        try withClusters(of: 5) { lab, contenders in
            let (left, right) = (Set(0..<2), Set(2..<5))
            progress("a partition of \(effort.partition)")
            try lab.partition(left.map { lab.hosts[$0] }, from: right.map { lab.hosts[$0] })
            pause(effort.partition)
            for contender in contenders {
                guard left.allSatisfy({ contender.believes($0, alive: left) }),
                    right.allSatisfy({ contender.believes($0, alive: right) })
                else { throw LabError("\(contender.name) did not notice the partition; nothing to heal") }
            }
            // Before: they may agree again while the last link is still being mended.
            let moment = monotonicSeconds()
            try lab.heal()
            let delays = contenders.map { contender -> Double? in
                var last = 0.0
                for (observers, subjects) in [(left, right), (right, left)] {
                    for subject in subjects.sorted() {
                        guard
                            let delay = contender.untilAllNotice(
                                .alive, about: subject, observers: observers, after: moment, within: .seconds(90))
                        else { return nil }
                        last = max(last, delay)
                    }
                }
                return last
            }
            return [
                Figure(
                    "partition of \(effort.partition.components.seconds) s healed until all agree, 5 nodes",
                    peer: peer(delays) ?? nil, bramble: delays[0], target: "≤ 3 s", limit: 3, unit: seconds)
            ]
        }
    }

    // MARK: At rest

    func idle() throws -> [Figure] {
        try withClusters(of: 5) { _, contenders in
            pause(.seconds(5))
            progress("idle for \(effort.idle)")
            let start = monotonicSeconds()
            let before = contenders.map { contender in five.sorted().compactMap { contender.process($0)?.usage } }
            pause(effort.idle)
            let length = monotonicSeconds() - start
            let after = contenders.map { contender in five.sorted().compactMap { contender.process($0)?.usage } }
            let memory = after.map { usages -> Double? in
                usages.map { Double($0.residentBytes) / 1_048_576 }.max()
            }
            var processor: [Double?] = []
            for (first, second) in zip(before, after) {
                let used = zip(first, second).map { $1.cpuSeconds - $0.cpuSeconds }.reduce(0, +)
                processor.append(used / Double(first.count) / length * 100)
            }
            return [
                Figure(
                    "memory of an idle daemon (RSS), 5 nodes, largest", peer: peer(memory) ?? nil, bramble: memory[0],
                    target: "≤ 20 MiB", limit: 20, unit: mebibytes),
                Figure(
                    "processor time of an idle daemon, 5 nodes, mean", peer: peer(processor) ?? nil,
                    bramble: processor[0],
                    target: "≤ 1 %", limit: 1, unit: percent),
            ]
        }
    }
}
