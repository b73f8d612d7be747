import CLinux
import Glibc
import Primitives
import Reactor

/// The listening sockets of a TCP port, and how many strangers may be at the door.
final class StreamListener {
    private var sockets: [Int32] = []
    private var registrations: [EventLoop.Registration] = []
    let port: UInt16

    init(port: UInt16, addresses: [IPAddress]) throws(ListenError) {
        var port = port
        var opened: [Int32] = []
        for address in addresses.isEmpty ? [.anyV4, .anyV6] : addresses {
            let endpoint = Endpoint(address, port: port)
            var kernel = endpoint.kernel
            let descriptor = clinux_bound_socket(Int32(SOCK_STREAM.rawValue), &kernel)
            guard descriptor >= 0, listen(descriptor, 64) == 0 else {
                let code = errno
                if descriptor >= 0 { close(descriptor) }
                // A kernel without IPv6 is fine, as long as nobody asked for an address of it.
                if addresses.isEmpty, address == .anyV6, code == EAFNOSUPPORT || code == EADDRNOTAVAIL { continue }
                for one in opened { close(one) }
                throw ListenError(kind: "TCP", endpoint, code: code)
            }
            if port == 0 {
                clinux_local_endpoint(descriptor, &kernel)
                port = kernel.port
            }
            opened.append(descriptor)
        }
        sockets = opened
        self.port = port
    }

    /// `ready` is called on the loop with the listening descriptor, whenever somebody is there.
    func start(on loop: EventLoop, _ ready: @escaping @Sendable (Int32) -> Void) {
        registrations = sockets.map { descriptor in
            loop.watch(descriptor, for: .readable) { _ in ready(descriptor) }
        }
    }

    enum Accepted { case connection(Int32, Endpoint), none, outOfDescriptors }

    func accept(_ listening: Int32) -> Accepted {
        while true {
            var from = clinux_endpoint()
            let descriptor = clinux_accept_stream(listening, &from)
            if descriptor >= 0 {
                if let source = Endpoint(from) { return .connection(descriptor, source) }
                close(descriptor)
                continue
            }
            switch errno {
            // Who gave up before we looked is no error of ours.
            case EINTR, ECONNABORTED, EPROTO: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .outOfDescriptors
            default: return .none
            }
        }
    }

    /// Without descriptors left the loop would spin: look away for a second.
    func pause(on loop: EventLoop) {
        let paused = registrations
        for one in paused { loop.rearm(one, for: []) }
        loop.schedule(after: .seconds(1)) { for one in paused { loop.rearm(one, for: .readable) } }
    }

    func stop(on loop: EventLoop) {
        for one in registrations { loop.cancel(one) }
        for one in sockets { close(one) }
        registrations = []
        sockets = []
    }
    deinit { for one in sockets { close(one) } }
}

/// Who is connected but has not said hello yet: bounded in all and for each source, so that nobody fills the house.
struct DoorKeeper {
    private var bySource: [IPAddress: Int] = [:]
    private(set) var count = 0

    mutating func admit(_ source: IPAddress, limits: StreamLimits) -> Bool {
        guard count < limits.maximumStrangers, bySource[source, default: 0] < limits.maximumStrangersPerSource else {
            return false
        }
        count += 1
        bySource[source, default: 0] += 1
        return true
    }
    mutating func leave(_ source: IPAddress) {
        guard let here = bySource[source] else { return }
        count -= 1
        bySource[source] = here > 1 ? here - 1 : nil
    }
}
