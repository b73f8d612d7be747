import Membership
import Primitives
import Testing

@Suite("a dead node is found, and nobody else")
struct DetectionTests {
    @Test(
        "nodes that know each other are alive to each other within a quarter of a second",
        arguments: [2, 3, 5, 16, 17, 40])
    func formation(count: Int) {
        var network = TinyNetwork(nodes: count)
        network.run(for: .milliseconds(250))
        #expect(network.agrees)
        network.run(for: .seconds(10))
        #expect(network.agrees)
        #expect(network.failures().isEmpty && network.suspicions().isEmpty, "\(network.log)")
    }

    @Test(
        "every other node knows of a death within half a second in the middle, and 0.7 s at most",
        arguments: [2, 3, 4, 5, 9, 16])
    func death(count: Int) {
        var times: [Double] = []
        for seed in 0..<20 {
            var network = TinyNetwork(nodes: count, seed: UInt64(seed))
            network.run(for: .milliseconds(3000 + 37 * seed))
            network.clearLog()
            let killed = network.elapsed
            network.kill(0)
            network.run(for: .seconds(2))
            let failures = network.failures()
            #expect(failures.count == count - 1 && network.failures(of: 0).count == count - 1, "\(network.log)")
            times += failures.map { ($0.at - killed).milliseconds }
        }
        times.sort()
        let (middle, worst) = (times[times.count / 2], times[times.count - 1])
        print("N=\(count): p50 \(middle) max \(worst)")
        #expect(middle <= 500 && worst <= 700, "p50 \(middle) ms, worst \(worst) ms")
    }

    @Test("stamps that come out wrong, as when the wall clock is set while datagrams wait, delay no verdict")
    func wrongStamps() {
        var network = TinyNetwork(nodes: 3)
        network.run(for: .seconds(2))
        network.stampError = [0: .milliseconds(1500)]
        network.run(for: .milliseconds(600))
        network.stampError = [:]
        network.kill(1)
        let time = network.run(atMost: .seconds(5)) { $0.sees(0, 1, .failed) && $0.sees(2, 1, .failed) }
        #expect(time != nil && time! < .seconds(1), "\(String(describing: time))")
    }
}
