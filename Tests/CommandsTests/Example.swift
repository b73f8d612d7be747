import BrambleAPI

/// A small cluster to print. Its moments are near `now`, 2026-11-21T12:00:00Z.
enum Example {
    static let now = 1_795_262_400.0

    static let nodes = [
        node(
            "serv1", 1, .alive, phi: nil, since: "2026-11-18T09:30:00.000Z", isSelf: true, cpu: 0.071, temperature: 48.3
        ),
        node("serv2", 2, .suspect, phi: 5.62, since: "2026-11-21T11:59:58.500Z", cpu: 0.93, temperature: nil),
        node("a-node-with-a-long-name-in-the-cellar", 3, .down, phi: nil, since: "2026-11-21T09:53:00Z", cpu: nil),
        node("serv4", 4, .alive, phi: 0.213, since: "2026-11-21T11:20:00.000Z", cpu: 0, temperature: -4.5),
        node("serv5", 5, .left, phi: nil, since: "2026-11-20T08:00:00.000Z", cpu: nil),
    ]

    private static func node(
        _ name: String, _ number: Int, _ state: NodeState, phi: Double?, since: String, isSelf: Bool = false,
        cpu: Double?, temperature: Double? = nil
    ) -> NodeInfo {
        let address = number == 4 ? "fd00:1234:5678::4" : "192.168.1.1\(number)"
        return NodeInfo(
            name: name, id: "0\(number)23456789abcdef0123456789abcdef", address: address, port: 7771,
            addresses: [address], state: state, phi: phi, threshold: 8, incarnation: UInt64(number), since: since,
            isSelf: isSelf, version: "0.1.0",
            load: cpu.map {
                NodeLoad(cpu: $0, memory: 0.4, load1: 0.1, load5: 0.2, load15: 0.3, temperature: temperature)
            })
    }

    static let status = ClusterStatus(
        cluster: "home", node: "serv1", state: .member, nodes: .init(alive: 2, down: 1), guarantee: "best-effort",
        uptimeSeconds: 7512.5, id: "0123456789abcdef0123456789abcdef", code: "04hm-asw9-ng6y", version: "0.1.0",
        notes: [])

    static let statusJSON = #"""
        {"cluster":"home","node":"serv1","state":"member","nodes":{"alive":2,"down":1},"guarantee":"best-effort",
        "uptimeSeconds":7512.5,"id":"0123456789abcdef0123456789abcdef","code":"04hm-asw9-ng6y","version":"0.1.0","notes":[],
        "somethingOfANewerVersion":1}
        """#
}
