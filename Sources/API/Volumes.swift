// What people and their scripts see of volumes.

/// One volume, as the cluster carries it out.
public struct VolumeInfo: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable {
        case making
        /// Something has to be done by people first; `reason` says what.
        case blocked
        case online
        /// Some bricks are away; clients go on.
        case degraded
        /// Too many bricks are away.
        case offline
        /// Bricks or files are moved.
        case changing
        case deleting
    }
    public enum Kind: String, Codable, CaseIterable, Sendable { case replicate, disperse }
    public struct Brick: Codable, Equatable, Sendable {
        public var node: String
        public var path: String
        public var online: Bool
        /// It keeps names and attributes alone.
        public var arbiter: Bool
        /// Entries that other bricks still have to get from it.
        public var toHeal: Int64
        /// Of the file system that it is on; 0 where that is not known.
        public var totalBytes: Int64
        public var freeBytes: Int64
        public init(
            node: String, path: String, online: Bool, arbiter: Bool = false, toHeal: Int64 = 0, totalBytes: Int64 = 0,
            freeBytes: Int64 = 0
        ) {
            self.node = node
            self.path = path
            self.online = online
            self.arbiter = arbiter
            self.toHeal = toHeal
            self.totalBytes = totalBytes
            self.freeBytes = freeBytes
        }
    }
    /// A node on which it is not mounted, and why.
    public struct Missing: Codable, Equatable, Sendable {
        public var node: String
        public var reason: String
        public init(node: String, reason: String) {
            self.node = node
            self.reason = reason
        }
    }
    public var name: String
    public var kind: Kind
    /// Bricks that keep the same files; 1 for a dispersed volume.
    public var replica: Int
    public var arbiter: Int
    /// Bricks that share each file; 0 for a replicated volume.
    public var disperse: Int
    /// So many of those may be lost.
    public var redundancy: Int
    /// Those that keep or share the same files follow each other.
    public var bricks: [Brick]
    public var mount: String
    public var mountedOn: [String]
    public var notMounted: [Missing]
    /// Entries that some brick still has to get.
    public var toHeal: Int64
    /// What fits in it and what still does; 0 where that is not known. Unit: bytes.
    public var totalBytes: Int64
    public var freeBytes: Int64
    public var state: State
    /// One sentence when something is to be known; else empty.
    public var reason: String
    /// What is under way, with figures; else empty.
    public var progress: String
    /// What could be done with it, with the command; else empty.
    public var offer: String

    enum CodingKeys: String, CodingKey {
        case name, replica, arbiter, disperse, redundancy, bricks, mount, mountedOn, notMounted, toHeal, totalBytes
        case freeBytes, state, reason, progress, offer
        case kind = "type"
    }
    public init(
        name: String, kind: Kind, replica: Int, arbiter: Int = 0, disperse: Int = 0, redundancy: Int = 0,
        bricks: [Brick], mount: String, mountedOn: [String], notMounted: [Missing] = [], toHeal: Int64 = 0,
        totalBytes: Int64 = 0, freeBytes: Int64 = 0, state: State, reason: String = "", progress: String = "",
        offer: String = ""
    ) {
        self.name = name
        self.kind = kind
        self.replica = replica
        self.arbiter = arbiter
        self.disperse = disperse
        self.redundancy = redundancy
        self.bricks = bricks
        self.mount = mount
        self.mountedOn = mountedOn
        self.notMounted = notMounted
        self.toHeal = toHeal
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
        self.state = state
        self.reason = reason
        self.progress = progress
        self.offer = offer
    }
}

/// A volume that is wanted. What is left out has a good value of its own.
public struct VolumeRequest: Codable, Equatable, Sendable {
    public var name: String
    /// Copies of each file; 3 where nothing else is asked for.
    public var replica: Int?
    /// 1: the third of three bricks keeps names and attributes alone.
    public var arbiter: Int?
    /// Bricks that share each file, instead of copies.
    public var disperse: Int?
    /// So many of those may be lost; 1 without it.
    public var redundancy: Int?
    /// The directory of the brick on each node; /data/bricks/NAME without it.
    public var path: String?
    /// Where it is mounted on every node; /bramble/NAME without it.
    public var mount: String?
    /// The nodes with a brick; chosen from those that are alive without it.
    public var nodes: [String]?
    /// Allow bricks on the root file system.
    public var force: Bool?
    public init(
        name: String, replica: Int? = nil, arbiter: Int? = nil, disperse: Int? = nil, redundancy: Int? = nil,
        path: String? = nil, mount: String? = nil, nodes: [String]? = nil, force: Bool? = nil
    ) {
        self.name = name
        self.replica = replica
        self.arbiter = arbiter
        self.disperse = disperse
        self.redundancy = redundancy
        self.path = path
        self.mount = mount
        self.nodes = nodes
        self.force = force
    }
}

/// Which nodes are to have a brick of a volume, and which no more. One of each: the second takes the place of the first.
public struct VolumeBricksRequest: Codable, Equatable, Sendable {
    public var add: [String]?
    public var remove: [String]?
    public init(add: [String]? = nil, remove: [String]? = nil) {
        self.add = add
        self.remove = remove
    }
}
