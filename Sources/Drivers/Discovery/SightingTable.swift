package import Primitives

/// A machine that announces itself on the local network. Anybody can announce anything: a sighting is a place to knock at,
/// and nothing more until a handshake has proven it.
package struct Sighting: Hashable, Sendable {
    package var announcement: Announcement
    /// Sorted; at most `SightingTable.maximumEndpoints`.
    package var endpoints: [Endpoint]
    package init(announcement: Announcement, endpoints: [Endpoint]) {
        self.announcement = announcement
        self.endpoints = endpoints
    }
}

package enum SightingChange: Hashable, Sendable {
    /// New, or told anew with something changed.
    case seen(Sighting)
    case gone(NodeID)
}

/// Puts together what multicast DNS tells piece by piece: the same machine shows up once for each interface and protocol.
/// Bounded, because whoever is on the network can make it grow. No I/O, so that any sequence can be tested.
struct SightingTable: Sendable {
    /// One appearance: a service instance, seen over one protocol of one interface.
    struct Appearance: Hashable, Comparable, Sendable {
        var instance: String
        var interface: Int32
        var isV6: Bool
        static func < (a: Appearance, b: Appearance) -> Bool {
            (a.instance, a.interface, a.isV6 ? 1 : 0) < (b.instance, b.interface, b.isV6 ? 1 : 0)
        }
    }
    private struct Fact {
        var announcement: Announcement
        var endpoint: Endpoint
        /// The round in which it was last heard.
        var round: UInt64
    }

    static let capacity = 512
    static let maximumEndpoints = 8
    private static let maximumAppearances = 2 * capacity

    /// Ours are known, so they are never reported.
    private let own: NodeID
    /// The cluster whose members are kept when there is no room for all.
    var tag: String?
    private var facts: [Appearance: Fact] = [:]
    private var appearances: [NodeID: [Appearance]] = [:]
    private var reported: [NodeID: Sighting] = [:]
    private var round: UInt64 = 0
    /// Announcements that found no room, since the start.
    private(set) var dropped = 0

    init(own: NodeID, tag: String?) {
        self.own = own
        self.tag = tag
    }
    var sightings: [Sighting] { reported.sorted { $0.key < $1.key }.map(\.value) }
    var count: Int { reported.count }

    mutating func found(_ appearance: Appearance, _ announcement: Announcement, at endpoint: Endpoint)
        -> [SightingChange]
    {
        guard announcement.id != own else { return lost(appearance) }
        let address = endpoint.address
        guard endpoint.port > 0, !address.isUnspecified, !address.isMulticastOrBroadcast, !address.isLoopback else {
            return lost(appearance)
        }
        // The scope of a version 6 link-local address would be needed to use it.
        if case .v6 = address, address.isLinkLocal { return lost(appearance) }
        var changes: [SightingChange] = []
        if let old = facts[appearance], old.announcement.id != announcement.id { changes += lost(appearance) }
        if facts[appearance] == nil {
            guard let room = makeRoom(for: announcement) else {
                dropped += 1
                return changes
            }
            changes += room
            appearances[announcement.id, default: []].append(appearance)
        }
        facts[appearance] = Fact(announcement: announcement, endpoint: endpoint, round: round)
        return changes + report(announcement.id)
    }

    mutating func lost(_ appearance: Appearance) -> [SightingChange] {
        guard let fact = facts.removeValue(forKey: appearance) else { return [] }
        let id = fact.announcement.id
        appearances[id]?.removeAll { $0 == appearance }
        if appearances[id]?.isEmpty == true { appearances[id] = nil }
        return report(id)
    }

    /// Listening starts anew, and tells everything again that is there. What was known stays until `dropUnheard`.
    mutating func startRound() -> UInt64 {
        round += 1
        return round
    }
    /// Lets go of what was not heard since that round began.
    mutating func dropUnheard(since round: UInt64) -> [SightingChange] {
        facts.filter { $0.value.round < round }.keys.sorted().flatMap { lost($0) }
    }

    /// Nil when there is none: then somebody else's machines are let go for one of ours, never the other way.
    private mutating func makeRoom(for announcement: Announcement) -> [SightingChange]? {
        if let others = appearances[announcement.id] { return others.count < Self.maximumEndpoints ? [] : nil }
        guard facts.count >= Self.maximumAppearances || appearances.count >= Self.capacity else { return [] }
        guard isWanted(announcement) else { return nil }
        let foreign = reported.values.filter { !isWanted($0.announcement) }.map(\.announcement.id)
        guard let victim = foreign.max() else { return nil }
        return (appearances[victim] ?? []).flatMap { lost($0) }
    }
    private func isWanted(_ announcement: Announcement) -> Bool {
        switch announcement.role {
        case .member(let tag): tag == self.tag
        case .waiting: false
        }
    }

    private mutating func report(_ id: NodeID) -> [SightingChange] {
        guard let places = appearances[id], let first = places.first.flatMap({ facts[$0] }) else {
            return reported.removeValue(forKey: id) == nil ? [] : [.gone(id)]
        }
        // What was heard first stands until it is gone, so that an impostor cannot change what a machine is.
        let endpoints = Set(places.compactMap { facts[$0]?.endpoint }).sorted().prefix(Self.maximumEndpoints)
        let sighting = Sighting(announcement: first.announcement, endpoints: Array(endpoints))
        guard reported[id] != sighting else { return [] }
        reported[id] = sighting
        return [.seen(sighting)]
    }
}
