package import Primitives

/// The six bytes by which Ethernet and Wi-Fi know a network card.
package struct HardwareAddress: Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.bytes = Array(bytes)
    }
    /// `02:00:00:00:00:01`
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.allSatisfy({ (1...2).contains($0.count) && $0.allSatisfy(\.isHexDigit) }) else { return nil }
        self.init(bytes: parts.compactMap { UInt8($0, radix: 16) })
    }
    /// Of the group that every card belongs to.
    static let broadcast = HardwareAddress(bytes: [UInt8](repeating: 0xFF, count: 6))!
    /// One card, and not none: what an interface may have.
    package var isUsable: Bool { bytes[0] & 1 == 0 && bytes.contains { $0 != 0 } }

    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

/// Who has which address: the Ethernet frames of ARP (RFC 826, 5227) and of IPv6 neighbour discovery (RFC 4861).
package enum NeighbourFrame {
    /// Somebody says that an address is theirs.
    package struct Claim: Equatable, Sendable {
        package var address: IPAddress
        package var owner: HardwareAddress
    }

    // MARK: Ours

    /// Asks who has the address without saying who we are, so that nobody's table changes by it.
    static func probe(for address: IPAddress, from hardware: HardwareAddress) -> [UInt8] {
        switch address {
        case .v4:
            return arp(isReply: false, from: hardware, [0, 0, 0, 0], to: nil, address.bytes)
        case .v6:
            // To the group of those whose address ends like this one (RFC 4291, 2.7.1), from nobody.
            let tail = address.bytes.suffix(3)
            let group: [UInt8] = [0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF] + tail
            return icmp(
                [135, 0, 0, 0, 0, 0, 0, 0] + address.bytes, from: hardware, [UInt8](repeating: 0, count: 16),
                to: [0x33, 0x33, 0xFF] + tail, group)
        }
    }

    /// Tells everybody that the address is here. For ARP in both forms, since some hosts and switches only heed one.
    static func announcement(of address: IPAddress, at hardware: HardwareAddress) -> [[UInt8]] {
        switch address {
        case .v4:
            return [false, true].map {
                arp(isReply: $0, from: hardware, address.bytes, to: $0 ? .broadcast : nil, address.bytes)
            }
        case .v6:
            let override: UInt8 = 0x20
            let everybody: [UInt8] = [0xFF, 2] + [UInt8](repeating: 0, count: 13) + [1]
            return [
                icmp(
                    [136, 0, 0, 0, override, 0, 0, 0] + address.bytes + [2, 1] + hardware.bytes, from: hardware,
                    address.bytes, to: [0x33, 0x33, 0, 0, 0, 1], everybody)
            ]
        }
    }

    /// - Parameter to: nil in a request, where it is what is asked for.
    private static func arp(
        isReply: Bool, from hardware: HardwareAddress, _ sender: [UInt8], to: HardwareAddress?, _ target: [UInt8]
    ) -> [UInt8] {
        let ethernet = HardwareAddress.broadcast.bytes + hardware.bytes + [8, 6]
        let kind: [UInt8] = [0, 1, 8, 0, 6, 4, 0, isReply ? 2 : 1]
        return ethernet + kind + hardware.bytes + sender + (to?.bytes ?? [0, 0, 0, 0, 0, 0]) + target
    }

    private static func icmp(
        _ message: [UInt8], from hardware: HardwareAddress, _ source: [UInt8], to: [UInt8], _ target: [UInt8]
    ) -> [UInt8] {
        let size: [UInt8] = [UInt8(message.count >> 8), UInt8(message.count & 0xFF)]
        let sum = checksum(message, addresses: source + target)
        var body = message
        (body[2], body[3]) = (UInt8(sum >> 8), UInt8(sum & 0xFF))
        let ethernet: [UInt8] = to + hardware.bytes + [0x86, 0xDD]
        let version: [UInt8] = [0x60, 0, 0, 0]
        return ethernet + version + size + [58, 255] + source + target + body
    }
    /// Over the addresses, the length and the protocol as well (RFC 8200, 8.1).
    private static func checksum(_ message: [UInt8], addresses: [UInt8]) -> UInt16 {
        let size: [UInt8] = [0, 0, UInt8(message.count >> 8), UInt8(message.count & 0xFF)]
        return InternetChecksum.of(addresses + size + [0, 0, 0, 58] + message)
    }

    /// What good input looks like, for a fuzzer to start from.
    package static var examples: [[UInt8]] {
        let hardware = HardwareAddress(bytes: [2, 0, 0, 0, 0, 9])!
        let addresses = [IPAddress.v4(0x0A4D_00FA), .v6(high: 0xFD77_0000_0000_0000, low: 0x250)]
        return addresses.flatMap { announcement(of: $0, at: hardware) + [probe(for: $0, from: hardware)] }
    }

    // MARK: Others'

    /// What a frame from the network claims; nil when it is something else or damaged. A question claims its sender's own
    /// address; a probe, which has none, claims nothing.
    package static func claim(in frame: some Collection<UInt8>) -> Claim? {
        let bytes = Array(frame.prefix(1514))
        guard bytes.count >= 14 else { return nil }
        switch (bytes[12], bytes[13]) {
        case (8, 6): return arpClaim(bytes[14...])
        case (0x86, 0xDD): return icmpClaim(bytes[14...], sender: HardwareAddress(bytes: bytes[6..<12])!)
        default: return nil
        }
    }

    private static func arpClaim(_ slice: ArraySlice<UInt8>) -> Claim? {
        let body = Array(slice)
        guard body.count >= 28, body[0..<6].elementsEqual([0, 1, 8, 0, 6, 4]), body[6] == 0,
            body[7] == 1 || body[7] == 2, let owner = HardwareAddress(bytes: body[8..<14]),
            let address = IPAddress(bytes: body[14..<18]), owner.isUsable, !address.isUnspecified,
            !address.isMulticastOrBroadcast
        else { return nil }
        return Claim(address: address, owner: owner)
    }

    /// A neighbour advertisement that came from this link (hop limit 255 shows it) and whose sum is right.
    private static func icmpClaim(_ slice: ArraySlice<UInt8>, sender: HardwareAddress) -> Claim? {
        let body = Array(slice)
        guard body.count >= 40, body[0] >> 4 == 6, body[6] == 58, body[7] == 255 else { return nil }
        let length = Int(body[4]) << 8 | Int(body[5])
        guard length >= 24, body.count >= 40 + length else { return nil }
        let message = Array(body[40..<(40 + length)])
        guard message[0] == 136, message[1] == 0, let address = IPAddress(bytes: message[8..<24]),
            !address.isMulticastOrBroadcast, !address.isUnspecified
        else { return nil }
        guard checksum(message, addresses: Array(body[8..<40])) == 0 else { return nil }
        var owner = sender
        var place = 24
        while place + 8 <= length {
            let size = Int(message[place + 1]) * 8
            guard size > 0, place + size <= length else { return nil }
            if message[place] == 2, let told = HardwareAddress(bytes: message[(place + 2)..<(place + 8)]) {
                owner = told
            }
            place += size
        }
        return owner.isUsable ? Claim(address: address, owner: owner) : nil
    }
}
