import Primitives

/// What the cables do to packets, one way at a time, and nothing else: no node, no session.
struct Network {
    private struct Link: Hashable { var source: Int, target: Int }

    var weather = Weather.calm
    private var ingressLoss: [Double]
    private var egressLoss: [Double]
    private var isPlugged: [Bool]
    private var group: [Int]
    private var cuts: Set<Link> = []
    private var chance: SeededGenerator

    init(machines: Int, chance: SeededGenerator) {
        ingressLoss = Array(repeating: 0, count: machines)
        egressLoss = ingressLoss
        group = Array(repeating: 0, count: machines)
        isPlugged = Array(repeating: true, count: machines)
        self.chance = chance
    }

    // MARK: Faults

    mutating func cut(from source: Int, to target: Int) { cuts.insert(Link(source: source, target: target)) }
    mutating func mend(from source: Int, to target: Int) { cuts.remove(Link(source: source, target: target)) }
    mutating func partition(_ groups: [Int]) { group = groups }
    mutating func plug(_ machine: Int, _ isIn: Bool) { isPlugged[machine] = isIn }
    mutating func setLoss(ingress: Double, egress: Double, at machine: Int) {
        ingressLoss[machine] = ingress
        egressLoss[machine] = egress
    }
    mutating func heal() {
        weather = .calm
        cuts = []
        for machine in group.indices {
            group[machine] = 0
            isPlugged[machine] = true
            ingressLoss[machine] = 0
            egressLoss[machine] = 0
        }
    }

    // MARK: Truth

    func isCut(from source: Int, to target: Int) -> Bool {
        group[source] != group[target] || !isPlugged[source] || !isPlugged[target] || ingressLoss[target] >= 1
            || egressLoss[source] >= 1
            || cuts.contains(Link(source: source, target: target))
    }
    /// A router that only the first part of a partition still has.
    func reachesGateway(_ machine: Int) -> Bool {
        group[machine] == 0 && isPlugged[machine] && ingressLoss[machine] < 0.5 && egressLoss[machine] < 0.5
    }
    private func loss(from source: Int, to target: Int) -> Double {
        1 - (1 - egressLoss[source]) * (1 - weather.loss) * (1 - ingressLoss[target])
    }

    // MARK: Chance

    /// When the copies of one packet arrive: none, one or two delays.
    struct Fate {
        var first: Duration?
        var second: Duration?
    }

    mutating func fate(from source: Int, to target: Int) -> Fate {
        guard !isCut(from: source, to: target) else { return Fate() }
        let lossHere = loss(from: source, to: target)
        if lossHere > 0, chance.chance(lossHere) { return Fate() }
        let first = delay()
        guard weather.duplication > 0, chance.chance(weather.duplication) else { return Fate(first: first) }
        return Fate(first: first, second: delay())
    }

    /// One-way delay, an exponential tail on it.
    mutating func delay() -> Duration {
        var microseconds = Double(weather.delay) - Double(weather.jitter) * naturalLogarithm(1 - chance.unit())
        if weather.spikes > 0, chance.chance(weather.spikes) { microseconds += chance.unit() * Double(weather.spike) }
        return .nanoseconds(Int64(microseconds * 1000))
    }

    /// How long TCP takes to get one segment through while the path is whole: a retransmission for each loss.
    mutating func reliableDelay(from source: Int, to target: Int) -> (total: Duration, isRepeated: Bool) {
        var total = delay()
        var isRepeated = false
        let lossHere = loss(from: source, to: target)
        var timeout = Duration.milliseconds(200)
        while lossHere > 0, chance.chance(lossHere), timeout < .seconds(4) {
            total += timeout
            timeout *= 2
            isRepeated = true
        }
        return (total, isRepeated)
    }
}

private let logarithmOfTen = 2.302_585_092_994_046
private func naturalLogarithm(_ value: Double) -> Double { Mathematics.log10(value) * logarithmOfTen }
