import Testing

@testable import Membership

// The figures are those Akka's AccrualFailureDetectorSpec publishes.
@Suite("φ is computed as Akka computes it")
struct AccrualDetectorTests {
    @Test(
        "φ of a silence, mean 1000 ms and deviation 100 ms",
        arguments: [(500.0, 0.1), (1000, 0.3), (1200, 1.6), (1400, 4.7), (1600, 10.8), (1700, 15.3)])
    func published(elapsed: Double, expected: Double) {
        #expect(abs(AccrualDetector.phi(elapsed: elapsed, mean: 1000, deviation: 100) - expected) <= 0.1)
    }

    @Test("far out on both sides φ stays a number")
    func extremes() {
        #expect(abs(AccrualDetector.phi(elapsed: 10, mean: 0, deviation: 1) - 38) <= 1)
        #expect(AccrualDetector.phi(elapsed: -25, mean: 0, deviation: 1) == 0)
        #expect(AccrualDetector.phi(elapsed: -1e9, mean: 0, deviation: 1) == 0)
        #expect(AccrualDetector.phi(elapsed: 1e9, mean: 0, deviation: 1).isFinite)
    }

    @Test(
        "φ gives back the normal distribution, mean 0 and deviation 10",
        arguments: [(0.0, 0.5), (6, 0.7257), (15, 0.9332), (20, 0.97725), (25, 0.99379), (35, 0.99977), (40, 0.99997)])
    func distribution(elapsed: Double, expected: Double) {
        let phi = AccrualDetector.phi(elapsed: elapsed, mean: 0, deviation: 10)
        var chance = 1.0
        // 10^−φ without a power function: φ is small here, a fine product does.
        for _ in 0..<10_000 { chance *= 1 - phi * 2.302_585_092_994 / 10_000 }
        #expect(abs(1 - chance - expected) < 0.001)
    }

    @Test("φ never falls as the silence grows")
    func monotone() {
        let phis = (0..<400).map { AccrualDetector.phi(elapsed: Double($0) / 10, mean: 0, deviation: 10) }
        #expect(zip(phis, phis.dropFirst()).allSatisfy { $0 < $1 })
    }

    @Test("mean and variance of the published intervals")
    func statistics() {
        var history = IntervalHistory(capacity: 20)
        for sample: Int32 in [100, 200, 125, 340, 130] { history.add(sample) }
        #expect(abs(history.mean - 179) < 0.00001 && abs(history.variance - 7584) < 0.00001)
    }

    @Test("a history of three forgets the oldest")
    func capped() {
        var history = IntervalHistory(capacity: 3)
        for sample: Int32 in [100, 110, 90] { history.add(sample) }
        #expect(history.mean == 100 && abs(history.variance - 66.6666667) < 0.00001)
        history.add(140)
        #expect(abs(history.mean - 113.333333) < 0.00001 && abs(history.variance - 422.222222) < 0.00001)
        history.add(80)
        #expect(abs(history.mean - 103.333333) < 0.00001 && abs(history.variance - 688.888889) < 0.00001)
    }

    @Test("a history that ran for years still has the exact mean and variance")
    func exact() {
        var history = IntervalHistory(capacity: 64)
        for round in 0..<1_000_000 { history.add(Int32(90_000 + round % 7 * 3_000)) }
        for _ in 0..<64 { history.add(100_000) }
        #expect(history.mean == 100_000 && history.variance == 0)
    }

    @Test("100 ms heartbeats reach φ 5 after 382 ms and φ 8 after 405 ms; at worst after 613 ms")
    func thresholds() {
        let thresholds = AccrualDetector.Thresholds(probe: 5, report: 8)
        var detector = AccrualDetector(interval: 100_000_000, thresholds: thresholds)
        for _ in 0..<200 { detector.heard(after: 100_000_000, gap: 1) }
        #expect(
            abs(Double(detector.probeAfter) / 1e6 - 382.4) < 1 && abs(Double(detector.reportAfter) / 1e6 - 404.5) < 1)
        #expect(abs(detector.phi(silence: detector.reportAfter) - 8) < 0.01)
        for round in 0..<200 { detector.heard(after: round.isMultiple(of: 2) ? 20_000_000 : 380_000_000, gap: 1) }
        #expect(abs(Double(detector.reportAfter) / 1e6 - 613.5) < 1)
    }

    @Test("lost heartbeats do not widen the deviation, an outage does not enter it")
    func lossAndOutage() {
        let thresholds = AccrualDetector.Thresholds(probe: 5, report: 8)
        var detector = AccrualDetector(interval: 100_000_000, thresholds: thresholds)
        for _ in 0..<200 { detector.heard(after: 100_000_000, gap: 1) }
        let before = detector
        detector.heard(after: 300_000_000, gap: 3)
        detector.heard(after: 30_000_000_000, gap: 1)
        detector.heard(after: -5, gap: 1)
        detector.heard(after: 100_000_000, gap: 0)
        #expect(detector.reportAfter == before.reportAfter)
    }

    @Test("another interval starts a new history")
    func interval() {
        let thresholds = AccrualDetector.Thresholds(probe: 5, report: 8)
        var detector = AccrualDetector(interval: 100_000_000, thresholds: thresholds)
        detector.expect(interval: 400_000_000)
        for _ in 0..<200 { detector.heard(after: 400_000_000, gap: 1) }
        #expect(abs(Double(detector.reportAfter) / 1e6 - 4 * 404.5) < 4)
    }
}
