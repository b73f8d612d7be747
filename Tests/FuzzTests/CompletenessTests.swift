import Foundation
import FuzzTargets
import Testing

/// Nobody has to remember to fuzz a parser: the sources are searched for declarations that read bytes and may refuse them,
/// and for places where a network's bytes come in. Whoever writes a new one is asked here for its target.
@Suite("every parser of bytes from outside has a fuzz target")
struct CompletenessTests {
    /// Why a target does not name it.
    enum Excuse {
        /// It is not to be reached from the targets' module; these targets go through it.
        case within([String])
        /// Its bytes are our own.
        case ours(String)

        var targets: [String] { if case .within(let names) = self { names } else { [] } }
    }

    static let excused: [String: Excuse] = [
        "NodeMessage.init(decoding:)": .within(["nodeCore"]),
        "ByteReader.list(limit:)": .within(["membership", "facts", "replication"]),
        "RecordBody.init(_:)": .within(["recordBody"]),
        "Section.init(from:)": .within(["recordBody"]),
        "RowMetadata.decode(_:)": .within(["recordBody", "snapshot"]),
        "DatabaseEpoch.init(bytes:)": .within(["snapshot"]),
        "Store.candidate(path:)": .within(["snapshot"]),
        "SQLText.kind(of:)": .within(["sql"]),
        "SavedState.members(from:)": .ours("a file of the data directory, under a checksum"),
        "SavedState.facts(from:)": .ours("a file of the data directory, under a checksum"),
        "SavedState.leases(from:)": .ours("a file of the data directory, under a checksum"),
        "SavedState.entry(from:)": .ours("a row that this node wrote itself"),
        "NodeCore.setFact(_:)": .ours("an operator's order: kept, not read"),
        "NodeCore.setFacts(_:)": .ours("an operator's order: kept, not read"),
        "NodeCore.remove(_:)": .ours("the keys of an order: kept, not read"),
    ]

    /// Where bytes of a network or a kernel come in.
    static let doors: [String: Excuse] = [
        "Drivers/Transport/Datagrams/DatagramSocket.swift": .within(["packet", "handshake", "sessions", "nodeCore"]),
        "Drivers/Transport/Streams/StreamConnection.swift": .within(["frames", "streamMessages"]),
        "Drivers/Transport/Streams/StreamTransport.swift": .within(["frames", "streamMessages", "facts", "replication"]
        ),
        "Drivers/Transport/Streams/Tunnels.swift": .within(["mirrorRequest", "mirrorMessage"]),
        "Drivers/Discovery/ServiceDiscovery.swift": .within(["announcement"]),
        "Drivers/Discovery/Responder.swift": .ours("it only says who we are"),
        "Drivers/Discovery/AvahiPollAdapter.swift": .ours("timers and descriptors of the library, no bytes"),
        "Drivers/Machine/Netlink.swift": .within(["netlink"]),
        "Drivers/Machine/Takeover/NetlinkRequest.swift": .within(["netlink"]),
        "Drivers/Machine/Addresses.swift": .ours("that something came is all that counts"),
        "Drivers/Machine/Takeover/NeighbourSocket.swift": .within(["neighbourFrame"]),
        "Drivers/Machine/Takeover/AddressTakeover+Guardian.swift": .ours("a process of ours is at the other end"),
        "Drivers/Machine/ReachProber.swift": .within(["echoReply"]),
        "Drivers/Runners/Checks/CheckProbe.swift": .within(["httpAnswer"]),
        "Drivers/Engines/Mirrors/MirrorEngine+Sending.swift": .ours("a process of ours is at the other end"),
        "Drivers/Web/Server/HTTPListener.swift": .ours("heads of requests are libmicrohttpd's to read"),
        "Drivers/Web/Server/ByteStream.swift": .ours("what is sent"),
        "Drivers/Web/Server/Exchange.swift": .within(["json"]),
        "API/ClientTransfer.swift": .within(["json", "event-stream"]),
    ]

    // MARK: The sources

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func files(in folder: String) -> [(path: String, text: String)] {
        let place = root.appendingPathComponent(folder)
        let walker = FileManager.default.enumerator(atPath: place.path)!
        return walker.compactMap { $0 as? String }.filter { $0.hasSuffix(".swift") }.sorted().map { path in
            (path, (try? String(contentsOf: place.appendingPathComponent(path), encoding: .utf8)) ?? "")
        }
    }
    private static let sources = files(in: "Sources").filter { !$0.path.hasPrefix("Simulation/") }
    private static let targets = files(in: "Tests/Fuzz/Targets").map(\.text).joined()

    @Test("each declaration that reads bytes and may refuse them is named by a target, or is excused")
    func declarations() {
        let found = Self.sources.flatMap { path, text in Parser.all(in: text).map { (path, $0) } }
        #expect(found.count > 40)
        for (path, parser) in found where !parser.isNamed(in: Self.targets) && Self.excused[parser.key] == nil {
            Issue.record("Sources/\(path): no target in Tests/Fuzz/Targets reads bytes with \(parser.key)")
        }
        let open = Set(found.map(\.1).filter { !$0.isNamed(in: Self.targets) }.map(\.key))
        for key in Self.excused.keys where !open.contains(key) {
            Issue.record("\(key) needs no excuse any more")
        }
    }

    @Test("each place where bytes of a network come in leads to a target, or says why not")
    func places() {
        let found = Set(Self.sources.filter { Self.isDoor($0.text) }.map(\.path))
        for path in found where Self.doors[path] == nil {
            Issue.record("Sources/\(path) takes bytes from a network: which fuzz targets read them?")
        }
        for path in Self.doors.keys where !found.contains(path) { Issue.record("\(path) takes no bytes any more") }
    }

    @Test("each target is among those that are run, and each that is asked for here is there")
    func listed() {
        let written = Self.targets.components(separatedBy: "= FuzzTarget(\"").dropFirst()
            .compactMap { $0.split(separator: "\"").first.map(String.init) }
        #expect(written.sorted() == FuzzTarget.all.map(\.name).sorted())
        for name in Set((Array(Self.excused.values) + Array(Self.doors.values)).flatMap(\.targets)) {
            #expect(FuzzTarget.named(name) != nil, "there is no target “\(name)”")
        }
    }

    @Test("a new parser or door is noticed")
    func noticed() {
        let source = """
            /// init(encoded bytes: [UInt8]) throws
            extension Outer.Letter {
                package init(encoded bytes: [UInt8]) throws(Failure) {
                    self.init(encoded: bytes)
                }
                package static func read<T>(
                    _ type: T, from bytes: some Collection<UInt8>
                ) -> T? { nil }
                private static func part(_ bytes: [UInt8]) -> Int? { nil }
                static func write(_ bytes: [UInt8]) throws {}
            }
            """
        let found = Parser.all(in: source)
        #expect(found.map(\.key) == ["Letter.init(encoded:)", "Letter.read(_:)"])
        #expect(found[0].isNamed(in: "try? Letter(encoded: bytes)") && !found[0].isNamed(in: "Letter(decoding: bytes)"))
        #expect(found[1].isNamed(in: "Letter.read(") && !found[1].isNamed(in: "Letter.readAll("))
        #expect(Self.isDoor("let count = recv(socket, &buffer, 10, 0)") && Self.isDoor("import CCurl"))
        #expect(!Self.isDoor("// recv(2)\nlet x = 1"))
    }

    private static func isDoor(_ text: String) -> Bool {
        let words = ["recv(", "recvfrom(", "recvmsg(", "clinux_receive_", "clinux_begin_connection("]
        let libraries = ["import CAvahi", "import CMicrohttpd", "import CCurl"]
        return text.split(separator: "\n").contains { line in
            let code = line.range(of: "//").map { line[..<$0.lowerBound] } ?? line
            return libraries.contains { code == $0 } || words.contains { code.contains($0) }
        }
    }
}

/// A declaration that takes bytes and makes something of them, or refuses.
private struct Parser {
    var type: String
    var name: String
    /// Of its first parameter.
    var label: String
    var isMutating: Bool

    var key: String { "\(type).\(name)(\(label):)" }

    func isNamed(in targets: String) -> Bool {
        if name == "init" { return targets.contains("\(type)(\(label == "_" ? "" : "\(label):")") }
        if targets.contains("\(type).\(name)(") { return true }
        return isMutating && targets.contains("\(type)(") && targets.contains(".\(name)(")
    }

    private static let bytes = [
        "[UInt8]", "ArraySlice<UInt8>", "Collection<UInt8>", "Sequence<UInt8>", "UnsafeRawBufferPointer", "ByteReader",
    ]
    private static let modifiers: Set<Substring> = [
        "package", "public", "internal", "static", "mutating", "convenience", "nonisolated", "borrowing", "consuming",
        "final", "indirect", "override", "@discardableResult",
    ]

    /// By the layout that `swift format` gives every file: a declaration begins its line, deeper than its type.
    static func all(in text: String) -> [Parser] {
        guard bytes.contains(where: { text.contains($0) }) else { return [] }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return lines.indices.compactMap { place in
            guard let (words, name) = start(of: lines[place]) else { return nil }
            var head = String(lines[place])
            for next in lines[(place + 1)...].prefix(8) where !head.contains("{") { head += " " + next }
            head = String(head.prefix { $0 != "{" })
            guard let open = head.firstIndex(of: "("), let close = end(of: head, from: open) else { return nil }
            let (parameters, rest) = (head[head.index(after: open)..<close], head[close...])
            let isRead = bytes.contains { parameters.contains($0) }
            let refuses =
                head.contains("init?") || rest.contains("throws")
                || rest.split(separator: " ").last?.hasSuffix("?") ?? false
            guard isRead, refuses, name == "init" || rest.contains("->"),
                name == "init" || words.contains("static") || words.contains("mutating"),
                let type = enclosingType(of: place, in: lines)
            else { return nil }
            let label = parameters.split(whereSeparator: { " :\n".contains($0) }).first.map(String.init) ?? "_"
            return Parser(type: type, name: name, label: label, isMutating: words.contains("mutating"))
        }
    }

    /// The modifiers and the name of an initializer or a function that begins here; nil for private ones, too.
    private static func start(of line: Substring) -> (modifiers: Set<Substring>, name: String)? {
        guard line.contains("init") || line.contains("func ") else { return nil }
        var words = line.split(separator: " ")[...]
        var found: Set<Substring> = []
        while let word = words.first, modifiers.contains(word) {
            found.insert(word)
            words.removeFirst()
        }
        guard let word = words.first else { return nil }
        if ["init(", "init?(", "init<"].contains(where: { word.hasPrefix($0) }) { return (found, "init") }
        guard word == "func", let name = words.dropFirst().first?.prefix(while: { $0.isLetter || $0.isNumber }) else {
            return nil
        }
        return (found, String(name))
    }

    private static func end(of head: String, from open: String.Index) -> String.Index? {
        var depth = 0
        for place in head[open...].indices {
            if head[place] == "(" { depth += 1 }
            if head[place] == ")" { depth -= 1 }
            if depth == 0 { return place }
        }
        return nil
    }

    private static func enclosingType(of place: Int, in lines: [Substring]) -> String? {
        let indent = lines[place].prefix { $0 == " " }.count
        for line in lines[..<place].reversed() where line.prefix(while: { $0 == " " }).count < indent {
            var words = line.split(separator: " ")[...]
            while let word = words.first, modifiers.contains(word) || ["private", "fileprivate"].contains(word) {
                words.removeFirst()
            }
            guard let keyword = words.first,
                ["struct", "enum", "class", "actor", "extension", "protocol"].contains(keyword),
                let name = words.dropFirst().first?.prefix(while: { $0.isLetter || $0.isNumber || $0 == "." })
            else { continue }
            return name.split(separator: ".").last.map(String.init)
        }
        return nil
    }
}
