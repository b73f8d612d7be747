package import Primitives
package import Services

/// A node as a balancer sees it.
package struct BalancerMember: Equatable, Sendable {
    package enum State: Equatable, Sendable { case alive, suspect, down }
    package var name: NodeName
    package var address: IPAddress
    package var state: State
    /// An operator drains it or holds it: what it serves now goes on, nothing new goes there.
    package var isLeaving: Bool
    /// UDP ports on which nobody listens any more, as the node itself says.
    package var silentPorts: Set<UInt16>

    package init(
        name: NodeName, address: IPAddress, state: State, isLeaving: Bool = false, silentPorts: Set<UInt16> = []
    ) {
        self.name = name
        self.address = address
        self.state = state
        self.isLeaving = isLeaving
        self.silentPorts = silentPorts
    }
}

/// One node of one balancer, and whether it gets anything.
package struct Backend: Equatable, Sendable {
    package enum State: String, Equatable, Sendable {
        case up
        /// The node is down: nothing is asked of it.
        case down
        /// The node lives, and the port does not answer.
        case failing
        /// It finishes what it has.
        case draining
        /// Not asked yet.
        case unchecked
    }
    package var node: NodeName
    package var endpoint: Endpoint
    package var state: State
    /// Why it gets nothing; empty where it does.
    package var reason: String

    package init(node: NodeName, endpoint: Endpoint, state: State, reason: String = "") {
        self.node = node
        self.endpoint = endpoint
        self.state = state
        self.reason = reason
    }
}

/// One balancer with its backends as they are now.
package struct BalancerView: Equatable, Sendable {
    package var balancer: Balancer
    /// By name of the node.
    package var backends: [Backend]
    /// Addresses it answers at; empty for all of the machine's.
    package var addresses: [IPAddress] = []

    package init(_ balancer: Balancer, backends: [Backend], addresses: [IPAddress] = []) {
        self.balancer = balancer
        self.backends = backends
        self.addresses = addresses
    }
    package var live: [Backend] { backends.filter { $0.state == .up } }
}

extension [BalancerView] {
    /// Endpoints that get nothing from any of these: where two of them disagree on one, it is not among them.
    package var closed: Set<Endpoint> {
        let open = flatMap(\.live).map(\.endpoint)
        return Set(flatMap(\.backends).map(\.endpoint)).subtracting(open)
    }
}

/// Knows which backends get something: what should be, who is alive, and what checks found. One value; the daemon carries
/// out what it says.
package struct BackendKeeper: Equatable, Sendable {
    package struct Key: Hashable, Sendable {
        package let balancer: ServiceName
        package let node: NodeName
    }
    private struct Health: Equatable {
        var isUp: Bool?
        var goodInARow = 0
        var badInARow = 0
        var isSilent = false
        var reason = ""
    }

    package enum Answer: Equatable, Sendable {
        case good
        /// The machine answered that nobody is there.
        case refused(String)
        /// Two questions were not answered in time.
        case silent(String)
        case wrong(String)
    }

    /// So many good answers bring a backend back; so many wrong ones put it out. A refusal does at once, for who refuses is
    /// there and says that nobody listens; silence too, for there were two questions.
    package static let rise = 2
    package static let fall = 2

    private var balancers: [Balancer] = []
    private var members: [BalancerMember] = []
    private var services: [Service] = []
    private var health: [Key: Health] = [:]

    package init() {}

    package mutating func use(_ balancers: [Balancer], services: [Service]) {
        self.balancers = balancers.sorted { $0.name < $1.name }
        self.services = services
        forget()
    }
    package mutating func use(_ members: [BalancerMember]) {
        self.members = members.sorted { $0.name < $1.name }
        forget()
    }

    /// Whom to ask now: every backend whose node is not known to be down. UDP has no question that every server answers: there
    /// each node tells of itself.
    package var questions: [(key: Key, endpoint: Endpoint)] {
        balancers.filter { $0.transport != .udp }.flatMap { balancer in
            nodes(of: balancer).filter { $0.state != .down }.map {
                (Key(balancer: balancer.name, node: $0.name), Endpoint($0.address, port: balancer.to))
            }
        }
    }

    package mutating func answered(_ key: Key, _ answer: Answer) {
        guard balancers.contains(where: { $0.name == key.balancer }) else { return }
        var known = health[key] ?? Health()
        func bad(_ cause: String, isCertain: Bool) {
            known.goodInARow = 0
            known.badInARow += 1
            known.reason = cause
            if isCertain || known.badInARow >= Self.fall || known.isUp == nil { known.isUp = false }
        }
        known.isSilent = false
        switch answer {
        case .good:
            known.badInARow = 0
            known.goodInARow += 1
            if known.goodInARow >= Self.rise || known.isUp == nil {
                known.isUp = true
                known.reason = ""
            }
        case .refused(let cause): bad(cause, isCertain: true)
        case .silent(let cause):
            known.isSilent = true
            bad(cause, isCertain: true)
        case .wrong(let cause): bad(cause, isCertain: false)
        }
        health[key] = known
    }

    package var views: [BalancerView] {
        balancers.map { balancer in
            let addresses = balancer.service.flatMap { name in
                services.first { $0.name == name }?.addresses.map(\.address)
            }
            return BalancerView(
                balancer, backends: backends(of: balancer),
                addresses: balancer.listenAddress.map { [$0] } ?? addresses ?? [])
        }
    }

    /// Where nobody answers in time any more, all of them have too much to do: late answers are better than none.
    private func backends(of balancer: Balancer) -> [Backend] {
        let backends = nodes(of: balancer).map { backend($0, balancer) }
        guard !backends.contains(where: { $0.state == .up || $0.state == .unchecked }) else { return backends }
        return backends.map { backend in
            guard backend.state == .failing,
                health[Key(balancer: balancer.name, node: backend.node)]?.isSilent ?? false
            else { return backend }
            var tried = backend
            tried.state = .up
            tried.reason += ", nor does any other"
            return tried
        }
    }
    private func nodes(of balancer: Balancer) -> [BalancerMember] {
        balancer.nodes.isEmpty ? members : members.filter { balancer.nodes.contains($0.name) }
    }
    private func backend(_ member: BalancerMember, _ balancer: Balancer) -> Backend {
        let endpoint = Endpoint(member.address, port: balancer.to)
        func backend(_ state: Backend.State, _ reason: String = "") -> Backend {
            Backend(node: member.name, endpoint: endpoint, state: state, reason: reason)
        }
        if member.state == .down { return backend(.down, "the node is down") }
        if member.isLeaving { return backend(.draining, "an operator drains the node") }
        if balancer.transport == .udp {
            return member.silentPorts.contains(balancer.to)
                ? backend(.failing, "nothing listens at \(endpoint) any more") : backend(.up)
        }
        let known = health[Key(balancer: balancer.name, node: member.name)]
        switch known?.isUp {
        case true?: return backend(.up)
        case false?: return backend(.failing, known?.reason ?? "")
        case nil: return backend(.unchecked, "not asked yet")
        }
    }
    private mutating func forget() {
        let names = Set(balancers.map(\.name))
        // What a node answered before it went down says nothing about its next life.
        let nodes = Set(members.filter { $0.state != .down }.map(\.name))
        health = health.filter { names.contains($0.key.balancer) && nodes.contains($0.key.node) }
    }
}

/// Who of the live backends gets which share of the sources. By rendezvous: where one goes, only its own share moves, over
/// all others; where it returns, just that comes back. The same on every node, without a word between them.
///
/// Source: Thaler and Ravishankar, “Using name-based mappings to increase hit rates”, IEEE/ACM Transactions on Networking,
/// 1998.
package enum Slots {
    package static let count = 256

    /// The backend of each slot, as an index into `names`; empty for no names.
    package static func owners(_ names: [String]) -> [Int] {
        guard !names.isEmpty else { return [] }
        return (0..<count).map { slot in
            names.indices.max { (weight(slot, names[$0]), names[$0]) < (weight(slot, names[$1]), names[$1]) }!
        }
    }
    /// FNV-1a over name and slot, finished by SplitMix64's mixer.
    private static func weight(_ slot: Int, _ name: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        var mixed = SeededGenerator(seed: hash ^ UInt64(slot) &* 0x9E37_79B9_7F4A_7C15)
        return mixed.next()
    }
}

/// What a node knows of its own UDP ports: it sees its sockets, which nobody else can ask for.
///
/// Only a port on which somebody listened counts: where nobody ever did, something else may take the datagrams, such as a
/// rule of a container's.
package struct SilentPorts: Equatable, Sendable {
    private var heard: Set<UInt16> = []
    package private(set) var ports: Set<UInt16> = []

    /// - Parameter told: what a former life of this node said of itself.
    package init(told: Set<UInt16> = []) { heard = told }

    package mutating func look(at wanted: Set<UInt16>, isTaken: (UInt16) -> Bool) {
        let taken = wanted.filter(isTaken)
        heard = heard.intersection(wanted).union(taken)
        ports = heard.subtracting(taken)
    }

    /// As it is kept; empty for nothing to tell.
    package static func text(_ ports: Set<UInt16>) -> String {
        ports.sorted().map { "\($0)" }.joined(separator: ",")
    }
    package static func ports(in text: some StringProtocol) -> Set<UInt16> {
        Set(text.split(separator: ",").compactMap { UInt16($0) })
    }
}
