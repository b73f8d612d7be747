import CLinux
import Glibc
import Primitives
import Reactor

/// The guard: `bramble guard`, a process that does one thing. It reads a table in shared memory, sleeps until the next
/// deadline, and ends the processes of a service whose deadline has come.
///
/// It has no thread besides this one, takes no lock, and after its first round touches no file but those of control groups.
package enum GuardProcess {
    /// What the daemon hands over; see `Guard`.
    private static let tableDescriptor: Int32 = 3
    private static let lifeDescriptor: Int32 = 4
    /// How often a service whose time is up is looked at again: something may have been started in between.
    private static let secondLook: UInt64 = 20_000_000
    /// How long a service may outlive its SIGKILL before the watchdog gets no more food.
    private static let patience: UInt64 = 2_000_000_000

    /// - Parameter arguments: those after `guard`.
    package static func run(_ arguments: [String]) -> Int32 {
        guard let table = GuardTable(sharedBy: tableDescriptor), fcntl(lifeDescriptor, F_GETFD) >= 0 else {
            say("the guard is started by the daemon; there is nothing for people here")
            return 2
        }
        // A service manager's or a terminal's good-bye is for the daemon; the guard stays until the daemon lets it go.
        for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT] { signal(number, SIG_IGN) }
        clinux_name_this_thread("bramble-guard")
        for number in [tableDescriptor, lifeDescriptor] { _ = fcntl(number, F_SETFD, FD_CLOEXEC) }
        rehearse()
        settle()
        var round = Round(table: table, watchdog: WatchdogDevice(arguments))
        return round.goOn()
    }

    /// Walks the way that matters once, so that its code is in memory when it is needed and the disk may be dead.
    private static func rehearse() {
        GroupName.controlGroup(path: "/nowhere").kill()
        GroupName.mark("none/\(getpid())").kill()
    }

    /// Wishes: it works without, too.
    private static func settle() {
        _ = clinux_lock_touched_memory()
        // Above the pulse's priority: it runs for microseconds.
        _ = clinux_round_robin(11)
        _ = ControlGroups.write("-1000", to: "/proc/self/oom_score_adj")
    }

    fileprivate static func say(_ text: String) {
        _ = (text + "\n").withCString { write(STDERR_FILENO, $0, strlen($0)) }
    }

    private struct Round {
        let table: GuardTable
        var watchdog: WatchdogDevice?
        var names = [GroupName?](repeating: nil, count: GuardTable.slots)
        /// When a service was first found past its deadline; 0: it is not.
        var overdue = [UInt64](repeating: 0, count: GuardTable.slots)
        var isOrphan = false

        mutating func goOn() -> Int32 {
            let timer = timerfd_create(CLOCK_BOOTTIME, Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK))
            while true {
                let now = UInt64(SystemClock.now.nanoseconds)
                if table.isOrderly {
                    watchdog?.release()
                    return 0
                }
                var next = look(now)
                if isOrphan, !hasWork {
                    // Nothing is left that could run without its lease.
                    watchdog?.release()
                    return 0
                }
                let isEnforced = !overdue.contains { $0 != 0 && now > $0 + patience }
                if isEnforced, let food = watchdog?.feed(now) { next = min(next, food) }
                table.lastRound = now
                wait(timer, until: next)
            }
        }

        /// Is there anything with a deadline and processes?
        private var hasWork: Bool {
            (0..<GuardTable.slots).contains { slot in
                table.deadline(slot) != 0 && names[slot].map { !$0.isEmpty } ?? false
            }
        }

        /// Ends what is due. Returns when to look again.
        private mutating func look(_ now: UInt64) -> UInt64 {
            var next = now + 3_600_000_000_000
            for slot in 0..<GuardTable.slots {
                switch table.name(slot) {
                // The daemon writes, or stopped in the middle: the last whole name counts.
                case .changing: next = min(next, now + secondLook)
                case .nothing: names[slot] = nil
                case .group(let name): names[slot] = name
                }
                let deadline = table.deadline(slot)
                guard deadline != 0, let name = names[slot] else {
                    overdue[slot] = 0
                    continue
                }
                guard now >= deadline else {
                    overdue[slot] = 0
                    next = min(next, deadline)
                    continue
                }
                next = min(next, now + secondLook)
                // Enforced. Still looked at: something may be started in it.
                guard !name.isEmpty else {
                    overdue[slot] = 0
                    continue
                }
                if overdue[slot] == 0 { overdue[slot] = now }
                name.kill()
                table.addKill(slot)
                if table.kills(slot) == 1 || isOrphan {
                    say("ended \(name), \((now - deadline) / 1_000_000) ms after its deadline")
                }
            }
            return next
        }

        private mutating func wait(_ timer: Int32, until deadline: UInt64) {
            var setting = itimerspec()
            setting.it_value.tv_sec = Int(deadline / 1_000_000_000)
            setting.it_value.tv_nsec = Int(deadline % 1_000_000_000)
            timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &setting, nil)
            var waits = [pollfd(fd: timer, events: Int16(POLLIN), revents: 0)]
            if !isOrphan { waits.append(pollfd(fd: lifeDescriptor, events: Int16(POLLIN), revents: 0)) }
            guard poll(&waits, nfds_t(waits.count), -1) > 0 else { return }
            var bytes = [UInt8](repeating: 0, count: 256)
            if waits[0].revents != 0 { _ = read(timer, &bytes, 8) }
            guard !isOrphan, waits[1].revents != 0 else { return }
            if read(lifeDescriptor, &bytes, bytes.count) == 0 { isOrphan = true }
        }
    }
}

/// A hardware watchdog, fed only while what the guard ends really ends.
private struct WatchdogDevice {
    private let descriptor: Int32
    private let interval: UInt64
    private var last: UInt64 = 0

    init?(_ arguments: [String]) {
        guard let place = arguments.firstIndex(of: "--watchdog"), place + 1 < arguments.count else { return nil }
        let path = arguments[place + 1]
        var seconds: Int32 = 15
        if let place = arguments.firstIndex(of: "--watchdog-seconds"), place + 1 < arguments.count {
            seconds = Int32(arguments[place + 1]) ?? seconds
        }
        descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            GuardProcess.say("the watchdog \(path) cannot be opened: \(String(cString: strerror(errno)))")
            return nil
        }
        let granted = clinux_watchdog_timeout(descriptor, seconds)
        if granted < 0 { GuardProcess.say("\(path) does not take a timeout: \(String(cString: strerror(errno)))") }
        interval = UInt64(max(granted > 0 ? granted : seconds, 1)) * 1_000_000_000 / 4
    }

    /// Returns when it wants to be fed next.
    mutating func feed(_ now: UInt64) -> UInt64 {
        if last == 0 || now >= last + interval {
            var food: UInt8 = 0
            _ = write(descriptor, &food, 1)
            last = now
        }
        return last + interval
    }

    /// The letter that switches it off; where the kernel was built without that, the machine will be reset.
    func release() {
        var letter = UInt8(ascii: "V")
        _ = write(descriptor, &letter, 1)
        close(descriptor)
    }
}
