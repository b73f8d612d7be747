import Primitives

/// What one decoding run remembers: which keys were asked for, and how much was read.
final class Reading {
    let name: String
    private var budget: Int
    private var visited: [ObjectIdentifier: (node: Node, asked: Set<String>)] = [:]
    private var order: [ObjectIdentifier] = []
    /// An error that a type must not swallow while it tries one alternative after the other.
    private(set) var firstFatal: YAMLError?

    init(name: String, budget: Int) {
        self.name = name
        self.budget = budget
    }

    func spend(at node: Node) throws {
        budget -= 1
        guard budget < 0 else { return }
        let error = YAMLError(
            name, node.mark, "repeats itself by aliases too often", remedy: "write it out, or split it")
        firstFatal = firstFatal ?? error
        throw error
    }
    func visit(_ mapping: Node) {
        let id = ObjectIdentifier(mapping)
        guard visited[id] == nil else { return }
        visited[id] = (mapping, [])
        order.append(id)
    }
    func ask(_ key: String, of mapping: Node) { visited[ObjectIdentifier(mapping)]?.asked.insert(key) }

    func error(_ node: Node, _ path: [any CodingKey], _ what: String, remedy: String = "") -> YAMLError {
        let subject = Self.text(path)
        return YAMLError(name, node.mark, subject.isEmpty ? what : "`\(subject)` \(what)", remedy: remedy)
    }

    /// A key is missing: if one that nobody knows looks like it, that one is the error.
    func missing(_ key: String, in mapping: Node, _ path: [any CodingKey]) -> YAMLError {
        if case .mapping(let entries) = mapping.content {
            let asked = visited[ObjectIdentifier(mapping)]?.asked ?? []
            let suspect = entries.first { !asked.contains($0.key) && Suggestion.isClose($0.key, key) }
            if let suspect {
                return YAMLError(
                    name, suspect.mark, "unknown key `\(suspect.key)`", remedy: "did you mean `\(key)`?")
            }
        }
        let owner = Self.text(path)
        return YAMLError(
            name, mapping.mark, owner.isEmpty ? "`\(key)` is missing" : "`\(owner)` lacks `\(key)`",
            remedy: "add `\(key): …`")
    }

    /// Every key of every mapping read must have been asked for by its type.
    func refuseUnknownKeys() throws(YAMLError) {
        var first: (entry: Node.Entry, asked: Set<String>)?
        for id in order {
            guard let (node, asked) = visited[id], case .mapping(let entries) = node.content else { continue }
            for entry in entries where !asked.contains(entry.key) {
                let isSooner = first.map {
                    (entry.mark.line, entry.mark.column) < ($0.entry.mark.line, $0.entry.mark.column)
                }
                if isSooner ?? true { first = (entry, asked) }
            }
        }
        guard let (entry, asked) = first else { return }
        let allowed = asked.sorted()
        let remedy =
            if let close = Suggestion.closest(to: entry.key, in: allowed) {
                "did you mean `\(close)`?"
            } else if allowed.isEmpty {
                "no keys are allowed here"
            } else {
                "allowed here: \(allowed.joined(separator: ", "))"
            }
        throw YAMLError(name, entry.mark, "unknown key `\(entry.key)`", remedy: remedy)
    }

    static func text(_ path: [any CodingKey]) -> String {
        path.reduce(into: "") { text, key in
            if let index = key.intValue {
                text += "[\(index)]"
            } else {
                text += (text.isEmpty ? "" : ".") + key.stringValue
            }
        }
    }
}

/// `Decodable` from nodes. Texts are taken as written (`name: 123` is the text "123"), numbers and truth values by YAML
/// 1.2's core schema, so `no` and `12:30` are texts.
struct NodeDecoder: Decoder {
    let node: Node
    let codingPath: [any CodingKey]
    let reading: Reading
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    static func decode<Value: Decodable>(
        _ type: Value.Type, from node: Node, at path: [any CodingKey], _ reading: Reading
    ) throws -> Value {
        try reading.spend(at: node)
        do {
            return try Value(from: NodeDecoder(node: node, codingPath: path, reading: reading))
        } catch let error as DecodingError {
            throw translate(error, node, path, reading)
        }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        KeyedDecodingContainer(try Keyed<Key>(node, codingPath, reading))
    }
    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .sequence(let items) = node.content else { throw expected("a list") }
        return Unkeyed(items: items, owner: node, codingPath: codingPath, reading: reading)
    }
    func singleValueContainer() throws -> any SingleValueDecodingContainer { Single(decoder: self) }

    /// Errors of a type's own `init(from:)`: the place is that of the value they name. A type that knows a remedy gives its
    /// `OperatorError` as the underlying one.
    private static func translate(
        _ error: DecodingError, _ node: Node, _ path: [any CodingKey], _ reading: Reading
    ) -> YAMLError {
        let context: DecodingError.Context
        switch error {
        case .keyNotFound(let key, _): return reading.missing(key.stringValue, in: node, path)
        case .typeMismatch(_, let given), .valueNotFound(_, let given), .dataCorrupted(let given): context = given
        @unknown default: return reading.error(node, path, "is not what is expected here")
        }
        let place = node.place(
            of: context.codingPath.dropFirst(path.count).map {
                $0.intValue.map(YAML.Step.index) ?? .key($0.stringValue)
            })
        let text = Reading.text(context.codingPath)
        let reason = context.underlyingError as? any OperatorError
        let said = reason?.problem ?? context.debugDescription
        return YAMLError(
            reading.name, place.mark, text.isEmpty ? said : "`\(text)`: \(said)", remedy: reason?.remedy ?? "")
    }

    fileprivate func expected(_ what: String, remedy: String = "") -> YAMLError {
        reading.error(node, codingPath, "must be \(what), not \(node.kind)", remedy: remedy)
    }

    // MARK: Scalars

    fileprivate func string() throws -> String {
        guard case .scalar(let text, _) = node.content, !node.isNull else { throw expected("a text") }
        return text
    }
    fileprivate func bool() throws -> Bool {
        guard case .scalar(let text, isPlain: true) = node.content else { throw expected("true or false") }
        switch text {
        case "true", "True", "TRUE": return true
        case "false", "False", "FALSE": return false
        default: throw expected("true or false")
        }
    }
    fileprivate func integer<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
        guard case .scalar(let text, let isPlain) = node.content else { throw expected("a whole number") }
        guard isPlain else { throw expected("a whole number", remedy: "remove the quotes") }
        if let number = Self.integer(text, Number.self) { return number }
        let isNumber = Self.double(text) != nil
        throw expected(isNumber ? "a whole number from \(Number.min) to \(Number.max)" : "a whole number")
    }
    fileprivate func double() throws -> Double {
        guard case .scalar(let text, let isPlain) = node.content else { throw expected("a number") }
        guard isPlain else { throw expected("a number", remedy: "remove the quotes") }
        guard let number = Self.double(text) else { throw expected("a number") }
        return number
    }

    private static func integer<Number: FixedWidthInteger>(_ text: String, _ type: Number.Type) -> Number? {
        if text.hasPrefix("0x") { return hasSignAfterPrefix(text) ? nil : Number(text.dropFirst(2), radix: 16) }
        if text.hasPrefix("0o") { return hasSignAfterPrefix(text) ? nil : Number(text.dropFirst(2), radix: 8) }
        return Number(text)
    }
    private static func hasSignAfterPrefix(_ text: String) -> Bool {
        text.dropFirst(2).first.map { "+-".contains($0) } ?? true
    }

    /// Decimal digits with an optional fraction and exponent. Not `inf`, `nan` or hexadecimal, which `Double` would take.
    private static func double(_ text: String) -> Double? {
        let isPlain = text.utf8.allSatisfy { (48...57).contains($0) || "+-.eE".utf8.contains($0) }
        guard isPlain, let number = Double(text), number.isFinite else { return nil }
        return number
    }
}

private struct IndexKey: CodingKey {
    let index: Int
    var intValue: Int? { index }
    var stringValue: String { String(index) }
    init(_ index: Int) { self.index = index }
    init?(intValue: Int) { self.init(intValue) }
    init?(stringValue: String) { return nil }
}

private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let node: Node
    let codingPath: [any CodingKey]
    let reading: Reading
    private let values: [String: Node]
    private let order: [String]

    init(_ node: Node, _ path: [any CodingKey], _ reading: Reading) throws {
        guard case .mapping(let entries) = node.content else {
            if node.isNull {
                // `services:` with nothing after it is an empty mapping.
                self.init(node: node, codingPath: path, reading: reading, values: [:], order: [])
                return
            }
            throw reading.error(node, path, "must be a mapping (`key: value` lines), not \(node.kind)")
        }
        reading.visit(node)
        self.init(
            node: node, codingPath: path, reading: reading,
            values: Dictionary(entries.map { ($0.key, $0.value) }) { first, _ in first },
            order: entries.map(\.key))
    }
    private init(node: Node, codingPath: [any CodingKey], reading: Reading, values: [String: Node], order: [String]) {
        self.node = node
        self.codingPath = codingPath
        self.reading = reading
        self.values = values
        self.order = order
    }

    /// A type that asks for all keys takes any key.
    var allKeys: [Key] {
        order.compactMap { text in
            guard let key = Key(stringValue: text) else { return nil }
            reading.ask(text, of: node)
            return key
        }
    }
    func contains(_ key: Key) -> Bool {
        reading.ask(key.stringValue, of: node)
        return values[key.stringValue] != nil
    }
    private func decoder(_ key: any CodingKey) throws -> NodeDecoder {
        reading.ask(key.stringValue, of: node)
        guard let value = values[key.stringValue] else { throw reading.missing(key.stringValue, in: node, codingPath) }
        try reading.spend(at: value)
        return NodeDecoder(node: value, codingPath: codingPath + [key], reading: reading)
    }
    func decodeNil(forKey key: Key) throws -> Bool { try decoder(key).node.isNull }
    func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try decoder(key).bool() }
    func decode(_ type: String.Type, forKey key: Key) throws -> String { try decoder(key).string() }
    func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try decoder(key).double() }
    func decode(_ type: Float.Type, forKey key: Key) throws -> Float { Float(try decoder(key).double()) }
    func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try decoder(key).integer(type) }
    func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try decoder(key).integer(type) }
    func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try decoder(key).integer(type) }
    func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try decoder(key).integer(type) }
    func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try decoder(key).integer(type) }
    func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try decoder(key).integer(type) }
    func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try decoder(key).integer(type) }
    func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try decoder(key).integer(type) }
    func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try decoder(key).integer(type) }
    func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try decoder(key).integer(type) }
    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
        let inner = try decoder(key)
        return try NodeDecoder.decode(type, from: inner.node, at: inner.codingPath, reading)
    }
    func nestedContainer<Inner: CodingKey>(keyedBy type: Inner.Type, forKey key: Key) throws
        -> KeyedDecodingContainer<Inner>
    { try decoder(key).container(keyedBy: type) }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try decoder(key).unkeyedContainer()
    }
    func superDecoder() throws -> any Decoder { NodeDecoder(node: node, codingPath: codingPath, reading: reading) }
    func superDecoder(forKey key: Key) throws -> any Decoder { try decoder(key) }
}

private struct Unkeyed: UnkeyedDecodingContainer {
    let items: [Node]
    let owner: Node
    let codingPath: [any CodingKey]
    let reading: Reading
    var currentIndex = 0
    var count: Int? { items.count }
    var isAtEnd: Bool { currentIndex >= items.count }

    private func peek() throws -> NodeDecoder {
        guard !isAtEnd else { throw reading.error(owner, codingPath, "has too few entries") }
        try reading.spend(at: items[currentIndex])
        return NodeDecoder(
            node: items[currentIndex], codingPath: codingPath + [IndexKey(currentIndex)], reading: reading)
    }
    private mutating func next<Value>(_ read: (NodeDecoder) throws -> Value) throws -> Value {
        let value = try read(peek())
        currentIndex += 1
        return value
    }
    mutating func decodeNil() throws -> Bool {
        guard try peek().node.isNull else { return false }
        currentIndex += 1
        return true
    }
    mutating func decode(_ type: Bool.Type) throws -> Bool { try next { try $0.bool() } }
    mutating func decode(_ type: String.Type) throws -> String { try next { try $0.string() } }
    mutating func decode(_ type: Double.Type) throws -> Double { try next { try $0.double() } }
    mutating func decode(_ type: Float.Type) throws -> Float { try next { Float(try $0.double()) } }
    mutating func decode(_ type: Int.Type) throws -> Int { try next { try $0.integer(type) } }
    mutating func decode(_ type: Int8.Type) throws -> Int8 { try next { try $0.integer(type) } }
    mutating func decode(_ type: Int16.Type) throws -> Int16 { try next { try $0.integer(type) } }
    mutating func decode(_ type: Int32.Type) throws -> Int32 { try next { try $0.integer(type) } }
    mutating func decode(_ type: Int64.Type) throws -> Int64 { try next { try $0.integer(type) } }
    mutating func decode(_ type: UInt.Type) throws -> UInt { try next { try $0.integer(type) } }
    mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try next { try $0.integer(type) } }
    mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try next { try $0.integer(type) } }
    mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try next { try $0.integer(type) } }
    mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try next { try $0.integer(type) } }
    mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
        try next { try NodeDecoder.decode(type, from: $0.node, at: $0.codingPath, $0.reading) }
    }
    mutating func nestedContainer<Inner: CodingKey>(keyedBy type: Inner.Type) throws -> KeyedDecodingContainer<Inner> {
        try next { try $0.container(keyedBy: type) }
    }
    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try next { try $0.unkeyedContainer() }
    }
    mutating func superDecoder() throws -> any Decoder { try next { $0 } }
}

private struct Single: SingleValueDecodingContainer {
    let decoder: NodeDecoder
    var codingPath: [any CodingKey] { decoder.codingPath }
    func decodeNil() -> Bool { decoder.node.isNull }
    func decode(_ type: Bool.Type) throws -> Bool { try decoder.bool() }
    func decode(_ type: String.Type) throws -> String { try decoder.string() }
    func decode(_ type: Double.Type) throws -> Double { try decoder.double() }
    func decode(_ type: Float.Type) throws -> Float { Float(try decoder.double()) }
    func decode(_ type: Int.Type) throws -> Int { try decoder.integer(type) }
    func decode(_ type: Int8.Type) throws -> Int8 { try decoder.integer(type) }
    func decode(_ type: Int16.Type) throws -> Int16 { try decoder.integer(type) }
    func decode(_ type: Int32.Type) throws -> Int32 { try decoder.integer(type) }
    func decode(_ type: Int64.Type) throws -> Int64 { try decoder.integer(type) }
    func decode(_ type: UInt.Type) throws -> UInt { try decoder.integer(type) }
    func decode(_ type: UInt8.Type) throws -> UInt8 { try decoder.integer(type) }
    func decode(_ type: UInt16.Type) throws -> UInt16 { try decoder.integer(type) }
    func decode(_ type: UInt32.Type) throws -> UInt32 { try decoder.integer(type) }
    func decode(_ type: UInt64.Type) throws -> UInt64 { try decoder.integer(type) }
    func decode<T: Decodable>(_ type: T.Type) throws -> T {
        try NodeDecoder.decode(type, from: decoder.node, at: decoder.codingPath, decoder.reading)
    }
}
