import BrambleAPI
import Membership
import Node
import Primitives
import Services

/// The cores' values as the JSON people see. Pure: everything it needs comes in.
struct Presentation: Sendable {
    let snapshot: NodeSnapshot
    /// The moment the snapshot was made, and its wall-clock time.
    let storyteller: Storyteller
    private let standing: StandingOrders
    private let labels: [NodeID: [String: String]]

    /// `standing` and `labels` are of nodes: what an operator ordered, and what they are called.
    init(
        _ snapshot: NodeSnapshot, standing: StandingOrders = StandingOrders(), labels: [NodeID: [String: String]] = [:]
    ) {
        self.snapshot = snapshot
        self.standing = standing
        self.labels = labels
        storyteller = Storyteller(names: snapshot.names, selfID: snapshot.id)
    }

    /// In order of their names. Removed nodes are gone from here at once.
    var nodes: [NodeInfo] {
        shownMembers.map(info).sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    var edges: [WatchEdge] {
        let shown = Set(shownMembers.map(\.id))
        return snapshot.edges.filter { shown.contains($0.watcher) && shown.contains($0.subject) }.map { edge in
            WatchEdge(
                from: storyteller.name(edge.watcher), to: storyteller.name(edge.subject), state: state(edge.state),
                phi: edge.phi.map { rounded($0) }, rttMs: edge.roundTrip.map { rounded($0.milliseconds) })
        }.sorted { ($0.from, $0.to) < ($1.from, $1.to) }
    }

    /// The one that breaks the tie of two, or would; nil where there is none.
    func witness(_ house: HouseSnapshot) -> WitnessStatus? {
        guard let id = house.voters.witness ?? house.witness,
            let member = shownMembers.first(where: { $0.id == id })
        else { return nil }
        return WitnessStatus(
            name: storyteller.name(id), state: state(member.rank), votes: house.voters.contains(id))
    }

    /// Without witnesses. Alive and suspect ones count as alive: a suspicion is not a verdict.
    var counts: ClusterStatus.Counts {
        let ranks = shownMembers.filter { $0.record.profile.role == .node }.map(\.rank)
        return ClusterStatus.Counts(
            alive: ranks.count { $0 == .alive || $0 == .suspect }, down: ranks.count { $0 == .failed })
    }

    private var shownMembers: [MemberView] { snapshot.members.filter { $0.rank != .removed } }

    private func info(_ member: MemberView) -> NodeInfo {
        let isSelf = member.id == snapshot.id
        let profile = member.record.profile
        let first = profile.addresses.first
        return NodeInfo(
            name: storyteller.name(member.id), id: member.id.description, address: first?.address.description ?? "",
            port: first.map { Int($0.port) } ?? 0, addresses: profile.addresses.map(\.description),
            state: state(member.rank), phi: isSelf ? 0 : member.phi.map { rounded($0) },
            threshold: snapshot.reportThreshold,
            incarnation: UInt64(member.record.version.incarnation), since: Timestamp.of(member.since), isSelf: isSelf,
            version: profile.software, load: LoadFacts(encoded: member.load).map(load), duty: duty(of: member.id),
            labels: labels[member.id] ?? [:], role: profile.role == .witness ? .witness : .node)
    }

    private func duty(of node: NodeID) -> NodeInfo.Standby? { NodeInfo.Standby(standing.standby(of: node)) }

    private func load(_ facts: LoadFacts) -> NodeLoad {
        NodeLoad(
            cpu: rounded(facts.cpu, 1000), memory: rounded(facts.memory, 1000), load1: facts.load1, load5: facts.load5,
            load15: facts.load15, temperature: facts.temperature)
    }

    private func state(_ rank: MemberRank) -> NodeState {
        switch rank {
        case .alive: .alive
        case .suspect: .suspect
        case .failed: .down
        case .left, .removed: .left
        }
    }
    private func state(_ state: EdgeView.State) -> WatchEdge.State {
        switch state {
        case .opening: .opening
        case .up: .up
        case .probing: .probing
        case .down: .down
        }
    }
    private func rounded(_ value: Double, _ parts: Double = 100) -> Double { (value * parts).rounded() / parts }
}

extension NodeInfo.Standby {
    /// Nil without an order.
    init?(_ order: StandingOrders.Standby) {
        switch order {
        case .no: return nil
        case .hold: self = .held
        case .drain: self = .drained
        }
    }
}
