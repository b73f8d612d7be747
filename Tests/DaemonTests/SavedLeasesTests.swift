import Leases
import Primitives
import Testing

@testable import Daemon

@Suite("what a node voted survives its restart")
struct SavedLeasesTests {
    private var memory: LeaseMemory {
        let (one, two) = (NodeID(high: 1, low: 2), NodeID(high: 3, low: 4))
        var memory = LeaseMemory()
        memory.epochs[.service(ServiceName("web")!)] = EpochMark(Epoch(7), owner: one, generation: 3)
        memory.epochs[.lock(ServiceName("web")!)] = EpochMark(Epoch(9), owner: nil, generation: 0)
        memory.exclusion = 450
        memory.voters = VoterConfig(lineage: .max, number: 2, nodes: [one, two], witness: two)
        memory.formerVoters = VoterConfig(lineage: 5, number: 1, nodes: [one])
        memory.promised = Ballot(counter: 4, generation: 3, node: two)
        memory.accepted = .init(ballot: Ballot(counter: 3, generation: 2, node: one), config: memory.voters)
        memory.isAlone = true
        return memory
    }

    @Test("everything comes back as it was")
    func whole() {
        #expect(SavedState.leases(from: SavedState.encode(memory)) == memory)
        #expect(SavedState.leases(from: SavedState.encode(LeaseMemory())) == LeaseMemory())
    }

    @Test("a file of which a part cannot be read is not read at all")
    func damaged() {
        let text = String(decoding: SavedState.encode(memory), as: UTF8.self)
        let node = NodeID(high: 1, low: 2).description
        #expect(text.contains(node))
        #expect(SavedState.leases(from: Array(text.replacing(node, with: "nobody").utf8)) == nil)
        #expect(SavedState.leases(from: Array(text.dropLast(5).utf8)) == nil)
    }
}
