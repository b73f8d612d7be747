import BrambleAPI
import Primitives
import Reactor

/// What the dashboard shows, told to all who look at it: the node is asked, and the text is made, once for all of them,
/// about four times a second, only while somebody looks and only when something changed.
actor LiveFeed {
    static let interval: Duration = .milliseconds(250)
    /// Events a page gets to begin with.
    static let firstEvents = 200
    /// The database, the mirrors, the balancers and the volumes are asked in every fourth round: their figures move all the
    /// time, and nobody acts on them within a second.
    private static let slowRounds = 4

    private struct Sections: Equatable {
        var status: [UInt8] = []
        var nodes: [UInt8] = []
        var phi: [UInt8] = []
        var edges: [UInt8] = []
        var waiting: [UInt8] = []
        var database: [UInt8] = []
        var services: [UInt8] = []
        var mirrors: [UInt8] = []
        var volumes: [UInt8] = []
        var balancers: [UInt8] = []
        var locks: [UInt8] = []
    }
    /// The moving part of the nodes and edges, short.
    private struct Suspicion: Codable, Sendable {
        /// By name; null for nodes that this one does not watch.
        var nodes: [String: Double?]
        /// By “from>to”.
        var edges: [String: Double?]
        var uptimeSeconds: Double
    }

    private let service: any BrambleService
    private let limits: WebLimits
    private let sleep: @Sendable (Duration) async throws -> Void
    private var readers: [ObjectIdentifier: ByteStream] = [:]
    private var pump: Task<Void, Never>?
    private var last = Sections()
    // What the sections were made from, without what moves all the time.
    private var steadyStatus: ClusterStatus?
    private var steadyNodes: [NodeInfo] = []
    private var steadyEdges: [WatchEdge] = []

    init(
        service: any BrambleService, limits: WebLimits, sleep: @escaping @Sendable (Duration) async throws -> Void
    ) {
        self.service = service
        self.limits = limits
        self.sleep = sleep
    }

    /// Feeds one reader until it leaves.
    func serve(_ stream: ByteStream, after lastEvent: UInt64?) async {
        let coming = await service.eventStream()
        let kept = await service.events(since: lastEvent)
        for event in kept.suffix(Self.firstEvents) {
            await stream.sendInTurn(Message.make(id: event.id, event: "event", data: Message.json(event)))
        }
        let seen = kept.last?.id ?? lastEvent ?? 0
        join(stream)
        defer { leave(stream) }
        for await event in coming where event.id > seen {
            guard stream.send(Message.make(id: event.id, event: "event", data: Message.json(event))) else { return }
        }
    }

    private func join(_ stream: ByteStream) {
        readers[ObjectIdentifier(stream)] = stream
        if pump == nil {
            last = Sections()
            steadyStatus = nil
            pump = Task { await self.run() }
        } else {
            for (name, data) in named(last) where !data.isEmpty { stream.send(Message.make(event: name, data: data)) }
        }
    }

    private func leave(_ stream: ByteStream) {
        readers[ObjectIdentifier(stream)] = nil
        if readers.isEmpty {
            pump?.cancel()
            pump = nil
        }
    }

    private func run() async {
        var round = 0
        while !Task.isCancelled {
            let (status, nodes, edges, waiting) = await (
                service.status(), service.nodes(), service.edges(), service.waiting()
            )
            guard !Task.isCancelled else { return }
            var next = sections(status, nodes, edges, waiting)
            // A machine that is in no cluster says nothing of its services, mirrors and database.
            next.services = (try? await service.services()).map { Message.json($0) } ?? last.services
            if round % Self.slowRounds == 0 {
                next.volumes = (try? await service.volumes()).map { Message.json($0) } ?? last.volumes
                next.mirrors = (try? await service.mirrors()).map { Message.json($0) } ?? last.mirrors
                next.balancers = (try? await service.balancers()).map { Message.json($0) } ?? last.balancers
                next.locks = (try? await service.locks()).map { Message.json($0) } ?? last.locks
                next.database = (try? await service.database()).map { Message.json($0) } ?? last.database
            }
            guard !Task.isCancelled else { return }
            round += 1
            for ((name, data), (_, old)) in zip(named(next), named(last)) where data != old && !data.isEmpty {
                let message = Message.make(event: name, data: data)
                for stream in readers.values { stream.send(message) }
            }
            last = next
            do { try await sleep(Self.interval) } catch { return }
        }
    }

    private func sections(
        _ status: ClusterStatus, _ nodes: [NodeInfo], _ edges: [WatchEdge], _ waiting: [WaitingMachine]
    ) -> Sections {
        var next = last
        var steady = status
        steady.uptimeSeconds = 0
        if steady != steadyStatus {
            steadyStatus = steady
            next.status = Message.json(status)
        }
        let calmNodes = nodes.map { node in
            var node = node
            node.phi = nil
            return node
        }
        if calmNodes != steadyNodes || next.nodes.isEmpty {
            steadyNodes = calmNodes
            next.nodes = Message.json(nodes)
        }
        let calmEdges = edges.map { edge in
            var edge = edge
            edge.phi = nil
            edge.rttMs = edge.rttMs.map { $0.rounded() }
            return edge
        }
        if calmEdges != steadyEdges || next.edges.isEmpty {
            steadyEdges = calmEdges
            next.edges = Message.json(edges)
        }
        let tenth = { (phi: Double?) in phi.map { ($0 * 10).rounded() / 10 } }
        next.phi = Message.json(
            Suspicion(
                nodes: Dictionary(nodes.map { ($0.name, tenth($0.phi)) }, uniquingKeysWith: { first, _ in first }),
                edges: Dictionary(
                    edges.map { ("\($0.from)>\($0.to)", tenth($0.phi)) }, uniquingKeysWith: { first, _ in first }),
                uptimeSeconds: status.uptimeSeconds.rounded()))
        next.waiting = Message.json(waiting)
        return next
    }

    private func named(_ sections: Sections) -> [(name: String, data: [UInt8])] {
        [
            ("status", sections.status), ("nodes", sections.nodes), ("phi", sections.phi), ("edges", sections.edges),
            ("waiting", sections.waiting), ("services", sections.services), ("mirrors", sections.mirrors),
            ("locks", sections.locks), ("balancers", sections.balancers), ("volumes", sections.volumes),
            ("database", sections.database),
        ]
    }
}
