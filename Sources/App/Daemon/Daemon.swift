import BrambleAPI
import Crypto
import Engines
import FoundationEssentials
import Glibc
import Logging
import Machine
import Primitives
import Reactor
import Runners
import Web

/// One run of `bramble start`: from the settings to the exit code.
package enum Daemon {
    /// To be called before any thread is started: from then on signals wait for `run` instead of ending the process.
    package static func takeSignals() { Signals.block() }

    /// `bramble guard`, which the daemon starts beside itself: ends services at their deadlines whatever becomes of the
    /// daemon. Before anything else of the program: it should have no thread, and little memory.
    package static func guardServices(_ arguments: [String]) -> Int32 { GuardProcess.run(arguments) }
    /// What `bramble lock` starts. Blocks until the command has ended.
    package static func keepCommand(_ arguments: [String], environment: [String: String]) -> Int32 {
        KeptCommand.run(arguments, environment: environment)
    }
    /// What rsync starts for the mirrors. Blocks.
    package static func mirrorChannel(_ arguments: [String]) -> Int32 { MirrorChannel.run(arguments) }

    /// Runs until SIGTERM or SIGINT, then hands over and returns 0. What is wrong at the start is thrown, as an
    /// `OperatorError`; what goes wrong later is told and lived with.
    package static func run(_ settings: Settings) async throws -> Int32 {
        let manager = ServiceManager()
        _ = ProcessLimits.raiseOpenFiles()
        let loop = EventLoop(name: "loop")
        let worker = EventLoop(name: "worker")

        let path = settings.dataDirectory ?? Configuration.defaultDataDirectory
        let home = try Home(opening: path)
        let configuration = Configuration(settings, hostName: hostName(), code: home.identity.id.code)
        let journal = openJournal(home, loop: loop, worker: worker)
        let service = ClusterService(journal: journal, worker: worker)
        let web = WebServer(
            service: service,
            configuration: WebServer.Configuration(
                listen: configuration.webAddresses, identity: try WebIdentity.load(configuration, home)), loop: loop)
        try makeSocketFolder(configuration.socket)
        try web.start()

        let (signals, signalled) = AsyncStream<Signals.Signal>.makeStream(bufferingPolicy: .bufferingNewest(4))
        let watcher = Signals(on: loop) { signalled.yield($0) }
        defer { withExtendedLifetime(watcher) {} }

        let stages = Stages(
            home: home, configuration: configuration, service: service, journal: journal, loop: loop, worker: worker)
        try await stages.begin()
        manager.ready(status: "code \(home.identity.id.code)")
        let watchdog = Task {
            guard let interval = manager.watchdogInterval else { return }
            while (try? await loop.sleep(for: interval / 2)) != nil {
                // Both threads that matter have to answer: a wedged one is what the watchdog is for.
                await stages.touch()
                manager.alive()
            }
        }
        for await signal in signals where signal != .hangUp { break }
        watchdog.cancel()
        manager.stopping()
        await stages.end()
        await web.stop()
        Log.info("stopped")
        return 0
    }

    static func hostName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        gethostname(&buffer, buffer.count - 1)
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func openJournal(_ home: Home, loop: EventLoop, worker: EventLoop) -> EventJournal {
        let log = LineLog(in: home.directory)
        let decoder = JSONDecoder()
        let earlier = log.lines().suffix(EventJournal.capacity).compactMap { line in
            try? decoder.decode(Event.self, from: Data(line.utf8))
        }
        return EventJournal(on: loop, earlier: earlier) { event in
            worker.perform {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.withoutEscapingSlashes]
                guard let data = try? encoder.encode(event) else { return }
                log.append(String(decoding: data, as: UTF8.self))
            }
        }
    }

    /// `/run/bramble` is made by systemd; a person who starts the daemon by hand does not think of it.
    private static func makeSocketFolder(_ socket: String) throws {
        guard let slash = socket.lastIndex(of: "/"), slash != socket.startIndex else { return }
        mkdir(String(socket[..<slash]), 0o755)
    }
}

/// The stages of a node's life: it waits for a key, is a member, is removed.
actor Stages {
    private let home: Home
    private let configuration: Configuration
    private let service: ClusterService
    private let journal: EventJournal
    private let loop: EventLoop
    private let worker: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private var member: Member?
    private var room: WaitingRoom?

    init(
        home: Home, configuration: Configuration, service: ClusterService, journal: EventJournal, loop: EventLoop,
        worker: EventLoop
    ) {
        self.home = home
        self.configuration = configuration
        self.service = service
        self.journal = journal
        self.loop = loop
        self.worker = worker
    }

    /// A key that is not there, or cannot be used, is waited for: a daemon that ended would be started again five times a
    /// second, and each start writes to the disk.
    func begin() async throws {
        if let key = home.clusterKey() {
            try await join(with: key, meeting: [])
        } else {
            try await wait()
        }
    }

    func end() async {
        await room?.stop()
        await member?.stop()
    }

    /// Returns when the pulse has had a turn.
    func touch() async { _ = await member?.pulse.isAlone }

    private func wait() async throws {
        let examine = { @Sendable [home, configuration] in DoctorCheck.all(home, configuration) }
        service.enter(
            .waiting(.init(name: configuration.name.description, id: home.identity.id, examine: examine)))
        let room = try WaitingRoom(home: home, configuration: configuration, loop: loop, worker: worker) {
            [weak self] key, members in
            Task { await self?.keyFound(key, members) }
        }
        self.room = room
        await room.start()
    }

    /// From an invitation, or a file that was copied here; both may tell of the same key.
    private func keyFound(_ key: ClusterKey, _ members: [Endpoint]) async {
        guard let room else { return }
        self.room = nil
        // The streams' port has to be free, and the answer to the inviter to be out, before the member takes it over.
        try? await loop.sleep(for: .milliseconds(200))
        await room.stop()
        do {
            try await join(with: key, meeting: members)
        } catch let error as any OperatorError {
            Log.error("\(error.problem). \(error.remedy)")
        } catch {
            Log.error("this node cannot start: \(error)")
        }
    }

    private func join(with key: ClusterKey, meeting contacts: [Endpoint]) async throws {
        let member = try Member(
            home: home, key: key, meeting: contacts, configuration: configuration, journal: journal, loop: loop,
            worker: worker
        ) { [weak self] remover in
            Task { await self?.removed(by: remover) }
        }
        self.member = member
        service.enter(.member(member))
        await member.start()
    }

    private func removed(by remover: String?) async {
        guard let member else { return }
        self.member = nil
        service.enter(
            .removed(
                node: configuration.name.description, cluster: member.clusterName, by: remover, at: Timestamp.now()))
        await journal.record(
            EventDraft(
                type: "removed", subject: configuration.name.description, by: remover.map { [$0] } ?? [],
                sentence:
                    "this node was removed from “\(member.clusterName)”\(remover.map { " by \($0)" } ?? ""): its copy "
                    + "of the cluster's data is wiped. Restart it to let it wait for a new cluster"))
        await member.stop()
    }
}
