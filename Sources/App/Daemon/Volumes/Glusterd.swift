import Engines
import Primitives
import Processes
import Reactor
import Volumes

/// The glusterd of this node: what it said last, for each question to it is a process, and the engine that asks and tells it.
final class Glusterd: Sendable {
    struct Answer {
        var peers: [GlusterPeer] = []
        var volumes: [GlusterVolume] = []
        var isServing = false
        var at: Instant
    }
    private struct State {
        var tools: (loop: EventLoop, engine: GlusterEngine)?
        var answer: Answer?
    }
    private let directory: String
    private let state = Locked(State())

    init(directory: String) { self.directory = directory }

    var loop: EventLoop { tools.loop }
    var engine: GlusterEngine { tools.engine }
    /// Made when they are needed first.
    private var tools: (loop: EventLoop, engine: GlusterEngine) {
        state.withLock { state in
            if let tools = state.tools { return tools }
            let loop = EventLoop(name: "volumes")
            let tools = (loop, GlusterEngine(directory: directory, spawner: Spawner(on: loop)))
            state.tools = tools
            return tools
        }
    }

    /// What it said last, whenever that was.
    var lastAnswer: Answer? { state.withLock { $0.answer } }

    /// It is asked where its last answer is older than that.
    func answer(noOlderThan age: Duration, _ able: GlusterEngine.Tools) async -> Answer {
        let now = SystemClock.now
        let last = lastAnswer
        if let last, now - last.at < age { return last }
        var answer = last ?? Answer(at: now)
        answer.at = now
        answer.isServing = false
        if able.serverTrouble.isEmpty {
            let engine = engine
            async let volumes = engine.volumes()
            if let peers = await engine.pool(), let volumes = try? await volumes {
                (answer.peers, answer.volumes, answer.isServing) = (peers, volumes, true)
            }
        }
        // A question that was asked earlier may be answered later.
        state.withLock { state in if (state.answer?.at ?? .zero) <= now { state.answer = answer } }
        return answer
    }

    /// What it said does not count any more.
    func mayHaveChanged() { state.withLock { $0.answer?.at = .zero } }

    /// It goes on without us.
    func close() { state.withLock { $0.tools.take() }?.loop.stop() }
}
