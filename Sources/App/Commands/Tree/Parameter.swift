/// What is known of one flag, option or argument: parsing, help, completion and the man page all read it here.
struct ParameterSpec: Sendable {
    enum Role: Equatable, Sendable {
        case flag
        case option(repeats: Bool)
        case argument(required: Bool)
    }
    /// What a shell offers for a value.
    enum Completion: Equatable, Sendable { case nothing, files, directories, nodes, waiting, commands, words([String]) }

    var role: Role
    /// Without dashes.
    var name: String
    var short: Character?
    /// What stands for the value in help: `PATH`. Empty for flags.
    var placeholder = ""
    /// One sentence, no full stop.
    var help: String
    /// What values there are, in words, for the message that refuses another.
    var allowed = ""
    var completion = Completion.nothing
    var accepts: @Sendable (String) -> Bool = { _ in true }

    /// An argument that takes all words that are left; only the last one can.
    var takesRest = false

    var isRepeatable: Bool { role == .option(repeats: true) }
    var takesValue: Bool { if case .option = role { true } else { false } }
    var isArgument: Bool { if case .argument = role { true } else { false } }
}

protocol Parameter: Sendable { var spec: ParameterSpec { get } }

/// A kind of value: how text becomes one, and what is allowed, in words.
struct Kind<Value: Sendable>: Sendable {
    var placeholder: String
    var allowed: String
    var completion = ParameterSpec.Completion.nothing
    var parse: @Sendable (String) -> Value?
}

/// `--json`: given or not.
struct Flag: Parameter {
    let spec: ParameterSpec
    init(_ name: String, short: Character? = nil, _ help: String) {
        spec = ParameterSpec(role: .flag, name: name, short: short, help: help)
    }
}

/// `--port 7771`.
struct Option<Value: Sendable>: Parameter {
    let spec: ParameterSpec
    let kind: Kind<Value>
    init(_ name: String, short: Character? = nil, _ kind: Kind<Value>, repeats: Bool = false, _ help: String) {
        self.kind = kind
        spec = ParameterSpec(
            role: .option(repeats: repeats), name: name, short: short, placeholder: kind.placeholder, help: help,
            allowed: kind.allowed, completion: kind.completion, accepts: { kind.parse($0) != nil })
    }
}

/// A word without a dash: the node in `bramble why NODE`.
struct Argument<Value: Sendable>: Parameter {
    let spec: ParameterSpec
    let kind: Kind<Value>
    init(_ name: String, _ kind: Kind<Value>, required: Bool = true, _ help: String) {
        self.kind = kind
        spec = ParameterSpec(
            role: .argument(required: required), name: name, placeholder: name, help: help, allowed: kind.allowed,
            completion: kind.completion, accepts: { kind.parse($0) != nil })
    }
}

/// The words at the end: the command in `bramble lock NAME -- COMMAND`. Behind `--` they may look like options.
struct Words: Parameter {
    let spec: ParameterSpec
    init(_ name: String, required: Bool = true, _ help: String) {
        var spec = ParameterSpec(
            role: .argument(required: required), name: name, placeholder: name, help: help, allowed: "words")
        spec.takesRest = true
        self.spec = spec
    }
}

/// The checked values of one command line.
struct Input: Sendable {
    /// By parameter name, in the order given.
    var values: [String: [String]] = [:]

    subscript(flag: Flag) -> Bool { values[flag.spec.name] != nil }
    subscript<Value>(option: Option<Value>) -> Value? { values[option.spec.name]?.last.flatMap(option.kind.parse) }
    /// Every value of a repeatable option.
    subscript<Value>(all option: Option<Value>) -> [Value] {
        (values[option.spec.name] ?? []).compactMap(option.kind.parse)
    }
    subscript<Value>(argument: Argument<Value>) -> Value? {
        values[argument.spec.name]?.last.flatMap(argument.kind.parse)
    }
    subscript(words: Words) -> [String] { values[words.spec.name] ?? [] }
    /// An argument that the parser has insisted on.
    subscript<Value>(required argument: Argument<Value>) -> Value { self[argument]! }
}
