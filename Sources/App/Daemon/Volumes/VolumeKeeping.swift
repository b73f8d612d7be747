import Engines
import Logging
import Node
import Primitives
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
        /// Since when something is on its way that is worth looking often.
        var busySince: Instant?
        var lookedAtMounts = Instant.zero
    }
    /// Looking whether the mount of a volume still works is a process.
    private static let mountLooks = Duration.seconds(10)

    let id: NodeID
    let worker: EventLoop
    let glusterd: Glusterd
    let exchange: VolumeExchange
    private let leading: VolumeLeading
    private let retries = VolumeRetries()
    private let story: VolumeStory
    private let rounds = Rounds()
    private let state = Locked(State())

    /// - Parameter forget: what a fact asked for is done; false when it could not be forgotten yet.
    init(
        id: NodeID, directory: String, leases: NamedLeases, journal: EventJournal, worker: EventLoop,
        send: @escaping @Sendable (Frame, NodeID, [Endpoint]) -> Void,
        forget: @escaping @Sendable (_ fact: String) async -> Bool
    ) {
        self.id = id
        self.worker = worker
        glusterd = Glusterd(directory: directory)
        exchange = VolumeExchange(id: id, worker: worker, send: send)
        story = VolumeStory(journal)
        leading = VolumeLeading(
            leases: leases, worker: worker, glusterd: glusterd, exchange: exchange, retries: retries, story: story,
            forget: forget)
    }

    // MARK: Life

    func start(_ pulse: Pulse) {
        state.withLock { $0.pulse = pulse }
        exchange.begin(
            VolumeExchange.Listener(
                changed: { [leading] in leading.changed() },
                led: { [glusterd, rounds] isOfBricks in
                    if isOfBricks { glusterd.mayHaveChanged() }
                    rounds.changed()
                },
                examine: { [weak self] volume in await self?.examine(volume) ?? "this node is stopping" }))
        rounds.begin { await self.round() }
    }

    /// A member, a fact or what should be may have changed. From any thread, as often as anybody likes.
    func refresh() {
        rounds.changed()
        leading.changed()
    }

    func peersChanged(_ reachable: [(NodeID, [Endpoint])]) {
        exchange.peersChanged(reachable)
        refresh()
    }

    func received(_ bytes: [UInt8], from peer: NodeID) { exchange.received(bytes, from: peer) }

    /// Volumes stay mounted and GlusterFS goes on: it needs no daemon of ours.
    func stop() async {
        exchange.stop()
        await endRounds()
        state.withLock { $0.pulse = nil }
        glusterd.close()
    }
    private func endRounds() async {
        async let led: Void = leading.stop()
        await rounds.stop()
        await led
    }

    /// This node was removed from the cluster: what it had mounted is not its own any more.
    func leave() async {
        let scene = await scene()
        // Nothing is mounted anew from here on.
        await endRounds()
        guard let scene, !scene.desired.isEmpty else { return }
        let mounts = glusterd.engine.mounts()
        for volume in scene.desired where mounts[volume.mountPoint] == volume.name.description {
            do throws(EngineFailure) {
                try await glusterd.engine.unmount(volume.mountPoint)
            } catch { Log.warning("\(volume.name) stays mounted: \(error.problem). \(error.remedy)") }
        }
    }

    func scene() async -> VolumeScene? {
        guard let pulse = state.withLock({ $0.pulse }), let house = await pulse.house else { return nil }
        return VolumeScene(
            await pulse.snapshot, await pulse.facts, desired: house.desired.volumes, reports: exchange.reports)
    }

    // MARK: Rounds

    private func round() async -> Rounds.Next {
        guard let scene = await scene(), scene.isNeeded else {
            lead(false)
            return .whenChanged
        }
        return .within(await look(scene), on: glusterd.loop)
    }

    private func lead(_ isWanted: Bool) {
        leading.want(
            isWanted, scene: { [weak self] in await self?.scene() }, ruled: { [rounds] in rounds.changed() })
    }

    /// One look; how long the next one may wait.
    private func look(_ scene: VolumeScene) async -> Duration {
        if let report = scene.leadersReport { story.tell(report.standings) }
        let able = await glusterd.engine.tools()
        var gluster = await glusterd.answer(noOlderThan: patience(scene), able)
        let before = duties(scene, gluster, able)
        retries.forgetPreparations(before)
        for duty in before.all where retries.isDue(.duty(duty)) {
            await carryOut(duty, gluster.volumes, among: scene)
            switch duty {
            case .startDaemon, .probeBack: gluster = await glusterd.answer(noOlderThan: .zero, able)
            default: break
            }
        }
        if SystemClock.now - state.withLock({ $0.lookedAtMounts }) > Self.mountLooks { await lookAtMounts(scene) }
        let after = duties(scene, gluster, able)
        exchange.set(await report(scene, gluster, able, after))
        exchange.tell()
        lead(gluster.isServing && (!gluster.peers.isEmpty || !isOtherPool(scene)))
        let isUnsettled =
            !after.all.isEmpty
            || scene.members.contains { member in
                member.report?.standings.contains { $0.state == .making || $0.state == .deleting } ?? false
            }
        return pause(isUnsettled: isUnsettled)
    }

    /// How old what glusterd said may be.
    private func patience(_ scene: VolumeScene) -> Duration {
        guard let since = state.withLock({ $0.busySince }) else { return VolumePace.patient }
        guard SystemClock.now - since < VolumePace.busyTime else { return VolumePace.watchful }
        // A volume is made as soon as each of its nodes says that it reaches the others.
        return isMeeting(scene) ? VolumePace.busy : VolumePace.calm
    }

    private func pause(isUnsettled: Bool) -> Duration {
        state.withLock { state in
            guard isUnsettled else {
                state.busySince = nil
                return VolumePace.calm
            }
            let since = state.busySince ?? SystemClock.now
            state.busySince = since
            return SystemClock.now - since < VolumePace.busyTime ? VolumePace.busy : VolumePace.calm
        }
    }

    /// GlusterFS's pool is somewhere else: a node that is not in it yet would see no volumes, and make them anew.
    private func isOtherPool(_ scene: VolumeScene) -> Bool {
        scene.members.contains { $0.name != scene.me && $0.report?.peers ?? 0 > 0 }
    }

    /// A node of a volume that is there or is to be is not reached from here yet.
    private func isMeeting(_ scene: VolumeScene) -> Bool {
        let names = scene.members.filter(\.isAlive).map(\.name)
        let own = exchange.own
        return scene.desired.contains { volume in
            let nodes = volume.chosenNodes(from: scene.members.map(\.name)).filter(names.contains)
            return nodes.contains(scene.me) && own.unreached(among: nodes, from: scene.me) != nil
        }
    }

    // MARK: What this node does itself

    private func duties(_ scene: VolumeScene, _ gluster: Glusterd.Answer, _ able: GlusterEngine.Tools) -> VolumeDuties {
        var duties = VolumeDuties(me: scene.me)
        duties.desired = scene.desired
        duties.doomed = scene.doomed
        duties.members = scene.members
        duties.isServing = gluster.isServing
        duties.canServe = able.serverTrouble.isEmpty
        duties.canMount = able.clientTrouble.isEmpty
        duties.peers = gluster.peers
        duties.volumes = gluster.volumes
        duties.mounts = glusterd.engine.mounts()
        return duties
    }

    private func carryOut(_ duty: VolumeDuty, _ volumes: [GlusterVolume], among scene: VolumeScene) async {
        let engine = glusterd.engine
        do throws(EngineFailure) {
            switch duty {
            case .startDaemon: try await engine.startDaemon()
            case .prepareBrick(let volume):
                // Looked at now and then: the directory may be taken for something else meanwhile. Made ready only once, for
                // from then on the volume may be in the making, and the marks in it be those of that.
                if retries[.duty(duty)]?.trouble.isEmpty ?? false {
                    if let obstacle = await engine.obstacle(volume, on: scene.me, among: volumes) { throw obstacle }
                } else {
                    try await engine.prepareBrick(volume, on: scene.me, among: volumes)
                }
                return retries.succeeded(.duty(duty), spacing: .seconds(30))
            case .probeBack(let node): try await engine.perform(.probe(node))
            case .mount(let volume, let servers, let path):
                try await engine.mount(volume, servers: servers, at: path)
                story.record("mounted", volume, "\(volume) is mounted on \(scene.me) at \(path)")
            case .unmount(let volume, let path):
                try await engine.unmount(path)
                story.record("unmounted", volume, "\(volume) is not mounted on \(scene.me) any more")
            }
            retries.succeeded(.duty(duty))
        } catch { retries.failed(.duty(duty), "\(error.problem); \(error.remedy)") }
    }

    /// A client whose process died is mounted anew.
    private func lookAtMounts(_ scene: VolumeScene) async {
        state.withLock { $0.lookedAtMounts = SystemClock.now }
        let engine = glusterd.engine
        let mounts = engine.mounts()
        for volume in scene.desired where mounts[volume.mountPoint] == volume.name.description {
            guard await engine.isDead(volume.mountPoint) else { continue }
            story.record(
                "failed", volume.name, "the client of \(volume.name) on \(scene.me) has died; it is mounted anew")
            try? await engine.unmount(volume.mountPoint, isDead: true)
        }
    }

    private func report(
        _ scene: VolumeScene, _ gluster: Glusterd.Answer, _ able: GlusterEngine.Tools, _ duties: VolumeDuties
    ) async -> VolumeReport {
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
        if !gluster.isServing, report.serverTrouble.isEmpty, let retry = retries.trouble(.duty(.startDaemon)) {
            report.serverTrouble = retry.trouble
        }
        for volume in gluster.volumes
        where volume.isOurs || scene.desired.contains(where: { "\($0.name)" == volume.name }) {
            for place in volume.places where place.node == scene.me {
                if let brick = await glusterd.engine.report(volume, place) { report.bricks.append(brick) }
            }
        }
        for volume in scene.desired where gluster.isServing && duties.hasToPrepare(volume) {
            guard let retry = retries[.duty(.prepareBrick(volume))] else { continue }
            report.bricks.append(
                BrickReport(
                    volume: volume.name, path: volume.path, state: retry.trouble.isEmpty ? .ready : .refused,
                    trouble: retry.trouble))
        }
        for volume in scene.desired {
            let isMounted = duties.mounts[volume.mountPoint] == volume.name.description
            var trouble = isMounted ? "" : able.clientTrouble
            if !isMounted, trouble.isEmpty { trouble = retries.troubleMounting(volume) }
            report.mounts.append(MountReport(volume: volume.name, isMounted: isMounted, trouble: trouble))
        }
        for (name, place) in scene.doomed.sorted(by: { $0.key < $1.key }) {
            let isMounted = duties.mounts[place] == name.description
            let trouble = isMounted ? retries.trouble(.duty(.unmount(name, at: place)))?.trouble ?? "" : ""
            report.mounts.append(MountReport(volume: name, isMounted: isMounted, trouble: trouble))
        }
        return report
    }
}

/// How often is looked.
enum VolumePace {
    /// Between two looks when nothing happens, and while something is on its way: for the first so often, for how long.
    static let calm = Duration.seconds(2)
    static let busy = Duration.milliseconds(200)
    static let busyTime = Duration.seconds(20)
    /// How old what glusterd said may be when nothing happens. Each question is a process.
    static let patient = Duration.seconds(60)
    /// The same where something is wrong or waits, perhaps for days.
    static let watchful = Duration.seconds(5)
}
