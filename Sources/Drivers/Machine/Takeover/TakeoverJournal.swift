import Glibc
import Logging

/// What this process has changed of the machine's network settings, on a file, so that the next start can undo it when
/// this one was killed. Addresses and links are not in it: those carry a mark themselves.
///
/// All of it is gone after a reboot, so the file belongs to one boot, and to a place like /run: nothing waits for a disk.
struct TakeoverJournal {
    enum Entry: Hashable {
        /// A setting of IPv4 on an interface, by its IPV4_DEVCONF_… number: what it was, and what we made it.
        case setting(interface: String, number: Int, before: UInt32, after: UInt32)
        /// The hardware address of an interface that takes over another.
        case hardware(interface: String, before: HardwareAddress)
        /// An interface that was down.
        case wasDown(interface: String)
    }
    private let path: String
    private(set) var entries: [Entry] = []

    init(at path: String) { self.path = path }

    /// What a run of this boot has left; nothing when it ended well. Lines that make no sense are left out.
    static func leftovers(at path: String) -> [Entry] {
        guard let bytes = try? AtomicFile.read(path, limit: 256 * 1024) else { return [] }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard lines.first.map(String.init) == "boot\t\(bootID)" else { return [] }
        return lines.dropFirst().compactMap(entry)
    }

    /// To be called before the change it speaks of. The first word about a thing is the one that counts.
    mutating func note(_ entry: Entry) throws(SystemError) {
        guard !entries.contains(where: { Self.subject($0) == Self.subject(entry) }) else { return }
        entries.append(entry)
        try save()
    }
    mutating func clear() {
        entries = []
        unlink(path)
    }

    private func save() throws(SystemError) {
        let text = (["boot\t\(Self.bootID)"] + entries.map(Self.line)).joined(separator: "\n") + "\n"
        try AtomicFile.write(Array(text.utf8), to: path, mode: 0o600)
    }

    private static func subject(_ entry: Entry) -> String {
        switch entry {
        case .setting(let interface, let number, _, _): "\(number) \(interface)"
        case .hardware(let interface, _): "hardware \(interface)"
        case .wasDown(let interface): "down \(interface)"
        }
    }
    private static func line(_ entry: Entry) -> String {
        switch entry {
        case .setting(let interface, let number, let before, let after):
            "setting\t\(interface)\t\(number)\t\(before)\t\(after)"
        case .hardware(let interface, let before): "hardware\t\(interface)\t\(before)"
        case .wasDown(let interface): "down\t\(interface)"
        }
    }
    static func entry(_ line: Substring) -> Entry? {
        let fields = line.split(separator: "\t", omittingEmptySubsequences: false).map { String($0) }
        switch (fields.first, fields.count) {
        case ("setting", 5):
            guard let number = Int(fields[2]), (1...255).contains(number), let before = UInt32(fields[3]),
                let after = UInt32(fields[4])
            else { return nil }
            return .setting(interface: fields[1], number: number, before: before, after: after)
        case ("hardware", 3): return HardwareAddress(fields[2]).map { .hardware(interface: fields[1], before: $0) }
        case ("down", 2): return .wasDown(interface: fields[1])
        default: return nil
        }
    }

    private static let bootID = firstLine("/proc/sys/kernel/random/boot_id") ?? "unknown"
}

/// Of a small file of the kernel's.
func firstLine(_ path: String) -> String? {
    guard let bytes = try? AtomicFile.read(path, limit: 4096) else { return nil }
    return String(decoding: bytes.prefix { $0 != 10 && $0 != 0 }, as: UTF8.self)
}
