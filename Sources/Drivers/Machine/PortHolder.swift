import Glibc

/// Who has a port open on this machine: for an error that says more than "address in use".
package struct PortHolder: Equatable, Sendable, CustomStringConvertible {
    package var process: Int32
    package var name: String
    package var description: String { "\(name) (process \(process))" }

    package enum Transport: Sendable { case udp, tcp }

    /// Nil when nobody has, or the process cannot be seen (another user's, another namespace's). Walks /proc: not for the
    /// pulse.
    package static func of(_ port: UInt16, _ transport: Transport, root: String = "") -> PortHolder? {
        let inodes = Set(
            ["", "6"].flatMap {
                sockets("\(root)/proc/thread-self/net/\(transport == .udp ? "udp" : "tcp")\($0)", port, transport)
            })
        guard !inodes.isEmpty else { return nil }
        let wanted = Set(inodes.map { "socket:[\($0)]" })
        for process in numbers(in: root + "/proc") {
            let folder = "\(root)/proc/\(process)/fd"
            for descriptor in numbers(in: folder) where wanted.contains(target("\(folder)/\(descriptor)") ?? "") {
                let name = text("\(root)/proc/\(process)/comm").prefix { $0 != "\n" }
                return PortHolder(process: process, name: name.isEmpty ? "a process" : String(name))
            }
        }
        return nil
    }

    /// True when some socket takes what arrives at the port.
    package static func isTaken(_ port: UInt16, _ transport: Transport, root: String = "") -> Bool {
        ["", "6"].contains {
            !sockets("\(root)/proc/thread-self/net/\(transport == .udp ? "udp" : "tcp")\($0)", port, transport).isEmpty
        }
    }

    /// The inode numbers in lines like `7: 0100007F:1E5B 00000000:0000 0A … uid timeout inode …`; of TCP the listening ones.
    private static func sockets(_ path: String, _ port: UInt16, _ transport: Transport) -> [String] {
        text(path).split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            guard fields.count > 9, let local = fields[1].split(separator: ":").last,
                UInt16(local, radix: 16) == port, transport == .udp || fields[3] == "0A"
            else { return nil }
            return String(fields[9])
        }
    }

    private static func text(_ path: String) -> String {
        guard let bytes = try? AtomicFile.read(path, limit: 4 << 20) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
    private static func target(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = buffer.withUnsafeMutableBytes { readlink(path, $0.baseAddress!, $0.count) }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
    private static func numbers(in path: String) -> [Int32] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var result: [Int32] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let number = Int32(name) { result.append(number) }
        }
        return result
    }
}
