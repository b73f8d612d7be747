import Glibc
import Reactor

/// A few lines of HTTP over a Unix socket: answers each connection with prepared bytes, and remembers what was asked.
final class TinyServer: @unchecked Sendable {
    enum Step: Sendable {
        case send(String)
        case pause(milliseconds: UInt32)
        /// Says nothing more, and keeps the connection open until the client closes it.
        case hang
    }
    /// Empty for a server of TCP.
    let path: String
    private(set) var port: UInt16 = 0
    private let listener: Int32
    private let requests = Locked<[String]>([])
    private let script: @Sendable (String) -> [Step]

    /// `script` turns the request (head and body) into what is done with the connection.
    init(script: @escaping @Sendable (String) -> [Step]) {
        // Short: a socket's path has room for 107 bytes.
        var template = Array("/tmp/bramble-test-XXXXXX".utf8CString)
        let directory = String(cString: mkdtemp(&template))
        path = directory + "/s"
        self.script = script
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = TinyServer.address(path)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        precondition(bound == 0 && listen(listener, 16) == 0)
        begin()
    }

    /// The same on a free TCP port of the loopback interface.
    init(port _: Void, script: @escaping @Sendable (String) -> [Step]) {
        path = ""
        self.script = script
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        precondition(bound)
        port = UInt16(bigEndian: address.sin_port)
        begin()
    }

    private func begin() {
        let box = Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            {
                Unmanaged<TinyServer>.fromOpaque($0!).takeRetainedValue().serve()
                return nil
            }, box)
        pthread_detach(thread)
    }

    static func address(_ path: String) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }

    /// A whole answer.
    static func answer(_ status: String, _ body: String, type: String = "application/json") -> [Step] {
        [
            .send(
                "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
            )
        ]
    }

    /// Every request so far, head and body.
    var asked: [String] { requests.withLock { $0 } }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        guard !path.isEmpty else { return }
        unlink(path)
        rmdir(String(path.dropLast(2)))
    }

    private func serve() {
        while true {
            let connection = accept(listener, nil, nil)
            if connection < 0 { break }
            handle(connection)
            close(connection)
        }
        close(listener)
    }

    private func handle(_ connection: Int32) {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        func text() -> String { String(decoding: bytes, as: UTF8.self) }
        func isWhole() -> Bool {
            guard let end = text().firstRange(of: "\r\n\r\n") else { return false }
            let head = text()[..<end.lowerBound].lowercased()
            let length = head.split(separator: "\r\n").first { $0.hasPrefix("content-length:") }
                .flatMap { Int($0.dropFirst(15).filter(\.isNumber)) }
            return text()[end.upperBound...].utf8.count >= (length ?? 0)
        }
        while !isWhole() {
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { return }
            bytes += buffer[..<count]
        }
        let request = text()
        requests.withLock { $0.append(request) }
        for step in script(request) {
            switch step {
            case .send(let answer):
                var rest = Array(answer.utf8)[...]
                while !rest.isEmpty {
                    let count = rest.withUnsafeBytes {
                        send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                    }
                    guard count > 0 else { return }
                    rest = rest.dropFirst(count)
                }
            case .pause(let milliseconds): usleep(milliseconds * 1000)
            case .hang: while read(connection, &buffer, buffer.count) > 0 {}
            }
        }
    }
}
