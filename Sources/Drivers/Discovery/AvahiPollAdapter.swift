import CAvahi
import Glibc
import Reactor

/// Lets libavahi wait on our event loop: its `AvahiPoll`, in which watches and timeouts are opaque pointers to the objects
/// below. Everything here runs on the loop's thread.
final class AvahiPollAdapter: @unchecked Sendable {
    fileprivate let loop: EventLoop
    /// What libavahi is given; lives as long as the adapter.
    let api: UnsafeMutablePointer<AvahiPoll>

    init(on loop: EventLoop) {
        self.loop = loop
        api = .allocate(capacity: 1)
        api.initialize(
            to: AvahiPoll(
                userdata: nil, watch_new: watchNew, watch_update: watchUpdate, watch_get_events: watchGetEvents,
                watch_free: watchFree, timeout_new: timeoutNew, timeout_update: timeoutUpdate,
                timeout_free: timeoutFree))
        api.pointee.userdata = Unmanaged.passUnretained(self).toOpaque()
    }
    deinit { api.deallocate() }
}

private final class PollWatch: @unchecked Sendable {
    let loop: EventLoop
    let descriptor: Int32
    let callback: AvahiWatchCallback
    let context: UnsafeMutableRawPointer?
    var registration: EventLoop.Registration?
    var happened = AvahiWatchEvent(0)

    init(loop: EventLoop, descriptor: Int32, callback: @escaping AvahiWatchCallback, context: UnsafeMutableRawPointer?)
    {
        self.loop = loop
        self.descriptor = descriptor
        self.callback = callback
        self.context = context
    }
    func fire(_ readiness: EventLoop.Readiness) {
        var events: UInt32 = 0
        if readiness.contains(.readable) { events |= AVAHI_WATCH_IN.rawValue }
        if readiness.contains(.writable) { events |= AVAHI_WATCH_OUT.rawValue }
        happened = AvahiWatchEvent(events)
        callback(OpaquePointer(Unmanaged.passUnretained(self).toOpaque()), descriptor, happened, context)
        happened = AvahiWatchEvent(0)
    }
    static func readiness(_ events: AvahiWatchEvent) -> EventLoop.Readiness {
        var result: EventLoop.Readiness = []
        if events.rawValue & AVAHI_WATCH_IN.rawValue != 0 { result.insert(.readable) }
        if events.rawValue & AVAHI_WATCH_OUT.rawValue != 0 { result.insert(.writable) }
        return result
    }
}

private final class PollTimeout: @unchecked Sendable {
    let loop: EventLoop
    let callback: AvahiTimeoutCallback
    let context: UnsafeMutableRawPointer?
    private var registration: EventLoop.Registration?

    init(loop: EventLoop, callback: @escaping AvahiTimeoutCallback, context: UnsafeMutableRawPointer?) {
        self.loop = loop
        self.callback = callback
        self.context = context
    }
    /// `deadline` is of the wall clock, as libavahi has it.
    func set(_ deadline: UnsafePointer<timeval>?) {
        cancel()
        guard let deadline else { return }
        let wall = SystemClock.wallNanoseconds
        let due = Int64(deadline.pointee.tv_sec) &* 1_000_000_000 &+ Int64(deadline.pointee.tv_usec) &* 1000
        registration = loop.schedule(after: .nanoseconds(max(0, due &- wall))) { [self] in
            registration = nil
            callback(OpaquePointer(Unmanaged.passUnretained(self).toOpaque()), context)
        }
    }
    func cancel() {
        if let registration { loop.cancel(registration) }
        registration = nil
    }
}

// Ordinary functions: a closure written in an isolated context would trap when C calls it.

private func watchNew(
    _ api: UnsafePointer<AvahiPoll>?, _ descriptor: Int32, _ events: AvahiWatchEvent, _ callback: AvahiWatchCallback?,
    _ context: UnsafeMutableRawPointer?
) -> OpaquePointer? {
    let loop = Unmanaged<AvahiPollAdapter>.fromOpaque(api!.pointee.userdata).takeUnretainedValue().loop
    let watch = PollWatch(loop: loop, descriptor: descriptor, callback: callback!, context: context)
    watch.registration = loop.watch(descriptor, for: PollWatch.readiness(events)) { watch.fire($0) }
    return OpaquePointer(Unmanaged.passRetained(watch).toOpaque())
}
private func watchUpdate(_ watch: OpaquePointer?, _ events: AvahiWatchEvent) {
    let watch = object(watch, PollWatch.self)
    if let registration = watch.registration { watch.loop.rearm(registration, for: PollWatch.readiness(events)) }
}
private func watchGetEvents(_ watch: OpaquePointer?) -> AvahiWatchEvent { object(watch, PollWatch.self).happened }
private func watchFree(_ watch: OpaquePointer?) {
    let watch = Unmanaged<PollWatch>.fromOpaque(UnsafeRawPointer(watch!)).takeRetainedValue()
    if let registration = watch.registration { watch.loop.cancel(registration) }
    watch.registration = nil
}
private func timeoutNew(
    _ api: UnsafePointer<AvahiPoll>?, _ deadline: UnsafePointer<timeval>?, _ callback: AvahiTimeoutCallback?,
    _ context: UnsafeMutableRawPointer?
) -> OpaquePointer? {
    let loop = Unmanaged<AvahiPollAdapter>.fromOpaque(api!.pointee.userdata).takeUnretainedValue().loop
    let timeout = PollTimeout(loop: loop, callback: callback!, context: context)
    timeout.set(deadline)
    return OpaquePointer(Unmanaged.passRetained(timeout).toOpaque())
}
private func timeoutUpdate(_ timeout: OpaquePointer?, _ deadline: UnsafePointer<timeval>?) {
    object(timeout, PollTimeout.self).set(deadline)
}
private func timeoutFree(_ timeout: OpaquePointer?) {
    Unmanaged<PollTimeout>.fromOpaque(UnsafeRawPointer(timeout!)).takeRetainedValue().cancel()
}
private func object<Kind: AnyObject>(_ pointer: OpaquePointer?, _ kind: Kind.Type) -> Kind {
    Unmanaged<Kind>.fromOpaque(UnsafeRawPointer(pointer!)).takeUnretainedValue()
}
