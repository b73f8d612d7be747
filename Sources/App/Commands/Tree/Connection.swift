import BrambleAPI
import Primitives

/// The options that say which daemon to ask, and how long to wait for it.
enum Connection {
    static let socket = Option(
        "socket", .socket, "The daemon's socket; else $BRAMBLE_SOCKET, else \(BrambleClient.defaultSocket)")
    static let api = Option(
        "api", .text("URL", allowed: "an address like http://serv1:8080"),
        "Ask a node on another machine, like http://serv1:8080")
    static let token = Option(
        "token", .text("TOKEN"), "The token for --api; better in $BRAMBLE_TOKEN, where other users cannot see it")
    static let authority = Option(
        "ca", .file,
        "With an https address: believe who is certified by this PEM file, such as a node's own certificate")
    static let insecure = Flag("insecure", "With an https address: believe any certificate")
    static let timeout = Option(
        "timeout", .integer("SECONDS", in: 1...3600), "Give up after so long; 10 for a question, 60 for a change")

    static let parameters: [ParameterSpec] = [
        socket.spec, api.spec, token.spec, authority.spec, insecure.spec, timeout.spec,
    ]

    static func client(_ input: Input, environment: [String: String]) throws -> BrambleClient {
        var client: BrambleClient
        if let url = input[api] {
            guard input[socket] == nil else {
                throw UsageError(
                    problem: "--socket and --api name two different daemons", remedy: "give only one of them")
            }
            guard !(input[insecure] && input[authority] != nil) else {
                throw UsageError(problem: "--insecure makes --ca useless", remedy: "give only one of them")
            }
            let trust = input[insecure] ? BrambleClient.Trust.anybody : input[authority].map { .file($0) } ?? .system
            let fromEnvironment = environment["BRAMBLE_TOKEN"].flatMap { $0.isEmpty ? nil : $0 }
            client = try BrambleClient(api: url, token: input[token] ?? fromEnvironment, trust: trust)
        } else {
            for name in [token.spec.name, authority.spec.name, insecure.spec.name] where input.values[name] != nil {
                throw UsageError(
                    problem: "--\(name) is of no use without --api",
                    remedy: "name the node: --api http://HOST:8080; the local socket needs nothing")
            }
            client = BrambleClient(socket: try socketPath(input, environment))
        }
        if let seconds = input[timeout] {
            client.timeout = .seconds(seconds)
            client.changeTimeout = .seconds(seconds)
        }
        return client
    }

    private static func socketPath(_ input: Input, _ environment: [String: String]) throws -> String {
        if let path = input[socket] { return path }
        guard let path = environment["BRAMBLE_SOCKET"], !path.isEmpty else { return BrambleClient.defaultSocket }
        guard socket.spec.accepts(path) else {
            throw UsageError(
                problem: "$BRAMBLE_SOCKET is “\(path)”; allowed is \(socket.spec.allowed)",
                remedy: "set it right, or give --socket PATH")
        }
        return path
    }
}
