import Membership
import Wire

enum MembershipCodec {
    static func encode(_ message: Message) -> [UInt8] { [1] }
    static func decode(_ bytes: [UInt8]) throws(ByteReader.Failure) -> Message { .placeholder }
}
