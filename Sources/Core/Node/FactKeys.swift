package import Primitives
import Services

/// The keys under which shared facts are kept, in one place: whoever adds a kind of fact adds its key here. What only the
/// replication needs is in `ReplicationFact`.
package enum FactKey {
    /// Whether the core itself keeps and spreads it; everything else is in the database.
    package static func isTrust(_ key: String) -> Bool {
        key.hasPrefix(removals) || key.hasPrefix(approvals) || key.hasPrefix(clusterKeys) || key == admission
    }
    /// Trust facts that are rows of the database too. Cluster keys are not: a record goes to whoever asks for it, also to a
    /// removed node whose removal has not come here yet, and the new key is what shuts it out.
    package static func isCopied(_ key: String) -> Bool { isTrust(key) && !key.hasPrefix(clusterKeys) }

    /// Removed for good. Value: when (ISO 8601) and by whom, for people.
    package static func removed(_ id: NodeID) -> String { "\(removals)\(id)" }
    package static let removals = "removed/"
    /// An operator said yes to it, where admission is by approval.
    package static func approved(_ id: NodeID) -> String { "\(approvals)\(id)" }
    package static let approvals = "approved/"
    /// A member by its row in the database, however long it has been away. Value: its name.
    package static func member(_ id: NodeID) -> String { "\(members)\(id)" }
    package static let members = "member/"
    /// What operators call a node. Value: a JSON object of texts.
    package static func labels(_ id: NodeID) -> String { "\(labels)\(id)" }
    package static let labels = "label/"
    /// Cluster keys by version; the value is the key as `cluster.key` has it. The highest version is current.
    /// Ports of UDP balancers on which somebody listened at this node, and nobody does now.
    package static func silent(_ id: NodeID) -> String { "silent/\(id)" }

    package static func clusterKey(version: UInt32) -> String {
        let digits = String(version)
        return "\(clusterKeys)\(String(repeating: "0", count: 10 - digits.count))\(digits)"
    }
    package static let clusterKeys = "key/"
    /// `approve` or `key`: whether the cluster key alone admits a new node.
    package static let admission = "setting/admit"
    /// A volume that people have deleted and that may still be there. Value: where it was mounted.
    package static func deletedVolume(_ name: ServiceName) -> String { "\(deletedVolumes)\(name)" }
    package static let deletedVolumes = "deleted-volume/"
    /// A node that was removed while GlusterFS had it as a peer, until it has not.
    package static func formerPeer(_ name: NodeName) -> String { "\(formerPeers)\(name)" }
    package static let formerPeers = "former-peer/"
    /// `on`: chrony keeps the clocks of all nodes together.
    package static let clock = "setting/clock"
    package static func user(_ name: String) -> String { "user/\(name)" }
    package static let users = "user/"
    package static func token(_ name: String) -> String { "token/\(name)" }
    package static let tokens = "token/"
    /// What people ask for, and orders that last: a JSON object for each service, mirror … (`DesiredRow`).
    package static let desired = DesiredRow.prefix
}
