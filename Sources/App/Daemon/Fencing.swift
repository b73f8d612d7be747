import BrambleAPI
import Engines
import Leases
import Node
import Primitives
import Processes
import Reactor
import Services

/// Has other nodes switched off when the leases ask for it, and says what came of it.
final class Fencing: Sendable {
    private struct State {
        var spawner: Spawner?
        /// Whom an agent is switching off now: one at a time for each.
        var busy: Set<NodeID> = []
        var said: [NodeID: String] = [:]
    }
    private let journal: EventJournal
    private let post: @Sendable (NodeEvent) -> Void
    private let state = Locked(State())
    /// Each of two questions; whoever asks doctor waits for both.
    private static let monitorLimit = Duration.seconds(5)

    init(journal: EventJournal, post: @escaping @Sendable (NodeEvent) -> Void) {
        self.journal = journal
        self.post = post
    }

    private var spawner: Spawner {
        state.withLock { state in
            let spawner = state.spawner ?? Spawner(on: EventLoop(name: "fences"))
            state.spawner = spawner
            return spawner
        }
    }

    /// From the pulse; never waits.
    func switchOff(_ node: NodeID, _ fence: Fence?, named name: String) {
        guard let fence else {
            tell(node, name, "fence-failed", "\(name) cannot be switched off: nothing says how. Add it to fences")
            return post(.lease(.fenced(node, isConfirmed: false)))
        }
        guard state.withLock({ $0.busy.insert(node).inserted }) else { return }
        tell(node, name, "fencing", "\(name) is silent: it is being switched off by \(fence.agent)")
        Task {
            let agent = Self.agent(fence)
            do throws(EngineFailure) {
                try await agent.switchOff(on: spawner, within: fence.within)
                tell(node, name, "fenced", "\(name) is off, \(fence.agent) confirms: its services may start elsewhere")
                finish(node, isConfirmed: true)
            } catch {
                tell(
                    node, name, "fence-failed",
                    "\(name) could not be switched off, so nothing of it is taken over: \(error.problem). \(error.remedy)"
                )
                finish(node, isConfirmed: false)
            }
        }
    }

    private func finish(_ node: NodeID, isConfirmed: Bool) {
        state.withLock { state in
            state.busy.remove(node)
            // A second failure is told like the first when there was a success between them.
            if isConfirmed { state.said[node] = nil }
        }
        post(.lease(.fenced(node, isConfirmed: isConfirmed)))
    }

    /// A failure that comes every five seconds is told once.
    private func tell(_ node: NodeID, _ name: String, _ type: String, _ sentence: String) {
        let isNews = state.withLock { state in
            if type == "fencing", state.said[node] != nil { return false }
            guard type == "fence-failed" else { return true }
            defer { state.said[node] = sentence }
            return state.said[node] != sentence
        }
        guard isNews else { return }
        let draft = EventDraft(type: type, subject: name, sentence: sentence)
        Task { await journal.record(draft) }
    }

    private static func agent(_ fence: Fence) -> FenceAgent {
        FenceAgent(
            fence.agent, parameters: fence.parameters.map { ($0.name, $0.value) }, node: fence.node.description)
    }

    // MARK: For doctor

    /// Asks the devices of these nodes, all at once, and changes nothing.
    func examine(_ fences: [Fence]) async -> [DoctorCheck] {
        await withTaskGroup(of: (Int, DoctorCheck).self) { group in
            for (place, fence) in fences.enumerated() { group.addTask { (place, await self.examine(fence)) } }
            var checks: [(Int, DoctorCheck)] = []
            for await one in group { checks.append(one) }
            return checks.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private func examine(_ fence: Fence) async -> DoctorCheck {
        let agent = Self.agent(fence)
        do throws(EngineFailure) {
            let unknown = try await agent.unknownParameters(on: spawner, within: Self.monitorLimit)
            try await agent.monitor(on: spawner, within: Self.monitorLimit)
            guard unknown.isEmpty else {
                return DoctorCheck(
                    check: "fence", state: .warn,
                    text: "\(fence.agent) answers, and does not know \(unknown.joined(separator: ", "))",
                    remedy: "see what it knows: \(fence.agent) -o metadata")
            }
            return DoctorCheck(
                check: "fence", state: .ok, text: "\(fence.agent) can switch off \(fence.node)", remedy: "")
        } catch {
            return DoctorCheck(
                check: "fence", state: .fail, text: "\(fence.node) could not be switched off: \(error.problem)",
                remedy: error.remedy)
        }
    }

    func stop() async {
        let loop = state.withLock { $0.spawner.take() }?.loop
        loop?.stop()
    }
}
