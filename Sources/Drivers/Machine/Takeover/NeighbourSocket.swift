import CLinux
import Glibc
import Primitives
import Reactor

/// A packet socket on one interface: sends probes and announcements, hears what others claim.
///
/// Kept open as long as it may be needed again: the kernel takes 10 ms to close one.
final class NeighbourSocket: @unchecked Sendable {
    enum Kind: UInt16, Sendable { case arp = 0x0806, version6 = 0x86DD }

    let interface: Int32
    let kind: Kind
    private let descriptor: Int32
    private let loop: EventLoop
    private var watch: EventLoop.Registration?

    /// In the network namespace of the thread that makes it.
    ///
    /// - Parameter heard: on the loop, for each claim in a frame that came from outside.
    init(
        _ kind: Kind, interface: Int32, on loop: EventLoop,
        heard: @escaping @Sendable (NeighbourFrame.Claim) -> Void
    ) throws(SystemError) {
        self.kind = kind
        self.interface = interface
        self.loop = loop
        let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        // Without a protocol it hears nothing until it is bound: nothing from before, or from other interfaces.
        descriptor = socket(AF_PACKET, Int32(SOCK_RAW.rawValue) | flags, 0)
        guard descriptor >= 0 else { throw SystemError() }
        var name = sockaddr_ll()
        name.sll_family = UInt16(AF_PACKET)
        name.sll_protocol = kind.rawValue.bigEndian
        name.sll_ifindex = interface
        let handle = descriptor
        let isFiltered = kind == .arp || Self.keepAdvertisementsOnly(handle)
        let code = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(handle, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
            }
        }
        guard isFiltered, code == 0 else {
            let error = SystemError()
            Glibc.close(descriptor)
            throw error
        }
        watch = loop.watch(descriptor, for: .readable) { _ in Self.drain(handle, heard) }
    }
    deinit {
        let (loop, watch, descriptor) = (loop, watch, descriptor)
        loop.perform {
            if let watch { loop.cancel(watch) }
            Glibc.close(descriptor)
        }
    }

    func send(_ frame: [UInt8]) throws(SystemError) {
        let count = Glibc.send(descriptor, frame, frame.count, Int32(MSG_DONTWAIT))
        guard count == frame.count else { throw SystemError(code: count < 0 ? errno : EMSGSIZE) }
    }

    /// At most so many frames at a time: a flood must not keep the loop from its timers.
    private static func drain(_ descriptor: Int32, _ heard: (NeighbourFrame.Claim) -> Void) {
        var buffer = [UInt8](repeating: 0, count: 2048)
        for _ in 0..<64 {
            var from = sockaddr_ll()
            var length = socklen_t(MemoryLayout<sockaddr_ll>.size)
            let count = withUnsafeMutablePointer(to: &from) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length)
                }
            }
            if count < 0 {
                // ENETDOWN is told once when the interface goes down; the socket stays good.
                if errno == EINTR || errno == ENETDOWN { continue }
                return
            }
            let outgoing = UInt8(4)  // PACKET_OUTGOING: our own frame on its way out
            guard from.sll_pkttype != outgoing, let claim = NeighbourFrame.claim(in: buffer[..<count]) else { continue }
            heard(claim)
        }
    }

    /// In the kernel, so that ordinary traffic does not wake us: IPv6, then ICMPv6, then a neighbour advertisement.
    private static func keepAdvertisementsOnly(_ descriptor: Int32) -> Bool {
        let (loadByte, equal, accept) = (UInt16(0x30), UInt16(0x15), UInt16(0x06))  // BPF_LD+B+ABS, JMP+JEQ+K, RET+K
        let program = [
            sock_filter(code: loadByte, jt: 0, jf: 0, k: 20),
            sock_filter(code: equal, jt: 0, jf: 3, k: 58),
            sock_filter(code: loadByte, jt: 0, jf: 0, k: 54),
            sock_filter(code: equal, jt: 0, jf: 1, k: 136),
            sock_filter(code: accept, jt: 0, jf: 0, k: 2048),
            sock_filter(code: accept, jt: 0, jf: 0, k: 0),
        ]
        return clinux_attach_filter(descriptor, program, UInt16(program.count)) == 0
    }
}
