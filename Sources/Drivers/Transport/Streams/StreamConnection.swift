import CLinux
import Crypto
import Glibc
import Primitives
import Reactor
import Wire

/// One TLS connection on a socket, cut into frames. It belongs to the actor that made it, and to its event loop.
final class StreamConnection {
    enum Direction { case outgoing, incoming }
    enum Stage: Equatable {
        case connecting, handshaking
        /// Encrypted, and the key at the other end known; its hello has not come yet.
        case greeting
        case open, closed
    }
    enum Failure: Error, Equatable {
        case unreachable(Int32)
        /// The other end has an identity that we do not talk to.
        case notAllowed(NodeID)
        /// It ended the connection before it said hello: it does not talk to us, or is no node.
        case refused(String)
        case cut(String)
        case protocolBroken(String)
        case tooSlow
        case idle
        /// By us, on purpose.
        case ended
    }

    let number: UInt64
    let direction: Direction
    let remote: Endpoint
    let since: Instant
    private(set) var stage: Stage
    private(set) var hello: StreamHello?
    /// The hello that we send as soon as the connection is encrypted.
    private let ownHello: StreamHello
    var registration: EventLoop.Registration?

    let descriptor: Int32
    private let channel: TLSChannel
    private var frames = FrameReader(limit: StreamHello.maximumSize)
    private var unsent: [UInt8] = []
    private var unsentStart = 0

    private(set) var lastFrame: Instant
    private var lastProgress: Instant
    /// When the first byte of the frame that is not complete yet came.
    private var frameBegan: Instant?
    private(set) var bytesIn: UInt64 = 0
    private(set) var bytesOut: UInt64 = 0

    /// Who is at the other end, once the handshake proved it; also when the connection has ended since.
    private(set) var peer: NodeID?
    var isWatchedForWriting = false
    var wantsToWrite: Bool { stage == .connecting || unsentBytes > 0 }
    var unsentBytes: Int { unsent.count - unsentStart }

    init(
        number: UInt64, descriptor: Int32, direction: Direction, remote: Endpoint, channel: TLSChannel,
        hello: StreamHello, now: Instant
    ) {
        self.number = number
        self.descriptor = descriptor
        self.direction = direction
        self.remote = remote
        self.channel = channel
        ownHello = hello
        since = now
        lastFrame = now
        lastProgress = now
        stage = direction == .outgoing ? .connecting : .handshaking
        clinux_prepare_stream(descriptor, 15)
    }

    func close() {
        guard stage != .closed else { return }
        // Politely where that is possible at once; the other side copes with a cut as well.
        channel.close()
        unsent += channel.takeOutgoing()
        _ = try? flush()
        stage = .closed
        Glibc.close(descriptor)
    }
    deinit { if stage != .closed { Glibc.close(descriptor) } }

    // MARK: What the loop reports

    /// Everything that arrived. Throws when the connection is over; frames that came before are in `into`.
    func ready(_ readiness: EventLoop.Readiness, now: Instant, into received: inout [Frame]) throws(Failure) {
        if stage == .connecting {
            guard !readiness.isEmpty else { return }
            let code = clinux_connection_error(descriptor)
            guard code == 0 else { throw .unreachable(code) }
            guard readiness.contains(.writable) else { return }
            stage = .handshaking
            lastProgress = now
            channel.advance()
            try settle(now: now, into: &received)
        }
        if readiness.contains(.readable) { try receive(now: now, into: &received) }
        if readiness.contains(.writable) { try flush(now: now) }
    }

    private func receive(now: Instant, into received: inout [Frame]) throws(Failure) {
        // A bounded portion: one fast peer must not keep the loop from the others.
        for _ in 0..<8 {
            var ended: Failure?
            let count = withUnsafeTemporaryAllocation(byteCount: 32_768, alignment: 16) { buffer -> Int in
                let count = Glibc.recv(descriptor, buffer.baseAddress, buffer.count, 0)
                if count > 0 {
                    bytesIn += UInt64(count)
                    channel.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                } else if count == 0 {
                    ended = stage == .open ? .cut("the other side ended it") : .refused("the other side ended it")
                } else if errno != EAGAIN, errno != EINTR {
                    let reason = String(cString: strerror(errno))
                    ended = stage == .open ? .cut(reason) : .refused(reason)
                }
                return count
            }
            if count > 0 {
                lastProgress = now
                try settle(now: now, into: &received)
            }
            if let ended { throw ended }
            if count < 32_768 { return }
        }
    }

    /// Goes as far as the bytes that are there allow.
    private func settle(now: Instant, into received: inout [Frame]) throws(Failure) {
        if stage == .handshaking, case .established(let id) = channel.state {
            peer = id
            stage = .greeting
            send(Frame(.hello, payload: ownHello.encoded))
        }
        if stage == .greeting || stage == .open {
            while true {
                let plain = channel.read()
                guard !plain.isEmpty else { break }
                frames.append(plain)
                try takeFrames(now: now, into: &received)
                frameBegan = frames.pending == 0 ? nil : frameBegan ?? now
            }
        }
        unsent += channel.takeOutgoing()
        try flush(now: now)
        switch channel.state {
        case .handshaking, .established: break
        case .closed: throw stage == .open ? .cut("the other side ended it") : .refused("the other side ended it")
        case .failed(let reason):
            if let other = channel.presented, channel.hasRefused { throw .notAllowed(other) }
            throw stage == .open ? .cut(reason) : .refused(reason)
        }
    }
    private func takeFrames(now: Instant, into received: inout [Frame]) throws(Failure) {
        while true {
            let frame: Frame?
            do throws(FrameReader.Failure) { frame = try frames.next() } catch {
                throw .protocolBroken("\(error)")
            }
            guard let frame else { return }
            lastFrame = now
            frameBegan = nil
            if stage == .greeting {
                guard frame.kind == Frame.Kind.hello.rawValue, let hello = try? StreamHello(encoded: frame.payload)
                else { throw .protocolBroken("the first frame is no hello") }
                self.hello = hello
                stage = .open
                frames.limit = Frame.maximumPayload
            } else if frame.kind != Frame.Kind.hello.rawValue {
                received.append(frame)
            }
        }
    }

    // MARK: Sending

    func send(_ frame: Frame) { send(encoded: frame.encoded) }
    func send(encoded: [UInt8]) {
        encoded.withUnsafeBytes { channel.write($0) }
        unsent += channel.takeOutgoing()
    }
    func markFrame(now: Instant) { lastFrame = now }

    func flush(now: Instant) throws(Failure) {
        if try flush() > 0 { lastProgress = now }
    }
    @discardableResult
    private func flush() throws(Failure) -> Int {
        var moved = 0
        while unsentBytes > 0, stage != .closed {
            let sent = unsent.withUnsafeBytes {
                clinux_send_stream(descriptor, $0.baseAddress! + unsentStart, $0.count - unsentStart)
            }
            guard sent > 0 else {
                if errno == EINTR { continue }
                if errno == EAGAIN { break }
                let reason = String(cString: strerror(errno))
                throw stage == .open ? .cut(reason) : .refused(reason)
            }
            moved += sent
            bytesOut += UInt64(sent)
            unsentStart += sent
        }
        if unsentStart == unsent.count {
            unsent.removeAll(keepingCapacity: unsent.count <= 65_536)
            unsentStart = 0
        } else if unsentStart > 262_144 {
            unsent.removeFirst(unsentStart)
            unsentStart = 0
        }
        return moved
    }

    // MARK: Time

    /// Throws when the connection is too slow, or has nothing to say any more.
    func check(_ limits: StreamLimits, now: Instant) throws(Failure) {
        switch stage {
        case .connecting:
            if now - since >= limits.connectTimeout { throw .tooSlow }
        case .handshaking, .greeting:
            let allowed = direction == .outgoing ? limits.connectTimeout + limits.helloTimeout : limits.helloTimeout
            if now - since >= allowed { throw .tooSlow }
        case .open:
            if frames.pending > 0 || unsentBytes > 0, now - lastProgress >= limits.stallTimeout { throw .tooSlow }
            // A byte now and then is progress; a whole frame within three times that is asked for all the same.
            if let frameBegan, now - frameBegan >= limits.stallTimeout * 3 { throw .tooSlow }
            let idle = direction == .outgoing ? limits.idleTimeout : limits.idleTimeout * 3 / 2
            if frames.pending == 0, unsentBytes == 0, now - lastFrame >= idle { throw .idle }
        case .closed: break
        }
    }
}
