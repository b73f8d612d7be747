import Glibc
import Primitives
package import Processes

/// Why an engine did not do what it was asked.
package struct EngineFailure: OperatorError, Equatable {
    package let problem: String
    package let remedy: String
    package init(problem: String, remedy: String) {
        self.problem = problem
        self.remedy = remedy
    }
}

/// A program of an engine that people already trust, as Debian brings it: run with a time limit, its last words kept.
package struct EngineProgram: Sendable {
    package let name: String
    /// Debian's package, for the message when it is missing.
    package let package: String
    package let purpose: String

    package init(_ name: String, package: String, purpose: String) {
        self.name = name
        self.package = package
        self.purpose = purpose
    }

    private static let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]

    /// `name` itself where that is a whole path.
    package var path: String? {
        let places = name.hasPrefix("/") ? [name] : Self.folders.map { "\($0)/\(name)" }
        return places.first { access($0, X_OK) == 0 }
    }

    package var missing: EngineFailure {
        EngineFailure(problem: "\(name) is not installed; \(purpose)", remedy: "apt install \(package)")
    }

    /// What it wrote to standard output, up to `captures` bytes. It is an error when it does not end with `expected`.
    package func run(
        _ arguments: [String], on spawner: Spawner, within limit: Duration = .seconds(10), captures: Int = 1 << 20,
        expected: Set<Int32> = [0], input: [UInt8] = []
    ) async throws(EngineFailure) -> [UInt8] {
        guard let path else { throw missing }
        let command = Command(path, arguments, environment: ["PATH": Command.searchPath, "LC_ALL": "C.UTF-8"])
        let end = await spawner.run(command, deadline: limit, grace: .zero, captures: captures, input: input)
        if let code = end.code, expected.contains(code) { return end.content }
        let words = end.errors.first ?? end.lastWords ?? "it says nothing"
        throw EngineFailure(
            problem: "\(([name] + arguments.prefix(1)).joined(separator: " ")): \(end.cause): \(words)",
            remedy: "try it by hand to see more: \(command.line)")
    }
}

/// The programs that engines are made of.
extension EngineProgram {
    package static let nginx = EngineProgram("nginx", package: "nginx-light", purpose: "HTTP balancers are made of it")
    package static let sockets = EngineProgram(
        "ss", package: "iproute2", purpose: "with it requests that wait for a dead node go to another one at once")
    package static let nft = EngineProgram(
        "nft", package: "nftables",
        purpose: "TCP and UDP balancers are rules of the kernel's, and with it backends of HTTP come and go unnoticed")
    package static let conntrack = EngineProgram(
        "conntrack", package: "conntrack", purpose: "with it the connections of a dead backend move at once")
    package static let chronyc = EngineProgram("chronyc", package: "chrony", purpose: "clocks are kept by it")
    package static let rsync = EngineProgram("rsync", package: "rsync", purpose: "mirrors are copied by it")

    /// The version of the Debian package that it is from; nil where it is from elsewhere, or not there.
    package func version(on spawner: Spawner) async -> String? {
        let dpkg = EngineProgram("dpkg-query", package: "dpkg", purpose: "it knows the packages")
        func ask(_ arguments: [String]) async -> String? {
            guard let bytes = try? await dpkg.run(arguments, on: spawner, captures: 4096) else { return nil }
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map(String.init)
        }
        // “nginx: /usr/sbin/nginx”
        guard let path, let owner = await ask(["-S", path])?.split(separator: ":").first else { return nil }
        return await ask(["-W", "-f", "${Version}", String(owner)])
    }
}
