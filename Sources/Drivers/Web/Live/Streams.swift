import BrambleAPI
import FoundationEssentials
import Primitives
import Reactor

/// One message of a `text/event-stream`.
enum Message {
    /// `data` is one line: JSON as we write it has no others.
    static func make(id: UInt64? = nil, event: String? = nil, data: [UInt8]) -> [UInt8] {
        var message: [UInt8] = []
        if let id { message += Array("id: \(id)\n".utf8) }
        if let event { message += Array("event: \(event)\n".utf8) }
        message += Array("data: ".utf8)
        message += data
        message += Array("\n\n".utf8)
        return message
    }
    static func make(token: String, event: String? = nil, data: [UInt8]) -> [UInt8] {
        Array("id: \(token)\n".utf8) + make(event: event, data: data)
    }
    static let heartbeat = Array(": still here\n\n".utf8)

    static func json(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(value)).map { [UInt8]($0) } ?? Array("null".utf8)
    }
}

enum Streams {
    static let headers: [(name: String, value: String)] = [
        ("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"),
    ]

    /// An array of what is kept, or, when the client asks for a stream, that and what comes.
    static func events(_ call: Call) async throws -> Response {
        var since = try since(call)
        guard call.head.header("accept")?.contains("text/event-stream") == true else {
            return .json(await call.web.service.events(since: since))
        }
        // What the browser or the client saw last beats what its address says: it is newer after a break.
        if let last = call.head.header("last-event-id").flatMap({ UInt64($0) }) { since = last }
        let start = since
        let web = call.web
        let caller = call.caller
        return Response(
            status: 200, headers: headers,
            body: .stream(ByteStream(limit: web.limits.streamBytes)) { stream in
                stream.send(Message.heartbeat)  // so that the client sees the answer begin
                // First listen, then look back: nothing falls between the two.
                let coming = await web.service.eventStream()
                var last: UInt64 = 0
                if let start {
                    for event in await web.service.events(since: start) {
                        guard await stream.sendInTurn(Message.make(id: event.id, data: Message.json(event))) else {
                            return
                        }
                        last = event.id
                    }
                }
                let seen = last
                await watching(stream, caller, web) {
                    for await event in coming where event.id > seen {
                        guard stream.send(Message.make(id: event.id, data: Message.json(event))) else { return }
                    }
                }
            })
    }

    static func live(_ call: Call) throws -> Response {
        let web = call.web
        let caller = call.caller
        let last = try call.head.header("last-event-id").flatMap { UInt64($0) } ?? since(call)
        return Response(
            status: 200, headers: headers,
            body: .stream(ByteStream(limit: web.limits.streamBytes)) { stream in
                await watching(stream, caller, web) { await web.feed.serve(stream, after: last) }
            })
    }

    private static func since(_ call: Call) throws -> UInt64? {
        try call.query("since").map { text in
            guard let id = UInt64(text) else {
                throw APIError(
                    problem: "“since” must be the ID of an event, not “\(text.prefix(40))”",
                    remedy: "give a whole number: IDs are in the events themselves", kind: .invalid)
            }
            return id
        }
    }

    /// Runs `body` until it ends, the client leaves, or the caller's session or token is no longer good.
    static func watching(
        _ stream: ByteStream, _ caller: Caller?, _ web: WebApplication, _ body: @escaping @Sendable () async -> Void
    ) async {
        await withTaskGroup { group in
            group.addTask { await body() }
            group.addTask {
                while (try? await web.sleep(web.limits.streamHeartbeat)) != nil {
                    guard stream.send(Message.heartbeat) else { return }
                    if let caller, await !web.isStillKnown(caller) { return }
                }
            }
            await group.next()
            group.cancelAll()
        }
    }
}
