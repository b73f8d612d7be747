package import Membership
import Primitives
package import Wire

/// Membership messages as bytes: docs/protocol/membership.md has the layouts.
///
/// The first byte is the type. After the body come extensions (tag, 16-bit length, bytes): a newer minor version may
/// add some, and whoever does not know a tag skips it. Everything else that does not fit exactly is refused.
package enum MembershipCodec {
    /// First bytes that belong to membership; the other parts of a node use others.
    package static let types: ClosedRange<UInt8> = 0x10...0x1F
    /// Everything but a delta travels as one datagram of at most this many bytes, before sealing.
    package static let maximumDatagram = 1200
    /// A delta travels over a stream.
    package static let maximumDelta = 1 << 20

    private enum Kind: UInt8 {
        case heartbeat = 0x10
        case ping, pong, ask, evidence, report, withdraw, updates, digest, delta
    }

    private enum Extension: UInt8 {
        /// Of a heartbeat: 8 bytes.
        case databaseHash = 1
    }

    package static func encode(_ message: Message) -> [UInt8] {
        var writer = ByteWriter(reserving: 128)
        switch message {
        case .heartbeat(let beat):
            writer.integer(Kind.heartbeat.rawValue)
            writer.version(beat.version)
            writer.integer(beat.sequence)
            writer.integer(beat.interval)
            writer.integer(beat.echo)
            writer.integer(beat.echoAge)
            writer.integer(beat.flags.rawValue)
            writer.integer(beat.health)
            writer.integer(beat.viewHash)
            writer.integer(beat.factsHash)
            writer.integer(UInt8(beat.load.count))
            writer.raw(beat.load)
            writer.updates(beat.updates)
            if beat.databaseHash != 0 {
                writer.integer(Extension.databaseHash.rawValue)
                writer.integer(UInt16(8))
                writer.integer(beat.databaseHash)
            }
        case .ping(let nonce, let sender):
            writer.integer(Kind.ping.rawValue)
            writer.integer(nonce)
            writer.version(sender)
        case .pong(let nonce, let sender):
            writer.integer(Kind.pong.rawValue)
            writer.integer(nonce)
            writer.version(sender)
        case .ask(let subject, let version):
            writer.integer(Kind.ask.rawValue)
            writer.nodeID(subject)
            writer.version(version)
        case .evidence(let evidence):
            writer.integer(Kind.evidence.rawValue)
            writer.nodeID(evidence.subject)
            writer.version(evidence.version)
            writer.integer(evidence.opinion.rawValue)
            writer.figures(evidence.figures)
        case .report(let report):
            writer.integer(Kind.report.rawValue)
            writer.nodeID(report.observer)
            writer.nodeID(report.subject)
            writer.version(report.version)
            writer.figures(report.figures)
        case .withdraw(let subject, let version):
            writer.integer(Kind.withdraw.rawValue)
            writer.nodeID(subject)
            writer.version(version)
        case .updates(let updates):
            writer.integer(Kind.updates.rawValue)
            writer.updates(updates)
        case .digest(let digest):
            writer.integer(Kind.digest.rawValue)
            for bucket in digest.buckets { writer.integer(bucket) }
        case .delta(let delta):
            writer.integer(Kind.delta.rawValue)
            writer.integer(delta.wanted)
            writer.updates(delta.updates)
        }
        return writer.bytes
    }

    package static func decode(_ bytes: [UInt8]) throws(ByteReader.Failure) -> Message {
        var reader = ByteReader(bytes)
        guard let kind = Kind(rawValue: try reader.integer()) else { throw .malformed }
        guard bytes.count <= (kind == .delta ? maximumDelta : maximumDatagram) else { throw .tooLong }
        var message: Message
        switch kind {
        case .heartbeat:
            message = .heartbeat(try reader.heartbeat())
        case .ping:
            message = .ping(nonce: try reader.integer(), sender: try reader.version())
        case .pong:
            message = .pong(nonce: try reader.integer(), sender: try reader.version())
        case .ask:
            message = .ask(subject: try reader.nodeID(), version: try reader.version())
        case .evidence:
            let (subject, version) = (try reader.nodeID(), try reader.version())
            guard let opinion = Evidence.Opinion(rawValue: try reader.integer()) else { throw .malformed }
            message = .evidence(
                Evidence(subject: subject, version: version, opinion: opinion, figures: try reader.figures()))
        case .report:
            message = .report(
                Report(
                    observer: try reader.nodeID(), subject: try reader.nodeID(), version: try reader.version(),
                    figures: try reader.figures()))
        case .withdraw:
            message = .withdraw(subject: try reader.nodeID(), version: try reader.version())
        case .updates:
            message = .updates(try reader.updates(limit: ViewDelta.maximumUpdates))
        case .digest:
            var buckets: [UInt64] = []
            for _ in 0..<ViewDigest.bucketCount { buckets.append(try reader.integer()) }
            message = .digest(ViewDigest(buckets: buckets))
        case .delta:
            let wanted: UInt32 = try reader.integer()
            message = .delta(
                ViewDelta(updates: try reader.updates(limit: ViewDelta.maximumUpdates), wanted: wanted))
        }
        while reader.remaining > 0 {
            let tag: UInt8 = try reader.integer()
            var content = ByteReader(try reader.take(Int(try reader.integer(UInt16.self))))
            if case .heartbeat(var beat) = message, tag == Extension.databaseHash.rawValue {
                beat.databaseHash = try content.integer()
                message = .heartbeat(beat)
            }
        }
        return message
    }
}

extension ByteWriter {
    fileprivate mutating func version(_ version: MemberVersion) {
        integer(version.generation)
        integer(version.incarnation)
    }
    fileprivate mutating func figures(_ figures: Figures) {
        integer(figures.centiPhi)
        integer(figures.silence)
        integer(figures.unansweredProbes)
        flag(figures.isOneWay)
    }
    fileprivate mutating func updates(_ updates: [Update]) {
        list(updates) { writer, update in writer.update(update) }
    }
    private mutating func update(_ update: Update) {
        nodeID(update.id)
        version(update.version)
        integer(update.rank.rawValue)
        integer(update.age)
        integer(
            UInt8(
                (update.profile == nil ? 0 : 1) | (update.verdict == nil ? 0 : 2)
                    | (update.profile?.role == .witness ? 4 : 0)))
        if let profile = update.profile {
            nodeName(profile.name)
            list(profile.addresses.prefix(MemberProfile.maximumAddresses)) { writer, endpoint in
                writer.endpoint(endpoint)
            }
            text(profile.software)
            integer(profile.birth)
        }
        if let verdict = update.verdict {
            integer(UInt16(clamping: verdict.observers))
            integer(UInt16(clamping: verdict.needed))
            integer(UInt16(clamping: verdict.defenders))
            flag(verdict.isConfirmed)
            list(verdict.accusers.prefix(Verdict.maximumAccusers)) { writer, accuser in
                writer.nodeID(accuser.observer)
                writer.figures(Figures(accuser))
            }
        }
    }
}

extension ByteReader {
    fileprivate mutating func version() throws(Failure) -> MemberVersion {
        MemberVersion(generation: try integer(), incarnation: try integer())
    }
    fileprivate mutating func figures() throws(Failure) -> Figures {
        Figures(
            centiPhi: try integer(), silence: try integer(), unansweredProbes: try integer(),
            isOneWay: try integer(UInt8.self) & 1 == 1)
    }
    fileprivate mutating func heartbeat() throws(Failure) -> Heartbeat {
        let version = try version()
        let sequence: UInt32 = try integer()
        let interval: UInt16 = try integer()
        let (echo, echoAge): (UInt32, UInt16) = (try integer(), try integer())
        let flags = Heartbeat.Flags(rawValue: try integer())
        let health: UInt8 = try integer()
        let (viewHash, factsHash): (UInt64, UInt64) = (try integer(), try integer())
        let count = Int(try integer(UInt8.self))
        guard count <= Heartbeat.maximumLoad else { throw .tooLong }
        let load = Array(try take(count))
        // An interval of nothing would make every silence suspicious, one of minutes none.
        guard (10...10_000).contains(interval), sequence > 0 else { throw .malformed }
        return Heartbeat(
            version: version, sequence: sequence, interval: interval, echo: echo, echoAge: echoAge, flags: flags,
            health: health, viewHash: viewHash, factsHash: factsHash, load: load, updates: try updates(limit: 64))
    }
    fileprivate mutating func updates(limit: Int) throws(Failure) -> [Update] {
        try list(limit: limit) { (reader: inout ByteReader) throws(Failure) in try reader.update() }
    }
    private mutating func update() throws(Failure) -> Update {
        let (id, version) = (try nodeID(), try version())
        guard let rank = MemberRank(rawValue: try integer()), rank == .alive || rank == .failed || rank == .left
        else { throw .malformed }
        let age: UInt32 = try integer()
        let parts: UInt8 = try integer()
        // The third says that the profile is a witness's.
        guard parts <= 7, parts & 5 != 4 else { throw .malformed }
        var update = Update(id: id, version: version, rank: rank, age: age, profile: nil, verdict: nil)
        if parts & 1 != 0 {
            update.profile = MemberProfile(
                name: try nodeName(),
                addresses: try list(limit: MemberProfile.maximumAddresses) {
                    (reader: inout ByteReader) throws(Failure) in try reader.endpoint()
                },
                software: try text(limit: MemberProfile.maximumSoftware), birth: try integer(),
                role: parts & 4 == 0 ? .node : .witness)
        }
        if parts & 2 != 0 {
            let (observers, needed, defenders): (UInt16, UInt16, UInt16) = (
                try integer(), try integer(), try integer()
            )
            let isConfirmed = try integer(UInt8.self) & 1 == 1
            update.verdict = Verdict(
                accusers: try list(limit: Verdict.maximumAccusers) { (reader: inout ByteReader) throws(Failure) in
                    Accusation(observer: try reader.nodeID(), figures: try reader.figures())
                },
                observers: Int(observers), needed: Int(needed), defenders: Int(defenders), isConfirmed: isConfirmed)
        }
        return update
    }
}
