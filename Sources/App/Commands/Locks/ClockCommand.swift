import BrambleAPI
import Primitives

/// `bramble clock`: the clocks of the nodes, and who keeps them.
enum ClockCommand {
    private enum Word: String, CaseIterable, Sendable { case on, off }
    private static let word = Argument(
        "on|off", Kind<Word>.choice(), required: false,
        "on: chrony keeps the clocks of all nodes together; off: each machine keeps its own. Neither: show them")
    private static let within = Option(
        "within",
        Kind<Double>(placeholder: "MS", allowed: "a number of milliseconds above 0, like 5") { text in
            Double(text).flatMap { $0 > 0 && $0 <= 3_600_000 ? $0 : nil }
        }, "Fail unless all clocks are within so many milliseconds of each other, errors included")
    private static let wait = Option(
        "wait", .integer("SECONDS", in: 0...600), "With --within: wait so long for it")

    static let command = Command(
        asking: "clock", "Show how far the nodes' clocks are apart, and let chrony keep them together",
        details: """
            Each node is asked now. The offset is against the node that serves the time, or against the asked one where none \
            does; it may be wrong by the error, half of the time that the question was under way. With “on” one node serves the \
            time to the others, its own sources' where it reaches them, else its own.
            """,
        section: .look, accepts: [word, within, wait, Shared.json],
        examples: ["bramble clock", "bramble clock on", "bramble clock --within 5 --wait 60 && start-the-race"]
    ) { input, console, api in
        if let word = input[word] {
            guard input[within] == nil, input[wait] == nil else {
                throw UsageError(
                    problem: "--within and --wait are for showing clocks", remedy: "give them without on or off")
            }
            return try console.report(try await api.keepClocks(word == .on), input)
        }
        guard input[within] != nil || input[wait] == nil else {
            throw UsageError(problem: "--wait is of no use without --within", remedy: "give --within MS too")
        }
        let clocks = try await api.clocks(within: input[within], wait: input[wait] ?? 0)
        if input[Shared.json] { return try console.printJSON(clocks) }
        var table = Table(columns: [
            .init(title: "NODE"), .init(title: "OFFSET", alignRight: true), .init(title: "ERROR", alignRight: true),
            .init(title: "FOLLOWS"), .init(title: "", dropOrder: 1),
        ])
        table.rows = clocks.map { clock in
            let isFar = abs(clock.offsetMs ?? 0) > 10
            return [
                .init(clock.node), .init(clock.offsetMs.map(text) ?? "no answer", isFar ? .red : nil),
                .init(clock.errorMs.map { "±" + text($0) } ?? ""),
                .init(clock.source ?? (clock.offsetMs == nil ? "" : "nobody")),
                .init(clock.serves ? "serves the time" : ""),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        if let spread = clocks.spreadMs, clocks.count > 1 { console.say("All clocks are within \(text(spread)).") }
    }

    private static func text(_ milliseconds: Double) -> String {
        if abs(milliseconds) >= 1000 { return "\((milliseconds / 100).rounded() / 10) s" }
        return "\((milliseconds * 1000).rounded() / 1000) ms"
    }
}
