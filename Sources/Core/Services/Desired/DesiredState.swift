package import Primitives

/// All that should be: what `bramble apply` reads, `bramble export` prints and the database keeps.
package struct DesiredState: Equatable, Sendable {
    /// Hosts that normally answer; they decide who is isolated.
    package var reach: [IPAddress] = []
    package var services: [Service] = []
    package var mirrors: [Mirror] = []
    package var volumes: [Volume] = []
    package var balancers: [Balancer] = []
    /// How each of two nodes is switched off before the other takes over.
    package var fences: [Fence] = []
    /// SQL statements that make the workloads' tables, in order; each is run once.
    package var schema: [String] = []

    package init() {}

    package func service(_ name: ServiceName) -> Service? { services.first { $0.name == name } }
    package func mirror(_ name: ServiceName) -> Mirror? { mirrors.first { $0.name == name } }
}

/// Files that follow a service: copied from the node that runs it to the others.
package struct Mirror: Equatable, Sendable {
    package enum Schedule: Hashable, Sendable {
        case every(Duration)
        case onChange
    }
    package var name: ServiceName
    /// Absolute; a directory ends in `/`.
    package var paths: [String]
    package var schedule = Schedule.every(.seconds(600))
    /// rsync's patterns.
    package var exclude: [String] = []
    /// The nodes that get a copy; all of them without.
    package var to: [NodeName] = []
    /// The most that one copy may take of the network. Unit: bytes a second; nil for all there is.
    package var limit: Int?

    package init(name: ServiceName, paths: [String]) {
        self.name = name
        self.paths = paths
    }
}

/// One file system over several nodes, by GlusterFS.
package struct Volume: Hashable, Sendable {
    package enum Layout: Hashable, Sendable {
        /// The same files on so many bricks. With an arbiter the last of them keeps names and attributes alone, and decides
        /// where two copies differ.
        case replicate(copies: Int, arbiter: Bool = false)
        /// Parts of each file on so many bricks, of which any `redundancy` may be lost; nil for a brick on each of its nodes.
        case disperse(redundancy: Int, bricks: Int? = nil)
    }
    package var name: ServiceName
    package var layout: Layout
    /// The brick's directory on every node.
    package var path: String
    /// Where it is mounted; nil for /bramble/NAME.
    package var mount: String?
    /// The nodes with a brick; chosen from all of them without. Those that keep the same files follow each other.
    package var nodes: [NodeName] = []
    /// Bricks may be on the root file system.
    package var force = false

    package init(name: ServiceName, layout: Layout, path: String) {
        self.name = name
        self.layout = layout
        self.path = path
    }
}

/// Spreads connections over the nodes: HTTP by nginx, TCP and UDP by the kernel.
package struct Balancer: Equatable, Sendable {
    package enum Transport: String, CaseIterable, Sendable { case http, tcp, udp }
    package enum Stickiness: String, CaseIterable, Sendable { case none, source }
    package var name: ServiceName
    package var listenAddress: IPAddress?
    package var listenPort: UInt16
    package var transport = Transport.http
    /// The port on every backend.
    package var to: UInt16
    package var sticky = Stickiness.none
    /// It answers at this service's addresses alone, so that it moves with them; nil for all addresses of every node.
    package var service: ServiceName?
    /// The path that a backend has to answer with a good status; nil where accepting a connection is enough.
    package var check: String?
    /// The backends; all nodes without.
    package var nodes: [NodeName] = []

    package init(name: ServiceName, listenPort: UInt16, to: UInt16) {
        self.name = name
        self.listenPort = listenPort
        self.to = to
    }
}
