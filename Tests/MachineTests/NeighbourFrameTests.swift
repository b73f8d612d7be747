import Primitives
import Testing

@testable import Machine

@Suite("frames that say who has an address")
struct NeighbourFrameTests {
    private let card = HardwareAddress("02:00:00:00:00:09")!
    private let addresses = [IPAddress("10.77.0.250")!, IPAddress("fd77::250")!]

    @Test("an announcement is read as the claim it is, in every form")
    func announcements() {
        for address in addresses {
            let frames = NeighbourFrame.announcement(of: address, at: card)
            #expect(frames.count == (address.isV6 ? 1 : 2))
            for frame in frames {
                #expect(NeighbourFrame.claim(in: frame) == NeighbourFrame.Claim(address: address, owner: card))
            }
        }
    }

    @Test("a probe claims nothing: nobody's table may change by asking")
    func probes() {
        for address in addresses {
            #expect(NeighbourFrame.claim(in: NeighbourFrame.probe(for: address, from: card)) == nil)
        }
    }

    /// RFC 4861, 7.1.2: what did not come from this link, or is damaged, must not be believed.
    @Test("an advertisement from beyond a router, cut short or with a wrong sum is none")
    func refused() {
        let good = NeighbourFrame.announcement(of: addresses[1], at: card)[0]
        var routed = good
        routed[21] = 254
        #expect(NeighbourFrame.claim(in: routed) == nil)
        for place in 22..<good.count {
            var damaged = good
            damaged[place] ^= 0x10
            #expect(NeighbourFrame.claim(in: damaged) == nil, "byte \(place)")
        }
        for count in 0..<good.count { #expect(NeighbourFrame.claim(in: good[..<count]) == nil, "\(count) bytes") }
    }

    @Test("an ARP frame by a group, for no address or of other kinds is none; what follows it does not matter")
    func arp() {
        let good = NeighbourFrame.announcement(of: addresses[0], at: card)[0]
        #expect(NeighbourFrame.claim(in: good + [UInt8](repeating: 0, count: 18)) != nil)
        for (place, value) in [(15, 6), (17, 1), (18, 8), (19, 16), (21, 3), (22, 1), (28, 224)] as [(Int, UInt8)] {
            var other = good
            other[place] = value
            #expect(NeighbourFrame.claim(in: other) == nil, "byte \(place)")
        }
        for count in 0..<good.count { #expect(NeighbourFrame.claim(in: good[..<count]) == nil, "\(count) bytes") }
    }

    @Test("hardware addresses are read as they are written, and nothing else is one")
    func hardware() {
        #expect(HardwareAddress("00:00:5e:00:01:33") == FloatingAddress.virtualHardware(51))
        #expect(HardwareAddress("0:0:5E:0:1:33")?.description == "00:00:5e:00:01:33")
        for text in [
            "", "00:00:5e:00:01", "00:00:5e:00:01:33:00", "00:00:5e:00:01:3g", "00:00:5e:00:01:", "1:2:3:4:5:+6",
        ] {
            #expect(HardwareAddress(text) == nil, "\(text)")
        }
        #expect(!HardwareAddress.broadcast.isUsable && !HardwareAddress("00:00:00:00:00:00")!.isUsable)
    }
}

@Suite("where a floating address goes")
struct FloatingAddressTests {
    private func link(_ index: Int32, _ name: String, flags: UInt32 = 0x10041) -> NetworkLink {
        NetworkLink(index: index, name: name, hardwareType: 1, flags: flags)
    }
    private func address(_ link: Int32, _ text: String, _ length: UInt8) -> NetworkAddress {
        NetworkAddress(link: link, address: IPAddress(text)!, prefixLength: length, scope: 0, flags: 0x80)
    }

    @Test("to the narrowest network that it lies in, then to a cable that is plugged in")
    func home() throws {
        let links = [link(2, "eth0", flags: 0x1), link(3, "eth1"), link(4, "eth2"), link(5, "off", flags: 0)]
        let there = [
            address(2, "10.1.0.1", 16), address(3, "10.1.0.2", 16), address(4, "10.1.2.1", 24),
            address(5, "10.1.2.2", 30), address(4, "fd77::1", 64),
        ]
        func name(_ text: String) throws -> String {
            try FloatingAddress(IPAddress(text)!).home(links: links, addresses: there).name
        }
        #expect(try name("10.1.9.9") == "eth1")
        #expect(try name("10.1.2.3") == "eth2")
        #expect(try name("fd77::250") == "eth2")
        #expect(throws: TakeoverError.noInterface(IPAddress("10.2.0.1")!, named: nil, there: links.map(\.name))) {
            try name("10.2.0.1")
        }
        let wrong = FloatingAddress(IPAddress("10.1.0.9")!, interface: "eth7")
        #expect(throws: TakeoverError.noInterface(wrong.address, named: "eth7", there: links.map(\.name))) {
            try wrong.home(links: links, addresses: there)
        }
    }

    @Test("another floating address is no network to lie in")
    func floating() {
        var other = address(2, "10.1.0.250", 24)
        other.origin = NetworkAddress.floatingOrigin
        #expect(throws: TakeoverError.self) {
            try FloatingAddress(IPAddress("10.1.0.9")!).home(links: [link(2, "eth0")], addresses: [other])
        }
    }

    @Test("networks hold the addresses that share their first bits")
    func networks() {
        let inside = [("10.0.0.9", "10.0.0.1", 24), ("10.0.0.129", "10.0.0.200", 25), ("fd00::9", "fd00::1", 127 - 7)]
        for (one, network, length) in inside {
            #expect(IPAddress(one)!.lies(in: IPAddress(network)!, prefixLength: UInt8(length)), "\(one)")
        }
        let outside = [("10.0.1.9", "10.0.0.1", 24), ("10.0.0.9", "10.0.0.200", 25), ("10.0.0.9", "10.0.0.9", 32)]
        for (one, network, length) in outside + [("fd00::9", "10.0.0.1", 0), ("fd01::9", "fd00::1", 16)] {
            #expect(!IPAddress(one)!.lies(in: IPAddress(network)!, prefixLength: UInt8(length)), "\(one)")
        }
    }

    @Test("peers are not told a floating address as a way to this node")
    func notTold() {
        var floating = address(2, "10.1.0.250", 32)
        let own = address(2, "10.1.0.1", 16)
        func told() -> [IPAddress] {
            NetworkState.choose(links: [link(2, "eth0")], addresses: [floating, own], configured: [])
                .addresses.map(\.address)
        }
        #expect(told().count == 2)
        floating.origin = NetworkAddress.floatingOrigin
        #expect(told() == [own.address])
        (floating.origin, floating.label) = (0, NetworkAddress.floatingLabel(on: "eth0"))
        #expect(told() == [own.address])
    }
}
