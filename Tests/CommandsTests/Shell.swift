import BrambleAPI
import Commands
import FoundationEssentials
import Glibc
import Primitives
import Testing

/// Runs command lines the way `main` does, against a prepared node, and keeps what they print.
final class Shell: Sendable {
    struct Result: Equatable, Sendable {
        var out = ""
        var err = ""
        var code: Int32 = 0
    }

    /// What a terminal would collect; one command at a time.
    private final class Screen: @unchecked Sendable {
        var out = ""
        var err = ""
        var answers: [String]
        init(_ answers: [String]) { self.answers = answers }
        func next() -> String? { answers.isEmpty ? nil : answers.removeFirst() }
    }

    let server: TinyServer
    init(_ script: @escaping @Sendable (String) -> [TinyServer.Step] = Shell.node) {
        server = TinyServer(script: script)
    }
    deinit { server.stop() }

    /// `width` makes the output a terminal, `answers` the input.
    func run(
        _ words: [String], width: Int? = nil, colour: Bool = false, unicode: Bool = true, answers: [String]? = nil,
        input: [String] = [], environment: [String: String] = [:], machine: LocalMachine = Shell.machine,
        tap: (@Sendable (String) -> Void)? = nil
    ) async -> Result {
        let screen = Screen(answers ?? input)
        var terminal = Terminal(
            write: { screen.out += $0 }, complain: { screen.err += $0 }, readLine: { screen.next() },
            readSecret: { prompt in
                screen.err += prompt
                return screen.next()
            })
        terminal.hasColour = colour
        terminal.hasUnicode = unicode
        terminal.canAsk = answers != nil
        if let width { terminal.size = { (width, 24) } }
        terminal.now = { Date(timeIntervalSince1970: Example.now) }
        if let tap { terminal.write = { [path = server.path] in tap($0.replacing(path, with: "/run/test.sock")) } }
        // The same everywhere: UTC.
        terminal.wallClock = { moment in
            let text = (moment + 0.0005).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
            return (String(text.prefix(10)), String(text.dropFirst(11).prefix(12)))
        }
        let code = await Bramble.run(
            arguments: words, environment: environment.merging(["BRAMBLE_SOCKET": server.path]) { given, _ in given },
            terminal: terminal, machine: machine)
        func neutral(_ text: String) -> String { text.replacing(server.path, with: "/run/test.sock") }
        return Result(out: neutral(screen.out), err: neutral(screen.err), code: code)
    }

    struct Refused: OperatorError {
        let problem = "there is a cluster key already"
        let remedy = "to join that cluster, start the node"
    }
    static let machine = LocalMachine(
        version: "0.1.0", protocolVersion: 1,
        initialise: { directory, cluster in
            if directory == "/taken" { throw Refused() }
            return .init(user: "admin", password: "k7qd-2m4x-9f3a-0abc", keyPath: directory + "/cluster.key")
        },
        start: { options in options.port == 7 ? 1 : 0 }, witness: { options in options.port == 7 ? 1 : 0 })

    static func json(_ value: some Encodable) -> String {
        String(decoding: try! JSONEncoder().encode(value), as: UTF8.self)
    }

    static let streamHead: [TinyServer.Step] = [
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n")
    ]

    /// The same node with two more events in its stream, which then ends. It repeats the newest kept one.
    static let following: @Sendable (String) -> [TinyServer.Step] = { request in
        guard request.contains("Accept: text/event-stream") else { return node(request) }
        return streamHead
            + [1045, 1046, 1047].map { (id: UInt64) in
                var event = Example.events[4]
                event.id = id
                return .send("id: \(id)\ndata: \(json(event))\n\n")
            }
    }

    /// A node of the example cluster.
    static let node: @Sendable (String) -> [TinyServer.Step] = { request in
        let line = request.prefix { $0 != "\r\n" }.split(separator: " ")
        func json(_ value: some Encodable) -> [TinyServer.Step] {
            TinyServer.answer("200 OK", String(decoding: try! JSONEncoder().encode(value), as: UTF8.self))
        }
        switch "\(line[0]) \(line[1])" {
        case "GET /v1/nodes": return json(Example.nodes)
        case "GET /v1/status": return TinyServer.answer("200 OK", Example.statusJSON)
        case "GET /v1/events": return json(Example.events)
        case let question where question.hasPrefix("GET /v1/events?since="):
            let since = UInt64(question.dropFirst("GET /v1/events?since=".count))!
            return json(Example.events.filter { $0.id > since })
        case "GET /v1/why/serv3": return json(Example.why)
        case "GET /v1/waiting": return json(Example.waiting)
        case "GET /v1/doctor": return json(Example.doctor)
        case "GET /v1/version": return json(VersionInfo(version: "0.1.0", protocolVersion: 1))
        case "GET /v1/tokens": return json([TokenInfo(name: "backup", created: "2026-11-20T08:00:00.000Z")])
        case "POST /v1/tokens": return json(NewToken(name: "backup", token: "brt_0123456789abcdef"))
        case "DELETE /v1/tokens/backup": return json(NodeChange(name: "backup", done: "revoked"))
        case "POST /v1/nodes": return json(NodeChange(name: "serv6", done: "serv6 has the cluster key and is joining"))
        case "DELETE /v1/nodes/serv4":
            return json(NodeChange(name: "serv4", done: "serv4 was removed from the cluster"))
        case "POST /v1/probe":
            if request.contains("nowhere") {
                let error = APIError(
                    problem: "nobody answers at nowhere", remedy: "check that Bramble runs there", kind: .notFound)
                let body = String(decoding: try! JSONEncoder().encode(["error": error]), as: UTF8.self)
                return TinyServer.answer("404 Not Found", body)
            }
            return json(NodeChange(name: "serv6", done: "serv6 answered and was added"))
        case "GET /v1/services": return json(Example.services)
        case "POST /v1/services/files/move", "POST /v1/services/files/drill":
            return json(ServiceChange(name: "files", done: "files runs on serv2 now", node: "serv2", gapMs: 48.4))
        case "POST /v1/services/files/start":
            return json(ServiceChange(name: "files", done: "files runs on serv1", node: "serv1"))
        case "POST /v1/services/files/stop":
            return json(ServiceChange(name: "files", done: "files is stopped", node: nil))
        case "POST /v1/nodes/serv4/hold":
            return json(NodeChange(name: "serv4", done: "serv4 runs nothing until it is resumed"))
        case "GET /v1/mirrors": return json(Example.mirrors)
        case "POST /v1/mirrors/samba/run": return json(Example.mirrors[0])
        case "GET /v1/parked": return json(Example.parked)
        case "POST /v1/parked/p1/restore":
            return json(NodeChange(name: "samba", done: "/var/lib/samba/passdb.tdb is as serv2 had it"))
        case "POST /v1/sql":
            guard request.contains("syntax") else { return TinyServer.answer("200 OK", Example.sqlAnswer(request)) }
            let error = APIError(
                problem: "near \"syntax\": syntax error", remedy: "correct the statement", kind: .invalid)
            let body = String(decoding: try! JSONEncoder().encode(["error": error]), as: UTF8.self)
            return TinyServer.answer("400 Bad Request", body)
        case "GET /v1/database": return json(Example.database)
        case "GET /v1/tables": return json(Example.tables)
        case "GET /v1/conflicts?limit=100": return json(Example.conflicts)
        case "GET /v1/conflicts?limit=1": return json(Array(Example.conflicts.prefix(1)))
        case "GET /v1/backup":
            return TinyServer.answer("200 OK", "SQLite format 3 and so on", type: "application/vnd.sqlite3")
        case "POST /v1/database/release":
            return json(DatabaseChange(epoch: "1", done: "3 writes of serv7 are taken as they are, on every node"))
        case "POST /v1/restore":
            guard request.hasSuffix("a backup") else {
                let error = APIError(
                    problem: "that file is no backup", remedy: "give a file that bramble backup wrote", kind: .invalid)
                let body = String(decoding: try! JSONEncoder().encode(["error": error]), as: UTF8.self)
                return TinyServer.answer("400 Bad Request", body)
            }
            return json(DatabaseChange(epoch: "2", done: "the database is restored, and every node takes it over"))
        case let question where question.hasPrefix("GET /v1/watch/sensors"):
            return streamHead + [
                .send(
                    #"""
                    id: t7
                    data: {"token":"t7","table":"sensors","key":{"name":"attic"},"op":"put","row":{"name":"attic","celsius":21.0}}

                    id: t9
                    event: resync
                    data: {"token":"t9","table":"sensors","reason":"the token is too old"}

                    id: t10
                    data: {"token":"t10","table":"sensors","key":{"name":"attic"},"op":"delete","row":null}


                    """#)
            ]
        case "POST /v1/apply":
            guard !request.contains("wrong.yaml") else {
                let error = APIError(
                    problem: "wrong.yaml, line 3, column 5: unknown key `adresses`",
                    remedy: "did you mean `addresses`?",
                    kind: .invalid)
                let body = String(decoding: try! JSONEncoder().encode(["error": error]), as: UTF8.self)
                return TinyServer.answer("400 Bad Request", body)
            }
            var answer = Example.applied
            answer.applied = !request.contains("dryRun")
            if request.contains("prune") {
                answer.changes.append(DesiredDifference(change: .removed, part: "mirrors", name: "old", details: []))
            }
            return json(answer)
        case "GET /v1/export": return json(Example.exported)
        case "POST /v1/password": return json(NodeChange(name: "admin", done: "changed"))
        default:
            let error = APIError(problem: "there is nothing called that", remedy: "bramble nodes", kind: .notFound)
            let body = String(decoding: try! JSONEncoder().encode(["error": error]), as: UTF8.self)
            return TinyServer.answer("404 Not Found", body)
        }
    }
}

/// Text that a person has looked at and found good. `make golden` writes it anew; read the difference before committing it.
enum Golden {
    static func check(_ name: String, _ text: String, location: SourceLocation = #_sourceLocation) {
        let path = String(#filePath.dropLast("Shell.swift".count)) + "Golden/\(name).txt"
        if getenv("BRAMBLE_GOLDEN_UPDATE") != nil {
            #expect(throws: Never.self, sourceLocation: location) {
                try Data(text.utf8).write(to: URL(filePath: path))
            }
            return
        }
        let kept = (try? Data(contentsOf: URL(filePath: path))).map { String(decoding: $0, as: UTF8.self) }
        guard let kept else {
            Issue.record("Golden/\(name).txt is missing; make golden writes it", sourceLocation: location)
            return
        }
        guard kept != text else { return }
        let old = kept.split(separator: "\n", omittingEmptySubsequences: false)
        let new = text.split(separator: "\n", omittingEmptySubsequences: false)
        let line =
            zip(old, new).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(old.count, new.count)
        Issue.record(
            """
            Golden/\(name).txt differs from line \(line + 1) on; if the new text is better, run: make golden
            was: \(line < old.count ? old[line] : "(end)")
            now: \(line < new.count ? new[line] : "(end)")
            """, sourceLocation: location)
    }
}
