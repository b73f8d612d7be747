import BrambleAPI

extension FuzzTarget {
    /// What a server sends to the client of the command line and of workloads: the pieces it arrives in change nothing.
    static let eventStream = FuzzTarget("event-stream") {
        [
            "data: {\"id\":1}\n\n", "event: nodes\r\nid: 7\r\ndata: a\r\ndata: b\r\n\r\n",
            ": still here\n\nretry: 5\ndata\n\n",
            "\u{FEFF}data: \u{3C6}\rdata:x\r\r",
        ].map { Array($0.utf8) }
    } check: { bytes in
        let whole = read([bytes[...]])
        let half = bytes.count / 2
        if read([bytes[..<half], bytes[half...]]) != whole { return "two halves give other events than the whole" }
        if read(bytes.indices.map { bytes[$0...$0] }) != whole {
            return "single bytes give other events than the whole"
        }
        return nil
    }

    private static func read(_ pieces: [ArraySlice<UInt8>]) -> [ServerSentEvent]? {
        var parser = EventStreamParser()
        do throws(EventStreamParser.Failure) {
            var events: [ServerSentEvent] = []
            for piece in pieces { events += try parser.feed(piece) }
            return events
        } catch {
            return nil
        }
    }
}
