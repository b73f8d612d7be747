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
        _ = try facts.set(FactKey.token("backup"), to: stored, by: node)
        #expect(Accounts.name(ofToken: secret, in: facts) == "backup")
        #expect(Accounts.name(ofToken: secret + "x", in: facts) == nil)
        #expect(Accounts.tokens(in: facts).map(\.name) == ["backup"])
        #expect(!String(decoding: facts.encoded(), as: UTF8.self).contains(secret))
        _ = try facts.set(FactKey.token("backup"), to: nil, by: node)
        #expect(Accounts.name(ofToken: secret, in: facts) == nil)
    }
}
