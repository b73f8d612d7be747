import Glibc
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Machine

@Suite("peers are told the addresses that they can reach")
struct AddressesTests {
    private let up: UInt32 = 0x1 | 0x40 | 0x10000
    private func link(_ index: Int32, _ name: String, kind: String? = nil, type: UInt16 = 1, flags: UInt32? = nil)
        -> NetworkLink
    {
        NetworkLink(index: index, name: name, kind: kind, hardwareType: type, flags: flags ?? up)
    }
    private func address(_ link: Int32, _ text: String, scope: UInt8 = 0, flags: UInt32 = 0x80) -> NetworkAddress {
        NetworkAddress(link: link, address: IPAddress(text)!, prefixLength: 24, scope: scope, flags: flags)
    }
    private var loopback: NetworkLink { link(1, "lo", type: 772, flags: up | 0x8) }
    private var local: NetworkAddress { address(1, "127.0.0.1", scope: 254) }
    private func chosen(_ links: [NetworkLink], _ addresses: [NetworkAddress], configured: [String] = []) -> (
        String, Bool
    ) {
        let state = NetworkState.choose(
            links: links, addresses: addresses, configured: configured.map { IPAddress($0)! })
        return (state.addresses.map { "\($0.address)" }.joined(separator: " "), state.isUp)
    }

    @Test("local networks come before tunnels, version 4 before 6, and what cannot be reached is left out")
    func order() {
        let links = [
            loopback, link(2, "wg0", kind: "wireguard", type: 65534), link(3, "eth0"), link(4, "wlan0"),
            link(5, "docker0", kind: "bridge"), link(6, "br-0123456789ab", kind: "bridge"),
            link(7, "br0", kind: "bridge"),
        ]
        let addresses = [
            local, address(2, "10.8.0.2"), address(4, "192.168.1.7"), address(3, "192.168.1.6"), address(3, "fd00::6"),
            address(3, "fe80::1", scope: 253), address(5, "172.17.0.1"), address(6, "172.18.0.1"),
            address(7, "10.5.0.1"), address(3, "fd00::7", flags: 0x40), address(3, "fd00::8", flags: 0x20),
            address(3, "fd00::9", flags: 0x01), address(3, "192.168.1.60", flags: 0x01),
        ]
        #expect(
            chosen(links, addresses) == ("192.168.1.6 192.168.1.60 192.168.1.7 10.5.0.1 fd00::6 10.8.0.2", true))
    }

    @Test("an interface without a carrier counts only when no other has one, and then the network is down")
    func carrier() {
        let unplugged = link(2, "eth0", flags: 0x1)
        let off = link(3, "eth1", flags: 0)
        let addresses = [local, address(2, "10.0.0.2"), address(3, "10.0.0.3"), address(4, "10.0.0.4")]
        #expect(chosen([loopback, unplugged, off, link(4, "wlan0")], addresses) == ("10.0.0.4", true))
        #expect(chosen([loopback, unplugged, off], addresses) == ("10.0.0.2", false))
    }

    @Test("with nothing better: IPv4 link-local, then loopback, which is not up")
    func fallbacks() {
        let card = link(2, "eth0")
        #expect(
            chosen(
                [loopback, card], [local, address(2, "169.254.3.4", scope: 253), address(2, "fe80::1", scope: 253)])
                == ("169.254.3.4", true))
        #expect(chosen([loopback, card], [local, address(2, "fe80::1", scope: 253)]) == ("127.0.0.1", false))
        #expect(chosen([], []) == ("", false))
    }

    @Test("the operator's addresses are taken as they are; up means that one is there with a carrier")
    func configured() {
        let links = [loopback, link(2, "eth0"), link(3, "docker0", kind: "bridge", flags: 0x1)]
        let addresses = [local, address(2, "10.0.0.2"), address(3, "172.17.0.1")]
        #expect(chosen(links, addresses, configured: ["127.0.0.1"]) == ("127.0.0.1", true))
        #expect(chosen(links, addresses, configured: ["10.0.0.9", "10.0.0.2"]) == ("10.0.0.9 10.0.0.2", true))
        #expect(chosen(links, addresses, configured: ["10.0.0.9"]) == ("10.0.0.9", false))
        #expect(chosen(links, addresses, configured: ["172.17.0.1"]) == ("172.17.0.1", false))
    }

    @Test("never more addresses than a profile takes")
    func bounded() {
        let many = (1...40).map { address(2, "10.0.0.\($0)") }
        let state = NetworkState.choose(links: [link(2, "eth0")], addresses: many, configured: [])
        #expect(state.addresses.count == NetworkState.maximumAddresses)
    }

    @Test("changes of addresses and of the carrier are told as they happen", .enabled(if: isRoot))
    func following() async throws {
        let namespace = try OwnNamespace(network: true)
        try namespace.shell("ip link set lo up")
        let seen = Locked<[NetworkState]>([])
        let addresses = try namespace.run {
            try Addresses(on: namespace.loop) { state in seen.withLock { $0.append(state) } }
        }
        #expect(Set(addresses.current.addresses.map(\.interface)) == ["lo"] && !addresses.current.isUp)
        /// Does something, and waits until the state that is meant is told; in between there may be others.
        func wait(
            _ line: String, until isMeant: (NetworkState) -> Bool, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            try namespace.shell(line)
            for _ in 0..<3000 {
                if seen.withLock({ $0.last }).map(isMeant) == true { return }
                try await namespace.loop.sleep(for: .milliseconds(10))
            }
            let last = seen.withLock { $0.last }
            Issue.record("never told; the last was \(String(describing: last))", sourceLocation: sourceLocation)
        }
        try await wait(
            "ip link add eth0 type veth peer name far && ip link set far up && ip link set eth0 up && ip addr add 10.1.0.1/24 dev eth0"
        ) {
            $0.isUp && $0.addresses.map { "\($0.address)/\($0.prefixLength) \($0.interface)" } == ["10.1.0.1/24 eth0"]
        }
        try await wait("ip addr add fd01::1/64 dev eth0 nodad") { $0.addresses.count == 2 }
        try await wait("ip link set far down") { !$0.isUp && !$0.addresses.isEmpty }
        try await wait("ip link set far up") { $0.isUp }
        try await wait("ip addr del 10.1.0.1/24 dev eth0 && ip addr add 10.1.0.2/24 dev eth0") {
            $0.addresses.first?.address == IPAddress("10.1.0.2")
        }
        try await wait("ip link del eth0") { Set($0.addresses.map(\.interface)) == ["lo"] && !$0.isUp }
        #expect(addresses.current == seen.withLock { $0.last })
    }

    @Test(
        "thousands of changes at once overflow the kernel's queue, and the last state still arrives",
        .enabled(if: isRoot))
    func burst() async throws {
        let namespace = try OwnNamespace(network: true)
        try namespace.shell(
            "ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up")
        let last = Locked<NetworkState?>(nil)
        let addresses = try namespace.run {
            try Addresses(on: namespace.loop) { state in last.withLock { $0 = state } }
        }
        // While this runs the loop cannot read: the notifications of 4,000 changes wait, and do not fit.
        try namespace.shell(
            "(for i in $(seq 1 2000); do echo addr add 10.$((i / 250)).$((i % 250)).1/32 dev eth0; echo addr del 10.$((i / 250)).$((i % 250)).1/32 dev eth0; done; echo addr add 10.99.0.1/24 dev eth0) | ip -batch -"
        )
        for _ in 0..<3000 where last.withLock({ $0?.addresses.map(\.address) }) != [IPAddress("10.99.0.1")!] {
            try await namespace.loop.sleep(for: .milliseconds(10))
        }
        #expect(addresses.current.addresses.map(\.address) == [IPAddress("10.99.0.1")!])
    }
}
