import Primitives

/// Starting in order, stopping in reverse, and what is done when either goes wrong.
extension ServiceSupervisor {
    // MARK: Start-up

    /// What a former run left is stopped, never adopted: nobody knows with which epoch it was started.
    mutating func clean(_ name: ServiceName, _ now: Instant) {
        guard let spec = units[name]?.spec else { return }
        units[name]?.phase = .cleaning
        units[name]?.stopFailures = []
        stopEverything(name, within: spec.limits.stopWithin, now)
    }

    private mutating func stopEverything(_ name: ServiceName, within: Duration, _ now: Instant) {
        guard let spec = units[name]?.spec else { return }
        units[name]?.pending = [:]
        units[name]?.check = nil
        units[name]?.nextCheck = nil
        units[name]?.startDeadline = nil
        // The gate first: it silences the address whatever the rest takes.
        order(name, .closeGate(spec.addresses), now)
        if let plan = RunPlan(spec) { order(name, .stop(plan, within: within), within: within, now) }
        if !spec.mirrors.isEmpty { order(name, .stopMirrors(spec.mirrors, flush: .zero), now) }
        if !spec.addresses.isEmpty { order(name, .releaseAddresses(AddressPlan(spec)), now) }
    }

    // MARK: Start

    mutating func beginStart(_ name: ServiceName, _ now: Instant) {
        guard var unit = units[name], unit.lease != nil else { return }
        if let newer = unit.newer { unit.spec = newer }
        unit.newer = nil
        unit.retryAt = nil
        unit.failedChecks = 0
        unit.pending = [:]
        unit.startDeadline = nil
        unit.since = now
        unit.hasRun = true
        units[name] = unit
        proceed(name, to: unit.wantsProbe && !unit.spec.addresses.isEmpty ? .probe : .addresses, now)
    }

    /// Enters a step of the start, or the next one that has something to do.
    mutating func proceed(_ name: ServiceName, to step: Unit.StartStep, _ now: Instant) {
        guard let unit = units[name], let lease = unit.lease else { return }
        let spec = unit.spec
        units[name]?.phase = .starting(step)
        switch step {
        case .probe: order(name, .probe(AddressPlan(spec)), now)
        case .addresses:
            units[name]?.wantsProbe = false
            order(name, .openGate(spec.addresses, epoch: lease.epoch, until: lease.until), now)
            if !spec.addresses.isEmpty {
                order(name, .holdAddresses(AddressPlan(spec), epoch: lease.epoch), now)
            }
        case .mirrors:
            if isWaitingForMirrors(spec) == nil { proceed(name, to: .dependencies, now) }
        case .dependencies:
            if missingDependency(of: spec) == nil { proceed(name, to: .run, now) }
        case .run:
            guard let plan = RunPlan(spec) else { return proceed(name, to: .check, now) }
            let within = spec.limits.startWithin
            units[name]?.startDeadline = now + within + config.grace
            order(name, .start(plan, epoch: lease.epoch, within: within), within: within, now)
        case .check:
            guard spec.check != nil else { return nowRunning(name, now) }
            if unit.startDeadline == nil { units[name]?.startDeadline = now + spec.limits.startWithin }
            askCheck(name, now)
        }
    }

    private mutating func nowRunning(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name], let lease = unit.lease else { return }
        units[name]?.phase = .running
        units[name]?.wasSeenRunning = true
        units[name]?.startDeadline = nil
        units[name]?.failedChecks = 0
        units[name]?.lastFailure = nil
        units[name]?.nextCheck = unit.runningCheck == nil ? nil : now + unit.spec.every
        if !unit.spec.mirrors.isEmpty { order(name, .feedMirrors(unit.spec.mirrors, epoch: lease.epoch), now) }
        let took = (now - unit.since).milliseconds
        units[name]?.since = now
        effects.append(
            .notice(
                ServiceNotice(
                    .started, name, "runs on this node", epoch: lease.epoch, figures: ["tookMs": took])))
        units[name]?.note("it was started here with epoch \(lease.epoch)", at: now)
    }

    mutating func askCheck(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name], unit.check == nil else { return }
        units[name]?.nextCheck = nil
        let check: Check? = unit.phase == .running ? unit.runningCheck : unit.spec.check
        guard let check else { return }
        let within = unit.spec.limits.checkWithin
        let number = order(
            name, .check(check, RunPlan(unit.spec), addresses: unit.spec.addresses, within: within), within: within, now
        )
        units[name]?.check = number
    }

    /// The first mirror that this node may not serve from yet, and why.
    func isWaitingForMirrors(_ spec: Service) -> String? {
        for mirror in spec.mirrors {
            switch mirrors[mirror] {
            case .never: return "the mirror \(mirror) was never copied to this node as a whole"
            case .receiving: return "the mirror \(mirror) is being received"
            case .pristine, .synced, .unknown, nil: continue
            }
        }
        return nil
    }

    /// The first service that has to run before and does not, anywhere.
    func missingDependency(of spec: Service) -> ServiceName? {
        spec.after.first { name in
            guard let unit = units[name], !unit.isRemoved else { return false }
            return unit.phase != .running && !peers.values.contains { $0[name]?.state == .running }
        }
    }

    // MARK: Stop

    /// In order, each step with its deadline, while the lease is kept.
    mutating func beginStop(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name] else { return }
        units[name]?.pending = [:]
        units[name]?.check = nil
        units[name]?.nextCheck = nil
        units[name]?.startDeadline = nil
        units[name]?.stopFailures = []
        units[name]?.since = now
        var steps: [Unit.StopStep] = []
        if unit.spec.run != nil { steps.append(.run) }
        if !unit.spec.mirrors.isEmpty { steps.append(.mirrors) }
        if !unit.spec.addresses.isEmpty { steps.append(.addresses) }
        stop(name, steps + [.gate], now)
    }

    private mutating func stop(_ name: ServiceName, _ steps: [Unit.StopStep], _ now: Instant) {
        guard let spec = units[name]?.spec else { return }
        guard let step = steps.first else { return stopped(name, now) }
        units[name]?.phase = .stopping(steps)
        switch step {
        case .run:
            guard let plan = RunPlan(spec) else { return }
            order(name, .stop(plan, within: spec.limits.stopWithin), within: spec.limits.stopWithin, now)
        case .mirrors: order(name, .stopMirrors(spec.mirrors, flush: config.flush), within: config.flush, now)
        case .addresses: order(name, .releaseAddresses(AddressPlan(spec)), now)
        case .gate: order(name, .closeGate(spec.addresses), now)
        }
    }

    /// All at once, before `until`: the lease is gone, or about to be.
    mutating func stopAtOnce(_ name: ServiceName, until: Instant, _ why: String, _ now: Instant) {
        guard let unit = units[name] else { return }
        let left = max(.zero, until - config.stopMargin - now)
        if case .quarantined = unit.phase { return }
        if unit.phase == .cleaning { return }
        units[name]?.phase = .stopping([])
        units[name]?.stopFailures = []
        units[name]?.since = now
        stopEverything(name, within: min(left, unit.spec.limits.stopWithin), now)
        say(.stopped, name, "stops at once: \(why)", now)
    }

    /// Every order of a stop has been answered.
    private mutating func stopped(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name] else { return }
        guard unit.stopFailures.isEmpty else { return quarantine(name, now) }
        let wasQuarantined = unit.stopTries > 0
        units[name]?.phase = .idle
        units[name]?.pending = [:]
        units[name]?.stopTries = 0
        units[name]?.isRetryingStop = false
        units[name]?.since = now
        if wasQuarantined, unit.hasRun {
            units[name]?.bar = Unit.Bar(until: nil, reason: "its stop had failed here")
            say(
                .stopped, name, "has stopped at last; this node leaves it alone until: bramble service start \(name)",
                now)
        } else if unit.phase != .cleaning {
            effects.append(
                .notice(ServiceNotice(.stopped, name, "nothing of it runs on this node", epoch: unit.lease?.epoch)))
        }
    }

    /// Its address is off and its gate closed, the lease is kept as long as it can be, so that nobody else starts a second
    /// one beside what may still run here. The machine is never rebooted for it.
    private mutating func quarantine(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name] else { return }
        let tries = min(unit.stopTries, 3)
        let retryAt = now + min(config.longestBackoff, .seconds(10 << tries))
        units[name]?.phase = .quarantined(retryAt: retryAt)
        units[name]?.pending = [:]
        units[name]?.stopTries = unit.stopTries + 1
        units[name]?.isRetryingStop = false
        units[name]?.since = unit.stopTries == 0 ? now : unit.since
        let text = unit.stopFailures.joined(separator: "; ")
        units[name]?.lastFailure = "it could not be stopped: \(text)"
        // The address goes even when the processes stay.
        if unit.stopTries == 0 {
            if unit.isGateOpen { order(name, .closeGate(unit.spec.addresses), now) }
            if !unit.spec.addresses.isEmpty { order(name, .releaseAddresses(AddressPlan(unit.spec)), now) }
            say(.failed, name, "could not be stopped (\(text)): its address is off, and it is tried again", now)
        }
    }

    // MARK: Failure

    /// It does not do its work: restart it here, or let another node try.
    mutating func broken(_ name: ServiceName, _ why: String, _ reach: OrderResult.Failure.Reach, _ now: Instant) {
        guard let unit = units[name] else { return }
        let recent = unit.restarts.filter { now - $0 < config.restartWindow } + [now]
        units[name]?.restarts = recent.suffix(32)
        units[name]?.lastFailure = why
        let other = takers(of: name).first
        switch reach {
        case .passing where recent.count <= unit.spec.limits.restarts || other == nil:
            let doubled = 1 << min(recent.count - 2, 16)
            let wait: Duration = recent.count < 2 ? .zero : min(config.longestBackoff, .seconds(doubled))
            units[name]?.retryAt = now + wait
            say(
                .failed, name, "\(why); it is started again\(wait == .zero ? "" : " in \(DurationText.write(wait))")",
                now)
        case .passing, .here:
            units[name]?.bar = Unit.Bar(until: now + config.barFor, reason: why)
            let next = other.map { "\(called($0)) is to try" } ?? "no other node can take it"
            say(
                .failed, name, "\(why); this node leaves it alone for \(DurationText.write(config.barFor)): \(next)",
                now)
        case .everywhere:
            units[name]?.bar = Unit.Bar(until: nil, reason: why)
            say(.failed, name, "\(why); its settings have to be changed", now)
        }
        beginStop(name, now)
    }

    // MARK: Results and deadlines

    mutating func finished(_ number: OrderNumber, _ result: OrderResult, _ now: Instant) {
        guard let name = names.first(where: { units[$0]?.pending[number] != nil }) else { return }
        guard let pending = units[name]?.pending.removeValue(forKey: number), let unit = units[name] else { return }
        var failure: OrderResult.Failure?
        if case .failed(let reason) = result { failure = reason }
        if unit.check == number {
            units[name]?.check = nil
            return checked(name, failure, now)
        }
        switch unit.phase {
        case .cleaning, .stopping([]):
            if let failure { units[name]?.stopFailures.append("\(pending.what): \(failure.text)") }
            if unit.pending.isEmpty { stopped(name, now) }
        case .stopping(let steps):
            if let failure {
                // A mirror that cannot be pushed is behind, which is told; it does not keep the service from moving.
                if steps.first == .mirrors {
                    say(.conflict, name, "\(pending.what): \(failure.text); the other copies may be behind", now)
                } else {
                    units[name]?.stopFailures.append("\(pending.what): \(failure.text)")
                }
            }
            if unit.pending.isEmpty { stop(name, Array(steps.dropFirst()), now) }
        case .quarantined:
            if let failure { units[name]?.stopFailures.append("\(pending.what): \(failure.text)") }
            if unit.pending.isEmpty, unit.isRetryingStop { stopped(name, now) }
        case .starting(let step):
            if let failure { return broken(name, "\(pending.what) failed: \(failure.text)", failure.reach, now) }
            guard unit.pending.isEmpty else { return }
            switch step {
            case .probe: proceed(name, to: .addresses, now)
            case .addresses: proceed(name, to: .mirrors, now)
            case .run: proceed(name, to: .check, now)
            case .mirrors, .dependencies, .check: break
            }
        case .running:
            if let failure { say(.conflict, name, "\(pending.what) failed: \(failure.text)", now) }
        case .idle: break
        }
    }

    private mutating func checked(_ name: ServiceName, _ failure: OrderResult.Failure?, _ now: Instant) {
        guard let unit = units[name] else { return }
        switch (unit.phase, failure) {
        case (.starting(.check), nil): nowRunning(name, now)
        case (.starting(.check), .some): units[name]?.nextCheck = now + config.startCheckEvery
        case (.running, nil):
            units[name]?.failedChecks = 0
            units[name]?.nextCheck = now + unit.spec.every
        case (.running, .some(let failure)):
            units[name]?.failedChecks = unit.failedChecks + 1
            let times = unit.failedChecks + 1
            guard times < unit.spec.limits.failures else {
                return broken(name, "\(times) checks in a row failed: \(failure.text)", failure.reach, now)
            }
            units[name]?.nextCheck = now + min(unit.spec.every, .seconds(1))
        default: break
        }
    }

    mutating func expire(_ name: ServiceName, _ now: Instant) {
        guard let unit = units[name] else { return }
        if let lease = unit.lease, lease.until - config.stopMargin <= now {
            units[name]?.lease = nil
            units[name]?.holder = nil
            effects.append(
                .notice(ServiceNotice(.released, name, "its lease ran out without a renewal", epoch: lease.epoch)))
            units[name]?.note("its lease ran out without a renewal", at: now)
            if unit.isActive { stopAtOnce(name, until: lease.until, "its lease ran out", now) }
        }
        for (number, pending) in unit.pending.sorted(by: { $0.key < $1.key }) where pending.deadline <= now {
            guard units[name]?.pending[number] != nil else { continue }
            finished(number, .failed(.init("no answer in time")), now)
        }
        guard let unit = units[name] else { return }
        if let until = unit.bar?.until, until <= now { units[name]?.bar = nil }
        if let retryAt = unit.retryAt, retryAt <= now { units[name]?.retryAt = nil }
        if let deadline = unit.startDeadline, deadline <= now, case .starting = unit.phase {
            return broken(
                name, "it was not up within \(DurationText.write(unit.spec.limits.startWithin))", .passing, now)
        }
        if case .quarantined(let retryAt) = unit.phase, retryAt <= now, unit.pending.isEmpty {
            units[name]?.stopFailures = []
            stopEverything(name, within: unit.spec.limits.stopWithin, now)
            units[name]?.isRetryingStop = true
        }
        if let at = unit.nextCheck, at <= now { askCheck(name, now) }
    }
}
