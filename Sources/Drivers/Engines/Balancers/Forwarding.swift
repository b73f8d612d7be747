import Glibc
import Logging
import Primitives

/// The kernel's switches that let packets for other machines pass: turned on while TCP and UDP balancers need them, and put
/// back afterwards. What was changed is on the disk before it is changed, so that a later life can put it back.
struct Forwarding {
    /// The file of what was changed: the boot it was in, then a switch and its former value in each line.
    let record: String

    private static func path(ofIPv4 isIPv4: Bool) -> String {
        isIPv4 ? "/proc/sys/net/ipv4/ip_forward" : "/proc/sys/net/ipv6/conf/all/forwarding"
    }
    private static var boot: String? {
        EngineFile.read("/proc/sys/kernel/random/boot_id")?.split(separator: "\n").first.map(String.init)
    }
    private static func value(_ path: String) -> String? {
        EngineFile.read(path)?.split(separator: "\n").first.map(String.init)
    }

    /// IPv6's is left alone unless it is needed: with it on, a machine takes no addresses from routers any more.
    func turnOn(ipv4: Bool, ipv6: Bool) throws(EngineFailure) {
        let wanted = [(ipv4, true), (ipv6, false)].filter(\.0).map { Self.path(ofIPv4: $0.1) }
        for path in wanted {
            guard let former = Self.value(path), former != "1" else { continue }
            try EngineFile.replace(
                record,
                with: ([Self.boot ?? ""] + changed.map { "\($0.path) \($0.former)" } + ["\(path) \(former)"])
                    .joined(separator: "\n") + "\n", mode: 0o600, isLasting: true)
            guard Self.set(path, to: "1") else {
                throw EngineFailure(
                    problem: "\(path) cannot be set, so packets for backends would stay here",
                    remedy: "sysctl -w net.ipv4.ip_forward=1, or let systemd start bramble")
            }
            Log.info("\(path) is 1 now: packets for the backends of balancers pass through this node")
        }
    }

    /// What was changed in this boot; a later one began with the machine's own settings.
    private var changed: [(path: String, former: String)] {
        let lines = (EngineFile.read(record) ?? "").split(separator: "\n", omittingEmptySubsequences: false)
        guard let boot = Self.boot, lines.first.map(String.init) == boot else { return [] }
        return lines.dropFirst().compactMap { line in
            let words = line.split(separator: " ")
            return words.count == 2 ? (String(words[0]), String(words[1])) : nil
        }
    }

    func restore() {
        for (path, former) in changed where Self.value(path) == "1" {
            if Self.set(path, to: former) {
                Log.info("\(path) is \(former) again")
            } else {
                Log.warning("\(path) stays 1: \(String(cString: strerror(errno)))")
            }
        }
        unlink(record)
    }

    private static func set(_ path: String, to value: String) -> Bool {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return write(descriptor, value, value.utf8.count) == value.utf8.count
    }
}
