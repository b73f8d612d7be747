import Node
import Primitives
import Testing
import Wire

@Suite("shared facts merge to the same on every node")
struct SharedFactsTests {
    private let a = NodeID(high: 1, low: 0)
    private let b = NodeID(high: 2, low: 0)

    private func decoded(_ facts: SharedFacts) throws -> [(key: String, entry: SharedFacts.Entry)] {
        var reader = ByteReader(facts.encoded())
        let entries = try SharedFacts.decode(&reader)
        try reader.finish()
        return entries
    }

    @Test("merging in any order, any number of times, gives the same facts and the same digest", arguments: 0..<50)
    func convergence(seed: UInt64) throws {
        var chance = SeededGenerator(seed: seed)
        var replicas = [SharedFacts(), SharedFacts(), SharedFacts()]
        let origins = [a, b, NodeID(high: 3, low: 0)]
        for _ in 0..<60 {
            let writer = chance.below(3)
            let key = "user/\(chance.below(5))"
            let value: [UInt8]? = chance.chance(0.2) ? nil : [UInt8(chance.below(256))]
            _ = try replicas[writer].set(key, to: value, by: origins[writer])
            if chance.chance(0.3) { _ = replicas[chance.below(3)].merge(try decoded(replicas[chance.below(3)])) }
        }
        var sources = [0, 1, 2, 0, 1, 2]
        for target in 0..<3 {
            chance.shuffle(&sources)
            for source in sources { _ = replicas[target].merge(try decoded(replicas[source])) }
        }
        #expect(replicas[0].entries == replicas[1].entries && replicas[1].entries == replicas[2].entries)
        #expect(Set(replicas.map(\.digest)).count == 1)
    }

    @Test("a fact that was deleted does not come back from a node that still has it")
    func deletion() throws {
        var here = SharedFacts()
        _ = try here.set("token/x", to: [1], by: a)
        let old = try decoded(here)
        _ = try here.set("token/x", to: nil, by: a)
        #expect(here.merge(old) == [])
        #expect(here["token/x"] == nil)
    }

    @Test("different facts have different digests, equal ones the same however they came about")
    func digest() throws {
        var first = SharedFacts()
        var second = SharedFacts()
        _ = try first.set("a", to: [1], by: a)
        #expect(first.digest != second.digest)
        _ = second.merge(try decoded(first))
        #expect(first.digest == second.digest)
    }

    @Test("more than a thousand facts, or one that is too long, are refused and change nothing")
    func bounds() throws {
        var facts = SharedFacts()
        #expect(throws: SharedFacts.Failure.tooLong) {
            try facts.set("big", to: Array(repeating: 0, count: 4097), by: a)
        }
        #expect(throws: SharedFacts.Failure.tooLong) { try facts.set("", to: [1], by: a) }
        for number in 0..<SharedFacts.maximumEntries { _ = try facts.set("k\(number)", to: [1], by: a) }
        let before = facts
        #expect(throws: SharedFacts.Failure.tooManyFacts) { try facts.set("one more", to: [1], by: a) }
        #expect(facts == before)
    }

    @Test("bytes that are no facts are refused whole")
    func junk() throws {
        var facts = SharedFacts()
        _ = try facts.set("user/admin", to: Array("hash".utf8), by: a)
        let good = facts.encoded()
        for length in 0..<good.count {
            #expect(throws: ByteReader.Failure.self) {
                var reader = ByteReader(Array(good.prefix(length)))
                _ = try SharedFacts.decode(&reader)
            }
        }
    }
}
