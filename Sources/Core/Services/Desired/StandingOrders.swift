package import Primitives

/// What operators ordered and nobody has lifted: it outlives restarts, and every node knows it.
///
/// Merged by taking the newest word about each subject, so copies of it can meet in any order: a node that comes back
/// with an old copy learns from its peers that it is on hold.
package struct StandingOrders: Equatable, Sendable {
    /// The newest word about one subject. `revision` is a hybrid time or a counter: newer is larger.
    package struct Word<Value: Equatable & Sendable>: Equatable, Sendable {
        package var value: Value
        package var revision: UInt64
        package init(_ value: Value, revision: UInt64) {
            self.value = value
            self.revision = revision
        }
    }
    package enum Standby: String, Equatable, Sendable {
        case no
        /// Runs nothing: what runs here stops, and goes where somebody can take it.
        case hold
        /// Takes nothing new, and hands over what others can take; the rest stays until somebody can.
        case drain
    }
    package private(set) var standby: [NodeID: Word<Standby>] = [:]
    /// Services an operator stopped.
    package private(set) var stopped: [ServiceName: Word<Bool>] = [:]
    /// Where an operator moved a service to; holds until it leaves that node by a failure.
    package private(set) var pins: [ServiceName: Word<NodeID?>] = [:]

    package init() {}

    package func standby(of node: NodeID) -> Standby { standby[node]?.value ?? .no }
    package func isStopped(_ service: ServiceName) -> Bool { stopped[service]?.value ?? false }
    package func pin(of service: ServiceName) -> NodeID? { pins[service]?.value ?? nil }
    package var newestRevision: UInt64 {
        let all = standby.values.map(\.revision) + stopped.values.map(\.revision) + pins.values.map(\.revision)
        return all.max() ?? 0
    }

    package mutating func set(_ node: NodeID, to value: Standby, revision: UInt64) {
        if isNewer(revision, standby[node]?.revision) { standby[node] = Word(value, revision: revision) }
    }
    package mutating func set(_ service: ServiceName, isStopped: Bool, revision: UInt64) {
        if isNewer(revision, stopped[service]?.revision) { stopped[service] = Word(isStopped, revision: revision) }
    }
    package mutating func pin(_ service: ServiceName, to node: NodeID?, revision: UInt64) {
        if isNewer(revision, pins[service]?.revision) { pins[service] = Word(node, revision: revision) }
    }
    package mutating func merge(_ other: StandingOrders) {
        for (node, word) in other.standby { set(node, to: word.value, revision: word.revision) }
        for (service, word) in other.stopped { set(service, isStopped: word.value, revision: word.revision) }
        for (service, word) in other.pins { pin(service, to: word.value, revision: word.revision) }
    }
    private func isNewer(_ revision: UInt64, _ known: UInt64?) -> Bool { known.map { revision > $0 } ?? true }
}
