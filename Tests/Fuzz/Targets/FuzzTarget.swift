/// One parser of bytes from outside, as a plain function: what any bytes do to it.
///
/// `make fuzz` runs each under libFuzzer with the address sanitizer; `make test` runs each over a few thousand seeded
/// mutations of its seeds. A crash is a failure, and so is a broken promise that `check` names.
package struct FuzzTarget: Sendable, CustomStringConvertible {
    package let name: String
    /// What good input looks like: a fuzzer starts from these.
    package let seeds: @Sendable () -> [[UInt8]]
    /// What is wrong, nil for nothing.
    package let check: @Sendable ([UInt8]) -> String?
    /// How often the quick test tries it: the slow ones less.
    package let quickRuns: Int

    package var description: String { name }

    init(
        _ name: String, quickRuns: Int = 3_000, seeds: @escaping @Sendable () -> [[UInt8]],
        check: @escaping @Sendable ([UInt8]) -> String?
    ) {
        self.name = name
        self.quickRuns = quickRuns
        self.seeds = seeds
        self.check = check
    }

    /// Every parser of network bytes, and of files that people carry from machine to machine.
    package static let all: [FuzzTarget] = [
        packet, handshake, sessions, frames, streamMessages, clockMessage, membership, loadFacts, facts, nodeCore,
        announcement, clusterKey, envelope, identifiers, text, eventStream, yaml, echoReply, neighbourFrame, netlink,
        json, agentMetadata, httpAnswer, outputLines, replication, recordBody, sql, snapshot, leases, leaseKeeper,
        desiredRows, applyDocuments, playbook, oldSetups,
        mirrorRequest, mirrorMessage, volumeMessage, glusterAnswer,
    ]
    package static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}
