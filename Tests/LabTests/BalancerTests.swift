import BrambleAPI
import Lab
import Testing

/// Clients and backends of balancers, as programs in the hosts of a lab.
private enum Traffic {
    /// Answers each request with the name of its host.
    static func web(_ name: String, port: Int) -> [String] {
        [
            "python3", "-c",
            """
            import http.server
            class H(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"; wbufsize = 8192  # one packet: half an answer cannot be asked for again
                def do_GET(self):
                    body = b"\(name)"
                    self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
                    self.wfile.write(body)
                def log_message(self, *a): pass
            class S(http.server.ThreadingHTTPServer):
                request_queue_size = 512
            S(("0.0.0.0", \(port)), H).serve_forever()
            """,
        ]
    }
    /// Answers each datagram with the name of its host and what came.
    static func echo(_ name: String, port: Int) -> [String] {
        [
            "python3", "-c",
            """
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", \(port)))
            while True:
                data, who = s.recvfrom(2048)
                s.sendto(b"\(name) " + data, who)
            """,
        ]
    }
    /// Asks again and again for so long; prints a line each: seconds since it began, and who answered or what went wrong.
    static func client(_ address: String, port: Int, seconds: Double) -> [String] {
        [
            "python3", "-u", "-c",
            """
            import http.client, time
            begin = time.monotonic()
            while time.monotonic() - begin < \(seconds):
                try:
                    c = http.client.HTTPConnection("\(address)", \(port), timeout=5)
                    c.request("GET", "/"); r = c.getresponse(); who = r.read().decode() if r.status == 200 else str(r.status)
                    c.close()
                except Exception as e:
                    who = "error " + type(e).__name__
                print("%.3f %s" % (time.monotonic() - begin, who))
            """,
        ]
    }
    /// One datagram from each source port, twice; prints who answered each.
    static func sources(_ address: String, port: Int, ports: Range<Int>) -> [String] {
        [
            "python3", "-c",
            """
            import socket
            for port in range(\(ports.lowerBound), \(ports.upperBound)):
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.bind(("0.0.0.0", port))
                s.sendto(b"x", ("\(address)", \(port)))
                try: print(s.recv(100).decode().split()[0])
                except Exception: print("lost")
                s.close()
            """,
        ]
    }
}

@Suite("balancers", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct BalancerTests {
    private func up(_ node: BrambleNode, _ name: String) -> [String] {
        let all = (try? node.get("/v1/balancers", as: [BalancerInfo].self)) ?? []
        return all.first { $0.name == name }?.backends.filter { $0.state == .up }.map(\.node) ?? []
    }

    @Test(
        "HTTP: requests reach every backend; one that dies, and a whole node that dies, lose no request, and get nothing more"
    )
    func http() throws {
        let cluster = try Cluster(names: ["n1", "n2", "n3"], others: ["client"])
        let client = cluster.lab["client"]
        var servers: [String: LabProcess] = [:]
        for node in cluster.nodes { servers[node.name] = try node.host.spawn(Traffic.web(node.name, port: 8000)) }
        let added = try cluster["n1"].cli("balance", "add", "web", "--listen", ":80", "--to", "8000")
        #expect(added.succeeded, "\(added)")
        for node in cluster.nodes {
            let all = eventually(within: .seconds(15)) { up(node, "web") == ["n1", "n2", "n3"] ? true : nil }
            #expect(all == true, "\(node.name): \(up(node, "web"))\n\(cluster.logs)")
        }
        let doctor = try cluster["n1"].get("/v1/doctor", as: [DoctorCheck].self)
        #expect(doctor.contains { $0.check == "nginx" && $0.state == .ok && $0.text.contains("nginx 1.") }, "\(doctor)")
        #expect(
            !doctor.contains { $0.check == "conntrack" || $0.check == "rsync" }, "what is not used is not asked for")
        // From one client all of them get about as much, or one of them gets everything.
        #expect(
            try cluster["n1"].cli("balance", "add", "kept", "--listen", ":81", "--to", "8000", "--sticky", "source")
                .succeeded)
        #expect(eventually(within: .seconds(15)) { up(cluster["n1"], "kept").count == 3 })
        func shares(_ port: Int) throws -> [Substring: Int] {
            let words = Traffic.client(cluster["n1"].host.address, port: port, seconds: 0.7)
            let asked = try eventually(within: .seconds(10)) {
                let lines = try client.run(words, within: .seconds(30)).output.split(separator: "\n")
                // nginx has just been told of the second one.
                return lines.contains { $0.contains("error") } ? nil : lines
            }
            return Dictionary(grouping: try #require(asked)) { $0.split(separator: " ")[1] }.mapValues(\.count)
        }
        let (spread, kept) = (try shares(80), try shares(81))
        let total = spread.values.reduce(0, +)
        #expect(total > 30 && spread.count == 3 && spread.values.allSatisfy { $0 > total / 5 }, "\(spread)")
        #expect(kept.count == 1 && ["n1", "n2", "n3"].contains(kept.keys.first), "\(kept)")
        #expect(try cluster["n1"].cli("balance", "remove", "kept", "--yes").succeeded)
        // A package that goes is missed.
        try cluster["n2"].host.require("rm", "/usr/sbin/nft")
        let without = try cluster["n2"].get("/v1/doctor", as: [DoctorCheck].self)
        #expect(without.contains { $0.check == "nft" && $0.state == .warn && $0.remedy == "apt install nftables" })
        let run = try client.spawn(Traffic.client(cluster["n1"].host.address, port: 80, seconds: 9))
        pause(.seconds(2))
        servers["n2"]?.kill()
        pause(.seconds(3))
        try cluster.lab.powerOff(cluster["n3"].host)
        _ = run.wait(.seconds(30))
        let lines = run.output.split(separator: "\n").compactMap { line -> (at: Double, who: String)? in
            let words = line.split(separator: " ", maxSplits: 1)
            return words.count == 2 ? Double(words[0]).map { ($0, String(words[1])) } : nil
        }
        #expect(lines.count > 200, "\(lines.count) requests\n\(run.output.suffix(500))")
        #expect(lines.filter { !$0.who.hasPrefix("n") }.isEmpty, "\(lines.filter { !$0.who.hasPrefix("n") }.prefix(5))")
        let first = Set(lines.filter { $0.at < 1.8 }.map(\.who))
        #expect(first == ["n1", "n2", "n3"])
        #expect(Set(lines.filter { $0.at > 3.2 && $0.at < 4.8 }.map(\.who)) == ["n1", "n3"])
        #expect(Set(lines.filter { $0.at > 6.5 }.map(\.who)) == ["n1"])
        // And it goes when it is taken away.
        #expect(try cluster["n1"].cli("balance", "remove", "web", "--yes").succeeded)
        let isGone = eventually(within: .seconds(10)) {
            (try? client.connect(to: cluster["n1"].host.address, port: 80, limit: .milliseconds(300))) == nil
                ? true : nil
        }
        #expect(isGone == true, "nginx still listens")
    }

    @Test("a port of the user's own nginx is said and left to it; a balancer on another port runs beside it")
    func portInUse() throws {
        let cluster = try Cluster("n1")
        let host = cluster["n1"].host
        try host.write(
            """
            pid /run/theirs.pid; error_log /dev/null; events {}
            http { access_log off; server { listen 80; return 200 "theirs"; } }

            """, to: "/run/theirs.conf")
        let theirs = try host.spawn(["nginx", "-c", "/run/theirs.conf", "-g", "daemon off;"])
        _ = try host.spawn(Traffic.web("ours", port: 8000))
        func answer(_ port: Int) throws -> String { try host.run("curl", "-s", "http://127.0.0.1:\(port)/").output }
        #expect(try eventually(within: .seconds(10)) { try answer(80) == "theirs" && answer(8000) == "ours" })
        #expect(try cluster["n1"].cli("balance", "add", "web", "--listen", ":80", "--to", "8000").succeeded)
        #expect(try cluster["n1"].cli("balance", "add", "beside", "--listen", ":81", "--to", "8000").succeeded)
        let said = eventually(within: .seconds(10)) {
            ((try? cluster["n1"].cli("balance", "list"))?.output).flatMap {
                $0.contains("port 80 is in use by another program") ? $0 : nil
            }
        }
        #expect(said != nil, "\(cluster.logs)")
        #expect(try eventually(within: .seconds(10)) { try answer(81) == "ours" }, "\(cluster.logs)")
        #expect(try answer(80) == "theirs" && theirs.isRunning)
        for name in ["web", "beside"] {
            #expect(try cluster["n1"].cli("balance", "remove", name, "--yes").succeeded)
        }
        #expect(try eventually(within: .seconds(10)) { try answer(81) == "" })
        #expect(try answer(80) == "theirs" && theirs.isRunning)
    }

    @Test("UDP: a source stays on its backend, also through another node; of a dead backend only its own sources move")
    func datagrams() throws {
        let cluster = try Cluster(names: ["n1", "n2", "n3"], others: ["client"])
        let client = cluster.lab["client"]
        for node in cluster.nodes { _ = try node.host.spawn(Traffic.echo(node.name, port: 9000)) }
        for node in cluster.nodes {
            let listens = try eventually(within: .seconds(10)) {
                try !node.host.run("ss", "-Hln", "-u", "sport", "=", ":9000").output.isEmpty
            }
            #expect(listens)
        }
        let document = """
            balancers:
              - {name: lora, listen: ":1700", protocol: udp, to: 9000}
              - {name: kept, listen: ":1701", protocol: udp, to: 9000, sticky: source}
            """
        try cluster["n1"].apply(document)
        for node in cluster.nodes {
            let all = eventually(within: .seconds(15)) { up(node, "lora") == ["n1", "n2", "n3"] ? true : nil }
            #expect(all == true, "\(node.name): \(up(node, "lora"))\n\(cluster.logs)")
        }
        func ask(_ node: String, _ port: Int = 1700, ports: Range<Int> = 20_000..<20_200) throws -> [String] {
            let words = Traffic.sources(cluster[node].host.address, port: port, ports: ports)
            let result = try client.run(words, within: .seconds(60))
            return result.output.split(separator: "\n").map { String($0) }
        }
        let before = try ask("n1")
        #expect(before.count == 200 && !before.contains("lost"), "\(before)\n\(cluster.logs)")
        for node in ["n1", "n2", "n3"] { #expect(before.count { $0 == node } > 30, "\(node) of \(before)") }
        let kept = try ask("n1", 1701, ports: 21_000..<21_030)
        #expect(Set(kept).count == 1 && !kept.contains("lost"), "by address alone: \(kept)")
        #expect(try ask("n2") == before, "every node places a source on the same backend")
        try cluster.lab.powerOff(cluster["n3"].host)
        let out = eventually(within: .seconds(10)) { up(cluster["n1"], "lora") == ["n1", "n2"] ? true : nil }
        #expect(out == true, "\(cluster.logs)")
        let after = try ask("n1")
        #expect(!after.contains("lost") && !after.contains("n3"), "\(after)")
        for (old, new) in zip(before, after) where old != "n3" { #expect(old == new) }
    }

    @Test(
        "the kernel forwards while TCP and UDP balancers need it and as before afterwards, also when the daemon was killed meanwhile; IPv6's switch is not touched for IPv4"
    )
    func forwarding() throws {
        let cluster = try Cluster("n1")
        let node = cluster["n1"]
        func value(_ name: String) throws -> String { try node.host.require("cat", "/proc/sys/net/\(name)") }
        func ours() throws -> Bool { try node.host.run("nft", "list", "tables").output.contains("bramble_balance") }
        let (four, six) = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
        try node.host.require("sh", "-c", "echo 0 > /proc/sys/net/\(four); echo 0 > /proc/sys/net/\(six)")
        let document = "balancers:\n  - {name: lora, listen: \":1700\", protocol: udp, to: 9000}\n"
        try node.apply(document)
        #expect(try eventually(within: .seconds(10)) { try ours() && value(four) == "1\n" }, "\(cluster.logs)")
        #expect(try value(six) == "0\n", "with it on, a machine takes no addresses from routers")
        #expect(try node.cli("balance", "remove", "lora", "--yes").succeeded)
        #expect(try eventually(within: .seconds(10)) { try !ours() && value(four) == "0\n" }, "\(cluster.logs)")
        // Killed with a balancer, which is then taken away on another node: the next life tidies up.
        try node.apply(document)
        #expect(try eventually(within: .seconds(10)) { try ours() && value(four) == "1\n" }, "\(cluster.logs)")
        let other = try cluster.add("n2")
        try other.takeKey(of: node)
        try other.start()
        #expect(cluster.agree(alive: ["n1", "n2"]))
        #expect(eventually(within: .seconds(10)) { up(other, "lora").contains("n1") }, "\(cluster.logs)")
        node.kill()
        #expect(try ours(), "what is balanced goes on without the daemon")
        #expect(try other.cli("balance", "remove", "lora", "--yes").succeeded)
        try node.restart()
        #expect(try eventually(within: .seconds(20)) { try !ours() && value(four) == "0\n" }, "\(cluster.logs)")
    }

    @Test(
        "a node that dies while it is told of a balancer or of clocks: the command says so, nothing of it is there, and told again it is done, though the node dies at once"
    )
    func dies() throws {
        let cluster = try Cluster("n1", "n2")
        let (node, other) = (cluster["n1"], cluster["n2"])
        for node in cluster.nodes {
            _ = try node.host.spawn(Traffic.web(node.name, port: 8000))
            try node.host.require("mkdir", "-m", "750", "-p", "/run/chrony")
            _ = try node.host.spawn(["chronyd", "-x", "-d", "-u", "root"])
        }
        /// Between the question and its answer.
        func interrupt(_ words: String...) throws {
            node.process?.freeze()
            let told = try node.host.spawn([node.program] + words)
            let waits = "ss -Hxl | awk '/bramble.sock/ && $3 > 0 {found = 1} END {exit !found}'"
            #expect(try eventually(within: .seconds(10)) { try node.host.run("sh", "-c", waits).succeeded })
            node.kill()
            #expect(told.wait(.seconds(10)) == .exited(3), "\(told.output)")
            let said = told.output
            #expect(said.contains("broke off in the middle") && said.contains("try again"), "\(said)")
            try node.restart()
            #expect(cluster.agree(alive: ["n1", "n2"]), "\(cluster.logs)")
        }
        /// It answers, and is gone.
        func tell(_ words: String...) throws {
            let told = try node.cli(words)
            node.kill()
            #expect(told.succeeded, "\(told)")
        }
        func answers(_ node: BrambleNode) throws -> Bool {
            try eventually(within: .seconds(20)) {
                try ["n1", "n2"].contains(node.host.run("curl", "-s", "-m", "2", "http://127.0.0.1/").output)
            }
        }
        let add = ["balance", "add", "web", "--listen", ":80", "--to", "8000"]
        try interrupt("balance", "add", "web", "--listen", ":80", "--to", "8000")
        for node in cluster.nodes {
            #expect(try node.get("/v1/balancers", as: [BalancerInfo].self).isEmpty)
        }
        try tell("balance", "add", "web", "--listen", ":80", "--to", "8000")
        #expect(try answers(other), "\(cluster.logs)")
        try node.restart()
        #expect(try answers(node), "\(cluster.logs)")
        #expect(try node.cli(add).errors.contains("“web” is there already"))
        try interrupt("clock", "on")
        let access = "/etc/chrony/conf.d/bramble.conf"
        #expect(cluster.nodes.allSatisfy { !$0.host.exists(access) })
        try tell("clock", "on")
        try node.restart()
        for node in cluster.nodes {
            #expect(eventually(within: .seconds(30)) { node.host.exists(access) }, "\(cluster.logs)")
        }
    }

    @Test("whoever asks a node for its health is told no while an operator has it out of service")
    func health() throws {
        let cluster = try Cluster("n1", "n2")
        func answer() throws -> String {
            try cluster["n1"].host.run(
                "curl", "-s", "-w", " %{http_code}", "http://\(cluster["n2"].host.address):8080/health"
            ).output
        }
        #expect(try answer() == #"{"ready":true,"state":"member"} 200"#)
        for (word, duty) in [("drain", "drained"), ("hold", "held")] {
            #expect(try cluster["n1"].cli("node", word, "n2").succeeded)
            let no = #"{"duty":"\#(duty)","ready":false,"state":"member"} 503"#
            var last = ""
            let isSaid = try eventually(within: .seconds(5)) {
                last = try answer()
                return last == no
            }
            #expect(isSaid, "\(last)")
            #expect(try cluster["n2"].cli("status").output.contains("this node is \(duty)"))
        }
        #expect(try cluster["n1"].cli("node", "resume", "n2").succeeded)
        #expect(try eventually(within: .seconds(5)) { try answer().hasSuffix(" 200") })
    }

    @Test("a UDP or TCP port on which another program listens is said and left to it; a backend's own port is meant")
    func kernelPortInUse() throws {
        let cluster = try Cluster("n1")
        let node = cluster["n1"]
        for port in [1700, 1800] {
            _ = try node.host.spawn(Traffic.echo("theirs", port: port))
            let listens = try eventually(within: .seconds(10)) {
                try !node.host.run("ss", "-Hln", "-u", "sport", "=", ":\(port)").output.isEmpty
            }
            #expect(listens)
        }
        try node.apply(
            """
            balancers:
              - {name: lora, listen: ":1700", protocol: udp, to: 9000}
              - {name: own, listen: "10.77.0.1:1800", protocol: udp, to: 1800}
            """)
        func reason(_ name: String) -> String? {
            (try? node.get("/v1/balancers", as: [BalancerInfo].self))?.first { $0.name == name }?.reason
        }
        #expect(
            eventually(within: .seconds(10)) { reason("lora")?.contains("in use by another") == true },
            "\(cluster.logs)")
        #expect(eventually(within: .seconds(10)) { up(node, "own") == ["n1"] })
        #expect(reason("own") == "")
        for port in [1700, 1800] {
            let answer = try node.host.run(
                Traffic.sources("10.77.0.1", port: port, ports: 20_000..<20_001), within: .seconds(10))
            #expect(answer.output == "theirs\n", "\(answer)")
        }
    }
}
