import BrambleAPI
import Engines
import Leases
import Logging
import Membership
import Node
import Primitives
import Processes
import Reactor
import Services
import Transport
import Volumes
import Wire

/// Volumes in the daemon: each node keeps its own bricks' directories and mounts, and tells the others how they are; one,
/// by the lease of the role “volumes”, lets GlusterFS do what changes a volume.
///
/// Nothing of it exists, no thread and no process, until the cluster has its first volume.
final class VolumeKeeping: Sendable {
    private struct State {
        var pulse: Pulse?
        var isStopped = false
        var isDue = false
        var loop: Task<Void, Never>?
        var claim: Task<Void, Never>?
        var isLeading = false
        var tools: Tools?
        var addresses: [NodeID: [Endpoint]] = [:]
        var reports: [NodeID: VolumeReport] = [:]
        var own = VolumeReport()
        /// The last that was sent, and when.
        var sent: (report: VolumeReport, at: Instant)?
        /// What the glusterd of this node said last; nil where it did not answer.
        var gluster: Gluster?
        var standings: [VolumeStanding] = []
        var retries: [Key: Retry] = [:]
        var waiting: [UInt64: (peer: NodeID, resume: CheckedContinuation<String?, Never>)] = [:]
        var counter: UInt64 = 0
        /// Since when something is on its way that is worth looking often.
        var busySince: Instant?
        var lookedAtMounts = Instant.zero
        /// As it was told in the events last.
        var told: [ServiceName: VolumeStanding.State] = [:]
        /// When this node started volumes.
        var started: [ServiceName: Instant] = [:]
    }
    private struct Tools {
        let loop: EventLoop
        let engine: GlusterEngine
    }
    private struct Gluster {
        var peers: [GlusterPeer]
        var volumes: [GlusterVolume]
        var isServing: Bool
        var at: Instant
    }
    private enum Key: Hashable, Sendable { case duty(VolumeDuty), step(VolumeStep), question(VolumeQuestion) }
    /// What failed or was done a moment ago is not tried again at once.
    private struct Retry {
        var failures = 0
        var notBefore: Instant
        var trouble = ""
    }
    /// What everything is decided from, at one moment.
    private struct Scene {
        var me: NodeName
        var desired: [Volume]
        var doomed: [ServiceName: String]
        var members: [VolumeMember]
        var removed: Set<NodeName>
        var ids: [NodeName: NodeID]
        var isNeeded: Bool { !desired.isEmpty || !doomed.isEmpty || !removed.isEmpty }
    }

    static let role = LeaseName(.role, ServiceName("volumes")!)
    /// Between two looks when nothing happens, and while something is on its way: for the first so often, for how long.
    private static let calm = Duration.seconds(2)
    private static let busy = Duration.milliseconds(200)
    private static let busyTime = Duration.seconds(20)
    /// How old what glusterd said may be when nothing happens. Each question is a process.
    private static let patient = Duration.seconds(60)
    /// The same where something is wrong or waits, perhaps for days.
    private static let watchful = Duration.seconds(5)
    /// Others are told again so often, for those who have just come.
    private static let retelling = Duration.seconds(10)
    /// Looking whether the mount of a volume still works is a process, too.
    private static let mountLooks = Duration.seconds(10)
    /// Bricks have this time after the start of their volume before they are missed.
    private static let startTime = Duration.seconds(10)
    private static let answerTime = Duration.seconds(10)
    private static let mostWaiting = 256

    private let id: NodeID
    private let directory: String
    private let leases: NamedLeases
    private let journal: EventJournal
    private let worker: EventLoop
    private let send: @Sendable (Frame, NodeID, [Endpoint]) -> Void
    /// What a fact asked for is done; false when it could not be forgotten yet.
    private let forget: @Sendable (_ fact: String) async -> Bool
    private let state = Locked(State())
    private let bell = Bell()
    private let leadersBell = Bell()

    init(
        id: NodeID, directory: String, leases: NamedLeases, journal: EventJournal, worker: EventLoop,
        send: @escaping @Sendable (Frame, NodeID, [Endpoint]) -> Void,
        forget: @escaping @Sendable (_ fact: String) async -> Bool
    ) {
        self.id = id
        self.directory = directory
        self.leases = leases
        self.journal = journal
        self.worker = worker
        self.send = send
        self.forget = forget
    }

    // MARK: Life

    func start(_ pulse: Pulse) {
        state.withLock { $0.pulse = pulse }
        refresh()
    }

    /// A member, a fact or what should be may have changed. From any thread, as often as anybody likes.
    func refresh() {
        state.withLock { state in
            guard !state.isStopped, state.pulse != nil else { return }
            state.isDue = true
            if state.loop == nil { state.loop = Task { await self.run() } }
        }
        bell.ring()
        leadersBell.ring()
    }

    func peersChanged(_ reachable: [(NodeID, [Endpoint])]) {
        state.withLock { $0.addresses = Dictionary(reachable) { first, _ in first } }
        refresh()
    }

    /// Volumes stay mounted and GlusterFS goes on: it needs no daemon of ours.
    func stop() async {
        let (tasks, waiting) = state.withLock { state in
            state.isStopped = true
            defer { (state.waiting, state.claim) = ([:], nil) }
            return ([state.loop, state.claim], Array(state.waiting.values))
        }
        bell.close()
        leadersBell.close()
        for one in waiting { one.resume.resume(returning: nil) }
        tasks[1]?.cancel()
        for task in tasks { await task?.value }
        let tools = state.withLock { state in
            state.pulse = nil
            return state.tools.take()
        }
        tools?.loop.stop()
    }

    /// This node was removed from the cluster: what it had mounted is not its own any more.
    func leave() async {
        let scene = await scene()
        // Nothing is mounted anew from here on.
        let loop = state.withLock { state in
            state.isStopped = true
            return state.loop
        }
        bell.close()
        await loop?.value
        guard let scene, !scene.desired.isEmpty else { return }
        let engine = tools().engine
        let mounts = engine.mounts()
        for volume in scene.desired where mounts[volume.mountPoint] == volume.name.description {
            do throws(EngineFailure) {
                try await engine.unmount(volume.mountPoint)
            } catch { Log.warning("\(volume.name) stays mounted: \(error.problem). \(error.remedy)") }
        }
    }

    private func run() async {
        while !state.withLock({ $0.isStopped }) {
            state.withLock { $0.isDue = false }
            let scene = await scene()
            guard let scene, scene.isNeeded else {
                let isOver = state.withLock { state in
                    guard !state.isDue else { return false }
                    state.loop = nil
                    return true
                }
                guard isOver else { continue }
                return lead(false)
            }
            let pause = await look(scene)
            await bell.wait(atMost: pause, on: tools().loop)
        }
    }

    private func tools() -> Tools {
        state.withLock { state in
            if let tools = state.tools { return tools }
            let loop = EventLoop(name: "volumes")
            let tools = Tools(loop: loop, engine: GlusterEngine(directory: directory, spawner: Spawner(on: loop)))
            state.tools = tools
            return tools
        }
    }

    private func scene() async -> Scene? {
        guard let pulse = state.withLock({ $0.pulse }), let house = await pulse.house else { return nil }
        let facts = await pulse.facts
        let snapshot = await pulse.snapshot
        guard let me = snapshot.names.name(of: id) else { return nil }
        var doomed: [ServiceName: String] = [:]
        for key in facts.keys(prefix: FactKey.deletedVolumes) {
            guard let value = facts[key], let name = ServiceName(key.dropFirst(FactKey.deletedVolumes.count)) else {
                continue
            }
            doomed[name] = String(decoding: value, as: UTF8.self)
        }
        for volume in house.desired.volumes { doomed[volume.name] = nil }
        let removed = Set(
            facts.keys(prefix: FactKey.formerPeers).compactMap { NodeName($0.dropFirst(FactKey.formerPeers.count)) })
        let (reports, own) = state.withLock { ($0.reports, $0.own) }
        var members: [VolumeMember] = []
        var ids: [NodeName: NodeID] = [:]
        for member in snapshot.members {
            guard member.rank != .removed, member.record.profile.role == .node,
                let name = snapshot.names.name(of: member.id)
            else { continue }
            ids[name] = member.id
            let isAlive = member.rank == .alive || member.rank == .suspect
            members.append(
                VolumeMember(
                    name: name, addresses: member.record.profile.addresses.map(\.address), isAlive: isAlive,
                    report: !isAlive ? nil : member.id == id ? own : reports[member.id]))
        }
        members.sort { $0.name < $1.name }
        return Scene(
            me: me, desired: house.desired.volumes, doomed: doomed, members: members,
            removed: removed.subtracting(members.map(\.name)), ids: ids)
    }

    // MARK: Every node's own part

    /// One look; how long the next one may wait.
    private func look(_ scene: Scene) async -> Duration {
        tellEvents(scene)
        let engine = tools().engine
        let able = await engine.tools()
        let (waits, isBusy) = state.withLock { state in
            (state.busySince != nil, state.busySince.map { SystemClock.now - $0 < Self.busyTime } ?? false)
        }
        var age = isBusy ? Self.calm : waits ? Self.watchful : Self.patient
        // A volume is made as soon as each of its nodes says that it reaches the others.
        if isBusy, isMeeting(scene) { age = Self.busy }
        var gluster = await glusterSays(noOlderThan: age, able)
        var duties = duties(scene, gluster, able)
        forgetPreparations(duties)
        let due = duties.all.filter { isDue(.duty($0)) }
        for duty in due {
            await carryOut(duty, gluster.volumes, among: scene)
            switch duty {
            case .startDaemon, .probeBack: gluster = await glusterSays(noOlderThan: .zero, able)
            default: break
            }
        }
        if SystemClock.now - state.withLock({ $0.lookedAtMounts }) > Self.mountLooks { await lookAtMounts(scene) }
        duties.mounts = engine.mounts()
        await tell(await report(scene, gluster, able, duties.mounts))
        let mayLead = gluster.isServing && (!gluster.peers.isEmpty || !isOtherPool(scene))
        lead(mayLead)
        let isUnsettled =
            !duties.all.isEmpty
            || scene.members.contains { member in
                member.report?.standings.contains { $0.state == .making || $0.state == .deleting } ?? false
            }
        return pause(isUnsettled: isUnsettled)
    }

    private func pause(isUnsettled: Bool) -> Duration {
        state.withLock { state in
            guard isUnsettled else {
                state.busySince = nil
                return Self.calm
            }
            let since = state.busySince ?? SystemClock.now
            state.busySince = since
            return SystemClock.now - since < Self.busyTime ? Self.busy : Self.calm
        }
    }

    /// GlusterFS's pool is somewhere else: a node that is not in it yet would see no volumes, and make them anew.
    private func isOtherPool(_ scene: Scene) -> Bool {
        scene.members.contains { $0.name != scene.me && $0.report?.peers ?? 0 > 0 }
    }

    /// Once this node has its brick, or is not to have it any more, the directory is made ready anew the next time.
    private func forgetPreparations(_ duties: VolumeDuties) {
        state.withLock { state in
            state.retries = state.retries.filter { key, _ in
                guard case .duty(.prepareBrick(let volume)) = key else { return true }
                return duties.desired.contains { $0 == volume } && duties.hasToPrepare(volume)
            }
        }
    }

    /// A node of a volume that is there or is to be is not reached from here yet.
    private func isMeeting(_ scene: Scene) -> Bool {
        let names = scene.members.filter(\.isAlive).map(\.name)
        let own = state.withLock { $0.own }
        return scene.desired.contains { volume in
            let nodes = volume.chosenNodes(from: scene.members.map(\.name)).filter(names.contains)
            return nodes.contains(scene.me) && own.unreached(among: nodes, from: scene.me) != nil
        }
    }

    private func glusterSays(noOlderThan age: Duration, _ able: GlusterEngine.Tools) async -> Gluster {
        let now = SystemClock.now
        if let known = state.withLock({ $0.gluster }), now - known.at < age { return known }
        var said = state.withLock { $0.gluster } ?? Gluster(peers: [], volumes: [], isServing: false, at: now)
        said.at = now
        said.isServing = false
        if able.serverTrouble.isEmpty {
            let engine = tools().engine
            async let volumes = engine.volumes()
            if let peers = await engine.pool(), let volumes = try? await volumes {
                (said.peers, said.volumes, said.isServing) = (peers, volumes, true)
            }
        }
        // A question that was asked earlier may be answered later.
        state.withLock { state in if (state.gluster?.at ?? .zero) <= said.at { state.gluster = said } }
        return said
    }

    private func duties(_ scene: Scene, _ gluster: Gluster, _ able: GlusterEngine.Tools) -> VolumeDuties {
        var duties = VolumeDuties(me: scene.me)
        duties.desired = scene.desired
        duties.doomed = scene.doomed
        duties.members = scene.members
        duties.isServing = gluster.isServing
        duties.canServe = able.serverTrouble.isEmpty
        duties.canMount = able.clientTrouble.isEmpty
        duties.peers = gluster.peers
        duties.volumes = gluster.volumes
        duties.mounts = tools().engine.mounts()
        return duties
    }

    private func isDue(_ what: Key) -> Bool {
        state.withLock { state in state.retries[what].map { SystemClock.now >= $0.notBefore } ?? true }
    }
    private func succeeded(_ what: Key, spacing: Duration = .zero) {
        state.withLock { state in
            state.retries[what] =
                spacing == .zero ? nil : Retry(notBefore: SystemClock.now + spacing)
        }
    }
    /// Half a second, a second … half a minute.
    private func failed(_ what: Key, _ trouble: String, isQuiet: Bool = false) {
        let isNews = state.withLock { state in
            var retry = state.retries[what] ?? Retry(notBefore: .zero)
            defer { state.retries[what] = retry }
            retry.failures += 1
            retry.notBefore = SystemClock.now + .milliseconds(500) * (1 << min(retry.failures - 1, 6))
            let isNews = retry.trouble != trouble
            retry.trouble = trouble
            // What nobody asks about any more is forgotten.
            if state.retries.count > 1_000 { state.retries = [:] }
            return isNews
        }
        if isNews, !isQuiet { Log.warning(trouble) }
    }
    private func trouble(_ what: Key) -> Retry? {
        state.withLock { $0.retries[what] }.flatMap { $0.trouble.isEmpty ? nil : $0 }
    }

    private func carryOut(_ duty: VolumeDuty, _ volumes: [GlusterVolume], among scene: Scene) async {
        let engine = tools().engine
        do throws(EngineFailure) {
            switch duty {
            case .startDaemon: try await engine.startDaemon()
            case .prepareBrick(let volume):
                // Looked at now and then: the directory may be taken for something else meanwhile. Made ready only once, for
                // from then on the volume may be in the making, and the marks in it be those of that.
                if state.withLock({ $0.retries[.duty(duty)]?.trouble.isEmpty ?? false }) {
                    if let obstacle = await engine.obstacle(volume, on: scene.me, among: volumes) { throw obstacle }
                } else {
                    try await engine.prepareBrick(volume, on: scene.me, among: volumes)
                }
                return succeeded(.duty(duty), spacing: .seconds(30))
            case .probeBack(let node): try await engine.perform(.probe(node))
            case .mount(let volume, let servers, let path):
                try await engine.mount(volume, servers: servers, at: path)
                record("mounted", volume, "\(volume) is mounted on \(scene.me) at \(path)")
            case .unmount(let volume, let path):
                try await engine.unmount(path)
                record("unmounted", volume, "\(volume) is not mounted on \(scene.me) any more")
            }
            succeeded(.duty(duty))
        } catch { failed(.duty(duty), "\(error.problem); \(error.remedy)") }
    }

    /// A client whose process died is mounted anew.
    private func lookAtMounts(_ scene: Scene) async {
        state.withLock { $0.lookedAtMounts = SystemClock.now }
        let engine = tools().engine
        let mounts = engine.mounts()
        for volume in scene.desired where mounts[volume.mountPoint] == volume.name.description {
            guard await engine.isDead(volume.mountPoint) else { continue }
            record("failed", volume.name, "the client of \(volume.name) on \(scene.me) has died; it is mounted anew")
            try? await engine.unmount(volume.mountPoint, isDead: true)
        }
    }

    private func report(
        _ scene: Scene, _ gluster: Gluster, _ able: GlusterEngine.Tools, _ mounts: [String: String]
    ) async -> VolumeReport {
        let engine = tools().engine
        var report = VolumeReport()
        report.isServing = gluster.isServing
        report.peers = UInt16(clamping: gluster.peers.count)
        report.reaches = scene.members.filter { member in
            gluster.peers.contains { $0.isConnected && $0.isInCluster && $0.isOf(member) }
        }.map(\.name)
        let addresses = Set(scene.members.flatMap { $0.addresses.map(\.description) })
        report.showsAddresses = gluster.peers.contains { peer in peer.names.first.map(addresses.contains) ?? false }
        report.version = able.version
        report.serverTrouble = able.serverTrouble
        report.clientTrouble = able.clientTrouble
        if !gluster.isServing, report.serverTrouble.isEmpty, let retry = trouble(.duty(.startDaemon)) {
            report.serverTrouble = retry.trouble
        }
        let duties = duties(scene, gluster, able)
        for volume in gluster.volumes
        where volume.isOurs || scene.desired.contains(where: { "\($0.name)" == volume.name }) {
            for place in volume.places where place.node == scene.me {
                if let brick = await engine.report(volume, place) { report.bricks.append(brick) }
            }
        }
        for volume in scene.desired where gluster.isServing && duties.hasToPrepare(volume) {
            let retry = state.withLock { $0.retries[.duty(.prepareBrick(volume))] }
            guard let retry else { continue }
            report.bricks.append(
                BrickReport(
                    volume: volume.name, path: volume.path, state: retry.trouble.isEmpty ? .ready : .refused,
                    trouble: retry.trouble))
        }
        for volume in scene.desired {
            let isMounted = mounts[volume.mountPoint] == volume.name.description
            var trouble = isMounted ? "" : able.clientTrouble
            if !isMounted, trouble.isEmpty {
                trouble = state.withLock { state in
                    state.retries.first { key, _ in
                        if case .duty(.mount(volume.name, _, volume.mountPoint)) = key { true } else { false }
                    }?.value.trouble ?? ""
                }
            }
            report.mounts.append(MountReport(volume: volume.name, isMounted: isMounted, trouble: trouble))
        }
        for (name, place) in scene.doomed.sorted(by: { $0.key < $1.key }) {
            let isMounted = mounts[place] == name.description
            let trouble = isMounted ? trouble(.duty(.unmount(name, at: place)))?.trouble ?? "" : ""
            report.mounts.append(MountReport(volume: name, isMounted: isMounted, trouble: trouble))
        }
        return report
    }

    // MARK: Telling each other

    private func tell(_ report: VolumeReport) async {
        let (own, isNews, addresses) = state.withLock { state in
            var own = report
            own.isLeading = state.isLeading
            own.standings = state.isLeading ? state.standings : []
            state.own = own
            let isNews = state.sent?.report != own
            let isDue = isNews || SystemClock.now - (state.sent?.at ?? .zero) > Self.retelling
            if isDue { state.sent = (own, SystemClock.now) }
            return (own, isNews, isDue ? state.addresses : [:])
        }
        let frame = Frame(.volume, payload: VolumeMessage.report(own).encoded)
        for (peer, endpoints) in addresses { send(frame, peer, endpoints) }
        if isNews { leadersBell.ring() }
    }

    func received(_ bytes: [UInt8], from peer: NodeID) {
        guard let message = try? VolumeMessage(encoded: bytes) else { return }
        switch message {
        case .report(let report):
            let (isNews, isLeaders) = state.withLock { state in
                let before = state.reports.updateValue(report, forKey: peer)
                let isLeaders = report.isLeading && before?.standings != report.standings
                // What our own glusterd says is old, where a volume or its bricks came or went.
                let shape = { (standing: VolumeStanding) in (standing.isStarted ? [standing.bricks] : []) }
                if isLeaders, before?.standings.map(shape) != report.standings.map(shape) { state.gluster?.at = .zero }
                return (before != report, isLeaders)
            }
            if isLeaders { bell.ring() }
            if isNews { leadersBell.ring() }
        case .question(let number, let row):
            guard let volume = try? Volume(row: row) else { return }
            let endpoints = state.withLock { $0.addresses[peer] ?? [] }
            Task {
                let trouble = await examine(volume)
                send(
                    Frame(.volume, payload: VolumeMessage.answer(number: number, trouble: trouble).encoded), peer,
                    endpoints)
            }
        case .answer(let number, let trouble):
            let waiting = state.withLock { state in
                state.waiting[number]?.peer == peer ? state.waiting.removeValue(forKey: number) : nil
            }
            waiting?.resume.resume(returning: trouble)
        }
    }

    /// Nil when it does not answer in time.
    private func ask(_ peer: NodeID, _ volume: Volume) async -> String? {
        let (number, endpoints) = state.withLock { state -> (UInt64?, [Endpoint]) in
            guard state.waiting.count < Self.mostWaiting, !state.isStopped else { return (nil, []) }
            state.counter += 1
            return (state.counter, state.addresses[peer] ?? [])
        }
        guard let number else { return nil }
        let timer = worker.schedule(after: Self.answerTime) { [weak self] in
            self?.state.withLock { $0.waiting.removeValue(forKey: number) }?.resume.resume(returning: nil)
        }
        let answer = await withCheckedContinuation { continuation in
            state.withLock { $0.waiting[number] = (peer, continuation) }
            let question = VolumeMessage.question(number: number, row: volume.row)
            send(Frame(.volume, payload: question.encoded), peer, endpoints)
        }
        worker.cancel(timer)
        return answer
    }

    /// What stands in the way of a brick of this volume on this node; empty where nothing does. Changes nothing but that
    /// glusterd is started.
    private func examine(_ volume: Volume) async -> String {
        guard let scene = await scene() else { return "this node is starting" }
        let engine = tools().engine
        let able = await engine.tools()
        guard able.clientTrouble.isEmpty else { return able.clientTrouble }
        guard able.serverTrouble.isEmpty else { return able.serverTrouble }
        var gluster = await glusterSays(noOlderThan: .zero, able)
        if !gluster.isServing {
            do throws(EngineFailure) {
                try await engine.startDaemon()
            } catch { return "\(error.problem); \(error.remedy)" }
            gluster = await glusterSays(noOlderThan: .zero, able)
        }
        if gluster.volumes.contains(where: { $0.name == volume.name.description && !$0.isOurs }) {
            return "GlusterFS has a volume \(volume.name) that Bramble did not make; give another name"
        }
        if let obstacle = await engine.obstacle(volume, on: scene.me, among: gluster.volumes) {
            return "\(obstacle.problem); \(obstacle.remedy)"
        }
        let names = volume.nodes
        let unknown = await worker.run {
            names.filter { NameLookup.endpoints(of: $0.description, defaultPort: 24007).isEmpty }
        }
        guard unknown.isEmpty else {
            let list = unknown.map(\.description).joined(separator: ", ")
            return "it cannot find the address of \(list) by name; let Bramble keep the hosts file, or add them to it"
        }
        return ""
    }

    // MARK: Leading

    /// Wants the role, or does not any more.
    private func lead(_ wants: Bool) {
        let old = state.withLock { state -> Task<Void, Never>? in
            guard wants, !state.isStopped else { return state.claim.take() }
            if state.claim == nil { state.claim = Task { await self.claim() } }
            return nil
        }
        old?.cancel()
    }

    private func claim() async {
        while !Task.isCancelled {
            guard let news = try? leases.claim(Self.role, wait: nil) else { return }
            var leader: Task<Void, Never>?
            var epoch: Epoch?
            for await one in news {
                switch one {
                case .held(let new, _):
                    epoch = new
                    guard leader == nil else { continue }
                    state.withLock { $0.isLeading = true }
                    leader = Task { await self.leadOn() }
                case .waiting: break
                case .lost, .gaveUp: epoch = nil
                }
            }
            state.withLock { ($0.isLeading, $0.standings) = (false, []) }
            leader?.cancel()
            leadersBell.ring()
            await leader?.value
            // Nothing of it is under way any more: the next one need not wait until it runs out.
            if let epoch { _ = leases.release(Self.role, epoch: epoch) }
            bell.ring()
            guard !Task.isCancelled, (try? await worker.sleep(for: .seconds(1))) != nil else { return }
        }
    }

    private func leadOn() async {
        var lastNews = SystemClock.now
        while !Task.isCancelled, !state.withLock({ $0.isStopped }) {
            guard let scene = await scene() else { return }
            let engine = tools().engine
            let able = await engine.tools()
            let isQuiet = state.withLock { $0.standings.allSatisfy { $0.state == .online && $0.progress.isEmpty } }
            // Quick while it goes on; what waits for people or for a node that is away is looked at now and then.
            let isMoving = !isQuiet && SystemClock.now - lastNews < Self.busyTime
            let age = isQuiet ? Self.patient : isMoving ? .milliseconds(100) : Self.watchful
            let gluster = await glusterSays(noOlderThan: age, able)
            var planner = VolumePlanner(me: scene.me)
            planner.desired = scene.desired
            planner.doomed = Set(scene.doomed.keys)
            planner.members = scene.members
            planner.removed = scene.removed
            planner.peers = gluster.peers
            planner.volumes = gluster.volumes
            planner.starting = state.withLock { state in
                state.started = state.started.filter { SystemClock.now - $0.value < Self.startTime }
                return Set(state.started.keys)
            }
            guard gluster.isServing else {
                await leadersBell.wait(atMost: Self.calm, on: tools().loop)
                continue
            }
            for question in planner.questions where isDue(.question(question)) {
                do throws(EngineFailure) {
                    planner.tasks[question] = try await engine.task(question)
                    succeeded(.question(question))
                } catch { failed(.question(question), "\(error.problem); \(error.remedy)") }
            }
            planner.plan()
            let standings = planner.standings.map { withTroubles($0, planner.steps, planner.questions) }
            let isNews = state.withLock { state in
                guard state.isLeading else { return false }
                defer { state.standings = standings }
                return state.standings != standings
            }
            if isNews {
                lastNews = SystemClock.now
                await tell(state.withLock { $0.own })
                bell.ring()
            }
            for name in scene.removed where !gluster.peers.contains(where: { $0.names.contains(name.description) }) {
                _ = await forget(FactKey.formerPeer(name))
            }
            if !Task.isCancelled, let place = planner.steps.firstIndex(where: { isDue(.step($0)) }) {
                lastNews = SystemClock.now
                var last = planner.steps[place]
                var isDone = await perform(last, engine)
                for step in planner.steps[(place + 1)...] where isDone && step.follows(last) && isDue(.step(step)) {
                    last = step
                    isDone = await perform(step, engine)
                }
                // What they changed counts from now on.
                state.withLock { $0.gluster?.at = .zero }
                continue
            }
            let isSettled = standings.allSatisfy {
                $0.state != .making && $0.state != .deleting && $0.state != .changing
            }
            let isWaiting = !isMoving || planner.steps.contains { !isDue(.step($0)) }
            await leadersBell.wait(atMost: isSettled || isWaiting ? .seconds(1) : Self.busy, on: tools().loop)
        }
    }

    private func perform(_ step: VolumeStep, _ engine: GlusterEngine) async -> Bool {
        if case .forget(let name) = step {
            if await forget(FactKey.deletedVolume(name)) { record("deleted", name, "the volume \(name) is deleted") }
            succeeded(.step(step), spacing: .seconds(2))
            return true
        }
        do throws(EngineFailure) {
            try await engine.perform(step)
            if case .start(let name) = step { state.withLock { $0.started[name] = SystemClock.now } }
            succeeded(.step(step), spacing: step.spacing)
            return true
        } catch {
            // A push too early is no trouble: the next one comes.
            let isPush = if case .heal = step { true } else { false }
            failed(.step(step), "\(error.problem); \(error.remedy)", isQuiet: isPush)
            return false
        }
    }

    /// What failed belongs to what is shown, for as long as it is to be done.
    private func withTroubles(
        _ standing: VolumeStanding, _ steps: [VolumeStep], _ questions: [VolumeQuestion]
    ) -> VolumeStanding {
        var standing = standing
        if let retry = questions.filter({ $0.volume == standing.name }).compactMap({ trouble(.question($0)) }).first {
            standing.reason = retry.trouble
        }
        for step in steps where step.volume == standing.name || (step.volume == nil && standing.state == .making) {
            guard let retry = trouble(.step(step)) else { continue }
            if case .heal = step { continue }
            standing.reason = retry.trouble
            if retry.failures >= 3, standing.state == .making || standing.state == .changing {
                standing.state = .blocked
            }
            break
        }
        return standing
    }

    /// Every node's events tell it, as it hears it from the one that leads.
    private func tellEvents(_ scene: Scene) {
        guard let standings = scene.members.first(where: { $0.report?.isLeading ?? false })?.report?.standings else {
            return
        }
        let changes = state.withLock { state in
            let old = state.told
            state.told = Dictionary(standings.map { ($0.name, $0.state) }) { first, _ in first }
            return standings.compactMap { standing in old[standing.name].map { (before: $0, standing: standing) } }
        }
        for (before, standing) in changes where before != standing.state {
            let name = standing.name
            let reason = standing.reason.isEmpty ? "" : ": \(standing.reason)"
            switch standing.state {
            case .online where before == .making:
                record("made", name, "the volume \(name) is there: \(standing.bricks.count) bricks, all online")
            case .online: record("recovered", name, "all bricks of the volume \(name) are online again")
            case .degraded: record("degraded", name, "the volume \(name) is degraded\(reason)")
            case .offline: record("failed", name, "the volume \(name) is offline\(reason)")
            case .blocked: record("blocked", name, "the volume \(name) cannot go on\(reason)")
            case .changing:
                record("changing", name, "the volume \(name) is changed: \(standing.progress)\(standing.reason)")
            case .making, .deleting: break
            }
        }
    }
    private func record(_ type: String, _ name: ServiceName, _ sentence: String) {
        let draft = EventDraft(type: type, subject: name.description, sentence: sentence)
        Task { await journal.record(draft) }
    }

    // MARK: For people

    /// What everybody says of the volumes now.
    func infos() async -> [VolumeInfo] {
        guard let scene = await scene() else { return [] }
        let leader = scene.members.first { $0.report?.isLeading ?? false }?.report
        var infos: [VolumeInfo] = []
        for volume in scene.desired.sorted(by: { $0.name < $1.name }) {
            let standing = leader?.standings.first { $0.name == volume.name } ?? unled(volume, scene)
            infos.append(VolumeInfo(standing, volume, scene.members))
        }
        for (name, place) in scene.doomed.sorted(by: { $0.key < $1.key }) {
            let standing =
                leader?.standings.first { $0.name == name } ?? VolumeStanding(name: name, state: .deleting)
            var volume = Volume(name: name, layout: .replicate(copies: Int(max(standing.setSize, 2))), path: "/")
            volume.mount = place
            infos.append(VolumeInfo(standing, volume, scene.members))
        }
        return infos
    }

    /// Nobody looks after it yet.
    private func unled(_ volume: Volume, _ scene: Scene) -> VolumeStanding {
        var standing = VolumeStanding(name: volume.name, state: .making)
        let alive = scene.members.filter(\.isAlive)
        let troubles = alive.compactMap { member in
            member.report.flatMap { $0.serverTrouble.isEmpty ? nil : "\(member.name): \($0.serverTrouble)" }
        }
        if troubles.count == alive.count, let first = troubles.first {
            standing.state = .blocked
            standing.reason = first
        } else {
            standing.reason = "waits for a node that looks after the volumes"
        }
        return standing
    }

    /// What keeps the nodes that would have a brick from it, a sentence each.
    func obstacles(_ volume: Volume) async -> [String] {
        guard let scene = await scene() else { return ["this node is starting"] }
        var found: [String] = []
        var asked: [(NodeName, NodeID)] = []
        for node in volume.nodes {
            guard let member = scene.members.first(where: { $0.name == node }), let id = scene.ids[node] else {
                found.append("\(node) is not a node of this cluster; bramble nodes lists them")
                continue
            }
            if member.isAlive {
                asked.append((node, id))
            } else {
                found.append("\(node) is not alive; see why: bramble why \(node)")
            }
        }
        // What the others lack without those would only confuse.
        guard found.isEmpty else { return found }
        await withTaskGroup(of: String.self) { group in
            for (node, id) in asked {
                group.addTask {
                    let trouble =
                        id == self.id
                        ? await self.examine(volume)
                        : await self.ask(id, volume) ?? "it did not answer in time; see: bramble nodes"
                    return trouble.isEmpty ? "" : "\(node): \(trouble)"
                }
            }
            for await trouble in group where !trouble.isEmpty { found.append(trouble) }
        }
        return found.sorted()
    }

    /// The nodes that are alive, and the volumes that are desired.
    func overview() async -> (alive: [NodeName], desired: [Volume])? {
        await scene().map { scene in (scene.members.filter(\.isAlive).map(\.name), scene.desired) }
    }

    /// The volumes with a brick on this node, or that are to have one there.
    func volumes(on node: NodeName) async -> [ServiceName] {
        guard let scene = await scene() else { return [] }
        // The one that leads has just looked; without it, what our own glusterd said last.
        let standings =
            scene.members.first { $0.report?.isLeading ?? false }?.report?.standings.map { ($0.name, $0.bricks) }
            ?? state.withLock { $0.gluster?.volumes ?? [] }.filter(\.isOurs).compactMap { volume in
                ServiceName(volume.name).map { ($0, volume.places) }
            }
        let held = standings.filter { $0.1.contains { $0.node == node } }.map(\.0)
        return Set(held + scene.desired.filter { $0.nodes.contains(node) }.map(\.name)).sorted()
    }

    /// The fact to keep when a node is removed that GlusterFS has as a peer.
    func farewell(to node: NodeName) -> String? {
        let isPeer = state.withLock { $0.gluster?.peers.contains { $0.names.contains(node.description) } ?? false }
        return isPeer ? FactKey.formerPeer(node) : nil
    }

    func heal(_ name: ServiceName) async throws(EngineFailure) { try await tools().engine.perform(.heal(name)) }

    /// For `bramble doctor`; nil where there are no volumes and no GlusterFS either.
    func doctor() async -> DoctorCheck? {
        guard let scene = await scene() else { return nil }
        let able: GlusterEngine.Tools
        if scene.isNeeded {
            able = await tools().engine.tools()
        } else {
            // Looking at it must not leave a thread behind where there are no volumes.
            let loop = EventLoop(name: "doctor")
            able = await GlusterEngine(directory: directory, spawner: Spawner(on: loop)).tools()
            loop.stop()
        }
        func check(_ state: DoctorCheck.State, _ text: String, _ remedy: String = "") -> DoctorCheck {
            DoctorCheck(check: "volumes", state: state, text: text, remedy: remedy)
        }
        for trouble in [able.serverTrouble, able.clientTrouble] where !trouble.isEmpty {
            let (text, remedy) = Self.parts(trouble)
            guard scene.isNeeded else {
                return able.version.isEmpty
                    ? check(.ok, "this node can have no volumes yet: \(text)") : check(.warn, text, remedy)
            }
            let isLocal =
                trouble == able.clientTrouble
                || scene.desired.contains { $0.chosenNodes(from: scene.members.map(\.name)).contains(scene.me) }
            return check(isLocal ? .fail : .warn, text, remedy)
        }
        let versions = Set(scene.members.compactMap { $0.report?.version }.filter { !$0.isEmpty }).union([able.version])
            .sorted()
        guard versions.count < 2 else {
            return check(
                .warn, "nodes have GlusterFS \(versions.joined(separator: " and "))",
                "upgrade the older ones, one by one")
        }
        for info in await infos() where info.state != .online {
            return check(
                .warn,
                "the volume \(info.name) is \(info.state.rawValue)\(info.reason.isEmpty ? "" : ": \(info.reason)")",
                "bramble volume status \(info.name)")
        }
        return check(.ok, "GlusterFS \(able.version), its client and FUSE are there")
    }
    private static func parts(_ trouble: String) -> (String, String) {
        guard let mark = trouble.lastIndex(of: ";") else { return (trouble, "") }
        return (String(trouble[..<mark]), String(trouble[trouble.index(mark, offsetBy: 2)...]))
    }
}

extension VolumeInfo {
    init(_ standing: VolumeStanding, _ volume: Volume, _ members: [VolumeMember]) {
        func report(_ place: BrickPlace) -> BrickReport? {
            members.first { $0.name == place.node && $0.isAlive }?.report?.brick(volume.name, place.path)
        }
        let size = max(Int(standing.setSize), 1)
        let bricks = standing.bricks.enumerated().map { number, place in
            let brick = report(place)
            return Brick(
                node: place.node.description, path: place.path, online: brick?.state == .online,
                arbiter: number % size >= size - Int(standing.arbiters), toHeal: Int64(clamping: brick?.pending ?? 0),
                totalBytes: Int64(clamping: brick?.total ?? 0), freeBytes: Int64(clamping: brick?.free ?? 0))
        }
        // The smallest brick of a set says what fits in it; the sets come on top of each other.
        var (total, free) = (Int64(0), Int64(0))
        for first in stride(from: 0, to: bricks.count, by: size) {
            let data = bricks[first..<min(first + size, bricks.count)].filter { !$0.arbiter && $0.totalBytes > 0 }
            let factor = standing.redundancy > 0 ? Int64(size - Int(standing.redundancy)) : 1
            total += (data.map(\.totalBytes).min() ?? 0) * factor
            free += (data.map(\.freeBytes).min() ?? 0) * factor
        }
        let mounts = members.filter(\.isAlive).map { ($0.name.description, $0.report?.mount(volume.name)) }
        let isDispersed = if case .disperse = volume.layout { true } else { false }
        self.init(
            name: volume.name.description, kind: isDispersed ? .disperse : .replicate, replica: isDispersed ? 1 : size,
            arbiter: Int(standing.arbiters), disperse: isDispersed ? size : 0, redundancy: Int(standing.redundancy),
            bricks: bricks, mount: volume.mountPoint, mountedOn: mounts.filter { $0.1?.isMounted ?? false }.map(\.0),
            notMounted: mounts.filter { !($0.1?.isMounted ?? false) }.map {
                Missing(node: $0.0, reason: $0.1?.trouble ?? "")
            },
            toHeal: Int64(clamping: VolumePlanner.pending(standing, members)), totalBytes: total, freeBytes: free,
            state: State(standing.state), reason: standing.reason, progress: standing.progress, offer: standing.offer)
    }
}

extension VolumeInfo.State {
    init(_ state: VolumeStanding.State) {
        self =
            switch state {
            case .making: .making
            case .blocked: .blocked
            case .online: .online
            case .degraded: .degraded
            case .offline: .offline
            case .changing: .changing
            case .deleting: .deleting
            }
    }
}
