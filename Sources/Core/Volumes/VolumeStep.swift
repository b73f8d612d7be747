package import Primitives
package import Services

/// One thing that the node that looks after the volumes lets GlusterFS do. Each can be done again after a crash in its
/// middle: what is done already is found in what glusterd says.
package enum VolumeStep: Hashable, Sendable {
    /// Makes a node a peer, or teaches the others the name of one that they know by its address.
    case probe(NodeName)
    case create(Volume, [BrickPlace])
    case set(ServiceName, [String: String])
    case start(ServiceName)
    /// Starts bricks whose processes are gone; the others go on.
    case restartBricks(ServiceName)
    case heal(ServiceName)
    /// `copies`: more of each file than before.
    case addBricks(ServiceName, [BrickPlace], copies: Int?, force: Bool)
    case rebalance(ServiceName)
    case replaceBrick(ServiceName, BrickPlace, with: BrickPlace)
    /// Fewer copies of each file; the bricks hold nothing that the others lack.
    case dropCopies(ServiceName, [BrickPlace], copies: Int)
    case drainBricks(ServiceName, [BrickPlace])
    case commitDrained(ServiceName, [BrickPlace])
    case stop(ServiceName)
    case delete(ServiceName)
    /// By the name that GlusterFS shows.
    case detach(String)
    /// It is gone: nobody has to remember that it was to be deleted.
    case forget(ServiceName)

    /// What `gluster` is given; nil where that is not its business.
    package var words: [String]? {
        switch self {
        case .probe(let node): return ["peer", "probe", "\(node)"]
        case .create(let volume, let places):
            var words = ["volume", "create", "\(volume.name)"]
            switch volume.layout {
            case .replicate(let copies, let arbiter):
                words += ["replica", "\(copies)"] + (arbiter ? ["arbiter", "1"] : [])
            case .disperse(let redundancy, _):
                words += ["disperse", "\(volume.setSize(of: places.count))", "redundancy", "\(redundancy)"]
            }
            return words + places.map(\.description) + (volume.force ? ["force"] : [])
        case .set(let volume, let options):
            return ["volume", "set", "\(volume)"] + options.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
        case .start(let volume): return ["volume", "start", "\(volume)"]
        case .restartBricks(let volume): return ["volume", "start", "\(volume)", "force"]
        case .heal(let volume): return ["volume", "heal", "\(volume)"]
        case .addBricks(let volume, let places, let copies, let force):
            return ["volume", "add-brick", "\(volume)"] + (copies.map { ["replica", "\($0)"] } ?? [])
                + places.map(\.description) + (force ? ["force"] : [])
        case .rebalance(let volume): return ["volume", "rebalance", "\(volume)", "start"]
        case .replaceBrick(let volume, let old, let new):
            return ["volume", "replace-brick", "\(volume)", "\(old)", "\(new)", "commit", "force"]
        case .dropCopies(let volume, let places, let copies):
            return ["volume", "remove-brick", "\(volume)", "replica", "\(copies)"] + places.map(\.description)
                + ["force"]
        case .drainBricks(let volume, let places):
            return ["volume", "remove-brick", "\(volume)"] + places.map(\.description) + ["start"]
        case .commitDrained(let volume, let places):
            return ["volume", "remove-brick", "\(volume)"] + places.map(\.description) + ["commit"]
        case .stop(let volume): return ["volume", "stop", "\(volume)", "force"]
        case .delete(let volume): return ["volume", "delete", "\(volume)"]
        case .detach(let name): return ["peer", "detach", name, "force"]
        case .forget: return nil
        }
    }

    package var volume: ServiceName? {
        switch self {
        case .probe, .detach: nil
        case .create(let volume, _): volume.name
        case .set(let name, _), .start(let name), .restartBricks(let name), .heal(let name),
            .addBricks(let name, _, _, _), .rebalance(let name), .replaceBrick(let name, _, _),
            .dropCopies(let name, _, _), .drainBricks(let name, _), .commitDrained(let name, _), .stop(let name),
            .delete(let name), .forget(let name):
            name
        }
    }

    /// Whether it can be done right after this one, from the same plan, without asking glusterd in between.
    package func follows(_ step: VolumeStep) -> Bool {
        switch (step, self) {
        case (.probe, .probe): true
        case (.create, .set), (.create, .start), (.set, .start): step.volume == volume
        default: false
        }
    }

    /// Between two of the same: a push of the self-heal daemon or a restart needs its time before it is repeated.
    package var spacing: Duration {
        switch self {
        case .heal, .restartBricks: .seconds(5)
        // Where names cannot be found by address it would help no more the second time.
        case .detach: .seconds(300)
        default: .zero
        }
    }
}

/// What glusterd has to be asked of one volume before its next step is clear: these questions take GlusterFS's lock, so
/// they are asked only while bricks or files are moved.
package enum VolumeQuestion: Hashable, Sendable {
    case rebalance(ServiceName)
    case drain(ServiceName, [BrickPlace])

    package var words: [String] {
        switch self {
        case .rebalance(let volume): ["volume", "rebalance", "\(volume)", "status"]
        case .drain(let volume, let places):
            ["volume", "remove-brick", "\(volume)"] + places.map(\.description) + ["status"]
        }
    }
    package var volume: ServiceName {
        switch self {
        case .rebalance(let volume), .drain(let volume, _): volume
        }
    }
}
