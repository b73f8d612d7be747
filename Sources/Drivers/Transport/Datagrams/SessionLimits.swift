/// The bounds of the datagram sessions. What a flood costs, how long a handshake is tried, when keys are changed.
package struct SessionLimits: Equatable, Sendable {
    /// When an unanswered handshake packet is sent again, counted from the one before; after the last it is given up.
    package var retryAfter: [Duration] = [
        .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800),
    ]
    /// How long a challenge can be answered, at least; at most twice that. Longer than all retries together.
    package var cookieSlot: Duration = .seconds(4)

    /// Challenges a second, of any source. One costs about 10 µs and no memory.
    package var challengesPerSecond = 2_000.0
    /// Handshakes a second with public-key operations, which take about 0.4 ms each on a PC and 2 ms on a small board:
    /// of all sources, and of one. Only who has the cluster key gets this far.
    package var handshakesPerSecond = 50.0
    package var handshakeBurst = 100.0
    package var handshakesPerSourceAndSecond = 8.0
    package var handshakeBurstPerSource = 32.0
    /// Knocks a second at senders of datagrams for sessions we do not have.
    package var knocksAtStrangersPerSecond = 20.0
    package var knocksAtOneStrangerPerSecond = 1.0

    /// Handshakes that we began and that are under way.
    package var maximumAttempts = 512
    /// Hellos that were answered lately: the answer is kept, so that a repeated one costs nothing.
    package var maximumAnswered = 512
    /// Peers with sessions. Above the largest cluster we promise.
    package var maximumPeers = 4_096
    /// Sessions with one peer: the one in use, and those that packets under way may still come in on.
    package var sessionsPerPeer = 4
    /// Tags of foreign clusters that are reported, each once.
    package var maximumForeign = 32

    /// A peer that we send to, and from which nothing came for this long, is knocked at, once in each such time.
    package var silentBeforeKnock: Duration = .seconds(2)
    /// New keys after this many datagrams, or after this time, whichever is first; at twice that the old ones end.
    package var rekeyAfterDatagrams: UInt64 = 1 << 32
    package var rekeyAfter: Duration = .seconds(24 * 3600)
    /// A session that was replaced is kept as long as something arrives on it, and this long after.
    package var replacedLinger: Duration = .seconds(30)
    /// A session on which nothing arrived for this long is dropped.
    package var idleLinger: Duration = .seconds(3600)

    package init() {}
}
