package import Leases
package import Membership
package import Primitives
import Wire

/// One node's decisions, all of them: datagrams, handshakes, timers and an operator's orders in, effects out.
///
/// It joins the cores, which do not know each other. A newcomer starts here; the pulse thread of `Daemon` and the
/// simulator drive it in the same way: drain the socket, `handle` each packet, then `tick`.
package struct NodeCore: Sendable {
    package let id: NodeID
    package private(set) var facts: SharedFacts
    package private(set) var names: NameTable
    /// Nodes with our key that an operator has not approved yet, oldest first.
    package private(set) var applicants: [Applicant] = []
    package private(set) var isRemoved = false
    /// Messages of authenticated peers that could not be read: another version, or a bug.
    package private(set) var malformedMessages = 0

    var membership: Membership
    private let config: NodeConfig
    /// Leases and services; nil where they are not wanted, as in a simulation of membership alone.
    var house: House?
    /// All that a witness does; nil on a node.
    private var witness: Witness?
    private var contacts = Contacts()
    private var hasDatabase = false
    private var haveMembersChanged = true
    private var toldReachable: [NodeID] = []

    private static let maximumApplicants = 64

    package init(
        id: NodeID, version: MemberVersion, profile: MemberProfile, members: [MemberRecord], facts: SharedFacts,
        config: NodeConfig, chance: SeededGenerator, now: Instant
    ) {
        self.id = id
        self.facts = facts
        self.config = config
        membership = Membership(
            id: id, version: version, profile: profile, known: members, config: config.membership,
            chance: chance.fork("membership"), now: now)
        // The member list does not name the removed: the facts do, and a peer that missed it may still tell of them.
        for node in facts.removed.sorted() { _ = membership.handle(.removed(node), now: now) }
        names = NameTable(membership.records)
        _ = membership.handle(.factsHash(facts.digest), now: now)
        if let settings = config.house {
            house = House(
                id: id, generation: version.generation, settings, chance: chance.fork("leases"), facts: facts, now: now)
        }
        if let settings = config.witness {
            witness = Witness(me: id, config: settings.votes, memory: settings.memory, now: now)
        }
    }

    // MARK: Events

    package mutating func handle(_ event: NodeEvent, now: Instant) -> [NodeEffect] {
        guard !isRemoved else { return [] }
        switch event {
        case .sessionOpened(let peer, let path): return opened(peer, path: path, now: now)
        case .refused(let peer):
            // Only a node we know as a member may tell us: anybody with an old key could try.
            guard isMember(peer) else { return [] }
            return leaveForGood(by: peer)
        case .received(let bytes, let sender, let path, let stamp):
            return received(bytes, from: sender, path: path, stamp: stamp, now: now)
        case .receivedReliably(let bytes, let sender):
            return received(bytes, from: sender, path: membership.preferredPath(to: sender), stamp: now, now: now)
        case .sighted(let endpoint):
            guard !membership.isReached(at: endpoint), contacts.sighted(endpoint, now: now) else { return [] }
            return [.knock(endpoint)]
        case .applied(let peer, let path): return applied(peer, path: path, now: now)
        case .addressesChanged(let endpoints):
            return carryOut(membership.handle(.addressesChanged(endpoints), now: now), now: now)
        case .network(let isUp):
            let effects = carryOut(membership.handle(.network(isUp: isUp), now: now), now: now)
            return effects + inHouse(now) { $0.core.handle(.network(isUp: isUp), now: now) }
        case .reachAnswered: return carryOut(membership.handle(.reachAnswered, now: now), now: now)
        case .databaseHash(let hash):
            let isFirst = !hasDatabase
            hasDatabase = true
            let effects = carryOut(membership.handle(.databaseHash(hash), now: now), now: now)
            return isFirst ? effects + tellDatabase() : effects
        case .load(let load): return carryOut(membership.handle(.load(load.encoded), now: now), now: now)
        case .factsStored(let stored, let isWhole): return project(stored, isWhole: isWhole, now: now)
        case .trustStored(let encoded): return merge(encoded, from: nil, wantsReply: false, now: now)
        case .service(let event): return inHouse(now) { $0.core.handle(event, now: now) }
        case .lease(.persisted(let ticket)) where witness != nil: return asWitness { $0.persisted(ticket: ticket) }
        case .lease(let event): return inHouse(now) { $0.core.handle(event, now: now) }
        case .leave: return carryOut(membership.handle(.leave, now: now), now: now)
        }
    }

    /// Every `tickInterval`, after the socket was drained until EAGAIN (`drained`), never before.
    package mutating func tick(now: Instant, drained: Bool) -> [NodeEffect] {
        guard !isRemoved else { return [] }
        var effects = carryOut(membership.tick(now: now, drained: drained), now: now)
        if hasDatabase { effects += tellDatabase() }
        if house != nil { effects += tickHouse(now: now) }
        return effects
    }

    /// Whom the database may talk to, where that has changed.
    private mutating func tellDatabase() -> [NodeEffect] {
        let reachable = servingPeers
        guard reachable != toldReachable || haveMembersChanged else { return [] }
        toldReachable = reachable
        haveMembersChanged = false
        let members = membership.records.filter {
            $0.rank != .removed && $0.profile.role == .node && !facts.removed.contains($0.id)
        }
        return [.databasePeers(members: members.map(\.id), reachable: reachable)]
    }
    package var tickInterval: Duration { membership.tickInterval }
    package var version: MemberVersion { membership.version }
    /// Peers that are heard now.
    package var peerCount: Int { membership.reachablePeers.count }
    package var isAlone: Bool { peerCount == 0 }

    // MARK: Admission

    package enum Admission: Equatable, Sendable { case accept, waitForApproval, refuseRemoved, refuseOldKey }

    /// Asked by the transport in the middle of a handshake, before the peer learns anything.
    package func admission(of peer: NodeID, keyVersion: UInt32) -> Admission {
        if facts.removed.contains(peer) { return .refuseRemoved }
        if isMember(peer) { return .accept }
        // A copied card must carry the key of today; members that were away get the new one after they are let in.
        if keyVersion < currentKeyVersion { return .refuseOldKey }
        return needsApproval && !isNewcomer && facts[FactKey.approved(peer)] == nil ? .waitForApproval : .accept
    }

    /// It has met nobody and holds nothing that an operator decided, not even the first password. It takes the cluster
    /// that takes it: with `admit: approve` on every machine, two would else hold each other at the door for ever.
    private var isNewcomer: Bool { facts.isEmpty && membership.records.count <= 1 }

    private var needsApproval: Bool {
        config.needsApproval || facts[FactKey.admission].map { $0.elementsEqual("approve".utf8) } ?? false
    }

    /// The newest that we know of: of our own file, or among the facts.
    package var currentKeyVersion: UInt32 {
        let newest = facts.keys(prefix: FactKey.clusterKeys).last
        return max(config.keyVersion, newest.flatMap { UInt32($0.dropFirst(FactKey.clusterKeys.count)) } ?? 1)
    }

    private func isMember(_ peer: NodeID) -> Bool {
        membership.record(of: peer).map { $0.rank != .removed } ?? false
    }

    /// Where a peer takes datagrams and streams, the path it was last heard on first.
    package func addresses(of peer: NodeID) -> [Endpoint] {
        let preferred = membership.preferredPath(to: peer)
        let all = membership.record(of: peer)?.profile.addresses ?? []
        return [preferred] + all.filter { $0 != preferred }
    }

    // MARK: The operator's orders

    package enum Refusal: Error, Equatable, Sendable { case unknownNode, isSelf, tooManyFacts, notWaiting }

    /// Writes a fact here and sends it to all.
    package mutating func setFact(_ key: String, to value: [UInt8]?, now: Instant) throws(Refusal) -> [NodeEffect] {
        try setFacts([(key, value)], now: now)
    }

    /// All of them or, where they find no room, none. What is no trust fact goes to the database, and is seen here when it
    /// comes back from there.
    package mutating func setFacts(
        _ news: [(key: String, value: [UInt8]?)], now: Instant
    ) throws(Refusal) -> [NodeEffect] {
        var after = facts
        do {
            for (key, value) in news where FactKey.isTrust(key) { _ = try after.set(key, to: value, by: id) }
        } catch {
            throw .tooManyFacts
        }
        let forDatabase = news.filter { !FactKey.isTrust($0.key) }.map { StoredFact($0.key, $0.value ?? [], by: id) }
        let stores: [NodeEffect] = forDatabase.isEmpty ? [] : [.storeFacts(forDatabase)]
        let keys = news.map(\.key).filter(FactKey.isTrust)
        guard !keys.isEmpty else { return stores }
        facts = after
        return tellDigest(now: now) + [.persistFacts(facts)] + stores + tell(keys) + spread(keys)
    }

    /// Removes a node for good, and changes the cluster key so that what it knows opens nothing.
    ///
    /// Chance for keys does not come from a core, so the daemon brings the new key, and the one of today: members that are
    /// away now come back with that one. Both are opaque here.
    package mutating func remove(
        _ node: NodeID, key: [UInt8], newKey: [UInt8], note: String, now: Instant
    ) throws(Refusal) -> [NodeEffect] {
        guard node != id else { throw .isSelf }
        // Membership forgets who was away for a month; the database does not, and waits for it.
        guard isMember(node) || facts[FactKey.member(node)] != nil, !facts.removed.contains(node) else {
            throw .unknownNode
        }
        let notice = isMember(node) ? [removalNotice(to: node, note)] : []
        let version = currentKeyVersion
        let news = try setFacts(
            [
                (FactKey.removed(node), Array(note.utf8)), (FactKey.clusterKey(version: version), key),
                (FactKey.clusterKey(version: version + 1), newKey),
            ], now: now)
        // Told first, while there is still a session; a lost notice is made up for when it is refused at the door.
        return notice + news + expel(node, now: now) + [.clusterKeysChanged]
    }
    private func removalNotice(to node: NodeID, _ note: String) -> NodeEffect {
        let path = membership.preferredPath(to: node)
        return .send(NodeMessage.removalNotice(when: note).encoded, to: node, via: path)
    }

    /// Lets a waiting node in.
    package mutating func approve(_ node: NodeID, note: String, now: Instant) throws(Refusal) -> [NodeEffect] {
        guard let applicant = applicants.first(where: { $0.record.id == node }) else { throw .notWaiting }
        applicants.removeAll { $0.record.id == node }
        return try setFact(FactKey.approved(node), to: Array(note.utf8), now: now) + [.knock(applicant.path)]
    }

    // MARK: For people

    /// Made on demand, never on the hot path.
    package var snapshot: NodeSnapshot {
        NodeSnapshot(
            id: id, members: membership.members, edges: membership.edges, names: names, applicants: applicants,
            reportThreshold: membership.reportThreshold, isRemoved: isRemoved)
    }

    /// Every member's record, sorted by ID: what is known, without opinions of the moment.
    package var records: [MemberRecord] { membership.records }
    package func record(of node: NodeID) -> MemberRecord? { membership.record(of: node) }

    // MARK: Peers

    private mutating func opened(_ peer: PeerIntroduction, path: Endpoint, now: Instant) -> [NodeEffect] {
        let node = peer.record.id
        guard node != id else { return [] }
        guard admission(of: node, keyVersion: peer.keyVersion) == .accept else { return [.forget(node)] }
        contacts.answered(path)
        applicants.removeAll { $0.record.id == node }
        return carryOut(membership.handle(.introduced(peer.record, path: path), now: now), now: now)
    }

    private mutating func applied(_ peer: PeerIntroduction, path: Endpoint, now: Instant) -> [NodeEffect] {
        let node = peer.record.id
        if let place = applicants.firstIndex(where: { $0.record.id == node }) {
            applicants[place].record = peer.record
            applicants[place].path = path
            return []
        }
        guard applicants.count < Self.maximumApplicants else { return [] }
        let applicant = Applicant(record: peer.record, path: path, since: now)
        applicants.append(applicant)
        return [.notify(.waitingForApproval(applicant))]
    }

    private mutating func received(
        _ bytes: [UInt8], from sender: NodeID, path: Endpoint, stamp: Instant, now: Instant
    ) -> [NodeEffect] {
        guard isMember(sender) else { return [] }
        house?.heard[sender] = stamp
        guard let message = try? NodeMessage(decoding: bytes) else {
            malformedMessages += 1
            return []
        }
        switch message {
        case .membership(let message):
            return carryOut(
                membership.handle(.received(message, from: sender, path: path, stamp: stamp), now: now), now: now)
        case .facts(let encoded, let wantsReply):
            return merge(encoded, from: sender, wantsReply: wantsReply, now: now)
        case .removalNotice: return leaveForGood(by: sender)
        case .lease(let message) where witness != nil:
            return asWitness { $0.receive(message, from: sender, now: now) }
        case .lease(let message): return inHouse(now) { $0.core.handle(.received(message, from: sender), now: now) }
        case .drill(let service): return inHouse(now) { $0.core.handle(.order(.playDead(service)), now: now) }
        case .services(let reports):
            reported(by: sender, reports, now: now)
            return inHouse(now) { $0.core.handle(.reported(by: sender, reports), now: now) }
        case .serviceReasons(let reasons):
            return inHouse(now) { $0.core.handle(.explained(by: sender, reasons), now: now) }
        case .orders(let orders): return inHouse(now) { $0.core.handle(.standing(orders), now: now) }
        }
    }

    // MARK: Facts

    private mutating func project(_ stored: [StoredFact], isWhole: Bool, now: Instant) -> [NodeEffect] {
        let changed = facts.project(stored, isWhole: isWhole)
        let writers = Dictionary(stored.map { ($0.key, $0.by) }) { first, _ in first }
        // The whole of it is no news: it is what was there before this node looked.
        let notices = changed.map { key in
            NodeEffect.notify(.factChanged(key: key, by: writers[key] ?? nil, isNews: !isWhole))
        }
        return notices + desiredChanged(changed, now: now)
    }

    private mutating func merge(
        _ encoded: [UInt8], from sender: NodeID?, wantsReply: Bool, now: Instant
    ) -> [NodeEffect] {
        var reader = ByteReader(encoded)
        guard let entries = try? SharedFacts.decode(&reader), (try? reader.finish()) != nil else {
            malformedMessages += 1
            return []
        }
        // Others are an earlier version's, which kept all facts here.
        let changed = facts.merge(entries.filter { FactKey.isTrust($0.key) })
        var effects: [NodeEffect] = []
        if wantsReply, let sender {
            // What the sender lacks or has older: all we have that is not just what it sent.
            let theirs = Dictionary(entries.map { ($0.key, $0.entry) }) { first, _ in first }
            let news = facts.entries.filter { theirs[$0.key] != $0.value }.keys.sorted()
            if !news.isEmpty {
                let reply = NodeMessage.facts(facts.encoded(keys: news), wantsReply: false)
                effects.append(.sendReliably(reply.encoded, to: sender))
            }
        }
        guard !changed.isEmpty else { return effects }
        effects += tellDigest(now: now) + [.persistFacts(facts)] + tell(changed)
        for node in facts.removed.sorted() where changed.contains(FactKey.removed(node)) {
            if node == id { return effects + leaveForGood(by: facts.entries[FactKey.removed(id)]!.origin) }
            // Also where we never heard of it: somebody may tell us of it yet.
            effects += expel(node, now: now)
        }
        // Two removals at once make two keys of one version: the facts' rule says which it is, on every node.
        if changed.contains(FactKey.clusterKey(version: currentKeyVersion)) { effects.append(.clusterKeysChanged) }
        return effects + spread(changed, except: sender)
    }

    /// Of cluster keys only the newest is news: the one before it becomes a fact when it is replaced.
    private func tell(_ keys: [String]) -> [NodeEffect] {
        let current = FactKey.clusterKey(version: currentKeyVersion)
        return keys.filter { !$0.hasPrefix(FactKey.clusterKeys) || $0 == current && currentKeyVersion > 1 }.map {
            .notify(.factChanged(key: $0, by: facts.entries[$0]!.origin, isNews: true))
        }
    }

    /// It rides on every heartbeat, so that a peer that missed something notices.
    private mutating func tellDigest(now: Instant) -> [NodeEffect] {
        carryOut(membership.handle(.factsHash(facts.digest), now: now), now: now)
    }

    /// To everybody we watch, who send it on: one hop where all watch all, a few above 16 nodes.
    private func spread(_ keys: [String], except sender: NodeID? = nil) -> [NodeEffect] {
        let message = NodeMessage.facts(facts.encoded(keys: keys), wantsReply: false).encoded
        return reachablePeers.filter { $0 != sender }.map { .sendReliably(message, to: $0) }
    }

    /// Lets the witness in this process handle something, and carries out what it says.
    private mutating func asWitness(_ body: (inout Witness) -> [Witness.Effect]) -> [NodeEffect] {
        guard witness != nil else { return [] }
        return body(&witness!).flatMap { effect -> [NodeEffect] in
            switch effect {
            case .send(let message, let peer): sendOnEveryPath(message, to: peer)
            case .persist(let memory, let ticket): [.service(.persist(memory, ticket: ticket))]
            case .votersChanged(let voters): [.notify(.lease(.votersChanged(voters)))]
            }
        }
    }
    func sendOnEveryPath(_ message: LeaseMessage, to peer: NodeID) -> [NodeEffect] {
        let bytes = NodeMessage.lease(message).encoded
        return membership.workingPaths(to: peer).map { .send(bytes, to: peer, via: $0) }
    }

    /// Those that have the database and run services: not witnesses.
    var servingPeers: [NodeID] {
        reachablePeers.filter { membership.record(of: $0)?.profile.role == .node }
    }
    /// Peers that are heard now, sorted by ID.
    package var reachablePeers: [NodeID] { membership.reachablePeers.filter { !facts.removed.contains($0) } }

    private mutating func expel(_ node: NodeID, now: Instant) -> [NodeEffect] {
        applicants.removeAll { $0.record.id == node }
        haveMembersChanged = true
        return carryOut(membership.handle(.removed(node), now: now), now: now) + [.forget(node)]
            + inHouse(now) { $0.core.handle(.removed(node), now: now) }
    }

    private mutating func leaveForGood(by remover: NodeID?) -> [NodeEffect] {
        isRemoved = true
        return [.wasRemoved(by: remover)]
    }

    // MARK: Membership's effects

    private mutating func carryOut(_ effects: [Membership.Effect], now: Instant) -> [NodeEffect] {
        var result: [NodeEffect] = []
        result.reserveCapacity(effects.count)
        for effect in effects {
            switch effect {
            case .send(let message, let peer, let path):
                result.append(.send(MembershipCodec.encode(message), to: peer, via: path))
            case .sendReliably(let message, let peer):
                result.append(.sendReliably(MembershipCodec.encode(message), to: peer))
            case .probeReach: result.append(.probeReach)
            case .factsDiffer(let peer):
                result.append(.sendReliably(NodeMessage.facts(facts.encoded(), wantsReply: true).encoded, to: peer))
            case .databaseDiffers(let peer): result.append(.databaseDiffers(peer))
            case .notify(let notice):
                result.append(.notify(.membership(notice)))
                if notice.mayRename != nil { haveMembersChanged = true }
                house?.isLookDue = true
                if let node = notice.mayRename { result += rename(node) }
            case .persist: result.append(.persistMembers(membership.records))
            }
        }
        return result
    }

    private mutating func rename(_ node: NodeID) -> [NodeEffect] {
        if let record = membership.record(of: node), names.take(record) { return [] }
        let table = NameTable(membership.records, former: names)
        defer { names = table }
        return table.conflicts.filter { !names.conflicts.contains($0) }.map { .notify(.nameConflict($0)) }
    }
}

extension Notice {
    /// The node whose name, and with it perhaps another's, may be a new one.
    fileprivate var mayRename: NodeID? {
        switch self {
        case .joined(let node), .profileChanged(let node), .removed(let node): node
        default: nil
        }
    }
}

package struct NodeConfig: Equatable, Sendable {
    package var membership = MembershipConfig()
    /// False: the key alone admits. True: an operator says yes to each new node.
    package var needsApproval = false
    /// The version of the cluster key in our own file.
    package var keyVersion: UInt32 = 1
    /// Nil: no leases and no services.
    package var house: HouseSettings?
    /// For a witness, which has no house: it votes, and that is all.
    package var witness: WitnessSettings?
    package init() {}
}

/// What a witness votes by.
package struct WitnessSettings: Equatable, Sendable {
    package var votes: LeaseConfig
    /// From the disk.
    package var memory: LeaseMemory

    package init(votes: LeaseConfig, memory: LeaseMemory) {
        self.votes = votes
        self.memory = memory
    }
}

/// What people are shown.
package struct NodeSnapshot: Equatable, Sendable {
    package var id: NodeID
    /// In order of their IDs.
    package var members: [MemberView]
    package var edges: [EdgeView]
    package var names: NameTable
    package var applicants: [Applicant]
    package var reportThreshold: Double
    package var isRemoved: Bool
}
