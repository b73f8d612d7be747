import Primitives
import Reactor
import Services
import Transport
import Volumes
import Wire

/// What the nodes tell and ask each other about volumes.
final class VolumeExchange: Sendable {
    /// Who wants to know, and who answers.
    struct Listener: Sendable {
        /// Some node is not as it was, this one or another.
        var changed: @Sendable () -> Void
        /// The node that looks after the volumes says something new; with or without a volume or brick that came or went.
        var led: @Sendable (_ isOfBricks: Bool) -> Void
        /// What stands in the way of a brick of a volume on this node; empty where nothing does.
        var examine: @Sendable (Volume) async -> String
    }
    private struct State {
        var listener: Listener?
        var addresses: [NodeID: [Endpoint]] = [:]
        /// By node; this one's is always there.
        var reports: [NodeID: VolumeReport]
        /// The last that was sent, and when.
        var sent: (report: VolumeReport, at: Instant)?
        var waiting: [UInt64: (peer: NodeID, resume: CheckedContinuation<String?, Never>)] = [:]
        var counter: UInt64 = 0
    }
    /// Others are told again so often, for those who have just come.
    private static let retelling = Duration.seconds(10)
    private static let answerTime = Duration.seconds(10)
    private static let mostWaiting = 256

    private let id: NodeID
    private let worker: EventLoop
    private let send: @Sendable (Frame, NodeID, [Endpoint]) -> Void
    private let state: Locked<State>

    init(id: NodeID, worker: EventLoop, send: @escaping @Sendable (Frame, NodeID, [Endpoint]) -> Void) {
        self.id = id
        self.worker = worker
        self.send = send
        state = Locked(State(reports: [id: VolumeReport()]))
    }

    func begin(_ listener: Listener) { state.withLock { $0.listener = listener } }

    func stop() {
        let waiting = state.withLock { state in
            defer { (state.waiting, state.listener) = ([:], nil) }
            return state.waiting.values.map(\.resume)
        }
        for one in waiting { one.resume(returning: nil) }
    }

    func peersChanged(_ reachable: [(NodeID, [Endpoint])]) {
        state.withLock { $0.addresses = Dictionary(reachable) { first, _ in first } }
    }

    // MARK: Reports

    var reports: [NodeID: VolumeReport] { state.withLock { $0.reports } }
    var own: VolumeReport { reports[id]! }

    /// This node's own part of its report.
    func set(_ report: VolumeReport) {
        state.withLock { state in
            var report = report
            let old = state.reports[id]!
            (report.isLeading, report.standings) = (old.isLeading, old.standings)
            state.reports[id] = report
        }
    }
    /// What it says as the node that looks after the volumes, nil where it does not. True when that is news.
    func set(_ standings: [VolumeStanding]?) -> Bool {
        state.withLock { state in
            let old = state.reports[id]!
            var report = old
            (report.isLeading, report.standings) = (standings != nil, standings ?? [])
            state.reports[id] = report
            return report != old
        }
    }

    /// Where there is something to tell, or it is time again.
    func tell() {
        let (own, isNews, addresses, listener) = state.withLock { state in
            let own = state.reports[id]!
            let isNews = state.sent?.report != own
            let isDue = isNews || SystemClock.now - (state.sent?.at ?? .zero) > Self.retelling
            if isDue { state.sent = (own, SystemClock.now) }
            return (own, isNews, isDue ? state.addresses : [:], state.listener)
        }
        let frame = Frame(.volume, payload: VolumeMessage.report(own).encoded)
        for (peer, endpoints) in addresses { send(frame, peer, endpoints) }
        if isNews { listener?.changed() }
    }

    func received(_ bytes: [UInt8], from peer: NodeID) {
        guard let message = try? VolumeMessage(encoded: bytes) else { return }
        switch message {
        case .report(let report):
            let (before, listener) = state.withLock { ($0.reports.updateValue(report, forKey: peer), $0.listener) }
            if report.isLeading, before?.standings != report.standings {
                let shape = { (standing: VolumeStanding) in (standing.isStarted ? [standing.bricks] : []) }
                listener?.led(before?.standings.map(shape) != report.standings.map(shape))
            }
            if before != report { listener?.changed() }
        case .question(let number, let row):
            guard let volume = try? Volume(row: row) else { return }
            let (endpoints, listener) = state.withLock { ($0.addresses[peer] ?? [], $0.listener) }
            guard let listener else { return }
            Task {
                let answer = VolumeMessage.answer(number: number, trouble: await listener.examine(volume))
                send(Frame(.volume, payload: answer.encoded), peer, endpoints)
            }
        case .answer(let number, let trouble):
            let waiting = state.withLock { state in
                state.waiting[number]?.peer == peer ? state.waiting.removeValue(forKey: number) : nil
            }
            waiting?.resume.resume(returning: trouble)
        }
    }

    // MARK: Questions

    /// What stands in the way of a brick of a volume on that node; nil when it does not answer in time.
    func ask(_ peer: NodeID, _ volume: Volume) async -> String? {
        let (number, endpoints) = state.withLock { state -> (UInt64?, [Endpoint]) in
            guard state.waiting.count < Self.mostWaiting, state.listener != nil else { return (nil, []) }
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
}
