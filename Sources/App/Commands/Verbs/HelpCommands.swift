import BrambleAPI

enum HelpCommands {
    private static let topic = Argument(
        "COMMAND", Kind(placeholder: "COMMAND", allowed: "a command", completion: .commands) { $0 }, required: false,
        "The command to explain")
    private static let subtopic = Argument(
        "SUBCOMMAND", .text("SUBCOMMAND"), required: false, "Its second word, where it has one")

    static let help = Command(
        "help", "Explain a command, or list them all", section: .help, accepts: [topic, subtopic],
        examples: ["bramble help nodes", "bramble help node remove"]
    ) { input, console in
        // The parser knows the commands and what to say about those that do not exist.
        let words = [input[topic], input[subtopic]].compactMap(\.self)
        let invocation = try Parser.parse(words + ["--help"], as: console.root)
        guard invocation.path.count == words.count else {
            throw UsageError(
                problem: "“\(invocation.path.joined(separator: " "))” has no commands below it",
                remedy: "bramble help \(invocation.path.joined(separator: " "))")
        }
        console.terminal.write(Help(terminal: console.terminal).text(for: invocation.command, path: invocation.path))
    }

    static let version = Command(
        asking: "version", "Show the version of this command, and of the daemon where one answers", section: .help,
        accepts: [Shared.json]
    ) { input, console, api in
        // Short: the question must not hang because the daemon does.
        var quick = api
        if input[Connection.timeout] == nil { quick.timeout = .seconds(2) }
        var daemon: VersionInfo?
        var trouble: ClientError?
        do throws(ClientError) { daemon = try await quick.version() } catch { trouble = error }
        if input[Shared.json] {
            try console.printJSON(
                VersionReport(
                    version: console.machine.version, protocolVersion: console.machine.protocolVersion, daemon: daemon))
            return
        }
        console.print(versionLine(console.machine))
        if let daemon {
            console.print(
                "daemon  \(Text.oneLine(daemon.version)) (protocol \(daemon.protocolVersion)) at \(api.address)")
        } else if let trouble {
            console.print("daemon  not known: \(Text.oneLine(trouble.error.problem))")
        }
    }

    private static let shell = Argument<Completion.Shell>("SHELL", .choice(), "bash, zsh or fish")

    static let completion = Command(
        "completion", "Print a script that makes a shell complete commands, options and nodes", section: .help,
        accepts: [shell], examples: ["source <(bramble completion bash)", "bramble completion fish | source"]
    ) { input, console in
        console.terminal.write(Completion.script(for: input[required: shell], root: console.root))
    }

    static let man = Command(
        "man", "Print the manual page, in the format of man(1)", section: .help,
        examples: ["bramble man | man -l -"]
    ) { _, console in
        console.terminal.write(ManPage(root: console.root).text)
    }

    static func versionLine(_ machine: LocalMachine) -> String {
        "bramble \(machine.version) (protocol \(machine.protocolVersion))"
    }

    private struct VersionReport: Encodable {
        var version: String
        var protocolVersion: Int
        var daemon: VersionInfo?
        enum CodingKeys: CodingKey { case version, protocolVersion, daemon }
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(version, forKey: .version)
            try container.encode(protocolVersion, forKey: .protocolVersion)
            try container.encode(daemon, forKey: .daemon)
        }
    }
}
