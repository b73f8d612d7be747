import BrambleAPI
import Lab
import Testing

@Suite(
    "files that follow their service", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct MirrorTests {
    private static let mirror = """
            mirrors: [files]
        mirrors:
          - name: files
            paths: [/var/files/, /etc/files.conf]
            every: on-change
        """

    private func mirrors(_ node: BrambleNode) -> [MirrorInfo] {
        (try? node.get("/v1/mirrors", as: [MirrorInfo].self)) ?? []
    }
    private func parked(_ node: BrambleNode) -> [ParkedFile] {
        (try? node.get("/v1/parked", as: [ParkedFile].self)) ?? []
    }

    @Test("the node that takes over has the files; the one that comes back receives first, and what it had is parked")
    func follows() throws {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            try node.host.require("mkdir", "-p", "/var/files")
            try node.host.write("settings", to: "/etc/files.conf")
        }
        try house.cluster.nodes[0].host.write("one", to: "/var/files/page")
        try house.cluster.nodes[1].host.write("one", to: "/var/files/page")
        try house.apply(ServiceCluster.document(Self.mirror))
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        try first.host.write("written by \(first.name)", to: "/var/files/page")
        #expect(
            eventually(within: .seconds(60)) { second.host.read("/var/files/page") == "written by \(first.name)" },
            "\(mirrors(first)) \(house.report)")
        #expect(
            eventually(within: .seconds(60)) {
                house.cluster.nodes.allSatisfy { node in
                    mirrors(node).first.map { $0.from == first.name && $0.state == .equal && $0.to == [second.name] }
                        ?? false
                }
            }, "each node shows it: \(house.cluster.nodes.map { mirrors($0) })")

        try house.cluster.lab.powerOff(first.host)
        #expect(
            eventually(within: .seconds(60)) {
                second.service("web").map { $0.state == .running && $0.node == second.name } ?? false
            },
            "\(house.report)")
        #expect(second.host.read("/var/files/page") == "written by \(first.name)")
        try second.host.write("and then by \(second.name)", to: "/var/files/page")
        // What it wrote last, and nobody got.
        try first.host.write("the last words of \(first.name)", to: "/var/files/own")
        try house.cluster.lab.plug(first.host)
        try first.restart()
        #expect(
            eventually(within: .seconds(90)) { first.host.read("/var/files/page") == "and then by \(second.name)" },
            "\(mirrors(second)) \(house.report)")
        #expect(
            eventually(within: .seconds(60)) {
                parked(second).contains { $0.path == "/var/files/own" && $0.node == first.name }
            }, "\(parked(first)) \(house.report)")
        let shown = try first.cli("mirror", "conflicts")
        #expect(shown.output.contains("/var/files/own"), "\(shown)")
        let checks = try second.get("/v1/doctor", as: [DoctorCheck].self).filter { $0.check == "mirrors" }
        #expect(checks.contains { $0.state == .warn && $0.text.contains("set aside") }, "\(checks)")
    }
}
