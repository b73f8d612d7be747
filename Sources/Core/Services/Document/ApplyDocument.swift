package import Primitives

/// The file for `bramble apply`: any of the parts of the desired state. A part that is absent says nothing.
package struct ApplyDocument: Equatable, Sendable {
    package var reach: [IPAddress]?
    package var services: [Service]?
    package var mirrors: [Mirror]?
    package var volumes: [Volume]?
    package var balancers: [Balancer]?
    package var fences: [Fence]?
    package var schema: [String]?

    package init() {}
    package init(_ state: DesiredState) {
        reach = state.reach
        services = state.services
        mirrors = state.mirrors
        volumes = state.volumes
        balancers = state.balancers
        fences = state.fences
        schema = state.schema
    }

    /// The state after this document. What it names is added or takes the place of what had that name; with `prune`, what
    /// a part that is there does not name goes. The reach list is always taken whole.
    package func applied(to state: DesiredState, prune: Bool) -> DesiredState {
        var result = state
        if let reach { result.reach = reach }
        result.services = merge(state.services, services, prune) { $0.name }
        result.mirrors = merge(state.mirrors, mirrors, prune) { $0.name }
        result.volumes = merge(state.volumes, volumes, prune) { $0.name }
        result.balancers = merge(state.balancers, balancers, prune) { $0.name }
        result.fences = merge(state.fences, fences, prune) { $0.node }
        for statement in schema ?? [] where !result.schema.contains(statement) { result.schema.append(statement) }
        return result.canonical
    }

    private func merge<Item, Name: Hashable>(
        _ old: [Item], _ new: [Item]?, _ prune: Bool, _ name: (Item) -> Name
    ) -> [Item] {
        guard let new else { return old }
        let replaced = Set(new.map(name))
        return (prune ? [] : old.filter { !replaced.contains(name($0)) }) + new
    }
}

extension DesiredState {
    /// The one form that two equal states have: sorted by name, parameters by theirs.
    package var canonical: DesiredState {
        var result = self
        result.reach.sort()
        result.services.sort { $0.name < $1.name }
        for index in result.services.indices { result.services[index].parameters.sort { $0.name < $1.name } }
        result.mirrors.sort { $0.name < $1.name }
        result.volumes.sort { $0.name < $1.name }
        result.balancers.sort { $0.name < $1.name }
        result.fences.sort { $0.node < $1.node }
        for index in result.fences.indices { result.fences[index].parameters.sort { $0.name < $1.name } }
        return result
    }
}

extension ApplyDocument: Decodable {
    private enum Key: String, CodingKey { case reach, services, mirrors, volumes, balancers, fences, schema }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        reach = try keys.list(.reach) { text throws(Refusal) in
            guard let address = IPAddress(text), !address.isUnspecified, !address.isMulticastOrBroadcast else {
                throw Refusal(
                    "“\(text)” is not the address of a host", remedy: "write an IP address, as in 192.168.1.1")
            }
            guard !address.isLoopback else {
                throw Refusal(
                    "\(address) always answers, so it says nothing",
                    remedy: "name hosts beyond the switch, such as the router")
            }
            return address
        }
        services = try keys.decodeIfPresent([Service].self, forKey: .services)
        mirrors = try keys.decodeIfPresent([Mirror].self, forKey: .mirrors)
        volumes = try keys.decodeIfPresent([Volume].self, forKey: .volumes)
        balancers = try keys.decodeIfPresent([Balancer].self, forKey: .balancers)
        fences = try keys.decodeIfPresent([Fence].self, forKey: .fences)
        schema = try keys.list(.schema) { text throws(Refusal) in
            guard text.contains(where: { !$0.isWhitespace }) else {
                throw Refusal("a statement is empty", remedy: "write SQL, as in CREATE TABLE IF NOT EXISTS …")
            }
            return text
        }
    }
}

extension Service {
    /// The kernel's rules for a name: at most 15 bytes, no blanks, no slash.
    package static func checkedInterface(_ text: String) throws(Refusal) -> String {
        let isName = text.utf8.allSatisfy { $0 > 32 && $0 != 47 && $0 < 127 }
        guard (1...15).contains(text.utf8.count), isName, text != ".", text != ".." else {
            throw Refusal("“\(text)” is not the name of an interface", remedy: "see the names with: ip link")
        }
        return text
    }
}

extension Service: Decodable {
    private enum Key: String, CodingKey {
        case name, addresses, mac, interface, run, parameters, check, every, after, prefer, failback, mirrors
        case startWithin, stopWithin, checkWithin, failures, restarts
    }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        self.init(name: try keys.name(.name))
        addresses = try keys.list(.addresses) { text throws(Refusal) in try FloatingAddress(text: text) } ?? []
        mac = try keys.oneOf(.mac) ?? .own
        interface = try keys.word(.interface) { text throws(Refusal) in try Service.checkedInterface(text) }
        run = try keys.word(.run) { text throws(Refusal) in try Run(text: text) }
        parameters = try keys.parameters(.parameters)
        check = try keys.word(.check) { text throws(Refusal) in try Check(text: text) }
        every = try keys.duration(.every, .milliseconds(100), .seconds(86_400)) ?? every
        after = try keys.names(.after)
        prefer = try keys.nodes(.prefer)
        failback = try keys.decodeIfPresent(Bool.self, forKey: .failback) ?? false
        mirrors = try keys.names(.mirrors)
        limits.startWithin = try keys.duration(.startWithin, .milliseconds(100), .seconds(3600)) ?? limits.startWithin
        limits.stopWithin = try keys.duration(.stopWithin, .milliseconds(100), .seconds(3600)) ?? limits.stopWithin
        limits.checkWithin = try keys.duration(.checkWithin, .milliseconds(50), .seconds(600)) ?? limits.checkWithin
        limits.failures = try keys.number(.failures, 1...100) ?? limits.failures
        limits.restarts = try keys.number(.restarts, 0...100) ?? limits.restarts
    }
}

extension Mirror: Decodable {
    private enum Key: String, CodingKey { case name, paths, every, exclude, to, limit }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        let name = try keys.name(.name)
        let paths = try keys.list(.paths) { text throws(Refusal) in
            try PathRule.checkCopied(text)
            return text
        }
        guard let paths, !paths.isEmpty else {
            throw keys.error(.paths, Refusal("there is nothing to copy", remedy: "add paths: [/DIRECTORY/, /FILE]"))
        }
        self.init(name: name, paths: paths)
        schedule =
            try keys.word(.every) { text throws(Refusal) in
                if text == "on-change" { return .onChange }
                guard let every = DurationText.read(text), every >= .seconds(1) else {
                    throw Refusal(
                        "“\(text)” is no schedule", remedy: "write on-change, or \(DurationText.rule), at least 1s")
                }
                return .every(every)
            } ?? schedule
        exclude =
            try keys.list(.exclude) { text throws(Refusal) in
                guard !text.isEmpty, !text.contains("\n") else {
                    throw Refusal("a pattern is empty or has more than one line", remedy: "write one pattern each")
                }
                return text
            } ?? []
        to = try keys.nodes(.to)
        limit = try keys.word(.limit) { text throws(Refusal) in try Mirror.readLimit(text) }
    }

    /// `500k` or `2M`: thousands or millions of bytes a second.
    package static func readLimit(_ text: String) throws(Refusal) -> Int {
        let factors = ["k": 1000, "M": 1_000_000]
        let digits = text.dropLast()
        guard let factor = factors[String(text.suffix(1))], let count = Int(digits), (1...1_000_000).contains(count),
            digits.first != "+"
        else {
            throw Refusal("“\(text)” is no limit", remedy: "write bytes a second, as in 500k or 2M")
        }
        return count * factor
    }
    package static func text(limit: Int) -> String {
        limit % 1_000_000 == 0 ? "\(limit / 1_000_000)M" : "\(limit / 1000)k"
    }
}

extension Fence: Decodable {
    private enum Key: String, CodingKey { case node, agent, parameters, within }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        let node = try keys.word(.node) { text throws(Refusal) in
            guard let name = NodeName(text) else {
                throw Refusal("“\(text)” is not a node's name", remedy: "use \(NodeName.rule)")
            }
            return name
        }
        guard let node else { throw keys.error(.node, Refusal("nobody is switched off", remedy: "add node: NAME")) }
        guard let agent = try keys.word(.agent, { text throws(Refusal) in try Fence.checkedAgent(text) }) else {
            throw keys.error(.agent, Refusal("there is no agent", remedy: "add agent: fence_…"))
        }
        self.init(node: node, agent: agent)
        parameters = try keys.parameters(.parameters)
        for parameter in parameters {
            do throws(Refusal) { try Fence.check(parameter) } catch { throw keys.error(.parameters, error) }
        }
        within = try keys.duration(.within, .seconds(1), .seconds(600)) ?? within
    }
}

extension Volume: Decodable {
    private enum Key: String, CodingKey {
        case name, type, replica, arbiter, disperse, redundancy, path, mount, nodes, force
    }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        let name = try keys.name(.name)
        let type = try keys.decodeIfPresent(String.self, forKey: .type) ?? "replicate"
        let replica = try keys.number(.replica, 2...20)
        let arbiter = try keys.number(.arbiter, 0...1)
        let bricks = try keys.number(.disperse, 3...20)
        let redundancy = try keys.number(.redundancy, 1...8)
        let layout: Layout
        switch type {
        case "replicate":
            if redundancy != nil {
                throw keys.error(.redundancy, Refusal("only a dispersed volume has it", remedy: "use replica: COPIES"))
            }
            if bricks != nil {
                throw keys.error(.disperse, Refusal("only a dispersed volume has it", remedy: "add type: disperse"))
            }
            layout = .replicate(copies: replica ?? 3, arbiter: arbiter == 1)
        case "disperse":
            if replica != nil {
                throw keys.error(.replica, Refusal("only a replicated volume has it", remedy: "use redundancy: BRICKS"))
            }
            if arbiter != nil {
                throw keys.error(.arbiter, Refusal("only a replicated volume has it", remedy: "use redundancy: BRICKS"))
            }
            layout = .disperse(redundancy: redundancy ?? 1, bricks: bricks)
        default:
            throw keys.error(.type, Refusal("“\(type)” is no type of volume", remedy: "write replicate or disperse"))
        }
        func path(_ key: Key) throws -> String? {
            try keys.word(key) { text throws(Refusal) in
                try PathRule.check(text, "the path")
                return text
            }
        }
        guard let brick = try path(.path) else {
            throw keys.error(.path, Refusal("the bricks have no place", remedy: "add path: /data/bricks"))
        }
        self.init(name: name, layout: layout, path: brick)
        mount = try path(.mount)
        nodes = try keys.nodes(.nodes)
        force = try keys.decodeIfPresent(Bool.self, forKey: .force) ?? false
    }
}

extension Balancer: Decodable {
    private enum Key: String, CodingKey {
        case name, listen, protocolName = "protocol", to, sticky, service, check, nodes
    }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        let name = try keys.name(.name)
        let listen = try keys.word(.listen) { text throws(Refusal) -> (IPAddress?, UInt16) in
            let bare = text.hasPrefix(":") ? text.dropFirst() : text[...]
            if let port = UInt16(bare), port > 0 { return (nil, port) }
            if let endpoint = Endpoint(text, defaultPort: 0), endpoint.port > 0 {
                return (endpoint.address, endpoint.port)
            }
            throw Refusal("“\(text)” is no place to listen", remedy: "write \":80\" or \"192.168.1.50:80\"")
        }
        guard let (address, port) = listen else {
            throw keys.error(.listen, Refusal("it listens nowhere", remedy: "add listen: \":80\""))
        }
        guard let to = try keys.number(.to, 1...65535) else {
            throw keys.error(.to, Refusal("the port of the backends is missing", remedy: "add to: 8080"))
        }
        self.init(name: name, listenPort: port, to: UInt16(to))
        listenAddress = address
        transport = try keys.oneOf(.protocolName) ?? .http
        sticky = try keys.oneOf(.sticky) ?? .none
        service = try keys.word(.service) { text throws(Refusal) in
            guard let name = ServiceName(text) else {
                throw Refusal("“\(text)” is not a name", remedy: "use \(ServiceName.rule)")
            }
            return name
        }
        check = try keys.word(.check) { text throws(Refusal) in try Balancer.checkPath(text) }
        if check != nil, transport != .http {
            throw keys.error(.check, Refusal("only HTTP has paths to check", remedy: "leave check out"))
        }
        if service != nil, listenAddress != nil {
            throw keys.error(
                .service,
                Refusal("it cannot listen at an address and at a service's", remedy: "write listen: \":\(port)\""))
        }
        nodes = try keys.nodes(.nodes)
    }

    /// `/path` that a status from 200 to 399 is expected of.
    static func checkPath(_ text: String) throws(Refusal) -> String {
        guard text.hasPrefix("/"), text.utf8.count <= 1000, text.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
            throw Refusal("“\(text.prefix(80))” is no path to check", remedy: "write it like /health")
        }
        return text
    }
}

extension KeyedDecodingContainer {
    fileprivate func error(_ key: Key, _ refusal: Refusal) -> DecodingError {
        let context = DecodingError.Context(
            codingPath: codingPath + [key], debugDescription: refusal.problem, underlyingError: refusal)
        return .dataCorrupted(context)
    }
    private func attempt<Value>(_ key: Key, _ body: () throws(Refusal) -> Value) throws -> Value {
        do throws(Refusal) { return try body() } catch { throw self.error(key, error) }
    }
    fileprivate func word<Value>(_ key: Key, _ read: (String) throws(Refusal) -> Value) throws -> Value? {
        guard let text = try decodeIfPresent(String.self, forKey: key) else { return nil }
        return try attempt(key) { () throws(Refusal) in try read(text) }
    }
    fileprivate func list<Value>(_ key: Key, _ read: (String) throws(Refusal) -> Value) throws -> [Value]? {
        guard let texts = try decodeIfPresent([String].self, forKey: key) else { return nil }
        return try texts.map { text in try attempt(key) { () throws(Refusal) in try read(text) } }
    }
    fileprivate func name(_ key: Key) throws -> ServiceName {
        let text = try decode(String.self, forKey: key)
        guard let name = ServiceName(text) else {
            throw error(key, Refusal("“\(text)” is not a name", remedy: "use \(ServiceName.rule)"))
        }
        return name
    }
    fileprivate func names(_ key: Key) throws -> [ServiceName] {
        try list(key) { text throws(Refusal) in
            guard let name = ServiceName(text) else {
                throw Refusal("“\(text)” is not a name", remedy: "use \(ServiceName.rule)")
            }
            return name
        } ?? []
    }
    /// Sorted by their names.
    fileprivate func parameters(_ key: Key) throws -> [Service.Parameter] {
        let given = try decodeIfPresent([String: String].self, forKey: key) ?? [:]
        return try given.sorted { $0.key < $1.key }.map { name, value in
            let isWord = name.utf8.allSatisfy {
                ($0 | 32 > 96 && $0 | 32 < 123) || (48...57).contains($0) || $0 == 95
            }
            guard isWord, let first = name.utf8.first, !(48...57).contains(first), name.utf8.count <= 64,
                !value.utf8.contains(0)
            else {
                throw error(
                    key, Refusal("“\(name)” is not the name of a parameter", remedy: "use letters, digits and _"))
            }
            return Service.Parameter(name, value)
        }
    }
    fileprivate func nodes(_ key: Key) throws -> [NodeName] {
        try list(key) { text throws(Refusal) in
            guard let name = NodeName(text) else {
                throw Refusal("“\(text)” is not a node's name", remedy: "use \(NodeName.rule)")
            }
            return name
        } ?? []
    }
    fileprivate func oneOf<Value: RawRepresentable<String> & CaseIterable>(_ key: Key) throws -> Value? {
        try word(key) { text throws(Refusal) in
            guard let value = Value(rawValue: text) else {
                let allowed = Value.allCases.map(\.rawValue).joined(separator: ", ")
                throw Refusal("“\(text)” is not one of \(allowed)", remedy: "write one of them")
            }
            return value
        }
    }
    fileprivate func duration(_ key: Key, _ least: Duration, _ most: Duration) throws -> Duration? {
        try word(key) { text throws(Refusal) in
            guard let duration = DurationText.read(text) else {
                throw Refusal("“\(text)” is not a length of time", remedy: "write \(DurationText.rule)")
            }
            guard duration >= least, duration <= most else {
                throw Refusal(
                    "\(text) is out of range",
                    remedy: "write \(DurationText.write(least)) to \(DurationText.write(most))")
            }
            return duration
        }
    }
    fileprivate func number(_ key: Key, _ range: ClosedRange<Int>) throws -> Int? {
        guard let number = try decodeIfPresent(Int.self, forKey: key) else { return nil }
        guard range.contains(number) else {
            let refusal = Refusal(
                "\(number) is out of range", remedy: "write \(range.lowerBound) to \(range.upperBound)")
            throw error(key, refusal)
        }
        return number
    }
}
