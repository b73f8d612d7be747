import CLinux
import Glibc
import Primitives
import Processes
import Reactor
import Services
import TestSupport
import Testing

@testable import Runners

/// Where the processes of a test live.
enum Home: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case controlGroups, marks
    var testDescription: String { rawValue }

    /// Control groups take root, and a kernel that lets version 2 be mounted.
    static let usable: [Home] = Bench.canMountControlGroups ? [.controlGroups, .marks] : [.marks]
}

/// A place to run things: a thread in its own mount namespace with control groups mounted there, a spawner, a tree, and
/// what the runners report. What is left at the end is ended.
final class Bench: Sendable {
    static let canMountControlGroups: Bool = {
        guard isRoot, let namespace = try? OwnNamespace(), let mount = try? mountControlGroups(namespace) else {
            print("Control groups cannot be mounted here: those tests use the fallback alone.")
            return false
        }
        _ = mount
        return true
    }()

    let loop: EventLoop
    let spawner: Spawner
    let tree: ProcessTree
    let scope: String
    let mount: String?
    let files = TemporaryDirectory()
    let events = Locked<[RunnerEvent]>([])
    private let namespace: OwnNamespace?
    private static let counter = Locked(0)
    /// MNT_DETACH, which Swift's Glibc lacks.
    private static let detach: Int32 = 2

    init(_ home: Home, network: Bool = false) throws {
        let number = Self.counter.withLock {
            $0 += 1
            return $0
        }
        scope = "test-\(getpid())-\(number)"
        if home == .controlGroups || network {
            let made = try OwnNamespace(network: network)
            namespace = made
            loop = made.loop
            mount = home == .controlGroups ? try Self.mountControlGroups(made, files) : nil
        } else {
            namespace = nil
            loop = EventLoop(name: "bench")
            mount = nil
        }
        spawner = Spawner(on: loop)
        let (scope, mount) = (scope, mount)
        if let namespace {
            tree = try namespace.run { ProcessTree(scope: scope, mount: mount, avoidsControlGroups: mount == nil) }
        } else {
            tree = ProcessTree(scope: scope, avoidsControlGroups: true)
        }
    }
    deinit {
        // The files last, and without the mount: removing them would go down into everybody's control groups.
        let (tree, loop, namespace, files, mount) = (tree, loop, namespace, files, mount)
        let spawner = spawner
        loop.perform {
            _ = tree.sweep()
            tree.remove()
            if let mount { umount2(mount, Self.detach) }
            withExtendedLifetime((namespace, files)) {}
            Self.stop(loop, after: spawner)
        }
    }
    /// A child that nobody reaps stays in sight of swift-testing, which then never sees the end of the exit tests that come after.
    private static func stop(_ loop: EventLoop, after spawner: Spawner, tries: Int = 3000) {
        guard spawner.underWay > 0, tries > 0 else { return loop.stop() }
        loop.schedule(after: .milliseconds(10)) { stop(loop, after: spawner, tries: tries - 1) }
    }

    @discardableResult
    private static func mountControlGroups(
        _ namespace: OwnNamespace, _ files: TemporaryDirectory = TemporaryDirectory()
    )
        throws -> String
    {
        let place = files.file("cgroup")
        try namespace.shell("mkdir -p \(place) && mount -t cgroup2 none \(place) && test -w \(place)/cgroup.procs")
        return place
    }

    /// Runs a test's body on the loop's thread, which sees the mounts.
    func run<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        try await Task(executorPreference: loop, operation: body).value
    }

    func processes(_ name: String = "job", slot: GuardSlot? = nil) -> ServiceProcesses {
        let events = events
        return ServiceProcesses(
            ServiceName(name)!, node: "alpha", slot: slot, tree: tree, spawner: spawner,
            report: { event in events.withLock { $0.append(event) } })
    }

    var printed: [String] {
        events.withLock { $0 }.compactMap { if case .printed(let line) = $0 { line } else { nil } }
    }
    var ends: [String] {
        events.withLock { $0 }.compactMap { if case .ended(let how) = $0 { how } else { nil } }
    }

    /// Waits for an event, with a bound that a busy machine does not reach.
    func wait(seconds: Double = 60, _ isTrue: () async -> Bool) async -> Bool {
        let end = SystemClock.now + .nanoseconds(Int64(seconds * 1e9))
        while SystemClock.now < end {
            if await isTrue() { return true }
            await withCheckedContinuation { continuation in
                loop.schedule(after: .milliseconds(10)) { continuation.resume() }
            }
        }
        return await isTrue()
    }

    /// Writes an executable script, and returns its path.
    func script(_ name: String, _ body: String) throws -> String {
        try files.writeProgram("#!/bin/sh\n\(body)\n", to: name)
        return files.file(name)
    }
    func lines(_ name: String) -> [String] { (files.text(name) ?? "").split(separator: "\n").map(String.init) }
}

/// Is the process there, and not a zombie?
func isAlive(_ process: Int32) -> Bool {
    guard let stat = SmallFile.read("/proc/\(process)/stat", limit: 4096),
        let end = stat.lastIndex(of: UInt8(ascii: ")"))
    else { return false }
    return stat.count > end + 2 && stat[end + 2] != UInt8(ascii: "Z") && stat[end + 2] != UInt8(ascii: "X")
}

extension Occasion {
    static let first = Occasion(epoch: Epoch(7))
}
extension Duration {
    /// Long enough for anything that should happen, on a machine that does much else.
    static let ample: Duration = .seconds(60)
}

/// The program that plays the daemon and its guard.
let stage: String = {
    let own = (try? FileSystem.link("/proc/self/exe")) ?? CommandLine.arguments[0]
    for start in [own, CommandLine.arguments[0]] {
        var folder = start
        for _ in 0..<6 {
            guard let slash = folder.lastIndex(of: "/") else { break }
            folder = String(folder[..<slash])
            if access("\(folder)/runners-stage", X_OK) == 0 { return "\(folder)/runners-stage" }
        }
    }
    return "runners-stage"
}()

enum FileSystem {
    static func link(_ path: String) throws -> String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { readlink(path, $0.baseAddress!, $0.count) }
        guard count > 0 else { throw KernelRefusal() }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }
}
