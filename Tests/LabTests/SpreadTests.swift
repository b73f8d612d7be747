import BrambleAPI
import Lab
import Testing

/// Two nodes that both have work and back each other up, sampled every 10 ms from a third host.
@Suite("services spread over two nodes", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct SpreadTests {
    private static let addresses = ["web": "10.77.0.50", "dns": "10.77.0.53"]
    private static let homes = ["web": "n1", "dns": "n2"]

    private static func program(of name: String) -> String { "/usr/local/bin/echo-\(name)" }
    private static var document: String {
        let services = addresses.sorted { $0.key < $1.key }.map { name, address in
            """
              - name: \(name)
                addresses: [\(address)/24]
                run: exec:[/usr/bin/python3, -S, \(program(of: name))]
                check: tcp:\(ServiceCluster.port)
                prefer: [\(homes[name]!)]
                startWithin: 5s

            """
        }
        return "reach: [10.77.0.9]\nservices:\n" + services.joined()
    }

    /// Every node says that each service runs there.
    private func runs(_ house: ServiceCluster, _ places: [String: String], on nodes: [BrambleNode]? = nil) -> Bool {
        eventually(within: .seconds(40), every: .milliseconds(50)) {
            (nodes ?? house.cluster.nodes).allSatisfy { node in
                let services = (try? node.services()) ?? []
                return places.allSatisfy { name, place in
                    services.contains { $0.name == name && $0.state == .running && $0.node == place }
                }
            }
        }
    }

    @Test(
        "each in turn loses its power: the other one runs everything; who comes back gets its own when it is moved home, and not before"
    )
    func eachInTurn() throws {
        let house = try ServiceCluster("n1", "n2")
        for node in house.cluster.nodes {
            for (name, address) in Self.addresses {
                try node.host.write(ServiceCluster.program(address), to: Self.program(of: name))
            }
        }
        try house.apply(Self.document)
        #expect(runs(house, Self.homes), "\(house.report)")
        var watches: [String: AddressWatch] = [:]
        for (name, address) in Self.addresses {
            watches[name] = try AddressWatch(address, port: ServiceCluster.port, from: house.client)
        }
        pause(.seconds(1))
        for victim in house.cluster.nodes {
            let other = house.other(than: victim)
            let all = Self.homes.mapValues { _ in other.name }
            try house.cluster.lab.powerOff(victim.host)
            #expect(runs(house, all, on: [other]), "\(house.report)")
            try house.cluster.lab.plug(victim.host)
            try victim.restart()
            #expect(house.cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(house.report)")
            // Both know, and nothing goes back by itself.
            #expect(runs(house, all), "\(house.report)")
            pause(.seconds(3))
            #expect(runs(house, all), "\(house.report)")
            let own = Self.homes.first { $0.value == victim.name }!.key
            // Refused while the one that was away still learns what it missed.
            let isMoved = try eventually(within: .seconds(30), every: .milliseconds(500)) {
                try other.cli(["service", "move", own, "--to", victim.name], within: .seconds(60)).succeeded
            }
            #expect(isMoved && runs(house, Self.homes), "\(house.report)")
        }
        pause(.seconds(1))
        for (name, watch) in watches {
            let samples = watch.stop()
            let home = Self.homes[name]!
            #expect(samples.doubles.isEmpty, "\(name): \(samples.doubles)\n\(house.report)")
            // Only its own node's death moved it: the other's came and went without it.
            #expect(
                samples.holders == [home, home == "n1" ? "n2" : "n1", home],
                "\(name): \(samples.holders)\n\(house.report)")
        }
    }
}
