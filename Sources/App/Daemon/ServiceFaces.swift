import BrambleAPI
import Leases
import Node
import Primitives
import Reactor
import Runners
import Services

/// What people are shown of services, and their orders.
struct ServicePresentation: Sendable {
    let house: HouseSnapshot
    let storyteller: Storyteller
    /// The gap that was measured at each service's last ordered move, and when.
    var gaps: [ServiceName: (milliseconds: Double, at: Instant)] = [:]

    var services: [ServiceInfo] { house.reports.map(info) }
    func info(_ name: String) -> ServiceInfo? { services.first { $0.name == name } }

    private func info(_ report: ServiceReport) -> ServiceInfo {
        let service = house.desired.service(report.service)
        let first = report.because.first?.text ?? ""
        let gap = gap(report.service)
        return ServiceInfo(
            name: report.service.description, state: ServiceInfo.State(rawValue: report.state.rawValue) ?? .blocked,
            node: report.node.map(storyteller.name), epoch: report.epoch.number,
            addresses: report.addresses.map(\.description),
            guarantee: guarantee(house.guarantee), since: Timestamp.of(report.since),
            run: service?.run.map(Self.text), isWanted: !house.standing.isStopped(report.service),
            reason: report.state == .running ? "" : first, lastGapMs: gap?.milliseconds,
            mirrors: service?.mirrors.map(\.description) ?? [], lastGapAt: gap.map { Timestamp.of($0.at) },
            lastGapCause: gap.map { $0.isFailure ? .failure : .move })
    }

    /// Of the last time that it changed its node. What was measured by asking is better than what nodes said.
    private func gap(_ name: ServiceName) -> (milliseconds: Double, at: Instant, isFailure: Bool)? {
        let seen = house.gaps[name]
        if let measured = gaps[name], measured.at >= seen?.at ?? measured.at {
            return (measured.milliseconds, measured.at, false)
        }
        return seen.map { ($0.length.milliseconds.rounded(), $0.at, !$0.wasOrderly) }
    }

    /// As it is now, not as it was when the lease was got: each renewal goes by who votes today.
    private func guarantee(_ guarantee: Guarantee) -> ServiceInfo.Guarantee {
        ServiceInfo.Guarantee(rawValue: guarantee.rawValue) ?? .bestEffort
    }

    /// As the file for `apply` has it.
    static func text(_ run: Run) -> String {
        switch run {
        case .systemd(let unit): "systemd:\(unit)"
        case .ocf(let provider, let agent): "ocf:\(provider):\(agent)"
        case .script(let path): "script:\(path)"
        case .exec(let words): "exec:[\(words.joined(separator: ", "))]"
        }
    }

    // MARK: Why

    func explain(_ name: ServiceName, history: [Event], mirrors: [MirrorInfo] = []) -> Explanation? {
        guard let report = house.reports.first(where: { $0.service == name }) else { return nil }
        let since = Timestamp.of(report.since)
        let holder = report.node.map(storyteller.name)
        var answer: String
        switch (report.state, holder) {
        case (.running, .some(let node)):
            answer =
                "\(name) runs on \(node) with epoch \(report.epoch): \(promise(house.guarantee))"
        case (let state, .some(let node)): answer = "\(name) is \(state.rawValue) on \(node)"
        case (let state, nil): answer = "\(name) is \(state.rawValue)"
        }
        if report.state != .running, let first = report.because.first { answer += ": \(first.text)" }
        let figures: [String: JSONValue] = [
            "epoch": .integer(Int64(clamping: report.epoch.number)),
            "termMs": .number(house.term.milliseconds.rounded()),
            "takeoverMs": .number(house.takeover.milliseconds.rounded()),
            "voters": .integer(Int64(house.voters.nodes.count)),
        ]
        var because = report.because.enumerated().map { place, reason in
            Explanation.Reason(
                at: Timestamp.of(reason.at), text: storyteller.placed(reason.text), figures: place == 0 ? figures : [:])
        }
        if because.isEmpty { because = [.init(at: since, text: "it is so since then", figures: figures)] }
        let own = house.desired.service(name)?.mirrors.map(\.description) ?? []
        for mirror in mirrors where own.contains(mirror.name) && mirror.state == .failed {
            because.append(
                .init(
                    at: Timestamp.of(house.at), text: "its mirror \(mirror.name) is not copied: \(mirror.reason)",
                    figures: ["behindSeconds": .number(mirror.behindSeconds.rounded())]))
        }
        if let ranked = house.ranking[name], !ranked.isEmpty {
            because.append(
                .init(
                    at: Timestamp.of(house.at),
                    text: "it would be run by, best first: \(ranked.map(storyteller.name).joined(separator: ", "))",
                    figures: [:]))
        }
        because += history.suffix(10).reversed().map { event in
            Explanation.Reason(at: event.at, text: event.text.isEmpty ? event.type : event.text, figures: event.detail)
        }
        return Explanation(subject: name.description, answer: answer, because: because)
    }

    private func promise(_ guarantee: Guarantee) -> String {
        switch guarantee {
        case .majority: "a majority of \(house.voters.nodes.count) voters agreed, so nobody else can run it"
        case .witness:
            "the witness\(house.voters.witness.map { " \(storyteller.name($0))" } ?? "") breaks the tie of two, so nobody "
                + "else can run it"
        case .fence: "whoever takes it over has the other node switched off first"
        case .singleFault: "two nodes and a reach list: nobody else runs it under any single fault"
        case .bestEffort where house.voters.nodes.count < 2: "it is the only node"
        case .bestEffort: "two nodes without a reach list: if only the network between them fails, both may run it"
        }
    }
}

extension Member {
    func presentation() async throws(APIError) -> ServicePresentation {
        guard let house = await pulse.house else {
            throw APIError(problem: "this node runs no services", remedy: "bramble doctor", kind: .unavailable)
        }
        let snapshot = await pulse.snapshot
        return ServicePresentation(
            house: house, storyteller: Storyteller(names: snapshot.names, selfID: snapshot.id),
            gaps: lastGaps.withLock { $0 })
    }

    private func known(_ name: String) async throws(APIError) -> (ServiceName, ServicePresentation) {
        let shown = try await presentation()
        guard let service = ServiceName(name), shown.house.desired.service(service) != nil else {
            let all = shown.house.desired.services.map(\.name.description).joined(separator: ", ")
            throw APIError(
                problem: "no service is called “\(name)”",
                remedy: all.isEmpty ? "make one: bramble apply -f FILE" : "the services are: \(all)", kind: .notFound)
        }
        return (service, shown)
    }

    /// Gives the order, and waits until it is done or it is clear why not.
    func order(_ action: ServiceAction, _ name: String, to target: String?) async throws(APIError) -> ServiceChange {
        let (service, shown) = try await known(name)
        let before = shown.info(name)
        switch action {
        case .start:
            try await standing { $0.set(service, isStopped: false, revision: $1) }
            pulse.post(.service(.order(.clear(service))))
            return try await settled(service, "\(name) runs") { $0.state == .running }
        case .stop:
            try await standing { $0.set(service, isStopped: true, revision: $1) }
            return try await settled(service, "\(name) is stopped") { $0.state == .stopped && $0.node == nil }
        case .move:
            let goal = try await destination(of: service, target, shown)
            let goalName = shown.storyteller.name(goal)
            guard before?.node != goalName else {
                return ServiceChange(name: name, done: "\(name) is on \(goalName) already", node: goalName)
            }
            return try await measured(service, shown, "\(name) runs on \(goalName) now") { member throws(APIError) in
                try await member.standing { $0.pin(service, to: goal, revision: $1) }
            } isDone: {
                $0.state == .running && $0.node == goalName
            }
        case .takeOver:
            try await standing { $0.set(service, isStopped: false, revision: $1) }
            try await vouch(for: service, shown)
            let own = shown.storyteller.name(home.identity.id)
            return try await settled(service, "\(name) runs on \(own), as you vouched") {
                $0.state == .running && $0.node == own
            }
        case .drill:
            guard let before, before.state == .running, let holder = before.node else {
                throw APIError(
                    problem: "\(name) does not run, so its failure cannot be rehearsed",
                    remedy: "see why: bramble why \(name)", kind: .refused)
            }
            _ = try await destination(of: service, nil, shown)
            return try await measured(
                service, shown, "\(holder) played dead for \(name), and another node runs it now"
            ) { member in
                await member.pulse.order { core, now in ((), core.drill(service, now: now)) }
            } isDone: {
                $0.state == .running && $0.node != nil && $0.node != holder
            }
        }
    }

    /// An operator's word in place of what this node cannot find out: that the other of two runs nothing.
    private func vouch(for service: ServiceName, _ shown: ServicePresentation) async throws(APIError) {
        let snapshot = await pulse.snapshot
        let others = snapshot.members.filter {
            $0.id != snapshot.id && $0.rank != .removed && $0.record.profile.role == .node
        }
        if let alive = others.first(where: { $0.rank == .alive || $0.rank == .suspect }) {
            throw APIError(
                problem: "\(shown.storyteller.name(alive.id)) is alive, so there is nothing to take over",
                remedy: "move it: bramble service move \(service)", kind: .refused)
        }
        guard shown.house.voters.isPair else {
            throw APIError(
                problem:
                    "a majority of \(shown.house.voters.nodes.count) voters decides here, and no operator's word replaces it",
                remedy: "start the others, or remove those that will not come back: bramble node remove NAME",
                kind: .refused)
        }
        pulse.post(.service(.order(.clear(service))))
        pulse.post(.lease(.takeOver(.service(service))))
    }

    /// Does something to a service while a client asks for it all the time.
    private func measured(
        _ service: ServiceName, _ shown: ServicePresentation, _ done: String,
        _ act: (Member) async throws(APIError) -> Void, isDone: @Sendable (ServiceInfo) -> Bool
    ) async throws(APIError) -> ServiceChange {
        let meter = GapMeter(shown.house.desired.service(service), on: meterLoop)
        meter?.start()
        // A first answer to count from.
        if meter != nil { _ = await pause(.milliseconds(100)) }
        try await act(self)
        var change = try await settled(service, done, isDone)
        change.gapMs = await meter?.finish(after: .milliseconds(200))
        if let gap = change.gapMs { lastGaps.withLock { $0[service] = (gap, SystemClock.now) } }
        return change
    }

    private func destination(
        of service: ServiceName, _ target: String?, _ shown: ServicePresentation
    ) async throws(APIError) -> NodeID {
        let snapshot = await pulse.snapshot
        if let target {
            guard let id = snapshot.names.id(of: target) else {
                throw APIError(problem: "no node is called “\(target)”", remedy: "bramble nodes", kind: .notFound)
            }
            guard snapshot.members.first(where: { $0.id == id })?.record.profile.role != .witness else {
                throw APIError(
                    problem: "\(target) is a witness and runs no services", remedy: "bramble nodes", kind: .refused)
            }
            return id
        }
        let holder = shown.house.reports.first { $0.service == service }?.node
        guard let best = (shown.house.ranking[service] ?? []).first(where: { $0 != holder }) else {
            throw APIError(
                problem: "no other node can take \(service)", remedy: "see why: bramble why \(service)", kind: .refused)
        }
        return best
    }

    func order(_ duty: NodeDuty, node name: String) async throws(APIError) -> NodeChange {
        let snapshot = await pulse.snapshot
        guard let id = snapshot.names.id(of: name) else {
            let all = snapshot.names.names.values.sorted().map(\.description).joined(separator: ", ")
            throw APIError(problem: "no node is called “\(name)”", remedy: "the nodes are: \(all)", kind: .notFound)
        }
        let shown = snapshot.names.name(of: id)?.description ?? name
        guard snapshot.members.first(where: { $0.id == id })?.record.profile.role != .witness else {
            throw APIError(
                problem: "\(shown) is a witness: it runs no services, so there is nothing to \(duty.rawValue)",
                remedy: "to do without it: bramble node remove \(shown)", kind: .refused)
        }
        let standby: StandingOrders.Standby =
            switch duty {
            case .hold: .hold
            case .resume: .no
            case .drain: .drain
            }
        try await standing { $0.set(id, to: standby, revision: $1) }
        let done =
            switch duty {
            case .hold: "\(shown) is on hold: it runs no services until: bramble node resume \(shown)"
            case .resume: "\(shown) may run services again; none goes there by itself while it runs elsewhere"
            case .drain: "\(shown) hands its services over and takes none until: bramble node resume \(shown)"
            }
        return NodeChange(name: shown, done: done)
    }

    private func standing(
        _ change: @escaping @Sendable (inout StandingOrders, UInt64) -> Void
    ) async throws(APIError) {
        do throws(NodeCore.Refusal) {
            _ = try await pulse.order { (core, now) throws(NodeCore.Refusal) in ((), try core.order(now: now, change)) }
        } catch {
            throw APIError(
                problem: "the order finds no room among the shared facts",
                remedy: "remove services and tokens that nobody needs", kind: .refused)
        }
    }

    /// Below the API's own patience for a change.
    private static let patience = 45_000
    private func settled(
        _ service: ServiceName, _ done: String, _ isSo: @Sendable (ServiceInfo) -> Bool
    ) async throws(APIError) -> ServiceChange {
        let name = service.description
        var last: ServiceInfo?
        for _ in 0..<(Self.patience / 25) {
            last = try await presentation().info(name)
            if let last, isSo(last) { return ServiceChange(name: name, done: done, node: last.node) }
            guard await pause(.milliseconds(25)) else { break }
        }
        let reason = last.map { $0.reason.isEmpty ? "" : ": \($0.reason)" } ?? ""
        throw APIError(
            problem: "\(name) is \(last?.state.rawValue ?? "gone") after \(Self.patience / 1000) s\(reason)",
            remedy: "the order stays; see: bramble why \(name)", kind: .unavailable)
    }

    /// Lines of `/metrics`.
    func serviceMetrics(_ text: inout MetricsText) async {
        guard let shown = try? await presentation(), !shown.house.desired.services.isEmpty else { return }
        let services = shown.services
        text.add(
            "service_running", .gauge, "1 where the service runs, as far as this node knows",
            services.map { ([("service", $0.name), ("node", $0.node ?? "")], $0.state == .running ? 1 : 0) })
        text.add(
            "service_epoch", .gauge, "Grows with each new holder of the service",
            services.map { ([("service", $0.name)], Double($0.epoch)) })
        text.add(
            "lease_takeover_seconds", .gauge, "How long a silence lasts until others take over",
            shown.house.takeover.seconds)
        text.add("lease_term_seconds", .gauge, "For how long a holder may act after it asked", shown.house.term.seconds)
    }
}

/// Asks a service's port every 10 ms while it moves, as an impatient client would, and tells the longest time without an
/// answer.
final class GapMeter: Sendable {
    private static let spacing = Duration.milliseconds(10)
    private static let patience = Duration.milliseconds(100)
    private let endpoint: Endpoint
    private let loop: EventLoop
    private let answered = Locked<[Instant]>([])
    private let isOver = Locked(false)

    /// Nil where nothing is known that could be asked.
    init?(_ service: Service?, on loop: EventLoop) {
        guard let service, let address = service.addresses.first?.address else { return nil }
        switch service.check {
        case .tcp(nil, let port), .http(nil, let port, _): endpoint = Endpoint(address, port: port)
        default: return nil
        }
        self.loop = loop
    }

    func start() {
        let (endpoint, loop, answered, isOver) = (endpoint, loop, answered, isOver)
        _ = Task(executorPreference: loop) {
            // Bounded, whatever becomes of whoever wanted to know.
            for _ in 0..<6000 where !isOver.withLock({ $0 }) {
                let asked = SystemClock.now
                _ = Task(executorPreference: loop) {
                    guard await CheckProbe.tcp(endpoint, within: Self.patience, on: loop) == nil else { return }
                    answered.withLock { $0.append(asked) }
                }
                guard (try? await loop.sleep(for: Self.spacing)) != nil else { return }
            }
        }
    }

    /// Milliseconds; nil when it was not answered before or not after.
    func finish(after wait: Duration) async -> Double? {
        try? await loop.sleep(for: wait)
        isOver.withLock { $0 = true }
        let times = answered.withLock { $0.sorted() }
        guard times.count > 1 else { return nil }
        let longest = zip(times.dropFirst(), times).map { $0 - $1 }.max() ?? .zero
        return max(0, (longest - Self.spacing).milliseconds)
    }
}
