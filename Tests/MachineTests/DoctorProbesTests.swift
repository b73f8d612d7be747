import CLinux
import Glibc
import Primitives
import TestSupport
import Testing

@testable import Machine

@Suite("doctor finds what is wrong with a machine, and says what to do")
struct DoctorProbesTests {
    let temporary = TemporaryDirectory()
    private func probes(port: UInt16 = 7771, hosts: String? = nil) -> DoctorProbes {
        DoctorProbes(
            dataDirectory: temporary.file("data"), hostsFile: hosts ?? temporary.file("hosts"), port: port,
            root: temporary.path)
    }
    private func state(_ finding: DoctorProbes.Finding?) -> DoctorProbes.Finding.State? { finding?.state }

    @Test("every finding that is not fine has a remedy, on this machine and on an empty one")
    func remedies() throws {
        mkdir(temporary.file("data"), 0o700)
        let here = DoctorProbes(dataDirectory: temporary.file("data"), hostsFile: "/etc/hosts", port: 1).run()
        for finding in here + probes().run() {
            #expect(!finding.text.isEmpty && !finding.check.isEmpty)
            #expect(finding.state == .ok || !finding.remedy.isEmpty, "\(finding)")
        }
        #expect(Set(here.map(\.check)).isSuperset(of: ["disk", "memory", "ports", "hosts", "files"]))
    }

    @Test("a disk that is full, read-only or gone is told", .enabled(if: isRoot))
    func disk() throws {
        #expect(state(probes().disk()) == .fail)
        let (path, probes) = (temporary.file("data"), probes())
        mkdir(path, 0o700)
        let namespace = try OwnNamespace()
        let found = try namespace.run {
            var found: [DoctorProbes.Finding?] = []
            guard mount("tmpfs", path, "tmpfs", 0, "size=300m") == 0 else { throw KernelRefusal() }
            found.append(probes.disk())
            guard mount(nil, path, nil, UInt(MS_REMOUNT), "size=100m") == 0 else { throw KernelRefusal() }
            found.append(probes.disk())
            guard mount(nil, path, nil, UInt(MS_REMOUNT), "size=1m") == 0 else { throw KernelRefusal() }
            found.append(probes.disk())
            guard mount(nil, path, nil, UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 else { throw KernelRefusal() }
            found.append(probes.disk())
            return found
        }
        #expect(found.map { $0?.state } == [.ok, .warn, .fail, .fail])
        #expect(found.last??.text.contains("read-only") == true)
    }

    @Test("a cluster key that others can read is told with its mode")
    func key() throws {
        #expect(probes().keyFile() == nil)
        try temporary.write("key\n", to: "data/cluster.key", mode: 0o640)
        #expect(probes().keyFile()?.text.contains("(mode 0640)") == true)
        chmod(temporary.file("data/cluster.key"), 0o600)
        #expect(state(probes().keyFile()) == .ok)
    }

    @Test("a clock before 2024 is told; else what the kernel says of NTP")
    func clock() {
        #expect(probes().clock(now: 0)?.text == "the clock is wrong: it shows a time before 2024")
        #expect(probes().clock(now: 1_800_000_000)?.text.contains("before 2024") != true)
    }

    @Test("a hardware random-number generator that nobody uses is told; none is no finding")
    func entropy() throws {
        let place = "sys/class/misc/hw_random"
        #expect(probes().entropy() == nil)
        try temporary.write("\n", to: "\(place)/rng_available")
        try temporary.write("none\n", to: "\(place)/rng_current")
        #expect(probes().entropy() == nil)
        try temporary.write("bcm2835 tpm-rng-0\n", to: "\(place)/rng_available")
        #expect(state(probes().entropy()) == .warn)
        #expect(probes().entropy()?.remedy.hasPrefix("echo bcm2835 > ") == true)
        try temporary.write("bcm2835\n", to: "\(place)/rng_current")
        #expect(probes().entropy()?.text.contains("bcm2835 is in use") == true)
    }

    @Test("memory and temperature are told when they are near their end")
    func memory() throws {
        #expect(probes().memory() == nil && probes().temperature() == nil)
        try temporary.write("MemTotal: 1000 kB\nMemAvailable: 500 kB\n", to: "proc/meminfo")
        #expect(state(probes().memory()) == .ok)
        try temporary.write("MemTotal: 1000 kB\nMemAvailable: 50 kB\n", to: "proc/meminfo")
        #expect(probes().memory()?.text.hasPrefix("95 % of memory") == true)
        try temporary.write("81200\n", to: "sys/class/thermal/thermal_zone0/temp")
        #expect(state(probes().temperature()) == .warn)
    }

    @Test("the wear of a card is told in tenths of its life")
    func card() throws {
        #expect(probes().card() == nil)
        try temporary.write("0x01 0x02\n", to: "sys/block/mmcblk0/device/life_time")
        #expect(probes().card() == .init("card", .ok, "mmcblk0 has used 10 to 20 % of its rated life"))
        try temporary.write("0x02 0x0b\n", to: "sys/block/mmcblk1/device/life_time")
        #expect(probes().card()?.text == "mmcblk1 has used up its rated life")
        #expect(state(probes().card()) == .warn)
    }

    @Test("undervoltage is told, now and since the last boot, by the firmware or by the kernel's sensor")
    func power() throws {
        #expect(probes().power() == nil)
        try temporary.write("rpi_volt\n", to: "sys/class/hwmon/hwmon1/name")
        try temporary.write("1\n", to: "sys/class/hwmon/hwmon1/in0_lcrit_alarm")
        #expect(probes().power()?.text == "the supply voltage is too low now")
        let firmware = "sys/devices/platform/soc/soc:firmware/get_throttled"
        try temporary.write("0\n", to: firmware)
        #expect(state(probes().power()) == .ok)
        try temporary.write("50000\n", to: firmware)
        #expect(probes().power()?.text == "the supply voltage was too low since the last boot")
        try temporary.write("0x50005\n", to: firmware)
        #expect(probes().power()?.text == "the supply voltage is too low now")
    }

    @Test(
        "an avahi-daemon that allows no other is told, a commented line is not",
        arguments: [
            ("disallow-other-stacks=yes", true), (" disallow-other-stacks = yes ", true),
            ("#disallow-other-stacks=yes", false),
            ("disallow-other-stacks=no", false), ("", false),
        ])
    func multicastDNS(line: String, isTold: Bool) throws {
        try temporary.write("[server]\n\(line)\n", to: "etc/avahi/avahi-daemon.conf")
        #expect((probes().multicastDNS() != nil) == isTold)
    }

    @Test("a port in use is told with the process that has it")
    func portHolder() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw -> UInt16 in
                guard bind(descriptor, raw, length) == 0, listen(descriptor, 1) == 0,
                    getsockname(descriptor, raw, &length) == 0
                else { return 0 }
                return UInt16(bigEndian: pointer.pointee.sin_port)
            }
        }
        #expect(port > 0 && PortHolder.isTaken(port, .tcp))
        #expect(PortHolder.of(port, .tcp)?.process == getpid())
        #expect(PortHolder.of(port, .tcp)?.name.isEmpty == false)
        let here = DoctorProbes(dataDirectory: "/", hostsFile: nil, port: port)
        if !PortHolder.isTaken(port, .udp) { #expect(here.ports()?.text == "nothing listens on UDP port \(port)") }
        #expect(PortHolder.of(0, .udp) == nil)
    }

    @Test("a hosts file that cannot be written is told", .enabled(if: isRoot))
    func hosts() throws {
        #expect(state(probes().hosts()) == .ok, "one that is not there will be made")
        #expect(DoctorProbes(dataDirectory: "/", hostsFile: nil, port: 1).hosts() == nil)
        let (path, probes) = (temporary.path, probes())
        try temporary.write("x\n", to: "hosts")
        let namespace = try OwnNamespace()
        let found = try namespace.run {
            guard mount(path, path, nil, UInt(MS_BIND), nil) == 0,
                mount(nil, path, nil, UInt(MS_REMOUNT | MS_BIND | MS_RDONLY), nil) == 0
            else { throw KernelRefusal() }
            return probes.hosts()
        }
        #expect(found?.state == .warn && found?.remedy.contains("read-only") == true)
    }
}
