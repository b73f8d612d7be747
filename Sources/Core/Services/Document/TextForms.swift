import Primitives

/// Values as people write them in one word: read with what is wrong, written so that reading gives the same back.

extension FloatingAddress {
    /// `192.168.1.50/24`, `fd00::50/64`.
    package init(text: some StringProtocol) throws(Refusal) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else {
            throw Refusal("“\(text)” is not an address", remedy: "write it with its network, as in 192.168.1.50/24")
        }
        guard parts.count == 2 else {
            throw Refusal(
                "“\(text)” lacks the length of its network",
                remedy: "write it as in \(address)/\(address.isV4 ? 24 : 64)")
        }
        guard let length = UInt8(parts[1]), (1...(address.isV4 ? 32 : 128)).contains(length) else {
            throw Refusal(
                "“\(parts[1])” is not the length of a network", remedy: "write 1 to \(address.isV4 ? 32 : 128)")
        }
        guard !address.isLoopback, !address.isUnspecified, !address.isMulticastOrBroadcast, !address.isLinkLocal else {
            throw Refusal(
                "\(address) cannot move between machines",
                remedy: "choose a free address of the network of your clients")
        }
        self.init(address, prefixLength: length)
    }
}

extension IPAddress {
    var isV4: Bool { if case .v4 = self { true } else { false } }
}

extension Run {
    /// `systemd:smbd`, `ocf:heartbeat:nginx`, `script:/etc/init.d/x`, `exec:[/usr/bin/x, -f]`.
    package init(text: String) throws(Refusal) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let rest = parts.count == 2 ? parts[1] : ""
        switch parts[0] {
        case "systemd":
            let isUnit = rest.utf8.allSatisfy { $0 > 32 && $0 != 47 && $0 < 127 }
            guard (1...200).contains(rest.utf8.count), isUnit, rest.first != "-" else {
                throw Refusal("“\(text)” names no unit", remedy: "write systemd:UNIT, as in systemd:smbd")
            }
            self = .systemd(unit: String(rest))
        case "ocf":
            let names = rest.split(separator: ":", omittingEmptySubsequences: false)
            let areWords = names.allSatisfy { name in
                !name.isEmpty && name.utf8.count <= 64 && name.first != "." && name.first != "-"
                    && name.utf8.allSatisfy { Self.isWord($0) }
            }
            guard names.count == 2, areWords else {
                throw Refusal("“\(text)” names no agent", remedy: "write ocf:PROVIDER:AGENT, as in ocf:heartbeat:nginx")
            }
            self = .ocf(provider: String(names[0]), agent: String(names[1]))
        case "script":
            try PathRule.check(rest, "the script")
            self = .script(path: String(rest))
        case "exec": self = .exec(try ArgumentList.read(rest))
        default:
            throw Refusal(
                "“\(text)” is nothing that can be run",
                remedy: "write systemd:UNIT, ocf:PROVIDER:AGENT, script:/PATH or exec:[/PATH, ARGUMENT, …]")
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte)
            || [45, 46, 95].contains(byte)
    }

    package var text: String {
        switch self {
        case .systemd(let unit): "systemd:\(unit)"
        case .ocf(let provider, let agent): "ocf:\(provider):\(agent)"
        case .script(let path): "script:\(path)"
        case .exec(let arguments): "exec:\(ArgumentList.write(arguments))"
        }
    }
}

extension Check {
    package init(text: String) throws(Refusal) {
        if text == "monitor" {
            self = .monitor
        } else if text.hasPrefix("tcp:") {
            let (host, port) = try Self.hostAndPort(text.dropFirst(4), text)
            guard let port else { throw Refusal("“\(text)” lacks the port", remedy: "write tcp:PORT, as in tcp:445") }
            self = .tcp(host: host, port: port)
        } else if text.hasPrefix("http://") {
            let rest = text.dropFirst(7)
            let slash = rest.firstIndex(of: "/") ?? rest.endIndex
            let (host, port) = try Self.hostAndPort(rest[..<slash], text)
            let path = slash == rest.endIndex ? "/" : String(rest[slash...])
            guard path.utf8.allSatisfy({ $0 > 32 && $0 < 127 }), path.utf8.count <= 1000 else {
                throw Refusal("“\(path)” is not the path of a URL", remedy: "write other characters as %20")
            }
            self = .http(host: host, port: port ?? 80, path: path)
        } else if text.hasPrefix("exec:") {
            self = .exec(try ArgumentList.read(text.dropFirst(5)))
        } else {
            let remedy =
                text.hasPrefix("https:")
                ? "certificates are the client's matter: use exec:[/usr/bin/curl, -sf, \(text)]"
                : "write tcp:PORT, http://:PORT/PATH, exec:[/PATH, …] or monitor"
            throw Refusal("“\(text)” is no check", remedy: remedy)
        }
    }

    /// `445`, `:445`, `host:445`, `[fd00::1]:445`, `host`; the host may be left out.
    private static func hostAndPort(
        _ text: Substring, _ whole: String
    ) throws(Refusal) -> (host: String?, port: UInt16?) {
        let remedy = "write a port from 1 to 65535, with a host before it where that is another machine: host:445"
        if text.isEmpty { return (nil, nil) }
        if let port = UInt16(text), port > 0 { return (nil, port) }
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]"),
                let address = IPAddress(text[text.index(after: text.startIndex)..<end])
            else { throw Refusal("“\(whole)” has no address in its brackets", remedy: remedy) }
            let rest = text[text.index(after: end)...]
            if rest.isEmpty { return (address.description, nil) }
            guard rest.first == ":", let port = UInt16(rest.dropFirst()), port > 0 else {
                throw Refusal("“\(whole)” has no port", remedy: remedy)
            }
            return (address.description, port)
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let isHost = parts[0].utf8.allSatisfy { ($0 > 44 && $0 < 58 && $0 != 47) || ($0 | 32 > 96 && $0 | 32 < 123) }
        guard parts.count <= 2, isHost, parts[0].utf8.count <= 253 else {
            throw Refusal("“\(whole)” names no host and port", remedy: remedy)
        }
        let host = parts[0].isEmpty ? nil : String(parts[0])
        guard parts.count == 2 else { return (host, nil) }
        guard let port = UInt16(parts[1]), port > 0 else {
            throw Refusal("“\(parts[1])” is not a port", remedy: remedy)
        }
        return (host, port)
    }

    package var text: String {
        func place(_ host: String?, _ port: UInt16) -> String {
            guard let host else { return ":\(port)" }
            return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
        switch self {
        case .tcp(nil, let port): return "tcp:\(port)"
        case .tcp(let host, let port): return "tcp:\(place(host, port))"
        case .http(let host, let port, let path): return "http://\(place(host, port))\(path)"
        case .exec(let arguments): return "exec:\(ArgumentList.write(arguments))"
        case .monitor: return "monitor"
        }
    }
}

/// `[/usr/bin/x, -f, "one, argument"]`
package enum ArgumentList {
    package static func read(_ text: some StringProtocol) throws(Refusal) -> [String] {
        let remedy = "write exec:[/PATH, ARGUMENT, \"an argument, with a comma\"]"
        guard text.first == "[", text.last == "]", text.count >= 2 else {
            throw Refusal("a command is written in brackets", remedy: remedy)
        }
        var arguments: [String] = []
        var rest = text.dropFirst().dropLast()[...]
        func skipBlanks() { rest = rest.drop { $0 == " " || $0 == "\t" } }
        skipBlanks()
        while !rest.isEmpty {
            var argument = ""
            if rest.first == "\"" {
                rest = rest.dropFirst()
                var isClosed = false
                while let character = rest.popFirst() {
                    if character == "\"" {
                        isClosed = true
                        break
                    }
                    guard character == "\\" else {
                        argument.append(character)
                        continue
                    }
                    switch rest.popFirst() {
                    case "n": argument.append("\n")
                    case "t": argument.append("\t")
                    case "\"": argument.append("\"")
                    case "\\": argument.append("\\")
                    default: throw Refusal("a backslash is followed by n, t, \" or \\", remedy: remedy)
                    }
                }
                guard isClosed else { throw Refusal("a quote is not closed", remedy: remedy) }
                skipBlanks()
                guard rest.isEmpty || rest.first == "," else {
                    throw Refusal("something follows a quoted argument", remedy: remedy)
                }
            } else {
                let end = rest.firstIndex(of: ",") ?? rest.endIndex
                argument = String(rest[..<end])
                while argument.last == " " || argument.last == "\t" { argument.removeLast() }
                rest = rest[end...]
                guard !argument.isEmpty, !argument.contains("\"") else {
                    throw Refusal("an argument is empty, or has a quote inside", remedy: "write it in quotes: \"…\"")
                }
            }
            arguments.append(argument)
            guard arguments.count <= 200 else {
                throw Refusal("there are more than 200 arguments", remedy: "use a script")
            }
            if rest.first == "," {
                rest = rest.dropFirst()
                skipBlanks()
                guard !rest.isEmpty else {
                    throw Refusal("an argument is missing after the last comma", remedy: remedy)
                }
            }
        }
        guard let program = arguments.first else { throw Refusal("the command is empty", remedy: remedy) }
        guard arguments.allSatisfy({ !$0.utf8.contains(0) }) else {
            throw Refusal("an argument has a zero byte in it", remedy: "take it out")
        }
        try PathRule.check(program, "the program")
        return arguments
    }

    package static func write(_ arguments: [String]) -> String {
        let items = arguments.map { argument in
            let isPlain =
                !argument.isEmpty && argument.first != " " && argument.last != " "
                && !argument.unicodeScalars.contains { "\",\t\n\\[]#:{}'".unicodeScalars.contains($0) || $0.value < 32 }
            if isPlain { return argument }
            var quoted = ""
            for character in argument.unicodeScalars {
                switch character {
                case "\n": quoted += "\\n"
                case "\t": quoted += "\\t"
                case "\"": quoted += "\\\""
                case "\\": quoted += "\\\\"
                default: quoted.unicodeScalars.append(character)
                }
            }
            return "\"\(quoted)\""
        }
        return "[\(items.joined(separator: ", "))]"
    }
}

package enum PathRule {
    package static func check(_ path: some StringProtocol, _ what: String) throws(Refusal) {
        guard path.first == "/", path.utf8.count <= 1000, !path.utf8.contains(where: { $0 < 32 }) else {
            throw Refusal(
                "\(what) “\(path)” is not a whole path", remedy: "write it from the root on, as in /usr/bin/x")
        }
        guard !path.split(separator: "/").contains(where: { $0 == ".." || $0 == "." }) else {
            throw Refusal("\(what) “\(path)” has dots for directories in it", remedy: "write it without . and ..")
        }
    }

    /// A path whose copy means something on another machine.
    package static func checkCopied(_ path: some StringProtocol) throws(Refusal) {
        try check(path, "the path")
        let first = path.split(separator: "/").first.map { String($0) } ?? ""
        guard !first.isEmpty, !["proc", "sys", "dev", "run"].contains(first) else {
            throw Refusal(
                "\(path) belongs to one machine", remedy: "name what the service keeps, as in /var/lib/samba/")
        }
    }
}
