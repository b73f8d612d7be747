/// An IP address, version 4 or 6, without a port. Scope numbers of link-local addresses are not part of it:
/// an address that only works on one interface of one machine is no use to a peer.
package enum IPAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Host order: 10.0.0.1 is 0x0A000001.
    case v4(UInt32)
    /// Two halves, host order.
    case v6(high: UInt64, low: UInt64)

    package init?(_ text: some StringProtocol) {
        if let address = IPAddress.parseV4(text) {
            self = .v4(address)
        } else if let (high, low) = IPAddress.parseV6(text) {
            self = .v6(high: high, low: low)
        } else {
            return nil
        }
    }

    /// From 4 or 16 bytes, network order.
    package init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self = .v6(
                high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) })
        default: return nil
        }
    }

    /// 4 or 16 bytes, network order.
    package var bytes: [UInt8] {
        switch self {
        case .v4(let word): (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) }
        case .v6(let high, let low):
            [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * UInt64($0))) } }
        }
    }

    package var isLoopback: Bool {
        switch self {
        case .v4(let word): word >> 24 == 127
        case .v6(let high, let low): high == 0 && low == 1
        }
    }
    /// 169.254.0.0/16 and fe80::/10.
    package var isLinkLocal: Bool {
        switch self {
        case .v4(let word): word >> 16 == 0xA9FE
        case .v6(let high, _): high >> 54 == 0x3FA
        }
    }
    package var isUnspecified: Bool {
        switch self {
        case .v4(let word): word == 0
        case .v6(let high, let low): high == 0 && low == 0
        }
    }
    /// 224.0.0.0/4, 255.255.255.255 and ff00::/8: never one machine.
    package var isMulticastOrBroadcast: Bool {
        switch self {
        case .v4(let word): word >> 28 == 14 || word == .max
        case .v6(let high, _): high >> 56 == 0xFF
        }
    }

    package var description: String {
        switch self {
        case .v4: return bytes.map { String($0) }.joined(separator: ".")
        case .v6(let high, let low):
            // RFC 5952: lower case, the longest run of two or more zero groups becomes "::", the first of equals.
            let groups = [high, low].flatMap { word in
                (0..<4).map { UInt16(truncatingIfNeeded: word >> (48 - 16 * UInt64($0))) }
            }
            var best = 0..<0
            var start = 0
            while start < 8 {
                var end = start
                while end < 8, groups[end] == 0 { end += 1 }
                if end - start > max(best.count, 1) { best = start..<end }
                start = max(end, start + 1)
            }
            let text = { (slice: ArraySlice<UInt16>) in slice.map { String($0, radix: 16) }.joined(separator: ":") }
            return best.isEmpty
                ? text(groups[...]) : text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
        }
    }

    private static func parseV4(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var word: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ $0.isASCII && $0.isNumber }),
                part.count == 1 || part.first != "0", let byte = UInt8(part)
            else { return nil }
            word = word << 8 | UInt32(byte)
        }
        return word
    }

    private static func parseV6(_ text: some StringProtocol) -> (UInt64, UInt64)? {
        guard text.utf8.count <= 45, text.contains(":") else { return nil }
        // Dual notation: ::ffff:10.0.0.1
        var body = String(text)
        if body.contains("."), let colon = body.lastIndex(of: ":") {
            guard let word = parseV4(body[body.index(after: colon)...]) else { return nil }
            body = body[...colon] + String(word >> 16, radix: 16) + ":" + String(word & 0xFFFF, radix: 16)
        }
        func groups(_ part: Substring) -> [UInt16]? {
            guard !part.isEmpty else { return [] }
            var result: [UInt16] = []
            for group in part.split(separator: ":", omittingEmptySubsequences: false) {
                guard (1...4).contains(group.count), group.allSatisfy(\.isHexDigit), let word = UInt16(group, radix: 16)
                else { return nil }
                result.append(word)
            }
            return result
        }
        var all: [UInt16]
        if let gap = body.firstRange(of: "::") {
            guard let head = groups(body[..<gap.lowerBound]), let tail = groups(body[gap.upperBound...]),
                head.count + tail.count < 8
            else { return nil }
            all = head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
        } else {
            guard let whole = groups(body[...]), whole.count == 8 else { return nil }
            all = whole
        }
        return (all[..<4].reduce(0) { $0 << 16 | UInt64($1) }, all[4...].reduce(0) { $0 << 16 | UInt64($1) })
    }
}

/// Where packets are sent: an IP address and a port.
package struct Endpoint: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var address: IPAddress
    package var port: UInt16

    package init(_ address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// `10.0.0.1`, `10.0.0.1:7771`, `fd00::1` or `[fd00::1]:7771`.
    package init?(_ text: some StringProtocol, defaultPort: UInt16) {
        if let address = IPAddress(text) {
            self.init(address, port: defaultPort)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
        else { return nil }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard let address = IPAddress(host) else { return nil }
        self.init(address, port: port)
    }

    package var description: String {
        if case .v6 = address { "[\(address)]:\(port)" } else { "\(address):\(port)" }
    }
    package static func < (left: Endpoint, right: Endpoint) -> Bool {
        left.address != right.address ? left.address < right.address : left.port < right.port
    }
}
