import Glibc
import Logging
import Primitives
import Reactor

/// Asking, announcing and listening.
extension AddressTakeover {
    /// Asks the network whether anybody has the address. Silence is known after `probes` × `probeSpacing`, an answer at once.
    package func probe(_ floating: FloatingAddress) async -> ProbeAnswer {
        let address = floating.address
        if holdings[address] != nil { return .held }
        guard let links else { return .failed(.noGate(SystemError(code: ENOTCONN))) }
        if questions[address] == nil {
            do throws(TakeoverError) {
                let (there, addresses) = try snapshot(address)
                _ = try ready(floating, there, addresses, links)
                let home = try floating.home(links: there, addresses: addresses)
                guard home.hasCarrier, let hardware = HardwareAddress(bytes: home.address) else {
                    // Without a cable nobody could answer: silence would prove nothing.
                    throw .refused(address, "ask on \(home.name)", SystemError(code: ENETDOWN))
                }
                let key = SocketKey(link: home.index, kind: address.isV6 ? .version6 : .arp)
                if sockets[key] == nil { try openProbeSocket(key, address) }
                questions[address] = Question(askedAt: SystemClock.now, waiting: [])
                ask(address, NeighbourFrame.probe(for: address, from: hardware), on: key, left: timing.probes)
            } catch {
                return .failed(error)
            }
        }
        return await withCheckedContinuation {
            questions[address]?.waiting.append($0) ?? $0.resume(returning: .silence)
        }
    }

    private func openProbeSocket(_ key: SocketKey, _ address: IPAddress) throws(TakeoverError) {
        do throws(SystemError) {
            let link = key.link
            sockets[key] = try NeighbourSocket(key.kind, interface: link, on: loop) { [weak self] claim in
                self?.assumeIsolated { $0.heard(claim, on: link) }
            }
        } catch {
            throw .refused(address, "ask who has it", error)
        }
    }

    private func ask(_ address: IPAddress, _ frame: [UInt8], on key: SocketKey, left: Int) {
        guard questions[address] != nil else { return }
        guard left > 0, let socket = sockets[key] else { return answer(address, .silence) }
        do throws(SystemError) {
            try socket.send(frame)
        } catch {
            return answer(address, .failed(.refused(address, "ask who has it", error)))
        }
        loop.schedule(after: timing.probeSpacing) { [weak self] in
            self?.assumeIsolated { $0.ask(address, frame, on: key, left: left - 1) }
        }
    }

    func answer(_ address: IPAddress, _ result: ProbeAnswer) {
        for one in questions.removeValue(forKey: address)?.waiting ?? [] { one.resume(returning: result) }
    }

    // MARK: Announcing

    /// Now, in quick succession, and then for as long as it is held.
    func announce(_ address: IPAddress) {
        lastSeries += 1
        holdings[address]?.series = lastSeries
        announce(address, series: lastSeries, step: 0, begun: SystemClock.now)
    }

    private func announce(_ address: IPAddress, series: UInt64, step: Int, begun: Instant) {
        guard let holding = holdings[address], holding.series == series else { return }
        sendAnnouncement(holding)
        let isMoved = holding.floating.mode != .own
        let next =
            step < timing.announcements.count
            ? begun + timing.announcements[step]
            : SystemClock.now + (isMoved ? timing.announceMovedEvery : timing.announceEvery)
        loop.schedule(at: next) { [weak self] in
            self?.assumeIsolated { $0.announce(address, series: series, step: step + 1, begun: begun) }
        }
    }

    /// Packet sockets pass no gate, so the right is looked at here.
    private func sendAnnouncement(_ holding: Holding) {
        let address = holding.floating.address
        guard SystemClock.now < holding.until, holding.isPresent else { return }
        let link = virtualHomes[holding.link] ?? holding.link
        let socket = sockets[SocketKey(link: link, kind: address.isV6 ? .version6 : .arp)]
        do throws(SystemError) {
            for frame in NeighbourFrame.announcement(of: address, at: holding.hardware) { try socket?.send(frame) }
        } catch {
            // No carrier, most likely: it is announced again when that comes back.
            Log.debug("cannot announce \(address): \(error)")
        }
    }

    // MARK: Listening

    func heard(_ claim: NeighbourFrame.Claim, on link: Int32) {
        let (address, owner) = (claim.address, claim.owner)
        guard !ownHardware.contains(owner) else { return }
        if let question = questions[address] {
            answer(address, .taken(by: owner, after: SystemClock.now - question.askedAt))
        }
        guard let holding = holdings[address] else { return }
        // Our own frames of a moved hardware address, come back by another interface on the same network. Those that we
        // send here are not heard here.
        let home = virtualHomes[holding.link] ?? holding.link
        if owner == holding.hardware, link != home { return }
        let now = SystemClock.now
        guard holding.toldConflictAt.map({ now - $0 >= .seconds(1) }) ?? true else { return }
        holdings[address]?.toldConflictAt = now
        Log.warning("\(owner) claims \(address), which this node holds (epoch \(holding.epoch))")
        sendAnnouncement(holding)
        handler(.conflict(address, with: owner, at: now))
    }
}
