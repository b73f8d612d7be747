/// Who a node is: the first 16 bytes of the SHA-256 of its Ed25519 public key (as SubjectPublicKeyInfo, DER).
///
/// 128 bits, so that nobody finds a second key with the same identity. Ordered by value, big end first; every place
/// that walks over nodes walks in this order, because the order of a `Dictionary` differs from run to run.
package struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// From exactly 16 bytes, big end first.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        self.init(
            high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
            low: bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// From the 32 hexadecimal digits that `description` writes.
    package init?(_ text: some StringProtocol) {
        let digits = Array(text.utf8)
        guard digits.count == 32, text.allSatisfy(\.isHexDigit),
            let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    package var bytes: [UInt8] {
        [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * UInt64($0))) } }
    }

    /// 32 hexadecimal digits.
    package var description: String {
        [high, low].map { word in
            let text = String(word, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }.joined()
    }

    /// What an operator compares before admitting a machine: the first 60 bits as `k7qd-2m4x-9f3a`
    /// (Crockford's base 32: no i, l, o, u). Forging one takes about 2^60 key pairs.
    package var code: String {
        let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz")
        let letters = (0..<12).map { alphabet[Int(high >> (59 - 5 * UInt64($0)) & 31)] }
        return [letters[0..<4], letters[4..<8], letters[8..<12]].map { String($0) }.joined(separator: "-")
    }

    package static func < (left: NodeID, right: NodeID) -> Bool {
        left.high != right.high ? left.high < right.high : left.low < right.low
    }
}
