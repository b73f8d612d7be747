import BrambleAPI
import Lab
import Testing

@Suite(
    "services that survive their machine", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct ServiceTests {
    /// For the log: what a client saw, never judged by a time.
    private func tell(_ title: String, _ samples: [AddressWatch.Sample], since moment: Double) {
        let address = samples.gap(around: moment) { !$0.hardware.isEmpty } ?? -1
        let service = samples.gap(around: moment) { !$0.nodes.isEmpty } ?? -1
        print("gap: \(title): address \(Int(address)) ms, service \(Int(service)) ms")
    }

    /// Nobody ever served beside another, and the address went from one to the next once.
    private func judge(_ samples: [AddressWatch.Sample], _ expected: [String], _ house: ServiceCluster) {
        #expect(samples.doubles.isEmpty, "\(samples.doubles)\n\(house.report)")
        #expect(samples.holders == expected, "\(samples.holders)\n\(house.report)")
        #expect(samples.owners.count == expected.count, "\(samples.owners)\n\(house.report)")
    }

    /// Something befalls the node that runs the service; afterwards another one does, alone, and stays.
    private func fail(
        _ title: String, _ house: ServiceCluster, document: String = ServiceCluster.document(),
        _ fault: (BrambleNode, Lab) throws -> Void, afterwards: (BrambleNode, Lab) throws -> Void = { _, _ in }
    ) throws {
        try house.apply(document)
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        pause(.seconds(1))
        let moment = monotonicSeconds()
        try fault(first, house.cluster.lab)
        let next = eventually(within: .seconds(40)) {
            house.samples.last { $0.at > moment && !$0.nodes.isEmpty && $0.nodes != [first.name] }?.nodes.first
        }
        let second = try #require(next, "\(title): nobody took over\n\(house.report)")
        pause(.seconds(1))
        let back = monotonicSeconds()
        try afterwards(first, house.cluster.lab)
        // Whoever comes back waits: the service stays where it is.
        pause(.seconds(4))
        #expect(house.serves(house.cluster[second], since: back + 3.5), "\(house.report)")
        let samples = house.endWatch()
        judge(samples, [first.name, second], house)
        tell(title, samples, since: moment)
        // What people are told of it; what a client saw is printed beside it.
        let shown = house.cluster[second].service("web")
        let started = house.cluster[second].event("started", "web", after: moment)
        #expect(shown?.lastGapMs != nil && shown?.lastGapAt != nil, "\(String(describing: shown))")
        // A whole number of milliseconds.
        #expect(
            started?.detail["gapMs"] == shown?.lastGapMs.map { .integer(Int64($0)) },
            "\(String(describing: started))\n\(house.report)")
        print("gap: \(title): told \(Int(shown?.lastGapMs ?? -1)) ms, a \(shown?.lastGapCause?.rawValue ?? "-")")
    }

    @Test("two nodes: the node that runs it loses power, and the other one answers at its address")
    func powerOff() throws {
        try fail("two nodes, power off", try ServiceCluster("n1", "n2")) { node, lab in try lab.powerOff(node.host) }
    }

    @Test("three nodes: the node that runs it loses power, and one of the others answers at its address")
    func powerOffOfThree() throws {
        try fail("three nodes, power off", try ServiceCluster("n1", "n2", "n3")) { node, lab in
            try lab.powerOff(node.host)
        }
    }

    @Test("a daemon that is stopped falls silent at its address in time, and finds itself replaced when it goes on")
    func frozen() throws {
        try fail(
            "two nodes, daemon stopped", try ServiceCluster("n1", "n2"),
            { node, _ in node.process?.freeze() }, afterwards: { node, _ in node.process?.thaw() })
    }

    @Test("three nodes: a daemon that is stopped falls silent in time, and finds itself replaced when it goes on")
    func frozenOfThree() throws {
        try fail(
            "three nodes, daemon stopped", try ServiceCluster("n1", "n2", "n3"),
            { node, _ in node.process?.freeze() }, afterwards: { node, _ in node.process?.thaw() })
    }

    @Test("a killed daemon's service goes to the other node, and the daemon finds it there when it is started again")
    func killed() throws {
        try fail(
            "two nodes, daemon killed", try ServiceCluster("n1", "n2"),
            { node, _ in node.kill() }, afterwards: { node, _ in try node.restart() })
    }

    @Test("a cable that is pulled moves the service, and it stays there when the cable is back")
    func unplugged() throws {
        try fail(
            "two nodes, port down", try ServiceCluster("n1", "n2"),
            { node, lab in try lab.unplug(node.host) }, afterwards: { node, lab in try lab.plug(node.host) })
    }

    @Test("a node that is cut off from everybody, with its carrier there, gives way, and stays away when it is back")
    func cutOff() throws {
        try fail(
            "two nodes, cut off", try ServiceCluster("n1", "n2"),
            { node, lab in try lab.cut(node.host) }, afterwards: { _, lab in try lab.heal() })
    }

    @Test("three nodes: one that is cut off from everybody gives way, and stays away when it is back")
    func cutOffOfThree() throws {
        try fail(
            "three nodes, cut off", try ServiceCluster("n1", "n2", "n3"),
            { node, lab in try lab.cut(node.host) }, afterwards: { _, lab in try lab.heal() })
    }

    @Test("a node whose packets do not get out any more gives way")
    func mute() throws {
        try fail(
            "two nodes, nothing gets out", try ServiceCluster("n1", "n2"),
            { node, lab in
                for other in lab.hosts where other !== node.host { try lab.drop(from: node.host, to: other) }
            }, afterwards: { _, lab in try lab.heal() })
    }

    @Test("a node that hears nothing any more gives way")
    func deaf() throws {
        try fail(
            "two nodes, nothing gets in", try ServiceCluster("n1", "n2"),
            { node, lab in
                for other in lab.hosts where other !== node.host { try lab.drop(from: other, to: node.host) }
            }, afterwards: { _, lab in try lab.heal() })
    }

    @Test("nothing moves when the hosts of the reach list are gone, as long as the nodes hear each other")
    func reachGone() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        try house.client.require("ip", "address", "del", "10.77.0.9/24", "dev", "eth0")
        let moment = monotonicSeconds()
        pause(.seconds(5))
        #expect(house.serves(first, since: moment + 4.5), "\(house.report)")
        judge(house.endWatch(), [first.name], house)
    }

    @Test("a service is moved, its node is drained, the other one is put on hold: each time it goes where it should")
    func ordered() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        var moment = monotonicSeconds()
        let moved = try first.ask(
            "POST", "/v1/services/web/move", body: "{\"to\":\"\(second.name)\"}", within: .seconds(50))
        #expect(moved.status == 200, "\(moved.text)\n\(house.report)")
        #expect(house.serves(second, since: moment), "\(house.report)")
        print("move: \(moved.text)")
        tell("planned move", house.samples, since: moment)

        moment = monotonicSeconds()
        let drained = try first.ask("POST", "/v1/nodes/\(second.name)/drain", within: .seconds(20))
        #expect(drained.status == 200, "\(drained.text)")
        #expect(house.serves(first, since: moment), "\(house.report)")
        #expect(house.holder()?.name == first.name, "\(house.report)")
        let resumed = try first.ask("POST", "/v1/nodes/\(second.name)/resume", within: .seconds(20))
        #expect(resumed.status == 200, "\(resumed.text)")

        moment = monotonicSeconds()
        #expect(
            eventually(within: .seconds(10)) {
                house.cluster.nodes.allSatisfy { $0.service("web")?.node == first.name }
            })
        let held = try second.ask("POST", "/v1/nodes/\(first.name)/hold", within: .seconds(20))
        #expect(held.status == 200, "\(held.text)")
        #expect(house.serves(second, since: moment), "\(house.report)")
        // On hold it stays, also after a restart.
        first.stop()
        try first.restart()
        #expect(house.cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(house.report)")
        #expect(house.holder()?.name == second.name, "\(house.report)")
        pause(.seconds(1))
        judge(house.endWatch(), [first.name, second.name, first.name, second.name], house)
    }

    @Test(
        "a node on hold that comes back without its database is on hold all the same, and takes nothing until it is resumed"
    )
    func heldAndForgot() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        let held = try second.ask("POST", "/v1/nodes/\(first.name)/hold", within: .seconds(20))
        #expect(held.status == 200, "\(held.text)")
        #expect(eventually(within: .seconds(20)) { second.service("web")?.node == second.name }, "\(house.report)")
        first.kill()
        try first.host.require("sh", "-c", "rm -f \(BrambleNode.dataDirectory)/database.db*")
        try first.restart()
        #expect(house.cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(house.report)")
        #expect(
            eventually(within: .seconds(10)) {
                (try? first.nodes())?.first { $0.name == first.name }?.duty == .held
            }, "\(house.report)")
        // Its leases know that the other one lives, too: who has met nobody since its start does not act alone.
        #expect(
            eventually(within: .seconds(10)) { first.service("web")?.node == second.name }, "\(house.report)")
        pause(.seconds(2))
        try house.watchAddress()
        try house.cluster.lab.powerOff(second.host)
        let off = monotonicSeconds()
        pause(.seconds(5))
        #expect(!house.samples.contains { $0.at > off + 0.5 && !$0.nodes.isEmpty }, "\(house.report)")
        let why = try first.why("web")
        #expect(why.because.contains { $0.text.contains("on hold") } || why.answer.contains("on hold"), "\(why)")
        let resumed = try first.ask("POST", "/v1/nodes/\(first.name)/resume", within: .seconds(20))
        #expect(resumed.status == 200, "\(resumed.text)")
        #expect(house.serves(first, since: off, within: .seconds(60)), "\(house.report)")
        #expect(house.endWatch().doubles.isEmpty)
    }

    @Test(
        "a node left alone with perhaps older files waits for an operator's word: that it may, or that the other one is removed",
        arguments: [false, true])
    func vouched(isRemoved: Bool) throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        let early = try second.ask("POST", "/v1/services/web/take-over", within: .seconds(50))
        #expect(early.status == 409 && early.text.contains("is alive"), "\(early.text)")
        second.kill()
        pause(.seconds(2))
        try house.cluster.lab.powerOff(first.host)
        try second.restart()
        let waits = eventually(within: .seconds(60)) {
            (try? second.why("web"))?.answer.contains("take-over") ?? false
        }
        #expect(waits, "\(String(describing: try? second.why("web")))\n\(house.report)")
        let moment = monotonicSeconds()
        try house.watchAddress()
        if isRemoved {
            let removed = try second.ask("DELETE", "/v1/nodes/\(first.name)", within: .seconds(20))
            #expect(removed.status == 200, "\(removed.text)")
        } else {
            let vouched = try second.ask("POST", "/v1/services/web/take-over", within: .seconds(50))
            #expect(vouched.status == 200 && vouched.text.contains("vouched"), "\(vouched.text)\n\(house.report)")
        }
        #expect(house.serves(second, since: moment), "\(house.report)")
        _ = house.endWatch()
    }

    @Test(
        "a rehearsed failure moves the service to another node and tells how long a client waited", arguments: [2, 3])
    func drilled(count: Int) throws {
        let house = count == 2 ? try ServiceCluster("n1", "n2") : try ServiceCluster("n1", "n2", "n3")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        let moment = monotonicSeconds()
        // Any node may be asked.
        let answer = try house.other(than: first).ask("POST", "/v1/services/web/drill", within: .seconds(50))
        #expect(answer.status == 200 && answer.text.contains("gapMs"), "\(answer.text)\n\(house.report)")
        let second = try #require(house.holder(), "\(house.report)")
        pause(.seconds(1))
        let samples = house.endWatch()
        judge(samples, [first.name, second.name], house)
        tell("drill of \(count)", samples, since: moment)
        print("drill: \(answer.text)")
    }

    @Test("a node that is stopped in order hands its service over first")
    func stopped() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        let moment = monotonicSeconds()
        first.stop()
        #expect(house.serves(second, since: moment), "\(house.report)")
        pause(.seconds(1))
        let samples = house.endWatch()
        judge(samples, [first.name, second.name], house)
        tell("stopped in order", samples, since: moment)
        #expect(
            eventually(within: .seconds(10)) {
                (try? second.events())?.contains { $0.type == "started" && $0.subject == "web" } ?? false
            })
        let left = try first.host.run(
            "sh", "-c", "nft list tables | grep bramble; ip address | grep \(ServiceCluster.address)")
        #expect(left.output.isEmpty, "left behind: \(left.output)")
        let why = try second.why("web")
        #expect(why.answer.contains(second.name) && !why.because.isEmpty, "\(why)")
    }

    /// Starts and stops the same service with scripts, which hang where a file says so.
    private static let script = """
        #!/bin/sh
        pid=$(cat /run/echo.pid 2>/dev/null || echo none)
        case "$1" in
        start)
            [ -e /etc/hang-start ] && exec sleep 1000
            /usr/bin/python3 -S \(ServiceCluster.programPath) >/dev/null 2>&1 &
            echo $! > /run/echo.pid ;;
        stop)
            [ -e /etc/hang-stop ] && exec sleep 1000
            [ -e /etc/refuse-stop ] && { echo "the device is busy" >&2; exit 1; }
            [ $pid = none ] || kill $pid 2>/dev/null
            rm -f /run/echo.pid ;;
        status)
            [ -e /etc/refuse-stop ] && exit 0
            grep -qs '^State:[[:space:]]*[RSDT]' /proc/$pid/status && exit 0
            exit 3 ;;
        esac

        """
    private static let scripted = """
        reach: [10.77.0.9]
        services:
          - name: web
            addresses: [\(ServiceCluster.address)/24]
            run: script:/usr/local/bin/echo-script
            check: tcp:\(ServiceCluster.port)
            prefer: [n1]
            startWithin: 2s
            stopWithin: 2s
            restarts: 1

        """
    private func scriptedCluster(hanging: String? = nil, on node: String = "n1") throws -> ServiceCluster {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            try node.host.write(Self.script, to: "/usr/local/bin/echo-script")
            try node.host.require("chmod", "755", "/usr/local/bin/echo-script")
        }
        if let hanging { try house.cluster[node].host.require("touch", hanging) }
        return house
    }

    @Test("a start that hangs is ended, and the other node has a try")
    func startHangs() throws {
        let house = try scriptedCluster(hanging: "/etc/hang-start")
        try house.watchAddress()
        let moment = monotonicSeconds()
        try house.apply(Self.scripted)
        #expect(house.serves(house.cluster["n2"], since: moment), "\(house.report)")
        pause(.seconds(1))
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty && samples.holders == ["n2"], "\(samples.holders)\n\(house.report)")
        let sleepers = try house.cluster["n1"].host.run(
            "sh", "-c", "grep -l '^sleep.1000' /proc/[0-9]*/cmdline 2>/dev/null")
        #expect(sleepers.output.isEmpty, "\(sleepers.output)")
    }

    /// The service runs on the first of the two, and is watched.
    private func scriptedAndServing() throws -> (ServiceCluster, first: BrambleNode, second: BrambleNode) {
        let house = try scriptedCluster()
        try house.apply(Self.scripted)
        let first = try #require(house.holder(), "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        return (house, first, house.other(than: first))
    }

    @Test("a stop that hangs is made to end, and the service goes on elsewhere only then")
    func stopHangs() throws {
        let (house, first, second) = try scriptedAndServing()
        try first.host.require("touch", "/etc/hang-stop")
        let moment = monotonicSeconds()
        let moved = try first.ask("POST", "/v1/services/web/move", body: "{}", within: .seconds(50))
        #expect(moved.status == 200, "\(moved.text)\n\(house.report)")
        #expect(house.serves(second, since: moment), "\(house.report)")
        pause(.seconds(1))
        judge(house.endWatch(), [first.name, second.name], house)
    }

    @Test(
        "a stop that fails takes the address off and lets nobody else start it; both nodes say why, and it goes on when it can be stopped"
    )
    func stopFails() throws {
        let (house, first, second) = try scriptedAndServing()
        try first.host.require("touch", "/etc/refuse-stop")
        // Answered when it is done, which it is not for long.
        let order = try second.host.spawn([second.program, "service", "move", "web", "--to", second.name])
        for node in [first, second] {
            let told = eventually(within: .seconds(30)) {
                (try? node.why("web"))?.answer.contains("it could not be stopped: the stop: ") == true
                    && node.service("web")?.state == .failed && node.service("web")?.node == first.name
            }
            #expect(told, "\(String(describing: try? node.why("web")))\n\(house.report)")
        }
        #expect(try first.why("web").answer.contains("the device is busy"))
        let addresses = try first.host.require("ip", "address", "show", "dev", "eth0")
        #expect(!addresses.contains("\(ServiceCluster.address)/"), "\(addresses)")
        let silent = monotonicSeconds()
        pause(.seconds(5))
        #expect(!house.samples.contains { $0.at > silent && !($0.nodes.isEmpty && $0.hardware.isEmpty) })
        let moment = monotonicSeconds()
        try first.host.require("rm", "/etc/refuse-stop")
        #expect(house.serves(second, since: moment, within: .seconds(60)), "\(house.report)")
        judge(house.endWatch(), [first.name, second.name], house)
        order.kill()
    }

    @Test("a node that may not change addresses is a member all the same, takes no service, and says why")
    func withoutRights() throws {
        let house = try ServiceCluster("n1", "n2")
        let host = house.cluster["n2"].host
        house.cluster["n2"].stop()
        let wrapper = "/usr/local/bin/bramble-without-rights"
        try host.write(
            "#!/bin/sh\nexec setpriv --bounding-set=-net_admin,-net_raw \(BrambleNode.builtHere) \"$@\"\n", to: wrapper)
        try host.require("chmod", "755", wrapper)
        let weak = BrambleNode(wrapper, on: host)
        try weak.start()
        #expect(
            [house.cluster["n1"], weak].agree(alive: ["n1", "n2"], within: .seconds(20)), "\(weak.log)\n\(house.report)"
        )
        try house.apply(ServiceCluster.document("    prefer: [n2]"))
        #expect(house.holder(among: [house.cluster["n1"], weak])?.name == "n1", "\(weak.log)\n\(house.report)")
        let why = try weak.why("web")
        #expect(weak.log.contains("CAP_NET_ADMIN"), "\(weak.log)")
        #expect(why.answer.contains("n1"), "\(why)")
        try weak.write("CREATE TABLE t (k INTEGER PRIMARY KEY)")
        weak.stop()
    }

    @Test("a name of a service that is not there, and one that nobody can take, are answered with a sentence")
    func refusals() throws {
        let house = try ServiceCluster("n1", "n2")
        let unknown = try house.cluster["n1"].ask("POST", "/v1/services/nothing/move", body: "{}")
        #expect(unknown.status == 404 && unknown.text.contains("nothing"), "\(unknown.text)")
        try house.apply(ServiceCluster.document(run: "/usr/bin/no-such-program"))
        let failed = eventually(within: .seconds(40)) {
            house.cluster.nodes.contains { node in
                guard let web = node.service("web"), web.state != .running, web.state != .starting else { return false }
                return web.reason.contains("no-such-program")
            }
        }
        #expect(failed, "\(house.report)")
        let stopped = try house.cluster["n2"].ask("POST", "/v1/services/web/stop", within: .seconds(50))
        #expect(stopped.status == 200, "\(stopped.text)")
        // The order was given to the other node.
        #expect(
            eventually(within: .seconds(10)) { house.cluster["n1"].service("web")?.isWanted == false },
            "\(house.report)")
    }

    @Test("a reach list that can tell nothing is found by doctor; then nobody takes over, and why says so")
    func badReach() throws {
        let house = try ServiceCluster("n1", "n2")
        let (n1, n2) = (house.cluster["n1"], house.cluster["n2"])
        // One that is not there, one of each node's own, and one of a bridge that every host has for itself.
        for node in house.cluster.nodes {
            try node.host.require(
                "sh", "-c",
                "ip link add docker0 type bridge && ip link set docker0 up && ip address add 172.17.0.1/16 dev docker0")
        }
        let list = "reach: [10.77.0.99, \(n1.host.address), \(n2.host.address), 172.17.0.1]\n"
        try house.apply(list + ServiceCluster.document("    prefer: [n1]", reach: false))
        #expect(house.holder()?.name == "n1", "\(house.report)")
        func checks(_ node: BrambleNode) -> [DoctorCheck] {
            ((try? node.get("/v1/doctor", as: [DoctorCheck].self)) ?? []).filter { $0.check == "reach" }
        }
        let found = checks(n2)
        for text in [
            "10.77.0.99 of the reach list does not answer", "\(n2.host.address) of the reach list is this node's own",
            "172.17.0.1 of the reach list is this node's own",
            "\(n1.host.address) of the reach list is an address of n1",
        ] {
            #expect(found.contains { $0.state == .warn && $0.text.contains(text) }, "\(text): \(found)")
        }
        #expect(found.contains { $0.state == .fail && $0.text.contains("would not take over") }, "\(found)")
        try house.watchAddress()
        #expect(house.serves(n1, since: 0), "\(house.report)")
        try house.cluster.lab.powerOff(n1.host)
        let told = eventually(within: .seconds(20)) {
            (try? n2.why("web")).map { why in ([why.answer] + why.because.map(\.text)).joined(separator: "\n") }
                .flatMap { $0.contains("reach list answers") ? $0 : nil }
        }
        #expect(told != nil, "\(String(describing: try? n2.why("web")))\n\(house.report)")
        pause(.seconds(2))
        #expect(house.endWatch().holders == ["n1"], "\(house.report)")
    }

    @Test(
        "mirrored paths that cannot be copied are named by why of the service that needs them, which runs all the same")
    func badMirrorPaths() throws {
        let house = try ServiceCluster("n1", "n2")
        let paths = ["/srv/device", "/srv/loop", "/srv/full/", "/srv/good/", "/srv/secret/"]
        for node in house.cluster.nodes {
            try node.host.require(
                "sh", "-c",
                "mkdir -p /srv/full /srv/good /srv/secret && mknod /srv/device c 1 5 && ln -s loop /srv/loop")
        }
        // Root reads everything, but not from a confined unit.
        let n1 = house.cluster["n1"].host
        try n1.require("mv", "/usr/bin/rsync", "/usr/bin/rsync-itself")
        try n1.write(
            "#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search /usr/bin/rsync-itself \"$@\"\n",
            to: "/usr/bin/rsync")
        try n1.require("chmod", "755", "/usr/bin/rsync")
        try n1.write("secret", to: "/srv/secret/page")
        try n1.require("chmod", "0", "/srv/secret/page")
        try house.cluster["n1"].host.write("page", to: "/srv/full/page")
        try house.cluster["n2"].host.require("mount", "-t", "tmpfs", "-o", "size=4m", "none", "/srv/full")
        let mirrors = paths.enumerated().map { "  - {name: m\($0), paths: [\($1)], every: 1h}" }.joined(separator: "\n")
        try house.apply(
            ServiceCluster.document("    prefer: [n1]\n    mirrors: [m0, m1, m2, m3, m4]\nmirrors:\n" + mirrors))
        #expect(house.holder()?.name == "n1", "\(house.report)")
        let sentences = [
            "m0 is not copied: n2: /srv/device is no file and no directory",
            "m1 is not copied: n2: /srv/loop cannot be looked at",
            "m2 is not copied: n2: the other node refuses: the disk of /srv/full/ is full here",
            "m4 is not copied: n2: rsync: [sender] send_files failed to open \"/srv/secret/page\": Permission denied",
        ]
        let told = eventually(within: .seconds(40)) { () -> String? in
            let text = (try? house.cluster["n1"].why("web"))?.because.map(\.text).joined(separator: "\n") ?? ""
            return sentences.allSatisfy(text.contains) ? text : nil
        }
        #expect(
            told != nil,
            "\(String(describing: try? house.cluster["n1"].why("web").because.map(\.text)))\n\(house.report)")
        #expect(told?.contains("m3") == false, "\(told ?? "")")
        #expect(house.cluster["n1"].service("web")?.state == .running)
    }

    @Test(
        "an address on an interface that no node has starts nothing, and both nodes say so for both; then it is put right"
    )
    func unknownInterface() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document("    interface: eth7"))
        let sentence = "10.77.0.50 is to be on eth7, which this machine does not have; name one of these interfaces"
        for (node, other) in [("n1", "n2"), ("n2", "n1")] {
            let told = eventually(within: .seconds(40)) {
                guard let answer = (try? house.cluster[node].why("web"))?.answer else { return false }
                return answer.contains("here: it failed here: ") && answer.contains("\(other) says: it failed here: ")
                    && answer.split(separator: sentence, omittingEmptySubsequences: false).count == 3
            }
            #expect(told, "\(String(describing: try? house.cluster[node].why("web")))\n\(house.report)")
        }
        for node in house.cluster.nodes {
            #expect(node.service("web")?.state == .failed && !node.log.contains("runs on this node"), "\(house.report)")
            let addresses = try node.host.require("ip", "address")
            #expect(!addresses.contains(ServiceCluster.address), "\(addresses)")
        }
        try house.apply(ServiceCluster.document("    interface: eth0"))
        #expect(house.holder() != nil, "\(house.report)")
    }

    @Test("a script that is missing or not executable, and a folder without scripts, are named by why on every node")
    func badScripts() throws {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            try node.host.require("mkdir", "-p", "/usr/local/lib/empty")
            try node.host.write("#!/bin/sh\n", to: "/usr/local/bin/plain")
            try node.host.require("chmod", "644", "/usr/local/bin/plain")
        }
        try house.apply(
            """
            reach: [10.77.0.9]
            services:
              - {name: gone, run: "script:/usr/local/bin/gone"}
              - {name: plain, run: "script:/usr/local/bin/plain"}
              - {name: empty, run: "script:/usr/local/lib/empty/"}

            """)
        for (name, sentence) in [
            ("gone", "/usr/local/bin/gone is not there"),
            ("plain", "/usr/local/bin/plain is not executable: chmod +x /usr/local/bin/plain"),
            ("empty", "/usr/local/lib/empty/ has no S??name to start"),
        ] {
            for node in house.cluster.nodes {
                let told = eventually(within: .seconds(40)) {
                    (try? node.why(name))?.answer.contains(sentence) == true
                        && [.failed, .blocked].contains(node.service(name)?.state)
                }
                #expect(told, "\(node.name): \(String(describing: try? node.why(name)))\n\(house.report)")
            }
        }
    }

    @Test(
        "an agent that refuses to start is left, or tried elsewhere, by what its exit code means, and why has its own words"
    )
    func agentCodes() throws {
        let house = try ServiceCluster("n1", "n2")
        let agent = """
            #!/bin/sh
            case "$1" in
            meta-data) echo '<resource-agent name="moody"><shortdesc>x</shortdesc><parameters><parameter name="code"><content default="0"/></parameter></parameters><actions><action name="start" timeout="5s"/></actions></resource-agent>';;
            monitor) exit 7;;
            start) echo "ocf-exit-reason:the moon is full" >&2; exit "$OCF_RESKEY_code";;
            esac

            """
        for node in house.cluster.nodes {
            try node.host.require("mkdir", "-p", "/usr/lib/ocf/resource.d/lab")
            try node.host.write(agent, to: "/usr/lib/ocf/resource.d/lab/moody")
            try node.host.require("chmod", "755", "/usr/lib/ocf/resource.d/lab/moody")
        }
        let names = (1...6).map { "code\($0)" }
        let services = (1...6).map { code in
            "  - {name: code\(code), run: ocf:lab:moody, parameters: {code: \"\(code)\"}, restarts: 0, startWithin: 5s}"
        }
        try house.apply("reach: [10.77.0.9]\nservices:\n" + services.joined(separator: "\n") + "\n")
        let sentences = [
            "start failed", "a parameter makes no sense here", "does not know “start”", "it lacks permission",
            "what it needs is not installed", "its parameters are wrong",
        ]
        for (name, sentence) in zip(names, sentences) {
            let told = eventually(within: .seconds(40)) { () -> String? in
                let texts = house.cluster.nodes.compactMap { try? $0.why(name) }
                    .map { ([$0.answer] + $0.because.map(\.text)).joined(separator: "\n") }
                return texts.first { $0.contains(sentence) && $0.contains("the moon is full") }
            }
            #expect(told != nil, "\(name): \(String(describing: try? house.cluster["n1"].why(name)))\n\(house.report)")
            #expect(house.cluster.nodes.allSatisfy { $0.service(name)?.state != .running })
        }
        // What is wrong everywhere is tried once; what may be well elsewhere is tried on both.
        let starts = house.cluster.nodes.map { node in
            (try? node.events())?.filter { $0.type == "failed" && $0.subject == "code6" }.count ?? 0
        }
        #expect(starts.max() == 1, "\(starts)")
    }
}
