import BrambleAPI
import Lab
import Testing

@Suite("who belongs", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct TrustTests {
    @Test("a data directory copied to another machine joins under an identity and a name of its own")
    func copiedCard() throws {
        let cluster = try Cluster("n1", "n2")
        let copy = try cluster.add("n3")
        // As a copied card: the same files, the same host name, other hardware.
        cluster["n1"].stop()
        try copy.host.require("mkdir", "-p", "-m", "700", BrambleNode.dataDirectory)
        for name in try cluster["n1"].host.require("ls", BrambleNode.dataDirectory).split(separator: "\n") {
            let path = "\(BrambleNode.dataDirectory)/\(name)"
            try copy.host.write(try #require(cluster["n1"].host.read(path)), to: path)
            try copy.host.require("chmod", "600", path)
        }
        try copy.host.require("hostname", "n1")
        try cluster["n1"].restart()
        try copy.start()
        let names = ["n1", "n1-2", "n2"]
        #expect(cluster.nodes.agree(alive: names, within: .seconds(20)), "\(cluster.logs)")
        let nodes = try cluster["n2"].nodes()
        #expect(Set(nodes.map(\.id)).count == 3)
        // The original keeps its name: it is the one that runs on the first host.
        #expect(nodes.first { $0.name == "n1" }?.address == cluster["n1"].host.address)
        #expect(eventually(within: .seconds(5)) { cluster["n2"].event("conflict", "n1-2") != nil })
    }

    @Test("two machines with one name: both are members, the younger one gets a suffix")
    func nameConflict() throws {
        let cluster = try Cluster("n1", "n2", "n3", started: false)
        for node in cluster.nodes {
            try node.start(["--name", node.name == "n1" ? "n1" : "twin"])
            #expect(eventually(within: .seconds(5)) { (try? node.status()) != nil })
        }
        #expect(cluster.nodes.agree(alive: ["n1", "twin", "twin-2"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("a node with another key is foreign: ignored, shown once, and it learns nothing")
    func wrongKey() throws {
        let cluster = try Cluster("quince", "medlar", started: false)
        let stranger = try cluster.add("bullace")
        try stranger.makeCluster("elsewhere")
        let sniffer = try cluster.lab.sniffer()
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: ["quince", "medlar"]), "\(cluster.logs)")
        let address = cluster["quince"].host.address
        // It knows where they are, and still gets nothing.
        stranger.stop()
        try stranger.start(["--join", address])
        #expect(
            eventually(within: .seconds(10)) {
                (try? cluster["quince"].events().contains { $0.type == "foreign" }) == true
            },
            "\(cluster.logs)")
        pause(.seconds(2))
        #expect(stranger.view().keys.sorted() == ["bullace"])
        #expect(cluster["quince"].view().keys.sorted() == ["medlar", "quince"])
        #expect(try cluster["quince"].events().filter { $0.type == "foreign" }.count == 1)
        #expect(
            try cluster["quince"].metric("bramble_datagrams_dropped_total", where: "reason=\"foreign\"") ?? 0 > 0)
        // Nor does anybody who listens: no frame holds a name, whoever sent it.
        let frames = sniffer.frames()
        #expect(frames.count > 100)
        for word in ["quince", "medlar", "bullace", "hedge", "elsewhere"] {
            let bytes = Array(word.utf8)
            #expect(!frames.contains { $0.contains(bytes) }, "“\(word)” went over the wire")
        }
    }

    @Test("a machine without a key waits, costs nothing, and goes on by itself when the key appears")
    func missingKey() throws {
        let cluster = try Cluster("n1", "n2")
        let waiting = try cluster.add("n3")
        try waiting.start()
        #expect(eventually(within: .seconds(5)) { (try? waiting.status().state) == .joining }, "\(cluster.logs)")
        let used = waiting.process?.usage?.cpuSeconds ?? 0
        pause(.seconds(2))
        #expect((waiting.process?.usage?.cpuSeconds ?? 9) - used < 0.2)
        #expect(try waiting.status().notes.contains { $0.contains("cluster.key") })
        try waiting.takeKey(of: cluster["n1"])
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("a waiting machine is invited by its code, and is then a member that keeps the key")
    func invitation() throws {
        let cluster = try Cluster("n1", "n2")
        let guest = try cluster.add("n3")
        try guest.start()
        let machine = try cluster.waiting("n3")
        #expect(machine.reason == .noKey)
        #expect(try guest.status().code == machine.code)
        try cluster.admit("n3", calling: machine.code)
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
        guest.stop()
        try guest.restart()
        #expect(cluster.agree(alive: ["n1", "n2", "n3"]), "\(cluster.logs)")
        #expect(try guest.host.require("stat", "-c", "%a %U", BrambleNode.keyFile) == "600 root\n")
    }

    @Test("with admit: approve, the key alone does not admit; an operator's yes does, and lasts")
    func approval() throws {
        let cluster = try Cluster("n1", "n2", started: false)
        for node in cluster.nodes {
            try node.host.write("admit: approve\n", to: "/etc/bramble.yaml")
        }
        // The first two meet while nobody has decided anything: one approves the other.
        try cluster["n1"].start(["--config", "/etc/bramble.yaml"])
        try cluster["n2"].start(["--config", "/etc/bramble.yaml"])
        let machine = try cluster.waiting("n2")
        #expect(machine.reason == .approval && cluster["n1"].view().keys.sorted() == ["n1"], "\(cluster.logs)")
        try cluster.admit("n2")
        #expect(cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(cluster.logs)")
        cluster["n2"].stop()
        try cluster["n2"].restart()
        #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
    }

    @Test("a removed node is out at once and says so, the key is changed, and it cannot come back")
    func removal() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4")
        let old = try #require(cluster["n3"].host.read(BrambleNode.keyFile))
        let removed = try cluster["n1"].cli("node", "remove", "n3", "--yes")
        #expect(removed.succeeded, "\(removed.errors)")
        for name in ["n1", "n2", "n4"] {
            #expect(
                eventually(within: .seconds(5)) { cluster[name].view().keys.sorted() == ["n1", "n2", "n4"] },
                "\(cluster.logs)")
            #expect(eventually(within: .seconds(5)) { (cluster[name].host.read(BrambleNode.keyFile) ?? old) != old })
        }
        #expect(eventually(within: .seconds(5)) { (try? cluster["n3"].status().state) == .removed }, "\(cluster.logs)")
        #expect(eventually(within: .seconds(5)) { !cluster["n3"].host.exists(BrambleNode.keyFile) })

        // With its old key it is let in by nobody.
        try cluster["n3"].host.write(old, to: BrambleNode.keyFile)
        cluster["n3"].stop()
        try cluster["n3"].restart()
        // Nor is a machine that was never a member.
        let thief = try cluster.add("n5")
        try thief.host.require("mkdir", "-p", "-m", "700", BrambleNode.dataDirectory)
        try thief.host.write(old, to: BrambleNode.keyFile)
        try thief.start(["--join", cluster["n1"].host.address])
        pause(.seconds(5))
        for name in ["n1", "n2", "n4"] {
            #expect(cluster[name].view().keys.sorted() == ["n1", "n2", "n4"], "\(cluster.logs)")
        }
        #expect(!thief.view().keys.contains("n1"))
    }

    @Test("a node that was off when it was removed is out when it returns; one that was off gets the new key")
    func removalWhileAway() throws {
        let cluster = try Cluster("n1", "n2", "n3", "n4")
        cluster["n3"].kill()
        cluster["n4"].kill()
        for name in ["n1", "n2"] {
            #expect(eventually(within: .seconds(10)) { cluster[name].sees("n3", as: .down) }, "\(cluster.logs)")
        }
        let removed = try cluster["n1"].cli("node", "remove", "n3", "--yes")
        #expect(removed.succeeded, "\(removed.errors)")
        try cluster["n3"].restart()
        try cluster["n4"].restart()
        #expect(
            eventually(within: .seconds(15)) { (try? cluster["n3"].status().state) == .removed }, "\(cluster.logs)")
        #expect(
            [cluster["n1"], cluster["n2"], cluster["n4"]].agree(alive: ["n1", "n2", "n4"], within: .seconds(15)),
            "\(cluster.logs)")
        let new = cluster["n1"].host.read(BrambleNode.keyFile)
        #expect(eventually(within: .seconds(5)) { cluster["n4"].host.read(BrambleNode.keyFile) == new })
    }

    @Test("a second copy of a running daemon's data directory on the same machine is refused with the reason")
    func twice() throws {
        let cluster = try Cluster("n1")
        let second = try cluster["n1"].cli("start", "--data-dir", BrambleNode.dataDirectory, "--port", "7772")
        #expect(second.status == 1)
        #expect(second.errors.contains(BrambleNode.dataDirectory), "\(second.errors)")
        #expect(try cluster["n1"].status().state == .alone)
    }
}
