package import Balancers
import CLinux
import Glibc
import Logging
package import Primitives
package import Processes
import Reactor
import Services

/// Our own nginx, beside whatever nginx the machine has: with its own prefix, configuration and processes.
///
/// It goes on when the daemon dies, since balancing needs no lease; the next daemon finds it by its process file and goes
/// on with it.
package actor NginxEngine {
    private let prefix: String
    private let spawner: Spawner
    private let program = EngineProgram("nginx", package: "nginx-light", purpose: "HTTP balancers are made of it")
    private let sockets = EngineProgram(
        "ss", package: "iproute2", purpose: "with it requests that wait for a dead node go to another one at once")
    private var written = ""
    private var dead: Set<Endpoint> = []

    /// - Parameter prefix: a directory of ours, made when it is needed.
    package init(prefix: String, spawner: Spawner) {
        self.prefix = prefix
        self.spawner = spawner
    }

    private var configuration: String { "\(prefix)/nginx.conf" }

    /// Makes it so. Returns what stands in the way of single balancers, by name; throws when nothing works.
    package func use(_ views: [BalancerView]) async throws(EngineFailure) -> [ServiceName: String] {
        var views = views.filter { $0.balancer.transport == .http }
        guard !views.isEmpty else {
            await stop()
            return [:]
        }
        guard program.path != nil else { throw program.missing }
        for folder in [prefix, "\(prefix)/tmp"] where mkdir(folder, 0o755) != 0 && errno != EEXIST {
            throw EngineFailure(
                problem: "cannot make \(folder): \(String(cString: strerror(errno)))", remedy: "look at the disk")
        }
        let isRunning = process != nil
        // A port of somebody else's would make nginx keep all of its former configuration.
        var troubles: [ServiceName: String] = [:]
        let own = isRunning ? listening(in: written) : []
        for view in views where !own.contains(listening(view)) {
            guard let trouble = Self.trouble(listening: view) else { continue }
            troubles[view.balancer.name] = trouble
        }
        views.removeAll { troubles[$0.balancer.name] != nil }
        guard !views.isEmpty else {
            await stop()
            return troubles
        }
        let text = NginxText.make(
            views, prefix: prefix, user: getuid() == 0 ? "www-data" : nil, hasIPv6: Self.hasIPv6)
        if isRunning, text == written { return troubles }
        try EngineFile.replace(configuration, with: text)
        if !isRunning {
            try await start()
        } else if kill(process!, SIGHUP) != 0 {
            try await start()
        }
        written = text
        await hangUp(views)
        return troubles
    }

    /// Nobody tells nginx that the machine it waits for has died. Its sockets are ended: the request goes to the next backend.
    private func hangUp(_ views: [BalancerView]) async {
        let now = Set(views.flatMap(\.backends).filter { $0.state == .down }.map(\.endpoint))
        defer { dead = now }
        for endpoint in now.subtracting(dead) {
            do throws(EngineFailure) {
                // It complains of sockets that it may not end, such as listening ones.
                _ = try await sockets.run(
                    ["-K", "dst", endpoint.address.description, "dport", "=", "\(endpoint.port)"], on: spawner,
                    expected: [0, 1, 2, 255])
            } catch { Log.warning("\(error.problem). \(error.remedy)") }
        }
    }

    /// Lets requests that are under way end.
    package func stop() async {
        written = ""
        dead = []
        guard let process else { return }
        kill(process, SIGQUIT)
        for _ in 0..<40 {
            guard self.process != nil, (try? await spawner.loop.sleep(for: .milliseconds(25))) != nil else { return }
        }
        // Streams that never end would hold it up.
        kill(process, SIGTERM)
    }

    /// False when it should run and does not.
    package var isWell: Bool { written.isEmpty || process != nil }

    private func start() async throws(EngineFailure) {
        _ = try await program.run(["-p", prefix, "-c", configuration], on: spawner)
        Log.info("nginx balances with \(configuration)")
    }

    /// The master process, if it is there and ours.
    private var process: pid_t? {
        guard let text = EngineFile.read("\(prefix)/nginx.pid"), let number = pid_t(text.prefix { $0.isNumber }),
            number > 1,
            let line = EngineFile.read("/proc/\(number)/cmdline"), line.contains(configuration)
        else { return nil }
        return number
    }

    // MARK: Ports

    private func listening(_ view: BalancerView) -> String {
        view.balancer.listenAddress.map { "listen \(Endpoint($0, port: view.balancer.listenPort));" }
            ?? "listen \(view.balancer.listenPort);"
    }
    private func listening(in text: String) -> Set<String> {
        Set(text.split(separator: "\n").map { String($0.drop { $0 == " " }) }.filter { $0.hasPrefix("listen ") })
    }

    /// Why nobody can listen there now; nil when it is free.
    private static func trouble(listening view: BalancerView) -> String? {
        let port = view.balancer.listenPort
        var place = clinux_endpoint()
        let bytes = (view.balancer.listenAddress ?? .v4(0)).bytes
        place.length = UInt8(bytes.count)
        place.port = port
        withUnsafeMutableBytes(of: &place.address) { $0.copyBytes(from: bytes) }
        let descriptor = clinux_bound_socket(Int32(SOCK_STREAM.rawValue), &place)
        guard descriptor < 0 else {
            defer { close(descriptor) }
            // With the address reused, a second listener shows only here.
            guard listen(descriptor, 1) != 0 else { return nil }
            return "port \(port) is in use by another program: ss -tlpn sport = :\(port) shows it"
        }
        switch errno {
        case EADDRINUSE: return "port \(port) is in use by another program: ss -tlpn sport = :\(port) shows it"
        case EADDRNOTAVAIL: return "\(view.balancer.listenAddress.map(\.description) ?? "") is not on this node"
        case EACCES, EPERM: return "port \(port) may only be opened by root: let systemd start bramble"
        default: return "port \(port) cannot be opened: \(String(cString: strerror(errno)))"
        }
    }
    private static var hasIPv6: Bool { EngineFile.read("/proc/net/if_inet6", atMost: 1) != nil }
}
