import BrambleAPI
import FoundationEssentials
import Primitives

enum LookCommands {
    // MARK: status

    static let status = Command(
        asking: "status", "Say in a few lines how this node and its cluster are",
        details: """
            The code is what an operator compares before a waiting machine is given the cluster key. Guarantee says what the \
            cluster can promise now.
            """,
        section: .look, accepts: [Shared.json]
    ) { input, console, api in
        let status = try await api.status()
        if input[Shared.json] { return try console.printJSON(status) }
        let terminal = console.terminal
        func line(_ title: String, _ text: String, _ colour: Colour? = nil) {
            guard !text.isEmpty else { return }
            let indent = String(repeating: " ", count: 11)
            let body = Text.wrapped(Text.oneLine(text), to: max(40, terminal.width ?? .max), indent: indent)
            console.print(Text.padded(title, to: 11) + terminal.paint(String(body.dropFirst(11)), colour))
        }
        line("Cluster", status.cluster.isEmpty ? "none" : status.cluster, .strong)
        line("Node", status.node)
        switch status.state {
        case .alone: line("State", "alone: a cluster of one, no other node is known", .yellow)
        case .joining: line("State", "joining: not a member yet", .yellow)
        case .member: line("State", "member", .green)
        case .removed: line("State", "removed from the cluster by an operator", .red)
        }
        line("Nodes", "\(status.nodes.alive) alive, \(status.nodes.down) down", status.nodes.down > 0 ? .red : nil)
        line("Guarantee", status.guarantee)
        if let witness = status.witness {
            let says = witness.votes ? "votes" : "does not vote"
            line(
                "Witness", "\(witness.name): \(witness.state.rawValue), \(says)",
                witness.votes && witness.state != .alive ? .red : nil)
        }
        line("Running", "for \(Text.duration(seconds: status.uptimeSeconds)), version \(status.version)")
        line("Code", status.code)
        line("ID", status.id)
        for note in status.notes { line("Note", EventLines.localised(note, terminal), .yellow) }
    }

    // MARK: events

    private static let follow = Flag("follow", short: "f", "Then show what happens from now on, until Ctrl-C")
    private static let since = Option("since", Kind<UInt64>.eventID, "Only events after this one")
    private static let last = Option(
        "last", short: "n", .integer("COUNT", in: 0...1_000_000), "Of the past, only the newest")

    static let events = Command(
        asking: "events", "Show what happened in the cluster, as this node noticed it",
        details: """
            Oldest first. Each event has an ID that grows; --since goes on where a script stopped. With --json and --follow \
            each event is one line.
            """,
        section: .look, accepts: [follow, since, last, Shared.json],
        examples: ["bramble events --last 20", "bramble events --follow --json", "bramble events --since 1041"]
    ) { input, console, api in
        let lines = EventLines(console.terminal)
        guard input[follow] else {
            let all = try await api.events(since: input[since])
            let shown = input[last].map { all.suffix($0) } ?? all[...]
            if input[Shared.json] { return try console.printJSON(Array(shown)) }
            console.terminal.write(lines.text(Array(shown)))
            if all.isEmpty {
                console.print(input[since] == nil ? "Nothing has happened yet." : "Nothing has happened since.")
            }
            return
        }
        func show(_ event: Event) throws {
            if input[Shared.json] { try console.printJSON(event) } else { console.terminal.write(lines.text([event])) }
        }
        var start = input[since]
        if let count = input[last] {
            let past = try await api.events(since: start)
            for event in past.suffix(count) { try show(event) }
            start = past.last?.id ?? start
        }
        for try await event in api.follow(since: start) { try show(event) }
    }

    // MARK: why

    private static let subject = Argument("NAME", .node, "A node's name")

    static let why = Command(
        asking: "why", "Explain why a node is in its state: who said so, and with which figures", section: .look,
        accepts: [subject, Shared.json], examples: ["bramble why serv2"]
    ) { input, console, api in
        let explanation = try await api.why(input[required: subject])
        if input[Shared.json] { return try console.printJSON(explanation) }
        let terminal = console.terminal
        let width = max(40, terminal.width ?? .max)
        console.say(EventLines.localised(Text.oneLine(explanation.answer), terminal))
        guard !explanation.because.isEmpty else { return }
        console.print("")
        for reason in explanation.because {
            let text = EventLines.localised(Text.oneLine(Figures.sentence(reason.text, reason.figures)), terminal)
            let time = EventLines.time(reason.at, terminal)
            let indent = String(repeating: " ", count: Text.width(time) + 4)
            let wrapped = Text.wrapped(text, to: width, indent: indent)
            console.print("  " + terminal.paint(time, .faint) + "  " + wrapped.dropFirst(indent.count))
        }
    }

    // MARK: doctor

    private static let strict = Flag("strict", "End with exit code 1 when a check failed")

    static let doctor = Command(
        asking: "doctor", "Check this node and its machine, and say what to do about each finding", section: .look,
        accepts: [strict, Shared.json]
    ) { input, console, api in
        let checks = try await api.doctor()
        if input[Shared.json] { try console.printJSON(checks) } else { print(checks, console) }
        if input[strict], checks.contains(where: { $0.state == .fail }) { throw ExitRequest(code: 1) }
    }

    private static func print(_ checks: [DoctorCheck], _ console: Console) {
        let terminal = console.terminal
        let name = checks.map { Text.width(Text.oneLine($0.check)) }.max() ?? 0
        let width = max(60, terminal.width ?? .max)
        let indent = String(repeating: " ", count: name + 8)
        for check in checks {
            let colour: Colour =
                switch check.state {
                case .ok: .green
                case .warn: .yellow
                case .fail: .red
                }
            let text = Text.wrapped(Text.oneLine(check.text), to: width, indent: indent).dropFirst(indent.count)
            console.print(
                terminal.paint(Text.padded(check.state.rawValue, to: 4), colour) + "  "
                    + Text.padded(Text.oneLine(check.check), to: name) + "  " + text)
            if !check.remedy.isEmpty {
                console.print(Text.wrapped("remedy: " + Text.oneLine(check.remedy), to: width, indent: indent))
            }
        }
        guard !checks.isEmpty else {
            return console.say("There is nothing to check: this machine is in no cluster. See: bramble status")
        }
        let counts = DoctorCheck.State.allCases.map { state in checks.count { $0.state == state } }
        console.print(
            "\(Text.count(checks.count, "check", "checks")): \(counts[0]) ok, "
                + "\(Text.count(counts[1], "warning", "warnings")), \(Text.count(counts[2], "failure", "failures"))")
    }
}

extension Kind<UInt64> {
    static let eventID = Kind(placeholder: "ID", allowed: "the ID of an event, a whole number from 0 on") { UInt64($0) }
}

/// Events for people: `1043  12:00:01.123  down        serv3 is down: 2 of 3 observers heard nothing …`.
struct EventLines {
    private let terminal: Terminal
    init(_ terminal: Terminal) { self.terminal = terminal }

    func text(_ events: [Event]) -> String {
        let id = max(4, events.map { String($0.id).count }.max() ?? 0)
        return events.map { event in
            let time = Self.time(event.at, terminal)
            let type = Text.padded(Text.oneLine(event.type), to: 13)
            let indent = String(repeating: " ", count: id + Text.width(time) + Text.width(type) + 6)
            // Where a sentence has no room beside the rest, the terminal may break it where it likes.
            let room = terminal.width.map { $0 - indent.count >= 24 ? $0 : .max } ?? .max
            let sentence = Text.wrapped(
                Self.localised(Text.oneLine(sentence(event)), terminal), to: room, indent: indent)
            return [
                terminal.paint(Text.padded(String(event.id), to: id, alignRight: true), .faint), time,
                terminal.paint(type, Self.colour(of: event.type)), String(sentence.dropFirst(indent.count)),
            ].joined(separator: "  ") + "\n"
        }.joined()
    }

    /// The event's own; of a node that sends none, one made of what it sends.
    private func sentence(_ event: Event) -> String {
        guard event.text.isEmpty else { return event.text }
        let said = event.by.isEmpty ? [] : ["said by \(event.by.joined(separator: ", "))"]
        let figures = event.detail.isEmpty ? [] : [Figures.text(event.detail)]
        return ([event.subject] + said + figures).joined(separator: "; ")
    }

    /// The time of day; with the day, unless that is today.
    static func time(_ at: String, _ terminal: Terminal) -> String {
        guard let moment = Text.moment(at) else { return Text.oneLine(at) }
        let wall = terminal.wallClock(moment)
        return wall.day == terminal.wallClock(terminal.now()).day ? wall.time : "\(wall.day) \(wall.time)"
    }

    /// A sentence with the moments in it as this machine's clock on the wall showed them.
    static func localised(_ sentence: String, _ terminal: Terminal) -> String {
        sentence.split(separator: " ", omittingEmptySubsequences: false).map { word in
            let bare = word.reversed().drop { ":,.;".contains($0) }.reversed()
            // Nothing shorter is a whole moment, and parsing every word would be slow.
            guard bare.count >= 20, Text.moment(String(bare)) != nil else { return String(word) }
            return time(String(bare), terminal) + word.dropFirst(bare.count)
        }.joined(separator: " ")
    }

    private static func colour(of type: String) -> Colour? {
        switch type {
        case "joined", "alive", "recovered", "acquired", "started": .green
        case "suspect", "stalled", "isolated", "conflict", "waiting": .yellow
        case "down", "failed": .red
        case "left", "removed", "released", "stopped": .faint
        default: nil
        }
    }
}
