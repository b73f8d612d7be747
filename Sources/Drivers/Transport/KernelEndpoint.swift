import CLinux
import Glibc
package import Primitives

extension Endpoint {
    init?(_ kernel: clinux_endpoint) {
        // For every datagram: no generic code.
        let address = withUnsafeBytes(of: kernel.address) { bytes -> IPAddress? in
            switch kernel.length {
            case 4: .v4(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
            case 16:
                .v6(
                    high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                    low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
            default: nil
            }
        }
        guard let address else { return nil }
        self.init(address, port: kernel.port)
    }

    var kernel: clinux_endpoint {
        var result = clinux_endpoint()
        result.port = port
        withUnsafeMutableBytes(of: &result.address) { bytes in
            switch address {
            case .v4(let word):
                bytes.storeBytes(of: word.bigEndian, as: UInt32.self)
                result.length = 4
            case .v6(let high, let low):
                bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
                bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
                result.length = 16
            }
        }
        return result
    }
}

extension IPAddress {
    static let anyV4 = IPAddress.v4(0)
    static let anyV6 = IPAddress.v6(high: 0, low: 0)

    /// How many leading bits are the same; nil between the two versions.
    func commonPrefix(with other: IPAddress) -> Int? {
        switch (self, other) {
        case (.v4(let a), .v4(let b)): (a ^ b).leadingZeroBitCount
        case (.v6(let a, let c), .v6(let b, let d)):
            a == b ? 64 + (c ^ d).leadingZeroBitCount : (a ^ b).leadingZeroBitCount
        default: nil
        }
    }
}

/// Why the node cannot listen.
package enum ListenError: OperatorError, Equatable {
    case portInUse(kind: String, Endpoint)
    case notAllowed(kind: String, Endpoint)
    case noSuchAddress(kind: String, Endpoint)
    case failed(kind: String, Endpoint, reason: String)

    init(kind: String, _ endpoint: Endpoint, code: Int32) {
        self =
            switch code {
            case EADDRINUSE: .portInUse(kind: kind, endpoint)
            case EACCES, EPERM: .notAllowed(kind: kind, endpoint)
            case EADDRNOTAVAIL: .noSuchAddress(kind: kind, endpoint)
            default: .failed(kind: kind, endpoint, reason: String(cString: strerror(code)))
            }
    }

    package var problem: String {
        switch self {
        case .portInUse(let kind, let endpoint): "\(kind) port \(endpoint.port) is in use on \(endpoint.address)"
        case .notAllowed(let kind, let endpoint): "this user may not listen on \(kind) \(endpoint)"
        case .noSuchAddress(let kind, let endpoint): "cannot listen on \(kind) \(endpoint): no such address here"
        case .failed(let kind, let endpoint, let reason): "cannot listen on \(kind) \(endpoint): \(reason)"
        }
    }
    package var remedy: String {
        switch self {
        case .portInUse(let kind, let endpoint):
            "find who has it with: ss -\(kind == "UDP" ? "u" : "t")lpn sport = :\(endpoint.port); stop that, or give "
                + "this node another one with --port"
        case .notAllowed: "choose a port above 1023 with --port, or let systemd start bramble"
        case .noSuchAddress: "give an address of this machine with --address (ip address shows them), or none for all"
        case .failed: "see what the kernel says with: dmesg | tail; then start again"
        }
    }
}
