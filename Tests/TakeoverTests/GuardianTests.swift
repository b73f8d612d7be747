import CLinux
import Lab
import Testing

@Suite(
    "an address that is held stays, whoever else manages the network", .serialized,
    .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct GuardianTests {
    @Test("one that somebody removes is back, and announced again", arguments: ["10.77.0.250/32", "fd77::250/128"])
    func restored(address: String) throws {
        let world = try World("n1", "n3")
        for host in ["n1", "n3"] { try world.giveVersion6(host) }
        let plain = String(address.split(separator: "/")[0])
        let holder = try world.hold("n1", plain, lease: 20_000)
        for round in 1...5 {
            try world["n1"].require("ip", "addr", "del", address, "dev", "eth0")
            #expect(eventually(within: .seconds(20)) { holder.lines("event").count >= round })
            #expect(try world.has("n1", plain))
        }
        let told = holder.lines("event")
        #expect(told.allSatisfy { $0.hasPrefix("restored(\(plain)") }, "\(told)")
        #expect(told.last?.hasSuffix("recently: 5)") == true, "\(told)")
        let client = try world.client("n3", plain)
        #expect(client.waitForAnswer())
    }

    @Test("who did it is named, when it is still there to be found")
    func culprit() throws {
        let world = try World("n1", "n3")
        let holder = try world.hold("n1", world.floating, lease: 20_000)
        // A program with a routing socket that stays: the kernel's notice bears its number.
        let script = """
            import os, socket, struct, time
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            s.bind((os.getpid(), 0))
            index = socket.if_nametoindex("eth0")
            a = socket.inet_aton("\(world.floating)")
            body = struct.pack("BBBBi", 2, 32, 0, 0, index) + struct.pack("HH", 8, 2) + a
            s.send(struct.pack("IHHII", 16 + len(body), 21, 1, 1, 0) + body)
            time.sleep(60)
            """
        let other = try world["n1"].spawn(["python3", "-c", script])
        #expect(eventually(within: .seconds(20)) { !holder.lines("event").isEmpty }, "\(other.output)")
        let told = holder.lines("event").first ?? ""
        #expect(told.contains("python3 (process "), "\(told)")
    }

    @Test("after the cable was out it is there and announced, version 6 too")
    func carrier() throws {
        let world = try World("n1", "n3")
        for host in ["n1", "n3"] { try world.giveVersion6(host) }
        let holder = try world.hold("n1", world.floating, "fd77::250", lease: 20_000)
        let sniffer = try world.lab.sniffer()
        try world.lab.unplug(world["n1"])
        #expect(
            eventually(within: .seconds(20)) {
                holder.lines("event").contains("carrier(interface: \"eth0\", isUp: false)")
            })
        // Whatever was announced before that.
        _ = sniffer.frames()
        try world.lab.plug(world["n1"])
        #expect(
            eventually(within: .seconds(20)) {
                holder.lines("event").contains("carrier(interface: \"eth0\", isUp: true)")
            })
        let isAnnounced = eventually(within: .seconds(20)) {
            sniffer.frames().contains { $0.count >= 42 && $0[12...13] == [8, 6] && $0[28..<32] == [10, 77, 0, 250] }
        }
        #expect(isAnnounced)
        for address in [world.floating, "fd77::250"] { #expect(try world.has("n1", address)) }
    }

    @Test("an interface that goes down and up, as network programs do it, has its addresses again")
    func interfaceDown() throws {
        let world = try World("n1", "n3")
        for host in ["n1", "n3"] { try world.giveVersion6(host) }
        let holder = try world.hold("n1", world.floating, "fd77::250", lease: 20_000)
        try world["n1"].require("ip", "link", "set", "eth0", "down")
        try world["n1"].require("ip", "link", "set", "eth0", "up")
        for address in [world.floating, "fd77::250"] {
            #expect(eventually(within: .seconds(20)) { (try? world.has("n1", address)) == true }, "\(address)")
        }
        let client = try world.client("n3", world.floating)
        #expect(client.waitForAnswer(), "\(holder.process.output)")
    }
}
