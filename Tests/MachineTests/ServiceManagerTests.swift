import CLinux
import Glibc
import Reactor
import TestSupport
import Testing

@testable import Machine

@Suite("the service manager is told, signals are events, and the kernel is asked for what the pulse needs")
struct ServiceManagerTests {
    /// A datagram socket bound to `name` ("@…" is abstract); reads what was sent.
    private struct Listener: ~Copyable {
        let descriptor: Int32
        init(_ name: String) throws {
            descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            var bytes = Array(name.utf8)
            if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
            let length = socklen_t(2 + bytes.count)
            let code = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
            }
            guard code == 0 else { throw SystemError() }
        }
        deinit { close(descriptor) }
        func next() -> String? {
            var buffer = [UInt8](repeating: 0, count: 512)
            let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
        }
    }

    @Test("each state goes out as one datagram, to a path and to an abstract address", arguments: [true, false])
    func notify(isAbstract: Bool) throws {
        let temporary = TemporaryDirectory()
        let name = isAbstract ? "@bramble-test-\(getpid())" : temporary.file("notify")
        let listener = try Listener(name)
        let manager = ServiceManager(socketPath: name, watchdogMicroseconds: 10_000_000)
        #expect(manager.watchdogInterval == .seconds(5))
        manager.ready(status: "serv1, alone\nX=1")
        manager.alive()
        manager.status("3 nodes")
        manager.stopping()
        #expect(listener.next() == "READY=1\nSTATUS=serv1, alone X=1")
        #expect(listener.next() == "WATCHDOG=1")
        #expect(listener.next() == "STATUS=3 nodes")
        #expect(listener.next() == "STOPPING=1\nSTATUS=handing over")
        #expect(listener.next() == nil)
    }

    @Test("without a service manager, or with one that does not read, nothing happens and nothing waits")
    func absent() throws {
        let temporary = TemporaryDirectory()
        for path in [nil, "", "relative", temporary.file("nobody"), "/" + String(repeating: "x", count: 200)] {
            let manager = ServiceManager(socketPath: path, watchdogMicroseconds: nil)
            manager.ready(status: "x")
            #expect(manager.watchdogInterval == nil)
        }
        let listener = try Listener(temporary.file("deaf"))
        let manager = ServiceManager(socketPath: temporary.file("deaf"), watchdogMicroseconds: nil)
        for _ in 0..<5000 { manager.alive() }
        #expect(listener.next() == "WATCHDOG=1")
    }

    @Test("signals arrive as events on the loop")
    func signals() async throws {
        let loop = EventLoop(name: "signals")
        defer { loop.stop() }
        let (stream, continuation) = AsyncStream<Signals.Signal>.makeStream()
        let kept = Locked<Signals?>(nil)
        // To that thread alone: the others of the test would die of it.
        loop.perform {
            Signals.block()
            kept.withLock { $0 = Signals(on: loop) { continuation.yield($0) } }
            for number in [SIGTERM, SIGHUP, SIGINT] { pthread_kill(pthread_self(), number) }
        }
        var seen: Set<Signals.Signal> = []
        for await signal in stream {
            seen.insert(signal)
            if seen.count == 3 { break }
        }
        #expect(seen == [.terminate, .hangUp, .interrupt])
    }

    @Test(
        "the pulse gets a real-time priority and locked memory as root, and no memory that is only reserved is filled",
        .enabled(if: isRoot))
    func favored() async {
        await #expect(processExitsWith: .success) {
            func kilobytes(_ field: String) -> Int {
                let text = String(
                    decoding: (try? AtomicFile.read("/proc/self/status", limit: 1 << 16)) ?? [], as: UTF8.self)
                let line = text.split(separator: "\n").first { $0.hasPrefix(field) }
                return line?.split(separator: " ").compactMap { Int($0) }.first ?? -1
            }
            let before = kilobytes("VmRSS:")
            let granted = ProcessLimits.favorThisThread()
            let isLocked = ProcessLimits.lockMemory()
            // 64 MiB of which one page is used.
            let reserved = mmap(nil, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
            reserved.storeBytes(of: 1, as: UInt8.self)
            guard isLocked, kilobytes("VmLck:") > 0 else { exit(2) }
            guard kilobytes("VmRSS:") - before < 4096 else { exit(3) }
            guard granted.scheduling == "SCHED_RR 10" || granted.scheduling == "nice -10" else { exit(4) }
            exit(0)
        }
    }

    @Test("without privileges the pulse goes on as it is", .enabled(if: isRoot))
    func unprivileged() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 1024, rlim_max: 2048)
            guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, setuid(65534) == 0 else {
                exit(2)
            }
            let granted = ProcessLimits.favorThisThread()
            guard granted == .init(scheduling: "normal"), !ProcessLimits.lockMemory() else { exit(3) }
            exit(ProcessLimits.raiseOpenFiles(to: 65_536) == 2048 ? 0 : 4)
        }
    }
}
