import Primitives

/// SipHash-2-4 (Aumasson and Bernstein, 2012), because `Hasher` is seeded anew in every process and every node must
/// put the others in the same order.
enum SipHash {
    static func hash(_ id: NodeID, key0: UInt64, key1: UInt64) -> UInt64 {
        // The algorithm reads words little end first; a NodeID's halves are big end first.
        hash(words: [id.high.byteSwapped, id.low.byteSwapped], lastWord: 16 << 56, key0: key0, key1: key1)
    }

    /// `lastWord` holds the bytes left over and, in its top byte, the message's length modulo 256.
    static func hash(words: [UInt64], lastWord: UInt64, key0: UInt64, key1: UInt64) -> UInt64 {
        var v0 = key0 ^ 0x736f_6d65_7073_6575
        var v1 = key1 ^ 0x646f_7261_6e64_6f6d
        var v2 = key0 ^ 0x6c79_6765_6e65_7261
        var v3 = key1 ^ 0x7465_6462_7974_6573
        func rotate(_ word: UInt64, _ count: UInt64) -> UInt64 { word << count | word >> (64 - count) }
        func round() {
            v0 &+= v1
            v1 = rotate(v1, 13) ^ v0
            v0 = rotate(v0, 32)
            v2 &+= v3
            v3 = rotate(v3, 16) ^ v2
            v0 &+= v3
            v3 = rotate(v3, 21) ^ v0
            v2 &+= v1
            v1 = rotate(v1, 17) ^ v2
            v2 = rotate(v2, 32)
        }
        func absorb(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }
        for word in words { absorb(word) }
        absorb(lastWord)
        v2 ^= 0xFF
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }
}
