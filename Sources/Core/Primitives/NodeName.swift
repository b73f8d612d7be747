/// A node's name as people and `/etc/hosts` use it: a host label of RFC 1123.
///
/// 1 to 63 letters, digits and hyphens, no hyphen at either end; stored in lower case, because host names compare so.
package struct NodeName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let description: String

    package init?(_ text: some StringProtocol) {
        let lower = text.lowercased()
        let isLabel = lower.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
        guard (1...63).contains(lower.utf8.count), isLabel, !lower.hasPrefix("-"), !lower.hasSuffix("-") else {
            return nil
        }
        description = lower
    }

    package static let rule = "1 to 63 letters, digits and hyphens, starting and ending with a letter or digit"

    package static func < (left: NodeName, right: NodeName) -> Bool { left.description < right.description }
}
