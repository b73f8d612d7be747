package import Primitives

/// The keys of facts that the replication itself keeps in the database, so that every node knows them and finds them again.
package enum ReplicationFact {
    /// An operator said that what this origin wrote is taken as it is, whatever its clock said. Value: when, and on which node,
    /// for people.
    package static func released(_ origin: Origin) -> String { releases + origin.description }
    package static let releases = "released/"
    /// Whose life an origin is. It is in the first record that each origin writes. Value: `NodeID` as text; of one that is to be
    /// forgotten a `Forgetting`.
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

/// That an origin is to be forgotten: the node is not a member any more, and every member had all that it wrote.
package struct Forgetting: Equatable, Sendable {
    package var node: NodeID
    /// All that it ever wrote.
    package var head: UInt64
    /// What whoever decided it had by then: with it all that any member had written before it acknowledged the head. Whoever has
    /// that, too, knows of nothing on its way that the origin's deletes would be needed for.
    package var basis: VersionVector

    package init(node: NodeID, head: UInt64, basis: VersionVector) {
        self.node = node
        self.head = head
        self.basis = basis
    }

    /// `NODE HEAD ORIGIN:SEQUENCE,…`
    package var text: String {
        "\(node) \(head) " + basis.origins.map { "\($0):\(basis[$0])" }.joined(separator: ",")
    }
    package init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, let node = NodeID(words[0]), let head = UInt64(words[1]), head > 0 else { return nil }
        var heads: [Origin: UInt64] = [:]
        for part in words[2].split(separator: ",") {
            let pair = part.split(separator: ":")
            guard pair.count == 2, let origin = Origin(pair[0]), let sequence = UInt64(pair[1]) else { return nil }
            heads[origin] = sequence
        }
        self.init(node: node, head: head, basis: VersionVector(heads))
    }
}
