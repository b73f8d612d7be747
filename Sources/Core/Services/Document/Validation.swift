import Primitives

/// A step on the way to a place in a document: `services`, 2, `after`.
package enum PlaceStep: Hashable, Sendable {
    case key(String)
    case index(Int)
}

/// What does not fit together in a desired state.
package struct DesiredProblem: OperatorError, Equatable {
    /// The part (`services`), the object's name in it, and its key; nil where the whole is meant.
    package var part: String
    package var name: String?
    package var key: String?
    package let problem: String
    package let remedy: String

    init(_ part: String, _ name: String?, _ key: String?, _ problem: String, remedy: String) {
        self.part = part
        self.name = name
        self.key = key
        self.problem = problem
        self.remedy = remedy
    }

    /// Where it stands in a document; the nearest place that is there.
    package func place(in document: ApplyDocument) -> [PlaceStep] {
        let names: [String] =
            switch part {
            case "services": document.services?.map(\.name.description) ?? []
            case "mirrors": document.mirrors?.map(\.name.description) ?? []
            case "volumes": document.volumes?.map(\.name.description) ?? []
            case "balancers": document.balancers?.map(\.name.description) ?? []
            case "fences": document.fences?.map(\.node.description) ?? []
            default: []
            }
        // The last of that name: of two, the second is the mistake.
        guard let name, let index = names.lastIndex(of: name) else { return [.key(part)] }
        return [.key(part), .index(index)] + (key.map { [.key($0)] } ?? [])
    }
}

extension DesiredState {
    /// More than a small cluster needs, and as many as its heartbeats can speak of.
    package static let maximumServices = 100
    package static let maximumOthers = 200

    /// What does not fit together, in the order of the parts; empty for a state that can be.
    package func problems() -> [DesiredProblem] {
        serviceProblems() + orderProblems() + mirrorProblems() + volumeProblems() + balancerProblems() + reachProblems()
            + duplicates("fences", fences) { $0.node } + tooMany("fences", fences.count)
    }

    private func duplicates<Item, Name: Hashable & CustomStringConvertible>(
        _ part: String, _ items: [Item], _ name: (Item) -> Name
    ) -> [DesiredProblem] {
        var seen: Set<Name> = []
        return items.map(name).filter { !seen.insert($0).inserted }.map {
            DesiredProblem(
                part, $0.description, "name", "there are two “\($0)” in \(part)", remedy: "give one another name")
        }
    }

    private func serviceProblems() -> [DesiredProblem] {
        var problems = duplicates("services", services) { $0.name }
        if services.count > Self.maximumServices {
            problems.append(
                DesiredProblem(
                    "services", nil, nil, "there are \(services.count) services",
                    remedy: "keep to \(Self.maximumServices), or make a second cluster"))
        }
        var owners: [IPAddress: ServiceName] = [:]
        var mirrorOwners: [ServiceName: ServiceName] = [:]
        for service in services {
            func add(_ key: String, _ problem: String, remedy: String) {
                problems.append(DesiredProblem("services", service.name.description, key, problem, remedy: remedy))
            }
            if service.addresses.isEmpty, service.run == nil, service.mirrors.isEmpty {
                add("name", "\(service.name) does nothing", remedy: "give it addresses, or something to run")
            }
            for address in service.addresses {
                if let owner = owners.updateValue(service.name, forKey: address.address) {
                    let places = owner == service.name ? "twice in \(owner)" : "in \(owner) and in \(service.name)"
                    add("addresses", "\(address.address) is \(places)", remedy: "an address belongs to one service")
                }
                if reach.contains(address.address) {
                    add(
                        "addresses", "\(address.address) is in the reach list, too",
                        remedy: "the reach list names hosts of others, such as the router")
                }
            }
            if service.check == .monitor, service.run == nil {
                add("check", "there is nothing to monitor", remedy: "add run, or check: tcp:PORT")
            }
            if service.mac != .own, service.addresses.isEmpty {
                add("mac", "there is no address that it could answer for", remedy: "add addresses, or leave mac out")
            }
            if service.mac == .takeover, service.interface == nil {
                add(
                    "mac", "takeover needs a spare interface on each node, and none is named",
                    remedy: "add interface: eth1, an interface without addresses of its own; or say mac: virtual")
            }
            if Set(service.prefer).count < service.prefer.count {
                add("prefer", "a node is named twice", remedy: "name each once, the best first")
            }
            for name in service.mirrors {
                if mirror(name) == nil {
                    let known = mirrors.map(\.name.description)
                    add(
                        "mirrors", "there is no mirror “\(name)”",
                        remedy: Self.suggestion(name.description, known, "mirrors"))
                }
                if let owner = mirrorOwners.updateValue(service.name, forKey: name), owner != service.name {
                    add(
                        "mirrors", "the mirror “\(name)” follows \(owner) already",
                        remedy: "the two may run on different nodes: give each its own")
                }
            }
        }
        return problems
    }

    private func orderProblems() -> [DesiredProblem] {
        var problems: [DesiredProblem] = []
        let known = services.map(\.name.description)
        for service in services {
            for name in service.after where self.service(name) == nil {
                let remedy = Self.suggestion(name.description, known, "services")
                problems.append(
                    DesiredProblem(
                        "services", service.name.description, "after", "there is no service “\(name)”", remedy: remedy))
            }
        }
        // Taken away one after the other, whatever waits for nothing; what is left waits for itself.
        var left = Dictionary(services.map { ($0.name, Set($0.after)) }) { first, _ in first }
        while let free = left.keys.sorted().first(where: { name in left[name]!.allSatisfy { left[$0] == nil } }) {
            left[free] = nil
        }
        if !left.isEmpty {
            // Those that only wait for the circle are not part of it.
            var circle = left
            while let outer = circle.keys.sorted().first(where: { name in
                !circle.contains { $0.value.contains(name) }
            }) {
                circle[outer] = nil
            }
            let names = circle.keys.sorted()
            let text = names.map(\.description).joined(separator: ", ")
            let problem = names.count == 1 ? "\(text) waits for itself" : "\(text) wait for each other"
            problems.append(
                DesiredProblem(
                    "services", names.first?.description, "after", problem, remedy: "take one of their after away"))
        }
        return problems
    }

    private func mirrorProblems() -> [DesiredProblem] {
        var problems = duplicates("mirrors", mirrors) { $0.name }
        problems += tooMany("mirrors", mirrors.count)
        var places: [(path: String, mirror: ServiceName)] = []
        for mirror in mirrors {
            for path in mirror.paths {
                let directory = path.hasSuffix("/") ? path : path + "/"
                if let other = places.first(where: { directory.hasPrefix($0.path) || $0.path.hasPrefix(directory) }) {
                    let problem =
                        other.path == directory
                        ? "\(path) is named twice"
                        : "\(path) and \(other.path) (in \(other.mirror)) are one inside the other"
                    problems.append(
                        DesiredProblem(
                            "mirrors", mirror.name.description, "paths", problem,
                            remedy: "copy each file once; leave parts out with exclude"))
                }
                places.append((directory, mirror.name))
            }
        }
        return problems
    }

    private func volumeProblems() -> [DesiredProblem] {
        var problems = duplicates("volumes", volumes) { $0.name } + tooMany("volumes", volumes.count)
        for (index, volume) in volumes.enumerated() {
            func add(_ key: String, _ problem: String, remedy: String) {
                problems.append(DesiredProblem("volumes", volume.name.description, key, problem, remedy: remedy))
            }
            if volume.name.description.contains(".") {
                add(
                    "name", "“\(volume.name)” has a dot, and GlusterFS takes none",
                    remedy: "use letters, digits, - and _")
            }
            for (key, path) in [("path", volume.path), ("mount", volume.mountPoint)] where !Self.isPlain(path) {
                add(
                    key, "“\(path)” cannot be handed to GlusterFS",
                    remedy: "use a path of letters, digits and . _ - without a / at its end")
            }
            if case .replicate(let copies, arbiter: true) = volume.layout, copies != 3 {
                add(
                    "arbiter", "an arbiter is the third of three bricks",
                    remedy: "write replica: 3, or leave arbiter out")
            }
            if case .disperse(let redundancy, let bricks?) = volume.layout, bricks < 2 * redundancy + 1 {
                add(
                    "disperse", "of \(bricks) bricks \(redundancy) cannot be lost",
                    remedy: "write disperse: \(2 * redundancy + 1) or more, or a smaller redundancy")
            }
            let (count, least) = (volume.nodes.count, volume.leastBricks)
            if Set(volume.nodes).count < count {
                add("nodes", "a node is named twice", remedy: "name each once: a node has one brick of a volume")
            } else if count > 0, count < least {
                add(
                    "nodes", "\(count) nodes are too few, it takes \(least)", remedy: "name more nodes, or ask for less"
                )
            } else if !count.isMultiple(of: volume.setSize(of: count)) {
                let size = volume.setSize(of: count)
                add(
                    "nodes", "\(count) nodes do not make whole sets of \(size)",
                    remedy: "name \(count / size * size) or \((count / size + 1) * size) nodes")
            }
            // A mount or a brick below another one would hide it, or become a part of its files.
            let brick = Self.asFolder(volume.path)
            if Self.asFolder(volume.mountPoint).hasPrefix(brick) || brick.hasPrefix(Self.asFolder(volume.mountPoint)) {
                add(
                    "mount",
                    "the bricks at \(volume.path) and the mount at \(volume.mountPoint) are one inside the other",
                    remedy: "give it another mount or path")
            }
            for other in volumes[..<index] {
                if other.mountPoint == volume.mountPoint {
                    add(
                        "mount", "\(other.name) is mounted at \(volume.mountPoint), too",
                        remedy: "give it another mount")
                }
                let theirs = Self.asFolder(other.path)
                if theirs.hasPrefix(brick) || brick.hasPrefix(theirs) {
                    add(
                        "path", "\(other.name) has its bricks at \(other.path), and \(volume.path) is in use by it",
                        remedy: "give each volume a directory of its own")
                }
            }
        }
        return problems
    }
    private static func isPlain(_ path: String) -> Bool {
        path.utf8.count > 1 && !path.hasSuffix("/") && !path.contains("//")
            && path.utf8.allSatisfy {
                (97...122).contains($0) || (65...90).contains($0) || (45...57).contains($0) || $0 == 95
            }
    }
    private static func asFolder(_ path: String) -> String { path.hasSuffix("/") ? path : path + "/" }

    private func balancerProblems() -> [DesiredProblem] {
        var problems = duplicates("balancers", balancers) { $0.name } + tooMany("balancers", balancers.count)
        for (index, balancer) in balancers.enumerated() {
            func isSamePlace(_ other: Balancer) -> Bool {
                (other.transport == .udp) == (balancer.transport == .udp) && other.listenPort == balancer.listenPort
                    && (other.listenAddress == nil || balancer.listenAddress == nil
                        || other.listenAddress == balancer.listenAddress)
            }
            if let other = balancers[..<index].first(where: isSamePlace) {
                problems.append(
                    DesiredProblem(
                        "balancers", balancer.name.description, "listen",
                        "\(other.name) listens at \(other.listenText) already", remedy: "choose another port"))
            }
            if balancer.listenAddress == nil, balancer.to == balancer.listenPort {
                problems.append(
                    DesiredProblem(
                        "balancers", balancer.name.description, "to",
                        "port \(balancer.to) of every node is the balancer itself",
                        remedy: "let the backends listen at another port, or give listen an address"))
            }
        }
        return problems
    }

    private func reachProblems() -> [DesiredProblem] {
        guard Set(reach).count < reach.count else { return [] }
        return [
            DesiredProblem("reach", nil, nil, "a host is in the reach list twice", remedy: "name each once")
        ]
    }

    private func tooMany(_ part: String, _ count: Int) -> [DesiredProblem] {
        guard count > Self.maximumOthers else { return [] }
        return [
            DesiredProblem(part, nil, nil, "there are \(count) \(part)", remedy: "keep to \(Self.maximumOthers)")
        ]
    }

    private static func suggestion(_ word: String, _ known: [String], _ what: String) -> String {
        if let close = known.first(where: { $0.lowercased() == word.lowercased() || isOneSlip($0, word) }) {
            return "did you mean “\(close)”?"
        }
        return known.isEmpty
            ? "add it to \(what)" : "add it to \(what), or name one of: \(known.sorted().joined(separator: ", "))"
    }

    /// One letter more, less or other.
    private static func isOneSlip(_ left: String, _ right: String) -> Bool {
        let (a, b) = (Array(left.utf8), Array(right.utf8))
        let head = zip(a, b).prefix { $0 == $1 }.count
        let tail = zip(a.dropFirst(head).reversed(), b.dropFirst(head).reversed()).prefix { $0 == $1 }.count
        return max(a.count, b.count) - head - tail <= 1
    }
}

extension Volume {
    package var mountPoint: String { mount ?? "/bramble/\(name)" }

    /// How many of so many bricks keep the same files, or parts of the same.
    package func setSize(of bricks: Int) -> Int {
        switch layout {
        case .replicate(let copies, _): copies
        case .disperse(_, let bricks?): bricks
        case .disperse(_, nil): max(bricks, 1)
        }
    }
    /// Fewer nodes cannot have it.
    package var leastBricks: Int {
        switch layout {
        case .replicate(let copies, _): copies
        case .disperse(let redundancy, let bricks): bricks ?? 2 * redundancy + 1
        }
    }
}
