import Membership
import Node
import Primitives
import Testing

@Suite("a node joins what its cores decide")
struct NodeCoreTests {
    private func bus(_ count: UInt64) -> NodeBus {
        var bus = NodeBus()
        for number in 1...count { bus.start(number) }
        for number in 2...max(count, 2) where number <= count { bus.sight(number, at: 1) }
        bus.run(for: .seconds(1))
        return bus
    }
    private func alive(_ number: UInt64, in bus: NodeBus) -> [String] {
        bus.cores[NodeBus.id(number)]!.snapshot.members.filter { $0.rank == .alive }.map {
            $0.record.profile.name.description
        }
    }
    private func remove(_ number: UInt64, at other: UInt64, in bus: inout NodeBus) throws {
        try bus.order(other) { (core, now) throws(NodeCore.Refusal) in
            try core.remove(NodeBus.id(number), key: [1], newKey: [2], note: "today", now: now)
        }
    }

    @Test("three nodes of which two know the third's address all find each other")
    func joining() {
        let bus = bus(3)
        for number: UInt64 in 1...3 { #expect(alive(number, in: bus) == ["node1", "node2", "node3"]) }
    }

    @Test("a fact set on one node is on all within a moment, and deleting it too")
    func facts() throws {
        var bus = bus(3)
        try bus.order(2) { (core, now) throws(NodeCore.Refusal) in try core.setFact("user/x", to: [7], now: now) }
        for number: UInt64 in 1...3 { #expect(bus.cores[NodeBus.id(number)]!.facts["user/x"] == [7]) }
        try bus.order(3) { (core, now) throws(NodeCore.Refusal) in try core.setFact("user/x", to: nil, now: now) }
        for number: UInt64 in 1...3 { #expect(bus.cores[NodeBus.id(number)]!.facts["user/x"] == nil) }
    }

    @Test("trust facts that two nodes set before they met are on both afterwards")
    func factsMeet() throws {
        var bus = NodeBus()
        bus.start(1)
        bus.start(2)
        let (first, second) = (FactKey.approved(NodeBus.id(8)), FactKey.approved(NodeBus.id(9)))
        try bus.order(1) { (core, now) throws(NodeCore.Refusal) in try core.setFact(first, to: [1], now: now) }
        try bus.order(2) { (core, now) throws(NodeCore.Refusal) in try core.setFact(second, to: [2], now: now) }
        bus.sight(1, at: 2)
        bus.run(for: .seconds(3))
        for number: UInt64 in 1...2 {
            #expect(bus.cores[NodeBus.id(number)]!.facts.keys(prefix: FactKey.approvals) == [first, second].sorted())
        }
    }

    @Test("what is no trust fact goes to the database, is not spread by the core, and counts when it comes from there")
    func databaseFacts() throws {
        var bus = bus(2)
        let before = bus.cores[NodeBus.id(1)]!.facts.digest
        var core = bus.cores[NodeBus.id(1)]!
        let effects = try core.setFact("user/x", to: [7], now: bus.now)
        #expect(effects == [.storeFacts([StoredFact("user/x", [7], by: NodeBus.id(1))])])
        #expect(core.facts["user/x"] == nil)
        bus.handle(
            .factsStored([StoredFact("user/x", [7]), StoredFact("desired/a", [1])], isWhole: true), at: NodeBus.id(1))
        core = bus.cores[NodeBus.id(1)]!
        #expect(core.facts["user/x"] == [7])
        #expect(core.facts.digest == before)
        bus.handle(.factsStored([StoredFact("user/x", [8])], isWhole: true), at: NodeBus.id(1))
        core = bus.cores[NodeBus.id(1)]!
        #expect(core.facts["user/x"] == [8])
        #expect(core.facts["desired/a"] == nil, "a whole projection says what is not there, too")
    }

    @Test("a removal that comes as a row of the database counts like one that was told, and is passed on")
    func removalByRow() throws {
        var bus = bus(3)
        var decided = SharedFacts()
        _ = try decided.set(FactKey.removed(NodeBus.id(3)), to: Array("today".utf8), by: NodeBus.id(2))
        bus.handle(.trustStored(decided.encoded()), at: NodeBus.id(1))
        bus.run(for: .seconds(2))
        for number: UInt64 in 1...2 { #expect(alive(number, in: bus) == ["node1", "node2"]) }
        #expect(bus.wasRemoved[NodeBus.id(3)] != nil)
    }

    @Test("a member that membership has long forgotten can be removed as long as the database names it")
    func removalOfForgotten() throws {
        var bus = bus(2)
        bus.handle(.factsStored([StoredFact(FactKey.member(NodeBus.id(9)), [1])], isWhole: true), at: NodeBus.id(1))
        try remove(9, at: 1, in: &bus)
        #expect(bus.cores[NodeBus.id(2)]!.facts[FactKey.removed(NodeBus.id(9))] != nil)
        #expect(throws: NodeCore.Refusal.unknownNode) { try remove(7, at: 1, in: &bus) }
    }

    @Test("a removed node is told, is out everywhere at once, and the cluster key is a new one everywhere else")
    func removal() throws {
        var bus = bus(3)
        try remove(3, at: 1, in: &bus)
        #expect(bus.wasRemoved[NodeBus.id(3)] == .some(NodeBus.id(1)))
        for number: UInt64 in 1...2 {
            #expect(alive(number, in: bus) == ["node1", "node2"])
            let core = bus.cores[NodeBus.id(number)]!
            #expect(core.currentKeyVersion == 2)
            #expect(core.admission(of: NodeBus.id(3), keyVersion: 2) == .refuseRemoved)
        }
        #expect(bus.keyChanges == [NodeBus.id(1): 1, NodeBus.id(2): 1])
        #expect(
            bus.cores[NodeBus.id(3)]!.facts.keys(prefix: "key/").isEmpty, "the removed node never learns the new key")
    }

    @Test("a node that was off during its removal learns of it when it comes back, and stays out")
    func removedWhileOff() throws {
        var bus = bus(3)
        let members = bus.cores[NodeBus.id(3)]!.snapshot.members.map(\.record)
        bus.stop(3)
        bus.run(for: .seconds(2))
        try remove(3, at: 1, in: &bus)
        bus.start(3, members: members)
        bus.sight(3, at: 2)
        bus.run(for: .seconds(2))
        #expect(bus.wasRemoved[NodeBus.id(3)] == .some(NodeBus.id(2)))
        #expect(alive(1, in: bus) == ["node1", "node2"])
    }

    @Test("a member that slept through a change of the key is let in and gets the new one")
    func sleptThroughRotation() throws {
        var bus = bus(4)
        let members = bus.cores[NodeBus.id(4)]!.snapshot.members.map(\.record)
        bus.stop(4)
        bus.run(for: .seconds(2))
        try remove(3, at: 1, in: &bus)
        bus.start(4, members: members)
        bus.sight(4, at: 1)
        bus.run(for: .seconds(4))
        #expect(alive(4, in: bus) == ["node1", "node2", "node4"])
        #expect(bus.cores[NodeBus.id(4)]!.currentKeyVersion == 2)
    }

    @Test("a stranger with the old key is refused after the key was changed")
    func strangerWithOldKey() throws {
        var bus = bus(3)
        try remove(3, at: 1, in: &bus)
        bus.start(9, keyVersion: 1)
        bus.sight(9, at: 1)
        bus.run(for: .seconds(2))
        #expect(alive(1, in: bus) == ["node1", "node2"])
        #expect(alive(9, in: bus) == ["node9"])
    }

    @Test("where admission is by approval, a new node waits until an operator says yes, whichever node it knocks at")
    func approval() throws {
        var bus = NodeBus()
        bus.start(1, needsApproval: true)
        bus.start(2, needsApproval: true)
        try bus.order(1) { (core, now) throws(NodeCore.Refusal) in
            try core.setFact(FactKey.approved(NodeBus.id(2)), to: [1], now: now)
        }
        try bus.order(2) { (core, now) throws(NodeCore.Refusal) in
            try core.setFact(FactKey.approved(NodeBus.id(1)), to: [1], now: now)
        }
        bus.sight(1, at: 2)
        bus.run(for: .seconds(1))
        bus.start(3)
        bus.sight(3, at: 2)
        bus.run(for: .seconds(1))
        #expect(alive(1, in: bus) == ["node1", "node2"])
        #expect(bus.cores[NodeBus.id(2)]!.applicants.map(\.record.id) == [NodeBus.id(3)])
        try bus.order(2) { (core, now) throws(NodeCore.Refusal) in
            try core.approve(NodeBus.id(3), note: "yes", now: now)
        }
        bus.sight(3, at: 2)
        bus.run(for: .seconds(3))
        #expect(alive(3, in: bus) == ["node1", "node2", "node3"])
        #expect(bus.cores[NodeBus.id(2)]!.applicants.isEmpty)
    }

    @Test("a machine that has met nobody takes the cluster that approved it, though it asks for approval itself")
    func newcomer() throws {
        var bus = NodeBus()
        var decided = SharedFacts()
        _ = decided.project([StoredFact(FactKey.user("admin"), [1])], isWhole: true)
        bus.start(1, needsApproval: true, facts: decided)
        bus.start(2, needsApproval: true)
        bus.sight(2, at: 1)
        bus.run(for: .seconds(1))
        #expect(alive(1, in: bus) == ["node1"])
        try bus.order(1) { (core, now) throws(NodeCore.Refusal) in
            try core.approve(NodeBus.id(2), note: "yes", now: now)
        }
        bus.sight(2, at: 1)
        bus.run(for: .seconds(2))
        #expect(alive(1, in: bus) == ["node1", "node2"])
        #expect(alive(2, in: bus) == ["node1", "node2"])
    }

    @Test("who is no member cannot tell a node that it was removed")
    func forgedRefusal() {
        var bus = bus(2)
        bus.handle(.refused(by: NodeBus.id(99)), at: NodeBus.id(1))
        #expect(bus.wasRemoved.isEmpty)
    }

    @Test("a node cannot remove itself, nor one that nobody knows, and nothing changes")
    func refusedRemovals() {
        var bus = bus(2)
        #expect(throws: NodeCore.Refusal.isSelf) { try remove(1, at: 1, in: &bus) }
        #expect(throws: NodeCore.Refusal.unknownNode) { try remove(77, at: 1, in: &bus) }
        #expect(bus.cores[NodeBus.id(1)]!.currentKeyVersion == 1)
    }

    @Test("junk from a member is counted, and the good message after it is read")
    func junk() {
        var bus = bus(2)
        var chance = SeededGenerator(seed: 5)
        for length in 0..<200 {
            let junk = (0..<length).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
            bus.handle(
                .received(bytes: junk, from: NodeBus.id(2), path: NodeBus.endpoint(2), stamp: bus.now),
                at: NodeBus.id(1))
            bus.handle(.receivedReliably(bytes: [64] + junk, from: NodeBus.id(2)), at: NodeBus.id(1))
        }
        #expect(bus.cores[NodeBus.id(1)]!.malformedMessages > 150)
        bus.run(for: .seconds(2))
        #expect(alive(1, in: bus) == ["node1", "node2"])
    }
}
