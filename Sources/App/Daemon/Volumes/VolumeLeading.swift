import Engines
import Leases
import Logging
import Node
import Primitives
import Reactor
import Services
import Volumes

/// The node that has the lease of the role “volumes”: what changes a volume is done by it alone.
final class VolumeLeading: Sendable {
    private struct State {
        var isStopped = false
        var claim: Task<Void, Never>?
        /// While it leads.
        var reign: Rounds?
        var lastNews = Instant.zero
        /// When this node started volumes.
        var started: [ServiceName: Instant] = [:]
    }
    static let role = LeaseName(.role, ServiceName("volumes")!)
    /// Bricks have this time after the start of their volume before they are missed.
    private static let startTime = Duration.seconds(10)

    private let leases: NamedLeases
    private let worker: EventLoop
    private let glusterd: Glusterd
    private let exchange: VolumeExchange
    private let retries: VolumeRetries
    private let story: VolumeStory
    /// What a fact asked for is done; false when it could not be forgotten yet.
    private let forget: @Sendable (_ fact: String) async -> Bool
    private let state = Locked(State())

    init(
        leases: NamedLeases, worker: EventLoop, glusterd: Glusterd, exchange: VolumeExchange, retries: VolumeRetries,
        story: VolumeStory, forget: @escaping @Sendable (_ fact: String) async -> Bool
    ) {
        self.leases = leases
        self.worker = worker
        self.glusterd = glusterd
        self.exchange = exchange
        self.retries = retries
        self.story = story
        self.forget = forget
    }

    // MARK: The role

    /// Wants the role, or does not any more.
    ///
    /// - Parameters:
    ///   - scene: how everything is, looked at in each round.
    ///   - ruled: what it says as the one that leads is new, or it does not lead any more.
    func want(
        _ isWanted: Bool, scene: @escaping @Sendable () async -> VolumeScene?, ruled: @escaping @Sendable () -> Void
    ) {
        let old = state.withLock { state -> Task<Void, Never>? in
            guard isWanted, !state.isStopped else { return state.claim.take() }
            if state.claim == nil { state.claim = Task { await self.claim(scene, ruled) } }
            return nil
        }
        old?.cancel()
    }

    /// Something may have changed. From any thread, as often as anybody likes.
    func changed() { state.withLock { $0.reign }?.changed() }

    func stop() async {
        let claim = state.withLock { state in
            state.isStopped = true
            return state.claim.take()
        }
        claim?.cancel()
        await claim?.value
    }

    private func claim(
        _ scene: @escaping @Sendable () async -> VolumeScene?, _ ruled: @escaping @Sendable () -> Void
    ) async {
        while !Task.isCancelled {
            guard let news = try? leases.claim(Self.role, wait: nil) else { return }
            var epoch: Epoch?
            for await one in news {
                switch one {
                case .held(let new, _):
                    epoch = new
                    let reign = state.withLock { state -> Rounds? in
                        guard state.reign == nil else { return nil }
                        let reign = Rounds()
                        (state.reign, state.lastNews) = (reign, SystemClock.now)
                        return reign
                    }
                    reign?.begin { await self.round(scene, ruled) }
                case .waiting: break
                case .lost, .gaveUp: epoch = nil
                }
            }
            let reign = state.withLock { state in
                _ = exchange.set(nil)
                return state.reign.take()
            }
            exchange.tell()
            await reign?.stop()
            // Nothing of it is under way any more: the next one need not wait until it runs out.
            if let epoch { _ = leases.release(Self.role, epoch: epoch) }
            ruled()
            guard !Task.isCancelled, (try? await worker.sleep(for: .seconds(1))) != nil else { return }
        }
    }
    private var isLeading: Bool { state.withLock { $0.reign != nil } }

    // MARK: Rounds

    private func round(_ scene: () async -> VolumeScene?, _ ruled: () -> Void) async -> Rounds.Next {
        guard let scene = await scene() else { return .whenChanged }
        let able = await glusterd.engine.tools()
        let isQuiet = exchange.own.standings.allSatisfy { $0.state == .online && $0.progress.isEmpty }
        // Quick while it goes on; what waits for people or for a node that is away is looked at now and then.
        let isMoving = !isQuiet && SystemClock.now - state.withLock { $0.lastNews } < VolumePace.busyTime
        let age = isQuiet ? VolumePace.patient : isMoving ? .milliseconds(100) : VolumePace.watchful
        let gluster = await glusterd.answer(noOlderThan: age, able)
        guard gluster.isServing else { return .within(VolumePace.calm, on: glusterd.loop) }

        let planner = await plan(scene, gluster)
        let standings = planner.standings.map { withTroubles($0, planner.steps, planner.questions) }
        let isNews = state.withLock { state in
            guard state.reign != nil, exchange.set(standings) else { return false }
            state.lastNews = SystemClock.now
            return true
        }
        if isNews {
            exchange.tell()
            ruled()
        }
        for name in scene.removed where !gluster.peers.contains(where: { $0.names.contains(name.description) }) {
            _ = await forget(FactKey.formerPeer(name))
        }
        if isLeading, await performFirst(of: planner.steps) { return .atOnce }
        let isSettled = standings.allSatisfy { $0.state != .making && $0.state != .deleting && $0.state != .changing }
        let isWaiting = !isMoving || planner.steps.contains { !retries.isDue(.step($0)) }
        return .within(isSettled || isWaiting ? .seconds(1) : VolumePace.busy, on: glusterd.loop)
    }

    private func plan(_ scene: VolumeScene, _ gluster: Glusterd.Answer) async -> VolumePlanner {
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
        for question in planner.questions where retries.isDue(.question(question)) {
            do throws(EngineFailure) {
                planner.tasks[question] = try await glusterd.engine.task(question)
                retries.succeeded(.question(question))
            } catch { retries.failed(.question(question), "\(error.problem); \(error.remedy)") }
        }
        planner.plan()
        return planner
    }

    /// The first step that may be tried now, with those that can follow it at once; false where there is none.
    private func performFirst(of steps: [VolumeStep]) async -> Bool {
        guard let place = steps.firstIndex(where: { retries.isDue(.step($0)) }) else { return false }
        state.withLock { $0.lastNews = SystemClock.now }
        var last = steps[place]
        var isDone = await perform(last)
        for step in steps[(place + 1)...] where isDone && step.follows(last) && retries.isDue(.step(step)) {
            last = step
            isDone = await perform(step)
        }
        glusterd.mayHaveChanged()
        return true
    }

    private func perform(_ step: VolumeStep) async -> Bool {
        if case .forget(let name) = step {
            if await forget(FactKey.deletedVolume(name)) {
                story.record("deleted", name, "the volume \(name) is deleted")
            }
            retries.succeeded(.step(step), spacing: .seconds(2))
            return true
        }
        do throws(EngineFailure) {
            try await glusterd.engine.perform(step)
            if case .start(let name) = step { state.withLock { $0.started[name] = SystemClock.now } }
            retries.succeeded(.step(step), spacing: step.spacing)
            return true
        } catch {
            if case .heal = step {
                // A push too early, while GlusterFS does not reach all bricks yet, is no trouble, and must not make the one that
                // counts come ever later.
                retries.succeeded(.step(step), spacing: step.spacing)
            } else {
                retries.failed(.step(step), "\(error.problem); \(error.remedy)")
            }
            return false
        }
    }

    /// What failed belongs to what is shown, for as long as it is to be done.
    private func withTroubles(
        _ standing: VolumeStanding, _ steps: [VolumeStep], _ questions: [VolumeQuestion]
    ) -> VolumeStanding {
        var standing = standing
        let unanswered = questions.filter { $0.volume == standing.name }
        if let retry = unanswered.compactMap({ retries.trouble(.question($0)) }).first {
            standing.reason = retry.trouble
        }
        for step in steps where step.volume == standing.name || (step.volume == nil && standing.state == .making) {
            guard let retry = retries.trouble(.step(step)) else { continue }
            if case .heal = step { continue }
            standing.reason = retry.trouble
            if retry.failures >= 3, standing.state == .making || standing.state == .changing {
                standing.state = .blocked
            }
            break
        }
        return standing
    }
}
