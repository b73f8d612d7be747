import Machine
import Primitives
import YAML

/// Takes any keys and any values, as deep as they go.
private struct Anything: Decodable {
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
    init(from decoder: any Decoder) throws {
        if var list = try? decoder.unkeyedContainer() {
            while !list.isAtEnd { _ = try list.decode(Anything.self) }
        } else if let mapping = try? decoder.container(keyedBy: Key.self) {
            for key in mapping.allKeys { _ = try mapping.decode(Anything.self, forKey: key) }
        }
    }
}
private struct Some: Decodable {
    struct Part: Decodable {
        var name: String
        var weight: Double?
    }
    var name: String?
    var port: UInt16?
    var parts: [Part]?
    var labels: [String: String]?
}

extension FuzzTarget {
    /// The configuration, and what will be given to `apply`.
    static let yaml = FuzzTarget("yaml", quickRuns: 1_500) {
        [
            "name: serv1\nport: 0x1e5b\nparts: [&a {name: x, weight: 1.5}, *a]\nlabels:\n  a: |\n    text\n  b: >-\n    x\n",
            "- a\n- {b: c}\n- \"x\\n\\u0041\"\n- ? k\n  : v\n",
        ].map { Array($0.utf8) }
    } check: { bytes in
        _ = try? YAML.decode(Some.self, from: bytes)
        _ = try? YAML.tree(bytes, name: "playbook.yml")
        do throws(YAMLError) {
            _ = try YAML.decode(Anything.self, from: bytes)
        } catch {
            if error.problem.contains("\n") { return "an error of several lines: \(error.problem)" }
        }
        return nil
    }

    /// A file of the data directory, as a power cut or a dying card left it.
    static let envelope = FuzzTarget("envelope") {
        [Envelope.seal(Array("{}".utf8)), Envelope.seal([])]
    } check: { bytes in
        guard let content = Envelope.open(bytes) else { return nil }
        return Envelope.seal(content) == bytes ? nil : "what was read was never written so"
    }

    /// What anybody on the network may send to a raw ICMP socket.
    static let echoReply = FuzzTarget("echoReply") {
        let secret: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
        let reply: [UInt8] = [0, 0, 0xAA, 0xBB, 0x12, 0x34, 0, 7] + secret
        return [reply, [0x45] + [UInt8](repeating: 0, count: 19) + reply, [129] + reply.dropFirst()]
    } check: { bytes in
        for (isV6, hasHeader) in [(false, false), (false, true), (true, false)] {
            let sequence = EchoReply.sequence(
                in: bytes, isV6: isV6, hasIPHeader: hasHeader, identifier: 0x1234, secret: [1, 2, 3, 4, 5, 6, 7, 8])
            if sequence != nil, bytes.count < 16 { return "an answer without our secret" }
        }
        return nil
    }
}

/// Who has which address, as anybody on the cable may say it: the frames that packet sockets hear.
extension FuzzTarget {
    static let neighbourFrame = FuzzTarget("neighbourFrame") {
        let card: [UInt8] = [2, 0, 0, 0, 0, 9]
        let arp: [UInt8] =
            [255, 255, 255, 255, 255, 255] + card + [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] + card + [10, 77, 0, 250]
            + [255, 255, 255, 255, 255, 255, 10, 77, 0, 250]
        let request = Array(arp[..<21]) + [1] + arp[22...]
        return [arp, request] + NeighbourFrame.examples
    } check: { bytes in
        guard let claim = NeighbourFrame.claim(in: bytes) else { return nil }
        if !claim.owner.isUsable { return "a claim by no single card: \(claim)" }
        if claim.address.isUnspecified || claim.address.isMulticastOrBroadcast { return "a claim to \(claim.address)" }
        // A claim is in the frame, byte for byte, not made up.
        let wanted = claim.address.bytes
        let isThere = bytes.indices.contains { bytes[$0...].starts(with: wanted) }
        return isThere ? nil : "\(claim.address) is not in the frame"
    }

    /// What the kernel tells about links and addresses. It is trusted, but a reader must not crash on a newer one.
    static let netlink = FuzzTarget("netlink") {
        NetlinkReading.examples
    } check: { bytes in
        let count = NetlinkReading.read(bytes)
        return count * 16 <= bytes.count ? nil : "\(count) messages in \(bytes.count) bytes"
    }
}
