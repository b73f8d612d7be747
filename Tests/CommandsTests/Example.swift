import BrambleAPI

/// A small cluster to print.
enum Example {
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
