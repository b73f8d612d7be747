import Lab
import Testing

@Suite(
    "the kernel lets a floating address pass only as long as the right to it lasts", .serialized,
    .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct GateTests {
    /// From the end of a right until the last answer: the kernel's tick (4 ms at 250 Hz) and its rounding.
    static let lag: Int64 = 30_000_000

    @Test(
        "when the holder's daemon is frozen or killed, nothing that is asked after the end of its right is answered",
        arguments: [
            ("SIGSTOP", "10.77.0.250"), ("SIGKILL", "10.77.0.250"), ("SIGSTOP", "fd77::250"), ("SIGKILL", "fd77::250"),
        ])
    func silence(signal: String, address: String) throws {
        let world = try World("n1", "n3")
        for host in ["n1", "n3"] { try world.giveVersion6(host) }
        let holder = try world.hold("n1", address)
        let client = try world.client("n3", address)
        try #require(client.waitForAnswer(), "\(holder.process.output)")
        if signal == "SIGSTOP" { holder.process.freeze() } else { holder.process.kill() }
        // A frozen process writes nothing more, so this is the last right that it can have asked for.
        pause(.milliseconds(20))
        let until = holder.until
        #expect(client.ask(beyond: until))
        let kinds = address.contains(":") ? ["echo"] : ["echo", "arp"]
        for kind in kinds {
            let answered = client.answers(kind)
            #expect(answered.count > 0)
            let late = answered.filter { $0.askedAt > until + Self.lag }
            #expect(late.isEmpty, "\(kind): answered \(late.map { Double($0.askedAt - until) / 1e6 }) ms after the end")
        }
        // The address is there all the same: it was the gate.
        #expect(try world.has("n1", address))
        guard signal == "SIGSTOP" else { return }
        // Awake again it finds its right gone, gives the address up, and says so.
        let before = client.asked.last!.askedAt
        holder.process.thaw()
        #expect(eventually(within: .seconds(20)) { holder.lines("event").contains("expired(\(address), epoch: 1)") })
        #expect(try !world.has("n1", address))
        #expect(client.answers("echo").allSatisfy { $0.askedAt < before })
    }

    @Test("renewals lose no packet")
    func steady() throws {
        let world = try World("n1", "n3")
        // A right that a busy test machine does not let run out; renewed 40 times a second.
        let holder = try world.hold("n1", world.floating, lease: 20_000, pace: 25)
        let client = try world.client("n3", world.floating)
        try #require(client.waitForAnswer())
        #expect(client.wait(questions: 300))
        let first = client.answers("echo").first!.number
        let last = client.asked.last!.number
        // Those that were asked a moment ago may be under way.
        for kind in ["echo", "arp"] {
            _ = client.wait(questions: 20)
            let answered = Set(client.answers(kind).map(\.number))
            let lost = (first...last).filter { !answered.contains($0) }
            #expect(lost.isEmpty, "\(kind): \(lost) of \(first) to \(last) were lost")
        }
        #expect(holder.lines("until").count > 50)
    }

    @Test("others' tables stay as they are, and when somebody flushes all, ours come back")
    func flushed() throws {
        let world = try World("n1", "n3")
        let others =
            "table inet mine {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
        try world["n1"].require(["nft", "-f", "-"], input: others)
        let holder = try world.hold("n1", world.floating)
        #expect(try world["n1"].require("nft", "list", "table", "inet", "mine") == others)
        try world["n1"].require("nft", "flush", "ruleset")
        #expect(eventually(within: .seconds(20)) { holder.lines("event").contains("gateRebuilt") })
        let tables = try world["n1"].require("nft", "list", "ruleset")
        #expect(tables.contains("table inet bramble") && tables.contains("table arp bramble"))
        let client = try world.client("n3", world.floating)
        #expect(client.waitForAnswer())
        holder.process.freeze()
        pause(.milliseconds(20))
        let until = holder.until
        #expect(client.ask(beyond: until))
        let late = client.answers("echo").filter { $0.askedAt > until + Self.lag }
        #expect(late.isEmpty, "\(late.map { Double($0.askedAt - until) / 1e6 }) ms after the end")
        holder.process.thaw()
        holder.process.stop()
        #expect(try world["n1"].require("nft", "list", "ruleset") == "")
    }
}

extension World {
    func giveVersion6(_ host: String) throws {
        try lab[host].require("ip", "addr", "add", "fd77::\(lab[host].number)/64", "dev", "eth0", "nodad")
    }
}
