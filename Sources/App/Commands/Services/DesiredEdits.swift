import BrambleAPI
import Primitives

/// `bramble service|mirror|balance add|remove`: small edits of what should be, through `apply`.
enum DesiredEdits {
    private static let service = Argument("NAME", name("service"), "The service's name")
    private static let mirror = Argument("NAME", name("mirror"), "The mirror's name")

    // What a service is. The node knows what each value must look like, and says so.
    private static let address = Option(
        "address", .text("ADDRESS/LENGTH", allowed: "a floating address with its network, like 192.168.1.50/24"),
        repeats: true, "An address that moves with it; repeat it for more")
    private static let run = Option(
        "run", .text("WHAT", allowed: "systemd:UNIT, ocf:PROVIDER:AGENT, script:/PATH or exec:[/PATH, ARGUMENT]"),
        "What it runs: systemd:UNIT, ocf:PROVIDER:AGENT, script:/PATH or exec:[/PATH, ARGUMENT]")
    private static let check = Option(
        "check", .text("HOW", allowed: "tcp:PORT, http://:PORT/PATH, exec:[/PATH] or monitor"),
        "How to tell that it works: tcp:PORT, http://:PORT/PATH, exec:[/PATH] or monitor")
    private static let every = Option(
        "every", .text("TIME", allowed: "a time like 500ms, 5s or 10m"), "Between two checks (5s)")
    private static let prefer = Option(
        "prefer", Kind<String>.node, repeats: true, "A node that should run it, the best first; repeat it for more")
    private static let mirrors = Option(
        "mirror", name("mirror"), repeats: true, "A mirror that it needs; repeat it for more")
    private static let after = Option(
        "after", name("service"), repeats: true, "Start once this service runs; repeat it for more")

    private static let path = Option(
        "path", Kind<String>.text("PATH", allowed: "a whole path; with / at its end, all that is in the directory"),
        repeats: true, "A file, or a directory with / at its end; repeat it for more")
    private static let schedule = Option(
        "every", .text("TIME", allowed: "a time like 10m, or on-change"), "How often, or on-change (10m)")
    private static let target = Option(
        "to", Kind<String>.node, repeats: true, "A node that gets the files; all others without it")

    private static func name(_ what: String) -> Kind<String> {
        Kind(placeholder: "NAME", allowed: ServiceName.rule) { ServiceName($0)?.description }
    }

    static let addService = adding(
        "services", service, "Add a service: addresses, what it runs, how it is checked",
        details: """
            For more than these, and to change a service that is there: bramble export > FILE, edit it, then \
            bramble plan -f FILE and bramble apply -f FILE.
            """, [address, run, check, every, prefer, mirrors, after],
        examples: [
            "bramble service add files --address 192.168.1.50/24 --run systemd:smbd --check tcp:445 --mirror samba"
        ]
    ) { object, input in
        object.add("addresses", input[all: address])
        object.add("run", input[run])
        object.add("check", input[check])
        object.add("every", input[every])
        object.add("prefer", input[all: prefer])
        object.add("mirrors", input[all: mirrors])
        object.add("after", input[all: after])
    }

    static let addMirror = adding(
        "mirrors", mirror, "Add a mirror: files of the node that holds its service, on other nodes, too",
        details: "Name it in its service, as in bramble service add … --mirror NAME, or with bramble apply.",
        [path, schedule, target],
        examples: ["bramble mirror add samba --path /srv/files/ --path /etc/samba/smb.conf --every on-change"]
    ) { object, input in
        object.add("paths", input[all: path])
        object.add("every", input[schedule])
        object.add("to", input[all: target])
    }

    private static let balancer = Argument("NAME", name("balancer"), "The balancer's name")
    private static let listen = Option(
        "listen", .text("WHERE", allowed: ":PORT or ADDRESS:PORT"),
        "Where clients come: :PORT on every node, or ADDRESS:PORT")
    private static let transport = Option(
        "protocol", Kind<BalancerInfo.Transport>.choice(),
        "http (by nginx), tcp or udp (by the kernel); http without it")
    private static let backendPort = Option("to", Kind<UInt16>.port, "The port of the backends")
    private static let sticky = Option(
        "sticky", Kind<BalancerInfo.Stickiness>.choice(), "source: a client stays on its backend; none without it")
    private static let attached = Option(
        "service", name("service"), "Answer TCP and UDP at this service's addresses alone, so that it moves with them")
    private static let health = Option(
        "check", .text("PATH", allowed: "a path like /health"),
        "A path that each backend has to answer with a good status; without it, accepting a connection is enough")
    private static let backends = Option(
        "node", Kind<String>.node, repeats: true, "A node that is a backend; repeat it for more; all without it")

    static let addBalancer = adding(
        "balancers", balancer, "Add a balancer: one place for clients, many nodes behind it",
        details: """
            Every node balances, so any of them may be asked; with a service's floating address clients have one address that \
            stays. HTTP goes through an nginx of Bramble's own, TCP and UDP through rules of the kernel's.
            """, [listen, transport, backendPort, sticky, attached, health, backends],
        examples: [
            "bramble balance add web --listen :80 --protocol http --to 8080 --sticky source --check /health",
            "bramble balance add lora --listen :1700 --protocol udp --to 1701 --service gateway --sticky source",
        ],
        remark: { input in
            guard input[transport] ?? .http == .http, input[health] == nil else { return nil }
            return "without --check a backend that hangs goes on getting requests: "
                + "only those that accept no connection are left out"
        }
    ) { object, input in
        for (option, given) in [("--listen", input[listen] != nil), ("--to", input[backendPort] != nil)] where !given {
            throw UsageError(
                problem: "“balance add” needs \(option)",
                remedy: "for example: bramble balance add web --listen :80 --to 8080")
        }
        object.add("listen", input[listen])
        object.add("protocol", input[transport]?.rawValue)
        object.add("to", number: input[backendPort].map { Int($0) })
        object.add("sticky", input[sticky]?.rawValue)
        object.add("service", input[attached])
        object.add("check", input[health])
        object.add("nodes", input[all: backends])
    }

    static let listBalancers = Command(
        asking: "list", "List the balancers, and which backends get something", section: .look, accepts: [Shared.json]
    ) { input, console, api in
        let balancers = try await api.balancers()
        if input[Shared.json] { return try console.printJSON(balancers) }
        guard !balancers.isEmpty else {
            return console.say("There is no balancer. Add one: bramble balance add --help")
        }
        for balancer in balancers {
            let sticky = balancer.sticky == .source ? ", sticky by source" : ""
            let service = balancer.service.map { ", at the addresses of \($0)" } ?? ""
            console.print(
                console.terminal.paint(balancer.name, .strong)
                    + "  \(balancer.transport.rawValue) \(balancer.listen)\(service)\(sticky)")
            if !balancer.reason.isEmpty { console.say("  " + Text.oneLine(balancer.reason)) }
            for backend in balancer.backends {
                let colour: Colour =
                    switch backend.state {
                    case .up: .green
                    case .draining, .unchecked: .yellow
                    case .down, .failing: .red
                    }
                let reason = backend.reason.isEmpty ? "" : "  \(Text.oneLine(backend.reason))"
                console.print(
                    "  " + console.terminal.paint(Text.padded(backend.state.rawValue, to: 9), colour)
                        + "  \(Text.oneLine(backend.node))  \(backend.address)\(reason)")
            }
        }
    }

    static let removeService = removing(
        "services", service, "Remove a service: it stops, and nobody runs it any more", command: "service remove",
        what: [
            "“NAME” stops on the node that runs it, its addresses answer no more, and the nodes forget what it was.",
            "Its files stay where they are.",
        ])
    static let removeMirror = removing(
        "mirrors", mirror, "Remove a mirror; the files stay where they are", command: "mirror remove",
        what: ["“NAME” is copied no more. The files stay where they are, on every node, and grow old there."])
    static let removeBalancer = removing(
        "balancers", balancer, "Remove a balancer; its backends go on", command: "balance remove",
        what: ["No node answers at “NAME” any more. What listens on its backends goes on."])

    // MARK: One object of a part

    /// - Parameters:
    ///   - remark: what whoever adds such a one should know.
    ///   - fields: puts what was given into the object, which has its name already.
    private static func adding(
        _ part: String, _ name: Argument<String>, _ summary: String, details: String, _ options: [any Parameter],
        examples: [String], remark: @escaping @Sendable (Input) -> String? = { _ in nil },
        fields: @escaping @Sendable (inout FlowObject, Input) throws -> Void
    ) -> Command {
        Command(
            asking: "add", summary, details: details, section: .change, accepts: [name] + options + [Shared.json],
            examples: examples
        ) { input, console, api in
            var object = FlowObject()
            object.add("name", input[required: name])
            try fields(&object, input)
            let document = "\(part):\n  - \(object.text)\n"
            var request = ApplyRequest(document: document, name: "the command line", dryRun: true)
            let plan = try await api.apply(request)
            let isKnown =
                plan.changes.isEmpty
                || plan.changes.contains { $0.change == .changed && $0.name == input[required: name] }
            guard !isKnown else {
                throw CommandFailure(
                    problem: "“\(input[required: name])” is there already",
                    remedy: "to change it: bramble export > FILE, edit it, bramble apply -f FILE")
            }
            request.dryRun = nil
            try report(try await api.apply(request), input, console)
            if let remark = remark(input) { console.note(remark) }
        }
    }

    /// - Parameter what: what will happen, with NAME for the object's name.
    private static func removing(
        _ part: String, _ name: Argument<String>, _ summary: String, command: String, what: [String]
    ) -> Command {
        Command(asking: "remove", summary, section: .change, accepts: [name, Shared.yes, Shared.json]) {
            input, console, api in
            let name = input[required: name]
            try console.confirm(
                what.map { $0.replacing("NAME", with: name) }, question: "Remove it?", command: command, input: input)
            let request = ApplyRequest(document: "{}\n", name: "the command line", remove: ["\(part)/\(name)"])
            try report(try await api.apply(request), input, console)
        }
    }

    private static func report(_ answer: ApplyAnswer, _ input: Input, _ console: Console) throws {
        if input[Shared.json] { return try console.printJSON(answer) }
        DesiredCommands.show(answer, console, nothing: "Everything is so already.")
    }
}

/// One YAML object in a line, its texts in double quotes.
private struct FlowObject {
    private var fields: [String] = []
    var text: String { "{\(fields.joined(separator: ", "))}" }

    mutating func add(_ key: String, _ value: String?) {
        if let value { fields.append("\(key): \(Self.quoted(value))") }
    }
    mutating func add(_ key: String, number: Int?) {
        if let number { fields.append("\(key): \(number)") }
    }
    mutating func add(_ key: String, _ values: [String]) {
        if !values.isEmpty { fields.append("\(key): [\(values.map(Self.quoted).joined(separator: ", "))]") }
    }
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            // Control characters, and the breaks that YAML folds.
            case _
            where scalar.value < 0x20 || (0x7F...0xA0).contains(scalar.value) || scalar.value == 0xFEFF
                || scalar.value == 0x2028 || scalar.value == 0x2029:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
