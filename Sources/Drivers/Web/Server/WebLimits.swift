/// Bounds of the web server, so that no client, however many, slow or rude, costs the node more than this.
package struct WebLimits: Equatable, Sendable {
    /// Connections at once, of one listening socket. Further ones wait in the kernel's queue until one is free.
    package var connections = 256
    /// Connections at once from one address; further ones are closed at once. A browser keeps about six.
    package var connectionsPerAddress = 64
    /// How long a connection may take to send a request's head, or stay quiet between two requests.
    package var headTime: Duration = .seconds(15)
    /// The same once three quarters of the connections are taken.
    package var crowdedHeadTime: Duration = .seconds(2)
    /// How long a request's body may take.
    package var bodyTime: Duration = .seconds(20)
    /// How long the node may take to answer before the client is told that it did not (504).
    package var workTime: Duration = .seconds(30)
    /// How long the client may take to read an answer that is not an event stream.
    package var answerTime: Duration = .seconds(60)
    /// Bytes of one request's body. More gets 413.
    package var bodyBytes = 1 << 20
    /// Bytes of one uploaded file, which goes to the disk as it comes: four times the size a database should have.
    package var uploadBytes = 4 << 30
    /// Uploads and downloads of files at once.
    package var transfers = 2
    /// The slowest client that a file is sent to or taken from, bytes a second; a phone's network does more.
    package var slowestTransfer = 64 << 10
    /// Bytes of an oversized body that are read and thrown away, so that the client sees our answer rather than a reset.
    package var drainedBytes = 8 << 20
    /// Bytes of all bodies in memory at once. More gets 503.
    package var bodyBytesInAll = 4 << 20
    /// Requests that the node works on at once. More gets 503.
    package var working = 32
    /// Event streams at once, and from one address. More gets 503.
    package var streams = 64
    package var streamsPerAddress = 16
    /// Bytes that may wait for one slow reader of an event stream before it is dropped.
    package var streamBytes = 256 << 10
    /// How often an event stream says that it is alive. Also how soon an ended session ends its streams.
    package var streamHeartbeat: Duration = .seconds(15)
    /// Memory of one connection for its head and buffers, bytes. Allocated when it opens, touched as it is used.
    package var connectionMemory = 16 << 10

    package init() {}
}
