import CLinux
import Glibc
import Primitives
import Reactor

/// A client that asks for an address every 10 ms, by ARP and by ping, and prints when each question that was answered had
/// been *asked*: however late this process gets to run, a question asked after the gate has closed must stay unanswered.
func sample(interface: String, _ address: IPAddress) -> Never {
    let isV6 = if case .v6 = address { true } else { false }
    let echo = isV6 ? socket(AF_INET6, Int32(SOCK_RAW.rawValue), 58) : socket(AF_INET, Int32(SOCK_RAW.rawValue), 1)
    let index = Int32(if_nametoindex(interface))
    let arp = socket(AF_PACKET, Int32(SOCK_RAW.rawValue), 0)
    var name = sockaddr_ll()
    name.sll_family = UInt16(AF_PACKET)
    name.sll_protocol = UInt16(0x0806).bigEndian
    name.sll_ifindex = index
    let bound = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(arp, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
        }
    }
    guard echo >= 0, bound == 0 else {
        say("error \(String(cString: strerror(errno)))")
        exit(1)
    }
    for descriptor in [echo, arp] { _ = fcntl(descriptor, F_SETFL, O_NONBLOCK) }
    let own = hardware(of: interface)
    var asked = [Int64](repeating: 0, count: 65536)
    var sequence = 0
    var buffer = [UInt8](repeating: 0, count: 2048)
    say("sampling")
    while true {
        let now = SystemClock.now.nanoseconds
        asked[sequence] = now
        sendEcho(echo, address, sequence)
        // The number of the question is in the address that the answer is sent to: 10.77.0.100 and on.
        if !isV6 { sendARP(arp, own, address, [10, 77, 0, UInt8(100 + sequence % 100)]) }
        say("asked \(sequence) \(now)")
        let next = now + 10_000_000
        while true {
            let left = next - SystemClock.now.nanoseconds
            if left <= 0 { break }
            var ready = [
                pollfd(fd: echo, events: Int16(POLLIN), revents: 0), pollfd(fd: arp, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&ready, 2, Int32((left + 999_999) / 1_000_000))
            while case let count = recv(echo, &buffer, buffer.count, 0), count > 0 {
                let body = Array(buffer[(isV6 ? 0 : 20)..<max(count, isV6 ? 0 : 20)])
                guard body.count >= 8, body[0] == (isV6 ? 129 : 0), body[4] == 0x7A, body[5] == 0x7B else { continue }
                let number = Int(body[6]) << 8 | Int(body[7])
                say("echo \(number) \(asked[number])")
            }
            while case let count = recv(arp, &buffer, buffer.count, 0), count > 0 {
                guard count >= 42, buffer[21] == 2, buffer[28..<32].elementsEqual(address.bytes), buffer[38] == 10,
                    buffer[41] >= 100, buffer[41] < 200
                else { continue }
                // The newest question of that number; an answer is never a whole second late here.
                var number = sequence - (sequence - (Int(buffer[41]) - 100)) % 100
                if number > sequence { number -= 100 }
                guard number >= 0 else { continue }
                let owner = buffer[22..<28].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
                say("arp \(number) \(asked[number]) \(owner)")
            }
        }
        sequence = (sequence + 1) % 65536
    }
}

private func hardware(of interface: String) -> [UInt8] {
    var bytes: [UInt8] = []
    guard let file = fopen("/sys/class/net/\(interface)/address", "re") else { return [2, 0, 0, 0, 0, 0xFE] }
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 32)
    guard fgets(&text, 32, file) != nil else { return [2, 0, 0, 0, 0, 0xFE] }
    for part in String(decoding: text.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        .split(separator: ":")
    {
        bytes.append(UInt8(part, radix: 16) ?? 0)
    }
    return bytes
}

private func sendEcho(_ descriptor: Int32, _ address: IPAddress, _ sequence: Int) {
    let isV6 = address.bytes.count == 16
    var packet: [UInt8] = [
        isV6 ? 128 : 8, 0, 0, 0, 0x7A, 0x7B, UInt8(sequence >> 8), UInt8(sequence & 0xFF),
    ]
    var target = clinux_endpoint()
    target.length = UInt8(address.bytes.count)
    withUnsafeMutableBytes(of: &target.address) { $0.copyBytes(from: address.bytes) }
    if !isV6 {
        var sum: UInt32 = 0
        for place in stride(from: 0, to: packet.count, by: 2) {
            sum += UInt32(packet[place]) << 8 | UInt32(packet[place + 1])
        }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        let check = ~UInt16(sum)
        (packet[2], packet[3]) = (UInt8(check >> 8), UInt8(check & 0xFF))
    }
    _ = clinux_send_datagram(descriptor, packet, packet.count, &target)
}

private func sendARP(_ descriptor: Int32, _ own: [UInt8], _ address: IPAddress, _ sender: [UInt8]) {
    let ethernet = [UInt8](repeating: 0xFF, count: 6) + own + [8, 6]
    let frame = ethernet + [0, 1, 8, 0, 6, 4, 0, 1] + own + sender + [0, 0, 0, 0, 0, 0] + address.bytes
    _ = send(descriptor, frame, frame.count, 0)
}
