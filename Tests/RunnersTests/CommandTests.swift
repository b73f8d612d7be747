import Glibc
import Primitives
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

@Suite("exec: a command in the foreground")
struct CommandTests {
    @Test(
        "it runs with its epoch, and after the stop its children that ignore SIGTERM are gone", arguments: Home.usable)
    func children(home: Home) async throws {
        let bench = try Bench(home)
        let pidFile = bench.files.file("pids")
        let script = try bench.script(
            "serve",
            """
            echo "epoch=$BRAMBLE_EPOCH service=$BRAMBLE_SERVICE node=$BRAMBLE_NODE color=$color"
            sh -c 'trap "" TERM HUP; echo $$ >> \(pidFile); sleep 100 & echo $! >> \(pidFile); while :; do sleep 0.2; done' &
            setsid sh -c 'trap "" TERM HUP; echo $$ >> \(pidFile); while :; do sleep 0.2; done' &
            echo $$ >> \(pidFile)
            wait
            """)
        try await bench.run {
            let processes = bench.processes()
            let runner = CommandRunner(
                [script], variables: [.init("color", "red"), .init("BRAMBLE_EPOCH", "99")], processes)
            #expect(await runner.monitor(.probe, within: .ample).outcome == .notRunning)
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(await bench.wait { bench.lines("pids").count == 4 })
            #expect(await bench.wait { bench.printed.contains("epoch=7 service=job node=alpha color=red") })
            // Again: it runs already.
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .succeeded)
            let pids = bench.lines("pids").compactMap { Int32($0) }
            #expect(pids.count == 4 && pids.allSatisfy(isAlive))
            let stopped = await runner.stop(within: .milliseconds(300))
            #expect(stopped.outcome == .succeeded)
            #expect(stopped.reason.contains("had to be killed"), "\(stopped)")
            #expect(!pids.contains(where: isAlive))
            #expect(processes.group == nil)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            let last = await runner.monitor(.probe, within: .ample)
            #expect(last.outcome == .notRunning, "\(last) \(processes.hasMain) \(String(describing: processes.group))")
            // A stop that was asked for is no news.
            #expect(bench.ends == [])
        }
    }

    @Test("its end by itself is told with its last words, and its children end", arguments: Home.usable)
    func ends(home: Home) async throws {
        let bench = try Bench(home)
        let script = try bench.script(
            "brief", "sleep 100 & echo $! > \(bench.files.file("pid")); sleep 0.3; echo 'disk full' >&2; exit 3")
        try await bench.run {
            let runner = CommandRunner([script], bench.processes())
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(await bench.wait { bench.ends == ["exit code 3: disk full"] })
            let pid = try #require(Int32(bench.lines("pid").first ?? ""))
            #expect(await bench.wait { !isAlive(pid) })
            #expect(!(await runner.monitor(.regular(depth: 0), within: .ample)).isRunning)
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
        }
    }

    @Test("one that ends at once has failed to start, and says its last words")
    func endsAtOnce() async throws {
        let bench = try Bench(.marks)
        let script = try bench.script("broken", "echo 'no such option' >&2; exit 2")
        try await bench.run {
            var runner = CommandRunner([script], bench.processes())
            runner.settling = .seconds(30)
            let result = await runner.start(.first, within: .ample)
            #expect(result.outcome == .failed(.passing))
            #expect(result.reason == "it ended at once: exit code 2: no such option")
            #expect(
                await CommandRunner(["sleep"], bench.processes()).start(.first, within: .ample).outcome
                    == .failed(.everywhere))
            #expect(
                await CommandRunner(["/no/such"], bench.processes()).start(.first, within: .ample).outcome
                    == .failed(.here))
        }
    }

    @Test("a program that asks for SIGTERM and goes is not killed")
    func polite() async throws {
        let bench = try Bench(.marks)
        let script = try bench.script(
            "polite", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
        try await bench.run {
            let runner = CommandRunner([script], bench.processes())
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(await bench.wait { bench.printed.contains("up") })
            let result = await runner.stop(within: .ample)
            #expect(result.outcome == .succeeded && result.reason.isEmpty, "\(result)")
            #expect(await bench.wait { bench.printed.contains("bye") })
        }
    }

    @Test("orders of the services core: started, checked, stopped, with reasons and reaches as the core has them")
    func orders() async throws {
        let bench = try Bench(.marks)
        let runners = ServiceRunners(
            .init(node: "alpha"), spawner: bench.spawner, tree: bench.tree, guardian: nil, report: { _, _ in })
        let name = ServiceName("web")!
        let good = RunPlan(run: .exec(["/bin/sleep", "100"]), parameters: [])
        let bad = RunPlan(run: .script(path: "/nowhere/script"), parameters: [])
        try await bench.run {
            #expect(await runners.start(name, good, epoch: Epoch(1), within: .ample) == .done)
            #expect(await runners.check(name, .monitor, good, addresses: [], within: .ample) == .done)
            #expect(await runners.check(name, .exec(["/bin/true"]), good, addresses: [], within: .ample) == .done)
            #expect(
                await runners.check(
                    name, .exec(["/bin/sh", "-c", "echo no; exit 4"]), good, addresses: [], within: .ample)
                    == .failed(.init("sh: exit code 4: no")))
            #expect(await runners.stop(name, good, within: .ample) == .done)
            #expect(
                await runners.check(name, .monitor, good, addresses: [], within: .ample)
                    == .failed(.init("it does not run")))
            guard case .failed(let failure) = await runners.start(name, bad, epoch: Epoch(2), within: .ample) else {
                Issue.record("a script that is not there was started")
                return
            }
            #expect(failure.reach == .here)
            // What is not there cannot run: stopping it is no failure, else the service would be quarantined for ever.
            #expect(await runners.stop(name, bad, within: .ample) == .done)
        }
    }

    @Test(
        "orders are carried out in the order given; a stop ends the start before it, and the start between two stops is dropped"
    )
    func lanes() async throws {
        let bench = try Bench(.marks)
        let runners = ServiceRunners(
            .init(node: "alpha"), spawner: bench.spawner, tree: bench.tree, guardian: nil, report: { _, _ in })
        let log = bench.files.file("log")
        // The first start never comes to its end.
        let path = try bench.script(
            "slow",
            "echo $1 $BRAMBLE_EPOCH >> \(log); [ $1 = start ] && [ $BRAMBLE_EPOCH = 1 ] && sleep 1000; [ $1 = stop ] && sleep 0.5; exit 0"
        )
        let plan = RunPlan(run: .script(path: path), parameters: [])
        let name = ServiceName("slow")!
        let results = Locked<[(UInt64, OrderResult)]>([])
        let wait: @Sendable (Int) async -> Bool = { count in await bench.wait { results.withLock { $0.count } == count }
        }
        let give: @Sendable (UInt64, MachineEffect.Action) -> Void = { number, action in
            let effect = MachineEffect(order: OrderNumber(number), service: name, action: action)
            let isOurs = runners.carryOut(effect) { order, result in
                results.withLock { $0.append((order.number, result)) }
            }
            #expect(isOurs)
        }
        give(1, .start(plan, epoch: Epoch(1), within: .seconds(3000)))
        #expect(await bench.wait { bench.lines("log") == ["start 1"] })
        give(2, .stop(plan, within: .ample))
        give(3, .start(plan, epoch: Epoch(2), within: .ample))
        give(4, .stop(plan, within: .ample))
        give(5, .start(plan, epoch: Epoch(3), within: .ample))
        #expect(await wait(5))
        let found = results.withLock { $0 }
        #expect(found.map(\.0) == [1, 2, 3, 4, 5])
        let failures = found.filter { if case .failed = $0.1 { true } else { false } }
        #expect(failures.map(\.0).filter { $0 != 2 } == [1, 3], "\(found)")
        #expect(bench.lines("log").last == "start 3")
        #expect(!bench.lines("log").contains("start 2"))
        let other = MachineEffect(order: OrderNumber(6), service: name, action: .stopMirrors([], flush: .zero))
        #expect(!runners.carryOut(other) { _, _ in })
        give(7, .stop(plan, within: .ample))
        #expect(await wait(6))
    }
}
