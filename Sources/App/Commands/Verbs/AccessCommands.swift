import BrambleAPI
import Primitives

/// Who may log in: tokens for scripts, passwords for people.
enum AccessCommands {
    private static let tokenName = Argument(
        "NAME", .text("NAME"), "What the token is called, such as backup or grafana")

    static let create = Command(
        asking: "create", "Make a token for the HTTP API and --token; it is shown once",
        details: "Standard output has the token alone. It can do everything that an operator can; keep it secret.",
        section: .access, accepts: [tokenName, Shared.json],
        examples: ["BRAMBLE_TOKEN=$(bramble token create backup)"]
    ) { input, console, api in
        let made = try await api.createToken(input[required: tokenName])
        if input[Shared.json] { return try console.printJSON(made) }
        console.print(Text.oneLine(made.token))
        console.note(
            "This is the token “\(made.name)”, shown only this once. To end it: bramble token revoke \(made.name)")
        if let note = made.note { console.note(note) }
    }

    static let list = Command(
        asking: "list", "List the tokens, without their secrets", section: .access, accepts: [Shared.json]
    ) { input, console, api in
        let tokens = try await api.tokens()
        if input[Shared.json] { return try console.printJSON(tokens) }
        guard !tokens.isEmpty else {
            return console.print("There are no tokens. To make one: bramble token create NAME")
        }
        var table = Table(columns: [.init(title: "NAME"), .init(title: "CREATED")])
        table.rows = tokens.map { token in
            let wall = Text.moment(token.created).map(console.terminal.wallClock)
            return [.init(token.name), .init(wall.map { "\($0.day) \($0.time.prefix(5))" } ?? token.created)]
        }
        console.terminal.write(table.rendered(for: console.terminal))
    }

    static let revoke = Command(
        asking: "revoke", "End a token: whoever uses it is refused from now on", section: .access,
        accepts: [tokenName, Shared.json]
    ) { input, console, api in
        let name = input[required: tokenName]
        let change = try await api.revokeToken(name)
        try console.report(NodeChange(name: name, done: "The token “\(name)” is revoked.", note: change.note), input)
        if let note = change.note { console.note(note) }
    }

    private static let user = Option("user", .name, "Whose password; default is the one that bramble init made, admin")

    static let password = Command(
        asking: "password", "Set a password for the dashboard",
        details: """
            Asks for it without showing it. Without a terminal it is read from standard input, one line. A node on another \
            machine (--api) also wants the password of today, which is asked, or read, first. All sessions of that user end.
            """,
        section: .access, accepts: [user, Shared.json],
        examples: ["bramble password", "echo \"$SECRET\" | bramble password --user anna"]
    ) { input, console, api in
        let name = input[user]?.description
        let owner = name ?? "admin"
        var current: String?
        if input[Connection.api] != nil {
            current = try ask("Password of \(owner) today: ", console)
        }
        let password = try ask("New password of \(owner): ", console)
        if console.terminal.canAsk, try ask("The same again: ", console) != password {
            throw CommandFailure(problem: "the two are not the same, so nothing was changed", remedy: "try again")
        }
        let change = try await api.setPassword(user: name, password: password, current: current)
        try console.report(
            NodeChange(name: owner, done: "The password of \(owner) is changed.", note: change.note), input)
        if let note = change.note { console.note(note) }
    }

    private static func ask(_ prompt: String, _ console: Console) throws -> String {
        let terminal = console.terminal
        guard let answer = terminal.canAsk ? terminal.readSecret(prompt) : terminal.readLine(), !answer.isEmpty else {
            throw UsageError(
                problem: "no password was given",
                remedy: terminal.canAsk ? "type one" : "give it as a line of standard input, or use a terminal")
        }
        return answer
    }
}
