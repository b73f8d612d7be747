package import Balancers
import Glibc
import Logging
package import Primitives
package import Processes
import Reactor
import Services

/// TCP and UDP balancers in the kernel: one nftables table of ours, replaced in one transaction. Connections that are
/// tracked go on where they are; those of a backend that is gone are forgotten, so that their next packet goes elsewhere.
package actor KernelBalancer {
    private let directory: String
    private let spawner: Spawner
    private let nft = EngineProgram.nft
    private let conntrack = EngineProgram.conntrack
    private var written: String?
    private var former: [BalancerView] = []
    private var hasWarned = false
    /// A balancer's connections to one backend, as connection tracking knows them.
    private struct Flows: Hashable {
        let transport: Balancer.Transport
        let port: UInt16
        let address: IPAddress
    }
    /// Datagrams have no end that could be waited for: those of a source that goes on go elsewhere after this. What was asked
    /// last is answered by then.
    private static let longestDrain = Duration.seconds(10)
    private var draining: [Flows: Instant] = [:]
    private var drained: Set<Flows> = []

    package init(directory: String, spawner: Spawner) {
        self.directory = directory
        self.spawner = spawner
    }

    /// Makes it so. Returns what stands in the way of single balancers, by name; throws when nothing works.
    package func use(_ views: [BalancerView]) async throws(EngineFailure) -> [ServiceName: String] {
        var views = views.filter { $0.balancer.transport != .http }
        var troubles: [ServiceName: String] = [:]
        for view in views where !former.contains(where: { Self.isSamePlace($0.balancer, view.balancer) }) {
            // Rules would take the port from whoever listens there. A backend's own port is meant.
            guard view.balancer.to != view.balancer.listenPort, view.balancer.service == nil,
                let trouble = Port.trouble(listening: view.balancer)
            else { continue }
            troubles[view.balancer.name] = trouble
        }
        views.removeAll { troubles[$0.balancer.name] != nil }
        guard !views.isEmpty else {
            await stop()
            return troubles
        }
        await endDrains(views)
        let text = NftablesText.make(views)
        guard text != written else { return troubles }
        let live = views.flatMap(\.live)
        try forwarding.turnOn(
            ipv4: live.contains { $0.endpoint.address.bytes.count == 4 },
            ipv6: live.contains { $0.endpoint.address.bytes.count == 16 })
        try await load(text)
        written = text
        let gone = Self.gone(former, views)
        former = views
        for flows in gone { await forget(flows) }
        return troubles
    }

    package func stop() async {
        if written != nil || access(rules, F_OK) == 0 {
            do throws(EngineFailure) {
                try await load(NftablesText.make(nil))
                unlink(rules)
            } catch { Log.warning("\(error.problem). \(error.remedy)") }
        }
        forwarding.restore()
        written = nil
        former = []
        draining = [:]
        drained = []
    }

    /// Something of a former life is on this machine.
    package static func isThere(in directory: String) -> Bool {
        access(Self.rules(directory), F_OK) == 0 || access(Self.record(directory), F_OK) == 0
    }

    private static func rules(_ directory: String) -> String { "\(directory)/balance.nft" }
    private static func record(_ directory: String) -> String { "\(directory)/balance.forwarding" }
    private var rules: String { Self.rules(directory) }
    private var forwarding: Forwarding { Forwarding(record: Self.record(directory)) }
    private static func isSamePlace(_ one: Balancer, _ other: Balancer) -> Bool {
        one.transport == other.transport && one.listenPort == other.listenPort
            && one.listenAddress == other.listenAddress
    }

    /// Sources of datagrams that never pause would stay on a node that is drained.
    private func endDrains(_ views: [BalancerView]) async {
        let leaving = views.filter { $0.balancer.transport == .udp }.flatMap { view in
            view.backends.filter { $0.state == .draining }.map {
                Flows(transport: .udp, port: view.balancer.listenPort, address: $0.endpoint.address)
            }
        }
        let now = SystemClock.now
        draining = Dictionary(leaving.map { ($0, draining[$0] ?? now) }) { first, _ in first }
        drained.formIntersection(leaving)
        for (flows, since) in draining where now >= since + Self.longestDrain && drained.insert(flows).inserted {
            await forget(flows)
        }
    }

    private func load(_ text: String) async throws(EngineFailure) {
        try EngineFile.replace(rules, with: text, mode: 0o600)
        _ = try await nft.run(["-f", rules], on: spawner)
    }

    /// Backends that got something and are dead now.
    private static func gone(_ former: [BalancerView], _ views: [BalancerView]) -> [Flows] {
        former.flatMap { before -> [Flows] in
            let after = views.first { $0.balancer.name == before.balancer.name }
            return before.live.compactMap { backend in
                let now = after?.backends.first { $0.node == backend.node }
                // One that is drained finishes what it has.
                if now?.state == .up || now?.state == .draining { return nil }
                return Flows(
                    transport: before.balancer.transport, port: before.balancer.listenPort,
                    address: backend.endpoint.address)
            }
        }
    }

    private func forget(_ flows: Flows) async {
        do throws(EngineFailure) {
            // 1: there was none.
            _ = try await conntrack.run(
                [
                    "-D", "-p", flows.transport.rawValue, "--orig-port-dst", "\(flows.port)", "--reply-src",
                    flows.address.description,
                ], on: spawner, expected: [0, 1])
        } catch {
            guard !hasWarned else { return }
            hasWarned = true
            Log.warning(
                "connections to a dead backend stay there until they time out: \(error.problem). \(error.remedy)")
        }
    }
}
