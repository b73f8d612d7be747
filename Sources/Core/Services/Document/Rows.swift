import Primitives

/// One object as it is kept on every node: a shared fact whose key is `desired/PART/NAME` and whose value is JSON with the
/// words of the file for `apply`, so that a person who reads the facts, with SQL or otherwise, knows what they say.
package struct DesiredRow: Equatable, Sendable {
    package enum Value: Equatable, Sendable {
        case text(String)
        case integer(Int64)
        case list([String])
        case map([Pair])
        case null
    }
    package struct Pair: Equatable, Sendable {
        package var name: String
        package var value: String
        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }
    package struct Column: Equatable, Sendable {
        package var name: String
        package var value: Value
    }
    /// `services`, `mirrors` …
    package var table: String
    /// What sets it apart from others of its table.
    package var key: String
    package var columns: [Column]

    package init(_ table: String, _ key: String, _ columns: [(String, Value)]) {
        self.table = table
        self.key = key
        // What is the default is not written down: a later version may have a better one.
        self.columns = columns.filter { $0.1 != .null && $0.1 != .list([]) && $0.1 != .map([]) }
            .map { Column(name: $0.0, value: $0.1) }
    }
    package subscript(_ name: String) -> Value { columns.first { $0.name == name }?.value ?? .null }

    package static let prefix = "desired/"
    package var factKey: String { "\(Self.prefix)\(table)/\(key)" }
    package var factValue: String { JSONText.write(columns) }

    /// nil for a key of something else.
    package init?(factKey: String, value: String) {
        let parts = factKey.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] + "/" == Self.prefix, let columns = JSONText.readObject(value) else {
            return nil
        }
        table = String(parts[1])
        key = String(parts[2])
        self.columns = columns
    }
}

extension DesiredState {
    package var rows: [DesiredRow] {
        var rows = reach.map { DesiredRow("reach", $0.description, [("address", .text($0.description))]) }
        rows += services.map(\.row) + mirrors.map(\.row) + volumes.map(\.row) + balancers.map(\.row)
        rows += fences.map(\.row)
        rows += schema.enumerated().map { position, statement in
            let columns: [(String, DesiredRow.Value)] = [
                ("statement", .text(statement)), ("position", .integer(Int64(position))),
            ]
            return DesiredRow("schema", Self.mark(of: statement), columns)
        }
        return rows
    }

    /// What the rows say. A row that cannot be read is left out and told: another version may have written it, or two edits
    /// that do not fit together were merged.
    package init(rows: [DesiredRow], unreadable: (DesiredRow, Refusal) -> Void) {
        self.init()
        var statements: [(Int64, String)] = []
        for row in rows {
            do throws(Refusal) {
                switch row.table {
                case "reach":
                    guard let address = IPAddress(try row.text("address")) else {
                        throw Refusal("an address cannot be read", remedy: "delete the row")
                    }
                    reach.append(address)
                case "services": services.append(try Service(row: row))
                case "mirrors": mirrors.append(try Mirror(row: row))
                case "volumes": volumes.append(try Volume(row: row))
                case "balancers": balancers.append(try Balancer(row: row))
                case "fences": fences.append(try Fence(row: row))
                case "schema": statements.append((row.integer("position") ?? 0, try row.text("statement")))
                default: continue
                }
            } catch {
                unreadable(row, error)
            }
        }
        schema = statements.sorted { $0 < $1 }.map(\.1)
        self = canonical
    }

    /// The same for the same text: two nodes that add one statement add one.
    private static func mark(of statement: String) -> String {
        let hash = statement.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        return String(hash, radix: 16)
    }

    /// The rows to write and to delete to get from here to `target`.
    package func edits(to target: DesiredState) -> (put: [DesiredRow], delete: [DesiredRow]) {
        let (old, new) = (rows, target.rows)
        return (
            new.filter { !old.contains($0) },
            old.filter { row in !new.contains { $0.table == row.table && $0.key == row.key } }
        )
    }
}

extension Service {
    var row: DesiredRow {
        let plain = Service(name: name)
        func time(_ value: Duration, _ usual: Duration) -> DesiredRow.Value {
            value == usual ? .null : .text(DurationText.write(value))
        }
        func count(_ value: Int, _ usual: Int) -> DesiredRow.Value { value == usual ? .null : .integer(Int64(value)) }
        return DesiredRow(
            "services", name.description,
            [
                ("name", .text(name.description)), ("addresses", .list(addresses.map(\.description))),
                ("mac", mac == .own ? .null : .text(mac.rawValue)), ("interface", .optional(interface)),
                ("run", .optional(run?.text)),
                (
                    "parameters",
                    .map(parameters.map { DesiredRow.Pair($0.name, $0.value) })
                ),
                ("check", .optional(check?.text)), ("every", time(every, plain.every)),
                ("after", .list(after.map(\.description))), ("prefer", .list(prefer.map(\.description))),
                ("failback", failback ? .integer(1) : .null), ("mirrors", .list(mirrors.map(\.description))),
                ("startWithin", time(limits.startWithin, plain.limits.startWithin)),
                ("stopWithin", time(limits.stopWithin, plain.limits.stopWithin)),
                ("checkWithin", time(limits.checkWithin, plain.limits.checkWithin)),
                ("failures", count(limits.failures, plain.limits.failures)),
                ("restarts", count(limits.restarts, plain.limits.restarts)),
            ])
    }

    init(row: DesiredRow) throws(Refusal) {
        self.init(name: try row.name("name"))
        addresses = try row.list("addresses") { text throws(Refusal) in try FloatingAddress(text: text) }
        mac = try row.oneOf("mac") ?? .own
        if let text = row.optional("interface") { interface = try Service.checkedInterface(text) }
        if let text = row.optional("run") { run = try Run(text: text) }
        if case .map(let pairs) = row["parameters"] {
            parameters = pairs.map { Parameter($0.name, $0.value) }.sorted { $0.name < $1.name }
        }
        if let text = row.optional("check") { check = try Check(text: text) }
        every = try row.time("every") ?? every
        after = try row.list("after") { text throws(Refusal) in try DesiredRow.name(text) }
        prefer = try row.nodes("prefer")
        failback = row.integer("failback") == 1
        mirrors = try row.list("mirrors") { text throws(Refusal) in try DesiredRow.name(text) }
        limits.startWithin = try row.time("startWithin") ?? limits.startWithin
        limits.stopWithin = try row.time("stopWithin") ?? limits.stopWithin
        limits.checkWithin = try row.time("checkWithin") ?? limits.checkWithin
        limits.failures = row.integer("failures").map { Int(clamping: min(max($0, 1), 100)) } ?? limits.failures
        limits.restarts = row.integer("restarts").map { Int(clamping: min(max($0, 0), 100)) } ?? limits.restarts
    }
}

extension Mirror {
    var row: DesiredRow {
        DesiredRow(
            "mirrors", name.description,
            [
                ("name", .text(name.description)), ("paths", .list(paths)), ("every", .text(schedule.text)),
                ("exclude", .list(exclude)), ("to", .list(to.map(\.description))),
                ("limit", .optional(limit.map(Mirror.text))),
            ])
    }
    init(row: DesiredRow) throws(Refusal) {
        let paths = try row.list("paths") { text throws(Refusal) in
            try PathRule.check(text, "the path")
            return text
        }
        guard !paths.isEmpty else { throw Refusal("it has no paths", remedy: "apply it again") }
        self.init(name: try row.name("name"), paths: paths)
        if row.optional("every") == "on-change" {
            schedule = .onChange
        } else if let every = try row.time("every") {
            schedule = .every(max(every, .seconds(1)))
        }
        exclude = try row.list("exclude") { text throws(Refusal) in text }
        to = try row.nodes("to")
        if let text = row.optional("limit") { limit = try Mirror.readLimit(text) }
    }
}

extension Fence {
    var row: DesiredRow {
        DesiredRow(
            "fences", node.description,
            [
                ("node", .text(node.description)), ("agent", .text(agent)),
                ("parameters", .map(parameters.map { DesiredRow.Pair($0.name, $0.value) })),
                ("within", within == .seconds(60) ? .null : .text(DurationText.write(within))),
            ])
    }
    init(row: DesiredRow) throws(Refusal) {
        guard let node = NodeName(try row.text("node")) else {
            throw Refusal("the name of its node cannot be read", remedy: "apply it again")
        }
        self.init(node: node, agent: try Fence.checkedAgent(try row.text("agent")))
        if case .map(let pairs) = row["parameters"] {
            parameters = pairs.map { Service.Parameter($0.name, $0.value) }.sorted { $0.name < $1.name }
        }
        for parameter in parameters { try Fence.check(parameter) }
        within = try row.time("within") ?? within
    }
}

extension Volume {
    /// As it is kept, and as it is asked about on other nodes.
    package var row: DesiredRow {
        var columns: [(String, DesiredRow.Value)] = [("name", .text(name.description))]
        switch layout {
        case .replicate(let copies, let arbiter):
            columns += [
                ("type", .text("replicate")), ("replica", .integer(Int64(copies))),
                ("arbiter", arbiter ? .integer(1) : .null),
            ]
        case .disperse(let redundancy, let bricks):
            columns += [
                ("type", .text("disperse")), ("disperse", bricks.map { .integer(Int64($0)) } ?? .null),
                ("redundancy", .integer(Int64(redundancy))),
            ]
        }
        columns += [
            ("path", .text(path)), ("mount", .optional(mount)), ("nodes", .list(nodes.map(\.description))),
            ("force", force ? .integer(1) : .null),
        ]
        return DesiredRow("volumes", name.description, columns)
    }
    package init(row: DesiredRow) throws(Refusal) {
        let path = try row.text("path")
        try PathRule.check(path, "the path")
        func number(_ column: String, _ range: ClosedRange<Int>) -> Int? {
            row.integer(column).map { min(max(Int(clamping: $0), range.lowerBound), range.upperBound) }
        }
        let layout: Layout
        switch row.optional("type") {
        case "replicate", nil:
            layout = .replicate(copies: number("replica", 2...20) ?? 3, arbiter: row.integer("arbiter") == 1)
        case "disperse":
            layout = .disperse(redundancy: number("redundancy", 1...8) ?? 1, bricks: number("disperse", 3...20))
        case let type?:
            throw Refusal("“\(type)” is no type of volume", remedy: "use replicate or disperse")
        }
        self.init(name: try row.name("name"), layout: layout, path: path)
        mount = row.optional("mount")
        nodes = try row.nodes("nodes")
        force = row.integer("force") == 1
    }
}

extension Balancer {
    var row: DesiredRow {
        DesiredRow(
            "balancers", name.description,
            [
                ("name", .text(name.description)), ("listen", .text(listenText)),
                ("protocol", .text(transport.rawValue)),
                ("to", .integer(Int64(to))), ("sticky", sticky == .none ? .null : .text(sticky.rawValue)),
                ("service", .optional(service?.description)), ("check", .optional(check)),
                ("nodes", .list(nodes.map(\.description))),
            ])
    }
    init(row: DesiredRow) throws(Refusal) {
        let listen = try row.text("listen")
        guard let to = row.integer("to").flatMap({ UInt16(exactly: $0) }), to > 0 else {
            throw Refusal("its port cannot be read", remedy: "apply it again")
        }
        let name = try row.name("name")
        if listen.hasPrefix(":"), let port = UInt16(listen.dropFirst()), port > 0 {
            self.init(name: name, listenPort: port, to: to)
        } else if let endpoint = Endpoint(listen, defaultPort: 0), endpoint.port > 0 {
            self.init(name: name, listenPort: endpoint.port, to: to)
            listenAddress = endpoint.address
        } else {
            throw Refusal("“\(listen)” is no place to listen", remedy: "apply it again")
        }
        transport = try row.oneOf("protocol") ?? .http
        sticky = try row.oneOf("sticky") ?? .none
        service = row.optional("service").flatMap { ServiceName($0) }
        if let path = row.optional("check") { check = try Balancer.checkPath(path) }
        nodes = try row.nodes("nodes")
    }
}

extension StandingOrders {
    package var rows: [DesiredRow] {
        let held = standby.sorted { $0.key < $1.key }.map { node, word in
            DesiredRow(
                "standby", node.description,
                [
                    ("node", .text(node.description)), ("standby", .text(word.value.rawValue)),
                    ("revision", .integer(Int64(clamping: word.revision))),
                ])
        }
        let orders = Set(stopped.keys).union(pins.keys).sorted().map { name in
            DesiredRow(
                "orders", name.description,
                [
                    ("service", .text(name.description)), ("stopped", .integer(isStopped(name) ? 1 : 0)),
                    ("stopped_revision", .integer(Int64(clamping: stopped[name]?.revision ?? 0))),
                    ("pin", .optional(pin(of: name)?.description)),
                    ("pin_revision", .integer(Int64(clamping: pins[name]?.revision ?? 0))),
                ])
        }
        return held + orders
    }

    /// Rows that cannot be read are passed over: an order nobody understands is none.
    package init(rows: [DesiredRow]) {
        self.init()
        for row in rows {
            switch row.table {
            case "standby":
                guard let node = row.optional("node").flatMap({ NodeID($0) }),
                    let word = row.optional("standby").flatMap(Standby.init)
                else { continue }
                set(node, to: word, revision: UInt64(clamping: row.integer("revision") ?? 0))
            case "orders":
                guard let name = row.optional("service").flatMap({ ServiceName($0) }) else { continue }
                if let revision = row.integer("stopped_revision"), revision > 0 {
                    set(name, isStopped: row.integer("stopped") == 1, revision: UInt64(clamping: revision))
                }
                if let revision = row.integer("pin_revision"), revision > 0 {
                    pin(name, to: row.optional("pin").flatMap { NodeID($0) }, revision: UInt64(clamping: revision))
                }
            default: continue
            }
        }
    }
}

extension DesiredRow.Value {
    static func optional(_ text: String?) -> Self { text.map { .text($0) } ?? .null }
}

extension DesiredRow {
    func optional(_ name: String) -> String? { if case .text(let text) = self[name] { text } else { nil } }
    func integer(_ name: String) -> Int64? { if case .integer(let number) = self[name] { number } else { nil } }
    func text(_ name: String) throws(Refusal) -> String {
        guard let text = optional(name) else { throw Refusal("it lacks its \(name)", remedy: "apply it again") }
        return text
    }
    static func name(_ text: String) throws(Refusal) -> ServiceName {
        guard let name = ServiceName(text) else {
            throw Refusal("“\(text)” is not a name", remedy: "use \(ServiceName.rule)")
        }
        return name
    }
    func name(_ column: String) throws(Refusal) -> ServiceName { try Self.name(text(column)) }
    func list<Item>(_ name: String, _ read: (String) throws(Refusal) -> Item) throws(Refusal) -> [Item] {
        let items: [String]
        switch self[name] {
        case .list(let given): items = given
        case .null: return []
        default: throw Refusal("its \(name) are not a list of texts", remedy: "apply it again")
        }
        var result: [Item] = []
        for item in items { result.append(try read(item)) }
        return result
    }
    func nodes(_ name: String) throws(Refusal) -> [NodeName] {
        try list(name) { text throws(Refusal) in
            guard let node = NodeName(text) else {
                throw Refusal("“\(text)” is not a node's name", remedy: "use \(NodeName.rule)")
            }
            return node
        }
    }
    func oneOf<Value: RawRepresentable<String>>(_ name: String) throws(Refusal) -> Value? {
        guard let text = optional(name) else { return nil }
        guard let value = Value(rawValue: text) else {
            throw Refusal(
                "“\(text)” is unknown as its \(name)", remedy: "apply it again, or bring all nodes to one version")
        }
        return value
    }
    func time(_ name: String) throws(Refusal) -> Duration? {
        guard let text = optional(name) else { return nil }
        guard let time = DurationText.read(text), time > .zero else {
            throw Refusal("“\(text)” is not a length of time", remedy: "write \(DurationText.rule)")
        }
        return time
    }
}

/// The JSON of rows, which knows texts, whole numbers, lists and maps of texts.
enum JSONText {
    static func write(_ columns: [DesiredRow.Column]) -> String {
        let members = columns.map { column in
            let value =
                switch column.value {
                case .text(let text): quote(text)
                case .integer(let number): String(number)
                case .list(let items): "[\(items.map(quote).joined(separator: ","))]"
                case .map(let pairs): "{\(pairs.map { "\(quote($0.name)):\(quote($0.value))" }.joined(separator: ","))}"
                case .null: "null"
                }
            return "\(quote(column.name)):\(value)"
        }
        return "{\(members.joined(separator: ","))}"
    }
    static func readObject(_ text: String) -> [DesiredRow.Column]? {
        guard text.utf8.count <= 1 << 20 else { return nil }
        var reader = Reader(text)
        guard reader.take("{") else { return nil }
        var columns: [DesiredRow.Column] = []
        if !reader.take("}") {
            repeat {
                guard let name = reader.string(), reader.take(":"), let value = reader.value() else { return nil }
                columns.append(DesiredRow.Column(name: name, value: value))
            } while reader.take(",")
            guard reader.take("}") else { return nil }
        }
        return reader.isAtEnd ? columns : nil
    }

    private static func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 32:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    private struct Reader {
        private let scalars: [Unicode.Scalar]
        private var position = 0
        init(_ text: String) { scalars = Array(text.unicodeScalars) }

        private mutating func skipBlanks() {
            while position < scalars.count, " \n\r\t".unicodeScalars.contains(scalars[position]) { position += 1 }
        }
        var isAtEnd: Bool {
            var copy = self
            copy.skipBlanks()
            return copy.position == copy.scalars.count
        }
        mutating func take(_ wanted: Unicode.Scalar) -> Bool {
            skipBlanks()
            guard position < scalars.count, scalars[position] == wanted else { return false }
            position += 1
            return true
        }
        mutating func value() -> DesiredRow.Value? {
            if take("[") {
                var items: [String] = []
                if take("]") { return .list([]) }
                repeat {
                    guard let item = string() else { return nil }
                    items.append(item)
                } while take(",")
                return take("]") ? .list(items) : nil
            }
            if take("{") {
                var pairs: [DesiredRow.Pair] = []
                if take("}") { return .map([]) }
                repeat {
                    guard let name = string(), take(":"), let value = string() else { return nil }
                    pairs.append(DesiredRow.Pair(name, value))
                } while take(",")
                return take("}") ? .map(pairs) : nil
            }
            if let text = string() { return .text(text) }
            skipBlanks()
            let digits = scalars[position...].prefix { $0 == "-" || ("0"..."9").contains($0) }
            position += digits.count
            return Int64(String(String.UnicodeScalarView(digits))).map { .integer($0) }
        }
        mutating func string() -> String? {
            guard take("\"") else { return nil }
            var result = String.UnicodeScalarView()
            while position < scalars.count {
                let scalar = scalars[position]
                position += 1
                if scalar == "\"" { return String(result) }
                guard scalar == "\\" else {
                    guard scalar.value >= 32 else { return nil }
                    result.append(scalar)
                    continue
                }
                guard position < scalars.count else { return nil }
                let escaped = scalars[position]
                position += 1
                switch escaped {
                case "\"", "\\", "/": result.append(escaped)
                case "b": result.append("\u{8}")
                case "f": result.append("\u{C}")
                case "n": result.append("\n")
                case "r": result.append("\r")
                case "t": result.append("\t")
                case "u":
                    guard var value = hex() else { return nil }
                    if (0xD800..<0xDC00).contains(value) {
                        guard position + 1 < scalars.count, scalars[position] == "\\", scalars[position + 1] == "u"
                        else {
                            return nil
                        }
                        position += 2
                        guard let low = hex(), (0xDC00..<0xE000).contains(low) else { return nil }
                        value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
                    }
                    guard let made = Unicode.Scalar(value) else { return nil }
                    result.append(made)
                default: return nil
                }
            }
            return nil
        }
        private mutating func hex() -> UInt32? {
            guard position + 4 <= scalars.count else { return nil }
            let digits = String(String.UnicodeScalarView(scalars[position..<position + 4]))
            guard digits.allSatisfy(\.isHexDigit) else { return nil }
            position += 4
            return UInt32(digits, radix: 16)
        }
    }
}
