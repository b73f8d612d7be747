import BrambleAPI
import Lab
import Testing

@Suite("services that survive their machine", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct ServiceTests {
    /// For the log: what a client saw, never judged by a time.
    private func tell(_ title: String, _ samples: [AddressWatch.Sample], since moment: Double) {
        let address = samples.gap(around: moment) { !$0.hardware.isEmpty } ?? -1
        let service = samples.gap(around: moment) { !$0.nodes.isEmpty } ?? -1
        print("gap: \(title): address \(Int(address)) ms, service \(Int(service)) ms")
    }

    /// Nobody ever served beside another, and the address went from one to the next once.
    private func judge(_ samples: [AddressWatch.Sample], _ expected: [String], _ house: ServiceCluster) {
        #expect(samples.doubles.isEmpty, "\(samples.doubles)\n\(house.report)")
        #expect(samples.holders == expected, "\(samples.holders)\n\(house.report)")
        #expect(samples.owners.count == expected.count, "\(samples.owners)\n\(house.report)")
    }

    @Test("two nodes: the node that runs it loses power, and the other one answers at its address")
    func powerOff() throws {
        let house = try ServiceCluster("n1", "n2")
        try house.apply(ServiceCluster.document())
        let first = try #require(house.holder(), "\(house.report)")
        let second = house.other(than: first)
        try house.watchAddress()
        #expect(house.serves(first, since: 0), "\(house.report)")
        pause(.seconds(1))
        let moment = monotonicSeconds()
        try house.cluster.lab.powerOff(first.host)
        #expect(house.serves(second, since: moment), "\(house.report)")
        pause(.seconds(1))
        let samples = house.endWatch()
        judge(samples, [first.name, second.name], house)
        tell("two nodes, power off", samples, since: moment)
    }
}
