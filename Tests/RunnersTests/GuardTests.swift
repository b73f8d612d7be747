import CLinux
import Glibc
import Primitives
import Processes
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

/// A process that plays the daemon, with a real guard beside it and a real service below it.
private final class Play: Sendable {
    let bench: Bench
    private let input: Int32
    private let state = Locked<(lines: [String], end: ActionEnd?)>(([], nil))

    /// The service writes its own and its children's numbers to `pids`, and ignores every polite word.
    init(_ home: Home, lease: Duration, watchdog: String? = nil) throws {
        let bench = try Bench(home)
        self.bench = bench
        let pids = bench.files.file("pids")
        let script = try bench.script(
            "service",
            """
            trap '' TERM HUP INT
            setsid sh -c 'trap "" TERM HUP INT; echo $$ >> \(pids); while :; do sleep 0.2; done' &
            echo $$ >> \(pids)
            while :; do sleep 0.2; done
            """)
        let fifo = bench.files.file("input")
        mkfifo(fifo, 0o600)
        input = open(fifo, O_RDWR | O_CLOEXEC)
        let arguments = [
            "play", bench.scope, bench.mount ?? "-", "\(lease.nanoseconds / 1_000_000)", watchdog ?? "-", script,
        ]
        // Standard input is the spawner's /dev/null, so a shell gives it another one.
        let line = "exec \"$0\" \"$@\" < \(fifo)"
        let state = state
        let command = Command("/bin/sh", ["-c", line, stage] + arguments, environment: ["PATH": Command.searchPath])
        bench.loop.perform {
            _ = bench.spawner.launch(
                command, in: nil, .service, deadline: nil,
                line: { text in state.withLock { $0.lines.append(text) } },
                finished: { end in state.withLock { $0.end = end } })
        }
    }
    deinit {
        let pid = number("ready")
        for one in [pid, number("guard")].compactMap({ $0 }) + service where isAlive(one) { kill(one, SIGKILL) }
        close(input)
    }

    var lines: [String] { state.withLock { $0.lines } }
    var end: ActionEnd? { state.withLock { $0.end } }
    func number(_ word: String) -> Int32? {
        lines.last { $0.hasPrefix("\(word) ") }.flatMap { Int32($0.dropFirst(word.count + 1)) }
    }
    var service: [Int32] { bench.lines("pids").compactMap { Int32($0) } }

    func tell(_ word: String) { _ = "\(word)\n".withCString { write(input, $0, strlen($0)) } }

    /// Waits until the service is up; returns the daemon's and the guard's number.
    func ready() async throws -> (daemon: Int32, guardian: Int32) {
        #expect(
            await bench.wait { self.number("ready") != nil && self.service.count == 2 },
            "\(lines) \(String(describing: end))")
        return (try #require(number("ready")), try #require(number("guard")))
    }
}

@Suite("the guard ends services at their deadlines, whatever becomes of the daemon")
struct GuardTests {
    @Test("while the daemon renews, the service lives on for many leases", arguments: Home.usable)
    func renewed(home: Home) async throws {
        // A busy machine may keep the renewals from their turn for a while, not for as long as this.
        let play = try Play(home, lease: .seconds(5))
        let (_, guardian) = try await play.ready()
        let end = SystemClock.now + .seconds(11)
        while SystemClock.now < end { try await play.bench.loop.sleep(for: .milliseconds(100)) }
        #expect(play.service.allSatisfy(isAlive))
        play.tell("stop")
        #expect(await play.bench.wait { play.end?.code == 0 }, "\(play.lines)")
        #expect(!play.service.contains(where: isAlive))
        #expect(await play.bench.wait { !isAlive(guardian) })
    }

    @Test(
        "a daemon that is frozen: the service is ended at its deadline, not before, children and all",
        arguments: Home.usable)
    func frozen(home: Home) async throws {
        let lease = Duration.seconds(3)
        let play = try Play(home, lease: lease)
        let (daemon, guardian) = try await play.ready()
        let before = SystemClock.now
        kill(daemon, SIGSTOP)
        // The last renewal was at most the renewals' interval, and their delay, before.
        let areAlive = play.service.allSatisfy(isAlive)
        if SystemClock.now < before + lease / 4 { #expect(areAlive, "ended before its deadline") }
        #expect(await play.bench.wait { !play.service.contains(where: isAlive) })
        #expect(isAlive(daemon) && isAlive(guardian))
        // Thawed, the daemon finds that its service has ended, and starts nothing under a lease that ran out.
        kill(daemon, SIGCONT)
        #expect(await play.bench.wait { play.lines.contains { $0.hasPrefix("event ended") } }, "\(play.lines)")
        play.tell("stop")
        #expect(await play.bench.wait { play.end?.code == 0 }, "\(play.lines)")
        #expect(await play.bench.wait { !isAlive(guardian) })
    }

    @Test("a daemon that is killed: the service is ended at its deadline, then the guard ends", arguments: Home.usable)
    func killed(home: Home) async throws {
        let play = try Play(home, lease: .seconds(3))
        let (daemon, guardian) = try await play.ready()
        kill(daemon, SIGKILL)
        #expect(await play.bench.wait { play.end != nil })
        #expect(await play.bench.wait { !play.service.contains(where: isAlive) })
        #expect(await play.bench.wait { !isAlive(guardian) })
    }

    @Test("a daemon that hangs and renews no more: the same, and nothing can be started after the deadline")
    func silent() async throws {
        let play = try Play(Home.usable[0], lease: .seconds(2))
        _ = try await play.ready()
        play.tell("silent")
        #expect(await play.bench.wait { !play.service.contains(where: isAlive) })
        play.tell("start")
        #expect(await play.bench.wait { play.lines.contains { $0.hasPrefix("start ") } })
        #expect(play.lines.contains { $0.contains("its lease ran out before it could start") }, "\(play.lines)")
        play.tell("stop")
        #expect(await play.bench.wait { play.end?.code == 0 }, "\(play.lines)")
    }

    @Test("an orderly end of the daemon ends no service, and the guard goes", arguments: Home.usable)
    func orderly(home: Home) async throws {
        let play = try Play(home, lease: .seconds(4))
        let (_, guardian) = try await play.ready()
        play.tell("hand-over")
        #expect(await play.bench.wait { play.end?.code == 0 }, "\(play.lines)")
        #expect(await play.bench.wait { !isAlive(guardian) })
        // Past the deadline that was not lifted.
        try await play.bench.loop.sleep(for: .seconds(5))
        #expect(play.service.allSatisfy(isAlive))
        for one in play.service { kill(one, SIGKILL) }
    }

    @Test("polite signals do not end the guard; one that is killed is started again, and still guards")
    func restarted() async throws {
        let play = try Play(Home.usable[0], lease: .seconds(3))
        let (daemon, guardian) = try await play.ready()
        for number in [SIGTERM, SIGINT, SIGHUP] { kill(guardian, number) }
        kill(guardian, SIGKILL)
        #expect(await play.bench.wait { !isAlive(guardian) })
        #expect(
            await play.bench.wait {
                play.tell("guard")
                try? await play.bench.loop.sleep(for: .milliseconds(50))
                return play.number("guard").map { $0 != guardian && isAlive($0) } ?? false
            })
        #expect(play.service.allSatisfy(isAlive))
        kill(daemon, SIGKILL)
        #expect(await play.bench.wait { !play.service.contains(where: isAlive) })
        let second = try #require(play.number("guard"))
        #expect(await play.bench.wait { !isAlive(second) })
    }

    @Test("the watchdog device is fed while all is well, and let go with the magic letter")
    func watchdog() async throws {
        let folder = TemporaryDirectory()
        let device = folder.file("watchdog")
        mkfifo(device, 0o600)
        let reader = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        defer { close(reader) }
        let play = try Play(Home.usable[0], lease: .seconds(20), watchdog: device)
        _ = try await play.ready()
        var food: [UInt8] = []
        func take() -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: 64)
            let count = read(reader, &bytes, bytes.count)
            if count > 0 { food += bytes[..<count] }
            return food
        }
        // A quarter of a second apart.
        #expect(await play.bench.wait { take().count >= 4 })
        #expect(!take().contains(UInt8(ascii: "V")))
        play.tell("stop")
        #expect(await play.bench.wait { take().last == UInt8(ascii: "V") })
        #expect(play.lines.allSatisfy { !$0.contains("failed") })
    }

    @Test("a name that is being written is not read; the one before it, or none, counts")
    func tornName() throws {
        let table = try #require(GuardTable())
        let copy = try #require(GuardTable(sharedBy: fcntl(table.descriptor, F_DUPFD_CLOEXEC, 10)))
        #expect(copy.name(3) == .nothing)
        table.setName(3, .controlGroup(path: "/a/b"))
        #expect(copy.name(3) == .group(.controlGroup(path: "/a/b")))
        table.setName(3, .mark("x/y"))
        #expect(copy.name(3) == .group(.mark("x/y")))
        // Between the two steps of its version.
        let memory = mmap(nil, GuardTable.size, PROT_READ | PROT_WRITE, MAP_SHARED, table.descriptor, 0)!
        defer { munmap(memory, GuardTable.size) }
        let place = memory + 64 + 3 * 1024
        clinux_store(place, clinux_load(place) | 1)
        #expect(copy.name(3) == .changing)
        table.setName(3, nil)
        #expect(copy.name(3) == .nothing)
        #expect(copy.name(2) == .nothing && copy.name(4) == .nothing)
    }

    @Test("a guard that is started by hand says that it is none of people's business")
    func byHand() async throws {
        let bench = try Bench(.marks)
        let end = await bench.spawner.run(Command(stage, ["guard"]), deadline: .ample)
        #expect(end.code == 2)
        #expect(end.lastWords?.contains("started by the daemon") == true)
    }
}
