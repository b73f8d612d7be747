import Primitives

enum SetUpCommands {
    private static let cluster = Option(
        "cluster", Kind<NodeName>.name, "The new cluster's name, such as home or farm")
    private static let dataDirectory = Option(
        "data-dir", .directory, "Where this node keeps its keys and what it knows; default \(defaultDataDirectory)")
    static let defaultDataDirectory = "/var/lib/bramble"

    static let initialise = Command(
        "init", "Make a new cluster: its key, and the first password for the dashboard",
        details: """
            Writes the file cluster.key into the data directory. A machine whose data directory holds that file joins the \
            cluster by itself as soon as its daemon runs, so keep it secret. On further machines do not run init: copy the \
            file, or add them with bramble node add.
            """,
        section: .setUp, accepts: [cluster, dataDirectory, Shared.json],
        examples: ["sudo bramble init --cluster home"]
    ) { input, console in
        guard let name = input[cluster] else {
            throw UsageError(
                problem: "“init” needs --cluster NAME: \(NodeName.rule)",
                remedy: "for example: bramble init --cluster home")
        }
        let directory = input[dataDirectory] ?? defaultDataDirectory
        let made = try console.machine.initialise(directory, name.description)
        if input[Shared.json] {
            let report = [
                "cluster": name.description, "key": made.keyPath, "user": made.user, "password": made.password,
            ]
            return try console.printJSON(report)
        }
        let begin =
            directory == defaultDataDirectory ? "systemctl start bramble" : "bramble start --data-dir \(directory)"
        console.print(
            """
            The cluster “\(name)” has a key now: \(made.keyPath)

            Login for the dashboard, shown only this once:
              user      \(made.user)
              password  \(made.password)
            Another one: bramble password

            Next: start this node      \(begin)
                  add other machines   copy \(made.keyPath) to them, or: bramble node add NAME
            Whoever has that file can join: keep it secret.
            """)
    }

    static let start = Command(
        "start", "Run this machine's node until it is told to stop",
        details: """
            Runs in the foreground and logs to standard error, an event a line; usually systemd starts it. Every option is \
            also a key of the configuration file, by the same name (no-discovery: true); an option given here wins. SIGTERM \
            stops it: it says good-bye to the other nodes and ends with exit code 0.
            """,
        section: .setUp, accepts: StartFlags.all,
        examples: ["bramble start --data-dir /var/lib/bramble", "bramble start --name serv2 --join 192.168.1.11"]
    ) { input, console in
        let code = try await console.machine.start(StartFlags.options(input))
        if code != 0 { throw ExitRequest(code: code) }
    }

    static let witness = Command(
        "witness", "Run this machine as a witness: it breaks the tie of two nodes, and does nothing else",
        details: """
            For a third, small machine, such as a router or a Pi Zero: it votes on who may run a service, so that of two nodes \
            either may die and never both serve. It keeps the cluster key, who belongs to the cluster, and its own votes; no \
            service, no database, no dashboard. It joins as a node does: copy cluster.key into its data directory, or bramble \
            node add. It reads the same configuration file. SIGTERM stops it.
            """,
        section: .setUp, accepts: StartFlags.ofWitness,
        examples: [
            "bramble witness --data-dir /var/lib/bramble", "bramble witness --name tie --join serv1 --join serv2",
        ]
    ) { input, console in
        let code = try await console.machine.witness(StartFlags.options(input))
        if code != 0 { throw ExitRequest(code: code) }
    }
}
