import Primitives

/// One difference between two desired states, in words.
package struct DesiredChange: Equatable, Sendable {
    package enum Kind: String, Sendable { case added, changed, removed }
    package var kind: Kind
    /// `services`, `mirrors` …
    package var part: String
    package var name: String
    /// One line for each value that differs: `run: systemd:smbd → exec:[/usr/sbin/smbd, -F]`.
    package var details: [String]
}

extension DesiredState {
    /// What has to change to get from here to `target`.
    package func changes(to target: DesiredState) -> [DesiredChange] {
        var changes: [DesiredChange] = []
        if Set(reach) != Set(target.reach) {
            let (old, new) = (
                DocumentText.list(reach.map(\.description)), DocumentText.list(target.reach.map(\.description))
            )
            let kind: DesiredChange.Kind = reach.isEmpty ? .added : target.reach.isEmpty ? .removed : .changed
            changes.append(DesiredChange(kind: kind, part: "reach", name: "reach", details: ["reach: \(old) → \(new)"]))
        }
        let (old, new) = (canonical, target.canonical)
        changes += compare("services", old.services, new.services, { $0.name }, DocumentText.lines)
        changes += compare("mirrors", old.mirrors, new.mirrors, { $0.name }, DocumentText.lines)
        changes += compare("volumes", old.volumes, new.volumes, { $0.name }, DocumentText.lines)
        changes += compare("balancers", old.balancers, new.balancers, { $0.name }, DocumentText.lines)
        changes += compare("fences", old.fences, new.fences, { $0.node }, DocumentText.lines)
        for statement in target.schema where !schema.contains(statement) {
            changes.append(DesiredChange(kind: .added, part: "schema", name: "schema", details: [statement]))
        }
        return changes
    }

    private func compare<Item: Equatable, Name: Hashable & Comparable & CustomStringConvertible>(
        _ part: String, _ old: [Item], _ new: [Item], _ name: (Item) -> Name, _ lines: (Item) -> [String]
    ) -> [DesiredChange] {
        let before = Dictionary(old.map { (name($0), $0) }) { first, _ in first }
        let after = Dictionary(new.map { (name($0), $0) }) { first, _ in first }
        return Set(before.keys).union(after.keys).sorted().compactMap { key in
            let (left, right) = (before[key], after[key])
            guard left != right else { return nil }
            let kind: DesiredChange.Kind = left == nil ? .added : right == nil ? .removed : .changed
            var details: [String] = []
            if let left, let right {
                let (a, b) = (values(lines(left)), values(lines(right)))
                for word in Set(a.keys).union(b.keys).sorted() where a[word] != b[word] {
                    details.append("\(word): \(a[word] ?? "(default)") → \(b[word] ?? "(default)")")
                }
            } else if let right {
                details = Array(lines(right).dropFirst())
            }
            return DesiredChange(kind: kind, part: part, name: key.description, details: details)
        }
    }

    private func values(_ lines: [String]) -> [String: String] {
        var result: [String: String] = [:]
        var owner = ""
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 1).map { String($0) }
            var key = parts[0]
            if key.hasPrefix("  ") {
                key = "\(owner).\(key.dropFirst(2))"
            } else {
                owner = key
            }
            let value = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : ""
            if !value.isEmpty { result[key] = value }
        }
        return result
    }
}
