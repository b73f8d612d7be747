import BrambleAPI
import Lab
import Testing

@Suite("clocks", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct ClockTests {
    /// chronyd as Debian configures it, but it never touches this machine's clock.
    private func startChrony(_ node: BrambleNode) throws {
        try node.host.require("mkdir", "-m", "750", "-p", "/run/chrony")
        let chrony = try node.host.spawn(["chronyd", "-x", "-d", "-u", "root"])
        let answers = try eventually(within: .seconds(10)) { try node.host.run("chronyc", "tracking").succeeded }
        guard answers else { throw LabError("chronyd does not answer: \(chrony.output)") }
    }
    private func clocks(_ node: BrambleNode) -> [ClockInfo] {
        (try? node.get("/v1/clock", as: [ClockInfo].self)) ?? []
    }

    /// Whom chrony says it follows, and its own stratum.
    private func tracking(_ node: BrambleNode) -> (source: String, stratum: Int)? {
        let fields = ((try? node.host.run("chronyc", "-c", "-n", "tracking").output) ?? "").split(
            separator: ",", omittingEmptySubsequences: false)
        guard fields.count > 2, let stratum = Int(fields[2]) else { return nil }
        return (String(fields[1]), stratum)
    }

    @Test(
        "one node serves the time by its lease, its own without a server above it and else that one's; the others follow it, and another one when it dies; what was written is taken away again"
    )
    func kept() throws {
        let cluster = try Cluster(names: ["n1", "n2", "n3"], others: ["ntp"])
        let above = cluster.lab["ntp"]
        for node in cluster.nodes {
            // As an operator names a server. It does not run yet.
            try node.host.write(
                "server \(above.address) iburst minpoll 0 maxpoll 1\n", to: "/etc/chrony/sources.d/theirs.sources")
            try startChrony(node)
        }
        #expect(try cluster["n2"].cli("clock", "on").succeeded)
        let sources = "/etc/chrony/sources.d/bramble.sources"
        let access = "/etc/chrony/conf.d/bramble.conf"
        /// Who serves now. On a busy machine the lease may pass on, so that it is looked up each time.
        var living: [BrambleNode] { cluster.nodes.filter { $0.process?.isRunning ?? false } }
        func server() -> BrambleNode? {
            let serving = living.filter { $0.host.read(access)?.contains("local stratum") ?? false }
            let following = living.filter { $0.host.read(sources)?.contains("server ") ?? false }
            return serving.count == 1 && following.count == living.count - 1 ? serving[0] : nil
        }
        /// Debian's chronyd has given root up by the time it reads this.
        func areOpen() throws -> Bool {
            try living.allSatisfy { node in
                try [sources, access].filter { node.host.exists($0) }.allSatisfy {
                    try node.host.require("stat", "-c", "%a", $0) == "644\n"
                }
            }
        }
        var told: String {
            living.map { node in
                "\(node.name): " + ((try? node.host.run("chronyc", "-n", "ntpdata").output) ?? "")
                    + ((try? node.host.run("chronyc", "-n", "sources").output) ?? "") + (node.host.read(access) ?? "")
            }.joined(separator: "\n") + "\n" + cluster.logs
        }
        /// The one that serves has this stratum, and all others follow it.
        func isServed(at stratum: Int, by source: String? = nil) -> Bool {
            eventually(within: .seconds(60), every: .milliseconds(200)) {
                guard let server = server(), let own = tracking(server), own.stratum == stratum,
                    source == nil || own.source == source
                else { return false }
                return living.filter { $0 !== server }.allSatisfy {
                    tracking($0).map { $0 == (server.host.address, stratum + 1) } ?? false
                }
            }
        }
        #expect(eventually(within: .seconds(20)) { server() } != nil, "\(cluster.logs)")
        #expect(isServed(at: 10), "nobody above: the cluster has a time of its own\n\(told)")
        #expect(try areOpen())
        try above.require("mkdir", "-m", "750", "-p", "/run/chrony")
        try above.write("local stratum 2\nallow all\n", to: "/etc/chrony/above.conf")
        _ = try above.spawn(["chronyd", "-x", "-d", "-u", "root", "-f", "/etc/chrony/above.conf"])
        #expect(isServed(at: 3, by: above.address), "the server above counts\n\(told)")
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
        let first = try #require(server())
        try cluster.lab.powerOff(first.host)
        #expect(eventually(within: .seconds(30)) { server() } != nil, "another one serves\n\(told)")
        #expect(isServed(at: 3, by: above.address), "\(told)")
        let after = clocks(living[0]).filter { $0.node != first.name }
        #expect(
            after.count == 2 && after.allSatisfy { abs($0.offsetMs ?? 1000) <= max(5, $0.errorMs ?? 0) }, "\(after)")
        #expect(after.filter(\.serves).map(\.node) == [server()?.name], "\(after)")
        #expect(try living[0].cli("clock", "off").succeeded)
        let isGone = eventually(within: .seconds(15)) {
            living.allSatisfy { !$0.host.exists(sources) && !$0.host.exists(access) } ? true : nil
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
        // By the names of their processes, which are all that is known of them without systemd.
        let theirs = try ["ntpd", "systemd-timesyncd"].map { name in
            try node.host.require("cp", "/bin/sleep", "/run/\(name)")
            return try node.host.spawn(["/run/\(name)", "600"])
        }
        try startChrony(node)
        #expect(try node.cli("clock", "on").succeeded)
        let said = eventually(within: .seconds(15)) { node.event("failed", "clock") }
        #expect(
            said?.text
                == "ntpd and systemd-timesyncd set this machine's clock, too, against chrony: systemctl disable --now ntpd systemd-timesyncd",
            "\(cluster.logs)")
        let checks = try node.get("/v1/doctor", as: [DoctorCheck].self)
        let check = try #require(checks.first { $0.check == "timekeepers" })
        #expect(check.state == .warn && check.remedy == "systemctl disable --now ntpd systemd-timesyncd")
        #expect(theirs.allSatisfy { $0.isRunning })
    }

    @Test(
        "a chrony that does not run, and one whose own configuration does not read ours, are said with the line to add; both are kept once they are mended"
    )
    func theirs() throws {
        let cluster = try Cluster("n1")
        let node = cluster["n1"]
        let file = "/etc/chrony/chrony.conf"
        let text = try #require(node.host.read(file))
        let theirs = text.split(separator: "\n").filter { !$0.hasPrefix("sourcedir /etc/chrony/sources.d") }
        try node.host.write(theirs.joined(separator: "\n") + "\n", to: file)
        #expect(try node.cli("clock", "on").succeeded)
        func says(_ words: String) -> Bool {
            eventually(within: .seconds(15)) {
                (try? node.get("/v1/doctor", as: [DoctorCheck].self))?.contains {
                    $0.check == "clocks" && $0.state == .warn && $0.text.contains(words)
                } ?? false
            }
        }
        #expect(
            says("add the line “sourcedir /etc/chrony/sources.d” to it, then: systemctl restart chrony"),
            "\(cluster.logs)")
        #expect(!node.host.exists("/etc/chrony/conf.d/bramble.conf"))
        try node.host.write(text, to: file)
        #expect(says("systemctl enable --now chrony"), "\(cluster.logs)")
        try startChrony(node)
        let isKept = eventually(within: .seconds(20)) { tracking(node).map { $0.stratum == 10 } ?? false }
        #expect(isKept, "\(cluster.logs)")
        #expect(
            try eventually(within: .seconds(10)) {
                try node.get("/v1/doctor", as: [DoctorCheck].self).allSatisfy { $0.check != "clocks" }
            })
    }
}
