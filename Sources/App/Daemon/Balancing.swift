import Balancers
import BrambleAPI
import Engines
import Logging
import Machine
import Membership
import Node
import Primitives
import Processes
import Reactor
import Runners
import Services

import struct Storage.FactEdit

/// Balancers in the daemon: asks the backends, hears who is alive, and lets nginx and the kernel have what follows.
///
/// Nothing of it exists, no thread and no file, until the cluster has its first balancer.
final class Balancing: Sendable {
    private struct State {
        var keeper = BackendKeeper()
        var views: [BalancerView] = []
        var troubles: [ServiceName: String] = [:]
        /// What a former life left was looked for.
        var isTidied = false
        /// Nil until it was looked what a former life told.
        var silent: SilentPorts?
        var isTelling = false
        var engines: Engines?
    }
    private struct Engines {
        let loop: EventLoop
        let nginx: NginxEngine
        let kernel: KernelBalancer
    }
    /// From one round of questions to the next, and how long an answer may take: a backend that is dead, or that hangs, gets
    /// nothing more within a second.
    private static let every = Duration.milliseconds(500)
    private static let patience = Duration.milliseconds(400)
    /// A packet may be lost: whoever has not answered by then is asked once more before it is called silent.
    private static let second = Duration.milliseconds(150)

    private let directory: String
    private let journal: EventJournal
    private let pulse = Locked<Pulse?>(nil)
    private let remember = Locked<(@Sendable (FactEdit) async -> Void)?>(nil)
    private let state = Locked(State())
    private let rounds = Rounds()

    init(directory: String, journal: EventJournal) {
        self.directory = directory
        self.journal = journal
    }

    /// - Parameter remember: tells all nodes something.
    func start(_ pulse: Pulse, remember: @escaping @Sendable (FactEdit) async -> Void) {
        self.remember.withLock { $0 = remember }
        self.pulse.withLock { $0 = pulse }
        rounds.begin { await self.round() }
    }

    /// A member, an order or what should be may have changed. From any thread, as often as anybody likes.
    func refresh() { rounds.changed() }

    /// Requests that are under way may end; nothing of ours stays.
    func stop() async {
        await rounds.stop()
        pulse.withLock { $0 = nil }
        guard let engines = state.withLock({ $0.engines.take() }) else { return }
        await engines.nginx.stop()
        await engines.kernel.stop()
        engines.loop.stop()
    }

    // MARK: Rounds

    private func round() async -> Rounds.Next {
        let begin = SystemClock.now
        guard let pulse = pulse.withLock({ $0 }), let house = await pulse.house else { return .whenChanged }
        let balancers = house.desired.balancers
        let wereThere = state.withLock { !$0.views.isEmpty }
        guard !balancers.isEmpty || wereThere else {
            await tidy()
            return .whenChanged
        }
        let snapshot = await pulse.snapshot
        let facts = await pulse.facts
        tellSilence(balancers, snapshot, facts)
        let members = snapshot.members.compactMap { Self.member($0, snapshot, house, facts) }
        let questions = state.withLock { state in
            state.keeper.use(balancers, services: house.desired.services)
            state.keeper.use(members)
            return state.keeper.questions
        }
        let engines = made()
        // Who fell is out before the others were asked: that may take as long as patience. In the first round nobody was asked
        // yet, and what a former life left goes on meanwhile.
        if wereThere { await apply(engines) }
        let checks = Dictionary(balancers.map { ($0.name, $0.check) }) { first, _ in first }
        await withTaskGroup(of: Void.self) { group in
            for (key, endpoint) in questions {
                let path = checks[key.balancer] ?? nil
                group.addTask {
                    let answer = await Self.ask(endpoint, path, on: engines.loop)
                    self.state.withLock { $0.keeper.answered(key, answer) }
                }
            }
        }
        await apply(engines)
        return balancers.isEmpty
            ? .whenChanged : .within(max(Self.every - (SystemClock.now - begin), .zero), on: engines.loop)
    }

    /// Two questions, the second only where the first is not answered soon; it is silent where neither is answered.
    private static func ask(_ endpoint: Endpoint, _ path: String?, on loop: EventLoop) async -> BackendKeeper.Answer {
        func probe(_ limit: Duration) async -> BackendKeeper.Answer {
            let host = endpoint.address.description
            guard let cause = await CheckProbe.ask(endpoint, host: host, path: path, within: limit, on: loop) else {
                return .good
            }
            return switch cause.kind {
            case .refused: .refused(cause.text)
            case .silent: .silent(cause.text)
            case .wrong: .wrong(cause.text)
            }
        }
        return await withTaskGroup(of: BackendKeeper.Answer?.self) { group in
            group.addTask { await probe(patience) }
            group.addTask {
                guard (try? await loop.sleep(for: second)) != nil else { return nil }
                return await probe(patience - second)
            }
            var silence = BackendKeeper.Answer.silent("")
            for await answer in group {
                guard let answer else { continue }
                guard case .silent = answer else {
                    group.cancelAll()
                    return answer
                }
                silence = answer
            }
            return silence
        }
    }

    /// A former life may have left nginx, rules and switches, for balancers that were removed meanwhile.
    private func tidy() async {
        let isDue = state.withLock { state in
            defer { state.isTidied = true }
            return !state.isTidied
        }
        guard isDue else { return }
        guard NginxEngine.isThere(at: prefix) || KernelBalancer.isThere(in: directory) else { return }
        let engines = made()
        // What should be may not be known yet in the first moment.
        guard (try? await engines.loop.sleep(for: .seconds(2))) != nil, let house = await pulse.withLock({ $0 })?.house,
            house.desired.balancers.isEmpty
        else { return }
        Log.info("what balancers of a former life left is taken away")
        await engines.nginx.stop()
        await engines.kernel.stop()
    }
    private var prefix: String { "\(directory)/balance" }

    private static func member(
        _ member: MemberView, _ snapshot: NodeSnapshot, _ house: HouseSnapshot, _ facts: SharedFacts
    ) -> BalancerMember? {
        guard member.rank != .removed, member.record.profile.role == .node,
            let name = snapshot.names.name(of: member.id),
            let address = member.record.profile.addresses.first?.address
        else { return nil }
        let state: BalancerMember.State =
            switch member.rank {
            case .alive: .alive
            case .suspect: .suspect
            case .failed, .left, .removed: .down
            }
        return BalancerMember(
            name: name, address: address, state: state, isLeaving: house.standing.standby(of: member.id) != .no,
            silentPorts: silence(of: member.id, facts))
    }

    private static func silence(of node: NodeID, _ facts: SharedFacts) -> Set<UInt16> {
        facts[FactKey.silent(node)].map { SilentPorts.ports(in: String(decoding: $0, as: UTF8.self)) } ?? []
    }

    /// Tells the others when a UDP server of this node is gone, or back.
    private func tellSilence(_ balancers: [Balancer], _ snapshot: NodeSnapshot, _ facts: SharedFacts) {
        let own = snapshot.names.name(of: snapshot.id)
        let wanted = balancers.filter { balancer in
            balancer.transport == .udp && (balancer.nodes.isEmpty || own.map(balancer.nodes.contains) ?? false)
        }.map(\.to)
        let told = Self.silence(of: snapshot.id, facts)
        let ports = state.withLock { state -> Set<UInt16>? in
            var silent = state.silent ?? SilentPorts(told: told)
            silent.look(at: Set(wanted)) { PortHolder.isTaken($0, .udp) }
            state.silent = silent
            guard silent.ports != told, !state.isTelling else { return nil }
            state.isTelling = true
            return silent.ports
        }
        guard let ports, let remember = remember.withLock({ $0 }) else { return }
        let edit = FactEdit(
            FactKey.silent(snapshot.id), ports.isEmpty ? nil : Array(SilentPorts.text(ports).utf8))
        // It may wait for other nodes, and the round must not.
        Task {
            await remember(edit)
            state.withLock { $0.isTelling = false }
        }
    }

    private func made() -> Engines {
        state.withLock { state in
            if let engines = state.engines { return engines }
            let loop = EventLoop(name: "balancers")
            let spawner = Spawner(on: loop)
            let engines = Engines(
                loop: loop, nginx: NginxEngine(prefix: prefix, spawner: spawner),
                kernel: KernelBalancer(directory: directory, spawner: spawner))
            state.engines = engines
            return engines
        }
    }

    private func apply(_ engines: Engines) async {
        let views = state.withLock { $0.keeper.views }
        var troubles: [ServiceName: String] = [:]
        func all(_ transports: Set<Balancer.Transport>, _ failure: EngineFailure) {
            for view in views where transports.contains(view.balancer.transport) {
                troubles[view.balancer.name] = "\(failure.problem); \(failure.remedy)"
            }
        }
        do throws(EngineFailure) { troubles = try await engines.nginx.use(views) } catch { all([.http], error) }
        do throws(EngineFailure) {
            troubles.merge(try await engines.kernel.use(views)) { first, _ in first }
        } catch { all([.tcp, .udp], error) }
        let before = state.withLock { state in
            defer { (state.views, state.troubles) = (views, troubles) }
            return (state.views, state.troubles)
        }
        tell(before.0, views)
        for (name, trouble) in troubles where before.1[name] != trouble {
            record("failed", name, "the balancer \(name) does not work on this node: \(trouble)")
        }
    }

    private func tell(_ before: [BalancerView], _ views: [BalancerView]) {
        for view in views {
            guard let old = before.first(where: { $0.balancer.name == view.balancer.name }) else { continue }
            for backend in view.backends {
                guard let former = old.backends.first(where: { $0.node == backend.node }),
                    former.state != backend.state,
                    former.state != .unchecked
                else { continue }
                let name = view.balancer.name
                if backend.state == .up {
                    record("started", name, "\(backend.node) gets requests of the balancer \(name) again")
                } else if former.state == .up {
                    record("stopped", name, "\(backend.node) gets no more of the balancer \(name): \(backend.reason)")
                }
            }
        }
    }
    private func record(_ type: String, _ name: ServiceName, _ sentence: String) {
        let draft = EventDraft(type: type, subject: name.description, sentence: sentence)
        Task { await journal.record(draft) }
    }

    // MARK: For people

    /// Also those that this node has not looked at yet.
    func infos(_ desired: [Balancer]) -> [BalancerInfo] {
        let (views, troubles) = state.withLock { ($0.views, $0.troubles) }
        return desired.sorted { $0.name < $1.name }.map { balancer in
            let view = views.first { $0.balancer == balancer }
            return BalancerInfo(
                name: balancer.name.description,
                transport: BalancerInfo.Transport(rawValue: balancer.transport.rawValue) ?? .http,
                listen: balancer.listenText,
                backends: (view?.backends ?? []).map { backend in
                    BalancerInfo.Backend(
                        node: backend.node.description, address: backend.endpoint.description,
                        state: BalancerInfo.Backend.State(rawValue: backend.state.rawValue) ?? .unchecked,
                        reason: backend.reason)
                },
                sticky: BalancerInfo.Stickiness(rawValue: balancer.sticky.rawValue) ?? .none,
                service: balancer.service?.description, reason: troubles[balancer.name] ?? "")
        }
    }
}
