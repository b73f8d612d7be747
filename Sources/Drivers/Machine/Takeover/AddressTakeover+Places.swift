import CLinux
import Glibc
import Logging
import Primitives
import Reactor

/// Where an address goes: interfaces, hardware addresses, and what of the machine's settings that takes.
extension AddressTakeover {
    struct Place {
        /// The interface that gets the address, and the one whose cable it uses: the same but for a virtual one.
        var link: Int32
        var name: String
        var length: UInt8
        var hardware: HardwareAddress
        var isUp: Bool
        /// The address is there already, from us.
        var hasLeftover: Bool
    }

    /// Does beforehand what takes long: opens sockets, makes virtual interfaces, changes settings. Without it the first
    /// `hold` does it.
    package func prepare(_ floating: [FloatingAddress]) throws(TakeoverError) {
        guard let first = floating.first?.address else { return }
        guard let links else { throw .noGate(SystemError(code: ENOTCONN)) }
        let (there, addresses) = try snapshot(first)
        for one in floating { _ = try ready(one, there, addresses, links) }
    }

    func ready(
        _ one: FloatingAddress, _ there: [NetworkLink], _ addresses: [NetworkAddress], _ control: LinkControl
    ) throws(TakeoverError) -> Place {
        let address = one.address
        guard !address.isLoopback, !address.isMulticastOrBroadcast, !address.isUnspecified, !address.isLinkLocal else {
            throw .unsuitable(address, "it is no address that a network knows one machine by")
        }
        if let own = addresses.first(where: { $0.address == address && !$0.isFloating }) {
            throw .configuredHere(address, interface: there.first { $0.index == own.link }?.name ?? "?")
        }
        let home = try one.home(links: there, addresses: addresses)
        guard !home.isLoopback, home.hardwareType == 1, let hardware = HardwareAddress(bytes: home.address) else {
            throw .unsuitable(address, "\(home.name) is no Ethernet or Wi-Fi interface")
        }
        let upper = try upper(one, home, there, addresses)
        carriers[home.index] = home.hasCarrier
        var place = Place(
            link: home.index, name: home.name, length: one.length(on: home.index, among: addresses), hardware: hardware,
            isUp: home.isEnabled, hasLeftover: false)
        do throws(SystemError) {
            switch one.mode {
            case .own: try openSocket(for: address, on: home.index)
            case .virtual(let number):
                place.hardware = FloatingAddress.virtualHardware(number)
                (place.link, place.name, place.isUp) = try virtualLink(number, on: home, there, control)
                // Frames of it leave through the interface below, and what others say is heard there.
                try openSocket(for: address, on: home.index)
                virtualHomes[place.link] = home.index
            case .takeover(_, let taken):
                (place.link, place.name) = (upper.index, upper.name)
                (place.hardware, place.isUp) = (taken, upper.isEnabled)
                if let before = HardwareAddress(bytes: upper.address), before != taken {
                    try journal.note(.hardware(interface: upper.name, before: before))
                }
                if !upper.isEnabled { try journal.note(.wasDown(interface: upper.name)) }
                try settle(home, upper: upper, control)
                try openSocket(for: address, on: upper.index)
            }
        } catch {
            throw .refused(address, "prepare \(home.name)", error)
        }
        place.hasLeftover = addresses.contains { $0.address == address && $0.link == place.link }
        return place
    }

    /// The interface that gives its hardware address up for another; the home itself in the other modes.
    private func upper(
        _ one: FloatingAddress, _ home: NetworkLink, _ there: [NetworkLink], _ addresses: [NetworkAddress]
    ) throws(TakeoverError) -> NetworkLink {
        switch one.mode {
        case .own: return home
        case .virtual(let number):
            guard number > 0 else { throw .unsuitable(one.address, "virtual numbers are 1 to 255") }
            return home
        case .takeover(let spare, let taken):
            guard let link = there.first(where: { $0.name == spare }) else {
                throw .noInterface(one.address, named: spare, there: there.map(\.name))
            }
            guard link.index != home.index, link.hardwareType == 1, taken.isUsable else {
                throw .unsuitable(
                    one.address, "a hardware address can be taken over only by an interface that has no other use")
            }
            // Heartbeats and connections by this interface would go with its hardware address.
            let other = addresses.first { $0.link == link.index && !$0.isFloating && !$0.address.isLinkLocal }
            if let other {
                throw .unsuitable(
                    one.address,
                    "\(spare) has \(other.address) and so other uses; only a spare interface may take over a hardware address"
                )
            }
            guard access("/sys/class/net/\(spare)/phy80211", F_OK) != 0 else {
                throw .unsuitable(
                    one.address,
                    "\(spare) is Wi-Fi, where an access point knows one hardware address for each station; say mac: own"
                )
            }
            return link
        }
    }

    /// Down until it is needed: only one node may be heard with its hardware address.
    private func virtualLink(
        _ number: UInt8, on home: NetworkLink, _ there: [NetworkLink], _ control: LinkControl
    ) throws(SystemError) -> (Int32, String, Bool) {
        let name = "bramble\(number)"
        if let link = there.first(where: { $0.name == name }) {
            guard link.alias == LinkControl.alias else { throw SystemError(code: EEXIST) }
            if link.parent == home.index { return (link.index, name, link.isEnabled) }
            // The address has moved to another interface of this machine.
            try control.removeLink(link.index)
        }
        try control.makeVirtual(name, on: home.index, hardware: FloatingAddress.virtualHardware(number))
        let index = if_nametoindex(name)
        guard index != 0 else { throw SystemError() }
        var made = NetworkLink(index: Int32(index), name: name, hardwareType: 1, flags: 0)
        made.alias = LinkControl.alias
        try settle(home, upper: made, control)
        return (made.index, name, false)
    }

    /// Two interfaces on one network: each must answer for its own addresses only (measured: else both answer for all),
    /// and the upper one must take packets whose answers leave by the lower one. What an interface of others was set to is
    /// noted first.
    private func settle(
        _ lower: NetworkLink, upper: NetworkLink, _ control: LinkControl
    ) throws(SystemError) {
        let (loose, ignore, own) = (UInt32(2), UInt32(1), UInt32(2))
        // The lower one asks for neighbours when we answer: not in the name of an address that is not its own.
        let below = [
            (IPV4_DEVCONF_ARP_IGNORE, ignore), (IPV4_DEVCONF_ARPFILTER, 1), (IPV4_DEVCONF_ARP_ANNOUNCE, own),
        ]
        let above = [
            (IPV4_DEVCONF_ARP_IGNORE, ignore), (IPV4_DEVCONF_ARP_ANNOUNCE, own), (IPV4_DEVCONF_ACCEPT_LOCAL, 1),
            // Not 0: the larger of this and of conf.all counts, so loose holds whatever conf.all says.
            (IPV4_DEVCONF_RP_FILTER, loose),
        ]
        for (link, wanted) in [(lower, below), (upper, above)] {
            let changes = wanted.map { (number: Int($0.0), value: $0.1) }.filter { number, value in
                number > link.settings.count || link.settings[number - 1] != value
            }
            guard !changes.isEmpty else { continue }
            for (number, value) in changes where link.alias != LinkControl.alias && number <= link.settings.count {
                let before = link.settings[number - 1]
                try journal.note(.setting(interface: link.name, number: number, before: before, after: value))
            }
            try control.setSettings(changes, of: link.index)
        }
    }

    private func openSocket(for address: IPAddress, on link: Int32) throws(SystemError) {
        let key = SocketKey(link: link, kind: address.isV6 ? .version6 : .arp)
        guard sockets[key] == nil else { return }
        sockets[key] = try NeighbourSocket(key.kind, interface: link, on: loop) { [weak self] claim in
            self?.assumeIsolated { $0.heard(claim, on: link) }
        }
    }

    // MARK: Going in and out

    func enter(_ one: FloatingAddress, _ place: Place, _ control: LinkControl) throws(SystemError) {
        switch one.mode {
        case .own: break
        case .virtual: if !place.isUp { try control.set(place.link, isUp: true) }
        case .takeover(_, let hardware):
            try control.setHardware(hardware, of: place.link, isUp: place.isUp)
            if !place.isUp { try control.set(place.link, isUp: true) }
        }
    }

    /// An interface that several addresses share is let go with the last.
    func leave(_ one: FloatingAddress, _ link: Int32, _ control: LinkControl) {
        guard !holdings.values.contains(where: { $0.link == link }) else { return }
        do throws(SystemError) {
            switch one.mode {
            case .own: break
            case .virtual: try control.set(link, isUp: false)
            case .takeover(let spare, _):
                for entry in journal.entries {
                    if case .hardware(spare, let before) = entry {
                        try control.setHardware(before, of: link, isUp: true)
                    }
                    if case .wasDown(spare) = entry { try control.set(link, isUp: false) }
                }
            }
        } catch {
            Log.warning("the interface that held \(one.address) cannot be put back as it was: \(error)")
        }
    }

    // MARK: What is left over

    func removeLeftovers(_ control: LinkControl) throws(SystemError) {
        try removeMarked(control, addressesToo: true)
        undo(TakeoverJournal.leftovers(at: journalPath), control)
        journal.clear()
    }

    func removeMarked(_ control: LinkControl, addressesToo: Bool) throws(SystemError) {
        let (there, addresses) = try Netlink.snapshot()
        for one in addresses where addressesToo && one.isFloating {
            try control.remove(one.address, length: one.prefixLength, from: one.link)
            Log.info("removed \(one.address), which an earlier run has left")
        }
        for link in there where link.alias == LinkControl.alias && link.kind == "macvlan" {
            try control.removeLink(link.index)
        }
    }

    /// The last change first. What has been changed by somebody else since stays as they want it.
    func undo(_ entries: [TakeoverJournal.Entry], _ control: LinkControl) {
        guard !entries.isEmpty, let (there, _) = try? Netlink.snapshot() else { return }
        for entry in entries.reversed() {
            do throws(SystemError) {
                switch entry {
                case .setting(let interface, let number, let before, let after):
                    guard let link = there.first(where: { $0.name == interface }), number <= link.settings.count,
                        link.settings[number - 1] == after
                    else { continue }
                    try control.setSettings([(number, before)], of: link.index)
                case .hardware(let interface, let before):
                    guard let link = there.first(where: { $0.name == interface }) else { continue }
                    try control.setHardware(before, of: link.index, isUp: link.isEnabled)
                case .wasDown(let interface):
                    guard let link = there.first(where: { $0.name == interface }) else { continue }
                    try control.set(link.index, isUp: false)
                }
            } catch {
                Log.warning("cannot restore \(entry): \(error)")
            }
        }
    }
}
