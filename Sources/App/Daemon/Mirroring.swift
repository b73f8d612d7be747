import BrambleAPI
import Engines
import Glibc
import Logging
import Mirrors
import Node
import Primitives
import Reactor
import Services
import Transport
import Wire

/// The engine of mirrors in the daemon: what should be and who is there go in, files move, and what came of it goes to the
/// services and to people.
final class Mirroring: MirrorEngine, Sendable {
    private let engine: Engines.MirrorEngine
    private let engineLoop = EventLoop(name: "mirrors")
    private let tunnelLoop = EventLoop(name: "tunnels")
    let tunnels: Tunnels
    private let id: NodeID
    private let links: Links
    private let state = Locked(State())

    /// What is made after this.
    final class Links: Sendable {
        let streams = Locked<StreamTransport?>(nil)
        let pulse = Locked<Pulse?>(nil)
        fileprivate let addresses = Locked<[NodeID: [Endpoint]]>([:])
        fileprivate let tunnels = Locked<Tunnels?>(nil)
    }
    private struct State {
        var isRefreshing = false
        var isRefreshDue = false
        var specs: [MirrorSpec] = []
        var peers: [MirrorPeer] = []
        var isStarted = false
    }

    init(
        home: Home, journal: EventJournal, isAllowed: @escaping @Sendable (NodeID) -> Bool
    ) {
        let links = Links()
        self.links = links
        id = home.identity.id
        // By number: rsync starts it from a process of its own, and a newer version may be in our place on the disk.
        let options = Engines.MirrorEngine.Options(
            channel: ["/proc/\(getpid())/exe", "mirror-channel"], directory: home.directory.path)
        let engine = Engines.MirrorEngine(
            id: home.identity.id, options: options,
            outlets: Engines.MirrorEngine.Outlets(
                tunnel: { peer, request, input, output in
                    await Self.tunnel(links, to: peer, request, input, output)
                },
                freshness: { mirror, freshness in
                    links.pulse.withLock { $0 }?.post(.service(.mirror(mirror, Self.told(freshness))))
                },
                tell: { news in
                    let draft = EventDraft(type: news.type, subject: news.mirror.description, sentence: news.sentence)
                    Task { await journal.record(draft) }
                },
                send: { bytes, peer in
                    guard let streams = links.streams.withLock({ $0 }) else { return }
                    for (node, endpoints) in links.addresses.withLock({ $0 }) where peer == nil || peer == node {
                        streams.send(Frame(.mirror, payload: bytes), to: node, endpoints: endpoints)
                    }
                }), loop: engineLoop)
        self.engine = engine
        tunnels = Tunnels(
            identity: home.identity, loop: tunnelLoop, software: Version.current, isAllowed: isAllowed,
            requested: { peer, request in
                switch await engine.requested(by: peer, request) {
                case .accept(let socket): .accept(Tunnels.Ends(socket))
                case .refuse(let reason): .refuse(reason)
                }
            })
        links.tunnels.withLock { $0 = tunnels }
    }

    private static func tunnel(
        _ links: Links, to peer: NodeID, _ request: [UInt8], _ input: Int32, _ output: Int32
    ) async -> Engines.MirrorEngine.TunnelEnd {
        guard let tunnels = links.tunnels.withLock({ $0 }) else {
            close(input)
            close(output)
            return .failed("this node is stopping")
        }
        let endpoints = links.addresses.withLock { $0[peer] } ?? []
        let ends = Tunnels.Ends(input: input, output: output, endsWithOther: true)
        do throws(TunnelError) {
            _ = try await tunnels.run(to: peer, endpoints: endpoints, request: request, ends: ends)
            return .carried
        } catch { return .failed(error.problem) }
    }

    /// What services need to know of it: old data is no reason to let a service stay down, none at all is.
    private static func told(_ freshness: Mirrors.MirrorFreshness) -> Services.MirrorFreshness {
        switch freshness {
        case .pristine: .pristine
        case .synced(let behind): .synced(behind: behind)
        case .receiving: .receiving
        case .never: .never
        case .outdated: .synced(behind: .zero)
        }
    }

    // MARK: Life

    func start(streams: StreamTransport, pulse: Pulse) {
        links.streams.withLock { $0 = streams }
        links.pulse.withLock { $0 = pulse }
        state.withLock { $0.isStarted = true }
        Task {
            await engine.start()
            refresh()
        }
    }
    /// What others still send must end before a goodbye is final.
    func stop() async {
        state.withLock { $0.isStarted = false }
        await engine.stop()
        await tunnels.stop()
        engineLoop.stop()
        tunnelLoop.stop()
        links.pulse.withLock { $0 = nil }
        links.streams.withLock { $0 = nil }
        links.tunnels.withLock { $0 = nil }
    }

    // MARK: What should be, and who is there

    func peersChanged(_ reachable: [(NodeID, [Endpoint])]) {
        links.addresses.withLock { $0 = Dictionary(reachable, uniquingKeysWith: { first, _ in first }) }
        refresh()
    }

    /// Something may have changed: a member, a service, a mirror. From any thread, as often as anybody likes.
    func refresh() {
        let begins = state.withLock { state in
            guard state.isStarted else { return false }
            if state.isRefreshing { state.isRefreshDue = true }
            defer { state.isRefreshing = true }
            return !state.isRefreshing
        }
        if begins { Task { await self.look() } }
    }

    private func look() async {
        while true {
            state.withLock { $0.isRefreshDue = false }
            if let pulse = links.pulse.withLock({ $0 }), let house = await pulse.house {
                await take(await pulse.snapshot, house)
            }
            let isDone = state.withLock { state in
                if !state.isRefreshDue { state.isRefreshing = false }
                return !state.isRefreshing
            }
            if isDone { return }
        }
    }

    private func take(_ snapshot: NodeSnapshot, _ house: HouseSnapshot) async {
        let specs = house.desired.mirrors.map { mirror in
            let schedule: MirrorSpec.Schedule =
                switch mirror.schedule {
                case .every(let interval): .every(interval)
                case .onChange: .onChange
                }
            return MirrorSpec(
                name: mirror.name, paths: mirror.paths, schedule: schedule, exclude: mirror.exclude, to: mirror.to,
                limit: mirror.limit)
        }
        let peers = snapshot.members.compactMap { member -> MirrorPeer? in
            guard member.rank != .removed, member.record.profile.role == .node,
                let name = snapshot.names.name(of: member.id)
            else { return nil }
            let peerState: MirrorPeer.State =
                switch member.rank {
                case .alive: .alive
                case .suspect: .suspect
                case .failed, .left, .removed: .down
                }
            return MirrorPeer(id: member.id, name: name, state: peerState)
        }
        let before = state.withLock { state in
            defer { (state.specs, state.peers) = (specs, peers) }
            return (state.specs, state.peers)
        }
        if peers != before.1 { await engine.use(peers, isIsolated: false) }
        if specs != before.0 { await engine.use(specs) }
        for report in house.reports {
            guard let node = report.node, node != id, report.state == .running || report.state == .starting,
                let service = house.desired.service(report.service)
            else { continue }
            for mirror in service.mirrors { await engine.heard(mirror, report.epoch) }
        }
    }

    func received(_ bytes: [UInt8], from peer: NodeID) { Task { await engine.received(bytes, from: peer) } }

    // MARK: For services

    func feed(_ mirrors: [ServiceName], epoch: Epoch, done: @escaping @Sendable (OrderResult) -> Void) {
        Task {
            await engine.feed(mirrors, epoch: epoch)
            done(.done)
        }
    }
    func stop(_ mirrors: [ServiceName], flush: Duration, done: @escaping @Sendable (OrderResult) -> Void) {
        Task {
            let behind = await engine.stop(mirrors, flush: flush)
            guard behind.isEmpty || flush == .zero else {
                return done(.failed(.init("not everything could be sent to \(behind.count) other nodes")))
            }
            done(.done)
        }
    }

    // MARK: For people

    func infos(_ storyteller: Storyteller) async -> [MirrorInfo] {
        await engine.overview().map { mirror in
            let state: MirrorInfo.State =
                switch mirror.state {
                case .equal: .equal
                case .running: .running
                case .behind: .behind
                case .paused: .paused
                case .failed: .failed
                }
            return MirrorInfo(
                name: mirror.mirror.description, from: mirror.source.map(storyteller.name),
                to: mirror.targets.map(storyteller.name),
                lastRun: mirror.lastRun.map { Timestamp.text(wallNanoseconds: $0 * 1_000_000_000) },
                behindSeconds: mirror.behind?.seconds ?? 0, files: mirror.files, bytes: Int64(clamping: mirror.bytes),
                state: state, conflicts: mirror.parked, reason: mirror.reason)
        }
    }

    /// Asks for a run, and waits until one that began afterwards has ended.
    func run(_ mirror: ServiceName, _ storyteller: Storyteller) async throws(APIError) -> MirrorInfo {
        func find() async -> MirrorOverview? { await engine.overview().first { $0.mirror == mirror } }
        guard let before = await find() else {
            let all = await engine.overview().map(\.mirror.description).joined(separator: ", ")
            throw APIError(
                problem: "no mirror is called “\(mirror)”",
                remedy: all.isEmpty ? "make one: bramble apply -f FILE" : "the mirrors are: \(all)", kind: .notFound)
        }
        guard before.source != nil else {
            throw APIError(
                problem: "no node serves the files of \(mirror) now, so none is their source",
                remedy: "bramble service list tells what runs where", kind: .refused)
        }
        let began = SystemClock.now
        await engine.runNow(mirror)
        while true {
            guard let found = await find() else { break }
            let waited = SystemClock.now - began
            if found.state == .paused || found.state == .failed, waited > .seconds(2) {
                throw APIError(
                    problem: "\(mirror) was not copied: \(found.reason)",
                    remedy: "bramble mirror list shows how it stands",
                    kind: .unavailable)
            }
            // Every target has what was there when it was asked for; what others tell is up to a second old.
            if found.state == .equal || found.targets.isEmpty, let behind = found.behind, behind < waited {
                return await infos(storyteller).first { $0.name == mirror.description } ?? Self.none(mirror)
            }
            guard waited < Self.patience, (try? await engineLoop.sleep(for: .milliseconds(100))) != nil else { break }
        }
        throw APIError(
            problem: "\(mirror) is not done yet", remedy: "it goes on by itself: bramble mirror list",
            kind: .unavailable)
    }
    private static let patience = Duration.seconds(3_600)
    private static func none(_ mirror: ServiceName) -> MirrorInfo {
        MirrorInfo(
            name: mirror.description, from: nil, to: [], lastRun: nil, behindSeconds: 0, files: 0, bytes: 0,
            state: .paused)
    }

    func parked(of mirror: String?, _ storyteller: Storyteller) async -> [ParkedFile] {
        await engine.parked().filter { mirror == nil || mirror == $0.entry.mirror.description }.map { node, entry in
            ParkedFile(
                id: entry.id, mirror: entry.mirror.description, path: entry.path, node: storyteller.name(node),
                at: Timestamp.text(wallNanoseconds: entry.at * 1_000_000_000),
                changed: Timestamp.text(wallNanoseconds: entry.changed * 1_000_000_000),
                bytes: Int64(clamping: entry.bytes)
            )
        }
    }

    func restore(_ identifier: String, _ storyteller: Storyteller) async throws(APIError) -> NodeChange {
        switch await engine.restore(identifier) {
        case .restored(let path):
            return NodeChange(name: path, done: "\(path) is back; what was there before is parked in its place")
        case .unknown:
            throw APIError(
                problem: "no parked file has the ID “\(identifier)”", remedy: "bramble mirror conflicts lists them",
                kind: .notFound)
        case .elsewhere(let node):
            throw APIError(
                problem: "that file is on \(storyteller.name(node))",
                remedy: "ask there: bramble --node \(storyteller.name(node)) mirror restore \(identifier)",
                kind: .refused)
        case .overwritten(let node, let file, let path):
            throw APIError(
                problem: "\(storyteller.name(node)) serves these files now: the next copy would replace it again",
                remedy:
                    "copy it to the source: scp \(file) \(storyteller.name(node)):\(path), or move the service here first",
                kind: .refused)
        case .failed(let reason):
            throw APIError(
                problem: "it could not be put back: \(reason)",
                remedy: "make room, or see to its rights, and try again",
                kind: .unavailable)
        }
    }
}
