import BrambleAPI
import FoundationEssentials
import Logging
import Primitives
import Reactor

/// What happened, in order, as this node noticed it: the newest in memory, all within bounds in the data directory.
///
/// IDs grow by one for each event, across restarts too, so that a reader can go on where it stopped.
actor EventJournal {
    /// What is kept in memory, and the most a reader may ask for at once.
    static let capacity = 2000
    /// How far a reader of the stream may fall behind before it misses the oldest.
    private static let streamBuffer = 1000

    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private var events: [Event] = []
    private var lastID: UInt64
    private var readers: [UInt64: AsyncStream<Event>.Continuation] = [:]
    private var lastReader: UInt64 = 0
    private let keep: @Sendable (Event) -> Void

    /// `earlier` are the kept events of former runs, oldest first; `keep` writes one down, away from this actor.
    init(on loop: EventLoop, earlier: [Event], keep: @escaping @Sendable (Event) -> Void) {
        self.loop = loop
        events = Array(earlier.suffix(Self.capacity))
        lastID = events.last?.id ?? 0
        self.keep = keep
    }

    /// `at` and `monotonicMs` are of the moment it happened, not of when this actor got round to it.
    func record(_ draft: EventDraft) {
        lastID += 1
        let event = Event(
            id: lastID, at: draft.at, monotonicMs: draft.monotonicMs, type: draft.type, subject: draft.subject,
            by: draft.by, detail: draft.detail, text: draft.sentence)
        events.append(event)
        if events.count > Self.capacity { events.removeFirst(events.count - Self.capacity) }
        keep(event)
        Log.info(draft.sentence)
        for reader in readers.values { reader.yield(event) }
    }

    func events(since id: UInt64?) -> [Event] {
        guard let id else { return events }
        return events.filter { $0.id > id }
    }

    func events(about subject: String) -> [Event] { events.filter { $0.subject == subject } }

    func stream() -> AsyncStream<Event> {
        let (stream, continuation) = AsyncStream<Event>.makeStream(bufferingPolicy: .bufferingNewest(Self.streamBuffer))
        lastReader += 1
        let number = lastReader
        readers[number] = continuation
        continuation.onTermination = { [weak self] _ in
            Task { await self?.forget(number) }
        }
        return stream
    }

    private func forget(_ number: UInt64) { readers[number] = nil }
}

/// An event before it has its number.
struct EventDraft: Sendable {
    var at = Timestamp.now()
    var monotonicMs = Double(SystemClock.monotonicNanoseconds) / 1e6
    var type: String
    var subject: String
    var by: [String] = []
    var detail: [String: JSONValue] = [:]
    /// How it is told in the log: one line, in an operator's words.
    var sentence: String
}
