import Primitives

/// The desired state as YAML that people read and `apply` takes back. Values that are the default are left out.
package enum DocumentText {
    package static func write(_ state: DesiredState) -> String {
        var blocks: [String] = []
        if !state.reach.isEmpty { blocks.append("reach: \(list(state.reach.map(\.description)))\n") }
        blocks.append(part("services", state.services.map(lines)))
        blocks.append(part("mirrors", state.mirrors.map(lines)))
        blocks.append(part("volumes", state.volumes.map(lines)))
        blocks.append(part("balancers", state.balancers.map(lines)))
        blocks.append(part("fences", state.fences.map(lines)))
        if !state.schema.isEmpty {
            blocks.append("schema:\n" + state.schema.map { "  - \(scalar($0))\n" }.joined())
        }
        let text = blocks.joined()
        return text.isEmpty ? "{}\n" : text
    }

    /// The lines of one object, without its dash; for documents with remarks between them.
    package static func lines(_ service: Service) -> [String] {
        var lines = ["name: \(scalar(service.name.description))"]
        func add(_ key: String, _ value: String, unless isDefault: Bool) {
            if !isDefault { lines.append("\(key): \(value)") }
        }
        let plain = Service(name: service.name)
        add("addresses", list(service.addresses.map(\.description)), unless: service.addresses.isEmpty)
        add("mac", service.mac.rawValue, unless: service.mac == .own)
        if let interface = service.interface { lines.append("interface: \(scalar(interface))") }
        if let run = service.run { lines.append("run: \(scalar(run.text))") }
        lines += self.lines(service.parameters)
        if let check = service.check { lines.append("check: \(scalar(check.text))") }
        add("every", DurationText.write(service.every), unless: service.every == plain.every)
        add("after", list(service.after.map(\.description)), unless: service.after.isEmpty)
        add("prefer", list(service.prefer.map(\.description)), unless: service.prefer.isEmpty)
        add("failback", "true", unless: !service.failback)
        add("mirrors", list(service.mirrors.map(\.description)), unless: service.mirrors.isEmpty)
        let (own, usual) = (service.limits, plain.limits)
        add("startWithin", DurationText.write(own.startWithin), unless: own.startWithin == usual.startWithin)
        add("stopWithin", DurationText.write(own.stopWithin), unless: own.stopWithin == usual.stopWithin)
        add("checkWithin", DurationText.write(own.checkWithin), unless: own.checkWithin == usual.checkWithin)
        add("failures", "\(own.failures)", unless: own.failures == usual.failures)
        add("restarts", "\(own.restarts)", unless: own.restarts == usual.restarts)
        return lines
    }

    package static func lines(_ mirror: Mirror) -> [String] {
        var lines = ["name: \(scalar(mirror.name.description))", "paths: \(list(mirror.paths))"]
        lines.append("every: \(mirror.schedule.text)")
        if !mirror.exclude.isEmpty { lines.append("exclude: \(list(mirror.exclude))") }
        if !mirror.to.isEmpty { lines.append("to: \(list(mirror.to.map(\.description)))") }
        if let limit = mirror.limit { lines.append("limit: \(Mirror.text(limit: limit))") }
        return lines
    }

    package static func lines(_ fence: Fence) -> [String] {
        let lines = ["node: \(scalar(fence.node.description))", "agent: \(scalar(fence.agent))"]
        let within = fence.within == .seconds(60) ? [] : ["within: \(DurationText.write(fence.within))"]
        return lines + self.lines(fence.parameters) + within
    }

    private static func lines(_ parameters: [Service.Parameter]) -> [String] {
        guard !parameters.isEmpty else { return [] }
        return ["parameters:"] + parameters.map { "  \(scalar($0.name)): \(scalar($0.value))" }
    }

    package static func lines(_ volume: Volume) -> [String] {
        var lines = ["name: \(scalar(volume.name.description))"]
        switch volume.layout {
        case .replicate(let copies, let arbiter):
            lines += ["type: replicate", "replica: \(copies)"]
            if arbiter { lines.append("arbiter: 1") }
        case .disperse(let redundancy, let bricks):
            lines.append("type: disperse")
            if let bricks { lines.append("disperse: \(bricks)") }
            lines.append("redundancy: \(redundancy)")
        }
        lines.append("path: \(scalar(volume.path))")
        if let mount = volume.mount { lines.append("mount: \(scalar(mount))") }
        if !volume.nodes.isEmpty { lines.append("nodes: \(list(volume.nodes.map(\.description)))") }
        if volume.force { lines.append("force: true") }
        return lines
    }

    package static func lines(_ balancer: Balancer) -> [String] {
        var lines = ["name: \(scalar(balancer.name.description))", "listen: \"\(balancer.listenText)\""]
        lines += ["protocol: \(balancer.transport.rawValue)", "to: \(balancer.to)"]
        if balancer.sticky != .none { lines.append("sticky: \(balancer.sticky.rawValue)") }
        if let service = balancer.service { lines.append("service: \(scalar(service.description))") }
        if let check = balancer.check { lines.append("check: \(scalar(check))") }
        if !balancer.nodes.isEmpty { lines.append("nodes: \(list(balancer.nodes.map(\.description)))") }
        return lines
    }

    /// A part with its objects, each with its lines.
    package static func part(_ key: String, _ objects: [[String]]) -> String {
        guard !objects.isEmpty else { return "" }
        let items = objects.map { lines in
            lines.enumerated().map { "  \($0.offset == 0 ? "- " : "  ")\($0.element)\n" }.joined()
        }
        return "\(key):\n" + items.joined()
    }

    package static func list(_ items: [String]) -> String {
        "[\(items.map { scalar($0, isInFlow: true) }.joined(separator: ", "))]"
    }

    /// Plain where every YAML reader takes it as this text, else in double quotes.
    package static func scalar(_ text: String, isInFlow: Bool = false) -> String {
        let harmless = "/._-+@%=,:[]()<>*$!;|&? \"'#{}~^`\\"
        let isPlain =
            !text.isEmpty && !isSpecial(text) && text.first != " " && text.last != " "
            && !"-?:,[]{}#&*!|>'\"%@` ".contains(text.first!) && !text.contains(": ") && !text.contains(" #")
            && text.last != ":" && !(isInFlow && text.contains { "[]{},".contains($0) })
            && text.unicodeScalars.allSatisfy { scalar in
                scalar.isASCII
                    ? scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
                        || harmless.unicodeScalars.contains(scalar)
                    : scalar.properties.isAlphabetic
            }
        if isPlain { return text }
        var quoted = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case _
            where scalar.value < 32 || (127...159).contains(scalar.value)
                || [0x2028, 0x2029, 0xFEFF].contains(scalar.value):
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return "\"\(quoted)\""
    }

    /// What some readers take for a number, a truth value, a date or nothing.
    private static func isSpecial(_ text: String) -> Bool {
        let words = ["true", "false", "yes", "no", "on", "off", "null", "~", "y", "n", "---", "..."]
        if words.contains(text.lowercased()) { return true }
        return text.utf8.first.map { (48...57).contains($0) || $0 == 43 || $0 == 45 || $0 == 46 } ?? false
            && text.utf8.allSatisfy { (48...57).contains($0) || "+-.eExXoO:_abcdefABCDEF".utf8.contains($0) }
            && !text.contains(".") || Double(text) != nil
    }
}

extension Mirror.Schedule {
    package var text: String {
        switch self {
        case .every(let duration): DurationText.write(duration)
        case .onChange: "on-change"
        }
    }
}

extension Balancer {
    package var listenText: String {
        listenAddress.map { Endpoint($0, port: listenPort).description } ?? ":\(listenPort)"
    }
}
