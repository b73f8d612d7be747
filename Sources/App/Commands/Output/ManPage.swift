import BrambleAPI

/// The manual page bramble(1) in mdoc(7), made from the command tree.
struct ManPage {
    /// When the text last changed its meaning; a page has a date, and a build that takes today's cannot be repeated.
    static let date = "November 21, 2026"

    let root: Command

    var text: String {
        var page = """
            .\\" Made by: bramble man
            .Dd \(Self.date)
            .Dt BRAMBLE 1
            .Os
            .Sh NAME
            .Nm bramble
            .Nd \(root.summary)
            .Sh SYNOPSIS

            """
        let leaves = root.leaves()
        for (path, command) in leaves { page += synopsis(path, command) }
        page += """
            .Sh DESCRIPTION
            Every machine runs the same node, started by
            .Cm bramble start .
            The nodes find each other, know who is alive and tell what they know.
            All other commands ask a running node, over its socket on the same machine
            or, with
            .Fl -api ,
            over HTTP.
            .Pp
            These options say which node to ask.
            They may stand before or behind a command that asks one:
            .Bl -tag -width Ds

            """
        for option in Connection.parameters { page += item(option) }
        page += ".El\n.Sh COMMANDS\n"
        for section in Command.Section.allCases {
            let own = leaves.filter { $0.command.section == section }
            guard !own.isEmpty else { continue }
            page += ".Ss \(Self.escaped(section.rawValue))\n.Bl -tag -width Ds\n"
            for (path, command) in own { page += entry(path, command) }
            page += ".El\n"
        }
        page += """
            .Sh ENVIRONMENT
            .Bl -tag -width Ds
            .It Ev BRAMBLE_SOCKET
            The socket of the daemon, where
            .Fl -socket
            is not given.
            .It Ev BRAMBLE_TOKEN
            The token for
            .Fl -api ,
            where
            .Fl -token
            is not given.
            .It Ev NO_COLOR
            Any value turns colours off.
            .El
            .Sh FILES
            .Bl -tag -width Ds
            .It Pa /etc/bramble/bramble.yaml
            The configuration of the node: the options of
            .Cm bramble start
            and more, each explained there.
            .It Pa /var/lib/bramble/cluster.key
            The cluster key.
            A machine that has it joins by itself.
            .It Pa \(BrambleClient.defaultSocket)
            Where the daemon listens for this command.
            .El
            .Sh EXIT STATUS
            .Bl -tag -width Ds
            .It 0
            Done.
            .It 1
            Refused or failed.
            Standard error has the problem and the remedy, one line each.
            .It 2
            The command line or a file is wrong.
            .It 3
            No daemon answers.
            .El
            .Sh EXAMPLES

            """
        for (_, command) in leaves where !command.examples.isEmpty {
            let examples = command.examples.map { Self.escaped($0) + "\n" }.joined()
            page += Self.lines(command.summary + ":") + ".Bd -literal -offset indent\n" + examples + ".Ed\n.Pp\n"
        }
        // The last paragraph break has nothing behind it.
        return String(page.dropLast(".Pp\n".count))
    }

    private func synopsis(_ path: [String], _ command: Command) -> String {
        let words = path.map { "Cm \($0)" }.joined(separator: " ")
        let options = command.options.isEmpty ? "" : " Oo Ar options Oc"
        let arguments = command.arguments.map { argument in
            let name = argument.name + (argument.takesRest ? " ..." : "")
            return argument.role == .argument(required: true) ? " Ar \(name)" : " Oo Ar \(name) Oc"
        }.joined()
        return ".Nm\n.\(words)\(options)\(arguments)\n"
    }

    private func entry(_ path: [String], _ command: Command) -> String {
        let arguments = command.arguments.map { " Ar \($0.name)" }.joined()
        var text = ".It Cm \(path.joined(separator: " "))\(arguments)\n\(Self.lines(command.summary + "."))"
        if !command.details.isEmpty { text += ".Pp\n" + Self.lines(command.details) }
        for argument in command.arguments { text += ".Pp\n.Ar \(argument.name) :\n\(Self.lines(argument.help + "."))" }
        if !command.options.isEmpty {
            text += ".Bl -tag -width Ds\n" + command.options.map(item).joined() + ".El\n"
        }
        return text
    }

    private func item(_ option: ParameterSpec) -> String {
        let short = option.short.map { "Fl \($0) , " } ?? ""
        let value = option.placeholder.isEmpty ? "" : " Ar \(Self.escaped(option.placeholder))"
        return ".It \(short)Fl -\(option.name)\(value)\n\(Self.lines(option.help + "."))"
    }

    /// mdoc wants each sentence on a line of its own, and no line longer than 80 bytes.
    private static func lines(_ text: String) -> String {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ").map({ escaped(String($0)) }) {
            if !line.isEmpty, line.utf8.count + word.utf8.count >= 78 {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
            if word.hasSuffix(".") {
                lines.append(line)
                line = ""
            }
        }
        if !line.isEmpty { lines.append(line) }
        return lines.map { $0 + "\n" }.joined()
    }

    /// What roff would take for its own, and letters that a terminal in another encoding lacks.
    static func escaped(_ text: String) -> String {
        let special: [Character: String] = [
            "\\": "\\e", "φ": "\\(*f", "“": "\\(lq", "”": "\\(rq", "–": "\\(en", "…": "\\&...", "°": "\\(de",
        ]
        // Two hyphens are meant to be typed, and must not become typographic ones.
        let safe = text.map { special[$0] ?? String($0) }.joined().replacing("--", with: "\\-\\-")
        return safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&" + safe : safe
    }
}
