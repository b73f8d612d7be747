import CLinux
import Glibc

/// Notices when the wall clock is set (by hand, by NTP at start on a machine without a clock chip). Costs nothing in
/// between: a timerfd that the kernel cancels at that moment.
package final class ClockSteps: @unchecked Sendable {
    private let loop: EventLoop
    private let descriptor: Int32
    private let watch: EventLoop.Registration

    package init(on loop: EventLoop, _ handler: @escaping @Sendable () -> Void) {
        self.loop = loop
        let timer = timerfd_create(CLOCK_REALTIME, Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK))
        precondition(timer >= 0, "the kernel refuses a timerfd: too many open files")
        descriptor = timer
        Self.arm(timer)
        watch = loop.watch(timer, for: .readable) { _ in
            var expirations: UInt64 = 0
            // ECANCELED is the news; an expiry, in 100 years, is none.
            if read(timer, &expirations, 8) < 0, errno != ECANCELED { return }
            Self.arm(timer)
            handler()
        }
    }
    deinit {
        let (loop, watch, descriptor) = (loop, watch, descriptor)
        loop.perform {
            loop.cancel(watch)
            close(descriptor)
        }
    }

    private static func arm(_ timer: Int32) {
        let century = 100 * 365 * 24 * 3600
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var setting = itimerspec()
        setting.it_value.tv_sec = now.tv_sec + century
        timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME) | Int32(TFD_TIMER_CANCEL_ON_SET), &setting, nil)
    }
}
