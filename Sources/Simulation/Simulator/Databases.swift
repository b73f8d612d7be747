import Node
import Primitives
import Replication
import Storage

/// How the simulated machines carry a database: what `Database` does in the daemon, without threads.
extension SimulatedCluster {
    static let keys = 10
    /// Columns that people may add.
    static let columns = 4
    private static let wallAtStart: Int64 = 1_750_000_000_000

    func wall(of machine: SimulatedMachine) -> Int64 {
        Self.wallAtStart + now.nanoseconds / 1_000_000 + machine.wallError
    }
    private func instant(of machine: SimulatedMachine) -> Instant { machine.clock.instant(at: now) }

    func setUpDatabases(chance: SeededGenerator) {
        guard scenario.database != nil else { return }
        ledger = Ledger()
        writes = chance.fork("writes")
        for machine in machines where machine.clusterSecret == machines[0].clusterSecret {
            machine.database = SimulatedDatabase(chance: chance.fork("database \(machine.number)"), bug: bug)
        }
        queue.schedule(.write(0), at: .zero + .milliseconds(1500))
    }

    private func trouble(_ error: StoreError, at machine: SimulatedMachine) {
        timeline.add(.database(machine.number, "\(error.problem)"), at: now)
        report(
            "no database ever fails",
            [Finding(text: "n\(machine.number): \(error.problem)", machines: [machine.number])])
    }

    func startDatabase(of machine: SimulatedMachine) {
        guard let database = machine.database else { return }
        do throws(StoreError) {
            try database.start(id: machine.id, now: instant(of: machine), wall: wall(of: machine))
        } catch { return trouble(error, at: machine) }
        if let replica = database.replica {
            timeline.add(
                .database(machine.number, "origin \(replica.store.origin), \(text(replica.store.vector))"), at: now)
        }
        tellDigest(of: machine)
        queue.schedule(.databaseTick(machine: machine.number, boot: machine.boot), at: now + .milliseconds(100))
    }

    private func text(_ vector: VersionVector) -> String {
        vector.origins.map { "\(String(describing: $0).prefix(4)):\(vector[$0])" }.joined(separator: " ")
    }

    // MARK: What the core says

    func tellDatabase(_ members: [NodeID], _ reachable: [NodeID], of machine: SimulatedMachine) {
        machine.database?.replica?.peersChanged(
            members: members, reachable: reachable, now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    func databaseDiffers(from peer: NodeID, at machine: SimulatedMachine) {
        machine.database?.replica?.differs(peer, now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    /// Facts that the core hands to the database, and hears of again from it. Others hear when the rows come.
    func remember(_ facts: [StoredFact], at machine: SimulatedMachine) {
        guard let replica = machine.database?.replica else { return }
        let before = replica.store.vector
        do throws(StoreError) {
            _ = try replica.remember(
                facts.map { FactEdit($0.key, $0.value.isEmpty ? nil : $0.value) }, durability: .local,
                now: instant(of: machine), wall: wall(of: machine))
            try noteFacts(at: machine, replica, seen: before)
        } catch { return trouble(error, at: machine) }
        settleDatabase(of: machine)
        handle(.factsStored(facts, isWhole: false), at: machine, now: instant(of: machine))
    }

    /// Writes that nobody made as a person, but that are there.
    private func noteFacts(
        at machine: SimulatedMachine, _ replica: Replica, seen: VersionVector
    ) throws(StoreError) {
        let (store, origin) = (replica.store, replica.store.origin)
        guard case .records(let records) = try store.records(of: origin, after: seen[origin], maxBytes: .max) else {
            return
        }
        for record in records {
            let wrong = ledger?.wrote(
                record, .fact, number: 0, by: machine.number, seen: seen, epoch: store.epoch)
            if let wrong { report(Ledger.timesGrow, [Finding(text: wrong, machines: [machine.number])]) }
        }
    }

    // MARK: The database's own

    func hearDatabase(_ bytes: [UInt8], from peer: NodeID, at machine: SimulatedMachine) {
        machine.database?.replica?.received(bytes, from: peer, now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    func tickDatabase(of machine: SimulatedMachine) {
        guard machine.state == .running, let replica = machine.database?.replica else { return }
        let before = replica.store.vector
        replica.tick(now: instant(of: machine), wall: wall(of: machine))
        do throws(StoreError) {
            // Whatever it wrote by itself.
            try noteFacts(at: machine, replica, seen: before)
        } catch { trouble(error, at: machine) }
        if hasHealed {
            // The operator puts the clocks right, and says what is to become of what was written meanwhile.
            let before = replica.store.vector
            let edits = replica.replicator.held.keys.sorted().compactMap { origin in
                (try? replica.store.fact(ReplicationFact.released(origin))) == .some(nil)
                    ? FactEdit(ReplicationFact.released(origin), Array("the operator".utf8)) : nil
            }
            if !edits.isEmpty, !replica.isJoining {
                do throws(StoreError) {
                    _ = try replica.remember(
                        edits, durability: .local, now: instant(of: machine), wall: wall(of: machine))
                    try noteFacts(at: machine, replica, seen: before)
                } catch { trouble(error, at: machine) }
            }
        }
        settleDatabase(of: machine)
        tellDigest(of: machine)
        queue.schedule(.databaseTick(machine: machine.number, boot: machine.boot), at: now + .milliseconds(100))
    }

    private func tellDigest(of machine: SimulatedMachine) {
        guard let database = machine.database, let digest = database.replica?.digest, digest != database.toldDigest
        else { return }
        database.toldDigest = digest
        handle(.databaseHash(digest), at: machine, now: instant(of: machine))
    }

    /// Carries out what the replica leaves over.
    private func settleDatabase(of machine: SimulatedMachine) {
        guard let database = machine.database, let replica = database.replica else { return }
        // As the daemon does: what is written while the disk is busy shares a commit.
        let isCollecting = database.isSyncing && replica.collected < 8
        replica.flush(isCollecting: isCollecting, now: instant(of: machine), wall: wall(of: machine))
        if !replica.isHeldBack, replica.collected == 0 { ledger?.letOut(machine.number) }
        for output in replica.takeOutputs() {
            switch output {
            case .send(let bytes, let peer):
                sendReliably(.init(bytes: bytes, isDatabase: true), to: peer, from: machine)
            case .answer(let number, let confirmation):
                guard let write = database.waiting.removeValue(forKey: number) else { break }
                ledger?.promised(write, confirmation, by: machine.number, at: now)
            case .notify(let notice): timeline.add(.database(machine.number, "\(notice)"), at: now)
            case .trouble(let error): trouble(error, at: machine)
            case .lost(let number, let error):
                database.waiting[number] = nil
                trouble(error, at: machine)
            case .copy(let job):
                // Another thread does it, beside everything else.
                queue.schedule(
                    .databaseCopied(job.result(), machine: machine.number, boot: machine.boot),
                    at: now + .milliseconds(5 + machine.diskChance.below(300)))
            case .changed, .reopened: break
            }
        }
        if let due = replica.flushDue, !database.isFlushTimed {
            database.isFlushTimed = true
            let left = max(due - instant(of: machine), .zero)
            queue.schedule(.databaseFlush(machine: machine.number, boot: machine.boot), at: now + left)
        }
        guard replica.isSyncDue(instant(of: machine)), !database.isSyncing else { return }
        do throws(StoreError) { try database.beginSync() } catch { return trouble(error, at: machine) }
        let isSlow = machine.diskChance.chance(0.05)
        let delay = Duration.milliseconds(2 + machine.diskChance.below(isSlow ? 400 : 20))
        queue.schedule(.databaseSync(machine: machine.number, boot: machine.boot), at: now + delay)
    }

    func databaseFlushes(_ machine: SimulatedMachine) {
        machine.database?.isFlushTimed = false
        if machine.state == .running { settleDatabase(of: machine) }
    }

    func databaseSynced(_ machine: SimulatedMachine) {
        machine.database?.endSync(now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    func databaseCopied(_ result: Result<SnapshotCopy, StoreError>, at machine: SimulatedMachine) {
        machine.database?.replica?.copied(result, now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    // MARK: People who write

    /// One write somewhere, then the next one a moment later.
    func write(_ round: Int) {
        guard let plan = scenario.database, now < healsAt else { return }
        let pause = 1 + writes.below(max(1, 2 * Int(plan.pause.milliseconds)))
        queue.schedule(.write(round + 1), at: now + .milliseconds(pause))
        let number = round == 0 ? 0 : writes.below(machines.count)
        // The same draws whatever the machines do, so that a bug does not change the plan.
        let (key, kind, durability) = (writes.below(Self.keys), writes.below(10), writes.below(4))
        let (other, column) = plan.isRich ? (writes.below(10), writes.below(Self.columns)) : (9, 0)
        let machine = machines[number]
        guard machine.state == .running, !machine.isLeaving, !machine.isRemoved, let database = machine.database,
            let replica = database.replica, !replica.isJoining
        else { return }
        let level: Durability = durability == 0 ? .local : durability == 3 ? .majority : .one
        if round == 0 || !hasSchema(replica) {
            // Only ever from one machine: two that make a table at once are a matter of the storage's own tests.
            guard number == 0 else { return }
            write(.schema, level, at: machine, replica)
            return
        }
        let row = try? replica.store.query([SQLStatement("SELECT a FROM things WHERE k = ?", [.integer(Int64(key))])])
        guard let row else { return }
        let value = (ledger?.lastNumber ?? 0) + 1
        let deed: Ledger.Deed
        if other < 3 {
            deed = .count(key: key, by: kind - 3)
        } else if other < 5, !hasColumn(column, replica) {
            deed = .addColumn(column)
        } else if other < 7, !row.rows.isEmpty, hasColumn(column, replica) {
            deed = .fill(key: key, column: column, value: value)
        } else if row.rows.isEmpty {
            deed = .insert(key: key, a: value, b: -value)
        } else if kind < 7 {
            deed = .update(key: key, isA: kind < 4, value: value)
        } else {
            deed = .delete(key: key)
        }
        write(deed, level, at: machine, replica)
    }

    private func hasSchema(_ replica: Replica) -> Bool {
        (try? replica.store.query([SQLStatement("SELECT 1 FROM journal LIMIT 1")])) != nil
            && (try? replica.store.query([SQLStatement("SELECT 1 FROM things LIMIT 1")])) != nil
    }

    private func hasColumn(_ number: Int, _ replica: Replica) -> Bool {
        (try? replica.store.query([SQLStatement("SELECT c\(number) FROM things LIMIT 1")])) != nil
    }

    private func write(_ deed: Ledger.Deed, _ durability: Durability, at machine: SimulatedMachine, _ replica: Replica)
    {
        guard let number = ledger?.nextNumber() else { return }
        var statements: [SQLStatement] = []
        switch deed {
        case .schema:
            statements = [
                SQLStatement("CREATE TABLE IF NOT EXISTS things (k INTEGER PRIMARY KEY, a INTEGER, b INTEGER)"),
                SQLStatement("CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, machine INTEGER)"),
                SQLStatement("CREATE TABLE IF NOT EXISTS tallies (k INTEGER PRIMARY KEY, n COUNTER)"),
            ]
        case .insert(let key, let a, let b):
            statements = [
                SQLStatement(
                    "INSERT INTO things (k, a, b) VALUES (?, ?, ?)",
                    [.integer(Int64(key)), .integer(Int64(a)), .integer(Int64(b))])
            ]
        case .update(let key, let isA, let value):
            statements = [
                SQLStatement(
                    "UPDATE things SET \(isA ? "a" : "b") = ? WHERE k = ?",
                    [.integer(Int64(value)), .integer(Int64(key))])
            ]
        case .delete(let key):
            statements = [SQLStatement("DELETE FROM things WHERE k = ?", [.integer(Int64(key))])]
        case .count(let key, let by):
            statements = [
                SQLStatement(
                    "INSERT INTO tallies (k, n) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET n = n + ?2",
                    [.integer(Int64(key)), .integer(Int64(by))])
            ]
        case .addColumn(let column):
            statements = [SQLStatement("ALTER TABLE things ADD COLUMN c\(column) INTEGER")]
        case .fill(let key, let column, let value):
            statements = [
                SQLStatement(
                    "UPDATE things SET c\(column) = ? WHERE k = ?", [.integer(Int64(value)), .integer(Int64(key))])
            ]
        case .fact: return
        }
        statements.append(
            SQLStatement(
                "INSERT INTO journal (id, machine) VALUES (?, ?)",
                [.integer(Int64(number)), .integer(Int64(machine.number))]))
        let before = replica.store.vector
        do throws(StoreError) {
            let (answer, ticket) = try replica.execute(
                statements, durability: durability, now: instant(of: machine), wall: wall(of: machine))
            guard let record = answer.record, let ticket else {
                return report(
                    "a write is a record",
                    [Finding(text: "n\(machine.number): \(deed) made none", machines: [machine.number])])
            }
            machine.database?.waiting[ticket] = number
            let wrong = ledger?.wrote(
                record, deed, number: number, by: machine.number, seen: before, epoch: replica.store.epoch)
            if let wrong {
                report(Ledger.timesGrow, [Finding(text: wrong, machines: [machine.number])])
            }
        } catch { trouble(error, at: machine) }
        settleDatabase(of: machine)
    }

    // MARK: Operators

    func backUp(_ machine: SimulatedMachine) {
        guard machine.state == .running, let replica = machine.database?.replica, !replica.isJoining else { return }
        do throws(StoreError) {
            let header = try replica.store.snapshot()
            let bytes = try replica.store.snapshotBytes(from: 0, count: header.size)
            replica.store.discardSnapshot()
            backup = SimulatedBackup(bytes: bytes, vector: header.vector)
        } catch { trouble(error, at: machine) }
    }

    func restore(_ machine: SimulatedMachine) {
        guard let backup, machine.state == .running, let replica = machine.database?.replica, !replica.isJoining
        else { return }
        do throws(StoreError) {
            try replica.restore(bytes: backup.bytes, now: instant(of: machine), wall: wall(of: machine))
        } catch { return trouble(error, at: machine) }
        ledger?.bases[replica.store.epoch] = backup.vector
        settleDatabase(of: machine)
    }

    // MARK: Faults of disks

    func wipe(_ machine: SimulatedMachine) {
        guard machine.isUp, machine.database != nil else { return }
        halt(machine, as: .off, losingUnsynced: true)
        machine.database?.wipe()
        ledger?.unreliable.insert(machine.number)
        ledger?.forgetTime(of: machine.number)
    }

    func rollBack(_ machine: SimulatedMachine) {
        guard machine.isUp, machine.database != nil else { return }
        halt(machine, as: .off, losingUnsynced: true)
        machine.database?.rollBack()
        ledger?.unreliable.insert(machine.number)
        ledger?.forgetTime(of: machine.number)
    }
}

extension Ledger {
    static let timesGrow =
        "each node's times grow, across restarts and whatever its clock says, and no sequence number is used twice"
}

/// What scenarios with databases add.
struct DatabasePlan: Sendable {
    /// Mean time from one write to the next, in the whole cluster.
    var pause: Duration = .milliseconds(60)
    /// After everything has healed, all copies are equal within this.
    var convergesWithin: Duration = .seconds(12)
    /// People also count, add columns and fill them.
    var isRich = false
    /// Nodes only lose each other: no restart, no whole copy. So the lists of what was overwritten unseen must be complete.
    var listsConflicts = false
    /// Nodes are removed, and what they wrote under is forgotten before the end.
    var forgetsRemoved = false
    /// Nodes of two versions; nothing else is wrong, so a new one has to become a member soon.
    var isUpgrade = false
}

/// What an operator keeps on a stick.
struct SimulatedBackup {
    var bytes: [UInt8]
    var vector: VersionVector
}
