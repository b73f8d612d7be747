import FoundationEssentials
import Machine
import Membership
import Node
import Primitives

/// The two files a node writes of what it knows, as JSON that a person can read. The checksum is the data directory's.
enum SavedState {
    // MARK: members.json

    private struct SavedMember: Codable {
        var id: String
        var name: String
        var addresses: [String]
        var generation: UInt32
        var incarnation: UInt32
        var rank: String
        var software: String
        var birth: UInt32
    }

    static func encode(_ records: [MemberRecord]) -> [UInt8] {
        json(
            records.map { record in
                SavedMember(
                    id: record.id.description, name: record.profile.name.description,
                    addresses: record.profile.addresses.map(\.description), generation: record.version.generation,
                    incarnation: record.version.incarnation, rank: "\(record.rank)", software: record.profile.software,
                    birth: record.profile.birth)
            })
    }

    /// Nil when it cannot be read: another version wrote it.
    static func members(from bytes: [UInt8]) -> [MemberRecord]? {
        guard let saved = try? JSONDecoder().decode([SavedMember].self, from: Data(bytes)) else { return nil }
        var records: [MemberRecord] = []
        for one in saved {
            guard let id = NodeID(one.id), let name = NodeName(one.name),
                let rank = MemberRank.allCases.first(where: { "\($0)" == one.rank })
            else { return nil }
            records.append(
                MemberRecord(
                    id: id, version: MemberVersion(generation: one.generation, incarnation: one.incarnation),
                    rank: rank,
                    profile: MemberProfile(
                        name: name, addresses: one.addresses.compactMap { Endpoint($0, defaultPort: 0) },
                        software: one.software, birth: one.birth)))
        }
        return records
    }

    // MARK: facts.json

    /// Also the value of a trust fact's row in the database.
    private struct SavedFact: Codable {
        /// Base 64.
        var value: String
        var stamp: UInt64
        var origin: String

        init(_ entry: SharedFacts.Entry) {
            value = Data(entry.value).base64EncodedString()
            stamp = entry.stamp
            origin = entry.origin.description
        }
        var entry: SharedFacts.Entry? {
            guard let value = Data(base64Encoded: value), let origin = NodeID(origin) else { return nil }
            return SharedFacts.Entry(value: Array(value), stamp: stamp, origin: origin)
        }
    }

    /// Trust facts; `legacy` is what an earlier version kept with them, while it is not in the database yet.
    static func encode(_ facts: SharedFacts, legacy: [StoredFact] = []) -> [UInt8] {
        var saved = facts.entries.mapValues(SavedFact.init)
        for fact in legacy where saved[fact.key] == nil {
            let origin = fact.by ?? NodeID(high: 0, low: 0)
            saved[fact.key] = SavedFact(SharedFacts.Entry(value: fact.value, stamp: 0, origin: origin))
        }
        return json(saved)
    }

    static func encode(_ entry: SharedFacts.Entry) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Array((try? encoder.encode(SavedFact(entry))) ?? Data())
    }
    /// Nil when it cannot be read: another version wrote it.
    static func entry(from bytes: [UInt8]) -> SharedFacts.Entry? {
        guard let fact = try? JSONDecoder().decode(SavedFact.self, from: Data(bytes)) else { return nil }
        return fact.entry
    }

    static func facts(from bytes: [UInt8]) -> SharedFacts? {
        guard let saved = try? JSONDecoder().decode([String: SavedFact].self, from: Data(bytes)) else { return nil }
        var entries: [(key: String, entry: SharedFacts.Entry)] = []
        for (key, fact) in saved {
            guard let entry = fact.entry else { return nil }
            entries.append((key, entry))
        }
        var facts = SharedFacts()
        _ = facts.merge(entries)
        return facts
    }

    private static func json(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { preconditionFailure("plain values always encode") }
        return Array(data)
    }
}
