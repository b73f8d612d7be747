import BrambleAPI
import Glibc
import Lab

/// A volume on three nodes, from nothing to mounted: by Bramble, and by hand with the same commands.
struct VolumeRows {
    let program: String
    let rounds: Int
    let progress: (String) -> Void

    func volumes() throws -> [Figure] {
        guard access("/usr/sbin/glusterd", X_OK) == 0 else {
            progress("volumes are not measured: apt install glusterfs-server")
            return []
        }
        var (hand, ours, own) = (Samples(), Samples(), Samples())
        for round in 1...rounds {
            hand.add(try byHand())
            let (took, part) = try byBramble()
            ours.add(took)
            own.add(part)
            progress("volumes: round \(round) of \(rounds)")
        }
        return [
            Figure(
                "a volume of 3 copies, from nothing to mounted on 3 nodes, median of \(rounds)",
                peer: hand.percentile(0.5),
                bramble: ours.missing > 0 ? nil : ours.percentile(0.5), target: "≤ 15 s", limit: 15, unit: seconds),
            Figure(
                "of that, Bramble's own part, median of \(rounds)", peer: nil,
                bramble: own.missing > 0 ? nil : own.percentile(0.5), target: "≤ 2 s", limit: 2,
                unit: { $0.map { seconds($0) } ?? "" }),
        ]
    }

    private func hosts() throws -> Lab {
        let lab = try Lab(["n1", "n2", "n3"])
        for host in lab.hosts {
            try host.addDisk(at: "/mnt")
            try host.addDisk(at: "/srv")
        }
        return lab
    }

    private func byHand() throws -> Double {
        let lab = try hosts()
        defer { lab.close() }
        let names = lab.hosts.map { "\($0.address) \($0.name)\n" }.joined()
        for host in lab.hosts {
            try host.write("127.0.0.1 localhost\n" + names, to: "/etc/hosts")
            try host.startGlusterd()
            try host.require("mkdir", "/srv/shared")
        }
        let begin = monotonicSeconds()
        let first = lab.hosts[0]
        func gluster(_ words: String...) throws { try first.require(["gluster", "--mode=script"] + words) }
        try gluster("peer", "probe", "n2")
        try gluster("peer", "probe", "n3")
        // “create” is refused until the peers are connected.
        let isMade = eventually(within: .seconds(10)) {
            (try? gluster(
                "volume", "create", "shared", "replica", "3", "n1:/mnt/b", "n2:/mnt/b", "n3:/mnt/b")) != nil
        }
        guard isMade else { throw LabError("the volume was not made by hand") }
        try gluster("volume", "set", "shared", "network.ping-timeout", "5", "cluster.heal-timeout", "10")
        try gluster("volume", "start", "shared")
        for host in lab.hosts { try host.require("mount", "-t", "glusterfs", "\(host.name):/shared", "/srv/shared") }
        return monotonicSeconds() - begin
    }

    private func byBramble() throws -> (took: Double, own: Double) {
        let lab = try hosts()
        defer { lab.close() }
        let nodes = lab.hosts.map { BrambleNode(program, on: $0) }
        try nodes[0].makeCluster("bench")
        for node in nodes.dropFirst() { try node.takeKey(of: nodes[0]) }
        for node in nodes { try node.start() }
        for host in lab.hosts { try host.startGlusterd() }
        guard nodes.agree(alive: ["n1", "n2", "n3"], within: .seconds(20)) else { throw LabError("no cluster") }
        let begin = monotonicSeconds()
        let made = try nodes[0].cli(
            ["volume", "create", "shared", "--path", "/mnt/b", "--mount", "/srv/shared"], within: .seconds(70))
        let took = monotonicSeconds() - begin
        guard made.succeeded, made.output.contains("n1, n2, n3") else {
            throw LabError("the volume was not made: \(made.errors)")
        }
        return (took, took - nodes.glusterSeconds)
    }
}
