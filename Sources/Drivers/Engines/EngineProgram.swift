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
