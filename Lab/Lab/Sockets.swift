import CLab
import CLinux
import Glibc
import Primitives

/// Sends datagrams of any content from a host, and hears the answers.
package final class DatagramSocket {
    private let descriptor: Int32

    /// In the network of the calling thread.
    init(port: UInt16) throws(LabError) {
        descriptor = try check(
            socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | 0o2000000 | 0o4000, 0), "make a datagram socket")
        var address = SocketAddress.v4("0.0.0.0", port: port)
        let code = SocketAddress.with(&address) { bind(descriptor, $0, $1) }
        if code != 0 {
            let error = LabError.system("bind port \(port)")
            close(descriptor)
            throw error
        }
    }
    deinit { close(descriptor) }

    package func send(_ bytes: [UInt8], to host: String, port: UInt16) throws(LabError) {
        var address = SocketAddress.v4(host, port: port)
        let count = SocketAddress.with(&address) { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
        guard count == bytes.count else { throw .system("send \(bytes.count) bytes to \(host):\(port)") }
    }

    /// The next datagram, or nil when none comes within `limit`.
    package func receive(within limit: Duration) -> [UInt8]? {
        var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard Glibc.poll(&poll, 1, Int32(clamping: limit.nanoseconds / 1_000_000)) > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return count < 0 ? nil : Array(bytes[..<count])
    }
}

/// Every frame that passes the bridge, as it is on the wire, at each port it goes through.
package final class Sniffer {
    private let descriptor: Int32

    /// In the network of the calling thread.
    init() throws(LabError) {
        let everything = UInt16(ETH_P_ALL).bigEndian
        descriptor = try check(
            socket(AF_PACKET, Int32(SOCK_RAW.rawValue) | 0o2000000 | 0o4000, Int32(everything)),
            "make a packet socket")
        // Bounded by the kernel, and ample: frames are read every few seconds at most.
        var size: Int32 = 32 << 20
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4)
        var address = sockaddr_ll()
        address.sll_family = UInt16(AF_PACKET)
        address.sll_protocol = everything
        address.sll_ifindex = 0  // all: the bridge itself shows only what is sent to everybody
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
            }
        }
        if code != 0 {
            let error = LabError.system("listen on the bridge")
            close(descriptor)
            throw error
        }
    }
    deinit { close(descriptor) }

    /// Frames that came since the last call.
    package func frames() -> [[UInt8]] {
        var result: [[UInt8]] = []
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            guard count >= 0 else { return result }
            result.append(Array(bytes[..<count]))
        }
    }
}

/// A connected stream, with a time limit on every read and write.
package final class Connection {
    package let descriptor: Int32

    /// In the namespaces of the calling thread.
    init(unix path: String, limit: Duration) throws(LabError) {
        var address = sockaddr_un()
        address.sun_family = UInt16(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw LabError("\(path) is too long") }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        descriptor = try check(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | 0o2000000, 0), "make a socket")
        try connect(&address, limit: limit, to: path)
    }
    package init(host: String, port: UInt16, limit: Duration) throws(LabError) {
        var address = SocketAddress.v4(host, port: port)
        descriptor = try check(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | 0o2000000, 0), "make a socket")
        try connect(&address, limit: limit, to: "\(host):\(port)")
    }
    deinit { close(descriptor) }

    private func connect<Address>(_ address: inout Address, limit: Duration, to name: String) throws(LabError) {
        var time = timeval(
            tv_sec: Int(limit.nanoseconds / 1_000_000_000), tv_usec: Int(limit.nanoseconds % 1_000_000_000 / 1000))
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        guard SocketAddress.with(&address, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            throw .system("connect to \(name)")
        }
    }

    package func send(_ bytes: [UInt8]) throws(LabError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw .system("send") }
            sent += count
        }
    }

    /// Some bytes; none at the end of the stream.
    package func receive() throws(LabError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        guard count >= 0 else { throw .system("receive") }
        return Array(bytes[..<count])
    }
    package func receiveAll() throws(LabError) -> [UInt8] {
        var result: [UInt8] = []
        while true {
            let bytes = try receive()
            if bytes.isEmpty { return result }
            result += bytes
        }
    }
}

enum SocketAddress {
    static func v4(_ address: String, port: UInt16) -> sockaddr_in {
        var result = sockaddr_in()
        result.sin_family = UInt16(AF_INET)
        result.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &result.sin_addr)
        return result
    }
    static func v6(_ address: String, port: UInt16) -> sockaddr_in6 {
        var result = sockaddr_in6()
        result.sin6_family = UInt16(AF_INET6)
        result.sin6_port = port.bigEndian
        inet_pton(AF_INET6, address, &result.sin6_addr)
        return result
    }
    static func with<Address, Result>(
        _ address: inout Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Address>.size)) }
        }
    }
}
