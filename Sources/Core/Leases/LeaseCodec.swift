import Primitives
package import Wire

/// Messages about leases as bytes: docs/protocol/leases.md has the layouts. Everything that does not fit exactly is
/// refused; every count and length is bounded before anything is read.
package enum LeaseCodec {
    /// First bytes that belong to leases; the other parts of a node use others.
    package static let types: ClosedRange<UInt8> = 128...131
    /// Before sealing.
    package static let maximumDatagram = 1200
    /// Votes in one message. Senders split by size before they reach it.
    package static let maximumVotes = 64
    /// Leases in one list of a beat.
    package static let maximumPairLeases = 64
    /// What one lease takes in a beat, and how much room there is for all of them.
    package static func pairSize(_ lease: LeaseName) -> Int { 15 + lease.name.description.utf8.count }
    package static let pairRoom = 1_100
    private static let changeType: UInt8 = 131

    package static func encode(_ message: LeaseMessage) -> [UInt8] {
        var writer = ByteWriter(reserving: 256)
        let type: UInt8 =
            switch message.body {
            case .votes: 128
            case .beat: 129
            case .ack: 130
            case .change: changeType
            }
        writer.integer(type)
        writer.integer(message.voters.lineage)
        writer.integer(message.voters.number)
        switch message.body {
        case .votes(let votes): writer.list(votes) { $0.vote($1) }
        case .beat(let beat): writer.beat(beat)
        case .ack(let generation, let sequence):
            writer.integer(generation)
            writer.integer(sequence)
        case .change(let change): writer.change(change)
        }
        return writer.bytes
    }

    package static func decode(_ bytes: [UInt8]) throws(ByteReader.Failure) -> LeaseMessage {
        guard bytes.count <= maximumDatagram else { throw .tooLong }
        var reader = ByteReader(bytes)
        let type: UInt8 = try reader.integer()
        let voters = VoterVersion(lineage: try reader.integer(), number: try reader.integer())
        let body: LeaseMessage.Body
        switch type {
        case 128:
            body = .votes(
                try reader.list(limit: maximumVotes) { (reader: inout ByteReader) throws(ByteReader.Failure) in
                    try reader.vote()
                })
        case 129: body = .beat(try reader.beat())
        case 130: body = .ack(generation: try reader.integer(), sequence: try reader.integer())
        case changeType: body = .change(try reader.change())
        default: throw .malformed
        }
        try reader.finish()
        return LeaseMessage(voters: voters, body)
    }

    /// Votes in as many messages as they need, none too long for one datagram.
    package static func split(_ votes: [LeaseVote], voters: VoterVersion) -> [LeaseMessage] {
        var messages: [LeaseMessage] = []
        var batch: [LeaseVote] = []
        var size = 0
        for vote in votes {
            // The longest vote: name, two ballots, a term with its ballot and epoch.
            let length = 2 + vote.lease.name.description.utf8.count + 2 + 28 + 1 + 72
            if !batch.isEmpty, size + length > maximumDatagram - 64 || batch.count == maximumVotes {
                messages.append(LeaseMessage(voters: voters, .votes(batch)))
                (batch, size) = ([], 0)
            }
            batch.append(vote)
            size += length
        }
        if !batch.isEmpty { messages.append(LeaseMessage(voters: voters, .votes(batch))) }
        return messages
    }
}

extension ByteWriter {
    fileprivate mutating func leaseName(_ lease: LeaseName) {
        integer(lease.kind.rawValue)
        text(lease.name.description)
    }
    fileprivate mutating func ballot(_ ballot: Ballot) {
        integer(ballot.counter)
        integer(ballot.generation)
        nodeID(ballot.node)
    }
    fileprivate mutating func running(_ running: LeaseVote.Running?) {
        integer(UInt8(running == nil ? 0 : 1))
        guard let running else { return }
        ballot(running.grant.ballot)
        integer(running.grant.epoch.number)
        integer(running.remaining)
    }
    fileprivate mutating func mark(_ mark: EpochMark) {
        integer(mark.epoch.number)
        integer(UInt8(mark.owner == nil ? 0 : 1))
        guard let owner = mark.owner else { return }
        nodeID(owner)
        integer(mark.generation)
    }
    fileprivate mutating func vote(_ vote: LeaseVote) {
        leaseName(vote.lease)
        ballot(vote.ballot)
        switch vote.step {
        case .prepare(let term, let isCarried):
            integer(UInt8(1))
            integer(term)
            flag(isCarried)
        case .promise(let mark, let running):
            integer(UInt8(2))
            self.mark(mark)
            self.running(running)
        case .accept(let term, let epoch):
            integer(UInt8(3))
            integer(term)
            integer(epoch.number)
        case .accepted: integer(UInt8(4))
        case .refuse(let promised, let running):
            integer(UInt8(5))
            ballot(promised)
            self.running(running)
        case .release: integer(UInt8(6))
        case .yours: integer(UInt8(7))
        }
    }
    fileprivate mutating func beat(_ beat: PairBeat) {
        integer(beat.generation)
        integer(beat.sequence)
        integer(beat.echo)
        integer(beat.echoGeneration)
        integer(beat.term)
        integer(UInt8(beat.reach == nil ? 0 : 1))
        if let reach = beat.reach { integer(reach) }
        list(beat.held) { writer, held in
            writer.leaseName(held.lease)
            writer.integer(held.epoch.number)
            writer.integer(held.age)
        }
        list(beat.bids) { writer, bid in
            writer.leaseName(bid.lease)
            writer.integer(bid.rank)
            writer.integer(bid.known.number)
        }
        list(beat.offers) { writer, offer in
            writer.leaseName(offer.lease)
            writer.integer(offer.epoch.number)
        }
    }
    package mutating func voterConfig(_ config: VoterConfig) {
        integer(config.lineage)
        integer(config.number)
        list(config.nodes) { $0.nodeID($1) }
        integer(UInt8(config.witness == nil ? 0 : 1))
        if let witness = config.witness { nodeID(witness) }
    }
    fileprivate mutating func change(_ change: VoterMessage) {
        switch change {
        case .prepare(let number, let ballot):
            integer(UInt8(1))
            integer(number)
            self.ballot(ballot)
        case .promise(let number, let ballot, let accepted):
            integer(UInt8(2))
            integer(number)
            self.ballot(ballot)
            integer(UInt8(accepted == nil ? 0 : 1))
            if let accepted {
                self.ballot(accepted.ballot)
                voterConfig(accepted.config)
            }
        case .accept(let ballot, let config):
            integer(UInt8(3))
            self.ballot(ballot)
            voterConfig(config)
        case .accepted(let number, let ballot):
            integer(UInt8(4))
            integer(number)
            self.ballot(ballot)
        case .refuse(let number, let promised):
            integer(UInt8(5))
            integer(number)
            ballot(promised)
        case .decided(let config):
            integer(UInt8(6))
            voterConfig(config)
        case .adopted: integer(UInt8(7))
        }
    }
}

extension ByteReader {
    fileprivate mutating func leaseName() throws(Failure) -> LeaseName {
        guard let kind = LeaseName.Kind(rawValue: try integer()), let name = ServiceName(try text(limit: 48)) else {
            throw .malformed
        }
        return LeaseName(kind, name)
    }
    fileprivate mutating func ballot() throws(Failure) -> Ballot {
        Ballot(counter: try integer(), generation: try integer(), node: try nodeID())
    }
    private mutating func running() throws(Failure) -> LeaseVote.Running? {
        guard try flag() else { return nil }
        let grant = LeaseGrant(ballot: try ballot(), epoch: try epoch())
        return LeaseVote.Running(grant: grant, remaining: try integer())
    }
    private mutating func mark() throws(Failure) -> EpochMark {
        let epoch = try epoch()
        guard try flag() else { return EpochMark(epoch) }
        return EpochMark(epoch, owner: try nodeID(), generation: try integer())
    }
    /// Half of what fits: one more than the highest must still be a number.
    private mutating func epoch() throws(Failure) -> Epoch {
        let number: UInt64 = try integer()
        guard number < 1 << 63 else { throw .malformed }
        return Epoch(number)
    }
    private mutating func term() throws(Failure) -> UInt32 {
        let term: UInt32 = try integer()
        // A longer one would keep everybody out for hours by one bad message.
        guard term > 0, term <= 10_000 else { throw .malformed }
        return term
    }
    fileprivate mutating func vote() throws(Failure) -> LeaseVote {
        let (lease, ballot) = (try leaseName(), try ballot())
        guard ballot.counter < 1 << 62 else { throw .malformed }
        let step: LeaseVote.Step
        switch try integer(UInt8.self) {
        case 1: step = .prepare(term: try term(), isCarried: try flag())
        case 2: step = .promise(mark: try mark(), running: try running())
        case 3: step = .accept(term: try term(), epoch: try epoch())
        case 4: step = .accepted
        case 5: step = .refuse(promised: try self.ballot(), running: try running())
        case 6: step = .release
        case 7: step = .yours
        default: throw .malformed
        }
        return LeaseVote(lease, ballot, step)
    }
    fileprivate mutating func beat() throws(Failure) -> PairBeat {
        let (generation, sequence): (UInt32, UInt32) = (try integer(), try integer())
        let (echo, echoGeneration): (UInt32, UInt32) = (try integer(), try integer())
        let term = try term()
        let reach: UInt8? = try flag() ? try integer() : nil
        guard sequence > 0 else { throw .malformed }
        let limit = LeaseCodec.maximumPairLeases
        let held = try list(limit: limit) { (reader: inout ByteReader) throws(Failure) in
            PairBeat.Held(lease: try reader.leaseName(), epoch: try reader.epoch(), age: try reader.integer())
        }
        let bids = try list(limit: limit) { (reader: inout ByteReader) throws(Failure) in
            let (lease, rank): (LeaseName, UInt8) = (try reader.leaseName(), try reader.integer())
            return PairBeat.Bid(lease: lease, rank: rank, known: try reader.epoch())
        }
        let offers = try list(limit: limit) { (reader: inout ByteReader) throws(Failure) in
            PairBeat.Offer(lease: try reader.leaseName(), epoch: try reader.epoch())
        }
        return PairBeat(
            generation: generation, sequence: sequence, echo: echo, echoGeneration: echoGeneration, term: term,
            reach: reach, held: held, bids: bids, offers: offers)
    }
    package mutating func voterConfig() throws(Failure) -> VoterConfig {
        let (lineage, number): (UInt64, UInt64) = (try integer(), try integer())
        let nodes = try list(limit: VoterConfig.maximumVoters + 1) { (reader: inout ByteReader) throws(Failure) in
            try reader.nodeID()
        }
        let witness: NodeID? = try flag() ? try nodeID() : nil
        let isSorted = zip(nodes, nodes.dropFirst()).allSatisfy { $0 < $1 }
        guard isSorted, number < 1 << 62, witness.map(nodes.contains) ?? true else { throw .malformed }
        return VoterConfig(lineage: lineage, number: number, nodes: nodes, witness: witness)
    }
    fileprivate mutating func change() throws(Failure) -> VoterMessage {
        switch try integer(UInt8.self) {
        case 1: return .prepare(number: try integer(), ballot: try ballot())
        case 2:
            let (number, ballot): (UInt64, Ballot) = (try integer(), try ballot())
            guard try flag() else { return .promise(number: number, ballot: ballot, accepted: nil) }
            let accepted = LeaseMemory.AcceptedVoters(ballot: try self.ballot(), config: try voterConfig())
            return .promise(number: number, ballot: ballot, accepted: accepted)
        case 3: return .accept(ballot: try ballot(), config: try voterConfig())
        case 4: return .accepted(number: try integer(), ballot: try ballot())
        case 5: return .refuse(number: try integer(), promised: try ballot())
        case 6: return .decided(try voterConfig())
        case 7: return .adopted
        default: throw .malformed
        }
    }
}
