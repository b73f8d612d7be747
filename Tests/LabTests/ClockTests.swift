import BrambleAPI
import Lab
import Testing

@Suite("clocks", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct ClockTests {
    /// chronyd as Debian configures it, but it never touches this machine's clock.
    private func startChrony(_ node: BrambleNode) throws {
        try node.host.require("mkdir", "-m", "750", "-p", "/run/chrony")
        _ = try node.host.spawn(["chronyd", "-x", "-d", "-u", "root"])
    }
    private func clocks(_ node: BrambleNode) -> [ClockInfo] {
        (try? node.get("/v1/clock", as: [ClockInfo].self)) ?? []
    }

    @Test("one node serves the time by its lease, the others follow it, and what was written is taken away again")
    func kept() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        for node in cluster.nodes { try startChrony(node) }
        #expect(try cluster["n2"].cli("clock", "on").succeeded)
        let sources = "/etc/chrony/sources.d/bramble.sources"
        let access = "/etc/chrony/conf.d/bramble.conf"
        /// Who serves now. On a busy machine the lease may pass on, so that it is looked up each time.
        func server() -> BrambleNode? {
            let serving = cluster.nodes.filter { $0.host.read(access)?.contains("local stratum") ?? false }
            let following = cluster.nodes.filter { $0.host.read(sources)?.contains("server ") ?? false }
            return serving.count == 1 && following.count == 2 ? serving[0] : nil
        }
        #expect(eventually(within: .seconds(20)) { server() } != nil, "\(cluster.logs)")
        let follow = eventually(within: .seconds(60)) { () -> Bool? in
            guard let server = server() else { return nil }
            let others = cluster.nodes.filter { $0 !== server }
            let all = others.allSatisfy { node in
                (try? node.host.run("chronyc", "-c", "-n", "tracking").output)?.contains(server.host.address) ?? false
            }
            return all ? true : nil
        }
        let told = cluster.nodes.map { node in
            "\(node.name): " + ((try? node.host.run("chronyc", "-n", "ntpdata").output) ?? "")
                + ((try? node.host.run("chronyc", "-n", "sources").output) ?? "") + (node.host.read(access) ?? "")
        }
        #expect(follow == true, "\(told.joined(separator: "\n"))\n\(cluster.logs)")
        let shown = eventually(within: .seconds(10)) { () -> [ClockInfo]? in
            let all = clocks(cluster["n1"])
            return all.count == 3 && all.filter(\.serves).map(\.node) == [server()?.name] ? all : nil
        }
        let all = try #require(shown, "\(clocks(cluster["n1"]))\n\(cluster.logs)")
        #expect(all.allSatisfy { abs($0.offsetMs ?? 1000) <= max(5, $0.errorMs ?? 0) }, "one kernel, one clock: \(all)")
        let doctor = try cluster["n1"].get("/v1/doctor", as: [DoctorCheck].self)
        let chrony = try #require(doctor.first { $0.check == "chronyc" }, "\(doctor)")
        #expect(chrony.state == .ok && chrony.text.hasPrefix("chronyc 4"), "\(chrony)")
        #expect(all.allSatisfy { $0.kept })
        let within = try cluster["n1"].cli(["clock", "--within", "200", "--wait", "10"], within: .seconds(20))
        #expect(within.succeeded, "\(within)")
        #expect(try cluster["n3"].cli("clock", "off").succeeded)
        let isGone = eventually(within: .seconds(15)) {
            cluster.nodes.allSatisfy { !$0.host.exists(sources) && !$0.host.exists(access) } ? true : nil
        }
        #expect(isGone == true, "\(cluster.logs)")
    }

    @Test("a clock that is off by seconds is measured as such, and a workload that waits for equal clocks is refused")
    func shifted() throws {
        let cluster = try Cluster("n1", "n2", started: false)
        try cluster["n1"].start()
        try cluster["n2"].start(clockShift: 3)
        #expect(cluster.agree(alive: ["n1", "n2"]))
        let seen = eventually(within: .seconds(10)) {
            clocks(cluster["n1"]).first { $0.node == "n2" && $0.offsetMs != nil }
        }
        let offset = try #require(seen?.offsetMs, "\(cluster.logs)")
        #expect(abs(offset - 3000) < 200, "\(offset)")
        let refused = try cluster["n1"].cli("clock", "--within", "100")
        #expect(refused.status == 1 && refused.errors.contains("may differ by"), "\(refused)")
        let doctor = try cluster["n1"].cli("doctor")
        #expect(doctor.output.contains("n2's clock is off by"), "\(doctor)")
    }

    @Test("a file of somebody else's in our place is left alone, and said")
    func foreign() throws {
        let cluster = try Cluster("n1")
        try cluster["n1"].host.write("# mine\n", to: "/etc/chrony/conf.d/bramble.conf")
        #expect(try cluster["n1"].cli("clock", "on").succeeded)
        let said = eventually(within: .seconds(10)) {
            cluster["n1"].event("failed", "clock").flatMap { $0.text.contains("left alone") ? $0 : nil }
        }
        #expect(said != nil, "\(cluster.logs)")
        #expect(cluster["n1"].host.read("/etc/chrony/conf.d/bramble.conf") == "# mine\n")
    }

    @Test(
        "a node that is removed takes away what was written for chrony; so does one that was killed when it was to do so"
    )
    func left() throws {
        let cluster = try Cluster("n1", "n2")
        let access = "/etc/chrony/conf.d/bramble.conf"
        func isGone(_ node: BrambleNode) -> Bool {
            eventually(within: .seconds(15)) {
                !node.host.exists(access) && !node.host.exists("/etc/chrony/sources.d/bramble.sources")
            }
        }
        for node in cluster.nodes { try startChrony(node) }
        #expect(try cluster["n1"].cli("clock", "on").succeeded)
        for node in cluster.nodes {
            #expect(eventually(within: .seconds(20)) { node.host.exists(access) }, "\(cluster.logs)")
        }
        #expect(try cluster["n1"].cli("node", "remove", "n2", "--yes").succeeded)
        #expect(isGone(cluster["n2"]), "\(cluster.logs)")
        #expect(cluster["n1"].host.exists(access))
        let written = try #require(cluster["n1"].host.read(access))
        #expect(try cluster["n1"].cli("clock", "off").succeeded)
        #expect(isGone(cluster["n1"]), "\(cluster.logs)")
        cluster["n1"].kill()
        try cluster["n1"].host.write(written, to: access)
        try cluster["n1"].restart()
        #expect(isGone(cluster["n1"]), "\(cluster.logs)")
    }

    @Test("another program that sets the clock is said, in the events and by doctor, and left alone")
    func rival() throws {
        let cluster = try Cluster("n1")
        let node = cluster["n1"]
        try node.host.require("cp", "/bin/sleep", "/run/ntpd")
        let theirs = try node.host.spawn(["/run/ntpd", "600"])
        try startChrony(node)
        #expect(try node.cli("clock", "on").succeeded)
        let said = eventually(within: .seconds(15)) { node.event("failed", "clock") }
        #expect(
            said?.text == "ntpd sets this machine's clock, too, against chrony: systemctl disable --now ntpd",
            "\(cluster.logs)")
        let checks = try node.get("/v1/doctor", as: [DoctorCheck].self)
        let check = try #require(checks.first { $0.check == "timekeepers" })
        #expect(check.state == .warn && check.remedy == "systemctl disable --now ntpd")
        #expect(theirs.isRunning)
    }
}
