import BrambleAPI
import Leases
import Node
import Primitives
import Reactor

/// Leases that are no service's: people's locks, and roles that the cluster gives to one of its nodes.
///
/// The lease core decides who holds one. Here those of this node who want the same one stand in line, first come first
/// served; each gets an epoch of its own, because the lease is given back between two of them.
final class NamedLeases: Sendable {
    /// What somebody who wants a lease is told.
    enum News: Equatable, Sendable {
        case waiting(holder: NodeID?, reason: String)
        /// Again with each renewal.
        case held(Epoch, until: Instant)
        /// The last word.
        case lost(Epoch, until: Instant, reason: String)
        case gaveUp(holder: NodeID?, reason: String)
    }
    struct Refusal: OperatorError {
        let problem: String
        let remedy: String
    }
    struct Known: Sendable {
        var name: ServiceName
        var holder: NodeID?
        var epoch: Epoch
        var waiting: Int
        /// Since when the holder is known.
        var since: Instant
    }

    private struct Claim {
        var number: UInt64
        var tell: AsyncStream<News>.Continuation
        var timer: EventLoop.Registration?
    }
    private struct Line {
        /// The first has it, or is next.
        var claims: [Claim] = []
        var held: (epoch: Epoch, until: Instant)?
        var holder: NodeID?
        var holderEpoch = Epoch.none
        var since = SystemClock.now
        var reason = ""

        func tellThoseWhoWait() {
            for claim in held == nil ? claims[...] : claims.dropFirst() {
                claim.tell.yield(.waiting(holder: holder, reason: reason))
            }
        }
    }
    private struct State {
        var lines: [LeaseName: Line] = [:]
        var counter: UInt64 = 0
    }
    /// In one line, and lines that anybody here stands in.
    private static let longestLine = 64
    private static let mostLines = 64
    /// Lines that nobody stands in are remembered for what others hold.
    private static let mostKnown = 256
    /// A reader that falls behind needs the newest renewal only.
    private static let backlog = 64

    private let me: NodeID
    private let loop: EventLoop
    private let post: @Sendable (NodeEvent) -> Void
    private let state = Locked(State())

    init(me: NodeID, loop: EventLoop, post: @escaping @Sendable (NodeEvent) -> Void) {
        self.me = me
        self.loop = loop
        self.post = post
    }

    // MARK: Those who want one

    /// Stands in line until the stream is let go. Who lets it go while holding, without `release`, leaves the lease to run
    /// out: what it protected may still be ending.
    ///
    /// - Parameter wait: after so long without getting it, `gaveUp`; nil waits for ever.
    func claim(_ lease: LeaseName, wait: Duration?) throws(Refusal) -> AsyncStream<News> {
        let (stream, tell) = AsyncStream.makeStream(of: News.self, bufferingPolicy: .bufferingNewest(Self.backlog))
        let made = state.withLock { state -> Result<(number: UInt64, isFirst: Bool, news: News), Refusal> in
            let line = state.lines[lease] ?? Line()
            guard line.claims.count < Self.longestLine else {
                return .failure(
                    Refusal(
                        problem: "\(Self.longestLine) commands of this node wait for \(lease) already",
                        remedy: "wait until some of them have had it"))
            }
            guard !line.claims.isEmpty || state.lines.values.count(where: { !$0.claims.isEmpty }) < Self.mostLines
            else {
                return .failure(
                    Refusal(
                        problem: "this node holds or waits for \(Self.mostLines) locks already",
                        remedy: "use fewer names"))
            }
            state.counter += 1
            state.lines[lease] = line
            state.lines[lease]!.claims.append(Claim(number: state.counter, tell: tell))
            return .success((state.counter, line.claims.isEmpty, .waiting(holder: line.holder, reason: line.reason)))
        }
        let (number, isFirst, news) = try made.get()
        tell.onTermination = { [weak self] _ in self?.left(lease, number) }
        tell.yield(news)
        if isFirst { wish(lease, .want(rank: 0)) }
        if let wait {
            let timer = loop.schedule(after: wait) { [weak self] in self?.waitedEnough(lease, number) }
            state.withLock { state in
                guard let place = state.lines[lease]?.claims.firstIndex(where: { $0.number == number }) else { return }
                state.lines[lease]!.claims[place].timer = timer
            }
        }
        return stream
    }

    /// Everything it protected has ended. False when this node does not hold it with that epoch.
    func release(_ lease: LeaseName, epoch: Epoch) -> Bool {
        let tell = state.withLock { state -> AsyncStream<News>.Continuation? in
            guard state.lines[lease]?.held?.epoch == epoch else { return nil }
            state.lines[lease]!.held = nil
            return state.lines[lease]!.claims.removeFirst().tell
        }
        guard let tell else { return false }
        wish(lease, .release)
        wantAgain(lease)
        tell.finish()
        return true
    }

    private func left(_ lease: LeaseName, _ number: UInt64) {
        enum Was { case gone, holder, waiter(isLast: Bool) }
        let (was, timer) = state.withLock { state -> (Was, EventLoop.Registration?) in
            guard let place = state.lines[lease]?.claims.firstIndex(where: { $0.number == number }) else {
                return (.gone, nil)
            }
            let claim = state.lines[lease]!.claims.remove(at: place)
            let isHolder = place == 0 && state.lines[lease]!.held != nil
            if isHolder { state.lines[lease]!.held = nil }
            return (isHolder ? .holder : .waiter(isLast: state.lines[lease]!.claims.isEmpty), claim.timer)
        }
        if let timer { loop.cancel(timer) }
        switch was {
        case .holder:
            wish(lease, .abandon)
            wantAgain(lease)
        case .waiter(isLast: true): wish(lease, .leaveToOthers)
        case .gone, .waiter: break
        }
    }

    /// For the next in line; others who wait elsewhere bid first.
    private func wantAgain(_ lease: LeaseName) {
        guard state.withLock({ $0.lines[lease]?.claims.isEmpty == false }) else { return }
        wish(lease, .want(rank: 1))
    }

    private func waitedEnough(_ lease: LeaseName, _ number: UInt64) {
        let found = state.withLock { state -> (AsyncStream<News>.Continuation, News, isLast: Bool)? in
            guard let line = state.lines[lease], let place = line.claims.firstIndex(where: { $0.number == number }),
                place > 0 || line.held == nil
            else { return nil }
            let claim = state.lines[lease]!.claims.remove(at: place)
            return (claim.tell, .gaveUp(holder: line.holder, reason: line.reason), line.claims.count == 1)
        }
        guard let (tell, news, isLast) = found else { return }
        if isLast { wish(lease, .leaveToOthers) }
        tell.yield(news)
        tell.finish()
    }

    private func wish(_ lease: LeaseName, _ wish: LeaseWish) { post(.lease(.wish(lease, wish))) }

    // MARK: What the core says

    func take(_ effect: LeaseEffect) {
        switch effect {
        case .acquired(let lease, let epoch, let until, _): acquired(lease, epoch, until)
        case .renewed(let lease, let epoch, let until):
            state.withLock { state in
                guard state.lines[lease]?.held?.epoch == epoch else { return }
                state.lines[lease]!.held = (epoch, until)
                state.lines[lease]!.claims.first?.tell.yield(.held(epoch, until: until))
            }
        case .lost(let lease, let epoch, let until, let reason): lost(lease, epoch, until, reason)
        case .refused(let lease, let reason):
            change(lease) { line in
                line.reason = reason
                line.tellThoseWhoWait()
            }
        case .held(let lease, let holder, let epoch):
            change(lease) { line in
                if holder != line.holder || epoch != line.holderEpoch { line.since = SystemClock.now }
                (line.holder, line.holderEpoch) = (holder, epoch)
                line.reason = ""
                line.tellThoseWhoWait()
            }
        case .send, .persist, .probeReach, .probeAddresses, .fence, .notify: break
        }
    }

    private func change(_ lease: LeaseName, _ body: (inout Line) -> Void) {
        state.withLock { state in
            guard state.lines[lease] != nil || state.lines.count < Self.mostKnown else { return }
            body(&state.lines[lease, default: Line()])
        }
    }

    private func acquired(_ lease: LeaseName, _ epoch: Epoch, _ until: Instant) {
        let (isWanted, timer) = state.withLock { state -> (Bool, EventLoop.Registration?) in
            guard let claim = state.lines[lease]?.claims.first else { return (false, nil) }
            state.lines[lease]!.held = (epoch, until)
            (state.lines[lease]!.holder, state.lines[lease]!.holderEpoch) = (me, epoch)
            state.lines[lease]!.since = SystemClock.now
            state.lines[lease]!.claims[0].timer = nil
            claim.tell.yield(.held(epoch, until: until))
            return (true, claim.timer)
        }
        if let timer { loop.cancel(timer) }
        // Whoever wanted it left while it was on its way.
        if !isWanted { wish(lease, .release) }
    }

    private func lost(_ lease: LeaseName, _ epoch: Epoch, _ until: Instant, _ reason: String) {
        let tell = state.withLock { state -> AsyncStream<News>.Continuation? in
            guard state.lines[lease]?.held?.epoch == epoch else { return nil }
            state.lines[lease]!.held = nil
            return state.lines[lease]!.claims.removeFirst().tell
        }
        guard let tell else { return }
        tell.yield(.lost(epoch, until: until, reason: reason))
        tell.finish()
        if state.withLock({ $0.lines[lease]?.claims.isEmpty ?? true }) { wish(lease, .leaveToOthers) }
    }

    // MARK: For people

    /// The locks that are held or waited for, as far as is known here, by name.
    func known(_ kind: LeaseName.Kind) -> [Known] {
        state.withLock { state in
            state.lines.filter { $0.key.kind == kind }.map { lease, line in
                Known(
                    name: lease.name, holder: line.held == nil ? line.holder : me,
                    epoch: line.held?.epoch ?? line.holderEpoch,
                    waiting: line.claims.count - (line.held == nil ? 0 : 1), since: line.since)
            }.filter { $0.holder != nil || $0.waiting > 0 }.sorted { $0.name < $1.name }
        }
    }
}

extension Member {
    func lock(_ name: String) throws(APIError) -> LeaseName {
        guard let name = ServiceName(name) else {
            throw APIError(
                problem: "“\(name)” is no name for a lock", remedy: "use \(ServiceName.rule)", kind: .invalid)
        }
        return .lock(name)
    }

    func locks() async -> [LockInfo] {
        let storyteller = Storyteller(names: await pulse.snapshot.names, selfID: home.identity.id)
        return leases.known(.lock).map { known in
            LockInfo(
                name: known.name.description, node: known.holder.map(storyteller.name), epoch: known.epoch.number,
                waiting: known.waiting, since: known.holder == nil ? nil : Timestamp.of(known.since))
        }
    }

    func hold(lock name: String, wait: Duration?) async throws(APIError) -> AsyncStream<LockNews> {
        let lease = try lock(name)
        let storyteller = Storyteller(names: await pulse.snapshot.names, selfID: home.identity.id)
        let news: AsyncStream<NamedLeases.News>
        do throws(NamedLeases.Refusal) {
            news = try leases.claim(lease, wait: wait)
        } catch {
            throw APIError(problem: error.problem, remedy: error.remedy, kind: .tooMany)
        }
        return AsyncStream(bufferingPolicy: .bufferingNewest(64)) { continuation in
            let task = Task {
                for await one in news { continuation.yield(LockNews(one, storyteller)) }
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    func release(lock name: String, epoch: UInt64) async throws(APIError) -> LockInfo {
        let lease = try lock(name)
        guard leases.release(lease, epoch: Epoch(epoch)) else {
            throw APIError(
                problem: "this node does not hold the lock “\(name)” with epoch \(epoch)",
                remedy: "it was lost or given back before; who holds it: bramble lock", kind: .refused)
        }
        return LockInfo(name: name, node: nil, epoch: epoch, waiting: 0)
    }
}

extension LockNews {
    fileprivate init(_ news: NamedLeases.News, _ storyteller: Storyteller) {
        switch news {
        case .waiting(let holder, let reason):
            self.init(state: .waiting, holder: holder.map(storyteller.name), reason: reason)
        case .held(let epoch, let until):
            self.init(state: .held, epoch: epoch.number, untilNs: until.nanoseconds)
        case .lost(let epoch, let until, let reason):
            self.init(state: .lost, epoch: epoch.number, untilNs: until.nanoseconds, reason: reason)
        case .gaveUp(let holder, let reason):
            self.init(state: .gaveUp, holder: holder.map(storyteller.name), reason: reason)
        }
    }
}
