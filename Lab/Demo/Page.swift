import Glibc

/// A small web service: says on which machine it runs, by HTTP and to each datagram, and what is in a file. What the
/// demonstration moves.
enum Page {
    static let directory = "/srv/www"
    static let path = "\(directory)/page"

    /// Until it is ended.
    static func serve(_ address: String, port: UInt16) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, 255)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        guard inet_pton(AF_INET, address, &place.sin_addr) == 1 else { return 2 }
        let isBound = withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { place in
                [datagrams, listener].allSatisfy { bind($0, place, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
            }
        }
        guard isBound, listen(listener, 64) == 0 else {
            complain("bramble-demo: \(address):\(port) cannot be had: \(String(cString: strerror(errno)))")
            return 1
        }
        while true {
            var polls = [
                pollfd(fd: datagrams, events: Int16(POLLIN), revents: 0),
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
            ]
            poll(&polls, 2, -1)
            if polls[0].revents != 0 { echo(on: datagrams, as: host) }
            if polls[1].revents != 0 { answer(on: listener, as: host) }
        }
    }

    private static func echo(on socket: Int32, as host: String) {
        var buffer = [UInt8](repeating: 0, count: 1024)
        var source = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutablePointer(to: &source) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { source in
                let count = recvfrom(socket, &buffer, buffer.count, 0, source, &length)
                guard count >= 0 else { return }
                let reply = Array(buffer[..<count]) + Array(" \(host)".utf8)
                _ = sendto(socket, reply, reply.count, 0, source, length)
            }
        }
    }

    /// As it is now: short, and not there at first.
    private static var text: String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        return String(decoding: bytes[..<max(0, read(file, &bytes, bytes.count))], as: UTF8.self)
    }

    private static func answer(on listener: Int32, as host: String) {
        let stream = accept(listener, nil, nil)
        guard stream >= 0 else { return }
        defer { close(stream) }
        // Whoever connects and says nothing keeps the others waiting no longer than this.
        var limit = timeval(tv_sec: 0, tv_usec: 200_000)
        setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var request = [UInt8](repeating: 0, count: 4096)
        guard recv(stream, &request, request.count, 0) > 0 else { return }
        let epoch = getenv("BRAMBLE_EPOCH").map { String(cString: $0) } ?? "0"
        let body = "this page comes from \(host), epoch \(epoch): \(text)\n"
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        let bytes = Array((head + body).utf8)
        _ = send(stream, bytes, bytes.count, 0)
    }
}
