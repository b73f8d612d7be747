/// Why a node's answer could not be had. `error` is ready to be shown.
public struct ClientError: Error, Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        /// Nobody answers there, or nobody finished answering in time. The CLI ends with exit code 3.
        case noAnswer
        /// The node answered, with this HTTP status: it refuses, or it failed.
        case refused(status: Int)
        /// Something answered that is not a node of Bramble, or the answer is damaged or too large.
        case notUnderstood
        /// The other side cannot prove who it is: its certificate is not trusted.
        case notTrusted
        /// An address, a token or a file that cannot be right. The CLI ends with exit code 2.
        case wrongUse
        /// This machine lacks libcurl.
        case libraryMissing
        /// The task was cancelled.
        case cancelled
    }
    public var kind: Kind
    public var error: APIError

    public init(_ kind: Kind, problem: String, remedy: String) {
        self.init(kind, APIError(problem: problem, remedy: remedy))
    }
    public init(_ kind: Kind, _ error: APIError) {
        self.kind = kind
        self.error = error
    }
}
