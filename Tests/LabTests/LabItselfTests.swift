import Glibc
import Lab
import Testing

/// What the other tests stand on: the lab's hosts and faults are what they claim to be.
@Suite("the lab", .serialized, .enabled(if: Lab.isAvailable, "no lab can be made here: \(Lab.obstacle ?? "")"))
@LabThread
struct LabItselfTests {
    @Test("hosts reach each other, and nothing else")
    func reach() throws {
        let lab = try Lab(["n1", "n2", "n3"])
        defer { lab.close() }
        #expect(try hears("n3", lab, from: "n1"))
        #expect(try lab["n1"].require("ip", "-o", "link").split(separator: "\n").count == 2)
        #expect(try !lab["n1"].run("ip", "route", "get", "192.0.2.1").succeeded)
    }

    @Test("a host has its own name, machine-id, files and process numbers; the machine's stay as they are")
    func privacy() throws {
        let machine = (name: file("/etc/hostname"), hosts: file("/etc/hosts"), id: file("/etc/machine-id"))
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        let (n1, n2) = (lab["n1"], lab["n2"])
        #expect(try n1.require("hostname") == "n1\n")
        #expect(n1.read("/etc/machine-id") != n2.read("/etc/machine-id"))
        for path in ["/etc/hosts", "/usr/bin/lab-was-here", "/var/lib/lab-was-here", "/tmp/lab-was-here"] {
            try n1.write("only here\n", to: path)
            #expect(n1.read(path) == "only here\n")
            #expect(n2.read(path) != "only here\n")
            #expect(file(path) != "only here\n")
        }
        // Replacing by rename works too: the file is not a mount point.
        try n1.require("sh", "-c", "echo renamed > /etc/hosts.new && mv /etc/hosts.new /etc/hosts")
        #expect(n1.read("/etc/hosts") == "renamed\n")
        #expect(n1.read("/proc/1/comm") == "cat\n")
        #expect(file("/etc/hostname") == machine.name && file("/etc/hosts") == machine.hosts)
        #expect(file("/etc/machine-id") == machine.id)
    }

    @Test("unplugging takes the carrier, cutting leaves it, healing ends both")
    func cuts() throws {
        let lab = try Lab(["n1", "n2", "n3"])
        defer { lab.close() }
        let carrier = "/sys/class/net/eth0/carrier"
        try lab.unplug(lab["n1"])
        #expect(lab["n1"].read(carrier) == "0\n")
        #expect(try isDeaf("n1", lab, to: "n2"))
        try lab.heal()
        #expect(lab["n1"].read(carrier) == "1\n")
        #expect(try hears("n1", lab, from: "n2"))

        try lab.cut(lab["n1"])
        #expect(lab["n1"].read(carrier) == "1\n")
        #expect(try isDeaf("n1", lab, to: "n2"))
        #expect(try isDeaf("n2", lab, to: "n1"))
        #expect(try hears("n3", lab, from: "n2"))
        try lab.heal()
        #expect(try hears("n1", lab, from: "n2"))

        try lab.partition([lab["n1"], lab["n2"]], from: [lab["n3"]])
        #expect(try hears("n2", lab, from: "n1"))
        #expect(try isDeaf("n3", lab, to: "n2"))
    }

    @Test("a one-way drop takes one way only")
    func oneWay() throws {
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        #expect(try hears("n2", lab, from: "n1"))
        try lab.drop(from: lab["n1"], to: lab["n2"])
        #expect(try isDeaf("n2", lab, to: "n1"))
        #expect(try hears("n1", lab, from: "n2"))
    }

    @Test("random loss loses about the share asked for")
    func loss() throws {
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        try lab.lose(percent: 20)
        let receiver = try lab["n2"].datagramSocket(port: 4000)
        let sender = try lab["n1"].datagramSocket()
        // The first datagrams may wait for an address resolution that itself loses packets.
        _ = try eventually(within: .seconds(5)) {
            try sender.send([0], to: lab["n2"].address, port: 4000)
            return receiver.receive(within: .milliseconds(20)) != nil
        }
        while receiver.receive(within: .milliseconds(50)) != nil {}
        var arrived = 0
        for _ in 0..<20 {
            for _ in 0..<50 { try sender.send([1], to: lab["n2"].address, port: 4000) }
            while receiver.receive(within: .milliseconds(20)) != nil { arrived += 1 }
        }
        // 1,000 draws with p = 0.8: the standard deviation is 13, so seven of them on either side.
        #expect((710...890).contains(arrived))
    }

    @Test("a frozen process stands still and goes on; a killed one is gone")
    func freeze() throws {
        let lab = try Lab(["n1"])
        defer { lab.close() }
        let ticker = try lab["n1"].spawn(["sh", "-c", "while echo tick; do sleep 0.01; done"])
        #expect(eventually(within: .seconds(2)) { ticker.output.count > 10 })
        ticker.freeze()
        pause(.milliseconds(30))
        let frozen = ticker.output.count
        pause(.milliseconds(150))
        #expect(ticker.output.count == frozen)
        ticker.thaw()
        #expect(eventually(within: .seconds(2)) { ticker.output.count > frozen })
        #expect(ticker.usage.map { $0.residentBytes > 100_000 } == true)
        #expect(ticker.kill() == .killed(SIGKILL))
        #expect(ticker.usage == nil)
    }

    @Test("a power cut is silent: the peer of an open connection hears nothing")
    func powerCut() throws {
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        let server = try lab["n1"].spawn([
            "python3", "-c",
            "import socket; s = socket.create_server(('', 4000)); c = s.accept()[0]; c.send(b'hello'); c.recv(1)",
        ])
        let connection = try #require(
            eventually(within: .seconds(5)) {
                try? lab["n2"].connect(to: lab["n1"].address, port: 4000, limit: .milliseconds(500))
            })
        #expect(try connection.receive() == Array("hello".utf8))
        try lab.powerOff(lab["n1"])
        #expect(server.wait(.zero) == .killed(SIGKILL))
        // Not the end of the stream, which would be no bytes, but the time limit.
        #expect(throws: LabError.self) { try connection.receive() }
    }

    @Test("the sniffer sees what hosts send each other")
    func sniff() throws {
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        let sniffer = try lab.sniffer()
        let secret = Array("a word on the wire".utf8)
        try lab["n1"].datagramSocket().send(secret, to: lab["n2"].address, port: 4000)
        #expect(eventually(within: .seconds(2)) { sniffer.frames().contains { $0.contains(secret) } })
    }

    @Test("a relay carries this machine's connections into a host, both ways")
    func relay() throws {
        let lab = try Lab(["n1"])
        defer { lab.close() }
        let echo = "import socket; s = socket.create_server(('', 4000)); c = s.accept()[0]; c.send(c.recv(99).upper())"
        let server = try lab["n1"].spawn(["python3", "-c", echo])
        #expect(
            eventually(within: .seconds(5)) { (try? lab["n1"].run("ss", "-Hltn"))?.output.contains(":4000") == true })
        let relay = try Relay(listen: "127.0.0.1", preferring: 0, to: lab["n1"], port: 4000)
        let stream = try Connection(host: "127.0.0.1", port: relay.port, limit: .seconds(2))
        try stream.send(Array("hello".utf8))
        #expect(try stream.receiveAll() == Array("HELLO".utf8))
        #expect(server.wait(.seconds(2)) == .exited(0))
    }

    @Test("a process that is killed leaves nothing of its lab behind")
    func cleanup() async throws {
        // A number of seconds nobody else sleeps for.
        let mark = "\(100_000 + getpid()).\(UInt32.random(in: 1...999_999))"
        #expect(!isRunning(mark))
        await #expect(processExitsWith: .signal(SIGKILL)) { [mark = mark as String] in
            try await LabThread.run {
                let lab = try Lab(["n1", "n2"])
                let sleeper = try lab["n2"].spawn(["sleep", mark])
                try lab["n1"].spawn(["sh", "-c", "sleep \(mark) & sleep \(mark)"]).freeze()
                // It must be seen first, or its absence would prove nothing.
                guard eventually(within: .seconds(5), { isRunning(mark) }) else { exit(1) }
                _ = sleeper
                kill(getpid(), SIGKILL)
            }
        }
        #expect(eventually(within: .seconds(5)) { !isRunning(mark) })
    }

    /// Whether a datagram arrives. What is to arrive gets time for an address resolution, what is not gets less.
    private func hears(_ to: String, _ lab: Lab, from: String, within limit: Duration = .seconds(3)) throws -> Bool {
        let receiver = try lab[to].datagramSocket(port: 4000)
        let sender = try lab[from].datagramSocket()
        return try eventually(within: limit) {
            try sender.send(Array("hello".utf8), to: lab[to].address, port: 4000)
            return receiver.receive(within: .milliseconds(50)) != nil
        }
    }
    private func isDeaf(_ to: String, _ lab: Lab, to from: String) throws -> Bool {
        try !hears(to, lab, from: from, within: .milliseconds(300))
    }
}

/// Whether any process of this machine has the word among its arguments.
private func isRunning(_ argument: String) -> Bool {
    entries(of: "/proc").compactMap { Int32($0) }.contains { pid in
        pid != getpid() && (file("/proc/\(pid)/cmdline") ?? "").split(separator: "\0").contains { $0 == argument }
    }
}
