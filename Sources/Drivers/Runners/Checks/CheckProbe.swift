import CLinux
import Glibc
package import Primitives
import Processes
package import Reactor
import Services

/// Asks once whether something answers: a TCP connection, or an HTTP request. On an event loop, within a deadline; how
/// often, and how many failures count, the services core knows.
package enum CheckProbe {
    /// A status line and headers that are longer are no answer.
    private static let longestHead = 16 * 1024

    /// Why it is not well.
    package struct Cause: Equatable, Sendable {
        package enum Kind: Sendable {
            /// The machine answered that nobody listens.
            case refused
            /// Nothing came in time.
            case silent
            case wrong
        }
        package var kind: Kind
        package var text: String
    }

    /// Nil when it answers, else the cause.
    package static func tcp(_ endpoint: Endpoint, within limit: Duration, on loop: EventLoop) async -> String? {
        await ask(endpoint, host: "", path: nil, within: limit, on: loop)?.text
    }

    /// Nil for a status from 200 to 399, else the cause. The body is not read.
    package static func http(
        _ endpoint: Endpoint, host: String, path: String, within limit: Duration, on loop: EventLoop
    ) async -> String? {
        await ask(endpoint, host: host, path: path, within: limit, on: loop)?.text
    }

    /// An HTTP request where there is a path, else a connection is enough.
    package static func ask(
        _ endpoint: Endpoint, host: String, path: String?, within limit: Duration, on loop: EventLoop
    ) async -> Cause? {
        guard let path else { return await Exchange(endpoint, request: nil, on: loop).run(within: limit) }
        let isClean = (host + path).utf8.allSatisfy { $0 > 32 && $0 < 127 }
        guard isClean, path.hasPrefix("/") else { return Cause(kind: .wrong, text: "“\(path)” is no path of a URL") }
        let request =
            "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nUser-Agent: bramble-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        return await Exchange(endpoint, request: Array(request.utf8), on: loop).run(within: limit)
    }

    /// The cause in an HTTP answer's first line; nil when it is good. For tests and fuzzing.
    package static func verdict(onHead head: [UInt8]) -> String? {
        let line = head.prefix { $0 != 13 && $0 != 10 }
        let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2).map { String(decoding: $0, as: UTF8.self) }
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].utf8.count == 3, let status = Int(words[1]),
            (100...599).contains(status)
        else { return "what answers is no web server" }
        if (200...399).contains(status) { return nil }
        let reason = words.count > 2 ? " \(words[2].filter { !$0.isNewline }.prefix(80))" : ""
        return "it answers \(status)\(reason)"
    }

    private final class Exchange: @unchecked Sendable {
        private let endpoint: Endpoint
        private let loop: EventLoop
        private var request: [UInt8]?
        // On the loop only.
        private var descriptor: Int32 = -1
        private var watch: EventLoop.Registration?
        private var timer: EventLoop.Registration?
        private var done: CheckedContinuation<Cause?, Never>?
        private var isConnected = false
        private var head: [UInt8] = []

        init(_ endpoint: Endpoint, request: [UInt8]?, on loop: EventLoop) {
            self.endpoint = endpoint
            self.request = request
            self.loop = loop
        }

        func run(within limit: Duration) async -> Cause? {
            await withCheckedContinuation { continuation in
                loop.perform { self.begin(continuation, limit) }
            }
        }

        private func begin(_ continuation: CheckedContinuation<Cause?, Never>, _ limit: Duration) {
            done = continuation
            var place = clinux_endpoint()
            let bytes = endpoint.address.bytes
            place.length = UInt8(bytes.count)
            place.port = endpoint.port
            withUnsafeMutableBytes(of: &place.address) { $0.copyBytes(from: bytes) }
            descriptor = clinux_begin_connection(&place)
            guard descriptor >= 0 else { return fail(errno) }
            timer = loop.schedule(after: limit) { [self] in
                let what =
                    isConnected
                    ? "it accepts connections at \(endpoint) but does not answer" : "\(endpoint) does not answer"
                finish("\(what) within \(limit.inSeconds)", .silent)
            }
            watch = loop.watch(descriptor, for: .writable) { [self] _ in isConnected ? read() : connected() }
        }

        private func connected() {
            let code = clinux_connection_error(descriptor)
            guard code == 0 else { return fail(code) }
            isConnected = true
            guard let request else { return finish(nil) }
            // A fresh connection takes some hundred bytes at once.
            guard clinux_send_stream(descriptor, request, request.count) == request.count else {
                return fail(errno)
            }
            if let watch { loop.rearm(watch, for: .readable) }
        }

        private func read() {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            guard count > 0 else {
                return finish(head.isEmpty ? "it hangs up without an answer" : CheckProbe.verdict(onHead: head))
            }
            head += buffer[..<count]
            if head.contains(UInt8(ascii: "\n")) { return finish(CheckProbe.verdict(onHead: head)) }
            if head.count > CheckProbe.longestHead { finish("what answers is no web server") }
        }

        private func finish(_ cause: String?, _ kind: Cause.Kind = .wrong) {
            guard let done else { return }
            self.done = nil
            watch.map(loop.cancel)
            timer.map(loop.cancel)
            if descriptor >= 0 { close(descriptor) }
            done.resume(returning: cause.map { Cause(kind: kind, text: $0) })
        }

        private func fail(_ code: Int32) {
            finish(Self.words(code, endpoint), code == ECONNREFUSED ? .refused : .wrong)
        }

        private static func words(_ code: Int32, _ endpoint: Endpoint) -> String {
            switch code {
            case ECONNREFUSED: "nothing listens at \(endpoint)"
            case ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL: "\(endpoint) cannot be reached from here"
            default: "\(endpoint): \(String(cString: strerror(code)))"
            }
        }
    }
}
