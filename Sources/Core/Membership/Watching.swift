import Primitives

// Edges: opening and closing them, heartbeats, probes, and what is heard.
extension Membership {
    // MARK: Who is watched

    func edgeIndex(of peer: NodeID) -> Int? {
        let (place, isThere) = links.place(of: peer) { $0.peer }
        return isThere ? place : nil
    }

    /// Everybody up to `meshLimit` nodes, ring neighbours above. Nobody is judged on an edge that only one side wants:
    /// the other side serves it as a guest.
    mutating func refreshTopology() {
        let isMesh = table.presentCount <= config.meshLimit
        if let first = leavingRings.first, now >= first.at {
            let due = leavingRings.prefix { now >= $0.at }.map(\.id)
            leavingRings.removeFirst(due.count)
            for gone in due where table.slot(of: gone).map({ !table[$0].isPresent }) ?? true { rings?.remove(gone) }
            isTopologyStale = true
        }
        guard isTopologyStale, isMesh || now >= nextTopology else { return }
        isTopologyStale = false
        nextTopology = now + Span.topology
        interval =
            switch table.presentCount {
            case ...config.smallLimit: config.smallInterval.nanoseconds
            case ...config.mediumLimit: config.mediumInterval.nanoseconds
            default: config.largeInterval.nanoseconds
            }
        var wanted: [NodeID]
        if isMesh {
            rings = nil
            wanted = table.entries.filter { $0.isPresent && $0.id != id }.map(\.id).sorted()
        } else {
            if rings == nil {
                rings = Topology(rings: config.rings, members: table.entries.filter(\.isPresent).map(\.id))
            }
            wanted = rings!.neighbours(of: id).filter { table.slot(of: $0).map { table[$0].isPresent } ?? false }
        }
        for place in links.indices where links[place].isWatched && !links[place].isBackstop {
            guard !wanted.place(of: links[place].peer, by: { $0 }).isThere else { continue }
            links[place].isWatched = false
            links[place].keepUntil = max(links[place].keepUntil, attended + Span.guest)
        }
        for peer in wanted {
            if let place = edgeIndex(of: peer) {
                // What was not judged for a while is not judged by what happened meanwhile.
                let isStale = !links[place].isWatched && !links[place].isFresh(at: attended, within: 2.5)
                links[place].isWatched = true
                links[place].isBackstop = false
                if isStale { reopen(peer) }
            } else {
                open(peer, isWatched: true)
            }
        }
        // Each node at a moment of its own, so that not everybody sends at once. In a full mesh to all of its peers
        // together: the machine wakes once for them. In large clusters spread over the interval, against bursts.
        let own = Int64(id.low % UInt64(interval))
        for (number, peer) in wanted.enumerated() {
            links[edgeIndex(of: peer)!].phase =
                (own + (isMesh ? 0 : interval * Int64(number) / Int64(wanted.count))) % interval
        }
    }

    @discardableResult
    mutating func open(_ peer: NodeID, isWatched: Bool) -> Int? {
        guard let slot = table.slot(of: peer) else { return nil }
        let (place, isThere) = links.place(of: peer) { $0.peer }
        guard !isThere else { return place }
        links.insert(makeEdge(peer, slot: slot, isWatched: isWatched), at: place)
        return place
    }

    private func makeEdge(_ peer: NodeID, slot: Int, isWatched: Bool) -> Edge {
        let entry = table[slot]
        var edge = Edge(
            peer: peer, slot: slot, isWatched: isWatched, keepUntil: attended + Span.guest, openedAt: attended,
            // From the clock, so that an edge that is opened again continues above what the peer heard before.
            sequence: UInt32(truncatingIfNeeded: now / (10 * Span.millisecond)) | 1, nextBeat: now,
            detector: AccrualDetector(interval: interval, thresholds: thresholds), lastHeard: attended,
            lastTwoWay: attended, paths: [])
        edge.readdress(entry.profile.addresses)
        if let path = entry.path { _ = edge.heard(on: path, attended: attended) }
        return edge
    }

    /// The peer began a new life: nothing measured before says anything about it.
    mutating func reopen(_ peer: NodeID) {
        guard let place = edgeIndex(of: peer) else { return }
        let old = links[place]
        retract(place, table[old.slot].version)
        links[place] = makeEdge(peer, slot: old.slot, isWatched: old.isWatched)
        links[place].phase = old.phase
        links[place].keepUntil = max(old.keepUntil, attended + Span.guest)
    }

    mutating func close(_ peer: NodeID) {
        if let place = edgeIndex(of: peer) { links.remove(at: place) }
    }

    // MARK: Every tick

    /// One pass over the edges: heartbeats that are due, and what each silence means by now.
    mutating func beatAndWatch() {
        guard hasNetwork else { return }
        var place = 0
        while place < links.count {
            if links[place].isBackstop || !links[place].isWatched, attended >= links[place].keepUntil {
                links.remove(at: place)
                continue
            }
            if now >= links[place].nextBeat { beat(place) }
            if links[place].isWatched { watch(place) }
            compareViews(place)
            place += 1
        }
    }

    mutating func beat(_ place: Int) {
        let updates = outbox.riding(at: now)
        let message = heartbeat(place, updates: updates)
        let peer = links[place].peer
        // Most of the time one path, which works. Others that are not proven get every tenth heartbeat.
        let isRound = links[place].sequence % 10 == 0
        let hasWorking = links[place].paths.contains { $0.state == .up }
        for path in links[place].paths where path.state == .up || !hasWorking || isRound {
            effects.append(.send(message, to: peer, via: path.endpoint))
        }
        let base = now + interval
        links[place].nextBeat = base - (base - links[place].phase) % interval
    }

    private mutating func heartbeat(_ place: Int, updates: [Update]) -> Message {
        links[place].sequence &+= links[place].sequence == .max ? 2 : 1
        let edge = links[place]
        links[place].sentAt[Int(edge.sequence & 3)] = now
        var flags: Heartbeat.Flags = []
        if edge.isWatched { flags.insert(.observe) }
        if edge.hears(at: attended) { flags.insert(.hears) }
        if isIsolated { flags.insert(.isolated) }
        var beat = Heartbeat(
            version: version, sequence: edge.sequence, interval: UInt16(clamping: interval / Span.millisecond),
            echo: edge.heardSequence,
            echoAge: edge.heardSequence == 0 ? 0 : UInt16(clamping: max(0, now - edge.heardStamp) / 100_000),
            flags: flags, health: UInt8(health), viewHash: table.viewHash, factsHash: factsHash, load: load,
            updates: updates)
        beat.databaseHash = databaseHash
        return .heartbeat(beat)
    }

    /// Attended silence as it counts: shortened where we were slow ourselves lately.
    func silence(of edge: Edge) -> Int64 { (attended - edge.lastTwoWay) * 4 / (4 + health) }

    private mutating func watch(_ place: Int) {
        let silence = silence(of: links[place])
        switch links[place].state {
        case .opening:
            let patience = links[place].isBackstop ? Span.second : max(Span.opening, 20 * interval)
            if attended - links[place].openedAt >= patience {
                links[place].state = .down
                links[place].nextReview = attended
            }
        case .up:
            if config.plantedBug == .noAttendedClock, silence >= links[place].detector.reportAfter * 2 {
                fall(place)
            } else if silence >= links[place].detector.probeAfter {
                probe(place)
            }
        case .probing: continueProbing(place, silence: silence)
        case .down: stayDown(place)
        }
        if links[place].paths.count > 1, links[place].state == .up { noticeLostPaths(place) }
    }

    private mutating func noticeLostPaths(_ place: Int) {
        let lostAfter = 10 * max(links[place].detector.interval, interval)
        for index in links[place].paths.indices where links[place].paths[index].state == .up {
            guard attended - links[place].paths[index].lastHeard >= lostAfter, mayJudge else { continue }
            links[place].paths[index].state = .lost
            // An address that the peer gave up itself is no loss.
            guard table[links[place].slot].profile.addresses.contains(links[place].paths[index].endpoint) else {
                continue
            }
            effects.append(.notify(.pathLost(links[place].peer, links[place].paths[index].endpoint)))
        }
    }

    // MARK: Probing

    /// Asks the silent peer on every address we know, and the others who watch it.
    mutating func probe(_ place: Int) {
        links[place].state = .probing
        links[place].probesSent = 0
        links[place].nextProbe = attended
        links[place].nonce = UInt32(truncatingIfNeeded: chance.next()) | 1
        let others = coObservers(of: links[place].peer)
        if config.hasReachTargets, others.count <= 2 { probeReach() }
        sendProbe(place, asking: others)
    }

    private mutating func sendProbe(_ place: Int, asking others: [NodeID]) {
        let edge = links[place]
        let ping = Message.ping(nonce: edge.nonce, sender: version)
        for endpoint in addresses(of: edge) { effects.append(.send(ping, to: edge.peer, via: endpoint)) }
        links[place].probesSent += 1
        links[place].probeSentAt = now
        links[place].nextProbe = attended + tickNanoseconds
        ask(others, about: edge.peer, isRepeated: links[place].probesSent > 1)
    }

    /// The paths in use, then whatever else the peer named: at most 8 and 3.
    private func addresses(of edge: Edge) -> [Endpoint] {
        var result = edge.paths.map(\.endpoint)
        for endpoint in table[edge.slot].profile.addresses where !result.contains(endpoint) { result.append(endpoint) }
        return result
    }

    private mutating func continueProbing(_ place: Int, silence: Int64) {
        let others = coObservers(of: links[place].peer)
        // Where nobody has a second opinion, two more probes stand in for it.
        let wanted = others.isEmpty ? 5 : 3
        if links[place].probesSent < wanted {
            if attended >= links[place].nextProbe { sendProbe(place, asking: others) }
            return
        }
        let patience = max(tickNanoseconds, 3 * (links[place].roundTrip ?? 0))
        guard mayJudge, attended - links[place].nextProbe + tickNanoseconds >= patience else { return }
        let isSeconding =
            silence >= Self.secondingSilence(links[place]) && isAccused(links[place].peer, byOthersThan: id)
        if silence >= links[place].detector.reportAfter || isSeconding { fall(place) }
    }

    /// Two and a half heartbeats: with another observer's report and unanswered probes, as good as φ 8 alone.
    static func secondingSilence(_ edge: Edge) -> Int64 { edge.detector.interval * 5 / 2 }

    // MARK: Hearing

    mutating func receive(_ message: Message, from sender: NodeID, path: Endpoint, stamp: Int64) {
        guard !isLeaving, sender != id, let slot = table.slot(of: sender) else { return }
        switch message {
        case .heartbeat(let beat):
            guard hear(slot, saying: beat.version) else { return }
        case .ping(_, let said), .pong(_, let said):
            guard hear(slot, saying: said) else { return }
        default:
            if table[slot].rank != .alive { challenge(slot) }
        }
        table.modify(slot) { $0.path = path }
        var place = edgeIndex(of: sender)
        if let place { contact(place, on: path) }
        switch message {
        case .heartbeat(let beat):
            if place == nil, beat.flags.contains(.observe), table[slot].isPresent, links.count < Self.maximumEdges {
                place = open(sender, isWatched: false)
                if let place { contact(place, on: path) }
            }
            if let place { take(beat, place, stamp: stamp) }
            for update in beat.updates { apply(update, from: sender) }
        case .ping(let nonce, _):
            effects.append(.send(.pong(nonce: nonce, sender: version), to: sender, via: path))
        case .pong(let nonce, _): takePong(nonce, from: sender, place, stamp: stamp)
        case .ask(let subject, let version):
            witness(subject, at: version, from: sender)
            answer(sender, about: subject, via: path)
        case .evidence(let evidence):
            witness(evidence.subject, at: evidence.version, from: sender)
            take(evidence, from: sender)
        case .report(let report):
            witness(report.subject, at: report.version, from: sender)
            take(report, from: sender, via: path)
        case .withdraw(let subject, let version):
            witness(subject, at: version, from: sender)
            takeWithdrawal(of: subject, from: sender)
        case .updates(let updates):
            for update in updates { apply(update, from: sender) }
        case .digest(let digest): compare(digest, with: sender)
        case .delta(let delta): take(delta, from: sender)
        }
    }

    /// Watched ones and guests together; no more guests are taken beyond.
    static let maximumEdges = 128

    /// Something came from this peer: it lives, but whether it hears us is another question.
    private mutating func contact(_ place: Int, on path: Endpoint) {
        links[place].lastHeard = attended
        links[place].hasHeard = true
        if links[place].heard(on: path, attended: attended) {
            effects.append(.notify(.pathBack(links[place].peer, path)))
        }
    }

    private mutating func take(_ beat: Heartbeat, _ place: Int, stamp: Int64) {
        let ahead = Int32(bitPattern: beat.sequence &- links[place].heardSequence)
        let isFirst = links[place].heardSequence == 0
        // The same heartbeat over another path, or an old one; far behind means that the peer opened its edge anew.
        guard isFirst || ahead > 0 || ahead < -64 else { return }
        if !isFirst, ahead > 0, ahead <= 10 {
            links[place].detector.heard(after: stamp - links[place].heardStamp, gap: Int64(ahead))
        }
        links[place].detector.expect(interval: Int64(beat.interval) * Span.millisecond)
        links[place].heardSequence = beat.sequence
        links[place].heardStamp = stamp
        links[place].theirFlags = beat.flags
        links[place].load = beat.load
        if beat.echo != 0, links[place].sequence &- beat.echo < 4 {
            let sent = links[place].sentAt[Int(beat.echo & 3)]
            noteRoundTrip(place, stamp - sent - Int64(beat.echoAge) * 100_000)
        }
        if beat.flags.contains(.observe) {
            links[place].keepUntil = max(links[place].keepUntil, attended + Span.guest)
        }
        if beat.flags.contains(.hears) {
            heardBothWays(place)
        } else if now - links[place].sentAt[Int(links[place].sequence & 3)] >= 20 * Span.millisecond {
            // It does not know yet that we hear it: say so now, so that edges open within one round trip.
            self.beat(place)
        }
        noteDifferences(beat, place)
    }

    private mutating func noteRoundTrip(_ place: Int, _ sample: Int64) {
        guard (0..<10 * Span.second).contains(sample) else { return }
        guard let known = links[place].roundTrip else { return links[place].roundTrip = sample }
        // Stamps are of the wall clock: where that is set while datagrams wait for us, all of them are as wrong. Probes wait for
        // three round trips, and must not wait for seconds over it.
        links[place].roundTrip = (known * 7 + min(sample, 2 * known + 10 * Span.millisecond)) / 8
    }

    private mutating func takePong(_ nonce: UInt32, from sender: NodeID, _ place: Int?, stamp: Int64) {
        if backstop?.id == sender, backstop?.nonce == nonce { backstop = nil }
        guard let place, links[place].nonce == nonce else { return }
        noteRoundTrip(place, stamp - links[place].probeSentAt)
        heardBothWays(place)
    }

    private mutating func heardBothWays(_ place: Int) {
        links[place].lastTwoWay = attended
        links[place].wasUp = true
        let wasDown = links[place].state == .down
        links[place].state = .up
        links[place].nonce = 0
        if wasDown { rise(place) }
    }
}
