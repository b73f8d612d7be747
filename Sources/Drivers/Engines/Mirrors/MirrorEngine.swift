import Glibc
import Logging
package import Mirrors
package import Primitives
import Processes
package import Reactor
import Wire

/// Carries out what `MirrorKeeper` decides, with rsync at both ends and a tunnel between them.
///
/// The source runs rsync for each path, which starts `bramble mirror-channel` instead of ssh; that hands rsync's sockets to
/// this process, and they become one end of a tunnel. The other node asks its own `MirrorKeeper`, and runs the
/// receiving rsync with words of its own.
package actor MirrorEngine {
    package struct Options: Equatable, Sendable {
        package var rsync = "/usr/bin/rsync"
        /// The program that is `bramble mirror-channel`, and its words.
        package var channel: [String]
        /// The node's data directory: records and parked files are kept in it, and no mirror may reach into it.
        package var directory: String
        /// For each run; nil: as fast as it goes.
        package var bytesPerSecond: Int?
        /// Directories that are watched for changes, of all mirrors together.
        package var watches = 16_384
        package var parkedFiles = 20_000
        package var parkedBytes: UInt64 = 2 << 30
        /// A run that takes longer is ended, and begun anew from where it came to.
        package var longestRun: Duration = .seconds(12 * 3600)
        package var keeper = MirrorConfig()
        package init(channel: [String], directory: String) {
            self.channel = channel
            self.directory = directory
        }
    }

    package enum TunnelEnd: Equatable, Sendable {
        case carried
        /// Why not, for people.
        case failed(String)
    }
    package enum Answer: Equatable, Sendable {
        /// A non-blocking socket, from now on the tunnel's.
        case accept(Int32)
        case refuse(String)
    }
    package struct News: Equatable, Sendable {
        /// `mirror`, `mirror-parked`, `mirror-trouble`.
        package var type: String
        package var mirror: ServiceName
        package var sentence: String
    }

    /// What the engine says to others. Never waited for, but the tunnel.
    package struct Outlets: Sendable {
        /// Carries bytes between these sockets and the program that the peer starts; both are the tunnel's from now on.
        package var tunnel:
            @Sendable (_ peer: NodeID, _ request: [UInt8], _ input: Int32, _ output: Int32) async -> TunnelEnd
        /// How the copy here stands, when that changes.
        package var freshness: @Sendable (ServiceName, MirrorFreshness) -> Void
        package var tell: @Sendable (News) -> Void
        /// A message for another node, or for all.
        package var send: @Sendable ([UInt8], NodeID?) -> Void
        package init(
            tunnel: @escaping @Sendable (NodeID, [UInt8], Int32, Int32) async -> TunnelEnd,
            freshness: @escaping @Sendable (ServiceName, MirrorFreshness) -> Void = { _, _ in },
            tell: @escaping @Sendable (News) -> Void = { _ in },
            send: @escaping @Sendable ([UInt8], NodeID?) -> Void = { _, _ in }
        ) {
            self.tunnel = tunnel
            self.freshness = freshness
            self.tell = tell
            self.send = send
        }
    }

    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    let id: NodeID
    let options: Options
    let outlets: Outlets
    let spawner: Spawner
    /// For what waits for a disk.
    private let diskLoop = EventLoop(name: "mirror-disk")
    let records: RecordFile
    let parking: ParkedFiles
    private var watch: TreeWatch?

    var keeper: MirrorKeeper
    var specs: [ServiceName: MirrorSpec] = [:]
    var names: [NodeID: NodeName] = [:]
    var alive: Set<NodeID> = []
    private var timer: EventLoop.Registration?
    private var isStopped = false

    var pushes: [PushNumber: Push] = [:]
    var receivers: [ReceiverKey: Receiver] = [:]
    /// File systems on the other side that keep no such things, until the next start.
    var lacking: [NodeID: TransferRequest.Options] = [:]
    private var flushes: [ServiceName: [CheckedContinuation<[NodeID], Never>]] = [:]
    var lastTrouble: [ServiceName: String] = [:]
    var lastRun: [ServiceName: Int64] = [:]
    var parkedEntries: [ParkedEntry] = []

    var heardStatus: [NodeID: (status: [MirrorStatus], at: Instant)] = [:]
    private var sharedAt = Instant.zero
    private var sharedSignature: [MirrorStatus] = []

    struct ReceiverKey: Hashable {
        var mirror: ServiceName
        var path: String
    }

    package init(id: NodeID, options: Options, outlets: Outlets, loop: EventLoop) {
        self.id = id
        self.options = options
        self.outlets = outlets
        self.loop = loop
        spawner = Spawner(on: loop)
        records = RecordFile(path: "\(options.directory)/mirrors")
        parking = ParkedFiles(
            directory: "\(options.directory)/parked", node: id,
            limits: .init(files: options.parkedFiles, bytes: options.parkedBytes))
        keeper = MirrorKeeper(id: id, records: records.read(), config: options.keeper)
    }

    // MARK: Life

    package func start() {
        guard timer == nil, !isStopped else { return }
        watch = TreeWatch(on: loop, limit: options.watches) { [weak self] mirror in
            self?.assumeIsolated { $0.handle(.changed(mirror)) }
        }
        parkedEntries = parking.list()
        tick()
    }

    /// Ends all runs. What was received as a whole stays known as such.
    package func stop() async {
        guard !isStopped else { return }
        isStopped = true
        if let timer { loop.cancel(timer) }
        watch?.stop()
        for push in pushes.values { cancel(push) }
        for receiver in receivers.values { receiver.run.map { spawner.abort($0) } }
        for waiters in flushes.values { waiters.forEach { $0.resume(returning: []) } }
        flushes = [:]
        for _ in 0..<100 where !pushes.isEmpty || !receivers.isEmpty { try? await loop.sleep(for: .milliseconds(20)) }
        records.write(keeper.allRecords)
        diskLoop.stop()
    }

    private func tick() {
        timer = nil
        guard !isStopped else { return }
        if !specs.isEmpty { handle(.tick) }
        share()
        // Where nothing is mirrored there is nothing to wake for: `use` starts it again.
        guard !specs.isEmpty || !sharedSignature.isEmpty else { return }
        timer = loop.schedule(after: .milliseconds(100)) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }

    // MARK: For the daemon

    /// What should be mirrored.
    package func use(_ mirrors: [MirrorSpec]) {
        specs = Dictionary(mirrors.map { ($0.name, $0) }) { first, _ in first }
        for (key, receiver) in receivers where !(specs[key.mirror]?.paths.contains(key.path) ?? false) {
            receiver.run.map { spawner.abort($0) }
        }
        handle(.desired(mirrors))
        if timer == nil, watch != nil { tick() }
    }

    package func use(_ peers: [MirrorPeer], isIsolated: Bool) {
        names = Dictionary(peers.map { ($0.id, $0.name) }) { first, _ in first }
        let before = alive
        alive = Set(peers.filter { $0.state == .alive && $0.id != id }.map(\.id))
        heardStatus = heardStatus.filter { names[$0.key] != nil }
        handle(.nodes(peers, isIsolated: isIsolated))
        // Who is new here knows nothing yet.
        if !alive.subtracting(before).isEmpty { sharedAt = .zero }
    }

    /// This node is the source from now on. Returns when nothing that others still send can be written any more.
    package func feed(_ mirrors: [ServiceName], epoch: Epoch) async {
        for mirror in mirrors {
            handle(.feed(mirror, epoch))
            await endReceivers(of: mirror)
        }
    }

    /// It is no more. With a `flush`, the others get first what they lack, for at most as long.
    /// - Returns: nodes that lack something.
    package func stop(_ mirrors: [ServiceName], flush: Duration) async -> [NodeID] {
        var behind: Set<NodeID> = []
        let deadline = SystemClock.now + flush
        for mirror in mirrors {
            guard flush > .zero else {
                handle(.stop(mirror, flush: false))
                continue
            }
            let timer = loop.schedule(at: deadline) { [weak self] in self?.assumeIsolated { $0.giveUpFlush(mirror) } }
            let late = await withCheckedContinuation { continuation in
                flushes[mirror, default: []].append(continuation)
                handle(.stop(mirror, flush: true))
            }
            loop.cancel(timer)
            behind.formUnion(late)
        }
        return behind.sorted()
    }

    private func giveUpFlush(_ mirror: ServiceName) {
        guard let waiters = flushes.removeValue(forKey: mirror) else { return }
        let behind = keeper.report(mirror, now: now).targets.filter { $0.behind == nil }.map(\.node)
        handle(.stop(mirror, flush: false))
        waiters.forEach { $0.resume(returning: behind) }
    }

    /// Somebody serves with this epoch.
    package func heard(_ mirror: ServiceName, _ epoch: Epoch) { handle(.heard(mirror, epoch)) }

    /// Copies now, where this node is the source; else its source is asked to.
    package func runNow(_ mirror: ServiceName) {
        if keeper.report(mirror, now: now).feedingWith != nil { return handle(.runNow(mirror)) }
        if let source = source(of: mirror) { outlets.send(MirrorMessage.runNow(mirror).encoded, source) }
    }

    /// A message of another node's engine. Anything in it may be wrong.
    package func received(_ bytes: [UInt8], from peer: NodeID) {
        guard names[peer] != nil, let message = try? MirrorMessage(encoded: bytes) else { return }
        switch message {
        case .status(let all):
            heardStatus[peer] = (all, now)
            for one in all where specs[one.mirror] != nil && one.highest > .none {
                handle(.heard(one.mirror, one.highest))
            }
        case .runNow(let mirror): handle(.runNow(mirror))
        case .failed(let run, let reason): for push in pushes.values where push.run == run { push.reason = reason }
        }
    }

    var now: Instant { SystemClock.now }
    var wall: Int64 { SystemClock.wallNanoseconds / 1_000_000_000 }

    func name(_ node: NodeID) -> String { names[node]?.description ?? node.code }

    // MARK: Effects

    func handle(_ event: MirrorEvent) {
        guard !isStopped else { return }
        let before = keeper.allRecords
        let effects = keeper.handle(event, now: now)
        if keeper.allRecords != before { records.write(keeper.allRecords) }
        for effect in effects { carryOut(effect) }
    }

    private func carryOut(_ effect: MirrorEffect) {
        switch effect {
        case .push(let number, let mirror, let node, let epoch):
            let push = Push(number: number, mirror: mirror, node: node, epoch: epoch)
            pushes[number] = push
            Task { await self.run(push) }
        case .cancel(let number): if let push = pushes[number] { cancel(push) }
        case .watch(let mirror, let paths): watch?.watch(mirror, paths)
        case .persist: break  // all of them are written when one has changed
        case .freshness(let mirror, let freshness): outlets.freshness(mirror, freshness)
        case .pushedTo(let mirror, let node, _, let files, let bytes):
            lastRun[mirror] = wall
            lastTrouble[mirror] = nil
            Log.debug("mirror \(mirror): \(files) files, \(bytes) bytes to \(name(node))")
        case .trouble(let mirror, let node, let reason, let failures):
            lastTrouble[mirror] = "\(name(node)): \(reason)"
            let times = failures == 1 ? "" : " (\(failures) times in a row)"
            outlets.tell(
                News(
                    type: "mirror-trouble", mirror: mirror,
                    sentence: "the mirror \(mirror) is not copied to \(name(node))\(times): \(reason)"))
        case .flushed(let mirror, let behind):
            flushes.removeValue(forKey: mirror)?.forEach { $0.resume(returning: behind) }
        }
    }

    // MARK: Disks

    /// Runs on a thread of its own what may wait for a disk.
    func onDisk<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            diskLoop.perform { continuation.resume(returning: work()) }
        }
    }

    // MARK: Telling others

    private func share() {
        let mine = ownStatus()
        guard !mine.isEmpty || !sharedSignature.isEmpty else { return }
        // Ages grow all the time; what counts as news is the rest.
        let signature = mine.map { status in
            var status = status
            for index in status.targets.indices {
                status.targets[index].behind = status.targets[index].behind.map { _ in 0 }
            }
            return status
        }
        guard signature != sharedSignature || now - sharedAt >= .seconds(10) else { return }
        sharedSignature = signature
        sharedAt = now
        outlets.send(MirrorMessage.status(mine).encoded, nil)
    }
}
