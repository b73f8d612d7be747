import Glibc
package import Primitives

/// Who is at the other end of a connection.
package enum Peer: Hashable, Sendable, CustomStringConvertible {
    /// A process on this machine, let in by the mode of the socket's file.
    case local
    case address(IPAddress)

    package var description: String {
        switch self {
        case .local: "this machine"
        case .address(let address): address.description
        }
    }
}

/// What a client sent before the body.
package struct RequestHead: Sendable {
    package var method: String
    /// Percent signs are decoded; the query is not part of it.
    package var path: String
    package var query: [(name: String, value: String)] = []
    /// Names in lower case.
    package var headers: [(name: String, value: String)] = []
    package var peer: Peer
    package var isEncrypted = false

    /// The first value of a header; `name` in lower case.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// HEAD asks for what GET asks for; libmicrohttpd leaves the body out.
    package var effectiveMethod: String { method == "HEAD" ? "GET" : method }
}

package struct Request: Sendable {
    package var head: RequestHead
    package var body: [UInt8] = []
    /// A file that was sent instead; whoever takes it moves or deletes it.
    package var upload: String?
}

/// A file to be sent. Closed when the last holder lets go.
package final class OpenFile: Sendable {
    package let descriptor: Int32
    package let bytes: Int64
    package init(descriptor: Int32, bytes: Int64) {
        self.descriptor = descriptor
        self.bytes = bytes
    }
    deinit { close(descriptor) }
}

package struct Response: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        /// Lives as long as the program: sent from where it is.
        case constant(StaticString)
        case file(OpenFile)
        /// Server-sent events. `produce` runs until the client leaves, is cancelled then, and ends the stream by returning.
        case stream(ByteStream, produce: @Sendable (ByteStream) async -> Void)
    }
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: Body

    package init(status: Int, headers: [(name: String, value: String)] = [], body: Body = .bytes([])) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}
