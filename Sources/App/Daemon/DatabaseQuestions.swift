import BrambleAPI
import Glibc
import Primitives
import Replication
import Storage

/// What people ask of the database, in their words.
extension Database {
    static let transferPrefix = "transfer-"

    private func needReplica() throws(APIError) -> Replica {
        guard let replica else {
            throw APIError(
                problem: "the database is not open" + (closedBecause.map { ": \($0.problem)" } ?? ""),
                remedy: closedBecause?.remedy ?? "ask again in a moment", kind: .unavailable)
        }
        return replica
    }

    /// Waits a little for a database that is about to be complete.
    func needComplete() async throws(APIError) -> Replica {
        if try needReplica().isJoining, await !joined(within: .seconds(4)) {
            var progress = ""
            if case .fetching(let fetch) = replica?.replicator.fetch {
                progress = ": \(fetch.received) of \(fetch.offer.size) bytes are here"
            }
            throw APIError(
                problem: "this node is still fetching the database\(progress)",
                remedy: "ask another node, or ask again in a moment", kind: .unavailable)
        }
        return try needReplica()
    }

    private func waitUntilComplete() async throws(APIError) { _ = try await needComplete() }

    nonisolated func execute(_ request: SQLRequest) async throws(APIError) -> BrambleAPI.SQLAnswer {
        let statements = request.statements.map { Storage.SQLStatement($0.statement, ($0.params ?? []).map(\.stored)) }
        guard request.isReadOnly || Store.onlyReads(statements) else { return try await write(statements, request) }
        if readable.withLock({ $0.token }) == nil { try await waitUntilComplete() }
        // Of before: what happens while it is read is seen again by a watch, never missed.
        let (before, opening) = readable.withLock { readable in
            readable.reads += 1
            return (readable.token ?? 0, readable.opening)
        }
        let token = String(before, radix: 36)
        switch await read(statements, rowLimit: request.rowLimit) {
        case .success(let answer): return shown(answer, durability: nil, note: "", token: token)
        case .failure(let error):
            if error.kind == .damaged { await readerFound(error, in: opening) }
            throw explained(error)
        }
    }

    /// Who only reads may be the first to meet a damaged page: the file is checked, and fetched anew when the check agrees.
    private func readerFound(_ error: StoreError, in opening: Int) {
        guard replica != nil, readable.withLock({ $0.opening }) == opening else { return }
        troubled(error)
    }

    /// Over a connection that only reads, on a thread of its own: a long question holds up nobody who writes. It begins
    /// after whatever was answered before, so a caller reads what it wrote.
    private nonisolated func read(
        _ statements: [Storage.SQLStatement], rowLimit: Int
    ) async -> Result<Storage.SQLAnswer, StoreError> {
        let (reader, path) = (reader, path)
        let query = { @Sendable () -> Result<Storage.SQLAnswer, StoreError> in
            do throws(StoreError) {
                return .success(try reader.query(statements, rowLimit: rowLimit, path: path))
            } catch { return .failure(error) }
        }
        return readLoop.isOnLoop ? query() : await readLoop.run(query)
    }

    private func write(
        _ statements: [Storage.SQLStatement], _ request: SQLRequest
    ) async throws(APIError) -> BrambleAPI.SQLAnswer {
        let replica = try await needComplete()
        guard !isFull else {
            throw APIError(
                problem: "too many writes wait for their confirmation", remedy: "try again in a moment", kind: .tooMany)
        }
        let (answer, ticket): (Storage.SQLAnswer, UInt64?)
        do throws(StoreError) {
            (answer, ticket) = try replica.execute(
                statements, rowLimit: request.rowLimit, durability: Durability(request.durability), now: now, wall: wall
            )
        } catch {
            scheduleTurn()  // writes before it may be lost by the same error: they are answered
            if error.kind == .disk || error.kind == .damaged { troubled(error) }
            throw explained(error)
        }
        let token = token
        guard let ticket else {
            count(reads: 1)
            scheduleTurn()
            return shown(answer, durability: nil, note: "", token: token)
        }
        let (reached, note) = try await confirmed(
            ticket, "this write", remedy: "read whether it is there, and write again if not")
        return shown(answer, durability: WriteDurability(reached), note: note, token: token)
    }

    /// A write that was just made: returns when it is as safe as was asked, or cannot become so, with a sentence where that is
    /// less. `what` it is and the remedy are for an operator, where nothing is known of it any more.
    func confirmed(
        _ ticket: UInt64, _ what: String, remedy: String
    ) async throws(APIError) -> (reached: Durability, note: String) {
        expect(ticket)
        count(writes: 1)
        let confirmation = await confirmation(of: ticket)
        if let error = lost.removeValue(forKey: ticket) { throw explained(error) }
        guard let reached = confirmation.reached else {
            throw APIError(
                problem: "the database was replaced or closed before \(what) was confirmed", remedy: remedy,
                kind: .unavailable)
        }
        return (reached, sentence(confirmation))
    }

    func sentence(_ confirmation: WriteConfirmation) -> String {
        switch confirmation.note {
        case nil: ""
        case .alone:
            "no other node is reachable: this is on this node's disk only, and goes to the others when they are back"
        case .noMajority: "too few nodes are reachable for a majority: the others get it when they are back"
        case .notConfirmed: "no other node confirmed this in time: they get it as soon as they can"
        }
    }

    private nonisolated func shown(
        _ answer: Storage.SQLAnswer, durability: WriteDurability?, note: String, token: String
    ) -> BrambleAPI.SQLAnswer {
        let results = answer.results.map { result in
            SQLResult(
                columns: result.columns, rows: result.rows.map { $0.map(BrambleAPI.SQLValue.init) },
                changed: result.changed, truncated: result.isTruncated)
        }
        return BrambleAPI.SQLAnswer(results: results, durability: durability, note: note, token: token)
    }

    nonisolated func explained(_ error: StoreError) -> APIError {
        let kind: APIError.Kind =
            switch error.kind {
            case .statement, .unusable: .invalid
            case .constraint: .refused
            case .disk, .damaged: .unavailable
            }
        return APIError(problem: error.problem, remedy: error.remedy, kind: kind)
    }

    // MARK: Watching

    struct Watcher {
        var table: String
        var next: UInt64
        var stream: AsyncStream<WatchMessage>.Continuation
        /// It fell behind: it is told so as soon as it takes something again.
        var missed = false
    }
    private static let watchBuffer = 1024
    private static let maximumWatchers = 1000

    var token: String { String(replica?.store.latestNotice ?? 0, radix: 36) }

    func watch(_ table: String, since token: String?) async throws(APIError) -> AsyncStream<WatchMessage> {
        let replica = try await needComplete()
        let tables: [TableReport]
        do throws(StoreError) { tables = try replica.store.tables() } catch { throw explained(error) }
        guard let found = tables.first(where: { $0.name.lowercased() == table.lowercased() }) else {
            throw APIError(
                problem: "there is no table “\(table)”", remedy: "bramble database lists the tables", kind: .notFound)
        }
        guard !found.name.hasPrefix("bramble_") else {
            throw APIError(
                problem: "\(found.name) is Bramble's own table and cannot be watched",
                remedy: "watch a table of yours, or follow the events: bramble events --follow", kind: .invalid)
        }
        guard watchers.count < Self.maximumWatchers else {
            throw APIError(problem: "too many watch already", remedy: "close some", kind: .tooMany)
        }
        var start = replica.store.latestNotice
        if let token {
            guard let number = UInt64(token, radix: 36) else {
                throw APIError(
                    problem: "“\(token)” is no token of a watch", remedy: "leave it out, or give one that a watch gave",
                    kind: .invalid)
            }
            start = number
        }
        let (stream, continuation) = AsyncStream<WatchMessage>.makeStream(
            bufferingPolicy: .bufferingOldest(Self.watchBuffer))
        lastWatcher += 1
        let number = lastWatcher
        watchers[number] = Watcher(table: found.name, next: start, stream: continuation)
        continuation.onTermination = { [weak self] _ in Task { await self?.endWatch(number) } }
        tell(number)
        return stream
    }

    private func endWatch(_ number: UInt64) { watchers[number] = nil }

    func tellWatchers() { for number in watchers.keys.sorted() { tell(number) } }

    private func tell(_ number: UInt64) {
        guard let store = replica?.store, var watcher = watchers[number] else { return }
        defer { if watchers[number] != nil { watchers[number] = watcher } }
        while true {
            switch store.notices(after: watcher.next, limit: 256) {
            case .resync(let next):
                watcher.next = next
                return send(resync: "what happened since that token is not kept any more", &watcher)
            case .notices(let notices):
                guard let last = notices.last else { return }
                for notice in notices where notice.table == watcher.table {
                    let change = RowChange(
                        token: String(notice.number, radix: 36), table: notice.table,
                        key: named(notice.key), op: notice.row == nil ? .delete : .put, row: notice.row.map(named))
                    if case .dropped = watcher.stream.yield(.change(change)) { watcher.missed = true }
                }
                watcher.next = last.number
                if watcher.missed { send(resync: "the reader was too slow", &watcher) }
            }
        }
    }

    private func send(resync reason: String, _ watcher: inout Watcher) {
        let message = WatchResync(token: String(watcher.next, radix: 36), table: watcher.table, reason: reason)
        if case .dropped = watcher.stream.yield(.resync(message)) {
            watcher.missed = true
        } else {
            watcher.missed = false
        }
    }

    private func named(_ values: [(name: String, value: Replication.SQLValue)]) -> [String: BrambleAPI.SQLValue] {
        Dictionary(values.map { ($0.name, BrambleAPI.SQLValue($0.value)) }, uniquingKeysWith: { first, _ in first })
    }

    // MARK: Looking

    func tables() async throws(APIError) -> [TableInfo] {
        let replica = try await needComplete()
        do throws(StoreError) {
            return try replica.store.tables().map { table in
                TableInfo(
                    name: table.name,
                    columns: table.columns.map {
                        .init(name: $0.name, type: $0.type, key: $0.keyPlace, isCounter: $0.isCounter)
                    }, rows: table.rows, isSystem: table.name.hasPrefix("bramble_"))
            }
        } catch { throw explained(error) }
    }

    /// How this node and the others are, by what we know.
    func status(names: (NodeID) -> String) -> DatabaseStatus {
        guard let replica, let report = try? replica.store.report() else {
            return DatabaseStatus(
                state: .closed, bytes: 0, epoch: "", tables: 0, conflicts: 0, replicas: [],
                notes: closedBecause.map { ["\($0.problem). \($0.remedy)"] } ?? [])
        }
        let replicator = replica.replicator
        var notes: [String] = []
        if let diskTrouble { notes.append("\(diskTrouble.problem). \(diskTrouble.remedy)") }
        let origins = origins(of: replica, names: names)
        for origin in origins where origin.state != .taken {
            let waiting = "\(origin.waiting) \(origin.waiting == 1 ? "write" : "writes") of \(origin.node)"
            switch origin.state {
            case .held:
                notes.append(
                    "\(waiting) are held back, the first from \(origin.at ?? "the future"): set the clock there; if they must "
                        + "count: bramble database release \(origin.node)")
            default:
                notes.append(
                    "\(waiting) are not taken: the first cannot be read by this version. Install the newest version of Bramble "
                        + "on \(name); they are taken then")
            }
        }
        let state: DatabaseStatus.State = replica.isJoining ? .fetching : diskTrouble != nil ? .readOnly : .open
        var own = ReplicaStatus(node: name, isSelf: true, state: .equal, lastSync: nil)
        if case .fetching(let fetch) = replicator.fetch {
            own.state = .snapshot
            own.snapshot = .init(
                direction: .receiving, bytes: Int64(fetch.received), totalBytes: Int64(fetch.offer.size))
        }
        let others = countedMembers.filter { $0 != id }.map { status(of: $0, in: replica, names: names) }
        let ahead = others.map(\.ahead).max() ?? 0
        if ahead > 0, own.state == .equal {
            own.state = .behind
            own.ahead = ahead
        }
        return DatabaseStatus(
            state: state, bytes: Int64(report.bytes + report.logBytes), epoch: report.epoch.text, tables: report.tables,
            conflicts: report.conflicts, replicas: [own] + others.sorted { $0.node < $1.node }, notes: notes,
            origins: origins)
    }

    /// Those the nodes write under now, and those of which something is not taken.
    private func origins(of replica: Replica, names: (NodeID) -> String) -> [OriginStatus] {
        let replicator = replica.replicator
        let current = replicator.peers.values.compactMap(\.origin) + [replicator.own]
        let known = replicator.peers.values.map(\.vector) + replicator.standings.values.map(\.synced)
        return Set(current + replicator.quarantined).map { origin in
            let taken = replicator.vector[origin]
            let most = known.reduce(taken) { max($0, $1[origin]) }
            let held = replicator.held[origin]
            let isQuarantined = replicator.quarantined.contains(origin)
            let state: OriginStatus.State = !isQuarantined ? .taken : held != nil ? .held : .unreadable
            return OriginStatus(
                origin: origin.description, node: writer(origin, in: replica, names: names), state: state,
                taken: Int(clamping: taken), waiting: isQuarantined ? max(1, Int(clamping: most - taken)) : 0,
                at: state == .held
                    ? held.map { Timestamp.text(wallNanoseconds: $0.time.milliseconds &* 1_000_000) } : nil)
        }.sorted { ($0.node, $0.origin) < ($1.node, $1.origin) }
    }

    private func writer(_ origin: Origin, in replica: Replica, names: (NodeID) -> String) -> String {
        if let owner = replica.replicator.owner(of: origin) { return names(owner) }
        let told = (try? replica.store.writerName(origin)) ?? origin.description
        return NodeID(told).map(names) ?? told
    }

    /// Writes of a node, or of one origin, that are held back because they are from the future.
    func release(
        of name: String, at time: String, names: (NodeID) -> String
    ) async throws(APIError) -> DatabaseChange {
        let replica = try await needComplete()
        let all = origins(of: replica, names: names).filter { $0.node == name || $0.origin == name }
        let held = all.filter { $0.state == .held }
        guard !held.isEmpty else {
            if all.contains(where: { $0.state == .unreadable }) {
                throw APIError(
                    problem: "writes of \(name) cannot be read by this version of Bramble",
                    remedy: "install the newest version on \(self.name); they are taken then", kind: .refused)
            }
            throw APIError(
                problem: "nothing of “\(name.prefix(80))” is held back here",
                remedy: "bramble database shows what is", kind: .notFound)
        }
        let note = try await remember(
            held.compactMap { Origin($0.origin) }.map { origin in
                FactEdit(ReplicationFact.released(origin), Array("\(time) on \(self.name)".utf8))
            })
        let count = held.reduce(0) { $0 + $1.waiting }
        return DatabaseChange(
            epoch: replica.store.epoch.text,
            done: "\(count) \(count == 1 ? "write" : "writes") of \(name) are taken as they are, on every node"
                + (note.isEmpty ? "" : "; \(note)"))
    }

    private func status(of peer: NodeID, in replica: Replica, names: (NodeID) -> String) -> ReplicaStatus {
        let replicator = replica.replicator
        let known = replicator.peers[peer]?.vector ?? replicator.standings[peer]?.synced ?? VersionVector()
        let vector = replicator.vector
        let missing = vector.heads.reduce(0) {
            $0 + ($1.value > known[$1.key] ? Int(clamping: $1.value - known[$1.key]) : 0)
        }
        let ahead = known.heads.reduce(0) {
            $0 + ($1.value > vector[$1.key] ? Int(clamping: $1.value - vector[$1.key]) : 0)
        }
        let isReachable = reachable.contains(peer)
        let isHeld = replicator.held.keys.contains { replicator.owner(of: $0) == peer }
        let isUnreadable = replicator.unreadable.keys.contains { replicator.owner(of: $0) == peer }
        let state: ReplicaStatus.State =
            isHeld || isUnreadable
            ? .quarantined : !isReachable ? .unreachable : missing == 0 && ahead == 0 ? .equal : .behind
        let equal = lastEqual[peer]
        let given = state == .behind ? replica.given(to: peer, now: now) : nil
        return ReplicaStatus(
            node: names(peer), isSelf: false, state: given == nil ? state : .snapshot, missing: missing, ahead: ahead,
            behindSeconds: missing == 0 ? 0 : equal.map { (now - $0).seconds } ?? 0,
            lastSync: equal.map(Timestamp.of),
            snapshot: given.map {
                .init(direction: .sending, bytes: Int64(clamping: $0.sent), totalBytes: Int64(clamping: $0.size))
            },
            note: isHeld ? "its clock is far ahead" : isUnreadable ? "its writes cannot be read by this version" : "")
    }

    /// What of a schema is missing, and with it made unless it is a trial: a note where it could not be as safe as `one`.
    func migrate(_ schema: [String], isTrial: Bool) async throws(APIError) -> (steps: [SchemaStep], note: String) {
        let replica = try await needComplete()
        let steps: [SchemaStep]
        let ticket: UInt64?
        do throws(StoreError) {
            (steps, ticket) = try replica.migrate(schema, isTrial: isTrial, durability: .one, now: now, wall: wall)
        } catch {
            if error.kind == .disk || error.kind == .damaged { troubled(error) }
            throw explained(error)
        }
        guard let ticket else { return (steps, "") }
        tell(
            "database-schema",
            "the schema was changed by an apply: \(steps.map(\.sql).joined(separator: "; ").prefix(500))",
            detail: ["statements": .array(steps.map { .string($0.sql) })])
        let note = try await confirmed(ticket, "the schema", remedy: "apply it again: what is there is left as it is")
            .note
        return (steps, note)
    }

    func conflicts(limit: Int, names: (NodeID) -> String) async throws(APIError) -> [Conflict] {
        let replica = try await needComplete()
        let statement = Storage.SQLStatement(
            "SELECT id, at, tab, key, col, kept, kept_by, kept_at, lost, lost_by, lost_at FROM bramble_conflicts "
                + "ORDER BY id DESC LIMIT ?", [.integer(Int64(limit))])
        let answer: Storage.SQLAnswer
        do throws(StoreError) { answer = try replica.store.query([statement]) } catch { throw explained(error) }
        return answer.rows.compactMap { row in
            func text(_ place: Int) -> String {
                switch row[place] {
                case .text(let text): text
                case .integer(let number): String(number)
                default: ""
                }
            }
            func time(_ place: Int) -> String {
                guard case .integer(let milliseconds) = row[place] else { return "" }
                return Timestamp.text(wallNanoseconds: milliseconds &* 1_000_000)
            }
            func writer(_ place: Int) -> String {
                if let origin = Origin(text(place)) { return self.writer(origin, in: replica, names: names) }
                return NodeID(text(place)).map(names) ?? text(place)
            }
            var key: [String: BrambleAPI.SQLValue] = [:]
            if case .object(let parts)? = try? JSONReader.read(Array(text(3).utf8)) {
                for (name, value) in parts { key[name] = BrambleAPI.SQLValue(ofKey: value) }
            } else {
                key["key"] = BrambleAPI.SQLValue(row[3])  // of an earlier version
            }
            let isRow = row[4] == .null
            func side(_ value: Int) -> Conflict.Side {
                Conflict.Side(
                    value: BrambleAPI.SQLValue(row[value]), action: isRow && row[value] == .null ? "deleted" : "set",
                    node: writer(value + 1), at: time(value + 2))
            }
            return Conflict(
                id: text(0), at: time(1), table: text(2),
                key: key,
                column: isRow ? nil : text(4), kept: side(5), lost: side(8))
        }
    }

    // MARK: Backups

    private func freshPath() -> String {
        var random = SystemRandomNumberGenerator()
        return "\(directory)/\(Self.transferPrefix)\(String(random.next(), radix: 16)).db"
    }

    func backup() async throws(APIError) -> BackupFile {
        let replica = try await needComplete()
        let target = freshPath()
        let job: SnapshotJob
        do throws(StoreError) { job = try replica.store.backupJob(to: target) } catch { throw explained(error) }
        // On a thread of its own: who writes does not wait for it.
        if case .failure(let error) = await copyLoop.run({ job.result() }) {
            unlink(target)
            throw explained(error)
        }
        var status = stat()
        stat(target, &status)
        return BackupFile(path: target, bytes: Int64(status.st_size))
    }

    func placeForUpload(bytes: Int64) throws(APIError) -> String {
        var status = statvfs()
        statvfs(directory, &status)
        let free = Int64(status.f_bavail) * Int64(status.f_frsize)
        // Room for the file, and for the database made from it.
        guard bytes >= 0, bytes < free / 2 - 16 << 20 else {
            throw APIError(
                problem: "\(bytes) bytes do not fit on this node's disk: \(free) are free",
                remedy: "make room, or restore on a node with a larger disk", kind: .refused)
        }
        return freshPath()
    }

    func restore(from file: String) throws(APIError) -> DatabaseChange {
        defer { unlink(file) }
        let replica = try needReplica()
        do throws(StoreError) {
            try replica.restore(from: file, now: now, wall: wall)
        } catch {
            if error.kind == .disk || error.kind == .damaged { troubled(error) }
            throw explained(error)
        }
        scheduleTurn()
        tell("database-restored", "\(name) restored a backup: every node takes it over")
        return DatabaseChange(
            epoch: replica.store.epoch.text, done: "the database is restored here, and every other node takes it over")
    }
}

extension Durability {
    init(_ asked: WriteDurability) {
        self =
            switch asked {
            case .local: .local
            case .one: .one
            case .majority: .majority
            }
    }
}
extension WriteDurability {
    init(_ reached: Durability) {
        self =
            switch reached {
            case .local: .local
            case .one: .one
            case .majority: .majority
            }
    }
}
extension BrambleAPI.SQLValue {
    /// Of a key in `bramble_conflicts`.
    init(ofKey value: JSONValue) {
        self =
            switch value {
            case .integer(let number): .integer(number)
            case .number(let number): .real(number)
            case .string(let text): .text(text)
            default: .null
            }
    }
    init(_ value: Replication.SQLValue) {
        self =
            switch value {
            case .null: .null
            case .integer(let number): .integer(number)
            case .real(let number): .real(number)
            case .text(let text): .text(text)
            case .blob(let bytes): .blob(bytes)
            }
    }
    var stored: Replication.SQLValue {
        switch self {
        case .null: .null
        case .integer(let number): .integer(number)
        case .real(let number): .real(number)
        case .text(let text): .text(text)
        case .blob(let bytes): .blob(bytes)
        }
    }
}
