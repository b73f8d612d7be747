import Primitives

extension Kind {
    /// One of the words of an enumeration.
    static func choice(_ placeholder: String? = nil) -> Kind
    where Value: CaseIterable & RawRepresentable<String> {
        let words = Value.allCases.map(\.rawValue)
        return Kind(
            placeholder: placeholder ?? words.joined(separator: "|"), allowed: words.joined(separator: ", "),
            completion: .words(words), parse: { Value(rawValue: $0) })
    }
}

extension Kind<String> {
    static func text(_ placeholder: String, allowed: String = "any text") -> Kind {
        Kind(placeholder: placeholder, allowed: allowed) { $0.isEmpty ? nil : $0 }
    }
    static let file = path("FILE", .files)
    static let directory = path("DIR", .directories)
    private static func path(_ placeholder: String, _ completion: ParameterSpec.Completion) -> Kind {
        Kind(placeholder: placeholder, allowed: "a path, at most 4095 bytes", completion: completion) {
            $0.isEmpty || $0.utf8.count > 4095 || $0.utf8.contains(0) ? nil : $0
        }
    }
    /// sockaddr_un has room for 107 bytes and the zero at the end.
    static let socket = Kind(placeholder: "PATH", allowed: "a path of at most 107 bytes", completion: .files) {
        $0.isEmpty || $0.utf8.count > 107 || $0.utf8.contains(0) ? nil : $0
    }
    /// A node as people name it. The daemon knows which ones there are.
    static let node = Kind(placeholder: "NAME", allowed: "a node's name, ID or code", completion: .nodes) {
        $0.isEmpty || $0.utf8.count > 255 ? nil : $0
    }
}

extension Kind<Int> {
    static func integer(_ placeholder: String, in range: ClosedRange<Int>) -> Kind {
        Kind(placeholder: placeholder, allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)") {
            Int($0).flatMap { range.contains($0) ? $0 : nil }
        }
    }
}

extension Kind<NodeName> {
    static let name = Kind(placeholder: "NAME", allowed: NodeName.rule) { NodeName($0) }
}

extension Kind<UInt16> {
    static let port = Kind(placeholder: "PORT", allowed: "a port number from 1 to 65535") {
        UInt16($0).flatMap { $0 > 0 ? $0 : nil }
    }
}

extension Kind<[IPAddress]> {
    /// Addresses at which one machine can be reached, separated by commas.
    static let addresses = Kind(
        placeholder: "IP[,IP...]",
        allowed: "IPv4 or IPv6 addresses of this machine, separated by commas, like 192.168.1.11"
    ) { text in
        let addresses = text.split(separator: ",", omittingEmptySubsequences: false).map { IPAddress($0) }
        let usable = addresses.compactMap(\.self).filter { !$0.isUnspecified && !$0.isMulticastOrBroadcast }
        guard usable.count == addresses.count, usable.count <= 16, Set(usable).count == usable.count else { return nil }
        return usable
    }
}

extension Kind<Endpoint> {
    /// Where to listen: an address of this machine or all of them (0.0.0.0, [::]), and a port.
    static let listen = Kind(
        placeholder: "ADDR:PORT", allowed: "an IP address and a port, like 0.0.0.0:8080 or [::]:8080"
    ) { text in
        // With 0 as the default a text without a port is told apart.
        Endpoint(text, defaultPort: 0).flatMap { $0.port == 0 || $0.address.isMulticastOrBroadcast ? nil : $0 }
    }
}

/// Somebody to ask: a host name or an address, and perhaps a port.
package struct HostAndPort: Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: UInt16?

    package init?(_ text: String) {
        if let address = IPAddress(text) {
            self.init(host: address.description, port: nil)
        } else if let endpoint = Endpoint(text, defaultPort: 0) {
            self.init(host: endpoint.address.description, port: endpoint.port == 0 ? nil : endpoint.port)
        } else {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard (1...2).contains(parts.count), Self.isHostName(parts[0]) else { return nil }
            guard parts.count == 2 else {
                self.init(host: text, port: nil)
                return
            }
            guard let port = UInt16(parts[1]), port > 0 else { return nil }
            self.init(host: String(parts[0]), port: port)
        }
    }
    private init(host: String, port: UInt16?) {
        self.host = host
        self.port = port
    }

    /// RFC 1123: labels with dots between, at most 253 characters; the last one is not all digits, or it would look
    /// like an address that is wrong.
    private static func isHostName(_ text: Substring) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        return text.utf8.count <= 253 && labels.allSatisfy { NodeName($0) != nil }
            && labels.last.map { !$0.allSatisfy(\.isNumber) } ?? false
    }

    package var description: String {
        guard let port else { return host }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

extension Kind<HostAndPort> {
    static let host = Kind(
        placeholder: "HOST[:PORT]",
        allowed: "a host name or an IP address, perhaps with a port, like serv1 or [fd00::1]:7771"
    ) { HostAndPort($0) }
}
