/// The keys of facts that the replication itself keeps in the database, so that every node knows them and finds them again.
package enum ReplicationFact {
    /// An operator said that what this origin wrote is taken as it is, whatever its clock said. Value: when, and on which node,
    /// for people.
    package static func released(_ origin: Origin) -> String { releases + origin.description }
    package static let releases = "released/"
    /// Whose life an origin is. It is in the first record that each origin writes. Value: `NodeID` as text.
    package static func writer(_ origin: Origin) -> String { writers + origin.description }
    package static let writers = "origin/"

    /// Only the replication needs it: nobody else is told.
    package static func isInternal(_ key: String) -> Bool { key.hasPrefix(releases) || key.hasPrefix(writers) }
}

extension Origin {
    /// Sixteen hexadecimal digits, as `description` writes it.
    package init?(_ text: some StringProtocol) {
        guard text.utf8.count == 16, let word = UInt64(text, radix: 16), word != 0 else { return nil }
        self.init(rawValue: word)
    }
}
