import CLinux
import Glibc
package import Primitives

/// An address of a service, which moves from node to node.
package struct FloatingAddress: Hashable, Sendable {
    /// With which hardware address it answers.
    package enum Mode: Hashable, Sendable {
        /// That of the interface. Others learn of a move by our announcements. The default, right for nearly everybody.
        case own
        /// One of the service's own, 00:00:5e:00:01 and this number (1 to 255), on whichever node it is: for clients that
        /// do not heed announcements. Not for Wi-Fi, which knows one hardware address for each station.
        case virtual(UInt8)
        /// A given one, taken over from the failed node by an interface that is there for nothing else, as clusterd did.
        case takeover(spare: String, HardwareAddress)
    }
    package var address: IPAddress
    /// Nil to take the interface in whose network the address lies.
    package var interface: String?
    /// How many bits name its network; needed only where this machine has no address of its own in there.
    package var prefixLength: UInt8?
    package var mode: Mode

    package init(
        _ address: IPAddress, interface: String? = nil, prefixLength: UInt8? = nil, mode: Mode = .own
    ) {
        self.address = address
        self.prefixLength = prefixLength
        self.interface = interface
        self.mode = mode
    }

    /// RFC 5798, 7.3: kept free for virtual routers, so no card is made with it.
    package static func virtualHardware(_ number: UInt8) -> HardwareAddress {
        HardwareAddress(bytes: [0, 0, 0x5E, 0, 1, number])!
    }

    /// How many bits the address gets: as a rule all, so that it stands alone and nothing depends on it. But where the
    /// machine has no address of its own in that network, the floating one has to bring the way there.
    func length(on link: Int32, among addresses: [NetworkAddress]) -> UInt8 {
        let all: UInt8 = address.isV6 ? 128 : 32
        guard let prefixLength, prefixLength < all else { return all }
        let isKnown = addresses.contains {
            $0.link == link && !$0.isFloating && address.lies(in: $0.address, prefixLength: $0.prefixLength)
        }
        return isKnown ? all : prefixLength
    }

    /// The interface whose network the address lies in: the narrowest network, then one with a carrier, then the first.
    func home(links: [NetworkLink], addresses: [NetworkAddress]) throws(TakeoverError) -> NetworkLink {
        if let interface {
            guard let link = links.first(where: { $0.name == interface }) else {
                throw .noInterface(address, named: interface, there: links.map(\.name))
            }
            return link
        }
        let candidates = addresses.compactMap { network -> (NetworkLink, UInt8)? in
            guard !network.isFloating, address.lies(in: network.address, prefixLength: network.prefixLength),
                let link = links.first(where: { $0.index == network.link }), link.isEnabled, !link.isLoopback
            else { return nil }
            return (link, network.prefixLength)
        }
        let best = candidates.max { left, right in
            (left.1, left.0.hasCarrier ? 1 : 0, -left.0.index) < (right.1, right.0.hasCarrier ? 1 : 0, -right.0.index)
        }
        guard let best else { throw .noInterface(address, named: nil, there: links.map(\.name)) }
        return best.0
    }
}

extension IPAddress {
    /// In the network, and not the network's only address.
    func lies(in network: IPAddress, prefixLength: UInt8) -> Bool {
        let (ours, theirs) = (bytes, network.bytes)
        guard ours.count == theirs.count, Int(prefixLength) < ours.count * 8 else { return false }
        let whole = Int(prefixLength) / 8
        guard ours[..<whole] == theirs[..<whole] else { return false }
        let mask = ~UInt8(truncatingIfNeeded: 0xFF >> (Int(prefixLength) % 8))
        return ours[whole] & mask == theirs[whole] & mask
    }
}

extension NetworkAddress {
    /// In IFA_PROTO, which numbers who adds addresses; those below 4 are the kernel's. A b for Bramble.
    static let floatingOrigin: UInt8 = 0x62
    /// For kernels before 5.18. The interface comes first, by custom.
    static func floatingLabel(on interface: String) -> String { "\(interface.prefix(7)):bramble" }

    /// One that a service has, put there by us now or in a run that crashed.
    var isFloating: Bool { origin == Self.floatingOrigin || label.hasSuffix(":bramble") }
}

/// Why an address cannot be taken.
package enum TakeoverError: OperatorError, Equatable {
    case noInterface(IPAddress, named: String?, there: [String])
    /// An address of this machine itself, from its own configuration.
    case configuredHere(IPAddress, interface: String)
    case unsuitable(IPAddress, String)
    case noRight(IPAddress)
    case noGate(SystemError)
    case refused(IPAddress, String, SystemError)

    package var problem: String {
        switch self {
        case .noInterface(let address, let name?, _): "\(address) is to be on \(name), which this machine does not have"
        case .noInterface(let address, nil, _): "\(address) lies in no network of this machine"
        case .configuredHere(let address, let interface):
            "\(address) is configured on this machine for good, on \(interface): it cannot move to another"
        case .unsuitable(let address, let why): "\(address) cannot be a service's address: \(why)"
        case .noRight(let address): "the right to \(address) has run out before it was there"
        case .noGate(let error): "the kernel cannot guard floating addresses: \(error)"
        case .refused(let address, let what, let error): "\(address): cannot \(what): \(error)"
        }
    }
    package var remedy: String {
        switch self {
        case .noInterface(_, _, let there):
            "name one of these interfaces, or give one an address in that network: \(there.joined(separator: ", "))"
        case .configuredHere: "take it out of the network's configuration, or give the service another address"
        case .unsuitable: "give the service an address that one machine of the network can have"
        case .noRight: "nothing to do: it is tried again with the next right; if it stays, this machine is overloaded"
        case .noGate(let error):
            error.code == EPERM || error.code == EACCES
                ? "run the daemon as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
                : "use a kernel with nf_tables for inet and arp; `bramble doctor` tells what is missing"
        case .refused(_, _, let error):
            error.code == EPERM || error.code == EACCES
                ? "run the daemon as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
                : "look at the interface with `ip -d address`, and at the kernel's messages with `dmesg`"
        }
    }
}
