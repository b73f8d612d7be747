import Logging
import Primitives
import Reactor
import Services
import Volumes

/// What failed or was done a moment ago, and is not tried again at once.
final class VolumeRetries: Sendable {
    enum Work: Hashable, Sendable { case duty(VolumeDuty), step(VolumeStep), question(VolumeQuestion) }
    struct Retry {
        var failures = 0
        var notBefore: Instant
        /// Why it failed, with the remedy; empty where it did not.
        var trouble = ""
    }
    private static let most = 1_000
    private let retries = Locked<[Work: Retry]>([:])

    subscript(_ work: Work) -> Retry? { retries.withLock { $0[work] } }

    func isDue(_ work: Work) -> Bool { self[work].map { SystemClock.now >= $0.notBefore } ?? true }

    func trouble(_ work: Work) -> Retry? { self[work].flatMap { $0.trouble.isEmpty ? nil : $0 } }

    /// From whichever servers that was tried.
    func troubleMounting(_ volume: Volume) -> String {
        retries.withLock { retries in
            retries.first { work, _ in
                if case .duty(.mount(volume.name, _, volume.mountPoint)) = work { true } else { false }
            }?.value.trouble ?? ""
        }
    }

    func succeeded(_ work: Work, spacing: Duration = .zero) {
        retries.withLock { $0[work] = spacing == .zero ? nil : Retry(notBefore: SystemClock.now + spacing) }
    }

    /// Half a second, a second … half a minute.
    func failed(_ work: Work, _ trouble: String) {
        let isNews = retries.withLock { retries in
            var retry = retries[work] ?? Retry(notBefore: .zero)
            let isNews = retry.trouble != trouble
            retry.failures += 1
            retry.notBefore = SystemClock.now + .milliseconds(500) * (1 << min(retry.failures - 1, 6))
            retry.trouble = trouble
            // What nobody asks about any more is forgotten.
            if retries.count >= Self.most { retries = [:] }
            retries[work] = retry
            return isNews
        }
        if isNews { Log.warning(trouble) }
    }

    /// Once this node has its brick, or is not to have it any more, the directory is made ready anew the next time.
    func forgetPreparations(_ duties: VolumeDuties) {
        retries.withLock { retries in
            retries = retries.filter { work, _ in
                guard case .duty(.prepareBrick(let volume)) = work else { return true }
                return duties.desired.contains { $0 == volume } && duties.hasToPrepare(volume)
            }
        }
    }
}
