package import BrambleAPI
import Glibc
import Logging
package import Primitives
package import Reactor

/// The HTTP face of a node: dashboard, API, event streams. One thread of libmicrohttpd's for each listening socket;
/// requests are answered in tasks, so neither those threads nor the node's event loop wait for one another.
package final class WebServer: Sendable {
    /// A certificate with its chain, and its key, both in PEM. Browsers know no Ed25519: the key is ECDSA or RSA.
    package struct Identity: Sendable {
        package var certificate: String
        package var key: String
        package init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }
    package struct Configuration: Sendable {
        package var listen: [WebAddress]
        /// Turns HTTP into HTTPS on the TCP sockets. The Unix socket stays plain: it does not leave the machine.
        package var identity: Identity?
        package var limits = WebLimits()
        package init(listen: [WebAddress], identity: Identity? = nil, limits: WebLimits = WebLimits()) {
            self.listen = listen
            self.identity = identity
            self.limits = limits
        }
    }

    private struct State {
        var listeners: [HTTPListener] = []
        var isRunning = false
    }
    private let application: WebApplication
    private let configuration: Configuration
    private let loop: EventLoop
    private let now: @Sendable () -> Instant
    private let state = Locked(State())

    /// - Parameters:
    ///   - loop: for timers only.
    ///   - now: sessions and limits are measured with it.
    package init(
        service: any BrambleService, configuration: Configuration, loop: EventLoop,
        now: @escaping @Sendable () -> Instant = { SystemClock.now }
    ) {
        self.configuration = configuration
        self.loop = loop
        self.now = now
        application = WebApplication(
            service: service, limits: configuration.limits, now: now, sleep: { try await loop.sleep(for: $0) })
    }

    /// Where it listens, ports as they turned out.
    package var addresses: [WebAddress] { state.withLock { $0.listeners.map(\.address) } }
    /// Connections open now, of all sockets.
    package var openConnections: Int { state.withLock { $0.listeners }.reduce(0) { $0 + $1.figures.connections } }

    /// All sockets or none.
    package func start() throws(WebError) {
        var listeners: [HTTPListener] = []
        do throws(WebError) {
            for address in configuration.listen {
                let socket = try ListeningSocket.open(address)
                var identity: (String, String)?
                switch socket.address {
                case .unix: break
                case .everywhere(let port):
                    application.nameCookie(port: port)
                    identity = configuration.identity.map { ($0.certificate, $0.key) }
                case .tcp(let endpoint):
                    application.nameCookie(port: endpoint.port)
                    identity = configuration.identity.map { ($0.certificate, $0.key) }
                }
                listeners.append(
                    try HTTPListener(
                        socket, application: application, limits: configuration.limits, identity: identity, now: now))
            }
        } catch {
            for listener in listeners { listener.stop() }
            throw error
        }
        let started = listeners
        application.counters.withLock { $0 = { started.map(\.figures) } }
        state.withLock { state in
            state.listeners = started
            state.isRunning = true
        }
        sweepInASecond()
        for listener in started { Log.info("web: listening on \(listener.address)") }
    }

    /// Ends connections that are past a deadline. On the loop's own timer: a task would wait for the shared pool, and slow
    /// clients are a way to keep that busy.
    private func sweepInASecond() {
        loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self else { return }
            let (listeners, isRunning) = state.withLock { ($0.listeners, $0.isRunning) }
            guard isRunning else { return }
            for listener in listeners { listener.sweep() }
            sweepInASecond()
        }
    }

    /// Ends streams, refuses what is under way, closes the sockets.
    package func stop() async {
        let listeners = state.withLock { state in
            defer { state = State() }
            return state.listeners
        }
        for listener in listeners {
            // Waits for the library's thread: not on a thread of the pool.
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                runOnOwnThread {
                    listener.stop()
                    continuation.resume()
                }
            }
            if case .unix(let path) = listener.address { unlink(path) }
        }
    }
}

private func runOnOwnThread(_ work: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(work)).toOpaque()
    let code = pthread_create(
        &thread, nil,
        { @Sendable context in
            Unmanaged<Box>.fromOpaque(context!).takeRetainedValue().work()
            return nil
        }, box)
    guard code == 0 else {
        Unmanaged<Box>.fromOpaque(box).release()
        work()  // no thread to be had: better late than never
        return
    }
    pthread_detach(thread)
}
