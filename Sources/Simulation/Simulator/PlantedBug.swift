import Membership
import Node

/// Bugs that can be switched on, so that the simulator can show that it finds them. Never in a daemon.
package enum PlantedBug: String, CaseIterable, Sendable {
    case noAttendedClock
    case incarnationNotMonotone
    case singleObserverVerdict
    case failedNodesForgotten
    /// Of the simulated machine: the boot counter is not written down.
    case generationNotPersisted
    // Of the database.
    case tombstonesCollectedByTime
    case recordsOutOfOrder
    case acknowledgedBeforeSync
    case updateResurrects
    case highWaterMarkLost
    case newNodeWaitsForTheUnreadable
    case removedForgottenTooSoon

    package var summary: String {
        switch self {
        case .noAttendedClock: "silence is measured on the real clock, so that an observer's own pause counts"
        case .incarnationNotMonotone: "evidence that changes nothing does not raise the stored version"
        case .singleObserverVerdict: "one observer's word is enough for a verdict"
        case .failedNodesForgotten: "failed members are dropped at once and not knocked on"
        case .generationNotPersisted: "the boot counter starts again at each boot"
        case .tombstonesCollectedByTime: "deletes are forgotten after two seconds, whoever has not seen them"
        case .recordsOutOfOrder: "records are applied as they come, also where one before them is missing"
        case .acknowledgedBeforeSync: "a write is answered when it is committed, before it is on the disk"
        case .updateResurrects: "an UPDATE brings a row back that another node deleted"
        case .removedForgottenTooSoon: "what a removed node wrote is forgotten before every member has all of it"
        case .newNodeWaitsForTheUnreadable: "a new node stays one while something that it cannot read is on other nodes"
        case .highWaterMarkLost: "the highest time used is not read back after a restart"
        }
    }

    func plant(in config: inout NodeConfig) {
        config.membership.plantedBug =
            switch self {
            case .noAttendedClock: .noAttendedClock
            case .incarnationNotMonotone: .incarnationNotMonotone
            case .singleObserverVerdict: .singleObserverVerdict
            case .failedNodesForgotten: .failedNodesForgotten
            case .generationNotPersisted, .tombstonesCollectedByTime, .recordsOutOfOrder, .acknowledgedBeforeSync,
                .updateResurrects, .highWaterMarkLost, .newNodeWaitsForTheUnreadable,
                .removedForgottenTooSoon:
                nil
            }
    }
}
