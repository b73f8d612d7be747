import Glibc
import Primitives
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

@Suite("systemd: units, as far as they can be tested without it")
struct SystemdTests {
    private func state(_ pairs: String...) throws -> SystemdUnit.State {
        try #require(SystemdUnit.State(pairs.joined(separator: "\n")))
    }

    @Test("what `systemctl show` prints is understood")
    func states() throws {
        let active = try state(
            "LoadState=loaded", "ActiveState=active", "ControlGroup=/system.slice/smbd.service", "UnitFileState=enabled"
        )
        #expect(active.isRunning && !active.isStopped && active.startsAtBoot)
        #expect(active.controlGroup == "/system.slice/smbd.service")
        #expect(active.verdict("smbd.service").outcome == .succeeded)
        let inactive = try state("LoadState=loaded", "ActiveState=inactive", "ControlGroup=")
        #expect(inactive.isStopped && inactive.controlGroup == nil)
        #expect(inactive.verdict("x").outcome == .notRunning)
        let failed = try state("LoadState=loaded", "ActiveState=failed", "Result=exit-code", "ExecMainStatus=2")
        #expect(
            failed.verdict("smbd.service")
                == RunResult(
                    .failed(.passing), "smbd.service failed (exit-code, exit code 2): journalctl -u smbd.service"))
        let missing = try state("LoadState=not-found", "ActiveState=inactive")
        #expect(missing.verdict("x.service") == RunResult(.notRunning, "there is no unit x.service on this machine"))
        #expect(try state("LoadState=loaded", "ActiveState=activating").verdict("x").outcome == .degraded)
        #expect(try state("LoadState=loaded", "ActiveState=deactivating").verdict("x").hasFailed)
        #expect(SystemdUnit.State("Failed to connect to bus") == nil)
        #expect(SystemdUnit.State("") == nil)
    }

    @Test("the drop-in is written once, the epoch at every start, quoted so that systemd reads it back as it was")
    func dropIn() throws {
        let folder = TemporaryDirectory()
        let variables = ["PATH": "/bin", "BRAMBLE_EPOCH": "7", "x": "a \"b\" $c `d` \\e\nf"]
        #expect(try SystemdUnit.prepare("smbd.service", variables, in: folder.path))
        #expect(try !SystemdUnit.prepare("smbd.service", ["BRAMBLE_EPOCH": "8"], in: folder.path))
        #expect(folder.text("smbd.service.d/bramble-environment") == "BRAMBLE_EPOCH=\"8\"\n")
        let text = try #require(folder.text("smbd.service.d/50-bramble.conf"))
        #expect(text.contains("Restart=no\n"))
        #expect(text.contains("EnvironmentFile=-\(folder.path)/smbd.service.d/bramble-environment\n"))
        #expect(
            SystemdUnit.environmentFile(variables) == "BRAMBLE_EPOCH=\"7\"\nx=\"a \\\"b\\\" \\$c \\`d\\` \\\\e f\"\n")
        SystemdUnit.forget("smbd.service", in: folder.path)
        #expect(names(in: folder.file("smbd.service.d")) == ["50-bramble.conf"])
    }

    @Test(
        "systemd itself finds nothing wrong with the drop-in",
        .enabled(if: access("/usr/bin/systemd-analyze", X_OK) == 0))
    func verified() async throws {
        let folder = TemporaryDirectory()
        try folder.write("[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\nRestart=always\n", to: "x.service")
        _ = try SystemdUnit.prepare("x.service", ["BRAMBLE_EPOCH": "7"], in: folder.path)
        let output = try Shell.run(
            "SYSTEMD_UNIT_PATH=\(folder.path): systemd-analyze verify --man=no \(folder.path)/x.service || true")
        #expect(!output.contains("bramble"), "\(output)")
    }

    @Test("names that lead elsewhere are no units", arguments: ["../x", "a/b", "-x", "", "x y", "x\n", ".x"])
    func names_(name: String) { #expect(!SystemdUnit.isName(name)) }

    @Test(
        "without systemd a start says so, and a stop has nothing to do",
        .enabled(if: access("/run/systemd/system", F_OK) != 0))
    func absent() async throws {
        let bench = try Bench(.marks)
        try await bench.run {
            let runner = SystemdRunner(unit: "smbd", bench.processes())
            let result = await runner.start(.first, within: .ample)
            #expect(result.outcome == .failed(.here))
            #expect(result.reason.contains("systemd does not run here"))
            #expect(await runner.stop(within: .ample).outcome == .succeeded)
            #expect(await runner.stopIfFound(within: .ample).outcome == .notRunning)
        }
    }
}
