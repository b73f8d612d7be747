import BrambleAPI
import FoundationEssentials
import Primitives

/// What a command has at hand besides its input and the daemon.
struct Console: Sendable {
    var terminal: Terminal
    var environment: [String: String]
    var machine: LocalMachine
    /// The whole tree, for help, completion and the man page.
    var root: Command

    func print(_ text: String) { terminal.write(text + "\n") }
    /// A sentence, in lines that fit.
    func say(_ text: String) { print(terminal.wrapped(text)) }
    /// A remark that is not the result: it must not disturb who reads the result.
    func note(_ text: String) { terminal.complain(Text.oneLine(text) + "\n") }

    /// One line of JSON.
    func printJSON(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Asks before something that cannot be taken back. `plan` says what will happen, a line each.
    ///
    /// Without a terminal nobody can answer, and guessing yes would be wrong: `--yes` must have said it.
    func confirm(_ plan: [String], question: String, command: String, input: Input) throws {
        if input[Shared.yes] { return }
        guard terminal.canAsk else {
            throw UsageError(
                problem: "“\(command)” asks before it acts, and there is no terminal to ask on",
                remedy: "if it is what you want, add --yes")
        }
        terminal.complain(plan.map { Text.oneLine($0) + "\n" }.joined() + question + " Type yes to go on: ")
        let answer = (terminal.readLine() ?? "").lowercased().filter { !$0.isWhitespace }
        guard answer == "yes" || answer == "y" else {
            throw CommandFailure(problem: "nothing was changed", remedy: "to do it after all, answer yes")
        }
    }
}

/// Options that several commands share.
enum Shared {
    static let json = Flag("json", "Print JSON for scripts. The text layout may change; the JSON will not")
    static let yes = Flag("yes", short: "y", "Do not ask; for scripts")
}

/// Refused or failed: exit code 1.
struct CommandFailure: OperatorError, Equatable {
    let problem: String
    let remedy: String
}

/// The command has said all there is to say, and ends with this code.
struct ExitRequest: Error, Equatable { let code: Int32 }
