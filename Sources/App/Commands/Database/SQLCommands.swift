import BrambleAPI
import FoundationEssentials
import Glibc

/// `bramble sql`, `watch`: what is in the database.
enum SQLCommands {
    private static let statement = Argument(
        "STATEMENT", .text("STATEMENT", allowed: "an SQL statement, or - for standard input"), required: false,
        "One or several statements; - reads them from standard input. Without it, and with a terminal: asks for them")
    private static let file = Option("file", short: "f", .file, "Read the statements from this file")
    private static let parameter = Option(
        "param", short: "p", .value, repeats: true,
        "A value for the next question mark, as JSON: 5, 1.5, '\"text\"', null, '{\"blob\":\"BASE64\"}'")
    private static let durability = Option(
        "durability", Kind<WriteDurability>.choice("WHERE"),
        "When a write counts: local, synced on the node asked; one, on another one, too; majority, on more than half")
    private static let readOnly = Flag("read-only", "Refuse statements that write")

    static let sql = Command(
        asking: "sql", "Read and write the database that all nodes share",
        details: """
            Several statements are one transaction: all of them or none. Without --durability a write counts when another \
            node has it on its disk, too; where that cannot be had, it is written all the same, and the answer says so. \
            With --json the result is an object with columns, rows and changed; for several statements one with a list of \
            results. What people may rely on and what not: docs/operating/database.md.
            """,
        section: .data, accepts: [statement, parameter, durability, readOnly, file, Shared.json],
        examples: [
            "bramble sql \"create table sensors (name text primary key, celsius real)\"",
            "bramble sql \"insert into sensors values (?, ?)\" -p '\"attic\"' -p 21.5",
            "bramble sql \"select * from sensors\" --json", "bramble sql --file schema.sql --durability majority",
        ]
    ) { input, console, api in
        let params = input[all: parameter]
        guard let text = try source(input, console) else {
            return try await Prompt(console: console, api: api, input: input, durability: input[durability] ?? .one)
                .run(readOnly: input[readOnly])
        }
        let (whole, rest) = SQLText.statements(in: text)
        let statements = whole + (rest.isEmpty ? [] : [rest])
        guard !statements.isEmpty else {
            throw UsageError(problem: "there is no statement in it", remedy: "write one: bramble sql \"select 1\"")
        }
        guard params.isEmpty || statements.count == 1 else {
            throw UsageError(
                problem: "--param goes with one statement, and there are \(statements.count)",
                remedy: "give one at a time, or write the values into them")
        }
        let answer = try await api.execute(
            SQLRequest(
                statements.map { SQLStatement($0, params) }, durability: input[durability] ?? .one,
                isReadOnly: input[readOnly]))
        try show(answer, isList: statements.count > 1, input, console)
    }

    static func show(_ answer: SQLAnswer, isList: Bool, _ input: Input, _ console: Console) throws {
        if input[Shared.json] {
            var writer = JSONWriter()
            writer.answer(answer, asList: isList)
            return console.print(String(decoding: writer.bytes, as: UTF8.self))
        }
        let text = ResultText(terminal: console.terminal)
        for result in answer.results { console.terminal.write(text.text(result)) }
        let isSilent = answer.results.allSatisfy { $0.columns.isEmpty && $0.changed == 0 }
        if isSilent { console.print(answer.durability == nil ? "Nothing changed." : "Done.") }
        if !answer.note.isEmpty { console.note(answer.note) }
    }

    /// The text with the statements; nil when a person is to be asked for them.
    private static func source(_ input: Input, _ console: Console) throws -> String? {
        if let path = input[file] {
            guard input[statement] == nil else {
                throw UsageError(problem: "a statement and --file exclude each other", remedy: "give only one of them")
            }
            guard let data = try? Data(contentsOf: URL(filePath: path)) else {
                throw UsageError(
                    problem: "the file \(path) cannot be read: \(String(cString: strerror(errno)))",
                    remedy: "name a readable file")
            }
            guard let text = String(validating: data, as: UTF8.self) else {
                throw UsageError(problem: "the file \(path) is no text in UTF-8", remedy: "convert it first")
            }
            return text
        }
        switch input[statement] {
        case "-"?:
            var lines: [String] = []
            while let line = console.terminal.readLine() { lines.append(line) }
            return lines.joined(separator: "\n")
        case let text?: return text
        case nil:
            guard console.terminal.canAsk, !input[Shared.json] else {
                throw UsageError(
                    problem: "“sql” needs a statement",
                    remedy: "write it: bramble sql \"select 1\"; from standard input: bramble sql -")
            }
            return nil
        }
    }

    // MARK: watch

    private static let table = Argument("TABLE", .text("TABLE"), "The table's name")
    private static let since = Option("since", .text("TOKEN"), "Go on after the change that had this token")

    static let watch = Command(
        asking: "watch", "Print each change of a table as it happens, a JSON object a line, until Ctrl-C",
        details: """
            Each line has the token of the change; --since goes on where a script stopped. A line with "op":"resync" says \
            that changes were missed, because the token is too old or the reader too slow: read the table again, then \
            go on.
            """,
        section: .data, accepts: [table, since, Shared.json],
        examples: ["bramble watch sensors", "bramble watch sensors --since TOKEN"]
    ) { input, console, api in
        for try await message in api.watch(input[required: table], since: input[since]) {
            switch message {
            case .change(let change):
                var writer = JSONWriter()
                writer.change(change)
                console.print(String(decoding: writer.bytes, as: UTF8.self))
            case .resync(let resync):
                struct Line: Encodable {
                    let token: String
                    let table: String
                    let op = "resync"
                    let reason: String
                }
                try console.printJSON(Line(token: resync.token, table: resync.table, reason: resync.reason))
            }
        }
    }
}

extension Kind<SQLValue> {
    /// JSON, and what is none is refused: a word without quotes would be a guess.
    static let value = Kind(placeholder: "JSON", allowed: "\(SQLValue.rule); text needs its own quotes: '\"text\"'") {
        (try? JSONReader.read(Array($0.utf8))).flatMap { SQLValue($0) }
    }
}

/// Statements typed one after the other.
private struct Prompt {
    let console: Console
    let api: BrambleClient
    let input: Input
    let durability: WriteDurability

    func run(readOnly: Bool) async throws {
        console.terminal.complain(
            "Statements end with a semicolon, and each is a transaction. Ctrl-D ends; .tables lists the tables.\n")
        var text = ""
        while true {
            console.terminal.complain(text.isEmpty ? "bramble> " : "    ...> ")
            guard let line = console.terminal.readLine() else {
                console.terminal.complain("\n")
                return
            }
            let word = line.filter { !$0.isWhitespace }
            if text.isEmpty, [".quit", ".exit", "quit", "exit"].contains(word) { return }
            if text.isEmpty, word == ".tables" {
                await attempt {
                    let names = try await api.tables().filter { !$0.isSystem }.map(\.name)
                    console.print(names.isEmpty ? "No tables yet." : names.map(Text.oneLine).joined(separator: "\n"))
                }
                continue
            }
            text += line + "\n"
            let (whole, rest) = SQLText.statements(in: text)
            text = rest.isEmpty ? "" : rest + "\n"
            for statement in whole {
                await attempt {
                    let answer = try await api.execute(
                        SQLRequest([SQLStatement(statement)], durability: durability, isReadOnly: readOnly))
                    try SQLCommands.show(answer, isList: false, input, console)
                }
            }
        }
    }

    /// A mistake ends the statement, not the conversation.
    private func attempt(_ body: () async throws -> Void) async {
        do {
            try await body()
        } catch let error as ClientError {
            console.note(error.error.problem)
            console.note("remedy: \(error.error.remedy)")
        } catch {
            console.note("\(error)")
        }
    }
}
