import Primitives
package import Wire

/// Replication messages as bytes: docs/protocol/database.md has the layouts. Whatever does not fit exactly is refused.
package enum ReplicationCodec {
    package static let maximumOrigins = 16_384
    package static let maximumRecords = 16_384
    package static let maximumMembers = 1_024
    /// Of a snapshot in one message. Unit: bytes.
    package static let maximumChunk = 512 << 10

    private enum Kind: UInt8 {
        case state = 1
        case records, pull, synced, standings, wantSnapshot, offer, noSnapshot, wantChunk, chunk, gone
    }

    package static func encode(_ message: ReplicationMessage) -> [UInt8] {
        var writer = ByteWriter(reserving: 256)
        switch message {
        case .state(let state, let wantsReply):
            writer.integer(Kind.state.rawValue)
            writer.epoch(state.epoch)
            writer.integer(state.origin.rawValue)
            writer.integer(state.wall)
            writer.flag(wantsReply)
            writer.vector(state.vector)
        case .records(let records, let epoch, let answer, let isAwaited):
            writer.integer(Kind.records.rawValue)
            writer.epoch(epoch)
            writer.integer(UInt8(answer.map { $0.isBelowFloor ? 2 : 1 } ?? 0))
            writer.integer(answer?.number ?? (isAwaited ? 0 : 1))
            writer.list(records) { $0.record($1) }
        case .pull(let number, let wants, let budget):
            writer.integer(Kind.pull.rawValue)
            writer.integer(number)
            writer.integer(budget)
            writer.list(wants) { $0.want($1) }
        case .synced(let epoch, let heads):
            writer.integer(Kind.synced.rawValue)
            writer.epoch(epoch)
            writer.list(heads) { $0.want($1) }
        case .standings(let standings, let epoch, let wall):
            writer.integer(Kind.standings.rawValue)
            writer.epoch(epoch)
            writer.integer(wall)
            writer.list(standings) { writer, standing in
                writer.nodeID(standing.node)
                writer.integer(standing.life.origin.rawValue)
                writer.integer(standing.life.since.rawValue)
                writer.integer(standing.number)
                writer.integer(standing.roster)
                writer.integer(standing.lives)
                writer.vector(standing.synced)
            }
        case .wantSnapshot(let vector, let epoch, let resuming):
            writer.integer(Kind.wantSnapshot.rawValue)
            writer.epoch(epoch)
            writer.integer(resuming)
            writer.vector(vector)
        case .offer(let offer):
            writer.integer(Kind.offer.rawValue)
            writer.epoch(offer.epoch)
            writer.integer(offer.number)
            writer.integer(offer.size)
            writer.integer(offer.checksum)
            writer.vector(offer.vector)
        case .noSnapshot: writer.integer(Kind.noSnapshot.rawValue)
        case .wantChunk(let snapshot, let offset, let count):
            writer.integer(Kind.wantChunk.rawValue)
            writer.integer(snapshot)
            writer.integer(offset)
            writer.integer(count)
        case .chunk(let snapshot, let offset, let bytes):
            writer.integer(Kind.chunk.rawValue)
            writer.integer(snapshot)
            writer.integer(offset)
            writer.integer(UInt32(bytes.count))
            writer.raw(bytes)
        case .gone(let snapshot):
            writer.integer(Kind.gone.rawValue)
            writer.integer(snapshot)
        }
        return writer.bytes
    }

    package static func decode(_ bytes: [UInt8]) throws(ByteReader.Failure) -> ReplicationMessage {
        var reader = ByteReader(bytes)
        guard let kind = Kind(rawValue: try reader.integer()) else { throw .malformed }
        let message: ReplicationMessage
        switch kind {
        case .state:
            let epoch = try reader.epoch()
            let origin = Origin(rawValue: try reader.integer())
            let wall: Int64 = try reader.integer()
            let wantsReply = try reader.flag()
            message = .state(
                ReplicaState(epoch: epoch, origin: origin, vector: try reader.vector(), wall: wall),
                wantsReply: wantsReply)
        case .records:
            let epoch = try reader.epoch()
            let form: UInt8 = try reader.integer()
            let number: UInt32 = try reader.integer()
            guard form <= 2, form > 0 || number <= 1 else { throw .malformed }
            let answer = form == 0 ? nil : PullAnswer(number: number, isBelowFloor: form == 2)
            let records = try reader.list(limit: maximumRecords) {
                (reader: inout ByteReader) throws(ByteReader.Failure) in
                try reader.record()
            }
            message = .records(
                records, epoch: epoch, answer: answer, isAwaited: form > 0 || number == 0)
        case .pull:
            let number: UInt32 = try reader.integer()
            let budget: UInt32 = try reader.integer()
            message = .pull(number: number, wants: try reader.wants(), budget: budget)
        case .synced:
            let epoch = try reader.epoch()
            message = .synced(epoch: epoch, try reader.wants())
        case .standings:
            let epoch = try reader.epoch()
            let wall: Int64 = try reader.integer()
            let standings = try reader.list(limit: maximumMembers) {
                (reader: inout ByteReader) throws(ByteReader.Failure) in
                let node = try reader.nodeID()
                let (origin, since): (UInt64, UInt64) = (try reader.integer(), try reader.integer())
                return Standing(
                    node: node,
                    life: WriterLife(origin: Origin(rawValue: origin), since: HybridTime(rawValue: since)),
                    number: try reader.integer(), roster: try reader.integer(), lives: try reader.integer(),
                    synced: try reader.vector())
            }
            message = .standings(standings, epoch: epoch, wall: wall)
        case .wantSnapshot:
            let epoch = try reader.epoch()
            let resuming: UInt64 = try reader.integer()
            message = .wantSnapshot(vector: try reader.vector(), epoch: epoch, resuming: resuming)
        case .offer:
            let epoch = try reader.epoch()
            let (number, size, checksum): (UInt64, UInt64, UInt64) = (
                try reader.integer(), try reader.integer(), try reader.integer()
            )
            guard number != 0, size <= 1 << 44 else { throw .malformed }
            message = .offer(
                SnapshotOffer(
                    number: number, epoch: epoch, vector: try reader.vector(), size: size, checksum: checksum))
        case .noSnapshot: message = .noSnapshot
        case .wantChunk:
            message = .wantChunk(
                snapshot: try reader.integer(), offset: try reader.integer(), count: try reader.integer())
        case .chunk:
            let (snapshot, offset): (UInt64, UInt64) = (try reader.integer(), try reader.integer())
            let count = Int(try reader.integer(UInt32.self))
            guard count <= maximumChunk else { throw .tooLong }
            message = .chunk(snapshot: snapshot, offset: offset, bytes: Array(try reader.take(count)))
        case .gone: message = .gone(snapshot: try reader.integer())
        }
        try reader.finish()
        return message
    }
}

extension ByteWriter {
    fileprivate mutating func epoch(_ epoch: DatabaseEpoch) {
        integer(epoch.since.rawValue)
        integer(epoch.number)
    }
    fileprivate mutating func want(_ want: Want) {
        integer(want.origin.rawValue)
        integer(want.sequence)
    }
    fileprivate mutating func vector(_ vector: VersionVector) {
        list(vector.origins.prefix(ReplicationCodec.maximumOrigins)) { $0.want(Want($1, vector[$1])) }
    }
    fileprivate mutating func record(_ record: LogRecord) {
        integer(record.origin.rawValue)
        integer(record.sequence)
        integer(record.time.rawValue)
        integer(UInt32(record.body.count))
        raw(record.body)
    }
}

extension ByteReader {
    fileprivate mutating func epoch() throws(Failure) -> DatabaseEpoch {
        DatabaseEpoch(since: HybridTime(rawValue: try integer()), number: try integer())
    }
    fileprivate mutating func want() throws(Failure) -> Want { Want(Origin(rawValue: try integer()), try integer()) }
    fileprivate mutating func wants() throws(Failure) -> [Want] {
        try list(limit: ReplicationCodec.maximumOrigins) { (reader: inout ByteReader) throws(Failure) in
            try reader.want()
        }
    }
    /// In order and without repetition, so that one vector has one form.
    fileprivate mutating func vector() throws(Failure) -> VersionVector {
        let wants = try wants()
        var heads: [Origin: UInt64] = [:]
        var last: Origin?
        for want in wants {
            guard want.sequence > 0, last.map({ $0 < want.origin }) ?? true else { throw .malformed }
            heads[want.origin] = want.sequence
            last = want.origin
        }
        return VersionVector(heads)
    }
    fileprivate mutating func record() throws(Failure) -> LogRecord {
        let origin = Origin(rawValue: try integer())
        let (sequence, time): (UInt64, UInt64) = (try integer(), try integer())
        let count = Int(try integer(UInt32.self))
        guard count <= LogRecord.maximumBody, sequence > 0 else { throw .malformed }
        return LogRecord(
            origin: origin, sequence: sequence, time: HybridTime(rawValue: time), body: Array(try take(count)))
    }
}
