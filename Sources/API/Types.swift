// What people and their scripts see: the JSON of the CLI and of the HTTP API. Fields are added, never changed or dropped.

public enum NodeState: String, Codable, CaseIterable, Sendable { case alive, suspect, down, left }

/// One node as the asked node sees it.
public struct NodeInfo: Codable, Equatable, Sendable {
    public var name: String
    public var id: String
    /// The preferred address; `addresses` has all.
    public var address: String
    public var port: Int
    public var addresses: [String]
    public var state: NodeState
    /// Suspicion: −log10 of the chance that a silence this long happens while the node lives. Null where nobody can
    /// tell, which is so for nodes that this one does not watch itself.
    public var phi: Double?
    public var threshold: Double
    public var incarnation: UInt64
    /// When the state began, ISO 8601.
    public var since: String
    /// `self` in JSON.
    public var isSelf: Bool
    public var version: String
    public var load: NodeLoad?
    /// What an operator ordered: `held` runs nothing, `drained` takes nothing new. Null without an order.
    public var duty: Standby?
    /// What operators call it: `role` is `web`, `rack` is `a`.
    public var labels: [String: String]

    /// `witness`: it only votes, has no services, no database and no web server.
    public var role: Role

    public enum Standby: String, Codable, CaseIterable, Sendable { case held, drained }
    public enum Role: String, Codable, CaseIterable, Sendable { case node, witness }

    enum CodingKeys: String, CodingKey {
        case name, id, address, port, addresses, state, phi, threshold, incarnation, since, version, load, duty, labels
        case role
        case isSelf = "self"
    }
    public init(
        name: String, id: String, address: String, port: Int, addresses: [String], state: NodeState, phi: Double?,
        threshold: Double, incarnation: UInt64, since: String, isSelf: Bool, version: String, load: NodeLoad?,
        duty: Standby? = nil, labels: [String: String] = [:], role: Role = .node
    ) {
        self.name = name
        self.id = id
        self.address = address
        self.port = port
        self.addresses = addresses
        self.state = state
        self.phi = phi
        self.threshold = threshold
        self.incarnation = incarnation
        self.since = since
        self.isSelf = isSelf
        self.version = version
        self.load = load
        self.duty = duty
        self.labels = labels
        self.role = role
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.decode(String.self, forKey: .name)
        id = try container.decode(String.self, forKey: .id)
        address = try container.decode(String.self, forKey: .address)
        port = try container.decode(Int.self, forKey: .port)
        addresses = try container.decode([String].self, forKey: .addresses)
        state = try container.decode(NodeState.self, forKey: .state)
        phi = try container.decodeIfPresent(Double.self, forKey: .phi)
        threshold = try container.decode(Double.self, forKey: .threshold)
        incarnation = try container.decode(UInt64.self, forKey: .incarnation)
        since = try container.decode(String.self, forKey: .since)
        isSelf = try container.decode(Bool.self, forKey: .isSelf)
        version = try container.decode(String.self, forKey: .version)
        load = try container.decodeIfPresent(NodeLoad.self, forKey: .load)
        duty = try container.decodeIfPresent(Standby.self, forKey: .duty)
        labels = try container.decodeIfPresent([String: String].self, forKey: .labels) ?? [:]
        role = try container.decodeIfPresent(Role.self, forKey: .role) ?? .node
    }
}

/// How busy a machine is. Rides on heartbeats, is never stored.
public struct NodeLoad: Codable, Equatable, Sendable {
    /// Share of all cores in use, 0 to 1.
    public var cpu: Double
    /// Share of memory in use, 0 to 1.
    public var memory: Double
    public var load1: Double
    public var load5: Double
    public var load15: Double
    /// Degrees Celsius; null without a sensor.
    public var temperature: Double?

    public init(cpu: Double, memory: Double, load1: Double, load5: Double, load15: Double, temperature: Double?) {
        self.cpu = cpu
        self.memory = memory
        self.load1 = load1
        self.load5 = load5
        self.load15 = load15
        self.temperature = temperature
    }
}

/// One thing that happened, as this node noticed it.
public struct Event: Codable, Equatable, Sendable {
    /// Grows by one for each event of this node, across restarts too.
    public var id: UInt64
    /// Wall clock, ISO 8601 with milliseconds.
    public var at: String
    /// CLOCK_MONOTONIC: events of nodes on one host compare.
    public var monotonicMs: Double
    /// joined suspect down alive left removed stalled isolated acquired released started stopped failed conflict …
    public var type: String
    /// A node's or service's name.
    public var subject: String
    /// Names of the nodes that say so.
    public var by: [String]
    public var detail: [String: JSONValue]
    /// The same in one sentence for people; empty in events of a version that had none.
    public var text: String

    public init(
        id: UInt64, at: String, monotonicMs: Double, type: String, subject: String, by: [String],
        detail: [String: JSONValue], text: String = ""
    ) {
        self.id = id
        self.at = at
        self.monotonicMs = monotonicMs
        self.type = type
        self.subject = subject
        self.by = by
        self.detail = detail
        self.text = text
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        id = try container.decode(UInt64.self, forKey: .id)
        at = try container.decode(String.self, forKey: .at)
        monotonicMs = try container.decode(Double.self, forKey: .monotonicMs)
        type = try container.decode(String.self, forKey: .type)
        subject = try container.decode(String.self, forKey: .subject)
        by = try container.decode([String].self, forKey: .by)
        detail = try container.decode([String: JSONValue].self, forKey: .detail)
        text = try container.decodeIfPresent(String.self, forKey: .text) ?? ""
    }
}

public struct ClusterStatus: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable { case alone, joining, member, removed }
    public struct Counts: Codable, Equatable, Sendable {
        public var alive: Int
        public var down: Int
        public init(alive: Int, down: Int) {
            self.alive = alive
            self.down = down
        }
    }
    public var cluster: String
    public var node: String
    public var state: State
    public var nodes: Counts
    /// What the cluster can promise now, in one word; services refine it.
    public var guarantee: String
    /// What breaks the tie of two nodes; absent where there is none.
    public var witness: WitnessStatus?
    public var uptimeSeconds: Double
    /// This node's ID and the code an operator compares.
    public var id: String
    public var code: String
    public var version: String
    /// What a person should know or do now; empty when all is well.
    public var notes: [String]
    /// What an operator ordered this node; null without an order.
    public var duty: NodeInfo.Standby?

    public init(
        cluster: String, node: String, state: State, nodes: Counts, guarantee: String, uptimeSeconds: Double,
        id: String, code: String, version: String, notes: [String], witness: WitnessStatus? = nil,
        duty: NodeInfo.Standby? = nil
    ) {
        self.cluster = cluster
        self.node = node
        self.state = state
        self.nodes = nodes
        self.guarantee = guarantee
        self.uptimeSeconds = uptimeSeconds
        self.id = id
        self.code = code
        self.version = version
        self.notes = notes
        self.witness = witness
        self.duty = duty
    }
}

/// A witness as a node sees it.
public struct WitnessStatus: Codable, Equatable, Sendable {
    public var name: String
    public var state: NodeState
    /// False until the nodes have taken it among those who vote, and where their number is odd without it.
    public var votes: Bool
    public init(name: String, state: NodeState, votes: Bool) {
        self.name = name
        self.state = state
        self.votes = votes
    }
}

/// Why a node or a service is as it is.
public struct Explanation: Codable, Equatable, Sendable {
    public struct Reason: Codable, Equatable, Sendable {
        public var at: String
        public var text: String
        public var figures: [String: JSONValue]
        public init(at: String, text: String, figures: [String: JSONValue]) {
            self.at = at
            self.text = text
            self.figures = figures
        }
    }
    public var subject: String
    public var answer: String
    public var because: [Reason]
    public init(subject: String, answer: String, because: [Reason]) {
        self.subject = subject
        self.answer = answer
        self.because = because
    }
}

/// A machine that discovery found and that is not a member: it has no cluster key yet, or it has ours and the cluster
/// admits by approval.
public struct WaitingMachine: Codable, Equatable, Sendable {
    public enum Reason: String, Codable, CaseIterable, Sendable { case noKey = "no-key", approval }
    /// The name it would like.
    public var name: String
    public var id: String
    /// To be compared with what the machine itself shows, before it is given the key.
    public var code: String
    public var address: String
    public var port: Int
    public var reason: Reason
    public var since: String
    public init(
        name: String, id: String, code: String, address: String, port: Int, reason: Reason, since: String
    ) {
        self.name = name
        self.id = id
        self.code = code
        self.address = address
        self.port = port
        self.reason = reason
        self.since = since
    }
}

/// Who watches whom, for the picture on the dashboard.
public struct WatchEdge: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable { case opening, up, probing, down }
    /// Node names.
    public var from: String
    public var to: String
    public var state: State
    public var phi: Double?
    /// Smoothed round trip, milliseconds; null before the first.
    public var rttMs: Double?
    public init(from: String, to: String, state: State, phi: Double?, rttMs: Double?) {
        self.from = from
        self.to = to
        self.state = state
        self.phi = phi
        self.rttMs = rttMs
    }
}

/// One finding of `bramble doctor`.
public struct DoctorCheck: Codable, Equatable, Sendable {
    public enum State: String, Codable, CaseIterable, Sendable { case ok, warn, fail }
    public var check: String
    public var state: State
    public var text: String
    /// Empty when there is nothing to do.
    public var remedy: String
    public init(check: String, state: State, text: String, remedy: String) {
        self.check = check
        self.state = state
        self.text = text
        self.remedy = remedy
    }
}

/// An API token, without its secret.
public struct TokenInfo: Codable, Equatable, Sendable {
    public var name: String
    public var created: String
    public init(name: String, created: String) {
        self.name = name
        self.created = created
    }
}

/// A new token: the only time its secret is shown.
public struct NewToken: Codable, Equatable, Sendable {
    public var name: String
    public var token: String
    /// Why fewer nodes have it yet than usual.
    public var note: String?
    public init(name: String, token: String, note: String? = nil) {
        self.name = name
        self.token = token
        self.note = note
    }
}

public struct VersionInfo: Codable, Equatable, Sendable {
    public var version: String
    /// The newest protocol this node speaks, and the oldest it understands.
    public var protocolVersion: Int
    public init(version: String, protocolVersion: Int) {
        self.version = version
        self.protocolVersion = protocolVersion
    }
}

/// What the operator does to a waiting machine or a member.
public struct NodeChange: Codable, Equatable, Sendable {
    public var name: String
    /// What was done, one sentence.
    public var done: String
    /// Another sentence where there is more to know, as that no other node has it yet.
    public var note: String?
    public init(name: String, done: String, note: String? = nil) {
        self.name = name
        self.done = done
        self.note = note?.isEmpty == true ? nil : note
    }
}

/// Labels that an operator gives a node, and takes from it.
public struct LabelRequest: Codable, Equatable, Sendable {
    public var set: [String: String]
    /// Keys.
    public var remove: [String]
    public init(set: [String: String], remove: [String] = []) {
        self.set = set
        self.remove = remove
    }
}

/// An error as the CLI prints it and HTTP answers it: `{"error":{"problem","remedy","kind"}}`.
public struct APIError: Error, Codable, Equatable, Sendable {
    /// What sort of refusal it is; decides the HTTP status.
    public enum Kind: String, Codable, CaseIterable, Sendable {
        /// 409: understood, and not done as things are.
        case refused
        /// 404: nothing has that name.
        case notFound = "not-found"
        /// 400: what was asked makes no sense.
        case invalid
        /// 401 and 403: who asks may not.
        case forbidden
        /// 429: asked too often.
        case tooMany = "too-many"
        /// 503: this node cannot do it now.
        case unavailable
    }
    public var problem: String
    public var remedy: String
    public var kind: Kind

    public init(problem: String, remedy: String, kind: Kind = .refused) {
        self.problem = problem
        self.remedy = remedy
        self.kind = kind
    }

    /// An answer of another version may lack the kind or have a newer one: it is a refusal all the same.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        problem = try container.decode(String.self, forKey: .problem)
        remedy = try container.decode(String.self, forKey: .remedy)
        kind = (try? container.decodeIfPresent(Kind.self, forKey: .kind)) ?? .refused
    }
}

// A value that is not known is null, never left out: scripts may rely on every field. Swift's own encoding leaves it out.

extension NodeInfo {
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(id, forKey: .id)
        try container.encode(address, forKey: .address)
        try container.encode(port, forKey: .port)
        try container.encode(addresses, forKey: .addresses)
        try container.encode(state, forKey: .state)
        try container.encode(phi, forKey: .phi)
        try container.encode(threshold, forKey: .threshold)
        try container.encode(incarnation, forKey: .incarnation)
        try container.encode(since, forKey: .since)
        try container.encode(isSelf, forKey: .isSelf)
        try container.encode(version, forKey: .version)
        try container.encode(load, forKey: .load)
        try container.encode(duty, forKey: .duty)
        try container.encode(labels, forKey: .labels)
        try container.encode(role, forKey: .role)
    }
}

extension NodeLoad {
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(cpu, forKey: .cpu)
        try container.encode(memory, forKey: .memory)
        try container.encode(load1, forKey: .load1)
        try container.encode(load5, forKey: .load5)
        try container.encode(load15, forKey: .load15)
        try container.encode(temperature, forKey: .temperature)
    }
}

extension WatchEdge {
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(from, forKey: .from)
        try container.encode(to, forKey: .to)
        try container.encode(state, forKey: .state)
        try container.encode(phi, forKey: .phi)
        try container.encode(rttMs, forKey: .rttMs)
    }
}
