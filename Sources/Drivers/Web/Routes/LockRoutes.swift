import BrambleAPI
import Primitives

extension RouteTable {
    /// Locks, and the clock.
    static let locks: [Route] = [
        Route("GET", "/v1/locks", "Who holds which lock", gives: [LockInfo].self, about: "The locks") { call in
            try await call.web.service.locks()
        },
        Route(
            "GET", "/v1/clock",
            "The clock of each node, measured now. With “within” it waits until all are within so many milliseconds of each "
                + "other, and is refused when they are not in time",
            query: [
                Route.Parameter(name: "within", about: "Milliseconds", schema: .number),
                Route.Parameter(name: "wait", about: "Seconds at most, 0 unless said otherwise", schema: .whole),
            ], answers: [.json(.of([ClockInfo].self), about: "The clocks")]
        ) { call in
            let limit = try call.query("within").map { text in
                guard let limit = Double(text), limit > 0, limit <= 3_600_000 else {
                    throw APIError(
                        problem: "“within” must be a number of milliseconds, not “\(text.prefix(40))”",
                        remedy: "give one like 5", kind: .invalid)
                }
                return limit
            }
            let wait = try call.wait(atMost: 600)
            return .json(try await call.web.service.clocks(within: limit, wait: wait ?? .zero))
        }.waiting(.seconds(610)),
        Route(
            "POST", "/v1/clock", "Let chrony keep the clocks of all nodes together, or leave them alone",
            takes: ClockRequest.self, gives: NodeChange.self, about: "What was done"
        ) { call, body in try await call.web.service.keepClocks(body) },
        Route(
            "GET", "/v1/locks/{name}/hold",
            "Wants a lock for as long as the stream is open, and tells how that goes. Through the socket of this machine "
                + "only: the moments are of its clock. Ending the stream without giving the lock back leaves it to run out",
            query: [Route.Parameter(name: "wait", about: "Give up after so many seconds", schema: .whole)],
            answers: [.other("text/event-stream", about: "One LockNews a message")]
        ) { call in try await Streams.hold(call) },
        Route(
            "POST", "/v1/locks/{name}/release", "Give a lock back, once what it protected has ended",
            takes: LockRelease.self, gives: LockInfo.self, about: "How it is then"
        ) { call, body in
            try await call.web.service.release(lock: call.parameter("name"), epoch: UInt64(clamping: body.epoch))
        },
    ]
}

extension Streams {
    static func hold(_ call: Call) async throws -> Response {
        guard call.caller == .local else {
            throw APIError(
                problem: "a lock is held by a process of the node's own machine",
                remedy: "run bramble lock there: it asks through the local socket", kind: .forbidden)
        }
        let wait = try call.wait(atMost: 86_400)
        let (web, caller) = (call.web, call.caller)
        let news = try await web.service.hold(
            lock: call.parameter("name"), wait: wait)
        return Response(
            status: 200, headers: headers,
            body: .stream(ByteStream(limit: web.limits.streamBytes)) { stream in
                stream.send(Message.heartbeat)
                await watching(stream, caller, web) {
                    for await message in news {
                        guard stream.send(Message.make(data: Message.json(message))) else { return }
                    }
                }
            })
    }
}

extension Call {
    /// The seconds of “wait”; nil without it.
    fileprivate func wait(atMost limit: Int) throws -> Duration? {
        try query("wait").map { text in
            guard let seconds = Int(text), (0...limit).contains(seconds) else {
                throw APIError(
                    problem: "“wait” must be 0 to \(limit) seconds, not “\(text.prefix(40))”",
                    remedy: "give a whole number", kind: .invalid)
            }
            return .seconds(seconds)
        }
    }
}
