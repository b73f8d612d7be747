import CLinux
import Glibc

/// One netlink message as it is built: a header, a fixed part, attributes. Nested attributes are closures, so that none is
/// left open.
struct NetlinkRequest {
    let type: UInt16
    let flags: UInt16
    private(set) var body: [UInt8]
    private static let isNested: UInt16 = 0x8000  // NLA_F_NESTED

    init(_ type: some BinaryInteger, flags: Int32 = 0, fixed: [UInt8]) {
        self.type = UInt16(truncatingIfNeeded: type)
        self.flags = UInt16(NLM_F_REQUEST) | UInt16(truncatingIfNeeded: flags)
        body = fixed
    }

    mutating func add(_ attribute: some BinaryInteger, _ value: [UInt8]) {
        body.append(native: UInt16(4 + value.count))
        body.append(native: UInt16(truncatingIfNeeded: attribute))
        body += value
        body += [UInt8](repeating: 0, count: -value.count & 3)
    }
    /// With the zero at the end that the kernel expects.
    mutating func add(_ attribute: some BinaryInteger, text: String) { add(attribute, Array(text.utf8) + [0]) }
    mutating func add(_ attribute: some BinaryInteger, native number: some FixedWidthInteger) {
        add(attribute, withUnsafeBytes(of: number) { Array($0) })
    }
    /// In network order, as nf_tables has every number.
    mutating func add(_ attribute: some BinaryInteger, network number: some FixedWidthInteger) {
        add(attribute, native: number.bigEndian)
    }
    mutating func nest(_ attribute: some BinaryInteger, _ content: (inout NetlinkRequest) -> Void) {
        let start = body.count
        body.append(native: UInt16(0))
        body.append(native: UInt16(truncatingIfNeeded: attribute) | Self.isNested)
        content(&self)
        let length = UInt16(body.count - start)
        withUnsafeBytes(of: length) { body.replaceSubrange(start..<(start + 2), with: $0) }
    }

    func encoded(sequence: UInt32, acknowledged: Bool) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + body.count)
        bytes.append(native: UInt32(16 + body.count))
        bytes.append(native: type)
        bytes.append(native: flags | (acknowledged ? UInt16(NLM_F_ACK) : 0))
        bytes.append(native: sequence)
        bytes.append(native: UInt32(0))
        bytes += body
        return bytes
    }
}

/// A netlink socket for requests, one at a time. The kernel works while the request is sent, so the answer is there when
/// `send` returns and nothing here ever waits for it. In the network namespace of the thread that makes it.
///
/// Not for two threads at once.
final class NetlinkSocket {
    private let descriptor: Int32
    private var sequence: UInt32 = 0
    private var buffer = [UInt8](repeating: 0, count: 32 * 1024)
    /// By which the kernel tells others who changed something.
    let port: UInt32

    /// - Parameter family: NETLINK_ROUTE or NETLINK_NETFILTER.
    init(_ family: Int32) throws(SystemError) {
        descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), family)
        guard descriptor >= 0 else { throw SystemError() }
        var name = sockaddr_nl()
        name.nl_family = sa_family_t(AF_NETLINK)
        var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
        let handle = descriptor
        let code = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(handle, $0, length) == 0 ? getsockname(handle, $0, &length) : -1
            }
        }
        port = name.nl_pid
        guard code == 0 else {
            let error = SystemError()
            close(descriptor)
            throw error
        }
        // Errors without a copy of the request: what we sent we know.
        let (level, withoutCopy) = (Int32(270), Int32(10))  // SOL_NETLINK, NETLINK_CAP_ACK
        var on: Int32 = 1
        setsockopt(descriptor, level, withoutCopy, &on, 4)
    }
    deinit { close(descriptor) }

    /// Sends one request and throws what the kernel says against it.
    func perform(_ request: NetlinkRequest) throws(SystemError) {
        sequence &+= 1
        try send(request.encoded(sequence: sequence, acknowledged: true))
        try readAnswers(until: sequence)
    }

    /// Sends requests as one transaction of nf_tables: all of them happen, at one instant, or none.
    ///
    /// - Parameter isRehearsal: the kernel checks everything and changes nothing.
    func transact(_ requests: [NetlinkRequest], isRehearsal: Bool = false) throws(SystemError) {
        guard !requests.isEmpty else { return }
        func frame(_ type: Int32) -> NetlinkRequest {
            NetlinkRequest(type, fixed: NetfilterMessage.header(family: 0, resource: NetfilterMessage.tables))
        }
        sequence &+= 1
        var bytes = frame(NetfilterMessage.begin).encoded(sequence: sequence, acknowledged: false)
        for (number, request) in requests.enumerated() {
            sequence &+= 1
            bytes += request.encoded(sequence: sequence, acknowledged: number == requests.count - 1)
        }
        let last = sequence
        sequence &+= 1
        // Without its end the kernel takes a transaction back after it has checked it.
        if !isRehearsal {
            bytes += frame(NetfilterMessage.end).encoded(sequence: sequence, acknowledged: false)
        }
        try send(bytes)
        try readAnswers(until: last)
    }

    private func send(_ bytes: [UInt8]) throws(SystemError) {
        // What is left of an earlier answer.
        while recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT)) >= 0 || errno == ENOBUFS {}
        var count = Glibc.send(descriptor, bytes, bytes.count, 0)
        while count < 0, errno == EINTR { count = Glibc.send(descriptor, bytes, bytes.count, 0) }
        guard count == bytes.count else { throw SystemError(code: count < 0 ? errno : EMSGSIZE) }
    }

    /// The first refusal is thrown, after everything has been read.
    private func readAnswers(until last: UInt32) throws(SystemError) {
        var refusal: SystemError?
        var isAnswered = false
        while true {
            let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if count < 0, errno == EINTR || errno == ENOBUFS { continue }
            guard count > 0 else { break }
            for message in Netlink.messages(in: buffer[..<count]) where Int32(message.type) == NLMSG_ERROR {
                let code = Netlink.errorCode(message)
                if code != 0, refusal == nil { refusal = SystemError(code: code) }
                if message.sequence == last { isAnswered = true }
            }
        }
        if let refusal { throw refusal }
        guard isAnswered else { throw SystemError(code: EPROTO) }
    }
}

enum NetfilterMessage {
    static let begin: Int32 = 16  // NFNL_MSG_BATCH_BEGIN
    static let end: Int32 = 17  // NFNL_MSG_BATCH_END
    static let tables: UInt16 = 10  // NFNL_SUBSYS_NFTABLES

    /// nfgenmsg: family, version 0, resource.
    static func header(family: UInt8, resource: UInt16 = 0) -> [UInt8] {
        [family, 0, UInt8(resource >> 8), UInt8(resource & 0xFF)]
    }
}
