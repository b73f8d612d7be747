package import BrambleAPI

/// A playbook's groups, filled with nodes.
package struct HostsFile: Sendable {
    package let groups: [(name: String, nodes: [NodeInfo])]

    /// Fills each group, in this order:
    ///
    /// 1. Nodes that are labelled for it, `role=GROUP` or a label `GROUP`, are its nodes; as many as its size says.
    /// 2. A group with a size gets so many of the nodes that are left, the least busy first.
    /// 3. The other groups share what is then left evenly, one node each at least.
    ///
    /// - Parameter candidates: who may be used, the least busy first. No node is used twice.
    package init(
        groups names: [String], sizes: [String: Int], candidates: [NodeInfo]
    ) throws(PlaybookError) {
        if let unknown = sizes.keys.sorted().first(where: { !names.contains($0) }) {
            throw PlaybookError(
                problem: "the playbook has no group “\(unknown)”",
                remedy: "its groups are: \(names.joined(separator: ", "))")
        }
        var left = candidates
        var chosen: [String: [NodeInfo]] = [:]
        var open: [String] = []
        for name in names {
            let labelled = left.filter { Self.isLabelled($0, name) }
            guard !labelled.isEmpty else {
                open.append(name)
                continue
            }
            if let size = sizes[name], labelled.count < size { throw Self.tooFew(name, size, labelled.count) }
            chosen[name] = Array(labelled.prefix(sizes[name] ?? labelled.count))
            left.removeAll { node in labelled.contains { $0.id == node.id } }
        }
        let unsized = open.filter { sizes[$0] == nil }
        for name in open {
            guard let size = sizes[name] else { continue }
            guard left.count >= size else { throw Self.tooFew(name, size, left.count) }
            chosen[name] = Array(left.prefix(size))
            left.removeFirst(size)
        }
        guard left.count >= unsized.count else {
            throw PlaybookError(
                problem: "\(candidates.count) nodes can be given work, too few for the groups "
                    + names.joined(separator: ", "),
                remedy: "see which ones: bramble nodes; a node on hold or drained is given none: bramble node resume")
        }
        for (place, name) in unsized.enumerated() {
            let share = left.count / (unsized.count - place) + (left.count % (unsized.count - place) > 0 ? 1 : 0)
            chosen[name] = Array(left.prefix(share))
            left.removeFirst(share)
        }
        groups = names.map { ($0, chosen[$0] ?? []) }
    }

    private static func isLabelled(_ node: NodeInfo, _ group: String) -> Bool {
        node.labels["role"] == group || node.labels[group] != nil
    }

    /// So many of them: who is labelled for one of the groups before who is only less busy. In the order in which they were.
    package static func choose(_ count: Int, of idle: [NodeInfo], for groups: [String]) -> [NodeInfo] {
        let labelled = idle.filter { node in groups.contains { isLabelled(node, $0) } }
        let others = idle.filter { node in !labelled.contains { $0.id == node.id } }
        let chosen = Set((labelled + others).prefix(count).map(\.id))
        return idle.filter { chosen.contains($0.id) }
    }

    private static func tooFew(_ group: String, _ size: Int, _ there: Int) -> PlaybookError {
        PlaybookError(
            problem: "the group “\(group)” should have \(size) nodes, and \(there) can be given to it",
            remedy: "ask for fewer, or see why others take no work: bramble nodes")
    }

    package var nodes: [NodeInfo] { groups.flatMap(\.nodes) }

    /// As Ansible's INI inventory; `remarks` become comments in front.
    package func text(remarks: [String]) -> String {
        var lines = remarks.map { "# \($0)" }
        for (name, nodes) in groups {
            lines += ["", "[\(name)]"]
            lines += nodes.map { "\($0.name) ansible_host=\($0.address)" }
        }
        lines += ["", "[all:vars]", "ansible_ssh_extra_args='\(Inventory.sshOptions)'"]
        return lines.joined(separator: "\n") + "\n"
    }
}
