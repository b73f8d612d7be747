/// One event of a `text/event-stream`, as the WHATWG's HTML standard defines it (section "Server-sent events").
public struct ServerSentEvent: Equatable, Sendable {
    /// Empty means "message".
    public var event: String
    public var data: String
    public var id: String

    public init(event: String = "", data: String, id: String = "") {
        self.event = event
        self.data = data
        self.id = id
    }
}

/// Turns the bytes of a `text/event-stream` into events, whatever pieces they arrive in.
package struct EventStreamParser: Sendable {
    package enum Failure: Error, Equatable { case lineTooLong, eventTooLong }

    /// Longest line, and longest event, in bytes: a row of 1 MiB, of control characters that take six letters each.
    package static let limit = 8 << 20

    private var line: [UInt8] = []
    private var lastWasReturn = false
    private var isFirstLine = true
    private var event = ""
    private var data: [UInt8]?
    private var lastID = ""

    package init() {}

    /// Events that these bytes complete, in order.
    package mutating func feed(_ bytes: some Sequence<UInt8>) throws(Failure) -> [ServerSentEvent] {
        var complete: [ServerSentEvent] = []
        for byte in bytes {
            // A line ends with LF, CR or CR LF.
            if byte == 0x0A, lastWasReturn {
                lastWasReturn = false
                continue
            }
            lastWasReturn = byte == 0x0D
            if byte != 0x0A, byte != 0x0D {
                guard line.count < Self.limit else { throw .lineTooLong }
                line.append(byte)
                continue
            }
            if let event = try endLine() { complete.append(event) }
            line.removeAll(keepingCapacity: true)
        }
        return complete
    }

    private mutating func endLine() throws(Failure) -> ServerSentEvent? {
        if isFirstLine, line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        isFirstLine = false
        guard !line.isEmpty else {
            defer {
                event = ""
                data = nil
            }
            // Without data it is no event: a lone `event:` or `id:` is dropped.
            return data.map {
                ServerSentEvent(event: event, data: String(decoding: $0, as: UTF8.self), id: lastID)
            }
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":"))
        // A comment: it keeps the connection alive.
        guard colon != 0 else { return nil }
        let field = String(decoding: line[..<(colon ?? line.endIndex)], as: UTF8.self)
        var value = colon.map { line[($0 + 1)...] } ?? []
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        switch field {
        case "event": event = String(decoding: value, as: UTF8.self)
        case "data":
            guard (data?.count ?? 0) + value.count < Self.limit else { throw .eventTooLong }
            if data != nil { data!.append(0x0A) }
            data = (data ?? []) + value
        case "id" where !value.contains(0): lastID = String(decoding: value, as: UTF8.self)
        default: break
        }
        return nil
    }
}
