import FoundationEssentials
import Primitives
import Reactor
import Testing

@testable import BrambleAPI

@Suite("what happens is followed without a gap")
struct FollowTests {
    @Test("kept events come first, then the new ones, none twice", .timeLimit(.minutes(10)))
    func seam() async throws {
        let shell = Shell(Shell.following)
        let client = BrambleClient(socket: shell.server.path)
        var ids: [UInt64] = []
        let end = await #expect(throws: ClientError.self) {
            for try await event in client.follow() { ids.append(event.id) }
        }
        #expect(ids == [1041, 1042, 1043, 1044, 1045, 1046, 1047])
        #expect(end?.kind == .noAnswer)
        #expect(end?.error.problem.contains("ended the stream") == true)
        #expect(shell.server.asked.count == 2)
        #expect(shell.server.asked.last?.hasPrefix("GET /v1/events?since=1045 ") == true)
        #expect(shell.server.asked.last?.contains("Accept: text/event-stream\r\n") == true)
    }

    @Test("events --follow --json prints a line each and ends with exit code 3 when the daemon does")
    func lines() async {
        let result = await Shell(Shell.following).run(["events", "--follow", "--json", "--since", "1042"])
        let ids = result.out.split(separator: "\n").map { line in
            (try? JSONDecoder().decode(Event.self, from: Data(line.utf8)))?.id
        }
        #expect(ids == [1043, 1044, 1045, 1046, 1047])
        #expect(result.code == 3)
        #expect(result.err.contains("bramble events --follow --since ID"))
    }

    @Test("events --follow --last 0 begins with what comes")
    func onlyNew() async {
        let result = await Shell(Shell.following).run(["events", "--follow", "--json", "--last", "0"])
        #expect(result.out.split(separator: "\n").count == 2)
        #expect(result.out.contains("\"id\":1046") && !result.out.contains("\"id\":1045"))
    }

    @Test("a stream that stays silent is given up", .timeLimit(.minutes(10)))
    func silent() async {
        let shell = Shell { request in
            request.contains("text/event-stream") ? Shell.streamHead + [.hang] : TinyServer.answer("200 OK", "[]")
        }
        var client = BrambleClient(socket: shell.server.path)
        client.idleLimit = .milliseconds(300)
        let error = await #expect(throws: ClientError.self) { for try await _ in client.follow() {} }
        #expect(error?.kind == .noAnswer)
        #expect(error?.error.problem.contains("has been silent for 0.3 seconds") == true)
    }

    @Test("heartbeats keep a quiet stream open", .timeLimit(.minutes(10)))
    func heartbeats() async {
        let shell = Shell { request in
            guard request.contains("text/event-stream") else { return TinyServer.answer("200 OK", "[]") }
            let beat: [TinyServer.Step] = [.pause(milliseconds: 500), .send(": still here\n\n")]
            return Shell.streamHead + Array(repeating: beat, count: 5).flatMap(\.self)
                + [.send("data: \(Shell.json(Example.events[0]))\n\n")]
        }
        var client = BrambleClient(socket: shell.server.path)
        // The watch looks once a second, so less than that would say nothing.
        client.idleLimit = .milliseconds(1500)
        var ids: [UInt64] = []
        await #expect(throws: ClientError.self) { for try await event in client.follow() { ids.append(event.id) } }
        #expect(ids == [1041])
    }

    @Test("a refused stream says why")
    func refused() async {
        let shell = Shell { request in
            request.contains("text/event-stream")
                ? TinyServer.answer("503 Busy", #"{"error":{"problem":"too many streams","remedy":"close one"}}"#)
                : TinyServer.answer("200 OK", "[]")
        }
        let error = await #expect(throws: ClientError.self) {
            for try await _ in BrambleClient(socket: shell.server.path).follow() {}
        }
        #expect(error?.kind == .refused(status: 503) && error?.error.problem == "too many streams")
    }

    @Test("what is no stream of events is named so")
    func nonsense() async {
        for steps in [
            TinyServer.answer("200 OK", "<html>", type: "text/html"),
            Shell.streamHead + [.send("data: {\"id\":\"x\"}\n\n")],
            Shell.streamHead + [.send("data: " + String(repeating: "x", count: 9 << 20))],
        ] {
            let shell = Shell { request in
                request.contains("text/event-stream") ? steps : TinyServer.answer("200 OK", "[]")
            }
            let error = await #expect(throws: ClientError.self) {
                for try await _ in BrambleClient(socket: shell.server.path).follow() {}
            }
            #expect(error?.kind == .notUnderstood)
        }
    }

    @Test("a reader that stops reading ends the transfer", .timeLimit(.minutes(10)))
    func leaving() async throws {
        let shell = Shell { request in
            request.contains("text/event-stream")
                ? Shell.streamHead + [.send("data: \(Shell.json(Example.events[0]))\n\n"), .hang]
                : TinyServer.answer("200 OK", "[]")
        }
        for try await event in BrambleClient(socket: shell.server.path).follow() {
            #expect(event.id == 1041)
            break
        }
        // The server handles one connection at a time: a second answer means that the first connection was closed.
        #expect(try await BrambleClient(socket: shell.server.path).nodes().isEmpty)
    }

    @Test("the live feed is told apart by subject, and unknown subjects are skipped")
    func live() async {
        let shell = Shell { _ in
            Shell.streamHead + [
                .send(": hello\n\nevent: nodes\ndata: \(Shell.json(Example.nodes))\n\nevent: novelty\ndata: {}\n\n"),
                .send(
                    "event: phi\ndata: {\"nodes\":{\"serv2\":7.5,\"serv3\":null},\"edges\":{},\"uptimeSeconds\":5}\n\n"),
                .send("event: status\ndata: \(Shell.json(Example.status))\n\nid: 1041\nevent: event\n"),
                .send("data: \(Shell.json(Example.events[0]))\n\n"),
            ]
        }
        var updates: [LiveUpdate] = []
        await #expect(throws: ClientError.self) {
            for try await update in BrambleClient(socket: shell.server.path).live() { updates.append(update) }
        }
        #expect(
            updates == [
                .nodes(Example.nodes), .suspicion(nodes: ["serv2": 7.5, "serv3": nil], edges: [:]),
                .status(Example.status),
                .event(Example.events[0]),
            ])
    }

    @Test("nodes --watch redraws with each change, keeps the list while the daemon is away, and shows it again")
    func watch() async throws {
        let drawn = Locked<[String]>([])
        let shell = Shell { _ in
            // A daemon that restarts after each time that it was asked.
            Shell.streamHead + [
                .send("event: nodes\ndata: \(Shell.json(Example.nodes))\n\n"),
                .send("event: phi\ndata: {\"nodes\":{\"serv2\":7.5},\"edges\":{},\"uptimeSeconds\":5}\n\n"),
            ]
        }
        let task = Task {
            await shell.run(["nodes", "--watch"], width: 120, tap: { frame in drawn.withLock { $0.append(frame) } })
        }
        while drawn.withLock({ $0.count }) < 5 { try await Task.sleep(for: .milliseconds(20)) }
        task.cancel()
        _ = await task.value
        let frames = drawn.withLock { $0 }
        #expect(frames.allSatisfy { $0.hasPrefix("\u{1B}[H") && $0.hasSuffix("\u{1B}[J") })
        #expect(frames[0].contains("5.6 / 8.0") && frames[0].contains("Ctrl-C ends"))
        #expect(frames[1].contains("7.5 / 8.0"))
        #expect(frames[2].contains("7.5 / 8.0") && frames[2].contains("not current: /run/test.sock ended"))
        #expect(frames[3].contains("5.6 / 8.0") && !frames[3].contains("not current"))
    }
}

@Suite("server-sent events are read as the standard says")
struct EventStreamParserTests {
    static let streams: [(text: String, events: [ServerSentEvent])] = [
        ("data: a\n\n", [.init(data: "a")]),
        ("data:a\r\n\r\n", [.init(data: "a")]),
        ("data: a\r\rdata: b\r\r", [.init(data: "a"), .init(data: "b")]),
        ("data: a\ndata:  b\ndata\n\n", [.init(data: "a\n b\n")]),
        (
            "event: x\nid: 7\ndata: a\n\ndata: b\n\n",
            [.init(event: "x", data: "a", id: "7"), .init(data: "b", id: "7")]
        ),
        (": comment\n\nevent: lost\n\ndata: a\n\n", [.init(data: "a")]),
        ("unknown: x\nretry: 5\ndata: a\n\ndata: unfinished", [.init(data: "a")]),
        ("\u{FEFF}data: a\n\n", [.init(data: "a")]),
        ("id: a\0b\ndata: φ\n\n", [.init(data: "φ")]),
        ("data\n\n", [.init(data: "")]),
    ]

    @Test("in one piece and byte by byte alike", arguments: streams)
    func reads(text: String, events: [ServerSentEvent]) throws {
        var whole = EventStreamParser()
        #expect(try whole.feed(text.utf8) == events)
        var pieces = EventStreamParser()
        #expect(try text.utf8.flatMap { try pieces.feed(CollectionOfOne($0)) } == events)
    }

    @Test("lines and events have a limit")
    func limits() {
        var line = EventStreamParser()
        #expect(throws: EventStreamParser.Failure.lineTooLong) {
            try line.feed(Array(repeating: UInt8(ascii: "x"), count: EventStreamParser.limit + 1))
        }
        var event = EventStreamParser()
        let part = Array("data: \(String(repeating: "x", count: 1 << 19))\n".utf8)
        #expect(throws: EventStreamParser.Failure.eventTooLong) { for _ in 0..<17 { _ = try event.feed(part) } }
    }

    @Test("junk followed by a good event leaves the good one read", arguments: 0..<500)
    func junk(seed: UInt64) throws {
        var chance = SeededGenerator(seed: seed)
        let pieces = [
            "data", ":", " ", "\n", "\r", "\0", "id: 3\n", "event: e\n", "\u{FF}", "{", "φ", ": c\n\n", "retry",
        ]
        var parser = EventStreamParser()
        for _ in 0..<chance.pick(from: [0, 1, 5, 50, 400])! {
            _ = try parser.feed(chance.pick(from: pieces)!.utf8)
            _ = try parser.feed(CollectionOfOne(UInt8(truncatingIfNeeded: chance.next())))
        }
        // Ends whatever line and event the junk had begun.
        _ = try parser.feed("\n\n\n".utf8)
        let events = try parser.feed("event: good\ndata: here\n\n".utf8)
        #expect(events.map(\.event) == ["good"] && events.map(\.data) == ["here"])
    }
}
