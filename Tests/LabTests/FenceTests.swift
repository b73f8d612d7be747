import BrambleAPI
import Lab
import Testing

/// Two nodes that have each other switched off before they take over, through whole daemons.
@Suite("fences", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct FenceTests {
    private static let program = "/usr/local/bin/fence_lab"
    /// Waits until somebody says that the machine is off; fails while a file says so.
    private static let agent = """
        #!/bin/sh
        while read line; do case $line in action=*) action=${line#action=} ;; esac; done
        case $action in
        metadata) echo '<resource-agent><parameters><parameter name="action"/><parameter name="ip"/></parameters></resource-agent>' ;;
        monitor) [ ! -e /run/fence-broken ] ;;
        off)
            [ ! -e /run/fence-broken ] || { echo 'Failed: no route to the socket' >&2; exit 1; }
            touch /run/fence-asked
            for try in $(seq 400); do
                [ ! -e /run/fence-done ] || exit 0
                sleep 0.05
            done
            exit 1 ;;
        *) exit 1 ;;
        esac

        """
    private static func fences(_ agent: String, _ parameters: String) -> String {
        """
        fences:
          - {node: n1, agent: \(agent), parameters: \(parameters)}
          - {node: n2, agent: \(agent), parameters: \(parameters)}

        """
    }

    private func begin(
        agent: String = program, _ parameters: String = "{ip: 10.77.0.9}"
    ) throws -> (ServiceCluster, first: BrambleNode, second: BrambleNode) {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            try node.host.write(Self.agent, to: Self.program)
            try node.host.require("chmod", "755", Self.program)
        }
        try house.apply(ServiceCluster.document(reach: false) + "\n" + Self.fences(agent, parameters))
        let first = try #require(house.holder(), "\(house.report)")
        let isFence = eventually(within: .seconds(10)) {
            house.cluster.nodes.allSatisfy { (try? $0.status())?.guarantee == "fence" }
        }
        #expect(isFence, "\(house.report)")
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        return (house, first, house.other(than: first))
    }

    @Test("nothing is taken over before the agent confirms that the other node is off, however long that takes")
    func confirmed() throws {
        let (house, first, second) = try begin()
        let checks = try second.get("/v1/doctor", as: [DoctorCheck].self)
        #expect(checks.contains { $0.check == "fence" && $0.state == .ok && $0.text.contains(first.name) }, "\(checks)")
        let moment = monotonicSeconds()
        try house.cluster.lab.partition([first.host], from: [second.host])
        let isAsked = eventually(within: .seconds(10)) { second.host.exists("/run/fence-asked") }
        #expect(isAsked, "\(house.report)")
        // The one that runs it goes on until it is off; it wants nothing that the other has, and lets it live.
        pause(.seconds(2))
        #expect(house.serves(first, since: moment + 1.5), "\(house.report)")
        #expect(!first.host.exists("/run/fence-asked"))
        let why = try second.why("web")
        #expect(why.because.contains { $0.text.contains("confirmed to be off") }, "\(why)")
        try house.cluster.lab.powerOff(first.host)
        let off = monotonicSeconds()
        pause(.seconds(1))
        #expect(!house.samples.contains { $0.at > off + 0.5 && !$0.nodes.isEmpty }, "\(house.report)")
        try second.host.write("", to: "/run/fence-done")
        #expect(house.serves(second, since: off), "\(house.report)")
        pause(.seconds(1))
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty, "\(samples.doubles)\n\(house.report)")
        #expect(samples.holders == [first.name, second.name], "\(samples.holders)")
        #expect(second.event("fenced", first.name) != nil, "\(house.report)")
        #expect(second.service("web")?.guarantee == .fence)
    }

    @Test("an agent that fails is told once and asked again, and until it has worked nothing is taken over")
    func failing() throws {
        let (house, first, second) = try begin()
        try second.host.write("", to: "/run/fence-broken")
        let checks = try second.get("/v1/doctor", as: [DoctorCheck].self)
        #expect(checks.contains { $0.check == "fence" && $0.state == .fail }, "\(checks)")
        try house.cluster.lab.powerOff(first.host)
        let off = monotonicSeconds()
        let isTold = eventually(within: .seconds(10)) { second.event("fence-failed", first.name) != nil }
        #expect(isTold, "\(house.report)")
        pause(.seconds(6))
        #expect(!house.samples.contains { $0.at > off + 0.5 && !$0.nodes.isEmpty }, "\(house.report)")
        let told = try second.events().filter { $0.type == "fence-failed" }
        #expect(told.count == 1 && told[0].text.contains("no route to the socket"), "\(told)")
        try second.host.write("", to: "/run/fence-done")
        try second.host.require("rm", "/run/fence-broken")
        #expect(house.serves(second, since: off), "\(house.report)")
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty && samples.holders == [first.name, second.name], "\(samples.holders)")
    }

    @Test("a real agent of the package fence-agents is worked the same way")
    func real() throws {
        let (house, first, second) = try begin(agent: "fence_dummy", "{type: file, status_file: /run/power}")
        for node in house.cluster.nodes { try node.host.write("on", to: "/run/power") }
        let moment = monotonicSeconds()
        first.kill()
        #expect(house.serves(second, since: moment), "\(house.report)")
        #expect(second.host.read("/run/power")?.contains("off") == true)
        pause(.seconds(1))
        let samples = house.endWatch()
        #expect(samples.doubles.isEmpty && samples.holders == [first.name, second.name], "\(samples.holders)")
        print("gap: fence_dummy, daemon killed: \(Int(samples.gap(around: moment) { !$0.nodes.isEmpty } ?? -1)) ms")
    }
}
