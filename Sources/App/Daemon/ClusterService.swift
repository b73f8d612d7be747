import BrambleAPI
import Crypto
import Membership
import Node
import Primitives
import Reactor
import Services

import struct Storage.FactEdit
import struct Storage.SchemaStep

/// Everything a person can ask of this node, whatever state it is in: waiting for a key, a member, or removed.
///
/// The web server holds it for the daemon's whole life; `Daemon` says which stage the node is in.
final class ClusterService: BrambleService {
    enum Stage: Sendable {
        case starting
        case waiting(WaitingMachineInfo)
        case member(Member)
        case removed(node: String, cluster: String, by: String?, at: String)
    }
    struct WaitingMachineInfo: Sendable {
        var name: String
        var id: NodeID
        /// What `bramble doctor` finds on the machine; blocking.
        var examine: @Sendable () -> [DoctorCheck]
    }

    private let stage = Locked(Stage.starting)
    private let journal: EventJournal
    private let worker: EventLoop
    private let startedAt = SystemClock.now

    init(journal: EventJournal, worker: EventLoop) {
        self.journal = journal
        self.worker = worker
    }

    func enter(_ next: Stage) { stage.withLock { $0 = next } }

    private var current: Stage { stage.withLock { $0 } }
    private var member: Member? { if case .member(let member) = current { member } else { nil } }

    private func needMember() throws(APIError) -> Member {
        switch current {
        case .member(let member): return member
        case .starting:
            throw APIError(problem: "this node is still starting", remedy: "ask again in a moment", kind: .unavailable)
        case .waiting(let machine):
            throw APIError(
                problem: "this machine has no cluster key yet, so it is in no cluster",
                remedy: "on a member: bramble node add \(machine.name); or copy cluster.key here; or: bramble init",
                kind: .unavailable)
        case .removed(_, let cluster, _, _):
            throw APIError(
                problem: "this node was removed from the cluster “\(cluster)”",
                remedy: "restart it: it then waits to be added again", kind: .unavailable)
        }
    }

    // MARK: Looking

    func nodes() async -> [NodeInfo] {
        guard let member else { return [] }
        let (snapshot, facts) = await (member.pulse.snapshot, member.pulse.facts)
        let standing = await member.pulse.house?.standing ?? StandingOrders()
        return Presentation(snapshot, standing: standing, labels: NodeLabels.all(in: facts)).nodes
    }

    func edges() async -> [WatchEdge] {
        guard let member else { return [] }
        return await Presentation(member.pulse.snapshot).edges
    }

    func status() async -> ClusterStatus {
        let uptime = ((SystemClock.now - startedAt).seconds * 10).rounded() / 10
        let house = await member?.pulse.house
        let guarantee = house?.guarantee.rawValue ?? "best-effort"
        func status(
            _ state: ClusterStatus.State, cluster: String = "", node: String = "", id: NodeID? = nil,
            counts: ClusterStatus.Counts = .init(alive: 0, down: 0), notes: [String] = [],
            witness: WitnessStatus? = nil, duty: NodeInfo.Standby? = nil
        ) -> ClusterStatus {
            ClusterStatus(
                cluster: cluster, node: node, state: state, nodes: counts, guarantee: guarantee,
                uptimeSeconds: uptime, id: id?.description ?? "", code: id?.code ?? "", version: Version.current,
                notes: notes, witness: witness, duty: duty)
        }
        switch current {
        case .starting: return status(.joining, notes: ["this node is still starting"])
        case .waiting(let machine):
            return status(
                .joining, node: machine.name, id: machine.id,
                notes: [
                    "this machine has no cluster key that it can use, and waits to be added. Its code is \(machine.id.code). On a member: "
                        + "bramble node add \(machine.name). Or copy cluster.key from a member into the data directory. "
                        + "Or make a new cluster: bramble init --cluster NAME"
                ])
        case .removed(let node, let cluster, let remover, let time):
            return status(
                .removed, cluster: cluster, node: node,
                notes: [
                    "this node was removed from “\(cluster)” at \(time)\(remover.map { " by \($0)" } ?? ""); its copy of "
                        + "the cluster's data is wiped. Restart it to let it wait for a new cluster"
                ])
        case .member(let member):
            let snapshot = await member.pulse.snapshot
            let presentation = Presentation(snapshot)
            let counts = presentation.counts
            let others = snapshot.members.filter {
                $0.id != snapshot.id && $0.rank != .removed && $0.record.profile.role == .node
            }
            let witness = house.flatMap(presentation.witness)
            var notes: [String] = []
            var state = others.isEmpty ? ClusterStatus.State.alone : .member
            if member.isHeldAtTheDoor {
                state = .joining
                notes.append(
                    "a member wants an operator's yes first: bramble node add \(member.configuration.name), code "
                        + snapshot.id.code)
            } else if others.isEmpty {
                notes.append(
                    "no other node yet. Copy cluster.key to another machine's data directory and start Bramble there; on "
                        + "the same network it is found by itself, elsewhere start it with --join")
            } else if counts.alive == 1, others.contains(where: { $0.rank == .failed || $0.rank == .suspect }) {
                notes.append("none of the other nodes answers: check this machine's network")
            }
            if let witness, witness.votes, witness.state != .alive {
                notes.append(
                    "the witness \(witness.name) does not answer: until it does, no service survives the loss of a node"
                )
            }
            let duty = (house?.standing.standby(of: snapshot.id)).flatMap { NodeInfo.Standby($0) }
            if let duty {
                notes.append(
                    "this node is \(duty.rawValue): it takes nothing new until: bramble node resume "
                        + presentation.storyteller.name(snapshot.id))
            }
            notes += snapshot.names.conflicts.map {
                "two nodes are called \($0.wanted); the younger goes by \($0.given) until it is given another name"
            }
            notes += member.foreignClusters.map { "a node of another cluster is at \($0); it is ignored" }
            notes += await member.database.status { presentation.storyteller.name($0) }.notes
            notes += snapshot.applicants.map {
                "\($0.record.profile.name) waits for approval: bramble node add \($0.record.profile.name)"
            }
            return status(
                state, cluster: member.clusterName, node: presentation.storyteller.name(snapshot.id), id: snapshot.id,
                counts: counts, notes: notes, witness: witness, duty: duty)
        }
    }

    func events(since id: UInt64?) async -> [Event] { await journal.events(since: id) }
    func eventStream() async -> AsyncStream<Event> { await journal.stream() }

    func why(_ name: String) async throws(APIError) -> Explanation {
        let asked = try needMember()
        let snapshot = await asked.pulse.snapshot
        if snapshot.names.id(of: name) == nil, let service = ServiceName(name) {
            let shown = try await asked.presentation()
            let mirrors = await asked.mirrors.infos(shown.storyteller)
            if let answer = shown.explain(service, history: await journal.events(about: name), mirrors: mirrors) {
                return answer
            }
        }
        if snapshot.names.id(of: name) == nil,
            let volume = await asked.volumes.infos().first(where: { $0.name == name })
        {
            return volume.explanation(history: await journal.events(about: name))
        }
        guard let id = snapshot.names.id(of: name), let member = snapshot.members.first(where: { $0.id == id }) else {
            throw unknown(name, snapshot)
        }
        let storyteller = Storyteller(names: snapshot.names, selfID: snapshot.id)
        let history = await journal.events(about: storyteller.name(id))
        return storyteller.explain(
            member, threshold: snapshot.reportThreshold, edges: snapshot.edges, history: history)
    }

    private func unknown(_ name: String, _ snapshot: NodeSnapshot) -> APIError {
        let known = snapshot.names.names.values.sorted().map(\.description).joined(separator: ", ")
        return APIError(problem: "no node is called “\(name)”", remedy: "the nodes are: \(known)", kind: .notFound)
    }

    func version() async -> VersionInfo {
        VersionInfo(version: Version.current, protocolVersion: Version.protocolVersion)
    }

    // MARK: Adding and removing

    func waiting() async -> [WaitingMachine] {
        guard let member else { return [] }
        return await member.waitingMachines()
    }

    func add(_ name: String) async throws(APIError) -> NodeChange {
        let member = try needMember()
        let found = await member.waitingMachines().filter { [$0.name, $0.id, $0.code].contains(name.lowercased()) }
        guard let machine = found.first, let id = NodeID(machine.id) else {
            throw APIError(
                problem: "no machine called “\(name)” waits to be added",
                remedy: "start Bramble on it first; what waits is listed by: bramble node waiting", kind: .notFound)
        }
        guard found.count == 1 else {
            throw APIError(
                problem: "several machines called “\(name)” wait: \(found.map(\.code).joined(separator: ", "))",
                remedy: "say which by its code, which each shows with: bramble status", kind: .refused)
        }
        switch machine.reason {
        case .approval:
            _ = try await order(member) { (core, now) throws(NodeCore.Refusal) in
                ((), try core.approve(id, note: Timestamp.now(), now: now))
            }
            return NodeChange(name: machine.name, done: "\(machine.name) was approved and joins now")
        case .noKey:
            try await member.invite(machine, id)
            return NodeChange(name: machine.name, done: "\(machine.name) was given the cluster key and joins now")
        }
    }

    func remove(_ name: String) async throws(APIError) -> NodeChange {
        let member = try needMember()
        let snapshot = await member.pulse.snapshot
        let facts = await member.pulse.facts
        guard let id = snapshot.names.id(of: name) ?? Self.forgotten(name, facts) else {
            throw unknown(name, snapshot)
        }
        if let shown = snapshot.names.name(of: id), let refusal = await member.refusalToRemove(shown) { throw refusal }
        let keys = member.nextKeys()
        _ = try await order(member) { (core, now) throws(NodeCore.Refusal) in
            ((), try core.remove(id, key: keys.current, newKey: keys.next, note: Timestamp.now(), now: now))
        }
        if let farewell = snapshot.names.name(of: id).flatMap(member.volumes.farewell) {
            _ = try? await member.database.remember([FactEdit(farewell, [1])])
        }
        let shown = snapshot.names.name(of: id)?.description ?? name
        return NodeChange(
            name: shown, done: "\(shown) was removed: every node refuses it, and the cluster key was changed")
    }

    /// A member that has been away for so long that only its row in the database names it.
    private static func forgotten(_ name: String, _ facts: SharedFacts) -> NodeID? {
        for key in facts.keys(prefix: FactKey.members) {
            guard let id = NodeID(key.dropFirst(FactKey.members.count)), facts[FactKey.removed(id)] == nil else {
                continue
            }
            if id.description == name || id.code == name || facts[key]?.elementsEqual(name.utf8) == true { return id }
        }
        return nil
    }

    func label(_ name: String, _ change: LabelRequest) async throws(APIError) -> NodeChange {
        let member = try needMember()
        let snapshot = await member.pulse.snapshot
        guard let id = snapshot.names.id(of: name) else { throw unknown(name, snapshot) }
        let shown = snapshot.names.name(of: id)?.description ?? name
        let labels = try NodeLabels.changed(NodeLabels.all(in: await member.pulse.facts)[id] ?? [:], by: change)
        let note = try await member.database.remember([FactEdit(FactKey.labels(id), NodeLabels.encoded(labels))])
        let list = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
        return NodeChange(
            name: shown, done: list.isEmpty ? "\(shown) has no labels" : "\(shown) is labelled \(list)", note: note)
    }

    func probe(_ host: String) async throws(APIError) -> NodeChange { try await (try needMember()).probe(host) }

    private func order<Answer: Sendable>(
        _ member: Member,
        _ body: @Sendable (inout NodeCore, Instant) throws(NodeCore.Refusal) -> (Answer, [NodeEffect])
    ) async throws(APIError) -> Answer {
        do throws(NodeCore.Refusal) {
            return try await member.pulse.order(body)
        } catch {
            throw Self.explained(error)
        }
    }

    private static func explained(_ refusal: NodeCore.Refusal) -> APIError {
        switch refusal {
        case .unknownNode:
            APIError(problem: "that node is not a member", remedy: "bramble nodes lists the members", kind: .notFound)
        case .isSelf:
            APIError(
                problem: "a node cannot remove itself",
                remedy: "do it on another node; to stop this one only: systemctl stop bramble", kind: .refused)
        case .tooManyFacts:
            APIError(
                problem: "the cluster remembers too many removed nodes, users and tokens",
                remedy: "revoke tokens that nobody uses: bramble token list", kind: .refused)
        case .notWaiting:
            APIError(problem: "that machine does not wait any more", remedy: "bramble node waiting", kind: .notFound)
        }
    }

    // MARK: Locks

    func locks() async throws(APIError) -> [LockInfo] { await (try needMember()).locks() }
    func hold(lock name: String, wait: Duration?) async throws(APIError) -> AsyncStream<LockNews> {
        try await (try needMember()).hold(lock: name, wait: wait)
    }
    func release(lock name: String, epoch: UInt64) async throws(APIError) -> LockInfo {
        try await (try needMember()).release(lock: name, epoch: epoch)
    }

    // MARK: Accounts

    func authenticate(user: String, password: String) async -> Bool {
        guard let member else { return false }
        let stored = await member.pulse.facts[FactKey.user(user)]
        return await worker.run { Accounts.matches(password, stored: stored) }
    }

    func setPassword(user: String, password: String) async throws(APIError) -> String {
        let member = try needMember()
        try Accounts.check(user: user)
        try Accounts.check(password: password)
        let hash = await worker.run { Accounts.hash(password) }
        return try await member.database.remember([FactEdit(FactKey.user(user), hash)])
    }

    func authenticate(token: String) async -> String? {
        guard let member, token.utf8.count <= 256 else { return nil }
        return member.tokens.name(of: token)
    }

    func tokens() async -> [TokenInfo] {
        guard let member else { return [] }
        return await Accounts.tokens(in: member.pulse.facts)
    }

    func createToken(_ name: String) async throws(APIError) -> NewToken {
        let member = try needMember()
        guard NodeName(name) != nil else {
            throw APIError(problem: "“\(name)” is no token name", remedy: "use \(NodeName.rule)", kind: .invalid)
        }
        guard await member.pulse.facts[FactKey.token(name)] == nil else {
            throw APIError(
                problem: "there is a token “\(name)” already", remedy: "revoke it first: bramble token revoke \(name)",
                kind: .refused)
        }
        let (secret, stored) = Accounts.makeToken(at: Timestamp.now())
        let note = try await member.database.remember([FactEdit(FactKey.token(name), stored)])
        return NewToken(name: name, token: secret, note: note.isEmpty ? nil : note)
    }

    func revokeToken(_ name: String) async throws(APIError) -> String {
        let member = try needMember()
        guard await member.pulse.facts[FactKey.token(name)] != nil else {
            throw APIError(
                problem: "there is no token “\(name)”", remedy: "bramble token list shows them", kind: .notFound)
        }
        return try await member.database.remember([FactEdit(FactKey.token(name), nil)])
    }

    // MARK: Health

    func doctor() async -> [DoctorCheck] {
        switch current {
        case .member(let member): return await member.doctor()
        case .waiting(let machine):
            let waits = DoctorCheck(
                check: "cluster", state: .warn,
                text: "this machine has no cluster key that it can use, and waits to be added",
                remedy: "on a member: bramble node add \(machine.name); or copy cluster.key here; or: bramble init")
            return await [waits] + worker.run { machine.examine() }
        case .starting: return []
        case .removed(_, let cluster, _, _):
            return [
                DoctorCheck(
                    check: "cluster", state: .warn, text: "this node was removed from the cluster “\(cluster)”",
                    remedy: "restart it: it then waits to be added again")
            ]
        }
    }

    func metrics() async -> String {
        guard let member else { return "" }
        return await member.metrics()
    }

    // MARK: What should be

    func apply(_ request: ApplyRequest) async throws(APIError) -> ApplyAnswer {
        let member = try needMember()
        let plan = try DesiredDocuments.plan(
            request, kept: await kept(member),
            nodes: await nodes().filter { $0.role == .node }.compactMap { NodeName($0.name) })
        var answer = plan.answer
        var notes: [String] = []
        if !plan.schema.isEmpty {
            // Before anything else is kept: it may be refused.
            let made: (steps: [SchemaStep], note: String)
            do throws(APIError) {
                made = try await member.database.migrate(plan.schema, isTrial: !answer.applied)
            } catch { throw DesiredDocuments.refused(error, in: request) }
            answer.changes = DesiredDocuments.shown(answer.changes, plan.schema, made.steps)
            notes.append(made.note)
        }
        if answer.applied, !plan.edits.isEmpty {
            let deleted = await member.deletions(answer, kept: await kept(member).state)
            let edits = plan.edits.map { FactEdit($0.key, $0.value) } + deleted
            notes.append(try await member.database.remember(edits))
        }
        for note in notes where !note.isEmpty && !answer.notes.contains(note) { answer.notes.append(note) }
        return answer
    }

    func export() async throws(APIError) -> DesiredDocument {
        let kept = await kept(try needMember())
        return DesiredDocument(document: DocumentText.write(kept.state), unreadable: kept.unreadable)
    }

    private func kept(_ member: Member) async -> DesiredDocuments.Kept {
        let facts = await member.pulse.facts
        return DesiredDocuments.read(
            facts.keys(prefix: DesiredRow.prefix).compactMap { key in facts[key].map { (key, $0) } })
    }

    // MARK: Services

    func services() async throws(APIError) -> [ServiceInfo] { try await needMember().presentation().services }
    func order(_ action: ServiceAction, service name: String, to node: String?) async throws(APIError) -> ServiceChange
    {
        try await needMember().order(action, name, to: node)
    }
    func order(_ duty: NodeDuty, node name: String) async throws(APIError) -> NodeChange {
        try await needMember().order(duty, node: name)
    }
    func balancers() async throws(APIError) -> [BalancerInfo] {
        let member = try needMember()
        return member.balancing.infos(await member.pulse.house?.desired.balancers ?? [])
    }
    func volumes() async throws(APIError) -> [VolumeInfo] { await (try needMember()).volumes.infos() }
    func createVolume(_ request: VolumeRequest) async throws(APIError) -> VolumeInfo {
        let member = try needMember()
        let volume = try await member.wanted(request)
        _ = try await apply(member.document(of: volume, dryRun: true))
        try await member.examine(volume)
        _ = try await apply(member.document(of: volume, dryRun: false))
        return try await member.mounted(volume)
    }
    func deleteVolume(_ name: String) async throws(APIError) -> NodeChange {
        let member = try needMember()
        try await member.knownVolume(name)
        if await member.volumes.overview()?.desired.contains(where: { $0.name.description == name }) ?? false {
            _ = try await apply(ApplyRequest(document: "{}\n", remove: ["volumes/\(name)"]))
        }
        return try await member.deleted(name)
    }
    func changeBricks(of volume: String, _ request: VolumeBricksRequest) async throws(APIError) -> NodeChange {
        let member = try needMember()
        let (changed, done) = try await member.changedBricks(volume, request)
        _ = try await apply(member.document(of: changed, dryRun: false))
        return NodeChange(name: volume, done: done)
    }
    func healVolume(_ name: String) async throws(APIError) -> NodeChange { try await needMember().heal(name) }
    func clocks(within limit: Double?, wait: Duration) async throws(APIError) -> [ClockInfo] {
        let member = try needMember()
        let deadline = SystemClock.now + wait
        while true {
            let all = await member.clocks.readings(await teller(member))
            guard let limit else { return all }
            let spread = all.spreadMs
            if let spread, spread <= limit { return all }
            guard SystemClock.now < deadline, await member.pause(.milliseconds(500)) else {
                let silent = all.filter { $0.offsetMs == nil }.map(\.node).joined(separator: ", ")
                throw APIError(
                    problem: spread.map {
                        "the clocks may differ by \(($0 * 1000).rounded() / 1000) ms, more than \(limit) ms"
                    }
                        ?? "not every clock is known: \(silent) did not answer",
                    remedy: member.clocks.isOn
                        ? "see each: bramble clock; they come together within a minute"
                        : "let chrony keep them: bramble clock on",
                    kind: .refused)
            }
        }
    }
    func keepClocks(_ request: ClockRequest) async throws(APIError) -> NodeChange {
        let member = try needMember()
        let note = try await member.database.remember([FactEdit(FactKey.clock, request.on ? Array("on".utf8) : nil)])
        return NodeChange(
            name: "clock",
            done: request.on
                ? "chrony keeps the clocks of all nodes together; one of them serves the time"
                : "the clocks are left to each machine; what was written for chrony is taken away", note: note)
    }
    func mirrors() async throws(APIError) -> [MirrorInfo] {
        let member = try needMember()
        return await member.mirrors.infos(await teller(member))
    }
    func runMirror(_ name: String) async throws(APIError) -> MirrorInfo {
        let member = try needMember()
        guard let mirror = ServiceName(name) else {
            throw APIError(
                problem: "“\(name)” is no name of a mirror", remedy: "bramble mirror list", kind: .notFound)
        }
        return try await member.mirrors.run(mirror, await teller(member))
    }
    func parkedFiles(of mirror: String?) async throws(APIError) -> [ParkedFile] {
        let member = try needMember()
        return await member.mirrors.parked(of: mirror, await teller(member))
    }
    func restoreParkedFile(_ id: String) async throws(APIError) -> NodeChange {
        let member = try needMember()
        return try await member.mirrors.restore(id, await teller(member))
    }
    private func teller(_ member: Member) async -> Storyteller {
        let snapshot = await member.pulse.snapshot
        return Storyteller(names: snapshot.names, selfID: snapshot.id)
    }

    // MARK: The database

    func execute(_ request: SQLRequest) async throws(APIError) -> SQLAnswer {
        try await needMember().database.execute(request)
    }
    func executor(forReading: Bool) -> (any TaskExecutor)? {
        guard let database = member?.database else { return nil }
        return forReading ? database.readLoop : database.loop
    }
    func watch(_ table: String, since token: String?) async throws(APIError) -> AsyncStream<WatchMessage> {
        try await needMember().database.watch(table, since: token)
    }
    func database() async throws(APIError) -> DatabaseStatus {
        let member = try needMember()
        let names = await Storyteller(names: member.pulse.snapshot.names, selfID: member.home.identity.id)
        return await member.database.status { names.name($0) }
    }
    func releaseWrites(_ request: ReleaseRequest) async throws(APIError) -> DatabaseChange {
        let member = try needMember()
        let names = await teller(member)
        return try await member.database.release(of: request.of, at: Timestamp.now()) { names.name($0) }
    }
    func tables() async throws(APIError) -> [TableInfo] { try await needMember().database.tables() }
    func conflicts(limit: Int) async throws(APIError) -> [Conflict] {
        let member = try needMember()
        let names = await Storyteller(names: member.pulse.snapshot.names, selfID: member.home.identity.id)
        return try await member.database.conflicts(limit: limit) { names.name($0) }
    }
    func backup() async throws(APIError) -> BackupFile { try await needMember().database.backup() }
    func placeForUpload(bytes: Int64) async throws(APIError) -> String {
        try await needMember().database.placeForUpload(bytes: bytes)
    }
    func restore(from path: String) async throws(APIError) -> DatabaseChange {
        try await needMember().database.restore(from: path)
    }
}
