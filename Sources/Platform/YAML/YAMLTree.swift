/// What somebody else's YAML says, as it stands there: for files whose keys are not ours to know, such as a playbook.
package struct YAMLTree: Sendable {
    package indirect enum Content: Sendable {
        /// Also what is left out, as an empty text.
        case text(String)
        case sequence([YAMLTree])
        case mapping([(key: String, value: YAMLTree)])
    }
    package let content: Content
    /// Counted from one.
    package let line: Int

    package var text: String? { if case .text(let text) = content { text } else { nil } }
    package var items: [YAMLTree]? { if case .sequence(let items) = content { items } else { nil } }
    /// The value of a key of a mapping.
    package subscript(key: String) -> YAMLTree? {
        guard case .mapping(let entries) = content else { return nil }
        return entries.first { $0.key == key }?.value
    }
}

extension YAML {
    /// Reads the one document in `bytes`, with whatever keys and tags it has. An empty document is an empty mapping.
    package static func tree(
        _ bytes: [UInt8], name: String, limits: Limits = Limits()
    ) throws(YAMLError) -> YAMLTree {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw YAMLError(name, nil, "is not UTF-8 text", remedy: "save it as UTF-8")
        }
        var limits = limits
        limits.takesTags = true
        return YAMLTree(try YAMLParser.parse(text, name: name, limits: limits))
    }
}

extension YAMLTree {
    init(_ node: Node) {
        line = node.mark.line + 1
        content =
            switch node.content {
            case .scalar(let text, _): .text(text)
            case .sequence(let items): .sequence(items.map { YAMLTree($0) })
            case .mapping(let entries): .mapping(entries.map { (key: $0.key, value: YAMLTree($0.value)) })
            }
    }
}
