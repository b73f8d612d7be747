import Primitives
import Replication

/// Replicators on a table, each over a list of records for a store; messages go through the codec and arrive in order.
final class TinyReplicas {
    final class Node {
        let id: NodeID
        var replicator: Replicator
        /// The log, which may be trimmed, and what was ever applied, as a snapshot has it.
        var log: [Origin: [LogRecord]] = [:]
        var state: Set<String> = []
        var vector = VersionVector()
        var floor = VersionVector()
        var origin: Origin
        var epoch = DatabaseEpoch.first
        var answers: [UInt64: WriteConfirmation] = [:]
        var notices: [ReplicationNotice] = []
        var collected = VersionVector()
        var trims: [VersionVector] = []
        var wall: Int64 = 1_700_000_000_000
        var isDiskFull = false
        /// A record that this one's version does not understand, and how often it was given it.
        var cannotRead: String?
        var readings = 0
        var syncsByItself = true
        var snapshot: (header: SnapshotOffer, bytes: [UInt8], state: Set<String>, vector: VersionVector)?
        var incoming: [UInt8] = []
        var applied = 0
        var absorbed = 0
        var nextTicket: UInt64 = 0
        var logBytes = 0
        var logCount: Int { log.values.reduce(0) { $0 + $1.count } }

        init(_ number: UInt64, now: Instant, config: ReplicatorConfig) {
            id = NodeID(high: 0, low: number)
            origin = Origin(rawValue: number * 100)
            replicator = Replicator(
                id: id, origin: origin, epoch: .first, vector: vector, newest: .zero, isFresh: true, config: config,
                chance: SeededGenerator(seed: number), now: now, wall: wall)
        }
    }

    var nodes: [Node] = []
    var now = Instant(sinceBoot: .seconds(1000))
    /// Pairs that cannot talk.
    var cuts: Set<[Int]> = []
    /// The next messages of these kinds are lost.
    var dropsRecords = 0
    var dropsStates = 0
    var dropsChunks = 0
    var sentRecords = 0
    /// Of each push that was sent, whether it said that somebody waits.
    var pushes: [Bool] = []
    private var queue: [(from: Int, to: Int, bytes: [UInt8])] = []
    let config: ReplicatorConfig

    /// - Parameter pushInterval: of none what is written goes out at once, which most stories are simpler with.
    init(_ count: Int, config: ReplicatorConfig = ReplicatorConfig(), pushInterval: Duration = .zero) {
        var config = config
        config.pushInterval = pushInterval
        self.config = config
        for _ in 0..<count { add() }
        meet()
    }

    func add() { nodes.append(Node(UInt64(nodes.count + 1), now: now, config: config)) }

    /// Its power goes, and comes back: of its own records the last ones are lost, and it goes on under another origin.
    func restart(_ index: Int, losing count: Int = 0) {
        let node = nodes[index]
        let kept = node.log[node.origin, default: []].dropLast(count)
        node.log[node.origin] = Array(kept)
        var heads = node.vector.heads
        heads[node.origin] = kept.last?.sequence
        node.vector = VersionVector(heads)
        node.state = Set(node.log.values.joined().map { String(decoding: $0.body, as: UTF8.self) })
        node.origin = Origin(rawValue: node.origin.rawValue + 1)
        node.answers = [:]
        node.replicator = Replicator(
            id: node.id, origin: node.origin, epoch: node.epoch, vector: node.vector,
            newest: HybridTime(milliseconds: node.wall), isFresh: false, config: config,
            chance: SeededGenerator(seed: node.origin.rawValue), now: now, wall: node.wall)
        queue.removeAll { $0.from == index || $0.to == index }
        for other in nodes.indices where other != index { cuts.insert([min(index, other), max(index, other)]) }
        meet()
        cuts = cuts.filter { !$0.contains(index) }
        meet()
    }

    func isCut(_ a: Int, _ b: Int) -> Bool { cuts.contains([min(a, b), max(a, b)]) }
    func cut(_ a: Int, _ b: Int) {
        cuts.insert([min(a, b), max(a, b)])
        meet()
    }
    func heal() {
        cuts = []
        meet()
    }
    /// Membership tells everybody who is there.
    func meet(members: [Int]? = nil, watching: ((Int, Int) -> Bool)? = nil) {
        let present = members ?? Array(nodes.indices)
        for index in present {
            let reachable = present.filter { $0 != index && !isCut($0, index) && (watching?(index, $0) ?? true) }
            let node = nodes[index]
            carryOut(
                node.replicator.peersChanged(
                    members: present.map { nodes[$0].id }, reachable: reachable.map { nodes[$0].id }, now: now,
                    wall: node.wall), index)
        }
        settle()
    }

    @discardableResult
    func write(_ text: String, at index: Int, _ durability: Durability = .local) -> UInt64 {
        let node = nodes[index]
        let sequence = node.vector[node.origin] + 1
        let record = LogRecord(
            origin: node.origin, sequence: sequence,
            time: HybridTime(
                milliseconds: node.replicator.wallForWriting(node.wall, now: now), counter: UInt16(sequence % 60_000)),
            body: Array(text.utf8))
        keep(record, node)
        node.replicator.committed(record)
        node.nextTicket += 1
        let ticket = WriteTicket(number: node.nextTicket, sequence: sequence, durability: durability)
        carryOut(node.replicator.wait(for: ticket, now: now, wall: node.wall), index)
        carryOut(node.replicator.flush(now: now, wall: node.wall), index)
        if node.syncsByItself { sync(index) }
        settle()
        return node.nextTicket
    }

    func flush(_ index: Int) {
        carryOut(nodes[index].replicator.flush(now: now, wall: nodes[index].wall), index)
        settle()
    }

    func sync(_ index: Int) {
        let node = nodes[index]
        carryOut(node.replicator.syncedHere(node.vector, now: now, wall: node.wall), index)
    }

    private func keep(_ record: LogRecord, _ node: Node) {
        precondition(record.sequence == node.vector[record.origin] + 1, "the replicator let a gap through")
        node.log[record.origin, default: []].append(record)
        node.state.insert(String(decoding: record.body, as: UTF8.self))
        node.vector.advance(record.origin, to: record.sequence)
        node.logBytes += record.body.count
    }

    /// Time passes, everybody ticks.
    func pass(_ duration: Duration) {
        let end = now + duration
        while now < end {
            now = now + .milliseconds(100)
            for index in nodes.indices {
                let node = nodes[index]
                node.wall += 100
                carryOut(node.replicator.tick(logBytes: node.logBytes, now: now, wall: node.wall), index)
                carryOut(node.replicator.flush(now: now, wall: node.wall), index)
            }
            settle()
        }
    }

    /// What a node would tell next of how far it is, changed.
    func standing(of index: Int, _ change: (inout Standing) -> Void) -> Standing {
        var standing = nodes[index].replicator.standings[nodes[index].id]!
        standing.number += 1
        change(&standing)
        return standing
    }

    /// The heartbeats' hash says that two differ.
    func compare() {
        for a in nodes.indices {
            for b in nodes.indices where a != b && !isCut(a, b) {
                guard nodes[a].replicator.digest != nodes[b].replicator.digest else { continue }
                carryOut(nodes[a].replicator.differs(nodes[b].id, now: now, wall: nodes[a].wall), a)
            }
        }
        settle()
    }

    func inject(_ message: ReplicationMessage, from: Int, to: Int) {
        queue.append((from, to, ReplicationCodec.encode(message)))
        settle()
    }

    func settle() {
        var steps = 0
        while !queue.isEmpty {
            steps += 1
            precondition(steps < 200_000, "they never stop talking")
            let (from, to, bytes) = queue.removeFirst()
            guard !isCut(from, to) else { continue }
            guard let message = try? ReplicationCodec.decode(bytes) else { fatalError("unreadable") }
            if case .records = message, dropsRecords > 0 {
                dropsRecords -= 1
                continue
            }
            if case .chunk = message, dropsChunks > 0 {
                dropsChunks -= 1
                continue
            }
            if case .state = message, dropsStates > 0 {
                dropsStates -= 1
                continue
            }
            let node = nodes[to]
            carryOut(node.replicator.received(message, from: nodes[from].id, now: now, wall: node.wall), to)
            carryOut(node.replicator.flush(now: now, wall: node.wall), to)
        }
    }

    private func index(of id: NodeID) -> Int { Int(id.low) - 1 }
    private func send(_ message: ReplicationMessage, from: Int, to id: NodeID) {
        if case .records(_, _, let answer, let isAwaited) = message {
            sentRecords += 1
            if answer == nil { pushes.append(isAwaited) }
        }
        queue.append((from, index(of: id), ReplicationCodec.encode(message)))
    }

    private func carryOut(_ effects: [Replicator.Effect], _ index: Int) {
        let node = nodes[index]
        for effect in effects {
            switch effect {
            case .send(let message, let peer): send(message, from: index, to: peer)
            case .answerPull(let number, let wants, let budget, let peer):
                var records: [LogRecord] = []
                var size = 0
                var isBelow = false
                for want in wants where size < budget {
                    if want.sequence < node.floor[want.origin] {
                        isBelow = true
                        continue
                    }
                    for record in node.log[want.origin] ?? [] where record.sequence > want.sequence && size < budget {
                        records.append(record)
                        size += record.body.count + 28
                    }
                }
                send(
                    .records(records, epoch: node.epoch, answer: PullAnswer(number: number, isBelowFloor: isBelow)),
                    from: index, to: peer)
            case .apply(let records, let peer):
                var done: [LogRecord] = []
                var unreadable: [(Origin, UInt64)] = []
                for record in records where !node.isDiskFull {
                    if let text = node.cannotRead, String(decoding: record.body, as: UTF8.self) == text {
                        unreadable.append((record.origin, record.sequence))
                        node.readings += 1
                    }
                    guard record.sequence == node.vector[record.origin] + 1,
                        unreadable.isEmpty || unreadable[0].0 != record.origin
                    else { continue }
                    keep(record, node)
                    done.append(record)
                    node.applied += 1
                }
                node.replicator.refused(
                    node.isDiskFull ? 0 : records.count - done.count, unreadable: unreadable, now: now)
                carryOut(node.replicator.applied(done, of: records, from: peer, now: now, wall: node.wall), index)
                if node.syncsByItself { sync(index) }
            case .renewOrigin:
                node.origin = Origin(rawValue: node.origin.rawValue + 1)
                carryOut(node.replicator.originTaken(node.origin, now: now, wall: node.wall), index)
            case .answer(let ticket, let confirmation): node.answers[ticket.number] = confirmation
            case .trim(let floor):
                node.trims.append(floor)
                node.floor.formMaximum(floor)
                for origin in floor.origins { node.log[origin]?.removeAll { $0.sequence <= floor[origin] } }
                node.logBytes = node.log.values.flatMap { $0 }.reduce(0) { $0 + $1.body.count }
            case .collect(let stable): node.collected = stable
            case .offerSnapshot(_, _, let peer):
                let bytes = Array(node.state.sorted().joined(separator: "\n").utf8)
                let offer = SnapshotOffer(
                    number: UInt64(bytes.count + 1), epoch: node.epoch, vector: node.vector, size: UInt64(bytes.count),
                    checksum: 0)
                node.snapshot = (offer, bytes, node.state, node.vector)
                send(.offer(offer), from: index, to: peer)
            case .readChunk(let number, let offset, let count, let peer):
                guard let snapshot = node.snapshot, snapshot.header.number == number else {
                    send(.gone(snapshot: number), from: index, to: peer)
                    break
                }
                let piece = Array(snapshot.bytes.dropFirst(Int(offset)).prefix(min(count, 1000)))
                send(.chunk(snapshot: number, offset: offset, bytes: piece), from: index, to: peer)
            case .beginSnapshot:
                node.incoming = []
                carryOut(node.replicator.snapshotBegan(at: 0, now: now, wall: node.wall), index)
            case .storeChunk(let offset, let bytes):
                precondition(Int(offset) == node.incoming.count)
                node.incoming += bytes
            case .install(let offer, let keepsOwn):
                let text = String(decoding: node.incoming, as: UTF8.self)
                let copy = Set(text.split(separator: "\n").map { String($0) })
                let later =
                    keepsOwn
                    ? node.vector.origins.flatMap { origin in
                        (node.log[origin] ?? []).filter { $0.sequence > offer.vector[origin] }
                    } : []
                let lacking = node.vector.origins.contains {
                    node.vector[$0] > offer.vector[$0] && node.floor[$0] > offer.vector[$0]
                }
                if keepsOwn, lacking {
                    // Taken in beside what is here, as `Store.absorb` does.
                    node.absorbed += 1
                    node.state.formUnion(copy)
                    for origin in offer.vector.origins where offer.vector[origin] > node.vector[origin] {
                        node.log[origin] = nil
                        node.floor.advance(origin, to: offer.vector[origin])
                        node.vector.advance(origin, to: offer.vector[origin])
                    }
                } else {
                    node.state = copy
                    node.vector = offer.vector
                    node.floor = offer.vector
                    node.log = [:]
                    node.epoch = offer.epoch
                    node.origin = Origin(rawValue: node.origin.rawValue + 1)
                    for record in later { keep(record, node) }
                }
                carryOut(
                    node.replicator.installed(
                        origin: node.origin, epoch: node.epoch, vector: node.vector, newest: .zero, now: now,
                        wall: node.wall), index)
                if node.syncsByItself { sync(index) }
            case .abandonSnapshot: node.incoming = []
            case .notify(let notice): node.notices.append(notice)
            }
        }
    }

    var areEqual: Bool { nodes.allSatisfy { $0.state == nodes[0].state && $0.vector == nodes[0].vector } }
}
