import Primitives
import Replication

private let origin = Origin(rawValue: 7)
private let vector = VersionVector([origin: 3, Origin(rawValue: 9): 1])
private let peer = NodeID(high: 1, low: 2)
private let messages: [ReplicationMessage] = [
    .state(ReplicaState(epoch: .first, origin: origin, vector: vector, wall: 1_700_000_000_000), wantsReply: true),
    .records(
        [LogRecord(origin: origin, sequence: 1, time: HybridTime(milliseconds: 1_700_000_000_000), body: [1, 2, 3])],
        epoch: .first, answer: nil),
    .records([], epoch: .first, answer: PullAnswer(number: 1, isBelowFloor: true)),
    .pull(number: 1, wants: [Want(origin, 0)], budget: 100), .synced(epoch: .first, [Want(origin, 1)]),
    .standings(
        [
            Standing(
                node: peer, life: WriterLife(origin: Origin(rawValue: 9), since: HybridTime(rawValue: 8)), number: 7,
                roster: 3, lives: 4, synced: vector)
        ], epoch: .first, wall: 5),
    .wantSnapshot(vector: vector, epoch: .first, resuming: 0),
    .offer(SnapshotOffer(number: 1, epoch: .first, vector: vector, size: 100, checksum: 5)), .noSnapshot,
    .wantChunk(snapshot: 1, offset: 0, count: 10), .chunk(snapshot: 1, offset: 0, bytes: [1, 2]), .gone(snapshot: 1),
]

extension FuzzTarget {
    /// Messages of the database's replication, from a peer that is authenticated but may run another version, or a bug: read,
    /// written again the same, and digested; then a good one is still taken.
    static let replication = FuzzTarget("replication", seeds: { messages.map(ReplicationCodec.encode) }) { bytes in
        guard let message = try? ReplicationCodec.decode(bytes) else { return nil }
        guard (try? ReplicationCodec.decode(ReplicationCodec.encode(message))) == message else {
            return "a message is not the same after it was written and read"
        }
        let now = Instant(sinceBoot: .seconds(100))
        let wall: Int64 = 1_700_000_000_000
        let own = NodeID(high: 1, low: 1)
        var replicator = Replicator(
            id: own, origin: Origin(rawValue: 1), epoch: .first, vector: VersionVector(), newest: .zero, isFresh: false,
            chance: SeededGenerator(seed: 1), now: now, wall: wall)
        _ = replicator.peersChanged(members: [own, peer], reachable: [peer], now: now, wall: wall)
        _ = replicator.received(message, from: peer, now: now, wall: wall)
        _ = replicator.tick(logBytes: 0, now: now + .seconds(3), wall: wall)
        guard replicator.epoch == .first else { return "a message alone changed the epoch" }
        let good = LogRecord(
            origin: Origin(rawValue: 0x7777_7777), sequence: replicator.vector[Origin(rawValue: 0x7777_7777)] + 1,
            time: HybridTime(milliseconds: wall), body: [9])
        let effects = replicator.received(
            .records([good], epoch: .first, answer: nil), from: peer, now: now, wall: wall)
        let isTaken = effects.contains { effect in
            if case .apply(let records, _) = effect { records.contains(good) } else { false }
        }
        return isTaken || !replicator.held.isEmpty ? nil : "after it, a good record is not taken"
    }
}
