import Primitives

/// A kind of trouble by name: which faults are drawn from a seed, and what must hold meanwhile.
package struct Scenario: Sendable {
    package let name: String
    package let summary: String
    /// Nodes and length of the faults when not told otherwise.
    package var nodes = 5
    package var length = Duration.seconds(30)
    /// Machines that are there from the start but join later.
    var spares = 0
    /// Machines of another cluster on the same network.
    var strangers = 0
    /// Below this many nodes the claims cannot hold, for reasons that are in the summary.
    package var leastNodes = 2
    /// How soon each crash has to be found; nil where other faults may get in the way.
    var findsCrashes: (@Sendable (_ nodes: Int) -> Duration)?
    var returnsWithin: Duration?
    /// With databases, and people who write; nil for membership alone.
    var database: DatabasePlan?
    let draw: @Sendable (inout FaultDraft) -> Void

    /// The network is whole and everybody runs: three seconds up to 64 nodes.
    func healBound(_ nodes: Int) -> Duration {
        max(nodes <= 64 ? .seconds(3) : .seconds(8), database?.convergesWithin ?? .zero)
    }

    /// Where nodes hold different cluster keys after removals in a partition: older keys are tried in turn, on one absent
    /// member a second.
    static let partedKeysBound = Duration.seconds(15)

    func checkers(nodes: Int) -> [any Checker] {
        let isSmall = nodes <= 64
        var checkers: [any Checker] = [
            NobodyReachableIsDeclaredDown(window: nodes <= 16 ? .seconds(1) : nodes <= 64 ? .seconds(2) : .seconds(4)),
            VersionsGrow(machines: nodes + spares + strangers, looksAtSamples: isSmall),
            GenerationsGrow(), RemovedStaysRemoved(), FactsSettle(), Forms(),
            EveryCrashIsFound(within: findsCrashes?(nodes)), Heals(within: healBound(nodes)),
        ]
        if isSmall { checkers.append(EvidenceIsKept()) }
        if strangers > 0 { checkers.append(StrangersStayOut()) }
        if database != nil {
            checkers += [KnowledgeIsExact(), PromisesAreKept(), CopiesConverge(), WritesAreAnswered()] as [any Checker]
        }
        if database?.listsConflicts ?? false { checkers.append(ConflictsAreListed()) }
        if database?.forgetsRemoved ?? false { checkers.append(RemovedAreForgotten()) }
        if database?.isUpgrade ?? false { checkers.append(NewNodesBecomeMembers()) }
        if let returnsWithin { checkers.append(RestartedIsBack(within: returnsWithin)) }
        return checkers
    }
}

/// A fault plan in the making.
struct FaultDraft {
    let nodes: Int
    let spares: Int
    let start: TrueTime
    let end: TrueTime
    var chance: SeededGenerator
    var plan = FaultPlan()

    init(nodes: Int, spares: Int, from start: TrueTime, length: Duration, chance: SeededGenerator) {
        self.nodes = nodes
        self.spares = spares
        self.start = start
        end = start + length
        self.chance = chance
    }

    mutating func node() -> Int { chance.below(nodes) }
    mutating func pair() -> (Int, Int) {
        let first = node()
        return (first, (first + 1 + chance.below(nodes - 1)) % nodes)
    }
    mutating func duration(_ low: Duration, _ high: Duration) -> Duration {
        low + .nanoseconds(Int64(chance.unit() * Double((high - low).nanoseconds)))
    }
    /// Evenly over magnitudes, so that short and long ones are both common.
    mutating func anyDuration(_ low: Duration, _ high: Duration) -> Duration {
        let decades = Mathematics.log10(high.seconds / low.seconds)
        return .nanoseconds(Int64(low.seconds * Mathematics.exp(chance.unit() * decades * 2.302_585) * 1e9))
    }
    mutating func add(_ fault: Fault, at time: TrueTime) { if time < end { plan.add(fault, at: time) } }
    /// A fault and its end.
    mutating func add(_ fault: Fault, until over: Fault, at time: TrueTime, for length: Duration) {
        add(fault, at: time)
        add(over, at: time + length)
    }
    /// Moments until the end, `low` to `high` apart.
    mutating func moments(every low: Duration, to high: Duration) -> [TrueTime] {
        var moments: [TrueTime] = []
        var next = start + duration(.zero, high)
        while next < end {
            moments.append(next)
            next = next + duration(low, high)
        }
        return moments
    }
    mutating func pause() -> Pause { chance.pick(from: Pause.allCases)! }
    mutating func someNodes(_ count: Int) -> [Int] {
        var all = Array(0..<nodes)
        chance.shuffle(&all)
        return Array(all.prefix(count)).sorted()
    }
    /// Two or more groups of any sizes.
    mutating func groups() -> [Int] {
        let parts = nodes > 3 && chance.chance(0.2) ? 3 : 2
        var groups = (0..<nodes).map { _ in chance.below(parts) }
        groups[node()] = 0
        if !groups.contains(1) { groups[groups.indices.first { groups[$0] == 0 }!] = 1 }
        return groups
    }
}
