import Primitives

// News of members: what is believed, refuted, passed on; views compared; the absent knocked on; leaving.
extension Membership {
    // MARK: First-hand

    /// A peer proved its identity: the strongest evidence there is.
    mutating func meet(_ record: MemberRecord, path: Endpoint) {
        guard record.id != id, !isLeaving, !table.isRemoved(record.id) else { return }
        let before = table.slot(of: record.id).map { table[$0] }
        apply(
            Update(
                id: record.id, version: record.version, rank: .alive, age: 0, profile: record.profile, verdict: nil),
            from: record.id)
        guard let slot = table.slot(of: record.id) else { return }
        table.modify(slot) { $0.path = path }
        refreshTopology()
        if table[slot].rank != .alive {
            challenge(slot)
        } else if before.map({ $0.rank != .alive || $0.isSaved || $0.version.generation != record.version.generation })
            ?? true
        {
            greet(record.id)
        }
        guard let place = edgeIndex(of: record.id) else { return }
        links[place].lastHeard = attended
        links[place].hasHeard = true
        if links[place].heard(on: path, attended: attended) {
            effects.append(.notify(.pathBack(record.id, path)))
        }
        beat(place)
    }

    /// A version that a member says of itself. False: it comes from an earlier life and is not to be listened to.
    mutating func hear(_ slot: Int, saying version: MemberVersion) -> Bool {
        let entry = table[slot]
        if version > entry.version || (entry.isSaved && version == entry.version && entry.rank == .alive) {
            apply(
                Update(id: entry.id, version: version, rank: .alive, age: 0, profile: nil, verdict: nil),
                from: entry.id)
        } else if version < entry.version || entry.rank != .alive {
            challenge(slot)
        }
        return version.generation >= entry.version.generation
    }

    /// Somebody speaks of a version of a member that we have not heard of: then it said so, alive, to somebody.
    mutating func witness(_ subject: NodeID, at version: MemberVersion, from source: NodeID) {
        guard subject != id, let slot = table.slot(of: subject), version > table[slot].version else { return }
        merge(Update(id: subject, version: version, rank: .alive, age: 0, profile: nil, verdict: nil), from: source)
    }

    /// Tells a member what is held of it, so that it can refute it.
    mutating func challenge(_ slot: Int, with claim: Update? = nil) {
        let entry = table[slot]
        guard now - entry.challengedAt >= Span.challenge else { return }
        table.modify(slot) { $0.challengedAt = now }
        send(.updates([claim ?? table.update(slot, withProfile: false, now: now)]), to: entry.id)
    }

    /// Somebody new, or back after we held it dead: show it what we know, so that one contact joins two halves.
    mutating func greet(_ peer: NodeID) {
        if table.entries.count <= Self.greetingLimit {
            let view = table.entries.indices.filter { isTellable($0) && table[$0].id != peer }
            let updates = view.map { table.update($0, withProfile: true, now: now) }
            for datagram in Outbox.datagrams(updates) { send(.updates(datagram), to: peer) }
        } else {
            send(.digest(ViewDigest(buckets: table.buckets)), to: peer)
        }
    }
    /// Up to so many records go out as datagrams at once, about three of them; above, digests are compared first.
    private static let greetingLimit = 48

    private func isTellable(_ slot: Int) -> Bool { table.slot(of: table[slot].id) == slot }

    // MARK: Updates

    mutating func learn(_ record: MemberRecord) {
        guard record.rank != .removed else { return expel(record.id) }
        apply(
            Update(
                id: record.id, version: record.version, rank: record.rank == .suspect ? .alive : record.rank, age: 0,
                profile: record.profile, verdict: nil), from: nil)
    }

    mutating func apply(_ update: Update, from source: NodeID?) {
        guard update.id != id else {
            if update.rank != .alive || update.version > version { refute(update.version, told: source) }
            return
        }
        if update.rank == .failed, let slot = table.slot(of: update.id), table[slot].rank == .alive,
            update.version >= table[slot].version
        {
            if let source { witness(update.id, at: update.version, from: source) }
            if let place = edgeIndex(of: update.id), links[place].isFresh(at: attended, within: 2.5) {
                // We hear it, both ways. It will answer for itself.
                challenge(slot, with: update)
                return
            }
            let isOld = Int64(update.age) * Span.second >= Span.oldClaim
            let isUnconfirmed = update.verdict.map { !$0.isConfirmed } ?? false
            if isOld || isUnconfirmed, !table[slot].isSaved { return hold(update, from: source) }
        }
        merge(update, from: source)
    }

    /// A failure that is old, and that we never heard of: two halves that were apart have met. Or one that a single observer
    /// found, unconfirmed: it may be deaf itself. Those who watch the node ask it; if it does not refute within two
    /// seconds, we believe it.
    private mutating func hold(_ claim: Update, from source: NodeID?) {
        guard !claims.contains(where: { $0.update.id == claim.id && $0.update.version >= claim.version }) else {
            return
        }
        claims.removeAll { $0.update.id == claim.id }
        guard claims.count < Self.maximumClaims else { return merge(claim, from: source) }
        claims.append((claim, now + Span.claimWaits))
        pass(on: claim, from: source)
    }
    private static let maximumClaims = 1024

    mutating func applyRipeClaims() {
        guard let first = claims.first, now >= first.at else { return }
        let ripe = claims.prefix { now >= $0.at }.map(\.update)
        claims.removeFirst(ripe.count)
        for claim in ripe { merge(claim, from: nil) }
    }

    /// Takes an update in, and does what follows from what it changed; `isSpread: false` keeps it to ourselves for now.
    mutating func merge(_ update: Update, from source: NodeID?, isSpread: Bool = true) {
        let before = table.slot(of: update.id).map { table[$0].version.generation }
        let change = table.merge(update, now: now)
        guard let slot = table.slot(of: update.id) else { return }
        if change != .nothing, change != .stale { viewChangedAt = now }
        if let before, before != table[slot].version.generation {
            reopen(update.id)
            if let place = suspicionIndex(of: update.id) { suspicions.remove(at: place) }
        }
        switch change {
        case .nothing: return
        case .stale:
            // Out of date about itself: it must learn what is held of it.
            if source == update.id { challenge(slot) }
            return
        case .renewed: settleSuspicion(of: update.id)
        case .profile:
            addressesMayHaveChanged(slot)
            settleSuspicion(of: update.id)
            effects.append(.notify(.profileChanged(update.id)))
        case .confirmed:
            addressesMayHaveChanged(slot)
            effects.append(.notify(.joined(update.id)))
            return
        case .joined:
            arrive(update.id)
            addressesMayHaveChanged(slot)
            effects.append(.notify(.joined(update.id)))
        case .restarted:
            arrive(update.id)
            effects.append(.notify(.restarted(update.id)))
        case .returned(let rank):
            arrive(update.id)
            addressesMayHaveChanged(slot)
            effects.append(.notify(.alive(update.id, after: rank)))
            if source == update.id || edgeIndex(of: update.id).map({ links[$0].hasHeard }) ?? false {
                greet(update.id)
            }
        case .failed, .left: depart(update.id, slot, hasLeft: change == .left)
        case .metAbsent: break
        }
        needsPersist = true
        var news = table.update(slot, withProfile: update.rank == .alive || change == .metAbsent, now: now)
        if news.rank == .alive { news.verdict = nil }
        if isSpread { pass(on: news, from: source) }
        if change == .failed, config.plantedBug == .failedNodesForgotten { forget(slot) }
    }

    private mutating func forget(_ slot: Int) {
        close(table[slot].id)
        table.drop(slot)
    }

    mutating func pass(on update: Update, from source: NodeID?) {
        let rides: Int64 = rings == nil ? 3 : 1
        outbox.add(update, from: source, ridingUntil: now + rides * interval)
    }

    private mutating func arrive(_ node: NodeID) {
        rings?.insert(node)
        leavingRings.removeAll { $0.id == node }
        claims.removeAll { $0.update.id == node }
        isTopologyStale = true
    }

    private mutating func addressesMayHaveChanged(_ slot: Int) {
        if let place = edgeIndex(of: table[slot].id) { links[place].readdress(table[slot].profile.addresses) }
    }

    private mutating func depart(_ node: NodeID, _ slot: Int, hasLeft: Bool) {
        if let place = suspicionIndex(of: node) { suspicions.remove(at: place) }
        claims.removeAll { $0.update.id == node }
        isTopologyStale = true
        if hasLeft {
            rings?.remove(node)
            close(node)
            effects.append(.notify(.left(node)))
        } else {
            if rings != nil { leavingRings.append((node, now + Span.ringRepair)) }
            // Others agree that those who fell silent died: then it is not us.
            if silentSince != nil, table[slot].verdict?.accusers.count ?? 0 > 1 { silentSince = attended }
            if let place = edgeIndex(of: node) {
                links[place].isWatched = false
                links[place].reported = nil
                links[place].keepUntil = attended + Span.lingering
            }
            let verdict =
                table[slot].verdict
                ?? Verdict(accusers: [], observers: 0, needed: 0, defenders: 0, isConfirmed: false)
            effects.append(.notify(.failed(node, verdict)))
        }
    }

    mutating func expel(_ node: NodeID) {
        guard node != id else { return }
        let known = table.remove(node)
        close(node)
        if let place = suspicionIndex(of: node) { suspicions.remove(at: place) }
        claims.removeAll { $0.update.id == node }
        leavingRings.removeAll { $0.id == node }
        rings?.remove(node)
        isTopologyStale = true
        viewChangedAt = now
        guard known != nil else { return }
        needsPersist = true
        effects.append(.notify(.removed(node)))
    }

    // MARK: Ourselves

    /// Somebody holds something of us that is not so: we say so again, above it.
    mutating func refute(_ claim: MemberVersion, told source: NodeID?) {
        guard !isLeaving else { return }
        guard claim >= version else {
            // Out of date; whoever told us has not heard our answer.
            if let source { send(.updates([own()]), to: source) }
            return
        }
        let generation = max(version.generation, claim.generation)
        // The others may remember a newer life than our disk does: we go on above that one.
        version =
            claim.incarnation == .max
            ? MemberVersion(generation: generation &+ 1, incarnation: 0)
            : MemberVersion(generation: generation, incarnation: claim.incarnation + 1)
        announce(to: source)
    }

    mutating func readdress(_ endpoints: [Endpoint]) {
        let endpoints = Array(endpoints.prefix(MemberProfile.maximumAddresses))
        guard endpoints != profile.addresses, !isLeaving else { return }
        profile.addresses = endpoints
        version.incarnation += 1
        announce(to: nil)
    }

    private func own() -> Update {
        Update(id: id, version: version, rank: .alive, age: 0, profile: profile, verdict: nil)
    }

    private mutating func announce(to doubter: NodeID?) {
        table.setOwn(id, version: version, profile: profile, rank: .alive, now: now)
        viewChangedAt = now
        needsPersist = true
        pass(on: own(), from: nil)
        if let doubter, edgeIndex(of: doubter) == nil { send(.updates([own()]), to: doubter) }
    }

    /// Twice over every path, since nothing follows: those who hear it tell the rest.
    mutating func leave() {
        guard !isLeaving else { return }
        isLeaving = true
        version.incarnation += 1
        table.setOwn(id, version: version, profile: profile, rank: .left, now: now)
        let farewell = Message.updates([
            Update(id: id, version: version, rank: .left, age: 0, profile: nil, verdict: nil)
        ])
        for _ in 0..<2 {
            for edge in links where table[edge.slot].isPresent {
                for path in edge.paths where path.state == .up || edge.paths.count == 1 {
                    effects.append(.send(farewell, to: edge.peer, via: path.endpoint))
                }
            }
        }
    }

    // MARK: Passing on

    mutating func flushIfDue() {
        guard !outbox.isEmpty, !isLeaving else { return }
        guard outbox.isDue(at: now, spacing: rings == nil ? 0 : tickNanoseconds) else { return }
        let peers = links.filter { table[$0.slot].isPresent }.map(\.peer)
        for (peer, updates) in outbox.flush(to: peers, at: now) { send(.updates(updates), to: peer) }
    }

    // MARK: Comparing views

    /// What a heartbeat says of the sender's view and facts, against ours.
    mutating func noteDifferences(_ beat: Heartbeat, _ place: Int) {
        links[place].theirViewHash = beat.viewHash
        if beat.viewHash == table.viewHash {
            links[place].viewDiffersSince = nil
        } else if links[place].viewDiffersSince == nil {
            links[place].viewDiffersSince = now
        }
        if beat.factsHash == factsHash {
            links[place].factsDifferSince = nil
        } else if let since = links[place].factsDifferSince {
            if now - since >= Span.differsFacts, now >= links[place].nextFacts {
                links[place].nextFacts = now + Span.second
                effects.append(.factsDiffer(links[place].peer))
            }
        } else {
            links[place].factsDifferSince = now
        }
        noteDatabase(beat, place)
    }

    private mutating func noteDatabase(_ beat: Heartbeat, _ place: Int) {
        guard beat.databaseHash != databaseHash, beat.databaseHash != 0, databaseHash != 0 else {
            links[place].databaseDiffersSince = nil
            return
        }
        guard let since = links[place].databaseDiffersSince else {
            links[place].databaseDiffersSince = now
            return
        }
        guard now - since >= Span.differsFacts, now >= links[place].nextDatabase else { return }
        links[place].nextDatabase = now + Span.second
        effects.append(.databaseDiffers(links[place].peer))
    }

    /// Every tick: views that have differed for a second, while no news is under way, are put right. What a peer said of its
    /// view long ago is no difference.
    mutating func compareViews(_ place: Int) {
        guard let since = links[place].viewDiffersSince, now - since >= Span.differsView,
            now - links[place].heardStamp <= 5 * links[place].detector.interval,
            now - viewChangedAt >= Span.second / 2 || now - since >= 5 * Span.second, links[place].state == .up
        else { return }
        // One of the two asks; the other only if that does not help.
        guard id < links[place].peer || now - since >= 3 * Span.differsView else { return }
        // A difference that does not go away by comparing is not compared every second for ever. What got no answer was lost.
        let hashes = links[place].theirViewHash ^ table.viewHash &* 31
        let isSame = hashes == links[place].comparedHashes && links[place].isCompared
        guard now - links[place].comparedAt >= (isSame ? links[place].syncDelay : Span.sync) else { return }
        links[place].comparedHashes = hashes
        links[place].comparedAt = now
        links[place].isCompared = false
        links[place].syncDelay = isSame ? min(links[place].syncDelay * 2, Span.longestSync) : Span.sync
        send(.digest(ViewDigest(buckets: table.buckets)), to: links[place].peer)
    }

    mutating func compare(_ digest: ViewDigest, with peer: NodeID) {
        guard digest.buckets.count == ViewDigest.bucketCount else { return }
        var differing: UInt32 = 0
        for bucket in 0..<ViewDigest.bucketCount where digest.buckets[bucket] != table.buckets[bucket] {
            differing |= 1 << UInt32(bucket)
        }
        if differing != 0 { sendRecords(of: differing, wanting: differing, to: peer) }
    }

    mutating func take(_ delta: ViewDelta, from peer: NodeID) {
        if let place = edgeIndex(of: peer) { links[place].isCompared = true }
        for update in delta.updates { apply(update, from: peer) }
        // A stream may have held this up for long; if heartbeats say that we agree by now, there is nothing to give.
        let agrees = edgeIndex(of: peer).map { links[$0].theirViewHash == table.viewHash } ?? false
        if delta.wanted != 0, !agrees { sendRecords(of: delta.wanted, wanting: 0, to: peer) }
    }

    private mutating func sendRecords(of buckets: UInt32, wanting wanted: UInt32, to peer: NodeID) {
        let view = table.entries.indices.filter { slot in
            buckets & 1 << UInt32(MemberTable.bucket(of: table[slot].id)) != 0 && isTellable(slot)
        }
        var updates = view.map { table.update($0, withProfile: true, now: now) }[...]
        var wanted = wanted
        repeat {
            let part = updates.prefix(ViewDelta.maximumUpdates)
            updates = updates.dropFirst(part.count)
            effects.append(.sendReliably(.delta(ViewDelta(updates: Array(part), wanted: wanted)), to: peer))
            wanted = 0
        } while !updates.isEmpty
    }

    // MARK: Every second

    mutating func everySecond() {
        let isFirst = nextSecond == Span.never
        // A random moment at first: a whole room that gets its power back must not knock in step.
        nextSecond = now + (isFirst ? Int64(chance.unit() * 1e9) : Span.second)
        guard hasNetwork else { return }
        table.forget(goneBefore: now - config.forgetAfter.nanoseconds, keeping: config.maximumAbsent)
        if attended >= Span.lingering, !trustsSaved {
            trustsSaved = true
            table.trustSaved()
        }
        if isFirst {
            // Back after a restart: whoever we knew may be waiting for us as we for it.
            for slot in table.absent.prefix(32) { knock(slot) }
        } else {
            // In turn, so that in a small cluster nobody waits longer than a second.
            for _ in 0..<min(table.absent.count, Self.knocksPerSecond) {
                knocked += 1
                knock(table.absent[knocked % table.absent.count])
            }
        }
        if rings != nil { probeAnybody() }
    }

    private static let knocksPerSecond = 8

    /// Without a session this begins a handshake; with one, the answer revives the member.
    private mutating func knock(_ slot: Int) {
        let entry = table[slot]
        let ping = Message.ping(nonce: 0, sender: version)
        for endpoint in entry.profile.addresses { effects.append(.send(ping, to: entry.id, via: endpoint)) }
        if entry.profile.addresses.isEmpty { send(ping, to: entry.id) }
    }

    /// The backstop: one random member that we do not watch. Who does not answer three times gets an edge, and with it an
    /// observer.
    private mutating func probeAnybody() {
        if let (node, nonce, tries) = backstop {
            if let slot = table.slot(of: node), table[slot].isPresent, edgeIndex(of: node) == nil {
                if tries < 3 {
                    backstop = (node, nonce, tries + 1)
                    send(.ping(nonce: nonce, sender: version), to: node)
                    return
                }
                if let place = open(node, isWatched: true) {
                    links[place].isBackstop = true
                    links[place].keepUntil = attended + 2 * Span.lingering
                }
            }
            backstop = nil
        }
        let slot = chance.below(table.entries.count)
        let entry = table[slot]
        guard entry.isPresent, entry.id != id, edgeIndex(of: entry.id) == nil else { return }
        let nonce = UInt32(truncatingIfNeeded: chance.next()) | 1
        backstop = (entry.id, nonce, 1)
        send(.ping(nonce: nonce, sender: version), to: entry.id)
    }
}
