import Glibc
import Lab

/// One connection that is kept alive, and what has come over it and was not taken yet. It never waits: whoever owns it polls.
final class KeptConnection {
    private let stream: Connection
    private var bytes: [UInt8] = []
    private var used = 0
    var descriptor: Int32 { stream.descriptor }

    init(_ stream: Connection) { self.stream = stream }

    func send(_ request: [UInt8]) throws(LabError) { try stream.send(request) }

    /// Takes in what is there; false at the end of the stream.
    func read() -> Bool {
        if used > 0, used == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            used = 0
        }
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: 16_384))
        let count = bytes.withUnsafeMutableBytes {
            recv(descriptor, $0.baseAddress! + start, 16_384, Int32(MSG_DONTWAIT))
        }
        bytes.removeLast(16_384 - max(count, 0))
        return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))
    }

    /// The next whole answer: its status, and whether its text has `mark`; nil while it is not all here.
    func takeAnswer(having mark: StaticString? = nil) -> (status: Int, hasMark: Bool)? {
        let found: (status: Int, hasMark: Bool, end: Int)? = bytes.withUnsafeBytes { all in
            let rest = UnsafeRawBufferPointer(rebasing: all[used...])
            guard let head = Self.place(of: "\r\n\r\n", in: rest) else { return nil }
            let lines = UnsafeRawBufferPointer(rebasing: rest[..<head])
            let status = rest[9..<12].reduce(0) { $0 * 10 + Int($1) - 48 }
            guard let field = Self.place(of: "Content-Length: ", in: lines) else {
                // In chunks: the last one is empty.
                guard let last = Self.place(of: "\r\n0\r\n\r\n", in: rest) else { return nil }
                return (status, mark == nil, used + last + 7)
            }
            var length = 0
            for byte in rest[(field + 16)...] {
                guard (48...57).contains(byte) else { break }
                length = length * 10 + Int(byte) - 48
            }
            let end = head + 4 + length
            guard rest.count >= end else { return nil }
            let body = UnsafeRawBufferPointer(rebasing: rest[(head + 4)..<end])
            return (status, mark.map { Self.place(of: $0, in: body) != nil } ?? true, used + end)
        }
        guard let found else { return nil }
        used = found.end
        return (found.status, found.hasMark)
    }

    /// What has come so far, of a stream without end; it is taken.
    func takeText() -> String {
        defer {
            bytes.removeAll(keepingCapacity: true)
            used = 0
        }
        return String(decoding: bytes[used...], as: UTF8.self)
    }

    private static func place(of text: StaticString, in bytes: UnsafeRawBufferPointer) -> Int? {
        let length = text.utf8CodeUnitCount
        guard let base = bytes.baseAddress, bytes.count >= length else { return nil }
        var start = 0
        while start <= bytes.count - length {
            guard let found = memchr(base + start, Int32(text.utf8Start[0]), bytes.count - length + 1 - start) else {
                return nil
            }
            start = UnsafeRawPointer(found) - base
            if memcmp(base + start, text.utf8Start, length) == 0 { return start }
            start += 1
        }
        return nil
    }

    /// One question; the status of its answer. Waits.
    func ask(_ request: [UInt8], within limit: Duration) throws(LabError) -> Int {
        try send(request)
        let deadline = monotonicSeconds() + limit.components.seconds.asDouble
        while monotonicSeconds() < deadline {
            if let answer = takeAnswer() { return answer.status }
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            _ = Glibc.poll(&poll, 1, 100)
            if poll.revents != 0, !read() { throw LabError("the connection was closed") }
        }
        throw LabError("no answer within \(limit)")
    }
}

extension Int64 { var asDouble: Double { Double(self) } }

/// What many clients got who each ask again as soon as they are answered.
struct LoadResult {
    var latencies = Samples()
    var length = 0.0
    /// Answers other than 200, and those without the mark.
    var wrong = 0
    var perSecond: Double? { length > 0 && wrong == 0 ? Double(latencies.values.count) / length : nil }
}

/// One thread for all clients, so that the measuring leaves the processors to what is measured.
func load(
    _ clients: [KeptConnection], for duration: Duration, mark: StaticString? = nil, request: (Int) -> [UInt8]
) throws -> LoadResult {
    var result = LoadResult()
    var number = 0
    var asked = [Double](repeating: 0, count: clients.count)
    var polls = clients.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    let start = monotonicSeconds()
    let end = start + Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    func ask(_ client: Int) throws {
        asked[client] = monotonicSeconds()
        try clients[client].send(request(number))
        number += 1
    }
    for client in clients.indices { try ask(client) }
    var waiting = clients.count
    while waiting > 0 {
        guard poll(&polls, nfds_t(polls.count), 10_000) > 0 else { throw LabError("no answer within 10 s") }
        for client in clients.indices where polls[client].revents != 0 {
            polls[client].revents = 0
            guard clients[client].read() else { throw LabError("a connection was closed under load") }
            guard let answer = clients[client].takeAnswer(having: mark) else { continue }
            let now = monotonicSeconds()
            if answer.status == 200, answer.hasMark {
                result.latencies.add(now - asked[client])
            } else {
                result.wrong += 1
            }
            result.length = now - start
            if now < end { try ask(client) } else { waiting -= 1 }
        }
    }
    return result
}

/// Seconds from the moment a write is sent on one node until a stream of another node tells of it, `count` times.
func visibility(
    writer: KeptConnection, stream: KeptConnection, count: Int, request: (Int) -> [UInt8], mark: (Int) -> String
) throws -> Samples {
    var samples = Samples()
    for number in 0..<count {
        let wanted = mark(number)
        let start = monotonicSeconds()
        try writer.send(request(number))
        var (isAnswered, isSeen) = (false, false)
        var text = ""
        var polls = [writer, stream].map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        while !isAnswered || !isSeen {
            guard poll(&polls, 2, 10_000) > 0 else { throw LabError("write \(number) was not seen within 10 s") }
            if polls[1].revents != 0 {
                guard stream.read() else { throw LabError("the stream ended") }
                text += stream.takeText()
                if !isSeen, text.contains(wanted) {
                    samples.add(monotonicSeconds() - start)
                    isSeen = true
                }
            }
            if polls[0].revents != 0 {
                guard writer.read() else { throw LabError("the connection was closed") }
                if let answer = writer.takeAnswer() {
                    guard answer.status == 200 else { throw LabError("write \(number) was answered \(answer.status)") }
                    isAnswered = true
                }
            }
        }
    }
    return samples
}

/// A request of HTTP/1.1 on a connection that stays.
func httpRequest(_ method: String, _ path: String, token: String? = nil, body: String = "") -> [UInt8] {
    var text = "\(method) \(path) HTTP/1.1\r\nHost: bench\r\n"
    if let token { text += "Authorization: Bearer \(token)\r\n" }
    if !body.isEmpty { text += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
    return Array((text + "\r\n" + body).utf8)
}
