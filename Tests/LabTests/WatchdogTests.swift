import BrambleAPI
import Lab
import Testing

@Suite("the watchdog setting", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct WatchdogTests {
    private func doctor(_ node: BrambleNode) throws -> DoctorCheck? {
        try node.get("/v1/doctor", as: [DoctorCheck].self).first { $0.check == "watchdog" }
    }

    @Test("the device is fed from the first service on, switched off when the node stops, and doctor says so")
    func fed() throws {
        let cluster = try Cluster("n1", started: false)
        let (node, host) = (cluster["n1"], cluster["n1"].host)
        try host.require("mkfifo", "/run/dog")
        // What a device would be given, a letter a line.
        let eater = try host.spawn([
            "python3", "-u", "-c", "import os; d = os.open('/run/dog', os.O_RDWR)\nwhile True: print(os.read(d, 1))",
        ])
        try host.write("watchdog: /run/dog\n", to: "/etc/bramble.yaml")
        try node.start(["--config", "/etc/bramble.yaml"])
        #expect([node].agree(alive: ["n1"], within: .seconds(20)), "\(cluster.logs)")
        #expect(try doctor(node)?.text.contains("when the first service is there") == true)
        try node.apply("services: [{name: one, run: \"exec:[/usr/bin/sleep, 1000]\"}]")
        #expect(eventually(within: .seconds(40)) { node.service("one")?.state == .running }, "\(cluster.logs)")
        #expect(
            eventually(within: .seconds(10)) { eater.output.contains("b'\\x00'") }, "\(eater.output)\n\(cluster.logs)")
        #expect(try doctor(node)?.state == .ok && doctor(node)?.text.contains("feeds /run/dog") == true)
        #expect(node.stop() == .exited(0), "\(cluster.logs)")
        #expect(eventually(within: .seconds(10)) { eater.output.hasSuffix("b'V'\n") }, "\(eater.output)")
        eater.kill()
    }

    @Test("a device that cannot be opened stops nothing, and doctor says what is wrong")
    func missing() throws {
        let cluster = try Cluster("n1", started: false)
        let node = cluster["n1"]
        try node.host.write("watchdog: /run/no-dog\n", to: "/etc/bramble.yaml")
        try node.start(["--config", "/etc/bramble.yaml"])
        #expect([node].agree(alive: ["n1"], within: .seconds(20)), "\(cluster.logs)")
        try node.apply("services: [{name: one, run: \"exec:[/usr/bin/sleep, 1000]\"}]")
        #expect(eventually(within: .seconds(40)) { node.service("one")?.state == .running }, "\(cluster.logs)")
        let check = try doctor(node)
        #expect(check?.state == .fail && check?.remedy.contains("fuser") == true, "\(String(describing: check))")
        #expect(node.log.contains("the watchdog /run/no-dog cannot be opened"), "\(cluster.logs)")
        node.stop()
    }
}
