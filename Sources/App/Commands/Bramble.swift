import BrambleAPI
import Primitives

/// The command line, whole.
package enum Bramble {
    /// Runs what the words ask for and returns the exit code: 0 done, 1 refused or failed, 2 the command line or a file
    /// is wrong, 3 no daemon answers.
    ///
    /// `arguments` are without the executable's own name.
    package static func run(
        arguments: [String], environment: [String: String], terminal: Terminal, machine: LocalMachine
    ) async -> Int32 {
        let console = Console(terminal: terminal, environment: environment, machine: machine, root: root)
        do {
            try await run(arguments, console)
            return 0
        } catch {
            return report(error, to: terminal)
        }
    }

    private static func run(_ arguments: [String], _ console: Console) async throws {
        // The one option that stands alone.
        if arguments == ["--version"] { return console.print(HelpCommands.versionLine(console.machine)) }
        let invocation = try Parser.parse(arguments, as: root)
        let help = Help(terminal: console.terminal)
        if invocation.wantsHelp {
            console.terminal.write(help.text(for: invocation.command, path: invocation.path))
            return
        }
        switch invocation.command.action {
        case .local(let action): try await action(invocation.input, console)
        case .remote(let action):
            let client = try Connection.client(invocation.input, environment: console.environment)
            try await action(invocation.input, console, client)
        case .group:
            // Nothing was asked for; a script whose variable was empty must notice.
            console.terminal.complain(help.text(for: invocation.command, path: invocation.path))
            throw ExitRequest(code: 2)
        }
    }

    /// Problem and remedy, one line each.
    private static func report(_ error: any Error, to terminal: Terminal) -> Int32 {
        func say(_ problem: String, _ remedy: String) {
            terminal.complain("bramble: \(Text.oneLine(problem))\nremedy: \(Text.oneLine(remedy))\n")
        }
        switch error {
        case let request as ExitRequest: return request.code
        case let error as UsageError:
            say(error.problem, error.remedy)
            return 2
        case let error as ClientError:
            // The node speaks to whoever uses HTTP; here there is an option for it.
            let remedy =
                error.kind == .refused(status: 401)
                ? "give a token that bramble token create made there: --token, or better $BRAMBLE_TOKEN"
                : error.error.remedy
            say(error.error.problem, remedy)
            switch error.kind {
            case .noAnswer: return 3
            case .wrongUse: return 2
            case .refused, .notUnderstood, .notTrusted, .libraryMissing, .cancelled: return 1
            }
        case let error as any OperatorError:
            say(error.problem, error.remedy)
            return 1
        default:
            say("something unexpected went wrong: \(error)", "please report it, with the command you gave")
            return 1
        }
    }

    /// Every command there is.
    static let root = Command(
        group: "bramble", "one dependable cluster from a few small Linux machines",
        [
            NodesCommand.command, LookCommands.status, LookCommands.events, LookCommands.why, LookCommands.doctor,
            SQLCommands.sql, SQLCommands.watch, DatabaseCommands.status, DatabaseCommands.conflicts,
            DatabaseCommands.backup, DatabaseCommands.restore,
            DesiredCommands.plan, DesiredCommands.export, DesiredCommands.apply,
            Command(
                group: "node", "Decide which machines belong to the cluster",
                [
                    NodeCommands.waiting, NodeCommands.add, NodeCommands.remove, NodeCommands.label,
                    ServiceCommands.hold,
                    ServiceCommands.resume, ServiceCommands.drain,
                ]),
            Command(
                group: "service", "Services that survive their machine",
                [
                    ServiceCommands.list, ServiceCommands.show, DesiredEdits.addService, DesiredEdits.removeService,
                    ServiceCommands.start, ServiceCommands.stop,
                    ServiceCommands.move, ServiceCommands.drill, ServiceCommands.takeOver,
                ]),
            Command(
                group: "mirror", "Files that are on other nodes, too",
                [
                    MirrorCommands.list, DesiredEdits.addMirror, DesiredEdits.removeMirror, MirrorCommands.run,
                    MirrorCommands.conflicts, MirrorCommands.restore,
                ]),
            Command(
                group: "volume", "One file system on every node, by GlusterFS",
                [
                    VolumeCommands.list, VolumeCommands.status, VolumeCommands.create, VolumeCommands.heal,
                    VolumeCommands.addBrick, VolumeCommands.removeBrick, VolumeCommands.replaceBrick,
                    VolumeCommands.delete,
                ]),
            Command(
                group: "balance", "One place for clients, many nodes behind it",
                [DesiredEdits.listBalancers, DesiredEdits.addBalancer, DesiredEdits.removeBalancer]),
            Command(
                group: "peer", "The same in GlusterFS's words",
                [PeerCommands.probe, PeerCommands.status, PeerCommands.detach]),
            ClockCommand.command, LockCommand.command, InventoryCommands.inventory, InventoryCommands.launch,
            SetUpCommands.initialise, SetUpCommands.start, SetUpCommands.witness, DesiredCommands.importing,
            Command(
                group: "token", "Decide which scripts may use the HTTP API",
                [AccessCommands.create, AccessCommands.list, AccessCommands.revoke]),
            AccessCommands.password,
            HelpCommands.help, HelpCommands.version, HelpCommands.completion, HelpCommands.man,
        ])
}
