import Primitives
import Wire

/// How busy a machine is. Rides on heartbeats, lives in memory only: every write to the database costs every node.
package struct LoadFacts: Equatable, Sendable {
    /// Shares of 0 to 1.
    package var cpu: Double
    package var memory: Double
    package var load1: Double
    package var load5: Double
    package var load15: Double
    /// Degrees Celsius, nil without a sensor.
    package var temperature: Double?

    package init(cpu: Double, memory: Double, load1: Double, load5: Double, load15: Double, temperature: Double?) {
        self.cpu = cpu
        self.memory = memory
        self.load1 = load1
        self.load5 = load5
        self.load15 = load15
        self.temperature = temperature
    }
}

extension LoadFacts {
    /// 9 bytes: shares in 1/255, loads in 1/100, temperature in whole degrees plus 100 (0 for none).
    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 9)
        for share in [cpu, memory] { writer.integer(UInt8(clamping: Int((share * 255).rounded()))) }
        for load in [load1, load5, load15] { writer.integer(UInt16(clamping: Int((load * 100).rounded()))) }
        writer.integer(temperature.map { UInt8(clamping: max(1, Int($0.rounded()) + 100)) } ?? 0)
        return writer.bytes
    }

    package init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard bytes.count == 9, let cpu = try? reader.integer(UInt8.self), let memory = try? reader.integer(UInt8.self),
            let load1 = try? reader.integer(UInt16.self), let load5 = try? reader.integer(UInt16.self),
            let load15 = try? reader.integer(UInt16.self), let degrees = try? reader.integer(UInt8.self)
        else { return nil }
        self.init(
            cpu: Double(cpu) / 255, memory: Double(memory) / 255, load1: Double(load1) / 100,
            load5: Double(load5) / 100, load15: Double(load15) / 100,
            temperature: degrees == 0 ? nil : Double(degrees) - 100)
    }
}
