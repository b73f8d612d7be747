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
            guard machine.state == .running, let store = machine.database?.replica?.store else { return nil }
            if let gap = ledger.invented(in: store.vector) {
                return Finding(text: "n\(machine.number) knows \(gap)", machines: [machine.number])
            }
            let expected = Set(ledger.entries(in: store.vector).map(\.number))
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
            guard let there = member.database?.replica?.store.numbers else { continue }
            let lost = ledger.promises.filter { promise in
                // On one disk alone, and that disk is gone or was sent away.
                let isExcused =
                    promise.reached == .local
                    && (ledger.unreliable.contains(promise.machine) || removed.contains(promise.machine))
                return !isExcused && !there.contains(promise.number)
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
        var first: (machine: Int, digest: UInt64, vector: VersionVector)?
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
                if first.vector != store.vector {
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
                first = (number, digest, store.vector)
            }
            let expected = ledger.rows(in: store.vector)
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
        row.map { "(a \($0.a.map(String.init) ?? "-"), b \($0.b.map(String.init) ?? "-"))" } ?? "not there"
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
    fileprivate var numbers: Set<Int> {
        guard let answer = try? query([SQLStatement("SELECT id FROM journal")]) else { return [] }
        return Set(
            answer.rows.compactMap { row in
                if case .integer(let number) = row[0] { Int(number) } else { nil }
            })
    }
    fileprivate var things: [Int: Ledger.Row] {
        guard let answer = try? query([SQLStatement("SELECT k, a, b FROM things")]) else { return [:] }
        var rows: [Int: Ledger.Row] = [:]
        for row in answer.rows {
            guard case .integer(let key) = row[0] else { continue }
            func number(_ value: SQLValue) -> Int? { if case .integer(let number) = value { Int(number) } else { nil } }
            rows[Int(key)] = Ledger.Row(a: number(row[1]), b: number(row[2]), count: 0)
        }
        return rows
    }
}
