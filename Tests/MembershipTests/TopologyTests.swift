import Primitives
import Testing

@testable import Membership

@Suite("who watches whom in a large cluster")
struct TopologyTests {
    @Test("SipHash-2-4 gives the value its authors publish")
    func sipHash() {
        // Key 00 01 … 0f, message 00 01 … 0e.
        let hash = SipHash.hash(
            words: [0x0706_0504_0302_0100], lastWord: 15 << 56 | 0x000e_0d0c_0b0a_0908,
            key0: 0x0706_0504_0302_0100, key1: 0x0f0e_0d0c_0b0a_0908)
        #expect(hash == 0xa129_ca61_49be_45e5)
    }

    @Test("neighbours are mutual, ten at most, and nobody is alone", arguments: [2, 3, 17, 100, 1000])
    func mutual(count: Int) {
        let ids = (0..<count).map { TinyNetwork.id($0) }
        let rings = Topology(rings: 5, members: ids)
        for id in ids {
            let neighbours = rings.neighbours(of: id)
            #expect((1...10).contains(neighbours.count) && !neighbours.contains(id))
            #expect(neighbours == neighbours.sorted())
            for neighbour in neighbours { #expect(rings.neighbours(of: neighbour).contains(id)) }
        }
    }

    @Test("news reaches a thousand nodes in five hops")
    func diameter() {
        let ids = (0..<1000).map { TinyNetwork.id($0) }
        let rings = Topology(rings: 5, members: ids)
        var reached: Set<NodeID> = [ids[0]]
        var hops = 0
        while reached.count < ids.count {
            for id in reached { reached.formUnion(rings.neighbours(of: id)) }
            hops += 1
        }
        #expect(hops <= 5)
    }

    @Test("taking a node out and putting it back leaves the rings as they were, in whatever order they grew")
    func incremental() {
        let ids = (0..<60).map { TinyNetwork.id($0) }
        let rings = Topology(rings: 5, members: ids)
        var grown = Topology(rings: 5)
        for id in ids.reversed() { grown.insert(id) }
        grown.remove(ids[7])
        #expect(!ids.contains { grown.neighbours(of: $0).contains(ids[7]) })
        // A node outside still knows who its neighbours would be.
        #expect(grown.neighbours(of: ids[7]) == rings.neighbours(of: ids[7]))
        grown.insert(ids[7])
        grown.insert(ids[7])
        #expect(ids.allSatisfy { grown.neighbours(of: $0) == rings.neighbours(of: $0) })
    }
}

@Suite("how many must agree")
struct TallyTests {
    @Test(
        "60 % of those that count, rounded up",
        arguments: [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (9, 6), (10, 6), (15, 9)])
    func needed(counted: Int, expected: Int) {
        #expect(Tally(Array(repeating: .undecided, count: counted)).needed == expected)
    }

    @Test("one accuser of four convicts nobody, three do")
    func majority() {
        #expect(!Tally([.accuses, .undecided, .undecided, .undecided]).isFailed)
        #expect(!Tally([.accuses, .accuses, .undecided, .undecided]).isFailed)
        #expect(Tally([.accuses, .accuses, .accuses, .undecided]).isFailed)
        #expect(Tally([.accuses, .accuses, .accuses, .defends]).isFailed)
    }

    @Test("those who are gone or do not watch it are not waited for")
    func excluded() {
        #expect(Tally([.accuses, .excluded, .excluded, .excluded]).isFailed)
        #expect(Tally([.accuses, .excluded, .excluded, .excluded]).counted == 1)
        #expect(!Tally([.accuses, .excluded, .defends, .excluded]).isFailed)
        #expect(!Tally([]).isFailed && !Tally([.excluded]).isFailed)
    }

    @Test("the low watermark is a quarter of the observers, one at least")
    func lowWatermark() {
        #expect([0, 1, 4, 5, 8, 10, 15].map { Tally.lowWatermark(observers: $0) } == [1, 1, 1, 2, 2, 3, 4])
    }
}
