import CLinux
import Glibc
import Logging
import Primitives
import Reactor

/// Watches over the addresses that are held: what others take away comes back.
extension AddressTakeover {
    /// Programs that manage addresses and, set up in a usual way, remove those they do not know.
    static let managers = [
        "NetworkManager", "systemd-network", "dhcpcd", "dhclient", "connmand", "ifplugd", "netplan", "keepalived",
    ]
    /// From then on within a minute the name of whoever does it is worth looking for.
    static let tolerated = 3
    /// From then on the answer waits a second: a fight at full speed helps nobody.
    static let patience = 20

    func listen() throws(SystemError) {
        // RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
        let descriptor = try Netlink.open(groups: 0x1 | 0x10 | 0x100)
        let watch = loop.watch(descriptor, for: .readable) { [weak self] _ in
            self?.assumeIsolated { $0.notified(descriptor) }
        }
        monitor = (descriptor, watch)
    }

    private func notified(_ descriptor: Int32) {
        var buffer = [UInt8](repeating: 0, count: 32 * 1024)
        for _ in 0..<64 {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0 {
                if errno == EINTR { continue }
                // Some were lost: look for ourselves.
                if errno == ENOBUFS { planLook() }
                return
            }
            for message in Netlink.messages(in: buffer[..<count]) { notice(message) }
        }
    }

    private func notice(_ message: Netlink.Message) {
        switch Int(message.type) {
        case Int(RTM_DELADDR):
            guard let gone = Netlink.address(message), let holding = holdings[gone.address], gone.link == holding.link,
                message.port != links?.port
            else { return }
            restore(gone.address, takenBy: message.port)
        case Int(RTM_NEWLINK), Int(RTM_DELLINK):
            guard let link = Netlink.link(message) else { return }
            let isUp = message.type == UInt16(RTM_NEWLINK) && link.hasCarrier
            guard let before = carriers[link.index] else {
                // A new interface may be the old one, plugged in again.
                if holdings.values.contains(where: { !$0.isPresent }) { planLook() }
                return
            }
            guard before != isUp else { return }
            carriers[link.index] = isUp
            Log.info("\(link.name) has \(isUp ? "a carrier again" : "lost its carrier")")
            handler(.carrier(interface: link.name, isUp: isUp))
            if isUp { returned(link.index) }
        default: break
        }
    }

    /// The network has forgotten us meanwhile, or taken somebody else for us.
    private func returned(_ link: Int32) {
        planLook()
        for (address, holding) in holdings.sorted(by: { $0.key < $1.key })
        where (virtualHomes[holding.link] ?? holding.link) == link { announce(address) }
    }

    func restore(_ address: IPAddress, takenBy port: UInt32) {
        guard var holding = holdings[address], let links else { return }
        let now = SystemClock.now
        holding.restorations.removeAll { now - $0 > .seconds(60) }
        guard holding.restorations.count < Self.patience || now - holding.restorations.last! >= .seconds(1) else {
            holding.isPresent = false
            holdings[address] = holding
            loop.schedule(after: .seconds(1)) { [weak self] in self?.assumeIsolated { $0.planLook() } }
            return
        }
        holding.restorations = holding.restorations.suffix(Self.patience) + [now]
        let recently = holding.restorations.count
        guard now < holding.until else { return }
        do throws(SystemError) {
            let lifetime = lifetime(until: holding.until, now: now)
            try links.add(
                address, length: holding.length, on: holding.link, named: holding.linkName, lifetime: lifetime,
                isNew: false)
            (holding.isPresent, holding.prolongAt) = (true, now + lifetime / 3)
            holdings[address] = holding
            announce(address)
            let culprit = culprit(port, isWorthSearching: recently > Self.tolerated)
            let often = recently > Self.tolerated ? ", for the \(recently)th time within a minute" : ""
            Log.warning(
                "\(culprit ?? "somebody") took \(address) from \(holding.linkName)\(often); it is there again")
            handler(.restored(address, by: culprit, recently: recently))
        } catch {
            holding.isPresent = false
            holdings[address] = holding
            handler(.missing(address, .refused(address, "put it back on \(holding.linkName)", error)))
        }
    }

    /// The kernel says whose socket asked for it: the number of the process, as a rule. One that has ended by now (`ip`)
    /// may have been started by a program that manages the network.
    private func culprit(_ port: UInt32, isWorthSearching: Bool) -> String? {
        if port != 0, port < 1 << 22, let name = firstLine("/proc/\(port)/comm") {
            return "\(name) (process \(port))"
        }
        guard isWorthSearching, let directory = opendir("/proc") else { return nil }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard Int(name) != nil, let program = firstLine("/proc/\(name)/comm"),
                Self.managers.contains(where: { program.hasPrefix($0) })
            else { continue }
            return "perhaps \(program) (process \(name))"
        }
        return nil
    }

    /// Soon, once for a burst of changes.
    func planLook() {
        guard !isLookPlanned else { return }
        isLookPlanned = true
        loop.schedule(after: .milliseconds(20)) { [weak self] in
            self?.assumeIsolated {
                $0.isLookPlanned = false
                $0.look()
            }
        }
    }

    /// Whether everything that is held is there; interfaces may have come back under another number.
    private func look() {
        guard let links, let first = holdings.keys.min(), let (there, addresses) = try? snapshot(first) else { return }
        for (address, holding) in holdings.sorted(by: { $0.key < $1.key }) {
            guard !addresses.contains(where: { $0.address == address && $0.link == holding.link }) else {
                holdings[address]?.isPresent = true
                continue
            }
            if !there.contains(where: { $0.index == holding.link }) {
                guard let place = try? ready(holding.floating, there, addresses, links) else { continue }
                try? enter(holding.floating, place, links)
                holdings[address]?.link = place.link
                holdings[address]?.linkName = place.name
                holdings[address]?.hardware = place.hardware
            }
            restore(address, takenBy: 0)
        }
    }
}
