package import Replication

// What the cluster itself must remember: rows of three tables of our own, replicated like any, not writable by people's SQL.

/// One thing to be remembered or forgotten. Keys say which table: users and tokens are secrets, members have columns.
package struct FactEdit: Equatable, Sendable {
    package var key: String
    /// Nil removes.
    package var value: [UInt8]?
    package init(_ key: String, _ value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// A row of `bramble_members`.
package struct MemberRow: Equatable, Sendable {
    /// Of the node, as `NodeID` writes it.
    package var id: String
    package var name: String
    /// When it first had the database; empty when nobody knows.
    package var since: String
    /// When, and by whom; empty for a member.
    package var removed: String
    package var removedBy: String
    package init(id: String, name: String = "", since: String = "", removed: String = "", removedBy: String = "") {
        self.id = id
        self.name = name
        self.since = since
        self.removed = removed
        self.removedBy = removedBy
    }
}

/// What changed among them.
package enum Remembered: Equatable, Sendable {
    /// These facts and, if true, members. In order of the keys.
    case changed([String], members: Bool)
    /// Nobody knows what: read all.
    case everything
}

extension Store {
    /// Keys that begin with these are kept where people's SQL cannot read them.
    private static let secretKeys = ["user/", "token/"]
    private static func table(of key: String) -> String {
        secretKeys.contains { key.hasPrefix($0) } ? OwnTables.secrets : OwnTables.facts
    }

    package func fact(_ key: String) throws(StoreError) -> [UInt8]? {
        var result: [UInt8]?
        try rows(
            "SELECT value FROM \(Self.table(of: key)) WHERE key = ?", bind: { $0.bind(1, text: key) }
        ) { result = $0.blob(0) }
        return result
    }
    /// In the order of the keys' bytes.
    package func facts(prefix: String) throws(StoreError) -> [(key: String, value: [UInt8])] {
        var result: [(key: String, value: [UInt8])] = []
        try rows(
            "SELECT key, value FROM bramble_facts WHERE substr(key, 1, length(?1)) = ?1 "
                + "UNION ALL SELECT key, value FROM bramble_secrets WHERE substr(key, 1, length(?1)) = ?1 ORDER BY 1",
            bind: { $0.bind(1, text: prefix) }
        ) { result.append(($0.text(0), $0.blob(1))) }
        return result
    }
    /// Under which origin a fact got its value, or was removed; nil for one that never was, or is forgotten.
    package func writer(ofFact key: String) throws(StoreError) -> Origin? {
        guard let table = knowledge.tables[Self.table(of: key)] else { return nil }
        return try metadata(table, keyIdentity([.text(key)]))?.latest.origin
    }
    /// Of these facts those that this database has never heard of: neither there nor removed.
    package func unknown(_ facts: [FactEdit]) throws(StoreError) -> [FactEdit] {
        var result: [FactEdit] = []
        for fact in facts {
            guard let table = knowledge.tables[Self.table(of: fact.key)] else { continue }
            if try metadata(table, keyIdentity([.text(fact.key)])) == nil { result.append(fact) }
        }
        return result
    }

    package func members() throws(StoreError) -> [MemberRow] {
        var result: [MemberRow] = []
        try rows("SELECT id, name, since, removed, removed_by FROM bramble_members ORDER BY id") { row in
            result.append(
                MemberRow(
                    id: row.text(0), name: row.text(1), since: row.text(2), removed: row.text(3),
                    removedBy: row.text(4)))
        }
        return result
    }

    /// In one transaction. Of members, what is empty is left as it is. Nil is returned when nothing changed.
    package func remember(
        _ edits: [FactEdit], members: [MemberRow] = [], wall: Int64
    ) throws(StoreError) -> LogRecord? {
        var clock = knowledge.clock
        let stamp = Stamp(clock.next(wall: wall), origin)
        return try transaction { () throws(StoreError) in
            capture.begin(.writer, time: nil)
            // Ours: SQLite must not refuse it, and it is captured all the same.
            capture.author = .own
            for edit in edits {
                let table = Self.table(of: edit.key)
                let statement: Statement
                if let value = edit.value {
                    statement = try own(
                        "INSERT INTO \(table) (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2")
                    // Text where it is some: so that people who read it see more than a number of bytes.
                    if table == OwnTables.facts, !value.contains(0), let text = String(validating: value, as: UTF8.self)
                    {
                        statement.bind(2, text: text)
                    } else {
                        statement.bind(2, blob: value)
                    }
                } else {
                    statement = try own("DELETE FROM \(table) WHERE key = ?1")
                }
                statement.bind(1, text: edit.key)
                capture.isCapturing = true
                try finish(statement)
            }
            for member in members { try remember(member) }
            capture.isCapturing = false
            let record = capture.entries.isEmpty ? nil : try commitOwn(capture.entries, [], stamp: stamp)
            capture.end()
            return record
        }
    }

    private func remember(_ member: MemberRow) throws(StoreError) {
        let insert = try own("INSERT OR IGNORE INTO bramble_members (id) VALUES (?)")
        insert.bind(1, text: member.id)
        capture.isCapturing = true
        try finish(insert)
        let values = [
            ("name", member.name), ("since", member.since), ("removed", member.removed),
            ("removed_by", member.removedBy),
        ]
        for (column, value) in values where !value.isEmpty {
            let statement = try own("UPDATE bramble_members SET \(column) = ?2 WHERE id = ?1")
            statement.bind(1, text: member.id)
            statement.bind(2, text: value)
            capture.isCapturing = true
            try finish(statement)
        }
    }

    /// What of it changed after `number` of the feed, and the number to ask with next.
    package func remembered(after number: UInt64) -> (news: Remembered, next: UInt64) {
        var next = number
        var keys: Set<String> = []
        var hasMembers = false
        while true {
            switch feed.notices(after: next, limit: 256) {
            case .resync(let latest): return (.everything, latest)
            case .notices(let notices):
                guard let last = notices.last else { return (.changed(keys.sorted(), members: hasMembers), next) }
                for notice in notices {
                    switch notice.table {
                    case OwnTables.members: hasMembers = true
                    case OwnTables.facts, OwnTables.secrets:
                        if case .text(let key)? = notice.key.first?.value { keys.insert(key) }
                    default: continue
                    }
                }
                next = last.number
            }
        }
    }
}
