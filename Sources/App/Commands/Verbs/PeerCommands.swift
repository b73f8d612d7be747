import BrambleAPI
import Primitives

/// `bramble peer …`: the cluster in GlusterFS's words, for hands and scripts that know them.
enum PeerCommands {
    private static let host = Argument(
        "HOST",
        Kind(placeholder: "HOST", allowed: "a host name or an IP address", completion: .nodes) { HostAndPort($0) },
        "Its host name or address")

    static let probe = Command(
        asking: "probe", "Look for a node at an address, and add it",
        details: "Where the rules of the cluster ask for an operator's approval, it waits for bramble node add.",
        section: .change, accepts: [host, Shared.json], examples: ["bramble peer probe 192.168.1.12"]
    ) { input, console, api in
        try await inTheirWords("peer probe", console) {
            let change = try await api.probe(input[required: host].description)
            if input[Shared.json] { return try console.printJSON(change) }
            console.print("peer probe: success")
            console.note(change.done)
        }
    }

    static let status = Command(
        asking: "status", "List the other nodes the way gluster peer status does", section: .change,
        accepts: [Shared.json]
    ) { input, console, api in
        let peers = try await api.nodes().filter { !$0.isSelf && $0.role == .node }
        if input[Shared.json] { return try console.printJSON(peers) }
        console.print("Number of Peers: \(peers.count)")
        for peer in peers {
            let isConnected = peer.state == .alive || peer.state == .suspect
            console.print("\nHostname: \(Text.oneLine(peer.name))")
            console.print("Uuid: \(uuid(peer.id))")
            console.print("State: Peer in Cluster (\(isConnected ? "Connected" : "Disconnected"))")
        }
    }

    static let detach = Command(
        asking: "detach", "Take a node out of the cluster for good; the same as bramble node remove", section: .change,
        accepts: [host, Shared.yes, Shared.json], examples: ["bramble peer detach serv3"]
    ) { input, console, api in
        try await inTheirWords("peer detach", console) {
            let wanted = input[required: host].host
            let node = try await api.nodes().first {
                $0.name == wanted.lowercased() || $0.address == wanted || $0.id == wanted
                    || $0.addresses.contains { HostAndPort($0)?.host == wanted }
            }
            guard let node else {
                throw CommandFailure(
                    problem: "\(wanted) is not part of cluster",
                    remedy: "see which nodes there are: bramble peer status")
            }
            try await NodeCommands.confirmRemoval(of: node.name, command: "peer detach", input, console, api)
            let change = try await api.remove(node.name)
            if input[Shared.json] { return try console.printJSON(change) }
            console.print("peer detach: success")
            console.note(change.done)
        }
    }

    /// A refusal begins as theirs do: `peer probe: failed: …`. Everything else is told as usual.
    private static func inTheirWords(_ command: String, _ console: Console, _ body: () async throws -> Void)
        async throws
    {
        let (problem, remedy): (String, String)
        do {
            return try await body()
        } catch let error as ClientError {
            guard case .refused = error.kind else { throw error }
            (problem, remedy) = (error.error.problem, error.error.remedy)
        } catch let error as CommandFailure {
            (problem, remedy) = (error.problem, error.remedy)
        }
        console.note("\(command): failed: \(problem)")
        console.note("remedy: \(remedy)")
        throw ExitRequest(code: 1)
    }

    /// 32 hexadecimal digits in the groups of a UUID.
    private static func uuid(_ id: String) -> String {
        guard NodeID(id) != nil else { return Text.oneLine(id) }
        let digits = Array(id)
        return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }.joined(separator: "-")
    }
}
