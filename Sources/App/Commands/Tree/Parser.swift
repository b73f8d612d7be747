/// What a command line asks for.
struct Invocation: Sendable {
    /// The words that lead to the command; empty for `bramble` alone.
    var path: [String] = []
    var command: Command
    var input = Input()
    var wantsHelp = false
}

/// Turns words into an invocation, or into a message that says what is wrong and what would be right.
///
/// `--name value`, `--name=value`, `-n value`, `-nvalue`, `-abc` for three flags; `--` ends the options. Options that say
/// which daemon to ask may also stand before the command.
struct Parser {
    let root: Command
    private var words: ArraySlice<String>
    private var result: Invocation
    private var onlyArguments = false
    private var arguments: [String] = []

    static func parse(_ words: [String], as root: Command) throws(UsageError) -> Invocation {
        var parser = Parser(root: root, words: words[...], result: Invocation(command: root))
        return try parser.run()
    }

    private init(root: Command, words: ArraySlice<String>, result: Invocation) {
        self.root = root
        self.words = words
        self.result = result
    }

    private mutating func run() throws(UsageError) -> Invocation {
        while let word = words.popFirst() {
            if onlyArguments || !looksLikeOption(word) {
                try take(word)
            } else if word == "--" {
                onlyArguments = true
            } else if word.hasPrefix("--") {
                try takeLong(word.dropFirst(2))
            } else {
                try takeShort(Array(word.dropFirst()))
            }
        }
        if !result.wantsHelp { try finish() }
        return result
    }

    /// A lone dash means standard input by custom, and -5 is a number, unless an option has that digit.
    private func looksLikeOption(_ word: String) -> Bool {
        guard word.count > 1, word.first == "-" else { return false }
        let second = word[word.index(after: word.startIndex)]
        let isNumber = Double(word) != nil && (second.isNumber || second == ".")
        return !isNumber || options.contains { $0.short == second }
    }

    /// What is accepted at this point. Before the command: what any command that asks a daemon takes.
    private var options: [ParameterSpec] {
        result.command.isGroup ? Connection.parameters + [Command.help.spec] : result.command.allOptions
    }
    private var place: String { (["bramble"] + result.path).joined(separator: " ") }
    /// The command in a sentence.
    private var subject: String { result.path.isEmpty ? "bramble" : "“\(result.path.joined(separator: " "))”" }
    private var help: String { (["bramble", "help"] + result.path).joined(separator: " ") }

    // MARK: Words without a dash

    private mutating func take(_ word: String) throws(UsageError) {
        guard result.command.isGroup else {
            let wanted = result.command.arguments
            guard arguments.count < wanted.count || wanted.last?.takesRest == true else {
                throw UsageError(
                    problem: "“\(word)” is one word too many for \(subject)",
                    remedy: "it is written: \(Usage.line(result.command, path: result.path))")
            }
            arguments.append(word)
            return
        }
        let children = result.command.children
        guard let next = children.first(where: { $0.name == word }) else {
            // A second word without its first: `bramble add` for `bramble node add`.
            let deeper = result.command.leaves().filter { $0.path.count > 1 && $0.path.last == word }
            let near =
                deeper.isEmpty
                ? Suggestion.nearest(to: word, among: children.map(\.name))
                : deeper.map { $0.path.joined(separator: " ") }
            throw UsageError(
                problem: "there is no command “\((result.path + [word]).joined(separator: " "))”",
                remedy: Suggestion.sentence(near.map { "\(place) \($0)" }) ?? "see all commands: \(help)")
        }
        result.path.append(word)
        result.command = next
    }

    // MARK: Options

    private mutating func takeLong(_ text: Substring) throws(UsageError) {
        let name = text.prefix { $0 != "=" }
        let value = name.endIndex == text.endIndex ? nil : String(text[text.index(after: name.endIndex)...])
        guard let option = options.first(where: { $0.name == name }) else { throw unknown("--\(name)") }
        if option.takesValue {
            if let value { try set(option, to: value) } else { try setNext(option, written: "--\(name)") }
        } else if let value {
            throw UsageError(
                problem: "--\(name) takes no value, but got “\(value)”", remedy: "write it alone: --\(name)")
        } else {
            try setFlag(option)
        }
    }

    private mutating func takeShort(_ letters: [Character]) throws(UsageError) {
        for (index, letter) in letters.enumerated() {
            guard let option = options.first(where: { $0.short == letter }) else { throw unknown("-\(letter)") }
            guard option.takesValue else {
                try setFlag(option)
                continue
            }
            let rest = letters[(index + 1)...]
            if rest.isEmpty { try setNext(option, written: "-\(letter)") } else { try set(option, to: String(rest)) }
            return
        }
    }

    private mutating func setNext(_ option: ParameterSpec, written: String) throws(UsageError) {
        guard let value = words.first, !looksLikeOption(value) else {
            let missing = UsageError(
                problem: "\(written) needs a value: \(option.allowed)",
                remedy: "write it: --\(option.name) \(option.placeholder)")
            guard let next = words.first else { throw missing }
            throw UsageError(
                problem: "\(missing.problem); “\(next)” looks like another option",
                remedy: "if it is the value: --\(option.name)=\(next)")
        }
        words.removeFirst()
        try set(option, to: value)
    }

    private mutating func setFlag(_ option: ParameterSpec) throws(UsageError) {
        if option.name == Command.help.spec.name {
            result.wantsHelp = true
        } else {
            result.input.values[option.name] = [""]
        }
    }

    private mutating func set(_ option: ParameterSpec, to value: String) throws(UsageError) {
        try check(option, "--\(option.name)", value)
        guard result.input.values[option.name] == nil || option.isRepeatable else {
            throw UsageError(problem: "--\(option.name) is given twice", remedy: "give it once")
        }
        result.input.values[option.name, default: []].append(value)
    }

    private func unknown(_ written: String) -> UsageError {
        // An option of the commands below is not unknown, only too early.
        if result.command.isGroup,
            result.command.leaves().contains(where: { leaf in
                leaf.command.options.contains { "--\($0.name)" == written || $0.short.map { "-\($0)" } == written }
            })
        {
            return UsageError(
                problem: "\(written) belongs behind the command",
                remedy: "write: \(place) COMMAND \(written); all commands: \(help)")
        }
        let near = Suggestion.nearest(to: written, among: options.map { "--\($0.name)" })
        return UsageError(
            problem: "\(subject) has no option \(written)",
            remedy: Suggestion.sentence(near) ?? "see all options: \(help)")
    }

    // MARK: The end

    private mutating func finish() throws(UsageError) {
        let command = result.command
        for (spec, value) in zip(command.arguments, arguments) {
            try check(spec, spec.name, value)
            result.input.values[spec.name] = [value]
        }
        if let last = command.arguments.last, last.takesRest, arguments.count >= command.arguments.count {
            result.input.values[last.name] = Array(arguments[(command.arguments.count - 1)...])
        }
        if let missing = command.arguments.dropFirst(arguments.count).first(where: {
            $0.role == .argument(required: true)
        }) {
            throw UsageError(
                problem: "\(subject) needs \(missing.name): \(missing.allowed)",
                remedy: "write it: \(Usage.line(command, path: result.path))")
        }
        // Options given before the command must mean something to it.
        let known = Set((command.allOptions + command.arguments).map(\.name))
        let foreign = result.input.values.keys.filter { !known.contains($0) }.sorted()
        if !command.isGroup, let name = foreign.first {
            throw UsageError(problem: "\(subject) has no option --\(name)", remedy: "see all options: \(help)")
        }
    }

    private func check(_ spec: ParameterSpec, _ written: String, _ value: String) throws(UsageError) {
        guard !spec.accepts(value) else { return }
        var near: [String] = []
        if case .words(let words) = spec.completion { near = Suggestion.nearest(to: value, among: words) }
        throw UsageError(
            problem: "\(written) is “\(value)”; allowed is \(spec.allowed)",
            remedy: Suggestion.sentence(near) ?? "see: \(help)")
    }
}

/// The word somebody probably meant.
enum Suggestion {
    /// The nearest of `words`, when they are near enough: a third of a word's letters may differ, one at least. Several
    /// when they are equally near.
    static func nearest(to word: String, among words: [String]) -> [String] {
        let scored = words.map { (word: $0, distance: distance(Array(word.lowercased()), Array($0.lowercased()))) }
            .filter { $0.distance <= max(1, $0.word.count / 3) }
        let least = scored.map(\.distance).min()
        return Array(scored.filter { $0.distance == least }.map(\.word).prefix(3))
    }

    /// "did you mean: a, b or c"
    static func sentence(_ words: [String]) -> String? {
        guard let last = words.last else { return nil }
        let others = words.dropLast().joined(separator: ", ")
        return "did you mean: " + (others.isEmpty ? last : "\(others) or \(last)")
    }

    /// Optimal string alignment: insertions, deletions, replacements and swapped neighbours count one each.
    static func distance(_ left: [Character], _ right: [Character]) -> Int {
        // A word of a whole file's length is no typing error.
        guard left.count <= 64, right.count <= 64 else { return max(left.count, right.count) }
        var rows = [Array(0...right.count)]
        for i in 0..<left.count {
            var row = [i + 1]
            for j in 0..<right.count {
                var best = min(rows[i][j] + (left[i] == right[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, rows[i - 1][j - 1] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[left.count][right.count]
    }
}
