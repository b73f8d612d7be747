/// Remembers which of the last 1,024 counters arrived, so that a packet is taken once, in whatever order they come
/// (RFC 6479's ring of words).
struct ReplayWindow: Sendable {
    static let size: UInt64 = 1_024
    /// One word more than the window, so that moving it by a part of a word forgets nothing that counts.
    private static let words = Int(size / 64) + 1
    private var bits = [UInt64](repeating: 0, count: words)
    /// One more than the highest counter taken; 0 before the first.
    private var next: UInt64 = 0

    /// Whether a packet with this counter could be new. Ask before opening the seal, `take` after.
    func isNew(_ counter: UInt64) -> Bool {
        guard counter < .max else { return false }
        if counter >= next { return true }
        guard next - counter <= Self.size else { return false }
        return bits[Int(counter / 64) % Self.words] & (1 << (counter % 64)) == 0
    }

    mutating func take(_ counter: UInt64) {
        if counter >= next {
            // Words between the old and the new highest counter are from a round of the ring before this one.
            let first = next == 0 ? 0 : (next - 1) / 64 + 1
            let last = counter / 64
            if first <= last {
                for word in 0..<min(last - first + 1, UInt64(Self.words)) {
                    bits[Int((last - word) % UInt64(Self.words))] = 0
                }
            }
            next = counter + 1
        }
        bits[Int(counter / 64) % Self.words] |= 1 << (counter % 64)
    }
}
