package import Primitives

/// What one node's leases say to another's: at most `LeaseCodec.maximumDatagram` bytes.
package struct LeaseMessage: Equatable, Sendable {
    /// The voters that the sender goes by. Whoever goes by others answers nothing but with its own.
    package var voters: VoterVersion
    package var body: Body

    package enum Body: Equatable, Sendable {
        /// Between holders or bidders and voters, for any number of leases.
        case votes([LeaseVote])
        /// Between two nodes without a witness.
        case beat(PairBeat)
        /// That a beat of this life of the receiver came, at once: what its authority counts on.
        case ack(generation: UInt32, sequence: UInt32)
        /// About who votes.
        case change(VoterMessage)
    }
    package init(voters: VoterVersion, _ body: Body) {
        self.voters = voters
        self.body = body
    }
}

/// Which voters somebody goes by: of which cluster's founding, and which in the row since then.
package struct VoterVersion: Hashable, Sendable {
    package var lineage: UInt64
    package var number: UInt64
    package init(lineage: UInt64, number: UInt64) {
        self.lineage = lineage
        self.number = number
    }
    package static let none = VoterVersion(lineage: 0, number: 0)
}

/// One step of one lease. The steps and their rules: docs/protocol/leases.md.
package struct LeaseVote: Equatable, Sendable {
    package var lease: LeaseName
    package var ballot: Ballot
    package var step: Step

    package enum Step: Equatable, Sendable {
        /// “May I?” `term` is for how long, in milliseconds of the asker's clock. `isCarried`: the asker holds it by the
        /// vote of the voters before these.
        case prepare(term: UInt32, isCarried: Bool)
        /// “As far as I know”: the highest epoch, and the term that runs, if any.
        case promise(mark: EpochMark, running: Running?)
        case accept(term: UInt32, epoch: Epoch)
        case accepted
        /// To either question: a higher ballot was promised, or another's term runs.
        case refuse(promised: Ballot, running: Running?)
        /// The exact term with this ballot is over.
        case release
        /// “I have let go; bid now.”
        case yours
    }
    /// A term that a voter knows to run, and for how long it keeps others out. Unit: milliseconds.
    package struct Running: Equatable, Sendable {
        package var grant: LeaseGrant
        package var remaining: UInt32
        package init(grant: LeaseGrant, remaining: UInt32) {
            self.grant = grant
            self.remaining = remaining
        }
    }
    package init(_ lease: LeaseName, _ ballot: Ballot, _ step: Step) {
        self.lease = lease
        self.ballot = ballot
        self.step = step
    }
}

/// The highest epoch a node knows of, and for whom it was counted. A bidder that failed only because disks were slow
/// takes the epoch it counted before, which is on those disks by then.
package struct EpochMark: Hashable, Sendable {
    package var epoch: Epoch
    /// Nil when more than one bidder counted it, or when that is not known.
    package var owner: NodeID?
    package var generation: UInt32

    package init(_ epoch: Epoch, owner: NodeID? = nil, generation: UInt32 = 0) {
        self.epoch = epoch
        self.owner = owner
        self.generation = generation
    }
    package static let none = EpochMark(.none)

    /// Takes in that somebody counted `epoch`.
    package mutating func count(_ epoch: Epoch, for owner: NodeID?, generation: UInt32) {
        if epoch > self.epoch {
            self = EpochMark(epoch, owner: owner, generation: generation)
        } else if epoch == self.epoch, self.owner != owner || self.generation != generation {
            self.owner = nil
            self.generation = 0
        }
    }
}

/// What two nodes tell each other every `LeaseConfig.heartbeat`.
package struct PairBeat: Equatable, Sendable {
    package var generation: UInt32
    /// Counts from 1 in each generation. An older one than the newest received is ignored.
    package var sequence: UInt32
    /// The newest sequence that came from the other, and of which of its lives; 0 for none.
    package var echo: UInt32
    package var echoGeneration: UInt32
    /// How long this node's authority lasts from the sending of an acknowledged beat. Unit: milliseconds.
    package var term: UInt32
    /// Hosts of the reach list that answered last; nil while nobody was asked for long, or there is no list.
    /// 255: the sender takes over only after it had this node switched off.
    package var reach: UInt8?
    /// What the sender holds, or is about to: it has the other's offer and writes the epoch down.
    package var held: [Held]
    /// What it would take. Smaller rank first, then smaller ID.
    package var bids: [Bid]
    /// What the other may hold from this epoch on; the sender does not hold it.
    package var offers: [Offer]

    package struct Held: Equatable, Sendable {
        package var lease: LeaseName
        package var epoch: Epoch
        /// Since when. Unit: milliseconds.
        package var age: UInt32
        package init(lease: LeaseName, epoch: Epoch, age: UInt32) {
            self.lease = lease
            self.epoch = epoch
            self.age = age
        }
    }
    package struct Bid: Equatable, Sendable {
        package var lease: LeaseName
        package var rank: UInt8
        /// The highest epoch the bidder knows of.
        package var known: Epoch
        package init(lease: LeaseName, rank: UInt8, known: Epoch) {
            self.lease = lease
            self.rank = rank
            self.known = known
        }
    }
    package struct Offer: Equatable, Sendable {
        package var lease: LeaseName
        package var epoch: Epoch
        package init(lease: LeaseName, epoch: Epoch) {
            self.lease = lease
            self.epoch = epoch
        }
    }
    package init(
        generation: UInt32, sequence: UInt32, echo: UInt32, echoGeneration: UInt32, term: UInt32, reach: UInt8?,
        held: [Held], bids: [Bid], offers: [Offer]
    ) {
        self.generation = generation
        self.sequence = sequence
        self.echo = echo
        self.echoGeneration = echoGeneration
        self.term = term
        self.reach = reach
        self.held = held
        self.bids = bids
        self.offers = offers
    }
}

/// Deciding about the voters after `number - 1`: Paxos for one value, by the votes of those.
package enum VoterMessage: Equatable, Sendable {
    case prepare(number: UInt64, ballot: Ballot)
    case promise(number: UInt64, ballot: Ballot, accepted: LeaseMemory.AcceptedVoters?)
    case accept(ballot: Ballot, config: VoterConfig)
    case accepted(number: UInt64, ballot: Ballot)
    case refuse(number: UInt64, promised: Ballot)
    /// Who votes now. Sent to whoever goes by older ones.
    case decided(VoterConfig)
    /// That the sender goes by those named in the message's head.
    case adopted
}
