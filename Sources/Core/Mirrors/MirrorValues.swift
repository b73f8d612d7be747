package import Primitives

/// A mirror as far as copying is concerned.
package struct MirrorSpec: Equatable, Sendable {
    package enum Schedule: Equatable, Sendable {
        case every(Duration)
        case onChange
    }
    package var name: ServiceName
    /// Absolute; a directory ends in `/`.
    package var paths: [String]
    package var schedule: Schedule
    /// rsync's patterns.
    package var exclude: [String]
    /// Empty: all members.
    package var to: [NodeName]
    /// The most that one copy may take. Unit: bytes a second; nil for all there is.
    package var limit: Int?

    package init(
        name: ServiceName, paths: [String], schedule: Schedule, exclude: [String] = [], to: [NodeName] = [],
        limit: Int? = nil
    ) {
        self.name = name
        self.paths = paths
        self.schedule = schedule
        self.exclude = exclude
        self.to = to
        self.limit = limit
    }
}

package struct MirrorPeer: Equatable, Sendable {
    package enum State: Equatable, Sendable { case alive, suspect, down }
    package var id: NodeID
    package var name: NodeName
    package var state: State
    package init(id: NodeID, name: NodeName, state: State) {
        self.id = id
        self.name = name
        self.state = state
    }
}

package struct MirrorConfig: Equatable, Sendable {
    /// Pushes at once, of all mirrors: a card has one arm. Default 2.
    package var concurrent = 2
    /// After a change, wait for the next ones before copying. Default 50 ms.
    package var settle: Duration = .milliseconds(50)
    /// With `on-change`, look for what was missed. Default 10 min.
    package var recheck: Duration = .seconds(600)
    /// Between two pushes whose interval is shorter than a push takes. Default 1 s.
    package var shortestPause: Duration = .seconds(1)
    package var firstRetry: Duration = .seconds(2)
    package var longestRetry: Duration = .seconds(120)
    /// A failure is told the first time and then each so many.
    package var failuresToTell = 10
    /// When a service is handed over, a target that fails so often is left behind, and told.
    package var flushAttempts = 2
    package init() {}
}

/// What a node persists of a mirror, and tells the others.
package struct MirrorRecord: Equatable, Sendable {
    package var mirror: ServiceName
    /// The newest epoch that anybody is known to have served with.
    package var highest = Epoch.none
    /// The newest with which this node was the source itself.
    package var fed = Epoch.none
    /// The epoch whose files are here as a whole, from whom, since when.
    package var whole = Epoch.none
    package var source: NodeID?
    /// Wall clock, ISO 8601, for people.
    package var wholeAt: String?
    package var lastFiles = 0
    package var lastBytes: UInt64 = 0
    /// On this node's clock; not persisted.
    var wholeSince: Instant?

    package init(mirror: ServiceName) { self.mirror = mirror }
}

package struct PushNumber: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (left: PushNumber, right: PushNumber) -> Bool { left.number < right.number }
}

package enum PushResult: Equatable, Sendable {
    /// Of this run: files that were sent, and their bytes.
    case done(files: Int, bytes: UInt64)
    case failed(String)
}

/// What a sender says before the first byte.
package struct PushRequest: Equatable, Sendable {
    package var mirror: ServiceName
    package var path: String
    package var epoch: Epoch
    /// The paths of one run belong together.
    package var run: UInt64
    package init(mirror: ServiceName, path: String, epoch: Epoch, run: UInt64) {
        self.mirror = mirror
        self.path = path
        self.epoch = epoch
        self.run = run
    }
}

package enum PushDecision: Equatable, Sendable {
    /// `parks`: what is overwritten or deleted is moved aside and listed. `isFirstEver`: this node never had these files
    /// from the cluster.
    case accept(parks: Bool, isFirstEver: Bool)
    case refuse(String)
}

/// How a mirror's copy on this node stands.
package enum MirrorFreshness: Equatable, Sendable {
    /// Nobody ever fed it: whoever serves first is its first source.
    case pristine
    case synced(behind: Duration)
    /// A newer epoch than what is here is being received.
    case receiving
    /// Others have data, this node never got all of it.
    case never
    /// Whole, but from before somebody else served.
    case outdated(has: Epoch, newest: Epoch)

    func isSameKind(as other: MirrorFreshness) -> Bool {
        switch (self, other) {
        case (.synced, .synced): true
        default: self == other
        }
    }
}

package enum MirrorEvent: Equatable, Sendable {
    case desired([MirrorSpec])
    case nodes([MirrorPeer], isIsolated: Bool)
    /// This node holds the service: it is the source, with this epoch.
    case feed(ServiceName, Epoch)
    /// It is no more. With `flush` the others get what they lack first; `flushed` says when.
    case stop(ServiceName, flush: Bool)
    /// Something under its paths was written.
    case changed(ServiceName)
    /// An operator does not want to wait.
    case runNow(ServiceName)
    case pushed(PushNumber, PushResult)
    /// Somebody serves or served with this epoch: from another node's record, or from the lease.
    case heard(ServiceName, Epoch)
    /// One path of a run ended. `isComplete`: it is as the source had it. `at`: wall clock, for people.
    case received(PushRequest, from: NodeID, isComplete: Bool, at: String)
    case tick
}

package enum MirrorEffect: Equatable, Sendable {
    case push(PushNumber, ServiceName, to: NodeID, epoch: Epoch)
    case cancel(PushNumber)
    /// Watch these paths for changes; none: stop watching.
    case watch(ServiceName, [String])
    case persist(MirrorRecord)
    case freshness(ServiceName, MirrorFreshness)
    case pushedTo(ServiceName, NodeID, epoch: Epoch, files: Int, bytes: UInt64)
    case trouble(ServiceName, NodeID, reason: String, failures: Int)
    /// `stop` is done; these nodes lack something.
    case flushed(ServiceName, behind: [NodeID])
}

/// For people.
package struct MirrorReport: Equatable, Sendable {
    package struct Target: Equatable, Sendable {
        package var node: NodeID
        package var isRunning: Bool
        /// Since the beginning of the last push that arrived whole; nil before the first.
        package var behind: Duration?
        package var failures: Int
    }
    package var mirror: ServiceName
    /// The epoch with which this node is the source; nil when it is not.
    package var feedingWith: Epoch?
    package var record: MirrorRecord
    package var targets: [Target]
    package var freshness: MirrorFreshness
    /// Why nothing is copied just now.
    package var waits: String?
}
