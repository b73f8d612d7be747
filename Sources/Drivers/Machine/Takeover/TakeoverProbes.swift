import Glibc

/// What `bramble doctor` says about floating addresses. Nothing is changed: the kernel checks a transaction that is then
/// taken back, and refuses a request that lacks a part.
extension DoctorProbes {
    private static let rightsRemedy =
        "run the daemon as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"

    /// capabilities(7): 12 is CAP_NET_ADMIN, 13 is CAP_NET_RAW.
    func addressRights() -> Finding? {
        guard let bytes = try? AtomicFile.read(root + "/proc/self/status", limit: 64 * 1024) else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("CapEff:") }),
            let rights = UInt64(line.dropFirst(7).trimming(\.isWhitespace), radix: 16)
        else { return nil }
        let missing = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")].filter { rights >> UInt64($0.0) & 1 == 0 }.map(\.1)
        guard !missing.isEmpty else {
            return Finding("addresses", .ok, "the daemon may change and announce addresses")
        }
        return Finding(
            "addresses", .warn,
            "the daemon may not take over addresses: it lacks \(missing.joined(separator: " and "))",
            Self.rightsRemedy)
    }

    func gate() -> Finding? {
        do throws(SystemError) {
            try KernelGate().rehearse()
            return Finding("gate", .ok, "the kernel can silence an address by itself when the daemon hangs")
        } catch {
            let isForbidden = error.code == EPERM || error.code == EACCES
            return Finding(
                "gate", .warn, "the kernel cannot guard floating addresses: \(error)",
                isForbidden
                    ? Self.rightsRemedy
                    : "services with addresses need a kernel with nf_tables for inet and arp: "
                        + "`modprobe nf_tables`, or CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP")
        }
    }

    /// Left out where it cannot be asked for: then `gate` has said why.
    func virtualInterfaces() -> Finding? {
        do throws(SystemError) {
            guard let isPossible = try LinkControl().canMakeVirtual() else { return nil }
            return isPossible
                ? Finding("macvlan", .ok, "interfaces with hardware addresses of their own can be made")
                : Finding(
                    "macvlan", .warn, "the kernel has no macvlan: services with `mac: virtual` cannot run here",
                    "`modprobe macvlan`, or leave `mac: own` for them")
        } catch {
            return nil
        }
    }
}

extension Substring {
    fileprivate func trimming(_ isSpace: (Character) -> Bool) -> Substring {
        let head = drop(while: isSpace)
        return head.prefix { !isSpace($0) }
    }
}
