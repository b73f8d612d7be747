import Glibc
import Primitives
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

@Suite("script: start and stop scripts, and directories of S and K links")
struct ScriptTests {
    private func write(_ bench: Bench, _ name: String, _ extra: String = "") throws -> String {
        try bench.script(name, "echo \"$(basename $0) $1\" >> \(bench.files.file("log"))\n\(extra)")
    }

    @Test("S links are started in their order, K links stopped in theirs; what editors leave beside them is not run")
    func order() async throws {
        let bench = try Bench(.marks)
        for name in [
            "S20smb", "S05disk", "S100x", "K90disk", "K10smb", "S20smb~", "S30smb.dpkg-old", "README", "Snope",
        ] {
            _ = try write(bench, "d/\(name)", name == "S20smb" ? "[ $1 = status ] && exit 3; exit 0" : "exit 0")
        }
        try await bench.run {
            let runner = ScriptRunner(path: bench.files.file("d"), bench.processes())
            #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
            #expect(bench.lines("log") == ["S05disk start", "S100x start", "S20smb start"])
            unlink(bench.files.file("log"))
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(bench.lines("log") == ["K10smb stop", "K90disk stop"])
        }
    }

    @Test("without K links the way back is taken")
    func back() async throws {
        let bench = try Bench(.marks)
        for name in ["S1", "S10a", "S20b"] { _ = try write(bench, "d/\(name)") }
        try await bench.run {
            let runner = ScriptRunner(path: bench.files.file("d"), bench.processes())
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(bench.lines("log") == ["S20b stop", "S10a stop"])
        }
    }

    @Test("a script that fails ends the start with its words; those after it are not run")
    func failure() async throws {
        let bench = try Bench(.marks)
        _ = try write(bench, "d/S10a")
        _ = try write(bench, "d/S20b", "[ $1 = start ] || exit 0; echo 'no space left' >&2; exit 1")
        _ = try write(bench, "d/S30c")
        try await bench.run {
            let runner = ScriptRunner(path: bench.files.file("d"), bench.processes())
            let result = await runner.start(.first, within: .ample)
            #expect(result.outcome == .failed(.passing))
            #expect(result.reason == "S20b start: exit code 1: no space left")
            #expect(bench.lines("log") == ["S10a start", "S20b start"])
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
        }
    }

    @Test("a start that hangs is ended at once by a stop, and starts nothing after it", arguments: Home.usable)
    func hungStart(home: Home) async throws {
        let bench = try Bench(home)
        _ = try write(
            bench, "d/S10hung",
            "[ $1 = start ] && { trap '' TERM; echo $$ > \(bench.files.file("pid")); while :; do sleep 0.2; done; }; exit 0"
        )
        _ = try write(bench, "d/S20next")
        try await bench.run {
            let runner = ScriptRunner(path: bench.files.file("d"), bench.processes())
            async let started = runner.start(.first, within: .seconds(3000))
            #expect(await bench.wait { bench.lines("pid").count == 1 })
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            let result = await started
            #expect(result.outcome == .failed(.passing))
            #expect(result.reason.contains("a stop came in between"))
            let pid = try #require(Int32(bench.lines("pid")[0]))
            #expect(!isAlive(pid))
            #expect(!bench.lines("log").contains("S20next start"))
        }
    }

    @Test(
        "a stop that hangs is ended, and the service's processes with it; whether that is enough, status says",
        arguments: Home.usable)
    func hungStop(home: Home) async throws {
        let bench = try Bench(home)
        let pid = bench.files.file("pid")
        let path = try bench.script(
            "init",
            """
            case $1 in
            start) (trap '' TERM; sleep 100) & echo $! > \(pid);;
            stop) trap '' TERM; while :; do sleep 0.2; done;;
            status) case "$(cut -d' ' -f3 /proc/$(cat \(pid))/stat)" in [RSD]) exit 0;; esac; exit ${VERDICT:-3};;
            esac
            """)
        for (verdict, outcome) in [("3", RunResult.Outcome.succeeded), ("1", .failed(.passing))] {
            try await bench.run {
                let runner = ScriptRunner(path: path, variables: [.init("VERDICT", verdict)], bench.processes())
                #expect(await runner.start(.first, within: .ample).outcome == .succeeded)
                #expect(await runner.monitor(.regular(depth: 0), within: .ample).outcome == .succeeded)
                let service = try #require(Int32(bench.lines("pid").first ?? ""))
                let result = await runner.stop(within: .milliseconds(500))
                #expect(result.outcome == outcome, "\(result)")
                #expect(result.reason.contains("init stop: it was not done within 0.5 s and was ended"))
                #expect(await bench.wait { !isAlive(service) })
            }
        }
    }

    @Test("a service found running is stopped, one cleanly stopped is left alone")
    func neverAdopt() async throws {
        let bench = try Bench(.marks)
        let flag = bench.files.file("flag")
        let path = try write(
            bench, "init",
            "case $1 in start) touch \(flag);; stop) rm -f \(flag);; status) [ -e \(flag) ] || exit 3;; esac")
        try await bench.run {
            let runner = ScriptRunner(path: path, bench.processes())
            #expect(await runner.stopIfFound(within: .ample).outcome == .notRunning)
            #expect(bench.lines("log") == ["init status"])
            try bench.files.write("", to: "flag")
            #expect(await runner.stopIfFound(within: .ample).outcome == .succeeded)
            #expect(bench.lines("log") == ["init status", "init status", "init stop"])
            #expect(access(flag, F_OK) != 0)
        }
    }

    @Test("what the answers of several scripts mean together")
    func verdicts() {
        func verdict(_ codes: [Int32], started: Bool = true, processes: Bool = false) -> RunResult.Outcome {
            let answers = codes.map { ScriptFiles.Status(code: $0, script: "x") }
            return ScriptFiles.verdict(answers, wasStarted: started, hasProcesses: processes).outcome
        }
        #expect(verdict([0, 0]) == .succeeded)
        #expect(verdict([3, 3]) == .notRunning)
        #expect(verdict([0, 3]) == .failed(.passing))
        #expect(verdict([0, 1]) == .failed(.passing))
        #expect(verdict([3, 3], processes: true) == .failed(.passing))
        // A script without `status` answers 2 or, as LSB has it, 3 and 4; or it ignores the word and exits 0.
        #expect(verdict([4, 0]) == .succeeded)
        #expect(verdict([64], started: true) == .succeeded)
        #expect(verdict([64], started: false) == .failed(.passing))
    }

    @Test("what is missing, empty or not executable is said by name")
    func faults() async throws {
        let bench = try Bench(.marks)
        mkdir(bench.files.file("empty"), 0o755)
        try bench.files.write("#!/bin/sh\n", to: "d/S10x", mode: 0o644)
        try await bench.run {
            func validate(_ path: String) async -> RunResult {
                await ScriptRunner(path: path, bench.processes()).validate(within: .ample)
            }
            #expect(await validate("init.d/x").outcome == .failed(.everywhere))
            #expect(await validate(bench.files.file("none")).reason.contains("is not there"))
            #expect(await validate(bench.files.file("empty")).reason.contains("no S??name"))
            #expect(await validate(bench.files.file("d")).reason.contains("S10x is not executable"))
        }
    }
}
