import CLinux
import Glibc
import Logging

/// Tells systemd how the daemon is, by the protocol of sd_notify(3). Without a service manager it does nothing.
package final class ServiceManager: Sendable {
    private let socket: Int32
    private let address: [UInt8]
    /// How often `alive` is expected: half of what the unit's WatchdogSec allows; nil when it is off.
    package let watchdogInterval: Duration?

    /// Reads $NOTIFY_SOCKET and $WATCHDOG_USEC, and takes them out of the environment: they are not for our children.
    /// Call it before threads are started.
    package convenience init() {
        func take(_ name: String) -> String? {
            defer { unsetenv(name) }
            return getenv(name).map { String(cString: $0) }
        }
        let process = take("WATCHDOG_PID").flatMap { Int32($0) }
        let microseconds = take("WATCHDOG_USEC").flatMap { Int64($0) }
        let isOurs = process == nil || process == getpid()
        self.init(socketPath: take("NOTIFY_SOCKET"), watchdogMicroseconds: isOurs ? microseconds : nil)
    }

    /// - Parameter socketPath: a path, or a name of the abstract namespace with `@` before it.
    init(socketPath: String?, watchdogMicroseconds: Int64?) {
        var bytes = Array((socketPath ?? "").utf8)
        let isUsable = (bytes.first == UInt8(ascii: "/") || bytes.first == UInt8(ascii: "@")) && bytes.count < 108
        if bytes.first == UInt8(ascii: "@") { bytes[0] = 0 }
        address = isUsable ? bytes : []
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        socket = isUsable ? Glibc.socket(AF_UNIX, type, 0) : -1
        watchdogInterval = watchdogMicroseconds.flatMap { $0 > 0 && isUsable ? .microseconds($0 / 2) : nil }
        if let socketPath, !isUsable { Log.warning("$NOTIFY_SOCKET is “\(socketPath)”, which is no socket's address") }
    }
    deinit { if socket >= 0 { close(socket) } }

    package func ready(status: String) { send("READY=1\nSTATUS=\(oneLine(status))") }
    package func stopping() { send("STOPPING=1\nSTATUS=handing over") }
    package func status(_ text: String) { send("STATUS=\(oneLine(text))") }
    /// To be sent only while every thread that matters makes progress: else systemd restarts the daemon, as it should.
    package func alive() { send("WATCHDOG=1") }

    private func oneLine(_ text: String) -> String { String(text.map { $0.isNewline ? " " : $0 }) }

    /// Never waits: a service manager that does not read must not hold the daemon up.
    private func send(_ message: String) {
        guard socket >= 0 else { return }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: address) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + address.count + (address.first == 0 ? 0 : 1))
        let bytes = Array(message.utf8)
        let sent = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), $0, length)
            }
        }
        if sent < 0 { Log.debug("the service manager does not listen: \(SystemError())") }
    }
}
