import Membership
import Primitives
import Wire

/// What one node's core says to another's: membership's messages and the node's own. The first byte tells which.
///
/// 1 to 63 belong to membership (`MembershipCodec`), 64 and up to the node.
enum NodeMessage: Equatable, Sendable {
    case membership(Message)
    /// Some or all shared facts, encoded. `wantsReply`: send back what you have beyond these.
    case facts([UInt8], wantsReply: Bool)
    /// To a node that was just removed, before its session is forgotten.
    case removalNotice(when: String)

    private enum Kind: UInt8 { case facts = 64, removalNotice = 65 }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .membership(let message): return MembershipCodec.encode(message)
        case .facts(let encoded, let wantsReply):
            writer.integer(Kind.facts.rawValue)
            writer.integer(UInt8(wantsReply ? 1 : 0))
            writer.raw(encoded)
        case .removalNotice(let when):
            writer.integer(Kind.removalNotice.rawValue)
            writer.text(when)
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        let first: UInt8 = try reader.integer()
        guard first >= 64 else {
            self = .membership(try MembershipCodec.decode(bytes))
            return
        }
        switch Kind(rawValue: first) {
        case .facts:
            let wantsReply = try reader.integer(UInt8.self) == 1
            self = .facts(Array(try reader.take(reader.remaining)), wantsReply: wantsReply)
        case .removalNotice: self = .removalNotice(when: try reader.text(limit: 128))
        case nil: throw .malformed
        }
        try reader.finish()
    }
}
