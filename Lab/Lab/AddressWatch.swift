import CLinux
import Glibc
import Primitives

/// Asks for an address every 10 ms, as a client and its switch see it: who answers ARP (or, for IPv6, neighbour discovery)
/// for it, and which node's service answers a datagram. Every question has a number of its own, so a late answer counts for
/// the moment of its question; answers of neighbour discovery bear no number, and count for the newest question.
///
/// The service is one that sends back the datagram it gets, a space, and its node's name.
package final class AddressWatch: @unchecked Sendable {
    package struct Sample: Sendable {
        /// Seconds of CLOCK_MONOTONIC when it was asked.
        package var at: Double
        /// The hardware addresses that answered ARP, or neighbour discovery.
        package var hardware: Set<String> = []
        /// The nodes whose service answered.
        package var nodes: Set<String> = []
    }
    package static let spacing = 0.010

    private let arp: Int32
    private let datagrams: Int32
    private let link: Int32
    private let target: [UInt8]
    private let port: UInt16
    private let address: String
    private let own: [UInt8]
    private var isV6: Bool { target.count == 16 }
    private var thread: Thread?
    private let shared = Shared()

    private final class Shared: @unchecked Sendable {
        private var lock = pthread_mutex_t()
        private var samples: [Sample] = []
        private var isOver = false
        init() { pthread_mutex_init(&lock, nil) }
        func with<Result>(_ body: (inout [Sample], inout Bool) -> Result) -> Result {
            pthread_mutex_lock(&lock)
            defer { pthread_mutex_unlock(&lock) }
            return body(&samples, &isOver)
        }
    }
    /// A source that no host has, so that no host's knowledge of its neighbours is disturbed.
    private static let source: [UInt8] = [10, 77, 0, 200]

    /// Watches from `host` from now on.
    package init(_ address: String, port: UInt16, from host: Host) throws(LabError) {
        self.address = address
        self.port = port
        var bytes = [UInt8](repeating: 0, count: address.contains(":") ? 16 : 4)
        guard inet_pton(bytes.count == 16 ? AF_INET6 : AF_INET, address, &bytes) == 1 else {
            throw LabError("“\(address)” is no address")
        }
        target = bytes
        let family = bytes.count == 16 ? AF_INET6 : AF_INET
        own = host.hardwareAddress.split(separator: ":").compactMap { UInt8($0, radix: 16) }
        (arp, datagrams, link) = try host.inside { () throws(LabError) in
            let protocolARP = UInt16(family == AF_INET6 ? 0x86DD : 0x0806).bigEndian
            let arp = try check(
                socket(AF_PACKET, Int32(SOCK_RAW.rawValue) | 0o2000000 | 0o4000, Int32(protocolARP)),
                "make a packet socket")
            let link = Int32(if_nametoindex("eth0"))
            var place = sockaddr_ll()
            place.sll_family = UInt16(AF_PACKET)
            place.sll_protocol = protocolARP
            place.sll_ifindex = link
            let code = withUnsafePointer(to: &place) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(arp, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
                }
            }
            try check(code, "listen on eth0")
            // Answers go to the number of the question, which is no address of this host: PACKET_MR_PROMISC.
            var membership = [UInt8](repeating: 0, count: 16)
            withUnsafeBytes(of: link) { membership.replaceSubrange(0..<4, with: $0) }
            membership[4] = 1
            try check(setsockopt(arp, 263, 1, membership, 16), "hear every frame")
            let datagrams = try check(
                socket(family, Int32(SOCK_DGRAM.rawValue) | 0o2000000 | 0o4000, 0), "make a datagram socket")
            return (arp, datagrams, link)
        }
        let made = Thread(name: "address-watch") { [self] in run() }
        thread = made
    }

    /// Ends the watch; every sample, in order.
    package func stop() -> [Sample] {
        shared.with { $1 = true }
        thread?.join()
        thread = nil
        close(arp)
        close(datagrams)
        return shared.with { samples, _ in samples }
    }
    /// So far.
    package var samples: [Sample] { shared.with { samples, _ in samples } }

    private func run() {
        var next = monotonicSeconds()
        while !shared.with({ $1 }) {
            let now = monotonicSeconds()
            if now >= next {
                // A question that is late is asked once, not made up for.
                next = max(next + Self.spacing, now)
                let number = shared.with { samples, _ in
                    samples.append(Sample(at: now))
                    return samples.count - 1
                }
                ask(number)
            }
            var polls = [
                pollfd(fd: arp, events: Int16(POLLIN), revents: 0),
                pollfd(fd: datagrams, events: Int16(POLLIN), revents: 0),
            ]
            poll(&polls, 2, Int32(max(0, min(10, ((next - monotonicSeconds()) * 1000).rounded(.up)))))
            listen()
        }
        // Answers under way.
        pause(.milliseconds(200))
        listen()
    }

    private func ask(_ number: Int) {
        let mark: [UInt8] = [
            0x02, 0xFE, 0, UInt8(number >> 16 & 0xFF), UInt8(number >> 8 & 0xFF), UInt8(number & 0xFF),
        ]
        let text = Array("\(number)".utf8)
        guard !isV6 else {
            let frame = solicitation()
            _ = Glibc.send(arp, frame, frame.count, 0)
            var place = SocketAddress.v6(address, port: port)
            _ = SocketAddress.with(&place) { sendto(datagrams, text, text.count, 0, $0, $1) }
            return
        }
        var frame = [UInt8](repeating: 0xFF, count: 6) + own + [0x08, 0x06]
        frame += [0, 1, 0x08, 0, 6, 4, 0, 1] + mark + Self.source + [0, 0, 0, 0, 0, 0] + target
        _ = Glibc.send(arp, frame, frame.count, 0)
        var place = SocketAddress.v4(address, port: port)
        _ = SocketAddress.with(&place) { sendto(datagrams, text, text.count, 0, $0, $1) }
    }

    /// A source that no host has, with its hardware address: one neighbour more in the tables of those who answer.
    private static let askingHardware: [UInt8] = [0x02, 0xFE, 0, 0, 0, 1]
    private static let askingAddress: [UInt8] = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0xFE]

    /// A neighbour solicitation (RFC 4861, 4.3).
    private func solicitation() -> [UInt8] {
        let group: [UInt8] = [0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF] + target.suffix(3)
        var message: [UInt8] = [135, 0, 0, 0, 0, 0, 0, 0] + target + [1, 1] + Self.askingHardware
        let size: [UInt8] = [0, 0, 0, UInt8(message.count)]
        let sum = Self.checksum(Self.askingAddress + group + size + [0, 0, 0, 58] + message)
        (message[2], message[3]) = (UInt8(sum >> 8), UInt8(sum & 0xFF))
        let ethernet: [UInt8] = [0x33, 0x33] + group.suffix(4) + Self.askingHardware + [0x86, 0xDD]
        return ethernet + [0x60, 0, 0, 0, 0, UInt8(message.count), 58, 255] + Self.askingAddress + group + message
    }

    /// RFC 1071, of an even number of bytes.
    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = stride(from: 0, to: bytes.count, by: 2).reduce(UInt32(0)) {
            $0 + (UInt32(bytes[$1]) << 8 | UInt32(bytes[$1 + 1]))
        }
        while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
        return ~UInt16(sum)
    }

    /// A solicited advertisement for the address, to the one that we ask as.
    private func noteAdvertisement(_ frame: ArraySlice<UInt8>) {
        let bytes = Array(frame)
        guard bytes.count >= 78, bytes[0..<6].elementsEqual(Self.askingHardware), bytes[20] == 58, bytes[54] == 136,
            bytes[62..<78].elementsEqual(target)
        else { return }
        let owner = bytes.count >= 86 && bytes[78] == 2 ? bytes[80..<86] : bytes[6..<12]
        let hardware = owner.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
        shared.with { samples, _ in
            guard !samples.isEmpty else { return }
            samples[samples.count - 1].hardware.insert(hardware)
        }
    }

    private func listen() {
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            let count = recv(arp, &buffer, buffer.count, 0)
            if isV6, count > 0 {
                noteAdvertisement(buffer[..<count])
                continue
            }
            guard count >= 42 else { break }
            // An answer (operation 2) for the address, to one of our marks.
            guard buffer[21] == 2, Array(buffer[28..<32]) == target, buffer[32] == 0x02, buffer[33] == 0xFE else {
                continue
            }
            let number = Int(buffer[35]) << 16 | Int(buffer[36]) << 8 | Int(buffer[37])
            let hardware = buffer[22..<28].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
            shared.with { samples, _ in
                if samples.indices.contains(number) { samples[number].hardware.insert(hardware) }
            }
        }
        while true {
            let count = recv(datagrams, &buffer, buffer.count, 0)
            guard count > 0 else {
                // A refused datagram is reported once here, and no answer.
                if count < 0, errno == ECONNREFUSED || errno == EHOSTUNREACH { continue }
                break
            }
            let words = String(decoding: buffer[..<count], as: UTF8.self).split(separator: " ")
            guard words.count == 2, let number = Int(words[0]) else { continue }
            shared.with { samples, _ in
                if samples.indices.contains(number) { samples[number].nodes.insert(String(words[1])) }
            }
        }
    }
}

/// What was seen, as facts that no busy machine changes.
extension [AddressWatch.Sample] {
    /// Samples that two nodes answered, by ARP or by service.
    package var doubles: [AddressWatch.Sample] { filter { $0.hardware.count > 1 || $0.nodes.count > 1 } }
    /// Who served, in order, each run of the same node once: `n1, n2` for one move.
    package var holders: [String] {
        var result: [String] = []
        for sample in self {
            for node in sample.nodes.sorted() where result.last != node { result.append(node) }
        }
        return result
    }
    /// The same by hardware address.
    package var owners: [String] {
        var result: [String] = []
        for sample in self {
            for hardware in sample.hardware.sorted() where result.last != hardware { result.append(hardware) }
        }
        return result
    }
    /// Milliseconds between the last sample before `moment` that was answered and the first one after it.
    package func gap(around moment: Double, _ isAnswered: (AddressWatch.Sample) -> Bool) -> Double? {
        longestGap(from: moment - 1, isAnswered)
    }
    /// The longest time without an answered sample, between two that were answered, from a moment on; milliseconds.
    package func longestGap(from moment: Double = 0, _ isAnswered: (AddressWatch.Sample) -> Bool) -> Double? {
        let times = filter { $0.at >= moment && isAnswered($0) }.map(\.at)
        guard times.count > 1 else { return nil }
        return zip(times.dropFirst(), times).map { ($0 - $1) * 1000 }.max()
    }
}
