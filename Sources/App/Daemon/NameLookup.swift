import CLinux
import Glibc
import Primitives

/// Host names as the machine's resolver knows them. Blocking: for the worker's thread.
enum NameLookup {
    /// The addresses of `HOST`, `HOST:PORT`, an address or an address with a port; empty when there is none now.
    static func endpoints(of target: String, defaultPort: UInt16) -> [Endpoint] {
        if let endpoint = Endpoint(target, defaultPort: defaultPort) { return [endpoint] }
        var host = target
        var port = defaultPort
        if let colon = target.lastIndex(of: ":"), let given = UInt16(target[target.index(after: colon)...]) {
            host = String(target[..<colon])
            port = given
        }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var found: [Endpoint] = []
        var next = list
        while let entry = next {
            next = entry.pointee.ai_next
            guard let address = address(entry.pointee) else { continue }
            let endpoint = Endpoint(address, port: port)
            if !found.contains(endpoint), found.count < 8 { found.append(endpoint) }
        }
        return found
    }

    private static func address(_ entry: addrinfo) -> IPAddress? {
        switch entry.ai_family {
        case AF_INET:
            entry.ai_addr.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin_addr) { IPAddress(bytes: Array($0)) }
            }
        case AF_INET6:
            entry.ai_addr.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin6_addr) { IPAddress(bytes: Array($0)) }
            }
        default: nil
        }
    }
}
