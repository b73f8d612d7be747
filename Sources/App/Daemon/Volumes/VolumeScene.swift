import Membership
import Node
import Primitives
import Services
import Volumes

/// What is decided about volumes is decided from this: how everything was at one moment.
struct VolumeScene {
    let me: NodeName
    let desired: [Volume]
    /// Volumes that are being deleted, with where they were mounted.
    private(set) var doomed: [ServiceName: String] = [:]
    /// Sorted by name; this node too.
    private(set) var members: [VolumeMember] = []
    /// Former members that GlusterFS may still have as peers.
    let removed: Set<NodeName>
    private(set) var ids: [NodeName: NodeID] = [:]

    var isNeeded: Bool { !desired.isEmpty || !doomed.isEmpty || !removed.isEmpty }
    /// What the node says that looks after the volumes.
    var leadersReport: VolumeReport? { members.first { $0.report?.isLeading ?? false }?.report }

    /// Nil where this node has no name yet.
    init?(
        _ snapshot: NodeSnapshot, _ facts: SharedFacts, desired: [Volume], reports: [NodeID: VolumeReport]
    ) {
        guard let me = snapshot.names.name(of: snapshot.id) else { return nil }
        self.me = me
        self.desired = desired
        for key in facts.keys(prefix: FactKey.deletedVolumes) {
            guard let value = facts[key], let name = ServiceName(key.dropFirst(FactKey.deletedVolumes.count)) else {
                continue
            }
            doomed[name] = String(decoding: value, as: UTF8.self)
        }
        for volume in desired { doomed[volume.name] = nil }
        for member in snapshot.members {
            guard member.rank != .removed, member.record.profile.role == .node,
                let name = snapshot.names.name(of: member.id)
            else { continue }
            ids[name] = member.id
            let isAlive = member.rank == .alive || member.rank == .suspect
            members.append(
                VolumeMember(
                    name: name, addresses: member.record.profile.addresses.map(\.address), isAlive: isAlive,
                    report: isAlive ? reports[member.id] : nil))
        }
        members.sort { $0.name < $1.name }
        let former = facts.keys(prefix: FactKey.formerPeers).compactMap {
            NodeName($0.dropFirst(FactKey.formerPeers.count))
        }
        removed = Set(former).subtracting(ids.keys)
    }
}
