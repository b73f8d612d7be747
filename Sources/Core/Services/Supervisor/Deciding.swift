package import Primitives

/// What follows from all that is known: which leases to want, what to start, what to give away.
extension ServiceSupervisor {
    /// What the holder of a lease does with it.
    enum Decision: Equatable {
        case run
        case leave(to: NodeID?, why: String)
    }

    mutating func settle(_ now: Instant) {
        // What one service does can let another go on. Each pass ends at least one wait, so this ends, too.
        for _ in 0..<(2 * units.count + 2) {
            let before = effects.count
            pass(now)
            if effects.count == before { break }
        }
        guard isShuttingDown, !saidFinished, units.values.allSatisfy({ $0.phase == .idle }) else { return }
        saidFinished = true
        effects.append(.finishedStopping)
    }

    private mutating func pass(_ now: Instant) {
        let ranking = ranking()
        let decisions = Dictionary(uniqueKeysWithValues: names.map { ($0, decision($0, ranking)) })
        for name in names {
            guard let unit = units[name], let decision = decisions[name] else { continue }
            if unit.isRemoved, unit.phase == .idle, unit.lease == nil {
                if unit.saidWish != .leaveToOthers { effects.append(.lease(name, .leaveToOthers)) }
                units[name] = nil
                continue
            }
            wish(name, ranking[name] ?? [], now)
            switch (unit.phase, decision) {
            case (.starting(.mirrors), .run), (.starting(.dependencies), .run):
                if unit.newer != nil { changed(name, now) } else { goOn(name, now) }
            case (.starting, .run), (.running, .run):
                if unit.newer != nil { changed(name, now) }
            case (.starting, .leave(let heir, let why)), (.running, .leave(let heir, let why)):
                // Those that need it stop before it does.
                let isNeeded = names.contains { other in
                    guard let unit = units[other], unit.isActive, unit.spec.after.contains(name),
                        unit.phase != .cleaning, case .leave = decisions[other]
                    else { return false }
                    if case .quarantined = unit.phase { return false }
                    return true
                }
                if isNeeded { continue }
                let place = heir.map { " and goes to \(called($0))" } ?? ""
                say(heir == nil ? .stopped : .moved, name, "stops here\(place): \(why)", now)
                beginStop(name, now)
            case (.idle, .run):
                guard unit.lease != nil, unit.retryAt.map({ $0 <= now }) ?? true else { continue }
                beginStart(name, now)
            case (.idle, .leave(let heir, let why)):
                guard let lease = unit.lease else { continue }
                units[name]?.lease = nil
                units[name]?.holder = nil
                units[name]?.saidWish = .leaveToOthers
                effects.append(.lease(name, heir.map { .handOver(to: $0) } ?? .release))
                let place = heir.map { "hands it to \(called($0))" } ?? "gives it up"
                effects.append(
                    .notice(ServiceNotice(.released, name, "this node \(place): \(why)", epoch: lease.epoch)))
                units[name]?.note("this node \(place): \(why)", at: now)
            case (.cleaning, _), (.stopping, _), (.quarantined, _): continue
            }
        }
    }

    private mutating func goOn(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name] else { return }
        if unit.phase == .starting(.mirrors) {
            if isWaitingForMirrors(unit.spec) == nil { proceed(name, to: .dependencies, now) }
        } else if missingDependency(of: unit.spec) == nil {
            proceed(name, to: .run, now)
        }
    }

    private mutating func changed(_ name: ServiceName, _ now: Instant) {
        say(.stopped, name, "restarts with its new settings", now)
        beginStop(name, now)
    }

    /// Only while it holds no lease: from a holder, “leave it to others” would mean that everything has stopped.
    private mutating func wish(_ name: ServiceName, _ ranking: [NodeID], _ now: Instant) {
        let waits = waitsForPreferred(name, ranking, now)
        guard let unit = units[name], unit.lease == nil else { return }
        var wish = LeaseWish.leaveToOthers
        let mayWant = isReady && !unit.isRemoved && !isShuttingDown && !standing.isStopped(name) && !waits
        if mayWant, let rank = ranking.firstIndex(of: node) { wish = .want(rank: rank) }
        guard wish != unit.saidWish else { return }
        units[name]?.saidWish = wish
        effects.append(.lease(name, wish))
    }

    /// The first start of a service waits for the node it prefers while that one says that it will be able in a moment:
    /// without failback it would stay elsewhere for good, only because another node was quicker. Never in a failover, once
    /// for each service, and no longer than `firstWait`.
    private mutating func waitsForPreferred(_ name: ServiceName, _ ranking: [NodeID], _ now: Instant) -> Bool {
        guard let unit = units[name], !unit.hasWaited else { return false }
        let better = ranking[..<(ranking.firstIndex(of: node) ?? ranking.count)]
        let isWorthIt =
            unit.lease == nil && unit.holderEpoch == .none && !unit.hasRun
            && better.contains { id in
                guard let view = nodes.first(where: { $0.id == id }), view.state == .alive else { return false }
                return unit.spec.prefer.contains(view.name) && peers[id]?[name]?.isPreparing == true
            }
        let until = unit.waitsUntil ?? now + config.firstWait
        if isWorthIt, now < until {
            units[name]?.waitsUntil = until
            return true
        }
        units[name]?.hasWaited = unit.waitsUntil != nil
        units[name]?.waitsUntil = nil
        return false
    }

    // MARK: Judging

    func decision(_ name: ServiceName, _ ranking: [ServiceName: [NodeID]]) -> Decision {
        guard let unit = units[name], !unit.isRemoved else { return .leave(to: nil, why: "it was removed") }
        if standing.isStopped(name) { return .leave(to: nil, why: "an operator stopped it") }
        let list = ranking[name] ?? []
        let heirs = list.filter { isReadyToTake(name, $0) }
        if isShuttingDown { return .leave(to: heirs.first, why: "Bramble stops on this node") }
        switch standing.standby(of: node) {
        case .hold: return .leave(to: heirs.first, why: "this node is on hold")
        case .drain:
            if let heir = heirs.first { return .leave(to: heir, why: "this node is drained") }
            return .run
        case .no: break
        }
        if let bar = unit.bar { return .leave(to: heirs.first, why: bar.reason) }
        if let detail = unit.pathDetail, let heir = heirs.first {
            return .leave(to: heir, why: "clients cannot reach it here (\(detail))")
        }
        if let first = list.first, first != node, heirs.first == first {
            let why = standing.pin(of: name) == first ? "an operator moves it" : "it prefers \(called(first))"
            return .leave(to: first, why: why)
        }
        return .run
    }

    /// Another node that is alive and said that it would take the service.
    private func isReadyToTake(_ name: ServiceName, _ id: NodeID) -> Bool {
        guard id != node, nodes.first(where: { $0.id == id })?.state == .alive else { return false }
        return peers[id]?[name]?.canTake ?? false
    }

    /// Who could take it over from here, best first.
    func takers(of name: ServiceName) -> [NodeID] { (ranking()[name] ?? []).filter { isReadyToTake(name, $0) } }

    func ranking() -> [ServiceName: [NodeID]] {
        var holders: [ServiceName: NodeID] = [:]
        var pins: [ServiceName: NodeID] = [:]
        var unable: [ServiceName: Set<NodeID>] = [:]
        let held = nodes.map(\.id).filter { standing.standby(of: $0) != .no }
        for (name, unit) in units {
            holders[name] = unit.lease != nil ? node : unit.holder
            pins[name] = standing.pin(of: name)
            var cannot = Set(held)
            for (peer, reports) in peers {
                guard let report = reports[name], !report.canTake, !report.isPreparing else { continue }
                cannot.insert(peer)
            }
            cannot.remove(node)
            if inability(name) != nil { cannot.insert(node) }
            unable[name] = cannot
        }
        let services = units.values.filter { !$0.isRemoved }.map { $0.newer ?? $0.spec }
        return Placement(services: services, nodes: nodes, holders: holders, pins: pins, unable: unable).ranking()
    }

    /// This node will be able to take the service in a moment.
    func isPreparing(_ name: ServiceName) -> Bool {
        guard let unit = units[name], !isShuttingDown, standing.standby(of: node) == .no else { return false }
        return unit.phase == .cleaning && unit.bar == nil && unit.pathDetail == nil
    }

    /// Why this node would not take the service, in words; nil when it would.
    package func inability(_ name: ServiceName) -> String? {
        guard let unit = units[name] else { return "this node does not know it" }
        if isShuttingDown { return "Bramble stops on this node" }
        if !isReady { return "this node is still learning what the others know" }
        switch standing.standby(of: node) {
        case .hold: return "this node is on hold; lift it with: bramble node resume"
        case .drain: return "this node is drained; lift it with: bramble node resume"
        case .no: break
        }
        return ownInability(unit)
    }

    /// The part of it that is the service's own.
    func ownInability(_ unit: Unit) -> String? {
        if let bar = unit.bar { return "it failed here: \(bar.reason)" }
        if let detail = unit.pathDetail { return "clients cannot reach it here: \(detail)" }
        switch unit.phase {
        case .cleaning: return "what a former run left behind is being stopped"
        case .quarantined: return unit.lastFailure ?? "it could not be stopped"
        case .idle, .starting, .stopping: return isWaitingForMirrors(unit.spec)
        case .running: return nil
        }
    }
}
