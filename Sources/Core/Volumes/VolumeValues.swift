package import Primitives
package import Services

/// A directory on one node that is a part of a volume.
package struct BrickPlace: Hashable, Sendable, CustomStringConvertible {
    package var node: NodeName
    package var path: String
    package init(_ node: NodeName, _ path: String) {
        self.node = node
        self.path = path
    }
    /// As GlusterFS writes it.
    package var description: String { "\(node):\(path)" }
}

/// A member of the pool, as the glusterd of one node knows it.
package struct GlusterPeer: Equatable, Sendable {
    /// Host names and addresses; the first is the one it shows.
    package var names: [String]
    package var isConnected: Bool
    /// It has taken part since it was probed: commands that concern it are accepted.
    package var isInCluster: Bool
    package init(names: [String], isConnected: Bool, isInCluster: Bool) {
        self.names = names
        self.isConnected = isConnected
        self.isInCluster = isInCluster
    }
    /// By name or by address.
    package func isOf(_ member: VolumeMember) -> Bool {
        names.contains(member.name.description) || member.addresses.contains { names.contains($0.description) }
    }
}

/// A volume as glusterd knows it; whoever made it.
package struct GlusterVolume: Equatable, Sendable {
    package enum Status: Sendable { case created, started, stopped }
    package struct Brick: Equatable, Sendable {
        package var host: String
        package var path: String
        package init(host: String, path: String) {
            self.host = host
            self.path = path
        }
    }
    package var name: String
    package var status = Status.created
    package var bricks: [Brick] = []
    /// The bricks that keep the same files; 1 for dispersed and plain volumes.
    package var replica = 1
    package var arbiters = 0
    /// The bricks that share each file; 0 for others.
    package var disperse = 0
    package var redundancy = 0
    package var options: [String: String] = [:]
    package init(name: String) { self.name = name }

    /// Kept in GlusterFS itself with each volume of ours: nothing else is ever changed, and whoever takes over knows what is
    /// under way.
    package static let markOption = "user.bramble"
    package var mark: VolumeMark? { options[Self.markOption].flatMap { VolumeMark(rawValue: $0) } }
    package var isOurs: Bool { options[Self.markOption] != nil }
    package var places: [BrickPlace] {
        bricks.compactMap { brick in NodeName(brick.host).map { BrickPlace($0, brick.path) } }
    }
    /// Bricks that keep the same files, or share them.
    package var setSize: Int { disperse > 0 ? disperse : max(replica, 1) }
}

/// What is under way with a volume of ours, beyond being there.
package enum VolumeMark: String, Sendable {
    case settled = "on"
    /// Bricks were added; the files are to be spread over all of them.
    case spreading = "rebalance"
}

/// What glusterd says of moving files between bricks.
package struct VolumeTask: Equatable, Sendable {
    package enum Status: Sendable { case none, running, done, failed }
    package var status: Status
    package var files: UInt64
    package var bytes: UInt64
    package var failures: UInt64
    package init(status: Status, files: UInt64 = 0, bytes: UInt64 = 0, failures: UInt64 = 0) {
        self.status = status
        self.files = files
        self.bytes = bytes
        self.failures = failures
    }
}

/// How a volume stands, as the node that looks after the volumes sees it.
package struct VolumeStanding: Equatable, Sendable {
    package enum State: UInt8, CaseIterable, Sendable {
        case making = 1
        /// Something has to be done by people first.
        case blocked = 2
        case online = 3
        /// Some bricks are away; clients go on.
        case degraded = 4
        /// Too many bricks are away.
        case offline = 5
        /// Bricks or files are moved.
        case changing = 6
        case deleting = 7
    }
    package var name: ServiceName
    package var state: State
    /// One sentence when something is to be known; else empty.
    package var reason = ""
    /// What is under way, in a few words with figures; else empty.
    package var progress = ""
    /// What could be done with it, with the command; else empty.
    package var offer = ""
    package var bricks: [BrickPlace] = []
    /// It can be mounted.
    package var isStarted = false
    package var setSize: UInt16 = 1
    /// So many bricks of each set keep no files.
    package var arbiters: UInt16 = 0
    /// How many bricks of each set hold what the others hold in parts; 0 for replicated volumes.
    package var redundancy: UInt16 = 0
    package init(name: ServiceName, state: State) {
        self.name = name
        self.state = state
    }
}

/// One brick, as the node that has it reports.
package struct BrickReport: Equatable, Sendable {
    package enum State: UInt8, CaseIterable, Sendable {
        /// The directory can become a brick.
        case ready = 1
        /// It cannot; the trouble says why.
        case refused = 2
        case online = 3
        case offline = 4
    }
    package var volume: ServiceName
    package var path: String
    package var state: State
    package var trouble = ""
    /// Entries that other bricks still have to be told of.
    package var pending: UInt64 = 0
    /// Of the file system that it is on. Unit: bytes.
    package var total: UInt64 = 0
    package var free: UInt64 = 0
    package init(volume: ServiceName, path: String, state: State, trouble: String = "") {
        self.volume = volume
        self.path = path
        self.state = state
        self.trouble = trouble
    }
}

package struct MountReport: Equatable, Sendable {
    package var volume: ServiceName
    package var isMounted: Bool
    /// Why not, or what stands in the way of its end; else empty.
    package var trouble: String
    package init(volume: ServiceName, isMounted: Bool, trouble: String = "") {
        self.volume = volume
        self.isMounted = isMounted
        self.trouble = trouble
    }
}

/// What a node tells the others of its part in the volumes.
package struct VolumeReport: Equatable, Sendable {
    /// Its glusterd answers.
    package var isServing = false
    /// How many other nodes its glusterd knows as peers.
    package var peers: UInt16 = 0
    /// The nodes that its glusterd is connected with: a change asks each of these on its own for the others.
    package var reaches: [NodeName] = []
    /// Some of the peers are shown there by an address.
    package var showsAddresses = false
    /// Of GlusterFS; empty where it is not installed.
    package var version = ""
    /// Why it cannot have bricks, with the remedy; else empty.
    package var serverTrouble = ""
    /// Why it cannot mount, with the remedy; else empty.
    package var clientTrouble = ""
    package var bricks: [BrickReport] = []
    package var mounts: [MountReport] = []
    /// It looks after the volumes; what it says of them counts.
    package var isLeading = false
    package var standings: [VolumeStanding] = []
    package init() {}

    package func brick(_ volume: ServiceName, _ path: String) -> BrickReport? {
        bricks.first { $0.volume == volume && $0.path == path }
    }
    package func mount(_ volume: ServiceName) -> MountReport? { mounts.first { $0.volume == volume } }
    /// The first of these nodes that its glusterd does not reach yet; itself does not count.
    package func unreached(among nodes: [NodeName], from node: NodeName) -> NodeName? {
        nodes.first { $0 != node && !reaches.contains($0) }
    }
}

/// A node as the volumes see it.
package struct VolumeMember: Equatable, Sendable {
    package var name: NodeName
    package var addresses: [IPAddress]
    /// By membership, never by glusterd, which notices a dead host after half a minute.
    package var isAlive: Bool
    /// Nil before the first, and of nodes that are not alive.
    package var report: VolumeReport?
    package init(name: NodeName, addresses: [IPAddress], isAlive: Bool, report: VolumeReport? = nil) {
        self.name = name
        self.addresses = addresses
        self.isAlive = isAlive
        self.report = report
    }
}

extension Volume {
    /// The nodes that get a brick: those that are named, else as many whole sets as there are nodes for, by name. Empty when
    /// there are too few.
    package func chosenNodes(from names: [NodeName]) -> [NodeName] {
        guard nodes.isEmpty else { return nodes }
        guard names.count >= leastBricks else { return [] }
        let size = setSize(of: names.count)
        return Array(names.sorted().prefix(names.count / size * size))
    }
    /// In words, such as “3 copies”.
    package var layoutText: String {
        switch layout {
        case .replicate(_, arbiter: true): "2 copies and an arbiter"
        case .replicate(let copies, _): "\(copies) copies"
        case .disperse(let redundancy, _): "dispersed, any \(redundancy) may be lost"
        }
    }
}
