import CLinux
import Glibc
package import Primitives
import Reactor

/// The node's UDP port, on every address or on given ones, IPv4 and IPv6.
///
/// It never blocks and never fails once it is open: what cannot be sent is counted, because a network that is away for a
/// while is nothing to stop for. One owner, the pulse thread.
package struct DatagramSocket: ~Copyable {
    /// Enough for 16 peers through a pause of several seconds; the kernel grants half of it or less where it is told to.
    package static let receiveBuffer = 1 << 20
    /// A kernel stamp older than this is from before the wall clock was set: not believed.
    static let oldestStamp: Duration = .seconds(10)

    private struct Bound {
        let descriptor: Int32
        let address: IPAddress
    }
    private let sockets: [Bound]
    private let buffer: UnsafeMutableRawBufferPointer

    package let port: UInt16
    /// Datagrams that the kernel did not take, by error number: no route, no buffer, forbidden by a firewall.
    package private(set) var sendErrors: [Int32: UInt64] = [:]
    package private(set) var receiveErrors: UInt64 = 0

    /// - Parameter port: 0 lets the kernel choose one, for tests.
    /// - Parameter addresses: none for all; they need not be there yet.
    package init(port: UInt16, addresses: [IPAddress] = []) throws(ListenError) {
        var opened: [Bound] = []
        var port = port
        for address in addresses.isEmpty ? [.anyV4, .anyV6] : addresses {
            let endpoint = Endpoint(address, port: port)
            var kernel = endpoint.kernel
            let descriptor = clinux_bound_socket(Int32(SOCK_DGRAM.rawValue), &kernel)
            guard descriptor >= 0 else {
                let code = errno
                // A kernel without IPv6 is fine, as long as nobody asked for an address of it.
                if addresses.isEmpty, address == .anyV6, code == EAFNOSUPPORT || code == EADDRNOTAVAIL { continue }
                for one in opened { close(one.descriptor) }
                throw ListenError(kind: "UDP", endpoint, code: code)
            }
            clinux_prepare_datagram_socket(descriptor, Int32(Self.receiveBuffer))
            if port == 0 {
                clinux_local_endpoint(descriptor, &kernel)
                port = kernel.port
            }
            opened.append(Bound(descriptor: descriptor, address: address))
        }
        sockets = opened
        buffer = .allocate(byteCount: 2_048, alignment: 16)
        self.port = port
    }
    deinit {
        for one in sockets { close(one.descriptor) }
        buffer.deallocate()
    }

    /// To wait on with poll or epoll.
    package var descriptors: [Int32] { sockets.map(\.descriptor) }

    /// Hands over what has arrived: each datagram, where it is from, and when the kernel received it, on our clock. A
    /// datagram longer than the buffer keeps its first 2,048 bytes, which is more than any of ours has.
    ///
    /// - Returns: true when nothing was left; false when `limit` ended it, so that a flood cannot keep the pulse from
    ///   its other work.
    package mutating func drain(limit: Int = 1_024, _ handle: (RawSpan, Endpoint, Instant) -> Void) -> Bool {
        var left = limit
        var isDrained = true
        let clocks = Self.readClocks()
        var from = clinux_endpoint()
        var stamp: Int64 = 0
        for one in sockets {
            while true {
                guard left > 0 else {
                    isDrained = false
                    break
                }
                let length = clinux_receive_datagram(one.descriptor, buffer.baseAddress, buffer.count, &from, &stamp)
                if length < 0 {
                    if errno == EINTR { continue }
                    if errno == EAGAIN { break }
                    // The kernel reports a problem of an earlier datagram here; the next call goes on.
                    receiveErrors += 1
                    left -= 1
                    continue
                }
                left -= 1
                guard let source = Endpoint(from) else { continue }
                let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<min(length, buffer.count)])
                handle(bytes.bytes, source, Self.instant(ofStamp: stamp, wall: clocks.wall, own: clocks.own))
            }
        }
        return isDrained
    }

    /// Both clocks at one moment. Whoever is preempted between the two readings would take the pause for an age.
    private static func readClocks() -> (wall: Int64, own: Instant) {
        var best: (wall: Int64, own: Instant, gap: Duration)?
        for _ in 0..<4 {
            let before = SystemClock.now
            let wall = SystemClock.wallNanoseconds
            let gap = SystemClock.now - before
            if best == nil || gap < best!.gap { best = (wall, before, gap) }
            if gap < .microseconds(20) { break }
        }
        return (best!.wall, best!.own)
    }

    /// The kernel stamps with the wall clock. What counts is how long ago that was; where the wall clock jumped in
    /// between, the stamp is worth nothing, and now is taken instead.
    static func instant(ofStamp stamp: Int64, wall: Int64, own: Instant) -> Instant {
        let age = Duration.nanoseconds(wall &- stamp)
        // A little below zero: the clocks were read before the datagram came.
        guard stamp > 0, age >= .milliseconds(-50), age <= oldestStamp else { return SystemClock.now }
        return min(own - age, SystemClock.now)
    }

    /// From the bound address that is nearest to the receiver's. Never waits.
    package mutating func send(_ datagram: [UInt8], to endpoint: Endpoint) {
        var best: (socket: Bound, bits: Int)?
        for one in sockets {
            guard let bits = one.address.commonPrefix(with: endpoint.address) else { continue }
            if best == nil || bits > best!.bits { best = (one, bits) }
        }
        guard let best else {
            sendErrors[EAFNOSUPPORT, default: 0] += 1
            return
        }
        var kernel = endpoint.kernel
        let sent = datagram.withUnsafeBytes {
            clinux_send_datagram(best.socket.descriptor, $0.baseAddress, $0.count, &kernel)
        }
        if sent < 0 { sendErrors[errno, default: 0] += 1 }
    }
}
