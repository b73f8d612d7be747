import Glibc
import TestSupport
import Testing

@testable import Machine

@Suite("a copied data directory is told from one that stayed where it was")
struct HardwareFingerprintTests {
    private let pi = HardwareFingerprint(
        serial: "board:10000000a1b2c3d4", machineID: "m1",
        hardwareAddresses: ["dc:a6:32:00:00:01", "dc:a6:32:00:00:02"],
        isVirtual: false, place: .init(boot: "b1", device: 1, inode: 10))
    private func changed(_ from: HardwareFingerprint, _ change: (inout HardwareFingerprint) -> Void)
        -> HardwareFingerprint
    {
        var copy = from
        change(&copy)
        return copy
    }

    @Test("nothing changed, or only the boot: the same machine")
    func same() {
        #expect(pi.reasonForOtherMachine(than: pi) == nil)
        #expect(pi.reasonForOtherMachine(than: changed(pi) { $0.place?.boot = "b2" }) == nil)
    }

    @Test("an SD card copied to another Pi: serial and addresses differ, machine-id is the same")
    func copiedCard() {
        let other = changed(pi) {
            $0.serial = "board:10000000ffffffff"
            $0.hardwareAddresses = ["dc:a6:32:00:00:09"]
            $0.place?.boot = "b2"
        }
        #expect(pi.reasonForOtherMachine(than: other)?.contains("serial number") == true)
        // Even with the first one's network card plugged in.
        #expect(pi.reasonForOtherMachine(than: changed(other) { $0.hardwareAddresses = pi.hardwareAddresses }) != nil)
    }

    @Test("a network card replaced, added or missing is the same machine where the board has a serial number")
    func replacedCard() {
        let booted = changed(pi) { $0.place?.boot = "b2" }
        #expect(pi.reasonForOtherMachine(than: changed(booted) { $0.hardwareAddresses = ["00:11:22:33:44:55"] }) == nil)
        #expect(pi.reasonForOtherMachine(than: changed(booted) { $0.hardwareAddresses.removeFirst() }) == nil)
        #expect(pi.reasonForOtherMachine(than: changed(booted) { $0.hardwareAddresses = [] }) == nil)
        let unplugged = pi.updated(by: changed(pi) { $0.hardwareAddresses = [] })
        #expect(unplugged.hardwareAddresses == pi.hardwareAddresses)
    }

    @Test("a cloned disk of a machine without a serial number: only the network card tells")
    func clonedDisk() {
        let pc = changed(pi) { $0.serial = nil }
        let clone = changed(pc) {
            $0.hardwareAddresses = ["00:11:22:33:44:55"]
            $0.place?.boot = "b2"
        }
        #expect(pc.reasonForOtherMachine(than: clone) != nil)
        #expect(pc.reasonForOtherMachine(than: changed(clone) { $0.hardwareAddresses = pc.hardwareAddresses }) == nil)
    }

    @Test("a card swapped while it runs is the same machine, serial number or not")
    func hotSwap() {
        let pc = changed(pi) { $0.serial = nil }
        #expect(pc.reasonForOtherMachine(than: changed(pc) { $0.hardwareAddresses = ["00:11:22:33:44:55"] }) == nil)
    }

    @Test("a reinstalled system on the same hardware is the same machine")
    func reinstalled() {
        let booted = changed(pi) { $0.place?.boot = "b2" }
        #expect(pi.reasonForOtherMachine(than: changed(booted) { $0.machineID = "m2" }) == nil)
        #expect(pi.reasonForOtherMachine(than: changed(booted) { $0.machineID = nil }) == nil)
    }

    @Test("a copy in another namespace of one host is another machine; a restart in the same one is not")
    func namespaces() {
        let first = changed(pi) {
            $0.isVirtual = true
            $0.hardwareAddresses = ["02:00:00:00:00:01"]
        }
        let copy = changed(first) {
            $0.hardwareAddresses = ["02:00:00:00:00:02"]
            $0.place?.inode = 11
        }
        #expect(first.reasonForOtherMachine(than: copy) != nil)
        #expect(first.reasonForOtherMachine(than: first) == nil)
        #expect(first.reasonForOtherMachine(than: changed(first) { $0.place = nil }) == nil)
        // The namespace was made anew, with another random address, around the same directory.
        #expect(
            first.reasonForOtherMachine(than: changed(first) { $0.hardwareAddresses = copy.hardwareAddresses }) == nil)
        // The same after a reboot cannot be told from a copy, so it counts as one.
        let rebooted = changed(copy) { $0.place = .init(boot: "b2", device: 1, inode: 10) }
        #expect(first.reasonForOtherMachine(than: rebooted) != nil)
        // No interface there yet.
        #expect(first.reasonForOtherMachine(than: changed(copy) { $0.hardwareAddresses = [] }) != nil)
        #expect(first.reasonForOtherMachine(than: changed(first) { $0.hardwareAddresses = [] }) == nil)
    }

    @Test("container managers give equal addresses out on every host: then the machine-id decides")
    func containers() {
        let first = HardwareFingerprint(
            serial: nil, machineID: "m1", hardwareAddresses: ["02:42:ac:11:00:02"], isVirtual: true)
        #expect(first.reasonForOtherMachine(than: first) == nil)
        #expect(first.reasonForOtherMachine(than: changed(first) { $0.machineID = "m2" }) != nil)
    }

    @Test("with nothing to compare it is the same machine")
    func nothing() {
        let bare = HardwareFingerprint(serial: nil, machineID: nil, hardwareAddresses: [], isVirtual: true)
        #expect(bare.reasonForOtherMachine(than: bare) == nil)
        #expect(bare.reasonForOtherMachine(than: pi) == nil)
        #expect(
            changed(bare) { $0.machineID = "m1" }.reasonForOtherMachine(than: changed(bare) { $0.machineID = "m2" })
                != nil)
    }

    // MARK: Reading

    @Test("the facts are read from where a Pi has them")
    func reading() throws {
        let temporary = TemporaryDirectory()
        try temporary.write("10000000a1b2c3d4\0", to: "proc/device-tree/serial-number")
        try temporary.write("0123456789abcdef0123456789abcdef\n", to: "etc/machine-id")
        var source = HardwareFingerprint.Source()
        source.root = temporary.path
        var wired = NetworkLink(index: 2, name: "eth0", hardwareType: 1, flags: 0)
        wired.address = [0xDC, 0xA6, 0x32, 0, 0, 9]
        var wireless = NetworkLink(index: 3, name: "wlan0", hardwareType: 1, flags: 0)
        wireless.address = [2, 0, 0, 0, 0, 1]
        wireless.permanentAddress = [0xDC, 0xA6, 0x32, 0, 0, 1]
        var bridge = NetworkLink(index: 4, name: "docker0", kind: "bridge", hardwareType: 1, flags: 0)
        bridge.address = [2, 0x42, 0, 0, 0, 1]
        let found = HardwareFingerprint.make(links: [wired, wireless, bridge], source)
        let expected = HardwareFingerprint(
            serial: "board:10000000a1b2c3d4", machineID: "0123456789abcdef0123456789abcdef",
            hardwareAddresses: ["dc:a6:32:00:00:01", "dc:a6:32:00:00:09"], isVirtual: false)
        #expect(found == expected)
    }

    @Test("a serial number is found in /proc/cpuinfo, and one that means nothing is not taken")
    func serials() throws {
        let temporary = TemporaryDirectory()
        var source = HardwareFingerprint.Source()
        source.root = temporary.path
        #expect(HardwareFingerprint.make(links: [], source).serial == nil)
        try temporary.write("03000200-0400-0500-0006-000700080009\n", to: "sys/class/dmi/id/product_uuid")
        #expect(HardwareFingerprint.make(links: [], source).serial == nil)
        try temporary.write("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", to: "sys/class/dmi/id/product_uuid")
        #expect(HardwareFingerprint.make(links: [], source).serial == nil)
        try temporary.write("4C4C4544-0042-3510-8052-B4C04F4A3132\n", to: "sys/class/dmi/id/product_uuid")
        #expect(HardwareFingerprint.make(links: [], source).serial == "dmi:4c4c4544-0042-3510-8052-b4c04f4a3132")
        try temporary.write("model name\t: ARM\nSerial\t\t: 00000000a1b2c3d4\n", to: "proc/cpuinfo")
        #expect(HardwareFingerprint.make(links: [], source).serial == "board:00000000a1b2c3d4")
    }

    @Test("two namespaces of one host have different fingerprints, and each keeps its own", .enabled(if: isRoot))
    func realNamespaces() throws {
        let temporary = TemporaryDirectory()
        let (one, two) = (try OwnNamespace(network: true), try OwnNamespace(network: true))
        try one.shell("ip link add eth0 type veth peer name eth0 netns \(two.threadID)")
        let (path, copy) = (temporary.file("one"), temporary.file("two"))
        func state(_ namespace: OwnNamespace, _ path: String) throws -> DataDirectory.IdentityState {
            try namespace.run {
                let directory = try DataDirectory(opening: path)
                let hardware = HardwareFingerprint.current(dataDirectory: path)
                let state = try directory.identity(on: hardware)
                if state == .none {
                    try directory.store(StoredIdentity(privateKey: [1, 2, 3], birth: 7, hardware: hardware))
                }
                return state
            }
        }
        #expect(try state(one, path) == .none)
        guard case .kept(let identity) = try state(one, path) else {
            Issue.record("a restart in the same namespace lost the identity")
            return
        }
        #expect(identity.privateKey == [1, 2, 3] && identity.birth == 7 && identity.hardware.isVirtual)
        _ = try Shell.run("cp -a \(path) \(copy)")
        guard case .fromOtherMachine = try state(two, copy) else {
            Issue.record("a copy in another namespace kept the identity")
            return
        }
        // And the first one goes on as itself, also when its interface is made anew.
        try one.shell("ip link del eth0 && ip link add eth0 type veth peer name other")
        guard case .kept = try state(one, path) else {
            Issue.record("a new interface in the same namespace lost the identity")
            return
        }
    }

    @Test("a damaged identity is set aside, not silently replaced")
    func damaged() throws {
        let temporary = TemporaryDirectory()
        let directory = try DataDirectory(opening: temporary.file("data"))
        let hardware = HardwareFingerprint.current(dataDirectory: directory.path)
        try directory.store(StoredIdentity(privateKey: [9], birth: 1, hardware: hardware))
        try directory.write(Array("{}".utf8), to: .identityKey)
        #expect(try directory.identity(on: hardware) == .none)
        #expect(names(in: directory.path).contains("identity.key.corrupt-1"))
    }

    @Test("a key does not print itself")
    func secret() {
        let identity = StoredIdentity(privateKey: [171, 205], birth: 1, hardware: pi)
        #expect(!"\(identity)".contains("171"))
    }
}
