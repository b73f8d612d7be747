package import Mirrors
import Primitives
package import Wire

/// What a sender says before the first byte: which path of which mirror, with which epoch, and what its rsync can do.
///
/// Nothing in it is ever an argument of a program as it came: the other side builds its command from its own
/// configuration, and of this takes only letters that it knows.
package struct TransferRequest: Equatable, Sendable {
    package struct Options: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Access control lists go along, and extended attributes. Both sides have to say the same, or they misread each
        /// other.
        package static let acls = Options(rawValue: 1)
        package static let attributes = Options(rawValue: 2)
        package static let all: Options = [.acls, .attributes]
    }
    package var push: PushRequest
    package var options: Options
    /// rsync's own letters for what its version can do: what follows `e` in the short options to its server.
    package var capabilities: String

    package static let longestPath = 1_024
    package static let mostCapabilities = 40
    private static let version: UInt8 = 1

    package init(push: PushRequest, options: Options, capabilities: String) {
        self.push = push
        self.options = options
        self.capabilities = capabilities
    }

    package var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.integer(Self.version)
        writer.text(push.mirror.description)
        writer.text(push.path)
        writer.integer(push.epoch.number)
        writer.integer(push.run)
        writer.integer(options.rawValue)
        writer.text(capabilities)
        return writer.bytes
    }

    /// Fields that a later version appends are skipped.
    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.version, let mirror = ServiceName(try reader.text(limit: 48))
        else {
            throw .malformed
        }
        let path = try reader.text(limit: Self.longestPath)
        push = PushRequest(
            mirror: mirror, path: path, epoch: Epoch(try reader.integer()), run: try reader.integer())
        options = Options(rawValue: try reader.integer()).intersection(.all)
        capabilities = try reader.text(limit: Self.mostCapabilities)
        guard Self.isCapabilities(capabilities) else { throw .malformed }
    }

    /// A dot or a subprotocol like `3.1`, then letters: `.iLsfxCIvu`.
    package static func isCapabilities(_ text: String) -> Bool {
        let letters = text.utf8.drop { ($0 >= 48 && $0 <= 57) || $0 == 46 }
        return text.utf8.count <= mostCapabilities && text.contains(".")
            && letters.allSatisfy { ($0 >= 65 && $0 <= 90) || ($0 >= 97 && $0 <= 122) }
    }

    /// From the words that rsync wants to have run on the other machine; nil when they are not as expected.
    static func capabilities(in words: [String]) -> String? {
        guard let server = words.firstIndex(of: "--server"), words.count > server + 1 else { return nil }
        let short = words[server + 1]
        guard short.hasPrefix("-"), !short.hasPrefix("--"), let place = short.firstIndex(of: "e") else { return nil }
        let found = String(short[short.index(after: place)...])
        return isCapabilities(found) ? found : nil
    }
}
