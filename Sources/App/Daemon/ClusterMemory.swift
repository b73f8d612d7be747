import BrambleAPI
import Logging
import Node
import Primitives
import Reactor
import Replication
import Storage

/// What the cluster itself must remember, as rows of the database: users, tokens, what should run, orders, members.
///
/// The pulse reads a copy of it (`SharedFacts.stored`), which is told here whenever rows changed, and never waits. Trust facts
/// go the other way: the core has them first, and they are copied into rows.
struct ClusterMemory {
    /// Written as soon as the database takes it: it is closed, full, or has just refused.
    var waiting: [String: FactEdit] = [:]
    var waitingMembers: [MemberRow] = []
    /// Of an earlier version, which kept everything in one file. Until they are in the database and that is on the disk.
    var legacy: [StoredFact] = []
    /// The latest trust facts of the core.
    var trust: [String: SharedFacts.Entry] = [:]
    /// The place in the feed up to which the pulse knows; nil until it was told everything.
    var told: UInt64?
    var retryAt = Instant.zero
    var isOwnRowWritten = false
    /// A cluster begins here: there is nobody to wait for.
    var isFounder = false

    /// More are not kept: nobody orders so much while a database is closed.
    static let maximumWaiting = 4_096
}

extension Database {
    // MARK: Writing

    /// People's: returns when it is as safe as `one` makes it, with a sentence where that could not be had, else empty.
    func remember(_ edits: [FactEdit]) async throws(APIError) -> String {
        let replica = try await needComplete()
        guard !isFull else {
            throw APIError(
                problem: "too many writes wait for their confirmation", remedy: "try again in a moment", kind: .tooMany)
        }
        let ticket: UInt64?
        do throws(StoreError) {
            ticket = try replica.remember(edits, durability: .one, now: now, wall: wall)
        } catch {
            if error.kind == .disk || error.kind == .damaged { troubled(error) }
            throw explained(error)
        }
        guard let ticket else { return "" }
        // Before anybody is answered: a token that was just made works, one that was revoked does not.
        tellFacts(edits.map(\.key))
        return try await confirmed(ticket, "this", remedy: "look whether it is there, and repeat it if not").note
    }

    /// The pulse's: it does not wait. What the database does not take now it is given again.
    nonisolated func store(_ facts: [StoredFact]) {
        loop.perform { [weak self] in
            self?.assumeIsolated { database in
                for fact in facts {
                    database.wait(for: FactEdit(fact.key, fact.value.isEmpty ? nil : fact.value))
                }
                database.writeWaiting()
            }
        }
    }

    /// The core's trust facts, all of them. Each node copies what was decided on it; what comes of others has its row from
    /// there.
    nonisolated func copy(_ trust: SharedFacts) {
        let entries = trust.entries.filter { FactKey.isCopied($0.key) }
        loop.perform { [weak self] in
            self?.assumeIsolated { database in
                let news = entries.filter { database.memory.trust[$0.key] != $0.value }
                database.memory.trust = entries
                database.copyTrust(news.filter { $0.value.origin == database.id })
            }
        }
    }

    private func copyTrust(_ entries: [String: SharedFacts.Entry]) {
        guard !entries.isEmpty else { return }
        for (key, entry) in entries.sorted(by: { $0.key < $1.key }) {
            wait(for: FactEdit(key, SavedState.encode(entry)))
            if key.hasPrefix(FactKey.removals), !entry.value.isEmpty {
                memory.waitingMembers.append(
                    MemberRow(
                        id: String(key.dropFirst(FactKey.removals.count)),
                        removed: String(decoding: entry.value, as: UTF8.self), removedBy: name))
            }
        }
        writeWaiting()
    }

    private func wait(for edit: FactEdit) {
        guard memory.waiting.count < ClusterMemory.maximumWaiting || memory.waiting[edit.key] != nil else {
            return Log.error("\(edit.key) is not remembered: too much waits for the database already")
        }
        memory.waiting[edit.key] = edit
    }

    private func writeWaiting() {
        guard !memory.waiting.isEmpty || !memory.waitingMembers.isEmpty else { return }
        // A database that is still being fetched would take it, and lose the place where it belongs among others' words.
        guard let replica, !replica.isJoining || memory.isFounder, now >= memory.retryAt else { return }
        let edits = memory.waiting.values.sorted { $0.key < $1.key }
        do throws(StoreError) {
            _ = try replica.remember(
                edits, members: memory.waitingMembers, durability: .local, now: now, wall: wall)
        } catch {
            memory.retryAt = now + .seconds(1)
            // Nothing of the disk: it would be refused for ever.
            if error.kind != .disk, error.kind != .damaged {
                memory.waiting = [:]
                memory.waitingMembers = []
            }
            return troubled(error)
        }
        memory.waiting = [:]
        memory.waitingMembers = []
        tellFacts(edits.map(\.key))
        scheduleTurn()
    }

    // MARK: Telling

    /// At the end of each turn, in which rows may have changed.
    func keepMemory() {
        guard let replica else { return }
        // What comes in while the whole is being fetched is of some time in the past: nothing is started by it.
        guard !replica.isJoining else { return memory.isFounder ? writeWaiting() : () }
        takeOver(replica)
        writeWaiting()
        writeOwnRow(replica)
        guard let told = memory.told else { return tellEverything(replica) }
        let (news, next) = replica.store.remembered(after: told)
        memory.told = next
        switch news {
        case .everything: tellEverything(replica)
        case .changed(let keys, let hasMembers):
            if !keys.isEmpty { tellFacts(keys) }
            if hasMembers { membersChanged() }
        }
    }

    /// Another file is in the place of the database: nothing that was told of the old one counts.
    func forgetTold() {
        memory.told = nil
        memory.isOwnRowWritten = false
    }

    private func tellEverything(_ replica: Replica) {
        memory.told = replica.store.latestNotice
        do throws(StoreError) {
            var facts: [StoredFact] = []
            var trust: [(key: String, value: [UInt8])] = []
            for (key, value) in try replica.store.facts(prefix: "") where !ReplicationFact.isInternal(key) {
                if FactKey.isTrust(key) { trust.append((key, value)) } else { facts.append(StoredFact(key, value)) }
            }
            facts += try memberFacts(replica)
            outlets.facts(facts, true)
            tellTrust(trust)
            // A backup may be older than what the core knows, and a crash may have come between the two.
            let known = Dictionary(trust) { first, _ in first }
            copyTrust(memory.trust.filter { known[$0.key] == nil && $0.value.origin == id })
            tellReplica()
        } catch {
            memory.told = nil
            troubled(error)
        }
    }

    private func tellFacts(_ keys: [String]) {
        guard let replica else { return }
        do throws(StoreError) {
            var facts: [StoredFact] = []
            var trust: [(key: String, value: [UInt8])] = []
            for key in keys where !ReplicationFact.isInternal(key) {
                let value = try replica.store.fact(key) ?? []
                if FactKey.isTrust(key) {
                    trust.append((key, value))
                } else {
                    let writer = try replica.store.writer(ofFact: key).flatMap { replica.replicator.owner(of: $0) }
                    facts.append(StoredFact(key, value, by: writer))
                }
            }
            if !facts.isEmpty { outlets.facts(facts, false) }
            tellTrust(trust)
        } catch { troubled(error) }
    }

    private func tellTrust(_ rows: [(key: String, value: [UInt8])]) {
        var facts = SharedFacts()
        let entries = rows.compactMap { row in SavedState.entry(from: row.value).map { (row.key, $0) } }
        _ = facts.merge(entries.filter { FactKey.isCopied($0.0) && memory.trust[$0.0] != $0.1 })
        if !facts.entries.isEmpty { outlets.trust(facts.encoded()) }
    }

    private func memberFacts(_ replica: Replica) throws(StoreError) -> [StoredFact] {
        try replica.store.members().filter { $0.removed.isEmpty }.map { row in
            StoredFact(FactKey.members + row.id, Array((row.name.isEmpty ? row.id : row.name).utf8))
        }
    }

    private func membersChanged() {
        guard let replica, let rows = try? replica.store.members() else { return }
        let facts = rows.map { row in
            StoredFact(
                FactKey.members + row.id,
                row.removed.isEmpty ? Array((row.name.isEmpty ? row.id : row.name).utf8) : [])
        }
        outlets.facts(facts, false)
        tellReplica()
    }

    // MARK: Members

    /// Everybody whose acknowledgement counts: whom the pulse knows, and whoever has a row, however long it has been away. Only
    /// a removal takes somebody out.
    var countedMembers: [NodeID] {
        var counted = Set(members)
        if let rows = try? replica?.store.members() {
            for row in rows where row.removed.isEmpty {
                guard let node = NodeID(row.id), memory.trust[FactKey.removed(node)] == nil else { continue }
                counted.insert(node)
            }
        }
        return counted.sorted()
    }

    /// Each node writes its own name; nobody else's would be so sure.
    private func writeOwnRow(_ replica: Replica) {
        guard !memory.isOwnRowWritten, now >= memory.retryAt else { return }
        do throws(StoreError) {
            let old = try replica.store.members().first { $0.id == id.description }
            memory.isOwnRowWritten = true
            guard old?.name != name || old?.since.isEmpty != false else { return }
            let since = old?.since.isEmpty == false ? "" : Timestamp.now()
            _ = try replica.remember(
                [], members: [MemberRow(id: id.description, name: name, since: since)], durability: .local, now: now,
                wall: wall)
            scheduleTurn()
        } catch {
            memory.isOwnRowWritten = false
            memory.retryAt = now + .seconds(1)
            troubled(error)
        }
    }

    // MARK: From earlier versions

    /// Facts of a file from before: those that the database does not know are taken into it, once.
    private func takeOver(_ replica: Replica) {
        guard !memory.legacy.isEmpty, now >= memory.retryAt else { return }
        do throws(StoreError) {
            let news = try replica.store.unknown(memory.legacy.map { FactEdit($0.key, $0.value) })
            let ticket = try replica.remember(news, durability: .local, now: now, wall: wall)
            memory.legacy = []
            memory.told = nil
            if !news.isEmpty { Log.info("\(news.count) facts of an earlier version are in the database now") }
            guard let ticket else { return outlets.tookOver() }
            expect(ticket)
            Task {
                // Only what is on the disk may go from the file.
                if await confirmation(of: ticket).reached != nil { outlets.tookOver() }
            }
        } catch {
            memory.retryAt = now + .seconds(1)
            troubled(error)
        }
    }

    /// Before `open`.
    func begin(legacy: [StoredFact], trust: SharedFacts) {
        memory.legacy = legacy
        memory.trust = trust.entries.filter { FactKey.isCopied($0.key) }
    }

    /// What a cluster begins with, which begins here: there is nobody to wait for. True when it is on the disk, or is known to
    /// the database in another form already; else it is tried again at the next start.
    func found(_ fact: StoredFact) async -> Bool {
        memory.isFounder = true
        guard let replica else {
            wait(for: FactEdit(fact.key, fact.value))
            return false
        }
        do throws(StoreError) {
            let news = try replica.store.unknown([FactEdit(fact.key, fact.value)])
            guard let ticket = try replica.remember(news, durability: .local, now: now, wall: wall) else { return true }
            tellFacts([fact.key])
            expect(ticket)
            return await confirmation(of: ticket).reached != nil
        } catch {
            troubled(error)
            return false
        }
    }
}
