import Primitives
import Replication
import Testing
import Wire

@Suite struct ReplicationCodecTests {
    static let vector = VersionVector([Origin(rawValue: 7): 3, Origin(rawValue: 9): 1 << 40])
    static let epoch = DatabaseEpoch(since: HybridTime(milliseconds: 99), number: 5)
    static let record = LogRecord(
        origin: Origin(rawValue: 7), sequence: 4, time: HybridTime(milliseconds: 1000), body: [1, 2, 3])
    static let messages: [ReplicationMessage] = [
        .state(ReplicaState(epoch: epoch, origin: Origin(rawValue: 9), vector: vector, wall: -5), wantsReply: true),
        .records([record, record], epoch: epoch, answer: nil),
        .records([record], epoch: epoch, answer: nil, isAwaited: false),
        .records([], epoch: epoch, answer: PullAnswer(number: 8, isBelowFloor: true)),
        .pull(number: 8, wants: [Want(Origin(rawValue: 7), 0)], budget: 1000),
        .synced(epoch: .first, [Want(Origin(rawValue: 7), 12)]),
        .standings(
            [
                Standing(
                    node: NodeID(high: 1, low: 2),
                    life: WriterLife(origin: Origin(rawValue: 9), since: HybridTime(rawValue: 8)), number: 7, roster: 3,
                    lives: 4, synced: vector)
            ], epoch: epoch, wall: 77),
        .wantSnapshot(vector: vector, epoch: epoch, resuming: 3),
        .offer(SnapshotOffer(number: 4, epoch: epoch, vector: vector, size: 1 << 30, checksum: 6)), .noSnapshot,
        .wantChunk(snapshot: 4, offset: 1 << 33, count: 12), .chunk(snapshot: 4, offset: 0, bytes: [9, 9]),
        .gone(snapshot: 4),
    ]

    @Test("every message comes back as it went", arguments: messages)
    func roundTrip(message: ReplicationMessage) throws {
        #expect(try ReplicationCodec.decode(ReplicationCodec.encode(message)) == message)
    }

    @Test("a message cut short anywhere, or with a byte too many, is refused", arguments: messages)
    func cut(message: ReplicationMessage) {
        let bytes = ReplicationCodec.encode(message)
        for length in 0..<bytes.count {
            #expect(throws: ByteReader.Failure.self) { try ReplicationCodec.decode(Array(bytes.prefix(length))) }
        }
        #expect(throws: ByteReader.Failure.self) { try ReplicationCodec.decode(bytes + [0]) }
    }

    @Test("a push of a version before isAwaited counts as awaited, and other words in its place are refused")
    func awaited() throws {
        var bytes = ReplicationCodec.encode(.records([], epoch: .first, answer: nil, isAwaited: false))
        // kind, epoch, form, then the number.
        let place = 1 + 16 + 1
        #expect(Array(bytes[place..<place + 4]) == [0, 0, 0, 1])
        bytes[place + 3] = 0
        guard case .records(_, _, nil, let isAwaited) = try ReplicationCodec.decode(bytes) else {
            Issue.record("no push")
            return
        }
        #expect(isAwaited)
        bytes[place + 3] = 2
        #expect(throws: ByteReader.Failure.self) { try ReplicationCodec.decode(bytes) }
    }

    @Test("the largest record fits one frame")
    func largest() {
        let record = LogRecord(
            origin: Origin(rawValue: 1), sequence: 1, time: .zero,
            body: Array(repeating: 1, count: LogRecord.maximumBody))
        let bytes = ReplicationCodec.encode(.records([record], epoch: .first, answer: nil))
        #expect(bytes.count <= Frame.maximumPayload)
    }

    @Test("a vector out of order, or with a zero, is refused")
    func disorder() {
        let good = ReplicationCodec.encode(.wantSnapshot(vector: Self.vector, epoch: .first, resuming: 0))
        var swapped = good
        let half = good.count - 32
        swapped.replaceSubrange(half..<half + 16, with: good[(half + 16)...])
        #expect(throws: ByteReader.Failure.self) { try ReplicationCodec.decode(swapped) }
    }
}
