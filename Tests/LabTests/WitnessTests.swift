import BrambleAPI
import Lab
import Testing

/// Two nodes and a third machine that only votes, through whole daemons, sampled every 10 ms from a fourth host.
@Suite("a witness", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct WitnessTests {
    /// A service that runs on one of two nodes with a witness, and is being asked for.
    private func begin() throws -> (ServiceCluster, first: BrambleNode, second: BrambleNode, witness: BrambleNode) {
        let house = try ServiceCluster("n1", "n2")
        let witness = try house.addWitness()
        try house.apply(ServiceCluster.document(reach: false))
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        return (house, first, house.other(than: first), witness)
    }
    private func judge(_ house: ServiceCluster, _ holders: [String], _ title: String, since moment: Double) {
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty, "\(title): \(samples.doubles)\n\(house.report)")
        #expect(samples.holders == holders, "\(title): \(samples.holders)\n\(house.report)")
        let gap = samples.gap(around: moment) { !$0.nodes.isEmpty } ?? -1
        print("gap: witness, \(title): service \(Int(gap)) ms")
    }
    /// Nobody has served for so long.
    private func isSilent(_ house: ServiceCluster, since moment: Double) -> Bool {
        !house.samples.contains { $0.at > moment && !$0.nodes.isEmpty }
    }

    @Test("it is shown as what it is, runs nothing, holds no data, and cannot be put on hold")
    func shown() throws {
        let (house, first, _, witness) = try begin()
        let nodes = try first.nodes()
        #expect(nodes.first { $0.name == "w1" }?.role == .witness && nodes.count { $0.role == .node } == 2, "\(nodes)")
        let status = try first.status()
        #expect(status.nodes == .init(alive: 2, down: 0) && status.witness?.name == "w1", "\(status)")
        #expect(house.cluster.nodes.allSatisfy { $0.service("web")?.guarantee == .witness }, "\(house.report)")
        #expect(try first.why("web").answer.contains("the witness w1 breaks the tie"))
        let checks = try first.get("/v1/doctor", as: [DoctorCheck].self)
        #expect(checks.contains { $0.check == "witness" && $0.state == .ok }, "\(checks)")
        #expect(!checks.contains { $0.check == "reach" }, "\(checks)")
        let text = try first.cli("status")
        #expect(text.output.contains("w1: alive, votes"), "\(text.output)")
        let held = try first.ask("POST", "/v1/nodes/w1/hold")
        #expect(held.status == 409 && held.text.contains("witness"), "\(held.status) \(held.text)")
        let moved = try first.ask("POST", "/v1/services/web/move", body: #"{"to":"w1"}"#)
        #expect(moved.status == 409 && moved.text.contains("witness"), "\(moved.status) \(moved.text)")
        // It keeps who it is, the key, whom it knows and what it voted for.
        let kept = try witness.host.require("ls", "-A", BrambleNode.dataDirectory).split(separator: "\n").map {
            "\($0)"
        }
        #expect(
            kept.contains("leases.json") && !kept.contains { $0.contains(".db") || $0.contains("sqlite") }, "\(kept)")
        let ports = try witness.host.require("ss", "-Hltn")
        #expect(!ports.contains(":8080"), "\(ports)")
        let memory = try #require(witness.process?.usage).residentBytes
        print("memory: witness \(memory / 1024) KiB")
    }

    @Test(
        "the node that runs the service loses power: the other one takes over, and the first one waits when it is back")
    func powerOff() throws {
        let (house, first, second, _) = try begin()
        let moment = monotonicSeconds()
        try house.cluster.lab.powerOff(first.host)
        #expect(house.serves(second, since: moment), "\(house.report)")
        pause(.seconds(2))
        judge(house, [first.name, second.name], "power off", since: moment)
    }

    @Test(
        "the two are cut apart and both hear the witness: exactly one serves all the time, and no reach list is needed")
    func cutApart() throws {
        let (house, first, second, _) = try begin()
        let moment = monotonicSeconds()
        try house.cluster.lab.partition([first.host], from: [second.host])
        pause(.seconds(6))
        #expect(house.serves(first, since: moment + 5.5), "\(house.report)")
        // Now the one that serves is away from the witness, too.
        let cut = monotonicSeconds()
        try house.cluster.lab.cut(first.host)
        #expect(house.serves(second, since: cut), "\(house.report)")
        let healed = monotonicSeconds()
        try house.cluster.lab.heal()
        pause(.seconds(4))
        #expect(house.serves(second, since: healed + 3.5), "\(house.report)")
        judge(house, [first.name, second.name], "cut apart, then alone", since: cut)
    }

    @Test("a daemon that is stopped falls silent in time, and finds itself replaced when it goes on")
    func frozen() throws {
        let (house, first, second, _) = try begin()
        let moment = monotonicSeconds()
        first.process?.freeze()
        #expect(house.serves(second, since: moment), "\(house.report)")
        pause(.seconds(1))
        first.process?.thaw()
        pause(.seconds(3))
        judge(house, [first.name, second.name], "daemon stopped", since: moment)
    }

    @Test("without the witness services go on; a node that is then alone does not act, until the witness is back")
    func lost() throws {
        let (house, first, second, witness) = try begin()
        let lost = monotonicSeconds()
        witness.kill()
        pause(.seconds(3))
        #expect(house.serves(first, since: lost + 2.5), "\(house.report)")
        #expect(
            eventually(within: .seconds(10)) {
                (try? second.status())?.notes.contains { $0.contains("the witness w1 does not answer") } ?? false
            }, "\(house.report)")
        let checks = try second.get("/v1/doctor", as: [DoctorCheck].self)
        #expect(checks.contains { $0.check == "witness" && $0.state == .warn }, "\(checks)")
        // One of three is no majority.
        let alone = monotonicSeconds()
        try house.cluster.lab.powerOff(first.host)
        pause(.seconds(6))
        #expect(isSilent(house, since: alone + 1), "\(house.report)")
        let why = try second.why("web")
        #expect(why.answer.contains("no majority of 3 voters answered"), "\(why)")
        let back = monotonicSeconds()
        try witness.restart()
        #expect(house.serves(second, since: back), "\(house.report)")
        judge(house, [first.name, second.name], "lost and back", since: alone)
    }

    @Test("a witness that is restarted in the middle of a cut gives nobody what another still has")
    func restarted() throws {
        let (house, first, second, witness) = try begin()
        try house.cluster.lab.partition([first.host], from: [second.host])
        pause(.seconds(1))
        // Whoever is granted the lease after each of these, nobody else may still be serving.
        for _ in 0..<3 {
            witness.kill()
            try witness.restart()
            let moment = monotonicSeconds()
            let goesOn = eventually(within: .seconds(40)) {
                house.samples.contains { $0.at > moment + 2 && !$0.nodes.isEmpty }
            }
            #expect(goesOn, "\(house.report)")
        }
        try house.cluster.lab.heal()
        pause(.seconds(2))
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty, "\(samples.doubles)\n\(house.report)")
        print("witness restarted three times: \(samples.holders)")
    }

    @Test("a witness that an operator removes is out at once, wipes what it knew, and the two go on as a pair")
    func removed() throws {
        let (house, first, second, witness) = try begin()
        let answer = try second.ask("DELETE", "/v1/nodes/w1", within: .seconds(20))
        #expect(answer.status == 200, "\(answer.text)")
        #expect(witness.process?.wait(.seconds(10)) == .exited(0), "\(witness.log)")
        #expect(witness.log.contains("was removed from its cluster"), "\(witness.log)")
        #expect(!witness.host.exists(BrambleNode.keyFile) && !witness.host.exists("/var/lib/bramble/leases.json"))
        let isPair = eventually(within: .seconds(40)) {
            house.cluster.nodes.allSatisfy { (try? $0.status())?.guarantee == "best-effort" }
        }
        #expect(isPair, "\(house.report)")
        // It has been held all the time, and is promised no more than what is so now.
        for node in house.cluster.nodes {
            #expect(node.service("web")?.guarantee == .bestEffort, "\(house.report)")
            #expect(try node.why("web").answer.contains("both may run it"), "\(house.report)")
        }
        let moment = monotonicSeconds()
        #expect(house.serves(first, since: moment), "\(house.report)")
        judge(house, [first.name], "removed", since: moment)
    }

    @Test("a machine without a key that is started as a witness waits, and is added like a node")
    func invited() throws {
        let house = try ServiceCluster("n1", "n2")
        let witness = BrambleNode(BrambleNode.builtHere, on: try house.cluster.lab.add(["w1"])[0])
        try witness.start(command: "witness")
        try house.cluster.admit("w1")
        #expect(house.votes(within: .seconds(40)), "\(witness.log)\n\(house.report)")
        #expect(witness.stop() == .exited(0), "\(witness.log)")
    }
}
