import BrambleAPI
import Crypto
import Engines
import Machine
import Membership
import Node
import Primitives
import Reactor
import Services
import Transport

extension DoctorCheck {
    /// What is to be found on the machine itself. Blocking: for the worker's thread.
    static func all(_ home: Home, _ configuration: Configuration) -> [DoctorCheck] {
        DoctorProbes(
            dataDirectory: home.directory.path, hostsFile: configuration.hostsFile, port: configuration.port
        ).run().map { finding in
            DoctorCheck(
                check: finding.check, state: State(rawValue: finding.state.rawValue) ?? .warn, text: finding.text,
                remedy: finding.remedy)
        }
    }
}

/// What a member tells about itself: waiting machines, health checks, metrics.
extension Member {
    func waitingMachines() async -> [WaitingMachine] {
        let snapshot = await pulse.snapshot
        let applicants = snapshot.applicants.map { applicant in
            let profile = applicant.record.profile
            return WaitingMachine(
                name: profile.name.description, id: applicant.record.id.description, code: applicant.record.id.code,
                address: applicant.path.address.description, port: Int(applicant.path.port), reason: .approval,
                since: Timestamp.of(applicant.since))
        }
        return await (machinesWithoutKey() + applicants).sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    /// For a removal: the key of today, so that members that are away can come back, and the one that follows it.
    func nextKeys() -> (current: [UInt8], next: [UInt8]) {
        let current = ring.current
        return (Array(current.text.utf8), Array(current.rotated().text.utf8))
    }

    func metrics() async -> String {
        let snapshot = await pulse.snapshot
        let presentation = Presentation(snapshot)
        let figures = await pulse.figures()
        var text = MetricsText()
        text.add("uptime_seconds", .gauge, "Time since this daemon started", (SystemClock.now - startedAt).seconds)
        let nodes = presentation.nodes
        text.add(
            "nodes", .gauge, "Nodes by state",
            NodeState.allCases.map { state in
                (labels: [("state", state.rawValue)], value: Double(nodes.count { $0.state == state }))
            })
        text.add(
            "node_suspicion_phi", .gauge, "Suspicion of each node that this one watches; the report threshold is 8",
            nodes.compactMap { node in node.phi.map { (labels: [("node", node.name)], value: $0) } })
        text.add(
            "datagrams_total", .counter, "Datagrams by direction",
            [
                (labels: [("direction", "in")], value: Double(figures.sessions.datagramsIn)),
                (labels: [("direction", "out")], value: Double(figures.sessions.datagramsOut)),
            ])
        text.add(
            "datagram_bytes_total", .counter, "Bytes of datagrams by direction",
            [
                (labels: [("direction", "in")], value: Double(figures.sessions.bytesIn)),
                (labels: [("direction", "out")], value: Double(figures.sessions.bytesOut)),
            ])
        text.add(
            "datagrams_dropped_total", .counter, "Datagrams that were not taken, by reason",
            DropReason.allCases.map { reason in
                (labels: [("reason", reason.rawValue)], value: Double(figures.sessions[reason]))
            })
        text.add("send_errors_total", .counter, "Datagrams that the kernel did not take", figures.sendErrors)
        text.add("sessions", .gauge, "Peers with an open session", figures.openPeers)
        text.add("sessions_opened_total", .counter, "Handshakes completed", figures.sessions.opened)
        text.add(
            "malformed_messages_total", .counter, "Messages of authenticated peers that could not be read",
            figures.malformedMessages)
        text.add(
            "events_dropped_total", .counter, "Events of drivers dropped because the pulse was behind",
            figures.counters.eventsDropped)
        text.add("pulse_turns_total", .counter, "Turns of the pulse thread", figures.counters.turns)
        text.add(
            "pulse_lateness_milliseconds", .gauge, "How late a tick was at worst since the last reading",
            figures.counters.worstLatenessMs)
        let streams = await streamCounters()
        text.add(
            "stream_frames_total", .counter, "Frames of the streams by direction",
            [
                (labels: [("direction", "in")], value: Double(streams.framesIn)),
                (labels: [("direction", "out")], value: Double(streams.framesOut)),
            ])
        text.add("stream_frames_dropped_total", .counter, "Frames that could not be delivered", streams.framesDropped)
        text.add(
            "stream_connections_refused_total", .counter, "Connections that were refused, by reason",
            [
                (labels: [("reason", "limit")], value: Double(streams.refused)),
                (labels: [("reason", "notMember")], value: Double(streams.notAllowed)),
                (labels: [("reason", "protocol")], value: Double(streams.broken)),
            ])
        text.add("stream_connections", .gauge, "Streams open now", streams.connections)
        text.add("cluster_key_version", .gauge, "Version of the cluster key", ring.current.version)
        let names = Storyteller(names: snapshot.names, selfID: home.identity.id)
        text.add(await database.figures(), await database.status { names.name($0) })
        await serviceMetrics(&text)
        let volumes = await self.volumes.infos()
        text.add(
            "volume_bricks_online", .gauge, "Bricks of each volume that are online",
            volumes.map { ([("volume", $0.name)], Double($0.bricks.count(where: \.online))) })
        text.add(
            "volume_bricks", .gauge, "Bricks of each volume",
            volumes.map { ([("volume", $0.name)], Double($0.bricks.count)) })
        text.add(
            "volume_entries_to_heal", .gauge, "Entries that some brick of the volume still has to get",
            volumes.map { ([("volume", $0.name)], Double($0.toHeal)) })
        return text.text
    }

    func doctor() async -> [DoctorCheck] {
        let snapshot = await pulse.snapshot
        let presentation = Presentation(snapshot)
        let nodes = presentation.nodes
        var checks: [DoctorCheck] = []
        func add(_ check: String, _ state: DoctorCheck.State, _ text: String, _ remedy: String = "") {
            checks.append(DoctorCheck(check: check, state: state, text: text, remedy: remedy))
        }

        let down = nodes.filter { $0.state == .down }.map(\.name)
        add(
            "members", down.isEmpty ? .ok : .warn,
            down.isEmpty
                ? "all \(nodes.count) known nodes answer or left on purpose" : "down: \(down.joined(separator: ", "))",
            down.isEmpty ? "" : "bramble why \(down[0]); if it will not come back: bramble node remove \(down[0])")

        let conflicts = snapshot.names.conflicts
        add(
            "names", conflicts.isEmpty ? .ok : .warn,
            conflicts.isEmpty
                ? "every node has a name of its own"
                : "two nodes are called \(conflicts[0].wanted); the younger goes by \(conflicts[0].given)",
            conflicts.isEmpty ? "" : "give one of them another: name: NAME in bramble.yaml, then restart it")

        let versions = Set(nodes.filter { $0.state == .alive }.map(\.version)).sorted()
        add(
            "versions", versions.count < 2 ? .ok : .warn,
            versions.count < 2
                ? "every node runs \(versions.first ?? Version.current)"
                : "nodes run \(versions.joined(separator: " and "))",
            versions.count < 2 ? "" : "upgrade the older ones")

        let house = await pulse.house
        let witness = house.flatMap(presentation.witness)
        let isTwo = nodes.count { $0.state != .left && $0.role == .node } == 2
        if let witness {
            let others = nodes.filter { $0.role == .witness && $0.name != witness.name }.map(\.name)
            switch (witness.votes, witness.state) {
            case (true, .alive) where others.isEmpty:
                add(
                    "witness", .ok,
                    "the witness \(witness.name) votes: of two nodes either may die, and never both serve")
            case (true, .alive):
                add(
                    "witness", .warn,
                    "the witness \(witness.name) votes; \(others.joined(separator: ", ")) would be a second one and do "
                        + "nothing", "bramble node remove \(others[0])")
            case (true, _):
                add(
                    "witness", .warn,
                    "the witness \(witness.name) does not answer: services go on, but none survives the loss of a node",
                    "start it again; if it will not come back: bramble node remove \(witness.name)")
            case (false, _) where isTwo:
                add(
                    "witness", .warn,
                    "the witness \(witness.name) does not vote yet: both nodes have to agree to it first",
                    "let both nodes run for a minute; then see: bramble status")
            case (false, _):
                add("witness", .ok, "the witness \(witness.name) waits: an odd number of nodes needs none")
            }
        }
        let fences = house?.desired.fences ?? []
        let own = presentation.storyteller.name(snapshot.id)
        checks += await fencing.examine(fences.filter { $0.node.description != own })
        let isFenced = house?.guarantee == .fence
        if !fences.isEmpty, !isFenced {
            let missing = nodes.filter { node in
                node.role == .node && !fences.contains { $0.node.description == node.name }
            }
            add(
                "fence", missing.isEmpty ? .ok : .warn,
                missing.isEmpty
                    ? "nobody is switched off: a majority decides here, and needs no fences"
                    : "nobody is switched off: \(missing.map(\.name).joined(separator: ", ")) has no fence",
                missing.isEmpty ? "" : "add one for each node to fences of the document")
        }
        if isTwo, witness?.votes != true, !isFenced {
            // The cluster's own list counts where there is one.
            let reach = house?.reach ?? configuration.reach
            if reach.isEmpty {
                add(
                    "reach", .warn,
                    "two nodes and no reach list: when they lose each other, neither can tell which of them is cut off",
                    "reach: [ADDRESS OF YOUR ROUTER] in the document for bramble apply, or a witness")
            } else {
                let others = snapshot.members.filter { $0.id != snapshot.id && $0.rank != .removed }
                let theirs = others.flatMap { member in
                    member.record.profile.addresses.map { ($0.address, presentation.storyteller.name(member.id)) }
                }
                checks += Self.reachChecks(
                    await services.examineReach(), ofNodes: Dictionary(theirs) { first, _ in first })
            }
        }

        switch configuration.tls {
        case .off where configuration.http.contains(where: { !$0.address.isLoopback }):
            add(
                "dashboard", .warn,
                "the dashboard is plain HTTP: whoever can listen on this network can read the password when you log in",
                "tls: self in bramble.yaml (a certificate of the node's own), or listen on 127.0.0.1 only")
        default: add("dashboard", .ok, "the dashboard is encrypted, or only this machine reaches it")
        }

        if configuration.discovers {
            let trouble = await discoveryTrouble()
            add(
                "discovery", trouble == nil ? .ok : .warn,
                trouble?.problem ?? "machines on this network are found by multicast DNS", trouble?.remedy ?? "")
        }

        let clocks = await self.clocks.readings(presentation.storyteller, questions: 1)
        if let trouble = self.clocks.trouble {
            add("clocks", .warn, "this node's clock is not kept: \(trouble)", "bramble clock")
        } else if clocks.count > 1 {
            let far = clocks.filter { abs($0.offsetMs ?? 0) > max(10, $0.errorMs ?? 0) }
            add(
                "clocks", far.isEmpty ? .ok : .warn,
                far.isEmpty
                    ? "the clocks of \(clocks.count) nodes are within 10 ms of each other, as far as can be measured"
                    : far.map { "\($0.node)'s clock is off by \(Int($0.offsetMs!.rounded())) ms" }.joined(
                        separator: ", "),
                far.isEmpty
                    ? "" : self.clocks.isOn ? "see chronyc sources there" : "let chrony keep them: bramble clock on")
        }

        if let check = await volumes.doctor() { checks.append(check) }
        checks += await mirrorChecks(house?.desired.mirrors ?? [], presentation.storyteller)

        checks += await examineEngines()
        let process = await services.guardProcess
        switch await onWorker({ [services] in services.watchdogState(guard: process) }) {
        case .unused(isThere: false): break
        case .unused(isThere: true):
            add(
                "watchdog", .ok, "there is a hardware watchdog; it is not used: watchdog: /dev/watchdog in bramble.yaml"
            )
        case .notYet: add("watchdog", .ok, "the watchdog is opened when the first service is there")
        case .fed: add("watchdog", .ok, "the guard feeds \(configuration.watchdog ?? "")")
        case .failed:
            add(
                "watchdog", .fail,
                "the watchdog \(configuration.watchdog ?? "") is not open: nothing resets this machine",
                "see who has it: fuser -v \(configuration.watchdog ?? ""); systemd's RuntimeWatchdogSec has to be 0; without "
                    + "a device: watchdog: none")
        }

        let database = await database.status { presentation.storyteller.name($0) }
        switch (database.state, database.notes.first) {
        case (.closed, let note), (.readOnly, let note):
            add(
                "database", .fail,
                "the database is \(database.state == .closed ? "closed" : "not writable"): \(note ?? "")",
                "bramble database")
        case (.fetching, _):
            add("database", .warn, "the database is still being fetched from another node", "bramble database")
        case (.open, let note?):
            add("database", .warn, database.notes.count == 1 ? note : "\(note) (and more)", "bramble database")
        case (.open, nil): add("database", .ok, "the database is open, and every write that is known is taken")
        }

        checks += await examineMachine()

        let figures = await pulse.figures()
        let late = figures.counters.worstLatenessMs
        add(
            "pulse", late < 100 ? .ok : .warn,
            "the heartbeat thread was late by \(Int(late.rounded())) ms at worst lately",
            late < 100 ? "" : "this machine is short of processor time: move load away, or use --profile calm")
        return checks
    }

    /// What is wrong with a reach list shows only in a failure, so it is looked for before.
    static func reachChecks(
        _ found: [(host: IPAddress, standing: ReachProber.Standing)], ofNodes nodes: [IPAddress: String]
    ) -> [DoctorCheck] {
        var checks: [DoctorCheck] = []
        func add(_ state: DoctorCheck.State, _ text: String, _ remedy: String) {
            checks.append(DoctorCheck(check: "reach", state: state, text: text, remedy: remedy))
        }
        let remedy =
            "name hosts of others that are always on, such as the router: reach in the document for bramble apply"
        var good = 0
        for (host, standing) in found {
            switch (standing, nodes[host]) {
            case (.own, _):
                add(.warn, "\(host) of the reach list is this node's own address, and tells it nothing", remedy)
            case (_, .some(let node)):
                add(
                    .warn, "\(host) of the reach list is an address of \(node): when \(node) is lost it is silent, too",
                    remedy)
            case (.answers, nil): good += 1
            case (.silent, nil): add(.warn, "\(host) of the reach list does not answer this node", remedy)
            }
        }
        if good == 0 {
            add(
                .fail,
                "no host of the reach list that could tell who is cut off answers: if the other node were lost, this one "
                    + "would not take over", remedy)
        } else if checks.isEmpty {
            add(
                .ok,
                good == 1
                    ? "the host of the reach list answers, and tells who is cut off"
                    : "\(good) hosts of the reach list answer, and tell who is cut off", "")
        }
        return checks
    }

    private func mirrorChecks(_ wanted: [Mirror], _ storyteller: Storyteller) async -> [DoctorCheck] {
        guard !wanted.isEmpty else { return [] }
        var checks: [DoctorCheck] = []
        func add(_ state: DoctorCheck.State, _ text: String, _ remedy: String) {
            checks.append(DoctorCheck(check: "mirrors", state: state, text: text, remedy: remedy))
        }
        let rsync = EngineProgram("rsync", package: "rsync", purpose: "mirrors are copied by it")
        if rsync.path == nil { add(.fail, rsync.missing.problem, rsync.missing.remedy) }
        for info in await mirrors.infos(storyteller) {
            guard let mirror = wanted.first(where: { $0.name.description == info.name }), info.from != nil,
                !info.to.isEmpty
            else { continue }
            var interval = Duration.seconds(600)
            if case .every(let every) = mirror.schedule { interval = max(every, .seconds(60)) }
            if info.state == .failed {
                add(.warn, "\(info.name) is not copied: \(info.reason)", "bramble mirror list")
            } else if info.lastRun == nil, info.state != .running {
                add(
                    .warn, "\(info.name) was never copied as a whole to \(info.to.joined(separator: ", "))",
                    "bramble mirror run \(info.name)")
            } else if info.behindSeconds > (interval * 3).seconds {
                add(
                    .warn, "\(info.name) is \(Int(info.behindSeconds / 60)) min behind: \(info.reason)",
                    "bramble mirror run \(info.name)")
            }
            if info.conflicts > 0 {
                add(.warn, "\(info.conflicts) files of \(info.name) were set aside", "bramble mirror conflicts")
            }
        }
        if checks.isEmpty {
            add(
                .ok,
                wanted.count == 1
                    ? "the mirror is copied as it should be"
                    : "the \(wanted.count) mirrors are copied as they should be", "")
        }
        return checks
    }

    func probe(_ host: String) async throws(APIError) -> NodeChange {
        let endpoints = await lookUp(host)
        guard !endpoints.isEmpty else {
            throw APIError(
                problem: "“\(host)” has no address that this machine can find",
                remedy: "give its IP address, or put its name into DNS or /etc/hosts", kind: .notFound)
        }
        endpoints.forEach { pulse.post(.sighted($0)) }
        // A handshake takes a few round trips; three seconds are ample on any network that Bramble is for.
        for _ in 0..<30 {
            let snapshot = await pulse.snapshot
            let addresses = Set(endpoints)
            if let member = snapshot.members.first(where: {
                $0.rank == .alive && !addresses.isDisjoint(with: $0.record.profile.addresses)
            }), let name = snapshot.names.name(of: member.id)?.description {
                return NodeChange(name: name, done: "\(name) at \(endpoints[0]) is in the cluster")
            }
            if let applicant = snapshot.applicants.first(where: { addresses.contains($0.path) }) {
                throw APIError(
                    problem: "\(applicant.record.profile.name) at \(applicant.path) waits for approval",
                    remedy: "compare its code \(applicant.record.id.code), then: bramble node add "
                        + applicant.record.profile.name.description, kind: .refused)
            }
            guard await pause(.milliseconds(100)) else { break }
        }
        throw APIError(
            problem: "no node of this cluster answers at \(endpoints.map(\.description).joined(separator: ", "))",
            remedy:
                "check that Bramble runs there with the same cluster.key, and that UDP \(endpoints[0].port) is open",
            kind: .notFound)
    }
}
