import Primitives

// From silence to verdict: reports, questions to the other observers, the count, and our own isolation.
extension Membership {
    func suspicionIndex(of subject: NodeID) -> Int? {
        let (place, isThere) = suspicions.place(of: subject) { $0.subject }
        return isThere ? place : nil
    }

    private mutating func suspicion(of subject: NodeID) -> Int {
        let (place, isThere) = suspicions.place(of: subject) { $0.subject }
        if !isThere { suspicions.insert(Suspicion(subject: subject, openedAt: attended), at: place) }
        return place
    }

    func isAccused(_ subject: NodeID, byOthersThan observer: NodeID) -> Bool {
        suspicionIndex(of: subject).map { suspicions[$0].accusations.contains { $0.observer != observer } } ?? false
    }

    /// All who watch this node as far as we know, sorted by ID, ourselves included if we do.
    func observers(of subject: NodeID) -> [NodeID] {
        if let rings { return rings.neighbours(of: subject) }
        var result = links.lazy.filter { $0.isWatched && $0.peer != subject }.map(\.peer).sorted()
        let (place, _) = result.place(of: id) { $0 }
        result.insert(id, at: place)
        return result
    }

    func coObservers(of subject: NodeID) -> [NodeID] { observers(of: subject).filter { $0 != id && $0 != subject } }

    func path(to node: NodeID) -> Endpoint? {
        if let place = edgeIndex(of: node), let endpoint = links[place].preferred { return endpoint }
        guard let slot = table.slot(of: node) else { return nil }
        return table[slot].path ?? table[slot].profile.addresses.first
    }

    mutating func send(_ message: Message, to node: NodeID) {
        if let endpoint = path(to: node) { effects.append(.send(message, to: node, via: endpoint)) }
    }

    private func figures(_ edge: Edge) -> Figures {
        let silence = silence(of: edge)
        return Figures(
            Accusation(
                observer: id, phi: edge.wasUp ? edge.detector.phi(silence: silence) : 0, silence: .nanoseconds(silence),
                unansweredProbes: edge.probesSent, isOneWay: edge.hears(at: attended)))
    }

    // MARK: An edge falls and rises

    /// No sign of life, no answer to probes.
    mutating func fall(_ place: Int) {
        links[place].state = .down
        links[place].reviewDelay = Span.review
        links[place].nextReview = attended + Span.review
        accuse(place)
    }

    /// It is heard again, both ways.
    mutating func rise(_ place: Int) {
        let peer = links[place].peer
        links[place].nextReview = .max
        links[place].reviewEnds = .max
        let version = links[place].reported ?? table[links[place].slot].version
        links[place].reported = nil
        retract(place, version)
        if let suspicion = suspicionIndex(of: peer) {
            suspicions[suspicion].withdraw(by: id)
            settleSuspicion(of: peer)
        }
    }

    /// Says that we do not hear this peer: to all who watch it, and to itself, because it may refute.
    private mutating func accuse(_ place: Int) {
        let edge = links[place]
        let entry = table[edge.slot]
        guard entry.rank == .alive, edge.reported != entry.version else { return }
        links[place].reported = entry.version
        links[place].reports = 0
        links[place].reviewEnds = .max
        let figures = figures(edge)
        suspicions[suspicion(of: edge.peer)].accuse(
            by: id, version: entry.version, figures: figures, at: attended)
        showSuspicion(of: edge.peer)
        report(place)
    }

    private mutating func report(_ place: Int) {
        let edge = links[place]
        guard let version = edge.reported, let suspicion = suspicionIndex(of: edge.peer) else { return }
        links[place].reports += 1
        // Datagrams get lost, and sessions may have to be opened first: soon again, then every second.
        links[place].nextReport =
            attended + (edge.reports == 0 ? interval : edge.reports == 1 ? 2 * interval : Span.second)
        let figures = figures(edge)
        suspicions[suspicion].accuse(by: id, version: version, figures: figures, at: attended)
        guard !isIsolated else { return }
        let report = Message.report(Report(observer: id, subject: edge.peer, version: version, figures: figures))
        for observer in coObservers(of: edge.peer) {
            send(report, to: observer)
            suspicions[suspicion].noteAsked(observer, at: attended)
            tell(place, observer)
        }
        for endpoint in edge.paths.map(\.endpoint) { effects.append(.send(report, to: edge.peer, via: endpoint)) }
    }

    /// Remembers who holds our word against this peer.
    private mutating func tell(_ place: Int, _ observer: NodeID) {
        let (spot, isThere) = links[place].told.place(of: observer) { $0 }
        if !isThere, links[place].told.count < Self.maximumEdges { links[place].told.insert(observer, at: spot) }
    }

    mutating func retract(_ place: Int, _ version: MemberVersion) {
        for observer in links[place].told {
            send(.withdraw(subject: links[place].peer, version: version), to: observer)
        }
        links[place].told = []
    }

    /// Every tick of an edge that is down.
    mutating func stayDown(_ place: Int) {
        let edge = links[place]
        let entry = table[edge.slot]
        guard entry.rank == .alive, mayJudge else { return }
        if let reported = edge.reported {
            if reported < entry.version {
                // Refuted: somebody hears it. We still do not, and look again later.
                links[place].reported = nil
                links[place].nextReview = attended + max(edge.reviewDelay, Span.review)
            } else if attended >= edge.nextReport {
                report(place)
            }
            return
        }
        review(place)
    }

    /// Where a report was refuted, or the edge never opened, the other observers are asked first: one broken link between
    /// two nodes must not disturb the cluster again and again.
    private mutating func review(_ place: Int) {
        let edge = links[place]
        if edge.reviewEnds != .max {
            if attended >= edge.reviewEnds {
                links[place].reviewEnds = .max
                let delay = min(max(edge.reviewDelay * 2, Span.review), Span.longestReview)
                links[place].reviewDelay = delay
                links[place].nextReview = attended + delay
                if !isDefended(edge.peer) { accuse(place) }
            } else if attended >= edge.nextProbe {
                links[place].nextProbe = attended + interval
                ask(coObservers(of: edge.peer), about: edge.peer, isRepeated: true)
            }
        } else if attended >= edge.nextReview {
            links[place].reviewEnds = attended + max(5 * interval, Span.second / 2)
            links[place].nextProbe = attended + interval
            let suspicion = suspicion(of: edge.peer)
            suspicions[suspicion].forgetOpinions()
            ask(coObservers(of: edge.peer), about: edge.peer, isRepeated: false)
        }
    }

    private func isDefended(_ subject: NodeID) -> Bool {
        guard let place = suspicionIndex(of: subject) else { return false }
        return suspicions[place].opinions.contains { $0.opinion == .fresh }
    }

    // MARK: Questions

    /// `isRepeated`: only those who have not answered.
    mutating func ask(_ others: [NodeID], about subject: NodeID, isRepeated: Bool) {
        guard !others.isEmpty, let slot = table.slot(of: subject) else { return }
        let place = suspicion(of: subject)
        let message = Message.ask(subject: subject, version: table[slot].version)
        for other in others {
            let hasAnswered =
                suspicions[place].opinion(of: other).map { $0.opinion != nil } ?? suspicions[place].isAccused(by: other)
            guard !isRepeated || !hasAnswered else { continue }
            send(message, to: other)
            suspicions[place].noteAsked(other, at: attended)
        }
    }

    mutating func answer(_ asker: NodeID, about subject: NodeID, via path: Endpoint) {
        guard subject != id, let slot = table.slot(of: subject) else { return }
        var evidence = Evidence(subject: subject, version: table[slot].version, opinion: .none, figures: .none)
        if let place = edgeIndex(of: subject) {
            let edge = links[place]
            if edge.isFresh(at: attended, within: 1.5) {
                evidence.opinion = .fresh
            } else if edge.isWatched, edge.state == .down, edge.wasUp {
                evidence.opinion = .silent
                evidence.figures = figures(edge)
                tell(place, asker)
            } else if edge.isWatched, edge.wasUp {
                evidence.opinion = .unsure
                second(place)
            }
        }
        effects.append(.send(.evidence(evidence), to: asker, via: path))
    }

    /// Another observer is worried: look now, if it has been silent here too.
    private mutating func second(_ place: Int) {
        if links[place].state == .up, silence(of: links[place]) >= Self.secondingSilence(links[place]) { probe(place) }
    }

    mutating func take(_ evidence: Evidence, from observer: NodeID) {
        guard evidence.subject != id, let slot = table.slot(of: evidence.subject),
            let place = suspicionIndex(of: evidence.subject)
        else { return }
        if evidence.opinion == .silent {
            guard evidence.version >= table[slot].version else { return }
            suspicions[place].accuse(
                by: observer, version: evidence.version, figures: evidence.figures, at: attended)
        } else {
            // Its withdrawal may have been lost.
            if evidence.opinion != .none { suspicions[place].withdraw(by: observer) }
            suspicions[place].note(evidence.opinion, by: observer, at: attended)
        }
    }

    // MARK: Reports of others

    mutating func take(_ report: Report, from sender: NodeID, via path: Endpoint) {
        if report.subject == id {
            refute(report.version, told: report.observer)
            return
        }
        guard report.observer == sender, let slot = table.slot(of: report.subject) else { return }
        let entry = table[slot]
        guard entry.rank == .alive, report.version >= entry.version else {
            // Refuted already, or worse: what the observer has not heard.
            if report.version < entry.version || entry.rank != .alive {
                send(.updates([table.update(slot, withProfile: true, now: now)]), to: sender)
            }
            return
        }
        suspicions[suspicion(of: report.subject)].accuse(
            by: sender, version: report.version, figures: report.figures, at: attended)
        showSuspicion(of: report.subject)
        answer(sender, about: report.subject, via: path)
        guard let place = edgeIndex(of: report.subject) else { return }
        if links[place].isFresh(at: attended, within: 1.5) {
            // We hear it: see that it learns what is said of it, in case the observer cannot reach it.
            if attended - links[place].lastWarned >= Span.challenge {
                links[place].lastWarned = attended
                send(.report(report), to: report.subject)
            }
        } else if links[place].isWatched {
            if links[place].state == .down, mayJudge, links[place].wasUp { accuse(place) } else { second(place) }
        }
    }

    mutating func takeWithdrawal(of subject: NodeID, from observer: NodeID) {
        guard let place = suspicionIndex(of: subject) else { return }
        suspicions[place].withdraw(by: observer)
        suspicions[place].note(.fresh, by: observer, at: attended)
        settleSuspicion(of: subject)
    }

    // MARK: What people see of it

    private mutating func showSuspicion(of subject: NodeID) {
        guard let place = suspicionIndex(of: subject), !suspicions[place].isShown,
            let first = suspicions[place].accusations.first
        else { return }
        suspicions[place].isShown = true
        effects.append(.notify(.suspect(subject, Accusation(observer: first.observer, figures: first.figures))))
    }

    /// Drops what was refuted or has lapsed; tells people when nothing is left.
    mutating func settleSuspicion(of subject: NodeID) {
        guard let place = suspicionIndex(of: subject) else { return }
        guard let slot = table.slot(of: subject), table[slot].rank == .alive else {
            suspicions.remove(at: place)
            return
        }
        suspicions[place].drop(below: table[slot].version, refreshedBefore: attended - Span.accusation)
        guard suspicions[place].accusations.isEmpty else {
            showSuspicion(of: subject)
            return
        }
        suspicions[place].decidedAt = nil
        if suspicions[place].isShown {
            suspicions[place].isShown = false
            effects.append(.notify(.alive(subject, after: .suspect)))
        }
        let isBusy = edgeIndex(of: subject).map { links[$0].state == .probing || links[$0].state == .down } ?? false
        if !isBusy, attended - suspicions[place].openedAt >= 2 * Span.second { suspicions.remove(at: place) }
    }

    // MARK: The count

    private func stance(of observer: NodeID, on suspicion: Suspicion) -> Stance {
        if observer == id {
            if suspicion.isAccused(by: id) { return .accuses }
            guard let place = edgeIndex(of: suspicion.subject), links[place].wasUp else { return .excluded }
            return links[place].isFresh(at: attended, within: 1.5) ? .defends : .undecided
        }
        let isHeard = edgeIndex(of: observer).map { links[$0].isFresh(at: attended, within: 2.5) } ?? false
        if !isHeard, isExcluded(observer) { return .excluded }
        if suspicion.isAccused(by: observer) { return .accuses }
        guard let said = suspicion.opinion(of: observer) else { return .undecided }
        // Asked again and again without an answer: whoever cannot speak is not waited for.
        if !isHeard, said.unanswered >= 5, attended - said.askedSince >= Span.second / 2 { return .excluded }
        guard attended - said.at <= max(5 * interval, Span.second / 2) else { return .undecided }
        switch said.opinion {
        case .fresh: return .defends
        case .none?: return .excluded
        case .unsure, .silent, nil: return .undecided
        }
    }

    /// Gone, or accused itself by so many that it can neither accuse nor defend. Asked only of those we do not hear.
    private func isExcluded(_ observer: NodeID) -> Bool {
        guard let slot = table.slot(of: observer), table[slot].isPresent else { return true }
        guard let place = suspicionIndex(of: observer) else { return false }
        let watchers = rings == nil ? table.presentCount - 1 : 2 * config.rings
        return suspicions[place].accusations.count >= Tally.lowWatermark(observers: watchers)
    }

    /// Goes through everybody who is accused. Only in a tick, when the socket was empty: what refutes an accusation may
    /// have been waiting in it.
    mutating func deliberate() {
        guard !suspicions.isEmpty else { return }
        for subject in suspicions.map(\.subject) { settleSuspicion(of: subject) }
        guard mayJudge else { return }
        var convicted: [(place: Int, tally: Tally, isConfirmed: Bool)] = []
        var isMoreComing = false
        var oldest = Int64.max
        for place in suspicions.indices where !suspicions[place].accusations.isEmpty {
            let suspicion = suspicions[place]
            if let edge = edgeIndex(of: suspicion.subject), links[edge].isFresh(at: attended, within: 2.5) { continue }
            var judges = observers(of: suspicion.subject)
            for accuser in suspicion.accusations.map(\.observer) {
                let (place, isThere) = judges.place(of: accuser) { $0 }
                if !isThere { judges.insert(accuser, at: place) }
            }
            let tally = Tally(judges.map { stance(of: $0, on: suspicion) })
            guard tally.isFailed || (config.plantedBug == .singleObserverVerdict && tally.accusers > 0) else {
                isMoreComing = isMoreComing || tally.accusers >= Tally.lowWatermark(observers: tally.counted)
                continue
            }
            var isConfirmed = true
            if tally.counted == 1, config.plantedBug != .singleObserverVerdict {
                // Only the lone observer itself can check itself; we wait for what it says.
                guard suspicion.isAccused(by: id) else { continue }
                guard let certainty = selfCheck() else { continue }
                isConfirmed = certainty
            }
            let decided = suspicion.decidedAt ?? attended
            suspicions[place].decidedAt = decided
            oldest = min(oldest, decided)
            convicted.append((place, tally, isConfirmed))
        }
        // Many that fall together are told together; but nobody waits long for it.
        let patience = table.presentCount > config.mediumLimit ? 200 * Span.millisecond : 50 * Span.millisecond
        guard !convicted.isEmpty, !isMoreComing || attended - oldest >= patience else { return }
        let verdicts = convicted.map { (suspicions[$0.place], $0.tally, $0.isConfirmed) }
        for (suspicion, tally, isConfirmed) in verdicts { convict(suspicion, tally, isConfirmed: isConfirmed) }
    }

    private mutating func convict(_ suspicion: Suspicion, _ tally: Tally, isConfirmed: Bool) {
        guard let slot = table.slot(of: suspicion.subject), table[slot].rank == .alive else { return }
        let verdict = Verdict(
            accusers: suspicion.accusations.prefix(Verdict.maximumAccusers).map {
                Accusation(observer: $0.observer, figures: $0.figures)
            },
            observers: tally.counted, needed: tally.needed, defenders: tally.defenders, isConfirmed: isConfirmed)
        // Who hears nobody keeps to itself what it makes of that; views are compared when it is heard again.
        merge(
            Update(
                id: suspicion.subject, version: table[slot].version, rank: .failed, age: 0, profile: nil,
                verdict: verdict), from: nil, isSpread: isConfirmed || hearsAnybody)
    }

    // MARK: Is it us?

    private var hearsAnybody: Bool {
        links.contains { $0.state == .up && $0.isFresh(at: attended, within: 2.5) }
    }

    /// A lone observer's second opinion: nil means not now, false a verdict that is marked unconfirmed.
    private mutating func selfCheck() -> Bool? {
        if now - lastReach <= Span.reach { return true }
        if config.hasReachTargets {
            probeReach()
            return nil
        }
        // One silent peer may well have died. All of several: rather we are cut off, also where they fell silent one after
        // the other, or were never heard.
        if silentSince != nil { return isIsolated && attended - isolatedSince >= Span.loneVerdict ? false : nil }
        if table.presentCount <= 2 || hearsAnybody { return false }
        let lastContact = links.lazy.filter(\.wasUp).map(\.lastTwoWay).max() ?? 0
        return attended - lastContact >= Span.loneVerdict ? false : nil
    }

    mutating func probeReach() {
        guard now >= nextReach else { return }
        nextReach = now + 100 * Span.millisecond
        effects.append(.probeReach)
    }

    /// Half of our edges or more, and two at least, silent at once, without the others agreeing that those died. At once
    /// means that they were heard last within two heartbeats of each other: who was silent before died by itself.
    mutating func noticeIsolation() {
        guard hasNetwork else { return }
        var lastHeard = Int64.min
        var (heard, hasContact) = (0, false)
        for place in links.indices where links[place].isWatched && links[place].wasUp {
            guard table.isPresent(links[place].slot) else { continue }
            switch links[place].state {
            case .probing, .down: lastHeard = max(lastHeard, links[place].lastTwoWay)
            case .up:
                heard += 1
                hasContact = hasContact || (isIsolated && links[place].isFresh(at: attended, within: 2.5))
            case .opening: break
            }
        }
        var silent = 0
        if lastHeard != .min {
            for place in links.indices where links[place].isWatched && links[place].wasUp {
                guard table.isPresent(links[place].slot), links[place].state == .probing || links[place].state == .down
                else { continue }
                if isIsolated || lastHeard - links[place].lastTwoWay <= 2 * interval { silent += 1 }
            }
        }
        let all = heard + silent
        let isMost = silent >= 2 && 2 * silent >= all
        if !isMost {
            silentSince = nil
            if isIsolated, hasContact {
                isIsolated = false
                clock.recover(heartbeat: interval)
                effects.append(.notify(.rejoined))
            }
            return
        }
        if silentSince == nil { silentSince = attended }
        if config.hasReachTargets { probeReach() }
        guard !isIsolated, mayJudge, attended - silentSince! >= Span.isolation else { return }
        isIsolated = true
        isolatedSince = attended
        health = 8
        nextHealth = attended + Span.second
        effects.append(.notify(.isolated(silentEdges: silent, of: all)))
    }

    mutating func networkChanged(isUp: Bool) {
        guard isUp != hasNetwork else { return }
        hasNetwork = isUp
        if isUp {
            // Their silence until now was ours.
            clock.recover(heartbeat: interval)
            for place in links.indices {
                links[place].lastTwoWay = attended
                links[place].nextBeat = now
            }
            if isIsolated {
                isIsolated = false
                effects.append(.notify(.rejoined))
            }
        } else {
            mayJudge = false
            let watched = links.count { $0.isWatched && table[$0.slot].isPresent }
            if !isIsolated {
                isIsolated = true
                isolatedSince = attended
                effects.append(.notify(.isolated(silentEdges: watched, of: watched)))
            }
        }
    }
}
