import Leases
import Primitives

/// One computer of the lease simulation: a disk, a clock, the kernel's gate, and at times a daemon with its leases.
struct LeaseMachine {
    enum State: Equatable { case spare, running, paused, off }
    enum Core {
        case keeper(LeaseKeeper)
        case witness(Witness)
    }
    struct Disk {
        var generation: UInt32 = 0
        var memory = LeaseMemory()
    }
    /// The kernel lets one lease's effects out until then, whatever becomes of the daemon.
    struct Gate {
        var epoch: Epoch
        var until: Instant
        var openedAt: TrueTime
        /// Counts openings and renewals, so that an earlier deadline's alarm does nothing.
        var alarm: Int
    }
    let number: Int
    let id: NodeID
    let isWitness: Bool
    var state = State.spare
    var isOffline = false
    var clock: MachineClock
    var disk = Disk()
    /// The newest write of this life that reached it.
    var syncedTicket: UInt32 = 0
    var core: Core?
    var gates: [LeaseName: Gate] = [:]
    var inbox: [LeaseSimulation.Arrival] = []
    /// Counts processes, and pulse loops.
    var boot = 0
    var pulse = 0
    var resumesAt = TrueTime.zero
    var chance: SeededGenerator
    var diskChance: SeededGenerator
    /// Rank it wants each lease with; nil for not at all.
    var ranks: [LeaseName: Int] = [:]
    var alarms = 0

    init(number: Int, isWitness: Bool, clock: MachineClock, chance: SeededGenerator) {
        self.number = number
        id = NodeID(high: UInt64(number + 1) << 32, low: UInt64(number + 1))
        self.isWitness = isWitness
        self.clock = clock
        self.chance = chance.fork("process")
        diskChance = chance.fork("disk")
    }
    var isUp: Bool { state == .running || state == .paused }
}
