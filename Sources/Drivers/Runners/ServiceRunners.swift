import Glibc
import Logging
package import Primitives
package import Processes
import Reactor
package import Services

/// Carries out the orders of the services core that concern processes: start, stop, check, and the guard's deadline.
///
/// Orders for one service are carried out one after the other; a stop does not wait behind a start or a check, it ends them.
package final class ServiceRunners: Sendable {
    package struct Configuration: Sendable {
        /// This node's name in the cluster.
        package var node: String
        /// Where agents are, and the stand-ins for Pacemaker's tools.
        package var agents: AgentRunner.Place
        package init(node: String, agents: AgentRunner.Place = AgentRunner.Place()) {
            self.node = node
            self.agents = agents
        }
    }
    /// Services of one node, as the guard has places.
    package static let most = 127

    private struct State {
        var services: [ServiceName: ServiceProcesses] = [:]
        /// The newest start or stop of each, which the next one waits for.
        var lanes: [ServiceName: (order: OrderNumber, task: Task<Void, Never>)] = [:]
    }
    private let configuration: Configuration
    private let spawner: Spawner
    private let tree: ProcessTree
    private let guardian: Guard?
    private let report: @Sendable (ServiceName, RunnerEvent) -> Void
    private let state = Locked(State())

    /// - Parameter guardian: nil where no leases are (tests, a lone node that asks for none): then nobody ends a service
    ///   for a daemon that hangs.
    package init(
        _ configuration: Configuration, spawner: Spawner, tree: ProcessTree, guardian: Guard?,
        report: @escaping @Sendable (ServiceName, RunnerEvent) -> Void
    ) {
        self.configuration = configuration
        self.spawner = spawner
        self.tree = tree
        self.guardian = guardian
        self.report = report
    }

    // MARK: Orders

    /// Carries an order out, and says what came of it. False for an order that is not about processes. Never waits; what is
    /// called first is carried out first, except that a stop ends the start before it.
    package func carryOut(
        _ effect: MachineEffect, done: @escaping @Sendable (OrderNumber, OrderResult) -> Void
    ) -> Bool {
        let (order, name) = (effect.order, effect.service)
        guard let processes = processes(of: name) else {
            switch effect.action {
            case .start, .stop, .check: done(order, Self.full)
            default: return false
            }
            return true
        }
        switch effect.action {
        case .start(let plan, let epoch, let limit):
            var occasion = Occasion(epoch: epoch)
            occasion.ticket = processes.stops
            let runner = runner(plan, processes)
            queue(order, name) { [self, occasion] in
                done(order, tell("start", name, await runner.start(occasion, within: limit)))
            }
        case .stop(let plan, let limit):
            processes.announceStop()
            let runner = runner(plan, processes)
            queue(order, name) { [self] in done(order, tell("stop", name, await runner.stop(within: limit))) }
        case .check(let check, let plan, let addresses, let limit):
            // Beside the others: a stop must not wait until somebody answers.
            _ = Task(executorPreference: spawner.loop) { [self] in
                done(order, await self.check(name, check, plan, addresses: addresses, within: limit))
            }
        default: return false
        }
        return true
    }

    private func queue(_ order: OrderNumber, _ service: ServiceName, _ work: @escaping @Sendable () async -> Void) {
        let loop = spawner.loop
        state.withLock { state in
            let before = state.lanes[service]?.task
            let task = Task(executorPreference: loop) { [weak self] in
                await before?.value
                await work()
                self?.state.withLock { state in
                    if state.lanes[service]?.order == order { state.lanes[service] = nil }
                }
            }
            state.lanes[service] = (order, task)
        }
    }

    /// Before `start`: arms the guard. Fails when the guard has no place left.
    package func arm(_ service: ServiceName, until: Instant) -> OrderResult {
        guard let processes = processes(of: service) else { return Self.full }
        processes.slot?.allow(until: until)
        return .done
    }

    /// At each renewal. From any thread, the pulse too: a short lock and a store.
    package func renew(_ service: ServiceName, until: Instant) {
        state.withLock { $0.services[service]?.slot }?.allow(until: until)
    }

    /// After the stop, when the lease is given up in order.
    package func disarm(_ service: ServiceName) { state.withLock { $0.services[service]?.slot }?.allow(until: nil) }

    package func start(
        _ service: ServiceName, _ plan: RunPlan, epoch: Epoch, within limit: Duration
    ) async -> OrderResult {
        guard let processes = processes(of: service) else { return Self.full }
        return tell("start", service, await runner(plan, processes).start(Occasion(epoch: epoch), within: limit))
    }

    package func stop(_ service: ServiceName, _ plan: RunPlan, within limit: Duration) async -> OrderResult {
        guard let processes = processes(of: service) else { return Self.full }
        return tell("stop", service, await runner(plan, processes).stop(within: limit))
    }

    package func validate(_ service: ServiceName, _ plan: RunPlan, within limit: Duration) async -> RunResult {
        guard let processes = processes(of: service) else { return RunResult(.failed(.passing), "too many services") }
        return await runner(plan, processes).validate(within: limit)
    }

    /// One check. Without a host it is asked at the first floating address, or at 127.0.0.1 where the service has none.
    package func check(
        _ service: ServiceName, _ check: Check, _ plan: RunPlan?, addresses: [FloatingAddress], within limit: Duration
    ) async -> OrderResult {
        switch check {
        case .tcp(let host, let port):
            guard let address = Self.address(host, addresses) else { return Self.noAddress(host) }
            return Self.result(
                await CheckProbe.tcp(Endpoint(address, port: port), within: limit, on: spawner.loop))
        case .http(let host, let port, let path):
            guard let address = Self.address(host, addresses) else { return Self.noAddress(host) }
            let endpoint = Endpoint(address, port: port)
            return Self.result(
                await CheckProbe.http(
                    endpoint, host: host ?? endpoint.description, path: path, within: limit, on: spawner.loop))
        case .exec(let words):
            guard let processes = processes(of: service) else { return Self.full }
            return await Self.command(words, processes, limit)
        case .monitor:
            guard let processes = processes(of: service) else { return Self.full }
            guard let plan else { return .done }
            return await runner(plan, processes).monitor(.regular(depth: 0), within: limit).orderResult
        }
    }

    /// The service is no longer this node's business: its place at the guard is free again. Only after a stop that succeeded.
    package func forget(_ service: ServiceName) {
        state.withLock { state in
            guard state.services[service]?.group == nil else { return }
            state.services[service] = nil
        }
    }

    // MARK: Parts

    private func processes(of service: ServiceName) -> ServiceProcesses? {
        let report = report
        return state.withLock { state in
            if let known = state.services[service] { return known }
            guard state.services.count < Self.most else { return nil }
            let slot = guardian?.slot()
            if guardian != nil, slot == nil { return nil }
            let made = ServiceProcesses(
                service, node: configuration.node, slot: slot, tree: tree, spawner: spawner,
                report: { report(service, $0) })
            state.services[service] = made
            return made
        }
    }

    package func runner(_ plan: RunPlan, _ processes: ServiceProcesses) -> any Runner {
        switch plan.run {
        case .systemd(let unit): SystemdRunner(unit: unit, processes)
        case .ocf(let provider, let agent):
            AgentRunner(
                provider: provider, type: agent, parameters: plan.parameters, place: configuration.agents, processes)
        case .script(let path): ScriptRunner(path: path, variables: plan.parameters, processes)
        case .exec(let words): CommandRunner(words, variables: plan.parameters, processes)
        }
    }

    private func tell(_ action: String, _ service: ServiceName, _ result: RunResult) -> OrderResult {
        let time = "in \(Int(result.took.milliseconds)) ms"
        if result.hasFailed {
            Log.warning("\(service): \(action) failed \(time): \(result.reason)")
        } else {
            Log.debug("\(service): \(action) done \(time)\(result.reason.isEmpty ? "" : ": \(result.reason)")")
        }
        return result.orderResult
    }

    private static func command(
        _ words: [String], _ processes: ServiceProcesses, _ limit: Duration
    ) async -> OrderResult {
        guard let path = words.first, path.hasPrefix("/") else {
            return .failed(.init("`check: exec:[…]` needs the absolute path of a program", reach: .everywhere))
        }
        let command = Command(path, Array(words.dropFirst()), environment: processes.environment())
        let end = await processes.act(
            command, since: processes.stops, deadline: limit, grace: .milliseconds(500), tells: false)
        if end.code == 0 { return .done }
        let name = path.split(separator: "/").last.map(String.init) ?? path
        return .failed(.init("\(name): \(end.cause)\(end.lastWords.map { ": \($0)" } ?? "")"))
    }

    private static func address(_ host: String?, _ addresses: [FloatingAddress]) -> IPAddress? {
        if let host { return IPAddress(host == "localhost" ? "127.0.0.1" : host) }
        return addresses.first?.address ?? IPAddress("127.0.0.1")
    }
    private static func noAddress(_ host: String?) -> OrderResult {
        .failed(.init("“\(host ?? "")” is no IP address; a check must not depend on name lookups", reach: .everywhere))
    }
    private static func result(_ cause: String?) -> OrderResult { cause.map { .failed(.init($0)) } ?? .done }
    private static var full: OrderResult {
        .failed(.init("this node has \(most) services, which is all it can guard", reach: .here))
    }
}
