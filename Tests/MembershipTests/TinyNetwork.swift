import Membership
import Primitives

/// A network of membership cores on one thread, from one seed: delays, loss, cuts, freezes, kills and restarts.
///
/// As in the daemon, a datagram without a session is dropped and begins a handshake instead, which introduces both sides;
/// a restart loses the sessions. Names are single words; node `a` is at 10.0.0.1, and so on.
struct TinyNetwork {
    struct Node {
        var core: Membership
        var isRunning = true
        var frozenUntil: Instant?
        var nextTick: Instant
        /// Waits in the socket's buffer while the node is frozen.
        var socket: [Packet] = []
        var life = 0
        var isSocketLossy = false
    }
    struct Packet {
        var message: Message
        var from: Int
        var path: Endpoint
        var stamp: Instant
        var isIntroduction = false
    }
    struct Line: Equatable, CustomStringConvertible {
        var at: Duration
        var observer: Int
        var notice: Notice
        var description: String { "\(Int(at.milliseconds)) ms, \(TinyNetwork.name(observer)): \(notice)" }
    }
    private struct Event {
        enum What { case tick(Int), arrive(Int, Packet), stream(Int, Int, Message), reach(Int) }
        var at: Instant
        var order: UInt64
        var what: What
    }

    private(set) var nodes: [Node] = []
    private(set) var now = Instant(nanoseconds: 100_000_000_000)
    private(set) var log: [Line] = []
    private(set) var datagrams = 0
    private(set) var persisted = 0
    /// Who asked whom for operator facts.
    private(set) var factsAsked: [[Int]] = []
    private(set) var databasesAsked: [[Int]] = []
    var loss = 0.0
    /// One way, from → to.
    var cuts: Set<[Int]> = []
    /// Networks that carry nothing: addresses 10.NET.0.x.
    var deadNets: Set<Int> = []
    /// Hosts of the reach list answer these nodes.
    var reachable: Set<Int> = []
    private(set) var bytes = 0
    /// Weighs a message; off by default, because it takes time.
    var weigh: ((Message) -> Int)?
    var isHealing: Bool { cuts.isEmpty && loss == 0 }
    var latency: Duration = .microseconds(300)
    var jitter: Duration = .microseconds(400)
    var chance: SeededGenerator
    let config: MembershipConfig
    /// How wrong the kernel's stamps are, by receiver.
    var stampError: [Int: Duration] = [:]
    /// How much later than asked a pulse loop may come round.
    var tickJitter: Duration = .milliseconds(2)
    private let start: Instant
    private let nets: Int
    private var queue: [Event] = []
    private var order: UInt64 = 0
    private var numbers: [NodeID: Int] = [:]
    private var sessions: Set<[Int]> = []
    private var handshakes: [[Int]: Instant] = [:]
    let seed: UInt64

    /// `nets`: how many networks connect all nodes. `areAcquainted`: they know each other from an earlier life.
    init(
        nodes count: Int, seed: UInt64 = 1, config: MembershipConfig = MembershipConfig(), nets: Int = 1,
        areAcquainted: Bool = true
    ) {
        self.nets = nets
        self.seed = seed
        chance = SeededGenerator(seed: seed)
        self.config = config
        start = now
        let records = (0..<count).map { Self.record($0, nets: nets) }
        for number in 0..<count {
            let core = Membership(
                id: Self.id(number), version: records[number].version, profile: records[number].profile,
                known: areAcquainted ? records : [], config: config, chance: chance.fork("node \(number)"), now: now)
            let tick = now + .nanoseconds(Int64(chance.unit() * 25e6))
            nodes.append(Node(core: core, nextTick: tick))
            push(tick, .tick(number))
            numbers[core.id] = number
        }
    }

    // MARK: Naming

    static func id(_ number: Int) -> NodeID {
        var generator = SeededGenerator(seed: UInt64(number) + 77)
        return NodeID(high: generator.next(), low: generator.next())
    }
    static func name(_ number: Int) -> String {
        number < 26 ? String(UnicodeScalar(UInt8(97 + number))) : "n\(number)"
    }
    static func number(_ name: some StringProtocol) -> Int? {
        if name.utf8.count == 1, let letter = name.utf8.first, (97..<123).contains(letter) { return Int(letter) - 97 }
        return name.first == "n" ? Int(name.dropFirst()) : nil
    }
    static func endpoint(_ number: Int, net: Int = 0) -> Endpoint {
        Endpoint(.v4(0x0A00_0001 + UInt32(net) << 16 + UInt32(number)), port: 7771)
    }
    private static func net(of endpoint: Endpoint) -> Int {
        guard case .v4(let word) = endpoint.address else { return 0 }
        return Int(word >> 16 & 0xFF)
    }
    static func record(_ number: Int, nets: Int = 1) -> MemberRecord {
        MemberRecord(
            id: id(number), version: MemberVersion(generation: 1, incarnation: 0), rank: .alive,
            profile: MemberProfile(
                name: NodeName(name(number))!, addresses: (0..<nets).map { endpoint(number, net: $0) },
                software: "0.1.0", birth: 1))
    }
    func addresses(of number: Int) -> [Endpoint] {
        nodes[number].core.record(of: nodes[number].core.id)?.profile.addresses ?? []
    }
    func number(of id: NodeID) -> Int { numbers[id]! }

    // MARK: Faults

    mutating func kill(_ number: Int) {
        nodes[number].isRunning = false
        nodes[number].socket = []
        sessions = sessions.filter { !$0.contains(number) }
    }

    /// A new process with the next generation and, as after a crash, what was last saved of the others.
    mutating func restart(_ number: Int, remembering: Bool = true, generation: UInt32? = nil) {
        let old = nodes[number].core
        kill(number)
        let record = old.record(of: old.id)!
        let version = MemberVersion(generation: generation ?? record.version.generation + 1, incarnation: 0)
        nodes[number].core = Membership(
            id: old.id, version: version, profile: record.profile, known: remembering ? old.records : [],
            config: config, chance: chance.fork("life \(nodes[number].life)"), now: now)
        nodes[number].life += 1
        nodes[number].isRunning = true
        nodes[number].frozenUntil = nil
        nodes[number].nextTick = now
        push(now, .tick(number))
    }

    mutating func freeze(_ number: Int, for duration: Duration, losing: Bool = false) {
        nodes[number].frozenUntil = now + duration
        nodes[number].isSocketLossy = losing
    }
    mutating func cut(_ from: some Collection<Int>, _ to: some Collection<Int>) {
        for a in from {
            for b in to where a != b { cuts.insert([a, b]) }
        }
    }
    mutating func partition(_ left: some Collection<Int>, _ right: some Collection<Int>) {
        cut(left, right)
        cut(right, left)
    }
    mutating func heal() { cuts = [] }

    mutating func tell(_ number: Int, _ event: Membership.Event) {
        carryOut(nodes[number].core.handle(event, now: now), of: number)
    }

    /// A handshake that discovery or an operator began.
    mutating func introduce(_ a: Int, _ b: Int) { handshake(a, b) }

    // MARK: Running

    var elapsed: Duration { now - start }

    mutating func run(for duration: Duration) { run(until: now + duration) }

    /// Until `isDone`, asked every 10 ms; nil when that takes longer than `limit`.
    mutating func run(atMost limit: Duration, until isDone: (TinyNetwork) -> Bool) -> Duration? {
        let began = now
        while now < began + limit {
            run(until: now + .milliseconds(10))
            if isDone(self) { return now - began }
        }
        return nil
    }

    private mutating func run(until end: Instant) {
        while let next = queue.first, next.at <= end {
            popFirst()
            now = next.at
            perform(next.what)
        }
        now = end
    }

    private mutating func perform(_ what: Event.What) {
        switch what {
        case .tick(let number):
            guard nodes[number].isRunning, now >= nodes[number].nextTick else { return }
            if let until = nodes[number].frozenUntil, now < until {
                nodes[number].nextTick = until
                push(until, .tick(number))
                return
            }
            // As the pulse loop does: what waits in the socket first, then the tick.
            nodes[number].frozenUntil = nil
            let waiting = nodes[number].socket
            nodes[number].socket = []
            for packet in waiting { deliver(packet, to: number) }
            carryOut(nodes[number].core.tick(now: now, drained: true), of: number)
            let late = Int64(chance.unit() * Double(tickJitter.nanoseconds))
            nodes[number].nextTick = now + nodes[number].core.tickInterval + .nanoseconds(late)
            push(nodes[number].nextTick, .tick(number))
        case .arrive(let number, var packet):
            guard nodes[number].isRunning else { return }
            packet.stamp = now
            if nodes[number].frozenUntil != nil {
                if !nodes[number].isSocketLossy { nodes[number].socket.append(packet) }
            } else {
                deliver(packet, to: number)
            }
        case .reach(let number):
            if nodes[number].isRunning { carryOut(nodes[number].core.handle(.reachAnswered, now: now), of: number) }
        case .stream(let number, let from, let message):
            guard nodes[number].isRunning, nodes[number].frozenUntil == nil else { return }
            let event = Membership.Event.received(
                message, from: Self.id(from), path: Self.endpoint(from), stamp: now)
            carryOut(nodes[number].core.handle(event, now: now), of: number)
        }
    }

    private mutating func deliver(_ packet: Packet, to number: Int) {
        let event: Membership.Event
        if packet.isIntroduction {
            let peer = nodes[packet.from].core
            guard nodes[packet.from].isRunning, let record = peer.record(of: peer.id) else { return }
            event = .introduced(record, path: packet.path)
        } else {
            guard sessions.contains([packet.from, number]) else { return }
            event = .received(
                packet.message, from: Self.id(packet.from), path: packet.path,
                stamp: packet.stamp + stampError[number, default: .zero])
        }
        carryOut(nodes[number].core.handle(event, now: now), of: number)
    }

    private mutating func carryOut(_ effects: [Membership.Effect], of sender: Int) {
        for effect in effects {
            switch effect {
            case .send(let message, let peer, let endpoint):
                datagrams += 1
                if let weigh { bytes += weigh(message) }
                guard let receiver = numbers[peer] else { continue }  // somebody who is not here
                // Addresses that belong to nobody, or to somebody else, swallow what is sent there.
                guard addresses(of: receiver).contains(endpoint), !deadNets.contains(Self.net(of: endpoint)),
                    let source = addresses(of: sender).first(where: { Self.net(of: $0) == Self.net(of: endpoint) })
                else { continue }
                guard sessions.contains([sender, receiver]) else {
                    handshake(sender, receiver)
                    continue
                }
                transmit(
                    Packet(message: message, from: sender, path: source, stamp: now), to: receiver)
            case .sendReliably(let message, let peer):
                guard let receiver = numbers[peer] else { continue }  // somebody who is not here
                guard !cuts.contains([sender, receiver]), !cuts.contains([receiver, sender]) else { continue }
                push(now + .milliseconds(3), .stream(receiver, sender, message))
            case .notify(let notice): log.append(Line(at: elapsed, observer: sender, notice: notice))
            case .probeReach:
                if reachable.contains(sender) { push(now + .milliseconds(1), .reach(sender)) }
            case .factsDiffer(let peer): factsAsked.append([sender, number(of: peer)])
            case .databaseDiffers(let peer): databasesAsked.append([sender, number(of: peer)])
            case .persist: persisted += 1
            }
        }
    }

    private mutating func transmit(_ packet: Packet, to receiver: Int) {
        guard !cuts.contains([packet.from, receiver]), !chance.chance(loss) else { return }
        push(now + latency + .nanoseconds(Int64(chance.unit() * Double(jitter.nanoseconds))), .arrive(receiver, packet))
    }

    /// Two datagrams each way; at most one attempt per pair in 50 ms.
    private mutating func handshake(_ a: Int, _ b: Int) {
        let pair = [min(a, b), max(a, b)]
        if let last = handshakes[pair], now - last < .milliseconds(50) { return }
        handshakes[pair] = now
        guard nodes[b].isRunning, nodes[a].isRunning, deadNets.count < nets, !cuts.contains([a, b]),
            !cuts.contains([b, a])
        else { return }
        for _ in 0..<3 where chance.chance(loss) { return }
        sessions.insert([a, b])
        sessions.insert([b, a])
        for (from, to) in [(a, b), (b, a)] {
            let hello = Packet(
                message: .ping(nonce: 0, sender: MemberVersion(generation: 0, incarnation: 0)), from: from,
                path: addresses(of: from).first { !deadNets.contains(Self.net(of: $0)) } ?? Self.endpoint(from),
                stamp: now, isIntroduction: true)
            push(now + latency * 3, .arrive(to, hello))
        }
    }

    // MARK: The event queue, a binary heap

    private mutating func push(_ at: Instant, _ what: Event.What) {
        order += 1
        queue.append(Event(at: at, order: order, what: what))
        var child = queue.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard isBefore(child, parent) else { break }
            queue.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func popFirst() {
        queue.swapAt(0, queue.count - 1)
        queue.removeLast()
        var parent = 0
        while true {
            let left = 2 * parent + 1
            guard left < queue.count else { return }
            let smaller = left + 1 < queue.count && isBefore(left + 1, left) ? left + 1 : left
            guard isBefore(smaller, parent) else { return }
            queue.swapAt(smaller, parent)
            parent = smaller
        }
    }
    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        queue[a].at != queue[b].at ? queue[a].at < queue[b].at : queue[a].order < queue[b].order
    }

    // MARK: What the nodes think

    func rank(of subject: Int, at observer: Int) -> MemberRank? {
        nodes[observer].core.rank(of: nodes[subject].core.id)
    }
    func sees(_ observer: Int, _ subject: Int, _ rank: MemberRank) -> Bool {
        self.rank(of: subject, at: observer) == rank
    }

    var running: [Int] { nodes.indices.filter { nodes[$0].isRunning } }

    /// Every running node holds every running node alive, and every other one not.
    var agrees: Bool {
        running.allSatisfy { observer in
            nodes.indices.allSatisfy { subject in
                let rank = rank(of: subject, at: observer)
                return nodes[subject].isRunning ? rank == .alive : rank != .alive && rank != .suspect
            }
        }
    }

    /// Verdicts so far: who said it of whom.
    func failures(of subject: Int? = nil) -> [Line] {
        log.filter { line in
            guard case .failed(let id, _) = line.notice else { return false }
            return subject.map { Self.id($0) == id } ?? true
        }
    }
    func suspicions(by observer: Int? = nil) -> [Line] {
        log.filter { line in
            guard case .suspect = line.notice else { return false }
            return observer.map { $0 == line.observer } ?? true
        }
    }
    mutating func clearLog() { log = [] }
}
