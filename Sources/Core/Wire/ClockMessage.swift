/// One question about another node's clock, and its answer: the four moments of NTP's on-wire protocol (RFC 5905, §8).
package struct ClockMessage: Equatable, Sendable {
    /// When it was asked, by the asker's clock. Unit of all moments: nanoseconds since 1970.
    package var asked: Int64
    /// When the question came and when the answer went, by the other's clock; 0 in a question.
    package var came: Int64 = 0
    package var went: Int64 = 0
    /// Whom the answering node follows; empty for nobody.
    package var source = ""
    /// The most that its own clock may be wrong, by its own reckoning; nil where nobody reckons. Unit: nanoseconds.
    package var error: Int64?
    package var isSynchronized = false

    package init(asked: Int64) { self.asked = asked }

    package var isQuestion: Bool { went == 0 }

    /// How far the other's clock is ahead of ours, and how wrong that may be: half of what the message was under way.
    package func offset(answeredAt now: Int64) -> (offset: Int64, error: Int64) {
        let underWay = max(0, (now &- asked) &- (went &- came))
        return (((came &- asked) &+ (went &- now)) / 2, underWay / 2)
    }

    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 64)
        for moment in [asked, came, went] { writer.integer(UInt64(bitPattern: moment)) }
        writer.text(String(source.prefix(60)))
        writer.integer(UInt64(bitPattern: error ?? -1))
        writer.flag(isSynchronized)
        return writer.bytes
    }
    package init(decoding bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        asked = Int64(bitPattern: try reader.integer())
        came = Int64(bitPattern: try reader.integer())
        went = Int64(bitPattern: try reader.integer())
        source = try reader.text(limit: 255)
        let error = Int64(bitPattern: try reader.integer())
        self.error = error < 0 ? nil : error
        isSynchronized = try reader.integer(UInt8.self) & 1 == 1
        try reader.finish()
    }
}
