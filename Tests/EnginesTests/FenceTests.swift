import Glibc
import Primitives
import Processes
import Reactor
import TestSupport
import Testing

@testable import Engines

@Suite("fence agents", .serialized)
struct FenceTests {
    private let files = TemporaryDirectory()
    private let spawner = Spawner(on: EventLoop(name: "fences"))
    private static let isInstalled = access("/usr/sbin/fence_dummy", X_OK) == 0

    private func dummy(_ more: (name: String, value: String)...) -> FenceAgent {
        let parameters = [(name: "type", value: "file"), (name: "status_file", value: files.path + "/power")] + more
        return FenceAgent("fence_dummy", parameters: parameters, node: "serv1")
    }
    private func script(_ body: String) throws -> FenceAgent {
        try files.write("#!/bin/sh\ninput=$(cat)\n" + body, to: "agent", mode: 0o755)
        return FenceAgent(files.file("agent"), parameters: [("ip", "192.168.1.5"), ("plug", "3")], node: "serv1")
    }
    private func failure(_ body: () async throws(EngineFailure) -> Void) async -> EngineFailure? {
        do throws(EngineFailure) { try await body() } catch { return error }
        return nil
    }

    @Test("a real agent of Debian's switches off, answers, and says what it knows", .enabled(if: isInstalled))
    func real() async throws {
        try files.write("on", to: "power")
        try await dummy().monitor(on: spawner, within: .seconds(20))
        try await dummy().switchOff(on: spawner, within: .seconds(20))
        #expect(files.text("power")?.contains("off") == true)
        let unknown = try await dummy(("plugg", "3")).unknownParameters(on: spawner, within: .seconds(20))
        #expect(unknown == ["plugg"])
    }

    @Test("an agent gets its lines on standard input, and nothing as arguments")
    func lines() async throws {
        let agent = try script(#"printf '%s\n%s' "$#" "$input" > \#(files.path)/seen"#)
        try await agent.switchOff(on: spawner, within: .seconds(5))
        #expect(files.text("seen") == "0\naction=off\nnodename=serv1\nip=192.168.1.5\nplug=3")
    }

    @Test("an agent that fails, hangs, or is not there confirms nothing, and the sentence says why")
    func failures() async throws {
        let failing = try script("echo 'Failed: connection timed out' >&2; exit 1")
        let failed = await failure { () async throws(EngineFailure) in
            try await failing.switchOff(on: spawner, within: .seconds(5))
        }
        #expect(
            failed?.problem.contains("exit code 1: Failed: connection timed out") == true,
            "\(String(describing: failed))")
        let hanging = try script("exec sleep 1000")
        let began = SystemClock.now
        let late = await failure { () async throws(EngineFailure) in
            try await hanging.switchOff(on: spawner, within: .milliseconds(300))
        }
        #expect(late?.problem.contains("was not done within") == true, "\(String(describing: late))")
        #expect(SystemClock.now - began < .seconds(10))
        let missing = FenceAgent("fence_of_nobody", parameters: [], node: "serv1")
        let absent = await failure { () async throws(EngineFailure) in
            try await missing.switchOff(on: spawner, within: .seconds(5))
        }
        #expect(absent?.remedy == "apt install fence-agents", "\(String(describing: absent))")
    }
}
