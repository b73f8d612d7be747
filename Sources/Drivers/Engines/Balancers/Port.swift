import CLinux
import Glibc
import Primitives
import Services

/// Whether a balancer may have the port that it wants on this machine.
enum Port {
    /// Why nobody can listen there now; nil when it is free.
    static func trouble(listening balancer: Balancer) -> String? {
        let port = balancer.listenPort
        let type = balancer.transport == .udp ? SOCK_DGRAM : SOCK_STREAM
        var place = clinux_endpoint()
        let bytes = (balancer.listenAddress ?? .v4(0)).bytes
        place.length = UInt8(bytes.count)
        place.port = port
        withUnsafeMutableBytes(of: &place.address) { $0.copyBytes(from: bytes) }
        let isTaken =
            "port \(port) is in use by another program: ss -\(type == SOCK_DGRAM ? "u" : "t")lpn sport = :\(port) shows it"
        let descriptor = clinux_bound_socket(Int32(type.rawValue), &place)
        guard descriptor < 0 else {
            defer { close(descriptor) }
            // With the address reused, a second listener of streams shows only here.
            return type == SOCK_DGRAM || listen(descriptor, 1) == 0 ? nil : isTaken
        }
        switch errno {
        case EADDRINUSE: return isTaken
        case EADDRNOTAVAIL: return "\(balancer.listenAddress.map(\.description) ?? "") is not on this node"
        case EACCES, EPERM: return "port \(port) may only be opened by root: let systemd start bramble"
        default: return "port \(port) cannot be opened: \(String(cString: strerror(errno)))"
        }
    }
}
