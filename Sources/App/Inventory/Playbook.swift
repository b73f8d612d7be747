import Primitives
import YAML

/// What an inventory needs to know of a playbook: the groups its plays are for.
package struct Playbook: Equatable, Sendable {
    /// In the order in which the plays name them.
    package var groups: [String] = []

    /// Playbooks that import others that import others.
    private static let depth = 8
    private static let largest = YAML.Limits.playbook

    /// Names that Ansible gives a meaning of its own.
    private static let builtin: Set<String> = ["all", "ungrouped", "localhost", "127.0.0.1", "::1"]

    /// - Parameter read: the bytes of a file, by the path as written, from the folder of the file that names it.
    /// - Parameter isNode: whether a name is a node's: such a play is for a machine, not for a group.
    package static func read(
        _ path: String, isNode: (String) -> Bool, read: (String) throws -> [UInt8]
    ) throws -> Playbook {
        var playbook = Playbook()
        try playbook.take(path, depth: depth, isNode, read)
        guard !playbook.groups.isEmpty else {
            throw PlaybookError(
                problem: "no play of \(path) is for a group of hosts",
                remedy:
                    "name a group in it, like “hosts: web”; for every node without groups use bramble inventory --list")
        }
        return playbook
    }

    private mutating func take(
        _ path: String, depth: Int, _ isNode: (String) -> Bool, _ read: (String) throws -> [UInt8]
    ) throws {
        guard depth > 0 else {
            throw PlaybookError(
                problem: "playbooks import each other more than \(Self.depth) deep, last \(path)",
                remedy: "see whether two of them import each other")
        }
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let tree = try YAML.tree(try read(path), name: name, limits: Self.largest)
        guard let plays = tree.items else {
            throw PlaybookError(
                problem: "\(path) is not a playbook: it should be a list of plays",
                remedy: "begin each play with “- hosts: GROUP”")
        }
        for play in plays {
            if let other = play["import_playbook"] ?? play["ansible.builtin.import_playbook"], let text = other.text {
                // A name that is only known when Ansible runs.
                guard !text.contains("{{") else { continue }
                let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
                try take(text.hasPrefix("/") ? text : folder + text, depth: depth - 1, isNode, read)
            } else if let hosts = play["hosts"] {
                let patterns = hosts.text.map { [$0] } ?? hosts.items?.compactMap(\.text) ?? []
                for name in patterns.flatMap(Self.names) where !isNode(name) && !groups.contains(name) {
                    groups.append(name)
                }
            } else {
                throw PlaybookError(
                    problem: "\(path), line \(play.line): this play has no “hosts”",
                    remedy: "say which group it is for, like “hosts: web”")
            }
        }
    }

    /// The groups of a pattern such as `web:db:!old`: what is only known when Ansible runs, wildcards and excluded ones
    /// are none.
    private static func names(of pattern: String) -> [String] {
        guard !pattern.contains("{{") else { return [] }
        return pattern.split { $0 == ":" || $0 == "," }.compactMap { part in
            var name = part.drop { $0 == " " }
            while name.last == " " { name.removeLast() }
            if name.first == "!" || name.first == "~" { return nil }
            if name.first == "&" { name.removeFirst() }
            // web[0] is a host of web.
            if let bracket = name.firstIndex(of: "[") { name = name[..<bracket] }
            let isName = !name.isEmpty && name.allSatisfy { $0.isLetter || $0.isNumber || "_-.".contains($0) }
            return isName && !builtin.contains(String(name)) ? String(name) : nil
        }
    }
}

package struct PlaybookError: OperatorError, Equatable {
    package let problem: String
    package let remedy: String
}

extension YAML.Limits {
    /// 1 MiB: more than any playbook that people wrote by hand.
    fileprivate static var playbook: YAML.Limits {
        var limits = YAML.Limits()
        limits.bytes = 1 << 20
        limits.depth = 64
        limits.values = 100_000
        return limits
    }
}
