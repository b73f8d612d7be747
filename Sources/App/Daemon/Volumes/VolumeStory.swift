import Primitives
import Reactor
import Services
import Volumes

/// What becomes of volumes, as events of this node.
final class VolumeStory: Sendable {
    private let journal: EventJournal
    /// As it was told last.
    private let told = Locked<[ServiceName: VolumeStanding.State]>([:])

    init(_ journal: EventJournal) { self.journal = journal }

    func record(_ type: String, _ name: ServiceName, _ sentence: String) {
        let draft = EventDraft(type: type, subject: name.description, sentence: sentence)
        Task { await journal.record(draft) }
    }

    /// Every node's events tell it, as it hears it from the one that leads.
    func tell(_ standings: [VolumeStanding]) {
        let changes = told.withLock { told in
            let old = told
            told = Dictionary(standings.map { ($0.name, $0.state) }) { first, _ in first }
            return standings.compactMap { standing in old[standing.name].map { (before: $0, standing: standing) } }
        }
        for (before, standing) in changes where before != standing.state {
            let name = standing.name
            let reason = standing.reason.isEmpty ? "" : ": \(standing.reason)"
            switch standing.state {
            case .online where before == .making:
                record("made", name, "the volume \(name) is there: \(standing.bricks.count) bricks, all online")
            case .online: record("recovered", name, "all bricks of the volume \(name) are online again")
            case .degraded: record("degraded", name, "the volume \(name) is degraded\(reason)")
            case .offline: record("failed", name, "the volume \(name) is offline\(reason)")
            case .blocked: record("blocked", name, "the volume \(name) cannot go on\(reason)")
            case .changing:
                record("changing", name, "the volume \(name) is changed: \(standing.progress)\(standing.reason)")
            case .making, .deleting: break
            }
        }
    }
}
