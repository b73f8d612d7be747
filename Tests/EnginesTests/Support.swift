import Crypto
import Glibc
import Mirrors
import Primitives
import Reactor
import TestSupport
import Testing
import Transport

@testable import Engines

let loopback = IPAddress("127.0.0.1")!
let web = ServiceName("web")!

private let channelProgram: String = {
    // Beside the test bundle.
    let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    let whole = realpath(bundle, nil).map { pointer in
        defer { free(pointer) }
        return String(cString: pointer)
    }
    let path = whole ?? bundle
    return path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/mirror-channel"
}()

/// A node with its own data directory, tunnels over TLS and real rsync.
///
/// Both nodes of a test are in one mount namespace, so each has its files under a root of its own: paths differ, which a real
/// cluster's do not. The engine of the receiver is told its own paths; the request is rewritten on the way.
final class MirrorNode: Sendable {
    let identity = Identity.generate()
    let files = TemporaryDirectory()
    let streamLoop = EventLoop(name: "streams")
    let tunnelLoop = EventLoop(name: "tunnels")
    let engineLoop = EventLoop(name: "mirrors")
    let name: NodeName
    let peers = Locked<[NodeID: Endpoint]>([:])
    let news = Locked<[String]>([])
    let freshness = Locked<[ServiceName: MirrorFreshness]>([:])
    let others = Locked<[MirrorNode]>([])
    private let parts = Locked<(engine: MirrorEngine, tunnels: Tunnels, streams: StreamTransport)?>(nil)
    var id: NodeID { identity.id }
    var engine: MirrorEngine { parts.withLock { $0!.engine } }
    var tunnels: Tunnels { parts.withLock { $0!.tunnels } }
    var endpoint: Endpoint { Endpoint(loopback, port: parts.withLock { $0!.streams.port }) }
    /// Where its mirrored files are.
    var root: String { files.file("files") }
    func path(_ name: String) -> String { "\(root)/\(name)" }
    var data: String { files.file("data") }

    init(_ name: String, change: (inout MirrorEngine.Options) -> Void = { _ in }) throws {
        self.name = NodeName(name)!
        mkdir(files.file("data"), 0o700)
        mkdir(files.file("files"), 0o755)
        var options = MirrorEngine.Options(channel: [channelProgram], directory: files.file("data"))
        options.keeper.settle = .milliseconds(20)
        options.keeper.firstRetry = .milliseconds(100)
        change(&options)
        try build(options)
    }

    private func build(_ options: MirrorEngine.Options) throws {
        let outlets = MirrorEngine.Outlets(
            tunnel: { [weak self] peer, request, input, output in
                guard let self, let endpoint = self.peers.withLock({ $0[peer] }) else { return .failed("unknown") }
                let ends = Tunnels.Ends(input: input, output: output, endsWithOther: true)
                do throws(TunnelError) {
                    _ = try await self.tunnels.run(to: peer, endpoints: [endpoint], request: request, ends: ends)
                    return .carried
                } catch { return .failed(error.problem) }
            },
            freshness: { [weak self] mirror, freshness in self?.freshness.withLock { $0[mirror] = freshness } },
            tell: { [weak self] news in self?.news.withLock { $0.append(news.sentence) } },
            send: { [weak self] bytes, peer in
                guard let self else { return }
                for other in self.others.withLock({ $0 }) where peer == nil || peer == other.id {
                    let id = self.identity.id
                    Task { await other.engine.received(bytes, from: id) }
                }
            })
        let engine: MirrorEngine = MirrorEngine(id: identity.id, options: options, outlets: outlets, loop: engineLoop)
        let known = peers
        let allowed: @Sendable (NodeID) -> Bool = { id in known.withLock { $0[id] != nil } }
        let tunnels: Tunnels = Tunnels(
            identity: identity, loop: tunnelLoop, software: "test", isAllowed: allowed,
            requested: { [weak self] peer, request in
                guard let self else { return .refuse("gone") }
                switch await engine.requested(by: peer, self.here(request)) {
                case .accept(let socket): return .accept(Tunnels.Ends(socket))
                case .refuse(let reason): return .refuse(reason)
                }
            })
        let streams = try StreamTransport(
            identity: identity, loop: streamLoop, port: 0, addresses: [loopback], software: "test", tunnels: tunnels,
            isAllowed: allowed, received: { _, _ in })
        parts.withLock { $0 = (engine, tunnels, streams) }
    }

    /// The same place below this node's root.
    private func here(_ bytes: [UInt8]) -> [UInt8] {
        guard var request = try? TransferRequest(encoded: bytes) else { return bytes }
        for other in others.withLock({ $0 }) where request.push.path.hasPrefix(other.root) {
            request.push.path = root + request.push.path.dropFirst(other.root.count)
        }
        return request.encoded
    }

    func stop() async {
        await engine.stop()
        let (tunnels, streams) = parts.withLock { ($0!.tunnels, $0!.streams) }
        await tunnels.stop()
        await streams.stop()
        for loop in [streamLoop, tunnelLoop, engineLoop] { loop.stop() }
    }

    func spec(_ names: [String], every: Duration? = .seconds(3_600)) -> MirrorSpec {
        MirrorSpec(name: web, paths: names.map(path), schedule: every.map { .every($0) } ?? .onChange)
    }

    /// Calls until it is true; false when it never was. The machine may be busy: generous.
    func wait(seconds: Int = 120, _ isTrue: @Sendable () async -> Bool) async -> Bool {
        let end = SystemClock.now + .seconds(seconds)
        while SystemClock.now < end {
            if await isTrue() { return true }
            try? await engineLoop.sleep(for: .milliseconds(20))
        }
        return await isTrue()
    }
    func isSynced(_ epoch: UInt64) async -> Bool {
        await engine.ownStatus().first.map { $0.whole == Epoch(epoch) } ?? false
    }
    func text(_ name: String) -> String? { files.text("files/\(name)") }
    func write(_ text: String, _ name: String) throws { try files.write(text, to: "files/\(name)") }
    func has(_ name: String) -> Bool { access(path(name), F_OK) == 0 }
    func says(_ part: String) -> Bool { news.withLock { $0.contains { $0.contains(part) } } }
}

/// Two nodes, or more, that know each other and a mirror `web`.
func makeNodes(
    _ count: Int = 2, paths: [String] = ["www/"], every: Duration? = .seconds(3_600),
    change: (inout MirrorEngine.Options) -> Void = { _ in }
) async throws -> [MirrorNode] {
    let nodes = try (1...count).map { try MirrorNode("rpi\($0)", change: change) }
    for node in nodes {
        let endpoints = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.endpoint) })
        node.peers.withLock { $0 = endpoints }
        node.others.withLock { $0 = nodes.filter { $0 !== node } }
    }
    for node in nodes {
        await node.engine.start()
        await node.engine.use([node.spec(paths, every: every)])
        await meet(node, nodes)
    }
    return nodes
}

func meet(_ node: MirrorNode, _ nodes: [MirrorNode], without gone: Set<NodeID> = []) async {
    await node.engine.use(
        nodes.map { MirrorPeer(id: $0.id, name: $0.name, state: gone.contains($0.id) ? .down : .alive) },
        isIsolated: false)
}

func stop(_ nodes: [MirrorNode]) async { for node in nodes { await node.stop() } }
