import BrambleAPI
import Lab
import Testing

/// Hardware addresses and paths, each through whole daemons, sampled every 10 ms from a third host.
@Suite(
    "hardware addresses of services, and paths", .serialized,
    .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct AddressTests {
    /// 00:00:5e:00:01 and the last number of 10.77.0.50.
    private static let movingHardware = "00:00:5e:00:01:32"

    private func document(_ more: String) -> String {
        ServiceCluster.document(more.split(separator: "\n").map { "    \($0)" }.joined(separator: "\n"))
    }

    /// The node that runs the service and is being asked for it.
    private func begin(
        _ house: ServiceCluster, _ document: String, at address: String = ServiceCluster.address
    ) throws -> BrambleNode {
        try house.apply(document)
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress(address)
        #expect(house.serves(first, since: 0), "\(house.report)")
        pause(.seconds(1))
        return first
    }

    /// Another node serves, alone, and nobody ever did beside another.
    private func moved(_ house: ServiceCluster, from first: BrambleNode, since moment: Double, _ title: String) throws {
        let second = house.other(than: first)
        #expect(house.serves(second, since: moment), "\(title)\n\(house.report)")
        pause(.seconds(1))
        let gap = house.samples.gap(around: moment) { !$0.nodes.isEmpty } ?? -1
        print("gap: \(title): service \(Int(gap)) ms")
    }
    private func judge(_ house: ServiceCluster, _ holders: [String], hardware: [String]? = nil) {
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty, "\(samples.doubles)\n\(house.report)")
        #expect(samples.holders == holders, "\(samples.holders)\n\(house.report)")
        if let hardware { #expect(samples.owners == hardware, "\(samples.owners)\n\(house.report)") }
    }

    @Test("mac: virtual keeps one hardware address through a freeze of its node, and no sample has two")
    func virtual() throws {
        let house = try ServiceCluster("n1", "n2")
        let first = try begin(house, document("mac: virtual"))
        let moment = monotonicSeconds()
        first.process?.freeze()
        try moved(house, from: first, since: moment, "virtual, daemon stopped")
        first.process?.thaw()
        pause(.seconds(2))
        judge(house, [first.name, house.other(than: first).name], hardware: [Self.movingHardware])
    }

    @Test(
        "an address of IPv6 moves: its node is killed, stopped, cut off; no sample has two, one follows the other",
        arguments: ["kill", "freeze", "unplug"])
    func version6(fault: String) throws {
        let house = try ServiceCluster("n1", "n2", address: ServiceCluster.address6)
        let first = try begin(
            house, ServiceCluster.document(addresses: "\(ServiceCluster.address6)/64"), at: ServiceCluster.address6)
        let second = house.other(than: first)
        let moment = monotonicSeconds()
        switch fault {
        case "kill": first.kill()
        case "freeze": first.process?.freeze()
        default: try house.cluster.lab.unplug(first.host)
        }
        try moved(house, from: first, since: moment, "IPv6, \(fault)")
        if fault == "freeze" {
            first.process?.thaw()
            pause(.seconds(2))
        }
        judge(
            house, [first.name, second.name], hardware: [first.host.hardwareAddress, second.host.hardwareAddress])
    }

    @Test("an address that somebody else has is taken by no node, and the reason names who", arguments: [false, true])
    func taken(isV6: Bool) throws {
        let (address, length) = isV6 ? (ServiceCluster.address6, 64) : (ServiceCluster.address, 24)
        let house = try ServiceCluster("n1", "n2", address: address)
        try house.client.require(
            ["ip", "address", "add", "\(address)/\(length)", "dev", "eth0"] + (isV6 ? ["nodad"] : []))
        try house.apply(ServiceCluster.document(addresses: "\(address)/\(length)"))
        // Both have a try.
        let isSaid = eventually(within: .seconds(40)) {
            house.cluster.nodes.allSatisfy { node in
                node.log.contains("\(house.client.hardwareAddress) answers for \(address) already")
            }
        }
        #expect(isSaid, "\(house.report)")
        for node in house.cluster.nodes {
            // After the log: what was begun is stopped first.
            let reason = eventually(within: .seconds(20)) {
                (node.service("web")?.reason ?? "").contains("answers for \(address)")
            }
            #expect(reason, "\(house.report)")
            let addresses = try node.host.require("ip", "address", "show", "dev", "eth0")
            #expect(!addresses.contains("\(address)/"), "\(addresses)")
            #expect(!node.log.contains("\(address) is on eth0"), "\(house.report)")
        }
    }

    @Test("mac: takeover moves the hardware address to the other's spare interface, which gives it back afterwards")
    func takeover() throws {
        let house = try ServiceCluster("n1", "n2")
        for (number, node) in house.cluster.nodes.enumerated() {
            try house.cluster.lab.command(
                ["ip", "-batch", "-"],
                input: """
                    link add s-\(node.name) type veth peer name eth1 address 02:00:00:00:01:0\(number + 1) netns \(node.name)
                    link set s-\(node.name) master br0 up

                    """)
        }
        let own = ["n1": "02:00:00:00:01:01", "n2": "02:00:00:00:01:02"]
        func has(_ node: BrambleNode, _ hardware: String) -> Bool {
            (try? node.host.require("ip", "link", "show", "eth1").contains(hardware)) == true
        }
        let first = try begin(house, document("mac: takeover\ninterface: eth1"))
        let second = house.other(than: first)
        #expect(has(first, Self.movingHardware) && has(second, own[second.name]!))
        let moment = monotonicSeconds()
        first.kill()
        try moved(house, from: first, since: moment, "takeover, daemon killed")
        #expect(has(second, Self.movingHardware))
        // The daemon that comes back gives back what its former life had.
        try first.restart()
        #expect(eventually(within: .seconds(20)) { has(first, own[first.name]!) }, "\(house.report)")
        #expect(house.cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(house.report)")
        // And a move gives it back, too. It is refused until the other one has learned what it missed.
        let isMoved = eventually(within: .seconds(20)) {
            (try? second.ask("POST", "/v1/services/web/move", body: "{}", within: .seconds(50)))?.status == 200
        }
        #expect(isMoved, "\(house.report)")
        #expect(has(first, Self.movingHardware) && has(second, own[second.name]!), "\(house.report)")
        pause(.seconds(1))
        judge(house, [first.name, second.name, first.name], hardware: [Self.movingHardware])
    }

    @Test("mac: takeover by an interface that has other uses is refused, with the reason")
    func takeoverRefused() throws {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            let number = node.name == "n1" ? 1 : 2
            try house.cluster.lab.command([
                "ip", "link", "add", "s-\(node.name)", "type", "veth", "peer", "name", "eth1", "netns", node.name,
            ])
            try node.host.require("ip", "address", "add", "10.78.0.\(number)/24", "dev", "eth1")
        }
        try house.apply(document("mac: takeover\ninterface: eth1"))
        let isSaid = eventually(within: .seconds(20)) {
            house.cluster.nodes.contains { $0.service("web")?.reason.contains("only a spare interface") == true }
        }
        #expect(isSaid, "\(house.report)")
        for node in house.cluster.nodes {
            #expect(try !node.host.require("ip", "link", "show", "eth1").contains(Self.movingHardware))
        }
    }

    /// A cable of their own between two nodes.
    private func addCable(_ house: ServiceCluster) throws {
        try house.cluster.lab.command([
            "ip", "link", "add", "eth1", "netns", "n1", "type", "veth", "peer", "name", "eth1", "netns", "n2",
        ])
        for (number, node) in house.cluster.nodes.enumerated() {
            try node.host.require(
                ["ip", "-batch", "-"],
                input: "address add 10.78.0.\(number + 1)/24 dev eth1\nlink set eth1 up\n")
        }
    }

    @Test("losing the heartbeat cable alone moves nothing, and neither does its return")
    func heartbeatPathCut() throws {
        let house = try ServiceCluster("n1", "n2")
        try addCable(house)
        let first = try begin(house, document(""))
        let cut = monotonicSeconds()
        try house.cluster["n1"].host.require("ip", "link", "set", "eth1", "down")
        pause(.seconds(3))
        #expect(house.serves(first, since: cut + 2.5), "\(house.report)")
        try house.cluster["n1"].host.require("ip", "link", "set", "eth1", "up")
        pause(.seconds(2))
        #expect(house.cluster.accusations(since: cut).isEmpty, "\(house.report)")
        judge(house, [first.name])
    }

    @Test("losing the service's cable moves it, although the nodes still hear each other by the other cable")
    func servicePathCut() throws {
        let house = try ServiceCluster("n1", "n2")
        try addCable(house)
        // Both have to have found the second way before the first one goes.
        pause(.seconds(5))
        let first = try begin(house, document(""))
        let moment = monotonicSeconds()
        try house.cluster.lab.unplug(first.host)
        try moved(house, from: first, since: moment, "service path only")
        try house.cluster.lab.plug(first.host)
        pause(.seconds(3))
        judge(house, [first.name, house.other(than: first).name])
    }
}
