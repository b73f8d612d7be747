import Primitives
import Replication
import Wire

/// Two groups that each were a cluster of their own and meet: both have dropped records that the other never had, so neither's
/// log leads to the other's state. Rows carry the stamps of all that still counts of them (`RowState`), so one's whole copy can
/// be taken in row by row, by the rules by which records are. Then that node has all of both, and gives it to the others as a
/// copy (docs/decisions/0059-groups-that-meet.md).
extension Store {
    /// All that another database has beside what is here, in one transaction. Its checks have been made (`candidate`).
    func absorb(path: String?, bytes: [UInt8]) throws(StoreError) {
        let other = try Store(path.map { .file($0) } ?? .memory(image: bytes), options)
        if other.knowledge.origins[origin].map({ $0.head > vector[origin] }) ?? false { try takeNewOrigin() }
        try transaction { () throws(StoreError) in
            // Who had seen what is to be known before conflicts are looked for.
            try absorbOrigins(of: other)
            for kind in [RecordBody.Element.Kind.table, .column, .index, .view] {
                for element in try other.elements(of: kind) { try apply(element) }
            }
            for lower in other.knowledge.tables.keys.sorted() {
                guard let table = other.knowledge.tables[lower] else { continue }
                try absorbRows(of: table, in: other)
            }
            try absorbHeld(of: other)
            if knowledge.clock.latest > knowledge.reserved { try reserve(knowledge.clock.latest) }
        }
    }

    /// Their heads become ours. Of the records up to there the log has none: whoever lacks them takes a copy.
    private func absorbOrigins(of other: Store) throws(StoreError) {
        for writer in other.knowledge.origins.keys.sorted() {
            guard let theirs = other.knowledge.origins[writer] else { continue }
            let forgotten = knowledge.forgotten[writer] ?? 0
            var known = knowledge.origins[writer] ?? Knowledge.Known()
            guard theirs.head > max(known.head, forgotten) else { continue }
            (known.head, known.time) = (theirs.head, theirs.time)
            (known.floor, known.floorTime) = (theirs.head, theirs.time)
            known.context = theirs.context
            knowledge.origins[writer] = known
            knowledge.untold.insert(writer)
            knowledge.clock.saw(theirs.time)
            try dropLog(of: writer)
            if forgotten > 0 { try unforget(writer) }
            try saveContext(of: writer)
        }
        for (writer, head) in other.knowledge.forgotten.sorted(by: { $0.key < $1.key }) {
            guard (knowledge.origins[writer]?.head ?? 0) <= head, (knowledge.forgotten[writer] ?? 0) < head else {
                continue
            }
            try dropLog(of: writer)
            try forgetWriter(writer, at: head)
        }
        knowledge.clock.saw(other.latestTime)
        try saveOrigins()
    }

    private func absorbRows(of table: TableModel, in other: Store) throws(StoreError) {
        try other.rows("SELECT key, meta FROM bramble_rows WHERE tab = ?", bind: { $0.bind(1, table.id) }) {
            (entry: Statement) throws(StoreError) in
            let key = try other.decodeKey(entry.blob(0))
            let (state, row) = try other.filled(try other.decodeMetadata(entry.blob(1)), table, key)
            let shown = row.map { row in table.key.map { row[$0] } } ?? key
            for change in state.changes {
                let values = change.cells.map { RowChange.Cell(table.places[$0.column], $0.value) }
                let sums = change.sums.map { RowChange.Cell(table.places[$0.column], .integer($0.sum)) }
                let section = RecordBody.Section(
                    table: table.name, columns: table.section, keyCount: table.key.count,
                    rows: [
                        RecordBody.Row(
                            kind: change.kind, key: shown, values: (values + sums).sorted { $0.column < $1.column })
                    ])
                try merge(section, stamp: change.stamp, isNews: true)
            }
        }
    }

    private func absorbHeld(of other: Store) throws(StoreError) {
        try other.rows("SELECT time, origin, change FROM bramble_held ORDER BY id") {
            (held: Statement) throws(StoreError) in
            var reader = ByteReader(held.blob(2))
            guard let section = try? RecordBody.Section(from: &reader) else { return }
            let stamp = Stamp(HybridTime(rawValue: held.word(0)), Origin(rawValue: held.word(1)))
            try merge(section, stamp: stamp, isNews: true)
        }
    }
}

extension RowState {
    /// Changes that, merged into nothing, give this state, in an order in which each finds its row. Of a row that is there the
    /// values have to be filled in.
    var changes: [RowChange] {
        var result: [RowChange] = []
        if delete != .zero { result.append(RowChange(.delete, delete)) }
        let first = isAlive ? cells.filter { $0.stamp == insert } : []
        if isAlive {
            result.append(RowChange(.insert, insert, cells: first.map { RowChange.Cell($0.column, $0.value) }))
        }
        let later = Dictionary(grouping: cells.filter { !isAlive || $0.stamp != insert }, by: \.stamp)
        let counted = Dictionary(grouping: shares, by: \.stamp)
        for stamp in Set(later.keys).union(counted.keys).sorted() {
            result.append(
                RowChange(
                    .update, stamp, cells: (later[stamp] ?? []).map { RowChange.Cell($0.column, $0.value) },
                    sums: (counted[stamp] ?? []).map { RowChange.Sum($0.column, $0.sum) }))
        }
        return result
    }
}
