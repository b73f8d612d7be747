import Node
import Primitives
import Replication
import Storage

/// How the simulated machines carry a database: what `Database` does in the daemon, without threads.
extension SimulatedCluster {
    static let keys = 10
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
        do throws(StoreError) {
            _ = try replica.remember(
                facts.map { FactEdit($0.key, $0.value.isEmpty ? nil : $0.value) }, durability: .local,
                now: instant(of: machine), wall: wall(of: machine))
        } catch { return trouble(error, at: machine) }
        settleDatabase(of: machine)
        handle(.factsStored(facts, isWhole: false), at: machine, now: instant(of: machine))
    }

    // MARK: The database's own

    func hearDatabase(_ bytes: [UInt8], from peer: NodeID, at machine: SimulatedMachine) {
        machine.database?.replica?.received(bytes, from: peer, now: instant(of: machine), wall: wall(of: machine))
        settleDatabase(of: machine)
    }

    func tickDatabase(of machine: SimulatedMachine) {
        guard machine.state == .running, let replica = machine.database?.replica else { return }
        replica.tick(now: instant(of: machine), wall: wall(of: machine))
        if hasHealed {
            // The operator puts the clocks right, and says what is to become of what was written meanwhile.
            for origin in replica.replicator.held.keys.sorted() {
                replica.release(origin, now: instant(of: machine), wall: wall(of: machine))
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
            case .changed, .reopened: break
            }
        }
        guard replica.isSyncDue(instant(of: machine)), !database.isSyncing else { return }
        do throws(StoreError) { try database.beginSync() } catch { return trouble(error, at: machine) }
        let isSlow = machine.diskChance.chance(0.05)
        let delay = Duration.milliseconds(2 + machine.diskChance.below(isSlow ? 400 : 20))
        queue.schedule(.databaseSync(machine: machine.number, boot: machine.boot), at: now + delay)
    }

    func databaseSynced(_ machine: SimulatedMachine) {
        machine.database?.endSync(now: instant(of: machine), wall: wall(of: machine))
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
        if row.rows.isEmpty {
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

    private func write(_ deed: Ledger.Deed, _ durability: Durability, at machine: SimulatedMachine, _ replica: Replica)
    {
        guard let number = ledger?.nextNumber() else { return }
        var statements: [SQLStatement] = []
        switch deed {
        case .schema:
            statements = [
                SQLStatement("CREATE TABLE IF NOT EXISTS things (k INTEGER PRIMARY KEY, a INTEGER, b INTEGER)"),
                SQLStatement("CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, machine INTEGER)"),
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
                    "UPDATE things SET n = n + ? WHERE k = ?", [.integer(Int64(by)), .integer(Int64(key))])
            ]
        }
        statements.append(
            SQLStatement(
                "INSERT INTO journal (id, machine) VALUES (?, ?)",
                [.integer(Int64(number)), .integer(Int64(machine.number))]))
        do throws(StoreError) {
            let (answer, ticket) = try replica.execute(
                statements, durability: durability, now: instant(of: machine), wall: wall(of: machine))
            guard let record = answer.record, let ticket else {
                return report(
                    "a write is a record",
                    [Finding(text: "n\(machine.number): \(deed) made none", machines: [machine.number])])
            }
            machine.database?.waiting[ticket] = number
            if let wrong = ledger?.wrote(record, deed, number: number, by: machine.number) {
                report(Ledger.timesGrow, [Finding(text: wrong, machines: [machine.number])])
            }
        } catch { trouble(error, at: machine) }
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
}
