import Mirrors
package import Primitives
import Reactor

/// One mirror as all nodes together know it.
package struct MirrorOverview: Equatable, Sendable {
    package enum State: Equatable, Sendable { case equal, running, behind, paused, failed }
    package var mirror: ServiceName
    package var source: NodeID?
    package var targets: [NodeID]
    package var state: State
    /// Seconds since 1970; nil before the first run.
    package var lastRun: Int64?
    /// Of the target that is furthest behind; nil when one never had all.
    package var behind: Duration?
    package var files: Int
    package var bytes: UInt64
    package var parked: Int
    package var reason: String
}

extension MirrorEngine {
    func ownStatus() -> [MirrorStatus] {
        specs.keys.sorted().map { mirror in
            let report = keeper.report(mirror, now: now)
            var status = MirrorStatus(mirror: mirror)
            status.feeding = report.feedingWith ?? .none
            status.highest = report.record.highest
            status.whole = report.record.whole
            status.targets = report.targets.map { target in
                MirrorStatus.Target(
                    node: target.node, isRunning: target.isRunning,
                    behind: target.behind.map { UInt64(max(0, $0.milliseconds)) },
                    failures: UInt16(clamping: target.failures))
            }
            status.lastRun = lastRun[mirror] ?? 0
            status.files = UInt32(clamping: report.record.lastFiles)
            status.bytes = report.record.lastBytes
            status.isWaiting = report.waits != nil
            status.reason = report.waits ?? lastTrouble[mirror] ?? progress(of: mirror) ?? ""
            let parked = parkedEntries.filter { $0.mirror == mirror }
            status.parkedCount = UInt32(clamping: parked.count)
            status.parked = Array(parked.prefix(MirrorStatus.mostParked))
            return status
        }
    }

    private func progress(of mirror: ServiceName) -> String? {
        let running = pushes.values.filter { $0.mirror == mirror }.compactMap { push in
            push.progress.withLock { $0 }.map { "\($0.path) to \(name(push.node)): \($0.percent) %" }
        }
        return running.isEmpty ? nil : running.sorted().joined(separator: ", ")
    }

    /// Who says that it feeds this mirror, with the highest epoch.
    func source(of mirror: ServiceName) -> NodeID? {
        var best: (node: NodeID, epoch: Epoch)?
        if let own = keeper.report(mirror, now: now).feedingWith { best = (id, own) }
        for (node, heard) in heardStatus.sorted(by: { $0.key < $1.key }) where alive.contains(node) {
            guard let one = heard.status.first(where: { $0.mirror == mirror }), one.feeding > (best?.epoch ?? .none)
            else {
                continue
            }
            best = (node, one.feeding)
        }
        return best?.node
    }

    package func overview() -> [MirrorOverview] {
        let own = Dictionary(ownStatus().map { ($0.mirror, $0) }) { first, _ in first }
        return specs.keys.sorted().compactMap { mirror in
            guard let mine = own[mirror] else { return nil }
            let others = heardStatus.compactMapValues { heard in heard.status.first { $0.mirror == mirror } }
            let source = source(of: mirror)
            let parked = others.values.reduce(Int(mine.parkedCount)) { $0 + Int($1.parkedCount) }
            guard let source, let told = source == id ? mine : others[source] else {
                return MirrorOverview(
                    mirror: mirror, source: nil, targets: [], state: .paused, lastRun: nil, behind: nil, files: 0,
                    bytes: 0,
                    parked: parked, reason: "no node serves it now")
            }
            // Ages go on growing after they were told.
            let since = source == id ? .zero : heardStatus[source].map { now - $0.at } ?? .zero
            let ages = told.targets.map { target in
                target.behind.map { Duration.milliseconds(Int64(clamping: $0)) + since }
            }
            let state: MirrorOverview.State =
                if told.isWaiting { .paused } else if told.targets.contains(where: \.isRunning) {
                    .running
                } else if told
                    .targets.contains(where: { $0.failures > 0 })
                { .failed } else if told.targets.contains(where: { $0.behind == nil }) { .behind } else { .equal }
            let isWhole = !ages.contains { $0 == nil }
            return MirrorOverview(
                mirror: mirror, source: source, targets: told.targets.map(\.node), state: state,
                lastRun: told.lastRun == 0 ? nil : told.lastRun,
                behind: isWhole ? ages.compactMap { $0 }.max() ?? .zero : nil,
                files: Int(told.files), bytes: told.bytes, parked: parked, reason: told.reason)
        }
    }

    /// Of all nodes, newest first; of others the newest ones.
    package func parked() -> [(node: NodeID, entry: ParkedEntry)] {
        var all = parkedEntries.map { (node: id, entry: $0) }
        for (node, heard) in heardStatus.sorted(by: { $0.key < $1.key }) {
            all += heard.status.flatMap(\.parked).map { (node: node, entry: $0) }
        }
        return all.sorted { ($0.entry.at, $1.entry.path) > ($1.entry.at, $0.entry.path) }
    }

    package enum RestoreResult: Equatable, Sendable {
        case restored(String)
        case unknown
        /// The file is on another node.
        case elsewhere(NodeID)
        /// Another node is the source: the next copy would overwrite it again.
        case overwritten(by: NodeID, file: String, path: String)
        case failed(String)
    }

    /// Puts a parked file back; what is there now is parked in its place.
    package func restore(_ identifier: String) async -> RestoreResult {
        guard let entry = parkedEntries.first(where: { $0.id == identifier }) else {
            return parked().first { $0.entry.id == identifier }.map { .elsewhere($0.node) } ?? .unknown
        }
        if let source = source(of: entry.mirror), source != id {
            return .overwritten(by: source, file: entry.file, path: entry.path)
        }
        let (parking, wall) = (parking, wall)
        let (problem, all) = await onDisk { (parking.restore(entry, wall: wall), parking.list()) }
        parkedEntries = all
        if let problem { return .failed(problem) }
        handle(.runNow(entry.mirror))
        return .restored(entry.path)
    }
}
