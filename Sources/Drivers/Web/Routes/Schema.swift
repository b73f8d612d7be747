import BrambleAPI

/// The shape of a JSON value: what `/openapi.json` says, and what request bodies are held to. Taken from the Swift type
/// itself, so that the two cannot come apart.
indirect enum Schema: Equatable, Sendable {
    case text(choices: [String])
    case whole
    case number
    case truth
    case anything
    case list(Schema)
    case map(Schema)
    case object(name: String, fields: [Field])

    struct Field: Equatable, Sendable {
        let name: String
        let schema: Schema
        /// Optional fields may be left out or null.
        let isRequired: Bool
    }

    /// Asks the type to decode itself from a decoder that only takes notes.
    static func of(_ type: (some Decodable).Type) -> Schema {
        do {
            return try Recording().record(type).schema
        } catch {
            preconditionFailure("\(type) cannot be described: \(error)")
        }
    }

    /// The first thing in a value that does not fit, in an operator's words; nil when all fits.
    func mismatch(in value: JSONValue, at place: String = "") -> String? {
        let subject = place.isEmpty ? "the body" : "“\(place)”"
        switch (self, value) {
        case (.anything, _), (.text(choices: []), .string), (.whole, .integer), (.number, .integer), (.number, .number),
            (.truth, .bool):
            return nil
        case (.text(let choices), .string(let text)):
            return choices.contains(text)
                ? nil : "\(subject) must be one of \(choices.joined(separator: ", ")), not “\(text)”"
        case (.list(let item), .array(let values)):
            for (index, value) in values.enumerated() {
                if let problem = item.mismatch(in: value, at: "\(place)[\(index)]") { return problem }
            }
            return nil
        case (.map(let item), .object(let members)):
            for (name, value) in members.sorted(by: { $0.key < $1.key }) {
                if let problem = item.mismatch(in: value, at: Self.join(place, name)) { return problem }
            }
            return nil
        case (.object(_, let fields), .object(let members)):
            let names = fields.map(\.name)
            if let unknown = members.keys.sorted().first(where: { !names.contains($0) }) {
                let known = names.isEmpty ? "it takes none" : "it takes \(names.joined(separator: ", "))"
                return "unknown field “\(Self.join(place, unknown))”: \(known)"
            }
            for field in fields {
                switch members[field.name] {
                case nil, .null?:
                    if field.isRequired { return "the field “\(Self.join(place, field.name))” is missing" }
                case let value?:
                    if let problem = field.schema.mismatch(in: value, at: Self.join(place, field.name)) {
                        return problem
                    }
                }
            }
            return nil
        default:
            return "\(subject) must be \(noun), not \(Self.noun(of: value))"
        }
    }

    private var noun: String {
        switch self {
        case .text: "text"
        case .whole: "a whole number"
        case .number: "a number"
        case .truth: "true or false"
        case .anything: "anything"
        case .list: "a list"
        case .map, .object: "an object"
        }
    }
    private static func noun(of value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .bool: "true or false"
        case .integer, .number: "a number"
        case .string: "text"
        case .array: "a list"
        case .object: "an object"
        }
    }
    private static func join(_ place: String, _ name: String) -> String { place.isEmpty ? name : "\(place).\(name)" }
}

/// A decoder that hands out empty values and writes down which were asked for.
private final class Recording: Decoder {
    private enum Kind { case object, list, single }
    private var kind = Kind.object
    private var fields: [Schema.Field] = []
    private var optional: Set<String> = []
    private var item = Schema.anything
    let codingPath: [any CodingKey] = []
    let userInfo: [CodingUserInfoKey: Any] = [:]

    func record<T: Decodable>(_ type: T.Type) throws -> (value: T, schema: Schema) {
        // Types whose own decoding tells nothing, or asks for a value that we cannot invent.
        if type == JSONValue.self { return (JSONValue.null as! T, .anything) }
        if type == [String: JSONValue].self { return ([String: JSONValue]() as! T, .map(.anything)) }
        if type == [String: String].self { return ([String: String]() as! T, .map(.text(choices: []))) }
        if type == SQLValue.self { return (SQLValue.null as! T, .anything) }
        if type == [String: SQLValue].self { return ([String: SQLValue]() as! T, .map(.anything)) }
        if let cases = type as? any CaseIterable.Type, let (first, names) = choices(cases), let value = first as? T {
            return (value, .text(choices: names))
        }
        let value = try T(from: self)
        switch kind {
        case .object: return (value, .object(name: "\(T.self)", fields: fields))
        case .list: return (value, .list(item))
        case .single: return (value, item)
        }
    }

    private func choices<C: CaseIterable>(_ type: C.Type) -> (first: C, names: [String])? {
        let names = type.allCases.compactMap { ($0 as? any RawRepresentable)?.rawValue as? String }
        return type.allCases.first.map { ($0, names) }
    }

    fileprivate func note(_ name: String, _ schema: Schema) {
        guard !fields.contains(where: { $0.name == name }) else { return }
        fields.append(Schema.Field(name: name, schema: schema, isRequired: !optional.contains(name)))
    }
    fileprivate func noteOptional(_ name: String) { optional.insert(name) }
    fileprivate func noteItem(_ schema: Schema) { item = schema }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedDecodingContainer<Key> {
        kind = .object
        return KeyedDecodingContainer(Keyed<Key>(recording: self))
    }
    func unkeyedContainer() -> any UnkeyedDecodingContainer {
        kind = .list
        return Unkeyed(recording: self)
    }
    func singleValueContainer() -> any SingleValueDecodingContainer {
        kind = .single
        return Single(recording: self)
    }

    /// Swift's plain types; anything else is recorded by itself.
    fileprivate static func value<T: Decodable>(_ type: T.Type) throws -> (value: T, schema: Schema) {
        if let plain = plain(type) { return plain }
        return try Recording().record(type)
    }
    private static func plain<T: Decodable>(_ type: T.Type) -> (value: T, schema: Schema)? {
        if type == String.self { return ("" as! T, .text(choices: [])) }
        if type == Bool.self { return (false as! T, .truth) }
        if type == Double.self { return (0.0 as! T, .number) }
        if type == Float.self { return (Float(0) as! T, .number) }
        func zero<N: FixedWidthInteger>(_: N.Type) -> N { 0 }
        if let whole = type as? any FixedWidthInteger.Type { return (zero(whole) as! T, .whole) }
        return nil
    }

    private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let recording: Recording
        var codingPath: [any CodingKey] { [] }
        var allKeys: [Key] { [] }

        /// Asked only for optional fields.
        func contains(_ key: Key) -> Bool {
            recording.noteOptional(key.stringValue)
            return true
        }
        func decodeNil(forKey key: Key) -> Bool { false }
        func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
            let (value, schema) = try Recording.value(type)
            recording.note(key.stringValue, schema)
            return value
        }
        func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type, forKey key: Key
        ) throws -> KeyedDecodingContainer<Nested> { throw Undescribable() }
        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw Undescribable() }
        func superDecoder() throws -> any Decoder { throw Undescribable() }
        func superDecoder(forKey key: Key) throws -> any Decoder { throw Undescribable() }
    }

    private struct Unkeyed: UnkeyedDecodingContainer {
        let recording: Recording
        var codingPath: [any CodingKey] { [] }
        var count: Int? { 1 }
        var isAtEnd: Bool { currentIndex > 0 }
        var currentIndex = 0

        mutating func decodeNil() -> Bool { false }
        mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
            let (value, schema) = try Recording.value(type)
            recording.noteItem(schema)
            currentIndex += 1
            return value
        }
        mutating func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type
        ) throws -> KeyedDecodingContainer<Nested> { throw Undescribable() }
        mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { throw Undescribable() }
        mutating func superDecoder() throws -> any Decoder { throw Undescribable() }
    }

    private struct Single: SingleValueDecodingContainer {
        let recording: Recording
        var codingPath: [any CodingKey] { [] }
        func decodeNil() -> Bool { false }
        func decode<T: Decodable>(_ type: T.Type) throws -> T {
            let (value, schema) = try Recording.value(type)
            recording.noteItem(schema)
            return value
        }
    }
    private struct Undescribable: Error {}
}
