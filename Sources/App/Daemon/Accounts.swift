import BrambleAPI
import Crypto
import FoundationEssentials
import Node
import Primitives
import Reactor

/// Who may log in: users with a password, and tokens for scripts. Both are rows of the database, so they hold on every node.
///
/// Passwords are kept as scrypt hashes, tokens as SHA-256 of 32 random bytes (which nobody guesses, so no slow hash).
enum Accounts {
    static let firstUser = "admin"

    struct StoredToken: Codable, Equatable, Sendable {
        var hash: String
        var created: String
    }

    // MARK: Passwords

    /// A password for a person to type once: 16 letters and digits of Crockford's base 32, 80 bits.
    static func makePassword() -> String {
        let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz")
        let letters = RandomBytes.make(16).map { alphabet[Int($0 & 31)] }
        return stride(from: 0, to: 16, by: 4).map { String(letters[$0..<$0 + 4]) }.joined(separator: "-")
    }

    static func check(password: String) throws(APIError) {
        guard (8...PasswordHash.maximumPasswordSize).contains(password.utf8.count) else {
            throw APIError(
                problem: "the password is too short or too long",
                remedy: "use 8 to \(PasswordHash.maximumPasswordSize) bytes; four random words do well", kind: .invalid)
        }
    }

    static func check(user: String) throws(APIError) {
        guard NodeName(user) != nil else {
            throw APIError(problem: "“\(user)” is no user name", remedy: "use \(NodeName.rule)", kind: .invalid)
        }
    }

    /// Slow on purpose: call it where waiting is allowed.
    static func hash(_ password: String) -> [UInt8] { Array(PasswordHash(of: password).description.utf8) }

    /// Takes as long for a user who does not exist: the dummy costs the same.
    static func matches(_ password: String, stored: [UInt8]?) -> Bool {
        guard let stored, let hash = PasswordHash(String(decoding: stored, as: UTF8.self)) else {
            _ = dummy.matches(password)
            return false
        }
        return hash.matches(password)
    }
    private static let dummy = PasswordHash(of: "nobody has this password")

    // MARK: Tokens

    static func makeToken(at time: String) -> (secret: String, stored: [UInt8]) {
        let secret = "brt_" + hex(RandomBytes.make(32))
        let stored = StoredToken(hash: hex(SHA256.hash(Array(secret.utf8))), created: time)
        return (secret, Array((try? JSONEncoder().encode(stored)) ?? Data()))
    }

    /// The tokens as they are now, ready to be looked up at every request: neither the pulse is asked for them nor JSON
    /// read. The database tells it whatever changed, so a revoked token stops working at once.
    final class TokenTable: Sendable {
        private struct Table {
            var names: [String: String] = [:]
            var hashes: [String: String] = [:]
        }
        private let table = Locked(Table())

        func learn(_ facts: [StoredFact], isWhole: Bool) {
            table.withLock { table in
                if isWhole { table = Table() }
                for fact in facts where fact.key.hasPrefix(FactKey.tokens) {
                    let name = String(fact.key.dropFirst(FactKey.tokens.count))
                    if let old = table.hashes.removeValue(forKey: name) { table.names[old] = nil }
                    guard let token = Accounts.stored(fact.value) else { continue }
                    table.hashes[name] = token.hash
                    table.names[token.hash] = name
                }
            }
        }

        /// The name under which a token's secret is known. The time it takes tells of the hash only, and nobody can choose
        /// a secret by its hash.
        func name(of secret: String) -> String? {
            let hash = hex(SHA256.hash(Array(secret.utf8)))
            return table.withLock { $0.names[hash] }
        }
    }

    static func tokens(in facts: SharedFacts) -> [TokenInfo] {
        facts.keys(prefix: FactKey.tokens).compactMap { key in
            stored(facts[key]).map { TokenInfo(name: String(key.dropFirst(FactKey.tokens.count)), created: $0.created) }
        }
    }

    fileprivate static func stored(_ value: [UInt8]?) -> StoredToken? {
        value.flatMap { try? JSONDecoder().decode(StoredToken.self, from: Data($0)) }
    }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        // Of every request with a token: by hand, because a text for each byte took longer than the hash.
        func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
        return String(decoding: bytes.flatMap { [digit($0 >> 4), digit($0 & 15)] }, as: UTF8.self)
    }
}
