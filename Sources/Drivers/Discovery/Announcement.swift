package import Primitives

/// What a machine tells the local network about itself in the TXT record of its `_bramble._tcp` service.
///
/// A member tells no name: who does not have the cluster key learns a tag, an identity, a port and a version.
package struct Announcement: Hashable, Sendable {
    package enum Role: Hashable, Sendable {
        /// A node of the cluster with this tag (the hexadecimal digits of it).
        case member(tag: String)
        /// A machine without a cluster key, which waits to be invited, under the name it would like.
        case waiting(name: NodeName)
    }
    /// The version of Bramble's protocol, 1 to 65535. Others are shown, not understood.
    package var version: UInt16
    package var id: NodeID
    package var role: Role

    package init(version: UInt16, id: NodeID, role: Role) {
        self.version = version
        self.id = id
        self.role = role
    }

    package var isWaiting: Bool { if case .waiting = role { true } else { false } }
}

/// Why the content of a TXT record is not an announcement.
package enum AnnouncementError: Error, Equatable {
    case tooLong, truncated, noVersion, noID, noRole
}

extension Announcement {
    /// A TXT record in use has about 100 bytes; RFC 6763 §6.2 advises against more than 1,300.
    static let maximumSize = 1300
    static let maximumTag = 64

    /// The strings of the TXT record: `v=1`, `id=…`, and `tag=…` or `w=1` with `name=…`.
    var strings: [String] {
        let head = ["v=\(version)", "id=\(id)"]
        return switch role {
        case .member(let tag): head + ["tag=\(tag)"]
        case .waiting(let name): head + ["w=1", "name=\(name)"]
        }
    }

    /// The record's content on the wire: each string behind its length.
    package var encoded: [UInt8] { strings.flatMap { [UInt8($0.utf8.count)] + $0.utf8 } }

    /// Reads the record's content as it came over the network. Unknown keys are skipped, of a key given twice the first
    /// counts, and upper and lower case of keys are the same (RFC 6763 §6.4).
    package init(encoded bytes: [UInt8]) throws(AnnouncementError) {
        guard bytes.count <= Self.maximumSize else { throw .tooLong }
        var values: [String: ArraySlice<UInt8>] = [:]
        var place = 0
        while place < bytes.count {
            let length = Int(bytes[place])
            guard place + 1 + length <= bytes.count else { throw .truncated }
            let entry = bytes[(place + 1)..<(place + 1 + length)]
            place += 1 + length
            guard let equals = entry.firstIndex(of: UInt8(ascii: "=")), equals > entry.startIndex else { continue }
            let key = String(decoding: entry[..<equals], as: UTF8.self).lowercased()
            if values[key] == nil { values[key] = entry[(equals + 1)...] }
        }
        func text(_ key: String) -> String? { values[key].flatMap { String(validating: $0, as: UTF8.self) } }

        guard let version = text("v").flatMap({ UInt16($0) }), version > 0 else { throw .noVersion }
        guard let id = text("id").flatMap({ NodeID($0) }) else { throw .noID }
        let role: Role
        if text("w") == "1" {
            guard let name = text("name").flatMap({ NodeName($0) }) else { throw .noRole }
            role = .waiting(name: name)
        } else {
            guard let tag = text("tag"), (1...Self.maximumTag).contains(tag.utf8.count),
                tag.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) })
            else { throw .noRole }
            role = .member(tag: tag)
        }
        self.init(version: version, id: id, role: role)
    }
}
