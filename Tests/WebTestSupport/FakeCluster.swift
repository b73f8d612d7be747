package import BrambleAPI
import FoundationEssentials
import Reactor

/// A cluster that exists in memory only, behind the same door as the real one, so that the web server can be tried
/// without a network: nodes can be killed and revived, machines wait, events happen.
package final class FakeCluster: BrambleService {
    package struct State: Sendable {
        package var cluster = "orchard"
        package var nodes: [NodeInfo] = []
        package var edges: [WatchEdge] = []
        package var waiting: [WaitingMachine] = []
        package var events: [Event] = []
        package var tokens: [String: String] = [:]  // name: secret
        package var passwords = ["admin": "correct horse"]
        package var phase = ClusterStatus.State.member
        package var notes: [String] = []
        /// How often the node was asked for its status.
        package var statusCalls = 0
        package var passwordChecks = 0
        package var checksAtOnce = 0
        package var mostChecksAtOnce = 0
        package var changes: [String] = []
        package var database = FakeDatabase()
        package var services = FakeServices()
        fileprivate var listeners: [UInt64: AsyncStream<Event>.Continuation] = [:]
        fileprivate var nextListener: UInt64 = 0
    }
    private let state: Locked<State>
    /// Called before a password is checked: tests make it slow with this.
    private let beforePassword: @Sendable () async -> Void
    /// Called before the nodes are told.
    private let beforeNodes: @Sendable () async -> Void

    package init(
        nodes: Int = 3, names: [String]? = nil, beforePassword: @escaping @Sendable () async -> Void = {},
        beforeNodes: @escaping @Sendable () async -> Void = {}
    ) {
        self.beforePassword = beforePassword
        self.beforeNodes = beforeNodes
        state = Locked(State())
        for name in names ?? (1...max(nodes, 1)).map({ "node\($0)" }) { join(name) }
    }

    package func change<Result>(_ body: (inout State) -> sending Result) -> sending Result { state.withLock(body) }
    package var listenerCount: Int { state.withLock { $0.listeners.count } }

    // MARK: Things that happen

    package func join(_ name: String) {
        state.withLock { state in
            let number = state.nodes.count + 1
            state.nodes.append(
                NodeInfo(
                    name: name, id: Self.id(name), address: "10.77.0.\(number)", port: 7771,
                    addresses: ["10.77.0.\(number)", "fd77::\(number)"], state: .alive, phi: number == 1 ? nil : 0.3,
                    threshold: 8, incarnation: 1, since: Self.time, isSelf: number == 1, version: "0.1.0",
                    load: NodeLoad(
                        cpu: 0.04 * Double(number % 9), memory: 0.2 + 0.05 * Double(number % 7), load1: 0.31,
                        load5: 0.22,
                        load15: 0.18, temperature: 41.5 + Double(number % 5))))
            for other in state.nodes.dropLast().suffix(10) {
                state.edges.append(WatchEdge(from: other.name, to: name, state: .up, phi: 0.2, rttMs: 0.4))
                state.edges.append(WatchEdge(from: name, to: other.name, state: .up, phi: 0.2, rttMs: 0.4))
            }
        }
        happen("joined", name, by: [], detail: ["address": .string("10.77.0.1")], text: "\(name) joined")
    }

    package func wait(_ name: String, code: String) {
        state.withLock { state in
            state.waiting.append(
                WaitingMachine(
                    name: name, id: Self.id(name), code: code, address: "10.77.0.99", port: 7771, reason: .noKey,
                    since: Self.time))
        }
    }

    package func setPhi(_ name: String, _ phi: Double) {
        state.withLock { state in
            for index in state.nodes.indices where state.nodes[index].name == name { state.nodes[index].phi = phi }
            for index in state.edges.indices where state.edges[index].to == name { state.edges[index].phi = phi }
        }
    }

    package func kill(_ name: String) {
        let observers = state.withLock { state in
            for index in state.nodes.indices where state.nodes[index].name == name {
                state.nodes[index].state = .down
                state.nodes[index].phi = 24.6
                state.nodes[index].since = Self.time
                state.nodes[index].load = nil
            }
            for index in state.edges.indices where state.edges[index].to == name || state.edges[index].from == name {
                state.edges[index].state = .down
            }
            return state.nodes.filter { $0.name != name && $0.state == .alive }.map(\.name)
        }
        happen(
            "suspect", name, by: Array(observers.prefix(1)),
            detail: ["phi": .number(8.1), "silenceMs": .number(402), "unansweredProbes": .integer(1)],
            text:
                "\(name) is suspect: \(observers.first ?? "nobody") heard nothing for 402 ms (φ 8.1), and 1 probe went unanswered"
        )
        let count = observers.count
        happen(
            "down", name, by: observers,
            detail: [
                "phi": .number(9.4), "silenceMs": .number(431), "accusers": .integer(Int64(count)),
                "observers": .integer(Int64(count)), "needed": .integer(Int64(max(count - 1, 1))),
                "defenders": .integer(0),
                "confirmed": .bool(true),
            ],
            text: "\(name) is down: \(count) of \(count) observers heard nothing for up to 431 ms (φ 9.4), "
                + "\(max(count - 1, 1)) had to agree, none still had contact")
    }

    /// Suspicion and load as they move in a healthy cluster.
    package func breathe(step: Int) {
        state.withLock { state in
            for index in state.nodes.indices where state.nodes[index].state == .alive {
                let wave = Double((step * 7 + index * 13) % 23) / 23
                if !state.nodes[index].isSelf { state.nodes[index].phi = 0.1 + wave * 1.4 }
                if step % 10 == 0 { state.nodes[index].load?.cpu = 0.03 + wave * 0.3 }
            }
            for index in state.edges.indices where state.edges[index].state == .up {
                state.edges[index].phi = 0.1 + Double((step * 5 + index * 3) % 17) / 12
            }
        }
    }

    /// `to` hears `from` no more, but `from` still hears `to`.
    package func cut(_ from: String, to: String) {
        state.withLock { state in
            for index in state.edges.indices where state.edges[index].from == to && state.edges[index].to == from {
                state.edges[index].state = .down
            }
        }
    }

    package func revive(_ name: String) {
        state.withLock { state in
            for index in state.nodes.indices where state.nodes[index].name == name {
                state.nodes[index].state = .alive
                state.nodes[index].phi = 0.3
                state.nodes[index].since = Self.time
                state.nodes[index].incarnation += 1
            }
            for index in state.edges.indices where state.edges[index].to == name || state.edges[index].from == name {
                state.edges[index].state = .up
            }
        }
        happen("alive", name, by: [name], detail: ["after": .string("down")], text: "\(name) is alive again")
    }

    @discardableResult
    package func happen(
        _ type: String, _ subject: String, by: [String], detail: [String: JSONValue], text: String = ""
    ) -> Event {
        let (event, listeners) = state.withLock { state in
            let event = Event(
                id: (state.events.last?.id ?? 0) + 1, at: Self.time, monotonicMs: 1000, type: type, subject: subject,
                by: by, detail: detail, text: text)
            state.events.append(event)
            return (event, Array(state.listeners.values))
        }
        for listener in listeners { listener.yield(event) }
        return event
    }

    private static var time: String { Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
    private static func id(_ name: String) -> String {
        String(
            name.utf8.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }, radix: 16)
    }

    // MARK: BrambleService

    package func nodes() async -> [NodeInfo] {
        await beforeNodes()
        return state.withLock { $0.nodes }
    }
    package func status() async -> ClusterStatus {
        state.withLock { state in
            state.statusCalls += 1
            let alive = state.nodes.count { $0.state == .alive }
            return ClusterStatus(
                cluster: state.cluster, node: state.nodes.first?.name ?? "",
                state: state.phase == .member && state.nodes.count == 1 ? .alone : state.phase,
                nodes: .init(alive: alive, down: state.nodes.count - alive),
                guarantee: state.nodes.count >= 3
                    ? "majority" : state.nodes.count == 2 ? "single-fault" : "best-effort",
                uptimeSeconds: 4321, id: state.nodes.first?.id ?? "", code: "QRST UVWX YZAB", version: "0.1.0",
                notes: state.notes, duty: state.nodes.first?.duty
            )
        }
    }
    package func edges() async -> [WatchEdge] { state.withLock { $0.edges } }
    package func events(since id: UInt64?) async -> [Event] {
        state.withLock { state in state.events.filter { $0.id > id ?? 0 } }
    }
    package func eventStream() async -> AsyncStream<Event> {
        let (stream, continuation) = AsyncStream<Event>.makeStream(bufferingPolicy: .bufferingNewest(1000))
        let number = state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = continuation
            return state.nextListener
        }
        continuation.onTermination = { [state] _ in state.withLock { $0.listeners[number] = nil } }
        return stream
    }
    package func why(_ name: String) async throws(APIError) -> Explanation {
        if let service = state.withLock({ $0.services.services.first { $0.name == name } }) { return Self.why(service) }
        guard let node = state.withLock({ $0.nodes.first { $0.name == name } }) else { throw Self.unknown(name) }
        let first = state.withLock { $0.nodes[0].name }
        guard node.state == .down else {
            return Explanation(
                subject: name,
                answer: node.isSelf
                    ? "\(name) is alive: it is the node that answers you"
                    : "\(name) is alive since 07:14: its suspicion here is φ 0.3, and 8.0 would make a report",
                because: [.init(at: node.since, text: "\(first) hears its heartbeats", figures: ["phi": .number(0.3)])])
        }
        return Explanation(
            subject: name,
            answer:
                "\(name) is down: 4 of 4 observers heard nothing for up to 431 ms (φ 9.4), 3 had to agree, none still "
                + "had contact",
            because: [
                .init(
                    at: node.since, text: "\(first) heard nothing for 431 ms (φ 9.4), and 1 probe went unanswered",
                    figures: ["phi": .number(9.4), "silenceMs": .number(431), "unansweredProbes": .integer(1)])
            ])
    }
    package func waiting() async -> [WaitingMachine] { state.withLock { $0.waiting } }
    package func add(_ name: String) async throws(APIError) -> NodeChange {
        let machine = state.withLock { state in
            let machine = state.waiting.first { $0.name == name || $0.id == name || $0.code == name }
            state.waiting.removeAll { $0.id == machine?.id }
            return machine
        }
        guard let machine else { throw Self.unknown(name) }
        state.withLock { $0.changes.append("add \(machine.name)") }
        join(machine.name)
        return NodeChange(name: machine.name, done: "\(machine.name) has the cluster key and is joining")
    }
    package func remove(_ name: String) async throws(APIError) -> NodeChange {
        guard state.withLock({ $0.nodes.contains { $0.name == name } }) else { throw Self.unknown(name) }
        state.withLock { state in
            state.nodes.removeAll { $0.name == name }
            state.edges.removeAll { $0.from == name || $0.to == name }
            state.changes.append("remove \(name)")
        }
        happen("removed", name, by: ["node1"], detail: [:])
        return NodeChange(name: name, done: "\(name) is removed, and the rest have a new cluster key")
    }
    package func probe(_ host: String) async throws(APIError) -> NodeChange {
        guard host != "nowhere" else {
            throw APIError(
                problem: "no bramble answers at nowhere", remedy: "start bramble there, and check UDP 7771",
                kind: .unavailable)
        }
        return NodeChange(name: host, done: "\(host) was found and is joining")
    }
    package func doctor() async -> [DoctorCheck] {
        [
            DoctorCheck(
                check: "tls", state: .warn, text: "the dashboard is plain HTTP: passwords cross the network readable",
                remedy: "set tls: self in /etc/bramble/bramble.yaml"),
            DoctorCheck(check: "clock", state: .ok, text: "the clock is within 2 ms of the other nodes", remedy: ""),
        ]
    }
    package func version() async -> VersionInfo { VersionInfo(version: "0.1.0", protocolVersion: 1) }
    package func metrics() async -> String { "# TYPE bramble_nodes gauge\nbramble_nodes 3\n" }

    package func authenticate(user: String, password: String) async -> Bool {
        state.withLock { state in
            state.passwordChecks += 1
            state.checksAtOnce += 1
            state.mostChecksAtOnce = max(state.mostChecksAtOnce, state.checksAtOnce)
        }
        await beforePassword()
        return state.withLock { state in
            state.checksAtOnce -= 1
            return state.passwords[user] == password
        }
    }
    package func setPassword(user: String, password: String) async throws(APIError) -> String {
        guard password.count >= 8 else {
            throw APIError(
                problem: "the password is shorter than 8 characters", remedy: "choose a longer one", kind: .invalid)
        }
        state.withLock { $0.passwords[user] = password }
        return ""
    }
    package func authenticate(token: String) async -> String? {
        state.withLock { $0.tokens.first { $0.value == token }?.key }
    }
    package func tokens() async -> [TokenInfo] {
        state.withLock { $0.tokens.keys.sorted().map { TokenInfo(name: $0, created: "2026-01-01T00:00:00Z") } }
    }
    package func createToken(_ name: String) async throws(APIError) -> NewToken {
        let secret = "secret-of-\(name)"
        let isNew = state.withLock { state in state.tokens.updateValue(secret, forKey: name) == nil }
        guard isNew else {
            throw APIError(
                problem: "there is a token “\(name)” already", remedy: "choose another name, or revoke it first")
        }
        return NewToken(name: name, token: secret)
    }
    package func revokeToken(_ name: String) async throws(APIError) -> String {
        guard state.withLock({ $0.tokens.removeValue(forKey: name) != nil }) else { throw Self.unknown(name) }
        return ""
    }

    private static func unknown(_ name: String) -> APIError {
        APIError(problem: "there is no “\(name)” here", remedy: "the list shows what there is", kind: .notFound)
    }
}
