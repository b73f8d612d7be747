import CAvahi
import Glibc
import Logging
package import Primitives
package import Reactor

/// Finds machines on the local network and lets them find this one, by DNS-SD over multicast DNS (RFC 6762, 6763).
///
/// It never fails for good: without a network, or where another program keeps the multicast DNS port to itself, it
/// tries again with growing pauses, and `trouble` says why. Reports go out as a stream.
package actor ServiceDiscovery {
    /// What is looked for. Machines announce themselves in both.
    package enum Scope: Sendable {
        /// Members and waiting machines: while nodes of the own cluster are to be found.
        case everyone
        /// Waiting machines only: cheap, once membership knows enough nodes.
        case waitingMachines
    }
    /// Pauses between tries to start, doubling.
    static let firstRetry: Duration = .seconds(1)
    static let longestRetry: Duration = .seconds(60)
    /// A reader that is slow misses the oldest reports, never blocks; `sightings` has the whole picture.
    private static let streamBuffer = 1024
    /// After a restart of the stack: how long a machine may take to be heard again.
    private static let grace: Duration = .seconds(10)

    private let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let id: NodeID
    private var service: Responder.Service
    private var scope: Scope
    private var table: SightingTable
    private var responder: Responder?
    /// Grows with each responder: late reports of an old one do not count.
    private var epoch: UInt64 = 0
    private var retryDelay = ServiceDiscovery.firstRetry
    private var retry: EventLoop.Registration?
    private var clockSteps: ClockSteps?
    private var isRunning = false
    private var unreadable = 0
    private let continuation: AsyncStream<SightingChange>.Continuation
    /// Every change, to be read once.
    package nonisolated let changes: AsyncStream<SightingChange>

    /// Why discovery does not work at the moment, in an operator's words; nil when it does.
    package private(set) var trouble: DiscoveryTrouble?
    /// Machines now known, ordered by identity.
    package var sightings: [Sighting] { table.sightings }
    /// Announcements that were malformed or found no room, since the start.
    package var droppedAnnouncements: Int { unreadable + table.dropped }

    package init(
        on loop: EventLoop, announcing announcement: Announcement, port: UInt16, addresses: [PublishedAddress],
        scope: Scope = .everyone
    ) {
        self.loop = loop
        id = announcement.id
        service = Responder.Service(announcement: announcement, port: port, addresses: addresses)
        self.scope = scope
        table = SightingTable(own: announcement.id, tag: Self.tag(of: announcement))
        (changes, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Self.streamBuffer))
    }
    deinit {
        continuation.finish()
        // Whoever forgets `stop` leaves no stack behind; it may only be touched on the loop.
        if let responder { loop.perform { responder.close() } }
    }

    // MARK: Running

    package func start() {
        guard !isRunning else { return }
        isRunning = true
        // libavahi keeps its deadlines in wall-clock time: set back by an hour, it would be deaf for an hour.
        clockSteps = ClockSteps(on: loop) { [weak self] in self?.assumeIsolated { $0.clockStepped() } }
        open()
    }

    /// Says goodbye on the network. It can be started again.
    package func stop() {
        isRunning = false
        clockSteps = nil
        if let retry { loop.cancel(retry) }
        retry = nil
        close()
    }

    /// A changed role (the key came, or was rotated) or other addresses.
    package func announce(_ announcement: Announcement, addresses: [PublishedAddress]) {
        precondition(announcement.id == id, "another identity is another discovery")
        service.announcement = announcement
        service.addresses = addresses
        table.tag = Self.tag(of: announcement)
        responder?.publish(service)
    }
    package func announce(addresses: [PublishedAddress]) { announce(service.announcement, addresses: addresses) }

    /// What the new scope does not find is let go after a moment.
    package func look(for scope: Scope) {
        guard scope != self.scope else { return }
        self.scope = scope
        dropUnheard()
        responder?.browse(browsedType)
    }

    func clockStepped() {
        guard responder != nil else { return }
        Log.info("the clock was set; multicast DNS starts anew")
        reopen()
    }

    private var browsedType: String { scope == .everyone ? Responder.type : Responder.waitingType }
    private static func tag(of announcement: Announcement) -> String? {
        if case .member(let tag) = announcement.role { tag } else { nil }
    }

    private func open() {
        guard isRunning, responder == nil else { return }
        epoch += 1
        let current = epoch
        do throws(Responder.Failure) {
            let opened = try Responder(on: loop, id: id) { [weak self, loop] report in
                // Later, because libavahi must not be called, least of all freed, while it calls us.
                loop.perform { [weak self] in self?.assumeIsolated { $0.take(report, of: current) } }
            }
            responder = opened
            opened.publish(service)
            opened.browse(browsedType)
            if trouble != nil { Log.info("multicast DNS works again") }
            trouble = nil
        } catch {
            fail(DiscoveryTrouble.start(error.text, isPortTaken: error.code == Int32(AVAHI_ERR_NO_NETWORK)))
        }
    }
    private func close() {
        responder?.close()
        responder = nil
    }
    private func reopen() {
        dropUnheard()
        close()
        open()
    }

    /// Listening starts anew: what is not heard again within a moment is gone.
    private func dropUnheard() {
        let round = table.startRound()
        loop.schedule(after: Self.grace) { [weak self] in
            self?.assumeIsolated { $0.emit($0.table.dropUnheard(since: round)) }
        }
    }

    private func fail(_ reason: DiscoveryTrouble) {
        if trouble != reason { Log.warning("\(reason.problem); \(reason.remedy)") }
        trouble = reason
        close()
        guard isRunning, retry == nil else { return }
        let delay = retryDelay
        retryDelay = min(retryDelay * 2, Self.longestRetry)
        retry = loop.schedule(after: delay) { [weak self] in
            self?.assumeIsolated { me in
                me.retry = nil
                me.dropUnheard()
                me.open()
            }
        }
    }

    // MARK: Reports

    private func take(_ report: Responder.Report, of reporter: UInt64) {
        guard reporter == epoch, responder != nil else { return }
        switch report {
        case .found(let appearance, let txt, let endpoint):
            retryDelay = Self.firstRetry
            do throws(AnnouncementError) {
                emit(table.found(appearance, try Announcement(encoded: txt), at: endpoint))
            } catch {
                unreadable += 1
                emit(table.lost(appearance))
            }
        case .lost(let appearance): emit(table.lost(appearance))
        case .collision: fail(.sameIdentity(id))
        case .failed(let text): fail(.start(text, isPortTaken: false))
        }
    }

    private func emit(_ changes: [SightingChange]) {
        for change in changes { continuation.yield(change) }
    }
}

/// Why machines cannot be found by multicast DNS at the moment.
package enum DiscoveryTrouble: OperatorError, Equatable {
    case start(String, isPortTaken: Bool)
    case sameIdentity(NodeID)

    package var problem: String {
        switch self {
        case .start(let text, let isPortTaken):
            isPortTaken
                ? "multicast DNS cannot start: another program keeps UDP port 5353 to itself"
                : "multicast DNS does not work: \(text)"
        case .sameIdentity(let id): "another machine on this network announces itself as this node (\(id.code))"
        }
    }
    package var remedy: String {
        switch self {
        case .start(_, isPortTaken: true):
            "set disallow-other-stacks=no in /etc/avahi/avahi-daemon.conf and restart avahi-daemon, or name a node with --join"
        case .start: "it tries again by itself; until then name a node with --join"
        case .sameIdentity:
            "is a copy of this data directory running elsewhere? Stop it, remove its identity.key, and start it again"
        }
    }
}
