import BrambleAPI
import Glibc
import Lab

/// 10,000 files and 1 GB from one host to another: Bramble's mirrors, and rsync by itself over ssh.
struct MirrorRows {
    let program: String
    let isQuick: Bool
    let progress: (String) -> Void
    private static let source = "/srv/files"
    private var count: Int { isQuick ? 1000 : 10_000 }
    /// Bytes of one.
    private static let size = 100_000
    private var changes: Int { isQuick ? 5 : 20 }

    func measure() throws -> [Figure] {
        let peer = try overSSH()
        let own = try mirrored()
        let what = "mirror of \(count) files, \(count * Self.size / 1_000_000) MB"
        func figure(_ title: String, _ theirs: Double?, _ ours: Double?) -> Figure {
            Figure(
                "\(what): \(title)", peer: theirs, bramble: ours, target: "faster than over ssh",
                limit: theirs ?? .infinity, unit: seconds)
        }
        return [
            figure("first run", peer?.first, own.first), figure("unchanged", peer?.unchanged, own.unchanged),
            Figure(
                "a change in a mirrored directory until it is on the other node (on-change), p50 of \(changes)",
                peer: nil,
                bramble: own.change, target: "≤ 300 ms", limit: 0.3, unit: milliseconds),
        ]
    }

    /// On the machine's memory: both sides are, and the network is what is compared.
    private func fill(_ host: Host) throws {
        try host.require(
            "python3", "-c",
            """
            import os
            block = os.urandom(\(Self.size))
            for number in range(\(count)):
                folder = "\(Self.source)/%03d" % (number // 100)
                os.makedirs(folder, exist_ok=True)
                with open("%s/%05d" % (folder, number), "wb") as file:
                    file.write(number.to_bytes(8, "big") + block[8:])
            """)
    }
    private func time(_ body: () throws -> Void) rethrows -> Double {
        let start = monotonicSeconds()
        try body()
        return monotonicSeconds() - start
    }
    /// A directory of its own: `/srv` is the machine's.
    private func makeRoom(_ host: Host) throws {
        try host.require("sh", "-c", "mount -t tmpfs -o size=3g tmpfs /srv && mkdir -p \(Self.source)")
    }

    private func overSSH() throws -> (first: Double, unchanged: Double)? {
        guard access("/usr/sbin/sshd", X_OK) == 0, access("/usr/bin/ssh", X_OK) == 0 else { return nil }
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        let (from, to) = (lab.hosts[0], lab.hosts[1])
        for host in [from, to] { try makeRoom(host) }
        try from.require("sh", "-c", "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench")
        let key = from.read("/root/.ssh/bench.pub") ?? ""
        try to.require(
            "sh", "-c", "mkdir -p -m 700 /root/.ssh /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/bench-host")
        try to.write(key, to: "/root/.ssh/authorized_keys")
        try to.require("chmod", "600", "/root/.ssh/authorized_keys")
        _ = try to.spawn([
            "/usr/sbin/sshd", "-D", "-e", "-h", "/etc/bench-host", "-o", "UsePAM=no", "-o", "StrictModes=no", "-o",
            "PermitRootLogin=yes",
        ])
        try fill(from)
        let shell =
            "ssh -i /root/.ssh/bench -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        func run() throws -> CommandResult {
            try from.run(
                [
                    "rsync", "-aHAX", "--numeric-ids", "--delete", "-e", shell, "\(Self.source)/",
                    "\(to.address):\(Self.source)/",
                ],
                within: .seconds(300))
        }
        // Not the start of the server, which the first connection would wait for.
        guard
            eventually(
                within: .seconds(20),
                {
                    (try? from.run(shell.split(separator: " ").map { String($0) } + [to.address, "true"]))?.succeeded
                        == true
                })
        else { throw LabError("sshd does not answer") }
        var results: [Double] = []
        for round in ["first", "unchanged"] {
            let took = try time {
                let result = try run()
                guard result.succeeded else { throw LabError("rsync over ssh: \(result.errors)") }
            }
            progress("rsync over ssh, \(round): \(seconds(took))")
            results.append(took)
        }
        return (results[0], results[1])
    }

    private func mirrored() throws -> (first: Double, unchanged: Double, change: Double?) {
        let lab = try Lab(["n1", "n2"])
        defer { lab.close() }
        for host in lab.hosts { try makeRoom(host) }
        let nodes = lab.hosts.map { BrambleNode(program, on: $0) }
        try nodes[0].makeCluster("bench")
        try nodes[1].takeKey(of: nodes[0])
        for node in nodes { try node.start() }
        guard nodes.agree(alive: ["n1", "n2"], within: .seconds(30)) else { throw LabError("two nodes did not meet") }
        func apply(_ schedule: String) throws {
            try nodes[0].apply(
                """
                services:
                  - {name: files, run: "exec:[/usr/bin/sleep, 100000]", prefer: [n1], mirrors: [files]}
                mirrors:
                  - {name: files, paths: [\(Self.source)/], every: \(schedule)}
                """)
        }
        try apply("1h")
        func state() -> MirrorInfo? { try? nodes[0].get("/v1/mirrors", as: [MirrorInfo].self).first }
        guard
            eventually(
                within: .seconds(60),
                {
                    nodes[0].service("files")?.node == "n1" && nodes[0].service("files")?.state == .running
                        && state()?.state == .equal
                })
        else { throw LabError("the mirror does not begin\n\(nodes[0].log)") }
        try fill(lab.hosts[0])
        var results: [Double] = []
        for round in ["first", "unchanged"] {
            let took = try time {
                let answer = try nodes[0].ask("POST", "/v1/mirrors/files/run", within: .seconds(300))
                guard answer.status == 200 else { throw LabError("run: \(answer.text)") }
            }
            progress("Bramble, \(round): \(seconds(took))")
            results.append(took)
        }
        let there = try lab.hosts[1].require("sh", "-c", "find \(Self.source) -type f | wc -l")
        guard there.contains("\(count)") else { throw LabError("\(there) files of \(count) are there") }

        try apply("on-change")
        pause(.seconds(3))
        var delays = Samples()
        for number in 0..<changes {
            let file = "\(Self.source)/change-\(number)"
            let start = monotonicSeconds()
            try lab.hosts[0].write("\(number)\n", to: file)
            let isThere = eventually(within: .seconds(20), every: .milliseconds(5)) { lab.hosts[1].exists(file) }
            delays.add(isThere ? monotonicSeconds() - start : nil)
            pause(.milliseconds(Int64.random(in: 300...900)))
        }
        progress("Bramble, on-change: p50 \(milliseconds(delays.percentile(0.5))), missing \(delays.missing)")
        return (results[0], results[1], delays.missing > 0 ? nil : delays.percentile(0.5))
    }
}
