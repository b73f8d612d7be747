import CLinux
import Glibc
import Logging
package import Primitives
package import Reactor

/// Asks hosts of the reach list whether they are there: the second opinion of a node that has nobody else to ask. An
/// answer of any kind shows that this machine's own network works.
///
/// By ICMP echo, over the kernel's ping sockets or, with the right to, raw ones. Where neither is allowed, and in any case
/// for hosts that keep silent to pings: a UDP datagram and a TCP connection to ports where a live host's kernel answers
/// or refuses at once. On the event loop.
package final class ReachProber: @unchecked Sendable {
    package struct Answer: Equatable, Sendable {
        package var host: IPAddress
        package var roundTrip: Duration
    }
    /// Later than this an answer says nothing about now: it may have waited in our own queue.
    package static let patience: Duration = .milliseconds(300)
    /// A reach list is a handful of hosts that are always on.
    package static let maximumHosts = 16
    /// More often than this is one question.
    private static let spacing: Duration = .milliseconds(20)
    /// Unassigned, so nothing answers it but the kernel, by refusing (as traceroute has it).
    private static let refusedPort: UInt16 = 33434
    /// What a router most likely serves, or refuses.
    private static let commonPort: UInt16 = 80

    private let loop: EventLoop
    private let handler: @Sendable (Answer) -> Void
    // On the loop only.
    private var hosts: [IPAddress]
    private var pingers: [Pinger] = []
    private var attempts: [UInt64: Attempt] = [:]
    private var lastAttempt: UInt64 = 0
    private var lastProbe: Instant?
    private var isClosed = false

    /// Calls back on the loop for each answer; several for one probe where several hosts answer.
    package init(
        on loop: EventLoop, hosts: [IPAddress], _ handler: @escaping @Sendable (Answer) -> Void
    ) {
        self.loop = loop
        self.hosts = Array(hosts.prefix(Self.maximumHosts))
        self.handler = handler
        let families = Set(self.hosts.map(\.isV6))
        // Made by the caller, so in its network namespace.
        pingers = families.sorted { !$0 && $1 }.compactMap { Pinger(isV6: $0) }
        if pingers.count < families.count {
            Log.debug("no ping sockets here (net.ipv4.ping_group_range, CAP_NET_RAW); asking by UDP and TCP only")
        }
        loop.perform { [weak self] in self?.watchPingers() }
    }
    /// Before it is let go.
    /// Questions that wait for an answer now, two sockets each at most.
    package func underWay() async -> Int {
        await withCheckedContinuation { continuation in
            loop.perform { continuation.resume(returning: self.attempts.count) }
        }
    }

    package func close() {
        loop.perform { [self] in
            isClosed = true
            for attempt in attempts.values { end(attempt) }
            attempts = [:]
            for pinger in pingers { pinger.close(on: loop) }
            pingers = []
        }
    }

    /// Asks every host now. From any thread.
    package func probe() {
        loop.perform { [weak self] in self?.ask() }
    }

    /// Asks every host now, also where others were asked a moment ago, and tells how many have answered: at each answer
    /// anew, on the loop. For leases, whose terms count from when they asked.
    package func probe(counting tell: @escaping @Sendable (Int) -> Void) {
        loop.perform { [weak self] in self?.ask(for: Round { _, count in tell(count) }) }
    }

    package enum Standing: Equatable, Sendable {
        case answers, silent
        /// An address of this machine: it would answer also when nobody else does.
        case own
    }
    /// How each host of the list stands now. Takes `patience`.
    package func examine() async -> [(host: IPAddress, standing: Standing)] {
        await withCheckedContinuation { continuation in
            loop.perform { [self] in
                guard !isClosed else { return continuation.resume(returning: []) }
                let asked = hosts
                let answered = Locked<Set<IPAddress>>([])
                ask(for: Round { host, _ in answered.withLock { _ = $0.insert(host) } })
                loop.schedule(after: Self.patience) {
                    let heard = answered.withLock { $0 }
                    continuation.resume(
                        returning: asked.map {
                            ($0, Self.isOwn($0) ? .own : heard.contains($0) ? .answers : .silent)
                        })
                }
            }
        }
    }

    /// Another list from now on.
    package func use(_ hosts: [IPAddress]) {
        loop.perform { [self] in
            guard !isClosed else { return }
            self.hosts = Array(hosts.prefix(Self.maximumHosts))
            for isV6 in Set(self.hosts.map(\.isV6)).sorted(by: { !$0 && $1 })
            where !pingers.contains(where: { $0.isV6 == isV6 }) {
                if let pinger = Pinger(isV6: isV6) { pingers.append(pinger) }
            }
            watchPingers()
        }
    }

    private func watchPingers() {
        guard !isClosed else { return }
        for pinger in pingers where pinger.watch == nil {
            pinger.watch = loop.watch(pinger.descriptor, for: .readable) { [weak self, pinger] _ in
                pinger.drain { sequence, host in self?.answered(sequence, from: host) }
            }
        }
    }

    /// An address of this machine, on whichever interface: its answer proves nothing, and would let a machine that is cut
    /// off believe that it is not. The kernel knows, and answers such an address from that address itself.
    private static func isOwn(_ host: IPAddress) -> Bool {
        if host.isLoopback { return true }
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(host.isV6 ? AF_INET6 : AF_INET, kind, 0)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        guard host.withSocketAddress(port: refusedPort, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            return false
        }
        var source = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &source) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return code == 0 && IPAddress(socketAddress: source) == host
    }

    private func ask(for round: Round? = nil) {
        let now = SystemClock.now
        guard !isClosed, round != nil || lastProbe.map({ now - $0 >= Self.spacing }) ?? true else { return }
        lastProbe = now
        for host in hosts where !Self.isOwn(host) {
            lastAttempt += 1
            let attempt = Attempt(number: lastAttempt, host: host, sentAt: now, round: round)
            attempts[attempt.number] = attempt
            pingers.first { $0.isV6 == host.isV6 }?.send(UInt16(truncatingIfNeeded: attempt.number), to: host)
            connect(attempt, SOCK_DGRAM, port: Self.refusedPort)
            connect(attempt, SOCK_STREAM, port: Self.commonPort)
        }
        let limit = lastAttempt
        loop.schedule(after: Self.patience) { [weak self] in
            guard let self else { return }
            for (number, attempt) in self.attempts where number <= limit {
                self.end(attempt)
                self.attempts[number] = nil
            }
        }
    }

    private func answered(_ sequence: UInt16, from host: IPAddress) {
        let match = attempts.values.first { UInt16(truncatingIfNeeded: $0.number) == sequence && $0.host == host }
        if let match { succeed(match) }
    }

    private func succeed(_ attempt: Attempt) {
        guard attempts.removeValue(forKey: attempt.number) != nil else { return }
        end(attempt)
        let roundTrip = SystemClock.now - attempt.sentAt
        guard roundTrip <= Self.patience else { return }
        handler(Answer(host: attempt.host, roundTrip: roundTrip))
        attempt.round?.answered(attempt.host)
    }

    private func end(_ attempt: Attempt) {
        for (descriptor, watch) in attempt.sockets {
            loop.cancel(watch)
            Glibc.close(descriptor)
        }
        attempt.sockets = []
    }

    /// An answer is: the connection stands, or the host refuses it. A router's "unreachable" is none.
    private func connect(_ attempt: Attempt, _ kind: __socket_type, port: UInt16) {
        let type = Int32(kind.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(attempt.host.isV6 ? AF_INET6 : AF_INET, type, 0)
        guard descriptor >= 0 else { return }
        let code = attempt.host.withSocketAddress(port: port) { Glibc.connect(descriptor, $0, $1) }
        if kind == SOCK_DGRAM, code == 0 { _ = Glibc.send(descriptor, [0], 1, Int32(MSG_NOSIGNAL)) }
        let isRefusedNow = code != 0 && errno == ECONNREFUSED
        guard code == 0 || errno == EINPROGRESS else {
            Glibc.close(descriptor)
            if isRefusedNow { loop.perform { [weak self] in self?.succeed(attempt) } }
            return
        }
        let watch = loop.watch(descriptor, for: kind == SOCK_DGRAM ? .readable : .writable) { [weak self] _ in
            var error: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length)
            if error == ECONNREFUSED || (error == 0 && kind == SOCK_STREAM) {
                self?.succeed(attempt)
            } else {
                self?.drop(descriptor, of: attempt)
            }
        }
        attempt.sockets.append((descriptor, watch))
    }
    private func drop(_ descriptor: Int32, of attempt: Attempt) {
        guard let place = attempt.sockets.firstIndex(where: { $0.descriptor == descriptor }) else { return }
        loop.cancel(attempt.sockets.remove(at: place).watch)
        Glibc.close(descriptor)
    }

    /// All hosts asked at one moment.
    private final class Round: @unchecked Sendable {
        private var count = 0
        private let tell: @Sendable (IPAddress, Int) -> Void
        init(_ tell: @escaping @Sendable (IPAddress, Int) -> Void) { self.tell = tell }
        func answered(_ host: IPAddress) {
            count += 1
            tell(host, count)
        }
    }

    private final class Attempt: @unchecked Sendable {
        let number: UInt64
        let host: IPAddress
        let sentAt: Instant
        let round: Round?
        var sockets: [(descriptor: Int32, watch: EventLoop.Registration)] = []
        init(number: UInt64, host: IPAddress, sentAt: Instant, round: Round?) {
            self.round = round
            self.number = number
            self.host = host
            self.sentAt = sentAt
        }
    }
}

/// One socket for ICMP echo.
private final class Pinger: @unchecked Sendable {
    let descriptor: Int32
    let isV6: Bool
    var watch: EventLoop.Registration?
    private let isRaw: Bool
    private let identifier = UInt16.random(in: 1 ... .max)
    /// In every request of ours, so that an answer to somebody else's ping, or a guess, is not taken for one to ours.
    private let secret = UInt64.random(in: 0 ... .max)

    /// Nil where neither kind of socket is allowed.
    init?(isV6: Bool) {
        self.isV6 = isV6
        let family = isV6 ? AF_INET6 : AF_INET
        let proto = isV6 ? Int32(IPPROTO_ICMPV6) : Int32(IPPROTO_ICMP)
        let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let datagram = socket(family, Int32(SOCK_DGRAM.rawValue) | flags, proto)
        isRaw = datagram < 0
        descriptor = isRaw ? socket(family, Int32(SOCK_RAW.rawValue) | flags, proto) : datagram
        if descriptor < 0 { return nil }
    }

    func close(on loop: EventLoop) {
        if let watch { loop.cancel(watch) }
        Glibc.close(descriptor)
    }

    func send(_ sequence: UInt16, to host: IPAddress) {
        var packet: [UInt8] = [isV6 ? 128 : 8, 0, 0, 0]
        packet += [UInt8(identifier >> 8), UInt8(identifier & 0xFF), UInt8(sequence >> 8), UInt8(sequence & 0xFF)]
        packet += secretBytes
        if !isV6 {
            // For version 6 the kernel does it: it alone knows the source address.
            let sum = InternetChecksum.of(packet)
            (packet[2], packet[3]) = (UInt8(sum >> 8), UInt8(sum & 0xFF))
        }
        _ = host.withSocketAddress(port: 0) {
            sendto(descriptor, packet, packet.count, Int32(MSG_NOSIGNAL), $0, $1)
        }
    }

    func drain(_ answer: (UInt16, IPAddress) -> Void) {
        var buffer = [UInt8](repeating: 0, count: 2048)
        for _ in 0..<64 {
            var source = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let count = withUnsafeMutablePointer(to: &source) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length)
                }
            }
            guard count >= 0 else { return }
            guard let host = IPAddress(socketAddress: source) else { continue }
            if let sequence = EchoReply.sequence(
                in: buffer[..<count], isV6: isV6, hasIPHeader: isRaw && !isV6, identifier: isRaw ? identifier : nil,
                secret: secretBytes)
            {
                answer(sequence, host)
            }
        }
    }

    private var secretBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: secret >> (8 * $0)) } }

}

/// RFC 1071. Over a message with its own sum in it, the result is 0.
enum InternetChecksum {
    static func of(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
        }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(sum)
    }
}

package enum EchoReply {
    /// The sequence number of an echo reply that answers one of our requests; nil for anything else on the socket.
    ///
    /// - Parameter identifier: nil where the kernel has chosen and checked it.
    package static func sequence(
        in packet: some Collection<UInt8>, isV6: Bool, hasIPHeader: Bool, identifier: UInt16?, secret: [UInt8]
    ) -> UInt16? {
        var bytes = Array(packet)
        if hasIPHeader {
            guard let first = bytes.first, first >> 4 == 4 else { return nil }
            let headerLength = Int(first & 0xF) * 4
            guard headerLength >= 20, bytes.count >= headerLength else { return nil }
            bytes.removeFirst(headerLength)
        }
        guard bytes.count == 8 + secret.count, bytes[0] == (isV6 ? 129 : 0), bytes[1] == 0 else { return nil }
        let sender = UInt16(bytes[4]) << 8 | UInt16(bytes[5])
        guard identifier == nil || identifier == sender, bytes[8...].elementsEqual(secret) else { return nil }
        return UInt16(bytes[6]) << 8 | UInt16(bytes[7])
    }
}

extension IPAddress {
    var isV6: Bool { if case .v6 = self { true } else { false } }

    fileprivate func withSocketAddress<Result>(
        port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var storage = sockaddr_storage()
        let length = withUnsafeMutableBytes(of: &storage) { raw -> Int in
            if isV6 {
                var address = sockaddr_in6()
                address.sin6_family = sa_family_t(AF_INET6)
                address.sin6_port = port.bigEndian
                Swift.withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: bytes) }
                raw.storeBytes(of: address, as: sockaddr_in6.self)
                return MemoryLayout<sockaddr_in6>.size
            }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            Swift.withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: bytes) }
            raw.storeBytes(of: address, as: sockaddr_in.self)
            return MemoryLayout<sockaddr_in>.size
        }
        return withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
        }
    }

    fileprivate init?(socketAddress storage: sockaddr_storage) {
        let bytes = withUnsafeBytes(of: storage) { raw -> [UInt8] in
            switch Int32(storage.ss_family) {
            case AF_INET: Array(raw[4..<8])
            case AF_INET6: Array(raw[8..<24])
            default: []
            }
        }
        self.init(bytes: bytes)
    }
}
