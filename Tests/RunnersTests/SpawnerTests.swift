import Glibc
import Primitives
import Processes
import Reactor
import TestSupport
import Testing

@testable import Runners

@Suite("programs are started clean, and end with all they started")
struct SpawnerTests {
    @Test(
        "a child has the environment it is given, its own session, three descriptors, and no signal blocked or ignored")
    func clean() async throws {
        let bench = try Bench(.marks)
        signal(SIGPIPE, SIG_IGN)
        let script = try bench.script("look", "env; echo \"session $(ps -o sid= -p $$ | tr -d ' ') $$\"; umask; pwd")
        let variables = ["PATH": "/usr/bin:/bin", "A": "1 2"]
        let end = await bench.spawner.run(Command(script, environment: variables), deadline: .ample)
        #expect(end.code == 0)
        #expect(end.output.contains("A=1 2"))
        #expect(!end.output.contains { $0.hasPrefix("HOME=") || $0.hasPrefix("USER=") })
        let session = end.output.first { $0.hasPrefix("session") }?.split(separator: " ").dropFirst()
        #expect(session?.first == session?.last)
        #expect(end.output.contains("0022"))
        #expect(end.output.contains("/"))
        let files = await bench.spawner.run(Command("/bin/ls", ["/proc/self/fd"]), deadline: .ample)
        #expect(files.output == ["0", "1", "2", "3"], "the fourth is the directory that it lists")
        let signals = await bench.spawner.run(
            Command("/bin/grep", ["^Sig[BI]", "/proc/self/status"]), deadline: .ample)
        #expect(signals.output == ["SigBlk: 0000000000000000", "SigIgn: 0000000000000000"])
    }

    @Test("a program starts also where more than a thousand files are open, and has the usual limit of them itself")
    func manyFiles() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit()
            let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
            getrlimit(resource, &limit)
            limit.rlim_cur = limit.rlim_max
            // Where nobody may have so many there is nothing to see.
            guard limit.rlim_max > 1200 else { exit(0) }
            setrlimit(resource, &limit)
            while open("/dev/null", O_RDONLY | O_CLOEXEC) < 1100 {}
            let spawner = Spawner(on: EventLoop(name: "crowded"))
            let end = await spawner.run(Command("/bin/sh", ["-c", "ulimit -n"]), deadline: .ample)
            print(end)
            exit(end.output == ["1024"] ? 0 : 1)
        }
    }

    @Test("what cannot be started says why, and whether another node may do better")
    func refusals() async throws {
        let bench = try Bench(.marks)
        func problem(_ path: String) async -> SpawnFailure? {
            let end = await bench.spawner.run(Command(path), deadline: .ample)
            if case .notStarted(let failure) = end.cause { return failure }
            return nil
        }
        let missing = try #require(await problem("/nowhere/at/all"))
        #expect(missing.problem.contains("is not there"))
        #expect(missing.reach == .here)
        try bench.files.write("#!/bin/sh\n", to: "plain", mode: 0o644)
        #expect(try #require(await problem(bench.files.file("plain"))).problem.contains("not executable"))
        try bench.files.writeProgram("echo\n", to: "headless")
        #expect(try #require(await problem(bench.files.file("headless"))).problem.contains("#!/bin/sh"))
        let cut = await bench.spawner.run(Command("/bin/true", ["a\0b"]), deadline: .ample)
        #expect(cut.code == nil)
    }

    @Test(
        "a program that is not done in time ends, and its children that ignore SIGTERM with it", arguments: Home.usable)
    func deadline(home: Home) async throws {
        let bench = try Bench(home)
        let script = try bench.script(
            "stuck",
            """
            trap '' TERM
            sh -c 'trap "" TERM; echo $$ >> \(bench.files.file("pids")); while :; do sleep 0.2; done' &
            setsid sh -c 'trap "" TERM; echo $$ >> \(bench.files.file("pids")); while :; do sleep 0.2; done' &
            echo $$ >> \(bench.files.file("pids"))
            while :; do sleep 0.2; done
            """)
        try await bench.run {
            let group = try bench.tree.makeGroup(for: "stuck")
            async let end = bench.spawner.run(
                Command(script, environment: ["PATH": Command.searchPath]), in: group, group.newAction(),
                deadline: .seconds(4), grace: .milliseconds(100))
            let result = await end
            #expect(result.cause == .timedOut(after: .seconds(4)))
            let pids = bench.lines("pids").compactMap { Int32($0) }
            #expect(pids.count == 3)
            #expect(await bench.wait { !pids.contains(where: isAlive) })
        }
    }

    @Test("a flood of output is cut down to what people can read, and its amount is told")
    func flood() async throws {
        let bench = try Bench(.marks)
        let lines = Locked<[String]>([])
        let script = try bench.script(
            "flood", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; echo end >&2")
        let end = await bench.spawner.run(
            Command(script, environment: ["PATH": Command.searchPath]), deadline: .ample, captures: 1000,
            line: { line in lines.withLock { $0.append(line) } })
        #expect(end.code == 0)
        #expect(end.output.last == "line 4999")
        #expect(end.output.count == Spawner.keptLines)
        #expect(end.content.count == 1000)
        let told = lines.withLock { $0 }
        #expect(told.count < 5000)
        let left = told.compactMap { $0.hasPrefix("(") ? Int($0.dropFirst().prefix { $0.isNumber }) : nil }.reduce(0, +)
        #expect(left + told.filter { !$0.hasPrefix("(") }.count == 5001)
    }

    @Test("a line without end is cut off, control characters are replaced, the last line needs no newline")
    func lines() {
        var lines = OutputLines()
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: 100_000)
        #expect(lines.take(long) == [])
        let cut = lines.take(Array("\nnext".utf8))
        #expect(cut.count == 1 && cut[0].utf8.count <= OutputLines.longest + 4 && cut[0].hasSuffix(" …"))
        #expect(lines.take([UInt8(ascii: " "), 0x1B, UInt8(ascii: "["), 7, 0xFF]) == [])
        #expect(lines.finish() == "next  [ \u{FFFD}")
        #expect(lines.finish() == nil)
        // A display that writes over its line is as many lines.
        #expect(lines.take(Array("10%\r20%\r\nend\r\n".utf8)) == ["10%", "20%", "end"])
    }

    @Test("what an earlier daemon left running is ended before anything starts", arguments: Home.usable)
    func sweep(home: Home) async throws {
        let bench = try Bench(home)
        let script = try bench.script("left", "sleep 120 & echo $! > \(bench.files.file("pid"))")
        try await bench.run {
            let group = try bench.tree.makeGroup(for: "left")
            let end = await bench.spawner.run(
                Command(script, environment: ["PATH": Command.searchPath]), in: group, .service, deadline: .ample)
            #expect(end.code == 0)
            let pid = try #require(Int32(bench.lines("pid").first ?? ""))
            #expect(isAlive(pid))
            // A daemon of another scope leaves it alone.
            #expect(
                ProcessTree(scope: "other-\(bench.scope)", mount: bench.mount, avoidsControlGroups: home == .marks)
                    .sweep() == 0)
            #expect(isAlive(pid))
            let next = ProcessTree(scope: bench.scope, mount: bench.mount, avoidsControlGroups: home == .marks)
            #expect(next.sweep() >= 1)
            #expect(await bench.wait { !isAlive(pid) })
            ProcessTree(scope: "other-\(bench.scope)", mount: bench.mount, avoidsControlGroups: home == .marks).remove()
        }
    }
}
