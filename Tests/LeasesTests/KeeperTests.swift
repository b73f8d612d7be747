import Leases
import Primitives
import Testing

/// Two keepers, or three, and a network that delivers at once unless it is cut. Time moves in ticks of 25 ms.
private struct Table {
    static let lease = LeaseName.service(ServiceName("files")!)
    static let nodes = (1...3).map { NodeID(high: 9, low: UInt64($0)) }
    var keepers: [NodeID: LeaseKeeper] = [:]
    var now: [NodeID: Instant] = [:]
    var cut: Set<NodeID> = []
    var reach: [NodeID: Int] = [:]
    var isAddressAnswered = false
    var log: [NodeID: [LeaseEffect]] = [:]
    var clock = Duration.zero
    var stuckDisks: Set<NodeID> = []

    init(_ count: Int, memory: LeaseMemory? = nil, judge: LeaseConfig.PairJudge = .reach(hosts: 2)) {
        let nodes = Array(Self.nodes.prefix(count))
        var memory = memory ?? LeaseMemory()
        memory.voters = VoterConfig(lineage: 1, number: 1, nodes: nodes)
        var pair = LeaseConfig(.fast, isPair: true)
        pair.pair = judge
        for (index, node) in nodes.enumerated() {
            keepers[node] = LeaseKeeper(
                me: node, generation: 1, pair: pair, votes: LeaseConfig(.fast, isPair: false), memory: memory,
                chance: SeededGenerator(seed: UInt64(index)), now: .zero + .seconds(index * 1000))
            now[node] = .zero + .seconds(index * 1000)
            reach[node] = 2
        }
        for node in nodes { give(.members(nodes, witness: nil), to: node) }
    }
    mutating func give(_ event: LeaseEvent, to node: NodeID) {
        guard var keeper = keepers[node] else { return }
        let effects = keeper.handle(event, now: now[node]!)
        keepers[node] = keeper
        log[node, default: []] += effects
        for effect in effects {
            switch effect {
            case .send(let message, let target):
                guard !cut.contains(node), !cut.contains(target) else { continue }
                give(.received(try! LeaseCodec.decode(LeaseCodec.encode(message)), from: node), to: target)
            case .persist(_, let ticket): if !stuckDisks.contains(node) { give(.persisted(ticket: ticket), to: node) }
            case .probeReach(let ticket):
                if let count = reach[node], count > 0 { give(.reach(ticket: ticket, answered: count), to: node) }
            case .probeAddresses(_, let ticket): give(.probed(ticket: ticket, isAnswered: isAddressAnswered), to: node)
            default: break
            }
        }
    }
    mutating func run(_ duration: Duration, without dead: Set<NodeID> = []) {
        let end = clock + duration
        while clock < end {
            clock += .milliseconds(25)
            for node in Self.nodes where keepers[node] != nil {
                now[node] = now[node]! + .milliseconds(25)
                if !dead.contains(node) { give(.tick, to: node) }
            }
        }
    }
    func holds(_ node: NodeID) -> Bool {
        keepers[node]!.term(of: Self.lease).map { now[node]! < $0.until } ?? false
    }
    var holders: [NodeID] { Self.nodes.filter { keepers[$0] != nil && holds($0) } }
    mutating func wantAll() {
        for (rank, node) in Self.nodes.enumerated() where keepers[node] != nil {
            give(.wish(Self.lease, .want(rank: rank)), to: node)
        }
    }
}

@Suite("a node's leases")
struct KeeperTests {
    private let one = Table.nodes[0]
    private let two = Table.nodes[1]
    private let three = Table.nodes[2]

    @Test("of three the best rank gets it, one holds it, and another takes it after T when the holder is gone")
    func three_() throws {
        var table = Table(3)
        table.wantAll()
        table.run(.seconds(3))
        #expect(table.holders == [one])
        let epoch = try #require(table.keepers[one]!.term(of: Table.lease)).epoch
        table.cut = [one]
        table.run(.milliseconds(1500), without: [one])
        #expect(table.holders == [two])
        #expect(try #require(table.keepers[two]!.term(of: Table.lease)).epoch > epoch)
    }

    @Test("a planned move hands it over at once, with a higher epoch", arguments: [2, 3])
    func move(count: Int) throws {
        var table = Table(count)
        table.wantAll()
        table.run(.seconds(3))
        #expect(table.holders == [one])
        let epoch = try #require(table.keepers[one]!.term(of: Table.lease)).epoch
        table.give(.wish(Table.lease, .handOver(to: two)), to: one)
        #expect(table.holders == [two])
        #expect(try #require(table.keepers[two]!.term(of: Table.lease)).epoch > epoch)
    }

    @Test("an epoch that is not on the disk is held by nobody", arguments: [2, 3])
    func disk(count: Int) {
        var table = Table(count)
        table.stuckDisks = Set(Table.nodes)
        table.wantAll()
        table.run(.seconds(5))
        #expect(table.holders.isEmpty)
        table.stuckDisks = []
        for node in Table.nodes.prefix(count) { table.give(.persisted(ticket: 1000), to: node) }
        table.run(.seconds(2))
        #expect(table.holders.count == 1)
    }

    @Test("of two the survivor takes over after T and before 550 ms, while its reach list answers")
    func pairTakesOver() {
        var table = Table(2)
        table.wantAll()
        table.run(.seconds(3))
        table.cut = [one]
        table.run(.milliseconds(375), without: [one])
        #expect(!table.holds(two))
        table.run(.milliseconds(175), without: [one])
        #expect(table.holds(two))
    }

    @Test("of two, none takes over that reaches fewer hosts than the other did, or whose probe is answered")
    func pairJudges() {
        for (hosts, isAnswered) in [(0, false), (1, false), (2, true)] {
            var table = Table(2)
            table.wantAll()
            table.run(.seconds(3))
            table.reach[two] = hosts
            table.isAddressAnswered = isAnswered
            table.cut = [one]
            table.run(.seconds(5))
            #expect(!table.holds(two), "\(hosts) hosts, answered: \(isAnswered)")
            #expect(table.holds(one))
        }
    }

    @Test("a holder cut off from the other and from the list lets go within L")
    func pairLetsGo() {
        var table = Table(2)
        table.wantAll()
        table.run(.seconds(3))
        table.cut = [one]
        table.reach[one] = 0
        table.run(.milliseconds(275))
        #expect(!table.holds(one))
    }

    @Test("a node that starts alone waits, and stays standby if the other may have newer data")
    func startsAlone() {
        for isAlone in [false, true] {
            var memory = LeaseMemory()
            memory.epochs[Table.lease] = EpochMark(Epoch(5))
            memory.isAlone = isAlone
            var table = Table(2, memory: memory)
            table.wantAll()
            table.cut = [one]
            table.run(.seconds(19), without: [one])
            #expect(!table.holds(two))
            table.run(.seconds(3), without: [one])
            #expect(table.holds(two) == isAlone)
            // An operator's word replaces the other's.
            table.give(.takeOver(Table.lease), to: two)
            table.run(.seconds(1), without: [one])
            #expect(table.holds(two))
        }
    }

    @Test("a node that starts alone goes on as a cluster of one when the other one is removed, which it never heard")
    func startsAloneAndRemoves() {
        var memory = LeaseMemory()
        memory.epochs[Table.lease] = EpochMark(Epoch(5))
        var table = Table(2, memory: memory)
        table.wantAll()
        table.cut = [one]
        table.run(.seconds(30), without: [one])
        #expect(!table.holds(two))
        table.give(.removed(one), to: two)
        table.give(.members([two], witness: nil), to: two)
        table.run(.seconds(10), without: [one])
        #expect(table.holds(two) && table.keepers[two]!.voters.nodes == [two])
    }

    @Test("with a fence agent nothing is taken before the other is confirmed to be off")
    func fence() {
        var table = Table(2, judge: .fence)
        table.wantAll()
        table.run(.seconds(3))
        table.cut = [one]
        table.run(.seconds(3), without: [one])
        #expect(!table.holds(two))
        #expect(table.log[two]!.contains(.fence(one)))
        table.give(.fenced(one, isConfirmed: true), to: two)
        table.run(.milliseconds(100), without: [one])
        #expect(table.holds(two))
        #expect(table.keepers[two]!.guarantee == .fence)
    }

    @Test("a fence agent that fails is asked again after five seconds, and a holder goes on meanwhile")
    func fenceAgain() {
        var table = Table(2, judge: .fence)
        table.wantAll()
        table.run(.seconds(3))
        func asked() -> Int { table.log[two]!.count { $0 == .fence(one) } }
        // Only the cable between them: both live.
        table.cut = [one]
        table.run(.seconds(2))
        #expect(table.holders == [one] && asked() == 1)
        #expect(!table.log[one]!.contains(.fence(two)), "who wants nothing of the other lets it live")
        table.give(.fenced(one, isConfirmed: false), to: two)
        table.run(.seconds(4))
        #expect(asked() == 1)
        table.run(.seconds(2))
        #expect(asked() == 2 && table.holders == [one])
        #expect(table.keepers[one]!.memory.isAlone == false, "the other may take over, so its data may be newer")
    }

    @Test("an operator's word stands for the fence agent's, and is forgotten when the other is heard")
    func fenceVouched() {
        var table = Table(2, judge: .fence)
        table.wantAll()
        table.run(.seconds(3))
        table.give(.takeOver(Table.lease), to: two)
        table.run(.milliseconds(200))
        table.cut = [one]
        table.run(.seconds(3), without: [one])
        #expect(!table.holds(two), "the word was given while the other was heard")
        table.give(.takeOver(Table.lease), to: two)
        table.run(.milliseconds(100), without: [one])
        #expect(table.holds(two))
    }

    @Test("while one of two has heard of the fences and the other goes by its list, a cut makes neither take over")
    func fenceLearnt() {
        for first in [one, two] {
            var table = Table(2, judge: .reach(hosts: 2))
            table.wantAll()
            table.run(.seconds(3))
            #expect(table.holders == [one])
            var fenced = LeaseConfig(.fast, isPair: true)
            fenced.pair = .fence
            table.keepers[first]!.use(pair: fenced)
            table.run(.seconds(1))
            #expect(table.holders == [one])
            table.cut = [one]
            for _ in 0..<200 {
                table.run(.milliseconds(25))
                #expect(table.holders.count <= 1, "\(table.holders)")
            }
            #expect(!table.holds(two))
        }
    }

    @Test("two that both held tell how long, and the higher epoch stays")
    func doubleOwnership() throws {
        var table = Table(2, judge: .bestEffort)
        table.wantAll()
        table.run(.seconds(3))
        table.cut = [one]
        table.run(.seconds(2))
        #expect(table.holders == [one, two])
        table.cut = []
        table.run(.milliseconds(200))
        #expect(table.holders == [two])
        let told = table.log[two]!.compactMap { effect -> Duration? in
            if case .notify(.doubleOwnership(_, _, _, _, let overlap)) = effect { overlap } else { nil }
        }
        #expect(try #require(told.first) > .seconds(1))
    }

    @Test("numbers that were widened are told to the voters, who keep others out for longer")
    func widened() {
        var table = Table(3)
        for node in Table.nodes { for _ in 0..<1001 { table.give(.gap(.milliseconds(500), .own), to: node) } }
        let (term, takeover) = table.keepers[one]!.timing
        #expect(takeover > .milliseconds(1500) && term > .milliseconds(1000))
        table.wantAll()
        table.run(.seconds(3))
        table.cut = [one]
        table.run(.milliseconds(1200), without: [one])
        #expect(!table.holds(two) && !table.holds(three))
        table.run(.seconds(3), without: [one])
        #expect(table.holds(two) || table.holds(three))
    }

    @Test("a witness votes for one of two, and the other gets it when that one is gone")
    func witness() {
        let witness = Table.nodes[2]
        var memory = LeaseMemory()
        memory.voters = VoterConfig(lineage: 1, number: 1, nodes: Table.nodes, witness: witness)
        var voter = Witness(me: witness, config: LeaseConfig(.fast, isPair: false), memory: memory, now: .zero)
        let ballot = Ballot(counter: 1, generation: 1, node: one)
        func vote(_ ballot: Ballot, _ step: LeaseVote.Step) -> LeaseMessage {
            LeaseMessage(voters: memory.voters.version, .votes([LeaseVote(Table.lease, ballot, step)]))
        }
        let now = Instant.zero + .seconds(2)
        // Silent at first.
        #expect(voter.receive(vote(ballot, .prepare(term: 500, isCarried: false)), from: one, now: .zero).isEmpty)
        let promise = voter.receive(vote(ballot, .prepare(term: 500, isCarried: false)), from: one, now: now)
        #expect(promise == [.send(vote(ballot, .promise(mark: .none, running: nil)), to: one)])
        // It grants only what is on its disk.
        let grant = voter.receive(vote(ballot, .accept(term: 500, epoch: Epoch(1))), from: one, now: now)
        guard case .persist(_, let ticket)? = grant.first, grant.count == 1 else {
            Issue.record("\(grant)")
            return
        }
        #expect(voter.persisted(ticket: ticket) == [.send(vote(ballot, .accepted), to: one)])
        let other = Ballot(counter: 2, generation: 1, node: two)
        let refusal = voter.receive(vote(other, .prepare(term: 500, isCarried: false)), from: two, now: now)
        guard case .send(let message, _)? = refusal.first, case .votes(let votes) = message.body,
            case .refuse? = votes.first?.step
        else {
            Issue.record("\(refusal)")
            return
        }
        let later = now + .milliseconds(801)
        let promised = voter.receive(vote(other, .prepare(term: 500, isCarried: false)), from: two, now: later)
        let mark = EpochMark(Epoch(1), owner: one, generation: 1)
        #expect(promised == [.send(vote(other, .promise(mark: mark, running: nil)), to: two)])
    }
}

@Suite("who votes changes by one")
struct VoterStepTests {
    private let nodes = (1...7).map { NodeID(high: 9, low: UInt64($0)) }

    @Test("from any voters to any members there is a way of single steps, whose majorities always meet")
    func steps() {
        var chance = SeededGenerator(seed: 7)
        for _ in 0..<500 {
            var members = nodes
            chance.shuffle(&members)
            members = Array(members.prefix(1 + chance.below(6))).sorted()
            let (first, _) = VoterConfig.founding(members: members, witness: nil)
            var voters = VoterConfig(lineage: 1, number: 1, nodes: first)
            var wanted = nodes
            chance.shuffle(&wanted)
            wanted = Array(wanted.prefix(1 + chance.below(6))).sorted()
            var steps = 0
            while let next = voters.step(members: wanted, witness: nil), steps < 20 {
                let changed = Set(next.nodes).symmetricDifference(voters.nodes)
                #expect(changed.count == 1 && next.number == voters.number + 1)
                #expect(voters.quorum + next.quorum > Set(voters.nodes).union(next.nodes).count)
                voters = next
                steps += 1
            }
            #expect(steps < 20 && Set(voters.nodes).isSubset(of: wanted))
            #expect(voters.nodes.count == [0, 1, 2, 3, 3, 5, 5, 5][wanted.count])
        }
    }

    @Test("two with a witness are three voters")
    func witness() {
        let (chosen, witness) = VoterConfig.founding(members: Array(nodes[0..<2]), witness: nodes[6])
        #expect(chosen.count == 3 && witness == nodes[6])
        let voters = VoterConfig(lineage: 1, number: 1, nodes: chosen, witness: witness)
        #expect(voters.guarantee == .witness && !voters.isPair && voters.quorum == 2)
        // A third member comes, and the witness goes.
        let four = voters.step(members: Array(nodes[0..<3]), witness: nodes[6])
        let three = four?.step(members: Array(nodes[0..<3]), witness: nodes[6])
        #expect(four?.nodes.count == 4 && three?.nodes == Array(nodes[0..<3]) && three?.witness == nil)
    }
}
