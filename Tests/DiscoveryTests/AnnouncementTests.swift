import Primitives
import Testing

@testable import Discovery

@Suite("announcements from the network are read, bounded and put together")
struct AnnouncementTests {
    static func id(_ number: UInt64) -> NodeID { NodeID(high: 0xABCD, low: number) }
    private let member = Announcement(version: 1, id: id(1), role: .member(tag: "0123abcd"))
    private let waiting = Announcement(version: 2, id: id(2), role: .waiting(name: NodeName("new-pi")!))

    private func bytes(_ strings: [String]) -> [UInt8] { strings.flatMap { [UInt8($0.utf8.count)] + $0.utf8 } }
    private func error(_ bytes: [UInt8]) -> AnnouncementError? {
        do throws(AnnouncementError) { _ = try Announcement(encoded: bytes) } catch { return error }
        return nil
    }

    @Test("what is written is read, and a member's record has no name in it")
    func roundTrip() throws {
        for announcement in [member, waiting] {
            #expect(try Announcement(encoded: announcement.encoded) == announcement)
        }
        #expect(member.strings == ["v=1", "id=\(Self.id(1))", "tag=0123abcd"])
        #expect(waiting.strings == ["v=2", "id=\(Self.id(2))", "w=1", "name=new-pi"])
    }

    @Test("order, case, unknown keys and keys given twice are as RFC 6763 has them")
    func tolerance() throws {
        let id = "id=\(Self.id(1))"
        let odd = bytes(["", "tag=0123abcd", "future=thing", "flag", "=no key", "V=1", "v=9", "ID=\(Self.id(1))", id])
        #expect(try Announcement(encoded: odd) == member)
    }

    @Test("what is incomplete or malformed is refused")
    func refused() {
        let id = "id=\(Self.id(1))"
        #expect(error([]) == .noVersion)
        #expect(error(bytes(["v=0", id, "tag=0a"])) == .noVersion)
        #expect(error(bytes(["v=65536", id, "tag=0a"])) == .noVersion)
        #expect(error(bytes(["v=1", "id=xyz", "tag=0a"])) == .noID)
        #expect(error(bytes(["v=1", id])) == .noRole)
        for tag in ["", "0A", "zz", String(repeating: "0", count: 65)] {
            #expect(error(bytes(["v=1", id, "tag=\(tag)"])) == .noRole)
        }
        for name in ["", "-", "a b", String(repeating: "a", count: 64), "<script>"] {
            #expect(error(bytes(["v=1", id, "w=1", "name=\(name)"])) == .noRole)
        }
        #expect(error([5, 1, 2]) == .truncated)
        #expect(error([UInt8](repeating: 0, count: 1301)) == .tooLong)
    }

    @Test("junk never does more than be refused, and a good record after it is read", arguments: 1...20)
    func junk(seed: UInt64) throws {
        var chance = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            var record = chance.chance(0.5) ? member.encoded : waiting.encoded
            for _ in 0...chance.below(6) {
                switch chance.below(4) {
                case 0: record[chance.below(record.count)] = UInt8(chance.below(256))
                case 1: record.insert(UInt8(chance.below(256)), at: chance.below(record.count))
                case 2: record.removeLast(chance.below(record.count))
                default: record += (0..<chance.below(40)).map { _ in UInt8(chance.below(256)) }
                }
                if record.isEmpty { record = [0] }
            }
            if let read = try? Announcement(encoded: record) {
                #expect(try Announcement(encoded: read.encoded) == read)
            }
        }
        #expect(try Announcement(encoded: member.encoded) == member)
    }

    // MARK: The table

    private func appearance(_ instance: String, _ interface: Int32 = 2, v6: Bool = false) -> SightingTable.Appearance {
        .init(instance: instance, interface: interface, isV6: v6)
    }
    private func endpoint(_ text: String) -> Endpoint { Endpoint(text, defaultPort: 7771)! }

    @Test("one machine over several interfaces and protocols is one sighting")
    func deduplicated() {
        var table = SightingTable(own: Self.id(99), tag: nil)
        let one = Sighting(announcement: member, endpoints: [endpoint("10.0.0.1")])
        #expect(table.found(appearance("a"), member, at: endpoint("10.0.0.1")) == [.seen(one)])
        #expect(table.found(appearance("a"), member, at: endpoint("10.0.0.1")) == [], "nothing new")
        #expect(table.found(appearance("a", 3), member, at: endpoint("10.0.0.1")) == [], "the same place once more")
        let both = Sighting(announcement: member, endpoints: [endpoint("10.0.0.1"), endpoint("fd00::1")])
        #expect(table.found(appearance("a", v6: true), member, at: endpoint("fd00::1")) == [.seen(both)])
        #expect(table.lost(appearance("a")) == [], "still there over the other interface")
        #expect(table.lost(appearance("a", v6: true)) == [.seen(one)])
        #expect(table.lost(appearance("a", 3)) == [.gone(Self.id(1))])
        #expect(table.lost(appearance("a", 3)) == [] && table.sightings == [])
    }

    @Test("a machine that gets the key, or another address, is told as changed")
    func changed() {
        var table = SightingTable(own: Self.id(99), tag: nil)
        _ = table.found(appearance("b"), waiting, at: endpoint("10.0.0.2"))
        var now = waiting
        now.role = .member(tag: "0123abcd")
        #expect(
            table.found(appearance("b"), now, at: endpoint("10.0.0.3"))
                == [.seen(Sighting(announcement: now, endpoints: [endpoint("10.0.0.3")]))])
    }

    @Test("ourselves and addresses that lead nowhere are not reported")
    func useless() {
        var table = SightingTable(own: Self.id(1), tag: nil)
        #expect(table.found(appearance("a"), member, at: endpoint("10.0.0.1")) == [])
        for text in ["0.0.0.0", "127.0.0.1", "224.0.0.251", "255.255.255.255", "::1", "fe80::1", "ff02::fb"] {
            #expect(table.found(appearance("b"), waiting, at: endpoint(text)) == [], "\(text)")
        }
        let noPort = Endpoint(IPAddress("10.0.0.1")!, port: 0)
        #expect(table.found(appearance("b"), waiting, at: noPort) == [])
        #expect(table.found(appearance("b"), waiting, at: endpoint("169.254.1.1")).count == 1)
    }

    @Test("a flood is bounded, and strangers make room for nodes of our own cluster, not the other way")
    func flood() {
        var table = SightingTable(own: Self.id(0), tag: "aa")
        func announce(_ number: UInt64, tag: String) -> [SightingChange] {
            let announcement = Announcement(version: 1, id: Self.id(number), role: .member(tag: tag))
            return table.found(appearance("\(number)"), announcement, at: endpoint("10.0.0.1"))
        }
        for number in 1...2000 { _ = announce(UInt64(number), tag: "ff") }
        #expect(table.count == SightingTable.capacity && table.dropped == 2000 - SightingTable.capacity)
        for number in 5001...5600 { _ = announce(UInt64(number), tag: "aa") }
        let ours = table.sightings.filter { $0.announcement.role == .member(tag: "aa") }
        #expect(ours.count == SightingTable.capacity && table.count == SightingTable.capacity)
        #expect(announce(9999, tag: "ff") == [])
        // One machine with very many addresses.
        var many = SightingTable(own: Self.id(0), tag: nil)
        for number in 0..<100 {
            _ = many.found(appearance("x", Int32(number)), member, at: endpoint("10.0.1.\(number)"))
        }
        #expect(many.sightings.first?.endpoints.count == SightingTable.maximumEndpoints)
    }

    @Test("when listening starts anew, what is heard again stays and the rest is let go")
    func rounds() {
        var table = SightingTable(own: Self.id(99), tag: nil)
        _ = table.found(appearance("a"), member, at: endpoint("10.0.0.1"))
        _ = table.found(appearance("b"), waiting, at: endpoint("10.0.0.2"))
        let round = table.startRound()
        #expect(table.found(appearance("a"), member, at: endpoint("10.0.0.1")) == [])
        #expect(table.dropUnheard(since: round) == [.gone(Self.id(2))])
        #expect(table.sightings.map(\.announcement) == [member])
    }

    @Test("whatever happens in whatever order, the reports add up to the table", arguments: 1...20)
    func consistent(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        var table = SightingTable(own: Self.id(0), tag: "aa")
        var told: [NodeID: Sighting] = [:]
        for _ in 0..<400 {
            let place = appearance("\(chance.below(30))", Int32(chance.below(3)), v6: chance.chance(0.5))
            let changes: [SightingChange]
            if chance.chance(0.6) {
                let role: Announcement.Role =
                    chance.chance(0.5) ? .member(tag: chance.chance(0.5) ? "aa" : "bb") : .waiting(name: NodeName("x")!)
                let announcement = Announcement(version: 1, id: Self.id(UInt64(chance.below(40))), role: role)
                changes = table.found(place, announcement, at: endpoint("10.0.0.\(chance.below(5))"))
            } else {
                changes = table.lost(place)
            }
            for change in changes {
                switch change {
                case .seen(let sighting):
                    #expect(told[sighting.announcement.id] != sighting, "told twice")
                    told[sighting.announcement.id] = sighting
                case .gone(let id):
                    let old = told.removeValue(forKey: id)
                    #expect(old != nil, "gone without having been seen")
                }
            }
            #expect(told.sorted { $0.key < $1.key }.map(\.value) == table.sightings)
        }
    }
}
