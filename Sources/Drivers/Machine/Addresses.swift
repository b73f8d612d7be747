import CLinux
import Glibc
import Logging
package import Primitives
package import Reactor

/// What this machine's network looks like to a peer.
package struct NetworkState: Equatable, Sendable {
    package struct Address: Equatable, Sendable {
        package var address: IPAddress
        package var prefixLength: UInt8
        package var interface: String
        package var index: Int32
    }
    /// Where peers can reach this node, the preferred one first; at most `maximumAddresses`.
    package var addresses: [Address]
    /// At least one of them is on an interface that has a carrier (cable plugged in, access point there).
    package var isUp: Bool

    /// As many as a member's profile takes.
    package static let maximumAddresses = 8
}

extension NetworkState {
    /// Chooses from all there is.
    ///
    /// Of interfaces that are enabled, the addresses that are valid everywhere (no link-local, tentative, deprecated,
    /// temporary or floating ones), and none of bridges that container and virtual machine managers make: those have the same
    /// address on every host. Interfaces with a carrier hide those without. Where nothing is left: IPv4 link-local
    /// (two machines on one cable, no DHCP), else loopback, which is not up. Addresses given by the operator are taken
    /// as they are; then up means that one of them is there with a carrier.
    ///
    /// Order: local networks before tunnels, IPv4 before IPv6, then as the kernel numbers the interfaces.
    static func choose(links: [NetworkLink], addresses: [NetworkAddress], configured: [IPAddress]) -> NetworkState {
        let links = Dictionary(links.map { ($0.index, $0) }) { first, _ in first }
        let present = addresses.filter { links[$0.link]?.isEnabled == true && !$0.isUnready && !$0.isFloating }
        func state(_ chosen: [NetworkAddress], isUp: Bool) -> NetworkState {
            NetworkState(
                addresses: chosen.prefix(maximumAddresses).map {
                    Address(
                        address: $0.address, prefixLength: $0.prefixLength, interface: links[$0.link]?.name ?? "",
                        index: $0.link)
                }, isUp: isUp)
        }
        guard configured.isEmpty else {
            let list = configured.prefix(maximumAddresses).map { wanted in
                present.first { $0.address == wanted }
                    ?? NetworkAddress(link: 0, address: wanted, prefixLength: 0, scope: 0, flags: 0)
            }
            return state(list, isUp: list.contains { links[$0.link]?.hasCarrier == true })
        }
        let candidates = present.filter { !(links[$0.link]!.isLoopback || links[$0.link]!.isForGuests) }
        let global = candidates.filter(\.isGlobal)
        let pool = global.isEmpty ? candidates.filter(\.isLinkLocalV4) : global
        let carried = pool.filter { links[$0.link]!.hasCarrier }
        let chosen = (carried.isEmpty ? pool : carried).sorted { left, right in
            func rank(_ one: NetworkAddress) -> (Int, Int, Int32) {
                let isV6 = if case .v6 = one.address { 1 } else { 0 }
                return (links[one.link]!.isTunnel ? 1 : 0, isV6, one.link)
            }
            return rank(left) != rank(right) ? rank(left) < rank(right) : left.address < right.address
        }
        guard chosen.isEmpty else { return state(chosen, isUp: !carried.isEmpty) }
        return state(present.filter { links[$0.link]!.isLoopback && !$0.address.isLinkLocal }, isUp: false)
    }
}

extension NetworkLink {
    fileprivate var isTunnel: Bool { hardwareType != 1 || kind == "wireguard" || kind == "tun" }
    /// Bridges by which programs connect guests of this host.
    fileprivate var isForGuests: Bool {
        guard kind == "bridge" else { return false }
        let isDockerNetwork = name.hasPrefix("br-") && name.count == 15 && name.dropFirst(3).allSatisfy(\.isHexDigit)
        return isDockerNetwork
            || ["docker", "virbr", "lxcbr", "lxdbr", "incusbr", "cni", "podman", "cbr", "kube-bridge"]
                .contains { name.hasPrefix($0) }
    }
}
extension NetworkAddress {
    fileprivate var isGlobal: Bool { scope == 0 && !address.isLinkLocal && !address.isMulticastOrBroadcast }
    fileprivate var isLinkLocalV4: Bool { if case .v4 = address { address.isLinkLocal } else { false } }
    /// Not to be told to others: not yet checked or failed to be unique, on its way out, or changing by design.
    fileprivate var isUnready: Bool {
        let temporary: UInt32 = 0x01
        let duplicateFound: UInt32 = 0x08
        let deprecated: UInt32 = 0x20
        let tentative: UInt32 = 0x40
        guard case .v6 = address else { return false }  // 0x01 is "secondary" there
        return flags & (temporary | duplicateFound | deprecated | tentative) != 0
    }
}

/// Follows the machine's addresses and links: one rtnetlink socket on the event loop.
///
/// A notification only says "look again", so a lost one (the kernel says ENOBUFS) costs nothing, and a burst of them is
/// one look: after the first, and again when it has been quiet for a moment.
package final class Addresses: @unchecked Sendable {
    /// Long enough to take a burst as one, short enough not to matter for detection.
    static let settle: Duration = .milliseconds(50)

    private let loop: EventLoop
    private let configured: [IPAddress]
    private let handler: @Sendable (NetworkState) -> Void
    private let socket: Int32
    private let latest: Locked<NetworkState>
    // On the loop only.
    private var watch: EventLoop.Registration?
    private var isLookPlanned = false

    /// Reads the state now, in the caller's network namespace, and then calls back on the loop at each change.
    ///
    /// - Parameter configured: addresses the operator gave; empty to choose by rule.
    package init(
        on loop: EventLoop, configured: [IPAddress] = [], _ handler: @escaping @Sendable (NetworkState) -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.configured = configured
        self.handler = handler
        // RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
        let opened = try Netlink.open(groups: 0x1 | 0x10 | 0x100)
        do throws(SystemError) {
            let (links, addresses) = try Netlink.snapshot()
            let state = NetworkState.choose(links: links, addresses: addresses, configured: configured)
            (socket, latest) = (opened, Locked(state))
        } catch {
            close(opened)
            throw error
        }
        loop.perform { [weak self] in
            guard let self else { return }
            self.watch = loop.watch(opened, for: .readable) { [weak self] _ in self?.notified() }
        }
    }
    deinit {
        let (loop, watch, socket) = (loop, watch, socket)
        loop.perform {
            if let watch { loop.cancel(watch) }
            close(socket)
        }
    }

    /// The state last seen. From any thread.
    package var current: NetworkState { latest.withLock { $0 } }

    private func notified() {
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while recv(socket, &buffer, buffer.count, 0) > 0 || errno == EINTR || errno == ENOBUFS {}
        guard !isLookPlanned else { return }
        isLookPlanned = true
        look()
        loop.schedule(after: Self.settle) { [weak self] in
            self?.isLookPlanned = false
            self?.look()
        }
    }

    private func look() {
        do throws(SystemError) {
            let (links, addresses) = try Netlink.snapshot()
            let state = NetworkState.choose(links: links, addresses: addresses, configured: configured)
            let isNew = latest.withLock { old in
                defer { old = state }
                return old != state
            }
            if isNew { handler(state) }
        } catch {
            Log.warning("cannot read this machine's addresses: \(error); trying again at the next change")
        }
    }
}
