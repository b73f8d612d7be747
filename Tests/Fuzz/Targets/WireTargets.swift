import Crypto
import Discovery
import Machine
import Primitives
import Wire

private let someID = NodeID(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
private let someHello = PeerHello(
    id: someID, generation: 3, incarnation: 4, name: NodeName("pi1")!,
    addresses: [Endpoint("10.0.0.1", defaultPort: 7771)!, Endpoint("fd00::1", defaultPort: 7771)!], software: "0.1",
    birth: 1)

extension FuzzTarget {
    /// A datagram as it comes from the socket.
    static let packet = FuzzTarget("packet") {
        let salt = [UInt8](1...16)
        let body = [UInt8](repeating: 7, count: 40)
        return [
            Packet.header(.knock, tag: 1, sender: 2, salt: salt)
                + [UInt8](repeating: 0, count: Packet.knockPadding + Packet.sealSize),
            Packet.header(.challenge, receiver: 2, salt: salt) + body,
            Packet.header(.hello, tag: 1, sender: 2, salt: salt) + body,
            Packet.header(.reply, receiver: 2, salt: salt) + body,
            Packet.header(.verdict, receiver: 2, salt: salt) + body, Packet.dataHeader(receiver: 9, counter: 1) + body,
        ]
    } check: { bytes in
        guard let packet = try? Packet(parsing: bytes) else { return nil }
        // Whatever is read must be what stands there: written again it is the same.
        let written: [UInt8] =
            switch packet {
            case .knock(let tag, let sender, let salt, let sealed), .hello(let tag, let sender, let salt, let sealed):
                Packet.header(packet.kind, tag: tag, sender: sender, salt: salt) + sealed
            case .challenge(let receiver, let salt, let sealed), .reply(let receiver, let salt, let sealed),
                .verdict(let receiver, let salt, let sealed):
                Packet.header(packet.kind, receiver: receiver, salt: salt) + sealed
            case .data(let receiver, let counter, let sealed):
                Packet.dataHeader(receiver: receiver, counter: counter) + sealed
            }
        return written == bytes ? nil : "read and written again, a packet differs"
    }

    /// What is under the seal of a hello, a reply or a verdict: only who has the cluster key gets here.
    static let handshake = FuzzTarget("handshake") {
        var body = HandshakeBody(
            proof: [UInt8](repeating: 1, count: HandshakeBody.helloProofSize),
            ephemeral: [UInt8](repeating: 2, count: 32),
            identity: [UInt8](repeating: 3, count: 32), hello: someHello)
        body.signature = [UInt8](repeating: 4, count: 64)
        let verdict = HandshakeVerdict(
            reason: .removed, identity: [UInt8](repeating: 3, count: 32), signature: [UInt8](repeating: 4, count: 64))
        return [body.encoded, verdict.encoded, someHello.encoded]
    } check: { bytes in
        for size in [HandshakeBody.helloProofSize, HandshakeBody.replyProofSize] {
            guard let body = try? HandshakeBody(encoded: bytes, proofSize: size) else { continue }
            guard body.encoded == bytes else { return "read and written again, a handshake body differs" }
        }
        if let verdict = try? HandshakeVerdict(encoded: bytes), verdict.encoded != bytes {
            return "read and written again, a verdict differs"
        }
        if let hello = try? PeerHello(encoded: bytes) {
            guard (try? PeerHello(encoded: hello.encoded)) == hello else { return "a hello does not survive" }
            guard hello.encoded.count <= PeerHello.maximumSize else { return "a hello is too long to be sent" }
        }
        return nil
    }

    /// The bytes of a stream, in portions that the first byte chooses.
    static let frames = FuzzTarget("frames") {
        let one = Frame(.core, payload: [1, 2, 3]).encoded
        let two = Frame(.hello, version: 2, channel: 7, payload: []).encoded
        return [[1] + one + two, [200] + two + one + one, [5] + [UInt8](repeating: 255, count: 12)]
    } check: { bytes in
        guard let portion = bytes.first.map({ max(1, Int($0)) }) else { return nil }
        let stream = Array(bytes.dropFirst())
        func read(_ portion: Int) -> (frames: [Frame], failure: FrameReader.Failure?) {
            var reader = FrameReader(limit: 4_096)
            var frames: [Frame] = []
            var rest = stream[...]
            while !rest.isEmpty {
                reader.append(rest.prefix(portion))
                rest = rest.dropFirst(portion)
                do throws(FrameReader.Failure) {
                    while let frame = try reader.next() { frames.append(frame) }
                } catch { return (frames, error) }
            }
            return (frames, nil)
        }
        let (pieces, whole) = (read(portion), read(stream.count))
        guard pieces.frames == whole.frames, pieces.failure == whole.failure else {
            return "in portions of \(portion) other frames come out than in one"
        }
        let written = pieces.frames.flatMap(\.encoded)
        return stream.starts(with: written) ? nil : "read and written again, frames differ"
    }

    /// What is in the frames that strangers may send.
    static let streamMessages = FuzzTarget("streamMessages") {
        [
            StreamHello(role: .member, software: "0.1").encoded,
            Invitation(key: "bramble-key-1 home 1 00 00", members: someHello.addresses).encoded,
        ]
    } check: { bytes in
        if let hello = try? StreamHello(encoded: bytes), (try? StreamHello(encoded: hello.encoded)) == nil {
            return "a stream's hello does not survive"
        }
        if let invitation = try? Invitation(encoded: bytes),
            (try? Invitation(encoded: invitation.encoded)) != invitation
        {
            return "an invitation does not survive"
        }
        return nil
    }

    /// A question about a node's clock, or the answer.
    static let clockMessage = FuzzTarget("clockMessage") {
        var answer = ClockMessage(asked: 1_700_000_000_000_000_000)
        (answer.came, answer.went) = (answer.asked + 100_000, answer.asked + 200_000)
        (answer.source, answer.error, answer.isSynchronized) = ("10.0.0.1", 50_000, true)
        return [ClockMessage(asked: 1).encoded, answer.encoded]
    } check: { bytes in
        guard let message = try? ClockMessage(decoding: bytes) else { return nil }
        if message.offset(answeredAt: 1_700_000_000_000_000_000).error < 0 { return "an error below nothing" }
        guard message.source.count <= 60 else { return nil }  // cut off when it is written
        return (try? ClockMessage(decoding: message.encoded)) == message
            ? nil : "a question of the time does not survive"
    }

    /// Identifiers of a fixed size, wherever they stand.
    static let identifiers = FuzzTarget("identifiers") {
        [4, 6, 8, 16, 32].map { [UInt8](repeating: 7, count: $0) }
    } check: { bytes in
        if let address = IPAddress(bytes: bytes), address.bytes != bytes { return "\(address) is of other bytes" }
        if let id = NodeID(bytes: bytes), id.bytes != bytes { return "\(id) is of other bytes" }
        if let card = HardwareAddress(bytes: bytes), card.bytes != bytes { return "\(card) is of other bytes" }
        if let tag = ClusterTag(bytes: bytes), tag.bytes != bytes { return "\(tag) is of other bytes" }
        if let key = PublicKey(raw: bytes) {
            if key.raw != bytes { return "a key is of other bytes" }
            _ = key.isValid(signature: bytes + bytes, of: bytes)
        }
        return nil
    }

    /// The TXT record of a machine on the local network.
    static let announcement = FuzzTarget("announcement") {
        [
            Announcement(version: 1, id: someID, role: .member(tag: "0123456789abcdef")).encoded,
            Announcement(version: 1, id: someID, role: .waiting(name: NodeName("pi1")!)).encoded,
        ]
    } check: { bytes in
        guard let announcement = try? Announcement(encoded: bytes) else { return nil }
        return (try? Announcement(encoded: announcement.encoded)) == announcement
            ? nil : "an announcement does not survive"
    }

    /// The file cluster.key, from an SD card or an invitation.
    static let clusterKey = FuzzTarget("clusterKey") {
        let key = ClusterKey(name: NodeName("home")!, version: 2, secret: Secret([UInt8](0..<32)))
        return [Array(key.text.utf8), Array("# a comment\r\n\(key.text)\r\n".utf8), Array("bramble-key-2 x".utf8)]
    } check: { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        if let key = try? ClusterKey(text: text), (try? ClusterKey(text: key.text)) != key {
            return "a cluster key does not survive"
        }
        if let ring = try? ClusterKeyRing(text: text), (try? ClusterKeyRing(text: ring.text)) != ring {
            return "a key ring does not survive"
        }
        _ = try? Identity(pem: bytes)
        return nil
    }

    /// Addresses, names and hashes that people and peers write as text.
    static let text = FuzzTarget("text") {
        ["10.0.0.1:7771", "[fd00::1]:80", "::ffff:10.0.0.1", "pi-1", "0123456789abcdef0123456789abcdef"].map {
            Array($0.utf8)
        } + [Array(PasswordHash(of: "x", cost: .init(logN: 4, r: 8, p: 1)).description.utf8)]
    } check: { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        if let endpoint = Endpoint(text, defaultPort: 7771),
            Endpoint(endpoint.description, defaultPort: 1) != endpoint
        {
            return "the endpoint \(endpoint) does not survive"
        }
        if let address = IPAddress(text), IPAddress(address.description) != address {
            return "the address \(address) does not survive"
        }
        if let name = NodeName(text), NodeName(name.description) != name { return "the name \(name) does not survive" }
        if let id = NodeID(text), NodeID(id.description) != id { return "the ID \(id) does not survive" }
        if let hash = PasswordHash(text), PasswordHash(hash.description) != hash { return "a hash does not survive" }
        return nil
    }
}
