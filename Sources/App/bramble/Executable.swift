import Commands
import Daemon
import Glibc
import Primitives

/// Joins the command line, which knows no daemon, and the daemon, which knows no command line.
enum Executable {
    static func main() -> Never {
        signal(SIGPIPE, SIG_IGN)
        // Not a command for people, so the command line does not know it.
        if CommandLine.arguments.dropFirst().first == "guard" {
            exit(Daemon.guardServices(Array(CommandLine.arguments.dropFirst(2))))
        }
        if CommandLine.arguments.dropFirst().first == "mirror-channel" {
            exit(Daemon.mirrorChannel(Array(CommandLine.arguments.dropFirst(2))))
        }
        if CommandLine.arguments.dropFirst().first == "lock-run" {
            exit(
                Daemon.keepCommand(
                    Array(CommandLine.arguments.dropFirst(2)), environment: environmentVariables()))
        }
        // Before there is any other thread, so that all of them inherit it.
        if ["start", "witness"].contains(CommandLine.arguments.dropFirst().first) { Daemon.takeSignals() }
        Task.detached { exit(await run()) }
        // Not `await` on this thread: libdispatch would park it with every signal open, and SIGTERM would end the daemon
        // before it has said good-bye.
        while true { pause() }
    }

    private static func run() async -> Int32 {
        let environment = environmentVariables()
        return await Bramble.run(
            arguments: Array(CommandLine.arguments.dropFirst()), environment: environment,
            terminal: .ofProcess(environment: environment), machine: machine)
    }

    private static var machine: LocalMachine {
        LocalMachine(
            version: Version.current, protocolVersion: Version.protocolVersion,
            initialise: { directory, cluster in
                let made = try NewCluster.make(named: cluster, in: directory)
                return LocalMachine.InitResult(user: made.user, password: made.password, keyPath: made.keyPath)
            },
            start: { options in
                try await Daemon.run(Settings(options).over(try settings(in: options.configFile)))
            },
            witness: { options in
                try await Daemon.witness(Settings(options).over(try settings(in: options.configFile)))
            })
    }

    /// A file that is wrong is as a command line that is wrong.
    private static func settings(in file: String?) throws(UsageError) -> Settings {
        do throws(SettingsFile.Failure) {
            return try SettingsFile.read(at: file)
        } catch {
            throw UsageError(problem: error.problem, remedy: error.remedy)
        }
    }

    private static func environmentVariables() -> [String: String] {
        var result: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                result[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return result
    }
}

extension Settings {
    /// The flags, as the daemon has them.
    init(_ options: StartOptions) {
        self.init()
        dataDirectory = options.dataDirectory
        name = options.name
        addresses = options.addresses
        port = options.port
        http = options.http.map { [$0] }
        join = options.join.isEmpty ? nil : options.join.map(\.description)
        discovery = options.discovery.map { $0 ? .on : .off }
        socket = options.socket
        profile = options.profile.map { $0 == .calm ? .calm : .fast }
        hostsFile = options.hostsFile.map { file in
            switch file {
            case .path(let path): path
            case .untouched: "none"
            }
        }
    }
}
