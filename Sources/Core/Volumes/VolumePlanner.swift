package import Primitives
package import Services

/// Decides what is to be done next so that the volumes become what they should be: from the desired state, the members with
/// their reports, and what glusterd says. Nothing is remembered between two plans, so whoever takes over, or comes back
/// from a crash, goes on where the last one was.
package struct VolumePlanner: Sendable {
    package var desired: [Volume] = []
    /// Those that were deleted by people and may still be there. A volume that is only not desired is left alone: a node
    /// that has lost its database must not take volumes away.
    package var doomed: Set<ServiceName> = []
    /// Sorted by name; this node too.
    package var members: [VolumeMember] = []
    /// Names of nodes that were removed from the cluster, and that no other node has now.
    package var removed: Set<NodeName> = []
    package var me: NodeName
    /// What the glusterd of this node says.
    package var peers: [GlusterPeer] = []
    package var volumes: [GlusterVolume] = []
    package var tasks: [VolumeQuestion: VolumeTask] = [:]
    /// Volumes that were started a moment ago, whose bricks may still be on their way.
    package var starting: Set<ServiceName> = []

    package init(me: NodeName) { self.me = me }

    /// In the order in which they are to be done; the first that may be tried now is.
    package private(set) var steps: [VolumeStep] = []
    package private(set) var standings: [VolumeStanding] = []

    /// Options that make a volume behave in a small cluster. A client waits so long for a brick that is cut off: GlusterFS's
    /// own 42 s are for congested data centres. Without the second, files of a short cut wait ten minutes to be healed; the
    /// dispersed kind takes no less than a minute.
    static let pingTimeout = "5"
    static let healTimeout = (replicate: "10", disperse: "60")

    // MARK: Planning

    package mutating func plan() {
        (steps, standings) = ([], [])
        probeMembers()
        for volume in desired.sorted(by: { $0.name < $1.name }) { standings.append(plan(volume)) }
        for name in doomed.sorted() where !desired.contains(where: { $0.name == name }) {
            if let standing = delete(name) { standings.append(standing) }
        }
        detachRemoved()
    }

    /// What has to be asked before `plan` knows enough.
    package var questions: [VolumeQuestion] {
        guard ghost == nil else { return [] }
        return desired.compactMap { volume in
            guard let actual = actual(volume.name), actual.isOurs, actual.status == .started else { return nil }
            if let leaving = leavingSets(volume, actual) { return .drain(volume.name, leaving) }
            return actual.mark == .spreading && isComplete(volume, actual) ? .rebalance(volume.name) : nil
        }
    }

    private func actual(_ name: ServiceName) -> GlusterVolume? { volumes.first { $0.name == name.description } }
    private func member(_ name: NodeName) -> VolumeMember? { members.first { $0.name == name } }

    /// While glusterd believes in a peer that is dead, each change waits for it, for minutes, with everything locked.
    private var ghost: NodeName? {
        members.first { member in !member.isAlive && peer(member)?.isConnected ?? false }?.name
    }

    // MARK: Peers

    private func peer(_ member: VolumeMember) -> GlusterPeer? {
        peers.first { $0.isOf(member) }
    }

    /// Every node whose glusterd answers is a peer, so that every node lists every other.
    private mutating func probeMembers() {
        guard !desired.isEmpty else { return }
        for member in members where member.name != me && member.isAlive && member.report?.isServing ?? false {
            guard let peer = peer(member) else {
                steps.append(.probe(member.name))
                continue
            }
            let name = member.name.description
            guard peer.names.first != name || member.report?.showsAddresses ?? false else { continue }
            // Probed by address, it is shown by that for ever. Without a brick it can be let go and made a peer anew; with
            // one its name is added.
            let hosts = Set(peer.names + [name] + member.addresses.map(\.description))
            let hasBrick = volumes.contains { $0.bricks.contains { hosts.contains($0.host) } }
            if !hasBrick, ghost == nil {
                steps.append(.detach(peer.names[0]))
            } else if !peer.names.contains(name) {
                steps.append(.probe(member.name))
            }
        }
    }

    private mutating func detachRemoved() {
        for name in removed.sorted() where peers.contains(where: { $0.names.contains(name.description) }) {
            let hasBrick = volumes.contains { $0.bricks.contains { $0.host == name.description } }
            if !hasBrick { steps.append(.detach(name.description)) }
        }
    }

    // MARK: One volume

    private mutating func plan(_ volume: Volume) -> VolumeStanding {
        guard let actual = actual(volume.name) else { return create(volume) }
        var standing = VolumeStanding(name: volume.name, state: .making)
        standing.bricks = actual.places
        standing.setSize = UInt16(clamping: actual.setSize)
        standing.arbiters = UInt16(clamping: actual.arbiters)
        standing.redundancy = UInt16(clamping: actual.redundancy)
        func blocked(_ reason: String) -> VolumeStanding {
            standing.state = .blocked
            standing.reason = reason
            return standing
        }
        guard actual.isOurs || isBegun(volume, actual) else {
            return blocked(
                "GlusterFS has a volume of that name which Bramble did not make; give yours another name, or hand that one "
                    + "over: gluster volume set \(volume.name) \(GlusterVolume.markOption) \(VolumeMark.settled.rawValue)"
            )
        }
        standing.isStarted = actual.status == .started
        let missing = missingOptions(volume, actual)
        if !missing.isEmpty { steps.append(.set(volume.name, missing)) }
        guard standing.isStarted else {
            steps.append(.start(volume.name))
            standing.reason = waiting ?? "its bricks are started"
            return standing
        }
        judge(&standing)
        if let change = change(volume, actual, standing) {
            if let state = change.state { standing.state = state }
            standing.reason = change.reason
            standing.progress = change.progress
        } else {
            offerGrowth(volume, actual, &standing)
        }
        if standing.reason.isEmpty, !isOfKind(volume, actual) {
            standing.reason = "the kind of a volume that is there cannot be changed; make a new one, and copy the files"
        }
        mend(volume, actual, &standing)
        return standing
    }

    private func isOfKind(_ volume: Volume, _ actual: GlusterVolume) -> Bool {
        switch volume.layout {
        case .replicate(_, let arbiter): actual.disperse == 0 && (actual.arbiters > 0) == arbiter
        case .disperse(let redundancy, _): actual.disperse > 0 && actual.redundancy == redundancy
        }
    }

    /// Why changes wait; nil where they do not.
    private var waiting: String? {
        ghost.map { "waits until GlusterFS has noticed that \($0) is gone, half a minute at most" }
    }

    /// Made by us a moment ago, by a node that died before it could mark it: nobody else can have used it.
    private func isBegun(_ volume: Volume, _ actual: GlusterVolume) -> Bool {
        let wanted = Set(volume.chosenNodes(from: members.map(\.name)).map { BrickPlace($0, volume.path) })
        return actual.status == .created && Set(actual.places) == wanted && actual.bricks.count == wanted.count
    }

    private func missingOptions(_ volume: Volume, _ actual: GlusterVolume) -> [String: String] {
        let wanted = Self.options(isDispersed: actual.disperse > 0)
        // People may have set other values: what is there is kept.
        var missing = wanted.filter { actual.options[$0.key] == nil }
        if !actual.isOurs { missing[GlusterVolume.markOption] = VolumeMark.settled.rawValue }
        return missing
    }

    private static func options(isDispersed: Bool) -> [String: String] {
        [
            "network.ping-timeout": pingTimeout,
            "cluster.heal-timeout": isDispersed ? healTimeout.disperse : healTimeout.replicate,
        ]
    }

    // MARK: Making

    private mutating func create(_ volume: Volume) -> VolumeStanding {
        var standing = VolumeStanding(name: volume.name, state: .making)
        func stands(_ state: VolumeStanding.State, _ reason: String) -> VolumeStanding {
            standing.state = state
            standing.reason = reason
            return standing
        }
        let nodes = volume.chosenNodes(from: members.map(\.name))
        guard !nodes.isEmpty else {
            return stands(
                .blocked,
                "\(volume.leastBricks) nodes are needed for \(volume.layoutText), and there are \(members.count)")
        }
        standing.bricks = nodes.map { BrickPlace($0, volume.path) }
        standing.setSize = UInt16(clamping: volume.setSize(of: nodes.count))
        if case .replicate(_, arbiter: true) = volume.layout { standing.arbiters = 1 }
        if case .disperse(let redundancy, _) = volume.layout { standing.redundancy = UInt16(clamping: redundancy) }
        for node in nodes {
            if let (state, reason) = obstacle(volume, on: node) { return stands(state, reason) }
        }
        if let unmet = unmet(nodes) { return stands(.making, unmet) }
        if let waiting { return stands(.making, waiting) }
        var options = Self.options(isDispersed: standing.redundancy > 0)
        options[GlusterVolume.markOption] = VolumeMark.settled.rawValue
        steps += [.create(volume, standing.bricks), .set(volume.name, options), .start(volume.name)]
        return stands(.making, "its bricks are made")
    }

    /// What keeps a node from having a brick now; a new one, or one in the place of another.
    private func obstacle(_ volume: Volume, on node: NodeName) -> (VolumeStanding.State, String)? {
        guard let member = member(node) else { return (.blocked, "\(node) is not a node of this cluster") }
        guard member.isAlive else { return (.making, "waits for \(node), which is not alive") }
        guard let report = member.report else { return (.making, "waits to hear from \(node)") }
        if !report.serverTrouble.isEmpty { return (.blocked, "\(node): \(report.serverTrouble)") }
        guard report.isServing else { return (.making, "waits for glusterd on \(node)") }
        switch report.brick(volume.name, volume.path) {
        case nil: return (.making, "waits for \(node) to make \(volume.path)")
        case let brick? where brick.state == .refused: return (.blocked, "\(node): \(brick.trouble)")
        default: break
        }
        guard node != me else { return nil }
        guard let peer = peer(member) else { return (.making, "\(node) becomes a peer") }
        return peer.isConnected && peer.isInCluster ? nil : (.making, "waits for GlusterFS to reach \(node)")
    }

    /// Peers of this node learn of each other only after it did; a volume that is made before is refused by those who do
    /// not reach all of its hosts, when others have marked their bricks as used already.
    private func unmet(_ nodes: [NodeName]) -> String? {
        for node in nodes {
            guard let other = member(node)?.report?.unreached(among: nodes, from: node) else { continue }
            return "waits for GlusterFS on \(node) to reach \(other)"
        }
        return nil
    }

    // MARK: How it is

    private func brick(_ place: BrickPlace, of name: ServiceName) -> BrickReport? {
        guard let member = member(place.node), member.isAlive else { return nil }
        return member.report?.brick(name, place.path)
    }
    private func isOnline(_ place: BrickPlace, of name: ServiceName) -> Bool {
        brick(place, of: name)?.state == .online
    }

    private func judge(_ standing: inout VolumeStanding) {
        let away = standing.bricks.filter { !isOnline($0, of: standing.name) }
        guard !away.isEmpty else {
            standing.state = .online
            return
        }
        if starting.contains(standing.name), away.allSatisfy({ member($0.node)?.isAlive ?? false }) {
            standing.state = .making
            standing.reason = "its bricks are started"
            return
        }
        let size = max(Int(standing.setSize), 1)
        let sets = stride(from: 0, to: standing.bricks.count, by: size).map {
            standing.bricks[$0..<min($0 + size, standing.bricks.count)]
        }
        let needed = standing.redundancy > 0 ? size - Int(standing.redundancy) : size == 2 ? 1 : size / 2 + 1
        let isUsable = sets.allSatisfy { set in set.count { isOnline($0, of: standing.name) } >= needed }
        standing.state = isUsable ? .degraded : .offline
        let names = away.map { place in
            member(place.node)?.isAlive ?? false ? "the brick of \(place.node) does not run" : "\(place.node) is away"
        }
        standing.reason =
            names.joined(separator: ", ")
            + (isUsable ? "; the files are there all the same" : "; too many for its files")
    }

    /// Entries that some brick of each set has to hear of yet, added up over the sets.
    package static func pending(_ standing: VolumeStanding, _ members: [VolumeMember]) -> UInt64 {
        let size = max(Int(standing.setSize), 1)
        var total: UInt64 = 0
        for first in stride(from: 0, to: standing.bricks.count, by: size) {
            let set = standing.bricks[first..<min(first + size, standing.bricks.count)]
            // Each brick that was there lists the same entries.
            total +=
                set.compactMap { place in
                    members.first { $0.name == place.node && $0.isAlive }?.report?.brick(standing.name, place.path)?
                        .pending
                }.max() ?? 0
        }
        return total
    }

    private mutating func mend(_ volume: Volume, _ actual: GlusterVolume, _ standing: inout VolumeStanding) {
        let stopped = standing.bricks.filter { brick($0, of: volume.name)?.state == .offline }
        if !stopped.isEmpty, ghost == nil, !starting.contains(volume.name) { steps.append(.restartBricks(volume.name)) }
        let pending = Self.pending(standing, members)
        guard pending > 0, actual.setSize > 1 else { return }
        if standing.progress.isEmpty {
            standing.progress = pending == 1 ? "1 entry to heal" : "\(pending) entries to heal"
        }
        // glusterd pushes those that are reached; with all of them there nothing is left behind.
        if standing.bricks.allSatisfy({ isOnline($0, of: volume.name) }) { steps.append(.heal(volume.name)) }
    }

    // MARK: Growing, shrinking, replacing

    private typealias Change = (state: VolumeStanding.State?, reason: String, progress: String)

    private mutating func change(
        _ volume: Volume, _ actual: GlusterVolume, _ standing: VolumeStanding
    ) -> Change? {
        if let drained = drain(volume, actual) { return drained }
        let places = actual.places
        if actual.mark == .spreading, isComplete(volume, actual) { return spread(volume) }
        guard !volume.nodes.isEmpty else { return nil }
        let have = places.map(\.node)
        let come = volume.nodes.filter { !have.contains($0) }
        let leave = places.filter { !volume.nodes.contains($0.node) }
        guard !come.isEmpty || !leave.isEmpty else { return nil }
        func blocked(_ reason: String) -> Change { (.blocked, reason, "") }
        for node in come {
            // A new brick has to be ready before an old one goes.
            if let (state, reason) = obstacle(volume, on: node) {
                return (state == .blocked ? .blocked : .changing, reason, "")
            }
        }
        if !come.isEmpty, let unmet = unmet(come + have.filter { member($0)?.isAlive ?? false }) {
            return (.changing, unmet, "")
        }
        if let waiting { return (.changing, waiting, "") }
        if !leave.isEmpty, leave.count == come.count {
            return replace(leave[0], with: BrickPlace(come[0], volume.path), volume, actual, standing)
        }
        let new = come.map { BrickPlace($0, volume.path) }
        let size = actual.setSize
        if leave.isEmpty {
            if let copies = copies(volume, actual), copies > size {
                steps.append(.addBricks(volume.name, new, copies: copies, force: volume.force))
                return (.changing, "", "one more copy of each file is made")
            }
            guard new.count.isMultiple(of: size) else {
                return blocked("\(new.count) more nodes do not make whole sets of \(size)")
            }
            if actual.mark != .spreading {
                steps.append(.set(volume.name, [GlusterVolume.markOption: VolumeMark.spreading.rawValue]))
            } else {
                steps.append(.addBricks(volume.name, new, copies: nil, force: volume.force))
            }
            return (.changing, "", "bricks are added")
        }
        if come.isEmpty, let copies = copies(volume, actual), copies < size {
            // The brick that goes may be the only one with the newest of a file.
            guard Self.pending(standing, members) == 0 || leave.allSatisfy({ !isOnline($0, of: volume.name) }) else {
                return (.changing, "waits until the other bricks have everything", "")
            }
            steps.append(.dropCopies(volume.name, leave, copies: copies))
            return (.changing, "", "one copy of each file less is kept")
        }
        return blocked(
            "these nodes cannot be reached by whole sets: the bricks that keep the same files are "
                + places.map(\.node.description).joined(separator: ", ") + ", \(size) by \(size)")
    }

    /// Every node that is to have a brick has one.
    private func isComplete(_ volume: Volume, _ actual: GlusterVolume) -> Bool {
        Set(actual.places.map(\.node)).isSuperset(of: volume.nodes)
    }

    /// The number of copies that is wanted, where there is one set and the nodes fit it.
    private func copies(_ volume: Volume, _ actual: GlusterVolume) -> Int? {
        guard case .replicate(let copies, arbiter: false) = volume.layout, actual.disperse == 0, actual.arbiters == 0,
            actual.bricks.count == actual.setSize, volume.nodes.count == copies, copies != actual.setSize
        else { return nil }
        return copies
    }

    private mutating func replace(
        _ old: BrickPlace, with new: BrickPlace, _ volume: Volume, _ actual: GlusterVolume, _ standing: VolumeStanding
    ) -> Change {
        let size = actual.setSize
        guard size > 1, let place = standing.bricks.firstIndex(of: old) else {
            return (.blocked, "there is no other copy that \(new.node) could be filled from", "")
        }
        let first = place / size * size
        let others = standing.bricks[first..<min(first + size, standing.bricks.count)].filter { $0 != old }
        let needed = actual.disperse > 0 ? size - actual.redundancy : 1
        guard others.count(where: { isOnline($0, of: volume.name) }) >= needed else {
            return (.changing, "waits for a brick that \(new.node) can be filled from", "")
        }
        if isOnline(old, of: volume.name), Self.pending(standing, members) > 0 {
            return (.changing, "waits until the other bricks have everything of \(old.node)", "")
        }
        steps.append(.replaceBrick(volume.name, old, with: new))
        return (.changing, "", "\(new.node) takes the place of \(old.node)")
    }

    /// Whole sets that are to go, whose files move to the others first; nil where that is not what is wanted.
    private func leavingSets(_ volume: Volume, _ actual: GlusterVolume) -> [BrickPlace]? {
        guard !volume.nodes.isEmpty, actual.places.count == actual.bricks.count else { return nil }
        let places = actual.places
        let leave = places.filter { !volume.nodes.contains($0.node) }
        let size = actual.setSize
        guard !leave.isEmpty, leave.count < places.count, leave.count.isMultiple(of: size),
            Set(volume.nodes).isSubset(of: Set(places.map(\.node)))
        else { return nil }
        let sets = stride(from: 0, to: places.count, by: size).map { Array(places[$0..<min($0 + size, places.count)]) }
        let going = sets.filter { set in set.allSatisfy { leave.contains($0) } }.flatMap { $0 }
        return Set(going) == Set(leave) ? going : nil
    }

    private mutating func drain(_ volume: Volume, _ actual: GlusterVolume) -> Change? {
        guard let leaving = leavingSets(volume, actual) else { return nil }
        if let waiting { return (.changing, waiting, "") }
        let names = leaving.map(\.node.description).joined(separator: ", ")
        guard let task = tasks[.drain(volume.name, leaving)] else {
            return (.changing, "waits to hear how far \(names) are emptied", "")
        }
        switch task.status {
        case .none:
            guard leaving.allSatisfy({ isOnline($0, of: volume.name) }) else {
                return (.changing, "waits for the bricks of \(names), whose files have to move first", "")
            }
            steps.append(.drainBricks(volume.name, leaving))
            return (.changing, "", "\(names) are emptied")
        case .running: return (.changing, "", "\(names) are emptied: \(Self.moved(task))")
        case .done where task.failures == 0:
            steps.append(.commitDrained(volume.name, leaving))
            return (.changing, "", "\(names) are empty")
        case .done, .failed:
            return (
                .blocked,
                "\(task.failures) files of \(names) could not be moved; look into /var/log/glusterfs, or leave the nodes in",
                ""
            )
        }
    }

    private mutating func spread(_ volume: Volume) -> Change? {
        guard let task = tasks[.rebalance(volume.name)] else {
            return (.changing, "", "the files are spread over all bricks")
        }
        switch task.status {
        case .none:
            steps.append(.rebalance(volume.name))
            return (.changing, "", "the files are spread over all bricks")
        case .running: return (.changing, "", "the files are spread over all bricks: \(Self.moved(task))")
        case .done, .failed:
            steps.append(.set(volume.name, [GlusterVolume.markOption: VolumeMark.settled.rawValue]))
            let text = task.status == .failed ? "spreading the files ended early" : "the files are spread"
            return (nil, "", "\(text): \(Self.moved(task))")
        }
    }
    private static func moved(_ task: VolumeTask) -> String {
        "\(task.files) files, \(task.bytes >> 20) MiB moved" + (task.failures > 0 ? ", \(task.failures) failed" : "")
    }

    private func offerGrowth(_ volume: Volume, _ actual: GlusterVolume, _ standing: inout VolumeStanding) {
        let have = Set(actual.places.map(\.node))
        let spare = members.filter { $0.isAlive && !have.contains($0.name) && $0.report?.isServing ?? false }
        let away = standing.bricks.filter { !(member($0.node)?.isAlive ?? false) }
        if let lost = away.first, let other = spare.first {
            standing.offer =
                "if \(lost.node) does not come back: bramble volume replace-brick \(volume.name) \(lost.node) \(other.name)"
        } else if spare.count >= actual.setSize {
            let names = spare.prefix(actual.setSize).map(\.name.description).joined(separator: " ")
            standing.offer = "it can have more room: bramble volume add-brick \(volume.name) \(names)"
        }
    }

    // MARK: Deleting

    /// Nil when nothing of it is left.
    private mutating func delete(_ name: ServiceName) -> VolumeStanding? {
        var standing = VolumeStanding(name: name, state: .deleting)
        guard let actual = actual(name), actual.isOurs else {
            steps.append(.forget(name))
            return nil
        }
        standing.bricks = actual.places
        standing.setSize = UInt16(clamping: actual.setSize)
        for member in members where member.isAlive {
            guard let mount = member.report?.mount(name), mount.isMounted else { continue }
            standing.reason =
                mount.trouble.isEmpty ? "waits for \(member.name) to unmount it" : "\(member.name): \(mount.trouble)"
            return standing
        }
        let lost = actual.places.first { place in
            place.node != me && !(member(place.node).flatMap(peer)?.isConnected ?? false)
        }
        if let lost {
            standing.reason = "waits for \(lost.node): GlusterFS deletes a volume only with all of its nodes there"
            return standing
        }
        if let waiting {
            standing.reason = waiting
            return standing
        }
        steps.append(actual.status == .started ? .stop(name) : .delete(name))
        return standing
    }
}
