package import Primitives

/// Bugs that can be switched on, so that tests and the simulator can show that they find them. Never in a daemon.
package enum LeaseBug: String, CaseIterable, Sendable {
    case countedFromReply
    case shortQuarantine
    case scalarVotes
    case liveOverwrite
    case ownerOnlyRelease
    case attendedClock
    case lateTimer
    case staleOwnerOpen
    case nodeOwner

    package var summary: String {
        switch self {
        case .countedFromReply: "a term counts from when the answer came, not from when it was asked for"
        case .shortQuarantine: "a restarted voter is silent for half as long as an attempt can live"
        case .scalarVotes: "answers are counted, not the voters they come from"
        case .liveOverwrite: "a voter replaces the running term of another holder"
        case .ownerOnlyRelease: "a release ends any term of its sender, not only the exact one"
        case .attendedClock: "a holder counts its own term on the attended clock, which a pause holds back"
        case .lateTimer: "an attempt's deadline starts with the promises, not when they are asked for"
        case .staleOwnerOpen: "a bidder takes the trace of an attempt it gave up as leave to hold"
        case .nodeOwner: "a holder is the same after a restart"
        }
    }
}

/// How long everything about leases takes, and the inequalities that make it safe. Letters as in docs/protocol/leases.md.
package struct LeaseConfig: Equatable, Sendable {
    package enum Profile: String, CaseIterable, Sendable {
        /// For wired machines: a service is back in half a second.
        case fast
        /// For Wi-Fi and busy SD cards: rides out pauses of seconds.
        case calm
    }
    /// ρ: by what share a clock may be wrong about elapsed time. Crystals are within 0.0001; default 0.01.
    package var clockError = 0.01
    /// h: how often what is held is renewed, and two nodes speak.
    package var heartbeat: Duration
    /// L: for how long a holder may act after it *asked* for what was granted.
    package var term: Duration
    /// T: for how long others are kept out after a grant, or wait after the other of two fell silent.
    package var takeover: Duration
    /// E: from the end of a term until nothing gets out any more. With the kernel gate about one of its ticks, 10 ms.
    package var enforcement: Duration
    /// m: how many heartbeats in a row may be lost before the other counts as silent.
    package var losses: Int
    /// Whether T has to hold (m+1)·h more, because a reach list can keep a holder going whom the other does not hear.
    package var isPair: Bool
    /// S: how long before the end of its term a holder that could not renew begins to stop.
    package var stop: Duration
    /// How long a node that starts alone waits for the other of two. Default 20 s.
    package var bootWait = Duration.seconds(20)
    /// How long the members have to stay the same before voters are founded or changed. Default 2 s.
    package var settle = Duration.seconds(2)
    /// How much later each further rank bids. Default 1.5 heartbeats.
    package var rankDelay: Duration
    /// What decides where two nodes are alone with each other.
    package var pair = PairJudge.bestEffort
    package var plantedBug: LeaseBug?

    /// Who decides for two nodes without a witness.
    package enum PairJudge: Equatable, Sendable {
        /// A list of this many hosts that normally answer.
        case reach(hosts: Int)
        /// Whoever takes over first has the other switched off.
        case fence
        /// An operator.
        case manual
        /// Nobody: silence on all paths is enough.
        case bestEffort

        package var guarantee: Guarantee {
            switch self {
            case .reach: .singleFault
            case .fence: .fence
            // Nothing runs twice while nothing is taken over without being told to.
            case .manual, .bestEffort: .bestEffort
            }
        }
    }

    /// reference: failover.md §6 for `fast`, membership.md §6.2 for `calm`.
    package init(_ profile: Profile, isPair: Bool) {
        self.isPair = isPair
        switch (profile, isPair) {
        case (.fast, true):
            (heartbeat, term, takeover) = (.milliseconds(50), .milliseconds(250), .milliseconds(450))
            (enforcement, losses, stop) = (.milliseconds(10), 2, .milliseconds(0))
        case (.fast, false):
            (heartbeat, term, takeover) = (.milliseconds(100), .milliseconds(500), .milliseconds(800))
            (enforcement, losses, stop) = (.milliseconds(10), 2, .milliseconds(0))
        case (.calm, true):
            (heartbeat, term, takeover) = (.milliseconds(100), .milliseconds(2000), .milliseconds(2600))
            (enforcement, losses, stop) = (.milliseconds(20), 3, .milliseconds(200))
        case (.calm, false):
            (heartbeat, term, takeover) = (.milliseconds(500), .milliseconds(4000), .milliseconds(4200))
            (enforcement, losses, stop) = (.milliseconds(20), 2, .milliseconds(600))
        }
        rankDelay = heartbeat * 3 / 2
    }

    /// The most that measured gaps may widen T to.
    package static let widestTakeover = Duration.seconds(10)

    /// (m+1)·h where a reach list may keep a holder going, else nothing.
    package var silenceLag: Duration { isPair ? heartbeat * (losses + 1) : .zero }

    /// The shortest safe T for a term: T(1−ρ) ≥ L(1+ρ) + E [+ (m+1)h].
    package func shortestTakeover(for term: Duration) -> Duration {
        let needed = Double(term.nanoseconds) * (1 + clockError) + Double((enforcement + silenceLag).nanoseconds)
        return .nanoseconds(Int64((needed / (1 - clockError)).rounded(.up)))
    }
    /// The longest safe term for a T; never below zero.
    package func longestTerm(for takeover: Duration) -> Duration {
        let room = Double(takeover.nanoseconds) * (1 - clockError) - Double((enforcement + silenceLag).nanoseconds)
        return .nanoseconds(Int64(max(0, room / (1 + clockError))))
    }
    /// Q: a voter that lost its memory is silent until every attempt it may have known of is dead: Q ≥ L(1+ρ)/(1−ρ).
    package func quarantine(longest exclusion: Duration) -> Duration { max(takeover, exclusion) }

    /// Numbers that could let two nodes act at once, or never let one act, are refused with the figures.
    package func validate() throws(LeaseNumbersError) {
        for (name, value) in [("h", heartbeat), ("L", term), ("T", takeover)] where value <= .zero {
            throw .notPositive(name: name, value: value)
        }
        guard (0..<0.2).contains(clockError) else { throw .clockError(clockError) }
        guard losses >= 0, enforcement >= .zero, stop >= .zero else {
            throw .notPositive(name: "E, S or m", value: min(enforcement, stop))
        }
        let needed = shortestTakeover(for: term)
        guard takeover >= needed else {
            throw .takeoverTooShort(self, needed: needed)
        }
        guard takeover <= Self.widestTakeover else { throw .takeoverTooLong(takeover) }
        // Renewal: two tries and a round trip of one heartbeat have to fit into what is left before the stop begins.
        let renewal = heartbeat * 3 + stop
        guard term >= renewal else { throw .termTooShort(self, needed: renewal) }
    }
}

/// Numbers that would not be safe, or not work, with the figures.
package enum LeaseNumbersError: OperatorError, Equatable {
    case notPositive(name: String, value: Duration)
    case clockError(Double)
    case takeoverTooShort(LeaseConfig, needed: Duration)
    case takeoverTooLong(Duration)
    case termTooShort(LeaseConfig, needed: Duration)
    case gapsTooLong(takeover: Duration, gap: Duration)

    package var problem: String {
        switch self {
        case .notPositive(let name, let value): "\(name) is \(text(value)); it has to be more than nothing"
        case .clockError(let error): "the clock error ρ is \(error); it has to be at least 0 and below 0.2"
        case .takeoverTooShort(let config, let needed):
            "T = \(text(config.takeover)) is too short: T(1−ρ) ≥ L(1+ρ) + E"
                + (config.isPair ? " + (m+1)h" : "")
                + " asks for \(text(needed)) with L = \(text(config.term)), E = \(text(config.enforcement)), "
                + (config.isPair ? "m = \(config.losses), h = \(text(config.heartbeat)), " : "")
                + "ρ = \(config.clockError); two nodes could act at once"
        case .takeoverTooLong(let takeover):
            "T = \(text(takeover)) is longer than \(text(LeaseConfig.widestTakeover))"
        case .termTooShort(let config, let needed):
            "L = \(text(config.term)) is too short: L ≥ 3h + S asks for \(text(needed)) with "
                + "h = \(text(config.heartbeat)), S = \(text(config.stop)); it could not be renewed in time"
        case .gapsTooLong(let takeover, let gap):
            "T = \(text(takeover)) is less than three times the gaps measured here, \(text(gap)) (99.9 %)"
        }
    }
    package var remedy: String {
        switch self {
        case .notPositive, .clockError: "leave it out: the profile has a number that works"
        case .takeoverTooShort: "make T longer or L shorter, or take profile fast or calm as it is"
        case .takeoverTooLong: "take a shorter T; profile calm has 2.6 to 4.2 s"
        case .termTooShort: "make L longer, or h shorter"
        case .gapsTooLong: "take profile calm, or find what holds this machine up: bramble doctor"
        }
    }
    private func text(_ duration: Duration) -> String {
        let tenths = (duration.milliseconds * 10).rounded() / 10
        return tenths == tenths.rounded() ? "\(Int(tenths)) ms" : "\(tenths) ms"
    }
}
