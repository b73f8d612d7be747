package import Balancers
import Glibc
import Logging
package import Processes
import Reactor

/// TCP and UDP balancers in the kernel: one nftables table of ours, replaced in one transaction. Connections that are
/// tracked go on where they are; those of a backend that is gone are forgotten, so that their next packet goes elsewhere.
package actor KernelBalancer {
    private let directory: String
    private let spawner: Spawner
    private let nft = EngineProgram(
        "nft", package: "nftables", purpose: "TCP and UDP balancers are rules of the kernel's")
    private let conntrack = EngineProgram(
        "conntrack", package: "conntrack", purpose: "with it the connections of a dead backend move at once")
    private var written: String?
    private var former: [BalancerView] = []
    private var hasWarned = false

    package init(directory: String, spawner: Spawner) {
        self.directory = directory
        self.spawner = spawner
    }

    package func use(_ views: [BalancerView]) async throws(EngineFailure) {
        let views = views.filter { $0.balancer.transport != .http }
        guard !views.isEmpty else { return await stop() }
        let text = NftablesText.make(views)
        guard text != written else { return }
        try forward()
        try await load(text)
        written = text
        let gone = Self.gone(former, views)
        former = views
        for (proto, port, address) in gone { await forget(proto, port, address) }
    }

    package func stop() async {
        guard written != nil || access(rules, F_OK) == 0 else { return }
        do throws(EngineFailure) {
            try await load(NftablesText.make(nil))
            unlink(rules)
        } catch { Log.warning("\(error.problem). \(error.remedy)") }
        written = nil
        former = []
    }

    private var rules: String { "\(directory)/balance.nft" }

    private func load(_ text: String) async throws(EngineFailure) {
        try EngineFile.replace(rules, with: text, mode: 0o600)
        _ = try await nft.run(["-f", rules], on: spawner)
    }

    /// Packets for other machines are sent on only when the kernel is told to.
    private func forward() throws(EngineFailure) {
        for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
            let descriptor = open(path, O_RDWR | O_CLOEXEC)
            guard descriptor >= 0 else { continue }
            defer { close(descriptor) }
            var byte: UInt8 = 0
            guard read(descriptor, &byte, 1) == 1, byte != UInt8(ascii: "1") else { continue }
            byte = UInt8(ascii: "1")
            guard pwrite(descriptor, &byte, 1, 0) == 1 else {
                throw EngineFailure(
                    problem: "\(path) cannot be set, so packets for backends would stay here",
                    remedy: "sysctl -w net.ipv4.ip_forward=1, or let systemd start bramble")
            }
            Log.info("\(path) is 1 now: packets for the backends of balancers pass through this node")
        }
    }

    /// Backends that got something and are dead now.
    private static func gone(_ former: [BalancerView], _ views: [BalancerView]) -> [(String, UInt16, String)] {
        former.flatMap { before -> [(String, UInt16, String)] in
            let after = views.first { $0.balancer.name == before.balancer.name }
            return before.live.compactMap { backend in
                let now = after?.backends.first { $0.node == backend.node }
                // One that is drained finishes what it has.
                if now?.state == .up || now?.state == .draining { return nil }
                let proto = before.balancer.transport.rawValue
                return (proto, before.balancer.listenPort, backend.endpoint.address.description)
            }
        }
    }

    private func forget(_ proto: String, _ port: UInt16, _ address: String) async {
        do throws(EngineFailure) {
            // 1: there was none.
            _ = try await conntrack.run(
                ["-D", "-p", proto, "--orig-port-dst", "\(port)", "--reply-src", address], on: spawner,
                expected: [0, 1])
        } catch {
            guard !hasWarned else { return }
            hasWarned = true
            Log.warning(
                "connections to a dead backend stay there until they time out: \(error.problem). \(error.remedy)")
        }
    }
}
