import CFyaml

/// Text to nodes: the only file that calls libfyaml. It drives the parser event by event, so that depth, number of values
/// and aliases are bounded before anything is built.
enum YAMLParser {
    static func parse(_ text: String, name: String, limits: YAML.Limits) throws(YAMLError) -> Node {
        guard text.utf8.count <= limits.bytes else { throw .tooLarge(name, limits.bytes) }
        try refuseControlCharacters(text, name)
        var builder = Builder(name: name, limits: limits)
        var copy = text
        // The parser reads from the buffer it is given, so everything happens while that is pinned.
        let result: Result<Node, YAMLError> = copy.withUTF8 { bytes in
            do throws(YAMLError) { return .success(try run(bytes, &builder)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private static func run(
        _ bytes: UnsafeBufferPointer<UInt8>, _ builder: inout Builder
    ) throws(YAMLError) -> Node {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return builder.empty }
        var diagnostics = fy_diag_cfg()
        fy_diag_cfg_default(&diagnostics)
        diagnostics.fp = nil
        diagnostics.output_fn = { _, _, _, _ in }  // collected below; nothing is printed
        guard let diag = fy_diag_create(&diagnostics) else { throw builder.noMemory }
        defer { fy_diag_unref(diag) }
        fy_diag_set_collect_errors(diag, true)
        var config = fy_parse_cfg()
        config.diag = diag
        config.flags = FYPCF_QUIET
        guard let parser = fy_parser_create(&config) else { throw builder.noMemory }
        defer {
            // The errors collected are not let go with the rest (libfyaml 0.7).
            fy_diag_reset_error(diag)
            fy_parser_destroy(parser)
        }
        let isSet = base.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
            fy_parser_set_string(parser, $0, bytes.count) == 0
        }
        guard isSet else { throw builder.noMemory }

        while let event = fy_parser_parse(parser) {
            defer { fy_parser_event_free(parser, event) }
            try builder.take(event)
        }
        if fy_parser_get_stream_error(parser) || fy_diag_got_error(diag) {
            throw syntaxError(diag, builder.name)
        }
        return builder.root ?? builder.empty
    }

    private static func syntaxError(_ diag: OpaquePointer, _ name: String) -> YAMLError {
        var cursor: UnsafeMutableRawPointer?
        guard let first = fy_diag_errors_iterate(diag, &cursor) else {
            return YAMLError(name, nil, "is not valid YAML", remedy: "check indentation and quotes")
        }
        let message = first.pointee.msg.map { String(cString: $0) } ?? "is not valid YAML"
        let mark = Mark(line: max(0, Int(first.pointee.line) - 1), column: max(0, Int(first.pointee.column) - 1))
        return YAMLError(name, mark, message, remedy: "check indentation, colons and quotes around this place")
    }

    /// YAML allows tab and line ends below U+0020; a NUL would also end the text early for C.
    private static func refuseControlCharacters(_ text: String, _ name: String) throws(YAMLError) {
        var mark = Mark(line: 0, column: 0)
        for byte in text.utf8 {
            if byte == 10 {
                mark = Mark(line: mark.line + 1, column: 0)
                continue
            }
            if (byte < 32 && byte != 9 && byte != 13) || byte == 127 {
                throw YAMLError(name, mark, "holds a control character (byte \(byte))", remedy: "remove it")
            }
            if byte & 0xC0 != 0x80 { mark.column += 1 }
        }
    }
}

/// Puts the events together to nodes, without recursion.
private struct Builder {
    /// A sequence or mapping that has not ended yet. A class, so that it grows in place.
    private final class Open {
        let mark: Mark
        let anchor: String?
        let isMapping: Bool
        var items: [Node] = []
        var entries: [Node.Entry] = []
        var keys: Set<String> = []
        var key: (text: String, mark: Mark)?
        init(at mark: Mark, anchor: String?, isMapping: Bool) {
            self.mark = mark
            self.anchor = anchor
            self.isMapping = isMapping
        }
        var finished: Node { Node(isMapping ? .mapping(entries) : .sequence(items), at: mark) }
    }
    let name: String
    private let limits: YAML.Limits
    private var stack: [Open] = []
    private var anchors: [String: Node] = [:]
    private var values = 0
    private var documents = 0
    private(set) var root: Node?

    init(name: String, limits: YAML.Limits) {
        self.name = name
        self.limits = limits
    }
    var empty: Node { Node(.mapping([]), at: Mark(line: 0, column: 0)) }
    var noMemory: YAMLError { YAMLError(name, nil, "cannot be read: out of memory", remedy: "free some memory") }

    mutating func take(_ event: UnsafeMutablePointer<fy_event>) throws(YAMLError) {
        let mark = Self.mark(of: event)
        switch event.pointee.type {
        case FYET_DOCUMENT_START:
            documents += 1
            guard documents == 1 else {
                throw YAMLError(name, mark, "holds a second document", remedy: "remove the `---` and what follows")
            }
        case FYET_SCALAR:
            let data = event.pointee.scalar
            // A value that is left out has no style.
            let isPlain = [FYSS_PLAIN, FYSS_ANY].contains(fy_scalar_token_get_style(data.value))
            try refuseTag(data.tag, mark)
            let node = Node(.scalar(Self.text(of: data.value), isPlain: isPlain), at: mark)
            try add(node, anchor: Self.anchor(data.anchor))
        case FYET_ALIAS:
            let anchor = Self.text(of: event.pointee.alias.anchor)
            guard let node = anchors[anchor] else {
                throw YAMLError(name, mark, "`*\(anchor)` names nothing above it", remedy: "define `&\(anchor)` first")
            }
            try add(node, anchor: nil)
        case FYET_SEQUENCE_START:
            let data = event.pointee.sequence_start
            try refuseTag(data.tag, mark)
            try open(Open(at: mark, anchor: Self.anchor(data.anchor), isMapping: false))
        case FYET_MAPPING_START:
            let data = event.pointee.mapping_start
            try refuseTag(data.tag, mark)
            try open(Open(at: mark, anchor: Self.anchor(data.anchor), isMapping: true))
        case FYET_SEQUENCE_END, FYET_MAPPING_END:
            guard let top = stack.popLast() else { return }
            try add(top.finished, anchor: top.anchor)
        default: break
        }
    }

    private mutating func open(_ container: Open) throws(YAMLError) {
        guard stack.count < limits.depth else {
            throw YAMLError(
                name, container.mark, "is nested deeper than \(limits.depth) levels", remedy: "make it flatter")
        }
        stack.append(container)
    }

    private mutating func add(_ node: Node, anchor: String?) throws(YAMLError) {
        values += 1
        guard values <= limits.values else {
            throw YAMLError(name, node.mark, "holds more than \(limits.values) values", remedy: "split it")
        }
        if let anchor { anchors[anchor] = node }
        guard let top = stack.last else {
            root = node
            return
        }
        guard top.isMapping else {
            top.items.append(node)
            return
        }
        if let key = top.key {
            top.entries.append(Node.Entry(key: key.text, mark: key.mark, value: node))
            top.key = nil
            return
        }
        guard case .scalar(let text, _) = node.content else {
            throw YAMLError(name, node.mark, "a key must be a word, not \(node.kind)", remedy: "write `key: value`")
        }
        guard top.keys.insert(text).inserted else {
            throw YAMLError(name, node.mark, "`\(text)` is given twice", remedy: "keep one of them")
        }
        top.key = (text, node.mark)
    }

    private func refuseTag(_ tag: OpaquePointer?, _ mark: Mark) throws(YAMLError) {
        guard tag != nil, !limits.takesTags else { return }
        throw YAMLError(name, mark, "a type tag (`!`) means nothing here", remedy: "remove it, or quote the text")
    }

    private static func mark(of event: UnsafeMutablePointer<fy_event>) -> Mark {
        guard let mark = fy_event_start_mark(event) else { return Mark(line: 0, column: 0) }
        return Mark(line: Int(mark.pointee.line), column: Int(mark.pointee.column))
    }
    private static func anchor(_ token: OpaquePointer?) -> String? { token.map { text(of: $0) } }
    private static func text(of token: OpaquePointer?) -> String {
        var length = 0
        guard let token, let start = fy_token_get_text(token, &length) else { return "" }
        return String(decoding: UnsafeRawBufferPointer(start: start, count: length), as: UTF8.self)
    }
}
