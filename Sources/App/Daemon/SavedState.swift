import FoundationEssentials
import Leases
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
        /// Only of a witness.
        var role: String?
    }

    static func encode(_ records: [MemberRecord]) -> [UInt8] {
        json(
            records.map { record in
                SavedMember(
                    id: record.id.description, name: record.profile.name.description,
                    addresses: record.profile.addresses.map(\.description), generation: record.version.generation,
                    incarnation: record.version.incarnation, rank: "\(record.rank)", software: record.profile.software,
                    birth: record.profile.birth,
                    role: record.profile.role == .node ? nil : "\(record.profile.role)")
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
                        software: one.software, birth: one.birth,
                        role: MemberProfile.Role.allCases.first { "\($0)" == one.role } ?? .node)))
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

    // MARK: leases.json

    private struct SavedVoters: Codable {
        var lineage: UInt64
        var number: UInt64
        var nodes: [String]
        var witness: String?

        init(_ voters: VoterConfig) {
            (lineage, number) = (voters.lineage, voters.number)
            (nodes, witness) = (voters.nodes.map(\.description), voters.witness?.description)
        }
        var voters: VoterConfig? {
            let ids = nodes.compactMap { NodeID($0) }
            guard ids.count == nodes.count else { return nil }
            return VoterConfig(lineage: lineage, number: number, nodes: ids, witness: witness.flatMap { NodeID($0) })
        }
    }
    private struct SavedBallot: Codable {
        var counter: UInt64
        var generation: UInt32
        var node: String

        init(_ ballot: Ballot) {
            (counter, generation, node) = (ballot.counter, ballot.generation, ballot.node.description)
        }
        var ballot: Ballot? {
            NodeID(node).map { Ballot(counter: counter, generation: generation, node: $0) }
        }
    }
    private struct SavedEpoch: Codable {
        var kind: UInt8
        var name: String
        var epoch: UInt64
        var owner: String?
        var generation: UInt32
    }
    private struct SavedLeases: Codable {
        var epochs: [SavedEpoch]
        var exclusionMs: UInt32
        var voters: SavedVoters
        var formerVoters: SavedVoters
        var promised: SavedBallot?
        var acceptedBallot: SavedBallot?
        var acceptedVoters: SavedVoters?
        var isAlone: Bool
    }

    static func encode(_ memory: LeaseMemory) -> [UInt8] {
        json(
            SavedLeases(
                epochs: memory.epochs.sorted { $0.key < $1.key }.map { lease, mark in
                    SavedEpoch(
                        kind: lease.kind.rawValue, name: lease.name.description, epoch: mark.epoch.number,
                        owner: mark.owner?.description, generation: mark.generation)
                },
                exclusionMs: memory.exclusion, voters: SavedVoters(memory.voters),
                formerVoters: SavedVoters(memory.formerVoters), promised: memory.promised.map { SavedBallot($0) },
                acceptedBallot: memory.accepted.map { SavedBallot($0.ballot) },
                acceptedVoters: memory.accepted.map { SavedVoters($0.config) }, isAlone: memory.isAlone))
    }

    /// Nil when any of it cannot be read: half a memory could vote twice.
    static func leases(from bytes: [UInt8]) -> LeaseMemory? {
        guard let saved = try? JSONDecoder().decode(SavedLeases.self, from: Data(bytes)),
            let voters = saved.voters.voters, let former = saved.formerVoters.voters
        else { return nil }
        var memory = LeaseMemory()
        for one in saved.epochs {
            guard let kind = LeaseName.Kind(rawValue: one.kind), let name = ServiceName(one.name) else { return nil }
            if let owner = one.owner, NodeID(owner) == nil { return nil }
            memory.epochs[LeaseName(kind, name)] = EpochMark(
                Epoch(one.epoch), owner: one.owner.flatMap { NodeID($0) }, generation: one.generation)
        }
        memory.exclusion = saved.exclusionMs
        (memory.voters, memory.formerVoters) = (voters, former)
        if let promised = saved.promised {
            guard let ballot = promised.ballot else { return nil }
            memory.promised = ballot
        }
        if let saved = saved.acceptedBallot.map({ ($0, saved.acceptedVoters) }) {
            guard let ballot = saved.0.ballot, let config = saved.1?.voters else { return nil }
            memory.accepted = LeaseMemory.AcceptedVoters(ballot: ballot, config: config)
        }
        memory.isAlone = saved.isAlone
        return memory
    }

    private static func json(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { preconditionFailure("plain values always encode") }
        return Array(data)
    }
}
