import BrambleAPI
import Lab
import Testing

@Suite("nodes know who is alive", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct LivenessTests {
    @Test("five machines with one key find each other by DNS-SD and write each other's names into /etc/hosts")
    func fiveFindEachOther() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", "n5")
        for node in cluster.nodes {
            #expect(try node.status().state == .member)
            #expect(try node.status().nodes == .init(alive: 5, down: 0))
            let hasAll = eventually(within: .seconds(5)) {
                let lines = (node.host.read("/etc/hosts") ?? "").split(separator: "\n").map {
                    $0.split { $0 == " " || $0 == "\t" }
                }
                return cluster.nodes.allSatisfy { other in
                    lines.contains {
                        $0.count > 1 && $0[0] == other.host.address && $0[1...].contains(Substring(other.name))
                    }
                }
            }
            #expect(hasAll, "\(node.host.read("/etc/hosts") ?? "")")
            // Lines of others stay, and the file can be read by everybody as before.
            #expect(node.host.read("/etc/hosts")?.contains("127.0.0.1 localhost\n") == true)
            let mode = try node.host.require("stat", "-c", "%a", "/etc/hosts")
            #expect(mode == "644\n")
        }
    }

    @Test("a machine alone is a cluster of one at once")
    func alone() throws {
        let cluster = try Cluster("n1", started: false)
        try cluster["n1"].start()
        #expect(eventually(within: .seconds(3)) { (try? cluster["n1"].status().state) == .alone }, "\(cluster.logs)")
    }

    @Test("a killed node is down on all others, nobody else is, and each can say why")
    func killed() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", "n5")
        let victim = cluster["n3"]
        let moment = monotonicSeconds()
        victim.kill()
        for node in cluster.others(than: victim) {
            let event = try #require(
                eventually(within: .seconds(5)) { node.event("down", "n3", after: moment) }, "\(cluster.logs)")
            #expect(!event.by.isEmpty && !event.by.contains("n3"))
            let why = try node.why("n3")
            #expect(why.subject == "n3")
            #expect(why.answer.contains("observers") && why.answer.contains("ms"), "\(why.answer)")
            #expect(why.because.contains { $0.figures["phi"] != nil && $0.figures["silenceMs"] != nil })
            #expect(node.view() == ["n1": .alive, "n2": .alive, "n3": .down, "n4": .alive, "n5": .alive])
        }
        #expect(cluster.accusations(since: moment).allSatisfy { $0.hasSuffix(": n3") })
        let text = try cluster["n1"].cli("why", "n3")
        #expect(text.succeeded && text.output.contains("n3 is down"))

        let id = try cluster["n1"].nodes().first { $0.name == "n3" }?.id
        try victim.restart()
        #expect(cluster.agree(alive: ["n1", "n2", "n3", "n4", "n5"]), "\(cluster.logs)")
        #expect(try cluster["n1"].nodes().first { $0.name == "n3" }?.id == id)
    }

    @Test("a frozen node accuses nobody when it goes on", arguments: [2, 5])
    func frozen(length: Int) throws {
        let cluster = try Cluster("n1", "n2", "n3")
        for node in cluster.nodes {
            let moment = monotonicSeconds()
            node.process?.freeze()
            pause(.seconds(length))
            node.process?.thaw()
            #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
            // That it did not answer may be said of the frozen one itself, and of nobody else.
            let wrong = cluster.accusations(since: moment).filter { !$0.hasSuffix(": \(node.name)") }
            #expect(wrong == [], "\(cluster.logs)")
        }
    }

    @Test("a daemon that is killed and started again at once is a member again, every time")
    func restartLoop() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        for round in 0..<9 {
            let victim = cluster.nodes[round % 3]
            victim.kill()
            pause(.milliseconds(Int64.random(in: 0...180)))
            try victim.restart()
            let others = Set(cluster.others(than: victim).map(\.name))
            let isMember = eventually(within: .seconds(10)) {
                let edges = (try? victim.edges()) ?? []
                return Set(edges.filter { $0.from == victim.name && $0.state == .up }.map(\.to)) == others
            }
            #expect(isMember, "round \(round), \(victim.name)\n\(cluster.logs)")
        }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
    }

    @Test("a stopped node is listed as left, and its daemon ends with 0")
    func stopped() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let moment = monotonicSeconds()
        #expect(cluster["n2"].stop() == .exited(0))
        for name in ["n1", "n3"] {
            #expect(eventually(within: .seconds(3)) { cluster[name].sees("n2", as: .left) }, "\(cluster.logs)")
        }
        #expect(cluster.accusations(since: moment) == [])
    }

    @Test("two sides of a partition each call the other down; healed, they agree again")
    func partition() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", "n5")
        let left = ["n1", "n2"]
        let right = ["n3", "n4", "n5"]
        try cluster.lab.partition(left.map { cluster[$0].host }, from: right.map { cluster[$0].host })
        #expect(cluster.agree(alive: left), "\(cluster.logs)")
        #expect(cluster.agree(alive: right), "\(cluster.logs)")
        #expect(eventually(within: .seconds(5)) { cluster["n1"].sees("n4", as: .down) }, "\(cluster.logs)")
        try cluster.lab.heal()
        #expect(cluster.agree(alive: left + right, within: .seconds(10)), "\(cluster.logs)")
    }

    @Test("two halves that started apart, each a cluster of its own with the same key, merge when they meet")
    func merge() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", started: false)
        let (left, right) = (["n1", "n2"], ["n3", "n4"])
        try cluster.lab.partition(left.map { cluster[$0].host }, from: right.map { cluster[$0].host })
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: left), "\(cluster.logs)")
        #expect(cluster.agree(alive: right), "\(cluster.logs)")
        try cluster.lab.heal()
        #expect(cluster.agree(alive: left + right, within: .seconds(30)), "\(cluster.logs)")
    }

    @Test("a cable that works one way accuses nobody whom the others hear")
    func oneWay() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4")
        let moment = monotonicSeconds()
        try cluster.lab.drop(from: cluster["n1"].host, to: cluster["n2"].host)
        let isBroken = eventually(within: .seconds(10)) {
            let edges = (try? cluster["n1"].edges()) ?? []
            return edges.contains { $0.from == "n1" && $0.to == "n2" && $0.state != .up }
        }
        // n1 hears n2 all the time; that its own words do not arrive, it learns from the echo.
        #expect(isBroken, "\(cluster.logs)")
        pause(.seconds(3))
        #expect(cluster.accusations(since: moment) == [], "\(cluster.logs)")
    }

    @Test("a fifth of all packets lost, and nobody is accused")
    func loss() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4", "n5")
        let moment = monotonicSeconds()
        try cluster.lab.lose(percent: 20)
        pause(.seconds(15))
        #expect(cluster.accusations(since: moment) == [], "\(cluster.logs)")
    }

    @Test("of two nodes with a reach list, the one that is cut off says so and the other calls it down")
    func twoNodes() throws {
        let cluster = try Cluster("n1", "n2", "router", started: false)
        let router = cluster["router"].host.address
        for name in ["n1", "n2"] {
            try cluster[name].host.write("reach: [\(router)]\n", to: "/etc/bramble.yaml")
            try cluster[name].start(["--config", "/etc/bramble.yaml"])
        }
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
        let moment = monotonicSeconds()
        try cluster.lab.cut(cluster["n2"].host)
        #expect(eventually(within: .seconds(10)) { cluster["n1"].sees("n2", as: .down) }, "\(cluster.logs)")
        pause(.seconds(1))
        #expect(cluster["n2"].event("down", "n1", after: moment) == nil, "\(cluster.logs)")
        try cluster.lab.heal()
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
    }

    @Test("a clock that is years off changes nothing", arguments: [-12, 12])
    func wrongClock(years: Int) throws {
        let cluster = try Cluster("n1", "n2", "n3", started: false)
        for name in ["n1", "n2"] { try cluster[name].start() }
        try cluster["n3"].start(clockShift: years * 31_557_600)
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
        // It really has another year, or this test would show nothing.
        let shift = try #require(cluster["n3"].clockShift)
        #expect(abs(shift - Double(years * 31_557_600)) < 300, "the clock moved by \(shift) s")
        let moment = monotonicSeconds()
        cluster["n2"].kill()
        #expect(eventually(within: .seconds(5)) { cluster["n3"].event("down", "n2", after: moment) != nil })
        try cluster["n2"].restart()
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
    }
}
