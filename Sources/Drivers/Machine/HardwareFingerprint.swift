import Glibc

/// What tells one machine from another, as far as software can see it. A node's identity is bound to it: a copied data
/// directory that wakes up on other hardware must not pretend to be the first machine.
///
/// The rule (`reasonForOtherMachine`), strongest evidence first:
/// 0. The very directory (device, inode) in the same boot is no copy, whatever else changed.
/// 1. Both have a board serial number: different ones are different machines.
/// 2. One hardware address in common is the same machine: a second network card, or one less, changes nothing. For
///    made-up interfaces (containers, namespaces) the machine-id must agree as well, since container managers give the
///    same addresses out on every host.
/// 3. In a container or namespace, board and machine-id describe the host, which all of them share. So without a common
///    hardware address it is another one. (A container whose address is random keeps its identity until the host boots
///    anew, by rule 0; to keep it longer, give it a fixed address.)
/// 4. On hardware without a common address: an equal board serial means that the network card was replaced. Without a
///    serial it is another machine: a cloned disk keeps its machine-id, not its network card.
/// 5. Where no interface is there to compare (yet), serial or machine-id decide; with neither, it counts as the same.
package struct HardwareFingerprint: Codable, Equatable, Sendable {
    /// A Raspberry Pi's serial number, or the UUID of the board's firmware.
    package var serial: String?
    /// /etc/machine-id: made when the system was installed; part of a copied disk.
    package var machineID: String?
    /// Hardware addresses, sorted. Those of real interfaces if there are any, burnt-in ones preferred.
    package var hardwareAddresses: [String]
    /// No real interface was visible: a container or a network namespace.
    package var isVirtual: Bool
    /// Which directory in which boot: proof that it is not a copy.
    package var place: Place?

    package struct Place: Codable, Equatable, Sendable {
        package var boot: String
        package var device: UInt64
        package var inode: UInt64
    }

    package init(
        serial: String?, machineID: String?, hardwareAddresses: [String], isVirtual: Bool, place: Place? = nil
    ) {
        self.serial = serial
        self.machineID = machineID
        self.hardwareAddresses = hardwareAddresses
        self.isVirtual = isVirtual
        self.place = place
    }

    /// Why `current` is another machine than the one this was taken on; nil when it is the same.
    package func reasonForOtherMachine(than current: HardwareFingerprint) -> String? {
        if let place, place == current.place { return nil }
        if let serial, let other = current.serial, serial != other {
            return "the board's serial number is \(other), not \(serial)"
        }
        let sameInstallation = machineID == nil || current.machineID == nil || machineID == current.machineID
        guard !hardwareAddresses.isEmpty, !current.hardwareAddresses.isEmpty else {
            let sharesBoot = place != nil && place?.boot == current.place?.boot
            if serial != nil, serial == current.serial, !sharesBoot { return nil }
            if !sameInstallation { return "the machine-id is another one" }
            return sharesBoot ? "it is a copy of another directory on this host" : nil
        }
        let isShared = hardwareAddresses.contains { current.hardwareAddresses.contains($0) }
        let changed = "none of its network cards is \(hardwareAddresses.joined(separator: " or "))"
        if isVirtual || current.isVirtual {
            if isShared && sameInstallation { return nil }
            return isShared ? "the machine-id is another one" : changed
        }
        if isShared { return nil }
        return serial != nil && serial == current.serial ? nil : changed
    }

    /// What to store after the machine was found to be the same: today's facts, and yesterday's where today has none.
    package func updated(by current: HardwareFingerprint) -> HardwareFingerprint {
        var merged = current
        merged.serial = current.serial ?? serial
        merged.machineID = current.machineID ?? machineID
        if current.hardwareAddresses.isEmpty {
            merged.hardwareAddresses = hardwareAddresses
            merged.isVirtual = isVirtual
        }
        return merged
    }
}

extension HardwareFingerprint {
    /// Where the facts are read; tests give their own.
    package struct Source: Sendable {
        /// Put before every path.
        package var root = ""
        package init() {}
    }

    /// This machine's, with the place of the data directory. What cannot be read is left out.
    package static func current(dataDirectory: String, from source: Source = Source()) -> HardwareFingerprint {
        let links = (try? Netlink.snapshot().links) ?? []
        var fingerprint = make(links: links, source)
        var status = stat()
        if stat(dataDirectory, &status) == 0, let boot = text(source, "/proc/sys/kernel/random/boot_id") {
            fingerprint.place = Place(boot: boot, device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        }
        return fingerprint
    }

    static func make(links: [NetworkLink], _ source: Source) -> HardwareFingerprint {
        let ethernet = links.filter { $0.hardwareType == 1 && !$0.isLoopback }
        let real = ethernet.filter { $0.kind == nil }
        // Bridges and the like borrow or invent addresses; a veth is what a namespace has for a network card.
        let usable = real.isEmpty ? ethernet.filter { ["veth", "macvlan", "ipvlan"].contains($0.kind) } : real
        let addresses = usable.compactMap { link -> String? in
            let address = isMeaningful(link.permanentAddress) ? link.permanentAddress : link.address
            return isMeaningful(address) ? address.map(twoDigits).joined(separator: ":") : nil
        }
        return HardwareFingerprint(
            serial: serial(source), machineID: text(source, "/etc/machine-id").flatMap { $0.count == 32 ? $0 : nil },
            hardwareAddresses: Set(addresses).sorted(), isVirtual: real.isEmpty)
    }

    private static func serial(_ source: Source) -> String? {
        for path in ["/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number"] {
            if let serial = text(source, path), isMeaningful(serial: serial) { return "board:" + serial }
        }
        let line = read(source, "/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("Serial") }
        if let value = line?.split(separator: ":").last?.split(separator: " ").first.map(String.init),
            isMeaningful(serial: value)
        {
            return "board:" + value
        }
        if let uuid = text(source, "/sys/class/dmi/id/product_uuid"), isMeaningful(serial: uuid) {
            return "dmi:" + uuid.lowercased()
        }
        return nil
    }

    /// Boards whose maker left the number empty, and one that a firmware vendor ships in every board.
    private static func isMeaningful(serial: String) -> Bool {
        let digits = serial.filter(\.isHexDigit)
        return digits.count >= 8 && Set(digits).count > 2
            && !serial.lowercased().hasPrefix("03000200-0400-0500-0006-000700080009")
    }
    private static func isMeaningful(_ address: [UInt8]) -> Bool {
        address.count == 6 && address.contains { $0 != 0 } && address[0] & 1 == 0
    }
    private static func twoDigits(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    private static func text(_ source: Source, _ path: String) -> String? {
        let content = read(source, path).prefix { $0 != "\n" && $0 != "\0" }
        return content.isEmpty ? nil : String(content)
    }
    private static func read(_ source: Source, _ path: String) -> String {
        guard let bytes = try? AtomicFile.read(source.root + path, limit: 256 * 1024) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
}
