import Primitives

/// News on its way: flooded once over the edges, then riding on a few heartbeats in case a datagram was lost.
/// What gets past both is found by comparing view hashes.
struct Outbox: Sendable {
    private struct Pending: Sendable {
        var update: Update
        /// Who told us: it need not hear it back.
        var source: NodeID?
    }
    private struct Rider: Sendable {
        var update: Update
        var size: Int
        var until: Int64
    }
    private var pending: [Pending] = []
    private var riders: [Rider] = []
    private var lastFlush = Span.never

    /// A datagram's room for updates, and what of it a heartbeat may spend.
    static let datagramRoom = 1180
    static let heartbeatRoom = 1000
    private static let maximumRiders = 256

    var isEmpty: Bool { pending.isEmpty }

    mutating func add(_ update: Update, from source: NodeID?, ridingUntil deadline: Int64) {
        pending.append(Pending(update: update, source: source))
        // An older telling of the same node is not worth its bytes any more.
        riders.removeAll { $0.update.id == update.id }
        if riders.count == Self.maximumRiders { riders.removeFirst() }
        riders.append(Rider(update: update, size: update.wireSize, until: deadline))
    }

    /// Small clusters flood at once; in large ones news is gathered for up to `spacing`, so that a thousand of them do
    /// not cost a thousand datagrams per edge. Unit: nanoseconds.
    func isDue(at now: Int64, spacing: Int64) -> Bool {
        !pending.isEmpty && now - lastFlush >= spacing
    }

    /// Datagrams' worth of news for each peer, in the order given.
    mutating func flush(to peers: [NodeID], at now: Int64) -> [(peer: NodeID, updates: [Update])] {
        defer { pending.removeAll(keepingCapacity: true) }
        lastFlush = now
        var result: [(peer: NodeID, updates: [Update])] = []
        for peer in peers {
            let news = pending.filter { $0.source != peer && $0.update.id != peer }.map(\.update)
            for datagram in Self.datagrams(news) { result.append((peer, datagram)) }
        }
        return result
    }

    /// For one heartbeat.
    mutating func riding(at now: Int64) -> [Update] {
        guard !riders.isEmpty else { return [] }
        if riders[0].until <= now { riders.removeAll { $0.until <= now } }
        var room = Self.heartbeatRoom
        var result: [Update] = []
        for rider in riders where rider.size <= room {
            room -= rider.size
            result.append(rider.update)
            if result.count == Heartbeat.maximumUpdates { break }
        }
        return result
    }

    /// Split so that each part fits into one datagram.
    static func datagrams(_ updates: [Update]) -> [[Update]] {
        guard !updates.isEmpty else { return [] }
        var result: [[Update]] = [[]]
        var room = datagramRoom
        for update in updates {
            let size = update.wireSize
            if size > room, !result[result.count - 1].isEmpty {
                result.append([])
                room = datagramRoom
            }
            room -= size
            result[result.count - 1].append(update)
        }
        return result
    }
}

extension Update {
    /// Bytes this update takes in a message; the codec's tests hold the two together. At most about 700.
    package var wireSize: Int {
        var size = 16 + 8 + 1 + 4 + 1
        if let profile {
            size += 2 + profile.name.description.utf8.count + 2 + 2 + profile.software.utf8.count + 4
            for endpoint in profile.addresses.prefix(MemberProfile.maximumAddresses) {
                if case .v4 = endpoint.address { size += 7 } else { size += 19 }
            }
        }
        if let verdict { size += 7 + 2 + min(verdict.accusers.count, Verdict.maximumAccusers) * 22 }
        return size
    }
}
