import Primitives

/// Reads YAML files that people write: the configuration, and what `bramble apply` is given.
///
/// Types say what is allowed by being `Decodable`; a key that no type asks for is refused by name, because a misspelt
/// key that is silently ignored is a setting that silently does not hold.
package enum YAML {
    /// What a file may cost before it is refused. A person's file is far below each of these; a file that names an alias
    /// of an alias of an alias is not.
    package struct Limits: Equatable, Sendable {
        /// Bytes of text. Default 256 KiB.
        package var bytes = 256 * 1024
        /// Nesting of sequences and mappings. Default 24.
        package var depth = 24
        /// Values read, an alias counted each time it is used. Default 20,000.
        package var values = 20_000
        /// Whether type tags (`!vault`) are read over. In our own files they mean nothing, so they are a mistake.
        package var takesTags = false
        package init() {}
    }

    /// Decodes the one document in `text`. An empty document is an empty mapping.
    ///
    /// - Parameter name: what the text is called in errors, usually the file's name.
    package static func decode<Value: Decodable>(
        _ type: Value.Type, from text: String, name: String = "YAML", limits: Limits = Limits()
    ) throws(YAMLError) -> Value {
        let root = try YAMLParser.parse(text, name: name, limits: limits)
        let reading = Reading(name: name, budget: limits.values)
        do {
            let value = try NodeDecoder.decode(type, from: root, at: [], reading)
            if let fatal = reading.firstFatal { throw fatal }
            try reading.refuseUnknownKeys()
            return value
        } catch {
            throw reading.firstFatal ?? (error as? YAMLError) ?? YAMLError(name, root.mark, "\(error)", remedy: "")
        }
    }

    /// A step towards a value inside a document.
    package enum Step: Equatable, Sendable {
        case key(String)
        case index(Int)
    }

    /// An error at a place of a document that was decoded before, found by what only the whole of it shows. Where the path
    /// leads nowhere, the nearest value on the way.
    package static func error(
        at path: [Step], in text: String, name: String, problem: String, remedy: String
    ) -> YAMLError {
        let root = try? YAMLParser.parse(text, name: name, limits: Limits())
        return YAMLError(name, root?.place(of: path).mark, problem, remedy: remedy)
    }

    /// Decodes bytes, which must be UTF-8.
    package static func decode<Value: Decodable>(
        _ type: Value.Type, from bytes: [UInt8], name: String = "YAML", limits: Limits = Limits()
    ) throws(YAMLError) -> Value {
        guard bytes.count <= limits.bytes else { throw .tooLarge(name, limits.bytes) }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw YAMLError(name, nil, "is not UTF-8 text", remedy: "save it as UTF-8")
        }
        return try decode(type, from: text, name: name, limits: limits)
    }
}

/// What is wrong with a YAML text, where, and what would be right.
package struct YAMLError: OperatorError, Equatable, Sendable, CustomStringConvertible {
    /// Counted from one, as editors do; nil where the error has no place.
    package let line: Int?
    package let column: Int?
    package let problem: String
    package let remedy: String

    init(_ name: String, _ mark: Mark?, _ what: String, remedy: String) {
        line = mark.map { $0.line + 1 }
        column = mark.map { $0.column + 1 }
        let place = mark.map { ", line \($0.line + 1), column \($0.column + 1)" } ?? ""
        problem = "\(name)\(place): \(what)"
        self.remedy = remedy
    }
    static func tooLarge(_ name: String, _ limit: Int) -> YAMLError {
        YAMLError(name, nil, "is larger than \(limit / 1024) KiB", remedy: "make it smaller, or split it")
    }
    package var description: String { remedy.isEmpty ? problem : "\(problem); \(remedy)" }
}

/// A place in the text, counted from zero.
struct Mark: Equatable, Sendable { var line: Int, column: Int }

/// One value of the parsed text. A class, so that an alias is the very node it names and costs nothing to keep.
final class Node {
    enum Content {
        case scalar(String, isPlain: Bool)
        case sequence([Node])
        case mapping([Entry])
    }
    struct Entry { let key: String, mark: Mark, value: Node }

    let mark: Mark
    let content: Content

    init(_ content: Content, at mark: Mark) {
        self.content = content
        self.mark = mark
    }

    /// The value that the path leads to, or the last one on the way.
    func place(of path: [YAML.Step]) -> Node {
        var place = self
        for step in path {
            switch (place.content, step) {
            case (.mapping(let entries), .key(let key)):
                guard let entry = entries.first(where: { $0.key == key }) else { return place }
                place = entry.value
            case (.sequence(let items), .index(let index)):
                guard items.indices.contains(index) else { return place }
                place = items[index]
            default: return place
            }
        }
        return place
    }

    /// What YAML 1.2's core schema reads as null.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }
    var kind: String {
        switch content {
        case .scalar(let text, let isPlain): isNull ? "nothing" : isPlain ? "`\(text.prefix(40))`" : "a text"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}
