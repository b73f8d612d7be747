import Glibc
import Reactor

/// How busy the machine is, read from /proc and /sys. Cheap: the files stay open, one buffer is reused.
///
/// What cannot be read is nil; a container without /sys still has load averages. Not thread-safe: it belongs to whoever samples.
package final class LoadSampler {
    package struct Sample: Equatable, Sendable {
        /// Share of all cores in use since the sample before, 0 to 1; nil at the first.
        package var cpu: Double?
        /// Share of memory that programs cannot get any more, 0 to 1.
        package var memory: Double?
        package var load1: Double?
        package var load5: Double?
        package var load15: Double?
        /// Degrees Celsius: the processor's sensor, else the hottest one.
        package var temperature: Double?
    }

    private let stat: ProcFile
    private let memory: ProcFile
    private let averages: ProcFile
    private let sensors: [(file: ProcFile, isProcessor: Bool)]
    private var last: (busy: UInt64, total: UInt64)?

    /// - Parameter root: put before every path; tests give their own.
    package init(root: String = "") {
        stat = ProcFile(root + "/proc/stat")
        memory = ProcFile(root + "/proc/meminfo")
        averages = ProcFile(root + "/proc/loadavg")
        sensors = Self.findSensors(root)
    }

    package func sample() -> Sample {
        var result = Sample()
        result.cpu = stat.read { cpuShare($0) } ?? nil
        result.memory = memory.read { Self.memoryShare($0) } ?? nil
        averages.read { text in
            var text = Scanner(text)
            result.load1 = text.decimal()
            result.load5 = text.decimal()
            result.load15 = text.decimal()
        }
        result.temperature = temperature()
        return result
    }

    /// From the line "cpu  user nice system idle iowait irq softirq steal guest guest_nice". Guest time is part of user time.
    private func cpuShare(_ text: UnsafeRawBufferPointer) -> Double? {
        var text = Scanner(text)
        guard text.skip("cpu ") else { return nil }
        var fields: (busy: UInt64, idle: UInt64) = (0, 0)
        var count = 0
        while count < 8, let value = text.integer() {
            if count == 3 || count == 4 { fields.idle &+= value } else { fields.busy &+= value }
            count += 1
        }
        guard count >= 4 else { return nil }
        let now = (busy: fields.busy, total: fields.busy &+ fields.idle)
        defer { last = now }
        // The kernel's iowait may run backwards a little; a share is never outside 0 to 1.
        guard let last, now.total > last.total else { return nil }
        let busy = now.busy > last.busy ? now.busy - last.busy : 0
        return min(1, Double(busy) / Double(now.total - last.total))
    }

    private static func memoryShare(_ text: UnsafeRawBufferPointer) -> Double? {
        var text = Scanner(text)
        var total: UInt64?
        var available: UInt64?
        while total == nil || available == nil {
            if text.skip("MemTotal:") {
                total = text.integer()
            } else if text.skip("MemAvailable:") {
                available = text.integer()
            }
            guard text.nextLine() else { break }
        }
        guard let total, let available, total > 0, available <= total else { return nil }
        return 1 - Double(available) / Double(total)
    }

    private func temperature() -> Double? {
        var processor: Double?
        var hottest: Double?
        for (file, isProcessor) in sensors {
            // Thousandths of a degree. A sensor that is switched off reads nonsense far outside this range.
            guard let value = file.read({ Self.signed($0) }) ?? nil, (-50_000...200_000).contains(value) else {
                continue
            }
            let degrees = Double(value) / 1000
            if isProcessor, processor == nil { processor = degrees }
            hottest = max(hottest ?? degrees, degrees)
        }
        return processor ?? hottest
    }
    private static func signed(_ text: UnsafeRawBufferPointer) -> Int64? {
        var text = Scanner(text)
        let isNegative = text.skip("-")
        return text.integer().flatMap { Int64(exactly: $0) }.map { isNegative ? -$0 : $0 }
    }

    /// At most 16, thermal zones first: on a Pi zone 0 is the processor (`cpu-thermal`).
    private static func findSensors(_ root: String) -> [(file: ProcFile, isProcessor: Bool)] {
        var result: [(ProcFile, Bool)] = []
        for number in 0..<16 {
            let zone = "\(root)/sys/class/thermal/thermal_zone\(number)"
            guard access(zone + "/temp", R_OK) == 0 else { continue }
            let kind = ProcFile(zone + "/type").read { String(decoding: $0, as: UTF8.self) } ?? ""
            result.append((ProcFile(zone + "/temp"), kind.contains("cpu") || kind.contains("x86_pkg")))
        }
        for number in 0..<8 where result.count < 16 {
            let monitor = "\(root)/sys/class/hwmon/hwmon\(number)"
            guard access(monitor + "/temp1_input", R_OK) == 0 else { continue }
            let name = ProcFile(monitor + "/name").read { String(decoding: $0, as: UTF8.self) } ?? ""
            result.append((ProcFile(monitor + "/temp1_input"), name.contains("cpu") || name.contains("coretemp")))
        }
        return result
    }
}

/// A file of /proc or /sys that is read again and again: opened once, read from its start each time.
final class ProcFile {
    private let path: String
    private var file: Int32 = -1
    /// Enough for the lines we need of the longest of them.
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)

    init(_ path: String) { self.path = path }
    deinit {
        if file >= 0 { close(file) }
        buffer.deallocate()
    }

    /// The first 4 KiB; nil when they cannot be read.
    @discardableResult
    func read<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value? {
        if file < 0 { file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard file >= 0 else { return nil }
        let count = pread(file, buffer.baseAddress, buffer.count, 0)
        guard count >= 0 else {
            // The device is gone; a new one may come under the same name.
            close(file)
            file = -1
            return nil
        }
        return body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
}

/// Reads numbers from bytes, without making strings.
private struct Scanner {
    private let bytes: UnsafeRawBufferPointer
    private var place = 0
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func skip(_ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard bytes.count - place >= count, memcmp(bytes.baseAddress! + place, word.utf8Start, count) == 0 else {
            return false
        }
        place += count
        return true
    }
    mutating func nextLine() -> Bool {
        while place < bytes.count, bytes[place] != 10 { place += 1 }
        place += 1
        return place < bytes.count
    }
    mutating func integer() -> UInt64? {
        skipBlanks()
        let start = place
        var value: UInt64 = 0
        while place < bytes.count, (48...57).contains(bytes[place]) {
            value = value &* 10 &+ UInt64(bytes[place] - 48)
            place += 1
        }
        return (1...19).contains(place - start) ? value : nil
    }
    mutating func decimal() -> Double? {
        guard let whole = integer() else { return nil }
        guard place < bytes.count, bytes[place] == UInt8(ascii: ".") else { return Double(whole) }
        place += 1
        let start = place
        guard let fraction = integer() else { return nil }
        return Double(whole) + Double(fraction) / pow(10, Double(place - start))
    }
    private mutating func skipBlanks() {
        while place < bytes.count, bytes[place] == 32 || bytes[place] == 9 { place += 1 }
    }
}
