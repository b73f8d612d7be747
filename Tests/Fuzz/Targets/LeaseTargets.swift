import Leases
import Primitives

extension FuzzTarget {
    private static let someNode = NodeID(high: 7, low: 9)
    private static let otherNode = NodeID(high: 7, low: 10)
    private static let someVoters = VoterConfig(
        lineage: 3, number: 1, nodes: [NodeID(high: 1, low: 1), someNode, otherNode])

    private static var leaseMessages: [LeaseMessage] {
        let ballot = Ballot(counter: 5, generation: 2, node: someNode)
        let lease = LeaseName.service(ServiceName("files")!)
        let grant = LeaseGrant(ballot: ballot, epoch: Epoch(3))
        let running = LeaseVote.Running(grant: grant, remaining: 400)
        let mark = EpochMark(Epoch(3), owner: someNode, generation: 2)
        let steps: [LeaseVote.Step] = [
            .prepare(term: 500, isCarried: false), .promise(mark: mark, running: running),
            .promise(mark: .none, running: nil), .accept(term: 500, epoch: Epoch(4)), .accepted,
            .refuse(promised: ballot, running: nil), .release, .yours,
        ]
        let beat = PairBeat(
            generation: 2, sequence: 7, echo: 6, echoGeneration: 1, term: 250, reach: 2,
            held: [.init(lease: lease, epoch: Epoch(3), age: 1000)],
            bids: [.init(lease: .lock(ServiceName("job")!), rank: 1, known: Epoch(1))],
            offers: [.init(lease: lease, epoch: Epoch(4))])
        let accepted = LeaseMemory.AcceptedVoters(ballot: ballot, config: someVoters)
        let changes: [VoterMessage] = [
            .prepare(number: 2, ballot: ballot), .promise(number: 2, ballot: ballot, accepted: accepted),
            .accept(ballot: ballot, config: someVoters), .accepted(number: 2, ballot: ballot),
            .refuse(number: 2, promised: ballot), .decided(someVoters), .adopted,
        ]
        let votes = steps.map { LeaseVote(lease, ballot, $0) }
        return [LeaseMessage(voters: someVoters.version, .votes(votes)), LeaseMessage(voters: .none, .beat(beat))]
            + [LeaseMessage(voters: someVoters.version, .ack(generation: 2, sequence: 7))]
            + changes.map { LeaseMessage(voters: someVoters.version, .change($0)) }
    }

    /// Messages about leases, from a peer that is authenticated but may run another version, or a bug.
    static let leases = FuzzTarget("leases") {
        leaseMessages.map(LeaseCodec.encode)
    } check: { bytes in
        guard let message = try? LeaseCodec.decode(bytes) else { return nil }
        return LeaseCodec.encode(message) == bytes ? nil : "read and written again, a message about leases differs"
    }

    /// What such messages do to a node that votes, bids and holds: nothing may crash, and nothing may grow without end.
    static let leaseKeeper = FuzzTarget("leaseKeeper", quickRuns: 600) {
        leaseMessages.map(LeaseCodec.encode)
    } check: { bytes in
        guard let message = try? LeaseCodec.decode(bytes) else { return nil }
        for voters in [someVoters, VoterConfig(lineage: 3, number: 1, nodes: [someNode, otherNode])] {
            var memory = LeaseMemory()
            memory.voters = voters
            var keeper = LeaseKeeper(
                me: someNode, generation: 2, pair: LeaseConfig(.fast, isPair: true),
                votes: LeaseConfig(.fast, isPair: false), memory: memory, chance: SeededGenerator(seed: 1), now: .zero)
            var now = Instant.zero
            _ = keeper.handle(.wish(.service(ServiceName("files")!), .want(rank: 0)), now: now)
            for round in 0..<40 {
                now = now + .milliseconds(25)
                let event = round % 2 == 0 ? LeaseEvent.tick : .received(message, from: otherNode)
                for effect in keeper.handle(event, now: now) {
                    guard case .send(let sent, _) = effect else { continue }
                    let encoded = LeaseCodec.encode(sent)
                    guard encoded.count <= LeaseCodec.maximumDatagram else { return "an answer is too long" }
                    guard (try? LeaseCodec.decode(encoded)) == sent else { return "an answer cannot be read" }
                }
            }
        }
        return nil
    }
}
