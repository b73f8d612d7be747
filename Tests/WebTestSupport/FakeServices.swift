package import BrambleAPI

/// Services and mirrors of a cluster that exists in memory only.
package struct FakeServices: Sendable {
    package var services: [ServiceInfo] = []
    package var mirrors: [MirrorInfo] = []
    package var parked: [ParkedFile] = []
    package var volumes: [VolumeInfo] = []
    /// “move files to node2” and so on, in order.
    package var orders: [String] = []
    /// What was asked of `apply`, in order.
    package var applied: [ApplyRequest] = []
    package var isNothingApplied = false
    package var balancers = [
        BalancerInfo(
            name: "web", transport: .http, listen: ":80",
            backends: [
                .init(node: "serv1", address: "192.168.1.11:8080", state: .up),
                .init(node: "serv2", address: "192.168.1.12:8080", state: .failing, reason: "nobody listens there"),
            ], sticky: .source)
    ]
    package var clocks = [
        ClockInfo(node: "serv1", offsetMs: 0, errorMs: 0, source: "192.53.103.108", synchronized: true, serves: true),
        ClockInfo(node: "serv2", offsetMs: -0.21, errorMs: 0.4, source: "192.168.1.11", synchronized: true),
        ClockInfo(node: "serv4", offsetMs: nil, errorMs: nil, source: nil, synchronized: false),
    ]
    /// Nil for an example.
    package var locks: [LockInfo]?
    package init() {}
}

extension FakeCluster {
    /// A file server with its mirror on the first node, and a web shop that is held up.
    package func serve() {
        change { state in
            let names = state.nodes.map(\.name)
            state.services.services = [
                ServiceInfo(
                    name: "files", state: .running, node: names.first, epoch: 7, addresses: ["192.168.1.50/24"],
                    guarantee: names.count >= 3 ? .majority : .singleFault, since: "2026-03-01T10:00:00.000Z",
                    run: "systemd:smbd", lastGapMs: 412, mirrors: ["samba"], lastGapAt: "2026-03-01T10:00:00.000Z",
                    lastGapCause: .failure),
                ServiceInfo(
                    name: "shop", state: .blocked, node: nil, epoch: 2, addresses: ["192.168.1.51/24", "fd77::51/64"],
                    guarantee: .bestEffort, since: "2026-03-01T10:00:00.000Z", run: "exec:/usr/bin/shop -f",
                    reason: "the address 192.168.1.51 is in use by 02:00:00:00:00:09"),
            ]
            state.services.mirrors = [
                MirrorInfo(
                    name: "samba", from: names.first, to: Array(names.dropFirst()),
                    lastRun: "2026-03-01T10:00:00.000Z", behindSeconds: 12, files: 1204, bytes: 48_200_000,
                    state: .equal, conflicts: 1)
            ]
            let bricks = names.prefix(3).enumerated().map { number, name in
                VolumeInfo.Brick(
                    node: name, path: "/data/bricks/shared", online: number < 2, toHeal: number < 2 ? 12 : 0,
                    totalBytes: 240_000_000_000, freeBytes: 91_000_000_000)
            }
            state.services.volumes = [
                VolumeInfo(
                    name: "shared", kind: .replicate, replica: 3, bricks: bricks, mount: "/bramble/shared",
                    mountedOn: Array(names.prefix(2)),
                    notMounted: names.dropFirst(3).map { .init(node: $0, reason: "this machine has no FUSE") },
                    toHeal: 12, totalBytes: 240_000_000_000, freeBytes: 91_000_000_000, state: .degraded,
                    reason: "\(bricks.last?.node ?? "") is away; the files are there all the same",
                    progress: "12 entries to heal",
                    offer:
                        "if it does not come back: bramble volume replace-brick shared \(bricks.last?.node ?? "") node9"
                )
            ]
            state.services.parked = [
                ParkedFile(
                    id: "p1", mirror: "samba", path: "/var/lib/samba/passdb.tdb", node: names.last ?? "",
                    at: "2026-03-01T10:00:00.000Z", changed: "2026-02-28T22:10:00.000Z", bytes: 421_888)
            ]
        }
    }

    /// Balancers in every state, clocks of which one is off, and labels.
    package func balance() {
        change { state in
            let names = state.nodes.map(\.name)
            func backends(_ states: [(BalancerInfo.Backend.State, String)], port: Int) -> [BalancerInfo.Backend] {
                zip(names, states).enumerated().map { place, pair in
                    .init(
                        node: pair.0, address: "192.168.1.\(11 + place):\(port)", state: pair.1.0,
                        reason: pair.1.1)
                }
            }
            state.services.balancers = [
                BalancerInfo(
                    name: "lora", transport: .udp, listen: ":1700",
                    backends: backends([(.up, ""), (.up, "")], port: 1701),
                    sticky: .source, service: "files"),
                BalancerInfo(
                    name: "mail", transport: .tcp, listen: "192.168.1.50:25",
                    backends: backends([(.failing, "nothing listens at 192.168.1.11:2525")], port: 2525), sticky: .none,
                    reason:
                        "nft is not installed; TCP and UDP balancers are rules of the kernel's; apt install nftables"),
                BalancerInfo(
                    name: "web", transport: .http, listen: ":80",
                    backends: backends(
                        [
                            (.up, ""), (.draining, "an operator drains the node"), (.down, "the node is down"),
                            (.failing, "it answered /health with 503"), (.unchecked, "not asked yet"),
                        ], port: 8080), sticky: .source),
            ]
            state.services.clocks = names.enumerated().map { place, name in
                switch place {
                case 0:
                    ClockInfo(
                        node: name, offsetMs: 0, errorMs: 0, source: "192.53.103.108", synchronized: true, serves: true,
                        kept: true)
                case 2:
                    ClockInfo(node: name, offsetMs: 2514.2, errorMs: 0.31, source: nil, synchronized: false, kept: true)
                case 3:
                    ClockInfo(node: name, offsetMs: nil, errorMs: nil, source: nil, synchronized: false, kept: true)
                default:
                    ClockInfo(
                        node: name, offsetMs: -0.214, errorMs: 0.402, source: "192.168.1.11", synchronized: true,
                        kept: true)
                }
            }
            if !names.isEmpty { state.nodes[0].labels = ["role": "web", "rack": "a"] }
        }
    }

    static func why(_ service: ServiceInfo) -> Explanation {
        let place = service.node.map { "runs on \($0)" } ?? "does not run: \(service.reason)"
        return Explanation(
            subject: service.name, answer: "\(service.name) \(place)",
            because: [
                .init(
                    at: service.since, text: "its lease was granted by 2 of 3 nodes",
                    figures: ["epoch": .integer(Int64(service.epoch))])
            ])
    }

    private static func noSuch(_ what: String, _ name: String) -> APIError {
        APIError(problem: "there is no \(what) “\(name)”", remedy: "the list shows what there is", kind: .notFound)
    }

    package func services() async throws(APIError) -> [ServiceInfo] { change { $0.services.services } }
    package func order(
        _ action: ServiceAction, service name: String, to node: String?
    ) async throws(APIError) -> ServiceChange {
        let answer: Result<ServiceChange, APIError> = change { state in
            guard let index = state.services.services.firstIndex(where: { $0.name == name }) else {
                return .failure(Self.noSuch("service", name))
            }
            let here = state.services.services[index].node
            let others = state.nodes.map(\.name).filter { $0 != here }
            if let node, !state.nodes.contains(where: { $0.name == node }) {
                return .failure(Self.noSuch("node", node))
            }
            state.services.orders.append(
                "\(action.rawValue) \(name)" + (node.map { " to \($0)" } ?? ""))
            switch action {
            case .start, .takeOver:
                state.services.services[index].state = .running
                state.services.services[index].isWanted = true
                state.services.services[index].reason = ""
                state.services.services[index].node = here ?? state.nodes.first?.name
            case .stop:
                state.services.services[index].state = .stopped
                state.services.services[index].isWanted = false
                state.services.services[index].node = nil
            case .move, .drill:
                state.services.services[index].node = node ?? others.first
                state.services.services[index].epoch += 1
                state.services.services[index].lastGapMs = 48
                state.services.services[index].lastGapCause = .move
            }
            let now = state.services.services[index].node
            let isMove = action == .move || action == .drill
            let done =
                isMove
                ? "\(name) runs on \(now ?? "no node") now" : "\(name) \(action == .stop ? "is stopped" : "runs")"
            return .success(ServiceChange(name: name, done: done, node: now, gapMs: isMove ? 48 : nil))
        }
        return try answer.get()
    }
    package func clocks(within limit: Double?, wait: Duration) async throws(APIError) -> [ClockInfo] {
        change { $0.services.clocks }
    }
    package func keepClocks(_ request: ClockRequest) async throws(APIError) -> NodeChange {
        change { state in
            for index in state.services.clocks.indices {
                state.services.clocks[index].kept = request.on
                state.services.clocks[index].serves = request.on && index == 0
            }
        }
        return NodeChange(name: "clock", done: request.on ? "chrony keeps them" : "the clocks are left alone")
    }
    package func volumes() async throws(APIError) -> [VolumeInfo] { change { $0.services.volumes } }
    private func volume(_ name: String) throws(APIError) -> VolumeInfo {
        guard let volume = change({ $0.services.volumes.first { $0.name == name } }) else {
            throw Self.noSuch("volume", name)
        }
        return volume
    }
    package func createVolume(_ request: VolumeRequest) async throws(APIError) -> VolumeInfo {
        change { state in
            let names = state.nodes.map(\.name)
            let volume = VolumeInfo(
                name: request.name, kind: .replicate, replica: request.replica ?? 3,
                bricks: names.prefix(max(0, request.replica ?? 3)).map {
                    .init(node: $0, path: request.path ?? "/data/bricks/\(request.name)", online: true)
                }, mount: request.mount ?? "/bramble/\(request.name)", mountedOn: names, state: .online)
            state.services.volumes.append(volume)
            return volume
        }
    }
    package func deleteVolume(_ name: String) async throws(APIError) -> NodeChange {
        _ = try volume(name)
        change { $0.services.volumes.removeAll { $0.name == name } }
        return NodeChange(name: name, done: "the volume \(name) is deleted")
    }
    package func changeBricks(
        of volume: String, _ request: VolumeBricksRequest
    ) async throws(APIError) -> NodeChange {
        _ = try self.volume(volume)
        return NodeChange(name: volume, done: "\(request.add?.first ?? "nobody") gets a brick of \(volume)")
    }
    package func healVolume(_ name: String) async throws(APIError) -> NodeChange {
        let volume = try volume(name)
        change { $0.services.orders.append("heal \(name)") }
        return NodeChange(name: name, done: "\(volume.toHeal) entries of \(name) are healed now")
    }
    package func balancers() async throws(APIError) -> [BalancerInfo] {
        change { $0.services.balancers }
    }
    package func locks() async throws(APIError) -> [LockInfo] {
        change { state in
            state.services.locks
                ?? [LockInfo(name: "nightly", node: "serv1", epoch: 3, waiting: 1, since: "2026-03-01T10:00:00.000Z")]
        }
    }
    /// Held at once, until it is released.
    package func hold(lock name: String, wait: Duration?) async throws(APIError) -> AsyncStream<LockNews> {
        AsyncStream { continuation in
            continuation.yield(LockNews(state: .held, epoch: 4, untilNs: 1))
            continuation.yield(LockNews(state: .lost, epoch: 4, untilNs: 1, reason: "the example is over"))
            continuation.finish()
        }
    }
    package func release(lock name: String, epoch: UInt64) async throws(APIError) -> LockInfo {
        LockInfo(name: name, node: nil, epoch: epoch, waiting: 0)
    }
    package func label(_ name: String, _ change: LabelRequest) async throws(APIError) -> NodeChange {
        guard self.change({ $0.nodes.contains { $0.name == name } }) else { throw Self.noSuch("node", name) }
        self.change { state in
            for index in state.nodes.indices where state.nodes[index].name == name {
                state.nodes[index].labels.merge(change.set) { _, new in new }
                for key in change.remove { state.nodes[index].labels[key] = nil }
            }
        }
        return NodeChange(name: name, done: "labelled")
    }
    package func order(_ duty: NodeDuty, node name: String) async throws(APIError) -> NodeChange {
        guard change({ $0.nodes.contains { $0.name == name } }) else { throw Self.noSuch("node", name) }
        change { state in
            state.services.orders.append("\(duty.rawValue) \(name)")
            for index in state.nodes.indices where state.nodes[index].name == name {
                state.nodes[index].duty =
                    switch duty {
                    case .hold: .held
                    case .drain: .drained
                    case .resume: nil
                    }
            }
            let other = state.nodes.first { $0.name != name && $0.state == .alive }?.name
            for index in state.services.services.indices
            where duty == .drain && state.services.services[index].node == name {
                state.services.services[index].node = other
                state.services.services[index].epoch += 1
            }
        }
        let done =
            switch duty {
            case .hold: "\(name) runs nothing until it is resumed"
            case .resume: "\(name) may run services again"
            case .drain: "\(name) has handed over what it ran, and takes nothing new until it is resumed"
            }
        return NodeChange(name: name, done: done)
    }
    package func mirrors() async throws(APIError) -> [MirrorInfo] { change { $0.services.mirrors } }
    package func runMirror(_ name: String) async throws(APIError) -> MirrorInfo {
        let mirror: MirrorInfo? = change { state in
            state.services.orders.append("run \(name)")
            return state.services.mirrors.first { $0.name == name }
        }
        guard let mirror else { throw Self.noSuch("mirror", name) }
        return mirror
    }
    package func parkedFiles(of mirror: String?) async throws(APIError) -> [ParkedFile] {
        change { $0.services.parked.filter { mirror == nil || $0.mirror == mirror } }
    }
    package func restoreParkedFile(_ id: String) async throws(APIError) -> NodeChange {
        let file: ParkedFile? = change { state in
            defer {
                state.services.parked.removeAll { $0.id == id }
                for index in state.services.mirrors.indices {
                    let name = state.services.mirrors[index].name
                    state.services.mirrors[index].conflicts = state.services.parked.count { $0.mirror == name }
                }
            }
            return state.services.parked.first { $0.id == id }
        }
        guard let file else { throw Self.noSuch("parked file", id) }
        return NodeChange(name: file.mirror, done: "\(file.path) is as \(file.node) had it")
    }
}
