import Primitives

/// What a run measured. Times in milliseconds, traffic as sent, with IP and UDP headers.
package struct Figures: Sendable {
    /// From each crash to each “failed” of another node.
    package var detections: [Double] = []
    package var falseVerdicts = 0
    package var suspicions = 0
    /// From the start until all views were the truth.
    package var formedMilliseconds: Double?
    /// From the end of all faults until all views were the truth.
    package var healMilliseconds: Double?
    package var packets = 0
    package var bytesPerSecondPerNode = 0.0
    package var busiestBytesPerSecond = 0.0
    package var overflowedPackets = 0
    package var foreignPackets = 0
    package var simulatedSeconds = 0.0

    /// Nil without a detection; nearest rank.
    package func detection(percentile: Double) -> Double? {
        guard !detections.isEmpty else { return nil }
        let sorted = detections.sorted()
        let rank = Int((percentile / 100 * Double(sorted.count)).rounded(.up))
        return sorted[min(max(rank, 1), sorted.count) - 1]
    }

    mutating func overall(
        machines: [SimulatedMachine], since start: [SimulatedMachine.Traffic], seconds: Double
    ) {
        guard seconds > 0, start.count == machines.count else { return }
        var bytes: [Int] = []
        for (machine, before) in zip(machines, start) where machine.boot > 0 {
            packets += machine.traffic.packetsSent - before.packetsSent
            bytes.append(machine.traffic.bytesSent - before.bytesSent)
        }
        guard !bytes.isEmpty else { return }
        bytesPerSecondPerNode = Double(bytes.reduce(0, +)) / Double(bytes.count) / seconds
        busiestBytesPerSecond = Double(bytes.max() ?? 0) / seconds
    }
}
