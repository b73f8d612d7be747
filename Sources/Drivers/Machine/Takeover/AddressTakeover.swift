import CLinux
import Glibc
import Logging
package import Primitives
package import Reactor

/// Holds the floating addresses of this node: guards, adds, announces, watches and gives up, without running a program.
///
/// Whoever decides (the leases) gives the right to an address until an instant of CLOCK_BOOTTIME and renews it. When a
/// right runs out, the kernel's gate has closed already, and the address is taken off; when this process hangs or is
/// killed, the gate closes all the same (`KernelGate`), and some seconds later the kernel takes the address off too.
///
/// Every call may be repeated. Everything runs on the event loop; calls into the kernel take about 0.02 ms each.
package actor AddressTakeover {
    package enum Event: Equatable, Sendable {
        /// Somebody else claims an address that we hold. It has been announced again; told at most once a second.
        case conflict(IPAddress, with: HardwareAddress, at: Instant)
        /// Somebody took an address away, and it is there again. `by`: who did, as far as can be told; `recently`: how often
        /// within a minute.
        case restored(IPAddress, by: String?, recently: Int)
        /// An address we hold is not there and cannot be put back now; tried again when the network changes.
        case missing(IPAddress, TakeoverError)
        /// The right ran out without a renewal; the address is off.
        case expired(IPAddress, epoch: UInt64)
        /// The cable or access point of an interface that matters here.
        case carrier(interface: String, isUp: Bool)
        /// Somebody removed our tables (`nft flush ruleset`); they are there again.
        case gateRebuilt
        /// The machine slept for so long. All gates are closed until the next renewal.
        case slept(Duration)
    }

    package enum ProbeAnswer: Equatable, Sendable {
        /// Nobody has it, as far as this network can be heard.
        case silence
        case taken(by: HardwareAddress, after: Duration)
        /// This node has it.
        case held
        /// Could not ask, so nothing is known.
        case failed(TakeoverError)
    }

    package struct Timing: Sendable {
        /// When an address that was just taken is announced, after the first time. Source: the design, §8; the later ones
        /// are for switches that were still learning.
        package var announcements: [Duration] = [50, 100, 200, 500, 1000, 2000].map { .milliseconds($0) }
        /// Then every so often. Switches forget a port after 300 s as a rule, hosts a neighbour after minutes to hours.
        package var announceEvery: Duration = .seconds(60)
        /// The same for hardware addresses that move: only our announcements carry them, answers come from the interface.
        package var announceMovedEvery: Duration = .seconds(10)
        /// RFC 5227 asks three times in 3 s; in a takeover that is six times the whole budget.
        package var probes = 2
        package var probeSpacing: Duration = .milliseconds(40)
        /// The second net: the kernel itself takes an address off this long after the last renewal. In whole seconds; each
        /// prolongation is told to every program that watches addresses, so it is not done often.
        package var lifetime: Duration = .seconds(15)
        package init() {}
    }

    struct Holding {
        let floating: FloatingAddress
        var epoch: UInt64
        var until: Instant
        var link: Int32
        var linkName: String
        /// As in `FloatingAddress.length`.
        var length: UInt8
        var hardware: HardwareAddress
        /// When its lifetime in the kernel is to be prolonged.
        var prolongAt: Instant
        /// Of the announcements under way; older ones end.
        var series: UInt64 = 0
        var isPresent = true
        var restorations: [Instant] = []
        var toldConflictAt: Instant?
    }
    struct Question {
        let askedAt: Instant
        var waiting: [CheckedContinuation<ProbeAnswer, Never>]
    }

    let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    let timing: Timing
    let handler: @Sendable (Event) -> Void
    let journalPath: String

    // Made by `start`.
    var gate: KernelGate?
    var links: LinkControl?
    var monitor: (descriptor: Int32, watch: EventLoop.Registration)?
    private var clockSteps: ClockSteps?
    var journal: TakeoverJournal
    var sockets: [SocketKey: NeighbourSocket] = [:]
    struct SocketKey: Hashable {
        let link: Int32
        let kind: NeighbourSocket.Kind
    }

    var holdings: [IPAddress: Holding] = [:]
    /// Gates that are open for addresses not held yet.
    var opened: Set<IPAddress> = []
    var questions: [IPAddress: Question] = [:]
    var carriers: [Int32: Bool] = [:]
    /// The interface that a virtual one lies on.
    var virtualHomes: [Int32: Int32] = [:]
    var isLookPlanned = false
    var lastSeries: UInt64 = 0
    var ownHardware: Set<HardwareAddress> = []
    private var sleptSoFar = SystemClock.suspendedNanoseconds

    /// - Parameters:
    ///   - journal: a file in a directory that a reboot empties (/run); its directory must be there.
    ///   - handler: on the loop.
    package init(
        on loop: EventLoop, journal: String, timing: Timing = Timing(), _ handler: @escaping @Sendable (Event) -> Void
    ) {
        self.loop = loop
        self.timing = timing
        self.handler = handler
        journalPath = journal
        self.journal = TakeoverJournal(at: journal)
    }

    // MARK: Start and end

    /// Undoes what a run that was killed has left, and sets up an empty gate. In the network of the loop's thread. Before
    /// the node takes part in anything.
    package func start() throws(TakeoverError) {
        guard gate == nil else { return }
        do throws(SystemError) {
            let control = try LinkControl()
            // The addresses first: the old gate guards them as long as they are there.
            try removeLeftovers(control)
            let made = try KernelGate()
            try made.establish()
            try listen()
            (gate, links) = (made, control)
        } catch {
            throw .noGate(error)
        }
        clockSteps = ClockSteps(on: loop) { [weak self] in self?.assumeIsolated { $0.closeIfWeSlept() } }
    }

    /// Gives everything up and leaves the machine as it was found. It can be started again.
    package func stop() {
        guard let gate, let links else { return }
        release(Array(holdings.keys))
        undo(journal.entries, links)
        journal.clear()
        try? removeMarked(links, addressesToo: true)
        do throws(SystemError) {
            try gate.remove()
        } catch {
            Log.warning("cannot remove the packet filter tables “\(KernelGate.table)”: \(error)")
        }
        if let monitor {
            loop.cancel(monitor.watch)
            close(monitor.descriptor)
        }
        for address in questions.keys.sorted() { answer(address, .silence) }
        (monitor, clockSteps, opened, sockets) = (nil, nil, [], [:])
        (self.gate, self.links) = (nil, nil)
    }

    // MARK: The gate

    /// Guards addresses and lets their traffic pass until then, whether they are on this machine yet or not.
    package func open(_ addresses: [IPAddress], until: Instant) throws(TakeoverError) {
        closeIfWeSlept()
        opened.formUnion(addresses.filter { holdings[$0] == nil })
        try setGate(addresses.map { ($0, until) })
    }

    func setGate(_ terms: [KernelGate.Term]) throws(TakeoverError) {
        guard let gate else { throw .noGate(SystemError(code: ENOTCONN)) }
        do throws(SystemError) {
            if try gate.set(terms) {
                Log.warning("somebody removed the packet filter tables “\(KernelGate.table)”; they are there again")
                handler(.gateRebuilt)
            }
        } catch {
            throw .noGate(error)
        }
    }

    // MARK: Holding

    /// Takes addresses: opens the gate, adds them, begins to announce. All or none: where one cannot be taken, those that
    /// came with it are given up. What is held already is renewed; with an older epoch nothing is done.
    package func hold(_ wanted: [FloatingAddress], epoch: UInt64, until: Instant) throws(TakeoverError) {
        guard let links else { throw .noGate(SystemError(code: ENOTCONN)) }
        closeIfWeSlept()
        let current = wanted.filter { (holdings[$0.address]?.epoch ?? 0) <= epoch }
        // The same address in another mode or place is another thing.
        release(current.filter { one in holdings[one.address].map { $0.floating != one } ?? false }.map(\.address))
        let new = current.filter { holdings[$0.address] == nil }
        guard let last = current.last?.address else { return }
        guard SystemClock.now < until else {
            release(new.map(\.address))
            throw .noRight(last)
        }
        // What fails from here on is closed again.
        opened.formUnion(new.map(\.address))
        try setGate(current.map { ($0.address, until) })
        for one in current { holdings[one.address]?.epoch = epoch }
        renewed(current.map(\.address), until: until)
        guard !new.isEmpty else { return }
        do throws(TakeoverError) {
            let (there, addresses) = try snapshot(last)
            for one in new { try take(one, epoch: epoch, until: until, there, addresses, links) }
        } catch {
            release(new.map(\.address))
            throw error
        }
    }

    private func take(
        _ one: FloatingAddress, epoch: UInt64, until: Instant, _ there: [NetworkLink], _ addresses: [NetworkAddress],
        _ control: LinkControl
    ) throws(TakeoverError) {
        let place = try ready(one, there, addresses, control)
        let now = SystemClock.now
        let lifetime = lifetime(until: until, now: now)
        do throws(SystemError) {
            try enter(one, place, control)
            try control.add(
                one.address, length: place.length, on: place.link, named: place.name, lifetime: lifetime,
                isNew: !place.hasLeftover)
        } catch {
            leave(one, place.link, control)
            throw .refused(one.address, "put it on \(place.name)", error)
        }
        opened.remove(one.address)
        holdings[one.address] = Holding(
            floating: one, epoch: epoch, until: until, link: place.link, linkName: place.name,
            length: place.length,
            hardware: place.hardware, prolongAt: now + lifetime / 3)
        loop.schedule(at: until) { [weak self] in self?.assumeIsolated { $0.checkRight(to: one.address) } }
        announce(one.address)
        Log.info("\(one.address) is on \(place.name) now, as \(place.hardware), epoch \(epoch)")
    }

    /// Prolongs the right to addresses that are held or opened, each until its own instant, in one transaction.
    package func renew(_ terms: [IPAddress: Instant]) throws(TakeoverError) {
        closeIfWeSlept()
        let known = terms.filter { holdings[$0.key] != nil || opened.contains($0.key) }.sorted { $0.key < $1.key }
        guard !known.isEmpty else { return }
        try setGate(known.map { ($0.key, $0.value) })
        for (address, until) in known { renewed([address], until: until) }
    }

    private func renewed(_ addresses: [IPAddress], until: Instant) {
        let now = SystemClock.now
        for address in addresses {
            guard var holding = holdings[address] else { continue }
            if until < holding.until {
                loop.schedule(at: until) { [weak self] in self?.assumeIsolated { $0.checkRight(to: address) } }
            }
            holding.until = until
            if holding.isPresent, now >= holding.prolongAt, let links {
                let lifetime = lifetime(until: until, now: now)
                // Where it fails the address is gone, which the watch on addresses tells.
                try? links.add(
                    address, length: holding.length, on: holding.link, named: holding.linkName, lifetime: lifetime,
                    isNew: false)
                holding.prolongAt = now + lifetime / 3
            }
            holdings[address] = holding
        }
    }

    func lifetime(until: Instant, now: Instant) -> Duration { max(timing.lifetime, until - now + .seconds(5)) }

    /// Gives addresses up: closes their gates, then takes them off. What is not held is left alone.
    package func release(_ addresses: [IPAddress]) {
        let known = addresses.filter { holdings[$0] != nil || opened.contains($0) }.sorted()
        guard let links, let gate, !known.isEmpty else { return }
        // Silent first, then gone. When the gate fails, taking the address off is what is left.
        do throws(TakeoverError) { try setGate(known.map { ($0, nil) }) } catch { Log.warning(error.problem) }
        for address in known {
            opened.remove(address)
            guard let holding = holdings.removeValue(forKey: address) else { continue }
            do throws(SystemError) {
                try links.remove(address, length: holding.length, from: holding.link)
            } catch {
                Log.error("\(address) cannot be taken off \(holding.linkName): \(error); its gate stays closed")
                continue
            }
            leave(holding.floating, holding.link, links)
            Log.info("\(address) is off \(holding.linkName)")
        }
        // Where it could not be taken off it stays guarded, so closed.
        let isStillThere = { (address: IPAddress) in
            ((try? Netlink.snapshot())?.addresses ?? []).contains { $0.address == address && $0.isFloating }
        }
        do throws(SystemError) {
            try gate.forget(known.filter { !isStillThere($0) })
        } catch {
            Log.warning("cannot clear the packet filter: \(error)")
        }
    }

    /// A timer is a hint: the right may have been renewed since it was set.
    private func checkRight(to address: IPAddress) {
        guard let holding = holdings[address] else { return }
        guard SystemClock.now >= holding.until else {
            loop.schedule(at: holding.until) { [weak self] in self?.assumeIsolated { $0.checkRight(to: address) } }
            return
        }
        Log.warning("the right to \(address) (epoch \(holding.epoch)) ran out: it is taken off")
        release([address])
        handler(.expired(address, epoch: holding.epoch))
    }

    // MARK: Sleep

    /// The gate's clock stands still while the machine sleeps, ours does not: what the kernel still lets pass after waking
    /// may be somebody else's by now.
    func closeIfWeSlept() {
        let more = SystemClock.suspendedNanoseconds - sleptSoFar
        guard more > 0 else { return }
        sleptSoFar += more
        // A few microseconds are the time between the readings of two clocks.
        if more > 10_000_000 { closeAfterSleep(of: .nanoseconds(more)) }
    }
    func closeAfterSleep(of duration: Duration) {
        let all = (Array(holdings.keys) + Array(opened)).sorted()
        do throws(TakeoverError) {
            if !all.isEmpty { try setGate(all.map { ($0, nil) }) }
        } catch {
            Log.error("after a sleep the gates cannot be closed: \(error.problem); the addresses are taken off")
            release(all)
        }
        Log.warning("the machine slept for \(duration); floating addresses are closed until their right is renewed")
        handler(.slept(duration))
        for address in all { checkRight(to: address) }
    }

    // MARK: Small things

    /// Where an address that is held is.
    package func interface(of address: IPAddress) -> String? { holdings[address]?.linkName }

    func snapshot(_ address: IPAddress) throws(TakeoverError) -> ([NetworkLink], [NetworkAddress]) {
        do throws(SystemError) {
            let (there, addresses) = try Netlink.snapshot()
            ownHardware = Set(
                there.filter { $0.alias != LinkControl.alias }.compactMap { HardwareAddress(bytes: $0.address) })
            return (there, addresses)
        } catch {
            throw .refused(address, "read this machine's addresses", error)
        }
    }
}
