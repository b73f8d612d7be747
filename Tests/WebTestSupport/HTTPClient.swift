import Glibc
package import Primitives
import Reactor
import TestSupport
package import Web

/// What a server sent back.
package struct Reply: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]

    package var text: String { String(decoding: body, as: UTF8.self) }
    package func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// A plain HTTP/1.1 client on a blocking socket that says exactly what a test wants said. Use it inside `blocking`.
package final class RawConnection: @unchecked Sendable {
    package enum Problem: Error { case cannotConnect(Int32), closed, timedOut, notHTTP(String) }
    private let descriptor: Int32
    private var buffer: [UInt8] = []

    /// - Parameter source: the address to come from, for limits by address.
    package init(to address: WebAddress, from source: IPAddress? = nil, timeout: Duration = .seconds(45)) throws {
        switch address {
        case .unix(let path):
            descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
            let code = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            guard code == 0 else { throw Problem.cannotConnect(errno) }
        case .everywhere(let port): descriptor = try Self.tcp(.v4(0x7F00_0001), port, source)
        case .tcp(let endpoint): descriptor = try Self.tcp(endpoint.address, endpoint.port, source)
        }
        setTimeout(timeout)
    }
    deinit { close(descriptor) }

    private static func tcp(_ address: IPAddress, _ port: UInt16, _ source: IPAddress?) throws -> Int32 {
        let isV6 = if case .v6 = address { true } else { false }
        let descriptor = socket(isV6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        func call(_ endpoint: Endpoint, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
            var bytes = [UInt8](repeating: 0, count: 28)
            bytes[0] = UInt8(isV6 ? AF_INET6 : AF_INET)
            bytes[2] = UInt8(endpoint.port >> 8)
            bytes[3] = UInt8(endpoint.port & 0xFF)
            bytes.replaceSubrange(
                isV6 ? 8..<24 : 4..<8, with: endpoint.address.bytes)
            return bytes.withUnsafeBytes {
                body(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), isV6 ? 28 : 16)
            }
        }
        if let source {
            guard call(Endpoint(source, port: 0), { bind($0, $1, $2) }) == 0 else { throw Problem.cannotConnect(errno) }
        }
        guard call(Endpoint(address, port: port), { connect($0, $1, $2) }) == 0 else {
            let code = errno
            close(descriptor)
            throw Problem.cannotConnect(code)
        }
        return descriptor
    }

    package func setTimeout(_ timeout: Duration) {
        var time = timeval(
            tv_sec: Int(timeout.components.seconds), tv_usec: Int(timeout.nanoseconds % 1_000_000_000 / 1000))
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    }

    package func send(_ text: String) throws { try send(Array(text.utf8)) }
    package func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw errno == EAGAIN ? Problem.timedOut : Problem.closed }
            sent += count
        }
    }

    /// Some more bytes; empty at the end.
    package func receive() throws -> [UInt8] {
        if !buffer.isEmpty {
            defer { buffer = [] }
            return buffer
        }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        if count < 0 {
            if errno == EAGAIN { throw Problem.timedOut }
            return []
        }
        return Array(bytes[..<count])
    }

    private func readMore() throws {
        let held = buffer
        buffer = []
        do {
            let more = try receive()
            guard !more.isEmpty else { throw Problem.closed }
            buffer = held + more
        } catch {
            buffer = held
            throw error
        }
    }
    private func line() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: 0x0A) {
                var line = Array(buffer[..<end])
                buffer.removeSubrange(...end)
                if line.last == 0x0D { line.removeLast() }
                return String(decoding: line, as: UTF8.self)
            }
            try readMore()
        }
    }
    private func exactly(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            try readMore()
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    /// Status line and headers. The body of an event stream follows with `event`.
    package func readHead() throws -> Reply {
        let first = try line()
        let parts = first.split(separator: " ")
        guard parts.count >= 2, let status = Int(parts[1]) else { throw Problem.notHTTP(first) }
        var reply = Reply(status: status, headers: [], body: [])
        while case let text = try line(), !text.isEmpty {
            let pair = text.split(separator: ":", maxSplits: 1)
            reply.headers.append((String(pair[0]), pair.count > 1 ? String(pair[1].drop { $0 == " " }) : ""))
        }
        return reply
    }

    package func readReply(hasBody: Bool = true) throws -> Reply {
        var reply = try readHead()
        if reply.status == 100 { reply = try readHead() }
        guard hasBody, reply.status != 204, reply.status != 304 else { return reply }
        if reply.header("transfer-encoding")?.lowercased() == "chunked" {
            while case let chunk = try readChunk(), !chunk.isEmpty { reply.body += chunk }
        } else {
            reply.body = try exactly(Int(reply.header("content-length") ?? "0") ?? 0)
        }
        return reply
    }

    /// One chunk of a chunked body; empty at the end.
    package func readChunk() throws -> [UInt8] {
        let head = try line()
        guard let size = Int(head, radix: 16) else { throw Problem.notHTTP(head) }
        let chunk = try exactly(size)
        _ = try exactly(2)
        return chunk
    }

    private var pending = ""
    /// The next message of an event stream: its fields by name. Comments are skipped.
    package func readEvent() throws -> [String: String] {
        while true {
            if let end = pending.firstRange(of: "\n\n") {
                let message = pending[..<end.lowerBound]
                pending = String(pending[end.upperBound...])
                var fields: [String: String] = [:]
                for line in message.split(separator: "\n") where line.first != ":" {
                    let pair = line.split(separator: ":", maxSplits: 1)
                    fields[String(pair[0])] = pair.count > 1 ? String(pair[1].drop { $0 == " " }) : ""
                }
                if !fields.isEmpty { return fields }
                continue
            }
            let chunk = try readChunk()
            guard !chunk.isEmpty else { throw Problem.closed }
            pending += String(decoding: chunk, as: UTF8.self)
        }
    }
}

/// One request on a connection of its own.
package func request(
    _ method: String, _ path: String, at address: WebAddress, headers: [(String, String)] = [], body: String? = nil
) async throws -> Reply {
    try await blocking {
        let connection = try RawConnection(to: address)
        var text = "\(method) \(path) HTTP/1.1\r\nHost: bramble.test\r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        if let body { text += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
        try connection.send(text + "\r\n" + (body ?? ""))
        return try connection.readReply(hasBody: method != "HEAD")
    }
}
