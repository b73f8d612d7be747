/// The bounds of the streams between nodes. A well-behaved peer meets none of them.
package struct StreamLimits: Equatable, Sendable {
    /// From the first packet until the connection stands.
    package var connectTimeout: Duration = .seconds(3)
    /// From then, or from accepting, until both sides have said hello.
    package var helloTimeout: Duration = .seconds(5)
    /// A connection without a frame in either direction is closed after this; the side that was called waits longer.
    package var idleTimeout: Duration = .seconds(60)
    /// A frame that was begun, or bytes that the other side does not take, must move within this.
    package var stallTimeout: Duration = .seconds(20)

    /// Waiting for one peer to be reachable: frames, and their bytes. More is dropped, and counted.
    package var queuedFrames = 1_024
    package var queuedBytes = 8 << 20
    /// Peers with something waiting, or a connection.
    package var maximumPeers = 4_096

    /// Between attempts to reach a peer: twice as long each time, up to the second figure. After so many attempts what
    /// waits is dropped; the next frame begins anew.
    package var firstBackoff: Duration = .milliseconds(250)
    package var longestBackoff: Duration = .seconds(10)
    package var attempts = 6

    /// Connections in all, those that have not said hello, and those of one source that have not.
    package var maximumConnections = 512
    package var maximumStrangers = 64
    package var maximumStrangersPerSource = 8
    /// Accepted connections of one peer; the oldest makes room.
    package var connectionsPerPeer = 2

    package init() {}
}

/// What the streams did since the start; for `/metrics`.
package struct StreamCounters: Equatable, Sendable {
    package internal(set) var framesIn: UInt64 = 0
    package internal(set) var framesOut: UInt64 = 0
    package internal(set) var bytesIn: UInt64 = 0
    package internal(set) var bytesOut: UInt64 = 0
    /// Frames not delivered: the queue was full, the peer not reachable or no member, or the connection broke.
    package internal(set) var framesDropped: UInt64 = 0
    /// Connections refused for the bounds on them.
    package internal(set) var refused: UInt64 = 0
    /// Connections of identities that are no members.
    package internal(set) var notAllowed: UInt64 = 0
    /// Connections that broke the protocol, or were too slow.
    package internal(set) var broken: UInt64 = 0
    package internal(set) var connections: Int = 0
    package init() {}
}
