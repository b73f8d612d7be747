/// Why a datagram was dropped. Each has a counter in `/metrics`.
package enum DropReason: String, CaseIterable, Sendable {
    /// Not one of ours: wrong first bytes, or nonsense under a right seal.
    case junk
    /// Shorter than its kind needs.
    case truncated
    /// Longer than any of ours.
    case oversized
    /// Taken already, or too old to tell; or a hello that is not bound to our latest challenge.
    case replayed
    /// Under a cluster key we do not have.
    case foreign
    /// For a session we do not have: its sender, or we, restarted.
    case unknownSession
    /// The seal does not fit: damaged, forged, or under another key.
    case badSeal
    /// From an identity that is not admitted.
    case refused
    /// More than we answer in this time.
    case rateLimited
}

/// What the datagram sessions did since the start; for `/metrics`.
package struct SessionCounters: Equatable, Sendable {
    private var drops = [UInt64](repeating: 0, count: DropReason.allCases.count)
    package internal(set) var datagramsIn: UInt64 = 0
    package internal(set) var datagramsOut: UInt64 = 0
    package internal(set) var bytesIn: UInt64 = 0
    package internal(set) var bytesOut: UInt64 = 0
    /// Sessions opened since the start.
    package internal(set) var opened: UInt64 = 0
    /// Payloads not sent for lack of a session; a handshake was begun instead.
    package internal(set) var withoutSession: UInt64 = 0

    package subscript(reason: DropReason) -> UInt64 { drops[DropReason.allCases.firstIndex(of: reason)!] }
    mutating func drop(_ reason: DropReason) { drops[DropReason.allCases.firstIndex(of: reason)!] += 1 }
    package var droppedInAll: UInt64 { drops.reduce(0, +) }
}
