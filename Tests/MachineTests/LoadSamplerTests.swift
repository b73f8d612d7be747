import Glibc
import TestSupport
import Testing

@testable import Machine

@Suite("load is read from the kernel's own files")
struct LoadSamplerTests {
    let temporary = TemporaryDirectory()

    private func writeAll(_ stat: String) throws {
        try temporary.write(stat, to: "proc/stat")
        try temporary.write(
            "MemTotal:        8000000 kB\nMemFree:         100 kB\nMemAvailable:    6000000 kB\n", to: "proc/meminfo")
        try temporary.write("0.52 1.05 12.00 2/345 6789\n", to: "proc/loadavg")
        try temporary.write("gpu\n", to: "sys/class/thermal/thermal_zone0/type")
        try temporary.write("71000\n", to: "sys/class/thermal/thermal_zone0/temp")
        try temporary.write("cpu-thermal\n", to: "sys/class/thermal/thermal_zone1/type")
        try temporary.write("48312\n", to: "sys/class/thermal/thermal_zone1/temp")
    }
    private func overwrite(_ name: String, _ text: String) throws {
        // In place, as the kernel's files are: the sampler keeps them open.
        try Shell.run("printf -- '\(text)' > \(temporary.file(name))")
    }

    @Test("shares, averages and the processor's temperature come out as written")
    func sample() throws {
        try writeAll("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n")
        let sampler = LoadSampler(root: temporary.path)
        let first = sampler.sample()
        #expect(first.cpu == nil, "one look is no share")
        #expect(first.memory == 0.25)
        #expect(first.load1 == 0.52 && first.load5 == 1.05 && first.load15 == 12)
        #expect(first.temperature == 48.312)
        try overwrite("proc/stat", "cpu  130 0 130 720 120 0 0 0 80 0\\n")
        #expect(sampler.sample().cpu == 0.6)
        #expect(sampler.sample().cpu == nil, "no time has passed")
        // The kernel's counters may run backwards a little.
        try overwrite("proc/stat", "cpu  120 0 130 800 120 0 0 0 80 0\\n")
        #expect(sampler.sample().cpu == 0)
    }

    @Test("what is missing or odd is nil, and a sensor that fails now is read again later")
    func missing() throws {
        #expect(LoadSampler(root: temporary.file("nowhere")).sample() == LoadSampler.Sample())
        try writeAll("intr 5\n")
        try temporary.write("MemTotal: 0 kB\nMemAvailable: 5 kB\n", to: "proc/meminfo")
        try temporary.write("x\n", to: "proc/loadavg")
        try temporary.write("-273000\n", to: "sys/class/thermal/thermal_zone1/temp")
        let sampler = LoadSampler(root: temporary.path)
        let sample = sampler.sample()
        #expect(sample == LoadSampler.Sample(temperature: 71))
        try overwrite("sys/class/thermal/thermal_zone1/temp", "-5500\\n")
        #expect(sampler.sample().temperature == -5.5)
    }

    @Test("a hwmon sensor is taken where there is no thermal zone")
    func hwmon() throws {
        try temporary.write("coretemp\n", to: "sys/class/hwmon/hwmon2/name")
        try temporary.write("55000\n", to: "sys/class/hwmon/hwmon2/temp1_input")
        #expect(LoadSampler(root: temporary.path).sample().temperature == 55)
    }

    @Test("this machine's figures are plausible")
    func real() {
        let sampler = LoadSampler()
        _ = sampler.sample()
        var spin = 0
        let end = time(nil) + 1
        while time(nil) < end { spin &+= 1 }
        let sample = sampler.sample()
        #expect(sample.cpu.map { (0.01...1).contains($0) } == true, "\(sample), after \(spin) turns")
        #expect(sample.memory.map { (0.001...1).contains($0) } == true)
        #expect(sample.load1.map { $0 >= 0 } == true && sample.load15 != nil)
    }
}
