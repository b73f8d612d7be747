import CLinux
import Glibc
import Reactor

/// What `bramble doctor` finds out about the machine itself. Reads only; blocking, so on a worker's thread.
///
/// A check that does not apply here (no memory card, not a Pi) is left out rather than praised.
package struct DoctorProbes: Sendable {
    package struct Finding: Equatable, Sendable {
        package enum State: String, Sendable { case ok, warn, fail }
        /// One word by which scripts know it.
        package var check: String
        package var state: State
        package var text: String
        /// Empty when there is nothing to do.
        package var remedy: String

        init(_ check: String, _ state: State, _ text: String, _ remedy: String = "") {
            self.check = check
            self.state = state
            self.text = text
            self.remedy = remedy
        }
    }

    private let dataDirectory: String
    private let hostsFile: String?
    private let port: UInt16
    let root: String

    /// - Parameters:
    ///   - hostsFile: nil when it is switched off.
    ///   - port: of gossip (UDP) and streams (TCP).
    ///   - root: put before every path of /proc, /sys and /etc; tests give their own.
    package init(dataDirectory: String, hostsFile: String?, port: UInt16, root: String = "") {
        self.dataDirectory = dataDirectory
        self.hostsFile = hostsFile
        self.port = port
        self.root = root
    }

    package func run() -> [Finding] {
        [
            disk(), keyFile(), clock(now: SystemClock.wallNanoseconds / 1_000_000_000), memory(), ports(), hosts(),
            multicastDNS(), card(), power(), temperature(), openFiles(), addressRights(),
            gate(), virtualInterfaces(), entropy(),
        ].compactMap { $0 }
    }

    // MARK: Disk

    func disk() -> Finding? {
        var facts = statvfs()
        guard statvfs(dataDirectory, &facts) == 0 else {
            let error = SystemError()
            return Finding(
                "disk", .fail, "the data directory \(dataDirectory) cannot be read: \(error)",
                error.remedy ?? "check that it exists and belongs to the daemon's user: `ls -ld \(dataDirectory)`")
        }
        if facts.f_flag & UInt(ST_RDONLY) != 0 || (access(dataDirectory, W_OK) != 0 && errno == EROFS) {
            return Finding(
                "disk", .fail, "the file system of \(dataDirectory) is read-only: nothing can be kept",
                "look for errors of the disk or card with `dmesg`; then `mount -o remount,rw`, or replace it")
        }
        let free = Int(facts.f_bavail) * Int(facts.f_frsize)
        let percent = facts.f_blocks > 0 ? Int(facts.f_bavail) * 100 / Int(facts.f_blocks) : 100
        let text = "\(Self.mebibytes(free)) free where the data directory is (\(percent) %)"
        if free < 16 << 20 { return Finding("disk", .fail, text, "free some space: `df -h \(dataDirectory)`") }
        if facts.f_files > 0, facts.f_favail == 0 {
            return Finding("disk", .fail, "no file can be made any more: all inodes are used", "remove files: `df -i`")
        }
        let isLow = free < 200 << 20 || percent < 3
        return Finding("disk", isLow ? .warn : .ok, text, isLow ? "free some space: `df -h \(dataDirectory)`" : "")
    }

    func keyFile() -> Finding? {
        let path = ClusterKeyFile(in: dataDirectory).path
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        let mode = status.st_mode & 0o777
        guard mode & 0o077 != 0 else { return Finding("key", .ok, "only its owner can read cluster.key") }
        let digits = String(mode, radix: 8)
        return Finding(
            "key", .warn, "other users of this machine may read cluster.key (mode 0\(digits)): with it anybody joins",
            "chmod 600 \(path)")
    }

    /// Wear as the card itself reports it, in tenths of its life (JEDEC eMMC 5.0, EXT_CSD 268 and 269). SD cards mostly do not.
    func card() -> Finding? {
        var worst: (name: String, tenths: Int)?
        for number in 0..<4 {
            let name = "mmcblk\(number)"
            guard let text = text("/sys/block/\(name)/device/life_time") else { continue }
            let values = text.split(separator: " ").compactMap { Int($0.dropFirst(2), radix: 16) }
            if let most = values.max(), most > 0, most > worst?.tenths ?? 0 { worst = (name, most) }
        }
        guard let (name, tenths) = worst else { return nil }
        let text =
            tenths > 10
            ? "\(name) has used up its rated life"
            : "\(name) has used \((tenths - 1) * 10) to \(tenths * 10) % of its rated life"
        return Finding(
            "card", tenths >= 9 ? .warn : .ok, text, tenths >= 9 ? "make a backup and replace it soon" : "")
    }

    // MARK: Time

    func clock(now: Int64) -> Finding? {
        let year2024: Int64 = 1_704_067_200
        if now < year2024 {
            return Finding(
                "clock", .warn, "the clock is wrong: it shows a time before 2024",
                "install chrony, or set it: `date -s`. Nodes are judged by other clocks; only shown times are wrong")
        }
        var microseconds = 0
        switch clinux_clock_is_synchronized(&microseconds) {
        case 1: return Finding("clock", .ok, "the clock is kept by NTP, to within \(max(1, microseconds / 1000)) ms")
        case 0:
            return Finding(
                "clock", .warn, "nothing keeps the clock right", "install chrony, or enable systemd-timesyncd")
        default: return nil
        }
    }

    // MARK: Memory, temperature, power

    func memory() -> Finding? {
        guard let used = LoadSampler(root: root).sample().memory else { return nil }
        let percent = Int((used * 100).rounded())
        guard percent >= 90 else { return Finding("memory", .ok, "\(percent) % of memory in use") }
        return Finding(
            "memory", .warn, "\(percent) % of memory in use: soon the kernel ends processes",
            "see who uses it: `ps aux --sort=-rss | head`")
    }

    func temperature() -> Finding? {
        guard let degrees = LoadSampler(root: root).sample().temperature else { return nil }
        let text = "\(Int(degrees.rounded())) °C"
        return degrees >= 80
            ? Finding("temperature", .warn, "\(text): a Pi slows down from 80 °C", "give it air or a heat sink")
            : Finding("temperature", .ok, text)
    }

    /// The firmware's word on the supply: bit 0 undervoltage now, bit 16 since boot (Raspberry Pi documentation, get_throttled).
    func power() -> Finding? {
        var now: Bool?
        var before = false
        if let text = text("/sys/devices/platform/soc/soc:firmware/get_throttled"),
            let bits = UInt32(text.hasPrefix("0x") ? text.dropFirst(2) : text[...], radix: 16)
        {
            now = bits & 1 != 0
            before = bits >> 16 & 1 != 0
        }
        for number in 0..<8 where now == nil {
            let monitor = "/sys/class/hwmon/hwmon\(number)"
            guard text(monitor + "/name") == "rpi_volt" else { continue }
            now = text(monitor + "/in0_lcrit_alarm").map { $0 == "1" }
        }
        guard let now else { return nil }
        guard now || before else { return Finding("power", .ok, "the supply voltage is good") }
        return Finding(
            "power", .warn,
            now ? "the supply voltage is too low now" : "the supply voltage was too low since the last boot",
            "use the board's own power supply and a short, thick cable: undervoltage corrupts memory cards")
    }

    /// Source: the kernel's Documentation/admin-guide/hw_random.rst.
    func entropy() -> Finding? {
        let place = "/sys/class/misc/hw_random"
        guard let found = text(place + "/rng_available"), let current = text(place + "/rng_current") else { return nil }
        guard current == "none" else {
            return Finding("entropy", .ok, "the hardware random-number generator \(current) is in use")
        }
        return Finding(
            "entropy", .warn, "a hardware random-number generator (\(found)) was found and is not in use",
            "echo \(found.split(separator: " ")[0]) > \(place)/rng_current")
    }

    // MARK: Network and process

    func ports() -> Finding? {
        let missing = [("UDP", PortHolder.Transport.udp), ("TCP", .tcp)]
            .filter { !PortHolder.isTaken(port, $0.1, root: root) }.map(\.0)
        guard missing.isEmpty else {
            return Finding(
                "ports", .fail, "nothing listens on \(missing.joined(separator: " and ")) port \(port)",
                "restart the daemon and read what its log says about the port")
        }
        return Finding("ports", .ok, "UDP and TCP port \(port) are open here; a firewall must let both through")
    }

    func hosts() -> Finding? {
        guard let hostsFile else { return nil }
        guard access(hostsFile, R_OK | W_OK) == 0 || errno == ENOENT else {
            let error = SystemError()
            return Finding(
                "hosts", .warn, "names of nodes cannot be kept in \(hostsFile): \(error)",
                error.remedy ?? "run the daemon as root, or switch this off with --hosts-file none")
        }
        return Finding("hosts", .ok, "names of nodes are kept in \(hostsFile)")
    }

    func multicastDNS() -> Finding? {
        let lines = (text("/etc/avahi/avahi-daemon.conf", all: true) ?? "").split(separator: "\n")
        let isExclusive = lines.contains { line in
            line.filter { !$0.isWhitespace }.lowercased() == "disallow-other-stacks=yes"
        }
        guard isExclusive else { return nil }
        return Finding(
            "mdns", .warn, "avahi-daemon keeps multicast DNS to itself: nodes are found by --join only",
            "set disallow-other-stacks=no in /etc/avahi/avahi-daemon.conf and restart avahi-daemon")
    }

    func openFiles() -> Finding? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return limit.rlim_cur >= 4096
            ? Finding("files", .ok, "\(limit.rlim_cur) files may be open at once")
            : Finding(
                "files", .warn, "only \(limit.rlim_cur) files may be open at once: many clients will be refused",
                "LimitNOFILE=65536 in the systemd unit")
    }

    // MARK: Reading

    /// The first line, or all of it; nil when it is empty or cannot be read.
    private func text(_ path: String, all: Bool = false) -> String? {
        guard let bytes = try? AtomicFile.read(root + path, limit: 64 * 1024) else { return nil }
        let text = String(decoding: all ? bytes[...] : bytes.prefix { $0 != 10 && $0 != 0 }, as: UTF8.self)
        return text.isEmpty ? nil : text
    }
    private static func mebibytes(_ bytes: Int) -> String {
        let mebibytes = bytes >> 20
        return mebibytes >= 10 * 1024 ? "\(mebibytes / 1024) GiB" : "\(mebibytes) MiB"
    }
}
