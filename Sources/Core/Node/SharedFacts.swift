package import Primitives
package import Wire

/// What the operator decided, on every node.
///
/// Two parts, read as one. The *trust facts* (who was removed or approved, cluster keys) must hold before a peer may speak to
/// the database at all: a small map whose entries are last-writer-wins by (stamp, origin), spread with the node's own
/// messages; merging is commutative, associative and idempotent, so they may arrive in any order and any number of times.
/// Everything else (users, tokens, what should run, orders that last) is in the replicated database, and `stored` is what it
/// says: a copy for whoever must never wait for a disk.
package struct SharedFacts: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        /// Empty means deleted: the entry stays, so that an old value cannot come back.
        package var value: [UInt8]
        /// A Lamport clock: one more than the highest its writer had seen.
        package var stamp: UInt64
        package var origin: NodeID
        package init(value: [UInt8], stamp: UInt64, origin: NodeID) {
            self.value = value
            self.stamp = stamp
            self.origin = origin
        }

        fileprivate func wins(over other: Entry) -> Bool {
            if stamp != other.stamp { return stamp > other.stamp }
            if origin != other.origin { return origin > other.origin }
            // Only a broken writer gets here; any total order will do, as long as all nodes use the same.
            return other.value.lexicographicallyPrecedes(value)
        }
    }

    package enum Failure: Error, Equatable, Sendable { case tooManyFacts, tooLong }

    /// All trust facts of a cluster fit one stream frame of 1 MiB: 1,024 entries, 256 bytes of key, 512 KiB in all.
    package static let maximumEntries = 1024
    package static let maximumKey = 256
    package static let maximumValue = 4096
    package static let maximumBytes = 512 * 1024
    private static let entryOverhead = 32

    package private(set) var entries: [String: Entry] = [:]
    private var bytes = 0
    private var newestStamp: UInt64 = 0
    /// As the database has them.
    package private(set) var stored: [String: [UInt8]] = [:]
    /// Of the trust facts. Equal on two nodes when their facts are; kept up to date by each change. Not against forgers: peers are authenticated.
    package private(set) var digest: UInt64 = 0
    /// Everybody who was ever removed: asked on each round of the pulse, so not looked up by key there.
    package private(set) var removed: Set<NodeID> = []

    package init() {}

    /// The value of a key; nil when it was never set or was deleted.
    package subscript(key: String) -> [UInt8]? {
        guard let entry = entries[key] else { return stored[key] }
        return entry.value.isEmpty ? nil : entry.value
    }

    /// Keys with this prefix that have a value, in order.
    package func keys(prefix: String) -> [String] {
        let own = entries.filter { $0.key.hasPrefix(prefix) && !$0.value.value.isEmpty }.keys
        let others = stored.keys.filter { $0.hasPrefix(prefix) && entries[$0] == nil }
        return (own + others).sorted()
    }
    /// Nobody ever decided anything, as far as is known here.
    package var isEmpty: Bool { entries.isEmpty && stored.isEmpty }

    /// Takes over what the database says. With `isWhole` it says nothing else. Returns the keys that changed, in order.
    package mutating func project(_ facts: [StoredFact], isWhole: Bool) -> [String] {
        var after = isWhole ? [:] : stored
        for fact in facts where !FactKey.isTrust(fact.key) { after[fact.key] = fact.value.isEmpty ? nil : fact.value }
        let touched = isWhole ? Set(stored.keys).union(after.keys) : Set(facts.map(\.key))
        let changed = touched.filter { stored[$0] != after[$0] }.sorted()
        stored = after
        return changed
    }

    /// What a file of an earlier version has besides trust facts: it belongs into the database.
    package mutating func takeOthers() -> [StoredFact] {
        let others = entries.filter { !FactKey.isTrust($0.key) }
        let trust = entries.filter { FactKey.isTrust($0.key) }
        self = SharedFacts()
        _ = merge(trust.map { ($0.key, $0.value) })
        return others.filter { !$0.value.value.isEmpty }.sorted { $0.key < $1.key }
            .map { StoredFact($0.key, $0.value.value, by: $0.value.origin) }
    }

    /// Sets or, with nil, deletes a fact as `origin`. Returns the new entry.
    package mutating func set(_ key: String, to value: [UInt8]?, by origin: NodeID) throws(Failure) -> Entry {
        let entry = Entry(value: value ?? [], stamp: newestStamp + 1, origin: origin)
        try store(key, entry)
        return entry
    }

    /// Takes what is newer; returns the keys that changed, in order. What does not fit is left out, never half of it.
    package mutating func merge(_ others: [(key: String, entry: Entry)]) -> [String] {
        var changed: [String] = []
        for (key, entry) in others.sorted(by: { $0.key < $1.key }) {
            if let mine = entries[key], !entry.wins(over: mine) { continue }
            if (try? store(key, entry)) != nil { changed.append(key) }
        }
        return changed
    }

    private mutating func store(_ key: String, _ entry: Entry) throws(Failure) {
        guard (1...Self.maximumKey).contains(key.utf8.count), entry.value.count <= Self.maximumValue else {
            throw .tooLong
        }
        let old = entries[key]
        let size = key.utf8.count + entry.value.count + Self.entryOverhead
        let oldSize = old.map { key.utf8.count + $0.value.count + Self.entryOverhead } ?? 0
        guard entries.count + (old == nil ? 1 : 0) <= Self.maximumEntries, bytes - oldSize + size <= Self.maximumBytes
        else { throw .tooManyFacts }
        if let old { digest ^= Self.hash(key, old) }
        digest ^= Self.hash(key, entry)
        bytes += size - oldSize
        newestStamp = max(newestStamp, entry.stamp)
        entries[key] = entry
        guard key.hasPrefix(FactKey.removals), let node = NodeID(key.dropFirst(FactKey.removals.count)) else { return }
        if entry.value.isEmpty { removed.remove(node) } else { removed.insert(node) }
    }

    /// FNV-1a over everything that is compared, finished by SplitMix64's mixer so that XOR of many spreads well.
    private static func hash(_ key: String, _ entry: Entry) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        key.utf8.forEach(add)
        add(0)
        for shift in stride(from: 56, through: 0, by: -8) {
            add(UInt8(truncatingIfNeeded: entry.stamp >> UInt64(shift)))
        }
        entry.origin.bytes.forEach(add)
        entry.value.forEach(add)
        var mixed = SeededGenerator(seed: hash)
        return mixed.next()
    }
}

/// One fact of the database.
package struct StoredFact: Equatable, Sendable {
    package var key: String
    /// Empty: it is not there.
    package var value: [UInt8]
    /// Who wrote it, where that is known.
    package var by: NodeID?
    package init(_ key: String, _ value: [UInt8], by: NodeID? = nil) {
        self.key = key
        self.value = value
        self.by = by
    }
}

extension SharedFacts {
    /// The entries of these keys (all without), for the wire or a file: sorted by key.
    package func encoded(keys: [String]? = nil) -> [UInt8] {
        var writer = ByteWriter(reserving: bytes + 64)
        writer.list((keys ?? Array(entries.keys)).sorted().filter { entries[$0] != nil }) { writer, key in
            let entry = entries[key]!
            writer.text(key)
            writer.integer(entry.stamp)
            writer.nodeID(entry.origin)
            writer.blob(entry.value)
        }
        return writer.bytes
    }

    package static func decode(_ reader: inout ByteReader) throws(ByteReader.Failure) -> [(key: String, entry: Entry)] {
        try reader.list(limit: maximumEntries) { (reader) throws(ByteReader.Failure) in
            let key = try reader.text(limit: maximumKey)
            let stamp: UInt64 = try reader.integer()
            let origin = try reader.nodeID()
            return (key, Entry(value: try reader.blob(limit: maximumValue), stamp: stamp, origin: origin))
        }
    }
}
