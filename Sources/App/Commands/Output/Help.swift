/// How a command is written, in one line.
enum Usage {
    static func line(_ command: Command, path: [String]) -> String {
        var parts = ["bramble"] + path
        if command.isGroup { parts.append("COMMAND") }
        if !command.options.isEmpty || command.asksDaemon { parts.append("[OPTIONS]") }
        parts += command.arguments.map { argument in
            let name = argument.takesRest ? "\(argument.name)..." : argument.name
            return argument.role == .argument(required: true) ? name : "[\(name)]"
        }
        return parts.joined(separator: " ")
    }

    /// `-y, --yes` or `    --port PORT`.
    static func option(_ spec: ParameterSpec) -> String {
        (spec.short.map { "-\($0), " } ?? "    ") + "--\(spec.name)"
            + (spec.placeholder.isEmpty ? "" : " \(spec.placeholder)")
    }
}

/// What `bramble help` prints.
struct Help {
    let terminal: Terminal
    private var width: Int { min(max(terminal.width ?? 100, 40), 100) }

    func text(for command: Command, path: [String]) -> String {
        path.isEmpty ? overview(command) : command.isGroup ? group(command, path) : leaf(command, path)
    }

    private func overview(_ root: Command) -> String {
        var text = Text.wrapped("bramble: \(root.summary)", to: width) + "\n\nUsage: bramble COMMAND [OPTIONS]\n"
        let commands = root.leaves()
        let column = commands.map { $0.path.joined(separator: " ").count }.max()! + 4
        for section in Command.Section.allCases {
            let own = commands.filter { $0.command.section == section }
            guard !own.isEmpty else { continue }
            text += "\n" + terminal.paint(section.rawValue, .strong) + "\n"
            for (path, command) in own { text += entry(path.joined(separator: " "), command.summary, column) }
        }
        text += "\n" + terminal.paint("Which daemon", .strong) + "\n" + options(Connection.parameters)
        return text + "\n"
            + Text.wrapped(
                "More about one command: bramble help COMMAND. Exit codes: 0 done, 1 refused or failed, 2 the command line"
                    + " or a file is wrong, 3 no daemon answers.", to: width) + "\n"
    }

    private func group(_ command: Command, _ path: [String]) -> String {
        var text = Text.wrapped(command.summary, to: width) + "\n\nUsage: \(Usage.line(command, path: path))\n\n"
        let column = command.children.map(\.name.count).max()! + 4
        for child in command.children { text += entry(child.name, child.summary, column) }
        return text + "\nMore about one: bramble help \(path.joined(separator: " ")) COMMAND\n"
    }

    private func leaf(_ command: Command, _ path: [String]) -> String {
        var text = Text.wrapped(command.summary, to: width) + "\n\nUsage: \(Usage.line(command, path: path))\n"
        if !command.details.isEmpty { text += "\n" + Text.wrapped(command.details, to: width) + "\n" }
        if !command.arguments.isEmpty {
            let column = command.arguments.map(\.name.count).max()! + 4
            text += "\n" + terminal.paint("Arguments", .strong) + "\n"
            for argument in command.arguments { text += entry(argument.name, argument.help, column) }
        }
        text += "\n" + terminal.paint("Options", .strong) + "\n" + options(command.options + [Command.help.spec])
        if command.asksDaemon {
            text += "\n" + terminal.paint("Which daemon", .strong) + "\n" + options(Connection.parameters)
        }
        if !command.examples.isEmpty {
            text += "\n" + terminal.paint("Examples", .strong) + "\n"
            for example in command.examples { text += "  \(example)\n" }
        }
        return text
    }

    private func options(_ specs: [ParameterSpec]) -> String {
        // Long placeholders get a line of their own rather than pushing everything to the right.
        let column = min(specs.map { Usage.option($0).count }.max()! + 4, 32)
        return specs.map { entry(Usage.option($0), $0.help, column) }.joined()
    }

    private func entry(_ name: String, _ help: String, _ column: Int) -> String {
        let indent = String(repeating: " ", count: column)
        let body = Text.wrapped(help, to: width, indent: indent)
        // Two columns need some room for the second.
        guard name.count + 4 <= column, width - column >= 24 else {
            return "  \(name)\n" + Text.wrapped(help, to: width, indent: "      ") + "\n"
        }
        return "  " + Text.padded(name, to: column - 2) + body.dropFirst(column) + "\n"
    }
}
