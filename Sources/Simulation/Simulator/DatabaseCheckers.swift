import Primitives
import Replication
import Storage

/// One integer an origin says exactly what a copy has: those writes, and no others.
struct KnowledgeIsExact: Checker {
    let claim = "what a copy says it knows is exactly what it has, at every moment: no gaps, nothing in part"
    private var next = TrueTime.zero

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        guard cluster.now >= next else { return [] }
        next = cluster.now + .milliseconds(700)
        return look(cluster)
    }
    mutating func finished(in cluster: SimulatedCluster) -> [Finding] { look(cluster) }

    private func look(_ cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        return cluster.machines.compactMap { machine in
            guard machine.state == .running, let replica = machine.database?.replica else { return nil }
            let store = replica.store
            // What a new one has of origins before that of the tables waits for them, and no SQL shows it yet.
            if replica.isJoining, !store.hasJournal { return nil }
            if let gap = ledger.invented(in: store.wholeVector) {
                return Finding(text: "n\(machine.number) knows \(gap)", machines: [machine.number])
            }
            let expected = Set(ledger.entries(in: store.wholeVector).map(\.number)).subtracting([0])
            let there = store.numbers
            let missing = expected.subtracting(there)
            let extra = there.subtracting(expected)
            guard !missing.isEmpty || !extra.isEmpty else { return nil }
            return Finding(
                text: "n\(machine.number) lacks writes \(missing.sorted().prefix(5)) that it says it knows, and has "
                    + "\(extra.sorted().prefix(5)) that it does not say it knows",
                machines: [machine.number])
        }
    }
}

/// A promise covers certain faults; where only those befell the cluster, the write is there in the end.
struct PromisesAreKept: Checker {
    let claim = "no write is lost that was acknowledged, as far as its durability goes"
    private var removed: Set<Int> = []

    mutating func befalls(_ fault: Fault, in cluster: SimulatedCluster) {
        if case .remove(let machine, _) = fault { removed.insert(machine) }
    }

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        let members = cluster.membersNow.filter { !($0.database?.replica?.isJoining ?? true) }
        var findings: [Finding] = []
        for member in members {
            guard let store = member.database?.replica?.store else { continue }
            let (there, epoch) = (store.numbers, store.epoch)
            let lost = ledger.promises.filter { promise in
                // On one disk alone, and that disk is gone or was sent away.
                let isExcused =
                    promise.reached == .local
                    && (ledger.unreliable.contains(promise.machine) || removed.contains(promise.machine))
                return !isExcused && !there.contains(promise.number) && !ledger.isLost(promise.entry, in: epoch)
            }
            if let first = lost.first {
                findings.append(
                    Finding(
                        text:
                            "n\(member.number) lacks \(lost.count) acknowledged writes, the first number \(first.number): "
                            + "acknowledged as “\(first.reached)” by n\(first.machine) at \(first.at) s",
                        machines: [member.number, first.machine]))
            }
        }
        return findings
    }
}

/// All copies are the same in the end, and they are what the writes say.
struct CopiesConverge: Checker {
    let claim =
        "all copies become equal after everything has healed, and are what the writes add up to: nothing resurrected"

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        var findings: [Finding] = []
        var first: (machine: Int, digest: UInt64, vector: VersionVector, epoch: DatabaseEpoch)?
        for machine in cluster.membersNow {
            guard let replica = machine.database?.replica else { continue }
            let store = replica.store
            let number = machine.number
            if replica.isJoining {
                findings.append(Finding(text: "n\(number) is still joining", machines: [number]))
                continue
            }
            let digest = (try? store.digest()) ?? 0
            if let first {
                if first.epoch != store.epoch {
                    findings.append(
                        Finding(
                            text: "n\(number) and n\(first.machine) are of two epochs",
                            machines: [number, first.machine]))
                } else if first.vector != store.vector {
                    findings.append(
                        Finding(
                            text: "n\(number) knows \(store.vector.origins.map { "\($0):\(store.vector[$0])" }), "
                                + "n\(first.machine) \(first.vector.origins.map { "\($0):\(first.vector[$0])" })",
                            machines: [number, first.machine]))
                } else if first.digest != digest {
                    findings.append(
                        Finding(
                            text: "n\(number) and n\(first.machine) know the same and have different rows",
                            machines: [number, first.machine]))
                }
            } else {
                first = (number, digest, store.vector, store.epoch)
            }
            let (sums, counted) = (ledger.tallies(in: store.wholeVector), store.tallies)
            for key in 0..<SimulatedCluster.keys where sums[key] != counted[key] {
                findings.append(
                    Finding(
                        text:
                            "counter \(key) of n\(number) is \(counted[key].map(String.init) ?? "not there"), and should be "
                            + (sums[key].map(String.init) ?? "not there"), machines: [number]))
            }
            let expected = ledger.rows(in: store.wholeVector)
            let there = store.things
            for key in 0..<SimulatedCluster.keys where expected[key] != there[key] {
                findings.append(
                    Finding(
                        text:
                            "row \(key) of n\(number) is \(Self.text(there[key])), and should be \(Self.text(expected[key]))",
                        machines: [number]))
            }
        }
        return findings
    }

    private static func text(_ row: Ledger.Row?) -> String {
        row.map { row in
            let extra = row.extra.sorted { $0.key < $1.key }.map { ", c\($0.key) \($0.value)" }.joined()
            return "(a \(row.a.map(String.init) ?? "-"), b \(row.b.map(String.init) ?? "-")\(extra))"
        } ?? "not there"
    }
}

/// Without it, everything above would hold in a cluster that answers nobody.
struct WritesAreAnswered: Checker {
    let claim = "writes are made, and answered"

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        let written = ledger.entries.values.reduce(0) { $0 + $1.count }
        guard written >= 10, ledger.promises.count * 2 >= written else {
            return [Finding(text: "\(written) writes, \(ledger.promises.count) answers", machines: [])]
        }
        return []
    }
}

extension Store {
    fileprivate var hasJournal: Bool { (try? query([SQLStatement("SELECT 1 FROM journal LIMIT 1")])) != nil }
    fileprivate var numbers: Set<Int> {
        guard let answer = try? query([SQLStatement("SELECT id FROM journal")]) else { return [] }
        return Set(
            answer.rows.compactMap { row in
                if case .integer(let number) = row[0] { Int(number) } else { nil }
            })
    }
    fileprivate var things: [Int: Ledger.Row] {
        guard let answer = try? query([SQLStatement("SELECT * FROM things")]) else { return [:] }
        var rows: [Int: Ledger.Row] = [:]
        for values in answer.rows {
            var (key, row) = (0, Ledger.Row())
            for case (let name, .integer(let number)) in zip(answer.columns, values) {
                switch name {
                case "k": key = Int(number)
                case "a": row.a = Int(number)
                case "b": row.b = Int(number)
                default: if let column = Int(name.dropFirst()) { row.extra[column] = Int(number) }
                }
            }
            rows[key] = row
        }
        return rows
    }
    fileprivate var tallies: [Int: Int] {
        pairs("SELECT k, n FROM tallies").reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    fileprivate var overwritten: [(kept: Int, lost: Int)] {
        pairs("SELECT kept, lost FROM bramble_conflicts WHERE tab = 'things' AND col IN ('a', 'b')")
            .map { (kept: $0.0, lost: $0.1) }
    }
    private func pairs(_ text: String) -> [(Int, Int)] {
        guard let answer = try? query([SQLStatement(text)]) else { return [] }
        return answer.rows.compactMap { row in
            guard case .integer(let first) = row[0], case .integer(let second) = row[1] else { return nil }
            return (Int(first), Int(second))
        }
    }
}

/// What was overwritten by somebody who had not seen it is on the list, and nothing else is.
struct ConflictsAreListed: Checker {
    let claim = "each node lists the values that were overwritten unseen, both of them, and no others"

    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        var findings: [Finding] = []
        for machine in cluster.membersNow {
            guard let store = machine.database?.replica?.store else { continue }
            let listed = store.overwritten
            for clash in ledger.clashes(in: store.vector)
            where !listed.contains(where: { $0.kept == clash.kept && $0.lost == clash.lost }) {
                findings.append(
                    Finding(
                        text:
                            "n\(machine.number) does not list that \(clash.kept) took the place of \(clash.lost) unseen",
                        machines: [machine.number]))
            }
            for (kept, lost) in listed {
                guard let winner = ledger.writer(of: kept), let loser = ledger.writer(of: lost) else { continue }
                guard winner.seen[loser.record.origin] >= loser.record.sequence else { continue }
                findings.append(
                    Finding(
                        text:
                            "n\(machine.number) lists that \(kept) took the place of \(lost), which its writer had seen",
                        machines: [machine.number]))
            }
        }
        return findings
    }
}

/// What removed nodes wrote stays; that they wrote it nobody speaks of in the end.
struct RemovedAreForgotten: Checker {
    let claim = "what a removed node wrote under is forgotten once every member has had all of it"
    private var removed: Set<Int> = []

    mutating func befalls(_ fault: Fault, in cluster: SimulatedCluster) {
        if case .remove(let machine, _) = fault { removed.insert(machine) }
    }
    mutating func finished(in cluster: SimulatedCluster) -> [Finding] {
        guard let ledger = cluster.ledger else { return [] }
        let members = cluster.membersNow
        let gone = removed.subtracting(members.map(\.number))
        return members.compactMap { member in
            guard let store = member.database?.replica?.store else { return nil }
            let spoken = store.vector.origins.filter { origin in
                ledger.writer(under: origin).map { gone.contains($0) } ?? false
            }
            guard let first = spoken.first else { return nil }
            let writer = ledger.writer(under: first) ?? 0
            return Finding(
                text: "n\(member.number) still speaks of \(first), under which n\(writer) wrote",
                machines: [member.number])
        }
    }
}

/// Where nothing but versions differs a new node is a member soon: what it cannot read does not keep it out.
struct NewNodesBecomeMembers: Checker {
    let claim = "a new node that hears others is a member within ten seconds, whatever it cannot read"
    private var since: [Int: (boot: Int, at: TrueTime)] = [:]

    mutating func sampled(in cluster: SimulatedCluster) -> [Finding] {
        var findings: [Finding] = []
        for machine in cluster.machines {
            guard machine.state == .running, let replica = machine.database?.replica, replica.isJoining,
                !replica.replicator.peers.isEmpty
            else {
                since[machine.number] = nil
                continue
            }
            let began = since[machine.number]
            guard let began, began.boot == machine.boot else {
                since[machine.number] = (machine.boot, cluster.now)
                continue
            }
            if cluster.now - began.at > .seconds(10) {
                since[machine.number] = (machine.boot, cluster.now)
                findings.append(
                    Finding(text: "n\(machine.number) has been new for ten seconds", machines: [machine.number]))
            }
        }
        return findings
    }
}
