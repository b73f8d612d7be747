import CLinux
import Glibc
import Primitives

/// Changes addresses and links over rtnetlink: 0.02 ms each, where a run of `ip` takes 3.
final class LinkControl {
    /// What marks a link as ours, for the next start to find it.
    static let alias = "bramble"

    private let socket: NetlinkSocket
    init() throws(SystemError) { socket = try NetlinkSocket(NETLINK_ROUTE) }
    /// By which notifications tell our changes from those of others.
    var port: UInt32 { socket.port }

    // MARK: Addresses

    /// Adds a floating address, alone: no network comes with it, no duplicate is waited for (we have asked ourselves), and
    /// nothing we send of our own accord has it as its source.
    ///
    /// - Parameters:
    ///   - lifetime: after this the kernel takes it away by itself, in case that nobody else does any more.
    ///   - length: less than all bits brings a route to that network along.
    ///   - isNew: refuse with EEXIST what is there already; else only the lifetime is changed.
    func add(
        _ address: IPAddress, length: UInt8, on index: Int32, named interface: String, lifetime: Duration, isNew: Bool
    ) throws(SystemError) {
        let (noDuplicateSearch, noNetworkRoute) = (UInt32(0x02), UInt32(0x200))  // IFA_F_NODAD, IFA_F_NOPREFIXROUTE
        let seconds = UInt32(clamping: max(1, lifetime.nanoseconds / 1_000_000_000))
        var request = NetlinkRequest(
            RTM_NEWADDR, flags: NLM_F_CREATE | (isNew ? NLM_F_EXCL : NLM_F_REPLACE),
            fixed: Self.header(address, index, length))
        Self.name(address, in: &request)
        if !address.isV6 { request.add(IFA_LABEL, text: NetworkAddress.floatingLabel(on: interface)) }
        request.add(CLINUX_IFA_PROTO, [NetworkAddress.floatingOrigin])
        let isAlone = length == (address.isV6 ? 128 : 32)
        request.add(IFA_FLAGS, native: noDuplicateSearch | (isAlone ? noNetworkRoute : 0))
        // ifa_cacheinfo: preferred, valid, two stamps that are the kernel's. A version 6 address that is not preferred
        // answers as any other, but is not chosen as a source.
        let preferred = address.isV6 ? 0 : seconds
        var lifetimes: [UInt8] = []
        for number in [preferred, seconds, 0, 0] { lifetimes.append(native: number) }
        request.add(IFA_CACHEINFO, lifetimes)
        try socket.perform(request)
    }

    /// What is not there is as good as removed.
    func remove(_ address: IPAddress, length: UInt8, from index: Int32) throws(SystemError) {
        var request = NetlinkRequest(RTM_DELADDR, fixed: Self.header(address, index, length))
        Self.name(address, in: &request)
        do throws(SystemError) {
            try socket.perform(request)
        } catch {
            guard error.code == EADDRNOTAVAIL || error.code == ENODEV else { throw error }
        }
    }

    /// ifaddrmsg: family, prefix length, flags, scope, interface.
    private static func header(_ address: IPAddress, _ index: Int32, _ length: UInt8) -> [UInt8] {
        let family = UInt8(address.isV6 ? AF_INET6 : AF_INET)
        var bytes: [UInt8] = [family, length, 0, 0]
        bytes.append(native: index)
        return bytes
    }
    private static func name(_ address: IPAddress, in request: inout NetlinkRequest) {
        request.add(IFA_LOCAL, address.bytes)
        request.add(IFA_ADDRESS, address.bytes)
    }

    // MARK: Links

    /// A second network card on top of another, with a hardware address of its own; down at first, without any address.
    func makeVirtual(_ name: String, on parent: Int32, hardware: HardwareAddress) throws(SystemError) {
        var request = NetlinkRequest(RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, fixed: Self.header(0))
        request.add(IFLA_IFNAME, text: name)
        request.add(IFLA_LINK, native: parent)
        request.add(IFLA_ADDRESS, hardware.bytes)
        Self.addMacvlan(to: &request)
        try socket.perform(request)
        // Marks it, and keeps it from making a link-local address out of a hardware address that two nodes have.
        let noAddress: UInt8 = 1  // IN6_ADDR_GEN_MODE_NONE
        var marks = NetlinkRequest(RTM_NEWLINK, fixed: Self.header(0))
        marks.add(IFLA_IFNAME, text: name)
        marks.add(IFLA_IFALIAS, Array(Self.alias.utf8))
        marks.nest(IFLA_AF_SPEC) { families in
            families.nest(AF_INET6) { $0.add(IFLA_INET6_ADDR_GEN_MODE, [noAddress]) }
        }
        do throws(SystemError) {
            try socket.perform(marks)
        } catch {
            // A kernel without IPv6 knows no such family, and makes no such address.
            guard error.code == EAFNOSUPPORT else { throw error }
            var alias = NetlinkRequest(RTM_NEWLINK, fixed: Self.header(0))
            alias.add(IFLA_IFNAME, text: name)
            alias.add(IFLA_IFALIAS, Array(Self.alias.utf8))
            try socket.perform(alias)
        }
    }

    /// Whether the kernel can make a macvlan: a request that lacks its parent is refused in one way where it can, and in
    /// another where it does not know the kind. Nil where we may not ask.
    func canMakeVirtual() -> Bool? {
        var request = NetlinkRequest(RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, fixed: Self.header(0))
        request.add(IFLA_IFNAME, text: "bramble-probe")
        Self.addMacvlan(to: &request)
        do throws(SystemError) {
            try socket.perform(request)
            return true
        } catch {
            switch error.code {
            case EINVAL: return true
            case EOPNOTSUPP: return false
            default: return nil
            }
        }
    }

    private static func addMacvlan(to request: inout NetlinkRequest) {
        let isPrivate: UInt32 = 1  // MACVLAN_MODE_PRIVATE: it need not talk to the interface below
        request.nest(IFLA_LINKINFO) { info in
            info.add(IFLA_INFO_KIND, text: "macvlan")
            info.nest(IFLA_INFO_DATA) {
                $0.add(IFLA_MACVLAN_MODE, native: isPrivate)
            }
        }
    }

    func removeLink(_ index: Int32) throws(SystemError) {
        do throws(SystemError) {
            try socket.perform(NetlinkRequest(RTM_DELLINK, fixed: Self.header(index)))
        } catch {
            guard error.code == ENODEV else { throw error }
        }
    }

    func set(_ index: Int32, isUp: Bool) throws(SystemError) {
        try socket.perform(NetlinkRequest(RTM_NEWLINK, fixed: Self.header(index, flags: isUp ? 1 : 0, change: 1)))
    }

    /// Where the driver refuses while the interface is up, it goes down for a moment.
    func setHardware(_ address: HardwareAddress, of index: Int32, isUp: Bool) throws(SystemError) {
        var request = NetlinkRequest(RTM_NEWLINK, fixed: Self.header(index))
        request.add(IFLA_ADDRESS, address.bytes)
        do throws(SystemError) {
            try socket.perform(request)
        } catch {
            guard error.code == EBUSY, isUp else { throw error }
            try set(index, isUp: false)
            defer { try? set(index, isUp: true) }
            try socket.perform(request)
        }
    }

    /// What `sysctl net.ipv4.conf.NAME` would, without /proc/sys, which the service's confinement makes read-only.
    func setSettings(_ settings: [(number: Int, value: UInt32)], of index: Int32) throws(SystemError) {
        var request = NetlinkRequest(RTM_NEWLINK, fixed: Self.header(index))
        request.nest(IFLA_AF_SPEC) { families in
            families.nest(AF_INET) { version4 in
                version4.nest(IFLA_INET_CONF) { all in
                    for one in settings { all.add(one.number, native: one.value) }
                }
            }
        }
        try socket.perform(request)
    }

    /// ifinfomsg: family, type, index, flags, which flags.
    private static func header(_ index: Int32, flags: UInt32 = 0, change: UInt32 = 0) -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0, 0]
        bytes.append(native: index)
        bytes.append(native: flags)
        bytes.append(native: change)
        return bytes
    }
}
