import Glibc
package import Primitives

/// Where the web server can be reached.
package enum WebAddress: Equatable, Sendable, CustomStringConvertible {
    /// All addresses of this machine, version 4 and, where the kernel has it, 6. Port 0 takes any that is free.
    case everywhere(port: UInt16)
    case tcp(Endpoint)
    /// A Unix socket. Who may open its file (mode 0600) is trusted as the local operator.
    case unix(path: String)

    package var description: String {
        switch self {
        case .everywhere(let port): "port \(port) of every address"
        case .tcp(let endpoint): endpoint.description
        case .unix(let path): path
        }
    }
}

/// Why the web server cannot be reached where it was asked to be.
package enum WebError: OperatorError, Equatable {
    case portTaken(WebAddress)
    case socketTaken(path: String)
    case notASocket(path: String)
    case pathTooLong(path: String, limit: Int)
    case noSuchAddress(WebAddress)
    case notAllowed(WebAddress)
    case cannotListen(WebAddress, reason: String)
    case certificate(reason: String)

    package var problem: String {
        switch self {
        case .portTaken(let address): "another program already listens on \(address)"
        case .socketTaken(let path): "another bramble already answers at \(path)"
        case .notASocket(let path): "\(path) exists and is not a socket"
        case .pathTooLong(let path, let limit): "the socket path \(path) is longer than the \(limit) bytes Linux allows"
        case .noSuchAddress(let address): "this machine does not have the address of \(address)"
        case .notAllowed(let address): "this user may not listen on \(address)"
        case .cannotListen(let address, let reason): "cannot listen on \(address): \(reason)"
        case .certificate(let reason): "the certificate or its key cannot be used for HTTPS: \(reason)"
        }
    }
    package var remedy: String {
        switch self {
        case .portTaken(let address):
            "stop it (ss -ltnp shows it), or choose another place: --http ADDRESS:PORT\(Self.example(address))"
        case .socketTaken: "stop that one first, or give this one its own: --socket PATH"
        case .notASocket(let path): "move \(path) away, or choose another place: --socket PATH"
        case .pathTooLong: "choose a shorter one: --socket PATH"
        case .noSuchAddress: "give an address of this machine (ip address shows them), or 0.0.0.0 for all"
        case .notAllowed(.unix(let path)): "make the folder of \(path) writable for this user, or: --socket PATH"
        case .notAllowed: "choose a port from 1024 up: --http ADDRESS:PORT"
        case .cannotListen: "check the address and the machine's network, then start again"
        case .certificate: "give one certificate (with its chain) and its unencrypted key, both in PEM, or: tls: self"
        }
    }
    private static func example(_ address: WebAddress) -> String {
        switch address {
        case .everywhere(let port): ", like 0.0.0.0:\(port == .max ? 8081 : port + 1)"
        default: ""
        }
    }
}

/// One listening socket. It cannot be copied, so it is closed once, or handed on to libmicrohttpd once.
struct ListeningSocket: ~Copyable {
    private var descriptor: Int32
    /// What it is bound to, port 0 replaced by the real one.
    let address: WebAddress

    private init(descriptor: Int32, address: WebAddress) {
        self.descriptor = descriptor
        self.address = address
    }
    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    /// Whoever takes it closes it.
    consuming func release() -> Int32 {
        defer { descriptor = -1 }
        return descriptor
    }

    static func open(_ address: WebAddress) throws(WebError) -> ListeningSocket {
        switch address {
        case .everywhere(let port):
            do throws(WebError) {
                return try tcp(.init(.v6(high: 0, low: 0), port: port), asked: address, alsoV4: true)
            } catch {
                // Only a kernel without IPv6 is a reason to do without it.
                guard case .cannotListen = error else { throw error }
                return try tcp(.init(.v4(0), port: port), asked: address, alsoV4: false)
            }
        case .tcp(let endpoint): return try tcp(endpoint, asked: address, alsoV4: false)
        case .unix(let path): return try unix(path, asked: address)
        }
    }

    private static func tcp(
        _ endpoint: Endpoint, asked: WebAddress, alsoV4: Bool
    ) throws(WebError) -> ListeningSocket {
        let family = if case .v6 = endpoint.address { AF_INET6 } else { AF_INET }
        let descriptor = newSocket(family)
        guard descriptor >= 0 else { throw failure(asked) }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        if family == AF_INET6 {
            var only: Int32 = alsoV4 ? 0 : 1
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &only, socklen_t(MemoryLayout<Int32>.size))
        }
        let bound = endpoint.withSocketAddress { bind(descriptor, $0, $1) }
        guard bound == 0, listen(descriptor, 128) == 0 else {
            let error = failure(asked)
            Glibc.close(descriptor)
            throw error
        }
        let port = boundPort(descriptor) ?? endpoint.port
        let address: WebAddress =
            if case .everywhere = asked { .everywhere(port: port) } else {
                .tcp(Endpoint(endpoint.address, port: port))
            }
        return ListeningSocket(descriptor: descriptor, address: address)
    }

    private static func unix(_ path: String, asked: WebAddress) throws(WebError) -> ListeningSocket {
        var name = sockaddr_un()
        let limit = MemoryLayout.size(ofValue: name.sun_path) - 1
        guard path.utf8.count <= limit else { throw .pathTooLong(path: path, limit: limit) }
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        if let slash = path.lastIndex(of: "/"), slash > path.startIndex {
            _ = mkdir(String(path[..<slash]), 0o755)  // there already, or `bind` says why not
        }
        try removeStale(path, name)

        let descriptor = newSocket(AF_UNIX)
        guard descriptor >= 0 else { throw failure(asked) }
        // Before `bind`, so that there is no moment at which others may open it.
        fchmod(descriptor, 0o600)
        let bound = withSocketAddress(name) { bind(descriptor, $0, $1) }
        guard bound == 0, listen(descriptor, 128) == 0 else {
            let error = failure(asked)
            Glibc.close(descriptor)
            throw error
        }
        return ListeningSocket(descriptor: descriptor, address: asked)
    }

    /// A socket nobody answers at is left over from a crash: away with it. One that answers is in use.
    private static func removeStale(_ path: String, _ name: sockaddr_un) throws(WebError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
        let probe = newSocket(AF_UNIX)
        guard probe >= 0 else { return }
        defer { Glibc.close(probe) }
        let answered = withSocketAddress(name) { connect(probe, $0, $1) }
        // A full backlog (EAGAIN) is somebody, too.
        guard answered != 0, errno == ECONNREFUSED || errno == ENOENT else { throw .socketTaken(path: path) }
        unlink(path)
    }

    private static func newSocket(_ family: Int32) -> Int32 {
        let flags = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        return socket(family, Int32(flags), 0)
    }

    private static func withSocketAddress<Result>(
        _ name: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafePointer(to: name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    private static func boundPort(_ descriptor: Int32) -> UInt16? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        // The port is at the same place for both versions.
        return code == 0
            ? withUnsafeBytes(of: storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) } : nil
    }

    private static func failure(_ address: WebAddress) -> WebError {
        switch errno {
        case EADDRINUSE: .portTaken(address)
        case EADDRNOTAVAIL: .noSuchAddress(address)
        case EACCES, EPERM: .notAllowed(address)
        case let code: .cannotListen(address, reason: String(cString: strerror(code)))
        }
    }
}

extension Endpoint {
    /// As the kernel takes it.
    func withSocketAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        func call<Name>(_ name: Name) -> Result {
            withUnsafePointer(to: name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Name>.size)) }
            }
        }
        switch address {
        case .v4(let word):
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = word.bigEndian
            return call(name)
        case .v6:
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin6_addr) { $0.copyBytes(from: address.bytes) }
            return call(name)
        }
    }
}

extension Peer {
    /// A version 4 address that came in through a version 6 socket counts as what it is.
    init(_ address: UnsafePointer<sockaddr>?) {
        guard let address else {
            self = .local
            return
        }
        let raw = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let bytes = UnsafeRawBufferPointer(start: raw + 4, count: 4)
            self = .address(IPAddress(bytes: bytes) ?? .v4(0))
        case AF_INET6:
            let bytes = UnsafeRawBufferPointer(start: raw + 8, count: 16)
            let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            self = .address(IPAddress(bytes: isMapped ? bytes.suffix(4) : bytes[...]) ?? .v4(0))
        default:
            self = .local
        }
    }
}
