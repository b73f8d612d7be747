import Glibc
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Machine

/// In a network namespace of its own; with whole hosts: TakeoverTests.
@Suite("taking over addresses", .enabled(if: isRoot, "needs root, to make a network namespace"))
struct AddressTakeoverTests {
    let namespace: OwnNamespace
    let takeover: AddressTakeover
    let events = Locked<[AddressTakeover.Event]>([])
    let temporary = TemporaryDirectory()
    private let address = IPAddress("10.1.0.250")!
    private var soon: Instant { SystemClock.now + .seconds(100) }

    init() async throws {
        namespace = try OwnNamespace(network: true)
        try namespace.shell(
            """
            ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up
            ip addr add 10.1.0.1/24 dev eth0; ip addr add fd01::1/64 dev eth0 nodad
            """)
        let events = events
        takeover = AddressTakeover(on: namespace.loop, journal: temporary.file("journal")) { event in
            events.withLock { $0.append(event) }
        }
        try await takeover.start()
    }
    private func ruleset() throws -> String { try namespace.shell("nft list ruleset") }
    /// The lines of the gate's sets that name an address.
    private func open() throws -> String {
        try namespace.shell("nft list set inet bramble open4; nft list set inet bramble open6")
    }

    @Test("the gate is there before the address, and goes after it")
    func order() async throws {
        try await takeover.open([address], until: soon)
        #expect(try open().contains("10.1.0.250 timeout"))
        #expect(try !namespace.shell("ip addr").contains("10.1.0.250"))
        try await takeover.hold([FloatingAddress(address)], epoch: 1, until: soon)
        let there = try namespace.shell("ip -o addr")
        #expect(there.split(separator: "\n").contains { $0.contains("10.1.0.250/32") && $0.contains("eth0:bramble") })
        await takeover.release([address])
        #expect(try !namespace.shell("ip addr").contains("10.1.0.250"))
        #expect(try !ruleset().contains("10.1.0.250"))
        await takeover.stop()
        #expect(try ruleset().isEmpty)
    }

    @Test("many addresses are opened, renewed and closed in one transaction each")
    func many() async throws {
        let all = (1...200).map { IPAddress("10.1.0.\($0 + 20)")! } + (1...50).map { IPAddress("fd01::9:\($0)")! }
        try await takeover.hold(all.map { FloatingAddress($0) }, epoch: 1, until: soon)
        #expect(try open().split(separator: "timeout").count > 250)
        try await takeover.renew(Dictionary(uniqueKeysWithValues: all.map { ($0, soon) }))
        #expect(try namespace.shell("ip -o addr | grep -c -e bramble -e /128").trimmed == "\(200 + 50 + 1)")
        await takeover.release(all)
        #expect(try !namespace.shell("ip addr").contains("bramble"))
        let left = try open()
        #expect(!left.contains("timeout "), "\(left)")
    }

    @Test("an address of a network that this machine has no other address in brings the way there along")
    func ownNetwork() async throws {
        let far = IPAddress("10.9.0.250")!
        let floating = FloatingAddress(far, interface: "eth0", prefixLength: 24)
        let near = FloatingAddress(address, prefixLength: 24)
        try await takeover.hold([floating, near], epoch: 1, until: soon)
        let there = try namespace.shell("ip addr show dev eth0")
        #expect(there.contains("10.9.0.250/24") && there.contains("10.1.0.250/32"))
        #expect(try namespace.shell("ip route get 10.9.0.7").contains("dev eth0"))
        await takeover.release([far, address])
        let left = try namespace.shell("ip addr; ip route")
        #expect(!left.contains("10.9.0.") && !left.contains("10.1.0.250"))
    }

    @Test("every call may be repeated; an older epoch and a right that is over change nothing")
    func repeated() async throws {
        let one = FloatingAddress(address)
        for _ in 0..<3 { try await takeover.hold([one], epoch: 5, until: soon) }
        try await takeover.hold([one], epoch: 4, until: SystemClock.now + .milliseconds(1))
        try await takeover.renew([address: soon, IPAddress("10.1.0.99")!: soon])
        #expect(
            try namespace.shell("ip -o addr").split(separator: "\n").filter { $0.contains("10.1.0.250") }.count == 1)
        await takeover.release([address])
        await takeover.release([address])
        await #expect(throws: TakeoverError.noRight(address)) {
            try await takeover.hold([one], epoch: 6, until: SystemClock.now - .milliseconds(1))
        }
        #expect(try !namespace.shell("ip addr").contains("10.1.0.250"))
        #expect(events.withLock { $0 } == [])
    }

    @Test("where one of several cannot be taken, none is, and the reason is told")
    func allOrNone() async throws {
        try namespace.shell("ip addr add 10.1.0.7/24 dev eth0")
        let bad: [(String, String)] = [
            ("10.9.0.1", "lies in no network"), ("10.1.0.7", "is configured on this machine"),
            ("127.0.0.9", "no address that a network"), ("224.0.0.9", "no address that a network"),
            ("fe80::9", "no address that a network"),
        ]
        for (text, problem) in bad {
            let error = await #expect(throws: TakeoverError.self) {
                try await takeover.hold(
                    [FloatingAddress(address), FloatingAddress(IPAddress(text)!)], epoch: 1, until: soon)
            }
            #expect(error?.problem.contains(problem) == true, "\(error?.problem ?? "")")
            #expect(error?.remedy.isEmpty == false)
            #expect(try !namespace.shell("ip addr").contains("10.1.0.250"))
            #expect(try !ruleset().contains("10.1.0.250"))
        }
        #expect(try namespace.shell("ip addr").contains("10.1.0.7/24"))
    }

    @Test("a right that is not renewed ends by itself, and the end is told")
    func expiry() async throws {
        try await takeover.hold([FloatingAddress(address)], epoch: 9, until: SystemClock.now + .seconds(2))
        let isTold = try await namespace.wait { !events.withLock { $0 }.isEmpty }
        #expect(isTold)
        #expect(events.withLock { $0 } == [.expired(address, epoch: 9)])
        #expect(try !namespace.shell("ip addr").contains("10.1.0.250"))
        #expect(try !ruleset().contains("10.1.0.250"))
    }

    @Test("after a sleep all gates are closed until the right is renewed")
    func sleep() async throws {
        try await takeover.hold([FloatingAddress(address)], epoch: 1, until: soon)
        try await takeover.open([IPAddress("10.1.0.251")!], until: soon)
        await takeover.closeAfterSleep(of: .seconds(3600))
        let left = try open()
        #expect(!left.contains("timeout "), "\(left)")
        #expect(try ruleset().contains("10.1.0.250"))
        #expect(try namespace.shell("ip addr").contains("10.1.0.250"))
        #expect(events.withLock { $0 } == [.slept(.seconds(3600))])
        try await takeover.renew([address: soon])
        #expect(try open().contains("10.1.0.250 timeout"))
    }

    @Test("the kernel knows an end of an address by itself, moved on by renewals, and no new connection uses it")
    func lifetime() async throws {
        let version6 = IPAddress("fd01::250")!
        let both = [FloatingAddress(address), FloatingAddress(version6)]
        try await takeover.hold(both, epoch: 1, until: SystemClock.now + .seconds(10))
        /// The line after the address: `valid_lft 15sec preferred_lft 15sec`.
        func seconds(_ text: String) throws -> Int {
            let rest = try namespace.shell("ip addr show dev eth0 to \(text)").split(separator: "valid_lft ")
            return Int(rest.last?.prefix { $0.isNumber } ?? "") ?? 0
        }
        for one in ["10.1.0.250", "fd01::250"] { #expect((1...15).contains(try seconds(one))) }
        try await takeover.hold(both, epoch: 1, until: SystemClock.now + .seconds(1000))
        let isProlonged = try await namespace.wait {
            let later = soon + .seconds(900)
            try await takeover.renew([address: later, version6: later])
            return try seconds("10.1.0.250") > 500 && seconds("fd01::250") > 500
        }
        #expect(isProlonged)
        #expect(try namespace.shell("ip -6 route get fd01::9").contains("src fd01::1"))
        #expect(try namespace.shell("ip route get 10.1.0.9").contains("src 10.1.0.1"))
    }

    @Test("a rehearsal for the doctor changes nothing")
    func rehearsal() async throws {
        await takeover.stop()
        try namespace.run { try KernelGate().rehearse() }
        #expect(try ruleset().isEmpty)
        #expect(try namespace.run { try LinkControl().canMakeVirtual() } == true)
        #expect(try !namespace.shell("ip link").contains("bramble"))
    }

    @Test("announcements come as planned, in request and reply form, and end with the release")
    func announcements() async throws {
        let heard = Locked<[NeighbourFrame.Claim]>([])
        let far = try namespace.run { Int32(if_nametoindex("far")) }
        let socket = try namespace.run { [loop = namespace.loop] in
            try NeighbourSocket(.arp, interface: far, on: loop) { claim in heard.withLock { $0.append(claim) } }
        }
        try await takeover.hold([FloatingAddress(address)], epoch: 1, until: soon)
        // At 0, 50, 100, 200, 500, 1000 and 2000 ms, two frames each.
        let areAllHeard = try await namespace.wait { heard.withLock { $0.count } >= 14 }
        #expect(areAllHeard)
        #expect(heard.withLock { Set($0.map(\.address)) } == [address])
        await takeover.release([address])
        #expect(heard.withLock { $0.count } == 14)
        withExtendedLifetime(socket) {}
    }
}

extension String {
    fileprivate var trimmed: String { String(drop { $0.isWhitespace }.prefix { !$0.isWhitespace }) }
}
