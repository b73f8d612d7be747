import Primitives
package import Processes

/// One machine's off switch, worked through a program of the package fence-agents: what it is to do comes as lines of
/// `key=value` on its standard input, and its exit code is the answer.
///
/// Source: FenceAgentAPI.md of ClusterLabs/fence-agents.
package struct FenceAgent: Sendable {
    private let program: EngineProgram
    /// As `key=value`, in order.
    private let parameters: [String]
    private let node: String

    /// - Parameters:
    ///   - agent: `fence_…`, or a whole path.
    ///   - node: who is switched off; agents take it as `nodename`.
    package init(_ agent: String, parameters: [(name: String, value: String)], node: String) {
        program = EngineProgram(
            agent, package: "fence-agents", purpose: "it would switch \(node) off before its services start elsewhere")
        self.parameters = parameters.map { "\($0.name)=\($0.value)" }
        self.node = node
    }

    /// Returns when the agent has confirmed that the machine is off: agents wait for that themselves.
    package func switchOff(on spawner: Spawner, within limit: Duration) async throws(EngineFailure) {
        _ = try await run("off", on: spawner, within: limit)
    }

    /// Whether the device answers; changes nothing.
    package func monitor(on spawner: Spawner, within limit: Duration) async throws(EngineFailure) {
        _ = try await run("monitor", on: spawner, within: limit)
    }

    /// Parameters that the agent does not know, by its own description; none where it has no description.
    package func unknownParameters(on spawner: Spawner, within limit: Duration) async throws(EngineFailure) -> [String]
    {
        let text = String(decoding: try await run("metadata", on: spawner, within: limit), as: UTF8.self)
        let known = Set(text.split(separator: "<parameter name=\"").dropFirst().map { $0.prefix { $0 != "\"" } })
        guard !known.isEmpty else { return [] }
        return parameters.map { $0.prefix { $0 != "=" } }.filter { !known.contains($0) }.map { String($0) }
    }

    private func run(
        _ action: String, on spawner: Spawner, within limit: Duration
    ) async throws(EngineFailure) -> [UInt8] {
        let lines = ["action=\(action)", "nodename=\(node)"] + (action == "metadata" ? [] : parameters)
        let input = Array((lines.joined(separator: "\n") + "\n").utf8)
        do throws(EngineFailure) {
            return try await program.run([], on: spawner, within: limit, captures: 1 << 18, input: input)
        } catch {
            guard program.path != nil else { throw error }
            throw EngineFailure(
                problem: "\(action) of \(node) by \(error.problem)",
                remedy: "try it by hand: \(program.name) --help says the option of each parameter")
        }
    }
}
