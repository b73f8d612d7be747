package import Primitives

/// What people and other nodes are told.
extension ServiceSupervisor {
    /// For the heartbeats.
    package var peerReports: [PeerReport] {
        let all = ranking()
        return names.compactMap { name in
            guard let unit = units[name], !unit.isRemoved else { return nil }
            return PeerReport(
                service: name, state: localState(unit, decision(name, all)), epoch: unit.lease?.epoch ?? .none,
                canTake: inability(name) == nil, isPreparing: isPreparing(name))
        }
    }

    /// Beside `peerReports`, for the people who ask another node: what keeps services from running here, of those that
    /// something does. It stays the same while it is so.
    package var reasons: [ServiceName: String] {
        var result: [ServiceName: String] = [:]
        for (name, unit) in units where !unit.isRemoved {
            if unit.lease != nil {
                result[name] = obstacle(unit)
            } else if unit.phase != .running, unit.phase != .cleaning {
                result[name] = ownInability(unit)
            }
        }
        // Where it is read, “this node” is another one.
        let own = called(node)
        return result.mapValues {
            $0.replacing("this node", with: own).replacing("reach it here", with: "reach it on \(own)")
        }
    }

    /// Who may run each service, best first.
    package var placement: [ServiceName: [NodeID]] { ranking() }

    package func reports(now: Instant) -> [ServiceReport] {
        let ranking = ranking()
        return names.compactMap { report(on: $0, ranking, now) }
    }

    private func report(on name: ServiceName, _ ranking: [ServiceName: [NodeID]], _ now: Instant) -> ServiceReport? {
        guard let unit = units[name] else { return nil }
        let isOurs = unit.lease != nil || unit.isActive && unit.phase != .cleaning
        var state = localState(unit, decision(name, ranking))
        var live: String?
        if isOurs {
            live = waiting(unit, now)
        } else if let holder = unit.holder, nodes.contains(where: { $0.id == holder && $0.state != .down }) {
            state = peers[holder]?[name]?.state ?? .starting
            let told = state == .running ? nil : peerReasons[holder]?[name]
            live = "\(called(holder)) holds it with epoch \(unit.holderEpoch)" + (told.map { ": \($0)" } ?? "")
        } else if standing.isStopped(name) {
            state = .stopped
            live = "an operator stopped it; start it with: bramble service start \(name)"
        } else if (ranking[name] ?? []).isEmpty {
            let isFailed = unit.bar != nil || unit.lastFailure != nil
            state = isFailed ? .failed : .blocked
            live = "no node can take it; here: \(inability(name) ?? "it could")" + elsewhere(name)
        } else {
            state = unit.bar != nil ? .failed : .blocked
            let own = inability(name) ?? unit.refusal
            let here = own.map { "nobody runs it; here: \($0)" } ?? "nobody runs it yet; waits for the lease"
            live = here + elsewhere(name)
        }
        var because = unit.reasons
        if let live { because.insert(ServiceReport.Reason(at: now, live), at: 0) }
        return ServiceReport(
            service: name, state: state, node: isOurs ? node : unit.holder,
            epoch: unit.lease?.epoch ?? unit.holderEpoch, since: unit.since,
            addresses: unit.spec.addresses, because: because,
            restarts: unit.restarts.count { now - $0 < config.restartWindow })
    }

    /// Why the other nodes, three at most, do not take it either.
    private func elsewhere(_ name: ServiceName) -> String {
        let others = nodes.filter { $0.id != node && $0.state != .down && peers[$0.id]?[name]?.canTake != true }
        let reasons = others.compactMap { other -> String? in
            switch standing.standby(of: other.id) {
            case .hold: "\(other.name) is on hold"
            case .drain: "\(other.name) is drained"
            case .no: peerReasons[other.id]?[name].map { "\(other.name) says: \($0)" }
            }
        }
        return reasons.prefix(3).map { "; \($0)" }.joined()
    }

    private func localState(_ unit: Unit, _ decision: Decision) -> ServiceReport.State {
        switch unit.phase {
        case .running: .running
        case .starting: .starting
        case .quarantined: .failed
        case .stopping: unit.lease != nil && decision == .run ? .starting : .stopped
        case .cleaning: .stopped
        case .idle: unit.lease == nil ? .stopped : unit.retryAt == nil ? .starting : .failed
        }
    }

    /// What a service of ours waits for at this moment.
    private func waiting(_ unit: Unit, _ now: Instant) -> String? {
        // Told until it runs, so that whoever asks in the middle of a new try learns of the last one.
        let before = unit.lastFailure.map { "; before: \($0)" } ?? ""
        switch unit.phase {
        case .starting(.mirrors), .starting(.dependencies), .quarantined: return obstacle(unit)
        case .starting(.check): return "it was started and is asked whether it works\(before)"
        case .idle:
            guard let retryAt = unit.retryAt, retryAt > now else { return nil }
            let seconds = Int((retryAt - now).seconds.rounded(.up))
            return "it is started again in \(seconds) s: \(unit.lastFailure ?? "it failed")"
        default:
            return unit.pending.min { $0.key < $1.key }.map { "\($0.value.what) is under way\(before)" }
        }
    }

    /// What keeps a service of ours from running.
    private func obstacle(_ unit: Unit) -> String? {
        switch unit.phase {
        case .running: nil
        case .starting(.mirrors): isWaitingForMirrors(unit.spec).map { "it waits: \($0)" }
        case .starting(.dependencies): missingDependency(of: unit.spec).map { "it waits until \($0) runs" }
        default: unit.lastFailure
        }
    }
}
