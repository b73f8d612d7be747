import Leases
import Primitives

/// Bidders and voters on one table, and a network that delivers what the test says, when it says so. The schedules are
/// those of the witnesses of the 2026 revision; the rules are docs/protocol/leases.md.
struct ProtocolBench {
    struct Envelope {
        var vote: LeaseVote
        var from: NodeID
        var to: NodeID
    }
    let lease = LeaseName.service(ServiceName("files")!)
    let voters: VoterConfig
    var config: LeaseConfig
    var now = Instant.zero
    var bidders: [NodeID: LeaseBidder] = [:]
    var acceptors: [NodeID: LeaseVoter] = [:]
    var mail: [Envelope] = []
    private var generations: [NodeID: UInt32] = [:]

    static let p = NodeID(high: 1, low: 1)
    static let q = NodeID(high: 1, low: 2)
    static let a = NodeID(high: 2, low: 1)
    static let b = NodeID(high: 2, low: 2)
    static let c = NodeID(high: 2, low: 3)

    init(acceptors nodes: [NodeID] = [ProtocolBench.a, ProtocolBench.b, ProtocolBench.c], bug: LeaseBug? = nil) {
        config = LeaseConfig(.fast, isPair: false)
        config.plantedBug = bug
        voters = VoterConfig(lineage: 1, number: 1, nodes: nodes)
        // As if they had run for long: their first silence is over.
        now = Instant.zero + .seconds(100)
        for node in nodes {
            acceptors[node] = LeaseVoter(me: node, config: config, memory: LeaseMemory(), now: .zero)
        }
        for node in [Self.p, Self.q] { boot(node) }
    }

    mutating func boot(_ bidder: NodeID) {
        generations[bidder, default: 0] += 1
        bidders[bidder] = LeaseBidder(me: bidder, generation: generations[bidder]!, config: config)
    }
    mutating func advance(_ duration: Duration) { now = now + duration }

    /// Forgets everything that is not on its disk, and starts again.
    mutating func restart(_ acceptor: NodeID) {
        let memory = acceptors[acceptor]!.memory
        acceptors[acceptor] = LeaseVoter(me: acceptor, config: config, memory: memory, now: now)
    }

    mutating func start(_ bidder: NodeID) {
        let step = bidders[bidder]!.start(now: now, term: config.term)
        broadcast(step, from: bidder)
    }
    private mutating func broadcast(_ step: LeaseVote.Step, from bidder: NodeID) {
        let ballot = bidders[bidder]!.currentBallot
        for node in voters.nodes { mail.append(Envelope(vote: LeaseVote(lease, ballot, step), from: bidder, to: node)) }
    }

    enum Kind { case prepare, promise, accept, accepted, release, refuse }
    private func kind(_ step: LeaseVote.Step) -> Kind {
        switch step {
        case .prepare: .prepare
        case .promise: .promise
        case .accept: .accept
        case .accepted: .accepted
        case .release, .yours: .release
        case .refuse: .refuse
        }
    }

    /// The first message that fits, once; `keeping` leaves it in the network, to come again.
    @discardableResult
    mutating func deliver(
        _ wanted: Kind, from: NodeID, to: NodeID, keeping: Bool = false
    ) -> LeaseBidder.Outcome? {
        guard let index = mail.firstIndex(where: { kind($0.vote.step) == wanted && $0.from == from && $0.to == to })
        else { return nil }
        let envelope = mail[index]
        if !keeping { mail.remove(at: index) }
        if var acceptor = acceptors[to], wanted == .prepare || wanted == .accept || wanted == .release {
            let answer = acceptor.handle(envelope.vote, from: from, now: now)
            acceptors[to] = acceptor
            if let vote = answer.vote { mail.append(Envelope(vote: vote, from: to, to: from)) }
            return nil
        }
        let outcome = bidders[to]!.handle(envelope.vote, from: from, voters: voters, now: now)
        if case .send(let step) = outcome { broadcast(step, from: to) }
        return outcome
    }

    /// One whole exchange with these voters.
    mutating func exchange(_ bidder: NodeID, with nodes: [NodeID]) {
        for node in nodes { deliver(.prepare, from: bidder, to: node) }
        for node in nodes { deliver(.promise, from: node, to: bidder) }
        for node in nodes { deliver(.accept, from: bidder, to: node) }
        for node in nodes { deliver(.accepted, from: node, to: bidder) }
    }
    mutating func acquire(_ bidder: NodeID, from nodes: [NodeID]) {
        start(bidder)
        exchange(bidder, with: nodes)
    }

    /// Bids until refusals have told how high.
    mutating func insist(_ bidder: NodeID, from nodes: [NodeID]) {
        for _ in 0..<4 where !isActive(bidder) {
            start(bidder)
            for node in nodes { deliver(.prepare, from: bidder, to: node) }
            for node in nodes { deliver(.refuse, from: node, to: bidder) }
            for node in nodes { deliver(.promise, from: node, to: bidder) }
            for node in nodes { deliver(.accept, from: bidder, to: node) }
            for node in nodes { deliver(.accepted, from: node, to: bidder) }
        }
    }

    func isActive(_ bidder: NodeID) -> Bool { bidders[bidder]?.held.map { now < $0.until } ?? false }
    var owners: [NodeID] { [Self.p, Self.q].filter(isActive) }
}

extension ProtocolBench {
    /// Plants a bug in one bidder alone; voters keep their rules.
    mutating func plant(_ bug: LeaseBug, in bidder: NodeID) {
        bidders[bidder]!.plant(bug)
    }
}
