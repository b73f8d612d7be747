/// Who wrote an entry: one life of one database file. A new one is drawn when the file is made, restored, copied to another
/// machine, or found after an unclean end, so that no sequence number is ever used twice. Unit: 8 random bytes.
package struct Origin: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: Origin, right: Origin) -> Bool { left.rawValue < right.rawValue }
    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// The order of all writes: later time wins, and of two at the same time the higher origin. Total, and the same everywhere.
package struct Stamp: Hashable, Comparable, Sendable {
    package let time: HybridTime
    package let origin: Origin
    package init(_ time: HybridTime, _ origin: Origin) {
        self.time = time
        self.origin = origin
    }
    package static let zero = Stamp(.zero, Origin(rawValue: 0))
    package static func < (left: Stamp, right: Stamp) -> Bool {
        (left.time, left.origin) < (right.time, right.origin)
    }
}
