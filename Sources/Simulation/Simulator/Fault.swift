import Primitives

/// What may go wrong, or be done, at one moment. Machines are numbered from 0 in the order they were set up.
package enum Fault: Equatable, Sendable {
    /// The plug is pulled: what was not synced is gone, and the clock since boot starts again.
    case powerCut(Int)
    /// SIGKILL: the daemon is gone, what it wrote is kept.
    case kill(Int)
    /// Starts a machine, or the daemon on it; a spare machine thereby joins.
    case boot(Int)
    case pause(Int, for: Duration, Pause)
    /// Nothing gets through in this direction.
    case cut(from: Int, to: Int)
    case mend(from: Int, to: Int)
    /// Machines with different numbers cannot talk. One number for each machine.
    case partition([Int])
    case merge
    /// Shares of 0 to 1, lost at one machine's network card.
    case loss(ingress: Double, egress: Double, at: Int)
    case weather(Weather)
    /// The carrier is lost, and the machine knows it.
    case unplug(Int)
    case plug(Int)
    /// The machine gets another address (DHCP).
    case renumber(Int)
    /// Seconds of the machine's clock in a real second.
    case clockRate(Int, Double)
    /// The clock since boot jumps ahead: a virtual machine that catches up.
    case clockJump(Int, Duration)
    /// The wall clock is set: kernel stamps of packets that wait in the socket come out wrong by this much.
    case wallClockStep(Int, Duration)
    /// Power is lost, and the disk's database with it.
    case wipe(Int)
    /// The card is replaced by an older image of it.
    case rollBack(Int)
    /// A backup is taken of its database; one at a time is kept.
    case backUp(Int)
    /// The backup takes the place of the database, here and then everywhere.
    case restore(Int)
    /// Its database is of the next version from now on, which writes what the one before cannot read. It starts anew for it.
    case upgrade(Int)
    /// SIGTERM: the daemon says goodbye.
    case leave(Int)
    /// An operator removes a node from the cluster, at another one.
    case remove(Int, by: Int)
    /// Ends everything above that can end: links, weather, pauses; machines that are off start, but for those retired.
    case heal
}

/// Ways to stand still.
package enum Pause: CaseIterable, Sendable {
    /// The daemon alone does not run (SIGSTOP, a stuck card, swapping): what comes in waits in its socket.
    case stopped
    /// The whole machine sleeps: the network card too, so that nothing waits, but the clock since boot goes on.
    case suspended
    /// A virtual machine stands still with its clock, and its network.
    case frozen
}

/// How every link behaves while nothing particular is wrong with it.
package struct Weather: Equatable, Sendable {
    /// One-way delay that every packet has. Unit: microseconds. Default 150, a switched LAN of small machines.
    package var delay = 150
    /// Mean of the exponentially distributed delay on top. Unit: microseconds.
    package var jitter = 100
    /// Shares of 0 to 1, for each packet.
    package var loss = 0.0
    package var duplication = 0.0
    /// Share of packets held back for up to `spike`, and so overtaken by later ones.
    package var spikes = 0.0
    /// Unit: microseconds.
    package var spike = 0
    package init() {}

    package static let calm = Weather()
    /// Up to this share of loss, and up to this delay, a link counts as good: nobody may be declared down over it.
    package static let tolerableLoss = 0.25
    package static let tolerableDelay = 100_000

    var isTolerable: Bool { loss <= Self.tolerableLoss && delay + 5 * jitter + spike <= Self.tolerableDelay }
}

/// All faults of a run, drawn from the seed before the run begins: what the nodes do cannot change what befalls them.
package struct FaultPlan: Sendable {
    package struct Step: Sendable {
        package var at: TrueTime
        package var fault: Fault
    }
    package private(set) var steps: [Step] = []
    /// Machines that stay off when everything heals: the others have to find them down in the end.
    package var retired: Set<Int> = []

    package mutating func add(_ fault: Fault, at time: TrueTime) { steps.append(Step(at: time, fault: fault)) }
}

extension Fault: CustomStringConvertible {
    package var description: String {
        switch self {
        case .powerCut(let machine): "n\(machine) loses power"
        case .kill(let machine): "n\(machine) is killed"
        case .boot(let machine): "n\(machine) starts"
        case .pause(let machine, let duration, let pause): "n\(machine) is \(pause) for \(duration.forPeople)"
        case .cut(let source, let target): "nothing gets from n\(source) to n\(target)"
        case .mend(let source, let target): "n\(source) reaches n\(target) again"
        case .partition(let groups):
            "partition: "
                + Set(groups).sorted().map { group in
                    let members = groups.indices.filter { groups[$0] == group }
                    return members.count > 12
                        ? "\(members.count) nodes" : members.map { "n\($0)" }.joined(separator: " ")
                }.joined(separator: " | ")
        case .merge: "the partition ends"
        case .loss(let ingress, let egress, let machine):
            "n\(machine) loses \(decimal(ingress * 100, places: 0)) % in, \(decimal(egress * 100, places: 0)) % out"
        case .weather(let weather):
            "weather: \(weather.delay) µs + \(weather.jitter) µs, \(decimal(weather.loss * 100, places: 0)) % lost, "
                + "\(decimal(weather.duplication * 100, places: 0)) % doubled, "
                + "\(decimal(weather.spikes * 100, places: 0)) % held back up to \(weather.spike) µs"
        case .unplug(let machine): "n\(machine) is unplugged"
        case .plug(let machine): "n\(machine) is plugged in"
        case .renumber(let machine): "n\(machine) gets another address"
        case .clockRate(let machine, let rate): "n\(machine)'s clock runs at \(decimal(rate, places: 4))"
        case .clockJump(let machine, let step): "n\(machine)'s clock jumps ahead by \(step.forPeople)"
        case .wallClockStep(let machine, let step): "n\(machine)'s wall clock is set by \(step.forPeople)"
        case .wipe(let machine): "n\(machine) loses its database"
        case .rollBack(let machine): "n\(machine) gets an older image of its card"
        case .backUp(let machine): "a backup is taken at n\(machine)"
        case .restore(let machine): "the backup is restored at n\(machine)"
        case .upgrade(let machine): "n\(machine) is upgraded"
        case .leave(let machine): "n\(machine) leaves"
        case .remove(let machine, let operatorAt): "an operator at n\(operatorAt) removes n\(machine)"
        case .heal: "everything heals"
        }
    }
}
