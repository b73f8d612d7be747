package import Primitives

// What people and the other parts of a node are shown. Made on demand, never on the hot path.
extension Membership {
    /// Sorted by ID; removed nodes are not listed.
    package var members: [MemberView] {
        table.sorted.map { entry in
            let edge = edgeIndex(of: entry.id).map { links[$0] }
            return MemberView(
                record: entry.record, rank: shownRank(entry, edge), since: Instant(nanoseconds: entry.since),
                phi: edge.flatMap(phi), load: entry.id == id ? load : edge?.load ?? [], verdict: entry.verdict)
        }
    }

    /// Our own edges; up to 64 nodes also those between others, as far as we can tell: up unless an accusation says
    /// otherwise.
    package var edges: [EdgeView] {
        var result = links.map { edge in
            EdgeView(
                watcher: id, subject: edge.peer, state: edge.state, phi: phi(edge),
                roundTrip: edge.roundTrip.map { .nanoseconds($0) })
        }
        guard table.presentCount <= config.mediumLimit else { return result }
        let present = table.sorted.filter { $0.isPresent && $0.id != id }.map(\.id)
        for subject in present {
            let suspicion = suspicionIndex(of: subject).map { suspicions[$0] }
            for watcher in rings?.neighbours(of: subject) ?? present where watcher != subject && watcher != id {
                let isDown = suspicion?.isAccused(by: watcher) ?? false
                result.append(
                    EdgeView(
                        watcher: watcher, subject: subject, state: isDown ? .down : .up, phi: nil, roundTrip: nil))
            }
        }
        return result
    }

    /// All records, our own too, sorted by ID; what is persisted.
    package var records: [MemberRecord] { table.sorted.map(\.record) }
    package func record(of id: NodeID) -> MemberRecord? {
        if table.isRemoved(id) { return nil }
        return table.slot(of: id).map { table[$0].record }
    }

    /// As people are shown it, without making all of `members`; nil for strangers and removed nodes.
    package func rank(of node: NodeID) -> MemberRank? {
        guard let slot = table.slot(of: node) else { return nil }
        return shownRank(table[slot], edgeIndex(of: node).map { links[$0] })
    }

    /// Peers with an edge that is up, sorted by ID: those a flood goes to first.
    package var reachablePeers: [NodeID] { links.filter { $0.state == .up }.map(\.peer) }

    /// The path a peer was last heard on, else its first address.
    package func preferredPath(to id: NodeID) -> Endpoint {
        path(to: id) ?? Endpoint(.v4(0), port: 0)
    }

    /// Every path that a peer is heard on now; where there is none, the one to try first.
    package func workingPaths(to id: NodeID) -> [Endpoint] {
        let working = edgeIndex(of: id).map { links[$0].paths.filter { $0.state == .up }.map(\.endpoint) } ?? []
        return working.isEmpty ? [preferredPath(to: id)] : working
    }

    /// True when a member that is heard now has this address: nothing to find there.
    package func isReached(at endpoint: Endpoint) -> Bool {
        profile.addresses.contains(endpoint)
            || links.contains { edge in
                edge.state == .up
                    && (edge.paths.contains { $0.endpoint == endpoint }
                        || table[edge.slot].profile.addresses.contains(endpoint))
            }
    }

    /// The φ at which a silence is reported: what people see beside a node's φ.
    package var reportThreshold: Double { config.reportThreshold }

    private func shownRank(_ entry: MemberTable.Entry, _ edge: Edge?) -> MemberRank {
        guard entry.rank == .alive, entry.id != id else { return entry.rank }
        if let place = suspicionIndex(of: entry.id), !suspicions[place].accusations.isEmpty { return .suspect }
        // From the file of an earlier life, and not heard since: we would not swear to it.
        guard let edge, edge.isWatched else { return .alive }
        return entry.isSaved && !edge.wasUp ? .suspect : .alive
    }

    private func phi(_ edge: Edge) -> Double? {
        edge.wasUp ? edge.detector.phi(silence: silence(of: edge)) : nil
    }
}
