package import Primitives

/// What nodes say to each other about being alive: docs/protocol/membership.md has the table and the byte layouts.
package enum Message: Equatable, Sendable {
    case heartbeat(Heartbeat)
    /// Answered at once by a `pong` with the same nonce. To a member that was declared failed it is a knock.
    case ping(nonce: UInt32, sender: MemberVersion)
    case pong(nonce: UInt32, sender: MemberVersion)
    /// "Do you hear this node?", asked of the others who watch it, when it fell silent here.
    case ask(subject: NodeID, version: MemberVersion)
    case evidence(Evidence)
    /// "I do not hear this node": counted by all who watch it, and sent to the accused, who may refute it.
    case report(Report)
    case withdraw(subject: NodeID, version: MemberVersion)
    /// Records that changed; each receiver to whom one is news passes it on over its edges.
    case updates([Update])
    /// Sent when two views stay different: the receiver answers with a `delta`.
    case digest(ViewDigest)
    /// Over a stream: all records of some buckets, and whether the sender wants the receiver's in return.
    case delta(ViewDelta)
}

/// Sent to each watched peer every interval; proof of life, and of hearing.
package struct Heartbeat: Equatable, Sendable {
    /// The sender's own.
    package var version: MemberVersion
    /// Grows by one with each heartbeat on this edge; the same on every path it takes.
    package var sequence: UInt32
    /// When to expect the next one. Unit: milliseconds.
    package var interval: UInt16
    /// The highest sequence heard from the receiver, 0 when none.
    package var echo: UInt32
    /// How long ago that was when this was sent. Unit: 0.1 ms, saturating at 6.5 s.
    package var echoAge: UInt16
    package var flags: Flags
    /// How unwell the sender's own pulse was lately: 0 is well, 8 is worst (Lifeguard's local health multiplier).
    package var health: UInt8
    /// Equal where both know the same records.
    package var viewHash: UInt64
    /// Equal where both know the same operator facts; opaque here.
    package var factsHash: UInt64
    /// Equal where both databases have the same; opaque here. 0 from a node without one, and then not compared.
    package var databaseHash: UInt64 = 0
    /// Opaque, at most 16 bytes.
    package var load: [UInt8]
    package var updates: [Update]

    package struct Flags: OptionSet, Equatable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The sender watches the receiver and asks it to keep sending heartbeats back.
        package static let observe = Flags(rawValue: 1)
        /// The sender hears the receiver: without this, both count the link as broken.
        package static let hears = Flags(rawValue: 2)
        /// The sender hears hardly anybody and accuses nobody.
        package static let isolated = Flags(rawValue: 4)
    }
    package static let maximumLoad = 16
    package static let maximumUpdates = 64

    package init(
        version: MemberVersion, sequence: UInt32, interval: UInt16, echo: UInt32, echoAge: UInt16, flags: Flags,
        health: UInt8, viewHash: UInt64, factsHash: UInt64, load: [UInt8], updates: [Update]
    ) {
        self.version = version
        self.sequence = sequence
        self.interval = interval
        self.echo = echo
        self.echoAge = echoAge
        self.flags = flags
        self.health = health
        self.viewHash = viewHash
        self.factsHash = factsHash
        self.load = load
        self.updates = updates
    }
}

/// What one observer knows of a node, when asked.
package struct Evidence: Equatable, Sendable {
    package enum Opinion: UInt8, Sendable, CaseIterable {
        /// Heard both ways within the last one and a half heartbeats.
        case fresh = 0
        /// Not heard for longer, not long enough to say more.
        case unsure = 1
        /// Silent, and no probe was answered: counts as a report.
        case silent = 2
        /// Does not watch it, or never heard it: abstains.
        case none = 3
    }
    package var subject: NodeID
    package var version: MemberVersion
    package var opinion: Opinion
    /// Figures behind `silent`; zeros otherwise.
    package var figures: Figures

    package init(subject: NodeID, version: MemberVersion, opinion: Opinion, figures: Figures) {
        self.subject = subject
        self.version = version
        self.opinion = opinion
        self.figures = figures
    }
}

/// The sender does not hear `subject` and says on which figures.
package struct Report: Equatable, Sendable {
    package var observer: NodeID
    package var subject: NodeID
    package var version: MemberVersion
    package var figures: Figures

    package init(observer: NodeID, subject: NodeID, version: MemberVersion, figures: Figures) {
        self.observer = observer
        self.subject = subject
        self.version = version
        self.figures = figures
    }
}

/// The figures of an accusation, in the resolution in which they travel.
package struct Figures: Equatable, Sendable {
    /// Unit: 1/100 φ, saturating at 655.35.
    package var centiPhi: UInt16
    /// Unit: milliseconds, saturating at 65 s.
    package var silence: UInt16
    package var unansweredProbes: UInt8
    /// The silent one is heard, but says that it does not hear the observer.
    package var isOneWay: Bool

    package static let none = Figures(centiPhi: 0, silence: 0, unansweredProbes: 0, isOneWay: false)

    package init(centiPhi: UInt16, silence: UInt16, unansweredProbes: UInt8, isOneWay: Bool) {
        self.centiPhi = centiPhi
        self.silence = silence
        self.unansweredProbes = unansweredProbes
        self.isOneWay = isOneWay
    }
}

extension Figures {
    package init(_ accusation: Accusation) {
        self.init(
            centiPhi: UInt16(clamping: Int((accusation.phi * 100).rounded())),
            silence: UInt16(clamping: accusation.silence.nanoseconds / 1_000_000),
            unansweredProbes: UInt8(clamping: accusation.unansweredProbes), isOneWay: accusation.isOneWay)
    }
}

extension Accusation {
    package init(observer: NodeID, figures: Figures) {
        self.init(
            observer: observer, phi: Double(figures.centiPhi) / 100, silence: .milliseconds(Int(figures.silence)),
            unansweredProbes: Int(figures.unansweredProbes), isOneWay: figures.isOneWay)
    }
}

/// News of one member. Alive comes from the member itself and carries its profile; failed carries its verdict.
package struct Update: Equatable, Sendable {
    package var id: NodeID
    package var version: MemberVersion
    /// `alive`, `failed` or `left`; suspicions travel as reports, removals as operator facts.
    package var rank: MemberRank
    /// How long it has been so. Unit: seconds.
    package var age: UInt32
    package var profile: MemberProfile?
    package var verdict: Verdict?

    package init(
        id: NodeID, version: MemberVersion, rank: MemberRank, age: UInt32, profile: MemberProfile?, verdict: Verdict?
    ) {
        self.id = id
        self.version = version
        self.rank = rank
        self.age = age
        self.profile = profile
        self.verdict = verdict
    }
}

/// Hashes of a view in 32 parts: two nodes whose views differ find out in which parts.
package struct ViewDigest: Equatable, Sendable {
    package static let bucketCount = 32
    /// Exactly `bucketCount`.
    package var buckets: [UInt64]
    package init(buckets: [UInt64]) { self.buckets = buckets }
}

package struct ViewDelta: Equatable, Sendable {
    /// At most this many records in one message; more go into the next.
    package static let maximumUpdates = 1024
    package var updates: [Update]
    /// Bit i asks for the receiver's records of bucket i.
    package var wanted: UInt32
    package init(updates: [Update], wanted: UInt32) {
        self.updates = updates
        self.wanted = wanted
    }
}
