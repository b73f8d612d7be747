import Primitives
import Services
import Testing
import YAML

@Suite("the file for apply")
struct DocumentTests {
    static let example = """
        reach: [192.168.1.1, 192.168.1.2]        # hosts that normally answer; decide who is isolated
        services:
          - name: files
            addresses: [192.168.1.50/24]         # floating; `mac: own|virtual|takeover` per service
            run: systemd:smbd                    # or ocf:heartbeat:nginx, script:/etc/init.d/x, exec:[/usr/bin/x, -f]
            parameters: {configfile: /etc/x}     # an OCF agent's
            check: tcp:445                       # or http://:8080/health, exec:[...]; every: 5s
            after: [names]
            prefer: [serv1, serv2]               # no failback by itself; `failback: true` asks for it
            mirrors: [samba]
          - {name: names, run: "exec:[/usr/sbin/named, -f, \\"-4, please\\"]"}
        mirrors:
          - name: samba
            paths: [/var/lib/samba/, /etc/samba/smb.conf]
            every: 10m                           # or on-change
            limit: 2M                            # bytes a second
        fences:
          - {node: serv1, agent: fence_apc_snmp, parameters: {ip: 192.168.1.5, plug: "3"}, within: 30s}
          - {node: serv2, agent: /usr/local/bin/my-fence}
        balancers:
          - {name: web, listen: ":80", protocol: http, to: 8080, sticky: source}
        volumes:
          - {name: shared, type: replicate, replica: 3, path: /data/bricks}
        schema:
          - CREATE TABLE IF NOT EXISTS laps (id TEXT PRIMARY KEY, "time" INTEGER)
        """

    private func read(_ text: String) throws -> ApplyDocument {
        try YAML.decode(ApplyDocument.self, from: text, name: "f.yaml")
    }
    private func error(_ text: String) -> YAMLError? {
        do throws(YAMLError) { _ = try YAML.decode(ApplyDocument.self, from: text, name: "f.yaml") } catch {
            return error
        }
        return nil
    }

    @Test("what INTERFACE promises is read, value by value")
    func promised() throws {
        let document = try read(Self.example)
        let files = try #require(document.services?.first)
        #expect(files.addresses.map(\.description) == ["192.168.1.50/24"])
        #expect(files.run == .systemd(unit: "smbd"))
        #expect(files.parameters == [.init("configfile", "/etc/x")])
        #expect(files.check == .tcp(host: nil, port: 445))
        #expect(files.prefer.map(\.description) == ["serv1", "serv2"])
        #expect(files.every == .seconds(5) && files.failback == false && files.mac == .own)
        #expect(document.services?.last?.run == .exec(["/usr/sbin/named", "-f", "-4, please"]))
        #expect(document.mirrors?.first?.schedule == .every(.seconds(600)))
        #expect(document.balancers?.first?.sticky == .source)
        #expect(document.mirrors?.first?.limit == 2_000_000)
        let fence = try #require(document.fences?.first)
        #expect(fence.node.description == "serv1" && fence.agent == "fence_apc_snmp" && fence.within == .seconds(30))
        #expect(fence.parameters == [.init("ip", "192.168.1.5"), .init("plug", "3")])
        #expect(document.volumes?.first?.layout == .replicate(copies: 3))
        #expect(document.applied(to: DesiredState(), prune: false).problems() == [])
    }

    @Test("what export prints is taken back, and prints the same bytes again")
    func stable() throws {
        let state = try read(Self.example).applied(to: DesiredState(), prune: false)
        let text = DocumentText.write(state)
        let again = try read(text).applied(to: DesiredState(), prune: true)
        #expect(again == state)
        #expect(DocumentText.write(again) == text)
        #expect(text.contains("run: systemd:smbd\n"))
        #expect(DocumentText.write(DesiredState()) == "{}\n")
        #expect(try read("{}") == ApplyDocument())
    }

    @Test("a document that names one service leaves the others alone; with prune they go")
    func merged() throws {
        let state = try read(Self.example).applied(to: DesiredState(), prune: false)
        let one = try read("services: [{name: dns, run: systemd:unbound}]")
        #expect(one.applied(to: state, prune: false).services.map(\.name.description) == ["dns", "files", "names"])
        let pruned = one.applied(to: state, prune: true)
        #expect(pruned.services.map(\.name.description) == ["dns"])
        #expect(pruned.mirrors == state.mirrors, "a part that is not there says nothing")
    }

    static let wrong: [(text: String, problem: String, remedy: String)] = [
        (
            "fences: [{node: serv1, agent: rm}]",
            "f.yaml, line 1, column 31: `fences[0].agent`: “rm” is no fence agent",
            "name one of the package fence-agents, as in fence_apc_snmp, or the whole path of a program"
        ),
        (
            "fences: [{node: serv1, agent: fence_ilo, parameters: {passwd: x}}]",
            "f.yaml, line 1, column 54: `fences[0].parameters`: passwd would be in the document, which everybody who may "
                + "log in reads",
            "write passwd_script: /PATH of a script that prints it, on both nodes, mode 700"
        ),
        (
            "mirrors: [{name: m, paths: [/srv/], limit: 2}]",
            "f.yaml, line 1, column 44: `mirrors[0].limit`: “2” is no limit",
            "write bytes a second, as in 500k or 2M"
        ),
        (
            "services: [{name: web, adresses: []}]", "f.yaml, line 1, column 24: unknown key `adresses`",
            "did you mean `addresses`?"
        ),
        (
            "services:\n  - name: web\n    addresses: [10.0.0.300/24]",
            "f.yaml, line 3, column 16: `services[0].addresses`: “10.0.0.300/24” is not an address",
            "write it with its network, as in 192.168.1.50/24"
        ),
        (
            "services: [{name: web, addresses: [10.0.0.3]}]",
            "f.yaml, line 1, column 35: `services[0].addresses`: “10.0.0.3” lacks the length of its network",
            "write it as in 10.0.0.3/24"
        ),
        (
            "services: [{name: web, addresses: [127.0.0.1/8]}]",
            "f.yaml, line 1, column 35: `services[0].addresses`: 127.0.0.1 cannot move between machines",
            "choose a free address of the network of your clients"
        ),
        (
            "services: [{name: web, every: 5}]",
            "f.yaml, line 1, column 31: `services[0].every`: “5” is not a length of time",
            "write a length of time such as 250ms, 5s, 10m, 1h or 1d"
        ),
        (
            "services: [{name: web, every: 10ms}]",
            "f.yaml, line 1, column 31: `services[0].every`: 10ms is out of range",
            "write 100ms to 1d"
        ),
        (
            "services: [{name: web, run: systemd}]",
            "f.yaml, line 1, column 29: `services[0].run`: “systemd” names no unit",
            "write systemd:UNIT, as in systemd:smbd"
        ),
        (
            "services: [{name: web, run: 'exec:[nginx]'}]",
            "f.yaml, line 1, column 30: `services[0].run`: the program “nginx” is not a whole path",
            "write it from the root on, as in /usr/bin/x"
        ),
        (
            "services: [{name: web, run: script:/etc/../x}]",
            "f.yaml, line 1, column 29: `services[0].run`: the script “/etc/../x” has dots for directories in it",
            "write it without . and .."
        ),
        (
            "services: [{name: web, check: 'https://x/'}]",
            "f.yaml, line 1, column 32: `services[0].check`: “https://x/” is no check",
            "certificates are the client's matter: use exec:[/usr/bin/curl, -sf, https://x/]"
        ),
        (
            "services: [{name: web, check: 'tcp:0'}]",
            "f.yaml, line 1, column 32: `services[0].check`: “tcp:0” lacks the port", "write tcp:PORT, as in tcp:445"
        ),
        (
            "services: [{name: -web}]", "f.yaml, line 1, column 19: `services[0].name`: “-web” is not a name",
            "use 1 to 48 letters, digits, hyphens, dots and underscores, not starting with - or ."
        ),
        (
            "services: [{run: systemd:x}]", "f.yaml, line 1, column 12: `services[0]` lacks `name`", "add `name: …`"
        ),
        (
            "services: [{name: a, mac: real}]",
            "f.yaml, line 1, column 27: `services[0].mac`: “real” is not one of own, virtual, takeover",
            "write one of them"
        ),
        (
            "mirrors: [{name: m, paths: [/proc/1]}]",
            "f.yaml, line 1, column 28: `mirrors[0].paths`: /proc/1 belongs to one machine",
            "name what the service keeps, as in /var/lib/samba/"
        ),
        (
            "mirrors: [{name: m, paths: [/]}]",
            "f.yaml, line 1, column 28: `mirrors[0].paths`: / belongs to one machine",
            "name what the service keeps, as in /var/lib/samba/"
        ),
        (
            "volumes: [{name: v, path: /b, type: disperse, replica: 3}]",
            "f.yaml, line 1, column 56: `volumes[0].replica`: only a replicated volume has it", "use redundancy: BRICKS"
        ),
        (
            "balancers: [{name: b, listen: 80, to: 70000}]",
            "f.yaml, line 1, column 39: `balancers[0].to`: 70000 is out of range", "write 1 to 65535"
        ),
        (
            "reach: [127.0.0.1]", "f.yaml, line 1, column 8: `reach`: 127.0.0.1 always answers, so it says nothing",
            "name hosts beyond the switch, such as the router"
        ),
        ("reach: yes", "f.yaml, line 1, column 8: `reach` must be a list, not `yes`", ""),
    ]

    @Test("what is wrong is named with its place and what would be right", arguments: wrong.indices)
    func refused(index: Int) {
        let (text, problem, remedy) = Self.wrong[index]
        let found = error(text)
        #expect(found?.problem == problem)
        #expect(found?.remedy == remedy)
    }

    static let unfitting: [(text: String, problem: String, place: [PlaceStep])] = [
        (
            "services: [{name: a, run: systemd:a}, {name: a, run: systemd:b}]", "there are two “a” in services",
            [.key("services"), .index(1), .key("name")]
        ),
        (
            "services: [{name: a, run: systemd:a, after: [b]}, {name: b, run: systemd:b, after: [a]}]",
            "a, b wait for each other", [.key("services"), .index(0), .key("after")]
        ),
        (
            "services: [{name: a, run: systemd:a, after: [a]}, {name: b, run: systemd:b, after: [a]}]",
            "a waits for itself", [.key("services"), .index(0), .key("after")]
        ),
        (
            "services: [{name: web, run: systemd:a, after: [dbb]}, {name: db, run: systemd:b}]",
            "there is no service “dbb”", [.key("services"), .index(0), .key("after")]
        ),
        (
            "services: [{name: web, run: systemd:a, mirrors: [m]}]", "there is no mirror “m”",
            [.key("services"), .index(0), .key("mirrors")]
        ),
        (
            "services: [{name: a, run: systemd:a, mirrors: [m]}, {name: b, run: systemd:b, mirrors: [m]}]\nmirrors: [{name: m, paths: [/srv/]}]",
            "the mirror “m” follows a already", [.key("services"), .index(1), .key("mirrors")]
        ),
        (
            "services: [{name: a, addresses: [10.0.0.1/24]}, {name: b, addresses: [10.0.0.1/8]}]",
            "10.0.0.1 is in a and in b", [.key("services"), .index(1), .key("addresses")]
        ),
        (
            "reach: [10.0.0.1]\nservices: [{name: a, addresses: [10.0.0.1/24]}]", "10.0.0.1 is in the reach list, too",
            [.key("services"), .index(0), .key("addresses")]
        ),
        ("services: [{name: a}]", "a does nothing", [.key("services"), .index(0), .key("name")]),
        (
            "mirrors: [{name: m, paths: [/srv/]}, {name: n, paths: [/srv/x]}]",
            "/srv/x and /srv/ (in m) are one inside the other", [.key("mirrors"), .index(1), .key("paths")]
        ),
        (
            "balancers: [{name: a, listen: ':80', to: 80}]", "port 80 of every node is the balancer itself",
            [.key("balancers"), .index(0), .key("to")]
        ),
        (
            "balancers: [{name: a, listen: ':80', to: 1, protocol: tcp}, {name: b, listen: '10.0.0.1:80', to: 2}]",
            "a listens at :80 already", [.key("balancers"), .index(1), .key("listen")]
        ),
        (
            "volumes: [{name: v, path: /b, type: disperse, redundancy: 2, nodes: [a, b, c]}]",
            "3 nodes are too few, it takes 5", [.key("volumes"), .index(0), .key("nodes")]
        ),
    ]

    @Test("what does not fit together is named with its place", arguments: unfitting.indices)
    func unfit(index: Int) throws {
        let (text, problem, place) = Self.unfitting[index]
        let document = try read(text)
        let found = document.applied(to: DesiredState(), prune: false).problems()
        // Of two with one name, everything about the second is said once more.
        #expect(found.first { $0.problem == problem } != nil, "\(found)")
        #expect(found.first { $0.problem == problem }?.place(in: document) == place)
        #expect(found.allSatisfy { !$0.remedy.isEmpty })
    }

    @Test("an error found in the whole has the line of what it is about")
    func lineOfWhole() throws {
        let text = "services:\n  - name: web\n    run: systemd:x\n    after: [dbb]\n"
        let found = YAML.error(
            at: [.key("services"), .index(0), .key("after")], in: text, name: "f.yaml", problem: "no", remedy: "r")
        #expect(found.problem == "f.yaml, line 4, column 12: no")
        let gone = YAML.error(at: [.key("services"), .index(7)], in: text, name: "f", problem: "no", remedy: "")
        #expect(gone.line == 2)
    }

    @Test("commands with every kind of argument are written so that they are read back")
    func arguments() throws {
        let lists = [
            ["/bin/x"], ["/bin/x", "a b", "", " x", "a,b", "a\"b", "a\\b", "a\nb", "[x]", "#", "ü", "a: b", "'"],
            ["/bin/a b/c", "-f"],
        ]
        for list in lists { #expect(try ArgumentList.read(ArgumentList.write(list)) == list) }
        for text in [
            "", "[", "[]", "[ ]", "[/x,]", "[/x, \"a]", "[/x, \"a\" b]", "[/x, \"\\q\"]", "/x", "[x]", "[/x, a\"b]",
        ] {
            #expect(throws: Refusal.self) { try ArgumentList.read(text) }
        }
    }

    @Test("lengths of time are written in the largest unit that fits, and read back")
    func durations() {
        for (text, length) in [
            ("250ms", Duration.milliseconds(250)), ("5s", .seconds(5)), ("90s", .seconds(90)), ("10m", .seconds(600)),
            ("2h", .seconds(7200)), ("1d", .seconds(86_400)), ("0s", .zero),
        ] {
            #expect(DurationText.read(text) == length)
            #expect(DurationText.write(length) == text)
        }
        for text in ["", "5", "s", "-5s", "1.5s", "5 s", "9999999999s", "400d", "5S", "٣s"] {
            #expect(DurationText.read(text) == nil, "\(text)")
        }
    }

    @Test("changes are told in words")
    func changes() throws {
        let old = try read("services: [{name: web, run: systemd:a, parameters: {x: 1}}, {name: old, run: systemd:o}]")
            .applied(to: DesiredState(), prune: true)
        let new = try read("services: [{name: web, run: systemd:b, parameters: {x: 2}}, {name: new, run: systemd:n}]")
            .applied(to: old, prune: true)
        let changes = old.changes(to: new)
        #expect(changes.map { "\($0.kind.rawValue) \($0.name)" } == ["added new", "removed old", "changed web"])
        #expect(changes[2].details == ["parameters.x: \"1\" → \"2\"", "run: systemd:a → systemd:b"])
        #expect(old.changes(to: old) == [])
    }
}

/// Any state that can be: what is written is read back, as YAML and as rows.
struct ArbitraryState {
    var chance: SeededGenerator
    init(seed: UInt64) { chance = SeededGenerator(seed: seed) }

    mutating func roll(_ sides: Int) -> Int { Int(chance.next() % UInt64(sides)) }
    mutating func text() -> String {
        let pieces = [
            "a", "true", "12", "-", ":", " ", "#", "\"", "'", "\\", "\n", "\t", "é", "😀", "[", "]", "{", "}", ",", "&",
            "*",
            "!", "|", ">", "%", "@", "`", "null", "~", "1e3", "0x1", "\u{7}", "\u{85}", "\u{2028}", "/x", "?", "=",
        ]
        return (0..<roll(5)).map { _ in pieces[roll(pieces.count)] }.joined()
    }
    mutating func path() -> String { "/" + ["srv", "var/lib", "etc/x y", "data-1"][roll(4)] + "/\(roll(100_000))" }
    mutating func nodes() -> [NodeName] { (0..<roll(3)).map { NodeName("serv\($0)")! } }
    mutating func time() -> Duration { [.milliseconds(250), .seconds(7), .seconds(120), .seconds(3600)][roll(4)] }

    mutating func state() -> DesiredState {
        var state = DesiredState()
        state.reach = (0..<roll(3)).map { IPAddress("10.0.0.\($0 + 1)")! }
        for index in 0..<roll(4) {
            var mirror = Mirror(name: ServiceName("m\(index)")!, paths: [path() + "/", path()])
            mirror.schedule = roll(2) == 0 ? .onChange : .every(.seconds(1 + roll(5000)))
            mirror.exclude = ["*.tmp", "a b", "#x#"].filter { _ in roll(2) == 0 }
            mirror.to = nodes()
            state.mirrors.append(mirror)
        }
        for index in 0..<roll(5) {
            var service = Service(name: ServiceName("s\(index)")!)
            service.addresses = (0..<roll(3)).map {
                $0 == 0
                    ? FloatingAddress(IPAddress("192.168.\(index).50")!, prefixLength: 24)
                    : FloatingAddress(IPAddress("fd00::\(index):\($0)")!, prefixLength: 64)
            }
            service.mac = MACMode.allCases[roll(3)]
            service.interface = roll(3) == 0 ? "eth0.7" : nil
            service.run =
                [
                    nil, .systemd(unit: "a@b.service"), .ocf(provider: "heartbeat", agent: "nginx"),
                    .script(path: path()),
                    .exec([path(), text(), text()]),
                ][roll(5)]
            service.parameters = ["a", "B_2"].map { .init($0, text()) }.sorted { $0.name < $1.name }
            service.check =
                [
                    nil, .monitor, .tcp(host: nil, port: 1), .tcp(host: "fd00::1", port: 80),
                    .http(host: nil, port: 8080, path: "/x?y=1#z"), .http(host: "h-1", port: 80, path: "/"),
                    .exec([path(), text()]),
                ][roll(7)]
            service.every = time()
            service.after = index > 0 ? [ServiceName("s0")!] : []
            service.prefer = nodes()
            service.failback = roll(2) == 0
            service.mirrors = index < state.mirrors.count ? [state.mirrors[index].name] : []
            service.limits.startWithin = time()
            service.limits.failures = 1 + roll(5)
            state.services.append(service)
        }
        for index in 0..<roll(3) {
            var volume = Volume(
                name: ServiceName("v\(index)")!,
                layout: roll(2) == 0
                    ? .replicate(copies: 2 + roll(3), arbiter: roll(2) == 0)
                    : .disperse(redundancy: 1 + roll(2), bricks: roll(2) == 0 ? nil : 5 + roll(3)),
                path: path())
            volume.mount = roll(2) == 0 ? path() : nil
            volume.force = roll(2) == 0
            state.volumes.append(volume)
            var balancer = Balancer(name: ServiceName("b\(index)")!, listenPort: UInt16(80 + index), to: 8080)
            balancer.listenAddress = [nil, IPAddress("10.0.0.1"), IPAddress("fd00::1")][roll(3)]
            balancer.transport = Balancer.Transport.allCases[roll(3)]
            balancer.sticky = roll(2) == 0 ? .source : .none
            state.balancers.append(balancer)
        }
        state.schema = ["CREATE TABLE a (b)", "INSERT INTO a VALUES ('x: # y')\n"].filter { _ in roll(2) == 0 }
        return state.canonical
    }
}

@Suite("any desired state")
struct RoundTripTests {
    @Test("survives YAML, and is written the same again", arguments: 0..<150)
    func yaml(seed: Int) throws {
        var arbitrary = ArbitraryState(seed: UInt64(seed))
        let state = arbitrary.state()
        let text = DocumentText.write(state)
        let read = try YAML.decode(ApplyDocument.self, from: text).applied(to: DesiredState(), prune: true)
        #expect(read == state, "\(text)")
        #expect(DocumentText.write(read) == text)
    }

    @Test("survives the rows of the database", arguments: 0..<150)
    func rows(seed: Int) {
        var arbitrary = ArbitraryState(seed: UInt64(seed))
        let state = arbitrary.state()
        var unreadable: [Refusal] = []
        let facts = state.rows.reversed().compactMap { DesiredRow(factKey: $0.factKey, value: $0.factValue) }
        let read = DesiredState(rows: facts) { unreadable.append($1) }
        #expect(unreadable == [])
        #expect(read == state)
        let next = arbitrary.state()
        let edits = state.edits(to: next)
        var rows = state.rows.filter { row in !edits.delete.contains { $0.table == row.table && $0.key == row.key } }
        rows.removeAll { row in edits.put.contains { $0.table == row.table && $0.key == row.key } }
        #expect(DesiredState(rows: rows + edits.put) { unreadable.append($1) } == next)
        #expect(unreadable == [])
    }

    @Test("a row that cannot be read is left out and told, the others count")
    func unreadable() {
        var service = Service(name: ServiceName("web")!)
        service.run = .systemd(unit: "x")
        var state = DesiredState()
        state.services = [service]
        var rows = state.rows
        rows.append(DesiredRow("services", "odd", [("name", .text("odd")), ("run", .text("rocket:moon"))]))
        rows.append(DesiredRow("services", "list", [("name", .text("list")), ("addresses", .text("x"))]))
        rows.append(DesiredRow("later", "x", [("name", .text("x"))]))
        var told: [String] = []
        #expect(DesiredState(rows: rows) { row, _ in told.append(row.key) } == state)
        #expect(told == ["odd", "list"])
    }

    @Test("the value of a fact reads like the file; what is none is no row")
    func fact() {
        var service = Service(name: ServiceName("web")!)
        service.run = .exec(["/bin/x", "a\"b"])
        service.addresses = [FloatingAddress(IPAddress("10.0.0.1")!, prefixLength: 24)]
        service.limits.failures = 3
        var state = DesiredState()
        state.services = [service]
        let row = state.rows[0]
        #expect(row.factKey == "desired/services/web")
        let expected = #"{"name":"web","addresses":["10.0.0.1/24"],"run":"exec:[/bin/x, \"a\\\"b\"]","failures":3}"#
        #expect(row.factValue == expected)
        let others = [
            ("desired/services/web", "{"), ("desired/services/web", "[]"), ("user/x", "{}"), ("desired/x", "{}"),
            ("desired/services/web", "{\"a\":}"), ("desired/services/web", "{\"a\":[1]}"),
            ("desired/services/web", "{} x"),
            ("desired/services/web", "{\"a\":99999999999999999999}"), ("desired/services/web", "{\"a\":\"\\ud800\"}"),
        ]
        for (key, value) in others { #expect(DesiredRow(factKey: key, value: value) == nil, "\(value)") }
    }

    @Test("orders that last survive their rows")
    func orders() {
        var orders = StandingOrders()
        let node = NodeID(high: 7, low: 8)
        orders.set(node, to: .drain, revision: 4)
        orders.set(ServiceName("web")!, isStopped: true, revision: 5)
        orders.pin(ServiceName("db")!, to: node, revision: 6)
        orders.pin(ServiceName("web")!, to: nil, revision: 7)
        #expect(StandingOrders(rows: orders.rows) == orders)
        let facts = orders.rows.compactMap { DesiredRow(factKey: $0.factKey, value: $0.factValue) }
        #expect(StandingOrders(rows: facts) == orders)
    }
}
