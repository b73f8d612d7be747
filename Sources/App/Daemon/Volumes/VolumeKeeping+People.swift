import BrambleAPI
import Engines
import Node
import Primitives
import Services
import Volumes

/// What people are told of volumes.
extension VolumeKeeping {
    /// What everybody says of the volumes now.
    func infos() async -> [VolumeInfo] {
        guard let scene = await scene() else { return [] }
        let leader = scene.leadersReport
        var infos: [VolumeInfo] = []
        for volume in scene.desired.sorted(by: { $0.name < $1.name }) {
            let standing = leader?.standings.first { $0.name == volume.name } ?? unled(volume, scene)
            infos.append(VolumeInfo(standing, volume, scene.members))
        }
        for (name, place) in scene.doomed.sorted(by: { $0.key < $1.key }) {
            let standing =
                leader?.standings.first { $0.name == name } ?? VolumeStanding(name: name, state: .deleting)
            var volume = Volume(name: name, layout: .replicate(copies: Int(max(standing.setSize, 2))), path: "/")
            volume.mount = place
            infos.append(VolumeInfo(standing, volume, scene.members))
        }
        return infos
    }

    /// Nobody looks after it yet.
    private func unled(_ volume: Volume, _ scene: VolumeScene) -> VolumeStanding {
        var standing = VolumeStanding(name: volume.name, state: .making)
        let alive = scene.members.filter(\.isAlive)
        let troubles = alive.compactMap { member in
            member.report.flatMap { $0.serverTrouble.isEmpty ? nil : "\(member.name): \($0.serverTrouble)" }
        }
        if troubles.count == alive.count, let first = troubles.first {
            standing.state = .blocked
            standing.reason = first
        } else {
            standing.reason = "waits for a node that looks after the volumes"
        }
        return standing
    }

    /// The nodes that are alive, and the volumes that are desired.
    func overview() async -> (alive: [NodeName], desired: [Volume])? {
        await scene().map { scene in (scene.members.filter(\.isAlive).map(\.name), scene.desired) }
    }

    /// The volumes with a brick on this node, or that are to have one there.
    func volumes(on node: NodeName) async -> [ServiceName] {
        guard let scene = await scene() else { return [] }
        // The one that leads has just looked; without it, what our own glusterd said last.
        let standings =
            scene.leadersReport?.standings.map { ($0.name, $0.bricks) }
            ?? (glusterd.lastAnswer?.volumes ?? []).filter(\.isOurs).compactMap { volume in
                ServiceName(volume.name).map { ($0, volume.places) }
            }
        let held = standings.filter { $0.1.contains { $0.node == node } }.map(\.0)
        return Set(held + scene.desired.filter { $0.nodes.contains(node) }.map(\.name)).sorted()
    }

    /// The fact to keep when a node is removed that GlusterFS has as a peer.
    func farewell(to node: NodeName) -> String? {
        let isPeer = glusterd.lastAnswer?.peers.contains { $0.names.contains(node.description) } ?? false
        return isPeer ? FactKey.formerPeer(node) : nil
    }

    func heal(_ name: ServiceName) async throws(EngineFailure) { try await glusterd.engine.perform(.heal(name)) }

    /// For `bramble doctor`; nil where there are no volumes and no GlusterFS either.
    func doctor() async -> DoctorCheck? {
        guard let scene = await scene() else { return nil }
        let able: GlusterEngine.Tools
        if scene.isNeeded {
            able = await glusterd.engine.tools()
        } else {
            // Looking at it must not leave a thread behind where there are no volumes.
            let looked = Glusterd(directory: "")
            able = await looked.engine.tools()
            looked.close()
        }
        func check(_ state: DoctorCheck.State, _ text: String, _ remedy: String = "") -> DoctorCheck {
            DoctorCheck(check: "volumes", state: state, text: text, remedy: remedy)
        }
        for trouble in [able.serverTrouble, able.clientTrouble] where !trouble.isEmpty {
            let (text, remedy) = Self.parts(trouble)
            guard scene.isNeeded else {
                return able.version.isEmpty
                    ? check(.ok, "this node can have no volumes yet: \(text)") : check(.warn, text, remedy)
            }
            let isLocal =
                trouble == able.clientTrouble
                || scene.desired.contains { $0.chosenNodes(from: scene.members.map(\.name)).contains(scene.me) }
            return check(isLocal ? .fail : .warn, text, remedy)
        }
        let versions = Set(scene.members.compactMap { $0.report?.version }.filter { !$0.isEmpty }).union([able.version])
            .sorted()
        guard versions.count < 2 else {
            return check(
                .warn, "nodes have GlusterFS \(versions.joined(separator: " and "))",
                "upgrade the older ones, one by one")
        }
        for info in await infos() where info.state != .online {
            return check(
                .warn,
                "the volume \(info.name) is \(info.state.rawValue)\(info.reason.isEmpty ? "" : ": \(info.reason)")",
                "bramble volume status \(info.name)")
        }
        return check(.ok, "GlusterFS \(able.version), its client and FUSE are there")
    }
    private static func parts(_ trouble: String) -> (String, String) {
        guard let mark = trouble.lastIndex(of: ";") else { return (trouble, "") }
        return (String(trouble[..<mark]), String(trouble[trouble.index(mark, offsetBy: 2)...]))
    }
}

extension VolumeInfo {
    init(_ standing: VolumeStanding, _ volume: Volume, _ members: [VolumeMember]) {
        func report(_ place: BrickPlace) -> BrickReport? {
            members.first { $0.name == place.node && $0.isAlive }?.report?.brick(volume.name, place.path)
        }
        let size = max(Int(standing.setSize), 1)
        let bricks = standing.bricks.enumerated().map { number, place in
            let brick = report(place)
            return Brick(
                node: place.node.description, path: place.path, online: brick?.state == .online,
                arbiter: number % size >= size - Int(standing.arbiters), toHeal: Int64(clamping: brick?.pending ?? 0),
                totalBytes: Int64(clamping: brick?.total ?? 0), freeBytes: Int64(clamping: brick?.free ?? 0))
        }
        // The smallest brick of a set says what fits in it; the sets come on top of each other.
        var (total, free) = (Int64(0), Int64(0))
        for first in stride(from: 0, to: bricks.count, by: size) {
            let data = bricks[first..<min(first + size, bricks.count)].filter { !$0.arbiter && $0.totalBytes > 0 }
            let factor = standing.redundancy > 0 ? Int64(size - Int(standing.redundancy)) : 1
            total += (data.map(\.totalBytes).min() ?? 0) * factor
            free += (data.map(\.freeBytes).min() ?? 0) * factor
        }
        let mounts = members.filter(\.isAlive).map { ($0.name.description, $0.report?.mount(volume.name)) }
        let isDispersed = if case .disperse = volume.layout { true } else { false }
        self.init(
            name: volume.name.description, kind: isDispersed ? .disperse : .replicate, replica: isDispersed ? 1 : size,
            arbiter: Int(standing.arbiters), disperse: isDispersed ? size : 0, redundancy: Int(standing.redundancy),
            bricks: bricks, mount: volume.mountPoint, mountedOn: mounts.filter { $0.1?.isMounted ?? false }.map(\.0),
            notMounted: mounts.filter { !($0.1?.isMounted ?? false) }.map {
                Missing(node: $0.0, reason: $0.1?.trouble ?? "")
            },
            toHeal: Int64(clamping: VolumePlanner.pending(standing, members)), totalBytes: total, freeBytes: free,
            state: State(standing.state), reason: standing.reason, progress: standing.progress, offer: standing.offer)
    }
}

extension VolumeInfo.State {
    init(_ state: VolumeStanding.State) {
        self =
            switch state {
            case .making: .making
            case .blocked: .blocked
            case .online: .online
            case .degraded: .degraded
            case .offline: .offline
            case .changing: .changing
            case .deleting: .deleting
            }
    }
}
