import CLab
import CLinux
import Glibc
import Reactor

/// Carries TCP connections from this machine into a host of the lab, so that a browser here can open a dashboard there.
/// Each connection has two threads that copy; more than `maximumConnections` at once are closed at the door.
package final class Relay: @unchecked Sendable {
    private static let maximumConnections = 64
    package let address: String
    package let port: UInt16
    private let targetPort: UInt16
    private let listener: Int32
    private let host: Locked<NamespaceThread?>
    private let open = Locked(0)

    /// Takes the port asked for, or any other when that one is taken.
    package init(listen address: String, preferring wanted: UInt16, to host: Host, port target: UInt16) throws(LabError)
    {
        let listener = try check(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | 0o2000000, 0), "make a socket")
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        let bound = [wanted, 0].first { candidate in
            var place = SocketAddress.v4(address, port: candidate)
            return SocketAddress.with(&place) { bind(listener, $0, $1) } == 0
        }
        guard bound != nil, listen(listener, 16) == 0 else {
            let error = LabError.system("listen on \(address)")
            close(listener)
            throw error
        }
        var actual = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &actual) {
            _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(listener, $0, &length) }
        }
        self.listener = listener
        (self.address, port, targetPort) = (address, UInt16(bigEndian: actual.sin_port), target)
        self.host = Locked(host.thread)
        Thread(name: "relay") { self.accept() }.detach()
    }

    /// Where connections go from now on; nil refuses them.
    package func move(to host: Host?) {
        let thread = host?.thread
        self.host.withLock { $0 = thread }
    }

    private func accept() {
        while true {
            let client = clab_accept(listener)
            guard client >= 0 else { return }
            let isWelcome = open.withLock { count in
                guard count < Relay.maximumConnections else { return false }
                count += 1
                return true
            }
            guard isWelcome else {
                close(client)
                continue
            }
            Thread(name: "relay-copy") {
                self.serve(client)
                self.open.withLock { $0 -= 1 }
            }.detach()
        }
    }

    private func serve(_ client: Int32) {
        defer { close(client) }
        guard let thread = host.withLock({ $0 }) else { return }
        // No time limit: an event stream is quiet for as long as nothing happens.
        let port = targetPort
        let connection = try? thread.run { () throws(LabError) in
            try Connection(host: "127.0.0.1", port: port, limit: .zero)
        }
        guard let server = connection?.descriptor else { return }
        let back = Thread(name: "relay-back") {
            Relay.copy(from: server, to: client)
            shutdown(client, Int32(SHUT_WR))
        }
        Relay.copy(from: client, to: server)
        shutdown(server, Int32(SHUT_WR))
        back.join()
        withExtendedLifetime(connection) {}
    }

    private static func copy(from source: Int32, to target: Int32) {
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = recv(source, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            var sent = 0
            while sent < count {
                let step = buffer[sent..<count].withUnsafeBytes {
                    send(target, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard step > 0 else {
                    shutdown(source, Int32(SHUT_RDWR))
                    return
                }
                sent += step
            }
        }
    }
}
