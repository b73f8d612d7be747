import CLinux
import Glibc
import Primitives

/// One network interface, as the kernel describes it.
struct NetworkLink: Equatable, Sendable {
    var index: Int32
    var name = ""
    /// What made it: "veth", "bridge", "wireguard"…; nil for hardware and for loopback.
    var kind: String?
    /// ARPHRD_…: 1 is Ethernet and Wi-Fi.
    var hardwareType: UInt16
    var flags: UInt32
    var address: [UInt8] = []
    /// What a macvlan or VLAN lies on; 0 for none.
    var parent: Int32 = 0
    /// IFLA_IFALIAS: a note that whoever made the link left on it.
    var alias = ""
    /// Settings of IPv4 on this interface, what sysctl(8) shows as net.ipv4.conf; by their IPV4_DEVCONF_… number less one.
    var settings: [UInt32] = []
    /// What is burnt in, whatever was set since; empty where the driver does not tell.
    var permanentAddress: [UInt8] = []

    var isLoopback: Bool { flags & UInt32(IFF_LOOPBACK) != 0 }
    var isEnabled: Bool { flags & UInt32(IFF_UP) != 0 }
    /// The kernel's IFF_RUNNING: enabled, and the other end of the cable or the access point is there.
    var hasCarrier: Bool { isEnabled && flags & UInt32(IFF_RUNNING) != 0 }
}

/// One address of an interface, as the kernel describes it.
struct NetworkAddress: Equatable, Sendable {
    var link: Int32
    var address: IPAddress
    var prefixLength: UInt8
    /// RT_SCOPE_…: 0 is everywhere, 253 this link, 254 this host.
    var scope: UInt8
    var flags: UInt32
    /// IFA_PROTO: who added it, as far as they said; 0 where the kernel (before 5.18) does not keep it.
    var origin: UInt8 = 0
    /// IFA_LABEL: version 4 only; the interface's name where nobody gave another.
    var label = ""
}

/// Reads interfaces and addresses over rtnetlink, which shows the network namespace this process is in. (/sys shows the
/// one that it was mounted in.)
enum Netlink {
    static func snapshot() throws(SystemError) -> (links: [NetworkLink], addresses: [NetworkAddress]) {
        let socket = try open(groups: 0)
        defer { close(socket) }
        // The kernel answers at once; this only bounds what cannot happen.
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let links = try dump(socket, RTM_GETLINK, sequence: 1).compactMap(link)
        let addresses = try dump(socket, RTM_GETADDR, sequence: 2).compactMap(address)
        return (links, addresses)
    }

    /// A routing socket, subscribed to the RTMGRP_… groups, not blocking when there are any.
    static func open(groups: UInt32) throws(SystemError) -> Int32 {
        let mode = groups == 0 ? 0 : Int32(SOCK_NONBLOCK.rawValue)
        let type = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | mode
        let handle = socket(AF_NETLINK, type, NETLINK_ROUTE)
        guard handle >= 0 else { throw SystemError() }
        var name = sockaddr_nl()
        name.nl_family = sa_family_t(AF_NETLINK)
        name.nl_groups = groups
        let code = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(handle, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
            }
        }
        guard code == 0 else {
            let error = SystemError()
            close(handle)
            throw error
        }
        return handle
    }

    struct Message {
        var type: UInt16
        var flags: UInt16 = 0
        var sequence: UInt32 = 0
        /// Of the socket that asked for the change; mostly the number of its process. 0 is the kernel itself.
        var port: UInt32 = 0
        var body: [UInt8]
    }

    /// The messages of one datagram, in order; what does not fit its own length ends the reading.
    static func messages(in datagram: ArraySlice<UInt8>) -> [Message] {
        var result: [Message] = []
        var rest = datagram
        while rest.count >= 16 {
            let length = Int(rest.native(UInt32.self, at: 0))
            guard length >= 16, length <= rest.count else { break }
            let start = rest.startIndex
            result.append(
                Message(
                    type: rest.native(UInt16.self, at: 4), flags: rest.native(UInt16.self, at: 6),
                    sequence: rest.native(UInt32.self, at: 8), port: rest.native(UInt32.self, at: 12),
                    body: Array(rest[(start + 16)..<(start + length)])))
            rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
        }
        return result
    }
    /// What a message of type NLMSG_ERROR says: 0 is success, else a number of errno.
    static func errorCode(_ message: Message) -> Int32 {
        guard message.body.count >= 4 else { return EIO }
        let code = message.body[...].native(Int32.self, at: 0)
        return code == .min ? EIO : -code
    }

    private static func dump(
        _ socket: Int32, _ type: some BinaryInteger, sequence: UInt32
    ) throws(SystemError) -> [Message] {
        // nlmsghdr (16 bytes) and an rtgenmsg padded to what the kernel asks of either request (ifinfomsg, 16 bytes).
        var request: [UInt8] = []
        request.append(native: UInt32(32))
        request.append(native: UInt16(type))
        request.append(native: UInt16(NLM_F_REQUEST | NLM_F_DUMP))
        request.append(native: sequence)
        request.append(native: UInt32(0))
        request += [UInt8](repeating: 0, count: 16)
        guard send(socket, request, request.count, 0) == request.count else { throw SystemError() }

        var messages: [Message] = []
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = recv(socket, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SystemError() }
            for message in Self.messages(in: buffer[..<count]) where message.sequence == sequence {
                switch Int32(message.type) {
                case NLMSG_DONE: return messages
                case NLMSG_ERROR: throw SystemError(code: errorCode(message))
                default: messages.append(message)
                }
            }
        }
    }

    /// The attributes of a message after its fixed part: type and content.
    static func attributes(_ bytes: ArraySlice<UInt8>) -> [(type: UInt16, value: ArraySlice<UInt8>)] {
        var result: [(UInt16, ArraySlice<UInt8>)] = []
        var rest = bytes
        while rest.count >= 4 {
            let length = Int(rest.native(UInt16.self, at: 0))
            guard length >= 4, length <= rest.count else { break }
            let type = rest.native(UInt16.self, at: 2) & 0x3FFF  // without the two flag bits
            result.append((type, rest[(rest.startIndex + 4)..<(rest.startIndex + length)]))
            rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
        }
        return result
    }
    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// From RTM_NEWLINK or RTM_DELLINK: ifinfomsg, then IFLA_… attributes.
    static func link(_ message: Message) -> NetworkLink? {
        guard message.type == UInt16(RTM_NEWLINK) || message.type == UInt16(RTM_DELLINK), message.body.count >= 16
        else { return nil }
        let body = message.body[...]
        var link = NetworkLink(
            index: body.native(Int32.self, at: 4), hardwareType: body.native(UInt16.self, at: 2),
            flags: body.native(UInt32.self, at: 8))
        for (type, value) in attributes(body.dropFirst(16)) {
            switch Int(type) {
            case Int(IFLA_IFNAME): link.name = text(value)
            case Int(IFLA_ADDRESS): link.address = Array(value)
            case Int(IFLA_LINK): if value.count == 4 { link.parent = value.native(Int32.self, at: 0) }
            case Int(IFLA_IFALIAS): link.alias = text(value)
            case Int(IFLA_PERM_ADDRESS): link.permanentAddress = Array(value)
            case Int(IFLA_AF_SPEC):
                let version4 = attributes(value).first { Int32($0.type) == AF_INET }
                let all = version4.flatMap { attributes($0.value).first { Int($0.type) == Int(IFLA_INET_CONF) } }
                guard let all else { break }
                link.settings = stride(from: 0, to: all.value.count & ~3, by: 4).map {
                    all.value.native(UInt32.self, at: $0)
                }
            case Int(IFLA_LINKINFO):
                link.kind = attributes(value).first { Int($0.type) == Int(IFLA_INFO_KIND) }.map { text($0.value) }
            default: break
            }
        }
        return link
    }

    /// From RTM_NEWADDR or RTM_DELADDR: ifaddrmsg, then IFA_… attributes.
    static func address(_ message: Message) -> NetworkAddress? {
        guard message.type == UInt16(RTM_NEWADDR) || message.type == UInt16(RTM_DELADDR), message.body.count >= 8 else {
            return nil
        }
        let body = message.body
        var flags = UInt32(body[2])
        var origin: UInt8 = 0
        var label = ""
        var remote: IPAddress?
        var local: IPAddress?
        for (type, value) in attributes(body.dropFirst(8)) {
            switch Int(type) {
            case Int(IFA_ADDRESS): remote = IPAddress(bytes: value)
            case Int(IFA_LOCAL): local = IPAddress(bytes: value)
            case Int(CLINUX_IFA_PROTO): origin = value.first ?? 0
            case Int(IFA_LABEL): label = text(value)
            case Int(IFA_FLAGS): if value.count == 4 { flags = value.native(UInt32.self, at: 0) }
            default: break
            }
        }
        // On a point-to-point link IFA_ADDRESS is the other end.
        guard let address = local ?? remote else { return nil }
        return NetworkAddress(
            link: body[...].native(Int32.self, at: 4), address: address, prefixLength: body[1], scope: body[3],
            flags: flags, origin: origin, label: label)
    }
}

/// The readers of this file as one, for a fuzzer.
package enum NetlinkReading {
    /// Reads everything that a datagram says about links and addresses; how many messages it held.
    package static func read(_ bytes: [UInt8]) -> Int {
        let messages = Netlink.messages(in: bytes[...])
        for message in messages {
            _ = Netlink.errorCode(message)
            _ = Netlink.link(message)
            _ = Netlink.address(message)
        }
        return messages.count
    }

    package static var examples: [[UInt8]] {
        var link = NetlinkRequest(RTM_NEWLINK, fixed: [0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0, 1, 0, 0, 0, 0, 0])
        link.add(IFLA_IFNAME, text: "eth0")
        link.add(IFLA_ADDRESS, [2, 0, 0, 0, 0, 1])
        link.nest(IFLA_LINKINFO) { $0.add(IFLA_INFO_KIND, text: "macvlan") }
        link.nest(IFLA_AF_SPEC) { families in
            families.nest(AF_INET) { $0.add(IFLA_INET_CONF, [UInt8](repeating: 1, count: 132)) }
        }
        var address = NetlinkRequest(RTM_NEWADDR, fixed: [2, 32, 0, 0, 2, 0, 0, 0])
        address.add(IFA_LOCAL, [10, 77, 0, 250])
        address.add(IFA_LABEL, text: "eth0:bramble")
        let all = [link, address].map { $0.encoded(sequence: 1, acknowledged: false) }
        return all + [all[0] + all[1]]
    }
}

extension Array<UInt8> {
    mutating func append(native number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number) { append(contentsOf: $0) }
    }
}
extension ArraySlice<UInt8> {
    /// In the machine's byte order, as netlink has it; the caller has checked the length.
    func native<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number {
        withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
    }
}
