package import Balancers
import Glibc
import Logging
package import Primitives
package import Processes
import Reactor
import Services

/// Our own nginx, beside whatever nginx the machine has: with its own prefix, configuration and processes.
///
/// It goes on when the daemon dies, since balancing needs no lease, unless systemd ends it, too; the next daemon finds it by
/// its process file and goes on with it.
///
/// Which backends get something is said to the kernel where that can be: a gate that refuses new connections of nginx's to
/// those that are out. nginx itself is told only when a balancer or a node comes or goes, because it then starts new
/// processes, and clients lose the connections that they keep open. Without root or nft it is told every time.
package actor NginxEngine {
    private let prefix: String
    private let spawner: Spawner
    private let program = EngineProgram.nginx
    private let sockets = EngineProgram.sockets
    private let nft = EngineProgram.nft
    /// The gate knows nginx's workers by both together: a user's own nginx runs as www-data:www-data.
    private static let (user, group) = ("www-data", "proxy")
    private var written = ""
    private var gate: String?
    private var dead: Set<Endpoint> = []

    /// - Parameter prefix: a directory of ours, made when it is needed.
    package init(prefix: String, spawner: Spawner) {
        self.prefix = prefix
        self.spawner = spawner
    }

    private var configuration: String { "\(prefix)/nginx.conf" }
    private var rules: String { "\(prefix)/gate.nft" }
    /// The data directory is root's alone, and nginx's workers are not root.
    private var temporary: String { getuid() == 0 ? "/var/cache/bramble/balance" : "\(prefix)/tmp" }
    private var hasGate: Bool {
        getuid() == 0 && nft.path != nil && getpwnam(Self.user) != nil && getgrnam(Self.group) != nil
    }

    /// Something of a former life is on this machine.
    package static func isThere(at prefix: String) -> Bool {
        ["nginx.pid", "gate.nft"].contains { access("\(prefix)/\($0)", F_OK) == 0 }
    }

    /// Makes it so. Returns what stands in the way of single balancers, by name; throws when nothing works.
    package func use(_ views: [BalancerView]) async throws(EngineFailure) -> [ServiceName: String] {
        var views = views.filter { $0.balancer.transport == .http }
        guard !views.isEmpty else {
            await stop()
            return [:]
        }
        guard program.path != nil else { throw program.missing }
        try makeFolders()
        let isRunning = process != nil
        // A port of somebody else's would make nginx keep all of its former configuration.
        var troubles: [ServiceName: String] = [:]
        if isRunning, written.isEmpty { written = EngineFile.read(configuration, atMost: 1 << 20) ?? "" }
        let own = isRunning ? listening(in: written) : []
        for view in views where !own.contains(listening(view)) {
            guard let trouble = Port.trouble(listening: view.balancer) else { continue }
            troubles[view.balancer.name] = trouble
        }
        views.removeAll { troubles[$0.balancer.name] != nil }
        guard !views.isEmpty else {
            await stop()
            return troubles
        }
        let closed = hasGate ? views.closed : nil
        let user = getuid() != 0 ? nil : closed == nil ? Self.user : "\(Self.user) \(Self.group)"
        let text = NginxText.make(
            views, at: .init(prefix: prefix, temporary: temporary, user: user, hasIPv6: Self.hasIPv6), closed: closed)
        // Before nginx hears of a backend that is out.
        if let closed { try await load(NftablesText.gate(closed, user: Self.user, group: Self.group)) }
        if !isRunning || text != written {
            try EngineFile.replace(configuration, with: text)
            if let process, kill(process, SIGHUP) == 0 {} else { try await start() }
            written = text
        }
        await hangUp(views)
        return troubles
    }

    private func load(_ text: String) async throws(EngineFailure) {
        guard text != gate else { return }
        try EngineFile.replace(rules, with: text, mode: 0o600)
        _ = try await nft.run(["-f", rules], on: spawner)
        gate = text
    }

    private func makeFolders() throws(EngineFailure) {
        var folders = [prefix, temporary]
        if getuid() == 0 { folders.insert("/var/cache/bramble", at: 1) }
        for folder in folders {
            // Whatever the umask. A link of somebody else's is not followed.
            var status = stat()
            guard
                mkdir(folder, 0o755) == 0 && chmod(folder, 0o755) == 0
                    || lstat(folder, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == getuid()
            else {
                throw EngineFailure(
                    problem: "cannot make the folder \(folder): \(String(cString: strerror(errno)))",
                    remedy: "look at the disk, and at what is there: ls -ld \(folder)")
            }
        }
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
        if let process {
            kill(process, SIGQUIT)
            for _ in 0..<40 where self.process != nil {
                guard (try? await spawner.loop.sleep(for: .milliseconds(25))) != nil else { break }
            }
            // Streams that never end would hold it up.
            if let process = self.process { kill(process, SIGTERM) }
        }
        guard access(rules, F_OK) == 0 else { return }
        do throws(EngineFailure) {
            gate = nil
            try await load(NftablesText.gate(nil, user: Self.user, group: Self.group))
            unlink(rules)
        } catch { Log.warning("\(error.problem). \(error.remedy)") }
        gate = nil
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

    private static var hasIPv6: Bool { EngineFile.read("/proc/net/if_inet6", atMost: 1) != nil }
}
