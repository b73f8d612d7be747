import BrambleAPI
import Lab
import Testing

/// What goes wrong around a daemon: it says what and what to do, burns no processor, and goes on by itself.
@Suite("what goes wrong around a node", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct BadInputTests {
    /// Of one processor, over some seconds.
    private func share(of node: BrambleNode, over seconds: Int) throws -> Double {
        let before = try #require(node.process?.usage?.cpuSeconds)
        pause(.seconds(seconds))
        return (try #require(node.process?.usage?.cpuSeconds) - before) / Double(seconds)
    }

    @Test("without a network a node idles and is a cluster of one, from the start and after its cable was pulled")
    func noNetwork() throws {
        let cluster = try Cluster("n1", "n2")
        let lone = try cluster.add("n3", connected: false)
        try lone.host.require("ip", "addr", "flush", "dev", "eth0")
        try lone.takeKey(of: cluster["n1"])
        try lone.start(["--join", cluster["n1"].host.address])
        #expect(eventually(within: .seconds(5)) { (try? lone.status().state) == .alone }, "\(cluster.logs)")
        #expect(try share(of: lone, over: 4) < 0.1, "\(cluster.logs)")
        try cluster.lab.unplug(cluster["n2"].host)
        #expect(eventually(within: .seconds(10)) { cluster["n1"].sees("n2", as: .down) }, "\(cluster.logs)")
        pause(.seconds(2))
        #expect(try share(of: cluster["n2"], over: 4) < 0.1, "\(cluster.logs)")
        #expect(lone.log.utf8.count < 20_000 && cluster["n2"].log.utf8.count < 20_000, "it fills no log")
        try cluster.lab.plug(lone.host)
        try lone.host.configureNetwork()
        try cluster.lab.plug(cluster["n2"].host)
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("a data directory that cannot be written ends the start with what to do; when it can, the start goes well")
    func readOnlyDirectory() throws {
        let cluster = try Cluster("n1", started: false)
        let (node, host) = (cluster["n1"], cluster["n1"].host)
        try host.require("mount", "--bind", BrambleNode.dataDirectory, BrambleNode.dataDirectory)
        try host.require("mount", "-o", "remount,bind,ro", BrambleNode.dataDirectory)
        try node.start()
        #expect(node.process?.wait(.seconds(10)) == .exited(1), "\(node.log)")
        #expect(node.log.contains(BrambleNode.dataDirectory) && node.log.contains("read-only"), "\(node.log)")
        try host.require("umount", BrambleNode.dataDirectory)
        try node.restart()
        #expect(eventually(within: .seconds(5)) { (try? node.status().state) == .alone }, "\(node.log)")
    }

    @Test("each file of a data directory full of junk is set aside and told, and the node is a member again")
    func junkFiles() throws {
        let cluster = try Cluster("n1", "n2")
        let (node, host) = (cluster["n2"], cluster["n2"].host)
        try cluster["n1"].write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        #expect(cluster.eventuallyAll { $0.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        node.stop()
        let files = try host.require("ls", BrambleNode.dataDirectory).split(separator: "\n").map(String.init)
        let sealed = ["generation", "members.json", "facts.json", "leases.json"].filter { files.contains($0) }
        #expect(sealed.starts(with: ["generation", "members.json"]))
        for file in files where !["cluster.key", "identity.key"].contains(file) && !file.contains("lock") {
            try host.require(
                "dd", "if=/dev/urandom", "of=\(BrambleNode.dataDirectory)/\(file)", "bs=700", "count=1")
        }
        try node.restart()
        #expect(cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(cluster.logs)")
        for file in sealed {
            #expect(node.log.contains("\(file) was damaged and is set aside"), "\(node.log)")
        }
        #expect(
            eventually(within: .seconds(20)) { node.rows("SELECT count(*) FROM t") == "[[0]]" }, "\(cluster.logs)")
        // It knows whom it belongs to, as before.
        node.stop()
        try node.restart()
        #expect(cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(cluster.logs)")
        #expect(!node.log.contains("damaged"), "\(node.log)")
    }

    @Test("a cluster key that is none is told, and waited for without work; the right one is taken when it comes")
    func brokenKey() throws {
        let cluster = try Cluster("n1", "n2")
        let late = try cluster.add("n3")
        try late.host.require("mkdir", "-p", "-m", "700", BrambleNode.dataDirectory)
        let key = try #require(cluster["n1"].host.read(BrambleNode.keyFile))
        try late.host.write(String(key.dropLast(6)) + "\n", to: BrambleNode.keyFile)
        try late.host.require("chmod", "600", BrambleNode.keyFile)
        try late.start()
        let isTold = eventually(within: .seconds(10)) {
            late.log.contains("cluster key") && (late.log.contains("damaged") || late.log.contains("digit"))
        }
        #expect(isTold, "\(late.log)")
        #expect(late.process?.isRunning == true)
        #expect(try share(of: late, over: 3) < 0.1, "\(late.log)")
        #expect(try late.status().state == .joining)
        try late.takeKey(of: cluster["n1"])
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    @Test("a machine whose key is broken is added like one without")
    func brokenKeyAdded() throws {
        let cluster = try Cluster("n1", "n2")
        let late = try cluster.add("n3")
        try late.host.require("mkdir", "-p", "-m", "700", BrambleNode.dataDirectory)
        try late.host.write("bramble\n", to: BrambleNode.keyFile)
        try late.start()
        try cluster.admit("n3")
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)), "\(cluster.logs)")
    }

    /// So many of each: heads a letter at a time, bodies a letter at a time, answers that nobody reads.
    private static let slow = """
        import socket, sys, time
        target, count = sys.argv[1], int(sys.argv[2])
        streams = []
        for number in range(count):
            try: stream = socket.create_connection((target, 8080), 1)
            except OSError: continue
            kind = number % 3
            if kind == 1: stream.sendall(b"POST /login HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\n")
            if kind == 2: stream.sendall(b"GET /assets/style.css HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 20)
            streams.append((stream, kind))
        print("open", len(streams), flush=True)
        while True:
            for stream, kind in streams:
                try:
                    if kind < 2: stream.sendall(b"G")
                except OSError: pass
            time.sleep(0.2)
        """

    @Test("crowds of slow clients at the dashboard: the pulse does not notice, and others are served")
    func slowClients() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        let target = cluster["n1"].host.address
        var crowds: [LabProcess] = []
        for number in 0..<6 {
            let client = try cluster.lab.add(["crowd\(number)"])[0]
            crowds.append(try client.spawn(["python3", "-c", Self.slow, target, "60"]))
        }
        let moment = monotonicSeconds()
        #expect(eventually(within: .seconds(20)) { crowds.contains { $0.output.contains("open") } })
        let before = try cluster["n1"].metric("bramble_pulse_lateness_milliseconds")
        #expect(before != nil)
        // Longer than the slowest may take.
        let client = cluster["n2"].host
        var served = 0
        for _ in 0..<12 {
            pause(.seconds(1))
            if let stream = try? client.connect(to: target, port: 8080, limit: .seconds(5)),
                let answer = try? HTTPResponse.ask("GET", "/health", over: stream), answer.status == 200
            {
                served += 1
            }
        }
        #expect(served >= 10, "others were served \(served) of 12 times")
        #expect(cluster.accusations(since: moment) == [], "\(cluster.logs)")
        let stalls = try cluster["n1"].events().filter { $0.type == "stalled" && $0.monotonicMs >= moment * 1000 }
        #expect(stalls.isEmpty, "\(stalls.map(\.text))")
        #expect(try cluster["n1"].status().nodes.alive == 3)
        for crowd in crowds { crowd.kill() }
    }
}
