import Lab
import Testing

@Suite(
    "an address moves between machines, and the others follow", .serialized,
    .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct MoveTests {
    @Test("the neighbour table of a third machine follows", arguments: ["10.77.0.250", "fd77::250"])
    func move(address: String) throws {
        let world = try World("n1", "n2", "n3")
        for host in ["n1", "n2", "n3"] { try world.giveVersion6(host) }
        let first = try world.hold("n1", address)
        let client = try world.client("n3", address)
        #expect(client.waitForAnswer())
        #expect(try world.neighbour("n3", address) == world["n1"].hardwareAddress)
        first.process.freeze()
        // As a lease has it: only when the first one's right is over.
        first.outlive()
        _ = try world.hold("n2", address)
        #expect(
            eventually(within: .seconds(20)) {
                (try? world.neighbour("n3", address)) == world["n2"].hardwareAddress
            })
        #expect(client.waitForAnswer())
    }

    @Test(
        "who has an address is asked before it is taken, and nobody else's table changes by it",
        arguments: [
            "10.77.0.250", "fd77::250",
        ])
    func probe(address: String) throws {
        let world = try World("n1", "n2", "n3")
        for host in ["n1", "n2", "n3"] { try world.giveVersion6(host) }
        #expect(try world.probe("n2", address) == "silence")
        let holder = try world.hold("n1", address)
        #expect(try world.probe("n2", address).hasPrefix("taken \(world["n1"].hardwareAddress) "))
        #expect(try world.neighbour("n1", world["n2"].address) == "")
        holder.process.freeze()
        holder.outlive()
        // The gate is closed, and a node that may not use the address must not say that it has it.
        #expect(try world.probe("n2", address) == "silence")
        holder.process.thaw()
        holder.process.stop()
        #expect(try world.probe("n2", address) == "silence")
        #expect(try !world.has("n1", address))
    }

    @Test("a silence without a carrier proves nothing")
    func probeWithoutCarrier() throws {
        let world = try World("n1", "n2")
        try world.lab.unplug(world["n2"])
        #expect(try world.probe("n2", world.floating).hasPrefix("failed"))
    }

    @Test("two that hold one address hear of each other")
    func conflict() throws {
        let world = try World("n1", "n2", "n3")
        let one = try world.hold("n1", world.floating)
        let two = try world.hold("n2", world.floating)
        for (holder, other) in [(one, "n2"), (two, "n1")] {
            #expect(
                eventually(within: .seconds(20)) {
                    holder.lines("event").contains {
                        $0.hasPrefix("conflict(\(world.floating), with: \(world[other].hardwareAddress)")
                    }
                }, "\(holder.process.output)")
        }
    }

    @Test("an address with a hardware address of its own brings it along, and leaves without a trace")
    func virtual() throws {
        let world = try World("n1", "n2", "n3")
        let before = try world["n1"].require("sysctl", "-a", "-r", "net.ipv4.conf")
        let first = try world.hold("n1", "\(world.floating)=virtual/51")
        let client = try world.client("n3", world.floating)
        #expect(client.waitForAnswer())
        #expect(try world.neighbour("n3", world.floating) == "00:00:5e:00:01:33")
        // Each address is answered for by its own hardware address only.
        let addresses = try world["n3"].require("ip", "neigh", "show", world["n1"].address)
        #expect(addresses.isEmpty || addresses.contains(world["n1"].hardwareAddress))
        #expect(Set(client.answers("arp").map(\.owner)) == ["00:00:5e:00:01:33"])
        first.process.stop()
        let second = try world.hold("n2", "\(world.floating)=virtual/51")
        // The client's table needs no change, and the bridge learns the new port by our announcement. (Nor does anybody
        // learn another hardware address from the questions of the interface below, which asks for who it answers to.)
        #expect(client.waitForAnswer())
        #expect(try world.neighbour("n3", world.floating) == "00:00:5e:00:01:33")
        #expect(try world["n1"].require("sysctl", "-a", "-r", "net.ipv4.conf") == before)
        #expect(try !world["n1"].require("ip", "link").contains("bramble51"))
        withExtendedLifetime(second) {}
    }

    @Test("a spare interface takes the peer's hardware address, and has its own again after a kill and a new start")
    func takeover() throws {
        let world = try World("n1", "n3")
        try world.lab.command(
            ["ip", "-batch", "-"],
            input: """
                link add p-spare type veth peer name eth1 address 02:00:00:00:01:01 netns n1
                link set p-spare master br0 up

                """)
        let before = try world["n1"].require("sysctl", "-a", "-r", "net.ipv4.conf")
        let specification = "\(world.floating)=takeover/eth1/02:00:00:00:00:99"
        let holder = try world.hold("n1", specification)
        let client = try world.client("n3", world.floating)
        #expect(client.waitForAnswer(), "\(holder.process.output)")
        #expect(Set(client.answers("arp").map(\.owner)) == ["02:00:00:00:00:99"])
        #expect(try world["n1"].require("ip", "link", "show", "eth1").contains("02:00:00:00:00:99"))
        holder.process.kill()
        #expect(try world["n1"].require("ip", "link", "show", "eth1").contains("02:00:00:00:00:99"))
        // The next start finds what is left.
        let journal = World.journal
        #expect(try world["n1"].require(World.program, "probe", journal, "10.77.0.251").contains("silence"))
        let link = try world["n1"].require("ip", "link", "show", "eth1")
        #expect(link.contains("02:00:00:00:01:01") && link.contains("state DOWN"))
        #expect(try world["n1"].require("sysctl", "-a", "-r", "net.ipv4.conf") == before)
        #expect(!world["n1"].exists(journal))
        #expect(try !world.has("n1", world.floating))
    }

    @Test("when nobody cleans up, the kernel itself takes the address off in the end")
    func secondNet() throws {
        let world = try World("n1", "n3")
        try world.giveVersion6("n1")
        let holder = try world.hold("n1", world.floating, "fd77::250")
        holder.process.kill()
        for address in [world.floating, "fd77::250"] { #expect(try world.has("n1", address)) }
        for address in [world.floating, "fd77::250"] {
            #expect(
                eventually(within: .seconds(60), every: .milliseconds(200)) {
                    (try? world.has("n1", address)) == false
                })
        }
    }

    @Test("what a killed run has left is removed at the next start, and nothing else is")
    func leftovers() throws {
        let world = try World("n1", "n3")
        try world.giveVersion6("n1")
        try world["n1"].require("ip", "addr", "add", "10.77.0.77/32", "dev", "eth0")
        let holder = try world.hold("n1", world.floating, "fd77::250", "10.77.0.251=virtual/7")
        let own = try world.addresses("n1").filter { !$0.contains("250") && !$0.contains("251") }
        holder.process.kill()
        for address in [world.floating, "fd77::250", "10.77.0.251"] { #expect(try world.has("n1", address)) }
        _ = try world.probe("n1", "10.77.0.252")
        #expect(try world.addresses("n1") == own)
        #expect(try !world["n1"].require("ip", "link").contains("bramble7"))
    }
}

extension World {
    func addresses(_ host: String) throws -> [String] {
        try lab[host].require("ip", "-o", "addr").split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: \.isWhitespace)
            return words.count > 3 ? "\(words[1]) \(words[3])" : nil
        }.sorted()
    }
}
