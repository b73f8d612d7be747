/// How often the right to act for a service has changed hands: its fencing number. It only grows, on every node, for
/// ever; whoever acts with an older one is refused.
package struct Epoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let number: UInt64

    package init(_ number: UInt64) { self.number = number }

    /// Nobody has ever acted.
    package static let none = Epoch(0)
    package var next: Epoch { Epoch(number + 1) }
    package var description: String { String(number) }
    package static func < (left: Epoch, right: Epoch) -> Bool { left.number < right.number }
}

/// Why two nodes do not act for one service at once. Shown to people as it is.
package enum Guarantee: String, Hashable, Sendable {
    /// A majority of three or more voters agreed.
    case majority
    /// A witness broke the tie of two.
    case witness
    /// Whoever takes over has the other node switched off first.
    case fence
    /// Two nodes and a reach list: holds under any single fault.
    case singleFault = "single-fault"
    /// Nothing but the membership verdict.
    case bestEffort = "best-effort"
}
