package import Primitives

/// What makes a machine able to join: 256 random bits, with the cluster's name and a version that grows when the key is
/// changed. It never prints its secret; `text` is the only way out, for the file `cluster.key` and for an invitation.
package struct ClusterKey: Equatable, Sendable, CustomStringConvertible {
    package static let secretSize = 32
    /// More than any key line; a file that is longer is something else.
    package static let maximumTextSize = 512

    package let name: String
    /// 1 for a new cluster; one more each time a removal rotates the key.
    package let version: UInt32
    /// What can be seen of the key from outside: lets a node tell its own cluster from others without a try.
    package let tag: ClusterTag
    private let secret: Secret

    package init(name: NodeName, version: UInt32, secret: Secret) {
        precondition(secret.count == Self.secretSize && version > 0, "a cluster key has 32 bytes and a version above 0")
        self.name = name.description
        self.version = version
        self.secret = secret
        let label = Array("bramble cluster tag 1 \(version) \(name)".utf8)
        tag = ClusterTag(bytes: MAC.sha256(label, key: secret).prefix(ClusterTag.size))!
    }

    /// A new cluster's first key.
    package static func generate(name: NodeName) -> ClusterKey {
        ClusterKey(name: name, version: 1, secret: .random(secretSize))
    }
    /// The key that follows this one, unrelated to it: who knows only the old one learns nothing of the new one.
    package func rotated() -> ClusterKey {
        ClusterKey(name: NodeName(name)!, version: version + 1, secret: .random(Self.secretSize))
    }

    /// A key for one purpose, from which nobody finds the cluster key or that of another purpose.
    package func derived(for purpose: String) -> Secret {
        var bytes = MAC.sha256(Array("bramble key for \(purpose)".utf8), key: secret)
        defer { bytes.wipe() }
        return Secret(bytes)
    }

    package var description: String { "cluster key \(version) of “\(name)”" }

    // MARK: The line in cluster.key

    private static let format = "bramble-key-1"

    /// `bramble-key-1 NAME VERSION SECRET CHECK`: the secret is 64 hexadecimal digits, the check the first 8 of the
    /// SHA-256 of what precedes it. It is the secret itself: file mode 0600, never into a log.
    package var text: String {
        let body = "\(Self.format) \(name) \(version) \(secret.withBytes { Hexadecimal.encode($0) })"
        return "\(body) \(Self.check(body))"
    }

    /// Reads `text`. Empty lines, lines that begin with `#`, a byte order mark and a carriage return are skipped: the file
    /// is carried about on SD cards and edited on any system.
    package init(text: String) throws(ClusterKeyError) {
        guard text.utf8.count <= Self.maximumTextSize else { throw .notAKey }
        var lines = Self.lines(of: text)
        guard let line = lines.popLast() else { throw .empty }
        guard lines.isEmpty else { throw .severalKeys }
        try self.init(line: line)
    }

    fileprivate static func lines(of text: String) -> [Substring] {
        let body = text.unicodeScalars.first == "\u{FEFF}" ? text.dropFirst() : text[...]
        return body.split(whereSeparator: \.isNewline).filter { line in
            !line.allSatisfy(\.isWhitespace) && line.first { !$0.isWhitespace } != "#"
        }
    }

    fileprivate init(line: Substring) throws(ClusterKeyError) {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard let format = words.first, format.hasPrefix("bramble-key-") else { throw .notAKey }
        guard format == Self.format else { throw .unknownFormat(String(format.prefix(40))) }
        guard words.count == 5 else { throw .damaged }
        guard Self.check(words.dropLast().joined(separator: " ")) == words[4].lowercased() else { throw .damaged }
        guard let name = NodeName(words[1]), name.description == words[1], let version = UInt32(words[2]), version > 0,
            var bytes = Hexadecimal.decode(words[3]), bytes.count == Self.secretSize
        else { throw .damaged }
        defer { bytes.wipe() }
        self.init(name: name, version: version, secret: Secret(bytes))
    }

    private static func check(_ body: String) -> String { Hexadecimal.encode(SHA256.hash(Array(body.utf8)).prefix(4)) }
}

/// 8 bytes that tell clusters apart and give nothing away: a truncated HMAC under the cluster key. 16 hexadecimal digits.
package struct ClusterTag: Hashable, Comparable, Sendable, CustomStringConvertible {
    package static let size = 8
    package let value: UInt64

    package init(value: UInt64) { self.value = value }
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.size else { return nil }
        value = bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
    package init?(_ text: some StringProtocol) {
        guard let bytes = Hexadecimal.decode(text) else { return nil }
        self.init(bytes: bytes)
    }
    package var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) } }
    package var description: String { Hexadecimal.encode(bytes) }
    package static func < (left: ClusterTag, right: ClusterTag) -> Bool { left.value < right.value }
}

/// The current cluster key and those before it. Older ones let a member that slept through a rotation back in; for
/// anybody else they are worth nothing.
package struct ClusterKeyRing: Equatable, Sendable, CustomStringConvertible {
    /// A member that was away for more rotations than this needs the new `cluster.key` carried to it.
    package static let maximumOlder = 8

    package private(set) var current: ClusterKey
    /// Newest first.
    package private(set) var older: [ClusterKey]

    package init(current: ClusterKey, older: [ClusterKey] = []) {
        self.current = current
        self.older = []
        for key in older { add(key) }
    }

    /// Takes a key in, whatever the order keys arrive in: the highest version is the current one. Two removals at once
    /// can make two keys of one version; the higher tag wins on every node.
    package mutating func add(_ key: ClusterKey) {
        let all = ([current] + older).filter { $0 != key } + [key]
        let sorted = all.sorted { $0.version != $1.version ? $0.version > $1.version : $0.tag > $1.tag }
        current = sorted[0]
        older = Array(sorted.dropFirst().prefix(Self.maximumOlder))
    }

    package func key(with tag: ClusterTag) -> ClusterKey? {
        current.tag == tag ? current : older.first { $0.tag == tag }
    }

    package var description: String { "\(current), \(older.count) older" }

    /// The current key's line, then one line for each older key. A file with one line is a ring without older keys.
    package var text: String { ([current] + older).map { $0.text + "\n" }.joined() }

    package init(text: String) throws(ClusterKeyError) {
        guard text.utf8.count <= ClusterKey.maximumTextSize * (Self.maximumOlder + 1) else { throw .notAKey }
        var keys: [ClusterKey] = []
        for line in ClusterKey.lines(of: text) { keys.append(try ClusterKey(line: line)) }
        guard let first = keys.first else { throw .empty }
        guard keys.allSatisfy({ $0.name == first.name }) else { throw .severalKeys }
        self.init(current: first, older: Array(keys.dropFirst()))
    }
}

package enum ClusterKeyError: OperatorError, Equatable {
    case empty, notAKey, unknownFormat(String), damaged, severalKeys

    package var problem: String {
        switch self {
        case .empty: "the cluster key file is empty"
        case .notAKey: "the cluster key file does not hold a cluster key"
        case .unknownFormat(let format): "the cluster key has a format that this version does not know: \(format)"
        case .damaged: "the cluster key is damaged: a part is missing or a digit is wrong"
        case .severalKeys: "the cluster key file holds keys of more than one cluster"
        }
    }
    package var remedy: String {
        switch self {
        case .unknownFormat: "install the version of Bramble that the other nodes run"
        case .severalKeys: "keep the line of the cluster that this machine shall join, remove the others"
        case .empty, .notAKey, .damaged:
            "copy cluster.key from a member again, or make a new cluster with: bramble init --cluster NAME"
        }
    }
}

/// Two lower-case digits a byte.
package enum Hexadecimal {
    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }
    /// Upper or lower case, nothing else between.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        func value(_ digit: UInt8) -> UInt8? {
            switch digit {
            case 48...57: digit - 48
            case 65...70: digit - 55
            case 97...102: digit - 87
            default: nil
            }
        }
        let digits = Array(text.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = value(digits[index]), let low = value(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }
}
