import BrambleAPI

/// `bramble service …`: who runs what, and moving it.
enum ServiceCommands {
    private static let service = Argument("NAME", .text("NAME", allowed: "a service's name"), "The service's name")
    private static let target = Option("to", Kind<String>.node, "Which node; the best other one without it")

    static let list = Command(
        asking: "list", "List the services, who holds each, and with which guarantee", section: .look,
        accepts: [Shared.json]
    ) { input, console, api in
        let services = try await api.services()
        if input[Shared.json] { return try console.printJSON(services) }
        guard !services.isEmpty else {
            return console.say(
                "No services yet. Write down what they are, then: bramble apply -f FILE. Or: bramble service add --help"
            )
        }
        let now = console.terminal.now()
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "STATE"), .init(title: "NODE"), .init(title: "ADDRESSES", dropOrder: 2),
            .init(title: "GUARANTEE", dropOrder: 3), .init(title: "FOR", alignRight: true, dropOrder: 1),
        ])
        table.rows = services.map { service in
            [
                .init(service.name), .init(service.state.rawValue, colour(service.state)),
                .init(service.node ?? console.terminal.dash), .init(service.addresses.joined(separator: ", ")),
                .init(service.guarantee.rawValue), .init(Text.ago(service.since, now: now)),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        for service in services where !service.reason.isEmpty {
            console.say("\(Text.oneLine(service.name)): \(Text.oneLine(service.reason))")
        }
    }

    static let show = Command(
        asking: "show", "Show one service: what it runs, where, since when, and what is wrong", section: .look,
        accepts: [service, Shared.json]
    ) { input, console, api in
        let name = input[required: service]
        let services = try await api.services()
        guard let found = services.first(where: { $0.name == name }) else {
            let near = Suggestion.nearest(to: name, among: services.map(\.name))
            throw CommandFailure(
                problem: "no service is called “\(name)”",
                remedy: Suggestion.sentence(near) ?? "see which ones there are: bramble service list")
        }
        if input[Shared.json] { return try console.printJSON(found) }
        let terminal = console.terminal
        func line(_ title: String, _ text: String?, _ colour: Colour? = nil) {
            guard let text, !text.isEmpty else { return }
            console.print(Text.padded(title, to: 11) + terminal.paint(Text.oneLine(text), colour))
        }
        line("Service", found.name, .strong)
        line("State", "\(found.state.rawValue) for \(Text.ago(found.since, now: terminal.now()))", colour(found.state))
        line("Reason", found.reason, .yellow)
        line("Node", found.node)
        line("Runs", found.run)
        line("Addresses", found.addresses.joined(separator: ", "))
        line("Guarantee", found.guarantee.rawValue)
        line("Epoch", String(found.epoch))
        line("Mirrors", found.mirrors.joined(separator: ", "))
        line(
            "Last gap",
            found.lastGapMs.map { gap in
                let time = found.lastGapAt.map { ", \(EventLines.time($0, console.terminal))" } ?? ""
                let length = "\(Text.number(gap, decimals: 0)) ms"
                return found.lastGapCause == .failure
                    ? "\(length) from the last sign of the node that failed until another one ran it\(time)"
                    : "\(length) away, at its last move\(time)"
            })
        if !found.isWanted {
            line("Note", "it is stopped by an operator: bramble service start \(found.name)", .yellow)
        }
    }

    private static func colour(_ state: ServiceInfo.State) -> Colour? {
        switch state {
        case .running: .green
        case .starting: .yellow
        case .failed, .blocked: .red
        case .stopped: .faint
        }
    }

    // MARK: Changing

    static let start = Command(
        asking: "start", "Let a service run, where it fits best", section: .change, accepts: [service, Shared.json]
    ) { input, console, api in
        try report(try await api.order(.start, service: input[required: service]), input, console)
    }

    static let stop = Command(
        asking: "stop", "Stop a service; it stays stopped until it is started", section: .change,
        accepts: [service, Shared.yes, Shared.json]
    ) { input, console, api in
        let name = input[required: service]
        try console.confirm(
            [
                "“\(name)” stops on the node that runs it, its addresses answer no more, and no other node takes it over."
            ],
            question: "Stop it?", command: "service stop", input: input)
        try report(try await api.order(.stop, service: name), input, console)
    }

    static let move = Command(
        asking: "move", "Move a service to another node, without a failure",
        details:
            "It stops where it is, its mirrors run once more, and it starts there. The answer says how long it was away.",
        section: .change, accepts: [service, target, Shared.json], examples: ["bramble service move files --to serv2"]
    ) { input, console, api in
        try report(
            try await api.order(.move, service: input[required: service], to: input[target]), input, console)
    }

    static let drill = Command(
        asking: "drill",
        "Rehearse a failure: the service's node plays dead, and the gap that a client sees is measured",
        section: .change, accepts: [service, Shared.yes, Shared.json]
    ) { input, console, api in
        let name = input[required: service]
        try console.confirm(
            [
                "The node that runs “\(name)” plays dead for it, without a warning, and another one takes over:",
                "  - clients lose their connections, as in a real failure",
                "  - what was not mirrored yet stays behind",
            ], question: "Do it now?", command: "service drill", input: input)
        try report(try await api.order(.drill, service: name), input, console)
    }

    static let takeOver = Command(
        asking: "take-over",
        "Start a service on this node although it cannot tell that the other of two is off: you vouch for it",
        details: """
            For two nodes without a witness, when one is left that may have older files, or waits for a fence agent that does not \
            answer. It is refused while the other node is heard. If the other one runs the service all the same, both do.
            """,
        section: .change, accepts: [service, Shared.yes, Shared.json], examples: ["bramble service take-over files"]
    ) { input, console, api in
        let name = input[required: service]
        try console.confirm(
            [
                "“\(name)” is started on this node, on your word that the other one runs nothing:",
                "  - if it does, both run it, and both write",
                "  - what only the other one has is not here",
            ], question: "Is the other node off?", command: "service take-over", input: input)
        try report(try await api.order(.takeOver, service: name), input, console)
    }

    private static func report(_ change: ServiceChange, _ input: Input, _ console: Console) throws {
        if input[Shared.json] { return try console.printJSON(change) }
        let gap = change.gapMs.map { "; nobody answered for \(Text.number($0, decimals: 0)) ms" } ?? ""
        console.print(Text.oneLine(change.done) + gap)
    }

    // MARK: A node's duty

    private static let node = Argument("NAME", .node, "The node's name")

    static let hold = duty(
        .hold,
        "Let a node run nothing, also after a restart, until it is resumed; what it runs goes elsewhere if it can")
    static let resume = duty(.resume, "Let a node run services again")
    static let drain = duty(
        .drain, "Let a node hand over what others can take, and take nothing new until it is resumed")

    private static func duty(_ duty: NodeDuty, _ summary: String) -> Command {
        Command(asking: duty.rawValue, summary, section: .change, accepts: [node, Shared.json]) { input, console, api in
            try console.report(try await api.order(duty, node: input[required: node]), input)
        }
    }
}

/// `bramble mirror …`: files that are on other nodes, too.
enum MirrorCommands {
    private static let mirror = Argument("NAME", .text("NAME", allowed: "a mirror's name"), "The mirror's name")
    private static let some = Argument(
        "NAME", .text("NAME", allowed: "a mirror's name"), required: false, "Only of this mirror")
    private static let file = Argument("ID", .text("ID", allowed: "the ID of a parked file"), "The parked file's ID")

    static let list = Command(
        asking: "list", "List the mirrors, and how far behind each is", section: .look, accepts: [Shared.json]
    ) { input, console, api in
        let mirrors = try await api.mirrors()
        if input[Shared.json] { return try console.printJSON(mirrors) }
        guard !mirrors.isEmpty else {
            return console.say(
                "No mirrors yet. Name their files in a document, then: bramble apply -f FILE. Or: bramble mirror add --help"
            )
        }
        let now = console.terminal.now()
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "STATE"), .init(title: "FROM"), .init(title: "TO"),
            .init(title: "BEHIND", alignRight: true), .init(title: "FILES", alignRight: true, dropOrder: 2),
            .init(title: "SIZE", alignRight: true, dropOrder: 3),
            .init(title: "LAST RUN", alignRight: true, dropOrder: 4),
            .init(title: "PARKED", alignRight: true, dropOrder: 1),
        ])
        let dash = console.terminal.dash
        table.rows = mirrors.map { mirror in
            [
                .init(mirror.name), .init(mirror.state.rawValue, colour(mirror.state)), .init(mirror.from ?? dash),
                .init(mirror.to.joined(separator: ", ")), .init(Text.duration(seconds: mirror.behindSeconds)),
                .init(String(mirror.files)), .init(Text.bytes(mirror.bytes)),
                .init(mirror.lastRun.map { Text.ago($0, now: now) } ?? dash), .init(String(mirror.conflicts)),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        for mirror in mirrors where !mirror.reason.isEmpty {
            console.say("\(Text.oneLine(mirror.name)): \(Text.oneLine(mirror.reason))")
        }
    }

    private static func colour(_ state: MirrorInfo.State) -> Colour? {
        switch state {
        case .equal: .green
        case .running, .behind, .paused: .yellow
        case .failed: .red
        }
    }

    static let run = Command(
        asking: "run", "Run a mirror now, and wait until it is done", section: .change, accepts: [mirror, Shared.json]
    ) { input, console, api in
        let mirror = try await api.runMirror(input[required: mirror])
        if input[Shared.json] { return try console.printJSON(mirror) }
        let files = Text.count(mirror.files, "file", "files")
        console.print(
            Text.oneLine(
                "\(mirror.name) is \(mirror.state.rawValue): \(files), \(Text.bytes(mirror.bytes)), on "
                    + (mirror.to.isEmpty ? "no other node" : mirror.to.joined(separator: ", "))))
    }

    static let conflicts = Command(
        asking: "conflicts", "List files that were set aside because they differed on a node that came back",
        section: .look, accepts: [some, Shared.json]
    ) { input, console, api in
        let files = try await api.parkedFiles(of: input[some])
        if input[Shared.json] { return try console.printJSON(files) }
        guard !files.isEmpty else { return console.say("No file was set aside.") }
        let now = console.terminal.now()
        var table = Table(columns: [
            .init(title: "ID"), .init(title: "MIRROR", dropOrder: 2), .init(title: "FILE"), .init(title: "NODE"),
            .init(title: "SIZE", alignRight: true, dropOrder: 1),
            .init(title: "PARKED", alignRight: true, dropOrder: 3),
        ])
        table.rows = files.map { file in
            [
                .init(file.id), .init(file.mirror), .init(file.path), .init(file.node), .init(Text.bytes(file.bytes)),
                .init(Text.ago(file.at, now: now)),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        console.say("To have one back: bramble mirror restore ID")
    }

    static let restore = Command(
        asking: "restore", "Put a parked file back to its place; what is there now is parked instead", section: .change,
        accepts: [file, Shared.json]
    ) { input, console, api in
        try console.report(try await api.restoreParkedFile(input[required: file]), input)
    }
}
