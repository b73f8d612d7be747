// What people and their scripts see of balancers.

/// One balancer, as the asked node carries it out.
public struct BalancerInfo: Codable, Equatable, Sendable {
    public struct Backend: Codable, Equatable, Sendable {
        /// Only those that are `up` get anything new.
        public enum State: String, Codable, CaseIterable, Sendable { case up, down, failing, draining, unchecked }
        public var node: String
        /// With its port.
        public var address: String
        public var state: State
        /// Why it gets nothing; empty where it does.
        public var reason: String
        public init(node: String, address: String, state: State, reason: String = "") {
            self.node = node
            self.address = address
            self.state = state
            self.reason = reason
        }
    }
    public enum Transport: String, Codable, CaseIterable, Sendable { case http, tcp, udp }
    public enum Stickiness: String, Codable, CaseIterable, Sendable { case none, source }
    public var name: String
    public var transport: Transport
    public var listen: String
    public var backends: [Backend]
    public var sticky: Stickiness
    /// It answers at this service's addresses; null for all addresses of every node.
    public var service: String?
    /// One sentence when it does not work on this node; else empty.
    public var reason: String

    enum CodingKeys: String, CodingKey {
        case name, listen, backends, sticky, service, reason
        case transport = "protocol"
    }
    public init(
        name: String, transport: Transport, listen: String, backends: [Backend], sticky: Stickiness,
        service: String? = nil, reason: String = ""
    ) {
        self.name = name
        self.transport = transport
        self.listen = listen
        self.backends = backends
        self.sticky = sticky
        self.service = service
        self.reason = reason
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(transport, forKey: .transport)
        try container.encode(listen, forKey: .listen)
        try container.encode(backends, forKey: .backends)
        try container.encode(sticky, forKey: .sticky)
        try container.encode(service, forKey: .service)
        try container.encode(reason, forKey: .reason)
    }
}
