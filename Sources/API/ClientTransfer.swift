import CCurl
import Glibc

/// One HTTP request. The client makes them; nothing here knows what a node is.
struct HTTPRequest: Sendable {
    var method = "GET"
    /// With the query, percent-encoded, from the slash on.
    var path: String
    var body: [UInt8]?
    /// The path of a file to send instead.
    var file: String?
    var accept = "application/json"
}

/// Where and how requests go.
struct HTTPPeer: Sendable {
    /// `http://host:port`, no slash at the end. With a socket the host only fills the Host header.
    var base: String
    var socket: String?
    var token: String?
    var trust = BrambleClient.Trust.system

    /// As an operator names it.
    var description: String { socket ?? base }
}

/// What goes in and comes out of one transfer. Runs on a thread of its own, because libcurl blocks; the executors of
/// Swift's concurrency must not.
///
/// Shared by that thread and whoever cancels; the handle is freed when both have let go.
final class HTTPTransfer: @unchecked Sendable {
    enum Outcome {
        /// Status and content type; the body went to `receive`.
        case answered(status: Int, contentType: String)
        /// `receive` said stop.
        case stoppedByReceiver
        case cancelled
        /// No byte for `idleLimit`, or not the whole answer within `timeout`.
        case timedOut(ClientError)
        case failed(ClientError)
    }
    /// Called on the transfer's thread with the bytes that arrived. False ends the transfer.
    typealias Receiver = (_ bytes: UnsafeRawBufferPointer, _ status: Int, _ contentType: String) -> Bool

    /// `ccurl_stop` is made to be called from any thread; all else happens on the transfer's own.
    private let handle: OpaquePointer
    private let receiver: ReceiverBox
    private let peer: HTTPPeer

    private final class ReceiverBox {
        var receive: Receiver
        var handle: OpaquePointer?
        init(_ receive: @escaping Receiver) { self.receive = receive }
    }

    /// `timeout` bounds the whole transfer, `idleLimit` the time without a byte; nil means no bound.
    init(
        _ request: HTTPRequest, to peer: HTTPPeer, timeout: Duration?, receive: @escaping Receiver
    ) throws(ClientError) {
        try CurlLibrary.load()
        let receiver = ReceiverBox(receive)
        let sink: ccurl_sink = { bytes, count, context in
            let box = Unmanaged<ReceiverBox>.fromOpaque(context!).takeUnretainedValue()
            let status = ccurl_number(box.handle!, CURLINFO_RESPONSE_CODE)
            let type = ccurl_text(box.handle!, CURLINFO_CONTENT_TYPE).map { String(cString: $0) } ?? ""
            return box.receive(UnsafeRawBufferPointer(start: bytes, count: count), status, type)
        }
        guard let handle = ccurl_new(sink, Unmanaged.passUnretained(receiver).toOpaque()) else {
            throw ClientError(.noAnswer, problem: "no memory for a request", remedy: "free memory and try again")
        }
        receiver.handle = handle
        self.handle = handle
        self.receiver = receiver
        self.peer = peer

        ccurl_set_text(handle, CURLOPT_URL, peer.base + request.path)
        // Names are escaped already; libcurl shall not tidy them.
        ccurl_set_number(handle, CURLOPT_PATH_AS_IS, 1)
        ccurl_set_text(handle, CURLOPT_PROTOCOLS_STR, "http,https")
        ccurl_set_number(handle, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        // A cluster is on its owner's own network: what the environment says of proxies is for other places.
        ccurl_set_text(handle, CURLOPT_NOPROXY, "*")
        ccurl_set_number(handle, CURLOPT_NOSIGNAL, 1)
        ccurl_set_number(handle, CURLOPT_CONNECTTIMEOUT_MS, 5_000)
        // Finds out within half a minute that a remote machine was switched off in the middle of a stream.
        ccurl_set_number(handle, CURLOPT_TCP_KEEPALIVE, 1)
        ccurl_set_number(handle, CURLOPT_TCP_KEEPIDLE, 15)
        ccurl_set_number(handle, CURLOPT_TCP_KEEPINTVL, 5)
        if let timeout { ccurl_set_number(handle, CURLOPT_TIMEOUT_MS, timeout.wholeMilliseconds) }
        if let socket = peer.socket { ccurl_set_text(handle, CURLOPT_UNIX_SOCKET_PATH, socket) }
        switch peer.trust {
        case .system: break
        case .file(let path): ccurl_set_text(handle, CURLOPT_CAINFO, path)
        case .anybody:
            ccurl_set_number(handle, CURLOPT_SSL_VERIFYPEER, 0)
            ccurl_set_number(handle, CURLOPT_SSL_VERIFYHOST, 0)
        }
        ccurl_add_header(handle, "Accept: \(request.accept)")
        if let token = peer.token { ccurl_add_header(handle, "Authorization: Bearer \(token)") }
        if let body = request.body {
            body.withUnsafeBytes { _ = ccurl_set_body(handle, $0.baseAddress, $0.count) }
            ccurl_add_header(handle, "Content-Type: application/json")
        }
        if let path = request.file {
            guard ccurl_set_file(handle, path) == 0 else {
                let reason = String(cString: strerror(errno))
                throw ClientError(
                    .wrongUse, problem: "the file \(path) cannot be read: \(reason)", remedy: "name a readable file")
            }
            ccurl_add_header(handle, "Content-Type: application/vnd.sqlite3")
            // A refusal before the whole file is sent.
            ccurl_add_header(handle, "Expect: 100-continue")
        }
        ccurl_set_text(handle, CURLOPT_CUSTOMREQUEST, request.method)
    }
    deinit { ccurl_free(handle) }

    /// Starts the thread. `finished` is called on it, once.
    func start(idleLimit: Duration? = nil, finished: @escaping @Sendable (Outcome) -> Void) {
        onThread { finished(self.run(idleLimit: idleLimit)) }
    }

    func cancel() { ccurl_stop(handle) }

    private func run(idleLimit: Duration?) -> Outcome {
        let code = ccurl_run(handle, idleLimit?.wholeMilliseconds ?? 0)
        switch code {
        case CURLE_OK:
            return .answered(
                status: ccurl_number(handle, CURLINFO_RESPONSE_CODE),
                contentType: ccurl_text(handle, CURLINFO_CONTENT_TYPE).map { String(cString: $0) } ?? "")
        case CURLE_WRITE_ERROR: return .stoppedByReceiver
        case CURLE_ABORTED_BY_CALLBACK: return .cancelled
        case CURLE_OPERATION_TIMEDOUT: return .timedOut(explain(code))
        default: return .failed(explain(code))
        }
    }

    private func explain(_ code: CURLcode) -> ClientError {
        let reason = String(cString: ccurl_reason(handle, code))
        switch code {
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST:
            let number = Int32(truncatingIfNeeded: ccurl_number(handle, CURLINFO_OS_ERRNO))
            return peer.socket.map { .noSocket($0, error: number) } ?? .noHost(peer.base, reason: reason)
        case CURLE_OPERATION_TIMEDOUT:
            return ClientError(
                .noAnswer, problem: "\(peer.description) did not answer in time (\(reason))",
                remedy: peer.socket == nil
                    ? "check the network and the node; more time: --timeout SECONDS"
                    : "look at the daemon: journalctl -u bramble -n 20; more time: --timeout SECONDS")
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_PARTIAL_FILE:
            return ClientError(
                .noAnswer, problem: "\(peer.description) broke off in the middle of its answer (\(reason))",
                remedy: "if the daemon is starting or stopping, try again; else: journalctl -u bramble -n 20")
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR:
            return ClientError(
                .notTrusted, problem: "the certificate of \(peer.base) is not trusted (\(reason))",
                remedy: "name the certificate it should have: --ca FILE; on a network you trust: --insecure")
        case CURLE_SSL_CONNECT_ERROR:
            return ClientError(
                .notTrusted, problem: "no encrypted connection to \(peer.base) (\(reason))",
                remedy: "if the node speaks plain HTTP, say http:// instead of https://")
        default:
            return ClientError(
                .notUnderstood, problem: "\(peer.description) gave no answer that is HTTP (\(reason))",
                remedy: "check that this address is a node of Bramble")
        }
    }
}

extension ClientError {
    static func noSocket(_ path: String, error number: Int32) -> ClientError {
        switch number {
        case EACCES, EPERM:
            ClientError(
                .refused(status: 403), problem: "you may not use the daemon's socket \(path)",
                remedy: "try as root, with sudo; or with --api URL and a token")
        case ECONNREFUSED, EPROTOTYPE, ENOTSOCK:
            ClientError(
                .noAnswer, problem: "no daemon answers at \(path): nothing listens there",
                remedy: "start it: systemctl start bramble; what it said last: journalctl -u bramble -n 20")
        case ENOENT, ENOTDIR:
            ClientError(
                .noAnswer, problem: "no daemon answers at \(path): there is no such socket",
                remedy: "start it: systemctl start bramble; if its socket is elsewhere: --socket PATH")
        default:
            ClientError(
                .noAnswer, problem: "no daemon answers at \(path): \(String(cString: strerror(number)))",
                remedy: "start it: systemctl start bramble; if its socket is elsewhere: --socket PATH")
        }
    }

    static func noHost(_ base: String, reason: String) -> ClientError {
        ClientError(
            .noAnswer, problem: "no daemon answers at \(base) (\(reason))",
            remedy: "check the address and the port (8080 unless configured), and that the node is on")
    }
}

/// libcurl, loaded once for the process.
enum CurlLibrary {
    /// Both flavours that Debian has; the second comes with git and apt.
    static let names = ["libcurl.so.4", "libcurl-gnutls.so.4"]

    static func load(names: [String] = names) throws(ClientError) {
        let copies = names.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        let list = copies.map { UnsafePointer($0) } + [nil]
        guard let reason = list.withUnsafeBufferPointer({ ccurl_load($0.baseAddress!) }) else { return }
        throw ClientError(
            .libraryMissing,
            problem: "the command line needs libcurl, which cannot be loaded (\(String(cString: reason)))",
            remedy: "install it: apt-get install libcurl4")
    }
}

/// Runs work that blocks on a thread of its own.
private func onThread(_ work: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }
    let box = Unmanaged.passRetained(Box(work))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    var thread = pthread_t()
    let context = box.toOpaque()
    let code = pthread_create(
        &thread, &attributes,
        {
            Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().work(); return nil
        }, context)
    pthread_attr_destroy(&attributes)
    precondition(code == 0, "no thread for a request: \(String(cString: strerror(code)))")
}

extension Duration {
    /// At least one, because libcurl takes zero for "no limit".
    fileprivate var wholeMilliseconds: Int {
        Int(
            clamping: max(
                1,
                components.seconds.multipliedReportingOverflow(by: 1000).partialValue + components.attoseconds
                    / 1_000_000_000_000_000))
    }
}
