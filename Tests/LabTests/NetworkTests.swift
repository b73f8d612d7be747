import BrambleAPI
import Lab
import Testing

@Suite("networks come, go and change", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct NetworkTests {
    @Test("a node that starts without a network joins when the network comes")
    func later() throws {
        let cluster = try Cluster("n1", "n2")
        let late = try cluster.add("n3", connected: false)
        try late.host.require("ip", "addr", "flush", "dev", "eth0")
        try late.takeKey(of: cluster["n1"])
        try late.start()
        #expect(eventually(within: .seconds(5)) { (try? late.status().state) == .alone }, "\(cluster.logs)")
        pause(.seconds(1))
        try cluster.lab.plug(late.host)
        try late.host.configureNetwork()
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("a node whose address changes stays a member, and the others show the new one")
    func change() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let host = cluster["n2"].host
        try host.require(
            ["ip", "-batch", "-"],
            input: "addr del \(host.address)/24 dev eth0\naddr add 10.77.0.102/24 dev eth0\n")
        for name in ["n1", "n3"] {
            let isShown = eventually(within: .seconds(20)) {
                let node = ((try? cluster[name].nodes()) ?? []).first { $0.name == "n2" }
                return node?.address == "10.77.0.102" && node?.state == .alive
            }
            #expect(isShown, "\(cluster.logs)")
            let isInHosts = eventually(within: .seconds(5)) {
                cluster[name].host.read("/etc/hosts")?.contains("10.77.0.102\tn2") == true
            }
            #expect(isInHosts)
        }
    }

    @Test("a node pulled off the network and plugged in again is back by itself")
    func replug() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        try cluster.lab.unplug(cluster["n2"].host)
        for name in ["n1", "n3"] {
            #expect(eventually(within: .seconds(10)) { cluster[name].sees("n2", as: .down) }, "\(cluster.logs)")
        }
        try cluster.lab.plug(cluster["n2"].host)
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("where multicast does not pass, --join is enough")
    func joinByAddress() throws {
        let cluster = try Cluster("n1", "n2", "n3", started: false)
        try cluster["n1"].start(["--no-discovery"])
        for name in ["n2", "n3"] {
            try cluster[name].start(["--no-discovery", "--join", cluster["n1"].host.address])
        }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
    }

    @Test("a port that is in use is named with a remedy, and the daemon does not die of it when it can be waited for")
    func portInUse() throws {
        let cluster = try Cluster("n1", started: false)
        let node = cluster["n1"]
        var blocker: DatagramSocket? = try node.host.datagramSocket(port: 7771)
        try node.start()
        let end = node.process?.wait(.seconds(5))
        #expect(end == .exited(1), "\(node.log)")
        #expect(node.log.contains("7771"))
        #expect(node.log.contains("ss -"), "\(node.log)")
        withExtendedLifetime(blocker) {}
        blocker = nil
        // systemd starts it again; then it runs.
        try node.start()
        #expect(eventually(within: .seconds(5)) { (try? node.status().state) == .alone }, "\(node.log)")
    }

    @Test("junk, truncated, oversized, replayed and foreign datagrams are counted, and the node goes on as before")
    func junk() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let moment = monotonicSeconds()
        let target = cluster["n1"].host.address
        let sniffer = try cluster.lab.sniffer()
        pause(.seconds(1))
        let recorded = sniffer.frames().compactMap { datagram(in: $0, to: target, port: 7771) }
        #expect(recorded.count > 5)

        let attacker = try cluster.add("mallory").host
        let socket = try attacker.datagramSocket()
        let neighbour = try cluster["n2"].host.datagramSocket()
        var random = SystemRandomNumberGenerator()
        for packet in recorded.prefix(60) {
            for sender in [socket, neighbour] {
                try sender.send(packet, to: target, port: 7771)
                try sender.send(Array(packet.prefix(packet.count / 2)), to: target, port: 7771)
                var changed = packet
                changed[Int.random(in: changed.indices)] ^= 1 << UInt8.random(in: 0..<8)
                try sender.send(changed, to: target, port: 7771)
                try sender.send(packet + packet + packet, to: target, port: 7771)
            }
        }
        for length in [6, 10, 20] { try socket.send(Array(recorded[0].prefix(length)), to: target, port: 7771) }
        for size in [0, 1, 2, 7, 13, 64, 500, 1200, 1472, 9000, 60_000] {
            try socket.send((0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }, to: target, port: 7771)
        }
        for reason in ["junk", "truncated", "oversized", "replayed"] {
            let isCounted = eventually(within: .seconds(3)) {
                ((try? cluster["n1"].metric("bramble_datagrams_dropped_total", where: "reason=\"\(reason)\"")) ?? 0) > 0
            }
            #expect(isCounted, "\(reason) was not counted")
        }
        pause(.seconds(2))
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
        #expect(cluster.accusations(since: moment) == [], "\(cluster.logs)")
    }

    @Test("a thousand idle connections to the dashboard, and the pulse does not notice")
    func idleConnections() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let client = try cluster.add("crowd").host
        let moment = monotonicSeconds()
        var connections: [Connection] = []
        for _ in 0..<1000 {
            // Those that are refused count as well: it is what a bound is for.
            guard let connection = try? client.connect(to: cluster["n1"].host.address, port: 8080, limit: .seconds(1))
            else { continue }
            connections.append(connection)
        }
        #expect(connections.count > 10)
        pause(.seconds(2))
        #expect(cluster.accusations(since: moment) == [], "\(cluster.logs)")
        #expect(try cluster["n1"].status().nodes.alive == 3)
        connections = []
        let health = eventually(within: .seconds(20)) { () -> Int? in
            guard let stream = try? client.connect(to: cluster["n1"].host.address, port: 8080, limit: .seconds(1)),
                let answer = try? HTTPResponse.ask("GET", "/health", over: stream)
            else { return nil }
            return answer.status
        }
        #expect(health == 200)
    }

    /// The payload of a UDP datagram of IPv4 in an Ethernet frame, when it goes there.
    private func datagram(in frame: [UInt8], to address: String, port: UInt16) -> [UInt8]? {
        guard frame.count > 42, frame[12] == 8, frame[13] == 0, frame[23] == 17 else { return nil }
        let header = Int(frame[14] & 15) * 4
        let target = frame[30..<34].map { "\($0)" }.joined(separator: ".")
        let start = 14 + header
        guard target == address, frame.count > start + 8,
            UInt16(frame[start + 2]) << 8 | UInt16(frame[start + 3]) == port
        else { return nil }
        let length = Int(frame[start + 4]) << 8 | Int(frame[start + 5])
        return Array(frame[(start + 8)..<min(frame.count, start + length)])
    }
}
