import Crypto
import Node
import Primitives
import Testing

@testable import Daemon

@Suite("users and tokens are shared facts")
struct AccountsTests {
    private let node = NodeID(high: 1, low: 1)

    @Test("only the right password matches, and nobody's password matches nothing")
    func passwords() {
        let stored = Accounts.hash("correct horse")
        #expect(Accounts.matches("correct horse", stored: stored))
        #expect(!Accounts.matches("wrong horse", stored: stored))
        #expect(!Accounts.matches("correct horse", stored: nil))
        #expect(!String(decoding: stored, as: UTF8.self).contains("horse"))
    }

    @Test("a made password has 80 bits and is made anew each time")
    func madePasswords() {
        let made = (0..<100).map { _ in Accounts.makePassword() }
        #expect(Set(made).count == 100)
        #expect(made.allSatisfy { $0.count == 19 && $0.split(separator: "-").count == 4 })
    }

    @Test("a token is known by its secret, which is nowhere in the facts; a revoked one is unknown")
    func tokens() throws {
        var facts = SharedFacts()
        let (secret, stored) = Accounts.makeToken(at: "2026-11-21T00:00:00Z")
        let known = [StoredFact(FactKey.token("backup"), stored, by: node)]
        _ = facts.project(known, isWhole: true)
        let table = Accounts.TokenTable()
        #expect(table.name(of: secret) == nil)
        table.learn(known, isWhole: true)
        #expect(table.name(of: secret) == "backup")
        #expect(table.name(of: secret + "x") == nil)
        #expect(Accounts.tokens(in: facts).map(\.name) == ["backup"])
        #expect(!String(decoding: stored, as: UTF8.self).contains(secret))
        table.learn([StoredFact(FactKey.token("backup"), [])], isWhole: false)
        #expect(table.name(of: secret) == nil)
    }
}

@Suite("the ring of cluster keys is made of the file and the facts")
struct KeyRingTests {
    private let node = NodeID(high: 1, low: 1)
    private let first = ClusterKey.generate(name: NodeName("home")!)

    private func facts(_ keys: [ClusterKey]) throws -> SharedFacts {
        var facts = SharedFacts()
        for key in keys {
            _ = try facts.set(FactKey.clusterKey(version: key.version), to: Array(key.text.utf8), by: node)
        }
        return facts
    }

    @Test("without facts the file's key is the only one")
    func alone() {
        #expect(Home.keyRing(first, facts: SharedFacts()) == ClusterKeyRing(current: first))
    }

    @Test("the newest key is the current one, and those before it are kept for members that were away")
    func rotated() throws {
        let second = first.rotated()
        let ring = Home.keyRing(first, facts: try facts([first, second]))
        #expect(ring.current == second && ring.older == [first])
    }

    @Test("of two keys of one version the facts' is right, whichever the file has")
    func doubleRotation() throws {
        let (mine, chosen) = (first.rotated(), first.rotated())
        let ring = Home.keyRing(mine, facts: try facts([first, chosen]))
        #expect(ring.current == chosen && ring.older == [first])
    }

    @Test("a file with a newer key than the facts know wins: it was copied here after a change")
    func newerFile() throws {
        let second = first.rotated()
        let ring = Home.keyRing(second, facts: try facts([first]))
        #expect(ring.current == second && ring.older == [first])
    }

    @Test("a key of another cluster, or nonsense, among the facts is left out")
    func nonsense() throws {
        var strange = try facts([ClusterKey.generate(name: NodeName("other")!)])
        _ = try strange.set(FactKey.clusterKey(version: 7), to: [1, 2, 3], by: node)
        #expect(Home.keyRing(first, facts: strange) == ClusterKeyRing(current: first))
    }
}
