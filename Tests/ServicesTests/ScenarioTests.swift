import Primitives
import Services
import Testing

#if canImport(Glibc)
    import Glibc
#endif

// Scripts in Tests/ServicesTests/Scenarios: events, then `----`, then every effect they had, in order, up to an empty line.
//
//   node a of a b c            this node, and the members, all alive
//   service web run=exec:/bin/web addresses=10.0.0.50/24 check=tcp:80 after=db prefer=a,b mirrors=m failback
//           every=5s startWithin=60s stopWithin=30s failures=2 restarts=3
//   remove web   ready   alive b   suspect b   down b
//   peer b web running can|cannot|soon   what b says of it
//   says b web why …   silent b          what keeps it from running there, in its words
//   held web b 3                         the lease is known to be there
//   acquire web 1 1s   renew web 1 1s   lose web 1 1s why …   refuse web why …
//   done web start   fail web start [here|everywhere] why …   done (all that is asked, until nothing is asked any more)
//   ended web how …   hold a   drain a   resume a   stop web   start web   pin web b   restart web   clear web
//   path web down|up …   heartbeat eth1 down|up   mirror m never|receiving|synced|pristine
//   contested web 10.0.0.50 who   advance 5s   shutdown
//
// Effects: `web: start`, `web: wants 0`, `web: notice started`. `report web running a` asks for the state shown,
// `because web …` for the newest reason, `tells web …` for what other nodes are told. `nothing` is the absence of effects.
@Suite("scripted services")
struct ScenarioTests {
    static let directory = #filePath.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Scenarios"

    static let scripts: [String] = {
        guard let folder = opendir(directory) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".txt") { names.append(name) }
        }
        return names.sorted()
    }()

    private func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        return String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
    }

    @Test("there are scripts")
    func found() { #expect(Self.scripts.count >= 10) }

    @Test("what is asked for is what the script says", arguments: scripts)
    func script(name: String) throws {
        let text = try #require(read(Self.directory + "/" + name))
        var scenario = ServiceScenario()
        for (number, line) in (text + "\n").split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if let problem = scenario.take(String(line)) {
                Issue.record("\(name):\(number + 1): \(problem)")
                return
            }
        }
    }
}

struct ServiceScenario {
    private(set) var supervisor = ServiceSupervisor(node: Self.id("a"))
    private var now = Instant(sinceBoot: .seconds(100))
    private var desired = DesiredState()
    private var views: [NodeView] = []
    private var peers: [NodeID: [PeerReport]] = [:]
    private var outstanding: [MachineEffect] = []
    private var happened: [String] = []
    private var expected: [String]?
    private var revision: UInt64 = 0

    static func id(_ name: some StringProtocol) -> NodeID { NodeID(high: 0, low: UInt64(name.utf8.first!)) }

    mutating func take(_ line: String) -> String? {
        let text = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
            .split(separator: " ").joined(separator: " ")
        if text == "----" {
            expected = []
            return nil
        }
        if expected != nil {
            if text.isEmpty { return line.contains("#") ? nil : compare() }
            if ["report ", "because ", "tells "].contains(where: text.hasPrefix) { return report(text) }
            if text != "nothing" { expected?.append(text) }
            return nil
        }
        for command in text.split(separator: ";") {
            let words = command.split(separator: " ").map { String($0) }
            if !words.isEmpty, !perform(words) { return "cannot read: \(command)" }
        }
        return nil
    }

    private mutating func compare() -> String? {
        defer {
            happened = []
            expected = nil
        }
        guard let expected, happened != expected else { return nil }
        return "should be:\n  \(expected.joined(separator: "\n  "))\nbut is:\n  \(happened.joined(separator: "\n  "))"
    }

    private func report(_ text: String) -> String? {
        let words = text.split(separator: " ").map { String($0) }
        if words[0] == "tells" {
            let told = ServiceName(words[1]).flatMap { supervisor.reasons[$0] } ?? "nothing"
            let should = words.dropFirst(2).joined(separator: " ")
            return told == should ? nil : "it should tell the others “\(should)”, not “\(told)”"
        }
        guard let report = supervisor.reports(now: now).first(where: { $0.service.description == words[1] }) else {
            return "no report on \(words[1])"
        }
        if words[0] == "because" {
            let should = words.dropFirst(2).joined(separator: " ")
            let first = report.because.first?.text ?? "nothing"
            return first == should ? nil : "because should be “\(should)”, not “\(first)”"
        }
        let node = report.node.flatMap { id in views.first { $0.id == id } }.map { " \($0.name)" } ?? ""
        let found = "report \(report.service) \(report.state.rawValue)\(node)"
        return found == text ? nil : "should be “\(text)”, not “\(found)”; because \(report.because.map(\.text))"
    }

    private mutating func feed(_ event: ServiceEvent) { note(supervisor.handle(event, now: now)) }

    private mutating func note(_ effects: [ServiceEffect]) {
        for effect in effects {
            if case .machine(let order) = effect {
                if case .renewGate = order.action {} else { outstanding.append(order) }
            }
            happened.append(Self.text(effect))
        }
    }

    static func text(_ effect: ServiceEffect) -> String {
        switch effect {
        case .machine(let order): "\(order.service): \(text(order.action))"
        case .lease(let name, .want(let rank)): "\(name): wants \(rank)"
        case .lease(let name, .leaveToOthers): "\(name): leaves"
        case .lease(let name, .handOver(let heir)):
            "\(name): hands over to \(Character(UnicodeScalar(UInt8(heir.low))))"
        case .lease(let name, .release): "\(name): releases"
        case .lease(let name, .abandon): "\(name): lets its lease run out"
        case .notice(let notice): "\(notice.service.map { "\($0): " } ?? "")notice \(notice.kind.rawValue)"
        case .persist: "persist"
        case .finishedStopping: "finished"
        }
    }
    static func text(_ action: MachineEffect.Action) -> String {
        switch action {
        case .openGate: "open"
        case .renewGate: "renew"
        case .closeGate: "close"
        case .probe: "probe"
        case .holdAddresses: "hold"
        case .releaseAddresses: "off"
        case .start: "start"
        case .stop(_, let within): "stop \(within.nanoseconds / 1_000_000)"
        case .check: "check"
        case .feedMirrors: "feed"
        case .stopMirrors(_, let flush): flush == .zero ? "cease" : "flush"
        }
    }

    private mutating func answer(_ result: OrderResult, where matches: (MachineEffect) -> Bool) -> Bool {
        guard let index = outstanding.lastIndex(where: matches) else { return false }
        let order = outstanding.remove(at: index)
        feed(.finished(order.order, result))
        return true
    }

    private mutating func perform(_ words: [String]) -> Bool {
        let name = words.count > 1 ? ServiceName(words[1]) : nil
        let rest = { (count: Int) in words.dropFirst(count).joined(separator: " ") }
        switch words[0] {
        case "node":
            supervisor = ServiceSupervisor(node: Self.id(words[1]))
            views = words.dropFirst(3).map { NodeView(id: Self.id($0), name: NodeName($0)!, state: .alive) }
            feed(.nodes(views))
        case "alive", "suspect", "down":
            guard let index = views.firstIndex(where: { $0.name.description == words[1] }) else { return false }
            views[index].state = NodeView.State(rawValue: words[0])!
            feed(.nodes(views))
        case "service":
            guard let service = service(words) else { return false }
            desired.services.removeAll { $0.name == service.name }
            desired.services.append(service)
            feed(.desired(desired))
        case "remove":
            desired.services.removeAll { $0.name == name }
            feed(.desired(desired))
        case "ready": feed(.ready)
        case "peer":
            let id = Self.id(words[1])
            let report = PeerReport(
                service: ServiceName(words[2])!, state: ServiceReport.State(rawValue: words[3])!, epoch: .none,
                canTake: words[4] == "can", isPreparing: words[4] == "soon")
            peers[id, default: []].removeAll { $0.service == report.service }
            peers[id, default: []].append(report)
            feed(.reported(by: id, peers[id]!))
        case "says":
            // What a node said before is replaced.
            feed(.explained(by: Self.id(words[1]), [ServiceName(words[2])!: rest(3)]))
        case "silent": feed(.explained(by: Self.id(words[1]), [:]))
        case "held":
            feed(.leaseHeld(name!, by: words[2] == "nobody" ? nil : Self.id(words[2]), Epoch(UInt64(words[3])!)))
        case "acquire":
            feed(.leaseAcquired(name!, Epoch(UInt64(words[2])!), until: now + span(words[3]), .majority))
        case "renew": feed(.leaseRenewed(name!, Epoch(UInt64(words[2])!), until: now + span(words[3])))
        case "lose":
            feed(.leaseLost(name!, Epoch(UInt64(words[2])!), until: now + span(words[3]), reason: rest(4)))
        case "refuse": feed(.leaseRefused(name!, reason: rest(2)))
        case "done":
            if words.count == 1 {
                var bound = 1000
                while let order = outstanding.first, bound > 0 {
                    outstanding.removeFirst()
                    feed(.finished(order.order, .done))
                    bound -= 1
                }
                return true
            }
            return answer(.done) { Self.text(.machine($0)).hasPrefix("\(words[1]): \(words[2])") }
        case "fail":
            let reach = words.count > 3 ? OrderResult.Failure.Reach(rawValue: words[3]) : nil
            let failure = OrderResult.Failure(rest(reach == nil ? 3 : 4), reach: reach ?? .passing)
            return answer(.failed(failure)) { Self.text(.machine($0)).hasPrefix("\(words[1]): \(words[2])") }
        case "ended": feed(.ended(name!, how: rest(2)))
        case "hold", "drain", "resume", "stop", "start", "pin":
            revision += 1
            var orders = StandingOrders()
            switch words[0] {
            case "stop", "start": orders.set(name!, isStopped: words[0] == "stop", revision: revision)
            case "pin": orders.pin(name!, to: Self.id(words[2]), revision: revision)
            default:
                orders.set(
                    Self.id(words[1]), to: StandingOrders.Standby(rawValue: words[0]) ?? .no, revision: revision)
            }
            feed(.standing(orders))
        case "restart": feed(.order(.restart(name!)))
        case "clear": feed(.order(.clear(name!)))
        case "drill": feed(.order(.playDead(name!)))
        case "path": feed(.servicePath(name!, isUp: words[2] == "up", detail: rest(3)))
        case "heartbeat": feed(.heartbeatPath(words[1], isUp: words[2] == "up"))
        case "mirror":
            let all: [String: MirrorFreshness] = [
                "never": .never, "receiving": .receiving, "synced": .synced(behind: .seconds(3)), "pristine": .pristine,
            ]
            guard let freshness = all[words[2]] else { return false }
            feed(.mirror(name!, freshness))
        case "contested":
            let address = FloatingAddress(IPAddress(words[2])!, prefixLength: 24)
            feed(.addressContested(name!, address, by: words[3]))
        case "shutdown": feed(.shutDown)
        case "advance":
            let end = now + span(words[1])
            var bound = 10_000
            while let wake = supervisor.nextWake, wake <= end, bound > 0 {
                now = max(now, wake)
                note(supervisor.tick(now: now))
                bound -= 1
            }
            now = end
            return bound > 0
        default: return false
        }
        return true
    }

    private func span(_ text: String) -> Duration {
        if text.hasSuffix("ms") { return .milliseconds(Int(text.dropLast(2))!) }
        if text.hasSuffix("h") { return .seconds(3600 * Int(text.dropLast())!) }
        if text.hasSuffix("m") { return .seconds(60 * Int(text.dropLast())!) }
        return .seconds(Int(text.dropLast())!)
    }

    private func service(_ words: [String]) -> Service? {
        guard let name = ServiceName(words[1]) else { return nil }
        var service = Service(name: name)
        for word in words.dropFirst(2) {
            let parts = word.split(separator: "=", maxSplits: 1).map { String($0) }
            let value = parts.count > 1 ? parts[1] : ""
            let list = value.split(separator: ",").map { String($0) }
            switch parts[0] {
            case "run": service.run = .exec([value])
            case "addresses":
                service.addresses = list.map {
                    FloatingAddress(IPAddress($0.split(separator: "/")[0])!, prefixLength: 24)
                }
            case "check": service.check = .tcp(host: nil, port: 80)
            case "after": service.after = list.map { ServiceName($0)! }
            case "prefer": service.prefer = list.map { NodeName($0)! }
            case "mirrors": service.mirrors = list.map { ServiceName($0)! }
            case "failback": service.failback = true
            case "every": service.every = span(value)
            case "startWithin": service.limits.startWithin = span(value)
            case "stopWithin": service.limits.stopWithin = span(value)
            case "failures": service.limits.failures = Int(value)!
            case "restarts": service.limits.restarts = Int(value)!
            default: return nil
            }
        }
        return service
    }
}
