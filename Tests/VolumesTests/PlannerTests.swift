import Primitives
import Services
import Testing
import Volumes

/// Four nodes around a volume, and what their glusterds say, without any of them.
private struct Stage {
    var planner: VolumePlanner
    let volume: Volume

    static func name(_ text: String) -> NodeName { NodeName(text)! }

    /// `n1` looks after the volumes; the named nodes are alive, serve, and have their directories ready.
    init(_ names: String..., layout: Volume.Layout = .replicate(copies: 3), nodes: [String] = []) {
        var volume = Volume(name: ServiceName("shared")!, layout: layout, path: "/data/b")
        volume.nodes = nodes.map(Self.name)
        self.volume = volume
        planner = VolumePlanner(me: Self.name("n1"))
        planner.desired = [volume]
        for (number, name) in names.enumerated() {
            var report = VolumeReport()
            report.isServing = true
            report.reaches = names.filter { $0 != name }.map(Self.name)
            report.bricks = [BrickReport(volume: volume.name, path: volume.path, state: .ready)]
            planner.members.append(
                VolumeMember(
                    name: Self.name(name), addresses: [IPAddress("10.0.0.\(number + 1)")!], isAlive: true,
                    report: report))
            guard name != "n1" else { continue }
            planner.peers.append(GlusterPeer(names: [name], isConnected: true, isInCluster: true))
        }
    }
    /// The volume is there and runs, with a brick on each of these.
    mutating func made(_ bricks: [String], replica: Int = 3, mark: String? = "on") {
        var actual = GlusterVolume(name: "shared")
        actual.status = .started
        actual.replica = replica
        actual.bricks = bricks.map { GlusterVolume.Brick(host: $0, path: "/data/b") }
        actual.options = ["network.ping-timeout": "5", "cluster.heal-timeout": "10"]
        if let mark { actual.options[GlusterVolume.markOption] = mark }
        planner.volumes = [actual]
        for index in planner.members.indices where bricks.contains("\(planner.members[index].name)") {
            planner.members[index].report?.bricks = [
                BrickReport(volume: volume.name, path: volume.path, state: .online)
            ]
        }
    }
    mutating func dies(_ name: String, noticed: Bool = true) {
        guard let index = planner.members.firstIndex(where: { "\($0.name)" == name }) else { return }
        planner.members[index].isAlive = false
        planner.members[index].report = nil
        for index in planner.peers.indices where planner.peers[index].names.contains(name) {
            planner.peers[index].isConnected = !noticed
        }
    }
    mutating func edit(_ name: String, _ body: (inout VolumeReport) -> Void) {
        guard let index = planner.members.firstIndex(where: { "\($0.name)" == name }) else { return }
        body(&planner.members[index].report!)
    }
    mutating func plan() -> (steps: [VolumeStep], standing: VolumeStanding?) {
        planner.plan()
        return (planner.steps, planner.standings.first)
    }
    func place(_ name: String) -> BrickPlace { BrickPlace(Self.name(name), "/data/b") }
}

@Suite("what is done next for a volume")
struct PlannerTests {
    @Test("from nothing: peers first, then the volume, its options, its start")
    func fromNothing() {
        var stage = Stage("n1", "n2", "n3")
        stage.planner.peers = []
        var (steps, standing) = stage.plan()
        #expect(steps == [.probe(Stage.name("n2")), .probe(Stage.name("n3"))])
        #expect(standing?.state == .making && standing?.reason == "n2 becomes a peer")

        stage.planner.peers = ["n2", "n3"].map { GlusterPeer(names: [$0], isConnected: true, isInCluster: true) }
        (steps, standing) = stage.plan()
        let places = ["n1", "n2", "n3"].map(stage.place)
        let options = ["cluster.heal-timeout": "10", "network.ping-timeout": "5", "user.bramble": "on"]
        let all: [VolumeStep] = [
            .create(stage.volume, places), .set(stage.volume.name, options), .start(stage.volume.name),
        ]
        #expect(steps == all)
        #expect(all[1].follows(all[0]) && all[2].follows(all[1]) && !all[0].follows(all[2]))
        #expect(
            steps[0].words == [
                "volume", "create", "shared", "replica", "3", "n1:/data/b", "n2:/data/b", "n3:/data/b",
            ])

        stage.made(["n1", "n2", "n3"], mark: nil)
        stage.planner.volumes[0].status = .created
        stage.planner.volumes[0].options = [:]
        (steps, standing) = stage.plan()
        #expect(steps.count == 2 && steps[1] == .start(stage.volume.name))
        #expect(
            steps[0].words == [
                "volume", "set", "shared", "cluster.heal-timeout", "10", "network.ping-timeout", "5", "user.bramble",
                "on",
            ])

        stage.made(["n1", "n2", "n3"])
        (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .online && standing?.isStarted == true)
    }

    @Test("a volume is made, and grows, only when each of its nodes reaches all of the others, not this one alone")
    func meeting() {
        var stage = Stage("n1", "n2", "n3")
        stage.edit("n2") { $0.reaches = [Stage.name("n1")] }
        var (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .making)
        #expect(standing?.reason == "waits for GlusterFS on n2 to reach n3")

        stage = Stage("n1", "n2", "n3", layout: .replicate(copies: 3), nodes: ["n1", "n2", "n3"])
        stage.made(["n1", "n2"], replica: 2)
        stage.edit("n3") { $0.reaches = [Stage.name("n1")] }
        (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.reason == "waits for GlusterFS on n3 to reach n2")
        stage.edit("n3") { $0.reaches = [Stage.name("n1"), Stage.name("n2")] }
        #expect(
            stage.plan().steps == [.addBricks(stage.volume.name, [stage.place("n3")], copies: 3, force: false)])
    }

    @Test("a peer that is known by its address alone is taught its name")
    func byAddress() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        stage.planner.peers[1].names = ["10.0.0.3"]
        #expect(stage.plan().steps == [.probe(Stage.name("n3"))])
        stage.planner.volumes[0].bricks.removeLast()
        #expect(
            stage.plan().steps.first == .detach("10.0.0.3"), "shown by its address for ever, if it is not let go first")
        stage.made(["n1", "n2", "n3"])

        var duties = VolumeDuties(me: Stage.name("n2"))
        duties.desired = [stage.volume]
        duties.members = stage.planner.members
        duties.volumes = stage.planner.volumes
        (duties.isServing, duties.canServe) = (true, true)
        duties.peers = [
            GlusterPeer(names: ["10.0.0.1"], isConnected: true, isInCluster: true),
            GlusterPeer(names: ["n3"], isConnected: true, isInCluster: true),
        ]
        #expect(duties.all == [.probeBack(Stage.name("n1"))], "the reverse probe")
        duties.me = Stage.name("n3")
        duties.peers[1].names = ["n2"]
        #expect(duties.all == [], "one node says it, the others hear it")
    }

    @Test(
        "a node that boots alone mounts what its own glusterd knows, from itself first; a deleted volume is unmounted")
    func mounts() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        var duties = VolumeDuties(me: Stage.name("n2"))
        duties.desired = [stage.volume]
        duties.members = stage.planner.members.map {
            VolumeMember(name: $0.name, addresses: $0.addresses, isAlive: $0.name == duties.me)
        }
        (duties.canServe, duties.isServing, duties.canMount) = (true, true, true)
        duties.peers = stage.planner.peers
        duties.volumes = stage.planner.volumes
        let servers = ["n2", "n1", "n3"].map(Stage.name)
        #expect(duties.all == [.mount(stage.volume.name, servers: servers, at: "/bramble/shared")])
        duties.mounts = ["/bramble/shared": "shared"]
        #expect(duties.all == [])
        (duties.desired, duties.doomed) = ([], [stage.volume.name: "/bramble/shared"])
        #expect(duties.all == [.unmount(stage.volume.name, at: "/bramble/shared")])
        duties.mounts = ["/bramble/shared": "another"]
        #expect(duties.all == [], "what somebody else mounted there stays")
    }

    @Test(
        "what is missing is said, and nothing is begun",
        arguments: [
            ("too few", "3 nodes are needed for 3 copies, and there are 2"),
            ("package", "n2: gluster is not installed; apt install glusterfs-server"),
            ("path", "n3: /data/b is not empty"), ("dead", "waits for n3, which is not alive"),
            ("silent", "waits to hear from n2"), ("stranger", "n9 is not a node of this cluster"),
        ])
    func missing(what: String, reason: String) {
        var stage = Stage("n1", "n2", "n3", nodes: what == "stranger" ? ["n1", "n2", "n9"] : [])
        switch what {
        case "too few": stage.planner.members.removeLast()
        case "package":
            stage.edit("n2") { $0.serverTrouble = "gluster is not installed; apt install glusterfs-server" }
        case "path":
            stage.edit("n3") {
                $0.bricks[0].state = .refused
                $0.bricks[0].trouble = "/data/b is not empty"
            }
        case "dead": stage.dies("n3")
        case "silent": stage.planner.members[1].report = nil
        default: break
        }
        let (steps, standing) = stage.plan()
        #expect(standing?.reason == reason)
        #expect(!steps.contains { if case .create = $0 { true } else { false } })
        #expect(standing?.state == (what == "dead" || what == "silent" ? .making : .blocked))
    }

    @Test("a volume of somebody else's with that name is left alone")
    func foreign() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"], mark: nil)
        let (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .blocked)
        #expect(standing?.reason.contains("gluster volume set shared user.bramble on") ?? false)
    }

    @Test("while glusterd believes in a dead host nothing is changed")
    func ghost() {
        var stage = Stage("n1", "n2", "n3", "n4", nodes: ["n1", "n2", "n4"])
        stage.made(["n1", "n2", "n3"])
        stage.dies("n3", noticed: false)
        var (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .changing, "\(steps)")
        #expect(standing?.reason.contains("until GlusterFS has noticed that n3 is gone") ?? false)
        stage.dies("n3", noticed: true)
        (steps, standing) = stage.plan()
        #expect(steps == [.replaceBrick(stage.volume.name, stage.place("n3"), with: stage.place("n4"))])
    }

    @Test("bricks that were started a moment ago are not missed, nor started again")
    func starting() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        for name in ["n2", "n3"] { stage.edit(name) { $0.bricks[0].state = .offline } }
        stage.planner.starting = [stage.volume.name]
        let (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .making && standing?.isStarted == true)
        stage.dies("n3")
        #expect(stage.plan().standing?.state == .offline)
    }

    @Test("a host that is away: clients go on, and a spare node is offered")
    func degraded() {
        var stage = Stage("n1", "n2", "n3", "n4", nodes: ["n1", "n2", "n3"])
        stage.made(["n1", "n2", "n3"])
        stage.dies("n3")
        var standing = stage.plan().standing
        #expect(standing?.state == .degraded && standing?.reason.hasPrefix("n3 is away") ?? false)
        #expect(standing?.offer == "if n3 does not come back: bramble volume replace-brick shared n3 n4")
        stage.dies("n2")
        standing = stage.plan().standing
        #expect(standing?.state == .offline)
    }

    @Test("entries are counted once for each set, and the self-heal daemon is pushed when all are back")
    func heals() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        for name in ["n1", "n2"] { stage.edit(name) { $0.bricks[0].pending = 7 } }
        stage.edit("n3") { $0.bricks[0].state = .offline }
        var (steps, standing) = stage.plan()
        #expect(steps == [.restartBricks(stage.volume.name)] && standing?.progress == "7 entries to heal")
        stage.edit("n3") { $0.bricks[0].state = .online }
        (steps, standing) = stage.plan()
        #expect(steps == [.heal(stage.volume.name)])
        #expect(VolumePlanner.pending(standing!, stage.planner.members) == 7)
    }

    @Test("new nodes are offered; named, they are marked before they are added, and files spread afterwards")
    func grows() {
        var stage = Stage("n1", "n2", "n3", "n4", layout: .replicate(copies: 2), nodes: ["n1", "n2"])
        stage.made(["n1", "n2"], replica: 2)
        #expect(stage.plan().standing?.offer == "it can have more room: bramble volume add-brick shared n3 n4")
        stage.planner.desired[0].nodes = ["n1", "n2", "n3", "n4"].map(Stage.name)
        let name = stage.volume.name
        #expect(stage.plan().steps == [.set(name, ["user.bramble": "rebalance"])])
        stage.planner.volumes[0].options["user.bramble"] = "rebalance"
        #expect(
            stage.plan().steps
                == [.addBricks(name, [stage.place("n3"), stage.place("n4")], copies: nil, force: false)])
        stage.made(["n1", "n2", "n3", "n4"], replica: 2, mark: "rebalance")
        #expect(stage.planner.questions == [.rebalance(name)])
        stage.planner.tasks[.rebalance(name)] = VolumeTask(status: .none)
        #expect(stage.plan().steps == [.rebalance(name)])
        stage.planner.tasks[.rebalance(name)] = VolumeTask(status: .running, files: 12, bytes: 5 << 20)
        let (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.progress == "the files are spread over all bricks: 12 files, 5 MiB moved")
        stage.planner.tasks[.rebalance(name)] = VolumeTask(status: .done, files: 20)
        #expect(stage.plan().steps == [.set(name, ["user.bramble": "on"])])
    }

    @Test("a set that goes is emptied first, and a failed move keeps it")
    func shrinks() {
        var stage = Stage("n1", "n2", "n3", "n4", layout: .replicate(copies: 2), nodes: ["n1", "n2"])
        stage.made(["n1", "n2", "n3", "n4"], replica: 2)
        let (name, going) = (stage.volume.name, [stage.place("n3"), stage.place("n4")])
        #expect(stage.planner.questions == [.drain(name, going)])
        stage.planner.tasks[.drain(name, going)] = VolumeTask(status: .none)
        #expect(stage.plan().steps == [.drainBricks(name, going)])
        stage.planner.tasks[.drain(name, going)] = VolumeTask(status: .done, files: 3)
        #expect(stage.plan().steps == [.commitDrained(name, going)])
        stage.planner.tasks[.drain(name, going)] = VolumeTask(status: .done, files: 3, failures: 2)
        let (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.state == .blocked)
    }

    @Test("one copy less, when the others have everything")
    func fewerCopies() {
        var stage = Stage("n1", "n2", "n3", layout: .replicate(copies: 2), nodes: ["n1", "n2"])
        stage.made(["n1", "n2", "n3"])
        stage.edit("n3") { $0.bricks[0].pending = 1 }
        #expect(!stage.plan().steps.contains(.dropCopies(stage.volume.name, [stage.place("n3")], copies: 2)))
        stage.edit("n3") { $0.bricks[0].pending = 0 }
        #expect(stage.plan().steps == [.dropCopies(stage.volume.name, [stage.place("n3")], copies: 2)])
    }

    @Test(
        "a deleted volume goes when nobody has it mounted and all of its nodes are there; one that is only not desired stays"
    )
    func deletes() {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        let name = stage.volume.name
        stage.planner.desired = []
        #expect(stage.plan().steps == [])
        stage.planner.doomed = [name]
        stage.edit("n2") { $0.mounts = [MountReport(volume: name, isMounted: true, trouble: "programs still use it")] }
        var (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.reason == "n2: programs still use it")
        stage.edit("n2") { $0.mounts = [] }
        stage.dies("n3")
        (steps, standing) = stage.plan()
        #expect(steps == [] && standing?.reason.hasPrefix("waits for n3") ?? false)
        stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        stage.planner.desired = []
        stage.planner.doomed = [name]
        #expect(stage.plan().steps == [.stop(name)])
        stage.planner.volumes[0].status = .stopped
        #expect(stage.plan().steps == [.delete(name)])
        stage.planner.volumes = []
        (steps, standing) = stage.plan()
        #expect(steps == [.forget(name)] && standing == nil)
    }

    @Test("a removed node is detached, once it has no brick")
    func detaches() {
        var stage = Stage("n1", "n2", "n3", "n4")
        stage.made(["n1", "n2", "n3"])
        stage.planner.members.removeLast()
        stage.planner.removed = [Stage.name("n4")]
        #expect(stage.plan().steps == [.detach("n4")])
        stage.planner.volumes[0].bricks[2].host = "n4"
        #expect(!stage.plan().steps.contains(.detach("n4")))
    }

    @Test("the nodes that get a brick: as many whole sets as there are nodes for")
    func choice() {
        let names = ["n5", "n4", "n3", "n2", "n1"].map(Stage.name)
        func chosen(_ layout: Volume.Layout) -> [String] {
            Volume(name: ServiceName("v")!, layout: layout, path: "/b").chosenNodes(from: names).map(\.description)
        }
        #expect(chosen(.replicate(copies: 3)) == ["n1", "n2", "n3"])
        #expect(chosen(.replicate(copies: 2)) == ["n1", "n2", "n3", "n4"])
        #expect(chosen(.disperse(redundancy: 1, bricks: 3)) == ["n1", "n2", "n3"])
        #expect(chosen(.disperse(redundancy: 2)) == ["n1", "n2", "n3", "n4", "n5"])
        #expect(chosen(.replicate(copies: 6)) == [])
    }
}

@Suite("what nodes tell each other about volumes")
struct VolumeMessageTests {
    @Test("written and read it is the same; a byte less or more is refused")
    func roundTrip() throws {
        var stage = Stage("n1", "n2", "n3")
        stage.made(["n1", "n2", "n3"])
        stage.planner.plan()
        var report = stage.planner.members[0].report!
        (report.isLeading, report.standings) = (true, stage.planner.standings)
        report.mounts = [MountReport(volume: stage.volume.name, isMounted: false, trouble: "a reason – with more")]
        for message in [
            VolumeMessage.report(report), .question(number: 7, row: stage.volume.row),
            .answer(number: 7, trouble: "no FUSE"),
        ] {
            let bytes = message.encoded
            #expect(try VolumeMessage(encoded: bytes) == message)
            #expect(throws: (any Error).self) { try VolumeMessage(encoded: Array(bytes.dropLast())) }
            #expect(throws: (any Error).self) { try VolumeMessage(encoded: bytes + [0]) }
        }
        let torn = VolumeMessage.answer(number: 1, trouble: "two\nlines")
        #expect(try VolumeMessage(encoded: torn.encoded) == .answer(number: 1, trouble: "two lines"))
    }
}
