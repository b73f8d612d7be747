import BrambleAPI
import CLinux
import Engines
import Leases
import Logging
import Node
import Primitives
import Processes
import Reactor
import Transport
import Wire

/// The clocks of the nodes: asked when somebody wants to know, and kept together by chrony where the cluster is told to.
///
/// One node serves the time to the others, by the lease of the role “clock”; chrony does the rest.
final class Clocks: Sendable {
    private struct State {
        var isOn = false
        /// Whether it is known what the cluster was told.
        var isKnown = false
        var isStopped = false
        var keeping: Task<Void, Never>?
        var addresses: [NodeID: [Endpoint]] = [:]
        var waiting: [Int64: (peer: NodeID, resume: CheckedContinuation<ClockMessage?, Never>)] = [:]
        var lastAsked: Int64 = 0
        var server: NodeID?
        /// Whether chrony was told to follow us.
        var isTold = false
        var trouble: String?
        /// Other programs that set this machine's clock.
        var rivals: [String] = []
        var tools: (loop: EventLoop, engine: ChronyEngine)?
        /// What chrony said last, and since when it is not asked again.
        var reading: ChronyEngine.Reading?
        var readAt = Instant.zero
    }
    private static let retries = Duration.seconds(5)
    /// How long an answer may take; a node on the same network has answered after a millisecond.
    private static let patience = Duration.seconds(1)
    /// Questions of one node that are answered at once.
    private static let mostWaiting = 1024
    static let role = LeaseName(.role, ServiceName("clock")!)

    private let id: NodeID
    private let loop: EventLoop
    private let leases: NamedLeases
    private let send: @Sendable (Frame, NodeID, [Endpoint]) -> Void
    private let journal: EventJournal
    /// chrony is told what counts by now, one thing at a time: two that overlapped would reach it in any order, and the older
    /// one could stay.
    private let telling = Rounds()
    private let state = Locked(State())

    init(
        id: NodeID, loop: EventLoop, leases: NamedLeases, journal: EventJournal,
        send: @escaping @Sendable (Frame, NodeID, [Endpoint]) -> Void
    ) {
        self.id = id
        self.loop = loop
        self.leases = leases
        self.journal = journal
        self.send = send
        telling.begin { [weak self] in
            guard let self else { return .whenChanged }
            await tellChrony()
            // What stood in the way is mended by hand, and nobody says so.
            return trouble == nil ? .whenChanged : .within(Self.retries, on: loop)
        }
    }

    // MARK: Asking

    func peersChanged(_ reachable: [(NodeID, [Endpoint])]) {
        let isKeeping = state.withLock { state in
            state.addresses = Dictionary(reachable) { first, _ in first }
            return state.keeping != nil
        }
        if isKeeping { telling.changed() }
    }

    func received(_ bytes: [UInt8], from peer: NodeID) {
        let now = SystemClock.wallNanoseconds
        guard var message = try? ClockMessage(decoding: bytes) else { return }
        guard message.isQuestion else {
            let waiting = state.withLock { state in
                // Whoever else guesses the moment must not answer for another.
                state.waiting[message.asked]?.peer == peer ? state.waiting.removeValue(forKey: message.asked) : nil
            }
            waiting?.resume.resume(returning: message)
            return
        }
        message.came = now
        let addresses = state.withLock { $0.addresses[peer] ?? [] }
        // At once, with what chrony said last: the time that passes here is not counted, but it is waited for.
        let own = own()
        message.source = own.source ?? ""
        message.error = own.error.map { Int64(($0 * 1e9).rounded()) }
        message.isSynchronized = own.isSynchronized
        message.went = SystemClock.wallNanoseconds
        send(Frame(.clock, payload: message.encoded), peer, addresses)
        askChrony()
    }

    /// Of every node that can be reached, and ours; the others ask nobody and are known as such.
    ///
    /// - Parameter questions: to each; the best answer counts. One is enough where 10 ms matter and not 1.
    func readings(_ storyteller: Storyteller, questions: Int = 3) async -> [ClockInfo] {
        let (peers, isOn, server) = state.withLock { ($0.addresses, $0.isOn, $0.isOn ? $0.server : nil) }
        await read()
        let own = own()
        var infos = [
            ClockInfo(
                node: storyteller.name(id), offsetMs: 0, errorMs: 0, source: own.source,
                synchronized: own.isSynchronized,
                serves: server == id)
        ]
        await withTaskGroup(of: ClockInfo.self) { group in
            for (peer, addresses) in peers {
                group.addTask {
                    let name = storyteller.name(peer)
                    guard let (answer, offset) = await self.ask(peer, addresses, questions) else {
                        return ClockInfo(node: name, offsetMs: nil, errorMs: nil, source: nil, synchronized: false)
                    }
                    return ClockInfo(
                        node: name, offsetMs: Double(offset.offset) / 1e6, errorMs: Double(offset.error) / 1e6,
                        source: answer.source.isEmpty ? nil : answer.source, synchronized: answer.isSynchronized,
                        serves: server == peer)
                }
            }
            for await info in group { infos.append(info) }
        }
        // Against the one that serves: that is the time that counts.
        if let base = infos.first(where: \.serves), let shift = base.offsetMs, let error = base.errorMs {
            for index in infos.indices where infos[index].offsetMs != nil {
                infos[index].offsetMs! -= shift
                infos[index].errorMs! = infos[index].serves ? 0 : infos[index].errorMs! + error
            }
        }
        for index in infos.indices {
            infos[index].offsetMs = infos[index].offsetMs.map { ($0 * 1000).rounded() / 1000 }
            infos[index].errorMs = infos[index].errorMs.map { ($0 * 1000).rounded() / 1000 }
            infos[index].kept = isOn
        }
        return infos.sorted { $0.node < $1.node }
    }

    /// The best of a few: a question that waited for nothing says most.
    private func ask(
        _ peer: NodeID, _ addresses: [Endpoint], _ questions: Int
    ) async -> (ClockMessage, (offset: Int64, error: Int64))? {
        var best: (ClockMessage, (offset: Int64, error: Int64))?
        for _ in 0..<questions {
            guard let answer = await askOnce(peer, addresses) else { break }
            if best == nil || answer.1.error < best!.1.error { best = answer }
        }
        return best
    }
    private func askOnce(
        _ peer: NodeID, _ addresses: [Endpoint]
    ) async -> (ClockMessage, (offset: Int64, error: Int64))? {
        let asked = state.withLock { state -> Int64? in
            guard state.waiting.count < Self.mostWaiting, !state.isStopped else { return nil }
            // Each question has a moment of its own: it is its number, too.
            state.lastAsked = max(state.lastAsked + 1, SystemClock.wallNanoseconds)
            return state.lastAsked
        }
        guard let asked else { return nil }
        let timer = loop.schedule(after: Self.patience) { [weak self] in
            self?.state.withLock { $0.waiting.removeValue(forKey: asked) }?.resume.resume(returning: nil)
        }
        let answer = await withCheckedContinuation { continuation in
            state.withLock { $0.waiting[asked] = (peer, continuation) }
            send(Frame(.clock, payload: ClockMessage(asked: asked).encoded), peer, addresses)
        }
        loop.cancel(timer)
        return answer.map { ($0, $0.offset(answeredAt: SystemClock.wallNanoseconds)) }
    }

    /// By chrony where it answers, else by what the kernel was told.
    private func own() -> (source: String?, error: Double?, isSynchronized: Bool) {
        if let reading = state.withLock({ $0.reading }) {
            return (reading.source, reading.error, reading.isSynchronized)
        }
        var microseconds = 0
        switch clinux_clock_is_synchronized(&microseconds) {
        case 1: return ("NTP", Double(microseconds) / 1e6, true)
        default: return (nil, nil, false)
        }
    }

    /// A program is started for it, so not more often than people look.
    private static let rereads = Duration.seconds(2)
    private func askChrony() {
        let isDue = state.withLock { state in
            guard !state.isStopped, SystemClock.now >= state.readAt + Self.rereads else { return false }
            state.readAt = SystemClock.now
            return true
        }
        if isDue { Task { await self.read() } }
    }
    private func read() async {
        let reading = await tools().engine.reading()
        state.withLock { ($0.reading, $0.readAt) = (reading, SystemClock.now) }
    }

    private func tools() -> (loop: EventLoop, engine: ChronyEngine) {
        state.withLock { state in
            if let tools = state.tools { return tools }
            let loop = EventLoop(name: "clock")
            let tools = (loop, ChronyEngine(spawner: Spawner(on: loop)))
            state.tools = tools
            return tools
        }
    }

    // MARK: Keeping

    /// What the cluster was told. From any thread.
    func use(isOn: Bool) {
        let change = state.withLock { state -> (start: Bool, stop: Task<Void, Never>?) in
            guard !state.isStopped, state.isOn != isOn || !state.isKnown else { return (false, nil) }
            // A former life may have ended before it could take away what it had written.
            if !isOn, !state.isKnown, ChronyEngine.isThere() { state.isTold = true }
            (state.isOn, state.isKnown) = (isOn, true)
            return (isOn, isOn ? nil : state.keeping.take() ?? (state.isTold ? Task {} : nil))
        }
        if change.start {
            let task = Task { await self.keep() }
            state.withLock { $0.keeping = task }
        }
        if let task = change.stop {
            task.cancel()
            Task {
                await task.value
                self.telling.changed()
            }
        }
    }

    /// This node was removed from the cluster: what was written for chrony is taken away.
    func leave() async {
        let keeping = state.withLock { state in
            (state.isStopped, state.isOn) = (true, false)
            return state.keeping.take()
        }
        keeping?.cancel()
        await keeping?.value
        await telling.stop()
        if ChronyEngine.isThere() { await tools().engine.leave() }
    }

    /// Wants the role for as long as the clocks are kept.
    private func keep() async {
        while !Task.isCancelled {
            guard let news = try? leases.claim(Self.role, wait: nil) else { return }
            for await one in news {
                switch one {
                case .held: became(id)
                case .waiting(let holder, _): became(holder)
                case .lost, .gaveUp: became(nil)
                }
            }
            became(nil)
            guard (try? await loop.sleep(for: .seconds(1))) != nil else { return }
        }
    }

    private func became(_ server: NodeID?) {
        let isNew = state.withLock { state in
            defer { state.server = server }
            return state.server != server
        }
        if isNew { telling.changed() }
    }

    private func tellChrony() async {
        let (isOn, wasOn, server, addresses) = state.withLock { state in
            defer { state.isTold = state.isOn }
            return (state.isOn, state.isTold, state.server, state.addresses)
        }
        guard isOn else {
            if wasOn { await tools().engine.leave() }
            return
        }
        let role: ChronyEngine.Role =
            if server == id {
                .serves
            } else if let address = server.flatMap({ addresses[$0]?.first?.address }) { .follows(address) } else {
                .waits
            }
        var trouble: String?
        do throws(EngineFailure) {
            try await tools().engine.use(role, members: addresses.values.flatMap { $0.map(\.address) })
        } catch { trouble = "\(error.problem); \(error.remedy)" }
        let isNew = state.withLock { state in
            defer { state.trouble = trouble }
            return state.trouble != trouble
        }
        if isNew, let trouble { await tell("this node's clock is not kept: \(trouble)") }
        guard trouble == nil else { return }
        let rivals = await loop.run { ChronyEngine.rivals() }
        let isNewRival = state.withLock { state in
            defer { state.rivals = rivals }
            return state.rivals != rivals
        }
        if isNewRival, let words = ChronyEngine.warning(of: rivals) { await tell("\(words.problem): \(words.remedy)") }
    }
    private func tell(_ sentence: String) async {
        await journal.record(EventDraft(type: "failed", subject: "clock", sentence: sentence))
    }

    var trouble: String? { state.withLock { $0.isOn ? $0.trouble : nil } }
    var isOn: Bool { state.withLock { $0.isOn } }

    /// chrony goes on as it is: the others do, and this node comes back.
    func stop() async {
        let (task, waiting) = state.withLock { state in
            state.isStopped = true
            defer { state.waiting = [:] }
            return (state.keeping, Array(state.waiting.values))
        }
        task?.cancel()
        for one in waiting { one.resume.resume(returning: nil) }
        await telling.stop()
        state.withLock { $0.tools.take() }?.loop.stop()
    }
}
