package import Primitives

/// Where each service should run, best node first. The same on every node that knows the same: what two nodes know for a
/// moment differently costs a bid in vain, since only the lease decides.
package struct Placement: Sendable {
    package var services: [Service]
    package var nodes: [NodeView]
    package var holders: [ServiceName: NodeID]
    package var pins: [ServiceName: NodeID]
    /// Nodes that would not take a service, by service.
    package var unable: [ServiceName: Set<NodeID>]

    package init(
        services: [Service], nodes: [NodeView], holders: [ServiceName: NodeID] = [:],
        pins: [ServiceName: NodeID] = [:], unable: [ServiceName: Set<NodeID>] = [:]
    ) {
        self.services = services
        self.nodes = nodes
        self.holders = holders
        self.pins = pins
        self.unable = unable
    }

    /// All nodes that may run it, best first: where an operator put it, where it is, where it is preferred, where there is
    /// most room (fewest services, then least load, then by ID).
    package func ranking() -> [ServiceName: [NodeID]] {
        var counts: [NodeID: Int] = [:]
        var fixed: [ServiceName: [NodeID]] = [:]
        let ordered = services.sorted { $0.name < $1.name }
        for service in ordered {
            let leading = leadingNodes(service)
            fixed[service.name] = leading
            if let first = leading.first { counts[first, default: 0] += 1 }
        }
        var result: [ServiceName: [NodeID]] = [:]
        for service in ordered {
            let leading = fixed[service.name] ?? []
            let rest = able(service).filter { !leading.contains($0.id) }.sorted { left, right in
                let (l, r) = (counts[left.id] ?? 0, counts[right.id] ?? 0)
                if l != r { return l < r }
                return left.load != right.load ? left.load < right.load : left.id < right.id
            }
            if leading.isEmpty, let first = rest.first { counts[first.id, default: 0] += 1 }
            result[service.name] = leading + rest.map(\.id)
        }
        return result
    }

    private func able(_ service: Service) -> [NodeView] {
        nodes.filter { $0.state != .down && !(unable[service.name]?.contains($0.id) ?? false) }
    }

    private func leadingNodes(_ service: Service) -> [NodeID] {
        let able = able(service)
        let preferred = service.prefer.compactMap { name in able.first { $0.name == name }?.id }
        let holder = holders[service.name].flatMap { id in able.first { $0.id == id }?.id }
        let pin = pins[service.name].flatMap { id in able.first { $0.id == id }?.id }
        let stay = [holder].compactMap(\.self)
        var result: [NodeID] = []
        for id in [pin].compactMap(\.self) + (service.failback ? preferred + stay : stay + preferred)
        where !result.contains(id) {
            result.append(id)
        }
        return result
    }
}
