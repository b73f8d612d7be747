import CLinux
import Glibc
package import Reactor

/// Signals as events on the loop, so that nothing of ours runs inside a signal handler.
package final class Signals: Sendable {
    package enum Signal: Sendable { case terminate, interrupt, hangUp }

    private static let numbers: [(Signal, Int32)] = [(.terminate, SIGTERM), (.interrupt, SIGINT), (.hangUp, SIGHUP)]

    /// Blocks the signals and ignores SIGPIPE. Must be called before any thread is started: threads inherit this, and one
    /// that did not would die of the signal. (Children inherit it too: spawn them with an empty mask.)
    package static func block() {
        signal(SIGPIPE, SIG_IGN)
        var set = mask
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    private let loop: EventLoop
    private let descriptor: Int32
    private let watch: EventLoop.Registration

    package init(on loop: EventLoop, _ handler: @escaping @Sendable (Signal) -> Void) {
        self.loop = loop
        var set = Self.mask
        let opened = signalfd(-1, &set, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK))
        precondition(opened >= 0, "the kernel refuses a signalfd: too many open files")
        descriptor = opened
        watch = loop.watch(opened, for: .readable) { _ in
            var info = signalfd_siginfo()
            while read(opened, &info, MemoryLayout<signalfd_siginfo>.size) == MemoryLayout<signalfd_siginfo>.size {
                if let known = Self.numbers.first(where: { $0.1 == Int32(info.ssi_signo) }) { handler(known.0) }
            }
        }
    }
    deinit {
        let (loop, watch, descriptor) = (loop, watch, descriptor)
        loop.perform {
            loop.cancel(watch)
            close(descriptor)
        }
    }

    private static var mask: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for (_, number) in numbers { sigaddset(&set, number) }
        return set
    }
}
