package import Primitives
package import Services

/// One thing that a node does for the volumes by itself, whoever looks after them.
package enum VolumeDuty: Hashable, Sendable {
    case startDaemon
    /// Makes the brick's directory, or finds out why it cannot be one.
    case prepareBrick(Volume)
    /// The node that probed us is known here by its address; with this by its name, everywhere.
    case probeBack(NodeName)
    /// From the first of the servers that answers.
    case mount(ServiceName, servers: [NodeName], at: String)
    case unmount(ServiceName, at: String)
}

/// Decides what one node does itself: its brick's directory, its mounts, the names of its peers.
package struct VolumeDuties: Sendable {
    package var me: NodeName
    package var desired: [Volume] = []
    /// Volumes that are being deleted, with where they were mounted.
    package var doomed: [ServiceName: String] = [:]
    /// Sorted by name; this node too.
    package var members: [VolumeMember] = []
    package var isServing = false
    package var canServe = false
    package var canMount = false
    /// What the glusterd of this node says; empty where none answers.
    package var peers: [GlusterPeer] = []
    package var volumes: [GlusterVolume] = []
    /// Mounts of GlusterFS on this machine: where, and of which volume.
    package var mounts: [String: String] = [:]

    package init(me: NodeName) { self.me = me }

    package var all: [VolumeDuty] {
        var duties: [VolumeDuty] = []
        let needsDaemon = !desired.isEmpty && canServe
        if needsDaemon, !isServing { duties.append(.startDaemon) }
        if isServing {
            duties += desired.compactMap { volume in hasToPrepare(volume) ? .prepareBrick(volume) : nil }
            if let name = unnamed { duties.append(.probeBack(name)) }
        }
        for volume in desired where canMount && mounts[volume.mountPoint] == nil {
            guard let servers = servers(of: volume) else { continue }
            duties.append(.mount(volume.name, servers: servers, at: volume.mountPoint))
        }
        for (name, place) in doomed where mounts[place] == name.description {
            duties.append(.unmount(name, at: place))
        }
        return duties
    }

    /// This node gets a brick of it and has none yet.
    package func hasToPrepare(_ volume: Volume) -> Bool {
        let actual = volumes.first { $0.name == volume.name.description }
        if let actual {
            return volume.nodes.contains(me) && !actual.places.contains { $0.node == me }
        }
        return volume.chosenNodes(from: members.map(\.name)).contains(me)
    }

    /// What the leading node says, else what our own glusterd does: a node that boots alone mounts what it can.
    private func servers(of volume: Volume) -> [NodeName]? {
        let standing = members.first { $0.report?.isLeading ?? false }?.report?.standings.first {
            $0.name == volume.name
        }
        var hosts: [NodeName]
        if let actual = volumes.first(where: { $0.name == volume.name.description }) {
            guard actual.isOurs, actual.status == .started else { return nil }
            hosts = actual.places.map(\.node)
        } else if let standing, standing.isStarted {
            hosts = standing.bricks.map(\.node)
        } else {
            return nil
        }
        // Ourselves first: that answers whatever the network does. Then those that are there.
        func order(_ name: NodeName) -> Int {
            name == me ? 0 : members.first { $0.name == name }?.isAlive ?? false ? 1 : 2
        }
        hosts.sort { (order($0), $0) < (order($1), $1) }
        return hosts.isEmpty ? nil : Array(hosts.prefix(8))
    }

    /// A node whose name our glusterd does not know, though it is a peer. Only the first of the others says it: one is enough.
    private var unnamed: NodeName? {
        for member in members where member.name != me {
            let addresses = Set(member.addresses.map(\.description))
            let isKnownByAddress = peers.contains { !addresses.isDisjoint(with: $0.names) }
            let isNamed = peers.contains { $0.names.contains(member.name.description) }
            guard isKnownByAddress, !isNamed, member.isAlive else { continue }
            let teller = members.first { $0.name != member.name && $0.isAlive && $0.report?.isServing ?? false }
            if teller?.name == me { return member.name }
        }
        return nil
    }
}
