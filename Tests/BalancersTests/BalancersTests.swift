import Balancers
import Primitives
import Services
import Testing

private func member(_ name: String, _ state: BalancerMember.State = .alive, leaving: Bool = false) -> BalancerMember {
    BalancerMember(
        name: NodeName(name)!, address: IPAddress("10.0.0.\(name.utf8.last! - 48)")!, state: state, isLeaving: leaving)
}
private func balancer(_ transport: Balancer.Transport = .http, sticky: Balancer.Stickiness = .none) -> Balancer {
    var balancer = Balancer(name: ServiceName("web")!, listenPort: 80, to: 8080)
    balancer.transport = transport
    balancer.sticky = sticky
    return balancer
}

@Suite("which backends of a balancer get something")
struct BackendKeeperTests {
    private func states(_ keeper: BackendKeeper) -> [String] {
        keeper.views[0].backends.map { "\($0.node) \($0.state.rawValue)" }
    }
    private func key(_ keeper: BackendKeeper, _ name: String) -> BackendKeeper.Key {
        keeper.questions.first { $0.key.node == NodeName(name)! }!.key
    }
    private func keeper(_ members: [BalancerMember], _ balancer: Balancer = balancer()) -> BackendKeeper {
        var keeper = BackendKeeper()
        keeper.use([balancer], services: [])
        keeper.use(members)
        return keeper
    }

    @Test("the first answer decides; later ones only when two agree, so that one lost packet moves nobody")
    func riseAndFall() {
        var keeper = keeper([member("n1"), member("n2")])
        #expect(states(keeper) == ["n1 unchecked", "n2 unchecked"])
        let n1 = key(keeper, "n1")
        keeper.answered(n1, .good)
        keeper.answered(key(keeper, "n2"), .wrong("it answers 500"))
        #expect(states(keeper) == ["n1 up", "n2 failing"])
        keeper.answered(n1, .wrong("it answers 500"))
        #expect(states(keeper)[0] == "n1 up")
        keeper.answered(n1, .wrong("it answers 500"))
        #expect(states(keeper)[0] == "n1 failing")
        keeper.answered(n1, .good)
        #expect(states(keeper)[0] == "n1 failing")
        keeper.answered(n1, .good)
        #expect(states(keeper)[0] == "n1 up")
    }

    @Test("a refusal counts at once: who refuses is there, and says that nobody listens")
    func refusal() {
        var keeper = keeper([member("n1")])
        let n1 = key(keeper, "n1")
        keeper.answered(n1, .good)
        keeper.answered(n1, .refused("nothing listens"))
        #expect(states(keeper) == ["n1 failing"])
    }

    @Test("silence counts at once, for there were two questions; where all are silent they get requests all the same")
    func silent() {
        var keeper = keeper([member("n1"), member("n2"), member("n3", .down)])
        let (n1, n2) = (key(keeper, "n1"), key(keeper, "n2"))
        for one in [n1, n2] { keeper.answered(one, .good) }
        keeper.answered(n1, .silent("no answer"))
        #expect(states(keeper) == ["n1 failing", "n2 up", "n3 down"])
        keeper.answered(n2, .silent("no answer"))
        #expect(states(keeper) == ["n1 up", "n2 up", "n3 down"], "too much to do is no reason to serve nobody")
        keeper.answered(n1, .refused("nothing listens"))
        #expect(states(keeper) == ["n1 failing", "n2 up", "n3 down"])
    }

    @Test("a node that is down is out and is not asked; after its return the first answer decides again")
    func down() {
        var keeper = keeper([member("n1")])
        keeper.answered(key(keeper, "n1"), .good)
        keeper.use([member("n1", .down)])
        #expect(states(keeper) == ["n1 down"])
        #expect(keeper.questions.isEmpty)
        keeper.use([member("n1")])
        #expect(states(keeper) == ["n1 unchecked"])
    }

    @Test("a suspicion moves nobody")
    func suspect() {
        var keeper = keeper([member("n1")])
        keeper.answered(key(keeper, "n1"), .good)
        keeper.use([member("n1", .suspect)])
        #expect(states(keeper) == ["n1 up"])
    }

    @Test("a drained node gets nothing new, whatever it answers")
    func draining() {
        var keeper = keeper([member("n1", leaving: true)])
        keeper.answered(key(keeper, "n1"), .good)
        #expect(states(keeper) == ["n1 draining"])
    }

    @Test("UDP has no question that every server answers: membership decides alone")
    func datagrams() {
        let keeper = keeper([member("n1"), member("n2", .down)], balancer(.udp))
        #expect(keeper.questions.isEmpty)
        #expect(states(keeper) == ["n1 up", "n2 down"])
    }

    @Test(
        "a node whose UDP server is gone says so and gets nothing; where nobody ever listened, somebody else may take it"
    )
    func silence() {
        var silent = SilentPorts()
        silent.look(at: [8080]) { _ in false }
        #expect(silent.ports == [])
        silent.look(at: [8080, 9]) { $0 == 8080 }
        silent.look(at: [8080, 9]) { _ in false }
        #expect(silent.ports == [8080])
        var restarted = SilentPorts(told: SilentPorts.ports(in: SilentPorts.text(silent.ports)))
        restarted.look(at: [8080, 9]) { _ in false }
        #expect(restarted.ports == [8080], "also after the daemon's restart")
        var gone = member("n1")
        gone.silentPorts = restarted.ports
        #expect(states(keeper([gone, member("n2")], balancer(.udp))) == ["n1 failing", "n2 up"])
        silent.look(at: [8080, 9]) { $0 == 8080 }
        #expect(silent.ports == [])
    }

    @Test("only the nodes it names are backends")
    func named() {
        var balancer = balancer()
        balancer.nodes = [NodeName("n2")!]
        #expect(keeper([member("n1"), member("n2")], balancer).questions.map(\.key.node) == [NodeName("n2")!])
    }
}

@Suite("who gets which share")
struct SlotsTests {
    @Test("shares are about equal", arguments: 2...20)
    func fair(count: Int) {
        let owners = Slots.owners((1...count).map { "n\($0)" })
        for index in 0..<count {
            let share = owners.count { $0 == index }
            #expect(share > 0 && share < Slots.count / count * 3, "n\(index + 1) has \(share) of \(Slots.count)")
        }
    }

    @Test("where one goes only its own share moves, and comes back with it", arguments: 2...12)
    func minimalMovement(count: Int) {
        let names = (1...count).map { "node-\($0)" }
        let before = Slots.owners(names).map { names[$0] }
        for gone in names {
            let left = names.filter { $0 != gone }
            let after = Slots.owners(left).map { left[$0] }
            for slot in 0..<Slots.count where before[slot] != gone { #expect(after[slot] == before[slot]) }
        }
    }

    @Test("nobody has nothing")
    func nobody() { #expect(Slots.owners([]).isEmpty) }
}

@Suite("what nginx and the kernel are told")
struct EngineTextTests {
    private func view(_ balancer: Balancer, _ states: [Backend.State]) -> BalancerView {
        BalancerView(
            balancer,
            backends: states.enumerated().map {
                Backend(
                    node: NodeName("n\($0 + 1)")!, endpoint: Endpoint(IPAddress("10.0.0.\($0 + 1)")!, port: 8080),
                    state: $1)
            })
    }

    private let place = NginxText.Place(prefix: "/p", temporary: "/t", user: "u", hasIPv6: false)

    @Test("nginx keeps those that are out in its list, marked, so that the others' places do not move")
    func nginx() {
        let text = NginxText.make([view(balancer(sticky: .source), [.up, .failing])], at: place, closed: nil)
        #expect(text.contains("server 10.0.0.1:8080 max_fails=1"))
        #expect(text.contains("server 10.0.0.2:8080 down;"))
        #expect(text.contains("hash $remote_addr consistent;"))
        #expect(text.contains("listen 80;") && !text.contains("[::]"))
        #expect(text.contains("pid /p/nginx.pid;") && text.contains("client_body_temp_path /t/body;"))
    }

    @Test("with a gate nginx is told the same whoever comes and goes, and has no opinion of its own")
    func gated() {
        let states: [[Backend.State]] = [[.up, .up], [.up, .failing], [.draining, .down], [.unchecked, .up]]
        let texts = states.map { states in
            let views = [view(balancer(), states)]
            return NginxText.make(views, at: place, closed: views.closed)
        }
        #expect(Set(texts).count == 1)
        #expect(texts[0].contains("server 10.0.0.2:8080 max_fails=0;") && !texts[0].contains(" down;"))
    }

    @Test("the gate closes what no balancer has up; where two disagree on an endpoint, nginx is told")
    func gate() {
        var other = balancer()
        other.name = ServiceName("other")!
        let views = [view(balancer(), [.up, .failing, .down]), view(other, [.up, .up])]
        #expect(views.closed == [Endpoint(IPAddress("10.0.0.3")!, port: 8080)])
        let text = NginxText.make(views, at: place, closed: views.closed)
        #expect(text.split(separator: "\n").filter { $0.contains("10.0.0.2:8080 down") }.count == 1)
        let gate = NftablesText.gate(views.closed, user: "u", group: "g")
        #expect(gate.contains("meta skuid \"u\" meta skgid \"g\" ip daddr . tcp dport { 10.0.0.3 . 8080 }"))
        #expect(
            NftablesText.gate([], user: "u", group: "g") == "table inet bramble_http\ndelete table inet bramble_http\n")
    }

    @Test(
        "the kernel's rules have every slot once, for live backends alone, and no map that could be empty for a moment")
    func kernel() throws {
        let text = NftablesText.make([view(balancer(.udp, sticky: .source), [.up, .down, .up])])
        #expect(!text.contains("10.0.0.2") && !text.contains("map"))
        let before = try #require(text.firstRange(of: "chain out {\n").map { text[..<$0.lowerBound] })
        var covered: [Int] = []
        for rule in before.split(separator: "\n") where rule.contains("udp dport 80") {
            let set = try #require(rule.split(separator: "{").last?.prefix { $0 != "}" })
            covered += set.split(separator: ",").compactMap { Int($0.filter { $0 != " " }) }
        }
        #expect(covered.sorted() == Array(0..<Slots.count))
        #expect(before.contains("dnat ip to 10.0.0.1:8080") && before.contains("dnat ip to 10.0.0.3:8080"))
    }

    @Test("at a service's addresses it matches those alone")
    func service() {
        var view = view(balancer(.tcp), [.up])
        view.addresses = [IPAddress("10.0.0.50")!]
        let text = NftablesText.make([view])
        #expect(text.contains("ip daddr { 10.0.0.50 } tcp dport 80"))
        #expect(!text.contains("fib daddr"))
    }

    @Test("without balancers the table is taken away")
    func nothing() {
        #expect(NftablesText.make(nil) == "table inet bramble_balance\ndelete table inet bramble_balance\n")
    }
}
