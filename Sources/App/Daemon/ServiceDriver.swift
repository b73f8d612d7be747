import Glibc
import Leases
import Logging
import Machine
import Membership
import Node
import Primitives
import Processes
import Reactor
import Runners
import Services

/// The engine of mirrors as services see it: whoever is the source pushes, and stops before the service moves.
protocol MirrorEngine: Sendable {
    /// This node is the source from now on, with this epoch.
    func feed(_ mirrors: [ServiceName], epoch: Epoch, done: @escaping @Sendable (OrderResult) -> Void)
    /// Push nothing more; first what the others lack, for as long as `flush`.
    func stop(_ mirrors: [ServiceName], flush: Duration, done: @escaping @Sendable (OrderResult) -> Void)
}

/// Where no engine runs: nothing is copied, and no service waits for it.
struct NoMirrors: MirrorEngine {
    func feed(_ mirrors: [ServiceName], epoch: Epoch, done: @escaping @Sendable (OrderResult) -> Void) { done(.done) }
    func stop(_ mirrors: [ServiceName], flush: Duration, done: @escaping @Sendable (OrderResult) -> Void) {
        done(.done)
    }
}

/// Carries out on this machine what leases and services decide, and says what came of it. It decides nothing.
///
/// Addresses and the kernel's gate are on a thread of their own that runs before others, processes on a second one, the
/// leases' disk on a third: none of them waits for another, and the pulse for none.
final class ServiceDriver: Sendable {
    /// The right to act for one service, as the pulse last told it.
    private struct Term {
        var epoch: Epoch
        var until: Instant
        var addresses: [IPAddress]
    }
    private struct State {
        var terms: [ServiceName: Term] = [:]
        /// Processes may be there: a start was ordered, and no stop has succeeded since.
        var mayRun: Set<ServiceName> = []
        /// Stopping has been ordered and the gate is closed: the guard goes on until nothing runs any more.
        var isClosed: Set<ServiceName> = []
        /// Addresses that each service was seen with, for what the takeover tells.
        var owners: [IPAddress: ServiceName] = [:]
        var cutOff: [ServiceName: String] = [:]
        /// What came before the machine was ready.
        var backlog: [MachineEffect] = []
        var isPreparing = false
        var parts: Parts?
        var finish: CheckedContinuation<Void, Never>?
        var hasFinished = false
    }
    /// Made when the first service is there: a cluster without services needs no guard and no packet filter.
    private struct Parts {
        var takeover: AddressTakeover?
        var takeoverTrouble: TakeoverError?
        var runners: ServiceRunners
        var guardian: Guard?
        var guardTrouble: Guard.Failure?
        var tree: ProcessTree
    }
    private static let backlogLimit = 4096

    private let home: Home
    private let node: String
    private let watchdog: String?
    private let loop = EventLoop(name: "addresses")
    private let spawner = Spawner(on: EventLoop(name: "services"))
    private let disk: LeaseDisk
    private let mirrors: any MirrorEngine
    private let reach: ReachProber
    private let post: @Sendable (NodeEvent) -> Void
    private let state = Locked(State())

    init(
        home: Home, node: String, watchdog: String?, reach hosts: [IPAddress], mirrors: any MirrorEngine = NoMirrors(),
        post: @escaping @Sendable (NodeEvent) -> Void
    ) {
        self.home = home
        self.node = node
        self.watchdog = watchdog
        self.mirrors = mirrors
        self.post = post
        disk = LeaseDisk(home: home, post: post)
        reach = ReachProber(on: loop, hosts: hosts) { _ in post(.reachAnswered) }
        loop.perform { ProcessLimits.favorThisThread() }
    }

    // MARK: From the pulse

    /// Never waits.
    func carryOut(_ effect: ServiceCore.Effect) {
        switch effect {
        case .machine(let order): carryOut(order)
        case .persist(let memory, let ticket): disk.persist(memory, ticket)
        case .probeReach(let ticket):
            reach.probe { [post] count in
                post(.lease(.reach(ticket: ticket, answered: count)))
            }
        case .finishedStopping:
            state.withLock { state -> CheckedContinuation<Void, Never>? in
                state.hasFinished = true
                return state.finish.take()
            }?.resume()
        case .send, .persistOrders, .fence, .service, .lease, .other: break
        }
    }

    /// Membership's question to the reach list.
    func probeReach() { reach.probe() }
    /// How each host of the reach list stands now, for the doctor.
    func examineReach() async -> [(host: IPAddress, standing: ReachProber.Standing)] { await reach.examine() }
    func use(reach hosts: [IPAddress]) { reach.use(hosts) }

    private func carryOut(_ order: MachineEffect) {
        if case .renewGate(let epoch, let until) = order.action { return renew(order.service, epoch, until) }
        let parts = state.withLock { state -> Parts? in
            if let parts = state.parts { return parts }
            guard state.backlog.count < Self.backlogLimit else { return nil }
            state.backlog.append(order)
            if !state.isPreparing {
                state.isPreparing = true
                _ = Task { await self.prepare() }
            }
            return nil
        }
        if let parts { carryOut(order, parts) }
    }

    /// On the way of the heartbeats: two stores and a message to the thread of the addresses.
    private func renew(_ service: ServiceName, _ epoch: Epoch, _ until: Instant) {
        let known = state.withLock { state -> (Parts, [IPAddress])? in
            guard let parts = state.parts, let term = state.terms[service], term.epoch == epoch,
                !state.isClosed.contains(service)
            else { return nil }
            state.terms[service]?.until = until
            return (parts, term.addresses)
        }
        guard let (parts, addresses) = known else { return }
        parts.runners.renew(service, until: until)
        guard let takeover = parts.takeover, !addresses.isEmpty else { return }
        loop.perform {
            takeover.assumeIsolated { takeover in
                do throws(TakeoverError) {
                    try takeover.renew(Dictionary(addresses.map { ($0, until) }) { first, _ in first })
                } catch {
                    Log.error("\(service): the gate could not be kept open: \(error.problem)")
                }
            }
        }
    }

    // MARK: Start and end

    private func prepare() async {
        let own = home.identity.id.description
        let journal = "\(Self.runDirectory)/bramble-addresses-\(own).json"
        let made = AddressTakeover(on: loop, journal: journal) { [weak self] event in self?.happened(event) }
        var trouble: TakeoverError?
        do throws(TakeoverError) {
            try await made.start()
        } catch {
            trouble = error
            Log.warning("services with addresses cannot run here: \(error.problem). \(error.remedy)")
        }
        // One for each node of a machine: what another daemon started is not ours to end.
        let tree = ProcessTree(scope: "bramble-\(own)")
        let left = await spawner.loop.run { tree.sweep() }
        if left > 0 { Log.info("\(left) processes of services that a former run had left were ended") }
        if case .marks(let reason) = tree.kind { Log.warning("services run without control groups: \(reason)") }
        var guardian: Guard?
        var guardTrouble: Guard.Failure?
        do throws(Guard.Failure) {
            guardian = try await Guard.start(
                with: spawner, in: tree, watchdog: watchdog.map { Guard.Watchdog(path: $0) })
        } catch {
            guardTrouble = error
            Log.error("no service can run here: \(error.problem). \(error.remedy)")
        }
        let runners = ServiceRunners(
            ServiceRunners.Configuration(node: node), spawner: spawner, tree: tree, guardian: guardian
        ) { [post] service, event in
            switch event {
            case .printed(let line): Log.info("\(service): \(line)")
            case .ended(let how): post(.service(.ended(service, how: how)))
            }
        }
        let parts = Parts(
            takeover: trouble == nil ? made : nil, takeoverTrouble: trouble, runners: runners, guardian: guardian,
            guardTrouble: guardTrouble, tree: tree)
        // In the order they came, those that come meanwhile too.
        while true {
            let next = state.withLock { state -> [MachineEffect] in
                defer { state.backlog = [] }
                if state.backlog.isEmpty { state.parts = parts }
                return state.backlog
            }
            if next.isEmpty { return }
            for order in next { carryOut(order, parts) }
        }
    }
    private static let runDirectory = "/run"

    /// Stops every service in order and gives the leases back: true when nothing runs here any more. Before the pulse stops.
    func end(within limit: Duration) async -> Bool {
        post(.service(.shutDown))
        let patience = Task {
            guard (try? await disk.sleep(for: limit)) != nil else { return }
            state.withLock { $0.finish.take() }?.resume()
        }
        await withCheckedContinuation { continuation in
            let isDone = state.withLock { state in
                if state.hasFinished { return true }
                state.finish = continuation
                return false
            }
            if isDone { continuation.resume() }
        }
        patience.cancel()
        return state.withLock { $0.hasFinished }
    }

    /// The node was removed: nobody renews anything any more, so gates close and the guard ends what runs, each at its time.
    func abandon() { state.withLock { $0.hasFinished = true } }

    /// After the pulse has stopped. What could not be stopped in order is left to the guard, which ends it with its lease.
    func close(isOrderly: Bool) async {
        reach.close()
        let parts = state.withLock { state in
            defer { state.parts = nil }
            return state.parts
        }
        if let parts {
            await parts.takeover?.stop()
            if isOrderly {
                await parts.guardian?.endOrderly()
                parts.tree.remove()
            }
        }
        await disk.close()
        loop.stop()
        spawner.loop.stop()
    }

    // MARK: For doctor

    enum WatchdogState: Sendable { case unused(isThere: Bool), notYet, fed, failed }
    /// Whether the guard has the device open. Blocking: for the worker's thread, with the guard's process number.
    func watchdogState(guard process: Int32?) -> WatchdogState {
        guard let watchdog else { return .unused(isThere: access("/dev/watchdog", F_OK) == 0) }
        guard let process else { return .notYet }
        return WatchdogPath.isOpen(watchdog, in: process) ? .fed : .failed
    }
    var guardProcess: Int32? { get async { await state.withLock { $0.parts?.guardian }?.process } }

    // MARK: Orders

    private func carryOut(_ effect: MachineEffect, _ parts: Parts) {
        let (order, name) = (effect.order, effect.service)
        let post = post
        let done: @Sendable (OrderResult) -> Void = { post(.service(.finished(order, $0))) }
        switch effect.action {
        case .renewGate(let epoch, let until): renew(name, epoch, until)
        case .openGate(let addresses, let epoch, let until):
            let all = addresses.map(\.address)
            state.withLock { state in
                state.terms[name] = Term(epoch: epoch, until: until, addresses: all)
                state.isClosed.remove(name)
                for address in all { state.owners[address] = name }
            }
            if parts.guardian != nil, case .failed(let failure) = parts.runners.arm(name, until: until) {
                return done(.failed(failure))
            }
            onAddresses(parts, isNeeded: !all.isEmpty, done) { [self] takeover throws(TakeoverError) in
                // Renewals may have come since.
                let newest = state.withLock { $0.terms[name].flatMap { $0.epoch == epoch ? $0.until : nil } }
                try takeover.open(all, until: newest ?? until)
            }
        case .closeGate(let addresses):
            let mayRun = state.withLock { state in
                state.isClosed.insert(name)
                return state.mayRun.contains(name)
            }
            // While processes may be there the guard keeps the deadline: it ends them where the stop does not.
            if !mayRun { parts.runners.disarm(name) }
            release(addresses.map(\.address), parts, done)
            noteTrouble(name, addresses, parts)
        case .probe(let plan): probe(plan, parts, done)
        case .holdAddresses(let plan, let epoch):
            let wanted = Self.wanted(plan)
            onAddresses(parts, isNeeded: true, done) { [self] takeover throws(TakeoverError) in
                let term = state.withLock { $0.terms[name] }
                guard let term, term.epoch == epoch else {
                    throw .noRight(wanted.first?.address ?? .v4(0))
                }
                try takeover.hold(wanted, epoch: epoch.number, until: term.until)
            }
        case .releaseAddresses(let plan): release(plan.addresses.map(\.address), parts, done)
        case .start:
            if let trouble = parts.guardTrouble {
                return done(.failed(.init("\(trouble.problem); \(trouble.remedy)", reach: .here)))
            }
            state.withLock { _ = $0.mayRun.insert(name) }
            _ = parts.runners.carryOut(effect) { done($1) }
        case .stop:
            _ = parts.runners.carryOut(effect) { [self] _, result in
                if result == .done {
                    let isClosed = state.withLock { state in
                        state.mayRun.remove(name)
                        return state.isClosed.contains(name)
                    }
                    if isClosed { parts.runners.disarm(name) }
                }
                done(result)
            }
        case .check: _ = parts.runners.carryOut(effect) { done($1) }
        case .feedMirrors(let names, let epoch): mirrors.feed(names, epoch: epoch, done: done)
        case .stopMirrors(let names, let flush): mirrors.stop(names, flush: flush, done: done)
        }
    }

    private func release(_ addresses: [IPAddress], _ parts: Parts, _ done: @escaping @Sendable (OrderResult) -> Void) {
        // Where nothing can be held, nothing is held.
        guard let takeover = parts.takeover, !addresses.isEmpty else { return done(.done) }
        loop.perform {
            takeover.assumeIsolated { $0.release(addresses) }
            done(.done)
        }
    }

    /// In the order given.
    private func onAddresses(
        _ parts: Parts, isNeeded: Bool, _ done: @escaping @Sendable (OrderResult) -> Void,
        _ work: @escaping @Sendable (isolated AddressTakeover) throws(TakeoverError) -> Void
    ) {
        guard isNeeded else { return done(.done) }
        guard let takeover = parts.takeover else { return done(Self.failed(parts.takeoverTrouble)) }
        loop.perform {
            done(
                takeover.assumeIsolated { takeover in
                    do throws(TakeoverError) {
                        try work(takeover)
                        return .done
                    } catch {
                        return Self.failed(error)
                    }
                })
        }
    }

    private func probe(_ plan: AddressPlan, _ parts: Parts, _ done: @escaping @Sendable (OrderResult) -> Void) {
        guard !plan.addresses.isEmpty else { return done(.done) }
        guard let takeover = parts.takeover else { return done(Self.failed(parts.takeoverTrouble)) }
        let wanted = Self.wanted(plan)
        _ = Task(executorPreference: loop) {
            await withTaskGroup(of: OrderResult.self) { group in
                for one in wanted {
                    group.addTask(executorPreference: self.loop) {
                        switch await takeover.probe(one) {
                        case .silence, .held: .done
                        case .taken(let hardware, _):
                            .failed(.init("\(hardware) answers for \(one.address) already"))
                        case .failed(let error): Self.failed(error)
                        }
                    }
                }
                var result = OrderResult.done
                for await one in group where one != .done { result = one }
                done(result)
            }
        }
    }

    private static func wanted(_ plan: AddressPlan) -> [Machine.FloatingAddress] {
        plan.addresses.map { one in
            let number = virtualNumber(one.address)
            let mode: Machine.FloatingAddress.Mode
            var interface = plan.interface
            switch plan.mac {
            case .own: mode = .own
            case .virtual: mode = .virtual(number)
            case .takeover:
                // The interface that is named is the spare one; the home is where the address's network is.
                mode = .takeover(
                    spare: plan.interface ?? "", Machine.FloatingAddress.virtualHardware(number))
                interface = nil
            }
            return Machine.FloatingAddress(
                one.address, interface: interface, prefixLength: one.prefixLength, mode: mode)
        }
    }
    /// 1 to 255, the same on every node: the last number of the address where that is one.
    private static func virtualNumber(_ address: IPAddress) -> UInt8 { max(1, address.bytes.last ?? 1) }

    private static func failed(_ error: TakeoverError?) -> OrderResult {
        guard let error else { return .failed(.init("floating addresses are not ready yet")) }
        let reach: OrderResult.Failure.Reach =
            switch error {
            case .noInterface, .configuredHere, .noGate: .here
            case .unsuitable: .everywhere
            case .noRight, .refused: .passing
            }
        return .failed(.init("\(error.problem); \(error.remedy)", reach: reach))
    }

    // MARK: What happens by itself

    /// A service whose address this machine cannot hold is not tried here.
    private func noteTrouble(_ service: ServiceName, _ addresses: [Services.FloatingAddress], _ parts: Parts) {
        guard !addresses.isEmpty, let trouble = parts.takeoverTrouble else { return }
        post(.service(.servicePath(service, isUp: false, detail: "\(trouble.problem); \(trouble.remedy)")))
    }

    private func happened(_ event: AddressTakeover.Event) {
        switch event {
        case .conflict(let address, let hardware, _):
            guard let (service, floating) = owner(of: address) else { return }
            post(.service(.addressContested(service, floating, by: hardware.description)))
        case .restored(let address, let culprit, _):
            guard let (service, floating) = owner(of: address) else { return }
            post(.service(.addressRestored(service, floating, by: culprit)))
            pathIsBack(of: [service], "\(address) is there again")
        case .missing(let address, let error):
            guard let (service, _) = owner(of: address) else { return }
            state.withLock { $0.cutOff[service] = "" }
            post(.service(.servicePath(service, isUp: false, detail: error.problem)))
        case .carrier(let interface, let isUp):
            if isUp {
                let back = state.withLock { $0.cutOff.filter { $0.value == interface }.keys.sorted() }
                return pathIsBack(of: back, "\(interface) has a carrier")
            }
            let terms = state.withLock { state in state.terms.filter { !state.isClosed.contains($0.key) } }
            guard let takeover = state.withLock({ $0.parts?.takeover }) else { return }
            for (service, term) in terms.sorted(by: { $0.key < $1.key }) {
                let isHere = takeover.assumeIsolated { takeover in
                    term.addresses.contains { takeover.interface(of: $0) == interface }
                }
                guard isHere else { continue }
                state.withLock { $0.cutOff[service] = interface }
                post(.service(.servicePath(service, isUp: false, detail: "\(interface) has no carrier")))
            }
        case .expired, .gateRebuilt, .slept: break
        }
    }

    private func pathIsBack(of services: [ServiceName], _ detail: String) {
        for service in services where state.withLock({ $0.cutOff.removeValue(forKey: service) }) != nil {
            post(.service(.servicePath(service, isUp: true, detail: detail)))
        }
    }

    private func owner(of address: IPAddress) -> (ServiceName, Services.FloatingAddress)? {
        guard let service = state.withLock({ $0.owners[address] }) else { return nil }
        return (service, Services.FloatingAddress(address, prefixLength: address.bytes.count == 4 ? 32 : 128))
    }
}
