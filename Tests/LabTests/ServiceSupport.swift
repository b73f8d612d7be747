import BrambleAPI
import Lab

/// A cluster with one small service behind a floating address, and a third host that asks for it all the time.
@LabThread
final class ServiceCluster {
    static let address = "10.77.0.50"
    static let port: UInt16 = 7000
    let cluster: Cluster
    let client: Host
    private var watch: AddressWatch?
    private(set) var witness: BrambleNode?

    /// Sends back what it gets, a space, and the node's name; the same over TCP for checks. It ends when it is told to.
    static func program(_ address: String) -> String {
        """
        import socket, sys, threading
        name = socket.gethostname()
        family = socket.AF_INET6 if ":" in "\(address)" else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind(("\(address)", \(ServiceCluster.port)))
        tcp = socket.socket(family)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("\(address)", \(ServiceCluster.port)))
        tcp.listen(16)
        def accept():
            while True:
                tcp.accept()[0].close()
        threading.Thread(target=accept, daemon=True).start()
        while True:
            data, peer = udp.recvfrom(2048)
            udp.sendto(data + b" " + name.encode(), peer)

        """
    }
    static let programPath = "/usr/local/bin/echo-service"

    /// In `version6Network`, like ::1 and ::2 of the nodes and ::9 of the client.
    static let address6 = "fd77::50"

    static func document(
        _ more: String = "", reach: Bool = true, run: String? = nil, addresses: String = "\(ServiceCluster.address)/24"
    ) -> String {
        """
        \(reach ? "reach: [10.77.0.9]" : "")
        services:
          - name: web
            addresses: [\(addresses)]
            run: exec:[\(run ?? "/usr/bin/python3, -S, \(programPath)")]
            check: tcp:\(port)
            startWithin: 5s
            restarts: 1
        \(more)
        """
    }

    /// Daemons on the named hosts; the client is one host more, without a daemon, and the one that the reach list names.
    init(_ names: String..., address: String = ServiceCluster.address, options: [String] = []) throws {
        cluster = try Cluster(names: names, others: ["client"], options: options)
        client = cluster.lab["client"]
        try client.require("ip", "address", "add", "10.77.0.9/24", "dev", "eth0")
        for node in cluster.nodes { try node.host.write(Self.program(address), to: Self.programPath) }
        guard address.contains(":") else { return }
        for (number, host) in (cluster.nodes.map(\.host) + [client]).enumerated() {
            let own = host === client ? 9 : number + 1
            try host.require("ip", "address", "add", "fd77::\(own)/64", "dev", "eth0", "nodad")
        }
    }

    /// A third machine that votes, from when both nodes count its vote.
    func addWitness(_ name: String = "w1") throws -> BrambleNode {
        let witness = BrambleNode(BrambleNode.builtHere, on: try cluster.lab.add([name])[0])
        try witness.takeKey(of: cluster.nodes[0])
        try witness.start(command: "witness")
        self.witness = witness
        guard votes(within: .seconds(40)) else { throw LabError("\(name) does not vote\n\(witness.log)\n\(report)") }
        return witness
    }
    func votes(within limit: Duration) -> Bool {
        eventually(within: limit, every: .milliseconds(50)) {
            cluster.nodes.allSatisfy { node in
                guard let status = try? node.status() else { return false }
                return status.witness?.votes == true && status.witness?.state == .alive && status.guarantee == "witness"
            }
        }
    }

    func apply(_ document: String) throws { try cluster.nodes[0].apply(document) }

    /// The node that runs the service, once every node says the same.
    func holder(within limit: Duration = .seconds(40), among nodes: [BrambleNode]? = nil) -> BrambleNode? {
        let asked = nodes ?? cluster.nodes
        return eventually(within: limit, every: .milliseconds(50)) {
            let views = asked.map { $0.service("web") }
            guard let first = views.first ?? nil, first.state == .running, let name = first.node,
                views.allSatisfy({ $0?.state == .running && $0?.node == name })
            else { return nil }
            return cluster.nodes.first { $0.name == name }
        }
    }
    func other(than node: BrambleNode) -> BrambleNode { cluster.others(than: node)[0] }

    func watchAddress(_ address: String = ServiceCluster.address) throws {
        watch = try AddressWatch(address, port: Self.port, from: client)
    }
    var samples: [AddressWatch.Sample] { watch?.samples ?? [] }
    func endWatch() -> [AddressWatch.Sample] { watch?.stop() ?? [] }

    /// The service of this node answers the client, for the first time since a moment.
    func serves(_ node: BrambleNode, since moment: Double, within limit: Duration = .seconds(40)) -> Bool {
        eventually(within: limit) { samples.contains { $0.at > moment && $0.nodes == [node.name] } }
    }

    var report: String {
        let services = cluster.nodes.map { node in "\(node.name): \(node.service("web").map { "\($0)" } ?? "-")" }
        let lines = witness?.log.split(separator: "\n").suffix(20).joined(separator: "\n    ") ?? "-"
        return services.joined(separator: "\n") + "\n" + cluster.logs + "\n  log of the witness:\n    \(lines)"
    }
}
