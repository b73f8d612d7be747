import BrambleAPI
import Leases
import Machine
import Membership
import Node
import Primitives
import Services
import Testing

@testable import Daemon

@Suite("what happened is told in an operator's words, with figures")
struct StoryTests {
    private let me = NodeID(high: 1, low: 0)
    private let other = NodeID(high: 2, low: 0)
    private var records: [MemberRecord] {
        [(me, "serv1"), (other, "serv2")].map { id, name in
            MemberRecord(
                id: id, version: MemberVersion(generation: 1, incarnation: 0), rank: .alive,
                profile: MemberProfile(name: NodeName(name)!, addresses: [], software: "1", birth: 1))
        }
    }
    private var storyteller: Storyteller { Storyteller(names: NameTable(records), selfID: me) }
    private var verdict: Verdict {
        Verdict(
            accusers: [Accusation(observer: me, phi: 8.31, silence: .milliseconds(412), unansweredProbes: 3)],
            observers: 1, needed: 1, defenders: 0, isConfirmed: false)
    }

    @Test("a node that is down is told with who says so, the silence, φ and the threshold of agreement")
    func down() throws {
        let draft = try #require(storyteller.tell(.membership(.failed(other, verdict))))
        #expect(draft.type == "down" && draft.subject == "serv2" && draft.by == ["serv1"])
        #expect(
            draft.sentence.contains("serv2 is down") && draft.sentence.contains("412 ms")
                && draft.sentence.contains("8.3"))
        #expect(draft.detail["silenceMs"] == .number(412) && draft.detail["confirmed"] == .bool(false))
    }

    @Test("what is wrong with a reach list is found before it is needed")
    func reachList() {
        func host(_ text: String) -> IPAddress { IPAddress(text)! }
        let nodes = [host("10.0.0.2"): "serv2"]
        func checks(_ found: [(host: IPAddress, standing: ReachProber.Standing)]) -> [String] {
            Member.reachChecks(found, ofNodes: nodes).map { "\($0.state): \($0.text)" }
        }
        #expect(
            checks([(host("10.0.0.254"), .answers)]) == [
                "ok: the host of the reach list answers, and tells who is cut off"
            ])
        let bad = checks([(host("10.0.0.1"), .own), (host("10.0.0.2"), .answers), (host("10.0.0.9"), .silent)])
        #expect(
            bad == [
                "warn: 10.0.0.1 of the reach list is this node's own address, and tells it nothing",
                "warn: 10.0.0.2 of the reach list is an address of serv2: when serv2 is lost it is silent, too",
                "warn: 10.0.0.9 of the reach list does not answer this node",
                "fail: no host of the reach list that could tell who is cut off answers: if the other node were lost, this one "
                    + "would not take over",
            ])
        let one = checks([(host("10.0.0.254"), .answers), (host("10.0.0.9"), .silent)])
        #expect(one == ["warn: 10.0.0.9 of the reach list does not answer this node"])
        for check in Member.reachChecks([(host("10.0.0.9"), .silent)], ofNodes: nodes) {
            #expect(!check.remedy.isEmpty)
        }
    }

    @Test("why answers in one sentence and lists what it rests on")
    func why() {
        let view = MemberView(
            record: records[1], rank: .failed, since: Instant(sinceBoot: .seconds(5)), phi: 40, load: [],
            verdict: verdict)
        let told = storyteller.explain(view, threshold: 8, edges: [], history: [])
        #expect(told.subject == "serv2")
        #expect(told.answer.hasPrefix("serv2 is down since ") && told.answer.contains("412 ms"))
        #expect(told.answer.contains("unconfirmed"))
        #expect(told.because.first?.text == "serv1 heard nothing for 412 ms (φ 8.3), and 3 probes went unanswered")
        #expect(told.because.first?.figures["unansweredProbes"] == .integer(3))
    }

    @Test("our own pause is told as ours")
    func stalled() throws {
        let draft = try #require(storyteller.tell(.membership(.stalled(.milliseconds(2013)))))
        #expect(draft.type == "stalled" && draft.subject == "serv1" && draft.detail["pauseMs"] == .number(2013))
    }

    @Test("times are ISO 8601 with milliseconds, in UTC")
    func timestamps() {
        #expect(Timestamp.text(wallNanoseconds: 1_795_229_789_123_456_789) == "2026-11-21T02:56:29.123Z")
    }

    @Test("saved members and facts come back as they were; what another version wrote is not half read")
    func savedState() throws {
        #expect(SavedState.members(from: SavedState.encode(records)) == records)
        #expect(SavedState.members(from: Array("[{}]".utf8)) == nil)
        var facts = SharedFacts()
        _ = try facts.set("user/admin", to: [1, 2, 255], by: me)
        _ = try facts.set("token/x", to: nil, by: other)
        #expect(SavedState.facts(from: SavedState.encode(facts))?.entries == facts.entries)
        #expect(SavedState.facts(from: Array("{\"a\":{}}".utf8)) == nil)
    }

    @Test("metrics are Prometheus text: help and type once, labels escaped")
    func metrics() {
        var text = MetricsText()
        text.add(
            "nodes", .gauge, "Nodes",
            [(labels: [("name", "a\"b\\c")], value: 1), (labels: [("name", "d")], value: 0.5)])
        #expect(
            text.text == """
                # HELP bramble_nodes Nodes
                # TYPE bramble_nodes gauge
                bramble_nodes{name="a\\"b\\\\c"} 1
                bramble_nodes{name="d"} 0.5

                """)
    }

    @Test("what happens to a service is told with the node's name, its epoch and figures")
    func services() throws {
        let web = ServiceName("web")!
        let taken = try #require(
            storyteller.tell(.service(.init(.acquired, web, "this node may run web (majority)", epoch: Epoch(7)))))
        #expect(taken.type == "acquired" && taken.subject == "web")
        #expect(taken.sentence == "serv1 may run web (majority)" && taken.detail["epoch"] == .integer(7))
        let started = try #require(
            storyteller.tell(
                .service(.init(.started, web, "runs on this node", epoch: Epoch(7), figures: ["tookMs": 12.34]))))
        #expect(started.sentence == "web runs on serv1" && started.detail["tookMs"] == .number(12.3))
        let moved = try #require(
            storyteller.tell(.service(.init(.moved, web, "stops here and goes to serv2: this node is on hold"))))
        #expect(moved.sentence == "web stops on serv1 and goes to serv2: serv1 is on hold")
        let gone = try #require(storyteller.tell(.service(.init(.stopped, web, "nothing of it runs on this node"))))
        #expect(gone.sentence == "nothing of web runs on serv1")
        let broken = try #require(storyteller.tell(.service(.init(.failed, web, "its processes ended (exit code 1)"))))
        #expect(broken.sentence == "web: its processes ended (exit code 1)")
        let both = try #require(
            storyteller.tell(
                .lease(
                    .doubleOwnership(
                        .service(web), other: other, own: Epoch(3), theirs: Epoch(4), overlap: .milliseconds(80)))))
        #expect(both.type == "conflict" && both.sentence.contains("serv2 (epoch 4)") && both.sentence.contains("80 ms"))
    }
}
