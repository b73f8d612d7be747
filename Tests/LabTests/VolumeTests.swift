import BrambleAPI
import FoundationEssentials
import Lab
import Testing

/// Daemons and GlusterFS on each host, with a disk for bricks at /mnt and one for mounts at /srv.
@LabThread
private final class VolumeCluster {
    let cluster: Cluster
    /// The glusterd of each host.
    private(set) var daemons: [String: LabProcess] = [:]
    /// - Parameter prepare: done on each host before anything is started.
    init(_ names: [String], serving: [String]? = nil, prepare: (Host) throws -> Void = { _ in }) throws {
        cluster = try Cluster(names: names, others: [], started: false)
        for node in cluster.nodes {
            try node.host.addDisk(at: "/mnt")
            try node.host.addDisk(at: "/srv")
            try prepare(node.host)
            try node.start()
        }
        for name in serving ?? names { daemons[name] = try cluster[name].host.startGlusterd() }
        guard cluster.agree(alive: names, within: .seconds(20)) else { throw LabError("no cluster\n\(cluster.logs)") }
    }
    func loseEverything(_ name: String) throws {
        cluster[name].kill()
        try cluster[name].host.loseEverything(mountedAs: "fuse.glusterfs", run: ["gluster", "bramble"])
    }
    func boot(_ name: String) throws {
        daemons[name] = try cluster[name].host.startGlusterd()
        try cluster[name].restart()
    }
    subscript(_ name: String) -> BrambleNode { cluster[name] }
    var nodes: [BrambleNode] { cluster.nodes }

    @discardableResult
    func create(_ name: String = "shared", _ more: String...) throws -> CommandResult {
        try cluster["n1"].cli(
            ["volume", "create", name, "--path", "/mnt/\(name)", "--mount", "/srv/\(name)"] + more,
            within: .seconds(70))
    }
    func info(_ node: BrambleNode, _ name: String = "shared") -> VolumeInfo? {
        (try? node.get("/v1/volumes", as: [VolumeInfo].self))?.first { $0.name == name }
    }
    /// Waits until every node says so.
    func all(
        _ names: [String], within limit: Duration = .seconds(60), _ isSo: (VolumeInfo) -> Bool
    ) -> Bool {
        eventually(within: limit) {
            names.allSatisfy { info(cluster[$0]).map(isSo) ?? false } ? true : nil
        } ?? false
    }
    var report: String {
        cluster.nodes.map { "\($0.name): \(info($0).map { "\($0)" } ?? "-")" }.joined(separator: "\n") + "\n"
            + cluster.logs
    }
    /// What GlusterFS's tools say on a node.
    func gluster(_ node: String, _ words: String...) -> String {
        (try? cluster[node].host.run(["gluster", "--mode=script"] + words, within: .seconds(30)).output) ?? ""
    }
    /// The files of a brick with what is in them, without GlusterFS's own.
    func content(_ node: String, _ path: String = "/mnt/shared") -> String {
        let words = "cd \(path) && find . -path ./.glusterfs -prune -o -type f -print0 | sort -z | xargs -0 sha256sum"
        return (try? cluster[node].host.run(["sh", "-c", words]).output) ?? ""
    }
}

@Suite("volumes", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct VolumeTests {
    @Test(
        "from nothing to mounted on three nodes, every node lists every other by name, a brick that is killed comes back"
    )
    func fromNothing() throws {
        let cluster = try VolumeCluster(["n1", "n2", "n3"])
        let began = monotonicSeconds()
        let made = try cluster.create()
        let took = monotonicSeconds() - began
        #expect(made.succeeded && made.output.contains("/srv/shared on n1, n2, n3"), "\(made)\n\(cluster.report)")
        // Measured by `make bench BENCH=engines`; here for whoever reads the log.
        print("volume: from nothing to mounted \(took) s, of which GlusterFS \(cluster.nodes.glusterSeconds) s")
        #expect(areNamed(cluster), "\(pools(cluster))\n\(cluster.report)")

        try cluster["n2"].host.write("hello", to: "/srv/shared/file")
        #expect(cluster["n3"].host.read("/srv/shared/file") == "hello")
        // Not root's alone, although the daemon's umask is 077.
        let modes = try cluster["n3"].host.require("stat", "-c", "%a", "/srv/shared", "/mnt/shared")
        #expect(modes == "755\n755\n", "\(modes)")
        let again = try cluster.create()
        #expect(again.status == 1 && again.errors.contains("there is a volume “shared” already"), "\(again)")
        let same = try cluster["n1"].cli("volume", "create", "other", "--path", "/mnt/shared/below")
        #expect(same.status != 0 && same.errors.contains("in use by it"), "\(same)")

        // The brick's process of n2 dies.
        let pid = try cluster["n2"].host.require("cat", "/run/gluster/vols/shared/n2-mnt-shared.pid")
        try cluster["n2"].host.require("kill", "-KILL", pid.filter { $0.isNumber })
        #expect(cluster.all(["n1", "n2", "n3"]) { $0.state == .degraded && !$0.bricks[1].online }, "\(cluster.report)")
        let isMended = cluster.all(["n1", "n2", "n3"], within: .seconds(30)) { $0.state == .online && $0.toHeal == 0 }
        #expect(isMended, "\(cluster.report)")

        // A mount whose client has died is mounted anew.
        // Hosts of a lab have one table of processes: the logs tell them apart.
        let found = try cluster["n3"].host.run("pgrep", "-f", "glusterfs .*volfile-server=n3 .*/srv/shared")
        try cluster["n3"].host.require(
            "kill", "-KILL", found.output.split(separator: "\n").first.map { String($0) } ?? "")
        let isBack = eventually(within: .seconds(30)) {
            cluster["n3"].host.read("/srv/shared/file") == "hello" ? true : nil
        }
        #expect(isBack == true, "\(cluster.report)")

        let refused = try cluster["n1"].cli("node", "remove", "n3", "--yes")
        #expect(refused.status == 1 && refused.errors.contains("n3 has a brick of the volume shared"), "\(refused)")
        #expect(refused.errors.contains("bramble volume replace-brick shared n3 OTHER"), "\(refused)")

        let deleted = try cluster["n2"].cli(["volume", "delete", "shared", "--yes"], within: .seconds(70))
        #expect(deleted.succeeded, "\(deleted)\n\(cluster.report)")
        // The one that was asked knows first.
        let isKnown = eventually(within: .seconds(10)) { cluster.nodes.allSatisfy { cluster.info($0) == nil } }
        #expect(isKnown, "\(cluster.report)")
        for node in cluster.nodes {
            #expect(node.host.read("/mnt/shared/file") == "hello", "the files stay in the brick")
            #expect(!((try? node.host.require("cat", "/proc/mounts")) ?? "").contains("/srv/shared "))
        }
        let left = cluster.gluster("n1", "volume", "info")
        #expect(!left.contains("Volume Name"), "\(left)")
        // What is in the brick is nobody's but people's: it is not taken for a new volume.
        let reused = try cluster.create()
        #expect(reused.status == 1 && reused.errors.contains("n1: /mnt/shared is, or was, a brick"), "\(reused)")
    }

    @Test("writes go on while a host is cut off; afterwards it is healed, and all bricks are equal")
    func cutOff() throws {
        let cluster = try VolumeCluster(["n1", "n2", "n3"])
        // As people do it by hand, and wonder later: by address.
        _ = cluster.gluster("n1", "peer", "probe", "10.77.0.2")
        let made = try cluster.create()
        #expect(made.succeeded, "\(made)\n\(cluster.report)")
        #expect(areNamed(cluster), "\(pools(cluster))\n\(cluster.report)")
        let host = cluster["n1"].host
        try host.write("before", to: "/srv/shared/before")
        try cluster.cluster.lab.cut(cluster["n3"].host)
        let isSeen = eventually(within: .seconds(20)) { cluster.info(cluster["n1"])?.state == .degraded ? true : nil }
        #expect(isSeen == true, "\(cluster.report)")
        #expect(cluster.info(cluster["n1"])?.reason.hasPrefix("n3 is away") ?? false)
        let began = monotonicSeconds()
        let wrote = try host.run(
            [
                "sh", "-c",
                "for i in $(seq 40); do head -c 100000 /dev/urandom > /srv/shared/file$i || exit 1; done; rm /srv/shared/before",
            ],
            within: .seconds(60))
        #expect(wrote.succeeded, "\(wrote)\n\(cluster.report)")
        #expect(
            monotonicSeconds() - began < 25, "a client waits for a host that is cut off no longer than its ping timeout"
        )
        let isPending = cluster.all(["n1", "n2"], within: .seconds(10)) { $0.toHeal > 0 }
        #expect(isPending, "\(cluster.report)")
        let left = try cluster["n1"].cli("volume", "status", "shared")
        #expect(left.output.contains("to heal") && left.output.contains("degraded"), "\(left)")
        try cluster.cluster.lab.heal()
        #expect(cluster.all(["n1", "n2", "n3"]) { $0.state == .online && $0.toHeal == 0 }, "\(cluster.report)")
        let isEqual = eventually(within: .seconds(20)) { () -> Bool? in
            let one = cluster.content("n1")
            guard !one.isEmpty, cluster.content("n2") == one, cluster.content("n3") == one else { return nil }
            return one.split(separator: "\n").count == 40 ? true : nil
        }
        #expect(isEqual == true, "\(cluster.content("n1"))\nn3:\n\(cluster.content("n3"))\n\(cluster.report)")
        let healed = try cluster["n3"].cli("volume", "heal", "shared", within: .seconds(30))
        #expect(healed.succeeded && healed.output.contains("nothing of shared has to be healed"), "\(healed)")
        let why = try cluster["n2"].cli("why", "shared")
        #expect(why.output.contains("shared is online") && why.output.contains("degraded"), "\(why)")
    }

    @Test("a node takes the place of one that has died; a node without bricks leaves the pool with the cluster")
    func replaced() throws {
        let cluster = try VolumeCluster(["n1", "n2", "n3", "n4"])
        let made = try cluster.create("shared", "--replica", "2", "--on", "n1", "--on", "n2")
        #expect(made.succeeded && made.output.contains("on n1, n2, n3, n4"), "\(made)\n\(cluster.report)")
        #expect(
            cluster.all(["n1"]) { $0.offer == "it can have more room: bramble volume add-brick shared n3 n4" },
            "\(cluster.report)")
        for number in 0..<20 { try cluster["n1"].host.write("\(number)", to: "/srv/shared/file\(number)") }
        // More room: one more set, and the files are spread over both.
        let grown = try cluster["n2"].cli(["volume", "add-brick", "shared", "n3", "n4"], within: .seconds(70))
        #expect(grown.succeeded, "\(grown)\n\(cluster.report)")
        #expect(cluster.all(["n1", "n3"]) { $0.state == .online && $0.bricks.count == 4 }, "\(cluster.report)")
        let isSpread = eventually(within: .seconds(30)) { () -> Bool? in
            let files = cluster.content("n3").split(separator: "\n").count
            return files > 0 && files < 20 ? true : nil
        }
        #expect(isSpread == true, "\(cluster.content("n3"))\n\(cluster.report)")
        // And back: the set is emptied first, and no file is lost.
        let shrunk = try cluster["n3"].cli(
            ["volume", "remove-brick", "shared", "n3", "n4", "--yes"], within: .seconds(70))
        #expect(shrunk.succeeded, "\(shrunk)")
        #expect(
            cluster.all(["n1", "n4"]) { $0.state == .online && $0.bricks.map(\.node) == ["n1", "n2"] },
            "\(cluster.report)")
        let files = cluster.content("n1").split(separator: "\n").count
        #expect(files == 20, "\(cluster.content("n1"))")
        // n2 dies for good; its glusterd first, so that nobody has to wait until the others' notice.
        cluster.daemons["n2"]?.kill()
        try cluster.cluster.lab.cut(cluster["n2"].host)
        let isOffered = eventually(within: .seconds(45)) {
            cluster.info(cluster["n1"])?.offer == "if n2 does not come back: bramble volume replace-brick shared n2 n3"
                ? true : nil
        }
        #expect(isOffered == true, "\(cluster.report)")
        // Its directory of before is ours and has no files any more, so it is used again.
        let replaced = try cluster["n1"].cli(["volume", "replace-brick", "shared", "n2", "n3"], within: .seconds(70))
        let left = try cluster["n3"].host.run("ls", "-la", "/mnt/shared").output
        try #require(replaced.succeeded, "\(replaced)\n\(left)\n\(cluster.report)")
        #expect(
            cluster.all(["n1", "n3"], within: .seconds(90)) {
                $0.state == .online && $0.bricks.map(\.node) == ["n1", "n3"]
            }, "\(cluster.report)")
        let isFilled = eventually(within: .seconds(45)) { () -> Bool? in
            cluster.content("n3").split(separator: "\n").count == 20 ? true : nil
        }
        #expect(isFilled == true, "\(cluster.content("n3"))\n\(cluster.report)")
        let removed = try cluster["n1"].cli("node", "remove", "n2", "--yes")
        #expect(removed.succeeded, "\(removed)")
        let isGone = eventually(within: .seconds(45)) {
            let list = cluster.gluster("n1", "pool", "list")
            return list.contains("n2") || !list.contains("n4") ? nil : true
        }
        #expect(isGone == true, "\(cluster.gluster("n1", "pool", "list"))\n\(cluster.report)")
    }

    @Test("what was begun goes on: a node without glusterd, and the death of the node that leads in the middle of it")
    func resumes() throws {
        let cluster = try VolumeCluster(["n1", "n2", "n3"], serving: ["n1", "n2"])
        let document = "volumes: [{name: shared, replica: 3, path: /mnt/shared, mount: /srv/shared}]"
        try cluster["n1"].apply(document)
        let isWaiting = cluster.all(["n1", "n2", "n3"], within: .seconds(20)) {
            $0.reason.contains("n3: glusterd does not run") && $0.mountedOn.isEmpty
        }
        #expect(isWaiting, "\(cluster.report)")
        // What a creation leaves that another node refused.
        try cluster["n1"].host.require(
            "setfattr", "-n", "trusted.glusterfs.volume-id", "-v", "0x00112233445566778899aabbccddeeff", "/mnt/shared")
        try cluster["n3"].host.startGlusterd()
        let leader = eventually(within: .seconds(20), every: .milliseconds(2)) {
            cluster.nodes.first { $0.log.contains("gluster volume create") }
        }
        let first = try #require(leader, "\(cluster.report)")
        first.kill()
        let others = cluster.nodes.map(\.name).filter { $0 != first.name }
        let goesOn = cluster.all(others) { $0.state == .online || $0.state == .degraded }
        #expect(goesOn, "\(cluster.report)")
        try first.restart()
        #expect(
            cluster.all(["n1", "n2", "n3"]) { $0.state == .online && $0.mountedOn == ["n1", "n2", "n3"] },
            "\(cluster.report)")
        // The other kinds.
        let dispersed = try cluster["n2"].cli(
            ["volume", "create", "films", "--disperse", "3", "--path", "/mnt/films", "--mount", "/srv/films"],
            within: .seconds(70))
        #expect(dispersed.succeeded, "\(dispersed)\n\(cluster.report)")
        let voted = try cluster["n3"].cli(
            [
                "volume", "create", "votes", "--replica", "3", "--arbiter", "1", "--path", "/mnt/votes", "--mount",
                "/srv/votes",
            ],
            within: .seconds(70))
        #expect(voted.succeeded, "\(voted)\n\(cluster.report)")
        try cluster["n1"].host.write("a film", to: "/srv/films/film")
        #expect(cluster["n3"].host.read("/srv/films/film") == "a film")
        // Each was made on another node than the one that is asked now.
        let isShown = eventually(within: .seconds(10)) {
            let (films, votes) = (cluster.info(cluster["n1"], "films"), cluster.info(cluster["n1"], "votes"))
            return films?.disperse == 3 && films?.redundancy == 1 && films?.kind == .disperse
                && votes?.bricks.map(\.arbiter) == [false, false, true]
        }
        #expect(isShown, "\(cluster.report)")
        let exported = try cluster["n1"].cli("export")
        #expect(exported.output.contains("mount: /srv/shared"), "\(exported)")
    }

    @Test(
        "with --force bricks are on the root file system; without a place it is mounted at /bramble/NAME, also after all nodes lost power, unasked; two versions of GlusterFS are said"
    )
    func defaults() throws {
        let cluster = try VolumeCluster(["n1", "n2"]) { host in
            try host.ownRoot(without: ["bramble", "data"])
            guard host.name == "n2" else { return }
            try host.require("mv", "/usr/sbin/gluster", "/usr/sbin/gluster.real")
            try host.write(
                """
                #!/bin/sh
                [ "$1" != --version ] || { echo "glusterfs 11.1"; exit; }
                exec /usr/sbin/gluster.real "$@"

                """, to: "/usr/sbin/gluster")
            try host.require("chmod", "755", "/usr/sbin/gluster")
        }
        let words = ["volume", "create", "shared", "--replica", "2"]
        let refused = try cluster["n1"].cli(words, within: .seconds(40))
        #expect(
            refused.status == 1 && refused.errors.contains("n1: /data/bricks/shared is on the root file system"),
            "\(refused)\n\(cluster.report)")
        let made = try cluster["n1"].cli(words + ["--force"], within: .seconds(70))
        #expect(
            made.succeeded && made.output.contains("shared is mounted at /bramble/shared on n1, n2"),
            "\(made)\n\(cluster.report)")
        try cluster["n1"].host.write("hello", to: "/bramble/shared/file")
        #expect(cluster["n2"].host.read("/bramble/shared/file") == "hello")
        #expect(cluster["n2"].host.read("/data/bricks/shared/file") == "hello")
        let doctor = try eventually(within: .seconds(10)) {
            try cluster["n1"].get("/v1/doctor", as: [DoctorCheck].self).first {
                $0.check == "volumes" && $0.text.hasPrefix("nodes have GlusterFS 10.")
            }
        }
        #expect(doctor?.state == .warn && doctor?.text.hasSuffix(" and 11.1") ?? false, "\(cluster.report)")
        for name in ["n1", "n2"] { try cluster.loseEverything(name) }
        for name in ["n1", "n2"] {
            let mounts = try cluster[name].host.require("cat", "/proc/mounts")
            #expect(!mounts.contains("/bramble/shared"), "\(mounts)")
        }
        for name in ["n1", "n2"] { try cluster.boot(name) }
        for name in ["n1", "n2"] {
            let isBack = eventually(within: .seconds(40)) { cluster[name].host.read("/bramble/shared/file") == "hello" }
            #expect(isBack, "\(name): \(cluster.report)")
        }
    }

    @Test(
        "what cannot be is refused before anything is begun: root file system, files in the way, too few nodes, no names, no package, no FUSE"
    )
    func refused() throws {
        let cluster = try VolumeCluster(["n1", "n2"])
        func refuses(_ words: String..., because text: String) throws {
            let result = try cluster["n1"].cli(["volume", "create", "shared"] + words, within: .seconds(40))
            #expect(result.status == 1 && result.errors.contains(text), "\(result)\n\(cluster.report)")
        }
        try refuses("--path", "/mnt/b", because: "3 nodes are needed for 3 copies, and 2 are alive")
        try refuses(
            "--replica", "2", "--path", "/opt/brick", "--mount", "/srv/s",
            because: "n1: /opt/brick is on the root file system, and a full volume would stop the whole machine")
        try cluster["n2"].host.require("mkdir", "-p", "/mnt/b")
        try cluster["n2"].host.write("mine", to: "/mnt/b/mine")
        try refuses(
            "--replica", "2", "--path", "/mnt/b", "--mount", "/srv/s",
            because: "n2: /mnt/b is not empty (there is mine in it)")
        try refuses(
            "--replica", "2", "--on", "n1", "--on", "n9", "--path", "/mnt/c",
            because: "n9 is not a node of this cluster")
        try refuses("--replica", "2", "--path", "/mnt/c", "--mount", "/mnt/c/d", because: "one inside the other")
        #expect(cluster["n2"].host.read("/mnt/b/mine") == "mine")
        #expect(try cluster["n2"].host.run("getfattr", "-d", "-m", ".", "/mnt/b").output == "")
        // Without FUSE, and without the package.
        try cluster["n2"].host.require("mount", "--bind", "/etc/hostname", "/dev/fuse")
        try refuses(
            "--replica", "2", "--path", "/mnt/c", "--mount", "/srv/s",
            because: "n2: this machine has no FUSE (/dev/fuse)")
        try cluster["n2"].host.require("umount", "/dev/fuse")
        try cluster["n2"].host.require("mount", "--bind", "/dev/null", "/usr/sbin/gluster")
        try refuses("--replica", "2", "--path", "/mnt/c", "--mount", "/srv/s", because: "n2: gluster is not installed")
        let doctor = try cluster["n2"].cli("doctor")
        #expect(doctor.output.contains("gluster is not installed"), "\(doctor)")
        try cluster["n2"].host.require("umount", "/usr/sbin/gluster")
        // A hosts file that its operator keeps, and forgot.
        cluster["n2"].stop()
        try cluster["n2"].host.write("127.0.0.1 localhost\n", to: "/etc/hosts")
        try cluster["n2"].start(["--hosts-file", "none"])
        #expect(cluster.cluster.agree(alive: ["n1", "n2"]))
        try refuses(
            "--replica", "2", "--path", "/mnt/c", "--mount", "/srv/s",
            because: "n2: it cannot find the address of n1, n2 by name")
        #expect(try cluster["n1"].cli("volume", "list").output.contains("There is no volume"))
        #expect(!cluster["n1"].host.exists("/opt/brick") && !cluster["n1"].host.exists("/mnt/c"))
    }

    /// Every node lists every other by its name, and none by an address.
    private func areNamed(_ cluster: VolumeCluster) -> Bool {
        let names = ["n1", "n2", "n3"]
        return eventually(within: .seconds(15)) {
            names.allSatisfy { node in
                let list = cluster.gluster(node, "pool", "list")
                return !list.contains("10.77.0.")
                    && names.allSatisfy { $0 == node || list.contains("\t\($0) ") || list.contains("\t\($0)\t") }
            }
        }
    }
    private func pools(_ cluster: VolumeCluster) -> [String] {
        ["n1", "n2", "n3"].map { cluster.gluster($0, "pool", "list") }
    }
}
