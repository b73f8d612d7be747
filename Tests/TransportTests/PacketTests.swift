import Primitives
import Testing
import Wire

@Suite("datagrams are read as they were written, and junk is refused")
struct PacketTests {
    @Test("a challenge is never longer than the knock it answers")
    func amplification() {
        let salt = [UInt8](repeating: 1, count: Packet.saltSize)
        let knock =
            Packet.header(.knock, tag: 1, sender: 2, salt: salt).count + Packet.knockPadding + Packet.sealSize
        let challenge = Packet.header(.challenge, receiver: 2, salt: salt).count + Packet.cookieSize + Packet.sealSize
        #expect(knock == challenge)
        #expect(knock == Packet.challengeSize)
    }
}
