import CLinux
import Glibc
import Primitives
import Processes

/// Memory that the daemon and its guard share: for each service, what to end and when.
///
/// The daemon writes, the guard reads, and neither waits for the other: a renewal is one store. A name is written between
/// two steps of its version, so that a daemon that stops half-way leaves the guard with the old one.
final class GuardTable: @unchecked Sendable {
    /// Services of one node.
    static let slots = 128
    static let longestName = 984
    private static let magic: UInt64 = 0x4752_4442_4D42_0001
    private static let headerSize = 64
    private static let slotSize = 1024
    static let size = headerSize + slots * slotSize

    let descriptor: Int32
    private let base: UnsafeMutableRawPointer

    /// A new one, for the daemon.
    init?() {
        descriptor = clinux_memory_file("bramble-guard")
        guard descriptor >= 0, ftruncate(descriptor, off_t(Self.size)) == 0,
            let place = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), place != MAP_FAILED
        else { return nil }
        base = place
        clinux_store(base, Self.magic)
    }

    /// The daemon's, for the guard. Nil when it is none.
    init?(sharedBy descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size == off_t(Self.size),
            let place = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), place != MAP_FAILED,
            clinux_load(place) == Self.magic
        else { return nil }
        self.descriptor = descriptor
        base = place
    }
    deinit {
        munmap(base, Self.size)
        close(descriptor)
    }

    // MARK: Of the whole

    /// The daemon ends in good order: nothing is to be ended any more.
    var isOrderly: Bool {
        get { clinux_load(base + 8) == 1 }
        set { clinux_store(base + 8, newValue ? 1 : 0) }
    }
    /// When the guard last went round; CLOCK_BOOTTIME in nanoseconds, 0 before its first round.
    var lastRound: UInt64 {
        get { clinux_load(base + 16) }
        set { clinux_store(base + 16, newValue) }
    }

    // MARK: Of one service

    private func place(_ slot: Int) -> UnsafeMutableRawPointer { base + Self.headerSize + slot * Self.slotSize }

    /// CLOCK_BOOTTIME in nanoseconds; 0: none, so nothing is ended.
    func deadline(_ slot: Int) -> UInt64 { clinux_load(place(slot) + 8) }
    func setDeadline(_ slot: Int, _ deadline: UInt64) { clinux_store(place(slot) + 8, deadline) }

    /// How often the guard had to end it.
    func kills(_ slot: Int) -> UInt64 { clinux_load(place(slot) + 16) }
    func addKill(_ slot: Int) { clinux_store(place(slot) + 16, kills(slot) + 1) }

    func setName(_ slot: Int, _ name: GroupName?) {
        let start = place(slot)
        let version = clinux_load(start)
        clinux_store(start, version | 1)
        let (kind, text): (UInt64, String) =
            switch name {
            case nil: (0, "")
            case .controlGroup(let path): (1, path)
            case .mark(let mark): (2, mark)
            }
        let bytes = Array(text.utf8.prefix(Self.longestName))
        (start + 32).copyMemory(from: bytes, byteCount: bytes.count)
        clinux_store(start + 24, kind << 32 | UInt64(bytes.count))
        clinux_store(start, (version | 1) + 1)
    }

    enum Reading: Equatable { case changing, nothing, group(GroupName) }

    func name(_ slot: Int) -> Reading {
        let start = place(slot)
        let version = clinux_load(start)
        guard version & 1 == 0 else { return .changing }
        let head = clinux_load(start + 24)
        let count = Int(head & 0xFFFF_FFFF)
        guard count <= Self.longestName else { return .nothing }
        let text = String(decoding: UnsafeRawBufferPointer(start: start + 32, count: count), as: UTF8.self)
        guard clinux_load(start) == version else { return .changing }
        return switch head >> 32 {
        case 1: .group(.controlGroup(path: text))
        case 2: .group(.mark(text))
        default: .nothing
        }
    }
}
