/// A service's name, and that of its mirrors, volumes and balancers: a word that is safe in a file name, a cgroup, an SQL
/// text and an environment variable's value.
package struct ServiceName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let description: String

    package init?(_ text: some StringProtocol) {
        let isWord = text.utf8.allSatisfy {
            (97...122).contains($0) || (65...90).contains($0) || (48...57).contains($0) || [45, 46, 95].contains($0)
        }
        let first = text.utf8.first.map { $0 != 45 && $0 != 46 } ?? false
        guard (1...48).contains(text.utf8.count), isWord, first else { return nil }
        description = String(text)
    }

    package static let rule = "1 to 48 letters, digits, hyphens, dots and underscores, not starting with - or ."

    package static func < (left: ServiceName, right: ServiceName) -> Bool { left.description < right.description }
}
