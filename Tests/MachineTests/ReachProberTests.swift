import CLinux
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Machine

@Suite("hosts of the reach list are asked, and only what answers now counts")
struct ReachProberTests {
    // MARK: The parser

    private let secret: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    private func reply(v6: Bool = false, identifier: UInt16 = 0x1234, sequence: UInt16 = 7) -> [UInt8] {
        [v6 ? 129 : 0, 0, 0xAA, 0xBB, UInt8(identifier >> 8), UInt8(identifier & 0xFF), 0, UInt8(sequence)] + secret
    }
    private func read(_ packet: [UInt8], v6: Bool = false, header: Bool = false, identifier: UInt16? = 0x1234)
        -> UInt16?
    {
        EchoReply.sequence(in: packet, isV6: v6, hasIPHeader: header, identifier: identifier, secret: secret)
    }

    @Test("an answer to our request is read, with an IP header before it too")
    func reading() {
        #expect(read(reply()) == 7)
        #expect(read(reply(v6: true), v6: true) == 7)
        #expect(read(reply(identifier: 9), identifier: nil) == 7)
        let header: [UInt8] = [0x46] + [UInt8](repeating: 0, count: 23)
        #expect(read(header + reply(), header: true) == 7)
    }

    @Test("requests, answers to others, and other packets are not taken for an answer")
    func others() {
        #expect(read(reply(v6: true)) == nil && read(reply(), v6: true) == nil)
        #expect(read(reply(identifier: 0x1235)) == nil)
        #expect(read([8] + reply().dropFirst()) == nil, "an echo request")
        #expect(read([3] + reply().dropFirst()) == nil, "destination unreachable")
        #expect(read([0, 1] + reply().dropFirst(2)) == nil)
        for place in 8..<16 {
            var packet = reply()
            packet[place] ^= 1
            #expect(read(packet) == nil)
        }
        #expect(read(reply() + [0]) == nil)
    }

    @Test("junk and cut packets are not read, and the good one after them is", arguments: 1...10)
    func junk(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        let good = [0x45] + [UInt8](repeating: 0, count: 19) + reply()
        for _ in 0..<500 {
            var packet = good
            packet.removeLast(1 + chance.below(packet.count))
            #expect(read(packet, header: true) == nil)
            let rubbish = (0..<chance.below(80)).map { _ in UInt8(chance.below(256)) }
            #expect(read(rubbish, header: chance.chance(0.5)) == nil)
        }
        #expect(read(good, header: true) == 7)
    }

    // MARK: Real hosts

    /// Two hosts on one cable; the first asks.
    private static func pair() throws -> (OwnNamespace, OwnNamespace) {
        let (one, two) = (try OwnNamespace(network: true), try OwnNamespace(network: true))
        try one.shell("ip link add eth0 type veth peer name eth0 netns \(two.threadID)")
        for (host, number) in [(one, 1), (two, 2)] {
            try host.shell(
                "ip link set lo up && ip link set eth0 up && ip addr add 10.8.0.\(number)/24 dev eth0 && ip addr add fd08::\(number)/64 dev eth0 nodad"
            )
        }
        return (one, two)
    }
    private let peer = IPAddress("10.8.0.2")!
    private let peer6 = IPAddress("fd08::2")!

    /// Asks again and again, as membership does, until it is so: on a busy machine one answer may be late.
    private func asked(
        _ prober: ReachProber, _ host: OwnNamespace, until isSo: @escaping () -> Bool
    ) async throws -> Bool {
        for _ in 0..<50 {
            prober.probe()
            if try await host.wait(seconds: 0.35, until: isSo) { return true }
        }
        return false
    }
    private func hosts(_ answers: Locked<[ReachProber.Answer]>) -> Set<IPAddress> {
        answers.withLock { Set($0.map(\.host)) }
    }

    @Test("a host that is there answers over IPv4 and IPv6, one that is not does not", .enabled(if: isRoot))
    func answering() async throws {
        let (one, two) = try Self.pair()
        let answers = Locked<[ReachProber.Answer]>([])
        let missing = IPAddress("10.8.0.77")!
        let list = [peer, peer6, missing, IPAddress("10.8.0.1")!]
        let prober = try one.run {
            ReachProber(on: one.loop, hosts: list) { answer in answers.withLock { $0.append(answer) } }
        }
        defer { prober.close() }
        #expect(try await asked(prober, one) { hosts(answers) == [peer, peer6] })
        try await one.loop.sleep(for: .milliseconds(400))
        answers.withLock { $0 = [] }
        prober.probe()
        try await one.loop.sleep(for: .milliseconds(400))
        #expect(hosts(answers).isSubset(of: [peer, peer6]), "ourselves and who is not there do not count")
        #expect(answers.withLock { $0.count } <= 2, "each host answers a probe once")
        #expect(answers.withLock { $0.allSatisfy { $0.roundTrip < ReachProber.patience } })
        // The cable is pulled.
        try two.shell("ip link set eth0 down")
        answers.withLock { $0 = [] }
        for _ in 0..<4 {
            prober.probe()
            try await one.loop.sleep(for: .milliseconds(100))
        }
        try await one.loop.sleep(for: .milliseconds(400))
        #expect(hosts(answers).isEmpty)
    }

    @Test("an address of this machine never counts, on whichever interface it is", .enabled(if: isRoot))
    func own() async throws {
        let (one, two) = try Self.pair()
        defer { withExtendedLifetime(two) {} }
        // As a bridge of containers has it, which is no way to this node.
        try one.shell(
            "ip link add docker0 type bridge && ip link set docker0 up && ip addr add 172.17.0.1/16 dev docker0")
        let own = ["172.17.0.1", "10.8.0.1", "fd08::1", "127.0.0.1"].map { IPAddress($0)! }
        let answers = Locked<[ReachProber.Answer]>([])
        let list = own + [peer]
        let prober = try one.run {
            ReachProber(on: one.loop, hosts: list) { answer in answers.withLock { $0.append(answer) } }
        }
        defer { prober.close() }
        #expect(try await asked(prober, one) { hosts(answers) == [peer] })
        let missing = IPAddress("10.8.0.77")!
        prober.use(list + [missing])
        let found = await prober.examine()
        #expect(found.map(\.standing) == [.own, .own, .own, .own, .answers, .silent])
        #expect(hosts(answers) == [peer])
    }

    @Test("without the right to ping a refused port is an answer", .enabled(if: isRoot))
    func unprivileged() async {
        await #expect(processExitsWith: .success) {
            let (one, two) = try Self.pair()
            guard setuid(65534) == 0 else { exit(2) }
            let mayPing = try one.run { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), Int32(IPPROTO_ICMP)) >= 0 }
            guard !mayPing else { exit(3) }
            let prober = try one.run {
                ReachProber(on: one.loop, hosts: [IPAddress("10.8.0.2")!]) { _ in exit(0) }
            }
            defer { withExtendedLifetime(two) {} }
            for _ in 0..<50 {
                prober.probe()
                usleep(100_000)
            }
            exit(4)
        }
    }

    @Test("where pings are swallowed a refused port is an answer", .enabled(if: isRoot))
    func refusing() async throws {
        let (one, two) = try Self.pair()
        try two.shell(
            "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all; echo 1 > /proc/sys/net/ipv6/icmp/echo_ignore_all")
        let answers = Locked<[ReachProber.Answer]>([])
        let list = [peer, peer6]
        let prober = try one.run {
            ReachProber(on: one.loop, hosts: list) { answer in answers.withLock { $0.append(answer) } }
        }
        defer { prober.close() }
        #expect(try await asked(prober, one) { hosts(answers) == [peer, peer6] })
    }

    @Test("an answer that comes too late is none", .enabled(if: isRoot))
    func late() async throws {
        let (one, two) = try Self.pair()
        defer { withExtendedLifetime(two) {} }
        let answers = Locked<[ReachProber.Answer]>([])
        let list = [peer]
        let prober = try one.run {
            ReachProber(on: one.loop, hosts: list) { answer in answers.withLock { $0.append(answer) } }
        }
        defer { prober.close() }
        #expect(try await asked(prober, one) { hosts(answers) == [peer] })
        try await one.loop.sleep(for: .milliseconds(400))
        answers.withLock { $0 = [] }
        // Both in one turn of the loop: the answer is there within a millisecond, but the loop hangs.
        let loop = one.loop
        loop.perform {
            prober.probe()
            loop.perform { usleep(500_000) }
        }
        try await one.loop.sleep(for: .milliseconds(100))
        #expect(hosts(answers).isEmpty)
        #expect(try await asked(prober, one) { hosts(answers) == [peer] })
    }

    @Test("however often it is asked, sockets do not pile up", .enabled(if: isRoot))
    func bounded() async throws {
        let (one, two) = try Self.pair()
        defer { withExtendedLifetime(two) {} }
        let list = (10..<60).map { IPAddress("10.8.0.\($0)")! }
        let prober = try one.run { ReachProber(on: one.loop, hosts: list) { _ in } }
        var most = 0
        for _ in 0..<100 {
            prober.probe()
            try await one.loop.sleep(for: .milliseconds(5))
            most = max(most, await prober.underWay())
        }
        // 300 ms of patience at 20 ms between probes, 16 hosts.
        #expect((1...16 * 16).contains(most))
        prober.close()
        #expect(await prober.underWay() == 0)
    }
}
