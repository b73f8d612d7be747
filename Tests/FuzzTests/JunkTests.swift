import FuzzTargets
import Primitives
import Testing

/// The quick part of `make fuzz`, in every test run: thousands of mutations from a fixed seed.
@Suite("no bytes from outside break a parser")
struct JunkTests {
    @Test("what good input looks like is read", arguments: FuzzTarget.all)
    func seeds(target: FuzzTarget) {
        let seeds = target.seeds()
        #expect(!seeds.isEmpty)
        for seed in seeds { #expect(target.check(seed) == nil) }
    }

    @Test("mutated, cut, joined and random input is read or refused, and promises hold", arguments: FuzzTarget.all)
    func mutations(target: FuzzTarget) {
        var chance = SeededGenerator(seed: 7).fork(target.name)
        let seeds = target.seeds()
        for round in 0..<target.quickRuns {
            var bytes = chance.pick(from: seeds)!
            for _ in 0...chance.below(4) { mutate(&bytes, seeds: seeds, &chance) }
            if let problem = target.check(bytes) {
                Issue.record("\(target) round \(round): \(problem); input \(bytes)")
                return
            }
        }
    }

    private func mutate(_ bytes: inout [UInt8], seeds: [[UInt8]], _ chance: inout SeededGenerator) {
        let place = chance.below(bytes.count + 1)
        switch chance.below(8) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8(chance.below(8))
        case 1 where place < bytes.count: bytes[place] = UInt8(truncatingIfNeeded: chance.next())
        case 2 where place < bytes.count: bytes[place] = chance.pick(from: [0, 1, 127, 128, 255])!
        case 3: bytes.removeLast(bytes.count - place)
        case 4: bytes.insert(UInt8(truncatingIfNeeded: chance.next()), at: place)
        case 5: bytes.removeFirst(min(bytes.count, chance.below(4)))
        case 6: bytes += chance.pick(from: seeds)!
        default:
            let other = chance.pick(from: seeds)!
            bytes = Array(bytes.prefix(place)) + other.dropFirst(chance.below(other.count + 1))
        }
        if bytes.count > 4_096 { bytes.removeLast(bytes.count - 4_096) }
    }
}
