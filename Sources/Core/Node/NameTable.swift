package import Membership
package import Primitives

/// The name each node goes by on every node: its own, or its own with a suffix where an older node has that name.
///
/// Computed from the member records alone, so all nodes that know the same members give the same names. Of two claimants
/// the one born earlier keeps the name; the others become `name-2`, `name-3` and so on, in order of birth.
package struct NameTable: Equatable, Sendable {
    package struct Conflict: Equatable, Sendable {
        package var wanted: NodeName
        package var keeper: NodeID
        package var renamed: NodeID
        package var given: NodeName
    }
    package private(set) var names: [NodeID: NodeName] = [:]
    /// What nodes that are removed went by, for telling of it.
    package private(set) var formerNames: [NodeID: NodeName] = [:]
    package private(set) var conflicts: [Conflict] = []
    private var holders: [NodeName: NodeID] = [:]

    /// `former` is the table before, which has the names of nodes that were removed since.
    package init(_ records: [MemberRecord], former: NameTable? = nil) {
        for record in records where record.rank == .removed {
            formerNames[record.id] =
                former?.name(of: record.id) ?? former?.formerNames[record.id] ?? record.profile.name
        }
        let claimants = records.filter { $0.rank != .removed }.sorted {
            ($0.profile.birth, $0.id) < ($1.profile.birth, $1.id)
        }
        var keepers: [NodeName: NodeID] = [:]
        for record in claimants where keepers[record.profile.name] == nil {
            keepers[record.profile.name] = record.id
            names[record.id] = record.profile.name
        }
        holders = keepers
        for record in claimants where names[record.id] == nil {
            let given = firstFree(after: record.profile.name)
            holders[given] = record.id
            names[record.id] = given
            conflicts.append(
                Conflict(
                    wanted: record.profile.name, keeper: keepers[record.profile.name]!, renamed: record.id,
                    given: given))
        }
    }

    package func name(of id: NodeID) -> NodeName? { names[id] }

    /// By name, ID or the code that people compare.
    package func id(of text: String) -> NodeID? {
        names.first {
            $0.value.description == text.lowercased() || $0.key.description == text.lowercased() || $0.key.code == text
        }?
        .key
    }

    /// Takes a record in without looking at the others; false when that is not enough, because a name is in question, and
    /// the table has to be made anew. Of a thousand nodes that join, hardly any needs that.
    package mutating func take(_ record: MemberRecord) -> Bool {
        let name = record.profile.name
        if names[record.id] == name, record.rank != .removed { return true }
        guard names[record.id] == nil, record.rank != .removed, holders[name] == nil else { return false }
        names[record.id] = name
        holders[name] = record.id
        formerNames[record.id] = nil
        return true
    }

    private func firstFree(after name: NodeName) -> NodeName {
        for number in 2...holders.count + 2 {
            let suffix = "-\(number)"
            // A label has at most 63 letters; the suffix is the part that must not be cut off.
            if let candidate = NodeName(name.description.prefix(63 - suffix.count) + suffix), holders[candidate] == nil
            {
                return candidate
            }
        }
        preconditionFailure("more names are taken than there are")
    }
}
