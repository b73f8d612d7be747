import Primitives

/// A row of the shared database that holds one object. Columns have the names and the words of the file for `apply`, lists
/// are JSON arrays of texts, so that a person with `bramble sql` reads them and `json_each` takes them apart.
///
/// Column by column is also how two edits of one object merge that were made on two sides of a cut: the newer word about
/// each key counts, and what does not fit together then is shown and not acted on.
package struct DesiredRow: Equatable, Sendable {
    package enum Value: Equatable, Sendable {
        case text(String)
        case integer(Int64)
        case null
    }
    package var table: String
    /// The first column is the primary key.
    package var columns: [(name: String, value: Value)]

    package init(_ table: String, _ columns: [(name: String, value: Value)]) {
        self.table = table
        self.columns = columns
    }
    package static func == (left: DesiredRow, right: DesiredRow) -> Bool {
        left.table == right.table && left.columns.map(\.name) == right.columns.map(\.name)
            && left.columns.map(\.value) == right.columns.map(\.value)
    }
    package var key: Value { columns.first?.value ?? .null }
    package subscript(_ name: String) -> Value { columns.first { $0.name == name }?.value ?? .null }
}

package enum DesiredTables {
    /// Run when the database is opened; each may be there already.
    package static let statements: [String] = [
        "CREATE TABLE IF NOT EXISTS bramble_reach (address TEXT PRIMARY KEY NOT NULL)",
        """
        CREATE TABLE IF NOT EXISTS bramble_services (name TEXT PRIMARY KEY NOT NULL, addresses TEXT, mac TEXT, \
        interface TEXT, run TEXT, parameters TEXT, check_by TEXT, every TEXT, after_services TEXT, prefer TEXT, \
        failback INTEGER, mirrors TEXT, start_within TEXT, stop_within TEXT, check_within TEXT, failures INTEGER, \
        restarts INTEGER)
        """,
        """
        CREATE TABLE IF NOT EXISTS bramble_mirrors (name TEXT PRIMARY KEY NOT NULL, paths TEXT, every TEXT, \
        exclude TEXT, to_nodes TEXT)
        """,
        """
        CREATE TABLE IF NOT EXISTS bramble_volumes (name TEXT PRIMARY KEY NOT NULL, type TEXT, replica INTEGER, \
        redundancy INTEGER, path TEXT, mount TEXT, nodes TEXT)
        """,
        """
        CREATE TABLE IF NOT EXISTS bramble_balancers (name TEXT PRIMARY KEY NOT NULL, listen TEXT, protocol TEXT, \
        to_port INTEGER, sticky TEXT, nodes TEXT)
        """,
        "CREATE TABLE IF NOT EXISTS bramble_schema (statement TEXT PRIMARY KEY NOT NULL, position INTEGER)",
        "CREATE TABLE IF NOT EXISTS bramble_standby (node TEXT PRIMARY KEY NOT NULL, standby TEXT, revision INTEGER)",
        """
        CREATE TABLE IF NOT EXISTS bramble_orders (service TEXT PRIMARY KEY NOT NULL, stopped INTEGER, \
        stopped_revision INTEGER, pin TEXT, pin_revision INTEGER)
        """,
    ]
    package static let names = [
        "bramble_reach", "bramble_services", "bramble_mirrors", "bramble_volumes", "bramble_balancers",
        "bramble_schema", "bramble_standby", "bramble_orders",
    ]
}

extension DesiredState {
    package var rows: [DesiredRow] {
        var rows = reach.map { DesiredRow("bramble_reach", [("address", .text($0.description))]) }
        rows += services.map(\.row) + mirrors.map(\.row) + volumes.map(\.row) + balancers.map(\.row)
        rows += schema.enumerated().map {
            DesiredRow("bramble_schema", [("statement", .text($0.element)), ("position", .integer(Int64($0.offset)))])
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
                case "bramble_reach":
                    guard let address = IPAddress(try row.text("address")) else {
                        throw Refusal("an address cannot be read", remedy: "delete the row")
                    }
                    reach.append(address)
                case "bramble_services": services.append(try Service(row: row))
                case "bramble_mirrors": mirrors.append(try Mirror(row: row))
                case "bramble_volumes": volumes.append(try Volume(row: row))
                case "bramble_balancers": balancers.append(try Balancer(row: row))
                case "bramble_schema": statements.append((row.integer("position") ?? 0, try row.text("statement")))
                default: continue
                }
            } catch {
                unreadable(row, error)
            }
        }
        schema = statements.sorted { $0 < $1 }.map(\.1)
        self = canonical
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
            "bramble_services",
            [
                ("name", .text(name.description)), ("addresses", .list(addresses.map(\.description))),
                ("mac", mac == .own ? .null : .text(mac.rawValue)), ("interface", .optional(interface)),
                ("run", .optional(run?.text)),
                (
                    "parameters",
                    parameters.isEmpty ? .null : .text(JSONText.write(parameters.map { ($0.name, $0.value) }))
                ),
                ("check_by", .optional(check?.text)), ("every", time(every, plain.every)),
                ("after_services", .list(after.map(\.description))), ("prefer", .list(prefer.map(\.description))),
                ("failback", failback ? .integer(1) : .null), ("mirrors", .list(mirrors.map(\.description))),
                ("start_within", time(limits.startWithin, plain.limits.startWithin)),
                ("stop_within", time(limits.stopWithin, plain.limits.stopWithin)),
                ("check_within", time(limits.checkWithin, plain.limits.checkWithin)),
                ("failures", count(limits.failures, plain.limits.failures)),
                ("restarts", count(limits.restarts, plain.limits.restarts)),
            ])
    }

    init(row: DesiredRow) throws(Refusal) {
        self.init(name: try row.name("name"))
        addresses = try row.list("addresses") { text throws(Refusal) in try FloatingAddress(text: text) }
        mac = try row.oneOf("mac") ?? .own
        interface = row.optional("interface")
        if let text = row.optional("run") { run = try Run(text: text) }
        if let text = row.optional("parameters") {
            guard let pairs = JSONText.readObject(text) else {
                throw Refusal("its parameters are not a JSON object of texts", remedy: "apply it again")
            }
            parameters = pairs.map { Parameter($0.0, $0.1) }.sorted { $0.name < $1.name }
        }
        if let text = row.optional("check_by") { check = try Check(text: text) }
        every = try row.time("every") ?? every
        after = try row.list("after_services") { text throws(Refusal) in try DesiredRow.name(text) }
        prefer = try row.nodes("prefer")
        failback = row.integer("failback") == 1
        mirrors = try row.list("mirrors") { text throws(Refusal) in try DesiredRow.name(text) }
        limits.startWithin = try row.time("start_within") ?? limits.startWithin
        limits.stopWithin = try row.time("stop_within") ?? limits.stopWithin
        limits.checkWithin = try row.time("check_within") ?? limits.checkWithin
        limits.failures = row.integer("failures").map { Int(clamping: min(max($0, 1), 100)) } ?? limits.failures
        limits.restarts = row.integer("restarts").map { Int(clamping: min(max($0, 0), 100)) } ?? limits.restarts
    }
}

extension Mirror {
    var row: DesiredRow {
        DesiredRow(
            "bramble_mirrors",
            [
                ("name", .text(name.description)), ("paths", .list(paths)), ("every", .text(schedule.text)),
                ("exclude", .list(exclude)), ("to_nodes", .list(to.map(\.description))),
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
        to = try row.nodes("to_nodes")
    }
}

extension Volume {
    var row: DesiredRow {
        var (type, replica, redundancy) = ("replicate", DesiredRow.Value.null, DesiredRow.Value.null)
        switch layout {
        case .replicate(let copies): replica = .integer(Int64(copies))
        case .disperse(let count): (type, redundancy) = ("disperse", .integer(Int64(count)))
        }
        return DesiredRow(
            "bramble_volumes",
            [
                ("name", .text(name.description)), ("type", .text(type)), ("replica", replica),
                ("redundancy", redundancy), ("path", .text(path)), ("mount", .optional(mount)),
                ("nodes", .list(nodes.map(\.description))),
            ])
    }
    init(row: DesiredRow) throws(Refusal) {
        let path = try row.text("path")
        try PathRule.check(path, "the path")
        let layout: Layout
        switch row.optional("type") {
        case "replicate", nil:
            layout = .replicate(copies: Int(clamping: min(max(row.integer("replica") ?? 3, 2), 20)))
        case "disperse":
            layout = .disperse(redundancy: Int(clamping: min(max(row.integer("redundancy") ?? 1, 1), 8)))
        case let type?:
            throw Refusal("“\(type)” is no type of volume", remedy: "use replicate or disperse")
        }
        self.init(name: try row.name("name"), layout: layout, path: path)
        mount = row.optional("mount")
        nodes = try row.nodes("nodes")
    }
}

extension Balancer {
    var row: DesiredRow {
        DesiredRow(
            "bramble_balancers",
            [
                ("name", .text(name.description)), ("listen", .text(listenText)),
                ("protocol", .text(transport.rawValue)),
                ("to_port", .integer(Int64(to))), ("sticky", sticky == .none ? .null : .text(sticky.rawValue)),
                ("nodes", .list(nodes.map(\.description))),
            ])
    }
    init(row: DesiredRow) throws(Refusal) {
        let listen = try row.text("listen")
        guard let to = row.integer("to_port").flatMap({ UInt16(exactly: $0) }), to > 0 else {
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
        nodes = try row.nodes("nodes")
    }
}

extension StandingOrders {
    package var rows: [DesiredRow] {
        let held = standby.sorted { $0.key < $1.key }.map { node, word in
            DesiredRow(
                "bramble_standby",
                [
                    ("node", .text(node.description)), ("standby", .text(word.value.rawValue)),
                    ("revision", .integer(Int64(clamping: word.revision))),
                ])
        }
        let orders = Set(stopped.keys).union(pins.keys).sorted().map { name in
            DesiredRow(
                "bramble_orders",
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
            case "bramble_standby":
                guard let node = row.optional("node").flatMap({ NodeID($0) }),
                    let word = row.optional("standby").flatMap(Standby.init)
                else { continue }
                set(node, to: word, revision: UInt64(clamping: row.integer("revision") ?? 0))
            case "bramble_orders":
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
    static func list(_ items: [String]) -> Self { items.isEmpty ? .null : .text(JSONText.write(items)) }
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
        guard let text = optional(name) else { return [] }
        guard let items = JSONText.readArray(text) else {
            throw Refusal("its \(name) are not a JSON array of texts", remedy: "apply it again")
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

/// The JSON of lists and maps of texts, which is all that the rows need.
enum JSONText {
    static func write(_ items: [String]) -> String { "[\(items.map(quote).joined(separator: ","))]" }
    static func write(_ pairs: [(String, String)]) -> String {
        "{\(pairs.map { "\(quote($0.0)):\(quote($0.1))" }.joined(separator: ","))}"
    }
    static func readArray(_ text: String) -> [String]? {
        var reader = Reader(text)
        guard reader.take("[") else { return nil }
        var items: [String] = []
        if !reader.take("]") {
            repeat {
                guard let item = reader.string() else { return nil }
                items.append(item)
            } while reader.take(",")
            guard reader.take("]") else { return nil }
        }
        return reader.isAtEnd ? items : nil
    }
    static func readObject(_ text: String) -> [(String, String)]? {
        var reader = Reader(text)
        guard reader.take("{") else { return nil }
        var pairs: [(String, String)] = []
        if !reader.take("}") {
            repeat {
                guard let key = reader.string(), reader.take(":"), let value = reader.string() else { return nil }
                pairs.append((key, value))
            } while reader.take(",")
            guard reader.take("}") else { return nil }
        }
        return reader.isAtEnd ? pairs : nil
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
