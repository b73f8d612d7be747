package import Primitives

/// Decides when this node copies a mirror's files to others, and whose copies it takes.
///
/// Files go one way only: from the node that holds the service's lease to the others, with the lease's epoch. A receiver
/// refuses an epoch older than any it has heard of, so a node that lost its service cannot bring old files back. Nothing
/// is pushed while a failure is sensed: until it is clear who is there, nobody overwrites anybody.
package struct MirrorKeeper: Sendable {
    private struct Feed: Equatable {
        var epoch: Epoch
        var isFlushing = false
        /// By target: what it has of this epoch.
        var targets: [NodeID: Target] = [:]
        /// When something was changed last, as far as that is watched.
        var changedAt: Instant?
    }
    private struct Target: Equatable {
        var running: PushNumber?
        var runningSince: Instant?
        /// When the last whole push began: everything older is there.
        var freshAsOf: Instant?
        var nextAt: Instant
        var failures = 0
    }

    private let id: NodeID
    private let config: MirrorConfig
    private var mirrors: [ServiceName: MirrorSpec] = [:]
    private var records: [ServiceName: MirrorRecord]
    private var feeds: [ServiceName: Feed] = [:]
    private var receiving: [ServiceName: Receiving] = [:]
    private var nodes: [NodeID: MirrorPeer] = [:]
    private var isIsolated = false
    private var told: [ServiceName: MirrorFreshness] = [:]
    private var lastPush: UInt64 = 0

    /// One run of a sender, over all paths of a mirror.
    private struct Receiving: Equatable {
        var from: NodeID
        var epoch: Epoch
        var run: UInt64
        var since: Instant
        var pathsDone: Set<String> = []
    }

    /// - Parameter records: what was persisted.
    package init(id: NodeID, records: [MirrorRecord], config: MirrorConfig = MirrorConfig()) {
        self.id = id
        self.config = config
        self.records = Dictionary(records.map { ($0.mirror, $0) }) { first, _ in first }
    }

    // MARK: Events

    package mutating func handle(_ event: MirrorEvent, now: Instant) -> [MirrorEffect] {
        var effects: [MirrorEffect] = []
        switch event {
        case .desired(let specs): take(specs, now, &effects)
        case .nodes(let peers, let isIsolated): take(peers, isIsolated: isIsolated, now, &effects)
        case .feed(let mirror, let epoch): begin(mirror, epoch, now, &effects)
        case .stop(let mirror, let flush): stop(mirror, flush: flush, now, &effects)
        case .changed(let mirror): changed(mirror, now)
        case .runNow(let mirror): hurry(mirror, now)
        case .pushed(let number, let result): pushed(number, result, now, &effects)
        case .heard(let mirror, let epoch): heard(mirror, epoch)
        case .received(let request, let sender, let isComplete, let at):
            received(request, from: sender, isComplete: isComplete, at, now, &effects)
        case .tick: break
        }
        push(now, &effects)
        tellFreshness(now, &effects)
        return effects
    }

    /// Asked before any byte of somebody's push is taken.
    package mutating func decide(_ request: PushRequest, from sender: NodeID, now: Instant) -> PushDecision {
        guard let spec = mirrors[request.mirror] else {
            return .refuse("there is no mirror “\(request.mirror)” here yet")
        }
        guard spec.paths.contains(request.path) else {
            return .refuse("“\(request.path)” does not belong to the mirror “\(request.mirror)” here")
        }
        guard nodes[sender] != nil else { return .refuse("the sender is no member") }
        var record = records[request.mirror] ?? MirrorRecord(mirror: request.mirror)
        guard request.epoch >= record.highest, request.epoch > .none else {
            return .refuse(
                "its epoch \(request.epoch) is older than \(record.highest): another node has served since")
        }
        if let feed = feeds[request.mirror] {
            return .refuse("this node serves these files itself, with epoch \(feed.epoch)")
        }
        if let other = receiving[request.mirror], other.from != sender {
            guard request.epoch > other.epoch else { return .refuse("another node is sending these files just now") }
        }
        record.highest = request.epoch
        records[request.mirror] = record
        let isSameRun = receiving[request.mirror].map { $0.from == sender && $0.run == request.run } ?? false
        if !isSameRun {
            receiving[request.mirror] = Receiving(from: sender, epoch: request.epoch, run: request.run, since: now)
        }
        // Until one whole copy of this epoch is here, what differs may be this node's own work from before.
        let isKnown = record.whole == request.epoch
        let isFirstEver = record.whole == .none && record.fed == .none
        return .accept(parks: !isKnown, isFirstEver: isFirstEver)
    }

    // MARK: For people

    package func report(_ mirror: ServiceName, now: Instant) -> MirrorReport {
        let record = records[mirror] ?? MirrorRecord(mirror: mirror)
        let targets = (feeds[mirror]?.targets ?? [:]).sorted { $0.key < $1.key }.map { node, target in
            MirrorReport.Target(
                node: node, isRunning: target.running != nil, behind: target.freshAsOf.map { now - $0 },
                failures: target.failures)
        }
        return MirrorReport(
            mirror: mirror, feedingWith: feeds[mirror]?.epoch, record: record, targets: targets,
            freshness: freshness(mirror, now), waits: waitReason)
    }
    package var allRecords: [MirrorRecord] { records.keys.sorted().compactMap { records[$0] } }

    // MARK: What should be

    private mutating func take(_ specs: [MirrorSpec], _ now: Instant, _ effects: inout [MirrorEffect]) {
        let old = mirrors
        mirrors = Dictionary(specs.map { ($0.name, $0) }) { first, _ in first }
        for name in old.keys.sorted() where mirrors[name] == nil {
            end(name, &effects)
            receiving[name] = nil
            told[name] = nil
        }
        for name in mirrors.keys.sorted() where feeds[name] != nil && old[name] != mirrors[name] {
            feeds[name]?.targets = [:]
            aim(name, now)
            watch(name, &effects)
        }
    }

    private mutating func take(
        _ peers: [MirrorPeer], isIsolated: Bool, _ now: Instant, _ effects: inout [MirrorEffect]
    ) {
        let before = nodes
        nodes = Dictionary(peers.map { ($0.id, $0) }) { first, _ in first }
        self.isIsolated = isIsolated
        for name in feeds.keys.sorted() {
            aim(name, now)
            // Who comes back gets everything at once, not at the next turn of the clock.
            for peer in peers where peer.state == .alive && before[peer.id].map({ $0.state != .alive }) ?? false {
                feeds[name]?.targets[peer.id]?.nextAt = now
                feeds[name]?.targets[peer.id]?.failures = 0
            }
        }
        for name in receiving.keys.sorted() {
            guard let one = receiving[name], nodes[one.from].map({ $0.state == .down }) ?? true else { continue }
            receiving[name] = nil
        }
    }

    /// The targets of a feed: those named, or all members.
    private mutating func aim(_ name: ServiceName, _ now: Instant) {
        guard let spec = mirrors[name], var feed = feeds[name] else { return }
        let wanted = nodes.values.filter { peer in
            peer.id != id && (spec.to.isEmpty || spec.to.contains(peer.name))
        }.map(\.id)
        feed.targets = feed.targets.filter { wanted.contains($0.key) }
        for node in wanted where feed.targets[node] == nil { feed.targets[node] = Target(nextAt: now) }
        feeds[name] = feed
    }

    // MARK: Being the source

    private mutating func begin(_ name: ServiceName, _ epoch: Epoch, _ now: Instant, _ effects: inout [MirrorEffect]) {
        guard mirrors[name] != nil, feeds[name].map({ epoch > $0.epoch }) ?? true else { return }
        cancelPushes(name, &effects)
        receiving[name] = nil
        feeds[name] = Feed(epoch: epoch)
        var record = records[name] ?? MirrorRecord(mirror: name)
        record.fed = max(record.fed, epoch)
        record.highest = max(record.highest, epoch)
        records[name] = record
        aim(name, now)
        watch(name, &effects)
        effects.append(.persist(record))
    }

    private func watch(_ name: ServiceName, _ effects: inout [MirrorEffect]) {
        guard let spec = mirrors[name] else { return }
        effects.append(.watch(name, spec.schedule == .onChange && feeds[name] != nil ? spec.paths : []))
    }

    private mutating func stop(
        _ name: ServiceName, flush: Bool, _ now: Instant, _ effects: inout [MirrorEffect]
    ) {
        guard var feed = feeds[name] else { return effects.append(.flushed(name, behind: [])) }
        guard flush else {
            end(name, &effects)
            return effects.append(.flushed(name, behind: []))
        }
        feed.isFlushing = true
        // A push that runs began before the last words of the service: one more has to follow it.
        for node in feed.targets.keys {
            feed.targets[node]?.nextAt = now
            feed.targets[node]?.freshAsOf = nil
            feed.targets[node]?.failures = 0
        }
        feeds[name] = feed
        finishFlush(name, &effects)
    }

    /// Flushed when every target that can be reached has a push that began after the stop.
    private mutating func finishFlush(_ name: ServiceName, _ effects: inout [MirrorEffect]) {
        guard let feed = feeds[name], feed.isFlushing else { return }
        let open = feed.targets.filter { node, target in
            nodes[node]?.state == .alive && target.freshAsOf == nil && target.failures < config.flushAttempts
        }
        guard open.isEmpty || waitReason != nil else { return }
        let behind = feed.targets.filter { $0.value.freshAsOf == nil }.keys.sorted()
        end(name, &effects)
        effects.append(.flushed(name, behind: behind))
    }

    private mutating func end(_ name: ServiceName, _ effects: inout [MirrorEffect]) {
        guard feeds[name] != nil else { return }
        cancelPushes(name, &effects)
        feeds[name] = nil
        effects.append(.watch(name, []))
    }

    private mutating func cancelPushes(_ name: ServiceName, _ effects: inout [MirrorEffect]) {
        for (_, target) in (feeds[name]?.targets ?? [:]).sorted(by: { $0.key < $1.key }) {
            if let running = target.running { effects.append(.cancel(running)) }
        }
    }

    private mutating func changed(_ name: ServiceName, _ now: Instant) {
        guard mirrors[name]?.schedule == .onChange else { return }
        feeds[name]?.changedAt = now
        for node in (feeds[name]?.targets ?? [:]).keys {
            guard let target = feeds[name]?.targets[node], target.failures == 0 else { continue }
            let soon = now + config.settle
            feeds[name]?.targets[node]?.nextAt = min(target.nextAt, soon)
        }
    }

    private mutating func hurry(_ name: ServiceName, _ now: Instant) {
        for node in (feeds[name]?.targets ?? [:]).keys {
            feeds[name]?.targets[node]?.nextAt = now
            feeds[name]?.targets[node]?.failures = 0
        }
    }

    /// Why nothing is pushed to anybody just now; nil when pushes may run.
    private var waitReason: String? {
        if isIsolated { return "this node seems to be cut off" }
        let suspects = nodes.values.filter { $0.state == .suspect }.map(\.name).sorted {
            $0.description < $1.description
        }
        return suspects.first.map { "\($0) is suspected: nothing is copied until it is clear who is there" }
    }

    private mutating func push(_ now: Instant, _ effects: inout [MirrorEffect]) {
        for name in feeds.keys.sorted() { finishFlush(name, &effects) }
        guard waitReason == nil else { return }
        var running = feeds.values.reduce(0) { $0 + $1.targets.values.count { $0.running != nil } }
        for name in feeds.keys.sorted() {
            guard let feed = feeds[name] else { continue }
            for node in feed.targets.keys.sorted() where running < config.concurrent {
                guard let target = feed.targets[node], target.running == nil, now >= target.nextAt,
                    nodes[node]?.state == .alive
                else { continue }
                lastPush += 1
                running += 1
                let number = PushNumber(lastPush)
                feeds[name]?.targets[node]?.running = number
                feeds[name]?.targets[node]?.runningSince = now
                effects.append(.push(number, name, to: node, epoch: feed.epoch))
            }
        }
    }

    private mutating func pushed(
        _ number: PushNumber, _ result: PushResult, _ now: Instant, _ effects: inout [MirrorEffect]
    ) {
        for name in feeds.keys.sorted() {
            guard var feed = feeds[name], let (node, found) = feed.targets.first(where: { $0.value.running == number })
            else { continue }
            var target = found
            target.running = nil
            switch result {
            case .done(let files, let bytes):
                target.failures = 0
                // Whoever asked meanwhile, for a flush or by hand, wants a push that began after it.
                let began = target.runningSince ?? now
                let isTooEarly = target.nextAt > began
                target.freshAsOf = isTooEarly && feed.isFlushing ? nil : began
                target.nextAt = isTooEarly ? now : nextPush(name, feed, began: began, now)
                feed.targets[node] = target
                feeds[name] = feed
                var record = records[name] ?? MirrorRecord(mirror: name)
                record.lastFiles = files
                record.lastBytes = bytes
                records[name] = record
                effects.append(.pushedTo(name, node, epoch: feed.epoch, files: files, bytes: bytes))
            case .failed(let reason):
                target.failures += 1
                let backoff = min(config.firstRetry * (1 << min(target.failures - 1, 10)), config.longestRetry)
                target.nextAt = now + backoff
                feed.targets[node] = target
                feeds[name] = feed
                if target.failures == 1 || target.failures % config.failuresToTell == 0 {
                    effects.append(.trouble(name, node, reason: reason, failures: target.failures))
                }
            }
            finishFlush(name, &effects)
            return
        }
    }

    private func nextPush(_ name: ServiceName, _ feed: Feed, began: Instant, _ now: Instant) -> Instant {
        switch mirrors[name]?.schedule {
        case .every(let interval): return max(began + interval, now + config.shortestPause)
        case .onChange:
            // What changed during the push is not surely in it.
            if let changed = feed.changedAt, changed >= began { return now + config.settle }
            // Changes can be missed (an overflow, a directory made and filled at once): look now and then.
            return now + config.recheck
        case nil: return now + config.recheck
        }
    }

    // MARK: Being a copy

    private mutating func heard(_ name: ServiceName, _ epoch: Epoch) {
        var record = records[name] ?? MirrorRecord(mirror: name)
        record.highest = max(record.highest, epoch)
        records[name] = record
    }

    private mutating func received(
        _ request: PushRequest, from sender: NodeID, isComplete: Bool, _ at: String, _ now: Instant,
        _ effects: inout [MirrorEffect]
    ) {
        let name = request.mirror
        guard var one = receiving[name], one.from == sender, one.run == request.run else { return }
        guard isComplete, var record = records[name], one.epoch == record.highest, let spec = mirrors[name] else {
            receiving[name] = nil
            return
        }
        one.pathsDone.insert(request.path)
        receiving[name] = one
        guard one.pathsDone.isSuperset(of: spec.paths) else { return }
        receiving[name] = nil
        record.whole = one.epoch
        record.source = one.from
        record.wholeAt = at
        record.wholeSince = one.since
        records[name] = record
        effects.append(.persist(record))
    }

    private func freshness(_ name: ServiceName, _ now: Instant) -> MirrorFreshness {
        let record = records[name] ?? MirrorRecord(mirror: name)
        if feeds[name] != nil { return .synced(behind: .zero) }
        if record.highest == .none { return .pristine }
        let hasAny = record.whole > .none || record.fed > .none
        let isNewest = max(record.whole, record.fed) == record.highest
        if let one = receiving[name], !hasAny || one.epoch > max(record.whole, record.fed) { return .receiving }
        guard hasAny else { return .never }
        guard isNewest else { return .outdated(has: max(record.whole, record.fed), newest: record.highest) }
        return .synced(behind: record.wholeSince.map { now - $0 } ?? .zero)
    }

    /// When its kind changes, not as it ages.
    private mutating func tellFreshness(_ now: Instant, _ effects: inout [MirrorEffect]) {
        for name in mirrors.keys.sorted() {
            let current = freshness(name, now)
            if let before = told[name], before.isSameKind(as: current) { continue }
            told[name] = current
            effects.append(.freshness(name, current))
        }
    }
}
