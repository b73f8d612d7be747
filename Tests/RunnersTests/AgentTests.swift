import Glibc
import Primitives
import Processes
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

@Suite("ocf: resource agents")
struct AgentTests {
    static let hasAgents = access("/usr/lib/ocf/resource.d/heartbeat/Dummy", X_OK) == 0

    /// An agent that writes down how it is called, and answers as its parameters say.
    private func logging(_ bench: Bench, _ body: String = "") throws -> AgentRunner.Place {
        let log = bench.files.file("log")
        _ = try bench.script(
            "resource.d/test/Logging",
            """
            echo "$1 level=$OCF_CHECK_LEVEL interval=$OCF_RESKEY_CRM_meta_interval" >> \(log)
            env | sort > \(bench.files.file("environment")).$1
            case $1 in
            meta-data) cat <<END
            <?xml version="1.0"?><!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
            <resource-agent name="Logging" version="1"><version>1.1</version><shortdesc lang="en">Writes &lt;all&gt; down</shortdesc>
            <parameters><parameter name="color" unique-group="a" required="1"><shortdesc lang="en">Its
               color</shortdesc><content type="string"/></parameter>
            <parameter name='code'><content type='integer' default="0" /></parameter></parameters>
            <actions><action name="start" timeout="25s"/><action name="monitor" timeout="2min" interval="10" depth="0"/></actions></resource-agent>
            END
            exit 0;;
            esac
            \(body)
            case $1 in
            start) touch \(log).up;;
            stop) rm -f \(log).up;;
            monitor) [ -e \(log).up ] || exit 7;;
            validate-all) ;;
            *) exit 3;;
            esac
            exit 0
            """)
        return AgentRunner.Place(root: bench.files.path, standIns: AgentStandIns.install(in: bench.files.path))
    }

    private func agent(
        _ bench: Bench, _ place: AgentRunner.Place, _ parameters: [Service.Parameter] = [.init("color", "red")]
    ) -> AgentRunner {
        AgentRunner(provider: "test", type: "Logging", parameters: parameters, place: place, bench.processes("log-1"))
    }

    @Test("the order of calls, and what each of them finds in its environment")
    func order() async throws {
        let bench = try Bench(.marks)
        let place = try logging(bench)
        try await bench.run {
            let runner = agent(bench, place)
            #expect(await runner.validate(within: .ample).outcome == .succeeded)
            #expect(await runner.monitor(.probe, within: .ample).outcome == .notRunning)
            #expect(await runner.start(.first, within: .seconds(61)).outcome == .succeeded)
            #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .succeeded)
            #expect(await runner.monitor(.regular(depth: 20), within: .ample).outcome == .succeeded)
            #expect(await runner.start(.first, within: .seconds(61)).outcome == .succeeded)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .notRunning)
        }
        #expect(
            bench.lines("log") == [
                "meta-data level=0 interval=0", "validate-all level=0 interval=0", "monitor level=0 interval=0",
                "start level=0 interval=0", "monitor level=0 interval=10000", "monitor level=20 interval=10000",
                "start level=0 interval=0", "stop level=0 interval=0", "stop level=0 interval=0",
                "monitor level=0 interval=10000",
            ])
        let environment = Set(bench.lines("environment.start"))
        let wanted = [
            "OCF_ROOT=\(bench.files.path)", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
            "OCF_RESOURCE_INSTANCE=log-1", "OCF_RESOURCE_TYPE=Logging", "OCF_RESOURCE_PROVIDER=test",
            "OCF_CHECK_LEVEL=0", "OCF_RESKEY_color=red", "OCF_RESKEY_CRM_meta_name=start",
            "OCF_RESKEY_CRM_meta_timeout=61000", "OCF_RESKEY_CRM_meta_interval=0", "OCF_RESKEY_CRM_meta_on_node=alpha",
            "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:", "BRAMBLE_EPOCH=7", "BRAMBLE_SERVICE=log-1", "BRAMBLE_NODE=alpha",
        ]
        for one in wanted { #expect(environment.contains(one), "\(one) is not in \(environment.sorted())") }
        let path = environment.first { $0.hasPrefix("PATH=") } ?? ""
        #expect(path.hasSuffix(":\(bench.files.path)/agent-tools"), "the system's tools come first: \(path)")
    }

    @Test("exit codes mean what OCF says", arguments: 0...9)
    func codes(code: Int32) {
        func outcome(_ action: String, isProbe: Bool = false) -> RunResult.Outcome {
            AgentAnswer.result(of: action, ActionEnd(cause: .ended(.exited(code))), isProbe: isProbe).outcome
        }
        let start: [RunResult.Outcome] = [
            .succeeded, .failed(.passing), .failed(.here), .failed(.here), .failed(.here), .failed(.here),
            .failed(.everywhere), .failed(.passing), .failed(.passing), .failed(.passing),
        ]
        #expect(outcome("start") == start[Int(code)])
        var monitor = start
        (monitor[7], monitor[8]) = (.notRunning, .succeeded)
        #expect(outcome("monitor") == monitor[Int(code)])
        monitor[5] = .notRunning
        #expect(outcome("monitor", isProbe: true) == monitor[Int(code)])
        var stop = start
        (stop[5], stop[7]) = (.succeeded, .succeeded)
        #expect(outcome("stop") == stop[Int(code)])
    }

    @Test(
        "each failure of a start says what it means, and the agent's own reason",
        arguments: [
            (1, "start failed"), (2, "start: a parameter makes no sense here"),
            (3, "the agent does not know “start”"), (4, "start: it lacks permission"),
            (5, "start: what it needs is not installed"), (6, "start: its parameters are wrong"),
        ])
    func sentences(code: Int32, sentence: String) async throws {
        let bench = try Bench(.marks)
        let place = try logging(
            bench, "[ $1 = start ] && { echo 'ocf-exit-reason:the moon is full' >&2; exit \(code); }")
        try await bench.run {
            let runner = agent(bench, place)
            let result = await runner.start(.first, within: .ample)
            #expect(result.reason == "\(sentence): the moon is full")
            #expect(await runner.stop(within: .ample).outcome == .succeeded, "nothing is left half-started")
        }
    }

    @Test("190 and 191 serve, but not well; what no code means is a failure that may pass")
    func otherCodes() {
        for code: Int32 in [190, 191] {
            let end = ActionEnd(cause: .ended(.exited(code)), errors: ["ocf-exit-reason:disk is slow"])
            #expect(AgentAnswer.result(of: "monitor", end) == RunResult(.degraded, "it runs degraded: disk is slow"))
            #expect(AgentAnswer.result(of: "start", end).outcome == .failed(.passing))
        }
        #expect(AgentAnswer.result(of: "monitor", ActionEnd(cause: .ended(.exited(42)))).outcome == .failed(.passing))
        #expect(AgentAnswer.result(of: "monitor", ActionEnd(cause: .ended(.signalled(9)))).outcome == .failed(.passing))
    }

    @Test("the agent's own reason is shown, not what it printed after it")
    func reason() async throws {
        let bench = try Bench(.marks)
        let place = try logging(
            bench, "[ $1 = start ] && { echo 'ocf-exit-reason: port 80 is taken' >&2; echo 'ERROR: rc 1' >&2; exit 1; }"
        )
        try await bench.run {
            let result = await agent(bench, place).start(.first, within: .ample)
            #expect(result.outcome == .failed(.passing))
            #expect(result.reason == "start failed: port 80 is taken")
        }
    }

    @Test("a start that hangs ends at its time with what it forked; the stop after it works", arguments: Home.usable)
    func hungStart(home: Home) async throws {
        let bench = try Bench(home)
        let pids = bench.files.file("pids")
        let place = try logging(
            bench,
            "[ $1 = start ] && { trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >> \(pids); sleep 100' & echo $$ >> \(pids); while :; do sleep 0.2; done; }"
        )
        try await bench.run {
            let runner = agent(bench, place)
            let result = await runner.start(.first, within: .seconds(3))
            #expect(result.outcome == .failed(.passing))
            #expect(result.reason == "start: it was not done within 3 s and was ended")
            let numbers = bench.lines("pids").compactMap { Int32($0) }
            #expect(numbers.count == 2)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(await bench.wait { !numbers.contains(where: isAlive) })
        }
    }

    @Test("a monitor that hangs is ended without the service", arguments: Home.usable)
    func hungMonitor(home: Home) async throws {
        let bench = try Bench(home)
        let pid = bench.files.file("pid")
        let place = try logging(
            bench,
            "case $1 in start) sleep 100 & echo $! > \(pid);; monitor) [ $OCF_CHECK_LEVEL = 10 ] && { trap '' TERM; while :; do sleep 0.2; done; };; esac"
        )
        try await bench.run {
            let runner = agent(bench, place)
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            let service = try #require(Int32(bench.lines("pid").first ?? ""))
            #expect(await runner.monitor(.regular(depth: 10), within: .milliseconds(300)).outcome == .failed(.passing))
            #expect(isAlive(service))
            #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .succeeded)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(await bench.wait { !isAlive(service) })
        }
    }

    @Test("a stop that fails is a failure, unless the agent says afterwards that nothing is left")
    func failedStop() async throws {
        let bench = try Bench(.marks)
        let place = try logging(
            bench,
            "[ $1 = stop ] && { [ $OCF_RESKEY_code = 2 ] && rm -f \(bench.files.file("log.up")); echo 'ocf-exit-reason:busy' >&2; exit 1; }"
        )
        try await bench.run {
            let stuck = agent(bench, place, [.init("color", "red"), .init("code", "1")])
            #expect(await stuck.start(.first, within: .ample).outcome == .succeeded)
            #expect(await stuck.stop(within: .ample).outcome == .failed(.passing))
            let late = agent(bench, place, [.init("color", "red"), .init("code", "2")])
            let result = await late.stop(within: .ample)
            #expect(result.outcome == .succeeded)
            #expect(result.reason == "stop failed: busy; it was ended, and the agent says that it is stopped")
        }
    }

    @Test("wrong and missing parameters, and agents that are not there, are found before the start")
    func validation() async throws {
        let bench = try Bench(.marks)
        let place = try logging(bench)
        try await bench.run {
            let wrong = await agent(bench, place, [.init("color", "red"), .init("colour", "blue")]).validate(
                within: .ample)
            #expect(
                wrong
                    == RunResult(.failed(.everywhere), "ocf:test:Logging has no parameter “colour”; it has color, code")
            )
            let missing = await agent(bench, place, []).validate(within: .ample)
            #expect(missing.reason == "ocf:test:Logging needs the parameter “color” (Its color)")
            let told = try await agent(bench, place).metadata(within: .ample).get()
            #expect(told.timeout(of: "start") == .seconds(25))
            #expect(told.timeout(of: "monitor") == .seconds(120))
            #expect(told.description == "Writes <all> down")
            let absent = AgentRunner(provider: "heartbeat", type: "NoSuch", parameters: [], bench.processes())
            #expect(await absent.validate(within: .ample).reason.contains("there is no agent ocf:heartbeat:NoSuch"))
            #expect(await absent.monitor(.probe, within: .ample).outcome == .notRunning)
            #expect(await absent.stop(within: .ample).outcome == .succeeded)
            let sly = AgentRunner(provider: "..", type: "x/../../y", parameters: [], bench.processes())
            #expect(await sly.start(.first, within: .ample).outcome == .failed(.everywhere))
        }
    }

    @Test("the meta-data of every agent of Debian's resource-agents is read", .enabled(if: hasAgents))
    func everyAgent() async throws {
        let bench = try Bench(.marks)
        let names = SmallFile.names(in: "/usr/lib/ocf/resource.d/heartbeat")
        #expect(names.count > 100)
        let standIns = AgentStandIns.install(in: bench.files.path)
        try await bench.run {
            for name in names {
                let place = AgentRunner.Place(standIns: standIns)
                let runner = AgentRunner(
                    provider: "heartbeat", type: name, parameters: [], place: place, bench.processes())
                do {
                    let told = try await runner.metadata(within: .ample).get()
                    #expect(told.timeout(of: "start") != nil, "\(name)")
                    #expect(!told.name.isEmpty && !told.description.isEmpty, "\(name)")
                } catch {
                    Issue.record("\(name): \(error)")
                }
            }
        }
    }

    @Test("an agent that tells nothing about itself says why, and one that was only slow is asked again")
    func silent() async throws {
        let bench = try Bench(.marks)
        try await bench.run {
            func result(_ body: String, within limit: Duration = .ample) async throws -> RunResult {
                _ = try bench.script("resource.d/test/Logging", body)
                return await agent(bench, AgentRunner.Place(root: bench.files.path)).validate(within: limit)
            }
            let slow = try await result("exec sleep 100", within: .milliseconds(300))
            #expect(slow.outcome == .failed(.passing))
            #expect(slow.reason == "meta-data: it was not done within 0.3 s and was ended")
            let broken = try await result("echo 'no such helper' >&2; exit 5")
            #expect(broken == RunResult(.failed(.here), "meta-data: what it needs is not installed: no such helper"))
            let babbling = try await result("echo hello")
            #expect(babbling.reason.contains("prints no readable meta-data"))
        }
    }

    /// ocf-tester's order of calls, with our runner as the resource manager.
    private func tester(_ runner: AgentRunner, _ name: String) async {
        let valid = await runner.validate(within: .ample)
        #expect(valid.outcome == .succeeded, "\(name) validate: \(valid)")
        #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .notRunning, "\(name)")
        #expect(await runner.monitor(.probe, within: .ample).outcome == .notRunning, "\(name)")
        let start = await runner.start(.first, within: .ample)
        #expect(start.outcome == .succeeded, "\(name) start: \(start)")
        let check = await runner.monitor(.regular(depth: 0), within: .ample)
        #expect(check.outcome == .succeeded, "\(name) monitor: \(check)")
        #expect(await runner.monitor(.probe, within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.stop(within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .notRunning, "\(name)")
        #expect(await runner.start(.first, within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.start(.first, within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.stop(within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.stop(within: .ample).outcome == .succeeded, "\(name)")
        #expect(await runner.monitor(.probe, within: .ample).outcome == .notRunning, "\(name)")
    }

    @Test(
        "Dummy, Stateful, anything and symlink of resource-agents run in ocf-tester's order",
        .enabled(if: hasAgents && isRoot), arguments: Home.usable)
    func realAgents(home: Home) async throws {
        let bench = try Bench(home)
        let place = AgentRunner.Place(standIns: AgentStandIns.install(in: bench.files.path))
        try bench.files.write("x", to: "target")
        let cases: [(String, [Service.Parameter])] = [
            ("Dummy", [.init("state", bench.files.file("dummy"))]),
            ("Stateful", [.init("state", bench.files.file("stateful"))]),
            (
                "anything",
                [
                    .init("binfile", "/bin/sleep"), .init("cmdline_options", "1000"),
                    .init("pidfile", bench.files.file("anything.pid")),
                ]
            ),
            (
                "symlink",
                [
                    .init("target", bench.files.file("target")), .init("link", bench.files.file("link")),
                    .init("backup_suffix", ".b"),
                ]
            ),
        ]
        try await bench.run {
            for (name, parameters) in cases {
                let runner = AgentRunner(
                    provider: "heartbeat", type: name, parameters: parameters, place: place,
                    bench.processes("t-\(name)"))
                await tester(runner, name)
            }
        }
    }

    @Test(
        "IPaddr2 puts an address on and takes it off, in a network of the test's own", .enabled(if: hasAgents && isRoot)
    )
    func address() async throws {
        let bench = try Bench(.marks, network: true)
        try await bench.run {
            try Shell.run(
                "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && ip addr add 10.9.0.1/24 dev v0"
            )
            let place = AgentRunner.Place(standIns: AgentStandIns.install(in: bench.files.path))
            let parameters: [Service.Parameter] = [
                .init("ip", "10.9.0.50"), .init("cidr_netmask", "24"), .init("nic", "v0"),
            ]
            let runner = AgentRunner(
                provider: "heartbeat", type: "IPaddr2", parameters: parameters, place: place, bench.processes("ip"))
            await tester(runner, "IPaddr2")
            let bad = AgentRunner(
                provider: "heartbeat", type: "IPaddr2", parameters: [.init("ip", "10.9.0.555")], place: place,
                bench.processes("bad"))
            #expect(await bad.start(.first, within: .ample).outcome == .failed(.everywhere))
        }
    }

    @Test(
        "nginx serves between start and stop, and all of its workers are gone afterwards",
        .enabled(if: hasAgents && isRoot && access("/usr/sbin/nginx", X_OK) == 0), arguments: Home.usable)
    func nginx(home: Home) async throws {
        let bench = try Bench(home, network: true)
        let config = """
            worker_processes 2;
            pid \(bench.files.file("nginx.pid"));
            error_log \(bench.files.file("error.log"));
            events {}
            http { access_log off; server { listen 127.0.0.1:8099; location / { return 200 'ok'; } } }
            """
        try bench.files.write(config, to: "nginx.conf")
        try await bench.run {
            try Shell.run("ip link set lo up")
            let processes = bench.processes("web")
            let runner = AgentRunner(
                provider: "heartbeat", type: "nginx",
                parameters: [
                    .init("configfile", bench.files.file("nginx.conf")), .init("port", "8099"),
                    .init("status10url", "http://127.0.0.1:8099/"),
                ],
                place: AgentRunner.Place(standIns: AgentStandIns.install(in: bench.files.path)), processes)
            let endpoint = Endpoint(IPAddress("127.0.0.1")!, port: 8099)
            #expect(await CheckProbe.http(endpoint, host: "x", path: "/", within: .ample, on: bench.loop) != nil)
            let start = await runner.start(.first, within: .ample)
            #expect(start.outcome == .succeeded, "\(start)")
            #expect(await CheckProbe.http(endpoint, host: "x", path: "/", within: .ample, on: bench.loop) == nil)
            #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .succeeded)
            let workers = processes.group?.name.members() ?? []
            if home == .controlGroups { #expect(workers.count >= 3) }
            let stop = await runner.stop(within: .ample)
            #expect(stop.outcome == .succeeded, "\(stop)")
            #expect(!workers.contains(where: isAlive))
            #expect(
                await CheckProbe.tcp(endpoint, within: .ample, on: bench.loop) == "nothing listens at 127.0.0.1:8099")
        }
    }
}
