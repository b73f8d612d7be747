import CLinux
import Glibc
import Logging

/// What the daemon asks of the kernel for itself. All of it is a wish: where it is not granted the daemon works without.
package enum ProcessLimits {
    /// Priority of the pulse among real-time threads, 1 to 99: below the kernel's own (50), which the network needs.
    package static let pulsePriority: Int32 = 10

    /// What a thread got.
    package struct Granted: Equatable, Sendable {
        /// "SCHED_RR 10", "nice -10" or "normal".
        package var scheduling: String
    }

    /// For the pulse thread, which calls it on itself: run before others when there is something to do, and never wait
    /// for memory to come back from the disk.
    @discardableResult
    package static func favorThisThread() -> Granted {
        var granted = Granted(scheduling: "normal")
        if clinux_round_robin(pulsePriority) == 0 {
            granted.scheduling = "SCHED_RR \(pulsePriority)"
        } else {
            Log.debug("no real-time priority for the pulse: \(SystemError()) (LimitRTPRIO or CAP_SYS_NICE)")
            // Of a thread, in spite of the name.
            if setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(clinux_thread_id()), -10) == 0 {
                granted.scheduling = "nice -10"
            } else {
                Log.debug("no higher nice level for the pulse: \(SystemError()) (LimitNICE or CAP_SYS_NICE)")
            }
        }
        return granted
    }

    /// Locks what the process touches. Only where nothing limits it: under a limit, memory asked for later would be
    /// refused, and a refused allocation ends a Swift process.
    package static func lockMemory() -> Bool {
        let limit = clinux_memory_lock_limit()
        guard limit == .max || mayLockWithoutLimit else {
            Log.debug("memory is not locked: LimitMEMLOCK is \(limit) bytes, it must be infinity")
            return false
        }
        guard clinux_lock_touched_memory() == 0 else {
            Log.debug("memory is not locked: \(SystemError())")
            return false
        }
        return true
    }

    /// CAP_IPC_LOCK, bit 14 of the effective capabilities.
    private static var mayLockWithoutLimit: Bool {
        guard let status = try? AtomicFile.read("/proc/self/status", limit: 64 * 1024) else { return false }
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        guard let digits = line?.split(whereSeparator: \.isWhitespace).last, let set = UInt64(digits, radix: 16) else {
            return false
        }
        return set >> 14 & 1 == 1
    }

    /// Raises the number of files the process may have open to what the hard limit allows, at most `wanted`: each peer
    /// and each HTTP client is one. Returns what it is now.
    @discardableResult
    package static func raiseOpenFiles(to wanted: UInt64 = 65_536) -> UInt64 {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return 0 }
        let goal = min(rlim_t(wanted), limit.rlim_max)
        guard goal > limit.rlim_cur else { return UInt64(limit.rlim_cur) }
        let old = limit.rlim_cur
        limit.rlim_cur = goal
        guard setrlimit(resource, &limit) == 0 else {
            Log.debug("the limit of open files stays at \(old): \(SystemError())")
            return UInt64(old)
        }
        return UInt64(goal)
    }
}
