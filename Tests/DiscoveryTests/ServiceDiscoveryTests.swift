import Glibc
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Discovery

/// Hosts made from network namespaces on one bridge, each with a discovery of its own.
@Suite(
    "machines find each other by multicast DNS", .enabled(if: isRoot, "needs root for network namespaces"), .serialized)
struct ServiceDiscoveryTests {
    /// A network: the bridge lives in a namespace of its own.
    final class Network {
        let wires: OwnNamespace
        private var count = 0
        init() throws {
            wires = try OwnNamespace(network: true)
            try wires.shell(
                "ip link add lan type bridge && ip link set lan up")
        }
        /// Adds a cable from the bridge to a host, with 10.7.0.n and fd07::n there.
        func plug(_ host: Host, _ name: String = "eth0", number: Int) throws {
            count += 1
            try wires.shell(
                "ip link add p\(count) type veth peer name \(name) netns \(host.namespace.threadID) && ip link set p\(count) master lan up"
            )
            try host.namespace.shell(
                "ip link set lo up && ip link set \(name) up && ip addr add 10.7.0.\(number)/24 brd + dev \(name) && ip addr add fd07::\(number)/64 dev \(name) nodad"
            )
        }
    }
    final class Host {
        let namespace: OwnNamespace
        init() throws { namespace = try OwnNamespace(network: true) }
        func index(_ name: String = "eth0") throws -> Int32 {
            Int32(
                try namespace.shell(
                    "cat /sys/class/net/\(name)/ifindex 2>/dev/null || ip -o link show \(name) 2>/dev/null | cut -d: -f1"
                )
                .split(separator: "\n")[0]) ?? 0
        }
        func addresses(_ number: Int, _ name: String = "eth0") throws -> [PublishedAddress] {
            let index = Int32(
                try namespace.shell("ip -o link show \(name) 2>/dev/null | cut -d: -f1").split(separator: "\n")[0])!
            return [
                PublishedAddress(address: IPAddress("10.7.0.\(number)")!, interface: index),
                PublishedAddress(address: IPAddress("fd07::\(number)")!, interface: index),
            ]
        }
        func discovery(
            _ number: Int, role: Announcement.Role = .member(tag: "aabb"), port: UInt16 = 7771,
            addresses: [PublishedAddress]? = nil, scope: ServiceDiscovery.Scope = .everyone
        ) throws -> ServiceDiscovery {
            let announcement = Announcement(version: 1, id: AnnouncementTests.id(UInt64(number)), role: role)
            return ServiceDiscovery(
                on: namespace.loop, announcing: announcement, port: port,
                addresses: try addresses ?? self.addresses(number),
                scope: scope)
        }
    }
    static func sighting(_ number: Int, role: Announcement.Role = .member(tag: "aabb"), port: UInt16 = 7771) -> Sighting
    {
        Sighting(
            announcement: Announcement(version: 1, id: AnnouncementTests.id(UInt64(number)), role: role),
            endpoints: [
                Endpoint(IPAddress("10.7.0.\(number)")!, port: port),
                Endpoint(IPAddress("fd07::\(number)")!, port: port),
            ])
    }

    @Test("two members see identity, tag, port and all addresses of each other, and the goodbye")
    func twoMembers() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let (a, b) = (try one.discovery(1), try two.discovery(2, port: 8888))
        await a.start()
        await b.start()
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2, port: 8888)] })
        #expect(try await two.namespace.wait { await b.sightings == [Self.sighting(1)] })
        await b.stop()
        #expect(try await one.namespace.wait { await a.sightings.isEmpty })
        // What was told, in order, ends with the goodbye.
        await a.stop()
        var told: [SightingChange] = []
        for await change in a.changes {
            told.append(change)
            if case .gone = change { break }
        }
        #expect(told.contains(.seen(Self.sighting(2, port: 8888))) && told.last == .gone(AnnouncementTests.id(2)))
    }

    @Test("a machine that waits shows its name, also to those who look for waiting machines only, and becomes a member")
    func waiting() async throws {
        let network = try Network()
        let (one, two, three) = (try Host(), try Host(), try Host())
        for (number, host) in [one, two, three].enumerated() { try network.plug(host, number: number + 1) }
        let role = Announcement.Role.waiting(name: NodeName("new-pi")!)
        let a = try one.discovery(1, scope: .waitingMachines)
        let (b, c) = (try two.discovery(2, role: role), try three.discovery(3))
        for discovery in [a, b, c] { await discovery.start() }
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2, role: role)] })
        #expect(
            try await three.namespace.wait { await c.sightings == [Self.sighting(1), Self.sighting(2, role: role)] })
        // The key arrives.
        let member = Announcement(version: 1, id: AnnouncementTests.id(2), role: .member(tag: "aabb"))
        await b.announce(member, addresses: try two.addresses(2))
        #expect(try await one.namespace.wait { await a.sightings.isEmpty })
        #expect(try await three.namespace.wait { await c.sightings == [Self.sighting(1), Self.sighting(2)] })
        await a.look(for: .everyone)
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2), Self.sighting(3)] })
        // Enough is known: members are let go, and only those that wait are kept.
        await a.look(for: .waitingMachines)
        #expect(try await one.namespace.wait(seconds: 40) { await a.sightings.isEmpty })
        for discovery in [a, b, c] { await discovery.stop() }
    }

    @Test("a machine that gets its key and starts anew at once is seen as a member")
    func becomesMember() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let role = Announcement.Role.waiting(name: NodeName("new-pi")!)
        let a = try one.discovery(1)
        await a.start()
        do {
            let waiting = try two.discovery(2, role: role)
            await waiting.start()
            #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2, role: role)] })
            // Let go without a word: the stack behind it must not stay.
        }
        let member = try two.discovery(2)
        await member.start()
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        try await one.namespace.loop.sleep(for: .seconds(3))
        #expect(await a.sightings == [Self.sighting(2)])
        #expect(await member.trouble == nil)
        await a.stop()
        await member.stop()
    }

    @Test("another address is told while running")
    func addressChange() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let (a, b) = (try one.discovery(1), try two.discovery(2))
        await a.start()
        await b.start()
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        try two.namespace.shell("ip addr del 10.7.0.2/24 dev eth0 && ip addr add 10.7.0.22/24 brd + dev eth0")
        var addresses = try two.addresses(2)
        addresses[0].address = IPAddress("10.7.0.22")!
        await b.announce(addresses: addresses)
        let expected = [Endpoint("10.7.0.22:7771", defaultPort: 0)!, Endpoint("[fd07::2]:7771", defaultPort: 0)!]
        #expect(try await one.namespace.wait { await a.sightings.first?.endpoints == expected })
        await a.stop()
        await b.stop()
    }

    @Test("without a network it waits, and finds others once there is one")
    func networkLater() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        let a = try one.discovery(1)
        let b = try two.discovery(2, addresses: [])
        await a.start()
        await b.start()
        try await two.namespace.loop.sleep(for: .milliseconds(300))
        #expect(await b.sightings.isEmpty)
        try network.plug(two, number: 2)
        await b.announce(addresses: try two.addresses(2))
        #expect(try await two.namespace.wait(seconds: 40) { await b.sightings == [Self.sighting(1)] })
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        #expect(await b.trouble == nil)
        await a.stop()
        await b.stop()
    }

    @Test("two nodes on one host, and a host with two cables in one network, are found without a collision")
    func crowded() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        try network.plug(two, "eth1", number: 3)
        let a = try one.discovery(1)
        let b = try two.discovery(2, addresses: try two.addresses(2) + two.addresses(3, "eth1"))
        let c = try two.discovery(4, port: 7772, addresses: try two.addresses(2))
        for discovery in [a, b, c] { await discovery.start() }
        #expect(
            try await one.namespace.wait {
                await Set(a.sightings.map(\.announcement.id)) == [AnnouncementTests.id(2), AnnouncementTests.id(4)]
            })
        #expect(
            try await two.namespace.wait {
                await Set(b.sightings.map(\.announcement.id)) == [AnnouncementTests.id(1), AnnouncementTests.id(4)]
            })
        try await one.namespace.loop.sleep(for: .seconds(3))
        for discovery in [a, b, c] { #expect(await discovery.trouble == nil) }
        let known = Set(["10.7.0.2", "10.7.0.3", "fd07::2", "fd07::3"].map { IPAddress($0)! })
        let seen = await a.sightings.first { $0.announcement.id == AnnouncementTests.id(2) }?.endpoints ?? []
        #expect(!seen.isEmpty && known.isSuperset(of: seen.map(\.address)))
        for discovery in [a, b, c] { await discovery.stop() }
    }

    @Test("after the clock was set it goes on, and nobody is reported as gone")
    func clockSet() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let (a, b) = (try one.discovery(1), try two.discovery(2))
        await a.start()
        await b.start()
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        await a.clockStepped()
        #expect(await a.sightings == [Self.sighting(2)])
        await b.stop()
        let c = try two.discovery(3, addresses: try two.addresses(2))
        await c.start()
        #expect(
            try await one.namespace.wait(seconds: 40) {
                await a.sightings.map(\.announcement.id) == [AnnouncementTests.id(3)]
            })
        await a.stop()
        await c.stop()
    }

    // MARK: Beside avahi-daemon

    private static let hasAvahi = access("/usr/sbin/avahi-daemon", X_OK) == 0

    /// Starts a real avahi-daemon in the host's namespaces; ended by its process number.
    private func startAvahi(on host: Host, disallowOthers: Bool = false) throws -> (process: Int32, log: String) {
        let directory = try host.namespace.shell("mktemp -d /tmp/bramble-avahi-XXXXXX").split(separator: "\n").map(
            String.init)[0]
        let text =
            "[server]\\nhost-name=other\\nuse-ipv6=yes\\nenable-dbus=no\\ndisallow-other-stacks=\(disallowOthers ? "yes" : "no")\\n[publish]\\npublish-workstation=no\\n"
        let process = try host.namespace.shell(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/avahi-daemon && printf '\(text)' > \(directory)/conf && "
                + "(/usr/sbin/avahi-daemon --no-drop-root --no-chroot --no-rlimits -f \(directory)/conf > \(directory)/log 2>&1 & echo $!)"
        )
        return (Int32(process.split(separator: "\n")[0])!, directory + "/log")
    }

    @Test("beside avahi-daemon both are found, whoever starts first", .enabled(if: hasAvahi), arguments: [true, false])
    func besideAvahi(isAvahiFirst: Bool) async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let (a, b) = (try one.discovery(1), try two.discovery(2))
        await a.start()
        if !isAvahiFirst {
            await b.start()
            #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        }
        let avahi = try startAvahi(on: two)
        defer {
            kill(avahi.process, SIGKILL)
            _ = try? Shell.run("rm -r \(AtomicPath.parent(avahi.log))")
        }
        func log() -> String { (try? Shell.run("cat \(avahi.log)")) ?? "" }
        #expect(try await two.namespace.wait { log().contains("Server startup complete") }, "\(log())")
        if isAvahiFirst { await b.start() }
        #expect(try await one.namespace.wait { await a.sightings == [Self.sighting(2)] })
        #expect(try await two.namespace.wait { await b.sightings == [Self.sighting(1)] })
        try await one.namespace.loop.sleep(for: .seconds(2))
        #expect(await b.trouble == nil)
        #expect(!log().contains("conflict"), "\(log())")
        await a.stop()
        await b.stop()
    }

    @Test(
        "an avahi-daemon that allows no other is named as the cause, and when it is gone discovery works",
        .enabled(if: hasAvahi))
    func exclusiveAvahi() async throws {
        let network = try Network()
        let (one, two) = (try Host(), try Host())
        try network.plug(one, number: 1)
        try network.plug(two, number: 2)
        let (a, b) = (try one.discovery(1), try two.discovery(2))
        let avahi = try startAvahi(on: two, disallowOthers: true)
        defer {
            kill(avahi.process, SIGKILL)
            _ = try? Shell.run("rm -r \(AtomicPath.parent(avahi.log))")
        }
        func log() -> String { (try? Shell.run("cat \(avahi.log)")) ?? "" }
        #expect(try await two.namespace.wait { log().contains("Server startup complete") }, "\(log())")
        await a.start()
        await b.start()
        let trouble = await b.trouble
        #expect(trouble?.problem == "multicast DNS cannot start: another program keeps UDP port 5353 to itself")
        #expect(trouble?.remedy.contains("disallow-other-stacks=no") == true)
        kill(avahi.process, SIGKILL)
        #expect(try await two.namespace.wait(seconds: 40) { await b.sightings == [Self.sighting(1)] })
        #expect(await b.trouble == nil)
        await a.stop()
        await b.stop()
    }
}

private enum AtomicPath {
    static func parent(_ path: String) -> String { String(path[..<path.lastIndex(of: "/")!]) }
}
