import BrambleAPI
import Primitives

/// One command, or a group of them. Parsing, help, completion and the man page all come from this value.
struct Command: Sendable {
    /// What `bramble help` puts together.
    enum Section: String, CaseIterable, Sendable {
        case look = "See what is going on"
        case data = "The shared database"
        case change = "Change the cluster"
        case setUp = "Set up a machine"
        case access = "Who may log in"
        case help = "Help"
    }
    enum Action: Sendable {
        /// Needs no running daemon.
        case local(@Sendable (Input, Console) async throws -> Void)
        /// Asks the daemon.
        case remote(@Sendable (Input, Console, BrambleClient) async throws -> Void)
        case group([Command])
    }

    let name: String
    /// One line for lists, no full stop.
    let summary: String
    /// Further sentences, for help and the man page.
    let details: String
    let section: Section
    /// Flags, options and arguments of its own, in the order they are shown.
    let parameters: [ParameterSpec]
    let examples: [String]
    let action: Action

    private init(
        _ name: String, _ summary: String, _ details: String, _ section: Section, _ accepts: [any Parameter],
        _ examples: [String], _ action: Action
    ) {
        self.name = name
        self.summary = summary
        self.details = details
        self.section = section
        self.parameters = accepts.map(\.spec)
        self.examples = examples
        self.action = action
    }

    /// A command that needs no running daemon.
    init(
        _ name: String, _ summary: String, details: String = "", section: Section, accepts: [any Parameter] = [],
        examples: [String] = [], run: @escaping @Sendable (Input, Console) async throws -> Void
    ) {
        self.init(name, summary, details, section, accepts, examples, .local(run))
    }

    /// A command that asks the daemon; it takes the options that say which one.
    init(
        asking name: String, _ summary: String, details: String = "", section: Section,
        accepts: [any Parameter] = [], examples: [String] = [],
        run: @escaping @Sendable (Input, Console, BrambleClient) async throws -> Void
    ) {
        self.init(name, summary, details, section, accepts, examples, .remote(run))
    }

    /// A group: `bramble node add`, `bramble node remove`.
    init(group name: String, _ summary: String, _ commands: [Command]) {
        self.init(name, summary, "", .help, [], [], .group(commands))
    }

    var children: [Command] { if case .group(let commands) = action { commands } else { [] } }
    var isGroup: Bool { if case .group = action { true } else { false } }
    var asksDaemon: Bool { if case .remote = action { true } else { false } }

    var options: [ParameterSpec] { parameters.filter { !$0.isArgument } }
    var arguments: [ParameterSpec] { parameters.filter(\.isArgument) }
    /// With those that every command of its sort takes.
    var allOptions: [ParameterSpec] {
        options + (asksDaemon ? Connection.parameters : []) + [Self.help.spec]
    }

    static let help = Flag("help", short: "h", "Show this help")

    /// Every command that does something, with the words that lead to it.
    func leaves(under path: [String] = []) -> [(path: [String], command: Command)] {
        isGroup ? children.flatMap { $0.leaves(under: path + [$0.name]) } : [(path, self)]
    }
}

/// The command line or a file cannot be right: exit code 2.
package struct UsageError: OperatorError, Equatable {
    package let problem: String
    package let remedy: String
    package init(problem: String, remedy: String) {
        self.problem = problem
        self.remedy = remedy
    }
}
